/* SPDX-License-Identifier: Apache-2.0 */
/* weft_perf_floor_fi.c - the floor of raw libfabric: FI_EP_MSG endpoints, as Weft itself uses.
 *
 * Design notes
 * - One queue for both directions and `window` posted receives, each posted again before its
 *   message is answered, so that the endpoint never runs out of receives (the tcp provider of 1.17
 *   would spin).
 * - fi_inject where the message fits: a send without a completion to wait for.
 * - The client ends a stream with a message of END_SIZE bytes, which holds the count; the server
 *   answers with its own. */
#include "weft_perf_floor.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>

#define END_SIZE   8
#define IDLE_TURNS 4096 /* empty reads of the queue between two looks at the event queue */

struct perf_fi_s {
  perf_floor_spec_t spec;
  struct fi_info *info;
  struct fid_fabric *fabric;
  struct fid_domain *domain;
  struct fid_eq *eq;
  struct fid_cq *cq;
  struct fid_pep *pep;
  struct fid_ep *ep;
  struct fid_mr *mr;
  void *desc;
  int fd;              /* of the queue, -1 when it has none */
  perf_limit_t *limit; /* the server's patience, NULL at the client */
  char *rx, *tx;       /* window receive buffers, window send buffers */
  size_t slot;
  struct fi_context *ctx; /* window receives, then window sends */
  uint32_t idle;          /* empty reads of the queue */
};

static int fail(const char *what, ssize_t rc) {
  fprintf(stderr, "floor, libfabric: %s: %s\n", what, fi_strerror((int) -rc));
  return rc < 0 ? (int) rc : -EIO;
}

static void fi_free(struct perf_fi_s *s) {
  struct fid *fids[] = {s->ep ? &s->ep->fid : NULL,        s->pep ? &s->pep->fid : NULL,
                        s->mr ? &s->mr->fid : NULL,        s->cq ? &s->cq->fid : NULL,
                        s->eq ? &s->eq->fid : NULL,        s->domain ? &s->domain->fid : NULL,
                        s->fabric ? &s->fabric->fid : NULL};
  for (unsigned i = 0; i < sizeof(fids) / sizeof(fids[0]); i++)
    if (fids[i]) fi_close(fids[i]);
  if (s->info) fi_freeinfo(s->info);
  free(s->rx);
  free(s->ctx);
  free(s);
}

/* The info for the address, then fabric and event queue. */
static int fi_begin(const perf_floor_spec_t *spec, uint64_t flags, struct perf_fi_s **out) {
  struct perf_fi_s *s = calloc(1, sizeof(*s));
  struct fi_info *hints = fi_allocinfo();
  char port[8];
  if (!s || !hints) {
    free(s);
    return -ENOMEM;
  }
  s->spec = *spec;
  s->fd = -1;
  snprintf(port, sizeof(port), "%u", spec->port);
  hints->ep_attr->type = FI_EP_MSG;
  hints->caps = FI_MSG;
  hints->mode = FI_CONTEXT | FI_RX_CQ_DATA;
  hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_ALLOCATED | FI_MR_VIRT_ADDR | FI_MR_PROV_KEY;
  hints->fabric_attr->prov_name = strdup(spec->provider);
  int rc = fi_getinfo(FI_VERSION(1, 17), spec->host, port, flags, hints, &s->info);
  fi_freeinfo(hints);
  if (rc) {
    fi_free(s);
    return fail("fi_getinfo", rc);
  }
  struct fi_eq_attr eq = {.wait_obj = FI_WAIT_UNSPEC};
  if ((rc = fi_fabric(s->info->fabric_attr, &s->fabric, NULL)) ||
      (rc = fi_eq_open(s->fabric, &eq, &s->eq, NULL))) {
    fi_free(s);
    return fail("fi_fabric", rc);
  }
  *out = s;
  return 0;
}

static int post_recv(struct perf_fi_s *s, unsigned i) {
  ssize_t rc = fi_recv(s->ep, s->rx + i * s->slot, s->slot, s->desc, 0, &s->ctx[i]);
  return rc ? fail("fi_recv", rc) : 0;
}

