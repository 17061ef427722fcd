/* SPDX-License-Identifier: Apache-2.0 */
/* catalogue.c - what this machine could use, and why it cannot use the rest.
 *
 * Design notes
 *  - Nothing is left out in silence: a provider that libfabric has and Weft does not use, an
 *    interface that is down, a device without an address each become a candidate with a reason and
 *    its evidence.
 *  - One candidate for each provider, domain and local IP address. libfabric lists an address
 *    several times (with and without shared contexts): the first plain one counts.
 *  - libfabric names loopback addresses whether they exist or not, and skips interfaces that are
 *    down, so the system's own list of addresses is compared with it.
 *  - libfabric looks for RDMA devices once and lists them for ever; those that the system has taken
 *    away meanwhile are known here.
 *  - Two providers for one protocol from one address would be two rails for nothing, and two sockets at
 *    one port: the one steps back that its row says.
 *  - A provider with addresses of its own lists what its parameters name, without a look at it: what
 *    keeps us from those devices is found out here (nic.c).
 *  - libfabric says nothing of a provider file that it could not load, so that file is looked for
 *    and loaded here once more, for the linker's own words. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "ib.h"
#include "internal.h"
#include "nic.h"

#define IB_SYSFS "/sys/class/infiniband"

struct scan {
  weft__cand_list_t list;
  unsigned room;
  const char *providers, *devices;
  struct ifaddrs *ifa;
  uint32_t version;
  uint64_t memlock; /* of this process, where a device has to hold memory in place */
  bool idle_told;   /* of interfaces that no provider mentions */
  bool yielded;     /* a candidate of the provider that is looked at */
  int err;
};

/* ---- Small helpers ---- */

static bool in_list(const char *list, const char *name) {
  size_t len = strlen(name);
  const char *p = list;

  if (list == NULL || *list == '\0') return true;
  while (p != NULL) {
    while (*p == ' ' || *p == ',') p++;
    if (strncmp(p, name, len) == 0 && (p[len] == '\0' || p[len] == ',' || p[len] == ' '))
      return true;
    p = strchr(p, ',');
  }
  return false;
}

static int read_line(const char *path, char *buf, size_t len) {
  FILE *f = fopen(path, "re");

  if (f == NULL) return -errno;
  if (fgets(buf, (int) len, f) == NULL) buf[0] = '\0';
  fclose(f);
  buf[strcspn(buf, "\n")] = '\0';
  return 0;
}

static long read_number(const char *fmt, const char *name) {
  char path[256], text[64];

  snprintf(path, sizeof(path), fmt, name);
  return read_line(path, text, sizeof(text)) == 0 ? strtol(text, NULL, 10) : -1;
}

static weft__cand_t *add(struct scan *s, const char *provider, const char *device, int why) {
  weft__cand_t *c;

  if (s->list.n == s->room) {
    unsigned room = s->room != 0 ? s->room * 2 : 16;
    c = realloc(s->list.v, room * sizeof(*c));
    if (c == NULL) {
      s->err = -ENOMEM;
      return NULL;
    }
    s->list.v = c;
    s->room = room;
  }
  c = &s->list.v[s->list.n++];
  memset(c, 0, sizeof(*c));
  snprintf(c->provider, sizeof(c->provider), "%s", provider);
  snprintf(c->device, sizeof(c->device), "%s", device);
  c->why = why;
  return c;
}

