/* SPDX-License-Identifier: Apache-2.0 */
/* api_echo.c - bytes arrive as they were sent: every size from nothing to 32 MiB, both ways, in
 * order. */
#include "lib_api.h"

typedef struct echo {
  weft_send_t req;
  weft_msg_t *msg;
} echo_t;

static unsigned echoed, echo_failed;

static void on_echoed(weft_send_t *req, int status) {
  echo_t *e = (echo_t *) req;
  if (status) echo_failed++;
  echoed++;
  weft_msg_release(e->msg);
  free(e);
}

/* The server sends every message back without copying it. */
static void on_server(weft_conn_t *conn, int status, weft_msg_t *msg) {
  if (status < 0) return;
  echo_t *e = malloc(sizeof *e);
  CHECK(e);
  e->msg = weft_msg_retain(msg);
  CHECK(e->msg);
  uv_buf_t buf = uv_buf_init((char *) weft_msg_data(e->msg), (unsigned) weft_msg_size(e->msg));
  CHECK(weft_send(&e->req, conn, &buf, 1, on_echoed) == 0);
}

static void on_sent(weft_send_t *req, int status) {
  CHECK(status == 0);
  ++*(unsigned *) req->data;
}

static void echo_sizes(const size_t *sizes, unsigned n, const weft_opts_t *opts) {
  api_pair_t p;
  weft_send_t *reqs = calloc(n, sizeof *reqs);
  char **bytes = calloc(n, sizeof *bytes);
  unsigned sent = 0;
  uint64_t hash = 0;
  assert_non_null(reqs);
  assert_non_null(bytes);
  echoed = echo_failed = 0;
  api_pair_open(&p, opts, opts, NULL);
  assert_int_equal(weft_recv_start(&p.server, NULL, on_server), 0);
  api_recv(&p.client, &p.crx);
  for (unsigned i = 0; i < n; i++) {
    bytes[i] = malloc(sizes[i] + 1);
    assert_non_null(bytes[i]);
    api_fill(bytes[i], sizes[i], i + 1);
    hash = api_hash(api_hash(hash, &sizes[i], sizeof sizes[i]), bytes[i], sizes[i]);
    uv_buf_t buf = uv_buf_init(bytes[i], (unsigned) sizes[i]);
    reqs[i].data = &sent;
    assert_int_equal(weft_send(&reqs[i], &p.client, &buf, 1, on_sent), 0);
  }
  RUN_UNTIL(&p.loop, 20000, p.crx.messages == n && sent == n && echoed == n);
  assert_int_equal(p.crx.hash, hash);
  assert_int_equal(echo_failed, 0);
  api_pair_close(&p);
  for (unsigned i = 0; i < n; i++) free(bytes[i]);
  free(bytes);
  free(reqs);
}

static void test_small(void **state) {
  static const size_t sizes[] = {0,  1,   2,   7,    8,    9,     63, 64,
                                 65, 255, 256, 1000, 4096, 16000, 0,  16300};
  (void) state;
  echo_sizes(sizes, sizeof sizes / sizeof sizes[0], NULL);
}

static void test_around_one_frame(void **state) {
  size_t sizes[64];
  (void) state;
  for (unsigned i = 0; i < 64; i++) sizes[i] = 16384 - 64 - 8 - 32 + i;
  echo_sizes(sizes, 64, NULL);
}

static void test_large(void **state) {
  static const size_t sizes[] = {20000, 65536, 100001, 1 << 20, (4 << 20) + 5, 32 << 20};
  (void) state;
  echo_sizes(sizes, sizeof sizes / sizeof sizes[0], NULL);
}

static void test_mixed(void **state) {
  size_t sizes[300];
  (void) state;
  for (unsigned i = 0; i < 300; i++) sizes[i] = i % 10 == 9 ? 50000 + 1000 * i : i * 7 % 3000;
  echo_sizes(sizes, 300, NULL);
}

static void test_small_windows(void **state) {
  size_t sizes[500];
  weft_opts_t opts;
  (void) state;
  api_opts(&opts, "window_bytes", "64KiB", "window_messages", "16", "rx_depth", "8", "tx_depth",
           "8", NULL);
  for (unsigned i = 0; i < 500; i++) sizes[i] = i % 50 == 49 ? 200000 : i * 37 % 15000;
  echo_sizes(sizes, 500, &opts);
}

static void test_many_pieces(void **state) {
  enum { PIECES = 40 };
  api_pair_t p;
  weft_send_t req;
  uv_buf_t bufs[PIECES];
  char bytes[PIECES * 1000];
  unsigned sent = 0;
  size_t total = 0;
  (void) state;
  api_fill(bytes, sizeof bytes, 3);
  for (unsigned i = 0; i < PIECES; i++) { /* pieces of every size, also of none */
    bufs[i] = uv_buf_init(bytes + total, i * 10);
    total += i * 10;
  }
  uint64_t hash = api_hash(api_hash(0, &total, sizeof total), bytes, total);
  api_pair_open(&p, NULL, NULL, NULL);
  api_recv(&p.server, &p.srx);
  req.data = &sent;
  assert_int_equal(weft_send(&req, &p.client, bufs, PIECES, on_sent), 0);
  memset(bufs, 0xee, sizeof bufs); /* the array is copied */
  RUN_UNTIL(&p.loop, 3000, sent == 1 && p.srx.messages == 1);
  assert_int_equal(p.srx.hash, hash);
  api_pair_close(&p);
}

/* Both ends send at the same time, as much as they can. */
static void test_both_ways(void **state) {
  enum { N = 2000 };
  api_pair_t p;
  static weft_send_t reqs[2][N];
  static char bytes[2][40000];
  unsigned sent = 0;
  uint64_t bytes_in_all = 0;
  (void) state;
  api_pair_open(&p, NULL, NULL, NULL);
  api_recv(&p.server, &p.srx);
  api_recv(&p.client, &p.crx);
  for (unsigned i = 0; i < N; i++) {
    size_t size = i % 100 == 0 ? sizeof bytes[0] : i % 500;
    bytes_in_all += size;
    for (int k = 0; k < 2; k++) {
      uv_buf_t buf = uv_buf_init(bytes[k], (unsigned) size);
      reqs[k][i].data = &sent;
      assert_int_equal(weft_send(&reqs[k][i], k ? &p.server : &p.client, &buf, 1, on_sent), 0);
    }
  }
  RUN_UNTIL(&p.loop, 10000, sent == 2 * N && p.srx.messages == N && p.crx.messages == N);
  assert_int_equal(p.srx.bytes, bytes_in_all);
  assert_int_equal(p.crx.bytes, bytes_in_all);
  api_pair_close(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_small),         cmocka_unit_test(test_around_one_frame),
      cmocka_unit_test(test_large),         cmocka_unit_test(test_mixed),
      cmocka_unit_test(test_small_windows), cmocka_unit_test(test_many_pieces),
      cmocka_unit_test(test_both_ways),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
