/* SPDX-License-Identifier: Apache-2.0 */
/* dpdk_rtt_64.c - 64 B ping-pong over TCP in user space beside raw sockets of the kernel.
 *
 * Design notes
 * - What no TCP could better is measured, too: frames of the same length over the same memif, and one line
 *   of memory that two processors write in turn. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib_dpdk.h"

#define ABOUT                                                                                      \
  "dpdk_rtt_64 - 64 B ping-pong between two processes by raw libfabric over dpdk, on memif and\n"  \
  "on vhost/virtio_user, MTU 1500, beside raw non-blocking sockets on loopback; all spin.\n"       \
  "Bounds: p50 at most 0.25, p99 at most 0.1 of the sockets'. Printed, too: ksock; frames over\n"  \
  "memif without any TCP, and a line of memory: what this machine allows at best."

enum { SOCKETS, KSOCK, MEMIF, VHOST, FRAMES, LINE, N };
static const char *const label[N] = {"raw sockets, spinning", "ksock, spinning",
                                     "dpdk over memif",       "dpdk over vhost",
                                     "frames over memif",     "a line of memory"};

/* ---- What the machine allows ---- */

typedef struct bare_s {
  bench_wire_t plan;
  bench_child_t server, client;
  double seconds;
  struct {
    perf_hist_t rtt;
    _Alignas(128) uint64_t to;
    _Alignas(128) uint64_t fro;
  } * shared;
} bare_t;

enum { FRAME = 144, LAST = 0xff };

#ifdef BENCH_HAVE_DEV
#include "../../tcpfallback/dpdk/dev.h"

static tf_dev_t *device(const bare_t *b, int server) {
  char why[TF_DEV_WHY];
  tf_dev_config_t c = {.args = b->plan.device[server], .mtu = 1500, .memory = 64};
  tf_dev_t *dev;
  if (tf_dev_open(&c, &dev, why)) bench_die("%s", why);
  return dev;
}

static void put(tf_dev_t *dev, uint8_t *frame) {
  struct iovec v = {frame, FRAME};
  while (tf_dev_send(dev, &v, 1, FRAME) == -ENOBUFS || !tf_dev_flush(dev)) {}
}

/* Other frames than ours have another length: only a device's own could be. */
static void get(tf_dev_t *dev, uint8_t *frame) {
  tf_frame_t f;
  do
    while (tf_dev_recv(dev, &f, 1) == 0) {}
  while (f.len != FRAME && (tf_dev_free(f.handle), 1));
  memcpy(frame, f.data, FRAME);
  tf_dev_free(f.handle);
}

static int echo_frames(int fd, void *arg) {
  bare_t *b = arg;
  tf_dev_t *dev = device(b, 1);
  uint8_t frame[FRAME];
  char go = 0;
  if (send(fd, &go, 1, MSG_NOSIGNAL) != 1) return 1;
  while (recv(fd, &go, 1, 0) == 1) {
    do {
      get(dev, frame);
      put(dev, frame);
    } while (frame[0] != LAST);
  }
  return 0;
}

static int send_frames(int fd, void *arg) {
  bare_t *b = arg;
  tf_dev_t *dev = device(b, 0);
  uint8_t frame[FRAME] = {0};
  char go = 0;
  for (unsigned i = 0; !tf_dev_link(dev); i++) {
    struct timespec ms = {.tv_nsec = 1000000};
    if (i == 5000) bench_die("%s has no peer", b->plan.device[0]);
    nanosleep(&ms, NULL);
  }
  if (send(fd, &go, 1, MSG_NOSIGNAL) != 1) return 1;
  while (recv(fd, &go, 1, 0) == 1) {
    uint64_t start = perf_now(), span = (uint64_t) (b->seconds * 1e9), now = start;
    perf_hist_reset(&b->shared->rtt);
    for (frame[0] = 0; frame[0] != LAST;) {
      uint64_t t0 = now;
      if (now - start >= span) frame[0] = LAST;
      put(dev, frame);
      get(dev, frame);
      now = perf_now();
      if (now - start > span / 20) perf_hist_add(&b->shared->rtt, now - t0);
    }
    if (send(fd, &go, 1, MSG_NOSIGNAL) != 1) return 1;
  }
  return 0;
}
#else
static int echo_frames(int fd, void *arg) {
  (void) fd, (void) arg;
  bench_die("this build has no DPDK");
}
#define send_frames echo_frames
#endif

static int echo_line(int fd, void *arg) {
  bare_t *b = arg;
  uint64_t x;
  char go = 0;
  if (send(fd, &go, 1, MSG_NOSIGNAL) != 1) return 1;
  while (recv(fd, &go, 1, 0) == 1)
    for (x = __atomic_load_n(&b->shared->fro, __ATOMIC_ACQUIRE) + 1;; x++) {
      uint64_t got;
      while (((got = __atomic_load_n(&b->shared->to, __ATOMIC_ACQUIRE)) & ~(UINT64_C(1) << 63)) !=
             x) {}
      __atomic_store_n(&b->shared->fro, x, __ATOMIC_RELEASE);
      if (got >> 63) break;
    }
  return 0;
}

