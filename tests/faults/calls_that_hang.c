/* SPDX-License-Identifier: Apache-2.0 */
/* calls_that_hang.c - each call of a provider that may wait for a device or for the network is made to
 * hang, one after the other: the loop turns, timers tick, and messages of other connections flow.
 *
 * Design notes
 *  - Three contexts on one loop: b is connected to a, and what happens to c must not bother them. The
 *    call is held (fault.h) until the case lets it go, and nothing here waits for time to pass: the
 *    loop turned TURNS times meanwhile.
 *  - These calls block on RDMA devices only. So that the worker makes them without one, tcp is told
 *    here that its calls block, and that other threads make them; and that its memory is to be
 *    registered, where a case is about that. A namespace keeps what the machine's network does away,
 *    which would make the contexts look again at what there is.
 *
 * ctest: timeout=120 */
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "integ/lib_api.h"
#include "loop/conn.h"
#include "rail/msg/quirks.h"
#include "soak/lib_netns.h"

enum { TURNS = 30, BIG = 8 << 20, SMALL = 1 << 20 };

static uv_loop_t loop;
static weft_t a, b, c;
static weft_listener_t lis;
static weft_conn_t server[4], client, other;
static api_rx_t srx[4];
static unsigned nserver, connected, closed, sent, ticks;
static uv_timer_t tick;
static char url[256];
static weft_opts_t opts;

static weft__core_t *core_of(weft_t *w) {
  return w->priv;
}

static void on_peer(weft_listener_t *l, int status) {
  CHECK(status == 0 && nserver < 4);
  CHECK(weft_conn_init(&a, &server[nserver]) == 0);
  CHECK(weft_accept(l, &server[nserver]) == 0);
  api_recv(&server[nserver], &srx[nserver]);
  nserver++;
}

static int expected; /* the status of the next connect */
static void on_connect(weft_connect_t *req, int status) {
  (void) req;
  CHECK(status == expected);
  connected++;
}

static void on_sent(weft_send_t *req, int status) {
  (void) req;
  CHECK(status == 0);
  sent++;
}

static void on_tick(uv_timer_t *t) {
  (void) t;
  ticks++;
}

static void on_closed(weft_t *w) {
  (void) w;
  closed++;
}

static void start_connect(weft_t *w, weft_conn_t *conn) {
  static weft_connect_t req[2];
  assert_int_equal(weft_conn_init(w, conn), 0);
  assert_int_equal(weft_connect(&req[w == &c], conn, url, NULL, on_connect), 0);
}

static bool idle(weft_t *w) {
  return !core_of(w)->opening && !core_of(w)->ndials && !weft__worker_busy(core_of(w));
}

/* a opens what else it could be reached by: until that has ended. */
static void quiet(void) {
  unsigned from;
  do {
    from = ticks;
    RUN_UNTIL(&loop, 10000, idle(&a) && idle(&b));
    RUN_UNTIL(&loop, 10000, ticks >= from + 10);
  } while (!idle(&a) || !idle(&b));
}

/* a and b are connected. */
static int setup(void **state) {
  size_t len = sizeof url;
  (void) state;
  nserver = connected = closed = 0;
  expected = 0;
  assert_int_equal(weft__fault_set(NULL), 0);
  api_opts(&opts, "providers", "tcp", NULL);
  assert_int_equal(uv_loop_init(&loop), 0);
  uv_timer_init(&loop, &tick);
  uv_timer_start(&tick, on_tick, 1, 1);
  assert_int_equal(weft_init(&loop, &a, &opts), 0);
  assert_int_equal(weft_init(&loop, &b, &opts), 0);
  assert_int_equal(weft_listener_init(&a, &lis), 0);
  assert_int_equal(weft_listen(&lis, api_listen_url, 16, on_peer), 0);
  assert_int_equal(weft_listener_addr(&lis, url, &len), 0);
  strcat(url, "?bind=127.0.0.1"); /* one path */
  start_connect(&b, &client);
  RUN_UNTIL(&loop, 10000, connected == 1 && nserver == 1);
  quiet();
  return 0;
}

