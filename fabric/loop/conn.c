/* SPDX-License-Identifier: Apache-2.0 */
/* conn.c - a connection's life between the user's handle and the session.
 *
 * Design notes
 *    NEW -> CONNECTING -> OPEN -> ENDED        connecting end
 *           HALF -> WAITING -> OPEN -> ENDED   accepting end; the handle comes with OPEN
 *  - All endings meet in settle(), which runs from `later` and so never inside a call of the user. Each step asks what is
 *    still owed and does it once; a user's callback may close the handle, nothing else can take the object away.
 *  - The object is freed in settle() alone: no handle, session gone, no request and no memory of the user out. */
#include "loop/conn.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void settle(weft__later_t *);

/* ---- The session's upcalls ---- */

static void on_timer(weft__timer_t *t) {
  weft__conn_t *c = weft__container(t, weft__conn_t, timer);
  if (c->s && !c->gone) weft__session_tick(c->s);
}

static void up_hello(void *owner, const weft__hello_t *peer) {
  weft__conn_t *c = owner;
  (void) peer;
  c->hello_seen = true;
  if (c->initiator)
    weft__contact_hello(c);
  else
    weft__accept_hello(c);
}

static void up_deliver(void *owner, const weft__rxm_t *m) {
  weft__recv_deliver(owner, m);
}
static void up_eof(void *owner) {
  weft__recv_eof(owner);
}
static void *up_alloc(void *owner, uint64_t size, const void *head, uint32_t headlen) {
  return weft__recv_alloc(owner, size, head, headlen);
}
static bool up_lasts(void *owner, const void *dst) {
  return weft__recv_lasts(owner, dst);
}
static void up_unalloc(void *owner, void *dst) {
  weft__recv_unalloc(owner, dst);
}
static void up_sent(void *owner, weft__txm_t *m, int status) {
  weft__conn_t *c = owner;
  const char *why;
  if (status < 0 &&
      !c->error) { /* the end is told after the requests: its sentence must be there for them */
    int err = weft__session_error(c->s, &why);
    if (err) weft__conn_error(c, weft__err_public(err), why);
  }
  weft__send_done(c, m, status);
}
static void up_event(void *owner, const weft__sev_t *ev) {
  weft__conn_t *c = owner;
  const weft__path_t *from = ev->from;
  if (ev->type == WEFT__SEV_PATH_DOWN && ev->err == -ENODEV && from && from->rail)
    weft__rail_removed(c->core, from->rail, "it was removed");
  if (c->initiator && ev->type == WEFT__SEV_PATH_DOWN)
    weft__routes_path_gone(c, (weft__path_t *) ev->from, ev->err, ev->why);
  if (c->initiator && ev->type == WEFT__SEV_JOIN_PLEASE) {
    weft__routes_asked(c);
    return;
  }
  weft__event_session(c, ev);
}
static void up_path_closed(void *owner, weft__path_t *path, int err, const char *why) {
  weft__conn_t *c = owner;
  if (err == -ENODEV && path->rail) weft__rail_removed(c->core, path->rail, "it was removed");
  if (c->initiator) weft__routes_path_gone(c, path, err, why);
}
static void up_dirty(void *owner) {
  weft__dirty(owner);
}
static void up_timer(void *owner, uint64_t deadline) {
  weft__conn_t *c = owner;
  if (deadline == UINT64_MAX)
    weft__timer_stop(c->core, &c->timer);
  else
    weft__timer_set(c->core, &c->timer, deadline);
}
static void up_random(void *owner, void *out, size_t len) {
  weft__random(((weft__conn_t *) owner)->core, out, len);
}

