/* SPDX-License-Identifier: Apache-2.0 */
/* request_reply.c - requests with replies in any order, each with its own time limit.
 *
 *   request_reply serve [URL]                          default: all addresses, port 7000
 *   request_reply ask URL LIMIT SECONDS[:LIMIT]...     ask the server to take so long, all at once
 *
 * A message is a number of 8 bytes, little-endian, and a body; a reply has the number of its
 * request. The server of this example waits for as many seconds as the body says and answers with
 * it. python/request_reply.py speaks the same.
 *
 * It shows: requests found again by number, a time limit that leaves the connection as it was, a
 * reply that comes after its limit and is dropped, and that every request which waits hears of it
 * when the connection is lost. */
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weft.h"

enum { BODY_MAX = 32, WAITING_MAX = 1000 };

static weft_t weft;
static weft_listener_t listener;

/* ---- The asking side: what a program would keep ---- */

enum state { WAITING, REPLIED, TOO_LATE };

struct request {
  weft_send_t sending;
  uv_timer_t limit;
  enum state state;
  unsigned limit_ms;
  uint64_t number; /* as it travels */
  char body[BODY_MAX];
};

static weft_conn_t conn;
static weft_connect_t connecting;
static weft_shutdown_t bye;
static struct request
    *requests; /* request n is requests[n - 1]: a real program has a hash table here */
static unsigned count, unanswered;
static const char *trouble; /* why the connection ended before its time */

static void on_bye(weft_shutdown_t *req, int status) {
  (void) req;
  (void) status;
  if (!weft_is_closing(&conn)) weft_conn_close(&conn, NULL);
}

/* One request less to wait for. Its memory stays until the loop has ended: the limit and `sending`
 * are in it. */
static void settle(struct request *r, enum state state) {
  r->state = state;
  uv_close((uv_handle_t *) &r->limit, NULL);
  if (--unanswered == 0 && trouble == NULL && weft_shutdown(&bye, &conn, on_bye) != 0)
    weft_conn_close(&conn, NULL);
}

static void on_limit(uv_timer_t *timer) {
  struct request *r = timer->data;

  printf("%s: no reply within %g s\n", r->body, r->limit_ms / 1e3);
  settle(r, TOO_LATE); /* the connection does not mind: the reply is dropped when it comes */
}

/* The connection is lost: whoever waits must hear of it, and nobody twice. */
static void lose(const char *why) {
  unsigned i;

  trouble = why;
  for (i = 0; i < count; i++)
    if (requests[i].state == WAITING) {
      printf("%s: lost: %s\n", requests[i].body, why);
      settle(&requests[i], TOO_LATE);
    }
  if (!weft_is_closing(&conn)) weft_conn_close(&conn, NULL);
}

static void on_reply(weft_conn_t *c, int status, weft_msg_t *msg) {
  uint64_t number;
  struct request *r;
  size_t size;

  if (status == UV_EOF && unanswered == 0) return; /* the server's end of our shutdown */
  if (status < 0) {
    lose(status == UV_EOF ? "the server has ended" : weft_conn_error(c));
    return;
  }
  size = weft_msg_size(msg);
  if (size < sizeof(number)) {
    lose("the server sends nonsense");
    return;
  }
  memcpy(&number, weft_msg_data(msg), sizeof(number));
  number = le64toh(number);
  r = number >= 1 && number <= count ? &requests[number - 1] : NULL;
  if (r == NULL || r->state == REPLIED) {
    lose("the server answers what nobody has asked");
    return;
  }
  if (r->state == TOO_LATE) {
    printf("%s: a reply that is too late, dropped\n", r->body);
    return;
  }
  printf("%s: replied %.*s\n", r->body, (int) (size - sizeof(number)),
         (const char *) weft_msg_data(msg) + sizeof(number));
  settle(r, REPLIED);
}

static void on_sent(weft_send_t *req, int status) {
  (void) req; /* 0: the server's session has it, which is no reply; else on_reply hears why */
  (void) status;
}

static void on_connected(weft_connect_t *req, int status) {
  unsigned i;

  (void) req;
  if (status == 0) status = weft_recv_start(&conn, NULL, on_reply);
  if (status != 0) {
    lose(*weft_conn_error(&conn) != '\0' ? weft_conn_error(&conn) : weft_strerror(status));
    return;
  }
  for (i = 0; i < count && trouble == NULL; i++) {
    struct request *r = &requests[i];
    uv_buf_t bufs[2] = {uv_buf_init((char *) &r->number, sizeof(r->number)),
                        uv_buf_init(r->body, (unsigned) strlen(r->body))};
    int err = weft_send(&r->sending, &conn, bufs, 2, on_sent);

    if (err != 0)
      lose(weft_strerror(err));
    else
      uv_timer_start(&r->limit, on_limit, r->limit_ms, 0);
  }
}

static int ask(uv_loop_t *loop, const char *url, const char *limit, char **what, unsigned n) {
  unsigned i, failed = 0;
  int err;

  requests = calloc(n, sizeof(*requests));
  if (requests == NULL || weft_conn_init(&weft, &conn) != 0) return 1;
  for (i = 0; i < n; i++) {
    struct request *r = &requests[i];
    const char *colon = strchr(what[i], ':');

    r->number = htole64(i + 1);
    r->limit_ms = (unsigned) (strtod(colon != NULL ? colon + 1 : limit, NULL) * 1e3);
    r->limit.data = r;
    snprintf(r->body, sizeof(r->body), "%.*s", (int) strcspn(what[i], ":"), what[i]);
    uv_timer_init(loop, &r->limit);
  }
  count = unanswered = n;
  err = weft_connect(&connecting, &conn, url, NULL, on_connected);
  if (err != 0) lose(weft_strerror(err));
  uv_run(loop, UV_RUN_DEFAULT);
  for (i = 0; i < n; i++) failed += requests[i].state != REPLIED;
  if (trouble != NULL) fprintf(stderr, "%s: %u of %u requests have no reply\n", url, failed, n);
  free(requests);
  return trouble != NULL;
}