static int teardown(void **state) {
  (void) state;
  weft_close(&a, on_closed);
  weft_close(&b, on_closed);
  unsigned want = closed + 2;
  RUN_UNTIL(&loop, 10000, closed == want);
  uv_close((uv_handle_t *) &tick, NULL);
  assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
  assert_int_equal(uv_loop_close(&loop), 0);
  return 0;
}

static void close_c(void) {
  unsigned want = closed + 1;
  weft_close(&c, on_closed);
  RUN_UNTIL(&loop, 10000, closed == want);
}

/* The call hangs, and b's messages reach a. */
static void flows(enum weft__fault_point point) {
  static weft_send_t req;
  uv_buf_t buf = uv_buf_init("flows", 5);
  for (unsigned i = 0; i < TURNS; i++) {
    unsigned messages = srx[0].messages, ticked = ticks;
    sent = 0;
    assert_int_equal(weft_send(&req, &client, &buf, 1, on_sent), 0);
    RUN_UNTIL(&loop, 10000, sent && srx[0].messages == messages + 1 && ticks > ticked);
    assert_int_equal(weft__fault_held(point), 1);
  }
}

static void hold(const char *spec) {
  assert_int_equal(weft__fault_set(spec), 0);
}

/* ---- Rails and endpoints ---- */

/* c connects, and the call that passes there hangs. */
static void hang_while_connecting(enum weft__fault_point point) {
  const char *name = NULL;
  char spec[48];
  assert_int_equal(weft__fault_point(point, &name, NULL), 0);
  snprintf(spec, sizeof spec, "%s:1:HOLD", name);
  assert_int_equal(weft_init(&loop, &c, &opts), 0);
  hold(spec);
  start_connect(&c, &other);
  RUN_UNTIL(&loop, 10000, weft__fault_held(point) == 1);
}

static void c_connects(void) {
  RUN_UNTIL(&loop, 10000, connected == 2 && nserver == 2);
}

static void hangs_while_connecting(enum weft__fault_point point) {
  hang_while_connecting(point);
  flows(point);
  assert_int_equal(connected, 1);
  weft__fault_release();
  c_connects();
  close_c();
}

#define WHILE_CONNECTING(point)                                                                    \
  static void test_##point(void **state) {                                                         \
    (void) state;                                                                                  \
    hangs_while_connecting(WEFT__FAULT_##point);                                                   \
  }
WHILE_CONNECTING(getinfo)
WHILE_CONNECTING(fabric_open)
WHILE_CONNECTING(domain_open)
WHILE_CONNECTING(cq_open)
WHILE_CONNECTING(ep_open)
WHILE_CONNECTING(connect)

static weft__quirks_t tcp;

/* Where the provider connects as it reads its events; and what the worker met there is not lost. */
static void test_connect_in_read(void **state) {
  (void) state;
  tcp.connects_in_read = true;
  hangs_while_connecting(WEFT__FAULT_connect_read);
  tcp.connects_in_read = false;
}

/* Who gives up does not wait for the call either. */
static void test_connect_given_up(void **state) {
  (void) state;
  hang_while_connecting(WEFT__FAULT_connect);
  expected = UV_ECANCELED;
  weft_conn_close(&other, NULL);
  RUN_UNTIL(&loop, 10000, connected == 2);
  flows(WEFT__FAULT_connect);
  weft__fault_release();
  close_c();
}

static void connect_c(void) {
  start_connect(&c, &other);
  c_connects();
  quiet();
}

static void open_c(void) {
  assert_int_equal(weft_init(&loop, &c, &opts), 0);
  connect_c();
}

static void test_endpoint_close(void **state) {
  (void) state;
  open_c();
  hold("ep_close:1:HOLD");
  weft_conn_close(&other, NULL);
  RUN_UNTIL(&loop, 10000, weft__fault_held(WEFT__FAULT_ep_close) == 1);
  flows(WEFT__FAULT_ep_close);
  weft__fault_release();
  close_c();
}

