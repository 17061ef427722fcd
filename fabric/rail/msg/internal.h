/* SPDX-License-Identifier: Apache-2.0 */
/* internal.h - what the files of this folder share: the rail, its queues, its paths and listeners.
 *
 * Design notes
 *  - Everything belongs to the loop's thread. The worker gets a job inside an object and nothing
 *    else touches what the job names until its done().
 *  - Every operation's context is a struct weft__ctx (first in it: the provider's scratch area). It
 *    stays valid until the operation completed or its endpoint is closed and the queue was read
 *    empty after that.
 *  - Upcalls come from three places: completions and events while draining, the list `todo` at the
 *    end of a drain (down, closed, writable), and done() of a job. An operation that wants to
 *    report puts its path on `todo`. */
#ifndef WEFT_RAIL_MSG_INTERNAL_H
#define WEFT_RAIL_MSG_INTERNAL_H

#include <poll.h>
#include <pthread.h>

#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>

#include "plan.h"
#include "quirks.h"
#include "rail/path.h"
#include "rail/pool.h"

/* The oldest interface asked for; headers older than that ask for their own. */
#if FI_MAJOR_VERSION > 1 || FI_MINOR_VERSION >= 17
#define WEFT__FI_API FI_VERSION(1, 17)
#else
#define WEFT__FI_API FI_VERSION(FI_MAJOR_VERSION, FI_MINOR_VERSION)
#endif

#define HALF_OPEN_NS UINT64_C(10000000000) /* who has not spoken for so long never will */

enum {
  BATCH = 32,                 /* completions read at once */
  BATCHES_MAX = 8,            /* per shard and drain */
  RMA_DEPTH = WEFT__PLAN_RMA, /* most RMA operations per path */
  CM_DATA_MAX = 256,          /* the largest blob any provider delivers */
  UNSIGNALED_BYTES = 32768,   /* most bytes of buffers that wait for a completion to be asked for */
};

typedef enum { CTX_RX = 1, CTX_TX, CTX_RMA } weft__ctx_kind;

typedef struct weft__mpath weft__mpath_t;

typedef struct weft__ctx {
  struct fi_context fi;
  weft__mpath_t *path;
  uint32_t kind,
      idx; /* weft__ctx_kind; index of the receive, sequence number of the frame, RMA slot */
} weft__ctx_t;

/* ---- Queues: queue.c ---- */

typedef enum { SRC_SHARD = 1, SRC_EQ } weft__src_kind;

/* waitset.c: the descriptors that a queue with FI_WAIT_POLLFD sleeps on, as the rail's epoll set
 * has them. */
typedef struct weft__waitset {
  struct pollfd *now, *next; /* what is set; room for the next look */
  size_t n, cap;
  uint64_t change; /* the provider's change_index of `now` */
} weft__waitset_t;

/* A completion queue and the endpoints bound to it. */
typedef struct weft__shard {
  weft__src_kind src; /* first: what an epoll event points to */
  weft__rail_t *rail;
  struct fid_cq *cq;
  unsigned npaths;
  bool spoilt; /* takes no more paths, and goes with the last */
  bool dirty;  /* touched since fi_trywait last said that it may sleep */
  bool must;   /* has something that its fd does not show: read it until it is empty */
  bool fired;
  uint64_t active_ns; /* loop time of the last completion or post */
  weft__waitset_t wait;
} weft__shard_t;

/* An event queue: the rail's, a listener's or a path's. */
typedef struct weft__eq {
  weft__src_kind src; /* first */
  weft__rail_t *rail;
  struct fid_eq *eq;
  weft__mpath_t *path; /* the only one it serves, or NULL */
  weft__lst_t *lst;    /* the listener it serves, or NULL */
  struct weft__eq *prev, *next;
  bool dirty, fired;
  bool detached, dead;
  bool away;        /* another thread reads it: the loop leaves it alone */
  unsigned reading; /* weft__eq_drain is at it */
  /* Fired and had nothing: how often in a row, since when; not watched for a moment. */
  unsigned barren;
  uint64_t barren_ns;
  bool muted;
} weft__eq_t;

