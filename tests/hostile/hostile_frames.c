/* SPDX-License-Identifier: Apache-2.0 */
/* hostile_frames.c - frames that are malformed, truncated, oversized, of another version, under a
 * wrong key, or counted wrongly: on an open session, one damage each. */
#include <string.h>

#include "lib_case.h"
#include "rail/path.h" /* WEFT__FRAME_MAX */

/* A valid frame as bytes, for one byte of it to be changed. */
static size_t build(peer_t *p, uint8_t *out, unsigned type, const void *payload, uint32_t len) {
  weft__hdr_t h = peer_hdr(p, type);

  h.length = len;
  weft__hdr_put(out, &h);
  if (len != 0) memcpy(out + WEFT__HDR, payload, len);
  return WEFT__HDR + len;
}

static void send_with(peer_t *p, size_t at, uint8_t value) {
  uint8_t b[WEFT__HDR];
  size_t n = build(p, b, WEFT__F_ACK, NULL, 0);

  b[at] = value;
  peer_msg(p, b, n);
}

/* ---- Headers ---- */

static void nothing(peer_t *p) {
  peer_msg(p, NULL, 0);
}

static void one_byte(peer_t *p) {
  peer_msg(p, "\1", 1);
}

static void truncated(peer_t *p) {
  uint8_t b[WEFT__HDR];

  build(p, b, WEFT__F_ACK, NULL, 0);
  peer_msg(p, b, WEFT__HDR - 1);
}

static void version_0(peer_t *p) {
  send_with(p, 0, 0);
}

static void version_2(peer_t *p) {
  send_with(p, 0, WEFT__WIRE_VERSION + 1);
}

static void type_0(peer_t *p) {
  send_with(p, 1, 0);
}

static void type_16(peer_t *p) {
  send_with(p, 1, WEFT__F_TYPES);
}

static void type_255(peer_t *p) {
  send_with(p, 1, 255);
}

static void flags(peer_t *p) {
  send_with(p, 2, 0x80);
}

static void suite(peer_t *p) {
  send_with(p, 3, 1);
}

static void trailer(peer_t *p) {
  send_with(p, 4, 16);
}

static void ack_with_count(peer_t *p) {
  send_with(p, 6, 1);
}

static void ack_with_number(peer_t *p) {
  send_with(p, 24, 1);
}

static void length_longer(peer_t *p) {
  send_with(p, 56, 8);
}

static void length_huge(peer_t *p) {
  send_with(p, 59, 0xff);
}

static void length_shorter(peer_t *p) {
  uint8_t b[WEFT__HDR + WEFT__PING_SIZE + 8] = {0}, ping[WEFT__PING_SIZE] = {0};

  build(p, b, WEFT__F_PING, ping, sizeof(ping));
  peer_msg(p, b, sizeof(b));
}

static void wrong_key(peer_t *p) {
  weft__hdr_t h = peer_hdr(p, WEFT__F_ACK);

  h.key ^= 1;
  peer_put(p, &h, NULL, 0);
}

/* Our own key, which frames to us carry. */
static void reflected_key(peer_t *p) {
  weft__hdr_t h = peer_hdr(p, WEFT__F_ACK);

  h.key = p->rq.key;
  peer_put(p, &h, NULL, 0);
}

static void zero_key(peer_t *p) {
  weft__hdr_t h = peer_hdr(p, WEFT__F_ACK);

  h.key = 0;
  peer_put(p, &h, NULL, 0);
}

static void replayed(peer_t *p) {
  weft__hdr_t h = peer_hdr(p, WEFT__F_ACK);

  peer_put(p, &h, NULL, 0);
  peer_put(p, &h, NULL, 0);
}

static void skipped(peer_t *p) {
  weft__hdr_t h;

  p->tx_fc++;
  h = peer_hdr(p, WEFT__F_ACK);
  peer_put(p, &h, NULL, 0);
}

static void counter_0(peer_t *p) {
  weft__hdr_t h = peer_hdr(p, WEFT__F_ACK);

  h.fc = 0;
  peer_put(p, &h, NULL, 0);
}

static void counter_max(peer_t *p) {
  weft__hdr_t h = peer_hdr(p, WEFT__F_ACK);

  h.fc = UINT64_MAX;
  peer_put(p, &h, NULL, 0);
}

/* ---- Payloads of control frames ---- */

static void sized(peer_t *p, unsigned type, uint32_t len) {
  static const uint8_t zeros[WEFT__FRAME_MAX];

  peer_frame(p, type, zeros, len);
}

static void ack_with_payload(peer_t *p) {
  sized(p, WEFT__F_ACK, 8);
}

static void resume_short(peer_t *p) {
  sized(p, WEFT__F_RESUME, WEFT__RESUME_SIZE - 1);
}

static void resume_ack_long(peer_t *p) {
  sized(p, WEFT__F_RESUME_ACK, WEFT__RESUME_ACK_SIZE + 1);
}

static void ping_empty(peer_t *p) {
  sized(p, WEFT__F_PING, 0);
}

static void pong_long(peer_t *p) {
  sized(p, WEFT__F_PONG, WEFT__PING_SIZE + 8);
}

