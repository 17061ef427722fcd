/* SPDX-License-Identifier: Apache-2.0 */
/* hostile_handshake.c - requests that are missing, damaged, of other versions; HELLOs that are
 * malformed, missing, early, twice; JOINs without the right to join. */
#include <stdio.h>
#include <string.h>

#include "lib_case.h"

/* ---- Requests ---- */

/* Send this as the request's data: it must be refused, with `code` where that is not 0, and logged.
 */
static void refused(const void *blob, size_t len, unsigned code, const char *logged) {
  unsigned mark = log_mark(), type = 99;
  uint8_t data[256];
  weft__answer_t an;
  peer_t p;
  int n;

  peer_dial(&p, NULL, world_port());
  assert_true(peer_cm(&p, CM_REQUEST, blob, len));
  n = peer_cm_read(&p, &type, data, sizeof(data), 5000);
  if (code != 0) {
    assert_true(n >= 0);
    assert_true(weft__answer_get(data, (size_t) n, &an));
    assert_int_equal(an.kind, WEFT__A_REJECT);
    assert_int_equal(an.code, code);
  }
  if (n >= 0) assert_int_equal(type, CM_REJECT);
  must_close(mark, &p, 5000);
  must_log(mark, p.name, logged);
  peer_close(&p);
}

static void request_empty(void) {
  refused(NULL, 0, 0, "request is malformed");
}

static void request_1_byte(void) {
  refused("W", 1, 0, "request is malformed");
}

static void valid(uint8_t blob[WEFT__REQUEST_SIZE]) {
  peer_t p;

  memset(&p, 0, sizeof(p));
  peer_identity(&p, "");
  weft__request_put(blob, &p.rq);
}

static void request_truncated(void) {
  uint8_t b[WEFT__REQUEST_SIZE];

  valid(b);
  refused(b, sizeof(b) - 1, WEFT__J_MALFORMED, "request is malformed");
}

static void damaged(size_t at, uint8_t value, unsigned code, const char *logged) {
  uint8_t b[WEFT__REQUEST_SIZE];

  valid(b);
  b[at] = value;
  refused(b, sizeof(b), code, logged);
}

static void request_magic(void) {
  damaged(0, 'w', WEFT__J_MALFORMED, "request is malformed");
}

static void request_version_0(void) {
  damaged(4, 0, WEFT__J_MALFORMED, "request is malformed");
}

static void request_versions_reversed(void) {
  uint8_t b[WEFT__REQUEST_SIZE];

  valid(b);
  b[4] = 3;
  b[5] = 1;
  refused(b, sizeof(b), WEFT__J_MALFORMED, "request is malformed");
}

static void request_kind_0(void) {
  damaged(6, 0, WEFT__J_MALFORMED, "request is malformed");
}

static void request_kind_3(void) {
  damaged(6, 3, WEFT__J_MALFORMED, "request is malformed");
}

/* What a later version's rail can is passed over. */
static void request_unknown_rail(void) {
  unsigned mark = log_mark(), type = 99;
  uint8_t b[WEFT__REQUEST_SIZE], data[256];
  peer_t p;

  valid(b);
  b[7] = 0xfe;
  peer_dial(&p, NULL, world_port());
  assert_true(peer_cm(&p, CM_REQUEST, b, sizeof(b)));
  assert_true(peer_cm_read(&p, &type, data, sizeof(data), 5000) >= 0);
  assert_int_equal(type, CM_ACCEPT);
  peer_close(&p);
  must_log(mark, p.name, "handshake");
}

static void request_later_versions(void) {
  uint8_t b[WEFT__REQUEST_SIZE];

  valid(b);
  b[4] = WEFT__WIRE_VERSION + 1;
  b[5] = 255;
  refused(b, sizeof(b), WEFT__J_VERSION, "version");
}

static void request_random(void) {
  uint8_t b[256];
  uint64_t state = 7;
  size_t i;

  for (i = 0; i < sizeof(b); i++) b[i] = (uint8_t) peer_random(&state);
  refused(b, sizeof(b), WEFT__J_MALFORMED, "request is malformed");
}

