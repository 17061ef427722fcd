/* SPDX-License-Identifier: Apache-2.0 */
/* floor_check.c - is our floor of raw libfabric the real one? The same ping-pong by fi_pingpong,
 * alternately.
 *
 * Design notes
 *  - fi_pingpong prints half of a round trip, as a mean; it is doubled and compared with our mean.
 *  - It receives into one buffer, posted again for each message; so does the floor here (window 1).
 *  - At 1 MiB either program's mean over one connection scatters by a fifth and more, however long
 *    it is measured: so many short measurements, and the median of their ratios. */
#include "lib_bench.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ABOUT                                                                                      \
  "floor_check - raw libfabric (" WEFT_TEST_TCP                                                    \
  ", FI_EP_MSG), ours beside fi_pingpong, 64 B and 1 MiB.\n"                                       \
  "Bound: the mean round trips differ by at most 10 %."

/* fi_pingpong as server on one core and client on the other: mean RTT in microseconds. */
static double public_tool(const char *port, const char *size, const char *count) {
  fflush(stdout);
  pid_t server = fork();
  if (server == 0) {
    bench_pin(BENCH_SERVER_CORE);
    if (!freopen("/dev/null", "w", stdout)) _exit(127);
    execlp("fi_pingpong", "fi_pingpong", "-p", WEFT_TEST_TCP, "-e", "msg", "-B", port, "-S", size,
           "-I", count, NULL);
    _exit(127);
  }
  for (int i = 0; !bench_listens((unsigned) atoi(port)); i++) {
    if (i == 1000) bench_die("fi_pingpong does not listen on port %s within 5 s", port);
    usleep(5000);
  }
  char cmd[256], line[256];
  double half = 0, v[4];
  snprintf(cmd, sizeof(cmd),
           "taskset -c %d fi_pingpong -p " WEFT_TEST_TCP " -e msg -P %s -S %s -I %s 127.0.0.1",
           BENCH_CLIENT_CORE, port, size, count);
  FILE *f = popen(cmd, "r");
  while (f && fgets(line, sizeof(line), f))
    if (sscanf(line, "%*s %*s %*s %*s %lfs %lf %lf %lf", &v[0], &v[1], &v[2], &v[3]) == 4)
      half = v[2];
  if (f) pclose(f);
  kill(server, SIGTERM);
  waitpid(server, NULL, 0);
  if (half == 0) bench_die("fi_pingpong printed no result");
  return 2 * half;
}

static double off(double ratio) {
  return 100 * (ratio > 1 ? ratio - 1 : 1 - ratio);
}

int main(int argc, char **argv) {
  bench_args_t args = {.rounds = 41, .seconds = 0.15};
  bench_begin(&args, argc, argv, ABOUT);
  if (system("command -v fi_pingpong >/dev/null 2>&1 && command -v taskset >/dev/null 2>&1"))
    bench_skip("fi_pingpong or taskset is not installed (Debian: libfabric-bin, util-linux)");
  bench_child_t server;
  bench_floor_start(&server);
  bench_pin(BENCH_CLIENT_CORE);

  static perf_hist_t rtt;
  double worst = 0;
  for (int big = 0; big < 2; big++) {
    double ours[BENCH_MAX_ROUNDS], theirs[BENCH_MAX_ROUNDS];
    size_t size = big ? 1 << 20 : 64;
    const char *label = big ? "1 MiB" : "64 B";
    for (unsigned i = 0; i < args.rounds; i++) {
      perf_floor_spec_t spec;
      bench_floor_spec(&spec, PERF_FLOOR_LIBFABRIC, PERF_FLOOR_PINGPONG, "127.0.0.1", size, 1,
                       args.seconds);
      perf_hist_reset(&rtt);
      bench_floor_pingpong(&server, &spec, &rtt);
      ours[i] = perf_hist_mean(&rtt) / 1e3;
      char port[8], text[24], count[24];
      snprintf(port, sizeof(port), "%u", 47600 + i % 100);
      snprintf(text, sizeof(text), "%zu", size);
      snprintf(count, sizeof(count), "%.0f", args.seconds * 1e6 / ours[i]);
      theirs[i] = public_tool(port, text, count);
      if (args.verbose) {
        printf("%s round %u: ours %.2f us, fi_pingpong %.2f us\n", label, i + 1, ours[i],
               theirs[i]);
        bench_hist("  ours", &rtt);
      }
    }
    double ratio = bench_ratio(ours, theirs, args.rounds);
    char text[64];
    snprintf(text, sizeof(text), "%s, ours, mean RTT", label);
    bench_series(text, ours, args.rounds, "us");
    snprintf(text, sizeof(text), "%s, fi_pingpong, mean RTT", label);
    bench_series(text, theirs, args.rounds, "us");
    printf("%s: ours is %.3f of fi_pingpong\n", label, ratio);
    worst = off(ratio) > worst ? off(ratio) : worst;
  }
  bench_reap(&server);
  bench_at_most("floor_check", worst, "%", 10);
  return bench_end();
}
