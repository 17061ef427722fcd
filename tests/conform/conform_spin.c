/* SPDX-License-Identifier: Apache-2.0 */
/* conform_spin.c - asleep after a long time awake: a provider that has learnt that nobody sleeps must
 * notice who does, on this thread or another. */
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "lib_conform.h"

#define LONG 400 /* messages in one go */

static pair_t p;
static link_t l;

typedef struct later_s {
  struct fid_ep *ep;
  uint8_t data[64];
  ssize_t failed;
} later_t;

static void *send_later(void *arg) {
  later_t *m = arg;

  usleep(5000);
  m->failed = fi_inject(m->ep, m->data, sizeof(m->data), 0);
  return NULL;
}

/* A message from a to b that comes when its receiver sleeps already. */
static void wake_up(end_t *to, struct fid_ep *a, struct fid_ep *b, how_t how, uint64_t seed) {
  later_t m = {.ep = a};
  struct fi_cq_data_entry entry;
  struct fi_context ctx;
  uint8_t rx[sizeof(m.data)];
  pthread_t thread;

  fill(m.data, sizeof(m.data), seed);
  OK(fi_recv(b, rx, sizeof(rx), NULL, 0, &ctx));
  assert_int_equal(pthread_create(&thread, NULL, send_later, &m), 0);
  assert_int_equal(next_comp(to, how, how == FD ? fd_of(&to->cq->fid) : -1, &entry), 1);
  pthread_join(thread, NULL);
  assert_int_equal(m.failed, 0);
  assert_ptr_equal(entry.op_context, &ctx);
  check(rx, sizeof(rx), seed);
}

static void after_spinning(void **state) {
  (void) state;
  pair_sleepers(&p, &l);
  for (unsigned i = 0; i < 6; i++) {
    for (unsigned k = 0; k < LONG; k++) exchange(&p.c, l.c, &p.s, l.s, 64, k);
    wake_up(&p.s, l.c, l.s, i % 2 ? FD : SREAD, i);
    exchange(&p.s, l.s, &p.c, l.c, i % 2 ? 100000 : 64, i);
    wake_up(&p.c, l.s, l.c, i % 3 ? FD : SREAD, i);
  }
  for (unsigned k = 0; k < LONG; k++) exchange(&p.c, l.c, &p.s, l.s, 64, k);
  pair_end(&p, &l);
}

/* ... and its end is heard as well. */
static void end_after_spinning(void **state) {
  struct fid *cq = NULL;
  event_t ev;

  (void) state;
  pair_sleepers(&p, &l);
  cq = &p.s.cq->fid;
  for (unsigned k = 0; k < LONG; k++) exchange(&p.c, l.c, &p.s, l.s, 64, k);
  OK(fi_trywait(p.s.fabric, &cq, 1));
  ep_close(l.c);
  struct pollfd pfd = {.fd = fd_of(cq), .events = POLLIN};
  assert_int_equal(poll(&pfd, 1, CONFORM_WAIT_MS), 1);
  ev = wait_event(&p.s, FI_SHUTDOWN, &l.s->fid);
  assert_int_equal(ev.err, 0);
  ep_close(l.s);
  pair_close(&p);
}

/* As whoever polls the descriptor since an earlier fi_trywait sees it, while the queue is being read. */
static void descriptor_tells_all(void **state) {
  struct pollfd pfd = {.events = POLLIN};
  uint8_t tx[64] = {0}, rx[64];
  struct fi_context ctx;
  struct fid *cq;

  (void) state;
  pair_sleepers(&p, &l);
  cq = &p.s.cq->fid;
  pfd.fd = fd_of(cq);
  settle(5);
  OK(fi_trywait(p.s.fabric, &cq, 1));
  for (unsigned k = 0; k < LONG; k++) exchange(&p.c, l.c, &p.s, l.s, 64, k);
  settle(20);
  p.s.asleep = true;
  OK(fi_recv(l.s, rx, sizeof(rx), NULL, 0, &ctx));
  POST(fi_inject(l.c, tx, sizeof(tx), 0));
  assert_int_equal(poll(&pfd, 1, CONFORM_WAIT_MS), 1);
  p.s.asleep = false;
  wait_comp(&p.s, &ctx);
  pair_end(&p, &l);
}

