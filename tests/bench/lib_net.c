/* SPDX-License-Identifier: Apache-2.0 */
/* lib_net.c - two namespaces joined by two veth pairs; cuts by ioctl and netlink, which take
 * microseconds where running `ip` would take milliseconds of the gap that is being measured. */
#include "lib_net.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <arpa/inet.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *const device[2][BENCH_NET_PAIRS] = {{"v0", "v1"}, {"w0", "w1"}};
static const char *const address[2][BENCH_NET_PAIRS] = {{"10.9.1.1", "10.9.2.1"},
                                                        {"10.9.1.2", "10.9.2.2"}};

static void sh(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void sh(const char *format, ...) {
  char cmd[512];
  va_list ap;
  va_start(ap, format);
  vsnprintf(cmd, sizeof(cmd), format, ap);
  va_end(ap);
  if (system(cmd) != 0) bench_die("failed: %s", cmd);
}

static void write_file(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, text, strlen(text)) < 0)
    fprintf(stderr, "WARNING: %s: %s\n", path, strerror(errno));
  if (fd >= 0) close(fd);
}

/* IPv4 only: each pair is one path, not two. */
static void fresh_namespace(void) {
  write_file("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
  write_file("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
  sh("ip link set lo up");
}

/* The kernel reports a fresh link's carrier up to a second late. */
static void wait_running(bench_side side) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  for (unsigned i = 0, waited = 0; i < BENCH_NET_PAIRS; waited++) {
    struct ifreq r = {0};
    strcpy(r.ifr_name, device[side][i]);
    if (ioctl(fd, SIOCGIFFLAGS, &r) == 0 && (r.ifr_flags & IFF_RUNNING)) {
      i++;
      continue;
    }
    if (waited > 500) bench_die("%s does not come up", device[side][i]);
    usleep(10000);
  }
  close(fd);
}

const char *bench_net_addr(bench_side side, unsigned pair) {
  return address[side][pair];
}

void bench_net_enter(void) {
  uid_t uid = getuid();
  gid_t gid = getgid();
  if (system("command -v ip >/dev/null 2>&1")) bench_skip("ip is not installed (Debian: iproute2)");
  if (unshare(CLONE_NEWNET) != 0) {
    char map[64];
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
      bench_skip("no network namespaces here: %s", strerror(errno));
    write_file("/proc/self/setgroups", "deny");
    snprintf(map, sizeof(map), "0 %u 1", uid);
    write_file("/proc/self/uid_map", map);
    snprintf(map, sizeof(map), "0 %u 1", gid);
    write_file("/proc/self/gid_map", map);
  }
  fresh_namespace();
}

void bench_net_server(int fd) {
  char byte = 0;
  if (unshare(CLONE_NEWNET) != 0) bench_die("unshare: %s", strerror(errno));
  fresh_namespace();
  if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1 || recv(fd, &byte, 1, 0) != 1) _exit(1);
  for (unsigned i = 0; i < BENCH_NET_PAIRS; i++)
    sh("ip addr add %s/24 dev %s && ip link set %s up", address[BENCH_SERVER][i],
       device[BENCH_SERVER][i], device[BENCH_SERVER][i]);
  wait_running(BENCH_SERVER);
  if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1) _exit(1);
}

static void open_side(bench_net_t *net, bench_side side) {
  net->ctl[side] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  net->route[side] = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (net->ctl[side] < 0 || net->route[side] < 0) bench_die("socket: %s", strerror(errno));
  for (unsigned i = 0; i < BENCH_NET_PAIRS; i++) {
    struct ifreq r = {0};
    strcpy(r.ifr_name, device[side][i]);
    if (ioctl(net->ctl[side], SIOCGIFINDEX, &r))
      bench_die("%s: %s", device[side][i], strerror(errno));
    net->index[side][i] = r.ifr_ifindex;
  }
}

