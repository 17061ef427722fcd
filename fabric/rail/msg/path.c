/* SPDX-License-Identifier: Apache-2.0 */
/* path.c - a path: its buffers, its frames, its death and its end.
 *
 * Design notes
 *  - The transmit ring [tx_tail, tx_post, tx_head) keeps the order whatever happens: frames from
 *    tx_post on are held back, because the accept is not through yet or the provider is full, and
 *    nothing overtakes them.
 *  - A completion is asked for about every fourth of the ring, sooner when much memory waits for
 *    it, and always when the owner would be left without a buffer. Completions are ordered: one
 *    releases all frames before it. On tcp each reported completion costs two system calls, so most
 *    frames have none.
 *  - Receives keep their index in p->rx: what the provider owes at the end is known even when it
 *    forgets a flush.
 *  - Frames may come before the event that the path is up, where another thread has the event queue: they
 *    stay where they are, in the first rx_early receives (none is posted again before the path is up,
 *    and they complete in the order of posting), and follow the event.
 *  - Death: anything may call weft__mpath_die. The report waits until the path's completion queue
 *    was read empty, so that frames which arrived before the death are delivered before it.
 *  - End: shutdown, close the endpoint (on the worker where that blocks), read the queue empty,
 *    then report. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "internal.h"

#define STUCK_NS 5000000000u /* a provider that takes nothing for so long will not any more */

static weft__buf_t *of_tbuf(weft__tbuf_t *t) {
  return (weft__buf_t *) ((char *) t - offsetof(weft__buf_t, t));
}

static bool alive(const weft__mpath_t *p) {
  return !p->dying && !p->ended && p->closing == CLOSE_NO;
}

void weft__mpath_todo(weft__mpath_t *p) {
  weft__rail_t *rail = p->p.rail;

  if (p->on_todo) return;
  p->on_todo = true;
  p->todo_next = NULL;
  *rail->todo_tail = p;
  rail->todo_tail = &p->todo_next;
}

void weft__mpath_die(weft__mpath_t *p, int err, bool weak, const char *fmt, ...) {
  va_list ap;
  int n;

  if (p->ended || p->closing != CLOSE_NO || (p->dying && (weak || !p->err_weak))) return;
  p->dying = true;
  p->err = err;
  p->err_weak = weak;
  n = snprintf(p->why, sizeof(p->why), "%s: ", p->p.rail->name);
  va_start(ap, fmt);
  vsnprintf(p->why + n, sizeof(p->why) - (size_t) n, fmt, ap);
  va_end(ap);
  if (p->shard != NULL) p->shard->must = true;
  weft__mpath_todo(p);
}

/* ---- Sending ---- */

bool weft__mpath_refused(weft__mpath_t *p, const char *what) {
  if (!p->p.rail->q->post_lies) return false;
  p->shard->spoilt = true;
  /* The event queue may know why. */
  weft__mpath_die(p, -EIO, true, "%s %s: refused by the device", what, p->p.remote);
  return true;
}

static void tx_free(weft__mpath_t *p, weft__buf_t *b) {
  if (p->tx_bufs-- > 2)
    weft__pool_put_extra(p->p.rail->pool, b);
  else
    weft__pool_put(p->p.rail->pool, b);
}

static void wake(weft__mpath_t *p) {
  if (__builtin_expect(p->want, 0)) weft__mpath_todo(p);
}

static weft__tbuf_t *tx_get(weft__path_t *path) {
  weft__mpath_t *p = weft__mpath(path);
  weft__pool_t *pool = path->rail->pool;
  weft__buf_t *b = NULL;

  if (!alive(p)) return NULL;
  if (p->tx_head - p->tx_tail + p->tx_given < path->lim.tx_depth) {
    if (p->tx_bufs < 2) {
      b = weft__pool_get(pool, WEFT__POOL_TX);
    } else {
      b = weft__pool_get_extra(pool, false);
      if (b == NULL && p->tx_unsignaled != 0 && !p->tx_force) {
        /* No completion is on its way that would wake the owner: one more, whose completion is
         * asked for. */
        b = weft__pool_get_extra(pool, true);
        p->tx_force = b != NULL;
      }
    }
  }
  if (__builtin_expect(b == NULL, 0)) {
    p->want = true;
    if (p->tx_bufs == 0)
      weft__mpath_todo(p); /* nothing of ours will wake it: look again at every drain */
    return NULL;
  }
  p->tx_given++;
  p->tx_bufs++;
  return &b->t;
}

