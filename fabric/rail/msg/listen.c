/* SPDX-License-Identifier: Apache-2.0 */
/* listen.c - listeners, and requests from peers that wait for an answer.
 *
 * Design notes
 *  - Each listener has its own event queue: a connection to it that was opened but never spoke
 *    stays in the queue's wait set inside tcp, with a pointer to the listener; closing both
 *    together leaves nobody to follow that pointer.
 *  - A request belongs to its listener until it is answered; closing the listener rejects it.
 *  - An accept that fails half-way has receives posted. Such a path goes through the ordinary end
 *    of a path, silently. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "internal.h"

int weft__rail_listen(weft__rail_t *rail, const struct sockaddr *addr, socklen_t len, int backlog,
                      const weft__lst_cbs_t *cbs, void *user, weft__lst_t **out) {
  struct sockaddr_storage want;
  struct fi_info *info = NULL;
  weft__lst_t *l;
  const char *step;
  char text[96], where[80];
  size_t namelen;
  int err;

  memset(&want, 0, sizeof(want));
  if (len != weft__sa_len(addr) || len == 0) return -EINVAL;
  memcpy(&want, addr, len);
  if (weft__sa_any(&want) && !rail->q->wildcard && want.ss_family == rail->addr.ss_family) {
    uint16_t port = weft__sa_port(&want);
    memcpy(&want, &rail->addr, sizeof(want));
    weft__sa_set_port(&want, port);
  }
  weft__sa_str(&want, where, sizeof(where));

  l = calloc(1, sizeof(*l));
  if (l == NULL) return -ENOMEM;
  l->rail = rail;
  l->cbs = cbs;
  l->user = user;

  step = "copying attributes";
  err = -ENOMEM;
  info = fi_dupinfo(rail->info);
  if (info == NULL) goto failed;
  free(info->src_addr);
  info->src_addr = malloc(len);
  if (info->src_addr == NULL) goto failed;
  memcpy(info->src_addr, &want, len);
  info->src_addrlen = len;
  if (info->addr_format != FI_SOCKADDR)
    info->addr_format = want.ss_family == AF_INET6 ? FI_SOCKADDR_IN6 : FI_SOCKADDR_IN;

  step = "fi_eq_open";
  err = weft__eq_open(rail, &l->eq);
  if (err != 0) goto failed;
  l->eq->lst = l;
  step = "fi_passive_ep";
  err = WEFT__FAULT(ep_open);
  if (err == 0) err = weft__fi_err(fi_passive_ep(rail->fabric, info, &l->pep, l));
  if (err != 0) goto failed;
  step = "fi_pep_bind";
  err = weft__fi_err(fi_pep_bind(l->pep, &l->eq->eq->fid, 0));
  if (err != 0) goto failed;
  (void) fi_control(&l->pep->fid, FI_BACKLOG, &backlog); /* not every provider knows it */
  step = "fi_listen";
  err = WEFT__FAULT(listen);
  if (err == 0) err = weft__fi_err(fi_listen(l->pep));
  if (err != 0) goto failed;
  step = "fi_getname";
  namelen = sizeof(l->addr);
  err = weft__fi_err(fi_getname(&l->pep->fid, &l->addr, &namelen));
  if (err != 0) goto failed;
  weft__sa_str(&l->addr, l->name, sizeof(l->name));
  fi_freeinfo(info);
  l->next = rail->lsts;
  if (l->next != NULL) l->next->prev = l;
  rail->lsts = l;
  *out = l;
  return 0;

failed:
  weft__warn("%s: listen on %s: %s: %s", rail->name, where, step,
             weft__err_str(err, text, sizeof(text)));
  if (l->pep != NULL) fi_close(&l->pep->fid);
  if (l->eq != NULL) weft__eq_close(l->eq);
  if (info != NULL) fi_freeinfo(info);
  free(l);
  return err;
}

void *weft__lst_user(const weft__lst_t *l) {
  return l->user;
}

const struct sockaddr *weft__lst_addr(const weft__lst_t *l) {
  return (const struct sockaddr *) &l->addr;
}

static void req_free(weft__req_t *q) {
  if (q->prev != NULL)
    q->prev->next = q->next;
  else
    q->lst->reqs = q->next;
  if (q->next != NULL) q->next->prev = q->prev;
  if (q->info != NULL) fi_freeinfo(q->info);
  free(q);
}

/* Reject whoever asks now. */
static void turn_away(weft__lst_t *l) {
  union {
    struct fi_eq_cm_entry cm;
    uint8_t room[sizeof(struct fi_eq_cm_entry) + CM_DATA_MAX + 16];
  } u;
  struct fi_eq_err_entry e;
  uint32_t ev;
  ssize_t r;
  int i;

  for (i = 0; i < 4096; i++) {
    errno = 0; /* tcp would take an old one for its own, see queue.c */
    r = fi_eq_read(l->eq->eq, &ev, &u, sizeof(u), 0);
    if (r == -FI_EAVAIL) {
      memset(&e, 0, sizeof(e));
      if (fi_eq_readerr(l->eq->eq, &e, 0) < 0) break;
    } else if (r >= (ssize_t) sizeof(u.cm) && ev == FI_CONNREQ) {
      (void) fi_reject(l->pep, u.cm.info->handle, NULL, 0);
      fi_freeinfo(u.cm.info);
    } else {
      break;
    }
  }
}

