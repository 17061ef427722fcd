/* SPDX-License-Identifier: Apache-2.0 */
/* pool_test.c - buffers: promises, limits, and holders on other threads who outlive the rail. */
#include "msg_test.h"

enum { SLOT = WEFT__FRAME_MAX + 128 };

static void promises_and_limit(void **state) {
  weft__pool_cfg_t cfg = {.max_bytes = 100 * SLOT};
  weft__pool_t *pool;
  weft__buf_t *b[128];
  unsigned i, n;

  (void) state;
  assert_int_equal(weft__pool_new(&cfg, &pool), 0);
  assert_int_equal(weft__pool_total(pool), 0); /* nothing is taken before it is needed */
  assert_true(weft__pool_reserve(pool, 40));
  assert_false(weft__pool_reserve(pool, 60));
  for (i = 0; i < 40; i++) {
    b[i] = weft__pool_get(pool, WEFT__POOL_RX);
    assert_non_null(b[i]);
    assert_int_equal((uintptr_t) b[i]->t.data % 8, 0);
    assert_true(b[i]->t.cap >= WEFT__FRAME_MAX);
    memset(b[i]->t.data, (int) i, b[i]->t.cap);
  }
  for (i = 0; i < 40; i++) assert_int_equal(b[i]->t.data[WEFT__FRAME_MAX - 1], i);
  for (n = 40; n < 128 && (b[n] = weft__pool_get_extra(pool, false)) != NULL; n++)
    ;
  assert_int_equal(n, 100);
  b[n] = weft__pool_get_extra(pool, true);
  assert_non_null(b[n++]);
  for (i = 0; i < 40; i++) weft__pool_put(pool, b[i]);
  for (; i < n; i++) weft__pool_put_extra(pool, b[i]);
  weft__pool_unreserve(pool, 40);
  assert_int_equal(weft__pool_total(pool), 128);
  weft__pool_drop(pool);
}

/* A registration of one kind, as the chunk's descriptor. */
static unsigned regs[2], unregs;
static int fake_reg(void *arg, weft__pool_kind kind, void *base, size_t len, void **mr,
                    void **desc) {
  (void) base;
  assert_ptr_equal(arg, regs);
  assert_true(len >= 64 * SLOT);
  regs[kind]++;
  *desc = *mr = &regs[kind];
  return 0;
}
static void fake_unreg(void *arg, void *mr) {
  assert_ptr_equal(arg, regs);
  assert_true(mr == &regs[0] || mr == &regs[1]);
  unregs++;
}

/* What is sent never lies in memory that the device may write to, whoever had the buffer before. */
static void kinds_stay_apart(void **state) {
  weft__pool_cfg_t cfg = {
      .max_bytes = 1000 * SLOT, .reg = fake_reg, .unreg = fake_unreg, .arg = regs};
  weft__pool_t *pool;
  weft__buf_t *rx[100], *tx[100];
  unsigned i, round;

  (void) state;
  regs[0] = regs[1] = unregs = 0;
  assert_int_equal(weft__pool_new(&cfg, &pool), 0);
#ifdef WEFT_FAULTS
  assert_int_equal(weft__fault_set("pool_grow:1:ENOMEM"), 0);
  assert_int_equal(weft__pool_stock(pool, WEFT__POOL_RX), -ENOMEM);
  assert_int_equal(weft__fault_set(NULL), 0);
#endif
  assert_int_equal(weft__pool_stock(pool, WEFT__POOL_RX), 0);
  assert_int_equal(weft__pool_stock(pool, WEFT__POOL_TX), 0);
  assert_int_equal(weft__pool_stock(pool, WEFT__POOL_TX), 0); /* is there */
  assert_int_equal(regs[WEFT__POOL_RX], 1);
  assert_int_equal(regs[WEFT__POOL_TX], 1);
  for (round = 0; round < 3; round++) {
    for (i = 0; i < 100; i++) {
      rx[i] = weft__pool_get(pool, WEFT__POOL_RX);
      tx[i] = i % 2 ? weft__pool_get(pool, WEFT__POOL_TX) : weft__pool_get_extra(pool, false);
      assert_ptr_equal(rx[i]->desc, &regs[WEFT__POOL_RX]);
      assert_ptr_equal(tx[i]->desc, &regs[WEFT__POOL_TX]);
    }
    for (i = 0; i < 100; i++) {
      rx[i]->r.refs = 1;
      weft__rbuf_ref(&rx[i]->r); /* one half comes back from a user */
      if (i % 2)
        weft__pool_lend(pool, rx[i]), weft__rbuf_unref(&rx[i]->r);
      else
        weft__pool_put(pool, rx[i]);
      if (i % 2)
        weft__pool_put(pool, tx[i]);
      else
        weft__pool_put_extra(pool, tx[i]);
    }
  }
  assert_int_equal(regs[WEFT__POOL_RX], 2);
  assert_int_equal(regs[WEFT__POOL_TX], 2);
  weft__pool_drop(pool);
  assert_int_equal(unregs, 4);
}

