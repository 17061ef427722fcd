/* SPDX-License-Identifier: Apache-2.0 */
/* stream_lwip.c - byte streams over lwIP's TCP, in this process.
 *
 * Design notes
 *  - A stream outlives its pcb: lwIP frees that one on an error, and owns it after a close. So what a
 *    program may still ask (names, the error, what was received) is in the stream.
 *  - What was received stays in lwIP's buffers, and the window shut by as much, until it is read.
 *  - What is written is copied: lwIP keeps it until it is acknowledged. A long write leaves in pieces of
 *    AHEAD bytes, so that the peer takes one while the next is copied.
 *  - As a kernel has it: what was received before the end or an error is read first; closing with
 *    something unread resets; a stream that is closed goes on until its bytes have left.
 *  - Reading and writing move the whole stack, so that an endpoint that is read without asking its
 *    set needs none. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lwip/pbuf.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/tcp.h"

#include "lwip/stack.h"
#include "stream.h"

enum { BACKLOG_MAX = 255, ROOM = TCP_SND_BUF / 3, CHUNK = 65535, AHEAD = 32768 };

typedef enum { LW_NEW, LW_LISTEN, LW_CONNECTING, LW_UP, LW_DOWN } lw_state;

struct tf_lw {
  struct tcp_pcb *pcb; /* NULL: closed or broken */
  lw_state state;
  int err;         /* why it broke; 0: it has not */
  bool eof;        /* the peer sends no more, or we read no more */
  bool tight;      /* a write took less than it was given: until there is room */
  bool shut;       /* by us */
  struct pbuf **q; /* received */
  unsigned head, tail, cap, off;
  struct sockaddr_storage local, remote;
  tf_member_t *members;
  tf_lw_t *first, **last, *next; /* of a listener: who may be accepted */
  tf_lw_t *listener;
  struct tf_lw *lprev, *lnext; /* among listeners */
};

static tf_lw_t *listeners;

static tf_lw_t *lw(tf_sock_t s) {
  return (tf_lw_t *) s;
}

tf_member_t **tf_lw_members(tf_lw_t *s) {
  return &s->members;
}

static int err_of(err_t e) {
  switch (e) {
  case ERR_OK: return 0;
  case ERR_MEM:
  case ERR_BUF: return -ENOMEM;
  case ERR_RTE: return -EHOSTUNREACH;
  case ERR_USE: return -EADDRINUSE;
  case ERR_ISCONN: return -EISCONN;
  case ERR_ABRT: return -ETIMEDOUT;
  case ERR_RST: return -ECONNRESET;
  case ERR_CLSD:
  case ERR_CONN: return -ENOTCONN;
  default: return -EINVAL;
  }
}

/* ---- Addresses ---- */

static int to_ip(const struct sockaddr *sa, socklen_t len, ip_addr_t *ip, u16_t *port) {
  memset(ip, 0, sizeof(*ip));
  if (sa->sa_family == AF_INET && len >= sizeof(struct sockaddr_in)) {
    const struct sockaddr_in *in = (const struct sockaddr_in *) sa;
    IP_SET_TYPE_VAL(*ip, IPADDR_TYPE_V4);
    ip_2_ip4(ip)->addr = in->sin_addr.s_addr;
    *port = ntohs(in->sin_port);
    return 0;
  }
  if (sa->sa_family == AF_INET6 && len >= sizeof(struct sockaddr_in6)) {
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *) sa;
    IP_SET_TYPE_VAL(*ip, IPADDR_TYPE_V6);
    memcpy(ip_2_ip6(ip)->addr, &in6->sin6_addr, 16);
    *port = ntohs(in6->sin6_port);
    return 0;
  }
  return -EAFNOSUPPORT;
}

static void from_ip(struct sockaddr_storage *out, const ip_addr_t *ip, u16_t port) {
  memset(out, 0, sizeof(*out));
  if (IP_IS_V6(ip)) {
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *) out;
    in6->sin6_family = AF_INET6;
    memcpy(&in6->sin6_addr, ip_2_ip6(ip)->addr, 16);
    in6->sin6_port = htons(port);
  } else {
    struct sockaddr_in *in = (struct sockaddr_in *) out;
    in->sin_family = AF_INET;
    in->sin_addr.s_addr = ip_2_ip4(ip)->addr;
    in->sin_port = htons(port);
  }
}

