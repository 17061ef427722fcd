/* SPDX-License-Identifier: Apache-2.0 */
/* wire_test.c - the golden frames of docs/wire.md, byte for byte, and every reason to refuse one.
 *
 * Design notes
 *  - The bytes are spelled out, not computed: an encoder and a decoder that are wrong in the same
 *    way pass every round trip. A frame here and in docs/wire.md is the same text. */
#include "session/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "lib_skip.h"

#include "rail/path.h"

/* Hex digits and blanks to bytes. */
static size_t hex(const char *text, uint8_t *out) {
  size_t n = 0;
  int high = -1;

  for (; *text != 0; text++) {
    int d = *text >= '0' && *text <= '9' ? *text - '0' : *text >= 'a' ? *text - 'a' + 10 : -1;
    if (*text == ' ') continue;
    assert_in_range(d, 0, 15);
    if (high < 0) {
      high = d;
    } else {
      out[n++] = (uint8_t) (high << 4 | d);
      high = -1;
    }
  }
  assert_int_equal(high, -1);
  return n;
}

/* The header shared by the golden frames but for type, flags, count, seq and length. */
static weft__hdr_t golden_hdr(unsigned type, unsigned flags, unsigned count, uint64_t seq,
                              uint32_t length) {
  weft__hdr_t h = {.type = (uint8_t) type,
                   .flags = (uint8_t) flags,
                   .count = (uint16_t) count,
                   .key = 0x1122334455667788u,
                   .fc = 0x0102030405060708u,
                   .seq = seq,
                   .ack = 0x2a,
                   .win_seq = 0x400,
                   .win_bytes = 0x100000,
                   .length = length,
                   .grant = 0x108};
  return h;
}

#define KEY_FC      " 8877665544332211 0807060504030201"
#define ACK_WIN     " 2a00000000000000 0004000000000000 0000100000000000"
#define NO_SEQ      " 0000000000000000"
#define LEN(le32)   " " le32 " 08010000"
#define CONTROL(tt) "01 " tt " 00 00 0000 0000" KEY_FC NO_SEQ ACK_WIN

/* The golden frames. */
static const char data_frame[] = /* "hello" and an empty message, numbers 7 and 8 */
    "01 01 01 00 0000 0200" KEY_FC
    " 0700000000000000" ACK_WIN LEN("18000000") " 05000000 0000 0000 68656c6c6f 000000"
                                                " 00000000 0000 0000";
static const char large_frame[] = /* announces 65536 bytes with the first 3, then the end */
    "01 01 00 00 0000 0200" KEY_FC " 0900000000000000" ACK_WIN LEN(
        "20000000") " 0b000000 0100 0000 0000010000000000 616263 0000000000"
                    " 00000000 0200 0000";
static const char alone_frame[] = /* "hello" alone */
    "01 01 05 00 0000 0100" KEY_FC " 0700000000000000" ACK_WIN LEN("05000000") " 68656c6c6f";
static const char ack_frame[] = CONTROL("02") LEN("00000000");
static const char resume_frame[] =
    CONTROL("04") LEN("18000000") " 0300000000000000 0700000000000000 0040000000000000";
static const char resume_ack_frame[] =
    CONTROL("05") LEN("10000000") " 0300000000000000 0800000000000000";
static const char ping_frame[] = CONTROL("06") LEN("10000000") " 0500000000000000 00ca9a3b00000000";
static const char pong_frame[] = CONTROL("07") LEN("10000000") " 0500000000000000 00ca9a3b00000000";
static const char cts_frame[] =
    CONTROL("08") LEN("28000000") " 0900000000000000 0300000000000000 00f0debc9a785634 "
                                  "4d3c2b1a00000000 fdff0000 01000000";
static const char frag_frame[] =
    CONTROL("09") LEN("18000000") " 0900000000000000 0300000000000000 fdff0000 00000000";
static const char chunk_frame[] =
    CONTROL("0a") LEN("1d000000") " 0900000000000000 0300000000000000 05000000 00000000 68656c6c6f";
static const char refuse_frame[] =
    CONTROL("0b") LEN("10000000") " 0900000000000000 97ffffff 00000000";
