/* SPDX-License-Identifier: Apache-2.0 */
/* url_test.c - which URLs are taken, and what is said about those that are not. */
#include "weft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static weft_addr_t addr;
static weft_qos_t qos;
static char err[256];

static int parse(const char *url) {
  memset(&addr, 0xa5, sizeof(addr));
  memset(&qos, 0xa5, sizeof(qos));
  return weft_url_parse(url, &addr, &qos, err, sizeof(err));
}

static void hosts(void **state) {
  static const struct {
    const char *url, *host;
    unsigned port;
  } cases[] = {
      {"weft://10.9.1.2:7000", "10.9.1.2", 7000},
      {"weft://*:0", "*", 0},
      {"weft://*:65535/", "*", 65535},
      {"weft://[::1]:7000", "::1", 7000},
      {"weft://[::]:7000", "::", 7000},
      {"weft://[fe80::1%25eth0]:7000", "fe80::1%eth0", 7000},
      {"weft://[fe80::1%252]:7000/?size=1", "fe80::1%2", 7000},
      {"weft://[::ffff:10.0.0.1]:1", "::ffff:10.0.0.1", 1},
      {"weft://localhost:7000", "localhost", 7000},
      {"weft://db-1.rack_2.example.:7000", "db-1.rack_2.example.", 7000},
      {"weft://1host:7000", "1host", 7000},
      {"weft://h:00080", "h", 80},
  };
  size_t i;
  (void) state;
  for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    if (parse(cases[i].url) != 0) fail_msg("%s: %s", cases[i].url, err);
    assert_string_equal(addr.host, cases[i].host);
    assert_int_equal(addr.port, cases[i].port);
    assert_string_equal(addr.bind, "");
    assert_string_equal(addr.devices, "");
    assert_int_equal(addr.port_low, 0);
    assert_string_equal(err, "");
  }
}

static void parameters(void **state) {
  (void) state;
  assert_int_equal(parse("weft://h:1?latency=20us&reliability=at-most-once&require=verbs,tcp"
                         "&bind=10.9.1.1&devices=eth0,eth1&ports=7000-7010&strict=yes"),
                   0);
  assert_int_equal(qos.size, sizeof(qos));
  assert_int_equal(qos.latency_ns, 20000);
  assert_int_equal(qos.reliability, WEFT_AT_MOST_ONCE);
  assert_string_equal(qos.require, "verbs,tcp");
  assert_int_equal(qos.strict, 1);
  assert_int_equal(qos.message_size, 64); /* what is not named has its default */
  assert_string_equal(addr.bind, "10.9.1.1");
  assert_string_equal(addr.devices, "eth0,eth1");
  assert_int_equal(addr.port_low, 7000);
  assert_int_equal(addr.port_high, 7010);

  assert_int_equal(parse("weft://h:1?bind=fe80::1%25eth0&require=verbs%2Ctcp"), 0);
  assert_string_equal(addr.bind, "fe80::1%eth0");
  assert_string_equal(qos.require, "verbs,tcp");
  assert_int_equal(parse("weft://h:1?bind=[fe80::1%25eth0]"), 0);
  assert_string_equal(addr.bind, "fe80::1%eth0");
}

/* The order of parameters has no meaning: a preset never undoes what stands beside it. */
static void presets_come_first_wherever_they_stand(void **state) {
  weft_qos_t first;
  (void) state;
  assert_int_equal(parse("weft://h:1?preset=bulk&latency=20us&size=64"), 0);
  first = qos;
  assert_int_equal(parse("weft://h:1?size=64&latency=20us&preset=bulk"), 0);
  assert_memory_equal(&first, &qos, sizeof(qos));
  assert_int_equal(qos.latency_ns, 20000);
  assert_int_equal(qos.cpu, WEFT_CPU_SLEEP);
}

