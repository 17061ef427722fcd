/* SPDX-License-Identifier: Apache-2.0 */
/* weft_perf.h - the two ends of a measurement over Weft: a server that echoes or counts, a client
 * that measures. The tool weft_perf and the programs of tests/bench are made of these.
 *
 * Design notes
 * - Control and data share the connection: a message of sizeof(perf_ctl_t) bytes that begins with
 *   PERF_MAGIC is control, every other one is data. Order on the connection makes an end-of-stream
 *   report exact.
 * - The client's calls run its loop until they are done; between calls the loop stands still. */
#ifndef WEFT_PERF_H
#define WEFT_PERF_H

#include <weft.h>

#include "weft_perf_floor.h"
#include "weft_perf_hist.h"

#define PERF_MAGIC   0x325052455054464bull
#define PERF_TRY_MAX 65536 /* weft_try_send's limit */

typedef enum {
  PERF_ECHO = 1,   /* send every data message back */
  PERF_SINK = 2,   /* count data messages */
  PERF_REPORT = 3, /* answer with PERF_REPORTED */
  PERF_REPORTED = 4,
  PERF_FLOOR = 5, /* open the floor's server, answer with PERF_FLOOR_AT, serve one run */
  PERF_FLOOR_AT = 6,
} perf_op;

typedef struct perf_ctl_s {
  uint64_t magic;
  uint32_t op;
  int32_t rc;
  uint64_t messages, bytes; /* REPORTED: data received since the last ECHO or SINK */
  uint64_t cpu_ns, rss;     /* REPORTED: of the server's process */
  uint64_t check;           /* REPORTED: sum of a word of each message, see perf_word */
  uint64_t copies;          /* REPORTED: weft_conn_info's payload_copies at the server */
  perf_floor_spec_t floor;  /* FLOOR, FLOOR_AT */
} perf_ctl_t;

/* The word that stands for a message in `check`: of its last 8 bytes and of 8 in every 64 KiB, with
 * their places. */
uint64_t perf_word(const void *data, size_t size);

uint64_t perf_cpu_ns(void);

/* ---- Server ---- */

typedef struct perf_server_s perf_server_t;
typedef struct perf_server_opts_s {
  const char *url; /* weft://HOST:PORT?needs */
  const weft_opts_t *opts;
  int stop_fd; /* stop when it becomes readable or closed; -1: only on SIGINT and SIGTERM */
  int quiet;   /* no line per connection */
  void (*ready)(const char *url, void *arg); /* called once with the address in use */
  void *arg;
} perf_server_opts_t;
/* Serve until told to stop. 0 or an error code of Weft, described on stderr. */
int perf_server_run(const perf_server_opts_t *opts);

/* ---- Client ---- */

typedef struct perf_client_s perf_client_t;
typedef struct perf_client_opts_s {
  const char *url;
  const weft_qos_t *qos; /* may be NULL */
  const weft_opts_t *opts;
  void (*event)(const weft_event_t *ev, void *arg); /* may be NULL */
  /* may be NULL; four times a second while something is measured, share from 0 to 1 */
  void (*progress)(const char *what, double share, void *arg);
  void *arg;
} perf_client_opts_t;

/* All return 0 or an error code of Weft; perf_client_error has the sentence. */
int perf_client_open(perf_client_t **out, const perf_client_opts_t *opts);
const char *perf_client_error(const perf_client_t *c);
weft_conn_t *perf_client_conn(perf_client_t *c);
weft_t *perf_client_weft(perf_client_t *c);
/* Round trips of one message in flight, nanoseconds, added to rtt. The first 5 % of the time warm
 * up. */
int perf_client_pingpong(perf_client_t *c, size_t size, double seconds, perf_hist_t *rtt);
/* One way. window 0: weft_try_send until it says UV_EAGAIN, then wait for WEFT_EV_WRITABLE (up to
 * 64 KiB); else weft_send with so many in flight, from memory of weft_mem_alloc. */
int perf_client_stream(perf_client_t *c, size_t size, unsigned window, double seconds,
                       perf_rate_t *out);
/* The server's figures now. */
int perf_client_report(perf_client_t *c, perf_ctl_t *out);
/* Ask for the floor's server; then run perf_floor_pingpong or _stream with `spec`, completed here.
 */
int perf_client_floor(perf_client_t *c, perf_floor_spec_t *spec);
/* Run the loop for a while, or until `until` (may be NULL) says so: for what happens by itself. */
void perf_client_run(perf_client_t *c, unsigned ms, int (*until)(perf_client_t *c, void *arg),
                     void *arg);
void perf_client_close(perf_client_t *c);

#endif
