/* SPDX-License-Identifier: Apache-2.0 */
/* waitset_test.c - the lists of descriptors grow together, also where there is no memory for one of
 * them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static int reallocs, fail_at; /* the how-manieth one fails */
static void *test_realloc_(void *p, size_t n) {
  return ++reallocs == fail_at ? NULL : realloc(p, n);
}
#define realloc(p, n) test_realloc_(p, n)
#include "waitset.c"
#undef realloc

enum { LISTED = 20 };
static int fds[LISTED];
static struct fid_cq cq;

/* A queue with LISTED sockets. */
static int control(struct fid *fid, int command, void *arg) {
  struct fi_wait_pollfd *list = arg;
  uint64_t room = list->nfds;
  (void) fid;
  assert_int_equal(command, FI_GETWAIT);
  list->nfds = LISTED;
  list->change_index = 7;
  if (room < LISTED) return -FI_ETOOSMALL;
  for (int i = 0; i < LISTED; i++) list->fd[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
  return 0;
}

static void test_no_memory_for_one_list(void **state) {
  static struct fi_ops ops = {.size = sizeof ops, .control = control};
  (void) state;
  for (int i = 0; i < LISTED; i++) {
    int pair[2];
    assert_int_equal(pipe(pair), 0);
    fds[i] = pair[0];
    close(pair[1]);
  }
  cq.fid.ops = &ops;
  for (fail_at = 1; fail_at <= 3; fail_at++) {
    weft__rail_t rail = {.epfd = epoll_create1(EPOLL_CLOEXEC)};
    weft__shard_t s = {.src = SRC_SHARD, .rail = &rail, .cq = &cq};
    assert_true(rail.epfd >= 0);
    reallocs = 0;
    assert_int_equal(weft__waitset_sync(&s), -ENOMEM); /* the third: the table of descriptors */
    for (int i = 0; i < 3; i++) { /* then there is some again; each look takes the other list */
      assert_int_equal(weft__waitset_sync(&s), 0);
      assert_int_equal(s.wait.n, LISTED);
      assert_int_equal(s.wait.now[LISTED - 1].fd, fds[LISTED - 1]);
    }
    weft__waitset_fini(&s);
    free(rail.watched);
    close(rail.epfd);
  }
  for (int i = 0; i < LISTED; i++) close(fds[i]);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_memory_for_one_list)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
