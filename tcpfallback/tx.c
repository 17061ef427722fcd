/* SPDX-License-Identifier: Apache-2.0 */
/* tx.c - sending: at once where the stream takes it, else queued and sent together.
 *
 * Design notes
 *  - All that an endpoint sends goes through one queue, so its order is that of the calls.
 *  - What is short leaves as one contiguous piece: that costs less than a vector. */
#include <string.h>

#include "prov.h"

enum { FLAT = 1024, GATHER = 48 };

static int queue(tf_ep_t *ep, tf_txe_t *e) {
  bool idle = ep->tx.head == NULL;

  tf_q_put(&ep->tx, e);
  return idle ? tf_tx_flush(ep) : 0;
}

void tf_tx_end(tf_ep_t *ep, tf_count_what what, void *context, uint64_t cq_flags, int err) {
  tf_count(ep, what, err != 0);
  if (cq_flags == 0 || (err == 0 && (cq_flags & TF_QUIET) != 0)) return;
  cq_flags &= ~TF_QUIET;
  if (err == 0)
    tf_cq_put(ep->txcq, context, cq_flags, 0, 0);
  else
    tf_cq_err(ep->txcq, context, cq_flags, err, 0, 0);
}

ssize_t tf_tx(tf_ep_t *ep, tf_op_t *op) {
  uint8_t flat[FLAT], *p = flat;
  struct iovec v[TF_IOV + 1];
  tf_txe_t *e;
  tf_count_what counts = op->h.op == TF_OP_WRITE  ? TF_COUNT_WRITE
                         : op->h.op == TF_OP_READ ? TF_COUNT_READ
                                                  : TF_COUNT_SEND;
  size_t i, n, total, hlen;
  ssize_t r = 0;
  bool zero;
  int err;

  if (ep->state != EP_UP) return ep->state == EP_IDLE ? -FI_EOPBADSTATE : -FI_ENOTCONN;
  if (ep->tx_used >= ep->tx_size) return -FI_EAGAIN;
  op->h.id = ep->tx_id;
  hlen = tf_hdr_put(flat, &op->h, ep->swap);
  total = hlen + op->h.size;
  zero = tf_params.zerocopy_size > 0 && op->h.size >= (size_t) tf_params.zerocopy_size &&
         !op->ack && !op->inject;
  if (ep->tx.head == NULL && !op->ack && op->h.op != TF_OP_READ && !zero &&
      (ep->lent.head == NULL || op->cq_flags == 0 || (op->cq_flags & TF_QUIET) != 0)) {
    if (total <= FLAT) {
      for (p += hlen, i = 0; i < op->niov; p += op->iov[i++].iov_len)
        if (op->iov[i].iov_len != 0) memcpy(p, op->iov[i].iov_base, op->iov[i].iov_len);
      r = tf_stream.write(ep->sock, flat, total);
    } else {
      v[0] = (struct iovec){flat, hlen};
      memcpy(v + 1, op->iov, op->niov * sizeof(*v));
      r = tf_stream.writev(ep->sock, v, (int) op->niov + 1);
    }
    if (r == (ssize_t) total) {
      ep->tx_id++;
      tf_tx_end(ep, counts, op->context, op->cq_flags, 0);
      return 0;
    }
    if (r < 0 && r != -EAGAIN) {
      tf_tx_end(ep, counts, op->context, op->cq_flags, (int) -r);
      tf_ep_broke(ep, (int) -r);
      return 0;
    }
    if (r < 0) r = 0;
  }
  e = tf_txe_new(ep->domain);
  if (e == NULL) {
    if (r == 0) return -FI_EAGAIN;
    tf_ep_down(ep, FI_ENOMEM); /* half a message has left */
    return -FI_ENOMEM;
  }
  ep->tx_id++;
  e->context = op->context;
  e->cq_flags = op->cq_flags;
  e->counts = counts;
  e->kind = TX_USER | (op->ack ? TX_ACK : 0u) | (op->h.op == TF_OP_READ ? TX_READ : 0u) |
            (zero ? TX_ZERO : 0u);
  e->calls = e->noted = 0;
  e->hlen = (uint32_t) hlen;
  e->left = total;
  e->off = 0;
  memcpy(e->hdr, flat, hlen);
  if (op->inject) {
    for (p = e->hdr + hlen, i = 0; i < op->niov; p += op->iov[i++].iov_len)
      if (op->iov[i].iov_len != 0) memcpy(p, op->iov[i].iov_base, op->iov[i].iov_len);
    e->hlen = (uint32_t) total;
    e->niov = 0;
  } else {
    e->niov = (uint32_t) op->niov;
    memcpy(e->iov, op->iov, op->niov * sizeof(*e->iov));
  }
  ep->tx_used++;
  n = (size_t) r;
  e->off = n;
  if (r > 0) { /* the stream is full: do not ask it again */
    tf_q_put(&ep->tx, e);
    tf_ep_events(ep);
    return 0;
  }
  err = queue(ep, e);
  if (err != 0) tf_ep_broke(ep, err);
  return 0;
}

