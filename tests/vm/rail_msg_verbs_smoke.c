/* SPDX-License-Identifier: Apache-2.0 */
/* rail_msg_verbs_smoke.c - two processes, one path between two addresses: 1,000 frames echoed, 4
 * MiB written by RMA.
 *
 *   rail_msg_verbs_smoke [PROVIDER] SERVER-ADDRESS CLIENT-ADDRESS      (PROVIDER: verbs)
 *
 * Design notes
 *  - The child serves, the parent asks; both sleep on their rail's fd, so arming and waking are
 * tried as well.
 *  - The same code runs over tcp: rail_msg_verbs_smoke tcp 127.0.0.1 127.0.0.1
 *  - Exit code 0: all of it worked; 1: it did not, and the last line says what. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "rail/path.h"

enum { FRAMES = 1000, SIZE = 4 << 20, PORT_MAGIC = 0x77656674 };

static const char *who = "parent";

#define FAIL(...)                                                                                  \
  do {                                                                                             \
    printf("%s: ", who);                                                                           \
    printf(__VA_ARGS__);                                                                           \
    printf("\n");                                                                                  \
    fflush(stdout);                                                                                \
    _exit(1);                                                                                      \
  } while (0)

/* ---- A loop: one rail, one worker thread per job ---- */

static struct {
  weft__env_t env;
  uint64_t now;
  int wake;
  pthread_mutex_t lock;
  weft__job_t *done;
  unsigned running;
  weft__rail_t *rail;
} me = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint64_t now_ns(void) {
  struct timespec ts;

  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (uint64_t) ts.tv_sec * 1000000000u + (uint64_t) ts.tv_nsec;
}

static void *run_job(void *arg) {
  weft__job_t *job = arg;
  uint64_t one = 1;

  job->run(job);
  pthread_mutex_lock(&me.lock);
  job->next = me.done;
  me.done = job;
  pthread_mutex_unlock(&me.lock);
  if (write(me.wake, &one, sizeof(one)) != sizeof(one)) abort();
  return NULL;
}

static int work(weft__env_t *env, weft__job_t *job) {
  pthread_t id;

  (void) env;
  me.running++;
  if (pthread_create(&id, NULL, run_job, job) != 0) return -EAGAIN;
  pthread_detach(id);
  return 0;
}

static void jobs_done(void) {
  weft__job_t *job, *next;
  uint64_t n;

  if (read(me.wake, &n, sizeof(n)) != sizeof(n)) return;
  pthread_mutex_lock(&me.lock);
  job = me.done;
  me.done = NULL;
  pthread_mutex_unlock(&me.lock);
  for (; job != NULL; job = next) {
    next = job->next;
    me.running--;
    job->done(job);
  }
}

/* Sleep until something happens, then let it happen. */
static void turn(void) {
  struct pollfd fds[2];

  me.now = now_ns();
  if (weft__rail_arm(me.rail) == 0) {
    fds[0] = (struct pollfd){.fd = weft__rail_fd(me.rail), .events = POLLIN};
    fds[1] = (struct pollfd){.fd = me.wake, .events = POLLIN};
    if (poll(fds, 2, 30000) == 0) FAIL("nothing happened for 30 s");
  }
  jobs_done();
  me.now = now_ns();
  weft__rail_drain(me.rail, WEFT__DRAIN_FIRED);
}

static void open_rail(const char *provider, const char *address) {
  weft__cand_list_t list;
  char err[256], text[INET6_ADDRSTRLEN];
  unsigned i;
  int r;

  me.wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  me.now = now_ns();
  me.env = (weft__env_t){.work = work,
                         .work_long = work,
                         .now_ns = &me.now,
                         .rx_depth = 32,
                         .tx_depth = 64,
                         .pool_bytes = 64u << 20};
  r = weft__cand_scan(provider, "", &list);
  if (r != 0) FAIL("weft__cand_scan: %s", strerror(-r));
  for (i = 0; i < list.n; i++) {
    const weft__cand_t *c = &list.v[i];
    if (c->why != WEFT_WHY_OK || strcmp(c->provider, provider) != 0) continue;
    if (c->addr.ss_family == AF_INET)
      inet_ntop(AF_INET, &((const struct sockaddr_in *) &c->addr)->sin_addr, text, sizeof(text));
    else
      inet_ntop(AF_INET6, &((const struct sockaddr_in6 *) &c->addr)->sin6_addr, text, sizeof(text));
    if (strcmp(text, address) == 0) break;
  }
  if (i == list.n) {
    for (i = 0; i < list.n; i++)
      printf("%-8s %-8s %s\n", list.v[i].provider, list.v[i].device, list.v[i].detail);
    FAIL("no %s candidate has the address %s", provider, address);
  }
  if (weft__rail_open(&me.env, &list.v[i], &me.rail, err, sizeof(err)) != 0) FAIL("%s", err);
  printf("%s: %s %s %s\n", who, list.v[i].provider, list.v[i].device, list.v[i].detail);
  weft__cand_free(&list);
}

