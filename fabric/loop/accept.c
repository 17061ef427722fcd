/* SPDX-License-Identifier: Apache-2.0 */
/* accept.c - requests at our ports: new sessions, joins to known ones, and what is answered when a
 * session has ended.
 *
 * Design notes
 *  - A HELLO is welcome at a listener's own address only; a JOIN at any port of the context: the
 *    session's id finds it.
 *  - Until it is accepted, a session counts against its source (opts.half_open_max), so that one
 *    source cannot fill a listener's backlog. It has opts.handshake_timeout_ms for its HELLO frame,
 *    and opts.connect_timeout_ms from then on for the program to accept it (the session's own
 *    clock). A source is an IPv4 address, or an IPv6 network of 64 bits: one host has as many
 *    addresses in that as it likes. The last places are for sources that have none.
 *  - A session's end leaves a tombstone for opts.tombstone_ms. It answers JOINs that prove
 *    themselves with what had arrived here, so that a lost last acknowledgement is no error at the
 *    other end.
 *  - Offers name one port per own address; those ports (crail->join) are open while somebody may
 *    come: a listener, an accepted connection, a tombstone. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loop/conn.h"
#include "units.h"

/* What a peer's wish may cost us, unless the listener's URL asks for more. */
enum { PEER_SPIN_US = 200 };
enum { SOURCES = 256, TOMBS_MAX = 65536, HALF_OPEN_ALL = 4096, HALF_OPEN_NEW = HALF_OPEN_ALL / 8 };

typedef struct weft__source {
  struct weft__source *next;
  struct sockaddr_storage addr;
  unsigned n;
} source_t;

typedef struct weft__tomb {
  struct weft__tomb *next; /* by age */
  struct weft__tomb *hash_next;
  uint64_t until, rx_next;
  uint8_t id[16], secret[32];
  int code;
} tomb_t;

static unsigned hash_id(const uint8_t id[16], unsigned cap) {
  uint64_t h;
  memcpy(&h, id, sizeof h); /* random already */
  return (unsigned) ((h ^ h >> 32) & (cap - 1));
}

/* ---- Sessions by id ---- */

static weft__conn_t *table_find(weft__core_t *core, const uint8_t id[16]) {
  if (!core->table_cap) return NULL;
  for (weft__conn_t *c = core->table[hash_id(id, core->table_cap)]; c; c = c->hash_next)
    if (memcmp(weft__session_id(c->s), id, 16) == 0) return c;
  return NULL;
}

static int table_add(weft__core_t *core, weft__conn_t *c) {
  if (core->table_n >= core->table_cap) {
    unsigned cap = core->table_cap ? 2 * core->table_cap : 64;
    weft__conn_t **t = calloc(cap, sizeof *t);
    if (!t) return UV_ENOMEM;
    for (unsigned i = 0; i < core->table_cap; i++)
      for (weft__conn_t *m = core->table[i], *next; m; m = next) {
        unsigned k = hash_id(weft__session_id(m->s), cap);
        next = m->hash_next;
        m->hash_next = t[k];
        t[k] = m;
      }
    free(core->table);
    core->table = t;
    core->table_cap = cap;
  }
  unsigned k = hash_id(weft__session_id(c->s), core->table_cap);
  c->hash_next = core->table[k];
  core->table[k] = c;
  core->table_n++;
  c->in_table = true;
  return 0;
}

static void table_del(weft__conn_t *c) {
  weft__core_t *core = c->core;
  weft__conn_t **p = &core->table[hash_id(weft__session_id(c->s), core->table_cap)];
  while (*p != c) p = &(*p)->hash_next;
  *p = c->hash_next;
  core->table_n--;
  c->in_table = false;
}

/* ---- Half-open handshakes by source ---- */

static struct sockaddr_storage source_of(const struct sockaddr_storage *from) {
  struct sockaddr_storage a = *from;
  weft__addr_set_port(&a, 0);
  if (a.ss_family == AF_INET6) memset(((struct sockaddr_in6 *) &a)->sin6_addr.s6_addr + 8, 0, 8);
  return a;
}

static unsigned hash_addr(const struct sockaddr_storage *a) {
  const uint8_t *p = a->ss_family == AF_INET
                         ? (const uint8_t *) &((const struct sockaddr_in *) a)->sin_addr
                         : (const uint8_t *) &((const struct sockaddr_in6 *) a)->sin6_addr;
  unsigned h = 0;
  for (unsigned i = 0; i < (a->ss_family == AF_INET ? 4u : 16u); i++) h = h * 31 + p[i];
  return h % SOURCES;
}

