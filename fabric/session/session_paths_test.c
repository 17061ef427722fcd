/* SPDX-License-Identifier: Apache-2.0 */
/* session_paths_test.c - which path lives, and what a session does when one does not. */
#include "session_test.h"

static void failover_loses_nothing(void **st) {
  (void) st;
  add_wire(1, 1);
  pump();
  wires[0].p[1].held = true; /* frames to B hang */
  for (int i = 0; i < 100; i++) post(&A, 50);
  post(&A, 300000);
  post(&A, 60);
  pump();
  assert_int_equal(B.rx_count, 0);
  cut(0, 0);
  pump();
  cut(0, 1);
  pump();
  assert_int_equal(B.rx_count, 102);
  assert_int_equal(A.sent_ok, 102);
  assert_int_equal(A.moved, 1);
}

static void silent_path_is_left_within_the_tolerance(void **st) {
  (void) st;
  add_wire(1, 1);
  pump();
  wires[0].p[0].held = wires[0].p[1].held = true;
  post(&A, 50);
  pump();
  pass(990);
  assert_int_equal(B.rx_count, 1);
  assert_int_equal(A.moved, 1);
  assert_int_equal(A.sent_ok, 1);
}

static void stalled_peer_is_not_left(void **st) {
  (void) st;
  add_wire(1, 1);
  pump();
  for (int i = 0; i < 2; i++) wires[i].p[1].held = true; /* B hears nothing */
  post(&A, 50);
  pump();
  for (int t = 0; t < 500; t++) { /* 5 s in which B does not run */
    A.now += 10000000;
    weft__session_tick(A.s);
    for (int w = 0; w < 2; w++) step_port(&A, &wires[w].p[0]);
    if (A.dirty) {
      A.dirty = false;
      weft__session_flush(A.s);
    }
  }
  assert_int_equal(A.stalled, 1);
  B.now += 5000000000u;
  weft__session_tick(B.s);
  wires[1].p[1].held = false; /* the standby answers first */
  pump();
  wires[0].p[1].held = false;
  pump();
  pass(2000);
  assert_int_equal(A.moved + B.moved, 0);
  assert_int_equal(A.sent_ok, 1);
}

static void failback_after_settling(void **st) {
  (void) st;
  add_wire(1, -1); /* better */
  pump();
  pass(900);
  assert_int_equal(A.moved, 0);
  pass(200);
  assert_int_equal(A.moved, 1);
  assert_int_equal(B.moved, 1); /* the accepting end follows */
  post(&A, 100);
  post(&B, 100);
  pump();
  assert_int_equal(B.rx_count + A.rx_count, 2);
}

static void at_most_once_keeps_nothing(void **st) {
  (void) st;
  teardown(st);
  weft_qos_t q;
  weft_qos_init(&q, sizeof q);
  q.reliability = WEFT_AT_MOST_ONCE;
  setup_with(&q);
  add_wire(1, 1);
  pump();
  B.check_tags = false;
  wires[0].p[1].held = true;
  for (int i = 0; i < 10; i++) post(&A, 100);
  pump();
  assert_int_equal(A.sent_ok, 10);
  cut(0, 0);
  cut(0, 1);
  for (int i = 0; i < 5; i++) post(&A, 100);
  post_fin(&A);
  pump();
  assert_int_equal(B.rx_count, 5);
  assert_true(B.eof);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      T(failover_loses_nothing),     T(silent_path_is_left_within_the_tolerance),
      T(stalled_peer_is_not_left),   T(failback_after_settling),
      T(at_most_once_keeps_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
