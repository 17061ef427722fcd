/* SPDX-License-Identifier: Apache-2.0 */
/* weft_info_conn.c - one connection at a time, waited for: what --check and --explain have in
 * common.
 *
 * Design notes
 *   - Nothing is delivered to the server's program but the end of the connection, unless --echo
 *     asks for it. The end is a part of the stream that the peer's session acknowledges like a
 *     message, so how long that takes is a true round trip of the session.
 *   - The end is orderly: FIN, the peer's own end (where it comes soon), then close. Servers log a
 *     connection that is torn down, and a check should not fill logs. */
#include <stdio.h>
#include <string.h>

#include "weft_info.h"

enum { ECHO_BYTES = 64, ECHOES = 8, ECHO_MS = 1000, EOF_MS = 300 };

static const char ping[ECHO_BYTES] = "weft_info --check --echo: send this message back, please.";

/* ---- The loop ---- */

int info_net_open(info_net_t *net, const weft_opts_t *opts) {
  int err = uv_loop_init(&net->loop);

  if (err == 0 && (err = weft_init(&net->loop, &net->weft, opts)) != 0) uv_loop_close(&net->loop);
  if (err != 0) {
    fprintf(stderr, "weft_info: starting Weft: %s (%s)\n", weft_strerror(err), weft_err_name(err));
    return err;
  }
  uv_timer_init(&net->loop, &net->timer);
  return 0;
}

void info_net_close(info_net_t *net) {
  uv_close((uv_handle_t *) &net->timer, NULL);
  weft_close(&net->weft, NULL);
  uv_run(&net->loop, UV_RUN_DEFAULT);
  uv_loop_close(&net->loop);
}

static void on_time(uv_timer_t *t) {
  *(int *) t->data = 1;
}

void info_net_run(info_net_t *net, const int *flag, unsigned ms) {
  static const int never;
  int late = 0;

  if (flag == NULL) flag = &never;
  uv_update_time(&net->loop);
  net->timer.data = &late;
  uv_timer_start(&net->timer, on_time, ms, 0);
  while (*flag == 0 && !late) uv_run(&net->loop, UV_RUN_ONCE);
  uv_timer_stop(&net->timer);
}

/* ---- The connection ---- */

static void on_connect(weft_connect_t *req, int status) {
  info_conn_t *c = req->data;
  c->connect_ns = uv_hrtime() - c->began_ns;
  c->status = status;
  c->connected = 1;
}

static void on_event(weft_conn_t *conn, const weft_event_t *ev) {
  info_conn_t *c = conn->data;
  if (ev->type == WEFT_EV_NEED_MISSED) snprintf(c->missed, sizeof(c->missed), "%s", ev->detail);
}

static void on_recv(weft_conn_t *conn, int status, weft_msg_t *msg) {
  info_conn_t *c = conn->data;
  if (status != 0)
    c->ended = c->echoed = 1;
  else if (weft_msg_size(msg) == ECHO_BYTES && memcmp(weft_msg_data(msg), ping, ECHO_BYTES) == 0)
    c->echoed = 1;
}

int info_dial(info_net_t *net, info_conn_t *c, const char *url, const weft_qos_t *qos) {
  int err;

  memset(c, 0, sizeof(*c));
  c->began_ns = uv_hrtime();
  c->req.data = c;
  err = weft_conn_init(&net->weft, &c->handle);
  if (err != 0) {
    c->closed = 1;
    return c->status = err;
  }
  c->handle.data = c;
  weft_conn_on_event(&c->handle, on_event);
  err = weft_connect(&c->req, &c->handle, url, qos, on_connect);
  if (err != 0) return c->status = err;
  while (!c->connected) /* ends by itself, see connect_timeout_ms */
    uv_run(&net->loop, UV_RUN_ONCE);
  return c->status;
}

static void on_pinged(weft_send_t *req, int status) {
  info_conn_t *c = req->data;
  c->ping_status = status;
  c->pinged = 1;
}

/* One message there and back: its round trip, 0 when it does not come. */
static uint64_t one_echo(info_net_t *net, info_conn_t *c, int *err) {
  uv_buf_t buf = uv_buf_init((char *) ping, ECHO_BYTES);
  uint64_t began = uv_hrtime(), rtt;

  c->ping.data = c;
  c->pinged = c->echoed = 0;
  *err = weft_send(&c->ping, &c->handle, &buf, 1, on_pinged);
  if (*err != 0) return 0;
  info_net_run(net, &c->echoed, ECHO_MS); /* also set by the peer's end */
  rtt = uv_hrtime() - began;
  if (c->echoed && !c->ended && !c->pinged)
    info_net_run(net, &c->pinged, ECHO_MS); /* the request is used again */
  return c->echoed && !c->ended && c->pinged ? rtt : 0;
}

uint64_t info_echo(info_net_t *net, info_conn_t *c, char *why, size_t len) {
  uint64_t rtt, best = 0;
  int i, err = weft_recv_start(&c->handle, NULL, on_recv);

  for (i = 0; i < ECHOES && err == 0;
       i++) { /* the first ones warm up; the best is the path's own */
    rtt = one_echo(net, c, &err);
    if (rtt == 0 && err == 0) {
      if (c->ended)
        snprintf(why, len, "the server ended the connection instead of sending the message back");
      else
        snprintf(why, len,
                 "the server %s the message and did not send it back within %d ms: --echo "
                 "is for weft_perf --server and the like",
                 c->pinged && c->ping_status == 0 ? "has" : "did not acknowledge", ECHO_MS);
      return 0;
    }
    if (best == 0 || rtt < best) best = rtt;
  }
  if (err != 0) snprintf(why, len, "sending: %s (%s)", weft_strerror(err), weft_err_name(err));
  return err == 0 ? best : 0;
}

static void on_shut(weft_shutdown_t *req, int status) {
  info_conn_t *c = req->data;
  c->shut_status = status;
  c->shut = 1;
}

static void on_closed(weft_conn_t *conn) {
  info_conn_t *c = conn->data;
  c->closed = 1;
}

uint64_t info_hang_up(info_net_t *net, info_conn_t *c) {
  uint64_t began = uv_hrtime(), rtt = 0;

  if (c->status == 0 && !c->closed) {
    weft_recv_start(&c->handle, NULL, on_recv); /* UV_EALREADY after an echo */
    c->bye.data = c;
    if (weft_shutdown(&c->bye, &c->handle, on_shut) == 0) {
      while (!c->shut) /* ends by itself, see shutdown_timeout_ms */
        uv_run(&net->loop, UV_RUN_ONCE);
      if (c->shut_status == 0) rtt = uv_hrtime() - began;
      if (!c->ended) info_net_run(net, &c->ended, EOF_MS);
    }
  }
  if (!c->closed) weft_conn_close(&c->handle, on_closed);
  while (!c->closed) uv_run(&net->loop, UV_RUN_ONCE);
  return rtt;
}

/* ---- Needs ---- */

int info_needs(const info_args_t *args, weft_addr_t *addr, weft_qos_t *qos) {
  char err[300];
  unsigned i;

  if (weft_url_parse(args->url, addr, qos, err, sizeof(err)) != 0) {
    fprintf(stderr, "weft_info: %s\n", err);
    return EXIT_USAGE;
  }
  for (i = 0; i < args->needs; i++)
    if (weft_qos_set(qos, args->need[i].key, args->need[i].value) != 0) {
      fprintf(stderr, "weft_info: --%s: bad value '%s'; weft(7) says what it takes\n",
              args->need[i].key, args->need[i].value);
      return EXIT_USAGE;
    }
  return 0;
}
