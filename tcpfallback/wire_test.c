/* SPDX-License-Identifier: Apache-2.0 */
/* wire_test.c - headers byte for byte, and each rule by which one is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wire.h"

static int get(const uint8_t *p, size_t n, bool swap, tf_hdr_t *h, const char **why) {
  size_t need = 0;
  int r = tf_hdr_get(p, n, swap, h, &need, why);

  if (r == 0) assert_true(need > n && need <= TF_HDR_MAX);
  if (r < 0) assert_non_null(*why);
  return r;
}

static void handshake_bytes(void **state) {
  static const uint8_t want[TF_CM_HDR] = {3, 1, 1,
                                          0, [24] = 1}; /* as tcp sends it, little-endian host */
  uint8_t p[TF_CM_HDR], version;
  tf_cm_t cm;

  (void) state;
  tf_cm_put(p, TF_CM_RESP, 256);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  assert_memory_equal(p, want, sizeof(p));
#endif
  assert_null(tf_cm_get(p, 1u << TF_CM_RESP, &cm, &version));
  assert_int_equal(cm.type, TF_CM_RESP);
  assert_int_equal(cm.len, 256);
  assert_false(cm.swap);
  tf_cm_put(p, TF_CM_NACK, 3);
  assert_int_equal(p[24] | p[31], 0);
  assert_null(tf_cm_get(p, 1u << TF_CM_RESP | 1u << TF_CM_NACK, &cm, &version));
  assert_int_equal(cm.type, TF_CM_NACK);
}

static void handshake_other_order(void **state) {
  uint8_t p[TF_CM_HDR], t, version;
  tf_cm_t cm;

  (void) state;
  tf_cm_put(p, TF_CM_REQ, 7);
  t = p[24];
  p[24] = p[31];
  p[31] = t;
  assert_null(tf_cm_get(p, 1u << TF_CM_REQ, &cm, &version));
  assert_true(cm.swap);
  assert_int_equal(cm.len, 7); /* big endian whoever sends it */
}

static void handshake_refused(void **state) {
  static const struct {
    unsigned at;
    uint8_t value;
  } bad[] = {{0, 2},   {0, 4}, {0, 0x83}, {1, 1},  {1, 5},
             {1, 200}, {2, 2}, {24, 2},   {24, 0}, {27, 9}};
  uint8_t p[TF_CM_HDR], version;
  tf_cm_t cm;
  unsigned i;

  (void) state;
  for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
    tf_cm_put(p, TF_CM_REQ, 1);
    p[bad[i].at] = bad[i].value;
    assert_non_null(tf_cm_get(p, 1u << TF_CM_REQ, &cm, &version));
    assert_int_equal(version, p[0]);
  }
}

static const tf_hdr_t samples[] = {
    {.op = TF_OP_MSG, .id = 9, .size = 5},
    {.op = TF_OP_MSG, .size = UINT64_MAX - TF_HDR_MAX},
    {.op = TF_OP_MSG, .flags = TF_FL_DATA, .data = 0x0102030405060708, .size = 0},
    {.op = TF_OP_MSG, .flags = TF_FL_DATA | TF_FL_DELIVERY, .data = 1, .size = 1 << 20},
    {.op = TF_OP_MSG, .ack = true},
    {.op = TF_OP_RSP, .size = 77},
    {.op = TF_OP_READ, .nrma = 1, .rma = {{1, 2, 3}}},
    {.op = TF_OP_READ, .nrma = 4, .rma = {{1, 2, 3}, {4, 5, 6}, {7, 8, 9}, {10, 11, UINT64_MAX}}},
    {.op = TF_OP_WRITE, .nrma = 1, .size = 2, .rma = {{1, 2, 3}}},
    {.op = TF_OP_WRITE,
     .nrma = 4,
     .flags = TF_FL_DATA | TF_FL_DELIVERY | TF_FL_COMMIT,
     .data = 3,
     .size = 4,
     .rma = {{0, 1, 0}, {0, 1, 0}, {0, 1, 0}, {0, 1, 0}}},
};
enum { SAMPLES = sizeof(samples) / sizeof(samples[0]) };

static void headers_there_and_back(void **state) {
  unsigned i;
  int swap;

  (void) state;
  for (i = 0; i < SAMPLES; i++)
    for (swap = 0; swap < 2; swap++) {
      uint8_t p[TF_HDR_MAX], again[TF_HDR_MAX];
      const char *why = NULL;
      tf_hdr_t h = {0};
      size_t n = tf_hdr_put(p, &samples[i], swap != 0), k;

      assert_int_equal(n, tf_hdr_len(&samples[i]));
      for (k = 0; k < n; k++) assert_int_equal(get(p, k, swap != 0, &h, &why), 0);
      assert_int_equal(get(p, n, swap != 0, &h, &why), n);
      assert_int_equal(h.size, samples[i].size);
      assert_int_equal(tf_hdr_put(again, &h, swap != 0), n);
      assert_memory_equal(p, again, n);
    }
}

