/* SPDX-License-Identifier: Apache-2.0 */
/* fault_test.c - arming points, counting passes, refusing what is misspelt. */
#include "base/fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "weft.h"

static char complaint[256];

static void keep(void *arg, int level, const char *line) {
  (void) arg;
  if (level == WEFT_LOG_ERROR) snprintf(complaint, sizeof(complaint), "%s", line);
}

static int setup(void **state) {
  (void) state;
  complaint[0] = '\0';
  weft_log_set(WEFT_LOG_WARN, keep, NULL);
  return weft__fault_set(NULL);
}

static void the_nth_pass_fails_and_no_other(void **state) {
  (void) state;
  assert_int_equal(weft__fault_set("cq_open:3:ENOMEM"), 0);
  assert_int_equal(weft__fault_hit(WEFT__FAULT_cq_open), 0);
  assert_int_equal(weft__fault_hit(WEFT__FAULT_eq_open), 0);
  assert_int_equal(weft__fault_hit(WEFT__FAULT_cq_open), 0);
  assert_int_equal(weft__fault_hit(WEFT__FAULT_cq_open), -ENOMEM);
  assert_int_equal(weft__fault_hit(WEFT__FAULT_cq_open), 0);
  assert_int_equal(weft__fault_count(WEFT__FAULT_cq_open), 4);
  assert_int_equal(weft__fault_count(WEFT__FAULT_eq_open), 1);
}

static void from_the_nth_pass_on_all_fail(void **state) {
  (void) state;
  assert_int_equal(weft__fault_set("post_send:2+:5"), 0);
  assert_int_equal(weft__fault_hit(WEFT__FAULT_post_send), 0);
  assert_int_equal(weft__fault_hit(WEFT__FAULT_post_send), -EIO);
  assert_int_equal(weft__fault_hit(WEFT__FAULT_post_send), -EIO);
}

static void several_faults_even_on_one_point(void **state) {
  (void) state;
  assert_int_equal(weft__fault_set("listen:1:EADDRINUSE,listen:3:EACCES,connect:1+:ECONNREFUSED"),
                   0);
  assert_int_equal(weft__fault_hit(WEFT__FAULT_listen), -EADDRINUSE);
  assert_int_equal(weft__fault_hit(WEFT__FAULT_connect), -ECONNREFUSED);
  assert_int_equal(weft__fault_hit(WEFT__FAULT_listen), 0);
  assert_int_equal(weft__fault_hit(WEFT__FAULT_listen), -EACCES);
}

static void arming_anew_forgets(void **state) {
  (void) state;
  assert_int_equal(weft__fault_set("timer:2:EIO"), 0);
  assert_int_equal(weft__fault_hit(WEFT__FAULT_timer), 0);
  assert_int_equal(weft__fault_set("timer:2:EIO"), 0);
  assert_int_equal(weft__fault_hit(WEFT__FAULT_timer), 0);
  assert_int_equal(weft__fault_hit(WEFT__FAULT_timer), -EIO);
  assert_int_equal(weft__fault_set(""), 0);
  assert_int_equal(weft__fault_armed, 0);
  assert_int_equal(weft__fault_hit(WEFT__FAULT_timer), 0);
  assert_int_equal(weft__fault_count(WEFT__FAULT_timer), 0);
}

static void mistakes_are_named_and_arm_nothing(void **state) {
  static const struct {
    const char *spec, *names;
  } cases[] = {
      {"cq_opne:1:ENOMEM", "no injection point 'cq_opne'"},
      {"cq_open", "'cq_open' is not point:nth:errno"},
      {"cq_open:1", "'cq_open:1' is not point:nth:errno"},
      {"cq_open:1:", "is not point:nth:errno"},
      {"cq_open::EIO", "is not point:nth:errno"},
      {":1:EIO", "is not point:nth:errno"},
      {"cq_open:0:EIO", "'0' is not a count"},
      {"cq_open:+:EIO", "'' is not a count"},
      {"cq_open:-1:EIO", "'-1' is not a count"},
      {"cq_open:1x:EIO", "'1x' is not a count"},
      {"cq_open:99999999999999999999:EIO", "is not a count"},
      {"cq_open:1:EWHAT", "'EWHAT' is neither an errno nor HOLD"},
      {"cq_open:1:0", "'0' is neither an errno nor HOLD"},
      {"cq_open:1:-5", "'-5' is neither an errno nor HOLD"},
      {"cq_open:1:4096", "'4096' is neither an errno nor HOLD"},
      {"cq_open:1:EIO:more", "'EIO:more' is neither an errno nor HOLD"},
      {"cq_open:1:EIO,", "nothing follows the last comma"},
      {"cq_open:1:EIO,,timer:1:EIO", "'' is not point:nth:errno"},
      {"cq_open:1:EIO,bad:1:EIO", "no injection point 'bad'"},
      {",", "is not point:nth:errno"},
  };
  size_t i;
  (void) state;
  for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    complaint[0] = '\0';
    if (weft__fault_set(cases[i].spec) != -EINVAL || strstr(complaint, cases[i].names) == NULL)
      fail_msg("'%s': %s", cases[i].spec, complaint);
    assert_int_equal(weft__fault_armed, 0);
    assert_int_equal(weft__fault_hit(WEFT__FAULT_cq_open), 0);
  }
}

