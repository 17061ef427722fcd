/* SPDX-License-Identifier: Apache-2.0 */
/* lib_ksock.c - where ksock is, and an end of raw libfabric with many connections on one queue.
 *
 * Design notes
 * - Both roles are one structure; a slot is a receive, and says whose it is. */
#include "lib_ksock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>

#define SLOTS      2    /* posted receives of an endpoint */
#define IDLE_TURNS 4096 /* empty reads of the queue between two looks at the others */

typedef struct slot_s {
  struct fi_context ctx; /* first */
  struct fid_ep *ep;
  char buf[BENCH_MSG_SIZE];
} slot_t;

typedef struct one_s {
  struct fid_ep *ep;
  slot_t slot[SLOTS];
} one_t;

struct bench_ends_s {
  struct fi_info *info;
  struct fid_fabric *fabric;
  struct fid_domain *domain;
  struct fid_eq *eq;
  struct fid_cq *cq;
  struct fid_pep *pep;
  int cqfd, eqfd;
  one_t **one; /* connections, n of them */
  unsigned n, room, up, down;
  uint64_t received; /* messages */
};

static void must(const char *what, ssize_t rc) {
  if (rc < 0) bench_die("%s: %s", what, fi_strerror((int) -rc));
}

void bench_provider_find(const char *name, const char *option) {
  char path[512];
  ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 64);
  if (n <= 0) bench_die("/proc/self/exe: %s", strerror(errno));
  path[n] = '\0';
  *strrchr(path, '/') = '\0'; /* bin/ */
  sprintf(strrchr(path, '/'), "/lib/lib%.32s-fi.so", name);
  if (access(path, R_OK)) bench_skip("this build has no %s (%s)", name, option);
  *strrchr(path, '/') = '\0';
  setenv("FI_PROVIDER_PATH", path, 1);
}

void bench_ksock_find(void) {
  bench_provider_find("ksock", "-DWEFT_KSOCK=OFF");
}

uint64_t bench_sleeps_of(pid_t pid) {
  char path[64], line[128];
  unsigned long long n = 0;
  snprintf(path, sizeof(path), "/proc/%d/status", (int) pid);
  FILE *f = fopen(path, "r");
  while (f && fgets(line, sizeof(line), f))
    if (sscanf(line, "voluntary_ctxt_switches: %llu", &n) == 1) break;
  if (f) fclose(f);
  return n;
}

/* ---- Both roles ---- */

static bench_ends_t *begin(const char *provider, const char *host, unsigned port, uint64_t flags) {
  bench_ends_t *e = calloc(1, sizeof(*e));
  struct fi_info *hints = fi_allocinfo();
  struct fi_eq_attr eq = {.wait_obj = FI_WAIT_FD};
  struct fi_cq_attr cq = {.format = FI_CQ_FORMAT_MSG, .wait_obj = FI_WAIT_FD};
  char service[8];
  if (!e || !hints) bench_die("out of memory");
  snprintf(service, sizeof(service), "%u", port);
  hints->ep_attr->type = FI_EP_MSG;
  hints->caps = FI_MSG;
  hints->mode = FI_CONTEXT;
  hints->fabric_attr->prov_name = strdup(provider);
  must("fi_getinfo", fi_getinfo(FI_VERSION(1, 17), host, service, flags, hints, &e->info));
  fi_freeinfo(hints);
  must("fi_fabric", fi_fabric(e->info->fabric_attr, &e->fabric, NULL));
  must("fi_domain", fi_domain(e->fabric, e->info, &e->domain, NULL));
  must("fi_eq_open", fi_eq_open(e->fabric, &eq, &e->eq, NULL));
  must("fi_cq_open", fi_cq_open(e->domain, &cq, &e->cq, NULL));
  must("FI_GETWAIT", fi_control(&e->cq->fid, FI_GETWAIT, &e->cqfd));
  must("FI_GETWAIT", fi_control(&e->eq->fid, FI_GETWAIT, &e->eqfd));
  return e;
}

static void end(bench_ends_t *e) {
  for (unsigned i = 0; i < e->n; i++) {
    fi_close(&e->one[i]->ep->fid);
    free(e->one[i]);
  }
  if (e->pep) fi_close(&e->pep->fid);
  fi_close(&e->cq->fid);
  fi_close(&e->eq->fid);
  fi_close(&e->domain->fid);
  fi_close(&e->fabric->fid);
  fi_freeinfo(e->info);
  free(e->one);
  free(e);
}

