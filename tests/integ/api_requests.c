/* SPDX-License-Identifier: Apache-2.0 */
/* api_requests.c - the rules of callbacks: exactly once or never, not inside the call, cancelled
 * before the close. */
#include "lib_api.h"

enum { MANY = 100 };
static int in_call;                  /* a call into Weft is on the stack */
static int order[4 * MANY], n_order; /* what happened, in order */

enum { SENT_OK = 1, SENT_CANCELED, SENT_OTHER, CLOSED, CONNECTED, CONNECT_FAILED, SHUT };

static void note(int what) {
  CHECK(!in_call);
  CHECK(n_order < 4 * MANY);
  order[n_order++] = what;
}

static int count(int what) {
  int n = 0;
  for (int i = 0; i < n_order; i++) n += order[i] == what;
  return n;
}

static void on_sent(weft_send_t *req, int status) {
  CHECK(req->data == &order);
  req->data = NULL; /* a second callback would be noticed */
  note(status == 0 ? SENT_OK : status == UV_ECANCELED ? SENT_CANCELED : SENT_OTHER);
}
static void on_closed(weft_conn_t *conn) {
  (void) conn;
  note(CLOSED);
}
static void on_connect(weft_connect_t *req, int status) {
  (void) req;
  note(status == 0 ? CONNECTED : CONNECT_FAILED);
}
static void on_shut(weft_shutdown_t *req, int status) {
  *(int *) req->data = status;
  note(SHUT);
}

static int send_some(weft_send_t *req, weft_conn_t *conn, size_t size) {
  static char bytes[32 << 20];
  uv_buf_t buf = uv_buf_init(bytes, (unsigned) size);
  req->data = &order;
  in_call++;
  int err = weft_send(req, conn, &buf, 1, on_sent);
  in_call--;
  return err;
}

static void close_conn(weft_conn_t *conn) {
  in_call++;
  weft_conn_close(conn, on_closed);
  in_call--;
}

static int setup(void **state) {
  (void) state;
  n_order = in_call = 0;
  return 0;
}

static void test_sizes(void **state) {
  (void) state;
  assert_int_equal(sizeof(weft_t), 64);
  assert_int_equal(sizeof(weft_conn_t), 64);
  assert_int_equal(sizeof(weft_listener_t), 64);
  assert_int_equal(sizeof(weft_send_t), 128);
  assert_int_equal(sizeof(weft_connect_t), 128);
  assert_int_equal(sizeof(weft_shutdown_t), 128);
  assert_int_equal(sizeof(weft_post_t), 128);
}

static void test_send_completes_once(void **state) {
  api_pair_t p;
  static weft_send_t reqs[MANY];
  (void) state;
  api_pair_open(&p, NULL, NULL, NULL);
  api_recv(&p.server, &p.srx);
  for (int i = 0; i < MANY; i++) assert_int_equal(send_some(&reqs[i], &p.client, (size_t) i), 0);
  RUN_UNTIL(&p.loop, 3000, count(SENT_OK) == MANY);
  assert_int_equal(p.srx.messages, MANY);
  RUN_FOR(&p.loop, 50);
  assert_int_equal(n_order, MANY);
  api_pair_close(&p);
  assert_int_equal(n_order, MANY);
}

static void test_pending_sends_are_cancelled_before_close(void **state) {
  api_pair_t p;
  static weft_send_t reqs[MANY];
  (void) state;
  api_pair_open(&p, NULL, NULL, NULL); /* nobody receives: the window closes */
  for (int i = 0; i < MANY; i++) assert_int_equal(send_some(&reqs[i], &p.client, 1 << 20), 0);
  RUN_FOR(&p.loop, 50);
  close_conn(&p.client);
  RUN_UNTIL(&p.loop, 3000, count(CLOSED) == 1);
  assert_int_equal(count(SENT_CANCELED), MANY);
  assert_int_equal(order[n_order - 1], CLOSED);
  RUN_FOR(&p.loop, 50);
  assert_int_equal(n_order, MANY + 1);
  api_pair_close(&p);
}

static void test_close_right_after_send(void **state) {
  api_pair_t p;
  weft_send_t req;
  (void) state;
  api_pair_open(&p, NULL, NULL, NULL);
  assert_int_equal(send_some(&req, &p.client, 64), 0);
  close_conn(&p.client);
  assert_int_equal(n_order, 0);
  RUN_UNTIL(&p.loop, 3000, n_order == 2);
  assert_int_equal(order[0], SENT_CANCELED);
  assert_int_equal(order[1], CLOSED);
  api_pair_close(&p);
}

