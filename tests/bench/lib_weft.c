/* SPDX-License-Identifier: Apache-2.0 */
/* lib_weft.c - weft_perf's server in a process of its own, weft_perf's client here. Errors end the
 * bench. */
#include "lib_weft.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

typedef struct server_arg_s {
  char url[256];
  const weft_opts_t *opts;
  int fd;
} server_arg_t;

static void on_ready(const char *url, void *arg) {
  server_arg_t *a = arg;
  if (send(a->fd, url, strlen(url) + 1, MSG_NOSIGNAL) < 0) perror("send");
}

static int server_main(int fd, void *arg) {
  server_arg_t *a = arg;
  a->fd = fd;
  perf_server_opts_t o = {
      .url = a->url, .opts = a->opts, .stop_fd = fd, .quiet = 1, .ready = on_ready, .arg = a};
  return perf_server_run(&o) != 0;
}

void bench_weft_server(bench_weft_t *w, const char *listen, const char *needs,
                       const weft_opts_t *opts) {
  char url[256] = "";
  server_arg_t arg = {.opts = opts};
  const char *ask = *needs ? "?" : "";
  memset(w, 0, sizeof(*w));
  snprintf(arg.url, sizeof(arg.url), "weft://%s:0%s%s", listen, ask, needs);
  bench_spawn(&w->child, BENCH_SERVER_CORE, server_main, &arg);
  if (recv(w->child.fd, url, sizeof(url) - 1, 0) <= 0) bench_die("the server did not start");
  char *port = strrchr(url, ':');
  if (!port) bench_die("the server listens at %s", url);
  port[strcspn(port, "?/")] = '\0';
  snprintf(w->url, sizeof(w->url), "weft://%s%s%s%s", strcmp(listen, "*") ? listen : "127.0.0.1",
           port, ask, needs);
}

static void check(bench_weft_t *w, int rc) {
  if (rc) bench_die("weft: %s", perf_client_error(w->client));
}

void bench_weft_connect(bench_weft_t *w, const weft_opts_t *opts) {
  perf_client_opts_t o = {.url = w->url, .opts = opts};
  check(w, perf_client_open(&w->client, &o));
}

static int two_paths(perf_client_t *c, void *arg) {
  weft_conn_info_t *info = arg;
  return weft_conn_info(perf_client_conn(c), info, sizeof(*info)) == 0 && info->paths >= 2;
}

void bench_weft_standby(bench_weft_t *w) {
  weft_conn_info_t info;
  memset(&info, 0, sizeof(info));
  perf_client_run(w->client, 5000, two_paths, &info);
  weft_verdict_t v;
  printf("weft: %s %s %s -> %s, %d paths\n", info.provider, info.device, info.local, info.remote,
         info.paths);
  for (unsigned i = 0; weft_conn_verdict(perf_client_conn(w->client), i, &v, sizeof(v)) == 0; i++)
    if (v.why == WEFT_WHY_STANDBY || info.paths < 2)
      printf("  %s %s %s -> %s: %s %s\n", v.provider, v.device, v.local, v.remote,
             weft_why_name(v.why), v.detail);
  if (info.paths < 2)
    bench_die("no standby path: the figure would not be the one that is asked for");
}

void bench_weft_pingpong(bench_weft_t *w, size_t size, double seconds, perf_hist_t *rtt) {
  check(w, perf_client_pingpong(w->client, size, seconds, rtt));
}

double bench_rtt_64(bench_weft_t *w, bench_child_t *floors, perf_floor_spec_t *spec, double seconds,
                    perf_hist_t *all) {
  static perf_hist_t rtt;
  perf_hist_reset(&rtt);
  if (spec)
    bench_floor_pingpong(floors, spec, &rtt);
  else
    bench_weft_pingpong(w, 64, seconds, &rtt);
  perf_hist_merge(all, &rtt);
  return perf_hist_at(&rtt, 50) / 1e3;
}

void bench_weft_stream(bench_weft_t *w, size_t size, unsigned window, double seconds,
                       perf_rate_t *out) {
  check(w, perf_client_stream(w->client, size, window, seconds, out));
}

void bench_weft_end(bench_weft_t *w) {
  perf_client_close(w->client);
  w->client = NULL;
  bench_reap(&w->child);
}
