/* SPDX-License-Identifier: Apache-2.0 */
/* conn_scale.c - many connections at once: an echo on each, the memory of each, closing all; and many
 * contexts in one process.
 *
 *   conn_scale [--conns N] [--contexts N]     default 300 and 8
 *
 * Design notes
 *   - Server and clients are one process with two contexts, so that what closing all leaves behind is
 *     counted for both: file descriptors must be back where they were before, and a second round
 *     must not need more memory than the first one. */
#include <assert.h>
#include <dirent.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "soak/lib_proc.h"
#include "weft.h"

enum { SIZE = 200 };

typedef struct echo {
  weft_send_t req;
  char bytes[SIZE];
} echo_t;

typedef struct end { /* one connection, either side */
  weft_conn_t conn;
  weft_connect_t connect;
  weft_shutdown_t bye;
  echo_t echo;
  unsigned number;
  bool back, shut, eof;
  struct world *w;
} end_t;

typedef struct world {
  uv_loop_t loop;
  weft_t server, client;
  weft_listener_t listener;
  uv_timer_t limit;
  char url[128];
  unsigned n, accepted, connected, echoed, closed;
  end_t *near, *far;
} world_t;

/* How many are open; `print`: say which. */
static unsigned count_fds(bool print) {
  DIR *dir = opendir("/proc/self/fd");
  char path[300], what[256];
  struct dirent *e;
  unsigned n = 0;
  ssize_t len;

  if (dir == NULL) die("/proc/self/fd cannot be read");
  while ((e = readdir(dir)) != NULL) {
    n++;
    snprintf(path, sizeof(path), "/proc/self/fd/%s", e->d_name);
    if (print && (len = readlink(path, what, sizeof(what) - 1)) > 0)
      fprintf(stderr, "  %s -> %.*s\n", e->d_name, (int) len, what);
  }
  closedir(dir);
  return n - 3; /* ".", "..", and the one that counts */
}

/* Contexts let go of a worker that is busy: what it has open goes a little later. */
static void check_fds(unsigned most, const char *when) {
  unsigned i, n;

  for (i = 0; (n = count_fds(false)) > most && i < 300; i++) usleep(10000);
  if (n > most) {
    count_fds(true);
    die("%u file descriptors are open 3 s after %s, %u were before", n, when, most);
  }
}

static void text_of(unsigned number, char bytes[SIZE]) {
  int i;

  for (i = 0; i < SIZE; i++) bytes[i] = (char) (number * 31 + (unsigned) i * 7);
}

/* ---- Both sides ---- */

static void on_closed(weft_conn_t *conn) {
  end_t *e = conn->data;

  e->w->closed++;
}

static void close_when_done(end_t *e) {
  if (e->shut && e->eof && !weft_is_closing(&e->conn)) weft_conn_close(&e->conn, on_closed);
}

static void on_shut(weft_shutdown_t *req, int status) {
  end_t *e = req->data;

  if (status != 0)
    die("connection %u: shutdown: %s: %s", e->number, weft_err_name(status),
        weft_conn_error(&e->conn));
  e->shut = true;
  close_when_done(e);
}

static void shut(end_t *e) {
  e->bye.data = e;
  if (weft_shutdown(&e->bye, &e->conn, on_shut) != 0) die("weft_shutdown");
}

static void on_sent(weft_send_t *req, int status) {
  (void) req;
  if (status != 0) die("a message ended with %s", weft_err_name(status));
}

static void send_text(end_t *e) {
  uv_buf_t buf = uv_buf_init(e->echo.bytes, SIZE);

  if (weft_send(&e->echo.req, &e->conn, &buf, 1, on_sent) != 0) die("weft_send");
}

/* ---- Server ---- */

static void on_far_recv(weft_conn_t *conn, int status, weft_msg_t *msg) {
  end_t *e = conn->data;

  if (status == UV_EOF) {
    e->eof = true;
    shut(e);
    return;
  }
  if (status != 0)
    die("server: connection lost: %s: %s", weft_err_name(status), weft_conn_error(conn));
  if (weft_msg_size(msg) != SIZE) die("server: a message of %zu bytes", weft_msg_size(msg));
  memcpy(e->echo.bytes, weft_msg_data(msg), SIZE);
  send_text(e);
}

