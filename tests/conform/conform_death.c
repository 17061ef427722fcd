/* SPDX-License-Identifier: Apache-2.0 */
/* conform_death.c - the end of a connection: FI_SHUTDOWN exactly once at each end, and what was under
 * way completes in error, once. */
#include "lib_conform.h"

static pair_t p;
static link_t l;

static void begin(void) {
  pair_open(&p, NULL, NULL);
  pair_connect(&p, &l);
}

static void end(void) {
  settle(20); /* a second FI_SHUTDOWN would be here by now */
  pair_close(&p);
}

static void peer_shuts_down(void **state) {
  (void) state;
  begin();
  pair_disconnect(&p, &l);
  pair_connect(&p, &l); /* and the other one */
  OK(fi_shutdown(l.s, 0));
  wait_event(&p.s, FI_SHUTDOWN, &l.s->fid);
  wait_event(&p.c, FI_SHUTDOWN, &l.c->fid);
  settle(20);
  expect_quiet(&p.c);
  expect_quiet(&p.s);
  link_close(&l);
  end();
}

static void peer_closes(void **state) {
  enum { N = 8 };
  static uint8_t rx[N][64];
  static struct fi_context ctx[N];

  (void) state;
  begin();
  for (unsigned i = 0; i < N; i++) OK(fi_recv(l.s, rx[i], 64, NULL, 0, &ctx[i]));
  ep_close(l.c);
  for (unsigned i = 0; i < N; i++) assert_int_equal(wait_error(&p.s, &ctx[i]).err, FI_ECANCELED);
  wait_event(&p.s, FI_SHUTDOWN, &l.s->fid);
  expect_quiet(&p.c); /* the closed one's events are gone with it */
  ep_close(l.s);
  end();
}

/* Nothing was ever posted. */
static void peer_closes_without_receives(void **state) {
  (void) state;
  begin();
  ep_close(l.c);
  wait_event(&p.s, FI_SHUTDOWN, &l.s->fid);
  ep_close(l.s);
  end();
}

/* What was sent before the end is received before the end. */
static void data_before_the_end(void **state) {
  enum { N = 20 };
  static uint8_t tx[N][5000], rx[N + 1][5000];
  static struct fi_context txc[N], rxc[N + 1];

  (void) state;
  begin();
  for (unsigned i = 0; i <= N; i++) OK(fi_recv(l.s, rx[i], 5000, NULL, 0, &rxc[i]));
  p.s.asleep = true;
  for (unsigned i = 0; i < N; i++) {
    fill(tx[i], 5000, i);
    POST(fi_send(l.c, tx[i], 5000, NULL, 0, &txc[i]));
  }
  for (unsigned i = 0; i < N; i++) wait_comp(&p.c, &txc[i]);
  ep_close(l.c);
  p.s.asleep = false;
  for (unsigned i = 0; i < N; i++) {
    wait_comp(&p.s, &rxc[i]);
    check(rx[i], 5000, i);
  }
  assert_int_equal(wait_error(&p.s, &rxc[N]).err, FI_ECANCELED);
  wait_event(&p.s, FI_SHUTDOWN, &l.s->fid);
  ep_close(l.s);
  end();
}

/* ... also by who notices the end because he cannot send any more. */
static void data_before_a_send_that_fails(void **state) {
  static uint8_t tx[500], rx[500], back[64];
  struct fi_context txc, rxc, backc[20];
  unsigned n = 0;
  comp_t c;

  (void) state;
  begin();
  OK(fi_recv(l.s, rx, sizeof(rx), NULL, 0, &rxc));
  p.s.asleep = true;
  fill(tx, sizeof(tx), 3);
  POST(fi_send(l.c, tx, sizeof(tx), NULL, 0, &txc));
  wait_comp(&p.c, &txc);
  ep_close(l.c);
  for (; n < 20; n++) { /* the first is answered by a reset, one after that finds it */
    if (fi_send(l.s, back, sizeof(back), NULL, 0, &backc[n]) != 0) break;
    settle(5);
  }
  p.s.asleep = false;
  assert_int_equal(wait_comp(&p.s, &rxc).len, sizeof(rx));
  check(rx, sizeof(rx), 3);
  wait_event(&p.s, FI_SHUTDOWN, &l.s->fid);
  for (unsigned i = 0; i < n; i++) UNTIL(took(&p.s, &backc[i], &c)); /* good or bad: each once */
  ep_close(l.s);
  end();
}

/* A message that nobody wants, then the end: it must be told all the same. */
static void unread_message_then_close(void **state) {
  static uint8_t tx[64];
  struct fi_context txc;

  (void) state;
  KNOWN_DEVIATION();
  begin();
  OK(fi_send(l.c, tx, sizeof(tx), NULL, 0, &txc));
  wait_comp(&p.c, &txc);
  settle(20);
  ep_close(l.c);
  wait_event(&p.s, FI_SHUTDOWN, &l.s->fid);
  ep_close(l.s);
  end();
}

