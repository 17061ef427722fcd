/* SPDX-License-Identifier: Apache-2.0 */
/* ksock_bw_1m.c - 1 MiB messages one way over ksock beside raw sockets with the same memory under
 * way. */
#include "lib_ksock.h"

#include <stdio.h>

#define ABOUT                                                                                      \
  "ksock_bw_1m - 1 MiB messages one way on loopback by raw libfabric over ksock, window 16, "      \
  "both\n"                                                                                         \
  "ends spinning, beside raw sockets that go through as many buffers in turn.\n"                   \
  "Bound: at least 0.95 of raw sockets. Libfabric's own tcp is printed, too."
#define WINDOW 16

int main(int argc, char **argv) {
  /* Many short rounds, as bw_1m: a shared machine's memory has slow seconds. */
  bench_args_t args = {.rounds = 41, .seconds = 0.3};
  bench_begin(&args, argc, argv, ABOUT);
  enum { SOCKETS, KSOCK, TCP, N };
  static const char *const label[N] = {"raw sockets", "ksock", "libfabric's tcp"};
  double rate[N][BENCH_MAX_ROUNDS];
  bench_child_t floors;
  bench_ksock_find();
  bench_floor_start(&floors);
  bench_pin(BENCH_CLIENT_CORE);
  for (unsigned i = 0; i < args.rounds; i++) {
    for (int k = 0; k < N; k++) {
      perf_floor_spec_t spec;
      perf_rate_t r;
      bench_floor_spec(&spec, k == SOCKETS ? PERF_FLOOR_SOCKETS : PERF_FLOOR_LIBFABRIC,
                       PERF_FLOOR_STREAM, "127.0.0.1", 1 << 20, WINDOW, args.seconds);
      snprintf(spec.provider, sizeof(spec.provider), k == TCP ? "tcp" : "ksock");
      bench_floor_stream(&floors, &spec, &r);
      rate[k][i] = (double) r.bytes / (double) r.ns;
    }
    if (args.verbose)
      printf("round %u: sockets %.2f, ksock %.2f, tcp %.2f GB/s\n", i + 1, rate[SOCKETS][i],
             rate[KSOCK][i], rate[TCP][i]);
  }
  bench_reap(&floors);
  for (int k = 0; k < N; k++) bench_series(label[k], rate[k], args.rounds, "GB/s");
  printf("libfabric's tcp is %.3f of raw sockets\n",
         bench_ratio(rate[TCP], rate[SOCKETS], args.rounds));
  bench_at_least("ksock_bw_1m", bench_ratio(rate[KSOCK], rate[SOCKETS], args.rounds), "ratio",
                 0.95);
  return bench_end();
}
