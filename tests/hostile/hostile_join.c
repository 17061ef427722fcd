/* SPDX-License-Identifier: Apache-2.0 */
/* hostile_join.c - JOINs without the right to join, and what a second path lets a peer do. */
#include <string.h>

#include "lib_case.h"

static void tune(weft_opts_t *o) {
  o->tombstone_ms = 60000;
}

/* Send `rq` over a new connection: it must be refused with this code, and logged. */
static void join_refused(const weft__request_t *rq, unsigned code, const char *logged) {
  unsigned mark = log_mark();
  peer_t j;

  peer_dial(&j, NULL, world_port());
  j.rq = *rq;
  assert_false(peer_request(&j));
  assert_int_equal(j.an.kind, WEFT__A_REJECT);
  assert_int_equal(j.an.code, code);
  must_close(mark, &j, 5000);
  must_log(mark, j.name, logged);
  peer_close(&j);
}

static void join(const peer_t *p, peer_t *j) {
  uint8_t proof[16];

  peer_dial(j, NULL, world_port());
  peer_join_request(p, j);
  assert_true(peer_request(j));
  weft__join_proof(p->secret, j->rq.id, j->rq.key, j->an.key, j->an.aux, proof);
  assert_true(weft__proof_equal(proof, j->an.proof));
  j->self = p->self;
  j->next = p->next;
}

static void unknown_session(void) {
  peer_t p, j;

  peer_open(&p, world_port(), "hostile");
  peer_join_request(&p, &j);
  j.rq.id[0] ^= 1;
  join_refused(&j.rq, WEFT__J_NO_SESSION, "no such session");
  peer_close(&p);
}

static void wrong_token(void) {
  peer_t p, j;
  unsigned i;

  peer_open(&p, world_port(), "hostile");
  for (i = 0; i < 16; i += 5) {
    peer_join_request(&p, &j);
    j.rq.token[i] ^= 0x10;
    join_refused(&j.rq, WEFT__J_BAD_TOKEN, "token");
  }
  peer_join_request(&p, &j);
  memset(j.rq.token, 0, 16);
  join_refused(&j.rq, WEFT__J_BAD_TOKEN, "token");
  peer_close(&p);
}

/* The token is for one key. */
static void token_of_another_key(void) {
  peer_t p, j;

  peer_open(&p, world_port(), "hostile");
  peer_join_request(&p, &j);
  j.rq.key++;
  join_refused(&j.rq, WEFT__J_BAD_TOKEN, "token");
  peer_close(&p);
}

static void replayed_token(void) {
  peer_t p, j;

  peer_open(&p, world_port(), "hostile");
  join(&p, &j);
  join_refused(&j.rq, WEFT__J_BAD_TOKEN, "token");
  peer_close(&j);
  join_refused(&j.rq, WEFT__J_BAD_TOKEN, "token"); /* nor when its path is gone */
  peer_close(&p);
}

/* Nor after any number of other joins, in any order. */
static void replayed_much_later(void) {
  weft__request_t first;
  peer_t p, j, late;
  unsigned i;

  peer_open(&p, world_port(), "hostile");
  peer_join_request(&p, &late); /* overtaken by the next one: it may still come */
  first = late.rq;
  join(&p, &j);
  peer_close(&j);
  peer_dial(&late, NULL, world_port());
  late.rq = first;
  assert_true(peer_request(&late));
  assert_int_equal(late.an.kind, WEFT__A_ACCEPT);
  peer_close(&late);
  join_refused(&first, WEFT__J_BAD_TOKEN, "token");
  for (i = 0; i < 100; i++) {
    join(&p, &j);
    peer_close(&j);
  }
  join_refused(&first, WEFT__J_BAD_TOKEN, "token");
  join_refused(&j.rq, WEFT__J_BAD_TOKEN, "token");
  peer_close(&p);
}

/* A request of the session, sent before there is one. */
static void before_hello(void) {
  peer_t p, j;

  peer_dial(&p, NULL, world_port());
  peer_identity(&p, "hostile");
  assert_true(peer_request(&p));
  peer_join_request(&p, &j);
  peer_dial(&j, NULL, world_port());
  peer_join_request(&p, &j);
  assert_false(peer_request(&j));
  assert_int_equal(j.an.kind, WEFT__A_REJECT);
  assert_true(j.an.code == WEFT__J_CLOSING || j.an.code == WEFT__J_NO_SESSION ||
              j.an.code == WEFT__J_BAD_TOKEN);
  peer_close(&j);
  peer_close(&p);
}

