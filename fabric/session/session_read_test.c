/* SPDX-License-Identifier: Apache-2.0 */
/* session_read_test.c - large messages that the receiver reads: what moves how, who holds whose
 * memory for how long, and what a peer may not say. */
#include "session_test.h"

enum { MB = 1 << 20 };

static int setup_reads(void **st) {
  xfer[0] = xfer[1] = WEFT__XFER_READ;
  return setup(st);
}
static int setup_reads_amo(void **st) {
  weft_qos_t q;
  (void) st;
  xfer[0] = xfer[1] = WEFT__XFER_READ;
  weft_qos_init(&q, sizeof q);
  q.reliability = WEFT_AT_MOST_ONCE;
  return setup_with(&q);
}
#define PORT(w, e) (&wires[w].p[(e) == &B])

static weft__session_stats_t stats(const end_t *e) {
  weft__session_stats_t st;
  weft__session_stats(e->s, &st);
  return st;
}

static void moves_without_a_copy(void **st) {
  (void) st;
  post(&A, 5 * MB + 7);
  post(&A, 20000);
  post(&B, 100000);
  post(&A, 8);
  pump();
  assert_int_equal(B.rx_count, 3);
  assert_int_equal(A.rx_count, 1);
  assert_int_equal(A.sent_ok, 3);
  weft__session_stats_t a = stats(&A), b = stats(&B);
  assert_int_equal(a.payload_copies + b.payload_copies, 0);
  assert_int_equal(b.rma_read, 5 * MB + 7 + 20000);
  assert_int_equal(a.rma_read_by_peer, b.rma_read);
  assert_int_equal(a.rma_read, 100000);
  assert_int_equal(a.rma_written + b.rma_written, 0);
  assert_int_equal(PORT(0, &A)->open[WEFT__OPEN_READ], 0);
  assert_int_equal(PORT(0, &B)->open[WEFT__OPEN_SINK], 0);
}

/* Ends whose rails differ: what the sender cannot, it sends in chunks; nothing else goes wrong. */
static void mixed_ends(void **st) {
  static const weft__xfer_t kinds[] = {WEFT__XFER_WRITE, WEFT__XFER_COPY, WEFT__XFER_READ};
  (void) st;
  for (unsigned i = 0; i < 9; i++) {
    void *none = NULL;
    teardown(&none);
    xfer[0] = kinds[i % 3];
    xfer[1] = kinds[i / 3];
    weft_qos_t q;
    weft_qos_init(&q, sizeof q);
    setup_with(&q);
    post(&A, 3 * MB);
    post(&B, 3 * MB);
    pump();
    assert_int_equal(B.rx_count, 1);
    assert_int_equal(A.rx_count, 1);
    bool same = xfer[0] == xfer[1];
    assert_int_equal(stats(&B).rma_read, same && xfer[0] == WEFT__XFER_READ ? 3 * MB : 0);
  }
}

/* The connecting and the accepting end learn of each other's rails: both write when one cannot
 * read. */
static void rails_settle(void **st) {
  weft__path_limits_t lim = {.xfer = WEFT__XFER_READ};
  (void) st;
  weft__xfer_settle(&lim, weft__can(WEFT__XFER_READ) | 0x80);
  assert_int_equal(lim.xfer, WEFT__XFER_READ);
  weft__xfer_settle(&lim, weft__can(WEFT__XFER_WRITE));
  assert_int_equal(lim.xfer, WEFT__XFER_WRITE);
  lim.xfer = WEFT__XFER_COPY;
  weft__xfer_settle(&lim, weft__can(WEFT__XFER_READ));
  assert_int_equal(lim.xfer, WEFT__XFER_COPY);
}

