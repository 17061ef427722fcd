/* SPDX-License-Identifier: Apache-2.0 */
/* msg_many_test.c - hundreds of paths over several completion queues, coming and going. */
#include "msg_test.h"

#include <sys/resource.h>

enum { MOST = 300 };

static unsigned PATHS = MOST; /* fewer where software plays the device */

static end_t xs[MOST], ys[MOST];

static int enough_files(void) {
  struct rlimit r;

  if (getrlimit(RLIMIT_NOFILE, &r) != 0)
    return 0;
  r.rlim_cur = r.rlim_max;
  (void) setrlimit(RLIMIT_NOFILE, &r);
  return r.rlim_cur >= 4 * PATHS;
}

static unsigned count_up(void) {
  unsigned i, n = 0;

  for (i = 0; i < PATHS; i++)
    n += xs[i].connected;
  return n;
}

static void three_hundred(void **state) {
  unsigned i, round, n;
  pair_t t;

  (void) state;
  if (!kit_is_tcp())
    PATHS = 150;
  if (!enough_files())
    skip();
  memset(xs, 0, sizeof(xs));
  memset(ys, 0, sizeof(ys));
  pair_rails(&t, "127.0.0.1");
  t.door.ends = ys;
  t.door.nends = PATHS;
  t.door.by_blob = true; /* requests may come in another order */
  for (i = 0; i < PATHS; i++)
    dial(t.a, &t.door, &xs[i], &i, sizeof(i));
  UNTIL(&t.k, count_up() == PATHS && t.door.taken == PATHS);
  assert_int_equal(t.a->nshards, (300 + t.a->q->shard_paths - 1) / t.a->q->shard_paths);
  assert_int_equal(t.b->nshards, t.a->nshards);
  for (i = 0; i < PATHS; i++) {
    assert_true(xs[i].path->lim.rx_depth >= WEFT__FIRST_GRANT);
    ys[i].echo = xs[i].check = true;
  }
  for (round = 0; round < 20; round++) {
    for (i = 0; i < PATHS; i++)
      send_number(&xs[i], round, 64 + i);
    UNTIL(&t.k, ({
            for (n = 0, i = 0; i < PATHS; i++)
              n += xs[i].frames;
            n == PATHS * (round + 1);
          }));
  }
  /* A third of them go from one end, a third from the other. */
  for (i = 0; i < PATHS; i++)
    if (i % 3 == 0)
      xs[i].path->ops->close(xs[i].path);
    else if (i % 3 == 1)
      ys[i].path->ops->close(ys[i].path);
  UNTIL(&t.k, ({
          for (n = 0, i = 0; i < PATHS; i++)
            n += xs[i].closed + ys[i].closed + xs[i].downs + ys[i].downs;
          n == PATHS / 3 * 4;
        }));
  for (i = 0; i < PATHS; i++)
    if (i % 3 == 2)
      send_number(&xs[i], 20, 64);
  UNTIL(&t.k, ({
          for (n = 0, i = 2; i < PATHS; i += 3)
            n += xs[i].frames;
          n == PATHS / 3 * 21;
        }));
  for (i = 0; i < PATHS; i++) {
    if (!xs[i].closed)
      xs[i].path->ops->close(xs[i].path);
    if (!ys[i].closed)
      ys[i].path->ops->close(ys[i].path);
  }
  UNTIL(&t.k, ({
          for (n = 0, i = 0; i < PATHS; i++)
            n += xs[i].closed + ys[i].closed;
          n == PATHS * 2;
        }));
  for (i = 0; i < t.a->nshards; i++)
    assert_int_equal(t.a->shards[i]->npaths, 0);
  pair_close(&t);
}

/* One path, made and closed over and over: nothing is left behind. */
static void coming_and_going(void **state) {
  unsigned i, total = 0;
  pair_t t;

  (void) state;
  pair_rails(&t, "127.0.0.1");
  for (i = 0; i < (kit_is_tcp() ? 200u : 20u); i++) {
    memset(&t.x, 0, sizeof(t.x));
    memset(&t.y, 0, sizeof(t.y));
    t.door.taken = 0;
    pair_connect(&t);
    send_number(&t.x, 1, 10000);
    if (i % 2 == 0)
      UNTIL(&t.k, t.y.frames == 1);
    end_close(&t.k, i % 3 == 0 ? &t.x : &t.y);
    end_close(&t.k, i % 3 == 0 ? &t.y : &t.x);
    if (i == 2)
      total = weft__pool_total(t.a->pool);
  }
  assert_int_equal(weft__pool_total(t.a->pool), total);
  assert_null(t.a->paths);
  assert_null(t.b->paths);
  pair_close(&t);
}

/* A small pool gives later paths fewer receives, and refuses in the end. */
static void pool_fills_up(void **state) {
  unsigned i, n, up = 0, refused = 0, least = 1000;
  pair_t t;

  (void) state;
  if (!enough_files())
    skip();
  memset(xs, 0, sizeof(xs));
  memset(ys, 0, sizeof(ys));
  memset(&t, 0, sizeof(t));
  kit_init(&t.k);
  t.b = kit_end(&t.k, 1, "127.0.0.1");
  t.k.env.pool_bytes = 16 << 20;
  t.a = kit_end(&t.k, 0, "127.0.0.1");
  door_open(&t.door, t.b, ys, PATHS);
  for (i = 0; i < PATHS; i++) {
    const struct sockaddr *to = weft__lst_addr(t.door.lst);
    int r = weft__rail_connect(t.a, to, weft__sa_len(to), "x", 1, &end_cbs, &xs[i], &xs[i].path);
    if (r == 0) {
      up++;
      if (xs[i].path->lim.rx_depth < least)
        least = xs[i].path->lim.rx_depth;
    } else {
      assert_int_equal(r, -ENOBUFS);
      assert_null(xs[i].path);
      refused++;
      break;
    }
  }
  assert_int_equal(least, WEFT__FIRST_GRANT);
  assert_int_equal(refused, 1);
  assert_true(up > 40);
  UNTIL(&t.k, count_up() == up && t.door.taken == up);
  for (i = 0; i < up; i++) {
    xs[i].path->ops->close(xs[i].path);
    ys[i].path->ops->close(ys[i].path);
  }
  UNTIL(&t.k, ({
          for (n = 0, i = 0; i < up; i++)
            n += xs[i].closed + ys[i].closed;
          n == up * 2;
        }));
  pair_close(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(three_hundred),
      cmocka_unit_test(coming_and_going),
      cmocka_unit_test(pool_fills_up),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
