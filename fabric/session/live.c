/* SPDX-License-Identifier: Apache-2.0 */
/* live.c - which paths live, which one carries our messages, when it moves, and when the peer is
 * lost.
 *
 * Design notes
 *  - With T the tolerated interruption: a path that says nothing for T/4 while we wait for
 *    something is asked (PING); so are the others. When its PING is T/4 old the others are asked
 *    again; when one of them then answers a PING that is not older than its own, and T/8 later it
 *    still has not said a word, it is dead. Only answers count: any other frame may have left
 *    before everything stopped. A peer that was stopped answers on all paths at once and nobody is
 *    judged.
 *  - Where T/4 stands above, a path whose round trips are long gets four of them instead
 *    (patience): else it would be asked, and asked again because the answer is on its way, for
 *    ever, or be found dead while it works.
 *  - Judgement is passed in ticks only. A tick that comes late by more than T/8 says that WE were
 *    stopped: it forgets all open questions and asks again.
 *  - All paths silent is a stalled peer: hold, tell, give up after peer_timeout.
 *  - Every move is the same: a higher epoch, RESUME on the new path, wait for RESUME_ACK, replay
 *    from the number it names. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session/internal.h"

#define FOREVER UINT64_MAX

static void emit_event(weft__session_t *s, weft__sev_type_t type, const weft__path_t *from,
                       const weft__path_t *to, int err, const char *why, uint64_t gap) {
  weft__sev_t ev = {type, from, to, err, why ? why : "", gap};
  s->ops->event(s->owner, &ev);
}

weft__spath_t *weft__s_best(weft__session_t *s, const weft__spath_t *but) {
  weft__spath_t *best = NULL;
  for (unsigned i = 0; i < s->npaths; i++) {
    weft__spath_t *sp = s->paths[i];
    if (sp == but || !sp->live || sp->broken) continue;
    bool silent = sp->ping_at && weft__now(s) - sp->ping_at > s->tolerance / 4;
    bool best_silent = best && best->ping_at && weft__now(s) - best->ping_at > s->tolerance / 4;
    if (!best || (best_silent && !silent) || (best_silent == silent && sp->rank < best->rank))
      best = sp;
  }
  return best;
}

/* At-most-once gives up what has left when it moves. A dead path leaves no choice; a move that
 * could also wait does, while a large message is on its way. */
static bool moves_later(const weft__session_t *s) {
  if (!s->at_most_once) return false;
  for (const weft__txm_t *m = s->head; m && m != s->unsent; m = m->next)
    if (m->flags & WEFT__TX_LARGE) return true;
  return false;
}

static bool may_fail_back(const weft__session_t *s) {
  return s->conf.initiator && s->tx_path && !s->tx_path->pinned && !s->resuming && !moves_later(s);
}

static bool better(const weft__session_t *s, const weft__spath_t *sp) {
  return sp->live && !sp->broken && sp->rank < s->tx_path->rank;
}

/* ---- proof of life ---- */

void weft__s_heard(weft__spath_t *sp) {
  weft__session_t *s = sp->s;
  uint64_t now = weft__now(s);
  sp->last_rx = now;
  if (sp->ping_at) {
    sp->ping_at = sp->other_alive_at = 0;
    s->pings_out--;
    /* a better path that need not settle has shown that it works: move soon, not with the next
     * regular tick */
    if (sp->settle == 0 && may_fail_back(s) && better(s, sp)) weft__s_timer_before(s, now);
  }
  if (s->stalled) {
    s->stalled = false;
    emit_event(s, WEFT__SEV_BACK, sp->path, NULL, 0, "", 0);
  }
}

/* How long a path may keep us waiting. One of which nothing was ever heard may still be on its way
 * to the peer: the accepting end has it before the connecting end knows. */
static uint64_t patience(const weft__spath_t *sp) {
  uint64_t t = sp->rx_fc ? sp->s->tolerance / 4 : sp->s->tolerance;
  return 4 * sp->rtt > t ? 4 * sp->rtt : t;
}

/* The peer answered a PING of this time on this path: so it runs, and where it owes an older answer
 * the path is at fault. */
