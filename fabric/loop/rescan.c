/* SPDX-License-Identifier: Apache-2.0 */
/* rescan.c - after a change of the network: what was lost is tried again at once, what is new is
 * found and used.
 *
 * Design notes
 *  - Changes come in bursts: one look at the machine is under way at most, and one more follows
 *    when something happened meanwhile. It runs on the worker; whatever was open before needs no
 *    look and is tried at once.
 *  - Connecting ends plan their routes anew, listeners open what a peer could now use. */
#include <stdio.h>
#include <stdlib.h>

#include "loop/conn.h"

typedef struct rescan {
  weft__job_t job;
  weft__core_t *core;
  weft__cands_t *cands;
  char providers[WEFT_LIST_MAX], devices[WEFT_LIST_MAX];
} rescan_t;

static void rescan_run(weft__job_t *job) {
  rescan_t *s = weft__container(job, rescan_t, job);
  int err;
  s->cands = weft__cands_get(s->providers, s->devices, 0, &err);
}

static void rescan_done(weft__job_t *job) {
  rescan_t *s = weft__container(job, rescan_t, job);
  weft__core_t *core = s->core;
  if (s->cands) {
    weft__cands_unref(core->cands);
    core->cands = s->cands;
    weft__routes_retry(core, true);
    weft__listeners_retry(core);
  }
  free(s);
  core->rescanning = false;
  if (core->rescan_again) weft__rescan(core);
}

void weft__rescan(weft__core_t *core) {
  if (core->state != WEFT__C_OPEN) return;
  weft__routes_retry(core, false);
  core->rescan_again = core->rescanning;
  if (core->rescanning) return;
  rescan_t *s = calloc(1, sizeof *s);
  if (!s) return;
  s->job.run = rescan_run;
  s->job.done = rescan_done;
  s->core = core;
  snprintf(s->providers, sizeof s->providers, "%s", core->opts.providers);
  snprintf(s->devices, sizeof s->devices, "%s", core->opts.devices);
  core->rescanning = weft__work(core, &s->job) == 0;
  if (!core->rescanning) free(s);
}
