/* SPDX-License-Identifier: Apache-2.0 */
/* lib_rig.c - see lib_rig.h. */
#include "lib_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

unsigned rig_pairs = 2;

static int run(const char *cmd) {
  int st = system(cmd);
  return WIFEXITED(st) ? WEXITSTATUS(st) : -1;
}

const char *rig_enter(void) {
  if (unshare(CLONE_NEWNET) != 0) return "unshare(CLONE_NEWNET) is refused: needs root";
  if (run("ip link set lo up >/dev/null 2>&1") != 0) return "no ip command, or it is refused";
  if (run("ip link add vx type veth peer name vy >/dev/null 2>&1") != 0)
    return "veth devices are refused";
  run("ip link del vx");
  return NULL;
}

/* ---- The server's process ---- */

static uv_loop_t loop;
static weft_t weft;
static weft_listener_t lis;
static uv_poll_t poll_orders;
static int orders_fd, answers_fd;
static unsigned long long got;
static int last_error;

typedef struct echo {
  weft_send_t req;
  weft_msg_t *msg;
} echo_t;

static void on_echoed(weft_send_t *req, int status) {
  echo_t *e = (echo_t *) req;
  (void) status;
  weft_msg_release(e->msg);
  free(e);
}
static void on_conn_closed(weft_conn_t *conn) {
  free(conn);
}
static void on_shut(weft_shutdown_t *req, int status) {
  weft_conn_t *conn = req->data;
  (void) status;
  free(req);
  if (!weft_is_closing(conn)) weft_conn_close(conn, on_conn_closed);
}
static void on_recv(weft_conn_t *conn, int status, weft_msg_t *msg) {
  if (status == UV_EOF) {
    weft_shutdown_t *req = calloc(1, sizeof *req);
    CHECK(req);
    req->data = conn;
    if (weft_shutdown(req, conn, on_shut) != 0) free(req);
    return;
  }
  if (status < 0) {
    last_error = status;
    fprintf(stderr, "  server: %s\n", weft_conn_error(conn));
    weft_conn_close(conn, on_conn_closed);
    return;
  }
  got++;
  echo_t *e = malloc(sizeof *e);
  CHECK(e);
  e->msg = weft_msg_retain(msg);
  CHECK(e->msg);
  uv_buf_t buf = uv_buf_init((char *) weft_msg_data(e->msg), (unsigned) weft_msg_size(e->msg));
  if (weft_send(&e->req, conn, &buf, 1, on_echoed) != 0) on_echoed(&e->req, 0);
}
static void on_peer(weft_listener_t *l, int status) {
  weft_conn_t *conn = calloc(1, sizeof *conn);
  CHECK(status == 0 && conn);
  CHECK(weft_conn_init(&weft, conn) == 0);
  CHECK(weft_accept(l, conn) == 0);
  CHECK(weft_recv_start(conn, NULL, on_recv) == 0);
}

