/* SPDX-License-Identifier: Apache-2.0 */
/* qos.c - needs: their defaults, and setting them by name.
 *
 * Design notes
 *   - One table of needs. A need that the caller's struct is too old (too small) to hold is unknown
 *     to him: -ENOENT.
 *   - A preset sets several needs and leaves the others; what is set after it wins.
 *   - Errors are -ENOENT and -EINVAL, which equal UV_ENOENT and UV_EINVAL; the selector knows no
 *     libuv. */
#include "qos.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "units.h"
#include "weft_qos.h"

enum kind { DURATION_NS, DURATION_US, DURATION_MS, RATE, SIZE, COUNT, WORD, LIST };

struct need {
  const char *key;
  enum kind kind;
  size_t offset;
  size_t width;
  const char *const *words; /* of a WORD: the i-th is the value i, NULL ends */
  const char *expects;
};

static const char *const reliabilities[] = {"exactly-once", "at-most-once", NULL};
static const char *const acks[] = {"received", "consumed", NULL};
static const char *const cpus[] = {"auto", "sleep", "spin", NULL};
static const char *const noyes[] = {"no", "yes", NULL};

#define A_DURATION "a duration with its unit, as in 20us or 500ms"
#define A_LIST     "names separated by commas, as in verbs,tcp"

#define NEED(key, kind, field, words, expects)                                                     \
  { key, kind, offsetof(weft_qos_t, field), sizeof(((weft_qos_t *) 0)->field), words, expects }

static const struct need needs[] = {
    NEED("latency", DURATION_NS, latency_ns, NULL, A_DURATION),
    NEED("bandwidth", RATE, bandwidth, NULL, "a rate with its unit, as in 1GB/s or 10Gbit/s"),
    NEED("size", SIZE, message_size, NULL, "a size in bytes, as in 64 or 1MiB"),
    NEED("interruption", DURATION_MS, interruption_ms, NULL, A_DURATION),
    NEED("reliability", WORD, reliability, reliabilities, "exactly-once or at-most-once"),
    NEED("ack", WORD, ack, acks, "received or consumed"),
    NEED("cpu", WORD, cpu, cpus, "auto, sleep or spin"),
    NEED("spin", DURATION_US, spin_us, NULL, A_DURATION),
    NEED("strict", WORD, strict, noyes, "yes or no"),
    NEED("standby", COUNT, standby, NULL, "a number from 0 to 15"),
    NEED("require", LIST, require, NULL, A_LIST),
    NEED("forbid", LIST, forbid, NULL, A_LIST),
    NEED("bootstrap", LIST, bootstrap, NULL, A_LIST),
};

enum { NEEDS = sizeof(needs) / sizeof(needs[0]) };

enum { STANDBY_MAX = 15 }; /* an offer has at most 16 entries; one of them is in use */

/* What a preset stands for, as the keys and values a person would write. */
static const struct {
  const char *name;
  const char *settings[12]; /* key, value, ..., NULL */
} presets[] = {
    {"realtime",
     {"latency", "50us", "size", "64", "interruption", "200ms", "cpu", "spin", "spin", "50us"}},
    {"interactive", {"latency", "1ms", "size", "256", "interruption", "500ms", "cpu", "auto"}},
    {"bulk", {"latency", "0", "size", "1MiB", "interruption", "2s", "cpu", "sleep"}},
    {"background",
     {"latency", "0", "size", "64KiB", "interruption", "10s", "cpu", "sleep", "standby", "0"}},
};

/* The caller's struct may be older and smaller, or newer and larger, than ours. */
void weft_qos_init(weft_qos_t *q, size_t sz) {
  weft_qos_t defaults;

  memset(&defaults, 0, sizeof(defaults));
  defaults.size = sz;
  defaults.message_size = 64;
  defaults.interruption_ms = 1000;
  defaults.spin_us = 50;
  defaults.standby = 1;

  memset(q, 0, sz);
  memcpy(q, &defaults, sz < sizeof(defaults) ? sz : sizeof(defaults));
}

