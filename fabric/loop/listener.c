/* SPDX-License-Identifier: Apache-2.0 */
/* listener.c - weft_listen and what the user does with peers that wait.
 *
 * Design notes
 *  - weft_listen returns with the address bound: it waits for the look-up of its own name (a number
 *    needs none), then for the worker to look at the machine and open the rails that can take a
 *    first contact. Nobody else's callback runs in it. Rails that cannot (RDMA) open afterwards, by
 *    themselves.
 *  - "*" is one wildcard listen for the system's IPv4, and one listen for each address of IPv6 and of
 *    providers that have their own. A single address is one listen; with an address that is not
 *    loopback, the other rails are opened too, for the offers.
 *  - Devices and addresses that come later are opened when the network's change is noticed
 *    (rescan.c), and offered to the peers that connect from then on.
 *  - Connections do not depend on their listener: it may close first. */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loop/conn.h"
#include "units.h"

static const uint64_t LOOK_LIMIT = 5 * WEFT__S; /* or connect_timeout_ms, where that is longer */
enum { RAILS_MAX = 64 };

static weft__listener_t *listener_of(const weft_listener_t *l) {
  return l && l->reserved[0] == WEFT__H_LISTENER ? l->priv : NULL;
}

static void listener_later(weft__later_t *l) {
  weft__listener_t *lis = weft__container(l, weft__listener_t, later);
  weft__core_t *core = lis->core;
  if (!lis->h.closing) {
    if (lis->err && lis->listen_cb) {
      weft_listen_cb cb = lis->listen_cb;
      lis->listen_cb = NULL;
      cb(lis->pub, lis->err);
    }
    return;
  }
  weft_listener_t *pub = lis->pub;
  weft_listener_close_cb cb = lis->close_cb;
  for (unsigned i = 0; i < lis->nlsts; i++) weft__lst_close(lis->lsts[i]);
  lis->nlsts = 0;
  weft__accept_leave(lis);
  weft__list_del(&lis->link);
  core->nlisteners--;
  pub->priv = NULL;
  pub->reserved[0] = 0;
  weft__handle_closed(&lis->h);
  free(lis);
  if (core->state == WEFT__C_OPEN) weft__joins_check(core);
  if (cb) cb(pub);
}

int weft_listener_init(weft_t *w, weft_listener_t *l) {
  weft__core_t *core = weft__core_of(w);
  if (!core || !l) return UV_EINVAL;
  if (weft__forked(core)) return WEFT_EFORK;
  if (core->state != WEFT__C_OPEN) return UV_ECANCELED;
  weft__listener_t *lis = calloc(1, sizeof *lis);
  if (!lis) return UV_ENOMEM;
  void *data = l->data;
  memset(l, 0, sizeof *l);
  l->data = data;
  l->priv = lis;
  l->reserved[0] = WEFT__H_LISTENER;
  lis->pub = l;
  lis->core = core;
  lis->later.run = listener_later;
  weft__list_init(&lis->backlog);
  weft__list_add(&core->listeners, &lis->link);
  core->nlisteners++;
  weft__handle_open(core, &lis->h, WEFT__H_LISTENER);
  return 0;
}

void weft__listener_close_now(weft__listener_t *lis, weft_listener_close_cb cb) {
  lis->h.closing = true;
  lis->close_cb = cb;
  weft__later(lis->core, &lis->later);
}

void weft_listener_close(weft_listener_t *l, weft_listener_close_cb cb) {
  weft__listener_t *lis = listener_of(l);
  if (!lis) return;
  if (lis->h.closing && lis->h.by_context && !weft__forked(lis->core)) { /* as in weft_conn_close */
    lis->h.by_context = false;
    lis->close_cb = cb;
  }
  if (lis->h.closing) return;
  if (weft__forked(lis->core)) {
    l->priv = NULL;
    l->reserved[0] = 0;
    if (cb) cb(l);
    return;
  }
  weft__listener_close_now(lis, cb);
}

/* ---- Listening ---- */

typedef struct look {
  weft__job_t job;
  char host[256], providers[WEFT_LIST_MAX], devices[WEFT_LIST_MAX];
  struct sockaddr_storage addr;
  uint64_t max_age;
  int err;
  weft__cands_t *cands;
} look_t;

