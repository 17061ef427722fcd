/* SPDX-License-Identifier: Apache-2.0 */
/* rank_test.c - who comes first, who is left out, and what it says about it. */
#include "rank.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

enum { MAX = 16 };

static weft_verdict_t out[MAX];
static unsigned order[MAX];

static weft_qos_t needs_of(const char *key, const char *val) {
  weft_qos_t q;
  weft_qos_init(&q, sizeof(q));
  if (key != NULL) assert_int_equal(weft_qos_set(&q, key, val), 0);
  return q;
}

static const struct weft__cand_view mixed[] = {
    {.provider = "tcp", .device = "eth0", .local = "10.0.0.1", .speed_bps = 10000000000},
    {.provider = "tcp", .device = "lo", .local = "127.0.0.1", .flags = WEFT__CAND_LOOPBACK},
    {.provider = "verbs", .device = "mlx5_0", .local = "10.0.0.1", .speed_bps = 100000000000},
    {.provider = "ksock", .device = "eth0", .local = "10.0.0.1", .speed_bps = 10000000000},
    {.provider = "dpdk", .device = "net0", .local = "10.0.0.1", .speed_bps = 10000000000},
    {.provider = "net", .device = "eth0", .why = WEFT_WHY_QUIRK, .detail = "spins"},
};

enum { MIXED = sizeof(mixed) / sizeof(mixed[0]) };

static void providers_are_ordered_and_loopback_is_last(void **state) {
  static const unsigned expected[MIXED] = {2, 4, 3, 0, 1, 5};
  unsigned i;
  (void) state;
  assert_int_equal(weft__rank(NULL, NULL, mixed, MIXED, out, order), 5);
  for (i = 0; i < MIXED; i++) {
    assert_int_equal(order[i], expected[i]);
    assert_int_equal(out[i].size, sizeof(out[i]));
    assert_int_equal(out[i].rank, i < 5 ? (int) i : -1);
    assert_string_equal(out[i].provider, mixed[expected[i]].provider);
    assert_string_equal(out[i].device, mixed[expected[i]].device);
    assert_true(strlen(out[i].detail) > 4);
    assert_int_equal(out[i].reserved[0], 0);
  }
  assert_int_equal(out[5].why, WEFT_WHY_QUIRK);
  assert_string_equal(out[5].detail, "spins");
  assert_int_equal(out[5].latency_ns, 0);
  assert_int_equal(out[0].bandwidth, 12500000000);
  assert_string_equal(out[0].detail, "usual for verbs on a link of 100 Gbit/s");
  assert_string_equal(out[4].detail, "usual for tcp, the link does not say its speed; loopback: "
                                     "for this machine only");
}

static void equal_figures_fall_back_on_the_fixed_order(void **state) {
  static const struct weft__cand_view equal[] = {
      {.provider = "zzz", .latency_ns = 20000, .speed_bps = 8000000000},
      {.provider = "aaa", .latency_ns = 20000, .speed_bps = 8000000000},
      {.provider = "tcp", .device = "b", .latency_ns = 20000, .speed_bps = 8000000000},
      {.provider = "tcp",
       .device = "a",
       .local = "2",
       .latency_ns = 20000,
       .speed_bps = 8000000000},
      {.provider = "tcp",
       .device = "a",
       .local = "1",
       .latency_ns = 20000,
       .speed_bps = 8000000000},
      {.provider = "ksock", .latency_ns = 20000, .speed_bps = 8000000000},
      {.provider = "dpdk", .latency_ns = 20000, .speed_bps = 8000000000},
      {.provider = "verbs", .latency_ns = 20000, .speed_bps = 8000000000},
  };
  static const unsigned expected[] = {7, 6, 5, 4, 3, 2, 1, 0};
  weft_qos_t q = needs_of("size", "0");
  (void) state;
  assert_int_equal(weft__rank(&q, NULL, equal, 8, out, order), 8);
  assert_memory_equal(order, expected, sizeof(expected));
}