void weft__s_answered(weft__spath_t *sp, uint64_t time) {
  weft__session_t *s = sp->s;
  uint64_t now = weft__now(s);
  if (time && time <= now) { /* the shortest of late, so that no stall counts */
    uint64_t rtt =
        now - time < s->conf.peer_timeout_ns / 8 ? now - time : s->conf.peer_timeout_ns / 8;
    sp->rtt = !sp->rtt || rtt < sp->rtt + sp->rtt / 8 ? rtt : sp->rtt + sp->rtt / 8;
  }
  for (unsigned i = 0; i < s->npaths && s->pings_out; i++) {
    weft__spath_t *o = s->paths[i];
    if (o != sp && o->ping_at && !o->other_alive_at && time >= o->ping_at &&
        now - o->ping_at >= patience(o))
      o->other_alive_at = now ? now : 1;
  }
}

static void ask(weft__spath_t *sp) {
  weft__session_t *s = sp->s;
  if (!sp->live || sp->ping_at) return;
  uint64_t now = weft__now(s);
  sp->ping_due = true;
  sp->ping_at = now ? now : 1;
  sp->other_alive_at = 0;
  s->pings_out++;
  weft__s_dirty(s);
}

/* Does anything depend on the peer just now? */
static bool waiting(const weft__session_t *s) {
  return s->unacked_at != 0 || s->resuming || s->ncts > 0 || s->pings_out > 0 || s->stalled ||
         s->npaths == 0 || s->nlive == 0;
}

void weft__s_wake(weft__session_t *s) {
  uint64_t soon = weft__now(s) + s->tolerance / 8;
  if (s->tick_at > soon) weft__s_timer_before(s, soon);
}

/* ---- moving ---- */

void weft__s_move(weft__session_t *s, weft__spath_t *to, int err, const char *why) {
  weft__spath_t *from = s->tx_path;
  if (from && from != to) {
    s->mig_from = *from->path;
    s->mig_has_from = true;
    /* the gap counts from the last sign of life before something was missed */
    uint64_t since = err && s->unacked_at ? s->unacked_at : weft__now(s);
    if (err && from->last_rx > since) since = from->last_rx;
    if (!s->resuming) s->mig_gap_from = since;
  } else if (!from && !s->resuming) {
    s->mig_gap_from = s->nolive_at ? s->nolive_at : weft__now(s);
  }
  s->left_dead = s->resuming ? s->left_dead && (err || !from) : err || !from;
  s->mig_err = err;
  if (why != s->mig_why) snprintf(s->mig_why, sizeof s->mig_why, "%s", why);
  if (s->at_most_once && s->state == WEFT__S_OPEN)
    weft__s_tx_amo_lost(s); /* the RESUME says that nothing of it comes */
  if (from) from->resume_due = from->pinned = false;
  s->epoch++;
  s->tx_path = to;
  s->resuming = true;
  to->resume_due = true;
  weft__s_wake(s);
  weft__s_dirty(s);
}

void weft__s_on_resume(weft__session_t *s, weft__spath_t *sp, const weft__resume_t *r, bool left) {
  if (r->epoch <= s->rx_epoch) return; /* overtaken by a later one on another path */
  uint64_t have = s->first_incomplete ? s->first_incomplete->seq : s->rx_expect;
  if (!s->at_most_once && r->first > have) {
    weft__s_violation(s, sp, "resumes at record %llu, %llu is missing",
                      (unsigned long long) r->first, (unsigned long long) have);
    return;
  }
  if (s->at_most_once) {
    if (r->first > s->adv_seq || r->bytes < s->rx_bytes || r->bytes > s->adv_bytes ||
        r->first < s->rx_expect) {
      weft__s_violation(s, sp, "resumes at record %llu, outside the window",
                        (unsigned long long) r->first);
      return;
    }
    /* Messages are given up: what our device is still reading of one has to end first. */
    if (s->rx_path && s->rx_path->nreads) {
      weft__spath_t *was = s->rx_path;
      char why[160];
      snprintf(why, sizeof why, "%.46s -> %.46s: the peer has left it in the middle of a read",
               was->path->local, was->path->remote);
      weft__s_path_down(was, -ECONNRESET, why);
      if (weft__ended(s) || !sp->live) return;
    }
    uint64_t lost = r->bytes - s->rx_bytes;
    s->rx_bytes += lost;
    s->rx_bytes_consumed += lost;
    weft__s_rx_skip_to(s, r->first);
    weft__s_rx_pump(s);
    if (weft__ended(s)) return;
  }
  weft__spath_t *old = s->rx_path;
  s->rx_epoch = r->epoch;
  s->rx_path = sp;
  for (unsigned i = 0; i < s->npaths; i++) s->paths[i]->resume_ack_due = false;
  sp->resume_ack_due = true;
  weft__s_dirty(s);
  /* dead for the peer is dead: what we asked for on it will not come, and must be asked for again
   * at once */
  if (left && old && old != sp && old->live) {
    char why[160];
    snprintf(why, sizeof why, "%.46s -> %.46s: the peer has lost it", old->path->local,
             old->path->remote);
    weft__s_path_down(old, -ECONNRESET, why);
    if (weft__ended(s)) return;
  }
  /* the accepting end follows, so that both directions share a path */
  if (!s->conf.initiator && s->tx_path != sp && (!s->tx_path || !moves_later(s)))
    weft__s_move(s, sp, 0, "following the peer");
}

