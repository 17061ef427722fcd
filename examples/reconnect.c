/* SPDX-License-Identifier: Apache-2.0 */
/* reconnect.c - lines into a file elsewhere, each once, though the server may be killed and started
 * again.
 *
 *   reconnect keep FILE [URL]                append lines to FILE; default: port 7000, everywhere
 *   reconnect send URL [SECONDS] < LINES     give up when no server is reached for so long (30)
 *
 * Weft moves a connection between paths, but never to another process: when the peer's process
 * ends, the connection ends, once, with UV_ECONNRESET, or WEFT_EPEERLOST where nothing told of it.
 * What was not acknowledged by then was delivered at most once, and only the programs can find out
 * which. This is how:
 *
 *   - the client numbers its lines and keeps each until the server says that it is in the file. The
 *     status 0 of a send is less: the server's process had the line, and may have died with it
 *   - the server speaks first, and says how many lines it has: the file remembers, not the process
 *   - after an error the client closes the connection, waits, longer each time, makes a new one,
 *     and goes on behind what the server has. A line that the server already has is dropped there
 *     by its number
 *
 * A message is a number of 8 bytes, little-endian, then the line if it comes from the client. One
 * client at a time: the numbers count the lines of the one file. */
#include <endian.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "weft.h"

enum { LINE_LIMIT = 4096, WINDOW = 64, WAIT_FIRST_MS = 100, WAIT_MOST_MS = 5000 };

static weft_t weft;

/* ---- The client ---- */

static weft_conn_t conn;
static weft_connect_t connecting;
static weft_shutdown_t bye;
static uv_timer_t again;
static const char *server;
static char **lines; /* line n is lines[n - 1]; freed when the server has it */
static uint64_t count, stored, sent;
static unsigned wait_ms = WAIT_FIRST_MS, give_up_ms = 30000;
static uint64_t lost_at;
static int greeted, result = 1;

static void finish(void) {
  if (!uv_is_closing((uv_handle_t *) &again)) uv_close((uv_handle_t *) &again, NULL);
}

static void on_finished(weft_conn_t *c) {
  (void) c;
  finish();
}

static void connect_again(uv_timer_t *timer);

/* The handle is ours again, and only now: the next connection may live in it. */
static void on_lost_closed(weft_conn_t *c) {
  (void) c;
  if (uv_now(again.loop) - lost_at > give_up_ms) {
    fprintf(stderr, "no server for %u s: given up with %llu lines not stored\n", give_up_ms / 1000,
            (unsigned long long) (count - stored));
    finish();
    return;
  }
  uv_timer_start(&again, connect_again, wait_ms / 2 + (unsigned) rand() % (wait_ms / 2 + 1), 0);
  wait_ms = wait_ms * 2 < WAIT_MOST_MS ? wait_ms * 2
                                       : WAIT_MOST_MS; /* many clients must not come back in step */
}

/* Some errors say that the server is another program, or does not want us: that does not mend. */
static int worth_another_try(int err) {
  switch (err) {
  case WEFT_EURL:
  case WEFT_EVERSION:
  case WEFT_ENOTWEFT:
  case WEFT_EREJECTED:
  case WEFT_EUNMET:
  case UV_EINVAL: return 0;
  default: return 1;
  }
}

static void lose(int err, const char *why) {
  if (weft_is_closing(&conn)) return;
  fprintf(stderr, "%s: %s; the server has %llu of %llu lines, %llu more were under way\n",
          greeted ? "lost" : "no connection", why, (unsigned long long) stored,
          (unsigned long long) count, (unsigned long long) (sent - stored));
  if (greeted) lost_at = uv_now(again.loop);
  greeted = 0;
  weft_conn_close(&conn, worth_another_try(err) ? on_lost_closed : on_finished);
}

/* As many as the window allows. What weft_try_send takes is copied, so the lines stay ours. */
static void send_more(void) {
  while (sent < count && sent < stored + WINDOW) {
    uint64_t number = htole64(sent + 1);
    uv_buf_t bufs[2] = {uv_buf_init((char *) &number, sizeof(number)),
                        uv_buf_init(lines[sent], (unsigned) strlen(lines[sent]))};
    int err = weft_try_send(&conn, bufs, 2);

    if (err == UV_EAGAIN)
      return; /* something is under way, so an answer will come and bring us here again */
    if (err != 0) {
      lose(err, weft_strerror(err));
      return;
    }
    sent++;
  }
}