static void up_ended(void *owner, int err, const char *why) {
  weft__conn_t *c = owner;
  if (err) weft__conn_error(c, weft__err_public(err), why);
  if (c->state == WEFT__CN_HALF ||
      c->state == WEFT__CN_WAITING) { /* no program will ever hear of it */
    char from[80];
    weft__info("handshake with %s: %s", weft__addr_str(&c->from, from, sizeof from), why);
  }
  if (!c->initiator) {
    if (c->hello_seen) weft__tomb_add(c);
    weft__accept_forget(c);
  }
  c->state = WEFT__CN_ENDED;
  weft__contact_stop(c);
  if (err) weft__routes_stop(c); /* else it lingers, and may have to join once more */
  weft__conn_later(c);
}

static void up_gone(void *owner) {
  weft__conn_t *c = owner;
  c->gone = true;
  weft__routes_stop(c);
  weft__timer_stop(c->core, &c->timer);
  weft__conn_later(c);
}

const weft__session_ops_t weft__conn_ops = {
    .hello = up_hello,
    .deliver = up_deliver,
    .eof = up_eof,
    .alloc = up_alloc,
    .lasts = up_lasts,
    .unalloc = up_unalloc,
    .sent = up_sent,
    .event = up_event,
    .path_closed = up_path_closed,
    .dirty = up_dirty,
    .timer = up_timer,
    .ended = up_ended,
    .gone = up_gone,
    .random = up_random,
};

/* ---- Making and freeing ---- */

weft__conn_t *weft__conn_new(weft__core_t *core) {
  if (WEFT__FAULT(alloc_conn)) return NULL;
  weft__conn_t *c = calloc(1, sizeof *c);
  if (!c) return NULL;
  c->core = core;
  c->serial = ++core->conn_serial;
  c->h.core = core;
  c->later.run = settle;
  c->timer.fire = on_timer;
  weft__list_init(&c->h.link);
  weft__list_init(&c->backlog);
  weft_qos_init(&c->qos, sizeof c->qos);
  c->spin_max_us = UINT32_MAX;
  weft__list_add(&core->conns, &c->link);
  core->nconns++;
  return c;
}

void weft__conn_free(weft__conn_t *c) {
  weft__core_t *core = c->core;
  weft__undirty(c);
  weft__timer_stop(core, &c->timer);
  weft__timer_stop(core, &c->retry);
  weft__timer_stop(core, &c->shutdown_timer);
  if (c->s) weft__session_destroy(c->s);
  for (unsigned i = 0; i < c->nroutes; i++) free(c->routes[i]);
  free(c->routes);
  free(c->error);
  weft__list_del(&c->link);
  core->nconns--;
  free(c);
  if (core->state != WEFT__C_OPEN)
    weft__core_check_closed(core);
  else
    weft__joins_check(core);
}

void weft__settings(weft__core_t *core, weft__hello_t *h, const weft_qos_t *qos) {
  memset(h, 0, sizeof *h);
  memcpy(h->instance, core->instance, sizeof h->instance);
  h->max_message = core->opts.max_message;
  h->win_messages = core->opts.window_messages;
  h->win_bytes = core->opts.window_bytes;
  h->peer_timeout_ms = core->opts.peer_timeout_ms;
  snprintf(h->name, sizeof h->name, "%s", core->name);
  h->qos = *qos;
}

int weft__conn_session(weft__conn_t *c, const uint8_t id[16], bool initiator) {
  weft__core_t *core = c->core;
  weft__session_conf_t conf;
  if (WEFT__FAULT(alloc_session)) return UV_ENOMEM;
  memset(&conf, 0, sizeof conf);
  conf.initiator = initiator;
  memcpy(conf.id, id, sizeof conf.id);
  weft__settings(core, &conf.hello, &c->qos);
  conf.now_ns = &core->now_ns;
  /* the connecting end has its own deadline, counted from weft_connect */
  conf.handshake_ns = initiator ? UINT64_MAX / 4 : core->opts.handshake_timeout_ms * WEFT__MS;
  conf.wait_ns = core->opts.connect_timeout_ms * WEFT__MS; /* the peer's own is unknown */
  conf.peer_timeout_ns = core->opts.peer_timeout_ms * WEFT__MS;
  conf.beat_ns = core->opts.beat_ms * WEFT__MS;
  conf.linger_ns = WEFT__S;
  c->initiator = initiator;
  c->s = weft__session_create(&conf, &weft__conn_ops, c);
  return c->s ? 0 : UV_ENOMEM;
}

