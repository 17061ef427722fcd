/* SPDX-License-Identifier: Apache-2.0 */
/* scenarios.c - every kind of trouble by name, at every moment it can strike. What a peer does that lies: liars.c.
 *
 * Design notes
 *  - A scenario is a loop over the moments: the nth frame of a type, each end, each choice of who
 *    is told. The oracle of lib_oracle.c judges all of them; a scenario adds that the trouble
 *    really happened, so that it cannot pass by missing its moment. */
#include "lib_scenario.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

/* Each way in which large messages move, in turn. */
static weft__xfer_t any(unsigned n) {
  static const weft__xfer_t ways[] = {WEFT__XFER_READ, WEFT__XFER_WRITE, WEFT__XFER_COPY};

  return ways[n % 3];
}

static void run(const char *what, unsigned a, unsigned b, unsigned c) {
  if (world_run(w, &plan) == 0) return;
  print_error("%s, moment %u/%u/%u: %s\n", what, a, b, c, w->first);
  fail();
}

static bool in_order(void) {
  return w->o[0].ended && w->o[0].end_err == 0 && w->o[1].ended && w->o[1].end_err == 0;
}

static void nothing_happens(void **state) {
  uint64_t crumbs;

  (void) state;
  scenario_start(1, WEFT__XFER_WRITE);
  run("quiet", 0, 0, 0);
  assert_true(in_order());
  assert_int_equal(w->o[0].ndelivered, 42);
  assert_int_equal(w->o[1].ndelivered, 42);
  assert_int_equal(w->o[0].stats.migrations + w->o[1].stats.migrations, 0);
  assert_int_equal(w->o[0].stats.payload_copies, 0);
  scenario_start(2, WEFT__XFER_COPY);
  run("quiet", 1, 0, 0);
  assert_int_equal(w->o[0].stats.payload_copies, 160000);
  scenario_start(3, WEFT__XFER_READ);
  run("quiet", 2, 0, 0);
  assert_true(in_order());
  assert_int_equal(w->o[0].stats.rma_read, w->o[1].stats.rma_read_by_peer);
  assert_int_equal(w->o[1].stats.rma_read, w->o[0].stats.rma_read_by_peer);
  crumbs = w->o[0].stats.payload_copies + w->o[1].stats.payload_copies; /* counted twice */
  assert_true(crumbs < 8192);
  assert_int_equal(w->o[0].stats.rma_read + w->o[1].stats.rma_read + crumbs / 2, 160000);
}

/* The path in use is cut when the nth frame leaves an end; told: nobody, A, B, both. */
static void cut_at_every_frame(void **state) {
  unsigned side, told, nth, moved = 0, replayed = 0;

  (void) state;
  for (side = 0; side < 2; side++)
    for (told = 0; told < 4; told++)
      for (nth = 1; nth <= 60; nth++) {
        fault_t *f;

        scenario_start(100 + nth, any(nth));
        f = plan_fault(&plan, FAULT_CUT, 0, told);
        f->frame = 0xff;
        f->from = (uint8_t) side;
        f->nth = (uint16_t) nth;
        f->length = S;
        f->notice = 30 * US;
        plan.may_fail = nth < 4; /* the handshake has only this path */
        run("cut", side, told, nth);
        assert_true(in_order() || nth < 4);
        moved += w->o[0].moved + w->o[1].moved;
        replayed += w->o[0].stats.replayed + w->o[1].stats.replayed != 0;
      }
  assert_true(moved > 400);
  assert_true(replayed > 50);
}

/* Each end hears of a failure at the same moment, and moves. */
static void both_ends_fail_over_at_once(void **state) {
  unsigned at, apart, moved = 0;

  (void) state;
  for (at = 1; at < 40; at++)
    for (apart = 0; apart < 3; apart++) {
      unsigned i;

      scenario_start(200 + at, any(at));
      for (i = 0; i < 2; i++) {
        fault_t *f = plan_fault(&plan, FAULT_FAIL, 0, i);
        f->after = 200 * US + at * 37 * US + i * apart * 15 * US;
      }
      run("both fail over", at, apart, 0);
      assert_true(in_order());
      moved += w->o[0].moved > 0 && w->o[1].moved > 0;
    }
  assert_true(moved > 80);
}

