/* SPDX-License-Identifier: Apache-2.0 */
/* weft_perf_client.c - measures over one connection: round trips, one-way rate, bandwidth.
 *
 * Design notes
 * - One measurement at a time: `run` holds it, its callbacks drive it, finish() ends uv_run.
 * - A stream is over when the server's report, sent behind the last message, has come back: what is
 *   counted was delivered. The count and a sum over all messages must agree.
 * - The clock is read once per message in ping-pong, as the floors do, and once per 64 messages in
 *   a stream. */
#include "weft_perf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GRACE_MS 15000 /* how long after its planned end a measurement may take to finish */

typedef struct slot_s {
  weft_send_t req;
  perf_client_t *client;
  uv_buf_t buf;
  int busy;
} slot_t;

typedef enum { IDLE, CONNECTING, PINGPONG, STREAM, ASKING } run_kind;

struct perf_client_s {
  perf_client_opts_t opts;
  uv_loop_t loop;
  weft_t weft;
  weft_conn_t conn;
  weft_connect_t connect_req;
  uv_timer_t limit, tick;
  char error[512];

  run_kind run;
  int failed; /* why the measurement ended early */
  const char *what;
  uint64_t start, span, mark;
  size_t size;
  uint64_t count, check;
  perf_hist_t *rtt;
  slot_t *slot;
  unsigned slots, next, flying;
  uv_buf_t mem;
  char *small; /* message of a stream or ping-pong of up to PERF_TRY_MAX bytes */

  weft_send_t ctl_req;
  perf_ctl_t ctl, reply;
  int ctl_flying, replied;
  int connected;
};

static int set_error(perf_client_t *c, int rc, const char *what) {
  const char *why = c->conn.priv ? weft_conn_error(&c->conn) : "";
  snprintf(c->error, sizeof(c->error), "%s: %s (%s)", what, why && *why ? why : weft_strerror(rc),
           weft_err_name(rc));
  return rc;
}

static void finish(perf_client_t *c, int rc, const char *what) {
  if (c->run == IDLE) return;
  if (rc && !c->failed) c->failed = set_error(c, rc, what);
  c->run = IDLE;
  uv_stop(&c->loop);
}

static void on_limit(uv_timer_t *t) {
  finish(t->data, UV_ETIMEDOUT, "the measurement did not end");
}

static void on_tick(uv_timer_t *t) {
  perf_client_t *c = t->data;
  double share = c->span ? (double) (perf_now() - c->start) / (double) c->span : 0;
  c->opts.progress(c->what, share > 1 ? 1 : share, c->opts.arg);
}

/* Run the loop until the measurement is over. */
static int run(perf_client_t *c, run_kind kind, const char *what, double seconds) {
  c->run = kind;
  c->failed = 0;
  c->what = what;
  c->span = (uint64_t) (seconds * 1e9);
  uv_update_time(&c->loop);
  uv_timer_start(&c->limit, on_limit, (uint64_t) (seconds * 1e3) + GRACE_MS, 0);
  if (c->opts.progress && seconds > 0.5) uv_timer_start(&c->tick, on_tick, 0, 250);
  while (c->run != IDLE)
    if (uv_run(&c->loop, UV_RUN_DEFAULT) == 0 && c->run != IDLE) finish(c, UV_ENOTCONN, what);
  uv_timer_stop(&c->limit);
  uv_timer_stop(&c->tick);
  return c->failed;
}

/* ---- Sending ---- */

static void stream_fill(perf_client_t *c);

static void on_sent(weft_send_t *req, int status) {
  slot_t *s = req->data;
  perf_client_t *c = s->client;
  s->busy = 0;
  c->flying--;
  if (status < 0)
    finish(c, status, "weft_send");
  else if (c->run == STREAM)
    stream_fill(c);
}

static int send_slot(perf_client_t *c) {
  slot_t *s = &c->slot[c->next];
  if (s->busy) return UV_EAGAIN;
  s->req.data = s;
  s->buf.len = c->size;
  int rc = weft_send(&s->req, &c->conn, &s->buf, 1, on_sent);
  if (rc == 0) {
    s->busy = 1;
    c->flying++;
    c->next = (c->next + 1) % c->slots;
  }
  return rc;
}