weft__conn_t *weft__conn_of(const weft_conn_t *conn) {
  return conn && conn->reserved[0] == WEFT__H_CONN ? conn->priv : NULL;
}

/* ---- How it ends ---- */

void weft__conn_later(weft__conn_t *c) {
  weft__later(c->core, &c->later);
}

void weft__conn_error(weft__conn_t *c, int err, const char *text) {
  if (c->err) return; /* the first one is the cause */
  c->err = err;
  free(c->error);
  c->error = text && *text ? strdup(text) : NULL;
}

void weft__conn_fail(weft__conn_t *c, int err, const char *fmt, ...) {
  char text[400];
  va_list ap;
  if (c->state == WEFT__CN_ENDED) return;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  weft__conn_error(c, weft__err_public(err), text);
  weft__info("connection: %s", text);
  c->state = WEFT__CN_ENDED;
  weft__contact_stop(c);
  weft__routes_stop(c);
  weft__conn_later(c);
}

void weft__conn_opened(weft__conn_t *c) {
  c->state = WEFT__CN_OPEN;
  c->upgrading = false;
  weft__accept_taken(c);
  weft__spin_update(c->core);
  weft_connect_t *req = c->connect_req;
  if (!req) return;
  c->connect_req = NULL;
  req->priv = NULL;
  weft_connect_cb cb = (weft_connect_cb) (uintptr_t) req->reserved[0];
  if (cb) cb(req, 0);
}

static void tell_connect(weft__conn_t *c) {
  weft_connect_t *req = c->connect_req;
  if (!req) return;
  c->never_open = true;
  c->connect_req = NULL;
  req->priv = NULL;
  weft_connect_cb cb = (weft_connect_cb) (uintptr_t) req->reserved[0];
  int status = c->err ? c->err : UV_ECANCELED;
  if (cb) cb(req, status);
}

static void end_session(weft__conn_t *c) {
  if (!c->s || c->gone) return;
  if (c->h.closing || !c->pub) {
    bool tomb = !c->initiator && c->hello_seen && c->in_table && weft__session_is_open(c->s);
    if (tomb) weft__tomb_add(c);
    if (!c->initiator) weft__accept_forget(c);
    weft__session_abort(c->s, UV_ECANCELED, UV_ECONNRESET, "closed by its program");
  } else if (c->err) {
    weft__session_fail(c->s, c->err, c->error ? c->error : "");
  }
}

/* Everything that is owed, in order. Runs again whenever something it waits for has happened. */
static void settle(weft__later_t *l) {
  weft__conn_t *c = weft__container(l, weft__conn_t, later);
  weft__core_t *core = c->core;

  if (c->h.closing && c->state != WEFT__CN_ENDED) {
    c->state = WEFT__CN_ENDED;
    weft__contact_stop(c);
    weft__routes_stop(c);
  }
  if (c->state == WEFT__CN_ENDED) {
    if (c->connect_req) tell_connect(c);
    end_session(c);
    if (c->spins) weft__spin_update(core);
  }
  weft__shutdown_settle(c);
  weft__recv_settle(c);

  if (c->h.closing && c->h.open && c->pending == 0 && !c->dsts && !c->shutdown_req) {
    weft_conn_t *pub = c->pub;
    weft_conn_close_cb cb = c->close_cb;
    c->pub = NULL;
    pub->priv = NULL;
    pub->reserved[0] = 0;
    weft__handle_closed(&c->h);
    if (cb) cb(pub);
  }
  if (!c->pub && !c->h.open && (!c->s || c->gone) && c->pending == 0 && !c->dsts &&
      !c->later.queued)
    weft__conn_free(c);
}

