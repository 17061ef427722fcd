/* SPDX-License-Identifier: Apache-2.0 */
/* qos_test.c - needs by name, presets, structs of other sizes. */
#include "qos.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "weft_qos.h"

static weft_qos_t fresh(void) {
  weft_qos_t q;
  memset(&q, 0xa5, sizeof(q));
  weft_qos_init(&q, sizeof(q));
  return q;
}

static void defaults(void **state) {
  weft_qos_t q = fresh();
  (void) state;
  assert_int_equal(q.size, sizeof(q));
  assert_int_equal(q.latency_ns, 0);
  assert_int_equal(q.bandwidth, 0);
  assert_int_equal(q.message_size, 64);
  assert_int_equal(q.interruption_ms, 1000);
  assert_int_equal(q.reliability, WEFT_EXACTLY_ONCE);
  assert_int_equal(q.ack, WEFT_ACK_RECEIVED);
  assert_int_equal(q.cpu, WEFT_CPU_AUTO);
  assert_int_equal(q.spin_us, 50);
  assert_int_equal(q.strict, 0);
  assert_int_equal(q.standby, 1);
  assert_string_equal(q.require, "");
}

static void every_need_is_set_by_name(void **state) {
  weft_qos_t q = fresh();
  (void) state;
  assert_int_equal(weft_qos_set(&q, "latency", "20us"), 0);
  assert_int_equal(q.latency_ns, 20000);
  assert_int_equal(weft_qos_set(&q, "bandwidth", "1GB"), 0);
  assert_int_equal(q.bandwidth, 1000000000);
  assert_int_equal(weft_qos_set(&q, "size", "4096"), 0);
  assert_int_equal(q.message_size, 4096);
  assert_int_equal(weft_qos_set(&q, "size", "1MiB"), 0);
  assert_int_equal(q.message_size, 1 << 20);
  assert_int_equal(weft_qos_set(&q, "interruption", "500ms"), 0);
  assert_int_equal(q.interruption_ms, 500);
  assert_int_equal(weft_qos_set(&q, "interruption", "10us"), 0);
  assert_int_equal(q.interruption_ms, 1); /* never 0, which says "no need" */
  assert_int_equal(weft_qos_set(&q, "reliability", "at-most-once"), 0);
  assert_int_equal(q.reliability, WEFT_AT_MOST_ONCE);
  assert_int_equal(weft_qos_set(&q, "reliability", "exactly-once"), 0);
  assert_int_equal(q.reliability, WEFT_EXACTLY_ONCE);
  assert_int_equal(weft_qos_set(&q, "ack", "consumed"), 0);
  assert_int_equal(q.ack, WEFT_ACK_CONSUMED);
  assert_int_equal(weft_qos_set(&q, "cpu", "sleep"), 0);
  assert_int_equal(q.cpu, WEFT_CPU_SLEEP);
  assert_int_equal(weft_qos_set(&q, "cpu", "spin"), 0);
  assert_int_equal(q.cpu, WEFT_CPU_SPIN);
  assert_int_equal(weft_qos_set(&q, "spin", "10us"), 0);
  assert_int_equal(q.spin_us, 10);
  assert_int_equal(weft_qos_set(&q, "strict", "yes"), 0);
  assert_int_equal(q.strict, 1);
  assert_int_equal(weft_qos_set(&q, "standby", "3"), 0);
  assert_int_equal(q.standby, 3);
  assert_int_equal(weft_qos_set(&q, "require", "verbs,tcp"), 0);
  assert_string_equal(q.require, "verbs,tcp");
  assert_int_equal(weft_qos_set(&q, "require", "tcp"), 0);
  assert_string_equal(q.require, "tcp");
  assert_int_equal(q.require[4], 0); /* no rest of the longer one */
  assert_int_equal(q.require[5], 0);
  assert_int_equal(weft_qos_set(&q, "forbid", "net"), 0);
  assert_string_equal(q.forbid, "net");
  assert_int_equal(weft_qos_set(&q, "bootstrap", "tcp"), 0);
  assert_string_equal(q.bootstrap, "tcp");
}

