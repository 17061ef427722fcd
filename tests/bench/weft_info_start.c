/* SPDX-License-Identifier: Apache-2.0 */
/* weft_info_start.c - how long one waits for weft_info: the whole life of the process. */
#include "lib_bench.h"

#include <dirent.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ABOUT                                                                                      \
  "weft_info_start - the time from the start of weft_info to its end, its output going to a "      \
  "pipe\n"                                                                                         \
  "that is read. The program beside this one is taken. Where there are RDMA devices, libfabric\n"  \
  "opens each of them, and the figure is not asked for: skipped.\n"                                \
  "Bound: the median is under 1 s."

/* The output's length; the program must find something usable. */
static size_t run(const char *program) {
  char buf[4096];
  size_t total = 0;
  ssize_t n;
  int fd[2], st;
  pid_t pid;

  if (pipe2(fd, O_CLOEXEC) != 0 || (pid = fork()) < 0) bench_die("starting %s failed", program);
  if (pid == 0) {
    dup2(fd[1], STDOUT_FILENO);
    execl(program, program, (char *) NULL);
    _exit(127);
  }
  close(fd[1]);
  while ((n = read(fd[0], buf, sizeof(buf))) > 0) total += (size_t) n;
  close(fd[0]);
  if (waitpid(pid, &st, 0) != pid || !WIFEXITED(st) || WEXITSTATUS(st) != 0)
    bench_die("%s: exit status %d, expected 0", program, WIFEXITED(st) ? WEXITSTATUS(st) : -1);
  return total;
}

static int rdma_devices(void) {
  DIR *dir = opendir("/sys/class/infiniband");
  struct dirent *d;
  int n = 0;

  while (dir != NULL && (d = readdir(dir)) != NULL) n += d->d_name[0] != '.';
  if (dir != NULL) closedir(dir);
  return n;
}

int main(int argc, char **argv) {
  bench_args_t args = {.rounds = 11, .seconds = 1}; /* each round is one start */
  char self[PATH_MAX - 16] = "", program[PATH_MAX];
  double took[BENCH_MAX_ROUNDS];
  unsigned i;

  bench_begin(&args, argc, argv, ABOUT);
  if (args.rounds < 5) args.rounds = 5; /* fewer make no median worth the name */
  if (rdma_devices() > 0) bench_skip("this machine has RDMA devices");
  if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
    bench_die("/proc/self/exe cannot be read");
  snprintf(program, sizeof(program), "%s/weft_info", dirname(self));
  if (access(program, X_OK) != 0) bench_skip("%s is not built", program);
  if (run(program) < 100) /* the first run fills the caches, and shows that there is a list */
    bench_die("%s prints hardly anything", program);
  for (i = 0; i < args.rounds; i++) {
    uint64_t began = perf_now();
    run(program);
    took[i] = (double) (perf_now() - began) / 1e9;
    if (args.verbose) printf("round %u: %.3f s\n", i + 1, took[i]);
  }
  bench_series("weft_info", took, args.rounds, "s");
  bench_at_most("weft_info_start", bench_median(took, args.rounds), "s", 1);
  return bench_end();
}
