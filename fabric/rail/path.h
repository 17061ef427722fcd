/* SPDX-License-Identifier: Apache-2.0 */
/* path.h - the path interface: the one seam between Weft and whatever moves bytes.
 *
 * Design notes
 *  - A rail is one provider's domain opened by a context; a path is one established, ordered,
 *    reliable-until-dead channel over it. The session knows only struct weft__path and its two
 *    tables; the loop knows struct weft__rail as well.
 *  - Everything here is called on the context's thread and never blocks, except the functions
 *    marked [worker].
 *  - Upcalls (weft__path_cbs) are made only from weft__rail_ops.drain or from a job's done
 *    function: never inside an operation that the owner called.
 *  - A path reports `down` at most once, by itself or never. Only its owner closes it. After
 *    close() it still reports the fate of every outstanding RMA operation, then `closed`: from then
 *    on no device touches any buffer of it. Nothing else is reported after close().
 *  - Frames on a path are delivered in order or not at all, and an RMA write is placed before any
 *    frame sent after it.
 *  - The peer must never meet a path without a posted receive: the rail posts lim.rx_depth receives
 *    before the first frame can arrive and reposts (or replaces) each buffer before the next drain
 *    returns. Credits are the session's work. */
#ifndef WEFT_RAIL_PATH_H
#define WEFT_RAIL_PATH_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "weft_qos.h" /* weft_why */

/* Every frame fits this, and every posted receive holds one: fixed in protocol version 1
 * (docs/wire.md). */
#define WEFT__FRAME_MAX   16384u
/* A fresh path may be sent this many frames before its first grant arrives: every rail posts at
 * least as many. */
#define WEFT__FIRST_GRANT 8u
/* The blob of a connect request or accept fits the private data of every provider (verbs: 55
 * bytes). */
#define WEFT__BLOB_MAX    48u

typedef struct weft__rail weft__rail_t;
typedef struct weft__path weft__path_t;
typedef struct weft__lst weft__lst_t;
typedef struct weft__req weft__req_t;
typedef struct weft__env weft__env_t;

/* ---- What the loop lends to rails ---- */

/* A piece of blocking work. run() on the private thread, then done() on the loop's thread.
 * Caller-owned until done(). */
typedef struct weft__job {
  struct weft__job *next;
  void (*run)(struct weft__job *);
  void (*done)(struct weft__job *);
  void *data;
} weft__job_t;

struct weft__env {
  int (*work)(weft__env_t *,
              weft__job_t *); /* 0, or negative errno and then done() is not called */
  int (*work_long)(weft__env_t *, weft__job_t *); /* the same, for what may wait for a peer for
                                                     minutes: no job of `work` waits for it */
  const uint64_t *now_ns;      /* loop time, refreshed at every drain; monotonic */
  uint32_t rx_depth, tx_depth; /* per path */
  uint64_t pool_bytes;         /* most bytes of buffers a rail may hold */
  uint64_t registrations;      /* of memory, by all its rails so far; atomic */
};

/* ---- Buffers ---- */

/* A frame to send: fill data[0..len), len <= cap, then path->ops->send. */
typedef struct weft__tbuf {
  uint8_t *data; /* 8-byte aligned */
  uint32_t cap;  /* >= WEFT__FRAME_MAX */
} weft__tbuf_t;

/* A received frame. The upcall's holder may keep it by weft__rbuf_ref; the last unref (any thread)
 * gives it back. */
typedef struct weft__rbuf weft__rbuf_t;
struct weft__rbuf {
  uint8_t *data; /* 8-byte aligned */
  uint32_t len;
  int32_t refs;                    /* atomic */
  void (*recycle)(weft__rbuf_t *); /* refs fell to 0; any thread */
  bool (*low)(
      const weft__rbuf_t *); /* pool at its low-water mark: copy instead of keeping. Loop thread */
};
static inline void weft__rbuf_ref(weft__rbuf_t *b) {
  __atomic_add_fetch(&b->refs, 1, __ATOMIC_RELAXED);
}
static inline void weft__rbuf_unref(weft__rbuf_t *b) {
  if (__atomic_sub_fetch(&b->refs, 1, __ATOMIC_ACQ_REL) == 0) b->recycle(b);
}

/* ---- Path ---- */

/* How large messages move on this path: the best that the quirks table allows. A rail that reads
 * writes as well. */
typedef enum { WEFT__XFER_WRITE, WEFT__XFER_COPY, WEFT__XFER_READ } weft__xfer_t;

