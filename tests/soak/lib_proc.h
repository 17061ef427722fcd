/* SPDX-License-Identifier: Apache-2.0 */
/* lib_proc.h - what tests that watch their own process share: its memory, and an end with a reason.
 */
#ifndef WEFT_LIB_PROC_H
#define WEFT_LIB_PROC_H

#ifdef __SANITIZE_ADDRESS__
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

/* "FAILED: " and the sentence; exit code 1, and nothing is tidied up. */
__attribute__((format(printf, 1, 2), noreturn)) void die(const char *fmt, ...);
/* What is resident now. */
long rss_kib(void);

#endif
