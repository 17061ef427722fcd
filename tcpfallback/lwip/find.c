/* SPDX-License-Identifier: Apache-2.0 */
/* find.c - the connection that a segment belongs to, by a hash of both ends.
 *
 * Design notes
 *  - lwIP walks a list for each segment, which at 10,000 connections takes longer than all else together.
 *    WeftLwip.cmake has it ask here instead, in one line of its copy in the build folder.
 *  - A connection enters when it is asked for (tf_find_add) or comes in at a listener that was told
 *    (tf_find_listen), and leaves with its memory, by lwIP's own hooks. One that rests in TIME_WAIT is
 *    there still, and not found: lwIP looks for those by itself. */
#include <stdlib.h>
#include <string.h>

#include "lwip/priv/tcp_priv.h"
#include "lwip/tcp.h"

#include "stack.h"

enum { BUCKETS = 16384 };

typedef struct node {
  struct node *next, **from;
  struct tcp_pcb *pcb;
} node_t;

static node_t *table[BUCKETS];
static u8_t id;
static bool known; /* id */

static void take_out(u8_t which, void *data) {
  node_t *n = data;

  (void) which;
  if (n == NULL) return;
  *n->from = n->next;
  if (n->next != NULL) n->next->from = n->from;
  free(n);
}

static err_t comes_in(u8_t which, struct tcp_pcb_listen *listener, struct tcp_pcb *pcb) {
  (void) which, (void) listener;
  return tf_find_add(pcb) ? ERR_OK : ERR_MEM;
}

static const struct tcp_ext_arg_callbacks hooks = {.destroy = take_out, .passive_open = comes_in};

static unsigned bucket(const ip_addr_t *remote, u16_t rport, const ip_addr_t *local, u16_t lport) {
  const ip_addr_t *both[] = {remote, local};
  uint64_t h = (uint64_t) rport << 16 | lport;
  unsigned i, k;

  for (i = 0; i < 2; i++)
    for (k = 0; k < (IP_IS_V6(both[i]) ? 4u : 1u); k++)
      h = (h ^ both[i]->u_addr.ip6.addr[k]) * UINT64_C(0x9e3779b97f4a7c15);
  return (unsigned) (h >> 50);
}

void tf_find_listen(struct tcp_pcb *pcb) {
  if (!known) id = tcp_ext_arg_alloc_id();
  known = true;
  tcp_ext_arg_set_callbacks(pcb, id, &hooks);
}

bool tf_find_add(struct tcp_pcb *pcb) {
  node_t *n = malloc(sizeof(*n));
  unsigned b;

  if (n == NULL) return false;
  tf_find_listen(pcb);
  b = bucket(&pcb->remote_ip, pcb->remote_port, &pcb->local_ip, pcb->local_port);
  n->pcb = pcb;
  n->next = table[b];
  n->from = &table[b];
  if (n->next != NULL) n->next->from = &n->next;
  table[b] = n;
  tcp_ext_arg_set(pcb, id, n);
  return true;
}

struct tcp_pcb *tf_pcb_find(const void *remote, uint16_t rport, const void *local, uint16_t lport) {
  node_t *n;

  for (n = table[bucket(remote, rport, local, lport)]; n != NULL; n = n->next) {
    struct tcp_pcb *p = n->pcb;
    if (p->remote_port == rport && p->local_port == lport && p->state != TIME_WAIT &&
        p->state != CLOSED && ip_addr_eq(&p->remote_ip, (const ip_addr_t *) remote) &&
        ip_addr_eq(&p->local_ip, (const ip_addr_t *) local))
      return p;
  }
  return NULL;
}
