/* SPDX-License-Identifier: Apache-2.0 */
/* weft_perf_print.h - results of the tool weft_perf, as text for people and as JSON for programs.
 */
#ifndef WEFT_PERF_PRINT_H
#define WEFT_PERF_PRINT_H

#include <stdio.h>

#include "weft_perf.h"

#define PERF_MAX_ROUNDS 100

typedef enum { PERF_TEST_RTT, PERF_TEST_RATE, PERF_TEST_BW, PERF_TESTS } perf_test;
typedef enum { PERF_WEFT, PERF_LIBFABRIC, PERF_SOCKETS, PERF_CONTENDERS } perf_contender;

extern const char *const perf_test_names[PERF_TESTS];
extern const char *const perf_contender_names[PERF_CONTENDERS];

/* One contender in one test: its rounds. */
typedef struct perf_result_s {
  unsigned rounds;
  double value[PERF_MAX_ROUNDS]; /* RTT: p50 in nanoseconds; else messages or bytes per second */
  perf_hist_t rtt;               /* all rounds */
  perf_rate_t rate;              /* sum of all rounds */
  uint64_t cpu_client, cpu_server, wall; /* nanoseconds */
} perf_result_t;

typedef struct perf_block_s {
  perf_test test;
  size_t size;
  unsigned window;
  perf_result_t *by[PERF_CONTENDERS]; /* NULL: not measured */
} perf_block_t;

/* "64", "4k", "1MiB", "1g" (powers of 1024): 0 when it is not a size. */
size_t perf_size_parse(const char *text);
const char *perf_size_text(size_t size, char *buf, size_t len);

void perf_print_paths(FILE *f, weft_conn_t *conn);
void perf_print_block(FILE *f, const perf_block_t *b);
/* Migrations and what else happened on the way. */
void perf_print_event(FILE *f, const weft_event_t *ev);
void perf_print_json(FILE *f, const perf_block_t *b, unsigned n, weft_conn_t *conn, int spin);

#endif