static void too_many_paths(void) {
  peer_t p, j[8], last;
  unsigned i;

  peer_open(&p, world_port(), "hostile");
  for (i = 0; i < 7; i++) join(&p, &j[i]);
  peer_join_request(&p, &last);
  join_refused(&last.rq, WEFT__J_FULL, "all the paths");
  for (i = 0; i < 7; i++) peer_close(&j[i]);
  peer_close(&p);
}

/* Ends a session in order; what remains of it is a tombstone. */
static void tombstone(void) {
  peer_frame_t f;
  peer_t p, j;
  uint8_t proof[16];

  peer_open(&p, world_port(), "hostile");
  peer_record(&p, WEFT__R_MSG, "12345678", 8);
  peer_record(&p, WEFT__R_FIN, NULL, 0);
  do /* the echo, then the server's own end */
    assert_int_equal(peer_read_type(&p, &f, WEFT__F_DATA, 5000), 1);
  while (p.next != 3);
  peer_frame(&p, WEFT__F_ACK, NULL, 0);
  peer_frame(&p, WEFT__F_BYE, NULL, 0);
  assert_true(peer_gone(&p, 5000));
  assert_int_equal(world_end_of(p.name, 5000).status, 0);

  peer_dial(&j, NULL, world_port());
  peer_join_request(&p, &j);
  assert_false(peer_request(&j));
  assert_int_equal(j.an.kind, WEFT__A_TOMBSTONE);
  assert_int_equal(j.an.aux, 3); /* both our records have arrived */
  weft__join_proof(p.secret, j.rq.id, j.rq.key, j.an.key, j.an.aux, proof);
  assert_true(weft__proof_equal(proof, j.an.proof));
  peer_close(&j);

  /* Who does not know the secret learns nothing from it. */
  peer_dial(&j, NULL, world_port());
  peer_join_request(&p, &j);
  j.rq.token[3] ^= 1;
  assert_false(peer_request(&j));
  assert_int_equal(j.an.kind, WEFT__A_REJECT);
  peer_close(&j);
  peer_close(&p);
}

/* ---- On the second path ---- */

/* A violation there ends the session, both paths of it. */
static void second_path_violates(void) {
  unsigned mark = log_mark();
  weft__hdr_t h;
  peer_t p, j;

  peer_open(&p, world_port(), "hostile");
  join(&p, &j);
  h = peer_hdr(&j, WEFT__F_ACK);
  h.key = p.an.key; /* of the first path */
  peer_put(&j, &h, NULL, 0);
  must_close(mark, &j, 5000);
  must_close(mark, &p, 5000);
  must_log(mark, j.name, "frame under a wrong path key");
  assert_int_equal(world_end_of(p.name, 5000).status, WEFT_EPROTOCOL);
  peer_close(&j);
  peer_close(&p);
}

/* Records count only where the last RESUME put them. */
static void data_on_standby(void) {
  peer_frame_t f;
  peer_t p, j;

  peer_open(&p, world_port(), "hostile");
  join(&p, &j);
  peer_record(&j, WEFT__R_MSG, "standby!", 8);
  peer_ping(&j);
  assert_int_equal(peer_read_type(&j, &f, WEFT__F_PONG, 5000), 1);
  peer_record(&p, WEFT__R_MSG, "12345678", 8);
  assert_int_equal(peer_read_type(&p, &f, WEFT__F_DATA, 5000), 1);
  assert_true(peer_brought(&f, "12345678", 8));
  peer_close(&j);
  peer_close(&p);
}

static void resume(peer_t *p, uint64_t epoch, uint64_t first) {
  uint8_t b[WEFT__RESUME_SIZE] = {0};

  weft__put64(b, epoch);
  weft__put64(b + 8, first);
  peer_frame(p, WEFT__F_RESUME, b, sizeof(b));
}

/* The server follows to the path we resume on, asks where to go on, and gets a number that it never
 * sent. */
