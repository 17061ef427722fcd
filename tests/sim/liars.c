/* SPDX-License-Identifier: Apache-2.0 */
/* liars.c - a peer that lies: one lie each, told by B in the name of its own path.
 *
 * Design notes
 *  - A lie starts from the frame that B would send next, with nothing wrong in it, and changes one
 *    thing. Who is lied to ends the session and says why; B is not judged. */
#include "lib_scenario.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

typedef struct lie {
  const char *name, *reason; /* part of the victim's reason; NULL: it is passed over */
  unsigned type;
  uint32_t length;
  void (*tell)(uint8_t *f); /* change the frame: its header is right, its payload zero */
} lie_t;

static bool flowing(world_t *x) {
  return x->o[0].npaths == 2 && x->o[0].ndelivered >= 5 && x->o[0].stats.rx_frames == 0 &&
         x->last_path[1] != NULL && x->frames[1][WEFT__F_DATA] > 3 && x->frames[1][WEFT__F_CTS] > 0;
}

#define P(f, at) ((f) + WEFT__HDR + (at))
static void lie_version(uint8_t *f) {
  f[0] = 7;
}
static void lie_type(uint8_t *f) {
  f[1] = 99;
}
static void lie_flags(uint8_t *f) {
  f[2] = 0x80;
}
static void lie_suite(uint8_t *f) {
  f[3] = 1;
}
static void lie_count(uint8_t *f) {
  weft__put16(f + 6, 3);
}
static void lie_key(uint8_t *f) {
  f[8] ^= 1;
}
static void lie_replay(uint8_t *f) {
  weft__put64(f + 16, weft__get64(f + 16) - 1);
}
static void lie_gap(uint8_t *f) {
  weft__put64(f + 16, weft__get64(f + 16) + 1);
}
static void lie_ack(uint8_t *f) {
  weft__put64(f + 32, weft__get64(f + 32) + 100000);
}
static void lie_grant(uint8_t *f) {
  weft__put32(f + 60, weft__get32(f + 60) + 100000);
}
static void lie_window_back(uint8_t *f) {
  weft__put64(f + 40, 0);
  weft__put64(f + 48, 0);
}
static void lie_data_ahead(uint8_t *f) {
  weft__put16(f + 6, 1);
  weft__put64(f + 24, 5000);
}
static void lie_record(uint8_t *f) {
  weft__put16(f + 6, 1);
  weft__put64(f + 24, 1);
  weft__put32(P(f, 0), 9999);
}
static void lie_trailing(uint8_t *f) {
  weft__put16(f + 6, 1);
  weft__put64(f + 24, 1);
}
static void lie_resume(uint8_t *f) {
  weft__put64(P(f, 0), 9);
  weft__put64(P(f, 8), 1u << 30);
}
static void lie_cts_unknown(uint8_t *f) {
  weft__put64(P(f, 0), 1u << 30);
  weft__put32(P(f, 32), 10);
}
static void lie_cts_last(uint8_t *f) {
  weft__put64(P(f, 0), UINT64_MAX);
  weft__put32(P(f, 32), 10);
}
static void lie_frag(uint8_t *f) {
  weft__put64(P(f, 0), 3);
  weft__put32(P(f, 16), 100);
}
static void lie_chunk(uint8_t *f) {
  weft__put64(P(f, 0), 3);
  weft__put32(P(f, 16), 8);
}
static void lie_refuse(uint8_t *f) {
  weft__put64(P(f, 0), 1u << 30);
}
static void lie_skip(uint8_t *f) {
  weft__put64(P(f, 0), 1u << 30);
}
static void lie_hello(uint8_t *f) {
  (void) f;
}

