/* SPDX-License-Identifier: Apache-2.0 */
/* dpdk_veth.c - 64 B ping-pong between TCP in user space and the kernel's over a veth pair, beside the
 * kernel's with itself.
 *
 * Design notes
 * - One server for all, in a namespace of its own, over the kernel's TCP. Each client has a pair of its
 *   own: a kernel that has an address on the device would answer there, too. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "lib_dpdk.h"
#include "lib_net.h"

#define ABOUT                                                                                      \
  "dpdk_veth - 64 B ping-pong over veth between two namespaces, both ends spin, the server is\n"   \
  "ksock over the kernel's TCP: by raw libfabric over dpdk on net_af_packet, and over ksock.\n"    \
  "Bound: p50 at most that of ksock to ksock. Raw sockets at both ends are printed, too."

enum { SOCKETS, KSOCK, DPDK, N };
static const char *const label[N] = {"raw sockets to raw sockets", "ksock to ksock",
                                     "dpdk to ksock"};

typedef struct rig_s {
  bench_child_t server, client;
  perf_hist_t *rtt;
} rig_t;

static int serve(int fd, void *arg) {
  bench_net_server(fd);
  for (unsigned pair = 0; pair < BENCH_NET_PAIRS; pair++) bench_net_no_offloads(BENCH_SERVER, pair);
  return bench_floor_server(fd, arg);
}

static void measure(rig_t *rig, perf_floor_spec_t *spec, const char *provider, perf_hist_t *rtt) {
  snprintf(spec->provider, sizeof(spec->provider), "ksock");
  bench_floor_ask(&rig->server, spec);
  snprintf(spec->provider, sizeof(spec->provider), "%s", provider);
  perf_hist_reset(rtt);
  if (perf_floor_pingpong(spec, rtt)) bench_die("the client of %s failed", provider);
}

/* The client over dpdk. */
static int user_space(int fd, void *arg) {
  rig_t *rig = arg;
  perf_floor_spec_t spec;
  while (recv(fd, &spec, sizeof(spec), 0) == (ssize_t) sizeof(spec)) {
    measure(rig, &spec, "dpdk", rig->rtt);
    if (send(fd, "", 1, MSG_NOSIGNAL) != 1) return 1;
  }
  return 0;
}

int main(int argc, char **argv) {
  bench_args_t args = {.rounds = 11, .seconds = 0.5};
  bench_begin(&args, argc, argv, ABOUT);
  static perf_hist_t all[N], rtt;
  double p50[N][BENCH_MAX_ROUNDS];
  bench_net_t net;
  rig_t rig = {.rtt = bench_shared(sizeof(rtt))};
  bench_dpdk_find();
  bench_net_enter();
  setenv("FI_DPDK_DEVICE", "net_af_packet0,iface=v1", 1);
  setenv("FI_DPDK_ADDRESS", "10.9.2.3/24", 1);
  bench_spawn(&rig.server, BENCH_SERVER_CORE, serve, NULL);
  bench_spawn(&rig.client, BENCH_CLIENT_CORE, user_space, &rig);
  bench_net_join(&net, &rig.server);
  bench_net_no_offloads(BENCH_CLIENT, 0);
  bench_pin(BENCH_CLIENT_CORE);
  for (int k = 0; k < N; k++) perf_hist_reset(&all[k]);
  for (unsigned i = 0; i < args.rounds; i++) {
    for (int k = 0; k < N; k++) {
      perf_floor_spec_t spec;
      char done;
      bench_floor_spec(&spec, k == SOCKETS ? PERF_FLOOR_SOCKETS : PERF_FLOOR_LIBFABRIC,
                       PERF_FLOOR_PINGPONG, bench_net_addr(BENCH_SERVER, k == DPDK), 64, 4,
                       args.seconds);
      if (k != DPDK)
        measure(&rig, &spec, "ksock", &rtt);
      else if (send(rig.client.fd, &spec, sizeof(spec), MSG_NOSIGNAL) < 0 ||
               recv(rig.client.fd, &done, 1, 0) != 1)
        bench_die("the client over dpdk failed");
      const perf_hist_t *h = k == DPDK ? rig.rtt : &rtt;
      perf_hist_merge(&all[k], h);
      p50[k][i] = perf_hist_at(h, 50) / 1e3;
    }
    if (args.verbose)
      printf("round %u: sockets %.2f, ksock %.2f, dpdk %.2f us\n", i + 1, p50[SOCKETS][i],
             p50[KSOCK][i], p50[DPDK][i]);
  }
  bench_reap(&rig.client);
  bench_reap(&rig.server);
  for (int k = 0; k < N; k++) bench_hist(label[k], &all[k]);
  for (int k = 0; k < N; k++) bench_series(label[k], p50[k], args.rounds, "us");
  printf("of raw sockets to raw sockets: %.3f\n",
         bench_ratio(p50[DPDK], p50[SOCKETS], args.rounds));
  bench_at_most("dpdk_veth", bench_ratio(p50[DPDK], p50[KSOCK], args.rounds), "ratio", 1);
  return bench_end();
}