void weft__s_on_resume_ack(weft__session_t *s, weft__spath_t *sp, const weft__resume_ack_t *r) {
  if (r->epoch != s->epoch || sp != s->tx_path || !s->resuming) return; /* of an earlier move */
  if (r->next > s->tx_seq) {
    weft__s_violation(s, sp, "wants record %llu, which is not to be had",
                      (unsigned long long) r->next);
    return;
  }
  /* an acknowledgement on another path may have overtaken this frame */
  uint64_t next = r->next > s->tx_ack ? r->next : s->tx_ack;
  s->resuming = false;
  s->st.migrations++;
  s->st.last_gap_ns = weft__now(s) - s->mig_gap_from;
  if (!s->ack_consumed) weft__s_acked(s, next);
  weft__s_rewind(s, next);
  weft__s_dirty(s);
  emit_event(s, WEFT__SEV_MIGRATED, s->mig_has_from ? &s->mig_from : NULL, sp->path, s->mig_err,
             s->mig_why, s->st.last_gap_ns);
}

int weft__session_migrate(weft__session_t *s, weft__path_t *path, const char *why) {
  if (s->state != WEFT__S_OPEN || s->aborting) return -ENOTCONN;
  weft__spath_t *to = NULL;
  if (path) {
    for (unsigned i = 0; i < s->npaths; i++)
      if (s->paths[i]->path == path && s->paths[i]->live) to = s->paths[i];
  } else {
    to = weft__s_best(s, s->tx_path);
  }
  if (!to) return -ENOENT;
  if (to == s->tx_path) return -EALREADY;
  if (moves_later(s)) return -EBUSY;
  weft__s_move(s, to, 0, why);
  to->pinned = true;
  return 0;
}

int weft__session_drop_path(weft__session_t *s, weft__path_t *path, const char *why) {
  if (s->state != WEFT__S_OPEN || s->aborting) return -ENOTCONN;
  for (unsigned i = 0; i < s->npaths; i++) {
    weft__spath_t *sp = s->paths[i];
    if (sp->path != path || !sp->live) continue;
    if (s->nlive < 2 || (sp == s->tx_path && moves_later(s))) return -EBUSY;
    weft__s_enter(s);
    weft__s_path_down(sp, -ECANCELED, why);
    weft__s_leave(s);
    return 0;
  }
  return -ENOENT;
}

/* ---- coming and going ---- */

