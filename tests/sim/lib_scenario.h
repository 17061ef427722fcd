/* SPDX-License-Identifier: Apache-2.0 */
/* lib_scenario.h - what scenarios.c and liars.c share: one world, one plan, and what a run begins
 * with. */
#ifndef WEFT_TESTS_SIM_LIB_SCENARIO_H
#define WEFT_TESTS_SIM_LIB_SCENARIO_H

#include "lib_world.h"

extern world_t *w;
extern plan_t plan;

int scenario_setup(void **state); /* of the group: makes the world */
int scenario_teardown(void **state);
/* The plan: messages both ways, a few of them large. */
void scenario_start(uint64_t seed, weft__xfer_t xfer);

#endif
