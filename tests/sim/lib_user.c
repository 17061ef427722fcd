/* SPDX-License-Identifier: Apache-2.0 */
/* lib_user.c - the user of a session end: sends, cancels, stops and starts receiving, aborts.
 *
 * Design notes
 *  - What the plan says about time is done by events; what it says about chance is done in upcalls,
 *    because a user may call anything from inside a callback. */
#include "lib_world.h"

#include <errno.h>
#include <string.h>

static weft__rng_t *rng(owner_t *o) {
  return &o->rng;
}

static bool hit(owner_t *o, unsigned one_in) {
  return one_in != 0 && weft__rng_one_in(&o->rng, one_in);
}

static void queue_next(owner_t *o) {
  const plan_side_t *ps = &o->w->plan.side[o->side];
  unsigned idx = o->next++;
  msg_t *m = &o->msg[idx];
  int err;

  memset(m, 0, sizeof(*m));
  m->txm.owner[0] = idx;
  if (idx == o->n) {
    m->txm.kind = WEFT__R_FIN;
  } else {
    uint8_t *p = oracle_message(o, idx);
    uint32_t at = 0, piece;

    m->txm.kind = WEFT__R_MSG;
    m->txm.iov = m->iov;
    m->txm.niov = 1 + (uint32_t) weft__rng_below(rng(o), 3);
    for (piece = 0; piece < m->txm.niov; piece++) {
      uint32_t n = piece + 1 == m->txm.niov ? m->size - at
                                            : (uint32_t) weft__rng_below(rng(o), m->size - at + 1);
      m->iov[piece].iov_base = p + at;
      m->iov[piece].iov_len = n;
      at += n;
    }
  }
  err = weft__session_send(o->s, &m->txm);
  if (err != 0) {
    bool right = err == -EMSGSIZE ? m->size > o->w->plan.side[1 - o->side].max_message
                                  : err == -ENOTCONN && (o->end_err != 0 || o->aborted ||
                                                         o->w->failed_malloc || o->w->plan.hostile);
    m->refusal = true;
    o->nqueued = idx + 1;
    if (!right && !o->ended && !weft__session_is_open(o->s))
      right = true; /* it has ended, and says so in a moment */
    if (!right && !o->w->plan.hostile)
      world_violate(o->w, "%c: send answers %d", "AB"[o->side], err);
    return;
  }
  m->state = MSG_QUEUED;
  o->nqueued = idx + 1;
  if (idx == o->n) o->fin_queued = true;
  if (idx != o->n && hit(o, ps->cancel) && weft__session_cancel(o->s, &m->txm) == 0)
    m->canceled = true;
}

/* Send what is due, and come back for the rest. */
void user_work(void *arg, uint64_t unused) {
  owner_t *o = arg;
  const plan_side_t *ps = &o->w->plan.side[o->side];
  uint64_t now = weft__sim_time(o->w->sim);

  (void) unused;
  o->working = true;
  while (owner_alive(o) && o->next < o->n && ps->msg[o->next].at <= now) queue_next(o);
  if (!owner_alive(o)) return;
  if (o->next < o->n)
    weft__sim_at(o->w->sim, o->side, ps->msg[o->next].at, user_work, o, 0);
  else if (o->next == o->n && now < ps->fin_at)
    weft__sim_at(o->w->sim, o->side, ps->fin_at, user_work, o, 0);
  else if (o->next == o->n)
    queue_next(o);
}

static void cancel_some(owner_t *o) {
  unsigned i = (unsigned) weft__rng_below(rng(o), o->nqueued + 1);

  if (i < o->nqueued && i < o->n && o->msg[i].state == MSG_QUEUED && !o->msg[i].canceled &&
      weft__session_cancel(o->s, &o->msg[i].txm) == 0)
    o->msg[i].canceled = true;
}

static void resume_rx(void *arg, uint64_t unused) {
  owner_t *o = arg;

  (void) unused;
  o->stopped = false;
  if (o->s != NULL && o->started && !o->gone) weft__session_rx_start(o->s);
}

void user_stops(void *arg, uint64_t length) {
  owner_t *o = arg;

  if (o->s == NULL || o->gone || o->stopped) return;
  o->stopped = true;
  weft__session_rx_stop(o->s);
  weft__sim_note(o->w->sim, "%c: stops receiving", "AB"[o->side]);
  weft__sim_at(o->w->sim, o->side, weft__sim_time(o->w->sim) + length, resume_rx, o, 0);
  if (hit(o, o->w->plan.side[o->side].cancel)) cancel_some(o);
}

/* What a user does inside a callback. */
void owner_poke(owner_t *o) {
  const plan_side_t *ps = &o->w->plan.side[o->side];

  if (!owner_alive(o)) return;
  if (hit(o, ps->reply) && o->next < o->n) queue_next(o);
  if (hit(o, ps->stop_in_upcall)) user_stops(o, weft__rng_log(rng(o), US, 2 * MS));
  if (hit(o, ps->cancel)) cancel_some(o);
}

void owner_abort(owner_t *o, const char *why) {
  if (o->aborted) return;
  o->aborted = true;
  if (o->s == NULL || o->gone) return;
  weft__sim_note(o->w->sim, "%c: aborts", "AB"[o->side]);
  o->released = true;
  weft__session_abort(o->s, -ECANCELED, -ECONNRESET, why);
}
