/* SPDX-License-Identifier: Apache-2.0 */
/* lib_death.h - the ways in which an RDMA path dies, as shell commands in a spare layout of
 * tests/vm/guest/net.sh: what tests/vm/rdma_death.c tries one by one and rdma_kills in turn.
 *
 * The server is host a (devices v0, rxe0 or siw0), the client host b (v1, rxe1 or siw1); both can go
 * on by tcp over w0 and w1. */
#ifndef WEFT_LIB_DEATH_H
#define WEFT_LIB_DEATH_H

#include "lib_peer.h"

typedef struct death_kind_s {
  const char *name;
  const char *kill;  /* %s: "rxe" or "siw" */
  unsigned found_ms; /* until everything goes over tcp, on a machine of its own */
  int final;         /* the device is gone for the client's process: 2: for the server's too */
  int hidden;        /* nobody reports it: found by asking */
  /* Soft RoCE of Linux 6.1 does not survive it: a connection message for which it finds no way out,
   * because the link is down or the sender's address is gone, ends in rxe_qp_error for queue pair 1,
   * and what brings that back (RTS) does not bring back its receiving half. So the device hears no
   * request any more, and no program makes a connection with it until it is made anew. Where none
   * is sent meanwhile it lives; hence it happens now and then. 2: some of these messages never end, and a
   * process that waits for one cannot be killed ("cm_destroy_id_wait_timeout"). */
  int rxe_stuck;
} death_kind_t;

extern const death_kind_t death_kinds[];
extern const unsigned death_kinds_n;
const death_kind_t *death_find(const char *name);

#define DEATH_SLOW 10 /* the guest is some ten times slower than the machine */

/* Is RDMA whole again after death_heal? */
int death_returns(const death_kind_t *kind);
/* Does the kernel let go of processes and interfaces after it, every time? */
int death_lets_go(const death_kind_t *kind);
/* Needs a spare layout; skips where there is none. */
void death_config(peer_config_t *config);
/* Run it, and return when it has ended; for those that wait for the client to let go, at most
 * `ms`, then dies. Returns how long it took, ms. */
unsigned death_kill(const death_kind_t *kind, unsigned ms);
void death_heal(void);
/* Everything anew, devices too: no process may use any of it. */
void death_remake(void);

#endif
