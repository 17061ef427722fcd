/* SPDX-License-Identifier: Apache-2.0 */
/* progress.c - when queues are read, when frames leave, and when the loop may sleep.
 *
 * Design notes
 *  - One turn of libuv's loop: prepare (flush, spin if a connection may, arm) - poll (fds only
 *    leave a mark) - check (read the queues that were marked, call back, flush). Nothing is read
 *    inside poll callbacks, so other fds get their turn.
 *  - Sleeping is safe when all rails are armed and nothing is dirty. If not, an active uv_idle
 *    makes libuv poll without waiting; it is stopped at the next prepare.
 *  - What a call of the user leaves to be done starts it, too (in_turn says that it is no call, but
 *    ours): the call may come from a uv_prepare that libuv runs after ours, and then nothing else
 *    comes before the loop sleeps. libuv reckons how long only after all of them. In every other
 *    phase our prepare stops it again before that, so nothing polls in vain.
 *  - A spin ends `spin_ns` after the last sign of activity, when a timer is due, when another
 *    thread posts, when after SPIN_PEEK one of the loop's other fds is ready, and after SPIN_STRETCH
 *    in any case, because fds that were started meanwhile are in the loop's set only after it has
 *    polled; in the last two cases the loop polls without waiting and the spin goes on. What these
 *    cost is measured: where the machine is slow they come later, so that they take no more than
 *    1/SPIN_SHARE of the time. The spin is given up for a while when the scheduler keeps taking the
 *    CPU away: then others need it.
 *  - While a spin goes on from turn to turn nothing of ours is armed and the loop does not watch the
 *    rails: each completion would wake their fds for nothing, and a look at the loop's fds would
 *    find ours ready always. A look asks them itself, each turn reads them. Before the loop may
 *    sleep they are watched again.
 *  - An idle context does nothing: no periodic timer, no wakeup. A turn of the user's loop that has
 *    nothing for us costs two callbacks and one test per rail. */
#include <errno.h>
#include <poll.h>
#include <sys/resource.h>

#include "loop/conn.h"

enum {
  ROUNDS = 8,       /* of flush and later in one turn */
  DRAINS = 16,      /* of one rail before others get their turn */
  NIVCSW_AUTO = 5,  /* involuntary switches in SPIN_WINDOW that mean: oversubscribed */
  NIVCSW_SPIN = 25, /* ... where the needs say cpu=spin: one other program per CPU is put up with */
  PEEK_RAILS = 15,  /* the others are looked at in each turn */
  SPIN_LOOKS = 4,   /* at the queues, while there is nothing, before one at the clock */
  SPIN_SHARE = 64,  /* at most this part of a spin goes into looks and turns */
};
static const uint64_t LARGE_SPIN = 900000, SPIN_WINDOW = 100 * WEFT__MS;
static const uint64_t SPIN_PEEK = 200000, SPIN_STRETCH = 1000000, SPIN_LATEST = 10000000;
static const uint64_t SPIN_OFF_MIN = 100 * WEFT__MS, SPIN_OFF_MAX = 2 * WEFT__S;

/* ---- Staying awake ---- */

static void on_idle(uv_idle_t *idle) {
  (void) idle;
}

void weft__stay_awake(weft__core_t *core) {
  if (core->idling || core->state >= WEFT__C_UV) return;
  core->idling = true;
  uv_idle_start(&core->idle, on_idle);
}

/* ---- Dirty connections ---- */

void weft__dirty(weft__conn_t *c) {
  weft__core_t *core = c->core;
  if (c->dirty) return;
  c->dirty = true;
  c->dirty_next = NULL;
  if (core->dirty_tail)
    core->dirty_tail->dirty_next = c;
  else
    core->dirty_head = c;
  core->dirty_tail = c;
  if (!core->in_turn) weft__stay_awake(core);
}

void weft__undirty(weft__conn_t *c) { /* rare: a connection is freed */
  weft__core_t *core = c->core;
  if (!c->dirty) return;
  weft__conn_t **p = &core->dirty_head, *prev = NULL;
  while (*p != c) {
    prev = *p;
    p = &prev->dirty_next;
  }
  *p = c->dirty_next;
  if (core->dirty_tail == c) core->dirty_tail = prev;
  c->dirty = false;
}

static weft__conn_t *pop_dirty(weft__core_t *core) {
  weft__conn_t *c = core->dirty_head;
  if (!c) return NULL;
  core->dirty_head = c->dirty_next;
  if (!core->dirty_head) core->dirty_tail = NULL;
  c->dirty = false;
  return c;
}

static void flush(weft__core_t *core) {
  weft__conn_t *last = core->dirty_tail, *c;
  core->active_ns = core->now_ns;
  while ((c = pop_dirty(core)) != NULL) {
    if (c->s && !c->gone) weft__session_flush(c->s);
    if (c->want_writable) weft__event_writable(c);
    if (c == last) break; /* what got dirty meanwhile is for the next round */
  }
}

