/* SPDX-License-Identifier: Apache-2.0 */
/* stream_kernel.c - byte streams over the kernel's TCP sockets, sets of them over epoll.
 *
 * Design notes
 *  - A stream is its descriptor. One contiguous piece goes by send and recv, which cost less than
 *    their siblings with vectors.
 *  - The port of who connects is chosen by connect: bind would look for one that nobody has, which
 *    takes the longer the more connections there are, and ends at 28,000.
 *  - MSG_NOSIGNAL everywhere: a library raises no SIGPIPE in somebody's program.
 *  - The timer of a set is made with its first use: most sets never need it. Its eventfd and `woken`
 *    change together: one that is readable and not known to be would stay so.
 *  - Linux judges TCP_USER_TIMEOUT also by a window that stays shut, so a peer that merely does not
 *    read for so long counts as dead; hence it is off by default. */
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <linux/errqueue.h> /* after time.h */

#include "stream.h"

enum { WAIT_MAX = 64 };

struct tf_set {
  int epfd, wakefd, timer;
  uint64_t at;          /* the deadline */
  pthread_mutex_t lock; /* of the next, with the eventfd */
  int woken;
};

static int fd_of(tf_sock_t s) {
  return (int) s;
}

static void set_int(int fd, int level, int name, int value) {
  (void) setsockopt(fd, level, name, &value, sizeof(value));
}

static void configure(int fd, const tf_sockopts_t *o) {
  if (o->nodelay) set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (o->user_timeout > 0) set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, o->user_timeout);
  if (o->keepidle > 0) {
    set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, (o->keepidle + 999) / 1000);
    if (o->keepintvl > 0) set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, (o->keepintvl + 999) / 1000);
    if (o->keepcnt > 0) set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, o->keepcnt);
  }
  if (o->sndbuf > 0) set_int(fd, SOL_SOCKET, SO_SNDBUF, o->sndbuf);
  if (o->rcvbuf > 0) set_int(fd, SOL_SOCKET, SO_RCVBUF, o->rcvbuf);
  if (o->zerocopy) set_int(fd, SOL_SOCKET, SO_ZEROCOPY, 1);
  if (o->busy_poll > 0) set_int(fd, SOL_SOCKET, SO_BUSY_POLL, o->busy_poll);
}

