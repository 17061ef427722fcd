/* SPDX-License-Identifier: Apache-2.0 */
/* weft_perf_floor.h - what the machine can do without Weft: raw TCP sockets and raw libfabric.
 * weft_perf --floor and tests/bench use this one copy; tests/bench/floor_check holds it against
 * fi_pingpong. */
#ifndef WEFT_PERF_FLOOR_H
#define WEFT_PERF_FLOOR_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#include "weft_perf_hist.h"

/* What a server lends to whoever asks: the bytes in flight, twice in memory, and the time. */
#define PERF_FLOOR_BYTES   (64u << 20)
#define PERF_FLOOR_SECONDS 60
#define PERF_FLOOR_GRACE_S 5 /* for the client to come, and beyond its own time to go */

typedef enum {
  PERF_FLOOR_SOCKETS = 1,   /* one TCP socket, TCP_NODELAY */
  PERF_FLOOR_LIBFABRIC = 2, /* one FI_EP_MSG endpoint, one completion queue */
} perf_floor_kind;

typedef enum {
  PERF_FLOOR_PINGPONG = 1, /* one message in flight, there and back */
  PERF_FLOOR_STREAM = 2,   /* one way, `window` messages in flight, confirmed at the end */
} perf_floor_shape;

typedef enum {
  PERF_FLOOR_SPIN =
      0, /* ask again and again: non-blocking recv; fi_cq_read on a queue without wait object */
  PERF_FLOOR_SLEEP = 1, /* blocking recv; fi_trywait and poll on the queue's wait fd */
  PERF_FLOOR_SPIN_FD =
      2, /* libfabric: spin on a queue that has a wait fd, as whoever may have to sleep needs */
  PERF_FLOOR_SREAD = 3, /* libfabric: fi_cq_sread; else as PERF_FLOOR_SLEEP */
} perf_floor_wait;

/* The same spec on both sides, but for the port: the server's choice, the client's input. */
typedef struct perf_floor_spec_s {
  int32_t kind, shape, wait;
  uint32_t window;
  uint64_t size;  /* bytes of a message, at least 16 */
  double seconds; /* the client stops after this long */
  uint16_t port;
  char host[80];     /* numeric address of the server */
  char provider[32]; /* libfabric's, "tcp" */
} perf_floor_spec_t;

static inline int perf_floor_sleeps(const perf_floor_spec_t *spec) {
  return spec->wait == PERF_FLOOR_SLEEP || spec->wait == PERF_FLOOR_SREAD;
}

typedef struct perf_rate_s {
  uint64_t messages, bytes;
  uint64_t ns; /* from the first send to the receiver's confirmation of the last */
} perf_rate_t;

typedef struct perf_floor_server_s perf_floor_server_t;

/* All return 0 or a negative errno, and say on stderr what failed. */
int perf_floor_listen(const perf_floor_spec_t *spec, perf_floor_server_t **out, uint16_t *port);
/* Serve one client until it has gone, until its time and PERF_FLOOR_GRACE_S are over whatever it
 * does, or until *stop (may be NULL): a signal's handler sets it. Frees the server. */
int perf_floor_serve(perf_floor_server_t *server, const volatile sig_atomic_t *stop);
/* Round trips of single messages, nanoseconds, added to `rtt`. The first 1,000 or 5 % of the time
 * warm up. */
int perf_floor_pingpong(const perf_floor_spec_t *spec, perf_hist_t *rtt);
int perf_floor_stream(const perf_floor_spec_t *spec, perf_rate_t *out);

/* The end of a server's patience. NULL: none, as the client has. */
#define PERF_SLICE_MS 200 /* how long a wait lasts at most before it asks */
typedef struct perf_limit_s {
  uint64_t deadline; /* perf_now */
  const volatile sig_atomic_t *stop;
} perf_limit_t;
/* 0, -ETIMEDOUT or -ECANCELED. Cheap enough for every turn of a loop that spins. */
int perf_limit_over(const perf_limit_t *limit);
/* So many seconds from now. */
void perf_limit_set(perf_limit_t *limit, double seconds);

/* The libfabric half, weft_perf_floor_fi.c. */
typedef struct perf_fi_s perf_fi_t;
int perf_fi_listen(const perf_floor_spec_t *spec, perf_fi_t **out, uint16_t *port);
int perf_fi_serve(perf_fi_t *server, perf_limit_t *limit);
int perf_fi_pingpong(const perf_floor_spec_t *spec, perf_hist_t *rtt);
int perf_fi_stream(const perf_floor_spec_t *spec, perf_rate_t *out);

#endif