static void run_later(weft__core_t *core) {
  weft__later_t *last = core->later_tail, *l;
  while ((l = core->later_head) != NULL) {
    bool end = l == last;
    core->later_head = l->next;
    if (!core->later_head) core->later_tail = NULL;
    l->queued = false;
    l->run(l); /* may free l */
    if (end) break;
  }
}

void weft__turn(weft__core_t *core) {
  for (unsigned i = 0; i < ROUNDS && (core->dirty_head || core->later_head); i++) {
    if (core->dirty_head) flush(core);
    if (core->later_head) run_later(core);
  }
}

/* ---- Draining ---- */

/* Read one rail until it is empty or has had its share. false: there is more. */
static bool drain(weft__core_t *core, weft__crail_t *cr, weft__drain_t how) {
  for (unsigned i = 0; i < DRAINS; i++) {
    if (cr->state != WEFT__R_OPEN) return true;
    weft__refresh(core);
    int n = weft__rail_drain(cr->rail, how);
    if (n > 0) core->active_ns = core->now_ns;
    if (core->dirty_head || core->later_head) weft__turn(core);
    if (n <= 0 || core->state >= WEFT__C_RAILS) return true; /* closing: the rail may be gone */
    how = WEFT__DRAIN_ACTIVE; /* the queues that had something, without asking the system again */
  }
  return false;
}

/* The rails that are marked. */
static void drain_fired(weft__core_t *core) {
  core->fired = false;
  for (weft__link_t *l = core->rails.next, *next; l != &core->rails; l = next) {
    next = l->next;
    weft__crail_t *cr = weft__container(l, weft__crail_t, link);
    if (!cr->fired || cr->state != WEFT__R_OPEN) continue;
    cr->fired = false;
    if (!drain(core, cr, WEFT__DRAIN_FIRED)) cr->fired = core->fired = true;
    if (core->state >= WEFT__C_RAILS) break; /* the list is not what it was */
  }
}

static void on_check(uv_check_t *check) {
  weft__core_t *core = check->data;
  if (weft__forked(core)) return;
  core->in_turn = true;
  if (core->fired) drain_fired(core);
  if (core->dirty_head || core->later_head) {
    weft__refresh(core);
    weft__turn(core);
  }
  core->in_turn = false;
}

/* ---- Sleeping ---- */

static void on_uv_timer(uv_timer_t *timer) {
  weft__core_t *core = timer->data;
  weft__timer_t *t;
  if (weft__forked(core)) return;
  core->timer_armed = UINT64_MAX;
  weft__refresh(core);
  for (unsigned i = 0; i < 256 && (t = weft__heap_due(&core->timers, core->now_ns)) != NULL; i++)
    t->fire(t);
}

static void arm_timer(weft__core_t *core) {
  uint64_t next = weft__heap_next(&core->timers);
  if (next >=
      core->timer_armed) { /* fires early, then it is set again: cheaper than moving it each turn */
    if (next == UINT64_MAX && core->timer_armed != UINT64_MAX) {
      core->timer_armed = UINT64_MAX;
      uv_timer_stop(&core->timer);
    }
    return;
  }
  uint64_t now = weft__refresh(core);
  uint64_t ms = next > now ? (next - now + WEFT__MS - 1) / WEFT__MS : 0;
  uv_update_time(core->loop);
  int err = WEFT__FAULT(timer);
  if (err == 0) err = uv_timer_start(&core->timer, on_uv_timer, ms, 0);
  if (err) {
    weft__error("timer: uv_timer_start: %s", uv_strerror(err));
    weft__stay_awake(core); /* and try again in the next turn */
    return;
  }
  core->timer_armed = next;
}

static void arm(weft__core_t *core) {
  for (weft__link_t *l = core->rails.next, *next; l != &core->rails; l = next) {
    next = l->next;
    weft__crail_t *cr = weft__container(l, weft__crail_t, link);
    if (cr->state != WEFT__R_OPEN || weft__rail_arm(cr->rail) == 0) continue;
    bool empty = drain(core, cr, WEFT__DRAIN_ACTIVE);
    if (core->state >= WEFT__C_RAILS) break; /* the list is not what it was */
    if (cr->state != WEFT__R_OPEN) continue;
    if (!empty || weft__rail_arm(cr->rail) != 0) {
      cr->fired = core->fired = true;
      weft__stay_awake(core);
    }
  }
  if (core->dirty_head || core->later_head || core->fired) weft__stay_awake(core);
  if (core->state < WEFT__C_UV) arm_timer(core);
}

/* ---- Spinning ---- */

