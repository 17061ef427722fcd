/* SPDX-License-Identifier: Apache-2.0 */
/* eq.c - event queues. */
#include <stdlib.h>
#include <string.h>

#include "prov.h"

void tf_eq_post(tf_eq_t *eq, tf_event_t *e) {
  if (eq == NULL) return;
  pthread_mutex_lock(&eq->lock);
  e->next = NULL;
  *eq->tail = e;
  eq->tail = &e->next;
  pthread_mutex_unlock(&eq->lock);
  tf_stream.wake(eq->set);
}

int tf_eq_say(tf_eq_t *eq, uint32_t event, fid_t fid, struct fi_info *info, int err,
              const void *data, size_t len) {
  tf_event_t *e = calloc(1, sizeof(*e) + len);

  if (e == NULL) return -FI_ENOMEM;
  e->event = event;
  e->fid = fid;
  e->info = info;
  e->err = e->prov_errno = err;
  e->len = len;
  if (len != 0) memcpy(e->data, data, len);
  tf_eq_post(eq, e);
  return 0;
}

static void drop(tf_event_t *e) {
  if (e->info != NULL) {
    if (e->info->handle != NULL) fi_close(e->info->handle);
    fi_freeinfo(e->info);
  }
  if (!e->embedded) free(e);
}

void tf_eq_purge(tf_eq_t *eq, fid_t fid) {
  tf_event_t **at, *e;

  if (eq == NULL) return;
  pthread_mutex_lock(&eq->lock);
  for (at = &eq->head; (e = *at) != NULL;)
    if (fid == NULL || e->fid == fid) {
      *at = e->next;
      drop(e);
    } else {
      at = &e->next;
    }
  eq->tail = at;
  pthread_mutex_unlock(&eq->lock);
}

static ssize_t take(tf_eq_t *eq, uint32_t *event, void *buf, size_t len, uint64_t flags) {
  struct fi_eq_cm_entry *cm = buf;
  tf_event_t *e;
  ssize_t r;

  pthread_mutex_lock(&eq->lock);
  e = eq->head;
  if (e == NULL) {
    r = -FI_EAGAIN;
  } else if (e->err != 0) {
    r = -FI_EAVAIL;
  } else if (e->user ? len < e->len : len < sizeof(*cm)) {
    r = -FI_ETOOSMALL;
  } else {
    if (event != NULL) *event = e->event;
    if (e->user) {
      memcpy(buf, e->data, e->len);
      r = (ssize_t) e->len;
    } else {
      size_t n = e->len < len - sizeof(*cm) ? e->len : len - sizeof(*cm);
      cm->fid = e->fid;
      cm->info = e->info;
      memcpy(cm->data, e->data, n);
      r = (ssize_t) (sizeof(*cm) + n);
    }
    if ((flags & FI_PEEK) == 0) {
      eq->head = e->next;
      if (eq->head == NULL) eq->tail = &eq->head;
      if (!e->embedded) free(e);
    }
  }
  pthread_mutex_unlock(&eq->lock);
  return r;
}

static ssize_t eq_read(struct fid_eq *f, uint32_t *event, void *buf, size_t len, uint64_t flags) {
  tf_eq_t *eq = tf_up(f, tf_eq_t, e);
  ssize_t r = take(eq, event, buf, len, flags);

  if (r != -FI_EAGAIN) return r;
  tf_eq_progress(eq);
  return take(eq, event, buf, len, flags);
}

static ssize_t eq_readerr(struct fid_eq *f, struct fi_eq_err_entry *out, uint64_t flags) {
  tf_eq_t *eq = tf_up(f, tf_eq_t, e);
  tf_event_t *e;
  size_t n;

  pthread_mutex_lock(&eq->lock);
  e = eq->head;
  if (e == NULL || e->err == 0) {
    pthread_mutex_unlock(&eq->lock);
    return -FI_EAGAIN;
  }
  out->fid = e->fid;
  out->context = e->fid != NULL ? e->fid->context : NULL;
  out->data = 0;
  out->err = e->err;
  out->prov_errno = e->prov_errno;
  if (out->err_data_size == 0) {
    out->err_data = e->len != 0 ? e->data : NULL;
    out->err_data_size = e->len;
  } else {
    n = e->len < out->err_data_size ? e->len : out->err_data_size;
    if (n != 0) memcpy(out->err_data, e->data, n);
    out->err_data_size = n;
  }
  if ((flags & FI_PEEK) == 0) {
    eq->head = e->next;
    if (eq->head == NULL) eq->tail = &eq->head;
    free(eq->errev);
    eq->errev = e;
  }
  pthread_mutex_unlock(&eq->lock);
  return sizeof(*out);
}

