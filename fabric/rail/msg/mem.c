/* SPDX-License-Identifier: Apache-2.0 */
/* mem.c - registration: the pool's chunks, memory the owner made known, and keys nobody can guess.
 *
 * Design notes
 *  - Where the provider needs no registration of local memory, regions are not even remembered.
 *  - Regions are looked up under a lock, because large ones are added and removed on another thread:
 *    once per RMA operation, never per frame.
 *  - fi_mr_reg and the close of what it made may run beside any other call on the domain. verbs 1.17
 *    takes no lock in them (vrb_mr_nocache_reg, verbs_mr.c:205; vrb_mr_close, :37) and shares nothing
 *    but the protection domain, which ibv_reg_mr only reads; ibv_reg_mr may be called by any thread,
 *    and in the kernel ib_uverbs_reg_mr takes its domain and its device as a reader. tcp, which needs
 *    none of local memory, keeps them in a map under the domain's lock, a mutex whatever FI_THREAD_*
 *    is asked for (ofi_mr_regattr and ofi_mr_close, util_mr_map.c:302 and :218; tcpx_domain.c:124).
 *  - libfabric's registration cache must be off: it keeps memory open to the peer after it was
 *    closed, gives every region remote rights whatever was asked for, and patches malloc. It is
 *    switched off when this library is loaded, because libfabric reads the variable once; a rail
 *    that finds it on all the same does not open.
 *  - Where peers read, memory that the owner made known is readable as a whole, so that a send from
 *    it registers nothing: docs/trust.md says what that means.
 *  - Each registration has the rights of its one use: frames to send none but the device's own
 *    reading, receives and what the peer may write to just that.
 *  - A key opens memory to every peer of the domain, so keys come from getrandom, and none can be
 *    derived from another. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/fault.h"
#include "base/log.h"
#include "ib.h"
#include "internal.h"

struct weft__region {
  weft__region_t *next;
  uintptr_t base, end;
  struct fid_mr *mr;
};

__attribute__((constructor)) static void cache_off(void) {
  (void) setenv("FI_MR_CACHE_MAX_COUNT", "0", 0);
}

static uint64_t fresh_key(weft__rail_t *rail) {
  uint64_t key;

  if (rail->mr_provkey) return 0;
  /* Only called on the loop's thread, but for the worker's registrations, whose key no peer ever
   * learns. */
  pthread_mutex_lock(&rail->mem_lock);
  if (rail->nkeys == 0) {
    while (getrandom(rail->keys, sizeof(rail->keys), 0) != (ssize_t) sizeof(rail->keys))
      ;
    rail->nkeys = sizeof(rail->keys) / sizeof(rail->keys[0]);
  }
  key = rail->keys[--rail->nkeys] & rail->key_mask;
  rail->keys[rail->nkeys] = 0;
  pthread_mutex_unlock(&rail->mem_lock);
  return key;
}

static int reg(weft__rail_t *rail, void *base, size_t len, uint64_t access, struct fid_mr **out) {
  int err = WEFT__FAULT(mr_reg), tries;

  for (tries = 0; err == 0 && tries < 8; tries++) {
    ssize_t r = fi_mr_reg(rail->domain, base, len, access, 0, fresh_key(rail), 0, out, NULL);
    if (r == 0) return 0;
    if (r != -FI_ENOKEY) err = weft__fi_err(r);
  }
  return err == 0 ? -EEXIST : err;
}

/* Registering the same bytes twice gives the same registration only where there is a cache. */
bool weft__mem_cached(weft__rail_t *rail) {
  struct fid_mr *a, *b;
  bool same = false;
  void *page = NULL;

  if (!rail->mr_provkey || posix_memalign(&page, 4096, 4096) != 0) return false;
  if (reg(rail, page, 4096, FI_SEND, &a) == 0) {
    if (reg(rail, page, 4096, FI_SEND, &b) == 0) {
      same = a == b;
      fi_close(&b->fid);
    }
    fi_close(&a->fid);
  }
  free(page);
  return same;
}

int weft__mem_reg(weft__rail_t *rail, void *base, size_t len, uint64_t access,
                  struct fid_mr **out) {
  int err = reg(rail, base, len, access, out);

  if (err == 0) __atomic_add_fetch(&rail->env->registrations, 1, __ATOMIC_RELAXED);
  return err;
}

