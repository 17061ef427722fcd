/* SPDX-License-Identifier: Apache-2.0 */
/* lib_oracle.c - says of everything a session tells its owner whether it is true.
 *
 * Design notes
 *  - The bytes of a message follow from the seed, its direction and its index, so nothing has to be
 *    remembered. In at-most-once mode the first eight bytes name the index, since any may be lost.
 *  - Memory changes hands visibly: a source is scribbled over the moment `sent` says it is free, a
 *    destination when it is delivered or given back. Whoever still reads or writes it is caught, by
 *    the bytes or by asking the simulator what its devices may still touch. */
#include "lib_world.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool hit(owner_t *o, unsigned one_in) {
  return one_in != 0 && weft__rng_one_in(&o->rng, one_in);
}

static bool at_most_once(const owner_t *o) {
  return o->w->plan.reliability == WEFT_AT_MOST_ONCE;
}

#define C(o) ("AB"[(o)->side])

/* ---- Bytes ---- */

static uint64_t base_of(const owner_t *sender, unsigned idx) {
  weft__rng_t r = weft__rng_fork(sender->w->plan.seed + sender->side, 0x1000 + idx);

  return weft__rng_next(&r) | 1;
}

static uint64_t index_mask(const owner_t *sender) {
  return sender->w->plan.seed * 0x9e3779b97f4a7c15u + sender->side;
}

static uint64_t word(uint64_t base, uint64_t i) {
  uint64_t x = (base + i) * 0x9e3779b97f4a7c15u;

  return x ^ x >> 29;
}

uint8_t *oracle_message(owner_t *o, unsigned idx) {
  msg_t *m = &o->msg[idx];
  uint64_t i, v;
  size_t left;

  m->size = o->w->plan.side[o->side].msg[idx].size;
  if (at_most_once(o) && m->size < 8) m->size = 8;
  if (o->tx_used + m->size + 64 > ARENA) m->size = 8;
  m->buf = o->tx_arena + o->tx_used;
  o->tx_used += (m->size + 63 + 16) & ~(size_t) 15;
  m->base = base_of(o, idx);
  for (i = 0; i < m->size / 8; i++) {
    v = word(m->base, i);
    memcpy(m->buf + 8 * i, &v, 8);
  }
  left = m->size % 8;
  v = word(m->base, i);
  if (left != 0) memcpy(m->buf + 8 * i, &v, left);
  if (at_most_once(o)) {
    v = idx ^ index_mask(o);
    memcpy(m->buf, &v, 8);
  }
  return m->buf;
}

/* The first n bytes of a message. */
static bool same(const owner_t *sender, unsigned idx, const void *data, size_t n) {
  uint64_t base = base_of(sender, idx), i, v, got;
  const uint8_t *p = data;

  for (i = at_most_once(sender); i < n / 8; i++) {
    memcpy(&got, p + 8 * i, 8);
    if (got != word(base, i)) return false;
  }
  v = word(base, i);
  return n % 8 == 0 || memcmp(p + 8 * i, &v, n % 8) == 0;
}

/* Where the first wrong word is, for people. */
static size_t wrong_at(const owner_t *sender, unsigned idx, const void *data, size_t n) {
  size_t k;

  for (k = 0; k + 8 <= n && same(sender, idx, data, k + 8); k += 8)
    ;
  return k;
}

/* A liar's victim gets anything: all that counts is that the bytes may be read. */
static void touch(const void *data, size_t n) {
  const volatile uint8_t *p = data;
  size_t i;

  for (i = 0; i < n; i++) (void) p[i];
}

/* ---- Receiving ---- */

static bool left_out(const msg_t *m) {
  return m->canceled || m->refused || m->refusal;
}

/* Which message comes now. */
static bool expected(owner_t *o, const void *data, size_t size, unsigned *cursor, bool large,
                     unsigned *idx) {
  owner_t *peer = other(o);
  uint64_t v;

  if (at_most_once(o)) {
    if (size < 8) return false;
    memcpy(&v, data, 8);
    v ^= index_mask(peer);
    if (v >= peer->nqueued || v < *cursor) return false;
    *idx = (unsigned) v;
    return true;
  }
  while (*cursor < peer->nqueued &&
         (left_out(&peer->msg[*cursor]) ||
          (large && peer->msg[*cursor].size <= weft__session_eager_max())))
    (*cursor)++;
  *idx = *cursor;
  return *cursor < peer->nqueued && *cursor < peer->n;
}

