/* SPDX-License-Identifier: Apache-2.0 */
/* weft_perf_hist.h - a histogram of durations with a bounded relative error, for latencies.
 * Recording is a shift and an increment; nothing is allocated and nothing is ever dropped. */
#ifndef WEFT_PERF_HIST_H
#define WEFT_PERF_HIST_H

#include <stdint.h>
#include <time.h>

/* Log-linear as HdrHistogram: 2^SUB_BITS equal steps per power of two, so that a value is off by at
 * most 1/2^SUB_BITS (0.8 %); values under 2^SUB_BITS are exact. */
#define PERF_HIST_SUB_BITS 7
#define PERF_HIST_SUB      (1u << PERF_HIST_SUB_BITS)
#define PERF_HIST_BUCKETS  ((64 - PERF_HIST_SUB_BITS + 1) * PERF_HIST_SUB)

typedef struct perf_hist_s {
  uint64_t count, min, max;
  double sum;
  uint64_t bucket[PERF_HIST_BUCKETS];
} perf_hist_t;

void perf_hist_reset(perf_hist_t *h);
void perf_hist_merge(perf_hist_t *into, const perf_hist_t *from);
/* The value under which `percent` (0 to 100) of the samples lie, interpolated inside its bucket; 0
 * when empty. */
double perf_hist_at(const perf_hist_t *h, double percent);
double perf_hist_mean(const perf_hist_t *h);

static inline unsigned perf_hist_index(uint64_t v) {
  if (v < PERF_HIST_SUB) return (unsigned) v;
  unsigned exp = 63u - (unsigned) __builtin_clzll(v) - PERF_HIST_SUB_BITS;
  return ((exp + 1) << PERF_HIST_SUB_BITS) + (unsigned) ((v >> exp) & (PERF_HIST_SUB - 1));
}

static inline void perf_hist_add(perf_hist_t *h, uint64_t v) {
  h->bucket[perf_hist_index(v)]++;
  h->count++;
  h->sum += (double) v;
  if (v > h->max) h->max = v;
  if (v < h->min) h->min = v;
}

/* The clock of every figure: monotonic and common to all processes of a machine, nanoseconds. */
static inline uint64_t perf_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t) t.tv_sec * 1000000000u + (uint64_t) t.tv_nsec;
}

#endif
