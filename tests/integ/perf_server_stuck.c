/* SPDX-License-Identifier: Apache-2.0 */
/* perf_server_stuck.c - the server of weft_perf lends itself to a floor whose client stands still,
 * or never ends: others are served when its time is over, and SIGTERM ends the server at once.
 *
 * ctest: timeout=120
 * ctest: beside */
#include "lib_api.h"

#include <arpa/inet.h>
#include <math.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../bindings/tools/weft_perf.h"

#define SECONDS 0.3

static pid_t server;
static char url[256];

static void on_ready(const char *at, void *arg) {
  int fd = *(int *) arg;
  CHECK(write(fd, at, strlen(at)) == (ssize_t) strlen(at));
  close(fd);
}

static void server_start(void) {
  int p[2];
  ssize_t n;
  fflush(NULL);
  assert_int_equal(pipe(p), 0);
  server = fork();
  assert_true(server >= 0);
  if (server == 0) {
    char fd[16];
    snprintf(fd, sizeof fd, "%d", p[1]);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(p[0]);
    execl("/proc/self/exe", "perf_server_stuck", fd, NULL); /* Weft's threads may be here still */
    _exit(9);
  }
  close(p[1]);
  n = read(p[0], url, sizeof url - 1);
  assert_true(n > 0);
  url[n] = '\0';
  close(p[0]);
}

/* It ends by itself in time, in order. */
static void server_ends(int ms) {
  uint64_t until = api_now_ms() + (uint64_t) ms * api_slow();
  int status = 0;
  pid_t pid;
  kill(server, SIGTERM);
  while ((pid = waitpid(server, &status, WNOHANG)) == 0 && api_now_ms() < until) usleep(5000);
  if (pid == 0) {
    kill(server, SIGKILL);
    waitpid(server, &status, 0);
    fail_msg("the server has not ended %d ms after SIGTERM", ms);
  }
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
}

static perf_client_t *client_open(void) {
  weft_opts_t opts;
  api_opts(&opts, NULL);
  opts.connect_timeout_ms = 30000; /* longer than a floor lasts */
  perf_client_opts_t o = {.url = url, .opts = &opts};
  perf_client_t *c;
  if (perf_client_open(&c, &o) != 0) fail_msg("%s", perf_client_error(c));
  return c;
}

static void ask(perf_client_t *c, perf_floor_spec_t *spec) {
  if (perf_client_floor(c, spec) != 0) fail_msg("%s", perf_client_error(c));
}

static int dial(const perf_floor_spec_t *spec) {
  struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(spec->port)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(inet_pton(AF_INET, spec->host, &sin.sin_addr), 1);
  assert_int_equal(connect(fd, (struct sockaddr *) &sin, sizeof sin), 0);
  return fd;
}

/* A client of the floor that stops in the middle. */
static pid_t stopped_client(const perf_floor_spec_t *spec) {
  int status;
  fflush(NULL);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    static perf_hist_t rtt;
    perf_rate_t rate;
    perf_floor_spec_t s = *spec;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    s.seconds = 60;
    if (s.shape == PERF_FLOOR_PINGPONG)
      perf_floor_pingpong(&s, &rtt);
    else
      perf_floor_stream(&s, &rate);
    _exit(0);
  }
  usleep(150000 * api_slow());
  kill(pid, SIGSTOP);
  assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
  assert_true(WIFSTOPPED(status)); /* or it had ended: the floor did not run */
  return pid;
}

static void reap(pid_t pid) {
  int status;
  kill(pid, SIGKILL);
  assert_int_equal(waitpid(pid, &status, 0), pid);
}

/* Somebody else is served, when the floor's time is over at the latest. */
static void others_are_served(uint64_t from) {
  uint64_t most = (uint64_t) ((SECONDS + PERF_FLOOR_GRACE_S + 2) * 1000) * api_slow();
  perf_ctl_t report;
  perf_client_t *c = client_open();
  if (perf_client_report(c, &report) != 0) fail_msg("%s", perf_client_error(c));
  if (api_now_ms() - from > most) fail_msg("served after %d ms", (int) (api_now_ms() - from));
  perf_client_close(c);
}

static perf_floor_spec_t floor_of(int kind, int shape, int wait) {
  return (perf_floor_spec_t){.kind = kind,
                             .shape = shape,
                             .wait = wait,
                             .window = 4,
                             .size = 4096,
                             .seconds = SECONDS,
                             .provider = "tcp"};
}

static const struct {
  int kind, shape, wait;
} all[] = {
    {PERF_FLOOR_SOCKETS, PERF_FLOOR_PINGPONG, PERF_FLOOR_SLEEP},
    {PERF_FLOOR_SOCKETS, PERF_FLOOR_STREAM, PERF_FLOOR_SPIN},
    {PERF_FLOOR_LIBFABRIC, PERF_FLOOR_PINGPONG, PERF_FLOOR_SLEEP},
    {PERF_FLOOR_LIBFABRIC, PERF_FLOOR_STREAM, PERF_FLOOR_SPIN},
};

