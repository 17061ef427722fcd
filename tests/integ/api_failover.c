/* SPDX-License-Identifier: Apache-2.0 */
/* api_failover.c - paths die and come back, the connection goes on: nothing lost, nothing twice,
 * nothing out of order. ctest: timeout=120 */
#include "lib_rig.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* A client that keeps a number of messages on their way and checks each echo. */
typedef struct client {
  uv_loop_t loop;
  weft_t w;
  weft_conn_t conn;
  weft_connect_t req;
  int connected, status, closed, error, eof;
  uint64_t next, expected; /* to send, to come back */
  unsigned window;
  size_t size;
  bool running;
  unsigned events[8];
  weft_event_t last[8];
  weft_shutdown_t bye;
} client_t;

typedef struct ball {
  weft_send_t req;
  client_t *c;
  size_t size;
  char data[];
} ball_t;

static client_t c;

static size_t size_of(const client_t *k, uint64_t n) {
  if (k->size) return k->size;
  return n % 50 == 49 ? 100000 + n % 1000 : 16 + n * 13 % 2000;
}

static void on_sent(weft_send_t *req, int status) {
  ball_t *b = (ball_t *) req;
  (void) status;
  free(b);
}

static void throw(client_t * k) {
  while (k->running && k->next - k->expected < k->window) {
    size_t n = size_of(k, k->next);
    ball_t *b = malloc(sizeof *b + n);
    CHECK(b);
    b->c = k;
    b->size = n;
    api_fill(b->data, n, (unsigned) k->next);
    memcpy(b->data, &k->next, 8);
    uv_buf_t buf = uv_buf_init(b->data, (unsigned) n);
    if (weft_send(&b->req, &k->conn, &buf, 1, on_sent) != 0) {
      free(b);
      return;
    }
    k->next++;
  }
}

static void on_recv(weft_conn_t *conn, int status, weft_msg_t *msg) {
  client_t *k = conn->data;
  if (status == UV_EOF) {
    k->eof++;
    return;
  }
  if (status < 0) {
    k->error = status;
    k->running = false;
    return;
  }
  uint64_t n;
  CHECK(weft_msg_size(msg) == size_of(k, k->expected));
  memcpy(&n, weft_msg_data(msg), 8);
  CHECK(n == k->expected); /* in order, once */
  char *want = malloc(weft_msg_size(msg));
  CHECK(want);
  api_fill(want, weft_msg_size(msg), (unsigned) n);
  memcpy(want, &n, 8);
  CHECK(memcmp(want, weft_msg_data(msg), weft_msg_size(msg)) == 0);
  free(want);
  k->expected++;
  throw(k);
}

static void on_event(weft_conn_t *conn, const weft_event_t *ev) {
  client_t *k = conn->data;
  k->events[ev->type]++;
  k->last[ev->type] = *ev;
}
static void on_connect(weft_connect_t *req, int status) {
  client_t *k = req->data;
  k->connected = 1;
  k->status = status;
}
static void on_ctx_closed(weft_t *w) {
  ((client_t *) w->data)->closed = 1;
}

static int paths(void) {
  weft_conn_info_t i;
  assert_int_equal(weft_conn_info(&c.conn, &i, sizeof i), 0);
  return i.paths;
}
static const char *device(void) {
  static weft_conn_info_t i;
  assert_int_equal(weft_conn_info(&c.conn, &i, sizeof i), 0);
  return i.device;
}
static weft_conn_info_t info(void) {
  weft_conn_info_t i;
  assert_int_equal(weft_conn_info(&c.conn, &i, sizeof i), 0);
  return i;
}

static void client_init(void) {
  weft_opts_t opts;
  memset(&c, 0, sizeof c);
  api_opts(&opts, "settle_ms", "300ms", "peer_timeout_ms", "8s", NULL);
  assert_int_equal(uv_loop_init(&c.loop), 0);
  assert_int_equal(weft_init(&c.loop, &c.w, &opts), 0);
  assert_int_equal(weft_conn_init(&c.w, &c.conn), 0);
  c.w.data = c.conn.data = c.req.data = &c;
  c.running = true;
  assert_int_equal(weft_conn_on_event(&c.conn, on_event), 0);
  assert_int_equal(weft_recv_start(&c.conn, NULL, on_recv), 0);
}

