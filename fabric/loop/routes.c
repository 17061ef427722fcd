/* SPDX-License-Identifier: Apache-2.0 */
/* routes.c - the connecting end's paths: which pairs of addresses could carry one, which are open,
 * and how lost ones return.
 *
 * Design notes
 *  - A route pairs one own candidate with one address that the peer offers: same provider, same
 *    family, and the kernel sends what leaves from the one to the other through the very device
 *    (asked by weft__route, with the source). A pair that would travel over another device is no
 *    path of its own. A provider with addresses of its own is asked instead (weft__cand_reach).
 *  - Wanted are standby + 1 paths: the best ranked one, then those that share least with what was
 *    taken before them (a standby on the active path's device dies with it), the best ranked ones
 *    among these. One that is wanted more than one that is open is tried too: that is failback; the
 *    session moves to a better one after its settling time, which doubles with each death of the
 *    route.
 *  - A route that failed is tried again after 20 ms .. 5 s, or at once when the network changes.
 *    While no path is left, all routes are tried side by side; when every one is refused, the
 *    peer's process is gone, or, where one said so, it does not know the session any more.
 *  - The selector (weft__rank) says which pairs the needs allow, and why not. The number a path is
 *    ranked by is absolute (cost, then the candidate's place in the machine's list), so that it
 *    needs no other path to be compared with. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loop/conn.h"
#include "units.h"

static const uint64_t BACKOFF_MIN = 20 * WEFT__MS, BACKOFF_MAX = 5 * WEFT__S, BRIEF_LIFE = WEFT__S,
                      SETTLE_MAX = 600 * WEFT__S;
static const uint64_t DIAL_LIMIT = 3 * WEFT__S, ASKED_MIN = 20 * WEFT__MS;

enum { RANK_FORBIDDEN = WEFT__RANK_NO_DATA, RANK_UNMET = 1 << 29 };

int weft__rank_number(const weft_qos_t *qos, const weft__cand_t *cand, bool usable,
                      unsigned order) {
  struct weft__cand_view v;
  weft_verdict_t verdict;
  char why[160];
  weft__cand_view_of(cand, "", &v);
  uint64_t cost = weft__rank_cost_ns(&v, qos->message_size) / 8;
  if (cost > (1u << 22) - 1) cost = (1u << 22) - 1;
  int n = (int) cost * 64 + (int) (order < 63 ? order : 63);
  weft__rank(qos, NULL, &v, 1, &verdict, NULL);
  if (verdict.rank < 0 || !usable) return n | RANK_FORBIDDEN;
  return weft__rank_meets(qos, &verdict, why, sizeof why) ? n : n | RANK_UNMET;
}

static void rank_route(weft__croute_t *r) {
  r->rank = weft__rank_number(&r->c->qos, &r->cand, r->usable, r->order);
}

/* Where the candidate stands in the machine's list: settles the order of equals. Found once,
 * because a candidate that is down stands elsewhere, and a route must return with the rank it had.
 */
static unsigned order_of(const weft__cands_t *cands, const weft__cand_t *cand) {
  for (unsigned i = 0; cands && i < cands->list.n; i++) {
    const weft__cand_t *v = &cands->list.v[i];
    if (strcmp(v->provider, cand->provider) == 0 && strcmp(v->device, cand->device) == 0 &&
        weft__addr_same_ip(&v->addr, &cand->addr))
      return i;
  }
  return 63;
}

/* ---- Making routes ---- */

static void on_rail(weft__waiter_t *, weft__crail_t *);
static void on_retry(weft__timer_t *);

