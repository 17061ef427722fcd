/* SPDX-License-Identifier: Apache-2.0 */
/* session_test.c - two sessions joined by queues in memory: each rule of session.h on its own,
 * without faults of chance.
 *
 * Design notes
 *  - A wire is a pair of paths; what one end sends waits in the other's inbox until pump() hands it
 *    over. Tests cut, hold and drop at exact points; the simulator does the same at random. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session/internal.h"

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
  if (q->closed) {
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
  if (!p->held)
    for (uint32_t i = 0; i < r->niov; i++) {
      memcpy(to, r->iov[i].iov_base, r->iov[i].iov_len);
      to += r->iov[i].iov_len;
    }
  r->next = p->done;
  p->done = r;
  return 0;
}
static int expose(weft__path_t *path, void *buf, size_t len, weft__open_t what, weft__mr_t *mr) {
  assert_int_equal(what, WEFT__OPEN_WRITE);
  (void) path;
  (void) len;
  mr->addr = (uint64_t) (uintptr_t) buf;
  mr->key = 7;
  return 0;
}
static void unexpose(weft__path_t *path, weft__mr_t *mr) {
  (void) path;
  (void) mr;
}
static void path_close(weft__path_t *path) {
  ((port_t *) path)->closing = true;
}
static const weft__path_ops_t ops = {tx_get,
                                     tx_send,
                                     tx_put,
                                     rma_write,
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
  while (p->done) {
    weft__rma_t *r = p->done;
    p->done = r->next;
    p->path.cbs->rma_done(&p->path, r, p->closing ? -ECANCELED : 0);
    any = true;
  }
  if (p->closing && !p->closed) {
    p->closed = true;
    for (frame_t *f = p->inbox, *n; f; f = n) {
      n = f->next;
      free(f);
    }
    p->inbox = NULL;
    p->tail = &p->inbox;
    p->path.cbs->closed(&p->path);
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

static void add_wire(unsigned w, int rank) {
  for (unsigned i = 0; i < 2; i++) {
    port_t *p = &wires[w].p[i];
    memset(p, 0, sizeof *p);
    p->end = ends[i];
    p->tail = &p->inbox;
    p->is_open = true;
    p->path.ops = &ops;
    p->path.lim =
        (weft__path_limits_t){WEFT__FRAME_MAX, 128, 64, 16, 16, 1 << 20, WEFT__XFER_WRITE, false};
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

static void create(const weft_qos_t *q, uint64_t wait_ns) {
  srand(1);
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

static uint64_t tags[2];
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

static void small_messages_arrive_once_in_order(void **st) {
  (void) st;
  tags[0] = tags[1] = 0;
  for (int i = 0; i < 5000; i++) {
    post(&A, 8 + (size_t) i % 100);
    post(&B, 8);
  }
  pump();
  assert_int_equal(B.rx_count, 5000);
  assert_int_equal(A.rx_count, 5000);
  assert_int_equal(A.sent_ok, 5000);
  assert_int_equal(B.sent_ok, 5000);
  assert_int_equal(weft__session_queued_bytes(A.s), 0);
}

static void large_messages_arrive(void **st) {
  (void) st;
  tags[0] = tags[1] = 0;
  for (int i = 0; i < 40; i++) post(&A, i % 2 ? (size_t) i * 100000 : 20);
  pump();
  assert_int_equal(B.rx_count, 40);
  assert_int_equal(A.sent_ok, 40);
}

static void refused_large_message_leaves_no_trace(void **st) {
  (void) st;
  tags[0] = tags[1] = 0;
  B.refuse = true;
  post(&A, 100000);
  pump();
  assert_int_equal(A.sent_err, 1);
  assert_int_equal(A.last_err, -ENOBUFS);
  B.refuse = false;
  B.next_tag = 1;
  post(&A, 100000);
  post(&A, 100);
  pump();
  assert_int_equal(B.rx_count, 2);
  assert_int_equal(A.sent_ok, 2);
}

static void failover_loses_nothing(void **st) {
  (void) st;
  tags[0] = tags[1] = 0;
  add_wire(1, 1);
  pump();
  wires[0].p[1].held = true; /* frames to B hang */
  for (int i = 0; i < 100; i++) post(&A, 50);
  post(&A, 300000);
  post(&A, 60);
  pump();
  assert_int_equal(B.rx_count, 0);
  cut(0, 0);
  pump();
  cut(0, 1);
  pump();
  assert_int_equal(B.rx_count, 102);
  assert_int_equal(A.sent_ok, 102);
  assert_int_equal(A.moved, 1);
}

