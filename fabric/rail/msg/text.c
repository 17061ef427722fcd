/* SPDX-License-Identifier: Apache-2.0 */
/* text.c - addresses and errors as people read them.
 *
 * Design notes
 *  - libfabric's codes below 256 are errnos; those above have no equal and become EIO, with its
 *    text kept in the log. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

int weft__fi_err(ssize_t fi) {
  if (fi > 0) fi = -fi;
  if (fi > -FI_ERRNO_OFFSET) return (int) fi;
  switch (-fi) {
  case FI_ETOOSMALL: return -EMSGSIZE;
  case FI_EAVAIL: return -EIO;
  case FI_ENOKEY: return -EEXIST;
  case FI_ETRUNC: return -EMSGSIZE;
  default: return -EIO;
  }
}

int weft__fid_close_as(struct fid *fid, int fault) {
  int err = weft__fi_err(fi_close(fid));

  return err != 0 ? err : fault;
}

const char *weft__err_str(int err, char *buf, size_t len) {
  int e = err < 0 ? -err : err;
  const char *text = strerrordesc_np(e), *name = strerrorname_np(e);

  if (text == NULL || name == NULL)
    snprintf(buf, len, "error %d", e);
  else
    snprintf(buf, len, "%c%s (%s)", isupper((unsigned char) text[1]) ? text[0] : tolower(text[0]),
             text + 1, name);
  return buf;
}

socklen_t weft__sa_len(const void *sa) {
  switch (((const struct sockaddr *) sa)->sa_family) {
  case AF_INET: return sizeof(struct sockaddr_in);
  case AF_INET6: return sizeof(struct sockaddr_in6);
  default: return 0;
  }
}

uint16_t weft__sa_port(const void *sa) {
  switch (((const struct sockaddr *) sa)->sa_family) {
  case AF_INET: return ntohs(((const struct sockaddr_in *) sa)->sin_port);
  case AF_INET6: return ntohs(((const struct sockaddr_in6 *) sa)->sin6_port);
  default: return 0;
  }
}

void weft__sa_set_port(void *sa, uint16_t port) {
  if (((struct sockaddr *) sa)->sa_family == AF_INET)
    ((struct sockaddr_in *) sa)->sin_port = htons(port);
  else if (((struct sockaddr *) sa)->sa_family == AF_INET6)
    ((struct sockaddr_in6 *) sa)->sin6_port = htons(port);
}

const char *weft__sa_str(const void *sa, char *buf, size_t len) {
  char ip[INET6_ADDRSTRLEN] = "?", scope[IF_NAMESIZE + 1] = "";
  uint16_t port = weft__sa_port(sa);
  bool six = false;

  switch (((const struct sockaddr *) sa)->sa_family) {
  case AF_INET:
    inet_ntop(AF_INET, &((const struct sockaddr_in *) sa)->sin_addr, ip, sizeof(ip));
    break;
  case AF_INET6: {
    const struct sockaddr_in6 *in6 = sa;
    inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof(ip));
    if (in6->sin6_scope_id != 0 && IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr)) {
      scope[0] = '%';
      if (if_indextoname(in6->sin6_scope_id, scope + 1) == NULL)
        snprintf(scope + 1, sizeof(scope) - 1, "%u", in6->sin6_scope_id);
    }
    six = true;
    break;
  }
  default: break;
  }
  if (port == 0)
    snprintf(buf, len, "%s%s", ip, scope);
  else if (six)
    snprintf(buf, len, "[%s%s]:%u", ip, scope, port);
  else
    snprintf(buf, len, "%s:%u", ip, port);
  return buf;
}

bool weft__sa_same_ip(const void *a, const void *b) {
  struct sockaddr_storage x, y;

  if (weft__sa_len(a) == 0 || weft__sa_len(b) == 0) return false;
  memcpy(&x, a, weft__sa_len(a));
  memcpy(&y, b, weft__sa_len(b));
  weft__sa_unmap(&x);
  weft__sa_unmap(&y);
  if (x.ss_family != y.ss_family) return false;
  if (x.ss_family == AF_INET)
    return ((struct sockaddr_in *) &x)->sin_addr.s_addr ==
           ((struct sockaddr_in *) &y)->sin_addr.s_addr;
  return memcmp(&((struct sockaddr_in6 *) &x)->sin6_addr, &((struct sockaddr_in6 *) &y)->sin6_addr,
                16) == 0 &&
         (!IN6_IS_ADDR_LINKLOCAL(&((struct sockaddr_in6 *) &x)->sin6_addr) ||
          ((struct sockaddr_in6 *) &x)->sin6_scope_id ==
              ((struct sockaddr_in6 *) &y)->sin6_scope_id);
}

bool weft__sa_near(const void *a, const void *b, unsigned bits) {
  bool four = ((const struct sockaddr *) a)->sa_family == AF_INET;
  const uint8_t *x = four ? (const uint8_t *) &((const struct sockaddr_in *) a)->sin_addr
                          : (const uint8_t *) &((const struct sockaddr_in6 *) a)->sin6_addr;
  const uint8_t *y = four ? (const uint8_t *) &((const struct sockaddr_in *) b)->sin_addr
                          : (const uint8_t *) &((const struct sockaddr_in6 *) b)->sin6_addr;
  socklen_t len = weft__sa_len(a);

  if (len == 0 || len != weft__sa_len(b) || bits > (four ? 32 : 128)) return false;
  if (memcmp(x, y, bits / 8) != 0) return false;
  return bits % 8 == 0 || (x[bits / 8] ^ y[bits / 8]) >> (8 - bits % 8) == 0;
}

bool weft__sa_loopback(const void *sa) {
  if (((const struct sockaddr *) sa)->sa_family == AF_INET)
    return ntohl(((const struct sockaddr_in *) sa)->sin_addr.s_addr) >> 24 == 127;
  if (((const struct sockaddr *) sa)->sa_family == AF_INET6)
    return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *) sa)->sin6_addr);
  return false;
}

bool weft__sa_any(const void *sa) {
  if (((const struct sockaddr *) sa)->sa_family == AF_INET)
    return ((const struct sockaddr_in *) sa)->sin_addr.s_addr == INADDR_ANY;
  if (((const struct sockaddr *) sa)->sa_family == AF_INET6)
    return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *) sa)->sin6_addr);
  return false;
}

void weft__sa_unmap(struct sockaddr_storage *ss) {
  struct sockaddr_in6 in6;
  struct sockaddr_in *in = (struct sockaddr_in *) ss;

  if (ss->ss_family != AF_INET6) return;
  memcpy(&in6, ss, sizeof(in6));
  if (!IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr)) return;
  memset(ss, 0, sizeof(*ss));
  in->sin_family = AF_INET;
  in->sin_port = in6.sin6_port;
  memcpy(&in->sin_addr, &in6.sin6_addr.s6_addr[12], 4);
}
