/* SPDX-License-Identifier: Apache-2.0 */
/* lib_death.c - how an RDMA path is killed and healed in a guest. */
#include "lib_death.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define DROP(dev)                                                                                  \
  "tc qdisc add dev " dev " clsact && "                                                            \
  "tc filter add dev " dev " ingress protocol ip flower action drop"

const death_kind_t death_kinds[] = {
    {.name = "link_down", .kill = "ip link set v1 down", .found_ms = 300, .rxe_stuck = 2},
    {.name = "peer_link_down", .kill = "ip link set v0 down", .found_ms = 300, .rxe_stuck = 2},
    {.name = "ip_removed",
     .kill = "ip addr del 10.9.0.2/24 dev v1",
     .found_ms = 300,
     .rxe_stuck = 1},
    {.name = "peer_ip_removed",
     .kill = "ip addr del 10.9.0.1/24 dev v0",
     .found_ms = 300,
     .rxe_stuck = 1},
    {.name = "silent", .kill = DROP("v0") " && " DROP("v1"), .found_ms = 3000, .hidden = 1},
    {.name = "rdma_delete", .kill = "rdma link delete %s1", .found_ms = 300, .final = 1},
    {.name = "netdev_deleted", .kill = "ip link del v1", .found_ms = 300, .final = 2},
};
const unsigned death_kinds_n = sizeof(death_kinds) / sizeof(death_kinds[0]);

const death_kind_t *death_find(const char *name) {
  for (unsigned i = 0; i < death_kinds_n; i++)
    if (strcmp(death_kinds[i].name, name) == 0) return &death_kinds[i];
  return NULL;
}

static const char *driver(void) {
  const char *layout = getenv("WEFT_VM_LAYOUT");
  if (!layout || !strstr(layout, "-spare"))
    bench_skip("runs in a spare layout of tests/vm only: tests/vm/README.md says how");
  return strncmp(layout, "siw", 3) == 0 ? "siw" : "rxe";
}

int death_returns(const death_kind_t *kind) {
  return !kind->final && !(kind->rxe_stuck && strcmp(driver(), "rxe") == 0);
}

int death_lets_go(const death_kind_t *kind) {
  return kind->final != 2 && !(kind->rxe_stuck == 2 && strcmp(driver(), "rxe") == 0);
}

void death_config(peer_config_t *config) {
  static char devices[2][32];
  for (int i = 0; i < 2; i++) {
    int host = i == BENCH_SERVER ? 0 : 1;
    snprintf(devices[i], sizeof(devices[i]), "%s%d,w%d", driver(), host, host);
    config->devices[i] = devices[i];
  }
  config->host = "10.9.2.1";
  config->slow = DEATH_SLOW;
}

static pid_t run(const char *command) {
  fflush(stdout);
  pid_t pid = fork();
  if (pid < 0) bench_die("fork failed");
  if (pid == 0) {
    execlp("bash", "bash", "-c", command, (char *) NULL);
    _exit(127);
  }
  return pid;
}

unsigned death_kill(const death_kind_t *kind, unsigned ms) {
  char command[300];
  uint64_t start = perf_now();
  int status = 0;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  snprintf(command, sizeof(command), kind->kill, driver());
#pragma GCC diagnostic pop
  pid_t pid = run(command);
  for (;;) {
    unsigned took = (unsigned) ((perf_now() - start) / 1000000);
    if (waitpid(pid, &status, WNOHANG) == pid) {
      if (status) bench_die("failed: %s", command);
      return took;
    }
    if (took > ms) { /* it waits in the kernel: a signal would not end it */
      bench_die("%s: has not ended after %u ms: somebody keeps the device open", command, took);
    }
    usleep(2000);
  }
}

static void network(const char *words) {
  char command[200];
  int status = 0;
  snprintf(command, sizeof(command), ". \"$WEFT_VM_GUEST/net.sh\" && %s", words);
  if (waitpid(run(command), &status, 0) < 0 || status)
    bench_die("the network could not be made whole again: %s", words);
}

void death_heal(void) {
  network("vm_heal");
}

void death_remake(void) {
  network("vm_network_down && vm_layout \"$WEFT_VM_LAYOUT\"");
}
