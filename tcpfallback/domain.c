/* SPDX-License-Identifier: Apache-2.0 */
/* domain.c - domains and the entries that their endpoints share. */
#include <stdlib.h>

#include "prov.h"

enum { SLAB = 64 };

static void *slab(tf_domain_t *d, size_t size) {
  void **s = malloc(sizeof(void *) * 2 + SLAB * size);

  if (s == NULL) return NULL;
  *s = d->slabs;
  d->slabs = s;
  return s + 2;
}
tf_rxe_t *tf_rxe_new(tf_domain_t *d) {
  tf_rxe_t *e = d->rxfree, *all;
  int i;

  if (e == NULL) {
    if ((all = slab(d, sizeof(*e))) == NULL) return NULL;
    for (i = 0; i < SLAB; i++) tf_rxe_free(d, &all[i]);
    e = d->rxfree;
  }
  d->rxfree = e->next;
  return e;
}
tf_txe_t *tf_txe_new(tf_domain_t *d) {
  tf_txe_t *e = d->txfree, *all;
  int i;

  if (e == NULL) {
    if ((all = slab(d, sizeof(*e))) == NULL) return NULL;
    for (i = 0; i < SLAB; i++) tf_txe_free(d, &all[i]);
    e = d->txfree;
  }
  d->txfree = e->next;
  return e;
}

static int domain_close(struct fid *fid) {
  tf_domain_t *d = tf_up(fid, tf_domain_t, d.fid);
  void *s;

  if (tf_busy(&d->refs)) return -FI_EBUSY;
  while ((s = d->slabs) != NULL) {
    d->slabs = *(void **) s;
    free(s);
  }
  tf_mr_fini(d);
  pthread_mutex_destroy(&d->mutex);
  tf_unref(&d->fabric->refs);
  free(d);
  return 0;
}

static struct fi_ops fid_ops = {.size = sizeof(struct fi_ops),
                                .close = domain_close,
                                .bind = tf_no_bind,
                                .control = tf_no_control,
                                .ops_open = tf_no_ops_open,
                                .ops_set = tf_no_ops_set};
static struct fi_ops_domain ops = {.size = sizeof(struct fi_ops_domain),
                                   .av_open = tf_no_av,
                                   .cq_open = tf_cq_open,
                                   .endpoint = tf_ep_open,
                                   .scalable_ep = tf_no_sep,
                                   .cntr_open = tf_cntr_open,
                                   .poll_open = tf_no_poll,
                                   .stx_ctx = tf_no_stx,
                                   .srx_ctx = tf_srx_open};

int tf_domain_open(struct fid_fabric *f, struct fi_info *info, struct fid_domain **out,
                   void *context) {
  tf_domain_t *d = calloc(1, sizeof(*d));

  if (d == NULL) return -FI_ENOMEM;
  d->fabric = tf_up(f, tf_fabric_t, f);
  d->virt = info->domain_attr != NULL && info->domain_attr->mr_mode == FI_MR_BASIC;
  pthread_mutex_init(&d->mutex, NULL);
  d->d.fid = (struct fid){.fclass = FI_CLASS_DOMAIN, .context = context, .ops = &fid_ops};
  d->d.ops = &ops;
  d->d.mr = &tf_mr_ops;
  tf_ref(&d->fabric->refs);
  *out = &d->d;
  return 0;
}
