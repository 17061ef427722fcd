/* SPDX-License-Identifier: Apache-2.0 */
/* connect.c - the first contact: from a URL to the peer's HELLO.
 *
 * Design notes
 *  - A name is looked up on a thread for names (a number needs none), then the worker takes the
 *    list of candidates; everything else is the loop's. A look-up that hangs holds its thread, not
 *    the connection: its deadline counts from weft_connect.
 *  - Addresses are tried one after the other. For each the kernel says which own address it would
 *    use, and the candidate with that address carries the attempt: first contact follows the
 *    system's routes. A candidate with addresses of its own goes first where the peer is on its
 *    network, and the system second if it has a network there, too; else it goes where the system
 *    leads nowhere, or the needs leave nobody else. What the system would hand to a gateway is not
 *    asked of it: there such an address is nobody's, or a stranger's.
 *  - When everything failed without an answer of Weft's, a probe (probe.c) finds out what sits
 *    there.
 *  - The contact belongs to its connection, except while its job is with the worker: then the job's
 *    end frees it. */
#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loop/conn.h"
#include "loop/probe.h"
#include "units.h"

enum { ADDRS_MAX = 8 };
static const uint64_t PROBE_AFTER = WEFT__S, PROBE_LIMIT = 500 * WEFT__MS,
                      PAUSE_MAX = 500 * WEFT__MS;

struct weft__contact {
  weft__conn_t *c; /* NULL: nobody wants it any more */
  weft__core_t *core;
  weft__job_t job;
  bool job_out, resolved, rescanned, hello_wait;
  bool probed; /* what sits at the last address is known, or not to be found out */
  weft_addr_t url;
  char providers[WEFT_LIST_MAX], devices[WEFT_LIST_MAX]; /* of the context, for the scan */
  uint64_t max_age;
  /* what the job found */
  int err;
  char why[360];
  char heard[80]; /* by a probe on the side */
  unsigned naddrs;
  struct sockaddr_storage addrs[ADDRS_MAX];
  weft__cands_t *cands;
  /* trying */
  unsigned next; /* address to try */
  uint64_t deadline, retry_until, pause, again_at, probe_at;
  weft__timer_t timer;
  weft__cand_t cand;
  weft__waiter_t waiter;
  weft__dial_t *dial;
  weft__probe_t *probe;
  bool retry;   /* the last round failed in a way that another one may not */
  bool second;  /* the address that was tried last is to be tried by the system's routes, too */
  bool systems; /* ... and now is */
};

static void try_next(weft__contact_t *);

static void remember(weft__contact_t *k, int err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void remember(weft__contact_t *k, int err, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(k->why, sizeof k->why, fmt, ap);
  va_end(ap);
  k->err = err;
}

static void plan_timer(weft__contact_t *k) {
  uint64_t next = k->deadline;
  if (k->again_at && k->again_at < next) next = k->again_at;
  if (k->probe_at && k->probe_at < next) next = k->probe_at;
  weft__timer_stop(k->core, &k->timer);
  weft__timer_set(k->core, &k->timer, next);
}

/* ---- Looking up (on the worker's threads) ---- */

static void resolve(weft__contact_t *k) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *all = NULL;
  char port[8];
  k->naddrs = 0;
  snprintf(port, sizeof port, "%u", k->url.port);
  int r = WEFT__FAULT(resolve) ? EAI_AGAIN : getaddrinfo(k->url.host, port, &hints, &all);
  if (r != 0) {
    static const int map[][2] = {{EAI_AGAIN, UV_EAI_AGAIN},          {EAI_FAIL, UV_EAI_FAIL},
                                 {EAI_NONAME, UV_EAI_NONAME},        {EAI_MEMORY, UV_EAI_MEMORY},
                                 {EAI_FAMILY, UV_EAI_FAMILY},        {EAI_NODATA, UV_EAI_NODATA},
                                 {EAI_ADDRFAMILY, UV_EAI_ADDRFAMILY}};
    k->err = UV_EAI_FAIL;
    for (unsigned i = 0; i < sizeof map / sizeof map[0]; i++)
      if (map[i][0] == r) k->err = map[i][1];
    snprintf(k->why, sizeof k->why, "%s: %s (%s)", k->url.host, gai_strerror(r),
             weft_err_name(k->err) + 3);
    return;
  }
  for (struct addrinfo *a = all; a && k->naddrs < ADDRS_MAX; a = a->ai_next) {
    if (!weft__addr_len(a->ai_addr)) continue;
    bool known = false;
    for (unsigned i = 0; i < k->naddrs; i++) known |= weft__addr_same_ip(&k->addrs[i], a->ai_addr);
    if (known) continue;
    memset(&k->addrs[k->naddrs], 0, sizeof k->addrs[0]);
    memcpy(&k->addrs[k->naddrs++], a->ai_addr, weft__addr_len(a->ai_addr));
  }
  freeaddrinfo(all);
}