static weft__croute_t *add_route(weft__conn_t *c, const weft__cand_t *cand,
                                 const struct sockaddr_storage *dst) {
  if (c->nroutes == WEFT__ROUTES_MAX) return NULL;
  if (!c->routes && !(c->routes = calloc(2 * WEFT__ROUTES_MAX, sizeof *c->routes))) return NULL;
  c->placed = c->routes + WEFT__ROUTES_MAX;
  weft__croute_t *r = calloc(1, sizeof *r);
  if (!r) return NULL;
  r->c = c;
  r->cand = *cand;
  r->cand.info = NULL;
  r->dst = *dst;
  r->order = order_of(c->core->cands, cand);
  r->usable = true;
  r->why = WEFT_WHY_OUTRANKED;
  r->waiter.cb = on_rail;
  c->placed[c->nroutes] = r;
  c->routes[c->nroutes++] = r;
  c->retry.fire = on_retry;
  return r;
}

static void sort_routes(weft__conn_t *c) { /* few: by insertion, stable */
  for (unsigned i = 1; i < c->nroutes; i++)
    for (unsigned j = i; j > 0 && c->routes[j]->rank < c->routes[j - 1]->rank; j--) {
      weft__croute_t *r = c->routes[j];
      c->routes[j] = c->routes[j - 1];
      c->routes[j - 1] = r;
    }
}

static unsigned shares(const weft__croute_t *a, const weft__croute_t *b) {
  bool near = (a->link && a->link == b->link) || weft__addr_same_ip(&a->cand.addr, &b->cand.addr);
  bool far = (*a->peer_device && strcmp(a->peer_device, b->peer_device) == 0) ||
             weft__addr_same_ip(&a->dst, &b->dst);
  return (unsigned) near + (unsigned) far;
}

/* The order in which routes are wanted, from their ranks and from what they share; whether they
 * work has no say in it, so that it stays as it is while paths come and go. */
static void place_routes(weft__conn_t *c) {
  bool taken[WEFT__ROUTES_MAX] = {false};
  for (unsigned n = 0; n < c->nroutes; n++) {
    unsigned least = UINT32_MAX, best = 0;
    for (unsigned i = 0; i < c->nroutes; i++) { /* in order of rank: the first of equals */
      unsigned sum = c->routes[i]->usable ? 0 : 1000;
      for (unsigned k = 0; n <= c->qos.standby && k < n; k++)
        sum += shares(c->placed[k], c->routes[i]);
      if (taken[i] || sum >= least) continue;
      least = sum;
      best = i;
    }
    taken[best] = true;
    c->placed[n] = c->routes[best];
  }
}

int weft__routes_boot(weft__conn_t *c, const weft__cand_t *cand,
                      const struct sockaddr_storage *dst) {
  weft__croute_t *r = c->boot ? c->boot : add_route(c, cand, dst);
  if (!r) return UV_ENOMEM;
  c->boot = r;
  r->cand = *cand;
  r->dst = r->alt = *dst;
  r->order = order_of(c->core->cands, cand);
  rank_route(r);
  return 0;
}

void weft__routes_boot_up(weft__conn_t *c, weft__path_t *path) {
  c->boot->path = path;
  c->boot->state = WEFT__RT_UP;
}

/* Would a packet from cand to offer leave through cand's own device? Fills in the scope of
 * link-local addresses. */
static bool travels(weft__conn_t *c, const weft__cand_t *cand, struct sockaddr_storage *offer) {
  weft__ifs_t *ifs = weft__netmon_ifs(c->core);
  const weft__if_t *own = weft__ifs_find(ifs, &cand->addr);
  weft__route_t route;
  if (weft__addr_is_linklocal(offer) != weft__addr_is_linklocal(&cand->addr)) return false;
  if (weft__addr_is_loopback(offer) != weft__addr_is_loopback(&cand->addr)) return false;
  if (cand->own_stack) return weft__cand_reach(cand, offer) != WEFT__REACH_NO;
  if (weft__addr_is_linklocal(offer)) {
    /* of use only on the link where the first contact was made */
    const weft__if_t *boot = weft__ifs_find(ifs, &c->boot->cand.addr);
    if (!own || !boot || own->index != boot->index) return false;
    if (offer->ss_family == AF_INET6) ((struct sockaddr_in6 *) offer)->sin6_scope_id = own->index;
  }
  if (weft__route(offer, &cand->addr, &route) != 0) return false;
  if (route.local) return weft__addr_same_ip(offer, &cand->addr) || weft__addr_is_loopback(offer);
  return !own || own->index == route.oif;
}

