/* SPDX-License-Identifier: Apache-2.0 */
/* info.c - weft_conn_info, verdicts, JSON, and an operator's orders.
 *
 * Design notes
 *  - Verdicts are made when asked for: routes of the connecting end in order of rank (for the accepting end, its open
 *    paths), then what this machine has beside them, each with its reason.
 *  - The JSON is written from the same structs, so the two cannot disagree. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loop/conn.h"

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
  if (c->s) {
    weft__session_stats_t st;
    const weft__path_t *path = weft__session_tx_path(c->s);
    const weft__hello_t *peer = weft__session_peer(c->s);
    weft__session_stats(c->s, &st);
    i.paths = (int32_t) weft__session_paths(c->s, NULL, 0);
    memcpy(i.session_id, weft__session_id(c->s), sizeof i.session_id);
    if (path) {
      snprintf(i.provider, sizeof i.provider, "%s", path->rail ? weft__rail_provider(path->rail) : "");
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
    COPY(tx_messages), COPY(tx_bytes), COPY(rx_messages), COPY(rx_bytes), COPY(tx_frames), COPY(rx_frames);
    COPY(tx_large), COPY(rx_large), COPY(replayed), COPY(duplicates), COPY(late_frames), COPY(migrations);
    COPY(last_gap_ns), COPY(stalls), COPY(queued_messages), COPY(queued_bytes), COPY(held_messages);
    COPY(held_bytes), COPY(payload_copies);
#undef COPY
  }
  memset(out, 0, sz);
  memcpy(out, &i, sz < sizeof i ? sz : sizeof i);
  return 0;
}

/* ---- Verdicts ---------------------------------------------------------------------------------------------------- */

static void view_of(const weft__cand_t *cand, const char *local, struct weft__cand_view *v) {
  memset(v, 0, sizeof *v);
  v->provider = cand->provider;
  v->device = cand->device;
  v->local = local;
  v->speed_bps = cand->speed_bps;
  v->why = cand->why;
  v->detail = cand->detail;
  if (cand->loopback) v->flags |= WEFT__CAND_LOOPBACK;
}

static void judge(const weft__conn_t *c, const weft__cand_t *cand, weft_verdict_t *out) {
  struct weft__cand_view v;
  char local[80] = "";
  if (cand->addr.ss_family) weft__addr_str(&cand->addr, local, sizeof local);
  view_of(cand, local, &v);
  weft__rank(&c->qos, NULL, &v, 1, out, NULL);
}

static void measured(const weft__conn_t *c, weft_verdict_t *v) {
  weft__session_stats_t st;
  weft__session_stats(c->s, &st);
  if (st.rtt_p50) v->latency_ns = st.rtt_p50;
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
    if (strcmp(v[i].provider, cand->provider) == 0 && strcmp(v[i].device, cand->device) == 0) return true;
  return false;
}

