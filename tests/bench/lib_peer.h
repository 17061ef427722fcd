/* SPDX-License-Identifier: Apache-2.0 */
/* lib_peer.h - two processes that exchange numbered, checksummed messages over many connections in
 * both directions, and a third one, the bench, that cuts, stops and watches them through shared
 * memory.
 *
 * Design notes
 * - Every message carries connection, direction, sequence number, size and a checksum over all of
 *   it. The receiver knows which number must come next: lower is a duplicate, higher is a loss or
 *   a reordering, told apart by whether the missing one comes later.
 * - At the end both sides shut down; then what one side sent must be what the other received, per
 *   connection.
 * - Each word of shared memory has one writer. */
#ifndef WEFT_LIB_PEER_H
#define WEFT_LIB_PEER_H

#include "lib_bench.h"
#include "lib_net.h"

#define PEER_MAX_CONNS   63
#define PEER_MAX_SAMPLES 65536

typedef struct peer_config_s {
  unsigned conns;
  int mixed;         /* 64 B to 4 MiB, else 64 B */
  size_t size;       /* all of this size, 0: as `mixed` says */
  unsigned window;   /* messages in flight per connection and direction */
  unsigned pace_ms;  /* a message per connection every so often; 0: as fast as the window allows */
  const char *needs; /* appended to both URLs: "interruption=1s" */
  int net;           /* over lib_net's two pairs, else loopback */
  /* or over a network that stands already: where the server listens ("10.9.2.1"), and what each
   * side may use; each then belongs to its own bench_side. NULL: as `net` says */
  const char *host, *devices[2];
  const char *environment[2][4]; /* "NAME=value" of each side, NULL after the last */
  unsigned slow; /* everything takes so many times as long as on a machine; 0: as long */
  void (*opening)(void *arg), *opening_arg; /* called while the connections are being made */
} peer_config_t;

typedef struct peer_side_s { /* written by the side itself */
  uint64_t sent[PEER_MAX_CONNS], received[PEER_MAX_CONNS];
  uint64_t bytes;
  uint64_t lost, duplicated, reordered, corrupted; /* as the receiver sees it */
  uint32_t connected;                              /* connections that are open */
  uint32_t broken;                                 /* connections that ended in an error */
  uint32_t finished; /* connections that have shut down and seen UV_EOF */
  uint64_t on_pair;  /* a bit per connection that sends over 10.9.2.0/24, every 20 ms */
  uint32_t standby;  /* connections with at least two live paths, every 20 ms */
  uint64_t migrations, path_ups, path_downs, stalls, backs;
  uint64_t replayed, duplicates, late_frames, max_gap_ns; /* sums and maximum over weft_conn_info */
  uint64_t samples;                                       /* gaps: see cut */
  uint32_t sample_us[PEER_MAX_SAMPLES];
  uint32_t answered; /* the last `ask` that a verdict of some connection fits */
  char error[256];   /* the first one */
} peer_side_t;

typedef struct peer_shared_s {
  peer_config_t config;
  char url[128];
  uint32_t stop;       /* stop sending, shut down */
  uint32_t cut;        /* number of the cut; the fields below are set before it is raised */
  uint64_t cut_who[2]; /* per sending side, a bit per connection that used the cut pair */
  uint64_t cut_begin;  /* just before the cut was made: gaps count from here */
  uint64_t cut_end;    /* the cut was complete: only messages sent after this moment count */
  uint32_t block_side; /* 1 + the side whose next receive callback blocks */
  uint32_t block_ms;
  char asked[64]; /* words, set before `ask` is raised: does any verdict have them? */
  uint32_t ask;
  peer_side_t side[2];
} peer_shared_t;

typedef struct peer_rig_s {
  peer_shared_t *shared;
  bench_child_t child[2];
  bench_net_t net;
  int exit[2]; /* after peer_finish: 128 + 9: it did not close within 5 s (times slow) */
} peer_rig_t;

/* Start both processes and wait until all connections are open, with a standby each; dies
 * otherwise. */
void peer_start(peer_rig_t *rig, const peer_config_t *config);
/* Wait until each connection has a standby on both sides; 0 when that took longer than `ms`. */
int peer_wait_standby(peer_rig_t *rig, unsigned ms);
/* Wait until on both sides all connections send over pair `pair` of 10.9.2.0/24 (1) or over another
 * (0); 0 when that took longer than `ms`. */
int peer_wait_pair(peer_rig_t *rig, unsigned pair, unsigned ms);
/* Wait until every connection has got `n` more messages on both sides; 0: not within `ms`. */
int peer_wait_progress(peer_rig_t *rig, unsigned n, unsigned ms);
/* Wait until a verdict of a connection of `side` has these words; 0: none has, within `ms`. */
int peer_wait_verdict(peer_rig_t *rig, bench_side side, const char *words, unsigned ms);
/* Dies when a side has died or a connection is broken. */
void peer_check(peer_rig_t *rig);
/* Stop sending, shut down, compare what was sent with what was received. Returns the number of
 * faults of all kinds and prints them. */
uint64_t peer_finish(peer_rig_t *rig);
/* Cut a pair, wait until every connection and direction that used it has delivered a new message,
 * at most wait_ms, and heal it. Reported (the link of `end` set down) or silent. Returns how many
 * delivered nothing in that time. */
int peer_cut(peer_rig_t *rig, int silent, bench_side end, unsigned pair, unsigned wait_ms);
/* The gaps of the cuts so far, both sides, as a histogram in nanoseconds. */
void peer_gaps(const peer_rig_t *rig, perf_hist_t *out);

#endif
