/* SPDX-License-Identifier: Apache-2.0 */
/* conform_zerocopy.c - what ksock makes of its parameters zerocopy_size and busy_poll: a buffer that
 * completed is the program's again, whatever the kernel still holds; and the same order of completions.
 *
 * Design notes
 *  - libfabric reads the parameters once, so they are set before anything else, for the whole program. To
 *    `tcp` they say nothing: the cases hold for it all the same.
 *  - Memory given back too early shows in what the peer reads: each buffer is overwritten as soon as
 *    its completion is there. */
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib_conform.h"

#define FROM      "4096"
#define BUSY_POLL 37

static pair_t p;
static link_t l;

/* How many of this process's connected TCP sockets have the option at this value. */
static unsigned sockets_with(int name, int value) {
  unsigned n = 0;

  for (int fd = 0; fd < 1024; fd++) {
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa), size = sizeof(int);
    int is = 0;

    if (getpeername(fd, (struct sockaddr *) &sa, &len) != 0 || sa.ss_family != AF_INET) continue;
    if (getsockopt(fd, SOL_SOCKET, name, &is, &size) == 0 && is == value) n++;
  }
  return n;
}

static unsigned ksocks(void) {
  return (strcmp(client_provider, "ksock") == 0) + (strcmp(server_provider, "ksock") == 0);
}

/* SO_BUSY_POLL needs a right that not everybody has. */
static bool may_busy_poll(void) {
  int fd = socket(AF_INET, SOCK_STREAM, 0), v = BUSY_POLL;
  bool may = setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL, &v, sizeof(v)) == 0;

  close(fd);
  return may;
}

static void parameters_are_set(void **state) {
  (void) state;
  pair_sleepers(&p, &l);
  assert_int_equal(sockets_with(SO_ZEROCOPY, 1), ksocks());
  assert_int_equal(sockets_with(SO_BUSY_POLL, BUSY_POLL), may_busy_poll() ? ksocks() : 0);
  alive(&p, &l);
  pair_end(&p, &l);
}

/* ---- Order and content ---- */

static void all_sizes(void **state) {
  static const size_t lens[] = {1,      4095,   4096,    4097,    65536,
                                100000, 262144, 1000000, 5000000, 20000000};

  (void) state;
  pair_sleepers(&p, &l);
  for (unsigned i = 0; i < 10; i++) {
    exchange(&p.c, l.c, &p.s, l.s, lens[i], i);
    exchange(&p.s, l.s, &p.c, l.c, lens[i], i + 100);
  }
  pair_end(&p, &l);
}

enum { MANY = 200, BIG = 300000 };

/* Lent and copied ones by turns: what is sent first completes first. */
static void completions_in_order(void **state) {
  uint8_t *tx = malloc(MANY * BIG / 4), *rx = malloc(BIG);
  static struct fi_context txc[MANY], rxc;
  unsigned sent = 0, told = 0, got = 0;
  uint64_t until = now_ms() + CONFORM_WAIT_MS;

  (void) state;
  pair_sleepers(&p, &l);
  p.c.asleep = true;
  fill(tx, MANY * BIG / 4, 7);
  while (told < MANY || got < MANY) {
    struct fi_cq_data_entry e;
    size_t len = sent % 3 == 0 ? 64 : sent % 3 == 1 ? 5000 : BIG, was;

    if (sent < MANY && fi_send(l.c, tx + sent * (size_t) 1000, len, NULL, 0, &txc[sent]) == 0)
      sent++;
    if (fi_cq_read(p.c.cq, &e, 1) == 1) {
      assert_ptr_equal(e.op_context, &txc[told]);
      told++;
    }
    if (got < sent) {
      comp_t c;
      OK(fi_recv(l.s, rx, BIG, NULL, 0, &rxc));
      while (!took(&p.s, &rxc, &c)) {
        pump();
        if (fi_cq_read(p.c.cq, &e, 1) == 1) {
          assert_ptr_equal(e.op_context, &txc[told]);
          told++;
        }
        assert_true(now_ms() < until);
      }
      was = got % 3 == 0 ? 64 : got % 3 == 1 ? 5000 : BIG;
      assert_int_equal(c.len, was);
      assert_memory_equal(rx, tx + got * (size_t) 1000, was);
      got++;
    }
    assert_true(now_ms() < until);
  }
  p.c.asleep = false;
  pair_end(&p, &l);
  free(tx);
  free(rx);
}

/* Sends until nothing more is taken, to a peer that does not read; whatever completes is overwritten. */
enum { HELD = 64, PIECE = 400000 };
static uint8_t *held[HELD];
static struct fi_context heldc[HELD];
static unsigned scribbled;

static void scribble(void) {
  comp_t c;

  for (unsigned i = 0; i < HELD; i++)
    if (held[i] != NULL && took(&p.c, &heldc[i], &c)) {
      memset(held[i], 0xee, PIECE);
      scribbled++;
    }
}

static unsigned send_all(void) {
  unsigned n = 0;

  scribbled = 0;
  for (unsigned i = 0; i < HELD; i++) {
    held[i] = malloc(PIECE);
    fill(held[i], PIECE, i);
  }
  while (n < HELD && fi_send(l.c, held[n], PIECE, NULL, 0, &heldc[n]) == 0) n++;
  for (uint64_t until = now_ms() + 100; now_ms() < until;) {
    pump();
    scribble();
  }
  return n;
}

