/* SPDX-License-Identifier: Apache-2.0 */
/* faults_forced.c - every injection point of fabric/base/fault.h made to fail, one by one, under a
 * program that connects, sends small and large both ways, loses a path, and closes.
 *
 *   faults_forced                  all points
 *   faults_forced POINT            one point
 *   faults_forced POINT:NTH:ERRNO  one run, its log on stderr
 *
 * Design notes
 *   - Each run is a process of its own, because WEFT_FAULT is read once: this program, started again
 *     with --run, in a network namespace with two devices. Its exit code is its result.
 *   - A run may end as if nothing had happened, or in a clear error: a code that weft.h names, with a
 *     sentence where a connection had begun. Never a crash, a hang, a wrong message, an open file
 *     descriptor or (with AddressSanitizer) a leak.
 *   - The points come from the library's table. A point without a row in `expected`, or one that the
 *     program never passes, fails the test: whoever adds a point says here what follows from it.
 *
 * ctest: timeout=300 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "soak/lib_netns.h"
#include "weft.h"

enum { SMALL = 40, LARGE = 3, LARGE_BYTES = 900000, ROUNDS = 2, PARALLEL = 3, KEPT = 8 };
enum {
  RC_FINE = 0,
  RC_ERROR = 40,
  RC_WRONG = 41,
  RC_HANG = 42,
  RC_NO_NET = 43,
  RC_NOT_PASSED = 44
};

#ifdef __SANITIZE_ADDRESS__
enum { SLOW = 4 };
#else
enum { SLOW = 1 };
#endif

/* What follows when the step fails the first time, and when it always fails. EITHER is for what
 * nobody decides: which of several rails the worker opens first, and so which one misses its step.
 */
typedef enum { EITHER = 0, FINE, ERR } result_t;
static const char *const result_names[] = {"either", "recovers", "clear error"};

/* Where a point is passed. Of those of a device: msg_read_test, calls_that_hang, and
 * tests/vm/cases/death.sh. */
typedef enum { HERE, DEVICE } where_t;

typedef struct row_s {
  const char *point;
  result_t once, always;
  where_t passed;
} row_t;

static const row_t expected[] = {
    {"getinfo", ERR, ERR, HERE},          {"fabric_open", FINE, ERR, HERE},
    {"domain_open", EITHER, ERR, HERE},   {"cq_open", FINE, ERR, HERE},
    {"eq_open", FINE, ERR, HERE},         {"ep_open", FINE, ERR, HERE},
    {"ep_enable", ERR, ERR, HERE},        {"mr_reg", FINE, FINE, HERE},
    {"listen", FINE, ERR, HERE},          {"connect", ERR, ERR, HERE},
    {"accept", ERR, ERR, HERE},           {"post_recv", ERR, ERR, HERE},
    {"post_send", ERR, ERR, HERE},        {"post_write", FINE, FINE, HERE},
    {"pool_grow", ERR, ERR, HERE},        {"post_read", EITHER, EITHER, DEVICE},
    {"thread_start", ERR, ERR, HERE},     {"resolve", ERR, ERR, HERE},
    {"epoll", FINE, ERR, HERE},           {"netlink", FINE, FINE, HERE},
    {"timer", FINE, FINE, HERE},          {"alloc_session", ERR, ERR, HERE},
    {"alloc_conn", ERR, ERR, HERE},       {"alloc_msg", FINE, ERR, HERE},
    {"alloc_large", ERR, ERR, HERE},      {"port_events", FINE, FINE, DEVICE},
    {"connect_read", FINE, FINE, DEVICE}, {"ep_close", FINE, FINE, HERE},
    {"domain_close", FINE, FINE, HERE},   {"mem_close", FINE, FINE, DEVICE},
    {"mr_close", FINE, FINE, HERE},
};

/* ---- One run: a server and a client on one loop ---- */

typedef struct out { /* one message on its way */
  weft_send_t req;
  struct end *end;
  char *bytes;
  size_t size;
} out_t;

typedef struct end {
  weft_conn_t conn;
  weft_connect_t connect;
  weft_shutdown_t bye;
  bool server, open, shut, eof, closing;
  unsigned tx, rx, acked, skipped;
} end_t;

