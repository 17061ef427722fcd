/* SPDX-License-Identifier: Apache-2.0 */
/* queue.c - completion queues (shards), event queues, the rail's fd, arming and draining.
 *
 * Design notes
 *  - One epoll set per rail holds what all its queues sleep on (waitset.c): its fd never changes,
 *    is level-triggered and nests.
 *  - A queue is dirty from its first read or post until fi_trywait said that sleeping is safe. Only
 *    dirty queues are asked, so arming an idle rail costs nothing. What fi_trywait found stays
 *    marked `must`, because software queues of a provider do not show on their fd.
 *  - A drain reads completions before events: a frame that arrived before a death is delivered
 *    before it.
 *  - A short read ends a shard's turn: what came meanwhile shows at the next drain or at arming.
 *    That saves the system call that would say "empty".
 *  - errno is cleared before fi_eq_read: tcp takes a stale EAGAIN for the answer of a read that met
 *    the end of file. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "internal.h"

#define LATELY_NS 1000000u
#define MUTE_NS   20000000
#define STEP_MS   2000 /* what verbs gives the search for a route */
enum { BARREN_MAX = 64 };

/* ---- Event queues ---- */

int weft__eq_open(weft__rail_t *rail, weft__eq_t **out) {
  struct fi_eq_attr attr = {.wait_obj = FI_WAIT_FD};
  weft__eq_t *eq = calloc(1, sizeof(*eq));
  int err;

  if (eq == NULL) return -ENOMEM;
  eq->src = SRC_EQ;
  eq->rail = rail;
  weft__eq_touch(eq);
  err = WEFT__FAULT(eq_open);
  if (err == 0) err = weft__fi_err(fi_eq_open(rail->fabric, &attr, &eq->eq, eq));
  if (err == 0) {
    err = weft__wait_add(rail, &eq->eq->fid, eq);
    if (err != 0) fi_close(&eq->eq->fid);
  }
  if (err != 0) {
    free(eq);
    return err;
  }
  eq->next = rail->eqs;
  if (eq->next != NULL) eq->next->prev = eq;
  rail->eqs = eq;
  *out = eq;
  return 0;
}

void weft__eq_detach(weft__eq_t *eq) {
  weft__rail_t *rail = eq->rail;

  if (eq->detached) return;
  eq->detached = true;
  if (!eq->muted) weft__wait_del(rail, &eq->eq->fid, eq);
  if (eq->prev != NULL)
    eq->prev->next = eq->next;
  else
    rail->eqs = eq->next;
  if (eq->next != NULL) eq->next->prev = eq->prev;
  eq->prev = eq->next = NULL;
  eq->dirty = eq->fired = eq->muted = false;
}

void weft__eq_close(weft__eq_t *eq) {
  char text[96];
  int err;

  weft__eq_detach(eq);
  eq->path = NULL;
  eq->lst = NULL;
  if (eq->reading != 0) {
    eq->dead = true; /* weft__eq_drain, further up the stack, comes back to it */
    return;
  }
  err = weft__fi_err(fi_close(&eq->eq->fid));
  if (err != 0)
    weft__warn("%s: closing an event queue: %s", eq->rail->name,
               weft__err_str(err, text, sizeof(text)));
  free(eq);
}

static void event(weft__eq_t *eq, uint32_t ev, struct fi_eq_cm_entry *cm, size_t len) {
  weft__mpath_t *p;

  switch (ev) {
  case FI_CONNREQ:
    if (eq->lst != NULL) weft__lst_connreq(eq->lst, cm->info, cm->data, len);
    return;
  case FI_CONNECTED:
    p = cm->fid->context;
    if (p->closing != CLOSE_NO) return;
    if (p->state == ST_CONNECTING)
      weft__mpath_connected(p, cm->data, len);
    else if (p->state == ST_ACCEPTING)
      weft__mpath_up(p);
    return;
  case FI_SHUTDOWN:
    p = cm->fid->context;
    if (p->shard != NULL) weft__shard_touch(p->shard);
    weft__mpath_die(p, -ECONNRESET, false, "%s closed the connection (ECONNRESET)", p->p.remote);
    return;
  default: return;
  }
}

