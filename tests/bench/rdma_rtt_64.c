/* SPDX-License-Identifier: Apache-2.0 */
/* rdma_rtt_64.c - 64 B ping-pong over an RDMA device, both ends spinning, with a live standby path,
 * beside raw libfabric verbs and ib_send_lat.
 *
 * Design notes
 * - In an emulated machine whose two processors are both held by pollers, work that the kernel has
 *   put off waits for a tick of 4 ms. The figure is a p50, of many short measurements in turn, and
 *   both contenders spin in the same way, so both pay that alike; the share of round trips above
 *   2 ms is printed for each.
 * - A message of 64 B leaves Weft in a frame of 128. A device does not notice; soft RoCE, emulated, can,
 *   by its checksum. So raw libfabric is measured with 128 B as well: that tells what is Weft's work
 *   from what are its bytes.
 * - ib_send_lat prints half a round trip; it is doubled here. Its median is over its own spin. */
#include "lib_rdma.h"

#include <stdio.h>
#include <string.h>

#define ABOUT                                                                                      \
  "rdma_rtt_64 - 64 B ping-pong over the first RDMA device, spinning, with a standby path.\n"      \
  "Bound: p50 at most 1.25 of raw libfabric verbs. ib_send_lat (doubled) is printed too.\n"        \
  "In a virtual machine: tests/bench/rdma rdma_rtt_64."
#define LATE_NS 2000000

int main(int argc, char **argv) {
  bench_args_t args = {.rounds = 11, .seconds = 0.7};
  bench_begin(&args, argc, argv, ABOUT);
  enum { WEFT, FABRIC, BYTES, PERFTEST, N };
  static const char *const label[N] = {"weft", "raw libfabric verbs", "the same, 128 B",
                                       "ib_send_lat, doubled"};
  static perf_hist_t all[PERFTEST];
  double p50[N][BENCH_MAX_ROUNDS];
  bench_child_t floors;
  bench_rdma_t rdma;
  bench_weft_t weft;
  bench_rdma_find(&rdma);
  bench_floor_start(&floors);
  bench_rdma_server(&weft, &rdma, "cpu=spin&spin=5ms");
  bench_pin(BENCH_CLIENT_CORE);
  bench_rdma_connect(&weft, &rdma);
  bench_weft_standby(&weft);
  for (int k = 0; k < PERFTEST; k++) perf_hist_reset(&all[k]);
  for (unsigned i = 0; i < args.rounds; i++) {
    for (int k = 0; k < PERFTEST; k++) {
      perf_floor_spec_t spec;
      bench_floor_spec(&spec, PERF_FLOOR_LIBFABRIC, PERF_FLOOR_PINGPONG, rdma.server.ip,
                       k == BYTES ? 128 : 64, 4, args.seconds);
      snprintf(spec.provider, sizeof(spec.provider), "verbs");
      p50[k][i] = bench_rtt_64(&weft, &floors, k == WEFT ? NULL : &spec, args.seconds, &all[k]);
    }
    p50[PERFTEST][i] = 2 * bench_perftest(&rdma, "ib_send_lat", "-s 64 -n 5000", 4);
    if (args.verbose)
      printf("round %u: weft %.1f, libfabric %.1f, of 128 B %.1f, ib_send_lat %.1f us\n", i + 1,
             p50[WEFT][i], p50[FABRIC][i], p50[BYTES][i], p50[PERFTEST][i]);
  }
  bench_weft_end(&weft);
  bench_reap(&floors);
  for (int k = 0; k < PERFTEST; k++) bench_hist(label[k], &all[k]);
  for (int k = 0; k < N; k++) bench_series(label[k], p50[k], args.rounds, "us");
  printf("weft is %.2f of ib_send_lat, raw libfabric %.2f\n",
         bench_ratio(p50[WEFT], p50[PERFTEST], args.rounds),
         bench_ratio(p50[FABRIC], p50[PERFTEST], args.rounds));
  printf("weft is %.2f of raw libfabric with as many bytes\n",
         bench_ratio(p50[WEFT], p50[BYTES], args.rounds));
  bench_at_most("rdma_rtt_64", bench_ratio(p50[WEFT], p50[FABRIC], args.rounds), "ratio", 1.25);
  return bench_end();
}
