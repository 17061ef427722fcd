/* SPDX-License-Identifier: Apache-2.0 */
/* pep.c - listeners.
 *
 * Design notes
 *  - One that has no descriptor or no memory for who knocks pauses, and tries again a little later: its
 *    stream stays ready, and a program that sleeps on the queue would spin. The kernel's backlog keeps
 *    who comes meanwhile. */
#include <stdlib.h>
#include <string.h>

#include "prov.h"

int tf_sock_name(tf_sock_t s, void *addr, size_t *len, bool peer) {
  struct sockaddr_storage sa;
  socklen_t n;
  size_t room = *len;
  int err = peer ? tf_stream.peer(s, &sa, &n) : tf_stream.name(s, &sa, &n);

  if (err != 0) return err;
  memcpy(addr, &sa, n < room ? n : room);
  *len = n;
  return n > room ? -FI_ETOOSMALL : 0;
}

enum { BATCH = 64, PAUSE_MS = 100 };

static void pause_for(tf_pep_t *pep, int err) {
  tf_eq_t *eq = pep->eq;

  TF_WARN("a listener cannot accept, and pauses: %s\n", fi_strerror(-err));
  if (tf_stream.mod(eq->set, pep->sock, 0, &pep->p.fid) != 0) return;
  pep->paused = tf_stream.now() + PAUSE_MS;
  pep->pnext = eq->paused;
  eq->paused = pep;
  tf_eq_by(eq, pep->paused);
}

uint64_t tf_pep_again(tf_eq_t *eq, uint64_t now) {
  tf_pep_t **at = &eq->paused, *pep;
  uint64_t next = 0;

  while ((pep = *at) != NULL) {
    if (pep->paused > now) {
      if (next == 0 || pep->paused < next) next = pep->paused;
      at = &pep->pnext;
      continue;
    }
    *at = pep->pnext;
    pep->paused = 0;
    (void) tf_stream.mod(eq->set, pep->sock, TF_IN, &pep->p.fid);
  }
  return next;
}

static void forget_pause(tf_pep_t *pep) {
  tf_pep_t **at;

  if (pep->paused == 0) return;
  for (at = &pep->eq->paused; *at != pep; at = &(*at)->pnext) continue;
  *at = pep->pnext;
}

void tf_pep_accept(tf_pep_t *pep) {
  tf_sock_t s;
  tf_conn_t *c;
  int i, err;

  for (i = 0; i < BATCH && (err = tf_stream.accept(pep->sock, &tf_params.sock, &s)) == 0; i++) {
    c = tf_conn_new(s);
    if (c == NULL) {
      tf_stream.close(s);
      return;
    }
    c->pep = pep;
    c->state = CONN_READ;
    if (tf_conn_watch(pep->eq, c, TF_IN, tf_stream.now() + (uint64_t) tf_params.stranger_ms) != 0)
      tf_conn_free(c);
  }
  if (err == -EMFILE || err == -ENFILE || err == -ENOBUFS || err == -ENOMEM) pause_for(pep, err);
}

static int bind_to(tf_pep_t *p, const void *addr, size_t len) {
  tf_sock_t s;
  int err = tf_stream.open(addr, (socklen_t) len, &tf_params.sock, AF_INET, false, &s);

  if (err != 0) return err;
  if (p->sock != TF_NO_SOCK) tf_stream.close(p->sock);
  p->sock = s;
  return 0;
}

