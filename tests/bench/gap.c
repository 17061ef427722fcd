/* SPDX-License-Identifier: Apache-2.0 */
/* gap.c - how long nothing arrives when a link is cut: from the cut to the first new small message.
 * A message counts as new when it was sent after the cut was complete; each connection and
 * direction is a sample. */
#include "lib_peer.h"

#include <stdio.h>
#include <unistd.h>

#define ABOUT                                                                                      \
  "gap - 64 B messages every millisecond both ways over 16 connections; the link that carries\n"   \
  "them is set down (the system reports it), or falls silent (a wrong neighbour entry on both\n"   \
  "sides; interruption=1s). --rounds N cuts of each kind; --full makes 100.\n"                     \
  "Bounds: p99 under 100 ms when it is reported, under 2 s when it is not. Needs root or user\n"   \
  "namespaces."
#define CONNS 16

/* Both directions of all connections usually sit on one pair: cut the one that carries most. */
static unsigned busy_pair(const peer_rig_t *rig) {
  const volatile peer_side_t *side = rig->shared->side;
  return __builtin_popcountll(side[0].on_pair) + __builtin_popcountll(side[1].on_pair) > CONNS;
}

static void run(int silent, const bench_args_t *args) {
  static const char *const name[] = {"gap_reported", "gap_silent"};
  peer_config_t config = {
      .conns = CONNS, .window = 4096, .pace_ms = 1, .net = 1, .needs = "interruption=1s"};
  unsigned cuts = args->full ? 100 : args->rounds, limit = silent ? 10000 : 5000;
  int missing = 0, bare = 0;
  peer_rig_t rig;
  static perf_hist_t gaps;
  peer_start(&rig, &config);
  for (unsigned i = 0; i < cuts; i++) {
    bare += !peer_wait_standby(&rig, 10000);
    usleep(60000 + i * 7919 % 40000);
    uint64_t t = perf_now();
    missing += peer_cut(&rig, silent, (bench_side) (i & 1), busy_pair(&rig), limit);
    if (args->verbose)
      printf("%s, cut %u: all moved after %.0f ms\n", name[silent], i + 1,
             (double) (perf_now() - t) / 1e6);
    peer_check(&rig);
  }
  peer_gaps(&rig, &gaps);
  uint64_t faults = peer_finish(&rig);
  printf("%s: %u cuts, %lu gaps: p50 %.1f ms  p99 %.1f ms  max %.1f ms; %d never ended, "
         "%d cuts without a standby\n",
         name[silent], cuts, (unsigned long) gaps.count, perf_hist_at(&gaps, 50) / 1e6,
         perf_hist_at(&gaps, 99) / 1e6, (double) gaps.max / 1e6, missing, bare);
  double p99 = missing || gaps.count == 0 ? limit : perf_hist_at(&gaps, 99) / 1e6;
  bench_at_most(name[silent], p99, "ms", silent ? 2000 : 100);
  bench_at_most(silent ? "gap_silent_faults" : "gap_reported_faults", (double) faults, "messages",
                0);
}

int main(int argc, char **argv) {
  bench_args_t args = {.rounds = 10, .seconds = 1};
  bench_begin(&args, argc, argv, ABOUT);
  run(0, &args);
  run(1, &args);
  return bench_end();
}
