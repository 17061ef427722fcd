/* SPDX-License-Identifier: Apache-2.0 */
/* why_reached.c - each reason of the table comes out of the code that gives it in life, and no row
 * is without a case.
 *
 * Design notes
 *  - The table is walked through weft_why_name, as a user could: a new row fails here until it has
 *    a case, and so does a row that is said to be reserved while something already gives it.
 *  - Where a reason is a verdict of a connection, there is a connection: between namespaces, with
 *    what hurts it done to routes, neighbours, devices and limits of the system. Nothing is
 *    injected. ctest: timeout=90 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include "lib_rig.h"

#include "lib_peer.h"
#include "rail/msg/quirks.h"

/* ---- What the machine says ---- */

static weft_verdict_t last; /* what the case has reached */

static bool in_candidates(const char *key, const char *val, const char *provider,
                          const char *device, int why) {
  weft_verdict_t v[64];
  weft_opts_t opts;
  api_opts(&opts, key, val, NULL);
  int n = weft_candidates(&opts, v, sizeof v[0], 64);
  assert_true(n > 0);
  for (int i = 0; i < n && i < 64; i++)
    if (v[i].why == why && strcmp(v[i].provider, provider) == 0 &&
        (!device || strcmp(v[i].device, device) == 0)) {
      last = v[i];
      return true;
    }
  return false;
}

/* ---- What a connection says ---- */

typedef struct client {
  uv_loop_t loop;
  weft_t w;
  weft_conn_t conn;
  weft_connect_t req;
  int done, status, closed;
} client_t;

static client_t c;

static void on_connect(weft_connect_t *req, int status) {
  (void) req;
  c.done = 1;
  c.status = status;
}

static int client_start(const char *url) {
  weft_verdict_t v;
  int err;
  memset(&c, 0, sizeof c);
  /* a fresh look: the process's list may be a second old, and older than the devices of this case
   */
  weft_candidates(NULL, &v, sizeof v, 1);
  assert_int_equal(uv_loop_init(&c.loop), 0);
  err = weft_init(&c.loop, &c.w, NULL);
  if (err) {
    uv_loop_close(&c.loop);
    return err;
  }
  assert_int_equal(weft_conn_init(&c.w, &c.conn), 0);
  err = weft_connect(&c.req, &c.conn, url, NULL, on_connect);
  if (err) { /* no callback follows */
    c.done = 1;
    c.status = err;
  }
  return 0;
}

static void client_connect(const char *url, int want) {
  assert_int_equal(client_start(url), 0);
  RUN_UNTIL(&c.loop, 8000, c.done);
  if (c.status != want)
    fail_msg("%s: %s: %s", url, weft_err_name(c.status), weft_conn_error(&c.conn));
}

static void on_closed(weft_t *w) {
  (void) w;
  c.closed = 1;
}

static void client_close(void) {
  weft_close(&c.w, on_closed);
  RUN_UNTIL(&c.loop, 8000, c.closed);
  assert_int_equal(uv_run(&c.loop, UV_RUN_DEFAULT), 0);
  assert_int_equal(uv_loop_close(&c.loop), 0);
}

/* For whoever reads a failure. */
static void show(void) {
  weft_verdict_t v;
  for (unsigned i = 0; weft_conn_verdict(&c.conn, i, &v, sizeof v) == 0; i++)
    printf("  %2d %s %s %s -> %s %s: %s\n", v.rank, v.provider, v.device, v.local, v.remote,
           weft_why_name(v.why), v.detail);
}

static bool sees(int why, const char *provider, const char *device) {
  weft_verdict_t v;
  for (unsigned i = 0; weft_conn_verdict(&c.conn, i, &v, sizeof v) == 0; i++)
    if (v.why == why && strcmp(v.provider, provider) == 0 &&
        (!device || strcmp(v.device, device) == 0)) {
      last = v;
      return true;
    }
  return false;
}

static rig_t rig;

static void connect_there(unsigned pairs, const char *server_opts, const char *query, int want) {
  char url[200];
  rig_pairs = pairs;
  rig_start(&rig, server_opts);
  snprintf(url, sizeof url, "weft://10.77.0.2:%d%s", rig.port, query);
  client_connect(url, want);
}

