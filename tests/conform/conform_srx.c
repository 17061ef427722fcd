/* SPDX-License-Identifier: Apache-2.0 */
/* conform_srx.c - shared receive contexts: several endpoints of the server receive into one. */
#include <pthread.h>
#include <sched.h>

#include "lib_conform.h"

enum { LINKS = 3, N = 16, SIZE = 3000 };

static pair_t p;
static link_t l[LINKS];
static opts_t shared;
static uint8_t tx[N][SIZE], rx[N][SIZE];
static struct fi_context txc[N], rxc[N];

static void begin(void) {
  shared = (opts_t){.srx = true};
  pair_open(&p, NULL, &shared);
  assert_int_equal(p.s.info->ep_attr->rx_ctx_cnt, FI_SHARED_CONTEXT);
  for (unsigned i = 0; i < LINKS; i++) pair_connect(&p, &l[i]);
  memset(rx, 0, sizeof(rx));
}

static void end(void) {
  for (unsigned i = 0; i < LINKS; i++)
    if (l[i].c != NULL) pair_disconnect(&p, &l[i]);
  settle(10);
  pair_close(&p);
}

static void give(unsigned i) {
  POST(fi_recv(p.s.srx, rx[i], SIZE, NULL, 0, &rxc[i]));
}

/* Message i of `len` bytes over a link, told apart by its data. */
static void send_over(unsigned link, unsigned i, size_t len) {
  fill(tx[i], len, i);
  POST(fi_send(l[link].c, tx[i], len, NULL, 0, &txc[i]));
}

static void expect(unsigned buffer, unsigned message, size_t len) {
  comp_t c = wait_comp(&p.s, &rxc[buffer]);

  assert_int_equal(c.flags & (FI_MSG | FI_RECV), FI_MSG | FI_RECV);
  assert_int_equal(c.len, len);
  check(rx[buffer], len, message);
  wait_comp(&p.c, &txc[message]);
}

/* ---- Receiving ---- */

/* Buffers go out in the order in which they were posted, to whom a message comes for. */
static void several_endpoints(void **state) {
  (void) state;
  begin();
  for (unsigned i = 0; i < N; i++) give(i);
  for (unsigned i = 0; i < N; i++) {
    send_over(i % LINKS, i, i * SIZE / N);
    expect(i, i, i * SIZE / N);
  }
  end();
}

/* In bursts over all links at once: each link's messages in their order, every buffer used once. */
static void bursts(void **state) {
  unsigned next[LINKS] = {0};

  (void) state;
  begin();
  for (unsigned round = 0; round < 200; round++) {
    for (unsigned i = 0; i < N; i++) give(i);
    for (unsigned i = 0; i < N; i++) {
      memset(tx[i], (int) round, SIZE);
      tx[i][0] = (uint8_t) (i % LINKS);
      tx[i][1] = (uint8_t) (next[i % LINKS] + i / LINKS);
      POST(fi_send(l[i % LINKS].c, tx[i], 100 + i, NULL, 0, &txc[i]));
    }
    for (unsigned i = 0; i < N; i++) wait_comp(&p.c, &txc[i]);
    for (unsigned i = 0; i < N; i++) {
      wait_comp(&p.s, &rxc[i]);
      assert_in_range(rx[i][0], 0, LINKS - 1);
      assert_int_equal(rx[i][1], (uint8_t) next[rx[i][0]]++);
      assert_int_equal(rx[i][99], (uint8_t) round);
    }
  }
  end();
}

static void pieces_and_data(void **state) {
  struct iovec iov[] = {{rx[0], 10}, {rx[1], 0}, {rx[2], 990}, {rx[3], SIZE}};
  struct fi_msg m = {.msg_iov = iov, .iov_count = 4, .context = &rxc[1]};
  uint8_t whole[SIZE];
  comp_t c;

  (void) state;
  begin();
  OK(fi_recvv(p.s.srx, iov, NULL, 4, 0, &rxc[0]));
  OK(fi_recvmsg(p.s.srx, &m, FI_COMPLETION));
  for (unsigned i = 0; i < 2; i++) {
    fill(tx[i], 1500, i);
    POST(fi_senddata(l[i].c, tx[i], 1500, NULL, 77 + i, 0, &txc[i]));
    c = wait_comp(&p.s, &rxc[i]);
    assert_true(c.flags & FI_REMOTE_CQ_DATA);
    assert_int_equal(c.data, 77 + i);
    assert_int_equal(c.len, 1500);
    memcpy(whole, rx[0], 10);
    memcpy(whole + 10, rx[2], 990);
    memcpy(whole + 1000, rx[3], 500);
    check(whole, 1500, i);
    wait_comp(&p.c, &txc[i]);
  }
  end();
}

