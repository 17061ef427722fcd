/* SPDX-License-Identifier: Apache-2.0 */
/* msg.c - fi_send, fi_recv and their kin. */
#include <string.h>

#include "prov.h"

static bool total(const struct iovec *iov, size_t n, uint64_t *sum) {
  size_t i;

  for (*sum = 0, i = 0; i < n; i++)
    if (__builtin_add_overflow(*sum, iov[i].iov_len, sum)) return false;
  return *sum <= TF_MSG_MAX;
}

static ssize_t send_op(struct fid_ep *e, const struct iovec *iov, size_t n, uint64_t data,
                       bool has_data, void *context, uint64_t flags, bool completion) {
  tf_ep_t *ep = tf_up(e, tf_ep_t, e);
  tf_op_t op = {.h.op = TF_OP_MSG, .iov = iov, .niov = n, .context = context};
  ssize_t r;

  if (n > TF_IOV || !total(iov, n, &op.h.size)) return -FI_EINVAL;
  op.inject = (flags & FI_INJECT) != 0;
  if (op.inject && op.h.size > TF_INJECT) return -FI_EMSGSIZE;
  if (has_data) {
    op.h.flags |= TF_FL_DATA;
    op.h.data = data;
  }
  if (flags & (FI_TRANSMIT_COMPLETE | FI_DELIVERY_COMPLETE | FI_COMMIT_COMPLETE)) {
    op.h.flags |= TF_FL_DELIVERY; /* the protocol commits writes alone */
    op.ack = true;
  }
  if ((flags & TF_MUTE) == 0) op.cq_flags = FI_MSG | FI_SEND | (completion ? 0 : TF_QUIET);
  tf_lock(ep->domain);
  r = tf_tx(ep, &op);
  tf_unlock(ep->domain);
  return r;
}

static bool by_default(struct fid_ep *e) {
  tf_ep_t *ep = tf_up(e, tf_ep_t, e);

  return ep->tx_comp || (ep->tx_op_flags & FI_COMPLETION) != 0;
}

static uint64_t op_flags(struct fid_ep *e) {
  return tf_up(e, tf_ep_t, e)->tx_op_flags;
}

static ssize_t m_send(struct fid_ep *e, const void *buf, size_t len, void *desc, fi_addr_t to,
                      void *context) {
  struct iovec iov = {(void *) buf, len};

  (void) desc, (void) to;
  return send_op(e, &iov, 1, 0, false, context, op_flags(e), by_default(e));
}
static ssize_t m_sendv(struct fid_ep *e, const struct iovec *iov, void **desc, size_t n,
                       fi_addr_t to, void *context) {
  (void) desc, (void) to;
  return send_op(e, iov, n, 0, false, context, op_flags(e), by_default(e));
}
static ssize_t m_sendmsg(struct fid_ep *e, const struct fi_msg *m, uint64_t flags) {
  return send_op(e, m->msg_iov, m->iov_count, m->data, (flags & FI_REMOTE_CQ_DATA) != 0, m->context,
                 flags, tf_up(e, tf_ep_t, e)->tx_comp || (flags & FI_COMPLETION) != 0);
}
static ssize_t m_inject(struct fid_ep *e, const void *buf, size_t len, fi_addr_t to) {
  struct iovec iov = {(void *) buf, len};

  (void) to;
  return send_op(e, &iov, 1, 0, false, NULL, FI_INJECT | TF_MUTE, false);
}
static ssize_t m_senddata(struct fid_ep *e, const void *buf, size_t len, void *desc, uint64_t data,
                          fi_addr_t to, void *context) {
  struct iovec iov = {(void *) buf, len};

  (void) desc, (void) to;
  return send_op(e, &iov, 1, data, true, context, op_flags(e), by_default(e));
}
static ssize_t m_injectdata(struct fid_ep *e, const void *buf, size_t len, uint64_t data,
                            fi_addr_t to) {
  struct iovec iov = {(void *) buf, len};

  (void) to;
  return send_op(e, &iov, 1, data, true, NULL, FI_INJECT | TF_MUTE, false);
}

