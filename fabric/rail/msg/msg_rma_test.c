/* SPDX-License-Identifier: Apache-2.0 */
/* msg_rma_test.c - writes into exposed memory: contents, order with frames, limits, and what
 * closing memory means. */
#include "msg_rma_test.h"

static void close_memory(end_t *e, weft__rbuf_t *b) {
  (void) b;
  e->path->ops->unexpose(e->path, e->data);
}

static void lands_in_pieces(void **state) {
  weft__mr_t mr;
  weft__rma_t r = {.niov = 4};
  unsigned i;

  (void) state;
  assert_int_equal(t.y.path->ops->expose(t.y.path, target, SIZE, WEFT__OPEN_WRITE, &mr), 0);
  for (i = 0; i < 4; i++)
    r.iov[i] = (struct iovec){.iov_base = source + i * (SIZE / 4), .iov_len = SIZE / 4};
  r.addr = mr.addr;
  r.key = mr.key;
  assert_int_equal(t.x.path->ops->write(t.x.path, &r), 0);
  assert_int_equal(t.x.rma_done, 0); /* never inside the call */
  UNTIL(&t.k, t.x.rma_done);
  assert_int_equal(t.x.rma_status, 0);
  send_number(&t.x, 1, 8);
  t.y.on_frame = close_memory;
  t.y.data = &mr;
  UNTIL(&t.k, t.y.frames == 1);
  assert_memory_equal(target, source, SIZE);
  settle_for(&t.k, 5);
  assert_int_equal(t.x.downs + t.y.downs, 0); /* the path lives */
}

/* Whatever the sizes, when the frame is there the write is. */
static void placed_before_the_frame(void **state) {
  weft__mr_t mr;
  weft__rma_t r[RMA_DEPTH] = {{0}};
  unsigned i, round;

  (void) state;
  assert_int_equal(t.y.path->ops->expose(t.y.path, target, SIZE, WEFT__OPEN_WRITE, &mr), 0);
  for (round = 0; round < 200; round++) {
    unsigned frames = t.y.frames, done = t.x.rma_done;
    for (i = 0; i < 4; i++) {
      size_t len = 1 + (round * 7919u + i * 104729u) % 60000;
      r[i].niov = 1;
      r[i].iov[0] = (struct iovec){.iov_base = source + 65536 * i, .iov_len = len};
      r[i].addr = mr.addr + 65536 * i;
      r[i].key = mr.key;
      memset(source + 65536 * i, (int) (round + i), len);
      assert_int_equal(t.x.path->ops->write(t.x.path, &r[i]), 0);
      send_number(&t.x, round, 16);
    }
    while (t.y.frames < frames + 4) {
      unsigned seen = t.y.frames;
      pump(&t.k);
      if (t.y.frames > seen) {
        unsigned last = t.y.frames - frames - 1;
        size_t len = r[last].iov[0].iov_len;
        assert_int_equal(target[65536 * last], (uint8_t) (round + last));
        assert_int_equal(target[65536 * last + len - 1], (uint8_t) (round + last));
      }
    }
    UNTIL(&t.k, t.x.rma_done == done + 4);
  }
  t.y.path->ops->unexpose(t.y.path, &mr);
}

static void depth_and_writable(void **state) {
  weft__mr_t mr;
  weft__rma_t r[RMA_DEPTH + 1];
  unsigned i;

  (void) state;
  memset(r, 0, sizeof(r));
  assert_int_equal(t.y.path->ops->expose(t.y.path, target, SIZE, WEFT__OPEN_WRITE, &mr), 0);
  for (i = 0; i <= RMA_DEPTH; i++) {
    r[i].niov = 1;
    r[i].iov[0] = (struct iovec){.iov_base = source, .iov_len = 1024};
    r[i].addr = mr.addr;
    r[i].key = mr.key;
  }
  for (i = 0; i < t.x.path->lim.rma_depth; i++)
    assert_int_equal(t.x.path->ops->write(t.x.path, &r[i]), 0);
  assert_int_equal(t.x.path->ops->write(t.x.path, &r[i]), -EAGAIN);
  UNTIL(&t.k, t.x.writable);
  assert_int_equal(t.x.path->ops->write(t.x.path, &r[i]), 0);
  UNTIL(&t.k, t.x.rma_done == i + 1);
  t.y.path->ops->unexpose(t.y.path, &mr);
}