void weft__conn_close_now(weft__conn_t *c, weft_conn_close_cb cb) {
  c->h.closing = true;
  c->close_cb = cb;
  c->receiving = false;
  c->event_cb = NULL;
  if (c->s && !c->gone) weft__session_rx_stop(c->s);
  weft__conn_later(c);
}

/* ---- The user's calls ---- */

int weft_conn_init(weft_t *w, weft_conn_t *conn) {
  weft__core_t *core = weft__core_of(w);
  if (!core || !conn) return UV_EINVAL;
  if (weft__forked(core)) return WEFT_EFORK;
  if (core->state != WEFT__C_OPEN) return UV_ECANCELED;
  weft__conn_t *c = weft__conn_new(core);
  if (!c) return UV_ENOMEM;
  void *data = conn->data;
  memset(conn, 0, sizeof *conn);
  conn->data = data;
  conn->priv = c;
  conn->reserved[0] = WEFT__H_CONN;
  c->pub = conn;
  weft__handle_open(core, &c->h, WEFT__H_CONN);
  return 0;
}

void weft_conn_close(weft_conn_t *conn, weft_conn_close_cb cb) {
  weft__conn_t *c = weft__conn_of(conn);
  if (!c) return;
  if (c->h.closing && c->h.by_context &&
      !weft__forked(c->core)) { /* its first call: he still waits for his callback */
    c->h.by_context = false;
    c->close_cb = cb;
  }
  if (c->h.closing) return;
  if (weft__forked(c->core)) {
    conn->priv = NULL;
    conn->reserved[0] = 0;
    if (cb) cb(conn);
    return;
  }
  weft__conn_close_now(c, cb);
}

const char *weft_conn_error(const weft_conn_t *conn) {
  weft__conn_t *c = weft__conn_of(conn);
  return c && c->error ? c->error : "";
}

int weft_conn_on_event(weft_conn_t *conn, weft_event_cb cb) {
  weft__conn_t *c = weft__conn_of(conn);
  if (!c || c->h.closing) return UV_EINVAL;
  if (weft__forked(c->core)) return WEFT_EFORK;
  c->event_cb = cb;
  return 0;
}

static bool text_fits(const char *text, size_t room) {
  size_t len = strnlen(text, room);
  for (size_t i = 0; i < len; i++)
    if ((unsigned char) text[i] < 0x20 || text[i] == 0x7f) return false;
  return len < room;
}

/* Needs that were filled in by hand: what no peer would take is told here. The field, or NULL when
 * all is well. */
static const char *bad_need(const weft_qos_t *q) {
  if (q->reliability > WEFT_AT_MOST_ONCE) return "reliability is no weft_reliability";
  if (q->ack > WEFT_ACK_CONSUMED) return "ack is no weft_ack_mode";
  if (q->cpu > WEFT_CPU_SPIN) return "cpu is no weft_cpu_mode";
  if (q->strict > 1) return "strict is neither 0 nor 1";
  if (!text_fits(q->require, sizeof q->require))
    return "require is no text with an end, or has control characters";
  if (!text_fits(q->forbid, sizeof q->forbid))
    return "forbid is no text with an end, or has control characters";
  if (!text_fits(q->bootstrap, sizeof q->bootstrap))
    return "bootstrap is no text with an end, or has control characters";
  return NULL;
}

