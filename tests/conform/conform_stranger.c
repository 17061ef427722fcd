/* SPDX-License-Identifier: Apache-2.0 */
/* conform_stranger.c - a peer that breaks the rules of the handshake: at a listener it is turned out without
 * a word, at a connector it is one event in error; and a handshake that is right however it comes.
 *
 * conform: own - `tcp` drops who splits a handshake, and has no deadline for one */
#include <sys/socket.h>
#include <unistd.h>

#include "lib_foe.h"

#define DEADLINE_MS 1500
enum { PATIENCE = 20 };

static foe_t foe;

static void look(void) {
  for (int i = 0; i < PATIENCE; i++) pump();
}

/* ---- At a listener ---- */

static void turned_out(int fd) {
  UNTIL(fd_over(fd));
  close(fd);
  expect_quiet(&world.p.s);
  unharmed();
}

typedef struct bad_s {
  const char *what;
  unsigned at;   /* the byte that is wrong */
  uint8_t value; /* what it is */
  int err;       /* what a connector says; 0: some error */
} bad_t;

static const bad_t bad[] = {
    {"version 0", 0, 0, ENOPROTOOPT},
    {"version 2", 0, 2, ENOPROTOOPT},
    {"version 4", 0, 4, ENOPROTOOPT},
    {"version 255", 0, 255, ENOPROTOOPT},
    {"type 2", 1, 2, 0},
    {"type 5", 1, 5, 0},
    {"type 7", 1, 7, 0},
    {"type 31", 1, 31, 0},
    {"type 32", 1, 32, 0},
    {"type 255", 1, 255, 0},
    {"more than 256 bytes of data", 2, 2, 0},
    {"65280 bytes of data", 2, 255, 0},
    {"a byte order that is none", 24, 2, 0},
    {"a byte order of both", 31, 1, 0},
    {"a byte order of neither", 27, 1, 0},
};
enum { BAD = sizeof(bad) / sizeof(*bad) };

static void listener_refuses(void **state) {
  uint8_t bytes[FOE_CM + 256], data[256];

  (void) state;
  world_open(NULL);
  fill(data, sizeof(data), 1);
  for (unsigned i = 0; i < BAD; i++) {
    int fd = stranger();

    print_message("%s\n", bad[i].what);
    cm_put(bytes, CM_REQ, data, 256, false);
    bytes[bad[i].at] = bad[i].value;
    (void) fd_put(fd, bytes, sizeof(bytes));
    turned_out(fd);
  }
  for (unsigned type = 0; type < 2; type++) { /* kinds that exist, and may not come now */
    int fd = stranger();

    (void) fd_put(fd, bytes, cm_put(bytes, type == 0 ? CM_RESP : CM_NACK, data, 10, false));
    turned_out(fd);
  }
  world_close();
}

static void listener_hears_garbage(void **state) {
  static const char http[] = "GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: none\r\n\r\n";
  static uint8_t bytes[65536];

  (void) state;
  world_open(NULL);
  int fd = stranger();
  assert_true(fd_put(fd, http, sizeof(http) - 1));
  turned_out(fd);
  for (unsigned i = 0; i < 20; i++) {
    fd = stranger();
    fill(bytes, sizeof(bytes), i);
    bytes[0] &= 0xfe; /* 3 is a version that exists */
    (void) fd_put(fd, bytes, sizeof(bytes));
    turned_out(fd);
  }
  world_close();
}

/* It goes after each of its bytes, by an end or by a reset. */
static void listener_is_left(void **state) {
  static const struct linger reset = {1, 0};
  uint8_t bytes[FOE_CM + 10], data[10] = {0};

  (void) state;
  world_open(NULL);
  cm_put(bytes, CM_REQ, data, sizeof(data), false);
  for (size_t n = 0; n < 2 * sizeof(bytes); n++) {
    int fd = stranger();

    assert_true(fd_put(fd, bytes, n / 2));
    look();
    if (n % 2 != 0) OK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)));
    close(fd);
    look();
    expect_quiet(&world.p.s);
  }
  world_close();
}

/* One who says nothing, and one who never finishes: both have the same time, and no more. */
static void listener_is_patient_for_a_while(void **state) {
  uint8_t bytes[FOE_CM + 256] = {0};
  uint64_t from = now_ms();
  bool silent_over = false, slow_over = false;

  (void) state;
  world_open(NULL);
  cm_put(bytes, CM_REQ, bytes + FOE_CM, 256, false);
  int silent = stranger(), slow = stranger();
  for (size_t sent = 0; !silent_over || !slow_over; settle(20)) {
    if (!slow_over && sent + 1 < sizeof(bytes)) (void) fd_put(slow, bytes + sent++, 1);
    silent_over = silent_over || fd_over(silent);
    slow_over = slow_over || fd_over(slow);
    if (now_ms() - from < DEADLINE_MS / 2) assert_false(silent_over || slow_over);
    assert_true(now_ms() - from < DEADLINE_MS + CONFORM_WAIT_MS);
    unharmed();
  }
  close(silent);
  close(slow);
  world_close();
}