/* Endpoints have no receives of their own then, and a context sends nothing. */
static void wrong_objects(void **state) {
  struct iovec iov = {rx[0], SIZE};
  struct fi_msg m = {.msg_iov = &iov, .iov_count = 1};

  (void) state;
  KNOWN_DEVIATION();
  begin();
  REFUSED(fi_recv(l[0].s, rx[0], SIZE, NULL, 0, &rxc[0]));
  REFUSED(fi_recvv(l[0].s, &iov, NULL, 1, 0, &rxc[0]));
  REFUSED(fi_recvmsg(l[0].s, &m, FI_COMPLETION));
  REFUSED(fi_send(p.s.srx, tx[0], SIZE, NULL, 0, &txc[0]));
  REFUSED(fi_sendv(p.s.srx, &iov, NULL, 1, 0, &txc[0]));
  REFUSED(fi_sendmsg(p.s.srx, &m, 0));
  REFUSED(fi_inject(p.s.srx, tx[0], 8, 0));
  REFUSED(fi_senddata(p.s.srx, tx[0], 8, NULL, 1, 0, &txc[0]));
  REFUSED(fi_injectdata(p.s.srx, tx[0], 8, 1, 0));
  struct fid_domain *other;
  struct fid_ep *spare;
  OK(fi_domain(p.s.fabric, p.s.info, &other, NULL));
  OK(fi_endpoint(other, p.s.info, &spare, NULL));
  REFUSED(fi_ep_bind(spare, &p.s.srx->fid, 0));
  ep_close(spare);
  OK(fi_close(&other->fid));
  OK(fi_endpoint(p.s.domain, p.s.info, &spare, NULL));
  OK(fi_ep_bind(spare, &p.s.srx->fid, 0));
  REFUSED(fi_ep_bind(spare, &p.s.srx->fid, 0)); /* twice */
  ep_close(spare);
  give(0); /* and all is well */
  send_over(1, 0, 64);
  expect(0, 0, 64);
  end();
}

/* An endpoint says which of its receives complete: the context does not know it. */
static void selective(void **state) {
  (void) state;
  shared = (opts_t){.srx = true, .cq_flags = FI_SELECTIVE_COMPLETION};
  pair_open(&p, NULL, &shared);
  pair_connect(&p, &l[0]);
  give(0);
  send_over(0, 0, 500);
  wait_comp(&p.c, &txc[0]);
  for (uint64_t until = now_ms() + CONFORM_WAIT_MS; memcmp(rx[0], tx[0], 500) != 0;) {
    assert_true(now_ms() < until);
    pump();
  }
  settle(5);
  expect_quiet(&p.s);
  pair_disconnect(&p, &l[0]);
  pair_close(&p);
}

/* ---- No buffers ---- */

/* Each buffer that comes brings one message; nobody is lost, and nobody waits for another's. */
static void starvation(void **state) {
  unsigned next[LINKS] = {0}, link, i;

  (void) state;
  begin();
  for (i = 0; i < 12; i++) send_over(i % LINKS, i, SIZE);
  for (i = 0; i < 12; i++) wait_comp(&p.c, &txc[i]);
  settle(10);
  expect_quiet(&p.s);
  for (i = 0; i < 12; i++) {
    unsigned found = 0;

    give(i);
    wait_comp(&p.s, &rxc[i]);
    for (link = 0; link < LINKS; link++)
      if (memcmp(rx[i], tx[next[link] * LINKS + link], SIZE) == 0) {
        next[link]++;
        found++;
        break;
      }
    assert_int_equal(found, 1);
    settle(1);
    expect_quiet(&p.s);
  }
  for (link = 0; link < LINKS; link++) assert_int_equal(next[link], 4);
  end();
}

/* Who waits longest is served first: one that sends much does not keep the others waiting. */
static void first_come(void **state) {
  (void) state;
  KNOWN_DEVIATION();
  begin();
  for (unsigned i = 0; i < 10; i++) send_over(0, i, 64);
  for (unsigned i = 0; i < 10; i++) wait_comp(&p.c, &txc[i]);
  settle(10);
  send_over(1, 10, 64);
  settle(10);
  send_over(2, 11, 64);
  settle(10);
  give(0), give(1), give(2);
  for (unsigned i = 0; i < 3; i++) wait_comp(&p.s, &rxc[i]);
  check(rx[0], 64, 0);
  check(rx[1], 64, 10);
  check(rx[2], 64, 11);
  for (unsigned i = 3; i < 12; i++) {
    give(i);
    wait_comp(&p.s, &rxc[i]);
    check(rx[i], 64, i - 2);
  }
  wait_comp(&p.c, &txc[10]);
  wait_comp(&p.c, &txc[11]);
  end();
}

