/* SPDX-License-Identifier: Apache-2.0 */
/* lib_scenario.c - see lib_scenario.h. */
#include "lib_scenario.h"

#include "base/log.h"

world_t *w;
plan_t plan;

int scenario_setup(void **state) {
  (void) state;
  weft__log_level = WEFT__LOG_ERROR;
  w = world_create();
  return w == NULL ? -1 : 0;
}

int scenario_teardown(void **state) {
  (void) state;
  world_destroy(w);
  return 0;
}

void scenario_start(uint64_t seed, weft__xfer_t xfer) {
  unsigned i;

  plan_basic(&plan, seed);
  for (i = 0; i < 2; i++) {
    plan_messages(&plan, i, 20, 100, 0, 50 * US);
    plan_messages(&plan, i, 2, 40000, 300 * US, 200 * US);
    plan_messages(&plan, i, 20, 9, 500 * US, 50 * US);
    plan.side[i].fin_at = 3 * MS;
    plan.link[i].lim[0].rma_max = plan.link[i].lim[1].rma_max = 16384;
    plan.link[i].lim[0].xfer = plan.link[i].lim[1].xfer = xfer;
    plan.link[i].ns_per_kib = 1000;
  }
}