int weft_connect(weft_connect_t *req, weft_conn_t *conn, const char *url, const weft_qos_t *qos,
                 weft_connect_cb cb) {
  weft__conn_t *c = weft__conn_of(conn);
  weft_addr_t addr;
  char why[400];
  uint8_t id[16];
  if (!req || !c || !url) return UV_EINVAL;
  if (weft__forked(c->core)) return WEFT_EFORK;
  if (c->h.closing) return UV_EINVAL;
  if (c->state != WEFT__CN_NEW) return UV_EALREADY;
  free(c->error);
  c->error = NULL;
  int err = weft_url_parse(url, &addr, &c->qos, why, sizeof why);
  if (!err && strcmp(addr.host, "*") == 0) {
    err = WEFT_EURL;
    snprintf(why, sizeof why, "%.200s: * is for listeners; connect needs a host", url);
  } else if (!err && addr.port == 0) {
    err = WEFT_EURL;
    snprintf(why, sizeof why, "%.200s: port 0 is for listeners", url);
  }
  if (!err && addr.bind[0] && !weft__addr_parse(addr.bind, 0, &c->bind)) {
    err = WEFT_EURL;
    snprintf(why, sizeof why, "%.200s: bind=%.60s is not an address of a device here", url,
             addr.bind);
  }
  if (err) {
    c->error = strdup(why);
    return err;
  }
  if (qos) {
    if (qos->size == 0) return UV_EINVAL;
    weft_qos_init(&c->qos, sizeof c->qos);
    memcpy(&c->qos, qos, qos->size < sizeof c->qos ? qos->size : sizeof c->qos);
    c->qos.size = sizeof c->qos;
    const char *bad = bad_need(&c->qos);
    if (bad) {
      snprintf(why, sizeof why, "%.200s: the needs: %s", url, bad);
      c->error = strdup(why);
      return UV_EINVAL;
    }
  }
  snprintf(c->devices, sizeof c->devices, "%s", addr.devices);
  weft__refresh(c->core);
  weft__random(c->core, id, sizeof id);
  if ((err = weft__conn_session(c, id, true)) != 0) return err;
  if ((err = weft__contact_start(c, &addr)) != 0) {
    weft__undirty(c);
    weft__session_destroy(c->s);
    c->s = NULL;
    return err;
  }
  if (c->receiving) weft__session_rx_start(c->s);
  c->state = WEFT__CN_CONNECTING;
  c->connect_req = req;
  req->priv = c;
  req->reserved[0] = (uint64_t) (uintptr_t) cb;
  return 0;
}

int weft_connect_cancel(weft_connect_t *req) {
  weft__conn_t *c = req ? req->priv : NULL;
  if (!req) return UV_EINVAL;
  if (!c) return UV_EALREADY;
  if (weft__forked(c->core)) return WEFT_EFORK;
  if (c->state == WEFT__CN_ENDED) return 0; /* its callback is on the way */
  weft__conn_fail(c, UV_ECANCELED, "the connect was cancelled by its program");
  return 0;
}

void weft_ref(void *handle) {
  weft_conn_t *pub = handle;
  if (!pub || !pub->priv ||
      (pub->reserved[0] != WEFT__H_CONN && pub->reserved[0] != WEFT__H_LISTENER))
    return;
  weft__handle_t *h = pub->priv;
  if (h->ref || weft__forked(h->core)) return;
  h->ref = true;
  if (h->open && h->core->nref++ == 0) uv_ref((uv_handle_t *) &h->core->async);
}

void weft_unref(void *handle) {
  weft_conn_t *pub = handle;
  if (!pub || !pub->priv ||
      (pub->reserved[0] != WEFT__H_CONN && pub->reserved[0] != WEFT__H_LISTENER))
    return;
  weft__handle_t *h = pub->priv;
  if (!h->ref || weft__forked(h->core)) return;
  h->ref = false;
  if (h->open && --h->core->nref == 0 && !h->core->private_loop)
    uv_unref((uv_handle_t *) &h->core->async);
}

int weft_is_closing(const void *handle) {
  const weft_conn_t *pub = handle;
  if (!pub || !pub->priv ||
      (pub->reserved[0] != WEFT__H_CONN && pub->reserved[0] != WEFT__H_LISTENER))
    return 1;
  const weft__handle_t *h = pub->priv;
  return h->closing;
}