/* What takes no buffer does not wait for one. */
static void others_go_on(void **state) {
  region_t r;
  struct fi_context ctx;

  (void) state;
  begin();
  region_open(&r, &p.s, SIZE, FI_REMOTE_WRITE | FI_REMOTE_READ, 1);
  send_over(0, 0, SIZE);
  wait_comp(&p.c, &txc[0]);
  settle(5);
  fill(tx[1], SIZE, 1);
  OK(fi_write(l[1].c, tx[1], SIZE, NULL, 0, r.origin, r.key, &ctx));
  wait_comp(&p.c, &ctx);
  OK(fi_read(l[1].c, rx[1], SIZE, NULL, 0, r.origin, r.key, &ctx));
  wait_comp(&p.c, &ctx);
  check(rx[1], SIZE, 1);
  POST(fi_send(l[0].s, tx[1], SIZE, NULL, 0, &txc[1])); /* the one that waits can send */
  OK(fi_recv(l[0].c, rx[2], SIZE, NULL, 0, &rxc[2]));
  wait_comp(&p.s, &txc[1]);
  wait_comp(&p.c, &rxc[2]);
  check(rx[2], SIZE, 1);
  give(0);
  wait_comp(&p.s, &rxc[0]);
  check(rx[0], SIZE, 0);
  region_close(&r);
  end();
}

static void full(void **state) {
  (void) state;
  KNOWN_DEVIATION();
  shared = (opts_t){.srx = true, .rx_size = N - 1};
  pair_open(&p, NULL, &shared);
  assert_int_equal(p.s.info->rx_attr->size, N - 1);
  pair_connect(&p, &l[0]);
  for (unsigned i = 0; i < N - 1; i++) give(i);
  assert_int_equal(fi_recv(p.s.srx, rx[N - 1], SIZE, NULL, 0, &rxc[N - 1]), -FI_EAGAIN);
  send_over(0, 0, 64);
  expect(0, 0, 64);
  OK(fi_recv(p.s.srx, rx[N - 1], SIZE, NULL, 0, &rxc[N - 1]));
  assert_int_equal(fi_recv(p.s.srx, rx[0], SIZE, NULL, 0, &rxc[0]), -FI_EAGAIN);
  pair_disconnect(&p, &l[0]);
  OK(fi_close(&p.s.srx->fid));
  p.s.srx = NULL;
  for (unsigned i = 1; i < N; i++) assert_int_equal(wait_error(&p.s, &rxc[i]).err, FI_ECANCELED);
  pair_close(&p);
}

static void too_long(void **state) {
  comp_t c;

  (void) state;
  begin();
  OK(fi_recv(p.s.srx, rx[0], 100, NULL, 0, &rxc[0]));
  give(1);
  send_over(0, 0, 1000);
  wait_comp(&p.c, &txc[0]);
  c = wait_error(&p.s, &rxc[0]);
  assert_int_equal(c.err, FI_ETRUNC);
  send_over(1, 1, 1000); /* the others have lost nothing */
  expect(1, 1, 1000);
  settle(5);
  end_forget(&p.s); /* a connection may end by it */
  end_forget(&p.c);
  for (unsigned i = 0; i < LINKS; i++) link_close(&l[i]);
  end_forget(&p.s);
  end();
}

/* ---- Death ---- */

/* Buffers are nobody's before a message comes: an endpoint that dies takes none along. */
static void buffers_stay(void **state) {
  (void) state;
  begin();
  for (unsigned i = 0; i < N; i++) give(i);
  send_over(0, 0, 64);
  expect(0, 0, 64);
  ep_close(l[0].c);
  l[0].c = NULL;
  wait_event(&p.s, FI_SHUTDOWN, &l[0].s->fid);
  OK(fi_shutdown(l[1].s, 0)); /* from this side */
  wait_event(&p.s, FI_SHUTDOWN, &l[1].s->fid);
  wait_event(&p.c, FI_SHUTDOWN, &l[1].c->fid);
  settle(5);
  expect_quiet(&p.s);
  link_close(&l[0]);
  link_close(&l[1]);
  settle(5);
  expect_quiet(&p.s);
  for (unsigned i = 1; i < N; i++) {
    send_over(2, i, 64);
    expect(i, i, 64);
  }
  end();
}

