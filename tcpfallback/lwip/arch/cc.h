/* SPDX-License-Identifier: Apache-2.0 */
/* cc.h - the compiler and the system, as lwIP asks for them. */
#ifndef TCPFALLBACK_LWIP_CC_H
#define TCPFALLBACK_LWIP_CC_H

#include <arpa/inet.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/time.h>

#define LWIP_TIMEVAL_PRIVATE                  0
#define LWIP_DONT_PROVIDE_BYTEORDER_FUNCTIONS 1
#define LWIP_NO_CTYPE_H                       0

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ /* in place: a call each costs more */
#define lwip_htons(x) __builtin_bswap16(x)
#define lwip_htonl(x) __builtin_bswap32(x)
#endif

void *tf_mem_get(size_t);
void *tf_mem_zeroed(size_t n, size_t);
void tf_mem_put(void *);

uint16_t tf_checksum(const void *, int len);
uint32_t tf_random(void);
uint32_t tf_isn(const void *local, size_t, uint16_t local_port, const void *remote, size_t,
                uint16_t remote_port);
struct tcp_pcb *tf_pcb_find(const void *remote, uint16_t, const void *local, uint16_t);
#define LWIP_RAND() tf_random()

/* A broken invariant inside of a host's program: nothing to print to, and no way on. */
#define LWIP_PLATFORM_DIAG(x) ((void) 0)
#define LWIP_PLATFORM_ASSERT(x)                                                                    \
  do abort();                                                                                      \
  while (0)

#endif
