/* SPDX-License-Identifier: Apache-2.0 */
/* lib_conform.c - see lib_conform.h.
 *
 * Design notes
 *  - Lists of what was seen only grow; an entry that was taken is marked by a NULL-ed context
 *    (completions) or an event number that does not exist. A case makes thousands of them at most. */
#include "lib_conform.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#define MAX_ENDS  8
#define TAKEN     UINT32_MAX
#define LIST_ROOM 65536

const char *client_provider, *server_provider;

static end_t *ends[MAX_ENDS]; /* open ones */
static char taken;            /* the context of a completion that was taken */

/* ---- Programs ---- */

int conform_setup(void **state) {
  (void) state;
  memset(ends, 0, sizeof(ends));
  return 0;
}

int conform_run(int argc, char **argv, const struct CMUnitTest *tests, size_t n) {
  client_provider = argc > 1 ? argv[1] : getenv("WEFT_CONFORM_CLIENT");
  server_provider = argc > 2 ? argv[2] : getenv("WEFT_CONFORM_SERVER");
  if (client_provider == NULL) client_provider = "tcp";
  if (server_provider == NULL) server_provider = client_provider;
  setvbuf(stdout, NULL, _IOLBF, 0);
  printf("client %s, server %s\n", client_provider, server_provider);
  const char *stale = conform_stale_row(program_invocation_short_name, tests, n);
  if (stale != NULL) {
    fprintf(stderr, "lib_deviations.c names %s.%s, which is no case\n",
            program_invocation_short_name, stale);
    return 1;
  }
  return _cmocka_run_group_tests(program_invocation_short_name, tests, n, NULL, NULL);
}

const char *conform_node(void) {
  const char *node = getenv("WEFT_CONFORM_NODE");

  return node != NULL ? node : "127.0.0.1";
}

struct in_addr conform_foe(void) {
  const char *text = getenv("WEFT_CONFORM_FOE");
  struct in_addr in = {.s_addr = htonl(INADDR_LOOPBACK)};

  if (text != NULL) assert_int_equal(inet_pton(AF_INET, text, &in), 1);
  return in;
}

int plain_socket(const void *addr, size_t len) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

  assert_true(fd >= 0);
  UNTIL(connect(fd, addr, (socklen_t) len) == 0 || errno == EISCONN ||
        (errno != EINPROGRESS && errno != EALREADY));
  OK(connect(fd, addr, (socklen_t) len) == 0 || errno == EISCONN ? 0 : -errno);
  assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
  return fd;
}

/* ---- Time ---- */

uint64_t now_ms(void) {
  struct timespec t;

  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t) t.tv_sec * 1000 + (uint64_t) t.tv_nsec / 1000000;
}

void timed_out(const char *what, const char *file, int line) {
  for (unsigned i = 0; i < MAX_ENDS; i++) {
    end_t *e = ends[i];

    for (size_t k = 0; e != NULL && k < e->ncomps; k++)
      if (e->comps[k].ctx != &taken)
        print_message("end %u (%s) has a completion: err %d flags %#lx len %zu\n", i, e->provider,
                      e->comps[k].err, (unsigned long) e->comps[k].flags, e->comps[k].len);
    for (size_t k = 0; e != NULL && k < e->nevents; k++)
      if (e->events[k].event != TAKEN)
        print_message("end %u (%s) has an event: %u err %d\n", i, e->provider, e->events[k].event,
                      e->events[k].err);
  }
  print_error("%s:%d: waited %d s for: %s\n", file, line, CONFORM_WAIT_MS / 1000, what);
  _fail(file, line);
  abort();
}

/* ---- The queues ---- */

static comp_t *new_comp(end_t *e) {
  if (e->ncomps == LIST_ROOM) { /* drop what was taken at the front */
    size_t at = 0;

    while (at < e->ncomps && e->comps[at].ctx == &taken) at++;
    assert_true(at > 0);
    memmove(e->comps, e->comps + at, (e->ncomps - at) * sizeof(*e->comps));
    e->ncomps -= at;
    e->rcomps = 0;
  }
  return &e->comps[e->ncomps++];
}

