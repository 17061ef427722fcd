/* SPDX-License-Identifier: Apache-2.0 */
/* lib_netns.c - unshare, and `ip -batch`. */
#include "lib_netns.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int put(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  ssize_t n;

  if (fd < 0) return -errno;
  n = write(fd, text, strlen(text));
  close(fd);
  return n == (ssize_t) strlen(text) ? 0 : -EIO;
}

static int enter_as_user(void) {
  char map[64];
  uid_t uid = getuid();
  gid_t gid = getgid();
  int err;

  if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return -errno;
  (void) put("/proc/self/setgroups", "deny");
  snprintf(map, sizeof(map), "0 %u 1", (unsigned) uid);
  err = put("/proc/self/uid_map", map);
  snprintf(map, sizeof(map), "0 %u 1", (unsigned) gid);
  return err != 0 ? err : put("/proc/self/gid_map", map);
}

int netns_enter(void) {
  int err = 0;

  if (unshare(CLONE_NEWNET) != 0) err = errno == EPERM ? enter_as_user() : -errno;
  if (err == 0 && netns_ip("link set lo up\n") != 0) err = -ENOSYS;
  return err;
}

int netns_ip(const char *fmt, ...) {
  char text[2048];
  int fd[2], status;
  va_list ap;
  pid_t pid;
  ssize_t n;

  va_start(ap, fmt);
  vsnprintf(text, sizeof(text), fmt, ap);
  va_end(ap);
  if (pipe2(fd, O_CLOEXEC) != 0) return -errno;
  pid = fork();
  if (pid < 0) return -errno;
  if (pid == 0) {
    dup2(fd[0], 0);
    execlp("ip", "ip", "-batch", "-", (char *) NULL);
    execl("/sbin/ip", "ip", "-batch", "-", (char *) NULL);
    _exit(127);
  }
  close(fd[0]);
  n = write(fd[1], text, strlen(text));
  close(fd[1]);
  if (waitpid(pid, &status, 0) != pid || n != (ssize_t) strlen(text)) return -EIO;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

int netns_wait_carrier(const char *device) {
  struct ifreq req = {0};
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), i, err = -ETIMEDOUT;

  if (fd < 0) return -errno;
  snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", device);
  for (i = 0; i < 1000 && err == -ETIMEDOUT; i++) {
    if (ioctl(fd, SIOCGIFFLAGS, &req) != 0)
      err = -errno;
    else if ((req.ifr_flags & IFF_RUNNING) != 0)
      err = 0;
    else
      usleep(5000);
  }
  close(fd);
  return err;
}
