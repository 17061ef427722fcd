/* SPDX-License-Identifier: Apache-2.0 */
/* addr.c - socket addresses, the machine's own addresses, and the kernel's routes.
 *
 * Design notes
 *  - Routes come from rtnetlink (RTM_GETROUTE with source and destination), because only it tells
 *    the interface that a packet from a given source leaves by: that is what makes a pair of
 *    addresses a path of its own. The answer is made in the kernel while we send, so nothing
 *    blocks. */
#include "loop/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static int family(const void *sa) {
  return ((const struct sockaddr *) sa)->sa_family;
}
static const struct sockaddr_in *in4(const void *sa) {
  return sa;
}
static const struct sockaddr_in6 *in6(const void *sa) {
  return sa;
}

/* The bytes of the IP, and how many. */
static const uint8_t *ip_bytes(const void *sa, unsigned *n) {
  if (family(sa) == AF_INET) {
    *n = 4;
    return (const uint8_t *) &in4(sa)->sin_addr;
  }
  if (family(sa) == AF_INET6) {
    *n = 16;
    return (const uint8_t *) &in6(sa)->sin6_addr;
  }
  *n = 0;
  return NULL;
}

socklen_t weft__addr_len(const void *sa) {
  if (family(sa) == AF_INET) return sizeof(struct sockaddr_in);
  if (family(sa) == AF_INET6) return sizeof(struct sockaddr_in6);
  return 0;
}

uint16_t weft__addr_port(const void *sa) {
  if (family(sa) == AF_INET) return ntohs(in4(sa)->sin_port);
  if (family(sa) == AF_INET6) return ntohs(in6(sa)->sin6_port);
  return 0;
}

void weft__addr_set_port(void *sa, uint16_t port) {
  if (family(sa) == AF_INET) ((struct sockaddr_in *) sa)->sin_port = htons(port);
  if (family(sa) == AF_INET6) ((struct sockaddr_in6 *) sa)->sin6_port = htons(port);
}

bool weft__addr_same_ip(const void *a, const void *b) {
  unsigned n, m;
  const uint8_t *p = ip_bytes(a, &n), *q = ip_bytes(b, &m);
  if (!p || !q || n != m || memcmp(p, q, n) != 0) return false;
  if (n == 16 && in6(a)->sin6_scope_id && in6(b)->sin6_scope_id)
    return in6(a)->sin6_scope_id == in6(b)->sin6_scope_id;
  return true;
}

bool weft__addr_is_any(const void *sa) {
  static const uint8_t zero[16];
  unsigned n;
  const uint8_t *p = ip_bytes(sa, &n);
  return p && memcmp(p, zero, n) == 0;
}

bool weft__addr_is_loopback(const void *sa) {
  if (family(sa) == AF_INET) return ntohl(in4(sa)->sin_addr.s_addr) >> 24 == 127;
  if (family(sa) == AF_INET6) return IN6_IS_ADDR_LOOPBACK(&in6(sa)->sin6_addr);
  return false;
}

bool weft__addr_is_linklocal(const void *sa) {
  if (family(sa) == AF_INET) return ntohl(in4(sa)->sin_addr.s_addr) >> 16 == 0xa9fe;
  if (family(sa) == AF_INET6) return IN6_IS_ADDR_LINKLOCAL(&in6(sa)->sin6_addr);
  return false;
}

void weft__addr_unmap(struct sockaddr_storage *ss) {
  const struct sockaddr_in6 *s6 = in6(ss);
  if (family(ss) != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&s6->sin6_addr)) return;
  struct sockaddr_in s4 = {.sin_family = AF_INET, .sin_port = s6->sin6_port};
  memcpy(&s4.sin_addr, (const uint8_t *) &s6->sin6_addr + 12, 4);
  memset(ss, 0, sizeof *ss);
  memcpy(ss, &s4, sizeof s4);
}