static void test_context_close_ends_everything(void **state) {
  api_pair_t p;
  static weft_send_t reqs[MANY];
  (void) state;
  api_pair_open(&p, NULL, NULL, NULL);
  for (int i = 0; i < MANY; i++) assert_int_equal(send_some(&reqs[i], &p.client, 1 << 20), 0);
  RUN_FOR(&p.loop, 20);
  api_pair_close(&p);
  assert_int_equal(count(SENT_CANCELED), MANY);
}

/* The program's own close comes after the context's: its callback still fires, once, with the
 * handle. */
static int lis_closed, ctx_closed;
static void on_lis_closed(weft_listener_t *l) {
  (void) l;
  CHECK(!in_call && !ctx_closed);
  lis_closed++;
}
static void on_ctx_closed(weft_t *w) {
  (void) w;
  CHECK(!in_call);
  ctx_closed++;
}
static void no_callback(weft_conn_t *conn) {
  (void) conn;
  CHECK(!"the second close of a program says nothing");
}
static void test_close_after_context_close(void **state) {
  api_pair_t p;
  (void) state;
  lis_closed = ctx_closed = 0;
  api_pair_open(&p, NULL, NULL, NULL);
  in_call++;
  weft_close(&p.a, on_ctx_closed);
  weft_conn_close(&p.server, on_closed);
  weft_conn_close(&p.server, no_callback);
  weft_listener_close(&p.lis, on_lis_closed);
  in_call--;
  RUN_UNTIL(&p.loop, 5000, ctx_closed == 1);
  assert_int_equal(count(CLOSED), 1);
  assert_int_equal(lis_closed, 1);
  weft_close(&p.b, on_ctx_closed);
  RUN_UNTIL(&p.loop, 5000, ctx_closed == 2);
  assert_int_equal(n_order, 1);
  assert_int_equal(uv_run(&p.loop, UV_RUN_DEFAULT), 0);
  assert_int_equal(uv_loop_close(&p.loop), 0);
}

static void test_send_without_connection(void **state) {
  api_pair_t p;
  weft_send_t req;
  (void) state;
  api_pair_start(&p, NULL, NULL);
  assert_int_equal(weft_conn_init(&p.b, &p.client), 0);
  assert_int_equal(send_some(&req, &p.client, 64), UV_ENOTCONN);
  RUN_FOR(&p.loop, 20);
  assert_int_equal(n_order, 0);
  api_pair_close(&p);
  assert_int_equal(n_order, 0);
}

static void test_sends_queue_while_connecting(void **state) {
  api_pair_t p;
  weft_send_t reqs[3];
  (void) state;
  api_pair_start(&p, NULL, NULL);
  assert_int_equal(weft_conn_init(&p.b, &p.client), 0);
  in_call++;
  assert_int_equal(weft_connect(&p.req, &p.client, p.url, NULL, on_connect), 0);
  in_call--;
  for (int i = 0; i < 3; i++) assert_int_equal(send_some(&reqs[i], &p.client, 100), 0);
  RUN_UNTIL(&p.loop, 3000, p.accepted);
  api_recv(&p.server, &p.srx);
  RUN_UNTIL(&p.loop, 3000, count(SENT_OK) == 3);
  assert_int_equal(order[0], CONNECTED);
  RUN_UNTIL(&p.loop, 3000, p.srx.messages == 3);
  api_pair_close(&p);
}

static void test_too_large(void **state) {
  api_pair_t p;
  weft_opts_t small;
  weft_send_t req;
  (void) state;
  api_opts(&small, "max_message", "1MiB", NULL);
  api_pair_open(&p, &small, NULL, NULL);
  assert_int_equal(send_some(&req, &p.client, (1 << 20) + 1), UV_EMSGSIZE);
  assert_int_equal(send_some(&req, &p.client, 1 << 20), 0);
  api_recv(&p.server, &p.srx);
  RUN_UNTIL(&p.loop, 3000, count(SENT_OK) == 1);
  assert_int_equal(n_order, 1);
  api_pair_close(&p);
}

static void test_cancel(void **state) {
  api_pair_t p;
  weft_send_t first, second;
  (void) state;
  api_pair_open(&p, NULL, NULL, NULL);
  api_recv(&p.server, &p.srx);
  assert_int_equal(send_some(&first, &p.client, 64), 0);
  assert_int_equal(send_some(&second, &p.client, 64), 0);
  in_call++;
  assert_int_equal(weft_cancel(&second), 0); /* nothing is flushed inside weft_send */
  in_call--;
  RUN_UNTIL(&p.loop, 3000, n_order == 2);
  assert_int_equal(count(SENT_OK), 1);
  assert_int_equal(count(SENT_CANCELED), 1);
  assert_int_equal(p.srx.messages, 1);
  assert_int_equal(weft_cancel(&first), UV_EALREADY);
  assert_int_equal(weft_cancel(&second), UV_EALREADY);
  api_pair_close(&p);
}

