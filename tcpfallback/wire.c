/* SPDX-License-Identifier: Apache-2.0 */
/* wire.c - see wire.h. */
#include "wire.h"

#include <endian.h>
#include <string.h>

/* `swap`: the ends differ, and speak big endian; else both speak their own order. */
static uint16_t get16(const uint8_t *p, bool swap) {
  uint16_t v;

  memcpy(&v, p, sizeof(v));
  return swap ? be16toh(v) : v;
}

static uint64_t get64(const uint8_t *p, bool swap) {
  uint64_t v;

  memcpy(&v, p, sizeof(v));
  return swap ? be64toh(v) : v;
}

static void put16(uint8_t *p, uint16_t v, bool swap) {
  if (swap) v = htobe16(v);
  memcpy(p, &v, sizeof(v));
}

static void put64(uint8_t *p, uint64_t v, bool swap) {
  if (swap) v = htobe64(v);
  memcpy(p, &v, sizeof(v));
}

/* ---- Handshake ---- */

enum { CM_VERSION = 0, CM_TYPE = 1, CM_LEN = 2, CM_ENDIAN = 24 };

void tf_cm_put(uint8_t *p, uint8_t type, uint16_t len) {
  memset(p, 0, TF_CM_HDR);
  p[CM_VERSION] = TF_VERSION;
  p[CM_TYPE] = type;
  len = htobe16(len);
  memcpy(p + CM_LEN, &len, sizeof(len));
  if (type != TF_CM_NACK) put64(p + CM_ENDIAN, 1, false);
}

const char *tf_cm_get(const uint8_t *p, unsigned want, tf_cm_t *cm, uint8_t *version) {
  uint64_t order = get64(p + CM_ENDIAN, false);
  uint16_t len;

  *version = p[CM_VERSION];
  if (p[CM_VERSION] != TF_VERSION) return "its version of the handshake is not 3";
  if (p[CM_TYPE] > 31 || (want >> p[CM_TYPE] & 1) == 0)
    return "a handshake message of a kind that may not come now";
  memcpy(&len, p + CM_LEN, sizeof(len));
  cm->len = be16toh(len);
  if (cm->len > TF_CM_DATA) return "more than 256 bytes of data in the handshake";
  cm->type = p[CM_TYPE];
  cm->swap = false;
  if (cm->type == TF_CM_NACK || order == 1) return NULL;
  if (order != __builtin_bswap64(1)) return "its byte order is neither of the two";
  cm->swap = true;
  return NULL;
}

/* ---- Data ---- */

enum {
  D_VERSION = 0,
  D_OP = 1,
  D_FLAGS = 2,
  D_OPDATA = 4,
  D_NRMA = 5,
  D_LEN = 6,
  D_ID = 7,
  D_SIZE = 8
};

/* An answer's count of regions repeats that of the question, and `tcp` leaves in a message what the last
 * operation that used the same memory had there: both name none. */
static unsigned regions(unsigned op, unsigned nrma) {
  return op == TF_OP_READ || op == TF_OP_WRITE ? nrma : 0;
}

static size_t length(unsigned op, unsigned flags, unsigned nrma) {
  return TF_HDR + ((flags & TF_FL_DATA) != 0 ? 8 : 0) + regions(op, nrma) * (size_t) TF_RMA_IOV;
}

size_t tf_hdr_len(const tf_hdr_t *h) {
  return length(h->op, h->flags, h->nrma);
}

