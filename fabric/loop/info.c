/* SPDX-License-Identifier: Apache-2.0 */
/* info.c - weft_conn_info, verdicts, JSON, and an operator's orders.
 *
 * Design notes
 *  - Verdicts are made when asked for: routes of the connecting end in order of rank (for the
 *    accepting end, its open paths), then what this machine has beside them and what the peer
 *    offers beside them, each with its reason.
 *  - The JSON is written from the same structs, so the two cannot disagree. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loop/conn.h"
#include "units.h"

enum { VERDICTS_MAX = 160 };

int weft_conn_info(const weft_conn_t *conn, weft_conn_info_t *out, size_t sz) {
  weft__conn_t *c = weft__conn_of(conn);
  weft_conn_info_t i;
  if (!c || !out || sz < sizeof i.size) return UV_EINVAL;
  if (weft__forked(c->core)) return WEFT_EFORK;
  memset(&i, 0, sizeof i);
  i.size = sz;
  i.open = c->state == WEFT__CN_OPEN;
  i.eager_max = weft__session_eager_max();
  memcpy(i.last_cause, c->last_cause, sizeof i.last_cause);
  i.registrations = __atomic_load_n(&c->core->env.registrations, __ATOMIC_RELAXED);
  if (c->s) {
    weft__session_stats_t st;
    const weft__path_t *path = weft__session_tx_path(c->s);
    const weft__hello_t *peer = weft__session_peer(c->s);
    weft__session_stats(c->s, &st);
    i.paths = (int32_t) weft__session_paths(c->s, NULL, 0);
    memcpy(i.session_id, weft__session_id(c->s), sizeof i.session_id);
    if (path) {
      snprintf(i.provider, sizeof i.provider, "%s",
               path->rail ? weft__rail_provider(path->rail) : "");
      snprintf(i.device, sizeof i.device, "%s", weft__device_of(c->core, path));
      snprintf(i.local, sizeof i.local, "%s", path->local);
      snprintf(i.remote, sizeof i.remote, "%s", path->remote);
    }
    if (peer) {
      i.max_message = peer->max_message;
      memcpy(i.peer_name, peer->name, sizeof i.peer_name);
    }
    i.rtt_ns_p50 = st.rtt_p50;
    i.rtt_ns_p99 = st.rtt_p99;
    i.rtt_ns_max = st.rtt_max;
#define COPY(field) i.field = st.field
    COPY(tx_messages), COPY(tx_bytes), COPY(rx_messages), COPY(rx_bytes), COPY(tx_frames),
        COPY(rx_frames);
    COPY(tx_large), COPY(rx_large), COPY(replayed), COPY(duplicates), COPY(late_frames),
        COPY(migrations);
    COPY(last_gap_ns), COPY(stalls), COPY(queued_messages), COPY(queued_bytes), COPY(held_messages);
    COPY(held_bytes), COPY(payload_copies);
#undef COPY
    i.bytes_read = st.rma_read + st.rma_read_by_peer;
    i.bytes_written = st.rma_written + st.rma_written_by_peer;
  }
  memset(out, 0, sz);
  memcpy(out, &i, sz < sizeof i ? sz : sizeof i);
  return 0;
}

/* ---- Verdicts ---- */

static void judge(const weft__conn_t *c, const weft__cand_t *cand, weft_verdict_t *out) {
  struct weft__cand_view v;
  char local[80] = "";
  if (cand->addr.ss_family) weft__addr_str(&cand->addr, local, sizeof local);
  weft__cand_view_of(cand, local, &v);
  struct weft__rank_filter filter = {.providers = "", .devices = c->devices};
  weft__rank(&c->qos, &filter, &v, 1, out, NULL);
}

static void measured(const weft__conn_t *c, weft_verdict_t *v) {
  weft__session_stats_t st;
  weft__session_stats(c->s, &st);
  if (!st.rtt_p50) return;
  v->latency_ns = st.rtt_p50;
  v->traits |= WEFT_TRAIT_MEASURED;
}

