/* SPDX-License-Identifier: Apache-2.0 */
/* faults.c - see faults.h.
 *
 * Design notes
 *  - Each way is a line of frames in the order they came, each with its time, and a few that have been set
 *    aside on leaving it. `next` moves frames from the line to those until it finds one that may go. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "faults.h"

enum { ASIDE = 16 };

typedef struct held {
  struct held *next;
  uint64_t due;
  unsigned
      passed; /* set aside: so many more may pass it; in the line: it will be set aside for them */
  size_t len;
  uint8_t data[];
} held_t;

typedef struct way {
  held_t *first, **last; /* the line */
  held_t *aside[ASIDE];
  unsigned waiting, asides;
  held_t *out; /* what `next` has given */
  uint64_t number;
} way_t;

struct tf_faults {
  tf_faults_config_t c;
  uint64_t seed;
  way_t way[TF_FAULTS_WAYS];
};

static uint64_t mix(uint64_t z) {
  z += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

bool tf_faults_wanted(const tf_faults_config_t *c) {
  return c->loss > 0 || c->dup > 0 || c->reorder > 0 || c->delay > 0;
}

tf_faults_t *tf_faults_open(const tf_faults_config_t *c, unsigned device) {
  tf_faults_t *f = calloc(1, sizeof(*f));
  unsigned i;

  if (f == NULL) return NULL;
  f->c = *c;
  f->seed = mix(mix((uint64_t) c->seed) + device);
  for (i = 0; i < TF_FAULTS_WAYS; i++) f->way[i].last = &f->way[i].first;
  return f;
}

void tf_faults_close(tf_faults_t *f) {
  unsigned i, k;

  if (f == NULL) return;
  for (i = 0; i < TF_FAULTS_WAYS; i++) {
    way_t *w = &f->way[i];
    while (w->first != NULL) {
      held_t *h = w->first;
      w->first = h->next;
      free(h);
    }
    for (k = 0; k < w->asides; k++) free(w->aside[k]);
    free(w->out);
  }
  free(f);
}

bool tf_faults_room(const tf_faults_t *f, int way) {
  return f->way[way].waiting + 2 <= TF_FAULTS_WAITING;
}

static int append(way_t *w, uint64_t due, unsigned passed, const struct iovec *iov, int n,
                  size_t len) {
  held_t *h = malloc(sizeof(*h) + len);
  uint8_t *at;
  int i;

  if (h == NULL) return -ENOBUFS;
  *h = (held_t){.due = due, .passed = passed, .len = len};
  for (i = 0, at = h->data; i < n; at += iov[i++].iov_len)
    memcpy(at, iov[i].iov_base, iov[i].iov_len);
  *w->last = h;
  w->last = &h->next;
  w->waiting++;
  return 0;
}

int tf_faults_put(tf_faults_t *f, int way, uint64_t now, const struct iovec *iov, int n,
                  size_t len) {
  way_t *w = &f->way[way];
  uint64_t chance = mix(f->seed ^ mix((w->number << 1) + (unsigned) way));
  unsigned of[3], i, passed = 0;
  int err;

  if (!tf_faults_room(f, way)) return -ENOBUFS;
  for (i = 0; i < 3; i++) of[i] = (unsigned) ((chance = mix(chance)) % 1000000);
  if (of[0] < (unsigned) f->c.loss) {
    w->number++;
    return 0;
  }
  if (of[2] < (unsigned) f->c.reorder) passed = 1 + (unsigned) (mix(chance) % TF_FAULTS_LATE_MOST);
  err = append(w, now + (uint64_t) f->c.delay * 1000, passed, iov, n, len);
  if (err != 0) return err;
  w->number++;
  /* Without memory for the second it comes once: that is no loss. */
  if (of[1] < (unsigned) f->c.dup)
    (void) append(w, now + (uint64_t) f->c.delay * 1000, 0, iov, n, len);
  return 0;
}

/* One that was set aside and has waited enough. */
static held_t *from_aside(way_t *w, uint64_t now) {
  held_t *h;
  unsigned i;

  for (i = 0; i < w->asides; i++) {
    h = w->aside[i];
    if (h->passed != 0 && now < h->due) continue;
    memmove(&w->aside[i], &w->aside[i + 1], (--w->asides - i) * sizeof(h));
    return h;
  }
  return NULL;
}

static held_t *from_line(way_t *w, uint64_t now) {
  held_t *h;
  unsigned i;

  while ((h = w->first) != NULL && now >= h->due) {
    w->first = h->next;
    if (w->first == NULL) w->last = &w->first;
    if (h->passed == 0 || w->asides == ASIDE) {
      for (i = 0; i < w->asides; i++)
        if (w->aside[i]->passed != 0) w->aside[i]->passed--;
      return h;
    }
    h->due = now + TF_FAULTS_LATE_NS;
    w->aside[w->asides++] = h;
  }
  return NULL;
}

const void *tf_faults_next(tf_faults_t *f, int way, uint64_t now, size_t *len) {
  way_t *w = &f->way[way];

  if (w->out == NULL) w->out = from_aside(w, now);
  if (w->out == NULL) w->out = from_line(w, now);
  if (w->out == NULL) return NULL;
  *len = w->out->len;
  return w->out->data;
}

void tf_faults_pop(tf_faults_t *f, int way) {
  way_t *w = &f->way[way];

  free(w->out);
  w->out = NULL;
  w->waiting--;
}

uint64_t tf_faults_due(const tf_faults_t *f) {
  uint64_t due = UINT64_MAX;
  unsigned i, k;

  for (i = 0; i < TF_FAULTS_WAYS; i++) {
    const way_t *w = &f->way[i];
    if (w->out != NULL) return 0;
    if (w->first != NULL && w->first->due < due) due = w->first->due;
    for (k = 0; k < w->asides; k++)
      if (w->aside[k]->due < due) due = w->aside[k]->due;
  }
  return due;
}
