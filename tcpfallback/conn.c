/* SPDX-License-Identifier: Apache-2.0 */
/* conn.c - handshakes, driven by reading the event queue that watches them.
 *
 * Design notes
 *  - Exactly the handshake is read and no byte more: what follows belongs to the endpoint.
 *  - Who was told of a request may reject it, also when its endpoint came and went without an accept,
 *    as `tcp` has it: what is left of it stays until then, or until the listener closes.
 *  - A message leaves as one segment, since `tcp` drops who splits it; any split is accepted. */
#include <stdlib.h>
#include <string.h>

#include "prov.h"

enum { EVENTS = 64 };

static int conn_close(struct fid *fid) {
  tf_conn_free((tf_conn_t *) fid);
  return 0;
}
static struct fi_ops fid_ops = {.size = sizeof(struct fi_ops),
                                .close = conn_close,
                                .bind = tf_no_bind,
                                .control = tf_no_control,
                                .ops_open = tf_no_ops_open,
                                .ops_set = tf_no_ops_set};

tf_conn_t *tf_conn_new(tf_sock_t s) {
  tf_conn_t *c = calloc(1, sizeof(*c));

  if (c == NULL) return NULL;
  c->fid = (struct fid){.fclass = FI_CLASS_CONNREQ, .ops = &fid_ops};
  c->sock = s;
  c->want = TF_CM_HDR;
  return c;
}

/* An event queue lists those that it watches, a listener those that its user was told of. */
static void link_to(tf_conn_t **list, tf_conn_t *c) {
  c->next = *list;
  if (c->next != NULL) c->next->prev = c;
  *list = c;
}

static void unlink_from(tf_conn_t **list, tf_conn_t *c) {
  if (c->prev != NULL)
    c->prev->next = c->next;
  else
    *list = c->next;
  if (c->next != NULL) c->next->prev = c->prev;
  c->prev = c->next = NULL;
}

static void unwatch(tf_conn_t *c) {
  tf_eq_t *eq = c->eq;

  if (eq == NULL) return;
  tf_stream.del(eq->set, c->sock);
  unlink_from(&eq->conns, c);
  c->eq = NULL;
  eq->watched--;
}

void tf_eq_by(tf_eq_t *eq, uint64_t at) {
  if (eq->at == 0 || at < eq->at) tf_stream.deadline(eq->set, eq->at = at);
}

int tf_conn_watch(tf_eq_t *eq, tf_conn_t *c, unsigned events, uint64_t deadline) {
  int err = tf_stream.add(eq->set, c->sock, events, c);

  if (err != 0) return err;
  c->eq = eq;
  c->deadline = deadline;
  link_to(&eq->conns, c);
  eq->watched++;
  tf_eq_by(eq, deadline);
  return 0;
}

void tf_conn_free(tf_conn_t *c) {
  unwatch(c);
  if (c->state == CONN_READY && c->pep != NULL) unlink_from(&c->pep->asked, c);
  if (c->ep != NULL) c->ep->conn = NULL;
  if (c->sock != TF_NO_SOCK) tf_stream.close(c->sock);
  free(c);
}

void tf_conn_ep_gone(tf_conn_t *c) {
  c->ep = NULL;
  if (c->state != CONN_READY || c->pep == NULL) {
    tf_conn_free(c);
    return;
  }
  tf_stream.close(c->sock);
  c->sock = TF_NO_SOCK;
}

void tf_conn_pep_gone(tf_pep_t *pep) {
  tf_conn_t *c;

  while ((c = pep->asked) != NULL) {
    unlink_from(&pep->asked, c);
    c->pep = NULL;
    if (c->sock == TF_NO_SOCK) tf_conn_free(c);
  }
}

