/* SPDX-License-Identifier: Apache-2.0 */
/* nic.h - what is missing between a device for TCP in user space and a program. */
#ifndef WEFT_RAIL_MSG_NIC_H
#define WEFT_RAIL_MSG_NIC_H

#include <stddef.h>
#include <stdint.h>

/* As the provider's parameters have it, from the environment; NULL: not set. */
typedef struct weft__nic_conf {
  const char *prefix; /* of the parameters' names, for sentences: "FI_DPDK" */
  const char *devices, *addresses;
  int hugepages;
  uint32_t mtu;
} weft__nic_conf_t;

/* Fills in the parameters of this provider; `prefix` is written to buf. */
void weft__nic_conf(const char *provider, weft__nic_conf_t *, char *buf, size_t len);

/* The provider lists no device at all: a weft_why and the sentence. Any thread. */
int weft__nic_none(const weft__nic_conf_t *, char *text, size_t len);

/* What keeps a program from the configured device `name` ("net_memif0", "0000:3b:00.1"), as a sentence
 * with its cure and a weft_why; WEFT_WHY_OK, with "": nothing that could be seen without touching the
 * device. `memlock` is weft__ib_memlock's. `root` stands before /sys, /dev and /proc: "", or a test's
 * folder. Any thread. */
int weft__nic_missing(const char *root, const weft__nic_conf_t *, const char *name,
                      uint64_t memlock, char *text, size_t len);

/* The interface of the system whose link the device shares; "": none. Any thread. */
void weft__nic_beside(const char *root, const weft__nic_conf_t *, const char *name, char *out,
                      size_t len);

#endif