static void client_open(rig_t *r, unsigned pair, const char *query) {
  char url[200];
  client_init();
  snprintf(url, sizeof url, "weft://10.77.%u.2:%d%s%s", pair, r->port, *query ? "?" : "", query);
  assert_int_equal(weft_connect(&c.req, &c.conn, url, NULL, on_connect), 0);
  RUN_UNTIL(&c.loop, 5000, c.connected);
  if (c.status) printf("  %s\n", weft_conn_error(&c.conn));
  assert_int_equal(c.status, 0);
}

static void client_start(rig_t *r, unsigned pair, const char *query, unsigned window, size_t size) {
  client_open(r, pair, query);
  c.window = window;
  c.size = size;
  RUN_UNTIL(&c.loop, 2000, paths() >= 2);
  throw(&c);
  RUN_UNTIL(&c.loop, 5000, c.expected > 100 || size > 100000);
}

/* Everything that was sent comes back. */
static void client_finish(void) {
  c.running = false;
  RUN_UNTIL(&c.loop, 20000, c.expected == c.next);
  assert_int_equal(weft_shutdown(&c.bye, &c.conn, NULL), 0);
  RUN_UNTIL(&c.loop, 5000, c.eof == 1);
  assert_int_equal(c.error, 0);
  weft_close(&c.w, on_ctx_closed);
  RUN_UNTIL(&c.loop, 5000, c.closed);
  assert_int_equal(uv_run(&c.loop, UV_RUN_DEFAULT), 0);
  assert_int_equal(uv_loop_close(&c.loop), 0);
}

static void client_abandon(void) {
  weft_close(&c.w, on_ctx_closed);
  RUN_UNTIL(&c.loop, 8000, c.closed);
  assert_int_equal(uv_run(&c.loop, UV_RUN_DEFAULT), 0);
  assert_int_equal(uv_loop_close(&c.loop), 0);
}

static void goes_on(uint64_t more) {
  uint64_t from = c.expected;
  RUN_UNTIL(&c.loop, 10000, c.expected > from + more || c.error);
  assert_int_equal(c.error, 0);
}

static void test_standby_and_best_path(void **state) {
  rig_t r;
  (void) state;
  rig_start(&r, NULL);
  for (unsigned pair = 0; pair < 2;
       pair++) { /* whichever address was dialled: equal paths, one order */
    client_start(&r, pair, "", 4, 64);
    RUN_UNTIL(&c.loop, 2000, strcmp(device(), "va0") == 0);
    assert_int_equal(paths(), 2);
    goes_on(200);
    assert_int_equal(info().duplicates, 0);
    client_finish();
  }
  client_start(&r, 0, "standby=1", 4, 64);
  client_finish();
  rig_stop(&r);
}

static void test_link_down_here_and_back(void **state) {
  rig_t r;
  (void) state;
  rig_start(&r, NULL);
  client_start(&r, 0, "", 32, 0);
  assert_string_equal(device(), "va0");
  for (int i = 0; i < 3; i++) {
    unsigned moved = c.events[WEFT_EV_MIGRATED], up = c.events[WEFT_EV_PATH_UP];
    rig_ip("link set va0 down");
    RUN_UNTIL(&c.loop, 3000, c.events[WEFT_EV_MIGRATED] == moved + 1);
    const weft_event_t *ev = &c.last[WEFT_EV_MIGRATED];
    printf("  gap %.1f ms, %s => %s: %s\n", (double) ev->gap_ns / 1e6, ev->from, ev->to,
           ev->detail);
    assert_non_null(strstr(ev->from, "va0"));
    assert_non_null(strstr(ev->to, "va1"));
    assert_true(ev->gap_ns < 100000000ull * api_slow());
    assert_string_equal(device(), "va1");
    goes_on(500);
    rig_ip("link set va0 up");
    RUN_UNTIL(&c.loop, 5000, c.events[WEFT_EV_PATH_UP] == up + 1);
    goes_on(100);
    RUN_UNTIL(&c.loop, 10000,
              c.events[WEFT_EV_MIGRATED] == moved + 2); /* it settles, then failback */
    assert_string_equal(device(), "va0");
    goes_on(500);
  }
  client_finish();
  rig_stop(&r);
}

