/* SPDX-License-Identifier: Apache-2.0 */
/* large.c - large messages: the receiver pulls fragments by clear-to-send, the sender writes (or
 * copies) them, or opens them to be read (read.c).
 *
 * Design notes
 *  - Receiver: an item's bytes are covered by fragments; each outstanding one is a weft__cts_out
 *    with memory opened on one path. When that path dies its fragments go to the item's redo list.
 *    Memory that was open to the peer's writes, or that could not be closed, pins the item until the
 *    path is closed: only then may it be opened again or given back.
 *  - Sender: a clear-to-send names a fragment; it is written on the path it came on, then FRAG
 *    follows on the same path, so FRAG cannot overtake the bytes. The source is the user's until
 *    acknowledged and no RMA operation names it.
 *  - A sender whose path cannot do what is asked answers any clear-to-send with CHUNK frames: what
 *    its provider can do is not the receiver's to know. So does one whose provider has refused a
 *    write on several paths in a row, at once or by a failed completion, and so is it asked to by a
 *    receiver whose reads were refused: else each new path would die of the first large message, for
 *    ever.
 *  - What a peer is asked to write stands in both systems' socket buffers, which the processor's
 *    caches should hold: with 16 MiB asked for ahead a loopback connection has four fifths of the
 *    throughput that it has with 4. A long path needs more. So, as TCP Vegas does it (Brakmo and
 *    Peterson, 1995): what a fragment takes beyond the shortest that one ever took, it stood in
 *    queues; more is asked for while less than AHEAD_LOW stands there, less while it is more than
 *    AHEAD_HIGH. Reads are bounded where they are made (read.c).
 *  - Everything the peer says is checked against what we issued: a FRAG or CHUNK that answers no
 *    clear-to-send ends the session. */
#include <errno.h>
#include <string.h>

#include "session/internal.h"

enum { REFUSED_MAX = 3 };

#define AHEAD_LOW  (WEFT__AHEAD_FIRST / 2)
#define AHEAD_HIGH WEFT__AHEAD_FIRST
#define AHEAD_STEP (WEFT__AHEAD_FIRST / 4)
#define AHEAD_MAX  ((uint64_t) WEFT__CTS_MAX * WEFT__FRAGMENT_MAX)

/* ---- receiver ---- */

static weft__cts_out_t *free_cts(weft__session_t *s) {
  for (unsigned i = 0; i < WEFT__CTS_MAX; i++)
    if (!s->cts[i].item) return &s->cts[i];
  return NULL;
}

/* At most 4 MiB, and at most a quarter of the tolerated interruption at the speed measured so far.
 */
static uint32_t fragment_size(const weft__session_t *s, const weft__spath_t *sp) {
  uint64_t n = WEFT__FRAGMENT_MAX;
  if (s->bandwidth) {
    uint64_t slow = s->bandwidth / 1000 * (s->tolerance / 4000000);
    if (slow < n) n = slow;
    if (n < WEFT__FRAGMENT_MIN) n = WEFT__FRAGMENT_MIN;
  }
  if (sp->path->lim.rma_max && n > sp->path->lim.rma_max) n = sp->path->lim.rma_max;
  return (uint32_t) n;
}

/* Remember a range that has to be asked for again; neighbours grow together. */
static void redo(weft__rxl_t *it, uint64_t off, uint64_t len) {
  for (uint32_t i = 0; i < it->nredo;) {
    if (it->redo[i].off + it->redo[i].len == off || off + len == it->redo[i].off) {
      if (it->redo[i].off < off) off = it->redo[i].off;
      len += it->redo[i].len;
      it->redo[i] = it->redo[--it->nredo];
      i = 0;
    } else {
      i++;
    }
  }
  it->redo[it->nredo].off = off;
  it->redo[it->nredo].len = len;
  it->nredo++;
}

/* Two fragments at least, whatever their size: the next is asked for while one is on its way. */
static bool enough_ahead(const weft__spath_t *sp) {
  return sp->ahead.n >= 2 && sp->ahead.bytes >= sp->ahead.most;
}