static tf_txe_t *internal(tf_ep_t *ep, const tf_hdr_t *h) {
  tf_txe_t *e = tf_txe_new(ep->domain);

  if (e == NULL) return NULL;
  e->cq_flags = 0;
  e->kind = e->calls = e->noted = 0;
  e->counts = h->op == TF_OP_RSP ? TF_COUNT_REMOTE_READ : TF_COUNT_NOTHING;
  e->niov = 0;
  e->off = 0;
  memset(e->mr, 0, sizeof(e->mr));
  e->hlen = (uint32_t) tf_hdr_put(e->hdr, h, ep->swap);
  e->left = e->hlen + h->size;
  ep->tx_id++;
  ep->answers++;
  return e;
}

int tf_tx_ack(tf_ep_t *ep) {
  tf_hdr_t h = {.op = TF_OP_MSG, .ack = true, .id = ep->tx_id};
  tf_txe_t *e = internal(ep, &h);

  return e == NULL ? FI_ENOMEM : queue(ep, e);
}

int tf_tx_answer(tf_ep_t *ep, const tf_hdr_t *q) {
  tf_hdr_t h = {.op = TF_OP_RSP, .id = ep->tx_id};
  struct iovec iov[TF_IOV];
  tf_mr_t *mr[TF_IOV];
  tf_txe_t *e;
  unsigned i;

  for (i = 0; i < q->nrma; i++) {
    mr[i] = tf_mr_find(ep->domain, &q->rma[i], FI_REMOTE_READ, &iov[i].iov_base);
    if (mr[i] == NULL || h.size + q->rma[i].len < h.size) {
      TF_WARN("%s read of %llu bytes with key %llu, which does not allow it\n", "a peer asks for a",
              (unsigned long long) q->rma[i].len, (unsigned long long) q->rma[i].key);
      return FI_EACCES;
    }
    iov[i].iov_len = q->rma[i].len;
    h.size += q->rma[i].len;
  }
  e = internal(ep, &h);
  if (e == NULL) return FI_ENOMEM;
  e->niov = q->nrma;
  memcpy(e->iov, iov, q->nrma * sizeof(*iov));
  memcpy(e->mr, mr, q->nrma * sizeof(*mr));
  return queue(ep, e);
}

void tf_tx_sent(tf_ep_t *ep, tf_txe_t *e) {
  if (e->kind & TX_USER)
    ep->tx_used--;
  else
    ep->answers--;
  tf_tx_end(ep, e->counts, e->context, e->cq_flags, 0);
  tf_txe_free(ep->domain, e);
}

/* The stream has all of it. */
static void sent(tf_ep_t *ep, tf_txe_t *e) {
  if (e->kind & TX_ACK) {
    tf_q_put(&ep->acks, e);
    return;
  }
  if (e->kind & TX_READ) {
    tf_q_put(&ep->reads, e);
    return;
  }
  if ((e->kind & TX_USER) == 0 || !tf_zero_sent(ep, e)) tf_tx_sent(ep, e);
}

/* The pieces of e beyond what has left already. */
static int pieces(const tf_txe_t *e, struct iovec *v) {
  size_t skip = e->off;
  unsigned i;
  int n = 0;

  for (i = 0; i <= ((e->kind & TX_READ) != 0 ? 0 : e->niov); i++) {
    struct iovec one = i == 0 ? (struct iovec){(void *) e->hdr, e->hlen} : e->iov[i - 1];
    if (skip >= one.iov_len) {
      skip -= one.iov_len;
      continue;
    }
    v[n++] = (struct iovec){(uint8_t *) one.iov_base + skip, one.iov_len - skip};
    skip = 0;
  }
  return n;
}

/* From the queue's head as many as fit into one call, all lent or all copied: bytes taken. */
static ssize_t push(tf_ep_t *ep, size_t *asked) {
  struct iovec v[GATHER + TF_IOV + 1];
  bool zero = (((tf_txe_t *) ep->tx.head)->kind & TX_ZERO) != 0;
  size_t left;
  tf_txe_t *e;
  ssize_t r;
  int n = 0, i;

  for (e = ep->tx.head; e != NULL && n < GATHER && ((e->kind & TX_ZERO) != 0) == zero; e = e->next)
    n += pieces(e, v + n);
  for (*asked = 0, i = 0; i < n; i++) *asked += v[i].iov_len;
  r = zero ? tf_stream.writez(ep->sock, v, n) : -ENOBUFS;
  if (r == -ENOBUFS) return tf_stream.writev(ep->sock, v, n);
  if (r <= 0) return r;
  left = (size_t) r;
  for (e = ep->tx.head; left > 0; e = e->next) {
    tf_zero_took(ep, e);
    left -= left < e->left - e->off ? left : e->left - e->off;
  }
  ep->zcalls++;
  return r;
}

int tf_tx_flush(tf_ep_t *ep) {
  while (ep->tx.head != NULL) {
    tf_txe_t *e;
    size_t asked;
    ssize_t r = push(ep, &asked);

    if (r < 0 && r != -EAGAIN) return (int) -r;
    if (r < 0) r = 0;
    asked -= (size_t) r;
    while ((e = ep->tx.head) != NULL && (size_t) r >= e->left - e->off) {
      r -= (ssize_t) (e->left - e->off);
      tf_q_get(&ep->tx);
      sent(ep, e);
      if (r == 0) break;
    }
    if (r > 0) e->off += (size_t) r;
    if (asked != 0) break;
  }
  tf_ep_events(ep);
  return 0;
}
