/* SPDX-License-Identifier: Apache-2.0 */
/* session_test.h - what this folder's tests of sessions share: two of them joined by queues in
 * memory, without faults of chance.
 *
 * Design notes
 *  - A wire is a pair of paths; what one end sends waits in the other's inbox until pump() hands it
 *    over. Tests cut, hold and drop at exact points; the simulator does the same at random. */
#ifndef WEFT_SESSION_SESSION_TEST_H
#define WEFT_SESSION_SESSION_TEST_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session/internal.h"

/* Each test uses what it needs of this file. */
#pragma GCC diagnostic ignored "-Wunused-function"

typedef struct frame {
  struct frame *next;
  weft__rbuf_t rbuf;
  uint8_t data[WEFT__FRAME_MAX];
} frame_t;

typedef struct end end_t;
typedef struct {
  weft__path_t path;
  end_t *end;
  frame_t *inbox, **tail; /* frames and writes come in order */
  weft__rma_t *done;      /* writes whose completion is due */
  bool held, closing, closed, is_open;
  bool slow;                      /* its RMA goes on until this is false, or it closes */
  bool hangs;                     /* its close goes on until this is false */
  bool sticks;                    /* a sink cannot be closed until this is false */
  bool no_memory;                 /* its provider refuses it */
  bool fails;                     /* reads and writes complete with an error */
  int no_rma;                     /* read and write answer this */
  int open[3];                    /* memory, by weft__open_t */
  unsigned writes, reads, denied; /* denied: memory */
  weft__tbuf_t tb;
  bool tb_out;
} port_t;
typedef struct {
  port_t p[2];
} wire_t;

struct end {
  weft__session_t *s;
  uint64_t now;
  bool dirty, gone, ended, eof, refuse, defers;
  int end_err, sent_ok, sent_err, last_err, moved, stalled, path_down;
  uint64_t rx_count, rx_bytes, next_tag;
  uint8_t *large;
  bool check_tags;
  void (*on_msg)(end_t *, const weft__rxm_t *);
};

static end_t A, B;
static wire_t wires[4];

static port_t *other(port_t *p) {
  for (unsigned i = 0; i < 4; i++) {
    if (p == &wires[i].p[0]) return &wires[i].p[1];
    if (p == &wires[i].p[1]) return &wires[i].p[0];
  }
  abort();
}

