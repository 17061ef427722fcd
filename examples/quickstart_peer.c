/* SPDX-License-Identifier: Apache-2.0 */
/* quickstart_peer.c - both ends of quickstart.sh: send numbered, checksummed messages to the other
 * end and check those that come from it, while somebody cuts the network under the connection.
 *
 *   quickstart_peer listen URL               serve one peer, then end
 *   quickstart_peer connect URL [SECONDS]    measure round trips, then stream (6 seconds)
 *
 * A program on Weft is callbacks on a libuv loop. Read main() first, then on_connected() or
 * on_peer(), then on_recv() and on_sent(); on_event() is where a migration shows. Nothing in here
 * deals with failures of the network: that is the point. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weft.h"

enum { WINDOW = 64, BODY_MAX = 1 << 20, WARM_UP = 200, PINGS = 5000 };
enum { PING = 1, STREAM = 2 };

/* Every message starts with this; a PING is nothing but this and 40 bytes, a STREAM has a body. */
struct header {
  uint64_t kind, number, sum;
};

/* A message on its way. Its memory must not change until on_sent() has been called. */
struct slot {
  weft_send_t req;
  struct header header;
  uint64_t *body;
};

static uv_loop_t loop;
static weft_t weft;
static weft_listener_t listener;
static weft_conn_t conn;
static weft_connect_t connecting;
static weft_shutdown_t bye;
static uv_timer_t ticker, stopper;
static struct slot slots[WINDOW];

static int connects, seconds = 6, streaming, finishing, all_sent, all_heard, failed;
static uint64_t started, pinged_at, arrived_at, longest_pause, round_trips[PINGS];
static int pings = -WARM_UP;
static uint64_t sent, acknowledged, received, bytes, lost, duplicated, damaged;

static double now(void) {
  return (double) (uv_hrtime() - started) / 1e9;
}

/* ---- The end ---- */

/* Close what is open; then nothing holds the loop and main() goes on. */
static void finish(void) {
  if (conn.data != NULL && !weft_is_closing(&conn)) weft_conn_close(&conn, NULL);
  if (listener.data != NULL && !weft_is_closing(&listener)) weft_listener_close(&listener, NULL);
  uv_timer_stop(&ticker);
  uv_timer_stop(&stopper);
}

static void fail(const char *what, int err) {
  const char *why = conn.data != NULL ? weft_conn_error(&conn) : "";

  if (err == UV_ECANCELED) /* we are closing already */
    return;
  failed = 1;
  fprintf(stderr, "%s: %s (%s)%s%s\n", what, weft_strerror(err), weft_err_name(err),
          *why != '\0' ? ": " : "", why);
  finish();
}

/* Status 0: the peer has everything we sent. */
static void on_bye(weft_shutdown_t *req, int status) {
  (void) req;
  if (status != 0) {
    fail("shutdown", status);
    return;
  }
  all_sent = 1;
  if (all_heard) finish();
}

static void stop(void) {
  if (finishing) return;
  streaming = 0;
  finishing = 1;
  uv_timer_stop(&ticker);
  int err = weft_shutdown(&bye, &conn, on_bye); /* after all that is queued */
  if (err != 0) fail("shutdown", err);
}

/* ---- The stream ---- */

/* From 64 bytes to 16 KiB, every 64th message 1 MiB. */
static size_t body_size(uint64_t number) {
  return number % 64 == 63 ? BODY_MAX : (size_t) 64 << (number % 9);
}

static void fill(uint64_t *body, size_t size, uint64_t number) {
  uint64_t x = number * 0x9e3779b97f4a7c15 + 1;

  for (size_t i = 0; i < size / 8; i++) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    body[i] = x;
  }
}

static uint64_t checksum(const uint64_t *body, size_t size) {
  uint64_t h = 0xcbf29ce484222325;

  for (size_t i = 0; i < size / 8; i++) h = (h ^ body[i]) * 0x100000001b3;
  return h;
}

static void on_sent(weft_send_t *req, int status);

static void send_next(struct slot *slot) {
  size_t size = body_size(sent);

  fill(slot->body, size, sent);
  slot->header = (struct header){STREAM, sent, checksum(slot->body, size)};
  uv_buf_t parts[2] = {uv_buf_init((char *) &slot->header, sizeof(slot->header)),
                       uv_buf_init((char *) slot->body, (unsigned) size)};
  int err = weft_send(&slot->req, &conn, parts, 2, on_sent); /* one message of two parts */
  if (err != 0) {
    fail("send", err);
    return;
  }
  sent++;
}