static void test_cancel_too_late(void **state) {
  api_pair_t p;
  weft_send_t req;
  (void) state;
  api_pair_open(&p, NULL, NULL,
                NULL); /* the server does not receive: a large message has left in part */
  assert_int_equal(send_some(&req, &p.client, 1 << 20), 0);
  RUN_FOR(&p.loop, 50);
  assert_int_equal(weft_cancel(&req), UV_EBUSY);
  assert_int_equal(n_order, 0);
  api_recv(&p.server, &p.srx);
  RUN_UNTIL(&p.loop, 3000, count(SENT_OK) == 1);
  api_pair_close(&p);
}

static void test_connect_cancel(void **state) {
  api_pair_t p;
  (void) state;
  api_pair_start(&p, NULL, NULL);
  assert_int_equal(weft_conn_init(&p.b, &p.client), 0);
  in_call++;
  assert_int_equal(weft_connect(&p.req, &p.client, p.url, NULL, on_connect), 0);
  assert_int_equal(weft_connect(&p.req, &p.client, p.url, NULL, on_connect), UV_EALREADY);
  assert_int_equal(weft_connect_cancel(&p.req), 0);
  in_call--;
  RUN_UNTIL(&p.loop, 3000, count(CONNECT_FAILED) == 1);
  assert_int_equal(weft_connect_cancel(&p.req), UV_EALREADY);
  close_conn(&p.client);
  RUN_UNTIL(&p.loop, 3000, count(CLOSED) == 1);
  assert_int_equal(n_order, 2);
  api_pair_close(&p);
}

static void test_close_while_connecting(void **state) {
  api_pair_t p;
  (void) state;
  for (int wait = 0; wait < 12; wait += 3) { /* at different points of the handshake */
    n_order = 0;
    api_pair_start(&p, NULL, NULL);
    assert_int_equal(weft_conn_init(&p.b, &p.client), 0);
    assert_int_equal(weft_connect(&p.req, &p.client, p.url, NULL, on_connect), 0);
    for (int i = 0; i < wait && !count(CONNECTED); i++) uv_run(&p.loop, UV_RUN_ONCE);
    close_conn(&p.client);
    RUN_UNTIL(&p.loop, 3000, count(CLOSED) == 1);
    assert_int_equal(count(CONNECTED) + count(CONNECT_FAILED), 1);
    assert_int_equal(order[1], CLOSED);
    assert_int_equal(n_order, 2);
    api_pair_close(&p);
  }
}

static void test_shutdown_and_after(void **state) {
  api_pair_t p;
  weft_send_t req;
  weft_shutdown_t shut, again;
  int status = 1;
  (void) state;
  api_pair_open(&p, NULL, NULL, NULL);
  api_recv(&p.server, &p.srx);
  assert_int_equal(send_some(&req, &p.client, 64), 0);
  shut.data = &status;
  in_call++;
  assert_int_equal(weft_shutdown(&shut, &p.client, on_shut), 0);
  assert_int_equal(weft_shutdown(&again, &p.client, on_shut), UV_EALREADY);
  in_call--;
  assert_int_equal(send_some(&req, &p.client, 64), UV_EPIPE);
  RUN_UNTIL(&p.loop, 3000, count(SHUT) == 1);
  assert_int_equal(status, 0);
  assert_int_equal(order[0], SENT_OK);
  assert_int_equal(p.srx.eofs, 1);
  assert_int_equal(send_some(&req, &p.client, 64), UV_EPIPE);
  assert_int_equal(n_order, 2);
  api_pair_close(&p);
}

static void test_shutdown_times_out(void **state) {
  api_pair_t p;
  weft_opts_t opts;
  weft_send_t req;
  weft_shutdown_t shut;
  int status = 1;
  (void) state;
  api_opts(&opts, "shutdown_timeout_ms", "200ms", NULL);
  api_pair_open(&p, NULL, &opts, NULL);
  assert_int_equal(send_some(&req, &p.client, 8 << 20), 0); /* the server never receives */
  shut.data = &status;
  assert_int_equal(weft_shutdown(&shut, &p.client, on_shut), 0);
  RUN_UNTIL(&p.loop, 3000, count(SHUT) == 1);
  assert_int_equal(status, UV_ETIMEDOUT);
  close_conn(&p.client);
  RUN_UNTIL(&p.loop, 3000, count(CLOSED) == 1);
  assert_int_equal(count(SENT_CANCELED), 1);
  assert_int_equal(n_order, 3);
  api_pair_close(&p);
}

