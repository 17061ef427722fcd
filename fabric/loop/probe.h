/* SPDX-License-Identifier: Apache-2.0 */
/* probe.h - what sits at an address that did not answer as Weft does? A plain TCP connection finds
 * out, so that the user reads "an HTTP server" and not "timed out". Never used where a Weft peer
 * answered. */
#ifndef WEFT_LOOP_PROBE_H
#define WEFT_LOOP_PROBE_H

#include "loop/loop.h"

typedef struct weft__probe weft__probe_t;

/* err: WEFT_ENOTWEFT (something answered: text shows what), UV_ECONNREFUSED and other failures of
 * connect, or UV_ETIMEDOUT (it takes connections and says nothing). Once, unless dropped. */
typedef void (*weft__probe_cb)(void *owner, int err, const char *text);
weft__probe_t *weft__probe_start(weft__core_t *, const struct sockaddr_storage *dst,
                                 uint64_t timeout_ns, void *owner, weft__probe_cb);
void weft__probe_drop(weft__probe_t *);

#endif
