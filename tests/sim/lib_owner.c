/* SPDX-License-Identifier: Apache-2.0 */
/* lib_owner.c - the owner of a session end: what fabric/loop does, over the simulator.
 *
 * Design notes
 *  - A is the connecting end: it says HELLO over the first slot that answers, joins the others once
 *    the session is open, and joins again what was lost, with a growing pause.
 *  - B answers. When its session is gone it leaves a tombstone: the number it had got to, and the
 *    secret to prove that it is the one who says so.
 *  - Flush runs at the end of every step in which something got dirty, never inside one. */
#include "lib_world.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const weft__path_cbs_t connect_cbs, closing_cbs;

static void slot_retry(slot_t *, uint64_t after);
static void slot_connect(slot_t *);

static weft__rng_t *rng(owner_t *o) {
  return &o->rng;
}

/* ---- The session's upcalls ---- */

static void on_random(void *owner, void *out, size_t len) {
  owner_t *o = owner;
  uint8_t *p = out;

  while (len > 0) {
    uint64_t v = weft__rng_next(&o->rng);
    size_t n = len < 8 ? len : 8;
    memcpy(p, &v, n);
    p += n;
    len -= n;
  }
}

static void on_dirty(void *owner) {
  ((owner_t *) owner)->dirty = true;
}

static void tick(void *arg, uint64_t gen) {
  owner_t *o = arg;

  if (o->s != NULL && gen == o->timer_gen) weft__session_tick(o->s);
}

static void on_timer(void *owner, uint64_t deadline) {
  owner_t *o = owner;
  world_t *w = o->w;
  uint64_t epoch = w->plan.side[o->side].epoch;

  weft__sim_at(w->sim, o->side, deadline > epoch ? deadline - epoch : 0, tick, o, ++o->timer_gen);
}

static void accept_now(void *arg, uint64_t unused) {
  owner_t *o = arg;

  (void) unused;
  if (o->s == NULL || !o->waiting_accept) return;
  o->waiting_accept = false;
  if (weft__session_accept(o->s) == 0) o->open = true;
}

static void on_hello(void *owner, const weft__hello_t *peer) {
  owner_t *o = owner;
  world_t *w = o->w;
  unsigned i;

  if (!w->plan.hostile && peer->max_message != w->plan.side[1 - o->side].max_message)
    world_violate(w, "%c: the peer's hello came over changed", "AB"[o->side]);
  if (o->side == 1) {
    o->waiting_accept = true;
    if (w->plan.side[1].accept_after == 0)
      accept_now(o, 0);
    else
      weft__sim_at(w->sim, 1, weft__sim_time(w->sim) + w->plan.side[1].accept_after, accept_now, o,
                   0);
    return;
  }
  o->open = true;
  memcpy(o->secret, weft__session_secret(o->s), 32);
  for (i = 0; i < w->plan.nslots; i++)
    if (o->slot[i].state == SLOT_NONE) slot_retry(&o->slot[i], weft__rng_below(rng(o), 50 * US));
}

static void on_deliver(void *owner, const weft__rxm_t *m) {
  oracle_deliver(owner, m);
}

static void on_eof(void *owner) {
  oracle_eof(owner);
}

static void *on_alloc(void *owner, uint64_t size, const void *head, uint32_t headlen) {
  return oracle_alloc(owner, size, head, headlen);
}

static bool on_lasts(void *owner, const void *dst) {
  (void) owner, (void) dst;
  return true;
}

static void on_unalloc(void *owner, void *dst) {
  oracle_unalloc(owner, dst);
}

static void on_sent(void *owner, weft__txm_t *m, int status) {
  oracle_sent(owner, m, status);
}

