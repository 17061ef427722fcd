/* SPDX-License-Identifier: Apache-2.0 */
/* session.c - a session's life: opening, ending, and the brackets in which everything else happens.
 *
 * Design notes
 *    HELLO --peer's HELLO--> (accepting end: WAIT --accept-->) OPEN --error, abort, both directions over--> ENDED --> gone
 *  - WAIT has a limit, and its path is asked and judged as in OPEN: who has died or is not wanted holds no place for ever.
 *  - ENDED closes all paths; `gone` comes when the last one is closed, no RMA operation names a user's buffer and every
 *    destination has been given back. What had arrived whole by then was acknowledged: it is still delivered, however late
 *    the user starts to receive, unless the user has let go of the session.
 *  - A session whose two directions are over stays OPEN until both ends have said BYE, so that a lost last acknowledgement
 *    can be asked for again; the owner has been told `ended(0)` by then. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "session/internal.h"

#define FOREVER UINT64_MAX

/* ---- brackets ---- */

void weft__s_enter(weft__session_t *s) {
  s->depth++;
}

static void settle(weft__session_t *s) {
  if (s->end_pending && !s->end_called)
    weft__s_rx_pump(s); /* the peer was told that these have arrived */
  while (s->done_head) {
    weft__txm_t *m = s->done_head;
    s->done_head = m->next;
    if (!s->done_head) s->done_tail = NULL;
    s->ops->sent(s->owner, m, m->status);
  }
  if (s->end_pending && !s->end_called && !s->limbo) {
    s->end_called = true;
    s->ops->ended(s->owner, s->end_err, s->end_why);
  }
}

void weft__s_leave(weft__session_t *s) {
  if (s->depth > 1) {
    s->depth--;
    return;
  }
  if (s->done_head || s->end_pending) settle(s);
  s->depth = 0;
  if (s->state == WEFT__S_ENDED && s->npaths == 0 && !s->limbo && !s->done_head &&
      !s->gone_called) {
    weft__s_rx_free_unfinished(s);
    if (weft__session_holds(s)) return; /* until they are delivered, or nobody wants them */
    s->gone_called = true;
    weft__s_rx_free_all(s);
    s->ops->gone(s->owner); /* s may be gone now */
  }
}

void weft__s_dirty(weft__session_t *s) {
  if (s->dirty) return;
  s->dirty = true;
  s->ops->dirty(s->owner);
}

void weft__s_timer_before(weft__session_t *s, uint64_t deadline) {
  if (deadline >= s->tick_at) return;
  s->tick_at = deadline;
  s->ops->timer(s->owner, deadline);
}

/* ---- ends ---- */

static void end_now(weft__session_t *s) {
  s->state = WEFT__S_ENDED;
  s->aborting = false;
  if (s->first_incomplete) s->rx_end = s->first_incomplete->seq;
  weft__s_close_paths(s);
  weft__s_dirty(s); /* somebody must come back for the upcalls */
}

void weft__s_end(weft__session_t *s, int err, const char *fmt, ...) {
  if (weft__ended(s)) return;
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(s->end_why, sizeof s->end_why, fmt, ap);
  va_end(ap);
  s->end_err = err;
  if (!s->end_called && !s->released) s->end_pending = true;
  weft__s_tx_fail_all(s, err ? err : -ECANCELED);
  end_now(s);
}

static bool send_abort(weft__spath_t *sp, int code, const char *text) {
  uint8_t p[8 + WEFT__TEXT_MAX];
  size_t n = strlen(text);
  if (n > WEFT__TEXT_MAX) n = WEFT__TEXT_MAX;
  weft__put32(p, (uint32_t) code);
  weft__put32(p + 4, (uint32_t) n);
  memcpy(p + 8, text, n);
  return weft__s_ctrl(sp, WEFT__F_ABORT, p, (uint32_t) (8 + n), WEFT__KEEP_ACK);
}

void weft__s_violation(weft__session_t *s, weft__spath_t *sp, const char *fmt, ...) {
  if (weft__ended(s)) return;
  char why[WEFT__TEXT_MAX + 1];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(why, sizeof why, fmt, ap);
  va_end(ap);
  weft__warn("session with %s: the peer broke the protocol: %s", sp->path->remote, why);
  send_abort(sp, WEFT__E_PROTOCOL, why);
  weft__s_end(s, WEFT__E_PROTOCOL, "%.70s: the peer broke the protocol: %.100s", sp->path->remote,
              why);
}