bool weft__addr_parse(const char *host, uint16_t port, struct sockaddr_storage *out) {
  memset(out, 0, sizeof *out);
  struct sockaddr_in *s4 = (struct sockaddr_in *) out;
  struct sockaddr_in6 *s6 = (struct sockaddr_in6 *) out;
  if (inet_pton(AF_INET, host, &s4->sin_addr) == 1) {
    s4->sin_family = AF_INET;
    s4->sin_port = htons(port);
    return true;
  }
  char text[INET6_ADDRSTRLEN];
  const char *zone = strchr(host, '%');
  size_t n = zone ? (size_t) (zone - host) : strlen(host);
  if (n >= sizeof text) return false;
  memcpy(text, host, n);
  text[n] = '\0';
  if (inet_pton(AF_INET6, text, &s6->sin6_addr) != 1) return false;
  s6->sin6_family = AF_INET6;
  s6->sin6_port = htons(port);
  if (zone) {
    s6->sin6_scope_id = if_nametoindex(zone + 1);
    if (!s6->sin6_scope_id) s6->sin6_scope_id = (uint32_t) strtoul(zone + 1, NULL, 10);
    if (!s6->sin6_scope_id) return false;
  }
  return true;
}

const char *weft__addr_str(const void *sa, char *buf, size_t len) {
  char ip[INET6_ADDRSTRLEN] = "?", zone[IFNAMSIZ + 1] = "", port[8] = "";
  if (weft__addr_port(sa)) snprintf(port, sizeof port, ":%u", weft__addr_port(sa));
  if (family(sa) == AF_INET) {
    inet_ntop(AF_INET, &in4(sa)->sin_addr, ip, sizeof ip);
    snprintf(buf, len, "%s%s", ip, port);
  } else if (family(sa) == AF_INET6) {
    inet_ntop(AF_INET6, &in6(sa)->sin6_addr, ip, sizeof ip);
    if (in6(sa)->sin6_scope_id) {
      char name[IFNAMSIZ];
      if (if_indextoname(in6(sa)->sin6_scope_id, name))
        snprintf(zone, sizeof zone, "%%%s", name);
      else
        snprintf(zone, sizeof zone, "%%%u", in6(sa)->sin6_scope_id);
    }
    snprintf(buf, len, "[%s%s]%s", ip, zone, port);
  } else {
    snprintf(buf, len, "?");
  }
  return buf;
}

bool weft__addr_in_prefix(const void *a, const void *b, unsigned bits) {
  unsigned n, m;
  const uint8_t *p = ip_bytes(a, &n), *q = ip_bytes(b, &m);
  if (!p || !q || n != m || bits > n * 8) return false;
  if (memcmp(p, q, bits / 8) != 0) return false;
  unsigned rest = bits % 8;
  return !rest || (p[bits / 8] ^ q[bits / 8]) >> (8 - rest) == 0;
}

/* ---- Own addresses ---- */

static uint8_t prefix_of(const struct sockaddr *mask) {
  unsigned n, bits = 0;
  if (!mask) return 0;
  const uint8_t *p = ip_bytes(mask, &n);
  for (unsigned i = 0; i < n; i++) bits += (unsigned) __builtin_popcount(p[i]);
  return (uint8_t) bits;
}

/* getifaddrs does not tell which IPv6 addresses are still being checked for duplicates. */
static void mark_tentative(weft__ifs_t *ifs) {
  char hex[33], line[200];
  unsigned index, prefix, scope, flags;
  FILE *f = fopen("/proc/net/if_inet6", "re");
  while (f && fgets(line, sizeof line, f)) {
    if (sscanf(line, "%32s %x %x %x %x", hex, &index, &prefix, &scope, &flags) != 5) continue;
    if ((flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)) == 0 || flags & IFA_F_OPTIMISTIC) continue;
    struct in6_addr ip;
    for (unsigned i = 0; i < 16; i++) {
      char two[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
      ip.s6_addr[i] = (uint8_t) strtoul(two, NULL, 16);
    }
    for (unsigned i = 0; i < ifs->n; i++)
      if (ifs->v[i].index == index && family(&ifs->v[i].addr) == AF_INET6 &&
          memcmp(&in6(&ifs->v[i].addr)->sin6_addr, &ip, 16) == 0)
        ifs->v[i].tentative = true;
  }
  if (f) fclose(f);
}

weft__ifs_t *weft__ifs_get(void) {
  struct ifaddrs *all, *a;
  unsigned n = 0;
  if (getifaddrs(&all) != 0) return NULL;
  for (a = all; a; a = a->ifa_next) n++;
  weft__ifs_t *ifs = calloc(1, sizeof *ifs + n * sizeof ifs->v[0]);
  for (a = all; ifs && a; a = a->ifa_next) {
    if (!a->ifa_addr || !weft__addr_len(a->ifa_addr)) continue;
    weft__if_t *i = &ifs->v[ifs->n++];
    memcpy(&i->addr, a->ifa_addr, weft__addr_len(a->ifa_addr));
    snprintf(i->name, sizeof i->name, "%s", a->ifa_name);
    i->index = if_nametoindex(a->ifa_name);
    i->prefix = prefix_of(a->ifa_netmask);
    i->up = (a->ifa_flags & IFF_UP) && (a->ifa_flags & IFF_RUNNING);
  }
  freeifaddrs(all);
  if (ifs) mark_tentative(ifs);
  return ifs;
}