static void note_names(tf_lw_t *s) {
  from_ip(&s->local, &s->pcb->local_ip, s->pcb->local_port);
  if (s->state == LW_UP || s->state == LW_CONNECTING)
    from_ip(&s->remote, &s->pcb->remote_ip, s->pcb->remote_port);
}

static bool is_ours(const ip_addr_t *ip) {
  const struct sockaddr_in *in;
  unsigned i, k;

  if (ip_addr_isany(ip) || IP_IS_V6(ip))
    return true; /* lwIP refuses the wrong ones of IPv6 itself */
  for (i = 0; i < tf_config.ports; i++)
    for (k = 0; k < tf_config.port[i].n; k++) {
      in = (const struct sockaddr_in *) &tf_config.port[i].address[k].sa;
      if (in->sin_family == AF_INET && in->sin_addr.s_addr == ip_2_ip4(ip)->addr) return true;
    }
  return false;
}

/* ---- Events ---- */

static bool has_room(const tf_lw_t *s) {
  if (s->pcb == NULL || s->shut || s->state != LW_UP) return false;
  return !s->tight && s->pcb->snd_buf > 0 && s->pcb->snd_queuelen < TCP_SND_QUEUELEN;
}

unsigned tf_lw_events(const tf_lw_t *s) {
  unsigned e = 0;

  if (s->state == LW_LISTEN) return s->first != NULL ? TF_IN : 0;
  if (s->err != 0) return TF_IN | TF_OUT | TF_HUP | TF_NOTE;
  if (s->head != s->tail || s->eof) e |= TF_IN;
  if (s->eof) e |= TF_HUP;
  if (has_room(s)) e |= TF_OUT;
  return e;
}

static void keep(tf_lw_t *s, struct pbuf *p) {
  s->q[s->tail++ & (s->cap - 1)] = p;
}

static bool make_room(tf_lw_t *s) {
  unsigned i, n = s->tail - s->head, cap = s->cap != 0 ? s->cap * 2 : 16;
  struct pbuf **q;

  if (n < s->cap) return true;
  q = malloc(cap * sizeof(*q));
  if (q == NULL) return false;
  for (i = 0; i < n; i++) q[i] = s->q[(s->head + i) & (s->cap - 1)];
  free(s->q);
  s->q = q;
  s->cap = cap;
  s->head = 0;
  s->tail = n;
  return true;
}

static err_t on_recv(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err) {
  tf_lw_t *s = arg;

  (void) pcb, (void) err;
  if (p == NULL) {
    s->eof = true;
  } else {
    if (!make_room(s)) return ERR_MEM; /* lwIP offers it again */
    keep(s, p);
  }
  tf_set_mark(s);
  return ERR_OK;
}

static err_t on_sent(void *arg, struct tcp_pcb *pcb, u16_t len) {
  tf_lw_t *s = arg;

  (void) len;
  if (!s->tight || pcb->snd_buf < ROOM || pcb->snd_queuelen > TCP_SND_QUEUELEN / 2) return ERR_OK;
  s->tight = false;
  tf_set_mark(s);
  return ERR_OK;
}

/* Nothing under way would tell of room: memory was short. */
static err_t on_poll(void *arg, struct tcp_pcb *pcb) {
  return on_sent(arg, pcb, 0);
}

static void unqueue(tf_lw_t *s) {
  tf_lw_t **at = &s->listener->first;

  while (*at != s) at = &(*at)->next;
  *at = s->next;
  if (*at == NULL) s->listener->last = at;
  s->listener = NULL;
}

static void drop(tf_lw_t *s) {
  while (s->head != s->tail) pbuf_free(s->q[s->head++ & (s->cap - 1)]);
  tf_set_leave_all(s);
  free(s->q);
  free(s);
}

