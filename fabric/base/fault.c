/* SPDX-License-Identifier: Apache-2.0 */
/* fault.c - the table of injection points, what is armed, and the reader of WEFT_FAULT.
 *
 * Design notes
 *   - Rules are written before weft__fault_armed is set (release) and never change while threads
 *     run, so passing a point takes no lock: one atomic increment, then a scan of at most RULES_MAX
 *     rules.
 *   - Who is held waits under a lock, for the number of releases to change.
 *   - The functions exist in every build, so that their tests do; only the macro depends on
 *     WEFT_FAULTS. */
#include "base/fault.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

enum { RULES_MAX = 32, ERRNO_MAX = 4095 };

struct rule {
  enum weft__fault_point point;
  uint64_t nth;
  int onwards; /* from the nth on, not only the nth */
  int err;     /* negative; 0: hold */
};

static const struct {
  const char *name;
  const char *help;
} points[] = {
#define XX(name, help) {#name, help},
    WEFT__FAULT_MAP(XX)
#undef XX
};

int weft__fault_armed = 1; /* until the environment has been read */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct rule rules[RULES_MAX];
static unsigned rules_count;
static uint64_t counts[WEFT__FAULT_POINTS];

static pthread_mutex_t hold_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t hold_cond = PTHREAD_COND_INITIALIZER;
static unsigned held[WEFT__FAULT_POINTS], releases;

/* One field of "point:nth:errno": copy it up to `stop` into buf, answer what follows, NULL when it
 * does not fit or the stop is missing. */
static const char *field(const char *p, const char *end, char stop, char *buf, size_t len) {
  const char *q = stop == '\0' ? end : memchr(p, stop, (size_t) (end - p));

  if (q == NULL || q == p || (size_t) (q - p) >= len) return NULL;
  memcpy(buf, p, (size_t) (q - p));
  buf[q - p] = '\0';
  return stop == '\0' ? q : q + 1;
}

static int parse_number(const char *s, uint64_t max, uint64_t *out) {
  char *end;
  unsigned long long v;

  if (*s < '0' || *s > '9') return -EINVAL;
  errno = 0;
  v = strtoull(s, &end, 10);
  if (errno != 0 || *end != '\0' || v == 0 || v > max) return -EINVAL;
  *out = v;
  return 0;
}

static int parse_errno(const char *s, int *out) {
  uint64_t number;
  int i;

  if (parse_number(s, ERRNO_MAX, &number) == 0) {
    *out = -(int) number;
    return 0;
  }
  for (i = 1; i < 256; i++) {
    const char *name = strerrorname_np(i);
    if (name != NULL && strcmp(name, s) == 0) {
      *out = -i;
      return 0;
    }
  }
  return -EINVAL;
}

static int parse_rule(const char *item, const char *end, struct rule *rule) {
  char name[32], nth[24], err[24];
  int shown = (int) (end - item);
  const char *p;
  unsigned i;

  p = field(item, end, ':', name, sizeof(name));
  if (p != NULL) p = field(p, end, ':', nth, sizeof(nth));
  if (p != NULL) p = field(p, end, '\0', err, sizeof(err));
  if (p == NULL) {
    weft__error("WEFT_FAULT: '%.*s' is not point:nth:errno", shown, item);
    return -EINVAL;
  }

  for (i = 0; i < WEFT__FAULT_POINTS; i++)
    if (strcmp(points[i].name, name) == 0) break;
  if (i == WEFT__FAULT_POINTS) {
    weft__error("WEFT_FAULT: '%.*s': there is no injection point '%s'", shown, item, name);
    return -EINVAL;
  }
  rule->point = (enum weft__fault_point) i;

  rule->onwards = nth[strlen(nth) - 1] == '+';
  if (rule->onwards) nth[strlen(nth) - 1] = '\0';
  if (parse_number(nth, UINT64_MAX, &rule->nth) != 0) {
    weft__error("WEFT_FAULT: '%.*s': '%s' is not a count from 1 on", shown, item, nth);
    return -EINVAL;
  }

  rule->err = 0;
  if (strcmp(err, "HOLD") != 0 && parse_errno(err, &rule->err) != 0) {
    weft__error("WEFT_FAULT: '%.*s': '%s' is neither an errno nor HOLD", shown, item, err);
    return -EINVAL;
  }
  return 0;
}

