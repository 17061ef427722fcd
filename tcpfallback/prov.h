/* SPDX-License-Identifier: Apache-2.0 */
/* prov.h - the objects of a provider of this folder, and what its files share.
 *
 * Design notes
 *  - Locks, in their order: the fabric's `cm` (handshakes, and every change of an endpoint's life), a
 *    domain's `lock` (the data path; none under FI_THREAD_DOMAIN), an event queue's `lock` (its list), and
 *    what a set has of its own.
 *    An endpoint's state changes under its domain's lock, its handshake and its stream under `cm`.
 *  - A completion queue's set has the streams of its endpoints in it, level-triggered, whenever
 *    somebody sleeps on it (watch.c); so its descriptor needs no signal for what comes from outside. Completions that software makes are
 *    seen by fi_trywait, and wake who sleeps already.
 *  - An endpoint that has data and no receive for it is stalled: it keeps what was read already,
 *    and its set asks for the peer's end alone. */
#ifndef TCPFALLBACK_PROV_H
#define TCPFALLBACK_PROV_H

#include <errno.h>
#include <pthread.h>
#include <rdma/fabric.h>
#include <rdma/fi_atomic.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_collective.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <rdma/fi_tagged.h>
#include <rdma/providers/fi_log.h>
#include <rdma/providers/fi_prov.h>

#include "stream.h"
#include "wire.h"

#ifndef TF_NAME
#define TF_NAME "ksock"
#endif

enum {
  TF_IOV = 4,
  TF_INJECT = 128,
  TF_STAGING = 65536,
  TF_ACTIVE = 4,     /* endpoints of a queue that are read without being asked for */
  TF_LARGE = 32768,  /* after such a message only its successor's header is read ahead */
  TF_RX_MAX = 65536, /* most receives that a queue is made for */
  TF_UNREAD =
      65536, /* most completions of a peer's writes that it may leave in a queue that nobody reads */
  TF_ANSWERS = 16384, /* most answers that a peer may have us owe him */
};

/* What is written can be made durable where the processor writes back its caches when told. */
#ifdef __x86_64__
#define TF_PMEM FI_RMA_PMEM
#else
#define TF_PMEM 0
#endif
#define TF_CAPS                                                                                    \
  (FI_MSG | FI_RMA | FI_SEND | FI_RECV | FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE |   \
   FI_RMA_EVENT | TF_PMEM)
#define TF_MSG_MAX          (SIZE_MAX / 2)
#define TF_PROTOCOL_VERSION 0 /* of FI_PROTO_SOCK_TCP, as `tcp` counts it */
/* In an operation's flags for the queue: nothing is said when it succeeds. Flags that are 0: nor when it fails. */
#define TF_QUIET            (UINT64_C(1) << 62)
/* Beside the flags of a call: of fi_inject, of which nobody hears. */
#define TF_MUTE             (UINT64_C(1) << 62)
#define TF_WARN(...)        FI_LOG(&tf_prov, FI_LOG_WARN, FI_LOG_EP_DATA, __VA_ARGS__)

extern struct fi_provider tf_prov;

typedef struct tf_params {
  tf_sockopts_t sock;
  int connect_ms, stranger_ms;
  int zerocopy_size; /* 0: never */
} tf_params_t;
extern tf_params_t tf_params;

#define tf_up(p, type, member) ((type *) ((char *) (p) -offsetof(type, member)))

typedef struct tf_fabric {
  struct fid_fabric f;
  pthread_mutex_t cm;
  int refs;
} tf_fabric_t;

typedef struct tf_ep tf_ep_t;
typedef struct tf_eq tf_eq_t;
typedef struct tf_conn tf_conn_t;
typedef struct tf_cntr tf_cntr_t;

/* What counters count. */
typedef enum {
  TF_COUNT_NOTHING,
  TF_COUNT_SEND,
  TF_COUNT_RECV,
  TF_COUNT_READ,
  TF_COUNT_WRITE,
  TF_COUNT_REMOTE_READ,
  TF_COUNT_REMOTE_WRITE,
  TF_COUNTS
} tf_count_what;

/* A posted receive. */
typedef struct tf_rxe {
  struct tf_rxe *next;
  void *context;
  uint32_t completion, niov;
  struct iovec iov[TF_IOV];
} tf_rxe_t;

enum { TX_USER = 1, TX_ACK = 2, TX_SILENT = 4, TX_READ = 8, TX_ZERO = 16 };

