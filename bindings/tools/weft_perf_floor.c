/* SPDX-License-Identifier: Apache-2.0 */
/* weft_perf_floor.c - the floor of raw TCP sockets, and the choice between the floors.
 * Plain on purpose: what a careful programmer writes in an afternoon, and nothing Weft could hide
 * behind.
 *
 * Design notes
 * - A stream goes through `window` buffers in turn at both ends, as one with messages under way
 *   does: one buffer alone would stay in the cache.
 * - A server's waits last PERF_SLICE_MS at most, so that neither a client that stands still nor one
 *   that never ends keeps it beyond its limit, and a signal ends it at once. */
#include "weft_perf_floor.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct perf_floor_server_s {
  perf_floor_spec_t spec;
  int fd;
  perf_fi_t *fi;
};

static int fail(const char *what) {
  int err = errno ? errno : EIO;
  fprintf(stderr, "floor, sockets: %s: %s\n", what, strerror(err));
  return -err;
}

int perf_limit_over(const perf_limit_t *limit) {
  struct timespec t;
  if (!limit) return 0;
  if (limit->stop && *limit->stop) return -ECANCELED;
  clock_gettime(CLOCK_MONOTONIC_COARSE,
                &t); /* the same clock as perf_now, for a tenth of the price */
  uint64_t now = (uint64_t) t.tv_sec * 1000000000u + (uint64_t) t.tv_nsec;
  return now < limit->deadline ? 0 : -ETIMEDOUT;
}

void perf_limit_set(perf_limit_t *limit, double seconds) {
  limit->deadline = perf_now() + (uint64_t) (seconds * 1e9);
}

static int resolve(const perf_floor_spec_t *spec, int flags, struct addrinfo **ai) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
  char port[8];
  snprintf(port, sizeof(port), "%u", spec->port);
  int rc = getaddrinfo(spec->host, port, &hints, ai);
  if (rc) {
    fprintf(stderr, "floor, sockets: %s: %s\n", spec->host, gai_strerror(rc));
    return -EINVAL;
  }
  return 0;
}

static int sock_listen(const perf_floor_spec_t *spec, int *out, uint16_t *port) {
  struct addrinfo *ai;
  int rc = resolve(spec, AI_PASSIVE, &ai);
  if (rc) return rc;
  int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
  if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  struct sockaddr_storage ss;
  socklen_t len = sizeof(ss);
  if (fd < 0 || bind(fd, ai->ai_addr, ai->ai_addrlen) || listen(fd, 1) ||
      getsockname(fd, (struct sockaddr *) &ss, &len)) {
    rc = fail("listen");
    if (fd >= 0) close(fd);
  } else {
    *out = fd;
    *port = ntohs(ss.ss_family == AF_INET6 ? ((struct sockaddr_in6 *) &ss)->sin6_port
                                           : ((struct sockaddr_in *) &ss)->sin_port);
  }
  freeaddrinfo(ai);
  return rc;
}

static int sock_connect(const perf_floor_spec_t *spec, int *out) {
  struct addrinfo *ai;
  int rc = resolve(spec, 0, &ai), one = 1;
  if (rc) return rc;
  int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, ai->ai_addr, ai->ai_addrlen)) {
    rc = fail("connect");
    if (fd >= 0) close(fd);
  } else {
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    *out = fd;
  }
  freeaddrinfo(ai);
  return rc;
}

/* Exactly n bytes. Spinning asks with MSG_DONTWAIT until there is something. 1, 0 at the end of the
 * stream, -errno. */
static int recv_all(int fd, char *buf, size_t n, int flags, const perf_limit_t *limit) {
  for (size_t got = 0; got < n;) {
    int rc = perf_limit_over(limit);
    if (rc) return rc;
    ssize_t r = recv(fd, buf + got, n - got, flags);
    if (r > 0)
      got += (size_t) r;
    else if (r == 0)
      return 0;
    else if (errno != EAGAIN && errno != EINTR)
      return errno == ECONNRESET ? 0 : fail("recv");
  }
  return 1;
}

static int send_all(int fd, const char *buf, size_t n, const perf_limit_t *limit) {
  for (size_t put = 0; put < n;) {
    int rc = perf_limit_over(limit);
    if (rc) return rc;
    ssize_t r = send(fd, buf + put, n - put, MSG_NOSIGNAL);
    if (r >= 0)
      put += (size_t) r;
    else if (errno != EINTR && errno != EAGAIN)
      return errno == EPIPE || errno == ECONNRESET ? 0 : fail("send");
  }
  return 1;
}

