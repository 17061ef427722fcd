/* SPDX-License-Identifier: Apache-2.0 */
/* lib_plan.c - draws plans from seeds: one profile for every kind of trouble.
 *
 * Design notes
 *  - A plan is a pure function of seed and profile. Workload and network are drawn first and alike
 *    for every profile; the profile then adds its faults and bends what it needs bent.
 *  - Schedules are short, and most messages small: a million of them must fit an hour. */
#include "lib_world.h"

#include <string.h>

#define EAGER 16312u /* weft__session_eager_max() */

static uint64_t pick(weft__rng_t *r, const uint64_t *v, unsigned n) {
  return v[weft__rng_below(r, n)];
}
#define PICK(r, ...)                                                                               \
  pick((r), (const uint64_t[]){__VA_ARGS__}, sizeof((uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

/* ---- The parts of every plan ---- */

static void draw_link(weft__rng_t *r, weft__sim_link_conf_t *c) {
  weft__path_limits_t *l = &c->lim[0];
  unsigned i;

  memset(c, 0, sizeof(*c));
  c->host[1] = 1;
  c->delay = weft__rng_log(r, 2 * US, 5 * MS);
  c->jitter = weft__rng_below(r, 2) ? weft__rng_below(r, c->delay + 1) : 0;
  c->ns_per_kib = PICK(r, 0, 0, 80, 1000, 10000);
  c->close_slow = (unsigned) PICK(r, 0, 0, 4, 2);
  c->close_max = weft__rng_log(r, 100 * US, 2 * S);
  c->close_loses = (unsigned) PICK(r, 0, 8, 2);
  c->expose_fails = (unsigned) PICK(r, 0, 0, 0, 5);
  c->low = (unsigned) PICK(r, 0, 2);
  c->kernel = (unsigned) PICK(r, 0, 1, 4, 16);
  l->xfer = (weft__xfer_t) PICK(r, WEFT__XFER_WRITE, WEFT__XFER_WRITE, WEFT__XFER_READ,
                                WEFT__XFER_READ, WEFT__XFER_COPY);
  c->lim[1].xfer = l->xfer;
  if (weft__rng_one_in(r, 8))
    c->lim[1].xfer = (weft__xfer_t) PICK(r, WEFT__XFER_WRITE, WEFT__XFER_READ, WEFT__XFER_COPY);
  for (i = 0; i < 2; i++) {
    l = &c->lim[i];
    l->frame_max = WEFT__FRAME_MAX;
    l->inject_max = (uint32_t) PICK(r, 64, 96, WEFT__FRAME_MAX);
    l->tx_depth = (uint32_t) PICK(r, 2, 3, 4, 8, 16, 64);
    l->rx_depth = (uint32_t) PICK(r, 8, 8, 9, 12, 16, 32, 64);
    l->rma_depth = (uint32_t) PICK(r, 1, 2, 4, 16);
    l->rma_max = (uint32_t) PICK(r, 8192, 20000, 65536, 1 << 20);
  }
}

static uint32_t draw_size(weft__rng_t *r, unsigned mix) {
  switch (mix == 0 ? 0 : weft__rng_below(r, mix)) {
  case 0:
  case 1: return (uint32_t) weft__rng_below(r, 33);
  case 2: return (uint32_t) weft__rng_log(r, 1, 600);
  case 3: return weft__rng_one_in(r, 4) ? 0 : (uint32_t) weft__rng_log(r, 1, 3000);
  case 4: return EAGER - 12 + (uint32_t) weft__rng_below(r, 24);
  default: return (uint32_t) weft__rng_log(r, EAGER + 1, 200000);
  }
}

static void draw_side(weft__rng_t *r, plan_side_t *ps, uint64_t span) {
  unsigned i, big = 0;
  unsigned mix = (unsigned) PICK(r, 0, 0, 2, 3, 4, 4, 5, 6);

  ps->n = weft__rng_one_in(r, 12) ? 0 : (unsigned) weft__rng_log(r, 1, 100);
  for (i = 0; i < ps->n; i++) {
    ps->msg[i].at = weft__rng_below(r, 3) ? weft__rng_below(r, span + 1) : 0;
    ps->msg[i].size = draw_size(r, mix);
    if (ps->msg[i].size > 10000 && ++big > 6) ps->msg[i].size = 8;
  }
  for (i = 1; i < ps->n; i++) /* nearly sorted: a running maximum does */
    if (ps->msg[i].at < ps->msg[i - 1].at) ps->msg[i].at = ps->msg[i - 1].at;
  ps->fin_at = weft__rng_below(r, 3) ? weft__rng_below(r, span + span / 2) : 0;
  ps->start_at = weft__rng_below(r, 3) ? 0 : weft__rng_below(r, span);
  ps->nstops = (unsigned) PICK(r, 0, 0, 1, 3);
  for (i = 0; i < ps->nstops; i++) {
    ps->stop[i].at = weft__rng_below(r, span);
    ps->stop[i].length = weft__rng_log(r, US, span);
  }
  ps->cancel = (unsigned) PICK(r, 0, 0, 0, 8);
  ps->refuse = (unsigned) PICK(r, 0, 0, 4);
  ps->keep = (unsigned) PICK(r, 0, 3);
  ps->reply = (unsigned) PICK(r, 0, 2);
  ps->stop_in_upcall = (unsigned) PICK(r, 0, 0, 0, 10);
  ps->accept_after = PICK(r, 0, 0, 0, 300 * US);
  ps->release_after = PICK(r, 0, WEFT__SIM_FOREVER, 3 * MS);
  ps->destroy_after = PICK(r, 0, 0, 200 * US);
  ps->win_messages = weft__rng_log(r, 8, 256);
  ps->win_bytes = weft__rng_log(r, 32768, 262144);
  ps->max_message = weft__rng_one_in(r, 8) ? 20000 : 1 << 20;
  ps->slack = PICK(r, 0, US, 20 * US, 300 * US);
  ps->epoch = PICK(r, 0, 1, 12345678, 1000000 * S);
}

static void draw_common(plan_t *p, weft__rng_t *r, uint64_t span) {
  unsigned i;

  p->nlinks = (unsigned) PICK(r, 1, 2, 2, 2, 3, 4);
  p->nslots = p->nlinks;
  for (i = 0; i < p->nlinks; i++) draw_link(r, &p->link[i]);
  for (i = 0; i < MAX_SLOTS; i++) {
    p->slot_link[i] = i % p->nlinks;
    p->rank[i] = (int) weft__rng_below(r, 3);
    p->settle[i] = PICK(r, 0, 100 * US, 50 * MS, 10 * S);
  }
  if (weft__rng_one_in(r, 4) && p->nslots < MAX_SLOTS) p->nslots++;
  p->first_slot = (unsigned) weft__rng_below(r, p->nslots);
  p->interruption_ms = (uint32_t) PICK(r, 20, 100, 1000, 1000, 1000, 2000);
  p->peer_timeout = 30 * S;
  p->handshake = p->wait = 5 * S;
  p->beat = PICK(r, 60 * MS, S, 15 * S, 15 * S);
  p->linger = 20 * S;
  p->backoff = weft__rng_log(r, 200 * US, 20 * MS);
  p->backoff_max = weft__rng_log(r, 20 * MS, 400 * MS);
  p->connect_timeout = weft__rng_log(r, 30 * MS, S);
  for (i = 0; i < 2; i++) draw_side(r, &p->side[i], span);
}

fault_t *plan_fault(plan_t *p, fault_kind_t kind, unsigned link, unsigned arg) {
  fault_t *f = &p->fault[p->nfaults++];

  memset(f, 0, sizeof(*f));
  f->kind = kind;
  f->link = (uint8_t) link;
  f->arg = (uint8_t) arg;
  return f;
}

static const uint8_t interesting[] = {
    WEFT__F_DATA, WEFT__F_DATA, WEFT__F_ACK,   WEFT__F_RESUME, WEFT__F_RESUME_ACK, WEFT__F_PING,
    WEFT__F_CTS,  WEFT__F_FRAG, WEFT__F_CHUNK, WEFT__F_READY,  WEFT__F_DONE,       WEFT__F_BYE,
    0xff,         0xff};

static void by_frame(fault_t *f, weft__rng_t *r, unsigned type, unsigned most) {
  f->frame = (uint8_t) type;
  f->from = (uint8_t) weft__rng_below(r, 2);
  f->nth = (uint16_t) weft__rng_log(r, 1, most);
  f->after = PICK(r, 0, 0, US, 100 * US, 3 * MS);
}

static void draw_when(fault_t *f, weft__rng_t *r, uint64_t span) {
  if (weft__rng_below(r, 2))
    by_frame(f, r, interesting[weft__rng_below(r, sizeof(interesting))],
             weft__rng_below(r, 2) ? 3 : 60);
  else
    f->after = weft__rng_below(r, span + span / 2);
}

static fault_t *draw_cut(plan_t *p, weft__rng_t *r, uint64_t span) {
  fault_t *f = plan_fault(p, FAULT_CUT, (unsigned) weft__rng_below(r, p->nlinks),
                          (unsigned) PICK(r, 0, 1, 2, 3, 3));

  draw_when(f, r, span);
  f->length = weft__rng_log(r, 50 * US, S);
  f->notice = PICK(r, 0, 100 * US, 20 * MS);
  f->late = PICK(r, 0, 0, MS, 100 * MS, S);
  return f;
}

static void draw_any(plan_t *p, weft__rng_t *r, uint64_t span) {
  static const fault_kind_t kinds[] = {FAULT_CUT,    FAULT_CUT,     FAULT_STALL,
                                       FAULT_BLACK,  FAULT_STOP,    FAULT_FAIL,
                                       FAULT_REFUSE, FAULT_MIGRATE, FAULT_DARK};
  fault_t *f = draw_cut(p, r, span);

  f->kind = kinds[weft__rng_below(r, sizeof(kinds) / sizeof(kinds[0]))];
  if (f->kind == FAULT_STOP && weft__rng_one_in(r, 3)) f->length = weft__rng_log(r, 10 * MS, 4 * S);
}

/* ---- Profiles ---- */

static void calm(plan_t *p, weft__rng_t *r, uint64_t span) {
  (void) p, (void) r, (void) span;
}

static void cut(plan_t *p, weft__rng_t *r, uint64_t span) {
  draw_cut(p, r, span);
}

/* A second failure during the first. */
static void twice(plan_t *p, weft__rng_t *r, uint64_t span) {
  fault_t *a = draw_cut(p, r, span), *b = draw_cut(p, r, span);

  b->link = (uint8_t) (a->link + weft__rng_below(r, 2));
  if (weft__rng_below(r, 2)) {
    by_frame(b, r, (unsigned) PICK(r, WEFT__F_RESUME, WEFT__F_RESUME_ACK), 2);
  } else {
    uint64_t after = a->after;
    *b = *a;
    b->link = (uint8_t) (a->link + 1);
    b->after = after + PICK(r, 0, US, 50 * US, 2 * MS);
  }
}

/* Both ends move at once. */
static void race(plan_t *p, weft__rng_t *r, uint64_t span) {
  uint64_t at = weft__rng_below(r, span + 1);
  unsigned i, kind = (unsigned) weft__rng_below(r, 3);

  for (i = 0; i < 2; i++) {
    fault_t *f = plan_fault(p, kind == 0 ? FAULT_FAIL : FAULT_MIGRATE,
                            (unsigned) weft__rng_below(r, p->nlinks), i);
    f->after = at + PICK(r, 0, 0, US, 200 * US);
    f->nth = (uint16_t) weft__rng_below(r, 2);
  }
  if (kind == 2) draw_cut(p, r, span);
}

/* Only stalls, of everything at once: nobody may move. */
static void stall(plan_t *p, weft__rng_t *r, uint64_t span) {
  unsigned i, n = 1 + (unsigned) weft__rng_below(r, 2);

  p->no_migration = true;
  if (p->interruption_ms < 100) p->interruption_ms = 100;
  for (i = 0; i < MAX_SLOTS; i++) p->rank[i] = 0;
  for (i = 0; i < n; i++) {
    fault_t *f = plan_fault(p, weft__rng_below(r, 2) ? FAULT_BLACK : FAULT_STOP, 0,
                            (unsigned) weft__rng_below(r, 2));
    f->after = weft__rng_below(r, span + 1);
    f->length = weft__rng_log(r, 100 * US, 6 * S);
  }
  for (i = 0; i < p->nlinks; i++) /* one that is slow by nature is no stall */
    if (p->link[i].delay > MS) p->link[i].delay = p->link[i].jitter = MS;
}

static void lonely(plan_t *p, weft__rng_t *r, uint64_t span) {
  p->nlinks = p->nslots = 1;
  p->first_slot = 0;
  memset(p->slot_link, 0, sizeof(p->slot_link));
  draw_cut(p, r, span);
  if (weft__rng_below(r, 2)) draw_any(p, r, span);
}

/* What one end believes dead still arrives at the other. */
static void late(plan_t *p, weft__rng_t *r, uint64_t span) {
  unsigned i, n = 1 + (unsigned) weft__rng_below(r, 3);

  for (i = 0; i < n; i++) {
    fault_t *f = draw_cut(p, r, span);
    f->kind = weft__rng_below(r, 3) ? FAULT_CUT : FAULT_FAIL;
    f->arg = (uint8_t) (1 + weft__rng_below(r, 2));
    f->late = weft__rng_log(r, 10 * US, S);
  }
}

/* The last frames, and what follows them. */
static void finish(plan_t *p, weft__rng_t *r, uint64_t span) {
  unsigned i, n = 1 + (unsigned) weft__rng_below(r, 3), s;

  for (s = 0; s < 2; s++)
    if (p->side[s].n > 20) p->side[s].n = (unsigned) weft__rng_below(r, 5);
  for (i = 0; i < n; i++) {
    fault_t *f = draw_cut(p, r, span);
    if (weft__rng_one_in(r, 3))
      f->kind = (fault_kind_t) PICK(r, FAULT_DARK, FAULT_FAIL, FAULT_STALL);
    if (weft__rng_below(r, 2))
      by_frame(f, r, (unsigned) PICK(r, WEFT__F_BYE, WEFT__F_ACK, WEFT__F_DATA), 6);
    else
      f->after = p->side[weft__rng_below(r, 2)].fin_at + weft__rng_log(r, US, 10 * MS);
  }
}

static void reads_fail(plan_t *p, weft__rng_t *r) {
  for (unsigned i = 0; i < p->nlinks; i++) p->link[i].read_fails = (unsigned) PICK(r, 0, 0, 0, 20);
}

/* From numbers of its own, so that older seeds keep the rest of their plans. */
static void sinks_stick(plan_t *p, const weft__rng_t *r) {
  weft__rng_t own = weft__rng_fork(r->state, 1);

  for (unsigned i = 0; i < p->nlinks; i++)
    p->link[i].sinks_stick = (unsigned) PICK(&own, 0, 0, 0, 1, 3);
}

static void some_large(plan_t *p, weft__rng_t *r) {
  unsigned s;

  for (s = 0; s < 2; s++) {
    plan_side_t *ps = &p->side[s];
    unsigned k = 1 + (unsigned) weft__rng_below(r, 4);
    if (ps->n < 6) ps->n = 6;
    if (ps->n > 30) ps->n = 30;
    while (k-- > 0)
      ps->msg[weft__rng_below(r, ps->n)].size =
          (uint32_t) weft__rng_log(r, EAGER + 1, weft__rng_one_in(r, 4) ? 400000 : 60000);
  }
}

static void fragments(plan_t *p, weft__rng_t *r, uint64_t span) {
  unsigned i, n = 1 + (unsigned) weft__rng_below(r, 4);

  reads_fail(p, r);
  sinks_stick(p, r);
  some_large(p, r);
  for (i = 0; i < n; i++) {
    fault_t *f = draw_cut(p, r, span);
    if (weft__rng_one_in(r, 3))
      f->kind = (fault_kind_t) PICK(r, FAULT_STALL, FAULT_FAIL, FAULT_MIGRATE);
    if (weft__rng_below(r, 4))
      by_frame(f, r,
               (unsigned) PICK(r, WEFT__F_CTS, WEFT__F_FRAG, WEFT__F_CHUNK, WEFT__F_READY,
                               WEFT__F_DONE, WEFT__F_REFUSE, WEFT__F_SKIP),
               10);
  }
}

static void chaos(plan_t *p, weft__rng_t *r, uint64_t span) {
  unsigned n = 2 + (unsigned) weft__rng_below(r, 6);

  reads_fail(p, r);
  sinks_stick(p, r);
  while (n-- > 0) draw_any(p, r, span);
}

static void users(plan_t *p, weft__rng_t *r, uint64_t span) {
  unsigned n, i;

  for (i = 0; i < 2; i++) {
    if (p->side[i].n > 2 && weft__rng_below(r, 2))
      for (n = 0; n < 3; n++)
        p->side[i].msg[weft__rng_below(r, p->side[i].n)].size = draw_size(r, 6) | EAGER;
    n = (unsigned) weft__rng_below(r, 3);
    p->side[i].cancel = 3;
    p->side[i].refuse = 2;
    p->side[i].stop_in_upcall = 4;
    p->side[i].reply = 2;
  }
  while (n-- > 0) draw_any(p, r, span);
  if (weft__rng_below(r, 2)) {
    fault_t *f = plan_fault(p, FAULT_ABORT, 0, (unsigned) weft__rng_below(r, 2));
    draw_when(f, r, span);
  }
}

/* One direction stalls while the other flows: the last credits are used. */
static void credits(plan_t *p, weft__rng_t *r, uint64_t span) {
  unsigned s = (unsigned) weft__rng_below(r, 2), i;

  for (i = 0; i < p->nlinks; i++) {
    p->link[i].lim[s].rx_depth = 8;
    p->link[i].lim[1 - s].rx_depth = 64;
    p->link[i].lim[1 - s].tx_depth = p->link[i].lim[s].tx_depth = 64;
    p->link[i].delay = weft__rng_log(r, 2 * US, 50 * US);
    p->link[i].jitter = 0;
  }
  if (p->side[s].n < 60) {
    p->side[s].n = 0;
    plan_messages(p, s, 100, 20, 0, span / 100);
  }
  for (i = 0; i < 2; i++) {
    p->side[i].slack = 0;
    p->side[i].win_messages = 256;
  }
  for (i = 0; i < 1 + weft__rng_below(r, 3); i++) {
    fault_t *f = plan_fault(p, FAULT_STALL, (unsigned) weft__rng_below(r, p->nlinks),
                            (unsigned) PICK(r, 1, 2, 2 - s, 2 - s));
    f->after = weft__rng_below(r, span);
    f->length = weft__rng_log(r, span / 10 + 1, span);
  }
}

static void opening(plan_t *p, weft__rng_t *r, uint64_t span) {
  unsigned n = 1 + (unsigned) weft__rng_below(r, 3);

  (void) span;
  while (n-- > 0) {
    fault_t *f = draw_cut(p, r, 20 * MS);
    if (weft__rng_one_in(r, 3))
      f->kind = (fault_kind_t) PICK(r, FAULT_REFUSE, FAULT_STALL, FAULT_STOP, FAULT_DARK);
    if (weft__rng_below(r, 2))
      by_frame(f, r, (unsigned) PICK(r, WEFT__F_HELLO, 0xff), 2);
    else
      f->after = weft__rng_below(r, 20 * MS);
  }
}

static void at_most_once(plan_t *p, weft__rng_t *r, uint64_t span) {
  p->reliability = WEFT_AT_MOST_ONCE;
  if (weft__rng_below(r, 4)) chaos(p, r, span);
}

/* A sender that delivers at most once hears that its path is dead while it is read from, gives up
 * its messages and moves; the other end has not heard, and its device may read on. */
static void left(plan_t *p, weft__rng_t *r, uint64_t span) {
  unsigned i, n = 1 + (unsigned) weft__rng_below(r, 3);

  p->reliability = WEFT_AT_MOST_ONCE;
  sinks_stick(p, r);
  some_large(p, r);
  for (i = 0; i < p->nlinks; i++) {
    weft__sim_link_conf_t *c = &p->link[i];
    c->lim[0].xfer = c->lim[1].xfer = WEFT__XFER_READ;
    c->close_slow = (unsigned) PICK(r, 1, 1, 2);
    c->close_max = weft__rng_log(r, MS, 2 * S);
    c->reads_known = (unsigned) PICK(r, 0, 1, 2);
  }
  for (i = 0; i < n; i++) {
    fault_t *f = draw_cut(p, r, span);
    unsigned sender = (unsigned) weft__rng_below(r, 2);
    bool fails = weft__rng_below(r, 2);
    f->kind = fails ? FAULT_FAIL : FAULT_CUT;
    f->arg = (uint8_t) (fails ? sender : 1u << sender);
    f->late = weft__rng_log(r, 10 * US, S);
    if (weft__rng_below(r, 4)) {
      bool done = weft__rng_one_in(r, 3);
      by_frame(f, r, done ? WEFT__F_DONE : WEFT__F_READY, 6);
      f->from = (uint8_t) (done ? 1 - sender : sender);
    }
  }
}

static void consumed(plan_t *p, weft__rng_t *r, uint64_t span) {
  p->ack = WEFT_ACK_CONSUMED;
  chaos(p, r, span);
}

static void memory(plan_t *p, weft__rng_t *r, uint64_t span) {
  p->malloc_fails = (unsigned) weft__rng_log(r, 1, 200);
  if (weft__rng_below(r, 2)) draw_any(p, r, span);
}

static void liar(plan_t *p, weft__rng_t *r, uint64_t span) {
  p->hostile = true;
  p->liar = (unsigned) weft__rng_below(r, 2);
  p->tamper = (unsigned) PICK(r, 2, 5, 20, 60);
  p->peer_timeout = 4 * S;
  if (weft__rng_one_in(r, 3)) draw_any(p, r, span);
  if (weft__rng_one_in(r, 8)) p->reliability = WEFT_AT_MOST_ONCE;
}

/* Outages that outlast the patience of an end. */
static void lost(plan_t *p, weft__rng_t *r, uint64_t span) {
  unsigned i;

  p->may_fail = true;
  p->peer_timeout = weft__rng_log(r, 100 * MS, 3 * S);
  p->linger = weft__rng_log(r, 10 * MS, 3 * S);
  chaos(p, r, span);
  for (i = 0; i < p->nfaults; i++)
    if (weft__rng_below(r, 2)) p->fault[i].length = weft__rng_log(r, 10 * MS, 10 * S);
}

static const struct {
  const char *name;
  unsigned weight;
  void (*draw)(plan_t *, weft__rng_t *, uint64_t span);
} profiles[] = {
    {"calm", 2, calm},       {"cut", 6, cut},          {"twice", 8, twice},
    {"race", 6, race},       {"stall", 4, stall},      {"lonely", 5, lonely},
    {"late", 6, late},       {"finish", 8, finish},    {"fragments", 8, fragments},
    {"chaos", 12, chaos},    {"users", 7, users},      {"credits", 3, credits},
    {"opening", 4, opening}, {"amo", 5, at_most_once}, {"consumed", 5, consumed},
    {"left", 5, left},       {"memory", 3, memory},    {"liar", 8, liar},
    {"lost", 4, lost},
};
enum { PROFILES = sizeof(profiles) / sizeof(profiles[0]) };

const char *plan_profile(unsigned i) {
  return i < PROFILES ? profiles[i].name : NULL;
}

bool plan_draw(plan_t *p, uint64_t seed, const char *profile) {
  weft__rng_t r = weft__rng_fork(seed, 0x91a7);
  unsigned i, total = 0, at;
  uint64_t span;

  for (i = 0; i < PROFILES; i++) total += profiles[i].weight;
  at = (unsigned) weft__rng_below(&r, total);
  for (i = 0; at >= profiles[i].weight; i++) at -= profiles[i].weight;
  if (profile != NULL) {
    for (i = 0; i < PROFILES && strcmp(profiles[i].name, profile) != 0; i++)
      ;
    if (i == PROFILES) return false;
  }
  memset(p, 0, offsetof(plan_t, side));
  for (at = 0; at < 2; at++) memset(&p->side[at], 0, sizeof(p->side[at]));
  memset(&p->nfaults, 0, sizeof(*p) - offsetof(plan_t, nfaults));
  p->seed = seed;
  p->name = profiles[i].name;
  span = weft__rng_log(&r, 50 * US, 50 * MS);
  draw_common(p, &r, span);
  profiles[i].draw(p, &r, span);
  return true;
}

/* ---- By hand ---- */

void plan_basic(plan_t *p, uint64_t seed) {
  unsigned i;

  memset(p, 0, sizeof(*p));
  p->seed = seed;
  p->name = "scenario";
  p->nlinks = p->nslots = 2;
  for (i = 0; i < 2; i++) {
    weft__sim_link_conf_t *c = &p->link[i];
    plan_side_t *ps = &p->side[i];
    unsigned k;

    c->host[1] = 1;
    c->delay = 20 * US;
    c->kernel = 16;
    for (k = 0; k < 2; k++)
      c->lim[k] = (weft__path_limits_t){.frame_max = WEFT__FRAME_MAX,
                                        .inject_max = 64,
                                        .tx_depth = 32,
                                        .rx_depth = 32,
                                        .rma_depth = 4,
                                        .rma_max = 1 << 20,
                                        .xfer = WEFT__XFER_WRITE};
    ps->win_messages = 256;
    ps->win_bytes = 262144;
    ps->max_message = 1 << 20;
    ps->fin_at = 20 * MS;
  }
  for (i = 0; i < MAX_SLOTS; i++) p->slot_link[i] = i % 2;
  p->interruption_ms = 1000;
  p->peer_timeout = 30 * S;
  p->handshake = p->wait = 5 * S;
  p->beat = 15 * S;
  p->linger = 20 * S;
  p->backoff = MS;
  p->backoff_max = 100 * MS;
  p->connect_timeout = 100 * MS;
}

void plan_messages(plan_t *p, unsigned side, unsigned n, uint32_t size, uint64_t from,
                   uint64_t gap) {
  plan_side_t *ps = &p->side[side];

  while (n-- > 0 && ps->n < MAX_MSGS) {
    ps->msg[ps->n].at = from;
    ps->msg[ps->n++].size = size;
    from += gap;
  }
}