/* The close of an endpoint never returns: the context closes all the same. */
static void test_endpoint_never_closes(void **state) {
  (void) state;
  open_c();
  hold("ep_close:1:HOLD,ep_close:2:HOLD");
  weft_conn_close(&other, NULL);
  weft_conn_close(&server[1], NULL);
  RUN_UNTIL(&loop, 10000, weft__fault_held(WEFT__FAULT_ep_close) == 2);
  weft_close(&c, on_closed);
  RUN_UNTIL(&loop, 30000, closed == 1);
  assert_int_equal(weft__fault_held(WEFT__FAULT_ep_close), 2);
  weft__fault_release(); /* a's worker, which others use, goes on */
}

static void test_domain_close(void **state) {
  (void) state;
  open_c();
  hold("domain_close:1:HOLD");
  weft_close(&c, on_closed);
  RUN_UNTIL(&loop, 10000, weft__fault_held(WEFT__FAULT_domain_close) == 1);
  flows(WEFT__FAULT_domain_close);
  assert_int_equal(closed, 0);
  weft__fault_release();
  RUN_UNTIL(&loop, 10000, closed == 1);
}

/* ---- Memory ---- */

/* Like open_c, and what c sends must be registered. */
static void init_c_registering(void) {
  int err;
  assert_int_equal(weft_init(&loop, &c, &opts), 0);
  weft__netmon_start(core_of(&c));
  core_of(&c)->netmon_since = 0; /* then the list that is made here is good for c */
  weft__cands_t *cands = weft__cands_get(opts.providers, opts.devices, 0, &err);
  assert_non_null(cands);
  for (unsigned i = 0; i < cands->list.n; i++) {
    struct fi_info *info = cands->list.v[i].info;
    if (info) info->domain_attr->mr_mode |= FI_MR_LOCAL;
  }
  weft__cands_unref(cands);
}

static void open_c_registering(void) {
  init_c_registering();
  connect_c();
}

static uint64_t registrations(void) {
  weft_conn_info_t i;
  assert_int_equal(weft_conn_info(&other, &i, sizeof i), 0);
  return i.registrations;
}

/* The worker is at it before the loop turns again: so it is not the loop that is held. */
static void wait_held(enum weft__fault_point point) {
  uint64_t until = api_now_ms() + 10000 * api_slow();
  while (weft__fault_held(point) == 0) {
    assert_true(api_now_ms() < until);
    usleep(1000);
  }
}

static void send_big(uv_buf_t *mem) {
  static weft_send_t req;
  unsigned messages = srx[1].messages;
  uint64_t hash = srx[1].hash, size = mem->len;
  sent = 0;
  assert_int_equal(weft_send(&req, &other, mem, 1, on_sent), 0);
  RUN_UNTIL(&loop, 20000, sent && srx[1].messages == messages + 1);
  assert_int_equal(srx[1].last_size, size);
  assert_true(srx[1].hash == api_hash(api_hash(hash, &size, sizeof size), mem->base, mem->len));
}

static void alloc(size_t size, uv_buf_t *mem) {
  assert_int_equal(weft_mem_alloc(&c, size, mem), 0);
  api_fill(mem->base, size, 3);
}

static bool no_memory(void) {
  return weft__list_empty(&core_of(&c)->mems);
}

/* While large memory is being registered it is memory like any other, then it is known. */
static void test_registration(void **state) {
  uv_buf_t mem;
  (void) state;
  open_c_registering();
  hold("mr_reg:1:HOLD");
  alloc(BIG, &mem);
  wait_held(WEFT__FAULT_mr_reg);
  uint64_t before = registrations();
  flows(WEFT__FAULT_mr_reg);
  send_big(&mem);
  assert_int_equal(weft__fault_held(WEFT__FAULT_mr_reg), 1);
  uint64_t by_piece = registrations() - before;
  assert_true(by_piece >= BIG / (4 << 20));
  weft__fault_release();
  RUN_UNTIL(&loop, 10000, registrations() == before + by_piece + 1);
  send_big(&mem);
  assert_int_equal(registrations(), before + by_piece + 1);
  weft_mem_free(&c, &mem);
  RUN_UNTIL(&loop, 10000, no_memory());
  close_c();
}

/* What fragments may cost the loop, it may cost at once. */
static void test_small_is_registered_at_once(void **state) {
  uv_buf_t mem;
  (void) state;
  open_c_registering();
  uint64_t before = registrations();
  alloc(4 << 20, &mem);
  assert_int_equal(registrations(), before + 1);
  weft_mem_free(&c, &mem);
  close_c();
}

