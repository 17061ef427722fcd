/* SPDX-License-Identifier: Apache-2.0 */
/* worker_test.c - jobs run in order on one thread, names beside it, results come to the loop and
 * never inside a call, and a job that hangs is left behind. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "loop/loop.h"

static weft__core_t *core_of(weft_t *w) {
  return w->priv;
}

typedef struct job {
  weft__job_t job;
  int n, told; /* the how-manieth to run, and to be told */
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
  assert_int_equal(x->told, done++);
}
static void on_late(weft__job_t *j) {
  assert_true(pthread_equal(pthread_self(), loop_thread));
  free(weft__container(j, job_t, job));
  late++;
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
    jobs[i] = (job_t){.job = {.run = run, .done = finished}, .n = i, .told = i};
    assert_int_equal(weft__work(core_of(&w), &jobs[i].job), 0);
  }
  for (int i = 0; i < 200 && done < N; i++) drive(&w, 10);
  assert_int_equal(done, N);
  stop(&w, 5000);
}

static void test_waiting(void **state) {
  weft_t w;
  job_t a = {.job = {.run = run, .done = finished}, .n = 0, .ms = 20},
        b = {.job = {.run = run}, .n = 1};
  (void) state;
  assert_int_equal(weft_init(NULL, &w, NULL), 0);
  assert_int_equal(weft__work(core_of(&w), &a.job), 0);
  assert_int_equal(weft__work_wait(core_of(&w), &b.job, WEFT__WORK_LAST, 5 * WEFT__S, NULL), 0);
  assert_int_equal(ran, 2);
  assert_int_equal(done,
                   0); /* who waits is inside a call of the user: others are told by the loop */
  for (int i = 0; i < 200 && !done; i++) drive(&w, 10);
  assert_int_equal(done, 1);
  stop(&w, 5000);
}

static void test_waited_for_goes_first(void **state) {
  weft_t w;
  job_t a = {.job = {.run = run, .done = finished}, .n = 0, .ms = 100}, c = a,
        b = {.job = {.run = run}, .n = 1};
  (void) state;
  c.n = 2;
  c.told = 1;
  assert_int_equal(weft_init(NULL, &w, NULL), 0);
  assert_int_equal(weft__work(core_of(&w), &a.job), 0);
  while (!__atomic_load_n(&ran, __ATOMIC_RELAXED)) usleep(1000);
  assert_int_equal(weft__work(core_of(&w), &c.job), 0);
  assert_int_equal(weft__work_wait(core_of(&w), &b.job, WEFT__WORK_FIRST, 5 * WEFT__S, NULL), 0);
  for (int i = 0; i < 200 && done < 2; i++) drive(&w, 10);
  assert_int_equal(done, 2);
  stop(&w, 5000);
}

static void test_taking_one_result(void **state) {
  weft_t w;
  job_t v[3], b = {.job = {.run = run}, .n = 3};
  (void) state;
  assert_int_equal(weft_init(NULL, &w, NULL), 0);
  for (int i = 0; i < 3; i++) {
    v[i] = (job_t){.job = {.run = run, .done = finished}, .n = i, .told = i};
    assert_int_equal(weft__work(core_of(&w), &v[i].job), 0);
  }
  assert_int_equal(weft__work_wait(core_of(&w), &b.job, WEFT__WORK_LAST, 5 * WEFT__S, NULL), 0);
  assert_true(
      weft__worker_take(core_of(&w), &v[2].job)); /* the last one: others are still put after it */
  assert_false(weft__worker_take(core_of(&w), &v[2].job));
  v[2].n = 4;
  assert_int_equal(weft__work(core_of(&w), &v[2].job), 0);
  for (int i = 0; i < 200 && done < 3; i++) drive(&w, 10);
  assert_int_equal(done, 3);
  assert_false(weft__worker_busy(core_of(&w)));
  stop(&w, 5000);
}

/* Names that nobody answers for: neither the worker nor, up to a number of them, other names wait.
 */