static void test_link_down_there(void **state) {
  rig_t r;
  (void) state;
  rig_start(&r, NULL);
  client_start(&r, 0, "", 32, 0);
  rig_ip_there(&r, "link set vb0 down");
  RUN_UNTIL(&c.loop, 5000, c.events[WEFT_EV_MIGRATED] == 1);
  goes_on(500);
  rig_ip_there(&r, "link set vb0 up");
  RUN_UNTIL(&c.loop, 8000, c.events[WEFT_EV_MIGRATED] == 2);
  goes_on(500);
  client_finish();
  rig_stop(&r);
}

static void test_standby_dies_first(void **state) {
  rig_t r;
  (void) state;
  rig_start(&r, NULL);
  client_start(&r, 0, "", 32, 0);
  rig_ip("link set va1 down");
  RUN_UNTIL(&c.loop, 3000, c.events[WEFT_EV_PATH_DOWN] == 1);
  goes_on(500);
  assert_int_equal(c.events[WEFT_EV_MIGRATED], 0);
  rig_ip("link set va1 up");
  RUN_UNTIL(&c.loop, 5000, paths() == 2);
  rig_ip("link set va0 down");
  RUN_UNTIL(&c.loop, 3000, c.events[WEFT_EV_MIGRATED] == 1);
  goes_on(500);
  client_finish();
  rig_stop(&r);
}

static void test_address_removed(void **state) {
  rig_t r;
  (void) state;
  rig_start(&r, NULL);
  client_start(&r, 0, "", 32, 0);
  rig_ip("addr del 10.77.0.1/24 dev va0");
  RUN_UNTIL(&c.loop, 3000, c.events[WEFT_EV_MIGRATED] == 1);
  goes_on(500);
  rig_ip("addr add 10.77.0.1/24 dev va0");
  RUN_UNTIL(&c.loop, 8000, c.events[WEFT_EV_MIGRATED] == 2);
  goes_on(500);
  client_finish();
  rig_stop(&r);
}

/* A device that is taken out of a bridge has not gone down: the kernel says RTM_DELLINK of the
 * bridge's port. */
static void test_device_leaves_a_bridge(void **state) {
  rig_t r;
  (void) state;
  if (system("ip link add wbr type bridge 2>/dev/null") != 0)
    skip_case("the kernel has no bridges");
  rig_start(&r, NULL);
  client_start(&r, 0, "", 32, 0);
  for (int i = 0; i < 3; i++) {
    rig_ip("link set va1 master wbr");
    rig_ip("link set va1 nomaster");
    RUN_FOR(&c.loop, 100);
  }
  goes_on(300);
  assert_int_equal(c.events[WEFT_EV_PATH_DOWN], 0);
  assert_int_equal(paths(), 2);
  rig_ip("link del wbr");
  rig_ip("link set va1 down"); /* that still is noticed */
  RUN_UNTIL(&c.loop, 3000, c.events[WEFT_EV_PATH_DOWN] == 1);
  goes_on(300);
  client_finish();
  rig_stop(&r);
}

/* Nothing is left for a while: all is kept, then it goes on where it stopped. */
static void test_both_down_for_a_while(void **state) {
  rig_t r;
  (void) state;
  rig_start(&r, NULL);
  client_start(&r, 0, "", 32, 0);
  rig_ip("link set va0 down");
  rig_ip("link set va1 down");
  RUN_FOR(&c.loop, 1500);
  uint64_t at = c.expected;
  RUN_FOR(&c.loop, 300);
  assert_int_equal(c.expected, at);
  assert_int_equal(c.error, 0);
  rig_ip("link set va1 up");
  goes_on(500);
  assert_string_equal(device(), "va1");
  rig_ip("link set va0 up");
  RUN_UNTIL(&c.loop, 8000, strcmp(device(), "va0") == 0);
  goes_on(500);
  client_finish();
  rig_stop(&r);
}

