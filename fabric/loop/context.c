/* SPDX-License-Identifier: Apache-2.0 */
/* context.c - weft_init to weft_close, posts from other threads, and loops of our own for programs without libuv.
 *
 * Design notes
 *    OPEN -> CLOSING (handles, connections that linger) -> RAILS (rails, jobs) -> UV (our uv handles) -> CLOSED
 *  - weft__core_check_closed moves on when the counts of a stage are zero. It only books work for later, so anybody may
 *    call it from anywhere.
 *  - Each stage has a time limit: a device that hangs must not hang the program. What is then still out is abandoned: its
 *    memory is leaked on purpose, and the log says so.
 *  - With a private loop the last step (uv_loop_close and the callback) is weft_process's, after uv_run has returned. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "loop/conn.h"

_Static_assert(sizeof(weft_t) == 64 && sizeof(weft_listener_t) == 64 && sizeof(weft_conn_t) == 64,
               "handles");
_Static_assert(sizeof(weft_connect_t) == 128 && sizeof(weft_send_t) == 128, "requests");
_Static_assert(sizeof(weft_shutdown_t) == 128 && sizeof(weft_post_t) == 128, "requests");

static const uint64_t linger_limit = 5 * WEFT__S, rails_limit = 4 * WEFT__S;

static weft__core_t *left_behind; /* atomic: contexts that something still uses */

uint64_t weft__clock_ns(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (uint64_t) ts.tv_sec * WEFT__S + (uint64_t) ts.tv_nsec;
}

void weft__random_once(void *out, size_t len) {
  uint8_t *p = out;
  while (len) {
    ssize_t n = getrandom(p, len, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) abort(); /* keys must not be guessable */
    p += n;
    len -= (size_t) n;
  }
}

void weft__random(weft__core_t *core, void *out, size_t len) {
  if (len > sizeof core->rnd) {
    weft__random_once(out, len);
    return;
  }
  if (core->rnd_left < len) {
    weft__random_once(core->rnd, sizeof core->rnd);
    core->rnd_left = sizeof core->rnd;
  }
  uint8_t *from = core->rnd + sizeof core->rnd - core->rnd_left;
  memcpy(out, from, len);
  memset(from, 0, len);
  core->rnd_left -= (unsigned) len;
}

/* ---- Start ---- */

static int env_work(weft__env_t *env, weft__job_t *job) {
  return weft__work(weft__container(env, weft__core_t, env), job);
}

static int env_work_long(weft__env_t *env, weft__job_t *job) {
  return weft__work_peer(weft__container(env, weft__core_t, env), job);
}

static int take_options(weft__core_t *core, const weft_opts_t *opts) {
  weft_opts_t *o = &core->opts;
  weft_opts_init(o, sizeof *o);
  if (opts) {
    if (opts->size == 0) return UV_EINVAL;
    memcpy(o, opts, opts->size < sizeof *o ? opts->size : sizeof *o);
    o->size = sizeof *o;
  }
  if (memchr(o->providers, 0, sizeof o->providers) == NULL ||
      memchr(o->devices, 0, sizeof o->devices) == NULL)
    return UV_EINVAL;
  return 0;
}

static void on_async(uv_async_t *async) {
  weft__core_t *core = async->data;
  if (weft__forked(core)) return;
  __atomic_store_n(&core->wake, 0, __ATOMIC_RELEASE);
  weft__refresh(core);
  weft__posts_run(core, 0);
  weft__worker_reap(core);
  weft__mem_reap(core);
}

static void close_step(weft__later_t *);
static void close_late(weft__timer_t *);

int weft_init(uv_loop_t *loop, weft_t *w, const weft_opts_t *opts) {
  if (!w) return UV_EINVAL;
  weft__fault_init();
  weft__signals_restore();
  weft__fork_init();
  weft__core_t *core = calloc(1, sizeof *core);
  if (!core) return UV_ENOMEM;
  int err = take_options(core, opts);
  if (err) goto fail;
  if (!loop) {
    if ((err = uv_loop_init(&core->own)) != 0) goto fail;
    core->private_loop = true;
    loop = &core->own;
  }
  core->loop = loop;
  if ((err = uv_async_init(loop, &core->async, on_async)) != 0) {
    if (core->private_loop) uv_loop_close(&core->own);
    goto fail;
  }
  core->async.data = core;
  core->nuv = 1;
  /* a private loop is never run until it is out of handles; a referenced one makes its timeout
   * right */
  if (!core->private_loop) uv_unref((uv_handle_t *) &core->async);

  core->pub = w;
  core->fork_gen = weft__fork_gen;
  core->timer_armed = UINT64_MAX;
  core->close_later.run = close_step;
  core->close_timer.fire = close_late;
  weft__list_init(&core->handles);
  weft__list_init(&core->conns);
  weft__list_init(&core->listeners);
  weft__list_init(&core->dials);
  weft__list_init(&core->rails);
  weft__list_init(&core->devmons);
  weft__list_init(&core->mems);
  pthread_mutex_init(&core->post_lock, NULL);
  weft__random_once(core->instance, sizeof core->instance);
  char host[40] = "";
  gethostname(host, sizeof host - 1);
  snprintf(core->name, sizeof core->name, "%.38s:%.24s", host, program_invocation_short_name);
  core->env.work = env_work;
  core->env.work_long = env_work_long;
  core->env.now_ns = &core->now_ns;
  core->env.rx_depth = core->opts.rx_depth;
  core->env.tx_depth = core->opts.tx_depth;
  core->env.pool_bytes = core->opts.pool_bytes;
  weft__refresh(core);
  weft__progress_init(core);

  void *data = w->data;
  memset(w, 0, sizeof *w);
  w->data = data;
  w->priv = core;
  return 0;
fail:
  free(core);
  return err;
}