static void too_many_faults_are_refused(void **state) {
  char spec[33 * 12];
  size_t n = 0;
  (void) state;
  for (int i = 1; i <= 33; i++)
    n += (size_t) snprintf(spec + n, sizeof(spec) - n, "%stimer:%d:5", i > 1 ? "," : "", i);
  assert_int_equal(weft__fault_set(spec), -EINVAL);
  assert_non_null(strstr(complaint, "more than 32"));
  *strrchr(spec, ',') = '\0';
  assert_int_equal(weft__fault_set(spec), 0);
  for (int i = 1; i <= 32; i++) assert_int_equal(weft__fault_hit(WEFT__FAULT_timer), -EIO);
  assert_int_equal(weft__fault_hit(WEFT__FAULT_timer), 0);
}

static void points_can_be_listed(void **state) {
  const char *name, *help;
  unsigned i;
  (void) state;
  for (i = 0; weft__fault_point(i, &name, &help) == 0; i++) {
    char spec[64];
    assert_true(strlen(help) > 3);
    snprintf(spec, sizeof(spec), "%s:1:EIO", name);
    assert_int_equal(weft__fault_set(spec), 0);
    assert_int_equal(weft__fault_hit((enum weft__fault_point) i), -EIO);
  }
  assert_int_equal(i, WEFT__FAULT_POINTS);
  assert_int_equal(weft__fault_point(0, NULL, NULL), 0);
}

static void the_macro_depends_on_the_build(void **state) {
  (void) state;
  assert_int_equal(weft__fault_set("resolve:1:EIO"), 0);
#ifdef WEFT_FAULTS
  assert_int_equal(WEFT__FAULT(resolve), -EIO);
  assert_int_equal(WEFT__FAULT(resolve), 0);
#else
  assert_int_equal(WEFT__FAULT(resolve), 0);
  assert_int_equal(weft__fault_count(WEFT__FAULT_resolve), 0);
#endif
}

static int failures;

static void *passer(void *arg) {
  (void) arg;
  for (int i = 0; i < 10000; i++)
    if (weft__fault_hit(WEFT__FAULT_post_recv) != 0)
      __atomic_add_fetch(&failures, 1, __ATOMIC_RELAXED);
  return NULL;
}

static void threads_share_one_count(void **state) {
  pthread_t t[4];
  (void) state;
  assert_int_equal(weft__fault_set("post_recv:20000:EIO,post_recv:39999+:EIO"), 0);
  for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&t[i], NULL, passer, NULL), 0);
  for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
  assert_int_equal(failures, 3);
  assert_int_equal(weft__fault_count(WEFT__FAULT_post_recv), 40000);
}

static void *held_once(void *arg) {
  *(int *) arg = weft__fault_hit(WEFT__FAULT_mr_reg);
  return NULL;
}

static void who_is_held_goes_on_when_released(void **state) {
  int got[2] = {1, 1};
  pthread_t t[2];
  (void) state;
  assert_int_equal(weft__fault_set("mr_reg:1:HOLD,mr_reg:2:HOLD,mr_reg:3:EIO"), 0);
  for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&t[i], NULL, held_once, &got[i]), 0);
  while (weft__fault_held(WEFT__FAULT_mr_reg) != 2) sched_yield();
  assert_int_equal(weft__fault_held(WEFT__FAULT_mem_close), 0);
  assert_int_equal(weft__fault_hit(WEFT__FAULT_mr_reg), -EIO); /* others pass meanwhile */
  weft__fault_release();
  for (int i = 0; i < 2; i++) {
    pthread_join(t[i], NULL);
    assert_int_equal(got[i], 0);
  }
  assert_int_equal(weft__fault_held(WEFT__FAULT_mr_reg), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(the_nth_pass_fails_and_no_other, setup),
      cmocka_unit_test_setup(from_the_nth_pass_on_all_fail, setup),
      cmocka_unit_test_setup(several_faults_even_on_one_point, setup),
      cmocka_unit_test_setup(arming_anew_forgets, setup),
      cmocka_unit_test_setup(mistakes_are_named_and_arm_nothing, setup),
      cmocka_unit_test_setup(too_many_faults_are_refused, setup),
      cmocka_unit_test_setup(points_can_be_listed, setup),
      cmocka_unit_test_setup(the_macro_depends_on_the_build, setup),
      cmocka_unit_test_setup(threads_share_one_count, setup),
      cmocka_unit_test_setup(who_is_held_goes_on_when_released, setup),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
