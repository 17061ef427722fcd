/* SPDX-License-Identifier: Apache-2.0 */
/* join_test.c - the blobs that open a path, byte for byte, and proofs against values computed
 * elsewhere (Python's hmac and hashlib). */
#include "session/join.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const uint8_t id[16] = {0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
                               0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf};
static const uint64_t joiner = 0x1122334455667788u, acceptor = 0x99aabbccddeeff00u;

static void the_secret(uint8_t secret[32]) {
  uint8_t c[32], a[32];
  unsigned i;

  for (i = 0; i < 32; i++) {
    c[i] = (uint8_t) i;
    a[i] = (uint8_t) (32 + i);
  }
  weft__join_secret(c, a, id, secret);
}

static const uint8_t token[16] = {0x05, 0x00, 0x00, 0x00, 0x32, 0xda, 0xbe, 0x33,
                                  0x1f, 0xe2, 0x08, 0x03, 0x00, 0xc4, 0x8a, 0xc7};
static const uint8_t proof[16] = {0xa2, 0x55, 0xd7, 0xbf, 0xb2, 0x19, 0x0d, 0xa0,
                                  0x07, 0x2c, 0x61, 0x66, 0xd1, 0x5e, 0x9c, 0x3d};

static const uint8_t golden_request[48] = {
    'W',  'E',  'F',  'T',  1,    1,    2,    0,    0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
    0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf,
    0x05, 0x00, 0x00, 0x00, 0x32, 0xda, 0xbe, 0x33, 0x1f, 0xe2, 0x08, 0x03, 0x00, 0xc4, 0x8a, 0xc7};

static const uint8_t golden_answer[40] = {
    'W',  'E',  'F',  'T',  1,    1,    0,    0,    0x00, 0xff, 0xee, 0xdd, 0xcc, 0xbb,
    0xaa, 0x99, 7,    0,    0,    0,    0,    0,    0,    0,    0xa2, 0x55, 0xd7, 0xbf,
    0xb2, 0x19, 0x0d, 0xa0, 0x07, 0x2c, 0x61, 0x66, 0xd1, 0x5e, 0x9c, 0x3d};

static void requests(void **state) {
  weft__request_t r = {.vlow = 1, .vhigh = 1, .kind = WEFT__K_JOIN, .key = joiner}, back;
  uint8_t out[48], padded[64];
  size_t n;

  (void) state;
  memcpy(r.id, id, 16);
  memcpy(r.token, token, 16);
  memset(out, 0xee, sizeof(out));
  weft__request_put(out, &r);
  assert_memory_equal(out, golden_request, 48);
  assert_true(weft__request_get(out, 48, &back));
  assert_int_equal(back.vlow, 1);
  assert_int_equal(back.vhigh, 1);
  assert_int_equal(back.kind, WEFT__K_JOIN);
  assert_int_equal(back.key, joiner);
  assert_memory_equal(back.id, id, 16);
  assert_memory_equal(back.token, token, 16);

  memset(padded, 0, sizeof(padded)); /* RDMA CM pads private data */
  memcpy(padded, out, 48);
  assert_true(weft__request_get(padded, 56, &back));
  for (n = 0; n < 48; n++) {
    uint8_t *cut = malloc(n + (n == 0));
    assert_non_null(cut);
    memcpy(cut, out, n);
    assert_false(weft__request_get(cut, n, &back));
    free(cut);
  }
}

static void refused_requests(void **state) {
  uint8_t b[48];
  weft__request_t r;

  (void) state;
#define TRY(at, v) (memcpy(b, golden_request, 48), b[at] = (v), weft__request_get(b, 48, &r))
  assert_false(TRY(0, 'w'));
  assert_false(TRY(3, 0));
  assert_false(TRY(4, 0)); /* version 0 */
  assert_false(TRY(4, 2)); /* lowest above highest */
  assert_false(TRY(6, 0)); /* unknown kinds */
  assert_false(TRY(6, 3));
  assert_true(TRY(7, 1)); /* it reads */
  assert_int_equal(r.can, WEFT__CAN_READ);
  assert_true(TRY(7, 0xff)); /* and more than we know of */
  assert_true(TRY(5, 9));    /* versions 1 to 9: we are among them */
  assert_true(TRY(6, 1));
#undef TRY
  /* Of another version: still a Weft, to be told so. */
  memcpy(b, golden_request, 48);
  b[4] = b[5] = 2;
  b[6] = 77;
  assert_true(weft__request_get(b, 48, &r));
  assert_int_equal(r.vlow, 2);
  /* HTTP is not Weft. */
  memset(b, ' ', sizeof(b));
  memcpy(b, "GET / HTTP/1.1", 14);
  assert_false(weft__request_get(b, 48, &r));
}

static void answers(void **state) {
  weft__answer_t a = {.kind = WEFT__A_ACCEPT, .version = 1, .key = acceptor, .aux = 7}, back;
  uint8_t out[40];
  size_t n;

  (void) state;
  memcpy(a.proof, proof, 16);
  memset(out, 0xee, sizeof(out));
  weft__answer_put(out, &a);
  assert_memory_equal(out, golden_answer, 40);
  assert_true(weft__answer_get(out, 40, &back));
  assert_int_equal(back.kind, WEFT__A_ACCEPT);
  assert_int_equal(back.version, 1);
  assert_int_equal(back.code, 0);
  assert_int_equal(back.key, acceptor);
  assert_int_equal(back.aux, 7);
  assert_memory_equal(back.proof, proof, 16);
  for (n = 0; n < 40; n++) {
    uint8_t *cut = malloc(n + (n == 0));
    assert_non_null(cut);
    memcpy(cut, out, n);
    assert_false(weft__answer_get(cut, n, &back));
    free(cut);
  }
}

