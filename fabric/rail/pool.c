/* SPDX-License-Identifier: Apache-2.0 */
/* pool.c - see pool.h.
 *
 * Design notes
 *  - The push list ends for ever when weft__pool_drop swaps CLOSED into it. From then on a
 *    returning buffer only counts `orphans` down; the drop adds how many are still out. Whoever
 *    brings the sum to zero frees the pool: returns that overtake the drop make the count negative
 *    for a moment, which is never zero.
 *  - Chunks are not given back before the drop: what a busy second needed, the next one needs too.
 */
#include "rail/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/fault.h"
#include "base/log.h"

enum { POOL_CHUNK = 64, SLOT = WEFT__FRAME_MAX + 128, MARGIN = 4 };

#define CLOSED ((weft__buf_t *) 1)

struct chunk {
  struct chunk *next;
  void *base, *mr;
  weft__buf_t bufs[POOL_CHUNK];
};

struct weft__pool {
  weft__buf_t *free[2];       /* by kind; all of them under the first where nothing is registered */
  unsigned max, total, nfree; /* buffers: allowed, existing, on the free list */
  unsigned reserved, lent, extra;
  bool told;
  weft__pool_cfg_t cfg;
  struct chunk *chunks;
  /* Touched by other threads. */
  _Alignas(64) weft__buf_t *returned;
  int64_t orphans;
};

static unsigned list_of(const weft__pool_t *pool, weft__pool_kind kind) {
  return pool->cfg.reg != NULL ? kind : 0;
}

static void push(weft__pool_t *pool, weft__buf_t *b) {
  unsigned k = list_of(pool, b->kind);

  b->next = pool->free[k];
  pool->free[k] = b;
  pool->nfree++;
}

static void destroy(weft__pool_t *pool) {
  struct chunk *c, *next;

  for (c = pool->chunks; c != NULL; c = next) {
    next = c->next;
    munmap(c->base, (size_t) POOL_CHUNK * SLOT);
    free(c);
  }
  free(pool);
}

/* Last reference, any thread. */
static void recycle(weft__rbuf_t *r) {
  weft__buf_t *b = (weft__buf_t *) r;
  weft__pool_t *pool = b->pool;
  weft__buf_t *head = __atomic_load_n(&pool->returned, __ATOMIC_ACQUIRE);

  do {
    if (head == CLOSED) {
      if (__atomic_sub_fetch(&pool->orphans, 1, __ATOMIC_ACQ_REL) == 0) destroy(pool);
      return;
    }
    b->next = head;
  } while (!__atomic_compare_exchange_n(&pool->returned, &head, b, true, __ATOMIC_RELEASE,
                                        __ATOMIC_ACQUIRE));
}

/* Take what other threads gave back. `last`: and let nobody push any more. */
static void harvest(weft__pool_t *pool, bool last) {
  weft__buf_t *b, *next;

  if (!last && __atomic_load_n(&pool->returned, __ATOMIC_RELAXED) == NULL) return;
  for (b = __atomic_exchange_n(&pool->returned, last ? CLOSED : NULL, __ATOMIC_ACQ_REL); b != NULL;
       b = next) {
    next = b->next;
    push(pool, b);
    pool->lent--;
  }
}

static unsigned promised(const weft__pool_t *pool) {
  return pool->reserved + pool->lent + pool->extra;
}

static bool low(const weft__rbuf_t *r) {
  weft__pool_t *pool = ((const weft__buf_t *) r)->pool;

  if (promised(pool) + MARGIN < pool->max) return false;
  harvest(pool, false);
  return promised(pool) + MARGIN >= pool->max;
}

static int grow(weft__pool_t *pool, weft__pool_kind kind) {
  size_t len = (size_t) POOL_CHUNK * SLOT;
  struct chunk *c;
  void *desc = NULL;
  unsigned i;
  int err = WEFT__FAULT(pool_grow);

  if (err != 0) return err;
  c = calloc(1, sizeof(*c));
  if (c == NULL) return -ENOMEM;
  c->base =
      mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (c->base == MAP_FAILED) {
    err = -errno;
    free(c);
    return err;
  }
  (void) madvise(c->base, len, MADV_NOHUGEPAGE); /* a huge page would make all of it resident */
  if (pool->cfg.reg != NULL) {
    err = pool->cfg.reg(pool->cfg.arg, kind, c->base, len, &c->mr, &desc);
    if (err != 0) {
      munmap(c->base, len);
      free(c);
      return err;
    }
  }
  for (i = POOL_CHUNK; i-- > 0;) {
    weft__buf_t *b = &c->bufs[i];
    b->r.data = (uint8_t *) c->base + (size_t) i * SLOT;
    b->r.recycle = recycle;
    b->r.low = low;
    b->t.data = b->r.data;
    b->t.cap = WEFT__FRAME_MAX;
    b->pool = pool;
    b->kind = kind;
    b->desc = desc;
    push(pool, b);
  }
  pool->total += POOL_CHUNK;
  c->next = pool->chunks;
  pool->chunks = c;
  return 0;
}

