/* SPDX-License-Identifier: Apache-2.0 */
/* api_phases.c - calls from every phase of the loop's turn take effect before the loop sleeps.
 *
 * Design notes
 *  - libuv runs the uv_prepare that was started last first: one that is older than weft_init runs
 *    after Weft's own, when Weft has already flushed and nothing else comes before the loop sleeps.
 *  - Both contexts are idle before each call, and no timer but the scenario's own runs. */
#include "lib_api.h"

enum { LIMIT = 4000 };

static uv_loop_t loop;
static uv_prepare_t prepare;
static uv_check_t check;
static uv_timer_t limit, kick; /* kick: check comes when something ends the sleep */
static weft_t a, b;
static weft_listener_t lis;
static weft_conn_t server, client;
static weft_connect_t creq;
static weft_send_t sreq;
static char url[100];
static api_rx_t rx;
static int connected, accepted, sent, closed, late, turns;
static void (*in_prepare)(void), (*in_check)(void);

static void on_prepare(uv_prepare_t *h) {
  void (*call)(void) = in_prepare;
  (void) h;
  turns++;
  in_prepare = NULL;
  if (call) call();
}
static void on_check(uv_check_t *h) {
  void (*call)(void) = in_check;
  (void) h;
  in_check = NULL;
  if (call) call();
}
static void on_limit(uv_timer_t *t) {
  (void) t;
  late = 1;
}
static void on_kick(uv_timer_t *t) {
  (void) t;
}
static void on_peer(weft_listener_t *l, int status) {
  CHECK(status == 0 && weft_conn_init(&a, &server) == 0 && weft_accept(l, &server) == 0);
  accepted++;
}
static void on_connect(weft_connect_t *r, int status) {
  (void) r;
  CHECK(status == 0);
  connected++;
}
static void on_sent(weft_send_t *r, int status) {
  (void) r;
  CHECK(status == 0);
  sent++;
}
static void on_closed(weft_conn_t *c) {
  (void) c;
  closed++;
}

static void do_connect(void) {
  CHECK(weft_conn_init(&b, &client) == 0);
  CHECK(weft_connect(&creq, &client, url, NULL, on_connect) == 0);
}
static void do_send(void) {
  uv_buf_t buf = uv_buf_init((char *) "hello", 5);
  CHECK(weft_send(&sreq, &client, &buf, 1, on_sent) == 0);
}
static void do_try_send(void) {
  uv_buf_t buf = uv_buf_init((char *) "hello", 5);
  CHECK(weft_try_send(&client, &buf, 1) == 0);
}
static void do_recv_start(void) {
  memset(&rx, 0, sizeof rx);
  server.data = &rx;
  CHECK(weft_recv_start(&server, NULL, api_on_recv) == 0);
}
static void do_close(void) {
  weft_conn_close(&client, on_closed);
}

/* The call is made in that phase of a turn in which nothing else happens, and then `cond` comes
 * true by itself. */
#define IN_PHASE(phase, call, cond)                                                                \
  do {                                                                                             \
    late = 0;                                                                                      \
    in_##phase = call;                                                                             \
    uv_update_time(&loop);                                                                         \
    uv_timer_start(&limit, on_limit, LIMIT *api_slow(), 0);                                        \
    if (in_check) uv_timer_start(&kick, on_kick, 10, 0);                                           \
    while (!(cond) && !late) uv_run(&loop, UV_RUN_ONCE);                                           \
    uv_timer_stop(&limit);                                                                         \
    if (!(cond)) fail_msg("%s in %s: the loop slept for %d ms", #call, #phase, LIMIT);             \
    RUN_FOR(&loop, 60); /* idle again */                                                           \
  } while (0)

static void start(void) {
  size_t len = sizeof url;
  connected = accepted = sent = closed = 0;
  assert_int_equal(uv_loop_init(&loop), 0);
  uv_prepare_init(&loop, &prepare);
  uv_check_init(&loop, &check);
  uv_timer_init(&loop, &limit);
  uv_timer_init(&loop, &kick);
  uv_prepare_start(&prepare, on_prepare); /* before weft_init: runs after Weft's */
  uv_check_start(&check, on_check);
  assert_int_equal(weft_init(&loop, &a, NULL), 0);
  assert_int_equal(weft_init(&loop, &b, NULL), 0);
  assert_int_equal(weft_listener_init(&a, &lis), 0);
  assert_int_equal(weft_listen(&lis, api_listen_at(), 8, on_peer), 0);
  assert_int_equal(weft_listener_addr(&lis, url, &len), 0);
  RUN_FOR(&loop, 100);
}

static void stop(void) {
  weft_close(&a, NULL);
  weft_close(&b, NULL);
  uv_close((uv_handle_t *) &prepare, NULL);
  uv_close((uv_handle_t *) &check, NULL);
  uv_close((uv_handle_t *) &limit, NULL);
  uv_close((uv_handle_t *) &kick, NULL);
  assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
  assert_int_equal(uv_loop_close(&loop), 0);
}

static void test_calls_from_prepare(void **state) {
  (void) state;
  start();
  IN_PHASE(prepare, do_connect, connected && accepted);
  IN_PHASE(prepare, do_send, sent == 1);
  do_try_send();
  RUN_FOR(&loop, 60);
  IN_PHASE(prepare, do_recv_start, rx.messages == 2);
  IN_PHASE(prepare, do_try_send, rx.messages == 3);
  IN_PHASE(prepare, do_close, closed == 1 && rx.errors == 1);
  stop();
}

static void test_calls_from_check(void **state) {
  (void) state;
  start();
  IN_PHASE(check, do_connect, connected && accepted);
  IN_PHASE(check, do_send, sent == 1);
  IN_PHASE(check, do_recv_start, rx.messages == 1);
  IN_PHASE(check, do_try_send, rx.messages == 2);
  IN_PHASE(check, do_close, closed == 1 && rx.errors == 1);
  stop();
}

/* What keeps the loop awake for such a call does so for one turn. */
static void test_the_loop_sleeps_again(void **state) {
  (void) state;
  start();
  IN_PHASE(prepare, do_connect, connected && accepted);
  IN_PHASE(prepare, do_send, sent == 1);
  uv_timer_start(&limit, on_limit, 300, 0);
  for (late = turns = 0; !late;) uv_run(&loop, UV_RUN_ONCE);
  assert_in_range(turns, 1, 20);
  stop();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_calls_from_prepare),
      cmocka_unit_test(test_calls_from_check),
      cmocka_unit_test(test_the_loop_sleeps_again),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