int weft__session_add_path(weft__session_t *s, weft__path_t *path, uint64_t my_key,
                           uint64_t peer_key, int rank, uint64_t settle_ns) {
  if (weft__ended(s)) return -ENOTCONN;
  if (path->lim.frame_max != WEFT__FRAME_MAX || path->lim.rx_depth < WEFT__FIRST_GRANT)
    return -EINVAL;
  if (s->npaths == WEFT__PATHS_MAX) return -ENOSPC;
  weft__spath_t *sp = calloc(1, sizeof *sp);
  if (!sp) return -ENOMEM;
  weft__s_enter(s);
  unsigned used = 0;
  for (unsigned i = 0; i < s->npaths; i++) used |= 1u << s->paths[i]->slot;
  while (used & 1u << sp->slot) sp->slot++;
  sp->s = s;
  sp->path = path;
  sp->live = true;
  sp->rank = rank;
  sp->settle = settle_ns;
  sp->my_key = my_key;
  sp->peer_key = peer_key;
  sp->tx_grant = sp->granted = WEFT__FIRST_GRANT;
  sp->read_window = WEFT__READ_FIRST;
  sp->ahead.most = WEFT__AHEAD_FIRST;
  sp->up_at = sp->last_rx = weft__now(s);
  uint32_t r = 0;
  s->ops->random(s->owner, &r, sizeof r);
  sp->beat_jitter = s->conf.beat_ns / 8 * (r % 1024) / 1024;
  for (unsigned i = WEFT__RMA_SLOTS; i-- > 0;) {
    sp->slots[i].next = sp->free_slots;
    sp->free_slots = &sp->slots[i];
  }
  path->cbs = &weft__s_path_cbs;
  path->user = sp;
  s->paths[s->npaths++] = sp;
  s->nlive++;
  if (s->state == WEFT__S_HELLO) {
    s->tx_path = s->rx_path = sp;
    if (s->conf.initiator) sp->hello_due = true;
    weft__s_timer_before(s, s->born + s->conf.handshake_ns);
    weft__s_dirty(s);
  } else {
    ask(sp); /* brings both ends their grants, and shows that it works */
    if (!s->tx_path) {
      weft__s_move(s, sp, s->mig_err, s->mig_why);
    }
    s->nolive_at = 0;
    weft__s_wake(s);
    emit_event(s, WEFT__SEV_PATH_UP, NULL, path, 0, "", 0);
  }
  weft__s_leave(s);
  return 0;
}

static void kill_path(weft__spath_t *sp) {
  weft__session_t *s = sp->s;
  if (!sp->live) return;
  sp->live = false;
  s->nlive--;
  if (sp->ping_at) {
    sp->ping_at = 0;
    s->pings_out--;
  }
  if (s->rx_path == sp) s->rx_path = NULL;
  sp->path->ops->close(sp->path);
  weft__s_large_path_down(s, sp); /* the path is closing: sinks may be closed under reads */
}

void weft__s_close_paths(weft__session_t *s) {
  for (unsigned i = 0; i < s->npaths; i++) kill_path(s->paths[i]);
  s->tx_path = NULL;
}

void weft__s_path_down(weft__spath_t *sp, int err, const char *why) {
  weft__session_t *s = sp->s;
  if (!sp->live) return;
  sp->err = err;
  snprintf(sp->why, sizeof sp->why, "%s", why ? why : "");
  bool active = s->tx_path == sp;
  bool by_peer = err == -ECONNRESET || err == -EPIPE;
  if (weft__ended(s)) {
    kill_path(sp);
    return;
  }
  if (s->state != WEFT__S_OPEN) {
    kill_path(sp);
    weft__s_end(s, err ? err : -ECONNRESET, "%s", sp->why);
    return;
  }
  /* a receive holds every frame of the protocol: no path is to blame for this one */
  if (err == -EMSGSIZE) {
    weft__s_violation(s, sp, "a frame of more than %u bytes: %s", WEFT__FRAME_MAX, sp->why);
    return;
  }
  weft__spath_t *to = weft__s_best(s, sp);
  if (active && to) weft__s_move(s, to, err, sp->why);
  if (active && s->at_most_once) weft__s_tx_amo_lost(s);
  kill_path(sp);
  emit_event(s, WEFT__SEV_PATH_DOWN, sp->path, NULL, err, sp->why, 0);
  if (weft__ended(s)) return;
  s->ack_now = true; /* what was told on it may be lost */
  if (to && !s->conf.initiator)
    to->join_please_due = true; /* only the connecting end can open another one */
  if (active && !to) {
    s->mig_from = *sp->path;
    s->mig_has_from = true;
    s->mig_err = err;
    snprintf(s->mig_why, sizeof s->mig_why, "%s", sp->why);
    s->tx_path = NULL;
    s->mig_gap_from = s->unacked_at ? s->unacked_at : weft__now(s);
    s->left_dead = s->resuming ? s->left_dead : true;
    s->resuming = true; /* nothing leaves until the next path has resumed */
  }
  if (s->nlive == 0) {
    s->nolive_at = weft__now(s);
    s->nolive_closed = by_peer;
  }
  if (s->bye_sent && !s->bye_heard) s->bye_sent = false; /* it may not have arrived */
  weft__s_wake(s);
  weft__s_dirty(s);
  weft__s_check_done(s);
}