static dst_t *dst_of(owner_t *o, const void *p) {
  unsigned i;

  for (i = o->ndst; i-- > 0;)
    if (o->dst[i].p == p) return &o->dst[i];
  return NULL;
}

static void dst_done(owner_t *o, dst_t *d) {
  if (weft__sim_exposed(o->w->sim, o->side, d->p, d->size))
    world_violate(o->w, "%c: the destination of message %u is given back while the peer may write",
                  C(o), d->idx);
  d->open = false;
  memset(d->p, 0xd5, d->size);
}

static void keep(owner_t *o, const weft__rxm_t *m, unsigned idx) {
  if (m->rbuf == NULL || o->nkept == 64 || m->rbuf->low(m->rbuf)) return;
  weft__rbuf_ref(m->rbuf);
  o->kept[o->nkept] = m->rbuf;
  o->kept_data[o->nkept] = m->data;
  o->kept_idx[o->nkept++] = idx;
}

void oracle_unkeep(owner_t *o, unsigned i) {
  owner_t *peer = other(o);

  if (!o->w->plan.hostile &&
      !same(peer, o->kept_idx[i], o->kept_data[i], peer->msg[o->kept_idx[i]].size))
    world_violate(o->w, "%c: message %u changed while it was retained", C(o), o->kept_idx[i]);
  weft__rbuf_unref(o->kept[i]);
  o->nkept--;
  o->kept[i] = o->kept[o->nkept];
  o->kept_data[i] = o->kept_data[o->nkept];
  o->kept_idx[i] = o->kept_idx[o->nkept];
}

static void after_end(owner_t *o, const char *what) {
  if (o->ended && o->end_err != 0 && !o->held)
    world_violate(o->w, "%c: %s after the session has ended", C(o), what);
  if (o->aborted || o->gone) world_violate(o->w, "%c: %s after abort", C(o), what);
}

void oracle_deliver(owner_t *o, const weft__rxm_t *m) {
  const plan_side_t *ps = &o->w->plan.side[o->side];
  owner_t *peer = other(o);
  unsigned idx = 0;

  o->upcalls++;
  o->ndelivered++;
  weft__sim_mark(o->w->sim, m->size + 77);
  after_end(o, "a message");
  if (!o->started || o->stopped)
    world_violate(o->w, "%c: a message while receiving is stopped", C(o));
  if (o->eof) world_violate(o->w, "%c: a message after the end", C(o));
  if (o->w->plan.hostile) {
    touch(m->data, m->size);
  } else if (!expected(o, m->data, m->size, &o->rx_idx, false, &idx)) {
    world_violate(o->w, "%c: a message of %zu bytes that was not sent, or not now", C(o), m->size);
  } else {
    msg_t *x = &peer->msg[idx];

    weft__sim_note(o->w->sim, "%c: receives message %u, %zu bytes", C(o), idx, m->size);
    if (x->delivered) world_violate(o->w, "%c: message %u twice", C(o), idx);
    if (m->size != x->size)
      world_violate(o->w, "%c: message %u has %zu bytes instead of %u", C(o), idx, m->size,
                    x->size);
    else if (!same(peer, idx, m->data, m->size))
      world_violate(o->w, "%c: message %u of %zu bytes has wrong ones at %zu", C(o), idx, m->size,
                    wrong_at(peer, idx, m->data, m->size));
    x->delivered = true;
    o->rx_idx = idx + 1;
    o->w->st.messages++;
    o->w->st.bytes += m->size;
    if (hit(o, ps->keep)) keep(o, m, idx);
  }
  if (m->large != NULL) {
    dst_t *d = dst_of(o, m->large);

    o->w->st.large++;
    if (d == NULL || !d->open || (d->size != m->size && !o->w->plan.hostile))
      world_violate(o->w, "%c: a large message in memory that it was not given", C(o));
    else
      dst_done(o, d);
  }
  if (o->nkept != 0 && weft__rng_one_in(&o->rng, 3))
    oracle_unkeep(o, (unsigned) weft__rng_below(&o->rng, o->nkept));
  owner_poke(o);
}

