/* SPDX-License-Identifier: Apache-2.0 */
/* echo_client.c - send messages to echo_server one after the other, check each echo, say how long
 * it took and which transport carried it.
 *
 *   echo_client URL [COUNT [SIZE [PAUSE_MS]]]    default 1000 messages of 64 bytes, no pause
 *
 * It shows: connecting, asking why (weft_conn_verdict), sending, receiving, events, and an orderly
 * end: shut down, wait for the peer's end, close. Cut the path in use while it runs: it goes on. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weft.h"

static weft_t weft;
static weft_conn_t conn;
static weft_connect_t connecting;
static weft_send_t sending;
static weft_shutdown_t bye;
static uv_timer_t pause_timer;

static unsigned count = 1000, done, pause_ms;
static unsigned awaited; /* of the echo and the send's callback; they come in either order */
static size_t size = 64;
static unsigned char *message;
static uint64_t sent_at, total_ns, min_ns = UINT64_MAX, max_ns;
static int result = 1;

static void finish(void) {
  if (!weft_is_closing(&conn)) weft_conn_close(&conn, NULL);
  if (!uv_is_closing((uv_handle_t *) &pause_timer)) uv_close((uv_handle_t *) &pause_timer, NULL);
}

static void fail(const char *what, int err) {
  const char *why = weft_conn_error(&conn);

  fprintf(stderr, "%s: %s (%s)%s%s\n", what, weft_strerror(err), weft_err_name(err),
          *why != '\0' ? ": " : "", why);
  finish();
}

/* Who carries the messages, and what was passed over. */
static void print_choice(void) {
  weft_verdict_t v;
  unsigned i;

  for (i = 0; weft_conn_verdict(&conn, i, &v, sizeof(v)) == 0; i++)
    if (v.why != WEFT_WHY_QUIRK) /* what Weft never uses: weft_info lists it */
      printf("  %-8s %-12s %-22s %s\n", v.provider, v.device, weft_why_name(v.why), v.detail);
}

static void on_sent(weft_send_t *req, int status);

static void send_next(void) {
  uv_buf_t buf;
  int err;

  memset(message, (int) (done & 0xff), size);
  buf.base = (char *) message;
  buf.len = size;
  awaited = 2;
  sent_at = uv_hrtime();
  err = weft_send(&sending, &conn, &buf, 1, on_sent);
  if (err != 0) fail("send", err);
}

static void on_pause_over(uv_timer_t *timer) {
  (void) timer;
  send_next();
}

static void on_bye(weft_shutdown_t *req, int status) {
  (void) req;
  if (status != 0 && status != UV_ECANCELED) fail("shutdown", status);
}

static void all_done(void) {
  weft_conn_info_t info;
  int err;

  if (weft_conn_info(&conn, &info, sizeof(info)) == 0)
    printf("%u echoes of %zu bytes over %s %s, round trip min %.1f avg %.1f max %.1f us, "
           "%llu migrations, %llu duplicates dropped\n",
           done, size, info.provider, info.device, (double) min_ns / 1e3,
           (double) total_ns / 1e3 / done, (double) max_ns / 1e3,
           (unsigned long long) info.migrations, (unsigned long long) info.duplicates);
  result = 0;
  err = weft_shutdown(&bye, &conn, on_bye); /* then the server ends too: UV_EOF in on_recv */
  if (err != 0) fail("shutdown", err);
}

/* `sending` and `message` are ours again only when the echo is here AND on_sent has been called. */
static void one_less_awaited(void) {
  if (--awaited > 0) return;
  if (++done == count)
    all_done();
  else if (pause_ms > 0)
    uv_timer_start(&pause_timer, on_pause_over, pause_ms, 0);
  else
    send_next();
}

static void on_sent(weft_send_t *req, int status) {
  (void) req;
  if (status == 0)
    one_less_awaited();
  else if (status != UV_ECANCELED)
    fail("send", status);
}

static void on_recv(weft_conn_t *c, int status, weft_msg_t *msg) {
  uint64_t took = uv_hrtime() - sent_at;

  (void) c;
  if (status == UV_EOF && done == count) {
    finish();
    return;
  }
  if (status < 0) {
    result = 1;
    fail("receive", status);
    return;
  }
  /* One message is under way at a time, so this is its echo, or the library is broken. */
  if (weft_msg_size(msg) != size || memcmp(weft_msg_data(msg), message, size) != 0) {
    fprintf(stderr, "echo %u is not what was sent\n", done);
    finish();
    return;
  }
  total_ns += took;
  if (took < min_ns) min_ns = took;
  if (took > max_ns) max_ns = took;
  one_less_awaited();
}

static void on_connected(weft_connect_t *req, int status) {
  int err;

  (void) req;
  if (status != 0) {
    if (status != UV_ECANCELED) fail("connect", status);
    return;
  }
  print_choice();
  err = weft_recv_start(&conn, NULL, on_recv);
  if (err != 0)
    fail("receive", err);
  else
    send_next();
}

static void on_event(weft_conn_t *c, const weft_event_t *ev) {
  (void) c;
  if (ev->type == WEFT_EV_MIGRATED)
    printf("moved from %s to %s after %.0f ms: %s\n", ev->from, ev->to, (double) ev->gap_ns / 1e6,
           ev->detail);
}

int main(int argc, char **argv) {
  uv_loop_t loop;
  int err;

  if (argc > 2) count = (unsigned) strtoul(argv[2], NULL, 10);
  if (argc > 3) size = strtoul(argv[3], NULL, 10);
  if (argc > 4) pause_ms = (unsigned) strtoul(argv[4], NULL, 10);
  if (argc < 2 || argc > 5 || *argv[1] == '-' || count == 0 || size == 0) {
    fprintf(stderr, "Usage: echo_client URL [COUNT [SIZE [PAUSE_MS]]]\n");
    return 2;
  }
  message = malloc(size);
  if (message == NULL || (err = uv_loop_init(&loop)) != 0 ||
      (err = weft_init(&loop, &weft, NULL)) != 0 || (err = weft_conn_init(&weft, &conn)) != 0) {
    fprintf(stderr, "starting: %s\n", message == NULL ? "out of memory" : weft_strerror(err));
    return 1;
  }
  setvbuf(stdout, NULL, _IOLBF, 0);
  uv_timer_init(&loop, &pause_timer);
  weft_conn_on_event(&conn, on_event);
  err = weft_connect(&connecting, &conn, argv[1], NULL, on_connected);
  if (err != 0) {
    char why[256] = "";
    weft_url_parse(argv[1], NULL, NULL, why, sizeof(why));
    fprintf(stderr, "%s: %s%s%s\n", argv[1], weft_strerror(err), *why != '\0' ? ": " : "", why);
    finish();
  }

  uv_run(&loop, UV_RUN_DEFAULT); /* until the connection is closed: an idle context holds nothing */
  weft_close(&weft, NULL);
  uv_run(&loop, UV_RUN_DEFAULT);
  uv_loop_close(&loop);
  free(message);
  return result;
}
