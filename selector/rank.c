/* SPDX-License-Identifier: Apache-2.0 */
/* rank.c - needs + candidates -> verdicts, best first.
 *
 * Design notes
 *   - The cost is piecewise linear over the message size: a small message is copied at either end;
 *     where that would cost more than a round trip, it is announced first (one more round trip)
 *     and not copied.
 *   - Figures of a provider are what a quiet machine of 2020 or later shows; they only have to
 *     order candidates until the path itself has been measured. */
#include "rank.h"

#include <stdio.h>
#include <string.h>

#include "reasons.h"
#include "units.h"

/* What to expect of a provider whose link says nothing. The order of the table is the order at
 * equal cost. */
static const struct traits {
  const char *provider;
  uint64_t latency_ns;      /* round trip of a small message */
  uint64_t bandwidth;       /* bytes per second, when the link does not say its speed */
  uint64_t copy_ns_per_kib; /* the copies at both ends */
} traits[] = {
    {"verbs", 5000, UINT64_C(3000000000), 100},  {"dpdk", 12000, UINT64_C(1250000000), 200},
    {"ksock", 30000, UINT64_C(1250000000), 250}, {"tcp", 35000, UINT64_C(1250000000), 300},
    {"", 50000, UINT64_C(1000000000), 300}, /* any other */
};

enum { TRAITS = sizeof(traits) / sizeof(traits[0]) };

static const char *text(const char *s) {
  return s != NULL ? s : "";
}

static const struct traits *traits_of(const struct weft__cand_view *cand) {
  size_t i;

  for (i = 0; i < TRAITS - 1; i++)
    if (strcmp(traits[i].provider, text(cand->provider)) == 0) break;
  return &traits[i];
}

static uint64_t bandwidth_of(const struct weft__cand_view *cand) {
  return cand->speed_bps != 0 ? cand->speed_bps / 8 : traits_of(cand)->bandwidth;
}

static uint64_t saturate(unsigned __int128 v) {
  return v > UINT64_MAX ? UINT64_MAX : (uint64_t) v;
}

uint64_t weft__rank_cost_ns(const struct weft__cand_view *cand, uint64_t size) {
  const struct traits *t = traits_of(cand);
  uint64_t latency = cand->latency_ns != 0 ? cand->latency_ns : t->latency_ns;
  uint64_t bandwidth = bandwidth_of(cand);
  unsigned __int128 cost = latency, copies;

  if (bandwidth == 0) bandwidth = 1;
  cost += (unsigned __int128) size * 1000000000 / bandwidth;
  copies = (unsigned __int128) size * t->copy_ns_per_kib / 1024;
  cost += copies < latency ? copies : latency;
  return saturate(cost);
}

int weft__rank_meets(const weft_qos_t *needs, const weft_verdict_t *v, char *why, size_t len) {
  char a[24], b[24], c[24];

  if (needs->latency_ns != 0 && v->latency_ns > needs->latency_ns) {
    snprintf(why, len, "%s round trip of %s, needed: %s",
             weft__format_duration(v->latency_ns, a, sizeof(a)),
             weft__format_bytes(needs->message_size, b, sizeof(b)),
             weft__format_duration(needs->latency_ns, c, sizeof(c)));
    return 0;
  }
  if (needs->bandwidth != 0 && v->bandwidth < needs->bandwidth) {
    snprintf(why, len, "%s, needed: %s", weft__format_rate(v->bandwidth, a, sizeof(a)),
             weft__format_rate(needs->bandwidth, b, sizeof(b)));
    return 0;
  }
  return 1;
}

