/* SPDX-License-Identifier: Apache-2.0 */
/* cq.c - completion queues, and the progress that reading one makes.
 *
 * Design notes
 *  - A few endpoints that had data lately are read without being asked for; the set is asked every so
 *    many empty reads, more often after it had something.
 *  - Who reads while another sleeps takes what he finds, and hands on what he leaves: the sleeper is
 *    called for that, and for what software completes later. */
#include <stdlib.h>
#include <string.h>

#include "prov.h"

#define TF_ERR (UINT64_C(1) << 63)
enum { RING = 64, BACKLOG = 4096, EMPTY_MAX = 256, EVERY_MAX = 32, EVENTS = 64 };

/* ---- Entries ---- */

static void call(tf_cq_t *cq) {
  cq->armed = false;
  cq->called = true; /* another thread's progress must not hush what is for him */
  tf_stream.wake(cq->set);
}

static tf_cqe_t *room(tf_cq_t *cq) {
  tf_cqe_t *ring;
  size_t i, n = cq->tail - cq->head;

  if (cq->armed) call(cq);
  if (n < cq->cap) return &cq->ring[cq->tail++ & (cq->cap - 1)];
  ring = malloc(cq->cap * 2 * sizeof(*ring));
  if (ring == NULL) {
    cq->overrun = true;
    return NULL;
  }
  for (i = 0; i < n; i++) ring[i] = cq->ring[(cq->head + i) & (cq->cap - 1)];
  free(cq->ring);
  cq->ring = ring;
  cq->cap *= 2;
  cq->head = 0;
  cq->tail = n;
  return &cq->ring[cq->tail++];
}

void tf_cq_put(tf_cq_t *cq, void *context, uint64_t flags, size_t len, uint64_t data) {
  tf_cqe_t *c = cq != NULL ? room(cq) : NULL;

  if (c != NULL)
    c->e = (struct fi_cq_tagged_entry){
        .op_context = context, .flags = flags, .len = len, .data = data};
}

void tf_cq_err(tf_cq_t *cq, void *context, uint64_t flags, int err, size_t olen, uint64_t data) {
  tf_cqe_t *c = cq != NULL ? room(cq) : NULL;

  if (c == NULL) return;
  c->e = (struct fi_cq_tagged_entry){.op_context = context, .flags = flags | TF_ERR, .data = data};
  c->olen = olen;
  c->err = c->prov_errno = err;
}

static size_t entry_size(enum fi_cq_format f) {
  return f == FI_CQ_FORMAT_TAGGED ? sizeof(struct fi_cq_tagged_entry)
         : f == FI_CQ_FORMAT_DATA ? sizeof(struct fi_cq_data_entry)
         : f == FI_CQ_FORMAT_MSG  ? sizeof(struct fi_cq_msg_entry)
                                  : sizeof(struct fi_cq_entry);
}

static ssize_t give(tf_cq_t *cq, void *buf, size_t count) {
  size_t n = 0, size = entry_size(cq->format);

  while (n < count && cq->head != cq->tail) {
    tf_cqe_t *c = &cq->ring[cq->head & (cq->cap - 1)];
    if (c->e.flags & TF_ERR) return n != 0 ? (ssize_t) n : -FI_EAVAIL;
    memcpy((uint8_t *) buf + n++ * size, &c->e,
           size); /* each format begins as the next longer one */
    cq->head++;
  }
  return n != 0 ? (ssize_t) n : -FI_EAGAIN;
}

/* ---- Progress ---- */

void tf_cq_forget(tf_cq_t *cq, tf_ep_t *ep) {
  unsigned i;

  if (cq == NULL) return;
  for (i = 0; i < cq->nactive; i++)
    if (cq->active[i] == ep) {
      if (!tf_watch_back(ep, cq)) return;
      cq->active[i] = cq->active[--cq->nactive];
      return;
    }
}

bool tf_cq_activate(tf_cq_t *cq, tf_ep_t *ep) {
  unsigned i;

  if (cq == NULL) return false;
  for (i = 0; i < cq->nactive; i++)
    if (cq->active[i] == ep) return true;
  if (i == TF_ACTIVE) {
    i = cq->kept++ % TF_ACTIVE;
    if (!tf_watch_back(cq->active[i], cq)) return false;
  } else {
    cq->nactive++;
  }
  cq->active[i] = ep;
  ep->empty = ep->run = 0;
  return true;
}