static const char *open_state(const weft__conn_t *c, const weft__path_t *path, weft_verdict_t *v) {
  bool active = weft__session_tx_path(c->s) == path;
  v->why = active ? WEFT_WHY_IN_USE : WEFT_WHY_STANDBY;
  if (active) measured(c, v);
  snprintf(v->local, sizeof v->local, "%s", path->local);
  snprintf(v->remote, sizeof v->remote, "%s", path->remote);
  return active ? "carries the messages" : "open, ready to take over";
}

static bool shown(const weft_verdict_t *v, unsigned n, const weft__cand_t *cand) {
  for (unsigned i = 0; i < n; i++)
    if (strcmp(v[i].provider, cand->provider) == 0 && strcmp(v[i].device, cand->device) == 0)
      return true;
  return false;
}

/* The own candidate that a path of the accepting end runs over; what it can do stands there. */
static const weft__cand_t *cand_of(const weft__conn_t *c, const weft__path_t *path) {
  const weft__cands_t *cands = c->core->cands;
  const struct sockaddr *own = path->rail ? weft__rail_addr(path->rail) : NULL;
  const char *device = weft__device_of(c->core, path);
  const weft__cand_t *found = NULL;
  for (unsigned i = 0; cands && own && i < cands->list.n; i++) {
    const weft__cand_t *cand = &cands->list.v[i];
    if (strcmp(cand->provider, weft__rail_provider(path->rail)) != 0 || !weft__cand_usable(cand))
      continue;
    if (weft__addr_same_ip(&cand->addr, own)) return cand;
    /* a listener on a wildcard takes calls to every address of the provider: the device has one at
     * least */
    if (!found && strcmp(cand->device, device) == 0) found = cand;
  }
  return found;
}

static void open_path(const weft__conn_t *c, const weft__path_t *path, int rank,
                      weft_verdict_t *v) {
  const weft__cand_t *cand = cand_of(c, path);
  memset(v, 0, sizeof *v);
  if (cand) judge(c, cand, v);
  v->size = sizeof *v;
  v->rank = rank;
  snprintf(v->provider, sizeof v->provider, "%s",
           path->rail ? weft__rail_provider(path->rail) : "");
  snprintf(v->device, sizeof v->device, "%s", weft__device_of(c->core, path));
  snprintf(v->detail, sizeof v->detail, "%s", open_state(c, path, v));
}

static bool is_open(const weft_verdict_t *v) {
  return v->why == WEFT_WHY_IN_USE || v->why == WEFT_WHY_STANDBY;
}

/* What a route that is allowed has to say of the others, now that it is known what is open. Figures
 * are the expected ones on both sides, for those have decided. */
static void compare(const weft__conn_t *c, unsigned at, const weft_verdict_t *all, unsigned n,
                    weft_verdict_t *v) {
  const weft__croute_t *r = c->routes[at];
  int active = -1, last = -1;
  unsigned usable = 0;
  weft_verdict_t best, own;
  char figures[160];
  for (unsigned i = 0; i < n; i++) {
    if (all[i].why == WEFT_WHY_IN_USE) active = (int) i;
    if (is_open(&all[i])) last = (int) i; /* the one to beat */
    usable += all[i].rank >= 0;
  }
  judge(c, &r->cand, &own);
  if (v->why == WEFT_WHY_IN_USE) {
    snprintf(v->detail, sizeof v->detail,
             usable == 1 ? "carries the messages: the only one that the needs allow"
             : at == 0   ? "carries the messages: the best of %u that the needs allow"
                         : "carries the messages: number %d of %u, until a better one has settled",
             at == 0 ? (int) usable : (int) at + 1, usable);
  } else if (v->why == WEFT_WHY_STANDBY && active >= 0 && (unsigned) active < at) {
    judge(c, &c->routes[active]->cand, &best);
    weft__rank_outranked(&c->qos, &best, &own, figures, sizeof figures);
    snprintf(v->detail, sizeof v->detail, "open, ready to take over: %.130s", figures);
  } else if (v->why == WEFT_WHY_STANDBY && active >= 0) {
    snprintf(v->detail, sizeof v->detail,
             "open and better than the one in use: sending moves here when it has settled");
  } else if (v->why == WEFT_WHY_OUTRANKED &&
             (r->state == WEFT__RT_RAIL || r->state == WEFT__RT_DIAL)) {
    snprintf(v->detail, sizeof v->detail, "being opened");
  } else if (v->why == WEFT_WHY_OUTRANKED && active >= 0 && last > (int) at) {
    /* no figures have decided: of standbys the one is taken that does not die with what is open,
     * see routes.c */
    snprintf(v->detail, sizeof v->detail,
             "shares more with %.16s %.24s, which is in use, than %.16s %.24s, which stands by; "
             "standby=%u",
             all[active].provider, all[active].device, all[last].provider, all[last].device,
             c->qos.standby);
  } else if (v->why == WEFT_WHY_OUTRANKED && last >= 0) {
    judge(c, &c->routes[last]->cand, &best);
    weft__rank_outranked(&c->qos, &best, &own, figures, sizeof figures);
    snprintf(v->detail, sizeof v->detail, "%.125s; standby=%u", figures, c->qos.standby);
  } else if (v->why == WEFT_WHY_OUTRANKED) {
    snprintf(v->detail, sizeof v->detail, "not tried yet");
  }
}

