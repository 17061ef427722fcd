/* SPDX-License-Identifier: Apache-2.0 */
/* opts_test.c - defaults, environment, setting by name, structs of other sizes. */
#include "weft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char complaint[512];

static void keep(void *arg, int level, const char *line) {
  (void) arg;
  (void) level;
  snprintf(complaint, sizeof(complaint), "%s", line);
}

/* The environment variable of the i-th option, NULL past the last. */
static const char *env_name(unsigned i, char *buf, size_t len) {
  const char *name;
  char *p;
  if (weft_option(i, &name, NULL, NULL) != 0) return NULL;
  snprintf(buf, len, "WEFT_%s", name);
  for (p = buf; *p != '\0'; p++) *p = (char) toupper((unsigned char) *p);
  return buf;
}

static int setup(void **state) {
  char name[64];
  (void) state;
  complaint[0] = '\0';
  weft_log_set(WEFT_LOG_WARN, keep, NULL);
  for (unsigned i = 0; env_name(i, name, sizeof(name)) != NULL; i++) unsetenv(name);
  return 0;
}

static weft_opts_t fresh(void) {
  weft_opts_t o;
  memset(&o, 0xa5, sizeof(o));
  weft_opts_init(&o, sizeof(o));
  return o;
}

static void defaults_are_those_of_the_header(void **state) {
  weft_opts_t o = fresh();
  (void) state;
  assert_int_equal(o.size, sizeof(o));
  assert_int_equal(o.max_message, 64 << 20);
  assert_int_equal(o.window_bytes, 4 << 20);
  assert_int_equal(o.window_messages, 16384);
  assert_int_equal(o.send_queue, 1 << 20);
  assert_int_equal(o.pool_bytes, 8ull << 30);
  assert_int_equal(o.rx_depth, 32);
  assert_int_equal(o.tx_depth, 64);
  assert_int_equal(o.connect_timeout_ms, 5000);
  assert_int_equal(o.handshake_timeout_ms, 5000);
  assert_int_equal(o.upgrade_budget_ms, 250);
  assert_int_equal(o.peer_timeout_ms, 30000);
  assert_int_equal(o.shutdown_timeout_ms, 5000);
  assert_int_equal(o.beat_ms, 15000);
  assert_int_equal(o.settle_ms, 10000);
  assert_int_equal(o.tombstone_ms, 60000);
  assert_int_equal(o.half_open_max, 64);
  assert_int_equal(o.connect_retry_ms, 0);
  assert_string_equal(o.providers, "");
  assert_string_equal(o.devices, "");
  assert_string_equal(complaint, "");
}

static void the_table_covers_the_whole_struct(void **state) {
  size_t fields = sizeof(size_t), i;
  const char *name, *deflt, *help;
  (void) state;
  for (i = 0; weft_option((unsigned) i, &name, &deflt, &help) == 0; i++) {
    weft_opts_t o = fresh();
    assert_true(strlen(help) > 10);
    assert_int_equal(weft_opts_set(&o, name, deflt), 0);
    fields += strcmp(name, "providers") == 0 || strcmp(name, "devices") == 0 ? WEFT_LIST_MAX
              : i < 5                                                        ? sizeof(uint64_t)
                                                                             : sizeof(uint32_t);
  }
  assert_int_equal(weft_option((unsigned) i, NULL, NULL, NULL), UV_ENOENT);
  /* Whoever adds a field and forgets its line fails here. */
  assert_int_equal((fields + 7) / 8 * 8, offsetof(weft_opts_t, reserved));
}

static void options_are_set_by_name(void **state) {
  weft_opts_t o = fresh();
  (void) state;
  assert_int_equal(weft_opts_set(&o, "max_message", "1GiB"), 0);
  assert_int_equal(o.max_message, 1 << 30);
  assert_int_equal(weft_opts_set(&o, "peer_timeout_ms", "2s"), 0);
  assert_int_equal(o.peer_timeout_ms, 2000);
  assert_int_equal(weft_opts_set(&o, "peer_timeout_ms", "1500"), 0); /* the name has the unit */
  assert_int_equal(o.peer_timeout_ms, 1500);
  assert_int_equal(weft_opts_set(&o, "connect_retry_ms", "1us"), 0);
  assert_int_equal(o.connect_retry_ms, 1);
  assert_int_equal(weft_opts_set(&o, "window_bytes", "65536"), 0);
  assert_int_equal(o.window_bytes, 65536);
  assert_int_equal(weft_opts_set(&o, "rx_depth", "128"), 0);
  assert_int_equal(o.rx_depth, 128);
  assert_int_equal(weft_opts_set(&o, "devices", "eth0,eth1"), 0);
  assert_string_equal(o.devices, "eth0,eth1");
  assert_int_equal(weft_opts_set(&o, "devices", ""), 0);
  assert_string_equal(o.devices, "");
}

