/* SPDX-License-Identifier: Apache-2.0 */
/* msg_many_test.c - hundreds of paths over several completion queues, coming and going. */
#include "msg_test.h"

#include <sys/resource.h>

enum { MOST = 300, MORE = 150 };

static unsigned PATHS = MOST; /* fewer where software plays the device */

static end_t xs[MOST], ys[MOST];

static int enough_files(void) {
  struct rlimit r;

  if (getrlimit(RLIMIT_NOFILE, &r) != 0) return 0;
  r.rlim_cur = r.rlim_max;
  (void) setrlimit(RLIMIT_NOFILE, &r);
  return r.rlim_cur >= 4 * PATHS;
}

static unsigned count_up(void) {
  unsigned i, n = 0;

  for (i = 0; i < PATHS; i++) n += xs[i].connected;
  return n;
}

/* Two rails of devices that bear `PATHS` connections. */
static void many_rails(pair_t *t) {
  pair_rails(t, "127.0.0.1");
  if (!kit_is_siw(t->a)) return;
  pair_close(t);
  skip_case("of a device that bears so many: see more_than_fit");
}

static void three_hundred(void **state) {
  unsigned i, round, n;
  pair_t t;

  (void) state;
  if (!kit_is_tcp()) PATHS = 150;
  if (!enough_files()) skip_case("too few file descriptors are allowed");
  memset(xs, 0, sizeof(xs));
  memset(ys, 0, sizeof(ys));
  many_rails(&t);
  t.door.ends = ys;
  t.door.nends = PATHS;
  t.door.by_blob = true; /* requests may come in another order */
  for (i = 0; i < PATHS; i++) dial(t.a, &t.door, &xs[i], &i, sizeof(i));
  UNTIL(&t.k, count_up() == PATHS && t.door.taken == PATHS);
  assert_int_equal(t.a->nshards, (PATHS + t.a->q->shard_paths - 1) / t.a->q->shard_paths);
  assert_int_equal(t.b->nshards, t.a->nshards);
  for (i = 0; i < PATHS; i++) {
    assert_true(xs[i].path->lim.rx_depth >= WEFT__FIRST_GRANT);
    ys[i].echo = xs[i].check = true;
  }
  for (round = 0; round < 20; round++) {
    for (i = 0; i < PATHS; i++) send_number(&xs[i], round, 64 + i);
    UNTIL(&t.k, ({
      for (n = 0, i = 0; i < PATHS; i++) n += xs[i].frames;
      n == PATHS *(round + 1);
    }));
  }
  /* A third of them go from one end, a third from the other. */
  for (i = 0; i < PATHS; i++)
    if (i % 3 == 0)
      xs[i].path->ops->close(xs[i].path);
    else if (i % 3 == 1)
      ys[i].path->ops->close(ys[i].path);
  UNTIL(&t.k, ({
    for (n = 0, i = 0; i < PATHS; i++) n += xs[i].closed + ys[i].closed + xs[i].downs + ys[i].downs;
    n == PATHS / 3 * 4;
  }));
  for (i = 0; i < PATHS; i++)
    if (i % 3 == 2) send_number(&xs[i], 20, 64);
  UNTIL(&t.k, ({
    for (n = 0, i = 2; i < PATHS; i += 3) n += xs[i].frames;
    n == PATHS / 3 * 21;
  }));
  for (i = 0; i < PATHS; i++) {
    if (!xs[i].closed) xs[i].path->ops->close(xs[i].path);
    if (!ys[i].closed) ys[i].path->ops->close(ys[i].path);
  }
  UNTIL(&t.k, ({
    for (n = 0, i = 0; i < PATHS; i++) n += xs[i].closed + ys[i].closed;
    n == PATHS * 2;
  }));
  for (i = 0; i < t.a->nshards; i++) assert_int_equal(t.a->shards[i]->npaths, 0);
  pair_close(&t);
}

/* rdma-core's library for soft iWARP makes no queue pair whose memory the kernel offers at 0x90000,
 * which it takes for no memory, and says so without a cause: it ends below a hundred of a process.
 * Who is one too many is told, at his own end or by a refusal, and the others live. */