/* ---- Paths: path.c ---- */

typedef enum {
  ST_OPENING,    /* the worker makes the endpoint */
  ST_CONNECTING, /* fi_connect was called */
  ST_ACCEPTING,  /* fi_accept was called: frames are held until it is done */
  ST_UP,
  ST_DOWN, /* reported */
} weft__state;

typedef enum { CLOSE_NO, CLOSE_WANTED, CLOSE_RUNS, CLOSE_REAP } weft__closing;

typedef struct weft__txslot {
  weft__ctx_t ctx;
  weft__buf_t *buf; /* NULL: left already */
  uint32_t len;
} weft__txslot_t;

typedef struct weft__rmaslot {
  weft__ctx_t ctx;
  weft__rma_t *rma; /* NULL: free */
  uint32_t tx_post; /* frames posted before it are done when it is */
  bool read;
  struct fid_mr *mr[4];
} weft__rmaslot_t;

struct weft__mpath {
  weft__path_t p; /* first */
  weft__state state;
  weft__closing closing;
  bool dying; /* down is to be reported */
  bool ended; /* down was reported, or is not going to be */
  bool on_todo, want, connect_job;
  bool in_frame;     /* in the upcall of one of its frames */
  uint64_t heard_ns; /* loop time of its last frame, before that of its making */
  struct fid_ep *ep;
  weft__shard_t *shard;
  weft__eq_t *eq; /* its own, or NULL: the rail's */

  /* Frames: the ring slots [tx_tail, tx_head); from tx_post on they are held back. */
  weft__txslot_t *tx;
  uint32_t tx_mask, tx_tail, tx_post, tx_head;
  uint32_t tx_given; /* buffers out with the owner */
  uint32_t tx_bufs;  /* buffers in the ring and with the owner */
  uint32_t tx_unsignaled, tx_unsignaled_bytes;
  uint64_t stuck_ns; /* since when the provider takes no frame, 0 = it does */
  bool tx_force;     /* ask for the next frame's completion: the pool is short */

  weft__buf_t **rx; /* posted receives, by index; NULL: to be posted */
  uint32_t rx_posted;
  uint32_t rx_early; /* frames that came before the path is up, in the first of them */

  weft__rmaslot_t rma[RMA_DEPTH];
  uint32_t rma_used, reads; /* slots in use; reads among them */

  int err;       /* the death's cause */
  bool err_weak; /* a flushed operation: another event may know better */
  char why[256];
  uint8_t blob[CM_DATA_MAX]; /* of the connect request, then of the reject */
  uint32_t bloblen;

  struct sockaddr_storage src, dst; /* src: ss_family 0 while unknown */
  struct fi_info *info;
  weft__job_t job;
  int job_err;
  weft__mpath_t *todo_next, *prev, *next; /* the rail's lists */
};

struct weft__req {
  weft__lst_t *lst;
  struct fi_info *info;
  struct sockaddr_storage peer;
  uint8_t blob[CM_DATA_MAX];
  uint32_t bloblen;
  struct weft__req *prev, *next;
};

struct weft__lst {
  weft__rail_t *rail;
  const weft__lst_cbs_t *cbs;
  void *user;
  struct fid_pep *pep;
  weft__eq_t *eq;
  weft__req_t *reqs; /* not yet answered */
  struct sockaddr_storage addr;
  char name[80];
  bool failed;
  struct weft__half *half; /* connections that have not spoken yet, as the last sweep saw them */
  unsigned nhalf, half_room;
  weft__lst_t *prev, *next;
};

typedef struct weft__region weft__region_t;

typedef struct weft__unclosed {
  struct weft__unclosed *next;
  struct fid_mr *mr;
} weft__unclosed_t;

