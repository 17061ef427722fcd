/* SPDX-License-Identifier: Apache-2.0 */
/* addr_test.c - addresses: parsing, printing, comparing, prefixes, and the kernel's routes on
 * loopback. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "loop/addr.h"

static struct sockaddr_storage parse(const char *host, uint16_t port) {
  struct sockaddr_storage ss;
  if (!weft__addr_parse(host, port, &ss)) fail_msg("%s", host);
  return ss;
}

static void test_print(void **state) {
  static const struct {
    const char *host;
    uint16_t port;
    const char *text;
  } cases[] = {
      {"10.9.0.1", 7000, "10.9.0.1:7000"},
      {"10.9.0.1", 0, "10.9.0.1"},
      {"::1", 80, "[::1]:80"},
      {"2001:db8::5", 0, "[2001:db8::5]"},
      {"fe80::1%lo", 7, "[fe80::1%lo]:7"},
      {"fe80::1%1", 7, "[fe80::1%lo]:7"},
      {"0.0.0.0", 65535, "0.0.0.0:65535"},
  };
  char buf[80];
  (void) state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct sockaddr_storage ss = parse(cases[i].host, cases[i].port);
    assert_string_equal(weft__addr_str(&ss, buf, sizeof buf), cases[i].text);
    assert_int_equal(weft__addr_port(&ss), cases[i].port);
  }
  struct sockaddr_storage none = {0};
  assert_string_equal(weft__addr_str(&none, buf, sizeof buf), "?");
  assert_int_equal(weft__addr_len(&none), 0);
}

static void test_not_numeric(void **state) {
  static const char *const bad[] = {"",          "localhost", "10.9.0",         "10.9.0.256",
                                    "1.2.3.4:5", "[::1]",     "::1%no-such-if", ":::"};
  struct sockaddr_storage ss;
  char long_one[300];
  (void) state;
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
    assert_false(weft__addr_parse(bad[i], 1, &ss));
  memset(long_one, ':', sizeof long_one);
  long_one[sizeof long_one - 1] = '\0';
  assert_false(weft__addr_parse(long_one, 1, &ss));
}

static void test_same_ip(void **state) {
  struct sockaddr_storage a = parse("10.9.0.1", 1), b = parse("10.9.0.1", 2),
                          c = parse("10.9.0.2", 1);
  struct sockaddr_storage d = parse("fe80::1%lo", 1), e = parse("fe80::1", 1),
                          f = parse("::ffff:10.9.0.1", 9);
  (void) state;
  assert_true(weft__addr_same_ip(&a, &b));
  assert_false(weft__addr_same_ip(&a, &c));
  assert_true(weft__addr_same_ip(&d, &e)); /* the scope of one is not known */
  assert_false(weft__addr_same_ip(&a, &d));
  assert_false(weft__addr_same_ip(&a, &f));
  weft__addr_unmap(&f);
  assert_true(weft__addr_same_ip(&a, &f));
  assert_int_equal(weft__addr_port(&f), 9);
  weft__addr_unmap(&a);
  assert_true(weft__addr_same_ip(&a, &b));
}

static void test_kinds(void **state) {
  struct sockaddr_storage lo4 = parse("127.3.4.5", 0), lo6 = parse("::1", 0),
                          ll4 = parse("169.254.1.1", 0);
  struct sockaddr_storage ll6 = parse("fe80::2", 0), any4 = parse("0.0.0.0", 5),
                          any6 = parse("::", 5);
  struct sockaddr_storage out = parse("192.0.2.1", 0);
  (void) state;
  assert_true(weft__addr_is_loopback(&lo4) && weft__addr_is_loopback(&lo6) &&
              !weft__addr_is_loopback(&out));
  assert_true(weft__addr_is_linklocal(&ll4) && weft__addr_is_linklocal(&ll6) &&
              !weft__addr_is_linklocal(&out));
  assert_true(weft__addr_is_any(&any4) && weft__addr_is_any(&any6) && !weft__addr_is_any(&out));
}

static void test_prefix(void **state) {
  struct sockaddr_storage a = parse("10.9.1.1", 0), b = parse("10.9.1.200", 0),
                          c = parse("10.9.2.1", 0);
  struct sockaddr_storage d = parse("2001:db8::1", 0), e = parse("2001:db8:0:0:8000::1", 0);
  (void) state;
  assert_true(weft__addr_in_prefix(&a, &b, 24));
  assert_false(weft__addr_in_prefix(&a, &b, 25));
  assert_true(weft__addr_in_prefix(&a, &c, 22));
  assert_false(weft__addr_in_prefix(&a, &c, 24));
  assert_true(weft__addr_in_prefix(&d, &e, 64));
  assert_false(weft__addr_in_prefix(&d, &e, 65));
  assert_true(weft__addr_in_prefix(&a, &c, 0));
  assert_false(weft__addr_in_prefix(&a, &d, 0));
  assert_false(weft__addr_in_prefix(&a, &b, 33));
}

static void test_own_addresses_and_routes(void **state) {
  struct sockaddr_storage lo = parse("127.0.0.1", 7000), none = parse("203.0.113.77", 0);
  weft__route_t route;
  (void) state;
  weft__ifs_t *ifs = weft__ifs_get();
  assert_non_null(ifs);
  const weft__if_t *i = weft__ifs_find(ifs, &lo);
  assert_non_null(i);
  assert_string_equal(i->name, "lo");
  assert_int_equal(i->prefix, 8);
  assert_true(i->up);
  assert_false(i->tentative);
  assert_null(weft__ifs_find(ifs, &none));
  assert_int_equal(weft__route(&lo, NULL, &route), 0);
  assert_true(route.local);
  assert_int_equal(route.oif, i->index);
  assert_true(weft__addr_same_ip(&route.src, &lo));
  assert_int_equal(weft__route(&lo, &lo, &route), 0);
  struct sockaddr_storage zero = {0};
  assert_int_equal(weft__route(&zero, NULL, &route), -EAFNOSUPPORT);
  free(ifs);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_print),   cmocka_unit_test(test_not_numeric),
      cmocka_unit_test(test_same_ip), cmocka_unit_test(test_kinds),
      cmocka_unit_test(test_prefix),  cmocka_unit_test(test_own_addresses_and_routes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