static void count_ahead(weft__spath_t *sp, const weft__cts_out_t *c) {
  sp->ahead.n++;
  sp->ahead.bytes += c->len;
}

static void count_back(weft__spath_t *sp, const weft__cts_out_t *c) {
  sp->ahead.n--;
  sp->ahead.bytes -= c->len;
}

/* It is all there. */
static void learn_ahead(weft__spath_t *sp, const weft__cts_out_t *c) {
  weft__ahead_t *a = &sp->ahead;
  uint64_t took = weft__now(sp->s) - c->at;
  if (took == 0) return; /* younger than the clock's last reading */
  if (!a->least || took < a->least) a->least = took;
  uint64_t queued = (uint64_t) ((double) a->bytes * (double) (took - a->least) / (double) took);
  if (queued > AHEAD_HIGH && a->most > WEFT__AHEAD_FIRST) {
    a->most -= AHEAD_STEP;
  } else if (queued < AHEAD_LOW && a->full && a->most < AHEAD_MAX) {
    a->most += c->len < AHEAD_STEP ? c->len : AHEAD_STEP;
  }
}

static const uint32_t asks[] = {
    [WEFT__XFER_WRITE] = 0, [WEFT__XFER_COPY] = WEFT__CTS_COPY, [WEFT__XFER_READ] = WEFT__CTS_READ};

/* Opens the item's next fragment. false: nothing more now. */
static bool issue_cts(weft__session_t *s, weft__spath_t *sp, weft__rxl_t *it) {
  weft__cts_out_t *c = free_cts(s);
  if (!c) return false;
  bool again = it->nredo > 0;
  uint64_t off = again ? it->redo[it->nredo - 1].off : it->issued;
  uint64_t left = again ? it->redo[it->nredo - 1].len : it->total - it->issued;
  uint32_t most = fragment_size(s, sp);
  uint32_t len = left > most ? most : (uint32_t) left;
  /* room to take it all back, should the path die */
  if (it->nout && it->nredo + it->nout + 1 > 2 * WEFT__CTS_MAX) return false;
  weft__tbuf_t *b = weft__s_frame_get(sp, WEFT__KEEP_DATA);
  if (!b) return false;
  weft__mr_t mr = {0};
  weft__xfer_t how = sp->path->lim.xfer;
  if ((how == WEFT__XFER_READ && s->reads_refused >= REFUSED_MAX) ||
      (how == WEFT__XFER_WRITE && sp->path->lim.late_writes && !s->ops->lasts(s->owner, it->dst)))
    how = WEFT__XFER_COPY;
  if (how != WEFT__XFER_COPY) {
    int rc =
        sp->path->ops->expose(sp->path, (uint8_t *) it->dst + off, len,
                              how == WEFT__XFER_READ ? WEFT__OPEN_SINK : WEFT__OPEN_WRITE, &mr);
    if (rc == -EAGAIN || rc == -ENOTCONN) {
      sp->path->ops->tx_put(sp->path, b);
      return false;
    }
    if (rc < 0) how = WEFT__XFER_COPY; /* no registration to be had: slower, but it arrives */
  }
  if (!again) {
    it->issued += len;
  } else if (len < left) {
    it->redo[it->nredo - 1].off += len;
    it->redo[it->nredo - 1].len -= len;
  } else {
    it->nredo--;
  }
  *c = (weft__cts_out_t){
      .item = it, .sp = sp, .off = off, .len = len, .at = weft__now(s), .how = how, .mr = mr};
  s->ncts++;
  if (how != WEFT__XFER_READ) count_ahead(sp, c);
  it->nout++;
  uint8_t *p = b->data + WEFT__HDR;
  bool last = it->issued == it->total && it->nredo == 0;
  weft__put64(p, it->seq);
  weft__put64(p + 8, off);
  weft__put64(p + 16, how == WEFT__XFER_WRITE ? mr.addr : 0);
  weft__put64(p + 24, how == WEFT__XFER_WRITE ? mr.key : 0);
  weft__put32(p + 32, len);
  weft__put32(p + 36, (last ? WEFT__CTS_LAST : 0) | asks[how]);
  weft__s_frame_post(sp, b, WEFT__F_CTS, 0, 0, 0, WEFT__CTS_SIZE);
  weft__s_wake(s);
  return true;
}