/* Operators at both ends move to different paths. */
static void both_ends_migrate_apart(void **state) {
  unsigned at;

  (void) state;
  for (at = 1; at < 60; at++) {
    unsigned i;

    scenario_start(250 + at, WEFT__XFER_WRITE);
    for (i = 0; i < 2; i++) {
      fault_t *f = plan_fault(&plan, FAULT_MIGRATE, 1 - i, i);
      f->after = 300 * US + at * 29 * US;
      f->nth = 1;
    }
    run("both migrate", at, 0, 0);
    assert_true(in_order());
  }
}

/* The path that it moves to dies while the RESUME or its answer is on the way. */
static void second_failure_during_the_first(void **state) {
  static const unsigned types[] = {WEFT__F_RESUME, WEFT__F_RESUME_ACK};
  unsigned t, side, told, late, hits = 0;

  (void) state;
  for (t = 0; t < 2; t++)
    for (side = 0; side < 2; side++)
      for (told = 0; told < 4; told++)
        for (late = 0; late < 5; late++) {
          fault_t *f;

          scenario_start(300 + late, any(late));
          f = plan_fault(&plan, FAULT_CUT, 0, 3);
          f->after = 600 * US;
          f->length = 5 * MS;
          f = plan_fault(&plan, FAULT_CUT, 1, told);
          f->frame = (uint8_t) types[t];
          f->from = (uint8_t) side;
          f->nth = 1;
          f->after = late * 10 * US;
          f->length = 10 * MS;
          run("second failure", t * 2 + side, told, late);
          assert_true(in_order());
          hits += w->nfired == 2;
        }
  assert_true(hits > 60);
}

/* What is still on its way on a path that its sender knows to be dead: the RESUME overtakes it on
 * the other path, the receiver closes the old one, and the replay brings everything once. */
static void late_frames_of_a_dead_path(void **state) {
  uint64_t moves = 0, replayed = 0;
  unsigned side, at;

  (void) state;
  for (side = 0; side < 2; side++)
    for (at = 1; at < 60; at++) {
      fault_t *f;

      scenario_start(400 + at, any(at));
      plan_messages(&plan, side, 40, 50, 1500 * US, 40 * US);
      plan.side[side].fin_at = 4 * MS;
      plan.link[0].delay = 300 * US; /* much is on its way */
      f = plan_fault(&plan, FAULT_CUT, 0, 1u << side);
      f->after = 1500 * US + at * 20 * US;
      f->length = 100 * MS;
      f->late = 20 * MS;
      run("late frames", side, at, 0);
      assert_true(in_order());
      moves += w->o[side].stats.migrations;
      replayed += w->o[side].stats.replayed;
    }
  assert_true(moves > 100);
  assert_true(replayed > 1000);
}

/* The nth acknowledgement that travels alone is lost with its path. */
static void lost_acknowledgements(void **state) {
  unsigned side, nth, hits = 0;

  (void) state;
  for (side = 0; side < 2; side++)
    for (nth = 1; nth < 25; nth++) {
      fault_t *f;

      scenario_start(500 + nth, WEFT__XFER_WRITE);
      plan.side[side].n = 0; /* nothing that it could ride on */
      f = plan_fault(&plan, FAULT_CUT, 0, nth % 4);
      f->frame = WEFT__F_ACK;
      f->from = (uint8_t) side;
      f->nth = (uint16_t) nth;
      f->length = 50 * MS;
      run("lost ack", side, nth, 0);
      assert_true(in_order());
      hits += w->nfired;
    }
  assert_true(hits > 30);
}

/* Everything dies around the last frames; one end is gone when the other comes back and is answered
 * by its tombstone. */
static void tombstones(void **state) {
  unsigned side, when, told, length;

  (void) state;
  w->st.tombstones = 0;
  for (side = 0; side < 2; side++)
    for (when = 0; when < 30; when++)
      for (told = 0; told < 4; told += 3)
        for (length = 1; length < 200; length *= 10) {
          fault_t *f;

          scenario_start(600 + when, WEFT__XFER_WRITE);
          f = plan_fault(&plan, FAULT_DARK, 0, told);
          if (when < 10) {
            f->frame = WEFT__F_BYE;
            f->from = (uint8_t) side;
            f->nth = 1;
            f->after = when * 5 * US;
          } else {
            f->after = 3 * MS + (when - 10) * 10 * US;
          }
          f->length = length * MS;
          run("tombstone", side * 100 + when, told, length);
          assert_true(in_order());
        }
  assert_true(w->st.tombstones > 5);
}

