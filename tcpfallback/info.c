/* SPDX-License-Identifier: Apache-2.0 */
/* info.c - fi_getinfo: one entry per address of an interface that fits the hints. */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "prov.h"

#define CAPS (TF_CAPS | FI_LOCAL_COMM | FI_REMOTE_COMM)
#define ORDER                                                                                      \
  (FI_ORDER_RAR | FI_ORDER_RAW | FI_ORDER_RAS | FI_ORDER_WAW | FI_ORDER_WAS | FI_ORDER_SAW |       \
   FI_ORDER_SAS | FI_ORDER_RMA_RAR | FI_ORDER_RMA_RAW | FI_ORDER_RMA_WAW)
#define TX_FLAGS                                                                                   \
  (FI_INJECT | FI_INJECT_COMPLETE | FI_TRANSMIT_COMPLETE | FI_DELIVERY_COMPLETE | FI_COMPLETION)
enum { TX_MAX = 1024, RX_MAX = 65536, DEPTH = 256 };

static socklen_t sa_len(const struct sockaddr *sa) {
  return sa->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

static bool fits(const struct fi_info *h) {
  const struct fi_tx_attr *t = h->tx_attr;
  const struct fi_rx_attr *r = h->rx_attr;
  const struct fi_ep_attr *e = h->ep_attr;
  const struct fi_domain_attr *d = h->domain_attr;

  if (h->caps & ~CAPS) return false;
  if (e != NULL && ((e->type != FI_EP_UNSPEC && e->type != FI_EP_MSG) ||
                    (e->protocol != FI_PROTO_UNSPEC && e->protocol != FI_PROTO_SOCK_TCP) ||
                    e->protocol_version != 0 || e->max_msg_size > SIZE_MAX / 2 ||
                    e->tx_ctx_cnt > 1 || e->rx_ctx_cnt > 1 || e->auth_key_size != 0))
    return false;
  if (t != NULL &&
      ((t->caps & ~CAPS) != 0 || t->inject_size > TF_INJECT || t->size > TX_MAX ||
       t->iov_limit > TF_IOV || t->rma_iov_limit > TF_RMA_MAX || (t->op_flags & ~TX_FLAGS) != 0 ||
       (t->msg_order & ~ORDER) != 0 || (t->comp_order & ~(FI_ORDER_STRICT | FI_ORDER_DATA)) != 0))
    return false;
  if (r != NULL && ((r->caps & ~CAPS) != 0 || r->size > RX_MAX || r->iov_limit > TF_IOV ||
                    r->total_buffered_recv != 0 || (r->op_flags & ~FI_COMPLETION) != 0 ||
                    (r->msg_order & ~ORDER) != 0))
    return false;
  return d == NULL || (d->cq_data_size <= 8 && d->max_ep_stx_ctx == 0 && d->max_err_data == 0);
}

static struct fi_info *base(const struct fi_info *h) {
  struct fi_info *i = fi_allocinfo();

  if (i == NULL) return NULL;
  i->caps = h != NULL && h->caps != 0 ? h->caps | FI_LOCAL_COMM | FI_REMOTE_COMM : CAPS;
  if ((i->caps & FI_MSG) != 0 && (i->caps & (FI_SEND | FI_RECV)) == 0) i->caps |= FI_SEND | FI_RECV;
  if ((i->caps & FI_RMA) != 0 &&
      (i->caps & (FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE)) == 0)
    i->caps |= FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE;
  i->tx_attr->caps = i->caps & (FI_MSG | FI_RMA | FI_SEND | FI_READ | FI_WRITE);
  i->rx_attr->caps = i->caps & (FI_MSG | FI_RMA | FI_RECV | FI_REMOTE_READ | FI_REMOTE_WRITE);
  i->tx_attr->msg_order = i->rx_attr->msg_order = ORDER;
  i->tx_attr->comp_order = i->rx_attr->comp_order = FI_ORDER_STRICT;
  i->tx_attr->inject_size = TF_INJECT;
  i->tx_attr->size = i->rx_attr->size = DEPTH;
  i->tx_attr->iov_limit = i->rx_attr->iov_limit = TF_IOV;
  i->tx_attr->rma_iov_limit = TF_RMA_MAX;
  if (h != NULL && h->tx_attr != NULL) {
    i->tx_attr->op_flags = h->tx_attr->op_flags;
    if (h->tx_attr->size != 0) i->tx_attr->size = h->tx_attr->size;
  }
  if (h != NULL && h->rx_attr != NULL) {
    i->rx_attr->op_flags = h->rx_attr->op_flags;
    if (h->rx_attr->size != 0) i->rx_attr->size = h->rx_attr->size;
  }
  i->ep_attr->type = FI_EP_MSG;
  i->ep_attr->protocol = FI_PROTO_SOCK_TCP;
  i->ep_attr->max_msg_size = SIZE_MAX / 2;
  i->ep_attr->tx_ctx_cnt = i->ep_attr->rx_ctx_cnt = 1;
  i->ep_attr->max_order_raw_size = i->ep_attr->max_order_waw_size = SIZE_MAX;
  i->domain_attr->threading = FI_THREAD_SAFE;
  i->domain_attr->control_progress = i->domain_attr->data_progress = FI_PROGRESS_MANUAL;
  i->domain_attr->resource_mgmt = FI_RM_ENABLED;
  i->domain_attr->mr_key_size = i->domain_attr->cq_data_size = 8;
  i->domain_attr->cq_cnt = i->domain_attr->ep_cnt = 65536;
  i->domain_attr->tx_ctx_cnt = i->domain_attr->rx_ctx_cnt = 65536;
  i->domain_attr->max_ep_tx_ctx = i->domain_attr->max_ep_rx_ctx = 1;
  i->domain_attr->mr_iov_limit = 1;
  i->domain_attr->caps = FI_LOCAL_COMM | FI_REMOTE_COMM;
  if (h != NULL && h->domain_attr != NULL) {
    if (h->domain_attr->threading != FI_THREAD_UNSPEC)
      i->domain_attr->threading = h->domain_attr->threading;
    if (h->domain_attr->control_progress)
      i->domain_attr->control_progress = h->domain_attr->control_progress;
    if (h->domain_attr->data_progress)
      i->domain_attr->data_progress = h->domain_attr->data_progress;
    i->domain_attr->mr_mode = h->domain_attr->mr_mode & (FI_MR_BASIC | FI_MR_SCALABLE);
  }
  if (h != NULL) i->handle = h->handle;
  return i;
}

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

static bool any(const struct sockaddr *a) {
  static const struct in6_addr none;

  return a->sa_family == AF_INET ? ((struct sockaddr_in *) a)->sin_addr.s_addr == 0
                                 : memcmp(&((struct sockaddr_in6 *) a)->sin6_addr, &none, 16) == 0;
}

static void *copy(const void *p, size_t n) {
  void *c = malloc(n);

  return c != NULL ? memcpy(c, p, n) : NULL;
}

/* The address that the system would send from. */
static bool route(const struct sockaddr *dst, struct sockaddr_storage *src) {
  socklen_t len = sizeof(*src);
  int fd = socket(dst->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  bool ok = fd >= 0 && connect(fd, dst, sa_len(dst)) == 0 &&
            getsockname(fd, (struct sockaddr *) src, &len) == 0;

  if (fd >= 0) close(fd);
  if (ok) ((struct sockaddr_in *) src)->sin_port = 0; /* where IPv6 has it, too */
  return ok;
}

int tf_getinfo(uint32_t version, const char *node, const char *service, uint64_t flags,
               const struct fi_info *h, struct fi_info **out) {
  struct sockaddr_storage src = {0}, dst = {0};
  struct ifaddrs *list, *a;
  struct fi_info **tail = out, *i;
  bool have_src = false, have_dst = false;
  int pass;

  (void) version;
  *out = NULL;
  if (h != NULL && !fits(h)) return -FI_ENODATA;
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
  if (have_dst && !have_src) have_src = route((struct sockaddr *) &dst, &src);
  if (getifaddrs(&list) != 0) return -FI_ENODATA;
  for (pass = 0; pass < 2; pass++) /* loopback last */
    for (a = list; a != NULL; a = a->ifa_next) {
      const struct sockaddr *sa = a->ifa_addr;
      struct sockaddr_storage from = {0};
      if (sa == NULL || (sa->sa_family != AF_INET && sa->sa_family != AF_INET6) ||
          (a->ifa_flags & IFF_UP) == 0 || ((a->ifa_flags & IFF_LOOPBACK) != 0) != (pass == 1))
        continue;
      if (h != NULL && ((h->addr_format == FI_SOCKADDR_IN && sa->sa_family != AF_INET) ||
                        (h->addr_format == FI_SOCKADDR_IN6 && sa->sa_family != AF_INET6) ||
                        (h->addr_format > FI_SOCKADDR_IN6)))
        continue;
      if (have_src && !same_ip(sa, (struct sockaddr *) &src) &&
          !(any((struct sockaddr *) &src) && sa->sa_family == src.ss_family))
        continue;
      i = base(h);
      if (i == NULL) break;
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
  freeifaddrs(list);
  return *out != NULL ? 0 : -FI_ENODATA;
}