static void on_event(void *owner, const weft__sev_t *ev) {
  owner_t *o = owner;
  world_t *w = o->w;
  static const char *const names[] = {"?",       "MIGRATED", "PATH_UP",    "PATH_DOWN",
                                      "STALLED", "BACK",     "JOIN_PLEASE"};

  weft__sim_note(w->sim, "%c: event %s (%d, %s)", "AB"[o->side], names[ev->type], ev -> err,
                 ev -> why);
  switch (ev->type) {
  case WEFT__SEV_MIGRATED: o->moved++; break;
  case WEFT__SEV_PATH_DOWN:
    if (!o->ended && !other(o)->ended && strstr(ev->why, "silent for") != NULL) o->lost_paths++;
    o->npaths--;
    if (o->npaths == 0) o->nolive_since = weft__sim_time(w->sim);
    break;
  case WEFT__SEV_JOIN_PLEASE:
    if (o->side == 0 && o->open)
      for (unsigned i = 0; i < w->plan.nslots; i++)
        if (o->slot[i].state == SLOT_NONE) slot_retry(&o->slot[i], 0);
    break;
  case WEFT__SEV_BACK: o->stalled = false; break;
  case WEFT__SEV_STALLED:
    /* The peer, or the only path? Only a new path can tell: one beside those that there are. */
    o->stalled = true;
    o->stalls++;
    if (o->side == 0)
      for (unsigned i = 0; i < MAX_SLOTS; i++)
        if (o->slot[i].state == SLOT_NONE) slot_retry(&o->slot[i], 0);
    break;
  default: break;
  }
}

static slot_t *slot_of(owner_t *o, const weft__path_t *p) {
  unsigned i;

  for (i = 0; i < MAX_SLOTS; i++)
    if (o->slot[i].path == p) return &o->slot[i];
  return NULL;
}

static void slot_free(slot_t *sl) {
  owner_t *o = sl->o;

  sl->path = NULL;
  sl->state = SLOT_NONE;
  if (o->side != 0) return;
  if (sl->hello && !o->open) /* the next address */
    sl = &o->slot[(unsigned) (sl - o->slot + 1) % o->w->plan.nslots];
  slot_retry(sl, sl->backoff);
}

static void on_path_closed(void *owner, weft__path_t *p, int err, const char *why) {
  owner_t *o = owner;
  slot_t *sl = slot_of(o, p);

  weft__sim_note(o->w->sim, "%c: path %u is gone (%d, %s)", "AB"[o->side], weft__sim_path_id(p),
                 err, why);
  if (sl != NULL) slot_free(sl);
}

static void release(void *arg, uint64_t life) {
  owner_t *o = arg;

  if (o->life != life || o->s == NULL || o->released || o->gone) return;
  if (o->end_err != 0 && weft__session_holds(o->s)) {
    if (!weft__rng_one_in(rng(o), 4)) { /* a user that reads to the end, then lets go */
      o->started = true;
      o->stopped = false;
      weft__session_rx_start(o->s);
      weft__sim_at(o->w->sim, o->side, weft__sim_time(o->w->sim) + MS, release, o, o->life);
      return;
    }
    o->discards = true;
  }
  o->released = true;
  weft__session_abort(o->s, -ECANCELED, 0, "released");
}

static void on_ended(void *owner, int err, const char *why) {
  owner_t *o = owner;
  uint64_t after = o->w->plan.side[o->side].release_after;

  weft__sim_note(o->w->sim, "%c: ended (%d, %s)", "AB"[o->side], err, why);
  oracle_ended(o, err, why);
  if (after == 0)
    release(o, o->life);
  else if (after != WEFT__SIM_FOREVER)
    weft__sim_at(o->w->sim, o->side, weft__sim_time(o->w->sim) + after, release, o, o->life);
}

static void destroy(void *arg, uint64_t unused) {
  owner_t *o = arg;

  (void) unused;
  weft__session_destroy(o->s);
  o->s = NULL;
  o->destroyed = true;
  weft__sim_note(o->w->sim, "%c: destroyed", "AB"[o->side]);
  if (o->side == 1 && !o->open && !o->aborted) { /* it never was a session: the next may be */
    o->life++;
    o->npaths = 0;
    o->again = o->created = o->gone = o->destroyed = o->ended = o->released = false;
    o->waiting_accept = false;
    o->end_err = 0;
  }
}

static void on_gone(void *owner) {
  owner_t *o = owner;
  uint64_t after = o->w->plan.side[o->side].destroy_after;
  unsigned i;

  if (o->gone) world_violate(o->w, "%c: gone twice", "AB"[o->side]);
  o->gone = true;
  o->gone_at = weft__sim_time(o->w->sim);
  o->rx_last = weft__session_rx_next(o->s);
  weft__session_stats(o->s, &o->stats);
  o->timer_gen++;
  for (i = 0; i < MAX_SLOTS; i++)
    if (o->slot[i].state == SLOT_UP)
      world_violate(o->w, "%c: gone while a path is not closed", "AB"[o->side]);
  if (after == 0)
    destroy(o, 0);
  else
    weft__sim_at(o->w->sim, o->side, weft__sim_time(o->w->sim) + after, destroy, o, 0);
}

