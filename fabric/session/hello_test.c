/* SPDX-License-Identifier: Apache-2.0 */
/* hello_test.c - a HELLO's payload byte for byte, what may be left out, and every reason to refuse
 * one. */
#include "session/hello.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <cmocka.h>

#include "session/wire.h"

/* docs/wire.md shows these bytes. */
static const uint8_t golden[] = {
    1,    0,    16,   0,    0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a,
    0x1b, 0x1c, 0x1d, 0x1e, 0x1f, /* instance */
    2,    0,    32,   0,    0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a,
    0x2b, 0x2c, 0x2d, 0x2e, 0x2f, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39,
    0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f,                                  /* nonce */
    3,    0,    8,    0,    0,    0,    0,    4,    0,    0,    0,    0, /* 64 MiB */
    4,    0,    8,    0,    0,    4,    0,    0,    0,    0,    0,    0, /* 1,024 messages */
    5,    0,    8,    0,    0,    0,    0x10, 0,    0,    0,    0,    0, /* 1 MiB */
    6,    0,    4,    0,    0x30, 0x75, 0,    0,                         /* 30 s */
    7,    0,    6,    0,    'h',  '1',  '/',  'e',  'c',  'h',           /* name */
    16,   0,    8,    0,    0x20, 0x4e, 0,    0,    0,    0,    0,    0, /* 20 us */
    17,   0,    8,    0,    0,    0xca, 0x9a, 0x3b, 0,    0,    0,    0, /* 1 GB/s */
    18,   0,    8,    0,    64,   0,    0,    0,    0,    0,    0,    0, /* message size */
    19,   0,    8,    0,    0xe8, 3,    0,    0,    0,    0,    0,    0, /* 1 s */
    20,   0,    4,    0,    1,    0,    0,    0,                         /* at most once */
    21,   0,    4,    0,    1,    0,    0,    0,                         /* consumed */
    22,   0,    4,    0,    2,    0,    0,    0,                         /* spin */
    23,   0,    4,    0,    50,   0,    0,    0,                         /* 50 us */
    24,   0,    4,    0,    1,    0,    0,    0,                         /* strict */
    25,   0,    4,    0,    2,    0,    0,    0,                         /* two standbys */
    26,   0,    5,    0,    'v',  'e',  'r',  'b',  's',                 /* require */
    27,   0,    3,    0,    'u',  'd',  'p',                             /* forbid */
    28,   0,    3,    0,    't',  'c',  'p',                             /* bootstrap */
    32,   0,    25,   0,    4,    3,    2,    0,    0,    0,    0x58, 0x1b, 0,    0xe4, 0x0b,
    0x54, 2,    0,    0,    0,    10,   9,    0,    2,    't',  'c',  'p',  'v',  '0', /* 10.9.0.2:7000
                                                                                        */
    32,   0,    37,   0,    6,    5,    0,    0,    0,    0,    0x59, 0x1b, 0,    0,    0,
    0,    0,    0,    0,    0,    0xfe, 0x80, 0,    0,    0,    0,    0,    0,    0,    0,
    0,    0,    0,    0,    0,    1,    'v',  'e',  'r',  'b',  's', /* [fe80::1]:7001 */
};

