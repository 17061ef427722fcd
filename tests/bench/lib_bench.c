/* SPDX-License-Identifier: Apache-2.0 */
/* lib_bench.c - arguments, cores, child processes, medians, the last line.
 *
 * Design notes
 * - Children are forked before the parent touches libfabric or Weft, and die with it
 *   (PR_SET_PDEATHSIG).
 * - Every result goes through bench_at_most or bench_at_least: a bench cannot print a figure as
 *   good and exit 1. */
#include "lib_bench.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_RESULTS 16

typedef struct result_s {
  char name[64], unit[16];
  double value, bound;
  int most, holds;
} result_t;

static result_t results[MAX_RESULTS];
static unsigned result_count;

void bench_die(const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  fflush(stdout);
  vfprintf(stderr, format, ap);
  fputc('\n', stderr);
  va_end(ap);
  exit(1);
}

void bench_skip(const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  printf("skipped: ");
  vprintf(format, ap);
  putchar('\n');
  va_end(ap);
  exit(BENCH_SKIP);
}

/* Time that all cores together have been in use since the boot, seconds. */
static double busy_seconds(void) {
  unsigned long long v[8] = {0};
  FILE *f = fopen("/proc/stat", "r");
  if (f) {
    if (fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2], &v[3], &v[4],
               &v[5], &v[6], &v[7]) != 8)
      memset(v, 0, sizeof(v));
    fclose(f);
  }
  return (double) (v[0] + v[1] + v[2] + v[5] + v[6] + v[7]) / (double) sysconf(_SC_CLK_TCK);
}

/* The same of this process and of the children it has waited for. */
static double own_seconds(void) {
  struct rusage u[2];
  double sum = 0;
  getrusage(RUSAGE_SELF, &u[0]);
  getrusage(RUSAGE_CHILDREN, &u[1]);
  for (int i = 0; i < 2; i++)
    sum += (double) (u[i].ru_utime.tv_sec + u[i].ru_stime.tv_sec) +
           (double) (u[i].ru_utime.tv_usec + u[i].ru_stime.tv_usec) / 1e6;
  return sum;
}

static struct {
  double busy, own;
  uint64_t at;
} began;

static void noise_begin(void) {
  began.busy = busy_seconds();
  began.own = own_seconds();
  began.at = perf_now();
}

/* Share of the machine that others have used since noise_begin. */
static double noise(void) {
  double others = busy_seconds() - began.busy - (own_seconds() - began.own);
  double all = (double) (perf_now() - began.at) / 1e9 * (double) sysconf(_SC_NPROCESSORS_ONLN);
  return others > 0 ? others / all : 0;
}

static void machine(void) {
  struct utsname u;
  uname(&u);
  char line[256], model[128] = "unknown processor";
  FILE *f = fopen("/proc/cpuinfo", "r");
  while (f && fgets(line, sizeof(line), f))
    if (sscanf(line, "model name : %127[^\n]", model) == 1) break;
  if (f) fclose(f);
  double load[1] = {0};
  char tcp[32] = "?";
  getloadavg(load, 1);
  noise_begin();
  usleep(200000);
  double busy = noise();
  f = fopen("/proc/sys/net/ipv4/tcp_congestion_control", "r");
  if (f && fscanf(f, "%31s", tcp) != 1) tcp[0] = '\0';
  if (f) fclose(f);
  printf("%s, %ld cores, %s %s, TCP %s; load %.2f over the last minute, %.0f %% busy now\n", model,
         sysconf(_SC_NPROCESSORS_ONLN), u.sysname, u.release, tcp, load[0], busy * 100);
  if (busy > 0.10)
    printf("WARNING: the machine is not idle; figures are worth less, repeat in a quiet moment\n");
  if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
    printf(
        "WARNING: fewer than 2 cores: client and server share one, latencies are not meaningful\n");
}

void bench_begin(bench_args_t *args, int argc, char **argv, const char *about) {
  static const struct option longs[] = {
      {"rounds", required_argument, NULL, 'r'}, {"seconds", required_argument, NULL, 's'},
      {"full", no_argument, NULL, 'f'},         {"verbose", no_argument, NULL, 'v'},
      {"help", no_argument, NULL, 'h'},         {0}};
  const char *slash = strrchr(argv[0], '/');
  args->name = slash ? slash + 1 : argv[0];
  setvbuf(stdout, NULL, _IOLBF, 0);
  for (int c; (c = getopt_long(argc, argv, "r:s:vh", longs, NULL)) != -1;) {
    switch (c) {
    case 'r': args->rounds = (unsigned) atoi(optarg); break;
    case 's': args->seconds = atof(optarg); break;
    case 'f': args->full = 1; break;
    case 'v': args->verbose = 1; break;
    case 'h':
      printf("%s\n\nUsage: %s [--rounds N] [--seconds S] [--full] [-v]\n"
             "  --rounds N    rounds, each measures every contender once (now %u)\n"
             "  --seconds S   length of one measurement (now %g)\n"
             "  --full        the long run, where there is one\n"
             "  -v            print every round\n"
             "Exit status: 0 every bound holds, 1 one is missed or the run failed, 77 not possible "
             "here.\n",
             about, args->name, args->rounds, args->seconds);
      exit(0);
    default: exit(2);
    }
  }
  if (optind < argc || args->rounds < 1 || args->rounds > BENCH_MAX_ROUNDS || args->seconds <= 0) {
    fprintf(stderr, "%s: bad arguments, see --help\n", args->name);
    exit(2);
  }
  machine();
  noise_begin();
}

