/* SPDX-License-Identifier: Apache-2.0 */
/* sim_run.c - runs seeded schedules of two session ends and says which seed went wrong, and how.
 *
 *   sim_run                              a bounded slice with a fresh base, as CI does it
 *   sim_run --seed N [--profile NAME]    one schedule; with --trace everything that happens in it
 *   sim_run --seed N --count K           K schedules from N on
 *
 * Design notes
 *  - A schedule is its seed: the same seed gives the same trace, on every machine. Violations end
 *    in exit code 1 and the one command that replays the first.
 *  - One process is one core; tests/bench/sim runs several. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "lib_world.h"

enum { DEFAULT_COUNT = 20000, DEFAULT_SECONDS = 50, SHOWN = 10 };

static struct {
  uint64_t seed, count;
  double seconds;
  const char *profile, *self;
  bool trace, fixed, quiet, twice, machine;
} opt = {.count = 1, .seconds = 1e9};

static double now(void) {
  struct timespec t;

  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static void usage(void) {
  unsigned i;

  printf(
      "usage: sim_run [--seed N] [--count K] [--seconds S] [--profile NAME] [--trace] [--twice]\n"
      "  --seed N       first schedule (default: fresh, printed)\n"
      "  --count K      how many (default 1 with --seed, else %d)\n"
      "  --seconds S    stop after so many (default %d without --seed or --count)\n"
      "  --profile NAME only this kind:",
      DEFAULT_COUNT, DEFAULT_SECONDS);
  for (i = 0; plan_profile(i) != NULL; i++) printf(" %s", plan_profile(i));
  printf("\n  --trace        print every event\n"
         "  --twice        run each schedule twice and compare the traces\n"
         "  --machine      one line of counts at the end, for programs\n");
}

static uint64_t number(const char *s) {
  char *end;
  uint64_t v;

  errno = 0;
  v = strtoull(s, &end, 0);
  if (errno != 0 || *end != 0 || end == s) {
    fprintf(stderr, "sim_run: %s is not a number\n", s);
    exit(2);
  }
  return v;
}

static void parse(int argc, char **argv) {
  bool counted = false;
  int i;

  opt.self = argv[0];
  for (i = 1; i < argc; i++) {
    const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : NULL;

    if (strcmp(a, "--trace") == 0)
      opt.trace = true;
    else if (strcmp(a, "--twice") == 0)
      opt.twice = true;
    else if (strcmp(a, "--machine") == 0)
      opt.machine = true;
    else if (strcmp(a, "--help") == 0) {
      usage();
      exit(0);
    } else if (v == NULL) {
      usage();
      exit(2);
    } else {
      if (strcmp(a, "--seed") == 0) {
        opt.seed = number(v);
        opt.fixed = true;
      } else if (strcmp(a, "--count") == 0) {
        opt.count = number(v);
        counted = true;
      } else if (strcmp(a, "--seconds") == 0) {
        opt.seconds = (double) number(v);
      } else if (strcmp(a, "--profile") == 0) {
        opt.profile = v;
      } else {
        usage();
        exit(2);
      }
      i++;
    }
  }
  if (!opt.fixed) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    opt.seed = ((uint64_t) t.tv_sec * 1000 + (uint64_t) t.tv_nsec / 1000000) * 1000000;
    if (!counted) {
      opt.count = DEFAULT_COUNT;
      if (opt.seconds > 1e8) opt.seconds = DEFAULT_SECONDS;
    }
  }
}

static void replay(uint64_t seed) {
  printf("  replay: %s --seed %llu%s%s --trace\n", opt.self, (unsigned long long) seed,
         opt.profile != NULL ? " --profile " : "", opt.profile != NULL ? opt.profile : "");
}

int main(int argc, char **argv) {
  static plan_t plan;
  uint64_t i, bad = 0, ran = 0, hash = 0;
  double start;
  world_t *w;

  parse(argc, argv);
  weft__log_level = WEFT__LOG_ERROR; /* a liar's lies are no news here */
  w = world_create();
  if (w == NULL) return 2;
  world_trace(w, opt.trace);
  if (!opt.machine && !opt.trace)
    printf("schedules from seed %llu on\n", (unsigned long long) opt.seed);
  start = now();
  for (i = 0; i < opt.count; i++) {
    uint64_t seed = opt.seed + i;
    unsigned violations;

    if (!plan_draw(&plan, seed, opt.profile)) {
      usage();
      return 2;
    }
    violations = world_run(w, &plan);
    ran++;
    hash ^= weft__sim_hash(w->sim) * (2 * i + 1);
    if (opt.twice) {
      uint64_t first = weft__sim_hash(w->sim);

      world_run(w, &plan);
      if (weft__sim_hash(w->sim) != first) {
        printf("seed %llu (%s): two runs differ\n", (unsigned long long) seed, plan.name);
        bad++;
      }
    }
    if (violations != 0 && bad++ < SHOWN) {
      printf("seed %llu (%s): %s\n", (unsigned long long) seed, plan.name, w->first);
      replay(seed);
      fflush(stdout);
    }
    if (i % 64 == 0 && now() - start > opt.seconds) break;
  }
  if (opt.machine) {
    const world_stats_t *s = &w->st;
    printf("counts %llu %llu %llu %llu %llu %llu %llu %llu %.3f\n", (unsigned long long) ran,
           (unsigned long long) bad, (unsigned long long) s->faults,
           (unsigned long long) s->messages, (unsigned long long) s->large,
           (unsigned long long) s->tombstones, (unsigned long long) s->failed,
           (unsigned long long) s->events, now() - start);
  } else {
    const world_stats_t *s = &w->st;
    double t = now() - start;
    printf(
        "%llu schedules in %.1f s (%.0f/s), %llu faults, %llu messages (%llu large, %llu bytes), "
        "%llu refused, %llu cancelled, %llu tombstones, %llu ends with an error, %llu events, "
        "trace %016llx\n",
        (unsigned long long) ran, t, (double) ran / t, (unsigned long long) s->faults,
        (unsigned long long) s->messages, (unsigned long long) s->large,
        (unsigned long long) s->bytes, (unsigned long long) s->refused,
        (unsigned long long) s->canceled, (unsigned long long) s->tombstones,
        (unsigned long long) s->failed, (unsigned long long) s->events, (unsigned long long) hash);
    printf("schedules %llu violations %llu\n", (unsigned long long) ran, (unsigned long long) bad);
  }
  world_destroy(w);
  return bad == 0 ? 0 : 1;
}