static unsigned verdicts(const weft__conn_t *c, weft_verdict_t *v, unsigned cap) {
  unsigned n = 0;
  int rank = 0;
  for (unsigned i = 0; i < c->nroutes && n < cap; i++, n++) {
    const weft__croute_t *r = c->routes[i];
    judge(c, &r->cand, &v[n]);
    v[n].rank = r->usable ? rank++ : -1;
    weft__addr_str(&r->dst, v[n].remote, sizeof v[n].remote);
    if (r->state == WEFT__RT_UP && r->path) {
      snprintf(v[n].detail, sizeof v[n].detail, "%s", open_state(c, r->path, &v[n]));
    } else {
      v[n].why = r->why;
      snprintf(v[n].detail, sizeof v[n].detail, "%s", r->detail);
    }
  }
  if (!c->initiator && c->s) {
    weft__path_t *paths[WEFT__PATHS_MAX];
    unsigned np = weft__session_paths(c->s, paths, WEFT__PATHS_MAX);
    for (unsigned i = 0; i < np && n < cap; i++, n++) {
      memset(&v[n], 0, sizeof v[n]);
      v[n].size = sizeof v[n];
      v[n].rank = rank++;
      snprintf(v[n].provider, sizeof v[n].provider, "%s", paths[i]->rail ? weft__rail_provider(paths[i]->rail) : "");
      snprintf(v[n].device, sizeof v[n].device, "%s", weft__device_of(c->core, paths[i]));
      snprintf(v[n].detail, sizeof v[n].detail, "%s", open_state(c, paths[i], &v[n]));
    }
  }
  const weft__cands_t *cands = c->core->cands;
  unsigned own = n;
  for (unsigned i = 0; cands && i < cands->list.n && n < cap; i++) {
    const weft__cand_t *cand = &cands->list.v[i];
    if (weft__cand_usable(cand) && (shown(v, own, cand) || !c->initiator)) continue;
    judge(c, cand, &v[n]);
    if (v[n].why == WEFT_WHY_OK) {
      v[n].why = WEFT_WHY_PEER_LACKS;
      snprintf(v[n].detail, sizeof v[n].detail, "the peer offers nothing that can be reached from here");
    }
    v[n++].rank = -1;
  }
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

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

static void text(FILE *f, const char *key, const char *s) {
  fprintf(f, "\"%s\":\"", key);
  for (; *s; s++) {
    unsigned char ch = (unsigned char) *s;
    if (ch == '"' || ch == '\\')
      fprintf(f, "\\%c", ch);
    else if (ch < 0x20 || ch >= 0x7f) /* names come from peers: nothing but ASCII leaves here */
      fprintf(f, "\\u%04x", ch);
    else
      fputc(ch, f);
  }
  fputs("\",", f);
}

static void number(FILE *f, const char *key, uint64_t n) {
  fprintf(f, "\"%s\":%llu,", key, (unsigned long long) n);
}

static void write_json(FILE *f, weft__conn_t *c, const weft_conn_info_t *i, const weft_verdict_t *v, unsigned n) {
  fprintf(f, "{\"open\":%s,\"paths\":%d,", i->open ? "true" : "false", i->paths);
  text(f, "provider", i->provider);
  text(f, "device", i->device);
  text(f, "local", i->local);
  text(f, "remote", i->remote);
  text(f, "peer_name", i->peer_name);
  fputs("\"session\":\"", f);
  for (unsigned k = 0; k < sizeof i->session_id; k++) fprintf(f, "%02x", i->session_id[k]);
  fputs("\",", f);
  number(f, "max_message", i->max_message);
  number(f, "eager_max", i->eager_max);
  fprintf(f, "\"rtt_ns\":{\"p50\":%llu,\"p99\":%llu,\"max\":%llu},", (unsigned long long) i->rtt_ns_p50,
          (unsigned long long) i->rtt_ns_p99, (unsigned long long) i->rtt_ns_max);
#define NUMBER(field) number(f, #field, i->field)
  NUMBER(tx_messages), NUMBER(tx_bytes), NUMBER(rx_messages), NUMBER(rx_bytes), NUMBER(tx_frames);
  NUMBER(rx_frames), NUMBER(tx_large), NUMBER(rx_large), NUMBER(replayed), NUMBER(duplicates);
  NUMBER(late_frames), NUMBER(migrations), NUMBER(last_gap_ns), NUMBER(stalls), NUMBER(queued_messages);
  NUMBER(queued_bytes), NUMBER(held_messages), NUMBER(held_bytes), NUMBER(payload_copies);
#undef NUMBER
  text(f, "last_cause", i->last_cause);
  text(f, "error", c->error ? c->error : "");
  fputs("\"verdicts\":[", f);
  for (unsigned k = 0; k < n; k++) {
    fputs(k ? ",{" : "{", f);
    text(f, "provider", v[k].provider);
    text(f, "device", v[k].device);
    text(f, "local", v[k].local);
    text(f, "remote", v[k].remote);
    text(f, "why", weft_why_name(v[k].why));
    text(f, "detail", v[k].detail);
    number(f, "latency_ns", v[k].latency_ns);
    number(f, "bandwidth", v[k].bandwidth);
    fprintf(f, "\"rank\":%d}", v[k].rank);
  }
  fputs("]}", f);
}

int weft_conn_info_json(const weft_conn_t *conn, char *buf, size_t *len) {
  weft__conn_t *c = weft__conn_of(conn);
  weft_conn_info_t info;
  char *json = NULL;
  size_t n = 0;
  if (!c || !len || (!buf && *len)) return UV_EINVAL;
  int err = weft_conn_info(conn, &info, sizeof info);
  if (err) return err;
  weft_verdict_t *v = calloc(VERDICTS_MAX, sizeof *v);
  FILE *f = v ? open_memstream(&json, &n) : NULL;
  if (!f) {
    free(v);
    return UV_ENOMEM;
  }
  write_json(f, c, &info, v, verdicts(c, v, VERDICTS_MAX));
  free(v);
  if (fclose(f) != 0) {
    free(json);
    return UV_ENOMEM;
  }
  size_t room = *len;
  *len = n;
  if (n < room) memcpy(buf, json, n + 1);
  free(json);
  return n < room ? 0 : UV_ENOBUFS;
}

/* ---- Orders ------------------------------------------------------------------------------------------------------ */

int weft_conn_migrate(weft_conn_t *conn, const char *where) {
  weft__conn_t *c = weft__conn_of(conn);
  weft__path_t *paths[WEFT__PATHS_MAX];
  char name[128];
  if (!c || c->h.closing) return UV_EINVAL;
  if (weft__forked(c->core)) return WEFT_EFORK;
  if (!c->s || c->state != WEFT__CN_OPEN) return UV_ENOTCONN;
  if (!where) return weft__err_public(weft__session_migrate(c->s, NULL, "an operator's order"));
  const weft__path_t *now = weft__session_tx_path(c->s);
  unsigned n = weft__session_paths(c->s, paths, WEFT__PATHS_MAX);
  bool there = false;
  for (unsigned i = 0; i < n; i++) {
    const char *provider = paths[i]->rail ? weft__rail_provider(paths[i]->rail) : "";
    snprintf(name, sizeof name, "%s/%s", provider, weft__device_of(c->core, paths[i]));
    if (strcmp(where, provider) != 0 && strcmp(where, name) != 0) continue;
    if (paths[i] == now) {
      there = true;
      continue;
    }
    if (!there) return weft__err_public(weft__session_migrate(c->s, paths[i], "an operator's order"));
  }
  return there ? UV_EALREADY : UV_ENOENT;
}
