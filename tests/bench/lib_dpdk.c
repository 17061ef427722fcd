/* SPDX-License-Identifier: Apache-2.0 */
/* lib_dpdk.c - two processes that one device of DPDK joins, and a client that does what its parent
 * asks for. */
#include "lib_dpdk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib_ksock.h"

struct bench_wire_result_s {
  perf_hist_t rtt;
  perf_rate_t rate;
};

void bench_dpdk_find(void) {
  bench_provider_find("dpdk", "built with -DWEFT_DPDK=ON alone");
}

const char *bench_wire_host(const bench_wire_t *wire) {
  return wire->kind == BENCH_KERNEL ? "127.0.0.1" : "10.9.0.1";
}

void bench_wire_environment(const bench_wire_t *wire, int server) {
  char text[16];
  if (wire->kind == BENCH_KERNEL) {
    unsetenv("FI_DPDK_DEVICE");
    return;
  }
  snprintf(text, sizeof(text), "%u", wire->mtu);
  setenv("FI_DPDK_DEVICE", wire->device[server], 1);
  setenv("FI_DPDK_ADDRESS", server ? "10.9.0.1/24" : "10.9.0.2/24", 1);
  setenv("FI_DPDK_MTU", text, 1);
}

/* The client: one spec, one measurement. */
static int measure(int fd, void *arg) {
  bench_wire_t *wire = arg;
  perf_floor_spec_t spec;
  while (recv(fd, &spec, sizeof(spec), 0) == (ssize_t) sizeof(spec)) {
    if (spec.shape == PERF_FLOOR_PINGPONG) {
      perf_hist_reset(&wire->result->rtt);
      bench_floor_pingpong(&wire->server, &spec, &wire->result->rtt);
    } else {
      bench_floor_stream(&wire->server, &spec, &wire->result->rate);
    }
    if (send(fd, "", 1, MSG_NOSIGNAL) != 1) return 1;
  }
  return 0;
}

void bench_wire_plan(bench_wire_t *wire, bench_wire_kind kind, unsigned mtu) {
  static unsigned n;
  const char *tmp = getenv("TMPDIR");
  wire->kind = kind;
  wire->mtu = mtu;
  snprintf(wire->path, sizeof(wire->path), "%.80s/weft_bench_%d_%u", tmp ? tmp : "/tmp",
           (int) getpid(), n++);
  for (int server = 0; server < 2; server++) {
    if (kind == BENCH_MEMIF)
      snprintf(wire->device[server], sizeof(wire->device[0]), "net_memif0,role=%s,id=0,socket=%s",
               server ? "server" : "client", strrchr(wire->path, '/') + 1);
    else
      snprintf(wire->device[server], sizeof(wire->device[0]), "%s=%.127s",
               server ? "net_vhost0,iface" : "net_virtio_user0,path", wire->path);
  }
}

void bench_wire_start(bench_wire_t *wire, bench_wire_kind kind, unsigned mtu) {
  bench_wire_plan(wire, kind, mtu);
  wire->result = bench_shared(sizeof(*wire->result));
  bench_wire_environment(wire, 1);
  bench_floor_start(&wire->server);
  bench_wire_environment(wire, 0);
  bench_spawn(&wire->client, BENCH_CLIENT_CORE, measure, wire);
}

void bench_wire_end(bench_wire_t *wire) {
  bench_reap(&wire->client);
  bench_reap(&wire->server);
  if (wire->kind == BENCH_VHOST) unlink(wire->path); /* nobody was left to do it */
}

static void ask(bench_wire_t *wire, perf_floor_spec_t *spec) {
  char done;
  if (wire->kind != BENCH_KERNEL) {
    spec->kind = PERF_FLOOR_LIBFABRIC;
    snprintf(spec->provider, sizeof(spec->provider), "dpdk");
  }
  snprintf(spec->host, sizeof(spec->host), "%s", bench_wire_host(wire));
  if (send(wire->client.fd, spec, sizeof(*spec), MSG_NOSIGNAL) < 0 ||
      recv(wire->client.fd, &done, 1, 0) != 1)
    bench_die("the client over %s failed",
              wire->kind == BENCH_KERNEL ? "the kernel" : wire->device[0]);
}

void bench_wire_pingpong(bench_wire_t *wire, perf_floor_spec_t *spec, perf_hist_t *rtt) {
  ask(wire, spec);
  perf_hist_merge(rtt, &wire->result->rtt);
}

void bench_wire_stream(bench_wire_t *wire, perf_floor_spec_t *spec, perf_rate_t *out) {
  ask(wire, spec);
  *out = wire->result->rate;
}