/* Holders who ask `low` first can never take what is promised. */
static void low_water(void **state) {
  weft__pool_cfg_t cfg = {.max_bytes = 100 * SLOT};
  weft__pool_t *pool;
  weft__buf_t *kept[128], *b;
  unsigned n = 0, i;

  (void) state;
  weft__pool_new(&cfg, &pool);
  assert_true(weft__pool_reserve(pool, 40));
  for (;;) {
    b = weft__pool_get(pool, WEFT__POOL_RX);
    if (b->r.low(&b->r)) break;
    b->r.refs = 1;
    weft__rbuf_ref(&b->r);
    weft__pool_lend(pool, b);
    kept[n++] = b;
    assert_true(n < 100);
  }
  weft__pool_put(pool, b);
  assert_true(n >= 50 && n <= 60);
  assert_int_equal(weft__pool_lent(pool), n);
  for (i = 0; i < n; i++) weft__rbuf_unref(&kept[i]->r);
  assert_int_equal(weft__pool_lent(pool), 0);
  b = weft__pool_get(pool, WEFT__POOL_RX);
  assert_false(b->r.low(&b->r));
  weft__pool_put(pool, b);
  weft__pool_drop(pool);
}

/* ---- Threads that give back ---- */

enum { THREADS = 4, ROUNDS = 20000 };

static struct {
  pthread_mutex_t lock;
  weft__buf_t *v[256];
  unsigned n;
  bool stop;
} bag;

static void *giver(void *arg) {
  (void) arg;
  for (;;) {
    weft__buf_t *b = NULL;
    bool stop;
    pthread_mutex_lock(&bag.lock);
    if (bag.n != 0) b = bag.v[--bag.n];
    stop = bag.stop && bag.n == 0;
    pthread_mutex_unlock(&bag.lock);
    if (b != NULL) {
      if (b->r.data[0] != 0x5a) abort();
      weft__rbuf_unref(&b->r);
    } else if (stop) {
      return NULL;
    }
  }
}

static void given_back_on_threads(void **state) {
  weft__pool_cfg_t cfg = {.max_bytes = 1000 * SLOT};
  pthread_t th[THREADS];
  weft__pool_t *pool;
  unsigned i;

  (void) state;
  memset(&bag, 0, sizeof(bag));
  pthread_mutex_init(&bag.lock, NULL);
  weft__pool_new(&cfg, &pool);
  for (i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&th[i], NULL, giver, NULL), 0);
  for (i = 0; i < ROUNDS;) {
    weft__buf_t *b;
    bool room;
    pthread_mutex_lock(&bag.lock);
    room = bag.n < 256;
    pthread_mutex_unlock(&bag.lock);
    if (!room) continue;
    b = weft__pool_get(pool, WEFT__POOL_RX);
    assert_non_null(b);
    b->r.data[0] = 0x5a;
    b->r.refs = 1;
    weft__rbuf_ref(&b->r); /* the holder's */
    weft__pool_lend(pool, b);
    pthread_mutex_lock(&bag.lock);
    bag.v[bag.n++] = b;
    pthread_mutex_unlock(&bag.lock);
    i++;
  }
  assert_true(weft__pool_total(pool) <= 640); /* they came back */
  weft__pool_drop(pool);                      /* some are still out */
  pthread_mutex_lock(&bag.lock);
  bag.stop = true;
  pthread_mutex_unlock(&bag.lock);
  for (i = 0; i < THREADS; i++) pthread_join(th[i], NULL);
  pthread_mutex_destroy(&bag.lock);
}

/* ---- With a rail ---- */

static weft__rbuf_t *kept[512];
static unsigned nkept, nlow;

static void keep(end_t *e, weft__rbuf_t *b) {
  (void) e;
  if (nkept == 512 || b->low(b)) {
    nlow++;
    return;
  }
  weft__rbuf_ref(b);
  kept[nkept++] = b;
}

static void *release_all(void *arg) {
  unsigned i;

  (void) arg;
  usleep(1000);
  for (i = 0; i < nkept; i++) {
    check(kept[i]->data, kept[i]->len, i);
    weft__rbuf_unref(kept[i]);
  }
  return NULL;
}