static weft__croute_t *find_route(weft__conn_t *c, const weft__cand_t *cand,
                                  const struct sockaddr_storage *dst) {
  for (unsigned i = 0; i < c->nroutes; i++) {
    weft__croute_t *r = c->routes[i];
    if (strcmp(r->cand.provider, cand->provider) == 0 &&
        weft__addr_same_ip(&r->cand.addr, &cand->addr) && weft__addr_same_ip(&r->dst, dst))
      return r;
  }
  return NULL;
}

/* What the needs say of each route. */
static void judge_routes(weft__conn_t *c) {
  weft__ifs_t *ifs = weft__netmon_ifs(c->core);
  struct weft__rank_filter filter = {.providers = "", .devices = c->devices};
  for (unsigned i = 0; i < c->nroutes; i++) {
    weft__croute_t *r = c->routes[i];
    struct weft__cand_view v;
    weft_verdict_t verdict;
    char local[80], remote[80];
    const weft__if_t *own = weft__ifs_find(ifs, &r->cand.addr);
    weft__cand_view_of(&r->cand, weft__addr_str(&r->cand.addr, local, sizeof local), &v);
    v.remote = weft__addr_str(&r->dst, remote, sizeof remote);
    weft__rank(&c->qos, &filter, &v, 1, &verdict, NULL);
    r->usable = verdict.rank >= 0;
    if (!r->usable) {
      r->why = verdict.why;
      snprintf(r->detail, sizeof r->detail, "%s", verdict.detail);
    }
    rank_route(r);
    unsigned link = own ? own->index : *r->cand.beside ? if_nametoindex(r->cand.beside) : 0;
    if (link) r->link = link; /* it may be down now: then as it was */
  }
  sort_routes(c);
  place_routes(c);
}

int weft__routes_plan(weft__conn_t *c) {
  const weft__hello_t *peer = weft__session_peer(c->s);
  weft__cands_t *cands = c->core->cands;
  if (!peer || !cands || !c->nroutes) return 0;
  for (unsigned o = 0; o < peer->noffers; o++)
    for (unsigned i = 0; i < cands->list.n; i++) {
      const weft__cand_t *cand = &cands->list.v[i];
      const weft__offer_t *offer = &peer->offers[o];
      struct sockaddr_storage dst = offer->addr;
      if (!weft__cand_usable(cand) || cand->addr.ss_family != dst.ss_family) continue;
      if (!weft__providers_meet(cand->provider, offer->provider)) continue;
      if (c->bind.ss_family && !weft__addr_same_ip(&c->bind, &cand->addr)) continue;
      weft__croute_t *r = find_route(c, cand, &dst);
      if (r) { /* the first contact's: its offer has a port that leads to this very context */
        if (weft__addr_port(&r->dst) == weft__addr_port(&r->alt))
          weft__addr_set_port(&r->dst, weft__addr_port(&dst));
      } else if (travels(c, cand, &dst)) {
        r = add_route(c, cand, &dst);
      }
      if (r) snprintf(r->peer_device, sizeof r->peer_device, "%s", offer->device);
    }
  judge_routes(c);
  return 0;
}

/* ---- Opening ---- */

static unsigned count(const weft__conn_t *c, weft__rt_t state) {
  unsigned n = 0;
  for (unsigned i = 0; i < c->nroutes; i++) n += c->routes[i]->state == state;
  return n;
}

