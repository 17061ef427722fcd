/* SPDX-License-Identifier: Apache-2.0 */
/* dev.c - Ethernet devices of DPDK: opened by their arguments, bursts, a descriptor to sleep on.
 *
 * Design notes
 *  - A received frame is one piece: buffers are as large as the MTU asks, and the rare chain is
 *    copied together.
 *  - memif's sending overruns its ring when its buffers are smaller than a frame, so its bsize is set
 *    here. memif and af_packet claim 1518 bytes and carry any frame that fits their buffers.
 *  - A ring of large buffers goes round in as much memory as it has: 64 or 128 of them stay in a core's
 *    cache, 1024 do not, and cost a third of what a stream carries.
 *  - af_packet has no interrupt, but its socket may be polled: it is the one that appeared while the
 *    device was plugged in.
 *  - A thread that DPDK does not know takes each buffer from the pool's ring and puts it back there, an
 *    atomic operation each, which were an eighth of a round trip. But one caller at a time moves the devices: for
 *    as long as he does he is DPDK's first core, whose own thread has ended, and has its stock of buffers.
 *  - A device is removed by DPDK's own interrupt thread, which is where memif meets its peer's
 *    farewell: from any other, the two would take it apart at the same time. */
#include <errno.h>
#include <net/if.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/if_packet.h>

#include <rte_config.h>
#include <rte_alarm.h>
#include <rte_bus.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_ether.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>

#include "eal.h"

enum {
  RX_RING = 1024,
  TX_RING = 1024,
  RX_FRAMES = 4095,
  TX_FRAMES = 2047,
  QUEUE = 512, /* frames that wait for room in the ring */
  BURST = 32,
  STOCK = 128,   /* of a pool, at the core that uses it */
  PLAIN = 1900,  /* an MTU above it has large buffers */
  LARGE = 10240, /* bytes of each */
  FDS = 4096,
};

struct tf_dev {
  uint16_t port;
  bool plugged, started, silent;
  char name[64];
  uint8_t mac[6];
  int fd;
  struct rte_mempool *rx, *tx;
  struct rte_mbuf *queue[QUEUE];
  unsigned queued;
  sem_t gone;
};

static pthread_mutex_t plugging =
    PTHREAD_MUTEX_INITIALIZER; /* sockets that appear are one device's */

static int fail(char *why, const char *name, const char *what, int err) {
  const char *heard = tf_eal_heard();

  snprintf(why, TF_DEV_WHY, "%.60s: %s: %.120s", name, what,
           heard[0] != '\0' ? heard : strerror(err < 0 ? -err : err));
  return err < 0 ? err : err > 0 ? -err : -EIO;
}

/* ---- Its descriptor ---- */

static bool is_packet_socket(int fd, int index) {
  struct sockaddr_ll ll;
  int domain = 0;
  socklen_t len = sizeof(domain);

  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) != 0 || domain != AF_PACKET)
    return false;
  len = sizeof(ll);
  return getsockname(fd, (struct sockaddr *) &ll, &len) == 0 && ll.sll_ifindex == index;
}

static int packet_socket(const char *args) {
  const char *at = strstr(args, "iface=");
  char name[IF_NAMESIZE] = "";
  int fd, index;

  if (at == NULL || sscanf(at, "iface=%15[^,]", name) != 1) return -1;
  index = (int) if_nametoindex(name);
  for (fd = FDS - 1; index != 0 && fd >= 0; fd--) /* the newest is likely the highest */
    if (is_packet_socket(fd, index)) return fd;
  return -1;
}

/* ---- Opening ---- */

/* What DPDK's drivers do not find out by themselves. */
static int complete(char *out, size_t room, const char *args, unsigned mtu) {
  int n = snprintf(out, room, "%s", args);

  if (n < 0 || (size_t) n >= room) return -ENAMETOOLONG;
  if (strncmp(args, "net_memif", 9) == 0 && strstr(args, "bsize=") == NULL)
    n += snprintf(out + n, room - (size_t) n, ",bsize=%u", mtu <= PLAIN ? 2048 : LARGE);
  if (strncmp(args, "net_memif", 9) == 0 && strstr(args, "rsize=") == NULL && mtu > PLAIN)
    n += snprintf(out + n, room - (size_t) n, ",rsize=6"); /* a logarithm */
  if (strncmp(args, "net_virtio_user", 15) == 0 && strstr(args, "queue_size=") == NULL)
    n += snprintf(out + n, room - (size_t) n, ",queue_size=%d", mtu <= PLAIN ? 256 : 128);
  if (strncmp(args, "net_af_packet", 13) == 0 && strstr(args, "framesz=") == NULL && mtu > PLAIN)
    n += snprintf(out + n, room - (size_t) n, ",blocksz=40960,framesz=%d,framecnt=1024", LARGE);
  return (size_t) n < room ? 0 : -ENAMETOOLONG;
}