static uv_loop_t loop;
static weft_t server, client;
static weft_listener_t listener;
static uv_timer_t clock_timer;
static end_t near, far;
static unsigned contexts, round_no, cut_done;
static const char *step = "start";
static uint64_t begun;
static bool has_net, failed;
static char failure[400];
static uint16_t port;
static weft_msg_t *kept[KEPT];
static unsigned nkept;

static void drive(void);
static void close_all(void);

/* The run ends in an error, which must be one that a user can read. */
__attribute__((format(printf, 3, 4))) static void ends(int err, bool sentence, const char *fmt,
                                                       ...) {
  char text[300];
  va_list ap;

  va_start(ap, fmt);
  vsnprintf(text, sizeof(text), fmt, ap);
  va_end(ap);
  if (err >= 0 || strstr(weft_err_name(err), "UNKNOWN") != NULL || (sentence && text[0] == '\0')) {
    fprintf(stderr, "%s: not a clear error: %d %s \"%s\"\n", step, err, weft_err_name(err), text);
    _exit(RC_WRONG);
  }
  if (!failed)
    snprintf(failure, sizeof(failure), "%s: %s: %s", step, weft_err_name(err),
             text[0] != '\0' ? text : weft_strerror(err));
  failed = true;
  close_all();
}

static void wrong(const char *what) {
  fprintf(stderr, "%s: %s\n", step, what);
  _exit(RC_WRONG);
}

static size_t size_of(unsigned n) {
  return n % (SMALL + LARGE) < SMALL ? 4 + n * 37 % 3000 : LARGE_BYTES + n;
}

static void bytes_of(unsigned n, bool from_server, char *p, size_t size) {
  uint32_t v = n * 2654435761u + from_server;
  size_t i;

  memcpy(p, &n, sizeof(n)); /* which one it is */
  for (i = sizeof(n); i < size; i++) p[i] = (char) ((v = v * 1664525u + 1013904223u) >> 24);
}

static void on_sent(weft_send_t *req, int status) {
  out_t *o = (out_t *) req;
  end_t *e = o->end;

  free(o->bytes);
  free(o);
  if (status == 0)
    e->acked++;
  else if (!e->closing)
    ends(status, false, "a message of the %s", e->server ? "server" : "client");
  drive();
}

static void send_next(end_t *e) {
  out_t *o = calloc(1, sizeof(*o));
  uv_buf_t buf;
  int err;

  if (o == NULL || (o->bytes = malloc(o->size = size_of(e->tx))) == NULL) abort();
  o->end = e;
  bytes_of(e->tx, e->server, o->bytes, o->size);
  buf = uv_buf_init(o->bytes, (unsigned) o->size);
  if (e->tx++ % 4 == 1 && o->size < 4000 &&
      weft_try_send(&e->conn, &buf, 1) == 0) { /* copied, no callback */
    e->acked++;
    free(o->bytes);
    free(o);
    return;
  }
  err = weft_send(&o->req, &e->conn, &buf, 1, on_sent);
  if (err != 0) {
    free(o->bytes);
    free(o);
    ends(err, false, "weft_send");
  }
}

static void on_conn_closed(weft_conn_t *conn) {
  end_t *e = conn->data;

  e->open = false;
  drive();
}

static void close_end(end_t *e) {
  if (e->closing || !e->open) return;
  e->closing = true;
  weft_conn_close(&e->conn, on_conn_closed);
}

static void on_shut(weft_shutdown_t *req, int status) {
  end_t *e = req->data;

  if (status != 0 && !e->closing) ends(status, false, "weft_shutdown");
  e->shut = true;
  drive();
}

/* A large message whose memory could not be had is refused: its sender hears UV_ENOBUFS, the others
 * go on. Nothing else may be missing. */
static void skip_to(end_t *e, unsigned n) {
  for (; e->rx < n; e->rx++, e->skipped++)
    if (size_of(e->rx) < LARGE_BYTES) wrong("a small message is missing");
}

