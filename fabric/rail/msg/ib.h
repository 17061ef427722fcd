/* SPDX-License-Identifier: Apache-2.0 */
/* ib.h - what of RDMA this system has, and what is missing between a device and a program. */
#ifndef WEFT_RAIL_MSG_IB_H
#define WEFT_RAIL_MSG_IB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a rail needs at the least when it opens: one chunk of its pool, and its queues. */
#define WEFT__IB_MEMLOCK_MIN (UINT64_C(2) << 20)

/* The limit of locked memory that binds this process; UINT64_MAX: none does (unlimited, or
 * CAP_IPC_LOCK). */
uint64_t weft__ib_memlock(void);

/* What keeps a program from the RDMA device `device`, as a sentence with its cure: the kernel's
 * module for user space, the device's node, the connection manager's node, or that they may not be
 * opened; then a limit of locked memory (weft__ib_memlock's) that is too low. False, with "": none
 * of these. `root` stands before /sys and /dev: "", or a test's folder. Any thread. */
bool weft__ib_missing(const char *root, const char *device, uint64_t memlock, char *text,
                      size_t len);

struct ibv_context;

/* A verbs context of one's own on this device, for ibv_close_device; NULL: *err is a negative errno,
 * -ENODEV where there is no such device, or no rdma-core in this build. [worker] */
struct ibv_context *weft__ib_open(const char *device, int *err);

#endif