/* ... and while the receiver stands in the middle of one. */
static void half_a_message_then_close(void **state) {
  static uint8_t tx[8 << 20], rx[8 << 20];
  struct fi_context txc, rxc;
  comp_t c;

  (void) state;
  begin();
  OK(fi_recv(l.s, rx, sizeof(rx), NULL, 0, &rxc));
  p.c.asleep = true; /* only what the socket takes at once leaves */
  OK(fi_send(l.c, tx, sizeof(tx), NULL, 0, &txc));
  settle(20);
  ep_close(l.c);
  c = wait_error(&p.s, &rxc);
  assert_true(c.err == FI_ECANCELED || c.err == FI_ENOTCONN || c.err == FI_EIO ||
              c.err == FI_ECONNRESET);
  wait_event(&p.s, FI_SHUTDOWN, &l.s->fid);
  p.c.asleep = false;
  assert_int_equal(wait_error(&p.c, &txc).err, FI_ECANCELED);
  ep_close(l.s);
  end();
}

/* fi_close gives back everything that was under way, as cancelled, after it has returned. */
static void close_flushes(void **state) {
  enum { N = 16 };
  static uint8_t tx[N][1 << 20], rx[N][64];
  static struct fi_context txc[N], rxc[N];
  unsigned cancelled = 0;

  (void) state;
  begin();
  for (unsigned i = 0; i < N; i++) OK(fi_recv(l.c, rx[i], 64, NULL, 0, &rxc[i]));
  for (unsigned i = 0; i < N; i++) /* the peer takes none of it */
    POST(fi_send(l.c, tx[i], sizeof(tx[i]), NULL, 0, &txc[i]));
  ep_close(l.c);
  for (unsigned i = 0; i < N; i++) {
    comp_t c;

    UNTIL(took(&p.c, &txc[i], &c));
    if (c.err != 0) {
      assert_int_equal(c.err, FI_ECANCELED);
      cancelled++;
    } else {
      assert_int_equal(cancelled, 0); /* in order: nothing completes behind one that did not */
    }
    assert_int_equal(wait_error(&p.c, &rxc[i]).err, FI_ECANCELED);
  }
  assert_true(cancelled > 0);
  end_forget(&p.c);
  ep_close(l.s);
  settle(10);
  end_forget(&p.s);
  pair_close(&p);
}

/* Who asks for no completion of a send is told all the same when it fails; fi_inject is not. */
static void unsignalled_and_failed(void **state) {
  enum { N = 16 };
  static uint8_t tx[N][1 << 20];
  static struct fi_context txc[N];
  opts_t o = {.cq_flags = FI_SELECTIVE_COMPLETION};
  unsigned failed = 0, n;
  comp_t c;

  (void) state;
  pair_open(&p, &o, NULL);
  pair_connect(&p, &l);
  for (n = 0; n < N; n++) /* the peer takes none of it */
    if (fi_send(l.c, tx[n], sizeof(tx[n]), NULL, 0, &txc[n]) != 0) break;
  (void) fi_inject(l.c, tx[0], 8, 0);
  ep_close(l.c);
  settle(20);
  for (unsigned i = 0; i < n; i++)
    if (took(&p.c, &txc[i], &c)) {
      assert_int_equal(c.err, FI_ECANCELED);
      failed++;
    } else {
      assert_int_equal(failed, 0); /* what succeeded, first, says nothing */
    }
  assert_true(failed > 0);
  expect_quiet(&p.c);
  ep_close(l.s);
  settle(10);
  end_forget(&p.s);
  pair_close(&p);
}

/* The same of operations that wait for the peer's answer. */
static void close_flushes_answers(void **state) {
  static uint8_t buf[64], into[4096];
  struct fi_context dc, rc;
  struct iovec iov = {buf, sizeof(buf)};
  struct fi_msg m = {.msg_iov = &iov, .iov_count = 1, .context = &dc};
  region_t r;

  (void) state;
  begin();
  region_open(&r, &p.s, 4096, FI_REMOTE_READ, 1);
  p.s.asleep = true;
  OK(fi_sendmsg(l.c, &m, FI_COMPLETION | FI_DELIVERY_COMPLETE));
  OK(fi_read(l.c, into, sizeof(into), NULL, 0, r.origin, r.key, &rc));
  settle(10);
  ep_close(l.c);
  assert_int_equal(wait_error(&p.c, &dc).err, FI_ECANCELED);
  assert_int_equal(wait_error(&p.c, &rc).err, FI_ECANCELED);
  ep_close(l.s);
  region_close(&r);
  p.s.asleep = false;
  end_forget(&p.s);
  end();
}