static void keep(weft_msg_t *msg) {
  if (nkept == KEPT) weft_msg_release(kept[--nkept]);
  kept[nkept] = weft_msg_retain(msg);
  if (kept[nkept] == NULL)
    ends(UV_ENOMEM, false, "weft_msg_retain");
  else
    nkept++;
}

static void on_recv(weft_conn_t *conn, int status, weft_msg_t *msg) {
  end_t *e = conn->data;
  size_t size = status == 0 ? weft_msg_size(msg) : 0;
  unsigned n;
  char *want;

  if (status == UV_EOF) {
    e->eof = true;
  } else if (status != 0) {
    ends(status, true, "%s", weft_conn_error(conn));
  } else {
    if (size < sizeof(n)) wrong("a message of another size");
    memcpy(&n, weft_msg_data(msg), sizeof(n));
    if (n < e->rx || size != size_of(n))
      wrong("a message comes twice, out of order, or with another size");
    skip_to(e, n);
    want = malloc(size);
    if (want == NULL) abort();
    bytes_of(e->rx, !e->server, want, size);
    if (memcmp(want, weft_msg_data(msg), size) != 0)
      wrong("a message has other bytes than it was sent with");
    free(want);
    e->rx++;
    if (n % 3 == 0 && size < 4000) keep(msg);
  }
  drive();
}

static void on_peer(weft_listener_t *l, int status) {
  int err;

  if (status != 0) {
    ends(status, false, "listener");
    return;
  }
  if (far.open || failed) {
    (void) weft_reject(l, UV_EBUSY, "one at a time");
    return;
  }
  memset(&far, 0, sizeof(far));
  far.server = true;
  far.conn.data = far.bye.data = &far;
  err = weft_conn_init(&server, &far.conn);
  if (err != 0) {
    (void) weft_reject(l, err, "no connection to accept with");
    ends(err, false, "weft_conn_init");
    return;
  }
  far.open = true;
  err = weft_accept(l, &far.conn);
  if (err == 0) err = weft_recv_start(&far.conn, NULL, on_recv);
  if (err != 0) ends(err, false, "weft_accept");
  drive();
}

static void on_connected(weft_connect_t *req, int status) {
  (void) req;
  if (status != 0 && !near.closing) ends(status, true, "%s", weft_conn_error(&near.conn));
  drive();
}

static void dial(const char *host) {
  char url[80];
  int err;

  memset(&near, 0, sizeof(near));
  near.conn.data = near.connect.data = near.bye.data = &near;
  snprintf(url, sizeof(url), "weft://%s:%u?interruption=200ms", host, port);
  err = weft_conn_init(&client, &near.conn);
  if (err == 0) {
    near.open = true;
    err = weft_connect(&near.connect, &near.conn, url, NULL, on_connected);
  }
  if (err == 0) err = weft_recv_start(&near.conn, NULL, on_recv);
  if (err != 0) ends(err, false, "weft_connect");
}

/* ---- The program, step by step ---- */

static void on_weft_closed(weft_t *w) {
  (void) w;
  if (--contexts == 0) uv_close((uv_handle_t *) &clock_timer, NULL);
}

static void close_contexts(void) {
  static bool once;

  if (once) return;
  once = true;
  step = "closing";
  while (nkept != 0) weft_msg_release(kept[--nkept]);
  if (contexts == 0) {
    uv_close((uv_handle_t *) &clock_timer, NULL);
    return;
  }
  if (client.priv != NULL) weft_close(&client, on_weft_closed);
  if (server.priv != NULL) weft_close(&server, on_weft_closed);
}

static void close_all(void) {
  near.closing = far.closing = true; /* weft_close closes them too */
  close_contexts();
}

static bool sent_and_got(const end_t *e, unsigned n) {
  return e->acked == n && e->rx == n;
}

static void top_up(end_t *e, unsigned n) {
  while (!failed && e->tx < n && e->tx - e->acked < 8) send_next(e);
}

