/* SPDX-License-Identifier: Apache-2.0 */
/* watch.c - which sets an endpoint's stream is in, and what it asks of them.
 *
 * Design notes
 *  - A stream belongs to the sets of its endpoint's completion queues. But a set costs with every
 *    segment that arrives, also where nobody sleeps: its entry is written by the processor that
 *    sends and the one that asks, which is a fifteenth of a 64 B round trip. So the stream of an endpoint that
 *    a queue reads without being asked for, time after time, leaves that queue's set: it is away.
 *  - Who is away from a queue's set is among the queue's active endpoints. It comes back when it
 *    stops being one, when it asks for anything but data, and before anybody sleeps (fi_trywait).
 *  - Who waits for a counter sleeps on the set, too: until he is done none leaves it.
 *  - Somebody may sleep on the set already while another thread reads the queue: he is woken, and
 *    stays so until the next fi_trywait. */
#include "prov.h"

enum { USUAL = TF_IN | TF_HUP, RUN = 128 /* reads that had something, until a stream leaves */ };

static unsigned bit(const tf_ep_t *ep, const tf_cq_t *cq) {
  return cq == ep->rxcq ? 1 : 2;
}

static void in_sets(tf_ep_t *ep, int (*call)(tf_set_t *, tf_sock_t, unsigned, void *),
                    unsigned events) {
  if (ep->rxcq != NULL && (ep->away & 1) == 0) (void) call(ep->rxcq->set, ep->sock, events, ep);
  if (ep->txcq != NULL && ep->txcq != ep->rxcq && (ep->away & 2) == 0)
    (void) call(ep->txcq->set, ep->sock, events, ep);
}

static int out_of(tf_set_t *set, tf_sock_t s, unsigned events, void *ptr) {
  (void) events, (void) ptr;
  tf_stream.del(set, s);
  return 0;
}

/* Room while something is queued, data while it can be taken, its end until told, notes (which come
 * unasked) while there will be some. */
void tf_ep_events(tf_ep_t *ep) {
  bool stalled = ep->rx == RX_STALL || ep->left != NULL || ep->answers >= TF_ANSWERS;
  unsigned want = (ep->tx.head != NULL ? TF_OUT : 0u) | (stalled ? 0u : TF_IN) |
                  (ep->half ? 0u : TF_HUP) | (tf_zero_under_way(ep) ? TF_NOTE : 0u);

  if (ep->state != EP_UP || want == ep->events) return;
  if ((want ^ ep->events) == TF_NOTE && ep->events != 0 &&
      ep->away == 0) { /* as the sets have it */
    ep->events = want;
    return;
  }
  (void) tf_watch_back(ep, ep->rxcq);
  (void) tf_watch_back(ep, ep->txcq);
  if (want == 0 || ep->half) { /* its end would make the set ready for ever */
    if (ep->events != 0) in_sets(ep, out_of, 0);
    ep->events = 0;
    if (stalled || !ep->half) return;
    want = TF_IN;
  }
  in_sets(ep, ep->events == 0 ? tf_stream.add : tf_stream.mod, want);
  ep->events = want;
}

int tf_watch_begin(tf_ep_t *ep) {
  int err = ep->rxcq != NULL ? tf_stream.add(ep->rxcq->set, ep->sock, USUAL, ep) : 0;

  if (err == 0 && ep->txcq != NULL && ep->txcq != ep->rxcq) {
    err = tf_stream.add(ep->txcq->set, ep->sock, USUAL, ep);
    if (err != 0 && ep->rxcq != NULL) tf_stream.del(ep->rxcq->set, ep->sock);
  }
  if (err == 0) ep->events = USUAL;
  return err;
}

void tf_watch_end(tf_ep_t *ep) {
  if (ep->events != 0) in_sets(ep, out_of, 0);
  ep->events = ep->away = 0;
}

void tf_watch_ran(tf_ep_t *ep, tf_cq_t *cq) {
  if (++ep->run < RUN || (ep->away & bit(ep, cq)) != 0 || ep->events != USUAL) return;
  if (tf_cntr_slept_on(ep)) return;
  tf_stream.del(cq->set, ep->sock);
  ep->away |= bit(ep, cq);
  if (!cq->slept) return;
  cq->slept = false;
  cq->called = true;
  tf_stream.wake(cq->set);
}

bool tf_watch_back(tf_ep_t *ep, tf_cq_t *cq) {
  ep->run = 0;
  if (cq == NULL || (ep->away & bit(ep, cq)) == 0) return true;
  if (tf_stream.add(cq->set, ep->sock, ep->events, ep) != 0) return false;
  ep->away &= ~bit(ep, cq);
  return true;
}
