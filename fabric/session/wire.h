/* SPDX-License-Identifier: Apache-2.0 */
/* wire.h - frames: what travels on a path, byte for byte (docs/wire.md is this file in prose).
 *
 * Design notes
 *  - Pure functions over bytes. Parsing never reads past the given length and checks every length
 *    before it is used.
 *  - All integers are little-endian. A frame is a 64-byte header and `length` bytes of payload,
 *    nothing else.
 *  - Counters are absolute, never deltas: a lost update is repaired by the next one. */
#ifndef WEFT_SESSION_WIRE_H
#define WEFT_SESSION_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEFT__WIRE_VERSION 1u
#define WEFT__HDR          64u
#define WEFT__REC          8u   /* header of a record in a DATA frame */
#define WEFT__HEAD_MAX     256u /* first bytes of a large message that travel with its announcement */
#define WEFT__CTS_MAX      16u /* clear-to-sends that may be outstanding in one direction of a session */
#define WEFT__NAMED_MAX                                                                            \
  64u /* CTS and REFUSE name one of so many oldest unacknowledged large messages */
#define WEFT__TEXT_MAX 200u /* bytes of a reason in an ABORT */

typedef enum {
  WEFT__F_DATA = 1,       /* records, `count` of them, the first has number `seq` */
  WEFT__F_ACK = 2,        /* header only */
  WEFT__F_HELLO = 3,      /* parameters and offers: hello.h */
  WEFT__F_RESUME = 4,     /* this direction's data comes on this path from now on */
  WEFT__F_RESUME_ACK = 5, /* ... and is wanted from this number on */
  WEFT__F_PING = 6,
  WEFT__F_PONG = 7,
  WEFT__F_CTS = 8,          /* clear to send a fragment of a large message */
  WEFT__F_FRAG = 9,         /* the fragment is in place (RMA) */
  WEFT__F_CHUNK = 10,       /* a piece of a fragment (copy mode) */
  WEFT__F_REFUSE = 11,      /* the large message is not wanted */
  WEFT__F_SKIP = 12,        /* understood: its number stays empty */
  WEFT__F_BYE = 13,         /* nothing is owed any more in either direction */
  WEFT__F_ABORT = 14,       /* the session is over */
  WEFT__F_JOIN_PLEASE = 15, /* the accepting end asks the connecting one to open paths */
  WEFT__F_READY = 16,       /* a piece of a fragment may be read (RMA) */
  WEFT__F_DONE = 17,        /* it was read: its source is the sender's again */
  WEFT__F_TYPES = 18
} weft__ftype_t;

#define WEFT__FL_ACK_REQ 0x01u /* the sender waits for an acknowledgement */
#define WEFT__FL_LEFT                                                                              \
  0x02u /* RESUME: the path that carried this direction before is dead for its sender */
#define WEFT__FL_ALONE                                                                             \
  0x04u /* DATA: the payload is one message, with neither record header nor padding */

typedef enum {
  WEFT__R_MSG = 0,   /* a whole message */
  WEFT__R_LARGE = 1, /* announces a large one: total size (8), then its first bytes */
  WEFT__R_FIN = 2,   /* no message follows */
  WEFT__R_SKIP = 3,  /* a number whose message was refused or given up */
} weft__rkind_t;

typedef struct weft__hdr {
  uint8_t type, flags;
  uint16_t count;     /* records in a DATA frame, else 0 */
  uint64_t key;       /* path key, chosen by the receiver of this frame */
  uint64_t fc;        /* frame counter of this path and direction, from 1 */
  uint64_t seq;       /* DATA: number of the first record (numbers start at 1); else 0 */
  uint64_t ack;       /* every record below this number has arrived */
  uint64_t win_seq;   /* records below this number may be sent */
  uint64_t win_bytes; /* so many bytes of WEFT__R_MSG records may have been sent in all */
  uint32_t length;    /* payload bytes */
  uint32_t grant;     /* so many frames may have been sent on this path in all (low 32 bits) */
} weft__hdr_t;

/* Why a frame is malformed: index into weft__wire_why. */
typedef enum {
  WEFT__W_OK = 0,
  WEFT__W_SHORT,
  WEFT__W_VERSION,
  WEFT__W_TYPE,
  WEFT__W_FLAGS,
  WEFT__W_SUITE,
  WEFT__W_LENGTH,
  WEFT__W_COUNT,
  WEFT__W_RECORD,
  WEFT__W_PAYLOAD,
  WEFT__W_ERRORS
} weft__werr_t;
const char *weft__wire_why(weft__werr_t);
const char *weft__ftype_name(unsigned type);

