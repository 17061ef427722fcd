/* SPDX-License-Identifier: Apache-2.0 */
/* stack.c - lwIP over the devices of this process: frames in and out, its timers, the bell.
 *
 * Design notes
 *  - A frame that is larger than SMALL stays where the device put it while TCP has it, as long as not too
 *    many do; the others are copied, so that a reader that sleeps cannot starve the device.
 *  - A full device answers ERR_MEM: lwIP keeps the segment, and is told when there is room.
 *  - A device without a descriptor is asked from time to time while somebody sleeps: every NAP_MIN
 *    while frames come, ever less often when none do.
 *  - TCP's timer ticks every 10 ms while there are connections. Where all of them rest, nobody is woken
 *    for it, and the ticks that were missed are counted afterwards. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "lwip/etharp.h"
#include "lwip/ethip6.h"
#include "lwip/init.h"
#include "lwip/ip6_addr.h"
#include "lwip/nd6.h"
#include "lwip/netif.h"
#include "lwip/pbuf.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/timeouts.h"
#include "netif/ethernet.h"

#include "dpdk/dev.h"
#include "stack.h"

enum {
  SMALL = 256,
  BURST = 32,
  BURSTS = 4, /* in one poll */
  PIECES = 64,
  NAP_MIN = 20000,   /* ns */
  NAP_MAX = 5000000, /* ns */
  REST = 250000000,  /* ns */
  TICK = 2 * TCP_TMR_INTERVAL * 1000000,
  SOON = 20000, /* at most 20 us */
  FEW = 64,
  LINGER_MS = 1000,
};

typedef struct net {
  struct netif nif;
  tf_dev_t *dev;
  tf_faults_t *faults; /* NULL: none */
  unsigned lent;       /* frames that TCP has */
  bool full;           /* it refused, or has not sent all */
  bool told;           /* of a peer whose checksums are not finished */
} net_t;

/* Beside each frame. */
typedef struct room {
  struct pbuf_custom p;
  void *frame;
  net_t *net;
} room_t;

_Static_assert(sizeof(room_t) <= TF_DEV_ROOM, "a frame has no room for its pbuf");

pthread_mutex_t tf_stack_mutex = PTHREAD_MUTEX_INITIALIZER;

static struct {
  bool tried;
  int err;
  net_t net[TF_PORTS];
  unsigned nets;
  int bell, timer;
  int watchers;
  bool held; /* the timer, see hold */
  bool naps; /* a device has no descriptor */
  uint64_t due, busy, checked;
  uint64_t now, ticks; /* the clock as it was read last, and the processor's counter then */
  uint64_t polls;
  bool helped, owing; /* the thread of last resort is there, and has something to look after */
  pthread_cond_t owes;
} stack = {.bell = -1, .timer = -1, .owes = PTHREAD_COND_INITIALIZER};

uint64_t tf_stack_ns(void) {
  struct timespec t;

  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t) t.tv_sec * 1000000000 + (uint64_t) t.tv_nsec;
}

/* The clock, read again where it may have gone on by SOON or more. A processor counts at 1 to 6 GHz;
 * where it goes backwards, as between processors that do not agree, the clock is read, too. */
static uint64_t about_now(void) {
#ifdef __x86_64__
  uint64_t ticks = __builtin_ia32_rdtsc();

  if (ticks - stack.ticks < SOON) return stack.now;
  stack.ticks = ticks;
#endif
  stack.now = tf_stack_ns();
  return stack.now;
}

/* ---- Frames ---- */

static err_t output(struct netif *nif, struct pbuf *p) {
  net_t *net = nif->state;
  struct iovec iov[PIECES];
  struct pbuf *q;
  int n = 0, err;

  for (q = p; q != NULL && n < PIECES; q = q->next) iov[n++] = (struct iovec){q->payload, q->len};
  if (q != NULL) return ERR_BUF;
  err = net->faults == NULL
            ? tf_dev_send(net->dev, iov, n, p->tot_len)
            : tf_faults_put(net->faults, TF_FAULTS_OUT, tf_stack_ns(), iov, n, p->tot_len);
  if (err == -ENOBUFS) net->full = true;
  return err == 0 ? ERR_OK : err == -ENOBUFS ? ERR_MEM : ERR_IF;
}

static void give_back(struct pbuf *p) {
  room_t *r = (room_t *) p;

  r->net->lent--;
  tf_dev_free(r->frame);
}

static struct pbuf *as_pbuf(net_t *net, const tf_frame_t *f) {
  room_t *r = f->room;
  struct pbuf *p;

