/* SPDX-License-Identifier: Apache-2.0 */
/* api_epoll.c - a program without libuv: weft_fd, weft_timeout_ms, weft_process under poll(2) and
 * epoll(7). */
#include "lib_api.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

typedef struct side {
  weft_t w;
  int fd;
  weft_listener_t lis;
  weft_conn_t conn;
  weft_connect_t req;
  api_rx_t rx;
  int up, closed, sent, status;
} side_t;

static side_t a, b;
static char url[200];

static void on_peer(weft_listener_t *l, int status) {
  CHECK(status == 0);
  CHECK(weft_conn_init(&a.w, &a.conn) == 0);
  CHECK(weft_accept(l, &a.conn) == 0);
  a.up = 1;
}
static void on_connect(weft_connect_t *req, int status) {
  (void) req;
  b.up = 1;
  b.status = status;
}
static void on_ctx_closed(weft_t *w) {
  (w == &a.w ? &a : &b)->closed = 1;
}
static void on_sent(weft_send_t *req, int status) {
  (void) req;
  CHECK(status == 0);
  b.sent++;
}

static int wakeups;

/* One wait for both, as a program would do it. */
static void turn(int most_ms) {
  struct pollfd fds[2] = {{a.fd, POLLIN, 0}, {b.fd, POLLIN, 0}};
  int ms = most_ms;
  side_t *sides[2] = {&a, &b};
  for (int i = 0; i < 2; i++) {
    if (sides[i]->closed) {
      fds[i].fd = -1;
      continue;
    }
    int t = weft_timeout_ms(&sides[i]->w);
    CHECK(t >= -1);
    if (t >= 0 && t < ms) ms = t;
  }
  CHECK(poll(fds, 2, ms) >= 0 || errno == EINTR);
  wakeups++;
  for (int i = 0; i < 2; i++)
    if (!sides[i]->closed) CHECK(weft_process(&sides[i]->w) >= 0);
}

