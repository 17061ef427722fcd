/* SPDX-License-Identifier: Apache-2.0 */
/* stack.h - one lwIP over the devices of this process, and what its files share.
 *
 * Design notes
 *  - One lock for all of it. No thread: who asks for something, or sleeps, makes it go on. But a
 *    program that was told that its bytes are sent may block elsewhere, for an answer to them: while
 *    such bytes are here, a thread of last resort moves the stack when nobody else does.
 *  - Who sleeps does so on an epoll descriptor of his set, in which the bell is: the devices'
 *    descriptors and one timer for TCP's own times and for devices that have no descriptor.
 *  - A stream that becomes ready in somebody else's turn rings for those who sleep on its sets. */
#ifndef TCPFALLBACK_STACK_H
#define TCPFALLBACK_STACK_H

#include <netinet/in.h>
#include <pthread.h>

#include "dpdk/faults.h"
#include "stream.h"

enum { TF_PORTS = 8, TF_ADDRESSES = 4 };

typedef struct tf_address {
  struct sockaddr_storage sa;
  unsigned prefix;
} tf_address_t;

typedef struct tf_port {
  char *args; /* as DPDK has them */
  unsigned n;
  tf_address_t address[TF_ADDRESSES];
} tf_port_t;

/* config.c: from the parameters of the provider. */
typedef struct tf_config {
  tf_port_t port[TF_PORTS];
  unsigned ports;
  int mtu, memory, hugepages, spin; /* bytes, MiB, 0 or 1, microseconds */
  struct in_addr gateway;
  tf_faults_config_t faults;
} tf_config_t;
extern tf_config_t tf_config;
void tf_config_params(void);
int tf_config_interfaces(struct ifaddrs **);
void tf_config_interfaces_free(struct ifaddrs *);
bool tf_config_route(const struct sockaddr *dst, struct sockaddr_storage *src);
void tf_config_say(const char *);

/* stack.c */
extern pthread_mutex_t tf_stack_mutex;
static inline void tf_stack_lock(void) {
  pthread_mutex_lock(&tf_stack_mutex);
}
static inline void tf_stack_unlock(void) {
  pthread_mutex_unlock(&tf_stack_mutex);
}
int tf_stack_start(void);
void tf_stack_stop(void);
/* The rest under the lock. */
void tf_stack_poll(void);   /* what has come, what is due, what waits to leave */
void tf_stack_settle(void); /* what was just said leaves */
int tf_stack_bell(void);
void tf_stack_watch(int by); /* so many more need the bell */
void tf_stack_arm(void);     /* it rings in time for whoever sleeps from here on */
void tf_stack_owe(void);     /* bytes that a program takes for sent are here still */
uint64_t tf_stack_ns(void);

/* find.c */
struct tcp_pcb;
void tf_find_listen(struct tcp_pcb *); /* ... whose connections are to be found */
bool tf_find_add(struct tcp_pcb *);    /* it has both its ends */

/* sums.c: is this frame a connection's first segment, with a checksum that was left to a card? */
typedef struct tf_first {
  uint16_t from, to; /* ports */
  bool answers;      /* ... our own first, up to this number */
  uint32_t ack;
} tf_first_t;
bool tf_sums_unfinished(const uint8_t *frame, size_t len, tf_first_t *);

/* stream_lwip.c */
typedef struct tf_lw tf_lw_t;
typedef struct tf_member tf_member_t;
unsigned tf_lw_events(const tf_lw_t *);
tf_member_t **tf_lw_members(tf_lw_t *);
void tf_lw_unfinished(const tf_first_t *); /* whoever waits for this answer need not any more */
bool tf_lw_leaving(void); /* bytes or a farewell of closed streams are still under way */

/* set.c */
void tf_set_mark(tf_lw_t *); /* its events may have changed */
void tf_set_leave_all(tf_lw_t *);
int tf_set_open(tf_set_t **);
void tf_set_close(tf_set_t *);
int tf_set_fd(tf_set_t *);
int tf_set_add(tf_set_t *, tf_sock_t, unsigned events, void *ptr);
int tf_set_mod(tf_set_t *, tf_sock_t, unsigned events, void *ptr);
void tf_set_del(tf_set_t *, tf_sock_t);
int tf_set_wait(tf_set_t *, tf_ready_t *, int max, int timeout_ms);
void tf_set_wake(tf_set_t *);
void tf_set_quiet(tf_set_t *);
void tf_set_deadline(tf_set_t *, uint64_t);
uint64_t tf_set_now(void);

#endif