static const weft__session_ops_t session_ops = {
    .hello = on_hello,
    .deliver = on_deliver,
    .eof = on_eof,
    .alloc = on_alloc,
    .lasts = on_lasts,
    .unalloc = on_unalloc,
    .sent = on_sent,
    .event = on_event,
    .path_closed = on_path_closed,
    .dirty = on_dirty,
    .timer = on_timer,
    .ended = on_ended,
    .gone = on_gone,
    .random = on_random,
};

/* ---- Creating ---- */

static void session_start(void *arg, uint64_t gen) {
  owner_t *o = arg;

  if (gen != o->start_gen) return;
  o->started = true;
  if (o->s != NULL && !o->stopped) weft__session_rx_start(o->s);
}

static bool create(owner_t *o, const uint8_t id[16]) {
  const plan_t *p = &o->w->plan;
  const plan_side_t *ps = &p->side[o->side];
  weft__session_conf_t conf;

  memset(&conf, 0, sizeof(conf));
  conf.initiator = o->side == 0;
  memcpy(conf.id, id, 16);
  memcpy(o->id, id, 16);
  conf.now_ns = weft__sim_clock(o->w->sim, o->side);
  conf.handshake_ns = p->handshake;
  conf.wait_ns = p->wait;
  conf.peer_timeout_ns = p->peer_timeout;
  conf.beat_ns = p->beat;
  conf.linger_ns = p->linger;
  conf.hello.max_message = ps->max_message;
  conf.hello.win_messages = ps->win_messages;
  conf.hello.win_bytes = ps->win_bytes;
  conf.hello.peer_timeout_ms = (uint32_t) (p->peer_timeout / MS);
  memcpy(conf.hello.name, "sim", 4);
  weft_qos_init(&conf.hello.qos, sizeof(conf.hello.qos));
  conf.hello.qos.interruption_ms = p->interruption_ms;
  conf.hello.qos.reliability = p->reliability;
  conf.hello.qos.ack = p->ack;
  o->s = weft__session_create(&conf, &session_ops, o);
  if (o->s == NULL) return false;
  o->created = true;
  if (o->started && !o->stopped) weft__session_rx_start(o->s);
  return true;
}

bool owner_alive(const owner_t *o) {
  return o->s != NULL && !o->gone && !o->aborted && !o->w->checked;
}

static void add_path(owner_t *o, slot_t *sl, weft__path_t *p, uint64_t my_key, uint64_t peer_key) {
  unsigned i = (unsigned) (sl - o->slot);
  int err;

  if (o->w->plan.hostile) weft__sim_liar(p);
  sl->state = SLOT_UP;
  sl->path = p;
  sl->backoff = o->w->plan.backoff;
  o->npaths++;
  err = weft__session_add_path(o->s, p, my_key, peer_key, o->w->plan.rank[i], o->w->plan.settle[i]);
  if (err == 0) return;
  o->npaths--;
  weft__sim_note(o->w->sim, "%c: the session does not take path %u (%d)", "AB"[o->side],
                 weft__sim_path_id(p), err);
  if (err != -ENOTCONN && malloc_failures() == 0)
    world_violate(o->w, "%c: add_path answers %d", "AB"[o->side], err);
  p->cbs = &closing_cbs;
  p->user = sl;
  sl->state = SLOT_CLOSING;
  p->ops->close(p);
}

/* ---- A path that is ours and not the session's ---- */

static void ours_closed(weft__path_t *p) {
  slot_free(p->user);
}

static void ours_down(weft__path_t *p, int err, const char *why, const void *blob, size_t len) {
  (void) p, (void) err, (void) why, (void) blob, (void) len;
}

static void ours_frame(weft__path_t *p, weft__rbuf_t *b) {
  (void) p, (void) b;
}

static void ours_rma_done(weft__path_t *p, weft__rma_t *r, int status) {
  (void) p, (void) r, (void) status;
}

static void ours_writable(weft__path_t *p) {
  (void) p;
}