static void resume_ack_beyond(void) {
  unsigned mark = log_mark();
  peer_frame_t f;
  uint8_t b[WEFT__RESUME_ACK_SIZE];
  peer_t p, j;

  peer_open(&p, world_port(), "hostile");
  join(&p, &j);
  resume(&j, 1, 1);
  assert_int_equal(peer_read_type(&j, &f, WEFT__F_RESUME, 5000), 1);
  memcpy(b, f.payload, 8);
  weft__put64(b + 8, 50);
  peer_frame(&j, WEFT__F_RESUME_ACK, b, sizeof(b));
  must_close(mark, &j, 5000);
  must_close(mark, &p, 5000);
  must_log(mark, j.name, "wants record 50, which is not to be had");
  assert_int_equal(world_end_of(p.name, 5000).status, WEFT_EPROTOCOL);
  peer_close(&j);
  peer_close(&p);
}

/* Sending moves there and back as fast as the server follows; then the session still works. */
static void resume_ping_pong(void) {
  peer_frame_t f;
  peer_t p, j;
  unsigned i;

  peer_open(&p, world_port(), "hostile");
  join(&p, &j);
  for (i = 1; i <= 100; i++) {
    peer_t *to = i % 2 != 0 ? &j : &p;
    uint8_t b[WEFT__RESUME_ACK_SIZE];
    resume(to, i, 1);
    assert_int_equal(peer_read_type(to, &f, WEFT__F_RESUME, 5000), 1);
    memcpy(b, f.payload, 8);
    weft__put64(b + 8, 1);
    peer_frame(to, WEFT__F_RESUME_ACK, b, sizeof(b));
  }
  peer_record(&p, WEFT__R_MSG, "12345678", 8);
  assert_int_equal(peer_read_type(&p, &f, WEFT__F_DATA, 5000), 1);
  assert_true(peer_brought(&f, "12345678", 8));
  peer_close(&j);
  peer_close(&p);
}

/* The fragment's memory was opened on one path; the word that it is in place comes on the other. */
static void frag_on_another_path(void) {
  unsigned mark = log_mark();
  peer_frame_t f;
  peer_t p, j;

  peer_open(&p, world_port(), "hostile");
  join(&p, &j);
  peer_announce(&p, 1 << 20);
  assert_int_equal(peer_read_type(&p, &f, WEFT__F_CTS, 5000), 1);
  {
    uint8_t b[WEFT__FRAG_SIZE] = {0};
    memcpy(b, f.payload, 16);
    memcpy(b + 16, f.payload + 32, 4);
    peer_frame(&j, WEFT__F_FRAG, b, sizeof(b));
  }
  must_close(mark, &j, 5000);
  must_close(mark, &p, 5000);
  must_log(mark, j.name, "of message 1 was not asked for");
  peer_close(&j);
  peer_close(&p);
}

static weft__cts_t cts_of(peer_t *p) {
  peer_frame_t f;

  assert_int_equal(peer_read_type(p, &f, WEFT__F_CTS, 5000), 1);
  return (weft__cts_t){.seq = weft__get64(f.payload),
                       .off = weft__get64(f.payload + 8),
                       .addr = weft__get64(f.payload + 16),
                       .key = weft__get64(f.payload + 24),
                       .len = weft__get32(f.payload + 32),
                       .flags = weft__get32(f.payload + 36)};
}

/* "I have written it." */
static void frag(peer_t *p, const weft__cts_t *c) {
  uint8_t b[WEFT__FRAG_SIZE] = {0};

  weft__put64(b, c->seq);
  weft__put64(b + 8, c->off);
  weft__put32(b + 16, c->len);
  peer_frame(p, WEFT__F_FRAG, b, sizeof(b));
}

/* What was written so far is in its place. */
static void landed(peer_t *p) {
  peer_frame_t f;

  peer_ping(p);
  assert_int_equal(peer_read_type(p, &f, WEFT__F_PONG, 5000), 1);
}

/* tcp looks at a key when a write begins. An accomplice begins one under the peer's key and waits
 * until the message was delivered and its memory given back: what then still comes must not meet
 * anybody else's message. */
