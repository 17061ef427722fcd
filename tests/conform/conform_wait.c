/* SPDX-License-Identifier: Apache-2.0 */
/* conform_wait.c - sleeping: fi_cq_sread, fi_eq_sread, and wait fds with fi_trywait, which neither lose
 * a wake-up nor wake for nothing.
 *
 * Design notes
 *  - The server runs in a thread of its own where both ends sleep; it reports by its result, for
 *    cmocka's checks belong to the main thread.
 *  - "Does not spin" counts wake-ups over a while in which nothing happens: never a time. */
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib_conform.h"

static pair_t p;
static link_t l;

#define MAX_LEN (1u << 20)
#define FEW     5 /* wake-ups in a while without anything to wake up for */

/* ---- Ping-pong in which both ends sleep ---- */

typedef struct echo_s {
  end_t *end;
  struct fid_ep *ep;
  how_t how;
  int fd;
  size_t len;
  unsigned turns;
  uint8_t *buf[2];
  const char *failed;
} echo_t;

/* Sends back each message; the next receive is posted before. The first one is there already. */
static void *echo(void *arg) {
  static char sends;
  echo_t *e = arg;
  struct fi_cq_data_entry entry;

  for (unsigned i = 0; i < e->turns; i++) {
    do {
      if (next_comp(e->end, e->how, e->fd, &entry) != 1) return e->failed = "no message came", NULL;
    } while (entry.op_context == &sends);
    if (entry.len != e->len) return e->failed = "a message of another length", NULL;
    if (fi_recv(e->ep, e->buf[!(i % 2)], e->len, NULL, 0, e) != 0)
      return e->failed = "fi_recv", NULL;
    if (fi_send(e->ep, e->buf[i % 2], e->len, NULL, 0, &sends) != 0)
      return e->failed = "fi_send", NULL;
  }
  if (next_comp(e->end, e->how, e->fd, &entry) != 1) return e->failed = "no completion", NULL;
  if (entry.op_context != &sends) e->failed = "a message that nobody sent";
  return NULL;
}

static void sleeping_ping_pong(how_t how) {
  static const size_t lens[] = {64, 4096, 65536, MAX_LEN};
  opts_t o = {.cq_wait = how == SREAD ? FI_WAIT_UNSPEC : FI_WAIT_FD};
  uint8_t *tx = malloc(MAX_LEN), *rx = malloc(MAX_LEN);
  struct fi_cq_data_entry entry;
  struct fi_context txc, rxc;

  pair_open(&p, &o, &o);
  pair_connect(&p, &l);
  int fd = how == FD ? fd_of(&p.c.cq->fid) : -1;
  p.s.asleep = p.c.asleep = true;
  for (unsigned k = 0; k < 4; k++) {
    echo_t e = {.end = &p.s,
                .ep = l.s,
                .how = how,
                .fd = how == FD ? fd_of(&p.s.cq->fid) : -1,
                .len = lens[k],
                .turns = k < 2 ? 300 : 20,
                .buf = {malloc(MAX_LEN), malloc(MAX_LEN)}};
    pthread_t thread;

    OK(fi_recv(l.s, e.buf[0], e.len, NULL, 0, &e));
    assert_int_equal(pthread_create(&thread, NULL, echo, &e), 0);
    for (unsigned i = 0; i < e.turns; i++) {
      fill(tx, e.len, i);
      OK(fi_recv(l.c, rx, e.len, NULL, 0, &rxc));
      OK(fi_send(l.c, tx, e.len, NULL, 0, &txc));
      for (unsigned seen = 0; seen != 3;) {
        int n = next_comp(&p.c, how, fd, &entry);

        if (n != 1)
          fail_msg("turn %u of %zu bytes: %s; the other end: %s", i, e.len, fi_strerror(-n),
                   e.failed != NULL ? e.failed : "well");
        seen |= entry.op_context == &txc ? 1 : 2;
      }
      check(rx, e.len, i);
    }
    pthread_join(thread, NULL);
    if (e.failed != NULL) fail_msg("the other end: %s", e.failed);
    OK(fi_cancel(&l.s->fid, &e)); /* the receive that it posted last */
    p.s.asleep = false;
    assert_int_equal(wait_error(&p.s, &e).err, FI_ECANCELED);
    p.s.asleep = true;
    free(e.buf[0]);
    free(e.buf[1]);
  }
  p.s.asleep = p.c.asleep = false;
  pair_end(&p, &l);
  free(tx);
  free(rx);
}