/* An operation that is on its way. */
typedef struct tf_txe {
  struct tf_txe *next;
  void *context;
  uint64_t cq_flags; /* see TF_QUIET */
  uint32_t kind, niov, hlen;
  tf_count_what counts;
  size_t left;                  /* bytes to send, with the header */
  size_t off;                   /* of them, already sent */
  uint32_t first, calls, noted; /* of writez that took from it, and how many are done: zerocopy.c */
  struct iovec iov[TF_IOV];
  struct tf_mr *mr[TF_IOV]; /* an answer's sources */
  uint8_t hdr[TF_HDR_MAX + TF_INJECT];
} tf_txe_t;

typedef struct tf_queue {
  void *head, **tail;
} tf_queue_t;

typedef struct tf_mr {
  struct fid_mr m;
  struct tf_domain *domain;
  struct tf_mr *next;
  uint8_t *base; /* NULL: addresses are virtual */
  uint64_t lo, len, access;
} tf_mr_t;

typedef struct tf_domain {
  struct fid_domain d;
  tf_fabric_t *fabric;
  pthread_mutex_t mutex;
  bool virt;
  int refs;
  unsigned gone; /* counts endpoints that left */
  tf_ep_t *eps;
  tf_rxe_t *rxfree;
  tf_txe_t *txfree;
  void *slabs;
  tf_mr_t **mrs;
  size_t nmr, mrcap;
  uint64_t next_key;
  uint8_t staging[TF_STAGING];
} tf_domain_t;

typedef struct tf_cqe {
  struct fi_cq_tagged_entry e;
  size_t olen;
  int err, prov_errno;
} tf_cqe_t;

typedef struct tf_cq {
  struct fid_cq c;
  tf_domain_t *domain;
  tf_set_t *set;
  enum fi_wait_obj wait;
  enum fi_cq_format format;
  int refs;
  bool armed, signaled, overrun;
  bool slept, called; /* somebody may sleep on the set; he was called, and is until he asks again */
  bool fetched;       /* ... perhaps by its descriptor, which the program has */
  unsigned sleepers;  /* in fi_cq_sread */
  tf_cqe_t *ring;
  size_t cap, head, tail;
  tf_ep_t *active[TF_ACTIVE];
  unsigned nactive, nbound, empties, every, kept;
} tf_cq_t;

typedef struct tf_event {
  struct tf_event *next;
  uint32_t event;
  int err, prov_errno;
  bool embedded, user;
  fid_t fid;
  struct fi_info *info;
  size_t len;
  uint8_t data[];
} tf_event_t;

struct tf_eq {
  struct fid_eq e;
  tf_fabric_t *fabric;
  tf_set_t *set;
  enum fi_wait_obj wait;
  pthread_mutex_t lock;
  int refs;
  tf_event_t *head, **tail;
  tf_event_t *errev; /* what the last fi_eq_readerr lent */
  tf_conn_t *conns;
  struct tf_pep *paused;
  unsigned watched;
  uint64_t at; /* the first deadline; 0: none */
};

typedef struct tf_pep {
  struct fid_pep p;
  tf_fabric_t *fabric;
  tf_eq_t *eq;
  struct fi_info *info;
  tf_sock_t sock;
  int backlog;
  bool listening;
  tf_conn_t *asked;     /* what its user was told of, until accepted or rejected */
  uint64_t paused;      /* accepts nobody until then; 0: it does */
  struct tf_pep *pnext; /* among those that pause */
} tf_pep_t;

typedef enum { CONN_CONNECT, CONN_READ, CONN_READY } tf_conn_state;

/* A handshake: of a listener's, whose handle it becomes, or of an endpoint's. */
struct tf_conn {
  struct fid fid; /* first */
  tf_conn_state state;
  tf_sock_t sock;
  tf_eq_t *eq; /* watches it; NULL: nobody */
  tf_pep_t *pep;
  tf_ep_t *ep;
  bool swap;
  uint64_t deadline;
  tf_conn_t *prev, *next;
  uint16_t got, want;
  uint8_t buf[TF_CM_HDR + TF_CM_DATA];
  uint16_t outlen;
  uint8_t out[TF_CM_HDR + TF_CM_DATA];
};

/* Receives of several endpoints. */
typedef struct tf_srx {
  struct fid_ep e;
  tf_domain_t *domain;
  tf_cq_t *cq;
  int refs;
  uint64_t op_flags;
  size_t size, used;
  tf_queue_t posted;
  tf_ep_t *first, **last; /* who waits for one */
} tf_srx_t;