static source_t *source_take(weft__core_t *core, const struct sockaddr_storage *peer) {
  struct sockaddr_storage from = source_of(peer);
  if (core->half_open >= HALF_OPEN_ALL) return NULL;
  if (!core->sources && !(core->sources = calloc(SOURCES, sizeof *core->sources))) return NULL;
  source_t **slot = &core->sources[hash_addr(&from)], *s = *slot;
  while (s && !weft__addr_same_ip(&s->addr, &from)) s = s->next;
  if (s && (s->n >= core->opts.half_open_max || core->half_open >= HALF_OPEN_ALL - HALF_OPEN_NEW))
    return NULL;
  if (!s) {
    s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->addr = from;
    s->next = *slot;
    *slot = s;
  }
  s->n++;
  core->half_open++;
  return s;
}

static void source_give(weft__core_t *core, source_t *s) {
  core->half_open--;
  if (--s->n) return;
  source_t **p = &core->sources[hash_addr(&s->addr)];
  while (*p != s) p = &(*p)->next;
  *p = s->next;
  free(s);
}

void weft__half_open_free(weft__core_t *core) {
  for (unsigned i = 0; core->sources && i < SOURCES; i++)
    while (core->sources[i]) {
      source_t *s = core->sources[i];
      core->sources[i] = s->next;
      free(s);
    }
  free(core->sources);
}

/* ---- Tombstones ---- */

static void tomb_unlink(weft__core_t *core, tomb_t *t) { /* the oldest one */
  tomb_t **p = &core->tomb_table[hash_id(t->id, core->tomb_cap)];
  while (*p != t) p = &(*p)->hash_next;
  *p = t->hash_next;
  core->tombs_head = t->next;
  if (!core->tombs_head) core->tombs_tail = NULL;
  core->ntombs--;
  free(t);
}

static void on_tomb_timer(weft__timer_t *timer) {
  weft__core_t *core = weft__container(timer, weft__core_t, tomb_timer);
  while (core->tombs_head && core->tombs_head->until <= core->now_ns)
    tomb_unlink(core, core->tombs_head);
  if (core->tombs_head) weft__timer_set(core, timer, core->tombs_head->until);
  weft__joins_check(core);
}

void weft__tomb_add(weft__conn_t *c) {
  weft__core_t *core = c->core;
  if (core->state != WEFT__C_OPEN || !core->opts.tombstone_ms || !c->in_table) return;
  if (!core->tomb_table) {
    core->tomb_cap = 1024;
    core->tomb_table = calloc(core->tomb_cap, sizeof *core->tomb_table);
    if (!core->tomb_table) return;
    core->tomb_timer.fire = on_tomb_timer;
  }
  if (core->ntombs >= TOMBS_MAX) tomb_unlink(core, core->tombs_head);
  tomb_t *t = calloc(1, sizeof *t);
  if (!t) return;
  memcpy(t->id, weft__session_id(c->s), sizeof t->id);
  memcpy(t->secret, weft__session_secret(c->s), sizeof t->secret);
  t->rx_next = weft__session_rx_next(c->s);
  t->code = c->err;
  t->until = core->now_ns + core->opts.tombstone_ms * WEFT__MS;
  unsigned k = hash_id(t->id, core->tomb_cap);
  t->hash_next = core->tomb_table[k];
  core->tomb_table[k] = t;
  if (core->tombs_tail)
    core->tombs_tail->next = t;
  else
    core->tombs_head = t;
  core->tombs_tail = t;
  core->ntombs++;
  if (core->ntombs == 1) weft__timer_set(core, &core->tomb_timer, t->until);
}

void weft__tombs_free(weft__core_t *core) {
  while (core->tombs_head) tomb_unlink(core, core->tombs_head);
  free(core->tomb_table);
}

static const tomb_t *tomb_find(weft__core_t *core, const uint8_t id[16]) {
  if (!core->ntombs) return NULL;
  for (tomb_t *t = core->tomb_table[hash_id(id, core->tomb_cap)]; t; t = t->hash_next)
    if (memcmp(t->id, id, 16) == 0) return t;
  return NULL;
}

/* ---- Answers ---- */

/* Of a path that no session holds: before weft__session_add_path, or when that failed. */
static void mute_frame(weft__path_t *path, weft__rbuf_t *b) {
  (void) path;
  (void) b;
}
static void mute_writable(weft__path_t *path) {
  (void) path;
}
static void mute_rma(weft__path_t *path, weft__rma_t *rma, int status) {
  (void) path;
  (void) rma;
  (void) status;
}
static void mute_down(weft__path_t *path, int err, const char *why, const void *blob, size_t len) {
  (void) path;
  (void) err;
  (void) why;
  (void) blob;
  (void) len;
}
static void mute_closed(weft__path_t *path) {
  (void) path;
}
static const weft__path_cbs_t mute = {.frame = mute_frame,
                                      .writable = mute_writable,
                                      .rma_done = mute_rma,
                                      .down = mute_down,
                                      .closed = mute_closed};