/* The endpoint with its queue, memory and posted receives. */
static int open_ep(struct perf_fi_s *s, struct fi_info *info) {
  unsigned window = s->spec.window;
  size_t slot = (s->spec.size + 63) & ~(size_t) 63, total = 2 * window * slot;
  s->slot = slot;
  s->rx = aligned_alloc(4096, (total + 4095) & ~(size_t) 4095);
  s->ctx = calloc(2 * window, sizeof(*s->ctx));
  if (!s->rx || !s->ctx) return -ENOMEM;
  memset(s->rx, 1, total);
  s->tx = s->rx + window * slot;
  struct fi_cq_attr cq = {.format = FI_CQ_FORMAT_MSG,
                          .size = 2 * window + 64,
                          .wait_obj = s->spec.wait == PERF_FLOOR_SPIN ? FI_WAIT_NONE : FI_WAIT_FD};
  int rc;
  if ((rc = fi_domain(s->fabric, info, &s->domain, NULL))) return fail("fi_domain", rc);
  if ((rc = fi_cq_open(s->domain, &cq, &s->cq, NULL))) return fail("fi_cq_open", rc);
  if (cq.wait_obj == FI_WAIT_FD && (rc = fi_control(&s->cq->fid, FI_GETWAIT, &s->fd)))
    return fail("FI_GETWAIT", rc);
  if (info->domain_attr->mr_mode & FI_MR_LOCAL) {
    rc = fi_mr_reg(s->domain, s->rx, total, FI_SEND | FI_RECV, 0, 1, 0, &s->mr, NULL);
    if (rc) return fail("fi_mr_reg", rc);
    s->desc = fi_mr_desc(s->mr);
  }
  if ((rc = fi_endpoint(s->domain, info, &s->ep, NULL)) ||
      (rc = fi_ep_bind(s->ep, &s->eq->fid, 0)) ||
      (rc = fi_ep_bind(s->ep, &s->cq->fid, FI_TRANSMIT | FI_RECV)) || (rc = fi_enable(s->ep)))
    return fail("fi_endpoint", rc);
  for (unsigned i = 0; i < window && !rc; i++) rc = post_recv(s, i);
  return rc;
}

/* Wait for one event of the connection manager. */
static int cm_event(struct perf_fi_s *s, uint32_t want, struct fi_info **info) {
  struct fi_eq_cm_entry entry;
  uint32_t event = 0;
  ssize_t rc;
  perf_limit_t limit = {.stop = s->limit ? s->limit->stop : NULL};
  perf_limit_set(&limit, PERF_FLOOR_GRACE_S);
  do rc = fi_eq_sread(s->eq, &event, &entry, sizeof(entry), 100, 0);
  while ((rc == -FI_EAGAIN || rc == -FI_EINTR) && !perf_limit_over(&limit));
  if (rc == -FI_EAVAIL) {
    struct fi_eq_err_entry err = {0};
    fi_eq_readerr(s->eq, &err, 0);
    return fail("connecting", -err.err);
  }
  if (rc < 0 && limit.stop && *limit.stop) return -ECANCELED;
  if (rc < 0) return fail("waiting for the peer", rc);
  if (event != want) return fail("unexpected event", -FI_ECONNABORTED);
  if (info) *info = entry.info;
  return 0;
}

static int fi_dial(const perf_floor_spec_t *spec, struct perf_fi_s **out) {
  struct perf_fi_s *s;
  int rc = fi_begin(spec, 0, &s);
  if (rc) return rc;
  if ((rc = open_ep(s, s->info)) == 0) {
    rc = fi_connect(s->ep, s->info->dest_addr, NULL, 0);
    rc = rc ? fail("fi_connect", rc) : cm_event(s, FI_CONNECTED, NULL);
  }
  if (rc)
    fi_free(s);
  else
    *out = s;
  return rc;
}

/* Whether the peer has gone without a completion that says so: verbs tells only here, and soft RoCE
 * does not flush the receives. Now and then, for it is a system call. */
static int gone(struct perf_fi_s *s) {
  struct fi_eq_cm_entry entry;
  uint32_t event = 0;
  if (++s->idle % IDLE_TURNS != 0) return 0;
  ssize_t rc = fi_eq_read(s->eq, &event, &entry, sizeof(entry), 0);
  return (rc > 0 && event == FI_SHUTDOWN) || rc == -FI_EAVAIL;
}

