/* SPDX-License-Identifier: Apache-2.0 */
/* rails.c - rails of a context: opened on first need, watched by one uv_poll each, closed with the
 * context.
 *
 * Design notes
 *  - A crail is keyed by provider, device and local address. It belongs to the context until its
 *    poll handle is closed.
 *  - Waiters are always called from the worker's results (async callback) or from `later`, so never
 *    inside a call.
 *  - Rails that weft_listen asked for and that open when it has given up are taken when they come:
 *    the next one finds them.
 *  - A device that the system takes away waits for us: its rails' paths die and their listeners
 *    close at once, each rail closes when its last path has, and what librdmacm still has open is
 *    swept. libfabric 1.17 would not find the device again: its crails stay, failed for good. */
#include "loop/rails.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loop/conn.h"

static const uint64_t RETRY_AFTER = WEFT__S, OPEN_LIMIT = 3 * WEFT__S, RELEASE_TRY = 5 * WEFT__MS;

static bool same(const weft__cand_t *a, const weft__cand_t *b) {
  return strcmp(a->provider, b->provider) == 0 && strcmp(a->device, b->device) == 0 &&
         weft__addr_same_ip(&a->addr, &b->addr);
}

weft__crail_t *weft__rail_find(weft__core_t *core, const weft__cand_t *cand) {
  for (weft__link_t *l = core->rails.next; l != &core->rails; l = l->next) {
    weft__crail_t *cr = weft__container(l, weft__crail_t, link);
    if (same(&cr->cand, cand)) return cr;
  }
  return NULL;
}

static void on_tell(weft__later_t *);

static weft__crail_t *crail_new(weft__core_t *core, const weft__cand_t *cand,
                                weft__cands_t *cands) {
  weft__crail_t *cr = calloc(1, sizeof *cr);
  if (!cr) return NULL;
  cr->core = core;
  cr->cand = *cand;
  cr->cands = weft__cands_ref(cands);
  cr->tell.run = on_tell;
  weft__list_init(&cr->waiters);
  weft__list_add(&core->rails, &cr->link);
  core->nrails++;
  return cr;
}

static void crail_free(weft__crail_t *cr) {
  weft__core_t *core = cr->core;
  weft__list_del(&cr->link);
  weft__cands_unref(cr->cands);
  free(cr);
  core->nrails--;
  if (core->state != WEFT__C_OPEN) weft__core_check_closed(core);
}

/* ---- Opening ---- */

static void on_poll(uv_poll_t *poll, int status, int events) {
  weft__crail_t *cr = poll->data;
  (void) status;
  (void) events;
  cr->fired = cr->core->fired = true; /* read in check */
}

static void on_poll_closed(uv_handle_t *h) {
  weft__crail_t *cr = h->data;
  weft__core_t *core = cr->core;
  core->nuv--;
  cr->polling = false;
  if (core->state >= WEFT__C_RAILS) {
    if (!core->abandoned)
      crail_free(cr);
    else
      weft__core_check_closed(core);
  }
}

static int poll_start(weft__crail_t *cr) {
  int err = uv_poll_start(&cr->poll, UV_READABLE, on_poll);
  cr->watched = err == 0;
  return err;
}

static int watch(weft__crail_t *cr) {
  weft__core_t *core = cr->core;
  int err = WEFT__FAULT(epoll);
  if (err) return err;
  err = uv_poll_init(core->loop, &cr->poll, weft__rail_fd(cr->rail));
  if (err) return err;
  core->nuv++;
  cr->polling = true;
  cr->poll.data = cr;
  uv_unref((uv_handle_t *) &cr->poll);
  err = poll_start(cr);
  if (err)
    uv_close((uv_handle_t *) &cr->poll,
             on_poll_closed); /* cr stays until then: it is in the list */
  return err;
}

