/* SPDX-License-Identifier: Apache-2.0 */
/* worker_test.c - jobs run in order on one thread, results come to the loop, and a job that hangs is left behind. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "loop/loop.h"

static weft__core_t *core_of(weft_t *w) { return w->priv; }

typedef struct job {
  weft__job_t job;
  int n;
  pthread_t ran_on;
  int ms;
} job_t;

static int ran, done, late;
static pthread_t loop_thread;

static void run(weft__job_t *j) {
  job_t *x = weft__container(j, job_t, job);
  x->ran_on = pthread_self();
  assert_int_equal(x->n, __atomic_fetch_add(&ran, 1, __ATOMIC_RELAXED));
  if (x->ms) usleep((useconds_t) x->ms * 1000);
}
static void finished(weft__job_t *j) {
  job_t *x = weft__container(j, job_t, job);
  assert_true(pthread_equal(pthread_self(), loop_thread));
  assert_false(pthread_equal(x->ran_on, loop_thread));
  assert_int_equal(x->n, done++);
}
static void on_late(weft__job_t *j) {
  free(weft__container(j, job_t, job));
  __atomic_store_n(&late, 1, __ATOMIC_RELEASE);
}

static int setup(void **state) {
  (void) state;
  ran = done = late = 0;
  loop_thread = pthread_self();
  return 0;
}

static void drive(weft_t *w, int ms) {
  uint64_t until = weft__clock_ns() + (uint64_t) ms * WEFT__MS;
  while (weft__clock_ns() < until) {
    weft_process(w);
    usleep(1000);
  }
}

static int closed;
static void on_closed(weft_t *w) {
  (void) w;
  closed = 1;
}
static void stop(weft_t *w, int ms) {
  uint64_t until = weft__clock_ns() + (uint64_t) ms * WEFT__MS;
  closed = 0;
  weft_close(w, on_closed);
  while (!closed) {
    assert_true(weft__clock_ns() < until);
    weft_process(w);
    usleep(1000);
  }
}

static void test_order_and_threads(void **state) {
  enum { N = 200 };
  weft_t w;
  static job_t jobs[N];
  (void) state;
  assert_int_equal(weft_init(NULL, &w, NULL), 0);
  for (int i = 0; i < N; i++) {
    jobs[i] = (job_t){.job = {.run = run, .done = finished}, .n = i};
    assert_int_equal(weft__work(core_of(&w), &jobs[i].job), 0);
  }
  for (int i = 0; i < 200 && done < N; i++) drive(&w, 10);
  assert_int_equal(done, N);
  stop(&w, 5000);
}

static void test_waiting(void **state) {
  weft_t w;
  job_t a = {.job = {.run = run, .done = finished}, .n = 0, .ms = 20}, b = {.job = {.run = run}, .n = 1};
  (void) state;
  assert_int_equal(weft_init(NULL, &w, NULL), 0);
  assert_int_equal(weft__work(core_of(&w), &a.job), 0);
  assert_int_equal(weft__work_wait(core_of(&w), &b.job, 5 * WEFT__S, NULL), 0);
  assert_int_equal(ran, 2);
  assert_int_equal(done, 1); /* what was queued before is told before */
  stop(&w, 5000);
}

static void test_waiting_too_long(void **state) {
  weft_t w;
  job_t *x = calloc(1, sizeof *x);
  (void) state;
  x->job.run = run;
  x->ms = 200;
  assert_int_equal(weft_init(NULL, &w, NULL), 0);
  uint64_t from = weft__clock_ns();
  assert_int_equal(weft__work_wait(core_of(&w), &x->job, 20 * WEFT__MS, on_late), UV_ETIMEDOUT);
  assert_true(weft__clock_ns() - from < 190 * WEFT__MS);
  while (!__atomic_load_n(&late, __ATOMIC_ACQUIRE)) usleep(1000);
  stop(&w, 5000);
}

/* A device that hangs in its close must not hang the program's end. */
static void test_close_leaves_a_hung_job_behind(void **state) {
  weft_t w;
  static job_t x; /* not on the stack: the worker still uses it when we are gone */
  (void) state;
  x = (job_t){.job = {.run = run, .done = finished}, .ms = 6500};
  assert_int_equal(weft_init(NULL, &w, NULL), 0);
  assert_int_equal(weft__work(core_of(&w), &x.job), 0);
  drive(&w, 20);
  uint64_t from = weft__clock_ns();
  stop(&w, 6000);
  assert_true(weft__clock_ns() - from >= 3 * WEFT__S);
  assert_int_equal(done, 0); /* its result is dropped */
  usleep(3500000);
  assert_int_equal(done, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(test_order_and_threads, setup),
      cmocka_unit_test_setup(test_waiting, setup),
      cmocka_unit_test_setup(test_waiting_too_long, setup),
      cmocka_unit_test_setup(test_close_leaves_a_hung_job_behind, setup),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