static ssize_t eq_write(struct fid_eq *f, uint32_t event, const void *buf, size_t len,
                        uint64_t flags) {
  tf_eq_t *eq = tf_up(f, tf_eq_t, e);
  tf_event_t *e = calloc(1, sizeof(*e) + len);

  (void) flags;
  if (e == NULL) return -FI_ENOMEM;
  e->event = event;
  e->user = true;
  e->len = len;
  memcpy(e->data, buf, len);
  tf_eq_post(eq, e);
  return (ssize_t) len;
}

int tf_eq_trywait(tf_eq_t *eq) {
  int r;

  pthread_mutex_lock(&eq->lock);
  r = eq->head != NULL ? -FI_EAGAIN : 0;
  if (r == 0) tf_stream.quiet(eq->set);
  pthread_mutex_unlock(&eq->lock);
  return r;
}

static ssize_t eq_sread(struct fid_eq *f, uint32_t *event, void *buf, size_t len, int timeout,
                        uint64_t flags) {
  tf_eq_t *eq = tf_up(f, tf_eq_t, e);
  uint64_t until = timeout >= 0 ? tf_stream.now() + (uint64_t) timeout : 0;
  tf_ready_t one;
  ssize_t r;
  int n;

  if (eq->wait == FI_WAIT_NONE) return -FI_ENOSYS;
  for (;;) {
    r = eq_read(f, event, buf, len, flags);
    if (r != -FI_EAGAIN) return r;
    if (timeout >= 0) {
      uint64_t now = tf_stream.now();
      if (now >= until) return -FI_EAGAIN;
      timeout = (int) (until - now);
    }
    if (tf_eq_trywait(eq) != 0) continue;
    n = tf_stream.wait(eq->set, &one, 1, timeout);
    if (n < 0) return n;
  }
}

static const char *eq_strerror(struct fid_eq *f, int prov_errno, const void *data, char *buf,
                               size_t len) {
  const char *s = fi_strerror(prov_errno);

  (void) f, (void) data;
  if (buf != NULL && len > 0) {
    strncpy(buf, s, len - 1);
    buf[len - 1] = '\0';
  }
  return s;
}

static int eq_control(struct fid *fid, int command, void *arg) {
  tf_eq_t *eq = tf_up(fid, tf_eq_t, e.fid);

  switch (command) {
  case FI_GETWAIT:
    if (eq->wait == FI_WAIT_NONE) return -FI_ENODATA;
    *(int *) arg = tf_stream.set_fd(eq->set);
    return 0;
  case FI_GETWAITOBJ: *(enum fi_wait_obj *) arg = eq->wait; return 0;
  default: return -FI_ENOSYS;
  }
}

static int eq_close(struct fid *fid) {
  tf_eq_t *eq = tf_up(fid, tf_eq_t, e.fid);

  if (tf_busy(&eq->refs)) return -FI_EBUSY;
  tf_eq_purge(eq, NULL);
  free(eq->errev);
  tf_stream.set_close(eq->set);
  pthread_mutex_destroy(&eq->lock);
  tf_unref(&eq->fabric->refs);
  free(eq);
  return 0;
}

static struct fi_ops fid_ops = {.size = sizeof(struct fi_ops),
                                .close = eq_close,
                                .bind = tf_no_bind,
                                .control = eq_control,
                                .ops_open = tf_no_ops_open,
                                .ops_set = tf_no_ops_set};
static struct fi_ops_eq ops = {.size = sizeof(struct fi_ops_eq),
                               .read = eq_read,
                               .readerr = eq_readerr,
                               .write = eq_write,
                               .sread = eq_sread,
                               .strerror = eq_strerror};

int tf_eq_open(struct fid_fabric *f, struct fi_eq_attr *attr, struct fid_eq **out, void *context) {
  enum fi_wait_obj wait = attr != NULL ? attr->wait_obj : FI_WAIT_UNSPEC;
  tf_eq_t *eq;
  int err;

  if (wait != FI_WAIT_NONE && wait != FI_WAIT_UNSPEC && wait != FI_WAIT_FD) return -FI_ENOSYS;
  eq = calloc(1, sizeof(*eq));
  if (eq == NULL) return -FI_ENOMEM;
  err = tf_stream.set_open(&eq->set);
  if (err != 0) {
    free(eq);
    return err;
  }
  eq->fabric = tf_up(f, tf_fabric_t, f);
  eq->wait = wait == FI_WAIT_UNSPEC ? FI_WAIT_FD : wait;
  eq->tail = &eq->head;
  pthread_mutex_init(&eq->lock, NULL);
  eq->e.fid = (struct fid){.fclass = FI_CLASS_EQ, .context = context, .ops = &fid_ops};
  eq->e.ops = &ops;
  tf_ref(&eq->fabric->refs);
  *out = &eq->e;
  return 0;
}
