/* SPDX-License-Identifier: Apache-2.0 */
/* cntr.c - counters of what endpoints have completed, and of what they failed to.
 *
 * Design notes
 *  - All that ends is counted, completion or not; each error that a completion queue would be told is
 *    one of the error counter. Remote reads and writes are counted at the target.
 *  - A counter keeps the completion queues of the endpoints that it counts for, as it is those that
 *    make progress: reading or waiting drives them. It has no descriptor of its own to poll, as with
 *    `tcp`; so its wait object says nothing, and every counter can be waited for.
 *  - Each thread that waits has a set of its own to be woken by: one that is quick cannot take another's
 *    wake-up. It sleeps on the queues' descriptors, too, unless one is ready for who sleeps on the
 *    queue itself: then it looks again after a moment. */
#include <poll.h>
#include <stdlib.h>

#include "prov.h"

/* A completion queue of some of the endpoints. */
typedef struct source {
  tf_cq_t *cq;
  unsigned uses;
} source_t;

/* A thread that waits, or one that will. */
typedef struct waiter {
  struct waiter *next;
  tf_set_t *set;
  bool used;
  struct pollfd *fds;
  unsigned room; /* for so many of them */
} waiter_t;

struct tf_cntr {
  struct fid_cntr c;
  tf_domain_t *domain;
  int refs; /* bindings */
  uint64_t count, errors;
  source_t *sources;
  unsigned nsources;
  waiter_t *waiters;
};

/* ---- Counting ---- */

static void wake(tf_cntr_t *c) {
  waiter_t *w;

  for (w = c->waiters; w != NULL; w = w->next)
    if (w->used) tf_stream.wake(w->set);
}

void tf_cntr_add(tf_cntr_t *c, bool failed) {
  ++*(failed ? &c->errors : &c->count);
  wake(c);
}

bool tf_cntr_slept_on(const tf_ep_t *ep) {
  const waiter_t *w;
  unsigned i;

  for (i = 0; i < TF_COUNTS; i++)
    for (w = ep->cntr[i] != NULL ? ep->cntr[i]->waiters : NULL; w != NULL; w = w->next)
      if (w->used) return true;
  return false;
}

static void progress(tf_cntr_t *c) {
  unsigned i;

  for (i = 0; i < c->nsources; i++) tf_cq_drive(c->sources[i].cq);
}

static uint64_t value(tf_cntr_t *c, const uint64_t *of) {
  uint64_t v;

  tf_lock(c->domain);
  progress(c);
  v = *of;
  tf_unlock(c->domain);
  return v;
}

static int change(tf_cntr_t *c, uint64_t *of, bool from_zero, uint64_t v) {
  tf_lock(c->domain);
  *of = (from_zero ? 0 : *of) + v;
  wake(c);
  tf_unlock(c->domain);
  return 0;
}

static uint64_t c_read(struct fid_cntr *f) {
  tf_cntr_t *c = tf_up(f, tf_cntr_t, c);

  return value(c, &c->count);
}
static uint64_t c_readerr(struct fid_cntr *f) {
  tf_cntr_t *c = tf_up(f, tf_cntr_t, c);

  return value(c, &c->errors);
}
static int c_add(struct fid_cntr *f, uint64_t v) {
  tf_cntr_t *c = tf_up(f, tf_cntr_t, c);

  return change(c, &c->count, false, v);
}
static int c_adderr(struct fid_cntr *f, uint64_t v) {
  tf_cntr_t *c = tf_up(f, tf_cntr_t, c);

  return change(c, &c->errors, false, v);
}
static int c_set(struct fid_cntr *f, uint64_t v) {
  tf_cntr_t *c = tf_up(f, tf_cntr_t, c);

  return change(c, &c->count, true, v);
}
static int c_seterr(struct fid_cntr *f, uint64_t v) {
  tf_cntr_t *c = tf_up(f, tf_cntr_t, c);

  return change(c, &c->errors, true, v);
}

/* ---- Waiting ---- */