int weft__mem_pool_reg(void *arg, weft__pool_kind kind, void *base, size_t len, void **mr,
                       void **desc) {
  struct fid_mr *m;
  int err = weft__mem_reg(arg, base, len, kind == WEFT__POOL_RX ? FI_RECV : FI_SEND, &m);

  if (err != 0) return err;
  *mr = m;
  *desc = fi_mr_desc(m);
  return 0;
}

void weft__mem_pool_unreg(void *arg, void *mr) {
  (void) arg;
  fi_close(&((struct fid_mr *) mr)->fid);
}

struct fid_mr *weft__mem_find(weft__rail_t *rail, const void *mem, size_t len, uintptr_t *base) {
  uintptr_t from = (uintptr_t) mem, to = from + len;
  struct fid_mr *mr = NULL;
  weft__region_t *r;

  pthread_mutex_lock(&rail->mem_lock);
  for (r = rail->mem; r != NULL; r = r->next)
    if (from >= r->base && to <= r->end) {
      mr = r->mr;
      *base = r->base;
      break;
    }
  pthread_mutex_unlock(&rail->mem_lock);
  return mr;
}

void *weft__mem_desc(weft__rail_t *rail, const void *base, size_t len) {
  uintptr_t at;
  struct fid_mr *mr = weft__mem_find(rail, base, len, &at);

  return mr == NULL ? NULL : fi_mr_desc(mr);
}

bool weft__rail_mem_slow(const weft__rail_t *rail) {
  return rail->mr_local && rail->q->blocks;
}

/* One line for each rail that cannot any more, not one for each region. */
static void say_failed(weft__rail_t *rail, const void *base, size_t len, int err) {
  uint64_t limit = err == -ENOMEM && rail->q->rdma ? weft__ib_memlock() : UINT64_MAX;
  char text[96], more[80] = "";

  if (__atomic_exchange_n(&rail->mem_failed, 1, __ATOMIC_RELAXED)) return;
  if (limit != UINT64_MAX)
    snprintf(more, sizeof(more), ", %llu KiB of memory may be locked (ulimit -l)",
             (unsigned long long) (limit >> 10));
  weft__warn(
      "%s: registering %zu bytes at %p: %s%s: large messages from there are registered piece "
      "by piece",
      rail->name, len, base, weft__err_str(err, text, sizeof(text)), more);
}

int weft__rail_mem_add(weft__rail_t *rail, void *base, size_t len, void **handle) {
  uint64_t access = FI_WRITE;
  weft__region_t *r;
  int err;

  *handle = NULL;
  if (!rail->mr_local) return 0;
  r = calloc(1, sizeof(*r));
  if (r == NULL) return -ENOMEM;
  r->base = (uintptr_t) base;
  r->end = r->base + len;
  /* a source: no device writes to it */
  if (rail->q->xfer == WEFT__XFER_READ) access |= FI_REMOTE_READ;
  err = weft__mem_reg(rail, base, len, access, &r->mr);
  if (err != 0) {
    say_failed(rail, base, len, err);
    free(r);
    return err;
  }
  __atomic_store_n(&rail->mem_failed, 0, __ATOMIC_RELAXED);
  pthread_mutex_lock(&rail->mem_lock);
  r->next = rail->mem;
  rail->mem = r;
  pthread_mutex_unlock(&rail->mem_lock);
  *handle = r;
  return 0;
}

void weft__rail_mem_del(weft__rail_t *rail, void *handle) {
  weft__region_t *r = handle, **pp;
  char text[96];
  int err;

  if (r == NULL) return;
  pthread_mutex_lock(&rail->mem_lock);
  for (pp = &rail->mem; *pp != NULL; pp = &(*pp)->next)
    if (*pp == r) {
      *pp = r->next;
      break;
    }
  pthread_mutex_unlock(&rail->mem_lock);
  err = weft__fid_close(&r->mr->fid, mem_close);
  if (err != 0)
    weft__warn("%s: closing %zu bytes at %p: %s", rail->name, (size_t) (r->end - r->base),
               (void *) r->base, weft__err_str(err, text, sizeof(text)));
  free(r);
}

void weft__mem_close(weft__rail_t *rail) {
  while (rail->mem != NULL) weft__rail_mem_del(rail, rail->mem);
}