static void bad_values_change_nothing(void **state) {
  static const struct {
    const char *key, *val;
    int err;
  } cases[] = {
      {"max_message", "1024", UV_EINVAL},
      {"max_message", "2TiB", UV_EINVAL},
      {"max_message", "1B", UV_EINVAL},
      {"max_message", "", UV_EINVAL},
      {"rx_depth", "0", UV_EINVAL},
      {"rx_depth", "7", UV_EINVAL},
      {"rx_depth", "5000", UV_EINVAL},
      {"rx_depth", "32B", UV_EINVAL},
      {"rx_depth", "4294967328", UV_EINVAL},
      {"peer_timeout_ms", "99ms", UV_EINVAL},
      {"peer_timeout_ms", "2d", UV_EINVAL},
      {"peer_timeout_ms", "-1", UV_EINVAL},
      {"beat_ms", "4294967396", UV_EINVAL},
      {"providers", "tcp,", UV_EINVAL},
      {"peer_timeout", "1s", UV_ENOENT},
      {"size", "64", UV_ENOENT},
      {"", "", UV_ENOENT},
  };
  const weft_opts_t untouched = fresh();
  size_t i;
  (void) state;
  for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    weft_opts_t o = fresh();
    if (weft_opts_set(&o, cases[i].key, cases[i].val) != cases[i].err)
      fail_msg("%s=%s", cases[i].key, cases[i].val);
    assert_memory_equal(&o, &untouched, sizeof(o));
  }
}

/* Every option: its default as the table writes it, and two other values there and back. */
static void every_option_makes_the_round_trip(void **state) {
  static const char *const numbers[] = {"999",     "1000", "1024", "4097",  "61s",
                                        "1536KiB", "3MiB", "1TiB", "24576B"};
  const char *name, *deflt;
  unsigned i, taken_by_all = 0;
  (void) state;
  for (i = 0; weft_option(i, &name, &deflt, NULL) == 0; i++) {
    weft_opts_t o = fresh(), copy;
    char text[WEFT_LIST_MAX];
    unsigned taken = 0;
    size_t len = sizeof(text), k;
    assert_int_equal(weft_opts_get(&o, name, text, &len), 0);
    assert_string_equal(text, deflt);
    assert_int_equal(len, strlen(deflt));
    for (k = 0; k < sizeof(numbers) / sizeof(numbers[0]); k++) {
      o = fresh();
      if (weft_opts_set(&o, name, numbers[k]) != 0)
        continue; /* out of its range, or another kind of value */
      taken++;
      len = sizeof(text);
      assert_int_equal(weft_opts_get(&o, name, text, &len), 0);
      copy = fresh();
      assert_int_equal(weft_opts_set(&copy, name, text), 0);
      assert_memory_equal(&copy, &o, sizeof(o));
    }
    assert_true(taken >= 2);
    taken_by_all++;
    /* too small by the terminator, then just right */
    o = fresh();
    len = strlen(deflt);
    assert_int_equal(weft_opts_get(&o, name, text, &len), UV_ENOBUFS);
    assert_int_equal(len, strlen(deflt));
    len++;
    assert_int_equal(weft_opts_get(&o, name, text, &len), 0);
    assert_int_equal(len, strlen(deflt));
  }
  assert_true(taken_by_all > 15);
}

static void values_are_read_in_their_own_words(void **state) {
  weft_opts_t o = fresh();
  char text[16];
  size_t len = sizeof(text);
  (void) state;
  assert_int_equal(weft_opts_set(&o, "peer_timeout_ms", "1500"), 0);
  assert_int_equal(weft_opts_get(&o, "peer_timeout_ms", text, &len), 0);
  assert_string_equal(text, "1500ms");
  len = sizeof(text);
  assert_int_equal(weft_opts_set(&o, "max_message", "1000MiB"), 0);
  assert_int_equal(weft_opts_get(&o, "max_message", text, &len), 0);
  assert_string_equal(text, "1000MiB");
  len = sizeof(text);
  assert_int_equal(weft_opts_get(&o, "nosuch", text, &len), UV_ENOENT);
  assert_int_equal(weft_opts_get(&o, "rx_depth", NULL, &len), UV_EINVAL);
  len = 0;
  assert_int_equal(weft_opts_get(&o, "rx_depth", NULL, &len), UV_ENOBUFS);
  assert_int_equal(len, 2);
  o.size = offsetof(weft_opts_t, beat_ms);
  len = sizeof(text);
  assert_int_equal(weft_opts_get(&o, "beat_ms", text, &len), UV_ENOENT);
  assert_int_equal(weft_opts_get(NULL, "rx_depth", text, &len), UV_EINVAL);
}