static void event_error(weft__eq_t *eq, const struct fi_eq_err_entry *e) {
  weft__mpath_t *p = eq->path;
  int err = weft__fi_err(e->err);
  char text[96];

  if (eq->lst != NULL) {
    weft__lst_error(eq->lst, err);
    return;
  }
  if (p == NULL && e->fid != NULL) p = e->fid->context;
  if (p == NULL) return;
  if (p->shard != NULL) weft__shard_touch(p->shard);
  if (p->state == ST_CONNECTING) {
    /* verbs hides the cause behind ETIMEDOUT. */
    if (err == -ETIMEDOUT && e->prov_errno > 0 && e->prov_errno < FI_ERRNO_OFFSET)
      err = -e->prov_errno;
    weft__mpath_connect_failed(p, err, e->err_data, e->err_data_size);
    return;
  }
  weft__mpath_die(p, err, false, "connection with %s: %s", p->p.remote,
                  weft__err_str(err, text, sizeof(text)));
}

typedef union {
  struct fi_eq_cm_entry cm;
  uint8_t room[sizeof(struct fi_eq_cm_entry) + CM_DATA_MAX + 16];
} event_room_t;

/* Stops where an upcall detached the queue. */
static int eq_read(weft__eq_t *eq) {
  event_room_t u;
  uint8_t data[CM_DATA_MAX];
  struct fi_eq_err_entry e;
  weft__rail_t *rail = eq->rail;
  int n;

  for (n = 0; n < 64 && !eq->detached; n++) {
    uint32_t ev = 0;
    ssize_t r;

    weft__eq_touch(eq);
    errno = 0;
    r = fi_eq_read(eq->eq, &ev, &u, sizeof(u), 0);
    if (r >= (ssize_t) sizeof(u.cm)) {
      event(eq, ev, &u.cm, (size_t) r - sizeof(u.cm));
    } else if (r == -FI_EAVAIL) {
      memset(&e, 0, sizeof(e));
      e.err_data = data;
      e.err_data_size = sizeof(data);
      if (fi_eq_readerr(eq->eq, &e, 0) < 0) break;
      if (e.err_data == NULL) e.err_data_size = 0;
      event_error(eq, &e);
    } else if (r < 0 && r != -FI_EAGAIN && r != -FI_EINTR) {
      memset(&e, 0, sizeof(e));
      e.err = (int) -r;
      if (eq->path != NULL || eq->lst != NULL)
        event_error(eq, &e);
      else
        weft__warn("%s: reading events: %s", rail->name,
                   weft__err_str(weft__fi_err(r), (char *) data, 96));
      n++;
      break;
    } else {
      break;
    }
    if (eq->lst != NULL && eq->lst->failed) break;
  }
  return n;
}

int weft__eq_step(weft__eq_t *eq) {
  event_room_t u;
  struct pollfd fd = {.fd = -1, .events = POLLIN};
  uint32_t ev = 0;
  ssize_t r;

  if (WEFT__FAULT(connect_read) != 0) return 0; /* the loop does it */
  if (fi_control(&eq->eq->fid, FI_GETWAIT, &fd.fd) != 0 || poll(&fd, 1, STEP_MS) <= 0) return 0;
  r = fi_eq_read(eq->eq, &ev, &u, sizeof(u), FI_PEEK);
  return r >= 0 || r == -FI_EAGAIN || r == -FI_EAVAIL || r == -FI_EINTR ? 0 : weft__fi_err(r);
}

int weft__eq_drain(weft__eq_t *eq) {
  int n;

  if (eq->away) return 0;
  eq->reading++;
  n = eq_read(eq);
  if (--eq->reading == 0 && eq->dead) weft__eq_close(eq);
  return n;
}

/* ---- Shards ---- */

