/* SPDX-License-Identifier: Apache-2.0 */
/* tx.c - the sending half of the record stream: queue, coalescing, acknowledgement, replay.
 *
 * Design notes
 *  - One doubly linked list holds everything not yet acknowledged, oldest first. `unsent` splits
 *    it: what stands before it has left on the active path, what stands from it on has not (or must
 *    leave again after a migration).
 *  - A record gets its number when it first leaves; until then it can be cancelled without a hole.
 *  - Large ones that have a number stand in s->large too, in the same order: what a frame of the
 *    peer names is found there, however long the queue is.
 *  - A small message that leaves by itself goes without record header where it then fits what the
 *    provider takes inline: 64 bytes and their frame are 128, which is all that tcp takes.
 *  - tx_bytes is the sum of the small messages before `unsent`: rewinding for replay rewinds it
 *    too, so the receiver's byte window means the same on every path. */
#include <errno.h>
#include <string.h>

#include "session/internal.h"

/* A large message is about to be posted, refused, acknowledged or given up: if it held back what
 * follows, it does no more. Only those that have left on this path hold anything back. */
void weft__s_gate(weft__session_t *s, const weft__txm_t *m) {
  if (m->flags & (WEFT__TX_POSTED | WEFT__TX_REFUSED)) return;
  if (!s->unsent || s->unsent->seq == 0 || m->seq < s->unsent->seq) s->unposted--;
}

static bool is_large(const weft__txm_t *m) {
  return m->kind == WEFT__R_MSG && m->size > WEFT__EAGER_MAX;
}

static uint32_t space_of(const weft__txm_t *m) {
  if (m->flags & WEFT__TX_REFUSED) return WEFT__REC;
  if (!is_large(m)) return weft__rec_space((uint32_t) m->size);
  return weft__rec_space_large(m->size < WEFT__HEAD_MAX ? (uint32_t) m->size : WEFT__HEAD_MAX);
}

static void copy_from(const weft__txm_t *m, uint8_t *to, size_t n) {
  for (uint32_t i = 0; i < m->niov && n; i++) {
    size_t k = m->iov[i].iov_len < n ? m->iov[i].iov_len : n;
    if (k) memcpy(to, m->iov[i].iov_base, k);
    to += k;
    n -= k;
  }
}

static void unlink_txm(weft__session_t *s, weft__txm_t *m) {
  if (m->prev)
    m->prev->next = m->next;
  else
    s->head = m->next;
  if (m->next)
    m->next->prev = m->prev;
  else
    s->tail = m->prev;
  if (s->unsent == m) s->unsent = m->next;
  if (m->flags & WEFT__TX_LARGE && !(s->large = m->next_large))
    s->large_tail = NULL; /* they leave in order */
  s->queued_bytes -= m->size;
  s->queued_messages--;
}

static void push_done(weft__session_t *s, weft__txm_t *m) {
  m->flags |= WEFT__TX_ENDED; /* no longer to be cancelled */
  m->next = NULL;
  if (s->done_tail)
    s->done_tail->next = m;
  else
    s->done_head = m;
  s->done_tail = m;
}

void weft__s_tx_finish(weft__session_t *s, weft__txm_t *m, int status) {
  if (m->flags & WEFT__TX_REFUSED && status == 0) status = -ENOBUFS;
  m->status = status;
  if (m->rma_refs) { /* a device still reads the source */
    m->flags |= WEFT__TX_ENDED;
    s->limbo++;
    return;
  }
  push_done(s, m);
}

void weft__s_tx_fail_all(weft__session_t *s, int status) {
  while (s->head) {
    weft__txm_t *m = s->head;
    unlink_txm(s, m);
    weft__s_tx_finish(s, m, status);
  }
  s->queued_space = 0;
  s->unposted = 0;
  for (unsigned i = 0; i < s->npaths; i++) s->paths[i]->nxfers = 0;
  s->nxfers = 0;
}

weft__txm_t *weft__s_tx_find(weft__session_t *s, uint64_t seq) {
  weft__txm_t *m = s->large;
  for (unsigned i = 1; m && m->seq < seq && i < WEFT__NAMED_MAX; i++, s->steps++) m = m->next_large;
  return m && m->seq == seq ? m : NULL;
}

bool weft__s_tx_refused(weft__session_t *s, weft__txm_t *m) {
  bool waits = s->unsent && s->unsent->seq && m->seq >= s->unsent->seq;
  weft__s_gate(s, m);
  if (waits) s->queued_space -= space_of(m);
  m->flags |= WEFT__TX_REFUSED;
  if (waits) s->queued_space += space_of(m); /* its record has another size now */
  return waits;
}