static void read_cq(end_t *e) {
  struct fi_cq_data_entry entry[16];
  ssize_t n;

  while ((n = fi_cq_read(e->cq, entry, 16)) > 0)
    for (ssize_t i = 0; i < n; i++)
      *new_comp(e) = (comp_t){.ctx = entry[i].op_context,
                              .flags = entry[i].flags,
                              .data = entry[i].data,
                              .len = entry[i].len};
  if (n == -FI_EAVAIL) {
    struct fi_cq_err_entry err = {0};

    assert_int_equal(fi_cq_readerr(e->cq, &err, 0), 1);
    assert_int_not_equal(err.err, 0);
    *new_comp(e) = (comp_t){.ctx = err.op_context,
                            .flags = err.flags,
                            .data = err.data,
                            .len = err.len,
                            .olen = err.olen,
                            .err = err.err};
  } else {
    assert_int_equal(n, -FI_EAGAIN);
  }
}

static void read_eq(end_t *e) {
  uint8_t room[sizeof(struct fi_eq_cm_entry) + sizeof(((event_t *) 0)->data)] = {0};
  struct fi_eq_cm_entry *cm = (struct fi_eq_cm_entry *) room;
  uint32_t event = 0;
  ssize_t n = fi_eq_read(e->eq, &event, room, sizeof(room), 0);

  if (n == -FI_EAGAIN) return;
  assert_true(e->nevents < LIST_ROOM);
  event_t *ev = &e->events[e->nevents++];
  memset(ev, 0, sizeof(*ev));
  if (n == -FI_EAVAIL) {
    struct fi_eq_err_entry err = {.err_data = ev->data, .err_data_size = sizeof(ev->data)};

    assert_true(fi_eq_readerr(e->eq, &err, 0) > 0);
    assert_int_not_equal(err.err, 0);
    ev->event = 0;
    ev->err = err.err;
    ev->fid = err.fid;
    if (err.err_data == ev->data) ev->len = err.err_data_size;
    if (err.err_data != NULL && err.err_data != ev->data) {
      ev->len = err.err_data_size < sizeof(ev->data) ? err.err_data_size : sizeof(ev->data);
      memcpy(ev->data, err.err_data, ev->len);
    }
    return;
  }
  assert_true(n >= (ssize_t) sizeof(*cm));
  ev->event = event;
  ev->fid = cm->fid;
  ev->info = cm->info;
  ev->len = (size_t) n - sizeof(*cm);
  memcpy(ev->data, cm->data, ev->len);
}

void pump(void) {
  for (unsigned i = 0; i < MAX_ENDS; i++) {
    if (ends[i] == NULL) continue;
    if (ends[i]->cq != NULL && !ends[i]->asleep) read_cq(ends[i]);
    if (ends[i]->eq != NULL && !ends[i]->deaf) read_eq(ends[i]);
  }
}

void settle(unsigned ms) {
  uint64_t until = now_ms() + ms;

  do pump();
  while (now_ms() < until);
}

bool took(end_t *e, const void *ctx, comp_t *out) {
  while (e->rcomps < e->ncomps && e->comps[e->rcomps].ctx == &taken) e->rcomps++;
  for (size_t i = e->rcomps; i < e->ncomps; i++) {
    if (e->comps[i].ctx != ctx) continue;
    if (out != NULL) *out = e->comps[i];
    e->comps[i].ctx = &taken;
    return true;
  }
  return false;
}

static bool take_event(end_t *e, bool error, uint32_t event, fid_t fid, event_t *out) {
  for (size_t i = 0; i < e->nevents; i++) {
    event_t *ev = &e->events[i];

    if (ev->event == TAKEN || (ev->err != 0) != error || (fid != NULL && ev->fid != fid)) continue;
    if (!error && ev->event != event) continue;
    if (out != NULL) *out = *ev;
    ev->event = TAKEN;
    return true;
  }
  return false;
}

bool took_event(end_t *e, uint32_t event, fid_t fid, event_t *out) {
  return take_event(e, false, event, fid, out);
}

bool took_eq_error(end_t *e, fid_t fid, event_t *out) {
  return take_event(e, true, 0, fid, out);
}

comp_t wait_comp(end_t *e, const void *ctx) {
  comp_t c;

  UNTIL(took(e, ctx, &c));
  if (c.err != 0) fail_msg("a completion in error: %s", fi_strerror(c.err));
  return c;
}

comp_t wait_error(end_t *e, const void *ctx) {
  comp_t c;

  UNTIL(took(e, ctx, &c));
  if (c.err == 0) fail_msg("a good completion, flags %#lx", (unsigned long) c.flags);
  return c;
}

