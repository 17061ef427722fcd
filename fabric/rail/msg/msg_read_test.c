/* SPDX-License-Identifier: Apache-2.0 */
/* msg_read_test.c - reads of exposed memory: contents, rights, limits, and what closing does to
 * them. Most of it needs a provider that reads: WEFT_TEST_RAILS="verbs ...". */
#include "msg_rma_test.h"

#define NEEDS_READS()                                                                              \
  do {                                                                                             \
    if (weft__rail_xfer(t.a) != WEFT__XFER_READ) skip_case("of a provider that reads");            \
  } while (0)

static void open_both(weft__mr_t *from, weft__mr_t *sink, size_t len) {
  assert_int_equal(t.y.path->ops->expose(t.y.path, source, len, WEFT__OPEN_READ, from), 0);
  assert_int_equal(t.x.path->ops->expose(t.x.path, target, len, WEFT__OPEN_SINK, sink), 0);
}

static void close_both(weft__mr_t *from, weft__mr_t *sink) {
  t.y.path->ops->unexpose(t.y.path, from);
  t.x.path->ops->unexpose(t.x.path, sink);
}

static weft__rma_t reading(const weft__mr_t *from, const weft__mr_t *sink, size_t off, size_t len) {
  weft__rma_t r = {.niov = 1};

  r.iov[0] = (struct iovec){.iov_base = target + off, .iov_len = len};
  r.addr = from->addr + off;
  r.key = from->key;
  r.sink = sink;
  return r;
}

/* tcp 1.17 can free its answer to a read twice, and soft iWARP tells of operations in an order that
 * libfabric does not bear: neither is read from nor opened to reads. */
static void who_does_not_read_says_so(void **state) {
  weft__mr_t mr;
  weft__rma_t r = {.niov = 1};

  (void) state;
  assert_int_equal(weft__rail_xfer(t.a),
                   kit_is_tcp() || strncmp(weft__rail_device(t.a), "siw", 3) == 0
                       ? WEFT__XFER_WRITE
                       : WEFT__XFER_READ);
  assert_int_equal(t.x.path->lim.xfer, weft__rail_xfer(t.a));
  if (weft__rail_xfer(t.a) == WEFT__XFER_READ) return;
  assert_int_equal(t.y.path->ops->expose(t.y.path, source, SIZE, WEFT__OPEN_READ, &mr),
                   -EOPNOTSUPP);
  assert_int_equal(t.x.path->ops->expose(t.x.path, target, SIZE, WEFT__OPEN_SINK, &mr),
                   -EOPNOTSUPP);
  r.iov[0] = (struct iovec){.iov_base = target, .iov_len = 8};
  r.sink = &mr;
  assert_int_equal(t.x.path->ops->read(t.x.path, &r), -EOPNOTSUPP);
  send_number(&t.x, 1, 8);
  UNTIL(&t.k, t.y.frames == 1);
  assert_int_equal(t.x.downs + t.y.downs + t.x.rma_done, 0); /* the path lives */
}

static void lands_whole(void **state) {
  weft__mr_t from, sink;
  weft__rma_t r;

  (void) state;
  NEEDS_READS();
  open_both(&from, &sink, SIZE);
  assert_int_equal(sink.key, 0); /* nothing of a sink is the peer's business */
  r = reading(&from, &sink, 0, SIZE);
  assert_int_equal(t.x.path->ops->read(t.x.path, &r), 0);
  assert_int_equal(t.x.rma_done, 0); /* never inside the call */
  UNTIL(&t.k, t.x.rma_done);
  assert_int_equal(t.x.rma_status, 0);
  assert_memory_equal(target, source, SIZE);
  close_both(&from, &sink);
  send_number(&t.x, 1, 8);
  UNTIL(&t.k, t.y.frames == 1);
  assert_int_equal(t.x.downs + t.y.downs, 0); /* the path lives */
}

/* As many as the path takes, in one direction with frames in both; -EAGAIN beyond, `writable`
 * after. */
static void depth_and_writable(void **state) {
  weft__mr_t from, sink;
  weft__rma_t r[RMA_DEPTH + 1];
  unsigned i;
  int err;

  (void) state;
  NEEDS_READS();
  open_both(&from, &sink, SIZE);
  for (i = 0; i <= RMA_DEPTH; i++) r[i] = reading(&from, &sink, i * 65536, 65536);
  for (i = 0; i < RMA_DEPTH; i++) {
    assert_int_equal(t.x.path->ops->read(t.x.path, &r[i]), 0);
    send_number(&t.x, i, 16);
    send_number(&t.y, i, 16);
  }
  assert_int_equal(t.x.path->ops->read(t.x.path, &r[RMA_DEPTH]), -EAGAIN);
  do { /* soft iWARP may still be full: then `writable` comes once more */
    UNTIL(&t.k, t.x.writable);
    t.x.writable = 0;
  } while ((err = t.x.path->ops->read(t.x.path, &r[RMA_DEPTH])) == -EAGAIN);
  assert_int_equal(err, 0);
  UNTIL(&t.k, t.x.rma_done == RMA_DEPTH + 1 && t.x.frames == RMA_DEPTH && t.y.frames == RMA_DEPTH);
  assert_memory_equal(target, source, 65536 * (RMA_DEPTH + 1));
  close_both(&from, &sink);
}