static const weft__path_cbs_t closing_cbs = {NULL,          ours_frame, ours_writable,
                                             ours_rma_done, ours_down,  ours_closed};

/* A proof that fails is a violation, unless there was no memory to compute it, or somebody lies. */
static void proof_fails(owner_t *o, const char *what) {
  if (malloc_failures() == 0 && !o->w->plan.hostile) world_violate(o->w, "A: %s", what);
}

/* ---- The connecting end ---- */

static void give_up(slot_t *sl) {
  weft__path_t *p = sl->path;

  if (sl->state == SLOT_CLOSING) return;
  sl->state = SLOT_CLOSING;
  sl->gen++;
  p->cbs = &closing_cbs;
  p->user = sl;
  p->ops->close(p);
}

static void connect_timeout(void *arg, uint64_t gen) {
  slot_t *sl = arg;

  if (sl->gen == gen && sl->state == SLOT_CONNECTING) give_up(sl);
}

static void tombstone(slot_t *sl, const weft__answer_t *a) {
  owner_t *o = sl->o;
  uint8_t proof[16];

  weft__join_proof(weft__session_secret(o->s), o->id, sl->key, a->key, a->aux, proof);
  if (!weft__proof_equal(proof, a->proof)) {
    proof_fails(o, "a tombstone without proof");
    return;
  }
  o->w->st.tombstones++;
  weft__sim_note(o->w->sim, "A: tombstone, everything below #%llu has arrived",
                 (unsigned long long) a->aux);
  weft__session_tombstone(o->s, a->aux, a->code);
}

static void on_connected(weft__path_t *p, const void *blob, size_t len) {
  slot_t *sl = p->user;
  owner_t *o = sl->o;
  weft__answer_t a;
  uint8_t proof[16];

  sl->gen++;
  if (!weft__answer_get(blob, len, &a) || a.kind != WEFT__A_ACCEPT) {
    world_violate(o->w, "A: accepted with a malformed answer");
    give_up(sl);
    return;
  }
  if (!owner_alive(o) || (sl->hello && o->npaths != 0)) {
    give_up(sl);
    return;
  }
  if (!sl->hello) {
    weft__join_proof(weft__session_secret(o->s), o->id, sl->key, a.key, 0, proof);
    if (!weft__proof_equal(proof, a.proof)) {
      proof_fails(o, "accepted without proof");
      give_up(sl);
      return;
    }
  }
  weft__xfer_settle(&p->lim, a.can);
  add_path(o, sl, p, sl->key, a.key);
}

static void on_connect_down(weft__path_t *p, int err, const char *why, const void *blob,
                            size_t len) {
  slot_t *sl = p->user;
  owner_t *o = sl->o;
  weft__answer_t a;

  weft__sim_note(o->w->sim, "A: connect over path %u failed (%d, %s)", weft__sim_path_id(p), err,
                 why);
  if (len != 0 && owner_alive(o) && weft__answer_get(blob, len, &a)) {
    if (a.kind == WEFT__A_TOMBSTONE && o->open)
      tombstone(sl, &a);
    else if (a.kind == WEFT__A_REJECT && a.code == WEFT__J_NO_SESSION)
      weft__session_fail(o->s, WEFT__E_NOSESSION, "the peer knows no such session");
    else if (a.kind == WEFT__A_REJECT && a.code == WEFT__J_BAD_TOKEN && o->joins - sl->join < 64)
      proof_fails(o, "our token was refused");
  }
  give_up(sl);
}

static const weft__path_cbs_t connect_cbs = {on_connected,  ours_frame,      ours_writable,
                                             ours_rma_done, on_connect_down, ours_closed};

static void slot_connect(slot_t *sl) {
  owner_t *o = sl->o;
  world_t *w = o->w;
  weft__request_t r;
  uint8_t blob[WEFT__REQUEST_SIZE];
  unsigned i = (unsigned) (sl - o->slot);

  memset(&r, 0, sizeof(r));
  r.vlow = r.vhigh = WEFT__WIRE_VERSION;
  sl->hello = !o->open;
  r.kind = sl->hello ? WEFT__K_HELLO : WEFT__K_JOIN;
  sl->key = r.key = weft__rng_next(rng(o));
  r.can = weft__can(w->plan.link[w->plan.slot_link[i]].lim[0].xfer);
  memcpy(r.id, o->id, 16);
  if (!sl->hello) weft__session_join_token(o->s, r.key, r.token);
  sl->join = o->joins = weft__join_counter(r.token);
  weft__request_put(blob, &r);
  sl->state = SLOT_CONNECTING;
  sl->gen++;
  weft__sim_connect(w->link[w->plan.slot_link[i]], 0, blob, sizeof(blob), &connect_cbs, sl,
                    &sl->path);
  weft__sim_at(w->sim, 0, weft__sim_time(w->sim) + w->plan.connect_timeout, connect_timeout, sl,
               sl->gen);
}

