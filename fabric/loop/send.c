/* SPDX-License-Identifier: Apache-2.0 */
/* send.c - weft_send, weft_try_send, weft_cancel, weft_shutdown: from requests to the session's
 * messages.
 *
 * Design notes
 *  - The session's weft__txm_t lives in the request's private space, and so do up to two buffers.
 *    So sending allocates nothing, and a request's memory is the session's until its callback.
 *  - Nothing leaves here: the session is marked dirty and flushed at the end of the drain or before
 *    the loop sleeps, so that what one callback sends travels together.
 *  - A FIN's record is the connection's own: the user gets his request back after shutdown_timeout
 *    even when the record is still on its way. The clock of that timeout starts anew whenever the
 *    peer has taken something. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "loop/conn.h"

enum { INLINE_IOV = 2, TRY_MAX = 64 * 1024, TRY_MESSAGES = 65536 };

_Static_assert(sizeof(weft__txm_t) + INLINE_IOV * sizeof(struct iovec) <=
                   sizeof(((weft_send_t *) 0)->reserved),
               "a message fits its request");
_Static_assert(sizeof(uv_buf_t) == sizeof(struct iovec) &&
                   offsetof(uv_buf_t, base) == offsetof(struct iovec, iov_base) &&
                   offsetof(uv_buf_t, len) == offsetof(struct iovec, iov_len),
               "uv_buf_t is an iovec");

typedef struct space {
  weft__txm_t m;
  struct iovec iov[INLINE_IOV];
} space_t;

static space_t *space_of(weft_send_t *req) {
  return (space_t *) (void *) req->reserved;
}
static weft_send_t *request_of(weft__txm_t *m) {
  return weft__container(m, weft_send_t, reserved);
}

/* May this connection send? 0, or what weft_send answers. */
static inline int ready(const weft__conn_t *c) {
  if (__builtin_expect(!c, 0)) return UV_EINVAL;
  if (__builtin_expect(weft__forked(c->core), 0)) return WEFT_EFORK;
  if (__builtin_expect(c->h.closing || !c->s ||
                           (c->state != WEFT__CN_OPEN && c->state != WEFT__CN_CONNECTING),
                       0))
    return c->h.closing ? UV_ECANCELED : UV_ENOTCONN;
  return 0;
}

int weft_send(weft_send_t *req, weft_conn_t *conn, const uv_buf_t bufs[], unsigned n,
              weft_send_cb cb) {
  weft__conn_t *c = weft__conn_of(conn);
  int err = ready(c);
  if (err) return err;
  if (!req || (n && !bufs)) return UV_EINVAL;
  space_t *sp = space_of(req);
  struct iovec *iov = sp->iov;
  if (n > INLINE_IOV) {
    iov = malloc(n * sizeof *iov);
    if (!iov) return UV_ENOMEM;
  }
  if (n) memcpy(iov, bufs, n * sizeof *iov);
  if (n == 1 && iov[0].iov_len == 0) n = 0;
  sp->m.iov = iov;
  sp->m.niov = n;
  sp->m.kind = WEFT__R_MSG;
  sp->m.owner[0] = (uint64_t) (uintptr_t) cb;
  sp->m.owner[1] = WEFT__TXM_SEND;
  err = weft__session_send(c->s, &sp->m);
  if (err) {
    if (iov != sp->iov) free(iov);
    return weft__err_public(err);
  }
  req->priv = c;
  c->pending++;
  return 0;
}

static bool full(const weft__conn_t *c, uint64_t limit, uint32_t messages) {
  return weft__session_queued_bytes(c->s) > limit || c->pending > messages;
}

int weft_try_send(weft_conn_t *conn, const uv_buf_t bufs[], unsigned n) {
  weft__conn_t *c = weft__conn_of(conn);
  int err = ready(c);
  if (err) return err;
  if (n && !bufs) return UV_EINVAL;
  size_t size = 0;
  for (unsigned i = 0; i < n; i++) {
    if (bufs[i].len > TRY_MAX) return UV_EMSGSIZE;
    size += bufs[i].len;
  }
  if (size > TRY_MAX) return UV_EMSGSIZE;
  weft__core_t *core = c->core;
  if (full(c, core->opts.send_queue, TRY_MESSAGES)) {
    c->want_writable = true;
    return UV_EAGAIN;
  }
  weft__node_t *node = weft__node_get(core, size);
  if (!node) return UV_ENOMEM;
  uint8_t *to = node->data;
  for (unsigned i = 0; i < n; i++) {
    if (bufs[i].len) memcpy(to, bufs[i].base, bufs[i].len);
    to += bufs[i].len;
  }
  node->iov.iov_base = node->data;
  node->iov.iov_len = size;
  node->m.iov = &node->iov;
  node->m.niov = size > 0;
  node->m.kind = WEFT__R_MSG;
  node->m.owner[1] = WEFT__TXM_NODE;
  err = weft__session_send(c->s, &node->m);
  if (err) {
    weft__node_put(core, node);
    return weft__err_public(err);
  }
  c->pending++;
  return 0;
}

