/* SPDX-License-Identifier: Apache-2.0 */
/* msg.c - received messages that the user keeps, and the memory of large ones.
 *
 * Design notes
 *  - A retained small message pins its receive buffer while the rail's pool is well filled, and is
 *    a copy otherwise: the peer must never meet a path without a posted receive.
 *  - Releasing may happen on any thread: what is given back goes onto atomic stacks, which the
 *    loop's thread empties as a whole when its own free list has run out. Nothing is ever popped
 *    singly, so the stacks know no ABA.
 *  - Memory of large messages up to CACHE_ONE bytes is kept for the next one (CACHE_ALL in all):
 *    fresh pages cost more than moving the bytes. Of larger ones the pages go back to the system at
 *    once.
 *  - A peer may say that it has written what it has not, and the message then shows what its memory
 *    held before. So memory that served another connection is wiped first; within one connection it
 *    held that peer's own bytes.
 *  - Over tcp a peer may go on writing, on another path of the rail, after its message was
 *    delivered and released. So memory goes to another connection, or its addresses to the system,
 *    only when every path has been heard since: until then late bytes meet pages that are nobody's
 *    (`limbo`), or the same peer's next message. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "loop/conn.h"

enum { SLAB_MSGS = 64, CACHE_ONE = 8 << 20, CACHE_ALL = 64 << 20 };

typedef struct slab {
  struct slab *next;
  weft_msg_t v[SLAB_MSGS];
} slab_t;

static weft_msg_t *msg_get(weft__core_t *core) {
  if (WEFT__FAULT(alloc_msg)) return NULL;
  if (!core->msg_free)
    core->msg_free = __atomic_exchange_n(&core->msg_back, NULL, __ATOMIC_ACQUIRE);
  if (!core->msg_free) {
    slab_t *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->next = core->msg_slabs;
    core->msg_slabs = s;
    for (unsigned i = 0; i < SLAB_MSGS; i++) {
      s->v[i].next = core->msg_free;
      core->msg_free = &s->v[i];
    }
  }
  weft_msg_t *m = core->msg_free;
  core->msg_free = m->next;
  memset(m, 0, sizeof *m);
  m->core = core;
  m->refs = 1;
  return m;
}

const void *weft_msg_data(const weft_msg_t *m) {
  return m->data;
}
size_t weft_msg_size(const weft_msg_t *m) {
  return m->size;
}

weft_msg_t *weft_msg_retain(weft_msg_t *m) {
  if (m->refs) {
    __atomic_add_fetch(&m->refs, 1, __ATOMIC_RELAXED);
    return m;
  }
  if (m->kept) { /* a view that was kept already */
    __atomic_add_fetch(&m->kept->refs, 1, __ATOMIC_RELAXED);
    return m->kept;
  }
  weft__core_t *core = m->core;
  weft_msg_t *k = msg_get(core);
  if (!k) return NULL;
  k->data = m->data;
  k->size = m->size;
  bool foreign = !m->rbuf && !m->big && !m->user; /* the session's own memory */
  if (m->big) {
    k->big = m->big;
    __atomic_add_fetch(&k->big->refs, 1, __ATOMIC_RELAXED);
  } else if (m->rbuf && !(m->rbuf->low && m->rbuf->low(m->rbuf))) {
    k->rbuf = m->rbuf;
    weft__rbuf_ref(k->rbuf);
  } else if (m->rbuf || foreign) {
    k->copy = WEFT__FAULT(alloc_msg) ? NULL : malloc(m->size ? m->size : 1);
    if (!k->copy) {
      k->next = core->msg_free;
      core->msg_free = k;
      return NULL;
    }
    if (m->size) memcpy(k->copy, m->data, m->size);
    k->data = k->copy;
  }
  m->kept = k;
  __atomic_add_fetch(&core->msg_out, 1, __ATOMIC_RELAXED);
  return k;
}

void weft_msg_release(weft_msg_t *m) {
  if (!m || __atomic_load_n(&m->refs, __ATOMIC_RELAXED) == 0) return; /* a view */
  weft__core_t *core = m->core;
  if (weft__forked(core)) return;
  if (__atomic_sub_fetch(&m->refs, 1, __ATOMIC_ACQ_REL) != 0) return;
  free(m->copy);
  if (m->rbuf) weft__rbuf_unref(m->rbuf);
  if (m->big) weft__big_unref(m->big);
  weft_msg_t *top = __atomic_load_n(&core->msg_back, __ATOMIC_RELAXED);
  do m->next = top;
  while (!__atomic_compare_exchange_n(&core->msg_back, &top, m, true, __ATOMIC_RELEASE,
                                      __ATOMIC_RELAXED));
  __atomic_sub_fetch(&core->msg_out, 1, __ATOMIC_RELEASE); /* last: then the context may go */
}