static void leave(void) {
  client_close();
  rig_stop(&rig);
}

/* ---- The cases ---- */

static void usable(void) {
  assert_true(in_candidates("devices", "lo", WEFT_TEST_TCP, "lo", WEFT_WHY_OK));
}

static void in_use(void) {
  connect_there(2, NULL, "", 0);
  assert_true(sees(WEFT_WHY_IN_USE, WEFT_TEST_TCP, NULL));
  assert_non_null(strstr(last.detail, "the best of 2"));
  leave();
}

static void standby(void) {
  connect_there(2, NULL, "", 0);
  RUN_UNTIL(&c.loop, 5000, sees(WEFT_WHY_STANDBY, WEFT_TEST_TCP, NULL));
  assert_non_null(strstr(last.detail, " us for 64 B")); /* the figures that decided */
  leave();
}

/* In a mount namespace of its own, so that a machine with RDMA devices seems to have none. */
static void no_device(void) {
  if (access("/sys/class/infiniband", F_OK) == 0) {
    assert_int_equal(unshare(CLONE_NEWNS), 0);
    assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    assert_int_equal(mount("none", "/sys/class/infiniband", "tmpfs", 0, NULL), 0);
  }
  assert_true(in_candidates("providers", "verbs", "verbs", "", WEFT_WHY_NO_DEVICE));
  assert_non_null(strstr(last.detail, "/sys/class/infiniband"));
}

static void put(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, text, strlen(text)), (ssize_t) strlen(text));
  close(fd);
}

/* A machine with an RDMA device that is down, as its sysfs shows it: a child in a mount namespace
 * of its own sees a made-up /sys. What libfabric says of it depends on the machine; that it is not
 * passed over in silence does not. */
static void rdma_device_is_told(void **state) {
  int st;
  (void) state;
  fflush(NULL);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", "/sys", "tmpfs", 0, NULL) != 0)
      _exit(2);
    assert_int_equal(system("mkdir -p /sys/class/infiniband/rxe9/ports/1"), 0);
    put("/sys/class/infiniband/rxe9/ports/1/state", "1: DOWN\n");
    put("/sys/class/infiniband/rxe9/ports/1/rate", "100 Gb/sec (4X EDR)\n");
    bool told = in_candidates("devices", "", "verbs", "rxe9", WEFT_WHY_LINK_DOWN) ||
                in_candidates("devices", "", "verbs", "rxe9", WEFT_WHY_NO_PROVIDER);
    if (told) printf("  %s: %s\n", weft_why_name(last.why), last.detail);
    told = told && strstr(last.detail, "rxe9") && last.rank == -1;
    told = told && in_candidates("devices", "lo", "verbs", "rxe9", WEFT_WHY_DEVICE_FILTER);
    fflush(NULL);
    _exit(told ? 0 : 1);
  }
  assert_int_equal(waitpid(pid, &st, 0), pid);
  assert_true(WIFEXITED(st));
  assert_int_equal(WEXITSTATUS(st), 0);
}

static void no_provider(void) {
  assert_true(in_candidates("providers", "nosuch", "nosuch", "", WEFT_WHY_NO_PROVIDER));
}

/* A build with all of it leaves nothing out: there a provider that libfabric lacks plays the part. */
static void not_built(void) {
#ifdef WEFT_HAVE_DPDK
  static const weft__quirks_t row = {.provider = "usnic", .left_out = "WEFT_USNIC"};
  weft__quirks_set(&row);
  assert_true(in_candidates("providers", "", "usnic", "", WEFT_WHY_NOT_BUILT));
  weft__quirks_set(NULL);
  assert_non_null(strstr(last.detail, "WEFT_USNIC=OFF"));
#else
  assert_true(in_candidates("providers", "", "dpdk", "", WEFT_WHY_NOT_BUILT));
  assert_non_null(strstr(last.detail, "WEFT_DPDK=OFF"));
#endif
}