static waiter_t *waiter(tf_cntr_t *c) {
  waiter_t *w;

  for (w = c->waiters; w != NULL && w->used; w = w->next)
    ;
  if (w == NULL) {
    w = calloc(1, sizeof(*w));
    if (w == NULL) return NULL;
    if (tf_stream.set_open(&w->set) != 0) {
      free(w);
      return NULL;
    }
    w->next = c->waiters;
    c->waiters = w;
  }
  w->used = true;
  return w;
}

/* What to sleep on, how many; *nap is made shorter where that does not tell everything. 0: no memory. */
static unsigned descriptors(tf_cntr_t *c, waiter_t *w, int *nap) {
  unsigned i, n = 0;

  if (w->room < c->nsources + 1) {
    struct pollfd *fds = realloc(w->fds, (c->nsources + 1) * sizeof(*fds));
    if (fds == NULL) return 0;
    w->fds = fds;
    w->room = c->nsources + 1;
  }
  w->fds[n++] = (struct pollfd){.fd = tf_stream.set_fd(w->set), .events = POLLIN};
  for (i = 0; i < c->nsources; i++) {
    int fd = tf_cq_quiet_fd(c->sources[i].cq);
    if (fd >= 0)
      w->fds[n++] = (struct pollfd){.fd = fd, .events = POLLIN};
    else
      *nap = *nap != 0 ? 1 : 0;
  }
  return n;
}

static int c_wait(struct fid_cntr *f, uint64_t threshold, int timeout) {
  tf_cntr_t *c = tf_up(f, tf_cntr_t, c);
  uint64_t until = timeout >= 0 ? tf_stream.now() + (uint64_t) timeout : 0, now, errors;
  int r, nap = timeout;
  unsigned n;
  waiter_t *w;

  tf_lock(c->domain);
  errors = c->errors;
  w = waiter(c);
  for (r = w == NULL ? -FI_ENOMEM : -FI_EAGAIN; r == -FI_EAGAIN;) {
    progress(c);
    if (c->count >= threshold) {
      r = 0;
    } else if (c->errors != errors) {
      r = -FI_EAVAIL;
    } else if (timeout >= 0 && (now = tf_stream.now()) >= until) {
      r = -FI_ETIMEDOUT;
    } else {
      nap = timeout >= 0 ? (int) (until - now) : -1;
      n = descriptors(c, w, &nap);
      if (n == 0) {
        r = -FI_ENOMEM;
        break;
      }
      tf_unlock(c->domain);
      if (poll(w->fds, n, nap) < 0) r = -errno;
      tf_lock(c->domain);
      tf_stream.quiet(w->set);
    }
  }
  if (w != NULL) w->used = false;
  tf_unlock(c->domain);
  return r;
}

/* ---- What it counts for ---- */

static int watch(tf_cntr_t *c, tf_cq_t *cq) {
  source_t *s;
  unsigned i;

  for (i = 0; i < c->nsources; i++)
    if (c->sources[i].cq == cq) {
      c->sources[i].uses++;
      return 0;
    }
  s = realloc(c->sources, (c->nsources + 1) * sizeof(*s));
  if (s == NULL) return -FI_ENOMEM;
  c->sources = s;
  c->sources[c->nsources++] = (source_t){cq, 1};
  wake(c); /* it is to be slept on, too */
  return 0;
}

static void unwatch(tf_cntr_t *c, tf_cq_t *cq) {
  unsigned i;

  for (i = 0; c->sources[i].cq != cq; i++)
    ;
  if (--c->sources[i].uses == 0) c->sources[i] = c->sources[--c->nsources];
}

static const uint64_t flag_of[TF_COUNTS] = {[TF_COUNT_SEND] = FI_SEND,
                                            [TF_COUNT_RECV] = FI_RECV,
                                            [TF_COUNT_READ] = FI_READ,
                                            [TF_COUNT_WRITE] = FI_WRITE,
                                            [TF_COUNT_REMOTE_READ] = FI_REMOTE_READ,
                                            [TF_COUNT_REMOTE_WRITE] = FI_REMOTE_WRITE};

