/* SPDX-License-Identifier: Apache-2.0 */
/* lib_rdma.c - which device, Weft held to it, perftest beside it. */
#include "lib_rdma.h"

#include "lib_tool.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_CANDIDATES 64

/* ---- The device ---- */

typedef struct found_s {
  int n;
  weft_verdict_t v[MAX_CANDIDATES];
} found_t;

static int look(int fd, void *arg) {
  found_t *f = arg;
  (void) fd;
  f->n = weft_candidates(NULL, f->v, sizeof(f->v[0]), MAX_CANDIDATES);
  return 0;
}

static int usable(const weft_verdict_t *v) {
  struct in_addr ip;
  return v->why == WEFT_WHY_OK && strcmp(v->provider, "verbs") == 0 &&
         inet_pton(AF_INET, v->local, &ip) == 1;
}

/* The address that this machine sends from to reach `to`. */
static int source_of(const char *to, char *ip, size_t len) {
  struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(9)};
  socklen_t size = sizeof(sa);
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), ok;
  inet_pton(AF_INET, to, &sa.sin_addr);
  ok = fd >= 0 && connect(fd, (struct sockaddr *) &sa, sizeof(sa)) == 0 &&
       getsockname(fd, (struct sockaddr *) &sa, &size) == 0 &&
       inet_ntop(AF_INET, &sa.sin_addr, ip, (socklen_t) len);
  if (fd >= 0) close(fd);
  return ok;
}

static void set_end(bench_rdma_end_t *end, const weft_verdict_t *v) {
  struct ifaddrs *all, *i;
  struct in_addr ip;
  inet_pton(AF_INET, v->local, &ip);
  snprintf(end->device, sizeof(end->device), "%s", v->device);
  snprintf(end->ip, sizeof(end->ip), "%s", v->local);
  if (getifaddrs(&all)) bench_die("getifaddrs: %s", strerror(errno));
  for (i = all; i; i = i->ifa_next)
    if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET &&
        ((struct sockaddr_in *) i->ifa_addr)->sin_addr.s_addr == ip.s_addr)
      snprintf(end->netdev, sizeof(end->netdev), "%.63s", i->ifa_name);
  freeifaddrs(all);
}

void bench_rdma_find(bench_rdma_t *r) {
  found_t *f = bench_shared(sizeof(*f));
  bench_child_t child;
  const weft_verdict_t *server = NULL, *client = NULL;
  char ip[INET_ADDRSTRLEN] = "";
  int status;
  memset(r, 0, sizeof(*r));
  bench_spawn(&child, -1, look, f);
  waitpid(child.pid, &status, 0);
  close(child.fd);
  if (status || f->n < 0) bench_die("weft_candidates: %s", weft_strerror(f->n));
  if (f->n > MAX_CANDIDATES) f->n = MAX_CANDIDATES;
  for (int i = 0; i < f->n && !server; i++)
    if (usable(&f->v[i])) server = &f->v[i];
  if (!server)
    for (int i = 0; i < f->n; i++)
      if (strcmp(f->v[i].provider, "verbs") == 0)
        bench_skip("no RDMA device with an IPv4 address: %s: %s", weft_why_name(f->v[i].why),
                   f->v[i].detail);
  if (!server) bench_skip("no RDMA device with an IPv4 address; libfabric has no verbs");
  if (!source_of(server->local, ip, sizeof(ip)))
    bench_die("no route to %s: %s", server->local, strerror(errno));
  for (int i = 0; i < f->n && !client; i++)
    if (usable(&f->v[i]) && strcmp(f->v[i].local, ip) == 0) client = &f->v[i];
  if (!client) bench_skip("%s is reached from %s, which no RDMA device has", server->local, ip);
  set_end(&r->server, server);
  set_end(&r->client, client);
  printf("verbs: from %s (%s, %s) to %s (%s, %s)\n", r->client.device, r->client.netdev,
         r->client.ip, r->server.device, r->server.netdev, r->server.ip);
}

/* ---- Weft ---- */

void bench_rdma_opts(const bench_rdma_end_t *end, weft_opts_t *opts) {
  weft_opts_init(opts, sizeof(*opts)); /* reads the environment, starts nothing */
  snprintf(opts->devices, sizeof(opts->devices), "%.60s,%.60s", end->device, end->netdev);
  opts->connect_timeout_ms = 14000;
  opts->handshake_timeout_ms = 14000;
  opts->upgrade_budget_ms = 14000;
  opts->peer_timeout_ms = 120000; /* the loop stands still while others are measured */
  opts->settle_ms = 500;          /* verbs may come up after that: then the connection moves */
}

void bench_rdma_server(bench_weft_t *w, const bench_rdma_t *r, const char *needs) {
  weft_opts_t opts;
  bench_rdma_opts(&r->server, &opts);
  bench_weft_server(w, r->server.ip, needs, &opts);
}

static int over_verbs(perf_client_t *c, void *arg) {
  weft_conn_info_t *info = arg;
  return weft_conn_info(perf_client_conn(c), info, sizeof(*info)) == 0 &&
         strcmp(info->provider, "verbs") == 0;
}

void bench_rdma_connect(bench_weft_t *w, const bench_rdma_t *r) {
  weft_conn_info_t info;
  weft_opts_t opts;
  bench_rdma_opts(&r->client, &opts);
  bench_weft_connect(w, &opts);
  weft_conn_t *conn = perf_client_conn(w->client);
  perf_client_run(w->client, 20000, over_verbs, &info);
  if (over_verbs(w->client, &info)) return;
  weft_verdict_t v;
  for (unsigned i = 0; weft_conn_verdict(conn, i, &v, sizeof(v)) == 0; i++)
    printf("  %s %s %s -> %s: %s %s\n", v.provider, v.device, v.local, v.remote,
           weft_why_name(v.why), v.detail);
  bench_die("the connection is over %s %s, not over verbs", info.provider, info.device);
}

uint64_t bench_rdma_copies(bench_weft_t *w) {
  weft_conn_info_t info;
  perf_ctl_t report;
  memset(&report, 0, sizeof(report));
  if (perf_client_report(w->client, &report) ||
      weft_conn_info(perf_client_conn(w->client), &info, sizeof(info)))
    bench_die("weft: %s", perf_client_error(w->client));
  printf("bytes of large messages copied: client %lu, server %lu\n",
         (unsigned long) info.payload_copies, (unsigned long) report.copies);
  return info.payload_copies + report.copies;
}

/* ---- perftest ---- */

double bench_perftest(const bench_rdma_t *r, const char *tool, const char *options,
                      unsigned column) {
  char server[512], client[512];
  unsigned port = bench_tool_port();
  if (!bench_tool_there(tool)) bench_skip("%s is not installed (Debian: perftest)", tool);
  snprintf(server, sizeof(server), "exec %s -R -F -d %s -p %u %s", tool, r->server.device, port,
           options);
  snprintf(client, sizeof(client), "exec %s -R -F -d %s -p %u %s %s", tool, r->client.device, port,
           options, r->server.ip);
  return bench_tool_pair(server, client, port, 500, column);
}