  if (r != NULL && f->len > SMALL && net->lent < tf_dev_lent(net->dev)) {
    r->p.custom_free_function = give_back;
    r->frame = f->handle;
    r->net = net;
    net->lent++;
    return pbuf_alloced_custom(PBUF_RAW, (u16_t) f->len, PBUF_REF, &r->p, f->data, (u16_t) f->len);
  }
  p = pbuf_alloc(PBUF_RAW, (u16_t) f->len, PBUF_RAM);
  if (p != NULL) (void) pbuf_take(p, f->data, (u16_t) f->len);
  tf_dev_free(f->handle);
  return p;
}

/* Where faults are asked for: through them, both ways. */
static unsigned input_with_faults(net_t *net) {
  unsigned i, n, room = tf_faults_room(net->faults, TF_FAULTS_IN) ? 1 : 0, all = 0;
  uint64_t now = tf_stack_ns();
  const void *data;
  struct pbuf *p;
  tf_frame_t f;
  size_t len;

  for (i = 0; i < BURST && room != 0 && (n = tf_dev_recv(net->dev, &f, 1)) != 0; i++) {
    (void) tf_faults_put(net->faults, TF_FAULTS_IN, now, &(struct iovec){f.data, f.len}, 1, f.len);
    tf_dev_free(f.handle);
    room = tf_faults_room(net->faults, TF_FAULTS_IN) ? 1 : 0;
  }
  while ((data = tf_faults_next(net->faults, TF_FAULTS_IN, now, &len)) != NULL) {
    p = pbuf_alloc(PBUF_RAW, (u16_t) len, PBUF_RAM);
    if (p != NULL) (void) pbuf_take(p, data, (u16_t) len);
    tf_faults_pop(net->faults, TF_FAULTS_IN);
    if (p != NULL && net->nif.input(p, &net->nif) != ERR_OK) pbuf_free(p);
    all++;
  }
  return all < BURST ? all : BURST;
}

static bool leave(net_t *net) {
  const void *data;
  size_t len;

  while (net->faults != NULL &&
         (data = tf_faults_next(net->faults, TF_FAULTS_OUT, tf_stack_ns(), &len)) != NULL) {
    if (tf_dev_send(net->dev, &(struct iovec){(void *) data, len}, 1, len) == -ENOBUFS) break;
    tf_faults_pop(net->faults, TF_FAULTS_OUT);
  }
  return tf_dev_flush(net->dev);
}

/* A kernel at the other end that leaves checksums to a card is told apart from one that is silent. */
static void first_segment(net_t *net, const uint8_t *frame, size_t len) {
  tf_first_t first;

  if (len < 54 || (len < 74 && frame[12] != 8)) return;
  if (((frame[12] == 8 ? frame[47] : frame[67]) & 2) == 0) return; /* no SYN: nearly always */
  if (!tf_sums_unfinished(frame, len, &first)) return;
  if (first.answers) tf_lw_unfinished(&first);
  if (net->told) return;
  net->told = true;
  tf_config_say(
      "a peer's kernel leaves TCP's checksums to a card that is not there, so its frames are "
      "dropped; at its end: ethtool -K DEVICE tx off tso off gso off gro off");
}

static unsigned input(net_t *net) {
  tf_frame_t f[BURST];
  struct pbuf *p;
  unsigned i, n;

  if (net->faults != NULL) return input_with_faults(net);
  n = tf_dev_recv(net->dev, f, BURST);
  for (i = 0; i < n; i++) {
    first_segment(net, f[i].data, f[i].len);
    p = as_pbuf(net, &f[i]);
    if (p != NULL && net->nif.input(p, &net->nif) != ERR_OK) pbuf_free(p);
  }
  return n;
}

void tf_stack_settle(void) {
  unsigned i;
  int k;

  for (i = 0; i < stack.nets; i++) {
    net_t *net = &stack.net[i];
    for (k = 0; k < 64 && net->nif.loop_first != NULL; k++) netif_poll(&net->nif);
    if (!leave(net)) {
      net->full = true;
    } else if (net->full) {
      net->full = false;
      tcp_txnow();
      (void) leave(net);
    }
  }
}

/* In so many nanoseconds: at this time. */
static void set_timer(uint64_t at, uint64_t in) {
  struct itimerspec when = {0};

  stack.due = at;
  when.it_value.tv_sec = (time_t) (in / 1000000000);
  when.it_value.tv_nsec = (long) (in % 1000000000);
  (void) timerfd_settime(stack.timer, 0, &when, NULL);
}

/* It has rung, and whoever it woke is here. It is silent for as long as he keeps coming by himself: to
 * set it is dear. But another one may have been about to wake, and found it silent already. */
static void hold(uint64_t now) {
  if (stack.timer >= 0) set_timer(now + NAP_MAX, NAP_MAX);
  stack.held = true;
}

