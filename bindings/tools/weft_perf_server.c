/* SPDX-License-Identifier: Apache-2.0 */
/* weft_perf_server.c - echoes or counts what arrives, reports, and lends itself to the floors.
 *
 * Design notes
 * - Nothing is allocated per message once a connection is warm: destinations of large messages and
 *   send requests are kept in lists and used again.
 * - A floor blocks the whole server while it runs: one measurement at a time, as iperf3 does. It
 *   starts when its answer has been acknowledged, at the latest after FLOOR_DELAY_MS: the client
 *   must not wait for a stopped loop. It ends when the time is over that was granted to it, or on a
 *   signal, of which the stopped loop would not hear: the floor has handlers of its own. */
#include "weft_perf.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define FLOOR_DELAY_MS 100

typedef struct echo_s { /* one under way by weft_send */
  struct echo_s *next;
  weft_send_t req;
  struct conn_s *conn;
  weft_msg_t *kept;
} echo_t;

typedef struct conn_s {
  weft_conn_t handle;
  weft_shutdown_t shutdown;
  perf_server_t *server;
  uint64_t messages, bytes, check;
  int mode;
  echo_t *free; /* to be used again */
  struct conn_s *prev, *next;
} conn_t;

typedef struct answer_s {
  weft_send_t req;
  perf_server_t *server;
  perf_ctl_t ctl;
} answer_t;

struct perf_server_s {
  const perf_server_opts_t *opts;
  uv_loop_t loop;
  weft_t weft;
  weft_listener_t listener;
  uv_signal_t sigint, sigterm;
  uv_poll_t stop;
  uv_timer_t floor_timer;
  perf_floor_server_t *floor;
  conn_t conns; /* a ring */
};

