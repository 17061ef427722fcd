/* SPDX-License-Identifier: Apache-2.0 */
/* dpdk_rtt_64_weft.c - 64 B ping-pong of Weft over TCP in user space, with a live standby path over
 * the kernel's, beside raw libfabric over the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib_dpdk.h"
#include "lib_weft.h"

#define ABOUT                                                                                      \
  "dpdk_rtt_64_weft - 64 B ping-pong between two processes that memif joins, MTU 1500, "           \
  "spinning,\n"                                                                                    \
  "with a live standby path over ksock. Bound: p50 at most 1.25 of raw libfabric over dpdk, "      \
  "over\n"                                                                                         \
  "a memif of its own. The same with as many bytes as Weft's frame has, raw libfabric over\n"      \
  "ksock, and raw sockets are printed, too."

enum { FRAME = 64 + 64 }; /* with Weft's header */
enum { WEFT, FABRIC, BYTES, KSOCK, SOCKETS, N };
static const char *const label[N] = {"weft", "raw libfabric dpdk", "... with Weft's bytes",
                                     "raw libfabric ksock", "raw sockets"};

static void over_dpdk(bench_weft_t *weft) {
  weft_conn_info_t info;
  if (weft_conn_info(perf_client_conn(weft->client), &info, sizeof(info)) != 0 ||
      strcmp(info.provider, "dpdk") != 0)
    bench_die("the messages go over %s", info.provider);
}

int main(int argc, char **argv) {
  bench_args_t args = {.rounds = 9, .seconds = 0.5};
  bench_begin(&args, argc, argv, ABOUT);
  static perf_hist_t all[N], rtt;
  double p50[N][BENCH_MAX_ROUNDS];
  bench_wire_t raw, kernel, own;
  bench_weft_t weft;
  bench_dpdk_find();
  bench_wire_start(&kernel, BENCH_KERNEL, 0);
  bench_wire_start(&raw, BENCH_MEMIF, 1500);
  bench_wire_plan(&own, BENCH_MEMIF, 1500);
  bench_wire_environment(&own, 1);
  bench_weft_server(&weft, "*", "cpu=spin", NULL);
  bench_wire_environment(&own, 0);
  bench_pin(BENCH_CLIENT_CORE);
  /* First contact by dpdk, too: its start may take longer than a better path is waited for. */
  snprintf(weft.url, sizeof(weft.url), "weft://%s:%d?cpu=spin", bench_wire_host(&own),
           atoi(strrchr(weft.url, ':') + 1));
  bench_weft_connect(&weft, NULL);
  bench_weft_standby(&weft);
  for (int k = 0; k < N; k++) perf_hist_reset(&all[k]);
  for (unsigned i = 0; i < args.rounds; i++) {
    for (int k = 0; k < N; k++) {
      perf_floor_spec_t spec;
      bench_floor_spec(&spec, k == SOCKETS ? PERF_FLOOR_SOCKETS : PERF_FLOOR_LIBFABRIC,
                       PERF_FLOOR_PINGPONG, "", k == BYTES ? FRAME : 64, 4, args.seconds);
      snprintf(spec.provider, sizeof(spec.provider), "ksock");
      perf_hist_reset(&rtt);
      if (k == WEFT)
        bench_weft_pingpong(&weft, 64, args.seconds, &rtt);
      else
        bench_wire_pingpong(k == FABRIC || k == BYTES ? &raw : &kernel, &spec, &rtt);
      perf_hist_merge(&all[k], &rtt);
      p50[k][i] = perf_hist_at(&rtt, 50) / 1e3;
    }
    over_dpdk(&weft);
    if (args.verbose) {
      printf("round %u:", i + 1);
      for (int k = 0; k < N; k++)
        printf(" %s %.2f%s", label[k], p50[k][i], k < N - 1 ? "," : " us\n");
    }
  }
  bench_weft_end(&weft);
  bench_wire_end(&raw);
  bench_wire_end(&kernel);
  for (int k = 0; k < N; k++) bench_hist(label[k], &all[k]);
  for (int k = 0; k < N; k++) bench_series(label[k], p50[k], args.rounds, "us");
  printf("weft is %.3f of raw libfabric with as many bytes, %.3f of raw sockets\n",
         bench_ratio(p50[WEFT], p50[BYTES], args.rounds),
         bench_ratio(p50[WEFT], p50[SOCKETS], args.rounds));
  bench_at_most("dpdk_rtt_64_weft", bench_ratio(p50[WEFT], p50[FABRIC], args.rounds), "ratio",
                1.25);
  return bench_end();
}