void oracle_eof(owner_t *o) {
  owner_t *peer = other(o);

  weft__sim_note(o->w->sim, "%c: end of the peer's messages", C(o));
  weft__sim_mark(o->w->sim, 0xe0f);
  after_end(o, "the end of messages");
  if (o->eof) world_violate(o->w, "%c: the end twice", C(o));
  o->eof = true;
  if (o->w->plan.hostile) return;
  if (!peer->fin_queued) world_violate(o->w, "%c: an end that the peer did not send", C(o));
  if (at_most_once(o)) return;
  while (o->rx_idx < peer->n && left_out(&peer->msg[o->rx_idx])) o->rx_idx++;
  if (o->rx_idx < peer->n)
    world_violate(o->w, "%c: the end, but message %u is missing", C(o), o->rx_idx);
}

void *oracle_alloc(owner_t *o, uint64_t size, const void *head, uint32_t headlen) {
  const plan_side_t *ps = &o->w->plan.side[o->side];
  owner_t *peer = other(o);
  unsigned idx = 0;
  dst_t *d;

  o->upcalls++;
  if (o->ended && o->end_err != 0)
    world_violate(o->w, "%c: a request for memory after the session has ended", C(o));
  after_end(o, "a request for memory");
  touch(head, headlen);
  if (!o->w->plan.hostile) {
    if (!expected(o, head, headlen, &o->rx_alloc, true, &idx)) {
      world_violate(o->w, "%c: memory for a message that was not sent", C(o));
      return NULL;
    }
    o->rx_alloc = idx + 1;
    if (peer->msg[idx].size != size)
      world_violate(o->w, "%c: memory of %llu bytes for message %u of %u", C(o),
                    (unsigned long long) size, idx, peer->msg[idx].size);
    else if (headlen > size || !same(peer, idx, head, headlen))
      world_violate(o->w, "%c: message %u announces wrong bytes", C(o), idx);
  }
  if (hit(o, ps->refuse) || o->ndst == MAX_MSGS || o->rx_used + size + 128 > ARENA) {
    if (!o->w->plan.hostile) peer->msg[idx].refused = true;
    o->w->st.refused++;
    weft__sim_note(o->w->sim, "%c: refuses message %u", C(o), idx);
    return NULL;
  }
  d = &o->dst[o->ndst++];
  d->p = o->rx_arena + o->rx_used + 64;
  d->size = size;
  d->idx = idx;
  d->open = true;
  memset(d->p - 32, 0xa7, 32);
  memset(d->p + size, 0xa7, 32);
  o->rx_used += (size + 128 + 63) & ~(size_t) 63;
  return d->p;
}

void oracle_unalloc(owner_t *o, void *p) {
  dst_t *d = dst_of(o, p);

  if (d == NULL || !d->open) {
    world_violate(o->w, "%c: memory given back that was not lent", C(o));
    return;
  }
  dst_done(o, d);
}

/* ---- Sending ---- */

