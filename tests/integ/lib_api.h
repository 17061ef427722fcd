/* SPDX-License-Identifier: Apache-2.0 */
/* lib_api.h - what the api_*.c tests share: a pair of connected ends on one loop, and loops that
 * end.
 *
 * Design notes
 *  - Each scenario makes its own loop and contexts and ends by closing all of it: a handle that
 *    does not close, or a loop that does not become empty, fails the scenario.
 *  - Two contexts stand on one loop, one listens, one connects. Ports come from the system.
 *  - The same scenarios run over other transports (tests/vm, dpdk) by the environment: WEFT_TEST_LISTEN is
 *    where to listen, WEFT_TEST_NEEDS what to add to the URL ("require=verbs": then no other carries a
 *    message), WEFT_TEST_DEVICES_A and _B the devices of either end. WEFT_TIME_FACTOR stretches limits.
 *  - Callbacks count; the scenario asserts on the counts. CHECK is for inside callbacks: it ends
 *    the program. */
#ifndef WEFT_TESTS_LIB_API_H
#define WEFT_TESTS_LIB_API_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <weft.h>

#include "lib_skip.h"

#define CHECK(cond)                                                                                \
  do {                                                                                             \
    if (!(cond)) {                                                                                 \
      fprintf(stderr, "%s:%d: CHECK(%s)\n", __FILE__, __LINE__, #cond);                            \
      abort();                                                                                     \
    }                                                                                              \
  } while (0)

/* Run the loop until the condition holds; the scenario fails after `ms`. */
#define RUN_UNTIL(loop, ms, cond)                                                                  \
  do {                                                                                             \
    uint64_t until_ = api_now_ms() + (uint64_t) (ms) *api_slow();                                  \
    while (!(cond)) {                                                                              \
      if (api_now_ms() > until_) {                                                                 \
        fprintf(stderr, "%s:%d: not within %d ms: %s\n", __FILE__, __LINE__, (int) (ms), #cond);   \
        fail();                                                                                    \
      }                                                                                            \
      api_step(loop);                                                                              \
    }                                                                                              \
  } while (0)
/* Run the loop for a while. */
#define RUN_FOR(loop, ms)                                                                          \
  do {                                                                                             \
    uint64_t until_ = api_now_ms() + (uint64_t) (ms);                                              \
    while (api_now_ms() < until_) api_step(loop);                                                  \
  } while (0)

uint64_t api_now_ms(void);
unsigned api_slow(void);       /* factor for time limits: sanitizers are slow */
void api_step(uv_loop_t *);    /* one turn of at most 10 ms */
int api_skip(const char *why); /* prints the reason; answers 77 */

/* One message as it was received. */
typedef struct api_rx {
  unsigned messages, eofs, errors;
  int last_error;
  uint64_t bytes;
  size_t last_size;
  uint64_t hash; /* over sizes and contents, in order */
} api_rx_t;

typedef struct api_pair {
  uv_loop_t loop;
  weft_t a, b; /* a listens, b connects */
  weft_listener_t lis;
  weft_conn_t server, client;
  weft_connect_t req;
  char url[256];
  int connected, connect_status, accepted, closed, shut, shut_status;
  api_rx_t srx, crx; /* what the server and the client received */
  weft_shutdown_t sreq, creq;
  unsigned events[8];
  weft_event_t last_event;
  void *data;
} api_pair_t;

extern const char *api_listen_url; /* default "weft://127.0.0.1:0" */
const char *api_listen_at(void);   /* WEFT_TEST_LISTEN, else that */

void api_opts(weft_opts_t *, ...); /* defaults, then key, value, ..., NULL */
/* Contexts, a listener, and a connection that is open at both ends. Options and needs may be NULL.
 */
void api_pair_open(api_pair_t *, const weft_opts_t *a, const weft_opts_t *b, const weft_qos_t *qos);
void api_pair_start(api_pair_t *, const weft_opts_t *a,
                    const weft_opts_t *b);                 /* without the connection */
void api_recv(weft_conn_t *, api_rx_t *);                  /* receive and count */
void api_on_recv(weft_conn_t *, int status, weft_msg_t *); /* conn->data: api_rx_t */
void api_event(weft_conn_t *, const weft_event_t *); /* counts into the pair given by api_watch */
void api_watch(api_pair_t *, weft_conn_t *);
void api_conn_closed(weft_conn_t *);
void api_pair_close(api_pair_t *); /* everything, and checks that nothing is left */
uint64_t api_hash(uint64_t h, const void *, size_t);
void api_fill(void *, size_t, unsigned seed);

#endif