event_t wait_event(end_t *e, uint32_t event, fid_t fid) {
  event_t ev;

  UNTIL(took_event(e, event, fid, &ev));
  return ev;
}

event_t wait_eq_error(end_t *e, fid_t fid) {
  event_t ev;

  UNTIL(took_eq_error(e, fid, &ev));
  return ev;
}

void expect_quiet(end_t *e) {
  for (size_t i = 0; i < e->ncomps; i++)
    if (e->comps[i].ctx != &taken)
      fail_msg("%s: a completion that nobody expects: err %d, flags %#lx, %zu bytes", e->provider,
               e->comps[i].err, (unsigned long) e->comps[i].flags, e->comps[i].len);
  for (size_t i = 0; i < e->nevents; i++)
    if (e->events[i].event != TAKEN)
      fail_msg("%s: an event that nobody expects: %u, err %d", e->provider, e->events[i].event,
               e->events[i].err);
}

void end_forget(end_t *e) {
  e->ncomps = e->rcomps = 0;
  for (size_t i = 0; i < e->nevents; i++)
    if (e->events[i].event != TAKEN && e->events[i].info != NULL) fi_freeinfo(e->events[i].info);
  e->nevents = 0;
}

/* ---- Ends ---- */

struct fi_info *conform_hints(const char *provider, const opts_t *opts) {
  struct fi_info *h = fi_allocinfo();

  assert_non_null(h);
  h->ep_attr->type = FI_EP_MSG;
  h->caps = opts != NULL && opts->caps != 0 ? opts->caps : FI_MSG | FI_RMA;
  h->mode = FI_CONTEXT | FI_RX_CQ_DATA;
  h->domain_attr->mr_mode = CONFORM_MR_MODE;
  h->fabric_attr->prov_name = strdup(provider);
  if (opts != NULL) {
    h->domain_attr->threading = opts->threads;
    h->tx_attr->size = opts->tx_size;
    h->rx_attr->size = opts->rx_size;
    h->tx_attr->op_flags = opts->tx_flags;
    h->rx_attr->op_flags = opts->rx_flags;
    if (opts->srx) h->ep_attr->rx_ctx_cnt = FI_SHARED_CONTEXT;
  }
  return h;
}

struct fi_info *conform_info(const char *provider, const opts_t *opts, const char *node,
                             const char *service, uint64_t flags) {
  struct fi_info *hints = conform_hints(provider, opts), *info = NULL;
  int rc = fi_getinfo(FI_VERSION(1, 17), node, service, flags, hints, &info);

  fi_freeinfo(hints);
  if (rc != 0)
    fail_msg("%s: fi_getinfo for %s: %s", provider, node != NULL ? node : "(none)",
             fi_strerror(-rc));
  /* Regions are named as fi_mr_key and mr_mode say, but buffers are used as they are. */
  assert_false(info->domain_attr->mr_mode & FI_MR_LOCAL);
  return info;
}

/* Takes over `info`. */
void end_open(end_t *e, const char *provider, const opts_t *opts, struct fi_info *info) {
  static const opts_t none;
  unsigned i;

  memset(e, 0, sizeof(*e));
  e->provider = provider;
  e->opts = opts != NULL ? *opts : none;
  e->info = info;
  e->comps = calloc(LIST_ROOM, sizeof(*e->comps));
  e->events = calloc(LIST_ROOM, sizeof(*e->events));
  assert_non_null(e->comps);
  assert_non_null(e->events);
  struct fi_eq_attr eq = {.wait_obj = e->opts.eq_wait != 0 ? e->opts.eq_wait : FI_WAIT_UNSPEC,
                          .flags = FI_WRITE};
  struct fi_cq_attr cq = {.size = e->opts.cq_size != 0 ? e->opts.cq_size : 4096,
                          .format = FI_CQ_FORMAT_DATA,
                          .wait_obj = e->opts.cq_wait != 0 ? e->opts.cq_wait : FI_WAIT_NONE};
  OK(fi_fabric(info->fabric_attr, &e->fabric, NULL));
  OK(fi_eq_open(e->fabric, &eq, &e->eq, NULL));
  OK(fi_domain(e->fabric, info, &e->domain, NULL));
  OK(fi_cq_open(e->domain, &cq, &e->cq, NULL));
  if (e->opts.srx) {
    struct fi_rx_attr rx = *info->rx_attr;

    OK(fi_srx_context(e->domain, &rx, &e->srx, NULL));
    OK(fi_ep_bind(e->srx, &e->cq->fid, FI_RECV));
    int rc = fi_enable(e->srx); /* some have nothing to enable */
    if (rc != 0) assert_int_equal(rc, -FI_ENOSYS);
  }
  for (i = 0; i < MAX_ENDS && ends[i] != NULL; i++) continue;
  assert_true(i < MAX_ENDS);
  ends[i] = e;
}

