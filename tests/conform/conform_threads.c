/* SPDX-License-Identifier: Apache-2.0 */
/* conform_threads.c - FI_THREAD_SAFE: one thread moves data while another makes and ends connections of
 * the same domain, and what they see of one another is whole.
 *
 * ctest: labels=tsan
 *
 * Design notes
 *  - The threads call libfabric alone; pump() and what cmocka asserts belong to the main one. What a
 *    thread finds wrong is a sentence that the main one fails with.
 *  - Built with ThreadSanitizer these cases are about data races; without, about deadlocks and losses. */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "lib_conform.h"

static pair_t p;
static link_t l;

#define WRONG(what)                                                                                \
  do {                                                                                             \
    const char *none_ = NULL;                                                                      \
    atomic_compare_exchange_strong(&wrong, &none_, (what));                                        \
    return false;                                                                                  \
  } while (0)

static _Atomic(const char *) wrong; /* the first thing that was */
static atomic_bool stop;
static atomic_uint flushed; /* receives of the other thread's endpoints that came back */
static char others;         /* their context */

static void begin(void) {
  opts_t o = {.cq_wait = FI_WAIT_FD, .eq_wait = FI_WAIT_FD};

  atomic_store(&wrong, NULL);
  atomic_store(&stop, false);
  atomic_store(&flushed, 0);
  pair_open(&p, &o, &o);
  pair_connect(&p, &l);
  p.c.asleep = p.s.asleep = p.c.deaf = p.s.deaf = true;
}

static void end(void) {
  if (atomic_load(&wrong) != NULL) fail_msg("%s", atomic_load(&wrong));
  p.c.asleep = p.s.asleep = p.c.deaf = p.s.deaf = false;
  alive(&p, &l);
  pair_end(&p, &l);
}

/* ---- The thread that moves data ---- */

/* One completion, unless none comes for a while; 1, 0, or false after something wrong. */
static bool next(end_t *e, bool sleep, const void *want, bool *got) {
  struct fi_cq_data_entry c;
  ssize_t n = sleep ? fi_cq_sread(e->cq, &c, 1, NULL, 5) : fi_cq_read(e->cq, &c, 1);

  *got = false;
  if (n == -FI_EAGAIN || n == -FI_EINTR) return true;
  if (n == -FI_EAVAIL) {
    struct fi_cq_err_entry err = {0};

    if (fi_cq_readerr(e->cq, &err, 0) != 1) WRONG("-FI_EAVAIL, and no entry in error");
    if (err.op_context != &others) WRONG("an error of the connection that stays");
    atomic_fetch_add(&flushed, 1);
    return true;
  }
  if (n != 1) WRONG("fi_cq_read failed");
  if (c.op_context == &others) WRONG("a receive of a connection that never had data");
  *got = c.op_context == want;
  return true;
}

static bool one_way(end_t *from, struct fid_ep *a, end_t *to, struct fid_ep *b, unsigned turn) {
  static uint8_t tx[20000], rx[20000];
  struct fi_context txc, rxc;
  uint64_t until = now_ms() + CONFORM_WAIT_MS;
  size_t len = turn % 7 == 0 ? sizeof(tx) : 1 + turn % 3000;
  bool sent = false, received = false, got;

  memset(rx, 0, len);
  memset(tx, (int) (turn | 1), len);
  if (fi_recv(b, rx, len, NULL, 0, &rxc) != 0) WRONG("fi_recv was refused");
  if (fi_send(a, tx, len, NULL, 0, &txc) != 0) WRONG("fi_send was refused");
  while (!sent || !received) {
    if (now_ms() > until) WRONG("a message was lost");
    if (!next(from, false, &txc, &got)) return false;
    sent |= got;
    if (!next(to, turn % 2 != 0, &rxc, &got)) return false;
    received |= got;
  }
  if (memcmp(tx, rx, len) != 0) WRONG("wrong data");
  return true;
}

static void *mover(void *arg) {
  (void) arg;
  for (unsigned turn = 0; !atomic_load(&stop); turn++)
    if (!one_way(&p.c, l.c, &p.s, l.s, turn) || !one_way(&p.s, l.s, &p.c, l.c, turn)) break;
  return NULL;
}

/* ---- The thread that makes connections ---- */

/* The next event of an end; the other one's queue is only kept going. */
static bool event(end_t *e, uint32_t want, fid_t fid, struct fi_info **info) {
  end_t *other = e == &p.c ? &p.s : &p.c;
  uint64_t until = now_ms() + CONFORM_WAIT_MS;
  uint8_t room[sizeof(struct fi_eq_cm_entry) + 256];
  struct fi_eq_cm_entry *cm = (struct fi_eq_cm_entry *) room;
  uint32_t got = 0;
  ssize_t n = -FI_EAGAIN;

  while (n == -FI_EAGAIN && now_ms() < until) {
    (void) fi_eq_read(other->eq, &got, room, sizeof(room), FI_PEEK);
    n = fi_eq_sread(e->eq, &got, room, sizeof(room), 1, 0);
  }
  if (n < (ssize_t) sizeof(*cm)) WRONG("an event that did not come");
  if (got != want || cm->fid != fid) WRONG("an event that nobody expected");
  if (info != NULL) *info = cm->info;
  return true;
}

