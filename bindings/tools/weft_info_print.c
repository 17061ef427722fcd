/* SPDX-License-Identifier: Apache-2.0 */
/* weft_info_print.c - tables and figures for people. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weft_info.h"

void *info_alloc(void *old, size_t size) {
  void *p = realloc(old, size);

  if (p == NULL) {
    fprintf(stderr, "weft_info: out of memory\n");
    exit(EXIT_NONE);
  }
  return p;
}

/* ---- Figures ---- */

static const char *scaled(uint64_t value, double step, const char *const *units, char *buf,
                          size_t len) {
  double v = (double) value;
  unsigned i = 0;

  if (value == 0) return "-";
  while (v >= step - 0.5 && units[i + 1] != NULL) {
    v /= step;
    i++;
  }
  snprintf(buf, len, v < 999.5 ? "%.3g %s" : "%.0f %s", v, units[i]);
  return buf;
}

const char *info_duration(uint64_t ns, char *buf, size_t len) {
  static const char *const units[] = {"ns", "us", "ms", "s", NULL};
  return scaled(ns, 1000, units, buf, len);
}

const char *info_rate(uint64_t bytes_per_s, char *buf, size_t len) {
  static const char *const units[] = {"B/s", "kB/s", "MB/s", "GB/s", NULL};
  return scaled(bytes_per_s, 1000, units, buf, len);
}

const char *info_speed(uint64_t bits_per_s, char *buf, size_t len) {
  static const char *const units[] = {"b/s", "kb/s", "Mb/s", "Gb/s", NULL};
  return scaled(bits_per_s, 1000, units, buf, len);
}

const char *info_bytes(uint64_t n, char *buf, size_t len) {
  static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", NULL};
  if (n == UINT64_MAX) return "none";
  return scaled(n, 1024, units, buf, len);
}

/* ---- Tables ---- */

void info_table_init(info_table_t *t, const char *const *head) {
  memset(t, 0, sizeof(*t));
  while (head[t->columns] != NULL) {
    t->head[t->columns] = head[t->columns];
    t->columns++;
  }
}

void info_cell(info_table_t *t, const char *text) {
  size_t len;

  if (*text == '\0') text = "-";
  len = strlen(text) + 1;
  t->cell = info_alloc(t->cell, (t->cells + 1) * sizeof(*t->cell));
  t->cell[t->cells] = info_alloc(NULL, len);
  memcpy(t->cell[t->cells++], text, len);
}

/* Bytes that continue a character of UTF-8 take no room on the screen. */
static size_t width_of(const char *s) {
  size_t n = 0;

  for (; *s != '\0'; s++) n += ((unsigned char) *s & 0xc0) != 0x80;
  return n;
}

static void put_row(const info_table_t *t, const char *const *cell, const size_t *width) {
  unsigned c;

  for (c = 0; c + 1 < t->columns; c++)
    printf("%s%*s", cell[c], (int) (width[c] - width_of(cell[c]) + 2), "");
  printf("%s\n", cell[c]);
}

void info_table_print(info_table_t *t) {
  size_t width[INFO_COLUMNS];
  unsigned c, i;

  for (c = 0; c < t->columns; c++) width[c] = width_of(t->head[c]);
  for (i = 0; i < t->cells; i++)
    if (width_of(t->cell[i]) > width[i % t->columns]) width[i % t->columns] = width_of(t->cell[i]);
  put_row(t, t->head, width);
  for (i = 0; i + t->columns <= t->cells; i += t->columns)
    put_row(t, (const char *const *) t->cell + i, width);
  for (i = 0; i < t->cells; i++) free(t->cell[i]);
  free(t->cell);
  t->cell = NULL;
}

void info_wrapped(const char *s, size_t indent, size_t width) {
  size_t column = indent;

  while (*s != '\0') {
    size_t word = strcspn(s, " ");
    if (column > indent && column + 1 + word > width) {
      printf("\n%*s", (int) indent, "");
      column = indent;
    } else if (column > indent) {
      putchar(' ');
      column++;
    }
    printf("%.*s", (int) word, s);
    column += word;
    s += word;
    s += strspn(s, " ");
  }
  putchar('\n');
}
