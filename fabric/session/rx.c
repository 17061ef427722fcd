/* SPDX-License-Identifier: Apache-2.0 */
/* rx.c - the receiving half: frames from paths, records in order, delivery, what is held while
 * nobody listens.
 *
 * Design notes
 *  - A small message that arrives in order while the owner listens and nothing waits before it is
 *    delivered straight from the receive buffer. Everything else goes through rxq, in order, where
 *    large ones stay until they are complete.
 *  - Held small messages are copies, so receive buffers never run out; the session window bounds
 *    them.
 *  - DATA counts only on the path the peer's last RESUME named; what still arrives on an older one
 *    is late, dropped and counted. Acknowledgements and windows count on every live path. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "session/internal.h"

static void set_first(weft__session_t *s) {
  s->first_incomplete = s->open ? s->open->item : s->unasked;
}

static weft__rxi_t *push_item(weft__session_t *s, uint64_t seq, unsigned kind, const void *data,
                              uint32_t len) {
  weft__rxi_t *it = malloc(weft__s_item_size(len));
  if (!it) {
    weft__s_end(s, -ENOMEM, "out of memory while holding received messages");
    return NULL;
  }
  it->next = NULL;
  it->seq = seq;
  it->total = len;
  it->large = NULL;
  it->kind = (uint8_t) kind;
  it->complete = kind != WEFT__R_LARGE;
  it->headlen = len;
  if (len) memcpy(it->data, data, len);
  if (s->rxq_tail)
    s->rxq_tail->next = it;
  else
    s->rxq = it;
  s->rxq_tail = it;
  if (kind == WEFT__R_LARGE && !s->unasked) {
    s->unasked = it;
    set_first(s);
  }
  if (kind == WEFT__R_MSG) {
    s->st.held_messages++;
    s->st.held_bytes += len;
  }
  return it;
}

static void free_item(weft__session_t *s, weft__rxi_t *it) {
  if (it->large) {
    s->nlarge--;
    free(it->large);
  }
  free(it);
}

weft__rxl_t *weft__s_rx_find(weft__session_t *s, uint64_t seq) {
  weft__rxl_t *l = s->open;
  for (; l && l->seq < seq; l = l->next_open) s->steps++;
  return l && l->seq == seq ? l : NULL;
}

void weft__s_rx_complete(weft__session_t *s, weft__rxl_t *l) {
  weft__rxl_t **p = &s->open;
  while (*p != l) p = &(*p)->next_open;
  *p = l->next_open;
  set_first(s);
  if (l->refuse && !l->given_up) s->nrefused--;
  l->item->complete = true;
  if (s->ack_want <= l->seq) s->ack_want = l->seq + 1;
  weft__s_dirty(s);
}

static void pop_item(weft__session_t *s) {
  weft__rxi_t *it = s->rxq;
  s->rxq = it->next;
  if (!s->rxq) s->rxq_tail = NULL;
  if (it->kind == WEFT__R_MSG) {
    s->st.held_messages--;
    s->st.held_bytes -= it->total;
    s->rx_bytes_consumed += it->total;
  }
  s->rx_seq_consumed = s->rxq ? s->rxq->seq : s->rx_expect;
}

static void deliver(weft__session_t *s, const void *data, size_t size, weft__rbuf_t *rbuf,
                    void *large) {
  weft__rxm_t m = {data, size, rbuf, large};
  s->st.rx_messages++;
  s->st.rx_bytes += size;
  s->ops->deliver(s->owner, &m);
}

/* Ask for the memory of the first large messages in the queue. */
static void ask_memory(weft__session_t *s) {
  weft__rxl_t **end = &s->open;
  while (*end) end = &(*end)->next_open;
  while (s->unasked && s->nlarge < WEFT__LARGE_OPEN) {
    weft__rxi_t *it = s->unasked;
    weft__rxl_t *l = calloc(1, sizeof *l);
    if (!l) {
      weft__s_end(s, -ENOMEM, "out of memory for a large message");
      return;
    }
    do s->unasked = s->unasked->next;
    while (s->unasked && s->unasked->kind != WEFT__R_LARGE);
    it->large = l;
    l->item = it;
    l->seq = it->seq;
    l->total = it->total;
    *end = l;
    end = &l->next_open;
    s->nlarge++;
    l->dst = s->ops->alloc(s->owner, it->total, it->data, it->headlen);
    if (!l->dst) {
      l->refuse = 1;
      s->nrefused++;
    }
    weft__s_dirty(s);
    if (weft__ended(s) || !s->started) return;
  }
}

