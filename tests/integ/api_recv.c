/* SPDX-License-Identifier: Apache-2.0 */
/* api_recv.c - receiving: stop and start, the end of a stream, destinations and refusals of large
 * messages, keeping. */
#include "lib_api.h"

#include <pthread.h>

static int sent_ok, sent_other, last_sent;
static void on_sent(weft_send_t *req, int status) {
  (void) req;
  last_sent = status;
  if (status == 0)
    sent_ok++;
  else
    sent_other++;
}
static void on_shut(weft_shutdown_t *req, int status) {
  CHECK(status == 0);
  ++*(int *) req->data;
}

static char *bytes(size_t n, unsigned seed) {
  char *p = malloc(n);
  CHECK(p);
  api_fill(p, n, seed);
  return p;
}

static int setup(void **state) {
  (void) state;
  sent_ok = sent_other = last_sent = 0;
  return 0;
}

static void test_stop_holds_and_the_window_closes(void **state) {
  enum { N = 3000 };
  api_pair_t p;
  weft_opts_t opts;
  weft_conn_info_t info;
  static weft_send_t reqs[N];
  char msg[100] = "x";
  uv_buf_t buf = uv_buf_init(msg, sizeof msg);
  (void) state;
  api_opts(&opts, "window_messages", "100", NULL);
  api_pair_open(&p, &opts, NULL, NULL);
  api_recv(&p.server, &p.srx);
  assert_int_equal(weft_recv_stop(&p.server), 0);
  for (unsigned i = 0; i < N; i++)
    assert_int_equal(weft_send(&reqs[i], &p.client, &buf, 1, on_sent), 0);
  RUN_FOR(&p.loop, 200);
  assert_int_equal(p.srx.messages, 0);
  assert_true(sent_ok <=
              100); /* "sent" says that the peer's session has it: the window bounds that */
  assert_true(weft_conn_queued_bytes(&p.client) >= (N - 100) * sizeof msg);
  assert_int_equal(weft_conn_info(&p.server, &info, sizeof info), 0);
  assert_true(info.held_messages > 0 && info.held_messages <= 100);
  assert_int_equal(weft_recv_start(&p.server, NULL, api_on_recv), 0);
  RUN_UNTIL(&p.loop, 5000, p.srx.messages == N && sent_ok == N);
  assert_int_equal(weft_conn_queued_bytes(&p.client), 0);
  api_pair_close(&p);
}

static unsigned stop_after;
static void on_recv_stopping(weft_conn_t *conn, int status, weft_msg_t *msg) {
  api_rx_t *rx = conn->data;
  CHECK(rx->messages < stop_after); /* nothing after the stop */
  api_on_recv(conn, status, msg);
  if (rx->messages == stop_after) CHECK(weft_recv_stop(conn) == 0);
}

static void test_stop_inside_the_callback(void **state) {
  enum { N = 200 };
  api_pair_t p;
  static weft_send_t reqs[N];
  uv_buf_t buf = uv_buf_init((char *) "hello", 5);
  (void) state;
  api_pair_open(&p, NULL, NULL, NULL);
  p.server.data = &p.srx;
  for (unsigned i = 0; i < N; i++)
    assert_int_equal(weft_send(&reqs[i], &p.client, &buf, 1, on_sent), 0);
  for (stop_after = 1; stop_after <= N; stop_after += 33) {
    assert_int_equal(weft_recv_start(&p.server, NULL, on_recv_stopping), 0);
    RUN_UNTIL(&p.loop, 3000, p.srx.messages == stop_after);
    RUN_FOR(&p.loop, 20);
    assert_int_equal(p.srx.messages, stop_after);
  }
  api_pair_close(&p);
}

