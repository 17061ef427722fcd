/* SPDX-License-Identifier: Apache-2.0 */
/* mem.c - memory that rails can send from without a copy: weft_mem_alloc, weft_mem_register.
 *
 * Design notes
 *  - A region is made known to every rail when it is made, and to every rail that opens later.
 *    Where the provider needs no registration this costs nothing.
 *  - weft_mem_free works on any thread: the region goes onto an atomic stack and the loop's thread
 *    takes it apart. The region's own record stands in the page before the memory, so freeing needs
 *    no look-up. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "loop/conn.h"

enum { PAGE = 4096 };

typedef struct known { /* to one rail */
  struct known *next;
  weft__crail_t *cr;
  void *handle;
} known_t;

struct weft_mem_s {
  weft__core_t *core;
  weft__link_t link; /* core->mems */
  weft_mem_t *next;  /* core->mem_back */
  void *base;
  size_t size, mapped; /* mapped: 0 = the user's memory */
  known_t *known;
};

static int tell(weft_mem_t *m, weft__crail_t *cr) {
  known_t *k = calloc(1, sizeof *k);
  if (!k) return UV_ENOMEM;
  k->cr = cr;
  int err = weft__rail_mem_add(cr->rail, m->base, m->size, &k->handle);
  if (err) {
    weft__warn("%s %s: registering %zu bytes: %s", cr->cand.provider, cr->cand.device, m->size,
               uv_strerror(err));
    free(k);
    return err;
  }
  k->next = m->known;
  m->known = k;
  return 0;
}

static void untell(weft_mem_t *m, const weft__crail_t *only) {
  for (known_t **p = &m->known; *p;) {
    known_t *k = *p;
    if (only && k->cr != only) {
      p = &k->next;
      continue;
    }
    if (k->cr->rail) weft__rail_mem_del(k->cr->rail, k->handle);
    *p = k->next;
    free(k);
  }
}

static void add(weft__core_t *core, weft_mem_t *m) {
  m->core = core;
  weft__list_add(&core->mems, &m->link);
  for (weft__link_t *l = core->rails.next; l != &core->rails; l = l->next) {
    weft__crail_t *cr = weft__container(l, weft__crail_t, link);
    if (cr->state == WEFT__R_OPEN) tell(m, cr); /* without it sends from here are only slower */
  }
}

static void drop(weft_mem_t *m) {
  untell(m, NULL);
  weft__list_del(&m->link);
  if (m->mapped)
    munmap(m, m->mapped);
  else
    free(m);
}

void weft__mem_rail_up(weft__core_t *core, weft__crail_t *cr) {
  for (weft__link_t *l = core->mems.next; l != &core->mems; l = l->next)
    tell(weft__container(l, weft_mem_t, link), cr);
}

void weft__mem_rail_down(weft__core_t *core, weft__crail_t *cr) {
  for (weft__link_t *l = core->mems.next; l != &core->mems; l = l->next)
    untell(weft__container(l, weft_mem_t, link), cr);
}

void weft__mem_reap(weft__core_t *core) {
  weft_mem_t *m = __atomic_exchange_n(&core->mem_back, NULL, __ATOMIC_ACQUIRE), *next;
  for (; m; m = next) {
    next = m->next;
    drop(m);
  }
}

void weft__mems_close(weft__core_t *core) {
  weft__mem_reap(core);
  while (!weft__list_empty(&core->mems)) {
    weft_mem_t *m = weft__container(core->mems.next, weft_mem_t, link);
    weft__warn("context: %zu bytes of weft_mem_%s were not given back", m->size,
               m->mapped ? "alloc" : "register");
    drop(m);
  }
}

int weft_mem_alloc(weft_t *w, size_t size, uv_buf_t *out) {
  weft__core_t *core = weft__core_of(w);
  if (!core || !out || size == 0) return UV_EINVAL;
  if (weft__forked(core)) return WEFT_EFORK;
  if (core->state != WEFT__C_OPEN) return UV_ECANCELED;
  size_t mapped = (size + 2 * PAGE - 1) & ~(size_t) (PAGE - 1);
  if (mapped < size || WEFT__FAULT(alloc_large)) return UV_ENOMEM;
  weft_mem_t *m = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (m == MAP_FAILED) return UV_ENOMEM;
  m->base = (char *) m + PAGE;
  m->size = size;
  m->mapped = mapped;
  add(core, m);
  out->base = m->base;
  out->len = size;
  return 0;
}

void weft_mem_free(weft_t *w, uv_buf_t *buf) {
  weft__core_t *core = weft__core_of(w);
  if (!core || !buf || !buf->base || weft__forked(core)) return;
  weft_mem_t *m = (weft_mem_t *) (void *) (buf->base - PAGE);
  buf->base = NULL;
  buf->len = 0;
  weft_mem_t *top = __atomic_load_n(&core->mem_back, __ATOMIC_RELAXED);
  do m->next = top;
  while (!__atomic_compare_exchange_n(&core->mem_back, &top, m, true, __ATOMIC_RELEASE,
                                      __ATOMIC_RELAXED));
  pthread_mutex_lock(&core->post_lock);
  if (!core->post_closed) weft__wake(core); /* else weft_close takes it */
  pthread_mutex_unlock(&core->post_lock);
}

int weft_mem_register(weft_t *w, void *base, size_t size, weft_mem_t **out) {
  weft__core_t *core = weft__core_of(w);
  if (!core || !base || !size || !out) return UV_EINVAL;
  if (weft__forked(core)) return WEFT_EFORK;
  if (core->state != WEFT__C_OPEN) return UV_ECANCELED;
  weft_mem_t *m = calloc(1, sizeof *m);
  if (!m) return UV_ENOMEM;
  m->base = base;
  m->size = size;
  add(core, m);
  *out = m;
  return 0;
}

void weft_mem_unregister(weft_mem_t *m) {
  if (!m || weft__forked(m->core)) return;
  drop(m);
}
