/* SPDX-License-Identifier: Apache-2.0 */
/* internal.h - the simulator's own structures; only fabric/rail/sim includes this.
 *
 * Design notes
 *  - Everything that happens later is an event in one heap, ordered by time and then by the order
 *    in which it was planned. Events name an object (a channel, an RMA operation, a request) and
 *    hold a reference to it, so nothing is freed under them.
 *  - What travels waits in the queue of the end it travels to; one event stands for the whole
 *    queue. A frame owns its bytes from tx_get on: the sender's buffer becomes the receiver's. */
#ifndef WEFT_RAIL_SIM_INTERNAL_H
#define WEFT_RAIL_SIM_INTERNAL_H

#include "rail/sim/sim.h"

typedef struct chan chan_t;
typedef struct end end_t;

typedef enum { ITEM_FRAME, ITEM_RMA, ITEM_ANSWER, ITEM_FIN } item_kind_t;
typedef struct item { /* in the queue of the end it goes to */
  struct item *next;
  uint64_t due;
  item_kind_t kind;
} item_t;

typedef enum { BUF_FREE, BUF_GOT, BUF_SENT, BUF_RECEIVED } buf_state_t;
typedef struct simbuf {
  item_t item;
  weft__tbuf_t tbuf;
  weft__rbuf_t rbuf;
  weft__sim_t *sim;
  struct simbuf *next_free;
  end_t *from;
  buf_state_t state;
  bool counted; /* its sender waits for its completion */
  bool low;
  _Alignas(64) uint8_t data[WEFT__FRAME_MAX];
} simbuf_t;

typedef struct rop {   /* an RMA write or read */
  item_t item, answer; /* a read: there, and back */
  bool read, answered;
  struct rop *all, **pall; /* of the world */
  struct rop *next;        /* of the same end */
  end_t *from;
  weft__rma_t *rma; /* NULL: its fate has been reported */
  struct iovec iov[4];
  uint32_t niov;
  uint64_t addr, key, len;
  const struct exposure *sink; /* a read's; NULL once it was closed: nothing lands any more */
  uint8_t *snapshot;           /* the bytes, once the source may not be read any more */
  bool queued, dropped;
  unsigned refs; /* queue, events, list of its end */
} rop_t;

typedef struct exposure {
  struct exposure *next;
  uint8_t *buf;
  uint64_t len, addr, key;
  weft__open_t what;
  bool known; /* to the rail: unexpose leaves it open to reads ... */
  bool given; /* ... and was called */
} exposure_t;

typedef enum {
  END_NONE, /* the accepting end before accept */
  END_CONNECTING,
  END_UP,
  END_DOWN, /* `down` was reported */
  END_CLOSING,
  END_CLOSED
} end_state_t;

struct end {
  weft__path_t path; /* first: a path is its end */
  chan_t *c;
  unsigned side, host;
  end_state_t state;
  bool doomed; /* `down` is on its way */
  bool liar;
  bool full, writable_due;
  uint32_t got, outstanding, kernel, nrops;
  uint64_t sent;    /* frames */
  uint64_t handled; /* frames of the peer: their upcalls have returned */
  rop_t *rops;
  exposure_t *exposures;
  /* what travels to this end */
  item_t *head, *tail, fin;
  uint64_t last_due;
  bool armed; /* an event stands for the queue */
  bool cut;   /* nothing more comes in */
  bool gap;   /* something was lost: nothing that follows it may come in, but the news of the end */
  int err;
  const char *why;
  uint8_t blob[WEFT__BLOB_MAX]; /* for `connected` or `down` */
  size_t bloblen;
};

struct chan {
  end_t e[2];
  chan_t *next, **pprev; /* of the link */
  weft__sim_link_t *link;
  unsigned id;
  unsigned refs; /* events and a request */
  bool dead;     /* nothing travels any more in at least one direction */
};

struct weft__sim_req {
  struct weft__sim_req *next, **pprev;
  chan_t *c;
  unsigned side; /* of the accepting end */
  uint8_t blob[WEFT__BLOB_MAX];
  size_t len;
};