typedef enum { EP_IDLE, EP_CONNECTING, EP_UP, EP_DOWN } tf_ep_state;
typedef enum { RX_HDR, RX_STALL, RX_MSG, RX_WRITE, RX_RSP, RX_DROP } tf_rx_state;

struct tf_ep {
  struct fid_ep e;
  tf_domain_t *domain;
  tf_ep_t *prev, *next;
  tf_eq_t *eq;
  tf_cq_t *txcq, *rxcq;
  tf_cntr_t *cntr[TF_COUNTS]; /* the first of them stays NULL */
  tf_conn_t *conn;
  tf_sock_t sock;
  tf_ep_state state;
  bool enabled, swap, tx_comp, rx_comp, told, half, out;
  unsigned events; /* asked of its sets; 0: it is in none */
  unsigned away;   /* from which of them all the same: watch.c */
  unsigned empty, run;
  uint64_t tx_op_flags, rx_op_flags; /* of calls that take none */
  struct sockaddr_storage dst;
  socklen_t dstlen;

  size_t tx_size, tx_used, answers;
  uint8_t tx_id;
  tf_queue_t tx, acks, reads;
  tf_queue_t lent; /* sent, and not to be told yet: zerocopy.c */
  uint32_t zcalls, znoted;

  tf_srx_t *srx; /* has its receives; NULL: it has its own */
  bool waits;
  tf_ep_t *waiter; /* of srx, the next */
  size_t rx_size, rx_used;
  tf_queue_t posted;
  tf_rx_state rx;
  tf_hdr_t h;
  tf_rxe_t *rxe;
  tf_mr_t *mr[TF_RMA_MAX];
  struct iovec dst_iov[TF_IOV];
  unsigned dst_n, dst_i;
  uint64_t need;
  bool large;
  unsigned hlen;
  uint8_t hbuf[TF_HDR_MAX];
  uint8_t *left;
  size_t left_off, left_len;
  tf_event_t shut;
};

/* Under FI_THREAD_DOMAIN, too: who reads an event queue may end the handshakes of any domain. */
static inline void tf_lock(tf_domain_t *d) {
  pthread_mutex_lock(&d->mutex);
}
static inline void tf_unlock(tf_domain_t *d) {
  pthread_mutex_unlock(&d->mutex);
}
static inline void tf_ref(int *refs) {
  __atomic_add_fetch(refs, 1, __ATOMIC_RELAXED);
}
static inline void tf_unref(int *refs) {
  __atomic_sub_fetch(refs, 1, __ATOMIC_RELAXED);
}
static inline bool tf_busy(int *refs) {
  return __atomic_load_n(refs, __ATOMIC_ACQUIRE) != 0;
}
static inline void tf_q_init(tf_queue_t *q) {
  q->head = NULL;
  q->tail = &q->head;
}
/* Both kinds of entry begin with their next. */
static inline void tf_q_put(tf_queue_t *q, void *e) {
  *(void **) e = NULL;
  *q->tail = e;
  q->tail = (void **) e;
}
static inline void *tf_q_get(tf_queue_t *q) {
  void *e = q->head;

  if (e == NULL) return NULL;
  q->head = *(void **) e;
  if (q->head == NULL) q->tail = &q->head;
  return e;
}