static void write_that_outlives_its_key(void) {
  static uint8_t junk[1 << 20];
  static const uint8_t zeros[1 << 20];
  uint8_t head[128];
  peer_t p, accomplice, victim;
  uint32_t off = 0, i;
  peer_frame_t f;
  weft__cts_t c, v;
  uint64_t words[3];
  weft__rec_t r;
  size_t n;

  memset(junk, 0x41, sizeof(junk));
  peer_open(&p, world_port(), "hostile");
  peer_open(&accomplice, world_port(), "accomplice");
  peer_announce(&p, sizeof(junk));
  c = cts_of(&p);
  assert_int_equal(c.flags & WEFT__CTS_COPY, 0); /* or this test shows nothing */
  words[0] = c.addr;
  words[1] = c.len;
  words[2] = c.key;
  n = peer_op_bytes(head, OP_WRITE, 0, words, 3, c.len);
  head[5] = 1;
  assert_true(peer_raw(&accomplice, head, n));
  usleep(200000); /* nothing answers a header: this is the time that it needs to be read */
  frag(&p, &c);
  do /* the echo of it: the memory is given back */
    assert_int_equal(peer_read_type(&p, &f, WEFT__F_DATA, 5000), 1);
  while (p.next != 2);
  peer_open(&victim, world_port(), "victim");
  peer_announce(&victim, sizeof(zeros));
  v = cts_of(&victim);
  assert_int_equal(v.len, sizeof(zeros));
  assert_true(peer_write(&victim, v.addr, v.key, zeros, sizeof(zeros), false));
  landed(&victim);
  assert_true(peer_raw(&accomplice, junk, c.len));
  landed(&accomplice);
  frag(&victim, &v);
  do assert_int_equal(peer_read_type(&victim, &f, WEFT__F_DATA, 5000), 1);
  while (victim.next != 2);
  assert_int_equal(weft__data_next(&f.h, f.payload, &off, &r), WEFT__W_OK);
  assert_int_equal(r.total, sizeof(zeros));
  for (i = 0; i < r.size; i++) /* the echo's first bytes */
    assert_int_equal(r.data[i], 0);
  peer_close(&victim);
  peer_close(&accomplice);
  peer_close(&p);
}

/* The path with the open memory dies; the server asks again on the other one, under another key. */
static void fragment_asked_again(void) {
  static const uint8_t zeros[1 << 20];
  weft__cts_t c[2];
  peer_frame_t f;
  peer_t p, j;
  peer_t *on[2] = {&p, &j};
  unsigned i;

  peer_open(&p, world_port(), "hostile");
  join(&p, &j);
  peer_announce(&p, 1 << 20);
  for (i = 0; i < 2; i++) {
    assert_int_equal(peer_read_type(on[i], &f, WEFT__F_CTS, 5000), 1);
    c[i].seq = weft__get64(f.payload);
    c[i].off = weft__get64(f.payload + 8);
    c[i].addr = weft__get64(f.payload + 16);
    c[i].key = weft__get64(f.payload + 24);
    c[i].len = weft__get32(f.payload + 32);
    if (i == 0) {
      peer_reset(&p);
      resume(&j, 1, 1);
    }
  }
  assert_true(c[0].key != c[1].key);
  assert_int_equal(c[1].seq, 1);
  /* The old key opens nothing any more, although the memory is open again. */
  peer_write(&j, c[0].addr, c[0].key, zeros, 8, false);
  assert_true(peer_gone(&j, 5000));
  peer_close(&j);
  assert_int_equal(world_end_of(p.name, 20000).status, UV_ECONNRESET);
}

#define RUN(fn)                                                                                    \
  { .name = #fn, .run = fn }

static const hostile_case_t cases[] = {
    RUN(unknown_session),
    RUN(wrong_token),
    RUN(token_of_another_key),
    RUN(replayed_token),
    RUN(replayed_much_later),
    RUN(before_hello),
    RUN(too_many_paths),
    RUN(tombstone),
    RUN(second_path_violates),
    RUN(data_on_standby),
    RUN(resume_ack_beyond),
    RUN(resume_ping_pong),
    RUN(frag_on_another_path),
    RUN(fragment_asked_again),
    RUN(write_that_outlives_its_key),
};

HOSTILE_MAIN("hostile_join", cases, tune)
