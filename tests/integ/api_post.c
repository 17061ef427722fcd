/* SPDX-License-Identifier: Apache-2.0 */
/* api_post.c - weft_post: from any thread, once each, in order, and cancelled when the context
 * closes. */
#include "lib_api.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

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

/* A connection that always has something to do, in a loop that spins for it: another fd of the loop
 * is served all the same, also one that was started in the spin. How long that takes is counted in
 * messages: at most as many as could go back and forth between two looks of a spin (progress.c,
 * SPIN_LATEST). The first ones may wait until the loop knows the fd. */
enum { BYTES = 50, PINGS_MEANWHILE = 2000 };
typedef struct pinger {
  char url[300];
  int fd; /* a number every 2 ms */
  unsigned written, pongs;
  bool served; /* set by the other thread */
  weft_t w;
  weft_conn_t conn;
  uv_timer_t timer;
} pinger_t;
static uv_poll_t other;
static bool other_started;
static unsigned other_bytes, pings, pings_then;

static void ping(weft_conn_t *conn) {
  uv_buf_t buf = uv_buf_init((char *) "ping", 4);
  CHECK(weft_try_send(conn, &buf, 1) == 0);
}
static void on_pong(weft_conn_t *conn, int status, weft_msg_t *msg) {
  pinger_t *k = conn->data;
  (void) msg;
  CHECK(status == 0);
  k->pongs++;
  if (!__atomic_load_n(&k->served, __ATOMIC_ACQUIRE)) {
    ping(conn);
    return;
  }
  weft_conn_close(conn, NULL);
  uv_close((uv_handle_t *) &k->timer, NULL);
  weft_close(&k->w, NULL);
}
static void on_pinger_connected(weft_connect_t *req, int status) {
  pinger_t *k = req->data;
  CHECK(status == 0 && weft_recv_start(&k->conn, NULL, on_pong) == 0);
  ping(&k->conn);
}
static void on_byte_due(uv_timer_t *t) {
  pinger_t *k = t->data;
  if (k->written < BYTES && k->pongs > k->written) {
    unsigned now = __atomic_load_n(&pings, __ATOMIC_ACQUIRE);
    CHECK(write(k->fd, &now, sizeof now) == sizeof now);
    k->written++;
  }
}
static void *pinger_run(void *arg) {
  pinger_t *k = arg;
  uv_loop_t loop;
  weft_connect_t req = {.data = k};
  CHECK(uv_loop_init(&loop) == 0 && weft_init(&loop, &k->w, NULL) == 0);
  CHECK(weft_conn_init(&k->w, &k->conn) == 0);
  k->conn.data = k;
  CHECK(uv_timer_init(&loop, &k->timer) == 0);
  k->timer.data = k;
  CHECK(uv_timer_start(&k->timer, on_byte_due, 2, 2) == 0);
  CHECK(weft_connect(&req, &k->conn, k->url, NULL, on_pinger_connected) == 0);
  CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0 && uv_loop_close(&loop) == 0);
  return NULL;
}

static void on_other(uv_poll_t *p, int status, int events) {
  pinger_t *k = p->data;
  uv_os_fd_t fd;
  unsigned then;
  (void) events;
  CHECK(status == 0 && uv_fileno((uv_handle_t *) p, &fd) == 0);
  CHECK(read(fd, &then, sizeof then) == sizeof then);
  if (other_bytes > 2 && pings - then > pings_then) pings_then = pings - then;
  if (++other_bytes < BYTES) return;
  __atomic_store_n(&k->served, true, __ATOMIC_RELEASE);
  uv_close((uv_handle_t *) p, NULL);
}
static void on_ping(weft_conn_t *conn, int status, weft_msg_t *msg) {
  (void) msg;
  if (status != 0) {
    weft_conn_close(conn, NULL);
    return;
  }
  if (!other_started) {
    CHECK(uv_poll_start(&other, UV_READABLE, on_other) == 0);
    other_started = true;
  }
  __atomic_add_fetch(&pings, 1, __ATOMIC_RELEASE);
  ping(conn);
}
static void on_pinger(weft_listener_t *lis, int status) {
  CHECK(status == 0 && weft_accept(lis, lis->data) == 0);
  CHECK(weft_recv_start(lis->data, NULL, on_ping) == 0);
  weft_listener_close(lis, NULL);
}
static void test_a_spin_serves_other_fds(void **state) {
  static pinger_t k;
  uv_loop_t loop;
  weft_t w;
  weft_listener_t lis;
  weft_conn_t conn;
  pthread_t thread;
  size_t len = 200;
  int fds[2];
  (void) state;
  assert_int_equal(pipe(fds), 0);
  assert_int_equal(uv_loop_init(&loop), 0);
  assert_int_equal(weft_init(&loop, &w, NULL), 0);
  assert_int_equal(weft_listener_init(&w, &lis), 0);
  assert_int_equal(weft_conn_init(&w, &conn), 0);
  assert_int_equal(weft_listen(&lis, api_listen_at(), 8, on_pinger), 0);
  lis.data = &conn;
  assert_int_equal(weft_listener_addr(&lis, k.url, &len), 0);
  strcat(k.url, "?cpu=spin&standby=0");
  k.fd = fds[1];
  assert_int_equal(uv_poll_init(&loop, &other, fds[0]), 0);
  other.data = &k;
  assert_int_equal(pthread_create(&thread, NULL, pinger_run, &k), 0);
  while (uv_run(&loop, UV_RUN_ONCE) != 0 && !weft_is_closing(&conn))
    ;
  pthread_join(thread, NULL);
  assert_int_equal(other_bytes, BYTES);
  assert_true(pings_then < PINGS_MEANWHILE);
  weft_close(&w, NULL);
  assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
  assert_int_equal(uv_loop_close(&loop), 0);
  close(fds[0]);
  close(fds[1]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_threads),
      cmocka_unit_test(test_close_cancels),
      cmocka_unit_test(test_wakes_a_sleeping_loop),
      cmocka_unit_test(test_a_spin_serves_other_fds),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
