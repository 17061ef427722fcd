/* SPDX-License-Identifier: Apache-2.0 */
/* plan.c - see plan.h. */
#include "plan.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <rdma/fabric.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>

#include "ib.h"
#include "rail/path.h"

#ifdef WEFT_HAVE_VERBS
#include <infiniband/verbs.h>
#endif

/* A limit of the device; 0 is none. */
static uint32_t within(uint64_t wish, uint64_t limit) {
  if (limit != 0 && wish > limit) wish = limit;
  return wish < UINT32_MAX ? (uint32_t) wish : UINT32_MAX;
}

static uint32_t per_path(const weft__plan_t *p) {
  return p->tx_depth + p->rma_depth + p->rx_depth;
}

/* Endpoints that fit one completion queue. */
static uint32_t fit(const weft__device_t *d, const weft__plan_t *p) {
  return d->cqe != 0 ? d->cqe / per_path(p) : UINT32_MAX;
}

static uint64_t fit_all(const weft__device_t *d, const weft__plan_t *p) {
  return d->cqs != 0 ? (uint64_t) d->cqs * fit(d, p) : UINT64_MAX;
}

int weft__plan(const weft__device_t *d, const weft__plan_wish_t *w, weft__plan_t *p, char *why,
               size_t len) {
  uint32_t paths = within(w->paths, d->endpoints), spread;
  uint64_t room;

  memset(p, 0, sizeof(*p));
  if (d->max_msg != 0 && d->max_msg < WEFT__FRAME_MAX) {
    snprintf(why, len, "it takes messages of at most %llu bytes, a frame has %u",
             (unsigned long long) d->max_msg, WEFT__FRAME_MAX);
    return -ENOTSUP;
  }
  /* Frames and RMA operations share one send queue. */
  p->rma_depth = within(WEFT__PLAN_RMA, d->tx / 4 != 0 ? d->tx / 4 : d->tx);
  p->rx_depth = within(w->rx_depth > WEFT__FIRST_GRANT ? w->rx_depth : WEFT__FIRST_GRANT, d->rx);
  p->tx_depth = w->tx_depth > WEFT__PLAN_TX_MIN ? w->tx_depth : WEFT__PLAN_TX_MIN;
  if (d->tx != 0 && p->tx_depth + p->rma_depth > d->tx)
    p->tx_depth = d->tx > p->rma_depth ? d->tx - p->rma_depth : 0;
  if (p->rx_depth < WEFT__FIRST_GRANT || p->tx_depth < WEFT__PLAN_TX_MIN) {
    snprintf(why, len,
             "its endpoints take %u receives and %u sends at a time, a connection needs %u and %u",
             d->rx, d->tx, WEFT__FIRST_GRANT, WEFT__PLAN_TX_MIN + 1);
    return -ENOTSUP;
  }
  while (fit_all(d, p) < paths || fit(d, p) == 0) {
    if (p->tx_depth / 2 >= WEFT__FIRST_GRANT)
      p->tx_depth /= 2;
    else if (p->rx_depth / 2 >= WEFT__FIRST_GRANT)
      p->rx_depth /= 2;
    else
      break;
  }
  if (fit(d, p) == 0) {
    snprintf(why, len, "its completion queues have %u entries, one connection needs %u", d->cqe,
             per_path(p));
    return -ENOTSUP;
  }

  room = fit_all(d, p);
  p->max_paths = within(room, d->endpoints);
  if (d->endpoints != 0 && d->endpoints <= room)
    p->binds = "endpoints";
  else if (d->cqs != 0)
    p->binds = "completion queues";

  /* No more endpoints per queue than are of use, but for a device with too few queues. */
  spread = w->per_cq;
  if (d->cqs != 0 && (paths + d->cqs - 1) / d->cqs > spread) spread = (paths + d->cqs - 1) / d->cqs;
  p->per_cq = within(spread, fit(d, p));
  if (d->cqs != 0) p->max_paths = within(p->max_paths, (uint64_t) d->cqs * p->per_cq);
  p->cq_size = within((uint64_t) p->per_cq * per_path(p), 0);

  p->read_depth = within(within(p->rma_depth, d->reads_out), d->reads_in);
  p->inject = within(d->inject, WEFT__FRAME_MAX);
  p->iov_max = within(4, d->sge);
  p->rma_max = within(1u << 30, d->max_msg);
  return 0;
}

/* ---- Asking ---- */

static uint32_t positive(int n) {
  return n > 0 ? (uint32_t) n : 0;
}

#ifdef WEFT_HAVE_VERBS
static void ask_verbs(const char *name, weft__device_t *d) {
  struct ibv_device_attr attr;
  int err;
  struct ibv_context *ctx = weft__ib_open(name, &err);

  if (ctx == NULL) return;
  if (ibv_query_device(ctx, &attr) == 0) {
    d->endpoints = positive(attr.max_qp);
    d->cqs = positive(attr.max_cq);
    d->cqe = positive(attr.max_cqe);
    d->tx = d->rx = positive(attr.max_qp_wr);
    d->reads_out = positive(attr.max_qp_init_rd_atom);
    d->reads_in = positive(attr.max_qp_rd_atom);
  }
  (void) ibv_close_device(ctx);
}
#endif

void weft__device_ask(const struct fi_info *info, weft__device_t *d) {
  d->endpoints = within(info->domain_attr->ep_cnt, 0);
  d->cqs = within(info->domain_attr->cq_cnt, 0);
  d->cqe = WEFT__PLAN_CQE;
  d->tx = within(info->tx_attr->size, 0);
  d->rx = within(info->rx_attr->size, 0);
#ifdef WEFT_HAVE_VERBS
  ask_verbs(info->domain_attr->name, d);
#endif
}