/* Whatever has happened: what comes next? */
static void drive(void) {
  static unsigned goal;
  static bool in, again;

  if (failed || contexts < 2) return;
  again = in;
  if (in) return;
  in = true;
  do {
    again = false;
    if (!near.open && !far.open) { /* the next connection, or the end */
      if (round_no == ROUNDS) {
        close_all();
        break;
      }
      step =
          round_no == 0 ? "the first connection, by name" : "the second connection, with a standby";
      goal = SMALL + LARGE;
      dial(round_no++ == 0 || !has_net ? "localhost" : "10.9.1.1");
      break;
    }
    if (!near.open || !far.open || near.closing || far.closing) break;
    top_up(&near, goal);
    top_up(&far, goal);
    if (failed || !sent_and_got(&near, goal) || !sent_and_got(&far, goal)) break;
    if (round_no == 2 && has_net && !cut_done) { /* half of it: pull the cable, send the rest */
      cut_done = 1;
      step = "after a path was cut";
      goal *= 2;
      again = true;
      if (netns_ip("link set d0 down\n") != 0) wrong("ip: cannot cut");
      continue;
    }
    if (near.bye.priv == NULL && !near.shut && near.tx == goal) {
      near.tx++; /* once */
      if (weft_shutdown(&near.bye, &near.conn, on_shut) != 0) wrong("weft_shutdown");
    }
    break;
  } while (again);
  if (!failed && far.open && far.eof && !far.shut && far.bye.priv == NULL && !far.closing &&
      far.tx == goal) {
    far.tx++;
    if (weft_shutdown(&far.bye, &far.conn, on_shut) != 0) wrong("weft_shutdown");
  }
  if (near.open && far.open && near.shut && near.eof && far.shut && far.eof) {
    close_end(&near);
    close_end(&far);
  }
  in = false;
}

static void on_clock(uv_timer_t *t) {
  (void) t;
  if (uv_hrtime() - begun > (uint64_t) 15000000000 * SLOW) {
    fprintf(stderr,
            "hangs in: %s; client sent %u, acknowledged %u, got %u; server sent %u, acknowledged "
            "%u, got %u\n",
            step, near.tx, near.acked, near.rx, far.tx, far.acked, far.rx);
    _exit(RC_HANG);
  }
}

/* How many are open; `print`: say which. */
static unsigned count_fds(bool print) {
  DIR *dir = opendir("/proc/self/fd");
  char path[300], what[256];
  struct dirent *e;
  unsigned n = 0;
  ssize_t len;

  if (dir == NULL) abort();
  while ((e = readdir(dir)) != NULL) {
    n++;
    snprintf(path, sizeof(path), "/proc/self/fd/%s", e->d_name);
    if (print && (len = readlink(path, what, sizeof(what) - 1)) > 0)
      fprintf(stderr, "  %s -> %.*s\n", e->d_name, (int) len, what);
  }
  closedir(dir);
  return n;
}

static int init_context(weft_t *w, const weft_opts_t *opts) {
  int err = weft_init(&loop, w, opts);

  if (err == 0)
    contexts++;
  else
    w->priv = NULL;
  return err;
}

static void on_line(void *arg, int level, const char *line) {
  (void) arg;
  (void) level;
  fprintf(stderr, "  %s\n", line);
}

