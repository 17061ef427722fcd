/* SPDX-License-Identifier: Apache-2.0 */
/* api_listen.c - listeners: several peers, the backlog, rejection, addresses and names. */
#include "lib_api.h"

#include <ifaddrs.h>
#include <netdb.h>
#include <net/if.h>
#include <sys/socket.h>

enum { MANY = 50 };
typedef struct many {
  uv_loop_t loop;
  weft_t a, b;
  weft_listener_t lis;
  weft_conn_t servers[MANY], clients[MANY];
  weft_connect_t reqs[MANY];
  api_rx_t srx[MANY], crx[MANY];
  int accepted, connected, failed, last_status, waiting, closed;
  char peer_name[64], peer_address[80];
  char url[200];
} many_t;

static many_t m;
static enum { ACCEPT, REJECT, IGNORE } policy;

static void on_peer(weft_listener_t *l, int status) {
  CHECK(status == 0);
  const weft_peer_t *peer = weft_listener_peer(l);
  CHECK(peer && peer->size == sizeof *peer);
  snprintf(m.peer_name, sizeof m.peer_name, "%s", peer->name);
  snprintf(m.peer_address, sizeof m.peer_address, "%s", peer->address);
  m.waiting++;
  if (policy == IGNORE) return;
  if (policy == REJECT) {
    CHECK(weft_reject(l, WEFT_EREJECTED, "no room at the inn") == 0);
    CHECK(weft_listener_peer(l) == NULL);
    return;
  }
  CHECK(weft_conn_init(&m.a, &m.servers[m.accepted]) == 0);
  CHECK(weft_accept(l, &m.servers[m.accepted]) == 0);
  m.accepted++;
  CHECK(weft_listener_peer(l) == NULL);
}
static void on_connect(weft_connect_t *req, int status) {
  (void) req;
  if (status == 0)
    m.connected++;
  else
    m.failed++;
  m.last_status = status;
}
static void on_ctx_closed(weft_t *w) {
  (void) w;
  m.closed++;
}

static void start(const char *url, const weft_opts_t *opts) {
  size_t len = sizeof m.url;
  memset(&m, 0, sizeof m);
  policy = ACCEPT;
  assert_int_equal(uv_loop_init(&m.loop), 0);
  assert_int_equal(weft_init(&m.loop, &m.a, opts), 0);
  assert_int_equal(weft_init(&m.loop, &m.b, opts), 0);
  assert_int_equal(weft_listener_init(&m.a, &m.lis), 0);
  assert_int_equal(weft_listen(&m.lis, url, 8, on_peer), 0);
  assert_int_equal(weft_listener_addr(&m.lis, m.url, &len), 0);
  assert_int_equal(len, strlen(m.url));
}
static void dial(int i, const char *url) {
  assert_int_equal(weft_conn_init(&m.b, &m.clients[i]), 0);
  assert_int_equal(weft_connect(&m.reqs[i], &m.clients[i], url, NULL, on_connect), 0);
}
static void stop(void) {
  weft_close(&m.a, on_ctx_closed);
  weft_close(&m.b, on_ctx_closed);
  RUN_UNTIL(&m.loop, 5000, m.closed == 2);
  assert_int_equal(uv_run(&m.loop, UV_RUN_DEFAULT), 0);
  assert_int_equal(uv_loop_close(&m.loop), 0);
}

/* Servers whose client has gone. Which is whose depends on the order in which handshakes end. */
static int left_alone(void) {
  int n = 0;
  for (int i = 0; i < MANY; i++) n += m.srx[i].errors == 1;
  return n;
}

static void test_many_connections(void **state) {
  uv_buf_t buf = uv_buf_init((char *) "hello", 5);
  (void) state;
  start("weft://127.0.0.1:0", NULL);
  for (int i = 0; i < MANY; i++) dial(i, m.url);
  RUN_UNTIL(&m.loop, 10000, m.connected == MANY && m.accepted == MANY);
  for (int i = 0; i < MANY; i++) {
    api_recv(&m.servers[i], &m.srx[i]);
    api_recv(&m.clients[i], &m.crx[i]);
    assert_int_equal(weft_try_send(&m.servers[i], &buf, 1), 0);
    assert_int_equal(weft_try_send(&m.clients[i], &buf, 1), 0);
  }
  for (int i = 0; i < MANY; i++)
    RUN_UNTIL(&m.loop, 5000, m.srx[i].messages == 1 && m.crx[i].messages == 1);
  /* each may end without the others */
  for (int i = 0; i < MANY; i += 2) weft_conn_close(&m.clients[i], NULL);
  RUN_UNTIL(&m.loop, 3000, left_alone() == MANY / 2);
  RUN_FOR(&m.loop, 20);
  assert_int_equal(left_alone(), MANY / 2);
  for (int i = 1; i < MANY; i += 2) assert_int_equal(m.crx[i].errors, 0);
  stop();
}