static void on_bye(weft_shutdown_t *req, int status) {
  (void) req;
  (void) status; /* the server has all lines, whatever becomes of the connection now */
  if (!weft_is_closing(&conn)) weft_conn_close(&conn, on_finished);
}

static void on_answer(weft_conn_t *c, int status, weft_msg_t *msg) {
  uint64_t has;

  if (result == 0) return; /* all is stored, this is the end */
  if (status < 0) {
    lose(status, status == UV_EOF ? "the server has ended" : weft_conn_error(c));
    return;
  }
  if (weft_msg_size(msg) != sizeof(has)) {
    lose(WEFT_ENOTWEFT, "the server sends nonsense");
    return;
  }
  memcpy(&has, weft_msg_data(msg), sizeof(has));
  has = le64toh(has);
  if (has < stored || has > (greeted ? sent : count)) {
    lose(WEFT_ENOTWEFT, "the server's file is not the one that our lines went to");
    return;
  }
  if (!greeted) {
    printf("connected: the server has %llu lines, going on behind them\n",
           (unsigned long long) has);
    greeted = 1;
    wait_ms = WAIT_FIRST_MS;
    sent = has; /* the resend: what the server has not got, and nothing else */
  }
  for (; stored < has; stored++) {
    free(lines[stored]);
    lines[stored] = NULL;
  }
  if (stored < count) {
    send_more();
    return;
  }
  result = 0;
  printf("%llu lines stored\n", (unsigned long long) stored);
  if (weft_shutdown(&bye, &conn, on_bye) != 0) weft_conn_close(&conn, on_finished);
}

static void on_connected(weft_connect_t *req, int status) {
  (void) req;
  if (status == UV_ECANCELED) return;
  if (status == 0) status = weft_recv_start(&conn, NULL, on_answer); /* the server speaks first */
  if (status != 0)
    lose(status, *weft_conn_error(&conn) != '\0' ? weft_conn_error(&conn) : weft_strerror(status));
}

static void connect_again(uv_timer_t *timer) {
  int err = weft_conn_init(
      &weft, &conn); /* a new connection, a new session: nothing of the old one is in it */

  (void) timer;
  if (err != 0) {
    finish();
    return;
  }
  err = weft_connect(&connecting, &conn, server, NULL, on_connected);
  if (err != 0) lose(err, weft_strerror(err));
}

static int send_lines(uv_loop_t *loop, const char *url) {
  size_t room = 0, size = 0;
  ssize_t len;
  char *line = NULL;

  while ((len = getline(&line, &size, stdin)) >= 0) {
    if (len > 0 && line[len - 1] == '\n') line[--len] = '\0';
    if (len > LINE_LIMIT || (size_t) len != strlen(line)) {
      fprintf(stderr, "line %llu is too long, or is no text\n", (unsigned long long) count + 1);
      return 1;
    }
    if (count == room && (lines = realloc(lines, (room = room * 2 + 64) * sizeof(*lines))) == NULL)
      return 1;
    if ((lines[count++] = strdup(line)) == NULL) return 1;
  }
  free(line);
  server = url;
  srand((unsigned) getpid());
  uv_timer_init(loop, &again);
  lost_at = uv_now(loop);
  connect_again(&again);
  uv_run(loop, UV_RUN_DEFAULT);
  for (; stored < count; stored++) free(lines[stored]);
  free(lines);
  return result;
}

/* ---- The server ---- */

static weft_listener_t listener;
static int file = -1;
static uint64_t in_file;

/* How many lines there are. A last one without its end was being written when the server died:
 * nobody was told that it is there, so it goes. */
static int open_file(const char *path) {
  char block[65536];
  off_t at = 0, end = 0;
  ssize_t n, i;

  file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (file < 0) return -1;
  while ((n = read(file, block, sizeof(block))) > 0)
    for (i = 0; i < n; i++, at++)
      if (block[i] == '\n') {
        in_file++;
        end = at + 1;
      }
  return n < 0 || ftruncate(file, end) != 0 || lseek(file, end, SEEK_SET) < 0 ? -1 : 0;
}

