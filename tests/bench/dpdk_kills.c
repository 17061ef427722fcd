/* SPDX-License-Identifier: Apache-2.0 */
/* dpdk_kills.c - the kill rig of TCP in user space: its wire is cut under load, again and again, and
 * the connections go to the kernel's TCP and back; nothing lost, nothing twice. Mixed sizes from
 * 64 B to 4 MiB, both ways, numbered and checksummed. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib_dpdk.h"
#include "lib_peer.h"

#define ABOUT                                                                                      \
  "dpdk_kills - two processes, dpdk over af_packet on one veth pair and ksock over another. The\n" \
  "first pair goes down at either end, or swallows frames one way or both, at random moments;\n"   \
  "all connections must be over ksock before it heals, and over dpdk before the next cut.\n"       \
  "--rounds N is the number of cuts (20), --full makes 200, 5 minutes. Bound: 0 messages lost, "   \
  "duplicated, "                                                                                   \
  "reordered,\n"                                                                                   \
  "corrupted or not acknowledged at the end. Needs root or user namespaces."
#define SLICE    20
#define FULL     200
#define AWAY_MS  5000
#define BACK_MS  10000
#define CONNS    8
#define LIVED_US 1000000
#define SWALLOW  "tc qdisc replace dev %s root blackhole"
#define CARRY    "tc qdisc replace dev %s root noqueue"
#define DEVICE   "FI_DPDK_DEVICE=net_af_packet0,iface=%s,qdisc_bypass=0"

typedef enum {
  CLIENT_DOWN,
  SERVER_DOWN,
  CLIENT_SWALLOWS,
  SERVER_SWALLOWS,
  BOTH_SWALLOW,
  KINDS
} kind_t;
static const char *const name[KINDS] = {
    "the client's link is down", "the server's link is down", "what the client sends is swallowed",
    "what the server sends is swallowed", "frames are swallowed both ways"};
static const kind_t turn[] = {CLIENT_DOWN, SERVER_DOWN, CLIENT_SWALLOWS,
                              SERVER_DOWN, CLIENT_DOWN, SERVER_SWALLOWS,
                              CLIENT_DOWN, SERVER_DOWN, BOTH_SWALLOW};
static const char *const iface[2] = {"v0", "w0"};

/* Frames that dpdk sends go nowhere, and nobody is told. */
static void swallow(peer_rig_t *rig, bench_side side, int on) {
  char cmd[200], enter[64] = "";
  if (side == BENCH_SERVER)
    snprintf(enter, sizeof(enter), "nsenter -t %d -n ", (int) rig->child[BENCH_SERVER].pid);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  int n = snprintf(cmd, sizeof(cmd), "%s", enter);
  snprintf(cmd + n, sizeof(cmd) - (size_t) n, on ? SWALLOW : CARRY, iface[side]);
#pragma GCC diagnostic pop
  if (system(cmd) != 0) bench_die("failed: %s", cmd);
}

static void cut(peer_rig_t *rig, kind_t kind, int on) {
  switch (kind) {
  case CLIENT_DOWN: bench_net_link(&rig->net, BENCH_CLIENT, 0, !on); break;
  case SERVER_DOWN: bench_net_link(&rig->net, BENCH_SERVER, 0, !on); break;
  default:
    if (kind != SERVER_SWALLOWS) swallow(rig, BENCH_CLIENT, on);
    if (kind != CLIENT_SWALLOWS) swallow(rig, BENCH_SERVER, on);
  }
}

int main(int argc, char **argv) {
  bench_args_t args = {.rounds = SLICE, .seconds = 0.1};
  bench_begin(&args, argc, argv, ABOUT);
  bench_dpdk_find();
  peer_config_t config = {.conns = CONNS,
                          .mixed = 1,
                          .window = 3,
                          .net = 1,
                          .host = bench_net_addr(BENCH_SERVER, 1),
                          .needs = "interruption=200ms",
                          .devices = {"v1,net_af_packet0", "w1,net_af_packet0"}};
  char device[2][100];
  for (int i = 0; i < 2; i++) {
    snprintf(device[i], sizeof(device[i]), DEVICE, iface[i]);
    config.environment[i][0] = device[i];
    config.environment[i][1] = i ? "FI_DPDK_ADDRESS=10.9.3.2/24" : "FI_DPDK_ADDRESS=10.9.3.1/24";
    config.environment[i][2] = "WEFT_SETTLE_MS=0"; /* back at once: it is the moves that count */
  }
  peer_rig_t rig;
  peer_start(&rig, &config);
  uint64_t start = perf_now(), away = 0;
  double back = 0;
  unsigned done, cuts = args.full ? FULL : args.rounds, of[KINDS] = {0};
  srand(1);
  for (done = 0; done < cuts; done++) {
    kind_t kind = turn[done % (sizeof(turn) / sizeof(turn[0]))];
    uint64_t t = perf_now();
    if (!peer_wait_pair(&rig, 0, BACK_MS)) bench_die("cut %u: dpdk is not used again", done);
    uint64_t u = perf_now();
    double returned = (double) (u - t) / 1e6;
    if (done && returned > back) back = returned;
    /* Meet the traffic at any moment; a path that dies in its first second is not opened in haste. */
    usleep((useconds_t) (rand() % 4 ? LIVED_US + rand() % 50000 : rand() % LIVED_US));
    t = perf_now();
    cut(&rig, kind, 1);
    if (!peer_wait_pair(&rig, 1, AWAY_MS)) bench_die("%s: not all is over ksock", name[kind]);
    u = perf_now();
    if (u - t > away) away = u - t;
    usleep((useconds_t) (args.seconds * rand() / RAND_MAX * 1e6));
    cut(&rig, kind, 0);
    of[kind]++;
    if (args.verbose)
      printf("back after %.0f ms; cut %u: %s; over ksock after %.0f ms\n", returned, done + 1,
             name[kind], (double) (u - t) / 1e6);
    peer_check(&rig);
  }
  if (!peer_wait_pair(&rig, 0, BACK_MS)) bench_die("dpdk is not used at the end");
  double took = (double) (perf_now() - start) / 1e9;
  uint64_t faults = peer_finish(&rig);
  for (int i = 0; i < 2; i++) faults += rig.exit[i] != 0;
  for (int k = 0; k < KINDS; k++) printf("%3u times %s\n", of[k], name[k]);
  printf("%u cuts in %.0f s; all over ksock within %.0f ms, over dpdk again within %.0f ms\n", done,
         took, (double) away / 1e6, back);
  bench_at_least("dpdk_kills", done, "cuts", cuts);
  bench_at_most("dpdk_kill_faults", (double) faults, "messages", 0);
  return bench_end();
}