/* All paths silent, or a host stopped: nobody moves, both are told, everything goes on. */
static void stalled_peers_hold(void **state) {
  static const uint64_t lengths[] = {MS, 100 * MS, S, 5 * S, 20 * S};
  unsigned kind, i, at, stalls = 0;

  (void) state;
  for (kind = 0; kind < 3; kind++)
    for (i = 0; i < 5; i++)
      for (at = 0; at < 8; at++) {
        fault_t *f;

        scenario_start(700 + at, any(at));
        plan.no_migration = true;
        f = plan_fault(&plan, kind == 0 ? FAULT_BLACK : FAULT_STOP, 0, kind == 2);
        f->after = 500 * US + at * 150 * US;
        f->length = lengths[i];
        run("stall", kind, i, at);
        assert_true(in_order());
        assert_int_equal(w->o[0].stats.migrations + w->o[1].stats.migrations, 0);
        if (lengths[i] >= 5 * S) stalls += w->o[0].stalls + w->o[1].stalls != 0;
      }
  assert_true(stalls >= 40);
}

/* A peer that stays away longer than its time is lost, and both users hear it. */
static void a_peer_that_stays_away(void **state) {
  fault_t *f;

  (void) state;
  scenario_start(750, WEFT__XFER_WRITE);
  f = plan_fault(&plan, FAULT_BLACK, 0, 0);
  f->after = 600 * US;
  f->length = 100 * S;
  run("away", 0, 0, 0);
  assert_int_equal(w->o[0].end_err, WEFT__E_PEERLOST);
  assert_int_equal(w->o[1].end_err, WEFT__E_PEERLOST);
}

/* A says at once that it will send nothing more; B goes on, and the path is cut under it. */
static void half_close_with_failure(void **state) {
  unsigned side, nth;

  (void) state;
  for (side = 0; side < 2; side++)
    for (nth = 3; nth < 50; nth++) {
      fault_t *f;

      scenario_start(800 + nth, any(nth));
      plan.side[side].n = 0;
      plan.side[side].fin_at = 0;
      f = plan_fault(&plan, FAULT_CUT, 0, nth % 4);
      f->frame = 0xff;
      f->from = (uint8_t) (nth / 4 % 2);
      f->nth = (uint16_t) nth;
      f->length = 20 * MS;
      plan.may_fail = nth < 4;
      run("half-close", side, nth, 0);
      assert_true(in_order() || nth < 4);
      if (in_order()) assert_int_equal(w->o[side].ndelivered, 42);
    }
}

/* B's program does not answer, or later than the peer may wait. */
static void nobody_accepts(void **state) {
  unsigned late;

  (void) state;
  for (late = 0; late < 3; late++) {
    scenario_start(850 + late, WEFT__XFER_WRITE);
    plan.wait = 3 * S;
    plan.side[1].accept_after = late == 0 ? 2900 * MS : late == 1 ? 3500 * MS : 50 * S;
    plan.may_fail = late != 0;
    run("waits", late, 0, 0);
    if (late == 0) {
      assert_true(in_order());
    } else {
      assert_int_equal(w->o[0].end_err, WEFT__E_EREJECTED);
      assert_non_null(strstr(w->o[0].end_why, "not accepted within 3000 ms"));
    }
  }
}

/* Each frame that moves a large message is the last on its path; with slow closes, so that the
 * dying path may still write. */
