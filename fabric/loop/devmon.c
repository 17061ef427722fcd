/* SPDX-License-Identifier: Apache-2.0 */
/* devmon.c - what the system says of RDMA devices: a port that goes down or comes up, a device that
 * is taken away.
 *
 * Design notes
 *  - libfabric passes none of it on, and soft RoCE ends no connection that is idle when its port
 *    goes down: without this such a path dies when somebody sends.
 *  - Port events come from a verbs context of our own, because each context has its own queue of
 *    them.
 *  - That a device goes is told to everybody who is bound to it by RDMA CM: an identifier of ours
 *    is. But where the kernel loaded the CM before the verbs module, it asks the users of verbs
 *    first, and waits for them before it tells the CM. What comes first in any order is the end of
 *    the device's file, as the kernel tells udev (uevent).
 *  - A device that is taken away waits for its last user to close it. So the context here is closed
 *    as soon as it is told, and librdmacm, which opens every device of the system and keeps it open,
 *    is made to look at its list (sweep): at once for those who do not use the device, and when the
 *    rails are gone.
 *  - One per device and context, whatever the number of its addresses. Opened, closed and swept on
 *    the worker; the events are read on the loop's thread, without blocking.
 *  - Without it (not built, no permission) nothing is wrong, only slower: rtnetlink and the paths'
 *    own errors remain. Which of them comes first does not matter: a path dies once. */
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "loop/conn.h"
#include "rail/msg/ib.h"

#ifdef WEFT_HAVE_VERBS

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

typedef struct weft__devmon {
  weft__link_t link; /* core->devmons */
  weft__core_t *core;
  weft__job_t job;
  uv_poll_t poll;
  bool busy; /* the worker has it */
  bool stop; /* nobody wants it any more */
  char device[64];
  struct sockaddr_storage addr;
  int epfd;
  struct ibv_context *verbs;
  struct rdma_event_channel *channel;
  struct rdma_cm_id *id;
  int err;
  const char *step;
} watch_t;

typedef struct weft__uevents {
  weft__core_t *core;
  uv_poll_t poll;
  int fd;
} uevents_t;

/* ---- On the worker ---- */

static int watch_fd(watch_t *w, int fd) {
  struct epoll_event ev = {.events = EPOLLIN};
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) return -errno;
  return epoll_ctl(w->epfd, EPOLL_CTL_ADD, fd, &ev) == 0 ? 0 : -errno;
}

static int bind_cm(watch_t *w) {
  if (!(w->channel = rdma_create_event_channel())) return -errno;
  if (rdma_create_id(w->channel, &w->id, w, RDMA_PS_TCP) != 0) return -errno;
  if (rdma_bind_addr(w->id, (struct sockaddr *) &w->addr) != 0) return -errno;
  return watch_fd(w, w->channel->fd);
}

static void unbind_cm(watch_t *w) {
  if (w->id) rdma_destroy_id(w->id);
  if (w->channel) rdma_destroy_event_channel(w->channel);
  w->id = NULL;
  w->channel = NULL;
}

static void let_go(watch_t *w) {
  unbind_cm(w);
  if (w->verbs) ibv_close_device(w->verbs);
  if (w->epfd >= 0) close(w->epfd);
  w->verbs = NULL;
  w->epfd = -1;
}

static void open_run(weft__job_t *job) {
  watch_t *w = weft__container(job, watch_t, job);
  w->step = "ibv_open_device";
  if ((w->err = WEFT__FAULT(port_events)) == 0) w->verbs = weft__ib_open(w->device, &w->err);
  if (w->err == 0) {
    w->step = "watching its events";
    w->epfd = epoll_create1(EPOLL_CLOEXEC);
    w->err = w->epfd < 0 ? -errno : watch_fd(w, w->verbs->async_fd);
  }
  if (w->err == 0) {
    int err = bind_cm(w);
    if (err) {
      weft__debug("verbs %s: rdma_bind_addr: %s: that the device goes will be noticed late",
                  w->device, uv_strerror(err));
      unbind_cm(w);
    }
  } else {
    let_go(w);
  }
}

static void close_run(weft__job_t *job) {
  let_go(weft__container(job, watch_t, job));
}