void end_close(end_t *e) {
  if (!e->messy) expect_quiet(e);
  end_forget(e);
  for (unsigned i = 0; i < MAX_ENDS; i++)
    if (ends[i] == e) ends[i] = NULL;
  if (e->pep != NULL) OK(fi_close(&e->pep->fid));
  if (e->srx != NULL) OK(fi_close(&e->srx->fid));
  OK(fi_close(&e->cq->fid));
  OK(fi_close(&e->domain->fid));
  OK(fi_close(&e->eq->fid));
  OK(fi_close(&e->fabric->fid));
  fi_freeinfo(e->info);
  free(e->comps);
  free(e->events);
  memset(e, 0, sizeof(*e));
}

struct fid_ep *end_ep(end_t *e, struct fi_info *info, void *context) {
  struct fid_ep *ep = NULL;

  OK(fi_endpoint(e->domain, info, &ep, context));
  OK(fi_ep_bind(ep, &e->eq->fid, 0));
  OK(fi_ep_bind(ep, &e->cq->fid, FI_TRANSMIT | FI_RECV | e->opts.cq_flags));
  if (e->srx != NULL) OK(fi_ep_bind(ep, &e->srx->fid, 0));
  if (e->bind != NULL) e->bind(e, ep);
  OK(fi_enable(ep));
  return ep;
}

void ep_close(struct fid_ep *ep) {
  if (ep != NULL) OK(fi_close(&ep->fid));
}

/* ---- Pairs ---- */

uint16_t pair_port(const pair_t *p) {
  const struct sockaddr *sa = (const struct sockaddr *) &p->addr;

  return ntohs(sa->sa_family == AF_INET6 ? ((const struct sockaddr_in6 *) sa)->sin6_port
                                         : ((const struct sockaddr_in *) sa)->sin_port);
}

void pair_open(pair_t *p, const opts_t *client, const opts_t *server) {
  const char *node = server != NULL && server->node != NULL ? server->node : conform_node();
  char service[8];

  memset(p, 0, sizeof(*p));
  end_open(&p->s, server_provider, server,
           conform_info(server_provider, server, node, "0", FI_SOURCE));
  OK(fi_passive_ep(p->s.fabric, p->s.info, &p->s.pep, NULL));
  OK(fi_pep_bind(p->s.pep, &p->s.eq->fid, 0));
  OK(fi_listen(p->s.pep));
  p->addrlen = sizeof(p->addr);
  OK(fi_getname(&p->s.pep->fid, &p->addr, &p->addrlen));
  assert_int_not_equal(pair_port(p), 0);
  snprintf(service, sizeof(service), "%u", pair_port(p));
  end_open(&p->c, client_provider, client, conform_info(client_provider, client, node, service, 0));
}

void pair_close(pair_t *p) {
  end_close(&p->c);
  end_close(&p->s);
}

void pair_connect(pair_t *p, link_t *l) {
  event_t ev;

  l->c = end_ep(&p->c, p->c.info, NULL);
  OK(fi_connect(l->c, &p->addr, NULL, 0));
  ev = wait_event(&p->s, FI_CONNREQ, &p->s.pep->fid);
  assert_non_null(ev.info);
  l->s = end_ep(&p->s, ev.info, NULL);
  fi_freeinfo(ev.info);
  OK(fi_accept(l->s, NULL, 0));
  wait_event(&p->s, FI_CONNECTED, &l->s->fid);
  wait_event(&p->c, FI_CONNECTED, &l->c->fid);
}

void pair_disconnect(pair_t *p, link_t *l) {
  OK(fi_shutdown(l->c, 0));
  wait_event(&p->c, FI_SHUTDOWN, &l->c->fid);
  wait_event(&p->s, FI_SHUTDOWN, &l->s->fid);
  link_close(l);
}

void pair_sleepers(pair_t *p, link_t *l) {
  opts_t o = {.cq_wait = FI_WAIT_FD, .eq_wait = FI_WAIT_FD};

  pair_open(p, &o, &o);
  pair_connect(p, l);
}

