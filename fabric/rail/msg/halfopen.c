/* SPDX-License-Identifier: Apache-2.0 */
/* halfopen.c - connections to a tcp listener that were opened and have not spoken yet.
 *
 * Design notes
 *  - tcp accepts a connection, then waits for its request without a limit; when the listener goes
 *    it forgets the socket (a descriptor is lost) but not the listener (a later word from the peer
 *    reads freed memory). It offers no way to name such a connection, but the kernel lists the
 *    sockets of the event queue's epoll set in /proc/self/fdinfo.
 *  - A socket that is shut down reads as ended, and tcp then puts it away in the ordinary way.
 *    Shutting the listening socket down keeps new ones from coming.
 *  - Sockets are known by inode: a number may be used again, an inode not so soon.
 *  - Without /proc nothing is done, and the leak is small. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "internal.h"

struct weft__half {
  unsigned long inode;
  uint64_t since;
  bool seen;
};

enum { LIMIT = 4096 };

/* Calls `each` for every internet socket in the epoll set. */
static int walk(weft__lst_t *l,
                void (*each)(weft__lst_t *, int fd, bool listening, unsigned long inode)) {
  char path[64], line[256];
  int fd, n = 0, epfd;
  FILE *f;

  if (fi_control(&l->eq->eq->fid, FI_GETWAIT, &epfd) != 0) return 0;
  snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", epfd);
  f = fopen(path, "re");
  if (f == NULL) return 0;
  while (n < LIMIT && fgets(line, sizeof(line), f) != NULL) {
    int listening = 0, domain = 0;
    socklen_t len = sizeof(int);
    unsigned long inode = 0;
    const char *ino = strstr(line, "ino:");

    if (sscanf(line, "tfd: %d", &fd) != 1) continue;
    if (ino != NULL) inode = strtoul(ino + 4, NULL, 16);
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) != 0 ||
        (domain != AF_INET && domain != AF_INET6))
      continue;
    len = sizeof(int);
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) != 0) continue;
    each(l, fd, listening != 0, inode);
    n += listening == 0;
  }
  fclose(f);
  return n;
}

static void end(weft__lst_t *l, int fd, bool listening, unsigned long inode) {
  (void) l;
  (void) listening;
  (void) inode;
  (void) shutdown(fd, SHUT_RDWR);
}

int weft__half_end(weft__lst_t *l) {
  return l->rail->q->half_open ? walk(l, end) : 0;
}

/* Whoever has not spoken for a while is shown the door. */
static void look(weft__lst_t *l, int fd, bool listening, unsigned long inode) {
  uint64_t now = *l->rail->env->now_ns;
  unsigned i;

  if (listening) return;
  for (i = 0; i < l->nhalf; i++)
    if (l->half[i].inode == inode) {
      l->half[i].seen = true;
      if (now - l->half[i].since > HALF_OPEN_NS) {
        weft__debug("%s: %s: a connection that has not spoken for %u s is closed", l->rail->name,
                    l->name, (unsigned) (HALF_OPEN_NS / 1000000000u));
        (void) shutdown(fd, SHUT_RDWR);
      }
      return;
    }
  if (l->nhalf == l->half_room) {
    unsigned room = l->half_room != 0 ? 2 * l->half_room : 16;
    struct weft__half *v = realloc(l->half, room * sizeof(*v));
    if (v == NULL) return;
    l->half = v;
    l->half_room = room;
  }
  l->half[l->nhalf++] = (struct weft__half){.inode = inode, .since = now, .seen = true};
}

bool weft__half_sweep(weft__lst_t *l) {
  unsigned i, n = 0;

  if (!l->rail->q->half_open) return false;
  for (i = 0; i < l->nhalf; i++) l->half[i].seen = false;
  walk(l, look);
  for (i = 0; i < l->nhalf; i++)
    if (l->half[i].seen) l->half[n++] = l->half[i];
  l->nhalf = n;
  return n != 0;
}
