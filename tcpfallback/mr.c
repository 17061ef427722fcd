/* SPDX-License-Identifier: Apache-2.0 */
/* mr.c - memory that peers may read or write, found by its key.
 *
 * Design notes
 *  - A peer's operation that is under way when its region closes touches the memory no more: what it
 *    still writes is dropped, who still reads is cut off. */
#include <stdlib.h>
#include <string.h>
#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>
#endif

#include "prov.h"

static size_t slot(const tf_domain_t *d, uint64_t key) {
  return (key * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (d->mrcap - 1);
}

static tf_mr_t *lookup(tf_domain_t *d, uint64_t key) {
  tf_mr_t *m;

  if (d->mrcap == 0) return NULL;
  for (m = d->mrs[slot(d, key)]; m != NULL; m = m->next)
    if (m->m.key == key) return m;
  return NULL;
}

tf_mr_t *tf_mr_find(tf_domain_t *d, const tf_rma_t *r, uint64_t access, void **at) {
  tf_mr_t *m = lookup(d, r->key);

  if (m == NULL || (m->access & access) == 0) return NULL;
  if (r->addr < m->lo || r->addr - m->lo > m->len || r->len > m->len - (r->addr - m->lo))
    return NULL;
  *at = m->base + (r->addr - m->lo);
  return m;
}

#ifdef __x86_64__
enum { LINE = 64 };

/* Asked once: a virtual processor takes long to answer. */
static bool keeps_lines(void) {
  static int known;
  unsigned a, b = 0, c, d;
  int k = __atomic_load_n(&known, __ATOMIC_RELAXED);

  if (k == 0) {
    k = __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & bit_CLWB) != 0 ? 1 : -1;
    __atomic_store_n(&known, k, __ATOMIC_RELAXED);
  }
  return k > 0;
}

/* Newer processors keep the line: what is read next need not be fetched. */
__attribute__((target("clwb"))) static void keep(uint8_t *p, const uint8_t *end) {
  for (; p < end; p += LINE) _mm_clwb(p);
}

void tf_mr_commit(const tf_mr_t *m, const tf_rma_t *r) {
  uint8_t *p = m->base + (r->addr - m->lo), *end = p + r->len;

  p -= (uintptr_t) p % LINE;
  if (keeps_lines())
    keep(p, end);
  else
    for (; p < end; p += LINE) _mm_clflush(p);
  _mm_sfence();
}
#else
void tf_mr_commit(const tf_mr_t *m, const tf_rma_t *r) { /* nobody could ask: FI_RMA_PMEM */
  (void) m, (void) r;
}
#endif

static bool grow(tf_domain_t *d) {
  size_t i, old = d->mrcap;
  tf_mr_t **was = d->mrs, *m;

  if (d->nmr < d->mrcap) return true;
  d->mrs = calloc(old != 0 ? old * 2 : 64, sizeof(*d->mrs));
  if (d->mrs == NULL) {
    d->mrs = was;
    return old != 0;
  }
  d->mrcap = old != 0 ? old * 2 : 64;
  for (i = 0; i < old; i++)
    while ((m = was[i]) != NULL) {
      was[i] = m->next;
      m->next = d->mrs[slot(d, m->m.key)];
      d->mrs[slot(d, m->m.key)] = m;
    }
  free(was);
  return true;
}

static void revoke(tf_domain_t *d, tf_mr_t *m) {
  tf_ep_t *ep, *next;
  unsigned i;

  for (ep = d->eps; ep != NULL; ep = next) {
    tf_txe_t *t;
    bool cut = false;
    next = ep->next;
    if (ep->rx == RX_WRITE)
      for (i = 0; i < TF_RMA_MAX && ep->rx == RX_WRITE; i++)
        if (ep->mr[i] == m) {
          ep->rx = RX_DROP;
          memset(ep->mr, 0, sizeof(ep->mr));
        }
    for (t = ep->tx.head; t != NULL && !cut; t = t->next)
      for (i = 0; i < t->niov && (t->kind & TX_USER) == 0; i++)
        if (t->mr[i] == m) cut = true;
    if (cut) tf_ep_down(ep, FI_EACCES);
  }
}

static int mr_close(struct fid *fid) {
  tf_mr_t *m = tf_up(fid, tf_mr_t, m.fid), **at;
  tf_domain_t *d = m->domain;

  tf_lock(d);
  for (at = &d->mrs[slot(d, m->m.key)]; *at != m; at = &(*at)->next)
    ;
  *at = m->next;
  d->nmr--;
  if (m->access & (FI_REMOTE_READ | FI_REMOTE_WRITE)) revoke(d, m);
  tf_unlock(d);
  tf_unref(&d->refs);
  free(m);
  return 0;
}

static struct fi_ops fid_ops = {.size = sizeof(struct fi_ops),
                                .close = mr_close,
                                .bind = tf_no_bind,
                                .control = tf_no_control,
                                .ops_open = tf_no_ops_open,
                                .ops_set = tf_no_ops_set};

static int mr_regattr(struct fid *fid, const struct fi_mr_attr *a, uint64_t flags,
                      struct fid_mr **out) {
  tf_domain_t *d = tf_up(fid, tf_domain_t, d.fid);
  tf_mr_t *m;
  int err = 0;

  (void) flags;
  if (fid->fclass != FI_CLASS_DOMAIN || a->iov_count != 1 || a->mr_iov == NULL) return -FI_EINVAL;
  m = calloc(1, sizeof(*m));
  if (m == NULL) return -FI_ENOMEM;
  m->domain = d;
  m->base = a->mr_iov[0].iov_base;
  m->len = a->mr_iov[0].iov_len;
  m->lo = d->virt ? (uint64_t) (uintptr_t) m->base : a->offset;
  m->access = a->access;
  m->m.fid = (struct fid){.fclass = FI_CLASS_MR, .context = a->context, .ops = &fid_ops};
  m->m.mem_desc = m;
  tf_lock(d);
  m->m.key = d->virt ? ++d->next_key : a->requested_key;
  if (!grow(d))
    err = -FI_ENOMEM;
  else if (lookup(d, m->m.key) != NULL)
    err = -FI_ENOKEY;
  else {
    m->next = d->mrs[slot(d, m->m.key)];
    d->mrs[slot(d, m->m.key)] = m;
    d->nmr++;
  }
  tf_unlock(d);
  if (err != 0) {
    free(m);
    return err;
  }
  tf_ref(&d->refs);
  *out = &m->m;
  return 0;
}

static int mr_regv(struct fid *fid, const struct iovec *iov, size_t n, uint64_t access,
                   uint64_t offset, uint64_t key, uint64_t flags, struct fid_mr **out,
                   void *context) {
  struct fi_mr_attr a = {.mr_iov = iov,
                         .iov_count = n,
                         .access = access,
                         .offset = offset,
                         .requested_key = key,
                         .context = context};

  return mr_regattr(fid, &a, flags, out);
}

static int mr_reg(struct fid *fid, const void *buf, size_t len, uint64_t access, uint64_t offset,
                  uint64_t key, uint64_t flags, struct fid_mr **out, void *context) {
  struct iovec iov = {(void *) buf, len};

  return mr_regv(fid, &iov, 1, access, offset, key, flags, out, context);
}

void tf_mr_fini(tf_domain_t *d) {
  free(d->mrs);
}

struct fi_ops_mr tf_mr_ops = {
    .size = sizeof(struct fi_ops_mr), .reg = mr_reg, .regv = mr_regv, .regattr = mr_regattr};
