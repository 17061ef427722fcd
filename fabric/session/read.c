/* SPDX-License-Identifier: Apache-2.0 */
/* read.c - large messages that the receiver reads: the sender opens pieces of its source, the
 * receiver's device fetches them.
 *
 * Design notes
 *  - A clear-to-send that asks for it is answered by READY frames, in order, one for each piece of
 *    contiguous source; by CHUNK frames for the crumbs of a message in many pieces, and where no
 *    registration is to be had. At most WEFT__CTS_MAX of them stand on a path: each is answered by
 *    one DONE, which makes room for the next.
 *  - Sender: an open source holds its message like an RMA operation of our own. It is closed by
 *    DONE, by the message's acknowledgement, or by the end of its path, whichever comes first;
 *    while the path stands the peer may be reading, whatever we think of the path.
 *  - Receiver: what a READY names is read into the destination of its clear-to-send. DONE is state
 *    (the head of `ready` is all there), sent in the order of the READYs, so a peer that keeps to
 *    the limit cannot find the ring full.
 *  - Frames that follow a read wait until the peer's device has served it (a connection serves in
 *    order): were that long, the peer would hear no DONE and no PONG and hold the path for dead. How
 *    long it is shows in what a read takes from its post to its completion, so that bounds what is
 *    under way: READ_AGE at most. A bandwidth worked out from single reads would not do: their
 *    latency counts in it, so the fewer are under way the lower it comes out.
 *  - A fragment counts when all its reads have completed well. What completes on a path that we
 *    have left counts for nothing. When a path dies its sinks are closed, and from then on no device
 *    writes to them (path.h), so their fragments are asked for again at once: it may take minutes
 *    until the path itself is closed. */
#include <errno.h>

#include "session/internal.h"

/* ---- sender ---- */

static void close_source(weft__session_t *s, weft__spath_t *sp, weft__source_t *src) {
  weft__txm_t *m = src->m;
  if (!m) return;
  src->m = NULL;
  sp->path->ops->unexpose(sp->path, &src->mr);
  weft__s_unref(s, m);
}

/* The contiguous piece of the source at off; *crumbs: so many bytes from there on stand in pieces
 * that are not worth a registration. */
static uint8_t *piece_at(const weft__txm_t *m, uint64_t off, uint64_t *run, uint64_t *crumbs) {
  uint8_t *base = NULL;
  *run = *crumbs = 0;
  for (uint32_t i = 0; i < m->niov; i++) {
    size_t n = m->iov[i].iov_len;
    if (off >= n) {
      off -= n;
      continue;
    }
    bool crumb = n < WEFT__READ_MIN;
    if (!base) {
      base = (uint8_t *) m->iov[i].iov_base + off;
      *run = n - off;
      if (!crumb) break;
    }
    if (!crumb) break;
    *crumbs += n - off;
    off = 0;
  }
  return base;
}

bool weft__s_push_sources(weft__session_t *s, weft__spath_t *sp, weft__xfer_in_t *x) {
  while (x->pos < x->cts.len) {
    if (x->pos < x->copy_until) {
      if (!weft__s_push_chunks(s, sp, x, x->copy_until)) return false;
      continue;
    }
    uint64_t off = x->cts.off + x->pos, run, crumbs;
    uint32_t left = x->cts.len - x->pos;
    uint8_t *base = piece_at(x->m, off, &run, &crumbs);
    if (crumbs) {
      x->copy_until = x->pos + (uint32_t) (crumbs < left ? crumbs : left);
      continue;
    }
    if (run > left) run = left;
    if (sp->path->lim.rma_max && run > sp->path->lim.rma_max) run = sp->path->lim.rma_max;
    if (sp->nsources == WEFT__CTS_MAX) return false;
    weft__source_t *src = sp->sources;
    while (src->len) src++;
    weft__tbuf_t *b = weft__s_frame_get(sp, WEFT__KEEP_DATA);
    if (!b) return false;
    weft__mr_t mr = {0};
    int rc = sp->path->ops->expose(sp->path, base, (size_t) run, WEFT__OPEN_READ, &mr);
    if (rc < 0) {
      sp->path->ops->tx_put(sp->path, b);
      if (rc == -EAGAIN || rc == -ENOTCONN) return false;
      x->copy_until = x->pos + (uint32_t) run;
      continue;
    }
    *src = (weft__source_t){x->m, x->m->seq, off, (uint32_t) run, mr};
    sp->nsources++;
    x->m->rma_refs++;
    x->pos += (uint32_t) run;
    uint8_t *p = b->data + WEFT__HDR;
    weft__put64(p, src->seq);
    weft__put64(p + 8, off);
    weft__put64(p + 16, mr.addr);
    weft__put64(p + 24, mr.key);
    weft__put32(p + 32, src->len);
    weft__put32(p + 36, 0);
    weft__s_frame_post(sp, b, WEFT__F_READY, 0, 0, 0, WEFT__READY_SIZE);
    if (sp->broken) return false;
  }
  return true;
}

