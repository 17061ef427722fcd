/* SPDX-License-Identifier: Apache-2.0 */
/* api_info.c - what a connection says of itself: figures, verdicts, JSON, candidates, events,
 * registered memory. */
#include "lib_api.h"

#include <pthread.h>

static int sent;
static void on_sent(weft_send_t *req, int status) {
  (void) req;
  CHECK(status == 0);
  sent++;
}

static void test_figures(void **state) {
  enum { N = 50 };
  api_pair_t p;
  weft_conn_info_t i, s;
  weft_send_t reqs[N];
  static char bytes[100000];
  uv_buf_t small = uv_buf_init(bytes, 100), large = uv_buf_init(bytes, sizeof bytes);
  (void) state;
  sent = 0;
  api_pair_open(&p, NULL, NULL, NULL);
  assert_int_equal(weft_conn_info(&p.client, &i, sizeof i), 0);
  assert_int_equal(i.size, sizeof i);
  assert_int_equal(i.open, 1);
  assert_true(i.paths >= 1);
  assert_string_equal(i.provider, WEFT_TEST_TCP);
  assert_true(strncmp(i.local, "127.0.0.1:", 10) == 0);
  assert_non_null(strstr(p.url, i.remote));
  assert_int_equal(i.max_message, 64 << 20);
  assert_non_null(strstr(i.peer_name, "api_info"));
  api_recv(&p.server, &p.srx);
  for (int k = 0; k < N; k++)
    assert_int_equal(weft_send(&reqs[k], &p.client, k % 10 ? &small : &large, 1, on_sent), 0);
  assert_int_equal(weft_conn_info(&p.client, &i, sizeof i), 0);
  assert_int_equal(i.queued_messages, N);
  RUN_UNTIL(&p.loop, 5000, sent == N && p.srx.messages == N);
  assert_int_equal(weft_conn_info(&p.client, &i, sizeof i), 0);
  assert_int_equal(weft_conn_info(&p.server, &s, sizeof s), 0);
  assert_int_equal(i.tx_messages, N);
  assert_int_equal(i.tx_bytes, 45 * 100 + 5 * sizeof bytes);
  assert_int_equal(s.rx_messages, N);
  assert_int_equal(s.rx_bytes, i.tx_bytes);
  assert_int_equal(i.tx_large, 5);
  assert_int_equal(i.queued_messages, 0);
  assert_true(i.rtt_ns_p50 > 0 && i.rtt_ns_p99 >= i.rtt_ns_p50 && i.rtt_ns_max >= i.rtt_ns_p99);
  assert_memory_equal(i.session_id, s.session_id, 16);
  assert_int_equal(i.duplicates + i.replayed + i.migrations, 0);
  /* a caller with an older, smaller struct */
  memset(&s, 0xee, sizeof s);
  assert_int_equal(weft_conn_info(&p.client, &s, offsetof(weft_conn_info_t, provider)), 0);
  assert_int_equal(s.open, 1);
  assert_int_equal((unsigned char) s.provider[0], 0xee);
  api_pair_close(&p);
}

static void test_verdicts(void **state) {
  api_pair_t p;
  weft_verdict_t v;
  unsigned n = 0, in_use = 0;
  (void) state;
  for (int side = 0; side < 2; side++) {
    api_pair_open(&p, NULL, NULL, NULL);
    weft_conn_t *c = side ? &p.server : &p.client;
    in_use = n = 0;
    while (weft_conn_verdict(c, n, &v, sizeof v) == 0) {
      assert_int_equal(v.size, sizeof v);
      assert_string_not_equal(weft_why_name(v.why), "WEFT_WHY_?");
      if (strcmp(v.provider, WEFT_TEST_TCP) == 0 &&
          v.rank >= 0) { /* what it runs over is known at both ends */
        assert_int_equal(v.traits & (WEFT_TRAIT_RMA | WEFT_TRAIT_RDMA | WEFT_TRAIT_EVENTS),
                         WEFT_TRAIT_RMA | WEFT_TRAIT_EVENTS);
        assert_true(v.mtu >= 1280);
        assert_true(v.max_op == UINT64_MAX);
        assert_true(v.latency_ns > 0 && v.bandwidth > 0);
      }
      if (v.why == WEFT_WHY_IN_USE) {
        in_use++;
        assert_int_equal(v.rank >= 0, 1);
        assert_string_equal(v.provider, WEFT_TEST_TCP);
      }
      n++;
    }
    assert_int_equal(in_use, 1);
    assert_int_equal(weft_conn_verdict(c, n, &v, sizeof v), UV_ENOENT);
    api_pair_close(&p);
  }
}

