/* SPDX-License-Identifier: Apache-2.0 */
/* info.c - fi_getinfo: one entry per address of an interface that fits the hints.
 *
 * Design notes
 *  - What `tcp` answers to the same hints is the measure; where it promises what it does not do (progress
 *    without calls), this does not.
 *  - A hint that cannot be met is named in the log: -FI_ENODATA alone tells nobody what to change. */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "prov.h"

#define COMM     (FI_LOCAL_COMM | FI_REMOTE_COMM)
#define MSG_DIRS (FI_SEND | FI_RECV)
#define RMA_DIRS (FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE)
#define TX_CAPS  (FI_MSG | FI_RMA | FI_SEND | FI_READ | FI_WRITE | TF_PMEM)
#define RX_CAPS                                                                                    \
  (FI_MSG | FI_RMA | FI_RECV | FI_REMOTE_READ | FI_REMOTE_WRITE | FI_RMA_EVENT | TF_PMEM)
#define EXTRA (FI_RMA_EVENT | TF_PMEM) /* given to who does not ask, too */
#define TX_ELSEWHERE                                                                               \
  (FI_RECV | FI_REMOTE_READ | FI_REMOTE_WRITE | FI_RMA_EVENT) /* old programs ask it of tx */
#define RX_ELSEWHERE (FI_SEND | FI_READ | FI_WRITE)
#define ORDER                                                                                      \
  (FI_ORDER_RAR | FI_ORDER_RAW | FI_ORDER_RAS | FI_ORDER_WAW | FI_ORDER_WAS | FI_ORDER_SAW |       \
   FI_ORDER_SAS | FI_ORDER_RMA_RAR | FI_ORDER_RMA_RAW | FI_ORDER_RMA_WAW)
#define TX_FLAGS                                                                                   \
  (FI_INJECT | FI_INJECT_COMPLETE | FI_TRANSMIT_COMPLETE | FI_DELIVERY_COMPLETE |                  \
   (TF_PMEM != 0 ? FI_COMMIT_COMPLETE : 0) | FI_COMPLETION)
#define MR_OLD (FI_MR_BASIC | FI_MR_SCALABLE) /* whole modes; the other bits are parts of one */
enum { TX_MAX = 1024, DEPTH = 256, OBJECTS = 65536 };

