/* SPDX-License-Identifier: Apache-2.0 */
/* ep.c - endpoints: their life, from fi_endpoint to the flush of what was under way. */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "prov.h"

int tf_ep_up(tf_ep_t *ep) {
  int err = tf_watch_begin(ep);

  if (err != 0) return err;
  ep->state = EP_UP;
  if (ep->rxcq != NULL) tf_cq_activate(ep->rxcq, ep);
  return 0;
}

static void flush_tx(tf_ep_t *ep, tf_queue_t *q, int err) {
  tf_txe_t *t;

  while ((t = tf_q_get(q)) != NULL) {
    if (t->kind & TX_USER) tf_tx_end(ep, t->counts, t->context, t->cq_flags, err);
    tf_txe_free(ep->domain, t);
  }
}

static void flush_all(tf_ep_t *ep, int err) {
  if (ep->sock != TF_NO_SOCK) tf_zero_stop(ep);
  flush_tx(ep, &ep->lent, err);
  flush_tx(ep, &ep->acks, err);
  flush_tx(ep, &ep->reads, err);
  flush_tx(ep, &ep->tx, err);
  ep->tx_used = ep->answers = 0;
  if (ep->rxe != NULL) {
    tf_cq_err(ep->rxcq, ep->rxe->context, FI_MSG | FI_RECV, FI_ECANCELED, 0, 0);
    tf_count(ep, TF_COUNT_RECV, true);
    tf_rxe_free(ep->domain, ep->rxe);
    ep->rxe = NULL;
  }
  tf_srx_leave(ep);
  tf_rxe_flush(ep->domain, &ep->posted, ep->rxcq, ep);
  ep->rx_used = 0;
  free(ep->left);
  ep->left = NULL;
  ep->rx = RX_HDR;
}

static void leave(tf_ep_t *ep) {
  if (ep->sock == TF_NO_SOCK) return;
  if (ep->state == EP_UP) tf_watch_end(ep);
  tf_cq_forget(ep->rxcq, ep);
  tf_cq_forget(ep->txcq, ep);
}

void tf_ep_down(tf_ep_t *ep, int err) {
  if (ep->state != EP_UP) return;
  leave(ep);
  ep->state = EP_DOWN;
  tf_stream.shutdown(ep->sock);
  flush_all(ep, err);
  if (ep->told) return;
  ep->told = true;
  tf_eq_post(ep->eq, &ep->shut);
}

void tf_ep_broke(tf_ep_t *ep, int err) {
  bool got = true;

  while (got && ep->state == EP_UP && ep->answers < TF_ANSWERS && tf_rx(ep, &got) == 0)
    ;
  tf_ep_down(ep, err);
}

static int ep_enable(tf_ep_t *ep) {
  int err;

  if (ep->enabled) return 0;
  if (ep->eq == NULL) return -FI_ENOEQ;
  if (ep->txcq == NULL || ep->rxcq == NULL) return -FI_ENOCQ;
  err = tf_cntr_start(ep);
  ep->enabled = err == 0;
  return err;
}

static int ep_control(struct fid *fid, int command, void *arg) {
  (void) arg;
  return command == FI_ENABLE ? ep_enable(tf_up(fid, tf_ep_t, e.fid)) : -FI_ENOSYS;
}

