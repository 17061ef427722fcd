/* SPDX-License-Identifier: Apache-2.0 */
/* lib_zmq.c - ZeroMQ PUSH/PULL over TCP, as its own local_thr and remote_thr do it. */
#include "lib_zmq.h"

#ifdef WEFT_HAVE_ZMQ
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

#define END        8     /* size of the message that ends a stream; it holds the count */
#define HIGH_WATER 16384 /* messages each side may queue: as many as the default window of Weft */

static void need(int ok, const char *what) {
  if (!ok) bench_die("ZeroMQ: %s: %s", what, zmq_strerror(zmq_errno()));
}

static int receiver(int fd, void *arg) {
  (void) arg;
  void *ctx = zmq_ctx_new(), *pull = zmq_socket(ctx, ZMQ_PULL);
  int hwm = HIGH_WATER;
  char at[128];
  size_t len = sizeof(at);
  need(zmq_setsockopt(pull, ZMQ_RCVHWM, &hwm, sizeof(hwm)) == 0, "ZMQ_RCVHWM");
  need(zmq_bind(pull, "tcp://127.0.0.1:*") == 0, "zmq_bind");
  need(zmq_getsockopt(pull, ZMQ_LAST_ENDPOINT, at, &len) == 0, "ZMQ_LAST_ENDPOINT");
  if (send(fd, at, len, MSG_NOSIGNAL) < 0) return 1;
  char ask;
  while (recv(fd, &ask, 1, 0) == 1) {
    zmq_msg_t m;
    uint64_t count = 0, said;
    zmq_msg_init(&m);
    for (;; count++) {
      need(zmq_msg_recv(&m, pull, 0) >= 0, "zmq_msg_recv");
      if (zmq_msg_size(&m) == END) break;
    }
    memcpy(&said, zmq_msg_data(&m), END);
    zmq_msg_close(&m);
    if (said != count)
      bench_die("ZeroMQ: %lu sent, %lu received", (unsigned long) said, (unsigned long) count);
    if (send(fd, &count, sizeof(count), MSG_NOSIGNAL) < 0) return 1;
  }
  _exit(0); /* its context waits for its threads */
}

int bench_zmq_start(bench_child_t *child, int core) {
  bench_spawn(child, core, receiver, NULL);
  return 1;
}

static void put(void *push, const void *data, size_t size) {
  zmq_msg_t m;
  need(zmq_msg_init_size(&m, size) == 0, "zmq_msg_init_size");
  memcpy(zmq_msg_data(&m), data, size);
  need(zmq_msg_send(&m, push, 0) >= 0, "zmq_msg_send");
}

/* The context lives for one run, so that its thread gets the cores of this run. */
void bench_zmq_stream(bench_child_t *child, int core, size_t size, double seconds,
                      perf_rate_t *out) {
  static char at[128];
  static pid_t at_of;
  cpu_set_t before, any;
  char data[65536] = {0};
  int hwm = HIGH_WATER;
  if (at_of != child->pid) {
    if (recv(child->fd, at, sizeof(at), 0) <= 0) bench_die("ZeroMQ: the receiver did not start");
    at_of = child->pid;
  }
  sched_getaffinity(0, sizeof(before), &before);
  memset(&any, 0xff, sizeof(any));
  if (core >= 0)
    bench_pin(core);
  else
    sched_setaffinity(0, sizeof(any), &any);
  void *ctx = zmq_ctx_new(), *push = zmq_socket(ctx, ZMQ_PUSH);
  need(zmq_setsockopt(push, ZMQ_SNDHWM, &hwm, sizeof(hwm)) == 0, "ZMQ_SNDHWM");
  need(zmq_connect(push, at) == 0, "zmq_connect");
  if (send(child->fd, "", 1, MSG_NOSIGNAL) != 1) bench_die("ZeroMQ: the receiver has gone");
  usleep(100000); /* the connection stands */
  uint64_t n = 0, start = perf_now(), span = (uint64_t) (seconds * 1e9), count = 0;
  for (; (n & 63) || perf_now() - start < span; n++) put(push, data, size);
  put(push, &n, END);
  if (recv(child->fd, &count, sizeof(count), 0) != sizeof(count) || count != n)
    bench_die("ZeroMQ: the receiver failed");
  out->ns = perf_now() - start;
  out->messages = n;
  out->bytes = n * size;
  zmq_close(push);
  zmq_ctx_term(ctx);
  sched_setaffinity(0, sizeof(before), &before);
}
#else
int bench_zmq_start(bench_child_t *child, int core) {
  (void) child;
  (void) core;
  return 0;
}

void bench_zmq_stream(bench_child_t *child, int core, size_t size, double seconds,
                      perf_rate_t *out) {
  (void) child;
  (void) core;
  (void) size;
  (void) seconds;
  (void) out;
}
#endif
