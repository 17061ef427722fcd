/* SPDX-License-Identifier: Apache-2.0 */
/* candidates.c - weft_candidates: everything this machine could use, best first, each with its
 * reason. */
#include <stdlib.h>
#include <string.h>

#include "loop/conn.h"

void weft__cand_view_of(const weft__cand_t *c, const char *local, struct weft__cand_view *v) {
  memset(v, 0, sizeof *v);
  v->provider = c->provider;
  v->device = c->device;
  v->local = local;
  v->speed_bps = c->speed_bps;
  v->why = c->why;
  v->detail = c->detail;
  v->flags = c->loopback ? WEFT__CAND_LOOPBACK : 0;
  v->max_op = c->max_op;
  v->mtu = c->mtu;
  v->traits = c->traits;
}

int weft_candidates(const weft_opts_t *opts, weft_verdict_t *out, size_t elemsize, unsigned cap) {
  weft_opts_t o;
  int err;
  if ((cap && !out) || elemsize < sizeof out->size) return UV_EINVAL;
  weft_opts_init(&o, sizeof o);
  if (opts) {
    if (opts->size == 0) return UV_EINVAL;
    memcpy(&o, opts, opts->size < sizeof o ? opts->size : sizeof o);
  }
  weft__signals_restore();
  weft__fork_init();
  weft__cands_t *cands = weft__cands_get(o.providers, o.devices, 0, &err);
  if (!cands) return weft__err_public(err);
  unsigned n = cands->list.n;
  struct weft__cand_view *views = calloc(n ? n : 1, sizeof *views);
  weft_verdict_t *v = calloc(n ? n : 1, sizeof *v);
  char(*local)[80] = calloc(n ? n : 1, sizeof *local);
  if (views && v && local) {
    for (unsigned i = 0; i < n; i++) {
      const weft__cand_t *c = &cands->list.v[i];
      if (c->addr.ss_family) weft__addr_str(&c->addr, local[i], sizeof local[i]);
      weft__cand_view_of(c, local[i], &views[i]);
    }
    weft_qos_t qos;
    weft_qos_init(&qos, sizeof qos);
    weft__rank(&qos, NULL, views, n, v, NULL);
    for (unsigned i = 0; i < n && i < cap; i++) {
      char *to = (char *) out + i * elemsize;
      v[i].size = elemsize;
      memset(to, 0, elemsize);
      memcpy(to, &v[i], elemsize < sizeof v[i] ? elemsize : sizeof v[i]);
    }
  }
  err = views && v && local ? (int) n : UV_ENOMEM;
  free(views);
  free(v);
  free(local);
  weft__cands_unref(cands);
  return err;
}
