/* SPDX-License-Identifier: Apache-2.0 */
/* sim.c - the simulated world: its clock, its events, hosts, links and how paths come to be.
 *
 * Design notes
 *  - A host that is stopped keeps its events: each is put off until it runs again, in the old
 *    order.
 *  - A connect is a request that travels one way and an answer that travels back. A link that is
 *    cut when either arrives loses it; then the connecting end times out, and the accepting end,
 *    which may have accepted, holds a path to nobody. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rail/sim/internal.h"

uint64_t weft__rng_log(weft__rng_t *r, uint64_t lo, uint64_t hi) {
  unsigned bits = 63u - (unsigned) __builtin_clzll(hi / lo);
  uint64_t from = lo << weft__rng_below(r, bits + 1);
  uint64_t to = from > hi / 2 ? hi : from * 2;

  return weft__rng_range(r, from, to);
}

void *weft__sim_alloc(size_t n) {
  void *p = calloc(1, n);

  if (p == NULL) p = calloc(1, n);
  if (p == NULL) abort();
  return p;
}

/* ---- World ---- */

weft__sim_t *weft__sim_create(const weft__sim_hooks_t *hooks, void *ctx) {
  weft__sim_t *s = calloc(1, sizeof(*s));

  if (s == NULL) return NULL;
  if (hooks != NULL) s->hooks = *hooks;
  s->ctx = ctx;
  weft__sim_reset(s, 0);
  return s;
}

void weft__sim_reset(weft__sim_t *s, uint64_t seed) {
  unsigned i;

  s->resetting = true;
  s->nheap = 0;
  for (i = 0; i < s->nlinks; i++)
    while (s->links[i].chans != NULL) weft__sim_chan_free(s->links[i].chans);
  weft__sim_rma_forget(s);
  while (s->reqs != NULL) {
    weft__sim_req_t *r = s->reqs;
    s->reqs = r->next;
    free(r);
  }
  s->resetting = false;
  s->violations = 0;
  if (s->bufs_out != 0) {
    weft__sim_violate(s, "%u received buffers were never given back", s->bufs_out);
    s->bufs_out = 0;
  }
  s->nlinks = s->nchans = s->nreqs = s->made = 0;
  s->now = s->order = s->events = s->violations = 0;
  s->hash = 0xcbf29ce484222325u;
  s->rng = weft__rng_fork(seed, 0x51u);
  memset(s->hosts, 0, sizeof(s->hosts));
  memset(s->links, 0, sizeof(s->links));
}

void weft__sim_destroy(weft__sim_t *s) {
  weft__sim_reset(s, 0);
  while (s->free_bufs != NULL) {
    simbuf_t *b = s->free_bufs;
    s->free_bufs = b->next_free;
    free(b);
  }
  while (s->free_chans != NULL) {
    chan_t *c = s->free_chans;
    s->free_chans = c->next;
    free(c);
  }
  free(s->heap);
  free(s);
}

void weft__sim_trace(weft__sim_t *s, bool on) {
  s->tracing = on && s->hooks.trace != NULL;
}

uint64_t weft__sim_time(const weft__sim_t *s) {
  return s->now;
}

const uint64_t *weft__sim_clock(const weft__sim_t *s, unsigned host) {
  return &s->hosts[host].clock;
}

weft__rng_t *weft__sim_rng(weft__sim_t *s) {
  return &s->rng;
}

uint64_t weft__sim_hash(const weft__sim_t *s) {
  return s->hash;
}

uint64_t weft__sim_events(const weft__sim_t *s) {
  return s->events;
}

uint64_t weft__sim_violations(const weft__sim_t *s) {
  return s->violations;
}

void weft__sim_mark(weft__sim_t *s, uint64_t what) {
  s->hash = (s->hash ^ what ^ s->now << 20) * 0x100000001b3u;
  s->hash ^= s->hash >> 29;
}