int tf_cntr_bind(tf_ep_t *ep, struct fid *fid, uint64_t flags) {
  tf_cntr_t *c = tf_up(fid, tf_cntr_t, c.fid);
  uint64_t known = 0;
  unsigned i;

  if (c->domain != ep->domain) return -FI_EINVAL;
  for (i = 0; i < TF_COUNTS; i++) {
    known |= flag_of[i];
    if ((flags & flag_of[i]) != 0 && ep->cntr[i] != NULL) return -FI_EINVAL;
  }
  if ((flags & ~known) != 0) return -FI_EBADFLAGS;
  for (i = 0; i < TF_COUNTS; i++)
    if (flags & flag_of[i]) {
      ep->cntr[i] = c;
      tf_ref(&c->refs);
    }
  return 0;
}

int tf_cntr_start(tf_ep_t *ep) {
  unsigned i;
  int err = 0;

  tf_lock(ep->domain);
  for (i = 0; i < 2 * TF_COUNTS && err == 0; i++)
    if (ep->cntr[i / 2] != NULL) err = watch(ep->cntr[i / 2], i % 2 == 0 ? ep->rxcq : ep->txcq);
  while (err != 0 && --i > 0) /* the last one failed */
    if (ep->cntr[(i - 1) / 2] != NULL)
      unwatch(ep->cntr[(i - 1) / 2], i % 2 != 0 ? ep->rxcq : ep->txcq);
  tf_unlock(ep->domain);
  return err;
}

void tf_cntr_stop(tf_ep_t *ep) {
  unsigned i;

  for (i = 0; i < TF_COUNTS; i++) {
    if (ep->cntr[i] == NULL) continue;
    if (ep->enabled) {
      unwatch(ep->cntr[i], ep->rxcq);
      unwatch(ep->cntr[i], ep->txcq);
    }
    tf_unref(&ep->cntr[i]->refs);
  }
}

static int c_close(struct fid *fid) {
  tf_cntr_t *c = tf_up(fid, tf_cntr_t, c.fid);
  waiter_t *w;

  if (tf_busy(&c->refs)) return -FI_EBUSY;
  while ((w = c->waiters) != NULL) {
    c->waiters = w->next;
    tf_stream.set_close(w->set);
    free(w->fds);
    free(w);
  }
  tf_unref(&c->domain->refs);
  free(c->sources);
  free(c);
  return 0;
}

static struct fi_ops fid_ops = {.size = sizeof(struct fi_ops),
                                .close = c_close,
                                .bind = tf_no_bind,
                                .control = tf_no_control,
                                .ops_open = tf_no_ops_open,
                                .ops_set = tf_no_ops_set};
static struct fi_ops_cntr ops = {.size = sizeof(struct fi_ops_cntr),
                                 .read = c_read,
                                 .readerr = c_readerr,
                                 .add = c_add,
                                 .set = c_set,
                                 .wait = c_wait,
                                 .adderr = c_adderr,
                                 .seterr = c_seterr};

int tf_cntr_open(struct fid_domain *f, struct fi_cntr_attr *attr, struct fid_cntr **out,
                 void *context) {
  tf_cntr_t *c;

  if (attr != NULL) {
    if (attr->flags != 0 || attr->events != FI_CNTR_EVENTS_COMP) return -FI_EINVAL;
    if (attr->wait_obj != FI_WAIT_NONE && attr->wait_obj != FI_WAIT_UNSPEC &&
        attr->wait_obj != FI_WAIT_FD)
      return -FI_ENOSYS;
  }
  c = calloc(1, sizeof(*c));
  if (c == NULL) return -FI_ENOMEM;
  c->domain = tf_up(f, tf_domain_t, d);
  c->c.fid = (struct fid){.fclass = FI_CLASS_CNTR, .context = context, .ops = &fid_ops};
  c->c.ops = &ops;
  tf_ref(&c->domain->refs);
  *out = &c->c;
  return 0;
}
