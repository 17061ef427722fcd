/* SPDX-License-Identifier: Apache-2.0 */
/* reasons_test.c - the table of reason codes is complete and says something. */
#include "reasons.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "weft_qos.h"

/* The codes of weft_qos.h, written down a second time: a number is for ever. */
static const struct {
  int why;
  int number;
} stable[] = {
    {WEFT_WHY_OK, 0},
    {WEFT_WHY_IN_USE, 1},
    {WEFT_WHY_STANDBY, 2},
    {WEFT_WHY_NO_DEVICE, 10},
    {WEFT_WHY_NO_PROVIDER, 11},
    {WEFT_WHY_NOT_BUILT, 12},
    {WEFT_WHY_NO_ADDRESS, 13},
    {WEFT_WHY_LINK_DOWN, 14},
    {WEFT_WHY_QUIRK, 15},
    {WEFT_WHY_LOOPBACK, 16},
    {WEFT_WHY_PEER_LACKS, 20},
    {WEFT_WHY_PEER_VETO, 21},
    {WEFT_WHY_UNREACHABLE, 22},
    {WEFT_WHY_TIMEOUT, 23},
    {WEFT_WHY_NO_PROOF, 24},
    {WEFT_WHY_DIED, 25},
    {WEFT_WHY_FORBIDDEN, 30},
    {WEFT_WHY_NOT_REQUIRED, 31},
    {WEFT_WHY_DEVICE_FILTER, 32},
    {WEFT_WHY_POLICY_RULE, 33},
    {WEFT_WHY_TOO_SLOW, 40},
    {WEFT_WHY_OUTRANKED, 41},
    {WEFT_WHY_SYSTEM, 50},
};

static void numbers_are_stable_and_all_have_texts(void **state) {
  size_t i;
  int why;
  (void) state;
  for (i = 0; i < sizeof(stable) / sizeof(stable[0]); i++) {
    assert_int_equal(stable[i].why, stable[i].number);
    assert_int_equal(strncmp(weft_why_name(stable[i].why), "WEFT_WHY_", 9), 0);
    assert_string_not_equal(weft_why_name(stable[i].why), "WEFT_WHY_?");
    assert_true(strlen(weft__why_text(stable[i].why)) > 3);
    assert_true(strlen(weft_why_help(stable[i].why)) > 10);
  }
  assert_int_equal(weft__why_at((unsigned) i, &why), -ENOENT);
}

static void the_table_has_no_code_twice(void **state) {
  unsigned i, j;
  int a, b;
  (void) state;
  for (i = 0; weft__why_at(i, &a) == 0; i++)
    for (j = 0; j < i; j++) {
      assert_int_equal(weft__why_at(j, &b), 0);
      assert_int_not_equal(a, b);
      assert_string_not_equal(weft_why_name(a), weft_why_name(b));
    }
}

static void unknown_codes_have_texts_too(void **state) {
  (void) state;
  assert_string_equal(weft_why_name(999), "WEFT_WHY_?");
  assert_non_null(weft_why_help(-1));
  assert_string_equal(weft__why_text(999), "?");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(numbers_are_stable_and_all_have_texts),
      cmocka_unit_test(the_table_has_no_code_twice),
      cmocka_unit_test(unknown_codes_have_texts_too),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