/* B's device serves what is under way, which takes so long, and B reads on. */
static void serve(uint64_t ms) {
  port_t *b = PORT(0, &B);
  B.now += ms * 1000000;
  b->slow = false;
  step_port(&B, b);
  b->slow = true;
  weft__session_flush(B.s);
  pump();
}
static void reads_begin(size_t n) {
  PORT(0, &B)->slow = true;
  post(&A, n);
  pump();
}
static void reads_end(void) {
  PORT(0, &B)->slow = false;
  pump();
  assert_int_equal(B.rx_count, 1);
  assert_int_equal(((weft__spath_t *) PORT(0, &B)->path.user)->read_bytes, 0);
}

/* What is under way is bounded by how long it takes, for frames wait behind it. */
static void reads_are_bounded(void **st) {
  weft__spath_t *sp = PORT(0, &B)->path.user;
  (void) st;
  reads_begin(60 * MB);
  assert_int_equal(sp->read_bytes, WEFT__READ_FIRST);
  for (unsigned i = 0; i < 20; i++) serve(50); /* however much there is: latency */
  assert_int_equal(sp->read_bytes, WEFT__READ_FIRST);
  for (unsigned i = 0; i < 20; i++) serve(sp->read_bytes / 2000); /* 2 MB/s */
  assert_int_equal(sp->read_bytes, 2 * WEFT__FRAGMENT_MIN);
  for (unsigned i = 0; i < 20; i++) serve(sp->read_bytes / 10000); /* 10 MB/s */
  assert_in_range(sp->read_bytes, MB / 4, MB * 3 / 4);
  for (unsigned i = 0; i < 7; i++) serve(1);
  assert_int_equal(sp->read_bytes, WEFT__FRAGMENT_MAX);
  reads_end();
}

/* All reads of a window are late because nobody looked: that counts once. */
static void a_late_look_counts_once(void **st) {
  weft__spath_t *sp = PORT(0, &B)->path.user;
  (void) st;
  reads_begin(4 * MB);
  serve(5000);
  assert_int_equal(sp->read_bytes, WEFT__READ_FIRST / 2);
  serve(1);
  assert_int_equal(sp->read_bytes, WEFT__READ_FIRST);
  reads_end();
}

/* A message in many pieces: the large ones are read, crumbs between them are copied. */
static void crumbs_are_copied(void **st) {
  enum { N = 60 };
  static uint8_t source[N * 30000];
  static struct iovec v[N];
  weft__txm_t *m = calloc(1, sizeof *m);
  size_t at = 0, crumbs = 0;
  (void) st;
  memset(source, 0, 8);
  for (size_t i = 8; i < sizeof source; i++) source[i] = (uint8_t) i;
  for (unsigned i = 0; i < N; i++) {
    v[i] = (struct iovec){source + at, i % 3 ? (i % 7) * 100 : 20000};
    if (i % 3) crumbs += v[i].iov_len;
    at += v[i].iov_len;
  }
  m->iov = v;
  m->niov = N;
  m->kind = WEFT__R_MSG;
  assert_int_equal(weft__session_send(A.s, m), 0);
  pump();
  assert_int_equal(B.rx_count, 1);
  assert_int_equal(B.rx_bytes, at);
  assert_int_equal(stats(&A).payload_copies, crumbs);
  assert_int_equal(stats(&B).rma_read, at - crumbs);
}

/* No registration to be had, at either end: slower, but it arrives, and the path lives. */
static void without_memory_it_is_copied(void **st) {
  (void) st;
  PORT(0, &A)->no_memory = true;
  post(&A, MB);
  pump();
  assert_int_equal(PORT(0, &A)->denied, 1); /* though it takes more credits than there are */
  PORT(0, &A)->no_memory = false;
  PORT(0, &B)->no_memory = true;
  post(&A, MB);
  pump();
  assert_int_equal(B.rx_count, 2);
  assert_int_equal(stats(&B).payload_copies, 2 * MB);
  assert_int_equal(stats(&B).rma_read, 0);
  assert_int_equal(A.path_down + B.path_down, 0);
}