uint64_t perf_cpu_ns(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (uint64_t) (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000u +
         (uint64_t) (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000u;
}

uint64_t perf_word(const void *data, size_t size) {
  const char *p = data;
  uint64_t sum = size, v;
  for (size_t i = 0; i + 8 <= size; i += 65536) {
    memcpy(&v, p + i, 8);
    sum += v * (2 * i + 1);
  }
  if (size >= 8) {
    memcpy(&v, p + size - 8, 8);
    sum ^= v << 1;
  }
  return sum;
}

static uint64_t rss_now(void) {
  unsigned long pages = 0;
  FILE *f = fopen("/proc/self/statm", "r");
  if (f && fscanf(f, "%*u %lu", &pages) != 1) pages = 0;
  if (f) fclose(f);
  return pages * (uint64_t) sysconf(_SC_PAGESIZE);
}

static void conn_free(conn_t *c) {
  c->prev->next = c->next;
  c->next->prev = c->prev;
  for (echo_t *e = c->free, *next; e; e = next) {
    next = e->next;
    free(e);
  }
  free(c);
}

static void on_closed(weft_conn_t *handle) {
  conn_free(handle->data);
}

static void on_echoed(weft_send_t *req, int status) {
  echo_t *e = req->data;
  (void) status; /* a failed connection tells its receive callback */
  weft_msg_release(e->kept);
  e->next = e->conn->free;
  e->conn->free = e;
}

static void echo(conn_t *c, weft_msg_t *msg) {
  uv_buf_t buf = uv_buf_init((char *) weft_msg_data(msg), 0);
  buf.len = weft_msg_size(msg); /* uv_buf_init takes 32 bits */
  if (buf.len <= PERF_TRY_MAX && weft_try_send(&c->handle, &buf, 1) == 0) return;
  echo_t *e = c->free ? c->free : calloc(1, sizeof(*e));
  if (e && e == c->free) c->free = e->next;
  if (!e || !(e->kept = weft_msg_retain(msg))) {
    free(e);
    weft_conn_close(&c->handle, on_closed);
    return;
  }
  buf.base = (char *) weft_msg_data(e->kept);
  e->conn = c;
  e->req.data = e;
  if (weft_send(&e->req, &c->handle, &buf, 1, on_echoed) != 0) on_echoed(&e->req, UV_ECANCELED);
}

/* ---- Control ---- */

static void stop(perf_server_t *s);

static volatile sig_atomic_t told_to_stop;

static void on_signal_in_floor(int signum) {
  (void) signum;
  told_to_stop = 1;
}

static const int signals[2] = {SIGINT, SIGTERM};
static struct sigaction theirs[2];

static void on_floor_run(uv_timer_t *t) {
  perf_server_t *s = t->data;
  perf_floor_server_t *floor = s->floor;
  s->floor = NULL;
  perf_floor_serve(floor, &told_to_stop);
  for (int i = 0; i < 2; i++) sigaction(signals[i], &theirs[i], NULL);
  if (told_to_stop) stop(s);
}

/* One turn of the loop ahead: what the loop's own handler has caught until now is heard first. */
static void on_floor_timer(uv_timer_t *t) {
  struct sigaction ours = {.sa_handler = on_signal_in_floor}; /* no SA_RESTART */
  told_to_stop = 0;
  for (int i = 0; i < 2; i++) sigaction(signals[i], &ours, &theirs[i]);
  uv_timer_start(t, on_floor_run, 1,
                 0); /* one that is due at once would run before the loop polls */
}

static void on_answered(weft_send_t *req, int status) {
  answer_t *a = req->data;
  if (a->ctl.op == PERF_FLOOR_AT && a->server->floor && status == 0 &&
      uv_timer_get_due_in(&a->server->floor_timer) > 0)
    uv_timer_start(&a->server->floor_timer, on_floor_timer, 0, 0);
  free(a);
}

static void answer(conn_t *c, const perf_ctl_t *ctl) {
  answer_t *a = calloc(1, sizeof(*a));
  if (!a) return;
  a->ctl = *ctl;
  a->server = c->server;
  a->req.data = a;
  uv_buf_t buf = uv_buf_init((char *) &a->ctl, sizeof(a->ctl));
  if (weft_send(&a->req, &c->handle, &buf, 1, on_answered) != 0) free(a);
}

/* A peer chooses the floor's shape; its memory, its time and its address are ours to bound. */
static void floor_open(conn_t *c, perf_ctl_t *ctl) {
  perf_server_t *s = c->server;
  perf_floor_spec_t *spec = &ctl->floor;
  ctl->op = PERF_FLOOR_AT;
  ctl->rc = UV_EINVAL;
  weft_conn_info_t info;
  spec->provider[sizeof(spec->provider) - 1] = '\0';
  spec->port = 0;
  if (s->floor) {
    ctl->rc = UV_EBUSY;
    return;
  }
  if (spec->size > PERF_FLOOR_BYTES || spec->window > 1024 ||
      spec->size * spec->window > PERF_FLOOR_BYTES || !(spec->seconds <= PERF_FLOOR_SECONDS)) {
    ctl->rc = UV_E2BIG;
    return;
  }
  if (spec->size < 16 || spec->window < 1 || !(spec->seconds >= 0) ||
      weft_conn_info(&c->handle, &info, sizeof(info)) != 0)
    return;
  /* "10.9.1.2:7000" or "[fe80::1%v0]:7000": the address of the path in use */
  char *colon = strrchr(info.local, ':'), *host = info.local;
  if (colon) *colon = '\0';
  if (*host == '[') {
    host++;
    host[strcspn(host, "]")] = '\0';
  }
  snprintf(spec->host, sizeof(spec->host), "%.79s", host);
  ctl->rc = perf_floor_listen(spec, &s->floor, &spec->port);
  if (ctl->rc == 0) uv_timer_start(&s->floor_timer, on_floor_timer, FLOOR_DELAY_MS, 0);
}

static void control(conn_t *c, const perf_ctl_t *ask) {
  perf_ctl_t ctl = {.magic = PERF_MAGIC};
  weft_conn_info_t info;
  switch (ask->op) {
  case PERF_ECHO:
  case PERF_SINK:
    c->mode = (int) ask->op;
    c->messages = c->bytes = c->check = 0;
    return;
  case PERF_REPORT:
    ctl.op = PERF_REPORTED;
    ctl.messages = c->messages;
    ctl.bytes = c->bytes;
    ctl.check = c->check;
    ctl.cpu_ns = perf_cpu_ns();
    ctl.rss = rss_now();
    if (weft_conn_info(&c->handle, &info, sizeof(info)) == 0) ctl.copies = info.payload_copies;
    answer(c, &ctl);
    return;
  case PERF_FLOOR:
    ctl.floor = ask->floor;
    floor_open(c, &ctl);
    answer(c, &ctl);
    return;
  default: break;
  }
  weft_conn_close(&c->handle, on_closed); /* not a client of ours */
}

/* ---- Connections ---- */

static void on_shutdown(weft_shutdown_t *req, int status) {
  conn_t *c = req->data;
  (void) status;
  if (!weft_is_closing(&c->handle)) weft_conn_close(&c->handle, on_closed);
}

static void on_recv(weft_conn_t *handle, int status, weft_msg_t *msg) {
  conn_t *c = handle->data;
  if (status == UV_EOF) { /* an orderly end deserves one: the client waits for ours */
    c->shutdown.data = c;
    if (weft_shutdown(&c->shutdown, handle, on_shutdown) == 0) return;
  }
  if (status < 0) {
    if (!c->server->opts->quiet && status != UV_EOF)
      fprintf(stderr, "connection lost: %s\n", weft_conn_error(handle));
    weft_conn_close(handle, on_closed);
    return;
  }
  const void *data = weft_msg_data(msg);
  size_t size = weft_msg_size(msg);
  if (size == sizeof(perf_ctl_t) && ((const perf_ctl_t *) data)->magic == PERF_MAGIC) {
    control(c, data);
    return;
  }
  c->messages++;
  c->bytes += size;
  c->check += perf_word(data, size);
  if (c->mode == PERF_ECHO) echo(c, msg);
}

static void on_listen(weft_listener_t *l, int status) {
  perf_server_t *s = l->data;
  if (status < 0) {
    fprintf(stderr, "the listener failed: %s\n", weft_strerror(status));
    uv_stop(&s->loop);
    return;
  }
  conn_t *c = calloc(1, sizeof(*c));
  if (!c || weft_conn_init(&s->weft, &c->handle) != 0) {
    free(c);
    weft_reject(l, UV_ENOMEM, "out of memory");
    return;
  }
  c->handle.data = c;
  c->server = s;
  c->mode = PERF_ECHO;
  c->prev = &s->conns;
  c->next = s->conns.next;
  c->next->prev = c->prev->next = c;
  if (!s->opts->quiet) {
    const weft_peer_t *peer = weft_listener_peer(l);
    fprintf(stderr, "connection from %s\n", peer ? peer->address : "?");
  }
  if (weft_accept(l, &c->handle) != 0 || weft_recv_start(&c->handle, NULL, on_recv) != 0)
    weft_conn_close(&c->handle, on_closed);
}

static void stop(perf_server_t *s) {
  if (uv_is_closing((uv_handle_t *) &s->sigint)) return;
  weft_close(&s->weft, NULL);
  uv_close((uv_handle_t *) &s->sigint, NULL);
  uv_close((uv_handle_t *) &s->sigterm, NULL);
  uv_close((uv_handle_t *) &s->floor_timer, NULL);
  if (s->opts->stop_fd >= 0) uv_close((uv_handle_t *) &s->stop, NULL);
}

static void on_signal(uv_signal_t *h, int signum) {
  (void) signum;
  stop(h->data);
}

static void on_stop(uv_poll_t *h, int status, int events) {
  (void) status;
  (void) events;
  stop(h->data);
}

int perf_server_run(const perf_server_opts_t *opts) {
  perf_server_t *s = calloc(1, sizeof(*s));
  char url[512];
  size_t len = sizeof(url);
  int rc = s ? uv_loop_init(&s->loop) : UV_ENOMEM;
  if (rc) {
    free(s);
    return rc;
  }
  s->opts = opts;
  s->conns.prev = s->conns.next = &s->conns;
  if ((rc = weft_init(&s->loop, &s->weft, opts->opts))) {
    fprintf(stderr, "weft_init: %s\n", weft_strerror(rc));
    uv_loop_close(&s->loop);
    free(s);
    return rc;
  }
  uv_signal_init(&s->loop, &s->sigint);
  uv_signal_init(&s->loop, &s->sigterm);
  uv_timer_init(&s->loop, &s->floor_timer);
  s->sigint.data = s->sigterm.data = s->floor_timer.data = s->listener.data = s;
  uv_signal_start(&s->sigint, on_signal, SIGINT);
  uv_signal_start(&s->sigterm, on_signal, SIGTERM);
  if (opts->stop_fd >= 0) {
    uv_poll_init(&s->loop, &s->stop, opts->stop_fd);
    s->stop.data = s;
    uv_poll_start(&s->stop, UV_READABLE | UV_DISCONNECT, on_stop);
  }
  if ((rc = weft_listener_init(&s->weft, &s->listener)) == 0) s->listener.data = s;
  if (rc || (rc = weft_listen(&s->listener, opts->url, 4096, on_listen)) ||
      (rc = weft_listener_addr(&s->listener, url, &len))) {
    fprintf(stderr, "listening at %s: %s\n", opts->url, weft_strerror(rc));
    stop(s);
  } else if (opts->ready) {
    opts->ready(url, opts->arg);
  }
  uv_run(&s->loop, UV_RUN_DEFAULT);
  if (!uv_is_closing((uv_handle_t *) &s->sigint)) { /* the listener failed */
    rc = UV_EIO;
    stop(s);
    uv_run(&s->loop, UV_RUN_DEFAULT);
  }
  if (s->floor) { /* frees it */
    told_to_stop = 1;
    perf_floor_serve(s->floor, &told_to_stop);
  }
  while (s->conns.next != &s->conns) conn_free(s->conns.next);
  uv_loop_close(&s->loop);
  free(s);
  return rc;
}