void bench_net_join(bench_net_t *net, const bench_child_t *server) {
  char byte = 0, path[64];
  if (recv(server->fd, &byte, 1, 0) != 1) bench_die("the server's process failed");
  for (unsigned i = 0; i < BENCH_NET_PAIRS; i++)
    sh("ip link add %s type veth peer name %s netns %d && ip addr add %s/24 dev %s && "
       "ip link set %s up",
       device[BENCH_CLIENT][i], device[BENCH_SERVER][i], (int) server->pid,
       address[BENCH_CLIENT][i], device[BENCH_CLIENT][i], device[BENCH_CLIENT][i]);
  if (send(server->fd, &byte, 1, MSG_NOSIGNAL) != 1 || recv(server->fd, &byte, 1, 0) != 1)
    bench_die("the server's process failed");

  wait_running(BENCH_CLIENT);
  open_side(net, BENCH_CLIENT);
  int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  snprintf(path, sizeof(path), "/proc/%d/ns/net", (int) server->pid);
  int other = open(path, O_RDONLY | O_CLOEXEC);
  if (own < 0 || other < 0 || setns(other, CLONE_NEWNET))
    bench_die("%s: %s", path, strerror(errno));
  open_side(net, BENCH_SERVER);
  if (setns(own, CLONE_NEWNET)) bench_die("setns: %s", strerror(errno));
  close(own);
  close(other);
}

void bench_net_no_offloads(bench_side side, unsigned pair) {
  static const uint32_t off[] = {ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO};
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  for (unsigned i = 0; i < sizeof(off) / sizeof(off[0]); i++) {
    struct ethtool_value v = {.cmd = off[i], .data = 0};
    struct ifreq r = {.ifr_data = (char *) &v};
    strcpy(r.ifr_name, device[side][pair]);
    if (ioctl(fd, SIOCETHTOOL, &r))
      bench_die("%s: offload %u: %s", device[side][pair], off[i], strerror(errno));
  }
  close(fd);
}

void bench_net_link(bench_net_t *net, bench_side side, unsigned pair, int up) {
  struct ifreq r = {0};
  strcpy(r.ifr_name, device[side][pair]);
  if (ioctl(net->ctl[side], SIOCGIFFLAGS, &r)) bench_die("%s: %s", r.ifr_name, strerror(errno));
  r.ifr_flags = (short) (up ? r.ifr_flags | IFF_UP : r.ifr_flags & ~IFF_UP);
  if (ioctl(net->ctl[side], SIOCSIFFLAGS, &r)) bench_die("%s: %s", r.ifr_name, strerror(errno));
}

static void neighbour(bench_net_t *net, bench_side side, unsigned pair, int add) {
  static const uint8_t nobody[6] = {0x02, 0, 0, 0, 0, 0x99};
  struct {
    struct nlmsghdr h;
    struct ndmsg nd;
    struct rtattr dst_attr;
    struct in_addr dst;
    struct rtattr mac_attr;
    uint8_t mac[8];
  } m = {0};
  struct {
    struct nlmsghdr h;
    struct nlmsgerr err;
    char rest[512];
  } answer;
  m.h.nlmsg_type = add ? RTM_NEWNEIGH : RTM_DELNEIGH;
  m.h.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | (add ? NLM_F_CREATE | NLM_F_REPLACE : 0);
  m.nd.ndm_family = AF_INET;
  m.nd.ndm_ifindex = net->index[side][pair];
  m.nd.ndm_state = NUD_PERMANENT;
  m.dst_attr.rta_type = NDA_DST;
  m.dst_attr.rta_len = RTA_LENGTH(sizeof(m.dst));
  inet_pton(AF_INET, address[!side][pair], &m.dst);
  m.mac_attr.rta_type = NDA_LLADDR;
  m.mac_attr.rta_len = RTA_LENGTH(sizeof(nobody));
  memcpy(m.mac, nobody, sizeof(nobody));
  m.h.nlmsg_len = sizeof(m);
  if (send(net->route[side], &m, m.h.nlmsg_len, 0) < 0 ||
      recv(net->route[side], &answer, sizeof(answer), 0) < (ssize_t) sizeof(answer.h) ||
      answer.h.nlmsg_type != NLMSG_ERROR || (answer.err.error && add))
    bench_die("neighbour of %s: %s", device[side][pair], strerror(-answer.err.error));
}

void bench_net_silence(bench_net_t *net, unsigned pair, int silent) {
  neighbour(net, BENCH_CLIENT, pair, silent);
  neighbour(net, BENCH_SERVER, pair, silent);
}
