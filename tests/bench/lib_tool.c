/* SPDX-License-Identifier: Apache-2.0 */
/* lib_tool.c - somebody else's program at both ends, and the figure that it prints.
 *
 * Design notes
 * - Such a server takes one connection and says nothing when it is ready, and to probe its port
 *   would use the connection up: /proc tells when somebody listens. */
#include "lib_tool.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib_bench.h"

#define TOOL_S 60 /* the longest a run may take */

int bench_tool_there(const char *tool) {
  char command[128];
  snprintf(command, sizeof(command), "command -v %s >/dev/null", tool);
  return system(command) == 0;
}

unsigned bench_tool_port(void) {
  static unsigned runs;
  return 18515 + (unsigned) getpid() % 1000 + runs++;
}

/* A command of the shell on a core, its output in a file of its own. */
static pid_t command_start(const char *command, int core, FILE **out) {
  pid_t parent = getpid(), pid;
  *out = tmpfile();
  if (!*out) bench_die("tmpfile: %s", strerror(errno));
  fflush(stdout);
  pid = fork();
  if (pid < 0) bench_die("fork: %s", strerror(errno));
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    bench_pin(core);
    dup2(fileno(*out), 1);
    dup2(fileno(*out), 2);
    execl("/bin/sh", "sh", "-c", command, (char *) NULL);
    _exit(127);
  }
  return pid;
}

static int command_wait(pid_t pid) {
  int status = 0;
  for (int i = 0; i < TOOL_S * 100; i++) {
    if (waitpid(pid, &status, WNOHANG) == pid)
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    usleep(10000);
  }
  kill(pid, SIGKILL);
  waitpid(pid, &status, 0);
  return 124;
}

static void tell(const char *who, FILE *out) {
  char line[512];
  rewind(out);
  while (fgets(line, sizeof(line), out)) fprintf(stderr, "%s: %s", who, line);
}

/* The last line that is all figures, its column. */
static int figure(FILE *out, unsigned column, double *value) {
  char line[512];
  int found = 0;
  rewind(out);
  while (fgets(line, sizeof(line), out)) {
    char *p = line, *end;
    unsigned i;
    for (i = 0; i <= column; i++, p = end) {
      double v = strtod(p, &end);
      if (end == p) break;
      if (i == column) *value = v;
    }
    found |= i > column;
  }
  return found;
}

double bench_tool_pair(const char *server, const char *client, unsigned port, unsigned settle_ms,
                       unsigned column) {
  FILE *out[2];
  double value = 0;
  pid_t pid[2];
  int rc[2];
  pid[0] = command_start(server, BENCH_SERVER_CORE, &out[0]);
  for (int i = 0; i < 520 && !bench_listens(port); i++) usleep(10000);
  usleep(settle_ms * 1000);
  pid[1] = command_start(client, BENCH_CLIENT_CORE, &out[1]);
  rc[1] = command_wait(pid[1]);
  if (rc[1]) kill(pid[0], SIGKILL);
  rc[0] = command_wait(pid[0]);
  if (rc[0] || rc[1] || !figure(out[1], column, &value)) {
    tell("server", out[0]);
    tell("client", out[1]);
    bench_die("%s failed (exit codes: server %d, client %d)", client, rc[0], rc[1]);
  }
  fclose(out[0]);
  fclose(out[1]);
  return value;
}