static weft__buf_t *take(weft__pool_t *pool, weft__pool_kind kind) {
  unsigned k = list_of(pool, kind);
  weft__buf_t *b = pool->free[k];

  if (__builtin_expect(b == NULL, 0)) {
    harvest(pool, false);
    if (pool->free[k] == NULL) {
      int err = grow(pool, kind);
      if (err != 0) {
        if (!pool->told)
          weft__warn("buffer pool: cannot add %d buffers to %u: errno %d", (int) POOL_CHUNK,
                     pool->total, -err);
        pool->told = true; /* once until it works again: the next try may be microseconds away */
        return NULL;
      }
      pool->told = false;
    }
    b = pool->free[k];
  }
  pool->free[k] = b->next;
  pool->nfree--;
  return b;
}

int weft__pool_new(const weft__pool_cfg_t *cfg, weft__pool_t **out) {
  weft__pool_t *pool;

  if (posix_memalign((void **) &pool, 64, sizeof(*pool)) != 0) return -ENOMEM;
  *pool = (weft__pool_t){.cfg = *cfg};
  pool->max =
      cfg->max_bytes / SLOT > UINT32_MAX / 2 ? UINT32_MAX / 2 : (unsigned) (cfg->max_bytes / SLOT);
  *out = pool;
  return 0;
}

void weft__pool_drop(weft__pool_t *pool) {
  struct chunk *c;
  int64_t out;

  for (c = pool->chunks; c != NULL; c = c->next)
    if (c->mr != NULL && pool->cfg.unreg != NULL) {
      pool->cfg.unreg(pool->cfg.arg, c->mr);
      c->mr = NULL;
    }
  harvest(pool, true);
  out = (int64_t) pool->total - (int64_t) pool->nfree;
  if (__atomic_add_fetch(&pool->orphans, out, __ATOMIC_ACQ_REL) == 0) destroy(pool);
}

bool weft__pool_reserve(weft__pool_t *pool, unsigned n) {
  if (weft__pool_spare(pool) < n) harvest(pool, false);
  if (weft__pool_spare(pool) < n) return false;
  pool->reserved += n;
  return true;
}

void weft__pool_unreserve(weft__pool_t *pool, unsigned n) {
  pool->reserved -= n;
}

unsigned weft__pool_spare(const weft__pool_t *pool) {
  unsigned used = promised(pool) + MARGIN;

  return used >= pool->max ? 0 : pool->max - used;
}

weft__buf_t *weft__pool_get(weft__pool_t *pool, weft__pool_kind kind) {
  return take(pool, kind);
}

int weft__pool_stock(weft__pool_t *pool, weft__pool_kind kind) {
  return pool->free[list_of(pool, kind)] != NULL ? 0 : grow(pool, kind);
}

void weft__pool_put(weft__pool_t *pool, weft__buf_t *b) {
  push(pool, b);
}

weft__buf_t *weft__pool_get_extra(weft__pool_t *pool, bool force) {
  weft__buf_t *b;

  if (!force && promised(pool) >= pool->max) {
    harvest(pool, false);
    if (promised(pool) >= pool->max) return NULL;
  }
  b = take(pool, WEFT__POOL_TX);
  if (b != NULL) pool->extra++;
  return b;
}

void weft__pool_put_extra(weft__pool_t *pool, weft__buf_t *b) {
  pool->extra--;
  weft__pool_put(pool, b);
}

void weft__pool_lend(weft__pool_t *pool, weft__buf_t *b) {
  pool->lent++;
  weft__rbuf_unref(&b->r);
}

unsigned weft__pool_total(const weft__pool_t *pool) {
  return pool->total;
}

unsigned weft__pool_lent(weft__pool_t *pool) {
  harvest(pool, false);
  return pool->lent;
}
