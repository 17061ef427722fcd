/* SPDX-License-Identifier: Apache-2.0 */
/* addr.h - socket addresses: comparing, printing, and what the system knows about reaching one.
 *
 * Design notes
 *  - Pure, but for weft__ifs_get and weft__route, which ask the kernel and never block.
 *  - An IPv4 address mapped into IPv6 is the IPv4 address: weft__addr_unmap first, compare
 *    afterwards. */
#ifndef WEFT_LOOP_ADDR_H
#define WEFT_LOOP_ADDR_H

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

socklen_t weft__addr_len(const void *sa); /* 0 for a family that is neither IPv4 nor IPv6 */
uint16_t weft__addr_port(const void *sa);
void weft__addr_set_port(void *sa, uint16_t port);
bool weft__addr_same_ip(const void *a, const void *b); /* scope ids count where both have one */
bool weft__addr_is_any(const void *sa);
bool weft__addr_is_loopback(const void *sa);
bool weft__addr_is_linklocal(const void *sa);
void weft__addr_unmap(struct sockaddr_storage *);
/* Numeric host without a port; false: not numeric. Zones are understood. */
bool weft__addr_parse(const char *host, uint16_t port, struct sockaddr_storage *out);
/* "10.9.0.1:7000", "[fe80::1%v0]:7000"; without the port when it is 0. Returns buf. */
const char *weft__addr_str(const void *sa, char *buf, size_t len);
bool weft__addr_in_prefix(const void *a, const void *b, unsigned bits);

/* One address of this machine. */
typedef struct weft__if {
  struct sockaddr_storage addr;
  char name[IFNAMSIZ];
  unsigned index;
  uint8_t prefix;
  bool up;        /* up and with a carrier */
  bool tentative; /* IPv6: not yet known to be the only one, cannot be bound */
} weft__if_t;
typedef struct weft__ifs {
  unsigned n;
  weft__if_t v[];
} weft__ifs_t;

weft__ifs_t *weft__ifs_get(void); /* NULL: out of memory or the system refuses; free() it */
const weft__if_t *weft__ifs_find(const weft__ifs_t *,
                                 const void *sa); /* who has this address, or NULL */

typedef struct weft__route {
  unsigned oif;                /* interface it leaves by */
  bool local;                  /* an address of this machine */
  bool gateway;                /* ... and not the destination itself is what it is sent to next */
  struct sockaddr_storage src; /* address the system would use; ss_family 0: not told */
} weft__route_t;
/* How would a packet to dst travel, sent from src (may be NULL)? 0 or negative errno (-ENETUNREACH,
 * -EHOSTUNREACH). */
int weft__route(const void *dst, const void *src, weft__route_t *out);

#endif
