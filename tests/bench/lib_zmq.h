/* SPDX-License-Identifier: Apache-2.0 */
/* lib_zmq.h - ZeroMQ PUSH/PULL over TCP, one way: what users of small messages compare with. */
#ifndef WEFT_LIB_ZMQ_H
#define WEFT_LIB_ZMQ_H

#include "lib_bench.h"

/* The receiver's process. core -1: not pinned, for a library that brings threads of its own. 0
 * where ZeroMQ was not found by the build. */
int bench_zmq_start(bench_child_t *child, int core);
/* The sender is pinned to `core` for the run, -1: to none. */
void bench_zmq_stream(bench_child_t *child, int core, size_t size, double seconds,
                      perf_rate_t *out);

#endif