static void limits_are_checked(void **state) {
  weft__rma_t r = {.niov = 0};
  weft__mr_t mr;

  (void) state;
  assert_int_equal(t.x.path->ops->write(t.x.path, &r), -EINVAL);
  r.niov = 5;
  assert_int_equal(t.x.path->ops->write(t.x.path, &r), -EINVAL);
  r.niov = 1;
  assert_int_equal(t.x.path->ops->write(t.x.path, &r), -EINVAL); /* nothing to write */
  assert_int_equal(t.y.path->ops->expose(t.y.path, target, 0, WEFT__OPEN_WRITE, &mr), -EINVAL);
  assert_int_equal(t.x.rma_done, 0);
}

static void keys_differ(void **state) {
  weft__mr_t mr[100];
  unsigned i, j;

  (void) state;
  for (i = 0; i < 100; i++)
    assert_int_equal(t.y.path->ops->expose(t.y.path, target + i * 64, 64, WEFT__OPEN_WRITE, &mr[i]),
                     0);
  for (i = 0; i < 100; i++)
    for (j = 0; j < i; j++) assert_true(mr[i].key != mr[j].key);
  for (i = 0; i < 100; i++) t.y.path->ops->unexpose(t.y.path, &mr[i]);
}

/* The write is refused, nothing lands; the path dies with it (tcp). */
static void after_unexpose(void **state) {
  weft__mr_t mr;
  weft__rma_t r = {.niov = 1};

  (void) state;
  memset(target, 7, SIZE);
  assert_int_equal(t.y.path->ops->expose(t.y.path, target, SIZE, WEFT__OPEN_WRITE, &mr), 0);
  r.iov[0] = (struct iovec){.iov_base = source, .iov_len = SIZE};
  r.addr = mr.addr;
  r.key = mr.key;
  t.y.path->ops->unexpose(t.y.path, &mr);
  assert_int_equal(t.x.path->ops->write(t.x.path, &r), 0);
  UNTIL(&t.k, t.x.downs && t.y.downs);
  settle_for(&t.k, 10);
  {
    unsigned i;
    for (i = 0; i < SIZE; i++) assert_int_equal(target[i], 7);
  }
}

/* Half of the write has arrived when its memory is closed: the rest does not land, whatever that
 * costs. */
static void in_the_middle_of_a_write(void **state) {
  weft__mr_t mr;
  weft__rma_t r = {.niov = 1};
  unsigned i;

  (void) state;
  assert_int_equal(t.y.path->ops->expose(t.y.path, target, SIZE, WEFT__OPEN_WRITE, &mr), 0);
  r.iov[0] = (struct iovec){.iov_base = source, .iov_len = SIZE};
  r.addr = mr.addr;
  r.key = mr.key;
  assert_int_equal(t.x.path->ops->write(t.x.path, &r), 0);
  while (target[100] == 0) pump(&t.k);
  t.y.path->ops->unexpose(t.y.path, &mr);
  memset(target, 7, SIZE);
  if (t.y.path->rail->q->late_writes) UNTIL(&t.k, t.x.downs && t.y.downs);
  settle_for(&t.k, 50);
  for (i = 0; i < SIZE; i++) assert_int_equal(target[i], 7);
}

/* Out of range, with a good key. */
static void out_of_range(void **state) {
  weft__mr_t mr;
  weft__rma_t r = {.niov = 1};

  (void) state;
  memset(target, 7, SIZE);
  assert_int_equal(t.y.path->ops->expose(t.y.path, target, 4096, WEFT__OPEN_WRITE, &mr), 0);
  r.iov[0] = (struct iovec){.iov_base = source, .iov_len = 4097};
  r.addr = mr.addr;
  r.key = mr.key;
  assert_int_equal(t.x.path->ops->write(t.x.path, &r), 0);
  UNTIL(&t.k, t.y.downs);
  assert_int_equal(target[0], 7);
  assert_int_equal(target[4096], 7);
  t.y.path->ops->unexpose(t.y.path, &mr); /* also on a path that is down */
}