static void retry(void *arg, uint64_t gen) {
  slot_t *sl = arg;
  owner_t *o = sl->o;

  if (sl->gen != gen || sl->state != SLOT_NONE || !owner_alive(o) || o->end_err != 0) return;
  if (!o->open && o->npaths != 0) return;              /* joins wait for the hello */
  if (o->open && !weft__session_is_open(o->s)) return; /* it only waits for its paths to close */
  if (sl - o->slot >= o->w->plan.nslots && !o->stalled) return; /* only there for a stall */
  slot_connect(sl);
}

static void slot_retry(slot_t *sl, uint64_t after) {
  owner_t *o = sl->o;
  const plan_t *p = &o->w->plan;

  if (!owner_alive(o)) return;
  weft__sim_at(o->w->sim, 0,
               weft__sim_time(o->w->sim) + after + weft__rng_below(rng(o), after / 4 + 1), retry,
               sl, ++sl->gen);
  sl->backoff = sl->backoff * 2 < p->backoff_max ? sl->backoff * 2 : p->backoff_max;
}

/* ---- The accepting end ---- */

static slot_t *free_slot(owner_t *o, unsigned link) {
  unsigned i;

  for (i = 0; i < o->w->plan.nslots; i++)
    if (o->slot[i].state == SLOT_NONE && o->w->plan.slot_link[i] == link) return &o->slot[i];
  for (i = 0; i < MAX_SLOTS; i++)
    if (o->slot[i].state == SLOT_NONE) return &o->slot[i];
  return NULL;
}

static void reject(weft__sim_req_t *req, unsigned code) {
  weft__answer_t a;
  uint8_t blob[WEFT__ANSWER_SIZE];

  memset(&a, 0, sizeof(a));
  a.kind = WEFT__A_REJECT;
  a.version = WEFT__WIRE_VERSION;
  a.code = (uint8_t) code;
  weft__answer_put(blob, &a);
  weft__sim_reject(req, blob, sizeof(blob));
}

static void bury(owner_t *o, weft__sim_req_t *req, const weft__request_t *r) {
  weft__answer_t a;
  uint8_t blob[WEFT__ANSWER_SIZE];

  memset(&a, 0, sizeof(a));
  a.kind = WEFT__A_TOMBSTONE;
  a.version = WEFT__WIRE_VERSION;
  a.code = o->end_err != 0 || o->aborted;
  a.key = weft__rng_next(rng(o));
  a.aux = o->rx_last;
  weft__join_proof(o->secret, o->id, r->key, a.key, a.aux, a.proof);
  weft__answer_put(blob, &a);
  weft__sim_reject(req, blob, sizeof(blob));
}

