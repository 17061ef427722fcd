/* SPDX-License-Identifier: Apache-2.0 */
/* loop.h - the context: what one weft_t owns on one libuv loop, and the services the files of this
 * folder share.
 *
 * Design notes
 *  - Everything here belongs to the loop's thread, except what says "any thread" and what a job
 *    carries to the worker.
 *  - The core outlives the user's weft_t handles: connections that linger, rails and jobs are
 *    counted, and weft_close's callback fires when the counts are zero. What a hung provider still
 *    holds by then is leaked on purpose and logged.
 *  - No callback of the user is ever made from inside a call of the user. What a call finds out
 *    goes to `later`, which runs in prepare and check. A call may come after both (a uv_prepare of
 *    the user that runs after ours): see progress.c.
 *  - Our uv handles are unreferenced. One of them, the async, stands for all open public handles:
 *    it is referenced while at least one of them is open and not weft_unref'd. */
#ifndef WEFT_LOOP_LOOP_H
#define WEFT_LOOP_LOOP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/fault.h"
#include "base/log.h"
#include "rail/path.h"
#include "weft.h"

typedef struct weft__core weft__core_t;
typedef struct weft__conn weft__conn_t;
typedef struct weft__listener weft__listener_t;
typedef struct weft__worker weft__worker_t;
typedef struct weft__crail weft__crail_t;
typedef struct weft__dial weft__dial_t;
typedef struct weft__big weft__big_t;

#define WEFT__MS 1000000ull /* nanoseconds */
#define WEFT__S  1000000000ull

#define weft__container(ptr, type, field) ((type *) ((char *) (ptr) -offsetof(type, field)))

/* ---- Lists: a ring with a head of its own ---- */

typedef struct weft__link {
  struct weft__link *next, *prev;
} weft__link_t;
static inline void weft__list_init(weft__link_t *l) {
  l->next = l->prev = l;
}
static inline bool weft__list_empty(const weft__link_t *l) {
  return l->next == l;
}
static inline void weft__list_add(weft__link_t *head, weft__link_t *l) { /* at the tail */
  l->prev = head->prev;
  l->next = head;
  head->prev->next = l;
  head->prev = l;
}
static inline void weft__list_del(weft__link_t *l) { /* may be called again */
  l->prev->next = l->next;
  l->next->prev = l->prev;
  weft__list_init(l);
}

/* ---- Timers: timers.c ---- */

/* A heap of deadlines behind one uv_timer. Moving a deadline later costs a store: it fires early
 * and is set again. */
typedef struct weft__timer {
  uint64_t due, want;
  uint32_t pos; /* 1 + index in the heap, 0 = not set */
  void (*fire)(struct weft__timer *);
} weft__timer_t;
typedef struct weft__heap {
  weft__timer_t **v;
  uint32_t n, cap;
} weft__heap_t;

int weft__heap_set(weft__heap_t *, weft__timer_t *, uint64_t when); /* 0 or -ENOMEM */
void weft__heap_stop(weft__heap_t *, weft__timer_t *);
uint64_t weft__heap_next(const weft__heap_t *); /* UINT64_MAX: nothing is set */
/* Takes one that is due out of the heap, or answers NULL. */
weft__timer_t *weft__heap_due(weft__heap_t *, uint64_t now);
void weft__heap_free(weft__heap_t *);

/* ---- Work for later ---- */

typedef struct weft__later {
  struct weft__later *next;
  void (*run)(struct weft__later *);
  bool queued;
} weft__later_t;

/* ---- Public handles ---- */

enum {
  WEFT__H_LISTENER = 0x57464c31,
  WEFT__H_CONN = 0x57464331
}; /* reserved[0] of an open handle */

typedef struct weft__handle {
  weft__core_t *core;
  weft__link_t link; /* core->handles */
  uint32_t kind;     /* WEFT__H_* */
  bool ref, open, closing;
  /* closing because weft_close was called: the user's own close may still give his callback */
  bool by_context;
} weft__handle_t;

/* ---- The core ---- */

typedef enum {
  WEFT__C_OPEN,
  WEFT__C_CLOSING,
  WEFT__C_RAILS,
  WEFT__C_UV,
  WEFT__C_CLOSED
} weft__cstate_t;