static void fragments_cut_anywhere(void **state) {
  static const struct {
    unsigned type;
    weft__xfer_t xfer;
  } last[] = {{WEFT__F_CTS, WEFT__XFER_WRITE},  {WEFT__F_FRAG, WEFT__XFER_WRITE},
              {WEFT__F_CHUNK, WEFT__XFER_COPY}, {WEFT__F_CTS, WEFT__XFER_READ},
              {WEFT__F_READY, WEFT__XFER_READ}, {WEFT__F_DONE, WEFT__XFER_READ}};
  unsigned t, nth, told, after, hits = 0;

  (void) state;
  for (t = 0; t < sizeof(last) / sizeof(last[0]); t++)
    for (nth = 1; nth <= 12; nth++)
      for (told = 0; told < 4; told++)
        for (after = 0; after < 3; after++) {
          unsigned i;
          fault_t *f;

          scenario_start(900 + nth, last[t].xfer);
          for (i = 0; i < 2; i++) {
            plan_messages(&plan, i, 1, 150000, 400 * US, 0);
            plan.link[i].close_slow = 1;
            plan.link[i].close_max = 50 * MS;
          }
          f = plan_fault(&plan, FAULT_CUT, 0, told);
          f->frame = (uint8_t) last[t].type;
          f->from = (uint8_t) (nth % 2);
          f->nth = (uint16_t) nth;
          f->after = after * 7 * US;
          f->length = 100 * MS;
          f->late = 5 * MS;
          run("fragments", t, nth, told * 10 + after);
          assert_true(in_order());
          hits += w->nfired;
        }
  assert_true(hits > 600);
}

/* With slow closes: a source or a destination that is given back too early is seen. */
static void reads_that_fail(void **state) {
  unsigned k, i, reads = 0;

  (void) state;
  for (k = 0; k < 60; k++) {
    scenario_start(950 + k, WEFT__XFER_READ);
    for (i = 0; i < 2; i++) {
      plan_messages(&plan, i, 1, 150000, 400 * US, 0);
      plan.link[i].close_slow = 1;
      plan.link[i].close_max = 50 * MS;
      plan.link[i].read_fails = 2 + k % 9;
    }
    plan.may_fail = true; /* all paths may die of it */
    run("reads fail", k, 0, 0);
    reads += w->o[0].stats.rma_read != 0;
  }
  assert_true(reads > 20);
}

/* A device on which no read succeeds: every path dies of its first one, until it is asked for
 * copies. */
static void reads_that_never_succeed(void **state) {
  unsigned k, i;

  (void) state;
  for (k = 0; k < 20; k++) {
    scenario_start(1950 + k, WEFT__XFER_READ);
    for (i = 0; i < 2; i++) plan.link[i].read_fails = 1;
    run("no read succeeds", k, 0, 0);
    assert_true(in_order());
    assert_int_equal(w->o[0].ndelivered, 42);
    assert_int_equal(w->o[1].ndelivered, 42);
    assert_int_equal(w->o[0].stats.rma_read + w->o[1].stats.rma_read, 0);
    assert_true(w->o[0].stats.payload_copies >= 160000); /* sent and received */
  }
}

/* Refused large messages while paths die: REFUSE and SKIP are lost and said again. */
static void refusals_cut_anywhere(void **state) {
  unsigned t, nth, told;

  (void) state;
  w->st.refused = 0;
  for (t = 0; t < 2; t++)
    for (nth = 1; nth <= 3; nth++)
      for (told = 0; told < 4; told++) {
        fault_t *f;

        scenario_start(1000 + nth, WEFT__XFER_WRITE);
        plan.side[0].refuse = plan.side[1].refuse = 2;
        f = plan_fault(&plan, FAULT_CUT, 0, told);
        f->frame = t ? WEFT__F_SKIP : WEFT__F_REFUSE;
        f->from = (uint8_t) (nth % 2);
        f->nth = (uint16_t) nth;
        f->length = 100 * MS;
        run("refusals", t, nth, told);
        assert_true(in_order());
      }
  assert_true(w->st.refused > 10);
}

/* One path, lost again and again: joined anew each time. */
static void one_path_lost_and_joined_again(void **state) {
  unsigned i, k;

  (void) state;
  for (k = 0; k < 30; k++) {
    scenario_start(1100 + k, any(k));
    plan.nlinks = plan.nslots = 1;
    memset(plan.slot_link, 0, sizeof(plan.slot_link));
    for (i = 0; i < 4; i++) {
      fault_t *f = plan_fault(&plan, FAULT_CUT, 0, 3);
      f->after = 400 * US + i * (3 * MS + k * 77 * US);
      f->length = 300 * US;
    }
    run("one path", k, 0, 0);
    assert_true(in_order());
  }
}