int tf_conn_answer(tf_conn_t *c, uint8_t type, const void *data, size_t len) {
  uint8_t buf[TF_CM_HDR + TF_CM_DATA];
  ssize_t r;

  if (len > TF_CM_DATA) return -FI_EINVAL;
  tf_cm_put(buf, type, (uint16_t) len);
  if (len != 0) memcpy(buf + TF_CM_HDR, data, len);
  r = tf_stream.write(c->sock, buf, TF_CM_HDR + len);
  return r < 0 ? (int) r : (size_t) r == TF_CM_HDR + len ? 0 : -FI_EIO;
}

int tf_conn_start(tf_ep_t *ep, const void *data, size_t len) {
  tf_conn_t *c;
  int err;

  c = tf_conn_new(ep->sock);
  if (c == NULL) return -FI_ENOMEM;
  tf_cm_put(c->out, TF_CM_REQ, (uint16_t) len);
  if (len != 0) memcpy(c->out + TF_CM_HDR, data, len);
  c->outlen = (uint16_t) (TF_CM_HDR + len);
  c->state = CONN_CONNECT;
  err = tf_stream.connect(ep->sock, (struct sockaddr *) &ep->dst, ep->dstlen);
  if (err == 0 || err == -EINPROGRESS)
    err = tf_conn_watch(ep->eq, c, TF_OUT, tf_stream.now() + (uint64_t) tf_params.connect_ms);
  if (err != 0) {
    c->sock = TF_NO_SOCK;
    tf_conn_free(c);
    return err;
  }
  c->ep = ep;
  ep->sock = TF_NO_SOCK; /* the handshake's, until it is done */
  ep->conn = c;
  return 0;
}

static void fail(tf_conn_t *c, int err, const void *data, size_t len) {
  tf_ep_t *ep = c->ep;

  tf_conn_free(c);
  if (ep == NULL) return; /* a stranger at a listener */
  tf_lock(ep->domain);
  ep->state = EP_DOWN;
  ep->told = true;
  tf_unlock(ep->domain);
  (void) tf_eq_say(ep->eq, 0, &ep->e.fid, NULL, err, data, len);
}

/* FI_CONNECTED is said under the domain's lock: who has read it finds the endpoint up, and FI_SHUTDOWN
 * cannot come before it. */
int tf_conn_hand_over(tf_conn_t *c, tf_ep_t *ep, const void *data, size_t len) {
  int err;

  tf_lock(ep->domain);
  ep->sock = c->sock;
  ep->swap = c->swap;
  err = tf_ep_up(ep);
  if (err == 0) {
    c->sock = TF_NO_SOCK;
    err = tf_eq_say(ep->eq, FI_CONNECTED, &ep->e.fid, NULL, 0, data, len);
    if (err != 0) {
      ep->told = true; /* by the caller */
      tf_ep_down(ep, -err);
    }
  } else {
    ep->sock = TF_NO_SOCK;
  }
  tf_unlock(ep->domain);
  return err;
}

static void connected(tf_conn_t *c) {
  int err;

  unwatch(c);
  err = tf_conn_hand_over(c, c->ep, c->buf + TF_CM_HDR, (size_t) c->want - TF_CM_HDR);
  if (err != 0) {
    fail(c, -err, NULL, 0);
    return;
  }
  tf_conn_free(c);
}

static void requested(tf_conn_t *c) {
  tf_eq_t *eq = c->eq;
  tf_pep_t *pep = c->pep;
  struct fi_info *info = fi_dupinfo(pep->info);
  struct sockaddr_storage sa;
  socklen_t len;

  unwatch(c);
  c->state = CONN_READY;
  link_to(&pep->asked, c);
  if (info != NULL) {
    free(info->dest_addr);
    free(info->src_addr);
    info->dest_addr = info->src_addr = NULL;
    info->dest_addrlen = info->src_addrlen = 0;
    if (tf_stream.peer(c->sock, &sa, &len) == 0 && (info->dest_addr = malloc(len)) != NULL) {
      memcpy(info->dest_addr, &sa, len);
      info->dest_addrlen = len;
    }
    if (tf_stream.name(c->sock, &sa, &len) == 0 && (info->src_addr = malloc(len)) != NULL) {
      memcpy(info->src_addr, &sa, len);
      info->src_addrlen = len;
    }
    info->handle = &c->fid;
    if (tf_eq_say(eq, FI_CONNREQ, &pep->p.fid, info, 0, c->buf + TF_CM_HDR,
                  (size_t) c->want - TF_CM_HDR) == 0)
      return;
    info->handle = NULL;
    fi_freeinfo(info);
  }
  tf_conn_free(c);
}

