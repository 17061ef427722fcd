/* SPDX-License-Identifier: Apache-2.0 */
/* conn.h - connections and listeners behind their handles.
 *
 * Design notes
 *  - weft__conn_t is the session's owner. It is made by weft_conn_init, or by a listener when a
 *    peer's request comes; then weft_accept puts it in the place of the one that weft_conn_init
 *    made. It lives until the user's handle is closed AND the session is gone; what lingers in
 *    between holds no loop and calls nobody.
 *  - A connection's end is told in one place, conn_settle (conn.c), from `later`: connect_cb,
 *    send_cbs, shutdown_cb, then close_cb. close_cb waits for `pending` (requests out) and `dsts`
 *    (memory of large messages) to be empty.
 *  - A route is a pair of one own candidate and one address of the peer: what may become a path,
 *    and why it is not one. */
#ifndef WEFT_LOOP_CONN_H
#define WEFT_LOOP_CONN_H

#include "loop/loop.h"
#include "loop/rails.h"
#include "rank.h"
#include "session/join.h"
#include "session/session.h"
#include "session/wire.h"

/* ---- Dialling one address: dial.c ---- */

typedef struct weft__dial_result {
  int err;       /* 0: the peer accepted, take the path */
  bool answered; /* `answer` is set: accept, reject or tombstone */
  weft__answer_t answer;
  const char *why; /* a sentence */
} weft__dial_result_t;

struct weft__dial {
  weft__core_t *core;
  weft__link_t link;  /* core->dials */
  weft__path_t *path; /* NULL: taken, or gone */
  weft__timer_t timer;
  void *owner; /* NULL: nobody wants it any more */
  void (*done)(weft__dial_t *, const weft__dial_result_t *);
  weft__request_t rq;
  struct sockaddr_storage dst;
  bool over;
};

/* 0 and *out; `done` is called later, once, and then the dial is no longer yours. */
int weft__dial_start(weft__crail_t *, const struct sockaddr_storage *dst, const weft__request_t *,
                     uint64_t timeout_ns, void *owner,
                     void (*done)(weft__dial_t *, const weft__dial_result_t *), weft__dial_t **out);
weft__path_t *weft__dial_take(weft__dial_t *); /* inside done, err 0: the path is yours */
void weft__dial_drop(weft__dial_t *);          /* done is not called; the path closes by itself */

/* ---- Routes: routes.c ---- */

typedef enum { WEFT__RT_IDLE, WEFT__RT_RAIL, WEFT__RT_DIAL, WEFT__RT_UP } weft__rt_t;

typedef struct weft__croute {
  weft__conn_t *c;
  weft__cand_t cand;           /* own side, without info */
  struct sockaddr_storage dst; /* peer's address with the port of its offer */
  struct sockaddr_storage alt; /* bootstrap: host:port, tried in turn; ss_family 0: none */
  unsigned link;               /* index of the interface that cand's address is on, 0 = unknown */
  char peer_device[64];        /* "" = unknown */
  uint64_t speed_bps;
  weft__rt_t state;
  weft__path_t *path; /* UP */
  weft__dial_t *dial;
  weft__waiter_t waiter;
  int32_t why; /* weft_why while it is not UP */
  bool usable; /* needs and filters allow it */
  bool use_alt;
  bool dropping;   /* we let it go ourselves: that is no death */
  uint8_t refused; /* bits: dst, alt refused since no path is left */
  int rank;        /* lower is better; also the session's */
  unsigned order;  /* among equals */
  unsigned fails;  /* attempts in a row that failed */
  unsigned deaths; /* how often it died: settling doubles */
  unsigned brief;  /* how often in a row it died young */
  uint64_t up_at;
  uint64_t next_try;
  char detail[160];
} weft__croute_t;

enum { WEFT__ROUTES_MAX = 24 };

/* ---- First contact: connect.c ---- */

typedef struct weft__contact weft__contact_t;

/* ---- Connection ---- */

typedef enum {
  WEFT__CN_NEW,
  WEFT__CN_CONNECTING, /* first contact, HELLO, better paths */
  WEFT__CN_HALF,       /* accepted path, the peer's HELLO is still to come */
  WEFT__CN_WAITING,    /* in a listener's backlog */
  WEFT__CN_OPEN,
  WEFT__CN_ENDED,
} weft__cnstate_t;

/* The destination of a large message. */
typedef struct weft__dst {
  struct weft__dst *next;
  void *ptr;
  weft__big_t *big; /* Weft's own memory, or NULL */
} weft__dst_t;