static void test_half_close(void **state) {
  api_pair_t p;
  weft_send_t req;
  uv_buf_t buf = uv_buf_init((char *) "hello", 5);
  int shut = 0;
  (void) state;
  api_pair_open(&p, NULL, NULL, NULL);
  api_recv(&p.server, &p.srx);
  api_recv(&p.client, &p.crx);
  p.creq.data = p.sreq.data = &shut;
  assert_int_equal(weft_shutdown(&p.creq, &p.client, on_shut), 0);
  RUN_UNTIL(&p.loop, 3000, p.srx.eofs == 1 && shut == 1);
  /* the other direction is open */
  assert_int_equal(weft_send(&req, &p.server, &buf, 1, on_sent), 0);
  RUN_UNTIL(&p.loop, 3000, p.crx.messages == 1 && sent_ok == 1);
  assert_int_equal(weft_shutdown(&p.sreq, &p.server, on_shut), 0);
  RUN_UNTIL(&p.loop, 3000, p.crx.eofs == 1 && shut == 2);
  RUN_FOR(&p.loop, 100);
  assert_int_equal(p.srx.eofs, 1);
  assert_int_equal(p.crx.eofs, 1);
  assert_int_equal(p.srx.errors + p.crx.errors, 0); /* an orderly end is no error */
  api_pair_close(&p);
}

static void test_eof_waits_for_start(void **state) {
  api_pair_t p;
  int shut = 0;
  (void) state;
  api_pair_open(&p, NULL, NULL, NULL);
  p.creq.data = &shut;
  assert_int_equal(weft_shutdown(&p.creq, &p.client, on_shut), 0);
  RUN_UNTIL(&p.loop, 3000, shut == 1);
  api_recv(&p.server, &p.srx);
  assert_int_equal(p.srx.eofs, 0);
  RUN_UNTIL(&p.loop, 3000, p.srx.eofs == 1);
  api_pair_close(&p);
}

static void test_peer_close_is_a_reset_once(void **state) {
  api_pair_t p;
  (void) state;
  api_pair_open(&p, NULL, NULL, NULL);
  api_recv(&p.server, &p.srx);
  weft_conn_close(&p.client, api_conn_closed);
  RUN_UNTIL(&p.loop, 3000, p.srx.errors == 1);
  assert_int_equal(p.srx.last_error, UV_ECONNRESET);
  assert_string_not_equal(weft_conn_error(&p.server), "");
  RUN_FOR(&p.loop, 50);
  assert_int_equal(p.srx.errors, 1);
  weft_conn_close(&p.server, NULL);
  api_pair_close(&p);
}

static void test_error_waits_for_start(void **state) {
  api_pair_t p;
  (void) state;
  api_pair_open(&p, NULL, NULL, NULL);
  api_recv(&p.server, &p.srx);
  weft_recv_stop(&p.server);
  weft_conn_close(&p.client, NULL);
  RUN_FOR(&p.loop, 100);
  assert_int_equal(p.srx.errors, 0);
  assert_int_equal(weft_recv_start(&p.server, NULL, api_on_recv), 0);
  assert_int_equal(p.srx.errors, 0); /* not inside the call */
  RUN_UNTIL(&p.loop, 3000, p.srx.errors == 1);
  api_pair_close(&p);
}

/* The peer was told that it has them: they come although it has closed since, and before the error.
 */
static void test_what_was_acknowledged_outlives_the_peer(void **state) {
  enum { N = 50, LARGE = 1 << 20 };
  api_pair_t p;
  static weft_send_t reqs[N + 1];
  char *large = bytes(LARGE, 3);
  uv_buf_t buf = uv_buf_init((char *) "hello", 5), big = uv_buf_init(large, LARGE);
  (void) state;
  for (int once = 0; once < 2; once++) {
    sent_ok = 0;
    memset(&p, 0, sizeof p);
    api_pair_open(&p, NULL, NULL, NULL);
    for (unsigned i = 0; i < N; i++)
      assert_int_equal(weft_send(&reqs[i], &p.client, &buf, 1, on_sent), 0);
    RUN_UNTIL(&p.loop, 3000, sent_ok == N);
    if (once) { /* behind them one that has not arrived whole: it will not come */
      assert_int_equal(weft_send(&reqs[N], &p.client, &big, 1, on_sent), 0);
      RUN_FOR(&p.loop, 50);
    }
    weft_conn_close(&p.client, NULL);
    RUN_UNTIL(&p.loop, 3000, *weft_conn_error(&p.server) != 0);
    RUN_FOR(&p.loop, 100); /* its paths are closed by now */
    p.server.data = &p.srx;
    stop_after = 20;
    assert_int_equal(weft_recv_start(&p.server, NULL, on_recv_stopping), 0);
    assert_int_equal(p.srx.messages, 0); /* not inside the call */
    RUN_UNTIL(&p.loop, 3000, p.srx.messages == 20);
    RUN_FOR(&p.loop, 50);
    assert_int_equal(p.srx.errors, 0); /* 30 are still to come */
    /* not told of it yet, but nothing can be sent any more */
    assert_int_equal(weft_send(&reqs[0], &p.server, &buf, 1, on_sent), UV_ENOTCONN);
    assert_int_equal(weft_try_send(&p.server, &buf, 1), UV_ENOTCONN);
    assert_int_equal(weft_recv_start(&p.server, NULL, api_on_recv), 0);
    RUN_UNTIL(&p.loop, 3000, p.srx.errors == 1);
    assert_int_equal(p.srx.messages, N);
    assert_int_equal(p.srx.last_error, UV_ECONNRESET);
    RUN_FOR(&p.loop, 20);
    assert_int_equal(p.srx.errors, 1);
    api_pair_close(&p);
  }
  free(large);
}

