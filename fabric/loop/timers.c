/* SPDX-License-Identifier: Apache-2.0 */
/* timers.c - a binary heap of deadlines.
 *
 * Design notes
 *  - A session moves its deadline with nearly every message, almost always to a later time. So
 *    `due` is where the timer stands in the heap and `want` is what was asked for last: moving
 *    later only changes `want`, and a timer that comes up too early goes back to where it belongs.
 *  - A timer that is not set is not in the heap: its memory may go. */
#include <errno.h>
#include <stdlib.h>

#include "loop/loop.h"

static void put(weft__heap_t *h, uint32_t i, weft__timer_t *t) {
  h->v[i] = t;
  t->pos = i + 1;
}

static void sift_up(weft__heap_t *h, uint32_t i) {
  weft__timer_t *t = h->v[i];
  while (i > 0 && h->v[(i - 1) / 2]->due > t->due) {
    put(h, i, h->v[(i - 1) / 2]);
    i = (i - 1) / 2;
  }
  put(h, i, t);
}

static void sift_down(weft__heap_t *h, uint32_t i) {
  weft__timer_t *t = h->v[i];
  for (;;) {
    uint32_t c = 2 * i + 1;
    if (c >= h->n) break;
    if (c + 1 < h->n && h->v[c + 1]->due < h->v[c]->due) c++;
    if (h->v[c]->due >= t->due) break;
    put(h, i, h->v[c]);
    i = c;
  }
  put(h, i, t);
}

int weft__heap_set(weft__heap_t *h, weft__timer_t *t, uint64_t when) {
  t->want = when;
  if (t->pos) {
    if (when < t->due) {
      t->due = when;
      sift_up(h, t->pos - 1);
    }
    return 0;
  }
  if (h->n == h->cap) {
    uint32_t cap = h->cap ? 2 * h->cap : 16;
    weft__timer_t **v = realloc(h->v, cap * sizeof *v);
    if (!v) return -ENOMEM;
    h->v = v;
    h->cap = cap;
  }
  t->due = when;
  put(h, h->n++, t);
  sift_up(h, h->n - 1);
  return 0;
}

void weft__heap_stop(weft__heap_t *h, weft__timer_t *t) {
  if (!t->pos) return;
  uint32_t i = t->pos - 1;
  t->pos = 0;
  weft__timer_t *last = h->v[--h->n];
  if (last == t) return;
  put(h, i, last);
  sift_up(h, i);
  sift_down(h, last->pos - 1);
}

uint64_t weft__heap_next(const weft__heap_t *h) {
  return h->n ? h->v[0]->due : UINT64_MAX;
}

weft__timer_t *weft__heap_due(weft__heap_t *h, uint64_t now) {
  while (h->n && h->v[0]->due <= now) {
    weft__timer_t *t = h->v[0];
    if (t->want > now) {
      t->due = t->want;
      sift_down(h, 0);
      continue;
    }
    weft__heap_stop(h, t);
    return t;
  }
  return NULL;
}

void weft__heap_free(weft__heap_t *h) {
  for (uint32_t i = 0; i < h->n; i++) h->v[i]->pos = 0;
  free(h->v);
  h->v = NULL;
  h->n = h->cap = 0;
}