static void test_json(void **state) {
  api_pair_t p;
  char small[10];
  size_t len = sizeof small;
  (void) state;
  api_pair_open(&p, NULL, NULL, NULL);
  assert_int_equal(weft_conn_info_json(&p.client, small, &len), UV_ENOBUFS);
  char *json = malloc(++len);
  assert_non_null(json);
  assert_int_equal(weft_conn_info_json(&p.client, json, &len), 0);
  assert_int_equal(strlen(json), len);
  assert_true(json[0] == '{' && json[len - 1] == '}');
  assert_non_null(strstr(json, "\"provider\":\"" WEFT_TEST_TCP "\""));
  assert_non_null(strstr(json, "\"verdicts\":[{"));
  assert_non_null(strstr(json, "WEFT_WHY_IN_USE"));
  assert_non_null(strstr(json, "\"known\":\"expected\""));
  assert_non_null(strstr(json, "\"max_op\":null"));
  assert_non_null(strstr(json, "\"registrations\":"));
  assert_non_null(strstr(json, "\"rma\":true,\"rdma\":false,\"events\":true"));
  free(json);
  api_pair_close(&p);
}

/* Before a message has been acknowledged the round trip is expected, afterwards it is measured, and
 * said to be. */
static void test_measured(void **state) {
  api_pair_t p;
  weft_verdict_t v;
  weft_send_t req;
  uv_buf_t buf = uv_buf_init((char *) "x", 1);
  (void) state;
  sent = 0;
  api_pair_open(&p, NULL, NULL, NULL);
  api_recv(&p.server, &p.srx);
  assert_int_equal(weft_conn_verdict(&p.client, 0, &v, sizeof v), 0);
  assert_int_equal(v.why, WEFT_WHY_IN_USE);
  assert_false(v.traits & WEFT_TRAIT_MEASURED);
  uint64_t expected = v.latency_ns;
  assert_int_equal(weft_send(&req, &p.client, &buf, 1, on_sent), 0);
  RUN_UNTIL(&p.loop, 5000, sent == 1);
  assert_int_equal(weft_conn_verdict(&p.client, 0, &v, sizeof v), 0);
  assert_true(v.traits & WEFT_TRAIT_MEASURED);
  assert_true(v.latency_ns > 0 && v.latency_ns != expected);
  /* a caller with an older, smaller struct */
  memset(&v, 0xee, sizeof v);
  assert_int_equal(weft_conn_verdict(&p.client, 0, &v, offsetof(weft_verdict_t, speed_bps)), 0);
  assert_int_equal(v.why, WEFT_WHY_IN_USE);
  assert_int_equal(v.mtu, 0xeeeeeeee);
  api_pair_close(&p);
}

static void test_candidates(void **state) {
  weft_verdict_t v[64];
  (void) state;
  int n = weft_candidates(NULL, v, sizeof v[0], 64);
  assert_true(n > 0);
  assert_int_equal(v[0].rank, 0);
  assert_string_equal(v[0].provider, WEFT_TEST_TCP);
  for (int i = 0; i < n && i < 64; i++) {
    assert_string_not_equal(v[i].provider, "");
    if (v[i].rank < 0) assert_int_not_equal(v[i].why, WEFT_WHY_OK);
    if (v[i].rank < 0) assert_string_not_equal(v[i].detail, "");
  }
  assert_int_equal(weft_candidates(NULL, NULL, sizeof v[0], 0), n);
  weft_opts_t opts;
  api_opts(&opts, "devices", "no_such_device", NULL);
  n = weft_candidates(&opts, v, sizeof v[0], 64);
  for (int i = 0; i < n && i < 64; i++) assert_int_equal(v[i].rank, -1);
}