typedef struct weft__path_limits {
  uint32_t frame_max;  /* bytes of the largest frame: WEFT__FRAME_MAX in protocol version 1 */
  uint32_t inject_max; /* frames up to this size leave their buffer at once */
  uint32_t tx_depth;   /* frames that may be outstanding */
  uint32_t rx_depth;   /* receives that are kept posted, >= WEFT__FIRST_GRANT */
  uint32_t rma_depth;  /* RMA operations that may be outstanding */
  uint32_t read_depth; /* reads among them: a device's limit. Not in simulators */
  uint32_t rma_max;    /* bytes of one RMA operation */
  weft__xfer_t xfer;   /* the owner may lower it to what the peer's rail has */
  /* a write that began before unexpose may go on, on any path of the rail: see expose */
  bool late_writes;
} weft__path_limits_t;

/* What memory is opened for: exactly this, and nothing else. */
typedef enum {
  WEFT__OPEN_WRITE, /* the peer writes to it */
  WEFT__OPEN_READ,  /* the peer reads it */
  WEFT__OPEN_SINK,  /* our own reads land in it; nothing of it travels to the peer */
} weft__open_t;

/* Memory opened for RMA on this path. addr and key travel to the peer, but a sink's. */
typedef struct weft__mr {
  uint64_t addr, key;
  void *priv, *desc; /* the rail's */
} weft__mr_t;

/* One RMA write or read. Caller-owned until rma_done. */
typedef struct weft__rma {
  struct weft__rma *next; /* the caller's */
  void *data;             /* the caller's */
  struct iovec iov[4];    /* local: source of a write, at most 4 pieces; sink of a read, one */
  uint32_t niov;
  const weft__mr_t *sink; /* a read's: where iov[0] lies. Looked at only within the call */
  uint64_t addr, key;     /* remote */
  uint64_t priv[6];       /* the rail's */
} weft__rma_t;

typedef struct weft__path_cbs {
  /* the connect succeeded: the accept's blob. Only for paths made by connect. */
  void (*connected)(weft__path_t *, const void *blob, size_t len);
  /* a frame; `b` is the rail's again when this returns unless it was ref'd */
  void (*frame)(weft__path_t *, weft__rbuf_t *b);
  /* tx_get, write or read answered "full" before: try again. The provider may be full still, then
   * this comes once more. */
  void (*writable)(weft__path_t *);
  void (*rma_done)(weft__path_t *, weft__rma_t *, int status);
  /* dead, or the connect failed (err: negative errno, -ECONNREFUSED with the reject's blob, if
   * any). Once. */
  void (*down)(weft__path_t *, int err, const char *why, const void *blob, size_t len);
  void (*closed)(weft__path_t *); /* the path is free after this returns */
} weft__path_cbs_t;

typedef struct weft__path_ops {
  /* A buffer for one frame; NULL: tx_depth outstanding, `writable` will come. */
  weft__tbuf_t *(*tx_get)(weft__path_t *);
  /* Takes the buffer whatever it returns. An error (-ENOTCONN, ...) means that `down` has been or
   * will be reported. */
  int (*send)(weft__path_t *, weft__tbuf_t *, uint32_t len);
  void (*tx_put)(weft__path_t *, weft__tbuf_t *); /* give back unused */
  /* 0: rma_done follows; -EAGAIN: `writable` follows; other: `down` has been or will be reported,
   * no rma_done. */
  int (*write)(weft__path_t *, weft__rma_t *);
  /* As write. Only where lim.xfer was READ when the path was made; elsewhere -EOPNOTSUPP, and the
   * path lives. Reads and frames have no order. */
  int (*read)(weft__path_t *, weft__rma_t *);
  /* Open buf, at most rma_max bytes. 0 or negative errno; -EOPNOTSUPP: READ or SINK where the rail
   * does not read. Keys are the rail's, not the path's: a peer that has one may use it on another
   * path of the same rail. Memory known to the rail (weft__rail_mem_add) is opened for reading as a
   * whole and for as long as it is known. Where lim.late_writes says so a write begun there
   * outlives unexpose: then open only memory that nobody else gets until weft__rail_heard_since
   * shows that it is over. */
  int (*expose)(weft__path_t *, void *buf, size_t len, weft__open_t what, weft__mr_t *);
  /* 0: no write under this key can begin any more, and none that this path began can land. Negative
   * errno: the provider could not close it, and both may happen until the path is closed; to be
   * called again in `closed`. Allowed until that has returned. It costs nothing in the upcall of a
   * frame of this path (what the peer wrote before it has arrived), and on a path that is down or
   * closing; anywhere else a rail that cannot stop a write that has begun (tcp) puts the path to
   * death (`down`, -ECANCELED).
   * A sink: only when no read into it is under way, or the path is down or closing. Then, from 0 on,
   * nothing of such a read lands any more either, though its rma_done may be long in coming: the
   * memory is the owner's again. Memory that the peer reads: a read under way may fail, and the path
   * with it, so only when the peer has said that it is through, or in `closed`. */
  int (*unexpose)(weft__path_t *, weft__mr_t *);
  /* Let go: shutdown, reap, close. `closed` follows, later. Once. */
  void (*close)(weft__path_t *);
} weft__path_ops_t;

