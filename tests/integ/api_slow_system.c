/* SPDX-License-Identifier: Apache-2.0 */
/* api_slow_system.c - name servers that do not answer and providers that hang: what does not need
 * them goes on, and what they were asked for is not forgotten while they still run.
 *
 * Design notes
 *  - getaddrinfo and fi_fabric are this program's: libweft.so and libfabric find them here first.
 *    They wait for the scenario, not for a time.
 *
 * ctest: timeout=90 */
#include "lib_api.h"

#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <rdma/fabric.h>
#include <unistd.h>

/* A gate that calls of the system stand at. */
typedef struct gate {
  pthread_mutex_t lock;
  pthread_cond_t cond;
  int shut, inside; /* inside: how many came since it was shut */
} gate_t;

static gate_t names = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
static gate_t fabrics = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};

static void gate_pass(gate_t *g) {
  pthread_mutex_lock(&g->lock);
  if (g->shut) g->inside++;
  while (g->shut) pthread_cond_wait(&g->cond, &g->lock);
  pthread_mutex_unlock(&g->lock);
}
static void gate_set(gate_t *g, int shut) {
  pthread_mutex_lock(&g->lock);
  g->shut = shut;
  g->inside = 0;
  pthread_cond_broadcast(&g->cond);
  pthread_mutex_unlock(&g->lock);
}
static int gate_inside(gate_t *g) {
  pthread_mutex_lock(&g->lock);
  int n = g->inside;
  pthread_mutex_unlock(&g->lock);
  return n;
}
static void *open_later(void *arg) {
  usleep(300000);
  gate_set(arg, 0);
  return NULL;
}

__attribute__((visibility("default"))) int getaddrinfo(const char *node, const char *service,
                                                       const struct addrinfo *hints,
                                                       struct addrinfo **out) {
  int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
  *(void **) &real = dlsym(RTLD_NEXT, "getaddrinfo");
  if (node && strcmp(node, "slow.invalid") == 0) {
    gate_pass(&names);
    return EAI_AGAIN;
  }
  return real(node, service, hints, out);
}

__attribute__((visibility("default"))) int fi_fabric(struct fi_fabric_attr *attr,
                                                     struct fid_fabric **out, void *context) {
  int (*real)(struct fi_fabric_attr *, struct fid_fabric **, void *);
  *(void **) &real = dlsym(RTLD_NEXT, "fi_fabric");
  gate_pass(&fabrics);
  return real(attr, out, context);
}

static uv_loop_t loop;
static weft_t w;
static weft_listener_t lis;
static weft_conn_t conn, server;
static weft_connect_t req;
static char url[100];
static int called, status_was, accepted, closed, in_call;

static void on_connect(weft_connect_t *r, int status) {
  (void) r;
  CHECK(!in_call);
  called++;
  status_was = status;
}
static void on_peer(weft_listener_t *l, int status) {
  CHECK(!in_call && status == 0);
  CHECK(weft_conn_init(&w, &server) == 0 && weft_accept(l, &server) == 0);
  accepted++;
}
static void on_closed(weft_t *ctx) {
  (void) ctx;
  closed++;
}

static void start(void) {
  called = status_was = accepted = closed = 0;
  assert_int_equal(uv_loop_init(&loop), 0);
  assert_int_equal(weft_init(&loop, &w, NULL), 0);
  assert_int_equal(weft_listener_init(&w, &lis), 0);
  assert_int_equal(weft_conn_init(&w, &conn), 0);
}
static void stop(void) {
  if (!closed) weft_close(&w, on_closed);
  RUN_UNTIL(&loop, 5000, closed == 1);
  assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
  assert_int_equal(uv_loop_close(&loop), 0);
}

static int listen_now(uint64_t *took) {
  size_t len = sizeof url;
  uint64_t from = api_now_ms();
  in_call++;
  int err = weft_listen(&lis, "weft://127.0.0.1:0", 8, on_peer);
  in_call--;
  *took = api_now_ms() - from;
  if (err == 0) assert_int_equal(weft_listener_addr(&lis, url, &len), 0);
  return err;
}

/* Somebody else's name is being looked up: a listener and a connect by number do not wait for it.
 */