static int ep_bind(struct fid *fid, struct fid *b, uint64_t flags) {
  tf_ep_t *ep = tf_up(fid, tf_ep_t, e.fid);
  tf_cq_t *cq;

  if (ep->enabled) return -FI_EOPBADSTATE;
  if (b->fclass == FI_CLASS_EQ) {
    if (ep->eq != NULL) return -FI_EINVAL;
    ep->eq = tf_up(b, tf_eq_t, e.fid);
    tf_ref(&ep->eq->refs);
    return 0;
  }
  if (b->fclass == FI_CLASS_SRX_CTX) {
    tf_srx_t *s = tf_up(b, tf_srx_t, e.fid);
    if (s->domain != ep->domain || ep->srx != NULL) return -FI_EINVAL;
    ep->srx = s;
    ep->e.msg = &tf_msg_srx_ops;
    tf_ref(&s->refs);
    return 0;
  }
  if (b->fclass == FI_CLASS_CNTR) return tf_cntr_bind(ep, b, flags);
  if (b->fclass != FI_CLASS_CQ) return -FI_EINVAL;
  cq = tf_up(b, tf_cq_t, c.fid);
  if (cq->domain != ep->domain || ((flags & FI_TRANSMIT) != 0 && ep->txcq != NULL) ||
      ((flags & FI_RECV) != 0 && ep->rxcq != NULL))
    return -FI_EINVAL;
  if (flags & FI_TRANSMIT) {
    ep->txcq = cq;
    ep->tx_comp = (flags & FI_SELECTIVE_COMPLETION) == 0;
    tf_ref(&cq->refs);
  }
  if (flags & FI_RECV) {
    ep->rxcq = cq;
    ep->rx_comp = (flags & FI_SELECTIVE_COMPLETION) == 0;
    tf_ref(&cq->refs);
    tf_lock(ep->domain);
    cq->nbound++;
    tf_unlock(ep->domain);
  }
  return 0;
}

static int ep_close(struct fid *fid) {
  tf_ep_t *ep = tf_up(fid, tf_ep_t, e.fid);
  tf_domain_t *d = ep->domain;
  pthread_mutex_t *cm = &d->fabric->cm;

  pthread_mutex_lock(cm);
  tf_lock(d);
  leave(ep);
  flush_all(ep, FI_ECANCELED);
  if (ep->prev != NULL)
    ep->prev->next = ep->next;
  else
    d->eps = ep->next;
  if (ep->next != NULL) ep->next->prev = ep->prev;
  if (ep->rxcq != NULL) {
    ep->rxcq->nbound--;
    tf_unref(&ep->rxcq->refs);
  }
  if (ep->txcq != NULL) tf_unref(&ep->txcq->refs);
  if (ep->srx != NULL) tf_unref(&ep->srx->refs);
  tf_cntr_stop(ep);
  tf_unlock(d);
  if (ep->conn != NULL) tf_conn_ep_gone(ep->conn);
  tf_eq_purge(ep->eq, fid);
  if (ep->eq != NULL) tf_unref(&ep->eq->refs);
  if (ep->sock != TF_NO_SOCK) tf_stream.close(ep->sock);
  pthread_mutex_unlock(cm);
  tf_unref(&d->refs);
  free(ep);
  return 0;
}

/* ---- Connections ---- */

static bool is_idle(tf_ep_t *ep) {
  bool idle;

  tf_lock(ep->domain);
  idle = ep->state == EP_IDLE && ep->conn == NULL;
  tf_unlock(ep->domain);
  return idle;
}

static int rebind(tf_ep_t *ep, const void *addr, size_t len) {
  tf_sock_t s;
  int err;

  if (!is_idle(ep)) return -FI_EOPBADSTATE;
  err = tf_stream.open(addr, (socklen_t) len, &tf_params.sock, AF_INET, false, &s);
  if (err != 0) return err;
  if (ep->sock != TF_NO_SOCK) tf_stream.close(ep->sock);
  ep->sock = s;
  return 0;
}
static int ep_setname(fid_t fid, void *addr, size_t len) {
  tf_ep_t *ep = tf_up(fid, tf_ep_t, e.fid);
  int err;

  pthread_mutex_lock(&ep->domain->fabric->cm);
  err = rebind(ep, addr, len);
  pthread_mutex_unlock(&ep->domain->fabric->cm);
  return err;
}
static int name_of(tf_ep_t *ep, void *addr, size_t *len, bool peer, int none) {
  tf_sock_t s;
  int err;

  pthread_mutex_lock(&ep->domain->fabric->cm);
  s = ep->conn != NULL ? ep->conn->sock : ep->sock;
  err = s == TF_NO_SOCK ? none : tf_sock_name(s, addr, len, peer);
  pthread_mutex_unlock(&ep->domain->fabric->cm);
  return err;
}
static int ep_getname(fid_t fid, void *addr, size_t *len) {
  return name_of(tf_up(fid, tf_ep_t, e.fid), addr, len, false, -FI_EADDRNOTAVAIL);
}
static int ep_getpeer(struct fid_ep *e, void *addr, size_t *len) {
  return name_of(tf_up(e, tf_ep_t, e), addr, len, true, -FI_ENOTCONN);
}