static int shard_open(weft__rail_t *rail, weft__shard_t **out) {
  struct fi_cq_attr attr = {.format = FI_CQ_FORMAT_MSG,
                            .wait_obj = rail->q->pollfd ? FI_WAIT_POLLFD : FI_WAIT_FD};
  weft__shard_t *s, **v;
  int err;

  v = realloc(rail->shards, (rail->nshards + 1) * sizeof(*v));
  if (v == NULL) return -ENOMEM;
  rail->shards = v;
  s = calloc(1, sizeof(*s));
  if (s == NULL) return -ENOMEM;
  s->src = SRC_SHARD;
  s->rail = rail;
  s->dirty = true;
  attr.size = rail->plan.cq_size;
  if (!rail->q->rdma && attr.size > 1024) attr.size = 1024; /* the others grow by themselves */
  err = WEFT__FAULT(cq_open);
  if (err == 0) err = weft__fi_err(fi_cq_open(rail->domain, &attr, &s->cq, s));
  if (err == 0) {
    err = rail->q->pollfd ? weft__waitset_sync(s) : weft__wait_add(rail, &s->cq->fid, s);
    if (err != 0) fi_close(&s->cq->fid);
  }
  if (err != 0) {
    weft__waitset_fini(s);
    free(s);
    return err;
  }
  rail->shards[rail->nshards++] = s;
  *out = s;
  return 0;
}

static void shard_close(weft__shard_t *s) {
  weft__rail_t *rail = s->rail;
  char text[96];
  int err;

  if (rail->q->pollfd)
    weft__waitset_fini(s);
  else
    weft__wait_del(rail, &s->cq->fid, s);
  err = weft__fi_err(fi_close(&s->cq->fid));
  if (err != 0)
    weft__warn("%s: closing a completion queue: %s", rail->name,
               weft__err_str(err, text, sizeof(text)));
  free(s);
}

int weft__shard_take(weft__rail_t *rail, weft__shard_t **out) {
  weft__shard_t *best = NULL;
  unsigned i;
  int err;

  if (rail->nbound >= rail->plan.max_paths) return -ENOSPC;
  for (i = 0; i < rail->nshards; i++)
    if (rail->shards[i]->npaths < rail->plan.per_cq && !rail->shards[i]->spoilt) {
      best = rail->shards[i];
      break;
    }
  if (best == NULL) {
    err = shard_open(rail, &best);
    if (err != 0) return err;
  }
  best->npaths++;
  rail->nbound++;
  *out = best;
  return 0;
}

void weft__shard_give(weft__shard_t *s) {
  weft__rail_t *rail = s->rail;
  unsigned i;

  s->npaths--;
  rail->nbound--;
  if (!s->spoilt || s->npaths != 0) return;
  for (i = 0; rail->shards[i] != s; i++)
    ;
  rail->shards[i] = rail->shards[--rail->nshards];
  shard_close(s);
}

static void shard_error(weft__shard_t *s) {
  struct fi_cq_err_entry e;
  char text[128];

  memset(&e, 0, sizeof(e));
  if (fi_cq_readerr(s->cq, &e, 0) != 1 || e.op_context == NULL)
    return; /* tcp 1.17 reports an entry it had freed already */
  fi_cq_strerror(s->cq, e.prov_errno, NULL, text, sizeof(text));
  if (e.err != FI_EIO || !s->rail->q->rdma) weft__err_str(weft__fi_err(e.err), text, sizeof(text));
  weft__cq_failed(e.op_context, weft__fi_err(e.err), text);
}

/* The queue itself is broken: so is every path on it. */
static void shard_broken(weft__shard_t *s, int err) {
  weft__mpath_t *p;
  char text[96];

  for (p = s->rail->paths; p != NULL; p = p->next)
    if (p->shard == s)
      weft__mpath_die(p, err, false, "reading completions: %s",
                      weft__err_str(err, text, sizeof(text)));
  s->must = false;
}

/* A peer may write with data that completes here, which Weft never does: tcp then names no
 * operation, verbs takes a receive for it and puts nothing into it. */
static void stray(weft__ctx_t *ctx) {
  if (ctx != NULL) weft__cq_failed(ctx, -EPROTO, "a write that asks for a completion");
}

