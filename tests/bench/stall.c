/* SPDX-License-Identifier: Apache-2.0 */
/* stall.c - a peer that stands still is not a broken path: SIGSTOP for 5 s, a callback that blocks
 * for 3 s. Nothing may migrate, nothing may be lost, and the waiting side should say that its peer
 * is silent. */
#include "lib_peer.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define ABOUT                                                                                      \
  "stall - 64 B messages both ways over 8 connections with a standby each (two veth pairs,\n"      \
  "interruption=1s). The server is stopped for 5 s, then the client; then a receive callback of\n" \
  "each blocks for 3 s. Bounds: 0 migrations, 0 faults. Needs root or user namespaces."

static uint64_t moved(const peer_rig_t *rig) {
  const volatile peer_side_t *side = rig->shared->side;
  return side[0].migrations + side[1].migrations;
}

static void report(const peer_rig_t *rig, const char *what, uint64_t before) {
  const volatile peer_side_t *side = rig->shared->side;
  printf("%-32s %lu migrations; so far %lu paths lost, told of a silent peer %lu + %lu times\n",
         what, (unsigned long) (moved(rig) - before),
         (unsigned long) (side[0].path_downs + side[1].path_downs), (unsigned long) side[0].stalls,
         (unsigned long) side[1].stalls);
}

int main(int argc, char **argv) {
  bench_args_t args = {.rounds = 1, .seconds = 5};
  bench_begin(&args, argc, argv, ABOUT);
  peer_config_t config = {
      .conns = 8, .window = 64, .pace_ms = 1, .net = 1, .needs = "interruption=1s"};
  static const char *const name[] = {"client", "server"};
  peer_rig_t rig;
  peer_start(&rig, &config);
  sleep(1);
  char what[64];
  for (unsigned r = 0; r < args.rounds; r++) {
    for (int side = 1; side >= 0; side--) {
      uint64_t before = moved(&rig);
      kill(rig.child[side].pid, SIGSTOP);
      usleep((useconds_t) (args.seconds * 1e6));
      kill(rig.child[side].pid, SIGCONT);
      sleep(2);
      peer_check(&rig);
      snprintf(what, sizeof(what), "%s stopped for %g s:", name[side], args.seconds);
      report(&rig, what, before);
    }
    for (int side = 1; side >= 0; side--) {
      uint64_t before = moved(&rig);
      rig.shared->block_ms = 3000;
      __atomic_store_n(&rig.shared->block_side, 1u + (unsigned) side, __ATOMIC_RELEASE);
      sleep(5);
      peer_check(&rig);
      snprintf(what, sizeof(what), "%s's callback blocks for 3 s:", name[side]);
      report(&rig, what, before);
    }
  }
  uint64_t migrations = moved(&rig), faults = peer_finish(&rig);
  bench_at_most("stall_faults", (double) faults, "messages", 0);
  bench_at_most("stall_migrations", (double) migrations, "migrations", 0);
  return bench_end();
}