int weft__session_send(weft__session_t *s, weft__txm_t *m) {
  if (weft__ended(s)) return -ENOTCONN;
  if (s->fin_queued) return -EPIPE;
  uint64_t total = 0;
  for (uint32_t i = 0; i < m->niov; i++) {
    if (m->iov[i].iov_len > UINT64_MAX - total) return -EMSGSIZE;
    total += m->iov[i].iov_len;
  }
  if (s->have_peer && total > s->peer.max_message) return -EMSGSIZE;
  m->seq = 0;
  m->size = total;
  m->flags = 0;
  m->rma_refs = 0;
  m->status = 0;
  m->next = NULL;
  m->prev = s->tail;
  if (s->tail)
    s->tail->next = m;
  else
    s->head = m;
  s->tail = m;
  if (!s->unsent) s->unsent = m;
  if (m->kind == WEFT__R_FIN) s->fin_queued = true;
  s->queued_bytes += total;
  s->queued_messages++;
  s->queued_space += space_of(m);
  if (s->queued_space >= WEFT__PAYLOAD_MAX && !s->tx_stuck) weft__s_emit(s, true);
  if (!s->dirty) weft__s_dirty(s);
  return 0;
}

int weft__session_cancel(weft__session_t *s, weft__txm_t *m) {
  if (m->seq != 0 || m->flags & WEFT__TX_ENDED) return -EBUSY;
  s->queued_space -= space_of(m);
  if (m->kind == WEFT__R_FIN) s->fin_queued = false;
  unlink_txm(s, m);
  weft__s_tx_finish(s, m, -ECANCELED);
  weft__s_dirty(s);
  return 0;
}

/* May this record leave now? Small ones wait until large ones before them are written, so that the
 * receiver need not hold them. */
static bool may_leave(const weft__session_t *s, const weft__txm_t *m) {
  uint64_t seq = m->seq ? m->seq : s->tx_seq;
  if (seq >= s->tx_win_seq) return false;
  if (is_large(m) || m->flags & WEFT__TX_REFUSED) return true;
  if (s->unposted) return false;
  return m->kind != WEFT__R_MSG || s->tx_bytes + m->size <= s->tx_win_bytes;
}

/* Does m leave in a frame of its own, which the provider takes inline without the record header? */
static bool goes_alone(const weft__txm_t *m, const weft__path_limits_t *lim) {
  return m->kind == WEFT__R_MSG && !is_large(m) && m->size + WEFT__HDR <= lim->inject_max &&
         !m->next && !(m->flags & WEFT__TX_REFUSED);
}

/* Writes m's record at `to`, or only its bytes when it goes alone; returns its space there. */
static uint32_t put_record(weft__session_t *s, weft__txm_t *m, uint8_t *to, bool alone) {
  uint32_t space = space_of(m);
  bool first = m->seq == 0;
  if (first)
    m->seq = s->tx_seq++;
  else
    s->st.replayed++;
  if (m->flags & WEFT__TX_REFUSED) {
    weft__rec_put(to, WEFT__R_SKIP, 0);
    m->flags &= (uint8_t) ~WEFT__TX_SKIP;
  } else if (is_large(m)) {
    uint32_t head = space - WEFT__REC - 8;
    memset(to + space - 8, 0, 8);
    if (m->size < WEFT__HEAD_MAX) head = (uint32_t) m->size;
    weft__rec_put(to, WEFT__R_LARGE, 8 + head);
    weft__put64(to + WEFT__REC, m->size);
    copy_from(m, to + WEFT__REC + 8, head);
    if (first) {
      s->st.tx_large++;
      m->next_large = NULL;
      if (s->large_tail)
        s->large_tail->next_large = m;
      else
        s->large = m;
      s->large_tail = m;
    }
    if (!(m->flags & WEFT__TX_POSTED)) s->unposted++;
    m->flags |= WEFT__TX_LARGE;
  } else {
    if (!alone) {
      if (m->size & 7) memset(to + space - 8, 0, 8);
      weft__rec_put(to, m->kind, (uint32_t) m->size);
      to += WEFT__REC;
    }
    if (m->niov == 1)
      memcpy(to, m->iov[0].iov_base, m->size);
    else
      copy_from(m, to, m->size);
    s->tx_bytes += m->size;
  }
  s->queued_space -= space;
  return alone ? (uint32_t) m->size : space;
}

/* At-most-once keeps nothing: a small message is done when it has left. */
static void drop_sent_small(weft__session_t *s) {
  for (weft__txm_t *m = s->head, *next; m && m != s->unsent; m = next) {
    next = m->next;
    if (m->flags & WEFT__TX_LARGE || m->kind == WEFT__R_FIN) continue;
    unlink_txm(s, m);
    weft__s_tx_finish(s, m, 0);
    s->st.tx_messages++;
    s->st.tx_bytes += m->size;
  }
}

