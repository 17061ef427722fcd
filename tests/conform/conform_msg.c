/* SPDX-License-Identifier: Apache-2.0 */
/* conform_msg.c - messages: sizes, data, scattered buffers, CQ data, injection, completion levels. */
#include "lib_conform.h"

static pair_t p;
static link_t l;

static void begin(const opts_t *c, const opts_t *s) {
  pair_open(&p, c, s);
  pair_connect(&p, &l);
}

static void end(void) {
  pair_end(&p, &l);
}

static void ping_pong(void **state) {
  (void) state;
  begin(NULL, NULL);
  for (size_t len = 64; len <= 1 << 20; len *= 2) {
    unsigned turns = len < 65536 ? 50 : 4;

    for (unsigned i = 0; i < turns; i++) {
      exchange(&p.c, l.c, &p.s, l.s, len, len + i);
      exchange(&p.s, l.s, &p.c, l.c, len, len + i + 1);
    }
  }
  end();
}

static void odd_sizes(void **state) {
  static const size_t sizes[] = {0,    1,    7,    8,     15,    16,    17,    127,
                                 128,  129,  255,  256,   1000,  4095,  4097,  8984,
                                 8999, 9000, 9001, 65519, 65521, 65537, 99999, (1 << 20) + 1};

  (void) state;
  begin(NULL, NULL);
  for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
    exchange(&p.c, l.c, &p.s, l.s, sizes[i], i);
    exchange(&p.s, l.s, &p.c, l.c, sizes[i], i + 100);
  }
  end();
}

/* Far more than the sockets hold: the sender has to go on while the receiver reads. */
static void sixteen_mib(void **state) {
  (void) state;
  begin(NULL, NULL);
  exchange(&p.c, l.c, &p.s, l.s, 16u << 20, 5);
  exchange(&p.s, l.s, &p.c, l.c, 16u << 20, 6);
  end();
}

/* A message may be shorter than the receive that takes it. */
static void shorter_than_posted(void **state) {
  uint8_t rx[256], tx[100];
  struct fi_context rxc, txc;
  comp_t c;

  (void) state;
  begin(NULL, NULL);
  memset(rx, 0xee, sizeof(rx));
  fill(tx, sizeof(tx), 1);
  OK(fi_recv(l.s, rx, sizeof(rx), NULL, 0, &rxc));
  OK(fi_send(l.c, tx, sizeof(tx), NULL, 0, &txc));
  wait_comp(&p.c, &txc);
  c = wait_comp(&p.s, &rxc);
  assert_int_equal(c.len, sizeof(tx));
  check(rx, sizeof(tx), 1);
  for (size_t i = sizeof(tx); i < sizeof(rx); i++) assert_int_equal(rx[i], 0xee);
  end();
}

/* Many at once in both directions: order and data hold, and completions come in order. */
static void many_in_order(void **state) {
  enum { N = 128, SIZE = 1500 };
  static uint8_t tx[2][N][SIZE], rx[2][N][SIZE];
  static struct fi_context txc[2][N], rxc[2][N];

  (void) state;
  begin(NULL, NULL);
  struct fid_ep *ep[2] = {l.c, l.s};
  end_t *e[2] = {&p.c, &p.s};
  for (unsigned round = 0; round < 10; round++) {
    for (int d = 0; d < 2; d++)
      for (unsigned i = 0; i < N; i++) POST(fi_recv(ep[!d], rx[!d][i], SIZE, NULL, 0, &rxc[!d][i]));
    for (int d = 0; d < 2; d++)
      for (unsigned i = 0; i < N; i++) {
        size_t len = 1 + (i * 37 + round * 101) % SIZE;

        fill(tx[d][i], len, i + round);
        POST(fi_send(ep[d], tx[d][i], len, NULL, 0, &txc[d][i]));
      }
    for (int d = 0; d < 2; d++)
      for (unsigned i = 0; i < N; i++) {
        size_t len = 1 + (i * 37 + round * 101) % SIZE;

        wait_comp(e[d], &txc[d][i]);
        assert_int_equal(wait_comp(e[!d], &rxc[!d][i]).len, len);
        check(rx[!d][i], len, i + round);
        if (i + 1 < N) /* the next one cannot have overtaken it */
          for (size_t k = 0; k < e[!d]->rcomps; k++)
            assert_ptr_not_equal(e[!d]->comps[k].ctx, &rxc[!d][i + 1]);
      }
  }
  end();
}

