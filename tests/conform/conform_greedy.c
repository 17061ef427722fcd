/* SPDX-License-Identifier: Apache-2.0 */
/* conform_greedy.c - a peer that keeps the rules, and takes nothing: it asks for answers that it does not
 * read, or sends what nobody wants yet. What it costs is bounded, nobody is kept awake, and when it comes
 * round all that it is owed is there.
 *
 * conform: own - `tcp` has no bound for the answers that it owes */
#include <malloc.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib_foe.h"

enum { MEMORY = 24 << 20, FEW = 5, QUIET_MS = 150, MANY = 2000000 };

static foe_t foe;

static size_t memory(void) {
  struct mallinfo2 m = mallinfo2();

  return m.uordblks + m.hblkhd;
}

/* One sleep of who waits for the foe's end, or until `fd` has something; then its queues are read. False:
 * nothing came for so long. */
static bool slept(int fd, int ms) {
  struct fid *fids[] = {&foe.end->cq->fid, &foe.end->eq->fid};
  struct pollfd pfd[3] = {{.events = POLLIN}, {.events = POLLIN}, {.fd = fd, .events = POLLIN}};
  int n = 1;

  OK(fi_control(fids[0], FI_GETWAIT, &pfd[0].fd));
  OK(fi_control(fids[1], FI_GETWAIT, &pfd[1].fd));
  if (fi_trywait(foe.end->fabric, fids, 2) == FI_SUCCESS) n = poll(pfd, 3, ms);
  pump();
  return n != 0;
}

static void nobody_is_kept_awake(void) {
  uint64_t until = now_ms() + QUIET_MS, now;
  unsigned n = 0;

  while ((now = now_ms()) < until) n += slept(-1, (int) (until - now));
  if (n > FEW) fail_msg("woken %u times for nothing", n);
}

/* The same frame again and again, until no more of it goes; returns how many have left, the last one
 * perhaps in part: *part says how much of it. */
static unsigned send_all_that_goes(const frame_t *fr, size_t *part) {
  static uint8_t one[8192], bytes[64 * 8192];
  size_t len = frame_put(&foe, one, fr), sent = 0;
  uint64_t last = now_ms();
  unsigned batch = 64;

  for (unsigned i = 0; i < batch; i++) memcpy(bytes + i * len, one, len);
  while (now_ms() - last < QUIET_MS) {
    size_t at = sent % len;
    ssize_t r = send(foe.fd, bytes + at, batch * len - at, MSG_DONTWAIT | MSG_NOSIGNAL);

    pump();
    if (r <= 0) {
      assert_int_equal(errno, EAGAIN);
      continue;
    }
    sent += (size_t) r;
    last = now_ms();
    assert_true(sent / len < MANY);
  }
  *part = sent % len;
  return (unsigned) (sent / len) + (*part != 0);
}