void weft__s_not_accepted(weft__session_t *s) {
  char why[80];
  snprintf(why, sizeof why, "not accepted within %llu ms",
           (unsigned long long) (s->conf.wait_ns / 1000000));
  weft__spath_t *sp = weft__s_best(s, NULL);
  if (sp) send_abort(sp, WEFT__E_EREJECTED, why);
  weft__s_end(s, -ETIMEDOUT, "%s", why);
}

void weft__session_fail(weft__session_t *s, int err, const char *why) {
  weft__spath_t *sp = weft__ended(s) || s->done_at ? NULL : weft__s_best(s, NULL);
  weft__s_enter(s);
  if (sp) send_abort(sp, err, why);
  weft__s_end(s, err, "%s", why);
  weft__s_leave(s);
}

void weft__session_abort(weft__session_t *s, int status, int code, const char *why) {
  s->released = true;
  if (s->end_pending && !s->end_called) s->end_called = true; /* nobody wants to hear it any more */
  if (weft__ended(s) || s->done_at) {
    weft__s_dirty(s);
    return;
  }
  s->abort_code = code;
  snprintf(s->abort_text, sizeof s->abort_text, "%s", why ? why : "");
  weft__s_tx_fail_all(s, status);
  s->aborting = true;
  weft__s_dirty(s);
}

void weft__session_reject(weft__session_t *s, int code, const char *why) {
  weft__session_abort(s, -ECANCELED, code, why);
}

static void finish_abort(weft__session_t *s) {
  weft__spath_t *sp = weft__s_best(s, NULL);
  if (sp) send_abort(sp, s->abort_code, s->abort_text);
  end_now(s);
}

/* Both directions over? Then the user is told, and the peer gets a BYE; with both BYEs the session
 * is over too. */
void weft__s_check_done(weft__session_t *s) {
  if (s->state != WEFT__S_OPEN || s->aborting) return;
  if (!s->done_at) {
    if (!s->fin_acked || !s->eof_done) return;
    s->done_at = weft__now(s) ? weft__now(s) : 1;
    if (!s->released) s->end_pending = true;
    s->end_err = 0;
    snprintf(s->end_why, sizeof s->end_why, "both directions ended");
    weft__s_timer_before(s, s->done_at + s->conf.linger_ns);
    weft__s_dirty(s);
  }
  if (s->bye_sent && s->bye_heard) end_now(s);
}

static void say_bye(weft__session_t *s) {
  weft__spath_t *sp = s->tx_path && s->tx_path->live ? s->tx_path : weft__s_best(s, NULL);
  if (!sp || !weft__s_ctrl(sp, WEFT__F_BYE, NULL, 0, WEFT__KEEP_CTRL)) return;
  s->bye_sent = true;
  weft__s_check_done(s);
}

void weft__session_tombstone(weft__session_t *s, uint64_t next, int code) {
  if (weft__ended(s)) return;
  if (next > s->tx_ack && next <= s->tx_seq) weft__s_acked(s, next);
  /* At most once, the end may wait to be sent again; a peer that ended in order has had it. */
  if (code == 0 && s->at_most_once && s->head && s->head == s->tail && s->head->kind == WEFT__R_FIN)
    weft__s_tx_fin_done(s);
  if (s->done_at || (s->fin_acked && s->eof_done)) {
    s->bye_sent = s->bye_heard = true;
    weft__s_check_done(s);
    return;
  }
  weft__s_end(s, -ECONNRESET, "the peer has ended this session (%d)", code);
}

/* ---- opening ---- */

weft__session_t *weft__session_create(const weft__session_conf_t *conf,
                                      const weft__session_ops_t *ops, void *owner) {
  weft__session_t *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  s->conf = *conf;
  s->ops = ops;
  s->owner = owner;
  s->now = conf->now_ns;
  s->born = *s->now;
  s->tick_at = s->rx_end = FOREVER;
  weft__hello_t *h = &s->conf.hello;
  if (h->win_bytes < WEFT__MIN_WIN_BYTES) h->win_bytes = WEFT__MIN_WIN_BYTES;
  if (h->win_messages < WEFT__MIN_WIN_SEQ) h->win_messages = WEFT__MIN_WIN_SEQ;
  ops->random(owner, h->nonce, sizeof h->nonce);
  s->tx_seq = s->tx_ack = s->rx_expect = s->rx_seq_consumed = s->ack_sent = 1;
  s->adv_seq = 1 + h->win_messages;
  s->adv_bytes = h->win_bytes;
  s->tolerance = 1000000000u;
  if (s->conf.beat_ns == 0) s->conf.beat_ns = 15000000000u;
  return s;
}