static void ping_pong_sread(void **state) {
  (void) state;
  sleeping_ping_pong(SREAD);
}

static void ping_pong_fd(void **state) {
  (void) state;
  sleeping_ping_pong(FD);
}

/* ---- What fi_trywait and the fds promise ---- */

static void wait_objects(void **state) {
  enum fi_wait_obj obj = FI_WAIT_NONE;

  (void) state;
  pair_sleepers(&p, &l);
  OK(fi_control(&p.c.cq->fid, FI_GETWAITOBJ, &obj));
  assert_int_equal(obj, FI_WAIT_FD);
  obj = FI_WAIT_NONE;
  OK(fi_control(&p.c.eq->fid, FI_GETWAITOBJ, &obj));
  assert_int_equal(obj, FI_WAIT_FD);
  assert_int_not_equal(fd_of(&p.c.cq->fid), fd_of(&p.c.eq->fid));
  REFUSED(fi_control(&p.c.cq->fid, 4711, &obj));
  REFUSED(fi_control(&p.c.eq->fid, 4711, &obj));
  pair_end(&p, &l);
}

/* What is in a queue already keeps its reader awake. */
static void unread_says_again(void **state) {
  uint8_t tx[64], rx[64];
  struct fi_context txc, rxc;
  struct fi_eq_entry entry = {0};
  struct fid *cq, *eq;
  uint32_t event;

  (void) state;
  pair_sleepers(&p, &l);
  cq = &p.s.cq->fid;
  OK(fi_recv(l.s, rx, sizeof(rx), NULL, 0, &rxc));
  p.s.asleep = true;
  OK(fi_send(l.c, tx, sizeof(tx), NULL, 0, &txc));
  wait_comp(&p.c, &txc);
  /* Until the message is in its queue, trywait may go either way; then it must keep saying no. */
  UNTIL(fi_trywait(p.s.fabric, &cq, 1) == -FI_EAGAIN);
  for (unsigned i = 0; i < 10; i++) assert_int_equal(fi_trywait(p.s.fabric, &cq, 1), -FI_EAGAIN);
  p.s.asleep = false;
  wait_comp(&p.s, &rxc);
  assert_int_equal(fi_trywait(p.s.fabric, &cq, 1), FI_SUCCESS);

  eq = &p.c.eq->fid;
  OK(fi_trywait(p.c.fabric, &eq, 1));
  entry.fid = &p.c.domain->fid;
  assert_int_equal(fi_eq_write(p.c.eq, FI_NOTIFY, &entry, sizeof(entry), 0), sizeof(entry));
  struct fid *both[] = {&p.c.cq->fid, eq};
  assert_int_equal(fi_trywait(p.c.fabric, both, 2), -FI_EAGAIN);
  assert_int_equal(fi_eq_read(p.c.eq, &event, &entry, sizeof(entry), 0), sizeof(entry));
  assert_int_equal(event, FI_NOTIFY);
  UNTIL(fi_trywait(p.c.fabric, both, 2) == FI_SUCCESS);
  pair_end(&p, &l);
}

/* How often a sleeper wakes in a while, draining each time. */
static unsigned wakeups(end_t *e, unsigned ms) {
  struct fid *fids[] = {&e->cq->fid, &e->eq->fid};
  struct pollfd pfd[] = {{.fd = fd_of(fids[0]), .events = POLLIN},
                         {.fd = fd_of(fids[1]), .events = POLLIN}};
  uint64_t until = now_ms() + ms, now;
  unsigned n = 0;

  while ((now = now_ms()) < until) {
    pump();
    if (fi_trywait(e->fabric, fids, 2) == FI_SUCCESS) poll(pfd, 2, (int) (until - now));
    if (now_ms() < until) n++;
  }
  return n;
}