static void name_run(weft__job_t *job) {
  weft__contact_t *k = job->data;
  k->err = 0;
  resolve(k);
}

static void scan_run(weft__job_t *job) {
  weft__contact_t *k = job->data;
  int err;
  k->err = 0;
  k->cands = weft__cands_get(k->providers, k->devices, k->max_age, &err);
  if (k->cands) return;
  k->err = WEFT_ENOPROVIDER;
  snprintf(k->why, sizeof k->why, "looking at this machine's providers: %s", uv_strerror(err));
}

static void contact_free(weft__contact_t *k) {
  weft__cands_unref(k->cands);
  free(k);
}

static void fail(weft__contact_t *k) {
  weft__conn_t *c = k->c;
  weft__conn_fail(c, k->err, "%s", k->why); /* stops and frees k */
}

static int start_job(weft__contact_t *);

static void job_done(weft__job_t *job) {
  weft__contact_t *k = job->data;
  k->job_out = false;
  if (!k->c) {
    contact_free(k);
    return;
  }
  if (k->err) {
    fail(k);
    return;
  }
  if (!k->resolved) {
    k->resolved = true;
    int err = start_job(k);
    if (err) {
      remember(k, weft__err_public(err), "%s: the worker thread could not be started: %s",
               k->url.host, uv_strerror(err));
      fail(k);
    }
    return;
  }
  weft__cands_unref(k->core->cands);
  k->core->cands = weft__cands_ref(k->cands);
  try_next(k);
}

/* The name first, if that is what we have; then the candidates. */
static int start_job(weft__contact_t *k) {
  weft__cands_unref(k->cands);
  k->cands = NULL;
  k->job.run = k->resolved ? scan_run : name_run;
  k->job.done = job_done;
  k->job.data = k;
  int err = k->resolved ? weft__work(k->core, &k->job) : weft__work_name(k->core, &k->job);
  if (err == 0) k->job_out = true;
  return err;
}

/* ---- The end of an attempt ---- */

static void on_probed(void *owner, int err, const char *text) {
  weft__contact_t *k = owner;
  char to[80];
  const struct sockaddr_storage *dst = &k->addrs[k->next ? k->next - 1 : 0];
  k->probe = NULL;
  weft__addr_str(dst, to, sizeof to);
  if (err == WEFT_ENOTWEFT) {
    remember(k, err, "%s: something else listens there: %s", to, text);
    fail(k);
    return;
  }
  k->probed = true;
  if (k->dial || k->hello_wait) { /* a look on the side; the attempt goes on */
    snprintf(k->heard, sizeof k->heard, "%s", text);
    return;
  }
  if (err == UV_ETIMEDOUT && k->err == UV_ECONNREFUSED) {
    remember(k, WEFT_ENOTWEFT, "%s: it takes TCP connections and refuses Weft's handshake", to);
  } else if (err == UV_ECONNRESET && k->err != UV_ETIMEDOUT) {
    remember(k, WEFT_ENOTWEFT, "%s: it takes TCP connections and hangs up on Weft's handshake", to);
  }
  fail(k);
}

