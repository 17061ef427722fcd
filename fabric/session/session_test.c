/* SPDX-License-Identifier: Apache-2.0 */
/* session_test.c - a session from its opening to its end, each rule of session.h on its own. */
#include "session_test.h"

static void small_messages_arrive_once_in_order(void **st) {
  (void) st;
  for (int i = 0; i < 5000; i++) {
    post(&A, 8 + (size_t) i % 100);
    post(&B, 8);
  }
  pump();
  assert_int_equal(B.rx_count, 5000);
  assert_int_equal(A.rx_count, 5000);
  assert_int_equal(A.sent_ok, 5000);
  assert_int_equal(B.sent_ok, 5000);
  assert_int_equal(weft__session_queued_bytes(A.s), 0);
}

static void window_closes_while_nobody_listens(void **st) {
  (void) st;
  weft__session_rx_stop(B.s);
  for (int i = 0; i < 3000; i++) post(&A, 100);
  pump();
  assert_int_equal(B.rx_count, 0);
  assert_int_equal(A.sent_ok, 1024); /* the window in messages */
  weft__session_rx_start(B.s);
  pump();
  assert_int_equal(B.rx_count, 3000);
  assert_int_equal(A.sent_ok, 3000);
}

static void both_directions_end_in_order(void **st) {
  (void) st;
  post(&A, 100);
  post_fin(&A);
  pump();
  assert_true(B.eof);
  assert_false(A.eof);
  post(&B, 100);
  post_fin(&B);
  pump();
  assert_true(A.eof);
  assert_true(A.ended && B.ended);
  assert_int_equal(A.end_err, 0);
  assert_int_equal(B.end_err, 0);
  assert_int_equal(A.sent_ok, 2);
  assert_true(A.gone && B.gone);
}

static void abort_resets_the_peer(void **st) {
  (void) st;
  post(&B, 100);
  weft__session_abort(A.s, -ECANCELED, 1, "enough");
  pump();
  assert_true(B.ended);
  assert_int_equal(B.end_err, -ECONNRESET);
}

static void cancel_takes_back_what_has_not_left(void **st) {
  (void) st;
  weft__txm_t *a = post(&A, 100), *b = post(&A, 100);
  tags[0] = 1;
  assert_int_equal(weft__session_cancel(A.s, b), 0);
  post(&A, 10);
  pump();
  (void) a;
  assert_int_equal(A.last_err, -ECANCELED);
  assert_int_equal(B.rx_count, 2);
  assert_int_equal(A.sent_ok, 2);
}

/* B's program does not answer: the peer waits, for `wait_ms` at most, and says nothing from the
 * beginning or until heard. */
static void nobody_accepts(uint64_t wait_ms) {
  void *none = NULL;
  teardown(&none);
  weft_qos_t q;
  weft_qos_init(&q, sizeof q);
  create(&q, wait_ms * 1000000);
  B.defers = true;
  add_wire(0, 0);
  pump();
  assert_false(weft__session_is_open(A.s));
  assert_false(weft__session_is_open(B.s));
}
static void waiting_peer_is_turned_away_in_time(void **st) {
  (void) st;
  nobody_accepts(3000);
  pass(2900);
  assert_false(B.ended);
  pass(300);
  assert_true(B.ended && B.gone);
  assert_int_equal(B.end_err, -ETIMEDOUT);
  assert_int_equal(A.end_err, WEFT__E_EREJECTED);
  assert_int_equal(weft__session_accept(B.s), -ENOTCONN);
}
static void waiting_peer_that_lives_is_accepted_late(void **st) {
  (void) st;
  nobody_accepts(300000);
  pass(200000); /* idle paths beat, and the connecting end answers */
  assert_false(B.ended);
  assert_int_equal(weft__session_accept(B.s), 0);
  pump();
  weft__session_rx_start(B.s);
  post(&A, 100);
  pump();
  assert_int_equal(B.rx_count, 1);
}
static void waiting_peer_that_died_is_let_go(void **st) {
  (void) st;
  nobody_accepts(0);
  wires[0].p[0].held = true;
  for (int t = 0; t < 4000 && !B.ended; t++) { /* the beat, then the peer's timeout */
    B.now += 20000000;
    weft__session_tick(B.s);
    if (B.dirty) {
      B.dirty = false;
      weft__session_flush(B.s);
    }
  }
  assert_true(B.ended);
  assert_int_equal(B.end_err, WEFT__E_PEERLOST);
  wires[0].p[0].held = false;
}
static void program_that_was_stopped_may_still_accept(void **st) {
  (void) st;
  nobody_accepts(3000);
  B.now += 10000000000u; /* and comes back late: its first tick judges nobody */
  weft__session_tick(B.s);
  assert_false(B.ended);
  assert_int_equal(weft__session_accept(B.s), 0);
  pump();
  assert_true(weft__session_is_open(A.s));
}