bool weft__session_holds(const weft__session_t *s) {
  return s->rxq && s->rxq->complete && s->rxq->seq < s->rx_end && !s->aborting && !s->released;
}

void weft__s_rx_pump(weft__session_t *s) {
  while (s->started && weft__session_holds(s)) {
    weft__rxi_t *it = s->rxq;
    void *dst = it->large ? it->large->dst : NULL;
    if (it->kind == WEFT__R_FIN) {
      pop_item(s);
      free(it);
      s->eof_done = true;
      s->ops->eof(s->owner);
      weft__s_check_done(s);
      continue;
    }
    if (it->kind == WEFT__R_SKIP || (it->kind == WEFT__R_LARGE && !dst)) {
      pop_item(s);
      free_item(s, it);
      continue;
    }
    /* out of the queue first: the upcall may end the session or stop receiving */
    if (it->kind == WEFT__R_LARGE) s->st.rx_large++;
    s->rxq = it->next;
    if (!s->rxq) s->rxq_tail = NULL;
    uint64_t next = s->rxq ? s->rxq->seq : s->rx_expect;
    if (it->kind == WEFT__R_MSG) {
      s->st.held_messages--;
      s->st.held_bytes -= it->total;
    }
    deliver(s, dst ? dst : it->data, (size_t) it->total, NULL, dst);
    s->rx_seq_consumed = next;
    if (it->kind == WEFT__R_MSG) s->rx_bytes_consumed += it->total;
    free_item(s, it);
  }
  if (s->started && !weft__ended(s)) ask_memory(s);
}

/* At-most-once: what lies before `first` will not come any more. */
void weft__s_rx_skip_to(weft__session_t *s, uint64_t first) {
  for (weft__rxl_t *l = s->open, *next; l; l = next) {
    next = l->next_open;
    if (l->refuse && !l->given_up) s->nrefused--;
    l->given_up = true;
    l->refuse = 2;
    l->refuse_path = NULL;
    weft__s_large_give_up(s, l);
    if (l->pins) continue; /* until that path is closed */
    if (l->dst) s->ops->unalloc(s->owner, l->dst);
    l->dst = NULL;
    weft__s_rx_complete(s, l);
  }
  for (weft__rxi_t *it = s->unasked; it; it = it->next) {
    it->complete = true;
    if (s->ack_want <= it->seq) s->ack_want = it->seq + 1;
  }
  s->unasked = NULL;
  set_first(s);
  if (first > s->rx_expect) s->rx_expect = first;
  if (!s->rxq) s->rx_seq_consumed = s->rx_expect;
}

static void free_from(weft__session_t *s, weft__rxi_t *it) {
  while (it) {
    weft__rxi_t *next = it->next;
    if (it->large && it->large->dst) s->ops->unalloc(s->owner, it->large->dst);
    if (it->kind == WEFT__R_MSG) {
      s->st.held_messages--;
      s->st.held_bytes -= it->total;
    }
    free_item(s, it);
    it = next;
  }
}

void weft__s_rx_free_unfinished(weft__session_t *s) {
  if (s->rx_end < s->rx_expect)
    s->rx_expect = s->rx_end; /* a tombstone must not answer for what was unfinished */
  weft__rxi_t **p = &s->rxq, *last = NULL, *rest;
  while (*p && (*p)->complete && (*p)->seq < s->rx_end) {
    last = *p;
    p = &last->next;
  }
  rest = *p;
  *p = NULL;
  s->rxq_tail = last;
  s->open = NULL;
  s->first_incomplete = s->unasked = NULL;
  s->nrefused = 0;
  free_from(s, rest);
}

void weft__s_rx_free_all(weft__session_t *s) {
  weft__s_rx_free_unfinished(s);
  free_from(s, s->rxq);
  s->rxq = s->rxq_tail = NULL;
}

