/* SPDX-License-Identifier: Apache-2.0 */
/* path.c - frames over a simulated path: buffers, credits, arrival, death and close.
 *
 * Design notes
 *  - A buffer goes got -> sent (or put) -> received -> free, and every other step is a violation.
 *  - A receiver has lim.rx_depth receives posted: a frame too many in flight would have met none,
 *    so it is a violation when it is sent, not only when the receiver is slow.
 *  - A cut queue swallows what is sent into it. The sender's buffers then stay outstanding, which
 *    is all that a silent loss shows. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rail/sim/internal.h"
#include "session/wire.h"

/* Freed memory is really freed under a sanitizer, so that it sees every late use. */
#if defined(__SANITIZE_ADDRESS__)
#define RECYCLE 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RECYCLE 0
#endif
#endif
#ifndef RECYCLE
#define RECYCLE 1
#endif

#define POISON 512u /* bytes of a returned frame that are overwritten */

/* ---- Channels ---- */

chan_t *weft__sim_chan_new(weft__sim_link_t *l) {
  weft__sim_t *s = l->sim;
  chan_t *c = s->free_chans;
  unsigned i;

  if (c != NULL)
    s->free_chans = c->next;
  else
    c = weft__sim_alloc(sizeof(*c));
  memset(c, 0, sizeof(*c));
  c->link = l;
  for (i = 0; i < 2; i++) {
    end_t *e = &c->e[i];
    e->c = c;
    e->side = i;
    e->host = l->conf.host[i];
    e->path.ops = &weft__sim_path_ops;
    e->path.lim = l->conf.lim[i];
    memcpy(e->path.local, "sim:A", 6);
    memcpy(e->path.remote, "sim:A", 6);
    e->path.local[4] = (char) ('A' + e->host);
    e->path.remote[4] = (char) ('A' + l->conf.host[1 - i]);
    e->fin.kind = ITEM_FIN;
  }
  c->next = l->chans;
  c->pprev = &l->chans;
  if (l->chans != NULL) l->chans->pprev = &c->next;
  l->chans = c;
  s->nchans++;
  c->id = s->made++;
  return c;
}

static void item_drop(weft__sim_t *s, item_t *it) {
  switch (it->kind) {
  case ITEM_FRAME: weft__sim_buf_free(s, (simbuf_t *) it); break;
  case ITEM_RMA: weft__sim_rop_drop((rop_t *) it); break;
  case ITEM_ANSWER: weft__sim_answer_drop((rop_t *) ((char *) it - offsetof(rop_t, answer))); break;
  case ITEM_FIN: break;
  }
}

static void queue_clear(end_t *e) {
  while (e->head != NULL) {
    item_t *it = e->head;
    e->head = it->next;
    item_drop(sim_of(e), it);
  }
  e->tail = NULL;
}

void weft__sim_chan_free(chan_t *c) {
  weft__sim_t *s = c->link->sim;
  unsigned i;

  for (i = 0; i < 2; i++) queue_clear(&c->e[i]);
  for (i = 0; i < 2; i++) weft__sim_unexpose_all(&c->e[i]);
  if (c->next != NULL) c->next->pprev = c->pprev;
  *c->pprev = c->next;
  s->nchans--;
#if RECYCLE
  memset(c, 0xdb, sizeof(*c)); /* who still uses it jumps into nowhere */
  c->next = s->free_chans;
  s->free_chans = c;
#else
  free(c);
#endif
}

void weft__sim_unref(chan_t *c) {
  c->refs--;
  if (c->refs != 0) return;
  if ((c->e[0].state == END_CLOSED || c->e[0].state == END_NONE) &&
      (c->e[1].state == END_CLOSED || c->e[1].state == END_NONE))
    weft__sim_chan_free(c);
}

void weft__sim_end_up(end_t *e) {
  e->state = END_UP;
}

/* ---- What travels ---- */

uint64_t weft__sim_travel(end_t *to, uint32_t len) {
  const weft__sim_link_conf_t *conf = &to->c->link->conf;
  uint64_t t = conf->delay + conf->ns_per_kib * len / 1024;

  return conf->jitter == 0 ? t : t + weft__rng_below(&sim_of(to)->rng, conf->jitter + 1);
}

size_t weft__sim_queued(const end_t *to) {
  const item_t *it;
  size_t n = 0;

  for (it = to->head; it != NULL; it = it->next) n++;
  return n;
}

