/* SPDX-License-Identifier: Apache-2.0 */
/* err_test.c - every code has a name and a text; unknown ones neither crash nor leak. */
#include "weft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void own_codes(void **state) {
  (void) state;
#define XX(name, code, text)                                                                       \
  assert_string_equal(weft_err_name(WEFT_##name), "WEFT_" #name);                                  \
  assert_string_equal(weft_strerror(WEFT_##name), text);                                           \
  assert_true(WEFT_##name <= -5000);
  WEFT_ERRNO_MAP(XX)
#undef XX
}

static void codes_of_libuv(void **state) {
  (void) state;
  assert_string_equal(weft_err_name(UV_ECONNREFUSED), "UV_ECONNREFUSED");
  assert_string_equal(weft_err_name(-ENOENT), "UV_ENOENT");
  assert_string_equal(weft_err_name(UV_EOF), "UV_EOF");
  assert_string_equal(weft_err_name(UV_EAI_NONAME), "UV_EAI_NONAME");
#define XX(name, text)                                                                             \
  assert_string_equal(weft_strerror(UV_##name), text);                                             \
  assert_int_equal(strncmp(weft_err_name(UV_##name), "UV_", 3), 0);
  UV_ERRNO_MAP(XX)
#undef XX
}

static void others(void **state) {
  (void) state;
  assert_string_equal(weft_err_name(0), "OK");
  assert_string_equal(weft_strerror(0), "success");
  assert_string_equal(weft_err_name(-9999), "UNKNOWN");
  assert_string_equal(weft_strerror(-9999), "unknown error");
  assert_string_equal(weft_strerror(12345), "unknown error");
}

static void the_version_is_the_header_s(void **state) {
  char expected[32];
  (void) state;
  snprintf(expected, sizeof(expected), "%d.%d.%d", WEFT_VERSION_MAJOR, WEFT_VERSION_MINOR,
           WEFT_VERSION_PATCH);
  assert_string_equal(weft_version(), expected);
#ifdef WEFT_VERSION_STRING
  assert_string_equal(weft_version(), WEFT_VERSION_STRING);
#endif
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(own_codes),
      cmocka_unit_test(codes_of_libuv),
      cmocka_unit_test(others),
      cmocka_unit_test(the_version_is_the_header_s),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