void weft__sim_step_trace(weft__sim_t *s, const char *fmt, ...) {
  char line[512];
  int n = snprintf(line, sizeof(line), "%12.3f us  ", (double) s->now / 1e3);
  va_list ap;

  va_start(ap, fmt);
  vsnprintf(line + n, sizeof(line) - (size_t) n, fmt, ap);
  va_end(ap);
  s->hooks.trace(s->ctx, line);
}

void weft__sim_note(weft__sim_t *s, const char *fmt, ...) {
  char text[400];
  va_list ap;

  if (!s->tracing) return;
  va_start(ap, fmt);
  vsnprintf(text, sizeof(text), fmt, ap);
  va_end(ap);
  weft__sim_step_trace(s, "%s", text);
}

void weft__sim_violate(weft__sim_t *s, const char *fmt, ...) {
  char text[400];
  va_list ap;

  va_start(ap, fmt);
  vsnprintf(text, sizeof(text), fmt, ap);
  va_end(ap);
  s->violations++;
  weft__sim_mark(s, 0xbad);
  sim_trace(s, "VIOLATION %s", text);
  if (s->hooks.violation != NULL) s->hooks.violation(s->ctx, text);
}

bool weft__sim_quiet(const weft__sim_t *s) {
  return s->nchans == 0 && s->nreqs == 0 && s->bufs_out == 0;
}

/* ---- Events ---- */

static inline bool before(const event_t *a, const event_t *b) {
  return a->at < b->at || (a->at == b->at && a->order < b->order);
}