/* ---- Large messages ---- */

static char *given;
static size_t asked, head_len, give;
static char head[256];
static int allocs;
static void on_alloc(weft_conn_t *conn, size_t size, const uv_buf_t *h, uv_buf_t *dst) {
  (void) conn;
  allocs++;
  asked = size;
  head_len = h->len;
  CHECK(h->len <= sizeof head);
  memcpy(head, h->base, h->len);
  *dst = uv_buf_init(give ? given : NULL, (unsigned) give);
}
static const void *landed;
static void on_recv_large(weft_conn_t *conn, int status, weft_msg_t *msg) {
  if (msg) landed = weft_msg_data(msg);
  api_on_recv(conn, status, msg);
}

static void test_large_lands_in_our_memory(void **state) {
  enum { N = 3 << 20 };
  api_pair_t p;
  weft_send_t req;
  (void) state;
  char *from = bytes(N, 7);
  given = malloc(N);
  give = N;
  allocs = 0;
  uv_buf_t buf = uv_buf_init(from, N);
  api_pair_open(&p, NULL, NULL, NULL);
  memset(&p.srx, 0, sizeof p.srx);
  p.server.data = &p.srx;
  assert_int_equal(weft_recv_start(&p.server, on_alloc, on_recv_large), 0);
  assert_int_equal(weft_send(&req, &p.client, &buf, 1, on_sent), 0);
  RUN_UNTIL(&p.loop, 5000, p.srx.messages == 1 && sent_ok == 1);
  assert_int_equal(allocs, 1);
  assert_int_equal(asked, N);
  assert_int_equal(head_len, 256);
  assert_memory_equal(head, from, 256);
  assert_ptr_equal(landed, given);
  assert_memory_equal(given, from, N);
  api_pair_close(&p);
  free(from);
  free(given);
}

static void test_refusing_a_large_message(void **state) {
  enum { N = 1 << 20 };
  api_pair_t p;
  weft_send_t reqs[3];
  (void) state;
  char *from = bytes(N, 8);
  uv_buf_t large = uv_buf_init(from, N), small = uv_buf_init(from, 10);
  given = malloc(N);
  api_pair_open(&p, NULL, NULL, NULL);
  memset(&p.srx, 0, sizeof p.srx);
  p.server.data = &p.srx;
  for (give = 0; give <= N / 2; give += N / 2) { /* nothing, and too little */
    setup(NULL);
    if (give == 0) assert_int_equal(weft_recv_start(&p.server, on_alloc, on_recv_large), 0);
    unsigned before = p.srx.messages;
    assert_int_equal(weft_send(&reqs[0], &p.client, &small, 1, on_sent), 0);
    assert_int_equal(weft_send(&reqs[1], &p.client, &large, 1, on_sent), 0);
    assert_int_equal(weft_send(&reqs[2], &p.client, &small, 1, on_sent), 0);
    RUN_UNTIL(&p.loop, 5000, sent_ok == 2 && sent_other == 1);
    RUN_UNTIL(&p.loop, 5000, p.srx.messages == before + 2);
  }
  assert_int_equal(p.srx.errors, 0);
  api_pair_close(&p);
  free(from);
  free(given);
}

