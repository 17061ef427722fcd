/* SPDX-License-Identifier: Apache-2.0 */
/* sim.h - the simulator: the path interface over virtual time, with a seed that decides everything.
 *
 * Design notes
 *  - A world has hosts, and links between two hosts. Paths run over links; whoever owns a host
 *    connects, accepts, and gets the upcalls of path.h, only from weft__sim_step.
 *  - Nothing here knows real time, threads or global state: the same seed and the same calls give
 *    the same world, and weft__sim_hash tells two runs apart.
 *  - Within a path and direction, frames and RMA writes arrive in order. Between paths there is no
 *    order. What an end believes about a path says nothing about the other end: frames arrive there
 *    until it has closed.
 *  - RMA reads its source when a piece lands, not when it was posted, and lands in several pieces:
 *    a source that changed too early, or a destination that was given back too early, is seen.
 *  - A breach of path.h by the code under test is a violation: it is reported by the hook, counted,
 *    and the world goes on as a device would. */
#ifndef WEFT_RAIL_SIM_SIM_H
#define WEFT_RAIL_SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rail/path.h"

#define WEFT__SIM_HOSTS   4u
#define WEFT__SIM_LINKS   8u
#define WEFT__SIM_FOREVER UINT64_MAX

/* ---- Random numbers: one small generator, many independent streams ---- */

typedef struct weft__rng {
  uint64_t state;
} weft__rng_t;

static inline uint64_t weft__rng_next(weft__rng_t *r) { /* splitmix64 */
  uint64_t z = (r->state += 0x9e3779b97f4a7c15u);
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}
/* 0 .. n-1; n > 0. */
static inline uint64_t weft__rng_below(weft__rng_t *r, uint64_t n) {
  return (uint64_t) ((unsigned __int128) weft__rng_next(r) * n >> 64);
}
/* lo .. hi */
static inline uint64_t weft__rng_range(weft__rng_t *r, uint64_t lo, uint64_t hi) {
  return lo + weft__rng_below(r, hi - lo + 1);
}
/* Once in n. */
static inline bool weft__rng_one_in(weft__rng_t *r, uint64_t n) {
  return weft__rng_below(r, n) == 0;
}
/* lo .. hi, every order of magnitude as likely as the others; lo > 0. */
uint64_t weft__rng_log(weft__rng_t *r, uint64_t lo, uint64_t hi);
/* Another stream: its numbers do not depend on how many of this one were used. */
static inline weft__rng_t weft__rng_fork(uint64_t seed, uint64_t stream) {
  weft__rng_t r = {seed ^ stream * 0xd1342543de82ef95u};
  r.state = weft__rng_next(&r);
  return r;
}

/* ---- The world ---- */

typedef struct weft__sim weft__sim_t;
typedef struct weft__sim_link weft__sim_link_t;
typedef struct weft__sim_req weft__sim_req_t;

/* What the code under test is told and asked. Every hook may be NULL. */
typedef struct weft__sim_hooks {
  /* A breach of the path contract, or of a rule below. */
  void (*violation)(void *ctx, const char *text);
  /* Somebody connects to `host`: weft__sim_accept or _reject it, now or later. */
  void (*request)(void *ctx, unsigned host, weft__sim_req_t *);
  /* A frame leaves `host`: may change it, and its length up to WEFT__FRAME_MAX (a lying end).
   * false: it is lost. */
  bool (*frame)(void *ctx, weft__path_t *, uint8_t *data, uint32_t *len);
  /* The source of RMA is about to be read, or its destination written: false forbids it and is a
   * violation. */
  bool (*memory)(void *ctx, unsigned host, const void *p, size_t len, bool write);
  /* One line for every event; asked only while weft__sim_trace is on. */
  void (*trace)(void *ctx, const char *line);
} weft__sim_hooks_t;

/* Memory is kept between runs: create once, reset for every seed. NULL: out of memory. */
weft__sim_t *weft__sim_create(const weft__sim_hooks_t *, void *ctx);
/* Forget everything and start again at time 0. Received buffers that somebody still holds are a
 * violation, paths that are not closed are not: check with weft__sim_quiet first. */
void weft__sim_reset(weft__sim_t *, uint64_t seed);
void weft__sim_destroy(weft__sim_t *);
void weft__sim_trace(weft__sim_t *, bool on);

