/* SPDX-License-Identifier: Apache-2.0 */
/* set.c - sets of streams to wait for.
 *
 * Design notes
 *  - A member whose events may matter is in its set's list; waiting looks at those alone, so that
 *    10,000 idle streams cost nothing.
 *  - The set's descriptor is an epoll of three: a bell of its own, its deadline, and the stack's bell.
 *    Its own is rung only where somebody may sleep: his set's descriptor was asked for, or he is in
 *    tf_set_wait. It stays rung while something is ready, since the set is level-triggered.
 *  - Who waits with a timeout spins for a moment first. */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "stack.h"

struct tf_member {
  tf_member_t *next; /* of the stream's */
  tf_set_t *set;
  tf_lw_t *stream;
  void *ptr;
  unsigned events;
  bool listed;
  tf_member_t *lprev, *lnext;
};

struct tf_set {
  int epfd, bell, timer;
  uint64_t at;
  bool woken, rung, exposed;
  int sleepers;
  tf_member_t *first, *last; /* those that may be ready */
};

/* ---- Lists ---- */

static void list(tf_member_t *m) {
  tf_set_t *set = m->set;

  if (m->listed) return;
  m->listed = true;
  m->lnext = NULL;
  m->lprev = set->last;
  *(set->last != NULL ? &set->last->lnext : &set->first) = m;
  set->last = m;
}

static void unlist(tf_member_t *m) {
  tf_set_t *set = m->set;

  if (!m->listed) return;
  m->listed = false;
  *(m->lprev != NULL ? &m->lprev->lnext : &set->first) = m->lnext;
  *(m->lnext != NULL ? &m->lnext->lprev : &set->last) = m->lprev;
}

/* What a broken stream says comes unasked, as epoll has it. */
static unsigned ready(const tf_member_t *m) {
  unsigned e = tf_lw_events(m->stream);

  return (e & TF_NOTE) != 0 ? e & (m->events | TF_NOTE | TF_HUP) : e & m->events;
}

static void ring(tf_set_t *set) {
  uint64_t one = 1;

  if (set->rung || (!set->exposed && set->sleepers == 0)) return;
  set->rung = true;
  (void) !write(set->bell, &one, sizeof(one));
}

static void hush(tf_set_t *set) {
  uint64_t n;

  if (!set->rung) return;
  set->rung = false;
  (void) !read(set->bell, &n, sizeof(n));
}

static void check(tf_member_t *m) {
  if (m->listed || ready(m) == 0) return;
  list(m);
  ring(m->set);
}

void tf_set_mark(tf_lw_t *s) {
  tf_member_t *m;

  for (m = *tf_lw_members(s); m != NULL; m = m->next) check(m);
}

static bool due(const tf_set_t *set) {
  return set->at != 0 && tf_set_now() >= set->at;
}

/* Is anything ready? Forgets who is not. */
static bool any(tf_set_t *set) {
  tf_member_t *m, *next;

  for (m = set->first; m != NULL; m = next) {
    next = m->lnext;
    if (ready(m) != 0) return true;
    unlist(m);
  }
  return set->woken || due(set);
}

static int collect(tf_set_t *set, tf_ready_t *out, int max) {
  tf_member_t *m = set->first, *stop = set->last, *next;
  unsigned e;
  bool end = m == NULL;
  int n = 0;

  if (max > 0 && (set->woken || due(set))) out[n++] = (tf_ready_t){NULL, TF_IN};
  for (; !end && n < max; m = next) {
    end = m == stop;
    next = m->lnext;
    e = ready(m);
    unlist(m);
    if (e == 0) continue;
    list(m); /* last, so that all get their turn */
    out[n++] = (tf_ready_t){m->ptr, e};
  }
  if (set->first == NULL && !set->woken) hush(set);
  return n;
}

/* ---- Members ---- */

static tf_member_t **place(tf_set_t *set, tf_sock_t s) {
  tf_member_t **at = tf_lw_members((tf_lw_t *) s);

  while (*at != NULL && (*at)->set != set) at = &(*at)->next;
  return at;
}

int tf_set_add(tf_set_t *set, tf_sock_t s, unsigned events, void *ptr) {
  tf_member_t *m = calloc(1, sizeof(*m)), **at;

  if (m == NULL) return -ENOMEM;
  tf_stack_lock();
  at = place(set, s);
  if (*at != NULL) {
    tf_stack_unlock();
    free(m);
    return -EEXIST;
  }
  m->set = set;
  m->stream = (tf_lw_t *) s;
  m->events = events;
  m->ptr = ptr;
  *at = m;
  check(m);
  tf_stack_unlock();
  return 0;
}