/* Small messages behind a large one wait until it was read, so that nobody need hold them. */
static void what_follows_waits_for_the_reads(void **st) {
  (void) st;
  PORT(0, &B)->slow = true;
  post(&A, MB);
  for (int i = 0; i < 50; i++) post(&A, 100);
  pump();
  assert_int_equal(B.rx_count, 0);
  assert_int_equal(stats(&B).held_messages, 0);
  assert_int_equal(A.sent_ok, 0);
  PORT(0, &B)->slow = false;
  pump();
  assert_int_equal(B.rx_count, 51);
  assert_int_equal(A.s->unposted, 0);
}

/* The receiver's path dies in the middle of a read. What was whole is not read again; the rest is
 * asked for again at once, however long the path takes to close: its sinks are closed. The source is
 * held while the peer's device may read it. A sink that cannot be closed waits for the path. */
static void dies_in_the_middle(bool sticks) {
  add_wire(1, 1);
  pump();
  post(&A, 6 * MB);
  weft__session_flush(A.s);
  PORT(0, &B)->slow = true;
  pump();
  port_t *b = PORT(0, &B);
  assert_true(b->reads >= 2);
  b->slow = false; /* the first fragment comes through, the next is on its way */
  step_port(&B, b);
  b->slow = true;
  weft__session_flush(B.s);
  assert_non_null(b->done);
  uint64_t whole = stats(&B).rma_read;
  assert_int_equal(whole, MB);
  assert_true(PORT(0, &A)->open[WEFT__OPEN_READ] > 0);
  b->hangs = true;
  b->sticks = sticks;
  cut(0, 0);
  cut(0, 1);
  assert_int_equal(PORT(0, &A)->open[WEFT__OPEN_READ] > 0, 1); /* until it is closed */
  assert_int_equal(b->open[WEFT__OPEN_SINK] > 0, sticks);
  pump();
  assert_non_null(b->done);
  assert_int_equal(B.rx_count, !sticks);
  b->hangs = b->sticks = false;
  pump();
  assert_int_equal(B.rx_count, 1);
  assert_int_equal(A.sent_ok, 1);
  assert_int_equal(stats(&B).rma_read, 6 * MB); /* the first was not read twice */
}
static void path_dies_in_the_middle(void **st) {
  (void) st;
  dies_in_the_middle(false);
}
static void path_dies_and_a_sink_cannot_be_closed(void **st) {
  (void) st;
  dies_in_the_middle(true);
}

/* The session ends while the peer reads: the source is the user's again when its path is closed,
 * and not before. */
static void source_is_held_until_its_path_is_closed(void **st) {
  (void) st;
  PORT(0, &B)->slow = true;
  post(&A, 3 * MB);
  pump();
  assert_true(PORT(0, &A)->open[WEFT__OPEN_READ] > 0);
  weft__session_fail(A.s, -EIO, "enough");
  assert_int_equal(A.sent_err, 0);
  assert_false(A.ended);
  assert_true(PORT(0, &A)->closing);
  while (!PORT(0, &A)->closed) step_port(&A, PORT(0, &A));
  assert_int_equal(A.sent_err, 1);
  assert_int_equal(A.last_err, -EIO);
  assert_true(A.ended);
  pump();
}

/* An acknowledgement closes what it covers, even if its DONE comes later. */
static void acknowledgement_closes_the_source(void **st) {
  (void) st;
  PORT(0, &A)->held = true; /* what B says waits */
  post(&A, MB);
  weft__session_flush(A.s);
  PORT(0, &A)->held = false;
  pump();
  assert_int_equal(A.sent_ok, 1);
  assert_int_equal(PORT(0, &A)->open[WEFT__OPEN_READ], 0);
  assert_int_equal(((weft__spath_t *) PORT(0, &A)->path.user)->nsources, 0);
}