/* All addresses have failed: again, a closer look, or the end. */
static void round_over(weft__contact_t *k) {
  weft__core_t *core = k->core;
  bool waits = k->err == UV_ECONNREFUSED && core->now_ns < k->retry_until;
  k->next = 0;
  if ((k->retry || waits) && core->now_ns + k->pause < k->deadline) {
    uint32_t jitter;
    weft__random(core, &jitter, sizeof jitter);
    k->again_at = core->now_ns + k->pause + k->pause / 4 * (jitter % 256) / 256;
    k->pause = k->pause * 2 < PAUSE_MAX ? k->pause * 2 : PAUSE_MAX;
    plan_timer(k);
    return;
  }
  bool unclear =
      !k->retry && (k->err == UV_ECONNREFUSED || k->err == UV_ETIMEDOUT ||
                    k->err == UV_ECONNRESET || k->err == UV_ECONNABORTED || k->err == UV_EIO ||
                    k->err == UV_EPROTO || k->err == UV_EPIPE || k->err == UV_ENOTCONN);
  if (unclear && !k->probed && k->naddrs && !k->cand.own_stack) {
    k->probed = true;
    k->next = k->naddrs;
    if (k->probe) weft__probe_drop(k->probe);
    k->probe = weft__probe_start(core, &k->addrs[k->naddrs - 1], PROBE_LIMIT, k, on_probed);
    if (k->probe) {
      k->again_at = 0;
      weft__timer_stop(core, &k->timer); /* the probe has a limit of its own */
      return;
    }
  }
  fail(k);
}

static void on_dialled(weft__dial_t *d, const weft__dial_result_t *r) {
  weft__contact_t *k = d->owner;
  weft__conn_t *c = k->c;
  char to[80], text[120];
  weft__addr_str(&d->dst, to, sizeof to);
  k->dial = NULL;
  k->probe_at = 0;
  k->retry = false;
  if (r->err == 0) {
    int rank;
    int err = weft__routes_boot(c, &k->cand, &d->dst);
    if (err == 0) {
      rank = c->boot->rank;
      err = weft__session_add_path(c->s, d->path, d->rq.key, r->answer.key, rank, 0);
    }
    if (err) {
      remember(k, weft__err_public(err), "%s: %s", to,
               weft__err_text(weft__err_public(err), text, sizeof text));
      fail(k);
      return;
    }
    weft__routes_boot_up(c, weft__dial_take(d));
    k->hello_wait = true;
    plan_timer(k);
    return;
  }
  if (r->answered && r->answer.kind == WEFT__A_REJECT) {
    if (r->answer.code == WEFT__J_VERSION) {
      remember(k, WEFT_EVERSION, "%s", r->why);
      fail(k);
      return;
    }
    k->retry = r->answer.code == WEFT__J_BUSY || r->answer.code == WEFT__J_FULL;
    k->probed = true; /* it is a Weft: nothing to find out */
    remember(k, k->retry ? UV_ETIMEDOUT : UV_ECONNREFUSED, "%s", r->why);
  } else {
    int err = weft__err_public(r->err);
    if (err == UV_ECONNREFUSED || !r->why || !*r->why)
      remember(k, err, "%s %s: connect to %s: %s", k->cand.provider, k->cand.device, to,
               weft__err_text(err, text, sizeof text));
    else if (err == UV_ETIMEDOUT && k->heard[0])
      remember(k, err, "%s; %s: another program, or a Weft that is stopped", r->why, k->heard);
    else
      remember(k, err, "%s", r->why);
  }
  try_next(k);
}

static void dial(weft__contact_t *k, weft__crail_t *cr, const struct sockaddr_storage *dst) {
  weft__core_t *core = k->core;
  char to[80], text[120];
  weft__request_t rq = {
      .vlow = WEFT__WIRE_VERSION, .vhigh = WEFT__WIRE_VERSION, .kind = WEFT__K_HELLO};
  weft__random(core, &rq.key, sizeof rq.key);
  memcpy(rq.id, weft__session_id(k->c->s), sizeof rq.id);
  uint64_t left = k->deadline > core->now_ns ? k->deadline - core->now_ns : 1;
  unsigned more = k->naddrs - k->next; /* `next` is already past this one */
  uint64_t limit = left / (more + 1 + k->second);
  int err = weft__dial_start(cr, dst, &rq, limit, k, on_dialled, &k->dial);
  if (err) {
    err = weft__err_public(err);
    remember(k, err, "%s %s: connect to %s: %s", k->cand.provider, k->cand.device,
             weft__addr_str(dst, to, sizeof to), weft__err_text(err, text, sizeof text));
    try_next(k);
    return;
  }
  if (!k->probed && !k->cand.own_stack)
    k->probe_at = core->now_ns + (limit / 2 < PROBE_AFTER ? limit / 2 : PROBE_AFTER);
  plan_timer(k);
}

static void on_rail(weft__waiter_t *w, weft__crail_t *cr) {
  weft__contact_t *k = weft__container(w, weft__contact_t, waiter);
  if (cr->state == WEFT__R_OPEN) {
    dial(k, cr, &k->addrs[k->next - 1]);
    return;
  }
  remember(k, WEFT_ENOPROVIDER, "%s", cr->why);
  try_next(k);
}