/* A request that is right, with as much data as may be, in single bytes. */
static void request_byte_by_byte(void **state) {
  uint8_t bytes[FOE_CM + 256], data[256], in[FOE_CM];

  (void) state;
  world_open(NULL);
  fill(data, sizeof(data), 3);
  for (unsigned swap = 0; swap < 2; swap++) {
    const frame_t m = {.payload = 50, .seed = 4};
    event_t ev;

    memset(&foe, 0, sizeof(foe));
    foe.fd = stranger();
    foe.end = &world.p.s;
    foe.swap = swap;
    size_t n = cm_put(bytes, CM_REQ, data, sizeof(data), swap);
    for (size_t i = 0; i < n; i++) {
      expect_quiet(&world.p.s);
      assert_true(fd_put(foe.fd, bytes + i, 1));
      look();
    }
    ev = wait_event(&world.p.s, FI_CONNREQ, &world.p.s.pep->fid);
    assert_int_equal(ev.len, 256);
    assert_memory_equal(ev.data, data, 256);
    foe.ep = end_ep(&world.p.s, ev.info, NULL);
    fi_freeinfo(ev.info);
    OK(fi_recv(foe.ep, receive_at(0), FOE_RECEIVE, NULL, 0, &foe.rxc[0]));
    OK(fi_accept(foe.ep, "yes", 3));
    wait_event(&world.p.s, FI_CONNECTED, &foe.ep->fid);
    assert_true(fd_get(foe.fd, in, sizeof(in)));
    assert_int_equal(in[3], 3);
    assert_true(fd_get(foe.fd, in, 3));
    assert_memory_equal(in, "yes", 3);
    assert_true(foe_put(&foe, &m));
    fill(world.must + (receive_at(0) - world.arena), 50, 4);
    wait_comp(&world.p.s, &foe.rxc[0]);
    foe_close(&foe);
  }
  world_close();
}

/* ---- Data that comes with the handshake, before anybody has accepted ---- */

static void too_early(bool good) {
  for (unsigned role = 0; role < 4; role++) {
    frame_t m[2] = {{.payload = 60, .seed = 5}, {.payload = 70, .seed = 6}};
    uint8_t early[400];
    size_t n;

    foe.end = role & 1 ? &world.p.c : &world.p.s;
    foe.swap = role & 2;
    if (!good) m[1].op = 99;
    n = frame_put(&foe, early, &m[0]);
    n += frame_put(&foe, early + n, &m[1]);
    foe_open(&foe, role & 1, role & 2, FOE_RECEIVES, early, n);
    fill(world.must + (receive_at(0) - world.arena), 60, 5);
    wait_comp(foe.end, &foe.rxc[0]);
    if (good) {
      fill(world.must + (receive_at(1) - world.arena), 70, 6);
      wait_comp(foe.end, &foe.rxc[1]);
      foe_close(&foe);
    } else {
      foe_is_cut_off(&foe, 1);
    }
  }
}

static void early_data(void **state) {
  (void) state;
  world_open(NULL);
  too_early(true);
  world_close();
}

static void early_nonsense(void **state) {
  (void) state;
  world_open(NULL);
  too_early(false);
  world_close();
}

/* A second request is no data. */
static void request_twice(void **state) {
  uint8_t bytes[FOE_CM];

  (void) state;
  world_open(NULL);
  foe_open(&foe, false, false, FOE_RECEIVES, bytes, cm_put(bytes, CM_REQ, NULL, 0, false));
  foe_is_cut_off(&foe, 0);
  world_close();
}

/* One asks, sends, and is gone before he is accepted: what he sent arrives, and then the end. */
static void gone_before_accept(void **state) {
  const frame_t m = {.payload = 60, .seed = 7};
  uint8_t bytes[400], in[FOE_CM];
  event_t ev;

  (void) state;
  world_open(NULL);
  memset(&foe, 0, sizeof(foe));
  foe.fd = stranger();
  foe.end = &world.p.s;
  size_t n = cm_put(bytes, CM_REQ, NULL, 0, false);
  n += frame_put(&foe, bytes + n, &m);
  assert_true(fd_put(foe.fd, bytes, n));
  OK(shutdown(foe.fd, SHUT_WR));
  ev = wait_event(foe.end, FI_CONNREQ, &world.p.s.pep->fid);
  settle(5);
  foe.ep = end_ep(foe.end, ev.info, NULL);
  fi_freeinfo(ev.info);
  for (; foe.posted < 2; foe.posted++)
    OK(fi_recv(foe.ep, receive_at(foe.posted), FOE_RECEIVE, NULL, 0, &foe.rxc[foe.posted]));
  OK(fi_accept(foe.ep, NULL, 0));
  wait_event(foe.end, FI_CONNECTED, &foe.ep->fid);
  assert_true(fd_get(foe.fd, in, sizeof(in)));
  fill(world.must + (receive_at(0) - world.arena), 60, 7);
  wait_comp(foe.end, &foe.rxc[0]);
  foe_is_cut_off(&foe, 1);
  world_close();
}

