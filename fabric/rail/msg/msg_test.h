/* SPDX-License-Identifier: Apache-2.0 */
/* msg_test.h - what this folder's tests share: an environment with a worker, two rails, and a
 * recording owner.
 *
 * Design notes
 *  - Both ends live in one thread; pump() is the loop: jobs that are done, then drains of both
 *    rails.
 *  - Every wait has a time limit, so a test that would hang fails instead.
 *  - WEFT_TEST_RAILS="verbs 10.9.0.1 10.9.0.2" runs the tests between these two addresses instead
 *    of tcp's loopback. */
#ifndef WEFT_RAIL_MSG_TEST_H
#define WEFT_RAIL_MSG_TEST_H

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib_skip.h"

#include "base/fault.h"
#include "internal.h"

/* Each test uses what it needs of this file. */
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-const-variable"

/* ---- Environment ---- */

typedef struct kit {
  weft__env_t env;
  uint64_t now;
  pthread_mutex_t lock;
  weft__job_t *done;
  unsigned running;
  weft__rail_t *rails[4];
  unsigned nrails;
} kit_t;

static uint64_t clock_ns(void) {
  struct timespec ts;

  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (uint64_t) ts.tv_sec * 1000000000u + (uint64_t) ts.tv_nsec;
}

struct kit_thread {
  kit_t *kit;
  weft__job_t *job;
};

static void *kit_run(void *arg) {
  struct kit_thread *t = arg;
  kit_t *k = t->kit;

  t->job->run(t->job);
  pthread_mutex_lock(&k->lock);
  t->job->next = k->done;
  k->done = t->job;
  pthread_mutex_unlock(&k->lock);
  free(t);
  return NULL;
}

static int kit_work(weft__env_t *env, weft__job_t *job) {
  kit_t *k = (kit_t *) env;
  struct kit_thread *t = malloc(sizeof(*t));
  pthread_t id;

  *t = (struct kit_thread){.kit = k, .job = job};
  k->running++;
  if (pthread_create(&id, NULL, kit_run, t) != 0) abort();
  pthread_detach(id);
  return 0;
}

static void kit_init(kit_t *k) {
  memset(k, 0, sizeof(*k));
  pthread_mutex_init(&k->lock, NULL);
  k->now = clock_ns();
  k->env = (weft__env_t){.work = kit_work,
                         .work_long = kit_work,
                         .now_ns = &k->now,
                         .rx_depth = 32,
                         .tx_depth = 64,
                         .pool_bytes = 256u << 20};
}

static void kit_jobs(kit_t *k) {
  weft__job_t *j, *next;

  pthread_mutex_lock(&k->lock);
  j = k->done;
  k->done = NULL;
  pthread_mutex_unlock(&k->lock);
  for (; j != NULL; j = next) {
    next = j->next;
    k->running--;
    j->done(j);
  }
}

static int pump(kit_t *k) {
  unsigned i;
  int n = 0;

  k->now = clock_ns();
  kit_jobs(k);
  for (i = 0; i < k->nrails; i++) n += weft__rail_drain(k->rails[i], WEFT__DRAIN_ALL);
  return n;
}

