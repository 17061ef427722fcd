/* SPDX-License-Identifier: Apache-2.0 */
/* lib_skip.h - "not supported here", from inside a program of cmocka: a counted skip, never a pass.
 *
 * cmocka answers 0 whether a case was skipped or not; tests/run.sh counts the line that this
 * prints. A skip() of cmocka anywhere else fails tests/integ/skips_counted.sh. Include it after
 * cmocka.h. */
#ifndef WEFT_TESTS_LIB_SKIP_H
#define WEFT_TESTS_LIB_SKIP_H

#include <errno.h>
#include <stdio.h>

/* From the case's own function, whose name is the case's. Does not return. */
#define skip_case(why)                                                                             \
  do {                                                                                             \
    printf("SKIP: %s.%s: %s\n", program_invocation_short_name, __func__, (why));                   \
    fflush(stdout);                                                                                \
    skip();                                                                                        \
  } while (0)

#endif
