/* SPDX-License-Identifier: Apache-2.0 */
/* worker.c - private threads of a context for calls that may block: one for much of libfabric,
 * others for host names, for peers that are waited for, and for large memory.
 *
 * Design notes
 *  - Never libuv's pool: four hung closes of a dead device would stop the user's own DNS and files.
 *  - Started on first need, detached, all signals blocked. They hold no reference to the loop and
 *    run no user code.
 *  - Jobs run one after the other, in order, but for those that a call waits for: they go first if
 *    they may. done() runs on the loop's thread, woken by the context's one uv_async, and never
 *    inside a call of the user.
 *  - A name server that is silent holds its thread for 20 s or more: names have threads of their
 *    own, at most NAMERS, which end when no name waits. So a name in trouble delays neither rails
 *    nor, before there are that many, other names.
 *  - What waits for a peer inside a provider's call has threads of its own for the same reason: the
 *    close of a dead path, which gives messages their memory back, must not wait for a peer that is
 *    silent.
 *  - Large memory has a thread of its own, or a connection over RDMA would wait for it, whose
 *    endpoint the worker makes. It is one thread, so that it takes it in turn, and goes on when the
 *    context leaves: nobody wants what then waits, so that it is short, and others may wait for it.
 *  - A waited-for job whose time is over counts like any other from then on (njobs): weft_close
 *    waits for it, too, and what it found is handed to late() where others have done().
 *  - The worker's own struct is shared by counting: a context that closes while a job hangs leaves
 *    (core = NULL). Then the result is dropped, what the job holds is leaked on purpose, and the
 *    thread ends with the job, or never.
 *  - uv_async_send is called under the lock and only while `core` is set, so never on a closed
 *    handle. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "loop/loop.h"

/* Threads for jobs of one kind, which end when none waits. */
typedef struct crew {
  struct weft__worker *w;
  weft__job_t *head, **tail;
  unsigned n, max; /* threads */
  bool to_the_end; /* also when the core has gone */
  const char *name;
} crew_t;

struct weft__worker {
  pthread_mutex_t lock;
  pthread_cond_t work, waited;
  weft__core_t *core; /* NULL: gone */
  weft__job_t *head, **tail;
  weft__job_t *done_head, **done_tail;
  crew_t names, memory, peers;
  unsigned refs; /* the core, the threads */
  bool started;
};

enum { NAMERS = 4, WAITERS = 4 };

typedef struct waiter {
  weft__job_t job;
  weft__job_t *inner;
  weft__worker_t *w;
  void (*late)(weft__job_t *);
  bool done, abandoned;
} waiter_t;

static weft__job_t
    *left_behind; /* atomic: kept in sight, so that tools tell this leak from one by mistake */

static void unref(weft__worker_t *w) { /* with the lock held; releases it */
  unsigned left = --w->refs;
  pthread_mutex_unlock(&w->lock);
  if (left) return;
  pthread_cond_destroy(&w->work);
  pthread_cond_destroy(&w->waited);
  pthread_mutex_destroy(&w->lock);
  free(w);
}

static void push(weft__job_t ***tail, weft__job_t *job) { /* these four: with the lock held */
  job->next = NULL;
  **tail = job;
  *tail = &job->next;
}

static weft__job_t *pop(weft__job_t **head, weft__job_t ***tail) {
  weft__job_t *job = *head;
  *head = job->next;
  if (!*head) *tail = head;
  job->next = NULL;
  return job;
}

static void give_back(weft__worker_t *w, weft__job_t *job) {
  if (w->core) {
    push(&w->done_tail, job);
    weft__wake(w->core);
    return;
  }
  weft__job_t *top = __atomic_load_n(&left_behind, __ATOMIC_RELAXED);
  do job->next = top;
  while (!__atomic_compare_exchange_n(&left_behind, &top, job, true, __ATOMIC_RELEASE,
                                      __ATOMIC_RELAXED));
}

