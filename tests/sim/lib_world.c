/* SPDX-License-Identifier: Apache-2.0 */
/* lib_world.c - a world from its plan to its end: steps, faults, and what must hold when it is
 * over.
 *
 * Design notes
 *  - Liveness: when the last fault has healed, everything that is outstanding must come to an end
 *    in bounded virtual time and in a bounded number of events.
 *  - A fault strikes at a time, or when a frame of some type leaves: the second kind hits the
 *    moments that matter, a RESUME on its way, a BYE, the first fragment. */
#include "lib_world.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_EVENTS = 400000 };

void world_violate(world_t *w, const char *fmt, ...) {
  char text[380];
  va_list ap;

  va_start(ap, fmt);
  vsnprintf(text, sizeof(text), fmt, ap);
  va_end(ap);
  weft__sim_violate(w->sim, "%s", text); /* comes back as the hook below */
}

/* ---- The simulator's hooks ---- */

static void on_violation(void *ctx, const char *text) {
  world_t *w = ctx;

  if (w->violations++ == 0) snprintf(w->first, sizeof(w->first), "%s", text);
}

static void on_request(void *ctx, unsigned host, weft__sim_req_t *req) {
  world_t *w = ctx;

  owner_request(&w->o[host], req);
}

static bool on_memory(void *ctx, unsigned host, const void *p, size_t len, bool write) {
  world_t *w = ctx;

  return oracle_memory(&w->o[host], p, len, write);
}

static void on_trace(void *ctx, const char *line) {
  (void) ctx;
  puts(line);
}

static void strike(void *arg, uint64_t i);

static bool on_frame(void *ctx, weft__path_t *p, uint8_t *data, uint32_t *len) {
  world_t *w = ctx;
  unsigned side = weft__sim_path_host(p), i;
  unsigned type = data[1];
  uint32_t nth = ++w->frames[side][type], any = ++w->frames[side][0xff];

  for (i = 0; i < w->plan.nfaults; i++) {
    const fault_t *f = &w->plan.fault[i];
    if (f->frame == 0 || f->from != side || (f->frame != 0xff && f->frame != type)) continue;
    if ((f->frame == 0xff ? any : nth) == f->nth)
      weft__sim_at(w->sim, WEFT__SIM_HOSTS, weft__sim_time(w->sim) + f->after, strike, w, i);
  }
  memcpy(w->last[side], data, WEFT__HDR);
  w->last_path[side] = p;
  if (w->plan.hostile && side == w->plan.liar && w->plan.tamper != 0)
    return liar_frame(w, p, data, len);
  return true;
}

static const weft__sim_hooks_t hooks = {
    .violation = on_violation,
    .request = on_request,
    .frame = on_frame,
    .memory = on_memory,
    .trace = on_trace,
};

/* ---- Faults ---- */

static void healed(world_t *w) {
  w->faults_open--;
  w->last_heal = weft__sim_time(w->sim);
}

static void heal(void *arg, uint64_t link) {
  world_t *w = arg;
  unsigned i;

  if (w->checked) return;
  for (i = 0; i < w->plan.nlinks; i++)
    if (link == i || link == MAX_SLOTS) weft__sim_link_heal(w->link[i]);
  healed(w);
}

static void unrefuse(void *arg, uint64_t link) {
  world_t *w = arg;

  weft__sim_link_refuse(w->link[link], false);
  healed(w);
}

static void run_again(void *arg, uint64_t unused) {
  (void) unused;
  healed(arg);
}