static weft__tbuf_t *tx_get(weft__path_t *path) {
  port_t *p = (port_t *) path;
  assert_false(p->tb_out);
  assert_false(p->closing);
  p->tb_out = true;
  frame_t *f = calloc(1, sizeof *f);
  p->tb = (weft__tbuf_t){f->data, sizeof f->data};
  return &p->tb;
}
static frame_t *frame_of(weft__tbuf_t *b) {
  return (frame_t *) (void *) (b->data - offsetof(frame_t, data));
}
static void tx_put(weft__path_t *path, weft__tbuf_t *b) {
  ((port_t *) path)->tb_out = false;
  free(frame_of(b));
}
static void no_recycle(weft__rbuf_t *b) {
  (void) b;
}
static int tx_send(weft__path_t *path, weft__tbuf_t *b, uint32_t len) {
  port_t *p = (port_t *) path, *q = other(p);
  frame_t *f = frame_of(b);
  p->tb_out = false;
  if (q->closed || (p->fails && p->reads + p->writes)) { /* nothing passes what failed */
    free(f);
    return 0;
  }
  f->next = NULL;
  f->rbuf = (weft__rbuf_t){.data = f->data, .len = len, .refs = 1, .recycle = no_recycle};
  *q->tail = f;
  q->tail = &f->next;
  return 0;
}
static int rma_write(weft__path_t *path, weft__rma_t *r) {
  port_t *p = (port_t *) path;
  uint8_t *to = (uint8_t *) (uintptr_t) r->addr;
  if (p->no_rma) return p->no_rma;
  if (!p->held && !p->fails)
    for (uint32_t i = 0; i < r->niov; i++) {
      memcpy(to, r->iov[i].iov_base, r->iov[i].iov_len);
      to += r->iov[i].iov_len;
    }
  r->next = p->done;
  p->done = r;
  p->writes++;
  return 0;
}
/* Its bytes are fetched when it completes: a source that was given back too early is seen. */
static int rma_read(weft__path_t *path, weft__rma_t *r) {
  port_t *p = (port_t *) path;
  if (p->no_rma) return p->no_rma;
  assert_int_equal(path->lim.xfer, WEFT__XFER_READ);
  assert_int_equal(r->niov, 1);
  assert_int_equal(r->sink->key, 1 + WEFT__OPEN_SINK);
  assert_true(r->sink->addr <= (uintptr_t) r->iov[0].iov_base);
  r->next = p->done;
  p->done = r;
  p->reads++;
  return 0;
}
static int expose(weft__path_t *path, void *buf, size_t len, weft__open_t what, weft__mr_t *mr) {
  port_t *p = (port_t *) path;
  assert_int_not_equal(path->lim.xfer, WEFT__XFER_COPY);
  assert_true(what == WEFT__OPEN_WRITE || path->lim.xfer == WEFT__XFER_READ);
  assert_true(len > 0 && len <= path->lim.rma_max);
  if (p->no_memory) {
    p->denied++;
    return -ENOMEM;
  }
  mr->addr = (uint64_t) (uintptr_t) buf;
  mr->key = 1 + what;
  p->open[what]++;
  return 0;
}
static int unexpose(weft__path_t *path, weft__mr_t *mr) {
  port_t *p = (port_t *) path;
  assert_false(p->closed);
  if (p->sticks && mr->key == 1 + WEFT__OPEN_SINK) return -EIO;
  assert_true(p->open[mr->key - 1]-- > 0);
  return 0;
}
static void path_close(weft__path_t *path) {
  ((port_t *) path)->closing = true;
}
static const weft__path_ops_t ops = {tx_get,
                                     tx_send,
                                     tx_put,
                                     rma_write,
                                     .read = rma_read,
                                     .expose = expose,
                                     .unexpose = unexpose,
                                     .close = path_close};

static void on_hello(void *o, const weft__hello_t *h) {
  end_t *e = o;
  (void) h;
  if (e == &B && !e->defers) weft__session_accept(e->s);
}
static void on_deliver(void *o, const weft__rxm_t *m) {
  end_t *e = o;
  e->rx_count++;
  e->rx_bytes += m->size;
  if (e->check_tags && m->size >= 8) {
    uint64_t tag;
    memcpy(&tag, m->data, 8);
    assert_int_equal(tag, e->next_tag);
    for (size_t i = 8; i < m->size; i++)
      assert_int_equal(((const uint8_t *) m->data)[i], (uint8_t) (tag + i));
    e->next_tag++;
  }
  if (e->on_msg) e->on_msg(e, m);
  if (m->large) free(m->large);
}
static void on_eof(void *o) {
  ((end_t *) o)->eof = true;
}
static void *on_alloc(void *o, uint64_t n, const void *head, uint32_t headlen) {
  (void) head;
  (void) headlen;
  return ((end_t *) o)->refuse ? NULL : malloc((size_t) n);
}
static void on_unalloc(void *o, void *p) {
  (void) o;
  free(p);
}
static void on_sent(void *o, weft__txm_t *m, int st) {
  end_t *e = o;
  if (st == 0)
    e->sent_ok++;
  else
    e->sent_err++;
  if (st) e->last_err = st;
  free((void *) m->owner[0]);
  free(m);
}
static void on_event(void *o, const weft__sev_t *ev) {
  end_t *e = o;
  if (ev->type == WEFT__SEV_MIGRATED) e->moved++;
  if (ev->type == WEFT__SEV_STALLED) e->stalled++;
  if (ev->type == WEFT__SEV_PATH_DOWN) e->path_down++;
}
static void on_path_closed(void *o, weft__path_t *p, int err, const char *why) {
  (void) o;
  (void) p;
  (void) err;
  (void) why;
}
static void on_dirty(void *o) {
  ((end_t *) o)->dirty = true;
}
static void on_timer(void *o, uint64_t d) {
  (void) o;
  (void) d;
}
static void on_ended(void *o, int err, const char *why) {
  end_t *e = o;
  (void) why;
  e->ended = true;
  e->end_err = err;
}
static void on_gone(void *o) {
  ((end_t *) o)->gone = true;
}
static void on_random(void *o, void *p, size_t n) {
  (void) o;
  for (size_t i = 0; i < n; i++) ((uint8_t *) p)[i] = (uint8_t) (rand());
}
static const weft__session_ops_t sops = {on_hello,   on_deliver, on_eof,   on_alloc,       NULL,
                                         on_unalloc, on_sent,    on_event, on_path_closed, on_dirty,
                                         on_timer,   on_ended,   on_gone,  on_random};