static int arm(const char *spec) {
  unsigned n = 0;
  const char *p;

  memset(counts, 0, sizeof(counts));
  for (p = spec; p != NULL && *p != '\0';) {
    const char *end = strchr(p, ',');
    if (end == NULL) end = p + strlen(p);
    if (n == RULES_MAX) {
      weft__error("WEFT_FAULT: more than %d faults", (int) RULES_MAX);
      goto bad;
    }
    if (parse_rule(p, end, &rules[n]) != 0) goto bad;
    n++;
    if (*end == ',' && end[1] == '\0') {
      weft__error("WEFT_FAULT: nothing follows the last comma");
      goto bad;
    }
    p = *end == ',' ? end + 1 : end;
  }
  rules_count = n;
  __atomic_store_n(&weft__fault_armed, n != 0, __ATOMIC_RELEASE);
  return 0;

bad:
  rules_count = 0;
  __atomic_store_n(&weft__fault_armed, 0, __ATOMIC_RELEASE);
  return -EINVAL;
}

static void read_environment(void) {
  const char *spec = getenv("WEFT_FAULT");

#ifndef WEFT_FAULTS
  if (spec != NULL && *spec != '\0')
    weft__warn("WEFT_FAULT=%s is ignored: this build has no injection points (-DWEFT_FAULTS=ON)",
               spec);
  spec = NULL;
#endif
  arm(spec);
}

void weft__fault_init(void) {
  pthread_once(&once, read_environment);
}

int weft__fault_set(const char *spec) {
  weft__fault_init(); /* or the environment would overwrite it later */
  return arm(spec);
}

static int hold(enum weft__fault_point point, uint64_t n) {
  unsigned before;

  weft__info("held at %s, pass %llu", points[point].name, (unsigned long long) n);
  pthread_mutex_lock(&hold_lock);
  held[point]++;
  for (before = releases; before == releases;) pthread_cond_wait(&hold_cond, &hold_lock);
  held[point]--;
  pthread_mutex_unlock(&hold_lock);
  return 0;
}

unsigned weft__fault_held(enum weft__fault_point point) {
  unsigned n;

  pthread_mutex_lock(&hold_lock);
  n = held[point];
  pthread_mutex_unlock(&hold_lock);
  return n;
}

void weft__fault_release(void) {
  pthread_mutex_lock(&hold_lock);
  releases++;
  pthread_cond_broadcast(&hold_cond);
  pthread_mutex_unlock(&hold_lock);
}

int weft__fault_hit(enum weft__fault_point point) {
  uint64_t n;
  unsigned i;

  weft__fault_init();
  if (!__atomic_load_n(&weft__fault_armed, __ATOMIC_ACQUIRE)) return 0;
  n = __atomic_add_fetch(&counts[point], 1, __ATOMIC_RELAXED);
  for (i = 0; i < rules_count; i++)
    if (rules[i].point == point && (rules[i].onwards ? n >= rules[i].nth : n == rules[i].nth)) {
      if (rules[i].err == 0) return hold(point, n);
      weft__info("injected %s at %s, pass %llu",
                 strerrorname_np(-rules[i].err) != NULL ? strerrorname_np(-rules[i].err)
                                                        : "an error",
                 points[point].name, (unsigned long long) n);
      return rules[i].err;
    }
  return 0;
}

uint64_t weft__fault_count(enum weft__fault_point point) {
  return __atomic_load_n(&counts[point], __ATOMIC_RELAXED);
}

int weft__fault_point(unsigned i, const char **name, const char **help) {
  if (i >= WEFT__FAULT_POINTS) return -ENOENT;
  if (name != NULL) *name = points[i].name;
  if (help != NULL) *help = points[i].help;
  return 0;
}
