/* SPDX-License-Identifier: Apache-2.0 */
/* bw_1m.c - 1 MiB messages beside raw libfabric with the same window, and 1 GiB in one message in
 * bounded memory. */
#include "lib_weft.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ABOUT                                                                                      \
  "bw_1m - 1 MiB messages one way on loopback, window 16, beside raw libfabric on the same\n"      \
  "provider and its own tcp with the same window; then one message of 1 GiB, for which neither "   \
  "side may need more than 64 MiB beside\n"                                                        \
  "the message itself.\n"                                                                          \
  "Bounds: at least 0.95 of raw libfabric, 0.90 of its tcp; at most 64 MiB."
#define WINDOW 16
#define GIB    ((size_t) 1 << 30)
#define MIB    1048576.0

static double bandwidth(const perf_rate_t *r) {
  return (double) r->bytes / (double) r->ns;
}

static double beyond(uint64_t peak, uint64_t before) {
  return ((double) peak - (double) before - (double) GIB) / MIB;
}

/* Both sides allocate the message's memory meanwhile: what their peak grew by beyond it is Weft's.
 */
static void one_gib(bench_weft_t *weft, const weft_opts_t *opts) {
  perf_ctl_t report;
  perf_rate_t rate;
  pid_t own = getpid();
  bench_weft_connect(weft, opts);
  bench_weft_stream(weft, 1 << 20, WINDOW, 0.2, &rate); /* pools are as large as they get */
  bench_peak_reset(own);
  bench_peak_reset(weft->child.pid);
  uint64_t client = bench_rss_of(own), server = bench_rss_of(weft->child.pid);
  bench_weft_stream(weft, GIB, 1, 1e-6, &rate); /* ends after the first: its content is compared */
  double client_extra = beyond(bench_peak_of(own), client);
  double server_extra = beyond(bench_peak_of(weft->child.pid), server);
  memset(&report, 0, sizeof(report));
  if (perf_client_report(weft->client, &report) || rate.messages != 1 || report.messages != 1)
    bench_die("the message of 1 GiB did not arrive");
  printf("1 GiB: %lu message, %.2f GB/s; memory beyond the message: client %.1f MiB, server %.1f "
         "MiB\n",
         (unsigned long) rate.messages, bandwidth(&rate), client_extra, server_extra);
  bench_at_most("bw_1g_extra_memory", client_extra > server_extra ? client_extra : server_extra,
                "MiB", 64);
}

int main(int argc, char **argv) {
  /* Many short rounds: the memory of a shared machine has seconds of half its bandwidth, and one of
   * them must not be all that a contender sees of a round. */
  bench_args_t args = {.rounds = 41, .seconds = 0.25};
  bench_begin(&args, argc, argv, ABOUT);
  enum { WEFT, FABRIC, TCP, SOCKETS, N };
  static const char *const label[N] = {"weft", "raw libfabric " WEFT_TEST_TCP, "raw libfabric tcp",
                                       "raw sockets"};
  double rate[N][BENCH_MAX_ROUNDS];
  bench_child_t floors;
  bench_weft_t weft, large;
  weft_opts_t opts;
  weft_opts_init(&opts, sizeof(opts)); /* reads the environment, starts nothing */
  opts.max_message = 2 * GIB;
  bench_floor_start(&floors);
  bench_weft_server(&weft, "*", "cpu=spin", NULL);
  bench_weft_server(&large, "*", "", &opts);
  bench_pin(BENCH_CLIENT_CORE);
  bench_weft_connect(&weft, NULL);
  for (unsigned i = 0; i < args.rounds; i++) {
    for (int k = 0; k < N; k++) {
      perf_floor_spec_t spec;
      perf_rate_t r;
      bench_floor_spec(&spec, k == SOCKETS ? PERF_FLOOR_SOCKETS : PERF_FLOOR_LIBFABRIC,
                       PERF_FLOOR_STREAM, "127.0.0.1", 1 << 20, WINDOW, args.seconds);
      if (k == TCP) strcpy(spec.provider, "tcp");
      if (k == WEFT)
        bench_weft_stream(&weft, 1 << 20, WINDOW, args.seconds, &r);
      else
        bench_floor_stream(&floors, &spec, &r);
      rate[k][i] = bandwidth(&r);
    }
    if (args.verbose)
      printf("round %u: weft %.2f, libfabric %.2f, its tcp %.2f, sockets %.2f GB/s\n", i + 1,
             rate[WEFT][i], rate[FABRIC][i], rate[TCP][i], rate[SOCKETS][i]);
  }
  bench_weft_end(&weft);
  bench_reap(&floors);
  for (int k = 0; k < N; k++) bench_series(label[k], rate[k], args.rounds, "GB/s");
  one_gib(&large, &opts);
  bench_weft_end(&large);
  bench_at_least("bw_1m_tcp", bench_ratio(rate[WEFT], rate[TCP], args.rounds), "ratio", 0.90);
  bench_at_least("bw_1m", bench_ratio(rate[WEFT], rate[FABRIC], args.rounds), "ratio", 0.95);
  return bench_end();
}
