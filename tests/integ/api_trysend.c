/* SPDX-License-Identifier: Apache-2.0 */
/* api_trysend.c - weft_try_send copies, says when the queue is full, and an event says when to go
 * on. */
#include "lib_api.h"

static void test_copies_and_arrives(void **state) {
  api_pair_t p;
  char text[3000];
  uint64_t hash = 0;
  unsigned n = 0;
  (void) state;
  api_pair_open(&p, NULL, NULL, NULL);
  api_recv(&p.server, &p.srx);
  for (size_t size = 0; size <= sizeof text; size += 37, n++) {
    api_fill(text, size, n);
    hash = api_hash(api_hash(hash, &size, sizeof size), text, size);
    uv_buf_t bufs[2] = {uv_buf_init(text, (unsigned) (size / 3)),
                        uv_buf_init(text + size / 3, (unsigned) (size - size / 3))};
    assert_int_equal(weft_try_send(&p.client, bufs, 2), 0);
    memset(text, 0xee, sizeof text); /* it was copied */
  }
  RUN_UNTIL(&p.loop, 3000, p.srx.messages == n);
  assert_int_equal(p.srx.hash, hash);
  api_pair_close(&p);
}

static void test_limit_of_size(void **state) {
  api_pair_t p;
  static char big[64 * 1024 + 1];
  uv_buf_t fits = uv_buf_init(big, sizeof big - 1), over = uv_buf_init(big, sizeof big);
  uv_buf_t two[2] = {fits, uv_buf_init(big, 1)};
  (void) state;
  api_pair_open(&p, NULL, NULL, NULL);
  api_recv(&p.server, &p.srx);
  assert_int_equal(weft_try_send(&p.client, &over, 1), UV_EMSGSIZE);
  assert_int_equal(weft_try_send(&p.client, two, 2), UV_EMSGSIZE);
  assert_int_equal(weft_try_send(&p.client, &fits, 1), 0);
  RUN_UNTIL(&p.loop, 3000, p.srx.messages == 1);
  assert_int_equal(p.srx.last_size, sizeof big - 1);
  api_pair_close(&p);
}

/* A full queue: EAGAIN, then one WRITABLE, after which it goes on. Nothing is lost. */
static void test_backpressure(void **state) {
  enum { N = 20000, SIZE = 1000 };
  api_pair_t p;
  weft_opts_t opts;
  char text[SIZE];
  unsigned sent = 0, refusals = 0;
  (void) state;
  memset(text, 'x', sizeof text);
  uv_buf_t buf = uv_buf_init(text, sizeof text);
  api_opts(&opts, "send_queue", "256KiB", NULL);
  api_pair_open(&p, NULL, &opts, NULL);
  api_watch(&p, &p.client);
  api_recv(&p.server, &p.srx);
  while (sent < N) {
    int err = weft_try_send(&p.client, &buf, 1);
    if (err == 0) {
      sent++;
      continue;
    }
    assert_int_equal(err, UV_EAGAIN);
    assert_true(weft_conn_queued_bytes(&p.client) <= (256 << 10) + SIZE);
    refusals++;
    RUN_UNTIL(&p.loop, 5000, p.events[WEFT_EV_WRITABLE] == refusals);
    assert_int_equal(weft_try_send(&p.client, &buf, 1), 0);
    sent++;
  }
  assert_true(refusals > 10);
  RUN_UNTIL(&p.loop, 5000, p.srx.messages == N);
  assert_int_equal(p.srx.bytes, (uint64_t) N * SIZE);
  RUN_FOR(&p.loop, 50);
  assert_int_equal(p.events[WEFT_EV_WRITABLE], refusals);
  api_pair_close(&p);
}

static void test_receiver_that_does_not_read(void **state) {
  api_pair_t p;
  char text[1000] = "x";
  uv_buf_t buf = uv_buf_init(text, sizeof text);
  int err = 0;
  (void) state;
  api_pair_open(&p, NULL, NULL, NULL);
  api_watch(&p, &p.client);
  /* never silent, never without bound: the peer's window fills, then our queue, then it stays so */
  unsigned writable;
  do {
    writable = p.events[WEFT_EV_WRITABLE];
    for (int i = 0; i < 100000 && (err = weft_try_send(&p.client, &buf, 1)) == 0; i++) {}
    assert_int_equal(err, UV_EAGAIN);
    RUN_FOR(&p.loop, 200 * api_slow());
  } while (p.events[WEFT_EV_WRITABLE] != writable);
  api_recv(&p.server, &p.srx);
  RUN_UNTIL(&p.loop, 3000, p.events[WEFT_EV_WRITABLE] == writable + 1);
  api_pair_close(&p);
}

