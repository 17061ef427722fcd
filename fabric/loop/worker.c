/* SPDX-License-Identifier: Apache-2.0 */
/* worker.c - one private thread per context for calls that may block: getaddrinfo, and much of libfabric.
 *
 * Design notes
 *  - Never libuv's pool: four hung closes of a dead device would stop the user's own DNS and files.
 *  - Started on first need, detached, all signals blocked. It holds no reference to the loop and runs no user code.
 *  - Jobs run one after the other, in order. done() runs on the loop's thread, woken by the context's one uv_async.
 *  - The worker's own struct is shared by counting: a context that closes while a job hangs leaves (core = NULL). Then the
 *    result is dropped, what the job holds is leaked on purpose, and the thread ends with the job, or never.
 *  - uv_async_send is called under the lock and only while `core` is set, so never on a closed handle. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "loop/loop.h"

struct weft__worker {
  pthread_mutex_t lock;
  pthread_cond_t work, waited;
  weft__core_t *core; /* NULL: gone */
  weft__job_t *head, **tail;
  weft__job_t *done_head, **done_tail;
  unsigned refs;      /* the core, the thread */
  bool started, busy;
};

typedef struct waiter {
  weft__job_t job;
  weft__job_t *inner;
  weft__worker_t *w;
  void (*late)(weft__job_t *);
  bool done, abandoned;
} waiter_t;

static void unref(weft__worker_t *w) { /* with the lock held; releases it */
  unsigned left = --w->refs;
  pthread_mutex_unlock(&w->lock);
  if (left) return;
  pthread_cond_destroy(&w->work);
  pthread_cond_destroy(&w->waited);
  pthread_mutex_destroy(&w->lock);
  free(w);
}

static void *thread_main(void *arg) {
  weft__worker_t *w = arg;
  pthread_setname_np(pthread_self(), "weft-worker");
  pthread_mutex_lock(&w->lock);
  while (w->core) {
    weft__job_t *job = w->head;
    if (!job) {
      pthread_cond_wait(&w->work, &w->lock);
      continue;
    }
    w->head = job->next;
    if (!w->head) w->tail = &w->head;
    job->next = NULL;
    w->busy = true;
    void (*done)(weft__job_t *) = job->done; /* a waited-for job is not ours any more after run */
    pthread_mutex_unlock(&w->lock);
    job->run(job);
    pthread_mutex_lock(&w->lock);
    w->busy = false;
    if (!done || !w->core) continue;
    *w->done_tail = job;
    w->done_tail = &job->next;
    weft__wake(w->core);
  }
  unref(w);
  return NULL;
}

static int start(weft__core_t *core) {
  weft__worker_t *w = core->worker;
  if (!w) {
    w = calloc(1, sizeof *w);
    if (!w) return -ENOMEM;
    pthread_condattr_t ca;
    pthread_condattr_init(&ca);
    pthread_condattr_setclock(&ca, CLOCK_MONOTONIC);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->work, &ca);
    pthread_cond_init(&w->waited, &ca);
    pthread_condattr_destroy(&ca);
    w->core = core;
    w->tail = &w->head;
    w->done_tail = &w->done_head;
    w->refs = 1;
    core->worker = w;
  }
  if (w->started) return 0;
  int err = WEFT__FAULT(thread_start);
  if (err == 0) {
    pthread_t thread;
    pthread_attr_t attr;
    sigset_t all, old;
    sigfillset(&all);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    w->refs++;
    err = -pthread_create(&thread, &attr, thread_main, w);
    if (err) w->refs--;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
  }
  if (err) {
    weft__error("worker: pthread_create: %s", uv_strerror(err));
    return err;
  }
  w->started = true;
  return 0;
}

static void push(weft__worker_t *w, weft__job_t *job) { /* with the lock held */
  job->next = NULL;
  *w->tail = job;
  w->tail = &job->next;
  pthread_cond_signal(&w->work);
}

int weft__work(weft__core_t *core, weft__job_t *job) {
  if (core->state >= WEFT__C_UV) return -ECANCELED;
  int err = start(core);
  if (err) return err;
  core->njobs++;
  pthread_mutex_lock(&core->worker->lock);
  push(core->worker, job);
  pthread_mutex_unlock(&core->worker->lock);
  return 0;
}

static void run_waited(weft__job_t *job) {
  waiter_t *x = weft__container(job, waiter_t, job);
  x->inner->run(x->inner);
  pthread_mutex_lock(&x->w->lock);
  bool abandoned = x->abandoned;
  x->done = true;
  pthread_cond_broadcast(&x->w->waited);
  pthread_mutex_unlock(&x->w->lock);
  if (!abandoned) return;
  x->late(x->inner);
  free(x);
}

int weft__work_wait(weft__core_t *core, weft__job_t *job, uint64_t timeout_ns, void (*late)(weft__job_t *)) {
  int err = start(core);
  if (err) return err;
  waiter_t *x = calloc(1, sizeof *x);
  if (!x) return -ENOMEM;
  weft__worker_t *w = core->worker;
  uint64_t until = weft__clock_ns() + timeout_ns;
  struct timespec ts = {(time_t) (until / WEFT__S), (long) (until % WEFT__S)};
  x->job.run = run_waited;
  x->inner = job;
  x->w = w;
  x->late = late;
  pthread_mutex_lock(&w->lock);
  push(w, &x->job);
  while (!x->done && err == 0) err = pthread_cond_timedwait(&w->waited, &w->lock, &ts);
  bool done = x->done;
  x->abandoned = !done;
  pthread_mutex_unlock(&w->lock);
  if (!done) return -ETIMEDOUT;
  free(x);
  weft__worker_reap(core); /* what was queued before it has run too */
  return 0;
}

void weft__worker_reap(weft__core_t *core) {
  weft__worker_t *w = core->worker;
  if (!w) return;
  pthread_mutex_lock(&w->lock);
  weft__job_t *job = w->done_head;
  w->done_head = NULL;
  w->done_tail = &w->done_head;
  pthread_mutex_unlock(&w->lock);
  while (job) {
    weft__job_t *next = job->next;
    core->njobs--;
    job->done(job);
    job = next;
  }
  if (core->state != WEFT__C_OPEN) weft__core_check_closed(core);
}

bool weft__worker_busy(weft__core_t *core) { return core->njobs > 0; }

void weft__worker_leave(weft__core_t *core) {
  weft__worker_t *w = core->worker;
  if (!w) return;
  core->worker = NULL;
  pthread_mutex_lock(&w->lock);
  w->core = NULL;
  pthread_cond_signal(&w->work);
  unref(w);
}
