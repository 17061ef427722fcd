/* SPDX-License-Identifier: Apache-2.0 */
/* api_errors.c - a connect that fails says why: closed ports, unknown hosts, other programs, silent
 * ones, in time. */
#include "lib_api.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

static uv_loop_t loop;
static weft_t w;
static weft_conn_t conn;
static weft_connect_t req;
static int called, status_was, closed;
static char error[500];

static void on_connect(weft_connect_t *r, int status) {
  CHECK(r == &req);
  called++;
  status_was = status;
  snprintf(error, sizeof error, "%s", weft_conn_error(&conn));
}
static void on_ctx_closed(weft_t *ctx) {
  (void) ctx;
  closed++;
}

/* Connect, expect failure, print what the user would read. Answers the milliseconds it took. */
static uint64_t try_url(const char *url, const weft_opts_t *opts) {
  called = closed = 0;
  assert_int_equal(uv_loop_init(&loop), 0);
  assert_int_equal(weft_init(&loop, &w, opts), 0);
  assert_int_equal(weft_conn_init(&w, &conn), 0);
  uint64_t from = api_now_ms();
  assert_int_equal(weft_connect(&req, &conn, url, NULL, on_connect), 0);
  RUN_UNTIL(&loop, 9000, called == 1);
  uint64_t took = api_now_ms() - from;
  printf("  %s -> %s after %llu ms: %s\n", url, weft_err_name(status_was),
         (unsigned long long) took, error);
  assert_true(status_was < 0);
  assert_string_not_equal(error, "");
  assert_int_equal(weft_connect(&req, &conn, url, NULL, on_connect),
                   UV_EALREADY); /* it cannot try again */
  weft_conn_close(&conn, NULL);
  weft_close(&w, on_ctx_closed);
  RUN_UNTIL(&loop, 5000, closed == 1);
  assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
  assert_int_equal(uv_loop_close(&loop), 0);
  return took;
}

static int listener(int *port) {
  struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof sa;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_true(fd >= 0);
  assert_int_equal(bind(fd, (struct sockaddr *) &sa, sizeof sa), 0);
  assert_int_equal(listen(fd, 16), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *) &sa, &len), 0);
  *port = ntohs(sa.sin_port);
  return fd;
}

static void test_closed_port(void **state) {
  char url[100];
  int port;
  (void) state;
  close(listener(&port));
  snprintf(url, sizeof url, "weft://127.0.0.1:%d", port);
  uint64_t took = try_url(url, NULL);
  assert_int_equal(status_was, UV_ECONNREFUSED);
  assert_non_null(strstr(error, url + 7));
  assert_non_null(strstr(error, "ECONNREFUSED"));
  assert_true(took < 1000 * api_slow());
}

static void test_unknown_host(void **state) {
  (void) state;
  try_url("weft://no-such-host.invalid:7000", NULL);
  assert_true(status_was <= UV_EAI_ADDRFAMILY && status_was >= UV_EAI_SOCKTYPE - 20);
  assert_int_equal(strncmp(weft_err_name(status_was), "UV_EAI_", 7), 0);
  assert_non_null(strstr(error, "no-such-host.invalid"));
}

static void test_no_route(void **state) {
  (void) state;
  try_url("weft://[2001:db8::1]:7000", NULL);
  if (status_was == UV_ETIMEDOUT) skip_case("this machine has a route to the documentation prefix");
  assert_true(status_was == UV_EHOSTUNREACH || status_was == WEFT_ENOPROVIDER);
}

static void test_no_provider(void **state) {
  weft_opts_t opts;
  (void) state;
  api_opts(&opts, "providers", "no_such_provider", NULL);
  try_url("weft://127.0.0.1:7000", &opts);
  assert_int_equal(status_was, WEFT_ENOPROVIDER);
}

/* ---- Other programs at the address ---- */

typedef struct server {
  int fd;
  const char *answer; /* sent when a line has come (or at once: banner) */
  int banner, hang_up;
  int stop; /* atomic */
  pthread_t thread;
} server_t;

static void *serve(void *arg) {
  server_t *s = arg;
  while (!__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE)) {
    int c = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
    char buf[256];
    if (c < 0) break;
    if (s->hang_up) {
      close(c);
      continue;
    }
    struct timeval tv = {0, 300000};
    setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    if (s->banner) send(c, s->answer, strlen(s->answer), MSG_NOSIGNAL);
    for (;;) { /* an HTTP server: reads until an empty line, complains */
      ssize_t n = recv(c, buf, sizeof buf - 1, 0);
      if (n <= 0) break;
      if (!s->answer || s->banner) continue;
      buf[n] = 0;
      if (memmem(buf, (size_t) n, "\n", 1)) {
        send(c, s->answer, strlen(s->answer), MSG_NOSIGNAL);
        break;
      }
    }
    close(c);
  }
  return NULL;
}

