/* SPDX-License-Identifier: Apache-2.0 */
/* accept_test.c - who is one source of half-open handshakes, and which places are left when many
 * come at once. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "accept.c" /* the counting is its own */

static weft__core_t core;

static struct sockaddr_storage at(const char *ip, unsigned scope) {
  struct sockaddr_storage a;
  memset(&a, 0, sizeof a);
  struct sockaddr_in *v4 = (struct sockaddr_in *) &a;
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *) &a;
  if (inet_pton(AF_INET, ip, &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(4711);
  } else {
    assert_int_equal(inet_pton(AF_INET6, ip, &v6->sin6_addr), 1);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(4711);
    v6->sin6_scope_id = scope;
  }
  return a;
}

static source_t *take(const char *ip) {
  struct sockaddr_storage a = at(ip, 0);
  return source_take(&core, &a);
}

static int setup(void **state) {
  (void) state;
  memset(&core, 0, sizeof core);
  core.opts.half_open_max = 4;
  return 0;
}
static int teardown(void **state) {
  (void) state;
  weft__half_open_free(&core);
  return 0;
}

static void test_a_network_is_one_source(void **state) {
  source_t *s[4];
  (void) state;
  assert_non_null(s[0] = take("2001:db8:1:2::1"));
  assert_ptr_equal(s[1] = take("2001:db8:1:2:ffff::1"), s[0]);
  assert_ptr_equal(s[2] = take("2001:db8:1:2:a:b:c:d"), s[0]);
  assert_ptr_equal(s[3] = take("2001:db8:1:2::"), s[0]);
  assert_null(take("2001:db8:1:2::5"));
  assert_non_null(take("2001:db8:1:3::1")); /* the next one */
  assert_non_null(take("10.9.0.1"));
  source_give(&core, s[2]);
  assert_non_null(take("2001:db8:1:2::5")); /* a place came back */
  assert_null(take("2001:db8:1:2::6"));
}

static void test_an_ipv4_address_is_one_source(void **state) {
  (void) state;
  for (int i = 0; i < 4; i++) assert_non_null(take("10.9.0.1"));
  assert_null(take("10.9.0.1"));
  assert_non_null(take("10.9.0.2"));
}

static void test_links_are_told_apart(void **state) {
  struct sockaddr_storage one = at("fe80::1", 1), two = at("fe80::1", 2);
  (void) state;
  for (int i = 0; i < 4; i++) assert_non_null(source_take(&core, &one));
  assert_null(source_take(&core, &one));
  assert_non_null(source_take(&core, &two));
}

/* Hosts that take all they may leave room for those who have nothing. */
static void test_the_last_places_are_for_new_sources(void **state) {
  unsigned taken = 0, greedy = 0, fresh = 0;
  char ip[40];
  (void) state;
  core.opts.half_open_max = 1000;
  for (int host = 0; host < 8; host++)
    for (int i = 0; i < 1000; i++) {
      snprintf(ip, sizeof ip, "10.9.0.%d", host);
      if (take(ip)) taken++;
    }
  greedy = taken;
  assert_in_range(greedy, HALF_OPEN_ALL / 2, HALF_OPEN_ALL - HALF_OPEN_NEW + 8);
  for (int i = 0; i < 600; i++) {
    snprintf(ip, sizeof ip, "10.8.%d.%d", i / 200, i % 200);
    if (take(ip)) fresh++;
  }
  assert_int_equal(greedy + fresh, HALF_OPEN_ALL);
  assert_true(fresh >= HALF_OPEN_NEW - 8);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_a_network_is_one_source, setup, teardown),
      cmocka_unit_test_setup_teardown(test_an_ipv4_address_is_one_source, setup, teardown),
      cmocka_unit_test_setup_teardown(test_links_are_told_apart, setup, teardown),
      cmocka_unit_test_setup_teardown(test_the_last_places_are_for_new_sources, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