static const char *bus_of(const char *name) {
  return name[0] >= '0' && name[0] <= '9' ? "pci" : "vdev";
}

static int plug(tf_dev_t *d, const char *args, char *why) {
  const char *comma = strchr(args, ',');
  size_t n = comma != NULL ? (size_t) (comma - args) : strlen(args);
  int err;

  if (n == 0 || n >= sizeof(d->name)) return fail(why, args, "no name of a device", EINVAL);
  memcpy(d->name, args, n);
  d->name[n] = '\0';
  err = rte_eal_hotplug_add(bus_of(d->name), d->name, comma != NULL ? comma + 1 : "");
  if (err != 0) return fail(why, d->name, "DPDK does not take the device", err);
  d->plugged = true;
  err = rte_eth_dev_get_port_by_name(d->name, &d->port);
  return err == 0 ? 0 : fail(why, d->name, "not an Ethernet device", err);
}

static int set_up(tf_dev_t *d, const tf_dev_config_t *c, char *why) {
  struct rte_eth_conf conf = {.rxmode.mtu = c->mtu};
  struct rte_eth_dev_info info;
  uint16_t room = RTE_MBUF_DEFAULT_BUF_SIZE, nrx = RX_RING, ntx = TX_RING;
  char name[32];
  int err = rte_eth_dev_info_get(d->port, &info);

  if (err != 0) return fail(why, d->name, "no information", err);
  if (c->mtu > PLAIN) room = LARGE + RTE_PKTMBUF_HEADROOM;
  snprintf(name, sizeof(name), "weft_rx%u", d->port);
  d->rx = rte_pktmbuf_pool_create(name, RX_FRAMES, STOCK, TF_DEV_ROOM, room, SOCKET_ID_ANY);
  snprintf(name, sizeof(name), "weft_tx%u", d->port);
  if (d->rx != NULL)
    d->tx = rte_pktmbuf_pool_create(name, TX_FRAMES, STOCK, 0, room, SOCKET_ID_ANY);
  if (d->tx == NULL) return fail(why, d->name, "too little memory for its frames", rte_errno);
  err = rte_eth_dev_configure(d->port, 1, 1, &conf);
  if (err == -EINVAL) {
    tf_eal_hear();
    conf.rxmode.mtu = 0;
    err = rte_eth_dev_configure(d->port, 1, 1, &conf);
  }
  if (err != 0) return fail(why, d->name, "cannot be configured", err);
  (void) rte_eth_dev_adjust_nb_rx_tx_desc(d->port, &nrx, &ntx);
  err = rte_eth_rx_queue_setup(d->port, 0, nrx, SOCKET_ID_ANY, NULL, d->rx);
  if (err == 0) err = rte_eth_tx_queue_setup(d->port, 0, ntx, SOCKET_ID_ANY, NULL);
  if (err != 0) return fail(why, d->name, "has no queues for us", err);
  err = rte_eth_dev_start(d->port);
  if (err != 0) return fail(why, d->name, "does not start", err);
  d->started = true;
  (void) rte_eth_promiscuous_enable(d->port);
  return 0;
}

static void identify(tf_dev_t *d) {
  struct rte_ether_addr a = {0};

  (void) rte_eth_macaddr_get(d->port, &a);
  if (rte_is_zero_ether_addr(&a)) rte_eth_random_addr(a.addr_bytes); /* net_ring, net_null */
  memcpy(d->mac, a.addr_bytes, sizeof(d->mac));
}

int tf_dev_open(const tf_dev_config_t *c, tf_dev_t **out, char why[TF_DEV_WHY]) {
  char args[1024];
  tf_dev_t *d;
  int err;

  if (c->mtu < 576 || c->mtu > TF_DEV_MTU) return fail(why, c->args, "its MTU", ERANGE);
  err = complete(args, sizeof(args), c->args, c->mtu);
  if (err != 0) return fail(why, c->args, "its arguments", err);
  err = tf_eal_start(c, why);
  if (err != 0) return err;
  d = calloc(1, sizeof(*d));
  if (d == NULL) return fail(why, c->args, "no memory", ENOMEM);
  d->fd = -1;
  pthread_mutex_lock(&plugging);
  tf_eal_hear();
  err = plug(d, args, why);
  if (err == 0) err = set_up(d, c, why);
  if (err == 0 && strncmp(args, "net_af_packet", 13) == 0) d->fd = packet_socket(args);
  pthread_mutex_unlock(&plugging);
  if (err != 0) {
    tf_dev_close(d);
    return err;
  }
  identify(d);
  d->silent = strncmp(args, "net_null", 8) == 0 && strstr(args, "no-rx=1") != NULL;
  *out = d;
  return 0;
}

