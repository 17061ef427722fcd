/* SPDX-License-Identifier: Apache-2.0 */
/* conform_cntr.c - counters: what they count, what makes them move, waiting for them. */
#include <pthread.h>
#include <time.h>

#include "lib_conform.h"

enum { SENT, RECEIVED, READ, WRITTEN, REMOTE_READ, REMOTE_WRITTEN, COUNTERS };
enum { N = 24, SIZE = 3000 };

static const uint64_t flag[COUNTERS] = {FI_SEND,  FI_RECV,        FI_READ,
                                        FI_WRITE, FI_REMOTE_READ, FI_REMOTE_WRITE};

/* Each end's, one for each kind. */
static struct fid_cntr *client[COUNTERS], *server[COUNTERS];
static pair_t p;
static link_t l;
static uint8_t tx[N][SIZE], rx[N][SIZE];
static struct fi_context txc[N], rxc[N];

static struct fid_cntr *open_counter(end_t *e) {
  struct fi_cntr_attr attr = {.events = FI_CNTR_EVENTS_COMP, .wait_obj = FI_WAIT_UNSPEC};
  struct fid_cntr *c;

  OK(fi_cntr_open(e->domain, &attr, &c, NULL));
  assert_int_equal(fi_cntr_read(c), 0);
  assert_int_equal(fi_cntr_readerr(c), 0);
  return c;
}

static void bind_all(end_t *e, struct fid_ep *ep) {
  for (unsigned i = 0; i < COUNTERS; i++)
    OK(fi_ep_bind(ep, &(e == &p.c ? client : server)[i]->fid, flag[i]));
}

static void begin_with(const opts_t *o) {
  pair_open(&p, o, o);
  for (unsigned i = 0; i < COUNTERS; i++) {
    client[i] = open_counter(&p.c);
    server[i] = open_counter(&p.s);
  }
  p.c.bind = p.s.bind = bind_all;
  pair_connect(&p, &l);
}

static void begin(void) {
  begin_with(NULL);
}

static void end(void) {
  if (l.c != NULL) pair_disconnect(&p, &l);
  for (unsigned i = 0; i < COUNTERS; i++) {
    OK(fi_close(&client[i]->fid));
    OK(fi_close(&server[i]->fid));
  }
  pair_close(&p);
}

#define REACHES(c, n) UNTIL(fi_cntr_read(c) == (n))

/* All of an end's counters are these. */
static void are(struct fid_cntr **c, uint64_t s, uint64_t r, uint64_t rd, uint64_t w, uint64_t rrd,
                uint64_t rw) {
  const uint64_t want[COUNTERS] = {s, r, rd, w, rrd, rw};

  settle(2);
  for (unsigned i = 0; i < COUNTERS; i++) {
    if (fi_cntr_read(c[i]) != want[i])
      fail_msg("counter %u is %lu, not %lu", i, (unsigned long) fi_cntr_read(c[i]),
               (unsigned long) want[i]);
    assert_int_equal(fi_cntr_readerr(c[i]), 0);
  }
}

/* ---- What is counted ---- */

static void messages(void **state) {
  (void) state;
  begin();
  for (unsigned i = 0; i < N; i++) POST(fi_recv(l.s, rx[i], SIZE, NULL, 0, &rxc[i]));
  for (unsigned i = 0; i < N; i++) POST(fi_send(l.c, tx[i], SIZE, NULL, 0, &txc[i]));
  for (unsigned i = 0; i < N; i++) wait_comp(&p.c, &txc[i]);
  for (unsigned i = 0; i < N; i++) wait_comp(&p.s, &rxc[i]);
  are(client, N, 0, 0, 0, 0, 0);
  are(server, 0, N, 0, 0, 0, 0);
  end();
}

/* Also what completes in silence. */
static void silent_ones(void **state) {
  opts_t o = {.cq_flags = FI_SELECTIVE_COMPLETION};
  struct iovec iov = {tx[0], 10};
  struct fi_msg m = {.msg_iov = &iov, .iov_count = 1, .context = &txc[0]};

  (void) state;
  begin_with(&o);
  for (unsigned i = 0; i < 3; i++) POST(fi_recv(l.s, rx[i], SIZE, NULL, 0, &rxc[i]));
  POST(fi_send(l.c, tx[0], SIZE, NULL, 0, &txc[0]));
  POST(fi_sendmsg(l.c, &m, FI_DELIVERY_COMPLETE));
  POST(fi_sendmsg(l.c, &m, FI_COMPLETION));
  wait_comp(&p.c, &txc[0]);
  REACHES(client[SENT], 3);
  REACHES(server[RECEIVED], 3);
  are(client, 3, 0, 0, 0, 0, 0);
  are(server, 0, 3, 0, 0, 0, 0);
  end();
}