static socklen_t sa_len(const struct sockaddr *sa) {
  return sa->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

/* ---- What does not fit: why, or NULL ---- */

static const char *tx_misfit(const struct fi_tx_attr *t) {
  if (t == NULL) return NULL;
  if (t->caps & ~(TX_CAPS | TX_ELSEWHERE)) return "capabilities of sending";
  if (t->op_flags & ~TX_FLAGS) return "default flags of sending";
  if (t->msg_order & ~ORDER) return "an order of what is sent";
  if (t->comp_order & ~FI_ORDER_STRICT) return "an order of completions";
  if (t->inject_size > TF_INJECT) return "the size of injected messages";
  if (t->size > TX_MAX) return "the size of the transmit queue";
  if (t->iov_limit > TF_IOV || t->rma_iov_limit > TF_RMA_MAX) return "the pieces of an operation";
  return NULL;
}

static const char *rx_misfit(const struct fi_rx_attr *r) {
  if (r == NULL) return NULL;
  if (r->caps & ~(RX_CAPS | RX_ELSEWHERE)) return "capabilities of receiving";
  if (r->op_flags & ~FI_COMPLETION) return "default flags of receiving";
  if (r->msg_order & ~ORDER) return "an order of what is received";
  if (r->comp_order & ~FI_ORDER_STRICT) return "an order of completions";
  if (r->total_buffered_recv != 0) return "buffering of messages that nobody receives";
  if (r->size > TF_RX_MAX) return "the size of the receive queue";
  if (r->iov_limit > TF_IOV) return "the pieces of a receive";
  return NULL;
}

static const char *ep_misfit(const struct fi_ep_attr *e, bool rma) {
  if (e == NULL) return NULL;
  if (e->type != FI_EP_UNSPEC && e->type != FI_EP_MSG) return "the type of endpoints";
  if (e->protocol != FI_PROTO_UNSPEC && e->protocol != FI_PROTO_SOCK_TCP) return "the protocol";
  if (e->protocol_version > TF_PROTOCOL_VERSION) return "the version of the protocol";
  if (e->max_msg_size > TF_MSG_MAX) return "the size of messages";
  if (e->tx_ctx_cnt > 1) return "more than one transmit context, or shared ones";
  if (e->rx_ctx_cnt > 1 && e->rx_ctx_cnt != FI_SHARED_CONTEXT)
    return "more than one receive context";
  if (rma && e->max_order_war_size != 0) return "an order of writes after reads";
  if (e->auth_key_size != 0) return "authorization keys";
  return NULL;
}

/* Since 1.5 what a program offers is a set of bits, of which a provider needs some: this one none. */
static bool mr_fits(uint32_t version, int mode) {
  if (FI_VERSION_LT(version, FI_VERSION(1, 5)))
    return mode == FI_MR_UNSPEC || mode == FI_MR_BASIC || mode == FI_MR_SCALABLE;
  return (mode & MR_OLD) == 0 || mode == FI_MR_BASIC || mode == FI_MR_SCALABLE;
}

/* The best of three models can serve as each; FI_THREAD_SAFE and FI_RM_ENABLED are the best. */
static const char *domain_misfit(uint32_t version, const struct fi_domain_attr *d) {
  if (d == NULL) return NULL;
  if ((unsigned) d->threading > FI_THREAD_ENDPOINT) return "a threading model";
  if (d->control_progress != FI_PROGRESS_UNSPEC && d->control_progress != FI_PROGRESS_MANUAL)
    return "progress of connections without calls";
  if (d->data_progress != FI_PROGRESS_UNSPEC && d->data_progress != FI_PROGRESS_MANUAL)
    return "progress of data without calls";
  if ((unsigned) d->resource_mgmt > FI_RM_ENABLED) return "a model of resource management";
  if (d->cq_data_size > sizeof(uint64_t)) return "the size of CQ data";
  if (!mr_fits(version, d->mr_mode)) return "the mode of memory registration";
  if (FI_VERSION_LT(version, FI_VERSION(1, 5))) return NULL; /* it has no more members */
  if (d->cntr_cnt > OBJECTS) return "the number of counters";
  if (d->mr_iov_limit > 1) return "regions of several pieces";
  if (d->caps & ~COMM) return "capabilities of domains";
  if (d->max_err_data != 0) return "error data";
  if (d->mr_cnt > OBJECTS) return "the number of regions";
  return NULL;
}

static const char *misfit(uint32_t version, const struct fi_info *h) {
  const char *why;

  if (h->caps & ~(TF_CAPS | COMM)) return "capabilities";
  if (h->addr_format > FI_SOCKADDR_IN6) return "the format of addresses";
  if (h->fabric_attr != NULL && h->fabric_attr->prov_version > tf_prov.version)
    return "the provider's version";
  if ((why = ep_misfit(h->ep_attr, (h->caps & FI_RMA) != 0)) != NULL) return why;
  if ((why = domain_misfit(version, h->domain_attr)) != NULL) return why;
  if ((why = tx_misfit(h->tx_attr)) != NULL) return why;
  return rx_misfit(h->rx_attr);
}

/* ---- What is offered ---- */

static void set_size(size_t *to, size_t hint) {
  if (hint != 0) *to = hint;
}

/* Asked for nothing in particular, all of it. */
static uint64_t caps_of(const struct fi_info *h) {
  uint64_t caps = h != NULL && h->caps != 0 ? h->caps & ~COMM : TF_CAPS;

  if ((caps & FI_MSG) != 0 && (caps & MSG_DIRS) == 0) caps |= MSG_DIRS;
  if ((caps & FI_RMA) != 0 && (caps & RMA_DIRS) == 0) caps |= RMA_DIRS;
  return caps | EXTRA;
}

static void tx_offer(struct fi_tx_attr *t, const struct fi_tx_attr *h, uint64_t caps) {
  t->caps = caps & TX_CAPS;
  t->msg_order = ORDER;
  t->comp_order = FI_ORDER_STRICT;
  t->inject_size = TF_INJECT;
  t->size = DEPTH;
  t->iov_limit = TF_IOV;
  t->rma_iov_limit = TF_RMA_MAX;
  if (h == NULL) return;
  if (h->caps != 0) t->caps = (h->caps | EXTRA) & TX_CAPS;
  t->op_flags = h->op_flags;
  set_size(&t->inject_size, h->inject_size);
  set_size(&t->size, h->size);
  set_size(&t->iov_limit, h->iov_limit);
  set_size(&t->rma_iov_limit, h->rma_iov_limit);
}

static void rx_offer(struct fi_rx_attr *r, const struct fi_rx_attr *h, uint64_t caps) {
  r->caps = caps & RX_CAPS;
  r->msg_order = ORDER;
  r->comp_order = FI_ORDER_STRICT;
  r->size = DEPTH;
  r->iov_limit = TF_IOV;
  if (h == NULL) return;
  if (h->caps != 0) r->caps = (h->caps | EXTRA) & RX_CAPS;
  r->op_flags = h->op_flags;
  set_size(&r->size, h->size);
  set_size(&r->iov_limit, h->iov_limit);
}

static void ep_offer(struct fi_ep_attr *e, const struct fi_ep_attr *h) {
  e->type = FI_EP_MSG;
  e->protocol = FI_PROTO_SOCK_TCP;
  e->protocol_version = TF_PROTOCOL_VERSION;
  e->max_msg_size = TF_MSG_MAX;
  e->tx_ctx_cnt = e->rx_ctx_cnt = 1;
  e->max_order_raw_size = e->max_order_waw_size = SIZE_MAX;
  if (h == NULL) return;
  set_size(&e->rx_ctx_cnt, h->rx_ctx_cnt);
  set_size(&e->max_order_raw_size, h->max_order_raw_size);
  set_size(&e->max_order_waw_size, h->max_order_waw_size);
}

static void domain_offer(uint32_t version, struct fi_domain_attr *d,
                         const struct fi_domain_attr *h) {
  d->threading = FI_THREAD_SAFE;
  d->control_progress = d->data_progress = FI_PROGRESS_MANUAL;
  d->resource_mgmt = FI_RM_ENABLED;
  d->mr_key_size = d->cq_data_size = sizeof(uint64_t);
  d->cq_cnt = d->ep_cnt = d->tx_ctx_cnt = d->rx_ctx_cnt = d->mr_cnt = d->cntr_cnt = OBJECTS;
  d->max_ep_tx_ctx = d->max_ep_rx_ctx = 1;
  d->max_ep_srx_ctx = OBJECTS;
  d->mr_iov_limit = 1;
  d->caps = COMM;
  /* Before 1.5 there was nothing between the two modes: who does not choose gets what works without
   * offsets. */
  if (h != NULL && (h->mr_mode & MR_OLD) != 0)
    d->mr_mode = h->mr_mode;
  else if (FI_VERSION_LT(version, FI_VERSION(1, 5)))
    d->mr_mode = FI_MR_BASIC;
  if (h == NULL) return;
  if (h->threading != FI_THREAD_UNSPEC) d->threading = h->threading;
  d->av_type = h->av_type;
}

static struct fi_info *base(uint32_t version, const struct fi_info *h) {
  struct fi_info *i = fi_allocinfo();

  if (i == NULL) return NULL;
  i->caps = caps_of(h);
  tx_offer(i->tx_attr, h != NULL ? h->tx_attr : NULL, i->caps);
  rx_offer(i->rx_attr, h != NULL ? h->rx_attr : NULL, i->caps);
  ep_offer(i->ep_attr, h != NULL ? h->ep_attr : NULL);
  domain_offer(version, i->domain_attr, h != NULL ? h->domain_attr : NULL);
  if (h != NULL) i->handle = h->handle;
  return i;
}

/* ---- Addresses ---- */

static void names(struct fi_info *i, const struct ifaddrs *a) {
  char net[INET6_ADDRSTRLEN] = "", both[INET6_ADDRSTRLEN + 8];
  size_t n = a->ifa_addr->sa_family == AF_INET ? 4 : 16, k;
  const uint8_t *ip = a->ifa_addr->sa_family == AF_INET
                          ? (uint8_t *) &((struct sockaddr_in *) a->ifa_addr)->sin_addr
                          : (uint8_t *) &((struct sockaddr_in6 *) a->ifa_addr)->sin6_addr;
  const uint8_t *mask = a->ifa_netmask == NULL ? NULL
                        : a->ifa_addr->sa_family == AF_INET
                            ? (uint8_t *) &((struct sockaddr_in *) a->ifa_netmask)->sin_addr
                            : (uint8_t *) &((struct sockaddr_in6 *) a->ifa_netmask)->sin6_addr;
  uint8_t masked[16];
  unsigned bits = 0;

  for (k = 0; k < n; k++) {
    masked[k] = ip[k] & (mask != NULL ? mask[k] : 0xff);
    bits += (unsigned) __builtin_popcount(mask != NULL ? mask[k] : 0xff);
  }
  inet_ntop(a->ifa_addr->sa_family, masked, net, sizeof(net));
  snprintf(both, sizeof(both), "%s/%u", net, bits);
  i->fabric_attr->name = strdup(both);
  i->domain_attr->name = strdup(a->ifa_name);
}

static bool same_ip(const struct sockaddr *a, const struct sockaddr *b) {
  if (a->sa_family != b->sa_family) return false;
  if (a->sa_family == AF_INET)
    return ((struct sockaddr_in *) a)->sin_addr.s_addr ==
           ((struct sockaddr_in *) b)->sin_addr.s_addr;
  return memcmp(&((struct sockaddr_in6 *) a)->sin6_addr, &((struct sockaddr_in6 *) b)->sin6_addr,
                16) == 0;
}

/* Of loopback's network every address is this host's, though no interface is named by it. */
static bool loopback(const struct ifaddrs *a, const struct sockaddr *b) {
  return (a->ifa_flags & IFF_LOOPBACK) != 0 && a->ifa_addr->sa_family == AF_INET &&
         b->sa_family == AF_INET && ntohl(((struct sockaddr_in *) b)->sin_addr.s_addr) >> 24 == 127;
}

static bool any(const struct sockaddr *a) {
  static const struct in6_addr none;

  return a->sa_family == AF_INET ? ((struct sockaddr_in *) a)->sin_addr.s_addr == 0
                                 : memcmp(&((struct sockaddr_in6 *) a)->sin6_addr, &none, 16) == 0;
}

static void *copy(const void *p, size_t n) {
  void *c = malloc(n);

  return c != NULL ? memcpy(c, p, n) : NULL;
}

int tf_getinfo(uint32_t version, const char *node, const char *service, uint64_t flags,
               const struct fi_info *h, struct fi_info **out) {
  struct sockaddr_storage src = {0}, dst = {0};
  struct ifaddrs *list, *a;
  struct fi_info **tail = out, *i;
  bool have_src = false, have_dst = false;
  const char *why = h != NULL ? misfit(version, h) : NULL;
  uint64_t comm;
  int pass;

  *out = NULL;
  if (why != NULL) {
    FI_LOG(&tf_prov, FI_LOG_INFO, FI_LOG_CORE, "not offered, but asked for: %s\n", why);
    return -FI_ENODATA;
  }
  if ((flags & FI_SOURCE) != 0 && node == NULL && service == NULL) return -FI_EINVAL;
  if (h != NULL && h->src_addr != NULL && h->src_addrlen <= sizeof(src)) {
    memcpy(&src, h->src_addr, h->src_addrlen);
    have_src = true;
  }
  if (h != NULL && h->dest_addr != NULL && h->dest_addrlen <= sizeof(dst)) {
    memcpy(&dst, h->dest_addr, h->dest_addrlen);
    have_dst = true;
  }
  if (node != NULL || service != NULL) {
    struct addrinfo ah = {.ai_socktype = SOCK_STREAM}, *res = NULL;
    if (flags & FI_SOURCE) ah.ai_flags |= AI_PASSIVE;
    if (flags & FI_NUMERICHOST) ah.ai_flags |= AI_NUMERICHOST;
    if (h != NULL && h->addr_format == FI_SOCKADDR_IN) ah.ai_family = AF_INET;
    if (h != NULL && h->addr_format == FI_SOCKADDR_IN6) ah.ai_family = AF_INET6;
    if (getaddrinfo(node, service, &ah, &res) != 0) return -FI_ENODATA;
    memcpy((flags & FI_SOURCE) != 0 ? &src : &dst, res->ai_addr, res->ai_addrlen);
    if (flags & FI_SOURCE)
      have_src = true;
    else
      have_dst = true;
    freeaddrinfo(res);
  }
  if (have_dst && !have_src) {
    have_src = tf_stream.route((struct sockaddr *) &dst, &src);
    if (have_src) ((struct sockaddr_in *) &src)->sin_port = 0; /* where IPv6 has it, too */
    if (!have_src && tf_stream.own_routes) return -FI_ENODATA;
  }
  if (tf_stream.interfaces(&list) != 0) return -FI_ENODATA;
  for (pass = 0; pass < 2; pass++) /* loopback last */
    for (a = list; a != NULL; a = a->ifa_next) {
      const struct sockaddr *sa = a->ifa_addr;
      struct sockaddr_storage from = {0};
      if (sa == NULL || (sa->sa_family != AF_INET && sa->sa_family != AF_INET6) ||
          (a->ifa_flags & IFF_UP) == 0 || ((a->ifa_flags & IFF_LOOPBACK) != 0) != (pass == 1))
        continue;
      if (h != NULL && ((h->addr_format == FI_SOCKADDR_IN && sa->sa_family != AF_INET) ||
                        (h->addr_format == FI_SOCKADDR_IN6 && sa->sa_family != AF_INET6)))
        continue;
      comm = pass == 0 ? COMM : FI_LOCAL_COMM;
      if (h != NULL && (h->caps & COMM & ~comm) != 0) continue;
      if (have_src && !same_ip(sa, (struct sockaddr *) &src) &&
          !loopback(a, (struct sockaddr *) &src) &&
          !(any((struct sockaddr *) &src) && sa->sa_family == src.ss_family))
        continue;
      i = base(version, h);
      if (i == NULL) break;
      i->caps |= comm;
      names(i, a);
      if (h != NULL && ((h->domain_attr != NULL && h->domain_attr->name != NULL &&
                         strcmp(h->domain_attr->name, i->domain_attr->name) != 0) ||
                        (h->fabric_attr != NULL && h->fabric_attr->name != NULL &&
                         strcmp(h->fabric_attr->name, i->fabric_attr->name) != 0))) {
        fi_freeinfo(i);
        continue;
      }
      i->addr_format = sa->sa_family == AF_INET ? FI_SOCKADDR_IN : FI_SOCKADDR_IN6;
      memcpy(&from, have_src ? (void *) &src : (void *) sa, sa_len(sa));
      i->src_addr = copy(&from, i->src_addrlen = sa_len(sa));
      if (have_dst) i->dest_addr = copy(&dst, i->dest_addrlen = sa_len((struct sockaddr *) &dst));
      *tail = i;
      tail = &i->next;
    }
  tf_stream.interfaces_free(list);
  return *out != NULL ? 0 : -FI_ENODATA;
}