void oracle_sent(owner_t *o, weft__txm_t *txm, int status) {
  owner_t *peer = other(o);
  world_t *w = o->w;
  unsigned idx = (unsigned) txm->owner[0];
  msg_t *m;
  uint64_t has;

  weft__sim_mark(w->sim, 0x5e47 + (uint64_t) (unsigned) status);
  if (idx > o->n || &o->msg[idx].txm != txm) {
    world_violate(w, "%c: `sent` for something else", C(o));
    return;
  }
  m = &o->msg[idx];
  weft__sim_note(w->sim, "%c: message %u (#%llu) is sent (%d)", C(o), idx,
                 (unsigned long long) txm->seq, status);
  if (m->state != MSG_QUEUED) world_violate(w, "%c: `sent` twice for message %u", C(o), idx);
  m->state = MSG_DONE;
  o->nsent++;
  if (o->ended && o->end_err == 0) world_violate(w, "%c: `sent` after the end", C(o));
  if (m->size != 0 && weft__sim_reading(w->sim, o->side, m->buf, m->size))
    world_violate(w, "%c: message %u is sent, and a device still reads it", C(o), idx);
  if (m->canceled && status != -ECANCELED)
    world_violate(w, "%c: message %u was cancelled and ends with %d", C(o), idx, status);
  if (m->canceled) w->st.canceled++;
  if (!w->plan.hostile && !m->canceled) {
    if (status == -ENOBUFS && !m->refused)
      world_violate(w, "%c: message %u was refused by nobody", C(o), idx);
    if (status == 0 && m->refused)
      world_violate(w, "%c: message %u was refused and is sent", C(o), idx);
    if (status == -EMSGSIZE && m->size <= w->plan.side[1 - o->side].max_message)
      world_violate(w, "%c: message %u is too large for nobody", C(o), idx);
    if (status == -EMSGSIZE) m->refusal = true;
    if (status == 0 && !at_most_once(o)) {
      m->acked = idx < o->n;
      has = peer->s != NULL ? weft__session_rx_next(peer->s) : peer->rx_last;
      if (txm->seq >= has)
        world_violate(w, "%c: message %u (#%llu) is sent, but the peer has only those below #%llu",
                      C(o), idx, (unsigned long long) txm->seq, (unsigned long long) has);
      if (w->plan.ack == WEFT_ACK_CONSUMED && idx < o->n && !m->delivered)
        world_violate(w, "%c: message %u is sent, but the peer has not consumed it", C(o), idx);
    }
  }
  if (status != 0 && status != -ECANCELED && status != -ENOBUFS && status != -EMSGSIZE &&
      !(at_most_once(o) && status == -ECONNABORTED))
    o->failed = true;
  if (m->size != 0) memset(m->buf, 0x5c, m->size); /* the user's again */
  memset(m->iov, 0x5c, sizeof(m->iov));
  owner_poke(o);
}

/* ---- The end ---- */

/* Had this end a reason to give up? The rules are those of docs/wire.md: without a path, or without
 * a word on any, for a time; and a fault must have been at work in it. */
static bool reason_to_end(owner_t *o, int err) {
  world_t *w = o->w;
  owner_t *peer = other(o);
  uint64_t now = weft__sim_time(w->sim);
  uint64_t grace = 3 * (w->plan.interruption_ms < 20 ? 20 : w->plan.interruption_ms) * MS;
  uint64_t limit = w->plan.peer_timeout;

  if (w->plan.may_fail || w->plan.hostile || w->failed_malloc || malloc_failures() != 0)
    return true;
  if (peer->aborted || (peer->ended && peer->end_err != 0) || o->aborted) return true;
  if (o->again) return true;
  if (!o->open || !peer->open) /* the handshake has one path, and no second try */
    return w->nfired != 0;
  if (err == -ECONNRESET && o->side == 1 && grace < limit) limit = grace;
  return (o->npaths == 0 && now - o->nolive_since >= limit &&
          (w->faults_open != 0 || now - w->last_heal < limit + w->plan.backoff_max * 2 + 4 * S)) ||
         (err == WEFT__E_PEERLOST && (w->faults_open != 0 || now - w->last_heal < S));
}

void oracle_ended(owner_t *o, int err, const char *why) {
  world_t *w = o->w;
  unsigned i;

  weft__sim_mark(w->sim, 0xe4d + (uint64_t) (unsigned) err);
  if (o->ended) world_violate(w, "%c: ended twice", C(o));
  if (o->aborted || o->released) world_violate(w, "%c: ended after abort", C(o));
  o->ended = true;
  o->ended_at = weft__sim_time(w->sim);
  o->end_err = err;
  o->held = weft__session_holds(o->s);
  snprintf(o->end_why, sizeof(o->end_why), "%s", why);
  for (i = 0; i <= o->n && i < o->next; i++)
    if (o->msg[i].state == MSG_QUEUED) {
      world_violate(w, "%c: ended while message %u waits for `sent`", C(o), i);
      break;
    }
  if (err == 0) {
    if (!w->plan.hostile && (!o->eof || !o->fin_queued))
      world_violate(w, "%c: ended in order, but not both directions have", C(o));
    if (o->failed) world_violate(w, "%c: ended in order, but a message failed", C(o));
  } else if (!reason_to_end(o, err)) {
    world_violate(w, "%c: ended without a reason: %d, %s", C(o), err, why);
  }
}