static void free_all(void) {
  for (unsigned i = 0; i < HELD; i++) {
    free(held[i]);
    held[i] = NULL;
  }
}

static void given_back_unused(void **state) {
  uint8_t *rx = malloc(PIECE);
  struct fi_context rxc;
  unsigned n;
  comp_t c;

  (void) state;
  pair_sleepers(&p, &l);
  n = send_all();
  assert_true(scribbled < n); /* the kernel takes no 25 MB from one who is not read */
  for (unsigned i = 0; i < n; i++) {
    OK(fi_recv(l.s, rx, PIECE, NULL, 0, &rxc));
    UNTIL((scribble(), took(&p.s, &rxc, &c)));
    assert_int_equal(c.len, PIECE);
    check(rx, PIECE, i);
  }
  UNTIL((scribble(), scribbled == n));
  pair_end(&p, &l);
  free_all();
  free(rx);
}

/* More than one call of the stream takes. */
static void many_small_ones(void **state) {
  enum { N = 256, LEN = 6000 };
  static uint8_t tx[N][LEN], rx[LEN];
  static struct fi_context txc[N], rxc;
  unsigned n, told = 0;
  comp_t c;

  (void) state;
  pair_sleepers(&p, &l);
  for (n = 0; n < N; n++) {
    fill(tx[n], LEN, n);
    if (fi_send(l.c, tx[n], LEN, NULL, 0, &txc[n]) != 0) break;
  }
  assert_true(n > N / 2);
  for (unsigned i = 0; i < n; i++) {
    OK(fi_recv(l.s, rx, LEN, NULL, 0, &rxc));
    wait_comp(&p.s, &rxc);
    check(rx, LEN, i);
    while (told < n && took(&p.c, &txc[told], &c)) memset(tx[told++], 0xee, LEN);
  }
  UNTIL(told == n || (took(&p.c, &txc[told], &c) && ++told == n));
  pair_end(&p, &l);
}

/* The sender ends it. What it was told is over is its own again, and whole messages stay whole. */
static void ended_with_something_lent(void **state) {
  uint8_t *rx = malloc(PIECE);
  struct fi_context rxc;
  unsigned n;
  comp_t c;

  (void) state;
  pair_sleepers(&p, &l);
  n = send_all();
  OK(fi_shutdown(l.c, 0));
  UNTIL((scribble(), scribbled == n));
  for (unsigned i = 0; i < n; i++) {
    OK(fi_recv(l.s, rx, PIECE, NULL, 0, &rxc));
    UNTIL(took(&p.s, &rxc, &c));
    if (c.err != 0) break;
    check(rx, PIECE, i);
  }
  wait_event(&p.c, FI_SHUTDOWN, &l.c->fid);
  wait_event(&p.s, FI_SHUTDOWN, &l.s->fid);
  link_close(&l);
  pair_close(&p);
  free_all();
  free(rx);
}

/* Likewise where it closes its endpoint at once, and where the peer does. */
static void closed_with_something_lent(void **state) {
  (void) state;
  for (unsigned turn = 0; turn < 2; turn++) {
    pair_sleepers(&p, &l);
    (void) send_all();
    p.c.messy = p.s.messy = true;
    ep_close(turn == 0 ? l.c : l.s);
    free_all();
    settle(20);
    ep_close(turn == 0 ? l.s : l.c);
    pair_close(&p);
  }
}

/* Nobody looks before the descriptor says so. */
static void notes_wake(void **state) {
  uint8_t *tx = malloc(50000), *rx = malloc(50000);
  struct fi_cq_data_entry e;
  struct fi_context txc, rxc;

  (void) state;
  pair_sleepers(&p, &l);
  for (unsigned i = 0; i < 40; i++) {
    fill(tx, 50000, i);
    OK(fi_recv(l.s, rx, 50000, NULL, 0, &rxc));
    p.c.asleep = true;
    OK(fi_send(l.c, tx, i % 2 ? 50000 : 5000, NULL, 0, &txc));
    assert_int_equal(next_comp(&p.c, i % 3 ? FD : SREAD, fd_of(&p.c.cq->fid), &e), 1);
    assert_ptr_equal(e.op_context, &txc);
    p.c.asleep = false;
    wait_comp(&p.s, &rxc);
    check(rx, i % 2 ? 50000 : 5000, i);
  }
  pair_end(&p, &l);
  free(tx);
  free(rx);
}

static const struct CMUnitTest tests[] = {
    CASE(parameters_are_set),         CASE(all_sizes),       CASE(completions_in_order),
    CASE(given_back_unused),          CASE(many_small_ones), CASE(ended_with_something_lent),
    CASE(closed_with_something_lent), CASE(notes_wake),
};

int main(int argc, char **argv) {
  char busy[8];

  snprintf(busy, sizeof(busy), "%d", BUSY_POLL);
  setenv("FI_KSOCK_ZEROCOPY_SIZE", FROM, 1);
  setenv("FI_KSOCK_BUSY_POLL", busy, 1);
  return conform_run(argc, argv, tests, sizeof(tests) / sizeof(*tests));
}