/* A later version may say more behind the fixed part, and still speak ours. */
static void request_longer(void) {
  uint8_t b[WEFT__REQUEST_SIZE + 16], answer[256];
  unsigned type = 99;
  weft__answer_t an;
  peer_t p;
  int n;

  memset(b, 0xaa, sizeof(b));
  peer_dial(&p, NULL, world_port());
  peer_identity(&p, "");
  p.rq.vhigh = 200;
  weft__request_put(b, &p.rq);
  assert_true(peer_cm(&p, CM_REQUEST, b, sizeof(b)));
  n = peer_cm_read(&p, &type, answer, sizeof(answer), 5000);
  assert_true(n >= 0);
  assert_int_equal(type, CM_ACCEPT);
  assert_true(weft__answer_get(answer, (size_t) n, &an));
  assert_int_equal(an.kind, WEFT__A_ACCEPT);
  assert_int_equal(an.version, WEFT__WIRE_VERSION);
  peer_close(&p);
}

/* An answer where a request belongs. */
static void request_is_answer(void) {
  unsigned mark = log_mark();
  peer_t p;

  peer_dial(&p, NULL, world_port());
  assert_true(peer_cm(&p, CM_ACCEPT, "x", 1));
  must_close(mark, &p, 5000);
  peer_close(&p);
}

/* ---- The HELLO frame ---- */

/* After a valid request: `send` must end the session with this reason. */
static void hello_refused(void (*send)(peer_t *), const char *logged) {
  unsigned mark = log_mark();
  peer_t p;

  peer_dial(&p, NULL, world_port());
  peer_identity(&p, "hostile");
  assert_true(peer_request(&p));
  send(&p);
  must_close(mark, &p, 5000);
  must_log(mark, p.name, logged);
  assert_int_equal(p.abort_code, WEFT_EPROTOCOL);
  assert_true(strstr(p.abort_text, logged) != NULL);
  peer_close(&p);
}

static void hello_bytes(peer_t *p, const void *b, size_t n) {
  peer_frame(p, WEFT__F_HELLO, b, (uint32_t) n);
}

/* One item more, and then a valid HELLO. */
static void hello_and(peer_t *p, unsigned type, const void *value, unsigned len) {
  uint8_t b[WEFT__HELLO_MAX + 512];

  weft__put16(b, (uint16_t) type);
  weft__put16(b + 2, (uint16_t) len);
  memcpy(b + 4, value, len);
  hello_bytes(p, b, 4 + len + weft__hello_put(b + 4 + len, WEFT__HELLO_MAX, &p->self));
}

static void send_one_byte(peer_t *p) {
  hello_bytes(p, "\1", 1);
}

static void send_unknown_only(peer_t *p) {
  hello_bytes(p, "\xff\x7f\4\0abcd", 8);
}

static void send_cut(peer_t *p) {
  uint8_t b[WEFT__HELLO_MAX];
  size_t n = weft__hello_put(b, sizeof(b), &p->self);

  hello_bytes(p, b, n - 1);
}

static void send_twice_item(peer_t *p) {
  uint8_t v[8] = {1};

  hello_and(p, 3, v, 8);
}

static void send_item_length(peer_t *p) {
  hello_and(p, 17, "1234567", 7); /* a bandwidth of 7 bytes */
}

static void send_item_beyond(peer_t *p) {
  uint8_t b[WEFT__HELLO_MAX];
  size_t n = weft__hello_put(b, sizeof(b), &p->self);

  memcpy(b + n, "\xfe\x7f\xff\xff", 4); /* 65535 bytes follow, says it */
  hello_bytes(p, b, n + 4);
}

static void send_control_character(peer_t *p) {
  hello_and(p, 27, "a\nb", 3);
}

static void send_text_long(peer_t *p) {
  char text[WEFT_LIST_MAX];

  memset(text, 'x', sizeof(text));
  hello_and(p, 27, text, sizeof(text));
}