static void scattered(void **state) {
  static uint8_t tx[4000], rx[4000];
  struct fi_context txc, rxc;

  (void) state;
  begin(NULL, NULL);
  size_t n = p.c.info->tx_attr->iov_limit;
  if (p.s.info->rx_attr->iov_limit < n) n = p.s.info->rx_attr->iov_limit;
  assert_in_range(n, 1, 4);
  for (size_t count = 1; count <= n; count++) {
    struct iovec out[4], in[4];
    size_t len = 0, room = 0;

    for (size_t i = 0; i < count; i++) {
      size_t a = 100 * (i + 1) + 3, b = 100 * (count - i) + 7;

      out[i] = (struct iovec){tx + len, a};
      in[i] = (struct iovec){rx + room, b};
      len += a;
      room += b;
    }
    fill(tx, len, count);
    memset(rx, 0, sizeof(rx));
    OK(fi_recvv(l.s, in, NULL, count, 0, &rxc));
    OK(fi_sendv(l.c, out, NULL, count, 0, &txc));
    wait_comp(&p.c, &txc);
    assert_int_equal(wait_comp(&p.s, &rxc).len, len);
    check(rx, len, count);
  }
  end();
}

/* More pieces than the limit: refused, and nothing else is disturbed. */
static void too_many_pieces(void **state) {
  static uint8_t buf[64];
  struct iovec iov[64];
  struct fi_context ctx;

  (void) state;
  KNOWN_DEVIATION();
  begin(NULL, NULL);
  for (size_t i = 0; i < 64; i++) iov[i] = (struct iovec){buf + i, 1};
  size_t tx = p.c.info->tx_attr->iov_limit + 1, rx = p.c.info->rx_attr->iov_limit + 1;
  struct fi_msg m = {.msg_iov = iov, .iov_count = tx, .context = &ctx};
  REFUSED(fi_sendv(l.c, iov, NULL, tx, 0, &ctx));
  REFUSED(fi_sendv(l.c, iov, NULL, 64, 0, &ctx));
  REFUSED(fi_sendmsg(l.c, &m, 0));
  REFUSED(fi_recvv(l.c, iov, NULL, rx, 0, &ctx));
  m.iov_count = rx;
  REFUSED(fi_recvmsg(l.c, &m, 0));
  alive(&p, &l);
  end();
}

static void cq_data(void **state) {
  static const uint64_t values[] = {0, 1, 0xffffffffu, 0x0102030405060708u, UINT64_MAX};
  uint8_t tx[3000], rx[3000];
  struct fi_context txc, rxc;
  comp_t c;

  (void) state;
  begin(NULL, NULL);
  assert_int_equal(p.c.info->domain_attr->cq_data_size, 8);
  for (unsigned i = 0; i < 5; i++)
    for (unsigned big = 0; big < 2; big++) {
      size_t len = big ? sizeof(tx) : 16;
      struct iovec iov = {tx, len};
      struct fi_msg m = {.msg_iov = &iov, .iov_count = 1, .context = &txc, .data = values[i]};

      fill(tx, len, i);
      OK(fi_recv(l.s, rx, sizeof(rx), NULL, 0, &rxc));
      OK(fi_senddata(l.c, tx, len, NULL, values[i], 0, &txc));
      wait_comp(&p.c, &txc);
      c = wait_comp(&p.s, &rxc);
      assert_true(c.flags & FI_REMOTE_CQ_DATA);
      assert_int_equal(c.data, values[i]);
      assert_int_equal(c.len, len);
      check(rx, len, i);

      OK(fi_recv(l.c, rx, sizeof(rx), NULL, 0, &rxc));
      OK(fi_sendmsg(l.s, &m, FI_REMOTE_CQ_DATA | FI_COMPLETION));
      wait_comp(&p.s, &txc);
      c = wait_comp(&p.c, &rxc);
      assert_true(c.flags & FI_REMOTE_CQ_DATA);
      assert_int_equal(c.data, values[i]);
    }
  /* and one without */
  OK(fi_recv(l.s, rx, sizeof(rx), NULL, 0, &rxc));
  OK(fi_send(l.c, tx, 8, NULL, 0, &txc));
  wait_comp(&p.c, &txc);
  c = wait_comp(&p.s, &rxc);
  assert_false(c.flags & FI_REMOTE_CQ_DATA);
  end();
}

