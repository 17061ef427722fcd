/* SPDX-License-Identifier: Apache-2.0 */
/* rails.h - what this machine has (candidates), and what this context has opened of it (rails).
 *
 * Design notes
 *  - One scan serves the whole process while it is fresh; a list is shared by counting and never
 *    changed.
 *  - A rail is opened on the worker when somebody first wants it, and stays until the context
 *    closes. Who wants it while it opens waits in line; who wants it after it failed tries again,
 *    at most once a second. */
#ifndef WEFT_LOOP_RAILS_H
#define WEFT_LOOP_RAILS_H

#include "loop/addr.h"
#include "loop/loop.h"

/* ---- Candidates: cands.c ---- */

typedef struct weft__cands {
  int32_t refs; /* atomic */
  uint64_t at;  /* when it was taken */
  char providers[WEFT_LIST_MAX], devices[WEFT_LIST_MAX];
  weft__cand_list_t list;
} weft__cands_t;

/* [worker] The process's list, scanned again when it is older than max_age_ns. NULL and *err on
 * failure. */
weft__cands_t *weft__cands_get(const char *providers, const char *devices, uint64_t max_age_ns,
                               int *err);
weft__cands_t *weft__cands_ref(weft__cands_t *);
void weft__cands_unref(weft__cands_t *);
void weft__cands_forget(void); /* the network has changed. Any thread */
void weft__cands_forked(void); /* in a forked child: start afresh */
static inline bool weft__cand_usable(const weft__cand_t *c) {
  return c->addr.ss_family != 0 && c->why == WEFT_WHY_OK;
}

/* What the selector sees of a candidate, `local` being its address as text. candidates.c */
struct weft__cand_view;
void weft__cand_view_of(const weft__cand_t *, const char *local, struct weft__cand_view *);

/* ---- Rails: rails.c ---- */

typedef struct weft__waiter {
  weft__link_t link;
  void (*cb)(struct weft__waiter *,
             weft__crail_t *); /* open or failed: see state. Never inside weft__rail_want */
} weft__waiter_t;

typedef enum { WEFT__R_OPENING, WEFT__R_OPEN, WEFT__R_FAILED, WEFT__R_CLOSED } weft__rstate_t;

struct weft__crail {
  weft__core_t *core;
  weft__link_t link; /* core->rails */
  weft__rstate_t state;
  weft__cand_t cand; /* without info */
  weft__rail_t *rail;
  weft__link_t waiters;
  weft__later_t tell; /* waiters, of what became known inside a call of the user */
  weft__job_t job;
  weft__cands_t *cands; /* while opening: owns cand.info */
  uv_poll_t poll;
  bool polling, fired;
  bool watched; /* by the loop, through poll */
  bool removed; /* its device was: never open again in this process */
  int err;
  char why[200];
  uint64_t failed_at;
  weft__lst_t *join;       /* listens for JOINs */
  struct weft__gate *gate; /* mem.c */
};

/* The rail of this candidate, opened if need be; the waiter is called later, once. NULL: -ENOMEM or
 * the worker's error in *err, and the waiter is not called. */
weft__crail_t *weft__rail_want(weft__core_t *, const weft__cand_t *, weft__cands_t *,
                               weft__waiter_t *, int *err);
void weft__rail_unwant(weft__waiter_t *);
weft__crail_t *weft__rail_find(weft__core_t *, const weft__cand_t *);
/* Open these on the worker and wait; for weft_listen, so nobody is told inside it. Returns how many
 * of them are open then. */
unsigned weft__rails_open_now(weft__core_t *, weft__cands_t *, const weft__cand_t *const *,
                              unsigned n, char *why, size_t len);
void weft__rails_close(weft__core_t *); /* all; core->nrails counts them down */
/* Shall the loop watch the fds of all open rails? 0, or a negative errno when some are not. */
int weft__rails_watch(weft__core_t *, bool);
/* The RDMA device goes, and the system waits until nobody has it open: its paths die, its rails close
 * as soon as the last of them is gone. `why`: "it was removed". May be told several times. */
void weft__device_removed(weft__core_t *, const char *device, const char *why);
/* The same, when only one of its rails is known. Others than RDMA's are left alone. */
void weft__rail_removed(weft__core_t *, const weft__rail_t *, const char *why);
/* weft__rail_heard_since over all rails, at most a tenth of a second old. */
uint64_t weft__rails_heard_since(weft__core_t *);
/* The rail whose own address is the path's local one; NULL: none. A listener on all addresses takes
 * peers on every device, so it need not be the rail that the path belongs to. */
const weft__crail_t *weft__crail_of(weft__core_t *, const weft__path_t *);
/* Which device does this local address belong to, for people? */
const char *weft__device_of(weft__core_t *, const weft__path_t *);

/* ---- Changes of the network: netmon.c ---- */

void weft__netmon_start(weft__core_t *); /* once; without it only the rails' own errors tell */
void weft__netmon_stop(weft__core_t *);
/* How old a list of candidates may be for this context; starts the watch. While changes are told a
 * list is good for ever, if it was taken after the watch had begun. */
uint64_t weft__cands_max_age(weft__core_t *);
weft__ifs_t *weft__netmon_ifs(weft__core_t *); /* own addresses, fresh enough; may be NULL */
/* Something is gone: every path that uses it dies, told by the next drain. `device` NULL: any; addr
 * NULL: any. Once for each path, however many say so. */
void weft__net_lost(weft__core_t *, const char *device, const struct sockaddr_storage *addr,
                    const char *why);
void weft__net_addrs(weft__core_t *,
                     const char *device); /* does it have the addresses of its rails still? */
void weft__net_back(weft__core_t *);      /* something came back: look again, try again */

/* ---- Events of RDMA devices: devmon.c ---- */

void weft__devmon_listen(weft__core_t *); /* is a device taken away, whoever uses it? Once */
void weft__devmon_start(weft__core_t *,
                        const weft__cand_t *); /* nothing to do: not RDMA, or watched already */
void weft__devmon_stop(weft__core_t *, const char *device); /* NULL: all */
/* A rail of it is about to be opened; it was closed by weft__rail_close, or did not open. Until then
 * the process keeps the device open, removed or not. */
void weft__devmon_use(const weft__cand_t *);
void weft__devmon_unuse(weft__core_t *, const weft__cand_t *, bool removed);

#endif