int tf_set_mod(tf_set_t *set, tf_sock_t s, unsigned events, void *ptr) {
  tf_member_t *m;

  tf_stack_lock();
  m = *place(set, s);
  if (m != NULL) {
    m->events = events;
    m->ptr = ptr;
    check(m);
  }
  tf_stack_unlock();
  return m != NULL ? 0 : -ENOENT;
}

static void leave(tf_member_t **at) {
  tf_member_t *m = *at;

  *at = m->next;
  unlist(m);
  free(m);
}

void tf_set_del(tf_set_t *set, tf_sock_t s) {
  tf_member_t **at;

  tf_stack_lock();
  at = place(set, s);
  if (*at != NULL) leave(at);
  tf_stack_unlock();
}

void tf_set_leave_all(tf_lw_t *s) {
  while (*tf_lw_members(s) != NULL) leave(tf_lw_members(s));
}

/* ---- Sets ---- */

static int watch(tf_set_t *set, int fd) {
  if (fd < 0) return 0;
  return epoll_ctl(set->epfd, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN}) == 0
             ? 0
             : -errno;
}

int tf_set_open(tf_set_t **out) {
  tf_set_t *set = calloc(1, sizeof(*set));
  int err = 0;

  if (set == NULL) return -ENOMEM;
  set->timer = set->bell = -1;
  set->epfd = epoll_create1(EPOLL_CLOEXEC);
  if (set->epfd >= 0) set->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (set->bell < 0) err = -errno;
  if (err == 0) err = watch(set, set->bell);
  if (err == 0) err = watch(set, tf_stack_bell());
  if (err != 0) {
    tf_set_close(set);
    return err;
  }
  *out = set;
  return 0;
}

void tf_set_close(tf_set_t *set) {
  tf_stack_lock();
  while (set->first != NULL) unlist(set->first);
  if (set->exposed) tf_stack_watch(-1);
  tf_stack_unlock();
  if (set->timer >= 0) close(set->timer);
  if (set->bell >= 0) close(set->bell);
  if (set->epfd >= 0) close(set->epfd);
  free(set);
}

int tf_set_fd(tf_set_t *set) {
  tf_stack_lock();
  if (!set->exposed) {
    set->exposed = true;
    tf_stack_watch(1);
    tf_stack_poll();
    if (any(set)) ring(set);
  }
  tf_stack_unlock();
  return set->epfd;
}

/* ---- Waiting ---- */

static int left(uint64_t until, uint64_t now) {
  uint64_t ms = until <= now ? 0 : (until - now + 999999) / 1000000;

  return ms > 1000000 ? 1000000 : (int) ms;
}

int tf_set_wait(tf_set_t *set, tf_ready_t *out, int max, int timeout) {
  uint64_t now = 0, until = 0, spin = 0;
  struct epoll_event e;
  int n, err;

  tf_stack_lock();
  for (;;) {
    tf_stack_poll();
    n = collect(set, out, max);
    if (n != 0 || timeout == 0) break;
    now = tf_stack_ns();
    if (spin == 0) {
      spin = now + (uint64_t) tf_config.spin * 1000;
      until = timeout > 0 ? now + (uint64_t) timeout * 1000000 : 0;
    }
    if (timeout > 0 && now >= until) break;
    if (now < spin) {
      tf_stack_unlock();
      tf_stack_lock();
      continue;
    }
    set->sleepers++;
    tf_stack_watch(1);
    tf_stack_arm();
    hush(set);
    tf_stack_unlock();
    err = epoll_wait(set->epfd, &e, 1, timeout > 0 ? left(until, now) : -1) < 0 ? -errno : 0;
    tf_stack_lock();
    tf_stack_watch(-1);
    set->sleepers--;
    if (err != 0) {
      n = err;
      break;
    }
  }
  tf_stack_unlock();
  return n;
}

void tf_set_wake(tf_set_t *set) {
  tf_stack_lock();
  set->woken = true;
  ring(set);
  tf_stack_unlock();
}

void tf_set_quiet(tf_set_t *set) {
  tf_stack_lock();
  set->woken = false;
  if (set->exposed) {
    tf_stack_poll();
    tf_stack_arm();
    if (any(set))
      ring(set);
    else
      hush(set);
  }
  tf_stack_unlock();
}

void tf_set_deadline(tf_set_t *set, uint64_t at) {
  struct itimerspec when = {0};

  tf_stack_lock();
  if (at != 0 || set->at != 0) {
    if (set->timer < 0) {
      set->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
      (void) watch(set, set->timer);
    }
    set->at = at;
    when.it_value.tv_sec = (time_t) (at / 1000);
    when.it_value.tv_nsec = (long) (at % 1000) * 1000000;
    if (set->timer >= 0) (void) timerfd_settime(set->timer, TFD_TIMER_ABSTIME, &when, NULL);
  }
  tf_stack_unlock();
}

uint64_t tf_set_now(void) {
  return tf_stack_ns() / 1000000;
}
