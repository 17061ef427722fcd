/* SPDX-License-Identifier: Apache-2.0 */
/* cands.c - one look at the machine for the whole process, shared while it is fresh.
 *
 * Design notes
 *  - libfabric's look-up takes from milliseconds to seconds, and a thousand contexts may start at
 *    once: the list is kept with the filters it was made for, and whoever comes while one is being
 *    made waits for it (on its worker).
 *  - A list is never changed and is freed with its last user. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "loop/rails.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static weft__cands_t *latest;

void weft__cands_forked(void) {
  pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
  memcpy(&lock, &fresh, sizeof lock); /* another thread may have held it */
  latest = NULL;                      /* leaked: it may have been half made */
}

weft__cands_t *weft__cands_ref(weft__cands_t *c) {
  __atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
  return c;
}

void weft__cands_unref(weft__cands_t *c) {
  if (!c || __atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) != 0) return;
  weft__cand_free(&c->list);
  free(c);
}

static bool fits(const weft__cands_t *c, const char *providers, const char *devices) {
  return c && strcmp(c->providers, providers) == 0 && strcmp(c->devices, devices) == 0;
}

weft__cands_t *weft__cands_get(const char *providers, const char *devices, uint64_t max_age_ns,
                               int *err) {
  uint64_t asked = weft__clock_ns();
  weft__cands_t *c = NULL, *old;
  *err = 0;
  pthread_mutex_lock(&lock);
  /* one that was taken after we asked is fresh whatever max_age_ns says */
  if (fits(latest, providers, devices) &&
      (latest->at >= asked || asked - latest->at < max_age_ns)) {
    c = weft__cands_ref(latest);
    pthread_mutex_unlock(&lock);
    return c;
  }
  c = calloc(1, sizeof *c);
  if (!c) {
    *err = UV_ENOMEM;
  } else {
    c->at = weft__clock_ns();
    strncpy(c->providers, providers, sizeof c->providers - 1);
    strncpy(c->devices, devices, sizeof c->devices - 1);
    c->refs = 2;
    *err = weft__cand_scan(providers, devices, &c->list);
  }
  if (c && *err) {
    free(c);
    c = NULL;
  }
  old = latest;
  latest = c;
  pthread_mutex_unlock(&lock);
  weft__cands_unref(old);
  return c;
}

void weft__cands_forget(void) {
  pthread_mutex_lock(&lock);
  weft__cands_t *old = latest;
  latest = NULL;
  pthread_mutex_unlock(&lock);
  weft__cands_unref(old);
}