uint64_t weft__spin_for(const weft__conn_t *c) {
  const weft_qos_t *q = &c->qos;
  bool may = q->cpu == WEFT_CPU_SPIN ||
             (q->cpu == WEFT_CPU_AUTO && q->latency_ns && q->latency_ns < 50000);
  if (c->state != WEFT__CN_OPEN || !may) return 0;
  return (q->spin_us < c->spin_max_us ? q->spin_us : c->spin_max_us) * 1000ull;
}

void weft__spin_update(weft__core_t *core) {
  core->spin_ns = 0;
  core->nivcsw_max = NIVCSW_AUTO;
  for (weft__link_t *l = core->conns.next; l != &core->conns; l = l->next) {
    weft__conn_t *c = weft__container(l, weft__conn_t, link);
    const weft_qos_t *q = &c->qos;
    uint64_t ns = weft__spin_for(c);
    c->spins = ns != 0;
    if (!c->spins) continue;
    if (ns > core->spin_ns) core->spin_ns = ns;
    if (q->cpu == WEFT_CPU_SPIN) core->nivcsw_max = NIVCSW_SPIN;
  }
}

/* The scheduler takes the CPU away again and again: others need it more. */
static bool oversubscribed(weft__core_t *core) {
  struct rusage ru;
  if (core->now_ns < core->spin_off_until) return true;
  if (core->now_ns - core->spun_from < SPIN_WINDOW) return false;
  if (getrusage(RUSAGE_THREAD, &ru) != 0) return false;
  long n = ru.ru_nivcsw - core->spun_nivcsw;
  bool fresh = core->now_ns - core->spun_from < 2 * SPIN_WINDOW;
  core->spun_nivcsw = ru.ru_nivcsw;
  core->spun_from = core->now_ns;
  if (!fresh || n < core->nivcsw_max) {
    if (fresh) core->spin_off_ns = 0;
    return false;
  }
  core->spin_off_ns = core->spin_off_ns ? 2 * core->spin_off_ns : SPIN_OFF_MIN;
  if (core->spin_off_ns > SPIN_OFF_MAX) core->spin_off_ns = SPIN_OFF_MAX;
  core->spin_off_until = core->now_ns + core->spin_off_ns;
  weft__debug("spin: %ld involuntary context switches, sleeping instead for %llu ms", n,
              (unsigned long long) (core->spin_off_ns / WEFT__MS));
  return true;
}

/* How long after the last sign of activity the spin goes on. The fragments of a large message
 * arrive without one until they are whole: while one is on its way, sleeping would cost more than
 * it saves. */
static bool spin_over(weft__core_t *core) {
  uint64_t quiet = core->now_ns - core->active_ns;
  if (quiet < core->spin_ns) return false;
  if (quiet >= LARGE_SPIN) return true;
  for (weft__link_t *l = core->conns.next; l != &core->conns; l = l->next) {
    weft__conn_t *c = weft__container(l, weft__conn_t, link);
    if (c->spins && c->s && !c->gone && weft__session_moves_large(c->s)) return false;
  }
  return true;
}

uint64_t weft__price(uint64_t known, uint64_t seen) {
  uint64_t most = known + known / 8 + 1;
  return known != 0 && seen > most ? most : seen;
}

uint64_t weft__spin_between(uint64_t least, uint64_t price) {
  if (price > SPIN_LATEST / SPIN_SHARE) return SPIN_LATEST;
  return price * SPIN_SHARE > least ? price * SPIN_SHARE : least;
}

/* Is an fd of the loop's ready? Rails that the loop does not watch are marked when theirs is: an
 * event, or a message on a queue that is not read in each round. */
static bool peek(weft__core_t *core) {
  struct pollfd p[1 + PEEK_RAILS] = {{.fd = uv_backend_fd(core->loop), .events = POLLIN}};
  weft__crail_t *of[1 + PEEK_RAILS];
  unsigned n = 1;
  uint64_t before = core->now_ns;
  for (weft__link_t *l = core->rails.next; l != &core->rails && n <= PEEK_RAILS; l = l->next) {
    weft__crail_t *cr = weft__container(l, weft__crail_t, link);
    if (cr->state != WEFT__R_OPEN || cr->watched) continue;
    of[n] = cr;
    p[n++] = (struct pollfd){.fd = weft__rail_fd(cr->rail), .events = POLLIN};
  }
  (void) poll(p, n, 0);
  core->peek_ns = weft__price(core->peek_ns, weft__refresh(core) - before);
  for (unsigned i = 1; i < n; i++)
    if (p[i].revents) of[i]->fired = core->fired = true;
  return p[0].revents != 0;
}

/* The spin comes from a turn of the loop that it asked for itself: look at all that the loop does
 * not watch meanwhile. */