/* Status 0: the peer has the message, whatever happened to the network in between. */
static void on_sent(weft_send_t *req, int status) {
  if (status != 0) {
    fail("send", status);
    return;
  }
  acknowledged++;
  if (streaming) send_next(req->data);
}

static void on_tick(uv_timer_t *timer) {
  weft_conn_info_t info;

  (void) timer;
  if (weft_conn_info(&conn, &info, sizeof(info)) == 0)
    printf("%4.1f s  over %s %s: %llu sent, %llu received, %.0f MB\n", now(), info.provider,
           info.device, (unsigned long long) sent, (unsigned long long) received,
           (double) bytes / 1e6);
}

static void on_time_over(uv_timer_t *timer) {
  (void) timer;
  stop();
}

static void stream(void) {
  if (streaming || finishing) return;
  streaming = 1;
  started = uv_hrtime();
  for (int i = 0; i < WINDOW && streaming; i++) send_next(&slots[i]);
  uv_timer_start(&ticker, on_tick, 1000, 1000);
  if (connects) uv_timer_start(&stopper, on_time_over, (uint64_t) seconds * 1000, 0);
}

/* Numbers must come as 0, 1, 2, ... and every body must be what its sum says. */
static void check(const struct header *h, size_t size) {
  const uint64_t *body = (const uint64_t *) (h + 1);
  uint64_t at = uv_hrtime();

  if (arrived_at != 0 && at - arrived_at > longest_pause) longest_pause = at - arrived_at;
  arrived_at = at;

  if (h->number > received + lost) lost += h->number - received - lost;
  if (h->number < received + lost) {
    duplicated++;
    return;
  }
  received++;
  bytes += size;
  size -= sizeof(*h);
  if (size != body_size(h->number) || checksum(body, size) != h->sum) damaged++;
}

/* ---- What was chosen, and why ---- */

static const char *state(const weft_verdict_t *v) {
  switch (v->why) {
  case WEFT_WHY_IN_USE: return "chosen";
  case WEFT_WHY_STANDBY: return "standby";
  default: return v->rank >= 0 ? "usable" : "rejected";
  }
}

/* Every way to the peer, best first: what was chosen, what stands by, what was rejected and why. */
static void print_candidates(void) {
  weft_verdict_t v, last = {0};
  char others[200] = "";

  for (unsigned i = 0; weft_conn_verdict(&conn, i, &v, sizeof(v)) == 0; i++) {
    if (v.why == WEFT_WHY_QUIRK) { /* providers that Weft never uses: one line for all */
      size_t n = strlen(others);
      snprintf(others + n, sizeof(others) - n, "%s%s", n > 0 ? " " : "", v.provider);
    } else if (strcmp(v.device, last.device) != 0 || strcmp(v.detail, last.detail) != 0) {
      printf("%-8s  %-5s  %-5s  %s%s%s\n", state(&v), v.provider, v.device,
             v.rank < 0 ? weft_why_name(v.why) : "", v.rank < 0 ? ": " : "", v.detail);
    }
    last = v;
  }
  if (*others != '\0') printf("rejected  %s: weft_info -v says why\n", others);
}

/* ---- Round trips ---- */

static void ping(void) {
  struct {
    struct header header;
    char rest[40];
  } message = {{PING, 0, 0}, {0}};
  uv_buf_t buf = uv_buf_init((char *) &message, sizeof(message));

  pinged_at = uv_hrtime();
  int err = weft_try_send(&conn, &buf, 1); /* copies; no callback */
  if (err != 0) fail("ping", err);
}

static int by_value(const void *a, const void *b) {
  const uint64_t *x = a, *y = b;
  return *x < *y ? -1 : *x > *y;
}

static void on_pong(void) {
  if (pings >= 0) round_trips[pings] = uv_hrtime() - pinged_at;
  if (++pings < PINGS) {
    ping();
    return;
  }
  qsort(round_trips, PINGS, sizeof(round_trips[0]), by_value);
  print_candidates(); /* now, when the standby has joined too */
  printf("round trip of 64 bytes: p50 %.1f us, p99 %.1f us\n",
         (double) round_trips[PINGS / 2] / 1e3, (double) round_trips[PINGS * 99 / 100] / 1e3);
  stream();
}

/* ---- What Weft tells ---- */