static void test_after_shutdown(void **state) {
  api_pair_t p;
  uv_buf_t buf = uv_buf_init((char *) "x", 1);
  (void) state;
  api_pair_open(&p, NULL, NULL, NULL);
  api_recv(&p.server, &p.srx);
  assert_int_equal(weft_shutdown(&p.creq, &p.client, NULL), 0);
  assert_int_equal(weft_try_send(&p.client, &buf, 1), UV_EPIPE);
  RUN_UNTIL(&p.loop, 3000, p.srx.eofs == 1);
  api_pair_close(&p);
}

/* Accepted before the peer's limit was known: the stream must not go on without it. */
static int connected_with;
static void on_connected(weft_connect_t *req, int status) {
  (void) req;
  connected_with = status;
}
static void on_server(weft_listener_t *l, int status) {
  api_pair_t *p = l->data;
  CHECK(status == 0 && weft_conn_init(&p->a, &p->server) == 0 && weft_accept(l, &p->server) == 0);
  api_recv(&p->server, &p->srx);
}
static void test_over_the_limit_that_came_later(void **state) {
  weft_opts_t opts;
  api_pair_t p;
  weft_listener_t lis;
  static char text[4096];
  char url[200];
  size_t len = sizeof url;
  (void) state;
  api_opts(&opts, "max_message", "1KiB", NULL);
  api_pair_start(&p, &opts, NULL);
  assert_int_equal(weft_listener_init(&p.a, &lis), 0);
  lis.data = &p;
  assert_int_equal(weft_listen(&lis, api_listen_at(), 8, on_server), 0);
  assert_int_equal(weft_listener_addr(&lis, url, &len), 0);
  connected_with = 1;
  assert_int_equal(weft_conn_init(&p.b, &p.client), 0);
  assert_int_equal(weft_connect(&p.req, &p.client, url, NULL, on_connected), 0);
  api_recv(&p.client, &p.crx);
  uv_buf_t one = uv_buf_init(text, 3), two = uv_buf_init(text, 4096), three = uv_buf_init(text, 5);
  assert_int_equal(weft_try_send(&p.client, &one, 1), 0);
  assert_int_equal(weft_try_send(&p.client, &two, 1), 0);
  assert_int_equal(weft_try_send(&p.client, &three, 1), 0);
  RUN_UNTIL(&p.loop, 3000, connected_with == UV_EMSGSIZE || p.crx.errors == 1);
  assert_non_null(strstr(weft_conn_error(&p.client), "4096"));
  RUN_UNTIL(&p.loop, 3000, p.srx.errors == 1);
  assert_true(p.srx.messages <= 1); /* never the third without the second */
  weft_listener_close(&lis, NULL);
  api_pair_close(&p);
}

/* The receiver refuses it: the same. */
static void refuse(weft_conn_t *conn, size_t size, const uv_buf_t *head, uv_buf_t *dst) {
  (void) conn, (void) size, (void) head;
  *dst = uv_buf_init(NULL, 0);
}
static void test_refused(void **state) {
  api_pair_t p;
  static char text[60000];
  uv_buf_t buf = uv_buf_init(text, sizeof text), small = uv_buf_init(text, 5);
  (void) state;
  api_pair_open(&p, NULL, NULL, NULL);
  p.server.data = &p.srx;
  assert_int_equal(weft_recv_start(&p.server, refuse, api_on_recv), 0);
  api_recv(&p.client, &p.crx);
  assert_int_equal(weft_try_send(&p.client, &buf, 1), 0);
  assert_int_equal(weft_try_send(&p.client, &small, 1), 0);
  RUN_UNTIL(&p.loop, 3000, p.crx.errors == 1);
  assert_int_equal(p.crx.last_error, UV_ENOBUFS);
  assert_non_null(strstr(weft_conn_error(&p.client), "60000"));
  RUN_UNTIL(&p.loop, 3000, p.srx.errors == 1);
  api_pair_close(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_copies_and_arrives),
      cmocka_unit_test(test_limit_of_size),
      cmocka_unit_test(test_backpressure),
      cmocka_unit_test(test_receiver_that_does_not_read),
      cmocka_unit_test(test_after_shutdown),
      cmocka_unit_test(test_over_the_limit_that_came_later),
      cmocka_unit_test(test_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
