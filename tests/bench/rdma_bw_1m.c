/* SPDX-License-Identifier: Apache-2.0 */
/* rdma_bw_1m.c - 1 MiB messages over an RDMA device beside ib_read_bw with the same window, and
 * bytes that Weft copied: none. */
#include "lib_rdma.h"

#include <stdio.h>
#include <string.h>

#define ABOUT                                                                                      \
  "rdma_bw_1m - 1 MiB messages one way over the first RDMA device, window 16, beside ib_read_bw\n" \
  "with the same window.\n"                                                                        \
  "Bounds: at least 0.90 of ib_read_bw; no byte of a large message is copied, at neither end.\n"   \
  "In a virtual machine: tests/bench/rdma rdma_bw_1m."
#define WINDOW 16
#define MIB    1048576.0

static double bandwidth(const perf_rate_t *r) {
  return (double) r->bytes / MIB / ((double) r->ns / 1e9);
}

int main(int argc, char **argv) {
  bench_args_t args = {.rounds = 5, .seconds = 2};
  bench_begin(&args, argc, argv, ABOUT);
  enum { WEFT, READ, N };
  static const char *const label[N] = {"weft", "ib_read_bw"};
  double rate[N][BENCH_MAX_ROUNDS];
  bench_rdma_t rdma;
  bench_weft_t weft;
  char options[64];
  bench_rdma_find(&rdma);
  bench_rdma_server(&weft, &rdma, "cpu=spin&spin=5ms");
  bench_pin(BENCH_CLIENT_CORE);
  bench_rdma_connect(&weft, &rdma);
  /* Of perftest so many messages, not so many seconds: its own limit (-D) has margins of seconds. */
  unsigned messages = (unsigned) (args.seconds * 24);
  snprintf(options, sizeof(options), "-s 1048576 -t %d -n %u", WINDOW,
           messages > WINDOW ? messages : WINDOW);
  for (unsigned i = 0; i < args.rounds; i++) {
    perf_rate_t r;
    bench_weft_stream(&weft, 1 << 20, WINDOW, args.seconds, &r);
    rate[WEFT][i] = bandwidth(&r);
    rate[READ][i] = bench_perftest(&rdma, "ib_read_bw", options, 3);
    if (args.verbose)
      printf("round %u: weft %.1f, ib_read_bw %.1f MiB/s\n", i + 1, rate[WEFT][i], rate[READ][i]);
  }
  uint64_t copies = bench_rdma_copies(&weft);
  bench_weft_end(&weft);
  for (int k = 0; k < N; k++) bench_series(label[k], rate[k], args.rounds, "MiB/s");
  bench_at_most("rdma_bw_1m_copies", (double) copies, "bytes", 0);
  bench_at_least("rdma_bw_1m", bench_ratio(rate[WEFT], rate[READ], args.rounds), "ratio", 0.90);
  return bench_end();
}