void bench_pin(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core % (int) sysconf(_SC_NPROCESSORS_ONLN), &set);
  if (sched_setaffinity(0, sizeof(set), &set))
    fprintf(stderr, "WARNING: cannot pin to core %d: %s\n", core, strerror(errno));
}

void bench_spawn(bench_child_t *child, int core, int (*fn)(int fd, void *arg), void *arg) {
  int pair[2];
  pid_t parent = getpid();
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
    bench_die("socketpair: %s", strerror(errno));
  fflush(stdout);
  child->pid = fork();
  if (child->pid < 0) bench_die("fork: %s", strerror(errno));
  if (child->pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    close(pair[0]);
    if (core >= 0) bench_pin(core);
    int rc = fn(pair[1], arg);
    fflush(stdout);
    _exit(rc);
  }
  close(pair[1]);
  child->fd = pair[0];
}

int bench_reap(bench_child_t *child) {
  return bench_reap_within(child, 5);
}

int bench_reap_within(bench_child_t *child, unsigned seconds) {
  int status = 0;
  shutdown(child->fd, SHUT_RDWR); /* children that were forked later have it open, too */
  close(child->fd);
  for (unsigned i = 0; i < 100 * seconds; i++) {
    if (waitpid(child->pid, &status, WNOHANG) == child->pid)
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    usleep(10000);
  }
  kill(child->pid, SIGKILL);
  waitpid(child->pid, &status, 0);
  return 128 + SIGKILL;
}

void *bench_shared(size_t size) {
  void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) bench_die("mmap: %s", strerror(errno));
  return p;
}

uint64_t bench_cpu_ns(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (uint64_t) (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000u +
         (uint64_t) (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000u;
}

uint64_t bench_cpu_ns_of(pid_t pid) {
  clockid_t clock;
  struct timespec t;
  if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t)) return 0;
  return (uint64_t) t.tv_sec * 1000000000u + (uint64_t) t.tv_nsec;
}

static uint64_t status_kib(pid_t pid, const char *key) {
  char path[64], line[128];
  unsigned long long kib = 0;
  snprintf(path, sizeof(path), "/proc/%d/status", (int) pid);
  FILE *f = fopen(path, "r");
  while (f && fgets(line, sizeof(line), f))
    if (strncmp(line, key, strlen(key)) == 0) sscanf(line + strlen(key), " %llu", &kib);
  if (f) fclose(f);
  return kib * 1024;
}

uint64_t bench_rss_of(pid_t pid) {
  return status_kib(pid, "VmRSS:");
}

uint64_t bench_peak_of(pid_t pid) {
  return status_kib(pid, "VmHWM:");
}

void bench_peak_reset(pid_t pid) {
  char path[64];
  snprintf(path, sizeof(path), "/proc/%d/clear_refs", (int) pid);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, "5", 1) != 1)
    fprintf(stderr, "WARNING: %s: %s: the peak includes the past\n", path, strerror(errno));
  if (fd >= 0) close(fd);
}

static int compare(const void *a, const void *b) {
  double x = *(const double *) a, y = *(const double *) b;
  return (x > y) - (x < y);
}

int bench_listens(unsigned port) {
  char line[256];
  unsigned at, state;
  int yes = 0;
  for (int six = 0; six < 2 && !yes; six++) {
    FILE *f = fopen(six ? "/proc/net/tcp6" : "/proc/net/tcp", "r");
    while (f && !yes && fgets(line, sizeof(line), f))
      yes = sscanf(line, "%*u: %*[0-9A-F]:%x %*[0-9A-F]:%*x %x", &at, &state) == 2 && at == port &&
            state == 0x0a;
    if (f) fclose(f);
  }
  return yes;
}

