/* SPDX-License-Identifier: Apache-2.0 */
/* lib_world.c - the echo server, the honest client, the log, and the client that tests steer.
 *
 * Design notes
 *   - Whatever belongs to a context is touched on its thread only (runner_do); what the test reads
 *     is a copy under `lock`. */
#include "lib_world.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib_peer.h" /* peer_now_ms */

#define MUST(expr)                                                                                 \
  do {                                                                                             \
    int must_err = (expr);                                                                         \
    if (must_err != 0) fail("%s: %s", #expr, weft_strerror(must_err));                             \
  } while (0)

enum { LINES = 8192, ENDS = 1024, WARM = 40, QUEUED_MAX = 2 << 20 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *fmt, ...) {
  va_list ap;

  fprintf(stderr, "FAILED: ");
  va_start(ap, fmt);
  vfprintf(stderr, fmt, ap);
  va_end(ap);
  fprintf(stderr, "\n");
  log_print(0);
  abort();
}

static void nap(unsigned ms) {
  struct timespec t = {.tv_nsec = (long) ms * 1000000};

  nanosleep(&t, NULL);
}

/* ---- The log ---- */

static char *lines[LINES];
static unsigned nlines;

static void on_log(void *arg, int level, const char *line) {
  static const char *const names[] = {"error", "warn", "info", "debug"};
  char *copy = malloc(strlen(line) + 16);

  (void) arg;
  if (copy == NULL) return;
  sprintf(copy, "%s: %s", names[level], line);
  pthread_mutex_lock(&lock);
  free(lines[nlines % LINES]);
  lines[nlines++ % LINES] = copy;
  pthread_mutex_unlock(&lock);
}

unsigned log_mark(void) {
  unsigned n;

  pthread_mutex_lock(&lock);
  n = nlines;
  pthread_mutex_unlock(&lock);
  return n;
}

static bool find_line(unsigned mark, const char *who, const char *what) {
  bool found = false;
  unsigned i;

  pthread_mutex_lock(&lock);
  if (nlines - mark > LINES) mark = nlines - LINES;
  for (i = mark; i != nlines && !found; i++) {
    const char *l = lines[i % LINES];
    found = (who == NULL || strstr(l, who) != NULL) && (what == NULL || strstr(l, what) != NULL);
  }
  pthread_mutex_unlock(&lock);
  return found;
}

bool log_has(unsigned mark, const char *who, const char *what, int ms) {
  uint64_t until = peer_now_ms() + (uint64_t) ms;

  while (!find_line(mark, who, what)) {
    if (peer_now_ms() >= until) return false;
    nap(2);
  }
  return true;
}

void log_print(unsigned mark) {
  unsigned i;

  pthread_mutex_lock(&lock);
  if (nlines - mark > LINES) mark = nlines - LINES;
  if (nlines - mark > 100) mark = nlines - 100;
  fprintf(stderr, "the log since then:\n");
  for (i = mark; i != nlines; i++) fprintf(stderr, "  %s\n", lines[i % LINES]);
  pthread_mutex_unlock(&lock);
}

/* ---- Runners: a context on a loop in a thread ---- */

typedef struct runner {
  uv_loop_t loop;
  uv_async_t hold; /* keeps the loop while no Weft handle does */
  weft_t weft;
  pthread_t thread;
} runner_t;

typedef struct task {
  weft_post_t req; /* first */
  void (*fn)(void *);
  void *arg;
  sem_t done;
} task_t;

static void on_hold(uv_async_t *a) {
  (void) a;
}

static void *run(void *arg) {
  runner_t *r = arg;

  uv_run(&r->loop, UV_RUN_DEFAULT);
  return NULL;
}

static void runner_start(runner_t *r, const weft_opts_t *opts) {
  MUST(uv_loop_init(&r->loop));
  MUST(uv_async_init(&r->loop, &r->hold, on_hold));
  MUST(weft_init(&r->loop, &r->weft, opts));
  r->weft.data = r;
  MUST(-pthread_create(&r->thread, NULL, run, r));
}

static void on_task(weft_post_t *req, int status) {
  task_t *t = (task_t *) req;

  if (status != 0) fail("a posted task was cancelled");
  t->fn(t->arg);
  sem_post(&t->done);
}

static void runner_do(runner_t *r, void (*fn)(void *), void *arg) {
  task_t t;
  struct timespec until;

  memset(&t, 0, sizeof(t));
  t.fn = fn;
  t.arg = arg;
  sem_init(&t.done, 0, 0);
  MUST(weft_post(&r->weft, &t.req, on_task));
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += 20;
  while (sem_timedwait(&t.done, &until) != 0)
    if (errno == ETIMEDOUT) fail("a context does not come back: its loop hangs");
  sem_destroy(&t.done);
}

static void on_context_closed(weft_t *w) {
  runner_t *r = w->data;

  uv_close((uv_handle_t *) &r->hold, NULL);
}

static void close_context(void *arg) {
  weft_close(&((runner_t *) arg)->weft, on_context_closed);
}

static void runner_stop(runner_t *r) {
  struct timespec until;
  int err;

  runner_do(r, close_context, r);
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += 30;
  if (pthread_timedjoin_np(r->thread, NULL, &until) != 0) fail("a context does not close");
  err = uv_loop_close(&r->loop);
  if (err != 0) fail("a closed context leaves handles in the loop: %s", uv_strerror(err));
}

/* ---- The server ---- */

typedef struct sconn {
  weft_conn_t conn;
  weft_shutdown_t bye;
  weft_send_t push;
  char peer[80], label[64];
  bool paused;
  struct sconn *next, **link;
} sconn_t;

typedef struct echo {
  weft_send_t req;
  sconn_t *c;
  size_t len;
  char bytes[];
} echo_t;

static runner_t server, client;
static weft_listener_t listener;
static uint16_t port;
static sconn_t *sconns;
static char pushed[WORLD_PUSH_BYTES];
static unsigned nconns, nends; /* under lock */
static world_end_t ends[ENDS];

static void on_recv(weft_conn_t *conn, int status, weft_msg_t *msg);

static void count(int delta) {
  pthread_mutex_lock(&lock);
  nconns += (unsigned) delta;
  pthread_mutex_unlock(&lock);
}

static void on_sconn_closed(weft_conn_t *conn) {
  sconn_t *c = conn->data;

  *c->link = c->next;
  if (c->next != NULL) c->next->link = c->link;
  free(c);
  count(-1);
}

/* A port may serve two strangers one after the other: the first one's end is not the second one's.
 */
static void forget_end(const char *peer) {
  unsigned i;

  pthread_mutex_lock(&lock);
  for (i = 0; i < ENDS && i < nends; i++)
    if (strcmp(ends[i].peer, peer) == 0) ends[i].peer[0] = '\0';
  pthread_mutex_unlock(&lock);
}

static void sconn_end(sconn_t *c, int status) {
  world_end_t *e;

  if (weft_is_closing(&c->conn)) return;
  pthread_mutex_lock(&lock);
  e = &ends[nends++ % ENDS];
  snprintf(e->peer, sizeof(e->peer), "%s", c->peer);
  snprintf(e->label, sizeof(e->label), "%s", c->label);
  e->status = status;
  snprintf(e->why, sizeof(e->why), "%s", weft_conn_error(&c->conn));
  pthread_mutex_unlock(&lock);
  weft_conn_close(&c->conn, on_sconn_closed);
}

static void on_bye(weft_shutdown_t *req, int status) {
  sconn_t *c = req->data;

  if (status != UV_ECANCELED) sconn_end(c, 0);
}

static void on_echoed(weft_send_t *req, int status) {
  echo_t *e = (echo_t *) req;
  sconn_t *c = e->c;

  free(e);
  /* While it is paused it would not hear of its end. */
  if (c->paused && !weft_is_closing(&c->conn) &&
      (status != 0 || weft_conn_queued_bytes(&c->conn) < QUEUED_MAX / 2)) {
    c->paused = false;
    MUST(weft_recv_start(&c->conn, NULL, on_recv));
  }
}

static void on_recv(weft_conn_t *conn, int status, weft_msg_t *msg) {
  sconn_t *c = conn->data;
  echo_t *e;
  uv_buf_t buf;

  if (status == UV_EOF) {
    c->bye.data = c;
    if (weft_shutdown(&c->bye, conn, on_bye) != 0 && *weft_conn_error(conn) == '\0')
      sconn_end(c, 0); /* else its loss is told next */
    return;
  }
  if (status < 0) {
    sconn_end(c, status);
    return;
  }
  e = malloc(sizeof(*e) + weft_msg_size(msg));
  if (e == NULL) fail("out of memory");
  memset(&e->req, 0, sizeof(e->req));
  e->c = c;
  e->len = weft_msg_size(msg);
  memcpy(e->bytes, weft_msg_data(msg), e->len);
  buf = uv_buf_init(e->bytes, (unsigned) e->len);
  if (weft_send(&e->req, conn, &buf, 1, on_echoed) != 0) { /* the peer takes less than it sends */
    free(e);
    return;
  }
  if (!c->paused && weft_conn_queued_bytes(conn) > QUEUED_MAX) {
    c->paused = true;
    weft_recv_stop(conn);
  }
}

static void on_pushed(weft_send_t *req, int status) {
  (void) req;
  (void) status;
}

static void on_peer(weft_listener_t *l, int status) {
  const weft_peer_t *who = weft_listener_peer(l);
  sconn_t *c;
  uv_buf_t buf;

  if (status != 0) fail("the listener failed: %s", weft_strerror(status));
  if (strcmp(who->name, "reject") == 0) {
    MUST(weft_reject(l, UV_EACCES, "not on the list"));
    return;
  }
  if (strcmp(who->name, "wait") == 0) /* stays in the backlog */
    return;
  c = calloc(1, sizeof(*c));
  if (c == NULL) fail("out of memory");
  snprintf(c->peer, sizeof(c->peer), "%s", who->address);
  forget_end(c->peer);
  snprintf(c->label, sizeof(c->label), "%s", who->name);
  MUST(weft_conn_init(&server.weft, &c->conn));
  c->conn.data = c;
  c->next = sconns;
  if (c->next != NULL) c->next->link = &c->next;
  c->link = &sconns;
  sconns = c;
  count(1);
  MUST(weft_accept(l, &c->conn));
  if (strcmp(c->label, "hold") != 0) MUST(weft_recv_start(&c->conn, NULL, on_recv));
  if (strcmp(c->label, "push") == 0) {
    buf = uv_buf_init(pushed, sizeof(pushed));
    (void) weft_send(&c->push, &c->conn, &buf, 1, on_pushed);
  }
}

static void print_conns(void *arg) {
  char json[4096];
  size_t len;
  sconn_t *c;

  (void) arg;
  for (c = sconns; c != NULL; c = c->next) {
    len = sizeof(json);
    if (weft_is_closing(&c->conn) || weft_conn_info_json(&c->conn, json, &len) != 0)
      snprintf(json, sizeof(json), "(closing)");
    fprintf(stderr, "open: %s \"%s\"%s: %s\n", c->peer, c->label, c->paused ? ", paused" : "",
            json);
  }
}

static void release(void *arg) {
  sconn_t *c;

  (void) arg;
  for (c = sconns; c != NULL; c = c->next)
    if (strcmp(c->label, "hold") == 0 && !weft_is_closing(&c->conn))
      (void) weft_recv_start(&c->conn, NULL, on_recv);
}

void world_release(void) {
  runner_do(&server, release, NULL);
}

static void listen_now(void *arg) {
  char url[300];
  size_t len = sizeof(url);
  const char *colon;

  (void) arg;
  MUST(weft_listener_init(&server.weft, &listener));
  MUST(weft_listen(&listener, "weft://127.0.0.1:0", 64, on_peer));
  MUST(weft_listener_addr(&listener, url, &len));
  colon = strrchr(url, ':');
  port = (uint16_t) strtoul(colon + 1, NULL, 10);
  if (port == 0) fail("no port in %s", url);
}

static void close_server(void *arg) {
  sconn_t *c;

  (void) arg;
  for (c = sconns; c != NULL; c = c->next)
    if (!weft_is_closing(&c->conn)) weft_conn_close(&c->conn, on_sconn_closed);
  weft_listener_close(&listener, NULL);
}

uint16_t world_port(void) {
  return port;
}

unsigned world_conns(void) {
  unsigned n;

  pthread_mutex_lock(&lock);
  n = nconns;
  pthread_mutex_unlock(&lock);
  return n;
}

static bool end_of(const char *peer, world_end_t *out) {
  bool found = false;
  unsigned i;

  pthread_mutex_lock(&lock);
  for (i = 0; i < ENDS && i < nends && !found; i++)
    if (strcmp(ends[i].peer, peer) == 0) {
      found = true;
      *out = ends[i];
    }
  pthread_mutex_unlock(&lock);
  return found;
}

bool world_ended(const char *peer) {
  world_end_t e;

  return end_of(peer, &e);
}

world_end_t world_end_of(const char *peer, int ms) {
  uint64_t until = peer_now_ms() + (uint64_t) ms;
  world_end_t e;

  while (!end_of(peer, &e)) {
    if (peer_now_ms() >= until)
      fail("the server's connection with %s has not ended after %d ms", peer, ms);
    nap(2);
  }
  return e;
}

/* ---- The honest client ---- */

static dial_t honest;
static weft_send_t honest_req;
static char honest_bytes[1 << 20];
static size_t honest_size;
static bool honest_back, honest_bad; /* under lock */

static void on_honest_recv(weft_conn_t *conn, int status, weft_msg_t *msg) {
  if (status != 0)
    fail("the honest client lost its connection: %s (%s)", weft_conn_error(conn),
         weft_strerror(status));
  pthread_mutex_lock(&lock);
  honest_bad = weft_msg_size(msg) != honest_size ||
               memcmp(weft_msg_data(msg), honest_bytes, honest_size) != 0;
  honest_back = true;
  pthread_mutex_unlock(&lock);
}

static void on_honest_sent(weft_send_t *req, int status) {
  (void) req;
  if (status != 0) fail("the honest client's message was not taken: %s", weft_strerror(status));
}

static void send_honest(void *arg) {
  uv_buf_t buf = uv_buf_init(honest_bytes, (unsigned) honest_size);

  (void) arg;
  MUST(weft_send(&honest_req, &honest.conn, &buf, 1, on_honest_sent));
}

void world_echo(size_t size) {
  static uint64_t state = 1;
  uint64_t until = peer_now_ms() + 5000 * (WORLD_SANITIZED ? 4 : 1);
  bool back = false;
  size_t i;

  if (size > sizeof(honest_bytes)) fail("too much for the honest client");
  for (i = 0; i < size; i++) honest_bytes[i] = (char) peer_random(&state);
  honest_size = size;
  honest_back = false;
  runner_do(&client, send_honest, NULL);
  while (!back) {
    if (peer_now_ms() >= until) fail("the honest client's %zu bytes have not come back", size);
    nap(1);
    pthread_mutex_lock(&lock);
    back = honest_back;
    pthread_mutex_unlock(&lock);
  }
  if (honest_bad) fail("the honest client got other bytes back than it sent");
}

/* ---- Dials ---- */

typedef struct dial_arg {
  dial_t *d;
  const char *url;
  size_t size;
  int err;
} dial_arg_t;

static void on_dial_recv(weft_conn_t *conn, int status, weft_msg_t *msg) {
  dial_t *d = conn->data;

  pthread_mutex_lock(&lock);
  if (status == 0) {
    d->got++;
    d->got_bytes += weft_msg_size(msg);
  } else {
    d->lost = true;
    d->lost_status = status;
    snprintf(d->lost_why, sizeof(d->lost_why), "%s", weft_conn_error(conn));
  }
  pthread_mutex_unlock(&lock);
}

static void on_dialled(weft_connect_t *req, int status) {
  dial_t *d = req->data;

  pthread_mutex_lock(&lock);
  d->done = true;
  d->status = status;
  d->took_ms = peer_now_ms() - d->from_ms;
  snprintf(d->why, sizeof(d->why), "%s", weft_conn_error(&d->conn));
  pthread_mutex_unlock(&lock);
}

static void do_dial(void *arg) {
  dial_arg_t *a = arg;
  dial_t *d = a->d;

  d->from_ms = peer_now_ms();
  MUST(weft_conn_init(&client.weft, &d->conn));
  d->conn.data = d->req.data = d;
  a->err = weft_connect(&d->req, &d->conn, a->url, NULL, on_dialled);
  if (a->err == 0)
    MUST(weft_recv_start(&d->conn, NULL, d == &honest ? on_honest_recv : on_dial_recv));
}

int dial_start(dial_t *d, const char *url) {
  dial_arg_t a = {.d = d, .url = url};

  memset(d, 0, sizeof(*d));
  runner_do(&client, do_dial, &a);
  return a.err;
}

static bool wait_flag(const bool *flag, int ms) {
  uint64_t until = peer_now_ms() + (uint64_t) ms;
  bool set = false;

  for (;;) {
    pthread_mutex_lock(&lock);
    set = *flag;
    pthread_mutex_unlock(&lock);
    if (set || peer_now_ms() >= until) return set;
    nap(1);
  }
}

bool dial_wait(dial_t *d, int ms) {
  return wait_flag(&d->done, ms);
}

bool dial_wait_lost(dial_t *d, int ms) {
  return wait_flag(&d->lost, ms);
}

static void do_send(void *arg) {
  static const char zeros[1 << 16];
  dial_arg_t *a = arg;
  uv_buf_t buf = uv_buf_init((char *) zeros, (unsigned) a->size);

  (void) weft_try_send(&a->d->conn, &buf, 1);
}

void dial_send(dial_t *d, size_t size) {
  dial_arg_t a = {.d = d, .size = size};

  runner_do(&client, do_send, &a);
}

static void do_info(void *arg) {
  dial_t *d = arg;

  MUST(weft_conn_info(&d->conn, &d->info, sizeof(d->info)));
}

void dial_info(dial_t *d) {
  runner_do(&client, do_info, d);
}

static void on_dial_closed(weft_conn_t *conn) {
  dial_t *d = conn->data;

  pthread_mutex_lock(&lock);
  d->closed = true;
  pthread_mutex_unlock(&lock);
}

static void do_dial_close(void *arg) {
  weft_conn_close(&((dial_t *) arg)->conn, on_dial_closed);
}

void dial_close(dial_t *d) {
  runner_do(&client, do_dial_close, d);
  if (!wait_flag(&d->closed, 10000)) fail("a connection does not close");
}

/* ---- The world ---- */

static unsigned fds_at_start, rss_at_start;

static unsigned count_fds(void) {
  DIR *dir = opendir("/proc/self/fd");
  unsigned n = 0;

  if (dir == NULL) fail("/proc/self/fd cannot be read");
  while (readdir(dir) != NULL) n++;
  closedir(dir);
  return n;
}

static unsigned rss_mib(void) {
  unsigned long size, resident = 0;
  FILE *f = fopen("/proc/self/statm", "r");

  if (f == NULL || fscanf(f, "%lu %lu", &size, &resident) != 2)
    fail("/proc/self/statm cannot be read");
  fclose(f);
  return (unsigned) (resident * (unsigned long) sysconf(_SC_PAGESIZE) >> 20);
}

void world_start(void (*tune)(weft_opts_t *)) {
  static peer_t p[WARM];
  weft_opts_t opts;
  char url[80];
  unsigned i;

  weft_log_set(WEFT_LOG_INFO, on_log, NULL);
  weft_opts_init(&opts, sizeof(opts));
  if (tune != NULL) tune(&opts);
  runner_start(&server, &opts);
  runner_start(&client, &opts);
  runner_do(&server, listen_now, NULL);
  snprintf(url, sizeof(url), "weft://127.0.0.1:%u", port);
  MUST(dial_start(&honest, url));
  if (!dial_wait(&honest, 20000) || honest.status != 0)
    fail("the honest client does not connect: %s", honest.why);
  world_echo(100);
  world_echo(sizeof(honest_bytes));
  /* Strangers, so that what is made on first need, or per so many paths, is there before it is
   * counted. */
  for (i = 0; i < WARM; i++) peer_open(&p[i], port, "first");
  for (i = 0; i < WARM; i++) {
    peer_msg(&p[i], NULL, 0);
    (void) world_end_of(p[i].name, 20000);
    peer_close(&p[i]);
  }
  nap(50);
  fds_at_start = count_fds();
  rss_at_start = rss_mib();
}

void world_rebase(void) {
  nap(300);
  fds_at_start = count_fds();
}

void world_check(void) {
  uint64_t until = peer_now_ms() + 8000 * (WORLD_SANITIZED ? 2 : 1);

  world_echo(64);
  world_echo(70000);
  world_release();
  while (world_conns() != 1) {
    if (peer_now_ms() >= until) runner_do(&server, print_conns, NULL);
    if (peer_now_ms() >= until)
      fail("the server still has %u connections beside the honest one", world_conns() - 1);
    nap(2);
  }
  while (count_fds() > fds_at_start) {
    if (peer_now_ms() >= until)
      fail("%u file descriptors are open, %u were at the start", count_fds(), fds_at_start);
    nap(2);
  }
}

void world_check_memory(unsigned mib) {
  unsigned now = rss_mib();

  if (!WORLD_SANITIZED && now > rss_at_start + mib)
    fail("resident memory grew from %u MiB to %u MiB", rss_at_start, now);
}

void world_stop(void) {
  unsigned i;

  dial_close(&honest);
  runner_do(&server, close_server, NULL);
  runner_stop(&client);
  runner_stop(&server);
  weft_log_set(WEFT_LOG_WARN, NULL, NULL);
  for (i = 0; i < LINES; i++) {
    free(lines[i]);
    lines[i] = NULL;
  }
}