static void header_bytes(void **state) {
  static const uint8_t want[] = {3,    4,    5,    0,    0, 1, 48, 9, 50, 0, 0, 0, 0, 0, 0, 0,
                                 0x44, 0x33, 0x22, 0x11, 0, 0, 0,  0, 16, 0, 0, 0, 0, 0, 0, 0,
                                 2,    0,    0,    0,    0, 0, 0,  0, 7,  0, 0, 0, 0, 0, 0, 0};
  tf_hdr_t h = {.op = TF_OP_WRITE,
                .flags = TF_FL_DATA | TF_FL_DELIVERY,
                .nrma = 1,
                .id = 9,
                .size = 2,
                .data = 0x11223344,
                .rma = {{16, 2, 7}}};
  uint8_t p[TF_HDR_MAX];

  (void) state;
  assert_int_equal(tf_hdr_put(p, &h, __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__), sizeof(want));
  assert_memory_equal(p, want, sizeof(want));
  tf_hdr_put(p, &h, __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__); /* big endian */
  assert_int_equal(p[3], 5);
  assert_int_equal(p[15], 50);
}

/* One byte of a good header made bad. */
static void headers_refused(void **state) {
  static const struct {
    unsigned sample, at;
    uint8_t value;
    const char *what;
  } bad[] = {
      {0, 0, 2, "version"},
      {0, 0, 0, "version"},
      {0, 1, 1, "tagged"},
      {0, 1, 5, "operation"},
      {0, 1, 255, "operation"},
      {0, 2, 2, "reserved flag"},
      {0, 2, 8, "commit of a message"},
      {0, 2, 0x80, "tagged flag"},
      {0, 3, 1, "high flag"},
      {0, 4, 1, "op_data"},
      {0, 4, 3, "op_data"},
      {0, 5, 5, "regions"},
      {0, 5, 200, "regions"},
      {0, 6, 0, "length"},
      {0, 6, 15, "length"},
      {0, 6, 24, "length"},
      {0, 6, 255, "length"},
      {0, 8, 15, "size"},
      {0, 8, 0, "size"},
      {2, 6, 16, "length with data"},
      {2, 8, 23, "size"},
      {4, 8, 17, "ack with payload"},
      {4, 2, 4, "ack with a flag"},
      {5, 2, 1, "answer with data"},
      {5, 4, 2, "answer as ack"},
      {6, 5, 0, "no region"},
      {6, 5, 2, "regions and length"},
      {6, 8, 41, "request, payload"},
      {6, 2, 4, "request, flag"},
      {8, 5, 0, "no region"},
      {8, 8, 43, "sum"},
      {8, 24, 3, "sum"},
      {8, 4, 2, "write as ack"},
  };
  unsigned i;

  (void) state;
  for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
    uint8_t p[TF_HDR_MAX] = {0};
    const char *why = NULL;
    tf_hdr_t h;
    bool swap = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__;

    tf_hdr_put(p, &samples[bad[i].sample], swap);
    p[bad[i].at] = bad[i].value;
    if (get(p, sizeof(p), swap, &h, &why) != -1) fail_msg("accepted: %s (%u)", bad[i].what, i);
  }
}

static void sum_that_wraps(void **state) {
  tf_hdr_t h = {.op = TF_OP_WRITE, .nrma = 2, .size = 1, .rma = {{0, UINT64_MAX, 0}, {0, 2, 0}}};
  uint8_t p[TF_HDR_MAX];
  const char *why = NULL;
  size_t n = tf_hdr_put(p, &h, false);

  (void) state;
  assert_int_equal(get(p, n, false, &h, &why), -1);
}

/* tcp does not clear the count of regions of a message, and repeats the question's in an answer. */
static void left_over_region_counts(void **state) {
  static const unsigned which[] = {0, 2, 4, 5};
  unsigned i;

  (void) state;
  for (i = 0; i < 4; i++) {
    uint8_t p[TF_HDR_MAX];
    const char *why = NULL;
    tf_hdr_t h;
    size_t n = tf_hdr_put(p, &samples[which[i]], false);

    p[5] = 4;
    assert_int_equal(get(p, n, false, &h, &why), n);
    assert_int_equal(h.nrma, 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(handshake_bytes),   cmocka_unit_test(handshake_other_order),
      cmocka_unit_test(handshake_refused), cmocka_unit_test(headers_there_and_back),
      cmocka_unit_test(header_bytes),      cmocka_unit_test(headers_refused),
      cmocka_unit_test(sum_that_wraps),    cmocka_unit_test(left_over_region_counts),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