static int parse_word(const char *const *words, const char *val, uint64_t *out) {
  uint64_t i;

  for (i = 0; words[i] != NULL; i++)
    if (strcmp(words[i], val) == 0) {
      *out = i;
      return 0;
    }
  return -EINVAL;
}

/* A duration that the unit of the field cannot hold exactly is rounded up: "500us" of an
 * interruption is 1 ms, not 0, which would mean "no need". */
static int parse_duration(const char *val, uint64_t unit_ns, uint64_t *out) {
  uint64_t ns;

  if (weft__parse_duration_ns(val, &ns) != 0) return -EINVAL;
  *out = ns / unit_ns + (ns % unit_ns != 0);
  return 0;
}

static int parse_value(const struct need *need, const char *val, uint64_t *out) {
  switch (need->kind) {
  case DURATION_NS: return parse_duration(val, 1, out);
  case DURATION_US: return parse_duration(val, 1000, out);
  case DURATION_MS: return parse_duration(val, 1000000, out);
  case RATE: return weft__parse_rate(val, out);
  case SIZE:
    /* Bytes are what a size is in everybody's mind: the one number that needs no unit. */
    if (weft__parse_count(val, UINT64_MAX, out) == 0) return 0;
    return weft__parse_bytes(val, out);
  case COUNT: return weft__parse_count(val, STANDBY_MAX, out);
  case WORD: return parse_word(need->words, val, out);
  case LIST: break;
  }
  return -EINVAL;
}

static int set_need(weft_qos_t *q, const struct need *need, const char *val) {
  char *field = (char *) q + need->offset;
  uint64_t value;
  uint32_t narrow;

  if (need->kind == LIST) {
    if (weft__check_list(val) != 0) return -EINVAL;
    memset(field, 0, need->width);
    memcpy(field, val, strlen(val));
    return 0;
  }
  if (parse_value(need, val, &value) != 0) return -EINVAL;
  if (need->width == sizeof(value)) {
    memcpy(field, &value, sizeof(value));
    return 0;
  }
  if (value > UINT32_MAX) return -EINVAL;
  narrow = (uint32_t) value;
  memcpy(field, &narrow, sizeof(narrow));
  return 0;
}

static int set_preset(weft_qos_t *q, const char *name) {
  size_t i, j;

  for (i = 0; i < sizeof(presets) / sizeof(presets[0]); i++) {
    const char *const *s = presets[i].settings;
    if (strcmp(presets[i].name, name) != 0) continue;
    for (j = 0; s[j] != NULL; j += 2) {
      int err = weft_qos_set(q, s[j], s[j + 1]);
      if (err != 0 && err != -ENOENT) /* an old struct goes without a new need */
        return err;
    }
    return 0;
  }
  return -EINVAL;
}

int weft_qos_set(weft_qos_t *q, const char *key, const char *val) {
  size_t i;

  if (q == NULL || key == NULL || val == NULL) return -EINVAL;
  if (strcmp(key, "preset") == 0) return set_preset(q, val);
  for (i = 0; i < NEEDS; i++) {
    const struct need *need = &needs[i];
    if (strcmp(need->key, key) != 0) continue;
    if (need->offset + need->width > q->size) return -ENOENT;
    return set_need(q, need, val);
  }
  return -ENOENT;
}

const char *weft__qos_expects(const char *key) {
  size_t i;

  if (strcmp(key, "preset") == 0) return "realtime, interactive, bulk or background";
  for (i = 0; i < NEEDS; i++)
    if (strcmp(needs[i].key, key) == 0) return needs[i].expects;
  return NULL;
}

const char *weft__qos_key(unsigned i) {
  if (i == NEEDS) return "preset";
  return i < NEEDS ? needs[i].key : NULL;
}
