/* SPDX-License-Identifier: Apache-2.0 */
/* dpdk_rtt_64.c - 64 B ping-pong over TCP in user space beside raw sockets of the kernel. */
#include <stdio.h>

#include "lib_dpdk.h"

#define ABOUT                                                                                      \
  "dpdk_rtt_64 - 64 B ping-pong between two processes by raw libfabric over dpdk, on memif and\n"  \
  "on vhost/virtio_user, MTU 1500, beside raw non-blocking sockets on loopback; all spin.\n"       \
  "Bounds: p50 at most 0.25, p99 at most 0.1 of the sockets'. ksock is printed, too."

enum { SOCKETS, KSOCK, MEMIF, VHOST, N };
static const char *const label[N] = {"raw sockets, spinning", "ksock, spinning", "dpdk over memif",
                                     "dpdk over vhost"};

int main(int argc, char **argv) {
  bench_args_t args = {.rounds = 11, .seconds = 0.4};
  bench_begin(&args, argc, argv, ABOUT);
  static perf_hist_t all[N], rtt;
  double p50[N][BENCH_MAX_ROUNDS], p99[N][BENCH_MAX_ROUNDS];
  bench_wire_t kernel, memif, vhost;
  bench_dpdk_find();
  bench_wire_start(&kernel, BENCH_KERNEL, 0);
  bench_wire_start(&memif, BENCH_MEMIF, 1500);
  bench_wire_start(&vhost, BENCH_VHOST, 1500);
  bench_wire_t *wire[N] = {&kernel, &kernel, &memif, &vhost};
  for (int k = 0; k < N; k++) perf_hist_reset(&all[k]);
  for (unsigned i = 0; i < args.rounds; i++) {
    for (int k = 0; k < N; k++) {
      perf_floor_spec_t spec;
      bench_floor_spec(&spec, k == SOCKETS ? PERF_FLOOR_SOCKETS : PERF_FLOOR_LIBFABRIC,
                       PERF_FLOOR_PINGPONG, "", 64, 4, args.seconds);
      snprintf(spec.provider, sizeof(spec.provider), "ksock");
      perf_hist_reset(&rtt);
      bench_wire_pingpong(wire[k], &spec, &rtt);
      perf_hist_merge(&all[k], &rtt);
      p50[k][i] = perf_hist_at(&rtt, 50) / 1e3;
      p99[k][i] = perf_hist_at(&rtt, 99) / 1e3;
    }
    if (args.verbose) {
      printf("round %u:", i + 1);
      for (int k = 0; k < N; k++) printf(" %.2f/%.2f", p50[k][i], p99[k][i]);
      printf(" us\n");
    }
  }
  bench_wire_end(&vhost);
  bench_wire_end(&memif);
  bench_wire_end(&kernel);
  for (int k = 0; k < N; k++) bench_hist(label[k], &all[k]);
  for (int k = 0; k < N; k++) bench_series(label[k], p50[k], args.rounds, "us");
  for (int k = 0; k < N; k++) bench_series("... p99", p99[k], args.rounds, "us");
  bench_at_most("dpdk_rtt_64_memif_p99", bench_ratio(p99[MEMIF], p99[SOCKETS], args.rounds),
                "ratio", 0.1);
  bench_at_most("dpdk_rtt_64_vhost_p99", bench_ratio(p99[VHOST], p99[SOCKETS], args.rounds),
                "ratio", 0.1);
  bench_at_most("dpdk_rtt_64_memif", bench_ratio(p50[MEMIF], p50[SOCKETS], args.rounds), "ratio",
                0.25);
  bench_at_most("dpdk_rtt_64_vhost", bench_ratio(p50[VHOST], p50[SOCKETS], args.rounds), "ratio",
                0.25);
  return bench_end();
}