static void no_address(void) {
  rig_ip("link add vx type veth peer name vy");
  rig_ip("link set vx addrgenmode none");
  rig_ip("link set vx up");
  rig_ip("link set vy up");
  for (int i = 0; i < 100 && !in_candidates("providers", WEFT_TEST_TCP, WEFT_TEST_TCP, "vx",
                                            WEFT_WHY_NO_ADDRESS);
       i++)
    usleep(20000);
  assert_true(in_candidates("providers", WEFT_TEST_TCP, WEFT_TEST_TCP, "vx", WEFT_WHY_NO_ADDRESS));
  rig_ip("link del vx");
}

static void link_down(void) {
  rig_ip("link add vx type veth peer name vy");
  rig_ip("addr add 10.78.0.1/24 dev vx");
  rig_ip("link set vx up"); /* its other end is not: no carrier */
  assert_true(in_candidates("providers", WEFT_TEST_TCP, WEFT_TEST_TCP, "vx", WEFT_WHY_LINK_DOWN));
  assert_true(in_candidates("providers", WEFT_TEST_TCP, WEFT_TEST_TCP, "vy", WEFT_WHY_LINK_DOWN));
  rig_ip("link del vx");
}

static void quirk(void) {
  assert_true(in_candidates("providers", "", "udp", "", WEFT_WHY_QUIRK));
}

static void loopback(void) {
  connect_there(1, NULL, "", 0);
  assert_true(sees(WEFT_WHY_LOOPBACK, WEFT_TEST_TCP, "lo"));
  leave();
}

static void peer_lacks(void) {
  connect_there(2, "devices=vb0", "", 0);
  if (!sees(WEFT_WHY_PEER_LACKS, WEFT_TEST_TCP, "va1")) show();
  assert_int_equal(last.why, WEFT_WHY_PEER_LACKS);
  leave();
}

/* The other end's host refuses what comes in by the second cable: ICMP says so. */
static void unreachable(void) {
  char url[100];
  rig_pairs = 2;
  rig_start(&rig, NULL);
  rig_ip_there(&rig, "rule add pref 100 lookup local");
  rig_ip_there(&rig, "rule del pref 0");
  rig_ip_there(&rig, "rule add pref 10 iif vb1 prohibit");
  snprintf(url, sizeof url, "weft://10.77.0.2:%d", rig.port);
  client_connect(url, 0);
  RUN_UNTIL(&c.loop, 5000, sees(WEFT_WHY_UNREACHABLE, WEFT_TEST_TCP, "va1"));
  assert_non_null(strstr(last.remote, "10.77.1.2:"));
  leave();
}

static void timed_out(void) {
  char url[100];
  rig_pairs = 2;
  rig_start(&rig, NULL);
  rig_silence(&rig, 1, true);
  snprintf(url, sizeof url, "weft://10.77.0.2:%d", rig.port);
  client_connect(url, 0); /* within its budget, without that path */
  RUN_UNTIL(&c.loop, 8000, sees(WEFT_WHY_TIMEOUT, WEFT_TEST_TCP, "va1"));
  leave();
}

/* A peer that offers another's address: who answers there does not know the session's secret. */
static void false_peer(int first, int second, uint16_t port) {
  static peer_t p, j;
  struct sockaddr_in *sin = (struct sockaddr_in *) &p.self.offers[0].addr;
  if (!peer_take(&p, first, 5000) || !peer_answer(&p, 5000)) _exit(1);
  peer_identity(&p, "false");
  p.self.noffers = 1;
  strcpy(p.self.offers[0].provider, "tcp");
  strcpy(p.self.offers[0].device, "x0");
  sin->sin_family = AF_INET;
  sin->sin_port = htons(port);
  inet_pton(AF_INET, "127.0.0.2", &sin->sin_addr);
  if (!peer_hello(&p) || !peer_hear(&p, 5000)) _exit(2);
  while (peer_take(&j, second, 20000))
    peer_answer(&j, 5000); /* accepts whoever comes, with a proof made of nothing */
  _exit(0);
}

static void no_proof(void) {
  char url[100];
  uint16_t port, other;
  int first = peer_listen("127.0.0.1", &port), second = peer_listen("127.0.0.2", &other), st;
  fflush(NULL);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) false_peer(first, second, other);
  snprintf(url, sizeof url, "weft://127.0.0.1:%d", port);
  client_connect(url, 0);
  RUN_UNTIL(&c.loop, 5000, sees(WEFT_WHY_NO_PROOF, WEFT_TEST_TCP, "lo"));
  client_close();
  kill(pid, SIGKILL);
  waitpid(pid, &st, 0);
  close(first);
  close(second);
}

