/* SPDX-License-Identifier: Apache-2.0 */
/* rma.c - RMA over a simulated path: exposed memory, pieces that land when they like.
 *
 * Design notes
 *  - An operation travels in the queue of frames, so what is sent after it arrives after it. Pieces
 *    of it may land earlier, as a device does; both read the source at that moment.
 *  - A read is a request in the queue of frames, and an answer in the queue that comes back. The
 *    source is looked at some time after the request has come; pieces of the answer may land before
 *    it does. What lands does so until the operation's fate has been reported or its sink is closed,
 *    whatever its end thinks of the path by then.
 *  - Memory that a rail knows stays readable when it is given back. An honest peer reads nothing of
 *    it then: what its owner does with it meanwhile is seen by the hook.
 *  - Closing: until `closed` the device of this end may read its sources, and a peer's may write to
 *    what this end exposes. What has left the device by then may still land at the other end. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rail/sim/internal.h"

static void rop_unref(rop_t *op) {
  if (--op->refs != 0) return;
  if (op->all != NULL) op->all->pall = op->pall;
  *op->pall = op->all;
  free(op->snapshot);
  free(op);
}

static exposure_t *find(end_t *e, uint64_t key) {
  exposure_t *x;

  for (x = e->exposures; x != NULL; x = x->next)
    if (x->key == key && x->what != WEFT__OPEN_SINK) return x;
  return NULL;
}

static bool covers(const exposure_t *x, const rop_t *op) {
  return op->addr >= x->addr && op->addr - x->addr <= x->len &&
         op->len <= x->len - (op->addr - x->addr);
}

static bool memory_ok(end_t *e, const void *p, size_t len, bool write) {
  weft__sim_t *s = sim_of(e);

  if (s->hooks.memory == NULL || s->hooks.memory(s->ctx, e->host, p, len, write)) return true;
  weft__sim_violate(s, "path %u: the device of %c %s %zu bytes that are not its to %s", e->c->id,
                    "ABCD"[e->host], write ? "writes to" : "reads", len, write ? "write" : "read");
  return false;
}

/* The answer to a read, or a piece of it, reaches its sink. */
static void land_answer(rop_t *op, uint64_t off, uint64_t n) {
  uint8_t *to = (uint8_t *) op->iov[0].iov_base + off;

  if (op->sink != NULL && memory_ok(op->from, to, n, true)) memcpy(to, op->snapshot + off, n);
}

/* Bytes off .. off+n of the operation reach the memory at `to`. false: there is none. */
static bool land(end_t *to, rop_t *op, uint64_t off, uint64_t n) {
  exposure_t *x = find(to, op->key);
  uint64_t pos = 0, at;
  unsigned i;

  if (x == NULL || x->what != WEFT__OPEN_WRITE || !covers(x, op)) return false;
  at = op->addr - x->addr;
  if (!memory_ok(to, x->buf + at + off, n, true)) return true;
  if (op->snapshot != NULL) {
    memcpy(x->buf + at + off, op->snapshot + off, n);
    return true;
  }
  for (i = 0; i < op->niov && n > 0; pos += op->iov[i++].iov_len) {
    uint64_t skip = off > pos ? off - pos : 0, take;

    if (skip >= op->iov[i].iov_len) continue;
    take = op->iov[i].iov_len - skip;
    if (take > n) take = n;
    if (!memory_ok(op->from, (uint8_t *) op->iov[i].iov_base + skip, take, false)) return true;
    memcpy(x->buf + at + off, (uint8_t *) op->iov[i].iov_base + skip, take);
    off += take;
    n -= take;
  }
  return true;
}

static bool open_to_writes(const end_t *e) {
  return e->state == END_UP || e->state == END_DOWN || e->state == END_CLOSING;
}

static void piece(void *obj, uint64_t arg) {
  rop_t *op = obj;
  chan_t *c = op->from->c;
  end_t *to = peer_of(op->from);
  uint64_t off = arg % op->len, n = 1 + (arg >> 32) % (op->len - off);

  /* once its fate was reported only a snapshot may be read */
  if (op->queued && (op->rma != NULL || op->snapshot != NULL) && open_to_writes(to))
    land(to, op, off, n);
  rop_unref(op);
  weft__sim_unref(c);
}

