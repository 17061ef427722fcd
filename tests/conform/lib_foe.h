/* SPDX-License-Identifier: Apache-2.0 */
/* lib_foe.h - a peer that is no libfabric: a socket that speaks the protocol of `tcp`, well or badly.
 *
 * Design notes
 *  - A world is a pair of ends with an honest connection between them, which must survive all that a foe
 *    does to his own endpoint of the same domain; and one arena, in which every buffer and region that
 *    he may reach lies, beside a copy of what it must hold.
 *  - The endpoint is the listener's, which he connected to, or the client's, which connected to him.
 *  - What he sends he sends byte for byte as told: frame_t has a right value for every field, and what
 *    is to be added to it. */
#ifndef WEFT_LIB_FOE_H
#define WEFT_LIB_FOE_H

#include "lib_conform.h"

enum {
  FOE_RECEIVES = 3, /* posted before the connection is up */
  FOE_RECEIVE = 256,
  FOE_REGION = 4096,
  FOE_ARENA = 32768,
  FOE_CM = 32 /* bytes of a handshake's message before its data */
};
/* Regions, each with as much of nobody's memory around it. */
enum { BOTH, READ_ONLY, WRITE_ONLY, REGIONS };
enum { OP_MSG, OP_TAGGED, OP_READ, OP_RSP, OP_WRITE };
enum { F_DATA = 1, F_DELIVERY = 4 };
enum { CM_REQ = 0, CM_RESP = 1, CM_NACK = 6 };

/* ---- The world ---- */

typedef struct world_s {
  pair_t p;
  link_t l;     /* the honest connection */
  int listener; /* the foe's */
  struct sockaddr_in addr;
  struct fid_mr *mr[2][REGIONS]; /* of the client's domain, of the server's */
  uint8_t arena[FOE_ARENA], must[FOE_ARENA];
} world_t;
extern world_t world;

void world_open(const opts_t *opts);
void world_close(void);
uint8_t *region_at(int region);
/* Nothing in the arena is other than it must be; the honest connection works. */
void unharmed(void);

/* ---- A foe ---- */

typedef struct foe_s {
  int fd;
  bool swap; /* his byte order is not ours */
  end_t *end;
  struct fid_ep *ep;
  struct fi_context rxc[FOE_RECEIVES];
  unsigned posted; /* receives, in the order in which they complete */
} foe_t;

/* Up to the end of the handshake; `early` bytes leave together with his part of it. */
void foe_open(foe_t *f, bool connector, bool swap, unsigned receives, const void *early, size_t n);
/* The endpoint has cut him off: receives from `received` on come back, FI_SHUTDOWN is said, each once,
 * and all else is unharmed. Closes both. */
void foe_is_cut_off(foe_t *f, unsigned received);
void foe_close(foe_t *f); /* while all is well */

/* A plain connection to the listener, without a word. */
int stranger(void);
/* As much as goes; false: the other side has closed. */
bool fd_put(int fd, const void *p, size_t n);
/* Exactly n bytes, or false at the end of the stream. */
bool fd_get(int fd, void *p, size_t n);
bool fd_over(int fd); /* the end is there; what comes before it is thrown away */
uint8_t *receive_at(unsigned i);

/* ---- Bytes ---- */

/* A handshake's message; returns its length. */
size_t cm_put(uint8_t *p, uint8_t type, const void *data, uint16_t len, bool swap);

typedef struct piece_s {
  int region;
  uint64_t off, len;
  uint64_t key; /* added to the right one */
} piece_t;

typedef struct frame_s {
  uint8_t op, opdata, npieces;
  uint16_t flags;
  uint64_t data;
  piece_t piece[4];
  size_t payload;
  uint64_t seed;           /* of the payload */
  int version, nrma, hlen; /* added to the right value */
  int64_t size;
} frame_t;

/* The bytes of a frame; returns their count. */
size_t frame_put(const foe_t *f, uint8_t *p, const frame_t *fr);
bool foe_put(foe_t *f, const frame_t *fr);
/* The header that comes next, and its words; the payload is not read. Fails the case if it is malformed. */
typedef struct seen_s {
  uint8_t op, opdata, nrma;
  uint16_t flags;
  uint64_t payload, data, word[12];
} seen_t;
seen_t foe_get(foe_t *f);

#endif