static void readable(tf_cq_t *cq, tf_ep_t *ep, bool hup) {
  bool got, active = false;
  int err = tf_rx(ep, &got);

  if (err != 0) {
    tf_ep_down(ep, err);
    return;
  }
  if (got) {
    ep->empty = 0;
    active = tf_cq_activate(cq, ep);
  } else if (++ep->empty > EMPTY_MAX && cq->nbound > 1) {
    tf_cq_forget(cq, ep);
  }
  if (hup && ep->answers >= TF_ANSWERS) { /* has ended, and leaves what it asked for: it is gone */
    tf_ep_down(ep, FI_ENOTCONN);
    return;
  }
  if (hup && (ep->rx == RX_STALL || ep->left != NULL) && !ep->told) { /* its end is known already */
    ep->told = ep->half = true;
    tf_eq_post(ep->eq, &ep->shut);
  }
  if (got || ep->rx == RX_STALL || ep->left != NULL) tf_ep_events(ep);
  if (active) tf_watch_ran(ep, cq);
}

static void handle(tf_cq_t *cq, const tf_ready_t *r) {
  tf_ep_t *ep = r->ptr;
  unsigned events = r->events;
  int err;

  if (ep == NULL) {
    if (!cq->called) tf_stream.quiet(cq->set);
    return;
  }
  if (ep->state != EP_UP) return;
  if ((events & TF_NOTE) != 0) { /* or an error of the stream, which reading tells */
    if (tf_zero_notes(ep))
      tf_ep_events(ep);
    else
      events |= TF_IN | TF_HUP;
  }
  if ((events & TF_OUT) != 0 && (err = tf_tx_flush(ep)) != 0) {
    tf_ep_broke(ep, err);
    return;
  }
  /* What is here already waited for its answers to leave, and no stream will say so. */
  if ((events & (TF_IN | TF_HUP)) != 0 || (ep->left != NULL && ep->rx != RX_STALL))
    readable(cq, ep, (events & TF_HUP) != 0);
}

static unsigned ask(tf_cq_t *cq) {
  tf_ready_t ready[EVENTS];
  int i, n = tf_stream.wait(cq->set, ready, EVENTS, 0);
  unsigned found = 0;

  for (i = 0; i < n; i++) {
    found += ready[i].ptr != NULL;
    handle(cq, &ready[i]);
  }
  return found;
}

static void progress(tf_cq_t *cq) {
  unsigned i, n = cq->nactive;
  tf_ep_t *now[TF_ACTIVE];
  size_t before = cq->tail;

  memcpy(now, cq->active, n * sizeof(*now));
  for (i = 0; i < n; i++) {
    if (now[i]->away != 0 && now[i]->tx.head != NULL && now[i]->state == EP_UP)
      handle(cq, &(tf_ready_t){now[i], TF_OUT}); /* its way back to the set failed */
    if (now[i]->state == EP_UP) readable(cq, now[i], false);
  }
  if (cq->tail != before && ++cq->kept % 64 != 0) return;
  if (n != 0 && ++cq->empties < cq->every) return;
  cq->empties = 0;
  if (ask(cq) != 0)
    cq->every = 1;
  else if (cq->every < EVERY_MAX)
    cq->every *= 2;
}

void tf_cq_drive(tf_cq_t *cq) {
  cq->empties = EVERY_MAX;
  progress(cq);
}

int tf_cq_quiet_fd(tf_cq_t *cq) {
  bool whole = !cq->called;
  unsigned i;

  for (i = 0; i < cq->nactive; i++) whole = tf_watch_back(cq->active[i], cq) && whole;
  return whole ? tf_stream.set_fd(cq->set) : -1;
}

static ssize_t cq_readfrom(struct fid_cq *c, void *buf, size_t count, fi_addr_t *src) {
  tf_cq_t *cq = tf_up(c, tf_cq_t, c);
  ssize_t r;
  size_t i;
  bool armed;

  tf_lock(cq->domain);
  armed = cq->armed;
  cq->armed = false; /* nobody need be called for what is taken here */
  if (cq->head == cq->tail || (++cq->kept % 16 == 0 && cq->tail - cq->head < BACKLOG)) progress(cq);
  r = cq->overrun ? -FI_EOVERRUN : give(cq, buf, count);
  if (armed) {
    cq->armed = true;
    if (cq->head != cq->tail || cq->overrun) call(cq);
  }
  tf_unlock(cq->domain);
  if (src != NULL && r > 0)
    for (i = 0; i < (size_t) r; i++) src[i] = FI_ADDR_NOTAVAIL;
  return r;
}