static void name_run(weft__job_t *job) {
  look_t *k = weft__container(job, look_t, job);
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *all = NULL;
  int gai = getaddrinfo(k->host, NULL, &hints, &all);
  if (gai == 0 && weft__addr_len(all->ai_addr))
    memcpy(&k->addr, all->ai_addr, weft__addr_len(all->ai_addr));
  if (gai == 0) freeaddrinfo(all);
  k->err = gai ? UV_EADDRNOTAVAIL : 0;
}

static void look_run(weft__job_t *job) {
  look_t *k = weft__container(job, look_t, job);
  k->cands = weft__cands_get(k->providers, k->devices, k->max_age, &k->err);
}

static void look_late(weft__job_t *job) {
  look_t *k = weft__container(job, look_t, job);
  weft__cands_unref(k->cands);
  free(k);
}

static const weft__cand_t *with_addr(const weft__cands_t *cands, const void *addr) {
  for (unsigned i = 0; i < cands->list.n; i++) {
    const weft__cand_t *v = &cands->list.v[i];
    if (weft__cand_usable(v) && v->bootstrap && weft__addr_same_ip(&v->addr, addr)) return v;
  }
  return NULL;
}

/* Which rails does this listener need now, and which would be good to have? */
static unsigned pick(weft__listener_t *lis, const weft__cands_t *cands,
                     const struct sockaddr_storage *addr, const weft__cand_t **out,
                     bool bootstrap) {
  unsigned n = 0;
  bool loopback = !lis->wildcard && weft__addr_is_loopback(addr);
  for (unsigned i = 0; i < cands->list.n && n < RAILS_MAX; i++) {
    const weft__cand_t *v = &cands->list.v[i];
    if (!weft__cand_usable(v) || v->bootstrap != bootstrap) continue;
    if (!lis->wildcard && v->loopback != loopback) continue;
    if (lis->devices[0] && !weft__list_has(lis->devices, v->device)) continue;
    out[n++] = v;
  }
  return n;
}

static int listen_on(weft__listener_t *lis, weft__crail_t *cr, const struct sockaddr_storage *addr,
                     int backlog) {
  weft__lst_t *l;
  if (lis->nlsts == sizeof lis->lsts / sizeof lis->lsts[0]) return UV_ENOMEM;
  int err = weft__rail_listen(cr->rail, (const struct sockaddr *) addr, weft__addr_len(addr),
                              backlog, &weft__accept_cbs, lis, &l);
  if (err) return weft__err_public(err);
  lis->lsts[lis->nlsts++] = l;
  return 0;
}

/* A rail of this family that can take first contacts; for wildcards any of the system's will do. */
static weft__crail_t *rail_for(weft__core_t *core, int family, const void *addr) {
  weft__crail_t *found = NULL;
  for (weft__link_t *l = core->rails.next; l != &core->rails; l = l->next) {
    weft__crail_t *cr = weft__container(l, weft__crail_t, link);
    if (cr->state != WEFT__R_OPEN || !cr->cand.bootstrap || cr->cand.addr.ss_family != family)
      continue;
    if (addr ? !weft__addr_same_ip(&cr->cand.addr, addr) : cr->cand.own_stack) continue;
    if (!found || (found->cand.loopback && !cr->cand.loopback)) found = cr;
  }
  return found;
}

static bool listens_on(const weft__listener_t *lis, const struct sockaddr_storage *addr) {
  for (unsigned i = 0; i < lis->nlsts; i++)
    if (weft__addr_same_ip(weft__lst_addr(lis->lsts[i]), addr)) return true;
  return false;
}

/* Every address that no wildcard serves and that has no socket yet. The number that were bound, or
 * the last error. */
static int listen_each(weft__listener_t *lis, uint16_t port) {
  weft__core_t *core = lis->core;
  int bound = 0, err = 0;
  for (weft__link_t *l = core->rails.next; l != &core->rails; l = l->next) {
    weft__crail_t *cr = weft__container(l, weft__crail_t, link);
    struct sockaddr_storage addr = cr->cand.addr;
    if (cr->state != WEFT__R_OPEN || !cr->cand.bootstrap) continue;
    if (addr.ss_family != AF_INET6 && !cr->cand.own_stack) continue;
    if (lis->devices[0] && !weft__list_has(lis->devices, cr->cand.device)) continue;
    const weft__if_t *own = weft__ifs_find(weft__netmon_ifs(core), &addr);
    if ((own && own->tentative) || listens_on(lis, &addr))
      continue; /* it is told again when it can be bound */
    weft__addr_set_port(&addr, port);
    if ((err = listen_on(lis, cr, &addr, lis->backlog_max)) != 0) continue;
    port = weft__addr_port(weft__lst_addr(lis->lsts[0]));
    bound++;
  }
  return bound ? bound : err;
}