void weft__sim_append(end_t *to, item_t *it, uint64_t due) {
  weft__sim_t *s = sim_of(to);

  if (to->cut || (to->gap && it->kind != ITEM_FIN)) {
    item_drop(s, it);
    return;
  }
  if (due < to->last_due) due = to->last_due;
  to->last_due = due;
  it->due = due;
  it->next = NULL;
  if (to->tail != NULL)
    to->tail->next = it;
  else
    to->head = it;
  to->tail = it;
  weft__sim_arm(to);
}

void weft__sim_cut_queue(end_t *to, size_t keep, uint64_t late) {
  weft__sim_t *s = sim_of(to);
  item_t **p = &to->head, *it, *last = NULL;
  uint64_t due = s->now;

  to->cut = true;
  while (*p != NULL && keep-- > 0) {
    it = *p;
    if (late != 0) {
      due += weft__rng_below(&s->rng, late);
      late /= 2;
    }
    if (it->due < due)
      it->due = due;
    else
      due = it->due;
    last = it;
    p = &it->next;
  }
  it = *p;
  *p = NULL;
  to->tail = last;
  while (it != NULL) {
    item_t *next = it->next;
    item_drop(s, it);
    it = next;
  }
}

void weft__sim_lose_from(end_t *to, item_t *from) {
  item_t **p, *it;

  to->tail = NULL;
  for (p = &to->head; *p != from; p = &(*p)->next) to->tail = *p;
  it = *p;
  *p = NULL;
  to->gap = true;
  while (it != NULL) {
    item_t *next = it->next;
    item_drop(sim_of(to), it);
    it = next;
  }
}

static void deliver(end_t *e, simbuf_t *b) {
  weft__sim_t *s = sim_of(e);
  end_t *from = b->from;

  if (b->counted) {
    from->outstanding--;
    weft__sim_writable(from);
  } else if (from->kernel > 0) {
    from->kernel--;
  }
  if (e->state != END_UP) {
    weft__sim_buf_free(s, b);
    return;
  }
  b->state = BUF_RECEIVED;
  b->rbuf.data = b->data;
  b->rbuf.refs = 1;
  b->low = e->c->link->conf.low != 0 && weft__rng_one_in(&s->rng, e->c->link->conf.low);
  s->bufs_out++;
  weft__sim_mark(s, (uint64_t) b->data[1] << 8 ^ b->rbuf.len ^ (uint64_t) e->c->id << 32);
  e->path.cbs->frame(&e->path, &b->rbuf);
  weft__rbuf_unref(&b->rbuf);
  e->handled++;
}

static void arrive(void *obj, uint64_t arg) {
  end_t *e = obj;
  chan_t *c = e->c;
  weft__sim_t *s = sim_of(e);
  unsigned stall = e->side == 1 ? 1u : 2u; /* the direction towards this end */

  (void) arg;
  e->armed = false;
  while (e->head != NULL && e->head->due <= s->now) {
    item_t *it = e->head;

    if (c->link->stalled & stall || e->state == END_CONNECTING) break;
    e->head = it->next;
    if (e->head == NULL) e->tail = NULL;
    switch (it->kind) {
    case ITEM_FRAME: deliver(e, (simbuf_t *) it); break;
    case ITEM_RMA: weft__sim_rop_arrive(e, (rop_t *) it); break;
    case ITEM_ANSWER:
      weft__sim_rop_answer((rop_t *) ((char *) it - offsetof(rop_t, answer)));
      break;
    case ITEM_FIN:
      e->cut = true;
      c->dead = true;
      weft__sim_doom(e, 0, -ECONNRESET, "the other end closed it");
      break;
    }
  }
  weft__sim_arm(e);
  weft__sim_unref(c);
}

void weft__sim_arm(end_t *e) {
  weft__sim_t *s = sim_of(e);
  unsigned stall = e->side == 1 ? 1u : 2u;

  if (e->armed || e->head == NULL || e->c->link->stalled & stall) return;
  if (e->state == END_CONNECTING && e->head->due <= s->now)
    return; /* answer_arrives arms it again */
  e->armed = true;
  e->c->refs++;
  weft__sim_plan(s, e->host, e->head->due, arrive, e, 0);
}

/* ---- Buffers ---- */

