/* SPDX-License-Identifier: Apache-2.0 */
/* rx.c - receiving: what a peer sent, judged, to where it belongs.
 *
 * Design notes
 *  - One read takes many small messages into the domain's staging buffer, where they are taken apart; the
 *    rest of a message that is longer goes straight to its destination, and the same read goes on in
 *    the staging buffer.
 *  - After a long message little is read ahead, so that the next one's bytes are not copied.
 *  - A message that no receive waits for stops the stream: the kernel holds the peer. */
#include <stdlib.h>
#include <string.h>

#include "prov.h"

enum { AHEAD = 1024, READS = 16 };

static tf_rxe_t *take(tf_ep_t *ep) {
  tf_srx_t *s = ep->srx;
  tf_rxe_t *e = tf_q_get(s != NULL ? &s->posted : &ep->posted);

  if (e != NULL) --*(s != NULL ? &s->used : &ep->rx_used);
  return e;
}

/* The first `size` bytes of what iov says. */
static bool aim(tf_ep_t *ep, const struct iovec *iov, unsigned n, uint64_t size) {
  unsigned i;

  ep->dst_n = ep->dst_i = 0;
  ep->need = size;
  for (i = 0; i < n && size > 0; i++) {
    struct iovec v = iov[i];
    if (v.iov_len == 0) continue;
    if (v.iov_len > size) v.iov_len = size;
    size -= v.iov_len;
    ep->dst_iov[ep->dst_n++] = v;
  }
  return size == 0;
}

static int refuse(const char *why) {
  TF_WARN("a peer is cut off: %s\n", why);
  return FI_EIO;
}

static uint64_t recv_flags(const tf_hdr_t *h) {
  return FI_MSG | FI_RECV | ((h->flags & TF_FL_DATA) != 0 ? FI_REMOTE_CQ_DATA : 0);
}

static int begin_msg(tf_ep_t *ep) {
  tf_rxe_t *e = take(ep);

  if (e == NULL) {
    ep->rx = RX_STALL;
    if (ep->srx != NULL) tf_srx_wait(ep);
    return 0;
  }
  ep->rxe = e;
  ep->rx = RX_MSG;
  if (!aim(ep, e->iov, e->niov, ep->h.size)) { /* too long for it: the connection lives */
    uint64_t room = 0;
    unsigned i;
    for (i = 0; i < e->niov; i++) room += e->iov[i].iov_len;
    tf_cq_err(ep->rxcq, e->context, recv_flags(&ep->h), FI_ETRUNC, ep->h.size - room, ep->h.data);
    tf_count(ep, TF_COUNT_RECV, true);
    tf_rxe_free(ep->domain, e);
    ep->rxe = NULL;
    ep->rx = RX_DROP;
    ep->need = ep->h.size;
  }
  return 0;
}

static int begin(tf_ep_t *ep) {
  tf_hdr_t *h = &ep->h;
  struct iovec iov[TF_IOV];
  tf_txe_t *t;
  unsigned i;

  if (h->ack) {
    t = tf_q_get(&ep->acks);
    if (t == NULL) return refuse("an acknowledgement of nothing");
    ep->tx_used--;
    tf_tx_end(ep, t->counts, t->context, t->cq_flags, 0);
    tf_txe_free(ep->domain, t);
    return 0;
  }
  switch (h->op) {
  case TF_OP_MSG: return begin_msg(ep);
  case TF_OP_READ: return tf_tx_answer(ep, h);
  case TF_OP_RSP: {
    uint64_t sum = 0;
    t = ep->reads.head;
    if (t == NULL) return refuse("an answer to no read");
    for (i = 0; i < t->niov; i++) sum += t->iov[i].iov_len;
    if (sum != h->size) return refuse("an answer that is not as long as the read");
    aim(ep, t->iov, t->niov, h->size);
    ep->rx = RX_RSP;
    return 0;
  }
  default: /* TF_OP_WRITE: wire.c knows no other */
    for (i = 0; i < h->nrma; i++) {
      ep->mr[i] = tf_mr_find(ep->domain, &h->rma[i], FI_REMOTE_WRITE, &iov[i].iov_base);
      if (ep->mr[i] == NULL) return refuse("a write to memory that does not allow it");
      iov[i].iov_len = h->rma[i].len;
    }
    aim(ep, iov, h->nrma, h->size);
    ep->rx = RX_WRITE;
    return 0;
  }
}

