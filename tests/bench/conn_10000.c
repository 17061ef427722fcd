/* SPDX-License-Identifier: Apache-2.0 */
/* conn_10000.c - 10,000 connections at once: connect, echo, close. Functional; the times are for
 * information. */
#include "lib_many.h"

#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#define ABOUT                                                                                      \
  "conn_10000 - 10,000 connections open at the same time on loopback (standby=0), one echo on\n"   \
  "each, then closed in order; afterwards the same server must still serve.\n"                     \
  "Bound: 0 failed. Skipped (77) where a process may not have 11,000 descriptors."
#define CONNS 10000
#define FILES 11000

int main(int argc, char **argv) {
  bench_args_t args = {.rounds = 1, .seconds = 1};
  bench_begin(&args, argc, argv, ABOUT);
  struct rlimit lim;
  getrlimit(RLIMIT_NOFILE, &lim);
  lim.rlim_cur = lim.rlim_max;
  if (lim.rlim_max < FILES || setrlimit(RLIMIT_NOFILE, &lim))
    bench_skip("a process may have %lu descriptors, %u are needed (ulimit -Hn)",
               (unsigned long) lim.rlim_max, FILES);
  bench_weft_t weft;
  perf_rate_t rate;
  unsigned failed = 0;
  bench_weft_server(&weft, "127.0.0.1", "standby=0", NULL);
  bench_pin(BENCH_CLIENT_CORE);
  bench_weft_connect(&weft, NULL);
  for (unsigned r = 0; r < args.rounds; r++) {
    pid_t own = getpid(), peer = weft.child.pid;
    uint64_t rss[2] = {bench_rss_of(own), bench_rss_of(peer)}, t = perf_now();
    bench_many_t *many = bench_many_open(&weft, "standby=0", CONNS, 32, 1, 30);
    uint64_t opened = perf_now();
    printf("%u connected and echoed in %.2f s (%.0f/s); memory per connection: client %.1f KiB, "
           "server "
           "%.1f KiB\n",
           CONNS, (double) (opened - t) / 1e9, CONNS * 1e9 / (double) (opened - t),
           ((double) bench_rss_of(own) - (double) rss[0]) / 1024 / CONNS,
           ((double) bench_rss_of(peer) - (double) rss[1]) / 1024 / CONNS);
    failed += bench_many_close(many, 64, 15);
    printf("closed in %.2f s\n", (double) (perf_now() - opened) / 1e9);
  }
  bench_weft_stream(&weft, 64, 0, 0.1, &rate);
  printf("afterwards %lu messages went through\n", (unsigned long) rate.messages);
  bench_weft_end(&weft);
  bench_at_most("conn_10000_failed", failed, "connections", 0);
  return bench_end();
}