static void spin_again(weft__core_t *core) {
  core->turn_ns = weft__price(core->turn_ns, core->now_ns - core->spin_left);
  for (weft__link_t *l = core->rails.next; l != &core->rails; l = l->next) {
    weft__crail_t *cr = weft__container(l, weft__crail_t, link);
    if (!cr->watched) cr->fired = core->fired = true;
  }
}

/* true: the spin goes on after a turn of the loop. */
static bool spin(weft__core_t *core) {
  uint64_t start = weft__refresh(core), timer_at = UINT64_MAX, peek_at, end_at;
  if (spin_over(core) || oversubscribed(core)) return false;
  if (core->spin_left) spin_again(core);
  peek_at = start + weft__spin_between(SPIN_PEEK, core->peek_ns);
  end_at = start + weft__spin_between(SPIN_STRETCH, core->turn_ns);
  bool look = true;
  for (;;) {
    if (core->fired) {
      drain_fired(core);
      look = true;
    }
    if (core->state != WEFT__C_OPEN) return false;
    if (look) { /* callbacks ran: timers may have been started, the loop stopped */
      int ms = uv_backend_timeout(core->loop);
      if (ms == 0) return false;
      timer_at = ms < 0 ? UINT64_MAX : core->now_ns + (uint64_t) ms * WEFT__MS;
      look = false;
    }
    bool idle = true;
    for (unsigned i = 0; i < SPIN_LOOKS && idle; i++) {
      for (weft__link_t *l = core->rails.next, *next; l != &core->rails; l = next) {
        next = l->next;
        weft__crail_t *cr = weft__container(l, weft__crail_t, link);
        if (cr->state != WEFT__R_OPEN) continue;
        int n = weft__rail_drain(cr->rail, WEFT__DRAIN_ACTIVE);
        if (n > 0) {
          core->active_ns = core->now_ns;
          look = true;
        }
        if (n != 0 || core->dirty_head || core->later_head) idle = false;
        if (core->dirty_head || core->later_head) weft__turn(core);
        if (core->state >= WEFT__C_RAILS) return false; /* the list is not what it was */
      }
    }
    weft__refresh(core);
    if (__atomic_load_n(&core->wake, __ATOMIC_RELAXED)) return false;
    if (core->now_ns >= timer_at || spin_over(core)) return false;
    if (core->now_ns >= end_at) return true;
    if (core->now_ns >= peek_at && !look) { /* look: something of ours may be ready still */
      if (peek(core)) return true;
      peek_at = core->now_ns + weft__spin_between(SPIN_PEEK, core->peek_ns);
    }
  }
}

/* No spin goes on: have ours watched and armed. */
static void may_sleep(weft__core_t *core) {
  if (core->spin_left) {
    if (weft__rails_watch(core, true) != 0) {
      weft__stay_awake(core); /* and try again in the next turn */
      return;
    }
    core->spin_left = 0;
  }
  arm(core);
}

static void on_prepare(uv_prepare_t *prepare) {
  weft__core_t *core = prepare->data;
  if (weft__forked(core)) return;
  core->in_turn = true;
  if (core->idling) {
    core->idling = false;
    uv_idle_stop(&core->idle);
  }
  if (core->dirty_head || core->later_head) {
    weft__refresh(core);
    weft__turn(core);
  }
  if (core->spin_ns && core->state == WEFT__C_OPEN && spin(core)) {
    if (!core->spin_left) weft__rails_watch(core, false);
    weft__stay_awake(core); /* others get their turn, then on with it */
    arm_timer(core);
    core->spin_left = core->now_ns;
  } else {
    may_sleep(core);
  }
  core->in_turn = false;
}

void weft__settle(weft__core_t *core) {
  core->in_turn = true;
  weft__refresh(core);
  weft__turn(core);
  if (core->state < WEFT__C_UV && !core->spin_left) arm(core);
  core->in_turn = false;
}

void weft__wake(weft__core_t *core) {
  if (__atomic_exchange_n(&core->wake, 1, __ATOMIC_ACQ_REL)) return;
  uv_async_send(&core->async);
}

int weft__progress_init(weft__core_t *core) {
  uv_prepare_init(core->loop, &core->prepare);
  uv_check_init(core->loop, &core->check);
  uv_idle_init(core->loop, &core->idle);
  uv_timer_init(core->loop, &core->timer);
  core->prepare.data = core->check.data = core->idle.data = core->timer.data = core;
  core->nuv += 4;
  uv_prepare_start(&core->prepare, on_prepare);
  uv_check_start(&core->check, on_check);
  uv_unref((uv_handle_t *) &core->prepare);
  uv_unref((uv_handle_t *) &core->check);
  uv_unref((uv_handle_t *) &core->idle);
  uv_unref((uv_handle_t *) &core->timer);
  return 0;
}