static void say(weft__cand_t *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(weft__cand_t *c, const char *fmt, ...) {
  va_list ap;

  va_start(ap, fmt);
  vsnprintf(c->detail, sizeof(c->detail), fmt, ap);
  va_end(ap);
}

static void reason(struct scan *s, const char *provider, const char *device, int why,
                   const char *fmt, ...) __attribute__((format(printf, 5, 6)));
static void reason(struct scan *s, const char *provider, const char *device, int why,
                   const char *fmt, ...) {
  weft__cand_t *c = add(s, provider, device, why);
  va_list ap;

  if (c == NULL) return;
  va_start(ap, fmt);
  vsnprintf(c->detail, sizeof(c->detail), fmt, ap);
  va_end(ap);
}

static const struct ifaddrs *find_if(const struct scan *s, const void *addr) {
  const struct ifaddrs *i;

  for (i = s->ifa; i != NULL; i = i->ifa_next)
    if (i->ifa_addr != NULL && weft__sa_same_ip(i->ifa_addr, addr)) return i;
  return NULL;
}

static void speed_str(uint64_t bps, char *buf, size_t len) {
  if (bps == 0)
    snprintf(buf, len, "speed unknown");
  else if (bps >= 1000000000)
    snprintf(buf, len, "%g Gb/s", (double) bps / 1e9);
  else
    snprintf(buf, len, "%g Mb/s", (double) bps / 1e6);
}

/* ---- RDMA devices ---- */

static pthread_mutex_t removed_lock = PTHREAD_MUTEX_INITIALIZER;
static char *removed[64]; /* names, kept for ever */

static bool removed_has(const char *device, bool take) {
  bool found = false;
  unsigned i;

  pthread_mutex_lock(&removed_lock);
  for (i = 0; i < sizeof(removed) / sizeof(removed[0]) && removed[i] != NULL && !found; i++)
    found = strcmp(removed[i], device) == 0;
  if (take && !found && i < sizeof(removed) / sizeof(removed[0])) removed[i] = strdup(device);
  pthread_mutex_unlock(&removed_lock);
  return found;
}

void weft__cand_removed(const char *device) {
  (void) removed_has(device, true);
}

/* Removed since libfabric looked, or looked at and not there: then nobody told us. */
static bool ib_removed(const char *dev) {
  char path[256];

  snprintf(path, sizeof(path), IB_SYSFS "/%s", dev);
  return removed_has(dev, false) || (access(IB_SYSFS, F_OK) == 0 && access(path, F_OK) != 0);
}

/* "4: ACTIVE" of the device's first port that is up, else of its first port. */
static bool ib_active(const char *dev, char *state, size_t len) {
  char path[256], line[64];
  int port;

  snprintf(state, len, "unknown");
  for (port = 1; port <= 8; port++) {
    snprintf(path, sizeof(path), IB_SYSFS "/%s/ports/%d/state", dev, port);
    if (read_line(path, line, sizeof(line)) != 0) break;
    if (port == 1 || strstr(line, "ACTIVE") != NULL) snprintf(state, len, "%s", line);
    if (strstr(line, "ACTIVE") != NULL) return true;
  }
  return port == 1; /* nothing to read there: do not judge */
}

static uint64_t ib_speed(const char *dev) {
  char path[256], line[64];

  snprintf(path, sizeof(path), IB_SYSFS "/%s/ports/1/rate", dev);
  if (read_line(path, line, sizeof(line)) != 0) return 0;
  return (uint64_t) (strtod(line, NULL) * 1e9);
}

static bool listed(const struct scan *s, const char *provider, const char *device) {
  unsigned i;

  for (i = 0; i < s->list.n; i++)
    if (strcmp(s->list.v[i].provider, provider) == 0 && strcmp(s->list.v[i].device, device) == 0)
      return true;
  return false;
}

/* Devices of the system that the provider did not offer. Returns how many there are at all. */
static unsigned ib_rest(struct scan *s, const char *provider, bool has_provider) {
  char state[64], text[160];
  struct dirent *d;
  unsigned n = 0;
  DIR *dir = opendir(IB_SYSFS);

  if (dir == NULL) return 0;
  while ((d = readdir(dir)) != NULL) {
    if (d->d_name[0] == '.') continue;
    n++;
    if (listed(s, provider, d->d_name)) continue;
    if (!in_list(s->devices, d->d_name))
      reason(s, provider, d->d_name, WEFT_WHY_DEVICE_FILTER, "%s: devices=%.100s leaves it out",
             d->d_name, s->devices);
    else if (!ib_active(d->d_name, state, sizeof(state)))
      reason(s, provider, d->d_name, WEFT_WHY_LINK_DOWN, "%.40s: no port is active (port 1: %s)",
             d->d_name, state);
    else if (weft__ib_missing("", d->d_name, UINT64_MAX, text, sizeof(text)))
      reason(s, provider, d->d_name, WEFT_WHY_SYSTEM, "%s", text);
    else if (!has_provider) /* it lists none as well when all devices have one of the above */
      reason(s, provider, d->d_name, WEFT_WHY_NO_PROVIDER,
             IB_SYSFS
             "/%.40s is there, but libfabric has no %s provider, or looked before the device came",
             d->d_name, provider);
    else
      reason(s, provider, d->d_name, WEFT_WHY_NO_ADDRESS,
             "%.40s: its network interface has no IP address, which connections need", d->d_name);
  }
  closedir(dir);
  return n;
}

/* ---- One provider ---- */

/* What the provider's attributes and the quirks table tell of every candidate, usable or not. */
static void traits(weft__cand_t *c, const weft__quirks_t *q, const struct fi_info *info) {
  const struct fi_link_attr *nic = info->nic != NULL ? info->nic->link_attr : NULL;

  /* Attributes do not tell whether a queue can be waited for. Those that have a row in the quirks
   * table were seen to: tcp by FI_WAIT_POLLFD, the others by FI_WAIT_FD. */
  c->traits = WEFT_TRAIT_EVENTS;
  if ((info->caps & FI_RMA) != 0) c->traits |= WEFT_TRAIT_RMA;
  if (q->rdma) c->traits |= WEFT_TRAIT_RDMA;
  if (q->speaks_tcp) c->traits |= WEFT_TRAIT_BOOTSTRAP;
  if (info->domain_attr->max_ep_srx_ctx > 0) c->traits |= WEFT_TRAIT_SHARED_RX;
  c->max_op =
      info->ep_attr->max_msg_size >= SIZE_MAX / 2 ? UINT64_MAX : info->ep_attr->max_msg_size;
  if (nic != NULL) { /* the system's own figures, where there are any, replace these */
    c->speed_bps = nic->speed;
    c->mtu = nic->mtu < UINT32_MAX ? (uint32_t) nic->mtu : 0;
  }
}

/* A provider over TCP names its fabric by the network: "10.9.0.0/24". */
static uint8_t prefix_of(const char *fabric) {
  const char *slash = fabric != NULL ? strchr(fabric, '/') : NULL;
  unsigned bits = 0;

  return slash != NULL && sscanf(slash + 1, "%3u", &bits) == 1 && bits <= 128 ? (uint8_t) bits : 0;
}

/* Is there another that this provider steps back for? */
static bool yields(const struct scan *s, const weft__quirks_t *q, const weft__cand_t *c) {
  unsigned k;

  for (k = 0; q->yields_to != NULL && k < s->list.n; k++)
    if (strcmp(s->list.v[k].provider, q->yields_to) == 0 && s->list.v[k].why == WEFT_WHY_OK &&
        strcmp(s->list.v[k].device, c->device) == 0 &&
        weft__sa_same_ip(&s->list.v[k].addr, &c->addr))
      return true;
  return false;
}

static void judge(struct scan *s, const weft__quirks_t *q, struct fi_info *info) {
  const char *device = info->domain_attr->name;
  const struct ifaddrs *i;
  char ip[80], state[64], speed[32], text[160];
  weft__cand_t *c;
  long v;
  unsigned k;

  if (info->ep_attr->type != FI_EP_MSG || info->ep_attr->rx_ctx_cnt == FI_SHARED_CONTEXT ||
      info->ep_attr->protocol == FI_PROTO_RDMA_CM_IB_XRC ||
      strchr(info->fabric_attr->prov_name, ';') != NULL)
    return;
  if (info->src_addr == NULL || weft__sa_len(info->src_addr) == 0 ||
      info->src_addrlen < weft__sa_len(info->src_addr))
    return; /* an RDMA device without an address: ib_rest tells */
  for (k = 0; k < s->list.n; k++) {
    c = &s->list.v[k];
    if (strcmp(c->provider, q->provider) == 0 && strcmp(c->device, device) == 0 &&
        weft__sa_same_ip(&c->addr, info->src_addr))
      return;
  }
  c = add(s, q->provider, device, WEFT_WHY_OK);
  if (c == NULL) return;
  memcpy(&c->addr, info->src_addr, weft__sa_len(info->src_addr));
  weft__sa_set_port(&c->addr, 0);
  c->bootstrap = q->speaks_tcp;
  c->own_stack = q->own_stack;
  c->prefix = prefix_of(info->fabric_attr->name);
  weft__sa_str(&c->addr, ip, sizeof(ip));
  i = find_if(s, &c->addr);
  traits(c, q, info);
  c->loopback = weft__sa_loopback(&c->addr) || (i != NULL && (i->ifa_flags & IFF_LOOPBACK) != 0);

  if (q->rdma && ib_removed(device)) {
    c->why = WEFT_WHY_NO_DEVICE;
    say(c, "%.40s %s: the device was removed: restart the program to use it again", device, ip);
    return;
  }
  if (q->own_stack && (c->loopback || i != NULL)) { /* who connects could not tell them apart */
    c->why = WEFT_WHY_NO_ADDRESS;
    say(c, "%.40s %s: the system has this address itself%s%.16s: give the device one of its own",
        device, ip, i != NULL ? ", on " : "", i != NULL ? i->ifa_name : "");
    return;
  }
  if (q->own_stack) {
    weft__nic_conf_t conf;
    weft__nic_conf(q->provider, &conf, state, sizeof(state));
    weft__nic_beside("", &conf, device, c->beside, sizeof(c->beside));
    c->why = weft__nic_missing("", &conf, device, s->memlock, text, sizeof(text));
    if (c->why != WEFT_WHY_OK) {
      say(c, "%s", text);
      return;
    }
    c->mtu = conf.mtu;
    v = c->beside[0] != '\0' ? read_number("/sys/class/net/%.100s/speed", c->beside) : 0;
    if (v > 0) c->speed_bps = (uint64_t) v * 1000000;
  }
  if (i == NULL && s->ifa != NULL && !q->own_stack) {
    c->why = WEFT_WHY_NO_ADDRESS;
    say(c, "%s: this system does not have the address", ip);
    return;
  }
  if (i != NULL) {
    v = read_number("/sys/class/net/%.100s/speed", i->ifa_name);
    if (v > 0) c->speed_bps = (uint64_t) v * 1000000;
    v = read_number("/sys/class/net/%.100s/mtu", i->ifa_name);
    if (v > 0) c->mtu = (uint32_t) v;
  }
  if (c->loopback) c->traits |= WEFT_TRAIT_LOOPBACK;
  if (q->rdma) {
    uint64_t bps = ib_speed(device);
    if (bps != 0) c->speed_bps = bps;
    if (!ib_active(device, state, sizeof(state))) {
      c->why = WEFT_WHY_LINK_DOWN;
      say(c, "%.40s %s: no port is active (port 1: %s)", device, ip, state);
      return;
    }
    if (weft__ib_missing("", device, s->memlock, text, sizeof(text))) {
      c->why = WEFT_WHY_SYSTEM;
      say(c, "%s", text);
      return;
    }
  }
  if (i != NULL && (~i->ifa_flags & (IFF_UP | IFF_RUNNING)) != 0) {
    c->why = WEFT_WHY_LINK_DOWN;
    say(c, "%s %s: the interface is %s", i->ifa_name, ip,
        (i->ifa_flags & IFF_UP) != 0 ? "up but has no carrier" : "down");
    return;
  }
  if (!in_list(s->devices, device)) {
    c->why = WEFT_WHY_DEVICE_FILTER;
    say(c, "%.40s %s: devices=%.60s leaves it out", device, ip, s->devices);
    return;
  }
  if (yields(s, q, c)) {
    s->list.n--;
    s->yielded = true;
    return;
  }
  c->info = fi_dupinfo(info);
  if (c->info == NULL) {
    s->err = -ENOMEM;
    return;
  }
  ((struct fi_info *) c->info)->next = NULL;
  speed_str(c->speed_bps, speed, sizeof(speed));
  say(c, "%.40s %s: up, %s%s, MTU %u", device, ip, c->loopback ? "loopback, " : "", speed, c->mtu);
}

static struct fi_info *portable_hints(const char *provider) {
  struct fi_info *h = fi_allocinfo();

  if (h == NULL) return NULL;
  h->ep_attr->type = FI_EP_MSG;
  h->caps = FI_MSG | FI_RMA;
  h->mode = FI_CONTEXT | FI_RX_CQ_DATA;
  h->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_ALLOCATED | FI_MR_VIRT_ADDR | FI_MR_PROV_KEY;
  h->fabric_attr->prov_name = strdup(provider);
  if (h->fabric_attr->prov_name == NULL) {
    fi_freeinfo(h);
    return NULL;
  }
  return h;
}

/* libfabric does not have the provider: is there a file of it, and what does the linker say?
 * Answers whether there is a file; the sentence in any case. */
static bool provider_file(const char *provider, char *text, size_t len) {
  char dirs[1024], path[1200], *dir, *save = NULL;
  void *lib;

  weft__provider_dirs(dirs, sizeof(dirs));
  snprintf(text, len, "no lib%.30s-fi.so in %.110s", provider,
           dirs[0] != '\0' ? dirs : "any folder");
  for (dir = strtok_r(dirs, ":", &save); dir != NULL; dir = strtok_r(NULL, ":", &save)) {
    snprintf(path, sizeof(path), "%s/lib%s-fi.so", dir, provider);
    if (access(path, F_OK) != 0) continue;
    lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (lib == NULL)
      snprintf(text, len, "%s", dlerror());
    else
      snprintf(text, len, "%.60s loads, but libfabric %u.%u did not take it%s", path,
               FI_MAJOR(fi_version()), FI_MINOR(fi_version()),
               dlsym(lib, "fi_prov_ini") == NULL ? ": it has no fi_prov_ini" : "");
    if (lib != NULL) dlclose(lib);
    return true;
  }
  return false;
}

/* libfabric does not have a provider that Weft would use. */
static void absent(struct scan *s, const weft__quirks_t *q) {
  const char *env = getenv("FI_PROVIDER");
  char text[160];
  bool file = provider_file(q->provider, text, sizeof(text));
  bool asked = s->providers != NULL && *s->providers != '\0';

  if (file)
    reason(s, q->provider, "", WEFT_WHY_NO_PROVIDER, "%s", text);
  else if (q->left_out != NULL)
    reason(s, q->provider, "", WEFT_WHY_NOT_BUILT, "built with %s=OFF, and %s", q->left_out, text);
  else if (q->kernel_tcp || asked)
    reason(s, q->provider, "", WEFT_WHY_NO_PROVIDER, "libfabric %u.%u has none (%s%.40s); %s",
           FI_MAJOR(s->version), FI_MINOR(s->version),
           env != NULL ? "FI_PROVIDER=" : "it is not built in", env != NULL ? env : "", text);
}

/* Interfaces that a provider over the system's TCP does not even mention. */
static void idle_interfaces(struct scan *s, const char *provider) {
  struct if_nameindex *names = if_nameindex(), *n;
  const struct ifaddrs *i;

  for (n = names; n != NULL && n->if_index != 0; n++) {
    unsigned flags = 0;
    char ip[80] = "";

    if (listed(s, provider, n->if_name)) continue;
    for (i = s->ifa; i != NULL; i = i->ifa_next) {
      if (strcmp(i->ifa_name, n->if_name) != 0) continue;
      flags = i->ifa_flags;
      if (i->ifa_addr != NULL && weft__sa_len(i->ifa_addr) != 0) {
        weft__sa_str(i->ifa_addr, ip, sizeof(ip));
        break;
      }
    }
    if (!in_list(s->devices, n->if_name))
      reason(s, provider, n->if_name, WEFT_WHY_DEVICE_FILTER, "%s: devices=%.100s leaves it out",
             n->if_name, s->devices);
    else if ((flags & IFF_UP) == 0)
      reason(s, provider, n->if_name, WEFT_WHY_LINK_DOWN, "%s%s%s: the interface is down",
             n->if_name, ip[0] != '\0' ? " " : "", ip);
    else if ((flags & IFF_RUNNING) == 0)
      reason(s, provider, n->if_name, WEFT_WHY_LINK_DOWN,
             "%s: the interface is up but has no carrier", n->if_name);
    else if (ip[0] == '\0')
      reason(s, provider, n->if_name, WEFT_WHY_NO_ADDRESS, "%s: up, but it has no IP address",
             n->if_name);
    else
      reason(s, provider, n->if_name, WEFT_WHY_DEVICE_FILTER,
             "%s %s: libfabric does not offer it (FI_TCP_IFACE=%.60s)", n->if_name, ip,
             getenv("FI_TCP_IFACE") != NULL ? getenv("FI_TCP_IFACE") : "");
  }
  if (names != NULL) if_freenameindex(names);
}

static void scan_provider(struct scan *s, const weft__quirks_t *q, bool present) {
  struct fi_info *hints, *list = NULL, *i;
  unsigned before = s->list.n, devices;
  char text[96];
  int r;

  s->yielded = false;

  if (!in_list(s->providers, q->provider)) {
    if (present)
      reason(s, q->provider, "", WEFT_WHY_NOT_REQUIRED, "providers=%.100s leaves it out",
             s->providers);
    return;
  }
  if (present) {
    hints = portable_hints(q->provider);
    if (hints == NULL) {
      s->err = -ENOMEM;
      return;
    }
    r = fi_getinfo(WEFT__FI_API, NULL, NULL, 0, hints, &list);
    fi_freeinfo(hints);
    if (r == 0)
      for (i = list; i != NULL; i = i->next) judge(s, q, i);
    else if (r != -FI_ENODATA)
      reason(s, q->provider, "", WEFT_WHY_SYSTEM, "fi_getinfo: %s",
             weft__err_str(weft__fi_err(r), text, sizeof(text)));
    if (list != NULL) fi_freeinfo(list);
  }
  if (q->rdma) {
    devices = ib_rest(s, q->provider, present);
    if (devices == 0 && s->list.n == before) {
      DIR *dir = opendir(IB_SYSFS);
      reason(s, q->provider, "", WEFT_WHY_NO_DEVICE, IB_SYSFS " %s: no RDMA device",
             dir != NULL ? "is empty" : "does not exist");
      if (dir != NULL) closedir(dir);
    }
  } else if (present && q->kernel_tcp && !s->idle_told) {
    idle_interfaces(s, q->provider);
    s->idle_told = true;
  }
  if (s->yielded)
    reason(s, q->provider, "", WEFT_WHY_QUIRK,
           "%s, which speaks the same protocol from the same addresses, is used instead",
           q->yields_to);
  if (s->list.n != before) return;
  if (present && q->own_stack) {
    weft__nic_conf_t conf;
    char prefix[40], none[160];
    int why;
    weft__nic_conf(q->provider, &conf, prefix, sizeof(prefix));
    why = weft__nic_none(&conf, none, sizeof(none));
    reason(s, q->provider, "", why, "%s", none);
  } else if (present)
    reason(s, q->provider, "", WEFT_WHY_NO_DEVICE,
           "libfabric's provider finds no device for connections with RMA");
  else
    absent(s, q);
}

/* ---- The ways of those that have their own ---- */

weft__reach_t weft__cand_reach(const weft__cand_t *c, const struct sockaddr_storage *dst) {
  struct fi_info *hints, *list = NULL, *i;
  weft__reach_t reach = WEFT__REACH_NO;
  socklen_t len = weft__sa_len(dst);

  if (!c->own_stack || len == 0 || c->addr.ss_family != dst->ss_family) return WEFT__REACH_NO;
  if (weft__sa_loopback(dst)) return WEFT__REACH_NO;
  if (c->prefix != 0 && weft__sa_near(&c->addr, dst, c->prefix)) return WEFT__REACH_NEAR;
  hints = portable_hints(c->provider);
  if (hints == NULL) return WEFT__REACH_NO;
  hints->dest_addr = malloc(len);
  if (hints->dest_addr != NULL) {
    memcpy(hints->dest_addr, dst, len);
    hints->dest_addrlen = len;
    if (fi_getinfo(WEFT__FI_API, NULL, NULL, 0, hints, &list) != 0) list = NULL;
  }
  for (i = list; i != NULL; i = i->next)
    if (i->src_addr != NULL && weft__sa_same_ip(i->src_addr, &c->addr)) reach = WEFT__REACH_ROUTED;
  if (list != NULL) fi_freeinfo(list);
  fi_freeinfo(hints);
  return reach;
}

/* ---- The order ---- */

static int order(const void *pa, const void *pb) {
  const weft__cand_t *a = pa, *b = pb;
  const weft__quirks_t *qa = weft__quirks_find(a->provider, fi_version(), NULL);
  const weft__quirks_t *qb = weft__quirks_find(b->provider, fi_version(), NULL);
  int d;

#define BY(x, y)                                                                                   \
  if ((d = (int) (x) - (int) (y)) != 0) return d;
  BY(a->why != WEFT_WHY_OK, b->why != WEFT_WHY_OK)
  BY(qa == NULL || !qa->rdma, qb == NULL || !qb->rdma)
  BY(a->loopback, b->loopback)
  BY(strcmp(a->provider, b->provider), 0)
  BY(strcmp(a->device, b->device), 0)
  BY(a->addr.ss_family, b->addr.ss_family)
#undef BY
  return memcmp(&a->addr, &b->addr, sizeof(a->addr));
}

/* Names in the filter that nothing answers to. */
static void unknown_names(struct scan *s) {
  char copy[WEFT_LIST_MAX * 2], text[160], *p = copy, *name, *save;
  unsigned i;

  snprintf(copy, sizeof(copy), "%s", s->providers != NULL ? s->providers : "");
  for (name = strtok_r(p, ", ", &save); name != NULL; name = strtok_r(NULL, ", ", &save)) {
    for (i = 0; i < s->list.n; i++)
      if (strcmp(s->list.v[i].provider, name) == 0) break;
    if (i == s->list.n) {
      provider_file(name, text, sizeof(text));
      reason(s, name, "", WEFT_WHY_NO_PROVIDER, "libfabric %u.%u has no provider %.24s; %s",
             FI_MAJOR(s->version), FI_MINOR(s->version), name, text);
    }
  }
}

int weft__cand_scan(const char *providers, const char *devices, weft__cand_list_t *out) {
  struct scan s = {.providers = providers,
                   .devices = devices,
                   .version = fi_version(),
                   .memlock = weft__ib_memlock()};
  struct fi_info *provs = NULL, *i;
  const weft__quirks_t *q;
  unsigned k;
  int r;

  *out = (weft__cand_list_t){0};
  r = WEFT__FAULT(getinfo);
  if (r != 0) return r;
  if (getifaddrs(&s.ifa) != 0) {
    weft__warn("getifaddrs: errno %d: link states are unknown", errno);
    s.ifa = NULL;
  }
  r = fi_getinfo(WEFT__FI_API, NULL, NULL, FI_PROV_ATTR_ONLY, NULL, &provs);
  if (r != 0 && r != -FI_ENODATA) {
    s.err = weft__fi_err(r);
    goto done;
  }
  for (k = 0; (q = weft__quirks_row(k, s.version)) != NULL; k++) {
    bool present = false;
    for (i = provs; i != NULL && !present; i = i->next)
      present = strcmp(i->fabric_attr->prov_name, q->provider) == 0;
    if (q->refused == NULL)
      scan_provider(&s, q, present);
    else if (present)
      reason(&s, q->provider, "", WEFT_WHY_QUIRK, "%s", q->refused);
  }
  for (i = provs; i != NULL; i = i->next) {
    const char *name = i->fabric_attr->prov_name;
    if (weft__quirks_find(name, s.version, NULL) == NULL && strncmp(name, "ofi_hook_", 9) != 0 &&
        !listed(&s, name, ""))
      reason(&s, name, "", WEFT_WHY_QUIRK, "Weft was never tried with this provider");
  }
  unknown_names(&s);

done:
  if (provs != NULL) fi_freeinfo(provs);
  if (s.ifa != NULL) freeifaddrs(s.ifa);
  if (s.err != 0) {
    weft__cand_free(&s.list);
    return s.err;
  }
  if (s.list.n != 0) qsort(s.list.v, s.list.n, sizeof(*s.list.v), order);
  *out = s.list;
  return 0;
}

void weft__cand_free(weft__cand_list_t *list) {
  unsigned i;

  for (i = 0; i < list->n; i++)
    if (list->v[i].info != NULL) fi_freeinfo(list->v[i].info);
  free(list->v);
  *list = (weft__cand_list_t){0};
}
