/* SPDX-License-Identifier: Apache-2.0 */
/* hostile_slow.c - peers that are slow, silent, or vanish: in every step of a handshake, in the
 * middle of a frame, and when the session is long open.
 *
 * ctest: timeout=120 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib_case.h"

enum { HANDSHAKE = 500, PEER_TIMEOUT = 1500, BEAT = 300 };

static void tune(weft_opts_t *o) {
  o->handshake_timeout_ms = HANDSHAKE;
  o->peer_timeout_ms = PEER_TIMEOUT;
  o->beat_ms = BEAT;
}

static void nap(unsigned ms) {
  struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long) (ms % 1000) * 1000000};

  nanosleep(&t, NULL);
}

/* Closes not before `least` ms, and well before anybody loses patience. */
static void closes_after(peer_t *p, unsigned mark, unsigned least, unsigned most) {
  uint64_t from = peer_now_ms();
  uint64_t took;

  must_close(mark, p, (int) most);
  took = peer_now_ms() - from;
  if (took < least) {
    log_print(mark);
    fail_msg("closed after %u ms, not before %u ms was expected", (unsigned) took, least);
  }
}

/* ---- The connection message ---- */

/* Connected and not a word: the provider holds it, with no limit of time (docs/trust.md), so
 * nothing of it is Weft's. Others are served, and when it goes nothing of it stays. */
static void silent_from_the_start(void) {
  peer_t p;

  peer_dial(&p, NULL, world_port());
  world_echo(1000);
  nap(HANDSHAKE + 200);
  world_echo(1000);
  peer_close(&p);
}

static void byte_by_byte(void) {
  uint8_t blob[WEFT__REQUEST_SIZE], b[CM_SIZE + WEFT__REQUEST_SIZE];
  unsigned mark = log_mark();
  peer_t p;
  size_t i, n;

  peer_dial(&p, NULL, world_port());
  peer_identity(&p, "slow");
  weft__request_put(blob, &p.rq);
  n = peer_cm_bytes(b, CM_REQUEST, blob, sizeof(blob));
  for (i = 0; i < n && peer_raw(&p, b + i, 1); i++) nap(1);
  must_close(mark, &p, 5000);
  peer_close(&p);
}

/* The header and then, later, what it announces. */
static void header_then_data(void) {
  uint8_t blob[WEFT__REQUEST_SIZE], b[CM_SIZE + WEFT__REQUEST_SIZE];
  unsigned mark = log_mark();
  peer_t p;

  peer_dial(&p, NULL, world_port());
  peer_identity(&p, "slow");
  weft__request_put(blob, &p.rq);
  peer_cm_bytes(b, CM_REQUEST, blob, sizeof(blob));
  peer_raw(&p, b, CM_SIZE);
  nap(20);
  peer_raw(&p, b + CM_SIZE, sizeof(blob));
  must_close(mark, &p, 5000);
  peer_close(&p);
}

/* ---- HELLO ---- */

static void begin(peer_t *p) {
  peer_dial(p, NULL, world_port());
  peer_identity(p, "slow");
  assert_true(peer_request(p));
}

static void never_hello(void) {
  unsigned mark = log_mark();
  peer_t p;

  begin(&p);
  closes_after(&p, mark, HANDSHAKE - 100, HANDSHAKE + 1500);
  must_log(mark, p.name, "no HELLO from the peer within 500 ms");
  peer_close(&p);
}

/* Other frames do not buy time. */
static void pings_instead_of_hello(void) {
  unsigned mark = log_mark();
  uint64_t from = peer_now_ms();
  peer_t p;

  begin(&p);
  while (peer_now_ms() - from < HANDSHAKE + 1000 && peer_ping(&p)) {
    peer_frame_t f;
    if (peer_read(&p, &f, 20) < 0) break;
  }
  closes_after(&p, mark, 0, 1000);
  assert_true(peer_now_ms() - from >= HANDSHAKE - 100);
  must_log(mark, p.name, "no HELLO from the peer within 500 ms");
  peer_close(&p);
}