static void test_freed_while_registering(void **state) {
  unsigned char there;
  uv_buf_t mem;
  (void) state;
  open_c_registering();
  hold("mr_reg:1:HOLD");
  alloc(BIG, &mem);
  char *base = mem.base;
  wait_held(WEFT__FAULT_mr_reg);
  uint64_t before = registrations();
  weft_mem_free(&c, &mem);
  flows(WEFT__FAULT_mr_reg);
  assert_false(no_memory());
  assert_int_equal(mincore(base, 4096, &there), 0); /* still mapped: the device may be at it */
  weft__fault_release();
  RUN_UNTIL(&loop, 10000, no_memory());
  assert_int_equal(registrations(), before + 1);
  assert_int_equal(weft__fault_count(WEFT__FAULT_mem_close), 1);
  close_c();
}

/* Its turn comes when nobody wants it any more. */
static void test_freed_before_registering(void **state) {
  uv_buf_t mem[2];
  (void) state;
  open_c_registering();
  hold("mr_reg:1:HOLD");
  alloc(BIG, &mem[0]);
  alloc(BIG, &mem[1]);
  wait_held(WEFT__FAULT_mr_reg);
  uint64_t before = registrations();
  weft_mem_free(&c, &mem[1]);
  flows(WEFT__FAULT_mr_reg);
  weft__fault_release();
  RUN_UNTIL(&loop, 10000, registrations() == before + 1);
  weft_mem_free(&c, &mem[0]);
  RUN_UNTIL(&loop, 10000, no_memory());
  assert_int_equal(registrations(), before + 1);
  close_c();
}

/* The program's own memory, which is let go of by the worker, too. */
static void test_closing_memory(void **state) {
  static char own[BIG];
  weft_mem_t *mem;
  (void) state;
  open_c_registering();
  uint64_t before = registrations();
  assert_int_equal(weft_mem_register(&c, own, BIG, &mem), 0);
  RUN_UNTIL(&loop, 10000, registrations() == before + 1);
  RUN_FOR(&loop, 1); /* its job is done */
  hold("mem_close:1:HOLD");
  weft_mem_unregister(mem);
  wait_held(WEFT__FAULT_mem_close);
  flows(WEFT__FAULT_mem_close);
  assert_false(no_memory());
  weft__fault_release();
  RUN_UNTIL(&loop, 10000, no_memory());
  close_c();
}

/* A rail that opens later knows the first 4 MiB at once, and the rest later: the connection does not
 * wait for it. */
static void test_rail_that_opens_later(void **state) {
  enum { POOL = 2 }; /* registrations of a rail of its own, as it opens */
  uv_buf_t mem[2];
  (void) state;
  init_c_registering();
  alloc(SMALL, &mem[0]);
  alloc(BIG, &mem[1]);
  hold("mr_reg:4:HOLD"); /* the pool's, the small one */
  start_connect(&c, &other);
  RUN_UNTIL(&loop, 10000, weft__fault_held(WEFT__FAULT_mr_reg) == 1);
  flows(WEFT__FAULT_mr_reg);
  c_connects();
  assert_int_equal(registrations(), POOL + 1);
  weft__fault_release();
  RUN_UNTIL(&loop, 10000, registrations() == POOL + 2);
  for (int i = 0; i < 2; i++) weft_mem_free(&c, &mem[i]);
  RUN_UNTIL(&loop, 10000, no_memory());
  close_c();
}

/* The rail goes, then the context, while the worker registers; memory is given back or not. */
static void test_closed_while_registering(void **state) {
  uv_buf_t mem[2];
  (void) state;
  open_c_registering();
  hold("mr_reg:1:HOLD");
  alloc(BIG, &mem[0]);
  alloc(BIG, &mem[1]);
  wait_held(WEFT__FAULT_mr_reg);
  weft_close(&c, on_closed);
  weft_mem_free(&c, &mem[0]);
  flows(WEFT__FAULT_mr_reg);
  assert_int_equal(closed, 0);
  weft__fault_release();
  RUN_UNTIL(&loop, 10000, closed == 1);
}