/* An address that the peer offers and no route leads to: which side is to blame. */
static void unmatched(const weft__conn_t *c, const weft__offer_t *offer, weft_verdict_t *v) {
  const weft__cands_t *cands = c->core->cands;
  const weft__cand_t *own = NULL;
  char why[sizeof own->detail];
  memset(v, 0, sizeof *v);
  v->size = sizeof *v;
  v->rank = -1;
  snprintf(v->provider, sizeof v->provider, "%s", offer->provider);
  weft__addr_str(&offer->addr, v->remote, sizeof v->remote);
  for (unsigned i = 0; cands && i < cands->list.n; i++) {
    const weft__cand_t *cand = &cands->list.v[i];
    if (!weft__providers_meet(cand->provider, offer->provider)) continue;
    if (!own || weft__cand_usable(cand)) own = cand;
  }
  if (!own) {
    v->why = WEFT_WHY_NO_PROVIDER;
    snprintf(why, sizeof why, "nothing of this kind is known here");
  } else if (weft__cand_usable(own)) {
    v->why = WEFT_WHY_UNREACHABLE;
    snprintf(why, sizeof why, "no device of this machine leads there");
  } else {
    v->why = own->why;
    memcpy(why, own->detail, sizeof why);
  }
  snprintf(v->detail, sizeof v->detail, "the peer offers it on %.40s; %.90s", offer->device, why);
}

static bool routed(const weft__conn_t *c, const weft__offer_t *offer) {
  for (unsigned i = 0; i < c->nroutes; i++)
    if (weft__providers_meet(c->routes[i]->cand.provider, offer->provider) &&
        weft__addr_same_ip(&c->routes[i]->dst, &offer->addr))
      return true;
  return false;
}

static unsigned verdicts(const weft__conn_t *c, weft_verdict_t *v, unsigned cap) {
  unsigned n = 0;
  int rank = 0;
  for (unsigned i = 0; i < c->nroutes && n < cap; i++, n++) {
    const weft__croute_t *r = c->routes[i];
    judge(c, &r->cand, &v[n]);
    weft__addr_str(&r->dst, v[n].remote, sizeof v[n].remote);
    if (r->state == WEFT__RT_UP && r->path) {
      snprintf(v[n].detail, sizeof v[n].detail, "%s", open_state(c, r->path, &v[n]));
    } else if (r->usable ||
               v[n].why == WEFT_WHY_OK) { /* else what speaks against it stands there already */
      v[n].why = r->why;
      snprintf(v[n].detail, sizeof v[n].detail, "%s", r->detail);
    }
    v[n].rank = r->usable ? rank++ : -1;
  }
  for (unsigned i = 0; i < n; i++)
    if (v[i].rank >= 0) compare(c, i, v, n, &v[i]);
  if (!c->initiator && c->s) {
    weft__path_t *paths[WEFT__PATHS_MAX];
    unsigned np = weft__session_paths(c->s, paths, WEFT__PATHS_MAX);
    for (unsigned i = 0; i < np && n < cap; i++) open_path(c, paths[i], rank++, &v[n++]);
  }
  const weft__cands_t *cands = c->core->cands;
  unsigned own = n;
  for (unsigned i = 0; cands && i < cands->list.n && n < cap; i++) {
    const weft__cand_t *cand = &cands->list.v[i];
    if (weft__cand_usable(cand) && (shown(v, own, cand) || !c->initiator)) continue;
    judge(c, cand, &v[n]);
    if (v[n].why == WEFT_WHY_OK && cand->loopback) {
      v[n].why = WEFT_WHY_LOOPBACK;
      snprintf(v[n].detail, sizeof v[n].detail,
               "%s reaches only this machine, and the peer is not reached there", cand->device);
    } else if (v[n].why == WEFT_WHY_OK) {
      v[n].why = WEFT_WHY_PEER_LACKS;
      snprintf(v[n].detail, sizeof v[n].detail,
               "the peer offers nothing that can be reached from here");
    }
    v[n++].rank = -1;
  }
  const weft__hello_t *peer = c->initiator && c->s && c->nroutes ? weft__session_peer(c->s) : NULL;
  for (unsigned i = 0; peer && i < peer->noffers && n < cap; i++)
    if (!routed(c, &peer->offers[i])) unmatched(c, &peer->offers[i], &v[n++]);
  return n;
}