static void injected(void **state) {
  region_t r;

  (void) state;
  KNOWN_DEVIATION();
  begin();
  region_open(&r, &p.s, SIZE, FI_REMOTE_WRITE, 1);
  POST(fi_recv(l.s, rx[0], SIZE, NULL, 0, &rxc[0]));
  POST(fi_inject_write(l.c, tx[0], 8, 0, r.origin, r.key));
  POST(fi_inject(l.c, tx[0], 8, 0));
  wait_comp(&p.s, &rxc[0]);
  are(client, 1, 0, 0, 1, 0, 0);
  region_close(&r);
  end();
}

static void reads_and_writes(void **state) {
  region_t r;

  (void) state;
  begin();
  region_open(&r, &p.s, SIZE, FI_REMOTE_WRITE | FI_REMOTE_READ, 1);
  for (unsigned i = 0; i < 5; i++) {
    POST(fi_write(l.c, tx[0], SIZE, NULL, 0, r.origin, r.key, &txc[0]));
    wait_comp(&p.c, &txc[0]);
  }
  for (unsigned i = 0; i < 3; i++) {
    POST(fi_read(l.c, rx[0], SIZE, NULL, 0, r.origin, r.key, &rxc[0]));
    wait_comp(&p.c, &rxc[0]);
  }
  are(client, 0, 0, 3, 5, 0, 0);
  region_close(&r);
  end();
}

/* The target of reads and writes is told nothing but this. */
static void at_the_target(void **state) {
  region_t r;

  (void) state;
  KNOWN_DEVIATION();
  begin();
  assert_true(p.s.info->caps & FI_RMA_EVENT);
  region_open(&r, &p.s, SIZE, FI_REMOTE_WRITE | FI_REMOTE_READ, 1);
  for (unsigned i = 0; i < 5; i++) {
    POST(fi_write(l.c, tx[0], SIZE, NULL, 0, r.origin, r.key, &txc[0]));
    wait_comp(&p.c, &txc[0]);
  }
  REACHES(server[REMOTE_WRITTEN], 5);
  for (unsigned i = 0; i < 3; i++) {
    POST(fi_read(l.c, rx[0], SIZE, NULL, 0, r.origin, r.key, &rxc[0]));
    wait_comp(&p.c, &rxc[0]);
  }
  REACHES(server[REMOTE_READ], 3);
  are(server, 0, 0, 0, 0, 3, 5);
  region_close(&r);
  end();
}

static void writes_with_data(void **state) {
  region_t r;

  (void) state;
  begin();
  region_open(&r, &p.s, SIZE, FI_REMOTE_WRITE, 1);
  for (unsigned i = 0; i < 5; i++) {
    POST(fi_writedata(l.c, tx[0], SIZE, NULL, i, 0, r.origin, r.key, &txc[0]));
    wait_comp(&p.c, &txc[0]);
    assert_int_equal(wait_comp(&p.s, NULL).data, i);
  }
  are(client, 0, 0, 0, 5, 0, 0);
  are(server, 0, 0, 0, 0, 0, 5);
  region_close(&r);
  end();
}

static struct fid_cntr *one;

static void bind_one(end_t *e, struct fid_ep *ep) {
  (void) e;
  OK(fi_ep_bind(ep, &one->fid, FI_SEND | FI_RECV));
}

/* One counter can be for several things of several endpoints. */
static void shared(void **state) {
  link_t more;

  (void) state;
  pair_open(&p, NULL, NULL);
  one = open_counter(&p.s);
  p.s.bind = bind_one;
  pair_connect(&p, &l);
  pair_connect(&p, &more);
  alive(&p, &l); /* one in each direction */
  alive(&p, &more);
  assert_int_equal(fi_cntr_read(one), 4);
  pair_disconnect(&p, &more);
  alive(&p, &l);
  assert_int_equal(fi_cntr_read(one), 6);
  pair_disconnect(&p, &l);
  OK(fi_close(&one->fid));
  pair_close(&p);
}

/* ---- What fails ---- */