static void refusals_name_the_part_and_the_cause(void **state) {
  static const struct {
    const char *url, *sentence;
  } cases[] = {
      {"", "'' does not begin with weft://"},
      {"tcp://h:1", "'tcp://h:1' does not begin with weft://"},
      {"10.0.0.1:7000", "'10.0.0.1:7000' does not begin with weft://"},
      {"weft://", "host: missing"},
      {"weft://:7000", "host: missing"},
      {"weft://h", "port: missing after 'h'"},
      {"weft://h:", "port: missing after 'h:'"},
      {"weft://h?size=1", "port: missing after 'h'"},
      {"weft://h:65536", "port: '65536' is not a number from 0 to 65535"},
      {"weft://h:7000x", "port: '7000x' is not a number from 0 to 65535"},
      {"weft://h:-1", "port: '-1' is not a number from 0 to 65535"},
      {"weft://h:99999999999", "port: '99999999999' is not a number from 0 to 65535"},
      {"weft://[::1]", "port: missing after '::1'"},
      {"weft://[::1", "host: the bracket of '[::1' is not closed"},
      {"weft://[10.0.0.1]:1", "host: '[10.0.0.1]' is not an IPv6 address (a zone is written "
                              "%25eth0)"},
      {"weft://[fe80::1%eth0]:1", "host: '[fe80::1%eth0]' is not an IPv6 address (a zone is "
                                  "written %25eth0)"},
      {"weft://[fe80::1%25]:1", "host: '[fe80::1%25]' is not an IPv6 address (a zone is written "
                                "%25eth0)"},
      {"weft://::1:7000", "host: missing"},
      {"weft://fe80::1:7000", "host: an IPv6 address must stand in brackets, as in "
                              "weft://[::1]:7000"},
      {"weft://10.0.0.256:1", "host: '10.0.0.256' is not an IPv4 address"},
      {"weft://10.0.0:1", "host: '10.0.0' is not an IPv4 address"},
      {"weft://a..b:1", "host: 'a..b' is not a name or an address"},
      {"weft://-a:1", "host: '-a' is not a name or an address"},
      {"weft://a b:1", "host: 'a b:1' is not a name or an address"},
      {"weft://**:1", "host: '**' is not a name or an address"},
      {"weft://me@h:1", "host: a user name has no meaning in a weft:// URL"},
      {"weft://h:1/x", "'x': nothing but ?key=value may follow the port"},
      {"weft://h:1#x", "'#x': nothing but ?key=value may follow the port"},
      {"weft://h:1?", "parameter '': not key=value"},
      {"weft://h:1?size", "parameter 'size': not key=value"},
      {"weft://h:1?=1", "parameter '=1': not key=value"},
      {"weft://h:1?size=1&", "parameter '': not key=value"},
      {"weft://h:1?lateny=20us", "lateny: no such parameter"},
      {"weft://h:1?latency=20us&latency=30us", "latency: given twice"},
      {"weft://h:1?bind=10.0.0.1&bind=10.0.0.1", "bind: given twice"},
      {"weft://h:1?latency=20", "latency: '20' is not a duration with its unit, as in 20us or "
                                "500ms"},
      {"weft://h:1?bandwidth=1", "bandwidth: '1' is not a rate with its unit, as in 1GB/s or "
                                 "10Gbit/s"},
      {"weft://h:1?strict=true", "strict: 'true' is not yes or no"},
      {"weft://h:1?preset=fast", "preset: 'fast' is not realtime, interactive, bulk or background"},
      {"weft://h:1?require=", NULL}, /* the empty list: any */
      {"weft://h:1?devices=", "devices: '' is not names separated by commas, as in eth0,eth1"},
      {"weft://h:1?bind=eth0", "bind: 'eth0' is not a numeric address"},
      {"weft://h:1?bind=", "bind: '' is not a numeric address"},
      {"weft://h:1?bind=[10.0.0.1]", "bind: '[10.0.0.1]' is not a numeric address"},
      {"weft://h:1?ports=7000", "ports: '7000' is not LOW-HIGH, two numbers from 1 to 65535"},
      {"weft://h:1?ports=7010-7000", "ports: '7010-7000' is not LOW-HIGH, two numbers from 1 to "
                                     "65535"},
      {"weft://h:1?ports=0-9", "ports: '0-9' is not LOW-HIGH, two numbers from 1 to 65535"},
      {"weft://h:1?ports=1-70000", "ports: '1-70000' is not LOW-HIGH, two numbers from 1 to "
                                   "65535"},
      {"weft://h:1?require=%", "require: '%' is too long, or has a bad %XX or a blank"},
      {"weft://h:1?require=%00", "require: '%00' is too long, or has a bad %XX or a blank"},
      {"weft://h:1?require=a%2", "require: 'a%2' is too long, or has a bad %XX or a blank"},
      {"weft://h:1?require=a%zz", "require: 'a%zz' is too long, or has a bad %XX or a blank"},
  };
  size_t i;
  (void) state;
  for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    int rc = parse(cases[i].url);
    if (cases[i].sentence == NULL) {
      assert_int_equal(rc, 0);
      continue;
    }
    if (rc != WEFT_EURL || strcmp(err, cases[i].sentence) != 0)
      fail_msg("%s: %d '%s', expected '%s'", cases[i].url, rc, err, cases[i].sentence);
    assert_int_equal((unsigned char) addr.host[0], 0xa5); /* nothing was written */
    assert_int_equal(((unsigned char *) &qos)[0], 0xa5);
  }
}

