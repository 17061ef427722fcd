/* SPDX-License-Identifier: Apache-2.0 */
/* rdma_death.c - an RDMA path dies in one way while two processes exchange numbered, checksummed
 * messages: they go on over tcp at once, return to RDMA when it is whole again, and nothing is lost,
 * twice, out of order or changed.
 *
 *   rdma_death KIND [load|idle|large|handshake]
 *
 *   load       as many messages as go through, 64 B to 4 MiB, both ways
 *   idle       one small message every 3 s: no operation meets the dead device
 *   large      8 MiB each: dies in the middle of reads and writes
 *   handshake  the paths die and heal while connections are being made: a KIND that can be healed
 *
 * KIND is one of lib_death.c, or sigkill or sigstop: the server's process is killed, or stopped for
 * 3 s. Runs inside of tests/vm, in a spare layout. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/lib_death.h"

enum { CONNS = 4, CONNS_MADE = 16, DELETE_MS = 20000 };

static unsigned since(uint64_t start) {
  return (unsigned) ((perf_now() - start) / 1000000);
}

static void must_finish(peer_rig_t *rig) {
  uint64_t faults = peer_finish(rig);
  printf("closed\n");
  if (faults) bench_die("%lu messages are wrong or missing", (unsigned long) faults);
  for (int i = 0; i < 2; i++)
    if (rig->exit[i])
      bench_die("the %s ended with %d", i == BENCH_SERVER ? "server" : "client", rig->exit[i]);
}

static void on_rdma(peer_rig_t *rig, unsigned ms, const char *when) {
  uint64_t start = perf_now();
  if (!peer_wait_pair(rig, 0, ms) || !peer_wait_standby(rig, ms))
    bench_die("%s: not over RDMA, with tcp standing by, within %u ms", when, ms);
  printf("%s: over RDMA, with tcp standing by, after %u ms\n", when, since(start));
}

static void progress(peer_rig_t *rig, unsigned n, const char *when) {
  if (!peer_wait_progress(rig, n, 30000)) bench_die("%s: no messages come through", when);
}

/* Each connection has told of one dead path, however many said that it is dead. */
static void told_once(peer_rig_t *rig, const uint64_t before[2]) {
  for (int i = 0; i < 2; i++) {
    uint64_t n = rig->shared->side[i].path_downs - before[i];
    if (n != CONNS)
      bench_die("%s: %lu paths died, expected one of each of %u connections",
                i == BENCH_SERVER ? "server" : "client", (unsigned long) n, CONNS);
  }
}

static void dies(peer_rig_t *rig, const death_kind_t *kind, int idle) {
  uint64_t before[2] = {rig->shared->side[0].path_downs, rig->shared->side[1].path_downs};
  uint64_t start = perf_now();
  unsigned limit = kind->found_ms * DEATH_SLOW;
  unsigned took = death_kill(kind, DELETE_MS);
  if (!peer_wait_pair(rig, 1, limit))
    bench_die("%s: not all is over tcp within %u ms", kind->name, limit);
  printf("%s: all over tcp %u ms after the command began, which took %u ms\n", kind->name,
         since(start), took);
  if (!kind->hidden) told_once(rig, before);
  progress(rig, idle ? 1 : 3, "over tcp");
  if (kind->final) {
    static const char words[] = "restart the program";
    if (!peer_wait_verdict(rig, BENCH_CLIENT, words, 10000) ||
        (kind->final == 2 && !peer_wait_verdict(rig, BENCH_SERVER, words, 10000)))
      bench_die("%s: no verdict says so", kind->name);
    return;
  }
  if (!death_returns(kind)) return;
  death_heal();
  on_rdma(rig, 40000, "healed");
  progress(rig, idle ? 1 : 3, "back");
}

static void killed(peer_rig_t *rig) {
  volatile peer_side_t *client = &rig->shared->side[BENCH_CLIENT];
  uint64_t start = perf_now();
  kill(rig->child[BENCH_SERVER].pid, SIGKILL);
  waitpid(rig->child[BENCH_SERVER].pid, NULL, 0);
  for (; client->broken < CONNS; usleep(5000))
    if (since(start) > 20000)
      bench_die("%u of %u connections know that the peer is dead", client->broken, CONNS);
  printf("every connection ended in an error after %u ms: %s\n", since(start),
         rig->shared->side[BENCH_CLIENT].error);
  if (client->broken != CONNS) bench_die("%u errors for %u connections", client->broken, CONNS);
  if (bench_reap_within(&rig->child[BENCH_CLIENT], 5 * DEATH_SLOW))
    bench_die("the client did not end as it should");
}

static void stopped(peer_rig_t *rig) {
  volatile peer_side_t *client = &rig->shared->side[BENCH_CLIENT];
  uint64_t moved = client->migrations, downs = client->path_downs;
  kill(rig->child[BENCH_SERVER].pid, SIGSTOP);
  sleep(3);
  if (!client->stalls) bench_die("nobody was told that the peer stalls");
  kill(rig->child[BENCH_SERVER].pid, SIGCONT);
  progress(rig, 3, "continued");
  if (client->migrations != moved || client->path_downs != downs)
    bench_die("%lu migrations and %lu dead paths for a stopped process",
              (unsigned long) (client->migrations - moved),
              (unsigned long) (client->path_downs - downs));
  if (!client->backs) bench_die("nobody was told that the peer is back");
  on_rdma(rig, 1000, "continued");
}

typedef struct flap_s {
  peer_rig_t *rig;
  const death_kind_t *kind;
} flap_t;

/* Not before both have found their devices: libfabric looks for their addresses once. */
static void flap(void *arg) {
  flap_t *f = arg;
  volatile peer_side_t *side = f->rig->shared->side;
  for (int i = 0; i < 4000 && (!side[0].connected || !side[1].connected); i++) usleep(5000);
  for (int i = 0; i < 3; i++) {
    usleep(300000 * (useconds_t) (i + 1));
    death_kill(f->kind, DELETE_MS);
    usleep(200000);
    death_heal();
  }
}

int main(int argc, char **argv) {
  const char *name = argc > 1 ? argv[1] : "", *how = argc > 2 ? argv[2] : "load";
  const death_kind_t *kind = death_find(name);
  int sigkill = strcmp(name, "sigkill") == 0, sigstop = strcmp(name, "sigstop") == 0;
  int idle = strcmp(how, "idle") == 0, large = strcmp(how, "large") == 0;
  int handshake = strcmp(how, "handshake") == 0;
  peer_config_t config = {.conns = CONNS, .window = 2};
  peer_rig_t rig;
  flap_t flaps = {&rig, kind};
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (argc > 3 || (!kind && !sigkill && !sigstop) ||
      (!idle && !large && !handshake && strcmp(how, "load") != 0) ||
      (handshake && (!kind || !death_returns(kind)))) {
    fprintf(stderr, "usage: rdma_death KIND [load|idle|large|handshake]\n");
    return 2;
  }
  death_config(&config);
  config.mixed = !idle && !large;
  config.size = large ? 8 << 20 : 0;
  config.pace_ms = idle ? 3000 : 0;
  if (handshake) {
    config.conns = CONNS_MADE;
    config.opening = flap;
    config.opening_arg = &flaps;
  }
  peer_start(&rig, &config);
  on_rdma(&rig, 40000, "open");
  if (!handshake) progress(&rig, idle ? 0 : 3, "open");
  if (sigkill) {
    killed(&rig);
    return 0;
  }
  if (sigstop)
    stopped(&rig);
  else if (!handshake)
    dies(&rig, kind, idle);
  must_finish(&rig);
  return 0;
}
