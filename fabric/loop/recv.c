/* SPDX-License-Identifier: Apache-2.0 */
/* recv.c - weft_recv_start and what it delivers: messages, destinations of large ones, the end.
 *
 * Design notes
 *  - A message in recv_cb is a view: it points into the receive buffer, or to the large message's
 *    memory.
 *  - After weft_recv_stop nothing reaches the user: the session holds messages, also beyond its
 *    end, and the end itself is kept here until weft_recv_start.
 *  - `dsts` lists the memory that the peer may be writing to. close_cb waits until the session has
 *    given all of it back. */
#include <stdlib.h>
#include <string.h>

#include "loop/conn.h"

static weft__dst_t *take_dst(weft__conn_t *c, void *ptr) {
  for (weft__dst_t **p = &c->dsts; *p; p = &(*p)->next)
    if ((*p)->ptr == ptr) {
      weft__dst_t *d = *p;
      *p = d->next;
      return d;
    }
  return NULL;
}

void *weft__recv_alloc(weft__conn_t *c, uint64_t size, const void *head, uint32_t headlen) {
  if (c->h.closing || !c->receiving || WEFT__FAULT(alloc_large)) return NULL;
  weft__dst_t *d = calloc(1, sizeof *d);
  if (!d) return NULL;
  if (c->alloc_cb) {
    uv_buf_t shown = uv_buf_init((char *) head, headlen), dst = uv_buf_init(NULL, 0);
    c->alloc_cb(c->pub, (size_t) size, &shown, &dst);
    if (dst.len >= size && dst.base) d->ptr = dst.base;
    if (!d->ptr && dst.len)
      weft__warn("alloc_cb gave %zu bytes for a message of %llu: it is refused", dst.len,
                 (unsigned long long) size);
  } else {
    d->big = weft__big_get(c->core, c->serial, (size_t) size);
    if (d->big) d->ptr = weft__big_data(d->big);
  }
  if (!d->ptr) {
    free(d);
    return NULL;
  }
  d->next = c->dsts;
  c->dsts = d;
  return d->ptr;
}

static void drop_dst(weft__conn_t *c, void *ptr) {
  weft__dst_t *d = take_dst(c, ptr);
  if (!d) return;
  if (d->big) weft__big_unref(d->big);
  free(d);
  if (c->h.closing && !c->dsts) weft__conn_later(c);
}

/* Weft's own memory stays this connection's until every path is past it (msg.c); the user's is
 * anybody's once delivered. */
bool weft__recv_lasts(const weft__conn_t *c, const void *dst) {
  const weft__dst_t *d = c->dsts;
  while (d && d->ptr != dst) d = d->next;
  return d && d->big;
}

void weft__recv_unalloc(weft__conn_t *c, void *dst) {
  drop_dst(c, dst);
}

void weft__recv_deliver(weft__conn_t *c, const weft__rxm_t *m) {
  weft_msg_t view = {.data = m->data, .size = m->size, .core = c->core, .rbuf = m->rbuf};
  if (!c->receiving || c->h.closing || !c->recv_cb) {
    if (m->large) drop_dst(c, m->large);
    return;
  }
  weft__dst_t *d = m->large ? take_dst(c, m->large) : NULL;
  if (d) {
    view.big = d->big;
    view.user = !d->big;
  }
  c->recv_cb(c->pub, 0, &view);
  if (c->state == WEFT__CN_ENDED) weft__conn_later(c); /* the last one held lets the end be told */
  if (d) {
    if (d->big) weft__big_unref(d->big);
    free(d);
    if (c->h.closing && !c->dsts) weft__conn_later(c);
  }
}

void weft__recv_eof(weft__conn_t *c) {
  c->eof_held = true;
  weft__recv_settle(c);
}

/* Tell what is due, in order: the end of the stream, then the loss of the connection. */
void weft__recv_settle(weft__conn_t *c) {
  if (!c->receiving || c->h.closing || !c->pub) return;
  if (c->eof_held && !c->eof_told) {
    c->eof_told = true;
    c->recv_cb(c->pub, UV_EOF, NULL);
    if (!c->receiving || c->h.closing) return;
  }
  if (c->s && !c->gone && weft__session_holds(c->s))
    return; /* what had arrived comes first: with the next flush */
  if (c->state == WEFT__CN_ENDED && c->err && !c->err_told && !c->never_open) {
    c->err_told = true;
    c->recv_cb(c->pub, c->err, NULL);
  }
}

int weft_recv_start(weft_conn_t *conn, weft_alloc_cb alloc_cb, weft_recv_cb recv_cb) {
  weft__conn_t *c = weft__conn_of(conn);
  if (!c || !recv_cb || c->h.closing) return UV_EINVAL;
  if (weft__forked(c->core)) return WEFT_EFORK;
  if (c->receiving) return UV_EALREADY;
  c->alloc_cb = alloc_cb;
  c->recv_cb = recv_cb;
  c->receiving = true;
  if (c->s && !c->gone) weft__session_rx_start(c->s);
  if (c->eof_held || c->state == WEFT__CN_ENDED) weft__conn_later(c);
  return 0;
}

int weft_recv_stop(weft_conn_t *conn) {
  weft__conn_t *c = weft__conn_of(conn);
  if (!c) return UV_EINVAL;
  if (weft__forked(c->core)) return WEFT_EFORK;
  c->receiving = false;
  if (c->s && !c->gone) weft__session_rx_stop(c->s);
  return 0;
}