static const char skip_frame[] =
    CONTROL("0c") LEN("10000000") " 0900000000000000 00000000 00000000";
static const char bye_frame[] = CONTROL("0d") LEN("00000000");
static const char abort_frame[] = CONTROL("0e") LEN("0d000000") " 98ffffff 05000000 7265736574";
static const char ready_frame[] =
    CONTROL("10") LEN("28000000") " 0900000000000000 0300000000000000 00f0debc9a785634 "
                                  "4d3c2b1a00000000 fdff0000 00000000";
static const char done_frame[] =
    CONTROL("11") LEN("18000000") " 0900000000000000 0300000000000000 fdff0000 00000000";
static const char join_please_frame[] = CONTROL("0f") LEN("00000000");

static const struct {
  const char *text;
  unsigned type, flags, count;
  uint64_t seq;
  uint32_t length;
} goldens[] = {
    {data_frame, WEFT__F_DATA, WEFT__FL_ACK_REQ, 2, 7, 24},
    {large_frame, WEFT__F_DATA, 0, 2, 9, 32},
    {alone_frame, WEFT__F_DATA, WEFT__FL_ACK_REQ | WEFT__FL_ALONE, 1, 7, 5},
    {ack_frame, WEFT__F_ACK, 0, 0, 0, 0},
    {resume_frame, WEFT__F_RESUME, 0, 0, 0, 24},
    {resume_ack_frame, WEFT__F_RESUME_ACK, 0, 0, 0, 16},
    {ping_frame, WEFT__F_PING, 0, 0, 0, 16},
    {pong_frame, WEFT__F_PONG, 0, 0, 0, 16},
    {cts_frame, WEFT__F_CTS, 0, 0, 0, 40},
    {frag_frame, WEFT__F_FRAG, 0, 0, 0, 24},
    {chunk_frame, WEFT__F_CHUNK, 0, 0, 0, 29},
    {refuse_frame, WEFT__F_REFUSE, 0, 0, 0, 16},
    {skip_frame, WEFT__F_SKIP, 0, 0, 0, 16},
    {bye_frame, WEFT__F_BYE, 0, 0, 0, 0},
    {abort_frame, WEFT__F_ABORT, 0, 0, 0, 13},
    {join_please_frame, WEFT__F_JOIN_PLEASE, 0, 0, 0, 0},
    {ready_frame, WEFT__F_READY, 0, 0, 0, 40},
    {done_frame, WEFT__F_DONE, 0, 0, 0, 24},
};
enum { GOLDENS = sizeof(goldens) / sizeof(goldens[0]) };

static void golden_headers(void **state) {
  unsigned i;

  (void) state;
  for (i = 0; i < GOLDENS; i++) {
    uint8_t want[256], got[WEFT__HDR];
    size_t len = hex(goldens[i].text, want);
    weft__hdr_t h = golden_hdr(goldens[i].type, goldens[i].flags, goldens[i].count, goldens[i].seq,
                               goldens[i].length);
    weft__hdr_t back;

    memset(got, 0xee, sizeof(got));
    weft__hdr_put(got, &h);
    assert_memory_equal(got, want, WEFT__HDR);
    assert_int_equal(weft__hdr_get(want, len, &back), WEFT__W_OK);
    assert_int_equal(back.type, h.type);
    assert_int_equal(back.flags, h.flags);
    assert_int_equal(back.count, h.count);
    assert_int_equal(back.key, h.key);
    assert_int_equal(back.fc, h.fc);
    assert_int_equal(back.seq, h.seq);
    assert_int_equal(back.ack, h.ack);
    assert_int_equal(back.win_seq, h.win_seq);
    assert_int_equal(back.win_bytes, h.win_bytes);
    assert_int_equal(back.length, h.length);
    assert_int_equal(back.grant, h.grant);
  }
}