uint64_t weft__sim_time(const weft__sim_t *);
/* The host's own clock: starts anywhere, runs like the world's, stands while a step goes on. */
const uint64_t *weft__sim_clock(const weft__sim_t *, unsigned host);
weft__rng_t *weft__sim_rng(weft__sim_t *);
uint64_t weft__sim_hash(const weft__sim_t *); /* of everything that happened */
uint64_t weft__sim_events(const weft__sim_t *);
uint64_t weft__sim_violations(const weft__sim_t *);
void weft__sim_violate(weft__sim_t *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void weft__sim_note(weft__sim_t *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void weft__sim_mark(weft__sim_t *, uint64_t what); /* into the hash */
/* No path, no request and no received buffer is left. */
bool weft__sim_quiet(const weft__sim_t *);

/* Do what comes next, and everything for the same host within its slack (one drain of its loop).
 * The host, or WEFT__SIM_HOSTS for an event of the world, or -1: nothing left before `until`. */
int weft__sim_step(weft__sim_t *, uint64_t until);
/* Call fn in a step of this host (WEFT__SIM_HOSTS: of the world, which never stops). */
void weft__sim_at(weft__sim_t *, unsigned host, uint64_t time, void (*fn)(void *arg, uint64_t data),
                  void *arg, uint64_t data);

/* ---- Hosts ---- */

/* Events of this host that are due within so much time of each other are handled in one drain. */
void weft__sim_host_slack(weft__sim_t *, unsigned host, uint64_t slack);
void weft__sim_host_epoch(weft__sim_t *, unsigned host, uint64_t epoch); /* its clock at time 0 */
/* Stopped like a process under SIGSTOP, or in a long callback: nothing of it runs until then. */
void weft__sim_host_stop(weft__sim_t *, unsigned host, uint64_t until);

/* ---- Links ---- */

typedef struct weft__sim_link_conf {
  unsigned host[2];
  uint64_t delay, jitter;     /* one way; each frame: delay + 0..jitter */
  uint64_t ns_per_kib;        /* 1 / bandwidth, 0: infinite */
  weft__path_limits_t lim[2]; /* of the paths at each host */
  unsigned close_slow;        /* once in so many a close takes long (0: never) */
  uint64_t close_max;         /* ... at most so long */
  unsigned close_loses;       /* once in so many a close takes frames with it (0: never) */
  unsigned expose_fails;      /* once in so many expose answers -ENOMEM (0: never) */
  unsigned read_fails;        /* once in so many a read fails, and its path with it (0: never) */
  unsigned sinks_stick;       /* once in so many a sink cannot be closed under a read (0: never) */
  unsigned reads_known; /* once in so many what is opened to reads stays readable: known memory */
  unsigned low;         /* once in so many a receive pool is low (0: never) */
  unsigned kernel;      /* frames that leave their buffer before they arrive */
} weft__sim_link_conf_t;

weft__sim_link_t *weft__sim_link(weft__sim_t *, const weft__sim_link_conf_t *); /* NULL: too many */
unsigned weft__sim_link_index(const weft__sim_link_t *);

/* Kill the paths over it, and refuse new ones (they time out) until healed. A prefix of what is on
 * its way still arrives, up to `late` later; the rest is lost. tell: bit 0 and 1: the link's host 0
 * and 1 get `down` within `notice`. Others may hear of it after the link has healed, or never. */
void weft__sim_link_cut(weft__sim_link_t *, unsigned tell, uint64_t notice, uint64_t late);
/* Nothing arrives any more (bit 0: from host 0 to host 1, bit 1: the other way) until healed, then
 * everything does. */
void weft__sim_link_stall(weft__sim_link_t *, unsigned directions);
void weft__sim_link_heal(weft__sim_link_t *);
bool weft__sim_link_up(const weft__sim_link_t *); /* neither cut nor stalled */
/* Refuse connects (as if nobody listened) or not. */
void weft__sim_link_refuse(weft__sim_link_t *, bool refuse);

/* ---- Paths ---- */

/* Like weft__rail_connect, from the link's host `side` (0, 1). */
int weft__sim_connect(weft__sim_link_t *, unsigned side, const void *blob, size_t len,
                      const weft__path_cbs_t *, void *user, weft__path_t **out);
const void *weft__sim_req_blob(const weft__sim_req_t *, size_t *len);
weft__sim_link_t *weft__sim_req_link(const weft__sim_req_t *);
int weft__sim_accept(weft__sim_req_t *, const void *blob, size_t len, const weft__path_cbs_t *,
                     void *user, weft__path_t **out);
void weft__sim_reject(weft__sim_req_t *, const void *blob, size_t len);

/* An established path between two hosts, without the ceremony: out[0] at the link's host 0. */
void weft__sim_pair(weft__sim_link_t *, weft__path_t *out[2]);
/* Deliver these bytes to the other end as if this end had sent them, after what is on its way. */
void weft__sim_inject(weft__path_t *, const void *frame, uint32_t len);
/* This end hears that the path is dead; the other end does not until this one has closed. */
void weft__sim_fail(weft__path_t *, int err, const char *why);
/* This end may break the rules of credits: it is under test as a liar's victim, not as honest. */
void weft__sim_liar(weft__path_t *);
weft__sim_link_t *weft__sim_path_link(const weft__path_t *);
unsigned weft__sim_path_host(const weft__path_t *);
unsigned weft__sim_path_id(const weft__path_t *); /* the same at both ends; for people */

/* May a device of this host still write to (for the peer's write, or our read), or read, any of
 * these bytes? */
bool weft__sim_exposed(const weft__sim_t *, unsigned host, const void *p, size_t len);
bool weft__sim_reading(const weft__sim_t *, unsigned host, const void *p, size_t len);

#endif
