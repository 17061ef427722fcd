/* SPDX-License-Identifier: Apache-2.0 */
/* rail.c - opening a candidate's domain, and letting it go.
 *
 * Design notes
 *  - Opening runs on the worker; from then on the rail is the loop's thread's.
 *  - Closing may be asked for in an upcall of the rail's own last path: it waits until the drain
 *    has returned. What can block (verbs) then happens on the worker. The pool outlives all of it
 *    while users hold buffers. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "internal.h"

static void teardown(weft__rail_t *rail) {
  char text[96];
  int err;

  weft__queues_close(rail);
  weft__mem_close(rail);
  weft__rma_close_rest(rail);
  if (rail->pool != NULL) weft__pool_drop(rail->pool);
  rail->pool = NULL;
  if (rail->domain != NULL && (err = weft__fid_close(&rail->domain->fid, domain_close)) != 0)
    weft__warn("%s: closing the domain: %s", rail->name, weft__err_str(err, text, sizeof(text)));
  if (rail->fabric != NULL && (err = weft__fi_err(fi_close(&rail->fabric->fid))) != 0)
    weft__warn("%s: closing the fabric: %s", rail->name, weft__err_str(err, text, sizeof(text)));
  if (rail->timer >= 0) close(rail->timer);
  if (rail->epfd >= 0) close(rail->epfd);
  rail->epfd = rail->timer = -1;
  free(rail->watched);
  rail->watched = NULL;
  rail->nwatched = 0;
}

static void destroy(weft__rail_t *rail) {
  if (rail->info != NULL) fi_freeinfo(rail->info);
  pthread_mutex_destroy(&rail->mem_lock);
  free(rail);
}

static int limits(weft__rail_t *rail, char *why, size_t len) {
  struct fi_info *info = rail->info;
  weft__env_t *env = rail->env;
  weft__plan_wish_t wish = {.paths = WEFT__PLAN_PATHS,
                            .tx_depth = env->tx_depth,
                            .rx_depth = env->rx_depth,
                            .per_cq = rail->q->shard_paths};
  weft__device_t device = {.sge = (uint32_t) info->tx_attr->iov_limit,
                           .inject = (uint32_t) info->tx_attr->inject_size,
                           .max_msg = info->ep_attr->max_msg_size};
  int err;

  /* What a provider without a device says of its queues' lengths means nothing. */
  if (rail->q->rdma) weft__device_ask(info, &device);
  err = weft__plan(&device, &wish, &rail->plan, why, len);
  if (err != 0) return err;
  if (rail->plan.tx_depth < env->tx_depth || rail->plan.rx_depth < env->rx_depth)
    weft__info("%s: %u frames and %u receives per path: the device bears no more", rail->name,
               rail->plan.tx_depth, rail->plan.rx_depth);
  info->rx_attr->size = rail->plan.rx_depth;
  info->tx_attr->size = rail->plan.tx_depth + rail->plan.rma_depth;
  if (rail->q->rdma) { /* what is not used costs memory of the device in every endpoint */
    info->rx_attr->iov_limit = 1;
    info->tx_attr->iov_limit = rail->plan.iov_max;
  }
  info->domain_attr->threading = rail->q->threading;
  rail->mr_local = (info->domain_attr->mr_mode & FI_MR_LOCAL) != 0;
  rail->mr_virt = (info->domain_attr->mr_mode & FI_MR_VIRT_ADDR) != 0;
  rail->mr_provkey = (info->domain_attr->mr_mode & FI_MR_PROV_KEY) != 0;
  rail->key_mask = info->domain_attr->mr_key_size >= 8
                       ? UINT64_MAX
                       : (UINT64_C(1) << (8 * info->domain_attr->mr_key_size)) - 1;
  return 0;
}