void owner_request(owner_t *o, weft__sim_req_t *req) {
  size_t len;
  const void *blob = weft__sim_req_blob(req, &len);
  unsigned link = weft__sim_link_index(weft__sim_req_link(req));
  weft__request_t r;
  weft__answer_t a;
  uint8_t out[WEFT__ANSWER_SIZE];
  weft__path_t *p;
  slot_t *sl;
  int code;

  if (!weft__request_get(blob, len, &r)) {
    world_violate(o->w, "B: a malformed request");
    reject(req, WEFT__J_MALFORMED);
    return;
  }
  memset(&a, 0, sizeof(a));
  a.kind = WEFT__A_ACCEPT;
  a.version = WEFT__WIRE_VERSION;
  a.can = weft__can(o->w->plan.link[link].lim[1].xfer);
  a.key = weft__rng_next(rng(o));
  sl = free_slot(o, link);
  if (r.kind == WEFT__K_JOIN) {
    if (o->s == NULL || o->gone) {
      if (o->created && o->open)
        bury(o, req, &r);
      else
        reject(req, WEFT__J_NO_SESSION);
      return;
    }
    code = weft__session_join_check(o->s, r.key, r.token, a.key, a.proof);
    if (code != WEFT__J_OK || sl == NULL) {
      reject(req, code != WEFT__J_OK ? (unsigned) code : WEFT__J_FULL);
      return;
    }
  } else {
    if ((o->gone && !o->again) || o->aborted) {
      reject(req, WEFT__J_CLOSING);
      return;
    }
    if (o->s != NULL) { /* an earlier try, of which the other end has never heard */
      if (!o->open && !o->again) {
        o->again = true;
        weft__session_fail(o->s, -ECONNABORTED, "another hello");
      }
      reject(req, WEFT__J_BUSY);
      return;
    }
    if (sl == NULL || !create(o, r.id)) {
      reject(req, WEFT__J_BUSY);
      return;
    }
  }
  weft__answer_put(out, &a);
  if (weft__sim_accept(req, out, sizeof(out), &closing_cbs, sl, &p) != 0) return;
  weft__xfer_settle(&p->lim, r.can);
  add_path(o, sl, p, a.key, r.key);
  if (r.kind == WEFT__K_HELLO && sl->state != SLOT_UP) { /* it never had a path */
    weft__session_destroy(o->s);
    o->s = NULL;
    o->created = false;
  }
}

/* ---- Life ---- */

void owner_init(owner_t *o, world_t *w, unsigned side) {
  msg_t *msg = o->msg;
  uint8_t *tx = o->tx_arena, *rx = o->rx_arena;
  unsigned i;

  memset(o, 0, sizeof(*o));
  o->msg = msg;
  o->tx_arena = tx;
  o->rx_arena = rx;
  o->w = w;
  o->side = side;
  o->rng = weft__rng_fork(w->plan.seed, 0xa0 + side);
  o->n = w->plan.side[side].n;
  for (i = 0; i < MAX_SLOTS; i++) {
    o->slot[i].o = o;
    o->slot[i].backoff = w->plan.backoff;
  }
  memset(msg, 0, (o->n + 1) * sizeof(*msg));
}

/* The time budget for the whole connect. */
static void connect_gives_up(void *arg, uint64_t unused) {
  owner_t *o = arg;

  (void) unused;
  if (owner_alive(o) && !o->open) weft__session_fail(o->s, -ETIMEDOUT, "nobody answers");
}

static void try_create(void *arg, uint64_t unused) {
  owner_t *o = arg;
  uint8_t id[16];

  (void) unused;
  if (o->aborted) return; /* its user had enough before there was memory for it */
  on_random(o, id, sizeof(id));
  if (!create(o, id)) {
    weft__sim_at(o->w->sim, 0, weft__sim_time(o->w->sim) + MS, try_create, o, 0);
    return;
  }
  slot_retry(&o->slot[o->w->plan.first_slot], 0);
  weft__sim_at(o->w->sim, 0, weft__sim_time(o->w->sim) + 2 * o->w->plan.handshake, connect_gives_up,
               o, 0);
}

void owner_begin(owner_t *o) {
  const plan_side_t *ps = &o->w->plan.side[o->side];
  weft__sim_t *sim = o->w->sim;
  unsigned i;

  weft__sim_at(sim, o->side, ps->start_at, session_start, o, o->start_gen);
  if (o->side == 0) weft__sim_at(sim, 0, 0, try_create, o, 0);
  for (i = 0; i < ps->nstops; i++)
    weft__sim_at(sim, o->side, ps->stop[i].at, user_stops, o, ps->stop[i].length);
}

/* Called after each step. The workload starts with the session. */
void owner_flush(owner_t *o) {
  unsigned rounds = 0;

  if (!o->working && owner_alive(o) && (o->side == 0 || o->open)) user_work(o, 0);
  while (o->dirty && o->s != NULL) {
    o->dirty = false;
    weft__session_flush(o->s);
    if (++rounds > 1000) {
      world_violate(o->w, "%c: flush leaves the session dirty for ever", "AB"[o->side]);
      break;
    }
  }
  if (o->side == 1 && o->s != NULL && weft__session_is_open(o->s))
    memcpy(o->secret, weft__session_secret(o->s), 32);
}
