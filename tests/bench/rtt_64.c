/* SPDX-License-Identifier: Apache-2.0 */
/* rtt_64.c - 64 B ping-pong, both ends spinning, with a live standby path, beside raw libfabric and
 * raw sockets. */
#include "lib_weft.h"

#include <stdio.h>
#include <string.h>

#define ABOUT                                                                                      \
  "rtt_64 - 64 B ping-pong on loopback, spinning, with a live standby path.\n"                     \
  "Bounds: p50 at most 1.15 of raw libfabric on the same provider, and 1.10 of its own tcp. Raw\n" \
  "sockets are printed too."

int main(int argc, char **argv) {
  bench_args_t args = {.rounds = 9, .seconds = 1};
  bench_begin(&args, argc, argv, ABOUT);
  enum { WEFT, FABRIC, TCP, SOCKETS, N };
  static const char *const label[N] = {"weft", "raw libfabric " WEFT_TEST_TCP, "raw libfabric tcp",
                                       "raw sockets"};
  static perf_hist_t all[N];
  double p50[N][BENCH_MAX_ROUNDS];
  bench_child_t floors;
  bench_weft_t weft;
  bench_floor_start(&floors);
  bench_weft_server(&weft, "*", "cpu=spin", NULL);
  bench_pin(BENCH_CLIENT_CORE);
  bench_weft_connect(&weft, NULL);
  bench_weft_standby(&weft);
  for (int k = 0; k < N; k++) perf_hist_reset(&all[k]);
  for (unsigned i = 0; i < args.rounds; i++) {
    for (int k = 0; k < N; k++) {
      perf_floor_spec_t spec;
      bench_floor_spec(&spec, k == SOCKETS ? PERF_FLOOR_SOCKETS : PERF_FLOOR_LIBFABRIC,
                       PERF_FLOOR_PINGPONG, "127.0.0.1", 64, 4, args.seconds);
      if (k == TCP) strcpy(spec.provider, "tcp");
      p50[k][i] = bench_rtt_64(&weft, &floors, k == WEFT ? NULL : &spec, args.seconds, &all[k]);
    }
    if (args.verbose)
      printf("round %u: weft %.2f, libfabric %.2f, its tcp %.2f, sockets %.2f us\n", i + 1,
             p50[WEFT][i], p50[FABRIC][i], p50[TCP][i], p50[SOCKETS][i]);
  }
  bench_weft_end(&weft);
  bench_reap(&floors);
  for (int k = 0; k < N; k++) bench_hist(label[k], &all[k]);
  for (int k = 0; k < N; k++) bench_series(label[k], p50[k], args.rounds, "us");
  printf("weft is %.3f of raw sockets\n", bench_ratio(p50[WEFT], p50[SOCKETS], args.rounds));
  bench_at_most("rtt_64_tcp", bench_ratio(p50[WEFT], p50[TCP], args.rounds), "ratio", 1.10);
  bench_at_most("rtt_64", bench_ratio(p50[WEFT], p50[FABRIC], args.rounds), "ratio", 1.15);
  return bench_end();
}
