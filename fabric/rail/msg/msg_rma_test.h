/* SPDX-License-Identifier: Apache-2.0 */
/* msg_rma_test.h - what the tests of RMA share: two ends of a path, and memory at each. */
#ifndef WEFT_RAIL_MSG_RMA_TEST_H
#define WEFT_RAIL_MSG_RMA_TEST_H

#include "msg_test.h"

static pair_t t;
static uint8_t *source, *target;
enum { SIZE = 4 << 20 };

static int up(void **state) {
  (void) state;
  pair_rails(&t, "127.0.0.1");
  pair_connect(&t);
  source = malloc(SIZE);
  target = calloc(1, SIZE);
  fill(source, SIZE, 42);
  return 0;
}

static int down(void **state) {
  (void) state;
  pair_close(&t);
  free(source);
  free(target);
  return 0;
}

#endif