static void idle_does_not_wake(void **state) {
  uint8_t rx[64];
  struct fi_context ctx;

  (void) state;
  pair_sleepers(&p, &l);
  OK(fi_recv(l.s, rx, sizeof(rx), NULL, 0, &ctx));
  exchange(&p.s, l.s, &p.c, l.c, 5000, 1);
  settle(10);
  assert_true(wakeups(&p.s, 100) <= FEW);
  assert_true(wakeups(&p.c, 100) <= FEW);
  OK(fi_cancel(&l.s->fid, &ctx));
  wait_error(&p.s, &ctx);
  pair_end(&p, &l);
}

/* After a connection is over its queue sleeps again. */
static void over_does_not_wake(void **state) {
  link_t other;

  (void) state;
  pair_sleepers(&p, &l);
  pair_connect(&p, &other);
  OK(fi_shutdown(other.c, 0));
  wait_event(&p.c, FI_SHUTDOWN, &other.c->fid);
  wait_event(&p.s, FI_SHUTDOWN, &other.s->fid);
  assert_true(wakeups(&p.s, 100) <= FEW); /* not closed yet */
  assert_true(wakeups(&p.c, 100) <= FEW);
  link_close(&other);
  assert_true(wakeups(&p.s, 100) <= FEW);
  alive(&p, &l);
  pair_end(&p, &l);
}

/* A message that waits for a receive keeps nobody awake, and comes as soon as there is one. */
static void no_receive_no_spin(void **state) {
  uint8_t tx[64], rx[64];
  struct fi_context rxc;

  (void) state;
  KNOWN_DEVIATION();
  pair_sleepers(&p, &l);
  fill(tx, sizeof(tx), 1);
  POST(fi_inject(l.c, tx, sizeof(tx), 0));
  settle(20);
  assert_true(wakeups(&p.s, 200) <= FEW);
  OK(fi_recv(l.s, rx, sizeof(rx), NULL, 0, &rxc));
  wait_comp(&p.s, &rxc);
  check(rx, sizeof(rx), 1);
  pair_end(&p, &l);
}

/* ... also for one who sleeps: posting the receive must not leave the message lying. */
static void receive_posted_late(void **state) {
  struct fi_cq_data_entry entry;
  uint8_t tx[64], rx[64];
  struct fi_context rxc;

  (void) state;
  pair_sleepers(&p, &l);
  for (unsigned i = 0; i < 50; i++) {
    fill(tx, sizeof(tx), i);
    POST(fi_inject(l.c, tx, sizeof(tx), 0));
    if (i % 2) settle(2);
    OK(fi_recv(l.s, rx, sizeof(rx), NULL, 0, &rxc));
    assert_int_equal(next_comp(&p.s, FD, fd_of(&p.s.cq->fid), &entry), 1);
    assert_ptr_equal(entry.op_context, &rxc);
    check(rx, sizeof(rx), i);
  }
  pair_end(&p, &l);
}

/* ---- The blocking calls ---- */

static void sread_gives_up(void **state) {
  struct fi_cq_data_entry entry;
  struct fi_eq_cm_entry cm;
  uint32_t event;

  (void) state;
  pair_sleepers(&p, &l);
  for (int ms = 0; ms <= 20; ms += 10) {
    assert_int_equal(fi_cq_sread(p.c.cq, &entry, 1, NULL, ms), -FI_EAGAIN);
    assert_int_equal(fi_eq_sread(p.c.eq, &event, &cm, sizeof(cm), ms, 0), -FI_EAGAIN);
  }
  pair_end(&p, &l);
}

static void *signal_later(void *arg) {
  usleep(20000);
  return fi_cq_signal(arg) != 0 ? arg : NULL;
}

/* fi_cq_signal ends a fi_cq_sread that has nothing to read. */
static void signal_wakes(void **state) {
  struct fi_cq_data_entry entry;
  pthread_t thread;
  void *failed;

  (void) state;
  pair_sleepers(&p, &l);
  assert_int_equal(pthread_create(&thread, NULL, signal_later, p.c.cq), 0);
  uint64_t t0 = now_ms();
  assert_int_equal(fi_cq_sread(p.c.cq, &entry, 1, NULL, 4 * CONFORM_WAIT_MS), -FI_EAGAIN);
  assert_true(now_ms() - t0 < 2 * CONFORM_WAIT_MS);
  pthread_join(thread, &failed);
  assert_null(failed);
  pair_end(&p, &l);
}