void tf_stack_poll(void) {
  unsigned i, n, all = 0;
  uint64_t now;
  int k;

  stack.polls++;
  for (i = 0; i < stack.nets; i++)
    for (k = 0; k < BURSTS; k++) {
      n = input(&stack.net[i]);
      all += n;
      if (n < BURST) break;
    }
  now = about_now();
  if (all != 0) stack.busy = now;
  if (now - stack.checked >= 1000000) {
    if (now - stack.checked >= 2 * TICK && stack.checked != 0) /* nobody was here to count */
      tcp_ticks += (u32_t) ((now - stack.checked) / TICK - 1);
    stack.checked = now;
    sys_check_timeouts();
  }
  tf_stack_settle();
  if (stack.watchers > 0 && now >= stack.due) hold(now);
}

/* ---- The thread of last resort ---- */

static void *help(void *arg) {
  const struct timespec tick = {.tv_nsec = 1000000};
  unsigned idle = 0;
  uint64_t seen;

  (void) arg;
  tf_stack_lock();
  for (;;) {
    while (!stack.owing) pthread_cond_wait(&stack.owes, &tf_stack_mutex);
    seen = stack.polls;
    tf_stack_unlock();
    (void) nanosleep(&tick, NULL);
    tf_stack_lock();
    if (stack.polls == seen) tf_stack_poll();
    idle = tf_lw_leaving() ? 0 : idle + 1;
    stack.owing = idle < 100; /* most who owe do so again soon */
  }
  return NULL;
}

void tf_stack_owe(void) {
  pthread_t thread;
  sigset_t all, before;

  if (stack.owing) return;
  stack.owing = true;
  if (stack.helped) {
    pthread_cond_signal(&stack.owes);
    return;
  }
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  stack.helped = pthread_create(&thread, NULL, help, NULL) == 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (stack.helped) pthread_detach(thread);
}

/* ---- Sleeping ---- */

int tf_stack_bell(void) {
  return stack.bell;
}

void tf_stack_watch(int by) {
  stack.watchers += by;
  if (by > 0) stack.due = 0;
}

/* Does no connection wait for anything that TCP's timer does? Then it need not be on time. */
static bool resting(void) {
  const struct tcp_pcb *p;
  unsigned n = 0;

  for (p = tcp_active_pcbs; p != NULL; p = p->next)
    if (++n > FEW ||
        (p->state != ESTABLISHED && p->state != CLOSE_WAIT && p->state != FIN_WAIT_2) ||
        p->unsent != NULL || p->unacked != NULL || p->ooseq != NULL || p->refused_data != NULL ||
        p->persist_backoff != 0 || (p->flags & (TF_ACK_DELAY | TF_ACK_NOW | TF_NAGLEMEMERR)) != 0)
      return false;
  return true;
}

void tf_stack_arm(void) {
  u32_t ms = sys_timeouts_sleeptime();
  uint64_t now = tf_stack_ns(), in, nap, due;
  bool queued = false;
  unsigned i;

  if (stack.timer < 0) return;
  in = ms == SYS_TIMEOUTS_SLEEPTIME_INFINITE ? UINT64_C(1000000000) : (uint64_t) ms * 1000000;
  if (in < REST && resting()) in = REST;
  for (i = 0; i < stack.nets; i++) {
    queued = queued || stack.net[i].full;
    due = stack.net[i].faults == NULL ? UINT64_MAX : tf_faults_due(stack.net[i].faults);
    if (due != UINT64_MAX && due - (due < now ? due : now) < in) in = due - (due < now ? due : now);
  }
  if (stack.naps || queued) {
    nap = (now - stack.busy) / 8;
    nap = nap < NAP_MIN ? NAP_MIN : nap > NAP_MAX ? NAP_MAX : nap;
    if (queued) nap = NAP_MIN;
    if (nap < in) in = nap;
  }
  if (in < NAP_MIN) in = NAP_MIN;
  if (!stack.held && stack.due > now && stack.due <= now + in) return; /* it rings in time */
  stack.held = false;
  set_timer(now + in, in);
}

/* ---- Routes: from a device that has the source, else to one that has the destination near ---- */

struct netif *tf_route4(const void *src, const void *dst) {
  const ip4_addr_t *from = src, *to = dst;
  struct netif *found = NULL;
  unsigned i;

  for (i = 0; i < stack.nets; i++) {
    struct netif *nif = &stack.net[i].nif;
    if (from != NULL && !ip4_addr_isany(from) && ip4_addr_eq(from, netif_ip4_addr(nif))) return nif;
    if (ip4_addr_eq(to, netif_ip4_addr(nif))) found = nif;
    if (found == NULL && ip4_addr_net_eq(to, netif_ip4_addr(nif), netif_ip4_netmask(nif)))
      found = nif;
  }
  return found; /* NULL: lwIP's default, which has the gateway */
}

struct netif *tf_route6(const void *src, const void *dst) {
  const ip6_addr_t *from = src, *to = dst;
  unsigned i;