static void died(void) {
  connect_there(2, NULL, "", 0);
  RUN_UNTIL(&c.loop, 5000, sees(WEFT_WHY_STANDBY, WEFT_TEST_TCP, NULL));
  rig_ip_there(&rig, "link set vb1 down");
  RUN_UNTIL(&c.loop, 5000, sees(WEFT_WHY_DIED, WEFT_TEST_TCP, "va1"));
  leave();
}

static void forbidden(void) {
  connect_there(1, NULL, "?forbid=tcp", WEFT_EUNMET);
  assert_true(sees(WEFT_WHY_FORBIDDEN, WEFT_TEST_TCP, "va0"));
  leave();
}

static void not_required(void) {
  assert_true(in_candidates("providers", "verbs", "tcp", NULL, WEFT_WHY_NOT_REQUIRED));
}

static void device_filter(void) {
  rig_ip("link add vx type veth peer name vy");
  assert_true(in_candidates("devices", "lo", WEFT_TEST_TCP, "vx", WEFT_WHY_DEVICE_FILTER));
  rig_ip("link del vx");
}

static void too_slow(void) {
  connect_there(1, NULL, "?latency=1us&strict=yes", WEFT_EUNMET);
  assert_true(sees(WEFT_WHY_TOO_SLOW, WEFT_TEST_TCP, "va0"));
  assert_non_null(strstr(last.detail, "needed: 1 us"));
  leave();
}

static void outranked(void) {
  connect_there(3, NULL, "", 0);
  RUN_UNTIL(&c.loop, 5000,
            sees(WEFT_WHY_STANDBY, WEFT_TEST_TCP, NULL) &&
                sees(WEFT_WHY_OUTRANKED, WEFT_TEST_TCP, NULL) && strstr(last.detail, "standby=1"));
  assert_non_null(strstr(last.detail, " us for 64 B")); /* what is before it, and the figures */
  leave();
}

static unsigned open_fds(void) {
  unsigned n = 0;
  DIR *d = opendir("/proc/self/fd");
  assert_non_null(d);
  while (readdir(d)) n++;
  closedir(d);
  return n;
}

/* As many descriptors as the first rail needs, and not as many as the second. How many that is
 * differs from libfabric to libfabric, so all limits are tried from below. */
static void out_of_descriptors(void) {
  struct rlimit all, few;
  char url[100];
  bool reached = false;
  rig_pairs = 2;
  rig_start(&rig, NULL);
  snprintf(url, sizeof url, "weft://10.77.0.2:%d", rig.port);
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &all), 0);
  weft_log_set(WEFT_LOG_ERROR, NULL, NULL);
  for (unsigned more = 8; more < 64 && !reached; more++) {
    few = all;
    few.rlim_cur = open_fds() + more;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    if (client_start(url) == 0) {
      for (uint64_t until = api_now_ms() + 2000 * api_slow(); !c.done && api_now_ms() < until;)
        api_step(&c.loop);
      if (c.done && c.status == 0) {
        RUN_FOR(&c.loop, 100);
        reached = sees(WEFT_WHY_SYSTEM, WEFT_TEST_TCP, "va1");
      }
      assert_int_equal(setrlimit(RLIMIT_NOFILE, &all), 0);
      client_close();
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &all), 0);
  }
  assert_true(reached);
  assert_non_null(strstr(last.detail, "EMFILE"));
  rig_stop(&rig);
}