size_t tf_hdr_put(uint8_t *p, const tf_hdr_t *h, bool swap) {
  size_t n = tf_hdr_len(h), at = TF_HDR;
  unsigned i;

  p[D_VERSION] = TF_VERSION;
  p[D_OP] = h->op;
  put16(p + D_FLAGS, h->flags, swap);
  p[D_OPDATA] = h->ack ? TF_OPDATA_ACK : 0;
  p[D_NRMA] = h->nrma;
  p[D_LEN] = (uint8_t) n;
  p[D_ID] = h->id;
  put64(p + D_SIZE, n + h->size, swap);
  if (n == TF_HDR) return n;
  if (h->flags & TF_FL_DATA) {
    put64(p + at, h->data, swap);
    at += 8;
  }
  for (i = 0; i < h->nrma; i++, at += TF_RMA_IOV) {
    put64(p + at, h->rma[i].addr, swap);
    put64(p + at + 8, h->rma[i].len, swap);
    put64(p + at + 16, h->rma[i].key, swap);
  }
  return n;
}

/* What the first 16 bytes alone can be blamed for. */
static const char *blame(const uint8_t *p, unsigned flags, uint64_t size) {
  unsigned op = p[D_OP], nrma = p[D_NRMA], len = p[D_LEN], may = 0;

  if (p[D_VERSION] != TF_VERSION) return "the version of a header is not 3";
  switch (op) {
  case TF_OP_MSG: may = TF_FL_DATA | TF_FL_DELIVERY; break;
  case TF_OP_TAGGED: return "a tagged message, which nobody here receives";
  case TF_OP_READ:
  case TF_OP_RSP: break;
  case TF_OP_WRITE: may = TF_FL_DATA | TF_FL_DELIVERY | TF_FL_COMMIT; break;
  default: return "an operation that does not exist";
  }
  if (nrma > TF_RMA_MAX) return "an operation on more than 4 regions";
  if (p[D_OPDATA] != 0) {
    if (p[D_OPDATA] != TF_OPDATA_ACK || op != TF_OP_MSG)
      return "a header with unknown data of its operation";
    may = 0;
  }
  if ((flags & ~may) != 0) return "a header with flags that its operation does not have";
  if ((op == TF_OP_READ || op == TF_OP_WRITE) && nrma == 0) return "an operation on no region";
  if (len != length(op, flags, nrma)) return "a header whose length is not that of its operation";
  if (size < len) return "a size that does not even cover the header";
  if (p[D_OPDATA] == TF_OPDATA_ACK && size != TF_HDR)
    return "an acknowledgement with something in it";
  if (op == TF_OP_READ && size != len) return "a read request with something in it";
  return NULL;
}

int tf_hdr_get(const uint8_t *p, size_t n, bool swap, tf_hdr_t *h, size_t *need, const char **why) {
  uint64_t size, sum = 0;
  unsigned flags, i;
  size_t at = TF_HDR;

  if (n < TF_HDR) {
    *need = TF_HDR;
    return 0;
  }
  flags = get16(p + D_FLAGS, swap);
  size = get64(p + D_SIZE, swap);
  *why = blame(p, flags, size);
  if (*why != NULL) return -1;
  if (n < p[D_LEN]) {
    *need = p[D_LEN];
    return 0;
  }
  h->op = p[D_OP];
  h->id = p[D_ID];
  h->nrma = (uint8_t) regions(h->op, p[D_NRMA]);
  h->ack = p[D_OPDATA] == TF_OPDATA_ACK;
  h->flags = (uint16_t) flags;
  h->size = size - p[D_LEN];
  h->data = 0;
  if (p[D_LEN] == TF_HDR) return TF_HDR;
  if (flags & TF_FL_DATA) {
    h->data = get64(p + at, swap);
    at += 8;
  }
  for (i = 0; i < h->nrma; i++, at += TF_RMA_IOV) {
    h->rma[i].addr = get64(p + at, swap);
    h->rma[i].len = get64(p + at + 8, swap);
    h->rma[i].key = get64(p + at + 16, swap);
    if (__builtin_add_overflow(sum, h->rma[i].len, &sum)) {
      *why = "regions that are longer than a size can say";
      return -1;
    }
  }
  if (h->op == TF_OP_WRITE && sum != h->size) {
    *why = "a write whose regions are not as long as what it carries";
    return -1;
  }
  return (int) at;
}
