/* SPDX-License-Identifier: Apache-2.0 */
/* lib_malloc.c - makes the nth allocation of the program fail.
 *
 * Design notes
 *  - malloc and calloc are defined here over glibc's own, so the library under test needs no
 *    change. A sanitizer brings its own malloc: there nothing ever fails. */
#include "lib_world.h"

#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OWN_MALLOC 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define OWN_MALLOC 0
#endif
#endif
#if !defined(OWN_MALLOC) && defined(__GLIBC__)
#define OWN_MALLOC 1
#endif

static unsigned countdown, failures;

void malloc_fail_at(unsigned nth) {
  countdown = nth;
  failures = 0;
}

unsigned malloc_failures(void) {
  return failures;
}

#if OWN_MALLOC
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);

static bool fails(void) {
  if (countdown == 0 || --countdown != 0) return false;
  failures++;
  return true;
}

void *malloc(size_t n) {
  return __builtin_expect(countdown != 0, 0) && fails() ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size) {
  return __builtin_expect(countdown != 0, 0) && fails() ? NULL : __libc_calloc(n, size);
}
#endif