typedef struct nap_s {
  ssize_t n;
  uint64_t took; /* milliseconds */
} nap_t;

static void *nap(void *arg) {
  nap_t *nap = arg;
  struct fi_cq_data_entry entry;
  uint64_t t0 = now_ms();

  do nap->n = fi_cq_sread(p.c.cq, &entry, 1, NULL, CONFORM_WAIT_MS);
  while (nap->n == -FI_EINTR);
  nap->took = now_ms() - t0;
  return NULL;
}

/* ... and does so beside one who reads the queue all the time, or asks it for nothing but what is there. */
static void signal_beside_a_reader(void **state) {
  struct fi_cq_data_entry entry;
  pthread_t thread;
  nap_t n;

  (void) state;
  KNOWN_DEVIATION();
  pair_sleepers(&p, &l);
  p.c.asleep = true;
  for (unsigned i = 0; i < 20; i++) {
    n = (nap_t){.n = 0};
    assert_int_equal(pthread_create(&thread, NULL, nap, &n), 0);
    usleep(5000);
    OK(fi_cq_signal(p.c.cq));
    for (uint64_t until = now_ms() + 5; now_ms() < until;)
      assert_int_equal(i % 2 ? fi_cq_read(p.c.cq, &entry, 1)
                             : fi_cq_sread(p.c.cq, &entry, 1, NULL, 0),
                       -FI_EAGAIN);
    pthread_join(thread, NULL);
    assert_int_equal(n.n, -FI_EAGAIN);
    assert_true(n.took < CONFORM_WAIT_MS / 2);
  }
  p.c.asleep = false;
  pair_end(&p, &l);
}

static struct fid_cntr *counter;

static void bind_counter(end_t *e, struct fid_ep *ep) {
  (void) e;
  OK(fi_ep_bind(ep, &counter->fid, FI_SEND | FI_RECV));
}

/* Who was called once from fi_cq_sread does not keep those awake who wait for a counter later. */
static void counter_after_sread(void **state) {
  opts_t o = {.cq_wait = FI_WAIT_FD};
  struct fi_cntr_attr attr = {.events = FI_CNTR_EVENTS_COMP, .wait_obj = FI_WAIT_UNSPEC};
  uint8_t tx[64] = {0}, rx[64];
  struct fi_context txc, rxc;
  struct rusage before, after;
  pthread_t thread;
  nap_t n = {.n = 0};

  (void) state;
  pair_open(&p, &o, &o);
  OK(fi_cntr_open(p.c.domain, &attr, &counter, NULL));
  p.c.bind = bind_counter;
  pair_connect(&p, &l);
  p.c.asleep = true;
  OK(fi_recv(l.s, rx, sizeof(rx), NULL, 0, &rxc));
  assert_int_equal(pthread_create(&thread, NULL, nap, &n), 0);
  usleep(5000);
  OK(fi_send(l.c, tx, sizeof(tx), NULL, 0, &txc));
  pthread_join(thread, NULL);
  assert_int_equal(n.n, 1);
  wait_comp(&p.s, &rxc);
  OK(getrusage(RUSAGE_THREAD, &before));
  assert_int_equal(fi_cntr_wait(counter, 1000, 200), -FI_ETIMEDOUT);
  OK(getrusage(RUSAGE_THREAD, &after));
  assert_true(after.ru_nvcsw - before.ru_nvcsw <= 4 * FEW); /* also for a lock now and then */
  p.c.asleep = false;
  pair_disconnect(&p, &l);
  OK(fi_close(&counter->fid));
  pair_close(&p);
}

/* A connection made and ended by two who sleep in fi_eq_sread. */
typedef struct acceptor_s {
  end_t *end;
  struct fid_ep *ep;
  const char *failed;
} acceptor_t;