static void large_message_survives_the_cut_of_its_path(void **st) {
  (void) st;
  tags[0] = tags[1] = 0;
  add_wire(1, 1);
  pump();
  post(&A, 3000000);
  weft__session_flush(A.s);
  step_port(&B, &wires[0].p[1]); /* the announcement arrives */
  weft__session_flush(B.s);      /* clear to send */
  wires[0].p[0].held = true;     /* ... never arrives */
  pump();
  cut(0, 1);
  cut(0, 0);
  pump();
  assert_int_equal(B.rx_count, 1);
  assert_int_equal(A.sent_ok, 1);
}

static void silent_path_is_left_within_the_tolerance(void **st) {
  (void) st;
  tags[0] = tags[1] = 0;
  add_wire(1, 1);
  pump();
  wires[0].p[0].held = wires[0].p[1].held = true;
  post(&A, 50);
  pump();
  pass(990);
  assert_int_equal(B.rx_count, 1);
  assert_int_equal(A.moved, 1);
  assert_int_equal(A.sent_ok, 1);
}

static void stalled_peer_is_not_left(void **st) {
  (void) st;
  tags[0] = tags[1] = 0;
  add_wire(1, 1);
  pump();
  for (int i = 0; i < 2; i++) wires[i].p[1].held = true; /* B hears nothing */
  post(&A, 50);
  pump();
  for (int t = 0; t < 500; t++) { /* 5 s in which B does not run */
    A.now += 10000000;
    weft__session_tick(A.s);
    for (int w = 0; w < 2; w++) step_port(&A, &wires[w].p[0]);
    if (A.dirty) {
      A.dirty = false;
      weft__session_flush(A.s);
    }
  }
  assert_int_equal(A.stalled, 1);
  B.now += 5000000000u;
  weft__session_tick(B.s);
  wires[1].p[1].held = false; /* the standby answers first */
  pump();
  wires[0].p[1].held = false;
  pump();
  pass(2000);
  assert_int_equal(A.moved + B.moved, 0);
  assert_int_equal(A.sent_ok, 1);
}

static void window_closes_while_nobody_listens(void **st) {
  (void) st;
  tags[0] = tags[1] = 0;
  weft__session_rx_stop(B.s);
  for (int i = 0; i < 3000; i++) post(&A, 100);
  pump();
  assert_int_equal(B.rx_count, 0);
  assert_int_equal(A.sent_ok, 1024); /* the window in messages */
  weft__session_rx_start(B.s);
  pump();
  assert_int_equal(B.rx_count, 3000);
  assert_int_equal(A.sent_ok, 3000);
}

static void both_directions_end_in_order(void **st) {
  (void) st;
  tags[0] = tags[1] = 0;
  post(&A, 100);
  post_fin(&A);
  pump();
  assert_true(B.eof);
  assert_false(A.eof);
  post(&B, 100);
  post_fin(&B);
  pump();
  assert_true(A.eof);
  assert_true(A.ended && B.ended);
  assert_int_equal(A.end_err, 0);
  assert_int_equal(B.end_err, 0);
  assert_int_equal(A.sent_ok, 2);
  assert_true(A.gone && B.gone);
}

static void abort_resets_the_peer(void **st) {
  (void) st;
  tags[0] = tags[1] = 0;
  post(&B, 100);
  weft__session_abort(A.s, -ECANCELED, 1, "enough");
  pump();
  assert_true(B.ended);
  assert_int_equal(B.end_err, -ECONNRESET);
}

static void cancel_takes_back_what_has_not_left(void **st) {
  (void) st;
  tags[0] = tags[1] = 0;
  weft__txm_t *a = post(&A, 100), *b = post(&A, 100);
  tags[0] = 1;
  assert_int_equal(weft__session_cancel(A.s, b), 0);
  post(&A, 10);
  pump();
  (void) a;
  assert_int_equal(A.last_err, -ECANCELED);
  assert_int_equal(B.rx_count, 2);
  assert_int_equal(A.sent_ok, 2);
}