static void tx_put(weft__path_t *path, weft__tbuf_t *t) {
  weft__mpath_t *p = weft__mpath(path);

  p->tx_given--;
  tx_free(p, of_tbuf(t));
  wake(p);
}

/* Hand the frame at tx_post to the provider. 0, -EAGAIN (held), or the path is dying. */
static int tx_post(weft__mpath_t *p) {
  weft__rail_t *rail = p->p.rail;
  weft__txslot_t *s = &p->tx[p->tx_post & p->tx_mask];
  uint32_t limit = p->p.lim.tx_depth;
  struct iovec iov = {.iov_base = s->buf->r.data, .iov_len = s->len};
  struct fi_msg msg = {.msg_iov = &iov, .desc = &s->buf->desc, .iov_count = 1, .context = &s->ctx};
  bool small = s->len <= rail->plan.inject;
  bool signal = rail->q->signal_all || p->tx_force || (p->tx_unsignaled + 1) * 4 >= limit ||
                p->tx_unsignaled_bytes + (small ? 0 : s->len) >= UNSIGNALED_BYTES ||
                p->tx_head - p->tx_tail + p->tx_given >= limit;
  uint64_t flags = (small ? FI_INJECT : 0) | (signal ? FI_COMPLETION : 0);
  ssize_t r = WEFT__FAULT(post_send);
  char text[96];

  s->ctx.path = p;
  s->ctx.kind = CTX_TX;
  s->ctx.idx = p->tx_post;
  if (r == 0) r = fi_sendmsg(p->ep, &msg, flags);
  if (__builtin_expect(r != 0, 0)) {
    if (weft__mpath_refused(p, "send to")) return -EIO;
    if (r == -FI_EAGAIN) {
      if (p->stuck_ns == 0) {
        p->stuck_ns = *rail->env->now_ns;
      } else if (*rail->env->now_ns - p->stuck_ns > STUCK_NS) {
        weft__mpath_die(p, -EIO, false, "send to %s: the provider took nothing for 5 s",
                        p->p.remote);
        return -EIO;
      }
      weft__mpath_todo(p);
      return -EAGAIN;
    }
    weft__mpath_failed(p, "send to", weft__fi_err(r),
                       weft__err_str(weft__fi_err(r), text, sizeof(text)));
    return weft__fi_err(r);
  }
  p->stuck_ns = 0;
  p->tx_post++;
  if (signal) {
    p->tx_unsignaled = p->tx_unsignaled_bytes = 0;
    p->tx_force = false;
  } else {
    p->tx_unsignaled++;
    if (!small) p->tx_unsignaled_bytes += s->len;
  }
  if (small) {
    tx_free(p, s->buf);
    s->buf = NULL;
  }
  return 0;
}

static void tx_flush(weft__mpath_t *p) {
  if (p->state != ST_UP || !alive(p)) return;
  while (p->tx_post != p->tx_head && tx_post(p) == 0)
    ;
  weft__shard_touch(p->shard);
}

static int send_frame(weft__path_t *path, weft__tbuf_t *t, uint32_t len) {
  weft__mpath_t *p = weft__mpath(path);
  weft__buf_t *b = of_tbuf(t);
  weft__txslot_t *s;
  int err;

  p->tx_given--;
  if (__builtin_expect(!alive(p) || len == 0 || len > path->lim.frame_max, 0)) {
    tx_free(p, b);
    return alive(p) ? -EMSGSIZE : -ENOTCONN;
  }
  s = &p->tx[p->tx_head & p->tx_mask];
  s->buf = b;
  s->len = len;
  p->tx_head++;
  if (p->state != ST_UP || p->tx_post + 1 != p->tx_head) return 0;
  err = tx_post(p);
  weft__shard_touch(p->shard);
  return err == -EAGAIN ? 0 : err;
}

/* All frames before `seq` have left. */
static void tx_done(weft__mpath_t *p, uint32_t seq) {
  while ((int32_t) (seq - p->tx_tail) > 0) {
    weft__txslot_t *s = &p->tx[p->tx_tail++ & p->tx_mask];
    if (s->buf != NULL) {
      tx_free(p, s->buf);
      s->buf = NULL;
    }
  }
  wake(p);
}

/* ---- Receiving ---- */

