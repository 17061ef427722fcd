/* SPDX-License-Identifier: Apache-2.0 */
/* mem.c - lwIP's memory: what was given back is kept for who asks next.
 *
 * Design notes
 *  - A message takes and gives six pieces, most of them of a few sizes: a list for each size costs less
 *    than half of what malloc does, and much less where a piece is larger than malloc's own stock holds.
 *  - All of lwIP runs under one lock, so the lists have none.
 *  - A list keeps a bounded number; the rest goes back. Sanitizers see each piece, so there are no lists. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lwip/opt.h"

#if defined(__SANITIZE_ADDRESS__)
enum { LISTS = 0, STEP = 64, COARSE = 2048, FINE = 0, MOST = 0, KEPT = 0 };
#else
enum {
  STEP = 64,
  FINE = 16, /* so many lists, a step apart */
  COARSE = 2048,
  LISTS = FINE + 6, /* the rest of them, further apart: a segment of MTU 9000 fits */
  MOST = 6 * COARSE,
  KEPT = 4 << 20, /* bytes of a list */
};
#endif

typedef struct piece {
  union {
    struct piece *next;
    size_t list; /* while somebody has it; LISTS: none */
  } u;
  uint64_t align; /* what follows is as malloc aligns */
} piece_t;

static struct {
  piece_t *first;
  size_t n;
} lists[LISTS + 1];

static size_t list_of(size_t size) {
  if (size > MOST) return LISTS;
  if (size <= FINE * STEP) return size == 0 ? 0 : (size - 1) / STEP;
  return FINE + (size - 1) / COARSE;
}

static size_t size_of(size_t list) {
  return list < FINE ? (list + 1) * STEP : (list - FINE + 1) * COARSE;
}

void *tf_mem_get(size_t size) {
  size_t list = list_of(size);
  piece_t *p = list < LISTS ? lists[list].first : NULL;

  if (p != NULL) {
    lists[list].first = p->u.next;
    lists[list].n--;
  } else {
    if (list == LISTS && size > SIZE_MAX - sizeof(*p)) return NULL;
    p = malloc(sizeof(*p) + (list < LISTS ? size_of(list) : size));
    if (p == NULL) return NULL;
  }
  p->u.list = list;
  return p + 1;
}

void tf_mem_put(void *memory) {
  piece_t *p = (piece_t *) memory - 1;
  size_t list;

  if (memory == NULL) return;
  list = p->u.list;
  if (list >= LISTS || lists[list].n >= KEPT / size_of(list)) {
    free(p);
    return;
  }
  p->u.next = lists[list].first;
  lists[list].first = p;
  lists[list].n++;
}

void *tf_mem_zeroed(size_t n, size_t size) {
  size_t all;
  void *p = __builtin_mul_overflow(n, size, &all) ? NULL : tf_mem_get(all);

  if (p != NULL) memset(p, 0, all);
  return p;
}
