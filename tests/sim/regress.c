/* SPDX-License-Identifier: Apache-2.0 */
/* regress.c - schedules that once went wrong, run again; and every kind of schedule run twice.
 *
 * Design notes
 *  - A seed keeps its meaning only while plans are drawn as they are: what it once showed has a
 *    lasting name in scenarios.c. These are the cheap second net.
 *  - The same seed must give the same trace: without that no violation could be replayed. */
#include "lib_world.h"

#include <stdio.h>

#include "base/log.h"

static const struct {
  uint64_t seed;
  const char *profile, *what;
} seeds[] = {
    {13, "calm", "data before the accepting end's own hello"},
    {68, "fragments", "writes beyond the sender's own limit"},
    {1978, "fragments", "an acknowledgement that overtook a resume's answer"},
    {2276, "fragments", "clear-to-sends asked for again on another path"},
    {8758, "fragments", "a late clear-to-send for what had arrived"},
    {1120, "amo", "the end lost when following the peer"},
    {1230, "amo", "the end sent twice"},
    {5415, "amo", "a destination given back while it could be written to"},
    {2282501, "amo", "an orderly end known by tombstone only"},
    {2068972, "stall", "paths judged by what had left before a stall"},
    {4079255, "stall", "a connect that a stall delayed"},
    {1018874, "users", "a tombstone that answered for unfinished messages"},
    {4845660, "liar", "a tolerance of an hour"},
    {17, "credits", "a goodbye that waited for credits"},
    {288039, "lonely", "round trips longer than a quarter of the tolerance"},
    {10161973, "chaos", "dead paths that filled a session"},
    {1795387220459016613u, "chaos", "a better path that was asked for ever and never moved to"},
    {1795387226658004675u, "lost", "the same with a third path"},
    {1795389267202161694u, "stall",
     "a path found dead before the connecting end knew that it had it"},
    {1795391373137441912u, "stall", "the same right after a stall of all paths"},
    {1795959930113005765u, "users", "an abort before there was memory for a session"},
};

static unsigned twice(world_t *w, uint64_t seed, const char *profile, const char *what) {
  static plan_t plan;
  uint64_t hash;

  if (!plan_draw(&plan, seed, profile)) {
    printf("no such profile: %s\n", profile);
    return 1;
  }
  if (world_run(w, &plan) != 0) {
    printf("seed %llu (%s; %s): %s\n", (unsigned long long) seed, profile, what, w->first);
    return 1;
  }
  hash = weft__sim_hash(w->sim);
  world_run(w, &plan);
  if (weft__sim_hash(w->sim) == hash) return 0;
  printf("seed %llu (%s): two runs differ\n", (unsigned long long) seed, profile);
  return 1;
}

int main(void) {
  unsigned i, bad = 0, ran = 0;
  uint64_t seed;
  world_t *w;

  weft__log_level = WEFT__LOG_ERROR;
  w = world_create();
  if (w == NULL) return 2;
  for (i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++, ran++)
    bad += twice(w, seeds[i].seed, seeds[i].profile, seeds[i].what);
  for (i = 0; plan_profile(i) != NULL; i++)
    for (seed = 1; seed <= 25; seed++, ran++)
      bad += twice(w, seed, plan_profile(i), "the first of their kind");
  printf("schedules %u violations %u\n", ran, bad);
  world_destroy(w);
  return bad != 0;
}