static int k_open(const struct sockaddr *sa, socklen_t len, const tf_sockopts_t *o, int family,
                  bool late, tf_sock_t *out) {
  int fd =
      socket(sa != NULL ? sa->sa_family : family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  int err;

  if (fd < 0) return -errno;
  configure(fd, o);
  set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (o->reuseport) set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  if (late) set_int(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
  if (sa != NULL && bind(fd, sa, len) != 0) {
    err = -errno;
    close(fd);
    return err;
  }
  *out = fd;
  return 0;
}

static int k_listen(tf_sock_t s, int backlog) {
  return listen(fd_of(s), backlog) == 0 ? 0 : -errno;
}

static int k_accept(tf_sock_t s, const tf_sockopts_t *o, tf_sock_t *out) {
  int fd = accept4(fd_of(s), NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

  if (fd < 0) return -errno;
  configure(fd, o);
  *out = fd;
  return 0;
}

static int k_connect(tf_sock_t s, const struct sockaddr *sa, socklen_t len) {
  return connect(fd_of(s), sa, len) == 0 ? 0 : -errno;
}

static int k_error(tf_sock_t s) {
  int err = 0;
  socklen_t len = sizeof(err);

  if (getsockopt(fd_of(s), SOL_SOCKET, SO_ERROR, &err, &len) != 0) return -errno;
  return -err;
}

static ssize_t k_write(tf_sock_t s, const void *p, size_t n) {
  ssize_t r;

  do r = send(fd_of(s), p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
  while (r < 0 && errno == EINTR);
  return r >= 0 ? r : -errno;
}

static ssize_t sendv(tf_sock_t s, const struct iovec *iov, int n, int flags) {
  struct msghdr m = {.msg_iov = (struct iovec *) iov, .msg_iovlen = (size_t) n};
  ssize_t r;

  do r = sendmsg(fd_of(s), &m, MSG_NOSIGNAL | MSG_DONTWAIT | flags);
  while (r < 0 && errno == EINTR);
  return r >= 0 ? r : -errno;
}

static ssize_t k_writev(tf_sock_t s, const struct iovec *iov, int n) {
  return sendv(s, iov, n, 0);
}

static bool k_lends(void) {
  int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  bool yes = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)) == 0;

  if (fd >= 0) close(fd);
  return yes;
}

static ssize_t k_writez(tf_sock_t s, const struct iovec *iov, int n) {
  return sendv(s, iov, n, MSG_ZEROCOPY);
}

static int k_note(tf_sock_t s, uint32_t *first, uint32_t *last) {
  char control[128];
  struct msghdr m;
  struct cmsghdr *c;

  for (;;) {
    m = (struct msghdr){.msg_control = control, .msg_controllen = sizeof(control)};
    if (recvmsg(fd_of(s), &m, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) {
      if (errno == EINTR) continue;
      return 0;
    }
    for (c = CMSG_FIRSTHDR(&m); c != NULL; c = CMSG_NXTHDR(&m, c)) {
      struct sock_extended_err e;
      memcpy(&e, CMSG_DATA(c), sizeof(e));
      if (e.ee_origin != SO_EE_ORIGIN_ZEROCOPY || e.ee_errno != 0) continue;
      *first = e.ee_info;
      *last = e.ee_data;
      return 1;
    }
  }
}

static ssize_t k_read(tf_sock_t s, void *p, size_t n) {
  ssize_t r;

  do r = recv(fd_of(s), p, n, MSG_DONTWAIT);
  while (r < 0 && errno == EINTR);
  return r >= 0 ? r : -errno;
}

static ssize_t k_readv(tf_sock_t s, const struct iovec *iov, int n) {
  struct msghdr m = {.msg_iov = (struct iovec *) iov, .msg_iovlen = (size_t) n};
  ssize_t r;

  do r = recvmsg(fd_of(s), &m, MSG_DONTWAIT);
  while (r < 0 && errno == EINTR);
  return r >= 0 ? r : -errno;
}

static int k_name(tf_sock_t s, struct sockaddr_storage *sa, socklen_t *len) {
  *len = sizeof(*sa);
  return getsockname(fd_of(s), (struct sockaddr *) sa, len) == 0 ? 0 : -errno;
}

static int k_peer(tf_sock_t s, struct sockaddr_storage *sa, socklen_t *len) {
  *len = sizeof(*sa);
  return getpeername(fd_of(s), (struct sockaddr *) sa, len) == 0 ? 0 : -errno;
}

static void k_shutdown(tf_sock_t s) {
  (void) shutdown(fd_of(s), SHUT_RDWR);
}

static void k_reset(tf_sock_t s) {
  const struct sockaddr none = {.sa_family = AF_UNSPEC};

  (void) connect(fd_of(s), &none, sizeof(none));
}

static void k_close(tf_sock_t s) {
  close(fd_of(s));
}

/* ---- Sets ---- */

static uint64_t k_now(void) {
  struct timespec t;

  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t) t.tv_sec * 1000 + (uint64_t) t.tv_nsec / 1000000;
}

static int k_set_open(tf_set_t **out) {
  tf_set_t *set = calloc(1, sizeof(*set));

  if (set == NULL) return -ENOMEM;
  set->wakefd = set->timer = -1;
  set->epfd = epoll_create1(EPOLL_CLOEXEC);
  if (set->epfd >= 0) set->wakefd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (set->epfd < 0 || set->wakefd < 0) {
    int err = -errno;
    if (set->epfd >= 0) close(set->epfd);
    free(set);
    return err;
  }
  if (epoll_ctl(set->epfd, EPOLL_CTL_ADD, set->wakefd, &(struct epoll_event){.events = EPOLLIN}) !=
      0) {
    int err = -errno;
    close(set->wakefd);
    close(set->epfd);
    free(set);
    return err;
  }
  pthread_mutex_init(&set->lock, NULL);
  *out = set;
  return 0;
}

static void k_set_close(tf_set_t *set) {
  pthread_mutex_destroy(&set->lock);
  if (set->timer >= 0) close(set->timer);
  close(set->wakefd);
  close(set->epfd);
  free(set);
}

static int k_set_fd(tf_set_t *set) {
  return set->epfd;
}

static uint32_t to_epoll(unsigned events) {
  return ((events & TF_IN) != 0 ? EPOLLIN : 0u) | ((events & TF_OUT) != 0 ? EPOLLOUT : 0u) |
         ((events & TF_HUP) != 0 ? EPOLLRDHUP : 0u);
}

static int k_add(tf_set_t *set, tf_sock_t s, unsigned events, void *ptr) {
  struct epoll_event e = {.events = to_epoll(events), .data.ptr = ptr};

  return epoll_ctl(set->epfd, EPOLL_CTL_ADD, fd_of(s), &e) == 0 ? 0 : -errno;
}

static int k_mod(tf_set_t *set, tf_sock_t s, unsigned events, void *ptr) {
  struct epoll_event e = {.events = to_epoll(events), .data.ptr = ptr};

  return epoll_ctl(set->epfd, EPOLL_CTL_MOD, fd_of(s), &e) == 0 ? 0 : -errno;
}

static void k_del(tf_set_t *set, tf_sock_t s) {
  (void) epoll_ctl(set->epfd, EPOLL_CTL_DEL, fd_of(s), NULL);
}

static int k_wait(tf_set_t *set, tf_ready_t *out, int max, int timeout) {
  struct epoll_event e[WAIT_MAX];
  int i, n = epoll_wait(set->epfd, e, max < WAIT_MAX ? max : WAIT_MAX, timeout);

  if (n < 0) return -errno;
  for (i = 0; i < n; i++) {
    out[i].ptr = e[i].data.ptr;
    out[i].events = ((e[i].events & EPOLLIN) != 0 ? TF_IN : 0u) |
                    ((e[i].events & EPOLLOUT) != 0 ? TF_OUT : 0u) |
                    ((e[i].events & (EPOLLRDHUP | EPOLLHUP)) != 0 ? TF_HUP : 0u) |
                    ((e[i].events & EPOLLERR) != 0 ? TF_NOTE : 0u);
  }
  return n;
}

static void k_wake(tf_set_t *set) {
  uint64_t one = 1;

  pthread_mutex_lock(&set->lock);
  if (set->woken == 0) (void) !write(set->wakefd, &one, 8);
  __atomic_store_n(&set->woken, 1, __ATOMIC_RELEASE);
  pthread_mutex_unlock(&set->lock);
}

static void k_quiet(tf_set_t *set) {
  uint64_t n;

  if (__atomic_load_n(&set->woken, __ATOMIC_ACQUIRE) == 0) return;
  pthread_mutex_lock(&set->lock);
  if (set->woken != 0) (void) !read(set->wakefd, &n, 8);
  __atomic_store_n(&set->woken, 0, __ATOMIC_RELEASE);
  pthread_mutex_unlock(&set->lock);
}

static void k_deadline(tf_set_t *set, uint64_t at) {
  struct itimerspec when = {0};

  if (at == set->at && at == 0) return;
  if (set->timer < 0) {
    set->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (set->timer < 0) return;
    (void) epoll_ctl(set->epfd, EPOLL_CTL_ADD, set->timer,
                     &(struct epoll_event){.events = EPOLLIN});
  }
  set->at = at;
  when.it_value.tv_sec = (time_t) (at / 1000);
  when.it_value.tv_nsec = (long) (at % 1000) * 1000000;
  (void) timerfd_settime(set->timer, TFD_TIMER_ABSTIME, &when, NULL);
}

/* The address that the system would send from. */
static bool k_route(const struct sockaddr *dst, struct sockaddr_storage *src) {
  socklen_t len = sizeof(*src), n = dst->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                               : sizeof(struct sockaddr_in);
  int fd = socket(dst->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  bool ok =
      fd >= 0 && connect(fd, dst, n) == 0 && getsockname(fd, (struct sockaddr *) src, &len) == 0;

  if (fd >= 0) close(fd);
  return ok;
}

const tf_stream_t tf_stream = {
    .interfaces = getifaddrs,
    .interfaces_free = freeifaddrs,
    .route = k_route,
    .open = k_open,
    .listen = k_listen,
    .accept = k_accept,
    .connect = k_connect,
    .error = k_error,
    .write = k_write,
    .writev = k_writev,
    .lends = k_lends,
    .writez = k_writez,
    .note = k_note,
    .read = k_read,
    .readv = k_readv,
    .name = k_name,
    .peer = k_peer,
    .shutdown = k_shutdown,
    .reset = k_reset,
    .close = k_close,
    .set_open = k_set_open,
    .set_close = k_set_close,
    .set_fd = k_set_fd,
    .add = k_add,
    .mod = k_mod,
    .del = k_del,
    .wait = k_wait,
    .wake = k_wake,
    .quiet = k_quiet,
    .deadline = k_deadline,
    .now = k_now,
};