/* domain.c */
int tf_domain_open(struct fid_fabric *, struct fi_info *, struct fid_domain **, void *);
tf_rxe_t *tf_rxe_new(tf_domain_t *);
tf_txe_t *tf_txe_new(tf_domain_t *);
static inline void tf_rxe_free(tf_domain_t *d, tf_rxe_t *e) {
  e->next = d->rxfree;
  d->rxfree = e;
}
static inline void tf_txe_free(tf_domain_t *d, tf_txe_t *e) {
  e->next = d->txfree;
  d->txfree = e;
}
/* mr.c */
extern struct fi_ops_mr tf_mr_ops;
tf_mr_t *tf_mr_find(tf_domain_t *, const tf_rma_t *, uint64_t access, void **at);
void tf_mr_commit(const tf_mr_t *, const tf_rma_t *); /* what was written there lasts */
void tf_mr_fini(tf_domain_t *);
/* cq.c */
int tf_cq_open(struct fid_domain *, struct fi_cq_attr *, struct fid_cq **, void *);
void tf_cq_put(tf_cq_t *, void *context, uint64_t flags, size_t len, uint64_t data);
void tf_cq_err(tf_cq_t *, void *context, uint64_t flags, int err, size_t olen, uint64_t data);
int tf_cq_trywait(tf_cq_t *);
bool tf_cq_activate(tf_cq_t *, tf_ep_t *);
void tf_cq_drive(tf_cq_t *);   /* all the progress that there is to make */
int tf_cq_quiet_fd(tf_cq_t *); /* to sleep on; -1: it is ready for another's sake */
void tf_cq_forget(tf_cq_t *, tf_ep_t *);
/* cntr.c */
int tf_cntr_open(struct fid_domain *, struct fi_cntr_attr *, struct fid_cntr **, void *);
int tf_cntr_bind(tf_ep_t *, struct fid *, uint64_t flags);
int tf_cntr_start(tf_ep_t *);
void tf_cntr_stop(tf_ep_t *);
bool tf_cntr_slept_on(const tf_ep_t *); /* somebody waits for one of the endpoint's */
void tf_cntr_add(tf_cntr_t *, bool failed);
static inline void tf_count(tf_ep_t *ep, tf_count_what what, bool failed) {
  if (ep->cntr[what] != NULL) tf_cntr_add(ep->cntr[what], failed);
}
/* eq.c */
int tf_eq_open(struct fid_fabric *, struct fi_eq_attr *, struct fid_eq **, void *);
void tf_eq_post(tf_eq_t *, tf_event_t *);
int tf_eq_say(tf_eq_t *, uint32_t event, fid_t, struct fi_info *, int err, const void *, size_t);
void tf_eq_purge(tf_eq_t *, fid_t);
int tf_eq_trywait(tf_eq_t *);
/* conn.c */
tf_conn_t *tf_conn_new(tf_sock_t);
int tf_conn_watch(tf_eq_t *, tf_conn_t *, unsigned events, uint64_t deadline);
void tf_conn_free(tf_conn_t *);
void tf_conn_ep_gone(tf_conn_t *); /* its endpoint closes */
void tf_conn_pep_gone(tf_pep_t *); /* their listener closes */
int tf_conn_answer(tf_conn_t *, uint8_t type, const void *, size_t);
int tf_conn_start(tf_ep_t *, const void *, size_t);
/* Its stream is the endpoint's, which is up; FI_CONNECTED is said. */
int tf_conn_hand_over(tf_conn_t *, tf_ep_t *, const void *, size_t);
void tf_eq_progress(tf_eq_t *);
void tf_eq_by(tf_eq_t *, uint64_t); /* be ready at that time, at the latest */
/* pep.c */
int tf_pep_open(struct fid_fabric *, struct fi_info *, struct fid_pep **, void *);
void tf_pep_accept(tf_pep_t *);
uint64_t tf_pep_again(tf_eq_t *,
                      uint64_t now); /* when the next pause of a listener ends; 0: none */
int tf_sock_name(tf_sock_t, void *, size_t *, bool peer);
/* ep.c */
int tf_ep_open(struct fid_domain *, struct fi_info *, struct fid_ep **, void *);
int tf_ep_up(tf_ep_t *); /* its stream speaks: join the queues */
void tf_ep_down(tf_ep_t *, int err);
void tf_ep_broke(tf_ep_t *, int err); /* it cannot send: what has arrived is given first */
/* watch.c */
int tf_watch_begin(tf_ep_t *);
void tf_watch_end(tf_ep_t *);
void tf_ep_events(tf_ep_t *);            /* ask for what it waits for now */
void tf_watch_ran(tf_ep_t *, tf_cq_t *); /* one of its active ones was read and had something */
bool tf_watch_back(tf_ep_t *, tf_cq_t *);
/* msg.c, rma.c */
extern struct fi_ops_msg tf_msg_ops, tf_msg_srx_ops; /* ... of who receives from a shared context */
extern struct fi_ops_rma tf_rma_ops;
ssize_t tf_post(tf_domain_t *, tf_queue_t *, size_t *used, size_t size, const struct iovec *,
                size_t n, void *context, bool completion);