static void close_rail(weft__path_t *path, bool *closed) {
  path->ops->close(path);
  while (!*closed) turn();
  weft__rail_close(me.rail);
  while (me.running != 0) {
    struct pollfd fd = {.fd = me.wake, .events = POLLIN};
    if (poll(&fd, 1, 30000) == 0) FAIL("the rail does not close");
    jobs_done();
  }
}

static uint8_t pattern(uint32_t seed, uint32_t i) {
  return (uint8_t) (seed * 31 + i * 7 + (i >> 8));
}

/* ---- Both ends ---- */

static struct {
  weft__path_t *path;
  weft__lst_t *lst;
  bool connected, down, closed, written;
  uint32_t frames;
  uint8_t *memory;
  weft__mr_t mr;
  uint64_t addr, key;
  bool have_key;
} s;

static void send_bytes(const void *data, uint32_t len) {
  weft__tbuf_t *t;
  int r;

  while ((t = s.path->ops->tx_get(s.path)) == NULL) turn();
  memcpy(t->data, data, len);
  r = s.path->ops->send(s.path, t, len);
  if (r != 0) FAIL("send: %s", strerror(-r));
}

static void on_down(weft__path_t *p, int err, const char *why, const void *blob, size_t len) {
  (void) p;
  (void) blob;
  (void) len;
  if (s.frames < FRAMES) FAIL("down: %s (%d)", why, err);
  s.down = true;
}

static void on_closed(weft__path_t *p) {
  (void) p;
  s.closed = true;
}

static void on_writable(weft__path_t *p) {
  (void) p;
}

static void on_connected(weft__path_t *p, const void *blob, size_t len) {
  if (len < 7 || memcmp(blob, "welcome", 7) != 0)
    FAIL("the accept's blob is wrong (%zu bytes)", len);
  printf("%s: connected %s -> %s, frames up to %u, inject %u\n", who, p->local, p->remote,
         p->lim.frame_max, p->lim.inject_max);
  s.connected = true;
}

static void on_rma_done(weft__path_t *p, weft__rma_t *r, int status) {
  (void) p;
  (void) r;
  if (status != 0) FAIL("write: %s", strerror(-status));
  s.written = true;
}

/* The server: echoes; after the last frame looks whether the memory has what was written before it.
 */
static void server_frame(weft__path_t *p, weft__rbuf_t *b) {
  uint32_t i;

  (void) p;
  s.frames++;
  if (s.frames == FRAMES + 1) {
    for (i = 0; i < SIZE; i++)
      if (s.memory[i] != pattern(99, i)) FAIL("byte %u of the written memory is wrong", i);
    printf("%s: %d bytes were written, all correct\n", who, SIZE);
  }
  send_bytes(b->data, b->len);
}

static const weft__path_cbs_t server_cbs = {.frame = server_frame,
                                            .writable = on_writable,
                                            .rma_done = on_rma_done,
                                            .down = on_down,
                                            .closed = on_closed};

static void on_request(weft__lst_t *l, weft__req_t *q) {
  char peer[INET6_ADDRSTRLEN] = "?";
  size_t len;
  int r;

  (void) l;
  if (memcmp(weft__req_blob(q, &len), "hello", 5) != 0 || len < 5)
    FAIL("the request's blob is wrong (%zu bytes)", len);
  if (weft__req_peer(q)->sa_family == AF_INET)
    inet_ntop(AF_INET, &((const struct sockaddr_in *) weft__req_peer(q))->sin_addr, peer,
              sizeof(peer));
  printf("%s: a request from %s\n", who, peer);
  r = weft__req_accept(q, "welcome", 7, &server_cbs, NULL, &s.path);
  if (r != 0) FAIL("accept: %s", strerror(-r));
}

static void on_failed(weft__lst_t *l, int err, const char *why) {
  (void) l;
  FAIL("listener: %s (%d)", why, err);
}

static const weft__lst_cbs_t lst_cbs = {.request = on_request, .failed = on_failed};

static void serve(const char *provider, const char *address, int out) {
  struct sockaddr_storage ss;
  socklen_t len;
  uint64_t offer[3];
  int r;

  who = "server";
  open_rail(provider, address);
  memset(&ss, 0, sizeof(ss));
  memcpy(&ss, weft__rail_addr(me.rail), sizeof(struct sockaddr_in6));
  len = ss.ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
  r = weft__rail_listen(me.rail, (struct sockaddr *) &ss, len, 8, &lst_cbs, NULL, &s.lst);
  if (r != 0) FAIL("listen: %s", strerror(-r));
  memcpy(&ss, weft__lst_addr(s.lst), len);
  if (write(out, &ss, sizeof(ss)) != sizeof(ss)) FAIL("pipe: %s", strerror(errno));
  while (s.path == NULL) turn();
  s.memory = calloc(1, SIZE);
  r = s.path->ops->expose(s.path, s.memory, SIZE, WEFT__OPEN_WRITE, &s.mr);
  if (r != 0) FAIL("expose: %s", strerror(-r));
  offer[0] = PORT_MAGIC;
  offer[1] = s.mr.addr;
  offer[2] = s.mr.key;
  send_bytes(offer, sizeof(offer));
  while (!s.down) turn();
  if (s.frames != FRAMES + 1) FAIL("%u frames came", s.frames);
  s.path->ops->unexpose(s.path, &s.mr);
  weft__lst_close(s.lst);
  close_rail(s.path, &s.closed);
  free(s.memory);
  printf("%s: done\n", who);
  fflush(stdout);
}