/* The first rule that speaks against the candidate: its code, and a sentence in `detail`. */
static int judge(const weft_qos_t *needs, const struct weft__rank_filter *filter,
                 const struct weft__cand_view *cand, const weft_verdict_t *v, char *detail,
                 size_t len) {
  char figures[100];

  if (cand->why != WEFT_WHY_OK) {
    snprintf(detail, len, "%s",
             cand->detail != NULL && *cand->detail != '\0' ? cand->detail
                                                           : weft__why_text(cand->why));
    return cand->why;
  }
  if (weft__list_has_provider(needs->forbid, v->provider)) {
    snprintf(detail, len, "forbid=%.100s", needs->forbid);
    return WEFT_WHY_FORBIDDEN;
  }
  if (*needs->require != '\0' && !weft__list_has_provider(needs->require, v->provider)) {
    snprintf(detail, len, "require=%.100s leaves %s out", needs->require, v->provider);
    return WEFT_WHY_NOT_REQUIRED;
  }
  if (*text(filter->providers) != '\0' && !weft__list_has(filter->providers, v->provider)) {
    snprintf(detail, len, "the option providers=%.80s leaves %s out", filter->providers,
             v->provider);
    return WEFT_WHY_NOT_REQUIRED;
  }
  if (*text(filter->devices) != '\0' && !weft__list_has(filter->devices, v->device)) {
    snprintf(detail, len, "devices=%.80s leaves %.50s out", filter->devices, v->device);
    return WEFT_WHY_DEVICE_FILTER;
  }
  if (cand->flags & WEFT__CAND_LINK_DOWN) {
    snprintf(detail, len, "the link of %s is down", v->device);
    return WEFT_WHY_LINK_DOWN;
  }
  if (cand->flags & WEFT__CAND_NO_ADDRESS) {
    snprintf(detail, len, "%s has no address that a peer could reach", v->device);
    return WEFT_WHY_NO_ADDRESS;
  }
  if (!weft__rank_meets(needs, v, figures, sizeof(figures))) {
    if (needs->strict) {
      snprintf(detail, len, "%s%s", cand->flags & WEFT__CAND_MEASURED ? "" : "expected ", figures);
      return WEFT_WHY_TOO_SLOW;
    }
    snprintf(detail, len, "usable, but misses a need: %s%s",
             cand->flags & WEFT__CAND_MEASURED ? "" : "expected ", figures);
  }
  return WEFT_WHY_OK;
}

/* Where the figures of a usable candidate come from; they stand in the verdict themselves. */
static void describe(const struct weft__cand_view *cand, weft_verdict_t *v) {
  char evidence[100];

  if (cand->flags & WEFT__CAND_MEASURED)
    snprintf(evidence, sizeof(evidence), "measured on this path");
  else if (cand->speed_bps == 0)
    snprintf(evidence, sizeof(evidence), "usual for %s, the link does not say its speed",
             v->provider);
  else
    snprintf(evidence, sizeof(evidence), "usual for %s on a link of %.3g Gbit/s", v->provider,
             (double) cand->speed_bps / 1e9);
  snprintf(v->detail, sizeof(v->detail), "%s%s", evidence,
           cand->flags & WEFT__CAND_LOOPBACK ? "; loopback: for this machine only" : "");
}

static void fill(const weft_qos_t *needs, const struct weft__rank_filter *filter,
                 const struct weft__cand_view *cand, weft_verdict_t *v) {
  memset(v, 0, sizeof(*v));
  v->size = sizeof(*v);
  snprintf(v->provider, sizeof(v->provider), "%s", text(cand->provider));
  snprintf(v->device, sizeof(v->device), "%s", text(cand->device));
  snprintf(v->local, sizeof(v->local), "%s", text(cand->local));
  snprintf(v->remote, sizeof(v->remote), "%s", text(cand->remote));
  v->latency_ns = weft__rank_cost_ns(cand, needs->message_size);
  v->bandwidth = bandwidth_of(cand);
  v->speed_bps = cand->speed_bps;
  v->max_op = cand->max_op;
  v->mtu = cand->mtu;
  v->traits = cand->traits;
  if (cand->flags & WEFT__CAND_LOOPBACK) v->traits |= WEFT_TRAIT_LOOPBACK;
  if (cand->flags & WEFT__CAND_MEASURED) v->traits |= WEFT_TRAIT_MEASURED;
  v->why = judge(needs, filter, cand, v, v->detail, sizeof(v->detail));
  v->rank = v->why == WEFT_WHY_OK ? 0 : -1;
  if (*v->detail == '\0') describe(cand, v);
  if (cand->why != WEFT_WHY_OK && cand->speed_bps == 0 && cand->latency_ns == 0)
    v->latency_ns = v->bandwidth = 0; /* of something that is not there, nothing is expected */
}