static bool come_and_go(unsigned turn) {
  static uint8_t rx[4][64];
  struct fi_info *info = NULL;
  link_t o;

  o.c = end_ep(&p.c, p.c.info, NULL);
  for (unsigned i = 0; i < 4; i++) OK(fi_recv(o.c, rx[i], 64, NULL, 0, &others));
  OK(fi_connect(o.c, &p.addr, NULL, 0));
  if (!event(&p.s, FI_CONNREQ, &p.s.pep->fid, &info)) return false;
  o.s = end_ep(&p.s, info, NULL);
  fi_freeinfo(info);
  for (unsigned i = 0; i < 4; i++) OK(fi_recv(o.s, rx[i], 64, NULL, 0, &others));
  OK(fi_accept(o.s, NULL, 0));
  if (!event(&p.s, FI_CONNECTED, &o.s->fid, NULL)) return false;
  if (!event(&p.c, FI_CONNECTED, &o.c->fid, NULL)) return false;
  switch (turn % 3) {
  case 0:
    OK(fi_shutdown(o.c, 0));
    if (!event(&p.c, FI_SHUTDOWN, &o.c->fid, NULL)) return false;
    if (!event(&p.s, FI_SHUTDOWN, &o.s->fid, NULL)) return false;
    break;
  case 1:
    ep_close(o.c);
    o.c = NULL;
    if (!event(&p.s, FI_SHUTDOWN, &o.s->fid, NULL)) return false;
    break;
  default: break; /* both at once */
  }
  link_close(&o);
  return true;
}

static void data_and_connections(void **state) {
  enum { TURNS = 150 };
  pthread_t t;
  unsigned turn;
  uint64_t until;

  (void) state;
  begin();
  assert_int_equal(pthread_create(&t, NULL, mover, NULL), 0);
  for (turn = 0; turn < TURNS && come_and_go(turn); turn++) continue;
  until = now_ms() + CONFORM_WAIT_MS; /* the mover reads them */
  while (atomic_load(&wrong) == NULL && atomic_load(&flushed) != turn * 8 && now_ms() < until)
    continue;
  atomic_store(&stop, true);
  pthread_join(t, NULL);
  if (atomic_load(&wrong) == NULL) assert_int_equal(atomic_load(&flushed), TURNS * 8);
  end();
}

/* ---- One endpoint, known to both ---- */

static struct fid_ep *shared;

/* Asks and tries what it may at any time, until it is told to stop. */
static void *user(void *arg) {
  static uint8_t buf[64];
  struct sockaddr_in sa;
  size_t len;

  (void) arg;
  while (!atomic_load(&stop)) {
    len = sizeof(sa);
    (void) fi_getname(&shared->fid, &sa, &len);
    len = sizeof(sa);
    (void) fi_getpeer(shared, &sa, &len);
    (void) fi_inject(shared, buf, sizeof(buf), 0);
    (void) fi_cancel(&shared->fid, buf);
  }
  return NULL;
}

/* A connect that fails, and one that is accepted: whoever uses the endpoint meanwhile sees one state of it
 * or another. */
static void used_while_connecting(void **state) {
  struct sockaddr_in none;
  socklen_t len = sizeof(none);
  struct fi_info *info = NULL;
  struct fid_ep *accepted;
  pthread_t t;

  (void) state;
  KNOWN_DEVIATION();
  begin();
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* bound, and nobody listens */
  none = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  assert_int_equal(bind(fd, (struct sockaddr *) &none, len), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *) &none, &len), 0);
  for (unsigned turn = 0; turn < 40; turn++) {
    bool fails = turn % 2 == 0;

    shared = end_ep(&p.c, p.c.info, NULL);
    atomic_store(&stop, false);
    assert_int_equal(pthread_create(&t, NULL, user, NULL), 0);
    accepted = NULL;
    OK(fi_connect(shared, fails ? (void *) &none : &p.addr, NULL, 0));
    if (fails) {
      struct fi_eq_err_entry err = {0};
      struct fi_eq_cm_entry cm;
      uint32_t got;
      ssize_t n = -FI_EAGAIN;

      for (uint64_t until = now_ms() + CONFORM_WAIT_MS; n == -FI_EAGAIN && now_ms() < until;)
        n = fi_eq_read(p.c.eq, &got, &cm, sizeof(cm), 0);
      assert_int_equal(n, -FI_EAVAIL);
      assert_true(fi_eq_readerr(p.c.eq, &err, 0) > 0);
      assert_int_equal(err.err, FI_ECONNREFUSED);
    } else {
      assert_true(event(&p.s, FI_CONNREQ, &p.s.pep->fid, &info));
      accepted = end_ep(&p.s, info, NULL);
      fi_freeinfo(info);
      OK(fi_accept(accepted, NULL, 0));
      assert_true(event(&p.s, FI_CONNECTED, &accepted->fid, NULL));
      assert_true(event(&p.c, FI_CONNECTED, &shared->fid, NULL));
    }
    atomic_store(&stop, true);
    pthread_join(t, NULL);
    ep_close(shared);
    ep_close(accepted);
  }
  close(fd);
  end();
}

