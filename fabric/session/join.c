/* SPDX-License-Identifier: Apache-2.0 */
/* join.c - the blobs that open a path, and what proves that a path belongs to a session.
 *
 * Design notes
 *  - Every proof is HMAC-SHA256 under the session's secret over a label of its own and fields of
 *    fixed size, cut to 16 bytes: no proof can serve in another's place.
 *  - No proof is all zero, and an all-zero one proves nothing. So when the library fails (it can
 *    run out of memory) the answer is zeros: that join fails, and nothing is let in by mistake. The
 *    same holds for a secret that could not be derived.
 *  - Providers may hand a blob over with padding behind it: what follows the fixed size is ignored.
 */
#include "session/join.h"

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "session/wire.h"

static const uint8_t magic[4] = {'W', 'E', 'F', 'T'};

void weft__request_put(uint8_t out[WEFT__REQUEST_SIZE], const weft__request_t *r) {
  memcpy(out, magic, 4);
  out[4] = r->vlow;
  out[5] = r->vhigh;
  out[6] = r->kind;
  out[7] = r->can;
  weft__put64(out + 8, r->key);
  memcpy(out + 16, r->id, 16);
  memcpy(out + 32, r->token, 16);
}

bool weft__request_get(const void *blob, size_t len, weft__request_t *out) {
  const uint8_t *p = blob;

  if (len < WEFT__REQUEST_SIZE || memcmp(p, magic, 4) != 0) return false;
  out->vlow = p[4];
  out->vhigh = p[5];
  out->kind = p[6];
  out->can = p[7];
  out->key = weft__get64(p + 8);
  memcpy(out->id, p + 16, 16);
  memcpy(out->token, p + 32, 16);
  if (out->vlow == 0 || out->vlow > out->vhigh) return false;
  /* One that cannot speak our version is still a Weft: it deserves WEFT__J_VERSION, and its kind is
   * none of our business. */
  if (out->vlow > WEFT__WIRE_VERSION || out->vhigh < WEFT__WIRE_VERSION) return true;
  return out->kind == WEFT__K_HELLO || out->kind == WEFT__K_JOIN;
}

void weft__answer_put(uint8_t out[WEFT__ANSWER_SIZE], const weft__answer_t *a) {
  memcpy(out, magic, 4);
  out[4] = a->version;
  out[5] = a->kind;
  out[6] = a->code;
  out[7] = a->can;
  weft__put64(out + 8, a->key);
  weft__put64(out + 16, a->aux);
  memcpy(out + 24, a->proof, 16);
}

bool weft__answer_get(const void *blob, size_t len, weft__answer_t *out) {
  const uint8_t *p = blob;

  if (len < WEFT__ANSWER_SIZE || memcmp(p, magic, 4) != 0) return false;
  out->version = p[4];
  out->kind = p[5];
  out->code = p[6];
  out->can = p[7];
  out->key = weft__get64(p + 8);
  out->aux = weft__get64(p + 16);
  memcpy(out->proof, p + 24, 16);
  switch (out->kind) {
  case WEFT__A_ACCEPT: return out->version == WEFT__WIRE_VERSION;
  case WEFT__A_REJECT:
  case WEFT__A_TOMBSTONE: return true;
  default: return false;
  }
}

const char *weft__jcode_text(unsigned code) {
  switch (code) {
  case WEFT__J_OK: return "accepted";
  case WEFT__J_VERSION: return "no protocol version in common";
  case WEFT__J_NO_SESSION: return "no such session";
  case WEFT__J_BAD_TOKEN: return "the token does not belong to the session, or was used before";
  case WEFT__J_BUSY: return "too many handshakes are going on";
  case WEFT__J_CLOSING: return "the session or its listener is closing";
  case WEFT__J_MALFORMED: return "the request is malformed";
  case WEFT__J_FULL: return "the session has all the paths it may have";
  default: return "rejected for an unknown reason";
  }
}

static bool all_zero(const uint8_t *p, size_t n) {
  uint8_t any = 0;
  size_t i;

  for (i = 0; i < n; i++) any |= p[i];
  return any == 0;
}

/* HMAC-SHA256 over the label, then the data; out is zeroed when it fails. */
static void mac(const uint8_t *key, size_t keylen, const char *label, const uint8_t *data,
                size_t len, uint8_t *out, size_t outlen) {
  uint8_t text[64], full[EVP_MAX_MD_SIZE];
  size_t n = strlen(label);
  unsigned fulllen = 0;

  memset(out, 0, outlen);
  if (n + len > sizeof(text)) return;
  memcpy(text, label, n);
  memcpy(text + n, data, len);
  if (HMAC(EVP_sha256(), key, (int) keylen, text, n + len, full, &fulllen) != NULL &&
      fulllen >= outlen)
    memcpy(out, full, outlen);
  OPENSSL_cleanse(full, sizeof(full));
}

void weft__join_token(const uint8_t secret[32], const uint8_t id[16], uint64_t key,
                      uint32_t counter, uint8_t out[16]) {
  uint8_t data[28];

  memset(out, 0, 16);
  if (all_zero(secret, 32)) return;
  memcpy(data, id, 16);
  weft__put64(data + 16, key);
  weft__put32(data + 24, counter);
  weft__put32(out, counter);
  mac(secret, 32, "weft join token", data, sizeof(data), out + 4, 12);
}

uint32_t weft__join_counter(const uint8_t token[16]) {
  return weft__get32(token);
}

bool weft__join_token_ok(const uint8_t secret[32], const uint8_t id[16], uint64_t key,
                         const uint8_t token[16]) {
  uint8_t want[16];

  weft__join_token(secret, id, key, weft__join_counter(token), want);
  return !all_zero(want + 4, 12) && weft__proof_equal(want, token);
}

void weft__join_proof(const uint8_t secret[32], const uint8_t id[16], uint64_t joiner_key,
                      uint64_t acceptor_key, uint64_t aux, uint8_t out[16]) {
  uint8_t data[40];

  memset(out, 0, 16);
  if (all_zero(secret, 32)) return;
  memcpy(data, id, 16);
  weft__put64(data + 16, joiner_key);
  weft__put64(data + 24, acceptor_key);
  weft__put64(data + 32, aux);
  mac(secret, 32, "weft join proof", data, sizeof(data), out, 16);
}

bool weft__proof_equal(const uint8_t a[16], const uint8_t b[16]) {
  int nothing = (int) all_zero(a, 16) | (int) all_zero(b, 16);

  return (CRYPTO_memcmp(a, b, 16) | nothing) == 0;
}

void weft__join_secret(const uint8_t nonce_c[32], const uint8_t nonce_a[32], const uint8_t id[16],
                       uint8_t secret[32]) {
  uint8_t key[64];

  memcpy(key, nonce_c, 32);
  memcpy(key + 32, nonce_a, 32);
  mac(key, sizeof(key), "weft secret", id, 16, secret, 32);
  OPENSSL_cleanse(key, sizeof(key));
}
