/* SPDX-License-Identifier: Apache-2.0 */
/* hostile_sequence.c - well-formed frames that a peer has no right to send now: beyond its credits
 * and windows, out of order, about transfers nobody asked for, into memory that is not open. And
 * what looks odd but is allowed, or harms only the peer itself. */
#include <string.h>

#include "lib_case.h"
#include "rail/path.h" /* WEFT__FRAME_MAX */

enum { LIMIT = 2 << 20, WINDOW_MESSAGES = 64, WINDOW_BYTES = 64 << 10 };

static void tune(weft_opts_t *o) {
  o->max_message = LIMIT;
  o->window_messages = WINDOW_MESSAGES;
  o->window_bytes = WINDOW_BYTES;
}

static void data(peer_t *p, const void *payload, uint32_t len, unsigned count, uint64_t seq) {
  weft__hdr_t h = peer_hdr(p, WEFT__F_DATA);

  h.count = (uint16_t) count;
  h.seq = seq;
  h.length = len;
  peer_put(p, &h, payload, len);
}

/* ---- Records and windows ---- */

static void gap(peer_t *p) {
  uint8_t b[8] = {0};

  data(p, b, 8, 1, 2);
}

static void gap_far(peer_t *p) {
  uint8_t b[8] = {0};

  data(p, b, 8, 1, UINT64_MAX - 1);
}

static void beyond_messages(peer_t *p) {
  uint8_t b[8 * (WINDOW_MESSAGES + 1)] = {0};

  data(p, b, sizeof(b), WINDOW_MESSAGES + 1, 1);
}

static void beyond_bytes(peer_t *p) {
  static const uint8_t b[WEFT__FRAME_MAX - WEFT__HDR - WEFT__REC];
  unsigned i;

  for (i = 0; i < WINDOW_BYTES / sizeof(b) + 1; i++) peer_record(p, WEFT__R_MSG, b, sizeof(b));
}

static void over_limit(peer_t *p) {
  peer_announce(p, LIMIT + 1);
}

static void over_limit_max(peer_t *p) {
  peer_announce(p, UINT64_MAX);
}

static void after_fin(peer_t *p, unsigned kind) {
  uint8_t b[16] = {0};

  weft__rec_put(b, WEFT__R_FIN, 0);
  weft__rec_put(b + 8, kind, 0);
  data(p, b, 16, 2, 1);
}

static void message_after_fin(peer_t *p) {
  after_fin(p, WEFT__R_MSG);
}

static void fin_after_fin(peer_t *p) {
  after_fin(p, WEFT__R_FIN);
}

static void skip_after_fin(peer_t *p) {
  after_fin(p, WEFT__R_SKIP);
}

/* ---- Headers ---- */

static void acks(peer_t *p, uint64_t ack) {
  weft__hdr_t h = peer_hdr(p, WEFT__F_ACK);

  h.ack = ack;
  peer_put(p, &h, NULL, 0);
}

static void ack_beyond(peer_t *p) {
  acks(p, 2);
}

static void ack_max(peer_t *p) {
  acks(p, UINT64_MAX);
}

static void grant_jump(peer_t *p) {
  weft__hdr_t h = peer_hdr(p, WEFT__F_ACK);

  h.grant = 1u << 20;
  peer_put(p, &h, NULL, 0);
}

/* We grant the server nothing, so it cannot grant us more than once in a while, and we do not care.
 */
static void beyond_grant(peer_t *p) {
  unsigned i;

  for (i = 0; i < 4000; i++) {
    weft__hdr_t h = peer_hdr(p, WEFT__F_ACK);
    h.grant = 0;
    if (!peer_put(p, &h, NULL, 0)) return;
  }
}

/* ---- Control frames nobody asked for ---- */

static void hello_again(peer_t *p) {
  peer_hello(p);
}

static void send_resume(peer_t *p, uint64_t epoch, uint64_t first, uint64_t bytes) {
  uint8_t b[WEFT__RESUME_SIZE];

  weft__put64(b, epoch);
  weft__put64(b + 8, first);
  weft__put64(b + 16, bytes);
  peer_frame(p, WEFT__F_RESUME, b, sizeof(b));
}

static void resume_beyond(peer_t *p) {
  send_resume(p, 1, 5, 0);
}