void weft__s_path_closed(weft__spath_t *sp) {
  weft__session_t *s = sp->s;
  for (unsigned i = 0; i < s->npaths; i++)
    if (s->paths[i] == sp) {
      s->paths[i] = s->paths[--s->npaths];
      break;
    }
  weft__s_large_path_closed(s, sp);
  weft__path_t *path = sp->path;
  path->user = NULL;
  s->ops->path_closed(s->owner, path, sp->err, sp->why);
  free(sp);
}

/* ---- time ---- */

/* Idle paths may beat this much early, so that those of many sessions beat in the same wakeup. */
static uint64_t beat_slack(const weft__session_t *s) {
  return s->conf.beat_ns / 32 + 1;
}

/* Judge one path. true: it is dead. One of which nothing was ever heard has half of its longer
 * patience, too: what held up the answers may also have held up that the connecting end learns of
 * it. */
static bool judge(weft__session_t *s, const weft__spath_t *sp, uint64_t now) {
  uint64_t more = sp->rx_fc ? s->tolerance / 8 : s->tolerance / 2;
  return sp->live && sp->ping_at && sp->other_alive_at && now - sp->other_alive_at >= more;
}

static void look_at_paths(weft__session_t *s, uint64_t now, bool late) {
  if (late) /* we were stopped ourselves: nobody's silence counts */
    for (unsigned i = 0; i < s->npaths; i++) {
      weft__spath_t *sp = s->paths[i];
      if (!sp->ping_at) continue;
      sp->ping_at = now;
      sp->other_alive_at = 0;
      sp->ping_due = sp->live;
    }
  bool suspect = false;
  for (unsigned i = 0; i < s->npaths; i++) {
    weft__spath_t *sp = s->paths[i];
    if (!sp->live) continue;
    uint64_t silent = now - sp->last_rx;
    bool wants =
        (sp == s->tx_path && (s->unacked_at || s->resuming)) || (sp == s->rx_path && s->ncts);
    for (unsigned k = 0; k < WEFT__CTS_MAX && !wants; k++)
      wants = s->cts[k].item && s->cts[k].sp == sp;
    if (wants && silent >= patience(sp)) suspect = true;
    if (sp->ping_at && now - sp->ping_at >= patience(sp) && !sp->other_alive_at) suspect = true;
    if ((wants && silent >= patience(sp)) ||
        silent + beat_slack(s) >= s->conf.beat_ns - sp->beat_jitter)
      ask(sp);
  }
  if (suspect) /* is it the path, or the peer? */
    for (unsigned i = 0; i < s->npaths; i++) ask(s->paths[i]);
  for (unsigned i = 0; i < s->npaths && !late; i++) {
    weft__spath_t *sp = s->paths[i];
    if (!judge(s, sp, now)) continue;
    char why[160];
    snprintf(why, sizeof why, "%.46s -> %.46s: silent for %u ms while another path answered",
             sp->path->local, sp->path->remote, (unsigned) ((now - sp->last_rx) / 1000000));
    weft__s_path_down(sp, -ETIMEDOUT, why);
    if (weft__ended(s)) return;
  }
}

static void look_at_peer(weft__session_t *s, uint64_t now, bool late) {
  if (s->nlive == 0) {
    uint64_t most = s->conf.peer_timeout_ns;
    /* the peer's own system closed every path: it is gone, or about to come back at once */
    if (s->nolive_closed && !s->conf.initiator && most > 3 * s->tolerance) most = 3 * s->tolerance;
    if (!late && now - s->nolive_at >= most) {
      if (s->nolive_closed)
        weft__s_end(s, -ECONNRESET, "%s; it did not come back", s->mig_why);
      else
        weft__s_end(s, WEFT__E_PEERLOST, "no path for %llu ms: %s",
                    (unsigned long long) (most / 1000000), s->mig_why);
    }
    return;
  }
  uint64_t last = 0, asked = FOREVER;
  for (unsigned i = 0; i < s->npaths; i++) {
    weft__spath_t *sp = s->paths[i];
    if (!sp->live) continue;
    if (!sp->ping_at) return; /* not silent */
    if (sp->last_rx > last) last = sp->last_rx;
    if (sp->ping_at < asked) asked = sp->ping_at;
  }
  if (late) return;
  if (!s->stalled && now - last >= s->tolerance) {
    s->stalled = true;
    s->st.stalls++;
    emit_event(s, WEFT__SEV_STALLED, s->tx_path ? s->tx_path->path : NULL, NULL, 0,
               "every path is silent", 0);
    if (weft__ended(s)) return;
  }
  if (now - last >= s->conf.peer_timeout_ns)
    weft__s_end(s, WEFT__E_PEERLOST, "the peer has been silent on every path for %llu ms",
                (unsigned long long) ((now - last) / 1000000));
}