/* The one that a message has begun to fill dies with its endpoint, and that alone. */
static void half_a_message(void **state) {
  static uint8_t big[8 << 20], into[8 << 20];
  struct fi_context bc, ic;

  (void) state;
  begin();
  OK(fi_recv(p.s.srx, into, sizeof(into), NULL, 0, &ic));
  give(1);
  p.c.asleep = true;
  OK(fi_send(l[0].c, big, sizeof(big), NULL, 0, &bc));
  settle(20);
  ep_close(l[0].c);
  l[0].c = NULL;
  assert_int_not_equal(wait_error(&p.s, &ic).err, 0);
  wait_event(&p.s, FI_SHUTDOWN, &l[0].s->fid);
  p.c.asleep = false;
  assert_int_equal(wait_error(&p.c, &bc).err, FI_ECANCELED);
  link_close(&l[0]);
  send_over(1, 1, 64);
  expect(1, 1, 64);
  end();
}

/* One that waits for a buffer when it closes leaves the line. */
static void starving_then_closed(void **state) {
  (void) state;
  begin();
  for (unsigned i = 0; i < LINKS; i++) {
    send_over(i, i, 64);
    wait_comp(&p.c, &txc[i]);
    settle(10);
  }
  ep_close(l[1].s); /* in the middle of it */
  l[1].s = NULL;
  wait_event(&p.c, FI_SHUTDOWN, &l[1].c->fid);
  link_close(&l[1]);
  ep_close(l[2].s); /* at its end */
  l[2].s = NULL;
  wait_event(&p.c, FI_SHUTDOWN, &l[2].c->fid);
  link_close(&l[2]);
  pair_connect(&p, &l[2]);
  send_over(2, 4, 64);
  wait_comp(&p.c, &txc[4]);
  settle(10);
  give(0);
  wait_comp(&p.s, &rxc[0]);
  check(rx[0], 64, 0);
  give(4);
  wait_comp(&p.s, &rxc[4]);
  check(rx[4], 64, 4);
  end();
}

/* ... and whose peer is gone is told so, while it waits. */
static void starving_then_gone(void **state) {
  (void) state;
  KNOWN_DEVIATION();
  begin();
  send_over(0, 0, 64);
  wait_comp(&p.c, &txc[0]);
  settle(10);
  ep_close(l[0].c);
  l[0].c = NULL;
  wait_event(&p.s, FI_SHUTDOWN, &l[0].s->fid);
  give(0); /* what it sent before is not lost */
  wait_comp(&p.s, &rxc[0]);
  check(rx[0], 64, 0);
  settle(10);
  link_close(&l[0]);
  give(1);
  send_over(1, 1, 64);
  expect(1, 1, 64);
  end();
}

/* ---- Taking back ---- */

static void cancel(void **state) {
  struct fi_context none;
  comp_t c;

  (void) state;
  begin();
  for (unsigned i = 0; i < N; i++) give(i);
  for (unsigned i = 0; i < N; i += 5) { /* the first, the last, between */
    OK(fi_cancel(&p.s.srx->fid, &rxc[i]));
    c = wait_error(&p.s, &rxc[i]);
    assert_int_equal(c.err, FI_ECANCELED);
    assert_true(c.flags & FI_RECV);
  }
  OK(fi_cancel(&p.s.srx->fid, &rxc[0])); /* again: it is not there any more */
  OK(fi_cancel(&p.s.srx->fid, &none));
  OK(fi_cancel(&l[0].s->fid, &rxc[1])); /* it is not the endpoint's */
  settle(5);
  expect_quiet(&p.s);
  for (unsigned i = 0; i < N; i++) {
    if (i % 5 == 0) continue;
    send_over(i % LINKS, i, 64);
    expect(i, i, 64);
  }
  give(0); /* the list is whole at its end, too */
  give(1);
  for (unsigned i = 0; i < 2; i++) {
    send_over(0, i, 64);
    expect(i, i, 64);
  }
  end();
}