static void test_names_delay_nobody(void **state) {
  weft_conn_t slow[2];
  weft_connect_t slow_req[2];
  uint64_t took;
  (void) state;
  gate_set(&names, 1);
  start();
  for (int i = 0; i < 2; i++) {
    assert_int_equal(weft_conn_init(&w, &slow[i]), 0);
    assert_int_equal(
        weft_connect(&slow_req[i], &slow[i], "weft://slow.invalid:7000", NULL, on_connect), 0);
  }
  RUN_UNTIL(&loop, 3000, gate_inside(&names) == 2);
  assert_int_equal(listen_now(&took), 0);
  assert_true(took < 2500 * api_slow());
  assert_int_equal(weft_connect(&req, &conn, url, NULL, on_connect), 0);
  RUN_UNTIL(&loop, 3000, called == 1 && accepted == 1);
  assert_int_equal(status_was, 0);
  gate_set(&names, 0);
  RUN_UNTIL(&loop, 3000, called == 3);
  assert_int_equal(status_was, UV_EAI_AGAIN);
  assert_non_null(strstr(weft_conn_error(&slow[0]), "slow.invalid"));
  stop();
}

/* The same when nobody will ever look again: its end is told, and the context closes. */
static void test_a_name_that_takes_too_long(void **state) {
  weft_opts_t opts;
  (void) state;
  gate_set(&names, 1);
  api_opts(&opts, "connect_timeout_ms", "300ms", NULL);
  start();
  weft_close(&w, NULL);
  assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
  assert_int_equal(weft_init(&loop, &w, &opts), 0);
  assert_int_equal(weft_conn_init(&w, &conn), 0);
  assert_int_equal(weft_connect(&req, &conn, "weft://slow.invalid:7000", NULL, on_connect), 0);
  RUN_UNTIL(&loop, 3000, called == 1);
  assert_int_equal(status_was, UV_ETIMEDOUT);
  assert_non_null(strstr(weft_conn_error(&conn), "looking it up"));
  gate_set(&names, 0);
  stop();
}

/* A rail that a connect is already opening is waited for, and nobody's callback runs inside
 * weft_listen. */
static void test_listen_while_a_connect_opens_the_rail(void **state) {
  pthread_t opener;
  uint64_t took;
  (void) state;
  start();
  gate_set(&fabrics, 1);
  assert_int_equal(weft_connect(&req, &conn, "weft://127.0.0.1:9", NULL, on_connect), 0);
  RUN_UNTIL(&loop, 5000, gate_inside(&fabrics) == 1);
  assert_int_equal(pthread_create(&opener, NULL, open_later, &fabrics), 0);
  assert_int_equal(listen_now(&took), 0);
  assert_true(took >= 200);
  pthread_join(opener, NULL);
  assert_int_equal(called, 0);
  RUN_UNTIL(&loop, 8000, called == 1);
  assert_true(status_was < 0); /* nobody listens at port 9 */
  stop();
}

/* weft_listen gives up on a provider that hangs; the context must outlive that call. */
static void test_close_waits_for_a_rail_that_hangs(void **state) {
  uint64_t took;
  (void) state;
  start();
  gate_set(&fabrics, 1);
  assert_int_equal(listen_now(&took), WEFT_ENOPROVIDER);
  assert_in_range(took, 2000, 4500 * api_slow());
  assert_int_equal(gate_inside(&fabrics), 1);
  weft_close(&w, on_closed);
  RUN_FOR(&loop, 300);
  assert_int_equal(closed, 0);
  gate_set(&fabrics, 0);
  stop();
}

/* ... and what came late is there for the next one. */
static void test_a_late_rail_is_used(void **state) {
  uint64_t took;
  (void) state;
  start();
  gate_set(&fabrics, 1);
  assert_int_equal(listen_now(&took), WEFT_ENOPROVIDER);
  gate_set(&fabrics, 0);
  RUN_FOR(&loop, 200);
  assert_int_equal(listen_now(&took), 0);
  assert_int_equal(weft_connect(&req, &conn, url, NULL, on_connect), 0);
  RUN_UNTIL(&loop, 3000, called == 1 && accepted == 1);
  assert_int_equal(status_was, 0);
  stop();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_names_delay_nobody),
      cmocka_unit_test(test_a_name_that_takes_too_long),
      cmocka_unit_test(test_listen_while_a_connect_opens_the_rail),
      cmocka_unit_test(test_close_waits_for_a_rail_that_hangs),
      cmocka_unit_test(test_a_late_rail_is_used),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