uv_loop_t *weft_loop(const weft_t *w) {
  weft__core_t *core = weft__core_of(w);
  return core ? core->loop : NULL;
}

/* ---- Handles and what waits ---- */

void weft__later(weft__core_t *core, weft__later_t *l) {
  if (l->queued) return;
  l->queued = true;
  l->next = NULL;
  if (core->later_tail)
    core->later_tail->next = l;
  else
    core->later_head = l;
  core->later_tail = l;
  if (!core->in_turn) weft__stay_awake(core);
}

void weft__handle_open(weft__core_t *core, weft__handle_t *h, uint32_t kind) {
  h->core = core;
  h->kind = kind;
  h->open = h->ref = true;
  h->closing = false;
  weft__list_add(&core->handles, &h->link);
  if (core->nref++ == 0) uv_ref((uv_handle_t *) &core->async);
}

void weft__handle_closed(weft__handle_t *h) {
  weft__core_t *core = h->core;
  h->open = false;
  weft__list_del(&h->link);
  if (h->ref && --core->nref == 0 && !core->private_loop) uv_unref((uv_handle_t *) &core->async);
  if (core->state != WEFT__C_OPEN) weft__core_check_closed(core);
}

void weft__timer_set(weft__core_t *core, weft__timer_t *t, uint64_t when) {
  if (weft__heap_set(&core->timers, t, when) != 0) weft__error("timer: out of memory");
  if (!core->in_turn && when < core->timer_armed)
    weft__stay_awake(core); /* armed in prepare, which may be over */
}

void weft__timer_stop(weft__core_t *core, weft__timer_t *t) {
  weft__heap_stop(&core->timers, t);
}

/* ---- Posts ---- */

int weft_post(weft_t *w, weft_post_t *req, weft_post_cb cb) {
  weft__core_t *core = weft__core_of(w);
  if (!core || !req || !cb) return UV_EINVAL;
  if (weft__forked(core)) return WEFT_EFORK;
  req->priv = NULL;
  req->reserved[0] = (uint64_t) (uintptr_t) cb;
  pthread_mutex_lock(&core->post_lock);
  if (core->post_closed) {
    pthread_mutex_unlock(&core->post_lock);
    return UV_ECANCELED;
  }
  if (core->post_tail)
    core->post_tail->priv = req;
  else
    core->post_head = req;
  core->post_tail = req;
  weft__wake(core); /* under the lock: the async is open */
  pthread_mutex_unlock(&core->post_lock);
  return 0;
}

void weft__posts_run(weft__core_t *core, int status) {
  pthread_mutex_lock(&core->post_lock);
  weft_post_t *req = core->post_head;
  core->post_head = core->post_tail = NULL;
  pthread_mutex_unlock(&core->post_lock);
  while (req) {
    weft_post_t *next = req->priv;
    weft_post_cb cb = (weft_post_cb) (uintptr_t) req->reserved[0];
    req->priv = NULL;
    cb(req, core->state == WEFT__C_OPEN ? status : UV_ECANCELED);
    req = next;
  }
}

/* ---- Close ---- */

void weft_close(weft_t *w, weft_close_cb cb) {
  weft__core_t *core = weft__core_of(w);
  if (!core || core->state != WEFT__C_OPEN) return;
  if (weft__forked(core)) {
    w->priv = NULL;
    if (cb) cb(w);
    return;
  }
  core->state = WEFT__C_CLOSING;
  core->close_cb = cb;
  pthread_mutex_lock(&core->post_lock);
  core->post_closed = true;
  pthread_mutex_unlock(&core->post_lock);
  if (core->nref++ == 0) uv_ref((uv_handle_t *) &core->async); /* until the callback */
  weft__link_t *l, *next;
  for (l = core->handles.next; l != &core->handles; l = next) {
    next = l->next;
    weft__handle_t *h = weft__container(l, weft__handle_t, link);
    if (h->closing) continue;
    h->by_context = true;
    if (h->kind == WEFT__H_CONN)
      weft__conn_close_now(weft__container(h, weft__conn_t, h), NULL);
    else
      weft__listener_close_now(weft__container(h, weft__listener_t, h), NULL);
  }
  weft__refresh(core);
  weft__timer_set(core, &core->close_timer, core->now_ns + linger_limit);
  weft__core_check_closed(core);
}