static weft__hello_t full(void) {
  weft__hello_t h;
  struct sockaddr_in *sin;
  struct sockaddr_in6 *sin6;
  unsigned i;

  memset(&h, 0, sizeof(h));
  for (i = 0; i < 16; i++) h.instance[i] = (uint8_t) (0x10 + i);
  for (i = 0; i < 32; i++) h.nonce[i] = (uint8_t) (0x20 + i);
  h.max_message = 64u << 20;
  h.win_messages = 1024;
  h.win_bytes = 1u << 20;
  h.peer_timeout_ms = 30000;
  strcpy(h.name, "h1/ech");
  h.qos.size = sizeof(h.qos);
  h.qos.latency_ns = 20000;
  h.qos.bandwidth = 1000000000;
  h.qos.message_size = 64;
  h.qos.interruption_ms = 1000;
  h.qos.reliability = WEFT_AT_MOST_ONCE;
  h.qos.ack = WEFT_ACK_CONSUMED;
  h.qos.cpu = WEFT_CPU_SPIN;
  h.qos.spin_us = 50;
  h.qos.strict = 1;
  h.qos.standby = 2;
  strcpy(h.qos.require, "verbs");
  strcpy(h.qos.forbid, "udp");
  strcpy(h.qos.bootstrap, "tcp");
  h.noffers = 2;
  strcpy(h.offers[0].provider, "tcp");
  strcpy(h.offers[0].device, "v0");
  h.offers[0].speed_bps = 10000000000u;
  sin = (struct sockaddr_in *) &h.offers[0].addr;
  sin->sin_family = AF_INET;
  sin->sin_port = htons(7000);
  inet_pton(AF_INET, "10.9.0.2", &sin->sin_addr);
  strcpy(h.offers[1].provider, "verbs");
  sin6 = (struct sockaddr_in6 *) &h.offers[1].addr;
  sin6->sin6_family = AF_INET6;
  sin6->sin6_port = htons(7001);
  inet_pton(AF_INET6, "fe80::1", &sin6->sin6_addr);
  return h;
}

static int get(const uint8_t *p, size_t len, weft__hello_t *out) {
  uint8_t *exact = malloc(len + (len == 0));
  const char *why;
  int err;

  assert_non_null(exact);
  memcpy(exact, p, len);
  err = weft__hello_get(exact, len, out, &why);
  assert_int_equal(err != 0, why != NULL);
  free(exact);
  return err;
}

static void golden_hello(void **state) {
  weft__hello_t h = full(), back;
  uint8_t out[WEFT__HELLO_MAX];
  size_t n;

  (void) state;
  n = weft__hello_put(out, sizeof(out), &h);
  assert_int_equal(n, sizeof(golden));
  assert_memory_equal(out, golden, n);
  memset(&back, 0xee, sizeof(back));
  assert_int_equal(get(golden, sizeof(golden), &back), 0);
  assert_memory_equal(&back, &h, sizeof(h));
}

/* The scope id is the receiver's own business. */
static void scope_ids_do_not_travel(void **state) {
  weft__hello_t h = full(), back;
  uint8_t out[WEFT__HELLO_MAX];

  (void) state;
  ((struct sockaddr_in6 *) &h.offers[1].addr)->sin6_scope_id = 3;
  ((struct sockaddr_in6 *) &h.offers[1].addr)->sin6_flowinfo = 3;
  assert_int_equal(weft__hello_put(out, sizeof(out), &h), sizeof(golden));
  assert_memory_equal(out, golden, sizeof(golden));
  assert_int_equal(get(out, sizeof(golden), &back), 0);
  assert_int_equal(((struct sockaddr_in6 *) &back.offers[1].addr)->sin6_scope_id, 0);
}

static void too_small_a_buffer(void **state) {
  weft__hello_t h = full();
  size_t n;

  (void) state;
  for (n = 0; n < sizeof(golden); n++) {
    uint8_t *out = malloc(n + (n == 0));
    assert_non_null(out);
    assert_int_equal(weft__hello_put(out, n, &h), 0);
    free(out);
  }
}

static void the_largest_hello_fits(void **state) {
  weft__hello_t h = full(), back;
  uint8_t out[WEFT__HELLO_MAX];
  size_t n;
  unsigned i;

  (void) state;
  memset(h.name, 'n', sizeof(h.name) - 1);
  memset(h.qos.require, 'r', sizeof(h.qos.require) - 1);
  memset(h.qos.forbid, 'f', sizeof(h.qos.forbid) - 1);
  memset(h.qos.bootstrap, 'b', sizeof(h.qos.bootstrap) - 1);
  h.noffers = WEFT__OFFERS_MAX;
  for (i = 0; i < h.noffers; i++) {
    h.offers[i] = h.offers[1];
    memset(h.offers[i].provider, 'p', sizeof(h.offers[i].provider) - 1);
    memset(h.offers[i].device, 'd', sizeof(h.offers[i].device) - 1);
  }
  n = weft__hello_put(out, sizeof(out), &h);
  assert_in_range(n, 2000, WEFT__HELLO_MAX);
  assert_int_equal(get(out, n, &back), 0);
  assert_memory_equal(&back, &h, sizeof(h));
}