static const weft__cand_t *choose(weft__contact_t *k, const void *src) {
  const weft__conn_t *c = k->c;
  for (unsigned i = 0; i < k->cands->list.n; i++) {
    const weft__cand_t *v = &k->cands->list.v[i];
    if (!weft__cand_usable(v) || !v->bootstrap || v->own_stack) continue;
    if (!weft__addr_same_ip(&v->addr, src)) continue;
    if (c->qos.bootstrap[0] && !weft__list_has_provider(c->qos.bootstrap, v->provider)) continue;
    if (c->devices[0] && !weft__list_has(c->devices, v->device)) continue;
    return v;
  }
  return NULL;
}

/* The same where the provider has addresses and ways of its own. */
static const weft__cand_t *choose_own(weft__contact_t *k, const struct sockaddr_storage *dst,
                                      const struct sockaddr_storage *bind, weft__reach_t *reach) {
  const weft__conn_t *c = k->c;
  *reach = WEFT__REACH_NO;
  for (unsigned i = 0; i < k->cands->list.n; i++) {
    const weft__cand_t *v = &k->cands->list.v[i];
    if (!weft__cand_usable(v) || !v->bootstrap || !v->own_stack) continue;
    if (bind && !weft__addr_same_ip(&v->addr, bind)) continue;
    if (c->qos.bootstrap[0] && !weft__list_has_provider(c->qos.bootstrap, v->provider)) continue;
    if (c->devices[0] && !weft__list_has(c->devices, v->device)) continue;
    *reach = weft__cand_reach(v, dst);
    if (*reach != WEFT__REACH_NO) return v;
  }
  return NULL;
}

static int want(weft__contact_t *k, const weft__cand_t *cand) {
  char text[120];
  int err;
  k->cand = *cand;
  k->cand.info = NULL;
  if (weft__rail_want(k->core, cand, k->cands, &k->waiter, &err)) return 0; /* on_rail follows */
  remember(k, weft__err_public(err), "%s %s: %s", cand->provider, cand->device,
           weft__err_text(weft__err_public(err), text, sizeof text));
  return err;
}

static void try_next(weft__contact_t *k) {
  char to[80], from[80], text[120];
  int err;
  while (k->second || k->next < k->naddrs) {
    k->systems = k->second;
    k->second = false;
    if (k->systems) k->next--;
    const struct sockaddr_storage *dst = &k->addrs[k->next++];
    const struct sockaddr_storage *bind =
        k->c->bind.ss_family == dst->ss_family ? &k->c->bind : NULL;
    weft__route_t route;
    weft__reach_t reach = WEFT__REACH_NO;
    weft__addr_str(dst, to, sizeof to);
    if (k->c->bind.ss_family && !bind) {
      remember(k, UV_EINVAL, "connect to %s: bind= is of another family", to);
      continue;
    }
    err = weft__route(dst, bind, &route);
    const weft__cand_t *own = k->systems ? NULL : choose_own(k, dst, bind, &reach);
    if (own && (bind || err || reach == WEFT__REACH_NEAR)) {
      k->second = !err && !bind && (route.local || !route.gateway);
      if (want(k, own) == 0) return;
      continue;
    }
    if (err) {
      err = weft__err_public(err);
      if (err == UV_EINVAL || err == UV_ENODEV) err = bind ? UV_EADDRNOTAVAIL : UV_EHOSTUNREACH;
      if (err == UV_ENETUNREACH) err = UV_EHOSTUNREACH;
      remember(k, err, "connect to %s: no route: %s", to, weft__err_text(err, text, sizeof text));
      continue;
    }
    const void *src = bind ? bind : route.src.ss_family ? &route.src : dst;
    const weft__cand_t *cand = choose(k, src);
    if (!cand && route.local && !bind) cand = choose(k, dst);
    if (!cand && k->systems) continue; /* what the first attempt said stands */
    if (!cand) cand = own;
    if (!cand && !k->rescanned) { /* the list may be older than the address */
      k->rescanned = true;
      k->max_age = 0;
      k->next--;
      if (start_job(k) == 0) return;
      k->next++;
    }
    if (!cand) {
      remember(k, WEFT_ENOPROVIDER,
               "connect to %s: no usable provider has the local address %s, by which the system "
               "would reach it",
               to, weft__addr_str(src, from, sizeof from));
      continue;
    }
    if (want(k, cand) == 0) return;
  }
  round_over(k);
}