static void failed(weft__croute_t *r, int why, const char *detail) {
  weft__core_t *core = r->c->core;
  uint64_t pause = BACKOFF_MIN << (r->fails < 8 ? r->fails : 8);
  uint32_t jitter;
  if (pause > BACKOFF_MAX) pause = BACKOFF_MAX;
  weft__random(core, &jitter, sizeof jitter);
  r->state = WEFT__RT_IDLE;
  r->dial = NULL;
  r->fails++;
  r->next_try = core->now_ns + pause + pause / 4 * (jitter % 256) / 256;
  r->why = why;
  snprintf(r->detail, sizeof r->detail, "%s", detail ? detail : "");
  weft__debug("route %s %s: %s", r->cand.provider, r->cand.device, r->detail);
  if (r->alt.ss_family && weft__addr_port(&r->alt) != weft__addr_port(&r->dst)) {
    r->use_alt = !r->use_alt;
    if (r->use_alt) r->next_try = core->now_ns; /* two doors of one house */
  }
}

/* No path is left and nobody is at home anywhere? */
static bool all_refused(const weft__conn_t *c) {
  bool any = false;
  for (unsigned i = 0; i < c->nroutes; i++) {
    const weft__croute_t *r = c->routes[i];
    bool two = r->alt.ss_family && weft__addr_port(&r->alt) != weft__addr_port(&r->dst);
    if (!r->usable && !r->deaths) continue;
    if ((r->refused & 1) == 0 || (two && (r->refused & 2) == 0)) return false;
    any = true;
  }
  return any;
}

/* Has the best route that the needs allow been reached, or can nothing better come? */
bool weft__routes_satisfied(weft__conn_t *c, bool *hopeless) {
  bool pending = false, any = false;
  for (unsigned i = 0; i < c->nroutes; i++) {
    weft__croute_t *r = c->routes[i];
    if (!r->usable) continue;
    any = true;
    if (r->state == WEFT__RT_UP) return !pending;
    if (r->state == WEFT__RT_IDLE && r->fails) continue;
    pending = true;
  }
  *hopeless = !any;
  return false;
}

/* The connection may open: now, or when better paths had their time. */
static void check_upgrade(weft__conn_t *c) {
  bool hopeless = false, up = false;
  weft__croute_t *best = NULL;
  if (!c->upgrading || c->state != WEFT__CN_CONNECTING) return;
  bool satisfied = weft__routes_satisfied(c, &hopeless);
  bool late = c->core->now_ns >= c->upgrade_until;
  for (unsigned i = 0; i < c->nroutes; i++) {
    weft__croute_t *r = c->routes[i];
    if (!best && r->usable && r->state == WEFT__RT_UP) best = r;
    up |= r->usable && r->state == WEFT__RT_UP;
  }
  if (hopeless) {
    weft__croute_t *r = c->routes[0];
    weft__conn_fail(c, WEFT_EUNMET, "no candidate is allowed by the needs; the best, %s %s: %s",
                    r->cand.provider, r->cand.device, r->detail);
    return;
  }
  if (!satisfied && !late) return;
  if (!up) {
    /* none that is allowed came up in time */
    weft__croute_t *r = c->routes[0];
    for (unsigned i = 0; i < c->nroutes; i++)
      if (c->routes[i]->usable) {
        r = c->routes[i];
        break;
      }
    weft__conn_fail(
        c, WEFT_ENOPROVIDER, "no path that the needs allow could be opened; the best, %s %s: %s",
        r->cand.provider, r->cand.device, r->detail[0] ? r->detail : "no answer in time");
    return;
  }
  struct weft__cand_view v;
  weft_verdict_t verdict;
  char why[160];
  weft__cand_view_of(&best->cand, "", &v);
  weft__rank(&c->qos, NULL, &v, 1, &verdict, NULL);
  bool meets = weft__rank_meets(&c->qos, &verdict, why, sizeof why);
  if (!meets && c->qos.strict) {
    weft__conn_fail(c, WEFT_EUNMET, "%s %s: %s", best->cand.provider, best->cand.device, why);
    return;
  }
  weft__conn_opened(c);
  if (!meets && !c->need_missed) {
    c->need_missed = true;
    weft__event_need(c, why);
  }
}

