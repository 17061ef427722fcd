/* SPDX-License-Identifier: Apache-2.0 */
/* idle_1000.c - what 1,000 idle connections cost: CPU, memory, and the latency of a busy one beside
 * them. */
#include "lib_many.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ABOUT                                                                                      \
  "idle_1000 - 1,000 idle connections in one context on each side. Their CPU time over 10 s and\n" \
  "their resident memory; then 64 B round trips on one more connection of the same contexts,\n"    \
  "alternating with a pair of contexts that has no other connection.\n"                            \
  "Bounds: under 0.5 % CPU on either side; p50 at most 1.3 of its value alone."
#define CONNS  1000
#define IDLE_S 10

int main(int argc, char **argv) {
  bench_args_t args = {.rounds = 7, .seconds = 0.7};
  bench_begin(&args, argc, argv, ABOUT);
  bench_weft_t alone, crowd;
  double p50[2][BENCH_MAX_ROUNDS];
  static perf_hist_t rtt;
  bench_weft_server(&alone, "*", "", NULL);
  bench_weft_server(&crowd, "*", "", NULL);
  strcat(alone.url, "?cpu=spin"); /* only the busy connections may spin */
  strcat(crowd.url, "?cpu=spin");
  bench_pin(BENCH_CLIENT_CORE);
  bench_weft_connect(&alone, NULL);
  bench_weft_connect(&crowd, NULL);
  bench_weft_standby(&crowd);
  pid_t own = getpid(), peer = crowd.child.pid;
  uint64_t rss[2] = {bench_rss_of(own), bench_rss_of(peer)}, t = perf_now();
  bench_many_t *many = bench_many_open(&crowd, "", CONNS, 32, 0, 20);
  printf("%u connections opened in %.2f s\n", CONNS, (double) (perf_now() - t) / 1e9);
  perf_client_run(crowd.client, 2000, NULL, NULL); /* standbys and pools settle */
  weft_conn_info_t info;
  if (weft_conn_info(perf_client_conn(crowd.client), &info, sizeof(info)) == 0)
    printf("resident memory per connection: client %.1f KiB, server %.1f KiB\n",
           ((double) bench_rss_of(own) - (double) rss[0]) / 1024 / CONNS,
           ((double) bench_rss_of(peer) - (double) rss[1]) / 1024 / CONNS);

  uint64_t cpu[2] = {bench_cpu_ns(), bench_cpu_ns_of(peer)};
  t = perf_now();
  perf_client_run(crowd.client, IDLE_S * 1000, NULL, NULL);
  double wall = (double) (perf_now() - t);
  double use[2] = {100 * (double) (bench_cpu_ns() - cpu[0]) / wall,
                   100 * (double) (bench_cpu_ns_of(peer) - cpu[1]) / wall};
  printf("idle for %d s: client %.3f %% CPU, server %.3f %%\n", IDLE_S, use[0], use[1]);

  for (unsigned i = 0; i < args.rounds; i++) {
    for (int k = 0; k < 2; k++) {
      perf_hist_reset(&rtt);
      bench_weft_pingpong(k ? &crowd : &alone, 64, args.seconds, &rtt);
      p50[k][i] = perf_hist_at(&rtt, 50) / 1e3;
    }
    if (args.verbose)
      printf("round %u: alone %.2f us, beside %u idle ones %.2f us\n", i + 1, p50[0][i], CONNS,
             p50[1][i]);
  }
  bench_series("64 B alone", p50[0], args.rounds, "us");
  bench_series("64 B beside 1,000 idle", p50[1], args.rounds, "us");
  unsigned broken = bench_many_broken(many);
  bench_weft_end(&crowd);
  bench_weft_end(&alone);
  free(many);
  bench_at_most("idle_1000_broken", broken, "connections", 0);
  bench_at_most("idle_1000_cpu", use[0] > use[1] ? use[0] : use[1], "%", 0.5);
  bench_at_most("idle_1000_rtt", bench_ratio(p50[1], p50[0], args.rounds), "ratio", 1.3);
  return bench_end();
}
