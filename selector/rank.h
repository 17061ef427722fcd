/* SPDX-License-Identifier: Apache-2.0 */
/* rank.h - needs + candidates -> verdicts, best first.
 *
 * Design notes
 *   - Pure: no I/O, no clock, no memory of earlier calls; the same input gives the same output, in
 *     whatever order the candidates come.
 *   - Order: usable before not usable; then real devices before loopback; then those that meet the
 *     needs; then the lower expected cost of a message of the needs' size; then the fixed order of
 *     providers (verbs, dpdk, ksock, tcp, others by name); then device and addresses by name.
 *   - Nobody is left without a reason: each candidate that is not usable has a code and a sentence
 *     with the figures or the names that decided. */
#ifndef WEFT_SELECTOR_RANK_H
#define WEFT_SELECTOR_RANK_H

#include <stddef.h>
#include <stdint.h>

#include "weft_qos.h"

enum {
  WEFT__CAND_LOOPBACK = 1 << 0, /* reaches this machine only */
  WEFT__CAND_LINK_DOWN = 1 << 1,
  WEFT__CAND_NO_ADDRESS = 1 << 2,
  WEFT__CAND_MEASURED = 1 << 3, /* latency_ns and speed_bps were measured on this very path */
};

/* What the selector sees of a candidate. Strings are the caller's, NULL counts as "". */
struct weft__cand_view {
  const char *provider;
  const char *device;
  const char *local;
  const char *remote;
  uint64_t speed_bps;  /* BITS per second, as links are rated; 0 = unknown */
  uint64_t latency_ns; /* round trip of a small message; 0 = unknown: the provider's usual one */
  uint32_t flags;      /* WEFT__CAND_* */
  int32_t why;         /* already passed over for this reason; WEFT_WHY_OK = not passed over */
  const char *detail;  /* the sentence that goes with `why` */
  /* Not judged, only shown in the verdict: */
  uint64_t max_op;
  uint32_t mtu;
  uint32_t traits; /* weft_trait bits, but for WEFT_TRAIT_MEASURED, which `flags` tells */
};

/* What narrows the choice beside the needs: options of the context. NULL counts as "" = all. */
struct weft__rank_filter {
  const char *providers;
  const char *devices;
};

/* Expected round trip of a message of `size` bytes and its acknowledgement. */
uint64_t weft__rank_cost_ns(const struct weft__cand_view *cand, uint64_t size);

/* Rank n candidates. `out` gets n verdicts, best first; `order` (may be NULL) gets for each of them
 * the index of its candidate. `needs` and `filter` may be NULL. Answers how many are usable: they
 * are the first ones, with the ranks 0, 1, ...; all others have the rank -1. */
unsigned weft__rank(const weft_qos_t *needs, const struct weft__rank_filter *filter,
                    const struct weft__cand_view *cands, unsigned n, weft_verdict_t *out,
                    unsigned *order);

/* Does a verdict of weft__rank meet latency and bandwidth? If not, a sentence with the figures. */
int weft__rank_meets(const weft_qos_t *needs, const weft_verdict_t *verdict, char *why, size_t len);

/* Why `better` stands before `worse`, with the figures that decided, in one sentence: for the one
 * that is passed over. Both come from weft__rank with the same needs. */
void weft__rank_outranked(const weft_qos_t *needs, const weft_verdict_t *better,
                          const weft_verdict_t *worse, char *out, size_t len);

#endif