static void flush_rx(weft__session_t *s) {
  weft__spath_t *sp = s->rx_path;
  if (!sp || !sp->live) return;
  for (weft__rxl_t *it = s->open; it; it = it->next_open) {
    if (it->refuse == 1) {
      uint8_t p[WEFT__REFUSE_SIZE] = {0};
      weft__put64(p, it->seq);
      weft__put32(p + 8, (uint32_t) -ENOBUFS);
      if (!weft__s_ctrl(sp, WEFT__F_REFUSE, p, sizeof p, WEFT__KEEP_DATA)) return;
      it->refuse = 2;
      it->refuse_path = sp;
    }
    if (it->refuse || it->pins) continue;
    while (it->nredo || it->issued < it->total) {
      sp->ahead.full = enough_ahead(sp);
      if (sp->ahead.full || s->ncts >= WEFT__CTS_MAX || !issue_cts(s, sp, it)) return;
    }
  }
}

/* false: its path is dying, and until that is closed something may still land in its memory. */
static bool drop_cts(weft__session_t *s, weft__cts_out_t *c) {
  weft__spath_t *sp = c->sp;
  bool free = sp->live || c->how == WEFT__XFER_READ;
  if (c->how != WEFT__XFER_COPY && sp->path->ops->unexpose(sp->path, &c->mr) < 0) {
    if (sp->nunclosed < WEFT__CTS_MAX) sp->unclosed[sp->nunclosed++] = c->mr;
    free = sp->live;
  }
  if (c->how == WEFT__XFER_READ && c->pos > c->got) weft__s_reads_forget(sp, c);
  if (c->how != WEFT__XFER_READ) count_back(sp, c);
  c->item->nout--;
  c->item = NULL;
  s->ncts--;
  return free;
}

weft__cts_out_t *weft__s_cts_at(weft__session_t *s, const weft__spath_t *sp, uint64_t seq,
                                uint64_t off) {
  for (unsigned i = 0; i < WEFT__CTS_MAX; i++) {
    weft__cts_out_t *c = &s->cts[i];
    if (c->item && c->sp == sp && c->item->seq == seq && c->off + c->pos == off && c->pos < c->len)
      return c;
  }
  return NULL;
}

void weft__s_fragment_got(weft__session_t *s, weft__cts_out_t *c, uint32_t len) {
  weft__rxl_t *it = c->item;
  c->got += len;
  if (c->got < c->len) return;
  it->done += c->len;
  if (c->how != WEFT__XFER_READ) learn_ahead(c->sp, c);
  drop_cts(s, c);
  if (it->done == it->total) {
    weft__s_rx_complete(s, it);
    weft__s_rx_pump(s);
  }
  weft__s_dirty(s);
}

/* At-most-once: the peer sends nothing more of it. What a device of its still writes is refused, on
 * a path that the peer has given up, too. */
void weft__s_large_give_up(weft__session_t *s, weft__rxl_t *it) {
  for (unsigned i = 0; i < WEFT__CTS_MAX && it->nout; i++)
    if (s->cts[i].item == it) drop_cts(s, &s->cts[i]);
}

/* Late, on a path from which the peer has moved, for a message that was given up when it did. */
bool weft__s_rx_given_up(const weft__session_t *s, const weft__spath_t *sp) {
  return s->at_most_once && sp != s->rx_path;
}

bool weft__s_on_frag(weft__session_t *s, weft__spath_t *sp, const uint8_t *p) {
  uint64_t seq = weft__get64(p), off = weft__get64(p + 8);
  uint32_t len = weft__get32(p + 16);
  weft__cts_out_t *c = weft__s_cts_at(s, sp, seq, off);
  if (!c && weft__s_rx_given_up(s, sp)) return true;
  if (!c || c->len != len || c->how != WEFT__XFER_WRITE || c->pos) {
    weft__s_violation(s, sp, "fragment %llu+%u of message %llu was not asked for",
                      (unsigned long long) off, len, (unsigned long long) seq);
    return false;
  }
  s->st.rma_written_by_peer += len;
  weft__s_fragment_got(s, c, len);
  return true;
}

