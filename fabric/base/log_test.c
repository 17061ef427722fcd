/* SPDX-License-Identifier: Apache-2.0 */
/* log_test.c - levels, the hook, the environment, threads, forked children. */
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "weft.h"

static char last_line[WEFT__LOG_LINE + 1];
static int last_level;
static unsigned lines;

static void keep(void *arg, int level, const char *line) {
  assert_ptr_equal(arg, last_line);
  snprintf(last_line, sizeof(last_line), "%s", line);
  last_level = level;
  __atomic_add_fetch(&lines, 1, __ATOMIC_RELAXED);
}

static int setup(void **state) {
  (void) state;
  lines = 0;
  last_level = -1;
  weft_log_set(WEFT_LOG_INFO, keep, last_line);
  return 0;
}

static void lines_up_to_the_level_reach_the_hook(void **state) {
  (void) state;
  weft__info("%s rxe%d: port %u is down", "verbs", 0, 1u);
  assert_int_equal(lines, 1);
  assert_int_equal(last_level, WEFT_LOG_INFO);
  assert_string_equal(last_line, "verbs rxe0: port 1 is down");
  weft__debug("not this one");
  assert_int_equal(lines, 1);
  weft__error("this one");
  assert_int_equal(last_level, WEFT_LOG_ERROR);
}

static int evaluated(void) {
  fail_msg("an argument of a line that is off was evaluated");
  return 0;
}

static void arguments_of_lines_that_are_off_are_not_evaluated(void **state) {
  (void) state;
  weft__debug("%d", evaluated());
  assert_false(weft__log_on(WEFT__LOG_DEBUG));
}

static void errno_survives_and_can_be_printed(void **state) {
  (void) state;
  errno = ENOSPC;
  weft__warn("disk: %m");
  assert_int_equal(errno, ENOSPC);
  assert_string_equal(last_line, "disk: No space left on device");
}

static void long_lines_are_cut(void **state) {
  char big[3 * WEFT__LOG_LINE];
  (void) state;
  memset(big, 'x', sizeof(big) - 1);
  big[sizeof(big) - 1] = '\0';
  weft__warn("%s", big);
  assert_int_equal(strlen(last_line), WEFT__LOG_LINE - 1);
  assert_string_equal(last_line + WEFT__LOG_LINE - 4, "...");
}

static void levels_are_clamped(void **state) {
  (void) state;
  weft_log_set(99, keep, last_line);
  weft__debug("on");
  assert_int_equal(lines, 1);
  weft_log_set(-1, keep, last_line);
  weft__warn("off");
  assert_int_equal(lines, 1);
  weft__error("on");
  assert_int_equal(lines, 2);
  assert_string_equal(weft__log_level_name(WEFT_LOG_WARN), "warn");
  assert_string_equal(weft__log_level_name(7), "?");
}

static void chatty(void *arg, int level, const char *line) {
  (void) arg;
  (void) level;
  if (strcmp(line, "outer") == 0) {
    weft__warn("inner");
    weft_log_set(WEFT_LOG_INFO, keep, last_line);
  } else {
    lines++;
  }
}

static void the_hook_may_log_and_replace_itself(void **state) {
  (void) state;
  weft_log_set(WEFT_LOG_INFO, chatty, NULL);
  weft__warn("outer");
  assert_int_equal(lines, 1);
  weft__warn("after");
  assert_string_equal(last_line, "after");
}

static void count(void *arg, int level, const char *line) {
  (void) arg;
  (void) level;
  if (strlen(line) == 21 && strcmp(line + 7, "hello from all") == 0)
    __atomic_add_fetch(&lines, 1, __ATOMIC_RELAXED);
}

static void *chatter(void *arg) {
  for (int i = 0; i < 1000; i++) {
    weft__warn("%6d hello from all", i);
    if (i % 100 == 0) weft_log_set(WEFT_LOG_WARN, count, arg);
  }
  return NULL;
}

static void threads_do_not_mix_their_lines(void **state) {
  pthread_t t[4];
  (void) state;
  weft_log_set(WEFT_LOG_WARN, count, NULL);
  for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&t[i], NULL, chatter, NULL), 0);
  for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
  assert_int_equal(lines, 4000);
}

/* A fresh process, because the environment is read once: what it prints on stderr at each level. */
static void child_prints(const char *level, const char *expected) {
  char got[512] = "";
  size_t n = 0;
  ssize_t r;
  int fds[2], status;
  pid_t pid;

  assert_int_equal(pipe(fds), 0);
  pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    dup2(fds[1], 2);
    close(fds[0]);
    close(fds[1]);
    if (level != NULL)
      setenv("WEFT_LOG", level, 1);
    else
      unsetenv("WEFT_LOG");
    execl("/proc/self/exe", "log_test", "--print", (char *) NULL);
    _exit(127);
  }
  close(fds[1]);
  while ((r = read(fds[0], got + n, sizeof(got) - 1 - n)) > 0) n += (size_t) r;
  close(fds[0]);
  got[n] = '\0';
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
  assert_string_equal(got, expected);
}

static void the_environment_sets_the_level(void **state) {
  (void) state;
  child_prints(NULL, "weft error: e\nweft warn: w\n");
  child_prints("", "weft error: e\nweft warn: w\n");
  child_prints("error", "weft error: e\n");
  child_prints("debug", "weft error: e\nweft warn: w\nweft info: i\nweft debug: d\n");
  child_prints("loud", "weft warn: WEFT_LOG=loud: not one of error, warn, info, debug; using warn\n"
                       "weft error: e\nweft warn: w\n");
}

static void a_forked_child_can_log(void **state) {
  pthread_t t;
  int status;
  (void) state;
  weft_log_set(WEFT_LOG_WARN, count, NULL);
  assert_int_equal(pthread_create(&t, NULL, chatter, NULL), 0);
  for (int i = 0; i < 20; i++) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
      alarm(10); /* a lock that nobody will give back would hang here */
      weft__warn("     1 hello from all");
      syscall(SYS_exit_group, 0); /* _exit would let TSan report the parent's thread as leaked */
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
  }
  pthread_join(t, NULL);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(lines_up_to_the_level_reach_the_hook, setup),
      cmocka_unit_test_setup(arguments_of_lines_that_are_off_are_not_evaluated, setup),
      cmocka_unit_test_setup(errno_survives_and_can_be_printed, setup),
      cmocka_unit_test_setup(long_lines_are_cut, setup),
      cmocka_unit_test_setup(levels_are_clamped, setup),
      cmocka_unit_test_setup(the_hook_may_log_and_replace_itself, setup),
      cmocka_unit_test_setup(threads_do_not_mix_their_lines, setup),
      cmocka_unit_test_setup(the_environment_sets_the_level, setup),
      cmocka_unit_test_setup(a_forked_child_can_log, setup),
  };
  if (argc > 1 && strcmp(argv[1], "--print") == 0) {
    weft__error("e");
    weft__warn("w");
    weft__info("i");
    weft__debug("d");
    return 0;
  }
  return cmocka_run_group_tests(tests, NULL, NULL);
}