struct weft__sim_link {
  weft__sim_t *sim;
  weft__sim_link_conf_t conf;
  unsigned index;
  chan_t *chans;
  bool cut, refuse;
  unsigned stalled; /* bit d: towards host 1 - d */
};

typedef struct event {
  uint64_t at, order;
  void (*fn)(void *obj, uint64_t arg);
  void *obj;
  uint64_t arg;
  unsigned host;
} event_t;

typedef struct host {
  uint64_t clock, epoch, slack, stopped;
} host_t;

struct weft__sim {
  weft__sim_hooks_t hooks;
  void *ctx;
  uint64_t now, hash, order, events, violations;
  weft__rng_t rng;
  bool tracing, resetting;
  event_t *heap;
  size_t nheap, cap;
  host_t hosts[WEFT__SIM_HOSTS];
  weft__sim_link_t links[WEFT__SIM_LINKS];
  unsigned nlinks, nchans, nreqs, made;
  weft__sim_req_t *reqs;
  rop_t *rops;
  simbuf_t *free_bufs;
  chan_t *free_chans;
  unsigned bufs_out; /* received buffers that somebody holds */
};

static inline weft__sim_t *sim_of(const end_t *e) {
  return e->c->link->sim;
}
static inline end_t *peer_of(end_t *e) {
  return &e->c->e[1 - e->side];
}
static inline end_t *end_of(weft__path_t *p) {
  return (end_t *) p;
}

/* sim.c */
/* Zeroed. Tries twice: the tests make allocations fail, and it is not the simulator's turn. */
void *weft__sim_alloc(size_t n);
void weft__sim_plan(weft__sim_t *, unsigned host, uint64_t at, void (*fn)(void *obj, uint64_t arg),
                    void *obj, uint64_t arg);
void weft__sim_step_trace(weft__sim_t *, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
#define sim_trace(sim, ...)                                                                        \
  do {                                                                                             \
    if ((sim)->tracing) weft__sim_step_trace((sim), __VA_ARGS__);                                  \
  } while (0)

/* path.c */
extern const weft__path_ops_t weft__sim_path_ops;
chan_t *weft__sim_chan_new(weft__sim_link_t *);
void weft__sim_chan_free(chan_t *); /* in reset: whatever its state */
void weft__sim_unref(chan_t *);     /* frees it when nothing needs it any more */
void weft__sim_end_up(end_t *);
void weft__sim_append(end_t *to, item_t *, uint64_t due);
void weft__sim_arm(end_t *to);
/* `down` at this end after so much time, unless it is told or closed before. */
void weft__sim_doom(end_t *, uint64_t after, int err, const char *why);
/* Cut what travels to this end: `keep` items still arrive, within `late`. */
void weft__sim_cut_queue(end_t *to, size_t keep, uint64_t late);
size_t weft__sim_queued(const end_t *to);
/* Lose this item and all that follow it. */
void weft__sim_lose_from(end_t *to, item_t *);
void weft__sim_buf_free(weft__sim_t *, simbuf_t *);
uint64_t weft__sim_travel(end_t *to, uint32_t len);
void weft__sim_writable(end_t *);

/* rma.c */
int weft__sim_write(weft__path_t *, weft__rma_t *);
int weft__sim_read(weft__path_t *, weft__rma_t *);
int weft__sim_expose(weft__path_t *, void *buf, size_t len, weft__open_t, weft__mr_t *);
int weft__sim_unexpose(weft__path_t *, weft__mr_t *);
void weft__sim_rop_arrive(end_t *to, rop_t *);
void weft__sim_rop_drop(rop_t *); /* out of the queue without arriving */
void weft__sim_rop_answer(rop_t *);
void weft__sim_answer_drop(rop_t *);
void weft__sim_rma_flush(end_t *, int status);
void weft__sim_rma_forget(weft__sim_t *); /* in reset, when no path is left */
void weft__sim_unexpose_known(end_t *);   /* what has been given back */
void weft__sim_unexpose_all(end_t *);

#endif
