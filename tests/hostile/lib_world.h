/* SPDX-License-Identifier: Apache-2.0 */
/* lib_world.h - the world a hostile peer disturbs: an echo server, an honest client that talks to it
 * all the time, and the log that both write. One world per program.
 *
 * Design notes
 *   - Server and honest client have a context and a thread each; the test's own thread is the
 *     hostile peer.
 *   - What the server does with a connection follows from the peer's name in its HELLO:
 *       "hold"     receives nothing, not even its end, until world_release
 *       "push"     gets a message of 1 MiB as soon as it is accepted
 *       "reject"   is turned away
 *       others     get every message back
 *   - world_check is what must hold after every case: the honest client's message comes back, the
 *     server has no connection but the honest one, no file descriptor too many. */
#ifndef WEFT_LIB_WORLD_H
#define WEFT_LIB_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weft.h"

enum { WORLD_PUSH_BYTES = 1 << 20 };

#ifdef __SANITIZE_ADDRESS__
enum { WORLD_SANITIZED = 1 };
#else
enum { WORLD_SANITIZED = 0 };
#endif

/* How a connection ended at the server. */
typedef struct world_end {
  char peer[80];
  char label[64];
  int status; /* 0: in order */
  char why[256];
} world_end_t;

/* Both contexts get the options that `tune` (may be NULL) has changed. world_start fails the test
 * when anything of it does not come up. */
void world_start(void (*tune)(weft_opts_t *));
void world_stop(void);
uint16_t world_port(void);
/* The honest client sends `size` bytes and gets them back. Fails the test after 5 s. */
void world_echo(size_t size);
void world_release(void);
unsigned world_conns(void); /* connections of the server, the honest one included */
void world_check(void);
void world_rebase(void); /* what is open now is what may be open from now on */
/* The resident memory may not have grown by more than so many MiB since world_start (not checked
 * under a sanitizer). */
void world_check_memory(unsigned mib);
/* How the connection from this address ended at the server; fails the test when it did not in ms.
 */
world_end_t world_end_of(const char *peer, int ms);
bool world_ended(const char *peer); /* it has */

/* ---- The log ---- */
unsigned log_mark(void);
/* A line written since the mark has both texts (NULL: any). Waits for it. */
bool log_has(unsigned mark, const char *who, const char *what, int ms);
void log_print(unsigned mark); /* to stderr: what was written since */

/* ---- A client for tests of the connecting side, on the honest client's context ---- */
typedef struct dial {
  weft_conn_t conn;
  weft_connect_t req;
  bool done; /* the connect callback has fired */
  int status;
  char why[256]; /* weft_conn_error */
  uint64_t from_ms, took_ms;
  bool lost, closed; /* an error after it was open; the close callback has fired */
  int lost_status;
  char lost_why[256];
  unsigned got; /* messages received */
  size_t got_bytes;
  weft_conn_info_t info;
} dial_t;
int dial_start(dial_t *, const char *url); /* what weft_connect returned */
bool dial_wait(dial_t *, int ms);          /* the callback has fired */
bool dial_wait_lost(dial_t *, int ms);
void dial_send(dial_t *, size_t size); /* the answer is not waited for */
void dial_info(dial_t *);
void dial_close(dial_t *); /* waits for the close callback */

#endif
