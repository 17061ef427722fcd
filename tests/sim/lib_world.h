/* SPDX-License-Identifier: Apache-2.0 */
/* lib_world.h - two session ends in a simulated world, driven by a plan, watched by an oracle.
 *
 * Design notes
 *  - A plan says everything that will be done to a world: links, messages, what the users do, which
 *    faults strike when. It is drawn from a seed (plan_draw) or written by hand (a scenario).
 *  - The owner of an end does what fabric/loop does: opens and joins paths, flushes at the end of a
 *    drain, keeps the timer, answers requests, leaves a tombstone.
 *  - The oracle knows what both users did, so it says of every upcall whether it was right. */
#ifndef WEFT_TESTS_SIM_LIB_WORLD_H
#define WEFT_TESTS_SIM_LIB_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "rail/sim/sim.h"
#include "session/join.h"
#include "session/session.h"
#include "session/wire.h"

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)
#define S  UINT64_C(1000000000)

enum { MAX_MSGS = 256, MAX_SLOTS = 4, MAX_FAULTS = 12, MAX_STOPS = 4, ARENA = 6 << 20 };

/* ---- Plans ---- */

typedef enum {
  FAULT_CUT,     /* a link dies; arg: who is told (bits) */
  FAULT_STALL,   /* a link stalls; arg: directions (bits) */
  FAULT_BLACK,   /* all links stall at once */
  FAULT_STOP,    /* a host stops; arg: which */
  FAULT_FAIL,    /* a path dies at one end; arg: which */
  FAULT_REFUSE,  /* nobody listens on a link */
  FAULT_MIGRATE, /* an operator moves sending; arg: which end */
  FAULT_ABORT,   /* a user aborts; arg: which end */
  FAULT_DARK,    /* all links are cut at once; arg: who is told */
} fault_kind_t;

/* When: at a time, or so long after the nth frame of a type (0xff: any) has left an end. */
typedef struct fault {
  uint64_t after;
  uint8_t frame, from; /* 0: by time */
  uint16_t nth;
  fault_kind_t kind;
  uint8_t link, arg;
  uint64_t length; /* then it heals */
  uint64_t notice, late;
} fault_t;

typedef struct plan_side {
  unsigned n;
  struct {
    uint64_t at;
    uint32_t size;
  } msg[MAX_MSGS];
  uint64_t fin_at;
  uint64_t start_at; /* rx_start */
  unsigned nstops;
  struct {
    uint64_t at, length;
  } stop[MAX_STOPS];
  /* once in so many messages, 0: never */
  unsigned cancel, refuse, keep, reply, stop_in_upcall;
  uint64_t accept_after, release_after, destroy_after;
  uint64_t win_messages, win_bytes, max_message;
  uint64_t slack, epoch;
} plan_side_t;

typedef struct plan {
  uint64_t seed;
  const char *name;
  unsigned nlinks, nslots, first_slot; /* where the hello goes first */
  weft__sim_link_conf_t link[MAX_SLOTS];
  unsigned slot_link[MAX_SLOTS];
  int rank[MAX_SLOTS];
  uint64_t settle[MAX_SLOTS];
  uint32_t interruption_ms, reliability, ack;
  uint64_t peer_timeout, handshake, wait, beat, linger;
  uint64_t backoff, backoff_max, connect_timeout;
  plan_side_t side[2];
  unsigned nfaults;
  fault_t fault[MAX_FAULTS];
  bool hostile;
  unsigned liar, tamper; /* which end, once in so many frames */
  bool may_fail;         /* errors are no violation */
  bool no_migration;     /* nothing happens that would justify one */
  unsigned malloc_fails; /* the nth allocation after the start fails; 0: none */
} plan_t;

/* Kinds of plans, by name. NULL: past the last. */
const char *plan_profile(unsigned i);
/* Draw one; profile NULL: the seed decides. false: no such profile. */
bool plan_draw(plan_t *, uint64_t seed, const char *profile);
/* A quiet world with two links and no messages: where scenarios start. */
void plan_basic(plan_t *, uint64_t seed);
void plan_messages(plan_t *, unsigned side, unsigned n, uint32_t size, uint64_t from, uint64_t gap);
fault_t *plan_fault(plan_t *, fault_kind_t, unsigned link, unsigned arg);

/* ---- Worlds ---- */

typedef struct msg {
  weft__txm_t txm;
  struct iovec iov[3];
  uint8_t *buf;
  uint32_t size;
  uint64_t base;
  enum { MSG_NEW, MSG_QUEUED, MSG_DONE } state;
  bool canceled, refused, delivered, refusal; /* refusal: send said no */
  bool acked;
} msg_t;

typedef struct dst {
  uint8_t *p;
  uint64_t size;
  unsigned idx;
  bool open;
} dst_t;