static ssize_t cq_read(struct fid_cq *c, void *buf, size_t count) {
  return cq_readfrom(c, buf, count, NULL);
}

static ssize_t cq_readerr(struct fid_cq *c, struct fi_cq_err_entry *out, uint64_t flags) {
  tf_cq_t *cq = tf_up(c, tf_cq_t, c);
  ssize_t r = -FI_EAGAIN;

  (void) flags;
  tf_lock(cq->domain);
  if (cq->head != cq->tail && (cq->ring[cq->head & (cq->cap - 1)].e.flags & TF_ERR) != 0) {
    tf_cqe_t *e = &cq->ring[cq->head++ & (cq->cap - 1)];
    out->op_context = e->e.op_context;
    out->flags = e->e.flags & ~TF_ERR;
    out->len = 0;
    out->buf = NULL;
    out->data = e->e.data;
    out->tag = 0;
    out->olen = e->olen;
    out->err = e->err;
    out->prov_errno = e->prov_errno;
    out->err_data_size = 0;
    r = 1;
  }
  tf_unlock(cq->domain);
  return r;
}

/* 0: the set tells from now on. */
static int arm(tf_cq_t *cq) {
  unsigned i;
  int r = 0;

  if (cq->head == cq->tail && !cq->overrun) progress(cq);
  if (cq->head != cq->tail || cq->overrun) r = -FI_EAGAIN;
  for (i = 0; i < cq->nactive; i++)
    if (!tf_watch_back(cq->active[i], cq)) r = -FI_EAGAIN;
  if (cq->sleepers != 0 && __atomic_load_n(&cq->signaled, __ATOMIC_ACQUIRE))
    r = -FI_EAGAIN; /* it is still to wake one of them */
  if (r != 0) return r;
  tf_stream.quiet(cq->set);
  cq->called = false;
  cq->armed = cq->slept = true;
  return 0;
}

int tf_cq_trywait(tf_cq_t *cq) {
  int r;

  tf_lock(cq->domain);
  r = arm(cq);
  tf_unlock(cq->domain);
  return r;
}

static int lie_down(tf_cq_t *cq) {
  int r;

  tf_lock(cq->domain);
  r = arm(cq);
  if (r == 0) cq->sleepers++;
  tf_unlock(cq->domain);
  return r;
}

/* After the last one there is nobody to call. */
static void get_up(tf_cq_t *cq, bool ready) {
  tf_lock(cq->domain);
  if (ready) cq->empties = EVERY_MAX;
  if (--cq->sleepers == 0 && !cq->fetched) {
    cq->armed = cq->slept = cq->called = false;
    tf_stream.quiet(cq->set);
  }
  tf_unlock(cq->domain);
}

static ssize_t cq_sreadfrom(struct fid_cq *c, void *buf, size_t count, fi_addr_t *src,
                            const void *cond, int timeout) {
  tf_cq_t *cq = tf_up(c, tf_cq_t, c);
  uint64_t until = timeout >= 0 ? tf_stream.now() + (uint64_t) timeout : 0;
  tf_ready_t one;
  ssize_t r;
  int n;

  (void) cond;
  if (cq->wait == FI_WAIT_NONE) return -FI_ENOSYS;
  for (;;) {
    r = cq_readfrom(c, buf, count, src);
    if (r != -FI_EAGAIN) return r;
    if (timeout >= 0) { /* who does not sleep takes no signal away from one who does */
      uint64_t now = tf_stream.now();
      if (now >= until) return -FI_EAGAIN;
      timeout = (int) (until - now);
    }
    if (__atomic_exchange_n(&cq->signaled, false, __ATOMIC_ACQ_REL)) return -FI_EAGAIN;
    if (lie_down(cq) != 0) continue;
    n = 0;
    if (!__atomic_load_n(&cq->signaled, __ATOMIC_ACQUIRE)) /* lying down took the wake-up away */
      n = tf_stream.wait(cq->set, &one, 1,
                         timeout); /* what is ready may be gone by then: it is asked again */
    get_up(cq, n > 0);
    if (n == -EINTR) return -FI_EINTR;
    if (n < 0) return n;
  }
}