/* ---- On the loop ---- */

static void forget(watch_t *w) {
  weft__core_t *core = w->core;
  weft__list_del(&w->link);
  free(w);
  if (core->state != WEFT__C_OPEN) weft__core_check_closed(core);
}

static void close_done(weft__job_t *job) {
  forget(weft__container(job, watch_t, job));
}

static void close_it(watch_t *w) {
  w->busy = true;
  w->job = (weft__job_t){.run = close_run, .done = close_done};
  if (weft__work(w->core, &w->job) == 0) return;
  let_go(w);
  forget(w);
}

static void on_poll_closed(uv_handle_t *h) {
  watch_t *w = h->data;
  w->core->nuv--;
  close_it(w);
}

static void stop(watch_t *w) {
  if (w->stop) return;
  w->stop = true;
  if (!w->busy) uv_close((uv_handle_t *) &w->poll, on_poll_closed);
}

static void port_event(watch_t *w, const struct ibv_async_event *ev) {
  weft__core_t *core = w->core;
  int port = ev->element.port_num;
  char why[140];
  if (w->id && w->id->port_num && w->id->port_num != port) return; /* a port of another network */
  if (ev->event_type == IBV_EVENT_PORT_ACTIVE) {
    weft__info("port %d of %s is active again", port, w->device);
    weft__net_back(core);
    return;
  }
  if (ev->event_type == IBV_EVENT_GID_CHANGE) { /* comes as well when an address is added */
    weft__net_addrs(core, w->device);
    return;
  }
  snprintf(why, sizeof why, "port %d of %s went down", port, w->device);
  weft__net_lost(core, w->device, NULL, why);
}

static void async_event(watch_t *w, const struct ibv_async_event *ev) {
  switch (ev->event_type) {
  case IBV_EVENT_PORT_ERR:
  case IBV_EVENT_PORT_ACTIVE:
  case IBV_EVENT_GID_CHANGE: port_event(w, ev); break;
  case IBV_EVENT_DEVICE_FATAL: weft__device_removed(w->core, w->device, "it failed"); break;
  default: break;
  }
}

static void on_poll(uv_poll_t *poll, int status, int events) {
  watch_t *w = poll->data;
  struct ibv_async_event ev;
  struct rdma_cm_event *cm;
  (void) status;
  (void) events;
  if (weft__forked(w->core)) return;
  weft__refresh(w->core);
  bool told = false;
  for (unsigned i = 0; i < 64 && !w->stop && ibv_get_async_event(w->verbs, &ev) == 0; i++) {
    told = true;
    ibv_ack_async_event(&ev);
    async_event(w, &ev);
  }
  while (w->channel && !w->stop && rdma_get_cm_event(w->channel, &cm) == 0) {
    bool gone = cm->event == RDMA_CM_EVENT_DEVICE_REMOVAL;
    told = true;
    rdma_ack_cm_event(cm);
    if (gone) weft__device_removed(w->core, w->device, "it was removed");
  }
  /* a dead device's descriptor may stay readable for ever */
  if (!told && errno != EAGAIN && errno != EINTR && !w->stop) {
    weft__warn("verbs %s: reading its events: %s", w->device, uv_strerror(-errno));
    stop(w);
  }
}

static void open_done(weft__job_t *job) {
  watch_t *w = weft__container(job, watch_t, job);
  w->busy = false;
  if (w->err == 0 && !w->stop) {
    w->step = "uv_poll_init";
    w->err = uv_poll_init(w->core->loop, &w->poll, w->epfd);
    if (w->err == 0) {
      w->core->nuv++;
      w->poll.data = w;
      uv_unref((uv_handle_t *) &w->poll);
      uv_poll_start(&w->poll, UV_READABLE, on_poll);
      return;
    }
  }
  if (w->err)
    weft__warn("verbs %s: %s: %s: changes of its ports will be noticed late", w->device, w->step,
               uv_strerror(w->err));
  close_it(w);
}