/* Post a receive at index i: `b`, or a fresh buffer. */
static void rx_post(weft__mpath_t *p, uint32_t i, weft__buf_t *b) {
  weft__rail_t *rail = p->p.rail;
  weft__ctx_t *ctx;
  ssize_t r;
  char text[96];

  if (b == NULL) b = weft__pool_get(rail->pool, WEFT__POOL_RX);
  if (__builtin_expect(b == NULL, 0)) {
    p->rx[i] = NULL;
    weft__mpath_todo(p); /* look again at every drain */
    return;
  }
  ctx = (weft__ctx_t *) b->ctx;
  ctx->path = p;
  ctx->kind = CTX_RX;
  ctx->idx = i;
  r = WEFT__FAULT(post_recv);
  if (r == 0) r = fi_recv(p->ep, b->r.data, WEFT__FRAME_MAX, b->desc, FI_ADDR_UNSPEC, ctx);
  if (__builtin_expect(r != 0, 0)) {
    weft__pool_put(rail->pool, b);
    p->rx[i] = NULL;
    if (r == -FI_EAGAIN)
      weft__mpath_todo(p);
    else
      weft__mpath_die(p, weft__fi_err(r), false, "cannot post a receive for %s: %s", p->p.remote,
                      weft__err_str(weft__fi_err(r), text, sizeof(text)));
    return;
  }
  p->rx[i] = b;
  p->rx_posted++;
}

static void rx_refill(weft__mpath_t *p) {
  uint32_t i;

  if (p->rx_posted == p->p.lim.rx_depth || p->ep == NULL || p->state == ST_OPENING || !alive(p))
    return;
  for (i = 0; i < p->p.lim.rx_depth && alive(p); i++)
    if (p->rx[i] == NULL) rx_post(p, i, NULL);
  if (alive(p) && p->rx_posted + p->rx_early == 0)
    weft__mpath_die(p, -ENOBUFS, false, "no buffer for receives from %s", p->p.remote);
}

/* The frame in receive i goes to the owner, who may keep its buffer. */
static void rx_deliver(weft__mpath_t *p, uint32_t i) {
  weft__rail_t *rail = p->p.rail;
  weft__buf_t *b = p->rx[i];

  p->rx[i] = NULL;
  if (p->state == ST_UP && !p->ended && p->closing == CLOSE_NO) {
    b->r.refs = 1;
    p->in_frame = true;
    p->heard_ns = *rail->env->now_ns;
    p->p.cbs->frame(&p->p, &b->r);
    p->in_frame = false;
    if (__atomic_load_n(&b->r.refs, __ATOMIC_ACQUIRE) != 1) {
      weft__pool_lend(rail->pool, b);
      b = NULL;
    }
  }
  if (alive(p) && p->state != ST_DOWN)
    rx_post(p, i, b);
  else if (b != NULL)
    weft__pool_put(rail->pool, b);
}

static void rx_done(weft__mpath_t *p, uint32_t i, size_t len) {
  p->rx[i]->r.len = (uint32_t) len;
  p->rx_posted--;
  if (__builtin_expect(p->state != ST_UP, 0)) {
    if (p->state == ST_ACCEPTING && p->closing == CLOSE_NO)
      weft__mpath_up(p); /* who sends has seen our accept */
    else if (p->state == ST_CONNECTING && p->closing == CLOSE_NO)
      weft__eq_drain(weft__mpath_eq(p)); /* the event is there, and comes first */
    if (p->state == ST_CONNECTING && alive(p)) {
      p->rx_early++; /* another thread has the event */
      return;
    }
  }
  rx_deliver(p, i);
}

/* ---- Completions ---- */

void weft__cq_done(weft__ctx_t *ctx, size_t len) {
  weft__mpath_t *p = ctx->path;

  switch (ctx->kind) {
  case CTX_RX: rx_done(p, ctx->idx, len); break;
  case CTX_TX: tx_done(p, ctx->idx + 1); break;
  case CTX_RMA:
    tx_done(p, p->rma[ctx->idx].tx_post);
    weft__rma_finish(&p->rma[ctx->idx], 0);
    break;
  default: break;
  }
}

/* `err` negative. The operation's buffer is ours again; the path is as good as dead. */
void weft__cq_failed(weft__ctx_t *ctx, int err, const char *text) {
  weft__mpath_t *p = ctx->path;
  const char *what = "";

  switch (ctx->kind) {
  case CTX_RX:
    what = "receive from";
    if (p->rx[ctx->idx] != NULL) {
      weft__pool_put(p->p.rail->pool, p->rx[ctx->idx]);
      p->rx[ctx->idx] = NULL;
      p->rx_posted--;
    }
    break;
  case CTX_TX: {
    weft__txslot_t *s = &p->tx[ctx->idx & p->tx_mask];
    what = "send to";
    if (s->buf != NULL) {
      tx_free(p, s->buf);
      s->buf = NULL;
    }
    break;
  }
  case CTX_RMA:
    what = p->rma[ctx->idx].read ? "read from" : "write to";
    weft__rma_finish(&p->rma[ctx->idx], err);
    break;
  default: break;
  }
  /* While connecting the event queue tells why; flushed operations know nothing. */
  if (p->state == ST_CONNECTING || p->state == ST_OPENING) return;
  weft__mpath_failed(p, what, err, text);
}

