/* SPDX-License-Identifier: Apache-2.0 */
/* sim.c - seeded schedules with failures over the simulator: how many, and how many went wrong.
 *
 *   sim                  as many as fit in 45 s
 *   sim --count 1000000  so many, however long it takes (at about 10,000 a second and core: 1 min)
 *
 * Design notes
 *  - The work is done by sim_run, which stands beside this program: one process for every core,
 * each with seeds of its own. What they find is printed with the command that replays it. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib_bench.h"

enum { MAX_JOBS = 64, DEFAULT_SECONDS = 45 };

typedef struct counts {
  unsigned long long schedules, violations, faults, messages, large, tombstones, failed, events;
  double seconds;
} counts_t;

static void usage(void) {
  printf("usage: sim [--count N] [--seed N] [--jobs N] [--seconds S] [--full]\n"
         "  --count N    schedules (default: as many as fit in %d s)\n"
         "  --full       the same as --count 1000000\n"
         "  --seed N     the first one's seed (default: fresh)\n"
         "  --jobs N     processes (default: one for every core)\n",
         DEFAULT_SECONDS);
}

static unsigned long long number(const char *s) {
  char *end;
  unsigned long long v = strtoull(s, &end, 0);

  if (*end != 0 || end == s) {
    fprintf(stderr, "sim: %s is not a number\n", s);
    exit(2);
  }
  return v;
}

/* Start sim_run from the folder that this program is in. Its output comes through the pipe. */
static FILE *start(unsigned long long seed, unsigned long long count, unsigned seconds) {
  char self[4096], command[4400];
  ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
  char *slash;

  if (n < 0) bench_die("sim: cannot find my own folder: %s", strerror(errno));
  self[n] = 0;
  slash = strrchr(self, '/');
  strcpy(slash != NULL ? slash + 1 : self, "sim_run");
  if (access(self, X_OK) != 0) bench_skip("%s is not built", self);
  snprintf(command, sizeof(command), "'%s' --machine --seed %llu --count %llu --seconds %u", self,
           seed, count, seconds);
  return popen(command, "r");
}

/* The last line are the counts, what stands before it is for people. */
static void collect(FILE *f, counts_t *sum) {
  char line[1024];
  counts_t c;
  int found = 0, status;

  while (fgets(line, sizeof(line), f) != NULL) {
    if (sscanf(line, "counts %llu %llu %llu %llu %llu %llu %llu %llu %lf", &c.schedules,
               &c.violations, &c.faults, &c.messages, &c.large, &c.tombstones, &c.failed, &c.events,
               &c.seconds) == 9)
      found = 1;
    else
      fputs(line, stdout);
  }
  status = pclose(f);
  if (!found || !WIFEXITED(status))
    bench_die("sim_run did not come to its end (status 0x%x)", (unsigned) status);
  sum->schedules += c.schedules;
  sum->violations += c.violations;
  sum->faults += c.faults;
  sum->messages += c.messages;
  sum->large += c.large;
  sum->tombstones += c.tombstones;
  sum->failed += c.failed;
  sum->events += c.events;
  if (c.seconds > sum->seconds) sum->seconds = c.seconds;
}

int main(int argc, char **argv) {
  unsigned long long count = 0, seed = 0;
  unsigned jobs = (unsigned) sysconf(_SC_NPROCESSORS_ONLN), seconds = DEFAULT_SECONDS, i;
  int seeded = 0;
  FILE *f[MAX_JOBS];
  counts_t sum = {0};

  for (i = 1; i < (unsigned) argc; i++) {
    const char *a = argv[i], *v = i + 1 < (unsigned) argc ? argv[i + 1] : NULL;

    if (strcmp(a, "--full") == 0) {
      count = 1000000;
    } else if (v != NULL && strcmp(a, "--count") == 0) {
      count = number(v), i++;
    } else if (v != NULL && strcmp(a, "--seed") == 0) {
      seed = number(v), seeded = 1, i++;
    } else if (v != NULL && strcmp(a, "--jobs") == 0) {
      jobs = (unsigned) number(v), i++;
    } else if (v != NULL && strcmp(a, "--seconds") == 0) {
      seconds = (unsigned) number(v), i++;
    } else {
      usage();
      return strcmp(a, "--help") == 0 ? 0 : 2;
    }
  }
  if (jobs < 1 || jobs > MAX_JOBS) jobs = jobs < 1 ? 1 : MAX_JOBS;
  if (count != 0) seconds = 1000000;
  if (!seeded) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    seed = (unsigned long long) t.tv_sec * 1000000000u + (unsigned long long) t.tv_nsec;
  }
  printf("schedules from seed %llu on, %u processes\n", seed, jobs);
  fflush(stdout);
  for (i = 0; i < jobs; i++) {
    unsigned long long share = count == 0 ? 1000000000u : count / jobs + (i < count % jobs);

    f[i] = start(seed + i * 1000000000ull, share, seconds);
    if (f[i] == NULL) bench_die("sim: cannot start sim_run: %s", strerror(errno));
  }
  for (i = 0; i < jobs; i++) collect(f[i], &sum);
  printf("schedules %llu in %.1f s (%.0f per second), faults %llu, events %llu\n", sum.schedules,
         sum.seconds, (double) sum.schedules / sum.seconds, sum.faults, sum.events);
  printf("messages %llu, large ones %llu, answers by tombstone %llu, ends with an error %llu\n",
         sum.messages, sum.large, sum.tombstones, sum.failed);
  printf("violations %llu\n", sum.violations);
  bench_at_most("sim_violations", (double) sum.violations, "count", 0);
  return bench_end();
}