static void on_peer_closed(weft_conn_t *c) {
  free(c);
}

static void drop(weft_conn_t *c, const char *why) {
  if (weft_is_closing(c)) return;
  printf("%s\n", why);
  weft_conn_close(c, on_peer_closed);
}

static int say_how_many(weft_conn_t *c) {
  uint64_t has = htole64(in_file);
  uv_buf_t buf = uv_buf_init((char *) &has, sizeof(has));

  return weft_try_send(c, &buf, 1);
}

static void on_line(weft_conn_t *c, int status, weft_msg_t *msg) {
  const char *data = status == 0 ? weft_msg_data(msg) : NULL;
  size_t size = status == 0 ? weft_msg_size(msg) : 0;
  uint64_t number;

  if (status < 0) {
    drop(c, status == UV_EOF ? "the client has ended" : weft_conn_error(c));
    return;
  }
  if (size < sizeof(number) || size > sizeof(number) + LINE_LIMIT ||
      memchr(data + sizeof(number), '\n', size - sizeof(number)) != NULL) {
    drop(c, "dropped: this is not a line");
    return;
  }
  memcpy(&number, data, sizeof(number));
  number = le64toh(number);
  if (number > in_file + 1) {
    drop(c, "dropped: a line is missing before this one");
    return;
  }
  if (number ==
      in_file +
          1) { /* else it is here already, from a connection that was lost: not a second time */
    struct iovec iov[2] = {{(char *) data + sizeof(number), size - sizeof(number)},
                           {(char *) "\n", 1}};

    /* Against a machine that loses its power an fdatasync belongs here. */
    if (writev(file, iov, 2) != (ssize_t) (size - sizeof(number) + 1)) {
      perror("writing");
      exit(1); /* the next start removes what was written of the line */
    }
    in_file++;
  }
  if (say_how_many(c) != 0) drop(c, "dropped: it does not read its answers");
}

static void on_client(weft_listener_t *l, int status) {
  weft_conn_t *c;

  if (status != 0) {
    fprintf(stderr, "listening: %s\n", weft_strerror(status));
    return;
  }
  c = calloc(1, sizeof(*c));
  if (c == NULL || weft_conn_init(&weft, c) != 0) {
    free(c);
    weft_reject(l, UV_ENOMEM, "out of memory");
    return;
  }
  if (weft_accept(l, c) != 0 || weft_recv_start(c, NULL, on_line) != 0 || say_how_many(c) != 0)
    drop(c, "dropped: it cannot be greeted");
}

static int keep(uv_loop_t *loop, const char *path, const char *url) {
  char at[512];
  size_t len = sizeof(at);
  int err;

  if (open_file(path) != 0) {
    perror(path);
    return 1;
  }
  if ((err = weft_listener_init(&weft, &listener)) != 0 ||
      (err = weft_listen(&listener, url, 8, on_client)) != 0 ||
      (err = weft_listener_addr(&listener, at, &len)) != 0) {
    fprintf(stderr, "%s: %s\n", url, weft_strerror(err));
    return 1;
  }
  printf("%s has %llu lines\n", path, (unsigned long long) in_file);
  printf("listening at %s\n", at);
  return uv_run(loop, UV_RUN_DEFAULT);
}

int main(int argc, char **argv) {
  int keeps = (argc == 3 || argc == 4) && strcmp(argv[1], "keep") == 0;
  int sends = (argc == 3 || argc == 4) && strcmp(argv[1], "send") == 0;
  uv_loop_t loop;
  int status;

  if (!keeps && !sends) {
    fprintf(stderr, "Usage: reconnect keep FILE [URL] | send URL [SECONDS] < LINES\n");
    return 2;
  }
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (sends && argc > 3) give_up_ms = (unsigned) strtoul(argv[3], NULL, 10) * 1000;
  if (uv_loop_init(&loop) != 0 || weft_init(&loop, &weft, NULL) != 0) return 1;
  status = keeps ? keep(&loop, argv[2], argc > 3 ? argv[3] : "weft://*:7000")
                 : send_lines(&loop, argv[2]);
  weft_close(&weft, NULL);
  uv_run(&loop, UV_RUN_DEFAULT);
  uv_loop_close(&loop);
  return status;
}