/* `n` slots of `size` bytes each, from memory the rails know. */
static int slots_open(perf_client_t *c, unsigned n, size_t size) {
  size_t step = (size + 4095) & ~(size_t) 4095;
  int rc = weft_mem_alloc(&c->weft, step * n, &c->mem);
  if (rc) return set_error(c, rc, "weft_mem_alloc");
  c->slot = calloc(n, sizeof(*c->slot));
  if (!c->slot) return set_error(c, UV_ENOMEM, "slots");
  c->slots = n;
  c->next = c->flying = 0;
  for (unsigned i = 0; i < n; i++) {
    c->slot[i].client = c;
    c->slot[i].buf.base = c->mem.base + i * step;
    for (size_t at = 0; at < step; at += 8)
      memcpy(c->slot[i].buf.base + at, &(uint64_t){at ^ (uint64_t) i << 48}, 8);
  }
  return 0;
}

static int none_flying(perf_client_t *c, void *arg) {
  (void) arg;
  return c->flying == 0;
}

static void slots_close(perf_client_t *c) {
  if (c->flying) perf_client_run(c, GRACE_MS, none_flying, NULL);
  if (c->flying) return; /* still the library's: perf_client_close frees it */
  free(c->slot);
  c->slot = NULL;
  if (c->mem.base) weft_mem_free(&c->weft, &c->mem);
  c->mem = uv_buf_init(NULL, 0);
}

/* ---- Questions to the server ---- */

static void on_ctl_sent(weft_send_t *req, int status) {
  perf_client_t *c = req->data;
  c->ctl_flying = 0;
  if (status < 0)
    finish(c, status, "weft_send");
  else if (c->run == ASKING && c->replied)
    finish(c, 0, "");
}

/* Over when the reply is here and the question's buffer is ours again, in whatever order. */
static int ctl_send(perf_client_t *c, uint32_t op) {
  c->ctl.magic = PERF_MAGIC;
  c->ctl.op = op;
  c->replied = 0;
  c->ctl_req.data = c;
  uv_buf_t buf = uv_buf_init((char *) &c->ctl, sizeof(c->ctl));
  int rc = weft_send(&c->ctl_req, &c->conn, &buf, 1, on_ctl_sent);
  c->ctl_flying = rc == 0;
  return rc;
}

static int ask(perf_client_t *c, uint32_t op) {
  int rc = ctl_send(c, op);
  return rc ? set_error(c, rc, "weft_send") : run(c, ASKING, "asking the server", 0);
}

/* ECHO and SINK have no answer: order does. */
static int set_mode(perf_client_t *c, uint32_t op) {
  perf_ctl_t ctl = {.magic = PERF_MAGIC, .op = op};
  uv_buf_t buf = uv_buf_init((char *) &ctl, sizeof(ctl));
  int rc = weft_try_send(&c->conn, &buf, 1);
  return rc ? set_error(c, rc, "weft_try_send") : 0;
}

/* ---- Measurements ---- */

static int pingpong_next(perf_client_t *c) {
  if (c->slot) return send_slot(c);
  uv_buf_t buf = {.base = c->small, .len = c->size};
  return weft_try_send(&c->conn, &buf, 1);
}

static void pingpong_recv(perf_client_t *c, size_t size) {
  uint64_t now = perf_now();
  if (size != c->size) {
    finish(c, UV_EIO, "an echo of another size");
    return;
  }
  c->count++;
  if (now - c->start > c->span / 20) perf_hist_add(c->rtt, now - c->mark);
  if (now - c->start > c->span) {
    finish(c, 0, "");
    return;
  }
  c->mark = now;
  int rc = pingpong_next(c);
  if (rc) finish(c, rc, "sending");
}