static void on_dialled(weft__dial_t *d, const weft__dial_result_t *res) {
  weft__croute_t *r = d->owner;
  weft__conn_t *c = r->c;
  weft__core_t *core = c->core;
  const uint8_t *secret = weft__session_secret(c->s), *id = weft__session_id(c->s);
  uint8_t proof[16];
  char to[80], text[200];
  unsigned bit = r->use_alt ? 2 : 1;
  weft__addr_str(&d->dst, to, sizeof to);
  r->dial = NULL;
  r->state = WEFT__RT_IDLE;
  if (res->answered)
    weft__join_proof(secret, id, d->rq.key, res->answer.key, res->answer.aux, proof);

  if (res->err == 0 && !weft__proof_equal(proof, res->answer.proof)) {
    snprintf(text, sizeof text, "%s: somebody answered, but not the peer of this session", to);
    failed(r, WEFT_WHY_NO_PROOF, text);
  } else if (res->err == 0) {
    bool again = r->deaths || !c->upgrading;
    uint64_t settle = again ? core->opts.settle_ms * WEFT__MS
                                  << (r->deaths ? (r->deaths - 1 < 10 ? r->deaths - 1 : 10) : 0)
                            : 0;
    if (settle > SETTLE_MAX) settle = SETTLE_MAX;
    int err = weft__session_add_path(c->s, d->path, d->rq.key, res->answer.key, r->rank, settle);
    if (err) {
      snprintf(text, sizeof text, "%s: %s", to, uv_strerror(err));
      failed(r, WEFT_WHY_SYSTEM, text);
    } else {
      r->path = weft__dial_take(d);
      r->state = WEFT__RT_UP;
      r->fails = 0;
      r->up_at = core->now_ns;
      for (unsigned i = 0; i < c->nroutes; i++) c->routes[i]->refused = 0;
      c->alone_since = 0;
    }
  } else if (res->answered && res->answer.kind == WEFT__A_TOMBSTONE &&
             weft__proof_equal(proof, res->answer.proof)) {
    failed(r, WEFT_WHY_DIED, res->why);
    weft__session_tombstone(c->s, res->answer.aux, (int) res->answer.code);
    return;
  } else {
    bool gone = (res->answered && res->answer.kind == WEFT__A_REJECT &&
                 (res->answer.code == WEFT__J_NO_SESSION || res->answer.code == WEFT__J_CLOSING)) ||
                (!res->answered && res->err == -ECONNREFUSED);
    c->no_session |= res->answered && res->answer.kind == WEFT__A_REJECT &&
                     res->answer.code == WEFT__J_NO_SESSION;
    r->refused = (uint8_t) (gone ? r->refused | bit : r->refused & ~bit);
    bool here = res->err == -ENOSPC || res->err == -ENOMEM || res->err == -ENOBUFS;
    failed(r,
           here                     ? WEFT_WHY_SYSTEM
           : res->err == -ETIMEDOUT ? WEFT_WHY_TIMEOUT
                                    : WEFT_WHY_UNREACHABLE,
           res->why);
    if (c->alone_since && all_refused(c)) {
      if (c->no_session)
        snprintf(text, sizeof text,
                 "the peer does not know this session any more: it restarted or gave up (%.120s)",
                 r->detail);
      else
        snprintf(text, sizeof text, "the peer is gone: every address of it refuses (%.120s)",
                 r->detail);
      weft__session_fail(c->s, c->no_session ? WEFT_ENOSESSION : UV_ECONNRESET, text);
      return;
    }
  }
  check_upgrade(c);
  weft__routes_work(c);
}

static void start(weft__croute_t *r, weft__crail_t *cr) {
  weft__conn_t *c = r->c;
  weft__request_t rq = {
      .vlow = WEFT__WIRE_VERSION, .vhigh = WEFT__WIRE_VERSION, .kind = WEFT__K_JOIN};
  weft__random(c->core, &rq.key, sizeof rq.key);
  memcpy(rq.id, weft__session_id(c->s), sizeof rq.id);
  weft__session_join_token(c->s, rq.key, rq.token);
  r->state = WEFT__RT_DIAL;
  int err = weft__dial_start(cr, r->use_alt ? &r->alt : &r->dst, &rq, DIAL_LIMIT, r, on_dialled,
                             &r->dial);
  if (err) failed(r, WEFT_WHY_SYSTEM, uv_strerror(err));
}

