/* SPDX-License-Identifier: Apache-2.0 */
/* lib_conform.h - two ends of a libfabric MSG provider in one thread, and what they have seen.
 *
 * Design notes
 *  - An end is a fabric, a domain, an event queue, a completion queue and perhaps a listener, all of one
 *    provider. The server's end and the client's may belong to different providers: that is how
 *    interoperation is tested.
 *  - pump() reads every queue of every open end once and files what it finds: completions and events
 *    are taken out by the case that expects them. What nobody took when an end closes fails the case,
 *    so an extra completion or a second FI_SHUTDOWN is never overlooked.
 *  - Every wait is bounded: a case that would hang fails.
 *  - libfabric's public interface only. What a provider is known to do wrong stands in
 *    lib_deviations.c, and nowhere else. */
#ifndef WEFT_LIB_CONFORM_H
#define WEFT_LIB_CONFORM_H

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>

#include "lib_skip.h"

#define CONFORM_WAIT_MS 10000
#define CONFORM_MR_MODE (FI_MR_LOCAL | FI_MR_ALLOCATED | FI_MR_VIRT_ADDR | FI_MR_PROV_KEY)

/* ---- What is tested ---- */

/* From the command line, "PROGRAM CLIENT [SERVER]", or WEFT_CONFORM_CLIENT and WEFT_CONFORM_SERVER. */
extern const char *client_provider, *server_provider;

/* The server's address: WEFT_CONFORM_NODE, or 127.0.0.1. */
const char *conform_node(void);
/* Where sockets of the kernel meet what is tested: WEFT_CONFORM_FOE, or 127.0.0.1. */
struct in_addr conform_foe(void);
/* A socket of the kernel that connects: those at the other end may need pump() to hear of it. */
int plain_socket(const void *addr, size_t len);

/* Run cases that open what they need; `tests` may not name a deviation's case twice. */
int conform_run(int argc, char **argv, const struct CMUnitTest *tests, size_t n);
#define CONFORM_MAIN(tests)                                                                        \
  int main(int argc, char **argv) {                                                                \
    return conform_run(argc, argv, tests, sizeof(tests) / sizeof(*(tests)));                       \
  }
/* A case: whatever an earlier one left open after a failure is forgotten first. */
int conform_setup(void **state);
#define CASE(fn) cmocka_unit_test_setup(fn, conform_setup)

/* Why a provider in one of these roles cannot pass the case; NULL: it must. */
const char *conform_deviation(const char *program, const char *name, const char *client,
                              const char *server);
/* 0, or the name of a row about this program whose case is not among the tests. */
const char *conform_stale_row(const char *program, const struct CMUnitTest *tests, size_t n);
/* First in a case that a row of lib_deviations.c names. */
#define KNOWN_DEVIATION()                                                                          \
  do {                                                                                             \
    const char *why_ = conform_deviation(program_invocation_short_name, __func__, client_provider, \
                                         server_provider);                                         \
    if (why_ != NULL) skip_case(why_);                                                             \
  } while (0)

/* ---- An end ---- */

typedef struct comp_s { /* a completion; err != 0: one in error */
  void *ctx;
  uint64_t flags, data;
  size_t len, olen;
  int err;
} comp_t;

typedef struct event_s { /* of the connection manager; err != 0: one in error */
  uint32_t event;
  fid_t fid;
  struct fi_info *info;
  size_t len; /* of the connection's data */
  uint8_t data[512];
  int err;
} event_t;

typedef struct opts_s {      /* all may be 0 */
  enum fi_wait_obj cq_wait;  /* FI_WAIT_NONE; FI_WAIT_FD, FI_WAIT_UNSPEC */
  enum fi_wait_obj eq_wait;  /* likewise */
  size_t cq_size;            /* 4096 */
  size_t tx_size, rx_size;   /* the provider's own */
  uint64_t caps;             /* FI_MSG | FI_RMA */
  uint64_t tx_flags;         /* default flags of sends */
  uint64_t rx_flags;         /* ... of receives */
  uint64_t cq_flags;         /* beside FI_TRANSMIT | FI_RECV, as FI_SELECTIVE_COMPLETION */
  enum fi_threading threads; /* FI_THREAD_SAFE */
  bool srx;                  /* endpoints receive from a shared context */
  const char *node;          /* the server's address, conform_node() */
} opts_t;

typedef struct end_s {
  const char *provider;
  opts_t opts;
  struct fi_info *info;
  struct fid_fabric *fabric;
  struct fid_domain *domain;
  struct fid_eq *eq;
  struct fid_cq *cq;
  struct fid_pep *pep;
  struct fid_ep *srx;
  void (*bind)(struct end_s *, struct fid_ep *); /* what else its endpoints are bound to */
  bool asleep;                                   /* pump() leaves its completion queue alone */
  bool deaf;                                     /* ... and its event queue */
  bool messy;                                    /* what was not taken is no failure */
  comp_t *comps;
  size_t ncomps, rcomps;
  event_t *events;
  size_t nevents, revents;
} end_t;

