/* SPDX-License-Identifier: Apache-2.0 */
/* conform_rma.c - the peer's memory: writes and reads, pieces, limits, levels, and what is refused.
 *
 * Design notes
 *  - A target is told nothing of a write. The cases wait for FI_DELIVERY_COMPLETE, or send a message
 *    behind it (FI_ORDER_SAW), before they look. */
#include "lib_conform.h"

#define ALL   (FI_REMOTE_READ | FI_REMOTE_WRITE)
#define ROOM  (1u << 20)
#define GUARD 64

static pair_t p;
static link_t l;
static region_t r; /* the server's */
static uint8_t local[ROOM];

static void begin(uint64_t access) {
  pair_open(&p, NULL, NULL);
  pair_connect(&p, &l);
  region_open(&r, &p.s, ROOM, access, 0x1122334455667788u);
}

static void end(void) {
  pair_disconnect(&p, &l);
  region_close(&r);
  pair_close(&p);
}

/* All that was sent before has been placed: a message came through behind it. */
static void fence(void) {
  exchange(&p.c, l.c, &p.s, l.s, 8, 1);
}

static void untouched(size_t from, size_t to) {
  for (size_t i = from; i < to; i++)
    if (r.base[i] != 0) fail_msg("byte %zu of the region was touched", i);
}

static void write_sizes(void **state) {
  static const size_t sizes[] = {0, 1, 8, 63, 128, 129, 4096, 9001, 70001, ROOM - 2 * GUARD};
  struct fi_context ctx;
  comp_t c;

  (void) state;
  begin(ALL);
  for (unsigned i = 0; i < 10; i++) {
    memset(r.base, 0, ROOM);
    fill(local, sizes[i], i);
    POST(fi_write(l.c, local, sizes[i], NULL, 0, r.origin + GUARD, r.key, &ctx));
    c = wait_comp(&p.c, &ctx);
    assert_int_equal(c.flags & (FI_RMA | FI_WRITE), FI_RMA | FI_WRITE);
    fence();
    untouched(0, GUARD);
    check(r.base + GUARD, sizes[i], i);
    untouched(GUARD + sizes[i], ROOM);
  }
  expect_quiet(&p.s);
  end();
}

static void read_sizes(void **state) {
  static const size_t sizes[] = {1, 8, 63, 128, 129, 4096, 9001, 70001, ROOM - 2 * GUARD};
  struct fi_context ctx;
  comp_t c;

  (void) state;
  begin(ALL);
  for (unsigned i = 0; i < 9; i++) {
    memset(local, 0, ROOM);
    fill(r.base + GUARD, sizes[i], i);
    POST(fi_read(l.c, local, sizes[i], NULL, 0, r.origin + GUARD, r.key, &ctx));
    c = wait_comp(&p.c, &ctx);
    assert_int_equal(c.flags & (FI_RMA | FI_READ), FI_RMA | FI_READ);
    check(local, sizes[i], i);
    assert_int_equal(local[sizes[i]], 0);
  }
  expect_quiet(&p.s);
  end();
}

static void to_the_last_byte(void **state) {
  struct fi_context ctx;

  (void) state;
  begin(ALL);
  fill(local, 100, 3);
  POST(fi_write(l.c, local, 100, NULL, 0, r.origin + ROOM - 100, r.key, &ctx));
  wait_comp(&p.c, &ctx);
  fence();
  check(r.base + ROOM - 100, 100, 3);
  memset(local, 0, 100);
  POST(fi_read(l.c, local, 100, NULL, 0, r.origin + ROOM - 100, r.key, &ctx));
  wait_comp(&p.c, &ctx);
  check(local, 100, 3);
  fill(local, ROOM, 4); /* and all of it */
  POST(fi_write(l.c, local, ROOM, NULL, 0, r.origin, r.key, &ctx));
  wait_comp(&p.c, &ctx);
  fence();
  check(r.base, ROOM, 4);
  end();
}