int weft_conn_verdict(const weft_conn_t *conn, unsigned i, weft_verdict_t *out, size_t sz) {
  weft__conn_t *c = weft__conn_of(conn);
  if (!c || !out || sz < sizeof out->size) return UV_EINVAL;
  if (weft__forked(c->core)) return WEFT_EFORK;
  weft_verdict_t *v = calloc(VERDICTS_MAX, sizeof *v);
  if (!v) return UV_ENOMEM;
  unsigned n = verdicts(c, v, VERDICTS_MAX);
  if (i < n) {
    v[i].size = sz;
    memset(out, 0, sz);
    memcpy(out, &v[i], sz < sizeof *v ? sz : sizeof *v);
  }
  free(v);
  return i < n ? 0 : UV_ENOENT;
}

/* ---- JSON ---- */

/* Names come from peers and from the system: what is no UTF-8 is shown byte by byte, as if it were
 * Latin-1. */
static json_t *text(const char *s) {
  char latin[2 * 256 + 1];
  size_t n = 0;
  json_t *j = json_string(s);
  if (j) return j;
  for (; *s && n + 2 < sizeof latin; s++) {
    unsigned char ch = (unsigned char) *s;
    if (ch < 0x80) {
      latin[n++] = (char) ch;
    } else {
      latin[n++] = (char) (0xc0 | ch >> 6);
      latin[n++] = (char) (0x80 | (ch & 0x3f));
    }
  }
  latin[n] = '\0';
  return json_string(latin);
}

/* JSON has no unsigned 64 bits; of all figures only "no limit" is that large. */
static json_t *number(uint64_t n) {
  return n == UINT64_MAX ? json_null() : json_integer((json_int_t) n);
}

static json_t *verdict_json(const weft_verdict_t *v) {
  return json_pack(
      "{si so so so so ss so so so ss so so so sb sb sb sb sb}", "rank", v->rank, "provider",
      text(v->provider), "device", text(v->device), "local", text(v->local), "remote",
      text(v->remote), "why", weft_why_name(v->why), "detail", text(v->detail), "latency_ns",
      number(v->latency_ns), "bandwidth", number(v->bandwidth), "known",
      v->traits & WEFT_TRAIT_MEASURED ? "measured" : "expected", "speed_bps", number(v->speed_bps),
      "mtu", number(v->mtu), "max_op", number(v->max_op), "rma", (int) (v->traits & WEFT_TRAIT_RMA),
      "rdma", (int) (v->traits & WEFT_TRAIT_RDMA), "events", (int) (v->traits & WEFT_TRAIT_EVENTS),
      "shared_rx", (int) (v->traits & WEFT_TRAIT_SHARED_RX), "loopback",
      (int) (v->traits & WEFT_TRAIT_LOOPBACK));
}

