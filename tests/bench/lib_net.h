/* SPDX-License-Identifier: Apache-2.0 */
/* lib_net.h - a network of its own for a bench: two namespaces joined by two veth pairs, and the
 * ways to cut them.
 *
 *   client  v0 10.9.1.1 ---- w0 10.9.1.2  server
 *           v1 10.9.2.1 ---- w1 10.9.2.2
 *
 * The namespaces have no names and live exactly as long as the processes in them: nothing to clean
 * up. */
#ifndef WEFT_LIB_NET_H
#define WEFT_LIB_NET_H

#include <stdint.h>

#include "lib_bench.h"

#define BENCH_NET_PAIRS 2
typedef enum { BENCH_CLIENT = 0, BENCH_SERVER = 1 } bench_side;

typedef struct bench_net_s {
  int ctl[2];                    /* a socket in each namespace, for links */
  int route[2];                  /* a netlink socket in each namespace, for neighbours */
  int index[2][BENCH_NET_PAIRS]; /* of the devices */
} bench_net_t;

/* Move this process into the client's namespace. Before any fork; skips the bench where the system
 * refuses. */
void bench_net_enter(void);
/* In the server's child: a namespace of its own, then wait until bench_net_join has finished its
 * devices. */
void bench_net_server(int fd);
/* In the parent: make the pairs to the child's namespace, addresses up on both sides. */
void bench_net_join(bench_net_t *net, const bench_child_t *server);
/* One end's link down or up, as `ip link set`. Both ends see it. Returns when the kernel has done
 * it. */
void bench_net_link(bench_net_t *net, bench_side side, unsigned pair, int up);
/* Frames of a pair go to nobody, silently, in both directions: a permanent wrong neighbour entry on
 * both sides. */
void bench_net_silence(bench_net_t *net, unsigned pair, int silent);
/* "10.9.1.2" */
const char *bench_net_addr(bench_side side, unsigned pair);
/* In the side's own process: its kernel finishes what it sends (checksums, segments), as a peer that is
 * no kernel needs it. */
void bench_net_no_offloads(bench_side side, unsigned pair);

#endif