void weft__core_check_closed(weft__core_t *core) {
  weft__later(core, &core->close_later);
}

static void finish(weft__core_t *core) { /* the last step; frees */
  weft_t *w = core->pub;
  weft_close_cb cb = core->close_cb;
  if (core->private_loop && uv_loop_close(&core->own) != 0) {
    weft__error("context: its loop still has handles of somebody else; they are leaked");
    core->abandoned = true;
  }
  weft__heap_free(&core->timers);
  weft__cands_unref(core->cands);
  free(core->ifs);
  weft__mems_close(core);
  weft__msgs_free(core);
  weft__tombs_free(core);
  weft__half_open_free(core);
  free(core->table);
  pthread_mutex_destroy(&core->post_lock);
  if (!core->abandoned) {
    weft__nodes_free(core);
    free(core);
  } else { /* kept in sight, so that tools tell this leak from one by mistake */
    weft__core_t *top = __atomic_load_n(&left_behind, __ATOMIC_RELAXED);
    do core->left_next = top;
    while (!__atomic_compare_exchange_n(&left_behind, &top, core, true, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED));
  }
  w->priv = NULL;
  if (cb) cb(w);
}

static void on_uv_closed(uv_handle_t *h) {
  weft__core_t *core = h->data;
  if (--core->nuv) return;
  core->state = WEFT__C_CLOSED;
  if (!core->private_loop) finish(core);
}

static void close_uv(weft__core_t *core) {
  weft__timer_stop(core, &core->close_timer);
  core->state = WEFT__C_UV;
  weft__worker_leave(core); /* from now on nobody sends to the async */
  uv_handle_t *all[] = {(uv_handle_t *) &core->async, (uv_handle_t *) &core->prepare,
                        (uv_handle_t *) &core->check, (uv_handle_t *) &core->idle,
                        (uv_handle_t *) &core->timer};
  for (unsigned i = 0; i < sizeof all / sizeof all[0]; i++) {
    all[i]->data = core;
    uv_close(all[i], on_uv_closed);
  }
}

static void close_step(weft__later_t *l) {
  weft__core_t *core = weft__container(l, weft__core_t, close_later);
  if (core->state == WEFT__C_CLOSING) {
    weft__posts_run(core, UV_ECANCELED);
    if (!weft__list_empty(&core->handles)) return;
    if (!core->abandoned && (core->nconns || core->ndials || core->nlisteners)) return;
    core->state = WEFT__C_RAILS;
    weft__timer_set(core, &core->close_timer, core->now_ns + rails_limit);
    weft__timer_stop(core, &core->tomb_timer);
    weft__netmon_stop(core);
    weft__devmon_stop(core, NULL);
    weft__rails_close(core);
  }
  if (core->state == WEFT__C_RAILS) {
    /* uv handles that come and go with rails, netmon and probes are counted in nuv: five are the
     * core's own */
    if (core->nuv > 5) return;
    if (!core->abandoned && (core->nrails || weft__worker_busy(core))) return;
    close_uv(core);
  }
}

static void close_late(weft__timer_t *t) {
  weft__core_t *core = weft__container(t, weft__core_t, close_timer);
  if (!core->abandoned)
    weft__error("context: closing takes too long (%u connections, %u rails, %u jobs of the worker "
                "are left): their "
                "memory is leaked",
                core->nconns, core->nrails, core->njobs);
  core->abandoned = true;
  weft__core_check_closed(core);
}

/* ---- Programs without libuv ---- */

int weft_fd(const weft_t *w) {
  weft__core_t *core = weft__core_of(w);
  if (!core || !core->private_loop) return UV_EINVAL;
  return weft__forked(core) ? WEFT_EFORK : uv_backend_fd(&core->own);
}

int weft_timeout_ms(const weft_t *w) {
  weft__core_t *core = weft__core_of(w);
  if (!core || !core->private_loop) return UV_EINVAL;
  if (weft__forked(core)) return WEFT_EFORK;
  if (core->later_head || core->dirty_head) return 0;
  uv_update_time(&core->own);
  return uv_backend_timeout(&core->own);
}

int weft_process(weft_t *w) {
  weft__core_t *core = weft__core_of(w);
  if (!core) return 0;
  if (!core->private_loop) return UV_EINVAL;
  if (weft__forked(core)) return WEFT_EFORK;
  uv_run(&core->own, UV_RUN_NOWAIT);
  if (core->state == WEFT__C_CLOSED) {
    finish(core);
    return 0;
  }
  weft__settle(core);
  return !weft__list_empty(&core->handles) || core->state != WEFT__C_OPEN;
}
