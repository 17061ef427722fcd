/* SPDX-License-Identifier: Apache-2.0 */
/* api_post.c - weft_post: from any thread, once each, in order, and cancelled when the context
 * closes. */
#include "lib_api.h"

#include <pthread.h>
#include <time.h>

enum { THREADS = 4, POSTS = 5000 };
typedef struct poster {
  weft_t *w;
  weft_post_t reqs[POSTS];
  int next, ran, cancelled, refused;
  pthread_t loop_thread;
} poster_t;

static void on_post(weft_post_t *req, int status) {
  poster_t *p = req->data;
  CHECK(pthread_equal(pthread_self(), p->loop_thread));
  CHECK(req == &p->reqs[p->next]); /* in order */
  p->next++;
  if (status == 0)
    p->ran++;
  else if (status == UV_ECANCELED)
    p->cancelled++;
  else
    CHECK(0);
}

static void *post_all(void *arg) {
  poster_t *p = arg;
  for (int i = 0; i < POSTS; i++) {
    p->reqs[i].data = p;
    int err = weft_post(p->w, &p->reqs[i], on_post);
    if (err == 0) continue;
    CHECK(err == UV_ECANCELED);
    p->refused = POSTS - i;
    break;
  }
  return NULL;
}

static poster_t *posters_start(weft_t *w, pthread_t *threads) {
  poster_t *p = calloc(THREADS, sizeof *p);
  assert_non_null(p);
  for (int i = 0; i < THREADS; i++) {
    p[i].w = w;
    p[i].loop_thread = pthread_self();
    assert_int_equal(pthread_create(&threads[i], NULL, post_all, &p[i]), 0);
  }
  return p;
}

static void test_threads(void **state) {
  uv_loop_t loop;
  weft_t w;
  pthread_t threads[THREADS];
  (void) state;
  uv_loop_init(&loop);
  assert_int_equal(weft_init(&loop, &w, NULL), 0);
  poster_t *p = posters_start(&w, threads);
  RUN_UNTIL(&loop, 10000,
            p[0].ran == POSTS && p[1].ran == POSTS && p[2].ran == POSTS && p[3].ran == POSTS);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  weft_close(&w, NULL);
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&loop), 0);
  free(p);
}

static int closed;
static void on_closed(weft_t *w) {
  (void) w;
  closed++;
}

static void test_close_cancels(void **state) {
  uv_loop_t loop;
  weft_t w;
  pthread_t threads[THREADS];
  (void) state;
  uv_loop_init(&loop);
  assert_int_equal(weft_init(&loop, &w, NULL), 0);
  closed = 0;
  weft_listener_t lis; /* an open handle: without one the loop does not run */
  assert_int_equal(weft_listener_init(&w, &lis), 0);
  poster_t *p = posters_start(&w, threads);
  while (p[0].ran < 10) uv_run(&loop, UV_RUN_NOWAIT);
  weft_close(&w, on_closed);
  for (int i = 0; i < THREADS; i++)
    pthread_join(threads[i], NULL); /* they may post until the callback */
  RUN_UNTIL(&loop, 5000, closed == 1);
  for (int i = 0; i < THREADS; i++)
    assert_int_equal(p[i].ran + p[i].cancelled + p[i].refused, POSTS);
  assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
  assert_int_equal(uv_loop_close(&loop), 0);
  free(p);
}

/* A post wakes a loop that sleeps, also one that spins for a connection. */
typedef struct waker {
  weft_t *w;
  weft_post_t req;
  volatile int go;
} waker_t;
static int woken;
static void on_wake(weft_post_t *req, int status) {
  (void) req;
  CHECK(status == 0);
  woken = 1;
}
static void *wake_later(void *arg) {
  waker_t *k = arg;
  struct timespec ts = {0, 50000000};
  nanosleep(&ts, NULL);
  CHECK(weft_post(k->w, &k->req, on_wake) == 0);
  return NULL;
}
static void test_wakes_a_sleeping_loop(void **state) {
  api_pair_t p;
  waker_t k = {0};
  pthread_t thread;
  (void) state;
  api_pair_open(&p, NULL, NULL, NULL);
  woken = 0;
  k.w = &p.a;
  uint64_t from = api_now_ms();
  assert_int_equal(pthread_create(&thread, NULL, wake_later, &k), 0);
  while (!woken) uv_run(&p.loop, UV_RUN_ONCE); /* no timer of ours in the loop */
  assert_true(api_now_ms() - from < 1000 * api_slow());
  pthread_join(thread, NULL);
  api_pair_close(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_threads),
      cmocka_unit_test(test_close_cancels),
      cmocka_unit_test(test_wakes_a_sleeping_loop),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
