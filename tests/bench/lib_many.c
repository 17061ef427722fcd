/* SPDX-License-Identifier: Apache-2.0 */
/* lib_many.c - many connections in one context: open, echo, close. */
#include "lib_many.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct one_s {
  weft_conn_t handle;
  weft_connect_t connect;
  weft_shutdown_t shutdown;
  bench_many_t *many;
  int open, ended;
} one_t;

struct bench_many_s {
  bench_weft_t *weft;
  char url[256];
  unsigned n, begun, open, closed, broken, flying, width;
  int echo, closing;
  char error[256];
  one_t one[];
};

static void more(bench_many_t *m);

static void broken(one_t *o, int status) {
  bench_many_t *m = o->many;
  if (o->ended) return;
  o->ended = 1;
  m->broken++;
  if (!*m->error)
    snprintf(m->error, sizeof(m->error), "%s: %s", weft_strerror(status),
             weft_conn_error(&o->handle));
}

static void opened(one_t *o) {
  o->open = 1;
  o->many->open++;
  o->many->flying--;
  more(o->many);
}

static void on_closed(weft_conn_t *handle) {
  one_t *o = handle->data;
  o->many->closed++;
  o->many->flying--;
  more(o->many);
}

static void on_recv(weft_conn_t *handle, int status, weft_msg_t *msg) {
  one_t *o = handle->data;
  if (status == UV_EOF && o->many->closing) {
    o->ended = 1;
    weft_conn_close(handle, on_closed);
  } else if (status < 0) {
    broken(o, status);
    if (o->many->closing) weft_conn_close(handle, on_closed);
  } else if (!o->open && weft_msg_size(msg) == sizeof(o->many->n)) {
    opened(o);
  }
}

static void on_connected(weft_connect_t *req, int status) {
  one_t *o = req->data;
  uv_buf_t buf = {.base = (char *) &o->many->n, .len = sizeof(o->many->n)};
  if (status == 0) status = weft_recv_start(&o->handle, NULL, on_recv);
  if (status == 0 && o->many->echo) status = weft_try_send(&o->handle, &buf, 1);
  if (status < 0)
    bench_die("connection %u: %s: %s", o->many->open, weft_strerror(status),
              weft_conn_error(&o->handle));
  if (!o->many->echo) opened(o);
}

static void on_shutdown(weft_shutdown_t *req, int status) {
  one_t *o = req->data;
  if (status < 0) broken(o, status); /* its end comes by on_recv */
}

static void begin(bench_many_t *m, one_t *o) {
  int rc;
  if (m->closing) {
    o->shutdown.data = o;
    if (o->ended || weft_shutdown(&o->shutdown, &o->handle, on_shutdown))
      weft_conn_close(&o->handle, on_closed);
    return;
  }
  o->many = m;
  if ((rc = weft_conn_init(perf_client_weft(m->weft->client), &o->handle)))
    bench_die("weft_conn_init: %s", weft_strerror(rc));
  o->handle.data = o->connect.data = o;
  if ((rc = weft_connect(&o->connect, &o->handle, m->url, NULL, on_connected)))
    bench_die("weft_connect %s: %s", m->url, weft_strerror(rc));
}

static void more(bench_many_t *m) {
  while (m->begun < m->n && m->flying < m->width) {
    m->flying++;
    begin(m, &m->one[m->begun++]);
  }
}

static int all_open(perf_client_t *c, void *arg) {
  (void) c;
  return ((bench_many_t *) arg)->open == ((bench_many_t *) arg)->n;
}

static int all_closed(perf_client_t *c, void *arg) {
  (void) c;
  return ((bench_many_t *) arg)->closed == ((bench_many_t *) arg)->n;
}

bench_many_t *bench_many_open(bench_weft_t *weft, const char *needs, unsigned n, unsigned width,
                              int echo, unsigned seconds) {
  bench_many_t *m = calloc(1, sizeof(*m) + n * sizeof(m->one[0]));
  if (!m) bench_die("out of memory");
  m->weft = weft;
  m->n = n;
  m->width = width;
  m->echo = echo;
  snprintf(m->url, sizeof(m->url), "%.*s%s%s", (int) strcspn(weft->url, "?"), weft->url,
           *needs ? "?" : "", needs);
  more(m);
  perf_client_run(weft->client, seconds * 1000, all_open, m);
  if (m->open != n) bench_die("%u of %u connections opened in %u s", m->open, n, seconds);
  return m;
}

unsigned bench_many_broken(const bench_many_t *m) {
  if (m->broken) printf("%u connections ended: %s\n", m->broken, m->error);
  return m->broken;
}

unsigned bench_many_close(bench_many_t *m, unsigned width, unsigned seconds) {
  m->closing = 1;
  m->begun = m->flying = 0;
  m->width = width;
  more(m);
  perf_client_run(m->weft->client, seconds * 1000, all_closed, m);
  unsigned bad = bench_many_broken(m) + m->n - m->closed;
  if (m->closed == m->n) free(m);
  return bad;
}
