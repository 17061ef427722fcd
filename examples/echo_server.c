/* SPDX-License-Identifier: Apache-2.0 */
/* echo_server.c - send every message back. The smallest complete Weft server.
 *
 *   echo_server [URL]          default: all addresses, port 7000
 *
 * It shows: listening, accepting, sending a received message on without a copy (weft_msg_retain),
 * slowing down a peer that does not read its echoes (weft_recv_stop), and an orderly end on SIGINT
 * and SIGTERM. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "weft.h"

/* Stop reading from a peer while this much of its own waits to go back, until half of it is gone.
 */
enum { QUEUED_MAX = 16 << 20 };

struct peer {
  weft_conn_t conn;
  weft_shutdown_t bye;
  int paused;
  LIST_ENTRY(peer) link;
};

/* One message on its way back. */
struct echo {
  weft_send_t req;
  weft_conn_t *conn;
  weft_msg_t *msg;
};

static weft_t weft;
static weft_listener_t listener;
static uv_signal_t signals[2];
static LIST_HEAD(, peer) peers = LIST_HEAD_INITIALIZER(peers);

static void on_peer_closed(weft_conn_t *conn) {
  struct peer *peer = conn->data;

  LIST_REMOVE(peer, link);
  free(peer);
}

static void drop(struct peer *peer) {
  if (!weft_is_closing(&peer->conn)) weft_conn_close(&peer->conn, on_peer_closed);
}

static void on_recv(weft_conn_t *conn, int status, weft_msg_t *msg);

static void on_echoed(weft_send_t *req, int status) {
  struct echo *echo = (struct echo *) req;
  struct peer *peer = echo->conn->data;

  weft_msg_release(echo->msg);
  free(echo);
  if (status == 0 && peer->paused && !weft_is_closing(&peer->conn) &&
      weft_conn_queued_bytes(&peer->conn) < QUEUED_MAX / 2) {
    peer->paused = 0;
    weft_recv_start(&peer->conn, NULL, on_recv);
  }
}

static int send_back(struct peer *peer, weft_msg_t *msg) {
  struct echo *echo = malloc(sizeof(*echo));
  uv_buf_t buf;
  int err;

  if (echo == NULL) return UV_ENOMEM;
  memset(echo, 0, sizeof(*echo));
  echo->conn = &peer->conn;
  echo->msg = weft_msg_retain(msg); /* keeps the bytes in place until on_echoed */
  if (echo->msg == NULL) {
    free(echo);
    return UV_ENOMEM;
  }
  buf.base = (char *) weft_msg_data(echo->msg);
  buf.len = weft_msg_size(echo->msg);
  err = weft_send(&echo->req, &peer->conn, &buf, 1, on_echoed);
  if (err != 0) {
    weft_msg_release(echo->msg);
    free(echo);
  }
  return err;
}

static void on_bye(weft_shutdown_t *req, int status) {
  struct peer *peer = req->data;

  if (status != UV_ECANCELED) drop(peer);
}

static void on_recv(weft_conn_t *conn, int status, weft_msg_t *msg) {
  struct peer *peer = conn->data;
  int err;

  if (status == UV_EOF) {
    /* The peer has said all it had to say; it still gets the echoes that are under way. */
    peer->bye.data = peer;
    if (weft_shutdown(&peer->bye, conn, on_bye) != 0) drop(peer);
    return;
  }
  if (status < 0) {
    fprintf(stderr, "connection lost: %s\n", weft_conn_error(conn));
    drop(peer);
    return;
  }
  err = send_back(peer, msg);
  if (err != 0) {
    fprintf(stderr, "echo of %zu bytes: %s\n", weft_msg_size(msg), weft_strerror(err));
    drop(peer);
  } else if (!peer->paused && weft_conn_queued_bytes(conn) > QUEUED_MAX) {
    peer->paused = 1;
    weft_recv_stop(conn);
  }
}

static void on_event(weft_conn_t *conn, const weft_event_t *ev) {
  (void) conn;
  if (ev->type == WEFT_EV_MIGRATED)
    printf("moved from %s to %s after %.0f ms: %s\n", ev->from, ev->to, (double) ev->gap_ns / 1e6,
           ev->detail);
}

static void on_peer(weft_listener_t *l, int status) {
  const weft_peer_t *who = weft_listener_peer(l);
  struct peer *peer;

  if (status != 0) {
    fprintf(stderr, "listening: %s\n", weft_strerror(status));
    return;
  }
  peer = calloc(1, sizeof(*peer));
  if (peer == NULL || weft_conn_init(&weft, &peer->conn) != 0) {
    free(peer);
    weft_reject(l, UV_ENOMEM, "out of memory");
    return;
  }
  peer->conn.data = peer;
  LIST_INSERT_HEAD(&peers, peer, link);

  if (who != NULL) printf("peer %s%s%s\n", who->address, *who->name != '\0' ? ", " : "", who->name);
  if (weft_accept(l, &peer->conn) != 0 || weft_conn_on_event(&peer->conn, on_event) != 0 ||
      weft_recv_start(&peer->conn, NULL, on_recv) != 0)
    drop(peer);
}

static void on_signal(uv_signal_t *handle, int signum) {
  struct peer *peer;

  (void) handle;
  (void) signum;
  LIST_FOREACH(peer, &peers, link)
  drop(peer);
  weft_listener_close(&listener, NULL);
  weft_close(&weft, NULL);
  uv_close((uv_handle_t *) &signals[0], NULL);
  uv_close((uv_handle_t *) &signals[1], NULL);
}

int main(int argc, char **argv) {
  const char *url = argc > 1 ? argv[1] : "weft://*:7000";
  char at[512];
  size_t len = sizeof(at);
  uv_loop_t loop;
  int err;

  if (argc > 2 || *url == '-') {
    fprintf(stderr, "Usage: echo_server [URL]\n");
    return 2;
  }
  setvbuf(stdout, NULL, _IOLBF, 0);
  if ((err = uv_loop_init(&loop)) != 0 || (err = weft_init(&loop, &weft, NULL)) != 0) {
    fprintf(stderr, "starting: %s\n", weft_strerror(err));
    return 1;
  }
  uv_signal_init(&loop, &signals[0]);
  uv_signal_init(&loop, &signals[1]);

  if ((err = weft_listener_init(&weft, &listener)) != 0 ||
      (err = weft_listen(&listener, url, 64, on_peer)) != 0 ||
      (err = weft_listener_addr(&listener, at, &len)) != 0) {
    char why[256] = "";
    weft_url_parse(url, NULL, NULL, why, sizeof(why)); /* says what is wrong with a bad URL */
    fprintf(stderr, "%s: %s%s%s\n", url, weft_strerror(err), *why != '\0' ? ": " : "", why);
    on_signal(NULL, 0);
  } else {
    printf("listening at %s\n", at);
    uv_signal_start(&signals[0], on_signal, SIGINT);
    uv_signal_start(&signals[1], on_signal, SIGTERM);
  }

  uv_run(&loop, UV_RUN_DEFAULT); /* until everything is closed */
  uv_loop_close(&loop);
  return err != 0;
}