/* One record with number n == rx_expect. */
static bool new_record(weft__session_t *s, weft__spath_t *sp, const weft__rec_t *r,
                       weft__rbuf_t *b) {
  uint64_t n = s->rx_expect;
  if (s->rx_fin && s->at_most_once &&
      r->kind == WEFT__R_FIN) { /* sent again, for all the peer knew it was lost */
    s->rx_expect = n + 1;
    if (!s->rxq) s->rx_seq_consumed = n + 1;
    return true;
  }
  if (s->rx_fin) {
    weft__s_violation(s, sp, "record %llu after the end of the stream", (unsigned long long) n);
    return false;
  }
  if (n >= s->adv_seq) {
    weft__s_violation(s, sp, "record %llu is beyond the window %llu", (unsigned long long) n,
                      (unsigned long long) s->adv_seq);
    return false;
  }
  switch (r->kind) {
  case WEFT__R_MSG:
    if (s->rx_bytes + r->size > s->adv_bytes) {
      weft__s_violation(s, sp, "%llu bytes are beyond the window %llu",
                        (unsigned long long) (s->rx_bytes + r->size),
                        (unsigned long long) s->adv_bytes);
      return false;
    }
    s->rx_bytes += r->size;
    s->rx_expect = n + 1;
    if (s->started && !s->rxq) {
      deliver(s, r->data, r->size, b, NULL);
      s->rx_seq_consumed = n + 1;
      s->rx_bytes_consumed += r->size;
      return !weft__ended(s);
    }
    return push_item(s, n, WEFT__R_MSG, r->data, r->size) != NULL;
  case WEFT__R_LARGE: {
    if (r->total > s->conf.hello.max_message) {
      weft__s_violation(s, sp, "message of %llu bytes, the limit is %llu",
                        (unsigned long long) r->total,
                        (unsigned long long) s->conf.hello.max_message);
      return false;
    }
    weft__rxi_t *it = push_item(s, n, WEFT__R_LARGE, r->data, r->size);
    if (!it) return false;
    it->total = r->total;
    s->rx_expect = n + 1;
    return true;
  }
  case WEFT__R_FIN:
    s->rx_fin = true;
    s->rx_expect = n + 1;
    return push_item(s, n, WEFT__R_FIN, NULL, 0) != NULL;
  default: /* SKIP */
    s->rx_expect = n + 1;
    if (!s->rxq) {
      s->rx_seq_consumed = n + 1;
      return true;
    }
    return push_item(s, n, WEFT__R_SKIP, NULL, 0) != NULL;
  }
}

static void old_record(weft__session_t *s, uint64_t n, const weft__rec_t *r) {
  s->st.duplicates++;
  s->ack_now = true;                                   /* the peer has missed an acknowledgement */
  if (r->kind != WEFT__R_SKIP || !s->nrefused) return; /* a frame may hold 2,000 of them */
  weft__rxl_t *l = weft__s_rx_find(s, n);
  if (l && l->refuse && !l->given_up) weft__s_rx_complete(s, l);
}

static void on_data(weft__session_t *s, weft__spath_t *sp, const weft__hdr_t *h, const uint8_t *p,
                    weft__rbuf_t *b) {
  if (sp != s->rx_path) {
    s->st.late_frames++;
    return;
  }
  if (h->seq > s->rx_expect) {
    weft__s_violation(s, sp, "record %llu where %llu was due", (unsigned long long) h->seq,
                      (unsigned long long) s->rx_expect);
    return;
  }
  uint32_t off = 0;
  for (unsigned i = 0; i < h->count; i++) {
    weft__rec_t r;
    weft__werr_t e = weft__data_next(h, p, &off, &r);
    if (e != WEFT__W_OK) {
      weft__s_violation(s, sp, "record %u of %u: %s", i + 1, h->count, weft__wire_why(e));
      return;
    }
    uint64_t n = h->seq + i;
    if (n < s->rx_expect) {
      old_record(s, n, &r);
    } else if (!new_record(s, sp, &r, b)) {
      return;
    }
  }
  if (off != h->length) {
    weft__s_violation(s, sp, "%u bytes after the last record", h->length - off);
    return;
  }
  if (h->flags & WEFT__FL_ACK_REQ && s->ack_want < s->rx_expect) s->ack_want = s->rx_expect;
  if (s->rxq) weft__s_rx_pump(s);
  /* acknowledge after the callbacks of this drain */
  weft__s_dirty(s);
}