static void report(rop_t *op, int status) {
  end_t *e = op->from;
  weft__rma_t *rma = op->rma;
  rop_t **p;

  if (rma == NULL) return;
  op->rma = NULL;
  for (p = &e->rops; *p != op; p = &(*p)->next)
    ;
  *p = op->next;
  e->nrops--;
  sim_trace(sim_of(e), "path %u: %c's %s of %llu bytes ends with %d", e->c->id, "ABCD"[e->host],
            op -> read ? "read" : "write", (unsigned long long) op->len, status);
  weft__sim_mark(sim_of(e), 0x4a + (uint64_t) (unsigned) status);
  e->path.cbs->rma_done(&e->path, rma, status);
  weft__sim_writable(e);
  rop_unref(op);
}

static void done(void *obj, uint64_t arg) {
  rop_t *op = obj;
  end_t *e = op->from;
  chan_t *c = e->c;

  if (e->state == END_UP || e->state == END_DOWN || e->state == END_CLOSING)
    report(op, (int) (int64_t) arg);
  rop_unref(op);
  weft__sim_unref(c);
}

static void plan_done(rop_t *op, uint64_t after, int status) {
  end_t *e = op->from;

  op->refs++;
  e->c->refs++;
  weft__sim_plan(sim_of(e), e->host, sim_of(e)->now + after, done, op, (uint64_t) (int64_t) status);
}

/* Remote access error: both ends lose the path. */
static void access_error(end_t *to, const rop_t *op) {
  end_t *from = op->from;

  if (!from->liar && !to->liar && !to->c->dead && from->state == END_UP)
    weft__sim_violate(sim_of(to), "path %u: a %s by %c %s memory that %c does not expose",
                      to->c->id, op->read ? "read" : "write", "ABCD"[from->host],
                      op -> read ? "of" : "to", "ABCD"[to->host]);
  to->c->dead = true;
  weft__sim_cut_queue(to, 0, 0);
  weft__sim_cut_queue(from, 0, 0);
  weft__sim_doom(to, 0, -EACCES, "a remote access error");
  weft__sim_doom(from, to->c->link->conf.delay, -EACCES, "a remote access error");
}

/* A piece of the answer lands before the answer is through. */
static void answer_piece(void *obj, uint64_t arg) {
  rop_t *op = obj;
  end_t *e = op->from;
  uint64_t off = arg % op->len, n = 1 + (arg >> 32) % (op->len - off);

  if (op->answered && op->rma != NULL && open_to_writes(e)) land_answer(op, off, n);
  rop_unref(op);
  weft__sim_unref(e->c);
}

/* The device at the source looks at it, and answers. */
static void serve(void *obj, uint64_t arg) {
  rop_t *op = obj;
  end_t *from = op->from, *to = peer_of(from);
  weft__sim_t *s = sim_of(to);
  chan_t *c = to->c;
  exposure_t *x = find(to, op->key);

  (void) arg;
  if (!open_to_writes(to) || op->rma == NULL) {
    /* nobody answers */
  } else if (x == NULL || x->what != WEFT__OPEN_READ || !covers(x, op) ||
             (x->given && (from->liar || to->liar))) { /* its owner may have freed it */
    if (to->state == END_UP && !from->cut) access_error(to, op);
  } else { /* whether anybody hears it or not */
    const uint8_t *src = x->buf + (op->addr - x->addr);
    uint64_t due =
        s->now + weft__sim_travel(from, op->len > UINT32_MAX ? UINT32_MAX : (uint32_t) op->len);
    unsigned i;

    op->snapshot = weft__sim_alloc(op->len);
    if (memory_ok(to, src, op->len, false)) memcpy(op->snapshot, src, op->len);
    op->answered = true;
    for (i = (unsigned) weft__rng_below(&s->rng, 4); i > 1; i--) {
      op->refs++;
      c->refs++;
      weft__sim_plan(s, WEFT__SIM_HOSTS, weft__rng_range(&s->rng, s->now, due), answer_piece, op,
                     weft__rng_next(&s->rng));
    }
    op->refs++;
    weft__sim_append(from, &op->answer, due);
  }
  rop_unref(op);
  weft__sim_unref(c);
}