typedef enum { SLOT_NONE, SLOT_CONNECTING, SLOT_UP, SLOT_CLOSING } slot_state_t;
typedef struct slot {
  struct owner *o;
  slot_state_t state;
  weft__path_t *path;
  uint64_t key, backoff, gen;
  uint32_t join; /* counter of its token */
  bool hello;
} slot_t;

typedef struct world world_t;

typedef struct owner {
  world_t *w;
  unsigned side;
  weft__session_t *s;
  weft__rng_t rng;
  bool dirty, open, ended, eof, gone, released, started, stopped, destroyed, created, aborted,
      failed;
  bool held;     /* messages were held when the session ended */
  bool discards; /* and nobody wanted them */
  bool waiting_accept, working, again, stalled;
  int end_err;
  char end_why[240];
  uint64_t timer_gen, start_gen, life;
  uint8_t id[16], secret[32];
  uint64_t rx_last; /* rx_next when the session was gone */
  slot_t slot[MAX_SLOTS];
  unsigned npaths;
  uint32_t joins;
  uint64_t nolive_since, ended_at, gone_at;
  unsigned upcalls, moved, lost_paths, stalls;
  weft__session_stats_t stats; /* when it was gone */
  /* sending */
  msg_t *msg; /* MAX_MSGS, and the end */
  unsigned n, next, nqueued, nsent;
  bool fin_queued;
  uint8_t *tx_arena;
  size_t tx_used;
  /* receiving */
  unsigned rx_idx, rx_alloc, ndelivered;
  uint8_t *rx_arena;
  size_t rx_used;
  dst_t dst[MAX_MSGS];
  unsigned ndst;
  weft__rbuf_t *kept[64];
  const uint8_t *kept_data[64];
  unsigned kept_idx[64], nkept;
} owner_t;

typedef struct world_stats {
  uint64_t schedules, faults, failed, messages, large, bytes, frames, migrations, replayed, late,
      duplicates, tombstones, refused, canceled, events, violations, stalls;
} world_stats_t;

struct world {
  weft__sim_t *sim;
  plan_t plan;
  owner_t o[2];
  weft__sim_link_t *link[MAX_SLOTS];
  uint64_t limit;     /* virtual time by which everything must be over */
  uint64_t last_heal; /* when the last fault ended; FOREVER while one lasts */
  unsigned faults_open, nfired;
  uint32_t frames[2][256];
  uint8_t last[2][WEFT__HDR]; /* header of the last frame each end sent */
  weft__path_t *last_path[2];
  unsigned migrations_allowed;
  bool tracing, failed_malloc, checked;
  char first[400]; /* the first violation */
  unsigned violations;
  struct liar *liar;
  world_stats_t st;
};

world_t *world_create(void);
void world_destroy(world_t *);
void world_trace(world_t *, bool on);
/* Run a plan to its end. The number of violations; the first one's text is in w->first. */
unsigned world_run(world_t *, const plan_t *);
/* The same in parts: begin, then step until a condition holds (false: time is over), then end. */
void world_begin(world_t *, const plan_t *);
bool world_step(world_t *);
bool world_until(world_t *, bool (*done)(world_t *));
unsigned world_end(world_t *);
void world_violate(world_t *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void world_fault(world_t *, const fault_t *);

static inline owner_t *other(owner_t *o) {
  return &o->w->o[1 - o->side];
}

/* ---- Between the files of this folder ---- */

/* lib_owner.c */
void owner_init(owner_t *, world_t *, unsigned side);
void owner_begin(owner_t *);
void owner_flush(owner_t *);
void owner_request(owner_t *, weft__sim_req_t *);
bool owner_alive(const owner_t *); /* has a session of which something may be asked */

/* lib_user.c */
void user_work(void *owner, uint64_t unused);
void user_stops(void *owner, uint64_t length);
void owner_poke(owner_t *); /* what a user does inside a callback */
void owner_abort(owner_t *, const char *why);

/* lib_oracle.c */
uint8_t *oracle_message(owner_t *, unsigned idx); /* its bytes, fresh */
void oracle_deliver(owner_t *, const weft__rxm_t *);
void oracle_eof(owner_t *);
void *oracle_alloc(owner_t *, uint64_t size, const void *head, uint32_t headlen);
void oracle_unalloc(owner_t *, void *dst);
void oracle_sent(owner_t *, weft__txm_t *, int status);
void oracle_ended(owner_t *, int err, const char *why);
bool oracle_memory(owner_t *, const void *p, size_t len, bool write);
void oracle_unkeep(owner_t *, unsigned i);
void oracle_end(owner_t *);

/* lib_liar.c */
void liar_begin(world_t *);
bool liar_frame(world_t *, weft__path_t *, uint8_t *data, uint32_t *len);
void liar_free(world_t *);

/* lib_malloc.c: make the nth malloc or calloc from now on fail; 0: none. How often it struck. */
void malloc_fail_at(unsigned nth);
unsigned malloc_failures(void);

#endif