/* Whatever the order of the input, the verdicts are the same. */
static void the_order_of_the_input_does_not_matter(void **state) {
  weft_verdict_t first[MIXED];
  struct weft__cand_view shuffled[MIXED];
  unsigned round, i;
  (void) state;
  weft__rank(NULL, NULL, mixed, MIXED, first, NULL);
  memcpy(shuffled, mixed, sizeof(mixed));
  srand(7);
  for (round = 0; round < 200; round++) {
    for (i = MIXED - 1; i > 0; i--) {
      unsigned j = (unsigned) rand() % (i + 1);
      struct weft__cand_view t = shuffled[i];
      shuffled[i] = shuffled[j];
      shuffled[j] = t;
    }
    weft__rank(NULL, NULL, shuffled, MIXED, out, NULL);
    assert_memory_equal(out, first, sizeof(first));
  }
}

static void measurement_beats_reputation(void **state) {
  static const struct weft__cand_view c[] = {
      {.provider = "verbs", .device = "rxe0", .latency_ns = 90000, .flags = WEFT__CAND_MEASURED},
      {.provider = "tcp", .device = "eth0", .latency_ns = 25000, .flags = WEFT__CAND_MEASURED},
  };
  (void) state;
  assert_int_equal(weft__rank(NULL, NULL, c, 2, out, order), 2);
  assert_int_equal(order[0], 1);
  assert_non_null(strstr(out[0].detail, "measured"));
}

/* Low latency on a thin link, high bandwidth with more latency: the message's size decides. */
static void the_size_of_the_message_decides(void **state) {
  static const struct weft__cand_view c[] = {
      {.provider = "ksock", .device = "thin", .latency_ns = 20000, .speed_bps = 1000000000},
      {.provider = "tcp", .device = "fat", .latency_ns = 60000, .speed_bps = 100000000000},
  };
  weft_qos_t small = needs_of("size", "64"), big = needs_of("size", "1MiB");
  (void) state;
  weft__rank(&small, NULL, c, 2, out, order);
  assert_int_equal(order[0], 0);
  weft__rank(&big, NULL, c, 2, out, order);
  assert_int_equal(order[0], 1);
}

static void the_cost_grows_with_the_size_and_never_wraps(void **state) {
  static const uint64_t sizes[] = {0, 1, 64, 4096, 65536, 65537, 1 << 20, 1 << 30, UINT64_MAX};
  unsigned i, k;
  (void) state;
  for (k = 0; k < MIXED; k++)
    for (i = 1; i < sizeof(sizes) / sizeof(sizes[0]); i++)
      assert_true(weft__rank_cost_ns(&mixed[k], sizes[i]) >=
                  weft__rank_cost_ns(&mixed[k], sizes[i - 1]));
  struct weft__cand_view slow = {.provider = "tcp", .speed_bps = 1, .latency_ns = UINT64_MAX};
  assert_int_equal(weft__rank_cost_ns(&slow, UINT64_MAX), UINT64_MAX);
}

static void needs_and_options_filter_with_a_reason(void **state) {
  struct weft__rank_filter filter = {.devices = "eth0"};
  weft_qos_t q = needs_of("require", "tcp,ksock");
  unsigned i;
  (void) state;
  assert_int_equal(weft_qos_set(&q, "forbid", "ksock"), 0);
  assert_int_equal(weft__rank(&q, &filter, mixed, MIXED, out, order), 1);
  assert_int_equal(order[0], 0);
  for (i = 1; i < MIXED; i++) {
    assert_int_equal(out[i].rank, -1);
    switch (order[i]) {
    case 1:
      assert_int_equal(out[i].why, WEFT_WHY_DEVICE_FILTER);
      assert_string_equal(out[i].detail, "devices=eth0 leaves lo out");
      break;
    case 2:
    case 4: assert_int_equal(out[i].why, WEFT_WHY_NOT_REQUIRED); break;
    case 3:
      assert_int_equal(out[i].why, WEFT_WHY_FORBIDDEN);
      assert_string_equal(out[i].detail, "forbid=ksock");
      break;
    case 5: assert_int_equal(out[i].why, WEFT_WHY_QUIRK); break;
    default: fail();
    }
  }

  filter.devices = NULL;
  filter.providers = "verbs";
  assert_int_equal(weft__rank(NULL, &filter, mixed, MIXED, out, order), 1);
  assert_string_equal(out[0].provider, "verbs");
  assert_int_equal(out[1].why, WEFT_WHY_NOT_REQUIRED);
  assert_non_null(strstr(out[1].detail, "option providers=verbs"));
}