static void on_error(void *arg, err_t err) {
  tf_lw_t *s = arg;

  if (s == NULL) return;
  s->pcb = NULL;
  if (s->listener != NULL) { /* it left before anybody accepted it */
    unqueue(s);
    drop(s);
    return;
  }
  s->err = s->state == LW_CONNECTING && err == ERR_RST ? -ECONNREFUSED : err_of(err);
  s->state = LW_DOWN;
  tf_set_mark(s);
}

static err_t on_connected(void *arg, struct tcp_pcb *pcb, err_t err) {
  tf_lw_t *s = arg;

  (void) pcb, (void) err;
  s->state = LW_UP;
  note_names(s);
  tf_set_mark(s);
  return ERR_OK;
}

static void attach(tf_lw_t *s, struct tcp_pcb *pcb) {
  s->pcb = pcb;
  tcp_arg(pcb, s);
  tcp_err(pcb, on_error);
  tcp_recv(pcb, on_recv);
  tcp_sent(pcb, on_sent);
  tcp_poll(pcb, on_poll, 4);
}

static struct tcp_pcb *detach(tf_lw_t *s) {
  struct tcp_pcb *pcb = s->pcb;

  s->pcb = NULL;
  if (pcb == NULL) return NULL;
  tcp_arg(pcb, NULL);
  if (pcb->state == LISTEN) return pcb;
  tcp_err(pcb, NULL);
  tcp_recv(pcb, NULL);
  tcp_sent(pcb, NULL);
  tcp_poll(pcb, NULL, 0);
  return pcb;
}

static err_t on_accept(void *arg, struct tcp_pcb *pcb, err_t err) {
  tf_lw_t *l = arg, *s;

  if (err != ERR_OK || pcb == NULL || l == NULL) return ERR_VAL;
  s = calloc(1, sizeof(*s));
  if (s == NULL) return ERR_MEM; /* lwIP resets it */
  s->state = LW_UP;
  attach(s, pcb);
  note_names(s);
  tcp_backlog_delayed(pcb);
  s->listener = l;
  *l->last = s;
  l->last = &s->next;
  tf_set_mark(l);
  return ERR_OK;
}

/* ---- Their lives ---- */

static void configure(struct tcp_pcb *pcb, const tf_sockopts_t *o) {
  if (o->nodelay) tcp_nagle_disable(pcb);
  if (o->keepidle > 0) {
    ip_set_option(pcb, SOF_KEEPALIVE);
    pcb->keep_idle = (u32_t) o->keepidle;
    if (o->keepintvl > 0) pcb->keep_intvl = (u32_t) o->keepintvl;
    if (o->keepcnt > 0) pcb->keep_cnt = (u32_t) o->keepcnt;
  }
}

static bool taken(const ip_addr_t *ip, u16_t port) {
  const tf_lw_t *l;

  for (l = listeners; l != NULL; l = l->lnext)
    if (l->pcb->local_port == port && IP_GET_TYPE(&l->pcb->local_ip) == IP_GET_TYPE(ip) &&
        (ip_addr_isany(ip) || ip_addr_isany(&l->pcb->local_ip) ||
         ip_addr_eq(ip, &l->pcb->local_ip)))
      return true;
  return false;
}

static int bind_to(struct tcp_pcb *pcb, const struct sockaddr *sa, socklen_t len, bool late) {
  ip_addr_t ip;
  u16_t port;
  int err = to_ip(sa, len, &ip, &port);

  if (err != 0) return err;
  if (!is_ours(&ip)) return -EADDRNOTAVAIL;
  if (port != 0) {
    if (taken(&ip, port)) return -EADDRINUSE;
    ip_set_option(pcb, SOF_REUSEADDR); /* who was here before may rest still */
  } else if (late) {
    ip_addr_copy(pcb->local_ip, ip);
    return 0;
  }
  return err_of(tcp_bind(pcb, &ip, port));
}