static void the_environment_comes_before_the_program(void **state) {
  weft_opts_t o;
  (void) state;
  setenv("WEFT_RX_DEPTH", "64", 1);
  setenv("WEFT_PROVIDERS", "tcp", 1);
  o = fresh();
  assert_int_equal(o.rx_depth, 64);
  assert_string_equal(o.providers, "tcp");
  assert_int_equal(weft_opts_set(&o, "rx_depth", "16"), 0);
  assert_int_equal(o.rx_depth, 16);
}

static void a_bad_value_in_the_environment_is_told_and_ignored(void **state) {
  weft_opts_t o;
  (void) state;
  setenv("WEFT_PEER_TIMEOUT_MS", "soon", 1);
  o = fresh();
  assert_int_equal(o.peer_timeout_ms, 30000);
  assert_string_equal(complaint, "WEFT_PEER_TIMEOUT_MS=soon is ignored: not a duration with its "
                                 "unit, from 100 ms to 86400 s");
  unsetenv("WEFT_PEER_TIMEOUT_MS");
  setenv("WEFT_MAX_MESSAGE", "64", 1);
  o = fresh();
  assert_string_equal(complaint, "WEFT_MAX_MESSAGE=64 is ignored: not a size with its unit, from "
                                 "1 KiB to 1 TiB");
  unsetenv("WEFT_MAX_MESSAGE");
  setenv("WEFT_DEVICES", "a,,b", 1);
  o = fresh();
  assert_non_null(strstr(complaint, "WEFT_DEVICES=a,,b"));
  unsetenv("WEFT_DEVICES");
}

static void a_smaller_struct_is_respected(void **state) {
  union {
    weft_opts_t o;
    unsigned char bytes[sizeof(weft_opts_t)];
  } u;
  size_t old = offsetof(weft_opts_t, beat_ms), i;
  (void) state;
  memset(&u, 0xa5, sizeof(u));
  weft_opts_init(&u.o, old);
  assert_int_equal(u.o.size, old);
  assert_int_equal(u.o.shutdown_timeout_ms, 5000);
  assert_int_equal(weft_opts_set(&u.o, "beat_ms", "1s"), UV_ENOENT);
  for (i = old; i < sizeof(u); i++) assert_int_equal(u.bytes[i], 0xa5);
  weft_opts_init(&u.o, 1); /* no room for its own size: left alone */
  assert_int_equal(u.o.size, old);
}

static void sizes_are_told_to_bindings(void **state) {
  (void) state;
  assert_int_equal(weft_size(WEFT_SIZE_CONTEXT), 64);
  assert_int_equal(weft_size(WEFT_SIZE_SEND), 128);
  assert_int_equal(weft_size(WEFT_SIZE_OPTS), sizeof(weft_opts_t));
  for (int id = WEFT_SIZE_CONTEXT; id <= WEFT_SIZE_ADDR; id++)
    assert_true(weft_size((weft_size_id) id) > 0);
  assert_int_equal(weft_size((weft_size_id) (WEFT_SIZE_ADDR + 1)), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(defaults_are_those_of_the_header, setup),
      cmocka_unit_test_setup(the_table_covers_the_whole_struct, setup),
      cmocka_unit_test_setup(options_are_set_by_name, setup),
      cmocka_unit_test_setup(bad_values_change_nothing, setup),
      cmocka_unit_test_setup(every_option_makes_the_round_trip, setup),
      cmocka_unit_test_setup(values_are_read_in_their_own_words, setup),
      cmocka_unit_test_setup(the_environment_comes_before_the_program, setup),
      cmocka_unit_test_setup(a_bad_value_in_the_environment_is_told_and_ignored, setup),
      cmocka_unit_test_setup(a_smaller_struct_is_respected, setup),
      cmocka_unit_test_setup(sizes_are_told_to_bindings, setup),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
