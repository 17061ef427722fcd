/* SPDX-License-Identifier: Apache-2.0 */
/* dev.h - Ethernet devices of DPDK, for those who must not see DPDK's headers.
 *
 * Design notes
 *  - DPDK's environment is once per process and for ever: the first open starts it, in a thread of
 *    its own, since it pins the thread that starts it. It stays; devices come and go.
 *  - A frame that does not fit the device's ring stays in a queue here. Nothing is dropped: a full
 *    queue refuses, and who sends keeps his segment.
 *  - One caller at a time per device. */
#ifndef TCPFALLBACK_DEV_H
#define TCPFALLBACK_DEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
  TF_DEV_ROOM = 128, /* bytes beside each frame for who has it */
  TF_DEV_MTU = 9000,
  TF_DEV_WHY = 256,
};

typedef struct tf_dev tf_dev_t;

typedef struct tf_dev_config {
  const char *args;          /* as DPDK's --vdev has it, or a PCI address */
  unsigned mtu;              /* 576 to TF_DEV_MTU */
  unsigned memory;           /* MiB for all devices; of the first open */
  bool hugepages;            /* likewise */
  void (*say)(const char *); /* each line of DPDK's log; likewise */
} tf_dev_config_t;

typedef struct tf_frame {
  void *data;
  uint32_t len;
  void *handle; /* for tf_dev_free */
  void *room;
} tf_frame_t;

/* 0, or a negative errno with a sentence in why. */
int tf_dev_open(const tf_dev_config_t *, tf_dev_t **, char why[TF_DEV_WHY]);
void tf_dev_close(tf_dev_t *); /* every frame is back */
const uint8_t *tf_dev_mac(const tf_dev_t *);
bool tf_dev_link(const tf_dev_t *);

unsigned tf_dev_recv(tf_dev_t *, tf_frame_t *, unsigned max);
void tf_dev_free(void *handle);
unsigned tf_dev_lent(const tf_dev_t *); /* most frames that may be out at a time */
int tf_dev_send(tf_dev_t *, const struct iovec *, int n, size_t len); /* -ENOBUFS: not now */
bool tf_dev_flush(tf_dev_t *);                                        /* true: all have left */

/* A descriptor that is readable when frames are there; -1: none, ask from time to time. */
int tf_dev_fd(const tf_dev_t *);
bool tf_dev_silent(const tf_dev_t *); /* none will ever come */

#endif
