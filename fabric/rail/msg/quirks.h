/* SPDX-License-Identifier: Apache-2.0 */
/* quirks.h - what is known of each provider that its attributes do not say, keyed by libfabric's
 * version and, where a device is of its own kind, by its vendor.
 *
 * Design notes
 *  - The only place where code asks for a provider's name. A provider without a row is not used:
 *    what was never tried fails in the field, not in the laboratory. */
#ifndef WEFT_RAIL_MSG_QUIRKS_H
#define WEFT_RAIL_MSG_QUIRKS_H

#include <rdma/fabric.h>
#include <rdma/fi_domain.h>

#include "rail/path.h"

typedef struct weft__quirks {
  const char *provider;
  uint32_t min, max;   /* versions of libfabric (FI_VERSION) this row is for, inclusive */
  const char *vendor;  /* for its devices only, as fi_device_attr's vendor_id has it; NULL: all */
  const char *refused; /* why Weft does not use it; NULL: it does */
  /* the option of cmake that this build has OFF and that makes the provider; NULL: none */
  const char *left_out;
  bool rdma;       /* ordered before the others; needs a device in /sys/class/infiniband */
  bool speaks_tcp; /* may carry the first contact to host:port */
  /* over the system's own TCP: meets every other that is, and what the system says of its interfaces holds for it */
  bool kernel_tcp;
  /* a TCP of its own, with addresses that the system does not have: they and the ways from them are the provider's */
  bool own_stack;
  const char *
      yields_to; /* speaks the same from the same address, better: where it is, this one steps back */
  bool wildcard; /* can listen on any address */
  /* fi_endpoint, fi_connect, fi_close and fi_domain's end can take seconds: run them on the worker. Only with
   * eq_per_path: a shared queue would be read for an endpoint that the worker has closed */
  bool blocks;
  /* connects inside fi_eq_read, when it reads that the route is known, and waits there for the peer.
   * Only with eq_per_path and blocks */
  bool connects_in_read;
  bool eq_per_path; /* closing an endpoint holds its event queue's lock */
  bool signal_all;  /* errors of unsignaled operations vanish and signalling is free: ask for every
                       completion */
  /* a post that it refuses may be carried out all the same, and then completes: no further try, and
   * nothing more on that path or its completion queue, whose provider has lost count. Only with
   * shard_paths 1: others would lose their paths with it */
  bool post_lies;
  bool half_open;   /* forgets connections that have not spoken yet when their listener goes */
  bool late_writes; /* a write that has begun to arrive goes on after its memory was closed */
  bool
      pollfd; /* its queues list their sockets (FI_WAIT_POLLFD), which makes reading them cheaper */
  enum fi_threading threading;
  uint32_t shard_paths; /* most endpoints per completion queue */
  weft__xfer_t xfer;    /* READ: it writes, too */
} weft__quirks_t;

/* The row for a provider's device, or NULL. Without a device: the row for all of its devices. */
const weft__quirks_t *weft__quirks_find(const char *provider, uint32_t version,
                                        const struct fi_info *device);
/* For tests: this row takes the place of its provider's in weft__quirks_find, or with NULL none does.
 * The row must stay. Before the first rail is opened. */
void weft__quirks_set(const weft__quirks_t *);
/* The i-th provider's row for this version, NULL past the last; never a vendor's. */
const weft__quirks_t *weft__quirks_row(unsigned i, uint32_t version);

#endif
