/* SPDX-License-Identifier: Apache-2.0 */
/* ib_test.c - each thing that may be missing between an RDMA device and a program is named, in a
 * made-up /sys and /dev. */
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ib.h"
#include "msg_test.h"

static char root[64], text[160];

static void put(const char *path, const char *content) {
  char full[256], *slash;
  snprintf(full, sizeof(full), "%s%s", root, path);
  for (slash = full + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
    *slash = '\0';
    mkdir(full, 0755);
    *slash = '/';
  }
  FILE *f = fopen(full, "w");
  assert_non_null(f);
  fputs(content, f);
  assert_int_equal(fclose(f), 0);
  assert_int_equal(chmod(full, 0666), 0);
}

static bool missing(uint64_t memlock, const char *word) {
  bool is = weft__ib_missing(root, "mlx5_0", memlock, text, sizeof(text));
  if (is != (word != NULL) || (word != NULL && strstr(text, word) == NULL))
    fail_msg("expected %s, got '%s'", word != NULL ? word : "nothing", text);
  if (is) assert_int_equal(strncmp(text, "mlx5_0: ", 8), 0); /* names the object */
  return is;
}

static int setup(void **state) {
  (void) state;
  snprintf(root, sizeof(root), "/tmp/weft_ib_test.XXXXXX");
  return mkdtemp(root) == NULL || chmod(root, 0755) != 0;
}

static int drop(const char *path, const struct stat *st, int type, struct FTW *ftw) {
  (void) st, (void) type, (void) ftw;
  return remove(path);
}

static int teardown(void **state) {
  (void) state;
  return nftw(root, drop, 8, FTW_DEPTH | FTW_PHYS);
}

static void all_there(void) {
  put("/sys/class/infiniband_verbs/abi_version", "6\n");
  put("/sys/class/infiniband_verbs/uverbs0/ibdev", "mlx5_1\n");
  put("/sys/class/infiniband_verbs/uverbs1/ibdev", "mlx5_0\n");
  put("/dev/infiniband/uverbs1", "");
  put("/dev/infiniband/rdma_cm", "");
}

static void away(const char *path) {
  char full[256];
  snprintf(full, sizeof(full), "%s%s", root, path);
  assert_int_equal(remove(full), 0);
}

/* One after the other, as a system is set up. */
static void test_each_step(void **state) {
  (void) state;
  missing(UINT64_MAX, "modprobe ib_uverbs");
  put("/sys/class/infiniband_verbs/uverbs0/ibdev", "mlx5_1\n");
  missing(UINT64_MAX, "no entry");
  put("/sys/class/infiniband_verbs/uverbs1/ibdev", "mlx5_0\n");
  missing(UINT64_MAX, "no /dev/infiniband/uverbs1: modprobe ib_uverbs");
  put("/dev/infiniband/uverbs1", "");
  missing(UINT64_MAX, "no /dev/infiniband/rdma_cm: modprobe rdma_ucm");
  put("/dev/infiniband/rdma_cm", "");
  missing(64 << 10, "only 64 KiB");
  missing(WEFT__IB_MEMLOCK_MIN, NULL);
  missing(UINT64_MAX, NULL);
}

/* In a child without root's power: nobody may open the node. */
static void no_permission(const char *node, const char *words) {
  char full[256];
  int status;
  snprintf(full, sizeof(full), "%s%s", root, node);
  assert_int_equal(chmod(full, 0600), 0);
  if (geteuid() != 0) assert_int_equal(chmod(full, 0), 0);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) _exit(2);
    bool is = weft__ib_missing(root, "mlx5_0", UINT64_MAX, text, sizeof(text));
    _exit(is && strstr(text, words) != NULL && strstr(text, "EACCES") != NULL ? 0 : 1);
  }
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
  assert_int_equal(chmod(full, 0666), 0);
}

static void test_no_permission(void **state) {
  (void) state;
  all_there();
  no_permission("/dev/infiniband/uverbs1", "no permission for /dev/infiniband/uverbs1");
  no_permission("/dev/infiniband/rdma_cm", "no permission for /dev/infiniband/rdma_cm");
  away("/dev/infiniband/rdma_cm");
  put("/dev/infiniband/rdma_cm/x", ""); /* a folder: some other error */
  missing(UINT64_MAX, "opening /dev/infiniband/rdma_cm: ");
}

static void test_long_names_fit(void **state) {
  (void) state;
  char name[128];
  memset(name, 'x', sizeof(name) - 1);
  name[sizeof(name) - 1] = '\0';
  assert_true(weft__ib_missing(root, name, UINT64_MAX, text, 40));
  assert_int_equal(strlen(text), 39);
}

/* The limit that binds: in a child, which may lower its own. */
static void test_memlock(void **state) {
  (void) state;
  int status;
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    struct rlimit low = {65536, 65536};
    if (setrlimit(RLIMIT_MEMLOCK, &low) != 0) _exit(2);
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) _exit(3);
    _exit(weft__ib_memlock() == 65536 ? 0 : 1);
  }
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
}

/* Devices that are there are opened in tests/vm. */
static void test_no_such_device(void **state) {
  int err = 0;
  (void) state;
  assert_null(weft__ib_open("no_such_device", &err));
  assert_true(err < 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_each_step, setup, teardown),
      cmocka_unit_test_setup_teardown(test_no_permission, setup, teardown),
      cmocka_unit_test_setup_teardown(test_long_names_fit, setup, teardown),
      cmocka_unit_test(test_memlock),
      cmocka_unit_test(test_no_such_device),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
