/* SPDX-License-Identifier: Apache-2.0 */
/* epoll_client.c - Weft without libuv of one's own: a program built on epoll sends each line of its
 * standard input as a message to echo_server and prints what comes back.
 *
 *   epoll_client URL < lines
 *
 * It shows the three calls for foreign event loops: weft_fd to watch, weft_timeout_ms for how long
 * to wait, weft_process to run what is due; and backpressure (UV_EAGAIN, WEFT_EV_WRITABLE). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "weft.h"

enum { LINE_MAX_BYTES = 60000 }; /* weft_try_send takes up to 64 KiB */

static weft_t weft;
static weft_conn_t conn;
static weft_connect_t connecting;
static weft_shutdown_t bye;

static int epoll_fd;
static int connected, blocked, input_ended, watching, said_bye, weft_is_closed;
static char input[LINE_MAX_BYTES];
static size_t input_len;
static unsigned long sent, received;
static int result = 1;

/* The connection first, then the context; its callback is the last one. */
static void on_weft_closed(weft_t *w) {
  (void) w;
  weft_is_closed = 1;
}

static void finish(void) {
  if (!weft_is_closing(&conn)) {
    weft_conn_close(&conn, NULL);
    weft_close(&weft, on_weft_closed);
  }
}

static void fail(const char *what, int err) {
  const char *why = weft_conn_error(&conn);

  fprintf(stderr, "%s: %s\n", what, *why != '\0' ? why : weft_strerror(err));
  result = 1;
  finish();
}

/* ---- Standard input: watched only while lines can be sent ---- */

/* A file cannot be watched by epoll (EPERM): it is always readable. */
static int input_is_file;

static void watch_input(void) {
  struct epoll_event ev = {.events = EPOLLIN, .data.fd = STDIN_FILENO};
  int want = connected && !blocked && !input_ended && !weft_is_closing(&conn);

  if (want == watching) return;
  watching = want;
  if (input_is_file) return;
  if (epoll_ctl(epoll_fd, want ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, STDIN_FILENO, &ev) != 0) {
    if (errno == EPERM)
      input_is_file = 1;
    else
      fail("epoll_ctl", uv_translate_sys_error(errno));
  }
}

/* When all lines are sent and all echoes are here: tell the server that no more comes. */
static void on_bye(weft_shutdown_t *req, int status) {
  (void) req;
  if (status != 0 && status != UV_ECANCELED) fail("shutdown", status);
}

static void end_if_done(void) {
  int err;

  if (!input_ended || input_len > 0 || received < sent || said_bye || weft_is_closing(&conn))
    return;
  said_bye = 1;
  result = 0;
  err = weft_shutdown(&bye, &conn, on_bye);
  if (err != 0) fail("shutdown", err);
}

static int send_line(const char *line, size_t len) {
  uv_buf_t buf;
  int err;

  buf.base = (char *) line;
  buf.len = len;
  err = weft_try_send(&conn, &buf, 1);
  if (err == 0)
    sent++;
  else if (err == UV_EAGAIN)
    blocked = 1; /* WEFT_EV_WRITABLE says when to go on */
  else
    fail("send", err);
  return err;
}

/* Send the whole lines of the buffer; a last line without a newline goes at the end of input. */
static void send_lines(void) {
  char *line = input, *end = input + input_len, *newline;

  while (line < end && (newline = memchr(line, '\n', (size_t) (end - line))) != NULL) {
    if (send_line(line, (size_t) (newline - line)) != 0) break;
    line = newline + 1;
  }
  if (!blocked && line < end && (input_ended || (size_t) (end - line) == sizeof(input)) &&
      send_line(line, (size_t) (end - line)) == 0)
    line = end;
  input_len = (size_t) (end - line);
  memmove(input, line, input_len);
  end_if_done();
}

static void read_input(void) {
  ssize_t n = read(STDIN_FILENO, input + input_len, sizeof(input) - input_len);

  if (n < 0 && errno != EINTR && errno != EAGAIN)
    fail("standard input", uv_translate_sys_error(errno));
  if (n == 0) input_ended = 1;
  if (n > 0) input_len += (size_t) n;
  if (n >= 0) send_lines();
}

/* ---- Weft ---- */

static void on_recv(weft_conn_t *c, int status, weft_msg_t *msg) {
  (void) c;
  if (status == UV_EOF && said_bye) {
    finish();
  } else if (status < 0) {
    fail("connection", status);
  } else {
    received++;
    printf("%.*s\n", (int) weft_msg_size(msg), (const char *) weft_msg_data(msg));
    end_if_done();
  }
}

static void on_event(weft_conn_t *c, const weft_event_t *ev) {
  (void) c;
  if (ev->type == WEFT_EV_WRITABLE) {
    blocked = 0;
    send_lines();
  } else if (ev->type == WEFT_EV_MIGRATED) {
    fprintf(stderr, "moved from %s to %s: %s\n", ev->from, ev->to, ev->detail);
  }
}

static void on_connected(weft_connect_t *req, int status) {
  (void) req;
  if (status == 0) status = weft_recv_start(&conn, NULL, on_recv);
  if (status == 0)
    connected = 1;
  else if (status != UV_ECANCELED)
    fail("connect", status);
}

/* ---- The loop ---- */

static int run(void) {
  struct epoll_event events[2], ev = {.events = EPOLLIN, .data.fd = weft_fd(&weft)};
  int i, n;

  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, weft_fd(&weft), &ev) != 0) return -1;
  while (1) {
    weft_process(&weft); /* before each wait: it runs what is due and never blocks */
    if (weft_is_closed) return 0;
    watch_input();

    n = epoll_wait(epoll_fd, events, 2, watching && input_is_file ? 0 : weft_timeout_ms(&weft));
    if (n < 0 && errno != EINTR) return -1;
    for (i = 0; i < n; i++)
      if (events[i].data.fd == STDIN_FILENO) read_input();
    if (watching && input_is_file) read_input();
  }
}

int main(int argc, char **argv) {
  int err;

  if (argc != 2 || *argv[1] == '-') {
    fprintf(stderr, "Usage: epoll_client URL < lines\n");
    return 2;
  }
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) {
    perror("epoll_create1");
    return 1;
  }
  if ((err = weft_init(NULL, &weft, NULL)) != 0 || /* NULL: a loop of Weft's own */
      (err = weft_conn_init(&weft, &conn)) != 0) {
    fprintf(stderr, "starting: %s\n", weft_strerror(err));
    return 1;
  }
  weft_conn_on_event(&conn, on_event);
  if ((err = weft_connect(&connecting, &conn, argv[1], NULL, on_connected)) != 0) {
    char why[256] = "";
    weft_url_parse(argv[1], NULL, NULL, why, sizeof(why));
    fail(argv[1], err);
    if (*why != '\0') fprintf(stderr, "%s\n", why);
  }
  if (run() != 0) {
    perror("epoll");
    return 1;
  }
  close(epoll_fd);
  return result;
}