#define TURN_UNTIL(ms, cond)                                                                       \
  do {                                                                                             \
    uint64_t until_ = api_now_ms() + (ms) *api_slow();                                             \
    while (!(cond)) {                                                                              \
      if (api_now_ms() > until_) fail_msg("not in time: %s", #cond);                               \
      turn(100);                                                                                   \
    }                                                                                              \
  } while (0)

static void start(void) {
  size_t len = sizeof url;
  memset(&a, 0, sizeof a);
  memset(&b, 0, sizeof b);
  assert_int_equal(weft_init(NULL, &a.w, NULL), 0);
  assert_int_equal(weft_init(NULL, &b.w, NULL), 0);
  a.fd = weft_fd(&a.w);
  b.fd = weft_fd(&b.w);
  assert_true(a.fd >= 0 && b.fd >= 0 && a.fd != b.fd);
  assert_int_equal(weft_listener_init(&a.w, &a.lis), 0);
  assert_int_equal(weft_listen(&a.lis, api_listen_at(), 4, on_peer), 0);
  assert_int_equal(weft_listener_addr(&a.lis, url, &len), 0);
  assert_int_equal(weft_conn_init(&b.w, &b.conn), 0);
  assert_int_equal(weft_connect(&b.req, &b.conn, url, NULL, on_connect), 0);
  weft_process(&a.w);
  weft_process(&b.w);
  TURN_UNTIL(5000, a.up && b.up);
  assert_int_equal(b.status, 0);
  assert_int_equal(a.fd, weft_fd(&a.w)); /* never changes */
}

static void stop(void) {
  weft_close(&a.w, on_ctx_closed);
  weft_close(&b.w, on_ctx_closed);
  TURN_UNTIL(5000, a.closed && b.closed);
  assert_int_equal(weft_process(&a.w), 0);
}

static void test_messages(void **state) {
  enum { N = 2000 };
  static weft_send_t reqs[N];
  static char bytes[100000];
  (void) state;
  start();
  api_recv(&a.conn, &a.rx);
  weft_process(&a.w);
  for (int i = 0; i < N; i++) {
    uv_buf_t buf = uv_buf_init(bytes, i % 100 == 0 ? sizeof bytes : 100);
    assert_int_equal(weft_send(&reqs[i], &b.conn, &buf, 1, on_sent), 0);
  }
  weft_process(&b.w);
  TURN_UNTIL(10000, b.sent == N && a.rx.messages == N);
  stop();
}

/* One at a time: a wakeup that is missed would cost the whole timeout. */
static void test_no_missed_wakeup(void **state) {
  enum { N = 300 };
  weft_send_t req;
  uv_buf_t buf = uv_buf_init((char *) "ping", 4);
  (void) state;
  start();
  api_recv(&a.conn, &a.rx);
  weft_process(&a.w);
  uint64_t from = api_now_ms();
  for (int i = 0; i < N; i++) {
    b.sent = 0;
    assert_int_equal(weft_send(&req, &b.conn, &buf, 1, on_sent), 0);
    weft_process(&b.w);
    TURN_UNTIL(5000, b.sent == 1);
  }
  assert_true(api_now_ms() - from < 3000 * api_slow());
  stop();
}

static double cpu_ms(void) {
  struct rusage ru;
  getrusage(RUSAGE_SELF, &ru);
  return (double) (ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1e3 +
         (double) (ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e3;
}

static void test_idle_costs_nothing(void **state) {
  (void) state;
  start();
  for (int i = 0; i < 50; i++) turn(20); /* let it settle */
  wakeups = 0;
  double cpu = cpu_ms();
  uint64_t until = api_now_ms() + 1000;
  while (api_now_ms() < until) turn(1000);
  assert_true(wakeups < 30);
  assert_true(cpu_ms() - cpu < 20.0 * api_slow());
  stop();
}

static void test_refused_on_a_loop_of_libuv(void **state) {
  uv_loop_t loop;
  weft_t w;
  (void) state;
  uv_loop_init(&loop);
  assert_int_equal(weft_init(&loop, &w, NULL), 0);
  assert_ptr_equal(weft_loop(&w), &loop);
  assert_int_equal(weft_fd(&w), UV_EINVAL);
  assert_int_equal(weft_timeout_ms(&w), UV_EINVAL);
  assert_int_equal(weft_process(&w), UV_EINVAL);
  weft_close(&w, NULL);
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&loop), 0);
}

static void test_nested_in_epoll(void **state) {
  struct epoll_event ev = {.events = EPOLLIN};
  (void) state;
  start();
  api_recv(&a.conn, &a.rx);
  int ep = epoll_create1(0);
  assert_true(ep >= 0);
  assert_int_equal(epoll_ctl(ep, EPOLL_CTL_ADD, a.fd, &ev), 0);
  assert_int_equal(epoll_ctl(ep, EPOLL_CTL_ADD, b.fd, &ev), 0);
  weft_send_t req;
  uv_buf_t buf = uv_buf_init((char *) "ping", 4);
  assert_int_equal(weft_send(&req, &b.conn, &buf, 1, on_sent), 0);
  uint64_t until = api_now_ms() + 3000 * api_slow();
  while (!b.sent && api_now_ms() < until) {
    weft_process(&a.w);
    weft_process(&b.w);
    int ta = weft_timeout_ms(&a.w), tb = weft_timeout_ms(&b.w);
    int t = ta < 0 ? tb : tb < 0 ? ta : ta < tb ? ta : tb;
    assert_true(epoll_wait(ep, &ev, 1, t < 0 || t > 1000 ? 1000 : t) >= 0);
  }
  assert_int_equal(b.sent, 1);
  assert_int_equal(a.rx.messages, 1);
  close(ep);
  stop();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_messages),           cmocka_unit_test(test_no_missed_wakeup),
      cmocka_unit_test(test_idle_costs_nothing), cmocka_unit_test(test_refused_on_a_loop_of_libuv),
      cmocka_unit_test(test_nested_in_epoll),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