static void write_with_data(void **state) {
  static const uint64_t values[] = {0, 7, 0x8000000000000001u, UINT64_MAX};
  struct fi_context ctx, rxc;
  uint8_t rx[64];
  comp_t c;

  (void) state;
  begin(ALL);
  OK(fi_recv(l.s, rx, sizeof(rx), NULL, 0, &rxc)); /* it takes none of these */
  for (unsigned i = 0; i < 4; i++)
    for (unsigned how = 0; how < 3; how++) {
      size_t len = how == 2 ? 50000 : 100;

      fill(local, len, i);
      if (how == 1)
        POST(fi_inject_writedata(l.c, local, len, values[i], 0, r.origin, r.key));
      else
        POST(fi_writedata(l.c, local, len, NULL, values[i], 0, r.origin, r.key, &ctx));
      if (how != 1) wait_comp(&p.c, &ctx);
      c = wait_comp(&p.s, NULL);
      assert_int_equal(c.flags & (FI_REMOTE_WRITE | FI_REMOTE_CQ_DATA),
                       FI_REMOTE_WRITE | FI_REMOTE_CQ_DATA);
      assert_int_equal(c.data, values[i]);
      check(r.base, len, i);
    }
  expect_quiet(&p.s);
  POST(fi_inject(l.c, local, 8, 0)); /* the receive is still there */
  wait_comp(&p.s, &rxc);
  end();
}

/* The completion says that the data is in place. */
static void delivery(void **state) {
  static const uint64_t levels[] = {FI_DELIVERY_COMPLETE, FI_COMMIT_COMPLETE};
  struct fi_context ctx;

  (void) state;
  begin(ALL);
  for (unsigned i = 0; i < 2; i++) {
    struct iovec iov = {local, 3000};
    struct fi_rma_iov rma = {r.origin, 3000, r.key};
    struct fi_msg_rma m = {
        .msg_iov = &iov, .iov_count = 1, .rma_iov = &rma, .rma_iov_count = 1, .context = &ctx};

    fill(local, 3000, i + 10);
    p.s.asleep = true;
    POST(fi_writemsg(l.c, &m, FI_COMPLETION | levels[i]));
    settle(30);
    assert_false(took(&p.c, &ctx, NULL));
    p.s.asleep = false;
    wait_comp(&p.c, &ctx);
    check(r.base, 3000, i + 10);
  }
  end();
}

/* Pieces at both ends, cut at different places. */
static void pieces(void **state) {
  struct fi_context ctx;

  (void) state;
  begin(ALL);
  size_t lmax = p.c.info->tx_attr->iov_limit, rmax = p.c.info->tx_attr->rma_iov_limit;
  assert_in_range(lmax, 1, 4);
  assert_in_range(rmax, 1, 4);
  for (size_t n = 1; n <= lmax; n++)
    for (size_t k = 1; k <= rmax; k++)
      for (unsigned what = 0; what < 3; what++) {
        size_t total = 12 * 700;
        struct iovec iov[4];
        struct fi_rma_iov rma[4];
        struct fi_msg_rma m = {.msg_iov = iov,
                               .iov_count = n,
                               .rma_iov = rma,
                               .rma_iov_count = k,
                               .context = &ctx,
                               .data = 5};
        comp_t c;

        for (size_t i = 0; i < n; i++) iov[i] = (struct iovec){local + i * 10000, total / n};
        for (size_t i = 0; i < k; i++) /* from the back to the front */
          rma[i] = (struct fi_rma_iov){r.origin + (k - i) * 20000, total / k, r.key};
        memset(local, 0, 40000);
        memset(r.base, 0, 100000);
        if (what < 2) {
          for (size_t i = 0; i < n; i++) fill(local + i * 10000, total / n, 90 + i);
          POST(fi_writemsg(l.c, &m,
                           FI_COMPLETION | FI_DELIVERY_COMPLETE | (what ? FI_REMOTE_CQ_DATA : 0)));
          wait_comp(&p.c, &ctx);
          if (what) {
            c = wait_comp(&p.s, NULL);
            assert_int_equal(c.data, 5);
          }
        } else {
          for (size_t i = 0; i < k; i++) fill(r.base + (k - i) * 20000, total / k, 70 + i);
          POST(fi_readmsg(l.c, &m, FI_COMPLETION));
          wait_comp(&p.c, &ctx);
        }
        for (size_t b = 0; b < total; b++) {
          uint8_t here = local[b / (total / n) * 10000 + b % (total / n)];
          uint8_t there = r.base[(k - b / (total / k)) * 20000 + b % (total / k)];

          if (here != there) fail_msg("%zu to %zu pieces: byte %zu differs", n, k, b);
        }
      }
  end();
}

