/* SPDX-License-Identifier: Apache-2.0 */
/* conform_rxm.c - ofi_rxm, libfabric's endpoints without connections, over the provider: messages, tagged
 * ones, the peer's memory, with and without shared receive contexts.
 *
 * Design notes
 *  - ofi_rxm over `tcp` has a protocol of its own by default, which only `tcp` speaks: it is turned off,
 *    so that each meets each.
 *  - Above 16 KiB a message is a rendezvous: the receiver reads it from the sender's memory. */
#include <rdma/fi_tagged.h>

#include "lib_conform.h"

enum { EAGER = 16384, BIG = 1 << 20, MANY = 64 };

typedef struct op_s { /* an operation, and what became of it */
  struct fi_context2 ctx;
  bool done;
  int err;
  uint64_t flags, data, tag;
  size_t len;
} op_t;

typedef struct node_s {
  struct fi_info *info;
  struct fid_fabric *fabric;
  struct fid_domain *domain;
  struct fid_av *av;
  struct fid_cq *cq;
  struct fid_ep *ep;
  fi_addr_t peer;
  unsigned remote; /* completions of the peer's doing */
  uint64_t remote_data;
} node_t;

static node_t a, b; /* the client's provider, the server's */
static node_t *nodes[8];
static uint8_t tx[BIG + 8], rx[BIG + 8];

/* ---- Progress ---- */

static void step_node(node_t *n) {
  struct fi_cq_tagged_entry e[8];
  ssize_t got = fi_cq_read(n->cq, e, 8);

  for (ssize_t i = 0; i < got; i++) {
    op_t *o = e[i].op_context;

    if (e[i].flags & FI_REMOTE_WRITE) {
      n->remote++;
      n->remote_data = e[i].data;
      continue;
    }
    assert_non_null(o);
    assert_false(o->done);
    o->done = true;
    o->flags = e[i].flags;
    o->data = e[i].data;
    o->tag = e[i].tag;
    o->len = e[i].len;
  }
  if (got == -FI_EAVAIL) {
    struct fi_cq_err_entry err = {0};
    op_t *o;

    assert_int_equal(fi_cq_readerr(n->cq, &err, 0), 1);
    o = err.op_context;
    assert_non_null(o);
    assert_false(o->done);
    o->done = true;
    o->err = err.err;
  } else if (got < 0) {
    assert_int_equal(got, -FI_EAGAIN);
  }
}

static void step(void) {
  for (unsigned i = 0; i < 8; i++)
    if (nodes[i] != NULL) step_node(nodes[i]);
}