static void test_sigterm_ends_it_at_once(void **state) {
  (void) state;
  for (unsigned i = 0; i < sizeof all / sizeof all[0]; i++) {
    perf_floor_spec_t spec = floor_of(all[i].kind, all[i].shape, all[i].wait);
    server_start();
    perf_client_t *c = client_open();
    ask(c, &spec);
    pid_t pid = stopped_client(&spec);
    server_ends(1500);
    perf_client_close(c);
    reap(pid);
  }
}

static void test_sigterm_while_it_waits_for_the_client(void **state) {
  (void) state;
  for (int kind = PERF_FLOOR_SOCKETS; kind <= PERF_FLOOR_LIBFABRIC; kind++) {
    perf_floor_spec_t spec = floor_of(kind, PERF_FLOOR_PINGPONG, PERF_FLOOR_SLEEP);
    server_start();
    perf_client_t *c = client_open();
    ask(c, &spec); /* and does not come */
    usleep(300000);
    server_ends(1500);
    perf_client_close(c);
  }
}

/* Two floors after each other, so that the second one finds the signals as they were. */
static void test_others_are_served_after_its_time(void **state) {
  (void) state;
  server_start();
  for (int kind = PERF_FLOOR_SOCKETS; kind <= PERF_FLOOR_LIBFABRIC; kind++) {
    perf_floor_spec_t spec = floor_of(kind, PERF_FLOOR_PINGPONG, PERF_FLOOR_SLEEP);
    perf_client_t *c = client_open();
    ask(c, &spec);
    uint64_t from = api_now_ms();
    pid_t pid = stopped_client(&spec);
    others_are_served(from);
    perf_client_close(c);
    reap(pid);
  }
  server_ends(1500);
}

/* It sends and sends, as a stream whose end it does not know. */
static void test_an_endless_client(void **state) {
  perf_floor_spec_t spec = floor_of(PERF_FLOOR_SOCKETS, PERF_FLOOR_STREAM, PERF_FLOOR_SLEEP);
  (void) state;
  server_start();
  perf_client_t *c = client_open();
  ask(c, &spec);
  uint64_t from = api_now_ms();
  int fd = dial(&spec);
  fflush(NULL);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    static char some[65536];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (send(fd, some, sizeof some, MSG_NOSIGNAL) > 0) usleep(1000);
    _exit(0);
  }
  close(fd);
  others_are_served(from);
  perf_client_close(c);
  reap(pid);
  server_ends(1500);
}

static void refused(perf_client_t *c, uint64_t size, unsigned window, double seconds,
                    const char *why) {
  perf_floor_spec_t spec = floor_of(PERF_FLOOR_SOCKETS, PERF_FLOOR_PINGPONG, PERF_FLOOR_SLEEP);
  spec.size = size;
  spec.window = window;
  spec.seconds = seconds;
  assert_int_not_equal(perf_client_floor(c, &spec), 0);
  if (!strstr(perf_client_error(c), why)) fail_msg("refused with: %s", perf_client_error(c));
}

static void test_too_much_is_refused_with_a_reason(void **state) {
  (void) state;
  server_start();
  perf_client_t *c = client_open();
  refused(c, 1 << 20, 65, 1, "64 MiB");
  refused(c, UINT64_MAX / 2, 2, 1, "64 MiB");
  refused(c, 64, 4, 1e9, "60 s");
  refused(c, 64, 4, NAN, "60 s");
  refused(c, 64, 4, -1, "cannot run");
  refused(c, 8, 4, 1, "cannot run");
  refused(c, 64, 0, 1, "cannot run");
  /* What is just not too much is lent. */
  perf_floor_spec_t spec = floor_of(PERF_FLOOR_LIBFABRIC, PERF_FLOOR_STREAM, PERF_FLOOR_SLEEP);
  spec.size = 1 << 20;
  spec.window = 64;
  spec.seconds = 60;
  ask(c, &spec);
  perf_client_close(c);
  server_ends(1500);
}

int main(int argc, char **argv) {
  if (argc > 1) { /* the server */
    int fd = atoi(argv[1]);
    perf_server_opts_t o = {
        .url = "weft://127.0.0.1:0", .stop_fd = -1, .quiet = 1, .ready = on_ready, .arg = &fd};
    return perf_server_run(&o) ? 1 : 0;
  }
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_sigterm_ends_it_at_once),
      cmocka_unit_test(test_sigterm_while_it_waits_for_the_client),
      cmocka_unit_test(test_others_are_served_after_its_time),
      cmocka_unit_test(test_an_endless_client),
      cmocka_unit_test(test_too_much_is_refused_with_a_reason),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