static void test_operators_order(void **state) {
  api_pair_t p;
  (void) state;
  api_pair_open(&p, NULL, NULL, NULL);
  assert_int_equal(weft_conn_migrate(&p.client, "verbs"), UV_ENOENT);
  weft_conn_info_t i;
  RUN_FOR(&p.loop, 300);
  assert_int_equal(weft_conn_info(&p.client, &i, sizeof i), 0);
  if (i.paths < 2) skip_case("no IPv6 loopback");
  api_watch(&p, &p.client);
  api_recv(&p.server, &p.srx);
  char before[80];
  snprintf(before, sizeof before, "%s", i.local);
  assert_int_equal(weft_conn_migrate(&p.client, NULL), 0);
  uv_buf_t buf = uv_buf_init((char *) "x", 1);
  for (int k = 0; k < 100; k++) assert_int_equal(weft_try_send(&p.client, &buf, 1), 0);
  RUN_UNTIL(&p.loop, 3000, p.events[WEFT_EV_MIGRATED] == 1);
  RUN_UNTIL(&p.loop, 3000, p.srx.messages == 100);
  assert_int_equal(weft_conn_info(&p.client, &i, sizeof i), 0);
  assert_string_not_equal(i.local, before);
  assert_int_equal(i.migrations, 1);
  assert_string_not_equal(i.last_cause, "");
  api_pair_close(&p);
}

static void *free_it(void *arg) {
  void **a = arg;
  weft_mem_free(a[0], a[1]);
  return NULL;
}

static void test_registered_memory(void **state) {
  api_pair_t p;
  uv_buf_t mem[3];
  weft_mem_t *reg;
  static char own[300000];
  weft_send_t reqs[4];
  pthread_t thread;
  (void) state;
  sent = 0;
  api_pair_open(&p, NULL, NULL, NULL);
  api_recv(&p.server, &p.srx);
  for (int i = 0; i < 3; i++) {
    assert_int_equal(weft_mem_alloc(&p.b, 200000 + (size_t) i, &mem[i]), 0);
    assert_int_equal(mem[i].len, 200000 + i);
    memset(mem[i].base, i, mem[i].len);
    assert_int_equal(weft_send(&reqs[i], &p.client, &mem[i], 1, on_sent), 0);
  }
  assert_int_equal(weft_mem_register(&p.b, own, sizeof own, &reg), 0);
  uv_buf_t buf = uv_buf_init(own, sizeof own);
  assert_int_equal(weft_send(&reqs[3], &p.client, &buf, 1, on_sent), 0);
  RUN_UNTIL(&p.loop, 5000, sent == 4 && p.srx.messages == 4);
  weft_mem_free(&p.b, &mem[0]);
  void *arg[2] = {&p.b, &mem[1]};
  assert_int_equal(pthread_create(&thread, NULL, free_it, arg), 0);
  pthread_join(thread, NULL);
  weft_mem_unregister(reg);
  weft_mem_free(&p.b, &mem[2]);
  assert_null(mem[2].base);
  api_pair_close(&p);
}

static double cpu_s(void) {
  uv_rusage_t ru;
  uv_getrusage(&ru);
  return (double) (ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) +
         (double) (ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;
}

static void on_timer(uv_timer_t *t) {
  (void) t;
}

/* An idle process costs nothing, also when its connections may spin. */
static void test_idle(void **state) {
  api_pair_t p;
  uv_timer_t t;
  (void) state;
  api_pair_start(&p, NULL, NULL);
  snprintf(p.url + strlen(p.url), sizeof p.url - strlen(p.url), "?cpu=spin&spin=50us");
  char url[256];
  memcpy(url, p.url, sizeof url);
  weft_connect_t req;
  assert_int_equal(weft_conn_init(&p.b, &p.client), 0);
  assert_int_equal(weft_connect(&req, &p.client, url, NULL, NULL), 0);
  RUN_UNTIL(&p.loop, 3000, p.accepted);
  RUN_FOR(&p.loop, 500);
  uv_timer_init(&p.loop, &t);
  uv_timer_start(&t, on_timer, 2000, 0);
  double before = cpu_s();
  uint64_t until = api_now_ms() + 2000;
  while (api_now_ms() < until) uv_run(&p.loop, UV_RUN_ONCE);
  assert_true(cpu_s() - before < 0.02 * api_slow());
  uv_close((uv_handle_t *) &t, NULL);
  api_pair_close(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_figures),
      cmocka_unit_test(test_verdicts),
      cmocka_unit_test(test_json),
      cmocka_unit_test(test_candidates),
      cmocka_unit_test(test_measured),
      cmocka_unit_test(test_operators_order),
      cmocka_unit_test(test_registered_memory),
      cmocka_unit_test(test_idle),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