struct weft__rail {
  weft__env_t *env;
  const weft__quirks_t *q;
  struct fi_info *info;
  char provider[32], device[64], name[112]; /* name: "tcp v0", for messages */
  struct sockaddr_storage addr;
  struct fid_fabric *fabric;
  struct fid_domain *domain;
  bool mr_local, mr_virt, mr_provkey;
  uint64_t key_mask, keys[32];
  unsigned nkeys;
  weft__plan_t plan;
  unsigned nbound; /* paths that have their place in a completion queue */
  weft__pool_t *pool;

  int epfd, timer;
  uint64_t mute_until, sweep_at; /* loop time, 0 = no */
  bool eqs_dirty, eqs_fired;     /* some of them */
  void **watched; /* by descriptor: the source that has it in the epoll set (waitset.c) */
  size_t nwatched;
  weft__shard_t **shards;
  unsigned nshards;
  weft__eq_t *eq;  /* paths' shared one, NULL where each has its own */
  weft__eq_t *eqs; /* all */
  weft__mpath_t *paths;
  weft__lst_t *lsts;
  weft__mpath_t *todo, **todo_tail;

  pthread_mutex_t mem_lock;
  weft__region_t *mem;
  weft__unclosed_t *unclosed; /* what the provider would not close */
  int mem_failed;             /* atomic: the last region was not registered, and the log has it */
  unsigned busy;              /* upcalls may be running: the rail must not go away under them */
  bool closing;
  weft__job_t job;
};

/* rail.c */
void weft__rail_leave(
    weft__rail_t *); /* busy-- and what waited for it: the rail may be gone afterwards */
static inline weft__mpath_t *weft__mpath(weft__path_t *p) {
  return (weft__mpath_t *) p;
}

/* The queue of its events: its own or the rail's. */
static inline weft__eq_t *weft__mpath_eq(const weft__mpath_t *p) {
  return p->eq != NULL ? p->eq : p->p.rail->eq;
}

/* queue.c */
int weft__eq_open(weft__rail_t *, weft__eq_t **out);
void weft__eq_detach(weft__eq_t *); /* the loop reads it no more */
void weft__eq_close(weft__eq_t *);  /* frees; detached or not */
/* [another thread] While it is away: have the provider do what it does when it reads events; what is there
 * for the loop stays. 0, or the negative errno of what it did, which it tells nobody else. */
int weft__eq_step(weft__eq_t *);
int weft__eq_drain(weft__eq_t *);
static inline void weft__eq_touch(weft__eq_t *eq) {
  eq->dirty = eq->rail->eqs_dirty = true;
}
int weft__shard_take(weft__rail_t *,
                     weft__shard_t **out); /* one with room, made when there is none */
void weft__shard_give(weft__shard_t *);    /* the place of a path that is gone */
int weft__shard_empty(
    weft__shard_t *); /* read until nothing is left (bounded); completions handled */
void weft__queues_close(weft__rail_t *);
static inline void weft__shard_touch(weft__shard_t *s) {
  s->dirty = true;
  s->active_ns = *s->rail->env->now_ns;
}

/* waitset.c */
int weft__wait_add(weft__rail_t *, struct fid *,
                   void *src); /* an object with one wait fd, into the rail's epoll set */
void weft__wait_del(weft__rail_t *, struct fid *, void *src);
int weft__waitset_sync(weft__shard_t *); /* after fi_trywait: 0 when the epoll set is right; else
                                            read the queue again */
void weft__waitset_fini(weft__shard_t *);

/* path.c */
int weft__mpath_new(weft__rail_t *, const weft__path_cbs_t *, void *user, weft__mpath_t **out);
void weft__mpath_free(weft__mpath_t *);
/* Bind, enable and post receives: everything between fi_endpoint and fi_connect or fi_accept. */
int weft__mpath_setup(weft__mpath_t *, char *what, size_t len);
void weft__mpath_up(weft__mpath_t *);
void weft__mpath_early(weft__mpath_t *); /* up, and the owner knows: what came before goes to him */
/* Put to death; the first cause that is not weak stays. `err` negative. `what` a sentence without
 * the rail's name. */