/* The next completion. 1; 0 when the peer has gone; a negative errno. */
static int next(struct perf_fi_s *s, struct fi_cq_msg_entry *e) {
  for (;;) {
    int over = perf_limit_over(s->limit);
    if (over) return over;
    ssize_t rc = s->spec.wait == PERF_FLOOR_SREAD
                     ? fi_cq_sread(s->cq, e, 1, NULL, s->limit ? PERF_SLICE_MS : -1)
                     : fi_cq_read(s->cq, e, 1);
    if (rc == 1) return 1;
    if (rc == -FI_EAVAIL) {
      struct fi_cq_err_entry err = {0};
      fi_cq_readerr(s->cq, &err, 0);
      return err.err == FI_ECANCELED || err.err == FI_ENOTCONN ? 0 : fail("completion", -err.err);
    }
    if (rc != -FI_EAGAIN) return fail("fi_cq_read", rc);
    if (gone(s)) return 0;
    struct fid *fids[] = {&s->cq->fid};
    if (s->spec.wait == PERF_FLOOR_SLEEP && fi_trywait(s->fabric, fids, 1) == FI_SUCCESS) {
      struct pollfd p = {.fd = s->fd, .events = POLLIN};
      poll(&p, 1, s->limit ? PERF_SLICE_MS : -1);
    }
  }
}

/* Send buffer i. The completion, where there is one, carries ctx[window + i]. */
static int put(struct perf_fi_s *s, unsigned i, size_t size, int *completes) {
  ssize_t rc;
  int over;
  void *buf = s->tx + i * s->slot;
  *completes = size > s->info->tx_attr->inject_size;
  do {
    if ((over = perf_limit_over(s->limit))) return over;
    rc = *completes ? fi_send(s->ep, buf, size, s->desc, 0, &s->ctx[s->spec.window + i])
                    : fi_inject(s->ep, buf, size, 0);
  } while (rc == -FI_EAGAIN);
  return rc ? fail("fi_send", rc) : 0;
}

/* One message there, waiting for its receipt and, if any, for the send's own completion. 1, 0 or
 * -errno. */
static int exchange(struct perf_fi_s *s, size_t size) {
  struct fi_cq_msg_entry e;
  int pending, got = 0, rc = put(s, 0, size, &pending);
  while (!rc && !(got && !pending)) {
    if ((rc = next(s, &e)) != 1) return rc;
    rc = 0;
    if (e.flags & FI_RECV) {
      rc = post_recv(s, (unsigned) ((struct fi_context *) e.op_context - s->ctx));
      got = 1;
    } else {
      pending = 0;
    }
  }
  return rc ? rc : 1;
}

static int serve_pingpong(struct perf_fi_s *s) {
  struct fi_cq_msg_entry e;
  int rc, completes;
  while ((rc = next(s, &e)) == 1) {
    if (!(e.flags & FI_RECV)) continue;
    if ((rc = post_recv(s, (unsigned) ((struct fi_context *) e.op_context - s->ctx))) ||
        (rc = put(s, 0, s->spec.size, &completes)))
      return rc;
  }
  return rc;
}

static int serve_stream(struct perf_fi_s *s) {
  struct fi_cq_msg_entry e;
  uint64_t count = 0, said;
  int rc, completes;
  while ((rc = next(s, &e)) == 1) {
    if (!(e.flags & FI_RECV)) continue;
    unsigned i = (unsigned) ((struct fi_context *) e.op_context - s->ctx);
    if (e.len == END_SIZE) {
      memcpy(&said, s->rx + i * s->slot, END_SIZE);
      if (said != count) {
        fprintf(stderr, "floor, libfabric: %lu messages sent, %lu received\n", (unsigned long) said,
                (unsigned long) count);
        return -EIO;
      }
      memcpy(s->tx, &count, END_SIZE);
      if ((rc = put(s, 0, END_SIZE, &completes))) return rc;
    } else {
      count++;
    }
    if ((rc = post_recv(s, i))) return rc;
  }
  return rc;
}

