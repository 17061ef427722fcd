/* SPDX-License-Identifier: Apache-2.0 */
/* wire.c - frames to and from bytes.
 *
 * Design notes
 *  - hdr_get, hdr_put, rec_next and rec_put run for every frame: they read and write whole words
 *    (memcpy, which the compiler turns into one load or store), at any alignment.
 *  - What hdr_get lets through has a payload of exactly the size its type asks for; whoever handles
 *    a control frame may read its fixed fields without another length check.
 *  - Reserved bytes inside payloads are written 0 and not looked at; reserved fields of the headers
 *    must be 0, because they will change how the rest is read. */
#include "session/wire.h"

#include <endian.h>
#include <string.h>

#include "rail/path.h" /* WEFT__FRAME_MAX */
#include "session/hello.h"

_Static_assert(WEFT__HELLO_MAX + WEFT__HDR <= WEFT__FRAME_MAX, "a HELLO is one frame");
_Static_assert(WEFT__REC + 8u + WEFT__HEAD_MAX + WEFT__HDR <= WEFT__FRAME_MAX,
               "an announcement fits a frame");

static inline uint64_t load64(const uint8_t *p) {
  uint64_t v;

  memcpy(&v, p, sizeof(v));
  return le64toh(v);
}

static inline uint32_t load32(const uint8_t *p) {
  uint32_t v;

  memcpy(&v, p, sizeof(v));
  return le32toh(v);
}

static inline void store64(uint8_t *p, uint64_t v) {
  v = htole64(v);
  memcpy(p, &v, sizeof(v));
}

static const char *const whys[WEFT__W_ERRORS] = {
    [WEFT__W_OK] = "well-formed",
    [WEFT__W_SHORT] = "shorter than a header",
    [WEFT__W_VERSION] = "of another protocol version",
    [WEFT__W_TYPE] = "of an unknown type",
    [WEFT__W_FLAGS] = "with an unknown flag",
    [WEFT__W_SUITE] = "with a cipher suite or trailer, which this version does not have",
    [WEFT__W_LENGTH] = "longer or shorter than it says",
    [WEFT__W_COUNT] = "with a wrong record count or number",
    [WEFT__W_RECORD] = "with a malformed record",
    [WEFT__W_PAYLOAD] = "with a malformed payload",
};

const char *weft__wire_why(weft__werr_t err) {
  return (unsigned) err < WEFT__W_ERRORS ? whys[err] : "malformed";
}

static const char *const names[WEFT__F_TYPES] = {
    [WEFT__F_DATA] = "DATA",
    [WEFT__F_ACK] = "ACK",
    [WEFT__F_HELLO] = "HELLO",
    [WEFT__F_RESUME] = "RESUME",
    [WEFT__F_RESUME_ACK] = "RESUME_ACK",
    [WEFT__F_PING] = "PING",
    [WEFT__F_PONG] = "PONG",
    [WEFT__F_CTS] = "CTS",
    [WEFT__F_FRAG] = "FRAG",
    [WEFT__F_CHUNK] = "CHUNK",
    [WEFT__F_REFUSE] = "REFUSE",
    [WEFT__F_SKIP] = "SKIP",
    [WEFT__F_BYE] = "BYE",
    [WEFT__F_ABORT] = "ABORT",
    [WEFT__F_JOIN_PLEASE] = "JOIN_PLEASE",
    [WEFT__F_READY] = "READY",
    [WEFT__F_DONE] = "DONE",
};

const char *weft__ftype_name(unsigned type) {
  return type < WEFT__F_TYPES && names[type] != NULL ? names[type] : "?";
}

void weft__hdr_put(uint8_t *out, const weft__hdr_t *h) {
  store64(out, WEFT__WIRE_VERSION | (uint64_t) h->type << 8 | (uint64_t) h->flags << 16 |
                   (uint64_t) h->count << 48);
  store64(out + 8, h->key);
  store64(out + 16, h->fc);
  store64(out + 24, h->seq);
  store64(out + 32, h->ack);
  store64(out + 40, h->win_seq);
  store64(out + 48, h->win_bytes);
  store64(out + 56, h->length | (uint64_t) h->grant << 32);
}