static int end(tf_ep_t *ep) {
  tf_rx_state was = ep->rx;
  tf_txe_t *t;
  unsigned i;

  ep->rx = RX_HDR;
  ep->large = ep->h.size >= TF_LARGE;
  switch (was) {
  case RX_MSG:
    if (ep->rxe->completion || ep->rx_comp) /* a shared one does not know the endpoint's choice */
      tf_cq_put(ep->rxcq, ep->rxe->context, recv_flags(&ep->h), ep->h.size, ep->h.data);
    tf_count(ep, TF_COUNT_RECV, false);
    tf_rxe_free(ep->domain, ep->rxe);
    ep->rxe = NULL;
    break;
  case RX_WRITE:
    if (ep->h.flags & TF_FL_COMMIT)
      for (i = 0; i < ep->h.nrma; i++) tf_mr_commit(ep->mr[i], &ep->h.rma[i]);
    memset(ep->mr, 0, sizeof(ep->mr));
    tf_count(ep, TF_COUNT_REMOTE_WRITE, false);
    if ((ep->h.flags & TF_FL_DATA) != 0 && ep->rxcq->tail - ep->rxcq->head >= TF_UNREAD)
      return refuse("more writes with data than anybody here reads the completions of");
    if (ep->h.flags & TF_FL_DATA)
      tf_cq_put(ep->rxcq, NULL, FI_REMOTE_WRITE | FI_REMOTE_CQ_DATA, ep->h.size, ep->h.data);
    break;
  case RX_RSP:
    t = tf_q_get(&ep->reads);
    ep->tx_used--;
    tf_tx_end(ep, t->counts, t->context, t->cq_flags, 0);
    tf_txe_free(ep->domain, t);
    return 0;
  default: /* dropped: who asked to be told of its arrival must not hear that it is here */
    if ((ep->h.flags & (TF_FL_DELIVERY | TF_FL_COMMIT)) != 0 ||
        (ep->h.op == TF_OP_WRITE && (ep->h.flags & TF_FL_DATA) != 0))
      return refuse("what it sent could not be placed, and it waits for the word that it was");
    return 0;
  }
  return (ep->h.flags & (TF_FL_DELIVERY | TF_FL_COMMIT)) != 0 ? tf_tx_ack(ep) : 0;
}

static void placed(tf_ep_t *ep, size_t n) {
  ep->need -= n;
  while (n > 0 && ep->dst_i < ep->dst_n) {
    struct iovec *v = &ep->dst_iov[ep->dst_i];
    size_t k = n < v->iov_len ? n : v->iov_len;
    v->iov_base = (uint8_t *) v->iov_base + k;
    v->iov_len -= k;
    n -= k;
    if (v->iov_len == 0) ep->dst_i++;
  }
}

static size_t place(tf_ep_t *ep, const uint8_t *p, size_t n) {
  size_t done = 0;

  if (n > ep->need) n = (size_t) ep->need;
  if (ep->rx == RX_DROP) {
    ep->need -= n;
    return n;
  }
  while (done < n) {
    struct iovec *v = &ep->dst_iov[ep->dst_i];
    size_t k = n - done < v->iov_len ? n - done : v->iov_len;
    memcpy(v->iov_base, p + done, k);
    placed(ep, k);
    done += k;
  }
  return n;
}