static void resume_max(peer_t *p) {
  send_resume(p, UINT64_MAX, UINT64_MAX, UINT64_MAX);
}

static void resume_amo_beyond(peer_t *p) {
  send_resume(p, 1, WINDOW_MESSAGES + 2, 0);
}

static void resume_amo_bytes(peer_t *p) {
  send_resume(p, 1, 1, WINDOW_BYTES + 1);
}

static void resume_amo_back(peer_t *p) {
  peer_record(p, WEFT__R_MSG, "12345678", 8);
  send_resume(p, 1, 1, 8);
}

static void send_cts(peer_t *p, uint64_t seq, uint64_t off, uint32_t len, uint32_t fl) {
  uint8_t b[WEFT__CTS_SIZE] = {0};

  weft__put64(b, seq);
  weft__put64(b + 8, off);
  weft__put32(b + 32, len);
  weft__put32(b + 36, fl);
  peer_frame(p, WEFT__F_CTS, b, sizeof(b));
}

static void cts_never(peer_t *p) {
  send_cts(p, 1, 0, 64, 0);
}

static void cts_number_0(peer_t *p) {
  send_cts(p, 0, 0, 64, 0);
}

/* The server has announced its message of 1 MiB as record 1. */
static void wait_push(peer_t *p) {
  peer_frame_t f;

  assert_int_equal(peer_read_type(p, &f, WEFT__F_DATA, 5000), 1);
  p->next = 1; /* it has not arrived */
}

static void cts_offset(peer_t *p) {
  wait_push(p);
  send_cts(p, 1, WORLD_PUSH_BYTES + 1, 1, 0);
}

static void cts_offset_wraps(peer_t *p) {
  wait_push(p);
  send_cts(p, 1, UINT64_MAX, 2, WEFT__CTS_COPY);
}

static void cts_length(peer_t *p) {
  wait_push(p);
  send_cts(p, 1, WORLD_PUSH_BYTES - 8, 9, WEFT__CTS_COPY);
}

static void cts_empty(peer_t *p) {
  wait_push(p);
  send_cts(p, 1, 0, 0, 0);
}

/* All in one piece, so that the server meets them in one go. */
static void cts_flood(peer_t *p) {
  enum { ONE = OP_SIZE + WEFT__HDR + WEFT__CTS_SIZE };
  uint8_t b[(WEFT__CTS_MAX + 1) * ONE] = {0};
  unsigned i;

  wait_push(p);
  for (i = 0; i <= WEFT__CTS_MAX; i++) {
    weft__hdr_t h = peer_hdr(p, WEFT__F_CTS);
    size_t n = peer_op_bytes(b + i * ONE, OP_MSG, 0, NULL, 0, WEFT__HDR + WEFT__CTS_SIZE);
    h.length = WEFT__CTS_SIZE;
    weft__hdr_put(b + i * ONE + n, &h);
    weft__put64(b + i * ONE + n + WEFT__HDR, 1);
    weft__put32(b + i * ONE + n + WEFT__HDR + 32, WORLD_PUSH_BYTES);
    weft__put32(b + i * ONE + n + WEFT__HDR + 36, WEFT__CTS_COPY);
  }
  peer_raw(p, b, sizeof(b));
}

static void send_frag(peer_t *p, uint64_t seq, uint64_t off, uint32_t len) {
  uint8_t b[WEFT__FRAG_SIZE] = {0};

  weft__put64(b, seq);
  weft__put64(b + 8, off);
  weft__put32(b + 16, len);
  peer_frame(p, WEFT__F_FRAG, b, sizeof(b));
}

static void send_chunk(peer_t *p, uint64_t seq, uint64_t off, uint32_t len) {
  static uint8_t b[WEFT__FRAME_MAX - WEFT__HDR];

  weft__put64(b, seq);
  weft__put64(b + 8, off);
  weft__put32(b + 16, len);
  peer_frame(p, WEFT__F_CHUNK, b, WEFT__FRAG_SIZE + len);
}

static void frag_never(peer_t *p) {
  send_frag(p, 1, 0, 64);
}

static void ready_never(peer_t *p) {
  uint8_t b[WEFT__READY_SIZE] = {1};

  b[32] = 64;
  peer_frame(p, WEFT__F_READY, b, sizeof(b));
}