void world_fault(world_t *w, const fault_t *f) {
  uint64_t now = weft__sim_time(w->sim), end = now + f->length;
  weft__sim_link_t *l = w->link[f->link % w->plan.nlinks];
  owner_t *o = &w->o[f->arg & 1];
  unsigned i, heals = f->link % w->plan.nlinks;

  w->st.faults++;
  w->nfired++;
  w->faults_open++;
  switch (f->kind) {
  case FAULT_DARK:
    for (i = 0; i < w->plan.nlinks; i++) weft__sim_link_cut(w->link[i], f->arg, f->notice, f->late);
    weft__sim_at(w->sim, WEFT__SIM_HOSTS, end, heal, w, MAX_SLOTS);
    return;
  case FAULT_CUT:
    weft__sim_link_cut(l, f->arg, f->notice, f->late);
    weft__sim_at(w->sim, WEFT__SIM_HOSTS, end, heal, w, heals);
    return;
  case FAULT_STALL:
    weft__sim_link_stall(l, f->arg == 0 ? 3 : f->arg);
    weft__sim_at(w->sim, WEFT__SIM_HOSTS, end, heal, w, heals);
    return;
  case FAULT_BLACK:
    for (i = 0; i < w->plan.nlinks; i++) weft__sim_link_stall(w->link[i], 3);
    weft__sim_at(w->sim, WEFT__SIM_HOSTS, end, heal, w, MAX_SLOTS);
    return;
  case FAULT_REFUSE:
    weft__sim_link_refuse(l, true);
    weft__sim_at(w->sim, WEFT__SIM_HOSTS, end, unrefuse, w, heals);
    return;
  case FAULT_STOP:
    weft__sim_host_stop(w->sim, f->arg & 1, end);
    weft__sim_at(w->sim, WEFT__SIM_HOSTS, end, run_again, w, 0);
    return;
  case FAULT_FAIL:
    for (i = 0; i < MAX_SLOTS; i++)
      if (o->slot[i].state == SLOT_UP && w->plan.slot_link[i] == heals)
        weft__sim_fail(o->slot[i].path, -EIO, "the device says so");
    break;
  case FAULT_MIGRATE:
    if (o->s != NULL && !o->gone && weft__session_is_open(o->s)) {
      weft__path_t *p[MAX_SLOTS];
      unsigned n = weft__session_paths(o->s, p, MAX_SLOTS);
      weft__session_migrate(o->s, n == 0 || f->nth % 2 == 0 ? NULL : p[f->link % n],
                            "an operator's order");
    }
    break;
  case FAULT_ABORT: owner_abort(o, "the user has enough"); break;
  }
  healed(w);
}

static void strike(void *arg, uint64_t i) {
  world_t *w = arg;

  if (!w->checked) world_fault(w, &w->plan.fault[i]);
}

/* ---- Life ---- */

world_t *world_create(void) {
  world_t *w = calloc(1, sizeof(*w));
  unsigned i;

  if (w == NULL) return NULL;
  w->sim = weft__sim_create(&hooks, w);
  for (i = 0; i < 2; i++) {
    w->o[i].msg = calloc(MAX_MSGS + 1, sizeof(msg_t));
    w->o[i].tx_arena = malloc(ARENA);
    w->o[i].rx_arena = malloc(ARENA);
    if (w->o[i].msg == NULL || w->o[i].tx_arena == NULL || w->o[i].rx_arena == NULL) abort();
  }
  if (w->sim == NULL) abort();
  return w;
}

void world_destroy(world_t *w) {
  unsigned i;

  weft__sim_destroy(w->sim);
  for (i = 0; i < 2; i++) {
    free(w->o[i].msg);
    free(w->o[i].tx_arena);
    free(w->o[i].rx_arena);
  }
  liar_free(w);
  free(w);
}

void world_trace(world_t *w, bool on) {
  w->tracing = on;
}

void world_begin(world_t *w, const plan_t *plan) {
  weft__sim_t *sim = w->sim;
  uint64_t latest = 0, t;
  unsigned i;

  w->plan = *plan;
  w->violations = 0;
  w->first[0] = 0;
  w->faults_open = w->nfired = 0;
  w->last_heal = 0;
  w->checked = w->failed_malloc = false;
  memset(w->frames, 0, sizeof(w->frames));
  weft__sim_reset(sim, plan->seed);
  weft__sim_trace(sim, w->tracing);
  for (i = 0; i < plan->nlinks; i++) w->link[i] = weft__sim_link(sim, &plan->link[i]);
  for (i = 0; i < 2; i++) {
    weft__sim_host_epoch(sim, i, plan->side[i].epoch);
    weft__sim_host_slack(sim, i, plan->side[i].slack);
    owner_init(&w->o[i], w, i);
  }
  for (i = 0; i < plan->nfaults; i++) {
    const fault_t *f = &plan->fault[i];
    if (f->frame == 0) weft__sim_at(sim, WEFT__SIM_HOSTS, f->after, strike, w, i);
    latest += f->after + f->length + f->late;
  }
  for (i = 0; i < 2; i++) {
    const plan_side_t *ps = &plan->side[i];
    unsigned k;
    t = ps->fin_at + ps->start_at + ps->accept_after;
    for (k = 0; k < ps->nstops; k++) t += ps->stop[k].at + ps->stop[k].length;
    latest += t;
  }
  w->limit = latest + plan->peer_timeout * 2 + plan->linger + plan->handshake + 120 * S;
  if (plan->hostile) liar_begin(w);
  malloc_fail_at(plan->malloc_fails);
  for (i = 0; i < 2; i++) owner_begin(&w->o[i]);
}