int weft__rail_open(weft__env_t *env, const weft__cand_t *cand, weft__rail_t **out, char *err,
                    size_t errlen) {
  weft__pool_cfg_t cfg = {.max_bytes = env->pool_bytes};
  struct epoll_event ev = {.events = EPOLLIN};
  weft__shard_t *shard;
  weft__rail_t *rail;
  const char *step;
  char text[160];
  int r;

  *out = NULL;
  if (cand->why != WEFT_WHY_OK || cand->info == NULL) {
    snprintf(err, errlen, "%s %s: not usable: %s", cand->provider, cand->device, cand->detail);
    return -ENODEV;
  }
  rail = calloc(1, sizeof(*rail));
  if (rail == NULL) {
    snprintf(err, errlen, "%s %s: out of memory (ENOMEM)", cand->provider, cand->device);
    return -ENOMEM;
  }
  pthread_mutex_init(&rail->mem_lock, NULL);
  rail->epfd = rail->timer = -1;
  rail->env = env;
  rail->todo_tail = &rail->todo;
  memcpy(rail->provider, cand->provider, sizeof(rail->provider));
  memcpy(rail->device, cand->device, sizeof(rail->device));
  memcpy(&rail->addr, &cand->addr, sizeof(rail->addr));
  snprintf(rail->name, sizeof(rail->name), "%s %s", rail->provider, rail->device);

#define STEP(what, point, call)                                                                    \
  do {                                                                                             \
    step = what;                                                                                   \
    r = WEFT__FAULT(point);                                                                        \
    if (r == 0) r = weft__fi_err(call);                                                            \
    if (r != 0) goto failed;                                                                       \
  } while (0)

  step = "finding the provider";
  r = -ENOENT;
  rail->q = weft__quirks_find(rail->provider, fi_version(), cand->info);
  if (rail->q == NULL || rail->q->refused != NULL) goto failed;
  step = "copying its attributes";
  r = -ENOMEM;
  rail->info = fi_dupinfo(cand->info);
  if (rail->info == NULL) goto failed;
  r = limits(rail, text, sizeof(text));
  if (r != 0) {
    snprintf(err, errlen, "%s: %s", rail->name, text);
    goto refused;
  }

  step = "epoll_create1";
  r = WEFT__FAULT(epoll);
  if (r == 0 && (rail->epfd = epoll_create1(EPOLL_CLOEXEC)) < 0) r = -errno;
  if (r != 0) goto failed;
  step = "timerfd_create";
  ev.data.ptr = rail;
  if ((rail->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)) < 0 ||
      epoll_ctl(rail->epfd, EPOLL_CTL_ADD, rail->timer, &ev) != 0) {
    r = -errno;
    goto failed;
  }
  STEP("fi_fabric", fabric_open, fi_fabric(rail->info->fabric_attr, &rail->fabric, NULL));
  STEP("fi_domain", domain_open, fi_domain(rail->fabric, rail->info, &rail->domain, NULL));
  if (weft__mem_cached(rail)) {
    snprintf(
        err, errlen,
        "%s: libfabric's registration cache is on and would keep memory open to peers: start with "
        "FI_MR_CACHE_MAX_COUNT=0 in the environment",
        rail->name);
    r = -EPERM;
    goto refused;
  }
  if (rail->mr_local) {
    cfg.reg = weft__mem_pool_reg;
    cfg.unreg = weft__mem_pool_unreg;
    cfg.arg = rail;
  }
  step = "making a buffer pool";
  r = weft__pool_new(&cfg, &rail->pool);
  if (r != 0) goto failed;
  if (rail->mr_local) {
    /* Here, on the worker, and not at the first frames; and who may not lock memory hears it now. */
    step = "registering buffers";
    r = weft__pool_stock(rail->pool, WEFT__POOL_RX);
    if (r == 0) r = weft__pool_stock(rail->pool, WEFT__POOL_TX);
    if (r != 0) goto failed;
  }
  if (!rail->q->eq_per_path) {
    step = "fi_eq_open";
    r = weft__eq_open(rail, &rail->eq);
    if (r != 0) goto failed;
  }
  step = "fi_cq_open";
  r = weft__shard_take(rail, &shard);
  if (r != 0) goto failed;
  weft__shard_give(shard);
  *out = rail;
  return 0;
#undef STEP

failed:
  snprintf(err, errlen, "%s: %s: %s%s", rail->name, step, weft__err_str(r, text, sizeof(text)),
           rail->q != NULL && rail->q->own_stack && rail->fabric == NULL
               ? "; FI_LOG_LEVEL=warn has the device say why"
               : "");
refused:
  teardown(rail);
  destroy(rail);
  return r;
}

static void close_run(weft__job_t *job) {
  teardown(job->data);
}

static void close_done(weft__job_t *job) {
  destroy(job->data);
}

void weft__rail_leave(weft__rail_t *rail) {
  if (--rail->busy != 0 || !rail->closing) return;
  rail->job = (weft__job_t){.run = close_run, .done = close_done, .data = rail};
  if (rail->q->blocks && rail->env->work(rail->env, &rail->job) == 0) return;
  teardown(rail);
  destroy(rail);
}

bool weft__rail_idle(const weft__rail_t *rail) {
  return rail->paths == NULL && rail->lsts == NULL;
}

void weft__rail_close(weft__rail_t *rail) {
  if (!weft__rail_idle(rail)) {
    /* Closing under them would free what the provider still writes to. */
    weft__error("%s: closed with %s open: its memory is lost", rail->name,
                rail->paths != NULL ? "paths" : "listeners");
    return;
  }
  rail->closing = true;
  rail->busy++;
  weft__rail_leave(rail);
}

const char *weft__rail_provider(const weft__rail_t *rail) {
  return rail->provider;
}

const char *weft__rail_device(const weft__rail_t *rail) {
  return rail->device;
}

const struct sockaddr *weft__rail_addr(const weft__rail_t *rail) {
  return (const struct sockaddr *) &rail->addr;
}

void weft__rail_lost(weft__rail_t *rail, const char *device, const struct sockaddr *addr,
                     const char *why) {
  weft__mpath_t *p;

  for (p = rail->paths; p != NULL; p = p->next) {
    /* Accepted on a wildcard address, a path may run over another device's address. */
    const void *own = p->src.ss_family != 0 ? &p->src : &rail->addr;
    if (device != NULL &&
        (strcmp(device, rail->device) != 0 || !weft__sa_same_ip(own, &rail->addr)))
      continue;
    if (addr != NULL && !weft__sa_same_ip(own, addr)) continue;
    weft__mpath_die(p, -ENETDOWN, false, "%s", why);
  }
}