static void *acceptor(void *arg) {
  acceptor_t *a = arg;
  struct fi_eq_cm_entry cm;
  uint32_t event = 0;
  ssize_t n = fi_eq_sread(a->end->eq, &event, &cm, sizeof(cm), CONFORM_WAIT_MS, 0);

  if (n != sizeof(cm) || event != FI_CONNREQ) return a->failed = "no FI_CONNREQ", NULL;
  if (fi_endpoint(a->end->domain, cm.info, &a->ep, NULL) != 0 ||
      fi_ep_bind(a->ep, &a->end->eq->fid, 0) != 0 ||
      fi_ep_bind(a->ep, &a->end->cq->fid, FI_TRANSMIT | FI_RECV) != 0 || fi_enable(a->ep) != 0 ||
      fi_accept(a->ep, NULL, 0) != 0)
    a->failed = "fi_accept";
  fi_freeinfo(cm.info);
  n = fi_eq_sread(a->end->eq, &event, &cm, sizeof(cm), CONFORM_WAIT_MS, 0);
  if (n != sizeof(cm) || event != FI_CONNECTED) a->failed = "no FI_CONNECTED";
  return NULL;
}

static void eq_sread_connects(void **state) {
  struct fi_eq_cm_entry cm;
  pthread_t thread;
  uint32_t event = 0;

  (void) state;
  pair_open(&p, NULL, NULL);
  acceptor_t a = {.end = &p.s};
  assert_int_equal(pthread_create(&thread, NULL, acceptor, &a), 0);
  l.c = end_ep(&p.c, p.c.info, NULL);
  OK(fi_connect(l.c, &p.addr, NULL, 0));
  assert_int_equal(fi_eq_sread(p.c.eq, &event, &cm, sizeof(cm), CONFORM_WAIT_MS, 0), sizeof(cm));
  assert_int_equal(event, FI_CONNECTED);
  pthread_join(thread, NULL);
  if (a.failed != NULL) fail_msg("the other end: %s", a.failed);
  l.s = a.ep;
  alive(&p, &l);
  pair_end(&p, &l);
}

/* Nobody looks before a fd says so: connect, talk, be left, all by wait fds. */
static void sleep_until(end_t *const *e, unsigned n) {
  struct pollfd pfd[4];
  bool go = true;

  for (unsigned i = 0; i < n; i++) {
    struct fid *fids[] = {&e[i]->cq->fid, &e[i]->eq->fid};

    if (fi_trywait(e[i]->fabric, fids, 2) != FI_SUCCESS) go = false;
    pfd[2 * i] = (struct pollfd){.fd = fd_of(fids[0]), .events = POLLIN};
    pfd[2 * i + 1] = (struct pollfd){.fd = fd_of(fids[1]), .events = POLLIN};
  }
  if (go && poll(pfd, 2 * n, CONFORM_WAIT_MS) == 0) fail_msg("nothing woke the sleeper");
  pump();
}

#define SLEEP_UNTIL(cond)                                                                          \
  do {                                                                                             \
    end_t *ends_[] = {&p.c, &p.s};                                                                 \
    while (!(cond)) sleep_until(ends_, 2);                                                         \
  } while (0)

