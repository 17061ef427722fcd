/* SPDX-License-Identifier: Apache-2.0 */
/* quirks.c - the table. Measured with libfabric 1.17.0; rows for later versions say what changed
 * there.
 *
 * Design notes
 *  - tcp: reading a queue costs with the number of its endpoints (1.4 us with 1, 20 us with 1,000),
 *    and more where it keeps them in an epoll set: hence FI_WAIT_POLLFD and 16 per queue. Its
 *    fi_read answer can be freed twice when a connection breaks in it, and shared receive contexts
 *    race: data moves by fi_write.
 *  - tcp looks at the key of a write once, when its header comes, and goes on placing what follows.
 *  - tcp up to 1.17 takes no lock of its own in a domain that one thread drives (FI_THREAD_DOMAIN),
 *    and its control calls do not block, so the worker never touches it.
 *  - verbs: reads. libfabric 1.17 asks for as many reads under way as both devices bear (255 in
 *    verbs_cm.c:130, which librdmacm turns into the device's max_qp_init_rd_atom and max_qp_rd_atom and
 *    the accepting end lowers to its own, cma.c:1791 and :1918). plan.c bounds what is posted by it.
 *  - verbs on soft iWARP (siw): a send is reported as soon as it has left, also before the reads that
 *    were posted before it. libfabric takes the head of its list of operations for the one that
 *    completed, loses some, hands their memory out again and crashes. Without reads the order holds.
 *  - verbs on soft iWARP: libfabric calls rdma_connect inside fi_eq_read, and siw_connect of Linux 6.1
 *    makes a TCP connection in it: two minutes when the peer does not answer. Devices do not wait.
 *  - verbs on soft iWARP: libsiw puts a send into the queue and then rings; when the kernel will not
 *    hear it, as while a dying link takes the connection down, the post has failed but the send is
 *    there, and completes. libfabric has given its entry to the next operation of the completion
 *    queue by then, on any endpoint, takes that one for completed, and from there on completions and
 *    buffers do not belong together.
 *  - dpdk: brings its own TCP, so its addresses stand in its parameters and nowhere in the system.
 *  - verbs: fi_endpoint resolves the address (2 s), and rdma_destroy_ep can wait for a dead device
 *    for ever, with the event queue's lock held. */
#include "quirks.h"

#include <string.h>

#define ANY 0, UINT32_MAX

#ifdef WEFT_HAVE_KSOCK
#define KSOCK_LEFT_OUT NULL
#else
#define KSOCK_LEFT_OUT "WEFT_KSOCK"
#endif
#ifdef WEFT_HAVE_DPDK
#define DPDK_LEFT_OUT NULL
#else
#define DPDK_LEFT_OUT "WEFT_DPDK"
#endif

#define VERBS                                                                                      \
  .rdma = true, .blocks = true, .eq_per_path = true, .signal_all = true, .threading = FI_THREAD_SAFE

