/* SPDX-License-Identifier: Apache-2.0 */
/* weft_info_list.c - the candidates of this machine, one line each or in full. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weft_info.h"

/* ---- One verdict ---- */

const char *info_why(const weft_verdict_t *v, char *buf, size_t len) {
  if (v->why == WEFT_WHY_OK)
    snprintf(buf, len, "%s", v->detail);
  else
    snprintf(buf, len, "%s%s%s", weft_why_name(v->why), *v->detail != '\0' ? ": " : "", v->detail);
  return buf;
}

static const char *known(const weft_verdict_t *v) {
  return v->traits & WEFT_TRAIT_MEASURED ? "measured" : "expected";
}

const char *info_cost(const weft_verdict_t *v, char *buf, size_t len) {
  char a[24], b[24];

  if (v->latency_ns == 0) return "-";
  snprintf(buf, len, "%s, %s %s", info_duration(v->latency_ns, a, sizeof(a)),
           info_rate(v->bandwidth, b, sizeof(b)), known(v));
  return buf;
}

/* Who moves memory: the device, the provider's software, or nobody. */
static const char *rma(const weft_verdict_t *v) {
  if (v->traits & WEFT_TRAIT_RDMA) return "device";
  return v->traits & WEFT_TRAIT_RMA ? "software" : "-";
}

static const char *events(const weft_verdict_t *v) {
  return v->traits == 0 ? "-" : v->traits & WEFT_TRAIT_EVENTS ? "yes" : "no";
}

void info_block(const weft_verdict_t *v) {
  char a[24], b[24];

  printf("%s%s%s: ", v->provider, *v->device != '\0' ? " " : "", v->device);
  if (v->rank >= 0)
    printf("rank %d\n", v->rank);
  else
    printf("not usable\n");
  printf("  reason       %s\n  detail       ", weft_why_name(v->why));
  info_wrapped(*v->detail != '\0' ? v->detail : "-", 15, 100);
  if (v->rank < 0) {
    fputs("  what to do   ", stdout);
    info_wrapped(weft_why_help(v->why), 15, 100);
  }
  if (*v->local != '\0') printf("  address      %s\n", v->local);
  if (*v->remote != '\0') printf("  peer         %s\n", v->remote);
  if (v->latency_ns != 0)
    printf("  round trip   %s %s\n", info_duration(v->latency_ns, a, sizeof(a)), known(v));
  if (v->bandwidth != 0)
    printf("  bandwidth    %s expected\n", info_rate(v->bandwidth, b, sizeof(b)));
  if (v->traits == 0) return; /* nothing that could have been asked */
  printf("  link         %s, MTU %u\n",
         v->speed_bps != 0 ? info_speed(v->speed_bps, a, sizeof(a)) : "speed unknown", v->mtu);
  printf("  RMA          %s\n", v->traits & WEFT_TRAIT_RDMA  ? "by the device"
                                : v->traits & WEFT_TRAIT_RMA ? "by the provider, in software"
                                                             : "none");
  printf("  wakes        %s\n", v->traits & WEFT_TRAIT_EVENTS
                                    ? "by a file descriptor: no CPU when idle"
                                    : "not at all: must be polled");
  printf("  one transfer %s%s\n", v->max_op == UINT64_MAX ? "no limit" : "up to ",
         v->max_op == UINT64_MAX ? "" : info_bytes(v->max_op, a, sizeof(a)));
  printf("  receives     %s\n", v->traits & WEFT_TRAIT_SHARED_RX
                                    ? "per path; the provider has shared ones too"
                                    : "per path");
  printf("  first call   %s\n", v->traits & WEFT_TRAIT_BOOTSTRAP
                                    ? "yes: listens and connects at HOST:PORT"
                                    : "no: joins connections that another provider has opened");
}