static int sock_serve(int lfd, const perf_floor_spec_t *spec, perf_limit_t *limit) {
  struct pollfd p = {.fd = lfd, .events = POLLIN};
  int rc, ready = 0, one = 1;
  do rc = perf_limit_over(limit);
  while (!rc && ((ready = poll(&p, 1, PERF_SLICE_MS)) == 0 || (ready < 0 && errno == EINTR)));
  if (rc == -ECANCELED) return rc;
  errno = rc ? -rc : errno;
  int fd = !rc && ready == 1 ? accept4(lfd, NULL, NULL, SOCK_CLOEXEC) : -1;
  if (fd < 0) return fail("accept");
  perf_limit_set(limit, spec->seconds + PERF_FLOOR_GRACE_S);
  struct timeval slice = {.tv_usec = PERF_SLICE_MS * 1000};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &slice, sizeof(slice));
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &slice, sizeof(slice));
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  int flags = perf_floor_sleeps(spec) ? 0 : MSG_DONTWAIT;
  rc = 1;
  size_t room = spec->size < 65536 ? 65536 : spec->size;
  unsigned slots = spec->shape == PERF_FLOOR_STREAM ? spec->window : 1;
  char *buf = malloc(room * slots);
  if (!buf) {
    rc = -ENOMEM;
  } else if (spec->shape == PERF_FLOOR_PINGPONG) {
    while ((rc = recv_all(fd, buf, spec->size, flags, limit)) == 1)
      if ((rc = send_all(fd, buf, spec->size, limit)) != 1) break;
  } else {
    uint64_t total = 0;
    size_t at = 0; /* in the memory of all slots, where the next byte goes */
    while (!(rc = perf_limit_over(limit))) {
      ssize_t r = recv(fd, buf + at, room - at % room, flags);
      if (r > 0) {
        total += (uint64_t) r;
        at = (at + (size_t) r) % (room * slots);
      } else if (r == 0) {
        rc = send_all(fd, (char *) &total, sizeof(total), limit);
        break;
      } else if (errno != EAGAIN && errno != EINTR) {
        rc = fail("recv");
        break;
      }
    }
  }
  if (rc == -ETIMEDOUT) fprintf(stderr, "floor, sockets: the client's time is over\n");
  free(buf);
  close(fd);
  return rc < 0 ? rc : 0;
}

static int sock_pingpong(const perf_floor_spec_t *spec, perf_hist_t *rtt) {
  int fd, rc = sock_connect(spec, &fd);
  if (rc) return rc;
  char *buf = calloc(1, spec->size);
  if (!buf) {
    close(fd);
    return -ENOMEM;
  }
  int flags = perf_floor_sleeps(spec) ? 0 : MSG_DONTWAIT;
  uint64_t start = perf_now(), span = (uint64_t) (spec->seconds * 1e9), now = start;
  for (uint64_t n = 0; now - start < span; n++) {
    uint64_t t0 = now;
    if ((rc = send_all(fd, buf, spec->size, NULL)) != 1 ||
        (rc = recv_all(fd, buf, spec->size, flags, NULL)) != 1) {
      rc = rc ? rc : -ECONNRESET;
      break;
    }
    now = perf_now();
    if (n >= 1000 || now - start > span / 20) perf_hist_add(rtt, now - t0);
  }
  free(buf);
  close(fd);
  return rc < 0 ? rc : 0;
}

static int sock_stream(const perf_floor_spec_t *spec, perf_rate_t *out) {
  int fd, rc = sock_connect(spec, &fd);
  if (rc) return rc;
  char *buf = calloc(spec->window, spec->size);
  uint64_t total = 0, n = 0;
  uint64_t start = perf_now(), span = (uint64_t) (spec->seconds * 1e9);
  rc = buf ? 1 : -ENOMEM;
  while (rc == 1 && perf_now() - start < span) {
    rc = send_all(fd, buf + n++ % spec->window * spec->size, spec->size, NULL);
  }
  if (rc == 1) {
    shutdown(fd, SHUT_WR);
    rc = recv_all(fd, (char *) &total, sizeof(total), 0, NULL);
  }
  out->ns = perf_now() - start;
  out->messages = n;
  out->bytes = total;
  if (rc == 1 && total != n * spec->size) {
    fprintf(stderr, "floor, sockets: %lu bytes sent, %lu received\n",
            (unsigned long) (n * spec->size), (unsigned long) total);
    rc = -EIO;
  }
  free(buf);
  close(fd);
  return rc == 1 ? 0 : rc ? rc : -ECONNRESET;
}

int perf_floor_listen(const perf_floor_spec_t *spec, perf_floor_server_t **out, uint16_t *port) {
  perf_floor_server_t *s = calloc(1, sizeof(*s));
  if (!s) return -ENOMEM;
  s->spec = *spec;
  s->fd = -1;
  int rc = spec->kind == PERF_FLOOR_SOCKETS ? sock_listen(spec, &s->fd, port)
                                            : perf_fi_listen(spec, &s->fi, port);
  if (rc)
    free(s);
  else
    *out = s;
  return rc;
}

int perf_floor_serve(perf_floor_server_t *s, const volatile sig_atomic_t *stop) {
  perf_limit_t limit = {.stop = stop};
  perf_limit_set(&limit, PERF_FLOOR_GRACE_S);
  int rc = s->fi ? perf_fi_serve(s->fi, &limit) : sock_serve(s->fd, &s->spec, &limit);
  if (s->fd >= 0) close(s->fd);
  free(s);
  return rc;
}

int perf_floor_pingpong(const perf_floor_spec_t *spec, perf_hist_t *rtt) {
  return spec->kind == PERF_FLOOR_SOCKETS ? sock_pingpong(spec, rtt) : perf_fi_pingpong(spec, rtt);
}

int perf_floor_stream(const perf_floor_spec_t *spec, perf_rate_t *out) {
  return spec->kind == PERF_FLOOR_SOCKETS ? sock_stream(spec, out) : perf_fi_stream(spec, out);
}