bool weft__s_on_chunk(weft__session_t *s, weft__spath_t *sp, const uint8_t *p, uint32_t length) {
  uint64_t seq = weft__get64(p), off = weft__get64(p + 8);
  uint32_t len = weft__get32(p + 16);
  weft__cts_out_t *c = weft__s_cts_at(s, sp, seq, off);
  if (c && len && len <= c->len - c->pos && length == WEFT__FRAG_SIZE + len) {
    memcpy((uint8_t *) c->item->dst + off, p + WEFT__FRAG_SIZE, len);
    s->st.payload_copies += len;
    c->pos += len;
    weft__s_fragment_got(s, c, len);
    return true;
  }
  if (weft__s_rx_given_up(s, sp)) return true;
  weft__s_violation(s, sp, "piece %llu+%u of message %llu was not asked for",
                    (unsigned long long) off, len, (unsigned long long) seq);
  return false;
}

bool weft__s_on_skip(weft__session_t *s, weft__spath_t *sp, const uint8_t *p) {
  uint64_t seq = weft__get64(p);
  weft__rxl_t *it = weft__s_rx_find(s, seq);
  if (it && it->refuse &&
      !it->given_up) { /* a given-up one ends when no path can write to it any more */
    weft__s_rx_complete(s, it);
    weft__s_rx_pump(s);
    return true;
  }
  if (seq < s->rx_expect) return true; /* skipped before, over another path */
  weft__s_violation(s, sp, "skips message %llu, which was not refused", (unsigned long long) seq);
  return false;
}

/* ---- sender ---- */

/* Numbers that were given out and are no longer ours to send: acknowledged, or (at most once) done
 * or given up. */
bool weft__s_tx_gone(const weft__session_t *s, uint64_t seq) {
  return seq < s->tx_ack || (s->at_most_once && seq < s->tx_seq);
}

bool weft__s_on_cts(weft__session_t *s, weft__spath_t *sp, const uint8_t *p) {
  weft__cts_t c = {.seq = weft__get64(p),
                   .off = weft__get64(p + 8),
                   .addr = weft__get64(p + 16),
                   .key = weft__get64(p + 24),
                   .len = weft__get32(p + 32),
                   .flags = weft__get32(p + 36)};
  weft__txm_t *m = c.seq < s->tx_ack ? NULL : weft__s_tx_find(s, c.seq);
  /* given up meanwhile, or acknowledged: what was asked for on a path that died was asked for again
   * on another */
  if (!m && c.seq != 0 && weft__s_tx_gone(s, c.seq)) return true;
  if (!m || c.len == 0 || c.off > m->size || c.len > m->size - c.off) {
    weft__s_violation(s, sp, "clear to send %llu+%u of message %llu, which is not on its way",
                      (unsigned long long) c.off, c.len, (unsigned long long) c.seq);
    return false;
  }
  if (sp->nxfers == WEFT__CTS_MAX) {
    weft__s_violation(s, sp, "more than %u clear-to-sends at once", WEFT__CTS_MAX);
    return false;
  }
  weft__xfer_in_t *x = &sp->xfers[(sp->xfer_head + sp->nxfers++) % WEFT__CTS_MAX];
  *x = (weft__xfer_in_t){.m = m, .cts = c};
  s->nxfers++;
  weft__s_dirty(s);
  return true;
}