static void unplug(void *arg) {
  tf_dev_t *d = arg;

  if (d->started) (void) rte_eth_dev_stop(d->port);
  if (d->plugged) (void) rte_eal_hotplug_remove(bus_of(d->name), d->name); /* closes it, too */
  sem_post(&d->gone);
}

void tf_dev_close(tf_dev_t *d) {
  unsigned i;

  for (i = 0; i < d->queued; i++) rte_pktmbuf_free(d->queue[i]);
  sem_init(&d->gone, 0, 0);
  if (rte_eal_alarm_set(1, unplug, d) != 0) unplug(d);
  while (sem_wait(&d->gone) != 0) continue;
  sem_destroy(&d->gone);
  rte_mempool_free(d->rx);
  rte_mempool_free(d->tx);
  free(d);
}

const uint8_t *tf_dev_mac(const tf_dev_t *d) {
  return d->mac;
}

bool tf_dev_link(const tf_dev_t *d) {
  struct rte_eth_link link = {0};

  return rte_eth_link_get_nowait(d->port, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

int tf_dev_fd(const tf_dev_t *d) {
  return d->fd;
}

bool tf_dev_silent(const tf_dev_t *d) {
  return d->silent;
}

/* ---- Frames ---- */

static unsigned enter(void) {
  unsigned before = RTE_PER_LCORE(_lcore_id);

  RTE_PER_LCORE(_lcore_id) = 0;
  return before;
}

static void leave(unsigned before) {
  RTE_PER_LCORE(_lcore_id) = before;
}

unsigned tf_dev_lent(const tf_dev_t *d) {
  (void) d;
  return RX_FRAMES - RX_RING - 2 * BURST;
}

/* A chain becomes one piece if that fits; else it is nothing that we asked for. */
static bool whole(struct rte_mbuf *m) {
  if (m->nb_segs == 1 || rte_pktmbuf_linearize(m) == 0) return true;
  rte_pktmbuf_free(m);
  return false;
}

unsigned tf_dev_recv(tf_dev_t *d, tf_frame_t *out, unsigned max) {
  struct rte_mbuf *m[BURST];
  unsigned i, k = 0, n, before = enter();

  n = rte_eth_rx_burst(d->port, 0, m, (uint16_t) (max < BURST ? max : BURST));
  for (i = 0; i < n; i++) {
    if (!whole(m[i])) continue;
    out[k].data = rte_pktmbuf_mtod(m[i], void *);
    out[k].len = m[i]->data_len;
    out[k].handle = m[i];
    /* net_ring's come from its peer's pool, which may have no room beside them. */
    out[k].room = m[i]->pool == d->rx ? rte_mbuf_to_priv(m[i]) : NULL;
    k++;
  }
  leave(before);
  return k;
}

void tf_dev_free(void *handle) {
  unsigned before = enter();

  rte_pktmbuf_free(handle);
  leave(before);
}

bool tf_dev_flush(tf_dev_t *d) {
  unsigned n, before;

  if (d->queued == 0) return true;
  before = enter();
  n = rte_eth_tx_burst(d->port, 0, d->queue, (uint16_t) d->queued);
  leave(before);
  d->queued -= n;
  if (d->queued != 0 && n != 0) memmove(d->queue, d->queue + n, d->queued * sizeof(d->queue[0]));
  return d->queued == 0;
}

int tf_dev_send(tf_dev_t *d, const struct iovec *iov, int n, size_t len) {
  struct rte_mbuf *m;
  unsigned before;
  char *at;
  int i;

  if (d->queued == QUEUE) (void) tf_dev_flush(d);
  if (d->queued == QUEUE) return -ENOBUFS;
  before = enter();
  m = rte_pktmbuf_alloc(d->tx);
  leave(before);
  if (m == NULL) return -ENOBUFS;
  at = rte_pktmbuf_append(m, (uint16_t) len);
  if (at == NULL) { /* longer than any frame of this device: who sends has miscounted */
    rte_pktmbuf_free(m);
    return -EMSGSIZE;
  }
  for (i = 0; i < n; i++) {
    memcpy(at, iov[i].iov_base, iov[i].iov_len);
    at += iov[i].iov_len;
  }
  d->queue[d->queued++] = m;
  if (d->queued % BURST == 0) (void) tf_dev_flush(d);
  return 0;
}