/* What is held for a user who does not listen: docs/trust.md gives the sum. */
static void held_records_are_small(void **st) {
  (void) st;
  for (uint32_t n = 0; n < 300; n++) {
    void *p =
        malloc(weft__s_item_size(n)); /* the heap's header and its rounding to 16 come on top */
    assert_non_null(p);
    free(p);
    assert_true((weft__s_item_size(n) + 8 + 15) / 16 * 16 <= n + 64);
  }
  assert_true(sizeof(weft__rxl_t) <= 640);
  weft__session_rx_stop(B.s);
  for (int i = 0; i < 20; i++) post(&A, i < 10 ? 0 : 100000);
  pump();
  for (weft__rxi_t *it = B.s->rxq; it; it = it->next)
    assert_null(it->large); /* not before memory is asked for */
  assert_int_equal(B.s->st.held_messages, 10);
  B.check_tags = false;
  weft__session_rx_start(B.s);
  pump();
  assert_int_equal(B.rx_count, 20);
  assert_int_equal(B.s->nlarge, 0);
}

static void duplicates_cost_no_walk(bool refuse) {
  static uint8_t recs[RECORDS * WEFT__REC], seq[WEFT__REFUSE_SIZE];
  B.refuse = refuse;
  wires[0].p[0].held = true; /* A does not answer: what was announced stays unfinished */
  for (int i = 0; i < 40; i++) post(&A, 100000);
  pump();
  forge(&A, 0, WEFT__F_DATA, RECORDS, 41, recs,
        sizeof recs); /* empty messages that have to be held */
  pump();
  assert_int_equal(B.s->rx_expect, 41 + RECORDS);
  for (unsigned i = 0; i < RECORDS; i++) weft__rec_put(recs + i * WEFT__REC, WEFT__R_SKIP, 0);
  uint64_t most = refuse ? WEFT__LARGE_OPEN * RECORDS : 0;
  for (uint64_t first = 41; first > 17; first -= 8) /* none that would end the wait */
    assert_true(steps_of(&B, &A, WEFT__F_DATA, RECORDS, first, recs, sizeof recs) <= most);
  weft__put64(seq, RECORDS);
  assert_true(steps_of(&B, &A, WEFT__F_SKIP, 0, 0, seq, sizeof seq) <= WEFT__LARGE_OPEN);
  assert_true(steps_of(&B, &A, WEFT__F_DATA, RECORDS, 1, recs, sizeof recs) <= most);
  assert_int_equal(B.s->first_incomplete->seq,
                   refuse ? 17 : 1); /* those were skipped, the next are refused */
  assert_int_equal(B.s->nrefused, refuse ? WEFT__LARGE_OPEN : 0);
  assert_true(weft__session_is_open(B.s));
}
static void duplicates_cost_no_walk_through_what_is_held(void **st) {
  (void) st;
  duplicates_cost_no_walk(false);
}
static void duplicates_cost_no_walk_where_some_were_refused(void **st) {
  (void) st;
  duplicates_cost_no_walk(true);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      T(small_messages_arrive_once_in_order),
      T(window_closes_while_nobody_listens),
      T(both_directions_end_in_order),
      T(abort_resets_the_peer),
      T(cancel_takes_back_what_has_not_left),
      T(held_records_are_small),
      T(duplicates_cost_no_walk_through_what_is_held),
      T(duplicates_cost_no_walk_where_some_were_refused),
      T(waiting_peer_is_turned_away_in_time),
      T(waiting_peer_that_lives_is_accepted_late),
      T(waiting_peer_that_died_is_let_go),
      T(program_that_was_stopped_may_still_accept),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