/* A HELLO that never ends, one byte in 20 ms. */
static void dripping_hello(void) {
  unsigned mark = log_mark();
  uint64_t from = peer_now_ms();
  uint8_t b[OP_SIZE + WEFT__HDR + WEFT__HELLO_MAX];
  weft__hdr_t h;
  peer_t p;
  size_t n, i;

  begin(&p);
  n = weft__hello_put(b + OP_SIZE + WEFT__HDR, WEFT__HELLO_MAX, &p.self);
  h = peer_hdr(&p, WEFT__F_HELLO);
  h.length = (uint32_t) n;
  weft__hdr_put(b + OP_SIZE, &h);
  peer_op_bytes(b, OP_MSG, 0, NULL, 0, WEFT__HDR + n);
  for (i = 0; i < OP_SIZE + WEFT__HDR + n; i++) {
    if (!peer_raw(&p, b + i, 1) || peer_gone(&p, 20)) break;
  }
  assert_true(i < OP_SIZE + WEFT__HDR + n);
  assert_in_range(peer_now_ms() - from, HANDSHAKE - 100, HANDSHAKE + 1500);
  must_log(mark, p.name, "no HELLO from the peer within 500 ms");
  peer_close(&p);
}

/* ---- An open session ---- */

static void falls_silent(uint32_t interruption_ms) {
  unsigned mark = log_mark();
  uint64_t from;
  world_end_t end;
  peer_t p;

  begin(&p);
  p.self.qos.interruption_ms = interruption_ms;
  assert_true(peer_hello(&p));
  assert_true(peer_hear(&p, 5000));
  from = peer_now_ms();
  end = world_end_of(p.name, PEER_TIMEOUT + BEAT + 3000);
  assert_int_equal(end.status, WEFT_EPEERLOST);
  assert_true(end.why[0] != '\0');
  assert_in_range(peer_now_ms() - from, PEER_TIMEOUT - 500, PEER_TIMEOUT + BEAT + 2000);
  must_close(mark, &p, 5000);
  must_log(mark, p.name, NULL);
  peer_close(&p);
}

static void silent_session(void) {
  falls_silent(0);
}

/* The peer's own need says that an hour of silence is fine. It is not: the server's peer_timeout
 * holds. */
static void silent_session_that_tolerates_an_hour(void) {
  falls_silent(3600 * 1000);
}

/* The same peer, whose only path is closed by its system. */
static void gone_session_that_tolerates_an_hour(void) {
  uint64_t from;
  world_end_t end;
  peer_t p;

  begin(&p);
  p.self.qos.interruption_ms = 3600 * 1000;
  assert_true(peer_hello(&p));
  assert_true(peer_hear(&p, 5000));
  from = peer_now_ms();
  peer_close(&p);
  end = world_end_of(p.name, PEER_TIMEOUT + 3000);
  assert_true(end.status < 0);
  assert_true(peer_now_ms() - from < PEER_TIMEOUT + 3000);
}

/* Half of a frame, then nothing: not a sign of life. */
static void half_a_frame(void) {
  uint8_t b[OP_SIZE + 100] = {0};
  peer_t p;

  begin(&p);
  assert_true(peer_hello(&p));
  assert_true(peer_hear(&p, 5000));
  peer_op_bytes(b, OP_MSG, 0, NULL, 0, 1000);
  peer_raw(&p, b, sizeof(b));
  assert_int_equal(world_end_of(p.name, PEER_TIMEOUT + BEAT + 3000).status, WEFT_EPEERLOST);
  peer_close(&p);
}

/* Half of a write into open memory, then nothing. The memory is the program's again when the path
 * is closed, not before. */
static void half_a_write(void) {
  static const uint8_t zeros[100000];
  peer_frame_t f;
  uint64_t words[3];
  uint8_t b[OP_SIZE + sizeof(words)];
  peer_t p;

  begin(&p);
  assert_true(peer_hello(&p));
  assert_true(peer_hear(&p, 5000));
  peer_announce(&p, 1 << 20);
  assert_int_equal(peer_read_type(&p, &f, WEFT__F_CTS, 5000), 1);
  words[0] = weft__get64(f.payload + 16);
  words[1] = weft__get32(f.payload + 32);
  words[2] = weft__get64(f.payload + 24);
  peer_op_bytes(b, OP_WRITE, 0, words, 3, words[1]);
  b[5] = 1;
  peer_raw(&p, b, sizeof(b));
  peer_raw(&p, zeros, sizeof(zeros));
  assert_int_equal(world_end_of(p.name, PEER_TIMEOUT + BEAT + 3000).status, WEFT_EPEERLOST);
  assert_true(peer_gone(&p, 5000));
  peer_close(&p);
}

/* ---- Vanishing in the middle of every step ---- */

/* The bytes of a whole visit: request, HELLO, a message, the announcement of a large one, the end.
 */
