/* SPDX-License-Identifier: Apache-2.0 */
/* lib_liar.c - an end that lies: an honest session whose frames are changed on their way out.
 *
 * Design notes
 *  - An honest session behind the lie brings its victim into every state; the lies then are small:
 *    a field, a record, a frame too many or too few. Most of the time frame counters are put right
 *    again, so that the lie is not found out by the first check.
 *  - Values are drawn near the true ones and at the edges of their types: off by one is where
 *    checks fail. */
#include "lib_world.h"

#include <stdlib.h>
#include <string.h>

enum { TRACKED = 64, REMEMBERED = 8 };

struct liar {
  weft__rng_t rng;
  bool keep_fc;
  uint64_t fc[TRACKED];
  uint8_t old[REMEMBERED][WEFT__FRAME_MAX];
  uint32_t oldlen[REMEMBERED];
  unsigned nold;
};

void liar_begin(world_t *w) {
  struct liar *l = w->liar;

  if (l == NULL) l = w->liar = malloc(sizeof(*l));
  if (l == NULL) abort();
  l->rng = weft__rng_fork(w->plan.seed, 0x11a);
  l->keep_fc = !weft__rng_one_in(&l->rng, 4);
  memset(l->fc, 0, sizeof(l->fc));
  l->nold = 0;
}

void liar_free(world_t *w) {
  free(w->liar);
  w->liar = NULL;
}

static uint64_t nearby(struct liar *l, uint64_t v) {
  switch (weft__rng_below(&l->rng, 12)) {
  case 0: return 0;
  case 1: return UINT64_MAX;
  case 2: return UINT64_MAX - weft__rng_below(&l->rng, 300);
  case 3: return v + 1;
  case 4: return v - 1;
  case 5: return v + weft__rng_below(&l->rng, 300);
  case 6: return v - weft__rng_below(&l->rng, 300);
  case 7: return v ^ UINT64_C(1) << weft__rng_below(&l->rng, 64);
  case 8: return weft__rng_next(&l->rng);
  case 9: return UINT32_MAX - weft__rng_below(&l->rng, 3);
  case 10: return v + weft__rng_log(&l->rng, 1, UINT64_C(1) << 40);
  default: return weft__rng_below(&l->rng, 20);
  }
}

static void lie64(struct liar *l, uint8_t *p) {
  weft__put64(p, nearby(l, weft__get64(p)));
}

static void lie32(struct liar *l, uint8_t *p) {
  weft__put32(p, (uint32_t) nearby(l, weft__get32(p)));
}

static void lie_header(struct liar *l, uint8_t *f) {
  switch (weft__rng_below(&l->rng, 16)) {
  case 0: f[0] = (uint8_t) nearby(l, f[0]); break;
  case 1: f[1] = (uint8_t) weft__rng_below(&l->rng, 18); break;
  case 2: f[2] ^= (uint8_t) (1u << weft__rng_below(&l->rng, 8)); break;
  case 3: f[3 + weft__rng_below(&l->rng, 3)] ^= 1; break;
  case 4: weft__put16(f + 6, (uint16_t) nearby(l, weft__get16(f + 6))); break;
  case 5: lie64(l, f + 8); break;
  case 6: lie64(l, f + 16); break;
  case 7:
  case 8: lie64(l, f + 24); break;
  case 9:
  case 10: lie64(l, f + 32); break;
  case 11: lie64(l, f + 40); break;
  case 12: lie64(l, f + 48); break;
  case 13: lie32(l, f + 56); break;
  default: lie32(l, f + 60); break;
  }
}

/* Somewhere in the payload, mostly where a number stands. */
static void lie_payload(struct liar *l, uint8_t *f, uint32_t len) {
  uint32_t words = (len - WEFT__HDR) / 8;
  uint32_t at;

  if (words == 0) return;
  at = WEFT__HDR + 8 * (uint32_t) weft__rng_below(&l->rng, words < 5 ? words : 5);
  if (weft__rng_one_in(&l->rng, 3)) at = WEFT__HDR + 8 * (uint32_t) weft__rng_below(&l->rng, words);
  if (weft__rng_below(&l->rng, 2))
    lie64(l, f + at);
  else
    lie32(l, f + at + 4 * weft__rng_below(&l->rng, 2));
}