static int start(tf_ep_t *ep, const void *addr, const void *data, size_t len) {
  int err = 0;

  if (!is_idle(ep)) return -FI_EOPBADSTATE;
  ep->dstlen = ((const struct sockaddr *) addr)->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                                       : sizeof(struct sockaddr_in);
  memcpy(&ep->dst, addr, ep->dstlen);
  if (ep->sock == TF_NO_SOCK)
    err = tf_stream.open(NULL, 0, &tf_params.sock, ep->dst.ss_family, true, &ep->sock);
  if (err == 0) err = tf_conn_start(ep, data, len);
  if (err != 0) return err;
  tf_lock(ep->domain);
  ep->state = EP_CONNECTING;
  tf_unlock(ep->domain);
  return 0;
}
static int ep_connect(struct fid_ep *e, const void *addr, const void *data, size_t len) {
  tf_ep_t *ep = tf_up(e, tf_ep_t, e);
  int err = ep_enable(ep);

  if (err != 0) return err;
  if (len > TF_CM_DATA || addr == NULL) return -FI_EINVAL;
  pthread_mutex_lock(&ep->domain->fabric->cm);
  err = start(ep, addr, data, len);
  pthread_mutex_unlock(&ep->domain->fabric->cm);
  return err;
}
static int ep_accept(struct fid_ep *e, const void *data, size_t len) {
  tf_ep_t *ep = tf_up(e, tf_ep_t, e);
  tf_conn_t *c;
  int err = ep_enable(ep);

  if (err != 0) return err;
  pthread_mutex_lock(&ep->domain->fabric->cm);
  c = ep->conn;
  err = c == NULL || c->state != CONN_READY ? -FI_EOPBADSTATE
                                            : tf_conn_answer(c, TF_CM_RESP, data, len);
  if (err == 0) err = tf_conn_hand_over(c, ep, NULL, 0);
  if (err == 0) tf_conn_free(c);
  pthread_mutex_unlock(&ep->domain->fabric->cm);
  return err;
}
static int ep_shutdown(struct fid_ep *e, uint64_t flags) {
  tf_ep_t *ep = tf_up(e, tf_ep_t, e);

  (void) flags;
  tf_lock(ep->domain);
  tf_ep_down(ep, FI_ECANCELED);
  tf_unlock(ep->domain);
  return 0;
}

/* 0 also when there is no such receive, as `tcp` answers: it means no more than that the request was
 * taken; what became of the receive its completion says. */
static ssize_t ep_cancel(fid_t fid, void *context) {
  tf_ep_t *ep = tf_up(fid, tf_ep_t, e.fid);

  tf_lock(ep->domain);
  if (tf_cancel(ep->domain, &ep->posted, &ep->rx_used, ep->rxcq, context) == 0)
    tf_count(ep, TF_COUNT_RECV, true);
  tf_unlock(ep->domain);
  return 0;
}

static struct fi_ops fid_ops = {.size = sizeof(struct fi_ops),
                                .close = ep_close,
                                .bind = ep_bind,
                                .control = ep_control,
                                .ops_open = tf_no_ops_open,
                                .ops_set = tf_no_ops_set};