static void bad_values_leave_the_need_alone(void **state) {
  static const struct {
    const char *key, *val;
    int err;
  } cases[] = {
      {"latency", "20", -EINVAL},       {"latency", "", -EINVAL},
      {"latency", "20MB", -EINVAL},     {"bandwidth", "1", -EINVAL},
      {"size", "-1", -EINVAL},          {"size", "64MB/s", -EINVAL},
      {"reliability", "once", -EINVAL}, {"reliability", "1", -EINVAL},
      {"reliability", "", -EINVAL},     {"ack", "Received", -EINVAL},
      {"cpu", "yes", -EINVAL},          {"spin", "5000s", -EINVAL},
      {"strict", "1", -EINVAL},         {"standby", "16", -EINVAL},
      {"standby", "1.5", -EINVAL},      {"require", "a,,b", -EINVAL},
      {"preset", "turbo", -EINVAL},     {"preset", "", -EINVAL},
      {"lateny", "20us", -ENOENT},      {"", "1", -ENOENT},
      {"Latency", "20us", -ENOENT},
  };
  const weft_qos_t untouched = fresh();
  size_t i;
  (void) state;
  for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    weft_qos_t q = fresh();
    if (weft_qos_set(&q, cases[i].key, cases[i].val) != cases[i].err)
      fail_msg("%s=%s", cases[i].key, cases[i].val);
    assert_memory_equal(&q, &untouched, sizeof(q));
  }
  assert_int_equal(weft_qos_set(NULL, "latency", "1us"), -EINVAL);
}

static void presets_set_their_needs_and_leave_the_others(void **state) {
  weft_qos_t q = fresh();
  (void) state;
  assert_int_equal(weft_qos_set(&q, "require", "tcp"), 0);
  assert_int_equal(weft_qos_set(&q, "preset", "realtime"), 0);
  assert_int_equal(q.latency_ns, 50000);
  assert_int_equal(q.cpu, WEFT_CPU_SPIN);
  assert_int_equal(q.interruption_ms, 200);
  assert_string_equal(q.require, "tcp");
  assert_int_equal(weft_qos_set(&q, "preset", "interactive"), 0);
  assert_int_equal(q.latency_ns, 1000000);
  assert_int_equal(weft_qos_set(&q, "preset", "background"), 0);
  assert_int_equal(q.latency_ns, 0);
  assert_int_equal(q.standby, 0);
  assert_int_equal(weft_qos_set(&q, "preset", "bulk"), 0);
  assert_int_equal(q.message_size, 1 << 20);
  assert_int_equal(q.cpu, WEFT_CPU_SLEEP);
}

/* A program built against an older header has a smaller struct: nothing beyond it is touched. */
static void a_smaller_struct_is_respected(void **state) {
  union {
    weft_qos_t q;
    unsigned char bytes[sizeof(weft_qos_t)];
  } u;
  size_t old = offsetof(weft_qos_t, strict);
  size_t i;
  (void) state;
  memset(&u, 0xa5, sizeof(u));
  weft_qos_init(&u.q, old);
  assert_int_equal(u.q.size, old);
  assert_int_equal(u.q.spin_us, 50);
  assert_int_equal(weft_qos_set(&u.q, "latency", "1us"), 0);
  assert_int_equal(weft_qos_set(&u.q, "strict", "yes"), -ENOENT);
  assert_int_equal(weft_qos_set(&u.q, "require", "tcp"), -ENOENT);
  assert_int_equal(weft_qos_set(&u.q, "preset", "background"), 0);
  for (i = old; i < sizeof(u); i++) assert_int_equal(u.bytes[i], 0xa5);
}

static void a_larger_struct_is_zeroed(void **state) {
  struct {
    weft_qos_t q;
    uint64_t future;
  } s;
  (void) state;
  memset(&s, 0xa5, sizeof(s));
  weft_qos_init(&s.q, sizeof(s));
  assert_int_equal(s.q.size, sizeof(s));
  assert_int_equal(s.future, 0);
}

static void every_need_says_what_it_expects(void **state) {
  unsigned i;
  (void) state;
  for (i = 0; weft__qos_key(i) != NULL; i++) {
    weft_qos_t q = fresh();
    assert_non_null(weft__qos_expects(weft__qos_key(i)));
    assert_int_equal(weft_qos_set(&q, weft__qos_key(i), "?,,?"), -EINVAL);
  }
  assert_int_equal(i, 14);
  assert_null(weft__qos_expects("lateny"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(defaults),
      cmocka_unit_test(every_need_is_set_by_name),
      cmocka_unit_test(bad_values_leave_the_need_alone),
      cmocka_unit_test(presets_set_their_needs_and_leave_the_others),
      cmocka_unit_test(every_need_says_what_it_expects),
      cmocka_unit_test(a_smaller_struct_is_respected),
      cmocka_unit_test(a_larger_struct_is_zeroed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
