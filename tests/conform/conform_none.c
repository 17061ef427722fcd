/* SPDX-License-Identifier: Apache-2.0 */
/* conform_none.c - what a provider does not offer is refused as that. libfabric calls most operations
 * through their tables as they are, so a slot that is empty is a jump to nowhere.
 *
 * conform: alone */
#include <rdma/fi_atomic.h>
#include <rdma/fi_collective.h>
#include <rdma/fi_tagged.h>

#include "lib_conform.h"

/* fi_rx_size_left and its sibling are called by old programs. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

static end_t e;
static struct fid_ep *ep;

static uint8_t buf[64], into[64];
static struct iovec iov = {buf, sizeof(buf)};
static struct fi_ioc ioc = {buf, 8}, result = {into, 8}, compare = {buf, 8};
static struct fi_context ctx;

#define NOT_OFFERED(call)                                                                          \
  do {                                                                                             \
    ssize_t offered_ = (call);                                                                     \
    if (offered_ != -FI_ENOSYS)                                                                    \
      fail_msg("%s: %zd (%s)", #call, offered_, fi_strerror((int) -offered_));                     \
  } while (0)

static void begin(void) {
  end_open(&e, client_provider, NULL, conform_info(client_provider, NULL, "127.0.0.1", "1", 0));
  ep = end_ep(&e, e.info, NULL);
}

static void end(void) {
  ep_close(ep);
  end_close(&e);
}

static void tagged(void **state) {
  struct fi_msg_tagged m = {.msg_iov = &iov, .iov_count = 1};

  (void) state;
  KNOWN_DEVIATION();
  begin();
  assert_int_equal(e.info->caps & FI_TAGGED, 0);
  NOT_OFFERED(fi_trecv(ep, buf, sizeof(buf), NULL, 0, 1, 0, &ctx));
  NOT_OFFERED(fi_trecvv(ep, &iov, NULL, 1, 0, 1, 0, &ctx));
  NOT_OFFERED(fi_trecvmsg(ep, &m, 0));
  NOT_OFFERED(fi_tsend(ep, buf, sizeof(buf), NULL, 0, 1, &ctx));
  NOT_OFFERED(fi_tsendv(ep, &iov, NULL, 1, 0, 1, &ctx));
  NOT_OFFERED(fi_tsendmsg(ep, &m, 0));
  NOT_OFFERED(fi_tinject(ep, buf, sizeof(buf), 0, 1));
  NOT_OFFERED(fi_tsenddata(ep, buf, sizeof(buf), NULL, 7, 0, 1, &ctx));
  NOT_OFFERED(fi_tinjectdata(ep, buf, sizeof(buf), 7, 0, 1));
  end();
}

static void atomics(void **state) {
  enum fi_datatype t = FI_UINT64;
  struct fi_rma_ioc there = {0, 1, 1};
  struct fi_msg_atomic m = {
      .msg_iov = &ioc, .iov_count = 1, .rma_iov = &there, .rma_iov_count = 1, .datatype = t};
  struct fi_atomic_attr attr;
  size_t n = 1;

  (void) state;
  KNOWN_DEVIATION();
  begin();
  assert_int_equal(e.info->caps & FI_ATOMIC, 0);
  NOT_OFFERED(fi_atomic(ep, buf, 1, NULL, 0, 0, 1, t, FI_SUM, &ctx));
  NOT_OFFERED(fi_atomicv(ep, &ioc, NULL, 1, 0, 0, 1, t, FI_SUM, &ctx));
  NOT_OFFERED(fi_atomicmsg(ep, &m, 0));
  NOT_OFFERED(fi_inject_atomic(ep, buf, 1, 0, 0, 1, t, FI_SUM));
  NOT_OFFERED(fi_fetch_atomic(ep, buf, 1, NULL, into, NULL, 0, 0, 1, t, FI_SUM, &ctx));
  NOT_OFFERED(fi_fetch_atomicv(ep, &ioc, NULL, 1, &result, NULL, 1, 0, 0, 1, t, FI_SUM, &ctx));
  NOT_OFFERED(fi_fetch_atomicmsg(ep, &m, &result, NULL, 1, 0));
  NOT_OFFERED(
      fi_compare_atomic(ep, buf, 1, NULL, buf, NULL, into, NULL, 0, 0, 1, t, FI_CSWAP, &ctx));
  NOT_OFFERED(fi_compare_atomicv(ep, &ioc, NULL, 1, &compare, NULL, 1, &result, NULL, 1, 0, 0, 1, t,
                                 FI_CSWAP, &ctx));
  NOT_OFFERED(fi_compare_atomicmsg(ep, &m, &compare, NULL, 1, &result, NULL, 1, 0));
  NOT_OFFERED(fi_atomicvalid(ep, t, FI_SUM, &n));
  NOT_OFFERED(fi_fetch_atomicvalid(ep, t, FI_SUM, &n));
  NOT_OFFERED(fi_compare_atomicvalid(ep, t, FI_CSWAP, &n));
  NOT_OFFERED(fi_query_atomic(e.domain, t, FI_SUM, &attr, 0));
  end();
}

static void collectives(void **state) {
  enum fi_datatype t = FI_UINT64;
  struct fi_collective_attr attr = {.op = FI_SUM, .datatype = t};
  struct fid_mc *mc = NULL;

  (void) state;
  KNOWN_DEVIATION();
  begin();
  NOT_OFFERED(fi_barrier(ep, 0, &ctx));
  NOT_OFFERED(fi_barrier2(ep, 0, 0, &ctx));
  NOT_OFFERED(fi_broadcast(ep, buf, 1, NULL, 0, 0, t, 0, &ctx));
  NOT_OFFERED(fi_alltoall(ep, buf, 1, NULL, into, NULL, 0, t, 0, &ctx));
  NOT_OFFERED(fi_allreduce(ep, buf, 1, NULL, into, NULL, 0, t, FI_SUM, 0, &ctx));
  NOT_OFFERED(fi_allgather(ep, buf, 1, NULL, into, NULL, 0, t, 0, &ctx));
  NOT_OFFERED(fi_reduce_scatter(ep, buf, 1, NULL, into, NULL, 0, t, FI_SUM, 0, &ctx));
  NOT_OFFERED(fi_reduce(ep, buf, 1, NULL, into, NULL, 0, 0, t, FI_SUM, 0, &ctx));
  NOT_OFFERED(fi_scatter(ep, buf, 1, NULL, into, NULL, 0, 0, t, 0, &ctx));
  NOT_OFFERED(fi_gather(ep, buf, 1, NULL, into, NULL, 0, 0, t, 0, &ctx));
  NOT_OFFERED(fi_join(ep, buf, 0, &mc, NULL));
  NOT_OFFERED(fi_query_collective(e.domain, FI_BARRIER, &attr, 0));
  end();
}

/* Scalable endpoints, contexts that transmit for several, and a listener's or another's calls. */
static void other_kinds_of_endpoint(void **state) {
  struct fid_ep *sep = NULL;
  struct fid_stx *stx = NULL;
  struct fid_pep *pep = NULL;
  struct fi_tx_attr tx = {0};
  struct fi_rx_attr rx = {0};
  struct sockaddr_in sa;
  size_t len = sizeof(sa);

  (void) state;
  KNOWN_DEVIATION();
  begin();
  NOT_OFFERED(fi_scalable_ep(e.domain, e.info, &sep, NULL));
  NOT_OFFERED(fi_stx_context(e.domain, &tx, &stx, NULL));
  NOT_OFFERED(fi_tx_context(ep, 0, &tx, &sep, NULL));
  NOT_OFFERED(fi_rx_context(ep, 0, &rx, &sep, NULL));
  NOT_OFFERED(fi_rx_size_left(ep));
  NOT_OFFERED(fi_tx_size_left(ep));
  NOT_OFFERED(fi_listen((struct fid_pep *) ep));
  NOT_OFFERED(fi_reject((struct fid_pep *) ep, NULL, NULL, 0));

  struct fi_info *info = conform_info(client_provider, NULL, "127.0.0.1", "0", FI_SOURCE);
  OK(fi_passive_ep(e.fabric, info, &pep, NULL));
  NOT_OFFERED(fi_getpeer((struct fid_ep *) pep, &sa, &len));
  NOT_OFFERED(fi_connect((struct fid_ep *) pep, &sa, NULL, 0));
  NOT_OFFERED(fi_accept((struct fid_ep *) pep, NULL, 0));
  NOT_OFFERED(fi_shutdown((struct fid_ep *) pep, 0));
  NOT_OFFERED(fi_join((struct fid_ep *) pep, buf, 0, NULL, NULL));
  NOT_OFFERED(fi_cancel(&pep->fid, &ctx));
  OK(fi_close(&pep->fid));
  fi_freeinfo(info);
  end();
}