static void send_bad_need(peer_t *p) {
  uint8_t b[WEFT__HELLO_MAX];
  size_t n = weft__hello_put(b, sizeof(b), &p->self), off;

  for (off = 0; off < n; off += 4u + weft__get16(b + off + 2))
    if (weft__get16(b + off) == 20) /* reliability */
      b[off + 4] = 9;
  hello_bytes(p, b, n);
}

static void send_offer(peer_t *p, unsigned family, unsigned total) {
  uint8_t v[32] = {(uint8_t) family, 3, 2};

  hello_and(p, 32, v, total);
}

static void send_offer_family(peer_t *p) {
  send_offer(p, 9, 25);
}

static void send_offer_short(peer_t *p) {
  send_offer(p, 4, 15);
}

static void send_offer_length(peer_t *p) {
  send_offer(p, 6, 25);
}

static void send_17_offers(peer_t *p) {
  uint8_t v[25] = {4, 3, 2};
  struct sockaddr_in *sin;
  unsigned i;

  p->self.noffers = WEFT__OFFERS_MAX;
  for (i = 0; i < WEFT__OFFERS_MAX; i++) {
    sin = (struct sockaddr_in *) &p->self.offers[i].addr;
    sin->sin_family = AF_INET;
    strcpy(p->self.offers[i].provider, "tcp");
  }
  memcpy(v + 20, "tcpv0", 5);
  hello_and(p, 32, v, sizeof(v));
}

static void send_window_messages(peer_t *p) {
  p->self.win_messages = 0;
  peer_hello(p);
}

static void send_window_bytes(peer_t *p) {
  p->self.win_bytes = 1;
  peer_hello(p);
}

static void send_data_first(peer_t *p) {
  peer_record(p, WEFT__R_MSG, "12345678", 8);
}

static void send_resume_first(peer_t *p) {
  uint8_t b[WEFT__RESUME_SIZE] = {1};

  peer_frame(p, WEFT__F_RESUME, b, sizeof(b));
}

static void send_bye_first(peer_t *p) {
  peer_frame(p, WEFT__F_BYE, NULL, 0);
}

static void send_join_please_first(peer_t *p) {
  peer_frame(p, WEFT__F_JOIN_PLEASE, NULL, 0);
}

static void send_wrong_key(peer_t *p) {
  p->an.key++;
  peer_hello(p);
}

static void send_wrong_counter(peer_t *p) {
  p->tx_fc = 7;
  peer_hello(p);
}

static void send_too_long(peer_t *p) {
  static const uint8_t zeros[WEFT__HELLO_MAX + 1];

  hello_bytes(p, zeros, sizeof(zeros));
}

static void send_acking(peer_t *p) {
  uint8_t b[WEFT__HELLO_MAX];
  size_t n = weft__hello_put(b, sizeof(b), &p->self);
  weft__hdr_t h = peer_hdr(p, WEFT__F_HELLO);

  h.ack = 1000;
  h.length = (uint32_t) n;
  peer_put(p, &h, b, n);
}

/* Two in one go: the second meets a session that is open or waits for its program. */
static void send_twice(peer_t *p) {
  peer_hello(p);
  peer_hello(p);
}

#define HELLO(fn, logged)                                                                          \
  static void hello_##fn(void) {                                                                   \
    hello_refused(send_##fn, logged);                                                              \
  }