static void too_many_pieces(void **state) {
  struct iovec iov[8];
  struct fi_rma_iov rma[8];
  struct fi_context ctx;

  (void) state;
  KNOWN_DEVIATION();
  begin(ALL);
  for (unsigned i = 0; i < 8; i++) {
    iov[i] = (struct iovec){local + i, 1};
    rma[i] = (struct fi_rma_iov){r.origin + i, 1, r.key};
  }
  struct fi_msg_rma m = {.msg_iov = iov, .rma_iov = rma, .context = &ctx};
  m.iov_count = m.rma_iov_count = p.c.info->tx_attr->iov_limit + 1;
  REFUSED(fi_writemsg(l.c, &m, FI_COMPLETION));
  REFUSED(fi_readmsg(l.c, &m, FI_COMPLETION));
  m.iov_count = 1;
  iov[0].iov_len = m.rma_iov_count;
  REFUSED(fi_writemsg(l.c, &m, FI_COMPLETION));
  REFUSED(fi_readmsg(l.c, &m, FI_COMPLETION));
  m.rma_iov_count = 1; /* lengths that differ */
  iov[0].iov_len = 8;
  rma[0].len = 7;
  REFUSED(fi_writemsg(l.c, &m, FI_COMPLETION));
  REFUSED(fi_readmsg(l.c, &m, FI_COMPLETION));
  iov[0].iov_len = 1;
  REFUSED(fi_writev(l.c, iov, NULL, 8, 0, r.origin, r.key, &ctx));
  REFUSED(fi_readv(l.c, iov, NULL, 8, 0, r.origin, r.key, &ctx));
  alive(&p, &l);
  untouched(0, ROOM);
  end();
}

static void inject(void **state) {
  (void) state;
  begin(ALL);
  size_t max = p.c.info->tx_attr->inject_size;
  size_t sizes[] = {1, max / 2, max};
  for (unsigned i = 0; i < 3; i++) {
    memset(r.base, 0, 8192);
    fill(local, sizes[i], i);
    POST(fi_inject_write(l.c, local, sizes[i], 0, r.origin + 8, r.key));
    memset(local, 0xdd, sizes[i]);
    fence();
    untouched(0, 8);
    check(r.base + 8, sizes[i], i);
    untouched(8 + sizes[i], 8192);
  }
  expect_quiet(&p.c);
  expect_quiet(&p.s);
  end();
}

static void inject_too_long(void **state) {
  struct fi_context ctx;

  (void) state;
  KNOWN_DEVIATION();
  begin(ALL);
  size_t over = p.c.info->tx_attr->inject_size + 1;
  struct iovec iov = {local, over};
  struct fi_rma_iov rma = {r.origin, over, r.key};
  struct fi_msg_rma m = {
      .msg_iov = &iov, .iov_count = 1, .rma_iov = &rma, .rma_iov_count = 1, .context = &ctx};
  REFUSED(fi_inject_write(l.c, local, over, 0, r.origin, r.key));
  REFUSED(fi_inject_writedata(l.c, local, over, 1, 0, r.origin, r.key));
  REFUSED(fi_writemsg(l.c, &m, FI_INJECT | FI_COMPLETION));
  alive(&p, &l);
  end();
}