struct weft__conn {
  weft__handle_t h; /* first */
  weft_conn_t *pub; /* NULL: no handle yet, or no more */
  weft__core_t *core;
  weft__link_t link; /* core->conns */
  weft__cnstate_t state;
  uint64_t serial; /* never twice in a context */
  bool initiator, gone, dirty;
  bool receiving, eof_held, eof_told, err_told;
  bool never_open; /* the connect failed: connect_cb has told, recv_cb need not */
  bool want_writable, upgrading, hello_seen, spins, need_missed;
  uint32_t spin_max_us; /* however long the needs ask for */
  weft__conn_t *dirty_next;
  weft__later_t later;
  weft__session_t *s;
  weft__timer_t timer; /* the session's */
  weft__timer_t retry; /* routes, upgrade budget */
  uint32_t pending;    /* messages with the session */
  uint64_t upgrade_until;

  weft_alloc_cb alloc_cb;
  weft_recv_cb recv_cb;
  weft_event_cb event_cb;
  weft_conn_close_cb close_cb;
  weft_connect_t *connect_req;
  weft_shutdown_t *shutdown_req;
  int shutdown_status;
  bool shutdown_done, fin_out;
  weft__txm_t fin;
  weft__timer_t shutdown_timer;
  uint64_t shutdown_seen; /* bytes acknowledged when we last looked */
  weft__dst_t *dsts;

  int err;     /* how it ended or failed; 0: it did not, or in order */
  char *error; /* weft_conn_error */
  weft_qos_t qos;
  char devices[WEFT_LIST_MAX];  /* URL's devices= */
  struct sockaddr_storage bind; /* URL's bind= */
  weft__contact_t *contact;

  weft__croute_t **routes; /* connecting end, best first */
  weft__croute_t **placed; /* the same in the order in which they are wanted: see place_routes */
  weft__croute_t *boot;    /* the first contact's */
  unsigned nroutes;
  uint64_t alone_since; /* no path is left since, 0 = there is one */
  uint64_t asked_at;    /* the peer's wish for more paths was heeded, 0 = never */
  /* since no path is left an address of the peer answered that it does not know us */
  bool no_session;
  char last_cause[160];

  /* accepting end */
  weft__listener_t *lis; /* while HALF or WAITING */
  weft__link_t backlog;
  weft__conn_t *hash_next;
  bool in_table;
  uint64_t boot_key;
  struct sockaddr_storage from; /* who connected */
  struct weft__source *source;  /* counted as half-open there */
};

/* conn.c */
extern const weft__session_ops_t weft__conn_ops;
weft__conn_t *weft__conn_new(weft__core_t *);
void weft__conn_free(weft__conn_t *); /* no session, no handle */
int weft__conn_session(weft__conn_t *, const uint8_t id[16], bool initiator);
void weft__conn_later(weft__conn_t *);
void weft__conn_close_now(weft__conn_t *,
                          weft_conn_close_cb); /* weft_conn_close without its checks */