static void test_refused_status(void **state) {
  api_pair_t p;
  weft_send_t req;
  (void) state;
  char *from = bytes(1 << 20, 8);
  uv_buf_t large = uv_buf_init(from, 1 << 20);
  give = 0;
  api_pair_open(&p, NULL, NULL, NULL);
  p.server.data = &p.srx;
  assert_int_equal(weft_recv_start(&p.server, on_alloc, on_recv_large), 0);
  assert_int_equal(weft_send(&req, &p.client, &large, 1, on_sent), 0);
  RUN_UNTIL(&p.loop, 5000, sent_other == 1);
  assert_int_equal(last_sent, UV_ENOBUFS);
  api_pair_close(&p);
  free(from);
}

static int closed;
static void on_closed(weft_conn_t *conn) {
  (void) conn;
  closed++;
  free(given); /* after close_cb nobody may write to it */
  given = NULL;
}

static void test_close_while_a_large_one_arrives(void **state) {
  enum { N = 32 << 20 };
  (void) state;
  char *from = bytes(N, 9);
  for (int turns = 1; turns < 60; turns += 7) {
    api_pair_t p;
    weft_send_t req;
    uv_buf_t buf = uv_buf_init(from, N);
    closed = 0;
    given = malloc(N);
    give = N;
    allocs = 0;
    api_pair_open(&p, NULL, NULL, NULL);
    memset(&p.srx, 0, sizeof p.srx);
    p.server.data = &p.srx;
    assert_int_equal(weft_recv_start(&p.server, on_alloc, on_recv_large), 0);
    assert_int_equal(weft_send(&req, &p.client, &buf, 1, on_sent), 0);
    RUN_UNTIL(&p.loop, 3000, allocs == 1);
    for (int i = 0; i < turns; i++) uv_run(&p.loop, UV_RUN_NOWAIT);
    weft_conn_close(&p.server, on_closed);
    RUN_UNTIL(&p.loop, 5000, closed == 1);
    api_pair_close(&p);
  }
  free(from);
}

/* ---- Keeping messages ---- */

enum { KEPT = 64 };
static weft_msg_t *kept[KEPT];
static unsigned n_kept;
static void on_recv_keep(weft_conn_t *conn, int status, weft_msg_t *msg) {
  api_on_recv(conn, status, msg);
  if (!msg) return;
  CHECK(n_kept < KEPT);
  kept[n_kept] = weft_msg_retain(msg);
  CHECK(kept[n_kept]);
  n_kept++;
}

static void *release_all(void *arg) {
  size_t *sizes = arg;
  char expect[70000];
  for (unsigned i = 0; i < KEPT; i++) {
    CHECK(weft_msg_size(kept[i]) == sizes[i]);
    api_fill(expect, sizes[i], i);
    CHECK(memcmp(weft_msg_data(kept[i]), expect, sizes[i]) == 0);
    weft_msg_release(kept[i]);
  }
  return NULL;
}

static void test_kept_messages_outlive_the_connection(void **state) {
  api_pair_t p;
  static weft_send_t reqs[KEPT];
  size_t sizes[KEPT];
  char *data[KEPT];
  pthread_t thread;
  (void) state;
  n_kept = 0;
  api_pair_open(&p, NULL, NULL, NULL);
  memset(&p.srx, 0, sizeof p.srx);
  p.server.data = &p.srx;
  assert_int_equal(weft_recv_start(&p.server, NULL, on_recv_keep), 0);
  for (unsigned i = 0; i < KEPT; i++) {
    sizes[i] = i % 8 == 7 ? 60000 + i : 100 * i;
    data[i] = bytes(sizes[i] + 1, i);
    api_fill(data[i], sizes[i], i);
    uv_buf_t buf = uv_buf_init(data[i], (unsigned) sizes[i]);
    assert_int_equal(weft_send(&reqs[i], &p.client, &buf, 1, on_sent), 0);
  }
  RUN_UNTIL(&p.loop, 5000, n_kept == KEPT && sent_ok == KEPT);
  closed = 0;
  given = NULL;
  weft_conn_close(&p.server, on_closed);
  RUN_UNTIL(&p.loop, 3000, closed == 1);
  assert_int_equal(pthread_create(&thread, NULL, release_all, sizes), 0);
  RUN_FOR(&p.loop, 20);
  pthread_join(thread, NULL);
  api_pair_close(&p);
  for (unsigned i = 0; i < KEPT; i++) free(data[i]);
}