static void send_the_rest(const frame_t *fr, size_t part) {
  static uint8_t one[8192];
  size_t len = frame_put(&foe, one, fr);

  if (part == 0) return;
  for (; part < len; slept(-1, 0)) {
    ssize_t r = send(foe.fd, one + part, len - part, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (r > 0) part += (size_t) r;
  }
}

/* Answers are taken while their sender does nothing but sleep until he is woken. */
static void take(void *p, size_t n) {
  uint8_t *at = p;

  while (n > 0) {
    ssize_t r = recv(foe.fd, at, n, MSG_DONTWAIT);

    if (r > 0) {
      at += r;
      n -= (size_t) r;
    } else {
      assert_true(r < 0 && errno == EAGAIN);
      assert_true(slept(foe.fd, CONFORM_WAIT_MS));
    }
  }
}

enum { OTHERS = 9 };
static link_t others[OTHERS];

/* Endpoints that had data last are looked at first: after this the foe's is none of them. */
static void others_talk(void) {
  for (unsigned i = 0; i < OTHERS; i++) alive(&world.p, &others[i]);
}

static void greedy(const frame_t *fr, size_t answer) {
  static uint8_t got[16 + FOE_REGION];
  opts_t o = {.cq_wait = FI_WAIT_FD};
  const frame_t message = {.payload = 40, .seed = 3};

  for (unsigned role = 0; role < 4; role++) {
    size_t before, part;
    unsigned n;

    world_open(&o);
    for (unsigned i = 0; i < OTHERS; i++) pair_connect(&world.p, &others[i]);
    others_talk();
    foe_open(&foe, role & 1, role & 2, 1, NULL, 0);
    before = memory();
    n = send_all_that_goes(fr, &part);
    if (memory() > before + MEMORY)
      fail_msg("%zu bytes of memory for %u unread answers", memory() - before, n);
    unharmed();
    nobody_is_kept_awake();
    others_talk();
    for (unsigned i = 0; i < n; i++) {
      if (i + 1 == n) send_the_rest(fr, part);
      take(got, 16 + answer);
      assert_int_equal(got[0], 3);
      assert_int_equal(got[1], answer != 0 ? OP_RSP : OP_MSG);
      assert_int_equal(got[4], answer != 0 ? 0 : 2);
      if (answer != 0) assert_memory_equal(got + 16, region_at(READ_ONLY), answer);
    }
    assert_true(foe_put(&foe, &message));
    fill(world.must + (receive_at(0) - world.arena), 40, 3);
    wait_comp(foe.end, &foe.rxc[0]);
    foe_close(&foe);
    for (unsigned i = 0; i < OTHERS; i++) pair_disconnect(&world.p, &others[i]);
    world_close();
  }
}

static void reads_and_takes_nothing(void **state) {
  const frame_t f = {.op = OP_READ, .npieces = 1, .piece = {{READ_ONLY, 0, FOE_REGION, 0}}};

  (void) state;
  greedy(&f, FOE_REGION);
}

static void reads_little_and_takes_nothing(void **state) {
  const frame_t f = {.op = OP_READ, .npieces = 1, .piece = {{READ_ONLY, 0, 1, 0}}};

  (void) state;
  greedy(&f, 1);
}

static void wants_acknowledgements_and_takes_none(void **state) {
  const frame_t f = {.op = OP_WRITE, .flags = F_DELIVERY, .npieces = 1, .piece = {{BOTH, 0, 0, 0}}};

  (void) state;
  greedy(&f, 0);
}

/* ... and dies so: nothing of what it is owed stays. */
static void takes_nothing_and_dies(void **state) {
  const frame_t f = {.op = OP_READ, .npieces = 1, .piece = {{READ_ONLY, 0, FOE_REGION, 0}}};
  size_t part;

  (void) state;
  for (unsigned role = 0; role < 2; role++) {
    world_open(NULL);
    foe_open(&foe, role, false, 1, NULL, 0);
    send_all_that_goes(&f, &part);
    close(foe.fd);
    foe.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    foe_is_cut_off(&foe, 0);
    world_close();
  }
}

/* ... and says no more, so that only its end is there to be seen: it is over, at once. */
static void takes_nothing_and_ends(void **state) {
  const piece_t all = {READ_ONLY, 0, FOE_REGION, 0};
  const frame_t f = {.op = OP_READ, .npieces = 4, .piece = {all, all, all, all}};
  /* More than it may be owed with what the kernels hold of it, so little that all of it, and the end
   * behind it, reaches the other side. */
  enum { ASKED = 17200 };
  const int little = 4096;

  (void) state;
  for (unsigned role = 0; role < 4; role++) {
    world_open(NULL);
    foe_open(&foe, role & 1, role & 2, 1, NULL, 0);
    OK(setsockopt(foe.fd, SOL_SOCKET, SO_RCVBUF, &little, sizeof(little)));
    for (unsigned i = 0; i < ASKED; i++) assert_true(foe_put(&foe, &f));
    settle(20);
    OK(shutdown(foe.fd, SHUT_WR));
    wait_event(foe.end, FI_SHUTDOWN, &foe.ep->fid);
    assert_int_equal(wait_error(foe.end, &foe.rxc[0]).err, FI_ECANCELED);
    foe_close(&foe);
    world_close();
  }
}

/* The region that it is owed from closes: it is cut off, and the memory is let go at once. */
static void takes_nothing_of_what_closes(void **state) {
  const frame_t f = {.op = OP_READ, .npieces = 1, .piece = {{READ_ONLY, 0, FOE_REGION, 0}}};
  size_t part;

  (void) state;
  for (unsigned role = 0; role < 2; role++) {
    world_open(NULL);
    foe_open(&foe, role, false, 1, NULL, 0);
    send_all_that_goes(&f, &part);
    struct fid_mr **mr = &world.mr[foe.end == &world.p.s][READ_ONLY];
    OK(fi_close(&(*mr)->fid));
    *mr = NULL;
    foe_is_cut_off(&foe, 0);
    world_close();
  }
}

/* Messages that nobody has posted a receive for: the kernel keeps them, and its sender waits. */
static void sends_what_nobody_wants(void **state) {
  const frame_t f = {.payload = 200, .seed = 4};
  opts_t o = {.cq_wait = FI_WAIT_FD};

  (void) state;
  for (unsigned role = 0; role < 4; role++) {
    size_t before, part;
    unsigned n;

    world_open(&o);
    foe_open(&foe, role & 1, role & 2, 0, NULL, 0);
    before = memory();
    n = send_all_that_goes(&f, &part);
    assert_true(memory() < before + MEMORY);
    unharmed();
    nobody_is_kept_awake();
    fill(world.must + (receive_at(0) - world.arena), 200, 4);
    for (unsigned i = 0; i < n; i++) {
      comp_t c;

      if (i + 1 == n) send_the_rest(&f, part);
      OK(fi_recv(foe.ep, receive_at(0), FOE_RECEIVE, NULL, 0, &foe.rxc[0]));
      while (!took(foe.end, &foe.rxc[0], &c)) assert_true(slept(-1, CONFORM_WAIT_MS));
      assert_int_equal(c.err, 0);
      assert_int_equal(c.len, 200);
      assert_memory_equal(receive_at(0), world.must + (receive_at(0) - world.arena), 200);
    }
    foe_close(&foe);
    world_close();
  }
}

static const struct CMUnitTest tests[] = {
    CASE(reads_and_takes_nothing),
    CASE(reads_little_and_takes_nothing),
    CASE(wants_acknowledgements_and_takes_none),
    CASE(takes_nothing_and_dies),
    CASE(takes_nothing_and_ends),
    CASE(takes_nothing_of_what_closes),
    CASE(sends_what_nobody_wants),
};

CONFORM_MAIN(tests)