static void too_long(void **state) {
  (void) state;
  begin();
  POST(fi_recv(l.s, rx[0], 10, NULL, 0, &rxc[0]));
  POST(fi_send(l.c, tx[0], SIZE, NULL, 0, &txc[0]));
  assert_int_equal(wait_error(&p.s, &rxc[0]).err, FI_ETRUNC);
  wait_comp(&p.c, &txc[0]);
  assert_int_equal(fi_cntr_readerr(server[RECEIVED]), 1);
  assert_int_equal(fi_cntr_read(server[RECEIVED]), 0);
  settle(5); /* the connection may end by it */
  link_close(&l);
  end_forget(&p.c);
  end_forget(&p.s);
  end();
}

/* Each that comes back as cancelled is one. */
static void flushed(void **state) {
  static uint8_t big[4][4 << 20];
  unsigned cancelled = 0;
  comp_t c;

  (void) state;
  KNOWN_DEVIATION();
  begin();
  for (unsigned i = 0; i < 5; i++) POST(fi_recv(l.c, rx[i], SIZE, NULL, 0, &rxc[i]));
  OK(fi_cancel(&l.c->fid, &rxc[2]));
  wait_error(&p.c, &rxc[2]);
  assert_int_equal(fi_cntr_readerr(client[RECEIVED]), 1);
  for (unsigned i = 0; i < 4; i++) POST(fi_send(l.c, big[i], sizeof(big[i]), NULL, 0, &txc[i]));
  ep_close(l.c);
  l.c = NULL;
  for (unsigned i = 0; i < 4; i++) {
    UNTIL(took(&p.c, &txc[i], &c));
    cancelled += c.err != 0;
  }
  for (unsigned i = 0; i < 5; i++)
    if (i != 2) wait_error(&p.c, &rxc[i]);
  assert_true(cancelled > 0);
  assert_int_equal(fi_cntr_readerr(client[RECEIVED]), 5);
  assert_int_equal(fi_cntr_readerr(client[SENT]), cancelled);
  assert_int_equal(fi_cntr_read(client[SENT]), 4 - cancelled);
  link_close(&l); /* which may not know yet: what is before the end fills its stream */
  end_forget(&p.s);
  end();
}

/* ---- The program's own doing ---- */

static void add_and_set(void **state) {
  struct fid_cntr *c;

  (void) state;
  pair_open(&p, NULL, NULL);
  c = open_counter(&p.c);
  OK(fi_cntr_add(c, 5));
  OK(fi_cntr_add(c, 7));
  assert_int_equal(fi_cntr_read(c), 12);
  OK(fi_cntr_set(c, 3));
  assert_int_equal(fi_cntr_read(c), 3);
  OK(fi_cntr_adderr(c, 2));
  OK(fi_cntr_adderr(c, 2));
  assert_int_equal(fi_cntr_readerr(c), 4);
  OK(fi_cntr_seterr(c, 1));
  assert_int_equal(fi_cntr_readerr(c), 1);
  assert_int_equal(fi_cntr_read(c), 3);
  OK(fi_close(&c->fid));
  pair_close(&p);
}

static void attributes(void **state) {
  struct fi_cntr_attr attr = {.events = FI_CNTR_EVENTS_COMP};
  static const enum fi_wait_obj obj[] = {FI_WAIT_NONE, FI_WAIT_UNSPEC, FI_WAIT_FD};
  struct fid_cntr *c;

  (void) state;
  pair_open(&p, NULL, NULL);
  for (unsigned i = 0; i < 3; i++) {
    attr.wait_obj = obj[i];
    OK(fi_cntr_open(p.c.domain, &attr, &c, NULL));
    OK(fi_cntr_add(c, 1));
    OK(fi_cntr_wait(c, 1, 0)); /* whatever there is to wait with */
    assert_int_equal(fi_close(&p.c.domain->fid), -FI_EBUSY);
    OK(fi_close(&c->fid));
  }
  attr.flags = 1;
  REFUSED(fi_cntr_open(p.c.domain, &attr, &c, NULL));
  pair_close(&p);
}

