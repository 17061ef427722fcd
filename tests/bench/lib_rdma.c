/* SPDX-License-Identifier: Apache-2.0 */
/* lib_rdma.c - which device, Weft held to it, perftest beside it.
 *
 * Design notes
 * - perftest's server takes one connection and says nothing when it is ready, and to probe its
 *   port would use the connection up: /proc tells when somebody listens. */
#include "lib_rdma.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_CANDIDATES 64
#define PERFTEST_S     60 /* the longest a run of perftest may take */

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

static void need(const char *tool) {
  char command[128];
  snprintf(command, sizeof(command), "command -v %s >/dev/null", tool);
  if (system(command) != 0) bench_skip("%s is not installed (Debian: perftest)", tool);
}

/* A command of the shell on a core, its output in a file of its own. */
static pid_t command_start(const char *command, int core, FILE **out) {
  pid_t parent = getpid(), pid;
  *out = tmpfile();
  if (!*out) bench_die("tmpfile: %s", strerror(errno));
  fflush(stdout);
  pid = fork();
  if (pid < 0) bench_die("fork: %s", strerror(errno));
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    bench_pin(core);
    dup2(fileno(*out), 1);
    dup2(fileno(*out), 2);
    execl("/bin/sh", "sh", "-c", command, (char *) NULL);
    _exit(127);
  }
  return pid;
}

static int command_wait(pid_t pid) {
  int status = 0;
  for (int i = 0; i < PERFTEST_S * 100; i++) {
    if (waitpid(pid, &status, WNOHANG) == pid)
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    usleep(10000);
  }
  kill(pid, SIGKILL);
  waitpid(pid, &status, 0);
  return 124;
}

static void tell(const char *who, FILE *out) {
  char line[512];
  rewind(out);
  while (fgets(line, sizeof(line), out)) fprintf(stderr, "%s: %s", who, line);
}

/* The last line that is all figures, its column. */
static int figure(FILE *out, unsigned column, double *value) {
  char line[512];
  int found = 0;
  rewind(out);
  while (fgets(line, sizeof(line), out)) {
    char *p = line, *end;
    unsigned i;
    for (i = 0; i <= column; i++, p = end) {
      double v = strtod(p, &end);
      if (end == p) break;
      if (i == column) *value = v;
    }
    found |= i > column;
  }
  return found;
}

double bench_perftest(const bench_rdma_t *r, const char *tool, const char *options,
                      unsigned column) {
  static unsigned runs;
  unsigned port = 18515 + (unsigned) getpid() % 1000 + runs++;
  char command[512];
  FILE *server_out, *client_out;
  double value = 0;
  pid_t server, client;
  int rc_server, rc_client;
  need(tool);
  snprintf(command, sizeof(command), "exec %s -R -F -d %s -p %u %s", tool, r->server.device, port,
           options);
  server = command_start(command, BENCH_SERVER_CORE, &server_out);
  usleep(200000);
  for (int i = 0; i < 500 && !bench_listens(port); i++) usleep(10000);
  usleep(500000);
  snprintf(command, sizeof(command), "exec %s -R -F -d %s -p %u %s %s", tool, r->client.device,
           port, options, r->server.ip);
  client = command_start(command, BENCH_CLIENT_CORE, &client_out);
  rc_client = command_wait(client);
  if (rc_client) kill(server, SIGKILL);
  rc_server = command_wait(server);
  if (rc_client || rc_server || !figure(client_out, column, &value)) {
    tell("server", server_out);
    tell("client", client_out);
    bench_die("%s %s failed (exit codes: client %d, server %d)", tool, options, rc_client,
              rc_server);
  }
  fclose(server_out);
  fclose(client_out);
  return value;
}