static void failback_after_settling(void **st) {
  (void) st;
  tags[0] = tags[1] = 0;
  add_wire(1, -1); /* better */
  pump();
  pass(900);
  assert_int_equal(A.moved, 0);
  pass(200);
  assert_int_equal(A.moved, 1);
  assert_int_equal(B.moved, 1); /* the accepting end follows */
  post(&A, 100);
  post(&B, 100);
  pump();
  assert_int_equal(B.rx_count + A.rx_count, 2);
}

static void at_most_once_keeps_nothing(void **st) {
  (void) st;
  teardown(st);
  weft_qos_t q;
  weft_qos_init(&q, sizeof q);
  q.reliability = WEFT_AT_MOST_ONCE;
  setup_with(&q);
  tags[0] = tags[1] = 0;
  add_wire(1, 1);
  pump();
  B.check_tags = false;
  wires[0].p[1].held = true;
  for (int i = 0; i < 10; i++) post(&A, 100);
  pump();
  assert_int_equal(A.sent_ok, 10);
  cut(0, 0);
  cut(0, 1);
  for (int i = 0; i < 5; i++) post(&A, 100);
  post_fin(&A);
  pump();
  assert_int_equal(B.rx_count, 5);
  assert_true(B.eof);
}

/* B's program does not answer: the peer waits, for `wait_ms` at most, and says nothing from the
 * beginning or until heard. */
