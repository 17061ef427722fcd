/* SPDX-License-Identifier: Apache-2.0 */
/* faults_test.c - frames lost, doubled, late and out of order: as often as asked, each time alike. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "faults.h"

enum { FRAMES = 100000 };

typedef struct seen {
  uint32_t *order; /* the numbers of the frames that came out */
  unsigned n;
} seen_t;

static void put(tf_faults_t *f, int way, uint64_t now, uint32_t number) {
  uint8_t rest[56];
  struct iovec v[2] = {{&number, sizeof(number)}, {rest, sizeof(rest)}};

  memset(rest, (int) (number & 0xff), sizeof(rest));
  assert_int_equal(tf_faults_put(f, way, now, v, 2, 60), 0);
}

static unsigned drain(tf_faults_t *f, int way, uint64_t now, seen_t *s) {
  const uint8_t *p;
  uint32_t number;
  unsigned n = 0, i;
  size_t len;

  while ((p = tf_faults_next(f, way, now, &len)) != NULL) {
    assert_int_equal(len, 60);
    memcpy(&number, p, sizeof(number));
    for (i = 4; i < 60; i++) assert_int_equal(p[i], number & 0xff);
    tf_faults_pop(f, way);
    if (s != NULL) s->order[s->n++] = number;
    n++;
  }
  return n;
}

static seen_t run(const tf_faults_config_t *c, unsigned device, int way) {
  tf_faults_t *f = tf_faults_open(c, device);
  seen_t s = {calloc(2 * FRAMES, sizeof(uint32_t)), 0};
  uint32_t i;

  assert_non_null(f);
  assert_non_null(s.order);
  for (i = 0; i < FRAMES; i++) {
    put(f, way, i, i);
    drain(f, way, i, &s);
  }
  drain(f, way, FRAMES + TF_FAULTS_LATE_NS, &s);
  drain(f, way, FRAMES + 2 * TF_FAULTS_LATE_NS, &s);
  assert_true(tf_faults_due(f) == UINT64_MAX);
  tf_faults_close(f);
  return s;
}

static bool same(const seen_t *a, const seen_t *b) {
  return a->n == b->n && memcmp(a->order, b->order, a->n * sizeof(*a->order)) == 0;
}

static void nothing_asked_for_is_nothing(void **state) {
  tf_faults_config_t c = {.seed = 5};

  (void) state;
  assert_false(tf_faults_wanted(&c));
  c.delay = 1;
  assert_true(tf_faults_wanted(&c));
}

static void losses_are_as_many_as_asked_for(void **state) {
  tf_faults_config_t c = {.loss = 10000, .seed = 1};
  seen_t s = run(&c, 0, TF_FAULTS_IN);
  unsigned i;

  (void) state;
  assert_in_range(FRAMES - s.n, 850, 1150); /* 1000 +- 5 sigma */
  for (i = 1; i < s.n; i++) assert_true(s.order[i] > s.order[i - 1]);
  free(s.order);
}

static void doubled_ones_come_twice_in_a_row(void **state) {
  tf_faults_config_t c = {.dup = 20000, .seed = 1};
  seen_t s = run(&c, 0, TF_FAULTS_OUT);
  unsigned i, twice = 0;

  (void) state;
  for (i = 1; i < s.n; i++) {
    assert_in_range(s.order[i] - s.order[i - 1], 0, 1);
    twice += s.order[i] == s.order[i - 1];
  }
  assert_int_equal(s.n, FRAMES + twice);
  assert_in_range(twice, 1780, 2220);
  free(s.order);
}

/* Each comes once, and nothing is passed by more than it may be. */
static void late_ones_come_once_and_soon(void **state) {
  tf_faults_config_t c = {.reorder = 50000, .seed = 1};
  seen_t s = run(&c, 0, TF_FAULTS_IN);
  uint8_t *came = calloc(FRAMES, 1);
  unsigned i, late = 0, most = 0;

  (void) state;
  assert_non_null(came);
  assert_int_equal(s.n, FRAMES);
  for (i = 0; i < s.n; i++) {
    assert_false(came[s.order[i]]);
    came[s.order[i]] = 1;
    if (i > 0 && s.order[i] < s.order[i - 1]) late++;
    if (s.order[i] > most) most = s.order[i];
    assert_in_range(most - s.order[i], 0, 8 * TF_FAULTS_LATE_MOST);
  }
  assert_in_range(late, 3000, 5000);
  free(came);
  free(s.order);
}