static void more_than_fit(void **state) {
  unsigned i, n, up = 0;
  pair_t t;

  (void) state;
  if (!enough_files()) skip_case("too few file descriptors are allowed");
  pair_rails(&t, "127.0.0.1");
  if (!kit_is_siw(t.a)) {
    pair_close(&t);
    skip_case("of soft iWARP");
  }
  memset(xs, 0, sizeof(xs));
  memset(ys, 0, sizeof(ys));
  t.door.ends = ys;
  t.door.nends = MORE;
  t.door.by_blob = true;
  for (i = 0; i < MORE; i++) dial(t.a, &t.door, &xs[i], &i, sizeof(i));
  UNTIL(&t.k, ({
    for (n = 0, i = 0; i < MORE; i++) n += xs[i].connected || xs[i].downs;
    n == MORE;
  }));
  for (i = 0; i < MORE; i++) {
    if (xs[i].connected) {
      up++;
      send_number(&xs[i], i, 64);
    } else if (xs[i].err != -ECONNREFUSED) {
      assert_non_null(strstr(xs[i].why, "device full: "));
    }
  }
  assert_true(up > 0 && up < MORE);
  UNTIL(&t.k, ({
    for (n = 0, i = 0; i < MORE; i++) n += ys[i].frames;
    n == up;
  }));
  for (i = 0; i < MORE; i++) {
    end_close(&t.k, &xs[i]);
    end_close(&t.k, &ys[i]);
  }
  pair_close(&t);
}

static bool asleep_until(weft__rail_t *rail, unsigned *count, unsigned want) {
  struct pollfd fd = {.fd = weft__rail_fd(rail), .events = POLLIN};
  unsigned turns = 0;

  while (*count < want && turns++ < 200) {
    while (weft__rail_arm(rail) != 0) weft__rail_drain(rail, WEFT__DRAIN_FIRED);
    if (*count >= want) return true;
    if (poll(&fd, 1, 1000) == 0) return false; /* deaf */
    weft__rail_drain(rail, WEFT__DRAIN_FIRED);
  }
  return *count >= want;
}

/* A path on the second queue is closed, and its descriptor's number goes to a new path on the
 * first: that one still wakes the sleeper, although the second queue takes the number out of what
 * it sleeps on. */
static void descriptors_are_reused(void **state) {
  unsigned i, n;
  int held[2];
  pair_t t;

  (void) state;
  if (!enough_files()) skip_case("too few file descriptors are allowed");
  memset(xs, 0, sizeof(xs));
  memset(ys, 0, sizeof(ys));
  many_rails(&t);
  if (!t.b->q->pollfd) {
    pair_close(&t);
    skip_case("of a provider whose queues list their sockets");
  }
  t.door.ends = ys;
  t.door.nends = MOST;
  n = t.b->q->shard_paths + 1;
  for (i = 0; i < n; i++) {
    dial(t.a, &t.door, &xs[i], "x", 1);
    UNTIL(&t.k, xs[i].connected && t.door.taken == i + 1);
  }
  assert_int_equal(t.b->nshards, 2);
  settle_for(&t.k, 5);
  while (weft__rail_arm(t.b) != 0) weft__rail_drain(t.b, WEFT__DRAIN_FIRED);
  /* Room on the first queue, without leaving its numbers free. */
  end_close(&t.k, &xs[3]);
  end_close(&t.k, &ys[3]);
  held[0] = dup(0);
  held[1] = dup(0);
  end_close(&t.k, &xs[n - 1]);
  end_close(&t.k, &ys[n - 1]);
  dial(t.a, &t.door, &xs[n], "x", 1);
  UNTIL(&t.k, xs[n].connected && t.door.taken == n + 1);
  assert_ptr_equal(weft__mpath(ys[n].path)->shard, t.b->shards[0]);
  settle_for(&t.k, 5);
  for (i = 0; i <= n; i++) {
    if (xs[i].path == NULL) continue;
    send_number(&xs[i], 1, 64);
    weft__rail_drain(t.a, WEFT__DRAIN_ALL);
    if (!asleep_until(t.b, &ys[i].frames, 1)) fail_msg("path %u does not wake the sleeper", i);
  }
  for (i = 0; i <= n; i++) {
    end_close(&t.k, &xs[i]);
    end_close(&t.k, &ys[i]);
  }
  close(held[0]);
  close(held[1]);
  pair_close(&t);
}

/* No descriptors left: the listener's fd stays ready although nobody can be accepted. The loop must
 * not spin on it. */