void weft__s_emit(weft__session_t *s, bool full_only) {
  if (s->state != WEFT__S_OPEN || !s->hello_sent || s->aborting || s->resuming || !s->tx_path ||
      !s->unsent)
    return;
  weft__spath_t *sp = s->tx_path;
  if (sp->rank >= WEFT__RANK_NO_DATA) return; /* until sending moves */
  uint32_t room = sp->path->lim.frame_max - WEFT__HDR;
  while (s->unsent && (!full_only || s->queued_space >= room)) {
    if (!may_leave(s, s->unsent)) {
      s->tx_stuck = true;
      break;
    }
    weft__tbuf_t *b = weft__s_frame_get(sp, WEFT__KEEP_DATA);
    if (!b) {
      s->tx_stuck = true;
      break;
    }
    uint8_t *p = b->data + WEFT__HDR;
    uint32_t used = 0;
    uint16_t count = 0;
    uint64_t seq = 0;
    bool ask = false;
    weft__txm_t *m = s->unsent;
    bool alone = goes_alone(m, &sp->path->lim);
    while (m && count < UINT16_MAX) {
      uint32_t space = space_of(m);
      if (used + space > room || !may_leave(s, m)) break;
      if (count && m->next) __builtin_prefetch(m->next);
      if (is_large(m) || m->kind == WEFT__R_FIN) ask = true;
      used += put_record(s, m, p + used, alone);
      if (!seq) seq = m->seq;
      count++;
      m = m->next;
      s->unsent = m;
    }
    /* the queue ends here, or must wait: then we want to hear how far the peer is */
    if (!s->at_most_once && (!m || !may_leave(s, m))) ask = true;
    if (ask && !s->rtt_seq) {
      s->rtt_seq = seq + count;
      s->rtt_at = weft__now(s);
    }
    if (!s->unacked_at) s->unacked_at = weft__now(s);
    unsigned flags = (ask ? WEFT__FL_ACK_REQ : 0) | (alone ? WEFT__FL_ALONE : 0);
    weft__s_frame_post(sp, b, WEFT__F_DATA, flags, count, seq, used);
    if (s->at_most_once) drop_sent_small(s);
    if (sp->broken) break;
  }
  if (s->head && s->head->seq) weft__s_wake(s);
}

static void rtt_sample(weft__session_t *s, uint64_t ns) {
  s->rtt[s->rtt_n++ % WEFT__RTT_SAMPLES] = ns >> 4 > UINT32_MAX ? UINT32_MAX : (uint32_t) (ns >> 4);
}

void weft__s_acked(weft__session_t *s, uint64_t ack) {
  if (ack <= s->tx_ack) return;
  s->tx_ack = ack;
  s->tx_stuck = false;
  s->unacked_at = 0;
  if (s->rtt_seq && ack >= s->rtt_seq) {
    rtt_sample(s, weft__now(s) - s->rtt_at);
    s->rtt_seq = 0;
  }
  while (s->head && s->head->seq && s->head->seq < ack) {
    weft__txm_t *m = s->head;
    if (s->unsent == m) { /* acknowledged on another path before its replay */
      s->queued_space -= space_of(m);
      if (!is_large(m)) s->tx_bytes += m->size;
    }
    if (m->flags & WEFT__TX_LARGE) {
      weft__s_sources_acked(s, m); /* may be what opens the gate */
      weft__s_gate(s, m);
      weft__s_large_forget(s, m);
    } else {
      s->tx_bytes_acked += m->size;
    }
    if (m->kind == WEFT__R_FIN) {
      s->fin_acked = true;
    } else if (!(m->flags & WEFT__TX_REFUSED)) {
      s->st.tx_messages++;
      s->st.tx_bytes += m->size;
    }
    unlink_txm(s, m);
    weft__s_tx_finish(s, m, 0);
  }
  if (s->at_most_once) s->tx_bytes_acked = s->tx_bytes; /* nothing is replayed */
  if (s->head && s->head->seq) s->unacked_at = weft__now(s);
  weft__s_dirty(s);
  weft__s_check_done(s);
}

/* Everything from number `next` on leaves again, on the new path. */
void weft__s_rewind(weft__session_t *s, uint64_t next) {
  s->tx_stuck = false;
  s->rtt_seq = 0;
  if (s->at_most_once) return;
  s->tx_bytes = s->tx_bytes_acked;
  s->queued_space = 0;
  weft__txm_t *m = s->head;
  s->unposted = 0;
  for (; m && m->seq && m->seq < next; m = m->next)
    if (!is_large(m))
      s->tx_bytes += m->size;
    else
      m->flags |= WEFT__TX_POSTED; /* the peer has it whole */
  s->unsent = m;
  for (; m; m = m->next) s->queued_space += space_of(m);
}

void weft__s_tx_fin_done(weft__session_t *s) {
  weft__txm_t *m = s->head;
  s->fin_acked = true;
  unlink_txm(s, m);
  weft__s_tx_finish(s, m, 0);
}

/* A path died under an at-most-once session: what was sent and is still listed (large ones, the
 * end) cannot be replayed; large ones are given up, the end is sent again under a new number. */
void weft__s_tx_amo_lost(weft__session_t *s) {
  for (weft__txm_t *m = s->head, *next; m && m != s->unsent; m = next) {
    next = m->next;
    if (m->kind == WEFT__R_FIN) {
      m->seq = 0;
      s->queued_space += space_of(m);
      if (!s->unsent) s->unsent = m;
      continue;
    }
    weft__s_gate(s, m);
    weft__s_large_forget(s, m);
    unlink_txm(s, m);
    weft__s_tx_finish(s, m, -ECONNABORTED);
  }
  s->tx_bytes_acked = s->tx_bytes;
}

size_t weft__session_queued_bytes(const weft__session_t *s) {
  return s->queued_bytes;
}
