/* SPDX-License-Identifier: Apache-2.0 */
/* ksock_conn_10000.c - what 10,000 connections of ksock cost: memory and CPU while idle, and the
 * latency of a busy one among them.
 *
 * Design notes
 * - Two connections that differ in nothing may differ by a sixth in their round trips, for as long
 *   as they live. So each round takes others. */
#include "lib_ksock.h"

#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#define ABOUT                                                                                      \
  "ksock_conn_10000 - 10,000 connections of raw libfabric over ksock on loopback, all on one\n"    \
  "completion queue at each end, one exchange on each; then asleep for 3 s in poll; then 64 B\n"   \
  "round trips on one of them, alternating with a connection of two ends that have no other.\n"    \
  "Bounds: under 16 KiB of resident memory a connection and side, under 0.5 % CPU while idle,\n"   \
  "p50 at most 1.2 of its value alone. Skipped (77) where a process may not have 10,100\n"         \
  "descriptors."
#define CONNS  10000
#define FILES  10100
#define IDLE_S 3

int main(int argc, char **argv) {
  bench_args_t args = {.rounds = 11, .seconds = 0.5};
  bench_begin(&args, argc, argv, ABOUT);
  enum { CLIENT, SERVER };
  enum { ALONE, CROWD };
  struct rlimit lim;
  getrlimit(RLIMIT_NOFILE, &lim);
  lim.rlim_cur = lim.rlim_max;
  if (lim.rlim_max < FILES || setrlimit(RLIMIT_NOFILE, &lim))
    bench_skip("a process may have %lu descriptors, %u are needed (ulimit -Hn)",
               (unsigned long) lim.rlim_max, FILES);
  bench_ksock_find();
  bench_echo_t echo[2];
  bench_ends_t *ends[2];
  double p50[2][BENCH_MAX_ROUNDS], memory[2], use[2];
  static perf_hist_t rtt;
  for (int k = ALONE; k <= CROWD; k++) bench_echo_start(&echo[k], "ksock");
  bench_pin(BENCH_CLIENT_CORE);

  pid_t pid[2] = {getpid(), echo[CROWD].child.pid};
  uint64_t rss[2] = {bench_rss_of(pid[CLIENT]), bench_rss_of(pid[SERVER])}, t = perf_now();
  ends[CROWD] = bench_ends_open(&echo[CROWD], "ksock", CONNS, 64, 40);
  bench_ends_touch(ends[CROWD]);
  double took = (double) (perf_now() - t) / 1e9;
  for (int side = CLIENT; side <= SERVER; side++)
    memory[side] = ((double) bench_rss_of(pid[side]) - (double) rss[side]) / 1024 / CONNS;
  printf("%u connected and echoed in %.2f s (%.0f/s); memory per connection, with two posted "
         "receives of 64 B: client %.2f KiB, server %.2f KiB\n",
         CONNS, took, CONNS / took, memory[CLIENT], memory[SERVER]);

  uint64_t cpu[2] = {bench_cpu_ns(), bench_cpu_ns_of(pid[SERVER])};
  unsigned woke = bench_ends_idle(ends[CROWD], IDLE_S, 0);
  use[CLIENT] = (double) (bench_cpu_ns() - cpu[CLIENT]) / IDLE_S / 1e7;
  use[SERVER] = (double) (bench_cpu_ns_of(pid[SERVER]) - cpu[SERVER]) / IDLE_S / 1e7;
  printf("idle for %d s: client %.3f %% CPU (%u wake-ups), server %.3f %%\n", IDLE_S, use[CLIENT],
         woke, use[SERVER]);

  for (unsigned i = 0; i < args.rounds; i++) {
    ends[ALONE] = bench_ends_open(&echo[ALONE], "ksock", 1, 1, 5);
    for (int k = ALONE; k <= CROWD; k++) {
      bench_echo_spin(&echo[k], 1);
      perf_hist_reset(&rtt);
      bench_ends_pingpong(ends[k], k == CROWD ? i * (CONNS / args.rounds) : 0, args.seconds, &rtt);
      p50[k][i] = perf_hist_at(&rtt, 50) / 1e3;
      bench_echo_spin(&echo[k], 0);
    }
    bench_ends_close(ends[ALONE]);
    if (args.verbose)
      printf("round %u: alone %.2f us, beside the idle ones %.2f us\n", i + 1, p50[ALONE][i],
             p50[CROWD][i]);
  }
  bench_series("64 B alone", p50[ALONE], args.rounds, "us");
  bench_series("64 B beside 9,999 idle", p50[CROWD], args.rounds, "us");
  t = perf_now();
  bench_ends_close(ends[CROWD]);
  for (int k = ALONE; k <= CROWD; k++) bench_reap(&echo[k].child);
  printf("closed in %.2f s\n", (double) (perf_now() - t) / 1e9);
  bench_at_most("ksock_conn_10000_memory",
                memory[CLIENT] > memory[SERVER] ? memory[CLIENT] : memory[SERVER], "KiB", 16);
  bench_at_most("ksock_conn_10000_cpu", use[CLIENT] > use[SERVER] ? use[CLIENT] : use[SERVER], "%",
                0.5);
  bench_at_most("ksock_conn_10000", bench_ratio(p50[CROWD], p50[ALONE], args.rounds), "ratio", 1.2);
  return bench_end();
}