/* Writes, reads and messages in one stream, at once: FI_ORDER_STRICT and data that is right. */
static void mixed(void **state) {
  enum { N = 40 };
  static struct fi_context wc[N], rc[N], mc[N], xc[N];
  static uint8_t rx[N][100], back[N][500];

  (void) state;
  begin(ALL);
  for (unsigned i = 0; i < N; i++) OK(fi_recv(l.s, rx[i], 100, NULL, 0, &xc[i]));
  for (unsigned i = 0; i < N; i++) { /* a read of what the write before it placed: FI_ORDER_RAW */
    fill(local + i * 1000, 500, i);
    POST(fi_write(l.c, local + i * 1000, 500, NULL, 0, r.origin + 2000 * i, r.key, &wc[i]));
    POST(fi_read(l.c, back[i], 500, NULL, 0, r.origin + 2000 * i, r.key, &rc[i]));
    POST(fi_send(l.c, local + i * 1000, 100, NULL, 0, &mc[i]));
  }
  for (unsigned i = 0; i < N; i++) {
    wait_comp(&p.c, &wc[i]);
    wait_comp(&p.c, &rc[i]);
    wait_comp(&p.c, &mc[i]);
    wait_comp(&p.s, &xc[i]);
    check(back[i], 500, i);
    check(rx[i], 100, i);
  }
  end();
}

static void both_directions(void **state) {
  region_t mine;
  static struct fi_context c[20], s[20];
  static uint8_t got[2][20][20000];

  (void) state;
  begin(ALL);
  region_open(&mine, &p.c, ROOM, ALL, 3);
  fill(mine.base, ROOM, 21);
  fill(r.base, ROOM, 22);
  for (unsigned i = 0; i < 20; i++) {
    POST(fi_read(l.c, got[0][i], 20000, NULL, 0, r.origin, r.key, &c[i]));
    POST(fi_read(l.s, got[1][i], 20000, NULL, 0, mine.origin, mine.key, &s[i]));
  }
  for (unsigned i = 0; i < 20; i++) {
    wait_comp(&p.c, &c[i]);
    wait_comp(&p.s, &s[i]);
    check(got[0][i], 20000, 22);
    check(got[1][i], 20000, 21);
  }
  region_close(&mine);
  end();
}

/* ---- What is refused: the connection ends, nothing is touched, nobody else notices ---- */

enum { WRITE, READ, WRITEDATA };

/* `access` of the region; the operation must end the connection. */
static void refused(uint64_t access, int what, uint64_t addr, uint64_t key, size_t len,
                    bool closed) {
  struct fi_context ctx, rxc;
  uint8_t rx[8];
  link_t other;
  comp_t c;

  begin(access);
  pair_connect(&p, &other);
  fill(local, len, 1);
  if (closed) OK(fi_close(&r.mr->fid));
  OK(fi_recv(l.s, rx, sizeof(rx), NULL, 0, &rxc));
  struct iovec iov = {local, len};
  struct fi_rma_iov rma = {addr + r.origin, len, r.key ^ key};
  struct fi_msg_rma m = {
      .msg_iov = &iov, .iov_count = 1, .rma_iov = &rma, .rma_iov_count = 1, .context = &ctx};
  if (what == READ)
    POST(fi_read(l.c, local, len, NULL, 0, addr + r.origin, r.key ^ key, &ctx));
  else
    POST(fi_writemsg(l.c, &m,
                     FI_COMPLETION | FI_DELIVERY_COMPLETE |
                         (what == WRITEDATA ? FI_REMOTE_CQ_DATA : 0)));
  UNTIL(took(&p.c, &ctx, &c));
  assert_int_not_equal(c.err, 0);
  wait_event(&p.s, FI_SHUTDOWN, &l.s->fid);
  wait_event(&p.c, FI_SHUTDOWN, &l.c->fid);
  assert_int_equal(wait_error(&p.s, &rxc).err, FI_ECANCELED);
  untouched(0, ROOM);
  alive(&p, &other);
  pair_disconnect(&p, &other);
  link_close(&l);
  settle(5);
  if (closed)
    free(r.base);
  else
    region_close(&r);
  pair_close(&p);
}