static int l_open(const struct sockaddr *sa, socklen_t len, const tf_sockopts_t *o, int family,
                  bool late, tf_sock_t *out) {
  tf_lw_t *s = calloc(1, sizeof(*s));
  struct tcp_pcb *pcb;
  int err = 0;

  if (s == NULL) return -ENOMEM;
  tf_stack_lock();
  if (sa != NULL) family = sa->sa_family;
  pcb = tcp_new_ip_type(family == AF_INET6 ? IPADDR_TYPE_V6 : IPADDR_TYPE_V4);
  if (pcb == NULL) err = -ENOMEM;
  if (err == 0) {
    configure(pcb, o);
    if (sa != NULL) err = bind_to(pcb, sa, len, late);
    if (err == 0) {
      attach(s, pcb);
      note_names(s);
    } else {
      tcp_abort(pcb);
    }
  }
  tf_stack_unlock();
  if (err != 0) {
    free(s);
    return err;
  }
  *out = (tf_sock_t) s;
  return 0;
}

static int l_listen(tf_sock_t h, int backlog) {
  tf_lw_t *s = lw(h);
  struct tcp_pcb *pcb;
  int err = 0;

  tf_stack_lock();
  if (s->pcb == NULL || s->state != LW_NEW) err = -EINVAL;
  if (err == 0 && s->pcb->local_port == 0)
    err = err_of(tcp_bind(s->pcb, &s->pcb->local_ip, 0)); /* any port of its own */
  if (err == 0) {
    err_t why = ERR_OK;
    tf_find_listen(s->pcb);
    u8_t most = (u8_t) (backlog > BACKLOG_MAX ? BACKLOG_MAX : backlog < 1 ? 1 : backlog);
    pcb = tcp_listen_with_backlog_and_err(s->pcb, most, &why);
    if (pcb == NULL) err = err_of(why);
    if (pcb != NULL) {
      s->pcb = pcb;
      s->state = LW_LISTEN;
      s->last = &s->first;
      tcp_arg(pcb, s);
      tcp_accept(pcb, on_accept);
      note_names(s);
      s->lnext = listeners;
      if (listeners != NULL) listeners->lprev = s;
      listeners = s;
    }
  }
  tf_stack_unlock();
  return err;
}

static int l_accept(tf_sock_t h, const tf_sockopts_t *o, tf_sock_t *out) {
  tf_lw_t *l = lw(h), *s;

  tf_stack_lock();
  s = l->state == LW_LISTEN ? l->first : NULL;
  if (s != NULL) {
    unqueue(s);
    tcp_backlog_accepted(s->pcb);
    configure(s->pcb, o);
    *out = (tf_sock_t) s;
  }
  tf_stack_unlock();
  return s != NULL ? 0 : -EAGAIN;
}

static int l_connect(tf_sock_t h, const struct sockaddr *sa, socklen_t len) {
  tf_lw_t *s = lw(h);
  ip_addr_t ip;
  u16_t port;
  int err;

  tf_stack_lock();
  err = to_ip(sa, len, &ip, &port);
  if (err == 0 && (s->pcb == NULL || s->state != LW_NEW)) err = -EISCONN;
  if (err == 0 && IP_GET_TYPE(&s->pcb->local_ip) != IP_GET_TYPE(&ip)) err = -EAFNOSUPPORT;
  if (err == 0 && port == 0) err = -ECONNREFUSED;
  if (err == 0) {
    s->state = LW_CONNECTING;
    err = err_of(tcp_connect(s->pcb, &ip, port, on_connected));
    if (err == 0 && !tf_find_add(s->pcb)) {
      tcp_abort(detach(s));
      err = -ENOMEM;
    }
    if (err != 0) {
      s->state = s->pcb != NULL ? LW_NEW : LW_DOWN;
    } else {
      note_names(s);
      err = -EINPROGRESS;
    }
    tf_stack_settle();
  }
  tf_stack_unlock();
  return err;
}

void tf_lw_unfinished(const tf_first_t *f) {
  struct tcp_pcb *p;
  tf_lw_t *s;

  for (p = tcp_active_pcbs; p != NULL; p = p->next)
    if (p->state == SYN_SENT && p->local_port == f->to && p->remote_port == f->from &&
        p->snd_nxt == f->ack)
      break;
  if (p == NULL || (s = p->callback_arg) == NULL) return;
  tcp_abort(detach(s));
  s->err = -EBADMSG;
  s->state = LW_DOWN;
  tf_set_mark(s);
}

static int l_error(tf_sock_t h) {
  int err;

  tf_stack_lock();
  err = lw(h)->err;
  tf_stack_unlock();
  return err;
}

