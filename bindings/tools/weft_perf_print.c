/* SPDX-License-Identifier: Apache-2.0 */
/* weft_perf_print.c - results as text and as JSON.
 * A ratio is the median of the rounds' ratios: both halves of a round saw the same machine. */
#include "weft_perf_print.h"

#include <stdlib.h>
#include <string.h>

const char *const perf_test_names[PERF_TESTS] = {"rtt", "rate", "bw"};
const char *const perf_contender_names[PERF_CONTENDERS] = {"weft", "raw libfabric", "raw sockets"};

size_t perf_size_parse(const char *text) {
  char *end;
  unsigned long long v = strtoull(text, &end, 10);
  unsigned shift = 0;
  if (end == text || *text == '-') return 0;
  switch (*end) {
  case 'k':
  case 'K': shift = 10; break;
  case 'm':
  case 'M': shift = 20; break;
  case 'g':
  case 'G': shift = 30; break;
  default: break;
  }
  if (shift) {
    end++;
    if (*end == 'i') end++;
  }
  if (*end == 'B' || *end == 'b') end++;
  return *end || v > (1ull << 40) ? 0 : (size_t) (v << shift);
}

const char *perf_size_text(size_t size, char *buf, size_t len) {
  static const char *const unit[] = {"B", "KiB", "MiB", "GiB"};
  unsigned i = 0;
  while (i < 3 && size >= 1024 && size % 1024 == 0) {
    size /= 1024;
    i++;
  }
  snprintf(buf, len, "%zu %s", size, unit[i]);
  return buf;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *) a, y = *(const double *) b;
  return (x > y) - (x < y);
}