static void done_never(peer_t *p) {
  uint8_t b[WEFT__FRAG_SIZE] = {1};

  b[16] = 64;
  peer_frame(p, WEFT__F_DONE, b, sizeof(b));
}

static void chunk_never(peer_t *p) {
  send_chunk(p, 1, 0, 64);
}

/* Announce a message of `total`, and wait for the first clear-to-send. */
static weft__cts_t announce(peer_t *p, uint64_t total) {
  peer_frame_t f;
  weft__cts_t c;

  peer_announce(p, total);
  assert_int_equal(peer_read_type(p, &f, WEFT__F_CTS, 5000), 1);
  c.seq = weft__get64(f.payload);
  c.off = weft__get64(f.payload + 8);
  c.addr = weft__get64(f.payload + 16);
  c.key = weft__get64(f.payload + 24);
  c.len = weft__get32(f.payload + 32);
  c.flags = weft__get32(f.payload + 36);
  return c;
}

static void frag_length(peer_t *p) {
  weft__cts_t c = announce(p, 1 << 20);

  send_frag(p, c.seq, c.off, c.len - 1);
}

static void frag_offset(peer_t *p) {
  weft__cts_t c = announce(p, 1 << 20);

  send_frag(p, c.seq, c.off + 1, c.len);
}

static void frag_of_another(peer_t *p) {
  weft__cts_t c = announce(p, 1 << 20);

  send_frag(p, c.seq + 1, c.off, c.len);
}

/* It was told where to write, and not that it would be read. */
static void ready_unasked(peer_t *p) {
  weft__cts_t c = announce(p, 1 << 20);

  (void) c;
  ready_never(p);
}

static void frag_twice(peer_t *p) {
  weft__cts_t c = announce(p, 1 << 20);

  send_frag(p, c.seq, c.off, c.len);
  send_frag(p, c.seq, c.off, c.len);
}

/* Instead of one write the sender may copy, piece after piece. */
static void chunk_gap(peer_t *p) {
  weft__cts_t c = announce(p, 1 << 20);

  send_chunk(p, c.seq, c.off, 64);
  send_chunk(p, c.seq, c.off + 128, 64);
}

static void chunk_beyond(peer_t *p) {
  weft__cts_t c = announce(p, 17000);

  send_chunk(p, c.seq, c.off, 16000);
  send_chunk(p, c.seq, c.off + 16000, 1001);
}

static void chunk_again(peer_t *p) {
  weft__cts_t c = announce(p, 17000);

  send_chunk(p, c.seq, c.off, 16000);
  send_chunk(p, c.seq, c.off, 16000);
}

static void send_refuse(peer_t *p, unsigned type, uint64_t seq) {
  uint8_t b[WEFT__REFUSE_SIZE] = {0};

  weft__put64(b, seq);
  weft__put32(b + 8, (uint32_t) -105);
  peer_frame(p, type, b, sizeof(b));
}

static void refuse_never(peer_t *p) {
  send_refuse(p, WEFT__F_REFUSE, 1);
}

static void refuse_small(peer_t *p) {
  peer_frame_t f;

  peer_record(p, WEFT__R_MSG, "12345678", 8);
  do /* the echo, of which we acknowledge nothing */
    assert_int_equal(peer_read(p, &f, 5000), 1);
  while (f.h.type != WEFT__F_DATA);
  p->next = 1;
  send_refuse(p, WEFT__F_REFUSE, 1);
}

static void skip_never(peer_t *p) {
  send_refuse(p, WEFT__F_SKIP, 1);
}

static void skip_max(peer_t *p) {
  send_refuse(p, WEFT__F_SKIP, UINT64_MAX);
}

/* ---- Memory ---- */

static void write_wrong_key(peer_t *p) {
  peer_write(p, 0, UINT64_C(0x0123456789abcdef), "12345678", 8, false);
}

static void write_key_0(peer_t *p) {
  peer_write(p, 0, 0, "12345678", 8, false);
}

static void write_beyond(peer_t *p) {
  static const uint8_t zeros[1 << 20];
  weft__cts_t c = announce(p, 1 << 20);

  peer_write(p, c.addr + c.len - 4, c.key, zeros, 8, false);
}

static void write_before(peer_t *p) {
  weft__cts_t c = announce(p, 1 << 20);

  peer_write(p, c.addr - 8, c.key, "12345678", 8, false);
}