static void many_after_spinning(void **state) {
  static const unsigned n = 9;
  link_t many[9];

  (void) state;
  pair_sleepers(&p, &l);
  for (unsigned i = 0; i < n; i++) pair_connect(&p, &many[i]);
  for (unsigned turn = 0; turn < 3; turn++) {
    for (unsigned i = 0; i < n; i++)
      for (unsigned k = 0; k < LONG / 2; k++) exchange(&p.c, many[i].c, &p.s, many[i].s, 64, k);
    for (unsigned k = 0; k < 4 * LONG; k++) /* a few that are busy, then others */
      exchange(&p.s, many[k % 4].s, &p.c, many[k % 4].c, 64, k);
    for (unsigned k = 0; k < LONG; k++) exchange(&p.s, many[k % n].s, &p.c, many[k % n].c, 64, k);
    for (unsigned i = 0; i < n; i++) wake_up(&p.s, many[i].c, many[i].s, i % 2 ? FD : SREAD, i);
  }
  for (unsigned i = 0; i < n; i++) pair_disconnect(&p, &many[i]);
  pair_end(&p, &l);
}

typedef struct sleeper_s {
  how_t how;
  unsigned *seen; /* completions, by whoever read them */
  bool stop;
  const char *failed;
} sleeper_t;

static void *sleeper(void *arg) {
  sleeper_t *t = arg;
  struct fi_cq_data_entry entry;

  while (!__atomic_load_n(&t->stop, __ATOMIC_ACQUIRE)) {
    if (next_comp(&p.s, t->how, t->how == FD ? fd_of(&p.s.cq->fid) : -1, &entry) != 1)
      return t->failed = "it was not woken", NULL;
    __atomic_add_fetch(t->seen, 1, __ATOMIC_ACQ_REL);
  }
  return NULL;
}

/* One thread sleeps on a queue while another reads it; then the other stops. */
static void asleep_beside_a_reader(how_t how) {
  unsigned seen = 0, want = 0;
  sleeper_t t = {.how = how, .seen = &seen};
  uint8_t tx[64] = {0}, rx[64];
  struct fi_cq_data_entry entry;
  pthread_t thread;

  pair_sleepers(&p, &l);
  p.s.asleep = true;
  assert_int_equal(pthread_create(&thread, NULL, sleeper, &t), 0);
  for (unsigned turn = 0; turn < 5; turn++) {
    bool reads = turn % 2 == 0;
    for (unsigned k = 0; k < (reads ? LONG : 3); k++) {
      uint64_t until = now_ms() + CONFORM_WAIT_MS;
      if (turn == 4 && k == LONG - 1) __atomic_store_n(&t.stop, true, __ATOMIC_RELEASE);
      OK(fi_recv(l.s, rx, sizeof(rx), NULL, 0, &rx));
      POST(fi_inject(l.c, tx, sizeof(tx), 0));
      want++;
      while (__atomic_load_n(&seen, __ATOMIC_ACQUIRE) != want) {
        if (reads && !t.stop && fi_cq_read(p.s.cq, &entry, 1) == 1)
          __atomic_add_fetch(&seen, 1, __ATOMIC_ACQ_REL);
        if (now_ms() > until) fail_msg("message %u: %s", want, "the sleeper was not woken");
      }
    }
  }
  pthread_join(thread, NULL);
  assert_null(t.failed);
  p.s.asleep = false;
  pair_end(&p, &l);
}

static void sread_beside_a_reader(void **state) {
  (void) state;
  asleep_beside_a_reader(SREAD);
}

static void fd_beside_a_reader(void **state) {
  (void) state;
  asleep_beside_a_reader(FD);
}

/* ---- What software completes, while another reads ---- */

typedef struct one_s {
  struct fi_cq_data_entry entry;
  ssize_t n;
  uint64_t took; /* milliseconds */
} one_t;

static void *take_one(void *arg) {
  one_t *o = arg;
  uint64_t t0 = now_ms();

  do o->n = fi_cq_sread(p.s.cq, &o->entry, 1, NULL, CONFORM_WAIT_MS);
  while (o->n == -FI_EINTR);
  o->took = now_ms() - t0;
  return NULL;
}