/* ... or by a reset: the accept fails, or the connection is over at once. */
static void reset_before_accept(void **state) {
  static const struct linger reset = {1, 0};
  uint8_t bytes[FOE_CM];
  struct fi_context ctx;
  event_t ev;
  comp_t c;

  (void) state;
  world_open(NULL);
  for (unsigned i = 0; i < 2; i++) {
    end_t *e = &world.p.s;
    int fd = stranger();
    struct fid_ep *ep;

    assert_true(fd_put(fd, bytes, cm_put(bytes, CM_REQ, NULL, 0, false)));
    ev = wait_event(e, FI_CONNREQ, &e->pep->fid);
    OK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)));
    close(fd);
    settle(5);
    if (i == 0) { /* saying no to nobody is no harm */
      (void) fi_reject(e->pep, ev.info->handle, NULL, 0);
      fi_freeinfo(ev.info);
      unharmed();
      continue;
    }
    ep = end_ep(e, ev.info, NULL);
    fi_freeinfo(ev.info);
    OK(fi_recv(ep, receive_at(0), FOE_RECEIVE, NULL, 0, &ctx));
    if (fi_accept(ep, NULL, 0) == 0) {
      wait_event(e, FI_CONNECTED, &ep->fid);
      wait_event(e, FI_SHUTDOWN, &ep->fid);
    }
    ep_close(ep);
    UNTIL(took(e, &ctx, &c));
    assert_int_equal(c.err, FI_ECANCELED);
    unharmed();
  }
  world_close();
}

/* ---- At a connector ---- */

typedef struct try_s {
  struct fid_ep *ep;
  struct fi_context ctx;
  int fd;
} try_t;

/* Up to where the answer is owed. */
static void try_open(try_t *t) {
  uint8_t in[FOE_CM];

  t->ep = end_ep(&world.p.c, world.p.c.info, NULL);
  OK(fi_recv(t->ep, receive_at(0), FOE_RECEIVE, NULL, 0, &t->ctx));
  OK(fi_connect(t->ep, &world.addr, NULL, 0));
  UNTIL((t->fd = accept4(world.listener, NULL, NULL, SOCK_CLOEXEC)) >= 0);
  assert_true(fd_get(t->fd, in, sizeof(in)));
}

/* One event in error, and the receive when the endpoint closes. */
static event_t try_failed(try_t *t) {
  event_t ev = wait_eq_error(&world.p.c, &t->ep->fid);

  UNTIL(fd_over(t->fd));
  expect_quiet(&world.p.c);
  assert_true(fi_inject(t->ep, "x", 1, 0) < 0);
  ep_close(t->ep);
  assert_int_equal(wait_error(&world.p.c, &t->ctx).err, FI_ECANCELED);
  close(t->fd);
  unharmed();
  return ev;
}

static void connector_refuses(void **state) {
  uint8_t bytes[FOE_CM + 256], data[256];
  event_t ev;
  try_t t;

  (void) state;
  world_open(NULL);
  fill(data, sizeof(data), 1);
  for (unsigned i = 0; i < BAD; i++) {
    print_message("%s\n", bad[i].what);
    try_open(&t);
    cm_put(bytes, CM_RESP, data, 256, false);
    bytes[bad[i].at] = bad[i].value;
    (void) fd_put(t.fd, bytes, sizeof(bytes));
    ev = try_failed(&t);
    if (bad[i].err != 0) assert_int_equal(ev.err, bad[i].err);
  }
  try_open(&t); /* a request where an answer belongs */
  (void) fd_put(t.fd, bytes, cm_put(bytes, CM_REQ, NULL, 0, false));
  try_failed(&t);
  world_close();
}