/* One wildcard socket serves the system's IPv4, as soon as a rail has such an address. */
static int listen_v4(weft__listener_t *lis, uint16_t port) {
  weft__crail_t *cr = rail_for(lis->core, AF_INET, NULL);
  struct sockaddr_storage any;
  for (unsigned i = 0; i < lis->nlsts; i++) {
    const struct sockaddr *own = weft__lst_addr(lis->lsts[i]);
    if (own->sa_family == AF_INET && weft__addr_is_any(own)) return 0;
  }
  if (!cr) return WEFT_ENOPROVIDER;
  memset(&any, 0, sizeof any);
  any.ss_family = AF_INET;
  weft__addr_set_port(&any, port);
  return listen_on(lis, cr, &any, lis->backlog_max);
}

/* IPv6's wildcard would take IPv4's port too, so there each address gets its own socket. */
static int listen_all(weft__listener_t *lis, uint16_t port) {
  int err = listen_v4(lis, port);
  if (err && err != WEFT_ENOPROVIDER) return err;
  if (!err) port = weft__addr_port(weft__lst_addr(lis->lsts[0]));
  int n = listen_each(lis, port);
  return n > 0 || !err ? 0 : n < 0 ? n : err; /* one that works is enough */
}

/* What has come since. What goes wrong with it is logged by the rail. */
static void listen_more(weft__listener_t *lis) {
  uint16_t port = weft__addr_port(weft__lst_addr(lis->lsts[0]));
  (void) listen_v4(lis, port);
  (void) listen_each(lis, port);
}

static weft__cands_t *look(weft__listener_t *lis, struct sockaddr_storage *addr, bool again,
                           int *err) {
  weft__core_t *core = lis->core;
  uint64_t limit = core->opts.connect_timeout_ms * WEFT__MS;
  look_t *k = calloc(1, sizeof *k);
  if (limit < LOOK_LIMIT) limit = LOOK_LIMIT;
  if (!k) {
    *err = UV_ENOMEM;
    return NULL;
  }
  snprintf(k->host, sizeof k->host, "%s", lis->addr.host);
  snprintf(k->providers, sizeof k->providers, "%s", core->opts.providers);
  snprintf(k->devices, sizeof k->devices, "%s", core->opts.devices);
  k->addr = *addr;
  k->max_age = again ? 0 : weft__cands_max_age(core);
  *err = 0;
  if (k->addr.ss_family == 0 && strcmp(k->host, "*") != 0) {
    k->job.run = name_run;
    *err = weft__work_wait(core, &k->job, WEFT__WORK_NAME, limit, look_late);
    if (*err == 0) *err = k->err;
  }
  if (*err == 0) {
    k->job.run = look_run;
    *err = weft__work_wait(core, &k->job, WEFT__WORK_FIRST, limit, look_late);
    if (*err == 0 && k->err) *err = WEFT_ENOPROVIDER;
  }
  weft__cands_t *cands = *err ? NULL : k->cands;
  if (cands) *addr = k->addr;
  if (*err != UV_ETIMEDOUT) free(k); /* else look_late does */
  return cands;
}

/* ---- Rails that come later ---- */

typedef struct more {
  weft__waiter_t waiter;
  weft__core_t *core;
} more_t;

/* rails.c has given it a port for joins; wildcard listeners take its address for first contacts,
 * too. */
static void on_more(weft__waiter_t *w, weft__crail_t *cr) {
  more_t *m = weft__container(w, more_t, waiter);
  weft__core_t *core = m->core;
  free(m);
  if (cr->state != WEFT__R_OPEN || !cr->cand.bootstrap || core->state != WEFT__C_OPEN) return;
  for (weft__link_t *l = core->listeners.next; l != &core->listeners; l = l->next) {
    weft__listener_t *lis = weft__container(l, weft__listener_t, link);
    if (!lis->wildcard || !lis->nlsts || lis->h.closing || lis->err) continue;
    listen_more(lis);
  }
}

