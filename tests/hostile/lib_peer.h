/* SPDX-License-Identifier: Apache-2.0 */
/* lib_peer.h - a hostile peer: a plain TCP socket that speaks the framing of libfabric's tcp
 * provider by hand, and inside it Weft's frames, right or wrong as the test likes.
 *
 * Design notes
 *   - Nothing here is checked before it is sent. What a valid peer would say comes from the
 *     library's own codecs (wire, join, hello); the test damages it.
 *   - Left out on purpose: provider headers that crash libfabric's own tcp provider (1.17 and later),
 *     before Weft sees a byte. docs/trust.md lists them and says "trusted networks only":
 *       an unsolicited acknowledgement (op 0, op_data 2);
 *       op 1 (tagged) on an endpoint without a shared receive context;
 *       hdr_size below 16, or not the size that op, flags and rma_iov_cnt ask for;
 *       rma_iov_cnt above 4; size below hdr_size.
 *   - All calls block, with a time limit; none raises SIGPIPE. */
#ifndef WEFT_LIB_PEER_H
#define WEFT_LIB_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "session/hello.h"
#include "session/join.h"
#include "session/wire.h"

/* The tcp provider's numbers. */
enum { CM_REQUEST = 0, CM_ACCEPT = 1, CM_REJECT = 6, CM_SIZE = 32 };
enum { OP_MSG = 0, OP_READ = 2, OP_WRITE = 4, OP_SIZE = 16, OP_CQ_DATA = 1, OP_DELIVERY = 4 };

typedef struct peer {
  int fd;        /* -1: closed */
  char name[80]; /* our address as the other end names it, "127.0.0.1:41234" */
  weft__request_t rq;
  weft__answer_t an;
  weft__hello_t self, other;
  uint8_t secret[32];
  bool listening; /* we are the accepting end */
  bool ended;     /* the other end closed */
  uint64_t tx_fc, rx_fc;
  uint64_t seq;     /* number of our next record */
  uint64_t next;    /* next record number we want of the other end */
  weft__hdr_t last; /* of the last frame that arrived */
  int abort_code;   /* of an ABORT, 0: none came */
  char abort_text[WEFT__TEXT_MAX + 1];
  uint8_t *in;       /* bytes read and not parsed */
  size_t have, skip; /* skip: so many of an RMA write are still to be thrown away */
  uint64_t rma_bytes;
  unsigned rma_writes;
} peer_t;

typedef struct peer_frame {
  weft__hdr_t h;
  uint8_t payload[1 << 16];
} peer_frame_t;

uint64_t peer_now_ms(void);

/* ---- Sockets ---- */
/* Connect to 127.0.0.1:port from `from` (NULL: 127.0.0.1). Fails the test when nobody listens. */
void peer_dial(peer_t *, const char *from, uint16_t port);
int peer_listen(const char *ip, uint16_t *port); /* any port */
bool peer_take(peer_t *, int lfd, int ms);
void peer_close(peer_t *);                              /* frees; may be called again */
void peer_reset(peer_t *);                              /* close with a RST */
bool peer_raw(peer_t *, const void *bytes, size_t len); /* false: the other end is gone */
/* Read whatever comes until the other end closes. false: it did not within ms. */
bool peer_gone(peer_t *, int ms);

/* ---- The provider's messages ---- */
size_t peer_cm_bytes(uint8_t *out, unsigned type, const void *data, size_t len);
bool peer_cm(peer_t *, unsigned type, const void *data, size_t len);
/* The other end's connection message: its data's length, -1 when none came. */
int peer_cm_read(peer_t *, unsigned *type, void *data, size_t cap, int ms);
size_t peer_op_bytes(uint8_t *out, unsigned op, unsigned flags, const uint64_t *words,
                     unsigned nwords, size_t payload);
bool peer_msg(peer_t *, const void *bytes, size_t len); /* one message of the provider */
/* Write to the other end's memory; cq_data: with the flag that makes a completion there. */
bool peer_write(peer_t *, uint64_t addr, uint64_t key, const void *bytes, size_t len, bool cq_data);

/* ---- Weft ---- */
void peer_identity(peer_t *, const char *label); /* fresh keys, a valid HELLO called `label` */
/* Request and answer. false: closed or rejected; then p->an has what was said (kind 0: nothing). */
bool peer_request(peer_t *);
bool peer_answer(peer_t *, int ms); /* accepting end: read the request, accept it */
bool peer_hello(peer_t *);          /* send our HELLO */
bool peer_hear(peer_t *, int ms);   /* wait for the other end's HELLO */
/* All of it: dial, request, HELLO both ways. Fails the test when it does not open. */
void peer_open(peer_t *, uint16_t port, const char *label);
/* A JOIN to p's session, over a new connection. */
void peer_join_request(const peer_t *p, peer_t *joiner);

weft__hdr_t peer_hdr(peer_t *, unsigned type); /* a right header; takes the next frame counter */
bool peer_put(peer_t *, const weft__hdr_t *, const void *payload, size_t len); /* exactly this */
bool peer_frame(peer_t *, unsigned type, const void *payload, uint32_t len);
/* A DATA frame with one record, numbered. */
bool peer_record(peer_t *, unsigned kind, const void *bytes, uint32_t len);
bool peer_announce(peer_t *, uint64_t total); /* a large message of which nothing follows */
bool peer_ping(peer_t *);                     /* also brings the other end our grant */
/* The next frame: 1, 0 when none came in ms, -1 when the other end closed. RMA writes are counted
 * and dropped. */
int peer_read(peer_t *, peer_frame_t *, int ms);
/* The next frame of this type, passing over others; 0, -1 as above. */
int peer_read_type(peer_t *, peer_frame_t *, unsigned type, int ms);
/* Is the first record of this DATA frame a small message of these bytes? */
bool peer_brought(const peer_frame_t *, const void *bytes, uint32_t len);

/* A small generator, so that every run of a seed is the same. */
uint64_t peer_random(uint64_t *state);

#endif