/* An acknowledgement on another path closes it too, and counts what was read once. */
static void acknowledgement_on_another_path(void **st) {
  uint8_t p[WEFT__PING_SIZE] = {0};
  weft__spath_t *sp = PORT(0, &A)->path.user;
  (void) st;
  add_wire(1, 1);
  pump();
  PORT(0, &B)->slow = true;
  post(&A, MB);
  pump();
  PORT(0, &A)->held = true; /* DONE waits */
  PORT(0, &B)->slow = false;
  pump();
  assert_int_equal(B.rx_count, 1);
  assert_int_equal(A.sent_ok, 0);
  assert_int_equal(PORT(0, &A)->open[WEFT__OPEN_READ], 1);
  forge(&B, 1, WEFT__F_PING, 0, 0, p, sizeof p);
  pump();
  assert_int_equal(A.sent_ok, 1);
  assert_int_equal(PORT(0, &A)->open[WEFT__OPEN_READ], 0);
  assert_int_equal(sp->nsources, 1); /* its DONE is still to come */
  PORT(0, &A)->held = false;
  pump();
  assert_int_equal(sp->nsources, 0);
  assert_int_equal(stats(&A).rma_read_by_peer, MB);
}

/* Reads or writes that a provider refuses kill a path each, whether it says so at once or by a
 * completion that fails; then it is copied. Both ways on one path count once. */
static void refused(bool fails, weft__xfer_t how) {
  end_t *at = how == WEFT__XFER_READ ? &B : &A;
  void *none = NULL;
  weft_qos_t q;
  teardown(&none);
  xfer[0] = xfer[1] = how;
  weft_qos_init(&q, sizeof q);
  setup_with(&q);
  for (unsigned w = 1; w < 4; w++) add_wire(w, (int) w);
  pump();
  for (unsigned w = 0; w < 4; w++) {
    if (fails)
      PORT(w, at)->fails = true;
    else
      PORT(w, at)->no_rma = -EIO;
  }
  post(&A, 3 * MB);
  pump();
  for (unsigned w = 0; w < 3; w++) {
    assert_int_equal(B.rx_count, 0);
    assert_int_equal(how == WEFT__XFER_READ ? B.s->reads_refused : A.s->writes_refused, w + 1);
    cut(w, at == &B); /* the rail tells what it refused */
    pump();
    cut(w, at != &B);
    pump();
  }
  assert_int_equal(B.rx_count, 1);
  assert_int_equal(stats(&B).payload_copies, 3 * MB);
  assert_int_equal(A.path_down + B.path_down, 6);
}
static void refused_reads_end_in_copies(void **st) {
  (void) st;
  refused(false, WEFT__XFER_READ);
  refused(true, WEFT__XFER_READ);
}
static void refused_writes_end_in_copies(void **st) {
  (void) st;
  refused(false, WEFT__XFER_WRITE);
  refused(true, WEFT__XFER_WRITE);
}

/* Paths that die under reads, however often, are no refusal: there is no copy. */
static void paths_that_die_are_no_refusal(void **st) {
  (void) st;
  for (unsigned w = 1; w < 4; w++) add_wire(w, (int) w);
  pump();
  for (unsigned w = 0; w < 3; w++) {
    PORT(w, &B)->no_rma = w % 2 ? 0 : -ENOTCONN; /* dying, or dead with reads under way */
    PORT(w, &B)->slow = true;
  }
  post(&A, 3 * MB);
  pump();
  for (unsigned w = 0; w < 3; w++) {
    cut(w, 1);
    pump();
    cut(w, 0);
    pump();
  }
  assert_int_equal(B.rx_count, 1);
  assert_int_equal(stats(&B).rma_read, 3 * MB);
  assert_int_equal(stats(&B).payload_copies, 0);
}

/* At most once: the peer moves away from the path on which we read. It goes, and with its sinks the
 * destination is free; where they cannot be closed, when it has closed. */
