/* SPDX-License-Identifier: Apache-2.0 */
/* failover.c - the kill rig: cut one of two links again and again under load; nothing lost, nothing
 * twice. Mixed sizes from 64 B to 4 MiB, both ways over 50 connections, every message numbered and
 * checksummed. */
#include "lib_peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ABOUT                                                                                      \
  "failover - 50 connections over two veth pairs, one of which is cut while the other is up,\n"    \
  "alternately and from both ends. --rounds N is the number of cuts; without it as many as go\n"   \
  "into 35 s; --full makes 1,000 (about 15 min). Bound: 0 messages lost, duplicated, reordered,\n" \
  "corrupted or not acknowledged at the end. Needs root or user namespaces."
#define DEFAULT_S 35
#define FULL_CUTS 1000

int main(int argc, char **argv) {
  bench_args_t args = {.rounds = BENCH_MAX_ROUNDS, .seconds = 0.25};
  unsigned deflt = args.rounds;
  bench_begin(&args, argc, argv, ABOUT);
  unsigned cuts = args.full ? FULL_CUTS : args.rounds;
  peer_config_t config = {.conns = 50, .mixed = 1, .window = 4, .net = 1};
  peer_rig_t rig;
  peer_start(&rig, &config);

  uint64_t start = perf_now(), slowest = 0;
  unsigned done = 0, bare = 0;
  srand(1);
  for (; done < cuts; done++) {
    if (!args.full && cuts == deflt && perf_now() - start > DEFAULT_S * 1000000000ull) break;
    unsigned pair = done & 1;
    bench_side end = (bench_side) (done >> 1 & 1);
    uint64_t t = perf_now();
    bare += !peer_wait_standby(&rig, 3000);
    t = perf_now() - t;
    slowest = t > slowest ? t : slowest;
    usleep((useconds_t) (rand() % 50000)); /* meet the traffic at any moment */
    bench_net_link(&rig.net, end, pair, 0);
    usleep((useconds_t) (args.seconds * (0.5 + (double) rand() / RAND_MAX) * 1e6));
    bench_net_link(&rig.net, end, pair, 1);
    if (args.verbose)
      printf("cut %u: pair %u from the %s; standby was back after %.0f ms\n", done + 1, pair,
             end ? "server" : "client", (double) t / 1e6);
    peer_check(&rig);
  }
  double took = (double) (perf_now() - start) / 1e9;
  uint64_t faults = peer_finish(&rig);
  printf("%u cuts in %.0f s; the standby was back within %.0f ms, %u times not within 3 s\n", done,
         took, (double) slowest / 1e6, bare);
  bench_at_most("failover_faults", (double) faults, "messages", 0);
  bench_at_least("failover_cuts", done, "cuts", args.full ? FULL_CUTS : 10);
  return bench_end();
}
