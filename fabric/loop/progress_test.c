/* SPDX-License-Identifier: Apache-2.0 */
/* progress_test.c - how long a loop spins for a connection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_needs_decide),
      cmocka_unit_test(test_a_peers_wish_has_a_limit),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