/* A row for a vendor's devices stands before the one for all. */
static const weft__quirks_t table[] = {
    {.provider = "verbs",
     ANY,
     .vendor = "0x626d74",
     VERBS,
     .connects_in_read = true,
     .post_lies = true,
     .shard_paths = 1,
     .xfer = WEFT__XFER_WRITE}, /* siw */
    {.provider = "verbs", ANY, VERBS, .shard_paths = 64, .xfer = WEFT__XFER_READ},
    /* Weft's own providers (shipped.c), before the one that yields to them. */
    {.provider = "ksock",
     0,
     UINT32_MAX,
     .left_out = KSOCK_LEFT_OUT,
     .speaks_tcp = true,
     .kernel_tcp = true,
     .wildcard = true,
     .threading = FI_THREAD_DOMAIN,
     .shard_paths = 1000,
     .xfer = WEFT__XFER_WRITE},
    {.provider = "dpdk",
     0,
     UINT32_MAX,
     .left_out = DPDK_LEFT_OUT,
     .speaks_tcp = true,
     .own_stack = true,
     .wildcard = true,
     .threading = FI_THREAD_DOMAIN,
     .shard_paths = 1000,
     .xfer = WEFT__XFER_WRITE},
    {.provider = "tcp",
     0,
     UINT32_MAX,
     .speaks_tcp = true,
     .kernel_tcp = true,
     .yields_to = "ksock",
     .wildcard = true,
     .half_open = true,
     .late_writes = true,
     .pollfd = true,
     .threading = FI_THREAD_DOMAIN,
     .shard_paths = 16,
     .xfer = WEFT__XFER_WRITE},

    {.provider = "net",
     0,
     FI_VERSION(1, 17),
     .refused = "its wait objects spin at 100 % CPU in libfabric up to 1.18; tcp speaks the same "
                "protocol"},
    {.provider = "net", FI_VERSION(1, 18), UINT32_MAX, .refused = "another name for tcp"},
    {.provider = "sockets", ANY, .refused = "deprecated by libfabric; tcp replaces it"},
    {.provider = "udp", ANY, .refused = "datagrams only: neither connections nor delivery"},
    {.provider = "shm", ANY, .refused = "has no connections (FI_EP_RDM only)"},
    {.provider = "ofi_rxm",
     ANY,
     .refused = "a layer over verbs or tcp that hides connections and their deaths; Weft uses "
                "those directly"},
    {.provider = "ofi_rxd",
     ANY,
     .refused = "a layer over datagrams that hides paths and their deaths"},
    {.provider = "ofi_mrail",
     ANY,
     .refused = "a layer that binds rails together; Weft does that itself"},
    {.provider = "psm", ANY, .refused = "has no connections (FI_EP_RDM only)"},
    {.provider = "psm2", ANY, .refused = "has no connections (FI_EP_RDM only)"},
    {.provider = "psm3", ANY, .refused = "has no connections (FI_EP_RDM only)"},
    {.provider = "opx", ANY, .refused = "has no connections (FI_EP_RDM only)"},
    {.provider = "efa", ANY, .refused = "has no connections (FI_EP_RDM and FI_EP_DGRAM only)"},
    {.provider = "usnic", ANY, .refused = "datagrams only"},
};

static bool fits(const weft__quirks_t *q, uint32_t version) {
  return version >= q->min && version <= q->max;
}

static const weft__quirks_t *instead;

void weft__quirks_set(const weft__quirks_t *row) {
  instead = row;
}

static bool made_by(const struct fi_info *device, const char *vendor) {
  const char *id = device != NULL && device->nic != NULL && device->nic->device_attr != NULL
                       ? device->nic->device_attr->vendor_id
                       : NULL;

  return id != NULL && strcmp(id, vendor) == 0;
}

const weft__quirks_t *weft__quirks_find(const char *provider, uint32_t version,
                                        const struct fi_info *device) {
  unsigned i;

  if (instead != NULL && strcmp(instead->provider, provider) == 0) return instead;
  for (i = 0; i < sizeof(table) / sizeof(table[0]); i++)
    if (strcmp(table[i].provider, provider) == 0 && fits(&table[i], version) &&
        (table[i].vendor == NULL || made_by(device, table[i].vendor)))
      return &table[i];
  return NULL;
}

bool weft__providers_meet(const char *one, const char *other) {
  const weft__quirks_t *a = weft__quirks_find(one, fi_version(), NULL);
  const weft__quirks_t *b = weft__quirks_find(other, fi_version(), NULL);

  return strcmp(one, other) == 0 || (a != NULL && b != NULL && a->kernel_tcp && b->kernel_tcp);
}

const weft__quirks_t *weft__quirks_row(unsigned i, uint32_t version) {
  unsigned k;

  for (k = 0; k < sizeof(table) / sizeof(table[0]); k++)
    if (table[k].vendor == NULL && fits(&table[k], version) && i-- == 0)
      return instead != NULL && strcmp(instead->provider, table[k].provider) == 0 ? instead
                                                                                  : &table[k];
  return NULL;
}