/* The client counts the echoes and checks each. */
static void client_frame(weft__path_t *p, weft__rbuf_t *b) {
  uint64_t offer[3];
  uint32_t i;

  (void) p;
  if (!s.have_key) {
    if (b->len != sizeof(offer)) FAIL("the offer has %u bytes", b->len);
    memcpy(offer, b->data, sizeof(offer));
    if (offer[0] != PORT_MAGIC) FAIL("the offer is wrong");
    s.addr = offer[1];
    s.key = offer[2];
    s.have_key = true;
    return;
  }
  for (i = 0; i < b->len; i++)
    if (b->data[i] != pattern(s.frames, i)) FAIL("echo %u, byte %u is wrong", s.frames, i);
  s.frames++;
}

static const weft__path_cbs_t client_cbs = {.connected = on_connected,
                                            .frame = client_frame,
                                            .writable = on_writable,
                                            .rma_done = on_rma_done,
                                            .down = on_down,
                                            .closed = on_closed};

static void ask(const char *provider, const char *address, struct sockaddr_storage *to) {
  static uint8_t frame[WEFT__FRAME_MAX];
  socklen_t len =
      to->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
  uint64_t t0;
  weft__rma_t rma = {.niov = 2};
  uint32_t sent, i;
  uint8_t *source;
  void *known;
  int r;

  open_rail(provider, address);
  /* A link-local address came with the server's scope; this end's own is its rail's. */
  if (to->ss_family == AF_INET6) ((struct sockaddr_in6 *) to)->sin6_scope_id = 0;
  r = weft__rail_connect(me.rail, (const struct sockaddr *) to, len, "hello", 5, &client_cbs, NULL,
                         &s.path);
  if (r != 0) FAIL("connect: %s", strerror(-r));
  while (!s.connected || !s.have_key) turn();

  t0 = now_ns();
  for (sent = 0; s.frames < FRAMES;) {
    if (sent < FRAMES && sent - s.frames < WEFT__FIRST_GRANT) {
      uint32_t n = sent % 3 == 0 ? 64 : sent % 3 == 1 ? 1 + sent * 13 : WEFT__FRAME_MAX;
      for (i = 0; i < n; i++) frame[i] = pattern(sent, i);
      send_bytes(frame, n);
      sent++;
    } else {
      turn();
    }
  }
  printf("%s: %d frames echoed in %.1f ms\n", who, FRAMES, (double) (now_ns() - t0) / 1e6);

  /* The first half from memory that the rail knows, the other from memory it does not. */
  source = malloc(SIZE);
  for (i = 0; i < SIZE; i++) source[i] = pattern(99, i);
  r = weft__rail_mem_add(me.rail, source, SIZE / 2, &known);
  if (r != 0) FAIL("mem_add: %s", strerror(-r));
  rma.iov[0] = (struct iovec){.iov_base = source, .iov_len = SIZE / 2};
  rma.iov[1] = (struct iovec){.iov_base = source + SIZE / 2, .iov_len = SIZE / 2};
  rma.addr = s.addr;
  rma.key = s.key;
  t0 = now_ns();
  r = s.path->ops->write(s.path, &rma);
  if (r != 0) FAIL("write: %s", strerror(-r));
  for (i = 0; i < 64; i++) frame[i] = pattern(FRAMES, i);
  send_bytes(frame, 64); /* comes after what was written */
  while (s.frames < FRAMES + 1 || !s.written) turn();
  printf("%s: %d bytes written and confirmed in %.1f ms\n", who, SIZE,
         (double) (now_ns() - t0) / 1e6);
  weft__rail_mem_del(me.rail, known);
  close_rail(s.path, &s.closed);
  free(source);
  printf("%s: done\n", who);
  fflush(stdout);
}

int main(int argc, char **argv) {
  const char *provider = argc == 4 ? argv[1] : "verbs";
  struct sockaddr_storage to;
  int fd[2], status;
  pid_t pid;

  if (argc != 3 && argc != 4) {
    fprintf(stderr, "usage: %s [PROVIDER] SERVER-ADDRESS CLIENT-ADDRESS\n", argv[0]);
    return 2;
  }
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (pipe(fd) != 0) FAIL("pipe: %s", strerror(errno));
  pid = fork();
  if (pid < 0) FAIL("fork: %s", strerror(errno));
  if (pid == 0) {
    close(fd[0]);
    serve(provider, argv[argc - 2], fd[1]);
    return 0;
  }
  close(fd[1]);
  if (read(fd[0], &to, sizeof(to)) != sizeof(to)) {
    (void) waitpid(pid, &status, 0);
    FAIL("the server did not start");
  }
  ask(provider, argv[argc - 1], &to);
  if (waitpid(pid, &status, 0) != pid || status != 0) FAIL("the server failed (%d)", status);
  return 0;
}
