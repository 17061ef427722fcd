/* SPDX-License-Identifier: Apache-2.0 */
/* dpdk_loss_64.c - 64 B ping-pong over TCP in user space where one frame in a hundred is lost. */
#include <stdio.h>
#include <stdlib.h>

#include "lib_dpdk.h"

#define ABOUT                                                                                      \
  "dpdk_loss_64 - 64 B ping-pong between two processes by raw libfabric over dpdk on memif, "      \
  "each\n"                                                                                         \
  "end losing 1 % of what it sends and of what it receives, by a seed; both spin. Beside it the\n" \
  "same without losses.\n"                                                                         \
  "Bound: p99 under 100 ms."
#define LOSS_PPM "10000"

enum { CLEAN, LOSSY, N };
static const char *const label[N] = {"dpdk over memif", "... losing 1 %"};

int main(int argc, char **argv) {
  bench_args_t args = {.rounds = 5, .seconds = 4};
  bench_begin(&args, argc, argv, ABOUT);
  static perf_hist_t all[N], rtt;
  double p50[N][BENCH_MAX_ROUNDS], p99[N][BENCH_MAX_ROUNDS];
  bench_wire_t wire[N];
  bench_dpdk_find();
  bench_wire_start(&wire[CLEAN], BENCH_MEMIF, 1500);
  setenv("FI_DPDK_LOSS_PPM", LOSS_PPM, 1);
  setenv("FI_DPDK_SEED", "1", 1);
  bench_wire_start(&wire[LOSSY], BENCH_MEMIF, 1500);
  for (int k = 0; k < N; k++) perf_hist_reset(&all[k]);
  for (unsigned i = 0; i < args.rounds; i++) {
    for (int k = 0; k < N; k++) {
      perf_floor_spec_t spec;
      bench_floor_spec(&spec, PERF_FLOOR_LIBFABRIC, PERF_FLOOR_PINGPONG, "", 64, 4,
                       k == CLEAN ? args.seconds / 10 : args.seconds);
      perf_hist_reset(&rtt);
      bench_wire_pingpong(&wire[k], &spec, &rtt);
      perf_hist_merge(&all[k], &rtt);
      p50[k][i] = perf_hist_at(&rtt, 50) / 1e3;
      p99[k][i] = perf_hist_at(&rtt, 99) / 1e6;
    }
    if (args.verbose)
      printf("round %u: clean p50 %.2f us; lossy p50 %.2f us, p99 %.1f ms, max %.1f ms\n", i + 1,
             p50[CLEAN][i], p50[LOSSY][i], p99[LOSSY][i], (double) rtt.max / 1e6);
  }
  for (int k = N - 1; k >= 0; k--) bench_wire_end(&wire[k]);
  for (int k = 0; k < N; k++) bench_hist(label[k], &all[k]);
  bench_series("losing 1 %, p99", p99[LOSSY], args.rounds, "ms");
  bench_at_most("dpdk_loss_64", bench_median(p99[LOSSY], args.rounds), "ms", 100);
  return bench_end();
}