enum { STEPS_MAX = 1 << 14 };
typedef struct visit {
  uint8_t b[STEPS_MAX];
  size_t len, request; /* the answer is waited for after `request` bytes */
} visit_t;

static void add_frame(visit_t *v, peer_t *p, unsigned type, const void *payload, size_t len,
                      unsigned count) {
  weft__hdr_t h = peer_hdr(p, type);

  h.length = (uint32_t) len;
  h.count = (uint16_t) count;
  h.seq = count != 0 ? p->seq : 0;
  p->seq += count;
  v->len += peer_op_bytes(v->b + v->len, OP_MSG, 0, NULL, 0, WEFT__HDR + len);
  weft__hdr_put(v->b + v->len, &h);
  memcpy(v->b + v->len + WEFT__HDR, payload, len);
  v->len += WEFT__HDR + len;
}

static void plan(visit_t *v, peer_t *p) {
  uint8_t blob[WEFT__REQUEST_SIZE], hello[WEFT__HELLO_MAX], rec[32 + WEFT__HEAD_MAX] = {0};
  size_t n;

  v->len = 0;
  weft__request_put(blob, &p->rq);
  v->len += peer_cm_bytes(v->b, CM_REQUEST, blob, sizeof(blob));
  v->request = v->len;
  n = weft__hello_put(hello, sizeof(hello), &p->self);
  add_frame(v, p, WEFT__F_HELLO, hello, n, 0);
  weft__rec_put(rec, WEFT__R_MSG, 8);
  add_frame(v, p, WEFT__F_DATA, rec, 16, 1);
  weft__rec_put(rec, WEFT__R_LARGE, 8 + WEFT__HEAD_MAX);
  weft__put64(rec + 8, 5 << 20);
  add_frame(v, p, WEFT__F_DATA, rec, 16 + WEFT__HEAD_MAX, 1);
  weft__rec_put(rec, WEFT__R_FIN, 0);
  add_frame(v, p, WEFT__F_DATA, rec, 8, 1);
}

static void vanish(size_t at, bool reset) {
  uint8_t answer[256];
  visit_t v;
  peer_t p;
  unsigned type;
  int n;

  peer_dial(&p, NULL, world_port());
  peer_identity(&p, "slow");
  plan(&v, &p);
  peer_raw(&p, v.b, at < v.request ? at : v.request);
  if (at > v.request) {
    n = peer_cm_read(&p, &type, answer, sizeof(answer), 5000);
    assert_true(n >= 0);
    assert_true(weft__answer_get(answer, (size_t) n, &p.an));
    p.tx_fc = 0;
    p.seq = 1;
    plan(&v, &p); /* now that we know the key */
    peer_raw(&p, v.b + v.request, at - v.request);
  }
  if (reset)
    peer_reset(&p);
  else
    peer_close(&p);
}

static void vanish_everywhere(void) {
  visit_t v;
  peer_t p = {.seq = 1};
  size_t at;
  unsigned i = 0;

  peer_identity(&p, "slow");
  plan(&v, &p);
  for (at = 0; at <= v.len; at += 7 + at / 40, i++) {
    vanish(at, i % 2 != 0);
    if (i % 16 == 15) world_check();
  }
  vanish(v.request, false);
  vanish(v.len, false);
  vanish(v.len, true);
}

/* The other half of every step: we say all, and vanish after reading so many bytes of the answer.
 */
static void vanish_while_reading(void) {
  unsigned i;

  for (i = 0; i < 12; i++) {
    visit_t v;
    peer_t p;
    peer_dial(&p, NULL, world_port());
    peer_identity(&p, "push");
    assert_true(peer_request(&p));
    plan(&v, &p);
    peer_raw(&p, v.b + v.request, v.len - v.request);
    nap(i * 2);
    if (i % 2 != 0)
      peer_reset(&p);
    else
      peer_close(&p);
  }
}

#define RUN(fn)                                                                                    \
  { .name = #fn, .run = fn }

static const hostile_case_t cases[] = {
    RUN(silent_from_the_start),
    RUN(byte_by_byte),
    RUN(header_then_data),
    RUN(never_hello),
    RUN(pings_instead_of_hello),
    RUN(dripping_hello),
    RUN(silent_session),
    RUN(silent_session_that_tolerates_an_hour),
    RUN(gone_session_that_tolerates_an_hour),
    RUN(half_a_frame),
    RUN(half_a_write),
    RUN(vanish_everywhere),
    RUN(vanish_while_reading),
};

HOSTILE_MAIN("hostile_slow", cases, tune)