const weft__if_t *weft__ifs_find(const weft__ifs_t *ifs, const void *sa) {
  for (unsigned i = 0; ifs && i < ifs->n; i++)
    if (weft__addr_same_ip(&ifs->v[i].addr, sa)) return &ifs->v[i];
  return NULL;
}

/* ---- Routes ---- */

static void add_attr(struct nlmsghdr *h, unsigned short type, const void *data, unsigned n) {
  struct rtattr *r = (struct rtattr *) ((char *) h + NLMSG_ALIGN(h->nlmsg_len));
  r->rta_type = type;
  r->rta_len = (unsigned short) RTA_LENGTH(n);
  memcpy(RTA_DATA(r), data, n);
  h->nlmsg_len = NLMSG_ALIGN(h->nlmsg_len) + (unsigned) RTA_ALIGN(r->rta_len);
}

static void read_route(struct nlmsghdr *h, weft__route_t *out) {
  struct rtmsg *rt = NLMSG_DATA(h);
  int len = (int) RTM_PAYLOAD(h);
  out->local = rt->rtm_type == RTN_LOCAL;
  for (struct rtattr *r = RTM_RTA(rt); RTA_OK(r, len); r = RTA_NEXT(r, len)) {
    if (r->rta_type == RTA_OIF && RTA_PAYLOAD(r) >= 4) memcpy(&out->oif, RTA_DATA(r), 4);
    if (r->rta_type == RTA_GATEWAY || r->rta_type == RTA_VIA) out->gateway = true;
    if (r->rta_type != RTA_PREFSRC) continue;
    out->src.ss_family = rt->rtm_family;
    if (rt->rtm_family == AF_INET)
      memcpy(&((struct sockaddr_in *) &out->src)->sin_addr, RTA_DATA(r), 4);
    else if (rt->rtm_family == AF_INET6)
      memcpy(&((struct sockaddr_in6 *) &out->src)->sin6_addr, RTA_DATA(r), 16);
  }
}

int weft__route(const void *dst, const void *src, weft__route_t *out) {
  struct {
    struct nlmsghdr h;
    struct rtmsg rt;
    char attrs[128];
  } q;
  union {
    struct nlmsghdr h;
    char bytes[2048];
  } a;
  unsigned n;
  const uint8_t *ip = ip_bytes(dst, &n);

  memset(out, 0, sizeof *out);
  if (!ip) return -EAFNOSUPPORT;
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return -errno;
  memset(&q, 0, sizeof q);
  q.h.nlmsg_len = NLMSG_LENGTH(sizeof q.rt);
  q.h.nlmsg_type = RTM_GETROUTE;
  q.h.nlmsg_flags = NLM_F_REQUEST;
  q.h.nlmsg_seq = 1;
  q.rt.rtm_family = (unsigned char) family(dst);
  q.rt.rtm_dst_len = (unsigned char) (n * 8);
  add_attr(&q.h, RTA_DST, ip, n);
  if (src) {
    unsigned m;
    const uint8_t *from = ip_bytes(src, &m);
    if (from && m == n) {
      q.rt.rtm_src_len = (unsigned char) (m * 8);
      add_attr(&q.h, RTA_SRC, from, m);
    }
  }
  if (n == 16 && in6(dst)->sin6_scope_id) add_attr(&q.h, RTA_OIF, &in6(dst)->sin6_scope_id, 4);

  int err = 0;
  ssize_t got = -1;
  if (send(fd, &q, q.h.nlmsg_len, 0) < 0 || (got = recv(fd, &a, sizeof a, MSG_DONTWAIT)) < 0)
    err = -errno;
  else if (!NLMSG_OK(&a.h, (unsigned) got))
    err = -EPROTO;
  else if (a.h.nlmsg_type == NLMSG_ERROR)
    err = ((struct nlmsgerr *) NLMSG_DATA(&a.h))->error;
  else
    read_route(&a.h, out);
  close(fd);
  if (err == 0 && n == 16 && weft__addr_is_linklocal(&out->src))
    ((struct sockaddr_in6 *) &out->src)->sin6_scope_id = out->oif;
  return err;
}