void weft__event_writable(weft__conn_t *c) {
  weft_event_t ev;
  if (c->h.closing || c->state != WEFT__CN_OPEN) return;
  if (full(c, c->core->opts.send_queue / 2, TRY_MESSAGES / 2)) return;
  c->want_writable = false;
  if (!c->event_cb || !c->pub) return;
  memset(&ev, 0, sizeof ev);
  ev.size = sizeof ev;
  ev.type = WEFT_EV_WRITABLE;
  c->event_cb(c->pub, &ev);
}

int weft_cancel(weft_send_t *req) {
  if (!req) return UV_EINVAL;
  weft__conn_t *c = req->priv;
  if (!c) return UV_EALREADY;
  if (weft__forked(c->core)) return WEFT_EFORK;
  return weft__err_public(weft__session_cancel(c->s, &space_of(req)->m));
}

size_t weft_conn_queued_bytes(const weft_conn_t *conn) {
  weft__conn_t *c = weft__conn_of(conn);
  return c && c->s && !weft__forked(c->core) ? weft__session_queued_bytes(c->s) : 0;
}

/* The session is done with a message. Called from flushes and drains, never from a call of the
 * user. */
void weft__send_done(weft__conn_t *c, weft__txm_t *m, int status) {
  status = weft__err_public(status);
  c->pending--;
  if (status && !c->err &&
      c->s) { /* weft_conn_error knows already in the first callback that carries it */
    const char *why;
    int err = weft__session_error(c->s, &why);
    if (err) weft__conn_error(c, weft__err_public(err), why);
  }
  switch (m->owner[1]) {
  case WEFT__TXM_NODE:
    /* nobody is told of this one alone, and the stream must have no hole that its user does not
       * know of */
    if ((status == UV_EMSGSIZE || status == UV_ENOBUFS) && c->state != WEFT__CN_ENDED) {
      weft__conn_fail(c, status, "a message of %llu bytes, sent by weft_try_send: %s",
                      (unsigned long long) m->size,
                      status == UV_EMSGSIZE ? "over the limit that the peer has told since"
                                            : "refused by the peer");
      weft__session_fail(c->s, c->err, c->error ? c->error : ""); /* before the next one leaves */
    }
    weft__node_put(c->core, weft__container(m, weft__node_t, m));
    break;
  case WEFT__TXM_FIN:
    c->shutdown_done = true;
    c->shutdown_status = status;
    weft__shutdown_settle(c);
    break;
  default: {
    weft_send_t *req = request_of(m);
    space_t *sp = space_of(req);
    weft_send_cb cb = (weft_send_cb) (uintptr_t) m->owner[0];
    if (m->iov != sp->iov) free((void *) m->iov);
    req->priv = NULL;
    if (cb) cb(req, status);
    break;
  }
  }
  if (c->h.closing && c->pending == 0) weft__conn_later(c);
  if (c->want_writable) weft__dirty(c);
}

/* ---- Shutdown ---- */

static void tell(weft__conn_t *c, int status) {
  weft_shutdown_t *req = c->shutdown_req;
  weft_shutdown_cb cb = (weft_shutdown_cb) (uintptr_t) req->reserved[0];
  c->shutdown_req = NULL;
  req->priv = NULL;
  weft__timer_stop(c->core, &c->shutdown_timer);
  if (cb) cb(req, status);
  if (c->h.closing) weft__conn_later(c);
}

void weft__shutdown_settle(weft__conn_t *c) {
  if (!c->shutdown_req) return;
  if (c->shutdown_done)
    tell(c, c->shutdown_status);
  else if (c->h.closing)
    tell(c, UV_ECANCELED);
}

static void on_shutdown_timer(weft__timer_t *t) {
  weft__conn_t *c = weft__container(t, weft__conn_t, shutdown_timer);
  uint64_t left = c->s ? weft__session_queued_bytes(c->s) : 0;
  if (!c->shutdown_req) return;
  if (left < c->shutdown_seen) { /* it moves */
    c->shutdown_seen = left;
    weft__timer_set(c->core, t, c->core->now_ns + c->core->opts.shutdown_timeout_ms * WEFT__MS);
    return;
  }
  tell(c, UV_ETIMEDOUT);
}

int weft_shutdown(weft_shutdown_t *req, weft_conn_t *conn, weft_shutdown_cb cb) {
  weft__conn_t *c = weft__conn_of(conn);
  int err = ready(c);
  if (!req) return UV_EINVAL;
  if (c && c->fin_out) return UV_EALREADY;
  if (err) return err;
  memset(&c->fin, 0, sizeof c->fin);
  c->fin.kind = WEFT__R_FIN;
  c->fin.owner[1] = WEFT__TXM_FIN;
  err = weft__session_send(c->s, &c->fin);
  if (err) return weft__err_public(err);
  c->pending++;
  c->fin_out = true;
  c->shutdown_req = req;
  req->priv = c;
  req->reserved[0] = (uint64_t) (uintptr_t) cb;
  c->shutdown_seen = weft__session_queued_bytes(c->s);
  c->shutdown_timer.fire = on_shutdown_timer;
  weft__timer_set(c->core, &c->shutdown_timer,
                  weft__refresh(c->core) + c->core->opts.shutdown_timeout_ms * WEFT__MS);
  return 0;
}
