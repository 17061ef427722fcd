/* SPDX-License-Identifier: Apache-2.0 */
/* log.c - the log hook, its level, and stderr when there is no hook.
 *
 * Design notes
 *   - The lock guards the pair {cb, arg} alone and is never held while the hook runs. It is held
 *     across fork, so that a child of a threaded program can log.
 *   - WEFT_LOG is read once, at the first line or the first weft_log_set, whichever comes first. */
#include "base/log.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "weft.h"

_Static_assert((int) WEFT__LOG_ERROR == (int) WEFT_LOG_ERROR, "levels differ from weft.h");
_Static_assert((int) WEFT__LOG_WARN == (int) WEFT_LOG_WARN, "levels differ from weft.h");
_Static_assert((int) WEFT__LOG_INFO == (int) WEFT_LOG_INFO, "levels differ from weft.h");
_Static_assert((int) WEFT__LOG_DEBUG == (int) WEFT_LOG_DEBUG, "levels differ from weft.h");

int weft__log_level = INT_MAX;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static weft_log_cb hook_cb;
static void *hook_arg;

static void before_fork(void) {
  pthread_mutex_lock(&lock);
}

static void after_fork(void) {
  pthread_mutex_unlock(&lock);
}

static void emit(int level, const char *line) {
  weft_log_cb cb;
  void *arg;

  pthread_mutex_lock(&lock);
  cb = hook_cb;
  arg = hook_arg;
  pthread_mutex_unlock(&lock);

  if (cb != NULL)
    cb(arg, level, line);
  else
    fprintf(stderr, "weft %s: %s\n", weft__log_level_name(level), line);
}

/* The hook may already stand (weft_log_set calls this before it sets its own), so complaints go
 * through emit(). */
static void read_environment(void) {
  const char *text = getenv("WEFT_LOG");
  int level = WEFT__LOG_WARN;
  int bad = 0;

  pthread_atfork(before_fork, after_fork, after_fork);
  if (text != NULL && *text != '\0') {
    for (level = 0; level <= WEFT__LOG_DEBUG; level++)
      if (strcmp(text, level_names[level]) == 0) break;
    if (level > WEFT__LOG_DEBUG) {
      bad = 1;
      level = WEFT__LOG_WARN;
    }
  }
  __atomic_store_n(&weft__log_level, level, __ATOMIC_RELAXED);
  if (bad) {
    char line[160];
    snprintf(line, sizeof(line), "WEFT_LOG=%.60s: not one of error, warn, info, debug; using warn",
             text);
    emit(WEFT__LOG_WARN, line);
  }
}

const char *weft__log_level_name(int level) {
  if (level < WEFT__LOG_ERROR || level > WEFT__LOG_DEBUG) return "?";
  return level_names[level];
}

void weft__log_write(int level, const char *fmt, ...) {
  char line[WEFT__LOG_LINE];
  int saved = errno;
  va_list ap;
  int n;

  pthread_once(&once, read_environment);
  if (!weft__log_on(level)) return;

  errno = saved; /* for %m */
  va_start(ap, fmt);
  n = vsnprintf(line, sizeof(line), fmt, ap);
  va_end(ap);
  if (n >= (int) sizeof(line)) memcpy(line + sizeof(line) - 4, "...", 4);
  emit(level, n < 0 ? fmt : line);
  errno = saved;
}

void weft_log_set(int level, weft_log_cb cb, void *arg) {
  if (level < WEFT__LOG_ERROR) level = WEFT__LOG_ERROR;
  if (level > WEFT__LOG_DEBUG) level = WEFT__LOG_DEBUG;

  pthread_mutex_lock(&lock);
  hook_cb = cb;
  hook_arg = arg;
  pthread_mutex_unlock(&lock);

  /* The environment must not overwrite what is set here, so it goes first. */
  pthread_once(&once, read_environment);
  __atomic_store_n(&weft__log_level, level, __ATOMIC_RELAXED);
}