static void bindings(void **state) {
  struct fid_cntr *c, *d;
  struct fid_ep *ep;

  (void) state;
  begin();
  c = open_counter(&p.c);
  d = open_counter(&p.c);
  OK(fi_endpoint(p.c.domain, p.c.info, &ep, NULL));
  REFUSED(fi_ep_bind(ep, &c->fid, FI_SEND | FI_REMOTE_CQ_DATA));
  OK(fi_ep_bind(ep, &c->fid, FI_SEND | FI_REMOTE_READ));
  REFUSED(fi_ep_bind(ep, &d->fid, FI_RECV | FI_REMOTE_READ)); /* it counts that already */
  OK(fi_ep_bind(ep, &d->fid, FI_RECV | FI_REMOTE_WRITE));
  assert_int_equal(fi_close(&c->fid), -FI_EBUSY);
  assert_int_equal(fi_close(&d->fid), -FI_EBUSY);
  assert_int_equal(fi_close(&client[0]->fid), -FI_EBUSY);
  REFUSED(fi_enable(ep)); /* it has no completion queues yet */
  ep_close(ep);
  OK(fi_close(&c->fid));
  OK(fi_close(&d->fid));
  end();
}

/* ---- Waiting ---- */

static uint64_t cpu_ms(void) {
  struct timespec t;

  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (uint64_t) t.tv_sec * 1000 + (uint64_t) t.tv_nsec / 1000000;
}

static void limits_of_time(void **state) {
  struct fid_cntr *c;
  uint64_t t;

  (void) state;
  pair_open(&p, NULL, NULL);
  c = open_counter(&p.c);
  OK(fi_cntr_wait(c, 0, -1));
  t = now_ms();
  assert_int_equal(fi_cntr_wait(c, 1, 0), -FI_ETIMEDOUT);
  assert_int_equal(fi_cntr_wait(c, 1, 120), -FI_ETIMEDOUT);
  assert_in_range(now_ms() - t, 115, 5000);
  OK(fi_cntr_add(c, 3));
  OK(fi_cntr_wait(c, 3, -1));
  assert_int_equal(fi_cntr_wait(c, 4, 1), -FI_ETIMEDOUT);
  OK(fi_close(&c->fid));
  pair_close(&p);
}

/* Reading or waiting is all that it takes: nobody looks at a completion queue. */
static void progress_of_its_own(void **state) {
  (void) state;
  begin();
  for (unsigned i = 0; i < N; i++) POST(fi_recv(l.s, rx[i], SIZE, NULL, 0, &rxc[i]));
  p.c.asleep = p.s.asleep = true;
  for (unsigned i = 0; i < N; i++) POST(fi_send(l.c, tx[i], SIZE, NULL, 0, &txc[i]));
  OK(fi_cntr_wait(server[RECEIVED], N / 2, CONFORM_WAIT_MS));
  for (uint64_t until = now_ms() + CONFORM_WAIT_MS; fi_cntr_read(server[RECEIVED]) < N;)
    assert_true(now_ms() < until);
  OK(fi_cntr_wait(client[SENT], N, CONFORM_WAIT_MS));
  p.c.asleep = p.s.asleep = false;
  for (unsigned i = 0; i < N; i++) wait_comp(&p.s, &rxc[i]); /* they are there all the same */
  for (unsigned i = 0; i < N; i++) wait_comp(&p.c, &txc[i]);
  end();
}

static void error_ends_a_wait(void **state) {
  (void) state;
  begin();
  POST(fi_recv(l.s, rx[0], 10, NULL, 0, &rxc[0]));
  p.s.asleep = true;
  POST(fi_send(l.c, tx[0], SIZE, NULL, 0, &txc[0]));
  assert_int_equal(fi_cntr_wait(server[RECEIVED], 1, CONFORM_WAIT_MS), -FI_EAVAIL);
  p.s.asleep = false;
  wait_error(&p.s, &rxc[0]);
  wait_comp(&p.c, &txc[0]);
  settle(5);
  link_close(&l);
  end_forget(&p.c);
  end_forget(&p.s);
  end();
}

typedef struct later_s { /* what another thread does after a while */
  unsigned ms;
  void (*call)(void);
} later_t;

static void *later(void *arg) {
  later_t *x = arg;
  struct timespec t = {.tv_nsec = x->ms * 1000000L};

  nanosleep(&t, NULL);
  x->call();
  return NULL;
}

static void add_two(void) {
  OK(fi_cntr_add(server[RECEIVED], 2));
}

static void send_one(void) {
  OK(fi_inject(l.c, tx[0], 8, 0));
}

static void woken_by_add(void **state) {
  later_t x = {100, add_two};
  pthread_t t;

  (void) state;
  begin();
  assert_int_equal(pthread_create(&t, NULL, later, &x), 0);
  uint64_t at = now_ms();
  OK(fi_cntr_wait(server[RECEIVED], 2, -1));
  assert_in_range(now_ms() - at, 50, 5000);
  pthread_join(t, NULL);
  end();
}

