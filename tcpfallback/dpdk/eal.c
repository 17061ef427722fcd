/* SPDX-License-Identifier: Apache-2.0 */
/* eal.c - DPDK's environment, started once.
 *
 * Design notes
 *  - It pins the thread that starts it and makes one more: so a thread of ours starts it, with all
 *    signals blocked, and the core that DPDK counts floats over all that the process may use.
 *  - Without hugepages its memory is what it was started with; with them it grows.
 *  - It cannot be started twice, also not after a failure: the first answer is the answer. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <rte_config.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>

#include "eal.h"

enum { ARGS = 16 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
  bool tried;
  int err;
  char why[TF_DEV_WHY];
  void (*say)(const char *);
  char heard[TF_DEV_WHY];
} eal;

static ssize_t said(void *cookie, const char *line, size_t n) {
  char text[TF_DEV_WHY];
  size_t len = n < sizeof(text) - 1 ? n : sizeof(text) - 1;

  (void) cookie;
  memcpy(text, line, len);
  while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' ')) len--;
  text[len] = '\0';
  if (len != 0) {
    if (eal.heard[0] == '\0') memcpy(eal.heard, text, len + 1);
    if (eal.say != NULL) eal.say(text);
  }
  return (ssize_t) n;
}

void tf_eal_hear(void) {
  eal.heard[0] = '\0';
}

const char *tf_eal_heard(void) {
  return eal.heard;
}

/* "0@(0,1,5)": one core of DPDK's, on any processor that this process may use. */
static void floating(char *out, size_t room) {
  cpu_set_t set;
  size_t n = (size_t) snprintf(out, room, "0@(");
  int i;

  CPU_ZERO(&set);
  (void) sched_getaffinity(0, sizeof(set), &set);
  for (i = 0; i < CPU_SETSIZE && n + 8 < room; i++)
    if (CPU_ISSET(i, &set))
      n += (size_t) snprintf(out + n, room - n, "%s%d", out[n - 1] == '(' ? "" : ",", i);
  snprintf(out + n, room - n, ")");
}

static void *start(void *arg) {
  const tf_dev_config_t *c = arg;
  char cores[1024], memory[16];
  char *argv[ARGS];
  int argc = 0;
  FILE *log = fopencookie(NULL, "w", (cookie_io_functions_t){.write = said});

  floating(cores, sizeof(cores));
  snprintf(memory, sizeof(memory), "%u", c->memory);
  argv[argc++] = (char *) "dpdk";
  argv[argc++] = (char *) "--lcores";
  argv[argc++] = cores;
  if (c->hugepages) {
    argv[argc++] = (char *) "--in-memory";
  } else {
    argv[argc++] = (char *) "--no-huge";
    argv[argc++] = (char *) "-m";
    argv[argc++] = memory;
    argv[argc++] = (char *) "--no-shconf";
  }
  argv[argc++] = (char *) "--no-telemetry";
  argv[argc++] = (char *) "--no-pci"; /* they are plugged in by name */
  argv[argc++] = (char *) "--log-level=*:error";
  argv[argc] = NULL;
  if (log != NULL) {
    setvbuf(log, NULL, _IOLBF, 0);
    (void) rte_openlog_stream(log);
  }
  tf_eal_hear();
  if (rte_eal_init(argc, argv) >= 0) return NULL;
  eal.err = rte_errno > 0 ? -rte_errno : -EIO;
  snprintf(eal.why, sizeof(eal.why), "DPDK does not start: %.60s%s%.150s", rte_strerror(-eal.err),
           eal.heard[0] != '\0' ? ": " : "", eal.heard);
  return NULL;
}

static void start_once(const tf_dev_config_t *c) {
  pthread_t thread;
  sigset_t all, before;
  int err;

  eal.tried = true;
  eal.say = c->say;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  err = pthread_create(&thread, NULL, start, (void *) c);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (err != 0) {
    eal.err = -err;
    snprintf(eal.why, sizeof(eal.why), "no thread to start DPDK in: %s", strerror(err));
    return;
  }
  pthread_join(thread, NULL);
}

int tf_eal_start(const tf_dev_config_t *c, char why[TF_DEV_WHY]) {
  int err;

  pthread_mutex_lock(&lock);
  if (!eal.tried) start_once(c);
  err = eal.err;
  snprintf(why, TF_DEV_WHY, "%s", eal.why);
  pthread_mutex_unlock(&lock);
  return err;
}