void weft__mpath_failed(weft__mpath_t *p, const char *what, int err, const char *text) {
  if (err == -ECANCELED)
    weft__mpath_die(p, -ECONNRESET, true, "connection with %s broke: operations were flushed",
                    p->p.remote);
  else if (err == -ENOTCONN || err == -EPIPE || err == -ECONNRESET)
    weft__mpath_die(p, -ECONNRESET, false, "%s %s: the peer closed the connection (ECONNRESET)",
                    what, p->p.remote);
  else /* the event queue may know that the peer has gone: soft iWARP reports what was leaving as EIO */
    weft__mpath_die(p, err, err == -EIO && p->p.rail->q->rdma, "%s %s: %s", what, p->p.remote,
                    text);
}

/* ---- Birth ---- */

static void close_path(weft__path_t *);

static const weft__path_ops_t ops = {
    .tx_get = tx_get,
    .send = send_frame,
    .tx_put = tx_put,
    .write = weft__mpath_write,
    .read = weft__mpath_read,
    .expose = weft__mpath_expose,
    .unexpose = weft__mpath_unexpose,
    .close = close_path,
};

int weft__mpath_new(weft__rail_t *rail, const weft__path_cbs_t *cbs, void *user,
                    weft__mpath_t **out) {
  uint32_t ring = 1, depth = rail->plan.rx_depth, spare = weft__pool_spare(rail->pool);
  weft__mpath_t *p;

  /* As the pool fills up, paths get fewer receives, so that more of them fit. */
  if (depth > spare / 16) depth = spare / 16 > WEFT__FIRST_GRANT ? spare / 16 : WEFT__FIRST_GRANT;
  if (!weft__pool_reserve(rail->pool, depth + 2)) {
    weft__warn("%s: no room for one more path: pool_bytes is used up (%u buffers)", rail->name,
               weft__pool_total(rail->pool));
    return -ENOBUFS;
  }
  while (ring < rail->plan.tx_depth) ring *= 2;
  p = calloc(1, sizeof(*p));
  if (p != NULL) {
    p->tx = calloc(ring, sizeof(*p->tx));
    p->rx = calloc(depth, sizeof(weft__buf_t *));
  }
  if (p == NULL || p->tx == NULL || p->rx == NULL) {
    if (p != NULL) {
      free(p->tx);
      free(p->rx);
      free(p);
    }
    weft__pool_unreserve(rail->pool, depth + 2);
    return -ENOMEM;
  }
  p->tx_mask = ring - 1;
  p->p.ops = &ops;
  p->p.cbs = cbs;
  p->p.user = user;
  p->p.rail = rail;
  p->p.lim = (weft__path_limits_t){
      .frame_max = WEFT__FRAME_MAX,
      .inject_max = rail->plan.inject,
      .tx_depth = rail->plan.tx_depth,
      .rx_depth = depth,
      .rma_depth = rail->plan.rma_depth,
      .read_depth = rail->plan.read_depth,
      .rma_max = rail->plan.rma_max,
      .xfer = rail->q->xfer,
      .late_writes = rail->q->late_writes,
  };
  p->heard_ns = *rail->env->now_ns;
  p->next = rail->paths;
  if (p->next != NULL) p->next->prev = p;
  rail->paths = p;
  *out = p;
  return 0;
}

/* The endpoint is gone, or never was. */
void weft__mpath_free(weft__mpath_t *p) {
  weft__rail_t *rail = p->p.rail;
  weft__mpath_t **pp;
  uint32_t i;

  if (p->on_todo) {
    for (pp = &rail->todo; *pp != p; pp = &(*pp)->todo_next)
      ;
    *pp = p->todo_next;
    if (rail->todo_tail == &p->todo_next) rail->todo_tail = pp;
  }
  for (i = 0; i <= p->tx_mask; i++)
    if (p->tx[i].buf != NULL) tx_free(p, p->tx[i].buf);
  for (i = 0; i < p->p.lim.rx_depth; i++)
    if (p->rx[i] != NULL) weft__pool_put(rail->pool, p->rx[i]);
  weft__pool_unreserve(rail->pool, p->p.lim.rx_depth + 2);
  if (p->shard != NULL) weft__shard_give(p->shard);
  if (p->eq != NULL) weft__eq_close(p->eq);
  if (p->info != NULL) fi_freeinfo(p->info);
  if (p->prev != NULL)
    p->prev->next = p->next;
  else
    rail->paths = p->next;
  if (p->next != NULL) p->next->prev = p->prev;
  free(p->tx);
  free(p->rx);
  free(p);
}

