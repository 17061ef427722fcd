/* SPDX-License-Identifier: Apache-2.0 */
/* rdma_no_reg.c - 10,000 sends from memory of weft_mem_alloc over an RDMA device: after the first
 * round nothing is registered any more.
 *
 * Design notes
 * - Counted where it happens: this program's ibv_reg_mr, ibv_reg_mr_iova and ibv_reg_mr_iova2 stand
 *   before libibverbs' own, which they call. (ENABLE_EXPORTS makes them visible to libfabric.)
 * - Every tenth message is large, so that the device reads it where it lies, at places of all
 *   alignments of a cache line; the others fit a frame.
 * - The receiver is a process of its own: what it registers for its destinations is not counted. */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "lib_rdma.h"

#define ABOUT                                                                                      \
  "rdma_no_reg - 10,000 sends from memory of weft_mem_alloc over the first RDMA device, every\n"   \
  "tenth of 64 KiB, the others of 64 B to 4 KiB. Bound: no registration after the first of "       \
  "each.\n"                                                                                        \
  "In a virtual machine: tests/bench/rdma rdma_no_reg."
#define SENDS  10000
#define WINDOW 16
#define LARGE  65536
#define MEMORY (4u << 20)

/* ---- The count ---- */

static atomic_ulong registrations;
static __thread int inside; /* one of libibverbs' may call another */

void *ibv_reg_mr(void *pd, void *addr, size_t length, int access);
void *ibv_reg_mr_iova(void *pd, void *addr, size_t length, uint64_t iova, int access);
void *ibv_reg_mr_iova2(void *pd, void *addr, size_t length, uint64_t iova, unsigned access);

static void *theirs(const char *name) {
  void *f = dlsym(RTLD_NEXT, name);
  if (!f) bench_die("libibverbs has no %s", name);
  if (inside++ == 0) atomic_fetch_add(&registrations, 1);
  return f;
}

#define COUNTED __attribute__((visibility("default")))

COUNTED void *ibv_reg_mr(void *pd, void *addr, size_t length, int access) {
  void *(*f)(void *, void *, size_t, int) = theirs("ibv_reg_mr");
  void *mr = f(pd, addr, length, access);
  inside--;
  return mr;
}

COUNTED void *ibv_reg_mr_iova(void *pd, void *addr, size_t length, uint64_t iova, int access) {
  void *(*f)(void *, void *, size_t, uint64_t, int) = theirs("ibv_reg_mr_iova");
  void *mr = f(pd, addr, length, iova, access);
  inside--;
  return mr;
}

COUNTED void *ibv_reg_mr_iova2(void *pd, void *addr, size_t length, uint64_t iova,
                               unsigned access) {
  void *(*f)(void *, void *, size_t, uint64_t, unsigned) = theirs("ibv_reg_mr_iova2");
  void *mr = f(pd, addr, length, iova, access);
  inside--;
  return mr;
}

/* ---- The sends ---- */

typedef struct sender_s {
  weft_conn_t *conn;
  weft_send_t req[WINDOW];
  uv_buf_t mem;
  unsigned sent, done, limit;
  uint64_t bytes;
  int failed;
} sender_t;

static void send_next(sender_t *s, weft_send_t *req);

static void on_sent(weft_send_t *req, int status) {
  sender_t *s = req->data;
  s->done++;
  if (status < 0) s->failed = status;
  if (!s->failed && s->sent < s->limit) send_next(s, req);
}

static void send_next(sender_t *s, weft_send_t *req) {
  unsigned n = s->sent++;
  size_t size = n % 10 == 0 ? LARGE : 64u << n % 7;
  uv_buf_t buf = {.base = s->mem.base + (size_t) n * 64 % (MEMORY - LARGE), .len = size};
  req->data = s;
  s->bytes += size;
  int rc = weft_send(req, s->conn, &buf, 1, on_sent);
  if (rc) {
    s->failed = rc;
    s->done++;
  }
}

static int all_done(perf_client_t *c, void *arg) {
  const sender_t *s = arg;
  (void) c;
  return s->done == s->sent && (s->failed || s->sent == s->limit);
}

/* So many more. */
static void send_many(bench_weft_t *weft, sender_t *s, unsigned count) {
  s->limit = s->sent + count;
  for (unsigned i = 0; i < WINDOW && s->sent < s->limit && !s->failed; i++)
    send_next(s, &s->req[i]);
  perf_client_run(weft->client, 240000, all_done, s);
  if (s->failed || s->done != s->limit)
    bench_die("%u of %u sent: %s %s", s->done, s->limit, s->failed ? weft_strerror(s->failed) : "",
              weft_conn_error(s->conn));
}

int main(int argc, char **argv) {
  bench_args_t args = {.rounds = 1, .seconds = 1};
  bench_begin(&args, argc, argv, ABOUT);
  sender_t s = {0};
  bench_rdma_t rdma;
  bench_weft_t weft;
  perf_ctl_t report;
  bench_rdma_find(&rdma);
  bench_rdma_server(&weft, &rdma, "");
  bench_pin(BENCH_CLIENT_CORE);
  bench_rdma_connect(&weft, &rdma);
  bench_weft_standby(&weft); /* its pools are registered by then */
  s.conn = perf_client_conn(weft.client);
  unsigned long before = atomic_load(&registrations), first, after;
  if (before == 0) bench_die("the pools' registrations were not seen: the count does not work");
  perf_ctl_t sink = {.magic = PERF_MAGIC, .op = PERF_SINK};
  uv_buf_t ask = {.base = (char *) &sink, .len = sizeof(sink)};
  if (weft_try_send(s.conn, &ask, 1) ||
      weft_mem_alloc(perf_client_weft(weft.client), MEMORY, &s.mem))
    bench_die("weft_mem_alloc failed");
  memset(s.mem.base, 0x5a, MEMORY);
  send_many(&weft, &s, 1);
  first = atomic_load(&registrations);
  uint64_t start = perf_now();
  send_many(&weft, &s, SENDS - 1);
  after = atomic_load(&registrations);
  double seconds = (double) (perf_now() - start) / 1e9;
  memset(&report, 0, sizeof(report));
  if (perf_client_report(weft.client, &report) || report.messages != SENDS ||
      report.bytes != s.bytes)
    bench_die("%u messages sent, %lu delivered", s.sent, (unsigned long) report.messages);
  uint64_t copies = bench_rdma_copies(&weft);
  weft_mem_free(perf_client_weft(weft.client), &s.mem);
  bench_weft_end(&weft);
  printf(
      "registrations: %lu to connect, %lu for the first message, %lu for the other %u (%.1f s)\n",
      before, first - before, after - first, SENDS - 1, seconds);
  bench_at_most("rdma_no_reg_copies", (double) copies, "bytes", 0);
  bench_at_most("rdma_no_reg", (double) (after - first), "registrations", 0);
  return bench_end();
}