ssize_t tf_cancel(tf_domain_t *, tf_queue_t *, size_t *used, tf_cq_t *, void *context);
void tf_rxe_flush(tf_domain_t *, tf_queue_t *, tf_cq_t *, tf_ep_t *); /* whose, or NULL */
/* srx.c */
int tf_srx_open(struct fid_domain *, struct fi_rx_attr *, struct fid_ep **, void *);
void tf_srx_wait(tf_ep_t *);
void tf_srx_leave(tf_ep_t *); /* whether it waits or not */
/* tx.c */
typedef struct tf_op {
  tf_hdr_t h;
  const struct iovec *iov;
  size_t niov;
  void *context;
  uint64_t cq_flags; /* see TF_QUIET */
  bool inject, ack;
} tf_op_t;
ssize_t tf_tx(tf_ep_t *, tf_op_t *);
/* An operation is over: its completion and its count. */
void tf_tx_end(tf_ep_t *, tf_count_what, void *context, uint64_t cq_flags, int err);
int tf_tx_ack(tf_ep_t *);
int tf_tx_answer(tf_ep_t *, const tf_hdr_t *);
int tf_tx_flush(tf_ep_t *);             /* 0, or why the stream is broken */
void tf_tx_sent(tf_ep_t *, tf_txe_t *); /* e is over, and told */
/* zerocopy.c */
static inline bool tf_zero_under_way(const tf_ep_t *ep) {
  return ep->zcalls != ep->znoted;
}
void tf_zero_took(tf_ep_t *, tf_txe_t *); /* the call of writez that is being counted, from e */
bool tf_zero_sent(tf_ep_t *, tf_txe_t *); /* e has left; true: it is told later */
bool tf_zero_notes(tf_ep_t *);            /* takes them; were there any? */
void tf_zero_stop(tf_ep_t *);             /* nobody uses memory of the program's any more */
/* rx.c */
int tf_rx(tf_ep_t *, bool *got); /* reads; 0, or why the stream is broken (-FI_ENOTCONN: its end) */
void tf_rx_again(tf_ep_t *);     /* ... as there is a receive now */
/* info.c */
int tf_getinfo(uint32_t, const char *, const char *, uint64_t, const struct fi_info *,
               struct fi_info **);
/* none.c: for slots of what is not offered */
int tf_no_bind(struct fid *, struct fid *, uint64_t);
int tf_no_control(struct fid *, int, void *);
int tf_no_ops_open(struct fid *, const char *, uint64_t, void **, void *);
int tf_no_ops_set(struct fid *, const char *, uint64_t, void *, void *);
int tf_getopt(fid_t, int level, int name, void *value,
              size_t *len); /* of endpoints and listeners */
int tf_no_getopt(fid_t, int level, int name, void *value, size_t *len);
int tf_no_setopt(fid_t, int level, int name, const void *value, size_t len);
ssize_t tf_no_cancel(fid_t, void *);
int tf_no_tx_ctx(struct fid_ep *, int, struct fi_tx_attr *, struct fid_ep **, void *);
int tf_no_rx_ctx(struct fid_ep *, int, struct fi_rx_attr *, struct fid_ep **, void *);
ssize_t tf_no_size_left(struct fid_ep *);
int tf_no_setname(fid_t, void *, size_t);
int tf_no_getname(fid_t, void *, size_t *);
int tf_no_getpeer(struct fid_ep *, void *, size_t *);
int tf_no_connect(struct fid_ep *, const void *, const void *, size_t);
int tf_no_listen(struct fid_pep *);
int tf_no_accept(struct fid_ep *, const void *, size_t);
int tf_no_reject(struct fid_pep *, fid_t, const void *, size_t);
int tf_no_shutdown(struct fid_ep *, uint64_t);
int tf_no_join(struct fid_ep *, const void *, uint64_t, struct fid_mc **, void *);
int tf_no_av(struct fid_domain *, struct fi_av_attr *, struct fid_av **, void *);
int tf_no_sep(struct fid_domain *, struct fi_info *, struct fid_ep **, void *);
int tf_no_poll(struct fid_domain *, struct fi_poll_attr *, struct fid_poll **);
int tf_no_stx(struct fid_domain *, struct fi_tx_attr *, struct fid_stx **, void *);
ssize_t tf_no_recv(struct fid_ep *, void *, size_t, void *, fi_addr_t, void *);
ssize_t tf_no_recvv(struct fid_ep *, const struct iovec *, void **, size_t, fi_addr_t, void *);
ssize_t tf_no_msg(struct fid_ep *, const struct fi_msg *, uint64_t);
ssize_t tf_no_send(struct fid_ep *, const void *, size_t, void *, fi_addr_t, void *);
ssize_t tf_no_sendv(struct fid_ep *, const struct iovec *, void **, size_t, fi_addr_t, void *);
ssize_t tf_no_inject(struct fid_ep *, const void *, size_t, fi_addr_t);
ssize_t tf_no_senddata(struct fid_ep *, const void *, size_t, void *, uint64_t, fi_addr_t, void *);
ssize_t tf_no_injectdata(struct fid_ep *, const void *, size_t, uint64_t, fi_addr_t);
extern struct fi_ops_tagged tf_no_tagged;
extern struct fi_ops_atomic tf_no_atomic;
extern struct fi_ops_collective tf_no_collective;

#endif