static void the_system_s_reasons(void **state) {
  static const struct weft__cand_view c[] = {
      {.provider = "tcp", .device = "eth1", .flags = WEFT__CAND_LINK_DOWN},
      {.provider = "tcp", .device = "eth2", .flags = WEFT__CAND_NO_ADDRESS},
      {.provider = "verbs", .why = WEFT_WHY_NO_DEVICE},
  };
  (void) state;
  assert_int_equal(weft__rank(NULL, NULL, c, 3, out, order), 0);
  assert_string_equal(out[0].provider, "verbs");
  assert_string_equal(out[0].detail, "no device"); /* no sentence came with it: the table's */
  assert_int_equal(out[1].why, WEFT_WHY_LINK_DOWN);
  assert_string_equal(out[1].detail, "the link of eth1 is down");
  assert_int_equal(out[2].why, WEFT_WHY_NO_ADDRESS);
}

static void strict_needs_reject_with_figures(void **state) {
  weft_qos_t q = needs_of("latency", "20us");
  (void) state;
  assert_int_equal(weft_qos_set(&q, "strict", "yes"), 0);
  assert_int_equal(weft__rank(&q, NULL, mixed, MIXED, out, order), 2);
  assert_int_equal(order[0], 2);
  assert_int_equal(order[1], 4);
  assert_string_equal(out[2].provider, "ksock");
  assert_int_equal(out[2].why, WEFT_WHY_TOO_SLOW);
  assert_string_equal(out[2].detail, "expected 30.1 us round trip of 64 B, needed: 20 us");

  q = needs_of("bandwidth", "5GB");
  assert_int_equal(weft_qos_set(&q, "strict", "yes"), 0);
  assert_int_equal(weft__rank(&q, NULL, mixed, MIXED, out, order), 1);
  assert_string_equal(out[1].detail, "expected 1.25 GB/s, needed: 5 GB/s");
}

/* Not strict: the best is taken, those that meet the needs come first, and the miss is told. */
static void lax_needs_order_and_tell(void **state) {
  static const struct weft__cand_view c[] = {
      {.provider = "tcp", .device = "near", .latency_ns = 20000, .speed_bps = 1000000000},
      {.provider = "tcp", .device = "fat", .latency_ns = 60000, .speed_bps = 100000000000},
  };
  weft_qos_t q = needs_of("bandwidth", "1GB");
  (void) state;
  assert_int_equal(weft__rank(&q, NULL, c, 2, out, order), 2);
  assert_int_equal(order[0], 1);
  assert_int_equal(out[1].why, WEFT_WHY_OK);
  assert_int_equal(out[1].rank, 1);
  assert_string_equal(out[1].detail,
                      "usable, but misses a need: expected 125 MB/s, needed: 1 GB/s");
}