static void cts_short(peer_t *p) {
  sized(p, WEFT__F_CTS, WEFT__CTS_SIZE - 4);
}

static void cts_flags(peer_t *p) {
  uint8_t b[WEFT__CTS_SIZE] = {0};

  b[39] = 0x80;
  peer_frame(p, WEFT__F_CTS, b, sizeof(b));
}

static void frag_long(peer_t *p) {
  sized(p, WEFT__F_FRAG, WEFT__FRAG_SIZE + 8);
}

static void cts_two_ways(peer_t *p) {
  uint8_t b[WEFT__CTS_SIZE] = {0};

  b[36] = WEFT__CTS_COPY | WEFT__CTS_READ;
  peer_frame(p, WEFT__F_CTS, b, sizeof(b));
}

static void ready_short(peer_t *p) {
  sized(p, WEFT__F_READY, WEFT__READY_SIZE - 8);
}

static void done_long(peer_t *p) {
  sized(p, WEFT__F_DONE, WEFT__FRAG_SIZE + 8);
}

static void chunk_empty(peer_t *p) {
  sized(p, WEFT__F_CHUNK, WEFT__FRAG_SIZE);
}

static void chunk_length(peer_t *p) {
  uint8_t b[WEFT__FRAG_SIZE + 16] = {0};

  weft__put32(b + 16, 4096); /* and 16 bytes follow */
  peer_frame(p, WEFT__F_CHUNK, b, sizeof(b));
}

static void refuse_short(peer_t *p) {
  sized(p, WEFT__F_REFUSE, 8);
}

static void skip_long(peer_t *p) {
  sized(p, WEFT__F_SKIP, 24);
}

static void bye_with_payload(peer_t *p) {
  sized(p, WEFT__F_BYE, 1);
}

static void abort_short(peer_t *p) {
  sized(p, WEFT__F_ABORT, 7);
}

static void abort_length(peer_t *p) {
  uint8_t b[16] = {0};

  weft__put32(b + 4, 200); /* and 8 bytes follow */
  peer_frame(p, WEFT__F_ABORT, b, sizeof(b));
}

static void abort_long(peer_t *p) {
  uint8_t b[8 + WEFT__TEXT_MAX + 1];

  memset(b, 'a', sizeof(b));
  weft__put32(b + 4, WEFT__TEXT_MAX + 1);
  peer_frame(p, WEFT__F_ABORT, b, sizeof(b));
}

/* ---- Records ---- */

static void data(peer_t *p, const void *payload, uint32_t len, unsigned count, uint64_t seq) {
  weft__hdr_t h = peer_hdr(p, WEFT__F_DATA);

  h.count = (uint16_t) count;
  h.seq = seq;
  h.length = len;
  peer_put(p, &h, payload, len);
}

/* One record header with these numbers, then `room` bytes. */
static void record(peer_t *p, uint32_t size, uint32_t kind, uint32_t room) {
  uint8_t b[1024] = {0};

  weft__put32(b, size);
  weft__put32(b + 4, kind);
  data(p, b, 8 + room, 1, 1);
}

static void no_records(peer_t *p) {
  uint8_t b[8] = {0};

  data(p, b, 8, 0, 1);
}

static void record_number_0(peer_t *p) {
  uint8_t b[8] = {0};

  data(p, b, 8, 1, 0);
}

static void record_number_wraps(peer_t *p) {
  uint8_t b[16] = {0};

  data(p, b, 16, 2, UINT64_MAX - 1);
}

static void records_missing(peer_t *p) {
  uint8_t b[16] = {0};

  data(p, b, 16, 3, 1);
}

static void records_unpadded(peer_t *p) {
  uint8_t b[12] = {4};

  data(p, b, 12, 1, 1);
}

static void record_longer(peer_t *p) {
  record(p, 9, WEFT__R_MSG, 8);
}

static void record_huge(peer_t *p) {
  record(p, UINT32_MAX, WEFT__R_MSG, 8);
}

/* A second record whose header is not there. */
static void record_ends_early(peer_t *p) {
  uint8_t b[24] = {0};

  weft__put32(b, 16);
  data(p, b, 24, 2, 1);
}

static void record_kind(peer_t *p) {
  record(p, 0, 4, 0);
}

static void record_reserved(peer_t *p) {
  record(p, 0, 1u << 16, 0);
}

static void record_trailing(peer_t *p) {
  record(p, 0, WEFT__R_MSG, 16);
}

static void fin_with_body(peer_t *p) {
  record(p, 8, WEFT__R_FIN, 8);
}

static void skip_with_body(peer_t *p) {
  record(p, 8, WEFT__R_SKIP, 8);
}

static void large_short(peer_t *p) {
  record(p, 7, WEFT__R_LARGE, 8);
}

static void large_head(peer_t *p) {
  record(p, 8 + WEFT__HEAD_MAX + 1, WEFT__R_LARGE, 8 + WEFT__HEAD_MAX + 8);
}

static void large_empty(peer_t *p) {
  record(p, 16, WEFT__R_LARGE, 16); /* a total of 0 and 8 bytes of it */
}