/* ---- One accepts, another sends as soon as it hears so ---- */

static void *teller(void *arg) {
  link_t *o = arg;
  static uint8_t byte;

  if (event(&p.s, FI_CONNECTED, &o->s->fid, NULL) && fi_inject(o->s, &byte, 1, 0) != 0) {
    const char *none = NULL;

    atomic_compare_exchange_strong(&wrong, &none, "FI_CONNECTED came before the endpoint was up");
  }
  return NULL;
}

/* Who has read FI_CONNECTED may send. */
static void connected_means_up(void **state) {
  struct fi_info *info = NULL;
  struct fi_context ctx;
  uint8_t byte;
  pthread_t t;
  link_t o;

  (void) state;
  begin();
  for (unsigned turn = 0; turn < 300 && atomic_load(&wrong) == NULL; turn++) {
    o.c = end_ep(&p.c, p.c.info, NULL);
    OK(fi_recv(o.c, &byte, 1, NULL, 0, &ctx));
    OK(fi_connect(o.c, &p.addr, NULL, 0));
    assert_true(event(&p.s, FI_CONNREQ, &p.s.pep->fid, &info));
    o.s = end_ep(&p.s, info, NULL);
    fi_freeinfo(info);
    assert_int_equal(pthread_create(&t, NULL, teller, &o), 0);
    OK(fi_accept(o.s, NULL, 0));
    pthread_join(t, NULL);
    assert_true(event(&p.c, FI_CONNECTED, &o.c->fid, NULL));
    if (atomic_load(&wrong) == NULL) {
      p.c.asleep = false;
      wait_comp(&p.c, &ctx);
      p.c.asleep = true;
    }
    link_close(&o);
  }
  end();
}

/* ---- One writes events, another takes them and lies down ---- */

enum { EVENTS = 3000 };
static atomic_uint written, slept;

static void *writer(void *arg) {
  struct fi_eq_entry entry = {.fid = &p.s.domain->fid};
  const char *none = NULL;

  (void) arg;
  for (unsigned i = 0; i < EVENTS && !atomic_load(&stop); i++) {
    if (fi_eq_write(p.s.eq, FI_NOTIFY, &entry, sizeof(entry), 0) != sizeof(entry))
      atomic_compare_exchange_strong(&wrong, &none, "fi_eq_write");
    atomic_store(&written, i + 1);
    while (atomic_load(&slept) != i + 1 && !atomic_load(&stop)) sched_yield();
  }
  return NULL;
}

/* After fi_trywait the descriptor is ready for what comes, never for what was taken. */
static void taken_events_wake_nobody(void **state) {
  struct pollfd pfd = {.events = POLLIN};
  struct fi_eq_entry entry;
  uint64_t until = now_ms() + 2 * CONFORM_WAIT_MS;
  struct fid *eq;
  uint32_t event;
  unsigned awake = 0;
  pthread_t t;

  (void) state;
  begin();
  eq = &p.s.eq->fid;
  pfd.fd = fd_of(eq);
  atomic_store(&written, 0);
  atomic_store(&slept, 0);
  assert_int_equal(pthread_create(&t, NULL, writer, NULL), 0);
  for (unsigned i = 0; i < EVENTS && now_ms() < until; i++) {
    while (fi_eq_read(p.s.eq, &event, &entry, sizeof(entry), 0) != sizeof(entry) &&
           now_ms() < until)
      continue;
    (void) fi_trywait(p.s.fabric, &eq, 1); /* while fi_eq_write returns */
    while (atomic_load(&written) != i + 1 && now_ms() < until) continue;
    for (unsigned k = 0; k < 3; k++) { /* once or twice may be for something else, as a deadline */
      if (fi_trywait(p.s.fabric, &eq, 1) == FI_SUCCESS && poll(&pfd, 1, 0) == 0) break;
      if (fi_eq_read(p.s.eq, &event, &entry, sizeof(entry), 0) != -FI_EAGAIN || k == 2) awake++;
    }
    atomic_store(&slept, i + 1);
  }
  atomic_store(&stop, true);
  pthread_join(t, NULL);
  assert_int_equal(awake, 0);
  end();
}

static const struct CMUnitTest tests[] = {
    CASE(data_and_connections),
    CASE(used_while_connecting),
    CASE(connected_means_up),
    CASE(taken_events_wake_nobody),
};

CONFORM_MAIN(tests)