bool weft__s_on_done(weft__session_t *s, weft__spath_t *sp, const uint8_t *p) {
  uint64_t seq = weft__get64(p), off = weft__get64(p + 8);
  uint32_t len = weft__get32(p + 16);
  for (unsigned i = 0; i < WEFT__CTS_MAX; i++) {
    weft__source_t *src = &sp->sources[i];
    if (!len || src->seq != seq || src->off != off || src->len != len) continue;
    /* else it was counted when it was acknowledged, or was given up */
    if (src->m && !(src->m->flags & WEFT__TX_ENDED)) s->st.rma_read_by_peer += len;
    close_source(s, sp, src);
    src->len = 0;
    sp->nsources--;
    weft__s_dirty(s);
    return true;
  }
  weft__s_violation(s, sp, "is done with %llu+%u of message %llu, which it may not read",
                    (unsigned long long) off, len, (unsigned long long) seq);
  return false;
}

void weft__s_sources_acked(weft__session_t *s, const weft__txm_t *m) {
  for (unsigned i = 0; i < s->npaths && m->rma_refs; i++) {
    weft__spath_t *sp = s->paths[i];
    for (unsigned k = 0; k < WEFT__CTS_MAX && sp->nsources; k++)
      if (sp->sources[k].m == m) {
        s->st.rma_read_by_peer += sp->sources[k].len;
        close_source(s, sp, &sp->sources[k]);
      }
  }
}

/* ---- receiver ---- */

bool weft__s_on_ready(weft__session_t *s, weft__spath_t *sp, const uint8_t *p) {
  uint64_t seq = weft__get64(p), off = weft__get64(p + 8), addr = weft__get64(p + 16);
  uint32_t len = weft__get32(p + 32);
  weft__cts_out_t *c = weft__s_cts_at(s, sp, seq, off);
  bool late = !c && len && weft__s_rx_given_up(s, sp);
  if (late) {
    /* the peer may have it back */
  } else if (!c || c->how != WEFT__XFER_READ || len == 0 || len > c->len - c->pos ||
             addr > UINT64_MAX - len) {
    weft__s_violation(s, sp, "source %llu+%u of message %llu was not asked for",
                      (unsigned long long) off, len, (unsigned long long) seq);
    return false;
  }
  if (sp->nready == WEFT__CTS_MAX) {
    weft__s_violation(s, sp, "more than %u sources at once", WEFT__CTS_MAX);
    return false;
  }
  if (c) c->pos += len;
  uint32_t over = late ? len : 0;
  sp->ready[(sp->ready_head + sp->nready++) % WEFT__CTS_MAX] =
      (weft__ready_in_t){.c = c,
                         .seq = seq,
                         .off = off,
                         .addr = addr,
                         .key = weft__get64(p + 24),
                         .len = len,
                         .posted = over,
                         .done = over};
  s->nready++;
  weft__s_dirty(s);
  return true;
}

/* How long a read may take, ns. */
#define READ_AGE(s) ((s)->tolerance / 16)
/* Reads that make up a window, so that the next ones are there in time. */
#define READ_PIECES 4u

/* One more has completed: less at once if it took too long, more if there is time to spare. */
static void adapt_window(const weft__session_t *s, weft__spath_t *sp, const weft__rma_slot_t *r) {
  uint64_t took = weft__now(s) - r->at, age = READ_AGE(s), n = sp->read_window;
  if (took > age) {
    if (r->at < sp->read_cut_at) return; /* posted before: it waited for what has been cut off */
    uint64_t less = n / 1024 * (age * 1024 / took);
    n = less > n / 2 ? less : n / 2; /* it may have been our own loop that was late */
    sp->read_cut_at = weft__now(s);
  } else if (took < age / 2 && sp->read_full) {
    n += r->bytes;
  }
  if (n > WEFT__FRAGMENT_MAX) n = WEFT__FRAGMENT_MAX;
  if (n < 2 * WEFT__FRAGMENT_MIN) n = 2 * WEFT__FRAGMENT_MIN;
  sp->read_window = n;
}