/* Is the payload of this control frame as large as its type (and its own length field) says? */
static bool payload_fits(unsigned type, const uint8_t *p, uint32_t length) {
  switch (type) {
  case WEFT__F_ACK:
  case WEFT__F_BYE:
  case WEFT__F_JOIN_PLEASE: return length == 0;
  case WEFT__F_HELLO: return length >= 1 && length <= WEFT__HELLO_MAX;
  case WEFT__F_RESUME: return length == WEFT__RESUME_SIZE;
  case WEFT__F_RESUME_ACK: return length == WEFT__RESUME_ACK_SIZE;
  case WEFT__F_PING:
  case WEFT__F_PONG: return length == WEFT__PING_SIZE;
  case WEFT__F_CTS:
    return length == WEFT__CTS_SIZE &&
           (load32(p + 36) & ~(WEFT__CTS_LAST | WEFT__CTS_COPY | WEFT__CTS_READ)) == 0 &&
           (load32(p + 36) & (WEFT__CTS_COPY | WEFT__CTS_READ)) !=
               (WEFT__CTS_COPY | WEFT__CTS_READ);
  case WEFT__F_READY: return length == WEFT__READY_SIZE;
  case WEFT__F_DONE:
  case WEFT__F_FRAG: return length == WEFT__FRAG_SIZE;
  case WEFT__F_CHUNK: return length > WEFT__FRAG_SIZE && load32(p + 16) == length - WEFT__FRAG_SIZE;
  case WEFT__F_REFUSE:
  case WEFT__F_SKIP: return length == WEFT__REFUSE_SIZE;
  case WEFT__F_ABORT:
    return length >= 8 && length - 8 <= WEFT__TEXT_MAX && load32(p + 4) == length - 8;
  default: return false;
  }
}

/* The flags that only frames of this type may have. */
static inline unsigned own_flags(unsigned type) {
  if (type == WEFT__F_DATA) return WEFT__FL_ALONE;
  return type == WEFT__F_RESUME ? WEFT__FL_LEFT : 0;
}

weft__werr_t weft__hdr_get(const uint8_t *frame, size_t len, weft__hdr_t *out) {
  uint64_t first, last;

  if (len < WEFT__HDR) return WEFT__W_SHORT;
  first = load64(frame);
  if ((uint8_t) first != WEFT__WIRE_VERSION) return WEFT__W_VERSION;
  out->type = (uint8_t) (first >> 8);
  if (out->type == 0 || out->type >= WEFT__F_TYPES) return WEFT__W_TYPE;
  out->flags = (uint8_t) (first >> 16);
  if (out->flags & ~(WEFT__FL_ACK_REQ | own_flags(out->type))) return WEFT__W_FLAGS;
  if (first & 0x0000ffffff000000u) return WEFT__W_SUITE;
  last = load64(frame + 56);
  out->length = (uint32_t) last;
  out->grant = (uint32_t) (last >> 32);
  if (out->length != len - WEFT__HDR || len > WEFT__FRAME_MAX) return WEFT__W_LENGTH;
  out->count = (uint16_t) (first >> 48);
  out->key = load64(frame + 8);
  out->fc = load64(frame + 16);
  out->seq = load64(frame + 24);
  out->ack = load64(frame + 32);
  out->win_seq = load64(frame + 40);
  out->win_bytes = load64(frame + 48);
  if (__builtin_expect(out->type == WEFT__F_DATA, 1)) {
    if (out->count == 0 || out->seq == 0 || out->seq > UINT64_MAX - out->count)
      return WEFT__W_COUNT;
    if (out->flags & WEFT__FL_ALONE) {
      if (out->count != 1) return WEFT__W_COUNT;
      return len <= WEFT__FRAME_MAX - WEFT__REC ? WEFT__W_OK : WEFT__W_PAYLOAD;
    }
    return out->length / WEFT__REC >= out->count && out->length % 8 == 0 ? WEFT__W_OK
                                                                         : WEFT__W_PAYLOAD;
  }
  if (out->count != 0 || out->seq != 0) return WEFT__W_COUNT;
  return payload_fits(out->type, frame + WEFT__HDR, out->length) ? WEFT__W_OK : WEFT__W_PAYLOAD;
}

weft__werr_t weft__rec_next(const uint8_t *payload, uint32_t length, uint32_t *off,
                            weft__rec_t *out) {
  const uint8_t *p;
  uint64_t head;
  uint32_t size, room;

  if (*off > length || length - *off < WEFT__REC) return WEFT__W_RECORD;
  p = payload + *off;
  room = length - *off - WEFT__REC;
  head = load64(p);
  size = (uint32_t) head;
  /* room is at most a frame, so neither test can wrap */
  if (size > room || ((size + 7u) & ~7u) > room || head >> 48 != 0) return WEFT__W_RECORD;
  out->kind = (unsigned) (head >> 32);
  out->data = p + WEFT__REC;
  out->size = size;
  out->total = size;
  if (__builtin_expect(out->kind != WEFT__R_MSG, 0)) {
    switch (out->kind) {
    case WEFT__R_LARGE:
      if (size < 8 || size - 8 > WEFT__HEAD_MAX) return WEFT__W_RECORD;
      out->total = load64(out->data);
      out->data += 8;
      out->size -= 8;
      if (out->total <= out->size) return WEFT__W_RECORD;
      break;
    case WEFT__R_FIN:
    case WEFT__R_SKIP:
      if (size != 0) return WEFT__W_RECORD;
      break;
    default: return WEFT__W_RECORD;
    }
  }
  *off += weft__rec_space(size);
  return WEFT__W_OK;
}

void weft__rec_put(uint8_t *out, unsigned kind, uint32_t size) {
  store64(out, size | (uint64_t) kind << 32);
}