void weft__lst_close(weft__lst_t *l) {
  weft__rail_t *rail = l->rail;
  int i;

  while (l->reqs != NULL) weft__req_reject(l->reqs, NULL, 0);
  turn_away(l);
  for (i = 0; i < 16 && weft__half_end(l) != 0; i++) turn_away(l);
  fi_close(&l->pep->fid);
  weft__eq_close(l->eq);
  if (l->prev != NULL)
    l->prev->next = l->next;
  else
    rail->lsts = l->next;
  if (l->next != NULL) l->next->prev = l->prev;
  free(l->half);
  free(l);
}

void weft__lst_error(weft__lst_t *l, int err) {
  char text[96], why[256];

  /* Somebody's request went wrong, not the listener. */
  if (err != -ENODEV && err != -EADDRNOTAVAIL && err != -EIO) {
    weft__debug("%s: a request at %s: %s", l->rail->name, l->name,
                weft__err_str(err, text, sizeof(text)));
    return;
  }
  if (l->failed) return;
  l->failed = true;
  snprintf(why, sizeof(why), "%s: listening on %s: %s", l->rail->name, l->name,
           weft__err_str(err, text, sizeof(text)));
  l->cbs->failed(l, err, why);
}

void weft__lst_connreq(weft__lst_t *l, struct fi_info *info, const void *blob, size_t len) {
  weft__req_t *q = calloc(1, sizeof(*q));

  if (q == NULL) {
    (void) fi_reject(l->pep, info->handle, NULL, 0);
    fi_freeinfo(info);
    return;
  }
  q->lst = l;
  q->info = info;
  q->bloblen = len < sizeof(q->blob) ? (uint32_t) len : (uint32_t) sizeof(q->blob);
  memcpy(q->blob, blob, q->bloblen);
  if (info->dest_addr != NULL && info->dest_addrlen <= sizeof(q->peer))
    memcpy(&q->peer, info->dest_addr, info->dest_addrlen);
  weft__sa_unmap(&q->peer);
  q->next = l->reqs;
  if (q->next != NULL) q->next->prev = q;
  l->reqs = q;
  l->cbs->request(l, q);
}

const void *weft__req_blob(const weft__req_t *q, size_t *len) {
  *len = q->bloblen;
  return q->blob;
}

const struct sockaddr *weft__req_peer(const weft__req_t *q) {
  return (const struct sockaddr *) &q->peer;
}

void weft__req_reject(weft__req_t *q, const void *blob, size_t len) {
  (void) fi_reject(q->lst->pep, q->info->handle, blob, len);
  req_free(q);
}

static void silent(weft__path_t *p) {
  (void) p;
}

static const weft__path_cbs_t silent_cbs = {.closed = silent};

int weft__req_accept(weft__req_t *q, const void *blob, size_t len, const weft__path_cbs_t *cbs,
                     void *user, weft__path_t **out) {
  weft__rail_t *rail = q->lst->rail;
  const char *step = "making the path";
  char text[96], what[160];
  weft__mpath_t *p;
  int err = len > WEFT__BLOB_MAX ? -EINVAL : weft__mpath_new(rail, cbs, user, &p);

  if (err != 0) {
    weft__req_reject(q, NULL, 0);
    return err;
  }
  p->state = ST_ACCEPTING;
  memcpy(&p->dst, &q->peer, sizeof(p->dst));
  weft__sa_str(&p->dst, p->p.remote, sizeof(p->p.remote));
  q->info->rx_attr->size = rail->info->rx_attr->size;
  q->info->tx_attr->size = rail->info->tx_attr->size;
  q->info->tx_attr->inject_size = rail->info->tx_attr->inject_size;
  q->info->rx_attr->iov_limit = rail->info->rx_attr->iov_limit;
  q->info->tx_attr->iov_limit = rail->info->tx_attr->iov_limit;

  step = "fi_endpoint";
  err = WEFT__FAULT(ep_open);
  if (err == 0) err = weft__fi_err(fi_endpoint(rail->domain, q->info, &p->ep, p));
  if (err != 0) {
    p->ep = NULL;
    goto failed;
  }
  step = what;
  err = weft__mpath_setup(p, what, sizeof(what));
  if (err != 0) goto failed;
  weft__mpath_names(p);
  step = "fi_accept";
  err = WEFT__FAULT(accept);
  if (err == 0) err = weft__fi_err(fi_accept(p->ep, blob, len));
  if (err != 0) goto failed;
  weft__eq_touch(weft__mpath_eq(p));
  req_free(q);
  *out = &p->p;
  return 0;

failed:
  weft__warn("%s: accept of %s: %s: %s", rail->name, p->p.remote, step,
             weft__err_str(err, text, sizeof(text)));
  p->p.cbs = &silent_cbs;
  p->dying = false;
  p->ended = true;
  p->state = ST_CONNECTING; /* nothing to shut down */
  weft__mpath_end(p);
  weft__req_reject(q, NULL, 0); /* after the endpoint: it may hold the request's handle */
  return err;
}
