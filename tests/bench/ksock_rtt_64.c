/* SPDX-License-Identifier: Apache-2.0 */
/* ksock_rtt_64.c - 64 B ping-pong over ksock, spinning and asleep, beside raw sockets and UCX; and
 * what a connection costs that waits. */
#include "lib_ksock.h"

#include <stdio.h>

#include "lib_tool.h"

#define ABOUT                                                                                      \
  "ksock_rtt_64 - 64 B ping-pong on loopback by raw libfabric over ksock: both ends spinning\n"    \
  "beside raw sockets that spin and UCX over tcp; asleep in poll on the wait fd, and in\n"         \
  "fi_cq_sread, beside raw sockets that block. Then both ends of a connection sleep for a "        \
  "second.\n"                                                                                      \
  "Bounds: p50 at most 1.15 of raw sockets', each way of waiting; at most UCX's; no CPU and no\n"  \
  "wake-up while asleep. Libfabric's own tcp is printed, too."
#define IDLE_S 1

enum { SOCKETS, KSOCK, KSOCK_FD, TCP, SLEEP_SOCKETS, SLEEP_FD, SLEEP_SREAD, UCX, N };
static const struct {
  const char *label, *provider;
  int kind, wait;
} contender[N] = {
    [SOCKETS] = {"raw sockets, spinning", "", PERF_FLOOR_SOCKETS, PERF_FLOOR_SPIN},
    [KSOCK] = {"ksock, spinning", "ksock", PERF_FLOOR_LIBFABRIC, PERF_FLOOR_SPIN},
    [KSOCK_FD] = {"ksock with a wait fd, spinning", "ksock", PERF_FLOOR_LIBFABRIC,
                  PERF_FLOOR_SPIN_FD},
    [TCP] = {"libfabric's tcp, spinning", "tcp", PERF_FLOOR_LIBFABRIC, PERF_FLOOR_SPIN},
    [SLEEP_SOCKETS] = {"raw sockets, blocking", "", PERF_FLOOR_SOCKETS, PERF_FLOOR_SLEEP},
    [SLEEP_FD] = {"ksock, poll on the wait fd", "ksock", PERF_FLOOR_LIBFABRIC, PERF_FLOOR_SLEEP},
    [SLEEP_SREAD] = {"ksock, fi_cq_sread", "ksock", PERF_FLOOR_LIBFABRIC, PERF_FLOOR_SREAD},
    [UCX] = {"UCX over tcp, tag_lat doubled", NULL, 0, 0},
};

/* ucx_perftest prints half of a round trip; its first figure after the count is the median. */
static double ucx_rtt(double seconds, double guess) {
  char server[128], client[192];
  unsigned port = bench_tool_port();
  snprintf(server, sizeof(server), "UCX_TLS=tcp UCX_NET_DEVICES=lo exec ucx_perftest -p %u", port);
  snprintf(client, sizeof(client),
           "UCX_TLS=tcp UCX_NET_DEVICES=lo exec ucx_perftest 127.0.0.1 -p %u -t tag_lat -s 64 "
           "-w 1000 -n %.0f -f",
           port, seconds * 1e6 / guess);
  return 2 * bench_tool_pair(server, client, port, 0, 1);
}

