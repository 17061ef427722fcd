/* SPDX-License-Identifier: Apache-2.0 */
/* fork.c - a forked child must not touch its parent's connections.
 *
 * Design notes
 *  - The child shares epoll sets and sockets with the parent: one epoll_ctl or one shutdown() there
 *    breaks the parent. So every entry compares its context's generation with the process's, and a
 *    stranger gets WEFT_EFORK.
 *  - Closing in the child is local: the handle is the user's again, nothing is told to anybody, and
 *    because no loop turns for it there, the callback is made at once.
 *  - A context that the child itself starts is as good as any. */
#include <pthread.h>

#include "loop/rails.h"

uint32_t weft__fork_gen = 1;

static void in_child(void) {
  weft__fork_gen++;
  weft__cands_forked();
}

static void once(void) {
  pthread_atfork(NULL, NULL, in_child);
}

void weft__fork_init(void) {
  static pthread_once_t done = PTHREAD_ONCE_INIT;
  pthread_once(&done, once);
}