static int run(const char *point, bool net, bool verbose) {
  const char *name = NULL, *colon;
  weft_opts_t opts;
  char url[200];
  size_t len = sizeof(url);
  unsigned i, fds;
  int err;

  has_net = net && netns_enter() == 0 &&
            netns_ip("link add d0 type veth peer name e0\nlink add d1 type veth peer name e1\n"
                     "addr add 10.9.1.1/24 dev d0\naddr add 10.9.2.1/24 dev d1\n"
                     "link set d0 up\nlink set e0 up\nlink set d1 up\nlink set e1 up\n") == 0 &&
            netns_wait_carrier("d0") == 0 && netns_wait_carrier("d1") == 0;
  if (net && !has_net) return RC_NO_NET;
  alarm(30 * SLOW);
  weft_log_set(verbose ? WEFT_LOG_INFO : WEFT_LOG_ERROR, on_line, NULL);
  weft_opts_init(&opts, sizeof(opts));
  opts.connect_timeout_ms = 2000 * SLOW;
  opts.handshake_timeout_ms = 2000 * SLOW;
  opts.shutdown_timeout_ms = 3000 * SLOW;
  opts.peer_timeout_ms = 3000 * SLOW;
  opts.settle_ms = 100;
  begun = uv_hrtime();
  /* libuv opens a pipe for signals with the first loop of a process and keeps it. */
  if (uv_loop_init(&loop) != 0 || uv_loop_close(&loop) != 0) abort();
  fds = count_fds(false);
  if (uv_loop_init(&loop) != 0) abort();
  uv_timer_init(&loop, &clock_timer);
  uv_timer_start(&clock_timer, on_clock, 100, 100);

  step = "weft_init";
  err = init_context(&server, &opts);
  if (err == 0) err = init_context(&client, &opts);
  if (err == 0) {
    step = "weft_listen";
    err = weft_listener_init(&server, &listener);
  }
  if (err == 0) err = weft_listen(&listener, "weft://*:0", 16, on_peer);
  if (err == 0) err = weft_listener_addr(&listener, url, &len);
  if (err != 0) {
    ends(err, false, "%s", "");
  } else {
    colon = strrchr(url, ':');
    port = (uint16_t) strtoul(colon + 1, NULL, 10);
    drive();
  }
  uv_run(&loop, UV_RUN_DEFAULT);
  if (uv_loop_close(&loop) != 0) wrong("handles are left in the loop");
  for (i = 0; count_fds(false) > fds && i < 300; i++) usleep(10000);
  if (count_fds(false) > fds) {
    count_fds(true);
    wrong("file descriptors are left open");
  }

  for (i = 0; weft__fault_point(i, &name, NULL) == 0; i++)
    if (strcmp(name, point) == 0 && weft__fault_count((enum weft__fault_point) i) == 0)
      return RC_NOT_PASSED;
  if (failed) {
    printf("%s\n", failure);
    return RC_ERROR;
  }
  if (near.skipped + far.skipped != 0) wrong("a message is missing, and its sender was not told");
  if (has_net && !cut_done) wrong("no path was cut");
  return RC_FINE;
}

/* ---- All runs ---- */

typedef struct job {
  char spec[64], point[32];
  result_t want;
  bool must_pass; /* the point has to be reached */
  pid_t pid;
  int out;
} job_t;

static bool net = true;
static unsigned bad, done_runs, recovered, errors;

static void start(job_t *j, const char *self) {
  int fd[2];

  if (pipe(fd) != 0) abort();
  j->pid = fork();
  if (j->pid < 0) abort();
  if (j->pid == 0) {
    setenv("WEFT_FAULT", j->spec, 1);
    dup2(fd[1], 1);
    dup2(fd[1], 2);
    close(fd[0]);
    close(fd[1]);
    execl(self, self, "--run", j->point, net ? "net" : "loopback", "quiet", (char *) NULL);
    _exit(127);
  }
  close(fd[1]);
  j->out = fd[0];
}

static void finish(job_t *j) {
  char text[4000];
  const char *verdict = "";
  int status, rc;
  size_t n = 0;
  ssize_t r;

  char more[4096];

  while ((r = read(j->out, more, sizeof(more))) >
         0) { /* all of it, of which the beginning is shown */
    size_t k = (size_t) r < sizeof(text) - 1 - n ? (size_t) r : sizeof(text) - 1 - n;
    memcpy(text + n, more, k);
    n += k;
  }
  text[n] = '\0';
  close(j->out);
  if (waitpid(j->pid, &status, 0) != j->pid) abort();
  rc = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  done_runs++;
  if (rc == RC_NOT_PASSED && !j->must_pass) return;
  if (rc == RC_FINE) {
    recovered++;
    if (j->want == ERR) verdict = "the step failed and nobody noticed";
  } else if (rc == RC_ERROR) {
    errors++;
    if (j->want == FINE) verdict = "should have recovered";
  } else if (rc == RC_HANG) {
    verdict = "hangs";
  } else if (rc == RC_NOT_PASSED) {
    verdict = "the program never passes this point";
  } else if (rc == RC_WRONG) {
    verdict = "wrong";
  } else {
    verdict = "crashed or leaked";
  }
  if (verdict[0] != '\0') {
    bad++;
    printf("FAILED %s: %s (code %d, signal %d; expected: %s)\n%s", j->spec, verdict, rc,
           WIFSIGNALED(status) ? WTERMSIG(status) : 0, result_names[j->want], text);
  } else {
    printf("ok     %-26s %s%s", j->spec, rc == RC_FINE ? "recovers\n" : "",
           rc == RC_FINE ? "" : text);
  }
  fflush(stdout);
}

