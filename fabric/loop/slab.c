/* SPDX-License-Identifier: Apache-2.0 */
/* slab.c - copies of small messages for weft_try_send, taken from free lists.
 *
 * Design notes
 *  - Three sizes, so that a queue of a million small messages does not walk through memory in 2 KiB
 *    steps. Last in, first out: a node that was just acknowledged is still in the cache.
 *  - Free lists only grow, up to what was queued at one time (opts.send_queue bounds it). Above 2
 *    KiB it is malloc's. */
#include <stdlib.h>

#include "loop/conn.h"

static const size_t room[] = {128, 512, 2048};
enum { CLASSES = 3, LARGE = 3, CHUNK = 64 * 1024 };

typedef struct chunk {
  struct chunk *next;
  uint64_t pad;
} chunk_t;

static bool grow(weft__core_t *core, unsigned cls) {
  size_t each = (sizeof(weft__node_t) + room[cls] + 15) & ~(size_t) 15;
  if (WEFT__FAULT(alloc_msg)) return false;
  chunk_t *k = malloc(CHUNK);
  if (!k) return false;
  k->next = core->slabs;
  core->slabs = k;
  uint8_t *p = (uint8_t *) (k + 1);
  for (size_t n = (CHUNK - sizeof *k) / each; n > 0; n--, p += each) {
    weft__node_t *node = (weft__node_t *) p;
    node->cls = cls;
    weft__node_put(core, node);
  }
  return true;
}

weft__node_t *weft__node_get(weft__core_t *core, size_t size) {
  unsigned cls = 0;
  while (cls < CLASSES && size > room[cls]) cls++;
  if (cls == LARGE) {
    weft__node_t *node = WEFT__FAULT(alloc_msg) ? NULL : malloc(sizeof *node + size);
    if (node) node->cls = LARGE;
    return node;
  }
  weft__node_t *node = core->nodes[cls];
  if (!node) {
    if (!grow(core, cls)) return NULL;
    node = core->nodes[cls];
  }
  core->nodes[cls] = (weft__node_t *) node->m.next;
  return node;
}

void weft__node_put(weft__core_t *core, weft__node_t *node) {
  if (node->cls == LARGE) {
    free(node);
    return;
  }
  node->m.next = (weft__txm_t *) core->nodes[node->cls];
  core->nodes[node->cls] = node;
}

void weft__nodes_free(weft__core_t *core) {
  while (core->slabs) {
    chunk_t *k = core->slabs;
    core->slabs = k->next;
    free(k);
  }
}