void pair_end(pair_t *p, link_t *l) {
  pair_disconnect(p, l);
  pair_close(p);
}

void link_close(link_t *l) {
  ep_close(l->c);
  ep_close(l->s);
  l->c = l->s = NULL;
}

int fd_of(fid_t fid) {
  int fd = -1;

  OK(fi_control(fid, FI_GETWAIT, &fd));
  assert_true(fd >= 0);
  return fd;
}

int next_comp(end_t *e, how_t how, int fd, struct fi_cq_data_entry *entry) {
  struct fid *fid = &e->cq->fid;
  uint64_t until = now_ms() + CONFORM_WAIT_MS;

  while (now_ms() < until) {
    ssize_t n =
        how == SREAD ? fi_cq_sread(e->cq, entry, 1, NULL, 1000) : fi_cq_read(e->cq, entry, 1);

    if (n == 1) return 1;
    if (n != -FI_EAGAIN && n != -FI_EINTR) return n < 0 ? (int) n : -FI_EOTHER;
    if (how == FD && fi_trywait(e->fabric, &fid, 1) == FI_SUCCESS) {
      struct pollfd pfd = {.fd = fd, .events = POLLIN};

      /* A wake-up that is lost costs all of this, and the turn fails by its limit. */
      poll(&pfd, 1, CONFORM_WAIT_MS);
    }
  }
  return -FI_ETIMEDOUT;
}

/* ---- Data ---- */

uint64_t rnd(uint64_t *state) { /* splitmix64 */
  uint64_t z = (*state += 0x9e3779b97f4a7c15u);

  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

/* Eight bytes at a time from a generator: no part of a buffer looks like another. */
void fill(void *buf, size_t len, uint64_t seed) {
  uint8_t *at = buf;
  uint64_t v;

  for (; len > 0; len -= len < 8 ? len : 8, at += 8) {
    v = rnd(&seed);
    memcpy(at, &v, len < 8 ? len : 8);
  }
}

void check(const void *buf, size_t len, uint64_t seed) {
  const uint8_t *at = buf, *end = at + len;
  uint64_t v;

  for (size_t n; at < end; at += n) {
    n = (size_t) (end - at) < 8 ? (size_t) (end - at) : 8;
    v = rnd(&seed);
    if (memcmp(at, &v, n) != 0)
      fail_msg("wrong data within 8 bytes from %zu of %zu", (size_t) (at - (const uint8_t *) buf),
               len);
  }
}

void region_open(region_t *r, end_t *e, size_t len, uint64_t access, uint64_t key) {
  memset(r, 0, sizeof(*r));
  r->base = calloc(1, len);
  r->len = len;
  assert_non_null(r->base);
  OK(fi_mr_reg(e->domain, r->base, len, access, 0, key, 0, &r->mr, NULL));
  r->key = fi_mr_key(r->mr);
  if (!(e->info->domain_attr->mr_mode & FI_MR_PROV_KEY)) assert_int_equal(r->key, key);
  if (e->info->domain_attr->mr_mode & FI_MR_VIRT_ADDR) r->origin = (uint64_t) (uintptr_t) r->base;
}

void region_close(region_t *r) {
  OK(fi_close(&r->mr->fid));
  free(r->base);
}

void exchange(end_t *from, struct fid_ep *a, end_t *to, struct fid_ep *b, size_t len,
              uint64_t seed) {
  uint8_t *tx = malloc(len + 1), *rx = malloc(len + 1);
  struct fi_context txc, rxc;
  comp_t got;

  assert_non_null(tx);
  assert_non_null(rx);
  fill(tx, len, seed);
  memset(rx, 0, len + 1);
  POST(fi_recv(b, rx, len, NULL, 0, &rxc));
  POST(fi_send(a, tx, len, NULL, 0, &txc));
  got = wait_comp(from, &txc);
  assert_int_equal(got.flags & (FI_SEND | FI_MSG), FI_SEND | FI_MSG);
  got = wait_comp(to, &rxc);
  assert_int_equal(got.flags & (FI_RECV | FI_MSG), FI_RECV | FI_MSG);
  assert_int_equal(got.len, len);
  check(rx, len, seed);
  free(tx);
  free(rx);
}

void alive(pair_t *p, link_t *l) {
  exchange(&p->c, l->c, &p->s, l->s, 64, 1);
  exchange(&p->s, l->s, &p->c, l->c, 3000, 2);
}
