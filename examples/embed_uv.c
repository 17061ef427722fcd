/* SPDX-License-Identifier: Apache-2.0 */
/* embed_uv.c - Weft in a libuv program that exists already: a TCP service with a timer of its own
 * gets a second door, weft://, on the same loop and thread.
 *
 *   embed_uv TCP_PORT [URL]      default: TCP on 127.0.0.1, Weft on all addresses, port 7000
 *
 * The first part is the program as it was, the second is all that Weft adds to it. Nothing of the
 * first part changes: Weft takes no thread, no signal and no default loop away from it. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <uv.h>

#include "weft.h"

/* The service: both doors count here and answer with what they got. */
static struct { unsigned long tcp_clients, tcp_reads, weft_peers, weft_messages; } stats;

/* ---- The program as it was ---- */

struct client {
  uv_tcp_t tcp;
  uv_write_t write;
  char data[4096];
  LIST_ENTRY(client) link;
};

static LIST_HEAD(, client) clients = LIST_HEAD_INITIALIZER(clients);
static uv_loop_t loop;
static uv_tcp_t server;
static uv_timer_t ticker;
static uv_signal_t signals[2];

static void on_client_closed(uv_handle_t *handle) {
  struct client *client = handle->data;

  LIST_REMOVE(client, link);
  free(client);
}

static void hang_up(struct client *client) {
  if (!uv_is_closing((uv_handle_t *) &client->tcp))
    uv_close((uv_handle_t *) &client->tcp, on_client_closed);
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf);

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
  struct client *client = handle->data;

  (void) suggested;
  buf->base = client->data;
  buf->len = sizeof(client->data);
}

static void on_written(uv_write_t *req, int status) {
  struct client *client = req->data;

  if (status != 0)
    hang_up(client);
  else
    uv_read_start((uv_stream_t *) &client->tcp, on_alloc, on_read);
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf) {
  struct client *client = stream->data;
  uv_buf_t answer;

  if (nread == 0) return;
  if (nread > 0) {
    stats.tcp_reads++;
    answer = uv_buf_init(buf->base, (unsigned) nread);
    client->write.data = client;
    uv_read_stop(stream); /* one answer at a time, so one buffer is enough */
    if (uv_write(&client->write, stream, &answer, 1, on_written) == 0) return;
  }
  hang_up(client);
}

static void on_client(uv_stream_t *listening, int status) {
  struct client *client = status == 0 ? calloc(1, sizeof(*client)) : NULL;

  if (client == NULL || uv_tcp_init(&loop, &client->tcp) != 0) {
    free(client);
    return;
  }
  client->tcp.data = client;
  LIST_INSERT_HEAD(&clients, client, link);
  stats.tcp_clients++;
  if (uv_accept(listening, (uv_stream_t *) &client->tcp) != 0 ||
      uv_read_start((uv_stream_t *) &client->tcp, on_alloc, on_read) != 0)
    hang_up(client);
}

static void on_tick(uv_timer_t *timer) {
  (void) timer;
  printf("tcp: %lu clients, %lu reads; weft: %lu peers, %lu messages\n", stats.tcp_clients,
         stats.tcp_reads, stats.weft_peers, stats.weft_messages);
}

static int start_tcp(int port) {
  struct sockaddr_in at;
  int err;

  uv_ip4_addr("127.0.0.1", port, &at);
  if ((err = uv_tcp_bind(&server, (const struct sockaddr *) &at, 0)) != 0) return err;
  return uv_listen((uv_stream_t *) &server, 64, on_client);
}

/* ---- What Weft adds ---- */

struct peer {
  weft_conn_t conn;
  weft_shutdown_t bye;
  LIST_ENTRY(peer) link;
};

static LIST_HEAD(, peer) peers = LIST_HEAD_INITIALIZER(peers);
static weft_t weft;
static weft_listener_t listener;

static void on_peer_closed(weft_conn_t *conn) {
  struct peer *peer = conn->data;

  LIST_REMOVE(peer, link);
  free(peer);
}