static void seed_device_and_way_decide(void **state) {
  tf_faults_config_t c = {.loss = 10000, .dup = 10000, .reorder = 10000, .seed = 7};
  seen_t a = run(&c, 0, TF_FAULTS_IN), again = run(&c, 0, TF_FAULTS_IN);
  seen_t device = run(&c, 1, TF_FAULTS_IN), way = run(&c, 0, TF_FAULTS_OUT), seed;

  (void) state;
  c.seed = 8;
  seed = run(&c, 0, TF_FAULTS_IN);
  assert_true(same(&a, &again));
  assert_false(same(&a, &device));
  assert_false(same(&a, &way));
  assert_false(same(&a, &seed));
  free(a.order);
  free(again.order);
  free(device.order);
  free(way.order);
  free(seed.order);
}

static void delayed_ones_wait_for_their_time(void **state) {
  tf_faults_config_t c = {.delay = 100, .seed = 1};
  tf_faults_t *f = tf_faults_open(&c, 0);

  (void) state;
  assert_non_null(f);
  put(f, TF_FAULTS_OUT, 1000, 1);
  put(f, TF_FAULTS_OUT, 5000, 2);
  assert_true(tf_faults_due(f) == 101000);
  assert_int_equal(drain(f, TF_FAULTS_OUT, 100999, NULL), 0);
  assert_int_equal(drain(f, TF_FAULTS_IN, 200000, NULL), 0);
  assert_int_equal(drain(f, TF_FAULTS_OUT, 101000, NULL), 1);
  assert_int_equal(drain(f, TF_FAULTS_OUT, 105000, NULL), 1);
  tf_faults_close(f);
}

static void a_late_one_does_not_wait_for_ever(void **state) {
  tf_faults_config_t c = {.reorder = 1000000, .seed = 1};
  tf_faults_t *f = tf_faults_open(&c, 0);

  (void) state;
  assert_non_null(f);
  put(f, TF_FAULTS_IN, 0, 1);
  assert_int_equal(drain(f, TF_FAULTS_IN, 10, NULL), 0);
  assert_true(tf_faults_due(f) == 10 + TF_FAULTS_LATE_NS);
  assert_int_equal(drain(f, TF_FAULTS_IN, 10 + TF_FAULTS_LATE_NS, NULL), 1);
  tf_faults_close(f);
}

static void too_many_are_refused_and_none_is_lost(void **state) {
  tf_faults_config_t c = {.delay = 1000, .dup = 500000, .seed = 3};
  tf_faults_t *f = tf_faults_open(&c, 0);
  uint32_t number = 0, got = 0, last = UINT32_MAX;
  struct iovec v = {&number, sizeof(number)};
  const void *p;
  size_t len;

  (void) state;
  assert_non_null(f);
  while (tf_faults_put(f, TF_FAULTS_OUT, 0, &v, 1, sizeof(number)) == 0) number++;
  assert_int_equal(tf_faults_put(f, TF_FAULTS_OUT, 0, &v, 1, sizeof(number)), -ENOBUFS);
  assert_in_range(number, TF_FAULTS_WAITING / 2, TF_FAULTS_WAITING);
  while ((p = tf_faults_next(f, TF_FAULTS_OUT, 1000000, &len)) != NULL) {
    if (last == UINT32_MAX || memcmp(p, &last, sizeof(last)) != 0) got++;
    memcpy(&last, p, sizeof(last));
    tf_faults_pop(f, TF_FAULTS_OUT);
  }
  assert_int_equal(got, number);
  put(f, TF_FAULTS_OUT, 0, 1);
  tf_faults_close(f); /* with a frame in it: for LeakSanitizer */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nothing_asked_for_is_nothing),
      cmocka_unit_test(losses_are_as_many_as_asked_for),
      cmocka_unit_test(doubled_ones_come_twice_in_a_row),
      cmocka_unit_test(late_ones_come_once_and_soon),
      cmocka_unit_test(seed_device_and_way_decide),
      cmocka_unit_test(delayed_ones_wait_for_their_time),
      cmocka_unit_test(a_late_one_does_not_wait_for_ever),
      cmocka_unit_test(too_many_are_refused_and_none_is_lost),
  };

  return cmocka_run_group_tests_name("faults", tests, NULL, NULL);
}
