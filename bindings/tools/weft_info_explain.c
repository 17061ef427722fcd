/* SPDX-License-Identifier: Apache-2.0 */
/* weft_info_explain.c - --explain URL: connect as a program would, and show what was chosen and
 * why.
 *
 * Design notes
 *   - The verdicts are the connection's own: rank and reason of each pair of an own candidate and
 *     an address that the peer offers, then of what is left over at either end. Nothing is judged
 *     here.
 *   - Standby paths open after the connection does, so it is looked at again until no verdict
 *     changes to "open" any more, and while a better path is open than the one in use, or until the
 *     time is up. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weft_info.h"

enum { SETTLE_MS = 1500, STEP_MS = 25, QUIET_STEPS = 6 };

typedef struct report {
  const info_args_t *args;
  weft_addr_t addr;
  weft_qos_t qos;
  weft_conn_info_t info;
  weft_verdict_t *v;
  unsigned n;
  info_conn_t conn;
  int status;
  char error[500];
} report_t;

static unsigned read_verdicts(report_t *r) {
  unsigned n = 0, open = 0;

  while (1) {
    r->v = info_alloc(r->v, (n + 1) * sizeof(*r->v));
    if (weft_conn_verdict(&r->conn.handle, n, &r->v[n], sizeof(*r->v)) != 0) break;
    open += r->v[n].why == WEFT_WHY_IN_USE || r->v[n].why == WEFT_WHY_STANDBY;
    n++;
  }
  r->n = n;
  return open;
}

/* A path comes up a moment before it is used: verdicts stand in the order of their ranks. */
static int moves_yet(const report_t *r) {
  unsigned i;

  for (i = 0; i < r->n; i++) {
    if (r->v[i].why == WEFT_WHY_IN_USE) return 0;
    if (r->v[i].why == WEFT_WHY_STANDBY) return 1;
  }
  return 0;
}

/* Until as many paths are open as the needs ask for, or nothing new has opened for a while. */
static void settle(info_net_t *net, report_t *r) {
  unsigned open = read_verdicts(r), waited, quiet = 0;

  for (waited = 0;
       waited < SETTLE_MS && (moves_yet(r) || (open < r->qos.standby + 1 && quiet < QUIET_STEPS));
       waited += STEP_MS) {
    unsigned before = open;
    info_net_run(net, NULL, STEP_MS);
    open = read_verdicts(r);
    quiet = open == before ? quiet + 1 : 0;
  }
  read_verdicts(r);
}

static const weft_verdict_t *chosen(const report_t *r) {
  unsigned i;

  for (i = 0; i < r->n; i++)
    if (r->v[i].why == WEFT_WHY_IN_USE) return &r->v[i];
  return NULL;
}

/* The needs that were given, as they were given. */
static void print_needs(const report_t *r) {
  const char *query = strchr(r->args->url, '?');
  unsigned i;

  if (query == NULL && r->args->needs == 0) return;
  printf("  needs     %s", query != NULL ? query + 1 : "");
  for (i = 0; i < r->args->needs; i++)
    printf("%s%s=%s", i > 0 || query != NULL ? "&" : "", r->args->need[i].key,
           r->args->need[i].value);
  putchar('\n');
}

static void print_head(const report_t *r) {
  const weft_verdict_t *in_use = chosen(r);
  const weft_conn_info_t *info = &r->info;
  char a[24], b[24];

  printf("%s\n", r->args->url);
  print_needs(r);
  if (r->status != 0) {
    printf("  failed    %s: %s\n", weft_err_name(r->status), r->error);
    return;
  }
  printf("  peer      %s\n", *info->peer_name != '\0' ? info->peer_name : "does not say its name");
  printf("  chosen    %s %s %s -> %s\n", info->provider, info->device, info->local, info->remote);
  if (in_use != NULL) printf("  because   %s\n", in_use->detail);
  if (*r->conn.missed != '\0') printf("  missed    %s\n", r->conn.missed);
  printf("  limits    messages up to %s, in one frame up to %s\n",
         info_bytes(info->max_message, a, sizeof(a)), info_bytes(info->eager_max, b, sizeof(b)));
  printf("  opened    in %s, %d path%s\n", info_duration(r->conn.connect_ns, a, sizeof(a)),
         info->paths, info->paths == 1 ? "" : "s");
}