static void test_silent_loss(void **state) {
  rig_t r;
  (void) state;
  rig_start(&r, NULL);
  client_start(&r, 0, "interruption=1s", 32, 0);
  uint64_t from = api_now_ms();
  rig_silence(&r, 0, true);
  RUN_UNTIL(&c.loop, 5000, c.events[WEFT_EV_MIGRATED] == 1);
  printf("  silent loss noticed after %llu ms\n", (unsigned long long) (api_now_ms() - from));
  assert_true(api_now_ms() - from < 2000 * api_slow());
  goes_on(500);
  rig_silence(&r, 0, false);
  goes_on(500);
  client_finish();
  rig_stop(&r);
}

static void test_large_messages(void **state) {
  rig_t r;
  (void) state;
  rig_start(&r, NULL);
  client_start(&r, 0, "", 4, 3 << 20);
  for (int i = 0; i < 3; i++) {
    unsigned moved = c.events[WEFT_EV_MIGRATED];
    goes_on(3);
    rig_ip("link set va0 down");
    RUN_UNTIL(&c.loop, 3000, c.events[WEFT_EV_MIGRATED] == moved + 1);
    goes_on(5);
    rig_ip("link set va0 up");
    RUN_UNTIL(&c.loop, 10000, c.events[WEFT_EV_MIGRATED] == moved + 2);
  }
  client_finish();
  rig_stop(&r);
}

static void test_stopped_peer_is_not_a_dead_path(void **state) {
  rig_t r;
  (void) state;
  rig_start(&r, NULL);
  client_start(&r, 0, "interruption=1s", 8, 64);
  kill(r.server, SIGSTOP);
  RUN_FOR(&c.loop, 2500);
  assert_int_equal(c.events[WEFT_EV_PEER_STALLED], 1);
  kill(r.server, SIGCONT);
  RUN_UNTIL(&c.loop, 3000, c.events[WEFT_EV_PEER_BACK] == 1);
  goes_on(500);
  assert_int_equal(c.events[WEFT_EV_MIGRATED], 0);
  assert_int_equal(c.events[WEFT_EV_PATH_DOWN], 0);
  assert_int_equal(info().duplicates, 0);
  client_finish();
  rig_stop(&r);
}

/* Three pairs, one standby: a spare takes the place of the dead one, and goes when that is back. */
static void test_no_more_paths_than_wanted(void **state) {
  rig_t r;
  (void) state;
  rig_pairs = 3;
  rig_start(&r, NULL);
  client_start(&r, 0, "standby=1", 16, 0);
  rig_ip("link set va0 down");
  RUN_UNTIL(&c.loop, 3000, c.events[WEFT_EV_MIGRATED] == 1);
  RUN_UNTIL(&c.loop, 3000, paths() == 2); /* va1 and the spare */
  goes_on(300);
  rig_ip("link set va0 up");
  RUN_UNTIL(&c.loop, 8000, c.events[WEFT_EV_MIGRATED] == 2);
  assert_string_equal(device(), "va0");
  RUN_UNTIL(&c.loop, 3000, paths() == 2); /* the spare has gone again */
  goes_on(300);
  assert_int_equal(paths(), 2);
  client_finish();
  rig_stop(&r);
  rig_pairs = 2;
}

static const char *standby_device(void) {
  static weft_verdict_t v;
  for (unsigned i = 0; weft_conn_verdict(&c.conn, i, &v, sizeof v) == 0; i++)
    if (v.why == WEFT_WHY_STANDBY) return v.device;
  return "none";
}

/* The next best path leaves through the device of the best one, and would die with it. */
static void test_standby_is_on_another_device(void **state) {
  rig_t r;
  (void) state;
  rig_start(&r, NULL);
  rig_ip("addr add fd77::1/64 dev va0 nodad");
  rig_ip_there(&r, "addr add fd77::2/64 dev vb0 nodad");
  uint64_t until = api_now_ms() + 5000 * api_slow();
  for (bool known = false; !known;) { /* until the server offers its new address */
    client_start(&r, 0, "standby=2", 4, 64);
    RUN_FOR(&c.loop, 300);
    known = paths() == 3;
    client_finish();
    assert_true(known || api_now_ms() < until);
  }
  client_start(&r, 0, "standby=1", 16, 0);
  RUN_UNTIL(&c.loop, 2000, strcmp(device(), "va0") == 0 && strcmp(standby_device(), "va1") == 0);
  goes_on(100);
  assert_int_equal(paths(), 2);
  unsigned moved = c.events[WEFT_EV_MIGRATED];
  rig_ip("link set va0 down");
  RUN_UNTIL(&c.loop, 3000, c.events[WEFT_EV_MIGRATED] == moved + 1);
  assert_string_equal(device(), "va1");
  goes_on(100);
  client_finish();
  rig_stop(&r);
}