static const struct row {
  int why;
  const char *name;
  void (*reach)(void); /* NULL: reserved, nothing in the sources gives it */
} rows[] = {
    {WEFT_WHY_OK, "OK", usable},
    {WEFT_WHY_IN_USE, "IN_USE", in_use},
    {WEFT_WHY_STANDBY, "STANDBY", standby},
    {WEFT_WHY_NO_DEVICE, "NO_DEVICE", no_device},
    {WEFT_WHY_NO_PROVIDER, "NO_PROVIDER", no_provider},
    {WEFT_WHY_NOT_BUILT, "NOT_BUILT", not_built},
    {WEFT_WHY_NO_ADDRESS, "NO_ADDRESS", no_address},
    {WEFT_WHY_LINK_DOWN, "LINK_DOWN", link_down},
    {WEFT_WHY_QUIRK, "QUIRK", quirk},
    {WEFT_WHY_LOOPBACK, "LOOPBACK", loopback},
    {WEFT_WHY_PEER_LACKS, "PEER_LACKS", peer_lacks},
    {WEFT_WHY_PEER_VETO, "PEER_VETO", NULL},
    {WEFT_WHY_UNREACHABLE, "UNREACHABLE", unreachable},
    {WEFT_WHY_TIMEOUT, "TIMEOUT", timed_out},
    {WEFT_WHY_NO_PROOF, "NO_PROOF", no_proof},
    {WEFT_WHY_DIED, "DIED", died},
    {WEFT_WHY_FORBIDDEN, "FORBIDDEN", forbidden},
    {WEFT_WHY_NOT_REQUIRED, "NOT_REQUIRED", not_required},
    {WEFT_WHY_DEVICE_FILTER, "DEVICE_FILTER", device_filter},
    {WEFT_WHY_POLICY_RULE, "POLICY_RULE", NULL},
    {WEFT_WHY_TOO_SLOW, "TOO_SLOW", too_slow},
    {WEFT_WHY_OUTRANKED, "OUTRANKED", outranked},
    {WEFT_WHY_SYSTEM, "SYSTEM", out_of_descriptors},
};
enum { ROWS = sizeof rows / sizeof rows[0] };

static bool reached[ROWS];

static void reach_row(void **state) {
  const struct row *r = *state;
  memset(&last, 0, sizeof last);
  last.why = -1;
  r->reach();
  assert_int_equal(last.why, r->why);
  assert_true(last.detail[0] != '\0'); /* no reason without its evidence */
  printf("  %s: %s\n", weft_why_name(r->why), last.detail);
  reached[r - rows] = true;
}

/* Does any source but the table name the code? */
static bool given_somewhere(const char *name) {
  const char *src = getenv("WEFT_SRC");
  char cmd[500];
  assert_non_null(src);
  snprintf(cmd, sizeof cmd,
           "grep -rqlw --include='*.c' --exclude='*_test.c' --exclude=reasons.c '%s' '%s/fabric' "
           "'%s/selector'",
           name, src, src);
  int st = system(cmd);
  assert_true(WIFEXITED(st) && WEXITSTATUS(st) <= 1);
  return WEXITSTATUS(st) == 0;
}

static void every_row_has_a_case(void **state) {
  unsigned known = 0;
  (void) state;
  assert_true(given_somewhere("WEFT_WHY_SYSTEM")); /* the search itself works */
  for (int why = -1; why < 10000; why++) {
    unsigned i;
    if (strcmp(weft_why_name(why), "WEFT_WHY_?") == 0) continue;
    known++;
    for (i = 0; i < ROWS && rows[i].why != why; i++) continue;
    if (i == ROWS) fail_msg("%s has no case here", weft_why_name(why));
    assert_string_equal(weft_why_name(why) + strlen("WEFT_WHY_"), rows[i].name);
    if (rows[i].reach && !reached[i]) fail_msg("%s was not reached", weft_why_name(why));
    if (!rows[i].reach && given_somewhere(weft_why_name(why)))
      fail_msg("%s is no longer reserved: it needs a case here", weft_why_name(why));
  }
  assert_int_equal(known, ROWS);
}

int main(void) {
  struct CMUnitTest tests[ROWS + 2];
  size_t n = 0;
  const char *why = rig_enter();
  if (why) return api_skip(why);
  for (size_t i = 0; i < ROWS; i++)
    if (rows[i].reach)
      tests[n++] =
          (struct CMUnitTest){rows[i].name, reach_row, NULL, NULL, (void *) (uintptr_t) &rows[i]};
  tests[n++] = (struct CMUnitTest){"an RDMA device is told", rdma_device_is_told, NULL, NULL, NULL};
  tests[n++] = (struct CMUnitTest){"every row has a case", every_row_has_a_case, NULL, NULL, NULL};
  return _cmocka_run_group_tests("why_reached", tests, n, NULL, NULL);
}