static void bad_key(void **state) {
  (void) state;
  for (int what = WRITE; what <= WRITEDATA; what++) refused(ALL, what, 0, 1, 500, false);
}

static void bad_range(void **state) {
  (void) state;
  for (int what = WRITE; what <= WRITEDATA; what++) {
    refused(ALL, what, ROOM - 99, 0, 100, false);
    refused(ALL, what, ROOM, 0, 1, false);
    refused(ALL, what, UINT64_MAX - 10, 0, 100, false); /* wraps around */
    refused(ALL, what, (uint64_t) 1 << 63, 0, 100, false);
  }
}

static void missing_rights(void **state) {
  (void) state;
  refused(FI_REMOTE_READ, WRITE, 0, 0, 100, false);
  refused(FI_REMOTE_READ, WRITEDATA, 0, 0, 5000, false);
  refused(FI_REMOTE_WRITE, READ, 0, 0, 100, false);
  refused(FI_SEND | FI_RECV, WRITE, 0, 0, 100, false);
  refused(FI_SEND | FI_RECV, READ, 0, 0, 100, false);
}

static void region_that_is_gone(void **state) {
  (void) state;
  refused(ALL, WRITE, 0, 0, 100, true);
  refused(ALL, READ, 0, 0, 100, true);
}

/* A region of another domain is none of this one's. */
static void key_of_another_domain(void **state) {
  struct fid_domain *domain;
  struct fid_mr *mr;
  struct fi_context ctx;
  static uint8_t there[4096];
  comp_t c;

  (void) state;
  begin(ALL);
  OK(fi_domain(p.s.fabric, p.s.info, &domain, NULL));
  OK(fi_mr_reg(domain, there, sizeof(there), ALL, 0, 99, 0, &mr, NULL));
  POST(fi_read(l.c, local, 100, NULL, 0, 0, fi_mr_key(mr), &ctx));
  UNTIL(took(&p.c, &ctx, &c));
  assert_int_not_equal(c.err, 0);
  wait_event(&p.s, FI_SHUTDOWN, NULL);
  wait_event(&p.c, FI_SHUTDOWN, NULL);
  link_close(&l);
  OK(fi_close(&mr->fid));
  OK(fi_close(&domain->fid));
  region_close(&r);
  pair_close(&p);
}

/* The same key for one region after another, at other addresses: memory that went away is not used. */
static void registered_again(void **state) {
  struct fi_context ctx;
  region_t once;

  (void) state;
  begin(ALL);
  for (unsigned i = 0; i < 20; i++) {
    size_t len = 4096 * (1 + i * 7 % 50);

    region_open(&once, &p.s, len, ALL, 42);
    fill(local, len, i);
    POST(fi_write(l.c, local, len, NULL, 0, once.origin, once.key, &ctx));
    wait_comp(&p.c, &ctx);
    fence();
    check(once.base, len, i);
    region_close(&once);
  }
  end();
}

static const struct CMUnitTest tests[] = {
    CASE(write_sizes),
    CASE(read_sizes),
    CASE(to_the_last_byte),
    CASE(write_with_data),
    CASE(delivery),
    CASE(pieces),
    CASE(too_many_pieces),
    CASE(inject),
    CASE(inject_too_long),
    CASE(mixed),
    CASE(both_directions),
    CASE(bad_key),
    CASE(bad_range),
    CASE(missing_rights),
    CASE(region_that_is_gone),
    CASE(key_of_another_domain),
    CASE(registered_again),
};

CONFORM_MAIN(tests)