void weft__hdr_put(uint8_t *out, const weft__hdr_t *);
/* Checks everything that the header alone can tell, including that len is exactly header + payload
 * and that control payloads have their size. */
weft__werr_t weft__hdr_get(const uint8_t *frame, size_t len, weft__hdr_t *out);

/* Records of a DATA frame. weft__rec_next checks the record against the rest of the payload: *off
 * advances past the record and its padding. `data` points into the frame. For LARGE `total` is its
 * size and data/size its head. */
typedef struct weft__rec {
  unsigned kind;
  const uint8_t *data;
  uint32_t size;
  uint64_t total;
} weft__rec_t;
weft__werr_t weft__rec_next(const uint8_t *payload, uint32_t length, uint32_t *off,
                            weft__rec_t *out);
static inline uint32_t weft__rec_space(uint32_t size) {
  return WEFT__REC + ((size + 7u) & ~7u);
}
static inline uint32_t weft__rec_space_large(uint32_t head) {
  return weft__rec_space(8u + head);
}
void weft__rec_put(uint8_t *out, unsigned kind, uint32_t size); /* the 8-byte record header */
/* The next record of a DATA frame whose header weft__hdr_get has passed, alone or not. */
static inline weft__werr_t weft__data_next(const weft__hdr_t *h, const uint8_t *payload,
                                           uint32_t *off, weft__rec_t *out) {
  if (!(h->flags & WEFT__FL_ALONE)) return weft__rec_next(payload, h->length, off, out);
  out->kind = WEFT__R_MSG;
  out->data = payload;
  out->size = h->length;
  out->total = h->length;
  *off = h->length;
  return WEFT__W_OK;
}

/* Payloads of the control frames. */
/* first: lowest number that will still be sent; bytes: of all MSG records before it (at-most-once
 * leaves gaps) */
typedef struct {
  uint64_t epoch, first, bytes;
} weft__resume_t;
typedef struct {
  uint64_t epoch, next;
} weft__resume_ack_t; /* next: first number that is wanted */
typedef struct {
  uint64_t id, time;
} weft__ping_t; /* echoed unchanged */
typedef struct {
  uint64_t seq, off, addr, key;
  uint32_t len, flags;
} weft__cts_t;
typedef struct {
  uint64_t seq, off;
  uint32_t len;
} weft__frag_t; /* FRAG, DONE; CHUNK: 24 bytes, then len bytes */
typedef struct {
  uint64_t seq, off, addr, key;
  uint32_t len;
} weft__ready_t;
typedef struct {
  uint64_t seq;
  int32_t err;
} weft__refuse_t; /* SKIP uses seq only */
typedef struct {
  int32_t code;
  uint32_t textlen;
  const char *text;
} weft__abort_t;
#define WEFT__CTS_LAST        1u /* nothing of this message is missing beside the outstanding fragments */
#define WEFT__CTS_COPY        2u /* answer with CHUNK frames, addr and key are 0 */
#define WEFT__CTS_READ        4u /* answer with READY frames, or CHUNK, addr and key are 0 */
#define WEFT__RESUME_SIZE     24u
#define WEFT__RESUME_ACK_SIZE 16u
#define WEFT__PING_SIZE       16u
#define WEFT__CTS_SIZE        40u
#define WEFT__FRAG_SIZE       24u
#define WEFT__READY_SIZE      40u
#define WEFT__REFUSE_SIZE     16u

static inline uint16_t weft__get16(const uint8_t *p) {
  return (uint16_t) (p[0] | p[1] << 8);
}
static inline uint32_t weft__get32(const uint8_t *p) {
  return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
}
static inline uint64_t weft__get64(const uint8_t *p) {
  return weft__get32(p) | (uint64_t) weft__get32(p + 4) << 32;
}
static inline void weft__put16(uint8_t *p, uint16_t v) {
  p[0] = (uint8_t) v;
  p[1] = (uint8_t) (v >> 8);
}
static inline void weft__put32(uint8_t *p, uint32_t v) {
  p[0] = (uint8_t) v;
  p[1] = (uint8_t) (v >> 8);
  p[2] = (uint8_t) (v >> 16);
  p[3] = (uint8_t) (v >> 24);
}
static inline void weft__put64(uint8_t *p, uint64_t v) {
  weft__put32(p, (uint32_t) v);
  weft__put32(p + 4, (uint32_t) (v >> 32));
}

#endif