/* Acknowledgement, windows and grant: in every frame. false: violation. */
static bool on_header(weft__session_t *s, weft__spath_t *sp, const weft__hdr_t *h) {
  if (h->ack > s->tx_seq) {
    weft__s_violation(s, sp, "acknowledges record %llu, only %llu were sent",
                      (unsigned long long) h->ack - 1, (unsigned long long) s->tx_seq - 1);
    return false;
  }
  int32_t more = (int32_t) (h->grant - (uint32_t) sp->tx_grant);
  if (more > 0) {
    if (more > 65536) {
      weft__s_violation(s, sp, "grants %d frames at once", more);
      return false;
    }
    sp->tx_grant += (uint32_t) more;
    s->tx_stuck = false;
    if (sp->starved || s->unsent || s->nxfers) weft__s_dirty(s);
    sp->starved = false;
  }
  if (s->have_peer) {
    if (h->win_seq > s->tx_win_seq) {
      s->tx_win_seq = h->win_seq;
      if (s->unsent) weft__s_dirty(s);
    }
    if (h->win_bytes > s->tx_win_bytes) {
      s->tx_win_bytes = h->win_bytes;
      if (s->unsent) weft__s_dirty(s);
    }
    s->tx_stuck = false;
  }
  if (h->ack > s->tx_ack) weft__s_acked(s, h->ack);
  return true;
}

static void on_abort(weft__session_t *s, const weft__spath_t *sp, const uint8_t *p, uint32_t len) {
  int code = (int) (int32_t) weft__get32(p);
  char text[WEFT__TEXT_MAX + 1];
  uint32_t n = len - 8;
  memcpy(text, p + 8, n);
  text[n] = '\0';
  for (uint32_t i = 0; i < n; i++)
    if ((unsigned char) text[i] < 0x20 || (unsigned char) text[i] == 0x7f) text[i] = '?';
  bool opening = s->state == WEFT__S_HELLO;
  weft__s_end(s, opening ? WEFT__E_EREJECTED : -ECONNRESET, "%.70s %s: %s (%d)", sp->path->remote,
              opening ? "rejected the connection" : "closed the connection",
              n ? text : "no reason given", code);
}

static void dispatch(weft__session_t *s, weft__spath_t *sp, const weft__hdr_t *h, const uint8_t *p,
                     weft__rbuf_t *b) {
  switch (h->type) {
  case WEFT__F_DATA: on_data(s, sp, h, p, b); break;
  case WEFT__F_ACK: break;
  case WEFT__F_RESUME: {
    weft__resume_t r = {weft__get64(p), weft__get64(p + 8), weft__get64(p + 16)};
    weft__s_on_resume(s, sp, &r, h->flags & WEFT__FL_LEFT);
    break;
  }
  case WEFT__F_RESUME_ACK: {
    weft__resume_ack_t r = {weft__get64(p), weft__get64(p + 8)};
    weft__s_on_resume_ack(s, sp, &r);
    break;
  }
  case WEFT__F_PING:
    sp->pong.id = weft__get64(p);
    sp->pong.time = weft__get64(p + 8);
    sp->pong_due = true;
    weft__s_dirty(s);
    break;
  case WEFT__F_PONG: weft__s_answered(sp, weft__get64(p + 8)); break;
  case WEFT__F_CTS: weft__s_on_cts(s, sp, p); break;
  case WEFT__F_FRAG: weft__s_on_frag(s, sp, p); break;
  case WEFT__F_CHUNK: weft__s_on_chunk(s, sp, p, h->length); break;
  case WEFT__F_REFUSE: weft__s_on_refuse(s, sp, p); break;
  case WEFT__F_SKIP: weft__s_on_skip(s, sp, p); break;
  case WEFT__F_BYE:
    s->bye_heard = true;
    weft__s_check_done(s);
    break;
  case WEFT__F_READY: weft__s_on_ready(s, sp, p); break;
  case WEFT__F_DONE: weft__s_on_done(s, sp, p); break;
  case WEFT__F_JOIN_PLEASE:
    if (s->conf.initiator) {
      weft__sev_t ev = {.type = WEFT__SEV_JOIN_PLEASE};
      s->ops->event(s->owner, &ev);
    }
    break;
  case WEFT__F_ABORT: on_abort(s, sp, p, h->length); break;
  default: weft__s_violation(s, sp, "unexpected %s", weft__ftype_name(h->type)); break;
  }
}

