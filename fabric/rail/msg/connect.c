/* SPDX-License-Identifier: Apache-2.0 */
/* connect.c - the connecting end of a path.
 *
 * Design notes
 *  - The destination is put into the endpoint's attributes as well as given to fi_connect: verbs
 *    1.17 ignores the latter.
 *  - verbs resolves the address inside fi_endpoint, for up to 2 s, and asks ibacm for the route inside
 *    fi_connect, where that daemon runs: both steps run on the worker, with the others between them.
 *    The loop may read the path's events while fi_connect still runs: verbs asks for the route last,
 *    and what comes then finds the path as it is to be (vrb_msg_ep_connect, verbs_cm.c:197).
 *  - Where the provider connects inside fi_eq_read, and waits there (connects_in_read), that read is
 *    that of a thread for long waits, fi_connect with it: it looks (FI_PEEK) and takes nothing, and the
 *    loop leaves the queue alone until it is back.
 *  - What goes wrong after the path exists is told by `down`, with a sentence, even when the
 *    provider said it at once. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "internal.h"

static void open_run(weft__job_t *job) {
  weft__mpath_t *p = job->data;
  int err = WEFT__FAULT(ep_open);

  if (err == 0) err = weft__fi_err(fi_endpoint(p->p.rail->domain, p->info, &p->ep, p));
  if (err != 0) p->ep = NULL;
  p->job_err = err;
}

static void connect_run(weft__job_t *job) {
  weft__mpath_t *p = job->data;
  int err = WEFT__FAULT(connect);

  if (err == 0) err = weft__fi_err(fi_connect(p->ep, &p->dst, p->blob, p->bloblen));
  if (err == 0 && weft__mpath_eq(p)->away) err = weft__eq_step(weft__mpath_eq(p));
  p->job_err = err;
}

static void connect_end(weft__mpath_t *p) {
  weft__eq_touch(weft__mpath_eq(p));
  if (p->job_err != 0) weft__mpath_connect_failed(p, p->job_err, NULL, 0);
}

/* Done on the worker: what comes next, or the end that was asked for meanwhile. */
static void after(weft__mpath_t *p, void (*next)(weft__mpath_t *)) {
  weft__rail_t *rail = p->p.rail;

  p->connect_job = false;
  rail->busy++;
  if (p->closing == CLOSE_NO)
    next(p);
  else
    weft__mpath_end(p);
  weft__todo_run(rail);
  weft__rail_leave(rail);
}

static void connect_done(weft__job_t *job) {
  weft__mpath_t *p = job->data;

  weft__mpath_eq(p)->away = false;
  after(p, connect_end);
}

static void go_on(weft__mpath_t *p) {
  weft__rail_t *rail = p->p.rail;
  char text[96], what[160] = "fi_endpoint";
  bool away = rail->q->connects_in_read;
  int err = p->job_err;

  p->state = ST_CONNECTING;
  if (err != 0) {
    weft__mpath_connect_failed(p, err, NULL, 0);
    return;
  }
  err = weft__mpath_setup(p, what, sizeof(what));
  if (err != 0) {
    weft__mpath_die(p, err, false, "connect to %s: %s: %s", p->p.remote, what,
                    weft__err_str(err, text, sizeof(text)));
    return;
  }
  p->job = (weft__job_t){.run = connect_run, .done = connect_done, .data = p};
  weft__mpath_eq(p)->away = away;
  if (rail->q->blocks && (away ? rail->env->work_long : rail->env->work)(rail->env, &p->job) == 0) {
    p->connect_job = true;
    return;
  }
  weft__mpath_eq(p)->away = false;
  connect_run(&p->job);
  connect_end(p);
}

static void open_done(weft__job_t *job) {
  after(job->data, go_on);
}