/* The buffer is the caller's again on return, and there is no completion. */
static void inject(void **state) {
  uint8_t tx[4096], rx[4096];
  struct fi_context rxc;
  comp_t c;

  (void) state;
  begin(NULL, NULL);
  size_t max = p.c.info->tx_attr->inject_size;
  assert_in_range(max, 1, sizeof(tx));
  size_t sizes[] = {0, 1, 8, max / 2, max - 1, max};
  for (unsigned i = 0; i < 6; i++)
    for (unsigned data = 0; data < 2; data++) {
      OK(fi_recv(l.s, rx, sizeof(rx), NULL, 0, &rxc));
      fill(tx, sizes[i], i);
      if (data)
        POST(fi_injectdata(l.c, tx, sizes[i], 77, 0));
      else
        POST(fi_inject(l.c, tx, sizes[i], 0));
      memset(tx, 0xdd, sizeof(tx));
      c = wait_comp(&p.s, &rxc);
      assert_int_equal(c.len, sizes[i]);
      assert_int_equal(!!(c.flags & FI_REMOTE_CQ_DATA), data);
      if (data) assert_int_equal(c.data, 77);
      check(rx, sizes[i], i);
    }
  expect_quiet(&p.c);
  end();
}

static void inject_flag(void **state) {
  uint8_t tx[4096], rx[4096];
  struct fi_context txc, rxc;

  (void) state;
  begin(NULL, NULL);
  size_t max = p.c.info->tx_attr->inject_size;
  struct iovec iov[2] = {{tx, max - max / 3}, {tx + max - max / 3, max / 3}};
  for (unsigned n = 1; n <= 2; n++)
    for (unsigned level = 0; level < 2; level++) {
      struct fi_msg m = {.msg_iov = iov, .iov_count = n, .context = &txc};
      size_t len = n == 1 ? iov[0].iov_len : max;

      fill(tx, max, n);
      OK(fi_recv(l.s, rx, sizeof(rx), NULL, 0, &rxc));
      POST(fi_sendmsg(l.c, &m, FI_INJECT | FI_COMPLETION | (level ? FI_INJECT_COMPLETE : 0)));
      memset(tx, 0xdd, sizeof(tx));
      wait_comp(&p.c, &txc);
      assert_int_equal(wait_comp(&p.s, &rxc).len, len);
      check(rx, len, n);
    }
  end();
}

static void inject_too_long(void **state) {
  static uint8_t tx[8192];
  struct fi_context ctx;

  (void) state;
  KNOWN_DEVIATION();
  begin(NULL, NULL);
  size_t over = p.c.info->tx_attr->inject_size + 1;
  struct iovec iov = {tx, over};
  struct fi_msg m = {.msg_iov = &iov, .iov_count = 1, .context = &ctx};
  assert_in_range(over, 1, sizeof(tx));
  REFUSED(fi_inject(l.c, tx, over, 0));
  REFUSED(fi_inject(l.c, tx, sizeof(tx), 0));
  REFUSED(fi_injectdata(l.c, tx, over, 1, 0));
  REFUSED(fi_sendmsg(l.c, &m, FI_INJECT | FI_COMPLETION));
  alive(&p, &l);
  end();
}

/* FI_TRANSMIT_COMPLETE and FI_DELIVERY_COMPLETE: the completion waits for the peer. */
static void delivery_waits_for_the_peer(void **state) {
  static const uint64_t levels[] = {FI_DELIVERY_COMPLETE, FI_TRANSMIT_COMPLETE};
  uint8_t tx[600], rx[600];
  struct fi_context txc, rxc;

  (void) state;
  begin(NULL, NULL);
  for (unsigned i = 0; i < 2; i++) {
    struct iovec iov = {tx, sizeof(tx)};
    struct fi_msg m = {.msg_iov = &iov, .iov_count = 1, .context = &txc};

    fill(tx, sizeof(tx), i);
    OK(fi_recv(l.s, rx, sizeof(rx), NULL, 0, &rxc));
    p.s.asleep = true;
    OK(fi_sendmsg(l.c, &m, FI_COMPLETION | levels[i]));
    settle(30);
    assert_false(took(&p.c, &txc, NULL));
    p.s.asleep = false;
    wait_comp(&p.s, &rxc);
    wait_comp(&p.c, &txc);
    check(rx, sizeof(tx), i);
  }
  end();
}

/* The level as the endpoint's default. */
static void delivery_by_default(void **state) {
  opts_t o = {.tx_flags = FI_DELIVERY_COMPLETE | FI_COMPLETION};
  uint8_t tx[600], rx[600];
  struct fi_context txc, rxc;

  (void) state;
  begin(&o, NULL);
  OK(fi_recv(l.s, rx, sizeof(rx), NULL, 0, &rxc));
  p.s.asleep = true;
  OK(fi_send(l.c, tx, sizeof(tx), NULL, 0, &txc));
  settle(30);
  assert_false(took(&p.c, &txc, NULL));
  p.s.asleep = false;
  wait_comp(&p.s, &rxc);
  wait_comp(&p.c, &txc);
  end();
}