static pthread_t lay_down(one_t *o) {
  pthread_t thread;

  *o = (one_t){.n = 0};
  assert_int_equal(pthread_create(&thread, NULL, take_one, o), 0);
  usleep(5000);
  return thread;
}

/* Woken: an entry that is only found after all the time was up is none. */
static void rose(pthread_t thread, const one_t *o) {
  pthread_join(thread, NULL);
  assert_int_equal(o->n, 1);
  assert_true(o->took < CONFORM_WAIT_MS / 2);
}

/* A read that finds nothing, and a send that completes at once. */
static void send_after_a_read(void **state) {
  uint8_t tx[64] = {0}, rx[64];
  struct fi_context txc, rxc;
  struct fi_cq_data_entry entry;
  one_t one;

  (void) state;
  pair_sleepers(&p, &l);
  p.s.asleep = true;
  for (unsigned i = 0; i < 20; i++) {
    OK(fi_recv(l.c, rx, sizeof(rx), NULL, 0, &rxc));
    pthread_t thread = lay_down(&one);
    assert_int_equal(fi_cq_read(p.s.cq, &entry, i % 2), -FI_EAGAIN);
    OK(fi_send(l.s, tx, sizeof(tx), NULL, 0, &txc));
    rose(thread, &one);
    assert_ptr_equal(one.entry.op_context, &txc);
    wait_comp(&p.c, &rxc);
  }
  p.s.asleep = false;
  pair_end(&p, &l);
}

/* ... and a receive whose message was read already: nothing more comes from outside. */
static void receive_after_a_read(void **state) {
  uint8_t tx[64] = {0}, rx[64];
  struct fi_context ctx;
  struct fi_cq_data_entry entry;
  one_t one;

  (void) state;
  pair_sleepers(&p, &l);
  for (unsigned i = 0; i < 20; i++) {
    POST(fi_inject(l.c, tx, sizeof(tx), 0));
    settle(5);
    p.s.asleep = true;
    pthread_t thread = lay_down(&one);
    assert_int_equal(fi_cq_read(p.s.cq, &entry, i % 2), -FI_EAGAIN);
    OK(fi_recv(l.s, rx, sizeof(rx), NULL, 0, &ctx));
    rose(thread, &one);
    assert_ptr_equal(one.entry.op_context, &ctx);
    p.s.asleep = false;
  }
  pair_end(&p, &l);
}

/* Two messages at once for two who sleep, each of whom takes one. */
static void one_for_each(void **state) {
  uint8_t tx[2][64] = {{0}}, rx[2][64];
  struct fi_context ctx[2];
  struct iovec iov = {tx[0], sizeof(tx[0])};
  struct fi_msg m = {.msg_iov = &iov, .iov_count = 1};
  one_t one[2];
  pthread_t thread[2];

  (void) state;
  pair_sleepers(&p, &l);
  p.s.asleep = true;
  for (unsigned i = 0; i < 50; i++) {
    for (unsigned k = 0; k < 2; k++) OK(fi_recv(l.s, rx[k], sizeof(rx[k]), NULL, 0, &ctx[k]));
    for (unsigned k = 0; k < 2; k++) thread[k] = lay_down(&one[k]);
    OK(fi_sendmsg(l.c, &m, FI_INJECT | FI_MORE));
    OK(fi_inject(l.c, tx[1], sizeof(tx[1]), 0));
    for (unsigned k = 0; k < 2; k++) rose(thread[k], &one[k]);
    assert_ptr_not_equal(one[0].entry.op_context, one[1].entry.op_context);
    settle(1); /* the sender's completion of the first */
    end_forget(&p.c);
  }
  p.s.asleep = false;
  pair_end(&p, &l);
}

static const struct CMUnitTest tests[] = {
    CASE(after_spinning),       CASE(end_after_spinning),    CASE(many_after_spinning),
    CASE(descriptor_tells_all), CASE(sread_beside_a_reader), CASE(fd_beside_a_reader),
    CASE(send_after_a_read),    CASE(receive_after_a_read),  CASE(one_for_each),
};

CONFORM_MAIN(tests)