static void what_cannot_be_said(void **state) {
  weft__hello_t h;
  uint8_t out[WEFT__HELLO_MAX];

  (void) state;
#define REFUSED(change)                                                                            \
  (h = full(), change, assert_int_equal(weft__hello_put(out, sizeof(out), &h), 0))
  REFUSED(h.noffers = 17);
  REFUSED(h.offers[0].addr.ss_family = AF_UNIX);
  REFUSED(h.offers[0].provider[0] = 0);
  REFUSED(memset(h.offers[0].provider, 'p', sizeof(h.offers[0].provider)));
  REFUSED(memset(h.offers[0].device, 'd', sizeof(h.offers[0].device)));
  REFUSED(h.offers[0].device[0] = '\n');
  REFUSED(memset(h.name, 'n', sizeof(h.name)));
  REFUSED(h.name[0] = '\x1b');
  REFUSED(h.qos.reliability = 2);
#undef REFUSED
}

/* Every cut of the golden hello: between items it may still be a hello, inside one never. */
static void cut_anywhere(void **state) {
  weft__hello_t back;
  size_t n, edge = 0;

  (void) state;
  for (n = 0; n < sizeof(golden); n++) {
    int err = get(golden, n, &back);
    while (edge < n) edge += 4u + weft__get16(golden + edge + 2);
    if (n != edge) assert_int_equal(err, -1);
  }
}

/* Where the item of this type starts in the golden hello. */
static size_t find(unsigned type) {
  size_t off = 0;

  while (weft__get16(golden + off) != type) off += 4u + weft__get16(golden + off + 2);
  return off;
}

static void required_items(void **state) {
  static const unsigned optional[] = {7, 16, 17, 18, 19, 22, 23, 24, 25, 26, 27, 28};
  static const unsigned required[] = {1, 2, 3, 4, 5, 6, 20, 21};
  weft__hello_t back;
  uint8_t b[sizeof(golden)];
  unsigned i;

  (void) state;
#define WITHOUT(type)                                                                              \
  (memcpy(b, golden, find(type)),                                                                  \
   memcpy(b + find(type), golden + find(type) + 4 + weft__get16(golden + find(type) + 2),          \
          sizeof(golden) - find(type) - 4 - weft__get16(golden + find(type) + 2)),                 \
   get(b, sizeof(golden) - 4 - weft__get16(golden + find(type) + 2), &back))
  for (i = 0; i < sizeof(optional) / sizeof(optional[0]); i++)
    assert_int_equal(WITHOUT(optional[i]), 0);
  for (i = 0; i < sizeof(required) / sizeof(required[0]); i++)
    assert_int_equal(WITHOUT(required[i]), -1);
  assert_int_equal(WITHOUT(16), 0);
  assert_int_equal(back.qos.latency_ns, 0);
#undef WITHOUT
}

static void items_stand_once(void **state) {
  weft__hello_t back;
  uint8_t b[2 * sizeof(golden)];
  unsigned t, n;

  (void) state;
  for (t = 1; t < 32; t++) {
    size_t off, len;

    if ((t > 7 && t < 16) || t > 28) continue;
    off = find(t);
    len = 4u + weft__get16(golden + off + 2);
    memcpy(b, golden, sizeof(golden));
    memcpy(b + sizeof(golden), golden + off, len);
    assert_int_equal(get(b, sizeof(golden) + len, &back), -1);
  }
  /* but offers: 16 of them, not 17 */
  for (n = 14; n <= 15; n++) {
    uint8_t many[sizeof(golden) + 15 * 29];
    unsigned i;

    memcpy(many, golden, sizeof(golden));
    for (i = 0; i < n; i++) memcpy(many + sizeof(golden) + (size_t) 29 * i, golden + find(32), 29);
    assert_int_equal(get(many, sizeof(golden) + (size_t) 29 * n, &back), n == 14 ? 0 : -1);
  }
}