/* It never ends: the context closes, and leaves the memory to the device. */
static void test_registration_never_ends(void **state) {
  unsigned char there;
  uv_buf_t mem;
  (void) state;
  open_c_registering();
  hold("mr_reg:1:HOLD");
  alloc(BIG, &mem);
  char *base = mem.base;
  wait_held(WEFT__FAULT_mr_reg);
  weft_mem_free(&c, &mem);
  weft_close(&c, on_closed);
  RUN_UNTIL(&loop, 30000, closed == 1);
  assert_int_equal(mincore(base, 4096, &there), 0);
  weft__fault_release();
}

static void test_child_of_a_fork(void **state) {
  uv_buf_t mem, more;
  int status;
  (void) state;
  open_c_registering();
  hold("mr_reg:1:HOLD");
  alloc(BIG, &mem);
  wait_held(WEFT__FAULT_mr_reg);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    uv_buf_t copy = mem;
    weft_mem_free(&c, &copy);
    _exit(weft_mem_alloc(&c, BIG, &more) == WEFT_EFORK ? 0 : 1);
  }
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  weft__fault_release();
  send_big(&mem);
  weft_mem_free(&c, &mem);
  RUN_UNTIL(&loop, 10000, no_memory());
  close_c();
}

/* ---- Memory that cannot be registered ---- */

static unsigned lines; /* any thread writes to them, under the log's lock */
static char line[400];
static void on_log(void *arg, int level, const char *text) {
  (void) arg;
  (void) level;
  if (!strstr(text, "registering")) return;
  snprintf(line, sizeof line, "%s", text);
  __atomic_add_fetch(&lines, 1, __ATOMIC_RELEASE);
}

static void test_registration_fails(void **state) {
  uv_buf_t mem[3];
  char where[40];
  (void) state;
  open_c_registering();
  uint64_t before = registrations();
  weft_log_set(WEFT_LOG_WARN, on_log, NULL);
  hold("mr_reg:1:ENOMEM,mr_reg:2:ENOMEM");
  alloc(BIG, &mem[0]);
  alloc(BIG + 4096, &mem[1]);
  alloc(2 * BIG, &mem[2]);
  RUN_UNTIL(&loop, 10000, registrations() == before + 1); /* the third, which is last */
  weft_log_set(WEFT_LOG_WARN, NULL, NULL);
  assert_int_equal(__atomic_load_n(&lines, __ATOMIC_ACQUIRE), 1);
  snprintf(where, sizeof where, "8388608 bytes at %p", (void *) mem[0].base);
  assert_non_null(strstr(line, where));
  assert_non_null(strstr(line, "tcp lo: "));
  assert_non_null(strstr(line, "(ENOMEM)"));
  send_big(&mem[0]);
  for (int i = 0; i < 3; i++) weft_mem_free(&c, &mem[i]);
  RUN_UNTIL(&loop, 10000, no_memory());
  close_c();
}

int main(int argc, char **argv) {
  if (argc > 1) cmocka_set_test_filter(argv[1]);
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      CASE(test_getinfo),
      CASE(test_fabric_open),
      CASE(test_domain_open),
      CASE(test_cq_open),
      CASE(test_ep_open),
      CASE(test_connect),
      CASE(test_connect_in_read),
      CASE(test_connect_given_up),
      CASE(test_endpoint_close),
      CASE(test_endpoint_never_closes),
      CASE(test_domain_close),
      CASE(test_registration),
      CASE(test_small_is_registered_at_once),
      CASE(test_freed_while_registering),
      CASE(test_freed_before_registering),
      CASE(test_closing_memory),
      CASE(test_rail_that_opens_later),
      CASE(test_closed_while_registering),
      CASE(test_registration_never_ends),
      CASE(test_child_of_a_fork),
      CASE(test_registration_fails),
  };
  if (netns_enter() != 0) printf("no namespace is to be had: changes of the network may disturb\n");
  tcp = *weft__quirks_find("tcp", fi_version(), NULL);
  tcp.blocks = tcp.eq_per_path = true;
  tcp.threading = FI_THREAD_SAFE;
  weft__quirks_set(&tcp);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
