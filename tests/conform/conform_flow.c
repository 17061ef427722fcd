/* SPDX-License-Identifier: Apache-2.0 */
/* conform_flow.c - more than fits: full queues, peers that do not read, cancelled receives. */
#include "lib_conform.h"

static pair_t p;
static link_t l;

#define SIZE 4096

/* A sender whose peer does not read is told so, and loses nothing once it does. */
static void full_transmit_queue(void **state) {
  opts_t o = {.tx_size = 64};
  static struct fi_context txc[100000];
  static uint8_t tx[SIZE], rx[SIZE];
  struct fi_context rxc;
  unsigned sent = 0, done = 0, seen = 0;
  ssize_t rc;

  (void) state;
  KNOWN_DEVIATION();
  pair_open(&p, &o, NULL);
  assert_int_equal(p.c.info->tx_attr->size, 64);
  pair_connect(&p, &l);
  p.s.asleep = true;
  fill(tx, SIZE, 1);
  uint64_t last = now_ms();
  while (now_ms() - last < 100) { /* until it has not taken one for a while */
    assert_true(sent < 100000);
    rc = fi_send(l.c, tx, SIZE, NULL, 0, &txc[sent]);
    if (rc == 0) {
      sent++;
      last = now_ms();
    } else {
      assert_int_equal(rc, -FI_EAGAIN);
      pump();
    }
  }
  while (done < sent && took(&p.c, &txc[done], NULL)) done++;
  assert_true(sent - done <= 64);
  assert_true(sent - done > 0);
  assert_int_equal(fi_inject(l.c, tx, 64, 0), -FI_EAGAIN); /* it has no room either */
  p.s.asleep = false;
  for (; seen < sent; seen++) {
    memset(rx, 0, SIZE);
    OK(fi_recv(l.s, rx, SIZE, NULL, 0, &rxc));
    assert_int_equal(wait_comp(&p.s, &rxc).len, SIZE);
    check(rx, SIZE, 1);
  }
  for (; done < sent; done++) wait_comp(&p.c, &txc[done]);
  alive(&p, &l);
  pair_end(&p, &l);
}

/* As many sends as the queue has room for are taken at once, without any progress between. */
static void as_many_as_promised(void **state) {
  static struct fi_context txc[4096], rxc[4096];
  static uint8_t tx[64], rx[64];

  (void) state;
  pair_open(&p, NULL, NULL);
  pair_connect(&p, &l);
  size_t n = p.c.info->tx_attr->size, m = p.s.info->rx_attr->size;
  assert_in_range(n, 1, 4096);
  if (n > m) n = m;
  for (size_t i = 0; i < n; i++) OK(fi_recv(l.s, rx, sizeof(rx), NULL, 0, &rxc[i]));
  for (size_t i = 0; i < n; i++) OK(fi_send(l.c, tx, sizeof(tx), NULL, 0, &txc[i]));
  for (size_t i = 0; i < n; i++) {
    wait_comp(&p.c, &txc[i]);
    wait_comp(&p.s, &rxc[i]);
  }
  pair_end(&p, &l);
}

static void full_receive_queue(void **state) {
  opts_t o = {.rx_size = 32};
  static struct fi_context ctx[33];
  static uint8_t rx[33][64], tx[64];

  (void) state;
  pair_open(&p, NULL, &o);
  assert_int_equal(p.s.info->rx_attr->size, 32);
  pair_connect(&p, &l);
  for (unsigned i = 0; i < 32; i++) OK(fi_recv(l.s, rx[i], 64, NULL, 0, &ctx[i]));
  assert_int_equal(fi_recv(l.s, rx[32], 64, NULL, 0, &ctx[32]), -FI_EAGAIN);
  assert_int_equal(fi_recv(l.s, rx[32], 64, NULL, 0, &ctx[32]), -FI_EAGAIN);
  POST(fi_inject(l.c, tx, 64, 0));
  wait_comp(&p.s, &ctx[0]);
  OK(fi_recv(l.s, rx[32], 64, NULL, 0, &ctx[32])); /* one taken, one free */
  assert_int_equal(fi_recv(l.s, rx[0], 64, NULL, 0, &ctx[0]), -FI_EAGAIN);
  for (unsigned i = 1; i <= 32; i++) {
    fill(tx, 64, i);
    POST(fi_inject(l.c, tx, 64, 0));
    wait_comp(&p.s, &ctx[i]);
    check(rx[i], 64, i);
  }
  pair_end(&p, &l);
}

/* More completions than the queue was opened for: none is lost (FI_RM_ENABLED). */
static void completion_queue_overflow(void **state) {
  enum { N = 200 };
  opts_t o = {.cq_size = 4};
  static struct fi_context txc[N], rxc[N];
  static uint8_t tx[64], rx[N][64];
  struct fi_cq_data_entry entry;

  (void) state;
  pair_open(&p, NULL, &o);
  pair_connect(&p, &l);
  for (unsigned i = 0; i < N; i++) OK(fi_recv(l.s, rx[i], 64, NULL, 0, &rxc[i]));
  p.s.asleep = true;
  for (unsigned i = 0; i < N; i++) {
    fill(tx, 64, i);
    POST(fi_send(l.c, tx, 64, NULL, 0, &txc[i]));
    wait_comp(&p.c, &txc[i]);
  }
  for (unsigned i = 0; i < N; i++) { /* one at a time, the queue full all along */
    ssize_t n = 0;

    UNTIL((n = fi_cq_read(p.s.cq, &entry, 1)) != -FI_EAGAIN);
    assert_int_equal(n, 1);
    assert_ptr_equal(entry.op_context, &rxc[i]);
    check(rx[i], 64, i);
  }
  p.s.asleep = false;
  alive(&p, &l);
  pair_end(&p, &l);
}

