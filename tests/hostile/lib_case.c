/* SPDX-License-Identifier: Apache-2.0 */
/* lib_case.c - runs a table of hostile cases as tests of cmocka. */
#include "lib_case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SLOW = WORLD_SANITIZED ? 4 : 1 };

static void (*world_tune)(weft_opts_t *);

void must_log(unsigned mark, const char *who, const char *what) {
  if (log_has(mark, who, what, 3000)) return;
  log_print(mark);
  fail_msg("the log has no line with \"%s\" and \"%s\"", who != NULL ? who : "",
           what != NULL ? what : "");
}

void must_close(unsigned mark, peer_t *p, int ms) {
  if (peer_gone(p, ms * (WORLD_SANITIZED ? 3 : 1))) return;
  log_print(mark);
  fail_msg("%s: the connection is still open after %d ms", p->name, ms);
}

void dial_opens_anyhow(dial_t *d, peer_t *p) {
  peer_frame_t f;

  assert_true(peer_hello(p));
  assert_true(peer_hear(p, 5000));
  if (!dial_wait(d, 5000 * SLOW) || d->status != 0 || d->took_ms > 1000 * SLOW) {
    log_print(0);
    fail_msg("the connect ended with %s after %u ms: %s", weft_err_name(d->status),
             (unsigned) d->took_ms, d->why);
  }
  dial_send(d, 64);
  assert_int_equal(peer_read_type(p, &f, WEFT__F_DATA, 5000), 1);
  assert_int_equal(f.h.count, 1);
  peer_record(p, WEFT__R_MSG, "12345678", 8);
  peer_frame(p, WEFT__F_ACK, NULL, 0);
  dial_info(d);
  assert_int_equal(d->info.open, 1);
}

void dial_leave(dial_t *d, peer_t *p, int *listening) {
  dial_close(d);
  assert_true(peer_gone(p, 5000));
  peer_close(p);
  close(*listening);
  *listening = -1;
}

static void run_table(const hostile_case_t *c) {
  unsigned mark = log_mark();
  world_end_t end;
  peer_t p;
  int want = c->status != 0 ? c->status : WEFT_EPROTOCOL;

  peer_dial(&p, NULL, world_port());
  peer_identity(&p, c->label != NULL ? c->label : "hostile");
  p.self.qos.reliability = c->reliability;
  assert_true(peer_request(&p));
  assert_true(peer_hello(&p));
  assert_true(peer_hear(&p, 5000));
  c->act(&p);
  must_close(mark, &p, 5000);
  must_log(mark, p.name, c->logged);
  world_release();
  end = world_end_of(p.name, 5000 * (WORLD_SANITIZED ? 3 : 1));
  if (end.status != want || end.why[0] == '\0') {
    log_print(mark);
    fail_msg("the connection ended with %s \"%s\", expected %s", weft_err_name(end.status), end.why,
             weft_err_name(want));
  }
  if (want == WEFT_EPROTOCOL && !c->mute) { /* the peer was told, in the same words */
    assert_int_equal(p.abort_code, WEFT_EPROTOCOL);
    assert_true(strstr(p.abort_text, c->logged) != NULL);
  }
  peer_close(&p);
}

static void run_case(void **state) {
  const hostile_case_t *c = *state;

  if (c->run != NULL)
    c->run();
  else
    run_table(c);
  world_check();
}

static int begin(void **state) {
  (void) state;
  world_start(world_tune);
  return 0;
}

static int end(void **state) {
  (void) state;
  world_check_memory(64);
  world_stop();
  return 0;
}

int hostile_main(int argc, char **argv, const char *group, const hostile_case_t *cases, size_t n,
                 void (*tune)(weft_opts_t *)) {
  struct CMUnitTest *tests = calloc(n, sizeof(*tests));
  size_t i;
  int failed;

  if (tests == NULL) return 1;
  for (i = 0; i < n; i++)
    tests[i] = (struct CMUnitTest){
        .name = cases[i].name, .test_func = run_case, .initial_state = (void *) &cases[i]};
  if (argc > 1) cmocka_set_test_filter(argv[1]);
  world_tune = tune;
  failed = _cmocka_run_group_tests(group, tests, n, begin, end);
  free(tests);
  return failed != 0;
}