void weft__rank_outranked(const weft_qos_t *needs, const weft_verdict_t *better,
                          const weft_verdict_t *worse, char *out, size_t len) {
  char who[80], missed[100], a[24], b[24], c[24];

  snprintf(who, sizeof(who), "%.16s %.20s%s%.40s", better->provider, better->device,
           *better->local != '\0' ? " " : "", better->local);
  if (weft__rank_meets(needs, better, missed, sizeof(missed)) &&
      !weft__rank_meets(needs, worse, missed, sizeof(missed)))
    snprintf(out, len, "%s meets the needs; here: %s", who, missed);
  else if (better->latency_ns < worse->latency_ns)
    snprintf(out, len, "%s takes %s for %s, this one %s", who,
             weft__format_duration(better->latency_ns, a, sizeof(a)),
             weft__format_bytes(needs->message_size, b, sizeof(b)),
             weft__format_duration(worse->latency_ns, c, sizeof(c)));
  else if (better->latency_ns == worse->latency_ns)
    snprintf(out, len, "%s takes %s for %s as this one, and comes first in the fixed order", who,
             weft__format_duration(better->latency_ns, a, sizeof(a)),
             weft__format_bytes(needs->message_size, b, sizeof(b)));
  else /* the better one is slower: something else decided, as a measurement on one of them only */
    snprintf(out, len, "%s comes first", who);
}

static int compare_u64(uint64_t a, uint64_t b) {
  return (a > b) - (a < b);
}

_Static_assert(sizeof(weft_verdict_t) == 480, "new fields of a verdict come out of `reserved`");

struct entry {
  const struct weft__cand_view *cand;
  const weft_verdict_t *verdict;
};

/* < 0: a comes first. Never 0 for two candidates that differ in anything a person can see. */
static int compare(const weft_qos_t *needs, struct entry a, struct entry b) {
  const weft_verdict_t *va = a.verdict, *vb = b.verdict;
  int usable = va->rank >= 0;
  char scratch[100];
  int d;

  if ((d = (vb->rank >= 0) - usable) != 0) return d;
  if (usable) {
    d = !!(a.cand->flags & WEFT__CAND_LOOPBACK) - !!(b.cand->flags & WEFT__CAND_LOOPBACK);
    if (d != 0) return d;
    d = weft__rank_meets(needs, vb, scratch, sizeof(scratch)) -
        weft__rank_meets(needs, va, scratch, sizeof(scratch));
    if (d != 0) return d;
    if ((d = compare_u64(va->latency_ns, vb->latency_ns)) != 0) return d;
  }
  if ((d = (int) (traits_of(a.cand) - traits_of(b.cand))) != 0) return d;
  if ((d = strcmp(va->provider, vb->provider)) != 0) return d;
  if ((d = strcmp(va->device, vb->device)) != 0) return d;
  if ((d = strcmp(va->local, vb->local)) != 0) return d;
  if ((d = strcmp(va->remote, vb->remote)) != 0) return d;
  return va->why - vb->why;
}

unsigned weft__rank(const weft_qos_t *needs, const struct weft__rank_filter *filter,
                    const struct weft__cand_view *cands, unsigned n, weft_verdict_t *out,
                    unsigned *order) {
  static const struct weft__rank_filter nothing;
  weft_qos_t defaults;
  unsigned i, usable = 0;

  if (needs == NULL) {
    weft_qos_init(&defaults, sizeof(defaults));
    needs = &defaults;
  }
  if (filter == NULL) filter = &nothing;

  for (i = 0; i < n; i++) {
    fill(needs, filter, &cands[i], &out[i]);
    out[i].reserved[0] = i; /* which candidate it is, while sorting */
  }

  /* Insertion sort: candidates are few (an offer has at most 16 entries), and it is stable. */
  for (i = 1; i < n; i++) {
    weft_verdict_t moving = out[i];
    unsigned j = i;
    while (j > 0 && compare(needs, (struct entry){&cands[moving.reserved[0]], &moving},
                            (struct entry){&cands[out[j - 1].reserved[0]], &out[j - 1]}) < 0) {
      out[j] = out[j - 1];
      j--;
    }
    out[j] = moving;
  }

  for (i = 0; i < n; i++) {
    if (order != NULL) order[i] = (unsigned) out[i].reserved[0];
    out[i].reserved[0] = 0;
    if (out[i].rank >= 0) out[i].rank = (int32_t) usable++;
  }
  return usable;
}