static end_t *ends[2] = {&A, &B};

static bool step_port(end_t *e, port_t *p) {
  bool any = false;
  while (p->done && (!p->slow || p->closing) && !p->hangs) {
    weft__rma_t *r = p->done;
    p->done = r->next;
    if (!p->closing && !p->fails && r->key == 1 + WEFT__OPEN_READ) {
      assert_true(other(p)->open[WEFT__OPEN_READ] > 0);
      memcpy(r->iov[0].iov_base, (void *) (uintptr_t) r->addr, r->iov[0].iov_len);
    }
    p->path.cbs->rma_done(&p->path, r, p->closing ? -ECANCELED : p->fails ? -EIO : 0);
    any = true;
  }
  if (p->closing && p->hangs) return false;
  if (p->closing && !p->closed) {
    for (frame_t *f = p->inbox, *n; f; f = n) {
      n = f->next;
      free(f);
    }
    p->inbox = NULL;
    p->tail = &p->inbox;
    p->path.cbs->closed(&p->path);
    p->closed = true;
    for (unsigned i = 0; i < 3; i++) assert_int_equal(p->open[i], 0);
    return true;
  }
  frame_t *f = p->inbox;
  if (f && !p->held && !p->closed) {
    p->inbox = f->next;
    if (!p->inbox) p->tail = &p->inbox;
    p->path.cbs->frame(&p->path, &f->rbuf);
    free(f);
    any = true;
  }
  (void) e;
  return any;
}

static void pump(void) {
  bool any = true;
  while (any) {
    any = false;
    for (unsigned w = 0; w < 4; w++)
      for (unsigned i = 0; i < 2; i++)
        if (wires[w].p[i].is_open) any |= step_port(ends[i], &wires[w].p[i]);
    for (unsigned i = 0; i < 2; i++)
      if (ends[i]->dirty) {
        ends[i]->dirty = false;
        weft__session_flush(ends[i]->s);
        any = true;
      }
  }
}

static void pass(uint64_t ms) { /* time, in ticks of 10 ms */
  for (uint64_t t = 0; t < ms; t += 10) {
    for (unsigned i = 0; i < 2; i++) {
      ends[i]->now += 10000000;
      weft__session_tick(ends[i]->s);
    }
    pump();
  }
}

static weft__xfer_t xfer[2]; /* of the wires that are added, at each end */
static void add_wire(unsigned w, int rank) {
  for (unsigned i = 0; i < 2; i++) {
    port_t *p = &wires[w].p[i];
    memset(p, 0, sizeof *p);
    p->end = ends[i];
    p->tail = &p->inbox;
    p->is_open = true;
    p->path.ops = &ops;
    p->path.lim = (weft__path_limits_t){.frame_max = WEFT__FRAME_MAX,
                                        .inject_max = 128,
                                        .tx_depth = 64,
                                        .rx_depth = 16,
                                        .rma_depth = 16,
                                        .rma_max = 1 << 20,
                                        .xfer = xfer[i]};
    strcpy(p->path.local, i ? "b" : "a");
  }
  for (unsigned i = 0; i < 2; i++)
    assert_int_equal(weft__session_add_path(ends[i]->s, &wires[w].p[i].path, 100 + w * 2 + i,
                                            100 + w * 2 + 1 - i, rank, 1000000000),
                     0);
}