bool weft__s_on_refuse(weft__session_t *s, weft__spath_t *sp, const uint8_t *p) {
  uint64_t seq = weft__get64(p);
  weft__txm_t *m = seq < s->tx_ack ? NULL : weft__s_tx_find(s, seq);
  if (!m && weft__s_tx_gone(s, seq)) return true;
  if (!m) {
    weft__s_violation(s, sp, "refuses message %llu, which is not large", (unsigned long long) seq);
    return false;
  }
  if (!(m->flags & WEFT__TX_REFUSED)) {
    if (!weft__s_tx_refused(s, m))
      m->flags |= WEFT__TX_SKIP; /* else its record will be a SKIP by itself */
  } else {
    m->flags |= WEFT__TX_SKIP; /* the peer asks again: the SKIP was lost */
  }
  s->skips_due = true;
  s->tx_stuck = false;
  weft__s_dirty(s);
  return true;
}

/* The source pieces of [off, off+len); returns bytes covered by at most 4 pieces. */
static uint32_t gather(const weft__txm_t *m, uint64_t off, uint32_t len, weft__rma_t *r) {
  uint32_t got = 0;
  r->niov = 0;
  for (uint32_t i = 0; i < m->niov && got < len && r->niov < 4; i++) {
    size_t n = m->iov[i].iov_len;
    if (off >= n) {
      off -= n;
      continue;
    }
    n -= (size_t) off;
    if (n > len - got) n = len - got;
    r->iov[r->niov].iov_base = (uint8_t *) m->iov[i].iov_base + off;
    r->iov[r->niov].iov_len = n;
    r->niov++;
    got += (uint32_t) n;
    off = 0;
  }
  return got;
}

static void copy_range(const weft__txm_t *m, uint64_t off, uint8_t *to, uint32_t len) {
  while (len) {
    weft__rma_t r;
    uint32_t n = gather(m, off, len, &r);
    for (uint32_t i = 0; i < r.niov; i++) {
      memcpy(to, r.iov[i].iov_base, r.iov[i].iov_len);
      to += r.iov[i].iov_len;
    }
    off += n;
    len -= n;
  }
}

static void fragment_frame(weft__session_t *s, weft__spath_t *sp, weft__tbuf_t *b,
                           const weft__xfer_in_t *x, unsigned type, uint64_t off, uint32_t len) {
  uint8_t *p = b->data + WEFT__HDR;
  weft__put64(p, x->cts.seq);
  weft__put64(p + 8, off);
  weft__put32(p + 16, len);
  weft__put32(p + 20, 0);
  if (type == WEFT__F_CHUNK) {
    copy_range(x->m, off, p + WEFT__FRAG_SIZE, len);
    s->st.payload_copies += len;
  }
  weft__s_frame_post(sp, b, type, 0, 0, 0, WEFT__FRAG_SIZE + (type == WEFT__F_CHUNK ? len : 0));
}

bool weft__s_push_chunks(weft__session_t *s, weft__spath_t *sp, weft__xfer_in_t *x, uint32_t end) {
  uint32_t most = sp->path->lim.frame_max - WEFT__HDR - WEFT__FRAG_SIZE;
  while (x->pos < end) {
    weft__tbuf_t *b = weft__s_frame_get(sp, WEFT__KEEP_DATA);
    if (!b) return false;
    uint32_t n = end - x->pos < most ? end - x->pos : most;
    fragment_frame(s, sp, b, x, WEFT__F_CHUNK, x->cts.off + x->pos, n);
    x->pos += n;
    if (sp->broken) return false;
  }
  return true;
}