static void test_shutdown_is_cancelled_by_close(void **state) {
  api_pair_t p;
  weft_send_t req;
  weft_shutdown_t shut;
  int status = 1;
  (void) state;
  api_pair_open(&p, NULL, NULL, NULL);
  assert_int_equal(send_some(&req, &p.client, 8 << 20), 0);
  shut.data = &status;
  assert_int_equal(weft_shutdown(&shut, &p.client, on_shut), 0);
  RUN_FOR(&p.loop, 20);
  close_conn(&p.client);
  RUN_UNTIL(&p.loop, 3000, count(CLOSED) == 1);
  assert_int_equal(status, UV_ECANCELED);
  assert_int_equal(order[n_order - 1], CLOSED);
  api_pair_close(&p);
}

/* Close from inside every kind of callback. */
static api_pair_t *inside;
static void close_in_sent(weft_send_t *req, int status) {
  (void) req;
  CHECK(status == 0);
  weft_conn_close(&inside->client, on_closed);
}
static void close_in_recv(weft_conn_t *conn, int status, weft_msg_t *msg) {
  CHECK(status == 0 && msg);
  inside->srx.messages++;
  weft_conn_close(conn, on_closed);
}
static void test_close_inside_callbacks(void **state) {
  api_pair_t p;
  static weft_send_t reqs[10];
  uv_buf_t buf = uv_buf_init((char *) "hello", 5);
  (void) state;
  inside = &p;
  api_pair_open(&p, NULL, NULL, NULL);
  assert_int_equal(weft_recv_start(&p.server, NULL, close_in_recv), 0);
  assert_int_equal(weft_send(&reqs[0], &p.client, &buf, 1, close_in_sent), 0);
  for (int i = 1; i < 10; i++) assert_int_equal(weft_send(&reqs[i], &p.client, &buf, 1, NULL), 0);
  RUN_UNTIL(&p.loop, 3000, count(CLOSED) >= 1);
  RUN_FOR(&p.loop, 50);
  assert_int_equal(p.srx.messages, 1); /* nothing after the close */
  api_pair_close(&p);
}

static void test_handle_is_reusable_in_close_cb(void **state) {
  api_pair_t p;
  (void) state;
  api_pair_start(&p, NULL, NULL);
  for (int i = 0; i < 3; i++) {
    p.connected = p.accepted = 0;
    n_order = 0;
    assert_int_equal(weft_conn_init(&p.b, &p.client), 0);
    assert_int_equal(weft_connect(&p.req, &p.client, p.url, NULL, on_connect), 0);
    RUN_UNTIL(&p.loop, 3000, count(CONNECTED) && p.accepted);
    close_conn(&p.client);
    close_conn(&p.server);
    RUN_UNTIL(&p.loop, 3000, count(CLOSED) == 2);
    assert_true(weft_is_closing(&p.client));
    memset(&p.client, 0xee, sizeof p.client); /* ours again */
    memset(&p.server, 0xee, sizeof p.server);
  }
  api_pair_close(&p);
}

static void test_ref_and_unref(void **state) {
  api_pair_t p;
  (void) state;
  api_pair_open(&p, NULL, NULL, NULL);
  weft_unref(&p.lis);
  weft_unref(&p.client);
  weft_unref(&p.server);
  assert_int_equal(uv_run(&p.loop, UV_RUN_DEFAULT), 0); /* returns: nothing holds the loop */
  weft_ref(&p.client);
  assert_true(uv_loop_alive(&p.loop));
  weft_unref(&p.client);
  weft_unref(&p.client);
  assert_false(uv_loop_alive(&p.loop));
  api_pair_close(&p);
}