void weft__sim_buf_free(weft__sim_t *s, simbuf_t *b) {
#if RECYCLE
  memset(b->data, 0xdb, POISON);
  b->state = BUF_FREE;
  b->next_free = s->free_bufs;
  s->free_bufs = b;
#else
  (void) s;
  free(b);
#endif
}

static void recycle(weft__rbuf_t *r) {
  simbuf_t *b = (simbuf_t *) ((char *) r - offsetof(simbuf_t, rbuf));
  weft__sim_t *s = b->sim;

  if (b->state != BUF_RECEIVED) {
    weft__sim_violate(s, "a received buffer was given back twice");
    return;
  }
  s->bufs_out--;
  weft__sim_buf_free(s, b);
}

static bool low(const weft__rbuf_t *r) {
  return ((const simbuf_t *) ((const char *) r - offsetof(simbuf_t, rbuf)))->low;
}

static simbuf_t *buf_new(weft__sim_t *s) {
  simbuf_t *b = s->free_bufs;

  if (b != NULL)
    s->free_bufs = b->next_free;
  else if (posix_memalign((void **) &b, 64, sizeof(*b)) != 0)
    abort();
  memset(b, 0, offsetof(simbuf_t, data));
  b->item.kind = ITEM_FRAME;
  b->sim = s;
  b->tbuf.data = b->data;
  b->tbuf.cap = WEFT__FRAME_MAX;
  b->rbuf.recycle = recycle;
  b->rbuf.low = low;
  return b;
}

static bool open_for(end_t *e, const char *what) {
  if (e->state == END_UP || e->state == END_DOWN || e->state == END_CONNECTING) return true;
  weft__sim_violate(sim_of(e), "path %u: %s after close", e->c->id, what);
  return false;
}

static weft__tbuf_t *tx_get(weft__path_t *p) {
  end_t *e = end_of(p);
  simbuf_t *b;

  if (!open_for(e, "tx_get") || e->state != END_UP) return NULL;
  if (e->outstanding >= p->lim.tx_depth) {
    e->full = true;
    return NULL;
  }
  b = buf_new(sim_of(e));
  b->state = BUF_GOT;
  b->counted = true;
  b->from = e;
  e->got++;
  e->outstanding++;
  return &b->tbuf;
}

static simbuf_t *got(end_t *e, weft__tbuf_t *t, const char *what) {
  simbuf_t *b = (simbuf_t *) ((char *) t - offsetof(simbuf_t, tbuf));

  if (b->state != BUF_GOT || b->from != e) {
    weft__sim_violate(sim_of(e), "path %u: %s of a buffer that is not ours to %s", e->c->id, what,
                      what);
    return NULL;
  }
  e->got--;
  return b;
}

static void tx_put(weft__path_t *p, weft__tbuf_t *t) {
  end_t *e = end_of(p);
  simbuf_t *b = got(e, t, "put");

  if (b == NULL) return;
  e->outstanding--;
  weft__sim_buf_free(sim_of(e), b);
  weft__sim_writable(e);
}

static void trace_frame(end_t *e, const uint8_t *data, uint32_t len) {
  weft__sim_t *s = sim_of(e);
  weft__hdr_t h;
  weft__werr_t err = weft__hdr_get(data, len, &h);
  char more[100] = "";

  if (err != WEFT__W_OK) {
    sim_trace(s, "path %u: %c sends %u bytes, %s", e->c->id, "ABCD"[e->host], len,
              weft__wire_why(err));
    return;
  }
  data += WEFT__HDR;
  if (h.type == WEFT__F_RESUME || h.type == WEFT__F_RESUME_ACK || h.type == WEFT__F_PING ||
      h.type == WEFT__F_PONG)
    snprintf(more, sizeof(more), " (%llu, %llu)", (unsigned long long) weft__get64(data),
             (unsigned long long) weft__get64(data + 8));
  if (h.type == WEFT__F_CTS)
    snprintf(more, sizeof(more), " (#%llu at %llu, %u bytes, flags %u)",
             (unsigned long long) weft__get64(data), (unsigned long long) weft__get64(data + 8),
             weft__get32(data + 32), weft__get32(data + 36));
  if (h.type == WEFT__F_READY)
    snprintf(more, sizeof(more), " (#%llu at %llu, %u bytes)",
             (unsigned long long) weft__get64(data), (unsigned long long) weft__get64(data + 8),
             weft__get32(data + 32));
  if (h.type == WEFT__F_DONE || h.type == WEFT__F_FRAG || h.type == WEFT__F_CHUNK)
    snprintf(more, sizeof(more), " (#%llu at %llu, %u bytes)",
             (unsigned long long) weft__get64(data), (unsigned long long) weft__get64(data + 8),
             weft__get32(data + 16));
  if (h.type == WEFT__F_REFUSE || h.type == WEFT__F_SKIP)
    snprintf(more, sizeof(more), " (#%llu)", (unsigned long long) weft__get64(data));
  if (h.type == WEFT__F_ABORT)
    snprintf(more, sizeof(more), " (%d, %.*s)", (int) (int32_t) weft__get32(data),
             (int) weft__get32(data + 4), (const char *) data + 8);
  if (h.type == WEFT__F_DATA)
    snprintf(more, sizeof(more), " #%llu..%llu", (unsigned long long) h.seq,
             (unsigned long long) (h.seq + h.count - 1));
  sim_trace(s, "path %u: %c sends %s%s%s, %u bytes, fc %llu ack %llu win %llu/%llu grant %u%s",
            e->c->id, "ABCD"[e->host], weft__ftype_name(h.type), more,
            h.flags & WEFT__FL_ACK_REQ ? " ack?" : "", len, (unsigned long long) h.fc,
            (unsigned long long) h.ack, (unsigned long long) h.win_seq,
            (unsigned long long) h.win_bytes, h.grant, peer_of(e)->cut ? "  (lost)" : "");
}

