/* SPDX-License-Identifier: Apache-2.0 */
/* msg_test.c - memory of large messages: used again, and never showing what another connection received. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "loop/conn.h"

enum { SIZE = 1 << 20 };

static unsigned count(const uint8_t *p, size_t n, uint8_t v) {
  unsigned found = 0;
  for (size_t i = 0; i < n; i++) found += p[i] == v;
  return found;
}

static void test_wiped_for_another_connection(void **state) {
  static weft__core_t core;
  (void) state;
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

int main(void) {
  static const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_wiped_for_another_connection),
      cmocka_unit_test(test_same_connection_gets_its_own_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