static void on_recv_twice(weft_conn_t *conn, int status, weft_msg_t *msg) {
  api_on_recv(conn, status, msg);
  if (!msg) return;
  weft_msg_t *a = weft_msg_retain(msg), *b = weft_msg_retain(msg), *c = weft_msg_retain(a);
  CHECK(a && a == b && a == c);
  weft_msg_release(a);
  weft_msg_release(b);
  CHECK(memcmp(weft_msg_data(c), "hello", 5) == 0);
  weft_msg_release(c);
  weft_msg_release(NULL);
}

static void test_retain_counts(void **state) {
  api_pair_t p;
  weft_send_t req;
  uv_buf_t buf = uv_buf_init((char *) "hello", 5);
  (void) state;
  api_pair_open(&p, NULL, NULL, NULL);
  memset(&p.srx, 0, sizeof p.srx);
  p.server.data = &p.srx;
  assert_int_equal(weft_recv_start(&p.server, NULL, on_recv_twice), 0);
  assert_int_equal(weft_send(&req, &p.client, &buf, 1, on_sent), 0);
  RUN_UNTIL(&p.loop, 3000, p.srx.messages == 1);
  api_pair_close(&p);
}

/* Keeping everything must never starve the receive queue: below the low-water mark copies are kept.
 */
static weft_msg_t **hoard;
static unsigned n_hoard;
static void on_recv_hoard(weft_conn_t *conn, int status, weft_msg_t *msg) {
  api_on_recv(conn, status, msg);
  if (msg) CHECK((hoard[n_hoard++] = weft_msg_retain(msg)) != NULL);
}
static void test_hoarding(void **state) {
  enum { N = 20000 };
  api_pair_t p;
  weft_opts_t opts;
  char text[3000];
  (void) state;
  weft_send_t *reqs = calloc(N, sizeof *reqs);
  hoard = calloc(N, sizeof *hoard);
  n_hoard = 0;
  api_opts(&opts, "pool_bytes", "4MiB", NULL);
  api_pair_open(&p, &opts, NULL, NULL);
  memset(&p.srx, 0, sizeof p.srx);
  p.server.data = &p.srx;
  assert_int_equal(weft_recv_start(&p.server, NULL, on_recv_hoard), 0);
  memset(text, 'x', sizeof text);
  uv_buf_t buf = uv_buf_init(text, sizeof text);
  for (unsigned i = 0; i < N; i++)
    assert_int_equal(weft_send(&reqs[i], &p.client, &buf, 1, on_sent), 0);
  RUN_UNTIL(&p.loop, 20000, sent_ok == N && n_hoard == N);
  for (unsigned i = 0; i < N; i++) {
    assert_memory_equal(weft_msg_data(hoard[i]), text, sizeof text);
    weft_msg_release(hoard[i]);
  }
  api_pair_close(&p);
  free(reqs);
  free(hoard);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(test_stop_holds_and_the_window_closes, setup),
      cmocka_unit_test_setup(test_stop_inside_the_callback, setup),
      cmocka_unit_test_setup(test_half_close, setup),
      cmocka_unit_test_setup(test_eof_waits_for_start, setup),
      cmocka_unit_test_setup(test_peer_close_is_a_reset_once, setup),
      cmocka_unit_test_setup(test_error_waits_for_start, setup),
      cmocka_unit_test_setup(test_what_was_acknowledged_outlives_the_peer, setup),
      cmocka_unit_test_setup(test_large_lands_in_our_memory, setup),
      cmocka_unit_test_setup(test_refusing_a_large_message, setup),
      cmocka_unit_test_setup(test_refused_status, setup),
      cmocka_unit_test_setup(test_close_while_a_large_one_arrives, setup),
      cmocka_unit_test_setup(test_kept_messages_outlive_the_connection, setup),
      cmocka_unit_test_setup(test_retain_counts, setup),
      cmocka_unit_test_setup(test_hoarding, setup),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
