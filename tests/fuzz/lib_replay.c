/* SPDX-License-Identifier: Apache-2.0
 * Runs a fuzz target over files and folders named on the command line, without libFuzzer: so any
 * compiler replays the corpus, and a crash that libFuzzer wrote is replayed under a debugger.
 */
#include <dirent.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned long inputs;

static void die(const char *what, const char *path) {
  fprintf(stderr, "%s %s: %s\n", what, path, strerror(errno));
  exit(2);
}

static void run_file(const char *path, size_t size) {
  /* Exactly as large as the input, so that ASan sees a read of one byte too many. */
  uint8_t *data = malloc(size > 0 ? size : 1);
  FILE *f = fopen(path, "rb");

  if (data == NULL || f == NULL) die("open", path);
  if (fread(data, 1, size, f) != size) die("read", path);
  fclose(f);
  LLVMFuzzerTestOneInput(data, size);
  free(data);
  inputs++;
}

static void run_path(const char *path) {
  struct stat st;

  if (stat(path, &st) != 0) die("stat", path);
  if (!S_ISDIR(st.st_mode)) {
    run_file(path, (size_t) st.st_size);
    return;
  }

  struct dirent **names;
  int n = scandir(path, &names, NULL, alphasort);
  if (n < 0) die("scandir", path);
  for (int i = 0; i < n; i++) {
    if (names[i]->d_name[0] != '.') {
      char *child;
      if (asprintf(&child, "%s/%s", path, names[i]->d_name) < 0) die("asprintf", path);
      run_path(child);
      free(child);
    }
    free(names[i]);
  }
  free(names);
}

int main(int argc, char **argv) {
  LLVMFuzzerTestOneInput((const uint8_t *) "", 0);
  for (int i = 1; i < argc; i++) run_path(argv[i]);
  printf("%lu inputs replayed\n", inputs);
  return 0;
}
