/* SPDX-License-Identifier: Apache-2.0 */
/* dev_test.c - devices of DPDK in one process: a memif pair, its limits, refusals with a reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <time.h>

#include "dev.h"

static int open_dev(const char *args, unsigned mtu, tf_dev_t **d, char *why) {
  tf_dev_config_t c = {.args = args, .mtu = mtu, .memory = 256};

  why[0] = '\0';
  return tf_dev_open(&c, d, why);
}

/* A name each time: DPDK 22.11 never closes the socket that a server has listened on. */
static void memif(char *out, size_t n, const char *name, const char *role) {
  static int pair;

  if (strcmp(role, "server") == 0) pair++;
  snprintf(out, n, "net_%s,role=%s,id=0,socket=weft_dev_test_%d_%d", name, role, (int) getpid(),
           pair);
}

static unsigned receive(tf_dev_t *d, tf_frame_t *f) {
  time_t until = time(NULL) + 5;
  unsigned n;

  while ((n = tf_dev_recv(d, f, 1)) == 0 && time(NULL) < until) continue;
  return n;
}

static void flush(tf_dev_t *d) {
  time_t until = time(NULL) + 5;

  while (!tf_dev_flush(d) && time(NULL) < until) continue;
  assert_true(tf_dev_flush(d));
}

static void pair(tf_dev_t **a, tf_dev_t **b, unsigned mtu) {
  char args[128], why[TF_DEV_WHY];
  tf_frame_t f;
  time_t until = time(NULL) + 5;

  memif(args, sizeof(args), "memif0", "server");
  if (open_dev(args, mtu, a, why) != 0) fail_msg("%s", why);
  memif(args, sizeof(args), "memif1", "client");
  if (open_dev(args, mtu, b, why) != 0) fail_msg("%s", why);
  while (!(tf_dev_link(*a) && tf_dev_link(*b)) && time(NULL) < until) usleep(1000);
  assert_true(tf_dev_link(*a) && tf_dev_link(*b));
  /* A client lends its buffers to the server by receiving. */
  assert_int_equal(tf_dev_recv(*b, &f, 1), 0);
}

/* The program that loads us keeps its processors and its signals. */
static void host_is_left_alone(void **state) {
  cpu_set_t before, after;
  struct sigaction sa[2][32];
  char why[TF_DEV_WHY];
  tf_dev_t *d;
  int i;

  (void) state;
  for (i = 1; i < 32; i++) assert_int_equal(sigaction(i, NULL, &sa[0][i]), 0);
  sched_getaffinity(0, sizeof(before), &before);
  if (open_dev("net_null0", 1500, &d, why) != 0) fail_msg("%s", why);
  sched_getaffinity(0, sizeof(after), &after);
  assert_true(CPU_EQUAL(&before, &after));
  for (i = 1; i < 32; i++) {
    assert_int_equal(sigaction(i, NULL, &sa[1][i]), 0);
    assert_ptr_equal(sa[0][i].sa_handler, sa[1][i].sa_handler);
  }
  tf_dev_close(d);
}

static void frames_cross_whole(void **state) {
  static const size_t sizes[] = {60, 64, 1514, 4000, 9014};
  static uint8_t sent[9014];
  tf_dev_t *a, *b;
  tf_frame_t f;
  size_t i, k;

  (void) state;
  pair(&a, &b, 9000);
  assert_memory_not_equal(tf_dev_mac(a), tf_dev_mac(b), 6);
  for (k = 0; k < sizeof(sent); k++) sent[k] = (uint8_t) (k * 7);
  for (i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
    struct iovec v[2] = {{sent, 14}, {sent + 14, sizes[i] - 14}};
    assert_int_equal(tf_dev_send(a, v, 2, sizes[i]), 0);
    flush(a);
    assert_int_equal(receive(b, &f), 1);
    assert_int_equal(f.len, sizes[i]);
    assert_memory_equal(f.data, sent, f.len);
    assert_non_null(f.room);
    tf_dev_free(f.handle);
  }
  tf_dev_close(b);
  tf_dev_close(a);
}

/* Who sends more than fits is told so, and every frame that was taken arrives, in order. */
static void a_full_ring_refuses_and_drops_nothing(void **state) {
  tf_dev_t *a, *b;
  tf_frame_t f;
  uint32_t taken = 0, got = 0, number;
  uint8_t frame[64] = {0};
  int err = 0;

  (void) state;
  pair(&a, &b, 1500);
  while (err == 0 && taken < 100000) {
    struct iovec v = {frame, sizeof(frame)};
    memcpy(frame + 20, &taken, 4);
    err = tf_dev_send(a, &v, 1, sizeof(frame));
    if (err == 0) taken++;
  }
  assert_int_equal(err, -ENOBUFS);
  while (got < taken) {
    (void) tf_dev_flush(a);
    assert_int_equal(receive(b, &f), 1);
    memcpy(&number, (uint8_t *) f.data + 20, 4);
    assert_int_equal(number, got);
    got++;
    tf_dev_free(f.handle);
  }
  flush(a);
  tf_dev_close(b);
  tf_dev_close(a);
}

static void refusals_have_a_reason(void **state) {
  static const char *const bad[] = {"", "net_nothing0", "net_memif7,role=nobody", "0000:ff:1f.7",
                                    "net_af_packet0,iface=none0"};
  char why[TF_DEV_WHY];
  tf_dev_t *d;
  size_t i;

  (void) state;
  for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
    assert_true(open_dev(bad[i], 1500, &d, why) < 0);
    assert_true(strlen(why) > 8);
  }
  assert_true(open_dev("net_memif7,role=nobody", 1500, &d, why) < 0);
  assert_non_null(strstr(why, "Unknown role"));
  assert_true(open_dev("net_null1", 70000, &d, why) < 0);
  assert_non_null(strstr(why, "MTU"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(host_is_left_alone),
      cmocka_unit_test(frames_cross_whole),
      cmocka_unit_test(a_full_ring_refuses_and_drops_nothing),
      cmocka_unit_test(refusals_have_a_reason),
  };

  return cmocka_run_group_tests_name("dev", tests, NULL, NULL);
}
