/* SPDX-License-Identifier: Apache-2.0 */
/* units_test.c - durations, sizes, rates and lists, read and written. */
#include "units.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "weft_qos.h"

struct sample {
  const char *text;
  uint64_t value;
};

static void good(int (*parse)(const char *, uint64_t *), const struct sample *samples) {
  for (; samples->text != NULL; samples++) {
    uint64_t v = 4711;
    if (parse(samples->text, &v) != 0 || v != samples->value)
      fail_msg("'%s': got %llu", samples->text, (unsigned long long) v);
  }
}

static void bad(int (*parse)(const char *, uint64_t *), const char *const *texts) {
  for (; *texts != NULL; texts++) {
    uint64_t v = 4711;
    if (parse(*texts, &v) != -EINVAL || v != 4711) fail_msg("'%s' was taken", *texts);
  }
}

static void durations_are_read(void **state) {
  static const struct sample samples[] = {{"0", 0},
                                          {"0.0", 0},
                                          {"0s", 0},
                                          {"1ns", 1},
                                          {"20us", 20000},
                                          {"1.5us", 1500},
                                          {"250ms", 250000000},
                                          {"5s", 5000000000},
                                          {"2min", 120000000000},
                                          {"007ms", 7000000},
                                          {"0.0000000015s", 1},
                                          {"1.00000000000000000000000001s", 1000000000},
                                          {"18446744073709551615ns", UINT64_MAX},
                                          {NULL, 0}};
  static const char *const texts[] = {"",
                                      "1",
                                      "1.5",
                                      "s",
                                      "-1s",
                                      "+1s",
                                      " 1s",
                                      "1s ",
                                      "1 s",
                                      "1.s",
                                      ".5s",
                                      "1e3ms",
                                      "0x1s",
                                      "1S",
                                      "1m",
                                      "1h",
                                      "1MS",
                                      "1ss",
                                      "1,5s",
                                      "18446744073709551616ns",
                                      "18446744073709552us",
                                      "99999999999999999999999999s",
                                      "1B",
                                      "1s/s",
                                      NULL};
  (void) state;
  good(weft__parse_duration_ns, samples);
  bad(weft__parse_duration_ns, texts);
  assert_int_equal(weft__parse_duration_ns(NULL, NULL), -EINVAL);
}

static void sizes_are_read(void **state) {
  static const struct sample samples[] = {{"0", 0},
                                          {"64B", 64},
                                          {"1kB", 1000},
                                          {"1KB", 1000},
                                          {"1KiB", 1024},
                                          {"64MiB", 64 << 20},
                                          {"1.5GiB", UINT64_C(3) << 29},
                                          {"2GB", 2000000000},
                                          {"16TiB", UINT64_C(16) << 40},
                                          {"0.5B", 0},
                                          {NULL, 0}};
  static const char *const texts[] = {"1",  "",   "64",          "1mB",    "1Mib",  "1M",
                                      "1G", "1b", "16777216TiB", "1MiB/s", "1 MiB", NULL};
  (void) state;
  good(weft__parse_bytes, samples);
  bad(weft__parse_bytes, texts);
}

static void rates_are_read_with_and_without_per_second(void **state) {
  static const struct sample samples[] = {{"1GB", 1000000000},
                                          {"1GB/s", 1000000000},
                                          {"10Gbit/s", 1250000000},
                                          {"10Gbit", 1250000000},
                                          {"100Mbit/s", 12500000},
                                          {"1.5kbit/s", 187},
                                          {"0", 0},
                                          {NULL, 0}};
  static const char *const texts[] = {"1", "/s", "1/s", "1GB/m", "1GB/s/s", "1Gbits", "1bps", NULL};
  (void) state;
  good(weft__parse_rate, samples);
  bad(weft__parse_rate, texts);
}

static void counts_are_bounded_and_bare(void **state) {
  uint64_t v = 4711;
  (void) state;
  assert_int_equal(weft__parse_count("15", 15, &v), 0);
  assert_int_equal(v, 15);
  assert_int_equal(weft__parse_count("16", 15, &v), -EINVAL);
  assert_int_equal(weft__parse_count("1.0", 15, &v), -EINVAL);
  assert_int_equal(weft__parse_count("1B", 15, &v), -EINVAL);
  assert_int_equal(weft__parse_count("", 15, &v), -EINVAL);
  assert_int_equal(weft__parse_count(NULL, 15, &v), -EINVAL);
  assert_int_equal(v, 15);
}

static void lists(void **state) {
  char longest[WEFT_LIST_MAX + 1];
  (void) state;
  assert_int_equal(weft__check_list(""), 0);
  assert_int_equal(weft__check_list("verbs"), 0);
  assert_int_equal(weft__check_list("verbs,tcp;ofi_rxm"), 0);
  assert_int_equal(weft__check_list(",verbs"), -EINVAL);
  assert_int_equal(weft__check_list("verbs,"), -EINVAL);
  assert_int_equal(weft__check_list("verbs,,tcp"), -EINVAL);
  assert_int_equal(weft__check_list("verbs, tcp"), -EINVAL);
  assert_int_equal(weft__check_list("verbs\n"), -EINVAL);
  memset(longest, 'a', sizeof(longest));
  longest[WEFT_LIST_MAX] = '\0';
  assert_int_equal(weft__check_list(longest), -EINVAL);
  assert_int_equal(weft__check_list(longest + 1), 0);

  assert_true(weft__list_has("verbs,tcp", "tcp"));
  assert_true(weft__list_has("verbs,tcp", "verbs"));
  assert_false(weft__list_has("verbs,tcp", "verb"));
  assert_false(weft__list_has("verbs,tcp", "tcpx"));
  assert_false(weft__list_has("", "tcp"));
  assert_false(weft__list_has("", ""));
}

static void values_are_written_for_people(void **state) {
  char b[24];
  (void) state;
  assert_string_equal(weft__format_duration(0, b, sizeof(b)), "0 ns");
  assert_string_equal(weft__format_duration(999, b, sizeof(b)), "999 ns");
  assert_string_equal(weft__format_duration(1500, b, sizeof(b)), "1.5 us");
  assert_string_equal(weft__format_duration(20000, b, sizeof(b)), "20 us");
  assert_string_equal(weft__format_duration(125400, b, sizeof(b)), "125 us");
  assert_string_equal(weft__format_duration(5000000000, b, sizeof(b)), "5 s");
  assert_string_equal(weft__format_bytes(64, b, sizeof(b)), "64 B");
  assert_string_equal(weft__format_bytes(UINT64_MAX, b, sizeof(b)), "16777216 TiB");
  assert_string_equal(weft__format_bytes(3 << 19, b, sizeof(b)), "1.5 MiB");
  assert_string_equal(weft__format_rate(1250000000, b, sizeof(b)), "1.25 GB/s");
  assert_string_equal(weft__format_rate(999999, b, sizeof(b)), "1000 kB/s");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(durations_are_read),
      cmocka_unit_test(sizes_are_read),
      cmocka_unit_test(rates_are_read_with_and_without_per_second),
      cmocka_unit_test(counts_are_bounded_and_bare),
      cmocka_unit_test(lists),
      cmocka_unit_test(values_are_written_for_people),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