/* The server listens on *; what it gets afterwards serves those that connect from then on. */
static void test_device_and_address_that_come_later(void **state) {
  rig_t r;
  (void) state;
  rig_pairs = 1;
  rig_start(&r, NULL);
  rig_pairs = 2;
  rig_ip("link add va1 type veth peer name vb1 netns %d", (int) r.server);
  rig_ip("addr add 10.77.1.1/24 dev va1");
  rig_ip("link set va1 up");
  rig_ip_there(&r, "addr add 10.77.1.2/24 dev vb1");
  rig_ip_there(&r, "link set vb1 up");
  uint64_t until = api_now_ms() + 5000 * api_slow();
  for (bool known = false; !known;) {
    client_open(&r, 0, "");
    RUN_FOR(&c.loop, 300);
    known = paths() == 2;
    client_finish();
    assert_true(known || api_now_ms() < until);
  }
  client_start(&r, 1, "", 16, 0); /* first contact over it works, too */
  rig_ip("link set va0 down");
  goes_on(500);
  client_finish();
  rig_ip("addr add fd77::1/64 dev va1 nodad");
  rig_ip_there(&r, "addr add fd77::2/64 dev vb1 nodad");
  for (bool known = false; !known;) { /* an IPv6 address needs a socket of its own */
    char url[100];
    client_init();
    snprintf(url, sizeof url, "weft://[fd77::2]:%d", r.port);
    assert_int_equal(weft_connect(&c.req, &c.conn, url, NULL, on_connect), 0);
    RUN_UNTIL(&c.loop, 8000, c.connected);
    known = c.status == 0;
    if (known)
      client_finish();
    else
      client_abandon();
    assert_true(known || api_now_ms() < until + 5000 * api_slow());
  }
  rig_stop(&r);
}

/* The listener of "*" had IPv6 alone: IPv4 gets its socket, at the same port, when it comes. */
static void test_ipv4_that_comes_later(void **state) {
  api_pair_t p;
  char url[80];
  (void) state;
  rig_ip("addr del 127.0.0.1/8 dev lo");
  api_listen_url = "weft://*:0";
  api_pair_start(&p, NULL, NULL);
  rig_ip("addr add 127.0.0.1/8 dev lo");
  uint64_t until = api_now_ms() + 5000 * api_slow();
  snprintf(url, sizeof url, "weft://127.0.0.1%s", strrchr(p.url, ':'));
  for (c.status = -1; c.status != 0;) {
    client_init();
    assert_int_equal(weft_connect(&c.req, &c.conn, url, NULL, on_connect), 0);
    while (!c.connected) { /* the server's loop and the client's are two */
      api_step(&c.loop);
      api_step(&p.loop);
    }
    assert_true(c.status == 0 || api_now_ms() < until);
    client_abandon();
  }
  weft_close(&p.a, NULL);
  weft_close(&p.b, NULL);
  assert_int_equal(uv_run(&p.loop, UV_RUN_DEFAULT), 0);
  assert_int_equal(uv_loop_close(&p.loop), 0);
}

/* No standby is wanted: failback still goes to the better path when that has settled, and then lets
 * go of the other. */
static void test_failback_without_standby(void **state) {
  rig_t r;
  (void) state;
  rig_start(&r, NULL);
  client_open(&r, 0, "standby=0");
  c.window = 16;
  throw(&c);
  RUN_UNTIL(&c.loop, 5000, c.expected > 100 && paths() == 1);
  assert_string_equal(device(), "va0");
  rig_ip("link set va0 down");
  RUN_UNTIL(&c.loop, 5000, c.events[WEFT_EV_MIGRATED] == 1);
  assert_string_equal(device(), "va1");
  goes_on(100);
  unsigned up = c.events[WEFT_EV_PATH_UP];
  rig_ip("link set va0 up");
  RUN_UNTIL(&c.loop, 8000, c.events[WEFT_EV_MIGRATED] == 2);
  assert_string_equal(device(), "va0");
  RUN_UNTIL(&c.loop, 3000, paths() == 1);
  goes_on(300);
  assert_true(c.events[WEFT_EV_PATH_UP] - up <=
              3); /* it is opened once, or again where the link was not ready */
  client_finish();
  rig_stop(&r);
}