static int write_line(int fd, void *arg) {
  bare_t *b = arg;
  char go = 0;
  if (send(fd, &go, 1, MSG_NOSIGNAL) != 1) return 1;
  while (recv(fd, &go, 1, 0) == 1) {
    uint64_t start = perf_now(), span = (uint64_t) (b->seconds * 1e9), now = start;
    uint64_t x = b->shared->fro + 1, last = 0;
    perf_hist_reset(&b->shared->rtt);
    for (; last == 0; x++) {
      uint64_t t0 = now;
      if (now - start >= span) last = UINT64_C(1) << 63;
      __atomic_store_n(&b->shared->to, x | last, __ATOMIC_RELEASE);
      while (__atomic_load_n(&b->shared->fro, __ATOMIC_ACQUIRE) != x) {}
      now = perf_now();
      if (now - start > span / 20) perf_hist_add(&b->shared->rtt, now - t0);
    }
    if (send(fd, &go, 1, MSG_NOSIGNAL) != 1) return 1;
  }
  return 0;
}

static void bare_start(bare_t *b, int line, double seconds) {
  char go;
  b->seconds = seconds;
  b->shared = bench_shared(sizeof(*b->shared));
  bench_wire_plan(&b->plan, BENCH_MEMIF, 1500);
  bench_spawn(&b->server, BENCH_SERVER_CORE, line ? echo_line : echo_frames, b);
  if (recv(b->server.fd, &go, 1, 0) != 1) bench_die("the server of bare frames failed");
  bench_spawn(&b->client, BENCH_CLIENT_CORE, line ? write_line : send_frames, b);
  if (recv(b->client.fd, &go, 1, 0) != 1) bench_die("the client of bare frames failed");
}

static void bare_pingpong(bare_t *b, perf_hist_t *rtt) {
  char go = 1;
  if (send(b->server.fd, &go, 1, MSG_NOSIGNAL) != 1 ||
      send(b->client.fd, &go, 1, MSG_NOSIGNAL) != 1 || recv(b->client.fd, &go, 1, 0) != 1)
    bench_die("bare frames failed");
  perf_hist_merge(rtt, &b->shared->rtt);
}

static void bare_end(bare_t *b) {
  bench_reap(&b->client);
  bench_reap(&b->server);
}

/* ---- ---- */

int main(int argc, char **argv) {
  bench_args_t args = {.rounds = 11, .seconds = 0.4};
  bench_begin(&args, argc, argv, ABOUT);
  static perf_hist_t all[N], rtt;
  double p50[N][BENCH_MAX_ROUNDS], p99[N][BENCH_MAX_ROUNDS];
  bench_wire_t kernel, memif, vhost;
  bare_t frames, line;
  bench_dpdk_find();
  bench_wire_start(&kernel, BENCH_KERNEL, 0);
  bench_wire_start(&memif, BENCH_MEMIF, 1500);
  bench_wire_start(&vhost, BENCH_VHOST, 1500);
  bare_start(&frames, 0, args.seconds);
  bare_start(&line, 1, args.seconds);
  bench_wire_t *wire[N] = {&kernel, &kernel, &memif, &vhost, NULL, NULL};
  for (int k = 0; k < N; k++) perf_hist_reset(&all[k]);
  for (unsigned i = 0; i < args.rounds; i++) {
    for (int k = 0; k < N; k++) {
      perf_floor_spec_t spec;
      bench_floor_spec(&spec, k == SOCKETS ? PERF_FLOOR_SOCKETS : PERF_FLOOR_LIBFABRIC,
                       PERF_FLOOR_PINGPONG, "", 64, 4, args.seconds);
      snprintf(spec.provider, sizeof(spec.provider), "ksock");
      perf_hist_reset(&rtt);
      if (wire[k])
        bench_wire_pingpong(wire[k], &spec, &rtt);
      else
        bare_pingpong(k == FRAMES ? &frames : &line, &rtt);
      perf_hist_merge(&all[k], &rtt);
      p50[k][i] = perf_hist_at(&rtt, 50) / 1e3;
      p99[k][i] = perf_hist_at(&rtt, 99) / 1e3;
    }
    if (args.verbose) {
      printf("round %u:", i + 1);
      for (int k = 0; k < N; k++) printf(" %.2f/%.2f", p50[k][i], p99[k][i]);
      printf(" us\n");
    }
  }
  bare_end(&line);
  bare_end(&frames);
  bench_wire_end(&vhost);
  bench_wire_end(&memif);
  bench_wire_end(&kernel);
  for (int k = 0; k < N; k++) bench_hist(label[k], &all[k]);
  for (int k = 0; k < N; k++) bench_series(label[k], p50[k], args.rounds, "us");
  for (int k = 0; k < N; k++) bench_series("... p99", p99[k], args.rounds, "us");
  printf("frames without TCP, of raw sockets: p50 %.3f, p99 %.3f; a line of memory: p99 %.3f\n",
         bench_ratio(p50[FRAMES], p50[SOCKETS], args.rounds),
         bench_ratio(p99[FRAMES], p99[SOCKETS], args.rounds),
         bench_ratio(p99[LINE], p99[SOCKETS], args.rounds));
  bench_at_most("dpdk_rtt_64_memif_p99", bench_ratio(p99[MEMIF], p99[SOCKETS], args.rounds),
                "ratio", 0.1);
  bench_at_most("dpdk_rtt_64_vhost_p99", bench_ratio(p99[VHOST], p99[SOCKETS], args.rounds),
                "ratio", 0.1);
  bench_at_most("dpdk_rtt_64_memif", bench_ratio(p50[MEMIF], p50[SOCKETS], args.rounds), "ratio",
                0.25);
  bench_at_most("dpdk_rtt_64_vhost", bench_ratio(p50[VHOST], p50[SOCKETS], args.rounds), "ratio",
                0.25);
  return bench_end();
}