/* Closing with writes under way: every one is answered, then `closed`, then nothing. */
static void close_with_writes_outstanding(void **state) {
  weft__mr_t mr;
  weft__rma_t r[RMA_DEPTH];
  unsigned i;

  (void) state;
  memset(r, 0, sizeof(r));
  assert_int_equal(t.y.path->ops->expose(t.y.path, target, SIZE, WEFT__OPEN_WRITE, &mr), 0);
  for (i = 0; i < RMA_DEPTH; i++) {
    r[i].niov = 1;
    r[i].iov[0] = (struct iovec){.iov_base = source, .iov_len = SIZE};
    r[i].addr = mr.addr;
    r[i].key = mr.key;
    assert_int_equal(t.x.path->ops->write(t.x.path, &r[i]), 0);
  }
  t.x.path->ops->close(t.x.path);
  assert_int_equal(t.x.closed, 0);
  while (t.x.closed == 0) {
    if (t.x.rma_done < RMA_DEPTH) assert_int_equal(t.x.closed, 0);
    pump(&t.k);
  }
  assert_int_equal(t.x.rma_done, RMA_DEPTH);
  assert_true(t.x.rma_status < 0);
  assert_int_equal(t.x.downs, 0);
  t.x.path = NULL;
  UNTIL(&t.k, t.y.downs);
  t.y.path->ops->unexpose(t.y.path, &mr);
}

/* The same at the end that is written to: when `closed` came, nothing lands any more. */
static void close_the_written_end(void **state) {
  weft__mr_t mr;
  weft__rma_t r[4];
  unsigned i;

  (void) state;
  memset(r, 0, sizeof(r));
  assert_int_equal(t.y.path->ops->expose(t.y.path, target, SIZE, WEFT__OPEN_WRITE, &mr), 0);
  for (i = 0; i < 4; i++) {
    r[i].niov = 1;
    r[i].iov[0] = (struct iovec){.iov_base = source, .iov_len = SIZE};
    r[i].addr = mr.addr;
    r[i].key = mr.key;
    assert_int_equal(t.x.path->ops->write(t.x.path, &r[i]), 0);
  }
  while (target[100] == 0) pump(&t.k);
  t.y.path->ops->close(t.y.path);
  t.y.path->ops->unexpose(t.y.path, &mr);
  UNTIL(&t.k, t.y.closed);
  t.y.path = NULL;
  memset(target, 7, SIZE);
  UNTIL(&t.k, t.x.downs);
  settle_for(&t.k, 20);
  for (i = 0; i < SIZE; i++) assert_int_equal(target[i], 7);
  end_close(&t.k, &t.x);
  assert_int_equal(t.x.rma_done, 4);
}

#ifdef WEFT_FAULTS
/* Memory that the provider cannot close stays open, and can be closed later. */
static void closing_memory_fails(void **state) {
  weft__mr_t mr;

  (void) state;
  assert_int_equal(t.y.path->ops->expose(t.y.path, target, SIZE, WEFT__OPEN_WRITE, &mr), 0);
  weft__fault_set("mr_close:1:EIO");
  assert_int_equal(t.y.path->ops->unexpose(t.y.path, &mr), -EIO);
  weft__fault_set("");
  assert_non_null(mr.priv);
  assert_int_equal(t.y.path->ops->unexpose(t.y.path, &mr), 0);
  assert_null(mr.priv);
  assert_null(t.b->unclosed);
  /* What nobody asks for again does not keep the domain open: LeakSanitizer would tell. */
  assert_int_equal(t.y.path->ops->expose(t.y.path, target, SIZE, WEFT__OPEN_WRITE, &mr), 0);
  weft__fault_set("mr_close:1:EIO");
  assert_int_equal(t.y.path->ops->unexpose(t.y.path, &mr), -EIO);
  weft__fault_set("");
  assert_non_null(t.b->unclosed);
}
#endif

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(lands_in_pieces, up, down),
      cmocka_unit_test_setup_teardown(placed_before_the_frame, up, down),
      cmocka_unit_test_setup_teardown(depth_and_writable, up, down),
      cmocka_unit_test_setup_teardown(limits_are_checked, up, down),
      cmocka_unit_test_setup_teardown(keys_differ, up, down),
      cmocka_unit_test_setup_teardown(after_unexpose, up, down),
      cmocka_unit_test_setup_teardown(in_the_middle_of_a_write, up, down),
      cmocka_unit_test_setup_teardown(out_of_range, up, down),
      cmocka_unit_test_setup_teardown(close_with_writes_outstanding, up, down),
      cmocka_unit_test_setup_teardown(close_the_written_end, up, down),
#ifdef WEFT_FAULTS
      cmocka_unit_test_setup_teardown(closing_memory_fails, up, down),
#endif
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