struct weft__core {
  weft_t *pub;
  uv_loop_t *loop;
  uv_loop_t own; /* when private_loop */
  bool private_loop, abandoned;
  weft_opts_t opts;
  uint32_t fork_gen;
  weft__cstate_t state;
  weft_close_cb close_cb;
  uint8_t instance[16];
  char name[64];

  uv_async_t async;
  uv_prepare_t prepare;
  uv_check_t check;
  uv_idle_t idle;
  uv_timer_t timer;
  unsigned nuv;  /* uv handles not yet closed */
  unsigned nref; /* open public handles that hold the loop */

  /* time */
  uint64_t now_ns;
  weft__heap_t timers;
  uint64_t timer_armed; /* what the uv_timer waits for, UINT64_MAX = not started */

  /* progress.c */
  bool in_turn; /* ours is on the stack, and looks at what is left before the loop may sleep */
  bool fired, idling;
  weft__conn_t *dirty_head, *dirty_tail;
  weft__later_t *later_head, *later_tail;
  uint64_t spin_ns, active_ns; /* longest spin, 0 = never; last sign of activity */
  uint64_t spun_from, spin_off_until, spin_off_ns;
  long spun_nivcsw, nivcsw_max;
  uint64_t spin_left;        /* when a spin that goes on gave the loop its turn, 0 = none does */
  uint64_t peek_ns, turn_ns; /* what a look at the fds costs, what such a turn, 0 = unknown */
  int wake;                  /* atomic: something waits in the async callback */

  /* worker.c: any thread under its own lock */
  weft__env_t env;
  weft__worker_t *worker;
  unsigned njobs; /* given to the worker and not yet done() or late() */

  /* posts: any thread, under post_lock */
  pthread_mutex_t post_lock;
  weft_post_t *post_head, *post_tail;
  bool post_closed;

  /* rails.c */
  weft__link_t rails;
  unsigned nrails, opening;
  uint64_t heard_since,
      heard_until; /* what weft__rails_heard_since found, and how long it is good for */
  struct weft__cands *cands;

  /* netmon.c */
  struct weft__netmon *netmon;
  bool netmon_on, rescanning, rescan_again;
  uint64_t netmon_since;
  struct weft__ifs *ifs;

  struct weft__uevents *uevents;
  weft__link_t devmons;  /* devmon.c */
  weft__timer_t removal; /* rails.c: rails of removed devices are let go */

  weft__link_t handles; /* public handles, open or closing */
  weft__link_t conns;   /* every connection, also those that linger */
  weft__link_t listeners;
  weft__link_t dials;
  unsigned nconns, ndials, nlisteners;
  uint64_t conn_serial;

  /* accept.c */
  weft__conn_t **table; /* accepted sessions by id */
  unsigned table_cap, table_n;
  struct weft__tomb *tombs_head, *tombs_tail, **tomb_table;
  unsigned tomb_cap, ntombs;
  weft__timer_t tomb_timer;
  struct weft__source **sources;
  unsigned half_open;
  uint16_t port_low, port_high; /* for the ports of joins */
  bool offers_on;               /* somebody listened: every rail gets a port for joins */

  /* memory */
  struct weft__node *nodes[4]; /* slab.c: free copies of small messages */
  void *slabs;
  weft_msg_t *msg_free;
  weft_msg_t *msg_back; /* atomic stack: released on any thread */
  void *msg_slabs;
  weft__big_t *big_free;
  weft__big_t *big_back;  /* atomic stack */
  weft__big_t *big_limbo; /* oldest first: without pages, until every path is past it */
  weft__big_t *big_limbo_tail;
  size_t big_cached;
  uint32_t msg_out; /* atomic: retained messages */
  weft__link_t mems;
  weft_mem_t *mem_back; /* atomic stack: freed on any thread */

  weft__later_t close_later;
  weft__timer_t close_timer;
  weft__core_t *left_next; /* abandoned ones */
  uint8_t rnd[512];
  unsigned rnd_left;
};