struct weft__path {
  const weft__path_ops_t *ops;
  const weft__path_cbs_t
      *cbs;   /* the owner's, may be exchanged at any time outside the upcall's own callee */
  void *user; /* the owner's */
  weft__rail_t *rail; /* NULL in the simulator */
  weft__path_limits_t lim;
  char local[80], remote[80]; /* numeric, for people */
};

/* ---- Rail ---- */

/* One thing this machine could use: a provider's domain with one local address, or the reason why
 * not. */
typedef struct weft__cand {
  char provider[32];            /* "tcp", "verbs", ... */
  char device[64];              /* libfabric's domain name: "v0", "rxe0"; "" when there is none */
  struct sockaddr_storage addr; /* local address, port 0; ss_family 0 when there is none */
  uint64_t speed_bps;           /* link speed in bits per second, 0 = unknown */
  uint32_t mtu;                 /* 0 = unknown */
  uint32_t traits; /* weft_trait bits that the provider's attributes and the quirks table tell */
  uint64_t max_op; /* most bytes of one operation, UINT64_MAX = no limit, 0 = unknown */
  int32_t why;     /* weft_why: WEFT_WHY_OK, or why it cannot be used */
  bool loopback;
  bool bootstrap; /* speaks TCP at a well-known port: may carry the first contact */
  /* Its addresses are the provider's own: the system neither has them nor knows a way to what they
   * reach (weft__cand_reach does). */
  bool own_stack;
  uint8_t prefix;   /* bits of its network, as the provider has it; 0 = unknown */
  char beside[16];  /* own_stack: the system's interface whose link it shares; "" = none */
  char detail[160]; /* evidence, a sentence */
  void *info;       /* struct fi_info *, owned by the list */
} weft__cand_t;

typedef struct weft__cand_list {
  weft__cand_t *v;
  unsigned n;
} weft__cand_list_t;

/* [worker] Look at everything this machine has. providers/devices: comma-separated filters, "" =
 * all (those left out are listed with WEFT_WHY_NOT_REQUIRED / WEFT_WHY_DEVICE_FILTER). Candidates
 * in a fixed order: usable first, RDMA first, loopback last. 0 or negative errno (with an empty
 * list). */
int weft__cand_scan(const char *providers, const char *devices, weft__cand_list_t *out);
void weft__cand_free(weft__cand_list_t *);
/* [any thread] Does an end over one of these providers reach one over the other? The same, or the same protocol over
 * the system's TCP. */
bool weft__providers_meet(const char *one, const char *other);
typedef enum {
  WEFT__REACH_NO,
  WEFT__REACH_ROUTED, /* by a gateway */
  WEFT__REACH_NEAR,   /* on the candidate's own network */
} weft__reach_t;
/* [any thread] Would a provider with addresses of its own send to dst from this candidate's? Does not
 * block. NO for the others: theirs are the system's routes. */
weft__reach_t weft__cand_reach(const weft__cand_t *, const struct sockaddr_storage *dst);
/* [any thread] The system took this RDMA device away. libfabric does not find it again, under
 * whatever name it comes back, so this process has it no more: later scans say so. */
void weft__cand_removed(const char *device);

typedef struct weft__lst_cbs {
  /* Somebody connects: read the request (weft__req_blob, weft__req_peer), then accept or reject it,
   * now or later. */
  void (*request)(weft__lst_t *, weft__req_t *);
  void (*failed)(weft__lst_t *, int err, const char *why);
} weft__lst_cbs_t;

/* [worker] Open the candidate's domain, queues and pools. The candidate's info is copied. 0 or
 * negative errno with a sentence naming object and cause in err. */
