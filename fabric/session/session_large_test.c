/* SPDX-License-Identifier: Apache-2.0 */
/* session_large_test.c - large messages, one rule at a time. */
#include "session_test.h"

static void large_messages_arrive(void **st) {
  (void) st;
  for (int i = 0; i < 40; i++) post(&A, i % 2 ? (size_t) i * 100000 : 20);
  pump();
  assert_int_equal(B.rx_count, 40);
  assert_int_equal(A.sent_ok, 40);
}

static void refused_large_message_leaves_no_trace(void **st) {
  (void) st;
  B.refuse = true;
  post(&A, 100000);
  pump();
  assert_int_equal(A.sent_err, 1);
  assert_int_equal(A.last_err, -ENOBUFS);
  B.refuse = false;
  B.next_tag = 1;
  post(&A, 100000);
  post(&A, 100);
  pump();
  assert_int_equal(B.rx_count, 2);
  assert_int_equal(A.sent_ok, 2);
}

static void large_message_survives_the_cut_of_its_path(void **st) {
  (void) st;
  add_wire(1, 1);
  pump();
  post(&A, 3000000);
  weft__session_flush(A.s);
  step_port(&B, &wires[0].p[1]); /* the announcement arrives */
  weft__session_flush(B.s);      /* clear to send */
  wires[0].p[0].held = true;     /* ... never arrives */
  pump();
  cut(0, 1);
  cut(0, 0);
  pump();
  assert_int_equal(B.rx_count, 1);
  assert_int_equal(A.sent_ok, 1);
}

/* A closing path may still write to the destination, so it is kept; what it holds is no message,
 * whatever the peer says. */
static void given_up(bool by_frame) {
  void *none = NULL;
  teardown(&none);
  weft_qos_t q;
  weft_qos_init(&q, sizeof q);
  q.reliability = WEFT_AT_MOST_ONCE;
  setup_with(&q);
  add_wire(1, 1);
  pump();
  post(&A, 3000000);
  weft__session_flush(A.s);
  step_port(&B, &wires[0].p[1]); /* the announcement arrives */
  weft__session_flush(B.s);      /* clear to send */
  wires[0].p[0].held = true;     /* ... never arrives */
  cut(0, 1);
  cut(0, 0); /* gives it up */
  weft__session_flush(A.s);
  uint8_t p[WEFT__REFUSE_SIZE] = {1}; /* its number */
  if (by_frame) {
    forge(&A, 1, WEFT__F_SKIP, 0, 0, p, sizeof p);
  } else {
    weft__rec_put(p, WEFT__R_SKIP, 0);
    forge(&A, 1, WEFT__F_DATA, 1, 1, p, WEFT__REC);
  }
  assert_non_null(B.s->rxq);
  while (wires[1].p[1].inbox) step_port(&B, &wires[1].p[1]); /* RESUME, then the lie */
  assert_int_equal(B.rx_count, 0);
  pump();
  assert_int_equal(B.rx_count, 0);
  assert_null(B.s->rxq); /* but when the path is closed it goes */
}
static void given_up_message_is_not_delivered_for_a_skip_frame(void **st) {
  (void) st;
  given_up(true);
}
static void given_up_message_is_not_delivered_for_a_skip_record(void **st) {
  (void) st;
  given_up(false);
}

/* CTS and REFUSE name large messages; the queue before and behind these is the user's, and long. */
static void naming_a_message_costs_no_walk_through_the_queue(void **st) {
  (void) st;
  uint8_t cts[WEFT__CTS_SIZE] = {0}, no[WEFT__REFUSE_SIZE] = {0};
  post(&A, 8);
  pump(); /* number 1 is gone */
  wires[0].p[1].held = true;
  for (int i = 0; i < 800; i++) post(&A, 8);      /* 2 .. 801 */
  for (int i = 0; i < 100; i++) post(&A, 100000); /* 802 .. 901 */
  for (int i = 0; i < 5000; i++) post(&A, 8);
  pump();
  weft__put32(cts + 32, 1);
  weft__put32(cts + 36, WEFT__CTS_COPY);
  weft__put64(cts, 1);
  assert_int_equal(steps_of(&A, &B, WEFT__F_CTS, 0, 0, cts, sizeof cts), 0);
  weft__put64(no, 1);
  assert_int_equal(steps_of(&A, &B, WEFT__F_REFUSE, 0, 0, no, sizeof no), 0);
  weft__put64(no, 801 + WEFT__NAMED_MAX);
  for (int i = 0; i < 3; i++) {
    assert_true(steps_of(&A, &B, WEFT__F_REFUSE, 0, 0, no, sizeof no) <= 2 * WEFT__NAMED_MAX);
    weft__put64(cts, 802 + (uint64_t) i);
    assert_true(steps_of(&A, &B, WEFT__F_CTS, 0, 0, cts, sizeof cts) <= WEFT__NAMED_MAX);
  }
  assert_true(weft__session_is_open(A.s));
  weft__put64(cts, 802 + WEFT__NAMED_MAX); /* one further */
  assert_true(steps_of(&A, &B, WEFT__F_CTS, 0, 0, cts, sizeof cts) <= WEFT__NAMED_MAX);
  assert_int_equal(A.end_err, WEFT__E_PROTOCOL);
  wires[0].p[1].held = false;
}

