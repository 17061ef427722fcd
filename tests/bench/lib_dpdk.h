/* SPDX-License-Identifier: Apache-2.0 */
/* lib_dpdk.h - benches of dpdk, Weft's provider of TCP in user space: two processes that a device
 * joins, without a NIC.
 *
 * Design notes
 * - DPDK starts once in a process and for ever, with the devices that its environment says. So each
 *   wire has two processes of its own, which sleep while another one is measured. */
#ifndef WEFT_LIB_DPDK_H
#define WEFT_LIB_DPDK_H

#include "lib_bench.h"

/* First of all, before any fork. Skips the bench where the build has no dpdk. */
void bench_dpdk_find(void);

typedef enum {
  BENCH_MEMIF, /* both processes share rings */
  BENCH_VHOST, /* vhost at the server, virtio_user at the client: one end copies both ways */
  BENCH_KERNEL /* no device: the kernel's loopback, by whatever the spec says */
} bench_wire_kind;

typedef struct bench_wire_s {
  bench_child_t server, client;
  bench_wire_kind kind;
  unsigned mtu;
  char path[128];      /* of the socket over which both ends meet */
  char device[2][224]; /* client's, server's */
  struct bench_wire_result_s *result;
} bench_wire_t;

/* The names of its devices; then, before a fork, what the server's or the client's process finds. */
void bench_wire_plan(bench_wire_t *wire, bench_wire_kind kind, unsigned mtu);
void bench_wire_environment(const bench_wire_t *wire, int server);

/* Both processes, pinned; DPDK starts with the first measurement. Fork no others between them. */
void bench_wire_start(bench_wire_t *wire, bench_wire_kind kind, unsigned mtu);
void bench_wire_end(bench_wire_t *wire);
const char *bench_wire_host(const bench_wire_t *wire); /* the server's address */

/* As the floors of lib_bench.h, made by the wire's own client. A wire with a device runs libfabric
 * over dpdk; BENCH_KERNEL runs what spec says. */
void bench_wire_pingpong(bench_wire_t *wire, perf_floor_spec_t *spec, perf_hist_t *rtt);
void bench_wire_stream(bench_wire_t *wire, perf_floor_spec_t *spec, perf_rate_t *out);

#endif