static void long_ones_are_refused_not_cut(void **state) {
  char url[4000];
  (void) state;
  strcpy(url, "weft://");
  memset(url + 7, 'a', 300);
  strcpy(url + 307, ":1");
  assert_int_equal(parse(url), WEFT_EURL);
  strcpy(url, "weft://h:1?require=");
  memset(url + 19, 'a', 200);
  url[219] = '\0';
  assert_int_equal(parse(url), WEFT_EURL);
  memset(url + 11, 'k', 3000);
  strcpy(url + 3011, "=1");
  assert_int_equal(parse(url), WEFT_EURL);
  strcpy(url, "weft://h:1?");
  for (int i = 0; i < 40; i++) {
    char param[16];
    snprintf(param, sizeof(param), "%sk%d=1", i ? "&" : "", i);
    strcat(url, param);
  }
  assert_int_equal(parse(url), WEFT_EURL);
}

static void everything_but_the_url_may_be_null(void **state) {
  char tiny[6];
  (void) state;
  assert_int_equal(weft_url_parse("weft://h:1", NULL, NULL, NULL, 0), 0);
  assert_int_equal(weft_url_parse("weft://h", NULL, NULL, NULL, 0), WEFT_EURL);
  assert_int_equal(weft_url_parse("weft://h:1?latency=1", NULL, NULL, NULL, 0), WEFT_EURL);
  assert_int_equal(weft_url_parse(NULL, NULL, NULL, tiny, sizeof(tiny)), WEFT_EURL);
  assert_string_equal(tiny, "no UR");
}

/* Noise must be refused or taken, never crash: the sanitizers watch. */
static void noise(void **state) {
  static const char alphabet[] = "weft://[]:*?&=%25.-,@#0127abu\x01\xff";
  char url[128];
  (void) state;
  srand(42);
  for (int i = 0; i < 200000; i++) {
    size_t n = strlen(strcpy(url, rand() % 4 ? "weft://h:1?" : "weft://"));
    size_t len = n + (size_t) rand() % 60;
    for (; n < len; n++) url[n] = alphabet[(size_t) rand() % (sizeof(alphabet) - 1)];
    url[n] = '\0';
    int rc = weft_url_parse(url, &addr, &qos, err, sizeof(err));
    if (rc != 0 && (rc != WEFT_EURL || err[0] == '\0')) fail_msg("%s", url);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(hosts),
      cmocka_unit_test(parameters),
      cmocka_unit_test(presets_come_first_wherever_they_stand),
      cmocka_unit_test(refusals_name_the_part_and_the_cause),
      cmocka_unit_test(long_ones_are_refused_not_cut),
      cmocka_unit_test(everything_but_the_url_may_be_null),
      cmocka_unit_test(noise),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
