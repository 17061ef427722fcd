/* SPDX-License-Identifier: Apache-2.0 */
/* weft_perf_hist.c - percentiles of the log-linear histogram.
 * The exact minimum and maximum bound every answer. */
#include "weft_perf_hist.h"

#include <string.h>

void perf_hist_reset(perf_hist_t *h) {
  memset(h, 0, sizeof(*h));
  h->min = UINT64_MAX;
}

void perf_hist_merge(perf_hist_t *into, const perf_hist_t *from) {
  for (unsigned i = 0; i < PERF_HIST_BUCKETS; i++) into->bucket[i] += from->bucket[i];
  into->count += from->count;
  into->sum += from->sum;
  if (from->max > into->max) into->max = from->max;
  if (from->min < into->min) into->min = from->min;
}

/* A bucket's lowest value and its width. */
static void bucket_range(unsigned i, double *low, double *width) {
  unsigned row = i >> PERF_HIST_SUB_BITS, sub = i & (PERF_HIST_SUB - 1);
  if (row == 0) {
    *low = sub;
    *width = 1;
    return;
  }
  *width = (double) (1ull << (row - 1));
  *low = (double) (PERF_HIST_SUB + sub) * *width;
}

double perf_hist_at(const perf_hist_t *h, double percent) {
  if (h->count == 0) return 0;
  double want = percent / 100.0 * (double) h->count, seen = 0;
  for (unsigned i = 0; i < PERF_HIST_BUCKETS; i++) {
    double here = (double) h->bucket[i];
    if (here == 0 || seen + here < want) {
      seen += here;
      continue;
    }
    double low, width;
    bucket_range(i, &low, &width);
    double v = low + width * (want - seen) / here;
    if (v < (double) h->min) return (double) h->min;
    return v > (double) h->max ? (double) h->max : v;
  }
  return (double) h->max;
}

double perf_hist_mean(const perf_hist_t *h) {
  return h->count ? h->sum / (double) h->count : 0;
}