void weft__devmon_start(weft__core_t *core, const weft__cand_t *cand) {
  if (!(cand->traits & WEFT_TRAIT_RDMA) || core->state != WEFT__C_OPEN) return;
  for (weft__link_t *l = core->devmons.next; l != &core->devmons; l = l->next)
    if (strcmp(weft__container(l, watch_t, link)->device, cand->device) == 0) return;
  watch_t *w = calloc(1, sizeof *w);
  if (!w) return;
  w->core = core;
  w->epfd = -1;
  w->addr = cand->addr;
  snprintf(w->device, sizeof w->device, "%s", cand->device);
  w->busy = true;
  w->job = (weft__job_t){.run = open_run, .done = open_done};
  if (weft__work(core, &w->job) != 0) {
    free(w);
    return;
  }
  weft__list_add(&core->devmons, &w->link);
}

static void uevents_stop(weft__core_t *);

void weft__devmon_stop(weft__core_t *core, const char *device) {
  if (!device) uevents_stop(core);
  for (weft__link_t *l = core->devmons.next, *next; l != &core->devmons; l = next) {
    next = l->next;
    watch_t *w = weft__container(l, watch_t, link);
    if (!device || strcmp(device, w->device) == 0) stop(w);
  }
}

/* ---- What librdmacm holds ---- */

/* Devices that rails of this process use, over all contexts. librdmacm does not count libfabric's
 * domains: a look at its list would close a device under them. */
static pthread_mutex_t used_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
  char device[64];
  unsigned n;
} used[64];

static void use(const char *device, int by) {
  pthread_mutex_lock(&used_lock);
  for (unsigned i = 0; i < sizeof used / sizeof used[0]; i++) {
    if (used[i].device[0] && strcmp(used[i].device, device) != 0) continue;
    snprintf(used[i].device, sizeof used[i].device, "%s", device);
    used[i].n += (unsigned) by;
    break;
  }
  pthread_mutex_unlock(&used_lock);
}

/* With the lock held: is there a device in use that the system has no more? */
static bool used_gone(void) {
  int n = 0;
  struct ibv_device **all = ibv_get_device_list(&n);
  bool gone = all == NULL;
  for (unsigned i = 0; all && !gone && i < sizeof used / sizeof used[0]; i++) {
    int k = 0;
    if (used[i].n == 0) continue;
    while (k < n && strcmp(ibv_get_device_name(all[k]), used[i].device) != 0) k++;
    gone = k == n;
  }
  if (all) ibv_free_device_list(all);
  return gone;
}

typedef struct sweep {
  weft__job_t job;
  weft__core_t *core;
  char device[64]; /* that a rail of it has gone, "": none */
  bool look;
} sweep_t;

static void sweep_run(weft__job_t *job) {
  sweep_t *s = weft__container(job, sweep_t, job);
  if (s->device[0]) use(s->device, -1);
  if (!s->look) return;
  pthread_mutex_lock(&used_lock); /* nobody begins to use one meanwhile */
  if (!used_gone()) {
    struct ibv_context **all = rdma_get_devices(NULL); /* closes what the system has no more */
    if (all) rdma_free_devices(all);
  }
  pthread_mutex_unlock(&used_lock);
}

static void sweep_done(weft__job_t *job) {
  sweep_t *s = weft__container(job, sweep_t, job);
  weft__core_t *core = s->core;
  free(s);
  if (core->state != WEFT__C_OPEN) weft__core_check_closed(core);
}

static void sweep(weft__core_t *core, const char *device, bool look) {
  sweep_t *s = calloc(1, sizeof *s);
  if (!s) return; /* then a device is thought to be in use, and stays open */
  s->job = (weft__job_t){.run = sweep_run, .done = sweep_done};
  s->core = core;
  s->look = look;
  snprintf(s->device, sizeof s->device, "%s", device);
  if (weft__work(core, &s->job) == 0) return;
  sweep_run(&s->job);
  free(s);
}

void weft__devmon_use(const weft__cand_t *cand) {
  if (cand->traits & WEFT_TRAIT_RDMA) use(cand->device, 1);
}

void weft__devmon_unuse(weft__core_t *core, const weft__cand_t *cand, bool removed) {
  if (cand->traits & WEFT_TRAIT_RDMA) sweep(core, cand->device, removed);
}