static void print_table(const report_t *r) {
  static const char *const head[] = {"RANK",         "PROVIDER", "DEVICE", "HERE",
                                     "PEER'S OFFER", "COST",     "WHY",    NULL};
  char text[240];
  info_table_t t;
  unsigned i;

  info_table_init(&t, head);
  for (i = 0; i < r->n; i++) {
    const weft_verdict_t *v = &r->v[i];
    snprintf(text, sizeof(text), "%d", v->rank);
    info_cell(&t, v->rank >= 0 ? text : "");
    info_cell(&t, v->provider);
    info_cell(&t, v->device);
    info_cell(&t, v->local);
    info_cell(&t, v->remote);
    info_cell(&t, info_cost(v, text, sizeof(text)));
    info_cell(&t, info_why(v, text, sizeof(text)));
  }
  putchar('\n');
  info_table_print(&t);
}

static void print_json(const report_t *r) {
  json_t *j = json_object(), *list = json_array(), *needs = json_object();
  unsigned i;

#define SET(key, value) json_object_set_new(j, key, value)
  for (i = 0; i < r->n; i++) json_array_append_new(list, info_json_verdict(&r->v[i]));
  for (i = 0; i < r->args->needs; i++)
    json_object_set_new(needs, r->args->need[i].key, info_json_text(r->args->need[i].value));
  SET("weft", info_json_text(weft_version()));
  SET("url", info_json_text(r->args->url));
  SET("needs", needs);
  SET("ok", json_boolean(r->status == 0));
  SET("error", r->status != 0 ? info_json_text(weft_err_name(r->status)) : json_null());
  SET("detail", info_json_text(r->error));
  SET("missed", info_json_text(r->conn.missed));
  SET("peer_name", info_json_text(r->info.peer_name));
  SET("provider", info_json_text(r->info.provider));
  SET("device", info_json_text(r->info.device));
  SET("local", info_json_text(r->info.local));
  SET("remote", info_json_text(r->info.remote));
  SET("paths", json_integer(r->info.paths));
  SET("max_message", info_json_number(r->info.max_message));
  SET("eager_max", info_json_number(r->info.eager_max));
  SET("connect_ns", info_json_number(r->status == 0 ? r->conn.connect_ns : 0));
  SET("verdicts", list);
#undef SET
  info_json_print(j);
}

static void print_report(const report_t *r) {
  unsigned i;

  if (r->args->json) {
    print_json(r);
    return;
  }
  print_head(r);
  if (r->n > 0 && !r->args->verbose) print_table(r);
  for (i = 0; i < r->n && r->args->verbose; i++) {
    putchar('\n');
    info_block(&r->v[i]);
  }
}

int info_explain(const info_args_t *args) {
  report_t r;
  info_net_t net;
  int rc;

  memset(&r, 0, sizeof(r));
  r.args = args;
  if ((rc = info_needs(args, &r.addr, &r.qos)) != 0) return rc;
  if (info_net_open(&net, &args->opts) != 0) return EXIT_NONE;
  r.status = info_dial(&net, &r.conn, args->url, &r.qos);
  if (r.status == 0) {
    settle(&net, &r);
    weft_conn_info(&r.conn.handle, &r.info, sizeof(r.info));
  } else {
    const char *sentence = weft_conn_error(&r.conn.handle);
    snprintf(r.error, sizeof(r.error), "%s",
             *sentence != '\0' ? sentence : weft_strerror(r.status));
    read_verdicts(&r);
  }
  print_report(&r);
  info_hang_up(&net, &r.conn);
  info_net_close(&net);
  free(r.v);
  if (r.status != 0) fprintf(stderr, "weft_info: %s\n", r.error);
  return r.status == 0 ? EXIT_USABLE : EXIT_NONE;
}