/* Both ends of one connection. */
typedef struct link_s {
  struct fid_ep *c, *s;
} link_t;

/* The world of most cases: a client's end, a server's that listens, and connections between them. */
typedef struct pair_s {
  end_t c, s;
  struct sockaddr_storage addr; /* where the server listens */
  size_t addrlen;
} pair_t;

/* fi_getinfo as the suite asks; `node` NULL: none. Fails the case when there is nothing. */
struct fi_info *conform_info(const char *provider, const opts_t *opts, const char *node,
                             const char *service, uint64_t flags);
struct fi_info *conform_hints(const char *provider, const opts_t *opts);

void end_open(end_t *e, const char *provider, const opts_t *opts, struct fi_info *info);
void end_close(end_t *e);
/* An endpoint over `info`, bound and enabled. `context` is the endpoint's. */
struct fid_ep *end_ep(end_t *e, struct fi_info *info, void *context);
void ep_close(struct fid_ep *ep);

void pair_open(pair_t *p, const opts_t *client, const opts_t *server);
void pair_close(pair_t *p);
void pair_connect(pair_t *p, link_t *l);
/* In the order of a polite program: client shuts down, both see FI_SHUTDOWN, both close. */
void pair_disconnect(pair_t *p, link_t *l);
/* One connection of ends whose queues have wait fds; and the end of it and of them. */
void pair_sleepers(pair_t *p, link_t *l);
void pair_end(pair_t *p, link_t *l);
void link_close(link_t *l);
uint16_t pair_port(const pair_t *p);

/* ---- Time and waiting ---- */

uint64_t now_ms(void);
void pump(void);
void settle(unsigned ms); /* pump for a while: nothing is expected */
_Noreturn void timed_out(const char *what, const char *file, int line);
#define UNTIL(cond)                                                                                \
  do {                                                                                             \
    uint64_t until_ = now_ms() + CONFORM_WAIT_MS;                                                  \
    while (!(cond)) {                                                                              \
      pump();                                                                                      \
      if (now_ms() > until_) timed_out(#cond, __FILE__, __LINE__);                                 \
    }                                                                                              \
  } while (0)

/* An operation that may say -FI_EAGAIN: pumped until it is taken, and must be taken. */
#define POST(call)                                                                                 \
  do {                                                                                             \
    ssize_t post_;                                                                                 \
    UNTIL((post_ = (call)) != -FI_EAGAIN);                                                         \
    if (post_ != 0) fail_msg("%s: %s", #call, fi_strerror((int) -post_));                          \
  } while (0)
/* A call that must succeed at once. */
#define OK(call)                                                                                   \
  do {                                                                                             \
    ssize_t ok_ = (call);                                                                          \
    if (ok_ != 0) fail_msg("%s: %s (%zd)", #call, fi_strerror((int) -ok_), ok_);                   \
  } while (0)
/* A call that must be refused. */
#define REFUSED(call)                                                                              \
  do {                                                                                             \
    ssize_t refused_ = (call);                                                                     \
    if (refused_ >= 0 || refused_ == -FI_EAGAIN)                                                   \
      fail_msg("%s: must be refused, answered %zd", #call, refused_);                              \
  } while (0)

/* Is it there? Take it out. */
bool took(end_t *e, const void *ctx, comp_t *out);
bool took_event(end_t *e, uint32_t event, fid_t fid, event_t *out);
bool took_eq_error(end_t *e, fid_t fid, event_t *out);
/* Wait for it; the completion must be a good one. */
comp_t wait_comp(end_t *e, const void *ctx);
comp_t wait_error(end_t *e, const void *ctx); /* ... a bad one */
event_t wait_event(end_t *e, uint32_t event, fid_t fid);
event_t wait_eq_error(end_t *e, fid_t fid);
/* Sleeping instead: in fi_cq_sread, or in poll on a wait fd. The next completion of a queue that
 * pump() leaves alone: 1, or a negative error. Any thread may ask. */
typedef enum { SREAD, FD } how_t;
int fd_of(fid_t fid);
int next_comp(end_t *e, how_t how, int fd, struct fi_cq_data_entry *entry);
/* Nothing is waiting to be taken. */
void expect_quiet(end_t *e);
/* Throw away what is there. */
void end_forget(end_t *e);

/* ---- Data ---- */

void fill(void *buf, size_t len, uint64_t seed);
void check(const void *buf, size_t len, uint64_t seed);
uint64_t rnd(uint64_t *state);

/* A region that the peer may use as `access` says: how the peer names byte `offset` of it. */
typedef struct region_s {
  struct fid_mr *mr;
  uint8_t *base;
  size_t len;
  uint64_t key, origin;
} region_t;
void region_open(region_t *r, end_t *e, size_t len, uint64_t access, uint64_t key);
void region_close(region_t *r);

/* One message from a to b with data check, both ends pumped: the receive is posted first. */
void exchange(end_t *from, struct fid_ep *a, end_t *to, struct fid_ep *b, size_t len,
              uint64_t seed);
/* ... in both directions: the connection works. */
void alive(pair_t *p, link_t *l);

#endif