/* After the fragment is in place its key must open nothing any more. */
static void write_after(peer_t *p) {
  static const uint8_t zeros[1 << 20];
  weft__cts_t c = announce(p, 1 << 20);
  peer_frame_t f;

  peer_write(p, c.addr, c.key, zeros, c.len, false);
  send_frag(p, c.seq, c.off, c.len);
  do /* until it is acknowledged */
    assert_int_equal(peer_read(p, &f, 5000), 1);
  while (f.h.ack != 2);
  peer_write(p, c.addr, c.key, "12345678", 8, false);
}

/* Memory opened for writing is not readable. */
static void read_it(peer_t *p) {
  weft__cts_t c = announce(p, 1 << 20);
  uint64_t words[3] = {c.addr, 4096, c.key};
  uint8_t b[OP_SIZE + sizeof(words)];
  size_t n = peer_op_bytes(b, OP_READ, 0, words, 3, 0);

  b[5] = 1;
  peer_raw(p, b, n);
}

/* ---- An end by the peer's own word ---- */

/* No reason to warn anybody, but the program hears the peer's words, without what a terminal would
 * obey. */
static void says_abort(void) {
  static const char text[] = "go away\n\033[31mred\a";
  uint8_t b[8 + sizeof(text) - 1];
  world_end_t end;
  peer_t p;

  peer_open(&p, world_port(), "hostile");
  weft__put32(b, (uint32_t) -13);
  weft__put32(b + 4, sizeof(text) - 1);
  memcpy(b + 8, text, sizeof(text) - 1);
  peer_frame(&p, WEFT__F_ABORT, b, sizeof(b));
  assert_true(peer_gone(&p, 5000));
  end = world_end_of(p.name, 5000);
  assert_int_equal(end.status, UV_ECONNRESET);
  assert_true(strstr(end.why, "go away??[31mred?") != NULL);
  peer_close(&p);
}

/* ---- Odd, but allowed ---- */

/* The session still gives our messages back. */
static void still_echoes(peer_t *p) {
  uint8_t sent[24];
  peer_frame_t f;
  uint64_t state = p->seq;
  unsigned i;

  for (i = 0; i < 3; i++) {
    uint64_t v = peer_random(&state);
    memcpy(sent + 8 * i, &v, 8);
  }
  assert_true(peer_record(p, WEFT__R_MSG, sent, sizeof(sent)));
  do assert_int_equal(peer_read_type(p, &f, WEFT__F_DATA, 5000), 1);
  while (f.h.length < sizeof(sent) ||
         memcmp(f.payload + f.h.length - sizeof(sent), sent, sizeof(sent)) != 0);
}

static void leave(peer_t *p) {
  peer_close(p);
  assert_int_not_equal(world_end_of(p->name, 20000).status, 0);
}

static void allowed(void (*act)(peer_t *)) {
  peer_t p;

  peer_open(&p, world_port(), "hostile");
  act(&p);
  still_echoes(&p);
  leave(&p);
}

static void replay_record(peer_t *p) {
  peer_frame_t f;
  uint64_t seen;

  still_echoes(p);
  seen = p->next;
  p->seq = 1; /* record 1 again, in frames of their own */
  peer_record(p, WEFT__R_MSG, "again!!!", 8);
  p->seq = 1;
  peer_record(p, WEFT__R_MSG, "again!!!", 8);
  assert_int_equal(peer_read_type(p, &f, WEFT__F_ACK, 5000), 1);
  assert_int_equal(f.h.ack, 2);
  assert_int_equal(peer_read_type(p, &f, WEFT__F_DATA, 100), 0); /* no second echo */
  assert_true(p->next == seen);
}

static void duplicate_records(void) {
  allowed(replay_record);
}

static void oddities(peer_t *p) {
  unsigned i;

  for (i = 0; i < 4; i++) {
    peer_frame(p, WEFT__F_PONG, "0123456789abcdef", WEFT__PING_SIZE);
    peer_frame(p, WEFT__F_JOIN_PLEASE, NULL, 0);
    peer_frame(p, WEFT__F_ACK, NULL, 0);
  }
  send_resume(p, 0, 100, 0); /* of an epoch that is over */
  peer_frame(p, WEFT__F_RESUME_ACK, "0123456789abcdef", WEFT__RESUME_ACK_SIZE); /* nobody asked */
  send_refuse(p, WEFT__F_REFUSE, 0);
}