static void on_rail(weft__waiter_t *w, weft__crail_t *cr) {
  weft__croute_t *r = weft__container(w, weft__croute_t, waiter);
  if (cr->state == WEFT__R_OPEN && !cr->removed) {
    start(r, cr);
    return;
  }
  failed(r, cr->removed ? WEFT_WHY_NO_DEVICE : WEFT_WHY_SYSTEM, cr->why);
  check_upgrade(r->c);
  weft__routes_work(r->c);
}

static void open_route(weft__croute_t *r) {
  weft__core_t *core = r->c->core;
  int err = 0;
  weft__crail_t *cr = weft__rail_find(core, &r->cand);
  if (cr && cr->state == WEFT__R_OPEN && !cr->removed) {
    start(r, cr);
    return;
  }
  r->state = WEFT__RT_RAIL;
  if (!weft__rail_want(core, &r->cand, core->cands, &r->waiter, &err))
    failed(r, WEFT_WHY_SYSTEM, uv_strerror(err));
}

/* Let go of what is not wanted: paths beyond the first standby + 1 in place, and a first contact
 * over what the needs forbid. The one that carries the messages stays until failback has moved
 * them. */
static void prune(weft__conn_t *c, unsigned want) {
  unsigned kept = 0, allowed = 0;
  for (unsigned i = 0; i < c->nroutes; i++)
    allowed += c->routes[i]->usable && c->routes[i]->state == WEFT__RT_UP;
  for (unsigned i = 0; i < c->nroutes; i++) {
    weft__croute_t *r = c->placed[i];
    if (r->state != WEFT__RT_UP) continue;
    bool forbidden = !r->usable && allowed > 0;
    if (!forbidden && (kept++ < want || weft__session_tx_path(c->s) == r->path)) continue;
    r->dropping = true;
    if (weft__session_drop_path(
            c->s, r->path, forbidden ? "the needs do not allow it" : "enough others are open") != 0)
      r->dropping = false;
  }
}

void weft__routes_work(weft__conn_t *c) {
  weft__core_t *core = c->core;
  if (!c->hello_seen || !c->s || c->gone || !weft__session_is_open(c->s)) return;
  /* over for the user, but the peer may miss our last acknowledgement: it needs one path to ask for
   * it */
  bool done = weft__session_is_done(c->s);
  if (!done && c->state != WEFT__CN_CONNECTING && c->state != WEFT__CN_OPEN) return;
  if (c->upgrading) {
    check_upgrade(c);
    if (c->state != WEFT__CN_CONNECTING && c->state != WEFT__CN_OPEN) return;
  }
  unsigned want = done ? 1 : c->qos.standby + 1, open = c->nroutes - count(c, WEFT__RT_IDLE);
  bool alone = count(c, WEFT__RT_UP) == 0;
  uint64_t next = c->upgrading ? c->upgrade_until : UINT64_MAX;
  if (alone && !c->alone_since) {
    c->alone_since = core->now_ns;
    c->no_session = false;
    for (unsigned i = 0; i < c->nroutes;
         i++) { /* whatever was found out before: now each of them counts */
      weft__croute_t *r = c->routes[i];
      r->refused = 0;
      r->fails = 0;
      if (r->brief < 3 && r->next_try > core->now_ns + BACKOFF_MIN)
        r->next_try = core->now_ns + BACKOFF_MIN;
    }
  }
  if (want > WEFT__PATHS_MAX) want = WEFT__PATHS_MAX;
  if (done && !alone) return;
  if (!c->upgrading && !alone) prune(c, want);
  for (unsigned i = 0, ahead = 0; i < c->nroutes && open < WEFT__PATHS_MAX; i++) {
    weft__croute_t *r = c->placed[i];
    if (r->state != WEFT__RT_IDLE) {
      ahead++; /* open, or on its way */
      continue;
    }
    /* a path that the needs do not allow for data is better than none that keeps the session alive:
     * only for joins */
    if (!r->usable || (!alone && ahead >= want)) continue;
    if (r->next_try > core->now_ns) {
      if (r->next_try < next) next = r->next_try;
      continue;
    }
    open_route(r);
    if (r->state == WEFT__RT_IDLE) { /* failed at once */
      if (r->next_try < next) next = r->next_try;
    } else {
      ahead++;
      open++;
    }
  }
  weft__timer_stop(core, &c->retry);
  if (next != UINT64_MAX)
    weft__timer_set(core, &c->retry, next > core->now_ns ? next : core->now_ns + WEFT__MS);
}