static bool over(const world_t *w) {
  const owner_t *a = &w->o[0], *b = &w->o[1];

  return a->s == NULL && b->s == NULL && (a->created || a->aborted) &&
         (b->created || a->destroyed || b->aborted || !a->created);
}

/* A lie may leave an end waiting for what never comes: its user gives up. */
static void follow(world_t *w) {
  unsigned i;

  for (i = 0; i < 2; i++) {
    owner_t *o = &w->o[i];

    if (o->s != NULL && !o->aborted && weft__sim_time(w->sim) > w->limit / 2)
      owner_abort(o, "enough of these lies");
  }
}

bool world_step(world_t *w) {
  weft__sim_t *sim = w->sim;
  unsigned i;

  if (over(w) && weft__sim_quiet(sim)) return false;
  if (weft__sim_step(sim, w->limit) < 0) return false;
  if (weft__sim_events(sim) > MAX_EVENTS) {
    world_violate(w, "no end after %u events: something goes round in circles", MAX_EVENTS);
    return false;
  }
  for (i = 0; i < 2; i++) owner_flush(&w->o[i]);
  if (w->plan.hostile) follow(w);
  return true;
}

bool world_until(world_t *w, bool (*done)(world_t *)) {
  while (!done(w))
    if (!world_step(w)) return done(w);
  return true;
}

static void describe(const owner_t *o, char *text, size_t len) {
  weft__session_stats_t st;
  unsigned i;

  if (o->s == NULL) {
    snprintf(text, len, "%s", o->created ? "gone" : "never created");
    return;
  }
  memset(&st, 0, sizeof(st));
  weft__session_stats(o->s, &st);
  for (i = 0; i < o->next && o->msg[i].state != MSG_QUEUED; i++)
    ;
  snprintf(
      text, len,
      "%s, %u paths, next message %u of %u, first not sent: %u, received %u, held %llu, %s%s%s",
      weft__session_is_done(o->s)   ? "done"
      : weft__session_is_open(o->s) ? "open"
                                    : "not open",
      o->npaths, o->next, o->n, i, o->ndelivered, (unsigned long long) st.held_messages,
      o->eof ? "eof " : "", o->ended ? "ended " : "", o->aborted ? "aborted" : "");
}

unsigned world_end(world_t *w) {
  char a[180], b[180];
  unsigned i;

  while (world_step(w))
    ;
  if (malloc_failures() != 0) w->failed_malloc = true;
  malloc_fail_at(0);
  w->checked = true;
  if (!over(w) && w->violations == 0) {
    describe(&w->o[0], a, sizeof(a));
    describe(&w->o[1], b, sizeof(b));
    world_violate(w, "stuck. A: %s. B: %s", a, b);
  } else if (!weft__sim_quiet(w->sim) && w->violations == 0) {
    /* what is left are buffers that the oracle still keeps */
    for (i = 0; i < 2; i++)
      while (w->o[i].nkept != 0) oracle_unkeep(&w->o[i], 0);
    if (!weft__sim_quiet(w->sim))
      world_violate(w, "paths, requests or buffers are left when both sessions are gone");
  }
  for (i = 0; i < 2; i++) {
    owner_t *o = &w->o[i];
    oracle_end(o);
    if (w->plan.no_migration && (o->moved > 0 || o->lost_paths > 0) && !o->failed)
      world_violate(w, "%c: moved %u times and lost %u paths, where nothing died", "AB"[o->side],
                    o -> moved, o -> lost_paths);
    w->st.failed += o->end_err != 0;
  }
  w->st.schedules++;
  w->st.events += weft__sim_events(w->sim);
  w->st.violations += w->violations != 0;
  /* a world that went wrong may have left sessions behind */
  for (i = 0; i < 2; i++)
    if (w->o[i].s != NULL && w->violations != 0)
      w->o[i].s = NULL; /* lost on purpose: its paths are in no state to be closed */
  return w->violations;
}

unsigned world_run(world_t *w, const plan_t *plan) {
  world_begin(w, plan);
  return world_end(w);
}