static void heap_push(weft__sim_t *s, const event_t *e) {
  size_t i;

  if (s->nheap == s->cap) {
    event_t *more = weft__sim_alloc((s->cap == 0 ? 256 : s->cap * 2) * sizeof(*more));

    if (s->cap != 0) memcpy(more, s->heap, s->cap * sizeof(*more));
    free(s->heap);
    s->heap = more;
    s->cap = s->cap == 0 ? 256 : s->cap * 2;
  }
  for (i = s->nheap++; i > 0 && before(e, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
    s->heap[i] = s->heap[(i - 1) / 2];
  s->heap[i] = *e;
}

static void heap_pop(weft__sim_t *s, event_t *out) {
  event_t last;
  size_t i = 0, child;

  *out = s->heap[0];
  last = s->heap[--s->nheap];
  while ((child = 2 * i + 1) < s->nheap) {
    if (child + 1 < s->nheap && before(&s->heap[child + 1], &s->heap[child])) child++;
    if (!before(&s->heap[child], &last)) break;
    s->heap[i] = s->heap[child];
    i = child;
  }
  s->heap[i] = last;
}

void weft__sim_plan(weft__sim_t *s, unsigned host, uint64_t at, void (*fn)(void *obj, uint64_t arg),
                    void *obj, uint64_t arg) {
  event_t e = {at < s->now ? s->now : at, s->order++, fn, obj, arg, host};

  heap_push(s, &e);
}

void weft__sim_at(weft__sim_t *s, unsigned host, uint64_t time,
                  void (*fn)(void *arg, uint64_t data), void *arg, uint64_t data) {
  weft__sim_plan(s, host, time, fn, arg, data);
}

static void run(weft__sim_t *s, const event_t *e) {
  s->now = e->at > s->now ? e->at : s->now;
  if (e->host < WEFT__SIM_HOSTS) s->hosts[e->host].clock = s->hosts[e->host].epoch + s->now;
  s->events++;
  e->fn(e->obj, e->arg);
}

int weft__sim_step(weft__sim_t *s, uint64_t until) {
  event_t e;
  host_t *h;
  uint64_t end;

  for (;;) {
    if (s->nheap == 0 || s->heap[0].at > until) return -1;
    heap_pop(s, &e);
    if (e.host >= WEFT__SIM_HOSTS) {
      run(s, &e);
      return (int) WEFT__SIM_HOSTS;
    }
    h = &s->hosts[e.host];
    if (h->stopped <= e.at) break;
    e.at = h->stopped;
    e.order = s->order++;
    heap_push(s, &e);
  }
  end = e.at + h->slack;
  run(s, &e);
  while (s->nheap != 0 && s->heap[0].host == e.host && s->heap[0].at <= end &&
         s->heap[0].at <= until && s->heap[0].at >= h->stopped) {
    heap_pop(s, &e);
    run(s, &e);
  }
  return (int) e.host;
}

/* ---- Hosts ---- */

void weft__sim_host_slack(weft__sim_t *s, unsigned host, uint64_t slack) {
  s->hosts[host].slack = slack;
}

void weft__sim_host_epoch(weft__sim_t *s, unsigned host, uint64_t epoch) {
  s->hosts[host].epoch = epoch;
  s->hosts[host].clock = epoch + s->now;
}

void weft__sim_host_stop(weft__sim_t *s, unsigned host, uint64_t until) {
  if (until <= s->hosts[host].stopped) return;
  s->hosts[host].stopped = until;
  sim_trace(s, "host %u stops until %.3f us", host, (double) until / 1e3);
  weft__sim_mark(s, 0x510 + host);
}

/* ---- Links ---- */

weft__sim_link_t *weft__sim_link(weft__sim_t *s, const weft__sim_link_conf_t *conf) {
  weft__sim_link_t *l;

  if (s->nlinks == WEFT__SIM_LINKS) return NULL;
  l = &s->links[s->nlinks];
  memset(l, 0, sizeof(*l));
  l->sim = s;
  l->conf = *conf;
  l->index = s->nlinks++;
  return l;
}

unsigned weft__sim_link_index(const weft__sim_link_t *l) {
  return l->index;
}

bool weft__sim_link_up(const weft__sim_link_t *l) {
  return !l->cut && l->stalled == 0;
}

void weft__sim_link_refuse(weft__sim_link_t *l, bool refuse) {
  l->refuse = refuse;
}

void weft__sim_link_cut(weft__sim_link_t *l, unsigned tell, uint64_t notice, uint64_t late) {
  weft__sim_t *s = l->sim;
  chan_t *c;
  unsigned i;

  if (l->cut) return;
  l->cut = true;
  sim_trace(s, "link %u is cut, told: %s", l->index,
            tell == 3   ? "both"
            : tell == 1 ? "A"
            : tell == 2 ? "B"
                        : "none");
  weft__sim_mark(s, 0xc0 + l->index);
  for (c = l->chans; c != NULL; c = c->next) {
    c->dead = true;
    for (i = 0; i < 2; i++) {
      end_t *e = &c->e[i];
      size_t n = weft__sim_queued(e);

      weft__sim_cut_queue(e, weft__rng_below(&s->rng, n + 1), late);
      if (tell & 1u << i)
        weft__sim_doom(e, weft__rng_below(&s->rng, notice + 1), -ENETDOWN, "the link is down");
    }
  }
}

void weft__sim_link_stall(weft__sim_link_t *l, unsigned directions) {
  if ((l->stalled | directions) != l->stalled) {
    sim_trace(l->sim, "link %u stalls%s%s", l->index, directions & 1 ? " A>B" : "",
              directions & 2 ? " B>A" : "");
    weft__sim_mark(l->sim, 0x57a + l->index);
  }
  l->stalled |= directions;
}

void weft__sim_link_heal(weft__sim_link_t *l) {
  weft__sim_t *s = l->sim;
  bool was_cut = l->cut;
  chan_t *c;
  unsigned i;

  if (weft__sim_link_up(l)) return;
  sim_trace(s, "link %u heals", l->index);
  weft__sim_mark(s, 0x4ea1 + l->index);
  l->cut = false;
  l->stalled = 0;
  for (c = l->chans; c != NULL; c = c->next)
    for (i = 0; i < 2; i++) {
      weft__sim_arm(&c->e[i]);
      /* What was dead stays dead; now that packets pass, an end that was never told hears a reset
       * if the other has closed, and else perhaps: its owner has to find out. */
      if (was_cut && c->dead && (c->e[1 - i].state == END_CLOSED || !weft__rng_one_in(&s->rng, 4)))
        weft__sim_doom(&c->e[i], weft__rng_log(&s->rng, 1000, 1000000000), -ECONNRESET,
                       "reset after the link came back");
    }
}

/* ---- Connecting ---- */

static void req_free(weft__sim_req_t *r) {
  weft__sim_t *s = r->c->link->sim;

  if (r->next != NULL) r->next->pprev = r->pprev;
  *r->pprev = r->next;
  s->nreqs--;
  weft__sim_unref(r->c);
  free(r);
}

static void connect_fails(end_t *e, uint64_t after, int err, const char *why) {
  weft__sim_doom(e, after, err, why);
}

/* A stalled link keeps what is on its way, also the words of a connect: look again later. */
static bool stalled(chan_t *c, unsigned to, void (*fn)(void *, uint64_t), uint64_t arg) {
  weft__sim_link_t *l = c->link;

  if (l->cut || l->stalled == 0) return false;
  weft__sim_plan(l->sim, c->e[to].host, l->sim->now + 20000000, fn, c, arg);
  return true;
}

static void request_arrives(void *obj, uint64_t side) {
  chan_t *c = obj;
  weft__sim_link_t *l = c->link;
  weft__sim_t *s = l->sim;
  end_t *from = &c->e[side];
  weft__sim_req_t *r;

  if (from->state == END_CONNECTING && stalled(c, 1 - (unsigned) side, request_arrives, side))
    return;
  if (l->cut || from->state != END_CONNECTING) {
    connect_fails(from, weft__rng_log(&s->rng, 1000000, 3000000000u), -ETIMEDOUT, "no answer");
    weft__sim_unref(c);
    return;
  }
  if (l->refuse || s->hooks.request == NULL) {
    connect_fails(from, l->conf.delay, -ECONNREFUSED, "nobody listens");
    weft__sim_unref(c);
    return;
  }
  r = weft__sim_alloc(sizeof(*r));
  r->c = c; /* the event's reference is now the request's */
  r->side = 1 - (unsigned) side;
  memcpy(r->blob, from->blob, from->bloblen);
  r->len = from->bloblen;
  from->bloblen = 0;
  r->next = s->reqs;
  r->pprev = &s->reqs;
  if (s->reqs != NULL) s->reqs->pprev = &r->next;
  s->reqs = r;
  s->nreqs++;
  weft__sim_mark(s, 0x4e9 + c->id);
  s->hooks.request(s->ctx, c->e[r->side].host, r);
}

int weft__sim_connect(weft__sim_link_t *l, unsigned side, const void *blob, size_t len,
                      const weft__path_cbs_t *cbs, void *user, weft__path_t **out) {
  weft__sim_t *s = l->sim;
  chan_t *c;
  end_t *e;

  if (len > WEFT__BLOB_MAX) {
    weft__sim_violate(s, "a connect with a blob of %zu bytes", len);
    return -EINVAL;
  }
  c = weft__sim_chan_new(l);
  e = &c->e[side];
  e->state = END_CONNECTING;
  e->path.cbs = cbs;
  e->path.user = user;
  memcpy(e->blob, blob, len);
  e->bloblen = len;
  c->refs++;
  sim_trace(s, "path %u: %c connects over link %u", c->id, "AB"[side], l -> index);
  weft__sim_plan(s, c->e[1 - side].host, s->now + weft__sim_travel(&c->e[1 - side], 100),
                 request_arrives, c, side);
  *out = &e->path;
  return 0;
}

const void *weft__sim_req_blob(const weft__sim_req_t *r, size_t *len) {
  *len = r->len;
  return r->blob;
}

weft__sim_link_t *weft__sim_req_link(const weft__sim_req_t *r) {
  return r->c->link;
}

static void answer_arrives(void *obj, uint64_t side) {
  chan_t *c = obj;
  weft__sim_t *s = c->link->sim;
  end_t *e = &c->e[side];

  if (e->state == END_CONNECTING && !e->doomed) {
    if (!c->dead && stalled(c, (unsigned) side, answer_arrives, side)) return;
    if (c->dead || c->link->cut) {
      c->dead = true;
      weft__sim_cut_queue(e, 0, 0);
      weft__sim_cut_queue(peer_of(e), 0, 0);
      connect_fails(e, weft__rng_log(&s->rng, 1000000, 3000000000u), -ETIMEDOUT, "no answer");
      if (!weft__rng_one_in(&s->rng, 4))
        weft__sim_doom(peer_of(e), weft__rng_log(&s->rng, 1000000, 1000000000), -ETIMEDOUT,
                       "the connecting end fell silent");
    } else {
      e->state = END_UP;
      sim_trace(s, "path %u: connected", c->id);
      weft__sim_mark(s, 0xacc + c->id);
      weft__sim_arm(e);
      if (e->path.cbs->connected != NULL) e->path.cbs->connected(&e->path, e->blob, e->bloblen);
    }
  }
  weft__sim_unref(c);
}

int weft__sim_accept(weft__sim_req_t *r, const void *blob, size_t len, const weft__path_cbs_t *cbs,
                     void *user, weft__path_t **out) {
  chan_t *c = r->c;
  weft__sim_t *s = c->link->sim;
  end_t *e = &c->e[r->side], *peer = peer_of(e);
  uint64_t at;

  if (len > WEFT__BLOB_MAX) {
    weft__sim_violate(s, "an accept with a blob of %zu bytes", len);
    return -EINVAL;
  }
  if (peer->state != END_CONNECTING) { /* it has given up */
    req_free(r);
    return -ECONNABORTED;
  }
  memcpy(peer->blob, blob, len);
  peer->bloblen = len;
  weft__sim_end_up(e);
  e->path.cbs = cbs;
  e->path.user = user;
  at = s->now + weft__sim_travel(peer, 100);
  peer->last_due = at;
  c->refs++;
  weft__sim_plan(s, peer->host, at, answer_arrives, c, peer->side);
  *out = &e->path;
  req_free(r);
  return 0;
}

void weft__sim_reject(weft__sim_req_t *r, const void *blob, size_t len) {
  end_t *peer = peer_of(&r->c->e[r->side]);
  weft__sim_t *s = r->c->link->sim;

  if (len > WEFT__BLOB_MAX) {
    weft__sim_violate(s, "a reject with a blob of %zu bytes", len);
    len = 0;
  }
  if (peer->state == END_CONNECTING) {
    if (weft__sim_link_up(r->c->link)) {
      memcpy(peer->blob, blob, len);
      peer->bloblen = len;
      connect_fails(peer, weft__sim_travel(peer, 100), -ECONNREFUSED, "rejected");
    } else {
      connect_fails(peer, weft__rng_log(&s->rng, 1000000, 3000000000u), -ETIMEDOUT, "no answer");
    }
  }
  req_free(r);
}

void weft__sim_pair(weft__sim_link_t *l, weft__path_t *out[2]) {
  chan_t *c = weft__sim_chan_new(l);
  unsigned i;

  for (i = 0; i < 2; i++) {
    weft__sim_end_up(&c->e[i]);
    out[i] = &c->e[i].path;
  }
}

weft__sim_link_t *weft__sim_path_link(const weft__path_t *p) {
  return ((const end_t *) p)->c->link;
}

unsigned weft__sim_path_host(const weft__path_t *p) {
  return ((const end_t *) p)->host;
}

unsigned weft__sim_path_id(const weft__path_t *p) {
  return ((const end_t *) p)->c->id;
}

void weft__sim_liar(weft__path_t *p) {
  end_of(p)->liar = true;
}