static void test_reject(void **state) {
  (void) state;
  start("weft://127.0.0.1:0", NULL);
  policy = REJECT;
  dial(0, m.url);
  RUN_UNTIL(&m.loop, 3000, m.failed == 1);
  assert_int_equal(m.last_status, WEFT_EREJECTED);
  assert_non_null(strstr(weft_conn_error(&m.clients[0]), "no room at the inn"));
  assert_int_equal(weft_reject(&m.lis, 0, NULL), UV_EAGAIN);
  /* others are still served */
  policy = ACCEPT;
  dial(1, m.url);
  RUN_UNTIL(&m.loop, 3000, m.connected == 1);
  stop();
}

static void test_backlog_and_late_accept(void **state) {
  (void) state;
  start("weft://127.0.0.1:0", NULL);
  policy = IGNORE;
  for (int i = 0; i < 3; i++) dial(i, m.url);
  RUN_UNTIL(&m.loop, 3000, m.waiting == 3);
  assert_null(weft_listener_peer(&m.lis)); /* only inside listen_cb */
  assert_int_equal(m.connected, 0);
  for (int i = 0; i < 3; i++) {
    assert_int_equal(weft_conn_init(&m.a, &m.servers[i]), 0);
    assert_int_equal(weft_accept(&m.lis, &m.servers[i]), 0);
  }
  assert_int_equal(weft_conn_init(&m.a, &m.servers[3]), 0);
  assert_int_equal(weft_accept(&m.lis, &m.servers[3]), UV_EAGAIN);
  RUN_UNTIL(&m.loop, 3000, m.connected == 3);
  assert_true(strncmp(m.peer_address, "127.0.0.1:", 10) == 0);
  assert_non_null(strstr(m.peer_name, "api_listen"));
  stop();
}

static void test_backlog_overflow(void **state) {
  (void) state;
  start("weft://127.0.0.1:0", NULL);
  policy = IGNORE;
  for (int i = 0; i < 12; i++) dial(i, m.url); /* the backlog is 8 */
  RUN_UNTIL(&m.loop, 5000, m.waiting == 8 && m.failed == 4);
  assert_int_equal(m.last_status, WEFT_EREJECTED);
  stop();
}

static void test_peer_that_gives_up_leaves_the_backlog(void **state) {
  (void) state;
  start("weft://127.0.0.1:0", NULL);
  policy = IGNORE;
  dial(0, m.url);
  RUN_UNTIL(&m.loop, 3000, m.waiting == 1);
  assert_int_equal(weft_connect_cancel(&m.reqs[0]), 0);
  weft_conn_close(&m.clients[0], NULL);
  RUN_FOR(&m.loop, 200);
  assert_int_equal(weft_conn_init(&m.a, &m.servers[0]), 0);
  assert_int_equal(weft_accept(&m.lis, &m.servers[0]), UV_EAGAIN);
  stop();
}

static void test_nobody_accepts_in_time(void **state) {
  weft_opts_t opts;
  (void) state;
  api_opts(&opts, "connect_timeout_ms", "300ms", NULL);
  start("weft://127.0.0.1:0", &opts);
  policy = IGNORE;
  dial(0, m.url);
  RUN_UNTIL(&m.loop, 3000, m.failed == 1);
  assert_int_equal(m.last_status, UV_ETIMEDOUT);
  stop();
}

static void test_listener_closes_first(void **state) {
  uv_buf_t buf = uv_buf_init((char *) "hello", 5);
  (void) state;
  start("weft://127.0.0.1:0", NULL);
  dial(0, m.url);
  RUN_UNTIL(&m.loop, 3000, m.connected == 1 && m.accepted == 1);
  api_recv(&m.servers[0], &m.srx[0]);
  weft_listener_close(&m.lis, NULL);
  RUN_FOR(&m.loop, 50);
  assert_int_equal(weft_try_send(&m.clients[0], &buf, 1), 0);
  RUN_UNTIL(&m.loop, 3000, m.srx[0].messages == 1);
  dial(1, m.url); /* nobody listens any more */
  RUN_UNTIL(&m.loop, 8000, m.failed == 1);
  assert_int_equal(m.last_status, UV_ECONNREFUSED);
  stop();
}

