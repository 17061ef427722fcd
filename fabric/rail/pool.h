/* SPDX-License-Identifier: Apache-2.0 */
/* pool.h - buffers for frames: one pool per rail, lent to users by reference, outliving the rail if
 * need be.
 *
 * Design notes
 *  - Memory comes in chunks of POOL_CHUNK buffers. Headers and data lie apart, so a buffer that was
 *    never filled costs no resident page. Slots are staggered by 128 bytes: equal offsets of all
 *    buffers in one cache set would thrash it.
 *  - The loop's thread takes and gives through a LIFO list without atomics. Any other thread gives
 *    through a lock-free push list, which the loop's thread picks up as a whole.
 *  - Accounting is in buffers. `reserved` is promised to paths (their receives and two sends each)
 *    and always available; `lent` is held by users; `extra` is what sends hold beyond the promise.
 *    reserved + lent + extra never exceeds the capacity as long as users ask weft__rbuf.low before
 *    they keep a buffer: that is why a receive can always be reposted.
 *  - Where chunks are registered, each is for one kind of buffer, with the rights of that kind only:
 *    the device can never write to what is sent. Elsewhere every buffer serves for both.
 *  - weft__pool_drop ends registrations at once and frees the memory when the last lent buffer came
 *    back. */
#ifndef WEFT_RAIL_POOL_H
#define WEFT_RAIL_POOL_H

#include "rail/path.h"

typedef struct weft__pool weft__pool_t;

typedef enum { WEFT__POOL_RX, WEFT__POOL_TX } weft__pool_kind;

typedef struct weft__buf {
  weft__rbuf_t r; /* first: the pool finds the buffer by it */
  weft__tbuf_t t;
  weft__pool_t *pool;
  struct weft__buf *next;
  weft__pool_kind kind;
  void *desc;      /* descriptor of its registration, NULL when the provider needs none */
  uint64_t ctx[6]; /* the rail's, for the time the buffer is posted */
} weft__buf_t;

typedef struct weft__pool_cfg {
  uint64_t max_bytes;
  /* Registration of a chunk, or NULL. 0 or negative errno. */
  int (*reg)(void *arg, weft__pool_kind, void *base, size_t len, void **mr, void **desc);
  void (*unreg)(void *arg, void *mr);
  void *arg;
} weft__pool_cfg_t;

/* All of these: loop's thread (or whoever owns the pool before the loop does). */
int weft__pool_new(const weft__pool_cfg_t *, weft__pool_t **out);
void weft__pool_drop(weft__pool_t *);

/* Promise n buffers to a path. False: the pool's limit is too near. */
bool weft__pool_reserve(weft__pool_t *, unsigned n);
void weft__pool_unreserve(weft__pool_t *, unsigned n);
/* Buffers that could still be promised. */
unsigned weft__pool_spare(const weft__pool_t *);

/* Within a promise. NULL only when the system is out of memory (or of registrations). */
weft__buf_t *weft__pool_get(weft__pool_t *, weft__pool_kind);
void weft__pool_put(weft__pool_t *, weft__buf_t *);
/* Have buffers of a kind in store. 0 or negative errno. */
int weft__pool_stock(weft__pool_t *, weft__pool_kind);
/* A buffer to send, beyond the promise: NULL when the limit is reached, unless forced. Given back by put_extra. */
weft__buf_t *weft__pool_get_extra(weft__pool_t *, bool force);
void weft__pool_put_extra(weft__pool_t *, weft__buf_t *);
/* The holder of a received frame kept it: the pool's own reference ends here. */
void weft__pool_lend(weft__pool_t *, weft__buf_t *);

/* For tests and for weft_info: buffers that exist, and those held by users. */
unsigned weft__pool_total(const weft__pool_t *);
unsigned weft__pool_lent(weft__pool_t *);

#endif
