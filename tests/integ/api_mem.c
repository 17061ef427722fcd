/* SPDX-License-Identifier: Apache-2.0 */
/* api_mem.c - memory of weft_mem_alloc and weft_mem_register: what is sent from it is registered once, however
 * often, and large messages are not copied.
 *
 * Design notes
 *  - Over tcp nothing that is sent needs registration; tests/vm runs this over verbs, where each
 *    registration is a call of the kernel. What is asserted holds for both.
 *  - The client's context opens nothing to its peer here, so all it registers is what it sends.
 *
 * ctest: timeout=90 */
#include "lib_api.h"

enum { SMALL = 64, LARGE = 200000, SENDS = 10000, AT_ONCE = 50, LARGE_EVERY = 100 };

static int sent;
static void on_sent(weft_send_t *req, int status) {
  (void) req;
  CHECK(status == 0);
  sent++;
}

static weft_conn_info_t info_of(const weft_conn_t *c) {
  weft_conn_info_t i;
  assert_int_equal(weft_conn_info(c, &i, sizeof i), 0);
  return i;
}

static void send_all(api_pair_t *p, char *base, int n) {
  static weft_send_t reqs[AT_ONCE];
  for (int done = 0; done < n; done += AT_ONCE) {
    sent = 0;
    for (int k = 0; k < AT_ONCE; k++) {
      bool large = (done + k) % LARGE_EVERY == 0;
      uv_buf_t buf = uv_buf_init(base + (large ? 0 : k * SMALL), large ? LARGE : SMALL);
      assert_int_equal(weft_send(&reqs[k], &p->client, &buf, 1, on_sent), 0);
    }
    RUN_UNTIL(&p->loop, 10000, sent == AT_ONCE);
  }
}

static void run(api_pair_t *p, char *base) {
  weft_conn_info_t before, after;
  send_all(p, base, AT_ONCE);
  before = info_of(&p->client);
  send_all(p, base, SENDS);
  after = info_of(&p->client);
  assert_int_equal(after.tx_messages - before.tx_messages, SENDS);
  assert_int_equal(after.tx_large - before.tx_large, SENDS / LARGE_EVERY);
  assert_int_equal(after.registrations, before.registrations);
  assert_int_equal(after.payload_copies, 0);
  assert_int_equal(info_of(&p->server).payload_copies, 0);
  assert_int_equal(p->srx.messages, SENDS + AT_ONCE);
}

static void test_allocated(void **state) {
  api_pair_t p;
  uv_buf_t mem;
  (void) state;
  api_pair_open(&p, NULL, NULL, NULL);
  api_recv(&p.server, &p.srx);
  assert_int_equal(weft_mem_alloc(&p.b, LARGE, &mem), 0);
  api_fill(mem.base, LARGE, 1);
  run(&p, mem.base);
  weft_mem_free(&p.b, &mem);
  assert_null(mem.base);
  api_pair_close(&p);
}

static void test_registered(void **state) {
  api_pair_t p;
  weft_mem_t *mem;
  char *own = malloc(LARGE);
  (void) state;
  assert_non_null(own);
  api_fill(own, LARGE, 2);
  api_pair_open(&p, NULL, NULL, NULL);
  api_recv(&p.server, &p.srx);
  assert_int_equal(weft_mem_register(&p.b, own, LARGE, &mem), 0);
  run(&p, own);
  weft_mem_unregister(mem);
  api_pair_close(&p);
  free(own);
}

/* More than what is registered at once: it may be used at once, and is known soon. */
static void test_much(void **state) {
  enum { MUCH = 32 << 20 };
  api_pair_t p;
  uv_buf_t mem;
  weft_conn_info_t i;
  (void) state;
  api_pair_open(&p, NULL, NULL, NULL);
  api_recv(&p.server, &p.srx);
  uint64_t before = info_of(&p.client).registrations;
  assert_int_equal(weft_mem_alloc(&p.b, MUCH, &mem), 0);
  api_fill(mem.base, MUCH, 4);
  char *end = mem.base + MUCH - LARGE;
  send_all(&p, end, AT_ONCE);
  i = info_of(&p.client);
  if (strcmp(i.provider, "verbs") == 0)
    RUN_UNTIL(&p.loop, 20000, info_of(&p.client).registrations >= before + 1);
  for (uint64_t was = 0; was != i.registrations; i = info_of(&p.client)) { /* other rails */
    was = i.registrations;
    RUN_FOR(&p.loop, 200);
  }
  memset(&p.srx, 0, sizeof p.srx);
  run(&p, end);
  weft_mem_free(&p.b, &mem);
  api_pair_close(&p);
}

/* The counter counts: memory that Weft does not know is registered for each large message, where registration is
 * needed at all; a destination always is. */
static void test_unknown_memory(void **state) {
  api_pair_t p;
  char *own = malloc(LARGE);
  (void) state;
  assert_non_null(own);
  api_fill(own, LARGE, 3);
  api_pair_open(&p, NULL, NULL, NULL);
  api_recv(&p.server, &p.srx);
  weft_conn_info_t b0 = info_of(&p.client), a0 = info_of(&p.server);
  send_all(&p, own, 2 * LARGE_EVERY);
  weft_conn_info_t b1 = info_of(&p.client), a1 = info_of(&p.server);
  assert_int_equal(b1.registrations - b0.registrations, strcmp(b1.provider, "verbs") == 0 ? 2 : 0);
  assert_true(a1.registrations - a0.registrations >= 2);
  api_pair_close(&p);
  free(own);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_allocated),
      cmocka_unit_test(test_registered),
      cmocka_unit_test(test_much),
      cmocka_unit_test(test_unknown_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