/* The peer dies under operations that wait for its answer. */
static void answers_that_never_come(void **state) {
  static uint8_t buf[64], into[4096];
  struct fi_context dc, rc;
  struct iovec iov = {buf, sizeof(buf)};
  struct fi_msg m = {.msg_iov = &iov, .iov_count = 1, .context = &dc};
  region_t r;
  comp_t c;

  (void) state;
  begin();
  region_open(&r, &p.s, 4096, FI_REMOTE_READ, 1);
  p.s.asleep = true;
  OK(fi_sendmsg(l.c, &m, FI_COMPLETION | FI_DELIVERY_COMPLETE));
  OK(fi_read(l.c, into, sizeof(into), NULL, 0, r.origin, r.key, &rc));
  settle(10);
  ep_close(l.s);
  UNTIL(took(&p.c, &dc, &c));
  assert_int_not_equal(c.err, 0);
  UNTIL(took(&p.c, &rc, &c));
  assert_int_not_equal(c.err, 0);
  wait_event(&p.c, FI_SHUTDOWN, &l.c->fid);
  ep_close(l.c);
  region_close(&r);
  p.s.asleep = false;
  end_forget(&p.s);
  end();
}

/* After the end: a send is refused or completes in error, never well; a receive comes back at the
 * latest when the endpoint closes. */
static void use_after_the_end(void **state) {
  static uint8_t buf[64];
  struct fi_context txc, rxc;
  ssize_t rc;
  comp_t c;

  (void) state;
  begin();
  OK(fi_shutdown(l.c, 0));
  wait_event(&p.c, FI_SHUTDOWN, &l.c->fid);
  wait_event(&p.s, FI_SHUTDOWN, &l.s->fid);
  struct fid_ep *ep[] = {l.c, l.s};
  end_t *e[] = {&p.c, &p.s};
  for (int i = 0; i < 2; i++) {
    rc = fi_recv(ep[i], buf, sizeof(buf), NULL, 0, &rxc);
    if (rc == 0) {
      settle(5);
      bool back = took(e[i], &rxc, &c);
      rc = fi_send(ep[i], buf, sizeof(buf), NULL, 0, &txc);
      if (rc == 0) assert_int_not_equal(wait_error(e[i], &txc).err, 0);
      ep_close(ep[i]);
      if (!back) UNTIL(took(e[i], &rxc, &c));
      assert_int_not_equal(c.err, 0);
    } else {
      assert_int_not_equal(rc, -FI_EAGAIN);
      rc = fi_send(ep[i], buf, sizeof(buf), NULL, 0, &txc);
      if (rc == 0)
        assert_int_not_equal(wait_error(e[i], &txc).err, 0);
      else
        assert_int_not_equal(rc, -FI_EAGAIN);
      ep_close(ep[i]);
    }
  }
  end();
}

/* fi_shutdown twice, and at both ends at once: one event each. */
static void shutdown_again(void **state) {
  (void) state;
  begin();
  OK(fi_shutdown(l.c, 0));
  fi_shutdown(l.c, 0);
  fi_shutdown(l.s, 0);
  fi_shutdown(l.s, 0);
  wait_event(&p.c, FI_SHUTDOWN, &l.c->fid);
  wait_event(&p.s, FI_SHUTDOWN, &l.s->fid);
  settle(20);
  expect_quiet(&p.c);
  expect_quiet(&p.s);
  link_close(&l);
  end();
}

/* An event that nobody has read goes with its endpoint. */
static void event_of_a_closed_one(void **state) {
  (void) state;
  begin();
  p.s.deaf = true;
  ep_close(l.c);
  settle(20);
  ep_close(l.s);
  p.s.deaf = false;
  settle(20);
  expect_quiet(&p.s);
  end();
}

/* Many come and go: nothing of the gone ones remains for the next. */
static void come_and_go(void **state) {
  (void) state;
  pair_open(&p, NULL, NULL);
  for (unsigned i = 0; i < 200; i++) {
    pair_connect(&p, &l);
    if (i % 3 == 0) alive(&p, &l);
    if (i % 2 == 0) {
      pair_disconnect(&p, &l);
    } else {
      ep_close(l.s);
      wait_event(&p.c, FI_SHUTDOWN, &l.c->fid);
      ep_close(l.c);
    }
  }
  end();
}

static const struct CMUnitTest tests[] = {
    CASE(peer_shuts_down),
    CASE(peer_closes),
    CASE(peer_closes_without_receives),
    CASE(data_before_the_end),
    CASE(data_before_a_send_that_fails),
    CASE(unsignalled_and_failed),
    CASE(unread_message_then_close),
    CASE(half_a_message_then_close),
    CASE(close_flushes),
    CASE(close_flushes_answers),
    CASE(answers_that_never_come),
    CASE(use_after_the_end),
    CASE(shutdown_again),
    CASE(event_of_a_closed_one),
    CASE(come_and_go),
};

CONFORM_MAIN(tests)
