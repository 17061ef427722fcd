/* SPDX-License-Identifier: Apache-2.0 */
/* mem.c - memory that rails can send from without a copy: weft_mem_alloc, weft_mem_register.
 *
 * Design notes
 *  - A region is made known to every rail when it is made, and to every rail that opens later.
 *    Where the provider needs no registration this costs nothing.
 *  - A registration pins every page of the region, and makes those that do not exist yet: what is
 *    above NOW_MAX is made known, and let go of, on the thread for large memory. Until a rail knows
 *    it, it is memory like any other: a large message from it registers each of its fragments, on
 *    the loop, and those are the bound of NOW_MAX. A rail that opens later is told of NOW_MAX on the
 *    loop, of the rest there.
 *  - That thread has one rail and one region at a time (known_t). When a rail goes the worker, which
 *    ends it, waits for those that are of this rail (gate_t); what the rail knows by then goes with
 *    it.
 *  - What is given back stays as it is until that thread has ended with it, and only then goes back
 *    to the system, or, where a context closes beside a job that hangs, never.
 *  - weft_mem_free works on any thread: the region goes onto an atomic stack and the loop's thread
 *    takes it apart. The region's own record stands in the page before the memory, so freeing needs
 *    no look-up. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "loop/conn.h"

enum { PAGE = 4096, NOW_MAX = 4 << 20 };

typedef struct known { /* to one rail, or about to be */
  struct known *next;
  weft_mem_t *m;
  weft__crail_t *cr;  /* NULL: the rail goes, and with it what it knows */
  weft__rail_t *rail; /* for the thread */
  void *handle;
  weft__job_t job;
  bool busy;    /* the thread has it */
  int unwanted; /* atomic: nobody wants it any more, so do not begin */
  int err;
} known_t;

struct weft_mem_s {
  weft__core_t *core;
  weft__link_t link; /* core->mems */
  weft_mem_t *next;  /* core->mem_back */
  void *base;
  size_t size, mapped; /* mapped: 0 = the user's memory */
  known_t *known;
  bool given_back;
  bool going; /* the thread unmaps it */
  weft__job_t job;
};

/* ---- The end of a region ---- */

static void unmap_run(weft__job_t *job) { /* all but the page of the record */
  weft_mem_t *m = job->data;
  munmap(m->base, m->mapped - PAGE);
}

static void unmap_done(weft__job_t *job) {
  weft_mem_t *m = job->data;
  weft__list_del(&m->link);
  munmap(m, PAGE);
}

/* Is it given back, and no rail's any more? Then it goes, and with it the record. */
static void end(weft_mem_t *m) {
  if (!m->given_back || m->known || m->going) return;
  m->job = (weft__job_t){.run = unmap_run, .done = unmap_done, .data = m};
  if (m->mapped > NOW_MAX && weft__work_memory(m->core, &m->job) == 0) {
    m->going = true;
    return;
  }
  weft__list_del(&m->link);
  if (m->mapped)
    munmap(m, m->mapped);
  else
    free(m);
}

static void known_free(known_t *k) {
  known_t **p;
  for (p = &k->m->known; *p != k; p = &(*p)->next) {}
  *p = k->next;
  free(k);
}

/* ---- Rails that go ---- */

/* The worker waits at it until the thread for memory has come to it. crail->gate, made before that
 * thread is given anything of the rail. */
typedef struct weft__gate {
  weft__job_t from, to; /* the thread's, the worker's */
  unsigned left;        /* of the two */
  bool open;
} gate_t;

static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_cond = PTHREAD_COND_INITIALIZER;

static void gate_from(weft__job_t *job) {
  gate_t *g = job->data;
  pthread_mutex_lock(&gate_lock);
  g->open = true;
  pthread_cond_broadcast(&gate_cond);
  pthread_mutex_unlock(&gate_lock);
}

static void gate_to(weft__job_t *job) {
  gate_t *g = job->data;
  pthread_mutex_lock(&gate_lock);
  while (!g->open) pthread_cond_wait(&gate_cond, &gate_lock);
  pthread_mutex_unlock(&gate_lock);
}

static void gate_done(weft__job_t *job) {
  gate_t *g = job->data;
  if (--g->left == 0) free(g);
}

/* `busy`: the thread has something of the rail. */
static void gate_close(weft__crail_t *cr, bool busy) {
  weft__core_t *core = cr->core;
  gate_t *g = cr->gate;
  cr->gate = NULL;
  if (!g) return;
  g->from = (weft__job_t){.run = gate_from, .done = gate_done, .data = g};
  g->to = (weft__job_t){.run = gate_to, .done = gate_done, .data = g};
  if (busy && weft__work_memory(core, &g->from) == 0) g->left++; /* else it has ended all it had */
  if (g->left && weft__work(core, &g->to) == 0) g->left++;
  if (!g->left) free(g);
}

/* ---- One region, one rail ---- */