static void drop(struct peer *peer) {
  if (!weft_is_closing(&peer->conn)) weft_conn_close(&peer->conn, on_peer_closed);
}

static void on_bye(weft_shutdown_t *req, int status) {
  if (status != UV_ECANCELED) drop(req->data);
}

static void on_recv(weft_conn_t *conn, int status, weft_msg_t *msg) {
  struct peer *peer = conn->data;
  uv_buf_t answer;

  if (status == UV_EOF) {
    peer->bye.data = peer;
    if (weft_shutdown(&peer->bye, conn, on_bye) != 0) drop(peer);
    return;
  }
  if (status < 0) {
    drop(peer);
    return;
  }
  stats.weft_messages++;
  /* weft_try_send copies, so there is no request to keep. A peer that does not read its answers
   * gets UV_EAGAIN here, and this service then lets it go; echo_server.c shows the patient way. */
  answer.base = (char *) weft_msg_data(msg);
  answer.len = weft_msg_size(msg);
  if (weft_try_send(conn, &answer, 1) != 0) drop(peer);
}

static void on_peer(weft_listener_t *l, int status) {
  struct peer *peer = status == 0 ? calloc(1, sizeof(*peer)) : NULL;

  if (peer == NULL || weft_conn_init(&weft, &peer->conn) != 0) {
    free(peer);
    return;
  }
  peer->conn.data = peer;
  LIST_INSERT_HEAD(&peers, peer, link);
  stats.weft_peers++;
  if (weft_accept(l, &peer->conn) != 0 || weft_recv_start(&peer->conn, NULL, on_recv) != 0)
    drop(peer);
}

static int start_weft(const char *url) {
  char at[512];
  size_t len = sizeof(at);
  int err;

  if ((err = weft_listener_init(&weft, &listener)) == 0 &&
      (err = weft_listen(&listener, url, 64, on_peer)) == 0 &&
      (err = weft_listener_addr(&listener, at, &len)) == 0)
    printf("listening at %s\n", at);
  return err;
}

/* ---- Start and end of both ---- */

static void stop(void) {
  struct client *client;
  struct peer *peer;

  LIST_FOREACH(client, &clients, link)
  hang_up(client);
  uv_close((uv_handle_t *) &server, NULL);
  uv_close((uv_handle_t *) &ticker, NULL);
  uv_close((uv_handle_t *) &signals[0], NULL);
  uv_close((uv_handle_t *) &signals[1], NULL);

  LIST_FOREACH(peer, &peers, link)
  drop(peer);
  weft_close(&weft, NULL); /* closes the listener too */
}

static void on_signal(uv_signal_t *handle, int signum) {
  (void) handle;
  (void) signum;
  on_tick(NULL);
  stop();
}

int main(int argc, char **argv) {
  int err, port = argc > 1 ? atoi(argv[1]) : 0;

  if (argc < 2 || argc > 3 || port <= 0 || port > 65535) {
    fprintf(stderr, "Usage: embed_uv TCP_PORT [URL]\n");
    return 2;
  }
  setvbuf(stdout, NULL, _IOLBF, 0);
  if ((err = uv_loop_init(&loop)) != 0 || (err = weft_init(&loop, &weft, NULL)) != 0) {
    fprintf(stderr, "starting: %s\n", weft_strerror(err));
    return 1;
  }
  uv_tcp_init(&loop, &server);
  uv_timer_init(&loop, &ticker);
  uv_signal_init(&loop, &signals[0]);
  uv_signal_init(&loop, &signals[1]);

  if ((err = start_tcp(port)) != 0 ||
      (err = start_weft(argc > 2 ? argv[2] : "weft://*:7000")) != 0) {
    fprintf(stderr, "listening: %s\n", weft_strerror(err));
    stop();
  } else {
    uv_timer_start(&ticker, on_tick, 1000, 1000);
    uv_signal_start(&signals[0], on_signal, SIGINT);
    uv_signal_start(&signals[1], on_signal, SIGTERM);
  }

  uv_run(&loop, UV_RUN_DEFAULT);
  uv_loop_close(&loop);
  return err != 0;
}
