/* SPDX-License-Identifier: Apache-2.0 */
/* netmon.c - what the system says of links and addresses (rtnetlink): paths die at once, lost ones
 * come back at once.
 *
 * Design notes
 *  - Only transitions count: the kernel repeats RTM_NEWLINK for many reasons, so each interface's
 *    last state is kept.
 *  - A link is up when it is administratively up and running (has a carrier).
 *  - Without rtnetlink (no socket, ENOBUFS) nothing is wrong, only slower: paths' own errors,
 *    probes and retries remain. */
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loop/conn.h"

typedef struct weft__netmon {
  weft__core_t *core;
  uv_poll_t poll;
  int fd;
  unsigned n, cap;
  struct {
    unsigned index;
    bool up;
    char name[IFNAMSIZ];
  } * v;
} watch_t;

static void refresh_ifs(weft__core_t *core) {
  free(core->ifs);
  core->ifs = NULL;
  weft__cands_forget();
}

uint64_t weft__cands_max_age(weft__core_t *core) {
  weft__netmon_start(core);
  return core->netmon_on ? weft__clock_ns() - core->netmon_since : WEFT__S;
}

weft__ifs_t *weft__netmon_ifs(weft__core_t *core) {
  if (!core->netmon_on) { /* nobody tells when it gets stale */
    free(core->ifs);
    core->ifs = NULL;
  }
  if (!core->ifs) core->ifs = weft__ifs_get();
  return core->ifs;
}

/* ---- What happened ---- */

void weft__net_lost(weft__core_t *core, const char *device, const struct sockaddr_storage *addr,
                    const char *why) {
  weft__info("%s", why);
  for (weft__link_t *l = core->rails.next, *next; l != &core->rails; l = next) {
    next = l->next;
    weft__crail_t *cr = weft__container(l, weft__crail_t, link);
    if (cr->state != WEFT__R_OPEN) continue;
    bool beside = device && strcmp(cr->cand.beside, device) == 0;
    weft__rail_lost(cr->rail, beside ? cr->cand.device : device, (const struct sockaddr *) addr,
                    why);
    cr->fired = core->fired = true; /* the upcalls come from a drain */
  }
}

static void link_down(weft__core_t *core, unsigned index, const char *name) {
  char why[100];
  weft__ifs_t *ifs = weft__netmon_ifs(core);
  snprintf(why, sizeof why, "the link of %s went down", name);
  weft__net_lost(core, name, NULL, why);
  /* paths of a rail that serves several devices are found by their local address */
  for (unsigned i = 0; ifs && i < ifs->n; i++)
    if (ifs->v[i].index == index) weft__net_lost(core, NULL, &ifs->v[i].addr, why);
  refresh_ifs(core);
}

void weft__net_addrs(weft__core_t *core, const char *device) {
  char text[80], why[160];
  refresh_ifs(core);
  weft__ifs_t *ifs = weft__netmon_ifs(core);
  if (!ifs) return;
  for (weft__link_t *l = core->rails.next, *next; l != &core->rails; l = next) {
    next = l->next;
    weft__crail_t *cr = weft__container(l, weft__crail_t, link);
    if (cr->state != WEFT__R_OPEN || strcmp(cr->cand.device, device) != 0) continue;
    if (weft__ifs_find(ifs, &cr->cand.addr)) continue;
    snprintf(why, sizeof why, "the address %s of %s is gone",
             weft__addr_str(&cr->cand.addr, text, sizeof text), device);
    weft__net_lost(core, device, &cr->cand.addr, why);
  }
}

void weft__net_back(weft__core_t *core) {
  refresh_ifs(core);
  weft__joins_listen(core);
  weft__rescan(core);
}

static void on_link(watch_t *w, const struct nlmsghdr *h) {
  const struct ifinfomsg *ifi = NLMSG_DATA(h);
  int len = (int) h->nlmsg_len - (int) NLMSG_LENGTH(sizeof *ifi);
  bool up =
      h->nlmsg_type == RTM_NEWLINK && (ifi->ifi_flags & IFF_UP) && (ifi->ifi_flags & IFF_RUNNING);
  char name[IFNAMSIZ] = "?";
  unsigned i;
  if (ifi->ifi_family != AF_UNSPEC)
    return; /* of a bridge's port: RTM_DELLINK says that it left the bridge */
  for (const struct rtattr *r = IFLA_RTA(ifi); RTA_OK(r, len); r = RTA_NEXT(r, len))
    if (r->rta_type == IFLA_IFNAME) snprintf(name, sizeof name, "%s", (const char *) RTA_DATA(r));
  for (i = 0; i < w->n && w->v[i].index != (unsigned) ifi->ifi_index; i++) {}
  if (i == w->n) {
    if (w->n == w->cap) {
      unsigned cap = w->cap ? 2 * w->cap : 8;
      void *v = realloc(w->v, cap * sizeof *w->v);
      if (!v) return;
      w->v = v;
      w->cap = cap;
    }
    w->n++;
    w->v[i].index = (unsigned) ifi->ifi_index;
    w->v[i].up = !up; /* unknown: what it is now is news */
  }
  memcpy(w->v[i].name, name, sizeof name);
  if (w->v[i].up == up) return;
  w->v[i].up = up;
  if (up)
    weft__net_back(w->core);
  else
    link_down(w->core, (unsigned) ifi->ifi_index, name);
  if (h->nlmsg_type == RTM_DELLINK) w->v[i] = w->v[--w->n];
}