static void idle(bench_echo_t *echo) {
  bench_ends_t *ends = bench_ends_open(echo, "ksock", 1, 1, 5);
  double cpu = 0;
  unsigned early = 0;
  bench_ends_touch(ends);
  for (int sread = 0; sread < 2; sread++) {
    uint64_t began[2] = {bench_cpu_ns(), bench_cpu_ns_of(echo->child.pid)};
    uint64_t sleeps = bench_sleeps_of(echo->child.pid);
    unsigned own = bench_ends_idle(ends, IDLE_S, sread);
    double ms[2] = {(double) (bench_cpu_ns() - began[0]) / 1e6,
                    (double) (bench_cpu_ns_of(echo->child.pid) - began[1]) / 1e6};
    sleeps = bench_sleeps_of(echo->child.pid) - sleeps;
    printf("asleep %d s in %s: %.2f ms CPU, %u wake-ups; its peer in poll: %.2f ms, %lu\n", IDLE_S,
           sread ? "fi_cq_sread" : "poll", ms[0], own, ms[1], (unsigned long) sleeps);
    cpu = ms[0] > cpu ? ms[0] : cpu;
    cpu = ms[1] > cpu ? ms[1] : cpu;
    early += own + (unsigned) sleeps;
  }
  bench_ends_close(ends);
  bench_at_most("ksock_idle_cpu", cpu, "ms", 0.5); /* less than what a clock of ticks would show */
  bench_at_most("ksock_idle_wakeups", early, "wake-ups", 0);
}

int main(int argc, char **argv) {
  bench_args_t args = {.rounds = 11, .seconds = 0.4};
  bench_begin(&args, argc, argv, ABOUT);
  static perf_hist_t all[N], rtt;
  double p50[N][BENCH_MAX_ROUNDS];
  bench_child_t floors;
  bench_echo_t echo;
  bench_ksock_find();
  int n = bench_tool_there("ucx_perftest") ? N : UCX;
  bench_floor_start(&floors);
  bench_echo_start(&echo, "ksock");
  bench_pin(BENCH_CLIENT_CORE);
  idle(&echo);
  bench_reap(&echo.child);
  for (int k = 0; k < N; k++) perf_hist_reset(&all[k]);
  for (unsigned i = 0; i < args.rounds; i++) {
    for (int k = 0; k < n; k++) {
      perf_floor_spec_t spec;
      if (k == UCX) {
        p50[k][i] = ucx_rtt(args.seconds, p50[KSOCK][i]);
        continue;
      }
      bench_floor_spec(&spec, contender[k].kind, PERF_FLOOR_PINGPONG, "127.0.0.1", 64, 4,
                       args.seconds);
      spec.wait = contender[k].wait;
      snprintf(spec.provider, sizeof(spec.provider), "%s", contender[k].provider);
      perf_hist_reset(&rtt);
      bench_floor_pingpong(&floors, &spec, &rtt);
      perf_hist_merge(&all[k], &rtt);
      p50[k][i] = perf_hist_at(&rtt, 50) / 1e3;
    }
    if (args.verbose) {
      printf("round %u:", i + 1);
      for (int k = 0; k < n; k++) printf(" %.2f", p50[k][i]);
      printf(" us\n");
    }
  }
  bench_reap(&floors);
  for (int k = 0; k < UCX; k++) bench_hist(contender[k].label, &all[k]);
  for (int k = 0; k < n; k++) bench_series(contender[k].label, p50[k], args.rounds, "us");
  printf("with a wait fd, spinning: %.3f of raw sockets; libfabric's tcp: %.3f\n",
         bench_ratio(p50[KSOCK_FD], p50[SOCKETS], args.rounds),
         bench_ratio(p50[TCP], p50[SOCKETS], args.rounds));
  if (n == N)
    bench_at_most("ksock_rtt_64_ucx", bench_ratio(p50[KSOCK], p50[UCX], args.rounds), "ratio", 1);
  else
    printf("SKIP: ksock_rtt_64.ucx: ucx_perftest is not installed (Debian: ucx-utils)\n");
  bench_at_most("ksock_rtt_64_fd", bench_ratio(p50[SLEEP_FD], p50[SLEEP_SOCKETS], args.rounds),
                "ratio", 1.15);
  bench_at_most("ksock_rtt_64_sread",
                bench_ratio(p50[SLEEP_SREAD], p50[SLEEP_SOCKETS], args.rounds), "ratio", 1.15);
  bench_at_most("ksock_rtt_64", bench_ratio(p50[KSOCK], p50[SOCKETS], args.rounds), "ratio", 1.15);
  return bench_end();
}