static void cut(unsigned w, unsigned end) {
  port_t *p = &wires[w].p[end];
  if (!p->closing) p->path.cbs->down(&p->path, -ECONNRESET, "cut", NULL, 0);
}

static uint64_t tags[2]; /* what each end's next message is marked with */

static void create(const weft_qos_t *q, uint64_t wait_ns) {
  srand(1);
  memset(tags, 0, sizeof tags);
  memset(&A, 0, sizeof A);
  memset(&B, 0, sizeof B);
  memset(wires, 0, sizeof wires);
  for (unsigned i = 0; i < 2; i++) {
    end_t *e = ends[i];
    e->now = 1000000000;
    e->check_tags = true;
    weft__session_conf_t c = {.initiator = i == 0,
                              .now_ns = &e->now,
                              .handshake_ns = 300000000000u,
                              .peer_timeout_ns = 30000000000u,
                              .beat_ns = 15000000000u,
                              .linger_ns = 5000000000u};
    memset(c.id, 9, sizeof c.id);
    c.wait_ns = wait_ns;
    c.hello.max_message = 64 << 20;
    c.hello.win_messages = 1024;
    c.hello.win_bytes = 1 << 20;
    c.hello.qos = *q;
    e->s = weft__session_create(&c, &sops, e);
    assert_non_null(e->s);
  }
}
static int setup_with(const weft_qos_t *q) {
  create(q, 0);
  add_wire(0, 0);
  pump();
  assert_true(weft__session_is_open(A.s));
  assert_true(weft__session_is_open(B.s));
  weft__session_rx_start(A.s);
  weft__session_rx_start(B.s);
  pump();
  return 0;
}
static int setup(void **st) {
  (void) st;
  weft_qos_t q;
  weft_qos_init(&q, sizeof q);
  return setup_with(&q);
}
static int teardown(void **st) {
  (void) st;
  for (unsigned i = 0; i < 2; i++) weft__session_abort(ends[i]->s, -ECANCELED, 0, "test over");
  pump();
  for (unsigned i = 0; i < 2; i++) {
    assert_true(ends[i]->gone);
    weft__session_destroy(ends[i]->s);
  }
  return 0;
}

static weft__txm_t *post(end_t *e, size_t n) {
  struct iovec *v = malloc(sizeof *v + n);
  weft__txm_t *m = calloc(1, sizeof *m);
  uint8_t *d = (uint8_t *) (v + 1);
  uint64_t tag = tags[e == &B]++;
  for (size_t i = 0; i < n; i++) d[i] = (uint8_t) (tag + i);
  if (n >= 8) memcpy(d, &tag, 8);
  v->iov_base = d;
  v->iov_len = n;
  m->iov = v;
  m->niov = 1;
  m->kind = WEFT__R_MSG;
  m->owner[0] = (uint64_t) (uintptr_t) v;
  assert_int_equal(weft__session_send(e->s, m), 0);
  return m;
}
static void post_fin(end_t *e) {
  weft__txm_t *m = calloc(1, sizeof *m);
  m->kind = WEFT__R_FIN;
  assert_int_equal(weft__session_send(e->s, m), 0);
}

/* A frame that an honest peer would not send, right in all but its sense. */
static void forge(end_t *from, unsigned w, unsigned type, uint16_t count, uint64_t seq,
                  const void *payload, uint32_t len) {
  port_t *port = &wires[w].p[from == &B];
  weft__spath_t *sp = port->path.user;
  weft__tbuf_t *b = tx_get(&port->path);
  if (len) memcpy(b->data + WEFT__HDR, payload, len);
  weft__s_frame_post(sp, b, type, 0, count, seq, len);
}

/* One frame, and how many items its receiver looked at. */
static uint64_t steps_of(end_t *to, end_t *from, unsigned type, uint16_t count, uint64_t seq,
                         const void *payload, uint32_t len) {
  uint64_t before = to->s->steps;
  forge(from, 0, type, count, seq, payload, len);
  while (wires[0].p[to == &B].inbox) step_port(to, &wires[0].p[to == &B]);
  weft__session_flush(to->s);
  return to->s->steps - before;
}

enum { RECORDS = 900 };

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