static int post(end_t *e, simbuf_t *b) {
  weft__sim_t *s = sim_of(e);
  end_t *peer = peer_of(e);

  e->sent++;
  if (s->tracing) trace_frame(e, b->data, b->rbuf.len);
  if (!e->liar && e->sent - peer->handled > peer->path.lim.rx_depth)
    weft__sim_violate(s, "path %u: %c has %llu frames in flight, the receiver posted %u", e->c->id,
                      "ABCD"[e->host], (unsigned long long) (e->sent - peer->handled),
                      peer -> path.lim.rx_depth);
  /* Nobody is there any more, and the link works: the other system says so. */
  if ((peer->state == END_CLOSED || peer->state == END_CLOSING) && weft__sim_link_up(e->c->link))
    weft__sim_doom(e, weft__sim_travel(e, 0) + weft__sim_travel(peer, 0), -ECONNRESET, "reset");
  weft__sim_append(peer, &b->item, s->now + weft__sim_travel(peer, b->rbuf.len));
  return 0;
}

static int send_frame(weft__path_t *p, weft__tbuf_t *t, uint32_t len) {
  end_t *e = end_of(p);
  weft__sim_t *s = sim_of(e);
  simbuf_t *b = got(e, t, "send");
  bool fits = len != 0 && len <= p->lim.frame_max;

  if (b == NULL) return -EINVAL;
  if (!fits)
    weft__sim_violate(s, "path %u: a frame of %u bytes, the limit is %u", e->c->id, len,
                      p->lim.frame_max);
  if (!open_for(e, "send") || e->state != END_UP || !fits ||
      (e->doomed && weft__rng_one_in(&s->rng, 2))) {
    e->outstanding--;
    weft__sim_buf_free(s, b);
    return -ENOTCONN;
  }
  b->state = BUF_SENT;
  b->rbuf.len = len;
  if (e->kernel < e->c->link->conf.kernel && !peer_of(e)->cut) {
    b->counted = false;
    e->kernel++;
    e->outstanding--;
  }
  if (s->hooks.frame != NULL && !s->hooks.frame(s->ctx, p, b->data, &b->rbuf.len)) {
    e->sent++;
    if (b->counted)
      e->outstanding--;
    else
      e->kernel--;
    weft__sim_buf_free(s, b);
    return 0;
  }
  return post(e, b);
}

void weft__sim_inject(weft__path_t *p, const void *frame, uint32_t len) {
  end_t *e = end_of(p);
  simbuf_t *b;

  if (e->state != END_UP) return;
  b = buf_new(sim_of(e));
  memcpy(b->data, frame, len);
  b->state = BUF_SENT;
  b->from = e;
  b->rbuf.len = len;
  e->kernel++;
  post(e, b);
}

static void writable(void *obj, uint64_t arg) {
  end_t *e = obj;

  (void) arg;
  e->writable_due = false;
  if (e->state == END_UP && e->full) {
    e->full = false;
    e->path.cbs->writable(&e->path);
  }
  weft__sim_unref(e->c);
}