#define WAIT_MS 20000
#define UNTIL(k, cond)                                                                             \
  do {                                                                                             \
    uint64_t t0_ = clock_ns();                                                                     \
    while (!(cond)) {                                                                              \
      pump(k);                                                                                     \
      if (clock_ns() - t0_ > WAIT_MS * 1000000ull)                                                 \
        fail_msg("waited %d s for: %s", WAIT_MS / 1000, #cond);                                    \
    }                                                                                              \
  } while (0)

/* Nothing may happen for a while. */
static void settle_for(kit_t *k, unsigned ms) {
  uint64_t t0 = clock_ns();

  while (clock_ns() - t0 < ms * 1000000ull) pump(k);
}

static weft__rail_t *kit_open(kit_t *k, const char *provider, const char *ip) {
  weft__cand_list_t list;
  weft__rail_t *rail = NULL;
  char text[80], err[256] = "";
  unsigned i;

  assert_int_equal(weft__cand_scan(provider, "", &list), 0);
  for (i = 0; i < list.n; i++)
    if (list.v[i].why == WEFT_WHY_OK && strcmp(list.v[i].provider, provider) == 0 &&
        strcmp(weft__sa_str(&list.v[i].addr, text, sizeof(text)), ip) == 0)
      break;
  if (i < list.n && weft__rail_open(&k->env, &list.v[i], &rail, err, sizeof(err)) != 0)
    fail_msg("%s", err);
  weft__cand_free(&list);
  if (rail != NULL) k->rails[k->nrails++] = rail;
  return rail;
}

static void kit_close(kit_t *k) {
  unsigned i;
  uint64_t t0 = clock_ns();

  for (i = 0; i < k->nrails; i++) weft__rail_close(k->rails[i]);
  k->nrails = 0;
  while (k->running != 0) {
    kit_jobs(k);
    if (clock_ns() - t0 > WAIT_MS * 1000000ull) fail_msg("jobs hang");
  }
  pthread_mutex_destroy(&k->lock);
}

/* ---- An owner of a path that writes down what it is told ---- */

typedef struct end end_t;
struct end {
  weft__path_t *path;
  unsigned connected, frames, writable, downs, closed, rma_done;
  int err, rma_status;
  char why[256];
  uint8_t blob[CM_DATA_MAX];
  size_t bloblen;
  uint64_t bytes, sum;
  bool echo, check;
  uint32_t next; /* the number the next frame must carry */
  void (*on_frame)(end_t *, weft__rbuf_t *);
  void (*on_writable)(end_t *);
  void (*on_down)(end_t *);
  void *data;
};

static void end_connected(weft__path_t *p, const void *blob, size_t len) {
  end_t *e = p->user;

  e->connected++;
  e->bloblen = len;
  memcpy(e->blob, blob, len < sizeof(e->blob) ? len : sizeof(e->blob));
}

static void fill(uint8_t *data, uint32_t len, uint32_t seed) {
  uint32_t i;

  memcpy(data, &seed, len < 4 ? len : 4);
  for (i = 4; i < len; i++) data[i] = (uint8_t) (seed + i * 7);
}

static void check(const uint8_t *data, uint32_t len, uint32_t seed) {
  uint32_t i, got = 0;

  memcpy(&got, data, len < 4 ? len : 4);
  assert_int_equal(got, seed);
  for (i = 4; i < len; i++)
    if (data[i] != (uint8_t) (seed + i * 7)) fail_msg("frame %u, byte %u", seed, i);
}

static void end_frame(weft__path_t *p, weft__rbuf_t *b) {
  end_t *e = p->user;

  assert_int_equal(e->closed, 0);
  assert_int_equal((uintptr_t) b->data % 8, 0);
  e->frames++;
  e->bytes += b->len;
  if (e->check) check(b->data, b->len, e->next++);
  if (e->on_frame != NULL) e->on_frame(e, b);
  if (e->echo) {
    weft__tbuf_t *t = p->ops->tx_get(p);
    assert_non_null(t);
    memcpy(t->data, b->data, b->len);
    assert_int_equal(p->ops->send(p, t, b->len), 0);
  }
}

static void end_writable(weft__path_t *p) {
  end_t *e = p->user;

  e->writable++;
  if (e->on_writable != NULL) e->on_writable(e);
}

static void end_rma_done(weft__path_t *p, weft__rma_t *r, int status) {
  end_t *e = p->user;

  (void) r;
  assert_int_equal(e->closed, 0);
  e->rma_done++;
  e->rma_status = status;
}

static void end_down(weft__path_t *p, int err, const char *why, const void *blob, size_t len) {
  end_t *e = p->user;

  e->downs++;
  e->err = err;
  snprintf(e->why, sizeof(e->why), "%s", why);
  e->bloblen = len;
  if (blob != NULL) memcpy(e->blob, blob, len);
  if (e->on_down != NULL) e->on_down(e);
}

static void end_closed(weft__path_t *p) {
  end_t *e = p->user;

  e->closed++;
}

static const weft__path_cbs_t end_cbs = {
    .connected = end_connected,
    .frame = end_frame,
    .writable = end_writable,
    .rma_done = end_rma_done,
    .down = end_down,
    .closed = end_closed,
};

/* ---- A listener that accepts (or not) ---- */

typedef struct door {
  weft__lst_t *lst;
  unsigned requests, failed;
  bool hold, refuse;
  weft__req_t *held;
  uint8_t blob[CM_DATA_MAX];
  size_t bloblen;
  char peer[80];
  const void *answer;
  size_t answerlen;
  end_t *ends;  /* taken in order, */
  bool by_blob; /* or by the number that the request carries */
  unsigned nends, taken;
  int accept_err;
} door_t;

static void door_request(weft__lst_t *l, weft__req_t *q) {
  door_t *d = weft__lst_user(l);
  const void *blob;
  end_t *e;

  d->requests++;
  blob = weft__req_blob(q, &d->bloblen);
  memcpy(d->blob, blob, d->bloblen);
  weft__sa_str(weft__req_peer(q), d->peer, sizeof(d->peer));
  if (d->hold) {
    d->held = q;
    return;
  }
  if (d->refuse || d->taken == d->nends) {
    weft__req_reject(q, d->answer, d->answerlen);
    return;
  }
  e = &d->ends[d->taken];
  if (d->by_blob) {
    unsigned i;
    memcpy(&i, d->blob, sizeof(i));
    assert_true(d->bloblen == sizeof(i) && i < d->nends);
    e = &d->ends[i];
  }
  d->accept_err = weft__req_accept(q, d->answer, d->answerlen, &end_cbs, e, &e->path);
  if (d->accept_err == 0) d->taken++;
}

static void door_failed(weft__lst_t *l, int err, const char *why) {
  door_t *d = weft__lst_user(l);

  (void) err;
  (void) why;
  d->failed++;
}

static const weft__lst_cbs_t door_cbs = {.request = door_request, .failed = door_failed};

static void door_open(door_t *d, weft__rail_t *rail, end_t *ends, unsigned n) {
  struct sockaddr_storage ss;

  memcpy(&ss, weft__rail_addr(rail), sizeof(ss));
  weft__sa_set_port(&ss, 0);
  d->ends = ends;
  d->nends = n;
  assert_int_equal(weft__rail_listen(rail, (struct sockaddr *) &ss, weft__sa_len(&ss), 64,
                                     &door_cbs, d, &d->lst),
                   0);
  assert_int_not_equal(weft__sa_port(weft__lst_addr(d->lst)), 0);
}

static void dial(weft__rail_t *rail, door_t *d, end_t *e, const void *blob, size_t len) {
  const struct sockaddr *to = weft__lst_addr(d->lst);

  assert_int_equal(weft__rail_connect(rail, to, weft__sa_len(to), blob, len, &end_cbs, e, &e->path),
                   0);
}

/* Two rails, a listener, one path up on both ends. */
typedef struct pair {
  kit_t k;
  weft__rail_t *a, *b;
  door_t door;
  end_t x, y; /* connecting end, accepting end */
} pair_t;

/* Which provider and address the connecting (0) or the accepting (1) end has. */
static const char *kit_where(int which, const char *ip, char *provider, char *buf) {
  const char *env = getenv("WEFT_TEST_RAILS");
  char addr[2][64];

  strcpy(provider, WEFT_TEST_TCP);
  if (env == NULL) return ip;
  if (sscanf(env, "%31s %63s %63s", provider, addr[0], addr[1]) != 3)
    fail_msg("WEFT_TEST_RAILS=%s: not PROVIDER ADDRESS ADDRESS", env);
  return strcpy(buf, addr[which]);
}

/* The system's TCP, whoever carries it. */
static bool kit_is_tcp(void) {
  const char *env = getenv("WEFT_TEST_RAILS");

  return env == NULL || strncmp(env, "tcp ", 4) == 0 || strncmp(env, "ksock ", 6) == 0;
}

static bool kit_is_siw(const weft__rail_t *rail) {
  return strncmp(weft__rail_device(rail), "siw", 3) == 0;
}

static weft__rail_t *kit_end(kit_t *k, int which, const char *ip) {
  char provider[32], buf[64];
  const char *at = kit_where(which, ip, provider, buf);

  return kit_open(k, provider, at);
}

/* False: this machine has no IPv6 loopback. IPv4's, and what was asked for, is there. */
static bool pair_rails_try(pair_t *t, const char *ip) {
  memset(t, 0, sizeof(*t));
  kit_init(&t->k);
  t->a = kit_end(&t->k, 0, ip);
  t->b = kit_end(&t->k, 1, ip);
  if (t->a == NULL || t->b == NULL) {
    if (strchr(ip, ':') == NULL || getenv("WEFT_TEST_RAILS") != NULL)
      fail_msg("no rail can be opened at %s", ip);
    return false;
  }
  door_open(&t->door, t->b, &t->y, 1);
  return true;
}

#define pair_rails(t, ip)                                                                          \
  do {                                                                                             \
    if (!pair_rails_try(t, ip)) skip_case("no IPv6 loopback");                                     \
  } while (0)

static void pair_connect(pair_t *t) {
  dial(t->a, &t->door, &t->x, "hello", 5);
  UNTIL(&t->k, t->x.connected && t->door.taken == 1);
}

static void end_close(kit_t *k, end_t *e) {
  if (e->path == NULL) return;
  e->path->ops->close(e->path);
  UNTIL(k, e->closed == 1);
  e->path = NULL;
}

static void pair_close(pair_t *t) {
  end_close(&t->k, &t->x);
  end_close(&t->k, &t->y);
  if (t->door.lst != NULL) weft__lst_close(t->door.lst);
  kit_close(&t->k);
}

static void send_number(end_t *e, uint32_t number, uint32_t len) {
  weft__tbuf_t *t = e->path->ops->tx_get(e->path);

  assert_non_null(t);
  assert_true(t->cap >= WEFT__FRAME_MAX);
  fill(t->data, len, number);
  assert_int_equal(e->path->ops->send(e->path, t, len), 0);
}

#endif