static void odd_frames(void) {
  allowed(oddities);
}

static void many_pings(peer_t *p) {
  peer_frame_t f;
  unsigned i;

  for (i = 0; i < 500; i++) {
    peer_ping(p);
    assert_int_equal(peer_read_type(p, &f, WEFT__F_PONG, 5000), 1);
  }
}

static void ping_flood(void) {
  allowed(many_pings);
}

static void many_resumes(peer_t *p) {
  peer_frame_t f;
  unsigned i;

  for (i = 1; i < 200; i++) {
    send_resume(p, i, 1, 0);
    assert_int_equal(peer_read_type(p, &f, WEFT__F_RESUME_ACK, 5000), 1);
    assert_true(weft__get64(f.payload) == i);
  }
}

static void resume_flood(void) {
  allowed(many_resumes);
}

/* A write with the flag that makes a completion at the target, which is of no operation of ours. */
static void no_region_cq_data(peer_t *p) {
  uint64_t word = 42;
  uint8_t b[OP_SIZE + 8];

  peer_raw(p, b, peer_op_bytes(b, OP_WRITE, OP_CQ_DATA, &word, 1, 0));
}

/* libfabric's tcp takes it, ksock hangs up. */
static void write_nowhere_with_data(void) {
  peer_t p;

  if (strcmp(WEFT_TEST_TCP, "ksock") != 0) {
    allowed(no_region_cq_data);
    return;
  }
  peer_open(&p, world_port(), "hostile");
  no_region_cq_data(&p);
  assert_true(peer_gone(&p, 5000));
  assert_int_equal(world_end_of(p.name, 20000).status, UV_ECONNRESET);
  peer_close(&p);
}

static void region_cq_data(peer_t *p) {
  weft__cts_t c = announce(p, 1 << 20);

  peer_write(p, c.addr, c.key, "12345678", 8, true);
}

static void write_with_data(void) {
  peer_t p;
  peer_frame_t f;

  peer_open(&p, world_port(), "hostile");
  region_cq_data(&p);
  peer_ping(&p);
  assert_int_equal(peer_read_type(&p, &f, WEFT__F_PONG, 5000), 1);
  leave(&p);
}

static void delivery(peer_t *p) {
  uint8_t b[OP_SIZE + WEFT__HDR];
  weft__hdr_t h = peer_hdr(p, WEFT__F_ACK);
  size_t n = peer_op_bytes(b, OP_MSG, OP_DELIVERY, NULL, 0, WEFT__HDR);

  weft__hdr_put(b + n, &h);
  peer_raw(p, b, n + WEFT__HDR);
}

static void delivery_complete(void) {
  allowed(delivery);
}

/* Announces all that the window holds and sends nothing of it. */
static void abandoned_large(void) {
  peer_frame_t f;
  peer_t p;
  unsigned i;

  peer_open(&p, world_port(), "hostile");
  for (i = 0; i < WINDOW_MESSAGES / 2; i++) {
    peer_announce(&p, LIMIT);
    (void) peer_read(&p, &f, 10);
  }
  peer_ping(&p);
  assert_int_equal(peer_read_type(&p, &f, WEFT__F_PONG, 5000), 1);
  leave(&p);
}

/* Sends what the windows allow, and never reads a byte of what comes back. */
static void never_reads(void) {
  static const uint8_t b[8000];
  peer_t p;
  unsigned i;

  peer_open(&p, world_port(), "hostile");
  for (i = 0; i < 7; i++) peer_record(&p, WEFT__R_MSG, b, sizeof(b));
  world_echo(1000);
  leave(&p);
}