void weft__sim_rop_answer(rop_t *op) {
  end_t *e = op->from;
  weft__sim_t *s = sim_of(e);
  uint64_t after = weft__rng_below(&s->rng, 1000);

  if (op->rma != NULL && open_to_writes(e)) {
    if (e->c->link->conf.read_fails != 0 &&
        weft__rng_one_in(&s->rng, e->c->link->conf.read_fails)) {
      e->c->dead = true;
      plan_done(op, after, -EIO);
      weft__sim_doom(e, after + weft__rng_below(&s->rng, 1000), -EIO, "a read failed");
    } else {
      land_answer(op, 0, op->len);
      plan_done(op, after, 0);
    }
  }
  op->answered = false;
  rop_unref(op);
}

void weft__sim_rop_arrive(end_t *to, rop_t *op) {
  end_t *from = op->from;

  op->queued = false;
  if (!open_to_writes(to)) {
    rop_unref(op);
    return;
  }
  if (op->read) {
    op->refs++;
    to->c->refs++;
    weft__sim_plan(sim_of(to), WEFT__SIM_HOSTS,
                   sim_of(to)->now + weft__rng_below(&sim_of(to)->rng, 20000), serve, op, 0);
    rop_unref(op);
    return;
  }
  if ((op->rma != NULL || op->snapshot != NULL) && !land(to, op, 0, op->len) &&
      to->state == END_UP) {
    access_error(to, op);
  } else if (op->rma != NULL && !from->cut) {
    plan_done(op, weft__sim_travel(from, 16), 0);
  }
  rop_unref(op);
}

void weft__sim_rop_drop(rop_t *op) {
  op->queued = false;
  rop_unref(op);
}

void weft__sim_answer_drop(rop_t *op) {
  op->answered = false;
  rop_unref(op);
}

/* The open sink that it says, or NULL. */
static const exposure_t *sink_of(const end_t *e, const weft__rma_t *rma) {
  const struct iovec *v = &rma->iov[0];
  const exposure_t *x;

  if (rma->sink == NULL || rma->niov != 1) return NULL;
  for (x = e->exposures; x != NULL && x != rma->sink->priv; x = x->next)
    ;
  if (x == NULL || x->what != WEFT__OPEN_SINK || (uint8_t *) v->iov_base < x->buf ||
      (uint8_t *) v->iov_base + v->iov_len > x->buf + x->len)
    return NULL;
  return x;
}