static ssize_t cq_sread(struct fid_cq *c, void *buf, size_t count, const void *cond, int timeout) {
  return cq_sreadfrom(c, buf, count, NULL, cond, timeout);
}

static int cq_signal(struct fid_cq *c) {
  tf_cq_t *cq = tf_up(c, tf_cq_t, c);

  tf_lock(cq->domain);
  __atomic_store_n(&cq->signaled, true, __ATOMIC_RELEASE);
  if (cq->sleepers != 0 || cq->fetched) cq->called = true;
  tf_stream.wake(cq->set);
  tf_unlock(cq->domain);
  return 0;
}

static const char *cq_strerror(struct fid_cq *c, int prov_errno, const void *data, char *buf,
                               size_t len) {
  const char *s = fi_strerror(prov_errno);

  (void) c, (void) data;
  if (buf != NULL && len > 0) {
    strncpy(buf, s, len - 1);
    buf[len - 1] = '\0';
  }
  return s;
}

static int cq_control(struct fid *fid, int command, void *arg) {
  tf_cq_t *cq = tf_up(fid, tf_cq_t, c.fid);

  switch (command) {
  case FI_GETWAIT:
    if (cq->wait == FI_WAIT_NONE) return -FI_ENODATA;
    tf_lock(cq->domain);
    cq->fetched = true;
    tf_unlock(cq->domain);
    *(int *) arg = tf_stream.set_fd(cq->set);
    return 0;
  case FI_GETWAITOBJ: *(enum fi_wait_obj *) arg = cq->wait; return 0;
  default: return -FI_ENOSYS;
  }
}

static int cq_close(struct fid *fid) {
  tf_cq_t *cq = tf_up(fid, tf_cq_t, c.fid);

  if (tf_busy(&cq->refs)) return -FI_EBUSY;
  tf_stream.set_close(cq->set);
  tf_unref(&cq->domain->refs);
  free(cq->ring);
  free(cq);
  return 0;
}

static struct fi_ops fid_ops = {.size = sizeof(struct fi_ops),
                                .close = cq_close,
                                .bind = tf_no_bind,
                                .control = cq_control,
                                .ops_open = tf_no_ops_open,
                                .ops_set = tf_no_ops_set};
static struct fi_ops_cq ops = {.size = sizeof(struct fi_ops_cq),
                               .read = cq_read,
                               .readfrom = cq_readfrom,
                               .readerr = cq_readerr,
                               .sread = cq_sread,
                               .sreadfrom = cq_sreadfrom,
                               .signal = cq_signal,
                               .strerror = cq_strerror};

int tf_cq_open(struct fid_domain *d, struct fi_cq_attr *attr, struct fid_cq **out, void *context) {
  tf_domain_t *domain = tf_up(d, tf_domain_t, d);
  enum fi_wait_obj wait = attr != NULL ? attr->wait_obj : FI_WAIT_NONE;
  tf_cq_t *cq;
  int err;

  if (wait != FI_WAIT_NONE && wait != FI_WAIT_UNSPEC && wait != FI_WAIT_FD) return -FI_ENOSYS;
  if (attr != NULL && attr->wait_cond != FI_CQ_COND_NONE) return -FI_ENOSYS;
  cq = calloc(1, sizeof(*cq));
  if (cq == NULL) return -FI_ENOMEM;
  cq->domain = domain;
  cq->wait = wait == FI_WAIT_UNSPEC ? FI_WAIT_FD : wait;
  cq->format = attr != NULL ? attr->format : FI_CQ_FORMAT_CONTEXT;
  cq->cap = RING;
  cq->every = 1;
  cq->ring = malloc(cq->cap * sizeof(*cq->ring));
  err = cq->ring == NULL ? -FI_ENOMEM : tf_stream.set_open(&cq->set);
  if (err != 0) {
    free(cq->ring);
    free(cq);
    return err;
  }
  cq->c.fid = (struct fid){.fclass = FI_CLASS_CQ, .context = context, .ops = &fid_ops};
  cq->c.ops = &ops;
  tf_ref(&domain->refs);
  *out = &cq->c;
  return 0;
}
