/* SPDX-License-Identifier: Apache-2.0 */
/* lib_ksock.h - benches of ksock, Weft's provider of TCP over kernel sockets: where it is, and an end
 * of raw libfabric with many connections on one completion queue.
 *
 * Design notes
 * - No Weft in these benches: what is measured is the provider, by libfabric's public interface.
 * - Each endpoint has two posted receives of BENCH_MSG_SIZE bytes, each posted again before its
 *   message is answered. */
#ifndef WEFT_LIB_KSOCK_H
#define WEFT_LIB_KSOCK_H

#include "lib_bench.h"

#define BENCH_MSG_SIZE 64

/* First of all, before any fork: libfabric will find this build's ksock, or another provider of
 * tcpfallback/. Skips the bench where the build has none, and says with which option it came. */
void bench_provider_find(const char *name, const char *option);
void bench_ksock_find(void);

/* The server of many: a process that accepts whoever comes and echoes every message, asleep until
 * it is told to spin. */
typedef struct bench_ends_s bench_ends_t;
typedef struct bench_echo_s {
  bench_child_t child;
  uint16_t port;
  const char *provider, *host;
} bench_echo_t;
void bench_echo_start(bench_echo_t *echo, const char *provider); /* on loopback */
void bench_echo_start_at(bench_echo_t *echo, const char *provider, const char *host);
void bench_echo_spin(bench_echo_t *echo, int spin);

/* n connections to it, at most `width` being opened at a time. Dies after `seconds`. */
bench_ends_t *bench_ends_open(const bench_echo_t *echo, const char *provider, unsigned n,
                              unsigned width, unsigned seconds);
/* One more exchange on each connection. */
void bench_ends_touch(bench_ends_t *ends);
/* Round trips on connection i; this end spins, too. */
void bench_ends_pingpong(bench_ends_t *ends, unsigned i, double seconds, perf_hist_t *rtt);
/* Sleep for so long in fi_cq_sread (sread) or in poll on both queues' descriptors, as who waits for
 * a message; how often it woke up early. */
unsigned bench_ends_idle(bench_ends_t *ends, double seconds, int sread);
void bench_ends_close(bench_ends_t *ends);

/* How often a process went to sleep by itself. */
uint64_t bench_sleeps_of(pid_t pid);

#endif