static void on_addr(watch_t *w, const struct nlmsghdr *h) {
  const struct ifaddrmsg *ifa = NLMSG_DATA(h);
  int len = (int) h->nlmsg_len - (int) NLMSG_LENGTH(sizeof *ifa);
  struct sockaddr_storage addr;
  char text[80], why[140], name[IFNAMSIZ] = "?";
  memset(&addr, 0, sizeof addr);
  addr.ss_family = ifa->ifa_family;
  for (const struct rtattr *r = IFA_RTA(ifa); RTA_OK(r, len); r = RTA_NEXT(r, len)) {
    if (r->rta_type == IFA_LOCAL && ifa->ifa_family == AF_INET)
      memcpy(&((struct sockaddr_in *) &addr)->sin_addr, RTA_DATA(r), 4);
    if (r->rta_type == IFA_ADDRESS && ifa->ifa_family == AF_INET6)
      memcpy(&((struct sockaddr_in6 *) &addr)->sin6_addr, RTA_DATA(r), 16);
  }
  if (weft__addr_is_linklocal(&addr) && addr.ss_family == AF_INET6)
    ((struct sockaddr_in6 *) &addr)->sin6_scope_id = ifa->ifa_index;
  if_indextoname(ifa->ifa_index, name);
  if (h->nlmsg_type == RTM_NEWADDR) {
    /* an IPv6 address that is still being checked for duplicates cannot be used; it is told again
     * when it can */
    if (ifa->ifa_flags & IFA_F_TENTATIVE) return;
    weft__net_back(w->core);
    return;
  }
  snprintf(why, sizeof why, "the address %s was removed from %s",
           weft__addr_str(&addr, text, sizeof text), name);
  weft__net_lost(w->core, NULL, &addr, why);
  refresh_ifs(w->core);
}

static void on_poll(uv_poll_t *poll, int status, int events) {
  watch_t *w = poll->data;
  union {
    struct nlmsghdr h;
    char bytes[16384];
  } buf;
  (void) status;
  (void) events;
  if (weft__forked(w->core)) return;
  weft__refresh(w->core);
  for (unsigned turn = 0; turn < 16; turn++) {
    int err = WEFT__FAULT(netlink);
    ssize_t n = err ? (errno = -err, -1) : recv(w->fd, &buf, sizeof buf, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == ENOBUFS) { /* some were lost: everything may have changed */
      weft__net_back(w->core);
      continue;
    }
    if (n < 0 && errno != EAGAIN) {
      weft__warn("rtnetlink: %s: changes of the network will be noticed late", uv_strerror(-errno));
      uv_poll_stop(poll);
    }
    if (n <= 0) return;
    int left = (int) n;
    for (struct nlmsghdr *h = &buf.h; NLMSG_OK(h, (unsigned) left); h = NLMSG_NEXT(h, left)) {
      if (h->nlmsg_type == RTM_NEWLINK || h->nlmsg_type == RTM_DELLINK) on_link(w, h);
      if (h->nlmsg_type == RTM_NEWADDR || h->nlmsg_type == RTM_DELADDR) on_addr(w, h);
    }
  }
}

/* ---- Start and stop ---- */

void weft__netmon_start(weft__core_t *core) {
  if (core->netmon_on || core->state != WEFT__C_OPEN) return;
  struct sockaddr_nl sa = {.nl_family = AF_NETLINK,
                           .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR};
  int fd = -1, err = WEFT__FAULT(netlink);
  watch_t *w = calloc(1, sizeof *w);
  if (!w) return;
  if (err == 0) {
    fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    if (fd < 0 || bind(fd, (struct sockaddr *) &sa, sizeof sa) != 0) err = -errno;
  }
  if (err == 0) err = uv_poll_init(core->loop, &w->poll, fd);
  if (err) {
    weft__warn("rtnetlink: %s: changes of the network will be noticed late", uv_strerror(err));
    if (fd >= 0) close(fd);
    free(w);
    return;
  }
  w->core = core;
  w->fd = fd;
  w->poll.data = w;
  core->netmon = w;
  core->netmon_on = true;
  core->netmon_since = weft__clock_ns();
  core->nuv++;
  uv_unref((uv_handle_t *) &w->poll);
  uv_poll_start(&w->poll, UV_READABLE, on_poll);
  /* what is up now is not news when it is told again */
  weft__ifs_t *ifs = weft__ifs_get();
  for (unsigned i = 0; ifs && i < ifs->n; i++) {
    unsigned k;
    for (k = 0; k < w->n && w->v[k].index != ifs->v[i].index; k++) {}
    if (k < w->n) continue;
    if (w->n == w->cap) {
      unsigned cap = w->cap ? 2 * w->cap : 8;
      void *v = realloc(w->v, cap * sizeof *w->v);
      if (!v) break;
      w->v = v;
      w->cap = cap;
    }
    w->v[w->n].index = ifs->v[i].index;
    w->v[w->n].up = ifs->v[i].up;
    memcpy(w->v[w->n++].name, ifs->v[i].name, IFNAMSIZ);
  }
  free(core->ifs);
  core->ifs = ifs;
}

static void on_closed(uv_handle_t *h) {
  watch_t *w = h->data;
  weft__core_t *core = w->core;
  close(w->fd);
  free(w->v);
  free(w);
  core->nuv--;
  weft__core_check_closed(core);
}

void weft__netmon_stop(weft__core_t *core) {
  watch_t *w = core->netmon;
  if (!w) return;
  core->netmon = NULL;
  core->netmon_on = false;
  uv_close((uv_handle_t *) &w->poll, on_closed);
}