/* As much of this fragment as goes now. true: finished. */
static bool push_fragment(weft__session_t *s, weft__spath_t *sp, weft__xfer_in_t *x) {
  uint32_t len = x->cts.len;
  weft__xfer_t can = sp->path->lim.xfer;
  if (x->cts.flags & WEFT__CTS_READ && can == WEFT__XFER_READ)
    return weft__s_push_sources(s, sp, x);
  if (x->cts.flags & (WEFT__CTS_COPY | WEFT__CTS_READ) || can == WEFT__XFER_COPY ||
      s->writes_refused >= REFUSED_MAX)
    return weft__s_push_chunks(s, sp, x, len);
  while (x->pos < len) {
    weft__rma_slot_t *slot = sp->free_slots;
    if (!slot) return false;
    uint32_t most = len - x->pos; /* the peer's limit was kept when it asked; ours may be smaller */
    if (sp->path->lim.rma_max && most > sp->path->lim.rma_max) most = sp->path->lim.rma_max;
    uint32_t n = gather(x->m, x->cts.off + x->pos, most, &slot->rma);
    slot->rma.addr = x->cts.addr + x->pos;
    slot->rma.key = x->cts.key;
    slot->rma.data = slot;
    int rc = sp->path->ops->write(sp->path, &slot->rma);
    if (rc == -EAGAIN) return false;
    if (rc < 0) {
      sp->broken = true;
      weft__s_refused(sp, &s->writes_refused, rc);
      return false;
    }
    sp->free_slots = slot->next;
    slot->m = x->m;
    slot->bytes = n;
    slot->at = weft__now(s);
    x->m->rma_refs++;
    x->pos += n;
  }
  weft__tbuf_t *b = weft__s_frame_get(sp, WEFT__KEEP_DATA);
  if (!b) return false;
  fragment_frame(s, sp, b, x, WEFT__F_FRAG, x->cts.off, len);
  return true;
}

/* What follows it may leave. */
static void open_gate(weft__session_t *s, weft__txm_t *m) {
  weft__s_gate(s, m);
  m->flags |= WEFT__TX_POSTED;
  s->tx_stuck = false;
  weft__s_dirty(s);
}

/* What was asked for on this path, in order, as far as it goes. */
static void push_fragments(weft__session_t *s, weft__spath_t *sp) {
  while (sp->nxfers) {
    weft__xfer_in_t *x = &sp->xfers[sp->xfer_head];
    if (x->m && !(x->m->flags & WEFT__TX_REFUSED)) {
      if (sp->broken || !push_fragment(s, sp, x)) return;
      if (x->cts.flags & WEFT__CTS_LAST && x->cts.flags & WEFT__CTS_READ && x->m->rma_refs) {
        x->m->flags |= WEFT__TX_ASKED;
      } else if (x->cts.flags & WEFT__CTS_LAST) {
        open_gate(s, x->m);
      }
    }
    sp->xfer_head = (sp->xfer_head + 1) % WEFT__CTS_MAX;
    sp->nxfers--;
    s->nxfers--;
  }
}

static void flush_tx(weft__session_t *s) {
  for (unsigned i = 0; i < s->npaths && s->nxfers; i++)
    if (s->paths[i]->live) push_fragments(s, s->paths[i]);
  if (!s->tx_path) return;
  if (!s->skips_due) return;
  weft__txm_t *m = s->large;
  for (unsigned i = 0; m && i < WEFT__NAMED_MAX; i++, m = m->next_large, s->steps++) {
    if (!(m->flags & WEFT__TX_SKIP)) continue;
    uint8_t p[WEFT__REFUSE_SIZE] = {0};
    weft__put64(p, m->seq);
    if (!weft__s_ctrl(s->tx_path, WEFT__F_SKIP, p, sizeof p, WEFT__KEEP_DATA)) return;
    m->flags &= (uint8_t) ~WEFT__TX_SKIP;
  }
  s->skips_due = false;
}

/* The record is acknowledged or given up: nothing is written for it any more. */
void weft__s_large_forget(weft__session_t *s, const weft__txm_t *m) {
  if (!s->nxfers) return;
  for (unsigned i = 0; i < s->npaths; i++) {
    weft__spath_t *sp = s->paths[i];
    for (unsigned k = 0; k < sp->nxfers; k++) {
      weft__xfer_in_t *x = &sp->xfers[(sp->xfer_head + k) % WEFT__CTS_MAX];
      if (x->m == m) x->m = NULL;
    }
  }
}

void weft__s_unref(weft__session_t *s, weft__txm_t *m) {
  if (--m->rma_refs) return;
  if (!(m->flags & WEFT__TX_ENDED)) {
    if (m->flags & WEFT__TX_ASKED) open_gate(s, m);
    return;
  }
  m->flags &= (uint8_t) ~WEFT__TX_ENDED;
  s->limbo--;
  weft__s_tx_finish(s, m, m->status);
}