/* What a peer of this listener could use and is not open yet. */
static void open_more(weft__listener_t *lis, weft__cands_t *cands,
                      const struct sockaddr_storage *addr, bool bootstrap) {
  const weft__cand_t *want[RAILS_MAX];
  unsigned n = pick(lis, cands, addr, want, bootstrap);
  for (unsigned i = 0; i < n; i++) {
    const weft__crail_t *cr = weft__rail_find(lis->core, want[i]);
    int err;
    if (cr && cr->state != WEFT__R_FAILED) continue;
    more_t *m = calloc(1, sizeof *m);
    if (!m) return;
    m->waiter.cb = on_more;
    m->core = lis->core;
    if (!weft__rail_want(lis->core, want[i], cands, &m->waiter, &err)) free(m);
  }
}

void weft__listeners_retry(weft__core_t *core) {
  for (weft__link_t *l = core->listeners.next; l != &core->listeners; l = l->next) {
    weft__listener_t *lis = weft__container(l, weft__listener_t, link);
    struct sockaddr_storage addr;
    if (!lis->nlsts || lis->h.closing || lis->err) continue;
    memset(&addr, 0, sizeof addr);
    const struct sockaddr *own = weft__lst_addr(lis->lsts[0]);
    memcpy(&addr, own, weft__addr_len(own));
    open_more(lis, core->cands, &addr, true);
    open_more(lis, core->cands, &addr, false);
    /* an address of a rail that was open before may have come back */
    if (lis->wildcard) listen_more(lis);
  }
}

/* ---- weft_listen ---- */

int weft_listen(weft_listener_t *l, const char *url, int backlog, weft_listen_cb cb) {
  weft__listener_t *lis = listener_of(l);
  const weft__cand_t *want[RAILS_MAX];
  struct sockaddr_storage addr;
  weft__cands_t *cands;
  char why[300] = "";
  weft_qos_t qos;
  int err;
  if (!lis || !url || !cb) return UV_EINVAL;
  weft__core_t *core = lis->core;
  if (weft__forked(core)) return WEFT_EFORK;
  if (lis->h.closing) return UV_EINVAL;
  if (lis->nlsts) return UV_EALREADY;
  err = weft_url_parse(url, &lis->addr, &qos, why, sizeof why);
  if (err) {
    weft__warn("listen: %s", why);
    return err;
  }
  lis->spin_us = qos.cpu == WEFT_CPU_SPIN ? qos.spin_us : 0;
  weft__refresh(core);
  memset(&addr, 0, sizeof addr);
  if (lis->addr.bind[0]) snprintf(lis->addr.host, sizeof lis->addr.host, "%s", lis->addr.bind);
  lis->wildcard = strcmp(lis->addr.host, "*") == 0;
  snprintf(lis->devices, sizeof lis->devices, "%s", lis->addr.devices);
  if (!lis->wildcard) {
    weft__addr_parse(lis->addr.host, lis->addr.port, &addr); /* a name: the worker looks it up */
    if (addr.ss_family && weft__addr_is_any(&addr)) lis->wildcard = true;
  }
  cands = look(lis, &addr, false, &err);
  if (cands && !lis->wildcard &&
      !with_addr(cands, &addr)) { /* the list may be older than the address */
    weft__cands_unref(cands);
    cands = look(lis, &addr, true, &err);
  }
  if (!cands) return err;
  weft__cands_unref(core->cands);
  core->cands = weft__cands_ref(cands);
  weft__addr_set_port(&addr, lis->addr.port);
  if (lis->addr.port_low) {
    core->port_low = lis->addr.port_low;
    core->port_high = lis->addr.port_high;
  }
  lis->backlog_max = backlog > 0 ? backlog : 128;
  core->offers_on = true;
  weft__joins_listen(core);
  unsigned n = pick(lis, cands, &addr, want, true);
  if (!lis->wildcard && !with_addr(cands, &addr)) {
    err = UV_EADDRNOTAVAIL;
  } else if (n == 0 || weft__rails_open_now(core, cands, want, n, why, sizeof why) == 0) {
    err = WEFT_ENOPROVIDER;
    weft__warn("listen %s: %s", url, why[0] ? why : "no provider here can take a first contact");
  } else if (lis->wildcard) {
    err = listen_all(lis, lis->addr.port);
  } else {
    weft__crail_t *cr = rail_for(core, addr.ss_family, &addr);
    err = cr ? listen_on(lis, cr, &addr, lis->backlog_max) : WEFT_ENOPROVIDER;
  }
  if (err == 0) {
    lis->listen_cb = cb;
    open_more(lis, cands, &addr,
              false); /* rails that cannot take a first contact but may be offered */
  } else {
    weft__joins_check(core);
  }
  weft__cands_unref(cands);
  return err;
}