static void leaves_in_the_middle(bool sticks) {
  add_wire(1, 1);
  pump();
  PORT(0, &B)->slow = true;
  PORT(0, &B)->sticks = sticks;
  post(&A, 3 * MB);
  pump();
  assert_true(PORT(0, &B)->reads > 0);
  cut(0, 0); /* A's end only */
  weft__session_flush(A.s);
  while (PORT(1, &B)->inbox) step_port(&B, PORT(1, &B)); /* RESUME */
  assert_true(PORT(0, &B)->closing);
  assert_non_null(PORT(0, &B)->done);
  assert_int_equal(PORT(0, &B)->open[WEFT__OPEN_SINK] > 0, sticks);
  assert_int_equal(B.s->rxq != NULL, sticks); /* holds the destination */
  PORT(0, &B)->sticks = false;
  pump();
  assert_null(B.s->rxq);
  assert_int_equal(B.rx_count, 0);
  assert_int_equal(A.sent_err, 1);
}
static void at_most_once_leaves_in_the_middle(void **st) {
  (void) st;
  leaves_in_the_middle(false);
}
static void at_most_once_leaves_and_a_sink_cannot_be_closed(void **st) {
  (void) st;
  leaves_in_the_middle(true);
}

/* The same from a liar, who resumes on the very path. */
static void at_most_once_resume_on_the_path_that_is_read_from(void **st) {
  uint8_t p[WEFT__RESUME_SIZE] = {9};
  (void) st;
  PORT(0, &B)->slow = true;
  post(&A, 3 * MB);
  pump();
  weft__put64(p + 8, 2);
  forge(&A, 0, WEFT__F_RESUME, 0, 0, p, sizeof p);
  while (PORT(0, &B)->inbox) step_port(&B, PORT(0, &B));
  assert_true(PORT(0, &B)->closing);
  assert_int_equal(PORT(0, &B)->open[WEFT__OPEN_SINK], 0);
  pump();
  assert_int_equal(B.rx_count, 0);
}

/* The same while A has not lost the path that it leaves, so that B keeps it: A's source comes back by
 * DONE, whether its READY comes after the RESUME or, in one drain, before it. */
static void left_alive(bool before) {
  add_wire(1, 1);
  pump();
  post(&A, MB);
  weft__session_flush(A.s);
  while (PORT(0, &B)->inbox) step_port(&B, PORT(0, &B));
  weft__session_flush(B.s); /* clear to send */
  while (PORT(0, &A)->inbox) step_port(&A, PORT(0, &A));
  weft__session_flush(A.s); /* READY */
  assert_int_equal(PORT(0, &A)->open[WEFT__OPEN_READ], 1);
  weft__s_enter(A.s);
  weft__s_move(A.s, PORT(1, &A)->path.user, 0, "for a test");
  weft__s_leave(A.s);
  weft__session_flush(A.s);
  while (before && PORT(0, &B)->inbox) step_port(&B, PORT(0, &B));
  while (PORT(1, &B)->inbox) step_port(&B, PORT(1, &B));
  while (PORT(0, &B)->inbox) step_port(&B, PORT(0, &B));
  assert_int_equal(B.s->ncts, 0);
  pump();
  assert_int_equal(PORT(0, &B)->reads, 0);
  assert_int_equal(PORT(0, &A)->open[WEFT__OPEN_READ], 0);
  assert_int_equal(PORT(0, &B)->open[WEFT__OPEN_SINK], 0);
  assert_int_equal(A.path_down + B.path_down, 0);
  assert_int_equal(A.sent_err, 1);
  assert_int_equal(stats(&A).rma_read_by_peer, 0);
  B.check_tags = false;
  post(&A, MB);
  pump();
  assert_int_equal(B.rx_count, 1);
  assert_int_equal(stats(&A).rma_read_by_peer, MB);
}
static void at_most_once_ready_after_the_resume(void **st) {
  (void) st;
  left_alive(false);
}
static void at_most_once_ready_in_one_drain_with_the_resume(void **st) {
  (void) st;
  left_alive(true);
}