void weft__sim_writable(end_t *e) {
  if (!e->full || e->writable_due || e->state != END_UP) return;
  e->writable_due = true;
  e->c->refs++;
  weft__sim_plan(sim_of(e), e->host, sim_of(e)->now, writable, e, 0);
}

/* ---- Death and close ---- */

static void go_down(void *obj, uint64_t arg) {
  end_t *e = obj;
  weft__sim_t *s = sim_of(e);

  (void) arg;
  if (e->state == END_UP || e->state == END_CONNECTING) {
    e->state = END_DOWN;
    sim_trace(s, "path %u: %c hears: %s", e->c->id, "ABCD"[e->host], e -> why);
    weft__sim_mark(s, 0xd0 + e->side + ((uint64_t) e->c->id << 32));
    if (weft__rng_one_in(&s->rng, 2)) /* some devices flush first */
      weft__sim_rma_flush(e, -ECANCELED);
    if (e->state == END_DOWN) e->path.cbs->down(&e->path, e->err, e->why, e->blob, e->bloblen);
  }
  weft__sim_unref(e->c);
}

void weft__sim_doom(end_t *e, uint64_t after, int err, const char *why) {
  if (e->doomed || (e->state != END_UP && e->state != END_CONNECTING)) return;
  e->doomed = true;
  e->err = err;
  e->why = why;
  e->c->refs++;
  weft__sim_plan(sim_of(e), e->host, sim_of(e)->now + after, go_down, e, 0);
}

void weft__sim_fail(weft__path_t *p, int err, const char *why) {
  weft__sim_doom(end_of(p), 0, err, why);
}

static void closed(void *obj, uint64_t arg) {
  end_t *e = obj;
  chan_t *c = e->c;
  weft__sim_t *s = sim_of(e);

  (void) arg;
  weft__sim_rma_flush(e, -ECANCELED);
  sim_trace(s, "path %u: %c has closed", c->id, "ABCD"[e->host]);
  weft__sim_mark(s, 0xc105 + e->side + ((uint64_t) c->id << 32));
  if (e->path.cbs->closed != NULL) e->path.cbs->closed(&e->path);
  e->state = END_CLOSED;
  weft__sim_unexpose_known(e);
  if (e->exposures != NULL)
    weft__sim_violate(s, "path %u: memory of %c is still exposed when it has closed", c->id,
                      "ABCD"[e->host]);
  weft__sim_unref(c);
}

static void close_path(weft__path_t *p) {
  end_t *e = end_of(p), *peer = peer_of(e);
  weft__sim_t *s = sim_of(e);
  const weft__sim_link_conf_t *conf = &e->c->link->conf;
  uint64_t after;

  if (!open_for(e, "close")) return;
  if (e->got != 0)
    weft__sim_violate(s, "path %u: closed with %u buffers neither sent nor put", e->c->id, e->got);
  sim_trace(s, "path %u: %c closes", e->c->id, "ABCD"[e->host]);
  e->state = END_CLOSING;
  if (!peer->cut) {
    if (conf->close_loses != 0 && weft__rng_one_in(&s->rng, conf->close_loses)) {
      size_t n = weft__sim_queued(peer);
      weft__sim_cut_queue(peer, weft__rng_below(&s->rng, n + 1), 0);
      peer->cut = false;
    }
    weft__sim_append(peer, &e->fin, s->now + weft__sim_travel(peer, 64));
    peer->cut = true;
  } else if (weft__sim_link_up(e->c->link)) {
    /* The path is dead, the link works: the other system hears of the close all the same. */
    weft__sim_doom(peer, weft__sim_travel(peer, 64), -ECONNRESET, "reset");
  }
  after = weft__rng_range(&s->rng, 500, 50000);
  if (conf->close_slow != 0 && weft__rng_one_in(&s->rng, conf->close_slow))
    after = weft__rng_log(&s->rng, 50000, conf->close_max);
  e->c->refs++;
  weft__sim_plan(s, e->host, s->now + after, closed, e, 0);
}

const weft__path_ops_t weft__sim_path_ops = {
    .tx_get = tx_get,
    .send = send_frame,
    .tx_put = tx_put,
    .write = weft__sim_write,
    .read = weft__sim_read,
    .expose = weft__sim_expose,
    .unexpose = weft__sim_unexpose,
    .close = close_path,
};