double bench_median(const double *v, unsigned n) {
  double sorted[BENCH_MAX_ROUNDS];
  memcpy(sorted, v, n * sizeof(*v));
  qsort(sorted, n, sizeof(*sorted), compare);
  return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

double bench_ratio(const double *a, const double *b, unsigned n) {
  double ratio[BENCH_MAX_ROUNDS];
  for (unsigned i = 0; i < n; i++) ratio[i] = a[i] / b[i];
  return bench_median(ratio, n);
}

void bench_series(const char *label, const double *v, unsigned n, const char *unit) {
  double low = v[0], high = v[0];
  for (unsigned i = 1; i < n; i++) {
    low = v[i] < low ? v[i] : low;
    high = v[i] > high ? v[i] : high;
  }
  printf("%-34s median %10.3f %-5s  (%.3f .. %.3f, %u rounds)\n", label, bench_median(v, n), unit,
         low, high, n);
}

void bench_hist(const char *label, const perf_hist_t *h) {
  printf("%-34s RTT us: p50 %.2f  p99 %.2f  p99.9 %.2f  max %.1f  (%lu)\n", label,
         perf_hist_at(h, 50) / 1e3, perf_hist_at(h, 99) / 1e3, perf_hist_at(h, 99.9) / 1e3,
         (double) h->max / 1e3, (unsigned long) h->count);
}

static void result(const char *name, double value, const char *unit, double bound, int most) {
  if (result_count == MAX_RESULTS) bench_die("too many results");
  result_t *r = &results[result_count++];
  snprintf(r->name, sizeof(r->name), "%s", name);
  snprintf(r->unit, sizeof(r->unit), "%s", unit);
  r->value = value;
  r->bound = bound;
  r->most = most;
  r->holds = most ? value <= bound : value >= bound; /* NaN holds nowhere */
}

void bench_at_most(const char *name, double value, const char *unit, double bound) {
  result(name, value, unit, bound, 1);
}

void bench_at_least(const char *name, double value, const char *unit, double bound) {
  result(name, value, unit, bound, 0);
}

int bench_end(void) {
  int missed = 0;
  for (unsigned i = 0; i < result_count; i++) missed += !results[i].holds;
  double load[1] = {0};
  getloadavg(load, 1);
  double others = noise();
  printf("load %.2f at the end; other programs used %.1f %% of the machine meanwhile%s\n", load[0],
         others * 100, others > 0.05 ? ": WARNING, do not quote these figures" : "");
  printf("%s\n", missed ? "a bound is MISSED (the last line)" : "every bound holds");
  for (int holds = 1; holds >= 0; holds--)
    for (unsigned i = 0; i < result_count; i++)
      if (results[i].holds == holds)
        printf("%s %.4g %s %s%g\n", results[i].name, results[i].value, results[i].unit,
               results[i].most ? "<=" : ">=", results[i].bound);
  return missed || result_count == 0;
}

/* ---- The floors' server ---- */

typedef struct floor_answer_s {
  int32_t rc;
  uint16_t port;
} floor_answer_t;

int bench_floor_server(int fd, void *arg) {
  (void) arg;
  perf_floor_spec_t spec;
  while (recv(fd, &spec, sizeof(spec), 0) == (ssize_t) sizeof(spec)) {
    perf_floor_server_t *server;
    floor_answer_t answer = {0};
    answer.rc = perf_floor_listen(&spec, &server, &answer.port);
    if (send(fd, &answer, sizeof(answer), MSG_NOSIGNAL) < 0) return 1;
    if (answer.rc == 0) perf_floor_serve(server, NULL);
  }
  return 0;
}

void bench_floor_start(bench_child_t *child) {
  bench_spawn(child, BENCH_SERVER_CORE, bench_floor_server, NULL);
}

void bench_floor_ask(bench_child_t *child, perf_floor_spec_t *spec) {
  floor_answer_t answer;
  spec->port = 0;
  if (send(child->fd, spec, sizeof(*spec), MSG_NOSIGNAL) < 0 ||
      recv(child->fd, &answer, sizeof(answer), 0) != (ssize_t) sizeof(answer) || answer.rc)
    bench_die("the floors' server failed");
  spec->port = answer.port;
}

void bench_floor_pingpong(bench_child_t *child, perf_floor_spec_t *spec, perf_hist_t *rtt) {
  bench_floor_ask(child, spec);
  if (perf_floor_pingpong(spec, rtt)) bench_die("the floor failed");
}

void bench_floor_stream(bench_child_t *child, perf_floor_spec_t *spec, perf_rate_t *out) {
  bench_floor_ask(child, spec);
  if (perf_floor_stream(spec, out)) bench_die("the floor failed");
}

void bench_floor_spec(perf_floor_spec_t *spec, int kind, int shape, const char *host, size_t size,
                      unsigned window, double seconds) {
  memset(spec, 0, sizeof(*spec));
  spec->kind = kind;
  spec->shape = shape;
  spec->size = size;
  spec->window = window;
  spec->seconds = seconds;
  snprintf(spec->host, sizeof(spec->host), "%s", host);
  snprintf(spec->provider, sizeof(spec->provider), "%s", WEFT_TEST_TCP);
}
