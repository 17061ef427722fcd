/* SPDX-License-Identifier: Apache-2.0
 * The smallest program of a user, in C.
 */
#include <weft.h>
#include <stdio.h>

int main(void) {
  puts(weft_version());
  return 0;
}