static void nobody_accepts(uint64_t wait_ms) {
  void *none = NULL;
  teardown(&none);
  weft_qos_t q;
  weft_qos_init(&q, sizeof q);
  create(&q, wait_ms * 1000000);
  B.defers = true;
  add_wire(0, 0);
  pump();
  assert_false(weft__session_is_open(A.s));
  assert_false(weft__session_is_open(B.s));
}
static void waiting_peer_is_turned_away_in_time(void **st) {
  (void) st;
  nobody_accepts(3000);
  pass(2900);
  assert_false(B.ended);
  pass(300);
  assert_true(B.ended && B.gone);
  assert_int_equal(B.end_err, -ETIMEDOUT);
  assert_int_equal(A.end_err, WEFT__E_EREJECTED);
  assert_int_equal(weft__session_accept(B.s), -ENOTCONN);
}
static void waiting_peer_that_lives_is_accepted_late(void **st) {
  (void) st;
  nobody_accepts(300000);
  pass(200000); /* idle paths beat, and the connecting end answers */
  assert_false(B.ended);
  assert_int_equal(weft__session_accept(B.s), 0);
  pump();
  weft__session_rx_start(B.s);
  tags[0] = tags[1] = 0;
  post(&A, 100);
  pump();
  assert_int_equal(B.rx_count, 1);
}
static void waiting_peer_that_died_is_let_go(void **st) {
  (void) st;
  nobody_accepts(0);
  wires[0].p[0].held = true;
  for (int t = 0; t < 4000 && !B.ended; t++) { /* the beat, then the peer's timeout */
    B.now += 20000000;
    weft__session_tick(B.s);
    if (B.dirty) {
      B.dirty = false;
      weft__session_flush(B.s);
    }
  }
  assert_true(B.ended);
  assert_int_equal(B.end_err, WEFT__E_PEERLOST);
  wires[0].p[0].held = false;
}
static void program_that_was_stopped_may_still_accept(void **st) {
  (void) st;
  nobody_accepts(3000);
  B.now += 10000000000u; /* and comes back late: its first tick judges nobody */
  weft__session_tick(B.s);
  assert_false(B.ended);
  assert_int_equal(weft__session_accept(B.s), 0);
  pump();
  assert_true(weft__session_is_open(A.s));
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

/* A closing path may still write to the destination, so it is kept; what it holds is no message,
 * whatever the peer says. */
static void given_up(bool by_frame) {
  void *none = NULL;
  teardown(&none);
  weft_qos_t q;
  weft_qos_init(&q, sizeof q);
  q.reliability = WEFT_AT_MOST_ONCE;
  setup_with(&q);
  tags[0] = tags[1] = 0;
  add_wire(1, 1);
  pump();
  post(&A, 3000000);
  weft__session_flush(A.s);
  step_port(&B, &wires[0].p[1]); /* the announcement arrives */
  weft__session_flush(B.s);      /* clear to send */
  wires[0].p[0].held = true;     /* ... never arrives */
  cut(0, 1);
  cut(0, 0); /* gives it up */
  weft__session_flush(A.s);
  uint8_t p[WEFT__REFUSE_SIZE] = {1}; /* its number */
  if (by_frame) {
    forge(&A, 1, WEFT__F_SKIP, 0, 0, p, sizeof p);
  } else {
    weft__rec_put(p, WEFT__R_SKIP, 0);
    forge(&A, 1, WEFT__F_DATA, 1, 1, p, WEFT__REC);
  }
  assert_non_null(B.s->rxq);
  while (wires[1].p[1].inbox) step_port(&B, &wires[1].p[1]); /* RESUME, then the lie */
  assert_int_equal(B.rx_count, 0);
  pump();
  assert_int_equal(B.rx_count, 0);
  assert_null(B.s->rxq); /* but when the path is closed it goes */
}
static void given_up_message_is_not_delivered_for_a_skip_frame(void **st) {
  (void) st;
  given_up(true);
}
static void given_up_message_is_not_delivered_for_a_skip_record(void **st) {
  (void) st;
  given_up(false);
}

/* What is held for a user who does not listen: docs/trust.md gives the sum. */
static void held_records_are_small(void **st) {
  (void) st;
  for (uint32_t n = 0; n < 300; n++) {
    void *p =
        malloc(weft__s_item_size(n)); /* the heap's header and its rounding to 16 come on top */
    assert_non_null(p);
    free(p);
    assert_true((weft__s_item_size(n) + 8 + 15) / 16 * 16 <= n + 64);
  }
  assert_true(sizeof(weft__rxl_t) <= 640);
  weft__session_rx_stop(B.s);
  for (int i = 0; i < 20; i++) post(&A, i < 10 ? 0 : 100000);
  pump();
  for (weft__rxi_t *it = B.s->rxq; it; it = it->next)
    assert_null(it->large); /* not before memory is asked for */
  assert_int_equal(B.s->st.held_messages, 10);
  B.check_tags = false;
  weft__session_rx_start(B.s);
  pump();
  assert_int_equal(B.rx_count, 20);
  assert_int_equal(B.s->nlarge, 0);
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
static void duplicates_cost_no_walk(bool refuse) {
  static uint8_t recs[RECORDS * WEFT__REC], seq[WEFT__REFUSE_SIZE];
  tags[0] = tags[1] = 0;
  B.refuse = refuse;
  wires[0].p[0].held = true; /* A does not answer: what was announced stays unfinished */
  for (int i = 0; i < 40; i++) post(&A, 100000);
  pump();
  forge(&A, 0, WEFT__F_DATA, RECORDS, 41, recs,
        sizeof recs); /* empty messages that have to be held */
  pump();
  assert_int_equal(B.s->rx_expect, 41 + RECORDS);
  for (unsigned i = 0; i < RECORDS; i++) weft__rec_put(recs + i * WEFT__REC, WEFT__R_SKIP, 0);
  uint64_t most = refuse ? WEFT__LARGE_OPEN * RECORDS : 0;
  for (uint64_t first = 41; first > 17; first -= 8) /* none that would end the wait */
    assert_true(steps_of(&B, &A, WEFT__F_DATA, RECORDS, first, recs, sizeof recs) <= most);
  weft__put64(seq, RECORDS);
  assert_true(steps_of(&B, &A, WEFT__F_SKIP, 0, 0, seq, sizeof seq) <= WEFT__LARGE_OPEN);
  assert_true(steps_of(&B, &A, WEFT__F_DATA, RECORDS, 1, recs, sizeof recs) <= most);
  assert_int_equal(B.s->first_incomplete->seq,
                   refuse ? 17 : 1); /* those were skipped, the next are refused */
  assert_int_equal(B.s->nrefused, refuse ? WEFT__LARGE_OPEN : 0);
  assert_true(weft__session_is_open(B.s));
}
static void duplicates_cost_no_walk_through_what_is_held(void **st) {
  (void) st;
  duplicates_cost_no_walk(false);
}
static void duplicates_cost_no_walk_where_some_were_refused(void **st) {
  (void) st;
  duplicates_cost_no_walk(true);
}

/* CTS and REFUSE name large messages; the queue before and behind these is the user's, and long. */
static void naming_a_message_costs_no_walk_through_the_queue(void **st) {
  (void) st;
  uint8_t cts[WEFT__CTS_SIZE] = {0}, no[WEFT__REFUSE_SIZE] = {0};
  tags[0] = tags[1] = 0;
  post(&A, 8);
  pump(); /* number 1 is gone */
  wires[0].p[1].held = true;
  for (int i = 0; i < 800; i++) post(&A, 8);      /* 2 .. 801 */
  for (int i = 0; i < 100; i++) post(&A, 100000); /* 802 .. 901 */
  for (int i = 0; i < 5000; i++) post(&A, 8);
  pump();
  weft__put32(cts + 32, 1);
  weft__put32(cts + 36, WEFT__CTS_COPY);
  weft__put64(cts, 1);
  assert_int_equal(steps_of(&A, &B, WEFT__F_CTS, 0, 0, cts, sizeof cts), 0);
  weft__put64(no, 1);
  assert_int_equal(steps_of(&A, &B, WEFT__F_REFUSE, 0, 0, no, sizeof no), 0);
  weft__put64(no, 801 + WEFT__NAMED_MAX);
  for (int i = 0; i < 3; i++) {
    assert_true(steps_of(&A, &B, WEFT__F_REFUSE, 0, 0, no, sizeof no) <= 2 * WEFT__NAMED_MAX);
    weft__put64(cts, 802 + (uint64_t) i);
    assert_true(steps_of(&A, &B, WEFT__F_CTS, 0, 0, cts, sizeof cts) <= WEFT__NAMED_MAX);
  }
  assert_true(weft__session_is_open(A.s));
  weft__put64(cts, 802 + WEFT__NAMED_MAX); /* one further */
  assert_true(steps_of(&A, &B, WEFT__F_CTS, 0, 0, cts, sizeof cts) <= WEFT__NAMED_MAX);
  assert_int_equal(A.end_err, WEFT__E_PROTOCOL);
  wires[0].p[1].held = false;
}

/* A user's queue of large messages of any length goes through, refused ones among them, when its
 * path dies too. */
static void long_queue_of_large_messages(void **st) {
  (void) st;
  tags[0] = tags[1] = 0;
  add_wire(1, 1);
  pump();
  B.check_tags = false;
  for (int i = 0; i < 300; i++) post(&A, 20000);
  for (int k = 0; k < 200; k++) { /* B refuses now and then */
    B.refuse = k % 7 == 0;
    for (unsigned i = 0; i < 2; i++) step_port(ends[i], &wires[0].p[i]);
    for (unsigned i = 0; i < 2; i++) weft__session_flush(ends[i]->s);
  }
  cut(0, 0);
  cut(0, 1);
  pump();
  assert_int_equal(A.sent_ok + A.sent_err, 300);
  assert_int_equal(B.rx_count, A.sent_ok);
  assert_in_range(A.sent_err, 1, 299);
  assert_null(A.s->large);
  assert_null(A.s->large_tail);
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
  const struct CMUnitTest tests[] = {
      T(small_messages_arrive_once_in_order),
      T(large_messages_arrive),
      T(refused_large_message_leaves_no_trace),
      T(failover_loses_nothing),
      T(large_message_survives_the_cut_of_its_path),
      T(silent_path_is_left_within_the_tolerance),
      T(stalled_peer_is_not_left),
      T(window_closes_while_nobody_listens),
      T(both_directions_end_in_order),
      T(abort_resets_the_peer),
      T(cancel_takes_back_what_has_not_left),
      T(failback_after_settling),
      T(at_most_once_keeps_nothing),
      T(given_up_message_is_not_delivered_for_a_skip_frame),
      T(given_up_message_is_not_delivered_for_a_skip_record),
      T(held_records_are_small),
      T(duplicates_cost_no_walk_through_what_is_held),
      T(duplicates_cost_no_walk_where_some_were_refused),
      T(naming_a_message_costs_no_walk_through_the_queue),
      T(long_queue_of_large_messages),
      T(waiting_peer_is_turned_away_in_time),
      T(waiting_peer_that_lives_is_accepted_late),
      T(waiting_peer_that_died_is_let_go),
      T(program_that_was_stopped_may_still_accept),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
