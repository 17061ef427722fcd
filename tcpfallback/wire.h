/* SPDX-License-Identifier: Apache-2.0 */
/* wire.h - libfabric's message protocol over TCP (FI_PROTO_SOCK_TCP), to and from bytes.
 *
 * Design notes
 *  - Pure functions over bytes: no endpoint, no socket, no allocation. What `tcp` of libfabric 1.16
 *    to 2.x puts on the wire is accepted, everything else is refused with a sentence that says why;
 *    `tcp` itself checks next to nothing, and some of what is refused here crashes it.
 *  - Integers travel in the byte order of the host where both ends have the same, and big endian in
 *    both directions where they differ. The handshake tells: conn_data is 1 in the sender's order.
 *  - What only the state of a connection can judge (an answer that nobody asked for) is the
 *    receiver's: rx.c. */
#ifndef TCPFALLBACK_WIRE_H
#define TCPFALLBACK_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  TF_VERSION = 3,   /* of the handshake and of data headers */
  TF_CM_HDR = 32,   /* bytes of a handshake message before the program's data */
  TF_CM_DATA = 256, /* most bytes of the program's data */
  TF_HDR = 16,      /* bytes of the smallest data header */
  TF_RMA_MAX = 4,   /* most regions that one operation names */
  TF_RMA_IOV = 24,  /* bytes of one of them */
  TF_HDR_MAX = TF_HDR + 8 + TF_RMA_MAX * TF_RMA_IOV,
};

/* ---- Handshake ---- */

enum { TF_CM_REQ = 0, TF_CM_RESP = 1, TF_CM_NACK = 6 };

typedef struct tf_cm {
  uint8_t type;
  bool swap;    /* the sender's byte order is not ours: from now on everything is big endian */
  uint16_t len; /* bytes of data that follow the header */
} tf_cm_t;

/* TF_CM_HDR bytes to p. */
void tf_cm_put(uint8_t *p, uint8_t type, uint16_t len);
/* What follows from TF_CM_HDR bytes: NULL and *cm, or why they are refused. `want`: the types that may
 * come now, as a bit each. *version tells the peer's, also when that is what is wrong. */
const char *tf_cm_get(const uint8_t *p, unsigned want, tf_cm_t *cm, uint8_t *version);

/* ---- Data ---- */

enum { TF_OP_MSG = 0, TF_OP_TAGGED = 1, TF_OP_READ = 2, TF_OP_RSP = 3, TF_OP_WRITE = 4 };
enum { TF_FL_DATA = 0x1, TF_FL_DELIVERY = 0x4, TF_FL_COMMIT = 0x8 };
enum { TF_OPDATA_ACK = 2 };

typedef struct tf_rma {
  uint64_t addr, len, key;
} tf_rma_t;

typedef struct tf_hdr {
  uint8_t op;
  uint8_t id; /* counts what a connection sent; nobody checks it but a debug build of libfabric */
  uint8_t nrma;
  bool ack;
  uint16_t flags;
  uint64_t size; /* bytes that follow the header */
  uint64_t data; /* with TF_FL_DATA */
  tf_rma_t rma[TF_RMA_MAX];
} tf_hdr_t;

/* How many bytes tf_hdr_put writes. */
size_t tf_hdr_len(const tf_hdr_t *h);
size_t tf_hdr_put(uint8_t *p, const tf_hdr_t *h, bool swap);
/* Reads a header from n bytes. > 0: its length, *h is filled in. 0: it goes on beyond them, *need is how
 * many it takes to get further. -1: refused, *why says why. */
int tf_hdr_get(const uint8_t *p, size_t n, bool swap, tf_hdr_t *h, size_t *need, const char **why);

#endif