static const lie_t lies[] = {
    {"another version", "version", WEFT__F_ACK, 0, lie_version},
    {"an unknown type", "type", WEFT__F_ACK, 0, lie_type},
    {"an unknown flag", "flag", WEFT__F_ACK, 0, lie_flags},
    {"a cipher suite", "suite", WEFT__F_ACK, 0, lie_suite},
    {"a count in a control frame", "count", WEFT__F_ACK, 0, lie_count},
    {"a wrong path key", "key", WEFT__F_ACK, 0, lie_key},
    {"a replayed counter", "frame", WEFT__F_ACK, 0, lie_replay},
    {"a missing frame", "frame", WEFT__F_ACK, 0, lie_gap},
    {"an acknowledgement of what was not sent", "acknowledges", WEFT__F_ACK, 0, lie_ack},
    {"too large a grant", "grants", WEFT__F_ACK, 0, lie_grant},
    {"a window that shrinks", NULL, WEFT__F_ACK, 0, lie_window_back},
    {"a record ahead of its turn", "was due", WEFT__F_DATA, 8, lie_data_ahead},
    {"a record larger than its frame", "record", WEFT__F_DATA, 8, lie_record},
    {"bytes after the last record", "after the last", WEFT__F_DATA, 16, lie_trailing},
    {"a resume beyond what was sent", "resumes", WEFT__F_RESUME, WEFT__RESUME_SIZE, lie_resume},
    {"a clear-to-send for nothing", "clear to send", WEFT__F_CTS, WEFT__CTS_SIZE, lie_cts_unknown},
    {"a clear-to-send for the last number", "clear to send", WEFT__F_CTS, WEFT__CTS_SIZE,
     lie_cts_last},
    {"a fragment nobody asked for", "not asked for", WEFT__F_FRAG, WEFT__FRAG_SIZE, lie_frag},
    {"a piece nobody asked for", "not asked for", WEFT__F_CHUNK, WEFT__FRAG_SIZE + 8, lie_chunk},
    {"a source nobody asked for", "not asked for", WEFT__F_READY, WEFT__READY_SIZE,
     lie_cts_unknown},
    {"done with what was not open", "may not read", WEFT__F_DONE, WEFT__FRAG_SIZE, lie_frag},
    {"a refusal of nothing", "refuses", WEFT__F_REFUSE, WEFT__REFUSE_SIZE, lie_refuse},
    {"a skip of nothing", "skips", WEFT__F_SKIP, WEFT__REFUSE_SIZE, lie_skip},
    {"a second hello", "HELLO", WEFT__F_HELLO, 8, lie_hello},
};

static void begin_lying(unsigned seed) {
  scenario_start(seed, WEFT__XFER_WRITE);
  plan.hostile = true;
  plan.liar = 1;
  plan.side[0].destroy_after = 0;
  plan.peer_timeout = 3 * S;
  world_begin(w, &plan);
  assert_true(world_until(w, flowing));
}

/* The frame a lie starts from: what B would send next on its path, with nothing wrong. */
static void next_frame(uint8_t *f, unsigned type, uint32_t length) {
  memcpy(f, w->last[1], WEFT__HDR);
  memset(f + WEFT__HDR, 0, length);
  f[1] = (uint8_t) type;
  f[2] = 0;
  weft__put16(f + 6, 0);
  weft__put64(f + 16, weft__get64(f + 16) + 1);
  weft__put64(f + 24, 0);
  weft__put32(f + 56, length);
}

static void lying_peers(void **state) {
  unsigned i;

  (void) state;
  for (i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
    uint8_t f[WEFT__HDR + 256];

    begin_lying(2000);
    next_frame(f, lies[i].type, lies[i].length);
    lies[i].tell(f);
    weft__sim_inject(w->last_path[1], f, WEFT__HDR + lies[i].length);
    if (world_end(w) != 0) {
      print_error("%s: %s\n", lies[i].name, w->first);
      fail();
    }
    /* B's own next frame then has a counter that A does not expect: so a lie that is passed over
     * ends the session too, for that reason. */
    if (w->o[0].end_err != WEFT__E_PROTOCOL ||
        strstr(w->o[0].end_why, lies[i].reason != NULL ? lies[i].reason : "where") == NULL) {
      print_error("%s: the victim ended with %d, %s\n", lies[i].name, w->o[0].end_err,
                  w->o[0].end_why);
      fail();
    }
  }
}