HELLO(one_byte, "HELLO: the last item is cut short")
HELLO(unknown_only, "HELLO: a required item is missing")
HELLO(cut, "HELLO: an item is longer than what is left")
HELLO(twice_item, "HELLO: an item stands twice")
HELLO(item_length, "HELLO: an item has a wrong length")
HELLO(item_beyond, "HELLO: an item is longer than what is left")
HELLO(control_character, "HELLO: a text has a control character")
HELLO(text_long, "HELLO: a text is empty or too long")
HELLO(bad_need, "HELLO: a need has an unknown value")
HELLO(offer_family, "HELLO: an offer has an address of an unknown family")
HELLO(offer_short, "HELLO: an offer is cut short")
HELLO(offer_length, "HELLO: an offer has a wrong length")
HELLO(17_offers, "HELLO: more than 16 offers")
HELLO(window_messages, "HELLO: a window of 0 messages")
HELLO(window_bytes, "HELLO: a window of")
HELLO(data_first, "DATA before the session is open")
HELLO(resume_first, "RESUME before the session is open")
HELLO(bye_first, "BYE before the session is open")
HELLO(join_please_first, "JOIN_PLEASE before the session is open")
HELLO(wrong_key, "frame under a wrong path key")
HELLO(wrong_counter, "frame 8 where 1 was due")
HELLO(too_long, "malformed frame: with a malformed payload")
HELLO(acking, "acknowledges record 999, only 0 were sent")
HELLO(twice, "HELLO")

static void hello_then_gone(void) {
  unsigned mark = log_mark();
  peer_t p;

  peer_dial(&p, NULL, world_port());
  peer_identity(&p, "hostile");
  assert_true(peer_request(&p));
  peer_hello(&p);
  peer_reset(&p);
  must_log(mark, p.name, NULL);
}

static void program_rejects(void) {
  unsigned mark = log_mark();
  peer_t p;

  peer_dial(&p, NULL, world_port());
  peer_identity(&p, "reject");
  assert_true(peer_request(&p));
  assert_true(peer_hello(&p));
  must_close(mark, &p, 5000);
  assert_int_equal(p.abort_code, WEFT_EREJECTED);
  assert_string_equal(p.abort_text, "not on the list");
  peer_close(&p);
}

/* Somebody else's session id in a HELLO: the session that has it must not notice. */
static void session_id_taken(void) {
  peer_frame_t f;
  peer_t a, b;

  peer_open(&a, world_port(), "hostile");
  peer_dial(&b, NULL, world_port());
  peer_identity(&b, "hostile");
  memcpy(b.rq.id, a.rq.id, 16);
  if (peer_request(&b)) {
    peer_hello(&b);
    (void) peer_hear(&b, 500);
  }
  peer_close(&b);
  assert_true(peer_record(&a, WEFT__R_MSG, "12345678", 8));
  assert_int_equal(peer_read_type(&a, &f, WEFT__F_DATA, 5000), 1);
  assert_true(peer_brought(&f, "12345678", 8));
  peer_close(&a);
}

#define RUN(fn)                                                                                    \
  { .name = #fn, .run = fn }

static const hostile_case_t cases[] = {
    RUN(request_empty),         RUN(request_1_byte),
    RUN(request_truncated),     RUN(request_magic),
    RUN(request_version_0),     RUN(request_versions_reversed),
    RUN(request_kind_0),        RUN(request_kind_3),
    RUN(request_unknown_rail),  RUN(request_later_versions),
    RUN(request_random),        RUN(request_longer),
    RUN(request_is_answer),     RUN(hello_one_byte),
    RUN(hello_unknown_only),    RUN(hello_cut),
    RUN(hello_twice_item),      RUN(hello_item_length),
    RUN(hello_item_beyond),     RUN(hello_control_character),
    RUN(hello_text_long),       RUN(hello_bad_need),
    RUN(hello_offer_family),    RUN(hello_offer_short),
    RUN(hello_offer_length),    RUN(hello_17_offers),
    RUN(hello_window_messages), RUN(hello_window_bytes),
    RUN(hello_data_first),      RUN(hello_resume_first),
    RUN(hello_bye_first),       RUN(hello_join_please_first),
    RUN(hello_wrong_key),       RUN(hello_wrong_counter),
    RUN(hello_too_long),        RUN(hello_acking),
    RUN(hello_twice),           RUN(hello_then_gone),
    RUN(program_rejects),       RUN(session_id_taken),
};

HOSTILE_MAIN("hostile_handshake", cases, NULL)