int weft__rail_open(weft__env_t *, const weft__cand_t *, weft__rail_t **out, char *err,
                    size_t errlen);
/* All its paths and listeners must be closed. Frees what can be freed at once and does the rest on
 * the worker; buffers still retained by users stay valid until released. */
void weft__rail_close(weft__rail_t *);
/* Neither paths nor listeners: weft__rail_close may be called. */
bool weft__rail_idle(const weft__rail_t *);
const char *weft__rail_provider(const weft__rail_t *);
const char *weft__rail_device(const weft__rail_t *);
/* The best way in which large messages move on its paths, if the peer's rail has it too. */
weft__xfer_t weft__rail_xfer(const weft__rail_t *);
const struct sockaddr *weft__rail_addr(const weft__rail_t *); /* local address, port 0 */

/* One fd that is readable when a queue of this rail has something; level-triggered; never changes.
 */
int weft__rail_fd(const weft__rail_t *);
/* Before sleeping: 0 when it is safe to sleep on the fd, -EAGAIN when drain must run first. Costs
 * nothing for queues that were neither drained nor posted to since the last call. */
int weft__rail_arm(weft__rail_t *);
typedef enum {
  WEFT__DRAIN_FIRED, /* the fd fired: look which queues, drain those */
  /* spinning: only the queues of paths that were lately active; no system call of our own */
  WEFT__DRAIN_ACTIVE,
  WEFT__DRAIN_ALL, /* every queue */
} weft__drain_t;
/* Poll and make upcalls. Returns how many completions and events were handled; bounded per call, so
 * call again while it is positive. */
int weft__rail_drain(weft__rail_t *, weft__drain_t);

/* Listen on addr (port 0: any; on a wildcard address where the provider can). 0 or negative errno.
 */
int weft__rail_listen(weft__rail_t *, const struct sockaddr *addr, socklen_t len, int backlog,
                      const weft__lst_cbs_t *, void *user, weft__lst_t **out);
void *weft__lst_user(const weft__lst_t *);
const struct sockaddr *weft__lst_addr(const weft__lst_t *); /* with the real port */
void weft__lst_close(
    weft__lst_t *); /* no request upcall after this; unanswered ones are rejected */

const void *weft__req_blob(const weft__req_t *, size_t *len);
const struct sockaddr *weft__req_peer(const weft__req_t *);
weft__xfer_t weft__req_xfer(const weft__req_t *); /* of the rail that it came to */
/* Both consume the request. Accept: 0 and a path, on which frames may arrive from the next drain on
 * and may be sent at once; or negative errno. The path is usable at once; no `connected` upcall. */
int weft__req_accept(weft__req_t *, const void *blob, size_t len, const weft__path_cbs_t *,
                     void *user, weft__path_t **out);
void weft__req_reject(weft__req_t *, const void *blob, size_t len);

/* Connect. 0: `connected` or `down` follows; then the owner must close the path in any case. Never
 * blocks (uses the worker where the provider would). The path exists from now on and may be closed
 * before it is connected. `src` may be NULL: then the rail's own address, with any port. */
int weft__rail_connect(weft__rail_t *, const struct sockaddr *dst, socklen_t len, const void *blob,
                       size_t bloblen, const weft__path_cbs_t *, void *user, weft__path_t **out);

/* The system says that something happened to a device or an address (rtnetlink, verbs port events):
 * the rail reports `down` on every path that uses it. `device` NULL: any; addr NULL: any. why is
 * the sentence. */
void weft__rail_lost(weft__rail_t *, const char *device, const struct sockaddr *addr,
                     const char *why);

/* Since when (loop time) has each path of the rail whose writes may come late delivered a frame? A
 * write that began before that has ended: a path is a stream. UINT64_MAX: nothing comes late here.
 */
uint64_t weft__rail_heard_since(const weft__rail_t *);

/* Memory known to the rail, so that sends and RMA from it need no registration of their own (a
 * no-op where the provider needs none: *handle is NULL). Any thread; where weft__rail_mem_slow says
 * so not the loop's for large memory, for it takes as long as it takes the system to pin that, some
 * 0.1 ms per MiB, and letting go of it nearly as long. 0 or negative errno, told in the log. What is
 * known when the rail is closed goes with it; a call that is still under way then must end before the
 * worker comes to what the close gives it. */
bool weft__rail_mem_slow(const weft__rail_t *);
int weft__rail_mem_add(weft__rail_t *, void *base, size_t len, void **handle);
void weft__rail_mem_del(weft__rail_t *, void *handle);

#endif