/* What the device would keep waiting, and frames behind it, is not posted. */
static void no_more_than_the_device_reads(void **state) {
  weft__mr_t from, sink;
  weft__rma_t r[4];
  unsigned i;

  (void) state;
  NEEDS_READS();
  open_both(&from, &sink, SIZE);
  assert_in_range(t.x.path->lim.read_depth, 1, t.x.path->lim.rma_depth);
  t.x.path->lim.read_depth = 2;
  for (i = 0; i < 4; i++) r[i] = reading(&from, &sink, i * 65536, 65536);
  for (i = 0; i < 2; i++) assert_int_equal(t.x.path->ops->read(t.x.path, &r[i]), 0);
  assert_int_equal(t.x.path->ops->read(t.x.path, &r[2]), -EAGAIN);
  send_number(&t.x, 1, 16); /* frames are */
  UNTIL(&t.k, t.x.writable && t.x.rma_done == 2 && t.y.frames == 1);
  for (i = 2; i < 4; i++) assert_int_equal(t.x.path->ops->read(t.x.path, &r[i]), 0);
  UNTIL(&t.k, t.x.rma_done == 4);
  assert_memory_equal(target, source, 65536 * 4);
  close_both(&from, &sink);
}

static void limits_are_checked(void **state) {
  weft__mr_t from, sink;
  weft__rma_t r;

  (void) state;
  NEEDS_READS();
  open_both(&from, &sink, SIZE);
  r = reading(&from, &sink, 0, 0);
  assert_int_equal(t.x.path->ops->read(t.x.path, &r), -EINVAL);
  r = reading(&from, &sink, 0, 64);
  r.niov = 2;
  assert_int_equal(t.x.path->ops->read(t.x.path, &r), -EINVAL);
  r.niov = 1;
  r.sink = NULL;
  assert_int_equal(t.x.path->ops->read(t.x.path, &r), -EINVAL);
  assert_int_equal(t.x.rma_done, 0);
  close_both(&from, &sink);
}

/* Memory opened to reads is not opened to writes, nor the other way round. */
static void rights_are_exact(void **state) {
  weft__mr_t from, sink;
  weft__rma_t r;

  (void) state;
  NEEDS_READS();
  open_both(&from, &sink, SIZE);
  r = (weft__rma_t){.niov = 1, .addr = from.addr, .key = from.key};
  memset(target, 7, SIZE);
  r.iov[0] = (struct iovec){.iov_base = target, .iov_len = 4096};
  assert_int_equal(t.x.path->ops->write(t.x.path, &r), 0);
  UNTIL(&t.k, t.x.downs);
  check(source, SIZE, 42);
  close_both(&from, &sink);
}

/* Soft iWARP looks at no right when it answers a read: any registered memory whose key is known. */
static void writable_is_not_readable(void **state) {
  weft__mr_t from, sink;
  weft__rma_t r;
  unsigned i;

  (void) state;
  NEEDS_READS();
  if (strncmp(t.b->device, "siw", 3) == 0) skip_case("soft iWARP looks at no right of a read");
  assert_int_equal(t.y.path->ops->expose(t.y.path, source, SIZE, WEFT__OPEN_WRITE, &from), 0);
  assert_int_equal(t.x.path->ops->expose(t.x.path, target, SIZE, WEFT__OPEN_SINK, &sink), 0);
  r = reading(&from, &sink, 0, 4096);
  assert_int_equal(t.x.path->ops->read(t.x.path, &r), 0);
  UNTIL(&t.k, t.x.downs && t.x.rma_done);
  end_close(&t.k, &t.x);
  assert_int_equal(t.x.rma_done, 1);
  assert_true(t.x.rma_status < 0);
  for (i = 0; i < 4096; i++) assert_int_equal(target[i], 0);
  t.y.path->ops->unexpose(t.y.path, &from);
  fi_close(&((struct fid_mr *) sink.priv)->fid); /* its path has gone */
}

static void after_unexpose(void **state) {
  weft__mr_t from, sink;
  weft__rma_t r;

  (void) state;
  NEEDS_READS();
  open_both(&from, &sink, SIZE);
  r = reading(&from, &sink, 0, SIZE);
  t.y.path->ops->unexpose(t.y.path, &from);
  assert_int_equal(t.x.path->ops->read(t.x.path, &r), 0);
  UNTIL(&t.k, t.x.downs && t.x.rma_done);
  assert_true(t.x.rma_status < 0);
  assert_int_equal(target[0], 0);
  t.x.path->ops->unexpose(t.x.path, &sink);
}