/* A context's own queue has what is cancelled; what is received is in the endpoint's. */
static void queue_of_its_own(void **state) {
  struct fi_cq_attr attr = {.format = FI_CQ_FORMAT_DATA, .wait_obj = FI_WAIT_NONE};
  struct fi_cq_err_entry err = {0};
  struct fi_cq_data_entry entry;
  struct fid_ep *srx, *usual;
  struct fid_cq *cq;

  (void) state;
  shared = (opts_t){.srx = true};
  pair_open(&p, NULL, &shared);
  OK(fi_srx_context(p.s.domain, p.s.info->rx_attr, &srx, NULL));
  OK(fi_cq_open(p.s.domain, &attr, &cq, NULL));
  REFUSED(fi_ep_bind(srx, &cq->fid, FI_TRANSMIT));
  REFUSED(fi_ep_bind(srx, &p.s.eq->fid, 0));
  OK(fi_ep_bind(srx, &cq->fid, FI_RECV));
  usual = p.s.srx;
  p.s.srx = srx;
  pair_connect(&p, &l[0]);
  for (unsigned i = 0; i < 3; i++) give(i);
  OK(fi_cancel(&srx->fid, &rxc[0]));
  assert_int_equal(fi_cq_read(cq, &entry, 1), -FI_EAVAIL);
  assert_int_equal(fi_cq_readerr(cq, &err, 0), 1);
  assert_ptr_equal(err.op_context, &rxc[0]);
  assert_int_equal(err.err, FI_ECANCELED);
  send_over(0, 1, 64);
  expect(1, 1, 64);
  assert_int_equal(fi_cq_read(cq, &entry, 1), -FI_EAGAIN);
  pair_disconnect(&p, &l[0]);
  OK(fi_close(&srx->fid));
  assert_int_equal(fi_cq_read(cq, &entry, 1), -FI_EAVAIL); /* the last was never used */
  assert_int_equal(fi_cq_readerr(cq, &err, 0), 1);
  assert_ptr_equal(err.op_context, &rxc[2]);
  assert_int_equal(fi_cq_read(cq, &entry, 1), -FI_EAGAIN);
  OK(fi_close(&cq->fid));
  p.s.srx = usual;
  pair_close(&p);
}

static void busy(void **state) {
  (void) state;
  KNOWN_DEVIATION();
  begin();
  give(0);
  assert_int_equal(fi_close(&p.s.srx->fid), -FI_EBUSY);
  send_over(0, 0, 64); /* it is as it was */
  expect(0, 0, 64);
  for (unsigned i = 0; i < LINKS; i++) pair_disconnect(&p, &l[i]);
  assert_int_equal(fi_close(&p.s.cq->fid), -FI_EBUSY);
  assert_int_equal(fi_close(&p.s.domain->fid), -FI_EBUSY);
  end();
}

/* ---- Threads ---- */

enum { MANY = 30000 };
static unsigned posted; /* by the other thread */

static void *poster(void *arg) {
  static uint8_t room[64];
  static struct fi_context ctx;

  (void) arg;
  for (unsigned i = 0; i < MANY;) {
    ssize_t rc = fi_recv(p.s.srx, room, sizeof(room), NULL, 0, &ctx);
    if (rc == 0)
      __atomic_store_n(&posted, ++i, __ATOMIC_RELEASE);
    else if (rc == -FI_EAGAIN)
      sched_yield();
    else
      return (void *) "refused";
  }
  return NULL;
}

/* One thread gives buffers while another reads the queue: most of the time somebody starves. */
static void given_by_another_thread(void **state) {
  unsigned received = 0, sent = 0;
  pthread_t t;
  void *why;

  (void) state;
  shared = (opts_t){.srx = true, .rx_size = 8};
  pair_open(&p, NULL, &shared);
  for (unsigned i = 0; i < LINKS; i++) pair_connect(&p, &l[i]);
  posted = 0;
  assert_int_equal(pthread_create(&t, NULL, poster, NULL), 0);
  for (uint64_t last = now_ms(); received < MANY;) {
    struct fi_cq_data_entry entry[16];
    ssize_t n = fi_cq_read(p.s.cq, entry, 16);

    if (sent < MANY && sent < received + 64 && fi_inject(l[sent % LINKS].c, &sent, 4, 0) == 0)
      sent++;
    assert_int_equal(fi_cq_read(p.c.cq, &entry[15], 1), -FI_EAGAIN);
    if (n > 0) received += (unsigned) n, last = now_ms();
    if (n < 0) assert_int_equal(n, -FI_EAGAIN);
    if (now_ms() - last > CONFORM_WAIT_MS) timed_out("messages", __FILE__, __LINE__);
  }
  pthread_join(t, &why);
  assert_null(why);
  assert_int_equal(posted, MANY);
  for (unsigned i = 0; i < LINKS; i++) pair_disconnect(&p, &l[i]);
  pair_close(&p);
}

static const struct CMUnitTest tests[] = {
    CASE(several_endpoints),
    CASE(bursts),
    CASE(pieces_and_data),
    CASE(wrong_objects),
    CASE(selective),
    CASE(starvation),
    CASE(first_come),
    CASE(others_go_on),
    CASE(full),
    CASE(too_long),
    CASE(buffers_stay),
    CASE(half_a_message),
    CASE(starving_then_closed),
    CASE(starving_then_gone),
    CASE(cancel),
    CASE(queue_of_its_own),
    CASE(busy),
    CASE(given_by_another_thread),
};

CONFORM_MAIN(tests)