static void golden_data_records(void **state) {
  uint8_t f[128], rec[8];
  weft__rec_t r;
  uint32_t off = 0;

  (void) state;
  hex(data_frame, f);
  assert_int_equal(weft__rec_next(f + WEFT__HDR, 24, &off, &r), WEFT__W_OK);
  assert_int_equal(r.kind, WEFT__R_MSG);
  assert_int_equal(r.size, 5);
  assert_int_equal(r.total, 5);
  assert_memory_equal(r.data, "hello", 5);
  assert_int_equal(off, 16);
  assert_int_equal(off, weft__rec_space(5));
  assert_int_equal(weft__rec_next(f + WEFT__HDR, 24, &off, &r), WEFT__W_OK);
  assert_int_equal(r.kind, WEFT__R_MSG);
  assert_int_equal(r.size, 0);
  assert_int_equal(off, 24);
  assert_int_equal(weft__rec_next(f + WEFT__HDR, 24, &off, &r), WEFT__W_RECORD);
  assert_int_equal(off, 24);

  weft__rec_put(rec, WEFT__R_MSG, 5);
  assert_memory_equal(rec, f + WEFT__HDR, 8);
}

static void golden_large_and_end(void **state) {
  uint8_t f[128], rec[8];
  weft__rec_t r;
  uint32_t off = 0;

  (void) state;
  hex(large_frame, f);
  assert_int_equal(weft__rec_next(f + WEFT__HDR, 32, &off, &r), WEFT__W_OK);
  assert_int_equal(r.kind, WEFT__R_LARGE);
  assert_int_equal(r.size, 3);
  assert_int_equal(r.total, 65536);
  assert_memory_equal(r.data, "abc", 3);
  assert_int_equal(off, weft__rec_space_large(3));
  assert_int_equal(weft__rec_next(f + WEFT__HDR, 32, &off, &r), WEFT__W_OK);
  assert_int_equal(r.kind, WEFT__R_FIN);
  assert_int_equal(off, 32);

  weft__rec_put(rec, WEFT__R_LARGE, 11);
  assert_memory_equal(rec, f + WEFT__HDR, 8);
  weft__rec_put(rec, WEFT__R_FIN, 0);
  assert_memory_equal(rec, f + WEFT__HDR + 24, 8);
}

/* Every golden frame, cut or prolonged by any number of bytes, is refused without reading past it.
 */
static void wrong_lengths(void **state) {
  unsigned i;

  (void) state;
  for (i = 0; i < GOLDENS; i++) {
    uint8_t all[512] = {0};
    size_t len = hex(goldens[i].text, all), n;

    for (n = 0; n < len + 64; n++) {
      uint8_t *exact = malloc(n + (n == 0)); /* a sanitizer sees a read behind it */
      weft__hdr_t h;

      assert_non_null(exact);
      memcpy(exact, all, n);
      assert_int_equal(weft__hdr_get(exact, n, &h), n < WEFT__HDR ? WEFT__W_SHORT
                                                    : n != len    ? WEFT__W_LENGTH
                                                                  : WEFT__W_OK);
      free(exact);
    }
  }
}

static weft__werr_t check(const uint8_t *f, size_t len) {
  weft__hdr_t h;

  return weft__hdr_get(f, len, &h);
}

static void wrong_version(void **state) {
  uint8_t f[64];

  (void) state;
  hex(ack_frame, f);
  f[0] = 0;
  assert_int_equal(check(f, 64), WEFT__W_VERSION);
  f[0] = 2;
  assert_int_equal(check(f, 64), WEFT__W_VERSION);
}

static void unknown_types(void **state) {
  uint8_t f[64];
  unsigned t;

  (void) state;
  hex(ack_frame, f);
  for (t = 0; t < 256; t++) {
    weft__werr_t err;

    f[1] = (uint8_t) t;
    err = check(f, 64);
    if (t == 0 || t >= WEFT__F_TYPES)
      assert_int_equal(err, WEFT__W_TYPE);
    else
      assert_int_not_equal(err, WEFT__W_TYPE);
  }
}