void weft__session_destroy(weft__session_t *s) {
  weft__s_rx_free_all(s);
  free(s);
}

/* What the connecting end declared holds for both directions. */
static void adopt_needs(weft__session_t *s, const weft_qos_t *q) {
  uint64_t ms = q->interruption_ms ? q->interruption_ms : 1000;
  if (ms < 20) ms = 20;
  if (ms > 3600000) ms = 3600000;
  s->tolerance = ms * 1000000;
  /* Ticks come every T/8: a peer that tolerates an hour must not make us late for our own time
   * limit. */
  if (s->conf.peer_timeout_ns && s->tolerance > s->conf.peer_timeout_ns)
    s->tolerance = s->conf.peer_timeout_ns;
  s->at_most_once = q->reliability == WEFT_AT_MOST_ONCE;
  s->ack_consumed = q->ack == WEFT_ACK_CONSUMED;
}

static void become_open(weft__session_t *s) {
  s->state = WEFT__S_OPEN;
  for (weft__txm_t *m = s->head, *next; m; m = next) { /* queued before the limit was known */
    next = m->next;
    if (m->size <= s->peer.max_message) continue;
    weft__session_cancel(s, m);
    m->status = -EMSGSIZE;
  }
  s->tick_at = FOREVER;
  weft__s_timer_before(s, weft__now(s) + s->tolerance / 8);
  weft__s_dirty(s);
}

void weft__s_hello_frame(weft__session_t *s, const uint8_t *payload, uint32_t len,
                         weft__spath_t *sp) {
  const char *why = "";
  if (weft__hello_get(payload, len, &s->peer, &why) < 0) {
    weft__s_violation(s, sp, "HELLO: %s", why);
    return;
  }
  if (s->peer.win_bytes < WEFT__MIN_WIN_BYTES || s->peer.win_messages < WEFT__MIN_WIN_SEQ) {
    weft__s_violation(s, sp, "HELLO: a window of %llu messages, %llu bytes is too small",
                      (unsigned long long) s->peer.win_messages,
                      (unsigned long long) s->peer.win_bytes);
    return;
  }
  s->have_peer = s->hello_heard = true;
  if (s->tx_win_seq < 1 + s->peer.win_messages) s->tx_win_seq = 1 + s->peer.win_messages;
  if (s->tx_win_bytes < s->peer.win_bytes) s->tx_win_bytes = s->peer.win_bytes;
  const weft__hello_t *c = s->conf.initiator ? &s->conf.hello : &s->peer;
  const weft__hello_t *a = s->conf.initiator ? &s->peer : &s->conf.hello;
  weft__join_secret(c->nonce, a->nonce, s->conf.id, s->secret);
  adopt_needs(s, &c->qos);
  if (s->conf.initiator) {
    become_open(s);
  } else {
    s->state = WEFT__S_WAIT;
    s->waits_since = weft__now(s);
    s->tick_at = FOREVER; /* the handshake's limit is kept */
    weft__s_timer_before(s, s->waits_since + s->tolerance / 8);
  }
  s->ops->hello(s->owner, &s->peer);
}

int weft__session_accept(weft__session_t *s) {
  if (s->state != WEFT__S_WAIT || s->aborting) return -ENOTCONN;
  s->tx_path->hello_due = true;
  become_open(s);
  return 0;
}

void weft__session_set_rank(weft__session_t *s, const weft__path_t *path, int rank) {
  for (unsigned i = 0; i < s->npaths; i++)
    if (s->paths[i]->path == path) s->paths[i]->rank = rank;
}

void weft__session_set_offers(weft__session_t *s, const weft__offer_t *offers, unsigned n) {
  if (n > WEFT__OFFERS_MAX) n = WEFT__OFFERS_MAX;
  s->conf.hello.noffers = n;
  memcpy(s->conf.hello.offers, offers, n * sizeof *offers);
}

void weft__session_join_token(weft__session_t *s, uint64_t key, uint8_t token[16]) {
  weft__join_token(s->secret, s->conf.id, key, ++s->join_last, token);
}

/* Has no token with this counter been taken, as far as we remember? Joins over several paths
 * overtake each other, but not by more than the window. */