static void what_is_outranked_hears_by_whom_and_by_how_much(void **state) {
  static const struct weft__cand_view c[] = {
      {.provider = "tcp", .device = "eth0", .local = "10.0.0.1"},
      {.provider = "tcp", .device = "eth1", .local = "10.0.0.2"},
      {.provider = "verbs", .device = "mlx5_0", .local = "10.0.0.3"},
      {.provider = "tcp", .device = "eth2", .speed_bps = 1000000, .local = "10.0.0.4"},
  };
  enum { N = sizeof(c) / sizeof(c[0]) };
  weft_verdict_t v[N];
  weft_qos_t needs;
  char text[160];
  (void) state;
  weft_qos_init(&needs, sizeof(needs));
  assert_int_equal(weft__rank(&needs, NULL, c, N, v, NULL), N);
  assert_string_equal(v[0].provider, "verbs");
  assert_string_equal(v[1].device, "eth0");
  assert_string_equal(v[3].device, "eth2");
  weft__rank_outranked(&needs, &v[0], &v[1], text, sizeof(text));
  assert_string_equal(text, "verbs mlx5_0 10.0.0.3 takes 5.03 us for 64 B, this one 35.1 us");
  weft__rank_outranked(&needs, &v[1], &v[2], text, sizeof(text));
  assert_string_equal(
      text,
      "tcp eth0 10.0.0.1 takes 35.1 us for 64 B as this one, and comes first in the fixed order");
  weft__rank_outranked(&needs, &v[2], &v[1], text, sizeof(text));
  assert_non_null(strstr(text, "tcp eth1 10.0.0.2"));
  weft__rank_outranked(&needs, &v[3], &v[0], text, sizeof(text)); /* slower, and yet before it */
  assert_string_equal(text, "tcp eth2 10.0.0.4 comes first");
  needs.bandwidth = 1000000;
  assert_int_equal(weft__rank(&needs, NULL, c, N, v, NULL), N);
  weft__rank_outranked(&needs, &v[0], &v[3], text, sizeof(text));
  assert_string_equal(text,
                      "verbs mlx5_0 10.0.0.3 meets the needs; here: 125 kB/s, needed: 1 MB/s");
}

static void what_a_candidate_can_do_is_passed_on(void **state) {
  static const struct weft__cand_view c = {.provider = "tcp",
                                           .device = "lo",
                                           .speed_bps = 10,
                                           .max_op = UINT64_MAX,
                                           .mtu = 65536,
                                           .traits = WEFT_TRAIT_RMA | WEFT_TRAIT_EVENTS,
                                           .flags = WEFT__CAND_LOOPBACK | WEFT__CAND_MEASURED};
  weft_verdict_t v;
  (void) state;
  assert_int_equal(weft__rank(NULL, NULL, &c, 1, &v, NULL), 1);
  assert_int_equal(v.speed_bps, 10);
  assert_true(v.max_op == UINT64_MAX);
  assert_int_equal(v.mtu, 65536);
  assert_int_equal(v.traits,
                   WEFT_TRAIT_RMA | WEFT_TRAIT_EVENTS | WEFT_TRAIT_LOOPBACK | WEFT_TRAIT_MEASURED);
  assert_int_equal(v.reserved[0], 0); /* scratch space while sorting */
}

static void nothing_in_nothing_out(void **state) {
  (void) state;
  assert_int_equal(weft__rank(NULL, NULL, NULL, 0, NULL, NULL), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(providers_are_ordered_and_loopback_is_last),
      cmocka_unit_test(equal_figures_fall_back_on_the_fixed_order),
      cmocka_unit_test(the_order_of_the_input_does_not_matter),
      cmocka_unit_test(measurement_beats_reputation),
      cmocka_unit_test(the_size_of_the_message_decides),
      cmocka_unit_test(the_cost_grows_with_the_size_and_never_wraps),
      cmocka_unit_test(needs_and_options_filter_with_a_reason),
      cmocka_unit_test(the_system_s_reasons),
      cmocka_unit_test(strict_needs_reject_with_figures),
      cmocka_unit_test(lax_needs_order_and_tell),
      cmocka_unit_test(what_is_outranked_hears_by_whom_and_by_how_much),
      cmocka_unit_test(what_a_candidate_can_do_is_passed_on),
      cmocka_unit_test(nothing_in_nothing_out),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