static void look_at_failback(weft__session_t *s, uint64_t now) {
  if (!may_fail_back(s)) return;
  for (unsigned i = 0; i < s->npaths; i++) {
    weft__spath_t *sp = s->paths[i];
    if (!better(s, sp) || now - sp->up_at < sp->settle) continue;
    /* one that owes an answer has to give it first; not one that this very tick has asked, because
     * of another's silence: it would be asked again with each answer, and never be moved to */
    if (sp->ping_at && sp->ping_at != now) continue;
    weft__s_move(s, sp, 0, "a better path has settled");
    return;
  }
}

/* When to look again. */
static uint64_t next_tick(weft__session_t *s, uint64_t now) {
  if (waiting(s)) return now + s->tolerance / 8;
  uint64_t next = now + s->conf.beat_ns;
  for (unsigned i = 0; i < s->npaths; i++) {
    weft__spath_t *sp = s->paths[i];
    if (!sp->live) continue;
    uint64_t beat = sp->last_rx + s->conf.beat_ns - sp->beat_jitter,
             together = beat - beat % beat_slack(s);
    if (together > now) beat = together;
    if (beat < next) next = beat;
    if (s->conf.initiator && s->tx_path && !s->tx_path->pinned && sp->rank < s->tx_path->rank &&
        sp->up_at + sp->settle < next)
      next = sp->up_at + sp->settle;
  }
  return next > now + 1000000 ? next : now + 1000000;
}

void weft__session_tick(weft__session_t *s) {
  uint64_t now = weft__now(s);
  if (weft__ended(s) || now < s->tick_at) return;
  weft__s_enter(s);
  bool late = now - s->tick_at > s->tolerance / 8;
  s->tick_at = FOREVER;
  if (s->state == WEFT__S_HELLO) {
    if (now - s->born >= s->conf.handshake_ns)
      weft__s_end(s, -ETIMEDOUT, "no HELLO from the peer within %llu ms",
                  (unsigned long long) (s->conf.handshake_ns / 1000000));
    else
      weft__s_timer_before(s, s->born + s->conf.handshake_ns);
  } else if (s->state == WEFT__S_WAIT) {
    uint64_t limit = s->conf.wait_ns ? s->waits_since + s->conf.wait_ns : FOREVER;
    look_at_paths(s, now, late);
    if (!weft__ended(s)) look_at_peer(s, now, late);
    if (!weft__ended(s) && !late && now >= limit)
      weft__s_not_accepted(s); /* late: the owner had no chance to accept */
    if (!weft__ended(s)) {
      uint64_t next = next_tick(s, now);
      if (limit <= now) limit = now + s->tolerance / 8;
      weft__s_timer_before(s, next < limit ? next : limit);
    }
  } else if (s->state == WEFT__S_OPEN) {
    if (s->done_at && now - s->done_at >= s->conf.linger_ns) {
      s->bye_sent = s->bye_heard = true; /* the peer had its time */
      weft__s_check_done(s);
    }
    if (!weft__ended(s)) look_at_paths(s, now, late);
    if (!weft__ended(s)) look_at_peer(s, now, late);
    if (!weft__ended(s)) look_at_failback(s, now);
    if (!weft__ended(s)) {
      uint64_t next = next_tick(s, now);
      if (s->done_at && s->done_at + s->conf.linger_ns < next)
        next = s->done_at + s->conf.linger_ns;
      weft__s_timer_before(s, next);
    }
  }
  weft__s_leave(s);
}