/* Give it to the thread. false: there is none, so it is to be done here and now. */
static bool give(known_t *k, void (*run)(weft__job_t *), void (*done)(weft__job_t *)) {
  if (!k->cr->gate && !(k->cr->gate = calloc(1, sizeof *k->cr->gate))) return false;
  k->job = (weft__job_t){.run = run, .done = done, .data = k};
  k->busy = weft__work_memory(k->m->core, &k->job) == 0;
  return k->busy;
}

static void del_run(weft__job_t *job) {
  known_t *k = job->data;
  weft__rail_mem_del(k->rail, k->handle);
}

static void del_done(weft__job_t *job) {
  known_t *k = job->data;
  weft_mem_t *m = k->m;
  known_free(k);
  end(m);
}

/* Nobody wants it any more. Frees it, now or when the thread has ended; end() is the caller's. */
static void untell(known_t *k) {
  __atomic_store_n(&k->unwanted, 1, __ATOMIC_RELAXED);
  if (k->busy) return;
  if (k->cr && k->handle) {
    if (k->m->size > NOW_MAX && give(k, del_run, del_done)) return;
    weft__rail_mem_del(k->rail, k->handle);
  }
  known_free(k);
}

static void add_run(weft__job_t *job) {
  known_t *k = job->data;
  k->err = UV_ECANCELED;
  if (!__atomic_load_n(&k->unwanted, __ATOMIC_RELAXED))
    k->err = weft__rail_mem_add(k->rail, k->m->base, k->m->size, &k->handle);
}

static void add_done(weft__job_t *job) {
  known_t *k = job->data;
  weft_mem_t *m = k->m;
  k->busy = false;
  if (k->err || k->unwanted) untell(k); /* the log has it; sends from here are only slower */
  end(m);
}

static void tell(weft_mem_t *m, weft__crail_t *cr, bool much) {
  known_t *k = calloc(1, sizeof *k);
  if (!k) return; /* only slower */
  k->m = m;
  k->cr = cr;
  k->rail = cr->rail;
  k->next = m->known;
  m->known = k;
  if (much && weft__rail_mem_slow(k->rail) && give(k, add_run, add_done)) return;
  k->job.data = k;
  add_run(&k->job);
  if (k->err) untell(k);
}

/* ---- Regions ---- */

static void add(weft__core_t *core, weft_mem_t *m) {
  m->core = core;
  weft__list_add(&core->mems, &m->link);
  for (weft__link_t *l = core->rails.next; l != &core->rails; l = l->next) {
    weft__crail_t *cr = weft__container(l, weft__crail_t, link);
    if (cr->state == WEFT__R_OPEN) tell(m, cr, m->size > NOW_MAX);
  }
}

static void give_back(weft_mem_t *m) {
  m->given_back = true;
  for (known_t *k = m->known, *next; k; k = next) {
    next = k->next;
    untell(k);
  }
  end(m);
}

void weft__mem_rail_up(weft__core_t *core, weft__crail_t *cr) {
  size_t room = NOW_MAX;
  for (weft__link_t *l = core->mems.next; l != &core->mems; l = l->next) {
    weft_mem_t *m = weft__container(l, weft_mem_t, link);
    if (m->given_back) continue;
    bool much = m->size > room;
    if (!much) room -= m->size;
    tell(m, cr, much);
  }
}

/* It is about to be closed. */
void weft__mem_rail_down(weft__core_t *core, weft__crail_t *cr) {
  bool busy = false;
  for (weft__link_t *l = core->mems.next, *after; l != &core->mems; l = after) {
    weft_mem_t *m = weft__container(l, weft_mem_t, link);
    after = l->next;
    for (known_t *k = m->known, *next; k; k = next) {
      next = k->next;
      if (k->cr != cr) continue;
      busy |= k->busy;
      k->cr = NULL;
      untell(k);
    }
    end(m);
  }
  gate_close(cr, busy);
}

void weft__mem_reap(weft__core_t *core) {
  weft_mem_t *m = __atomic_exchange_n(&core->mem_back, NULL, __ATOMIC_ACQUIRE), *next;
  for (; m; m = next) {
    next = m->next;
    give_back(m);
  }
}

/* The rails are gone, or abandoned; so is the worker. */
void weft__mems_close(weft__core_t *core) {
  weft__mem_reap(core);
  for (weft__link_t *l = core->mems.next, *after; l != &core->mems; l = after) {
    weft_mem_t *m = weft__container(l, weft_mem_t, link);
    after = l->next;
    if (!m->given_back)
      weft__warn("context: %zu bytes of weft_mem_%s were not given back", m->size,
                 m->mapped ? "alloc" : "register");
    for (known_t *k = m->known; k; k = k->next) k->cr = NULL;
    if (!m->going) give_back(m); /* what the thread still has stays in the list, and is leaked */
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
  give_back(m);
}
