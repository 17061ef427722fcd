/* SPDX-License-Identifier: Apache-2.0 */
/* msg_test.c - memory of large messages: used again, and never showing what another connection
 * received. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "loop/conn.h"

enum { SIZE = 1 << 20 };

/* As if every path had been heard since, or none. */
static void heard(weft__core_t *core, bool all) {
  core->heard_until = UINT64_MAX;
  core->heard_since = all ? UINT64_MAX : 0;
}

static unsigned count(const uint8_t *p, size_t n, uint8_t v) {
  unsigned found = 0;
  for (size_t i = 0; i < n; i++) found += p[i] == v;
  return found;
}

static void test_wiped_for_another_connection(void **state) {
  static weft__core_t core;
  (void) state;
  heard(&core, true);
  weft__big_t *b = weft__big_get(&core, 1, SIZE);
  assert_non_null(b);
  memset(weft__big_data(b), 0xa5, SIZE);
  weft__big_unref(b);
  weft__big_t *again = weft__big_get(&core, 2, SIZE - 100);
  assert_ptr_equal(again, b); /* or this test shows nothing */
  assert_int_equal(count(weft__big_data(again), SIZE - 100, 0), SIZE - 100);
  weft__big_unref(again);
  weft__msgs_free(&core);
}

static void test_same_connection_gets_its_own_back(void **state) {
  static weft__core_t core;
  weft__big_t *b[3];
  (void) state;
  heard(&core, false); /* its own needs no waiting */
  for (unsigned i = 0; i < 3; i++) {
    b[i] = weft__big_get(&core, i, SIZE);
    assert_non_null(b[i]);
    memset(weft__big_data(b[i]), 0xa0 + (int) i, SIZE);
  }
  for (unsigned i = 0; i < 3; i++) weft__big_unref(b[i]);
  for (unsigned i = 0; i < 3; i++) { /* not wiped: no time is spent where nothing can be seen */
    weft__big_t *own = weft__big_get(&core, i, SIZE);
    assert_ptr_equal(own, b[i]);
    assert_int_equal(count(weft__big_data(own), SIZE, (uint8_t) (0xa0 + i)), SIZE);
  }
  for (unsigned i = 0; i < 3; i++) weft__big_unref(b[i]);
  weft__msgs_free(&core);
}

/* Somebody may still write to it: it goes to nobody else, and its addresses are not the system's
 * again. */
static void test_waits_until_every_path_was_heard(void **state) {
  static weft__core_t core;
  enum { HUGE_SIZE = 32 << 20 };
  (void) state;
  heard(&core, false);
  weft__big_t *small = weft__big_get(&core, 1, SIZE), *huge = weft__big_get(&core, 1, HUGE_SIZE);
  memset(weft__big_data(small), 0xa5, SIZE);
  memset(weft__big_data(huge), 0xa5, HUGE_SIZE);
  weft__big_unref(small);
  weft__big_unref(huge);
  weft__big_t *other_small = weft__big_get(&core, 2, SIZE),
              *other_huge = weft__big_get(&core, 2, HUGE_SIZE);
  assert_ptr_not_equal(other_small, small);
  assert_ptr_not_equal(other_huge, huge);
  /* late bytes: no fault, and nobody sees them */
  memset(weft__big_data(small), 0xbb, SIZE);
  memset(weft__big_data(huge), 0xbb, HUGE_SIZE);
  assert_int_equal(count(weft__big_data(other_small), SIZE, 0), SIZE);
  assert_int_equal(count(weft__big_data(other_huge), HUGE_SIZE, 0), HUGE_SIZE);
  /* its own connection may have it back */
  weft__big_t *again = weft__big_get(&core, 1, HUGE_SIZE);
  assert_ptr_equal(again, huge);
  weft__big_unref(again);
  heard(&core, true);
  weft__big_t *third = weft__big_get(&core, 3, SIZE);
  assert_ptr_equal(third, small);
  assert_int_equal(count(weft__big_data(third), SIZE, 0), SIZE);
  assert_null(core.big_limbo);
  weft__big_unref(third);
  weft__big_unref(other_small);
  weft__big_unref(other_huge);
  weft__msgs_free(&core);
}

int main(void) {
  static const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_wiped_for_another_connection),
      cmocka_unit_test(test_same_connection_gets_its_own_back),
      cmocka_unit_test(test_waits_until_every_path_was_heard),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