/* ---- Files of devices that end ---- */

static const char *value(const char *msg, size_t len, const char *key) {
  size_t n = strlen(key);
  for (const char *p = msg, *end = msg + len; p < end; p += strlen(p) + 1)
    if (strncmp(p, key, n) == 0) return p + n;
  return "";
}

/* `msg`: strings, each with its end. */
static void uevent(weft__core_t *core, const char *msg, size_t len) {
  static const char folder[] = "infiniband/";
  const char *name = value(msg, len, "DEVNAME=");
  if (strcmp(value(msg, len, "ACTION="), "remove") != 0 ||
      strcmp(value(msg, len, "SUBSYSTEM="), "infiniband_verbs") != 0)
    return;
  if (strncmp(name, folder, sizeof folder - 1) == 0) name += sizeof folder - 1;
  for (weft__link_t *l = core->devmons.next, *next; l != &core->devmons; l = next) {
    next = l->next;
    watch_t *w = weft__container(l, watch_t, link);
    if (!w->busy && !w->stop && strcmp(w->verbs->device->dev_name, name) == 0)
      weft__device_removed(core, w->device, "it was removed");
  }
  sweep(core, "", true);
}

static void on_uevent(uv_poll_t *poll, int status, int events) {
  uevents_t *u = poll->data;
  struct sockaddr_nl from;
  char msg[8192];
  (void) status;
  (void) events;
  if (weft__forked(u->core)) return;
  weft__refresh(u->core);
  for (unsigned i = 0; i < 64; i++) {
    socklen_t fromlen = sizeof from;
    ssize_t n =
        recvfrom(u->fd, msg, sizeof msg - 1, MSG_DONTWAIT, (struct sockaddr *) &from, &fromlen);
    if (n < 0 && (errno == EINTR || errno == ENOBUFS)) continue;
    if (n <= 0) return;
    msg[n] = '\0';
    if (from.nl_pid == 0) uevent(u->core, msg, (size_t) n); /* the kernel's own */
  }
}

static void on_uevents_closed(uv_handle_t *h) {
  uevents_t *u = h->data;
  weft__core_t *core = u->core;
  close(u->fd);
  free(u);
  core->nuv--;
  weft__core_check_closed(core);
}

void weft__devmon_listen(weft__core_t *core) {
  struct sockaddr_nl sa = {.nl_family = AF_NETLINK, .nl_groups = 1};
  if (core->uevents || core->state != WEFT__C_OPEN || access("/sys/class/infiniband_verbs", F_OK))
    return;
  uevents_t *u = calloc(1, sizeof *u);
  if (!u) return;
  int err = WEFT__FAULT(port_events);
  u->core = core;
  u->fd = err ? -1
              : socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
  if (!err && (u->fd < 0 || bind(u->fd, (struct sockaddr *) &sa, sizeof sa) != 0)) err = -errno;
  if (!err) err = uv_poll_init(core->loop, &u->poll, u->fd);
  if (err) {
    weft__warn("uevents: %s: that RDMA devices go will be noticed late", uv_strerror(err));
    if (u->fd >= 0) close(u->fd);
    free(u);
    return;
  }
  u->poll.data = u;
  core->uevents = u;
  core->nuv++;
  uv_unref((uv_handle_t *) &u->poll);
  uv_poll_start(&u->poll, UV_READABLE, on_uevent);
}

static void uevents_stop(weft__core_t *core) {
  if (core->uevents) uv_close((uv_handle_t *) &core->uevents->poll, on_uevents_closed);
  core->uevents = NULL;
}

#else

void weft__devmon_listen(weft__core_t *core) {
  (void) core;
}
void weft__devmon_start(weft__core_t *core, const weft__cand_t *cand) {
  (void) core;
  (void) cand;
}
void weft__devmon_stop(weft__core_t *core, const char *device) {
  (void) core;
  (void) device;
}
void weft__devmon_use(const weft__cand_t *cand) {
  (void) cand;
}
void weft__devmon_unuse(weft__core_t *core, const weft__cand_t *cand, bool removed) {
  (void) core;
  (void) cand;
  (void) removed;
}

#endif