static void reject(weft__req_t *req, unsigned code) {
  uint8_t blob[WEFT__ANSWER_SIZE];
  char from[80];
  weft__info("request from %s rejected: %s", weft__addr_str(weft__req_peer(req), from, sizeof from),
             weft__jcode_text(code));
  weft__answer_t a = {
      .kind = WEFT__A_REJECT, .version = WEFT__WIRE_VERSION, .code = (uint8_t) code};
  weft__answer_put(blob, &a);
  weft__req_reject(req, blob, sizeof blob);
}

static void answer_tomb(weft__core_t *core, weft__req_t *req, const weft__request_t *rq,
                        const tomb_t *t) {
  uint8_t blob[WEFT__ANSWER_SIZE];
  weft__answer_t a = {.kind = WEFT__A_TOMBSTONE,
                      .version = WEFT__WIRE_VERSION,
                      .code = t->code ? 1 : 0,
                      .aux = t->rx_next};
  if (!weft__join_token_ok(t->secret, t->id, rq->key, rq->token)) {
    reject(req, WEFT__J_BAD_TOKEN);
    return;
  }
  weft__random(core, &a.key, sizeof a.key);
  weft__join_proof(t->secret, t->id, rq->key, a.key, a.aux, a.proof);
  weft__answer_put(blob, &a);
  weft__req_reject(req, blob, sizeof blob);
}

static int accept_path(weft__conn_t *c, weft__req_t *req, const weft__request_t *rq,
                       weft__answer_t *a, const weft__cand_t *cand) {
  uint8_t blob[WEFT__ANSWER_SIZE];
  weft__path_t *path;
  a->kind = WEFT__A_ACCEPT;
  a->version = WEFT__WIRE_VERSION;
  a->can = weft__can(weft__req_xfer(req));
  weft__answer_put(blob, a);
  int err = weft__req_accept(req, blob, sizeof blob, &mute, NULL, &path);
  if (err) return err;
  weft__xfer_settle(&path->lim, rq->can);
  int rank = cand ? weft__rank_number(&c->qos, cand, true, 0) : 0;
  err = weft__session_add_path(c->s, path, a->key, rq->key, rank, 0);
  if (err) path->ops->close(path); /* out of memory, or the session has just ended */
  return err;
}

static void join(weft__core_t *core, weft__req_t *req, const weft__request_t *rq,
                 const weft__cand_t *cand) {
  weft__answer_t a = {0};
  char from[80];
  weft__conn_t *c = table_find(core, rq->id);
  if (!c) {
    const tomb_t *t = tomb_find(core, rq->id);
    if (t)
      answer_tomb(core, req, rq, t);
    else
      reject(req, WEFT__J_NO_SESSION);
    return;
  }
  weft__random(core, &a.key, sizeof a.key);
  int code = weft__session_join_check(c->s, rq->key, rq->token, a.key, a.proof);
  if (code != WEFT__J_OK) {
    if (code == WEFT__J_BAD_TOKEN)
      weft__warn("join from %s: wrong token",
                 weft__addr_str(weft__req_peer(req), from, sizeof from));
    reject(req, (unsigned) code);
    return;
  }
  int err = accept_path(c, req, rq, &a, cand);
  if (err)
    weft__warn("join from %s: %s", weft__addr_str(&c->from, from, sizeof from), uv_strerror(err));
}

static void hello(weft__core_t *core, weft__listener_t *lis, weft__req_t *req,
                  const weft__request_t *rq, const weft__cand_t *cand) {
  struct sockaddr_storage from;
  weft__answer_t a = {0};
  char text[80];
  memset(&from, 0, sizeof from);
  memcpy(&from, weft__req_peer(req), weft__addr_len(weft__req_peer(req)));
  weft__addr_unmap(&from);
  if (core->state != WEFT__C_OPEN || lis->h.closing || lis->err) {
    reject(req, WEFT__J_CLOSING);
    return;
  }
  if (table_find(core, rq->id)) {
    reject(req, WEFT__J_MALFORMED);
    return;
  }
  source_t *source = source_take(core, &from);
  if (!source) {
    reject(req, WEFT__J_BUSY);
    return;
  }
  weft__conn_t *c = weft__conn_new(core);
  if (!c || weft__conn_session(c, rq->id, false) != 0 || table_add(core, c) != 0) {
    weft__warn("%s: no memory for its connection", weft__addr_str(&from, text, sizeof text));
    if (c) weft__conn_free(c);
    source_give(core, source);
    reject(req, WEFT__J_BUSY);
    return;
  }
  c->state = WEFT__CN_HALF;
  c->lis = lis;
  c->from = from;
  c->source = source;
  weft__random(core, &a.key, sizeof a.key);
  if (accept_path(c, req, rq, &a, cand) != 0) {
    weft__accept_forget(c);
    weft__conn_free(c);
  }
}