int weft__rails_watch(weft__core_t *core, bool yes) {
  int err = 0;
  for (weft__link_t *l = core->rails.next; l != &core->rails; l = l->next) {
    weft__crail_t *cr = weft__container(l, weft__crail_t, link);
    if (cr->state != WEFT__R_OPEN || cr->watched == yes) continue;
    if (!yes) {
      uv_poll_stop(&cr->poll);
      cr->watched = false;
      continue;
    }
    int failed = poll_start(cr);
    if (!failed) continue;
    if (!err) weft__error("%s: uv_poll_start: %s", cr->cand.device, uv_strerror(failed));
    err = failed;
  }
  return err;
}

static void tell_waiters(weft__crail_t *cr) {
  while (!weft__list_empty(&cr->waiters)) {
    weft__waiter_t *w = weft__container(cr->waiters.next, weft__waiter_t, link);
    weft__list_del(&w->link);
    w->cb(w, cr);
  }
}

static void on_tell(weft__later_t *l) {
  weft__crail_t *cr = weft__container(l, weft__crail_t, tell);
  if (cr->state != WEFT__R_OPENING) tell_waiters(cr);
}

static void say_removed(weft__crail_t *cr, const char *why) {
  snprintf(cr->why, sizeof cr->why,
           "%.32s %.60s: the device is gone, %.40s: restart the program to use it again",
           cr->cand.provider, cr->cand.device, why);
}

/* What the worker found is in rail, err and why. The waiters are still to be told. */
static void settle(weft__crail_t *cr) {
  weft__core_t *core = cr->core;
  core->opening--;
  weft__cands_unref(cr->cands);
  cr->cands = NULL;
  if (cr->removed) {
    if (cr->rail) weft__rail_close(cr->rail);
    cr->rail = NULL;
    cr->err = UV_ENODEV;
    say_removed(cr, "while it was being opened");
  }
  if (cr->rail && !cr->err) {
    int err = watch(cr);
    if (err) {
      snprintf(cr->why, sizeof cr->why, "%.32s %.60s: watching its queues: %s", cr->cand.provider,
               cr->cand.device, uv_strerror(err));
      cr->err = err;
      weft__rail_close(cr->rail);
      cr->rail = NULL;
    }
  }
  if (cr->rail && !cr->err) {
    cr->state = WEFT__R_OPEN;
    cr->fired = core->fired = true; /* a first look */
    weft__debug("rail %s %s: open", cr->cand.provider, cr->cand.device);
    weft__mem_rail_up(core, cr);
    weft__netmon_start(core);
    weft__devmon_listen(core);
    weft__devmon_start(core, &cr->cand);
    if (core->offers_on) weft__join_listen(core, cr);
  } else {
    cr->state = WEFT__R_FAILED;
    cr->failed_at = core->now_ns;
    weft__warn("%s", cr->why);
    weft__devmon_unuse(core, &cr->cand, cr->removed);
  }
}

static void opened(weft__crail_t *cr) {
  settle(cr);
  tell_waiters(cr);
  if (cr->core->state >= WEFT__C_RAILS) weft__rails_close(cr->core); /* too late */
}

static void open_run(weft__job_t *job) {
  weft__crail_t *cr = job->data;
  cr->err = weft__rail_open(&cr->core->env, &cr->cand, &cr->rail, cr->why, sizeof cr->why);
}

static void open_done(weft__job_t *job) {
  opened(job->data);
}

static int start_open(weft__crail_t *cr) {
  cr->state = WEFT__R_OPENING;
  cr->err = 0;
  cr->rail = NULL;
  cr->job.run = open_run;
  cr->job.done = open_done;
  cr->job.data = cr;
  weft__devmon_use(&cr->cand);
  int err = weft__work(cr->core, &cr->job);
  if (err) {
    weft__devmon_unuse(cr->core, &cr->cand, false);
    cr->state = WEFT__R_FAILED;
    cr->err = err;
    cr->failed_at = 0;
    snprintf(cr->why, sizeof cr->why, "the worker thread could not be started: %s",
             uv_strerror(err));
    return err;
  }
  cr->core->opening++;
  return 0;
}