static int shard_read(weft__shard_t *s, int batches) {
  struct fi_cq_msg_entry e[BATCH];
  int n = 0;

  s->dirty = true;
  while (batches-- > 0) {
    ssize_t i, r = fi_cq_read(s->cq, e, BATCH);

    if (r > 0) {
      for (i = 0; i < r; i++) {
        if (__builtin_expect(e[i].op_context == NULL || (e[i].flags & FI_REMOTE_WRITE) != 0, 0))
          stray(e[i].op_context);
        else
          weft__cq_done(e[i].op_context, e[i].len);
      }
      n += (int) r;
      if (r < BATCH) break;
    } else if (r == -FI_EAVAIL) {
      shard_error(s);
      n++;
    } else {
      s->must = false;
      if (r != -FI_EAGAIN && r != -FI_EINTR && r != 0) {
        shard_broken(s, weft__fi_err(r));
        n++;
      }
      break;
    }
  }
  if (n != 0) s->active_ns = *s->rail->env->now_ns;
  return n;
}

int weft__shard_empty(weft__shard_t *s) {
  int n = 0, i;

  s->must = true;
  for (i = 0; i < 64 && s->must; i++) n += shard_read(s, BATCHES_MAX);
  return n;
}

void weft__queues_close(weft__rail_t *rail) {
  unsigned i;

  while (rail->eqs != NULL) weft__eq_close(rail->eqs);
  rail->eq = NULL;
  for (i = 0; i < rail->nshards; i++) shard_close(rail->shards[i]);
  free(rail->shards);
  rail->shards = NULL;
  rail->nshards = 0;
}

/* ---- The loop's side ---- */

int weft__rail_fd(const weft__rail_t *rail) {
  return rail->epfd;
}

int weft__rail_arm(weft__rail_t *rail) {
  weft__eq_t *eq;
  struct fid *fid;
  unsigned i;

  if (rail->todo != NULL) return -EAGAIN;
  /* Event queues first: looking at one may end a connection, which puts completions into a shard.
   */
  if (rail->eqs_dirty) {
    for (eq = rail->eqs; eq != NULL; eq = eq->next) {
      if (!eq->dirty || eq->away) continue;
      fid = &eq->eq->fid;
      if (fi_trywait(rail->fabric, &fid, 1) != 0) {
        eq->fired = rail->eqs_fired = true;
        return -EAGAIN;
      }
      eq->dirty = false;
    }
    rail->eqs_dirty = false;
  }
  for (i = 0; i < rail->nshards; i++) {
    weft__shard_t *s = rail->shards[i];
    if (!s->dirty && !s->must) continue;
    fid = &s->cq->fid;
    if (s->must || fi_trywait(rail->fabric, &fid, 1) != 0 ||
        (rail->q->pollfd && weft__waitset_sync(s) != 0)) {
      s->must = true;
      return -EAGAIN;
    }
    s->dirty = false;
  }
  return 0;
}

/* ---- What a listener's queue needs time for ---- */

static void set_timer(weft__rail_t *rail) {
  uint64_t now = *rail->env->now_ns, at = rail->mute_until, in;
  struct itimerspec when = {0};

  if (at == 0 || (rail->sweep_at != 0 && rail->sweep_at < at)) at = rail->sweep_at;
  if (at != 0) {
    in = at > now ? at - now : 1;
    when.it_value.tv_sec = (time_t) (in / 1000000000u);
    when.it_value.tv_nsec = (long) (in % 1000000000u);
  }
  (void) timerfd_settime(rail->timer, 0, &when, NULL);
}

/* A listener's queue fired and had nothing to say. Somebody connected and has not spoken: see to it
 * that he does. Or the listening socket cannot be accepted from, for want of descriptors, and stays
 * ready: tcp would have the loop spin, so such a queue is left alone for a moment. */