static void test_address_in_use(void **state) {
  weft_listener_t second;
  (void) state;
  start("weft://127.0.0.1:0", NULL);
  assert_int_equal(weft_listener_init(&m.b, &second), 0);
  assert_int_equal(weft_listen(&second, m.url, 8, on_peer), UV_EADDRINUSE);
  assert_int_equal(weft_listen(&second, "weft://192.0.2.1:0", 8, on_peer), UV_EADDRNOTAVAIL);
  assert_int_equal(weft_listen(&second, "weft://127.0.0.1", 8, on_peer), WEFT_EURL);
  assert_int_equal(weft_listen(&second, "weft://127.0.0.1:0?nonsense=1", 8, on_peer), WEFT_EURL);
  assert_int_equal(weft_listen(&second, "weft://127.0.0.1:0", 8, on_peer), 0); /* still usable */
  stop();
}

static void test_addr_buffer(void **state) {
  char text[8];
  size_t len = sizeof text;
  (void) state;
  start("weft://127.0.0.1:0", NULL);
  assert_int_equal(weft_listener_addr(&m.lis, text, &len), UV_ENOBUFS);
  assert_int_equal(len, strlen(m.url));
  stop();
}

static int have_ipv6(void) {
  struct ifaddrs *all, *a;
  int found = 0;
  if (getifaddrs(&all) != 0) return 0;
  for (a = all; a; a = a->ifa_next)
    found |= a->ifa_addr && a->ifa_addr->sa_family == AF_INET6 && (a->ifa_flags & IFF_LOOPBACK);
  freeifaddrs(all);
  return found;
}

static void test_ipv6_loopback(void **state) {
  (void) state;
  if (!have_ipv6()) skip_case("no IPv6 loopback");
  start("weft://[::1]:0", NULL);
  assert_true(strncmp(m.url, "weft://[::1]:", 13) == 0);
  dial(0, m.url);
  RUN_UNTIL(&m.loop, 3000, m.connected == 1);
  stop();
}

static void test_wildcard_and_names(void **state) {
  char url[200];
  (void) state;
  start("weft://*:0", NULL);
  assert_true(strncmp(m.url, "weft://*:", 9) == 0);
  const char *port = strrchr(m.url, ':');
  snprintf(url, sizeof url, "weft://127.0.0.1%s", port);
  dial(0, url);
  RUN_UNTIL(&m.loop, 3000, m.connected == 1);
  snprintf(url, sizeof url, "weft://localhost%s", port);
  dial(1, url);
  RUN_UNTIL(&m.loop, 3000, m.connected == 2);
  if (have_ipv6()) {
    snprintf(url, sizeof url, "weft://[::1]%s", port);
    dial(2, url);
    RUN_UNTIL(&m.loop, 3000, m.connected == 3);
  }
  stop();
}

static void test_own_outer_address(void **state) {
  struct ifaddrs *all, *a;
  char host[100] = "", url[200];
  (void) state;
  assert_int_equal(getifaddrs(&all), 0);
  for (a = all; a && !host[0]; a = a->ifa_next)
    if (a->ifa_addr && a->ifa_addr->sa_family == AF_INET && !(a->ifa_flags & IFF_LOOPBACK) &&
        (a->ifa_flags & IFF_RUNNING))
      getnameinfo(a->ifa_addr, sizeof(struct sockaddr_in), host, sizeof host, NULL, 0,
                  NI_NUMERICHOST);
  freeifaddrs(all);
  if (!host[0]) skip_case("no IPv4 address but loopback");
  start("weft://*:0", NULL);
  snprintf(url, sizeof url, "weft://%s%s", host, strrchr(m.url, ':'));
  dial(0, url);
  RUN_UNTIL(&m.loop, 3000, m.connected == 1);
  stop();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_many_connections),
      cmocka_unit_test(test_reject),
      cmocka_unit_test(test_backlog_and_late_accept),
      cmocka_unit_test(test_backlog_overflow),
      cmocka_unit_test(test_peer_that_gives_up_leaves_the_backlog),
      cmocka_unit_test(test_nobody_accepts_in_time),
      cmocka_unit_test(test_listener_closes_first),
      cmocka_unit_test(test_address_in_use),
      cmocka_unit_test(test_addr_buffer),
      cmocka_unit_test(test_ipv6_loopback),
      cmocka_unit_test(test_wildcard_and_names),
      cmocka_unit_test(test_own_outer_address),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
