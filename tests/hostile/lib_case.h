/* SPDX-License-Identifier: Apache-2.0 */
/* lib_case.h - a table of hostile cases, and what every one of them must end in: the connection
 * closed, a reason in the log that names the peer and the cause, everybody else served.
 *
 * A program of cases takes the name of one (or a pattern with *) to run it alone. */
#ifndef WEFT_LIB_CASE_H
#define WEFT_LIB_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib_peer.h"
#include "lib_world.h"

typedef struct hostile_case {
  const char *name;
  const char *label;     /* the peer's name, which chooses what the server does; NULL: echo */
  void (*act)(peer_t *); /* on an open session */
  const char *logged;    /* stands in the log, in one line with the peer's address */
  int status;            /* how the server's connection ends; 0: WEFT_EPROTOCOL */
  bool mute;             /* a violation of which the peer is not told: its path is gone already */
  uint32_t reliability;  /* weft_reliability */
  void (*run)(void);     /* instead of all of the above */
} hostile_case_t;

/* What cases[] says, one after the other in one world; the process's exit code. */
int hostile_main(int argc, char **argv, const char *group, const hostile_case_t *cases, size_t n,
                 void (*tune)(weft_opts_t *));

#define HOSTILE_MAIN(group, cases, tune)                                                           \
  int main(int argc, char **argv) {                                                                \
    return hostile_main(argc, argv, group, cases, sizeof(cases) / sizeof(cases[0]), tune);         \
  }

/* For cases with a `run` of their own: a line with both texts since the mark, or the test fails and
 * shows the log. */
void must_log(unsigned mark, const char *who, const char *what);
/* The other end closes within ms. */
void must_close(unsigned mark, peer_t *p, int ms);
/* For cases where the peer is the one that is dialled. It says its HELLO, with what offers it has
 * made: the connection opens, soon, on the path it has, and works. */
void dial_opens_anyhow(dial_t *d, peer_t *p);
/* Closes all of it, and the peer's listening socket. */
void dial_leave(dial_t *d, peer_t *p, int *listening);

#endif