static void answer(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void answer(const char *fmt, ...) {
  char text[200];
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  CHECK(write(answers_fd, text, (size_t) n) == n);
}

static void on_order(uv_poll_t *p, int status, int events) {
  char line[300];
  ssize_t n = read(orders_fd, line, sizeof line - 1);
  (void) p;
  (void) status;
  (void) events;
  if (n <= 0) _exit(0); /* the test is gone */
  line[n] = '\0';
  line[strcspn(line, "\n")] = '\0';
  if (strcmp(line, "stop") == 0) {
    uv_close((uv_handle_t *) &poll_orders, NULL);
    weft_close(&weft, NULL);
  } else if (strcmp(line, "ask") == 0) {
    answer("%llu %d\n", got, last_error);
    return;
  } else {
    answer("%d\n", run(line));
    return;
  }
  answer("0\n");
}

static void serve(const char *opts_text) {
  weft_opts_t opts;
  char url[200], text[300], *save, *kv;
  size_t len = sizeof url;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  weft_opts_init(&opts, sizeof opts);
  snprintf(text, sizeof text, "%s", opts_text ? opts_text : "");
  for (kv = strtok_r(text, ",", &save); kv; kv = strtok_r(NULL, ",", &save)) {
    char *eq = strchr(kv, '=');
    CHECK(eq);
    *eq = '\0';
    CHECK(weft_opts_set(&opts, kv, eq + 1) == 0);
  }
  CHECK(uv_loop_init(&loop) == 0);
  CHECK(weft_init(&loop, &weft, &opts) == 0);
  CHECK(weft_listener_init(&weft, &lis) == 0);
  CHECK(weft_listen(&lis, "weft://*:0", 64, on_peer) == 0);
  CHECK(weft_listener_addr(&lis, url, &len) == 0);
  CHECK(uv_poll_init(&loop, &poll_orders, orders_fd) == 0);
  CHECK(uv_poll_start(&poll_orders, UV_READABLE, on_order) == 0);
  answer("%d\n", atoi(strrchr(url, ':') + 1));
  CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
  CHECK(uv_loop_close(&loop) == 0);
}

/* ---- The test's process ---- */

static void read_answer(rig_t *r, char *line, size_t len) {
  size_t n = 0;
  while (n + 1 < len) {
    ssize_t k = read(r->answers, line + n, 1);
    if (k < 0 && errno == EINTR) continue;
    if (k <= 0) fail_msg("the server does not answer");
    if (line[n++] == '\n') break;
  }
  line[n] = '\0';
}

static void order(rig_t *r, const char *text) {
  assert_int_equal(write(r->orders, text, strlen(text)), (ssize_t) strlen(text));
}

void rig_ip(const char *fmt, ...) {
  char cmd[300] = "ip ";
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(cmd + 3, sizeof cmd - 3, fmt, ap);
  va_end(ap);
  if (run(cmd) != 0) fail_msg("%s", cmd);
}

void rig_ip_there(rig_t *r, const char *fmt, ...) {
  char cmd[300] = "ip ", line[50];
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(cmd + 3, sizeof cmd - 4, fmt, ap) + 3;
  va_end(ap);
  cmd[n] = '\n';
  cmd[n + 1] = '\0';
  order(r, cmd);
  read_answer(r, line, sizeof line);
  if (atoi(line) != 0) fail_msg("there: %s", cmd);
}

void rig_silence(rig_t *r, unsigned pair, bool on) {
  if (on) { /* a neighbour with a hardware address that nobody has: frames leave and nobody takes them */
    rig_ip("neigh replace 10.77.%u.2 lladdr 02:00:00:00:00:99 dev va%u nud permanent", pair, pair);
    rig_ip_there(r, "neigh replace 10.77.%u.1 lladdr 02:00:00:00:00:98 dev vb%u nud permanent",
                 pair, pair);
  } else {
    rig_ip("neigh del 10.77.%u.2 dev va%u", pair, pair);
    rig_ip_there(r, "neigh del 10.77.%u.1 dev vb%u", pair, pair);
  }
}

void rig_ask(rig_t *r, unsigned long long *messages, int *error) {
  char line[100];
  order(r, "ask\n");
  read_answer(r, line, sizeof line);
  assert_int_equal(sscanf(line, "%llu %d", messages, error), 2);
}

void rig_start(rig_t *r, const char *server_opts) {
  int down[2], up[2];
  char line[100], c;
  static pid_t last; /* of a scenario that failed */
  memset(r, 0, sizeof *r);
  if (last) kill(last, SIGKILL);
  if (last) waitpid(last, NULL, 0);
  run("ip link del va0 2>/dev/null; ip link del va1 2>/dev/null; ip link del va2 2>/dev/null");
  assert_int_equal(pipe2(down, O_CLOEXEC), 0);
  assert_int_equal(pipe2(up, O_CLOEXEC), 0);
  fflush(NULL);
  r->server = fork();
  assert_true(r->server >= 0);
  if (r->server == 0) {
    orders_fd = down[0];
    answers_fd = up[1];
    close(down[1]);
    close(up[0]);
    if (unshare(CLONE_NEWNET) != 0) _exit(1);
    answer("ready\n");
    if (read(orders_fd, &c, 1) != 1) _exit(1); /* until the devices are there */
    if (run("ip link set lo up") != 0) _exit(1);
    for (unsigned i = 0; i < rig_pairs; i++) {
      char cmd[120];
      snprintf(cmd, sizeof cmd, "ip addr add 10.77.%u.2/24 dev vb%u && ip link set vb%u up", i, i,
               i);
      if (run(cmd) != 0) _exit(1);
    }
    answer("ready\n");
    if (read(orders_fd, &c, 1) != 1) _exit(1);
    serve(server_opts);
    fflush(NULL);
    _exit(0);
  }
  last = r->server;
  close(down[0]);
  close(up[1]);
  r->orders = down[1];
  r->answers = up[0];
  read_answer(r, line, sizeof line);
  for (unsigned i = 0; i < rig_pairs; i++) {
    rig_ip("link add va%u type veth peer name vb%u netns %d", i, i, (int) r->server);
    rig_ip("addr add 10.77.%u.1/24 dev va%u", i, i);
    rig_ip("link set va%u up", i);
  }
  order(r, "g");
  read_answer(r, line, sizeof line);
  usleep(50000); /* carrier on both ends */
  order(r, "g");
  read_answer(r, line, sizeof line);
  r->port = atoi(line);
  assert_true(r->port > 0);
}

static void clean(rig_t *r) {
  close(r->orders);
  close(r->answers);
  run("ip link del va0 2>/dev/null; ip link del va1 2>/dev/null; ip link del va2 2>/dev/null");
  r->server = 0;
}

void rig_stop(rig_t *r) {
  int st;
  uint64_t until = api_now_ms() + 8000 * api_slow();
  order(r, "stop\n");
  while (waitpid(r->server, &st, WNOHANG) == 0) {
    if (api_now_ms() > until) {
      kill(r->server, SIGKILL);
      fail_msg("the server does not end");
    }
    usleep(5000);
  }
  clean(r);
  assert_true(WIFEXITED(st));
  assert_int_equal(WEXITSTATUS(st), 0);
}

void rig_kill(rig_t *r) {
  kill(r->server, SIGKILL);
  waitpid(r->server, NULL, 0);
  close(r->orders);
  close(r->answers);
  r->server = 0;
}