bool oracle_memory(owner_t *o, const void *p, size_t len, bool write) {
  const uint8_t *a = p;
  unsigned i;

  if (write) {
    for (i = o->ndst; i-- > 0;)
      if (o->dst[i].open && a >= o->dst[i].p && a + len <= o->dst[i].p + o->dst[i].size)
        return true;
    return false;
  }
  for (i = 0; i < o->next && i < o->n; i++)
    if (o->msg[i].state == MSG_QUEUED && a >= o->msg[i].buf &&
        a + len <= o->msg[i].buf + o->msg[i].size)
      return true;
  return false;
}

/* Two ends that ended in order say goodbye; only one that cannot be told lingers for its whole
 * time: the accepting end, when the other has gone already. */
static void check_farewell(owner_t *o) {
  owner_t *peer = other(o);
  uint64_t from = o->ended_at > peer->ended_at ? o->ended_at : peer->ended_at;
  unsigned i;

  for (i = 0; i < o->w->plan.nfaults; i++) /* silence is noticed by the next beat, and no earlier */
    if ((o->w->plan.fault[i].kind == FAULT_CUT || o->w->plan.fault[i].kind == FAULT_DARK) &&
        o->w->plan.fault[i].arg != 3)
      return;
  if (from < o->w->last_heal) from = o->w->last_heal;
  if (o->side == 1 && peer->gone_at < o->gone_at) return;
  if (o->gone_at > from + o->w->plan.linger / 2)
    world_violate(o->w, "%c: lingers for %llu ms after all has ended", C(o),
                  (unsigned long long) (o->gone_at - from) / 1000000);
}

static bool all(const uint8_t *p, uint8_t v, size_t n) {
  size_t i;

  for (i = 0; i < n; i++)
    if (p[i] != v) return false;
  return true;
}

/* Everything is over: was anything forgotten? */
void oracle_end(owner_t *o) {
  world_t *w = o->w;
  owner_t *peer = other(o);
  bool clean = o->end_err == 0 && peer->end_err == 0 && !o->aborted && !peer->aborted &&
               !w->plan.hostile && o->ended && peer->ended;
  unsigned i;

  while (o->nkept != 0) oracle_unkeep(o, 0);
  if (o->s != NULL) return; /* stuck, and told so already */
  if (clean && !w->failed_malloc && !w->plan.may_fail) check_farewell(o);
  for (i = 0; i < o->ndst; i++) {
    dst_t *d = &o->dst[i];
    if (d->open)
      world_violate(w, "%c: the destination of message %u was never given back", C(o), d->idx);
    else if (!all(d->p, 0xd5, d->size))
      world_violate(w, "%c: the destination of message %u was written to after its delivery", C(o),
                    d->idx);
    if (!all(d->p - 32, 0xa7, 32) || !all(d->p + d->size, 0xa7, 32))
      world_violate(w, "%c: bytes beside the destination of message %u were overwritten", C(o),
                    d->idx);
  }
  for (i = 0; i < o->next; i++) {
    if (o->msg[i].state == MSG_QUEUED)
      world_violate(w, "%c: message %u never got its `sent`", C(o), i);
    if (clean && !at_most_once(o) && i < o->n && !left_out(&o->msg[i]) && !o->msg[i].delivered)
      world_violate(w, "%c: message %u was never delivered", C(o), i);
    if (o->msg[i].acked && !o->msg[i].delivered && peer->end_err != 0 && !peer->aborted &&
        !peer->discards && !w->plan.hostile && !w->failed_malloc)
      world_violate(w, "%c: message %u was acknowledged and lost when the session ended", C(o), i);
  }
  if (o->created && !o->ended && !o->released && !o->aborted)
    world_violate(w, "%c: the session is gone and its owner was never told", C(o));
}