  for (i = 0; i < stack.nets; i++) {
    struct netif *nif = &stack.net[i].nif;
    if (from != NULL && !ip6_addr_isany(from) && netif_get_ip6_addr_match(nif, from) >= 0)
      return nif;
  }
  for (i = 0; i < stack.nets; i++)
    if (netif_get_ip6_addr_match(&stack.net[i].nif, to) >= 0) return &stack.net[i].nif;
  return NULL;
}

/* ---- Its beginning and its end ---- */

static err_t init(struct netif *nif) {
  net_t *net = nif->state;

  nif->name[0] = 'd';
  nif->name[1] = 'p';
  nif->output = etharp_output;
  nif->output_ip6 = ethip6_output;
  nif->linkoutput = output;
  nif->mtu = nif->mtu6 = (u16_t) tf_config.mtu;
  nif->hwaddr_len = 6;
  memcpy(nif->hwaddr, tf_dev_mac(net->dev), 6);
  nif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP;
  return ERR_OK;
}

static void give_address(struct netif *nif, const tf_address_t *a) {
  ip4_addr_t ip, mask;
  ip6_addr_t ip6 = {0};
  s8_t slot;

  if (a->sa.ss_family == AF_INET) {
    ip.addr = ((const struct sockaddr_in *) &a->sa)->sin_addr.s_addr;
    mask.addr = a->prefix == 0 ? 0 : htonl(0xffffffffu << (32 - a->prefix));
    netif_set_addr(nif, &ip, &mask, (const ip4_addr_t *) &tf_config.gateway.s_addr);
    return;
  }
  memcpy(ip6.addr, &((const struct sockaddr_in6 *) &a->sa)->sin6_addr, 16);
  if (netif_add_ip6_address(nif, &ip6, &slot) == ERR_OK)
    netif_ip6_addr_set_state(nif, slot, IP6_ADDR_PREFERRED);
}

static int add(const tf_port_t *port, char why[TF_DEV_WHY]) {
  tf_dev_config_t c = {.args = port->args,
                       .mtu = (unsigned) tf_config.mtu,
                       .memory = (unsigned) tf_config.memory,
                       .hugepages = tf_config.hugepages != 0,
                       .say = tf_config_say};
  net_t *net = &stack.net[stack.nets];
  unsigned i;
  int err = tf_dev_open(&c, &net->dev, why), fd;

  if (err != 0) return err;
  if (tf_faults_wanted(&tf_config.faults)) {
    net->faults = tf_faults_open(&tf_config.faults, stack.nets);
    if (net->faults == NULL) return -ENOMEM;
  }
  fd = tf_dev_fd(net->dev);
  if (fd < 0 && !tf_dev_silent(net->dev)) stack.naps = true;
  if (fd >= 0 &&
      epoll_ctl(stack.bell, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN}) != 0)
    stack.naps = true;
  netif_add(&net->nif, NULL, NULL, NULL, net, init, ethernet_input);
  for (i = 0; i < port->n; i++) give_address(&net->nif, &port->address[i]);
  if (stack.nets == 0) netif_set_default(&net->nif);
  netif_set_up(&net->nif);
  netif_create_ip6_linklocal_address(&net->nif, 1);
  netif_ip6_addr_set_state(&net->nif, 0, IP6_ADDR_PREFERRED);
  stack.nets++;
  return 0;
}

static int start(void) {
  char why[TF_DEV_WHY];
  unsigned i;
  int err;

  if (tf_config.ports == 0) return -ENODEV;
  stack.bell = epoll_create1(EPOLL_CLOEXEC);
  stack.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (stack.bell < 0 || stack.timer < 0 ||
      epoll_ctl(stack.bell, EPOLL_CTL_ADD, stack.timer, &(struct epoll_event){.events = EPOLLIN}) !=
          0)
    return -errno;
  lwip_init();
  for (i = 0; i < tf_config.ports; i++) {
    err = add(&tf_config.port[i], why);
    if (err != 0) {
      tf_config_say(why);
      return err;
    }
  }
  return 0;
}

int tf_stack_start(void) {
  int err;

  tf_stack_lock();
  if (!stack.tried) {
    stack.tried = true;
    stack.err = start();
  }
  err = stack.err;
  tf_stack_unlock();
  return err;
}

/* What was said before the end arrives, if the peer takes it soon; the others are told that it is over. */
void tf_stack_stop(void) {
  uint64_t until;

  tf_stack_lock();
  until = tf_stack_ns() + (uint64_t) LINGER_MS * 1000000;
  while (stack.nets != 0 && tf_lw_leaving() && tf_stack_ns() < until) tf_stack_poll();
  while (stack.nets != 0 && tcp_active_pcbs != NULL) tcp_abort(tcp_active_pcbs);
  tf_stack_settle();
  tf_stack_unlock();
}
