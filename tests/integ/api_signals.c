/* SPDX-License-Identifier: Apache-2.0 */
/* api_signals.c - a program that uses Weft dies of SIGTERM as any other does, and its own handlers
 * stay. */
#include "lib_api.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t caught;
static void on_signal(int sig) {
  caught = sig;
}

static int status_of(void (*child)(void)) {
  int st = 0;
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) {
    child();
    _exit(9);
  }
  assert_true(pid > 0);
  assert_int_equal(waitpid(pid, &st, 0), pid);
  return st;
}

static void with_weft(int sig) {
  weft_t w;
  if (weft_init(NULL, &w, NULL) != 0) _exit(8);
  raise(sig);
}
static void child_term(void) {
  with_weft(SIGTERM);
}
static void child_int(void) {
  with_weft(SIGINT);
}
static void child_term_candidates(void) {
  weft_verdict_t v;
  if (weft_candidates(NULL, &v, sizeof v, 1) < 0) _exit(8);
  raise(SIGTERM);
}
static void child_own_handler(void) {
  signal(SIGTERM, on_signal);
  with_weft(SIGTERM);
  _exit(caught == SIGTERM ? 7 : 6);
}
static void child_ignores(void) {
  signal(SIGINT, SIG_IGN);
  with_weft(SIGINT);
  _exit(7);
}

static void test_sigterm_ends_with_143(void **state) {
  (void) state;
  int st = status_of(child_term);
  assert_true(WIFSIGNALED(st));
  assert_int_equal(WTERMSIG(st), SIGTERM); /* what a shell shows as 143 */
}
static void test_sigint_ends_with_130(void **state) {
  (void) state;
  int st = status_of(child_int);
  assert_true(WIFSIGNALED(st));
  assert_int_equal(WTERMSIG(st), SIGINT);
}
static void test_candidates_too(void **state) {
  (void) state;
  int st = status_of(child_term_candidates);
  assert_true(WIFSIGNALED(st));
  assert_int_equal(WTERMSIG(st), SIGTERM);
}
static void test_own_handlers_stay(void **state) {
  (void) state;
  int st = status_of(child_own_handler);
  assert_true(WIFEXITED(st));
  assert_int_equal(WEXITSTATUS(st), 7);
  st = status_of(child_ignores);
  assert_true(WIFEXITED(st));
  assert_int_equal(WEXITSTATUS(st), 7);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_sigterm_ends_with_143),
      cmocka_unit_test(test_sigint_ends_with_130),
      cmocka_unit_test(test_candidates_too),
      cmocka_unit_test(test_own_handlers_stay),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
