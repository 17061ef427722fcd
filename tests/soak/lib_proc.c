/* SPDX-License-Identifier: Apache-2.0 */
/* lib_proc.c - a test's own process. */
#include "lib_proc.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

void die(const char *fmt, ...) {
  va_list ap;

  va_start(ap, fmt);
  fprintf(stderr, "FAILED: ");
  vfprintf(stderr, fmt, ap);
  fprintf(stderr, "\n");
  va_end(ap);
  _exit(1);
}

long rss_kib(void) {
  long size, resident = 0;
  FILE *f = fopen("/proc/self/statm", "r");

  if (f == NULL || fscanf(f, "%ld %ld", &size, &resident) != 2)
    die("/proc/self/statm cannot be read");
  fclose(f);
  return resident * (sysconf(_SC_PAGESIZE) / 1024);
}