static void queue(const char *self, const char *point, const char *nth, const char *err,
                  result_t want, bool must_pass) {
  static job_t jobs[PARALLEL];
  static unsigned head, n;

  if (n == PARALLEL || point == NULL)
    for (; n != 0 && (n == PARALLEL || point == NULL); n--) finish(&jobs[head++ % PARALLEL]);
  if (point == NULL) return;
  job_t *j = &jobs[(head + n++) % PARALLEL];
  snprintf(j->spec, sizeof(j->spec), "%s:%s:%s", point, nth, err);
  snprintf(j->point, sizeof(j->point), "%s", point);
  j->want = want;
  j->must_pass = must_pass;
  start(j, self);
}

static void force(const char *self, const row_t *row) {
  static const char *const later[] = {"2", "3", "5", "9", "20"};
  unsigned i;

  queue(self, row->point, "1", "ENOMEM", row->once, row->passed == HERE);
  queue(self, row->point, "1+", "ENOMEM", row->always, row->passed == HERE);
  if (SLOW > 1) /* under a sanitizer: what can go wrong once and always */
    return;
  queue(self, row->point, "1", "EIO", EITHER, row->passed == HERE);
  for (i = 0; i < sizeof(later) / sizeof(later[0]); i++)
    queue(self, row->point, later[i], "ENOMEM", EITHER, false);
}

int main(int argc, char **argv) {
  const char *self = "/proc/self/exe", *name;
  char path[4096];
  unsigned i, k, rows = sizeof(expected) / sizeof(expected[0]), points = 0;
  ssize_t n;
  pid_t pid;
  int status;

#ifndef WEFT_FAULTS
  (void) force;
  (void) run;
  (void) expected;
  printf("SKIP: this build has no injection points (-DWEFT_FAULTS=ON)\n");
  return 77;
#endif
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (argc == 5 && strcmp(argv[1], "--run") == 0)
    return run(argv[2], strcmp(argv[3], "net") == 0, strcmp(argv[4], "verbose") == 0);
  n = readlink(self, path, sizeof(path) - 1);
  if (n <= 0) return 1;
  path[n] = '\0';
  if (argc == 2 && strchr(argv[1], ':') != NULL) {
    char point[32];
    snprintf(point, sizeof(point), "%.*s", (int) (strchr(argv[1], ':') - argv[1]), argv[1]);
    setenv("WEFT_FAULT", argv[1], 1);
    execl(path, path, "--run", point, "net", "verbose", (char *) NULL);
    return 1;
  }

  /* May we have a namespace with devices at all? */
  pid = fork();
  if (pid == 0)
    _exit(netns_enter() == 0 && netns_ip("link add d0 type veth peer name e0\n") == 0 ? 0 : 1);
  net = pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  if (!net) printf("no namespace is to be had: over loopback, without cutting a path\n");

  for (i = 0; weft__fault_point(i, &name, NULL) == 0; i++, points++) {
    if (argc == 2 && strcmp(argv[1], name) != 0) continue;
    for (k = 0; k < rows && strcmp(expected[k].point, name) != 0; k++)
      ;
    if (k == rows) {
      printf("FAILED %s: a new point: say in faults_forced.c what follows when it fails\n", name);
      bad++;
      continue;
    }
    force(path, &expected[k]);
  }
  queue(path, NULL, NULL, NULL, EITHER, false);
  if (points != rows) {
    printf("FAILED: %u points, %u rows: a row is of a point that is gone\n", points, rows);
    bad++;
  }
  printf("%u points, %u runs: %u recovered, %u ended in a clear error, %u failed\n", points,
         done_runs, recovered, errors, bad);
  return bad != 0;
}