static void unknown_flags(void **state) {
  uint8_t f[128];
  unsigned bit;
  size_t len;

  (void) state;
  hex(ack_frame, f);
  for (bit = 0; bit < 8; bit++) {
    f[2] = (uint8_t) (1u << bit);
    assert_int_equal(check(f, 64), bit == 0 ? WEFT__W_OK : WEFT__W_FLAGS);
  }
  hex(resume_frame, f);
  for (bit = 0; bit < 8; bit++) {
    f[2] = (uint8_t) (1u << bit);
    assert_int_equal(check(f, 64 + 24), bit <= 1 ? WEFT__W_OK : WEFT__W_FLAGS);
  }
  len = hex(alone_frame, f);
  for (bit = 0; bit < 8; bit++) {
    f[2] = (uint8_t) (WEFT__FL_ALONE | 1u << bit);
    assert_int_equal(check(f, len), bit == 0 || bit == 2 ? WEFT__W_OK : WEFT__W_FLAGS);
  }
}

/* One message without record header: any size up to the largest record's, and nothing beside it. */
static void alone(void **state) {
  static const uint32_t sizes[] = {0, 1, 7, 8, 64, 16311, 16312, 16313, 16320, 16321};
  static uint8_t f[WEFT__FRAME_MAX + 8];
  weft__hdr_t h, back;
  weft__rec_t r;
  unsigned i;

  (void) state;
  for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
    uint32_t off = 0, n = sizes[i];
    h = golden_hdr(WEFT__F_DATA, WEFT__FL_ALONE, 1, 7, n);
    weft__hdr_put(f, &h);
    assert_int_equal(weft__hdr_get(f, WEFT__HDR + n, &back), n <= 16312   ? WEFT__W_OK
                                                             : n <= 16320 ? WEFT__W_PAYLOAD
                                                                          : WEFT__W_LENGTH);
    if (n > 16312) continue;
    assert_int_equal(weft__data_next(&back, f + WEFT__HDR, &off, &r), WEFT__W_OK);
    assert_int_equal(r.kind, WEFT__R_MSG);
    assert_ptr_equal(r.data, f + WEFT__HDR);
    assert_int_equal(r.size, n);
    assert_int_equal(r.total, n);
    assert_int_equal(off, n);
  }
  h = golden_hdr(WEFT__F_DATA, WEFT__FL_ALONE, 2, 7, 16);
  weft__hdr_put(f, &h);
  assert_int_equal(weft__hdr_get(f, WEFT__HDR + 16, &back), WEFT__W_COUNT);
  weft__put16(f + 6, 0);
  assert_int_equal(weft__hdr_get(f, WEFT__HDR + 16, &back), WEFT__W_COUNT);
}

static void suite_and_trailer_must_be_zero(void **state) {
  uint8_t f[64];
  unsigned i;

  (void) state;
  hex(ack_frame, f);
  for (i = 3; i < 6; i++) {
    f[i] = 1;
    assert_int_equal(check(f, 64), WEFT__W_SUITE);
    f[i] = 0x80;
    assert_int_equal(check(f, 64), WEFT__W_SUITE);
    f[i] = 0;
  }
}

static void counts_and_numbers(void **state) {
  uint8_t f[128];
  size_t len = hex(data_frame, f);

  (void) state;
  weft__put16(f + 6, 0); /* DATA without records */
  assert_int_equal(check(f, len), WEFT__W_COUNT);
  weft__put16(f + 6, 2);
  weft__put64(f + 24, 0); /* numbers start at 1 */
  assert_int_equal(check(f, len), WEFT__W_COUNT);
  weft__put64(f + 24, UINT64_MAX - 1); /* the number behind the last would wrap */
  assert_int_equal(check(f, len), WEFT__W_COUNT);
  weft__put64(f + 24, UINT64_MAX - 2);
  assert_int_equal(check(f, len), WEFT__W_OK);
  weft__put64(f + 24, 7);
  weft__put16(f + 6, 4); /* more records than can be there */
  assert_int_equal(check(f, len), WEFT__W_PAYLOAD);

  hex(ack_frame, f); /* a control frame has neither */
  weft__put16(f + 6, 1);
  assert_int_equal(check(f, 64), WEFT__W_COUNT);
  weft__put16(f + 6, 0);
  weft__put64(f + 24, 1);
  assert_int_equal(check(f, 64), WEFT__W_COUNT);
}