static struct fi_ops_ep ep_ops = {.size = sizeof(struct fi_ops_ep),
                                  .cancel = ep_cancel,
                                  .getopt = tf_getopt,
                                  .setopt = tf_no_setopt,
                                  .tx_ctx = tf_no_tx_ctx,
                                  .rx_ctx = tf_no_rx_ctx,
                                  .rx_size_left = tf_no_size_left,
                                  .tx_size_left = tf_no_size_left};
static struct fi_ops_cm cm_ops = {.size = sizeof(struct fi_ops_cm),
                                  .setname = ep_setname,
                                  .getname = ep_getname,
                                  .getpeer = ep_getpeer,
                                  .connect = ep_connect,
                                  .listen = tf_no_listen,
                                  .accept = ep_accept,
                                  .reject = tf_no_reject,
                                  .shutdown = ep_shutdown,
                                  .join = tf_no_join};

int tf_ep_open(struct fid_domain *f, struct fi_info *info, struct fid_ep **out, void *context) {
  tf_domain_t *d = tf_up(f, tf_domain_t, d);
  struct fid *h = info->handle;
  tf_ep_t *ep = calloc(1, sizeof(*ep));

  if (ep == NULL) return -FI_ENOMEM;
  ep->domain = d;
  ep->sock = TF_NO_SOCK;
  tf_q_init(&ep->tx), tf_q_init(&ep->acks), tf_q_init(&ep->reads), tf_q_init(&ep->lent),
      tf_q_init(&ep->posted);
  ep->tx_size = info->tx_attr != NULL && info->tx_attr->size != 0 ? info->tx_attr->size : 256;
  ep->rx_size = info->rx_attr != NULL && info->rx_attr->size != 0 ? info->rx_attr->size : 256;
  ep->tx_op_flags = info->tx_attr != NULL ? info->tx_attr->op_flags : 0;
  ep->rx_op_flags = info->rx_attr != NULL ? info->rx_attr->op_flags : 0;
  ep->shut.event = FI_SHUTDOWN;
  ep->shut.embedded = true;
  ep->shut.fid = &ep->e.fid;
  if (info->dest_addr != NULL && info->dest_addrlen <= sizeof(ep->dst)) {
    memcpy(&ep->dst, info->dest_addr, info->dest_addrlen);
    ep->dstlen = (socklen_t) info->dest_addrlen;
  }
  if (h != NULL && h->fclass == FI_CLASS_CONNREQ) {
    tf_conn_t *c = (tf_conn_t *) h;
    if (c->ep != NULL || c->sock == TF_NO_SOCK) { /* it has an endpoint, or had one */
      free(ep);
      return -FI_EINVAL;
    }
    ep->conn = c;
    c->ep = ep;
  } else if (h != NULL && h->fclass == FI_CLASS_PEP) {
    tf_pep_t *p = tf_up(h, tf_pep_t, p.fid);
    ep->sock = p->sock;
    p->sock = TF_NO_SOCK;
  } else if (info->src_addr != NULL) {
    int err = tf_stream.open(info->src_addr, (socklen_t) info->src_addrlen, &tf_params.sock,
                             AF_INET, true, &ep->sock);
    if (err != 0) {
      free(ep);
      return err;
    }
  }
  ep->e.fid = (struct fid){.fclass = FI_CLASS_EP, .context = context, .ops = &fid_ops};
  ep->e.ops = &ep_ops;
  ep->e.cm = &cm_ops;
  ep->e.msg = &tf_msg_ops;
  ep->e.rma = &tf_rma_ops;
  ep->e.tagged = &tf_no_tagged;
  ep->e.atomic = &tf_no_atomic;
  ep->e.collective = &tf_no_collective;
  tf_lock(d);
  ep->next = d->eps;
  if (ep->next != NULL) ep->next->prev = ep;
  d->eps = ep;
  tf_unlock(d);
  tf_ref(&d->refs);
  *out = &ep->e;
  return 0;
}
