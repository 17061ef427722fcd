/* SPDX-License-Identifier: Apache-2.0 */
/* wire_fuzz.c - every parser of bytes from a peer: frames, records, hellos, join blobs.
 *
 * Design notes
 *  - The input's first byte chooses the parser, so that a corpus file is one frame or blob with a
 *    letter before it. What a parser accepts is encoded again and must come out the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "rail/path.h"
#include "session/hello.h"
#include "session/join.h"
#include "session/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(what)                                                                                \
  do {                                                                                             \
    if (!(what)) abort();                                                                          \
  } while (0)

static unsigned sum;

static void touch(const uint8_t *p, size_t n) {
  while (n-- > 0) sum += *p++;
}

static void frame(const uint8_t *p, size_t len) {
  uint8_t again[WEFT__HDR];
  weft__hdr_t h;
  weft__rec_t r;
  uint32_t off = 0, before;
  unsigned n = 0;

  if (weft__hdr_get(p, len, &h) != WEFT__W_OK) return;
  CHECK(h.length == len - WEFT__HDR && len <= WEFT__FRAME_MAX);
  weft__hdr_put(again, &h);
  CHECK(memcmp(again, p, WEFT__HDR) == 0);
  if (h.type != WEFT__F_DATA) return;
  if (h.flags & WEFT__FL_ALONE) {
    CHECK(h.count == 1 && weft__data_next(&h, p + WEFT__HDR, &off, &r) == WEFT__W_OK);
    CHECK(r.data + r.size == p + len && off == h.length && len <= WEFT__FRAME_MAX - WEFT__REC);
    touch(r.data, r.size);
    return;
  }
  for (before = 0; weft__rec_next(p + WEFT__HDR, h.length, &off, &r) == WEFT__W_OK; before = off) {
    CHECK(off > before && off <= h.length && off % 8 == 0);
    CHECK(r.data >= p + WEFT__HDR && r.data + r.size <= p + len);
    CHECK(r.kind != WEFT__R_LARGE || (r.total > r.size && r.size <= WEFT__HEAD_MAX));
    touch(r.data, r.size);
    n++;
  }
  CHECK(n <= h.length / WEFT__REC);
}

static void records(const uint8_t *p, size_t len) {
  weft__rec_t r;
  uint32_t off = 0;

  if (len > WEFT__FRAME_MAX) return;
  while (weft__rec_next(p, (uint32_t) len, &off, &r) == WEFT__W_OK) touch(r.data, r.size);
}

static void hello(const uint8_t *p, size_t len) {
  static weft__hello_t h, back;
  static uint8_t again[WEFT__HELLO_MAX];
  const char *why = NULL;
  size_t n;

  if (weft__hello_get(p, len, &h, &why) != 0) {
    CHECK(why != NULL && why[0] != 0);
    return;
  }
  CHECK(h.noffers <= WEFT__OFFERS_MAX);
  CHECK(memchr(h.name, 0, sizeof(h.name)) != NULL);
  CHECK(memchr(h.qos.require, 0, sizeof(h.qos.require)) != NULL);
  n = weft__hello_put(again, sizeof(again), &h);
  CHECK(n != 0);
  CHECK(weft__hello_get(again, n, &back, &why) == 0);
  CHECK(memcmp(&h, &back, sizeof(h)) == 0);
}

static void request(const uint8_t *p, size_t len) {
  uint8_t again[WEFT__REQUEST_SIZE];
  weft__request_t r;

  if (!weft__request_get(p, len, &r)) return;
  weft__request_put(again, &r);
  if (r.vlow <= WEFT__WIRE_VERSION && r.vhigh >= WEFT__WIRE_VERSION)
    CHECK(memcmp(again, p, sizeof(again)) == 0);
}

static void answer(const uint8_t *p, size_t len) {
  uint8_t again[WEFT__ANSWER_SIZE];
  weft__answer_t a;

  if (!weft__answer_get(p, len, &a)) return;
  weft__answer_put(again, &a);
  if (a.kind == WEFT__A_ACCEPT) CHECK(memcmp(again, p, sizeof(again)) == 0);
  touch((const uint8_t *) weft__jcode_text(a.code), 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  switch (data[0]) {
  case 'f': frame(data + 1, size - 1); break;
  case 'r': records(data + 1, size - 1); break;
  case 'h': hello(data + 1, size - 1); break;
  case 'q': request(data + 1, size - 1); break;
  case 'a': answer(data + 1, size - 1); break;
  default: /* whatever it is, all of them */
    frame(data, size);
    hello(data, size);
    request(data, size);
    answer(data, size);
    break;
  }
  return 0;
}