static json_t *info_json(const weft__conn_t *c, const weft_conn_info_t *i, const weft_verdict_t *v,
                         unsigned n) {
  char session[2 * sizeof i->session_id + 1];
  json_t *list = json_array();
  for (unsigned k = 0; k < sizeof i->session_id; k++)
    snprintf(session + 2 * k, 3, "%02x", i->session_id[k]);
  for (unsigned k = 0; k < n; k++) json_array_append_new(list, verdict_json(&v[k]));
  json_t *j = json_pack("{sb si so so so so so ss so so s{so so so}}", "open", i->open, "paths",
                        i->paths, "provider", text(i->provider), "device", text(i->device), "local",
                        text(i->local), "remote", text(i->remote), "peer_name", text(i->peer_name),
                        "session", session, "max_message", number(i->max_message), "eager_max",
                        number(i->eager_max), "rtt_ns", "p50", number(i->rtt_ns_p50), "p99",
                        number(i->rtt_ns_p99), "max", number(i->rtt_ns_max));
#define NUMBER(field) json_object_set_new(j, #field, number(i->field))
  NUMBER(tx_messages), NUMBER(tx_bytes), NUMBER(rx_messages), NUMBER(rx_bytes), NUMBER(tx_frames);
  NUMBER(rx_frames), NUMBER(tx_large), NUMBER(rx_large), NUMBER(replayed), NUMBER(duplicates);
  NUMBER(late_frames), NUMBER(migrations), NUMBER(last_gap_ns), NUMBER(stalls),
      NUMBER(queued_messages);
  NUMBER(queued_bytes), NUMBER(held_messages), NUMBER(held_bytes), NUMBER(payload_copies);
  NUMBER(registrations), NUMBER(bytes_read), NUMBER(bytes_written);
#undef NUMBER
  json_object_set_new(j, "last_cause", text(i->last_cause));
  json_object_set_new(j, "error", text(c->error ? c->error : ""));
  /* any of these fails only when memory is out, and then the list, set last, is missing */
  if (json_array_size(list) != n || json_object_set_new(j, "verdicts", list) != 0) {
    json_decref(j);
    return NULL;
  }
  return j;
}

int weft_conn_info_json(const weft_conn_t *conn, char *buf, size_t *len) {
  weft__conn_t *c = weft__conn_of(conn);
  weft_conn_info_t info;
  if (!c || !len || (!buf && *len)) return UV_EINVAL;
  int err = weft_conn_info(conn, &info, sizeof info);
  if (err) return err;
  weft_verdict_t *v = calloc(VERDICTS_MAX, sizeof *v);
  json_t *j = v ? info_json(c, &info, v, verdicts(c, v, VERDICTS_MAX)) : NULL;
  char *out = j ? json_dumps(j, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
  json_decref(j);
  free(v);
  if (!out) return UV_ENOMEM;
  size_t room = *len, n = strlen(out);
  *len = n;
  if (n < room) memcpy(buf, out, n + 1);
  free(out);
  return n < room ? 0 : UV_ENOBUFS;
}

/* ---- Orders ---- */

int weft_conn_migrate(weft_conn_t *conn, const char *where) {
  weft__conn_t *c = weft__conn_of(conn);
  weft__path_t *paths[WEFT__PATHS_MAX];
  char provider[64];
  if (!c || c->h.closing) return UV_EINVAL;
  if (weft__forked(c->core)) return WEFT_EFORK;
  if (!c->s || c->state != WEFT__CN_OPEN) return UV_ENOTCONN;
  if (!where) return weft__err_public(weft__session_migrate(c->s, NULL, "an operator's order"));
  const weft__path_t *now = weft__session_tx_path(c->s);
  unsigned n = weft__session_paths(c->s, paths, WEFT__PATHS_MAX);
  const char *device = strchr(where, '/');
  snprintf(provider, sizeof provider, "%.*s", (int) strcspn(where, "/"), where);
  bool there = false;
  for (unsigned i = 0; i < n; i++) {
    if (!paths[i]->rail || !weft__list_has_provider(provider, weft__rail_provider(paths[i]->rail)))
      continue;
    if (device && strcmp(device + 1, weft__device_of(c->core, paths[i])) != 0) continue;
    if (paths[i] == now) {
      there = true;
      continue;
    }
    if (!there)
      return weft__err_public(weft__session_migrate(c->s, paths[i], "an operator's order"));
  }
  return there ? UV_EALREADY : UV_ENOENT;
}
