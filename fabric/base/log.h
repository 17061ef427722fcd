/* SPDX-License-Identifier: Apache-2.0 */
/* log.h - one line of log text, cheap when nobody listens.
 *
 *   weft__warn("verbs %s: port %u is down", name, port);
 *
 * Design notes
 *   - A level that is off costs one relaxed load and a branch; its arguments are not evaluated.
 *     Still, never log on the hot path: formatting and the hook cost microseconds.
 *   - Any thread, also in a forked child. errno is left as it was. The hook runs without any lock
 *     of ours held, so it may log or call weft_log_set itself.
 *   - A line names the object and the exact cause, has no newline, and is cut at WEFT__LOG_LINE
 *     bytes. */
#ifndef WEFT_BASE_LOG_H
#define WEFT_BASE_LOG_H

#include <stdarg.h>

/* The same values as weft.h's WEFT_LOG_*, for files that do not include it. */
enum { WEFT__LOG_ERROR = 0, WEFT__LOG_WARN = 1, WEFT__LOG_INFO = 2, WEFT__LOG_DEBUG = 3 };

enum { WEFT__LOG_LINE = 1024 };

/* Lines above this level are dropped. Until the environment has been read it lets everything
 * through to weft__log_write, which reads it. */
extern int weft__log_level;

#define weft__log_on(level) ((level) <= __atomic_load_n(&weft__log_level, __ATOMIC_RELAXED))

#define weft__log(level, ...)                                                                      \
  do {                                                                                             \
    if (__builtin_expect(weft__log_on(level), 0)) weft__log_write((level), __VA_ARGS__);           \
  } while (0)

#define weft__error(...) weft__log(WEFT__LOG_ERROR, __VA_ARGS__)
#define weft__warn(...)  weft__log(WEFT__LOG_WARN, __VA_ARGS__)
#define weft__info(...)  weft__log(WEFT__LOG_INFO, __VA_ARGS__)
#define weft__debug(...) weft__log(WEFT__LOG_DEBUG, __VA_ARGS__)

/* Behind the macros; checks the level again. */
void weft__log_write(int level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* "error", "warn", "info", "debug"; "?" for another number. Static storage. */
const char *weft__log_level_name(int level);

#endif