/* Who is told although nothing has to be opened is told by this. */
typedef struct tell {
  weft__later_t later;
  weft__core_t *core;
  weft__crail_t *cr;
} tell_t;

static void tell_run(weft__later_t *l) {
  tell_t *t = weft__container(l, tell_t, later);
  weft__crail_t *cr = t->cr;
  free(t);
  if (cr->state != WEFT__R_OPENING) tell_waiters(cr);
}

weft__crail_t *weft__rail_want(weft__core_t *core, const weft__cand_t *cand, weft__cands_t *cands,
                               weft__waiter_t *w, int *err) {
  weft__crail_t *cr = weft__rail_find(core, cand);
  *err = 0;
  weft__list_init(&w->link);
  if (core->state != WEFT__C_OPEN) {
    *err = UV_ECANCELED;
    return NULL;
  }
  bool fresh = !cr || (cr->state == WEFT__R_FAILED && !cr->removed &&
                       core->now_ns - cr->failed_at >= RETRY_AFTER);
  if (fresh) {
    /* the list's own entry: it has the provider's info */
    const weft__cand_t *full = NULL;
    for (unsigned i = 0; cands && i < cands->list.n && !full; i++)
      if (same(&cands->list.v[i], cand)) full = &cands->list.v[i];
    if (!full) {
      *err = UV_ENODEV;
      return NULL;
    }
    if (!cr && !(cr = crail_new(core, full, cands))) {
      *err = UV_ENOMEM;
      return NULL;
    }
    if (!cr->cands) {
      cr->cand = *full;
      cr->cands = weft__cands_ref(cands);
    }
    if ((*err = start_open(cr)) != 0) return NULL;
  } else if (cr->state != WEFT__R_OPENING) {
    tell_t *t = calloc(1, sizeof *t);
    if (!t) {
      *err = UV_ENOMEM;
      return NULL;
    }
    t->later.run = tell_run;
    t->core = core;
    t->cr = cr;
    weft__later(core, &t->later);
  }
  weft__list_add(&cr->waiters, &w->link);
  return cr;
}

void weft__rail_unwant(weft__waiter_t *w) {
  if (w->link.next) weft__list_del(&w->link);
}

/* ---- Opening at once, for weft_listen ---- */

typedef struct batch {
  weft__job_t job;
  weft__core_t *core;
  int stop; /* atomic: nobody waits any more, open no more of them */
  unsigned n;
  weft__cands_t *cands;
  struct {
    weft__cand_t cand;
    weft__rail_t *rail;
    int err;
    char why[200];
  } v[];
} batch_t;

static void batch_run(weft__job_t *job) {
  batch_t *b = weft__container(job, batch_t, job);
  for (unsigned i = 0; i < b->n; i++) {
    b->v[i].err = UV_ECANCELED;
    if (__atomic_load_n(&b->stop, __ATOMIC_RELAXED)) continue;
    weft__devmon_use(&b->v[i].cand);
    b->v[i].err = weft__rail_open(&b->core->env, &b->v[i].cand, &b->v[i].rail, b->v[i].why,
                                  sizeof b->v[i].why);
  }
}

/* What it has opened becomes the context's. Nobody is told yet. Frees it. */
static void batch_end(batch_t *b) {
  weft__core_t *core = b->core;
  for (unsigned i = 0; i < b->n; i++) {
    weft__crail_t *cr = weft__rail_find(core, &b->v[i].cand);
    bool wanted = core->state == WEFT__C_OPEN && b->v[i].err != UV_ECANCELED &&
                  (!cr || cr->state == WEFT__R_FAILED);
    if (wanted && !cr) cr = crail_new(core, &b->v[i].cand, b->cands);
    if (!wanted || !cr) { /* the context closes, or somebody else was faster */
      if (b->v[i].rail) weft__rail_close(b->v[i].rail);
      if (b->v[i].err != UV_ECANCELED) weft__devmon_unuse(core, &b->v[i].cand, false);
      continue;
    }
    cr->rail = b->v[i].rail;
    cr->err = b->v[i].err;
    snprintf(cr->why, sizeof cr->why, "%s", b->v[i].why);
    core->opening++;
    settle(cr);
    weft__later(core, &cr->tell);
  }
  weft__cands_unref(b->cands);
  free(b);
}