int perf_client_pingpong(perf_client_t *c, size_t size, double seconds, perf_hist_t *rtt) {
  int rc = set_mode(c, PERF_ECHO);
  if (rc) return rc;
  c->size = size;
  c->rtt = rtt;
  c->count = 0;
  c->small = size <= PERF_TRY_MAX ? calloc(1, size + 1) : NULL;
  if (!c->small && (rc = slots_open(c, 4, size))) /* an echo may come before its acknowledgement */
    return rc;
  c->start = c->mark = perf_now();
  rc = pingpong_next(c);
  rc = rc ? set_error(c, rc, "sending") : run(c, PINGPONG, "ping-pong", seconds);
  slots_close(c);
  free(c->small);
  c->small = NULL;
  return rc;
}

static void stream_fill(perf_client_t *c) {
  int rc = 0;
  while (rc == 0) {
    if (c->count && (c->count & (c->slot ? 0 : 63)) == 0 && perf_now() - c->start >= c->span) {
      c->run = ASKING;
      if ((rc = ctl_send(c, PERF_REPORT))) finish(c, rc, "sending");
      return;
    }
    uv_buf_t buf = {.base = c->small, .len = c->size};
    if (c->slot) {
      if (c->slot[c->next].busy) return;
      buf.base = c->slot[c->next].buf.base;
    }
    memcpy(buf.base, &c->count, 8);
    rc = c->slot ? send_slot(c) : weft_try_send(&c->conn, &buf, 1);
    if (rc == 0) {
      c->check += perf_word(buf.base, c->size);
      c->count++;
    }
  }
  if (rc != UV_EAGAIN) finish(c, rc, "sending");
}

int perf_client_stream(perf_client_t *c, size_t size, unsigned window, double seconds,
                       perf_rate_t *out) {
  int rc = size < 16 || (window == 0 && size > PERF_TRY_MAX) ? set_error(c, UV_EINVAL, "size") : 0;
  if (rc || (rc = set_mode(c, PERF_SINK))) return rc;
  c->size = size;
  c->count = c->check = 0;
  c->small = window ? NULL : calloc(1, size);
  if (window && (rc = slots_open(c, window, size))) return rc;
  c->start = perf_now();
  c->span = (uint64_t) (seconds * 1e9);
  c->run = STREAM;
  c->failed = 0;
  stream_fill(c);
  rc = c->run == IDLE ? c->failed : run(c, c->run, "one way", seconds);
  out->ns = perf_now() - c->start;
  out->messages = c->count;
  out->bytes = c->count * size;
  if (rc == 0 && (c->reply.messages != c->count || c->reply.check != c->check)) {
    snprintf(c->error, sizeof(c->error), "%llu messages sent, %llu delivered, contents %s",
             (unsigned long long) c->count, (unsigned long long) c->reply.messages,
             c->reply.check == c->check ? "equal" : "differ");
    rc = UV_EIO;
  }
  slots_close(c);
  free(c->small);
  c->small = NULL;
  return rc;
}

int perf_client_report(perf_client_t *c, perf_ctl_t *out) {
  int rc = ask(c, PERF_REPORT);
  *out = c->reply;
  return rc;
}

int perf_client_floor(perf_client_t *c, perf_floor_spec_t *spec) {
  c->ctl.floor = *spec;
  int rc = ask(c, PERF_FLOOR);
  if (!rc && c->reply.rc == UV_E2BIG) {
    snprintf(c->error, sizeof(c->error),
             "the server lends a floor %u MiB (size times window) and %d s, this one asks for more",
             PERF_FLOOR_BYTES >> 20, PERF_FLOOR_SECONDS);
    rc = UV_E2BIG;
  } else if (!rc && c->reply.rc == UV_EBUSY) {
    rc = set_error(c, UV_EBUSY, "the server prepares another floor");
  } else if (!rc && c->reply.rc) {
    rc = set_error(c, UV_EIO, "the server cannot run this floor");
  }
  *spec = c->reply.floor; /* its host is the server's end of the path in use */
  return rc;
}

/* ---- Opening and closing ---- */