/* A provider may refuse when it is asked, or by a completion that fails (verbs), and the path with
 * it. That a path dies under an operation is no refusal. */
void weft__s_refused(weft__spath_t *sp, unsigned *in_a_row, int err) {
  switch (-err) {
  case ECANCELED:
  case ENOTCONN:
  case EPIPE:
  case ECONNRESET:
  case ETIMEDOUT: return;
  default: break;
  }
  if (!sp->refused) ++*in_a_row;
  sp->refused = true;
}

void weft__s_rma_done(weft__path_t *path, weft__rma_t *r, int status) {
  weft__spath_t *sp = path->user;
  weft__session_t *s = sp->s;
  weft__rma_slot_t *slot = r->data;
  weft__txm_t *m = slot->m;
  weft__s_enter(s);
  slot->m = NULL;
  slot->next = sp->free_slots;
  sp->free_slots = slot;
  if (m && status == 0) {
    s->st.rma_written += slot->bytes;
    s->writes_refused = 0;
  } else if (m && sp->live) {
    m->flags &= (uint8_t) ~WEFT__TX_ASKED;
    weft__s_refused(sp, &s->writes_refused, status);
  }
  if (status == 0 && sp->live) {
    weft__s_heard(sp);
    uint64_t ns = weft__now(s) - slot->at;
    if (ns > 1000 && slot->bytes >= WEFT__FRAGMENT_MIN) {
      uint64_t bw = slot->bytes * 1000000 / (ns / 1000);
      s->bandwidth = s->bandwidth ? s->bandwidth - s->bandwidth / 8 + bw / 8 : bw;
    }
  }
  if (m)
    weft__s_unref(s, m);
  else
    weft__s_read_done(s, sp, slot, status);
  if (s->nxfers || s->nready) weft__s_dirty(s);
  weft__s_leave(s);
}

/* ---- both ---- */

void weft__s_large_flush(weft__session_t *s) {
  flush_rx(s);
  for (unsigned i = 0; i < s->npaths && s->nready; i++)
    if (s->paths[i]->live) weft__s_push_reads(s, s->paths[i]);
  if (s->nxfers || s->head) flush_tx(s);
}

void weft__s_large_path_down(weft__session_t *s, weft__spath_t *sp) {
  for (unsigned i = 0; i < WEFT__CTS_MAX; i++) {
    weft__cts_out_t *c = &s->cts[i];
    if (!c->item || c->sp != sp) continue;
    weft__rxl_t *it = c->item;
    redo(it, c->off, c->len);
    if (!drop_cts(s, c)) it->pins |= 1u << sp->slot;
  }
  for (weft__rxl_t *it = s->open; it; it = it->next_open)
    if (it->refuse == 2 && it->refuse_path == sp) it->refuse = 1;
  s->nxfers -= sp->nxfers;
  sp->nxfers = 0;
  /* What was under way did not get there, or nobody will say so: the gate of its message opens when
   * all is asked for again, or acknowledged, and not because this path is closed. */
  for (unsigned i = 0; i < WEFT__CTS_MAX; i++)
    if (sp->sources[i].m) sp->sources[i].m->flags &= (uint8_t) ~WEFT__TX_ASKED;
  for (unsigned i = 0; i < WEFT__RMA_SLOTS; i++)
    if (sp->slots[i].m) sp->slots[i].m->flags &= (uint8_t) ~WEFT__TX_ASKED;
  weft__s_read_path_down(s, sp);
}

void weft__s_large_path_closed(weft__session_t *s, weft__spath_t *sp) {
  bool freed = false;
  weft__s_read_path_closed(s, sp);
  for (weft__rxl_t *it = s->open, *next; it; it = next) {
    next = it->next_open;
    if (!(it->pins & 1u << sp->slot)) continue;
    it->pins &= ~(1u << sp->slot);
    if (it->pins || it->given_up == false) continue;
    s->ops->unalloc(s->owner, it->dst);
    it->dst = NULL;
    weft__s_rx_complete(s, it);
    freed = true;
  }
  if (freed) weft__s_rx_pump(s);
  weft__s_dirty(s);
}