static int looking, most, looked, hold; /* hold: those with ms < 0 do not end */
static void look_slowly(weft__job_t *j) {
  int n = __atomic_add_fetch(&looking, 1, __ATOMIC_RELAXED),
      m = __atomic_load_n(&most, __ATOMIC_RELAXED);
  while (n > m &&
         !__atomic_compare_exchange_n(&most, &m, n, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
  int ms = weft__container(j, job_t, job)->ms;
  while (ms < 0 && __atomic_load_n(&hold, __ATOMIC_RELAXED)) usleep(1000);
  if (ms > 0) usleep((useconds_t) ms * 1000);
  __atomic_sub_fetch(&looking, 1, __ATOMIC_RELAXED);
}
static void has_looked(weft__job_t *j) {
  (void) j;
  looked++;
}

/* Those that are held end now, and that is all n of them. */
static void let_go(weft_t *w, int n) {
  __atomic_store_n(&hold, 0, __ATOMIC_RELAXED);
  for (int i = 0; i < 500 && looked < n; i++) drive(w, 10);
  assert_int_equal(looked, n);
}

static void test_names_have_threads_of_their_own(void **state) {
  enum { N = 9 };
  weft_t w;
  static job_t names[N];
  job_t b = {.job = {.run = run}, .n = 0}, quick = {.job = {.run = look_slowly}};
  (void) state;
  looking = most = looked = 0;
  hold = 1;
  assert_int_equal(weft_init(NULL, &w, NULL), 0);
  for (int i = 0; i < 3; i++) {
    names[i] = (job_t){.job = {.run = look_slowly, .done = has_looked}, .ms = -1};
    assert_int_equal(weft__work_name(core_of(&w), &names[i].job), 0);
  }
  while (__atomic_load_n(&looking, __ATOMIC_RELAXED) < 3) usleep(1000);
  assert_int_equal(weft__work_wait(core_of(&w), &b.job, WEFT__WORK_FIRST, 20 * WEFT__S, NULL), 0);
  assert_int_equal(weft__work_wait(core_of(&w), &quick.job, WEFT__WORK_NAME, 20 * WEFT__S, NULL),
                   0);
  for (int i = 3; i < N; i++) {
    names[i] = (job_t){.job = {.run = look_slowly, .done = has_looked}, .ms = 50};
    assert_int_equal(weft__work_name(core_of(&w), &names[i].job), 0);
  }
  for (int i = 0; i < 500 && looked < N - 3; i++) drive(&w, 10);
  assert_int_equal(looked, N - 3); /* they wait for one another only */
  let_go(&w, N);
  assert_int_equal(most, 4);
  stop(&w, 5000);
}

/* Memory is taken in turn on a thread of its own: who connects does not wait for it. */
static void test_memory_has_a_thread_of_its_own(void **state) {
  enum { N = 4 };
  weft_t w;
  static job_t memory[N];
  job_t b = {.job = {.run = run}, .n = 0};
  (void) state;
  looking = most = looked = 0;
  hold = 1;
  assert_int_equal(weft_init(NULL, &w, NULL), 0);
  for (int i = 0; i < N; i++) {
    memory[i] = (job_t){.job = {.run = look_slowly, .done = has_looked}, .ms = -1};
    assert_int_equal(weft__work_memory(core_of(&w), &memory[i].job), 0);
  }
  while (__atomic_load_n(&looking, __ATOMIC_RELAXED) < 1) usleep(1000);
  assert_int_equal(weft__work_wait(core_of(&w), &b.job, WEFT__WORK_LAST, 20 * WEFT__S, NULL), 0);
  assert_int_equal(looked, 0);
  let_go(&w, N);
  assert_int_equal(most, 1);
  stop(&w, 5000);
}

/* Who waits for a peer holds up nothing else, and not all of those who wait for another one. */
static void test_peers_have_threads_of_their_own(void **state) {
  enum { N = 5 };
  weft_t w;
  static job_t peers[N];
  job_t b = {.job = {.run = run}, .n = 0};
  (void) state;
  looking = most = looked = 0;
  hold = 1;
  assert_int_equal(weft_init(NULL, &w, NULL), 0);
  for (int i = 0; i < N; i++) {
    peers[i] = (job_t){.job = {.run = look_slowly, .done = has_looked}, .ms = i < 3 ? -1 : 20};
    assert_int_equal(weft__work_peer(core_of(&w), &peers[i].job), 0);
    while (i == 2 && __atomic_load_n(&looking, __ATOMIC_RELAXED) < 3) usleep(1000);
  }
  assert_int_equal(weft__work_wait(core_of(&w), &b.job, WEFT__WORK_LAST, 20 * WEFT__S, NULL), 0);
  for (int i = 0; i < 500 && looked < N - 3; i++) drive(&w, 10);
  assert_int_equal(looked, N - 3);
  let_go(&w, N);
  assert_int_equal(most, 4);
  stop(&w, 5000);
}

/* It counts from then on: what it uses of the context stays until it has ended. */
static void test_waiting_too_long(void **state) {
  weft_t w;
  job_t *x = calloc(1, sizeof *x);
  (void) state;
  x->job.run = run;
  x->ms = 300;
  assert_int_equal(weft_init(NULL, &w, NULL), 0);
  uint64_t from = weft__clock_ns();
  assert_int_equal(weft__work_wait(core_of(&w), &x->job, WEFT__WORK_FIRST, 20 * WEFT__MS, on_late),
                   UV_ETIMEDOUT);
  assert_true(weft__clock_ns() - from < 290 * WEFT__MS);
  assert_int_equal(late, 0);
  stop(&w, 5000);
  assert_int_equal(late, 1);
  assert_true(weft__clock_ns() - from >= 300 * WEFT__MS);
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
      cmocka_unit_test_setup(test_waited_for_goes_first, setup),
      cmocka_unit_test_setup(test_taking_one_result, setup),
      cmocka_unit_test_setup(test_names_have_threads_of_their_own, setup),
      cmocka_unit_test_setup(test_memory_has_a_thread_of_its_own, setup),
      cmocka_unit_test_setup(test_peers_have_threads_of_their_own, setup),
      cmocka_unit_test_setup(test_waiting_too_long, setup),
      cmocka_unit_test_setup(test_close_leaves_a_hung_job_behind, setup),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