/* ---- context.c ---- */
static inline weft__core_t *weft__core_of(const weft_t *w) {
  return w ? (weft__core_t *) w->priv : NULL;
}
void weft__later(weft__core_t *, weft__later_t *);
void weft__handle_open(weft__core_t *, weft__handle_t *, uint32_t kind);
void weft__handle_closed(weft__handle_t *);   /* its memory is the user's again */
void weft__core_check_closed(weft__core_t *); /* something that weft_close waits for has ended */
void weft__random(weft__core_t *, void *out, size_t len);
void weft__random_once(void *out, size_t len); /* without a core */
uint64_t weft__clock_ns(void);
static inline uint64_t weft__refresh(weft__core_t *core) {
  return core->now_ns = weft__clock_ns();
}
void weft__timer_set(weft__core_t *, weft__timer_t *, uint64_t when);
void weft__timer_stop(weft__core_t *, weft__timer_t *);

/* ---- fork.c ---- */
extern uint32_t
    weft__fork_gen; /* how many forks lie between the process that loaded us and this one */
void weft__fork_init(void);
static inline bool weft__forked(const weft__core_t *core) {
  return core->fork_gen != weft__fork_gen;
}

/* ---- signals.c ---- */
void weft__signals_restore(void);

/* ---- errors.c ---- */
int weft__err_public(int err); /* any code of ours inside as a code of weft.h */
const char *weft__err_text(int err, char *buf,
                           size_t len); /* "connection refused (ECONNREFUSED)" */

/* ---- worker.c ---- */
typedef enum weft__work_how {
  WEFT__WORK_LAST,   /* after all others */
  WEFT__WORK_FIRST,  /* before those that wait */
  WEFT__WORK_NAME,   /* on a thread for host names */
  WEFT__WORK_MEMORY, /* on the thread for large memory */
  WEFT__WORK_PEER,   /* on a thread for what waits for a peer */
} weft__work_how_t;
int weft__work(weft__core_t *,
               weft__job_t *); /* 0, or -EAGAIN, -ENOMEM, -ECANCELED: done() is not called */
int weft__work_name(weft__core_t *, weft__job_t *);   /* the same, for host names */
int weft__work_memory(weft__core_t *, weft__job_t *); /* the same, for large memory, in order */
int weft__work_peer(weft__core_t *, weft__job_t *);   /* the same, for what waits for a peer */
/* Run it and wait; done() is not called, neither this one's nor any other's. -ETIMEDOUT: it still
 * runs, and late() is called as done() would be when it ends. */
int weft__work_wait(weft__core_t *, weft__job_t *, weft__work_how_t, uint64_t timeout_ns,
                    void (*late)(weft__job_t *));
void weft__worker_reap(weft__core_t *); /* done() of everything that has run */
bool weft__worker_take(
    weft__core_t *, weft__job_t *); /* it has run: done() will not be called. false: it has not */
void weft__worker_leave(
    weft__core_t *); /* the core goes; true results of what still runs are dropped */
bool weft__worker_busy(weft__core_t *);

/* ---- progress.c ---- */
int weft__progress_init(weft__core_t *);
void weft__turn(weft__core_t *);   /* flush what is dirty, run what is for later */
void weft__settle(weft__core_t *); /* at the end of weft_process: turn, arm */
void weft__dirty(weft__conn_t *);
void weft__stay_awake(weft__core_t *); /* the loop may not sleep before the next prepare */
void weft__undirty(weft__conn_t *);
void weft__spin_update(weft__core_t *);
/* What something costs, given what was known of it (0: nothing) and what was seen now: the least of
 * late, as one that was interrupted says little. */
uint64_t weft__price(uint64_t known, uint64_t seen);
/* How long to spin until something of this price is due. ns */
uint64_t weft__spin_between(uint64_t least, uint64_t price);
void weft__wake(weft__core_t *); /* any thread */

/* ---- mem.c ---- */
void weft__mem_rail_up(weft__core_t *, weft__crail_t *);
void weft__mem_rail_down(weft__core_t *, weft__crail_t *);
void weft__mem_reap(weft__core_t *);
void weft__mems_close(weft__core_t *);

/* ---- posts ---- */
void weft__posts_run(weft__core_t *, int status);

#endif