static int l_name(tf_sock_t h, struct sockaddr_storage *sa, socklen_t *len) {
  tf_stack_lock();
  *sa = lw(h)->local;
  tf_stack_unlock();
  *len = sa->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
  return 0;
}

static int l_peer(tf_sock_t h, struct sockaddr_storage *sa, socklen_t *len) {
  lw_state state;

  tf_stack_lock();
  *sa = lw(h)->remote;
  state = lw(h)->state;
  tf_stack_unlock();
  *len = sa->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
  return state == LW_UP ? 0 : -ENOTCONN;
}

/* lwIP owns the pcb from here on. */
static void farewell(tf_lw_t *s) {
  struct tcp_pcb *pcb = detach(s);

  if (pcb == NULL) return;
  if (tcp_close(pcb) != ERR_OK) tcp_abort(pcb);
  tf_stack_settle();
}

static void l_shutdown(tf_sock_t h) {
  tf_lw_t *s = lw(h);

  tf_stack_lock();
  if (s->state != LW_LISTEN) {
    farewell(s);
    s->shut = s->eof = true;
    tf_set_mark(s);
  }
  tf_stack_unlock();
}

static void l_reset(tf_sock_t h) {
  tf_lw_t *s = lw(h);
  struct tcp_pcb *pcb;

  tf_stack_lock();
  if (s->state != LW_LISTEN) {
    pcb = detach(s);
    if (pcb != NULL) tcp_abort(pcb);
    tf_stack_settle();
    s->shut = s->eof = true;
    tf_set_mark(s);
  }
  tf_stack_unlock();
}

static void l_close(tf_sock_t h) {
  tf_lw_t *s = lw(h), *a;

  tf_stack_lock();
  if (s->state == LW_LISTEN) {
    *(s->lprev != NULL ? &s->lprev->lnext : &listeners) = s->lnext;
    if (s->lnext != NULL) s->lnext->lprev = s->lprev;
    while ((a = s->first) != NULL) {
      struct tcp_pcb *pcb = detach(a);
      unqueue(a);
      drop(a);
      if (pcb != NULL) tcp_abort(pcb);
    }
  }
  farewell(s);
  drop(s);
  tf_stack_unlock();
}

bool tf_lw_leaving(void) {
  const struct tcp_pcb *pcb;

  for (pcb = tcp_active_pcbs; pcb != NULL; pcb = pcb->next)
    if (pcb->unsent != NULL || pcb->unacked != NULL) return true;
  return false;
}

/* ---- Bytes ---- */

/* Takes what fits. */
static size_t put(tf_lw_t *s, const uint8_t *p, size_t n, bool more, bool *stop) {
  size_t done = 0, piece = AHEAD - AHEAD % s->pcb->mss;

  if (piece == 0) piece = s->pcb->mss;
  while (done < n && !*stop) {
    size_t k = n - done, room = s->pcb->snd_buf;
    if (k > room) k = room;
    if (k > piece) k = piece;
    if (k == 0 || tcp_write(s->pcb, p + done, (u16_t) k,
                            (u8_t) (TCP_WRITE_FLAG_COPY |
                                    (more || done + k < n ? TCP_WRITE_FLAG_MORE : 0))) != ERR_OK) {
      s->tight = *stop = true;
      break;
    }
    done += k;
    if (done < n) { /* the peer has it while we copy on */
      (void) tcp_output(s->pcb);
      tf_stack_settle();
      *stop = s->pcb == NULL; /* reset by one in this process, meanwhile */
    }
  }
  return done;
}