/* A control frame out of thin air, well-formed, about numbers near those of `like`. */
static uint32_t forge(struct liar *l, const uint8_t *like, uint8_t *f) {
  static const uint32_t sizes[WEFT__F_TYPES] = {
      [WEFT__F_RESUME] = WEFT__RESUME_SIZE,
      [WEFT__F_RESUME_ACK] = WEFT__RESUME_ACK_SIZE,
      [WEFT__F_PING] = WEFT__PING_SIZE,
      [WEFT__F_PONG] = WEFT__PING_SIZE,
      [WEFT__F_CTS] = WEFT__CTS_SIZE,
      [WEFT__F_FRAG] = WEFT__FRAG_SIZE,
      [WEFT__F_CHUNK] = WEFT__FRAG_SIZE,
      [WEFT__F_READY] = WEFT__READY_SIZE,
      [WEFT__F_DONE] = WEFT__FRAG_SIZE,
      [WEFT__F_REFUSE] = WEFT__REFUSE_SIZE,
      [WEFT__F_SKIP] = WEFT__REFUSE_SIZE,
      [WEFT__F_ABORT] = 8,
      [WEFT__F_DATA] = 8,
  };
  uint32_t n, extra;
  uint8_t *p = f + WEFT__HDR;

  memcpy(f, like, WEFT__HDR);
  f[1] = (uint8_t) (1 + weft__rng_below(&l->rng, WEFT__F_TYPES - 1));
  f[2] = 0;
  n = sizes[f[1]];
  memset(p, 0, 400);
  weft__put16(f + 6, f[1] == WEFT__F_DATA);
  weft__put64(f + 24, f[1] == WEFT__F_DATA ? nearby(l, weft__get64(like + 40) - 8) | 1 : 0);
  switch (f[1]) {
  case WEFT__F_RESUME:
  case WEFT__F_RESUME_ACK:
    weft__put64(p, weft__rng_below(&l->rng, 5));
    weft__put64(p + 8, nearby(l, weft__get64(like + 32)));
    if (n > 16) weft__put64(p + 16, nearby(l, 1000));
    break;
  case WEFT__F_CTS:
    weft__put64(p, nearby(l, weft__get64(like + 32)));
    weft__put64(p + 8, weft__rng_below(&l->rng, 2) ? 0 : nearby(l, 65536));
    weft__put64(p + 16, weft__rng_next(&l->rng));
    weft__put32(p + 32, (uint32_t) nearby(l, 65536));
    weft__put32(p + 36, (uint32_t) weft__rng_below(&l->rng, 6));
    break;
  case WEFT__F_READY:
    weft__put64(p, nearby(l, weft__get64(like + 24)));
    weft__put64(p + 8, weft__rng_below(&l->rng, 2) ? 0 : nearby(l, 65536));
    weft__put64(p + 16, weft__rng_next(&l->rng));
    weft__put64(p + 24, weft__rng_next(&l->rng));
    weft__put32(p + 32, (uint32_t) nearby(l, 65536));
    break;
  case WEFT__F_DONE:
  case WEFT__F_FRAG:
  case WEFT__F_CHUNK:
    weft__put64(p, nearby(l, weft__get64(like + 24)));
    weft__put64(p + 8, weft__rng_below(&l->rng, 2) ? 0 : nearby(l, 65536));
    weft__put32(p + 16, (uint32_t) nearby(l, 65536));
    if (f[1] == WEFT__F_CHUNK) {
      extra = (uint32_t) weft__rng_below(&l->rng, 300) + 1;
      weft__put32(p + 16, extra);
      n += extra;
    }
    break;
  case WEFT__F_REFUSE:
  case WEFT__F_SKIP: weft__put64(p, nearby(l, weft__get64(like + 32))); break;
  case WEFT__F_DATA: weft__rec_put(p, (unsigned) weft__rng_below(&l->rng, 4), 0); break;
  default: break;
  }
  weft__put32(f + 56, n);
  return WEFT__HDR + n;
}

static void count(struct liar *l, weft__path_t *p, uint8_t *f) {
  unsigned id = weft__sim_path_id(p) % TRACKED;

  l->fc[id]++;
  if (l->keep_fc) weft__put64(f + 16, l->fc[id]);
}

