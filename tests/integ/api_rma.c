/* SPDX-License-Identifier: Apache-2.0 */
/* api_rma.c - how large messages move: by whose operation, and how often Weft copies them. */
#include "lib_api.h"

enum { SIZE = 5 << 20, N = 3 };

static int sent;
static void on_sent(weft_send_t *req, int status) {
  (void) req;
  CHECK(status == 0);
  sent++;
}

static char *given[N];
static int allocs, landed;
static void on_alloc(weft_conn_t *conn, size_t size, const uv_buf_t *head, uv_buf_t *dst) {
  (void) conn;
  CHECK(size == SIZE && head->len > 0 && allocs < N);
  *dst = uv_buf_init(given[allocs++], SIZE);
}
static void on_recv(weft_conn_t *conn, int status, weft_msg_t *msg) {
  (void) conn;
  CHECK(status == 0 && weft_msg_data(msg) == given[landed]); /* it lies where it was to land */
  landed++;
}

/* Three messages from this memory; what both ends counted. */
static void move(api_pair_t *p, const uv_buf_t *from, weft_conn_info_t *tx, weft_conn_info_t *rx) {
  weft_send_t reqs[N];
  sent = 0;
  for (int i = 0; i < N; i++)
    assert_int_equal(weft_send(&reqs[i], &p->client, from, 1, on_sent), 0);
  RUN_UNTIL(&p->loop, 10000, sent == N);
  assert_int_equal(weft_conn_info(&p->client, tx, sizeof *tx), 0);
  assert_int_equal(weft_conn_info(&p->server, rx, sizeof *rx), 0);
}

/* To the byte, where no path died in the middle: then some of them moved twice. */
static void all_by_rma(const weft_conn_info_t *i, bool died) {
  bool reads = strcmp(i->provider, "verbs") == 0;
  assert_int_equal(i->payload_copies, 0);
  if (died) return;
  assert_int_equal(i->bytes_read, reads ? N * SIZE : 0);
  assert_int_equal(i->bytes_written, reads ? 0 : N * SIZE);
}

static void both_by_rma(const weft_conn_info_t *tx, const weft_conn_info_t *rx) {
  bool died = tx->migrations + rx->migrations != 0;
  all_by_rma(tx, died);
  all_by_rma(rx, died);
}

/* Into memory that Weft allocates. */
static void test_no_copy(void **state) {
  api_pair_t p;
  weft_conn_info_t tx, rx;
  uv_buf_t from = uv_buf_init(malloc(SIZE), SIZE);
  (void) state;
  api_fill(from.base, SIZE, 1);
  api_pair_open(&p, NULL, NULL, NULL);
  api_recv(&p.server, &p.srx);
  move(&p, &from, &tx, &rx);
  both_by_rma(&tx, &rx);
  assert_int_equal(p.srx.messages, N);
  uint64_t hash = 0;
  size_t size = SIZE;
  for (int i = 0; i < N; i++) hash = api_hash(api_hash(hash, &size, sizeof size), from.base, SIZE);
  assert_int_equal(p.srx.hash, hash);
  size_t len = 0;
  char text[64], *json;
  assert_int_equal(weft_conn_info_json(&p.server, NULL, &len), UV_ENOBUFS);
  json = malloc(++len);
  assert_int_equal(weft_conn_info_json(&p.server, json, &len), 0);
  snprintf(text, sizeof text, "\"bytes_read\":%llu", (unsigned long long) rx.bytes_read);
  assert_non_null(strstr(json, text));
  snprintf(text, sizeof text, "\"bytes_written\":%llu", (unsigned long long) rx.bytes_written);
  assert_non_null(strstr(json, text));
  free(json);
  free(from.base);
  api_pair_close(&p);
}

/* From weft_mem_alloc memory into the program's own: no copy, but on libfabric's tcp, for there a
 * write could outlive its message. */
static void test_into_the_users_memory(void **state) {
  api_pair_t p;
  weft_conn_info_t tx, rx;
  uv_buf_t from;
  (void) state;
  api_pair_open(&p, NULL, NULL, NULL);
  assert_int_equal(weft_mem_alloc(&p.b, SIZE, &from), 0);
  api_fill(from.base, SIZE, 2);
  for (int i = 0; i < N; i++) given[i] = calloc(1, SIZE);
  allocs = landed = 0;
  assert_int_equal(weft_recv_start(&p.server, on_alloc, on_recv), 0);
  move(&p, &from, &tx, &rx);
  assert_int_equal(landed, N);
  if (strcmp(tx.provider, "tcp") != 0) {
    both_by_rma(&tx, &rx);
  } else {
    assert_int_equal(rx.payload_copies, N * SIZE);
    assert_int_equal(rx.bytes_read + rx.bytes_written, 0);
  }
  for (int i = 0; i < N; i++) {
    assert_memory_equal(given[i], from.base, SIZE);
    free(given[i]);
  }
  weft_mem_free(&p.b, &from);
  api_pair_close(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_no_copy),
      cmocka_unit_test(test_into_the_users_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