static ssize_t l_writev(tf_sock_t h, const struct iovec *iov, int n) {
  tf_lw_t *s = lw(h);
  size_t done = 0;
  bool stop = false;
  ssize_t r;
  int i;

  tf_stack_lock();
  if (s->err != 0) {
    r = s->err;
  } else if (s->shut || s->pcb == NULL) {
    r = -EPIPE;
  } else if (s->state != LW_UP) {
    r = s->state == LW_CONNECTING ? -EAGAIN : -ENOTCONN;
  } else {
    for (i = 0; i < n && !stop; i++)
      done += put(s, iov[i].iov_base, iov[i].iov_len, i + 1 < n, &stop);
    if (s->pcb != NULL) (void) tcp_output(s->pcb);
    tf_stack_settle();
    if (stop) { /* and perhaps there is room by now, or nothing under way that would say so */
      if (done == 0) tf_stack_poll();
      if (s->pcb != NULL && s->pcb->snd_buf >= ROOM && s->pcb->snd_queuelen <= TCP_SND_QUEUELEN / 2)
        s->tight = false;
    }
    if (s->pcb != NULL && s->pcb->unsent != NULL) tf_stack_owe();
    r = done != 0 ? (ssize_t) done : -EAGAIN;
  }
  tf_stack_unlock();
  return r;
}

static ssize_t l_write(tf_sock_t h, const void *p, size_t n) {
  return l_writev(h, &(struct iovec){(void *) p, n}, 1);
}

static bool l_lends(void) {
  return false;
}

static ssize_t l_writez(tf_sock_t h, const struct iovec *iov, int n) {
  (void) h, (void) iov, (void) n;
  return -ENOBUFS;
}

static int l_note(tf_sock_t h, uint32_t *first, uint32_t *last) {
  (void) h, (void) first, (void) last;
  return 0;
}

static size_t take(tf_lw_t *s, uint8_t *to, size_t n) {
  size_t done = 0;

  while (done < n && s->head != s->tail) {
    struct pbuf **at = &s->q[s->head & (s->cap - 1)], *p = *at;
    size_t k = p->len - s->off;
    if (k > n - done) k = n - done;
    memcpy(to + done, (uint8_t *) p->payload + s->off, k);
    done += k;
    s->off += (unsigned) k;
    if (s->off < p->len) break;
    s->off = 0;
    *at = p->next;
    if (p->next != NULL)
      pbuf_ref(p->next);
    else
      s->head++;
    pbuf_free(p);
  }
  return done;
}

static ssize_t l_readv(tf_sock_t h, const struct iovec *iov, int n) {
  tf_lw_t *s = lw(h);
  size_t done = 0, got, left;
  ssize_t r;
  int i;

  tf_stack_lock();
  if (s->head == s->tail && !s->eof) tf_stack_poll();
  for (i = 0; i < n; i++) {
    got = take(s, iov[i].iov_base, iov[i].iov_len);
    done += got;
    if (got < iov[i].iov_len) break;
  }
  for (left = done; s->pcb != NULL && left != 0; left -= got) { /* open its window again */
    got = left < CHUNK ? left : CHUNK;
    tcp_recved(s->pcb, (u16_t) got);
  }
  if (done != 0) {
    tf_stack_settle();
    r = (ssize_t) done;
  } else {
    r = s->eof ? 0 : s->err != 0 ? s->err : s->state == LW_NEW ? -ENOTCONN : -EAGAIN;
  }
  tf_stack_unlock();
  return r;
}

static ssize_t l_read(tf_sock_t h, void *p, size_t n) {
  return l_readv(h, &(struct iovec){p, n}, 1);
}

const tf_stream_t tf_stream = {
    .params = tf_config_params,
    .start = tf_stack_start,
    .stop = tf_stack_stop,
    .interfaces = tf_config_interfaces,
    .interfaces_free = tf_config_interfaces_free,
    .route = tf_config_route,
    .own_routes = true,
    .open = l_open,
    .listen = l_listen,
    .accept = l_accept,
    .connect = l_connect,
    .error = l_error,
    .write = l_write,
    .writev = l_writev,
    .lends = l_lends,
    .writez = l_writez,
    .note = l_note,
    .read = l_read,
    .readv = l_readv,
    .name = l_name,
    .peer = l_peer,
    .shutdown = l_shutdown,
    .reset = l_reset,
    .close = l_close,
    .set_open = tf_set_open,
    .set_close = tf_set_close,
    .set_fd = tf_set_fd,
    .add = tf_set_add,
    .mod = tf_set_mod,
    .del = tf_set_del,
    .wait = tf_set_wait,
    .wake = tf_set_wake,
    .quiet = tf_set_quiet,
    .deadline = tf_set_deadline,
    .now = tf_set_now,
};