static int post(weft__path_t *p, weft__rma_t *rma, bool read) {
  end_t *e = end_of(p), *peer = peer_of(e);
  weft__sim_t *s = sim_of(e);
  const exposure_t *sink = read ? sink_of(e, rma) : NULL;
  uint64_t len = 0, due;
  rop_t *op;
  unsigned i;

  if (e->state == END_CLOSING || e->state == END_CLOSED || e->state == END_NONE) {
    weft__sim_violate(s, "path %u: %s after close", e->c->id, read ? "read" : "write");
    return -ENOTCONN;
  }
  if (e->state != END_UP || (e->doomed && weft__rng_one_in(&s->rng, 2))) return -ENOTCONN;
  if (p->lim.xfer == WEFT__XFER_COPY || (read && p->lim.xfer != WEFT__XFER_READ))
    weft__sim_violate(s, "path %u: %s on a path that does not", e->c->id, read ? "read" : "write");
  if (read && sink == NULL)
    weft__sim_violate(s, "path %u: a read into what is no open sink", e->c->id);
  if (e->nrops >= p->lim.rma_depth) {
    e->full = true;
    return -EAGAIN;
  }
  for (i = 0; i < rma->niov && i < 4; i++) {
    len += rma->iov[i].iov_len;
    if (!memory_ok(e, rma->iov[i].iov_base, rma->iov[i].iov_len, read)) return -EFAULT;
  }
  if (rma->niov == 0 || rma->niov > 4 || len == 0 || len > p->lim.rma_max) {
    weft__sim_violate(s, "path %u: a %s of %u pieces and %llu bytes", e->c->id,
                      read ? "read" : "write", rma->niov, (unsigned long long) len);
    return -EINVAL;
  }
  op = weft__sim_alloc(sizeof(*op));
  op->all = s->rops;
  op->pall = &s->rops;
  if (s->rops != NULL) s->rops->pall = &op->all;
  s->rops = op;
  op->item.kind = ITEM_RMA;
  op->answer.kind = ITEM_ANSWER;
  op->read = read;
  op->sink = sink;
  op->from = e;
  op->rma = rma;
  memcpy(op->iov, rma->iov, sizeof(op->iov));
  op->niov = rma->niov;
  op->addr = rma->addr;
  op->key = rma->key;
  op->len = len;
  op->refs = 2; /* the queue, the end */
  op->queued = true;
  op->next = e->rops;
  e->rops = op;
  e->nrops++;
  sim_trace(s, "path %u: %c %s %llu bytes%s", e->c->id, "ABCD"[e->host], read ? "reads" : "writes",
            (unsigned long long) len, peer->cut ? "  (lost)" : "");
  weft__sim_mark(s, len);
  if (read) len = 64;
  due = s->now + weft__sim_travel(peer, len > UINT32_MAX ? UINT32_MAX : (uint32_t) len);
  for (i = read ? 0 : (unsigned) weft__rng_below(&s->rng, 4); i > 1; i--) {
    op->refs++;
    e->c->refs++;
    weft__sim_plan(s, WEFT__SIM_HOSTS, weft__rng_range(&s->rng, s->now, due + due - s->now), piece,
                   op, weft__rng_next(&s->rng));
  }
  weft__sim_append(peer, &op->item, due);
  return 0;
}

int weft__sim_write(weft__path_t *p, weft__rma_t *rma) {
  return post(p, rma, false);
}

int weft__sim_read(weft__path_t *p, weft__rma_t *rma) {
  return post(p, rma, true);
}

void weft__sim_rma_flush(end_t *e, int status) {
  weft__sim_t *s = sim_of(e);

  while (e->rops != NULL) {
    rop_t *op = e->rops;

    while (op->next != NULL) /* oldest first */
      op = op->next;
    if (op->queued && weft__rng_one_in(&s->rng, 2)) {
      weft__sim_lose_from(peer_of(e), &op->item);
    } else if (op->queued &&
               !op->read) { /* it has left the device, and may land when its source is gone */
      uint64_t pos = 0;
      unsigned i;

      op->snapshot = weft__sim_alloc(op->len);
      for (i = 0; i < op->niov; pos += op->iov[i++].iov_len)
        if (memory_ok(e, op->iov[i].iov_base, op->iov[i].iov_len, false))
          memcpy(op->snapshot + pos, op->iov[i].iov_base, op->iov[i].iov_len);
    }
    report(op, status);
  }
}

void weft__sim_rma_forget(weft__sim_t *s) {
  while (s->rops != NULL) {
    s->rops->refs = 1; /* queues and events are gone */
    rop_unref(s->rops);
  }
}

void weft__sim_unexpose_known(end_t *e) {
  exposure_t **q = &e->exposures, *x;

  while ((x = *q) != NULL) {
    if (x->given) {
      *q = x->next;
      free(x);
    } else {
      q = &x->next;
    }
  }
}

void weft__sim_unexpose_all(end_t *e) {
  while (e->exposures != NULL) {
    exposure_t *x = e->exposures;
    e->exposures = x->next;
    free(x);
  }
}

