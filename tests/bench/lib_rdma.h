/* SPDX-License-Identifier: Apache-2.0 */
/* lib_rdma.h - benches over RDMA: which device, Weft held to it, perftest beside it. */
#ifndef WEFT_LIB_RDMA_H
#define WEFT_LIB_RDMA_H

#include "lib_weft.h"

/* One end: the RDMA device, the network interface it is on, its IPv4 address. */
typedef struct bench_rdma_end_s {
  char device[64], netdev[64], ip[80];
} bench_rdma_end_t;

/* The server's end is the first RDMA device with an IPv4 address; the client's is the one that
 * this machine's routes choose to reach it: another one in tests/vm, the same one where the
 * system knows a single host. */
typedef struct bench_rdma_s {
  bench_rdma_end_t server, client;
} bench_rdma_t;

/* Look, in a child, so that nothing of libfabric runs here yet. Skips the bench with weft_info's
 * own reasons where there is no such device. Prints what it found. */
void bench_rdma_find(bench_rdma_t *r);
/* Weft's options for an end: its RDMA device, and its interface for the first contact; patient, as
 * an emulated machine needs. */
void bench_rdma_opts(const bench_rdma_end_t *end, weft_opts_t *opts);
/* The server, in a process of its own; then the connection, which dies unless it is over verbs. In
 * between other children may be forked. `needs` as in a URL, "" for none. */
void bench_rdma_server(bench_weft_t *w, const bench_rdma_t *r, const char *needs);
void bench_rdma_connect(bench_weft_t *w, const bench_rdma_t *r);
/* Bytes of large messages that were copied, at both ends together. */
uint64_t bench_rdma_copies(bench_weft_t *w);

/* Run a program of perftest at both ends, a core each, connected by the RDMA connection manager:
 * `tool` as "ib_send_lat", `options` without those of the connection. Column `column` (from 0) of
 * its last line of figures. Skips the bench where perftest is not installed; dies with what the
 * tool says. */
double bench_perftest(const bench_rdma_t *r, const char *tool, const char *options,
                      unsigned column);

#endif