static void on_timer(weft__timer_t *t) {
  weft__contact_t *k = weft__container(t, weft__contact_t, timer);
  weft__core_t *core = k->core;
  char to[80];
  if (core->now_ns >= k->deadline) {
    if (k->job_out) { /* what the job writes is not ours to read yet; it does not read or write this */
      weft__conn_fail(k->c, UV_ETIMEDOUT, "%s: looking %s took more than %u ms (ETIMEDOUT)",
                      k->url.host,
                      k->resolved ? "at this machine's providers for a way to it" : "it up",
                      core->opts.connect_timeout_ms);
      return;
    }
    const char *where = k->naddrs
                            ? weft__addr_str(&k->addrs[k->next ? k->next - 1 : 0], to, sizeof to)
                            : k->url.host;
    if (k->hello_wait)
      remember(k, UV_ETIMEDOUT,
               "connect to %s: it accepted, but its program did not take the connection in %u ms "
               "(ETIMEDOUT)",
               where, core->opts.connect_timeout_ms);
    else if (!k->retry || !k->err)
      remember(k, UV_ETIMEDOUT, "connect to %s: no answer in %u ms (ETIMEDOUT)", where,
               core->opts.connect_timeout_ms);
    fail(k);
    return;
  }
  if (k->probe_at && core->now_ns >= k->probe_at) {
    k->probe_at = 0;
    if (k->dial && !k->probe && k->next)
      k->probe = weft__probe_start(core, &k->addrs[k->next - 1], (k->deadline - core->now_ns) / 2,
                                   k, on_probed);
  }
  if (k->again_at && core->now_ns >= k->again_at) {
    k->again_at = 0;
    plan_timer(k);
    try_next(k);
    return;
  }
  plan_timer(k);
}

/* ---- From and to the connection ---- */

int weft__contact_start(weft__conn_t *c, const weft_addr_t *url) {
  weft__core_t *core = c->core;
  weft__contact_t *k = calloc(1, sizeof *k);
  if (!k) return UV_ENOMEM;
  k->c = c;
  k->core = core;
  k->url = *url;
  snprintf(k->providers, sizeof k->providers, "%s", core->opts.providers);
  snprintf(k->devices, sizeof k->devices, "%s", core->opts.devices);
  k->max_age = weft__cands_max_age(core);
  k->waiter.cb = on_rail;
  k->timer.fire = on_timer;
  k->pause = 20 * WEFT__MS;
  if (weft__addr_parse(url->host, url->port, &k->addrs[0])) {
    k->naddrs = 1;
    k->resolved = true;
  }
  k->retry_until = core->now_ns + core->opts.connect_retry_ms * WEFT__MS;
  k->deadline = k->retry_until + core->opts.connect_timeout_ms * WEFT__MS;
  int err = start_job(k);
  if (err) {
    free(k);
    return weft__err_public(err);
  }
  c->contact = k;
  plan_timer(k);
  return 0;
}

void weft__contact_stop(weft__conn_t *c) {
  weft__contact_t *k = c->contact;
  if (!k) return;
  c->contact = NULL;
  k->c = NULL;
  weft__timer_stop(k->core, &k->timer);
  weft__rail_unwant(&k->waiter);
  if (k->dial) weft__dial_drop(k->dial);
  if (k->probe) weft__probe_drop(k->probe);
  k->dial = NULL;
  k->probe = NULL;
  if (!k->job_out) contact_free(k);
}

/* The peer is there. Shall the connection open now, or wait for a better path? */
void weft__contact_hello(weft__conn_t *c) {
  weft__core_t *core = c->core;
  if (c->state != WEFT__CN_CONNECTING) return;
  uint64_t deadline = c->contact ? c->contact->deadline : core->now_ns;
  weft__contact_stop(c);
  c->upgrading = true;
  c->upgrade_until = core->now_ns + core->opts.upgrade_budget_ms * WEFT__MS;
  if (c->upgrade_until > deadline) c->upgrade_until = deadline;
  int err = weft__routes_plan(c);
  if (err) {
    weft__conn_fail(c, err, "%s", uv_strerror(err));
    return;
  }
  weft__routes_work(c);
}