static void unknown_items_are_passed_over(void **state) {
  weft__hello_t h = full(), back;
  uint8_t b[sizeof(golden) + 64];

  (void) state;
  memcpy(b, golden, sizeof(golden));
  weft__put16(b + sizeof(golden), 0xbeef);
  weft__put16(b + sizeof(golden) + 2, 5);
  memset(b + sizeof(golden) + 4, 0xff, 5);
  weft__put16(b + sizeof(golden) + 9, 0xbeef); /* twice: who knows whether it may */
  weft__put16(b + sizeof(golden) + 11, 0);
  assert_int_equal(get(b, sizeof(golden) + 13, &back), 0);
  assert_memory_equal(&back, &h, sizeof(h));
}

static void wrong_values(void **state) {
  weft__hello_t back;
  uint8_t b[sizeof(golden)];
  unsigned t;

  (void) state;
#define TRY(type, at, v)                                                                           \
  (memcpy(b, golden, sizeof(golden)), b[find(type) + (at)] = (v), get(b, sizeof(golden), &back))
  for (t = 20; t <= 22; t++) { /* unknown values of a need */
    assert_int_equal(TRY(t, 4, 3), -1);
    assert_int_equal(TRY(t, 7, 1), -1);
  }
  assert_int_equal(TRY(24, 4, 2), -1);
  assert_int_equal(TRY(7, 4, 0), -1); /* texts: no NUL, no control character */
  assert_int_equal(TRY(7, 4, '\n'), -1);
  assert_int_equal(TRY(7, 4, 0x7f), -1);
  assert_int_equal(TRY(7, 4, 0xc3), 0); /* UTF-8 passes */
  assert_int_equal(TRY(26, 4, '\r'), -1);
  assert_int_equal(TRY(32, 4, 5), -1); /* family */
  assert_int_equal(TRY(32, 4, 6), -1); /* an IPv6 address is longer */
  assert_int_equal(TRY(32, 5, 0), -1); /* no provider */
  assert_int_equal(TRY(32, 5, 4), -1); /* lengths that do not add up */
  assert_int_equal(TRY(32, 6, 3), -1);
  assert_int_equal(TRY(32, 5, 255), -1);
  assert_int_equal(TRY(32, 6, 255), -1);
  assert_int_equal(TRY(32, 24, 1), -1); /* provider's name */
  assert_int_equal(TRY(32, 27, 1), -1); /* device's name */
#undef TRY
}

/* One item of this type and length between the required ones. */
static int with_item(unsigned type, size_t len) {
  static uint8_t b[sizeof(golden) + 70000];
  weft__hello_t back;
  size_t off = find(7);

  memcpy(b, golden, off);
  weft__put16(b + off, (uint16_t) type);
  weft__put16(b + off + 2, (uint16_t) len);
  memset(b + off + 4, 'x', len);
  off += 4 + len;
  memcpy(b + off, golden + find(20), 16); /* reliability, ack */
  return get(b, off + 16, &back);
}

static void wrong_lengths(void **state) {
  (void) state;
  assert_int_equal(with_item(7, 0), -1);
  assert_int_equal(with_item(7, 63), 0);
  assert_int_equal(with_item(7, 64), -1);
  assert_int_equal(with_item(26, 127), 0);
  assert_int_equal(with_item(26, 128), -1);
  assert_int_equal(with_item(16, 8), 0);
  assert_int_equal(with_item(16, 4), -1);
  assert_int_equal(with_item(16, 9), -1);
  assert_int_equal(with_item(23, 4), 0);
  assert_int_equal(with_item(23, 8), -1);
  assert_int_equal(with_item(32, 15), -1);
  assert_int_equal(with_item(900, 7000), 0);
  assert_int_equal(with_item(900, 8192), -1); /* the whole is too long */
  assert_int_equal(with_item(900, 65535), -1);
}

int main(void) {
  static const struct CMUnitTest tests[] = {
      cmocka_unit_test(golden_hello),
      cmocka_unit_test(scope_ids_do_not_travel),
      cmocka_unit_test(too_small_a_buffer),
      cmocka_unit_test(the_largest_hello_fits),
      cmocka_unit_test(what_cannot_be_said),
      cmocka_unit_test(cut_anywhere),
      cmocka_unit_test(required_items),
      cmocka_unit_test(items_stand_once),
      cmocka_unit_test(unknown_items_are_passed_over),
      cmocka_unit_test(wrong_values),
      cmocka_unit_test(wrong_lengths),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