/* What the owner made known is registered once: to open it to reads does not do so again. */
static void known_memory_is_not_registered_again(void **state) {
  weft__mr_t from, sink;
  weft__rma_t r;
  void *a, *b;
  unsigned i;

  (void) state;
  NEEDS_READS();
  assert_int_equal(weft__rail_mem_add(t.b, source, SIZE, &b), 0);
  assert_int_equal(weft__rail_mem_add(t.a, target, SIZE, &a), 0);
  for (i = 0; i < 20; i++) {
    open_both(&from, &sink, SIZE);
    assert_null(from.priv);
    assert_non_null(sink.priv); /* never one that lasts */
    r = reading(&from, &sink, i * 4096, 4096);
    assert_int_equal(t.x.path->ops->read(t.x.path, &r), 0);
    UNTIL(&t.k, t.x.rma_done == i + 1);
    assert_int_equal(t.x.rma_status, 0);
    close_both(&from, &sink);
  }
  assert_memory_equal(target, source, 20 * 4096);
  weft__rail_mem_del(t.b, b);
  weft__rail_mem_del(t.a, a);
}

/* As many reads of it all as a path bears. */
static void read_all_at_once(weft__rma_t r[RMA_DEPTH], const weft__mr_t *from,
                             const weft__mr_t *sink) {
  unsigned i;

  for (i = 0; i < RMA_DEPTH; i++) {
    r[i] = reading(from, sink, 0, SIZE);
    assert_int_equal(t.x.path->ops->read(t.x.path, &r[i]), 0);
  }
}

/* Closing with reads under way: every one is answered, then `closed`, then nothing lands. */
static void close_with_reads_outstanding(void **state) {
  weft__mr_t from, sink;
  weft__rma_t r[RMA_DEPTH];
  unsigned i;

  (void) state;
  NEEDS_READS();
  open_both(&from, &sink, SIZE);
  read_all_at_once(r, &from, &sink);
  t.x.path->ops->close(t.x.path);
  UNTIL(&t.k, t.x.closed);
  assert_int_equal(t.x.rma_done, RMA_DEPTH);
  memset(target, 7, SIZE);
  t.x.path = NULL;
  UNTIL(&t.k, t.y.downs);
  for (i = 0; i < SIZE; i++) assert_int_equal(target[i], 7);
  t.y.path->ops->unexpose(t.y.path, &from);
  fi_close(&((struct fid_mr *) sink.priv)->fid); /* its path has gone */
}

/* One of them has landed, the device is in the midst of the next, and the path is let go of: its sink
 * is closed at once, and from then on nothing lands, though the peer's device serves them all. */
static void sink_closes_under_reads(void **state) {
  weft__mr_t from, sink;
  weft__rma_t r[RMA_DEPTH];
  unsigned i;

  (void) state;
  NEEDS_READS();
  open_both(&from, &sink, SIZE);
  read_all_at_once(r, &from, &sink);
  UNTIL(&t.k, t.x.rma_done != 0);
  assert_true(t.x.rma_done < RMA_DEPTH);
  t.x.path->ops->close(t.x.path);
  assert_int_equal(t.x.path->ops->unexpose(t.x.path, &sink), 0);
  memset(target, 7, SIZE);
  settle_for(&t.k, 200);
  UNTIL(&t.k, t.x.closed);
  t.x.path = NULL;
  assert_int_equal(t.x.rma_done, RMA_DEPTH);
  assert_true(t.x.rma_status < 0);
  for (i = 0; i < SIZE; i++) assert_int_equal(target[i], 7);
  t.y.path->ops->unexpose(t.y.path, &from);
}

#ifdef WEFT_FAULTS
/* A post that fails ends the path, and the read was never under way. */
static void post_fails(void **state) {
  weft__mr_t from, sink;
  weft__rma_t r;

  (void) state;
  NEEDS_READS();
  open_both(&from, &sink, SIZE);
  r = reading(&from, &sink, 0, SIZE);
  weft__fault_set("post_read:1:EAGAIN,post_read:2:EIO");
  assert_int_equal(t.x.path->ops->read(t.x.path, &r), -EAGAIN);
  UNTIL(&t.k, t.x.writable);
  assert_int_equal(t.x.path->ops->read(t.x.path, &r), -EIO);
  weft__fault_set("");
  UNTIL(&t.k, t.x.downs);
  assert_int_equal(t.x.rma_done, 0);
  assert_non_null(strstr(t.x.why, "read from"));
  close_both(&from, &sink);
}
#endif

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(who_does_not_read_says_so, up, down),
      cmocka_unit_test_setup_teardown(lands_whole, up, down),
      cmocka_unit_test_setup_teardown(depth_and_writable, up, down),
      cmocka_unit_test_setup_teardown(no_more_than_the_device_reads, up, down),
      cmocka_unit_test_setup_teardown(limits_are_checked, up, down),
      cmocka_unit_test_setup_teardown(rights_are_exact, up, down),
      cmocka_unit_test_setup_teardown(writable_is_not_readable, up, down),
      cmocka_unit_test_setup_teardown(after_unexpose, up, down),
      cmocka_unit_test_setup_teardown(known_memory_is_not_registered_again, up, down),
      cmocka_unit_test_setup_teardown(close_with_reads_outstanding, up, down),
      cmocka_unit_test_setup_teardown(sink_closes_under_reads, up, down),
#ifdef WEFT_FAULTS
      cmocka_unit_test_setup_teardown(post_fails, up, down),
#endif
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