/* ---- Receives ---- */

ssize_t tf_post(tf_domain_t *d, tf_queue_t *q, size_t *used, size_t size, const struct iovec *iov,
                size_t n, void *context, bool completion) {
  tf_rxe_t *r;

  if (n > TF_IOV) return -FI_EINVAL;
  if (*used >= size || (r = tf_rxe_new(d)) == NULL) return -FI_EAGAIN;
  r->context = context;
  r->completion = completion;
  r->niov = (uint32_t) n;
  memcpy(r->iov, iov, n * sizeof(*iov));
  tf_q_put(q, r);
  (*used)++;
  return 0;
}

ssize_t tf_cancel(tf_domain_t *d, tf_queue_t *q, size_t *used, tf_cq_t *cq, void *context) {
  void **at;

  for (at = &q->head; *at != NULL; at = (void **) *at) {
    tf_rxe_t *r = *at;
    if (r->context != context) continue;
    *at = r->next;
    if (r->next == NULL) q->tail = at;
    (*used)--;
    tf_cq_err(cq, context, FI_MSG | FI_RECV, FI_ECANCELED, 0, 0);
    tf_rxe_free(d, r);
    return 0;
  }
  return -FI_ENOENT;
}

void tf_rxe_flush(tf_domain_t *d, tf_queue_t *q, tf_cq_t *cq, tf_ep_t *ep) {
  tf_rxe_t *r;

  while ((r = tf_q_get(q)) != NULL) {
    tf_cq_err(cq, r->context, FI_MSG | FI_RECV, FI_ECANCELED, 0, 0);
    if (ep != NULL) tf_count(ep, TF_COUNT_RECV, true);
    tf_rxe_free(d, r);
  }
}

static ssize_t recv_op(struct fid_ep *e, const struct iovec *iov, size_t n, void *context,
                       uint64_t flags) {
  tf_ep_t *ep = tf_up(e, tf_ep_t, e);
  ssize_t r;

  tf_lock(ep->domain);
  if (ep->state == EP_DOWN) {
    tf_cq_err(ep->rxcq, context, FI_MSG | FI_RECV, FI_ECANCELED, 0, 0);
    tf_count(ep, TF_COUNT_RECV, true);
    tf_unlock(ep->domain);
    return 0;
  }
  r = tf_post(ep->domain, &ep->posted, &ep->rx_used, ep->rx_size, iov, n, context,
              (flags & FI_COMPLETION) != 0);
  if (r == 0 && ep->state == EP_UP && (ep->rx == RX_STALL || ep->left != NULL)) tf_rx_again(ep);
  tf_unlock(ep->domain);
  return r;
}

static ssize_t m_recv(struct fid_ep *e, void *buf, size_t len, void *desc, fi_addr_t from,
                      void *context) {
  struct iovec iov = {buf, len};

  (void) desc, (void) from;
  return recv_op(e, &iov, 1, context, tf_up(e, tf_ep_t, e)->rx_op_flags);
}
static ssize_t m_recvv(struct fid_ep *e, const struct iovec *iov, void **desc, size_t n,
                       fi_addr_t from, void *context) {
  (void) desc, (void) from;
  return recv_op(e, iov, n, context, tf_up(e, tf_ep_t, e)->rx_op_flags);
}
static ssize_t m_recvmsg(struct fid_ep *e, const struct fi_msg *m, uint64_t flags) {
  return recv_op(e, m->msg_iov, m->iov_count, m->context, flags);
}

#define SENDS                                                                                      \
  .size = sizeof(struct fi_ops_msg), .send = m_send, .sendv = m_sendv, .sendmsg = m_sendmsg,       \
  .inject = m_inject, .senddata = m_senddata, .injectdata = m_injectdata
struct fi_ops_msg tf_msg_ops = {SENDS, .recv = m_recv, .recvv = m_recvv, .recvmsg = m_recvmsg};
struct fi_ops_msg tf_msg_srx_ops = {SENDS, .recv = tf_no_recv, .recvv = tf_no_recvv,
                                    .recvmsg = tf_no_msg};