/* No, with what a program wants to say to that; none of it beyond what may be. */
static void connector_is_refused(void **state) {
  uint8_t bytes[FOE_CM + 512], data[512];
  event_t ev;
  try_t t;

  (void) state;
  world_open(NULL);
  fill(data, sizeof(data), 2);
  for (unsigned len = 0; len <= 256; len += 64) {
    try_open(&t);
    assert_true(fd_put(t.fd, bytes, cm_put(bytes, CM_NACK, data, (uint16_t) len, false)));
    ev = try_failed(&t);
    assert_int_equal(ev.err, FI_ECONNREFUSED);
    assert_true(ev.len >= len);
    assert_memory_equal(ev.data, data, len);
  }
  try_open(&t);
  (void) fd_put(t.fd, bytes, cm_put(bytes, CM_NACK, data, 257, false));
  ev = try_failed(&t);
  assert_int_not_equal(ev.err, FI_ECONNREFUSED);
  world_close();
}

static void connector_is_left(void **state) {
  uint8_t bytes[FOE_CM + 10], data[10] = {0};
  try_t t;

  (void) state;
  world_open(NULL);
  for (unsigned type = 0; type < 2; type++)
    for (size_t n = 0; n < sizeof(bytes); n++) {
      cm_put(bytes, type == 0 ? CM_RESP : CM_NACK, data, sizeof(data), false);
      try_open(&t);
      assert_true(fd_put(t.fd, bytes, n));
      OK(shutdown(t.fd, SHUT_WR));
      assert_int_equal(try_failed(&t).err, FI_ECONNRESET);
    }
  world_close();
}

static void connector_is_patient_for_a_while(void **state) {
  uint8_t bytes[FOE_CM + 256] = {0};
  uint64_t from = now_ms();
  bool silent_over = false, slow_over = false;
  try_t silent, slow;
  event_t ev;

  (void) state;
  world_open(NULL);
  cm_put(bytes, CM_RESP, bytes + FOE_CM, 256, false);
  try_open(&silent);
  try_open(&slow);
  for (size_t sent = 0; !silent_over || !slow_over; settle(20)) {
    if (!slow_over && sent + 1 < sizeof(bytes)) (void) fd_put(slow.fd, bytes + sent++, 1);
    silent_over = silent_over || fd_over(silent.fd);
    slow_over = slow_over || fd_over(slow.fd);
    if (now_ms() - from < DEADLINE_MS / 2) assert_false(silent_over || slow_over);
    assert_true(now_ms() - from < DEADLINE_MS + CONFORM_WAIT_MS);
    unharmed();
  }
  ev = wait_eq_error(&world.p.c, &silent.ep->fid);
  assert_int_equal(ev.err, FI_ETIMEDOUT);
  assert_int_equal(try_failed(&slow).err, FI_ETIMEDOUT);
  ep_close(silent.ep);
  assert_int_equal(wait_error(&world.p.c, &silent.ctx).err, FI_ECANCELED);
  close(silent.fd);
  world_close();
}

static void answer_byte_by_byte(void **state) {
  uint8_t bytes[FOE_CM + 256], data[256];
  event_t ev;
  try_t t;

  (void) state;
  world_open(NULL);
  fill(data, sizeof(data), 3);
  for (unsigned swap = 0; swap < 2; swap++) {
    const frame_t m = {.payload = 50, .seed = 4};

    try_open(&t);
    size_t n = cm_put(bytes, CM_RESP, data, sizeof(data), swap);
    for (size_t i = 0; i < n; i++) {
      expect_quiet(&world.p.c);
      assert_true(fd_put(t.fd, bytes + i, 1));
      look();
    }
    ev = wait_event(&world.p.c, FI_CONNECTED, &t.ep->fid);
    assert_int_equal(ev.len, 256);
    assert_memory_equal(ev.data, data, 256);
    foe = (foe_t){.fd = t.fd, .swap = swap, .end = &world.p.c, .ep = t.ep};
    assert_true(foe_put(&foe, &m));
    fill(world.must + (receive_at(0) - world.arena), 50, 4);
    wait_comp(&world.p.c, &t.ctx);
    foe_close(&foe);
  }
  world_close();
}

static const struct CMUnitTest tests[] = {
    CASE(listener_refuses),     CASE(listener_hears_garbage),
    CASE(listener_is_left),     CASE(listener_is_patient_for_a_while),
    CASE(request_byte_by_byte), CASE(early_data),
    CASE(early_nonsense),       CASE(request_twice),
    CASE(gone_before_accept),   CASE(reset_before_accept),
    CASE(connector_refuses),    CASE(connector_is_refused),
    CASE(connector_is_left),    CASE(connector_is_patient_for_a_while),
    CASE(answer_byte_by_byte),
};

int main(int argc, char **argv) {
  char ms[16];

  snprintf(ms, sizeof(ms), "%d", DEADLINE_MS); /* long for the honest, short for a test */
  setenv("FI_KSOCK_STRANGER_TIMEOUT", ms, 1);
  setenv("FI_KSOCK_CONNECT_TIMEOUT", ms, 1);
  return conform_run(argc, argv, tests, sizeof(tests) / sizeof(*tests));
}