/* A frame of `type` with n bytes of payload, zero but for a u32 at `at`. */
static weft__werr_t sized(unsigned type, uint32_t n, uint32_t at, uint32_t v) {
  uint8_t *f = calloc(1, WEFT__HDR + (size_t) n);
  weft__hdr_t h = golden_hdr(type, 0, type == WEFT__F_DATA, type == WEFT__F_DATA, n);
  weft__werr_t err;

  assert_non_null(f);
  weft__hdr_put(f, &h);
  if (n >= at + 4) weft__put32(f + WEFT__HDR + at, v);
  err = check(f, WEFT__HDR + n);
  free(f);
  return err;
}

static void payload_sizes(void **state) {
  static const struct {
    unsigned type;
    uint32_t size;
  } fixed[] = {{WEFT__F_ACK, 0},         {WEFT__F_BYE, 0},   {WEFT__F_JOIN_PLEASE, 0},
               {WEFT__F_RESUME, 24},     {WEFT__F_PING, 16}, {WEFT__F_PONG, 16},
               {WEFT__F_RESUME_ACK, 16}, {WEFT__F_CTS, 40},  {WEFT__F_FRAG, 24},
               {WEFT__F_REFUSE, 16},     {WEFT__F_SKIP, 16}, {WEFT__F_READY, 40},
               {WEFT__F_DONE, 24}};
  unsigned i;
  uint32_t n;

  (void) state;
  for (i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
    for (n = 0; n < 64; n++)
      assert_int_equal(sized(fixed[i].type, n, 0, 0),
                       n == fixed[i].size ? WEFT__W_OK : WEFT__W_PAYLOAD);

  assert_int_equal(sized(WEFT__F_HELLO, 0, 0, 0), WEFT__W_PAYLOAD);
  assert_int_equal(sized(WEFT__F_HELLO, 1, 0, 0), WEFT__W_OK);
  assert_int_equal(sized(WEFT__F_HELLO, 8192, 0, 0), WEFT__W_OK);
  assert_int_equal(sized(WEFT__F_HELLO, 8193, 0, 0), WEFT__W_PAYLOAD);

  /* CTS: unknown flags, and two ways at once */
  assert_int_equal(sized(WEFT__F_CTS, 40, 36, 3), WEFT__W_OK);
  assert_int_equal(sized(WEFT__F_CTS, 40, 36, 5), WEFT__W_OK);
  assert_int_equal(sized(WEFT__F_CTS, 40, 36, 6), WEFT__W_PAYLOAD);
  assert_int_equal(sized(WEFT__F_CTS, 40, 36, 8), WEFT__W_PAYLOAD);

  /* CHUNK: its own length field must agree, and there must be something */
  assert_int_equal(sized(WEFT__F_CHUNK, 23, 16, 0), WEFT__W_PAYLOAD);
  assert_int_equal(sized(WEFT__F_CHUNK, 24, 16, 0), WEFT__W_PAYLOAD);
  assert_int_equal(sized(WEFT__F_CHUNK, 25, 16, 1), WEFT__W_OK);
  assert_int_equal(sized(WEFT__F_CHUNK, 25, 16, 2), WEFT__W_PAYLOAD);
  assert_int_equal(sized(WEFT__F_CHUNK, 25, 16, UINT32_MAX), WEFT__W_PAYLOAD);
  assert_int_equal(sized(WEFT__F_CHUNK, 16320, 16, 16296), WEFT__W_OK);

  /* ABORT: the same, and at most 200 bytes of text */
  assert_int_equal(sized(WEFT__F_ABORT, 7, 4, 0), WEFT__W_PAYLOAD);
  assert_int_equal(sized(WEFT__F_ABORT, 8, 4, 0), WEFT__W_OK);
  assert_int_equal(sized(WEFT__F_ABORT, 8, 4, 1), WEFT__W_PAYLOAD);
  assert_int_equal(sized(WEFT__F_ABORT, 208, 4, 200), WEFT__W_OK);
  assert_int_equal(sized(WEFT__F_ABORT, 209, 4, 201), WEFT__W_PAYLOAD);

  /* DATA: padded to 8 */
  assert_int_equal(sized(WEFT__F_DATA, 0, 0, 0), WEFT__W_PAYLOAD);
  assert_int_equal(sized(WEFT__F_DATA, 8, 0, 0), WEFT__W_OK);
  assert_int_equal(sized(WEFT__F_DATA, 12, 0, 4), WEFT__W_PAYLOAD);

  /* no frame is larger than the largest, whatever its type */
  assert_int_equal(sized(WEFT__F_DATA, WEFT__FRAME_MAX - WEFT__HDR, 0, 0), WEFT__W_OK);
  assert_int_equal(sized(WEFT__F_DATA, WEFT__FRAME_MAX - WEFT__HDR + 8, 0, 0), WEFT__W_LENGTH);
}

/* One record in a payload of n bytes, of this kind and size, LARGE with this total. */
static weft__werr_t record(uint32_t n, unsigned kind, uint32_t size, uint64_t total) {
  uint8_t *p = calloc(1, n + (n == 0));
  uint32_t off = 0;
  weft__werr_t err;
  weft__rec_t r;

  assert_non_null(p);
  if (n >= 8) weft__rec_put(p, kind, size);
  if (n >= 16) weft__put64(p + 8, total);
  err = weft__rec_next(p, n, &off, &r);
  if (err == WEFT__W_OK) {
    assert_true(off <= n && off >= WEFT__REC);
    assert_true(r.data >= p && r.data + r.size <= p + n);
  } else {
    assert_int_equal(off, 0);
  }
  free(p);
  return err;
}

static void records(void **state) {
  uint8_t p[16] = {0};
  uint32_t off, n;
  weft__rec_t r;

  (void) state;
  for (n = 0; n < 8; n++) assert_int_equal(record(n, WEFT__R_MSG, 0, 0), WEFT__W_RECORD);
  assert_int_equal(record(8, WEFT__R_MSG, 0, 0), WEFT__W_OK);
  assert_int_equal(record(8, WEFT__R_MSG, 1, 0), WEFT__W_RECORD);
  assert_int_equal(record(12, WEFT__R_MSG, 4, 0), WEFT__W_RECORD); /* data fits, padding does not */
  assert_int_equal(record(16, WEFT__R_MSG, 8, 0), WEFT__W_OK);
  assert_int_equal(record(16, WEFT__R_MSG, 9, 0), WEFT__W_RECORD);
  assert_int_equal(record(16, WEFT__R_MSG, UINT32_MAX, 0), WEFT__W_RECORD);
  assert_int_equal(record(16, WEFT__R_MSG, UINT32_MAX - 7, 0), WEFT__W_RECORD);

  assert_int_equal(record(8, WEFT__R_LARGE, 0, 0), WEFT__W_RECORD); /* no total */
  assert_int_equal(record(16, WEFT__R_LARGE, 7, 1), WEFT__W_RECORD);
  assert_int_equal(record(16, WEFT__R_LARGE, 8, 0), WEFT__W_RECORD); /* nothing announced */
  assert_int_equal(record(16, WEFT__R_LARGE, 8, 1), WEFT__W_OK);
  assert_int_equal(record(24, WEFT__R_LARGE, 16, 8), WEFT__W_RECORD); /* the head is everything */
  assert_int_equal(record(24, WEFT__R_LARGE, 16, 9), WEFT__W_OK);
  assert_int_equal(record(16, WEFT__R_LARGE, 8, UINT64_MAX), WEFT__W_OK); /* a limit is not ours */
  assert_int_equal(record(272, WEFT__R_LARGE, 264, 1 << 20), WEFT__W_OK);
  assert_int_equal(record(280, WEFT__R_LARGE, 265, 1 << 20), WEFT__W_RECORD); /* head of 257 */

  assert_int_equal(record(8, WEFT__R_FIN, 0, 0), WEFT__W_OK);
  assert_int_equal(record(16, WEFT__R_FIN, 1, 0), WEFT__W_RECORD);
  assert_int_equal(record(8, WEFT__R_SKIP, 0, 0), WEFT__W_OK);
  assert_int_equal(record(16, WEFT__R_SKIP, 8, 0), WEFT__W_RECORD);
  assert_int_equal(record(8, 4, 0, 0), WEFT__W_RECORD);
  assert_int_equal(record(8, 0xffff, 0, 0), WEFT__W_RECORD);

  p[6] = 1; /* reserved */
  off = 0;
  assert_int_equal(weft__rec_next(p, 16, &off, &r), WEFT__W_RECORD);
  p[6] = 0;
  p[7] = 1;
  assert_int_equal(weft__rec_next(p, 16, &off, &r), WEFT__W_RECORD);
  p[7] = 0;
  off = 17; /* past the end */
  assert_int_equal(weft__rec_next(p, 16, &off, &r), WEFT__W_RECORD);
  off = UINT32_MAX;
  assert_int_equal(weft__rec_next(p, 16, &off, &r), WEFT__W_RECORD);
}

/* Nothing may depend on alignment. */
static void any_alignment(void **state) {
  uint8_t room[160];
  unsigned shift;

  (void) state;
  for (shift = 0; shift < 8; shift++) {
    size_t len = hex(large_frame, room + shift);
    uint32_t off = 0;
    weft__hdr_t h;
    weft__rec_t r;

    assert_int_equal(weft__hdr_get(room + shift, len, &h), WEFT__W_OK);
    assert_int_equal(h.key, 0x1122334455667788u);
    assert_int_equal(weft__rec_next(room + shift + WEFT__HDR, h.length, &off, &r), WEFT__W_OK);
    assert_int_equal(r.total, 65536);
  }
}

/* docs/wire.md without its blanks. */
static char *the_page(void) {
  const char *src = getenv("WEFT_SRC");
  char path[4096], *page;
  size_t n = 0;
  FILE *f;
  int c;

  if (src == NULL) return NULL;
  snprintf(path, sizeof(path), "%s/docs/wire.md", src);
  f = fopen(path, "r");
  if (f == NULL) return NULL;
  page = malloc(1 << 20);
  assert_non_null(page);
  while ((c = getc(f)) != EOF && n < (1 << 20) - 1)
    if (!isspace(c)) page[n++] = (char) c;
  page[n] = 0;
  fclose(f);
  return page;
}

static void the_page_shows_the_golden_frames(void **state) {
  char *page = the_page();
  unsigned i, k;

  (void) state;
  if (page == NULL) skip_case("the page is not here: outside the source tree");
  for (i = 0; i < GOLDENS; i++) {
    uint8_t f[256];
    char text[600];
    size_t len = hex(goldens[i].text, f);

    for (k = 0; k < len; k++) snprintf(text + (size_t) 2 * k, 3, "%02x", f[k]);
    if (strstr(page, text) == NULL)
      print_error("docs/wire.md lacks the golden %s\n", weft__ftype_name(goldens[i].type));
    assert_non_null(strstr(page, text));
  }
  free(page);
}

static void texts(void **state) {
  unsigned i;

  (void) state;
  for (i = 0; i < WEFT__W_ERRORS; i++) assert_true(strlen(weft__wire_why((weft__werr_t) i)) > 3);
  assert_string_equal(weft__wire_why(WEFT__W_ERRORS), "malformed");
  assert_string_equal(weft__ftype_name(WEFT__F_DATA), "DATA");
  assert_string_equal(weft__ftype_name(WEFT__F_JOIN_PLEASE), "JOIN_PLEASE");
  for (i = 1; i < WEFT__F_TYPES; i++) assert_string_not_equal(weft__ftype_name(i), "?");
  assert_string_equal(weft__ftype_name(0), "?");
  assert_string_equal(weft__ftype_name(WEFT__F_TYPES), "?");
}

int main(void) {
  static const struct CMUnitTest tests[] = {
      cmocka_unit_test(golden_headers),
      cmocka_unit_test(golden_data_records),
      cmocka_unit_test(golden_large_and_end),
      cmocka_unit_test(wrong_lengths),
      cmocka_unit_test(wrong_version),
      cmocka_unit_test(unknown_types),
      cmocka_unit_test(unknown_flags),
      cmocka_unit_test(alone),
      cmocka_unit_test(suite_and_trailer_must_be_zero),
      cmocka_unit_test(counts_and_numbers),
      cmocka_unit_test(payload_sizes),
      cmocka_unit_test(records),
      cmocka_unit_test(any_alignment),
      cmocka_unit_test(the_page_shows_the_golden_frames),
      cmocka_unit_test(texts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