/* A user's queue of large messages of any length goes through, refused ones among them, when its
 * path dies too. */
static void long_queue_of_large_messages(void **st) {
  (void) st;
  add_wire(1, 1);
  pump();
  B.check_tags = false;
  for (int i = 0; i < 300; i++) post(&A, 20000);
  for (int k = 0; k < 200; k++) { /* B refuses now and then */
    B.refuse = k % 7 == 0;
    for (unsigned i = 0; i < 2; i++) step_port(ends[i], &wires[0].p[i]);
    for (unsigned i = 0; i < 2; i++) weft__session_flush(ends[i]->s);
  }
  cut(0, 0);
  cut(0, 1);
  pump();
  assert_int_equal(A.sent_ok + A.sent_err, 300);
  assert_int_equal(B.rx_count, A.sent_ok);
  assert_in_range(A.sent_err, 1, 299);
  assert_null(A.s->large);
  assert_null(A.s->large_tail);
}

static bool first_is(const port_t *p, unsigned type) {
  weft__hdr_t h;
  const frame_t *f = p->inbox;
  return f && weft__hdr_get(f->data, f->rbuf.len, &h) == WEFT__W_OK && h.type == type;
}

/* `n` messages of 1 MiB, over a path on which B hears what was sent `delay` later: all of it then, or
 * a frame each `step`. The most fragments that were asked for at once. */
static unsigned asked_ahead(int n, uint64_t delay, uint64_t step) {
  port_t *to_b = &wires[0].p[1];
  const weft__ahead_t *a = &B.s->paths[0]->ahead;
  unsigned most = 0;
  for (int i = 0; i < n; i++) post(&A, 1 << 20);
  do {
    to_b->held = true;
    pump();
    if (a->n > most) most = a->n;
    to_b->held = false;
    B.now += delay;
    do {
      if (step && first_is(to_b, WEFT__F_FRAG)) B.now += step;
      step_port(&B, to_b);
    } while (step == 0 && to_b->inbox);
  } while (to_b->inbox || B.dirty);
  pump();
  assert_int_equal(B.rx_count, n);
  assert_int_equal(a->n, 0);
  assert_int_equal(a->bytes, 0);
  return most;
}

#define FIRST (WEFT__AHEAD_FIRST >> 20)

/* What is asked for ahead fills the path and not the queues before it. */
static void long_path_is_filled(void **st) {
  (void) st;
  /* a path of this test takes 16 frames, announcements among them */
  assert_in_range(asked_ahead(200, 10000000, 0), 2 * FIRST + 1, WEFT__CTS_MAX);
}

static void short_path_is_not_flooded(void **st) {
  (void) st;
  assert_in_range(asked_ahead(200, 0, 50000), FIRST, FIRST + 1);
}

/* First a long path, then the same bytes at its speed: what was asked for too much is taken back. */
static void path_that_became_slow_is_not_flooded(void **st) {
  (void) st;
  asked_ahead(200, 10000000, 0);
  B.rx_count = 0;
  asked_ahead(100, 0, 20000000);
  assert_int_equal(B.s->paths[0]->ahead.most, WEFT__AHEAD_FIRST);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      T(large_messages_arrive),
      T(refused_large_message_leaves_no_trace),
      T(large_message_survives_the_cut_of_its_path),
      T(given_up_message_is_not_delivered_for_a_skip_frame),
      T(given_up_message_is_not_delivered_for_a_skip_record),
      T(naming_a_message_costs_no_walk_through_the_queue),
      T(long_queue_of_large_messages),
      T(long_path_is_filled),
      T(short_path_is_not_flooded),
      T(path_that_became_slow_is_not_flooded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
