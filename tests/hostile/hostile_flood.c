/* SPDX-License-Identifier: Apache-2.0 */
/* hostile_flood.c - one source that opens hundreds of connections: half-open, silent, or open and
 * closed at once. Others are served meanwhile, and it is itself when it has gone.
 *
 * Design notes
 *   - The flood comes from 127.0.0.2, the honest from 127.0.0.1: limits are per source address. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "lib_case.h"

enum { FLOOD = 500, HALF_OPEN = 16, HANDSHAKE = 3000, BACKLOG = 64 };
enum { WAIT = 3000 * (WORLD_SANITIZED ? 3 : 1) };
static const char *const source = "127.0.0.2";

static void tune(weft_opts_t *o) {
  o->half_open_max = HALF_OPEN;
  o->handshake_timeout_ms = HANDSHAKE * (WORLD_SANITIZED ? 3 : 1);
  o->connect_timeout_ms = WAIT;
}

static peer_t flood[FLOOD];

static void others_are_served(void) {
  uint64_t from = peer_now_ms();
  peer_frame_t f;
  peer_t p;

  world_echo(1000);
  peer_open(&p, world_port(), "another");
  peer_record(&p, WEFT__R_MSG, "12345678", 8);
  assert_int_equal(peer_read_type(&p, &f, WEFT__F_DATA, 5000), 1);
  peer_close(&p);
  assert_true(peer_now_ms() - from < 2000 * (WORLD_SANITIZED ? 4 : 1));
}

static void half_open(void) {
  unsigned mark = log_mark(), accepted = 0, busy = 0, i;
  peer_t p;

  for (i = 0; i < FLOOD; i++) {
    peer_dial(&flood[i], source, world_port());
    peer_identity(&flood[i], "flood");
    if (peer_request(&flood[i])) {
      accepted++;
    } else {
      assert_int_equal(flood[i].an.kind, WEFT__A_REJECT);
      assert_int_equal(flood[i].an.code, WEFT__J_BUSY);
      busy++;
    }
  }
  assert_int_equal(accepted, HALF_OPEN);
  assert_int_equal(busy, FLOOD - HALF_OPEN);
  must_log(mark, source, "too many handshakes");
  others_are_served();

  /* A refusal leaves nothing behind, and the handshakes that were taken run into their time limit.
   */
  for (i = 0; i < FLOOD; i++) {
    must_close(mark, &flood[i], HANDSHAKE + 3000);
    peer_close(&flood[i]);
  }
  must_log(mark, source, "no HELLO from the peer");
  peer_dial(&p, source, world_port());
  peer_identity(&p, "flood");
  assert_true(peer_request(&p));
  assert_true(peer_hello(&p));
  assert_true(peer_hear(&p, 5000));
  peer_close(&p);
}

static bool introduces(peer_t *p, const char *from, const char *label) {
  peer_dial(p, from, world_port());
  peer_identity(p, label);
  if (!peer_request(p)) {
    assert_int_equal(p->an.kind, WEFT__A_REJECT);
    assert_int_equal(p->an.code, WEFT__J_BUSY);
    return false;
  }
  assert_true(peer_hello(p));
  return true;
}

/* Peers whom the program neither accepts nor rejects, and who say nothing, hold their places in the
 * backlog for a time, and one source only so many of them. */
static void fill_backlog(void) {
  unsigned mark = log_mark(), i;
  peer_frame_t f;
  peer_t p;

  for (i = 0; i < BACKLOG; i++) {
    char from[16];
    snprintf(from, sizeof(from), "127.0.0.%u", 2 + i / HALF_OPEN);
    assert_true(introduces(&flood[i], from, "wait"));
  }
  world_echo(1000);
  assert_false(introduces(&p, source, "wait"));
  must_log(mark, source, "too many handshakes");
  peer_close(&p);
  assert_true(introduces(&p, NULL, "another")); /* no place for anybody */
  assert_int_equal(peer_read_type(&p, &f, WEFT__F_ABORT, WAIT - 1000), 1);
  assert_non_null(strstr(p.abort_text, "too many connections wait"));
  peer_close(&p);

  for (i = 0; i < BACKLOG; i++) {
    assert_int_equal(peer_read_type(&flood[i], &f, WEFT__F_ABORT, 2 * WAIT), 1);
    assert_int_equal(flood[i].abort_code, WEFT_EREJECTED);
    assert_non_null(strstr(flood[i].abort_text, "not accepted within"));
    must_close(mark, &flood[i], 3000);
    peer_close(&flood[i]);
  }
  must_log(mark, source, "not accepted within");
  others_are_served();
  for (i = 0; i < HALF_OPEN; i++) /* the source has its places back, too */
    assert_true(introduces(&flood[i], source, "flood"));
  for (i = 0; i < HALF_OPEN; i++) peer_close(&flood[i]);
}