/* What every object can be asked for: an unknown one is refused, whatever the object. */
static void unknown_operations(void **state) {
  struct fid_mr *mr = NULL;
  void *ops = NULL;
  size_t len = sizeof(ops);

  (void) state;
  begin();
  OK(fi_mr_reg(e.domain, buf, sizeof(buf), FI_SEND | FI_RECV, 0, 1, 0, &mr, NULL));
  struct fid *all[] = {&e.fabric->fid, &e.domain->fid, &e.eq->fid, &e.cq->fid, &ep->fid, &mr->fid};
  for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
    REFUSED(fi_open_ops(all[i], "of another one", 0, &ops, NULL));
    REFUSED(fi_set_ops(all[i], "of another one", 0, &ops, NULL));
    REFUSED(fi_control(all[i], 4711, &ops));
  }
  REFUSED(fi_setopt(&ep->fid, FI_OPT_ENDPOINT, 4711, &ops, sizeof(ops)));
  REFUSED(fi_getopt(&ep->fid, FI_OPT_ENDPOINT, 4711, &ops, &len));
  OK(fi_close(&mr->fid));
  end();
}

static const struct CMUnitTest tests[] = {
    CASE(tagged),
    CASE(atomics),
    CASE(collectives),
    CASE(other_kinds_of_endpoint),
    CASE(unknown_operations),
};

CONFORM_MAIN(tests)