static void on_request(weft__core_t *core, weft__listener_t *lis, weft__req_t *req,
                       const weft__cand_t *cand) {
  size_t len;
  weft__request_t rq;
  const void *blob = weft__req_blob(req, &len);
  if (!weft__request_get(blob, len, &rq)) {
    reject(req, WEFT__J_MALFORMED);
  } else if (rq.vlow > WEFT__WIRE_VERSION || rq.vhigh < WEFT__WIRE_VERSION) {
    reject(req, WEFT__J_VERSION);
  } else if (rq.kind == WEFT__K_JOIN) {
    join(core, req, &rq, cand);
  } else if (lis) {
    hello(core, lis, req, &rq, cand);
  } else {
    reject(req, WEFT__J_NO_SESSION); /* a port for joins only */
  }
}

static void on_accept_request(weft__lst_t *l, weft__req_t *req) {
  weft__listener_t *lis = weft__lst_user(l);
  on_request(lis->core, lis, req, NULL);
}

static void on_accept_failed(weft__lst_t *l, int err, const char *why) {
  weft__listener_t *lis = weft__lst_user(l);
  weft__error("listener: %s", why);
  if (lis->err) return;
  lis->err = weft__err_public(err);
  weft__later(lis->core, &lis->later);
}

const weft__lst_cbs_t weft__accept_cbs = {.request = on_accept_request, .failed = on_accept_failed};

static void on_join_request(weft__lst_t *l, weft__req_t *req) {
  weft__crail_t *cr = weft__lst_user(l);
  on_request(cr->core, NULL, req, &cr->cand);
}

static void on_join_failed(weft__lst_t *l, int err, const char *why) {
  weft__crail_t *cr = weft__lst_user(l);
  if (err == -ENODEV && cr->rail)
    weft__rail_removed(cr->core, cr->rail, "it was removed");
  else
    weft__warn("%s: lost paths cannot come back here", why);
}

const weft__lst_cbs_t weft__join_cbs = {.request = on_join_request, .failed = on_join_failed};

/* ---- Ports for joins ---- */

void weft__join_listen(weft__core_t *core, weft__crail_t *cr) {
  struct sockaddr_storage addr = cr->cand.addr;
  if (cr->join || cr->state != WEFT__R_OPEN || cr->removed) return;
  const weft__if_t *own = weft__ifs_find(weft__netmon_ifs(core), &addr);
  if (own && own->tentative) return; /* netmon comes back when it can be bound */
  unsigned low = core->port_low, high = core->port_high;
  int err = UV_EADDRINUSE;
  if (!low) low = high = 0;
  for (unsigned port = low; port <= high && err == UV_EADDRINUSE; port++) {
    weft__addr_set_port(&addr, (uint16_t) port);
    err = weft__rail_listen(cr->rail, (struct sockaddr *) &addr, weft__addr_len(&addr), 128,
                            &weft__join_cbs, cr, &cr->join);
  }
  if (err) {
    cr->join = NULL;
    weft__warn("%s %s: no port for further paths: %s", cr->cand.provider, cr->cand.device,
               uv_strerror(err));
  }
}

void weft__joins_listen(weft__core_t *core) {
  for (weft__link_t *l = core->rails.next; core->offers_on && l != &core->rails; l = l->next)
    weft__join_listen(core, weft__container(l, weft__crail_t, link));
}

void weft__joins_check(weft__core_t *core) {
  if (!core->offers_on || core->nlisteners || core->table_n || core->ntombs) return;
  core->offers_on = false;
  for (weft__link_t *l = core->rails.next; l != &core->rails; l = l->next) {
    weft__crail_t *cr = weft__container(l, weft__crail_t, link);
    if (cr->join) weft__lst_close(cr->join);
    cr->join = NULL;
  }
}