static void with_server(server_t *s, const weft_opts_t *opts, uint64_t *took) {
  char url[100];
  int port;
  s->fd = listener(&port);
  assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
  snprintf(url, sizeof url, "weft://127.0.0.1:%d", port);
  *took = try_url(url, opts);
  __atomic_store_n(&s->stop, 1, __ATOMIC_RELEASE);
  shutdown(s->fd, SHUT_RDWR);
  pthread_join(s->thread, NULL);
  close(s->fd);
}

static void test_http_server(void **state) {
  server_t s = {.answer = "HTTP/1.0 400 Bad Request\r\n\r\n"};
  uint64_t took;
  (void) state;
  with_server(&s, NULL, &took);
  assert_int_equal(status_was, WEFT_ENOTWEFT);
  assert_true(took < 5000 * api_slow());
}

static void test_server_with_a_banner(void **state) {
  server_t s = {.answer = "220 mail.example ESMTP\r\n", .banner = 1};
  uint64_t took;
  (void) state;
  with_server(&s, NULL, &took);
  assert_int_equal(status_was, WEFT_ENOTWEFT);
  assert_true(took < 5000 * api_slow());
}

static void test_server_that_hangs_up(void **state) {
  server_t s = {.hang_up = 1};
  uint64_t took;
  (void) state;
  with_server(&s, NULL, &took);
  assert_int_equal(status_was, WEFT_ENOTWEFT);
}

static void test_silent_server(void **state) {
  weft_opts_t opts;
  char url[100];
  int port;
  (void) state;
  api_opts(&opts, "connect_timeout_ms", "800ms", NULL);
  int fd = listener(&port); /* takes connections in the kernel, nobody reads */
  snprintf(url, sizeof url, "weft://127.0.0.1:%d", port);
  uint64_t took = try_url(url, &opts);
  assert_int_equal(status_was, UV_ETIMEDOUT);
  assert_true(took >= 700 && took < 1200 * api_slow());
  close(fd);
}

/* ---- Retrying while nobody listens yet ---- */

static weft_t late;
static weft_listener_t lis;
static weft_conn_t server;
static char late_url[100];
static int accepted;
static void on_peer(weft_listener_t *l, int status) {
  CHECK(status == 0 && weft_conn_init(&late, &server) == 0 && weft_accept(l, &server) == 0);
  accepted++;
}

static void test_retry_until_somebody_listens(void **state) {
  weft_opts_t opts;
  int port;
  (void) state;
  close(listener(&port));
  snprintf(late_url, sizeof late_url, "weft://127.0.0.1:%d", port);
  api_opts(&opts, "connect_retry_ms", "5s", NULL);
  called = closed = accepted = 0;
  assert_int_equal(uv_loop_init(&loop), 0);
  assert_int_equal(weft_init(&loop, &w, &opts), 0);
  assert_int_equal(weft_init(&loop, &late, NULL), 0);
  assert_int_equal(weft_conn_init(&w, &conn), 0);
  assert_int_equal(weft_connect(&req, &conn, late_url, NULL, on_connect), 0);
  RUN_FOR(&loop, 500);
  assert_int_equal(called, 0);
  assert_int_equal(weft_listener_init(&late, &lis), 0);
  assert_int_equal(weft_listen(&lis, late_url, 4, on_peer), 0);
  RUN_UNTIL(&loop, 3000, called == 1 && accepted == 1);
  assert_int_equal(status_was, 0);
  weft_close(&w, on_ctx_closed);
  weft_close(&late, on_ctx_closed);
  RUN_UNTIL(&loop, 5000, closed == 2);
  assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
  assert_int_equal(uv_loop_close(&loop), 0);
}

static void test_retry_gives_up(void **state) {
  weft_opts_t opts;
  char url[100];
  int port;
  (void) state;
  close(listener(&port));
  api_opts(&opts, "connect_retry_ms", "400ms", NULL);
  snprintf(url, sizeof url, "weft://127.0.0.1:%d", port);
  uint64_t took = try_url(url, &opts);
  assert_int_equal(status_was, UV_ECONNREFUSED);
  assert_true(took >= 350 && took < 3000 * api_slow());
}

/* ---- Needs ---- */