/* Frames beyond the credits that were granted. */
static void credits_overrun(void **state) {
  uint8_t f[WEFT__HDR];
  uint64_t fc;
  unsigned i;

  (void) state;
  begin_lying(2001);
  next_frame(f, WEFT__F_ACK, 0);
  fc = weft__get64(f + 16);
  weft__sim_host_stop(w->sim, 0, weft__sim_time(w->sim) + MS);
  for (i = 0; i < 100; i++) {
    weft__put64(f + 16, fc + i);
    weft__sim_inject(w->last_path[1], f, WEFT__HDR);
  }
  assert_int_equal(world_end(w), 0);
  assert_int_equal(w->o[0].end_err, WEFT__E_PROTOCOL);
  assert_non_null(strstr(w->o[0].end_why, "grant"));
}

/* More clear-to-sends than may be outstanding: the sender stops listening, not working. */
static void too_many_clear_to_sends(void **state) {
  uint8_t f[WEFT__HDR + WEFT__CTS_SIZE];
  uint64_t fc, seq = 0;
  unsigned i;

  (void) state;
  begin_lying(2002);
  for (i = 0; i < w->o[0].n; i++) /* a large one of A's on its way */
    if (w->o[0].msg[i].state == MSG_QUEUED && w->o[0].msg[i].size > weft__session_eager_max())
      seq = w->o[0].msg[i].txm.seq;
  assert_int_not_equal(seq, 0);
  next_frame(f, WEFT__F_CTS, WEFT__CTS_SIZE);
  fc = weft__get64(f + 16);
  for (i = 0; i < 24; i++) {
    weft__put64(f + 16, fc + i);
    weft__put64(P(f, 0), seq);
    weft__put64(P(f, 8), 0);
    weft__put64(P(f, 16), 4711);
    weft__put32(P(f, 32), 40000);
    weft__sim_inject(w->last_path[1], f, sizeof(f));
  }
  assert_int_equal(world_end(w), 0);
  assert_int_not_equal(w->o[0].end_err, 0);
}

/* A clear-to-send for bytes that the message does not have. */
static void clear_to_send_beyond_the_message(void **state) {
  static const struct {
    uint64_t off;
    uint32_t len;
  } beyond[] = {{0, 40001}, {40000, 1}, {39999, 2}, {UINT64_MAX, 1}, {UINT64_MAX - 9, 20}, {0, 0}};
  unsigned k, i;

  (void) state;
  for (k = 0; k < sizeof(beyond) / sizeof(beyond[0]); k++) {
    uint8_t f[WEFT__HDR + WEFT__CTS_SIZE];
    uint64_t seq = 0;

    begin_lying(2003);
    for (i = 0; i < w->o[0].n; i++)
      if (w->o[0].msg[i].state == MSG_QUEUED && w->o[0].msg[i].size > weft__session_eager_max())
        seq = w->o[0].msg[i].txm.seq;
    assert_int_not_equal(seq, 0);
    next_frame(f, WEFT__F_CTS, WEFT__CTS_SIZE);
    weft__put64(P(f, 0), seq);
    weft__put64(P(f, 8), beyond[k].off);
    weft__put32(P(f, 32), beyond[k].len);
    weft__sim_inject(w->last_path[1], f, sizeof(f));
    assert_int_equal(world_end(w), 0);
    assert_int_equal(w->o[0].end_err, WEFT__E_PROTOCOL);
    assert_non_null(strstr(w->o[0].end_why, "clear to send"));
  }
}

int main(void) {
  static const struct CMUnitTest tests[] = {
      cmocka_unit_test(lying_peers),
      cmocka_unit_test(credits_overrun),
      cmocka_unit_test(too_many_clear_to_sends),
      cmocka_unit_test(clear_to_send_beyond_the_message),
  };
  return cmocka_run_group_tests(tests, scenario_setup, scenario_teardown);
}