/* Acknowledged messages mixed with others: each completes once, and all do. */
static void levels_mixed(void **state) {
  enum { N = 60 };
  static uint8_t tx[N][300], rx[N][300];
  static struct fi_context txc[N], rxc[N];

  (void) state;
  begin(NULL, NULL);
  for (unsigned i = 0; i < N; i++) {
    struct iovec iov = {tx[i], 1 + (i * 53) % 300};
    struct fi_msg m = {.msg_iov = &iov, .iov_count = 1, .context = &txc[i]};

    fill(tx[i], iov.iov_len, i);
    OK(fi_recv(l.s, rx[i], sizeof(rx[i]), NULL, 0, &rxc[i]));
    POST(fi_sendmsg(l.c, &m, FI_COMPLETION | (i % 3 == 0 ? FI_DELIVERY_COMPLETE : 0)));
  }
  for (unsigned i = 0; i < N; i++) {
    wait_comp(&p.c, &txc[i]);
    wait_comp(&p.s, &rxc[i]);
    check(rx[i], 1 + (i * 53) % 300, i);
  }
  end();
}

/* FI_SELECTIVE_COMPLETION: only what asks for a completion has one, in both directions. */
static void selective(void **state) {
  opts_t o = {.cq_flags = FI_SELECTIVE_COMPLETION};
  uint8_t tx[512], rx[3][512];
  struct fi_context txc[3], rxc[3];
  struct iovec in = {rx[2], 512}, out = {tx, 512};
  struct fi_msg mr = {.msg_iov = &in, .iov_count = 1, .context = &rxc[2]};
  struct fi_msg mt = {.msg_iov = &out, .iov_count = 1, .context = &txc[2]};

  (void) state;
  begin(&o, &o);
  OK(fi_recv(l.s, rx[0], 512, NULL, 0, &rxc[0]));
  mr.context = &rxc[1];
  in.iov_base = rx[1];
  OK(fi_recvmsg(l.s, &mr, 0));
  mr.context = &rxc[2];
  in.iov_base = rx[2];
  OK(fi_recvmsg(l.s, &mr, FI_COMPLETION));
  fill(tx, sizeof(tx), 9);
  OK(fi_send(l.c, tx, 512, NULL, 0, &txc[0]));
  mt.context = &txc[1];
  OK(fi_sendmsg(l.c, &mt, 0));
  mt.context = &txc[2];
  OK(fi_sendmsg(l.c, &mt, FI_COMPLETION));
  wait_comp(&p.s, &rxc[2]);
  wait_comp(&p.c, &txc[2]);
  settle(20);
  for (unsigned i = 0; i < 3; i++) check(rx[i], 512, 9);
  expect_quiet(&p.c);
  expect_quiet(&p.s);
  p.c.messy = p.s.messy = true;
  end();
}

/* ... unless that is what calls without flags do, also where receives are shared. */
static void selective_by_default(void **state) {
  opts_t o = {
      .cq_flags = FI_SELECTIVE_COMPLETION, .tx_flags = FI_COMPLETION, .rx_flags = FI_COMPLETION};
  uint8_t tx[64] = {0}, rx[2][64];
  struct fi_context txc, rxc[2];
  struct iovec in = {rx[1], 64};

  (void) state;
  for (unsigned i = 0; i < 2; i++) {
    opts_t there = o;
    there.srx = i == 1;
    begin(&o, &there);
    struct fid_ep *into = there.srx ? p.s.srx : l.s;
    OK(fi_recv(into, rx[0], 64, NULL, 0, &rxc[0]));
    OK(fi_recvv(into, &in, NULL, 1, 0, &rxc[1]));
    for (unsigned k = 0; k < 2; k++) {
      OK(fi_send(l.c, tx, 64, NULL, 0, &txc));
      wait_comp(&p.c, &txc);
      wait_comp(&p.s, &rxc[k]);
    }
    end();
  }
}

/* A message too long for the receive: FI_ETRUNC at the receiver, its connection is over or goes on. */
static void truncated(void **state) {
  uint8_t tx[600], rx[500];
  struct fi_context txc, rxc;
  link_t other;

  (void) state;
  begin(NULL, NULL);
  pair_connect(&p, &other);
  OK(fi_recv(l.s, rx, sizeof(rx), NULL, 0, &rxc));
  OK(fi_send(l.c, tx, sizeof(tx), NULL, 0, &txc));
  assert_int_equal(wait_error(&p.s, &rxc).err, FI_ETRUNC);
  wait_comp(&p.c, &txc);
  alive(&p, &other);
  pair_disconnect(&p, &other);
  settle(20);
  end_forget(&p.c);
  end_forget(&p.s);
  link_close(&l);
  pair_close(&p);
}

