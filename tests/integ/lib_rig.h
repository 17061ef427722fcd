/* SPDX-License-Identifier: Apache-2.0 */
/* lib_rig.h - two network namespaces joined by two veth pairs, an echo server in the other one, and ways to hurt them.
 *
 *   here   va0 10.77.0.1/24 ---- vb0 10.77.0.2   there: echo server on *:PORT
 *          va1 10.77.1.1/24 ---- vb1 10.77.1.2
 *          va2 10.77.2.1/24 ---- vb2 10.77.2.2   where a scenario asks for it (rig_pairs)
 *
 * Design notes
 *  - The namespaces live exactly as long as the processes in them. The rig needs root or user namespaces: where they are
 *    refused rig_start answers why, and the test is skipped with that reason.
 *  - The server echoes every message. It obeys one-line orders on a pipe ("ip link set vb0 down", "stop"). */
#ifndef WEFT_TESTS_LIB_RIG_H
#define WEFT_TESTS_LIB_RIG_H

#include <sys/types.h>

#include "lib_api.h"

typedef struct rig {
  pid_t server;
  int orders, answers;
  int port;
} rig_t;

extern unsigned rig_pairs; /* 2 */

/* Once per program, before any thread: this process moves into a namespace. NULL, or why it is not
 * possible. */
const char *rig_enter(void);
void rig_start(rig_t *, const char *server_opts /* "key=value,..." or NULL */);
void rig_stop(rig_t *); /* the server ends in order; fails the scenario when it does not */
void rig_kill(rig_t *); /* SIGKILL, and reaped */
void rig_ip(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* `ip ...` here */
void rig_ip_there(rig_t *, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));         /* `ip ...` at the server */
void rig_silence(rig_t *, unsigned pair, bool on); /* frames vanish, both ways; no link goes down */
/* Received by the server so far and its errors, as it says itself. */
void rig_ask(rig_t *, unsigned long long *messages, int *last_error);

#endif