static void only_by_fds(void **state) {
  opts_t o = {.cq_wait = FI_WAIT_FD, .eq_wait = FI_WAIT_FD};
  static uint8_t tx[300000], rx[300000];
  struct fi_context txc, rxc;
  event_t ev;
  comp_t c;

  (void) state;
  pair_open(&p, &o, &o);
  for (unsigned i = 0; i < 10; i++) {
    l.c = end_ep(&p.c, p.c.info, NULL);
    OK(fi_connect(l.c, &p.addr, NULL, 0));
    SLEEP_UNTIL(took_event(&p.s, FI_CONNREQ, NULL, &ev));
    l.s = end_ep(&p.s, ev.info, NULL);
    fi_freeinfo(ev.info);
    OK(fi_accept(l.s, NULL, 0));
    SLEEP_UNTIL(took_event(&p.s, FI_CONNECTED, NULL, &ev));
    SLEEP_UNTIL(took_event(&p.c, FI_CONNECTED, NULL, &ev));
    fill(tx, sizeof(tx), i);
    OK(fi_recv(l.s, rx, sizeof(rx), NULL, 0, &rxc));
    OK(fi_send(l.c, tx, sizeof(tx), NULL, 0, &txc));
    SLEEP_UNTIL(took(&p.s, &rxc, &c));
    assert_int_equal(c.err, 0);
    check(rx, sizeof(rx), i);
    SLEEP_UNTIL(took(&p.c, &txc, &c));
    OK(fi_recv(l.s, rx, sizeof(rx), NULL, 0, &rxc));
    ep_close(l.c);
    SLEEP_UNTIL(took(&p.s, &rxc, &c));
    assert_int_equal(c.err, FI_ECANCELED);
    SLEEP_UNTIL(took_event(&p.s, FI_SHUTDOWN, &l.s->fid, &ev));
    ep_close(l.s);
  }
  pair_close(&p);
}

/* ---- No descriptors ---- */

enum { FULL = 1024 };
static int fillers[FULL];
static unsigned nfillers;
static struct rlimit limit;

static void fill_descriptors(void) {
  struct rlimit low = {FULL, limit.rlim_max};

  OK(setrlimit(RLIMIT_NOFILE, &low));
  while (nfillers < FULL && (fillers[nfillers] = dup(0)) >= 0) nfillers++;
  assert_true(nfillers < FULL && errno == EMFILE);
}

static int read_limit(void **state) {
  return conform_setup(state) != 0 || getrlimit(RLIMIT_NOFILE, &limit) != 0;
}

static int free_descriptors(void **state) {
  (void) state;
  while (nfillers > 0) close(fillers[--nfillers]);
  return setrlimit(RLIMIT_NOFILE, &limit);
}

/* A listener that has no descriptor for who knocks: it sleeps meanwhile, and accepts him later. */
static void listener_out_of_descriptors(void **state) {
  int fd;

  (void) state;
  KNOWN_DEVIATION();
  pair_sleepers(&p, &l);
  pair_disconnect(&p, &l);
  fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_true(fd >= 0);
  fill_descriptors();
  OK(connect(fd, (struct sockaddr *) &p.addr, (socklen_t) p.addrlen));
  assert_true(wakeups(&p.s, 200) <= FEW);
  assert_true(wakeups(&p.s, 200) <= FEW);
  close(fd); /* one is free: the first who knocked has it, and goes at once */
  settle(50);
  free_descriptors(NULL);
  pair_connect(&p, &l); /* behind him */
  alive(&p, &l);
  assert_true(wakeups(&p.s, 100) <= FEW);
  pair_end(&p, &l);
}

/* ... and may be closed while it does not accept. */
static void listener_closed_without_descriptors(void **state) {
  int fd;

  (void) state;
  pair_sleepers(&p, &l);
  fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_true(fd >= 0);
  fill_descriptors();
  OK(connect(fd, (struct sockaddr *) &p.addr, (socklen_t) p.addrlen));
  settle(20);
  OK(fi_close(&p.s.pep->fid));
  p.s.pep = NULL;
  settle(150); /* longer than it takes to try again */
  free_descriptors(NULL);
  close(fd);
  alive(&p, &l);
  pair_end(&p, &l);
}

#define FULL_CASE(fn) cmocka_unit_test_setup_teardown(fn, read_limit, free_descriptors)

static const struct CMUnitTest tests[] = {
    CASE(ping_pong_sread),
    CASE(ping_pong_fd),
    CASE(wait_objects),
    CASE(unread_says_again),
    CASE(idle_does_not_wake),
    CASE(over_does_not_wake),
    CASE(no_receive_no_spin),
    CASE(receive_posted_late),
    CASE(sread_gives_up),
    CASE(signal_wakes),
    CASE(signal_beside_a_reader),
    CASE(counter_after_sread),
    CASE(eq_sread_connects),
    CASE(only_by_fds),
    FULL_CASE(listener_out_of_descriptors),
    FULL_CASE(listener_closed_without_descriptors),
};

CONFORM_MAIN(tests)