static void post(slot_t *s) {
  must("fi_recv", fi_recv(s->ep, s->buf, sizeof(s->buf), NULL, 0, &s->ctx));
}

static one_t *add(bench_ends_t *e, struct fi_info *info) {
  one_t *o = calloc(1, sizeof(*o));
  if (e->n == e->room) {
    e->room = e->room ? 2 * e->room : 64;
    e->one = realloc(e->one, e->room * sizeof(*e->one));
  }
  if (!o || !e->one) bench_die("out of memory");
  must("fi_endpoint", fi_endpoint(e->domain, info, &o->ep, o));
  must("fi_ep_bind", fi_ep_bind(o->ep, &e->eq->fid, 0));
  must("fi_ep_bind", fi_ep_bind(o->ep, &e->cq->fid, FI_TRANSMIT | FI_RECV));
  must("fi_enable", fi_enable(o->ep));
  for (unsigned i = 0; i < SLOTS; i++) {
    o->slot[i].ep = o->ep;
    post(&o->slot[i]);
  }
  e->one[e->n++] = o;
  return o;
}

static void inject(struct fid_ep *ep, const char *buf) {
  ssize_t rc;
  do rc = fi_inject(ep, buf, BENCH_MSG_SIZE, 0);
  while (rc == -FI_EAGAIN);
  must("fi_inject", rc);
}

/* All that the event queue has. */
static void events(bench_ends_t *e) {
  struct fi_eq_cm_entry entry;
  uint32_t event;
  ssize_t rc;
  while ((rc = fi_eq_read(e->eq, &event, &entry, sizeof(entry), 0)) > 0) {
    if (event == FI_CONNREQ) {
      one_t *o = add(e, entry.info);
      must("fi_accept", fi_accept(o->ep, NULL, 0));
      fi_freeinfo(entry.info);
    } else {
      e->up += event == FI_CONNECTED;
      e->down += event == FI_SHUTDOWN;
    }
  }
  if (rc == -FI_EAVAIL) {
    struct fi_eq_err_entry err = {0};
    fi_eq_readerr(e->eq, &err, 0);
    bench_die("a connection: %s", fi_strerror(err.err));
  }
}

/* A completion, if there is one: its receive is posted again and, by the server, answered. 0 or 1. */
static int one_completion(bench_ends_t *e) {
  struct fi_cq_msg_entry c;
  ssize_t rc = fi_cq_read(e->cq, &c, 1);
  if (rc == -FI_EAGAIN) return 0;
  if (rc == -FI_EAVAIL) { /* the receives of a connection that has ended */
    struct fi_cq_err_entry err = {0};
    fi_cq_readerr(e->cq, &err, 0);
    return 1;
  }
  must("fi_cq_read", rc);
  slot_t *s = c.op_context;
  post(s);
  if (e->pep) inject(s->ep, s->buf);
  e->received++;
  return 1;
}

/* Asleep until a queue has something, the third descriptor, or the time is over: poll's result, or
 * -1 when there was something already. */
static int doze(bench_ends_t *e, int fd, int ms) {
  struct fid *fids[] = {&e->cq->fid, &e->eq->fid};
  struct pollfd p[] = {{.fd = e->cqfd, .events = POLLIN},
                       {.fd = e->eqfd, .events = POLLIN},
                       {.fd = fd, .events = POLLIN}};
  return fi_trywait(e->fabric, fids, 2) == FI_SUCCESS ? poll(p, fd >= 0 ? 3 : 2, ms) : -1;
}

/* ---- The server ---- */