/* One peer does not read; the others on the same queues go on, and it loses nothing. */
static void stalled_reader(void **state) {
  static uint8_t tx[1 << 20], rx[1 << 20];
  struct fi_context txc[8], rxc;
  link_t other;

  (void) state;
  pair_open(&p, NULL, NULL);
  pair_connect(&p, &l);
  pair_connect(&p, &other);
  fill(tx, sizeof(tx), 7);
  for (unsigned i = 0; i < 8; i++) OK(fi_send(l.c, tx, sizeof(tx), NULL, 0, &txc[i]));
  settle(20);
  for (unsigned i = 0; i < 100; i++) alive(&p, &other);
  for (unsigned i = 0; i < 8; i++) {
    memset(rx, 0, sizeof(rx));
    OK(fi_recv(l.s, rx, sizeof(rx), NULL, 0, &rxc));
    assert_int_equal(wait_comp(&p.s, &rxc).len, sizeof(rx));
    check(rx, sizeof(rx), 7);
    alive(&p, &other);
  }
  for (unsigned i = 0; i < 8; i++) wait_comp(&p.c, &txc[i]);
  pair_disconnect(&p, &l);
  alive(&p, &other);
  pair_disconnect(&p, &other);
  pair_close(&p);
}

/* Both send more than the connection holds before either receives: no deadlock, no loss. */
static void both_full(void **state) {
  static uint8_t tx[2][4 << 20], rx[2][4 << 20];
  struct fi_context txc[2], rxc[2];

  (void) state;
  pair_open(&p, NULL, NULL);
  pair_connect(&p, &l);
  fill(tx[0], sizeof(tx[0]), 1);
  fill(tx[1], sizeof(tx[1]), 2);
  OK(fi_send(l.c, tx[0], sizeof(tx[0]), NULL, 0, &txc[0]));
  OK(fi_send(l.s, tx[1], sizeof(tx[1]), NULL, 0, &txc[1]));
  settle(20);
  OK(fi_recv(l.s, rx[0], sizeof(rx[0]), NULL, 0, &rxc[0]));
  OK(fi_recv(l.c, rx[1], sizeof(rx[1]), NULL, 0, &rxc[1]));
  wait_comp(&p.s, &rxc[0]);
  wait_comp(&p.c, &rxc[1]);
  wait_comp(&p.c, &txc[0]);
  wait_comp(&p.s, &txc[1]);
  check(rx[0], sizeof(rx[0]), 1);
  check(rx[1], sizeof(rx[1]), 2);
  pair_end(&p, &l);
}

/* A cancelled receive completes once, as such; the others keep their order. */
static void cancel(void **state) {
  enum { N = 10 };
  static uint8_t rx[N][64], tx[64];
  struct fi_context ctx[N], none;

  (void) state;
  pair_open(&p, NULL, NULL);
  pair_connect(&p, &l);
  for (unsigned i = 0; i < N; i++) OK(fi_recv(l.s, rx[i], 64, NULL, 0, &ctx[i]));
  for (unsigned i = 0; i < N; i += 3) { /* the first, the last, between */
    comp_t c;

    OK(fi_cancel(&l.s->fid, &ctx[i]));
    c = wait_error(&p.s, &ctx[i]);
    assert_int_equal(c.err, FI_ECANCELED);
    assert_true(c.flags & FI_RECV);
  }
  OK(fi_cancel(&l.s->fid, &ctx[0])); /* again: it is not there any more */
  OK(fi_cancel(&l.s->fid, &none));
  settle(10);
  expect_quiet(&p.s);
  for (unsigned i = 0; i < N; i++) {
    if (i % 3 == 0) continue;
    fill(tx, 64, i);
    POST(fi_inject(l.c, tx, 64, 0));
    wait_comp(&p.s, &ctx[i]);
    check(rx[i], 64, i);
  }
  alive(&p, &l);
  pair_end(&p, &l);
}

/* A receive that a message has begun to fill is not taken from under it. */
static void cancel_half_received(void **state) {
  static uint8_t tx[4 << 20], rx[4 << 20];
  struct fi_context txc, rxc;
  comp_t c;

  (void) state;
  pair_open(&p, NULL, NULL);
  pair_connect(&p, &l);
  fill(tx, sizeof(tx), 3);
  OK(fi_recv(l.s, rx, sizeof(rx), NULL, 0, &rxc));
  p.c.asleep = true; /* what the socket takes at once, and no more */
  OK(fi_send(l.c, tx, sizeof(tx), NULL, 0, &txc));
  settle(20);
  assert_false(took(&p.s, &rxc, NULL));
  OK(fi_cancel(&l.s->fid, &rxc));
  p.c.asleep = false;
  UNTIL(took(&p.s, &rxc, &c));
  if (c.err != 0) fail_msg("cancelled under way: %s", fi_strerror(c.err));
  wait_comp(&p.c, &txc);
  check(rx, sizeof(rx), 3);
  alive(&p, &l);
  pair_end(&p, &l);
}

static const struct CMUnitTest tests[] = {
    CASE(full_transmit_queue),
    CASE(as_many_as_promised),
    CASE(full_receive_queue),
    CASE(completion_queue_overflow),
    CASE(stalled_reader),
    CASE(both_full),
    CASE(cancel),
    CASE(cancel_half_received),
};

CONFORM_MAIN(tests)
