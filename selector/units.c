/* SPDX-License-Identifier: Apache-2.0 */
/* units.c - values as people write them, and back to text. */
#include "units.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "weft_qos.h"

struct unit {
  const char *name;
  uint64_t scale;
};

static const struct unit durations[] = {
    {"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}, {"min", UINT64_C(60000000000)},
    {NULL, 0},
};

static const struct unit sizes[] = {
    {"B", 1},
    {"kB", 1000},
    {"KB", 1000},
    {"KiB", UINT64_C(1) << 10},
    {"kiB", UINT64_C(1) << 10},
    {"MB", 1000000},
    {"MiB", UINT64_C(1) << 20},
    {"GB", 1000000000},
    {"GiB", UINT64_C(1) << 30},
    {"TB", UINT64_C(1000000000000)},
    {"TiB", UINT64_C(1) << 40},
    {NULL, 0},
};

/* Bits, in bytes. */
static const struct unit bit_rates[] = {
    {"kbit", 125}, {"Kbit", 125}, {"Mbit", 125000}, {"Gbit", 125000000}, {NULL, 0},
};

/* "12.34" times scale, cut to an integer. *rest is what follows the number. Digits beyond the 18th
 * after the point are below every unit's resolution: they are read and dropped. */
static int parse_decimal(const char *s, const char **rest, uint64_t *whole, uint64_t *frac,
                         uint64_t *frac_scale) {
  unsigned digits;

  if (*s < '0' || *s > '9') return -EINVAL;
  *whole = 0;
  for (; *s >= '0' && *s <= '9'; s++)
    if (__builtin_mul_overflow(*whole, (uint64_t) 10, whole) ||
        __builtin_add_overflow(*whole, (uint64_t) (*s - '0'), whole))
      return -EINVAL;
  *frac = 0;
  *frac_scale = 1;
  if (*s == '.') {
    s++;
    if (*s < '0' || *s > '9') return -EINVAL;
    for (digits = 0; *s >= '0' && *s <= '9'; s++, digits++)
      if (digits < 18) {
        *frac = *frac * 10 + (uint64_t) (*s - '0');
        *frac_scale *= 10;
      }
  }
  *rest = s;
  return 0;
}

static const struct unit *find_unit(const struct unit *units, const char *s, size_t len) {
  for (; units->name != NULL; units++)
    if (strlen(units->name) == len && memcmp(units->name, s, len) == 0) return units;
  return NULL;
}

/* `more` are units beside `units`, NULL for none; `tail` may follow the unit, NULL for nothing. */
static int parse(const char *s, const struct unit *units, const struct unit *more, const char *tail,
                 uint64_t *out) {
  uint64_t whole, frac, frac_scale, value;
  const struct unit *unit;
  const char *rest;
  size_t len;

  if (s == NULL || parse_decimal(s, &rest, &whole, &frac, &frac_scale) != 0) return -EINVAL;
  if (*rest == '\0') {
    if (whole != 0 || frac != 0) return -EINVAL;
    *out = 0;
    return 0;
  }
  len = strlen(rest);
  if (tail != NULL && len > strlen(tail) && strcmp(rest + len - strlen(tail), tail) == 0)
    len -= strlen(tail);
  unit = find_unit(units, rest, len);
  if (unit == NULL && more != NULL) unit = find_unit(more, rest, len);
  if (unit == NULL) return -EINVAL;
  frac = (uint64_t) ((unsigned __int128) frac * unit->scale / frac_scale);
  if (__builtin_mul_overflow(whole, unit->scale, &value) ||
      __builtin_add_overflow(value, frac, &value))
    return -EINVAL;
  *out = value;
  return 0;
}

int weft__parse_duration_ns(const char *s, uint64_t *out) {
  return parse(s, durations, NULL, NULL, out);
}

int weft__parse_bytes(const char *s, uint64_t *out) {
  return parse(s, sizes, NULL, NULL, out);
}

int weft__parse_rate(const char *s, uint64_t *out) {
  return parse(s, sizes, bit_rates, "/s", out);
}

int weft__parse_count(const char *s, uint64_t max, uint64_t *out) {
  uint64_t whole, frac, frac_scale;
  const char *rest;

  if (s == NULL || strchr(s, '.') != NULL ||
      parse_decimal(s, &rest, &whole, &frac, &frac_scale) != 0)
    return -EINVAL;
  if (*rest != '\0' || whole > max) return -EINVAL;
  *out = whole;
  return 0;
}

int weft__check_list(const char *s) {
  const char *p;

  if (s == NULL || strlen(s) >= WEFT_LIST_MAX) return -EINVAL;
  if (*s == '\0') return 0;
  for (p = s; *p != '\0'; p++) {
    if (*p == ',') {
      if (p == s || p[1] == ',' || p[1] == '\0') return -EINVAL;
    } else if (*p <= ' ' || *p > '~') {
      return -EINVAL;
    }
  }
  return 0;
}

int weft__list_has(const char *list, const char *name) {
  size_t len = strlen(name);
  const char *p = list;

  while (*p != '\0') {
    size_t item = strcspn(p, ",");
    if (item == len && memcmp(p, name, len) == 0) return 1;
    p += item;
    if (*p == ',') p++;
  }
  return 0;
}

int weft__list_has_provider(const char *list, const char *provider) {
  return weft__list_has(list, provider) ||
         (strcmp(provider, "ksock") == 0 && weft__list_has(list, "tcp"));
}

/* Three significant digits: "1.25 GB/s", "30.1 us", "125 us". */
static char *format(uint64_t value, const struct unit *units, char *buf, size_t len) {
  const struct unit *unit = units;
  double v;

  while (unit[1].name != NULL && value >= unit[1].scale) unit++;
  v = (double) value / (double) unit->scale;
  snprintf(buf, len, v < 999.5 ? "%.3g %s" : "%.0f %s", v, unit->name);
  return buf;
}

char *weft__format_duration(uint64_t ns, char *buf, size_t len) {
  static const struct unit shown[] = {
      {"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}, {NULL, 0}};
  return format(ns, shown, buf, len);
}

char *weft__format_bytes(uint64_t bytes, char *buf, size_t len) {
  static const struct unit shown[] = {{"B", 1},
                                      {"KiB", UINT64_C(1) << 10},
                                      {"MiB", UINT64_C(1) << 20},
                                      {"GiB", UINT64_C(1) << 30},
                                      {"TiB", UINT64_C(1) << 40},
                                      {NULL, 0}};
  return format(bytes, shown, buf, len);
}

char *weft__format_rate(uint64_t bytes_per_s, char *buf, size_t len) {
  static const struct unit shown[] = {
      {"B/s", 1}, {"kB/s", 1000}, {"MB/s", 1000000}, {"GB/s", 1000000000}, {NULL, 0}};
  return format(bytes_per_s, shown, buf, len);
}