static void on_frame(weft__path_t *path, weft__rbuf_t *b) {
  weft__spath_t *sp = path->user;
  weft__session_t *s = sp->s;
  if (!sp->live) { /* we have let go of it already */
    s->st.late_frames++;
    return;
  }
  if (weft__ended(s)) return;
  weft__s_enter(s);
  s->st.rx_frames++;
  sp->rx_fc++;
  weft__hdr_t h;
  weft__werr_t e = weft__hdr_get(b->data, b->len, &h);
  if (e != WEFT__W_OK) {
    weft__s_violation(s, sp, "malformed frame: %s", weft__wire_why(e));
  } else if (h.key != sp->my_key) {
    weft__s_violation(s, sp, "frame under a wrong path key");
  } else if (h.fc != sp->rx_fc) {
    weft__s_violation(s, sp, "frame %llu where %llu was due", (unsigned long long) h.fc,
                      (unsigned long long) sp->rx_fc);
  } else if (sp->rx_fc > sp->granted) {
    weft__s_violation(s, sp, "frame %llu is beyond its grant of %llu",
                      (unsigned long long) sp->rx_fc, (unsigned long long) sp->granted);
  } else {
    const uint8_t *p = b->data + WEFT__HDR;
    weft__s_heard(sp);
    if (s->state == WEFT__S_OPEN) {
      if (on_header(s, sp, &h)) dispatch(s, sp, &h, p, b);
    } else if (h.type == WEFT__F_HELLO && !s->hello_heard) {
      if (on_header(s, sp, &h)) weft__s_hello_frame(s, p, h.length, sp);
    } else if (h.type == WEFT__F_ABORT) {
      on_abort(s, sp, p, h.length);
    } else if (h.type == WEFT__F_ACK || h.type == WEFT__F_PING || h.type == WEFT__F_PONG) {
      if (on_header(s, sp, &h)) dispatch(s, sp, &h, p, b);
    } else {
      weft__s_violation(s, sp, "%s before the session is open", weft__ftype_name(h.type));
    }
  }
  sp->rx_done = sp->rx_fc;
  if (!s->dirty && sp->live &&
      sp->rx_done + path->lim.rx_depth - sp->granted >= path->lim.rx_depth / 2)
    weft__s_dirty(s);
  weft__s_leave(s);
}

static void on_writable(weft__path_t *path) {
  weft__spath_t *sp = path->user;
  sp->s->tx_stuck = false;
  if (sp->live && !weft__ended(sp->s)) {
    weft__s_heard(sp); /* the provider moves bytes: not silent */
    weft__s_dirty(sp->s);
  }
}

static void on_down(weft__path_t *path, int err, const char *why, const void *blob, size_t len) {
  (void) blob;
  (void) len;
  weft__spath_t *sp = path->user;
  weft__session_t *s = sp->s;
  weft__s_enter(s);
  weft__s_path_down(sp, err, why);
  weft__s_leave(s);
}

static void on_closed(weft__path_t *path) {
  weft__spath_t *sp = path->user;
  weft__session_t *s = sp->s;
  weft__s_enter(s);
  weft__s_path_closed(sp);
  weft__s_leave(s);
}

const weft__path_cbs_t weft__s_path_cbs = {.frame = on_frame,
                                           .writable = on_writable,
                                           .rma_done = weft__s_rma_done,
                                           .down = on_down,
                                           .closed = on_closed};

void weft__session_rx_start(weft__session_t *s) {
  s->started = true;
  weft__s_dirty(s);
}

void weft__session_rx_stop(weft__session_t *s) {
  s->started = false;
}

uint64_t weft__session_rx_next(const weft__session_t *s) {
  return weft__s_rx_ack(s);
}