static void out_of_descriptors(void **state) {
  struct pollfd fd;
  unsigned i, woken = 0, nspare = 0;
  int client, spare[1024];
  uint64_t t0;
  pair_t t;

  (void) state;
  if (!kit_is_tcp()) skip_case("of tcp only");
  pair_rails(&t, "127.0.0.1");
  pair_connect(&t);
  client = socket(AF_INET, SOCK_STREAM, 0);
  {
    struct rlimit was, r;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    r = was;
    r.rlim_cur = 512;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &r), 0);
    while (nspare < 1024 && (spare[nspare] = dup(client)) >= 0) nspare++;
    assert_int_equal(connect(client, weft__lst_addr(t.door.lst), sizeof(struct sockaddr_in)), 0);
    fd = (struct pollfd){.fd = weft__rail_fd(t.b), .events = POLLIN};
    for (t0 = clock_ns(); clock_ns() - t0 < 300000000u;) {
      t.k.now = clock_ns();
      while (weft__rail_arm(t.b) != 0) weft__rail_drain(t.b, WEFT__DRAIN_FIRED);
      if (poll(&fd, 1, 50) > 0) {
        woken++;
        weft__rail_drain(t.b, WEFT__DRAIN_FIRED);
      }
    }
    for (i = 0; i < nspare; i++) close(spare[i]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
  }
  assert_true(woken < 5000); /* a spin makes hundreds of thousands of them */
  close(client);
  /* With descriptors again, it listens again. */
  memset(&xs[0], 0, sizeof(xs[0]));
  memset(&ys[0], 0, sizeof(ys[0]));
  t.door.ends = ys;
  t.door.taken = 0;
  dial(t.a, &t.door, &xs[0], "x", 1);
  UNTIL(&t.k, xs[0].connected);
  end_close(&t.k, &xs[0]);
  end_close(&t.k, &ys[0]);
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
    if (i % 2 == 0) UNTIL(&t.k, t.y.frames == 1);
    end_close(&t.k, i % 3 == 0 ? &t.x : &t.y);
    end_close(&t.k, i % 3 == 0 ? &t.y : &t.x);
    if (i == 2) total = weft__pool_total(t.a->pool);
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
  if (!enough_files()) skip_case("too few file descriptors are allowed");
  memset(xs, 0, sizeof(xs));
  memset(ys, 0, sizeof(ys));
  memset(&t, 0, sizeof(t));
  kit_init(&t.k);
  t.b = kit_end(&t.k, 1, "127.0.0.1");
  if (kit_is_siw(t.b)) {
    kit_close(&t.k);
    skip_case("of a device that bears so many: see more_than_fit");
  }
  t.k.env.pool_bytes = 16 << 20;
  t.a = kit_end(&t.k, 0, "127.0.0.1");
  door_open(&t.door, t.b, ys, PATHS);
  for (i = 0; i < PATHS; i++) {
    const struct sockaddr *to = weft__lst_addr(t.door.lst);
    int r = weft__rail_connect(t.a, to, weft__sa_len(to), "x", 1, &end_cbs, &xs[i], &xs[i].path);
    if (r == 0) {
      up++;
      if (xs[i].path->lim.rx_depth < least) least = xs[i].path->lim.rx_depth;
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
    for (n = 0, i = 0; i < up; i++) n += xs[i].closed + ys[i].closed;
    n == up * 2;
  }));
  pair_close(&t);
}

/* A device that bears one connection: the next is told so, at whichever end, and gets its place when the
 * first has gone. */
static void device_is_full(void **state) {
  pair_t t;
  end_t second, late;

  (void) state;
  memset(&second, 0, sizeof(second));
  memset(&late, 0, sizeof(late));
  pair_rails(&t, "127.0.0.1");
  pair_connect(&t);
  t.a->plan.max_paths = 1;
  t.a->plan.binds = "endpoints";
  dial(t.a, &t.door, &second, "x", 1);
  UNTIL(&t.k, second.downs);
  assert_int_equal(second.err, -ENOSPC);
  assert_non_null(strstr(second.why, "device full: 1 of 1 (endpoints) open here"));
  end_close(&t.k, &second);

  /* The other end is full: it refuses. */
  t.a->plan.max_paths = 2;
  t.b->plan.max_paths = 1;
  memset(&second, 0, sizeof(second));
  t.door.ends = &late;
  t.door.nends = 1;
  t.door.taken = 0;
  dial(t.a, &t.door, &second, "x", 1);
  UNTIL(&t.k, second.downs);
  assert_int_equal(t.door.accept_err, -ENOSPC);
  assert_int_equal(t.door.taken, 0);
  end_close(&t.k, &second);

  send_number(&t.x, 1, 64); /* who was there first noticed nothing */
  UNTIL(&t.k, t.y.frames == 1);
  end_close(&t.k, &t.x);
  end_close(&t.k, &t.y);
  memset(&second, 0, sizeof(second));
  dial(t.a, &t.door, &second, "x", 1);
  UNTIL(&t.k, second.connected && t.door.taken == 1);
  end_close(&t.k, &second);
  end_close(&t.k, &late);
  pair_close(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(three_hundred),      cmocka_unit_test(descriptors_are_reused),
      cmocka_unit_test(out_of_descriptors), cmocka_unit_test(coming_and_going),
      cmocka_unit_test(pool_fills_up),      cmocka_unit_test(device_is_full),
      cmocka_unit_test(more_than_fit),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