/* Takes bytes apart; *used: how many, less than n only where the endpoint stalls. */
static int parse(tf_ep_t *ep, const uint8_t *p, size_t n, size_t *used) {
  const char *why = NULL;
  size_t at = 0, need = TF_HDR, k;
  int r, err = 0;

  for (;;) {
    if (ep->rx == RX_HDR) {
      if (ep->answers >= TF_ANSWERS) break;
      if (ep->hlen == 0) {
        r = tf_hdr_get(p + at, n - at, ep->swap, &ep->h, &need, &why);
        if (r > 0) at += (size_t) r;
      } else {
        r = tf_hdr_get(ep->hbuf, ep->hlen, ep->swap, &ep->h, &need, &why);
        if (r > 0) ep->hlen = 0;
      }
      if (r < 0) {
        err = refuse(why);
        break;
      }
      if (r == 0) {
        if (at == n) break;
        k = need - ep->hlen < n - at ? need - ep->hlen : n - at;
        memcpy(ep->hbuf + ep->hlen, p + at, k);
        ep->hlen += (unsigned) k;
        at += k;
        continue;
      }
      err = begin(ep);
      if (err != 0) break;
      if (ep->rx == RX_HDR) continue;
    }
    if (ep->rx == RX_STALL) break;
    at += place(ep, p + at, n - at);
    if (ep->need != 0) break;
    err = end(ep);
    if (err != 0) break;
  }
  *used = at;
  return err;
}

static int keep(tf_ep_t *ep, const uint8_t *p, size_t n) {
  if (n == 0) return 0;
  ep->left = malloc(n);
  if (ep->left == NULL) return FI_ENOMEM;
  memcpy(ep->left, p, n);
  ep->left_off = 0;
  ep->left_len = n;
  return 0;
}

int tf_rx(tf_ep_t *ep, bool *got) {
  uint8_t *stage = ep->domain->staging;
  size_t used, room;
  int i, err;

  *got = false;
  if (ep->rx == RX_STALL) {
    begin_msg(ep);
    if (ep->rx == RX_STALL) return 0;
    *got = true;
    if (ep->need == 0 && (err = end(ep)) != 0) return err;
  }
  if (ep->left != NULL) {
    err = parse(ep, ep->left + ep->left_off, ep->left_len - ep->left_off, &used);
    ep->left_off += used;
    *got = true;
    if (err != 0) return err;
    if (ep->left_off < ep->left_len) return 0;
    free(ep->left);
    ep->left = NULL;
  }
  for (i = 0; i < READS && ep->rx != RX_STALL && ep->answers < TF_ANSWERS; i++) {
    struct iovec v[TF_IOV + 1];
    uint64_t direct = 0;
    ssize_t r;
    int n = 0;

    room = ep->large || (ep->rx != RX_HDR && ep->need >= TF_LARGE) ? AHEAD : TF_STAGING;
    if (ep->rx != RX_HDR && ep->rx != RX_DROP) {
      unsigned k;
      for (k = ep->dst_i; k < ep->dst_n; k++) v[n++] = ep->dst_iov[k];
      direct = ep->need;
    }
    if (n == 0) {
      if (ep->rx == RX_DROP) room = TF_STAGING;
      r = tf_stream.read(ep->sock, stage, room);
    } else {
      v[n++] = (struct iovec){stage, room};
      r = tf_stream.readv(ep->sock, v, n);
    }
    if (r == -EAGAIN) return 0;
    if (r < 0) return (int) -r;
    if (r == 0) return FI_ENOTCONN;
    *got = true;
    ep->large = false;
    if (direct != 0) {
      size_t k = (uint64_t) r < direct ? (size_t) r : (size_t) direct;
      bool full = (size_t) r == direct + room;
      placed(ep, k);
      if (ep->need != 0) continue; /* a short read is not the end of a long message */
      if ((err = end(ep)) != 0) return err;
      if ((err = parse(ep, stage, (size_t) r - k, &used)) != 0) return err;
      if ((err = keep(ep, stage + used, (size_t) r - k - used)) != 0) return err;
      if (!full) return 0;
    } else {
      if ((err = parse(ep, stage, (size_t) r, &used)) != 0) return err;
      if ((err = keep(ep, stage + used, (size_t) r - used)) != 0) return err;
      if ((size_t) r < room) return 0;
    }
    if (ep->left != NULL) return 0;
  }
  return 0;
}

void tf_rx_again(tf_ep_t *ep) {
  bool got;
  int err = tf_rx(ep, &got);

  if (err != 0)
    tf_ep_down(ep, err);
  else
    tf_ep_events(ep);
}