static void print_lines(const weft_verdict_t *v, unsigned n) {
  static const char *const head[] = {"RANK", "PROVIDER", "DEVICE", "ADDRESS", "SPEED", "MTU",
                                     "RMA",  "EVENTS",   "LIMIT",  "COST",    "WHY",   NULL};
  unsigned i, rejected = 0;
  char text[240];
  info_table_t t;

  info_table_init(&t, head);
  for (i = 0; i < n; i++) {
    snprintf(text, sizeof(text), "%d", v[i].rank);
    info_cell(&t, v[i].rank >= 0 ? text : "");
    info_cell(&t, v[i].provider);
    info_cell(&t, v[i].device);
    info_cell(&t, v[i].local);
    info_cell(&t, info_speed(v[i].speed_bps, text, sizeof(text)));
    snprintf(text, sizeof(text), "%u", v[i].mtu);
    info_cell(&t, v[i].mtu != 0 ? text : "");
    info_cell(&t, rma(&v[i]));
    info_cell(&t, events(&v[i]));
    info_cell(&t, info_bytes(v[i].max_op, text, sizeof(text)));
    info_cell(&t, info_cost(&v[i], text, sizeof(text)));
    info_cell(&t, info_why(&v[i], text, sizeof(text)));
    rejected += v[i].rank < 0;
  }
  info_table_print(&t);
  if (rejected > 0) printf("\n%u rejected: weft_info -v says what to do about each.\n", rejected);
}

/* ---- The list ---- */

static int named(const char *list, const char *name) {
  size_t len = strlen(name);
  const char *p;

  if (list == NULL) return 1;
  for (p = list; p != NULL; p = strchr(p, ',')) {
    p += *p == ',';
    if (strncmp(p, name, len) == 0 && (p[len] == '\0' || p[len] == ',')) return 1;
  }
  return 0;
}

weft_verdict_t *info_candidates(const info_args_t *args, int *n) {
  weft_verdict_t *list = NULL;
  int cap = 32, i, kept = 0;

  while (1) { /* a device can appear between two calls: ask until all fit */
    list = info_alloc(list, (size_t) cap * sizeof(*list));
    *n = weft_candidates(&args->opts, list, sizeof(*list), (unsigned) cap);
    if (*n < 0) {
      free(list);
      return NULL;
    }
    if (*n <= cap) break;
    cap = *n + 8;
  }
  /* As with fi_info, what was not asked for is not shown; it would all be "left out". A provider
   * without a device is shown with -d too: it may be the very reason why the device is missing. */
  for (i = 0; i < *n; i++)
    if (named(args->provider, list[i].provider) &&
        (*list[i].device == '\0' || named(args->device, list[i].device)))
      list[kept++] = list[i];
  *n = kept;
  return list;
}

int info_list(const info_args_t *args) {
  weft_verdict_t *list;
  unsigned usable = 0;
  json_t *all;
  int i, n;

  list = info_candidates(args, &n);
  if (list == NULL) {
    fprintf(stderr, "weft_info: weft_candidates: %s (%s)\n", weft_strerror(n), weft_err_name(n));
    return EXIT_NONE;
  }
  for (i = 0; i < n; i++) usable += list[i].rank >= 0;
  if (args->json) {
    all = json_array();
    for (i = 0; i < n; i++) json_array_append_new(all, info_json_verdict(&list[i]));
    info_json_print(
        json_pack("{ss si so}", "weft", weft_version(), "usable", (int) usable, "candidates", all));
  } else if (args->verbose) {
    for (i = 0; i < n; i++) {
      if (i > 0) putchar('\n');
      info_block(&list[i]);
    }
  } else if (n > 0) {
    print_lines(list, (unsigned) n);
  }
  free(list);
  if (usable == 0)
    fprintf(stderr, "weft_info: nothing %sis usable on this machine%s\n",
            args->provider != NULL || args->device != NULL ? "of what -p and -d name " : "",
            args->verbose || args->json || n == 0 ? "" : "; weft_info -v says what to do");
  return usable > 0 ? EXIT_USABLE : EXIT_NONE;
}