int weft__rail_connect(weft__rail_t *rail, const struct sockaddr *dst, socklen_t len,
                       const void *blob, size_t bloblen, const weft__path_cbs_t *cbs, void *user,
                       weft__path_t **out) {
  weft__mpath_t *p;
  int err;

  *out = NULL;
  if (len == 0 || len != weft__sa_len(dst) || bloblen > WEFT__BLOB_MAX) return -EINVAL;
  err = weft__mpath_new(rail, cbs, user, &p);
  if (err != 0) return err;
  memcpy(&p->dst, dst, len);
  weft__sa_unmap(&p->dst);
  if (p->dst.ss_family != rail->addr.ss_family) {
    weft__mpath_free(p);
    return -EAFNOSUPPORT;
  }
  len = weft__sa_len(&p->dst);
  if (p->dst.ss_family == AF_INET6) {
    struct sockaddr_in6 *to = (struct sockaddr_in6 *) &p->dst;
    if (to->sin6_scope_id == 0 && IN6_IS_ADDR_LINKLOCAL(&to->sin6_addr))
      to->sin6_scope_id = ((struct sockaddr_in6 *) &rail->addr)->sin6_scope_id;
  }
  weft__sa_str(&p->dst, p->p.remote, sizeof(p->p.remote));
  weft__sa_str(&rail->addr, p->p.local, sizeof(p->p.local));
  p->info = fi_dupinfo(rail->info);
  if (p->info != NULL) {
    free(p->info->dest_addr);
    p->info->dest_addr = malloc(len);
    p->info->dest_addrlen = len;
  }
  if (p->info == NULL || p->info->dest_addr == NULL) {
    weft__mpath_free(p);
    return -ENOMEM;
  }
  memcpy(p->info->dest_addr, &p->dst, len);
  if (bloblen != 0) memcpy(p->blob, blob, bloblen);
  p->bloblen = (uint32_t) bloblen; /* until the answer */
  p->job = (weft__job_t){.run = open_run, .done = open_done, .data = p};
  p->state = ST_OPENING;
  if (rail->q->blocks) {
    err = rail->env->work(rail->env, &p->job);
    if (err != 0) {
      weft__mpath_free(p);
      return err;
    }
    p->connect_job = true;
  } else {
    open_run(&p->job);
    go_on(p);
  }
  *out = &p->p;
  return 0;
}

void weft__mpath_connected(weft__mpath_t *p, const void *blob, size_t len) {
  weft__mpath_names(p);
  weft__mpath_up(p);
  p->p.cbs->connected(&p->p, blob, len);
  weft__mpath_early(p);
}

void weft__mpath_connect_failed(weft__mpath_t *p, int err, const void *blob, size_t len) {
  bool tcp = p->p.rail->q->speaks_tcp;
  char text[96];

  p->bloblen = 0;
  if (blob != NULL && len != 0) {
    p->bloblen = len < sizeof(p->blob) ? (uint32_t) len : (uint32_t) sizeof(p->blob);
    memcpy(p->blob, blob, p->bloblen);
  }
  if (tcp && err == -ENOPROTOOPT)
    weft__mpath_die(p, -EPROTO, false,
                    "connect to %s: something answers there that does not speak libfabric (EPROTO)",
                    p->p.remote);
  else if (tcp && err == -EIO)
    weft__mpath_die(p, -EPROTO, false,
                    "connect to %s: no proper answer before the other end closed (EPROTO)",
                    p->p.remote);
  else if (p->p.rail->q->own_stack && err == -EBADMSG)
    weft__mpath_die(p, err, false,
                    "connect to %s: the kernel there leaves checksums to a card, and there is none "
                    "(EBADMSG): at that end, ethtool -K DEVICE tx off tso off gso off gro off",
                    p->p.remote);
  else if (err == -ECONNREFUSED && p->bloblen != 0)
    weft__mpath_die(p, err, false, "connect to %s: rejected by the program there (ECONNREFUSED)",
                    p->p.remote);
  else
    weft__mpath_die(p, err, false, "connect to %s: %s", p->p.remote,
                    weft__err_str(err, text, sizeof(text)));
}