static void barren(weft__eq_t *eq) {
  weft__rail_t *rail = eq->rail;
  uint64_t now = *rail->env->now_ns;

  if (eq->lst == NULL) return;
  if (rail->q->own_stack)
    return; /* it rings for all that sleep whatever comes, and has no descriptors */
  if (rail->sweep_at == 0 && rail->q->half_open) {
    rail->sweep_at = now + HALF_OPEN_NS / 4;
    set_timer(rail);
  }
  if (eq->barren++ == 0 || now - eq->barren_ns > MUTE_NS) {
    eq->barren = 1;
    eq->barren_ns = now;
  }
  if (eq->barren < BARREN_MAX) return;
  weft__debug("%s: %s is ready but nothing comes of it: out of descriptors?", rail->name,
              eq->lst->name);
  eq->barren = 0;
  eq->muted = true;
  weft__wait_del(rail, &eq->eq->fid, eq);
  rail->mute_until = now + MUTE_NS;
  set_timer(rail);
}

static void timer_fired(weft__rail_t *rail) {
  uint64_t n, now = *rail->env->now_ns;
  weft__eq_t *eq;
  weft__lst_t *l;

  if (read(rail->timer, &n, sizeof(n)) < 0) return;
  /* The loop's time may lag behind the timer's. */
  if (rail->mute_until != 0 && rail->mute_until <= now + MUTE_NS / 2) {
    rail->mute_until = 0;
    for (eq = rail->eqs; eq != NULL; eq = eq->next)
      if (eq->muted) {
        eq->muted = false;
        (void) weft__wait_add(rail, &eq->eq->fid, eq);
      }
  }
  if (rail->sweep_at != 0 && rail->sweep_at <= now + HALF_OPEN_NS / 8) {
    rail->sweep_at = 0;
    for (l = rail->lsts; l != NULL; l = l->next)
      if (weft__half_sweep(l)) rail->sweep_at = now + HALF_OPEN_NS / 4;
  }
  set_timer(rail);
}

static void look(weft__rail_t *rail) {
  struct epoll_event ev[64];
  int i, n = epoll_wait(rail->epfd, ev, 64, 0);

  for (i = 0; i < n; i++) {
    if (ev[i].data.ptr == rail)
      timer_fired(rail);
    else if (*(weft__src_kind *) ev[i].data.ptr == SRC_SHARD)
      ((weft__shard_t *) ev[i].data.ptr)->fired = true;
    else
      ((weft__eq_t *) ev[i].data.ptr)->fired = rail->eqs_fired = true;
  }
}

static int drain_events(weft__rail_t *rail, bool all) {
  weft__eq_t *eq;
  int n = 0, got;

  if (all)
    for (eq = rail->eqs; eq != NULL; eq = eq->next) eq->fired = rail->eqs_fired = true;
  /* An upcall may open and close queues: begin anew after each that was read. */
  while (rail->eqs_fired) {
    rail->eqs_fired = false;
    for (eq = rail->eqs; eq != NULL && !eq->fired; eq = eq->next)
      ;
    if (eq == NULL) break;
    rail->eqs_fired = true;
    eq->fired = false;
    got = weft__eq_drain(eq);
    n += got;
    if (got != 0) continue; /* the queue may be gone */
    if (!all) barren(eq);
  }
  return n;
}

int weft__rail_drain(weft__rail_t *rail, weft__drain_t how) {
  unsigned i;
  int n = 0;

  if (how == WEFT__DRAIN_ACTIVE) { /* who spins asks all rails, most of which rest */
    uint64_t now = *rail->env->now_ns;
    for (i = 0; i < rail->nshards && now - rail->shards[i]->active_ns >= LATELY_NS; i++) {}
    if (i == rail->nshards && rail->todo == NULL) return 0;
    rail->busy++;
    for (; i < rail->nshards; i++)
      if (now - rail->shards[i]->active_ns < LATELY_NS) n += shard_read(rail->shards[i], 1);
  } else {
    rail->busy++;
    if (how == WEFT__DRAIN_FIRED) look(rail);
    for (i = 0; i < rail->nshards; i++) {
      weft__shard_t *s = rail->shards[i];
      if (how == WEFT__DRAIN_ALL || s->fired || s->must) {
        s->fired = false;
        n += shard_read(s, BATCHES_MAX);
      }
    }
    n += drain_events(rail, how == WEFT__DRAIN_ALL);
  }
  n += weft__todo_run(rail);
  weft__rail_leave(rail);
  return n;
}
