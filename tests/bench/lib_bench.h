/* SPDX-License-Identifier: Apache-2.0 */
/* lib_bench.h - what every bench shares: arguments, cores, child processes, medians, the last line.
 * docs/performance.md states the method; this is where it is enforced. */
#ifndef WEFT_LIB_BENCH_H
#define WEFT_LIB_BENCH_H

#include <stdint.h>
#include <sys/types.h>

#include "../../bindings/tools/weft_perf_floor.h"
#include "../../bindings/tools/weft_perf_hist.h"

#define BENCH_SKIP        77
#define BENCH_CLIENT_CORE 0
#define BENCH_SERVER_CORE 1
#define BENCH_MAX_ROUNDS  101

typedef struct bench_args_s {
  unsigned rounds;  /* --rounds N */
  double seconds;   /* --seconds S: of one measurement in a round */
  int full;         /* --full: the long run, where there is one */
  int verbose;      /* -v: every round */
  const char *name; /* the program's name without its folder */
} bench_args_t;

/* Parse arguments over the defaults in `args`; --help prints `about` and exits 0, nonsense exits 2.
 * Then prints the machine and its load, with a warning when it is not idle. */
void bench_begin(bench_args_t *args, int argc, char **argv, const char *about);

/* A child process that runs fn(fd, arg) and exits with its result; `fd` is a socket pair to the
 * parent that keeps message boundaries. It dies with the parent. Fork before anything of libfabric
 * or Weft starts. */
typedef struct bench_child_s {
  pid_t pid;
  int fd;
} bench_child_t;
void bench_spawn(bench_child_t *child, int core, int (*fn)(int fd, void *arg), void *arg);
/* Close the socket, wait for the child (it is killed after 5 s): its exit status. */
int bench_reap(bench_child_t *child);
int bench_reap_within(bench_child_t *child, unsigned seconds); /* killed after so long */
void bench_pin(int core);

/* Blocks of memory that parent and children share; fork after it. Zeroed. */
void *bench_shared(size_t size);

/* CPU time (user and system) of this process, nanoseconds; of another one from /proc. Resident
 * memory, bytes. */
uint64_t bench_cpu_ns(void);
uint64_t bench_cpu_ns_of(pid_t pid);
uint64_t bench_rss_of(pid_t pid);
/* The highest resident memory since bench_peak_reset, bytes. 0 where the kernel does not tell. */
uint64_t bench_peak_of(pid_t pid);
void bench_peak_reset(pid_t pid);

/* Does somebody on this machine listen at the TCP port? Asked from the kernel's list: a connection
 * would use up the only accept of a server like fi_pingpong's or perftest's. */
int bench_listens(unsigned port);

double bench_median(const double *v, unsigned n);
/* Median of a[i]/b[i]: both halves of a round saw the same machine. */
double bench_ratio(const double *a, const double *b, unsigned n);
/* One series as "label: median M unit (min .. max, n rounds)". */
void bench_series(const char *label, const double *v, unsigned n, const char *unit);
void bench_hist(const char *label, const perf_hist_t *rtt);

/* Results are collected and printed by bench_end as "name value unit bound", missed ones last, so
 * that the last line tells. Returns the exit code: 0 when every bound holds. */
void bench_at_most(const char *name, double value, const char *unit, double bound);
void bench_at_least(const char *name, double value, const char *unit, double bound);
int bench_end(void);
_Noreturn void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void bench_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The floors' server: a process of its own. */
void bench_floor_start(bench_child_t *child);
int bench_floor_server(int fd, void *unused); /* ... where it is more than that */
/* It listens for what spec says, once; the port goes into spec. The two below do it themselves. */
void bench_floor_ask(bench_child_t *child, perf_floor_spec_t *spec);
void bench_floor_pingpong(bench_child_t *child, perf_floor_spec_t *spec, perf_hist_t *rtt);
void bench_floor_stream(bench_child_t *child, perf_floor_spec_t *spec, perf_rate_t *out);
void bench_floor_spec(perf_floor_spec_t *spec, int kind, int shape, const char *host, size_t size,
                      unsigned window, double seconds);

#endif
