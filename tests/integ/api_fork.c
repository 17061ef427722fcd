/* SPDX-License-Identifier: Apache-2.0 */
/* api_fork.c - a forked child cannot use its parent's Weft, closing there says nothing to anybody,
 * and a Weft of its own works. */
#include "lib_api.h"

#include <sys/wait.h>
#include <unistd.h>

#define CHILD_CHECK(cond)                                                                          \
  do {                                                                                             \
    if (!(cond)) {                                                                                 \
      fprintf(stderr, "%s:%d: in the child: %s\n", __FILE__, __LINE__, #cond);                     \
      _exit(1);                                                                                    \
    }                                                                                              \
  } while (0)

static int closes;
static void on_conn_closed(weft_conn_t *c) {
  (void) c;
  closes++;
}
static void on_listener_closed(weft_listener_t *l) {
  (void) l;
  closes++;
}
static void on_ctx_closed(weft_t *w) {
  (void) w;
  closes++;
}
static void on_post(weft_post_t *req, int status) {
  (void) req;
  (void) status;
}
static void on_connect(weft_connect_t *req, int status) {
  (void) req;
  (void) status;
}
static void on_peer(weft_listener_t *l, int status) {
  (void) l;
  (void) status;
}

static void use_everything(api_pair_t *p, weft_msg_t *kept) {
  weft_send_t req;
  weft_post_t post;
  weft_shutdown_t shut;
  weft_conn_t conn;
  weft_listener_t lis;
  weft_conn_info_t info;
  weft_verdict_t verdict;
  uv_buf_t buf = uv_buf_init((char *) "x", 1), mem;
  char text[100];
  size_t len = sizeof text;
  CHILD_CHECK(weft_send(&req, &p->client, &buf, 1, NULL) == WEFT_EFORK);
  CHILD_CHECK(weft_try_send(&p->client, &buf, 1) == WEFT_EFORK);
  CHILD_CHECK(weft_shutdown(&shut, &p->client, NULL) == WEFT_EFORK);
  CHILD_CHECK(weft_recv_stop(&p->client) == WEFT_EFORK);
  CHILD_CHECK(weft_recv_start(&p->client, NULL, api_on_recv) == WEFT_EFORK);
  CHILD_CHECK(weft_conn_init(&p->a, &conn) == WEFT_EFORK);
  CHILD_CHECK(weft_listener_init(&p->a, &lis) == WEFT_EFORK);
  CHILD_CHECK(weft_listen(&p->lis, "weft://127.0.0.1:0", 1, on_peer) == WEFT_EFORK);
  CHILD_CHECK(weft_post(&p->a, &post, on_post) == WEFT_EFORK);
  CHILD_CHECK(weft_connect(&p->req, &p->client, p->url, NULL, on_connect) == WEFT_EFORK);
  CHILD_CHECK(weft_conn_info(&p->client, &info, sizeof info) == WEFT_EFORK);
  CHILD_CHECK(weft_conn_verdict(&p->client, 0, &verdict, sizeof verdict) == WEFT_EFORK);
  CHILD_CHECK(weft_conn_info_json(&p->client, text, &len) == WEFT_EFORK);
  CHILD_CHECK(weft_conn_migrate(&p->client, NULL) == WEFT_EFORK);
  CHILD_CHECK(weft_conn_on_event(&p->client, NULL) == WEFT_EFORK);
  CHILD_CHECK(weft_mem_alloc(&p->a, 100, &mem) == WEFT_EFORK);
  weft_msg_release(kept); /* nothing happens */
  weft_conn_close(&p->client, on_conn_closed);
  weft_listener_close(&p->lis, on_listener_closed);
  weft_close(&p->a, on_ctx_closed);
  CHILD_CHECK(closes == 3);
}

static weft_msg_t *kept;
static void on_recv_keep(weft_conn_t *conn, int status, weft_msg_t *msg) {
  api_on_recv(conn, status, msg);
  if (msg && !kept) kept = weft_msg_retain(msg);
}

static void wait_for(uv_loop_t *loop, pid_t pid) {
  int st = 0;
  uint64_t until = api_now_ms() + 15000;
  while (waitpid(pid, &st, WNOHANG) == 0) {
    assert_true(api_now_ms() < until);
    if (loop) api_step(loop);
  }
  assert_true(WIFEXITED(st));
  assert_int_equal(WEXITSTATUS(st), 0);
}

static void test_child_is_locked_out(void **state) {
  api_pair_t p;
  uv_buf_t buf = uv_buf_init((char *) "hello", 5);
  (void) state;
  kept = NULL;
  api_pair_open(&p, NULL, NULL, NULL);
  memset(&p.srx, 0, sizeof p.srx);
  p.server.data = &p.srx;
  assert_int_equal(weft_recv_start(&p.server, NULL, on_recv_keep), 0);
  assert_int_equal(weft_try_send(&p.client, &buf, 1), 0);
  RUN_UNTIL(&p.loop, 3000, kept != NULL);
  pid_t pid = fork();
  if (pid == 0) {
    closes = 0;
    use_everything(&p, kept);
    _exit(0);
  }
  assert_true(pid > 0);
  wait_for(&p.loop, pid);
  /* and nothing has happened to the parent's connection */
  assert_int_equal(weft_try_send(&p.client, &buf, 1), 0);
  RUN_UNTIL(&p.loop, 3000, p.srx.messages == 2);
  assert_int_equal(p.srx.errors, 0);
  weft_msg_release(kept);
  api_pair_close(&p);
}

static void child_with_its_own(void) {
  api_pair_t q;
  api_pair_open(&q, NULL, NULL, NULL);
  api_recv(&q.server, &q.srx);
  uv_buf_t buf = uv_buf_init((char *) "hello", 5);
  CHILD_CHECK(weft_try_send(&q.client, &buf, 1) == 0);
  uint64_t until = api_now_ms() + 5000;
  while (q.srx.messages == 0 && api_now_ms() < until) api_step(&q.loop);
  CHILD_CHECK(q.srx.messages == 1);
  api_pair_close(&q);
}

static void test_child_with_a_context_of_its_own(void **state) {
  api_pair_t p;
  uv_buf_t buf = uv_buf_init((char *) "hello", 5);
  const char *san = getenv("WEFT_SANITIZE");
  (void) state;
  if (san && strcmp(san, "thread") == 0)
    skip_case("ThreadSanitizer refuses threads in a child of a threaded process");
  api_pair_open(&p, NULL, NULL, NULL);
  api_recv(&p.server, &p.srx);
  pid_t pid = fork();
  if (pid == 0) {
    child_with_its_own();
    _exit(0);
  }
  wait_for(&p.loop, pid);
  assert_int_equal(weft_try_send(&p.client, &buf, 1), 0);
  RUN_UNTIL(&p.loop, 3000, p.srx.messages == 1);
  api_pair_close(&p);
}

/* A child that exits normally runs destructors: they must not disturb the parent either. */
static void test_child_that_just_exits(void **state) {
  api_pair_t p;
  uv_buf_t buf = uv_buf_init((char *) "hello", 5);
  (void) state;
  api_pair_open(&p, NULL, NULL, NULL);
  api_recv(&p.server, &p.srx);
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) _exit(0);
  wait_for(&p.loop, pid);
  RUN_FOR(&p.loop, 50);
  assert_int_equal(weft_try_send(&p.client, &buf, 1), 0);
  RUN_UNTIL(&p.loop, 3000, p.srx.messages == 1);
  api_pair_close(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_child_is_locked_out),
      cmocka_unit_test(test_child_with_a_context_of_its_own),
      cmocka_unit_test(test_child_that_just_exits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