static void refused_answers(void **state) {
  uint8_t b[40];
  weft__answer_t a;

  (void) state;
#define TRY(at, v) (memcpy(b, golden_answer, 40), b[at] = (v), weft__answer_get(b, 40, &a))
  assert_false(TRY(0, 0));
  assert_false(TRY(4, 0)); /* accepted with a version that we did not offer */
  assert_false(TRY(4, 2));
  assert_false(TRY(5, 0)); /* unknown kinds */
  assert_false(TRY(5, 4));
  assert_true(TRY(7, 1)); /* it reads */
  assert_int_equal(a.can, WEFT__CAN_READ);
  assert_true(TRY(7, 0xff)); /* and more than we know of */
  assert_true(TRY(5, WEFT__A_TOMBSTONE));
#undef TRY
  /* A rejection for the version comes from one that speaks another. */
  memcpy(b, golden_answer, 40);
  b[4] = 2;
  b[5] = WEFT__A_REJECT;
  b[6] = WEFT__J_VERSION;
  assert_true(weft__answer_get(b, 40, &a));
  assert_int_equal(a.code, WEFT__J_VERSION);
}

static void known_answers(void **state) {
  static const uint8_t want[32] = {0xb6, 0xe7, 0xd2, 0xbe, 0xa0, 0x22, 0x5f, 0x99, 0x1c, 0x5d, 0x47,
                                   0xbc, 0xd5, 0x50, 0x3a, 0x5f, 0x39, 0xc5, 0xbc, 0x55, 0xc7, 0xae,
                                   0x15, 0xca, 0xb6, 0xa8, 0xdb, 0xcc, 0x62, 0xb0, 0x08, 0x91};
  uint8_t secret[32], out[16];

  (void) state;
  the_secret(secret);
  assert_memory_equal(secret, want, 32);
  weft__join_token(secret, id, joiner, 5, out);
  assert_memory_equal(out, token, 16);
  assert_int_equal(weft__join_counter(token), 5);
  assert_true(weft__join_token_ok(secret, id, joiner, token));
  weft__join_proof(secret, id, joiner, acceptor, 7, out);
  assert_memory_equal(out, proof, 16);
}

/* Every input matters. */
static void proofs_differ(void **state) {
  uint8_t secret[32], other[32], id2[16], out[16];

  (void) state;
  the_secret(secret);
  memcpy(other, secret, 32);
  other[31] ^= 1;
  memcpy(id2, id, 16);
  id2[0] ^= 1;
  assert_false(weft__join_token_ok(other, id, joiner, token));
  assert_false(weft__join_token_ok(secret, id2, joiner, token));
  assert_false(weft__join_token_ok(secret, id, joiner + 1, token));
  memcpy(out, token, 16);
  out[0]++; /* the counter */
  assert_false(weft__join_token_ok(secret, id, joiner, out));
  weft__join_proof(other, id, joiner, acceptor, 7, out);
  assert_false(weft__proof_equal(out, proof));
  weft__join_proof(secret, id2, joiner, acceptor, 7, out);
  assert_false(weft__proof_equal(out, proof));
  weft__join_proof(secret, id, acceptor, joiner, 7, out);
  assert_false(weft__proof_equal(out, proof));
  weft__join_proof(secret, id, joiner, acceptor, 8, out);
  assert_false(weft__proof_equal(out, proof));
}

/* A secret that could not be derived, or a proof that could not be computed, lets nobody in. */
static void zeros_prove_nothing(void **state) {
  static const uint8_t zero[32];
  uint8_t out[16], proved[16];
  unsigned i;

  (void) state;
  assert_false(weft__proof_equal(zero, zero));
  weft__join_token(zero, id, joiner, 5, out);
  assert_memory_equal(out, zero, 16);
  assert_false(weft__join_token_ok(zero, id, joiner, zero));
  weft__join_proof(zero, id, joiner, acceptor, 7, out);
  assert_memory_equal(out, zero, 16);
  memcpy(proved, proof, 16);
  assert_true(weft__proof_equal(proved, proof));
  for (i = 0; i < 128; i++) {
    proved[i / 8] ^= (uint8_t) (1u << i % 8);
    assert_false(weft__proof_equal(proved, proof));
    proved[i / 8] ^= (uint8_t) (1u << i % 8);
  }
}

static void texts(void **state) {
  unsigned i, k;

  (void) state;
  for (i = 0; i <= WEFT__J_FULL; i++)
    for (k = i + 1; k <= WEFT__J_FULL + 1; k++)
      assert_string_not_equal(weft__jcode_text(i), weft__jcode_text(k));
  assert_string_equal(weft__jcode_text(WEFT__J_FULL + 1), weft__jcode_text(9999));
}

int main(void) {
  static const struct CMUnitTest tests[] = {
      cmocka_unit_test(requests),      cmocka_unit_test(refused_requests),
      cmocka_unit_test(answers),       cmocka_unit_test(refused_answers),
      cmocka_unit_test(known_answers), cmocka_unit_test(proofs_differ),
      cmocka_unit_test(texts),         cmocka_unit_test(zeros_prove_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