/* Why there is no place for one more path. */
static const char *full(const weft__rail_t *rail, unsigned n, char *text, size_t len,
                        const char *step) {
  snprintf(text, len, "%sdevice full: %u of %u (%s) open here", step, n, rail->plan.max_paths,
           rail->plan.binds != NULL ? rail->plan.binds : "memory");
  return text;
}

int weft__mpath_setup(weft__mpath_t *p, char *what, size_t len) {
  weft__rail_t *rail = p->p.rail;
  const char *step;
  char text[160];
  int err;

#define STEP(name, call)                                                                           \
  do {                                                                                             \
    step = name;                                                                                   \
    err = weft__fi_err(call);                                                                      \
    if (err != 0) goto failed;                                                                     \
  } while (0)

  if (rail->q->eq_per_path) {
    STEP("fi_eq_open", weft__eq_open(rail, &p->eq));
    p->eq->path = p;
  }
  step = "fi_cq_open";
  err = weft__shard_take(rail, &p->shard);
  if (err == -ENOSPC && rail->nbound >= rail->plan.max_paths)
    step = full(rail, rail->nbound, text, sizeof(text), "");
  if (err != 0) goto failed;
  STEP("fi_ep_bind(eq)", fi_ep_bind(p->ep, &weft__mpath_eq(p)->eq->fid, 0));
  STEP("fi_ep_bind(tx cq)",
       fi_ep_bind(p->ep, &p->shard->cq->fid, FI_TRANSMIT | FI_SELECTIVE_COMPLETION));
  STEP("fi_ep_bind(rx cq)", fi_ep_bind(p->ep, &p->shard->cq->fid, FI_RECV));
  step = "fi_enable";
  err = WEFT__FAULT(ep_enable);
  /* verbs answers with errno, which not every driver's library sets: a failure must not be 0 */
  errno = ENOMEM;
  if (err == 0) err = weft__fi_err(fi_enable(p->ep));
  if (rail->q->rdma && (err == -ENOMEM || err == -ENOSPC || err == -EAGAIN))
    step = full(rail, rail->nbound - 1, text, sizeof(text), "fi_enable: ");
  if (err != 0) goto failed;
  rx_refill(p);
  if (p->rx_posted != p->p.lim.rx_depth) {
    step = "fi_recv";
    err = p->dying ? p->err : -ENOBUFS;
    goto failed;
  }
  weft__shard_touch(p->shard);
  return 0;

failed:
  snprintf(what, len, "%s", step);
  return err;
#undef STEP
}

void weft__mpath_names(weft__mpath_t *p) {
  size_t len = sizeof(p->src);

  if (fi_getname(&p->ep->fid, &p->src, &len) != 0 || weft__sa_len(&p->src) == 0) {
    p->src.ss_family = 0;
    return;
  }
  weft__sa_unmap(&p->src);
  weft__sa_str(&p->src, p->p.local, sizeof(p->p.local));
}

void weft__mpath_up(weft__mpath_t *p) {
  p->state = ST_UP;
  tx_flush(p);
}

void weft__mpath_early(weft__mpath_t *p) {
  uint32_t i, n = p->rx_early;

  p->rx_early = 0;
  for (i = 0; i < n; i++)
    if (p->rx[i] != NULL) rx_deliver(p, i);
}

/* ---- End ---- */

static void reap(weft__mpath_t *p) {
  p->ep = NULL;
  p->closing = CLOSE_REAP;
  if (p->shard != NULL)
    p->shard->must = true; /* flushed operations may be there without the fd saying so */
  weft__mpath_todo(p);
}

static void close_run(weft__job_t *job) {
  weft__mpath_t *p = job->data;

  p->job_err = weft__fid_close(&p->ep->fid, ep_close);
}