static void connect_on(api_pair_t *p, const char *query) {
  char url[300];
  snprintf(url, sizeof url, "%s?%s", p->url, query);
  called = 0;
  assert_int_equal(weft_conn_init(&p->b, &conn), 0);
  assert_int_equal(weft_connect(&req, &conn, url, NULL, on_connect), 0);
  RUN_UNTIL(&p->loop, 9000, called == 1);
  printf("  %s -> %s: %s\n", url, weft_err_name(status_was), error);
  weft_conn_close(&conn, NULL);
  RUN_FOR(&p->loop, 20);
}

static void test_forbidden_and_required_providers(void **state) {
  api_pair_t p;
  (void) state;
  api_pair_start(&p, NULL, NULL);
  connect_on(&p, "forbid=tcp");
  assert_int_equal(status_was, WEFT_EUNMET);
  connect_on(&p, "require=verbs");
  assert_int_equal(status_was, WEFT_EUNMET);
  connect_on(&p, "latency=1ns&strict=yes");
  assert_int_equal(status_was, WEFT_EUNMET);
  connect_on(&p, "latency=1ns"); /* not strict: the best there is, and an event tells */
  assert_int_equal(status_was, 0);
  connect_on(&p, "bootstrap=verbs");
  assert_int_equal(status_was, WEFT_ENOPROVIDER);
  api_pair_close(&p);
}

/* Both ends send at once; the first contact is over a provider that must not carry data. */
static weft_conn_t taken;
static api_rx_t taken_rx, conn_rx;
static void on_taken_closed(weft_conn_t *c) {
  c->data = NULL;
}
static void on_wary_peer(weft_listener_t *l, int status) {
  weft_t *ctx = l->data;
  uv_buf_t buf = uv_buf_init((char *) "secret", 6);
  CHECK(status == 0);
  CHECK(weft_conn_init(ctx, &taken) == 0);
  CHECK(weft_accept(l, &taken) == 0);
  memset(&taken_rx, 0, sizeof taken_rx);
  api_recv(&taken, &taken_rx);
  CHECK(weft_try_send(&taken, &buf, 1) == 0);
}

static void test_nothing_leaves_over_a_forbidden_provider(void **state) {
  static const char *const needs[] = {"forbid=tcp&bootstrap=tcp", "require=verbs&strict=yes",
                                      "latency=1ns&strict=yes", "require=verbs&bootstrap=tcp"};
  weft_listener_t wary;
  api_pair_t p;
  char url[200];
  size_t len;
  (void) state;
  api_pair_start(&p, NULL, NULL);
  assert_int_equal(weft_listener_init(&p.a, &wary), 0);
  wary.data = &p.a;
  assert_int_equal(weft_listen(&wary, "weft://127.0.0.1:0", 8, on_wary_peer), 0);
  for (unsigned i = 0; i < sizeof needs / sizeof needs[0]; i++) {
    uv_buf_t buf = uv_buf_init((char *) "secret", 6);
    len = sizeof url;
    assert_int_equal(weft_listener_addr(&wary, url, &len), 0);
    snprintf(url + len, sizeof url - len, "?%s", needs[i]);
    called = 0;
    assert_int_equal(weft_conn_init(&p.b, &conn), 0);
    memset(&conn_rx, 0, sizeof conn_rx);
    assert_int_equal(weft_connect(&req, &conn, url, NULL, on_connect), 0);
    api_recv(&conn, &conn_rx);
    assert_int_equal(weft_try_send(&conn, &buf, 1), 0);
    RUN_UNTIL(&p.loop, 9000, called == 1);
    assert_int_equal(status_was, WEFT_EUNMET);
    weft_conn_close(&conn, NULL);
    RUN_UNTIL(&p.loop, 3000, taken_rx.errors == 1);
    assert_int_equal(taken_rx.messages, 0);
    assert_int_equal(conn_rx.messages, 0);
    taken.data = &taken;
    weft_conn_close(&taken, on_taken_closed);
    RUN_UNTIL(&p.loop, 3000, taken.data == NULL);
  }
  weft_listener_close(&wary, NULL);
  api_pair_close(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_closed_port),
      cmocka_unit_test(test_unknown_host),
      cmocka_unit_test(test_no_route),
      cmocka_unit_test(test_no_provider),
      cmocka_unit_test(test_http_server),
      cmocka_unit_test(test_server_with_a_banner),
      cmocka_unit_test(test_server_that_hangs_up),
      cmocka_unit_test(test_silent_server),
      cmocka_unit_test(test_retry_until_somebody_listens),
      cmocka_unit_test(test_retry_gives_up),
      cmocka_unit_test(test_forbidden_and_required_providers),
      cmocka_unit_test(test_nothing_leaves_over_a_forbidden_provider),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