/* Posts what is left of one source. false: no more now. */
static bool push_read(weft__session_t *s, weft__spath_t *sp, weft__ready_in_t *r) {
  uint64_t most = sp->read_window / READ_PIECES;
  if (most < WEFT__FRAGMENT_MIN) most = WEFT__FRAGMENT_MIN;
  while (r->posted < r->len) {
    weft__rma_slot_t *slot = sp->free_slots;
    if (!slot || sp->broken) return false;
    sp->read_full = sp->read_bytes >= sp->read_window;
    if (sp->read_full) return false;
    uint32_t n = r->len - r->posted;
    if (n > most) n = (uint32_t) most;
    slot->rma.niov = 1;
    slot->rma.iov[0].iov_base = (uint8_t *) r->c->item->dst + r->off + r->posted;
    slot->rma.iov[0].iov_len = n;
    slot->rma.addr = r->addr + r->posted;
    slot->rma.key = r->key;
    slot->rma.sink = &r->c->mr;
    slot->rma.data = slot;
    int rc = sp->path->ops->read(sp->path, &slot->rma);
    if (rc == -EAGAIN) return false;
    if (rc < 0) {
      sp->broken = true;
      weft__s_refused(sp, &s->reads_refused, rc);
      return false;
    }
    sp->free_slots = slot->next;
    slot->m = NULL;
    slot->ready = r;
    slot->bytes = n;
    slot->at = weft__now(s);
    r->posted += n;
    sp->nreads++;
    sp->read_bytes += n;
  }
  return true;
}

void weft__s_push_reads(weft__session_t *s, weft__spath_t *sp) {
  while (sp->nready) {
    weft__ready_in_t *r = &sp->ready[sp->ready_head];
    uint8_t p[WEFT__FRAG_SIZE] = {0};
    if (r->done < r->len) break;
    weft__put64(p, r->seq);
    weft__put64(p + 8, r->off);
    weft__put32(p + 16, r->len);
    if (!weft__s_ctrl(sp, WEFT__F_DONE, p, sizeof p, WEFT__KEEP_DATA)) break;
    sp->ready_head = (sp->ready_head + 1) % WEFT__CTS_MAX;
    sp->nready--;
    s->nready--;
  }
  for (unsigned i = 0; i < sp->nready; i++)
    if (!push_read(s, sp, &sp->ready[(sp->ready_head + i) % WEFT__CTS_MAX])) return;
}

void weft__s_read_done(weft__session_t *s, weft__spath_t *sp, weft__rma_slot_t *slot, int status) {
  weft__ready_in_t *r = slot->ready;
  slot->ready = NULL;
  sp->nreads--;
  sp->read_bytes -= slot->bytes;
  if (!sp->live) return; /* its fragment has been taken back */
  if (status != 0) {     /* `down` comes */
    weft__s_refused(sp, &s->reads_refused, status);
    return;
  }
  s->reads_refused = 0;
  adapt_window(s, sp, slot);
  s->st.rma_read += slot->bytes;
  r->done += (uint32_t) slot->bytes;
  if (r->done < r->len) return;
  weft__cts_out_t *c = r->c;
  r->c = NULL;
  weft__s_dirty(s); /* DONE is owed */
  weft__s_fragment_got(s, c, r->len);
}

/* Nobody waits any more for what this clear-to-send asked for, and none of its reads is under way.
 */
void weft__s_reads_forget(weft__spath_t *sp, const weft__cts_out_t *c) {
  for (unsigned i = 0; i < sp->nready; i++) {
    weft__ready_in_t *r = &sp->ready[(sp->ready_head + i) % WEFT__CTS_MAX];
    if (r->c != c) continue;
    r->c = NULL;
    r->posted = r->done = r->len; /* the peer may have its source back */
  }
}

/* ---- both ---- */

void weft__s_read_path_down(weft__session_t *s, weft__spath_t *sp) {
  s->nready -= sp->nready;
  sp->nready = 0;
}

void weft__s_read_path_closed(weft__session_t *s, weft__spath_t *sp) {
  for (unsigned i = 0; i < WEFT__CTS_MAX; i++) close_source(s, sp, &sp->sources[i]);
  while (sp->nunclosed) sp->path->ops->unexpose(sp->path, &sp->unclosed[--sp->nunclosed]);
}
