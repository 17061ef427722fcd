/* SPDX-License-Identifier: Apache-2.0 */
/* plan_test.c - devices and what is made of them: nothing overruns, and what fits is used. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "plan.h"
#include "rail/path.h"

/* As ibv_query_device tells them: rxe and siw of Linux 6.1; mlx5 as a ConnectX-5 has it. */
static const weft__device_t rxe = {.endpoints = 1048559,
                                   .cqs = 1048576,
                                   .cqe = 32767,
                                   .tx = 1048576,
                                   .rx = 1048576,
                                   .sge = 4,
                                   .inject = 256,
                                   .max_msg = 8u << 20,
                                   .reads_out = 128,
                                   .reads_in = 128};
static const weft__device_t siw = {.endpoints = 65536,
                                   .cqs = 65536,
                                   .cqe = 3276800,
                                   .tx = 32768,
                                   .rx = 32768,
                                   .sge = 4,
                                   .inject = 0,
                                   .max_msg = 0x7fffffff,
                                   .reads_out = 128,
                                   .reads_in = 128};
static const weft__device_t mlx5 = {.endpoints = 131072,
                                    .cqs = 16777216,
                                    .cqe = 4194303,
                                    .tx = 32768,
                                    .rx = 32768,
                                    .sge = 4,
                                    .inject = 256,
                                    .max_msg = 1u << 30,
                                    .reads_out = 16,
                                    .reads_in = 16};
static const weft__device_t tiny = {.endpoints = 200,
                                    .cqs = 8,
                                    .cqe = 1023,
                                    .tx = 64,
                                    .rx = 64,
                                    .sge = 2,
                                    .inject = 32,
                                    .max_msg = 1u << 20,
                                    .reads_out = 8,
                                    .reads_in = 4};
static const weft__device_t untold = {.cqe = WEFT__PLAN_CQE, .sge = 4, .max_msg = UINT64_MAX};
static const weft__plan_wish_t usual = {
    .paths = WEFT__PLAN_PATHS, .tx_depth = 64, .rx_depth = 32, .per_cq = 64};

static void sound(const weft__device_t *d, const weft__plan_t *p) {
  uint32_t each = p->tx_depth + p->rma_depth + p->rx_depth;
  assert_true(p->rx_depth >= WEFT__FIRST_GRANT);
  assert_true(p->tx_depth >= WEFT__PLAN_TX_MIN && p->rma_depth >= 1);
  assert_true(p->per_cq >= 1 && p->max_paths >= 1);
  assert_true((uint64_t) p->per_cq * each <= p->cq_size); /* no overrun */
  if (d->cqe) assert_true(p->cq_size <= d->cqe);
  if (d->tx) assert_true(p->tx_depth + p->rma_depth <= d->tx);
  if (d->rx) assert_true(p->rx_depth <= d->rx);
  if (d->endpoints) assert_true(p->max_paths <= d->endpoints);
  if (d->cqs) assert_true((uint64_t) d->cqs * p->per_cq >= p->max_paths);
  if (d->max_msg) assert_true(p->rma_max <= d->max_msg);
  if (d->sge) assert_true(p->iov_max <= d->sge);
  assert_true(p->iov_max >= 1 && p->iov_max <= 4);
  assert_true(p->inject <= d->inject);
  assert_true(p->read_depth >= 1 && p->read_depth <= p->rma_depth);
  if (d->reads_out) assert_true(p->read_depth <= d->reads_out);
  if (d->reads_in) assert_true(p->read_depth <= d->reads_in);
}

static void devices(void **state) {
  static const struct {
    const char *name;
    const weft__device_t *d;
    weft__plan_wish_t w;
    uint32_t tx, rx, per_cq, paths; /* paths 0: at least what was wished */
    const char *binds;
  } table[] = {
      {"rxe", &rxe, {1000, 64, 32, 64}, 64, 32, 64, 0, "endpoints"},
      {"rxe, deep", &rxe, {1000, 4096, 4096, 64}, 4096, 4096, 3, 1048559, "endpoints"},
      {"siw", &siw, {1000, 64, 32, 64}, 64, 32, 64, 65536, "endpoints"},
      {"mlx5", &mlx5, {1000, 64, 32, 64}, 64, 32, 64, 131072, "endpoints"},
      {"mlx5, deep", &mlx5, {1000, 4096, 4096, 64}, 4096, 4096, 64, 131072, "endpoints"},
      /* 200 on 8 queues are 25 each: 40 entries for each of them */
      {"tiny", &tiny, {1000, 64, 32, 64}, 12, 8, 28, 200, "endpoints"},
      {"untold", &untold, {1000, 64, 32, 64}, 64, 32, 64, UINT32_MAX, NULL},
  };
  char why[160];
  weft__plan_t p;
  unsigned i;

  (void) state;
  for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
    print_message("%s\n", table[i].name);
    assert_int_equal(weft__plan(table[i].d, &table[i].w, &p, why, sizeof(why)), 0);
    sound(table[i].d, &p);
    assert_int_equal(p.tx_depth, table[i].tx);
    assert_int_equal(p.rx_depth, table[i].rx);
    assert_int_equal(p.per_cq, table[i].per_cq);
    if (table[i].paths)
      assert_int_equal(p.max_paths, table[i].paths);
    else
      assert_true(p.max_paths >= table[i].w.paths);
    if (table[i].binds)
      assert_string_equal(p.binds, table[i].binds);
    else
      assert_null(p.binds);
  }
}