static void on_recv(weft_conn_t *conn, int status, weft_msg_t *msg) {
  perf_client_t *c = conn->data;
  if (status < 0) {
    c->connected = 0;
    finish(c, status, "the connection ended");
    return;
  }
  size_t size = weft_msg_size(msg);
  if (c->run == PINGPONG) {
    pingpong_recv(c, size);
    return;
  }
  const perf_ctl_t *ctl = weft_msg_data(msg);
  if (c->run == ASKING && size == sizeof(*ctl) && ctl->magic == PERF_MAGIC) {
    c->reply = *ctl;
    c->replied = 1;
    if (!c->ctl_flying) finish(c, 0, "");
  }
}

static void on_connected(weft_connect_t *req, int status) {
  perf_client_t *c = req->data;
  c->connected = status == 0;
  finish(c, status, "connecting");
}

static void on_shutdown(weft_shutdown_t *req, int status) {
  (void) status;
  finish(req->data, 0, "");
}

static void on_event(weft_conn_t *conn, const weft_event_t *ev) {
  perf_client_t *c = conn->data;
  if (ev->type == WEFT_EV_WRITABLE) {
    if (c->run == STREAM && !c->slot) stream_fill(c);
  } else if (c->opts.event) {
    c->opts.event(ev, c->opts.arg);
  }
}

int perf_client_open(perf_client_t **out, const perf_client_opts_t *opts) {
  perf_client_t *c = calloc(1, sizeof(*c));
  *out = c;
  if (!c) return UV_ENOMEM;
  c->opts = *opts;
  int rc = uv_loop_init(&c->loop);
  if (rc || (rc = weft_init(&c->loop, &c->weft, opts->opts))) {
    c->weft.priv = NULL;
    return set_error(c, rc, "weft_init");
  }
  uv_timer_init(&c->loop, &c->limit);
  uv_timer_init(&c->loop, &c->tick);
  c->limit.data = c->tick.data = c->connect_req.data = c;
  if ((rc = weft_conn_init(&c->weft, &c->conn))) return set_error(c, rc, "weft_conn_init");
  c->conn.data = c;
  weft_conn_on_event(&c->conn, on_event);
  rc = weft_connect(&c->connect_req, &c->conn, opts->url, opts->qos, on_connected);
  if (rc == 0)
    rc = run(c, CONNECTING, "connecting", 0);
  else
    set_error(c, rc, "connecting");
  if (rc == 0 && (rc = weft_recv_start(&c->conn, NULL, on_recv)))
    set_error(c, rc, "weft_recv_start");
  return rc;
}

const char *perf_client_error(const perf_client_t *c) {
  return c ? c->error : "out of memory";
}

weft_conn_t *perf_client_conn(perf_client_t *c) {
  return &c->conn;
}

weft_t *perf_client_weft(perf_client_t *c) {
  return &c->weft;
}

static void on_run_end(uv_timer_t *t) {
  uv_stop(t->loop);
}

void perf_client_run(perf_client_t *c, unsigned ms, int (*until)(perf_client_t *c, void *arg),
                     void *arg) {
  uint64_t end = perf_now() + ms * 1000000ull;
  for (uint64_t now; (now = perf_now()) < end && !(until && until(c, arg));) {
    uint64_t left = (end - now) / 1000000 + 1;
    uv_update_time(&c->loop);
    uv_timer_start(&c->limit, on_run_end, until && left > 2 ? 2 : left, 0);
    uv_run(&c->loop, UV_RUN_DEFAULT);
  }
  uv_timer_stop(&c->limit);
}

static void on_weft_closed(weft_t *w) {
  perf_client_t *c = w->data;
  uv_close((uv_handle_t *) &c->limit, NULL);
  uv_close((uv_handle_t *) &c->tick, NULL);
}

void perf_client_close(perf_client_t *c) {
  if (!c) return;
  if (c->weft.priv) {
    weft_shutdown_t bye = {.data = c};
    c->weft.data = c;
    if (c->connected && weft_shutdown(&bye, &c->conn, on_shutdown) == 0)
      run(c, ASKING, "closing", 0);
    if (c->mem.base && c->flying == 0) slots_close(c);
    weft_close(&c->weft, on_weft_closed);
    uv_run(&c->loop, UV_RUN_DEFAULT);
  }
  uv_loop_close(&c->loop);
  free(c->slot);
  free(c);
}
