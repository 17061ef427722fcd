/* SPDX-License-Identifier: Apache-2.0 */
/* plan.h - from what a device can do to how its queues are used: depths, endpoints per completion
 * queue, and how many connections fit.
 *
 * Design notes
 *  - weft__plan is pure; weft__device_ask asks libfabric and, where Weft is built with rdma-core, the
 *    device itself, for libfabric tells neither the length of a completion queue nor more than its
 *    own defaults of a send queue's.
 *  - A completion queue has room for everything that can complete on it: it cannot overrun, however
 *    long nobody reads it. What does not fit is not opened.
 *  - A device that has more reads posted than it keeps under way stops its send queue: frames behind
 *    them wait. libfabric asks for as many as the device has, and a connection gets what the other
 *    end's device answers, if that is fewer, which nobody tells: our own device's figure is taken for
 *    it, too.
 *  - Where the wished number of connections does not fit, sends are made shallower, then receives,
 *    down to what the protocol needs; what fits then is the limit. */
#ifndef WEFT_RAIL_MSG_PLAN_H
#define WEFT_RAIL_MSG_PLAN_H

#include <stddef.h>
#include <stdint.h>

struct fi_info;

enum {
  WEFT__PLAN_PATHS = 1000, /* connections that a device should bear */
  WEFT__PLAN_CQE = 32767,  /* of a device that does not tell: the shortest known (rxe) */
  WEFT__PLAN_TX_MIN = 4,
  WEFT__PLAN_RMA = 16, /* RMA operations per path */
};

/* Most of each; 0: not known, or no limit. */
typedef struct weft__device {
  uint32_t endpoints, cqs, cqe; /* cqe: entries of one completion queue */
  uint32_t tx, rx;              /* operations of one endpoint */
  uint32_t sge, inject;         /* pieces of one operation; bytes. inject 0: none */
  uint64_t max_msg;             /* bytes of one operation */
  uint32_t reads_out, reads_in; /* reads that an endpoint has under way, that it answers */
} weft__device_t;

typedef struct weft__plan_wish {
  uint32_t paths, tx_depth, rx_depth;
  uint32_t per_cq; /* most endpoints per completion queue that are of use */
} weft__plan_wish_t;

typedef struct weft__plan {
  uint32_t tx_depth, rx_depth, rma_depth; /* per path; tx: frames */
  uint32_t per_cq, cq_size;               /* endpoints per completion queue; its entries */
  uint32_t max_paths;
  uint32_t read_depth; /* of rma_depth, how many may be reads */
  uint32_t inject, iov_max, rma_max;
  const char *binds; /* what limits max_paths: "endpoints", ...; NULL: nothing known */
} weft__plan_t;

/* 0; or -ENOTSUP with a sentence: the device cannot carry Weft's frames. */
int weft__plan(const weft__device_t *, const weft__plan_wish_t *, weft__plan_t *, char *why,
               size_t len);

/* [worker] How long its queues may be, and how many of them: sets endpoints to rx, nothing else. */
void weft__device_ask(const struct fi_info *, weft__device_t *);

#endif