static void on_retry(weft__timer_t *t) {
  weft__routes_work(weft__container(t, weft__conn_t, retry));
}

/* ---- Losing ---- */

void weft__routes_path_gone(weft__conn_t *c, weft__path_t *path, int err, const char *why) {
  (void) err;
  for (unsigned i = 0; i < c->nroutes; i++) {
    weft__croute_t *r = c->routes[i];
    if (r->path != path || r->state != WEFT__RT_UP) continue;
    r->path = NULL;
    if (r->dropping) { /* may be wanted again: no backoff, no longer settling */
      r->dropping = false;
      r->state = WEFT__RT_IDLE;
      if (r->usable) r->why = WEFT_WHY_OUTRANKED;
      r->next_try = 0;
      return;
    }
    r->deaths++;
    r->fails = 0;
    r->use_alt = false;
    failed(r, WEFT_WHY_DIED, why);
    r->use_alt = false;
    /* one that opens and dies, opens and dies, is not helped by haste */
    r->brief = c->core->now_ns - r->up_at >= BRIEF_LIFE ? 0 : r->brief < 8 ? r->brief + 1 : 8;
    uint64_t pause = BACKOFF_MIN << r->brief;
    r->next_try = c->core->now_ns + (pause < BACKOFF_MAX ? pause : BACKOFF_MAX);
    weft__routes_work(c);
    return;
  }
}

void weft__routes_stop(weft__conn_t *c) {
  weft__timer_stop(c->core, &c->retry);
  for (unsigned i = 0; i < c->nroutes; i++) {
    weft__croute_t *r = c->routes[i];
    weft__rail_unwant(&r->waiter);
    if (r->dial) weft__dial_drop(r->dial);
    r->dial = NULL;
    if (r->state != WEFT__RT_UP) r->state = WEFT__RT_IDLE;
  }
}

/* The addresses are the peer's word alone and may be anybody's: a wish is heeded once in ASKED_MIN,
 * and hastens nothing that has failed since it last worked. */
void weft__routes_asked(weft__conn_t *c) {
  uint64_t at = c->core->now_ns;
  if (c->asked_at > at) return; /* the one before waits still */
  if (c->asked_at && at < c->asked_at + ASKED_MIN) at = c->asked_at + ASKED_MIN;
  c->asked_at = at;
  for (unsigned i = 0; i < c->nroutes; i++) {
    weft__croute_t *r = c->routes[i];
    if (r->fails == 0 && r->next_try > at) r->next_try = at;
  }
  weft__routes_work(c);
}

/* ---- The network has changed ---- */

void weft__routes_retry(weft__core_t *core, bool plan) {
  for (weft__link_t *l = core->conns.next, *next; l != &core->conns; l = next) {
    next = l->next;
    weft__conn_t *c = weft__container(l, weft__conn_t, link);
    if (!c->initiator || !c->hello_seen || c->gone || !c->nroutes) continue;
    if (plan) weft__routes_plan(c);
    for (unsigned i = 0; i < c->nroutes; i++)
      if (c->routes[i]->state == WEFT__RT_IDLE) {
        c->routes[i]->next_try = 0;
        c->routes[i]->fails = 0;
      }
    weft__routes_work(c);
  }
}