static void on_peer(weft_listener_t *l, int status) {
  world_t *w = l->data;
  end_t *e;

  if (status != 0) die("listener: %s", weft_err_name(status));
  if (w->accepted == w->n) die("more connections than were made");
  e = &w->far[w->accepted++];
  e->w = w;
  e->conn.data = e;
  if (weft_conn_init(&w->server, &e->conn) != 0 || weft_accept(l, &e->conn) != 0 ||
      weft_recv_start(&e->conn, NULL, on_far_recv) != 0)
    die("accept");
}

/* ---- Clients ---- */

static void next_phase(world_t *w);

static void on_near_recv(weft_conn_t *conn, int status, weft_msg_t *msg) {
  end_t *e = conn->data;
  char want[SIZE];

  if (status == UV_EOF) {
    e->eof = true;
    close_when_done(e);
    return;
  }
  if (status != 0)
    die("connection %u lost: %s: %s", e->number, weft_err_name(status), weft_conn_error(conn));
  text_of(e->number, want);
  if (weft_msg_size(msg) != SIZE || memcmp(weft_msg_data(msg), want, SIZE) != 0 || e->back)
    die("connection %u got something else than its echo", e->number);
  e->back = true;
  e->w->echoed++;
  next_phase(e->w);
}

static void dial(world_t *w, unsigned i);

static void on_connected(weft_connect_t *req, int status) {
  end_t *e = req->data;
  world_t *w = e->w;

  if (status != 0)
    die("connection %u of %u: %s: %s", e->number, w->n, weft_err_name(status),
        weft_conn_error(&e->conn));
  w->connected++;
  if (w->connected + 31 < w->n) dial(w, w->connected + 31);
  next_phase(w);
}

static void dial(world_t *w, unsigned i) {
  end_t *e = &w->near[i];

  e->w = w;
  e->number = i;
  e->conn.data = e->connect.data = e;
  if (weft_conn_init(&w->client, &e->conn) != 0 ||
      weft_connect(&e->connect, &e->conn, w->url, NULL, on_connected) != 0 ||
      weft_recv_start(&e->conn, NULL, on_near_recv) != 0)
    die("weft_connect: %s", weft_conn_error(&e->conn));
}

static void next_phase(world_t *w) {
  unsigned i;

  if (w->connected == w->n && w->echoed == 0) {
    bool first = true;
    for (i = 0; i < w->n; i++) first = first && !w->near[i].back;
    for (i = 0; i < w->n && first; i++) {
      text_of(i, w->near[i].echo.bytes);
      send_text(&w->near[i]);
    }
  }
  if (w->echoed == w->n) uv_stop(&w->loop);
}

/* ---- A round ---- */

static void on_limit(uv_timer_t *t) {
  world_t *w = t->data;

  die("after a minute: %u accepted, %u connected, %u echoed, %u of %u ends closed", w->accepted,
      w->connected, w->echoed, w->closed, 2 * w->n);
}

static void begin(world_t *w, unsigned n) {
  size_t len = sizeof(w->url);

  memset(w, 0, sizeof(*w));
  w->n = n;
  w->near = calloc(n, sizeof(*w->near));
  w->far = calloc(n, sizeof(*w->far));
  assert(w->near != NULL && w->far != NULL);
  if (uv_loop_init(&w->loop) != 0 || weft_init(&w->loop, &w->server, NULL) != 0 ||
      weft_init(&w->loop, &w->client, NULL) != 0)
    die("weft_init");
  uv_timer_init(&w->loop, &w->limit);
  w->limit.data = w;
  uv_timer_start(&w->limit, on_limit, 60000 * (SANITIZED ? 4 : 1), 0);
  uv_unref((uv_handle_t *) &w->limit);
  w->listener.data = w;
  if (weft_listener_init(&w->server, &w->listener) != 0 ||
      weft_listen(&w->listener, "weft://127.0.0.1:0", 512, on_peer) != 0 ||
      weft_listener_addr(&w->listener, w->url, &len) != 0)
    die("weft_listen");
}

