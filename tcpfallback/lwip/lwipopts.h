/* SPDX-License-Identifier: Apache-2.0 */
/* lwipopts.h - what lwIP is built with.
 *
 * Design notes
 *  - One lock is held around every call (stack.c), so lwIP has none of its own and no thread.
 *  - All of TCP's times are counted in TCP_TMR_INTERVAL. At 10 ms a lost segment costs tens of
 *    milliseconds; at lwIP's own 250 it costs more than a second.
 *  - The MSS is a most: each connection has what its device's MTU and its peer allow.
 *  - What nobody here speaks is not there: no UDP, DHCP, DNS, PPP, SNMP, fragments. */
#ifndef TCPFALLBACK_LWIPOPTS_H
#define TCPFALLBACK_LWIPOPTS_H

#define NO_SYS               1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_SOCKET          0
#define LWIP_NETCONN         0

#define LWIP_ETHERNET                   1
#define LWIP_ARP                        1
#define ARP_QUEUEING                    1
#define ETHARP_TABLE_MATCH_NETIF        1
#define LWIP_IPV4                       1
#define LWIP_IPV6                       1
#define LWIP_ICMP                       1
#define LWIP_RAW                        0
#define LWIP_UDP                        0
#define LWIP_DHCP                       0
#define LWIP_ACD                        0
#define LWIP_DNS                        0
#define LWIP_IPV6_MLD                   0
#define LWIP_IPV6_DUP_DETECT_ATTEMPTS   0
#define LWIP_IPV6_SEND_ROUTER_SOLICIT   0
#define LWIP_IPV6_AUTOCONFIG            0
#define LWIP_ND6_TCP_REACHABILITY_HINTS 1
#define IP_FRAG                         0
#define IP_REASSEMBLY                   0
#define LWIP_IPV6_FRAG                  0
#define LWIP_IPV6_REASS                 0
#define LWIP_IPV6_SCOPES                0

/* An address of our own is reached without the device. */
#define LWIP_NETIF_LOOPBACK   1
#define LWIP_HAVE_LOOPIF      0
#define LWIP_NETIF_HWADDRHINT 1

#define LWIP_STATS                     0
#define LWIP_CHECKSUM_CTRL_PER_NETIF   1
#define LWIP_SUPPORT_CUSTOM_PBUF       1
#define LWIP_DISABLE_TCP_SANITY_CHECKS 1 /* they take windows for 16 bits */
#define SO_REUSE                       1
#define LWIP_TCP_KEEPALIVE             1
#define TCP_LISTEN_BACKLOG             1

#define MEM_ALIGNMENT        8
#define MEM_CUSTOM_ALLOCATOR 1 /* mem.c */
#define MEM_CUSTOM_MALLOC    tf_mem_get
#define MEM_CUSTOM_CALLOC    tf_mem_zeroed
#define MEM_CUSTOM_FREE      tf_mem_put
#define MEMP_MEM_MALLOC      1
#define MEMP_NUM_SYS_TIMEOUT 16
#define PBUF_POOL_SIZE       64
#define PBUF_POOL_BUFSIZE    2048

#define LWIP_TCP                 1
#define TCP_MSS                  8960
#define LWIP_WND_SCALE           1
#define TCP_RCV_SCALE            5
#define TCP_WND                  (512 * 1024)
#define TCP_SND_BUF              (512 * 1024)
#define TCP_SND_QUEUELEN         2048
#define TCP_SNDLOWAT             (TCP_SND_BUF / 3)
#define TCP_SNDQUEUELOWAT        (TCP_SND_QUEUELEN / 2)
#define TCP_OVERSIZE             256 /* so that a header and a small message share a buffer */
#define TCP_QUEUE_OOSEQ          1
#define TCP_OOSEQ_MAX_BYTES      TCP_WND
#define LWIP_TCP_SACK_OUT        1
#define TCP_WND_UPDATE_THRESHOLD (TCP_WND / 4)
#define TCP_TMR_INTERVAL         10
#define TCP_MSL                  1000UL
#define LWIP_TCP_RTO_TIME        500
#define TCP_SYNMAXRTX            8
#define TCP_MAXRTX               12

#define LWIP_TCP_PCB_NUM_EXT_ARGS 1 /* find.c */
#define LWIP_CHKSUM               tf_checksum
#define TCP_CHECKSUM_ON_COPY      1 /* while it is in the nearest cache */

struct netif;
struct ip4_addr;
struct ip6_addr;
struct netif *tf_route4(const void *src, const void *dst);
struct netif *tf_route6(const void *src, const void *dst);
#define LWIP_HOOK_IP4_ROUTE_SRC(src, dest) tf_route4(src, dest)
#define LWIP_HOOK_IP6_ROUTE(src, dest)     tf_route6(src, dest)
#define LWIP_HOOK_TCP_ISN(lip, lport, rip, rport)                                                  \
  tf_isn(lip, sizeof(*(lip)), lport, rip, sizeof(*(rip)), rport)

#endif
