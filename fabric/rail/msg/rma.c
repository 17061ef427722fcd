/* SPDX-License-Identifier: Apache-2.0 */
/* rma.c - writing into the peer's memory, reading from it, and opening one's own.
 *
 * Design notes
 *  - A write queues behind the frames before it in the provider's one send queue, so it may not
 *    overtake frames that the path holds back: then it answers -EAGAIN.
 *  - Limits are checked here: tcp only asserts them, and a release build then writes over its own
 *    memory.
 *  - On tcp a write that has begun goes on after its memory was closed. In the upcall of a frame of
 *    the same path none of this path is under way, for a path is a stream; anywhere else nobody
 *    knows what the peer is at, and the path is put to death so that it cannot go on. Other paths
 *    of the domain take the same key: weft__rail_heard_since says when they are past it.
 *  - A write's source that needs registration and has none is registered for the one operation. A
 *    read's sink is opened by the owner beforehand, so that a lack of memory to lock is told before
 *    anything was asked for, and not by the death of the path.
 *  - A sink is a registration of its own, gone with the fragment, and never one that lasts: iWARP
 *    wants it open to the peer's writes, and libfabric gives FI_READ remote-write rights there.
 *  - A sink may be closed under a read when its path has died, long before the endpoint can be. What
 *    keeps the device out of it from then on (Linux 6.1; the endpoint is shut down first):
 *      devices   ibv_dereg_mr returns when the device has let go of the region, for the kernel then
 *                unpins its pages (ib_umem_release), and somebody else gets them
 *      rxe       looks the region up for each packet (rxe_mr.c: copy_data); rxe_dereg_mr takes it
 *                out of the index and waits for the packet that is being copied, not for reads
 *      siw       looks it up once for a read, and goes on until that has ended (siw_qp_rx.c:
 *                siw_proc_rresp); but takes nothing from a connection that is not in RTS, and
 *                rdma_disconnect, which is what fi_shutdown calls, ends that under the lock that
 *                receiving holds (siw_verbs.c: siw_verbs_modify_qp)
 *    Measured: after ibv_dereg_mr alone, in the midst of a read of 4 MiB, nothing more came on rxe,
 *    3.9 MB on siw; after both, nothing on either (msg_read_test). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "internal.h"

static void mr_drop(weft__rmaslot_t *s) {
  unsigned i;

  for (i = 0; i < 4; i++)
    if (s->mr[i] != NULL) {
      fi_close(&s->mr[i]->fid);
      s->mr[i] = NULL;
    }
}

static int describe(weft__rail_t *rail, weft__rmaslot_t *s, const weft__rma_t *r, void **desc) {
  unsigned i;

  for (i = 0; i < r->niov; i++) {
    int err;

    desc[i] = weft__mem_desc(rail, r->iov[i].iov_base, r->iov[i].iov_len);
    if (desc[i] != NULL) continue;
    err = weft__mem_reg(rail, r->iov[i].iov_base, r->iov[i].iov_len, FI_WRITE, &s->mr[i]);
    if (err != 0) return err;
    desc[i] = fi_mr_desc(s->mr[i]);
  }
  return 0;
}

static int post(weft__path_t *path, weft__rma_t *r, bool read) {
  weft__mpath_t *p = weft__mpath(path);
  weft__rail_t *rail = path->rail;
  weft__rmaslot_t *s = NULL;
  struct fi_rma_iov remote = {.addr = r->addr, .key = r->key};
  struct fi_msg_rma msg = {.msg_iov = r->iov, .rma_iov = &remote, .rma_iov_count = 1};
  void *desc[4] = {NULL, NULL, NULL, NULL};
  char text[96];
  unsigned i;
  ssize_t err;

  if (p->dying || p->ended || p->closing != CLOSE_NO) return -ENOTCONN;
  if (r->niov == 0 || r->niov > 4 || r->niov > rail->plan.iov_max) return -EINVAL;
  for (i = 0; i < r->niov; i++) remote.len += r->iov[i].iov_len;
  if (remote.len == 0 || remote.len > path->lim.rma_max) return -EINVAL;
  if (p->state != ST_UP || p->tx_post != p->tx_head || p->rma_used >= path->lim.rma_depth ||
      (read && p->reads >= path->lim.read_depth)) {
    p->want = true;
    return -EAGAIN;
  }
  for (i = 0; i < RMA_DEPTH; i++)
    if (p->rma[i].rma == NULL) {
      s = &p->rma[i];
      break;
    }
  if (rail->mr_local && !read) {
    err = describe(rail, s, r, desc);
    if (err != 0) {
      mr_drop(s);
      weft__mpath_die(p, (int) err, false, "registering %zu bytes to write to %s: %s",
                      (size_t) remote.len, path->remote,
                      weft__err_str((int) err, text, sizeof(text)));
      return (int) err;
    }
  }
  s->ctx.path = p;
  s->ctx.kind = CTX_RMA;
  s->ctx.idx = i;
  s->tx_post = p->tx_post;
  msg.iov_count = r->niov;
  msg.desc = desc;
  msg.context = &s->ctx;
  s->read = read;
  if (read) desc[0] = r->sink->desc;
  err = read ? WEFT__FAULT(post_read) : WEFT__FAULT(post_write);
  if (err == 0)
    err = read ? fi_readmsg(p->ep, &msg, FI_COMPLETION) : fi_writemsg(p->ep, &msg, FI_COMPLETION);
  if (err == 0) {
    s->rma = r;
    p->rma_used++;
    p->reads += read;
    p->tx_unsignaled = p->tx_unsignaled_bytes = 0; /* its completion is theirs too */
    weft__shard_touch(p->shard);
    return 0;
  }
  mr_drop(s);
  if (weft__mpath_refused(p, read ? "read from" : "write to")) return -EIO;
  if (err == -FI_EAGAIN) {
    p->want = true;
    if (p->rma_used == 0 && p->tx_tail == p->tx_post)
      weft__mpath_todo(p); /* no completion will come to wake the owner */
    return -EAGAIN;
  }
  weft__mpath_failed(p, read ? "read from" : "write to", weft__fi_err(err),
                     weft__err_str(weft__fi_err(err), text, sizeof(text)));
  return weft__fi_err(err);
}