/* Needs filled in by hand that no peer would take are refused at once, by name. */
static void bad_needs(api_pair_t *p, const weft_qos_t *q, const char *field) {
  weft_connect_t creq;
  in_call++;
  assert_int_equal(weft_connect(&creq, &p->client, p->url, q, on_connect), UV_EINVAL);
  in_call--;
  assert_non_null(strstr(weft_conn_error(&p->client), field));
}
static void test_bad_needs(void **state) {
  api_pair_t p;
  weft_qos_t q;
  (void) state;
  api_pair_start(&p, NULL, NULL);
  assert_int_equal(weft_conn_init(&p.b, &p.client), 0);
#define BAD(field, change)                                                                         \
  do {                                                                                             \
    weft_qos_init(&q, sizeof q);                                                                   \
    change;                                                                                        \
    bad_needs(&p, &q, field);                                                                      \
  } while (0)
  BAD("reliability", q.reliability = 7);
  BAD("ack", q.ack = 2);
  BAD("cpu", q.cpu = 3);
  BAD("strict", q.strict = 2);
  BAD("require", memset(q.require, 'x', sizeof q.require));
  BAD("forbid", memset(q.forbid, 'x', sizeof q.forbid));
  BAD("bootstrap", memset(q.bootstrap, 'x', sizeof q.bootstrap));
  BAD("forbid", strcpy(q.forbid, "tcp\n"));
#undef BAD
  weft_qos_init(&q, sizeof q); /* the handle is as good as new */
  q.cpu = WEFT_CPU_SLEEP;
  q.reliability = WEFT_AT_MOST_ONCE;
  assert_int_equal(weft_connect(&p.req, &p.client, p.url, &q, on_connect), 0);
  RUN_UNTIL(&p.loop, 3000, count(CONNECTED) == 1);
  api_pair_close(&p);
}

static void test_invalid_arguments(void **state) {
  api_pair_t p;
  weft_send_t req;
  weft_connect_t creq;
  uv_buf_t buf = uv_buf_init((char *) "x", 1);
  (void) state;
  assert_int_equal(weft_init(NULL, NULL, NULL), UV_EINVAL);
  api_pair_start(&p, NULL, NULL);
  assert_int_equal(weft_conn_init(&p.b, NULL), UV_EINVAL);
  assert_int_equal(weft_conn_init(&p.b, &p.client), 0);
  assert_int_equal(weft_connect(&creq, &p.client, "http://x:1", NULL, on_connect), WEFT_EURL);
  assert_string_not_equal(weft_conn_error(&p.client), "");
  assert_int_equal(weft_connect(&creq, &p.client, "weft://*:7000", NULL, on_connect), WEFT_EURL);
  assert_int_equal(weft_connect(&creq, &p.client, "weft://127.0.0.1:0", NULL, on_connect),
                   WEFT_EURL);
  assert_int_equal(weft_send(&req, NULL, &buf, 1, on_sent), UV_EINVAL);
  assert_int_equal(weft_recv_start(&p.client, NULL, NULL), UV_EINVAL);
  assert_int_equal(weft_recv_start(&p.client, NULL, api_on_recv), 0);
  assert_int_equal(weft_recv_start(&p.client, NULL, api_on_recv), UV_EALREADY);
  assert_int_equal(weft_accept(&p.lis, &p.client), UV_EINVAL); /* of another context */
  assert_int_equal(weft_conn_init(&p.a, &p.server), 0);
  assert_int_equal(weft_accept(&p.lis, &p.server), UV_EAGAIN);
  assert_int_equal(weft_listen(&p.lis, "weft://127.0.0.1:0", 1, (weft_listen_cb) (uintptr_t) 1),
                   UV_EALREADY);
  assert_int_equal(n_order, 0);
  api_pair_close(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(test_sizes, setup),
      cmocka_unit_test_setup(test_send_completes_once, setup),
      cmocka_unit_test_setup(test_pending_sends_are_cancelled_before_close, setup),
      cmocka_unit_test_setup(test_close_right_after_send, setup),
      cmocka_unit_test_setup(test_context_close_ends_everything, setup),
      cmocka_unit_test_setup(test_close_after_context_close, setup),
      cmocka_unit_test_setup(test_send_without_connection, setup),
      cmocka_unit_test_setup(test_sends_queue_while_connecting, setup),
      cmocka_unit_test_setup(test_too_large, setup),
      cmocka_unit_test_setup(test_cancel, setup),
      cmocka_unit_test_setup(test_cancel_too_late, setup),
      cmocka_unit_test_setup(test_connect_cancel, setup),
      cmocka_unit_test_setup(test_close_while_connecting, setup),
      cmocka_unit_test_setup(test_shutdown_and_after, setup),
      cmocka_unit_test_setup(test_shutdown_times_out, setup),
      cmocka_unit_test_setup(test_shutdown_is_cancelled_by_close, setup),
      cmocka_unit_test_setup(test_close_inside_callbacks, setup),
      cmocka_unit_test_setup(test_handle_is_reusable_in_close_cb, setup),
      cmocka_unit_test_setup(test_ref_and_unref, setup),
      cmocka_unit_test_setup(test_bad_needs, setup),
      cmocka_unit_test_setup(test_invalid_arguments, setup),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
