// SPDX-License-Identifier: Apache-2.0
// The smallest program of a user, in C++: weft.h must compile, and its functions must have C names.
#include <weft.h>
#include <cstdio>

int main() {
  std::puts(weft_version());
  return 0;
}