static void run(weft__worker_t *w,
                weft__job_t *job) { /* with the lock held, which is let go meanwhile */
  bool waited = !job->done;         /* then it is not ours any more after run */
  pthread_mutex_unlock(&w->lock);
  job->run(job);
  pthread_mutex_lock(&w->lock);
  if (!waited) give_back(w, job);
}

static void *thread_main(void *arg) {
  weft__worker_t *w = arg;
  pthread_setname_np(pthread_self(), "weft-worker");
  pthread_mutex_lock(&w->lock);
  while (w->core) {
    if (w->head)
      run(w, pop(&w->head, &w->tail));
    else
      pthread_cond_wait(&w->work, &w->lock);
  }
  unref(w);
  return NULL;
}

static void *crew_main(void *arg) {
  crew_t *c = arg;
  weft__worker_t *w = c->w;
  pthread_setname_np(pthread_self(), c->name);
  pthread_mutex_lock(&w->lock);
  while (c->head && (w->core || c->to_the_end)) run(w, pop(&c->head, &c->tail));
  c->n--;
  unref(w);
  return NULL;
}

static weft__worker_t *worker_of(weft__core_t *core) {
  weft__worker_t *w = core->worker;
  if (w) return w;
  w = calloc(1, sizeof *w);
  if (!w) return NULL;
  pthread_condattr_t ca;
  pthread_condattr_init(&ca);
  pthread_condattr_setclock(&ca, CLOCK_MONOTONIC);
  pthread_mutex_init(&w->lock, NULL);
  pthread_cond_init(&w->work, &ca);
  pthread_cond_init(&w->waited, &ca);
  pthread_condattr_destroy(&ca);
  w->core = core;
  w->tail = &w->head;
  w->names = (crew_t){.w = w, .tail = &w->names.head, .max = NAMERS, .name = "weft-names"};
  w->memory = (crew_t){
      .w = w, .tail = &w->memory.head, .max = 1, .to_the_end = true, .name = "weft-memory"};
  w->peers = (crew_t){.w = w, .tail = &w->peers.head, .max = WAITERS, .name = "weft-peers"};
  w->done_tail = &w->done_head;
  w->refs = 1;
  core->worker = w;
  return w;
}

static int start(weft__worker_t *w, void *(*thread_fn)(void *),
                 void *arg) { /* with the lock held */
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
    err = -pthread_create(&thread, &attr, thread_fn, arg);
    if (err) w->refs--;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
  }
  if (err) weft__error("worker: pthread_create: %s", uv_strerror(err));
  return err;
}

static int enqueue(weft__worker_t *w, weft__job_t *job,
                   weft__work_how_t how) { /* with the lock held */
  int err;
  crew_t *c = how == WEFT__WORK_NAME     ? &w->names
              : how == WEFT__WORK_MEMORY ? &w->memory
              : how == WEFT__WORK_PEER   ? &w->peers
                                         : NULL;
  if (c) {
    if (c->n < c->max) {
      err = start(w, crew_main, c);
      if (err && !c->n) return err; /* else those that run take it in turn */
      if (!err) c->n++;
    }
    push(&c->tail, job);
    return 0;
  }
  if (!w->started) {
    if ((err = start(w, thread_main, w)) != 0) return err;
    w->started = true;
  }
  if (how == WEFT__WORK_FIRST && w->head) {
    job->next = w->head;
    w->head = job;
  } else {
    push(&w->tail, job);
  }
  pthread_cond_signal(&w->work);
  return 0;
}

static int work(weft__core_t *core, weft__job_t *job, weft__work_how_t how) {
  if (core->state >= WEFT__C_UV) return -ECANCELED;
  weft__worker_t *w = worker_of(core);
  if (!w) return -ENOMEM;
  pthread_mutex_lock(&w->lock);
  int err = enqueue(w, job, how);
  pthread_mutex_unlock(&w->lock);
  if (err == 0) core->njobs++;
  return err;
}

