/* SPDX-License-Identifier: Apache-2.0 */
/* dpdk_stream_64k.c - 64 KiB messages one way over TCP in user space beside raw sockets of the
 * kernel. */
#include <stdio.h>

#include "lib_dpdk.h"

#define ABOUT                                                                                      \
  "dpdk_stream_64k - 64 KiB messages one way between two processes by raw libfabric over dpdk,\n"  \
  "window 16, MTU 9000, on memif and on vhost/virtio_user, beside the kernel's TCP on loopback:\n" \
  "raw sockets that go through as many buffers in turn, and ksock, which spins where a raw\n"      \
  "sender blocks; the faster one of a round counts.\n"                                             \
  "Bounds: on memif at least 0.9 of the kernel, on vhost at least 1.5."
#define WINDOW 16

enum { SOCKETS, KSOCK, MEMIF, VHOST, N };
static const char *const label[N] = {"raw sockets", "ksock", "dpdk over memif", "dpdk over vhost"};

int main(int argc, char **argv) {
  bench_args_t args = {.rounds = 21, .seconds = 0.3};
  bench_begin(&args, argc, argv, ABOUT);
  double rate[N][BENCH_MAX_ROUNDS], best[BENCH_MAX_ROUNDS];
  bench_wire_t kernel, memif, vhost;
  bench_dpdk_find();
  bench_wire_start(&kernel, BENCH_KERNEL, 0);
  bench_wire_start(&memif, BENCH_MEMIF, 9000);
  bench_wire_start(&vhost, BENCH_VHOST, 9000);
  bench_wire_t *wire[N] = {&kernel, &kernel, &memif, &vhost};
  for (unsigned i = 0; i < args.rounds; i++) {
    for (int k = 0; k < N; k++) {
      perf_floor_spec_t spec;
      perf_rate_t r;
      bench_floor_spec(&spec, k == SOCKETS ? PERF_FLOOR_SOCKETS : PERF_FLOOR_LIBFABRIC,
                       PERF_FLOOR_STREAM, "", 1 << 16, WINDOW, args.seconds);
      snprintf(spec.provider, sizeof(spec.provider), "ksock");
      bench_wire_stream(wire[k], &spec, &r);
      rate[k][i] = (double) r.bytes / (double) r.ns;
    }
    best[i] = rate[KSOCK][i] > rate[SOCKETS][i] ? rate[KSOCK][i] : rate[SOCKETS][i];
    if (args.verbose) {
      printf("round %u:", i + 1);
      for (int k = 0; k < N; k++) printf(" %.2f", rate[k][i]);
      printf(" GB/s\n");
    }
  }
  bench_wire_end(&vhost);
  bench_wire_end(&memif);
  bench_wire_end(&kernel);
  for (int k = 0; k < N; k++) bench_series(label[k], rate[k], args.rounds, "GB/s");
  printf("of raw sockets alone: memif %.3f, vhost %.3f\n",
         bench_ratio(rate[MEMIF], rate[SOCKETS], args.rounds),
         bench_ratio(rate[VHOST], rate[SOCKETS], args.rounds));
  bench_at_least("dpdk_stream_64k_vhost", bench_ratio(rate[VHOST], best, args.rounds), "ratio",
                 1.5);
  bench_at_least("dpdk_stream_64k", bench_ratio(rate[MEMIF], best, args.rounds), "ratio", 0.9);
  return bench_end();
}