/* ---- What opens the gate for the small messages behind ---- */

static int setup_consumed(void **st) {
  weft_qos_t q;
  (void) st;
  xfer[0] = xfer[1] = WEFT__XFER_READ;
  weft_qos_init(&q, sizeof q);
  q.ack = WEFT_ACK_CONSUMED;
  return setup_with(&q);
}

/* B has memory for what A posts, has asked for it, and listens no more: what it has read it does
 * not acknowledge. */
static weft__txm_t *asked_and_stopped(size_t n) {
  weft__txm_t *m = post(&A, n);
  post(&A, 8);
  weft__session_flush(A.s);
  while (PORT(0, &B)->inbox) step_port(&B, PORT(0, &B));
  weft__session_flush(B.s);
  weft__session_rx_stop(B.s);
  assert_int_equal(A.s->unposted, 1);
  return m;
}

static void goes_on(unsigned count) {
  assert_int_equal(A.sent_ok, 0);
  weft__session_rx_start(B.s);
  pump();
  assert_int_equal(B.rx_count, count);
  assert_int_equal(A.sent_ok, count);
}

static void gate_opens_by_done(void **st) {
  (void) st;
  asked_and_stopped(3 * MB);
  pump();
  assert_int_equal(A.s->unposted, 0);
  assert_int_equal(stats(&B).held_messages, 1);
  goes_on(2);
}

/* The last fragment is read, on another path than that on which the others are being written. */
static void gate_opens_by_the_last_write(void **st) {
  (void) st;
  void *none = NULL;
  teardown(&none);
  weft_qos_t q;
  weft_qos_init(&q, sizeof q);
  q.ack = WEFT_ACK_CONSUMED;
  xfer[0] = xfer[1] = WEFT__XFER_WRITE;
  setup_with(&q);
  xfer[0] = xfer[1] = WEFT__XFER_READ;
  add_wire(1, 1);
  pump();
  weft__txm_t *m = asked_and_stopped(17 * MB);
  PORT(0, &A)->slow = true;
  PORT(0, &B)->held = true;
  pump(); /* what B had credits to ask for is being written, B has not heard it */
  assert_int_equal(weft__session_migrate(A.s, &PORT(1, &A)->path, "for a test"), 0);
  pump();
  PORT(0, &B)->held = false;
  pump();
  assert_int_equal(stats(&A).rma_read_by_peer, stats(&B).rma_read);
  assert_int_equal(stats(&B).rma_read + m->rma_refs * MB, 17 * MB);
  assert_in_range(m->rma_refs, 1, 16);
  assert_int_equal(A.s->unposted, 1);
  PORT(0, &A)->slow = false;
  pump();
  assert_int_equal(A.s->unposted, 0);
  assert_int_equal(stats(&B).held_messages, 1);
  goes_on(2);
}

/* A path closes under a source that nobody has read. */
static void gate_stays_shut_when_a_path_takes_the_source(void **st) {
  (void) st;
  add_wire(1, 1);
  pump();
  PORT(0, &B)->slow = true;
  weft__txm_t *m = asked_and_stopped(MB);
  pump();
  assert_int_equal(PORT(0, &A)->open[WEFT__OPEN_READ], 1);
  cut(0, 0);
  while (!PORT(0, &A)->closed) step_port(&A, PORT(0, &A));
  assert_int_equal(m->rma_refs, 0);
  assert_int_equal(m->flags & WEFT__TX_POSTED, 0);
  assert_int_equal(A.s->unposted, 1);
  pump();
  assert_int_equal(A.s->unposted, 0);
  goes_on(2);
}