/* ---- Memory of large messages ---- */

static void unmap(weft__big_t *b) {
  munmap(b, b->cap);
}

/* Its pages go, its addresses stay taken. */
static void drop_pages(weft__big_t *b) {
  madvise(weft__big_data(b), b->cap - WEFT__BIG_HEAD, MADV_DONTNEED);
}

/* Is every write over that could have begun while it was open to a peer? */
static bool settled(weft__core_t *core, const weft__big_t *b) {
  return b->free_ns < weft__rails_heard_since(core);
}

/* What was given back since: to the cache, or, where that is full, out of it. */
static void take_back(weft__core_t *core) {
  weft__big_t *back = __atomic_exchange_n(&core->big_back, NULL, __ATOMIC_ACQUIRE), *b;
  while ((b = back) != NULL) {
    back = b->next;
    if (b->cap <= CACHE_ONE && core->big_cached + b->cap <= CACHE_ALL) {
      core->big_cached += b->cap;
      b->next = core->big_free;
      core->big_free = b;
      continue;
    }
    if (b->cap <= CACHE_ONE) drop_pages(b);
    b->next = NULL;
    if (core->big_limbo)
      core->big_limbo_tail->next = b;
    else
      core->big_limbo = b;
    core->big_limbo_tail = b;
  }
  while ((b = core->big_limbo) != NULL && settled(core, b)) {
    core->big_limbo = b->next;
    unmap(b);
  }
}

static weft__big_t **find(weft__core_t *core, weft__big_t **list, uint64_t conn, size_t cap) {
  weft__big_t **fit = NULL, **p;
  for (p = list; *p; p = &(*p)->next) {
    if ((*p)->cap < cap || (*p)->cap / 4 > cap) continue;
    if ((*p)->conn == conn) return p;
    if (!fit && settled(core, *p)) fit = p;
  }
  return fit;
}

weft__big_t *weft__big_get(weft__core_t *core, uint64_t conn, size_t size) {
  size_t cap = (size + WEFT__BIG_HEAD + 4095) & ~(size_t) 4095;
  weft__big_t *b, **p;
  if (cap < size) return NULL;
  take_back(core);
  if ((p = find(core, &core->big_free, conn, cap)) != NULL) {
    b = *p;
    *p = b->next;
    core->big_cached -= b->cap;
    if (b->conn != conn) memset(weft__big_data(b), 0, size);
  } else if ((p = find(core, &core->big_limbo, conn, cap)) != NULL) {
    b = *p;
    *p = b->next;
    for (core->big_limbo_tail = core->big_limbo;
         core->big_limbo_tail && core->big_limbo_tail->next;)
      core->big_limbo_tail = core->big_limbo_tail->next;
  } else {
    if (cap <= CACHE_ONE) { /* room for its somewhat larger brothers */
      size_t round = 64 * 1024;
      while (round < cap) round *= 2;
      cap = round;
    }
    b = mmap(NULL, cap, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (b == MAP_FAILED) return NULL;
    b->cap = cap;
    b->core = core;
  }
  b->next = NULL;
  b->conn = conn;
  b->refs = 1;
  return b;
}

void weft__big_unref(weft__big_t *b) {
  if (__atomic_sub_fetch(&b->refs, 1, __ATOMIC_ACQ_REL) != 0) return;
  weft__core_t *core = b->core;
  b->free_ns = weft__clock_ns();
  if (b->cap > CACHE_ONE) drop_pages(b); /* at once: the loop may not come by for long */
  weft__big_t *top = __atomic_load_n(&core->big_back, __ATOMIC_RELAXED);
  do b->next = top;
  while (!__atomic_compare_exchange_n(&core->big_back, &top, b, true, __ATOMIC_RELEASE,
                                      __ATOMIC_RELAXED));
}

void weft__msgs_free(weft__core_t *core) {
  unsigned out = __atomic_load_n(&core->msg_out, __ATOMIC_ACQUIRE);
  if (out) {
    weft__error(
        "context: %u retained messages were not released before its end: their memory is leaked",
        out);
    core->abandoned = true;
    return;
  }
  while (core->msg_slabs) {
    slab_t *s = core->msg_slabs;
    core->msg_slabs = s->next;
    free(s);
  }
  weft__big_t *b, *lists[] = {core->big_free, core->big_back, core->big_limbo};
  for (unsigned i = 0; i < 3; i++)
    while ((b = lists[i]) != NULL) {
      lists[i] = b->next;
      unmap(b);
    }
}