int weft_listener_addr(const weft_listener_t *l, char *url, size_t *len) {
  weft__listener_t *lis = listener_of(l);
  char text[160], host[100];
  if (!lis || !url || !len) return UV_EINVAL;
  if (lis->nlsts == 0) return UV_EINVAL;
  const struct sockaddr *sa = weft__lst_addr(lis->lsts[0]);
  struct sockaddr_storage ip;
  memset(&ip, 0, sizeof ip);
  memcpy(&ip, sa, weft__addr_len(sa));
  weft__addr_set_port(&ip, 0);
  weft__addr_str(&ip, host, sizeof host);
  char *zone = strchr(host, '%');
  if (zone) { /* %25 in URLs */
    char rest[60];
    snprintf(rest, sizeof rest, "%s", zone + 1);
    snprintf(zone, sizeof host - (size_t) (zone - host), "%%25%s", rest);
  }
  int n =
      snprintf(text, sizeof text, "weft://%s:%u", lis->wildcard ? "*" : host, weft__addr_port(sa));
  size_t room = *len;
  *len = (size_t) n;
  if ((size_t) n >= room) return UV_ENOBUFS;
  memcpy(url, text, (size_t) n + 1);
  return 0;
}

/* ---- Peers that wait ---- */

const weft_peer_t *weft_listener_peer(weft_listener_t *l) {
  weft__listener_t *lis = listener_of(l);
  return lis && lis->current ? lis->peer : NULL;
}

/* The one listen_cb is about, or the one that waits longest. */
static weft__conn_t *who_waits(weft__listener_t *lis) {
  if (lis->current) return lis->current;
  return weft__list_empty(&lis->backlog)
             ? NULL
             : weft__container(lis->backlog.next, weft__conn_t, backlog);
}

static void leave_backlog(weft__listener_t *lis, weft__conn_t *c) {
  weft__list_del(&c->backlog);
  lis->nwaiting--;
  if (lis->current == c) lis->current = NULL;
  c->lis = NULL;
}

int weft_accept(weft_listener_t *l, weft_conn_t *conn) {
  weft__listener_t *lis = listener_of(l);
  weft__conn_t *fresh = weft__conn_of(conn), *c;
  if (!lis || !fresh || lis->core != fresh->core) return UV_EINVAL;
  if (weft__forked(lis->core)) return WEFT_EFORK;
  if (fresh->state != WEFT__CN_NEW || fresh->h.closing || lis->h.closing) return UV_EINVAL;
  for (;;) {
    bool judged = lis->current != NULL;
    if (!(c = who_waits(lis))) return UV_EAGAIN;
    leave_backlog(lis, c);
    if (weft__session_accept(c->s) == 0) break;
    c->state = WEFT__CN_ENDED;
    weft__conn_later(c);
    if (judged) return UV_EAGAIN; /* the caller looked at this one, and wants no other */
  }
  /* the handle moves from the fresh object to the one that has the session */
  c->pub = conn;
  c->alloc_cb = fresh->alloc_cb;
  c->recv_cb = fresh->recv_cb;
  c->event_cb = fresh->event_cb;
  c->receiving = fresh->receiving;
  bool ref = fresh->h.ref;
  fresh->pub = NULL;
  conn->priv = c;
  weft__handle_open(c->core, &c->h, WEFT__H_CONN);
  weft__handle_closed(&fresh->h);
  weft__conn_free(fresh);
  if (!ref) weft_unref(conn);
  if (c->receiving) weft__session_rx_start(c->s);
  weft__conn_opened(c);
  return 0;
}

int weft_reject(weft_listener_t *l, int err, const char *why) {
  weft__listener_t *lis = listener_of(l);
  weft__conn_t *c;
  char text[200];
  if (!lis) return UV_EINVAL;
  if (weft__forked(lis->core)) return WEFT_EFORK;
  if (!(c = who_waits(lis))) return UV_EAGAIN;
  leave_backlog(lis, c);
  if (why && *why)
    snprintf(text, sizeof text, "%s", why);
  else
    snprintf(text, sizeof text, "%s", err ? weft_strerror(err) : "no reason given");
  weft__session_reject(c->s, WEFT_EREJECTED, text);
  weft__accept_forget(c);
  c->state = WEFT__CN_ENDED;
  weft__conn_later(c);
  return 0;
}
