/* SPDX-License-Identifier: Apache-2.0 */
/* dial.c - one attempt to open a path: request, answer, time limit.
 *
 * Design notes
 *  - A dial owns its path until the owner takes it inside `done` (by weft__session_add_path, which
 *    exchanges the path's upcalls, and then weft__dial_take). Whatever else happens, the dial
 *    closes the path and lives until it is closed.
 *  - `done` is made once, from an upcall of the path or from the timer: never inside
 *    weft__dial_start or weft__dial_drop. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loop/conn.h"

static void dial_free(weft__dial_t *d) {
  weft__core_t *core = d->core;
  weft__timer_stop(core, &d->timer);
  weft__list_del(&d->link);
  core->ndials--;
  free(d);
  if (core->state != WEFT__C_OPEN) weft__core_check_closed(core);
}

/* Tell the owner; afterwards the path is his, or is let go. */
static void finish(weft__dial_t *d, weft__dial_result_t *r) {
  if (d->over) return;
  d->over = true;
  weft__timer_stop(d->core, &d->timer);
  if (d->owner) d->done(d, r);
  if (d->path)
    d->path->ops->close(d->path); /* `closed` frees */
  else
    dial_free(d);
}

static void on_connected(weft__path_t *path, const void *blob, size_t len) {
  weft__dial_t *d = path->user;
  weft__dial_result_t r = {0};
  char to[80], why[200];
  r.answered = weft__answer_get(blob, len, &r.answer);
  if (!r.answered || r.answer.kind != WEFT__A_ACCEPT || r.answer.version != WEFT__WIRE_VERSION) {
    r.err = r.answered ? WEFT_EVERSION : WEFT_ENOTWEFT;
    snprintf(why, sizeof why, "%s: the answer is %s", weft__addr_str(&d->dst, to, sizeof to),
             r.answered ? "of another version of Weft" : "not Weft's");
    r.why = why;
  } else {
    weft__xfer_settle(&path->lim, r.answer.can);
  }
  finish(d, &r);
}

static void on_down(weft__path_t *path, int err, const char *why, const void *blob, size_t len) {
  weft__dial_t *d = path->user;
  weft__dial_result_t r = {.err = err ? err : -ECONNRESET, .why = why ? why : ""};
  char text[240], to[80];
  if (blob && len) {
    r.answered = weft__answer_get(blob, len, &r.answer);
    if (r.answered && r.answer.kind == WEFT__A_REJECT)
      snprintf(text, sizeof text, "%s: rejected: %s", weft__addr_str(&d->dst, to, sizeof to),
               weft__jcode_text(r.answer.code));
    else if (r.answered)
      snprintf(text, sizeof text, "%s: the session has ended there",
               weft__addr_str(&d->dst, to, sizeof to));
    if (r.answered) r.why = text;
  }
  finish(d, &r);
}

static void on_closed(weft__path_t *path) {
  weft__dial_t *d = path->user;
  d->path = NULL;
  dial_free(d);
}

static void on_frame(weft__path_t *path,
                     weft__rbuf_t *b) { /* cannot come before the owner took the path */
  (void) path;
  (void) b;
}
static void on_writable(weft__path_t *path) {
  (void) path;
}
static void on_rma_done(weft__path_t *path, weft__rma_t *rma, int status) {
  (void) path;
  (void) rma;
  (void) status;
}

static const weft__path_cbs_t cbs = {.connected = on_connected,
                                     .frame = on_frame,
                                     .writable = on_writable,
                                     .rma_done = on_rma_done,
                                     .down = on_down,
                                     .closed = on_closed};

static void on_timeout(weft__timer_t *t) {
  weft__dial_t *d = weft__container(t, weft__dial_t, timer);
  char text[160], to[80];
  snprintf(text, sizeof text, "connect to %s: no answer in time (ETIMEDOUT)",
           weft__addr_str(&d->dst, to, sizeof to));
  weft__dial_result_t r = {.err = -ETIMEDOUT, .why = text};
  finish(d, &r);
}

int weft__dial_start(weft__crail_t *cr, const struct sockaddr_storage *dst,
                     const weft__request_t *rq, uint64_t timeout_ns, void *owner,
                     void (*done)(weft__dial_t *, const weft__dial_result_t *),
                     weft__dial_t **out) {
  weft__core_t *core = cr->core;
  uint8_t blob[WEFT__REQUEST_SIZE];
  *out = NULL;
  if (WEFT__FAULT(alloc_conn)) return -ENOMEM;
  weft__dial_t *d = calloc(1, sizeof *d);
  if (!d) return -ENOMEM;
  d->core = core;
  d->owner = owner;
  d->done = done;
  d->rq = *rq;
  d->rq.can = weft__can(weft__rail_xfer(cr->rail));
  d->dst = *dst;
  d->timer.fire = on_timeout;
  weft__request_put(blob, &d->rq);
  int err = weft__rail_connect(cr->rail, (const struct sockaddr *) dst, weft__addr_len(dst), blob,
                               sizeof blob, &cbs, d, &d->path);
  if (err) {
    free(d);
    return err;
  }
  weft__list_add(&core->dials, &d->link);
  core->ndials++;
  weft__timer_set(core, &d->timer, core->now_ns + timeout_ns);
  *out = d;
  return 0;
}

weft__path_t *weft__dial_take(weft__dial_t *d) {
  weft__path_t *path = d->path;
  d->path = NULL;
  return path;
}

void weft__dial_drop(weft__dial_t *d) {
  d->owner = NULL;
  if (d->over) return;
  d->over = true;
  weft__timer_stop(d->core, &d->timer);
  d->path->ops->close(d->path);
}
