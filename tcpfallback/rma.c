/* SPDX-License-Identifier: Apache-2.0 */
/* rma.c - fi_read, fi_write and their kin. */
#include <string.h>

#include "prov.h"

static ssize_t rma(struct fid_ep *e, const struct fi_msg_rma *m, uint64_t flags, bool read,
                   bool completion) {
  tf_ep_t *ep = tf_up(e, tf_ep_t, e);
  tf_op_t op = {.h.op = read ? TF_OP_READ : TF_OP_WRITE,
                .iov = m->msg_iov,
                .niov = m->iov_count,
                .context = m->context};
  uint64_t here = 0, there = 0;
  ssize_t r;
  size_t i;

  if (m->iov_count > TF_IOV || m->rma_iov_count > TF_RMA_MAX || m->rma_iov_count == 0)
    return -FI_EINVAL;
  for (i = 0; i < m->iov_count; i++)
    if (__builtin_add_overflow(here, m->msg_iov[i].iov_len, &here)) return -FI_EINVAL;
  for (i = 0; i < m->rma_iov_count; i++) {
    op.h.rma[i] = (tf_rma_t){m->rma_iov[i].addr, m->rma_iov[i].len, m->rma_iov[i].key};
    if (__builtin_add_overflow(there, m->rma_iov[i].len, &there)) return -FI_EINVAL;
  }
  if (here != there || here > TF_MSG_MAX) return -FI_EINVAL;
  op.h.nrma = (uint8_t) m->rma_iov_count;
  op.h.size = read ? 0 : here;
  op.inject = !read && (flags & FI_INJECT) != 0;
  if (op.inject && here > TF_INJECT) return -FI_EMSGSIZE;
  if (!read && (flags & FI_REMOTE_CQ_DATA) != 0) {
    op.h.flags |= TF_FL_DATA;
    op.h.data = m->data;
  }
  if (!read && (flags & (FI_TRANSMIT_COMPLETE | FI_DELIVERY_COMPLETE)) != 0)
    op.h.flags |= TF_FL_DELIVERY;
  if (!read && (flags & FI_COMMIT_COMPLETE) != 0) op.h.flags |= TF_FL_COMMIT;
  op.ack = (op.h.flags & (TF_FL_DELIVERY | TF_FL_COMMIT)) != 0;
  if ((flags & TF_MUTE) == 0)
    op.cq_flags = FI_RMA | (read ? FI_READ : FI_WRITE) | (completion ? 0 : TF_QUIET);
  tf_lock(ep->domain);
  r = tf_tx(ep, &op);
  tf_unlock(ep->domain);
  return r;
}

static ssize_t one(struct fid_ep *e, const struct iovec *iov, size_t n, uint64_t data,
                   uint64_t flags, uint64_t addr, uint64_t key, void *context, bool read,
                   bool silent) {
  tf_ep_t *ep = tf_up(e, tf_ep_t, e);
  struct fi_rma_iov r = {.addr = addr, .key = key};
  struct fi_msg_rma m = {.msg_iov = iov,
                         .iov_count = n,
                         .rma_iov = &r,
                         .rma_iov_count = 1,
                         .context = context,
                         .data = data};
  size_t i;

  for (i = 0; i < n && i < TF_IOV; i++) r.len += iov[i].iov_len;
  flags |= silent ? TF_MUTE : ep->tx_op_flags;
  return rma(e, &m, flags, read, !silent && (ep->tx_comp || (flags & FI_COMPLETION) != 0));
}

static ssize_t r_read(struct fid_ep *e, void *buf, size_t len, void *desc, fi_addr_t to,
                      uint64_t addr, uint64_t key, void *context) {
  struct iovec v = {buf, len};
  (void) desc, (void) to;
  return one(e, &v, 1, 0, 0, addr, key, context, true, false);
}
static ssize_t r_readv(struct fid_ep *e, const struct iovec *v, void **desc, size_t n, fi_addr_t to,
                       uint64_t addr, uint64_t key, void *context) {
  (void) desc, (void) to;
  return one(e, v, n, 0, 0, addr, key, context, true, false);
}
static ssize_t r_readmsg(struct fid_ep *e, const struct fi_msg_rma *m, uint64_t flags) {
  return rma(e, m, flags, true, tf_up(e, tf_ep_t, e)->tx_comp || (flags & FI_COMPLETION) != 0);
}
static ssize_t r_write(struct fid_ep *e, const void *buf, size_t len, void *desc, fi_addr_t to,
                       uint64_t addr, uint64_t key, void *context) {
  struct iovec v = {(void *) buf, len};
  (void) desc, (void) to;
  return one(e, &v, 1, 0, 0, addr, key, context, false, false);
}
static ssize_t r_writev(struct fid_ep *e, const struct iovec *v, void **desc, size_t n,
                        fi_addr_t to, uint64_t addr, uint64_t key, void *context) {
  (void) desc, (void) to;
  return one(e, v, n, 0, 0, addr, key, context, false, false);
}
static ssize_t r_writemsg(struct fid_ep *e, const struct fi_msg_rma *m, uint64_t flags) {
  return rma(e, m, flags, false, tf_up(e, tf_ep_t, e)->tx_comp || (flags & FI_COMPLETION) != 0);
}
static ssize_t r_inject(struct fid_ep *e, const void *buf, size_t len, fi_addr_t to, uint64_t addr,
                        uint64_t key) {
  struct iovec v = {(void *) buf, len};
  (void) to;
  return one(e, &v, 1, 0, FI_INJECT, addr, key, NULL, false, true);
}
static ssize_t r_writedata(struct fid_ep *e, const void *buf, size_t len, void *desc, uint64_t data,
                           fi_addr_t to, uint64_t addr, uint64_t key, void *context) {
  struct iovec v = {(void *) buf, len};
  (void) desc, (void) to;
  return one(e, &v, 1, data, FI_REMOTE_CQ_DATA, addr, key, context, false, false);
}
static ssize_t r_injectdata(struct fid_ep *e, const void *buf, size_t len, uint64_t data,
                            fi_addr_t to, uint64_t addr, uint64_t key) {
  struct iovec v = {(void *) buf, len};
  (void) to;
  return one(e, &v, 1, data, FI_INJECT | FI_REMOTE_CQ_DATA, addr, key, NULL, false, true);
}

struct fi_ops_rma tf_rma_ops = {.size = sizeof(struct fi_ops_rma),
                                .read = r_read,
                                .readv = r_readv,
                                .readmsg = r_readmsg,
                                .write = r_write,
                                .writev = r_writev,
                                .writemsg = r_writemsg,
                                .inject = r_inject,
                                .writedata = r_writedata,
                                .injectdata = r_injectdata};