int weft__mpath_write(weft__path_t *path, weft__rma_t *r) {
  return post(path, r, false);
}

int weft__mpath_read(weft__path_t *path, weft__rma_t *r) {
  if (path->rail->q->xfer != WEFT__XFER_READ) return -EOPNOTSUPP;
  if (r->niov != 1 || r->sink == NULL) return -EINVAL;
  return post(path, r, true);
}

void weft__rma_finish(weft__rmaslot_t *s, int status) {
  weft__mpath_t *p = s->ctx.path;
  weft__rma_t *r = s->rma;

  if (r == NULL) return;
  s->rma = NULL;
  p->rma_used--;
  p->reads -= s->read;
  mr_drop(s);
  if (p->want) weft__mpath_todo(p);
  p->p.cbs->rma_done(&p->p, r, status);
}

int weft__mpath_expose(weft__path_t *path, void *buf, size_t len, weft__open_t what,
                       weft__mr_t *out) {
  static const uint64_t access[] = {[WEFT__OPEN_WRITE] = FI_REMOTE_WRITE,
                                    [WEFT__OPEN_READ] = FI_REMOTE_READ,
                                    [WEFT__OPEN_SINK] = FI_READ};
  weft__rail_t *rail = path->rail;
  uintptr_t base = (uintptr_t) buf;
  struct fid_mr *mr, *own = NULL;
  char text[96];
  int err;

  if (len == 0 || len > path->lim.rma_max) return -EINVAL;
  if (what != WEFT__OPEN_WRITE && rail->q->xfer != WEFT__XFER_READ) return -EOPNOTSUPP;
  /* what stands in memory that the owner made known is open already */
  mr = what == WEFT__OPEN_READ ? weft__mem_find(rail, buf, len, &base) : NULL;
  if (mr == NULL) {
    err = weft__mem_reg(rail, buf, len, access[what], &own);
    if (err != 0) {
      weft__warn("%s: opening %zu bytes to %s: %s", rail->name, len, path->remote,
                 weft__err_str(err, text, sizeof(text)));
      return err;
    }
    mr = own;
  }
  out->addr = rail->mr_virt ? (uintptr_t) buf : (uintptr_t) buf - base;
  out->key = what == WEFT__OPEN_SINK ? 0 : fi_mr_key(mr);
  out->desc = fi_mr_desc(mr);
  out->priv = own;
  return 0;
}

/* What could not be closed keeps the domain from closing: it is tried once more then, unless its owner was
 * luckier meanwhile. */
static void closed(weft__rail_t *rail, struct fid_mr *mr, bool yes) {
  weft__unclosed_t **at = &rail->unclosed, *u;

  while (*at != NULL && (*at)->mr != mr) at = &(*at)->next;
  u = *at;
  if (yes && u != NULL) {
    *at = u->next;
    free(u);
  } else if (!yes && u == NULL && (u = malloc(sizeof(*u))) != NULL) {
    *u = (weft__unclosed_t){.next = rail->unclosed, .mr = mr};
    rail->unclosed = u;
  }
}

void weft__rma_close_rest(weft__rail_t *rail) {
  weft__unclosed_t *u;

  while ((u = rail->unclosed) != NULL) {
    rail->unclosed = u->next;
    (void) fi_close(&u->mr->fid);
    free(u);
  }
}

int weft__mpath_unexpose(weft__path_t *path, weft__mr_t *m) {
  weft__mpath_t *p = weft__mpath(path);
  struct fid_mr *mr = m->priv;
  char text[96];
  int err;

  if (mr == NULL) return 0;
  if (path->rail->q->late_writes && !p->in_frame && p->ep != NULL && p->state != ST_DOWN) {
    weft__mpath_die(p, -ECANCELED, false,
                    "memory was closed while %s may have been writing to it (ECANCELED)",
                    path->remote);
    weft__mpath_stop(p);
  }
  err = WEFT__FAULT(mr_close);
  if (err == 0) err = weft__fi_err(fi_close(&mr->fid));
  closed(path->rail, mr, err == 0);
  if (err == 0)
    m->priv = NULL;
  else
    weft__warn("%s: closing memory to %s: %s", path->rail->name, path->remote,
               weft__err_str(err, text, sizeof(text)));
  return err;
}

weft__xfer_t weft__rail_xfer(const weft__rail_t *rail) {
  return rail->q->xfer;
}

weft__xfer_t weft__req_xfer(const weft__req_t *q) {
  return q->lst->rail->q->xfer;
}

uint64_t weft__rail_heard_since(const weft__rail_t *rail) {
  const weft__mpath_t *p;
  uint64_t since = UINT64_MAX;

  if (!rail->q->late_writes) return since;
  for (p = rail->paths; p != NULL; p = p->next)
    if (p->ep != NULL && p->heard_ns < since) since = p->heard_ns;
  return since;
}
