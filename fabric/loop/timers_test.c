/* SPDX-License-Identifier: Apache-2.0 */
/* timers_test.c - the heap fires what is due, in order, once, whatever was moved or stopped
 * meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "loop/loop.h"

enum { N = 500 };
static weft__timer_t t[N];
static weft__heap_t h;

static int setup(void **state) {
  (void) state;
  memset(t, 0, sizeof t);
  memset(&h, 0, sizeof h);
  return 0;
}

static void test_order(void **state) {
  (void) state;
  srand(1);
  for (int i = 0; i < N; i++)
    assert_int_equal(weft__heap_set(&h, &t[i], (uint64_t) (rand() % 1000) + 1), 0);
  uint64_t last = 0;
  for (int n = 0; n < N; n++) {
    uint64_t due = weft__heap_next(&h);
    assert_true(due >= last);
    assert_null(weft__heap_due(&h, due - 1));
    weft__timer_t *x = weft__heap_due(&h, due);
    assert_non_null(x);
    assert_int_equal(x->due, due);
    assert_int_equal(x->pos, 0);
    last = due;
  }
  assert_int_equal(weft__heap_next(&h), UINT64_MAX);
  assert_null(weft__heap_due(&h, UINT64_MAX - 1));
  weft__heap_free(&h);
}

static void test_later_is_lazy(void **state) {
  (void) state;
  weft__heap_set(&h, &t[0], 10);
  weft__heap_set(&h, &t[1], 15);
  weft__heap_set(&h, &t[0], 100); /* stays where it is until it comes up */
  assert_int_equal(weft__heap_next(&h), 10);
  assert_ptr_equal(weft__heap_due(&h, 20), &t[1]);
  assert_null(weft__heap_due(&h, 99));
  assert_int_equal(weft__heap_next(&h), 100);
  assert_ptr_equal(weft__heap_due(&h, 100), &t[0]);
  weft__heap_free(&h);
}

static void test_earlier_moves_up(void **state) {
  (void) state;
  for (int i = 0; i < 20; i++) weft__heap_set(&h, &t[i], 1000 + (uint64_t) i);
  weft__heap_set(&h, &t[19], 5);
  assert_int_equal(weft__heap_next(&h), 5);
  weft__heap_set(&h, &t[19], 2000);
  weft__heap_set(&h, &t[19], 7); /* later, then earlier again */
  assert_ptr_equal(weft__heap_due(&h, 10), &t[19]);
  assert_null(weft__heap_due(&h, 999));
  weft__heap_free(&h);
}

static void test_stop(void **state) {
  (void) state;
  srand(2);
  for (int i = 0; i < N; i++) weft__heap_set(&h, &t[i], (uint64_t) (rand() % 1000));
  for (int i = 0; i < N; i += 3) {
    weft__heap_stop(&h, &t[i]);
    weft__heap_stop(&h, &t[i]); /* again does nothing */
  }
  int fired = 0;
  weft__timer_t *x;
  while ((x = weft__heap_due(&h, 1000)) != NULL) {
    assert_true((x - t) % 3 != 0);
    fired++;
  }
  assert_int_equal(fired, N - (N + 2) / 3);
  weft__heap_free(&h);
}

/* Against a plain list: random operations, the same answers. */
static void test_against_a_list(void **state) {
  uint64_t want[N];
  (void) state;
  srand(3);
  for (int i = 0; i < N; i++) want[i] = UINT64_MAX;
  for (uint64_t now = 0; now < 3000; now++) {
    for (int k = 0; k < 5; k++) {
      int i = rand() % N;
      if (rand() % 4 == 0) {
        weft__heap_stop(&h, &t[i]);
        want[i] = UINT64_MAX;
      } else {
        want[i] = now + (uint64_t) (rand() % 200);
        weft__heap_set(&h, &t[i], want[i]);
      }
    }
    weft__timer_t *x;
    while ((x = weft__heap_due(&h, now)) != NULL) {
      assert_int_equal(want[x - t], x->want);
      assert_true(x->want <= now);
      want[x - t] = UINT64_MAX;
    }
    for (int i = 0; i < N; i++) assert_true(want[i] > now || want[i] == UINT64_MAX);
  }
  weft__heap_free(&h);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(test_order, setup),
      cmocka_unit_test_setup(test_later_is_lazy, setup),
      cmocka_unit_test_setup(test_earlier_moves_up, setup),
      cmocka_unit_test_setup(test_stop, setup),
      cmocka_unit_test_setup(test_against_a_list, setup),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