static void batch_late(weft__job_t *job) {
  batch_end(weft__container(job, batch_t, job));
}

unsigned weft__rails_open_now(weft__core_t *core, weft__cands_t *cands,
                              const weft__cand_t *const *want, unsigned n, char *why, size_t len) {
  unsigned open = 0;
  weft__work_how_t how = WEFT__WORK_FIRST;
  batch_t *b = calloc(1, sizeof *b + n * sizeof b->v[0]);
  if (!b) {
    snprintf(why, len, "out of memory");
    return 0;
  }
  b->job.run = batch_run;
  b->core = core;
  b->cands = weft__cands_ref(cands);
  for (unsigned i = 0; i < n; i++) {
    weft__crail_t *cr = weft__rail_find(core, want[i]);
    if (cr && cr->state == WEFT__R_OPENING)
      how = WEFT__WORK_LAST; /* then its job has run when ours has */
    if (!cr || (cr->state == WEFT__R_FAILED && !cr->removed)) b->v[b->n++].cand = *want[i];
  }
  if (b->n == 0 && how == WEFT__WORK_FIRST) { /* all are open */
    batch_end(b);
  } else {
    int err = weft__work_wait(core, &b->job, how, OPEN_LIMIT, batch_late);
    if (err) {
      snprintf(why, len, "opening rails on the worker: %s", uv_strerror(err));
      if (err == UV_ETIMEDOUT) {
        __atomic_store_n(&b->stop, 1, __ATOMIC_RELAXED);
      } else {
        weft__cands_unref(b->cands);
        free(b);
      }
      return 0;
    }
    batch_end(b);
  }
  for (unsigned i = 0; i < n; i++) {
    weft__crail_t *cr = weft__rail_find(core, want[i]);
    if (cr && cr->state == WEFT__R_OPENING && weft__worker_take(core, &cr->job)) {
      settle(cr);
      weft__later(core, &cr->tell);
    }
    if (cr && cr->state == WEFT__R_OPEN)
      open++;
    else if (cr)
      snprintf(why, len, "%s", cr->why);
  }
  return open;
}

/* ---- Closing ---- */

/* Its paths and listeners are gone. */
static void shut(weft__crail_t *cr) {
  if (cr->join) weft__lst_close(cr->join);
  cr->join = NULL;
  /* first out of libuv's epoll set, then the fd may go */
  if (cr->polling && !uv_is_closing((uv_handle_t *) &cr->poll))
    uv_close((uv_handle_t *) &cr->poll, on_poll_closed);
  if (cr->rail && !cr->core->abandoned) {
    weft__mem_rail_down(cr->core, cr);
    weft__rail_close(cr->rail);
    weft__devmon_unuse(cr->core, &cr->cand,
                       cr->removed); /* after what the close gives the worker */
  }
  cr->rail = NULL;
}

void weft__rails_close(weft__core_t *core) {
  weft__timer_stop(core, &core->removal);
  for (weft__link_t *l = core->rails.next, *next; l != &core->rails; l = next) {
    next = l->next;
    weft__crail_t *cr = weft__container(l, weft__crail_t, link);
    if (cr->state == WEFT__R_OPENING || cr->state == WEFT__R_CLOSED)
      continue; /* comes back when it is open */
    cr->state = WEFT__R_CLOSED;
    bool polling = cr->polling;
    shut(cr);
    if (!polling && !core->abandoned) crail_free(cr);
  }
}

/* ---- Devices that are taken away ---- */