/* What the peer may use: every rail that has a port, of the kind (loopback or not) it came by. */
static void make_offers(weft__conn_t *c) {
  weft__core_t *core = c->core;
  weft__offer_t offers[WEFT__OFFERS_MAX];
  unsigned n = 0;
  bool loopback = weft__addr_is_loopback(&c->from);
  memset(offers, 0, sizeof offers);
  for (weft__link_t *l = core->rails.next; l != &core->rails && n < WEFT__OFFERS_MAX; l = l->next) {
    weft__crail_t *cr = weft__container(l, weft__crail_t, link);
    if (cr->state != WEFT__R_OPEN || !cr->join || cr->cand.loopback != loopback) continue;
    if (c->lis && c->lis->devices[0] && !weft__list_has(c->lis->devices, cr->cand.device)) continue;
    weft__offer_t *o = &offers[n++];
    memcpy(o->provider, cr->cand.provider, sizeof o->provider);
    memcpy(o->device, cr->cand.device, sizeof o->device);
    memcpy(&o->addr, weft__lst_addr(cr->join), weft__addr_len(weft__lst_addr(cr->join)));
    o->speed_bps = cr->cand.speed_bps;
  }
  weft__session_set_offers(c->s, offers, n);
}

/* The path was accepted before the peer had said what it needs. */
static void rank_first_contact(weft__conn_t *c) {
  weft__path_t *path;
  weft__cand_t cand;
  if (weft__session_paths(c->s, &path, 1) == 0 || !path->rail) return;
  const weft__crail_t *cr = weft__crail_of(c->core, path);
  memset(&cand, 0, sizeof cand); /* where no rail has this address only the provider is known */
  snprintf(cand.provider, sizeof cand.provider, "%s", weft__rail_provider(path->rail));
  weft__session_set_rank(c->s, path, weft__rank_number(&c->qos, cr ? &cr->cand : &cand, true, 0));
}

/* ---- A peer has introduced itself ---- */

void weft__accept_hello(weft__conn_t *c) {
  weft__listener_t *lis = c->lis;
  const weft__hello_t *peer = weft__session_peer(c->s);
  c->qos = peer->qos;
  c->qos.size = sizeof c->qos;
  c->spin_max_us = lis && lis->spin_us > PEER_SPIN_US ? lis->spin_us : PEER_SPIN_US;
  if (!lis || lis->h.closing) {
    c->lis = NULL;
    weft__session_reject(c->s, WEFT_EREJECTED, "nobody listens any more");
    weft__accept_forget(c);
    c->state = WEFT__CN_ENDED;
    return;
  }
  if (lis->nwaiting >= (unsigned) lis->backlog_max) {
    weft__session_reject(c->s, WEFT_EREJECTED, "too many connections wait to be accepted");
    weft__accept_forget(c);
    c->state = WEFT__CN_ENDED;
    return;
  }
  make_offers(c);
  rank_first_contact(c);
  c->state = WEFT__CN_WAITING;
  weft__list_add(&lis->backlog, &c->backlog);
  lis->nwaiting++;
  if (!lis->listen_cb) return;
  weft_peer_t shown;
  memset(&shown, 0, sizeof shown);
  shown.size = sizeof shown;
  weft__addr_str(&c->from, shown.address, sizeof shown.address);
  memcpy(shown.name, peer->name, sizeof shown.name);
  memcpy(shown.instance, peer->instance, sizeof shown.instance);
  shown.qos = peer->qos;
  shown.offers = peer->noffers;
  lis->current = c;
  lis->peer = &shown;
  lis->listen_cb(lis->pub, 0);
  lis->current = NULL;
  lis->peer = NULL;
}

void weft__accept_taken(weft__conn_t *c) {
  if (c->source) source_give(c->core, c->source);
  c->source = NULL;
}

void weft__accept_forget(weft__conn_t *c) {
  weft__accept_taken(c);
  if (c->in_table) table_del(c);
  if (c->state == WEFT__CN_WAITING && c->lis) {
    weft__list_del(&c->backlog);
    c->lis->nwaiting--;
    if (c->lis->current == c) c->lis->current = NULL;
  }
  c->lis = NULL;
}

void weft__accept_leave(weft__listener_t *lis) {
  weft__core_t *core = lis->core;
  for (weft__link_t *l = core->conns.next, *next; l != &core->conns; l = next) {
    next = l->next;
    weft__conn_t *c = weft__container(l, weft__conn_t, link);
    if (c->lis != lis) continue;
    weft__accept_forget(c);
    c->state = WEFT__CN_ENDED;
    weft__session_reject(c->s, WEFT_EREJECTED, "the listener was closed");
    weft__conn_later(c);
  }
}