static bool fresh_join(weft__session_t *s, uint32_t n) {
  if (n == 0) return false;
  if (n > s->join_last) {
    uint32_t step = n - s->join_last;
    s->join_seen = step < 64 ? s->join_seen << step | 1 : 1;
    s->join_last = n;
    return true;
  }
  uint32_t back = s->join_last - n;
  if (back >= 64 || s->join_seen >> back & 1) return false;
  s->join_seen |= UINT64_C(1) << back;
  return true;
}

int weft__session_join_check(weft__session_t *s, uint64_t joiner_key, const uint8_t token[16],
                             uint64_t my_key, uint8_t proof[16]) {
  if (s->state != WEFT__S_OPEN || s->aborting) return WEFT__J_CLOSING;
  if (s->npaths == WEFT__PATHS_MAX) return WEFT__J_FULL;
  if (!weft__join_token_ok(s->secret, s->conf.id, joiner_key, token)) return WEFT__J_BAD_TOKEN;
  if (!fresh_join(s, weft__join_counter(token))) return WEFT__J_BAD_TOKEN;
  weft__join_proof(s->secret, s->conf.id, joiner_key, my_key, 0, proof);
  return WEFT__J_OK;
}

/* ---- flush ---- */

void weft__session_flush(weft__session_t *s) {
  if (s->in_flush) return;
  weft__s_enter(s);
  s->in_flush = s->dirty = true; /* what gets dirty below is served below */
  if (s->aborting) finish_abort(s);
  if (s->rxq) weft__s_rx_pump(s);
  if (s->state != WEFT__S_ENDED && !s->aborting) {
    for (unsigned i = 0; i < s->npaths; i++)
      if (s->paths[i]->live) weft__s_flush_control(s, s->paths[i]);
    if (s->state == WEFT__S_OPEN && s->hello_heard) {
      if (s->first_incomplete || s->nxfers || s->nready || s->skips_due) weft__s_large_flush(s);
      weft__s_emit(s, false);
      weft__s_flush_acks(s);
      if (s->done_at && !s->bye_sent) say_bye(s);
    }
  }
  s->in_flush = s->dirty = false;
  if (s->aborting) weft__s_dirty(s); /* asked for by an upcall of this flush */
  weft__s_leave(s);
}

/* ---- answers ---- */

const uint8_t *weft__session_id(const weft__session_t *s) {
  return s->conf.id;
}
const uint8_t *weft__session_secret(const weft__session_t *s) {
  return s->secret;
}
const weft__hello_t *weft__session_peer(const weft__session_t *s) {
  return s->have_peer ? &s->peer : NULL;
}
int weft__session_error(const weft__session_t *s, const char **why) {
  *why = s->end_why;
  return s->state == WEFT__S_ENDED ? s->end_err : 0;
}
bool weft__session_is_open(const weft__session_t *s) {
  return s->state == WEFT__S_OPEN && !s->aborting;
}
bool weft__session_moves_large(const weft__session_t *s) {
  return s->ncts > 0 || s->unposted > 0;
}
bool weft__session_is_done(const weft__session_t *s) {
  return s->done_at != 0;
}
uint32_t weft__session_eager_max(void) {
  return WEFT__EAGER_MAX;
}
const weft__path_t *weft__session_tx_path(const weft__session_t *s) {
  return s->tx_path ? s->tx_path->path : NULL;
}

unsigned weft__session_paths(const weft__session_t *s, weft__path_t **out, unsigned cap) {
  unsigned n = 0;
  for (unsigned i = 0; i < s->npaths; i++) {
    if (!s->paths[i]->live) continue;
    if (n < cap) out[n] = s->paths[i]->path;
    n++;
  }
  return n;
}

static int by_value(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;
  return x < y ? -1 : x > y;
}

void weft__session_stats(const weft__session_t *s, weft__session_stats_t *out) {
  *out = s->st;
  out->queued_messages = s->queued_messages;
  out->queued_bytes = s->queued_bytes;
  unsigned n = s->rtt_n < WEFT__RTT_SAMPLES ? s->rtt_n : WEFT__RTT_SAMPLES;
  if (n == 0) return;
  uint32_t v[WEFT__RTT_SAMPLES];
  memcpy(v, s->rtt, n * sizeof *v);
  qsort(v, n, sizeof *v, by_value);
  out->rtt_p50 = (uint64_t) v[n / 2] << 4;
  out->rtt_p99 = (uint64_t) v[(n * 99) / 100] << 4;
  out->rtt_max = (uint64_t) v[n - 1] << 4;
}