/* The connection fails: remembers err and the sentence; callbacks follow from `later`. */
void weft__conn_fail(weft__conn_t *, int err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void weft__conn_error(weft__conn_t *, int err, const char *text); /* only remembers */
void weft__conn_opened(weft__conn_t *);
weft__conn_t *weft__conn_of(const weft_conn_t *); /* NULL: not open */
void weft__settings(weft__core_t *, weft__hello_t *, const weft_qos_t *);

/* connect.c */
int weft__contact_start(weft__conn_t *, const weft_addr_t *);
void weft__contact_stop(weft__conn_t *);
void weft__contact_hello(weft__conn_t *); /* the peer's HELLO arrived */

/* routes.c */
int weft__routes_plan(weft__conn_t *); /* after HELLO: all pairs, ranked */
int weft__routes_boot(weft__conn_t *, const weft__cand_t *,
                      const struct sockaddr_storage *dst); /* the first one */
void weft__routes_boot_up(weft__conn_t *, weft__path_t *);
void weft__routes_work(weft__conn_t *); /* dial what should be open and is due */
void weft__routes_path_gone(weft__conn_t *, weft__path_t *, int err, const char *why);
void weft__routes_stop(weft__conn_t *);  /* drop dials and waits */
void weft__routes_asked(weft__conn_t *); /* the peer would like more paths */
void weft__routes_retry(weft__core_t *,
                        bool plan); /* try what is not open at once; plan: with new candidates */
bool weft__routes_satisfied(weft__conn_t *, bool *hopeless); /* the best allowed route is up */
/* How long the loop may spin for it after the last sign of activity; 0: not at all. */
uint64_t weft__spin_for(const weft__conn_t *);
int weft__rank_number(const weft_qos_t *, const weft__cand_t *, bool usable, unsigned order);

/* rescan.c */
void weft__rescan(weft__core_t *); /* the network has changed */

/* events.c */
void weft__event_session(weft__conn_t *, const weft__sev_t *);
void weft__event_writable(weft__conn_t *);
void weft__event_need(weft__conn_t *, const char *detail);

/* recv.c */
void weft__recv_deliver(weft__conn_t *, const weft__rxm_t *);
void weft__recv_eof(weft__conn_t *);
void *weft__recv_alloc(weft__conn_t *, uint64_t size, const void *head, uint32_t headlen);
bool weft__recv_lasts(const weft__conn_t *, const void *dst);
void weft__recv_unalloc(weft__conn_t *, void *dst);
void weft__recv_settle(weft__conn_t *); /* tell what was held back */

/* send.c */
void weft__send_done(weft__conn_t *, weft__txm_t *, int status);
void weft__shutdown_settle(weft__conn_t *);

/* ---- Listeners: listener.c, accept.c ---- */

struct weft__listener {
  weft__handle_t h; /* first */
  weft_listener_t *pub;
  weft__core_t *core;
  weft__link_t link; /* core->listeners */
  weft__later_t later;
  weft_listen_cb listen_cb;
  weft_listener_close_cb close_cb;
  weft__lst_t *lsts[32];
  unsigned nlsts;
  int backlog_max;
  unsigned nwaiting;
  weft__link_t backlog;  /* conns in WAITING */
  weft__conn_t *current; /* inside listen_cb */
  weft_peer_t *peer;     /* what weft_listener_peer shows */
  char devices[WEFT_LIST_MAX];
  weft_addr_t addr;
  bool wildcard;
  uint32_t spin_us; /* its own URL's, with cpu=spin; else 0 */
  int err;
};

extern const weft__lst_cbs_t weft__accept_cbs; /* user: listener, bootstrap */
extern const weft__lst_cbs_t weft__join_cbs;   /* user: crail */
void weft__accept_hello(weft__conn_t *);       /* the peer's HELLO arrived */
void weft__accept_taken(weft__conn_t *);       /* accepted: its source has the place back */
void weft__accept_forget(weft__conn_t *);      /* out of table, backlog and half-open counts */
void weft__accept_leave(
    weft__listener_t *); /* the listener closes: those who wait are turned away */
void weft__tomb_add(weft__conn_t *);
void weft__tombs_free(weft__core_t *);
void weft__half_open_free(weft__core_t *);
void weft__join_listen(weft__core_t *, weft__crail_t *); /* a port for JOINs on this rail */
void weft__joins_listen(
    weft__core_t *); /* on every rail that has none yet, while somebody listens */
void weft__joins_check(weft__core_t *); /* close those ports when nobody can come any more */
void weft__listener_close_now(weft__listener_t *, weft_listener_close_cb);
void weft__listeners_retry(
    weft__core_t *); /* there are new candidates: open what peers could use */

/* ---- Memory: slab.c, msg.c ---- */

/* A copy of a small message on its way out. */
typedef struct weft__node {
  weft__txm_t m;
  struct iovec iov;
  unsigned cls;
  uint8_t data[];
} weft__node_t;

/* owner[1] of a txm says whose it is. */
enum { WEFT__TXM_SEND = 1, WEFT__TXM_NODE = 2, WEFT__TXM_FIN = 3 };

weft__node_t *weft__node_get(weft__core_t *, size_t size); /* NULL: out of memory */
void weft__node_put(weft__core_t *, weft__node_t *);
void weft__nodes_free(weft__core_t *);

struct weft_msg_s {
  const void *data;
  size_t size;
  weft__core_t *core;
  weft_msg_t *next;   /* free lists */
  weft_msg_t *kept;   /* of a view: what retain made of it */
  weft__rbuf_t *rbuf; /* pinned, or of a view: what could be */
  weft__big_t *big;
  void *copy;
  bool user;    /* a view of memory that alloc_cb gave */
  int32_t refs; /* atomic; 0 = a view, valid in the callback */
};

/* Memory for one large message. */
struct weft__big {
  weft__big_t *next;
  weft__core_t *core;
  size_t cap;       /* bytes mapped, with this header */
  uint64_t conn;    /* serial of the connection it served last */
  uint64_t free_ns; /* when it was given back */
  int32_t refs;     /* atomic: the message, the session */
};
enum { WEFT__BIG_HEAD = 4096 };
static inline void *weft__big_data(weft__big_t *b) {
  return (uint8_t *) b + WEFT__BIG_HEAD;
}
weft__big_t *weft__big_get(weft__core_t *, uint64_t conn,
                           size_t size); /* shows no other connection's bytes */
void weft__big_unref(weft__big_t *);     /* any thread */
void weft__msgs_free(weft__core_t *);    /* at the end of the context */

#endif