static int pep_setname(fid_t fid, void *addr, size_t len) {
  tf_pep_t *p = tf_up(fid, tf_pep_t, p.fid);

  return p->listening ? -FI_EINVAL : bind_to(p, addr, len);
}
static int pep_getname(fid_t fid, void *addr, size_t *len) {
  tf_pep_t *p = tf_up(fid, tf_pep_t, p.fid);

  return p->sock == TF_NO_SOCK ? -FI_EADDRNOTAVAIL : tf_sock_name(p->sock, addr, len, false);
}
static int pep_listen(struct fid_pep *f) {
  tf_pep_t *p = tf_up(f, tf_pep_t, p);
  int err = 0;

  if (p->eq == NULL) return -FI_ENOEQ;
  if (p->listening) return -FI_EALREADY;
  if (p->sock == TF_NO_SOCK) err = bind_to(p, NULL, 0);
  if (err == 0) err = tf_stream.listen(p->sock, p->backlog);
  if (err != 0) return err;
  pthread_mutex_lock(&p->fabric->cm);
  err = tf_stream.add(p->eq->set, p->sock, TF_IN, &p->p.fid);
  if (err == 0) {
    p->listening = true;
    p->eq->watched++;
    tf_eq_by(p->eq, tf_stream.now()); /* later there may be no descriptor for the set's timer */
  }
  pthread_mutex_unlock(&p->fabric->cm);
  return err;
}
static int pep_reject(struct fid_pep *f, fid_t handle, const void *data, size_t len) {
  tf_conn_t *c = (tf_conn_t *) handle;
  pthread_mutex_t *cm = &tf_up(f, tf_pep_t, p)->fabric->cm;
  int err = 0;

  if (c == NULL || c->fid.fclass != FI_CLASS_CONNREQ || len > TF_CM_DATA) return -FI_EINVAL;
  pthread_mutex_lock(cm);
  if (c->sock != TF_NO_SOCK) err = tf_conn_answer(c, TF_CM_NACK, data, len);
  tf_conn_free(c);
  pthread_mutex_unlock(cm);
  return err;
}
static int pep_bind(struct fid *fid, struct fid *b, uint64_t flags) {
  tf_pep_t *p = tf_up(fid, tf_pep_t, p.fid);

  (void) flags;
  if (b->fclass != FI_CLASS_EQ || p->eq != NULL) return -FI_EINVAL;
  p->eq = tf_up(b, tf_eq_t, e.fid);
  tf_ref(&p->eq->refs);
  return 0;
}
static int pep_control(struct fid *fid, int command, void *arg) {
  if (command != FI_BACKLOG) return -FI_ENOSYS;
  tf_up(fid, tf_pep_t, p.fid)->backlog = *(int *) arg;
  return 0;
}
static int pep_close(struct fid *fid) {
  tf_pep_t *p = tf_up(fid, tf_pep_t, p.fid);
  tf_conn_t *c, *next;

  pthread_mutex_lock(&p->fabric->cm);
  if (p->listening) {
    forget_pause(p);
    tf_stream.del(p->eq->set, p->sock);
    p->eq->watched--;
    for (c = p->eq->conns; c != NULL; c = next) {
      next = c->next;
      if (c->pep == p) tf_conn_free(c);
    }
  }
  if (p->sock != TF_NO_SOCK) tf_stream.close(p->sock);
  tf_eq_purge(p->eq, fid);
  tf_conn_pep_gone(p);
  if (p->eq != NULL) tf_unref(&p->eq->refs);
  pthread_mutex_unlock(&p->fabric->cm);
  tf_unref(&p->fabric->refs);
  fi_freeinfo(p->info);
  free(p);
  return 0;
}

static struct fi_ops fid_ops = {.size = sizeof(struct fi_ops),
                                .close = pep_close,
                                .bind = pep_bind,
                                .control = pep_control,
                                .ops_open = tf_no_ops_open,
                                .ops_set = tf_no_ops_set};
static struct fi_ops_ep ep_ops = {.size = sizeof(struct fi_ops_ep),
                                  .cancel = tf_no_cancel,
                                  .getopt = tf_getopt,
                                  .setopt = tf_no_setopt,
                                  .tx_ctx = tf_no_tx_ctx,
                                  .rx_ctx = tf_no_rx_ctx,
                                  .rx_size_left = tf_no_size_left,
                                  .tx_size_left = tf_no_size_left};
static struct fi_ops_cm cm_ops = {.size = sizeof(struct fi_ops_cm),
                                  .setname = pep_setname,
                                  .getname = pep_getname,
                                  .getpeer = tf_no_getpeer,
                                  .connect = tf_no_connect,
                                  .listen = pep_listen,
                                  .accept = tf_no_accept,
                                  .reject = pep_reject,
                                  .shutdown = tf_no_shutdown,
                                  .join = tf_no_join};

int tf_pep_open(struct fid_fabric *f, struct fi_info *info, struct fid_pep **out, void *context) {
  tf_pep_t *p = calloc(1, sizeof(*p));
  int err = 0;

  if (p == NULL) return -FI_ENOMEM;
  p->fabric = tf_up(f, tf_fabric_t, f);
  p->sock = TF_NO_SOCK;
  p->backlog = 4096;
  p->info = fi_dupinfo(info);
  if (p->info == NULL) err = -FI_ENOMEM;
  if (err == 0 && info->src_addr != NULL) err = bind_to(p, info->src_addr, info->src_addrlen);
  if (err != 0) {
    if (p->info != NULL) fi_freeinfo(p->info);
    free(p);
    return err;
  }
  p->p.fid = (struct fid){.fclass = FI_CLASS_PEP, .context = context, .ops = &fid_ops};
  p->p.ops = &ep_ops;
  p->p.cm = &cm_ops;
  tf_ref(&p->fabric->refs);
  *out = &p->p;
  return 0;
}
