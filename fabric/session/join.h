/* SPDX-License-Identifier: Apache-2.0 */
/* join.h - the blobs with which every path opens: the 48-byte request, the 40-byte answer, and
 * their proofs.
 *
 * Design notes
 *  - A HELLO starts a session; a JOIN adds a path to one. A JOIN's token is a counter and an HMAC
 *    of the session's secret over it and the fresh path key; a window over the counters lets each
 *    serve once, for ever. The answer's proof shows that the other end knows the secret too.
 *    Without the proof only this candidate fails: a private address behind NAT may be somebody
 *    else's Weft.
 *  - The secret travels in clear today (docs/trust.md): this guards against mistakes, not against
 *    eavesdroppers. */
#ifndef WEFT_SESSION_JOIN_H
#define WEFT_SESSION_JOIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rail/path.h"

#define WEFT__REQUEST_SIZE 48u
#define WEFT__ANSWER_SIZE  40u

/* What an end's rail can, beside what every rail can. Unknown bits are passed over. */
#define WEFT__CAN_READ 0x01u /* reads the peer's memory, and lets its own be read */

typedef enum { WEFT__K_HELLO = 1, WEFT__K_JOIN = 2 } weft__rqkind_t;
typedef struct weft__request {
  uint8_t vlow, vhigh; /* versions the connecting end speaks */
  uint8_t kind;
  uint8_t can;       /* WEFT__CAN_* of the connecting end's rail */
  uint64_t key;      /* frames to the connecting end carry this */
  uint8_t id[16];    /* session */
  uint8_t token[16]; /* JOIN: proof; HELLO: zero */
} weft__request_t;

typedef enum {
  WEFT__A_ACCEPT = 1,
  WEFT__A_REJECT = 2, /* code says why */
  WEFT__A_TOMBSTONE =
      3, /* the session has ended here; aux = first number not received, code = how it ended */
} weft__akind_t;
/* Codes of a rejection. */
typedef enum {
  WEFT__J_OK = 0,
  WEFT__J_VERSION = 1,
  WEFT__J_NO_SESSION = 2,
  WEFT__J_BAD_TOKEN = 3,
  WEFT__J_BUSY = 4,
  WEFT__J_CLOSING = 5,
  WEFT__J_MALFORMED = 6,
  WEFT__J_FULL = 7
} weft__jcode_t;
typedef struct weft__answer {
  uint8_t kind, version, code;
  uint8_t can;  /* accept: WEFT__CAN_* of the accepting end's rail */
  uint64_t key; /* frames to the accepting end carry this */
  uint64_t aux;
  uint8_t proof[16]; /* JOIN: over both keys; HELLO: zero */
} weft__answer_t;

static inline uint8_t weft__can(weft__xfer_t xfer) {
  return xfer == WEFT__XFER_READ ? WEFT__CAN_READ : 0;
}
/* What of our own path's limits is left, when the peer's rail can this. */
static inline void weft__xfer_settle(weft__path_limits_t *ours, uint8_t can) {
  if (ours->xfer == WEFT__XFER_READ && !(can & WEFT__CAN_READ)) ours->xfer = WEFT__XFER_WRITE;
}

void weft__request_put(uint8_t out[WEFT__REQUEST_SIZE], const weft__request_t *);
bool weft__request_get(const void *blob, size_t len,
                       weft__request_t *out); /* false: not a Weft request */
void weft__answer_put(uint8_t out[WEFT__ANSWER_SIZE], const weft__answer_t *);
bool weft__answer_get(const void *blob, size_t len, weft__answer_t *out);
const char *weft__jcode_text(unsigned code);

/* secret is 32 bytes. */
void weft__join_token(const uint8_t secret[32], const uint8_t id[16], uint64_t key,
                      uint32_t counter, uint8_t out[16]);
uint32_t weft__join_counter(const uint8_t token[16]);
/* Does the token belong to this session and key? Says nothing of whether it was used before. */
bool weft__join_token_ok(const uint8_t secret[32], const uint8_t id[16], uint64_t key,
                         const uint8_t token[16]);
void weft__join_proof(const uint8_t secret[32], const uint8_t id[16], uint64_t joiner_key,
                      uint64_t acceptor_key, uint64_t aux, uint8_t out[16]);
bool weft__proof_equal(const uint8_t a[16], const uint8_t b[16]); /* constant time */
/* The secret both ends derive from the nonces in their HELLOs (connecting end's first). */
void weft__join_secret(const uint8_t nonce_c[32], const uint8_t nonce_a[32], const uint8_t id[16],
                       uint8_t secret[32]);

#endif