static void step(tf_conn_t *c) {
  tf_cm_t cm;
  uint8_t version;
  const char *why;
  ssize_t r;
  int err;

  if (c->state == CONN_CONNECT) {
    err = tf_stream.error(c->sock);
    if (err == 0) {
      r = tf_stream.write(c->sock, c->out, c->outlen);
      if (r != c->outlen) err = r < 0 ? (int) r : -EIO;
    }
    if (err == 0) err = tf_stream.mod(c->eq->set, c->sock, TF_IN, c);
    if (err != 0) {
      fail(c, -err, NULL, 0);
      return;
    }
    c->state = CONN_READ;
  }
  for (;;) {
    r = tf_stream.read(c->sock, c->buf + c->got, (size_t) c->want - c->got);
    if (r == -EAGAIN) return;
    if (r <= 0) {
      fail(c, r == 0 ? FI_ECONNRESET : (int) -r, NULL, 0);
      return;
    }
    c->got = (uint16_t) (c->got + r);
    if (c->got < c->want) continue;
    why = tf_cm_get(c->buf, c->ep != NULL ? 1u << TF_CM_RESP | 1u << TF_CM_NACK : 1u << TF_CM_REQ,
                    &cm, &version);
    if (why != NULL) {
      TF_WARN("handshake: %s\n", why);
      fail(c, version != TF_VERSION ? ENOPROTOOPT : FI_EIO, NULL, 0);
      return;
    }
    if (c->want == TF_CM_HDR && cm.len != 0) {
      c->want = (uint16_t) (TF_CM_HDR + cm.len);
      continue;
    }
    c->swap = cm.swap;
    if (cm.type == TF_CM_NACK) {
      uint8_t data[TF_CM_DATA];
      memcpy(data, c->buf + TF_CM_HDR, cm.len);
      fail(c, FI_ECONNREFUSED, data, cm.len);
    } else if (c->ep != NULL) {
      connected(c);
    } else {
      requested(c);
    }
    return;
  }
}

static void late(tf_eq_t *eq) {
  uint64_t now = tf_stream.now(), at;
  tf_conn_t *c, *next;

  if (eq->at == 0 || now < eq->at) return;
  at = tf_pep_again(eq, now);
  for (c = eq->conns; c != NULL; c = next) {
    next = c->next;
    if (c->fid.fclass == FI_CLASS_CONNREQ && c->deadline <= now)
      fail(c, FI_ETIMEDOUT, NULL, 0);
    else if (at == 0 || c->deadline < at)
      at = c->deadline;
  }
  tf_stream.deadline(eq->set, eq->at = at);
}

void tf_eq_progress(tf_eq_t *eq) {
  tf_ready_t ready[EVENTS];
  int i, n;

  pthread_mutex_lock(&eq->fabric->cm);
  if (eq->watched != 0 || eq->at != 0) {
    n = tf_stream.wait(eq->set, ready, EVENTS, 0);
    for (i = 0; i < n; i++) {
      struct fid *f = ready[i].ptr;
      if (f == NULL) continue;
      if (f->fclass == FI_CLASS_PEP)
        tf_pep_accept(tf_up(f, tf_pep_t, p.fid));
      else
        step((tf_conn_t *) f);
    }
    late(eq);
  }
  pthread_mutex_unlock(&eq->fabric->cm);
}