static void close_done(weft__job_t *job) {
  weft__mpath_t *p = job->data;
  weft__rail_t *rail = p->p.rail;
  char text[96];

  if (p->job_err != 0)
    weft__warn("%s: closing the endpoint to %s: %s", rail->name, p->p.remote,
               weft__err_str(p->job_err, text, sizeof(text)));
  reap(p);
  rail->busy++;
  weft__todo_run(rail);
  weft__rail_leave(rail);
}

void weft__mpath_stop(weft__mpath_t *p) {
  if (p->ep != NULL && (p->state == ST_UP || p->state == ST_ACCEPTING))
    (void) fi_shutdown(p->ep, 0);
  if (p->shard != NULL) weft__shard_touch(p->shard); /* what is flushed comes out of it */
  p->state = ST_DOWN;
}

/* Nothing more is wanted of the endpoint: close it. The worker is not using it. */
void weft__mpath_end(weft__mpath_t *p) {
  weft__rail_t *rail = p->p.rail;

  if (p->ep == NULL) {
    reap(p);
    return;
  }
  weft__mpath_stop(p);
  if (p->eq != NULL) weft__eq_detach(p->eq); /* fi_close holds its lock */
  p->closing = CLOSE_RUNS;
  p->job = (weft__job_t){.run = close_run, .done = close_done, .data = p};
  if (rail->q->blocks && rail->env->work(rail->env, &p->job) == 0) return;
  close_run(&p->job);
  reap(p);
}

static void close_path(weft__path_t *path) {
  weft__mpath_t *p = weft__mpath(path);

  if (p->closing != CLOSE_NO) return;
  p->closing = CLOSE_WANTED;
  p->ended = true;
  if (!p->connect_job) weft__mpath_end(p);
}

static void finish(weft__mpath_t *p) {
  uint32_t i;

  for (i = 0; i < RMA_DEPTH; i++)
    if (p->rma[i].rma != NULL) weft__rma_finish(&p->rma[i], -ECANCELED);
  p->p.cbs->closed(&p->p);
  weft__mpath_free(p);
}

static void report_down(weft__mpath_t *p) {
  bool blob = p->err == -ECONNREFUSED && p->bloblen != 0;

  weft__mpath_stop(p); /* what the peer still sends must not land any more */
  p->ended = true;
  p->dying = false;
  weft__debug("%s", p->why);
  p->p.cbs->down(&p->p, p->err, p->why, blob ? p->blob : NULL, blob ? p->bloblen : 0);
}

/* Would tx_get succeed? If not, something that is under way will ask again. */
static bool may_write(weft__mpath_t *p) {
  weft__pool_t *pool = p->p.rail->pool;
  weft__buf_t *b;

  if (!alive(p) || p->tx_post != p->tx_head ||
      p->tx_head - p->tx_tail + p->tx_given >= p->p.lim.tx_depth)
    return false;
  if (p->tx_bufs >= 2)
    return weft__pool_spare(pool) != 0 || (p->tx_unsignaled != 0 && !p->tx_force);
  b = weft__pool_get(pool, WEFT__POOL_TX);
  if (b == NULL) {
    weft__mpath_todo(p);
    return false;
  }
  weft__pool_put(pool, b);
  return true;
}

/* One path of the list. */
static int settle(weft__mpath_t *p) {
  int n = 0;

  if (p->closing == CLOSE_WANTED || p->closing == CLOSE_RUNS) return 0;
  if ((p->closing == CLOSE_REAP || p->dying) && p->shard != NULL && p->shard->must) {
    n = weft__shard_empty(p->shard);
    if (p->shard->must) {
      weft__mpath_todo(p);
      return n + 1;
    }
  }
  if (p->closing == CLOSE_REAP) {
    finish(p);
    return n + 1;
  }
  if (p->dying) {
    if (p->err_weak) n += weft__eq_drain(weft__mpath_eq(p));
    if (p->dying && p->closing == CLOSE_NO) {
      report_down(p);
      return n + 1;
    }
  }
  if (!alive(p)) return n;
  rx_refill(p);
  if (p->tx_post != p->tx_head) tx_flush(p);
  if (p->want && p->state == ST_UP && may_write(p)) {
    p->want = false;
    p->p.cbs->writable(&p->p);
    n++;
  }
  return n;
}

int weft__todo_run(weft__rail_t *rail) {
  weft__mpath_t *p, *list = rail->todo;
  int n = 0;

  if (__builtin_expect(list == NULL, 1)) return 0;
  rail->todo = NULL;
  rail->todo_tail = &rail->todo;
  while ((p = list) != NULL) {
    list = p->todo_next;
    p->on_todo = false;
    n += settle(p);
  }
  return n;
}