/* An operator's order holds sending on the worst of three: the others stay, and none comes and
 * goes. */
static void test_order_to_the_worst_of_three(void **state) {
  rig_t r;
  (void) state;
  rig_pairs = 3;
  rig_start(&r, NULL);
  client_start(&r, 0, "standby=2", 16, 0);
  RUN_UNTIL(&c.loop, 3000, paths() == 3);
  assert_int_equal(weft_conn_migrate(&c.conn, "tcp/va2"), 0);
  RUN_UNTIL(&c.loop, 3000, c.events[WEFT_EV_MIGRATED] >= 1 && strcmp(device(), "va2") == 0);
  unsigned up = c.events[WEFT_EV_PATH_UP], down = c.events[WEFT_EV_PATH_DOWN];
  RUN_FOR(&c.loop, 1000);
  goes_on(100);
  assert_string_equal(device(), "va2");
  assert_int_equal(c.events[WEFT_EV_PATH_UP], up);
  assert_int_equal(c.events[WEFT_EV_PATH_DOWN], down);
  client_finish();
  rig_stop(&r);
  rig_pairs = 2;
}

static void test_killed_server(void **state) {
  rig_t r;
  (void) state;
  rig_start(&r, NULL);
  client_start(&r, 0, "", 8, 64);
  uint64_t from = api_now_ms();
  /* its namespace, and with it the veth pairs, must outlive it: else this would be a link that goes
   * down */
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/ns/net", (int) r.server);
  int hold = open(path, O_RDONLY);
  assert_true(hold >= 0);
  rig_kill(&r);
  RUN_UNTIL(&c.loop, 5000, c.error);
  printf("  %s after %llu ms: %s\n", weft_err_name(c.error),
         (unsigned long long) (api_now_ms() - from), weft_conn_error(&c.conn));
  assert_int_equal(c.error, UV_ECONNRESET);
  assert_true(api_now_ms() - from < 2000 * api_slow());
  client_abandon();
  close(hold);
}

static void test_killed_client(void **state) {
  rig_t r;
  unsigned long long got;
  int error = 0, st;
  (void) state;
  rig_start(&r, NULL);
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) {
    client_start(&r, 0, "interruption=300ms", 8, 64);
    kill(getpid(), SIGKILL);
  }
  assert_int_equal(waitpid(pid, &st, 0), pid);
  assert_true(WIFSIGNALED(st));
  uint64_t until = api_now_ms() + 5000 * api_slow();
  while (error == 0 && api_now_ms() < until) {
    usleep(50000);
    rig_ask(&r, &got, &error);
  }
  assert_true(got > 100);
  assert_int_equal(error, UV_ECONNRESET);
  rig_stop(&r);
}

int main(void) {
  const char *why_not = rig_enter();
  if (why_not) return api_skip(why_not);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_standby_and_best_path),
      cmocka_unit_test(test_link_down_here_and_back),
      cmocka_unit_test(test_link_down_there),
      cmocka_unit_test(test_standby_dies_first),
      cmocka_unit_test(test_address_removed),
      cmocka_unit_test(test_device_leaves_a_bridge),
      cmocka_unit_test(test_both_down_for_a_while),
      cmocka_unit_test(test_silent_loss),
      cmocka_unit_test(test_large_messages),
      cmocka_unit_test(test_stopped_peer_is_not_a_dead_path),
      cmocka_unit_test(test_no_more_paths_than_wanted),
      cmocka_unit_test(test_standby_is_on_another_device),
      cmocka_unit_test(test_device_and_address_that_come_later),
      cmocka_unit_test(test_ipv4_that_comes_later),
      cmocka_unit_test(test_failback_without_standby),
      cmocka_unit_test(test_order_to_the_worst_of_three),
      cmocka_unit_test(test_killed_server),
      cmocka_unit_test(test_killed_client),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