/* A path takes only the DONE: the RESUME_ACK of the next one says as much. */
static void gate_opens_by_resume_when_done_was_lost(void **st) {
  (void) st;
  add_wire(1, 1);
  pump();
  PORT(0, &B)->slow = true;
  asked_and_stopped(MB);
  pump();
  PORT(0, &A)->held = true;
  PORT(0, &B)->slow = false;
  pump();
  assert_int_equal(stats(&B).rma_read, MB);
  assert_int_equal(A.s->unposted, 1);
  cut(0, 0);
  pump();
  assert_int_equal(A.s->unposted, 0);
  assert_int_equal(stats(&B).held_messages, 1);
  goes_on(2);
}

/* ---- What a peer may not say ---- */

static void violates(end_t *victim, const char *text) {
  const char *why = "";
  port_t *p = PORT(0, victim);
  while (p->inbox && !p->closing) step_port(victim, p);
  assert_int_equal(weft__session_error(victim->s, &why), WEFT__E_PROTOCOL);
  if (!strstr(why, text)) fail_msg("%s: not %s", why, text);
  pump();
}

static void put_ready(uint8_t *p, uint64_t seq, uint64_t off, uint64_t addr, uint32_t len) {
  memset(p, 0, WEFT__READY_SIZE);
  weft__put64(p, seq);
  weft__put64(p + 8, off);
  weft__put64(p + 16, addr);
  weft__put64(p + 24, 1 + WEFT__OPEN_READ);
  weft__put32(p + 32, len);
}
static void put_done(uint8_t *p, uint64_t seq, uint64_t off, uint32_t len) {
  memset(p, 0, WEFT__FRAG_SIZE);
  weft__put64(p, seq);
  weft__put64(p + 8, off);
  weft__put32(p + 16, len);
}

/* A has announced a message, B has asked for it, and A has not answered. */
static void asked_for(void) {
  post(&A, 100000);
  weft__session_flush(A.s);
  while (PORT(0, &B)->inbox) step_port(&B, PORT(0, &B));
  weft__session_flush(B.s);
  assert_int_equal(B.s->ncts, 1);
}

static void ready_lies(void **st) {
  static const struct {
    uint64_t seq, off, addr;
    uint32_t len;
  } lie[] = {{2, 0, 0, 8},      {0, 0, 0, 8},          {1, 8, 0, 8},         {1, 0, 0, 0},
             {1, 0, 0, 100001}, {1, 0, UINT64_MAX, 8}, {1, UINT64_MAX, 0, 8}};
  uint8_t p[WEFT__READY_SIZE];
  (void) st;
  for (unsigned i = 0; i < sizeof lie / sizeof *lie; i++) {
    void *none = NULL;
    asked_for();
    put_ready(p, lie[i].seq, lie[i].off, lie[i].addr, lie[i].len);
    forge(&A, 0, WEFT__F_READY, 0, 0, p, sizeof p);
    violates(&B, "was not asked for");
    assert_int_equal(PORT(0, &B)->reads, 0);
    teardown(&none);
    setup_reads(&none);
  }
}

static void ready_of_what_is_to_be_copied(void **st) {
  uint8_t p[WEFT__READY_SIZE];
  (void) st;
  PORT(0, &B)->no_memory = true;
  asked_for();
  put_ready(p, 1, 0, 0, 8);
  forge(&A, 0, WEFT__F_READY, 0, 0, p, sizeof p);
  violates(&B, "was not asked for");
}

static void ready_twice(void **st) {
  static uint8_t bytes[64];
  uint8_t p[WEFT__READY_SIZE];
  (void) st;
  PORT(0, &B)->slow = true;
  asked_for();
  put_ready(p, 1, 0, (uintptr_t) bytes, sizeof bytes);
  for (unsigned i = 0; i < 2; i++) forge(&A, 0, WEFT__F_READY, 0, 0, p, sizeof p);
  violates(&B, "source 0+64 of message 1 was not asked for");
}