/* ack=consumed: nothing is acknowledged that the receiver's callback has not had. */
static void consumed_and_slow_readers(void **state) {
  unsigned k;

  (void) state;
  for (k = 0; k < 60; k++) {
    fault_t *f;

    scenario_start(1200 + k, any(k));
    plan.ack = WEFT_ACK_CONSUMED;
    plan.side[k % 2].nstops = 1;
    plan.side[k % 2].stop[0].at = 300 * US;
    plan.side[k % 2].stop[0].length = 4 * MS;
    f = plan_fault(&plan, FAULT_CUT, 0, k % 4);
    f->after = 400 * US + k * 30 * US;
    f->length = 50 * MS;
    run("consumed", k, 0, 0);
    assert_true(in_order());
  }
}

static void at_most_once_loses_but_never_repeats(void **state) {
  unsigned k, lost = 0;

  (void) state;
  for (k = 0; k < 120; k++) {
    fault_t *f;

    scenario_start(1300 + k, any(k));
    plan.reliability = WEFT_AT_MOST_ONCE;
    f = plan_fault(&plan, FAULT_CUT, 0, 3);
    f->after = 300 * US + k * 20 * US;
    f->length = 50 * MS;
    run("at most once", k, 0, 0);
    assert_true(in_order());
    lost += w->o[0].ndelivered < 42 || w->o[1].ndelivered < 42;
  }
  assert_true(lost > 20);
}

static bool all_of_a_sent(world_t *x) {
  return x->o[0].nsent == x->o[0].n;
}

/* B holds what A was told has arrived; A aborts, or all its paths die; then B starts to receive. */
static void acknowledged_and_held_is_delivered_after_the_end(void **state) {
  unsigned how, seed, i;

  (void) state;
  for (how = 0; how < 2; how++)
    for (seed = 0; seed < 8; seed++) { /* a user may also let go of it: one in four does */
      unsigned count = 0;

      plan_basic(&plan, 300 + seed);
      plan_messages(&plan, 0, 12, 100, 0, 50 * US);
      plan.side[0].fin_at = 100 * S;
      plan.side[1].start_at = 50 * S;
      plan.side[1].release_after = S;
      plan.may_fail = true;
      world_begin(w, &plan);
      assert_true(world_until(w, all_of_a_sent));
      assert_int_equal(w->o[1].ndelivered, 0);
      if (how == 0)
        owner_abort(&w->o[0], "enough");
      else
        weft__session_fail(w->o[1].s, -ECONNRESET, "the device says so");
      assert_int_equal(world_end(w), 0);
      assert_true(w->o[1].ended && w->o[1].held);
      for (i = 0; i < w->o[0].n; i++) count += w->o[0].msg[i].delivered;
      assert_int_equal(count, w->o[1].discards ? 0 : 12);
    }
}

int main(void) {
  static const struct CMUnitTest tests[] = {
      cmocka_unit_test(nothing_happens),
      cmocka_unit_test(cut_at_every_frame),
      cmocka_unit_test(both_ends_fail_over_at_once),
      cmocka_unit_test(both_ends_migrate_apart),
      cmocka_unit_test(second_failure_during_the_first),
      cmocka_unit_test(late_frames_of_a_dead_path),
      cmocka_unit_test(lost_acknowledgements),
      cmocka_unit_test(tombstones),
      cmocka_unit_test(stalled_peers_hold),
      cmocka_unit_test(a_peer_that_stays_away),
      cmocka_unit_test(nobody_accepts),
      cmocka_unit_test(half_close_with_failure),
      cmocka_unit_test(fragments_cut_anywhere),
      cmocka_unit_test(reads_that_fail),
      cmocka_unit_test(reads_that_never_succeed),
      cmocka_unit_test(refusals_cut_anywhere),
      cmocka_unit_test(one_path_lost_and_joined_again),
      cmocka_unit_test(consumed_and_slow_readers),
      cmocka_unit_test(at_most_once_loses_but_never_repeats),
      cmocka_unit_test(acknowledged_and_held_is_delivered_after_the_end),
  };
  return cmocka_run_group_tests(tests, scenario_setup, scenario_teardown);
}
