/* SPDX-License-Identifier: Apache-2.0 */
/* srx.c - shared receive contexts: buffers that several endpoints receive into.
 *
 * Design notes
 *  - The domain's lock is theirs too: an endpoint takes a buffer on the data path.
 *  - Endpoints that found none wait in the order in which they came; a buffer that is posted goes to the
 *    first, so a busy endpoint cannot starve the others. While one waits, nothing is posted.
 *  - A buffer belongs to an endpoint from the first byte of its message on: it completes, or dies, in
 *    the endpoint's queue. What an endpoint has not begun stays when it dies. The context's own queue
 *    hears of cancelled buffers alone. */
#include <stdlib.h>

#include "prov.h"

void tf_srx_wait(tf_ep_t *ep) {
  tf_srx_t *s = ep->srx;

  if (ep->waits) return;
  ep->waits = true;
  ep->waiter = NULL;
  *s->last = ep;
  s->last = &ep->waiter;
}

void tf_srx_leave(tf_ep_t *ep) {
  tf_srx_t *s = ep->srx;
  tf_ep_t **at;

  if (!ep->waits) return;
  for (at = &s->first; *at != ep; at = &(*at)->waiter)
    ;
  *at = ep->waiter;
  if (*at == NULL) s->last = at;
  ep->waits = false;
}

static ssize_t post(struct fid_ep *e, const struct iovec *iov, size_t n, void *context,
                    uint64_t flags) {
  tf_srx_t *s = tf_up(e, tf_srx_t, e);
  tf_ep_t *ep;
  ssize_t r;

  tf_lock(s->domain);
  r = tf_post(s->domain, &s->posted, &s->used, s->size, iov, n, context,
              (flags & FI_COMPLETION) != 0);
  while (r == 0 && s->posted.head != NULL && (ep = s->first) != NULL) {
    tf_srx_leave(ep);
    tf_rx_again(ep);
  }
  tf_unlock(s->domain);
  return r;
}

static ssize_t s_recv(struct fid_ep *e, void *buf, size_t len, void *desc, fi_addr_t from,
                      void *context) {
  struct iovec iov = {buf, len};

  (void) desc, (void) from;
  return post(e, &iov, 1, context, tf_up(e, tf_srx_t, e)->op_flags);
}
static ssize_t s_recvv(struct fid_ep *e, const struct iovec *iov, void **desc, size_t n,
                       fi_addr_t from, void *context) {
  (void) desc, (void) from;
  return post(e, iov, n, context, tf_up(e, tf_srx_t, e)->op_flags);
}
static ssize_t s_recvmsg(struct fid_ep *e, const struct fi_msg *m, uint64_t flags) {
  return post(e, m->msg_iov, m->iov_count, m->context, flags);
}

static ssize_t srx_cancel(fid_t fid, void *context) {
  tf_srx_t *s = tf_up(fid, tf_srx_t, e.fid);

  tf_lock(s->domain);
  (void) tf_cancel(s->domain, &s->posted, &s->used, s->cq, context);
  tf_unlock(s->domain);
  return 0;
}

static int srx_bind(struct fid *fid, struct fid *b, uint64_t flags) {
  tf_srx_t *s = tf_up(fid, tf_srx_t, e.fid);
  tf_cq_t *cq;

  if (b->fclass != FI_CLASS_CQ || flags != FI_RECV || s->cq != NULL) return -FI_EINVAL;
  cq = tf_up(b, tf_cq_t, c.fid);
  if (cq->domain != s->domain) return -FI_EINVAL;
  s->cq = cq;
  tf_ref(&cq->refs);
  return 0;
}

static int srx_control(struct fid *fid, int command, void *arg) {
  (void) fid, (void) arg;
  return command == FI_ENABLE ? 0 : -FI_ENOSYS;
}

static int srx_close(struct fid *fid) {
  tf_srx_t *s = tf_up(fid, tf_srx_t, e.fid);
  tf_domain_t *d = s->domain;

  if (tf_busy(&s->refs)) return -FI_EBUSY;
  tf_lock(d);
  tf_rxe_flush(d, &s->posted, s->cq, NULL);
  tf_unlock(d);
  if (s->cq != NULL) tf_unref(&s->cq->refs);
  tf_unref(&d->refs);
  free(s);
  return 0;
}

static struct fi_ops fid_ops = {.size = sizeof(struct fi_ops),
                                .close = srx_close,
                                .bind = srx_bind,
                                .control = srx_control,
                                .ops_open = tf_no_ops_open,
                                .ops_set = tf_no_ops_set};
static struct fi_ops_ep ep_ops = {.size = sizeof(struct fi_ops_ep),
                                  .cancel = srx_cancel,
                                  .getopt = tf_no_getopt,
                                  .setopt = tf_no_setopt,
                                  .tx_ctx = tf_no_tx_ctx,
                                  .rx_ctx = tf_no_rx_ctx,
                                  .rx_size_left = tf_no_size_left,
                                  .tx_size_left = tf_no_size_left};
static struct fi_ops_msg msg_ops = {.size = sizeof(struct fi_ops_msg),
                                    .recv = s_recv,
                                    .recvv = s_recvv,
                                    .recvmsg = s_recvmsg,
                                    .send = tf_no_send,
                                    .sendv = tf_no_sendv,
                                    .sendmsg = tf_no_msg,
                                    .inject = tf_no_inject,
                                    .senddata = tf_no_senddata,
                                    .injectdata = tf_no_injectdata};

int tf_srx_open(struct fid_domain *f, struct fi_rx_attr *attr, struct fid_ep **out, void *context) {
  tf_srx_t *s = calloc(1, sizeof(*s));

  if (s == NULL) return -FI_ENOMEM;
  s->domain = tf_up(f, tf_domain_t, d);
  s->size = attr != NULL && attr->size != 0 ? attr->size : TF_RX_MAX;
  s->op_flags = attr != NULL ? attr->op_flags : 0;
  s->last = &s->first;
  tf_q_init(&s->posted);
  s->e.fid = (struct fid){.fclass = FI_CLASS_SRX_CTX, .context = context, .ops = &fid_ops};
  s->e.ops = &ep_ops;
  s->e.msg = &msg_ops;
  s->e.tagged = &tf_no_tagged;
  s->e.atomic = &tf_no_atomic;
  s->e.collective = &tf_no_collective;
  tf_ref(&s->domain->refs);
  *out = &s->e;
  return 0;
}