static void too_many_sources(void **st) {
  static uint8_t bytes[64];
  uint8_t p[WEFT__READY_SIZE];
  (void) st;
  PORT(0, &B)->slow = true;
  asked_for();
  for (unsigned i = 0; i <= WEFT__CTS_MAX; i++) {
    put_ready(p, 1, i * sizeof bytes, (uintptr_t) bytes, sizeof bytes);
    forge(&A, 0, WEFT__F_READY, 0, 0, p, sizeof p);
    ((weft__spath_t *) PORT(0, &B)->path.user)->granted +=
        1; /* it is not the grant that stops it */
  }
  violates(&B, "more than 16 sources at once");
}

static void fragment_of_what_is_read(void **st) {
  uint8_t p[WEFT__FRAG_SIZE];
  (void) st;
  asked_for();
  put_done(p, 1, 0, 100000);
  forge(&A, 0, WEFT__F_FRAG, 0, 0, p, sizeof p);
  violates(&B, "fragment 0+100000 of message 1 was not asked for");
}

static void done_lies(void **st) {
  static const struct {
    uint64_t seq, off;
    uint32_t len;
  } lie[] = {{0, 0, 100000}, {2, 0, 100000}, {1, 1, 100000}, {1, 0, 99999}, {1, 0, 0}};
  uint8_t p[WEFT__FRAG_SIZE];
  (void) st;
  for (unsigned i = 0; i < sizeof lie / sizeof *lie; i++) {
    void *none = NULL;
    PORT(0, &B)->slow = true;
    post(&A, 100000);
    pump();
    assert_int_equal(PORT(0, &A)->open[WEFT__OPEN_READ], 1);
    put_done(p, lie[i].seq, lie[i].off, lie[i].len);
    forge(&B, 0, WEFT__F_DONE, 0, 0, p, sizeof p);
    violates(&A, "which it may not read");
    teardown(&none);
    setup_reads(&none);
  }
}

static void done_twice(void **st) {
  uint8_t p[WEFT__FRAG_SIZE];
  (void) st;
  PORT(0, &B)->slow = true;
  post(&A, 100000);
  pump();
  put_done(p, 1, 0, 100000);
  for (unsigned i = 0; i < 2; i++) forge(&B, 0, WEFT__F_DONE, 0, 0, p, sizeof p);
  violates(&A, "is done with 0+100000 of message 1, which it may not read");
}

int main(void) {
#define R(f)   cmocka_unit_test_setup_teardown(f, setup_reads, teardown)
#define CON(f) cmocka_unit_test_setup_teardown(f, setup_consumed, teardown)
#define AMO(f) cmocka_unit_test_setup_teardown(f, setup_reads_amo, teardown)
  const struct CMUnitTest tests[] = {
      R(moves_without_a_copy),
      R(mixed_ends),
      R(rails_settle),
      R(reads_are_bounded),
      R(a_late_look_counts_once),
      R(crumbs_are_copied),
      R(without_memory_it_is_copied),
      R(what_follows_waits_for_the_reads),
      R(path_dies_in_the_middle),
      R(path_dies_and_a_sink_cannot_be_closed),
      R(source_is_held_until_its_path_is_closed),
      R(acknowledgement_closes_the_source),
      R(acknowledgement_on_another_path),
      R(refused_reads_end_in_copies),
      R(refused_writes_end_in_copies),
      R(paths_that_die_are_no_refusal),
      AMO(at_most_once_leaves_in_the_middle),
      AMO(at_most_once_leaves_and_a_sink_cannot_be_closed),
      AMO(at_most_once_resume_on_the_path_that_is_read_from),
      AMO(at_most_once_ready_after_the_resume),
      AMO(at_most_once_ready_in_one_drain_with_the_resume),
      CON(gate_opens_by_done),
      CON(gate_opens_by_the_last_write),
      CON(gate_stays_shut_when_a_path_takes_the_source),
      CON(gate_opens_by_resume_when_done_was_lost),
      R(ready_lies),
      R(ready_of_what_is_to_be_copied),
      R(ready_twice),
      R(too_many_sources),
      R(fragment_of_what_is_read),
      R(done_lies),
      R(done_twice),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