int perf_fi_listen(const perf_floor_spec_t *spec, perf_fi_t **out, uint16_t *port) {
  struct perf_fi_s *s;
  int rc = fi_begin(spec, FI_SOURCE, &s);
  if (rc) return rc;
  uint8_t addr[128];
  size_t len = sizeof(addr);
  if ((rc = fi_passive_ep(s->fabric, s->info, &s->pep, NULL)) ||
      (rc = fi_pep_bind(s->pep, &s->eq->fid, 0)) || (rc = fi_listen(s->pep)) ||
      (rc = fi_getname(&s->pep->fid, addr, &len))) {
    rc = fail("fi_listen", rc);
    fi_free(s);
    return rc;
  }
  *port = (uint16_t) (addr[2] << 8 | addr[3]); /* the same place in sockaddr_in and sockaddr_in6 */
  *out = s;
  return 0;
}

int perf_fi_serve(struct perf_fi_s *s, perf_limit_t *limit) {
  struct fi_info *info = NULL;
  s->limit = limit;
  int rc = cm_event(s, FI_CONNREQ, &info);
  if (!rc && !(rc = open_ep(s, info))) {
    rc = fi_accept(s->ep, NULL, 0);
    rc = rc ? fail("fi_accept", rc) : cm_event(s, FI_CONNECTED, NULL);
  }
  if (!rc) {
    perf_limit_set(limit, s->spec.seconds + PERF_FLOOR_GRACE_S);
    rc = s->spec.shape == PERF_FLOOR_PINGPONG ? serve_pingpong(s) : serve_stream(s);
    if (rc == -ETIMEDOUT) fprintf(stderr, "floor, libfabric: the client's time is over\n");
  }
  if (info) fi_freeinfo(info);
  fi_free(s);
  return rc;
}

int perf_fi_pingpong(const perf_floor_spec_t *spec, perf_hist_t *rtt) {
  struct perf_fi_s *s;
  int rc = fi_dial(spec, &s);
  if (rc) return rc;
  uint64_t start = perf_now(), span = (uint64_t) (spec->seconds * 1e9), now = start;
  for (uint64_t n = 0; now - start < span; n++) {
    uint64_t t0 = now;
    if ((rc = exchange(s, spec->size)) != 1) {
      rc = rc ? rc : -ECONNRESET;
      break;
    }
    now = perf_now();
    if (n >= 1000 || now - start > span / 20) perf_hist_add(rtt, now - t0);
  }
  fi_shutdown(s->ep, 0);
  fi_free(s);
  return rc < 0 ? rc : 0;
}

/* Messages that fi_inject takes complete at once and fill no window: a full window is then the
 * provider's queue, so every one of these is sent with fi_send instead. */
int perf_fi_stream(const perf_floor_spec_t *spec, perf_rate_t *out) {
  struct perf_fi_s *s;
  int rc = fi_dial(spec, &s);
  if (rc) return rc;
  struct fi_cq_msg_entry e;
  unsigned window = spec->window, flying = 0, slot = 0;
  uint64_t start = perf_now(), span = (uint64_t) (spec->seconds * 1e9), n = 0;
  rc = 1;
  while (rc == 1) {
    if (flying < window) {
      if (perf_now() - start >= span) break;
      ssize_t r =
          fi_send(s->ep, s->tx + slot * s->slot, spec->size, s->desc, 0, &s->ctx[window + slot]);
      if (r == 0) {
        n++;
        flying++;
        slot = (slot + 1) % window;
        continue;
      }
      if (r != -FI_EAGAIN) rc = fail("fi_send", r);
    }
    if (rc == 1 && (rc = next(s, &e)) == 1) flying--;
  }
  while (rc == 1 && flying > 0)
    if ((rc = next(s, &e)) == 1) flying--;
  if (rc == 1) {
    memcpy(s->tx, &n, END_SIZE);
    rc = exchange(s, END_SIZE);
  }
  out->ns = perf_now() - start;
  out->messages = n;
  out->bytes = n * spec->size;
  fi_shutdown(s->ep, 0);
  fi_free(s);
  return rc == 1 ? 0 : rc ? rc : -ECONNRESET;
}