static bool about_reads(const uint8_t *f) {
  return f[1] == WEFT__F_READY || f[1] == WEFT__F_DONE;
}

/* READY and DONE as they stand, but for the piece: another length, place, message or key, one that
 * overlaps the last, or the same once more. */
static void lie_piece(struct liar *l, weft__path_t *path, uint8_t *f, uint32_t frame_len) {
  uint8_t *p = f + WEFT__HDR, again[WEFT__HDR + WEFT__READY_SIZE];
  bool ready = f[1] == WEFT__F_READY;
  uint8_t *len = p + (ready ? 32 : 16);
  uint32_t n = weft__get32(len);

  switch (weft__rng_below(&l->rng, 8)) {
  case 0: weft__put32(len, n + 1); break;
  case 1: weft__put32(len, n - 1); break;
  case 2: weft__put32(len, n / 2); break;
  case 3: weft__put64(p + 8, weft__get64(p + 8) + n); break;
  case 4: weft__put64(p + 8, weft__get64(p + 8) + 1 - 2 * weft__rng_below(&l->rng, 2)); break;
  case 5: weft__put64(p, weft__get64(p) + 1 - 2 * weft__rng_below(&l->rng, 2)); break;
  case 6:
    if (ready) {
      lie64(l, p + 16 + 8 * weft__rng_below(&l->rng, 2));
      break;
    }
    /* fall through */
  default:
    memcpy(again, f, frame_len);
    count(l, path, again);
    weft__sim_inject(path, again, frame_len);
    break;
  }
}

bool liar_frame(world_t *w, weft__path_t *path, uint8_t *data, uint32_t *len) {
  struct liar *l = w->liar;
  uint8_t extra[WEFT__HDR + 400];
  unsigned i, often = w->plan.tamper;
  uint32_t n;

  if (about_reads(data)) often = often / 8 + 1; /* there are few of them */
  if (!weft__rng_one_in(&l->rng, often)) {
    memcpy(l->old[l->nold % REMEMBERED], data, *len);
    l->oldlen[l->nold++ % REMEMBERED] = *len;
    count(l, path, data);
    return true;
  }
  weft__sim_note(w->sim, "%c lies", "AB"[w->plan.liar]);
  if (about_reads(data) && weft__rng_below(&l->rng, 2)) {
    lie_piece(l, path, data, *len);
    count(l, path, data);
    return true;
  }
  switch (weft__rng_below(&l->rng, 12)) {
  case 0:
  case 1:
  case 2:
    count(l, path, data);
    lie_header(l, data);
    return true;
  case 3:
  case 4: lie_payload(l, data, *len); break;
  case 5:
    for (i = 1 + (unsigned) weft__rng_below(&l->rng, 4); i > 0; i--)
      data[weft__rng_below(&l->rng, *len)] ^= (uint8_t) (1u << weft__rng_below(&l->rng, 8));
    break;
  case 6: return false;
  case 7:
    if (*len <= sizeof(extra)) {
      memcpy(extra, data, *len);
      count(l, path, extra);
      weft__sim_inject(path, extra, *len);
    }
    break;
  case 8:
  case 9:
    n = forge(l, data, extra);
    count(l, path, extra);
    weft__sim_inject(path, extra, n);
    break;
  case 10:
    n = (uint32_t) weft__rng_below(&l->rng, *len + 20);
    if (n > WEFT__FRAME_MAX) /* what the buffer holds */
      n = WEFT__FRAME_MAX;
    if (n > *len) memset(data + *len, 0, n - *len);
    *len = n == 0 ? 1 : n;
    if (*len >= WEFT__HDR && weft__rng_below(&l->rng, 2)) weft__put32(data + 56, *len - WEFT__HDR);
    if (*len < WEFT__HDR) return true;
    break;
  default:
    if (l->nold != 0) {
      i = (unsigned) weft__rng_below(&l->rng, l->nold < REMEMBERED ? l->nold : REMEMBERED);
      if (weft__rng_below(&l->rng, 2))
        count(l, path, l->old[i]); /* an old frame as if it were new */
      weft__sim_inject(path, l->old[i], l->oldlen[i]);
    }
    break;
  }
  count(l, path, data);
  return true;
}
