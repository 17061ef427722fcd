/* SPDX-License-Identifier: Apache-2.0 */
/* lib_weft.h - the Weft side of a bench: weft_perf's server in a process of its own, weft_perf's
 * client here. */
#ifndef WEFT_LIB_WEFT_H
#define WEFT_LIB_WEFT_H

#include "../../bindings/tools/weft_perf.h"
#include "lib_bench.h"

typedef struct bench_weft_s {
  bench_child_t child;
  char url[256]; /* where to connect, with the needs */
  perf_client_t *client;
} bench_weft_t;

/* Fork the server on its core. `needs` as in a URL, "" for none; `opts` may be NULL. */
void bench_weft_server(bench_weft_t *w, const char *listen, const char *needs,
                       const weft_opts_t *opts);
/* Connect; dies with the reason. */
void bench_weft_connect(bench_weft_t *w, const weft_opts_t *opts);
/* Wait up to 5 s for a second path; dies when none comes: figures are with a live standby. */
void bench_weft_standby(bench_weft_t *w);
void bench_weft_pingpong(bench_weft_t *w, size_t size, double seconds, perf_hist_t *rtt);
/* One contender's turn in a round of 64 B ping-pong: Weft's, or with `spec` a floor's. The p50 in
 * microseconds; the samples are added to `all`. */
double bench_rtt_64(bench_weft_t *w, bench_child_t *floors, perf_floor_spec_t *spec, double seconds,
                    perf_hist_t *all);
void bench_weft_stream(bench_weft_t *w, size_t size, unsigned window, double seconds,
                       perf_rate_t *out);
void bench_weft_end(bench_weft_t *w);

#endif