static void several_endpoints(void **state) {
  enum { N = 16 };
  link_t many[N];

  (void) state;
  pair_open(&p, NULL, NULL);
  for (unsigned i = 0; i < N; i++) pair_connect(&p, &many[i]);
  for (unsigned round = 0; round < 5; round++)
    for (unsigned i = 0; i < N; i++) {
      unsigned k = (i * 7 + round) % N;

      exchange(&p.c, many[k].c, &p.s, many[k].s, 64 + 1000 * round, i);
      exchange(&p.s, many[k].s, &p.c, many[k].c, 64 + 1000 * i, i);
    }
  /* one by one, from the middle: the others go on */
  for (unsigned n = 0; n < N; n++) {
    unsigned k = (n + N / 2) % N;

    pair_disconnect(&p, &many[k]);
    for (unsigned m = n + 1; m < N; m++) alive(&p, &many[(m + N / 2) % N]);
  }
  pair_close(&p);
}

/* Sends and receives may complete on queues of their own. */
static void queue_of_its_own(void **state) {
  struct fid_cq *tx_cq;
  struct fi_cq_attr attr = {.size = 64, .format = FI_CQ_FORMAT_DATA};
  struct fi_cq_data_entry entry;
  uint8_t tx[64], rx[64];
  struct fi_context txc, rxc;
  event_t ev;

  (void) state;
  pair_open(&p, NULL, NULL);
  OK(fi_cq_open(p.c.domain, &attr, &tx_cq, NULL));
  OK(fi_endpoint(p.c.domain, p.c.info, &l.c, NULL));
  OK(fi_ep_bind(l.c, &p.c.eq->fid, 0));
  OK(fi_ep_bind(l.c, &p.c.cq->fid, FI_RECV));
  OK(fi_ep_bind(l.c, &tx_cq->fid, FI_TRANSMIT));
  OK(fi_enable(l.c));
  OK(fi_connect(l.c, &p.addr, NULL, 0));
  ev = wait_event(&p.s, FI_CONNREQ, NULL);
  l.s = end_ep(&p.s, ev.info, NULL);
  fi_freeinfo(ev.info);
  OK(fi_accept(l.s, NULL, 0));
  wait_event(&p.s, FI_CONNECTED, &l.s->fid);
  wait_event(&p.c, FI_CONNECTED, &l.c->fid);
  for (unsigned i = 0; i < 20; i++) {
    ssize_t n = 0;

    fill(tx, sizeof(tx), i);
    OK(fi_recv(l.s, rx, sizeof(rx), NULL, 0, &rxc));
    OK(fi_send(l.c, tx, sizeof(tx), NULL, 0, &txc));
    UNTIL((n = fi_cq_read(tx_cq, &entry, 1)) != -FI_EAGAIN);
    assert_int_equal(n, 1);
    assert_ptr_equal(entry.op_context, &txc);
    wait_comp(&p.s, &rxc);
    OK(fi_recv(l.c, rx, sizeof(rx), NULL, 0, &rxc));
    OK(fi_send(l.s, tx, sizeof(tx), NULL, 0, &txc));
    wait_comp(&p.s, &txc);
    wait_comp(&p.c, &rxc);
    check(rx, sizeof(rx), i);
  }
  assert_int_equal(fi_cq_read(tx_cq, &entry, 1), -FI_EAGAIN);
  pair_disconnect(&p, &l);
  OK(fi_close(&tx_cq->fid));
  pair_close(&p);
}

static const struct CMUnitTest tests[] = {
    CASE(ping_pong),
    CASE(odd_sizes),
    CASE(sixteen_mib),
    CASE(shorter_than_posted),
    CASE(many_in_order),
    CASE(scattered),
    CASE(too_many_pieces),
    CASE(cq_data),
    CASE(inject),
    CASE(inject_flag),
    CASE(inject_too_long),
    CASE(delivery_waits_for_the_peer),
    CASE(delivery_by_default),
    CASE(levels_mixed),
    CASE(selective),
    CASE(selective_by_default),
    CASE(truncated),
    CASE(several_endpoints),
    CASE(queue_of_its_own),
};

CONFORM_MAIN(tests)