#define WHEN(cond)                                                                                 \
  do {                                                                                             \
    uint64_t until_ = now_ms() + CONFORM_WAIT_MS;                                                  \
    while (!(cond)) {                                                                              \
      step();                                                                                      \
      if (now_ms() > until_) timed_out(#cond, __FILE__, __LINE__);                                 \
    }                                                                                              \
  } while (0)
#define DO(call)                                                                                   \
  do {                                                                                             \
    ssize_t do_;                                                                                   \
    WHEN((do_ = (call)) != -FI_EAGAIN);                                                            \
    if (do_ != 0) fail_msg("%s: %s", #call, fi_strerror((int) -do_));                              \
  } while (0)

static void finish(op_t *o) {
  WHEN(o->done);
  if (o->err != 0) fail_msg("an operation failed: %s", fi_strerror(o->err));
}

/* ---- Ends ---- */

static void node_open(node_t *n, const char *provider, int mr_mode) {
  struct fi_av_attr av = {.type = FI_AV_TABLE};
  struct fi_cq_attr cq = {.format = FI_CQ_FORMAT_TAGGED, .size = 4096};
  struct fi_info *h = fi_allocinfo();
  unsigned i;

  memset(n, 0, sizeof(*n));
  assert_non_null(h);
  h->ep_attr->type = FI_EP_RDM;
  h->caps = FI_MSG | FI_TAGGED | FI_RMA;
  h->mode = FI_CONTEXT | FI_CONTEXT2;
  h->domain_attr->mr_mode = mr_mode;
  h->addr_format = FI_SOCKADDR_IN;
  assert_true(asprintf(&h->fabric_attr->prov_name, "%s;ofi_rxm", provider) > 0);
  OK(fi_getinfo(FI_VERSION(1, 17), conform_node(), "0", FI_SOURCE, h, &n->info));
  fi_freeinfo(h);
  OK(fi_fabric(n->info->fabric_attr, &n->fabric, NULL));
  OK(fi_domain(n->fabric, n->info, &n->domain, NULL));
  OK(fi_av_open(n->domain, &av, &n->av, NULL));
  OK(fi_cq_open(n->domain, &cq, &n->cq, NULL));
  OK(fi_endpoint(n->domain, n->info, &n->ep, NULL));
  OK(fi_ep_bind(n->ep, &n->av->fid, 0));
  OK(fi_ep_bind(n->ep, &n->cq->fid, FI_TRANSMIT | FI_RECV));
  OK(fi_enable(n->ep));
  for (i = 0; nodes[i] != NULL; i++) assert_true(i < 7);
  nodes[i] = n;
}

static void node_close(node_t *n) {
  for (unsigned i = 0; i < 8; i++)
    if (nodes[i] == n) nodes[i] = NULL;
  OK(fi_close(&n->ep->fid));
  OK(fi_close(&n->cq->fid));
  OK(fi_close(&n->av->fid));
  OK(fi_close(&n->domain->fid));
  OK(fi_close(&n->fabric->fid));
  fi_freeinfo(n->info);
}

/* Where `to` is, as `from` names it. */
static fi_addr_t meet(node_t *from, node_t *to) {
  uint8_t name[64];
  size_t len = sizeof(name);
  fi_addr_t addr;

  OK(fi_getname(&to->ep->fid, name, &len));
  assert_int_equal(fi_av_insert(from->av, name, 1, &addr, 0, NULL), 1);
  return addr;
}

static void begin_as(bool srx, int mr_mode) {
  memset(nodes, 0, sizeof(nodes));
  setenv("FI_OFI_RXM_ENABLE_DYN_RBUF", "0", 1);
  setenv("FI_OFI_RXM_USE_SRX", srx ? "1" : "0", 1);
  node_open(&a, client_provider, mr_mode);
  node_open(&b, server_provider, mr_mode);
  a.peer = meet(&a, &b);
  b.peer = meet(&b, &a);
}

static void end(void) {
  node_close(&a);
  node_close(&b);
}

/* Each case runs without and with shared receive contexts. */
#define BOTH(name)                                                                                 \
  static void name(void **state) {                                                                 \
    (void) state;                                                                                  \
    begin_as(false, CONFORM_MR_MODE);                                                              \
    do_##name();                                                                                   \
    end();                                                                                         \
  }                                                                                                \
  static void name##_srx(void **state) {                                                           \
    (void) state;                                                                                  \
    begin_as(true, CONFORM_MR_MODE);                                                               \
    do_##name();                                                                                   \
    end();                                                                                         \
  }

/* ---- Messages ---- */

static const size_t sizes[] = {0, 1, 64, 1000, EAGER - 200, EAGER, EAGER + 1, 65536, BIG - 1, BIG};
#define SIZES (sizeof(sizes) / sizeof(*sizes))

static void carry(node_t *from, node_t *to, size_t len, uint64_t seed, bool posted) {
  op_t s = {0}, r = {0};

  fill(tx, len, seed);
  memset(rx, 0, len);
  if (posted) DO(fi_recv(to->ep, rx, len, NULL, FI_ADDR_UNSPEC, &r));
  DO(fi_send(from->ep, tx, len, NULL, from->peer, &s));
  if (!posted) {
    for (unsigned i = 0; i < 50; i++) step(); /* it is there before anybody wants it */
    DO(fi_recv(to->ep, rx, len, NULL, FI_ADDR_UNSPEC, &r));
  }
  finish(&r);
  finish(&s);
  assert_int_equal(r.len, len);
  assert_int_equal(r.flags & (FI_MSG | FI_RECV), FI_MSG | FI_RECV);
  check(rx, len, seed);
}

static void do_messages(void) {
  for (unsigned i = 0; i < SIZES; i++)
    for (unsigned k = 0; k < 4; k++)
      carry(k % 2 ? &a : &b, k % 2 ? &b : &a, sizes[i], i * 4 + k, k < 2);
}
BOTH(messages)

/* More than the queues of a connection hold, in order. */
static void do_bursts(void) {
  static op_t s[2000], r[2000];
  static uint64_t out[2000], in[2000];

  memset(s, 0, sizeof(s));
  memset(r, 0, sizeof(r));
  for (unsigned i = 0; i < 2000; i++) {
    out[i] = i * UINT64_C(0x9e3779b97f4a7c15);
    in[i] = 0;
    DO(fi_recv(b.ep, &in[i], 8, NULL, FI_ADDR_UNSPEC, &r[i]));
    DO(fi_send(a.ep, &out[i], 8, NULL, a.peer, &s[i]));
  }
  for (unsigned i = 0; i < 2000; i++) {
    finish(&r[i]);
    finish(&s[i]);
    assert_int_equal(in[i], out[i]);
  }
}
BOTH(bursts)

/* Several rendezvous under way at once, in both directions. */
static void do_crossing(void) {
  enum { N = 6 };
  static uint8_t out[2][N][BIG], in[2][N][BIG];
  op_t s[2][N] = {0}, r[2][N] = {0};
  node_t *n[2] = {&a, &b};

  for (unsigned i = 0; i < N; i++)
    for (unsigned k = 0; k < 2; k++) {
      fill(out[k][i], BIG, k * 100 + i);
      DO(fi_recv(n[!k]->ep, in[k][i], BIG, NULL, FI_ADDR_UNSPEC, &r[k][i]));
      DO(fi_send(n[k]->ep, out[k][i], BIG, NULL, n[k]->peer, &s[k][i]));
    }
  for (unsigned i = 0; i < N; i++)
    for (unsigned k = 0; k < 2; k++) {
      finish(&r[k][i]);
      finish(&s[k][i]);
      check(in[k][i], BIG, k * 100 + i);
    }
}
BOTH(crossing)

/* ---- Tagged ---- */

static void do_tagged(void) {
  for (unsigned i = 0; i < SIZES; i++) {
    static uint8_t other[BIG];
    op_t s[2] = {0}, r[2] = {0};

    fill(tx, sizes[i], i);
    memset(other, 0, sizes[i]);
    DO(fi_trecv(b.ep, other, sizes[i], NULL, FI_ADDR_UNSPEC, 0x200 + i, 0, &r[1]));
    DO(fi_trecv(b.ep, rx, sizes[i], NULL, FI_ADDR_UNSPEC, 0x100, 0xff, &r[0]));
    DO(fi_tsend(a.ep, tx, sizes[i], NULL, a.peer, 0x100 + i, &s[0])); /* the second fits */
    finish(&r[0]);
    finish(&s[0]);
    assert_int_equal(r[0].tag, 0x100 + i);
    assert_int_equal(r[0].len, sizes[i]);
    assert_int_equal(r[0].flags & (FI_TAGGED | FI_RECV), FI_TAGGED | FI_RECV);
    check(rx, sizes[i], i);
    assert_false(r[1].done);
    DO(fi_tsenddata(a.ep, tx, sizes[i], NULL, 4711, a.peer, 0x200 + i, &s[1]));
    finish(&r[1]);
    finish(&s[1]);
    assert_true(r[1].flags & FI_REMOTE_CQ_DATA);
    assert_int_equal(r[1].data, 4711);
    check(other, sizes[i], i);
  }
}
BOTH(tagged)

/* Nobody waits for them when they come; they are taken by their tags, last first. */
static void do_unexpected(void) {
  static uint8_t out[MANY][20000], in[MANY][20000];
  static op_t s[MANY], r[MANY];

  memset(s, 0, sizeof(s));
  memset(r, 0, sizeof(r));
  for (unsigned i = 0; i < MANY; i++) { /* every other is a rendezvous */
    fill(out[i], 20000, i);
    DO(fi_tsend(a.ep, out[i], i % 2 ? 20000 : 100, NULL, a.peer, i, &s[i]));
  }
  for (unsigned i = 0; i < 1000; i++) step();
  for (unsigned i = MANY; i-- > 0;)
    DO(fi_trecv(b.ep, in[i], 20000, NULL, FI_ADDR_UNSPEC, i, 0, &r[i]));
  for (unsigned i = 0; i < MANY; i++) {
    finish(&r[i]);
    finish(&s[i]);
    assert_int_equal(r[i].len, i % 2 ? 20000 : 100);
    check(in[i], r[i].len, i);
  }
}
BOTH(unexpected)

/* ---- The peer's memory ---- */

typedef struct area_s {
  struct fid_mr *mr;
  uint64_t key, origin;
} area_t;

static void area_open(area_t *m, node_t *n, uint8_t *base, size_t len) {
  int mode = n->info->domain_attr->mr_mode;

  OK(fi_mr_reg(n->domain, base, len, FI_REMOTE_READ | FI_REMOTE_WRITE, 0, 42, 0, &m->mr, NULL));
  m->key = fi_mr_key(m->mr);
  m->origin = (mode & (FI_MR_VIRT_ADDR | FI_MR_BASIC)) != 0 ? (uint64_t) (uintptr_t) base : 0;
}

static void rma_as(bool srx, int mr_mode) {
  static uint8_t far[BIG + 64];
  op_t o;
  area_t m;

  begin_as(srx, mr_mode);
  carry(&a, &b, 64, 1, true); /* they know each other */
  area_open(&m, &b, far, sizeof(far));
  for (unsigned i = 0; i < SIZES; i++) {
    if (sizes[i] == 0) continue;
    fill(tx, sizes[i], i);
    o = (op_t){0};
    DO(fi_write(a.ep, tx, sizes[i], NULL, a.peer, m.origin + 33, m.key, &o));
    finish(&o);
    memset(rx, 0, sizes[i]);
    o = (op_t){0}; /* behind the write, so it sees it */
    DO(fi_read(a.ep, rx, sizes[i], NULL, a.peer, m.origin + 33, m.key, &o));
    finish(&o);
    check(rx, sizes[i], i);
    check(far + 33, sizes[i], i);
  }
  fill(tx, 64, 99);
  DO(fi_inject_write(a.ep, tx, 64, a.peer, m.origin, m.key));
  o = (op_t){0};
  DO(fi_writedata(a.ep, tx, 64, NULL, 815, a.peer, m.origin + 64, m.key, &o));
  finish(&o);
  WHEN(b.remote == 1);
  assert_int_equal(b.remote_data, 815);
  check(far, 64, 99);
  check(far + 64, 64, 99);
  OK(fi_close(&m.mr->fid));
  end();
}

/* As the modes of registration have it: who names regions, and from where bytes are counted. */
static void rma(void **state) {
  (void) state;
  rma_as(false, CONFORM_MR_MODE);
}
static void rma_srx(void **state) {
  (void) state;
  rma_as(true, CONFORM_MR_MODE);
}
static void rma_basic(void **state) {
  (void) state;
  rma_as(false, FI_MR_BASIC);
}
static void rma_scalable(void **state) {
  (void) state;
  rma_as(false, FI_MR_SCALABLE);
}

/* ---- Many ---- */

/* Several reach one, and come again after they went. */
static void do_many_peers(void) {
  enum { N = 4 };
  node_t more[N];

  for (unsigned round = 0; round < 3; round++) {
    for (unsigned i = 0; i < N; i++) {
      node_open(&more[i], client_provider, CONFORM_MR_MODE);
      more[i].peer = meet(&more[i], &b);
    }
    for (unsigned k = 0; k < 20; k++)
      for (unsigned i = 0; i < N; i++)
        carry(&more[i], &b, k % 5 == 0 ? BIG : 100 * k, round * 1000 + k * 10 + i, true);
    for (unsigned i = 0; i < N; i++) node_close(&more[i]);
    carry(&a, &b, 1000, round, true); /* who stays notices nothing */
  }
}
BOTH(many_peers)

static const struct CMUnitTest tests[] = {
    CASE(messages),   CASE(messages_srx),   CASE(bursts),     CASE(bursts_srx),
    CASE(crossing),   CASE(crossing_srx),   CASE(tagged),     CASE(tagged_srx),
    CASE(unexpected), CASE(unexpected_srx), CASE(rma),        CASE(rma_srx),
    CASE(rma_basic),  CASE(rma_scalable),   CASE(many_peers), CASE(many_peers_srx),
};

CONFORM_MAIN(tests)
