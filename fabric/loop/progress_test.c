/* SPDX-License-Identifier: Apache-2.0 */
/* progress_test.c - how long a loop spins for a connection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "loop/conn.h"

static weft__conn_t conn(uint32_t cpu, uint32_t spin_us, uint32_t max_us) {
  weft__conn_t c = {.state = WEFT__CN_OPEN, .spin_max_us = max_us};
  weft_qos_init(&c.qos, sizeof c.qos);
  c.qos.cpu = cpu;
  c.qos.spin_us = spin_us;
  return c;
}

static void test_needs_decide(void **state) {
  (void) state;
  weft__conn_t c = conn(WEFT_CPU_SPIN, 5000, UINT32_MAX);
  assert_int_equal(weft__spin_for(&c), 5000000);
  c.state = WEFT__CN_CONNECTING;
  assert_int_equal(weft__spin_for(&c), 0);
  c = conn(WEFT_CPU_SLEEP, 5000, UINT32_MAX);
  assert_int_equal(weft__spin_for(&c), 0);
  c = conn(WEFT_CPU_AUTO, 50, UINT32_MAX);
  assert_int_equal(weft__spin_for(&c), 0);
  c.qos.latency_ns = 20000;
  assert_int_equal(weft__spin_for(&c), 50000);
  c.qos.latency_ns = 50000;
  assert_int_equal(weft__spin_for(&c), 0);
}

static void test_a_peers_wish_has_a_limit(void **state) {
  (void) state;
  weft__conn_t c = conn(WEFT_CPU_SPIN, 5000, 200);
  assert_int_equal(weft__spin_for(&c), 200000);
  c.qos.spin_us = 50;
  assert_int_equal(weft__spin_for(&c), 50000);
}

/* ---- The listener's URL ---- */

static weft_conn_t server, client;
static int accepted, connected, closed;

static void on_peer(weft_listener_t *l, int status) {
  assert_int_equal(status, 0);
  assert_int_equal(weft_conn_init(l->data, &server), 0);
  assert_int_equal(weft_accept(l, &server), 0);
  accepted = 1;
}
static void on_connect(weft_connect_t *req, int status) {
  (void) req;
  assert_int_equal(status, 0);
  connected = 1;
}
static void on_closed(weft_t *w) {
  (void) w;
  closed = 1;
}

/* How long the accepting end spins for a peer that wishes 5 ms. */
static uint64_t spins_for_peer(const char *url) {
  char to[256];
  size_t len = sizeof to;
  weft_t w;
  weft_listener_t lis;
  weft_connect_t req;
  accepted = connected = closed = 0;
  assert_int_equal(weft_init(NULL, &w, NULL), 0);
  assert_int_equal(weft_listener_init(&w, &lis), 0);
  lis.data = &w;
  assert_int_equal(weft_listen(&lis, url, 1, on_peer), 0);
  assert_int_equal(weft_listener_addr(&lis, to, &len), 0);
  strcat(to, "?cpu=spin&spin=5ms");
  assert_int_equal(weft_conn_init(&w, &client), 0);
  assert_int_equal(weft_connect(&req, &client, to, NULL, on_connect), 0);
  uint64_t until = weft__clock_ns() + 20 * WEFT__S;
  while (!accepted || !connected) {
    assert_true(weft__clock_ns() < until);
    weft_process(&w);
    usleep(500);
  }
  uint64_t ns = weft__spin_for(server.priv);
  weft_close(&w, on_closed);
  while (!closed) {
    assert_true(weft__clock_ns() < until);
    weft_process(&w);
    usleep(500);
  }
  return ns;
}

static void test_the_listener_may_allow_more(void **state) {
  (void) state;
  assert_int_equal(spins_for_peer("weft://127.0.0.1:0"), 200000);
  assert_int_equal(spins_for_peer("weft://127.0.0.1:0?cpu=spin&spin=3ms"), 3000000);
  assert_int_equal(spins_for_peer("weft://127.0.0.1:0?cpu=spin&spin=50ms"), 5000000);
  assert_int_equal(spins_for_peer("weft://127.0.0.1:0?spin=3ms"), 200000); /* it does not spin */
}

static void test_price_is_the_least_of_late(void **state) {
  (void) state;
  uint64_t price = weft__price(0, 900);
  assert_int_equal(price, 900);
  price = weft__price(price, 40000000); /* the scheduler was in between */
  assert_in_range(price, 900, 1100);
  price = weft__price(price, 800);
  assert_int_equal(price, 800);
  for (int i = 0; i < 100; i++) price = weft__price(price, 5000); /* it does cost that now */
  assert_int_equal(price, 5000);
}

static void test_what_costs_comes_seldom(void **state) {
  (void) state;
  assert_int_equal(weft__spin_between(200000, 0), 200000);
  assert_int_equal(weft__spin_between(200000, 1000), 200000);
  assert_int_equal(weft__spin_between(200000, 20000), 1280000);
  assert_int_equal(weft__spin_between(200000, 5000000), 10000000); /* but it comes */
  assert_int_equal(weft__spin_between(200000, UINT64_MAX), 10000000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_needs_decide),
      cmocka_unit_test(test_a_peers_wish_has_a_limit),
      cmocka_unit_test(test_the_listener_may_allow_more),
      cmocka_unit_test(test_price_is_the_least_of_late),
      cmocka_unit_test(test_what_costs_comes_seldom),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
