/* SPDX-License-Identifier: Apache-2.0 */
/* conform_bulk.c - much data both ways at once: every byte arrives, in order, once.
 *
 * Over a wire that loses, doubles, delays and reorders frames (the parameters of `dpdk` that are for
 * tests) this is what must not show. That the wire does so is asked first: its delay is a least. */
#include "lib_conform.h"

#include <time.h>

enum { WINDOW = 16, LONGEST = 48 << 10, MESSAGES = 400, PIECE = 20000, PIECES = 64 };

static pair_t p;
static link_t l;

/* One direction: what is under way, and what has arrived. */
typedef struct flow_s {
  end_t *from, *to;
  struct fid_ep *a, *b;
  uint64_t seed, sizes,
      expected; /* sizes: as the sender draws them; expected: as the receiver does */
  struct fi_context txc[WINDOW], rxc[WINDOW];
  uint8_t *tx[WINDOW], *rx[WINDOW];
  unsigned sent, confirmed, got;
} flow_t;

static size_t draw(uint64_t *state) {
  uint64_t r = rnd(state);

  return r % 4 == 0 ? 1 + r / 4 % LONGEST : 1 + r / 4 % 300; /* long ones and short ones between */
}

static void flow_open(flow_t *f, end_t *from, struct fid_ep *a, end_t *to, struct fid_ep *b,
                      uint64_t seed) {
  memset(f, 0, sizeof(*f));
  *f = (flow_t){
      .from = from, .to = to, .a = a, .b = b, .seed = seed, .sizes = seed, .expected = seed};
  for (unsigned i = 0; i < WINDOW; i++) {
    f->tx[i] = malloc(LONGEST);
    f->rx[i] = malloc(LONGEST);
    assert_non_null(f->tx[i]);
    assert_non_null(f->rx[i]);
    OK(fi_recv(b, f->rx[i], LONGEST, NULL, 0, &f->rxc[i]));
  }
}

static void flow_step(flow_t *f) {
  unsigned i = f->sent % WINDOW;
  uint64_t before = f->sizes;
  comp_t c;

  if (f->sent < MESSAGES && f->sent - f->confirmed < WINDOW) {
    size_t len = draw(&f->sizes);
    fill(f->tx[i], len, f->seed + f->sent);
    ssize_t rc = fi_send(f->a, f->tx[i], len, NULL, 0, &f->txc[i]);
    if (rc == -FI_EAGAIN)
      f->sizes = before;
    else
      assert_int_equal(rc, 0);
    if (rc == 0) f->sent++;
  }
  while (f->confirmed < f->sent && took(f->from, &f->txc[f->confirmed % WINDOW], &c)) {
    assert_int_equal(c.err, 0);
    f->confirmed++;
  }
  /* Receives are used in the order of posting: one that comes out of turn stays in the list, and fails. */
  while (f->got < MESSAGES && took(f->to, &f->rxc[f->got % WINDOW], &c)) {
    unsigned k = f->got % WINDOW;
    assert_int_equal(c.err, 0);
    assert_int_equal(c.len, draw(&f->expected));
    check(f->rx[k], c.len, f->seed + f->got);
    f->got++;
    if (f->got + WINDOW <= MESSAGES) OK(fi_recv(f->b, f->rx[k], LONGEST, NULL, 0, &f->rxc[k]));
  }
}

static bool flow_done(const flow_t *f) {
  return f->got == MESSAGES && f->confirmed == MESSAGES;
}

static void flow_close(flow_t *f) {
  for (unsigned i = 0; i < WINDOW; i++) {
    free(f->tx[i]);
    free(f->rx[i]);
  }
}

/* As long as any of it arrives we wait for the rest. */
#define WHILE_IT_MOVES(cond, progress)                                                             \
  do {                                                                                             \
    uint64_t seen_ = (progress), until_ = now_ms() + CONFORM_WAIT_MS;                              \
    while (!(cond)) {                                                                              \
      pump();                                                                                      \
      if ((progress) != seen_) until_ = now_ms() + CONFORM_WAIT_MS;                                \
      seen_ = (progress);                                                                          \
      if (now_ms() > until_) timed_out(#cond, __FILE__, __LINE__);                                 \
    }                                                                                              \
  } while (0)

static uint64_t now_us(void) {
  struct timespec t;

  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t) t.tv_sec * 1000000 + (uint64_t) t.tv_nsec / 1000;
}

/* A frame is late where a device of `dpdk` is: where it leaves, where it comes, or at both. */
static void the_wire_is_as_asked_for(void **state) {
  const char *delay = getenv("FI_DPDK_DELAY_US");
  bool both = strcmp(client_provider, server_provider) == 0;
  uint64_t at;

  (void) state;
  pair_open(&p, NULL, NULL);
  pair_connect(&p, &l);
  at = now_us();
  alive(&p, &l);
  if (delay != NULL) assert_true(now_us() - at >= (both ? 4 : 2) * strtoull(delay, NULL, 10));
  pair_end(&p, &l);
}

static void messages_both_ways(void **state) {
  static flow_t there, back;

  (void) state;
  pair_open(&p, NULL, NULL);
  pair_connect(&p, &l);
  flow_open(&there, &p.c, l.c, &p.s, l.s, 1000);
  flow_open(&back, &p.s, l.s, &p.c, l.c, 2000000);
  WHILE_IT_MOVES((flow_step(&there), flow_step(&back), flow_done(&there) && flow_done(&back)),
                 (uint64_t) there.got + back.got + there.confirmed + back.confirmed);
  alive(&p, &l);
  pair_end(&p, &l);
  flow_close(&there);
  flow_close(&back);
}

static void writes_and_reads(void **state) {
  static uint8_t tx[PIECES * PIECE], rx[PIECES * PIECE];
  static struct fi_context ctx[PIECES];
  region_t r;
  comp_t c;
  unsigned done = 0;

  (void) state;
  pair_open(&p, NULL, NULL);
  pair_connect(&p, &l);
  region_open(&r, &p.s, sizeof(tx), FI_REMOTE_WRITE | FI_REMOTE_READ, 77);
  fill(tx, sizeof(tx), 5);
  memset(rx, 0, sizeof(rx));
  for (unsigned i = 0; i < PIECES; i++)
    POST(fi_write(l.c, tx + i * PIECE, PIECE, NULL, 0, r.origin + i * PIECE, r.key, &ctx[i]));
  WHILE_IT_MOVES((done += done < PIECES && took(&p.c, &ctx[done], &c), done == PIECES), done);
  done = 0;
  for (unsigned i = 0; i < PIECES; i++)
    POST(fi_read(l.c, rx + i * PIECE, PIECE, NULL, 0, r.origin + i * PIECE, r.key, &ctx[i]));
  WHILE_IT_MOVES((done += done < PIECES && took(&p.c, &ctx[done], &c), done == PIECES), done);
  check(r.base, sizeof(tx), 5);
  check(rx, sizeof(rx), 5);
  pair_disconnect(&p, &l);
  region_close(&r);
  pair_close(&p);
}

/* Connections come and go on such a wire, too. */
static void again_and_again(void **state) {
  (void) state;
  pair_open(&p, NULL, NULL);
  for (unsigned i = 0; i < 20; i++) {
    pair_connect(&p, &l);
    alive(&p, &l);
    pair_disconnect(&p, &l);
  }
  pair_close(&p);
}

static const struct CMUnitTest tests[] = {
    CASE(the_wire_is_as_asked_for),
    CASE(messages_both_ways),
    CASE(writes_and_reads),
    CASE(again_and_again),
};
CONFORM_MAIN(tests)
