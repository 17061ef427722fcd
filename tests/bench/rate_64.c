/* SPDX-License-Identifier: Apache-2.0 */
/* rate_64.c - 64 B messages one way through one connection, each delivered to a callback, beside
 * ZeroMQ. */
#include "lib_weft.h"
#include "lib_zmq.h"

#include <stdio.h>

#define ABOUT                                                                                      \
  "rate_64 - 64 B messages one way on loopback through one connection; the time ends when the\n"   \
  "receiver has confirmed the last. Beside it ZeroMQ PUSH/PULL over TCP.\n"                        \
  "Bounds: at least 3.0 million/s, and at least 1.0 of ZeroMQ."

int main(int argc, char **argv) {
  bench_args_t args = {.rounds = 9, .seconds = 1};
  bench_begin(&args, argc, argv, ABOUT);
  double weft_rate[BENCH_MAX_ROUNDS], zmq_rate[BENCH_MAX_ROUNDS];
  bench_child_t zmq;
  bench_weft_t weft;
  if (!bench_zmq_start(&zmq, BENCH_SERVER_CORE))
    bench_skip("built without ZeroMQ (Debian: libzmq3-dev)");
  bench_weft_server(&weft, "*", "", NULL);
  bench_pin(BENCH_CLIENT_CORE);
  bench_weft_connect(&weft, NULL);
  bench_weft_standby(&weft);
  for (unsigned i = 0; i < args.rounds; i++) {
    perf_rate_t a, b;
    bench_weft_stream(&weft, 64, 0, args.seconds, &a);
    bench_zmq_stream(&zmq, BENCH_CLIENT_CORE, 64, args.seconds, &b);
    weft_rate[i] = (double) a.messages * 1e3 / (double) a.ns;
    zmq_rate[i] = (double) b.messages * 1e3 / (double) b.ns;
    if (args.verbose)
      printf("round %u: weft %.3f, ZeroMQ %.3f million/s\n", i + 1, weft_rate[i], zmq_rate[i]);
  }
  bench_weft_end(&weft);
  bench_reap(&zmq);
  bench_series("weft", weft_rate, args.rounds, "M/s");
  bench_series("ZeroMQ PUSH/PULL", zmq_rate, args.rounds, "M/s");
  bench_at_least("rate_64_zmq", bench_ratio(weft_rate, zmq_rate, args.rounds), "ratio", 1.0);
  bench_at_least("rate_64", bench_median(weft_rate, args.rounds), "million/s", 3.0);
  return bench_end();
}
