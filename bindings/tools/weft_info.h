/* SPDX-License-Identifier: Apache-2.0 */
/* weft_info.h - what the files of the tool share.
 *
 * Design notes
 *   - Everything printed comes from the library: verdicts from weft_candidates and
 *     weft_conn_verdict, help from weft_why_help, options from weft_option and weft_opts_get. The
 *     tool holds no table of its own, so it cannot disagree with it.
 *   - Each of info_list, info_env, info_libraries, info_check and info_explain is one mode; it
 *     answers the exit status, which is for scripts: 0 only when something is usable.
 *   - Public API only (and libfabric for its version and its providers'), as any user could write
 *     it. */
#ifndef WEFT_INFO_H
#define WEFT_INFO_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "weft.h"

enum { EXIT_USABLE = 0, EXIT_NONE = 1, EXIT_USAGE = 2 };

enum { INFO_NEEDS = 16, INFO_COLUMNS = 12 };

/* The command line. */
typedef struct info_args {
  int verbose, json, echo;
  const char *provider, *device; /* -p, -d; NULL: all */
  const char *url;               /* of --check and --explain */
  struct {
    const char *key, *value;
  } need[INFO_NEEDS];
  unsigned needs;
  weft_opts_t opts; /* defaults, environment, -p and -d */
} info_args_t;

int info_list(const info_args_t *);
int info_env(const info_args_t *);
int info_libraries(const info_args_t *);
int info_check(const info_args_t *);
int info_explain(const info_args_t *);

/* ---- weft_info_list.c ---- */
/* Verdicts of this machine in memory of malloc, their number in *n; NULL when that fails, with the
 * error in *n. -p and -d narrow it. */
weft_verdict_t *info_candidates(const info_args_t *, int *n);
/* Everything about one verdict, as an indented block. */
void info_block(const weft_verdict_t *);
/* "WEFT_WHY_NO_DEVICE: the detail", and for a usable one the detail. */
const char *info_why(const weft_verdict_t *, char *buf, size_t len);
/* "35.1 us, 1.25 GB/s expected". */
const char *info_cost(const weft_verdict_t *, char *buf, size_t len);

/* ---- weft_info_print.c ---- */
/* Cells are text of malloc; the last column is not padded. */
typedef struct info_table {
  const char *head[INFO_COLUMNS];
  unsigned columns, cells;
  char **cell; /* row by row */
} info_table_t;
void info_table_init(info_table_t *, const char *const *head); /* NULL ends it */
void info_cell(info_table_t *, const char *text);              /* the next one; "" becomes "-" */
void info_table_print(info_table_t *);                         /* and frees */

const char *info_duration(uint64_t ns, char *buf, size_t len); /* "-" for 0, which is unknown */
const char *info_rate(uint64_t bytes_per_s, char *buf, size_t len);
const char *info_speed(uint64_t bits_per_s, char *buf, size_t len);
const char *info_bytes(uint64_t n, char *buf, size_t len);
/* Break a long text at blanks; every line but the first is indented. */
void info_wrapped(const char *s, size_t indent, size_t width);
void *info_alloc(void *, size_t size); /* realloc, or the end of the program */

/* ---- weft_info_json.c ---- */
json_t *info_json_text(const char *);
json_t *info_json_number(uint64_t); /* UINT64_MAX, "no limit", is null */
json_t *info_json_verdict(const weft_verdict_t *);
void info_json_print(json_t *); /* on standard output, and lets go of it */

/* ---- weft_info_conn.c ---- */
typedef struct info_net {
  uv_loop_t loop;
  weft_t weft;
  uv_timer_t timer;
} info_net_t;

typedef struct info_conn {
  weft_conn_t handle;
  weft_connect_t req;
  weft_shutdown_t bye;
  weft_send_t ping;
  int connected, status; /* the callback came; its status */
  int shut, shut_status, closed, pinged, ping_status;
  int echoed; /* what was sent has come back, or nothing more comes */
  int ended;  /* the peer's end came */
  uint64_t began_ns, connect_ns;
  char missed[160]; /* a need that is not met */
} info_conn_t;

int info_net_open(info_net_t *, const weft_opts_t *); /* 0, or an error that it has printed */
void info_net_close(info_net_t *);
/* Run the loop until *flag is not 0, or for ms. */
void info_net_run(info_net_t *, const int *flag, unsigned ms);
/* Connect and wait for the outcome, which it answers. The handle is then open and needs
 * info_hang_up. */
int info_dial(info_net_t *, info_conn_t *, const char *url, const weft_qos_t *);
/* Send one message of 64 bytes and wait for the same bytes: their round trip, or 0 and why not. */
uint64_t info_echo(info_net_t *, info_conn_t *, char *why, size_t len);
/* End in order: the round trip that the acknowledgement of the end took, 0 = none came. */
uint64_t info_hang_up(info_net_t *, info_conn_t *);
/* What the URL and the command line need. 0, or EXIT_USAGE after telling why. */
int info_needs(const info_args_t *, weft_addr_t *, weft_qos_t *);

#endif