static void backlog_of_silent_peers(void) {
  fill_backlog();
  world_rebase(); /* so many paths at once have made a rail's queues grow, which stay */
  fill_backlog();
}

/* One place among the half-open comes back with each handshake that ends, however it ends. */
static void places_come_back(void) {
  unsigned round, i;

  for (round = 0; round < 5; round++) {
    for (i = 0; i < HALF_OPEN; i++) {
      peer_dial(&flood[i], source, world_port());
      peer_identity(&flood[i], "flood");
      if (!peer_request(&flood[i])) {
        fail_msg("round %u: connection %u of %u was refused with code %u", round, i, HALF_OPEN,
                 flood[i].an.code);
      }
    }
    for (i = 0; i < HALF_OPEN; i++) {
      switch ((i + round) % 4) {
      case 0: peer_close(&flood[i]); break;
      case 1: peer_reset(&flood[i]); break;
      case 2: /* a malformed HELLO */
        peer_frame(&flood[i], WEFT__F_HELLO, "x", 1);
        assert_true(peer_gone(&flood[i], 5000));
        peer_close(&flood[i]);
        break;
      default: /* a good one */
        peer_hello(&flood[i]);
        assert_true(peer_hear(&flood[i], 5000));
        peer_close(&flood[i]);
        break;
      }
    }
    world_check();
  }
}

/* Connected and silent: the provider's, with no limit (docs/trust.md). Below the system's own
 * limits nobody is hurt. */
static void silent_connections(void) {
  unsigned i;

  for (i = 0; i < FLOOD; i++) peer_dial(&flood[i], source, world_port());
  others_are_served();
  for (i = 0; i < FLOOD; i++) peer_close(&flood[i]);
}

static void connect_and_reset(void) {
  unsigned i;

  for (i = 0; i < FLOOD; i++) {
    peer_t p;
    peer_dial(&p, source, world_port());
    if (i % 3 != 0) {
      uint8_t blob[WEFT__REQUEST_SIZE];
      peer_identity(&p, "flood");
      weft__request_put(blob, &p.rq);
      peer_cm(&p, CM_REQUEST, blob, sizeof(blob));
    }
    if (i % 2 != 0)
      peer_reset(&p);
    else
      peer_close(&p);
    if (i % 100 == 99) world_echo(1000);
  }
}

/* Sessions that open and vanish, again and again: what the server keeps of them is bounded. */
static void sessions_open_and_vanish(void) {
  unsigned i;

  for (i = 0; i < 100; i++) {
    peer_t p;
    peer_dial(&p, source, world_port());
    peer_identity(&p, "flood");
    assert_true(peer_request(&p));
    assert_true(peer_hello(&p));
    assert_true(peer_hear(&p, 5000));
    peer_record(&p, WEFT__R_MSG, "12345678", 8);
    peer_announce(&p, 4 << 20);
    peer_reset(&p);
  }
}

#define RUN(fn)                                                                                    \
  { .name = #fn, .run = fn }

static const hostile_case_t cases[] = {
    RUN(half_open),          RUN(backlog_of_silent_peers), RUN(places_come_back),
    RUN(silent_connections), RUN(connect_and_reset),       RUN(sessions_open_and_vanish),
};

int main(int argc, char **argv) {
  struct rlimit fds;

  getrlimit(RLIMIT_NOFILE, &fds);
  fds.rlim_cur = fds.rlim_max;
  setrlimit(RLIMIT_NOFILE, &fds);
  if (fds.rlim_cur < 3 * FLOOD) {
    printf("SKIP: %u file descriptors are allowed, the flood takes %u\n", (unsigned) fds.rlim_cur,
           3 * FLOOD);
    return 77;
  }
  return hostile_main(argc, argv, "hostile_flood", cases, sizeof(cases) / sizeof(cases[0]), tune);
}