int weft__work(weft__core_t *core, weft__job_t *job) {
  return work(core, job, WEFT__WORK_LAST);
}
int weft__work_name(weft__core_t *core, weft__job_t *job) {
  return work(core, job, WEFT__WORK_NAME);
}
int weft__work_memory(weft__core_t *core, weft__job_t *job) {
  return work(core, job, WEFT__WORK_MEMORY);
}
int weft__work_peer(weft__core_t *core, weft__job_t *job) {
  return work(core, job, WEFT__WORK_PEER);
}

/* ---- Waiting ---- */

static void run_waited(weft__job_t *job) {
  waiter_t *x = weft__container(job, waiter_t, job);
  x->inner->run(x->inner);
  pthread_mutex_lock(&x->w->lock);
  x->done = true;
  if (x->abandoned)
    give_back(x->w, job);
  else
    pthread_cond_broadcast(&x->w->waited);
  pthread_mutex_unlock(&x->w->lock);
}

static void waited_late(weft__job_t *job) {
  waiter_t *x = weft__container(job, waiter_t, job);
  x->late(x->inner);
  free(x);
}

int weft__work_wait(weft__core_t *core, weft__job_t *job, weft__work_how_t how, uint64_t timeout_ns,
                    void (*late)(weft__job_t *)) {
  if (core->state >= WEFT__C_UV) return -ECANCELED;
  weft__worker_t *w = worker_of(core);
  waiter_t *x = w ? calloc(1, sizeof *x) : NULL;
  if (!x) return -ENOMEM;
  uint64_t until = weft__clock_ns() + timeout_ns;
  struct timespec ts = {(time_t) (until / WEFT__S), (long) (until % WEFT__S)};
  x->job.run = run_waited;
  x->inner = job;
  x->w = w;
  x->late = late;
  pthread_mutex_lock(&w->lock);
  int err = enqueue(w, &x->job, how);
  while (!x->done && err == 0)
    err = pthread_cond_timedwait(&w->waited, &w->lock, &ts); /* 0 or ETIMEDOUT */
  if (x->done) err = 0;
  if (err == ETIMEDOUT) {
    x->abandoned = true;
    core->njobs++;
    err = -ETIMEDOUT;
  }
  pthread_mutex_unlock(&w->lock);
  if (err != -ETIMEDOUT) free(x);
  return err;
}

/* ---- Results ---- */

static void finish(weft__core_t *core, weft__job_t *job) {
  core->njobs--;
  if (job->run == run_waited)
    waited_late(job);
  else
    job->done(job);
}

void weft__worker_reap(weft__core_t *core) {
  weft__worker_t *w = core->worker;
  if (!w) return;
  for (;;) { /* one by one: done() may take another one's result (weft__worker_take) */
    pthread_mutex_lock(&w->lock);
    weft__job_t *job = w->done_head ? pop(&w->done_head, &w->done_tail) : NULL;
    pthread_mutex_unlock(&w->lock);
    if (!job) break;
    finish(core, job);
  }
  if (core->state != WEFT__C_OPEN) weft__core_check_closed(core);
}

bool weft__worker_take(weft__core_t *core, weft__job_t *job) {
  weft__worker_t *w = core->worker;
  weft__job_t **p;
  if (!w) return false;
  pthread_mutex_lock(&w->lock);
  for (p = &w->done_head; *p && *p != job; p = &(*p)->next) {}
  bool found = *p != NULL;
  if (found && !(*p = job->next)) w->done_tail = p;
  pthread_mutex_unlock(&w->lock);
  if (found) core->njobs--;
  return found;
}

bool weft__worker_busy(weft__core_t *core) {
  return core->njobs > 0;
}

void weft__worker_leave(weft__core_t *core) {
  weft__worker_t *w = core->worker;
  if (!w) return;
  core->worker = NULL;
  pthread_mutex_lock(&w->lock);
  w->core = NULL;
  pthread_cond_signal(&w->work);
  unref(w);
}