void weft__mpath_die(weft__mpath_t *, int err, bool weak, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* An operation failed, when it was posted or later: the path is dead of it. `what` as "send to", `text` of the error. */
void weft__mpath_failed(weft__mpath_t *, const char *what, int err, const char *text);
/* A post failed, and may be carried out all the same (quirk post_lies): the path is dead. `what` as
 * "send to". */
bool weft__mpath_refused(weft__mpath_t *, const char *what);
void weft__mpath_todo(weft__mpath_t *);
void weft__mpath_names(weft__mpath_t *);
void weft__mpath_stop(weft__mpath_t *); /* nothing is sent or received from now on */
void weft__mpath_end(weft__mpath_t *);  /* start closing the endpoint */
int weft__todo_run(weft__rail_t *);
void weft__cq_done(weft__ctx_t *, size_t len);
void weft__cq_failed(weft__ctx_t *, int err, const char *text);

/* rma.c */
int weft__mpath_write(weft__path_t *, weft__rma_t *);
int weft__mpath_read(weft__path_t *, weft__rma_t *);
int weft__mpath_expose(weft__path_t *, void *buf, size_t len, weft__open_t, weft__mr_t *);
int weft__mpath_unexpose(weft__path_t *, weft__mr_t *);
void weft__rma_finish(weft__rmaslot_t *, int status);
void weft__rma_close_rest(weft__rail_t *); /* no path is left */

/* mem.c */
int weft__mem_reg(weft__rail_t *, void *base, size_t len, uint64_t access, struct fid_mr **out);
/* The registration of what the owner made known, and where that begins; NULL: not known. */
struct fid_mr *weft__mem_find(weft__rail_t *, const void *mem, size_t len, uintptr_t *base);
void *weft__mem_desc(weft__rail_t *, const void *base, size_t len); /* NULL: not known */
int weft__mem_pool_reg(void *rail, weft__pool_kind, void *base, size_t len, void **mr, void **desc);
void weft__mem_pool_unreg(void *rail, void *mr);
void weft__mem_close(weft__rail_t *);
bool weft__mem_cached(weft__rail_t *); /* libfabric's registration cache is on */

/* connect.c */
void weft__mpath_connected(weft__mpath_t *, const void *blob, size_t len);
void weft__mpath_connect_failed(weft__mpath_t *, int err, const void *blob, size_t len);

/* halfopen.c */
int weft__half_end(
    weft__lst_t *); /* make tcp let go of them, and the listener of new ones. How many there are */
bool weft__half_sweep(weft__lst_t *); /* end the old ones; are there any left? */

/* listen.c */
void weft__lst_connreq(weft__lst_t *, struct fi_info *, const void *blob, size_t len);
void weft__lst_error(weft__lst_t *, int err);

/* text.c */
int weft__fi_err(ssize_t fi); /* what libfabric returned, as a negative errno */
/* Close it. What is injected at the point is what it seems to have answered; closed it is. */
#define weft__fid_close(fid, point) weft__fid_close_as(fid, WEFT__FAULT(point))
int weft__fid_close_as(struct fid *, int fault);
const char *weft__err_str(int err, char *buf, size_t len); /* "connection refused (ECONNREFUSED)" */
const char *weft__sa_str(const void *sa, char *buf,
                         size_t len); /* "10.9.0.1:7000", without the port when it is 0 */
socklen_t weft__sa_len(const void *sa);
bool weft__sa_same_ip(const void *a, const void *b);
bool weft__sa_near(const void *a, const void *b, unsigned bits); /* one family and network */
bool weft__sa_loopback(const void *sa);
bool weft__sa_any(const void *sa);
uint16_t weft__sa_port(const void *sa);
void weft__sa_set_port(void *sa, uint16_t port);
void weft__sa_unmap(struct sockaddr_storage *); /* ::ffff:1.2.3.4 becomes 1.2.3.4 */

/* shipped.c. Where libfabric looks for providers that are files: folders with colons between them, "" when unknown. */
void weft__provider_dirs(char *buf, size_t len);

#endif
