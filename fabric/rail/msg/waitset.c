/* SPDX-License-Identifier: Apache-2.0 */
/* waitset.c - what a completion queue sleeps on: one fd of its own, or the sockets it lists.
 *
 * Design notes
 *  - With FI_WAIT_FD the tcp provider keeps its sockets in an epoll set of its own and looks there
 *    at every read of the queue; with FI_WAIT_POLLFD it calls poll on them, which is 9 to 17 % of a
 *    round trip cheaper for a few sockets (docs/performance.md). It then tells which descriptors to
 *    sleep on, and we keep those in the rail's epoll set.
 *  - The list may only be trusted after fi_trywait, which applies what is pending.
 *    weft__waitset_sync is called there, so before every sleep, and costs one comparison while
 *    nothing has changed.
 *  - A descriptor may be closed and its number used again between two looks, also by another queue
 *    of this rail. So when the provider says that the list changed every entry is set anew, and an
 *    entry that is gone is only taken out of the epoll set while the number is still this queue's
 *    (rail->watched). The kernel forgets closed ones by itself.
 *  - The first two entries are signals of the provider's: the poll set's own, which stays raised
 *    and wakes nobody, and the queue's, raised by every completion. Watching that one makes each
 *    completion 0.5 us dearer, and nobody needs it: on such a queue completions come only out of
 *    calls of ours, and after each of those the shard is dirty, so fi_trywait looks into the queue
 *    before the loop sleeps. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/fault.h"
#include "internal.h"

enum { SIGNALS = 2 };

static int watch(weft__rail_t *rail, int fd, short events, void *src) {
  struct epoll_event ev = {.data.ptr = src};
  int err = WEFT__FAULT(epoll);

  if (err == 0 && (size_t) fd >= rail->nwatched) {
    size_t n = (size_t) fd + 64;
    void **v = realloc(rail->watched, n * sizeof(*v));
    if (v == NULL) return -ENOMEM;
    memset(v + rail->nwatched, 0, (n - rail->nwatched) * sizeof(*v));
    rail->watched = v;
    rail->nwatched = n;
  }
  if (err != 0) return err;
  rail->watched[fd] = src;
  ev.events = (events & POLLIN ? EPOLLIN : 0u) | (events & POLLOUT ? EPOLLOUT : 0u);
  if (epoll_ctl(rail->epfd, EPOLL_CTL_ADD, fd, &ev) == 0) return 0;
  if (errno == EEXIST && epoll_ctl(rail->epfd, EPOLL_CTL_MOD, fd, &ev) == 0) return 0;
  return -errno;
}

static void unwatch(weft__rail_t *rail, int fd, void *src) {
  if ((size_t) fd >= rail->nwatched || rail->watched[fd] != src) return;
  rail->watched[fd] = NULL;
  (void) epoll_ctl(rail->epfd, EPOLL_CTL_DEL, fd, NULL);
}

int weft__wait_add(weft__rail_t *rail, struct fid *fid, void *src) {
  int fd, err = weft__fi_err(fi_control(fid, FI_GETWAIT, &fd));

  return err != 0 ? err : watch(rail, fd, POLLIN, src);
}

void weft__wait_del(weft__rail_t *rail, struct fid *fid, void *src) {
  int fd;

  if (fi_control(fid, FI_GETWAIT, &fd) == 0) unwatch(rail, fd, src);
}

static bool listed(const struct pollfd *v, size_t n, int fd) {
  size_t i;

  for (i = SIGNALS; i < n; i++)
    if (v[i].fd == fd) return true;
  return false;
}

int weft__waitset_sync(weft__shard_t *s) {
  weft__waitset_t *w = &s->wait;
  struct fi_wait_pollfd list;
  struct pollfd *swap;
  size_t i, cap;
  int rc, err = 0;
  bool anew;

  for (;;) {
    list.nfds = w->cap;
    list.fd = w->next;
    rc = fi_control(&s->cq->fid, FI_GETWAIT, &list);
    if (rc != -FI_ETOOSMALL) break;
    cap = list.nfds + 8;
    if ((swap = realloc(w->next, cap * sizeof(*swap))) == NULL) return -ENOMEM;
    w->next = swap;
    if ((swap = realloc(w->now, cap * sizeof(*swap))) == NULL) return -ENOMEM;
    w->now = swap;
    w->cap = cap; /* now that both have the room */
  }
  if (rc != 0) return weft__fi_err(rc);
  anew = list.change_index != w->change || list.nfds != w->n;
  for (i = SIGNALS; i < w->n && anew; i++) /* gone; or closed, then the kernel knows */
    if (!listed(w->next, list.nfds, w->now[i].fd)) unwatch(s->rail, w->now[i].fd, s);
  for (i = SIGNALS; i < list.nfds && err == 0; i++)
    if (anew || w->now[i].fd != w->next[i].fd || w->now[i].events != w->next[i].events)
      err = watch(s->rail, w->next[i].fd, w->next[i].events, s);
  if (err == -EBADF || err == -ENOENT)
    err = -EAGAIN; /* closed a moment ago: the queue has something to say about it */
  if (err != 0) {
    w->change = 0;
    w->n = 0;
    return err;
  }
  swap = w->now;
  w->now = w->next;
  w->next = swap;
  w->n = list.nfds;
  w->change = list.change_index;
  return 0;
}

void weft__waitset_fini(weft__shard_t *s) {
  size_t i;

  for (i = SIGNALS; i < s->wait.n; i++) unwatch(s->rail, s->wait.now[i].fd, s);
  free(s->wait.now);
  free(s->wait.next);
}