int weft__sim_expose(weft__path_t *p, void *buf, size_t len, weft__open_t what, weft__mr_t *mr) {
  end_t *e = end_of(p);
  weft__sim_t *s = sim_of(e);
  exposure_t *x;

  if (e->state == END_CLOSING || e->state == END_CLOSED || e->state == END_NONE) {
    weft__sim_violate(s, "path %u: expose after close", e->c->id);
    return -ENOTCONN;
  }
  if (p->lim.xfer == WEFT__XFER_COPY ||
      (what != WEFT__OPEN_WRITE && p->lim.xfer != WEFT__XFER_READ)) {
    weft__sim_violate(s, "path %u: expose (%d) on a path that cannot use it", e->c->id, what);
    return -EOPNOTSUPP;
  }
  if (len == 0 || len > p->lim.rma_max) {
    weft__sim_violate(s, "path %u: expose of %zu bytes, the limit is %u", e->c->id, len,
                      p->lim.rma_max);
    return -EINVAL;
  }
  if (!memory_ok(e, buf, len, what != WEFT__OPEN_READ)) return -EFAULT;
  if (e->c->link->conf.expose_fails != 0 &&
      weft__rng_one_in(&s->rng, e->c->link->conf.expose_fails))
    return -ENOMEM;
  x = weft__sim_alloc(sizeof(*x));
  x->buf = buf;
  x->len = len;
  x->what = what;
  x->known = what == WEFT__OPEN_READ && e->c->link->conf.reads_known != 0 &&
             weft__rng_one_in(&s->rng, e->c->link->conf.reads_known);
  x->addr = weft__rng_next(&s->rng) >> 1;
  x->key = weft__rng_next(&s->rng);
  x->next = e->exposures;
  e->exposures = x;
  mr->addr = x->addr;
  mr->key = what == WEFT__OPEN_SINK ? 0 : x->key;
  mr->priv = x;
  return 0;
}

static bool overlaps(const void *a, size_t alen, const void *b, size_t blen) {
  return (const uint8_t *) a < (const uint8_t *) b + blen &&
         (const uint8_t *) b < (const uint8_t *) a + alen;
}

int weft__sim_unexpose(weft__path_t *p, weft__mr_t *mr) {
  end_t *e = end_of(p);
  weft__sim_t *s = sim_of(e);
  exposure_t **q, *x;
  rop_t *op;
  bool used = false;

  for (q = &e->exposures; *q != NULL && *q != mr->priv; q = &(*q)->next)
    ;
  x = *q;
  if (e->state == END_CLOSED || x == NULL) {
    weft__sim_violate(s, "path %u: unexpose of what is not exposed", e->c->id);
    return -EINVAL;
  }
  for (op = e->rops; op != NULL; op = op->next) used |= op->sink == x;
  if (used && e->state != END_DOWN && e->state != END_CLOSING)
    weft__sim_violate(s, "path %u: unexpose of a sink with a read under way", e->c->id);
  if (used && e->c->link->conf.sinks_stick != 0 &&
      weft__rng_one_in(&s->rng, e->c->link->conf.sinks_stick))
    return -EIO;
  for (op = e->rops; op != NULL; op = op->next)
    if (op->sink == x) op->sink = NULL;
  mr->priv = NULL;
  if (x->known) {
    x->given = true;
    return 0;
  }
  *q = x->next;
  free(x);
  return 0;
}

/* By the peer, as `what` says; or by an operation of this end's own, a read or not. */
static bool in_use(const weft__sim_t *s, unsigned host, const void *p, size_t len,
                   weft__open_t what, bool read) {
  const exposure_t *x;
  const chan_t *c;
  const rop_t *op;
  unsigned i, k, v;

  for (i = 0; i < s->nlinks; i++)
    for (c = s->links[i].chans; c != NULL; c = c->next)
      for (k = 0; k < 2; k++) {
        if (c->e[k].host != host) continue;
        for (x = c->e[k].exposures; x != NULL; x = x->next)
          if (x->what == what && !x->given && overlaps(p, len, x->buf, x->len)) return true;
        for (op = c->e[k].rops; op != NULL; op = op->next)
          for (v = 0; op->read == read && (!read || op->sink != NULL) && v < op->niov; v++)
            if (overlaps(p, len, op->iov[v].iov_base, op->iov[v].iov_len)) return true;
      }
  return false;
}

bool weft__sim_exposed(const weft__sim_t *s, unsigned host, const void *p, size_t len) {
  return in_use(s, host, p, len, WEFT__OPEN_WRITE, true);
}

bool weft__sim_reading(const weft__sim_t *s, unsigned host, const void *p, size_t len) {
  return in_use(s, host, p, len, WEFT__OPEN_READ, false);
}
