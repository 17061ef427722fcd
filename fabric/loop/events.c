/* SPDX-License-Identifier: Apache-2.0 */
/* events.c - what a connection tells its user about its paths and its peer.
 *
 * Design notes
 *  - Made in place, from the session's upcalls: a handler sees the state that the event speaks of.
 */
#include <stdio.h>
#include <string.h>

#include "loop/conn.h"

static void name_path(weft__conn_t *c, const weft__path_t *path, char *buf, size_t len) {
  char text[300] = "";
  if (path)
    snprintf(text, sizeof text, "%s %s %s -> %s",
             path->rail ? weft__rail_provider(path->rail) : "?", weft__device_of(c->core, path),
             path->local, path->remote);
  text[len - 1] = '\0'; /* the longest names of all do not fit */
  memcpy(buf, text, len);
}

static int32_t why_of(int err) {
  if (err == 0) return WEFT_WHY_OK;
  if (err == UV_ENETDOWN) return WEFT_WHY_LINK_DOWN;
  if (err == UV_ETIMEDOUT) return WEFT_WHY_TIMEOUT;
  if (err == UV_ECANCELED) return WEFT_WHY_OUTRANKED; /* let go, see routes.c */
  return WEFT_WHY_DIED;
}

static void emit(weft__conn_t *c, weft_event_t *ev) {
  ev->size = sizeof *ev;
  if (c->event_cb && c->pub && !c->h.closing) c->event_cb(c->pub, ev);
}

void weft__event_session(weft__conn_t *c, const weft__sev_t *sev) {
  static const int32_t types[] = {[WEFT__SEV_MIGRATED] = WEFT_EV_MIGRATED,
                                  [WEFT__SEV_PATH_UP] = WEFT_EV_PATH_UP,
                                  [WEFT__SEV_PATH_DOWN] = WEFT_EV_PATH_DOWN,
                                  [WEFT__SEV_STALLED] = WEFT_EV_PEER_STALLED,
                                  [WEFT__SEV_BACK] = WEFT_EV_PEER_BACK};
  weft_event_t ev;
  if (sev->type >= WEFT__SEV_JOIN_PLEASE || sev->type < WEFT__SEV_MIGRATED) return;
  memset(&ev, 0, sizeof ev);
  ev.type = types[sev->type];
  name_path(c, sev->from, ev.from, sizeof ev.from);
  name_path(c, sev->to, ev.to, sizeof ev.to);
  snprintf(ev.detail, sizeof ev.detail, "%s", sev->why ? sev->why : "");
  ev.gap_ns = sev->gap_ns;
  if (sev->type == WEFT__SEV_MIGRATED || sev->type == WEFT__SEV_PATH_DOWN)
    ev.why = why_of(sev->err);
  if (sev->type == WEFT__SEV_MIGRATED)
    snprintf(c->last_cause, sizeof c->last_cause, "%s", ev.detail);
  if (weft__log_on(WEFT__LOG_INFO))
    weft__info("connection: event %d: %s%s%s %s", ev.type, ev.from,
               ev.from[0] && ev.to[0] ? " => " : "", ev.to, ev.detail);
  emit(c, &ev);
}

void weft__event_need(weft__conn_t *c, const char *detail) {
  weft_event_t ev;
  memset(&ev, 0, sizeof ev);
  ev.type = WEFT_EV_NEED_MISSED;
  ev.why = WEFT_WHY_TOO_SLOW;
  snprintf(ev.detail, sizeof ev.detail, "%s", detail);
  weft__info("connection: a need is missed: %s", detail);
  emit(c, &ev);
}