/* ---- Frames beyond what a receive holds ---- */

static void oversized(peer_t *p, size_t len) {
  static uint8_t b[1 << 20];
  weft__hdr_t h = peer_hdr(p, WEFT__F_CHUNK);

  h.length = (uint32_t) (len - WEFT__HDR);
  weft__hdr_put(b, &h);
  peer_msg(p, b, len);
}

static void oversized_by_1(peer_t *p) {
  oversized(p, WEFT__FRAME_MAX + 1);
}

static void oversized_1mib(peer_t *p) {
  oversized(p, 1 << 20);
}

#define BAD(fn, why)                                                                               \
  { .name = #fn, .act = fn, .logged = why }

static const hostile_case_t cases[] = {
    BAD(nothing, "malformed frame: shorter than a header"),
    BAD(one_byte, "malformed frame: shorter than a header"),
    BAD(truncated, "malformed frame: shorter than a header"),
    BAD(version_0, "malformed frame: of another protocol version"),
    BAD(version_2, "malformed frame: of another protocol version"),
    BAD(type_0, "malformed frame: of an unknown type"),
    BAD(type_16, "malformed frame: of an unknown type"),
    BAD(type_255, "malformed frame: of an unknown type"),
    BAD(flags, "malformed frame: with an unknown flag"),
    BAD(suite, "malformed frame: with a cipher suite or trailer"),
    BAD(trailer, "malformed frame: with a cipher suite or trailer"),
    BAD(ack_with_count, "malformed frame: with a wrong record count"),
    BAD(ack_with_number, "malformed frame: with a wrong record count"),
    BAD(length_longer, "malformed frame: longer or shorter than it says"),
    BAD(length_huge, "malformed frame: longer or shorter than it says"),
    BAD(length_shorter, "malformed frame: longer or shorter than it says"),
    BAD(wrong_key, "frame under a wrong path key"),
    BAD(reflected_key, "frame under a wrong path key"),
    BAD(zero_key, "frame under a wrong path key"),
    BAD(replayed, "frame 2 where 3 was due"),
    BAD(skipped, "frame 3 where 2 was due"),
    BAD(counter_0, "frame 0 where 2 was due"),
    BAD(counter_max, "frame 18446744073709551615 where 2 was due"),
    BAD(ack_with_payload, "malformed frame: with a malformed payload"),
    BAD(resume_short, "malformed frame: with a malformed payload"),
    BAD(resume_ack_long, "malformed frame: with a malformed payload"),
    BAD(ping_empty, "malformed frame: with a malformed payload"),
    BAD(pong_long, "malformed frame: with a malformed payload"),
    BAD(cts_short, "malformed frame: with a malformed payload"),
    BAD(cts_flags, "malformed frame: with a malformed payload"),
    BAD(cts_two_ways, "malformed frame: with a malformed payload"),
    BAD(ready_short, "malformed frame: with a malformed payload"),
    BAD(done_long, "malformed frame: with a malformed payload"),
    BAD(frag_long, "malformed frame: with a malformed payload"),
    BAD(chunk_empty, "malformed frame: with a malformed payload"),
    BAD(chunk_length, "malformed frame: with a malformed payload"),
    BAD(refuse_short, "malformed frame: with a malformed payload"),
    BAD(skip_long, "malformed frame: with a malformed payload"),
    BAD(bye_with_payload, "malformed frame: with a malformed payload"),
    BAD(abort_short, "malformed frame: with a malformed payload"),
    BAD(abort_length, "malformed frame: with a malformed payload"),
    BAD(abort_long, "malformed frame: with a malformed payload"),
    BAD(no_records, "malformed frame: with a wrong record count"),
    BAD(record_number_0, "malformed frame: with a wrong record count"),
    BAD(record_number_wraps, "malformed frame: with a wrong record count"),
    BAD(records_missing, "malformed frame: with a malformed payload"),
    BAD(records_unpadded, "malformed frame: with a malformed payload"),
    BAD(record_longer, "record 1 of 1: with a malformed record"),
    BAD(record_huge, "record 1 of 1: with a malformed record"),
    BAD(record_ends_early, "record 2 of 2: with a malformed record"),
    BAD(record_kind, "record 1 of 1: with a malformed record"),
    BAD(record_reserved, "record 1 of 1: with a malformed record"),
    BAD(record_trailing, "16 bytes after the last record"),
    BAD(fin_with_body, "record 1 of 1: with a malformed record"),
    BAD(skip_with_body, "record 1 of 1: with a malformed record"),
    BAD(large_short, "record 1 of 1: with a malformed record"),
    BAD(large_head, "record 1 of 1: with a malformed record"),
    BAD(large_empty, "record 1 of 1: with a malformed record"),
    /* The receive does not hold it and the provider ends the path, so nobody is told. */
    {.name = "oversized_by_1",
     .act = oversized_by_1,
     .logged = "a frame of more than 16384 bytes",
     .mute = true},
    {.name = "oversized_1mib",
     .act = oversized_1mib,
     .logged = "a frame of more than 16384 bytes",
     .mute = true},
};

HOSTILE_MAIN("hostile_frames", cases, NULL)