static void finish(world_t *w) {
  weft_listener_close(&w->listener, NULL);
  weft_close(&w->client, NULL);
  weft_close(&w->server, NULL);
  uv_close((uv_handle_t *) &w->limit, NULL);
  uv_run(&w->loop, UV_RUN_DEFAULT);
  if (uv_loop_close(&w->loop) != 0) die("handles are left in the loop");
  free(w->near);
  free(w->far);
}

/* All connections open and echoed at once. Returns KiB per connection, both ends together. */
static double round_of(unsigned n, bool print) {
  static world_t w;
  long before, open;
  uint64_t t0, t1, t2;
  unsigned i;

  begin(&w, n);
  before = rss_kib();
  t0 = uv_hrtime();
  for (i = 0; i < 32 && i < n; i++) dial(&w, i);
  uv_run(&w.loop, UV_RUN_DEFAULT);
  if (w.echoed != n || w.accepted != n) die("the loop ended with %u of %u echoed", w.echoed, n);
  t1 = uv_hrtime();
  open = rss_kib();
  for (i = 0; i < n; i++) shut(&w.near[i]);
  while (w.closed < 2 * n) uv_run(&w.loop, UV_RUN_ONCE);
  t2 = uv_hrtime();
  finish(&w);
  if (print)
    printf("%u connections: connected and echoed in %.0f ms, closed in %.0f ms; %.1f KiB of memory "
           "per "
           "connection and side\n",
           n, (double) (t1 - t0) / 1e6, (double) (t2 - t1) / 1e6, (double) (open - before) / n / 2);
  return (double) (open - before) / n;
}

/* ---- Contexts, one thread each ---- */

static void *context(void *arg) {
  static __thread world_t w;
  unsigned *n = arg, i;

  begin(&w, *n);
  for (i = 0; i < 32 && i < *n; i++) dial(&w, i);
  uv_run(&w.loop, UV_RUN_DEFAULT);
  if (w.echoed != *n) die("a context's loop ended with %u of %u echoed", w.echoed, *n);
  for (i = 0; i < *n; i++) shut(&w.near[i]);
  while (w.closed < 2 * *n) uv_run(&w.loop, UV_RUN_ONCE);
  finish(&w);
  return NULL;
}

static void many_contexts(unsigned count) {
  pthread_t threads[64];
  unsigned i, n = 10;
  uint64_t t0 = uv_hrtime();

  for (i = 0; i < count; i++)
    if (pthread_create(&threads[i], NULL, context, &n) != 0) die("pthread_create");
  for (i = 0; i < count; i++) pthread_join(threads[i], NULL);
  printf("%u pairs of contexts, a thread each, with %u connections each: %.0f ms\n", count, n,
         (double) (uv_hrtime() - t0) / 1e6);
}

int main(int argc, char **argv) {
  unsigned n = 300, contexts = 8, fds;
  struct rlimit limit;
  double per;
  long rss;
  int i;

  for (i = 1; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], "--conns") == 0)
      n = (unsigned) strtoul(argv[i + 1], NULL, 10);
    else if (strcmp(argv[i], "--contexts") == 0)
      contexts = (unsigned) strtoul(argv[i + 1], NULL, 10);
    else
      break;
  }
  if (i != argc || n == 0 || contexts == 0 || contexts > 64) {
    fprintf(stderr, "usage: conn_scale [--conns N] [--contexts N (64 at most)]\n");
    return 2;
  }
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < 4 * n + 200) {
    printf("SKIP: %u connections need %u file descriptors, %u are allowed\n", n, 4 * n + 200,
           (unsigned) limit.rlim_cur);
    return 77;
  }

  round_of(2, false); /* what is made once per process */
  fds = count_fds(false);
  per = round_of(n, true);
  check_fds(fds, "closing all connections");
  rss = rss_kib();
  round_of(n, true);
  check_fds(fds, "closing all connections");
  if (!SANITIZED && rss_kib() > rss + rss / 5 + 8 * 1024)
    die("a second round leaves %ld KiB resident, the first left %ld KiB", rss_kib(), rss);
  many_contexts(contexts);
  check_fds(fds, "closing all contexts");
  /* A receive buffer of 16 KiB, 32 of them: about 600 KiB for each end of a connection is the
   * bound. */
  if (!SANITIZED && per / 2 > 1024) die("%.0f KiB per connection and side", per / 2);
  return 0;
}