/* Messages kept by the user survive path and rail, and are given back on another thread. */
static void kept_frames_outlive_the_rail(void **state) {
  pthread_t th;
  pair_t t;
  unsigned i;

  (void) state;
  nkept = nlow = 0;
  pair_rails(&t, "127.0.0.1");
  pair_connect(&t);
  t.y.on_frame = keep;
  for (i = 0; i < 300;) {
    if (i - t.y.frames < 16)
      send_number(&t.x, i++, 1000);
    else
      pump(&t.k);
  }
  UNTIL(&t.k, t.y.frames == 300);
  assert_int_equal(nkept, 300);
  assert_int_equal(weft__mpath(t.y.path)->rx_posted, t.y.path->lim.rx_depth);
  pair_close(&t);
  pthread_create(&th, NULL, release_all, NULL);
  pthread_join(th, NULL);
}

/* A greedy user meets `low`; receives stay posted all the same. */
static void receives_never_run_out(void **state) {
  pthread_t th;
  pair_t t;
  unsigned i;

  (void) state;
  nkept = nlow = 0;
  memset(&t, 0, sizeof(t));
  kit_init(&t.k);
  t.k.env.pool_bytes = 3 << 20;
  t.a = kit_end(&t.k, 0, "127.0.0.1");
  t.b = kit_end(&t.k, 1, "127.0.0.1");
  door_open(&t.door, t.b, &t.y, 1);
  pair_connect(&t);
  assert_true(t.y.path->lim.rx_depth >= WEFT__FIRST_GRANT);
  t.y.on_frame = keep;
  for (i = 0; i < 400;) {
    if (i - t.y.frames < t.y.path->lim.rx_depth)
      send_number(&t.x, i++, 1000);
    else
      pump(&t.k);
    assert_int_equal(weft__mpath(t.y.path)->rx_posted, t.y.path->lim.rx_depth);
  }
  UNTIL(&t.k, t.y.frames == 400);
  assert_true(nlow > 0);
  pthread_create(&th, NULL, release_all, NULL);
  pthread_join(th, NULL);
  pair_close(&t);
}

/* Sending with a pool that has nothing beyond its promises still gets everything through. */
static void tight_pool_still_sends(void **state) {
  pair_t t;
  unsigned i;

  (void) state;
  memset(&t, 0, sizeof(t));
  kit_init(&t.k);
  t.k.env.pool_bytes = 20 * SLOT;
  t.a = kit_end(&t.k, 0, "127.0.0.1");
  t.b = kit_end(&t.k, 1, "127.0.0.1");
  door_open(&t.door, t.b, &t.y, 1);
  pair_connect(&t);
  t.y.check = true;
  for (i = 0; i < 2000;) {
    weft__tbuf_t *b =
        i - t.y.frames < t.y.path->lim.rx_depth ? t.x.path->ops->tx_get(t.x.path) : NULL;
    if (b != NULL) {
      fill(b->data, 500, i++);
      assert_int_equal(t.x.path->ops->send(t.x.path, b, 500), 0);
    } else {
      pump(&t.k);
    }
  }
  UNTIL(&t.k, t.y.frames == 2000);
  pair_close(&t);
}

#ifdef WEFT_FAULTS
static void growing_fails(void **state) {
  pair_t t;
  unsigned writable;

  (void) state;
  pair_rails(&t, "127.0.0.1");
  if (t.a->mr_local) {
    pair_close(&t);
    skip_case("the first buffers are there when the rail opens");
  }
  assert_int_equal(weft__fault_set("pool_grow:1:ENOMEM"), 0);
  dial(t.a, &t.door, &t.x, "x", 1);
  UNTIL(&t.k, t.x.downs);
  assert_int_equal(t.x.err, -ENOBUFS);
  end_close(&t.k, &t.x);
  memset(&t.x, 0, sizeof(t.x));
  pair_connect(&t);
  /* No memory for sends: `writable` comes when there is. */
  {
    weft__buf_t *hoard[64];
    unsigned i, n = 0;
    weft__pool_t *pool = t.a->pool;
    while (weft__pool_total(pool) == 64 && n < 64 - t.x.path->lim.rx_depth)
      hoard[n++] = weft__pool_get(pool, WEFT__POOL_RX);
    weft__fault_set("pool_grow:1+:ENOMEM");
    assert_null(t.x.path->ops->tx_get(t.x.path));
    writable = t.x.writable;
    settle_for(&t.k, 3);
    assert_int_equal(t.x.writable, writable);
    for (i = 0; i < n; i++) weft__pool_put(pool, hoard[i]);
    pump(&t.k);
    assert_int_equal(t.x.writable, writable + 1);
  }
  weft__fault_set(NULL);
  pair_close(&t);
}
#endif

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(kinds_stay_apart),
      cmocka_unit_test(promises_and_limit),
      cmocka_unit_test(low_water),
      cmocka_unit_test(given_back_on_threads),
      cmocka_unit_test(kept_frames_outlive_the_rail),
      cmocka_unit_test(receives_never_run_out),
      cmocka_unit_test(tight_pool_still_sends),
#ifdef WEFT_FAULTS
      cmocka_unit_test(growing_fails),
#endif
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
