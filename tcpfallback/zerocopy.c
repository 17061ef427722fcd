/* SPDX-License-Identifier: Apache-2.0 */
/* zerocopy.c - sends from the program's own memory, which the kernel gives back later.
 *
 * Design notes
 *  - Who asks for it (zerocopy_size) has his large sends and writes leave by tf_stream.writez. Each
 *    call has a number; the stream notes which are done. An entry knows the numbers of the calls that
 *    took from it, which follow each other, and is told when all of them are noted.
 *  - Completions keep their order: what is sent behind an entry that is still lent waits for it.
 *  - An answer to a read is copied, since its region may be closed any time; and so is what the peer
 *    acknowledges, since his word could come before the kernel's.
 *  - When a connection ends with something lent, it is reset: otherwise bytes could leave that the
 *    program has changed since. Only then the errors are told.
 *  - Notes make the descriptor ready whatever it asks for, so a stream with something lent stays in
 *    its sets. */
#include <time.h>

#include "prov.h"

enum { GIVE_UP_MS = 1000 };

void tf_zero_took(tf_ep_t *ep, tf_txe_t *e) {
  if (e->calls++ == 0) e->first = ep->zcalls;
}

bool tf_zero_sent(tf_ep_t *ep, tf_txe_t *e) {
  if (e->calls == e->noted && ep->lent.head == NULL) return false;
  tf_q_put(&ep->lent, e);
  return true;
}

/* Counts what of e's calls lies within first..last; these are far less than 2^31 apart. */
static void note(tf_txe_t *e, uint32_t first, uint32_t last) {
  uint32_t mine = e->first, end = e->first + e->calls; /* behind the last */

  if (e->calls == 0) return;
  if ((int32_t) (first - mine) > 0) mine = first;
  if ((int32_t) (last + 1 - end) < 0) end = last + 1;
  if ((int32_t) (end - mine) > 0) e->noted += end - mine;
}

bool tf_zero_notes(tf_ep_t *ep) {
  uint32_t first, last;
  bool any = false;
  tf_txe_t *e;

  while (tf_zero_under_way(ep) && tf_stream.note(ep->sock, &first, &last) > 0) {
    any = true;
    ep->znoted += last - first + 1;
    for (e = ep->lent.head; e != NULL; e = e->next) note(e, first, last);
    for (e = ep->tx.head; e != NULL && e->calls != 0; e = e->next) note(e, first, last);
  }
  if (!any) return false;
  while ((e = ep->lent.head) != NULL && e->calls == e->noted) {
    tf_q_get(&ep->lent);
    tf_tx_sent(ep, e);
  }
  return true;
}

void tf_zero_stop(tf_ep_t *ep) {
  const struct timespec little = {.tv_nsec = 100000};
  uint64_t until;

  if (!tf_zero_under_way(ep)) return;
  (void) tf_zero_notes(ep);
  if (!tf_zero_under_way(ep)) return;
  tf_stream.reset(ep->sock);
  until = tf_stream.now() + GIVE_UP_MS;
  while (tf_zero_under_way(ep) && tf_stream.now() < until)
    if (!tf_zero_notes(ep)) nanosleep(&little, NULL);
  if (tf_zero_under_way(ep))
    TF_WARN("a device holds memory of %u sends of a connection that is over\n",
            ep->zcalls - ep->znoted);
}
