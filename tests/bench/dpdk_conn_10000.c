/* SPDX-License-Identifier: Apache-2.0 */
/* dpdk_conn_10000.c - what 10,000 connections of TCP in user space cost: memory, CPU while idle, and
 * the latency of a busy one among them.
 *
 * Design notes
 * - Alone is a pair of processes of its own, so that its stack has no other connection. */
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib_dpdk.h"
#include "lib_ksock.h"

#define ABOUT                                                                                      \
  "dpdk_conn_10000 - 10,000 connections of raw libfabric over dpdk on memif, all on one\n"         \
  "completion queue at each end, one exchange on each; then asleep for 3 s in poll; then 64 B\n"   \
  "round trips on one of them, alternating with a connection of two processes that have no\n"      \
  "other.\n"                                                                                       \
  "Bounds: p50 at most 2 of its value alone; under 16 KiB of resident memory a connection and\n"   \
  "side. CPU while idle is printed."
#define CONNS  10000
#define IDLE_S 3

enum { ALONE, CROWD };
enum { CLIENT, SERVER };

typedef struct report_s {
  double took, memory[2], cpu[2];
  unsigned woke;
  perf_hist_t rtt;
} report_t;

typedef struct pair_s {
  bench_wire_t wire;
  bench_echo_t echo;
  bench_child_t client;
  unsigned conns, width;
  double seconds;
  report_t *report;
} pair_t;

static void look(const pair_t *p, bench_ends_t *ends) {
  report_t *r = p->report;
  pid_t server = p->echo.child.pid;
  uint64_t cpu[2] = {bench_cpu_ns(), bench_cpu_ns_of(server)};
  r->woke = bench_ends_idle(ends, IDLE_S, 0);
  r->cpu[CLIENT] = (double) (bench_cpu_ns() - cpu[CLIENT]) / IDLE_S / 1e7;
  r->cpu[SERVER] = (double) (bench_cpu_ns_of(server) - cpu[SERVER]) / IDLE_S / 1e7;
}

/* The first connection of a process starts DPDK, so it is no part of what is measured. */
static int client(int fd, void *arg) {
  pair_t *p = arg;
  report_t *r = p->report;
  uint32_t which;
  bench_ends_close(bench_ends_open(&p->echo, "dpdk", 1, 1, 10));
  pid_t pid[2] = {getpid(), p->echo.child.pid};
  uint64_t rss[2] = {bench_rss_of(pid[CLIENT]), bench_rss_of(pid[SERVER])}, t = perf_now();
  bench_ends_t *ends = bench_ends_open(&p->echo, "dpdk", p->conns, p->width, 60);
  bench_ends_touch(ends);
  r->took = (double) (perf_now() - t) / 1e9;
  for (int side = CLIENT; side <= SERVER; side++)
    r->memory[side] =
        ((double) bench_rss_of(pid[side]) - (double) rss[side]) / 1024 / (double) p->conns;
  if (p->conns > 1) look(p, ends);
  if (send(fd, "", 1, MSG_NOSIGNAL) != 1) return 1;
  while (recv(fd, &which, sizeof(which), 0) == (ssize_t) sizeof(which)) {
    bench_echo_spin(&p->echo, 1);
    perf_hist_reset(&r->rtt);
    bench_ends_pingpong(ends, which, p->seconds, &r->rtt);
    bench_echo_spin(&p->echo, 0);
    if (send(fd, "", 1, MSG_NOSIGNAL) != 1) return 1;
  }
  return 0;
}

static void start(pair_t *p, unsigned conns, unsigned width, double seconds) {
  p->conns = conns;
  p->width = width;
  p->seconds = seconds;
  p->report = bench_shared(sizeof(*p->report));
  bench_wire_plan(&p->wire, BENCH_MEMIF, 1500);
  bench_wire_environment(&p->wire, 1);
  bench_echo_start_at(&p->echo, "dpdk", bench_wire_host(&p->wire));
  bench_wire_environment(&p->wire, 0);
  bench_spawn(&p->client, BENCH_CLIENT_CORE, client, p);
}

static void answer(pair_t *p) {
  char done;
  if (recv(p->client.fd, &done, 1, 0) != 1)
    bench_die("the client of %u connections failed", p->conns);
}

int main(int argc, char **argv) {
  bench_args_t args = {.rounds = 11, .seconds = 0.5};
  bench_begin(&args, argc, argv, ABOUT);
  static pair_t pair[2];
  double p50[2][BENCH_MAX_ROUNDS];
  bench_dpdk_find();
  start(&pair[ALONE], 1, 1, args.seconds);
  answer(&pair[ALONE]);
  start(&pair[CROWD], CONNS, 64, args.seconds);
  answer(&pair[CROWD]);

  const report_t *r = pair[CROWD].report;
  printf("%u connected and echoed in %.2f s (%.0f/s); memory per connection, with two posted "
         "receives of 64 B: client %.2f KiB, server %.2f KiB\n",
         CONNS, r->took, CONNS / r->took, r->memory[CLIENT], r->memory[SERVER]);
  printf("idle for %d s: client %.2f %% CPU (%u wake-ups), server %.2f %%\n", IDLE_S,
         r->cpu[CLIENT], r->woke, r->cpu[SERVER]);
  for (unsigned i = 0; i < args.rounds; i++) {
    for (int k = ALONE; k <= CROWD; k++) {
      uint32_t which = k == CROWD ? i * (CONNS / args.rounds) : 0;
      if (send(pair[k].client.fd, &which, sizeof(which), MSG_NOSIGNAL) < 0)
        bench_die("the client of %u connections has died", pair[k].conns);
      answer(&pair[k]);
      p50[k][i] = perf_hist_at(&pair[k].report->rtt, 50) / 1e3;
    }
    if (args.verbose)
      printf("round %u: alone %.2f us, beside the idle ones %.2f us (p99 %.2f us)\n", i + 1,
             p50[ALONE][i], p50[CROWD][i], perf_hist_at(&pair[CROWD].report->rtt, 99) / 1e3);
  }
  bench_series("64 B alone", p50[ALONE], args.rounds, "us");
  bench_series("64 B beside 9,999 idle", p50[CROWD], args.rounds, "us");
  for (int k = ALONE; k <= CROWD; k++) {
    bench_reap(&pair[k].client);
    bench_reap(&pair[k].echo.child);
  }
  bench_at_most("dpdk_conn_10000_memory",
                r->memory[CLIENT] > r->memory[SERVER] ? r->memory[CLIENT] : r->memory[SERVER],
                "KiB", 16);
  bench_at_most("dpdk_conn_10000", bench_ratio(p50[CROWD], p50[ALONE], args.rounds), "ratio", 2);
  return bench_end();
}