/* Let go of what can be, now that nobody is inside one of its upcalls. */
static void release(weft__timer_t *t) {
  weft__core_t *core = weft__container(t, weft__core_t, removal);
  bool waiting = false, released = false;
  for (weft__link_t *l = core->rails.next; l != &core->rails; l = l->next) {
    weft__crail_t *cr = weft__container(l, weft__crail_t, link);
    if (!cr->removed || cr->state != WEFT__R_OPEN) continue;
    if (cr->join) weft__lst_close(cr->join);
    cr->join = NULL;
    weft__rail_lost(cr->rail, NULL, NULL, cr->why); /* a dial may have begun since */
    cr->fired = core->fired = true;
    if (!weft__rail_idle(cr->rail)) {
      waiting = true;
      continue;
    }
    cr->state = WEFT__R_FAILED;
    cr->err = UV_ENODEV;
    cr->failed_at = core->now_ns;
    shut(cr);
    released = true;
    weft__info("%s", cr->why);
  }
  if (released) weft__rescan(core); /* what lists of candidates say of it */
  if (waiting) weft__timer_set(core, &core->removal, core->now_ns + RELEASE_TRY);
}

void weft__device_removed(weft__core_t *core, const char *device, const char *why) {
  bool news = false;
  for (weft__link_t *l = core->rails.next; l != &core->rails; l = l->next) {
    weft__crail_t *cr = weft__container(l, weft__crail_t, link);
    if (cr->removed || !(cr->cand.traits & WEFT_TRAIT_RDMA) ||
        strcmp(cr->cand.device, device) != 0 || cr->state == WEFT__R_CLOSED)
      continue;
    news = cr->removed = true;
    say_removed(cr, why);
    if (cr->state == WEFT__R_OPEN) weft__rail_lost(cr->rail, NULL, NULL, cr->why);
  }
  weft__devmon_stop(core, device);
  if (!news) return;
  weft__warn("the RDMA device %s is gone, %s: letting go of it", device, why);
  weft__cand_removed(device);
  weft__cands_forget();
  core->removal.fire = release;
  weft__timer_set(core, &core->removal, core->now_ns);
}

void weft__rail_removed(weft__core_t *core, const weft__rail_t *rail, const char *why) {
  for (weft__link_t *l = core->rails.next; l != &core->rails; l = l->next) {
    const weft__crail_t *cr = weft__container(l, weft__crail_t, link);
    if (cr->rail != rail) continue;
    weft__device_removed(core, cr->cand.device, why);
    return;
  }
}

uint64_t weft__rails_heard_since(weft__core_t *core) {
  if (core->heard_until > core->now_ns) return core->heard_since; /* it only grows */
  core->heard_until = core->now_ns + 100 * WEFT__MS;
  core->heard_since = UINT64_MAX;
  for (weft__link_t *l = core->rails.next; l != &core->rails; l = l->next) {
    const weft__crail_t *cr = weft__container(l, weft__crail_t, link);
    if (!cr->rail) continue;
    uint64_t since = weft__rail_heard_since(cr->rail);
    if (since < core->heard_since) core->heard_since = since;
  }
  return core->heard_since;
}

const weft__crail_t *weft__crail_of(weft__core_t *core, const weft__path_t *path) {
  for (weft__link_t *l = core->rails.next; path->rail && l != &core->rails; l = l->next) {
    const weft__crail_t *cr = weft__container(l, weft__crail_t, link);
    char text[80];
    size_t n = strlen(weft__addr_str(&cr->cand.addr, text, sizeof text));
    if (n && strncmp(path->local, text, n) == 0 &&
        (path->local[n] == ':' || path->local[n] == '\0') &&
        strcmp(cr->cand.provider, weft__rail_provider(path->rail)) == 0)
      return cr;
  }
  return NULL;
}

const char *weft__device_of(weft__core_t *core, const weft__path_t *path) {
  const weft__crail_t *cr = weft__crail_of(core, path);
  return cr ? cr->cand.device : path->rail ? weft__rail_device(path->rail) : "";
}
