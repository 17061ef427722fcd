/* SPDX-License-Identifier: Apache-2.0 */
/* quickstart_tcp.c - what quickstart.sh compares with: a round trip of 64 bytes over plain blocking
 * TCP sockets, without Weft and without libfabric.
 *
 *   quickstart_tcp listen ADDRESS           answer any number of peers, one after the other
 *   quickstart_tcp connect ADDRESS PORT */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 64, WARM_UP = 200, PINGS = 5000 };

static uint64_t now_ns(void) {
  struct timespec t;

  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t) t.tv_sec * 1000000000 + (uint64_t) t.tv_nsec;
}

static void no_delay(int fd) {
  int on = 1;

  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* 1: a whole message; 0: the peer has closed, or an error. */
static int read_message(int fd, char *buf) {
  return recv(fd, buf, SIZE, MSG_WAITALL) == SIZE;
}

static int write_message(int fd, const char *buf) {
  return send(fd, buf, SIZE, MSG_NOSIGNAL) == SIZE;
}

static int serve(struct sockaddr_in *addr) {
  socklen_t len = sizeof(*addr);
  char buf[SIZE];
  int fd = socket(AF_INET, SOCK_STREAM, 0);

  if (fd < 0 || bind(fd, (struct sockaddr *) addr, len) != 0 || listen(fd, 8) != 0 ||
      getsockname(fd, (struct sockaddr *) addr, &len) != 0)
    return 1;
  printf("listening at port %d\n", ntohs(addr->sin_port));
  fflush(stdout);
  for (;;) {
    int peer = accept(fd, NULL, NULL);
    if (peer < 0) return 1;
    no_delay(peer);
    while (read_message(peer, buf) && write_message(peer, buf))
      ;
    close(peer);
  }
}

static int by_value(const void *a, const void *b) {
  const uint64_t *x = a, *y = b;

  return *x < *y ? -1 : *x > *y;
}

static int measure(const struct sockaddr_in *addr) {
  static uint64_t took[PINGS];
  char buf[SIZE] = {0};
  int fd = socket(AF_INET, SOCK_STREAM, 0);

  if (fd < 0 || connect(fd, (const struct sockaddr *) addr, sizeof(*addr)) != 0) return 1;
  no_delay(fd);
  for (int i = -WARM_UP; i < PINGS; i++) {
    uint64_t from = now_ns();
    if (!write_message(fd, buf) || !read_message(fd, buf)) return 1;
    if (i >= 0) took[i] = now_ns() - from;
  }
  close(fd);
  qsort(took, PINGS, sizeof(took[0]), by_value);
  printf("round trip of 64 bytes: p50 %.1f us, p99 %.1f us\n", (double) took[PINGS / 2] / 1e3,
         (double) took[PINGS * 99 / 100] / 1e3);
  return 0;
}

int main(int argc, char **argv) {
  struct sockaddr_in addr = {.sin_family = AF_INET};
  int listens = argc == 3 && strcmp(argv[1], "listen") == 0, rc = 2;

  if ((listens || (argc == 4 && strcmp(argv[1], "connect") == 0)) &&
      inet_pton(AF_INET, argv[2], &addr.sin_addr) == 1) {
    addr.sin_port = listens ? 0 : htons((uint16_t) atoi(argv[3]));
    rc = listens ? serve(&addr) : measure(&addr);
    if (rc != 0) perror(argv[2]);
  } else {
    fprintf(stderr, "Usage: quickstart_tcp listen ADDRESS | connect ADDRESS PORT\n");
  }
  return rc;
}