/* Reads that the device would keep waiting are not posted. */
static void reads(void **state) {
  static const struct {
    uint32_t tx, out, in, want;
  } table[] = {
      {1024, 0, 0, WEFT__PLAN_RMA}, /* not told */
      {1024, 128, 128, WEFT__PLAN_RMA},
      {1024, 16, 16, 16},
      {1024, 4, 4, 4},
      {1024, 1, 128, 1},
      {1024, 128, 1, 1},
      {1024, 128, 0, WEFT__PLAN_RMA},
      {1024, 0, 2, 2},
      {16, 8, 8, 4}, /* a quarter of its queue is for RMA */
  };
  char why[160];
  weft__plan_t p;
  unsigned i;

  (void) state;
  for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
    weft__device_t d = mlx5;
    d.tx = table[i].tx;
    d.reads_out = table[i].out;
    d.reads_in = table[i].in;
    assert_int_equal(weft__plan(&d, &usual, &p, why, sizeof(why)), 0);
    sound(&d, &p);
    assert_int_equal(p.read_depth, table[i].want);
  }
}

/* What nothing can be made of is told with its figures. */
static void refused(void **state) {
  weft__device_t d = tiny;
  char why[160];
  weft__plan_t p;

  (void) state;
  d.cqe = 20;
  assert_int_equal(weft__plan(&d, &usual, &p, why, sizeof(why)), -ENOTSUP);
  assert_non_null(strstr(why, "20 entries"));
  d = tiny;
  d.rx = WEFT__FIRST_GRANT - 1;
  assert_int_equal(weft__plan(&d, &usual, &p, why, sizeof(why)), -ENOTSUP);
  assert_non_null(strstr(why, "7 receives"));
  d = tiny;
  d.tx = WEFT__PLAN_TX_MIN;
  assert_int_equal(weft__plan(&d, &usual, &p, why, sizeof(why)), -ENOTSUP);
  d = tiny;
  d.max_msg = WEFT__FRAME_MAX - 1;
  assert_int_equal(weft__plan(&d, &usual, &p, why, sizeof(why)), -ENOTSUP);
  assert_non_null(strstr(why, "16383"));
}

/* Too few queues for all: then that is what binds. */
static void queues_bind(void **state) {
  weft__device_t d = tiny;
  char why[160];
  weft__plan_t p;

  (void) state;
  d.endpoints = 100000;
  d.cqs = 2;
  assert_int_equal(weft__plan(&d, &usual, &p, why, sizeof(why)), 0);
  sound(&d, &p);
  assert_string_equal(p.binds, "completion queues");
  assert_int_equal(p.max_paths, 2 * (1023 / (12 + 16 + 8)));
}

/* Any device: sound, or refused. */
static void any_device(void **state) {
  uint64_t x = 88172645463325252u;
  char why[160];
  weft__plan_t p;
  unsigned i, planned = 0;

  (void) state;
  for (i = 0; i < 200000; i++) {
    uint32_t v[12];
    unsigned k;
    for (k = 0; k < 12; k++) {
      x ^= x << 13;
      x ^= x >> 7;
      x ^= x << 17;
      v[k] = (uint32_t) (x >> 32) >> (x % 32);
    }
    weft__device_t d = {v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[10], v[11]};
    weft__plan_wish_t w = {1 + v[8] % 5000, 8 + v[9] % 4089, 8 + v[8] % 4089, 1 + v[9] % 1000};
    if (weft__plan(&d, &w, &p, why, sizeof(why)) == 0) {
      sound(&d, &p);
      planned++;
    }
  }
  assert_true(planned > 10000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(devices),     cmocka_unit_test(reads),      cmocka_unit_test(refused),
      cmocka_unit_test(queues_bind), cmocka_unit_test(any_device),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