static double median(const double *v, unsigned n) {
  double sorted[PERF_MAX_ROUNDS];
  if (n == 0) return 0;
  memcpy(sorted, v, n * sizeof(*v));
  qsort(sorted, n, sizeof(*sorted), compare);
  return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

static double ratio(const perf_result_t *a, const perf_result_t *b) {
  double v[PERF_MAX_ROUNDS];
  unsigned n = a->rounds < b->rounds ? a->rounds : b->rounds;
  for (unsigned i = 0; i < n; i++) v[i] = a->value[i] / b->value[i];
  return median(v, n);
}

static double percent(uint64_t part, uint64_t whole) {
  return whole ? 100.0 * (double) part / (double) whole : 0;
}

static void print_verdict(FILE *f, const weft_verdict_t *v) {
  char rank[16] = "-", rtt[32] = "";
  if (v->rank >= 0) snprintf(rank, sizeof(rank), "%d", v->rank);
  if (v->latency_ns) snprintf(rtt, sizeof(rtt), "%.1f us", (double) v->latency_ns / 1e3);
  fprintf(f, "  %2s  %-24s %-8s %-10s %s%s%s%s%s%s%s\n", rank, weft_why_name(v->why), v->provider,
          v->device, v->local, *v->remote ? " -> " : "", v->remote, *rtt ? ", " : "", rtt,
          *v->detail ? ": " : "", v->detail);
}

void perf_print_paths(FILE *f, weft_conn_t *conn) {
  weft_conn_info_t info;
  weft_verdict_t v;
  if (weft_conn_info(conn, &info, sizeof(info)) == 0)
    fprintf(f, "path: %s %s %s -> %s; %d open, peer takes up to %llu bytes\n", info.provider,
            info.device, info.local, info.remote, info.paths,
            (unsigned long long) info.max_message);
  for (unsigned i = 0; weft_conn_verdict(conn, i, &v, sizeof(v)) == 0; i++) print_verdict(f, &v);
}

void perf_print_event(FILE *f, const weft_event_t *ev) {
  switch (ev->type) {
  case WEFT_EV_MIGRATED:
    fprintf(f, "migrated: %s => %s, gap %.1f ms: %s\n", ev->from, ev->to, (double) ev->gap_ns / 1e6,
            ev->detail);
    break;
  case WEFT_EV_PATH_UP: fprintf(f, "path up: %s\n", ev->to); break;
  case WEFT_EV_PATH_DOWN: fprintf(f, "path down: %s: %s\n", ev->from, ev->detail); break;
  case WEFT_EV_PEER_STALLED: fprintf(f, "the peer is silent: %s\n", ev->detail); break;
  case WEFT_EV_PEER_BACK: fprintf(f, "the peer is back\n"); break;
  case WEFT_EV_NEED_MISSED: fprintf(f, "need not met: %s\n", ev->detail); break;
  default: break;
  }
}

static void print_result(FILE *f, const perf_block_t *b, perf_contender who) {
  const perf_result_t *r = b->by[who];
  fprintf(f, "  %-14s", perf_contender_names[who]);
  if (b->test == PERF_TEST_RTT)
    fprintf(f, "  p50 %9.2f  p99 %9.2f  p99.9 %9.2f  max %9.1f us",
            median(r->value, r->rounds) / 1e3, perf_hist_at(&r->rtt, 99) / 1e3,
            perf_hist_at(&r->rtt, 99.9) / 1e3, (double) r->rtt.max / 1e3);
  else if (b->test == PERF_TEST_RATE)
    fprintf(f, "  %8.3f million/s  %9.1f MB/s", median(r->value, r->rounds) / 1e6,
            median(r->value, r->rounds) * (double) b->size / 1e6);
  else
    fprintf(f, "  %8.3f GB/s  %9.0f messages/s", median(r->value, r->rounds) / 1e9,
            median(r->value, r->rounds) / (double) b->size);
  fprintf(f, "  CPU %3.0f %% + %3.0f %%\n", percent(r->cpu_client, r->wall),
          percent(r->cpu_server, r->wall));
}

void perf_print_block(FILE *f, const perf_block_t *b) {
  static const char *const title[] = {"round trip", "one way, as many as go", "one way, bandwidth"};
  char size[32], window[32] = "";
  if (b->window) snprintf(window, sizeof(window), ", window %u", b->window);
  fprintf(f, "%s, %s%s (CPU of client + server)\n", title[b->test],
          perf_size_text(b->size, size, sizeof(size)), window);
  for (int i = 0; i < PERF_CONTENDERS; i++)
    if (b->by[i]) print_result(f, b, (perf_contender) i);
  for (int i = PERF_LIBFABRIC; b->by[PERF_WEFT] && i < PERF_CONTENDERS; i++)
    if (b->by[i])
      fprintf(f, "  weft is %.3f of %s (median of %u rounds)\n", ratio(b->by[PERF_WEFT], b->by[i]),
              perf_contender_names[i], b->by[i]->rounds);
}

/* ---- JSON ---- */

static void json_text(FILE *f, const char *key, const char *text) {
  fprintf(f, "\"%s\": \"", key);
  for (; *text; text++) {
    if (*text == '"' || *text == '\\') fputc('\\', f);
    if ((unsigned char) *text >= 0x20) fputc(*text, f);
  }
  fputc('"', f);
}

static void json_result(FILE *f, const perf_block_t *b, perf_contender who) {
  const perf_result_t *r = b->by[who];
  double mid = median(r->value, r->rounds);
  fprintf(f, "{");
  json_text(f, "name", perf_contender_names[who]);
  if (b->test == PERF_TEST_RTT)
    fprintf(f,
            ", \"rtt_us\": {\"p50\": %.3f, \"p99\": %.3f, \"p99_9\": %.3f, \"max\": %.3f, "
            "\"mean\": %.3f, \"samples\": %llu}",
            mid / 1e3, perf_hist_at(&r->rtt, 99) / 1e3, perf_hist_at(&r->rtt, 99.9) / 1e3,
            (double) r->rtt.max / 1e3, perf_hist_mean(&r->rtt) / 1e3,
            (unsigned long long) r->rtt.count);
  else
    fprintf(f, ", \"messages_per_s\": %.1f, \"bytes_per_s\": %.1f",
            b->test == PERF_TEST_RATE ? mid : mid / (double) b->size,
            b->test == PERF_TEST_RATE ? mid * (double) b->size : mid);
  fprintf(f, ", \"rounds\": [");
  for (unsigned i = 0; i < r->rounds; i++) fprintf(f, "%s%.1f", i ? ", " : "", r->value[i]);
  fprintf(f, "], \"cpu_percent\": {\"client\": %.1f, \"server\": %.1f}",
          percent(r->cpu_client, r->wall), percent(r->cpu_server, r->wall));
  if (who != PERF_WEFT && b->by[PERF_WEFT])
    fprintf(f, ", \"weft_is\": %.4f", ratio(b->by[PERF_WEFT], r));
  fprintf(f, "}");
}

static void json_verdicts(FILE *f, weft_conn_t *conn) {
  weft_verdict_t v;
  fprintf(f, "\"verdicts\": [");
  for (unsigned i = 0; weft_conn_verdict(conn, i, &v, sizeof(v)) == 0; i++) {
    fprintf(f, "%s\n    {\"rank\": %d, ", i ? "," : "", v.rank);
    json_text(f, "why", weft_why_name(v.why));
    fprintf(f, ", ");
    json_text(f, "provider", v.provider);
    fprintf(f, ", ");
    json_text(f, "device", v.device);
    fprintf(f, ", ");
    json_text(f, "local", v.local);
    fprintf(f, ", ");
    json_text(f, "remote", v.remote);
    fprintf(f, ", \"latency_ns\": %llu, ", (unsigned long long) v.latency_ns);
    json_text(f, "detail", v.detail);
    fprintf(f, "}");
  }
  fprintf(f, "]");
}

void perf_print_json(FILE *f, const perf_block_t *b, unsigned n, weft_conn_t *conn, int spin) {
  weft_conn_info_t info;
  memset(&info, 0, sizeof(info));
  weft_conn_info(conn, &info, sizeof(info));
  fprintf(f, "{\n  \"version\": \"%s\",\n  \"wait\": \"%s\",\n  ", weft_version(),
          spin ? "spin" : "sleep");
  json_text(f, "provider", info.provider);
  fprintf(f, ", ");
  json_text(f, "device", info.device);
  fprintf(f, ",\n  ");
  json_text(f, "local", info.local);
  fprintf(f, ", ");
  json_text(f, "remote", info.remote);
  fprintf(f, ",\n  \"paths\": %d, \"migrations\": %llu, \"last_gap_ns\": %llu,\n  ", info.paths,
          (unsigned long long) info.migrations, (unsigned long long) info.last_gap_ns);
  json_verdicts(f, conn);
  fprintf(f, ",\n  \"tests\": [");
  for (unsigned i = 0; i < n; i++) {
    fprintf(f, "%s\n    {\"test\": \"%s\", \"size\": %zu, \"window\": %u, \"results\": [",
            i ? "," : "", perf_test_names[b[i].test], b[i].size, b[i].window);
    int first = 1;
    for (int k = 0; k < PERF_CONTENDERS; k++) {
      if (!b[i].by[k]) continue;
      fprintf(f, "%s\n      ", first ? "" : ",");
      json_result(f, &b[i], (perf_contender) k);
      first = 0;
    }
    fprintf(f, "]}");
  }
  fprintf(f, "]\n}\n");
}