/* ---- The serving side ---- */

struct peer {
  weft_conn_t conn;
  weft_shutdown_t bye;
  unsigned jobs; /* replies that are not sent yet: each of them points here */
  int paused, ended, closed;
};

struct job {
  weft_send_t sending;
  uv_timer_t timer;
  struct peer *peer;
  size_t size;
  char reply[sizeof(uint64_t) + BODY_MAX];
};

static void on_request(weft_conn_t *c, int status, weft_msg_t *msg);

static void free_unused(struct peer *peer) {
  if (peer->closed && peer->jobs == 0) free(peer);
}

static void on_peer_closed(weft_conn_t *c) {
  struct peer *peer = c->data;

  peer->closed = 1;
  free_unused(peer);
}

static void drop(struct peer *peer) {
  if (!peer->closed && !weft_is_closing(&peer->conn)) weft_conn_close(&peer->conn, on_peer_closed);
}

static void on_peer_bye(weft_shutdown_t *req, int status) {
  if (status != UV_ECANCELED) drop(req->data);
}

static void say_bye(struct peer *peer) {
  peer->bye.data = peer;
  if (weft_shutdown(&peer->bye, &peer->conn, on_peer_bye) != 0) drop(peer);
}

static void job_done(struct job *job) {
  struct peer *peer = job->peer;

  free(job);
  peer->jobs--;
  if (!peer->closed && !weft_is_closing(&peer->conn)) {
    if (peer->ended && peer->jobs == 0)
      say_bye(peer);
    else if (peer->paused && peer->jobs < WAITING_MAX / 2) {
      peer->paused = 0;
      weft_recv_start(&peer->conn, NULL, on_request);
    }
  }
  free_unused(peer);
}

static void on_replied(weft_send_t *req, int status) {
  (void) status;
  job_done(req->data);
}

static void on_timer_closed(uv_handle_t *timer) {
  struct job *job = timer->data;
  uv_buf_t buf = uv_buf_init(job->reply, (unsigned) job->size);

  job->sending.data = job;
  if (job->peer->closed || weft_is_closing(&job->peer->conn) ||
      weft_send(&job->sending, &job->peer->conn, &buf, 1, on_replied) != 0)
    job_done(job); /* nobody waits for this reply any more */
}

static void on_job_ready(uv_timer_t *timer) {
  uv_close((uv_handle_t *) timer, on_timer_closed);
}

static void on_request(weft_conn_t *c, int status, weft_msg_t *msg) {
  struct peer *peer = c->data;
  size_t size = status == 0 ? weft_msg_size(msg) : 0;
  char seconds[BODY_MAX + 1] = "";
  struct job *job;

  if (status == UV_EOF) { /* no more requests; those that came still get their replies */
    peer->ended = 1;
    if (peer->jobs == 0) say_bye(peer);
    return;
  }
  if (status < 0 || size <= sizeof(uint64_t) || size > sizeof(job->reply) ||
      (job = calloc(1, sizeof(*job))) == NULL) {
    fprintf(stderr, "dropped: %s\n", status < 0 ? weft_conn_error(c) : "not a request");
    drop(peer);
    return;
  }
  memcpy(job->reply, weft_msg_data(msg), size);
  memcpy(seconds, job->reply + sizeof(uint64_t), size - sizeof(uint64_t));
  job->size = size;
  job->peer = peer;
  job->timer.data = job;
  uv_timer_init(weft_loop(&weft), &job->timer);
  uv_timer_start(&job->timer, on_job_ready, (uint64_t) (strtod(seconds, NULL) * 1e3), 0);
  if (++peer->jobs >= WAITING_MAX &&
      !peer->paused) { /* work that waits is bounded: the peer's window closes */
    peer->paused = 1;
    weft_recv_stop(c);
  }
}

static void on_peer(weft_listener_t *l, int status) {
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
  if (weft_accept(l, &peer->conn) != 0 || weft_recv_start(&peer->conn, NULL, on_request) != 0)
    drop(peer);
}

static int serve(uv_loop_t *loop, const char *url) {
  char at[512];
  size_t len = sizeof(at);
  int err;

  if ((err = weft_listener_init(&weft, &listener)) != 0 ||
      (err = weft_listen(&listener, url, 64, on_peer)) != 0 ||
      (err = weft_listener_addr(&listener, at, &len)) != 0) {
    fprintf(stderr, "%s: %s\n", url, weft_strerror(err));
    return 1;
  }
  printf("listening at %s\n", at);
  return uv_run(loop, UV_RUN_DEFAULT);
}

int main(int argc, char **argv) {
  int asks = argc > 4 && strcmp(argv[1], "ask") == 0;
  int serves = (argc == 2 || argc == 3) && strcmp(argv[1], "serve") == 0;
  uv_loop_t loop;
  int result;

  if (!asks && !serves) {
    fprintf(stderr, "Usage: request_reply serve [URL] | ask URL LIMIT SECONDS[:LIMIT]...\n");
    return 2;
  }
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (uv_loop_init(&loop) != 0 || weft_init(&loop, &weft, NULL) != 0) return 1;
  result = asks ? ask(&loop, argv[2], argv[3], argv + 4, (unsigned) argc - 4)
                : serve(&loop, argc > 2 ? argv[2] : "weft://*:7000");
  weft_close(&weft, NULL);
  uv_run(&loop, UV_RUN_DEFAULT);
  uv_loop_close(&loop);
  return result;
}