static void on_recv(weft_conn_t *c, int status, weft_msg_t *msg) {
  if (status == UV_EOF) { /* the peer has shut down: nothing follows */
    all_heard = 1;
    stop();
    if (all_sent) finish();
    return;
  }
  if (status < 0) {
    fail("connection lost", status);
    return;
  }
  const struct header *h = weft_msg_data(msg); /* valid until we return */
  if (h->kind == STREAM) {
    stream();
    check(h, weft_msg_size(msg));
  } else if (connects) {
    on_pong();
  } else {
    uv_buf_t buf = uv_buf_init((char *) h, (unsigned) weft_msg_size(msg));
    weft_try_send(c, &buf, 1);
  }
}

static void on_event(weft_conn_t *c, const weft_event_t *ev) {
  (void) c;
  if (started == 0) /* print_candidates() says how it began */
    return;
  switch (ev->type) {
  case WEFT_EV_MIGRATED:
    printf("%4.1f s  MIGRATED after a gap of %.1f ms\n", now(), (double) ev->gap_ns / 1e6);
    printf("          from  %s\n          to    %s\n          cause %s\n", ev->from, ev->to,
           ev->detail);
    break;
  case WEFT_EV_PATH_UP: printf("%4.1f s  path up    %s\n", now(), ev->to); break;
  case WEFT_EV_PATH_DOWN: printf("%4.1f s  path down  %s\n", now(), ev->from); break;
  default: printf("%4.1f s  %s\n", now(), ev->detail); break;
  }
}

static void on_connected(weft_connect_t *req, int status) {
  (void) req;
  if (status != 0) {
    fail("connect", status);
    return;
  }
  weft_recv_start(&conn, NULL, on_recv);
  ping();
}

static void on_peer(weft_listener_t *l, int status) {
  if (status != 0) {
    fail("listen", status);
    return;
  }
  if (conn.data != NULL) {
    weft_reject(l, UV_EBUSY, "this demo serves one peer");
    return;
  }
  conn.data = &conn;
  weft_conn_init(&weft, &conn);
  weft_accept(l, &conn);
  weft_conn_on_event(&conn, on_event);
  weft_recv_start(&conn, NULL, on_recv);
}

/* ---- main ---- */

static int start_listening(const char *url) {
  char text[256];
  size_t len = sizeof(text);
  int err = weft_listener_init(&weft, &listener);

  listener.data = &listener;
  if (err == 0) err = weft_listen(&listener, url, 8, on_peer);
  if (err == 0) err = weft_listener_addr(&listener, text, &len);
  if (err == 0) printf("listening at %s\n", text);
  return err;
}

static int start_connecting(const char *url) {
  int err = weft_conn_init(&weft, &conn);

  conn.data = &conn;
  weft_conn_on_event(&conn, on_event);
  return err != 0 ? err : weft_connect(&connecting, &conn, url, NULL, on_connected);
}

int main(int argc, char **argv) {
  connects = argc > 2 && strcmp(argv[1], "connect") == 0;
  if (argc > 3) seconds = atoi(argv[3]);
  if (argc < 3 || argc > 4 || seconds < 1 || (!connects && strcmp(argv[1], "listen") != 0)) {
    fprintf(stderr, "Usage: quickstart_peer listen URL | connect URL [SECONDS]\n");
    return 2;
  }
  setvbuf(stdout, NULL, _IOLBF, 0);
  for (int i = 0; i < WINDOW; i++) {
    slots[i].req.data = &slots[i];
    slots[i].body = malloc(BODY_MAX);
    if (slots[i].body == NULL) return 1;
  }

  uv_loop_init(&loop);
  uv_timer_init(&loop, &ticker);
  uv_timer_init(&loop, &stopper);
  int err = weft_init(&loop, &weft, NULL);
  if (err != 0) {
    fprintf(stderr, "weft_init: %s\n", weft_strerror(err));
    return 1;
  }
  err = connects ? start_connecting(argv[2]) : start_listening(argv[2]);
  if (err != 0) fail(argv[2], err);

  uv_run(&loop, UV_RUN_DEFAULT); /* until the connection and the listener are closed */
  weft_close(&weft, NULL);
  uv_close((uv_handle_t *) &ticker, NULL);
  uv_close((uv_handle_t *) &stopper, NULL);
  uv_run(&loop, UV_RUN_DEFAULT);
  uv_loop_close(&loop);
  for (int i = 0; i < WINDOW; i++) free(slots[i].body);

  printf("sent %llu acknowledged %llu received %llu lost %llu duplicated %llu damaged %llu "
         "pause %.1f\n",
         (unsigned long long) sent, (unsigned long long) acknowledged,
         (unsigned long long) received, (unsigned long long) lost, (unsigned long long) duplicated,
         (unsigned long long) damaged, (double) longest_pause / 1e6);
  return failed || lost || duplicated || damaged || acknowledged != sent;
}