#define BAD(fn, why)                                                                               \
  { .name = #fn, .act = fn, .logged = why }
#define BAD_FOR(who, fn, why)                                                                      \
  { .name = #fn, .act = fn, .logged = why, .label = who }
/* What the server has not read when it closes resets the connection, so its word to the peer may be
 * lost. */
#define BAD_FLOOD(who, fn, why)                                                                    \
  { .name = #fn, .act = fn, .logged = why, .label = who, .mute = true }
#define BAD_AMO(fn, why)                                                                           \
  { .name = #fn, .act = fn, .logged = why, .reliability = WEFT_AT_MOST_ONCE }
/* Ended by the provider, without a word to Weft: the session waits for another path in vain. */
#define CUT(fn, why)                                                                               \
  { .name = #fn, .act = fn, .logged = why, .status = UV_ECONNRESET }
#define RUN(fn)                                                                                    \
  { .name = #fn, .run = fn }

static const hostile_case_t cases[] = {
    BAD(gap, "record 2 where 1 was due"),
    BAD(gap_far, "record 18446744073709551614 where 1 was due"),
    BAD_FOR("hold", beyond_messages, "record 65 is beyond the window 65"),
    BAD_FOR("hold", beyond_bytes, "bytes are beyond the window 65536"),
    BAD(over_limit, "message of 2097153 bytes, the limit is 2097152"),
    BAD(over_limit_max, "message of 18446744073709551615 bytes, the limit is 2097152"),
    BAD_FOR("hold", message_after_fin, "record 2 after the end of the stream"),
    BAD_FOR("hold", fin_after_fin, "record 2 after the end of the stream"),
    BAD_FOR("hold", skip_after_fin, "record 2 after the end of the stream"),
    BAD(ack_beyond, "acknowledges record 1, only 0 were sent"),
    BAD(ack_max, "acknowledges record 18446744073709551614, only 0 were sent"),
    BAD(grant_jump, "frames at once"),
    BAD_FLOOD(NULL, beyond_grant, "is beyond its grant of"),
    BAD(hello_again, "unexpected HELLO"),
    BAD(resume_beyond, "resumes at record 5, 1 is missing"),
    BAD(resume_max, "resumes at record 18446744073709551615"),
    BAD_AMO(resume_amo_beyond, "resumes at record 66, outside the window"),
    BAD_AMO(resume_amo_bytes, "resumes at record 1, outside the window"),
    BAD_AMO(resume_amo_back, "resumes at record 1, outside the window"),
    BAD(cts_never, "clear to send 0+64 of message 1, which is not on its way"),
    BAD(cts_number_0, "clear to send 0+64 of message 0, which is not on its way"),
    BAD_FOR("push", cts_offset, "clear to send 1048577+1 of message 1"),
    BAD_FOR("push", cts_offset_wraps, "clear to send 18446744073709551615+2 of message 1"),
    BAD_FOR("push", cts_length, "clear to send 1048568+9 of message 1"),
    BAD_FOR("push", cts_empty, "clear to send 0+0 of message 1"),
    BAD_FLOOD("push", cts_flood, "more than 16 clear-to-sends at once"),
    BAD(frag_never, "fragment 0+64 of message 1 was not asked for"),
    BAD(frag_length, "of message 1 was not asked for"),
    BAD(frag_offset, "of message 1 was not asked for"),
    BAD(frag_of_another, "of message 2 was not asked for"),
    BAD(frag_twice, "of message 1 was not asked for"),
    BAD(ready_never, "source 0+64 of message 1 was not asked for"),
    BAD(ready_unasked, "source 0+64 of message 1 was not asked for"),
    BAD(done_never, "is done with 0+64 of message 1, which it may not read"),
    BAD(chunk_never, "piece 0+64 of message 1 was not asked for"),
    BAD(chunk_gap, "piece 128+64 of message 1 was not asked for"),
    BAD(chunk_beyond, "piece 16000+1001 of message 1 was not asked for"),
    BAD(chunk_again, "piece 0+16000 of message 1 was not asked for"),
    BAD(refuse_never, "refuses message 1, which is not large"),
    BAD(refuse_small, "refuses message 1, which is not large"),
    BAD(skip_never, "skips message 1, which was not refused"),
    BAD(skip_max, "skips message 18446744073709551615, which was not refused"),
    CUT(write_wrong_key, "closed the connection"),
    CUT(write_key_0, "closed the connection"),
    CUT(write_beyond, "closed the connection"),
    CUT(write_before, "closed the connection"),
    CUT(write_after, "closed the connection"),
    CUT(read_it, "closed the connection"),
    RUN(says_abort),
    RUN(duplicate_records),
    RUN(odd_frames),
    RUN(ping_flood),
    RUN(resume_flood),
    RUN(write_nowhere_with_data),
    RUN(write_with_data),
    RUN(delivery_complete),
    RUN(abandoned_large),
    RUN(never_reads),
};

HOSTILE_MAIN("hostile_sequence", cases, tune)