/* Who waits sleeps: also where completions lie in the queue that nobody takes out. */
static void asleep_until_data(void **state) {
  later_t x = {300, send_one};
  pthread_t t;

  (void) state;
  begin();
  for (unsigned i = 0; i < 5; i++) POST(fi_recv(l.s, rx[i], SIZE, NULL, 0, &rxc[i]));
  p.s.asleep = true;
  for (unsigned i = 1; i <= 5; i++) {
    uint64_t cpu = cpu_ms();

    x.ms = i == 5 ? 300 : 10;
    assert_int_equal(pthread_create(&t, NULL, later, &x), 0);
    OK(fi_cntr_wait(server[RECEIVED], i, CONFORM_WAIT_MS));
    assert_in_range(cpu_ms() - cpu, 0, 60);
    pthread_join(t, NULL);
  }
  p.s.asleep = false;
  for (unsigned i = 0; i < 5; i++) wait_comp(&p.s, &rxc[i]);
  end();
}

static int waited[2];

static void *wait_for_2(void *arg) {
  (void) arg;
  waited[0] = fi_cntr_wait(server[RECEIVED], 2, CONFORM_WAIT_MS);
  return NULL;
}

static void *wait_for_4(void *arg) {
  (void) arg;
  waited[1] = fi_cntr_wait(server[RECEIVED], 4, CONFORM_WAIT_MS);
  return NULL;
}

/* Each waits for a number of its own, and none takes the other's wake-up. */
static void two_wait(void **state) {
  later_t none = {20, add_two};
  pthread_t t[2];

  (void) state;
  KNOWN_DEVIATION();
  begin();
  uint64_t at = now_ms();
  for (unsigned i = 0; i < 10; i++) {
    OK(fi_cntr_set(server[RECEIVED], 0));
    assert_int_equal(pthread_create(&t[0], NULL, wait_for_2, NULL), 0);
    assert_int_equal(pthread_create(&t[1], NULL, wait_for_4, NULL), 0);
    later(&none);
    pthread_join(t[0], NULL);
    assert_int_equal(waited[0], 0);
    later(&none);
    pthread_join(t[1], NULL);
    assert_int_equal(waited[1], 0);
  }
  assert_in_range(now_ms() - at, 0, 5000);
  end();
}

static ssize_t slept;

static void *read_asleep(void *arg) {
  struct fi_cq_data_entry entry;

  (void) arg;
  slept = fi_cq_sread(p.s.cq, &entry, 1, NULL, CONFORM_WAIT_MS);
  return NULL;
}

/* One thread waits for the completion, another for its count: both get it. */
static void one_of_each(void **state) {
  opts_t o = {.cq_wait = FI_WAIT_UNSPEC};
  struct timespec pause = {.tv_nsec = 2000000};
  pthread_t t[2];

  (void) state;
  begin_with(&o);
  p.s.asleep = true;
  uint64_t at = now_ms();
  for (unsigned i = 0; i < 40; i++) {
    OK(fi_cntr_set(server[RECEIVED], 1));
    POST(fi_recv(l.s, rx[0], SIZE, NULL, 0, &rxc[0]));
    assert_int_equal(pthread_create(&t[0], NULL, read_asleep, NULL), 0);
    assert_int_equal(pthread_create(&t[1], NULL, wait_for_2, NULL), 0);
    if (i % 2 == 0) nanosleep(&pause, NULL);
    send_one();
    pthread_join(t[0], NULL);
    pthread_join(t[1], NULL);
    assert_int_equal(slept, 1);
    assert_int_equal(waited[0], 0);
  }
  assert_in_range(now_ms() - at, 0, 8000);
  p.s.asleep = false;
  end();
}

static const struct CMUnitTest tests[] = {
    CASE(messages),
    CASE(silent_ones),
    CASE(injected),
    CASE(reads_and_writes),
    CASE(at_the_target),
    CASE(writes_with_data),
    CASE(shared),
    CASE(too_long),
    CASE(flushed),
    CASE(add_and_set),
    CASE(attributes),
    CASE(bindings),
    CASE(limits_of_time),
    CASE(progress_of_its_own),
    CASE(error_ends_a_wait),
    CASE(woken_by_add),
    CASE(asleep_until_data),
    CASE(two_wait),
    CASE(one_of_each),
};

CONFORM_MAIN(tests)