static int serve(int fd, void *arg) {
  const bench_echo_t *echo = arg;
  bench_ends_t *e = begin(echo->provider, echo->host, 0, FI_SOURCE);
  uint8_t addr[128];
  size_t len = sizeof(addr);
  must("fi_passive_ep", fi_passive_ep(e->fabric, e->info, &e->pep, NULL));
  must("fi_pep_bind", fi_pep_bind(e->pep, &e->eq->fid, 0));
  must("fi_listen", fi_listen(e->pep));
  must("fi_getname", fi_getname(&e->pep->fid, addr, &len));
  uint16_t port = (uint16_t) (addr[2] << 8 | addr[3]);
  if (send(fd, &port, sizeof(port), MSG_NOSIGNAL) < 0) return 1;
  char spin = 0;
  for (unsigned idle = 0;;) {
    if (one_completion(e)) continue;
    if (spin && ++idle % IDLE_TURNS != 0) continue;
    events(e);
    if (!spin) (void) doze(e, fd, -1);
    ssize_t r = recv(fd, &spin, 1, MSG_DONTWAIT);
    if (r == 0 || (r > 0 && send(fd, &spin, 1, MSG_NOSIGNAL) < 0)) break;
  }
  _exit(0); /* the kernel closes 10,000 connections faster */
}

void bench_echo_start_at(bench_echo_t *echo, const char *provider, const char *host) {
  echo->provider = provider;
  echo->host = host;
  bench_spawn(&echo->child, BENCH_SERVER_CORE, serve, echo);
  if (recv(echo->child.fd, &echo->port, sizeof(echo->port), 0) != sizeof(echo->port))
    bench_die("the server of %s failed", provider);
}

void bench_echo_start(bench_echo_t *echo, const char *provider) {
  bench_echo_start_at(echo, provider, "127.0.0.1");
}

void bench_echo_spin(bench_echo_t *echo, int spin) {
  char c = (char) spin;
  if (send(echo->child.fd, &c, 1, MSG_NOSIGNAL) != 1 || recv(echo->child.fd, &c, 1, 0) != 1)
    bench_die("the server has died");
}

/* ---- The client ---- */

bench_ends_t *bench_ends_open(const bench_echo_t *echo, const char *provider, unsigned n,
                              unsigned width, unsigned seconds) {
  bench_ends_t *e = begin(provider, echo->host, echo->port, 0);
  uint64_t until = perf_now() + seconds * 1000000000ull;
  while (e->up < n) {
    while (e->n < n && e->n - e->up < width) {
      one_t *o = add(e, e->info);
      must("fi_connect", fi_connect(o->ep, e->info->dest_addr, NULL, 0));
    }
    if (doze(e, -1, 100) == 0 && perf_now() > until)
      bench_die("%u of %u connections opened in %u s", e->up, n, seconds);
    events(e);
  }
  return e;
}

void bench_ends_touch(bench_ends_t *e) {
  static const char text[BENCH_MSG_SIZE];
  uint64_t want = e->received + e->n;
  for (unsigned i = 0; i < e->n; i++) {
    inject(e->one[i]->ep, text);
    while (one_completion(e)) {}
  }
  while (e->received < want)
    if (!one_completion(e) && doze(e, -1, 5000) == 0)
      bench_die("%lu messages did not come back", (unsigned long) (want - e->received));
}

void bench_ends_pingpong(bench_ends_t *e, unsigned i, double seconds, perf_hist_t *rtt) {
  static const char text[BENCH_MSG_SIZE];
  uint64_t start = perf_now(), span = (uint64_t) (seconds * 1e9), now = start;
  for (uint64_t n = 0; now - start < span; n++) {
    uint64_t t0 = now, want = e->received + 1;
    inject(e->one[i]->ep, text);
    for (unsigned idle = 0; e->received < want;)
      if (!one_completion(e) && ++idle % IDLE_TURNS == 0) events(e);
    now = perf_now();
    if (n >= 1000 || now - start > span / 20) perf_hist_add(rtt, now - t0);
  }
}

unsigned bench_ends_idle(bench_ends_t *e, double seconds, int sread) {
  struct fi_cq_msg_entry c;
  uint64_t until = perf_now() + (uint64_t) (seconds * 1e9), now;
  unsigned woke = 0;
  events(e);
  while (one_completion(e)) {}
  while ((now = perf_now()) < until) {
    int ms = (int) ((until - now) / 1000000) + 1;
    if (sread && fi_cq_sread(e->cq, &c, 1, NULL, ms) != -FI_EAGAIN)
      bench_die("fi_cq_sread on an idle connection");
    if (!sread && doze(e, -1, ms) != 0) {
      events(e);
      (void) one_completion(e);
    }
    woke++;
  }
  return woke - 1;
}

void bench_ends_close(bench_ends_t *e) {
  end(e);
}
