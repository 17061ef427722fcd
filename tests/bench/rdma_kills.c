/* SPDX-License-Identifier: Apache-2.0 */
/* rdma_kills.c - the kill rig of RDMA: paths die in mixed ways under load, again and again; nothing
 * lost, nothing twice. Mixed sizes from 64 B to 4 MiB, both ways, numbered and checksummed. */
#include "lib_death.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ABOUT                                                                                      \
  "rdma_kills - two processes in a guest of tests/vm, over soft RoCE or soft iWARP with tcp to\n"  \
  "go on over. Links go down, addresses and devices are removed, packets vanish, processes\n"      \
  "stop, at random moments; what ends a device ends a pair of processes, and the next begin.\n"    \
  "--rounds N is the number of kills (10), --full makes 50. Bound: 0 messages lost,\n"             \
  "duplicated, reordered, corrupted or not acknowledged at the end."
#define SLICE      10
#define FULL       50
#define PER_PAIR   3 /* kills of one pair of processes: the last may end its devices */
#define DELETE_MS  10000
#define STOPPED_US 1500000
#define CONNS      6

static void stop(peer_rig_t *rig) {
  pid_t pid = rig->child[rand() & 1].pid;
  kill(pid, SIGSTOP);
  usleep(STOPPED_US);
  kill(pid, SIGCONT);
}

static void lasting(peer_rig_t *rig, const death_kind_t *kind) {
  death_kill(kind, DELETE_MS);
  if (!peer_wait_pair(rig, 1, kind->found_ms * DEATH_SLOW))
    bench_die("%s: not all is over tcp in time", kind->name);
}

static const death_kind_t *pick(int returns) {
  for (;;) {
    const death_kind_t *kind = &death_kinds[(unsigned) rand() % death_kinds_n];
    if (!death_lets_go(kind)) continue;
    if (!death_returns(kind) == !returns) return kind;
  }
}

int main(int argc, char **argv) {
  bench_args_t args = {.rounds = SLICE, .seconds = 0.3};
  bench_begin(&args, argc, argv, ABOUT);
  unsigned kills = args.full ? FULL : args.rounds, done = 0, pairs = 0;
  peer_config_t config = {.conns = CONNS, .mixed = 1, .window = 3};
  uint64_t faults = 0, start = perf_now();
  death_config(&config);
  srand(1);
  while (done < kills) {
    peer_rig_t rig;
    peer_start(&rig, &config);
    pairs++;
    for (unsigned i = 0; i < PER_PAIR && done < kills; i++, done++) {
      int last = i == PER_PAIR - 1 || done == kills - 1;
      if (!peer_wait_pair(&rig, 0, 4000 * DEATH_SLOW)) bench_die("RDMA is not used again");
      usleep((useconds_t) (rand() % 300000)); /* meet the traffic at any moment */
      if (!last && rand() % 5 == 0) {
        if (args.verbose) printf("kill %u: stopped\n", done + 1);
        stop(&rig);
        peer_check(&rig);
        continue;
      }
      const death_kind_t *kind = pick(!last);
      if (args.verbose) printf("kill %u: %s\n", done + 1, kind->name);
      lasting(&rig, kind);
      usleep((useconds_t) (args.seconds * rand() / RAND_MAX * 1e6));
      if (!last) death_heal();
    }
    faults += peer_finish(&rig);
    for (int i = 0; i < 2; i++) faults += rig.exit[i] != 0;
    death_remake();
  }
  printf("%u kills of %u pairs of processes in %.0f s\n", done, pairs,
         (double) (perf_now() - start) / 1e9);
  bench_at_least("rdma_kills", done, "kills", args.full ? FULL : args.rounds);
  bench_at_most("rdma_kill_faults", (double) faults, "messages", 0);
  return bench_end();
}
