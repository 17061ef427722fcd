/* SPDX-License-Identifier: Apache-2.0 */
/* conform_info.c - fi_getinfo: which hints are met, and what is said of what is offered.
 *
 * Design notes
 *  - conform: alone. A provider's answers do not depend on a peer; the server's role runs the same.
 *  - A case asks with hints() changed in one place: yes() must offer something, no() must not. */
#include "lib_conform.h"

#define V FI_VERSION(1, 17)

static struct fi_info *hints; /* as a program that knows what it wants has them */
static struct fi_info *got;

static void fresh(void) {
  fi_freeinfo(hints);
  hints = conform_hints(client_provider, NULL);
  free(hints->fabric_attr->prov_name); /* nothing on top of it */
  assert_true(asprintf(&hints->fabric_attr->prov_name, "%s;^ofi_rxm", client_provider) > 0);
}

static int ask(uint32_t version, const char *node, const char *service, uint64_t flags) {
  fi_freeinfo(got);
  got = NULL;
  return fi_getinfo(version, node, service, flags, hints, &got);
}

static void yes_as(uint32_t version, const char *what) {
  int rc = ask(version, NULL, NULL, 0);

  if (rc != 0) fail_msg("%s is refused: %s", what, fi_strerror(-rc));
}

static void no_as(uint32_t version, const char *what) {
  int rc = ask(version, NULL, NULL, 0);

  if (rc == 0) fail_msg("%s is offered", what);
  assert_int_equal(rc, -FI_ENODATA);
}

#define YES(...) (fresh(), (__VA_ARGS__), yes_as(V, #__VA_ARGS__))
#define NO(...)  (fresh(), (__VA_ARGS__), no_as(V, #__VA_ARGS__))

static int done(void **state) {
  (void) state;
  fi_freeinfo(hints);
  fi_freeinfo(got);
  hints = got = NULL;
  return 0;
}

/* What every offer must say, whatever was asked. */
static void sane(const struct fi_info *i) {
  assert_non_null(strstr(i->fabric_attr->prov_name, client_provider));
  assert_non_null(i->fabric_attr->name);
  assert_non_null(i->domain_attr->name);
  assert_int_equal(i->ep_attr->type, FI_EP_MSG);
  assert_int_equal(i->ep_attr->protocol, FI_PROTO_SOCK_TCP);
  assert_true(i->addr_format == FI_SOCKADDR_IN || i->addr_format == FI_SOCKADDR_IN6);
  assert_int_equal(i->src_addrlen, i->addr_format == FI_SOCKADDR_IN ? sizeof(struct sockaddr_in)
                                                                    : sizeof(struct sockaddr_in6));
  assert_int_equal(i->mode, 0);
  assert_true(i->ep_attr->max_msg_size > UINT32_MAX);
  assert_true(i->tx_attr->size > 0 && i->rx_attr->size > 0);
  assert_true(i->tx_attr->iov_limit > 0 && i->rx_attr->iov_limit > 0);
  assert_true(i->domain_attr->mr_key_size > 0);
  assert_int_not_equal(i->domain_attr->threading, FI_THREAD_UNSPEC);
  assert_int_not_equal(i->domain_attr->data_progress, FI_PROGRESS_UNSPEC);
  assert_int_not_equal(i->domain_attr->control_progress, FI_PROGRESS_UNSPEC);
  assert_int_not_equal(i->domain_attr->resource_mgmt, FI_RM_UNSPEC);
  assert_int_equal(i->tx_attr->caps & (FI_RECV | FI_REMOTE_READ | FI_REMOTE_WRITE), 0);
  assert_int_equal(i->rx_attr->caps & (FI_SEND | FI_READ | FI_WRITE), 0);
}

/* ---- Nothing asked ---- */

/* The fabric's name is all that a layered provider gives, with no other part and every mode. */
static void no_parts(void **state) {
  struct fi_fabric_attr fabric = {0};
  struct fi_info bare = {.mode = ~UINT64_C(0), .fabric_attr = &fabric}, *all, *i;
  unsigned n = 0;

  (void) state;
  fresh();
  fabric.prov_name = hints->fabric_attr->prov_name;
  OK(fi_getinfo(V, NULL, NULL, 0, &bare, &all));
  for (i = all; i != NULL; i = i->next, n++) {
    sane(i);
    assert_int_equal(i->caps & (FI_MSG | FI_RMA), FI_MSG | FI_RMA);
    assert_int_equal(i->domain_attr->mr_mode, 0);
  }
  assert_true(n > 0);
  fi_freeinfo(all);
  OK(fi_getinfo(V, NULL, NULL, 0, NULL, &all)); /* no hints at all: it is among what there is */
  for (n = 0, i = all; i != NULL; i = i->next)
    n += strcmp(i->fabric_attr->prov_name, client_provider) == 0;
  assert_true(n > 0);
  fi_freeinfo(all);
}

static void usual(void **state) {
  (void) state;
  YES((void) 0);
  for (struct fi_info *i = got; i != NULL; i = i->next) sane(i);
}

/* A program that uses none of the modes need not offer one. */
static void modes(void **state) {
  (void) state;
  YES(hints->mode = 0);
  YES(hints->mode = ~UINT64_C(0));
  assert_int_equal(got->mode, 0);
  YES(hints->tx_attr->mode = FI_CONTEXT2);
  YES(hints->rx_attr->mode = FI_CONTEXT2);
  YES(hints->domain_attr->mode = FI_RESTRICTED_COMP);
}

/* ---- Memory registration ---- */

static void mr_modes(void **state) {
  static const int bits[] = {FI_MR_LOCAL,     FI_MR_RAW,      FI_MR_VIRT_ADDR,
                             FI_MR_ALLOCATED, FI_MR_PROV_KEY, FI_MR_MMU_NOTIFY,
                             FI_MR_RMA_EVENT, FI_MR_ENDPOINT, FI_MR_HMEM};

  (void) state;
  YES(hints->domain_attr->mr_mode = 0);
  assert_int_equal(got->domain_attr->mr_mode, 0);
  for (unsigned i = 0; i < sizeof(bits) / sizeof(*bits); i++) {
    YES(hints->domain_attr->mr_mode = bits[i]); /* offered is not demanded */
    assert_int_equal(got->domain_attr->mr_mode & ~bits[i], 0);
    NO(hints->domain_attr->mr_mode = FI_MR_BASIC | bits[i]);
    NO(hints->domain_attr->mr_mode = FI_MR_SCALABLE | bits[i]);
  }
  YES(hints->domain_attr->mr_mode = CONFORM_MR_MODE);
  YES(hints->domain_attr->mr_mode = FI_MR_BASIC);
  assert_int_equal(got->domain_attr->mr_mode, FI_MR_BASIC);
  YES(hints->domain_attr->mr_mode = FI_MR_SCALABLE);
  assert_int_equal(got->domain_attr->mr_mode, FI_MR_SCALABLE);
  NO(hints->domain_attr->mr_mode = FI_MR_BASIC | FI_MR_SCALABLE);
}

/* Programs of before 1.5 know two modes, and get one of them. */
static void mr_modes_of_old(void **state) {
  (void) state;
  fresh();
  hints->domain_attr->mr_mode = FI_MR_UNSPEC;
  yes_as(FI_VERSION(1, 4), "no mode");
  assert_true(got->domain_attr->mr_mode == FI_MR_BASIC ||
              got->domain_attr->mr_mode == FI_MR_SCALABLE);
  for (int mode = FI_MR_BASIC; mode <= FI_MR_SCALABLE; mode++) {
    hints->domain_attr->mr_mode = mode;
    yes_as(FI_VERSION(1, 4), "a mode of old");
    assert_int_equal(got->domain_attr->mr_mode, mode);
  }
  hints->domain_attr->mr_mode = FI_MR_LOCAL;
  no_as(FI_VERSION(1, 4), "a bit that 1.4 does not have");
}

/* Who names a region, and from where its bytes are counted, is as the mode says. */
static void mr_modes_are_kept(void **state) {
  static const int tried[] = {0, CONFORM_MR_MODE, FI_MR_BASIC, FI_MR_SCALABLE};
  uint8_t room[64];

  (void) state;
  for (unsigned i = 0; i < sizeof(tried) / sizeof(*tried); i++) {
    struct fid_mr *one, *two;
    end_t e;

    YES(hints->domain_attr->mr_mode = tried[i]);
    int mode = got->domain_attr->mr_mode;
    bool theirs = mode == FI_MR_BASIC || (mode & FI_MR_PROV_KEY) != 0;
    end_open(&e, client_provider, NULL, got);
    got = NULL;
    OK(fi_mr_reg(e.domain, room, 32, FI_REMOTE_WRITE, 0, 7, 0, &one, NULL));
    if (theirs) {
      OK(fi_mr_reg(e.domain, room + 32, 32, FI_REMOTE_WRITE, 0, 7, 0, &two, NULL));
      assert_int_not_equal(fi_mr_key(one), fi_mr_key(two));
      OK(fi_close(&two->fid));
    } else {
      assert_int_equal(fi_mr_key(one), 7);
      assert_int_equal(fi_mr_reg(e.domain, room, 32, FI_REMOTE_WRITE, 0, 7, 0, &two, NULL),
                       -FI_ENOKEY);
    }
    OK(fi_close(&one->fid));
    end_close(&e);
  }
}

/* ---- Models ---- */

static void threading(void **state) {
  static const enum fi_threading all[] = {FI_THREAD_SAFE,       FI_THREAD_FID,
                                          FI_THREAD_ENDPOINT,   FI_THREAD_DOMAIN,
                                          FI_THREAD_COMPLETION, FI_THREAD_UNSPEC};

  (void) state;
  for (unsigned i = 0; i < 6; i++) { /* who serves the strictest serves each */
    YES(hints->domain_attr->threading = all[i]);
    assert_int_equal(got->domain_attr->threading,
                     all[i] != FI_THREAD_UNSPEC ? all[i] : FI_THREAD_SAFE);
  }
  NO(hints->domain_attr->threading = (enum fi_threading) 77);
}

static void resource_management(void **state) {
  (void) state;
  YES(hints->domain_attr->resource_mgmt = FI_RM_ENABLED);
  YES(hints->domain_attr->resource_mgmt = FI_RM_DISABLED);
  YES(hints->domain_attr->resource_mgmt = FI_RM_UNSPEC);
  assert_int_equal(got->domain_attr->resource_mgmt, FI_RM_ENABLED);
  NO(hints->domain_attr->resource_mgmt = (enum fi_resource_mgmt) 77);
}

static void manual_progress(void **state) {
  (void) state;
  YES(hints->domain_attr->data_progress = FI_PROGRESS_MANUAL);
  assert_int_equal(got->domain_attr->data_progress, FI_PROGRESS_MANUAL);
  YES(hints->domain_attr->control_progress = FI_PROGRESS_MANUAL);
  assert_int_equal(got->domain_attr->control_progress, FI_PROGRESS_MANUAL);
  NO(hints->domain_attr->data_progress = (enum fi_progress) 77);
  NO(hints->domain_attr->control_progress = (enum fi_progress) 77);
}

/* Who says that data needs no calls to move must mean it. */
static void automatic_progress(void **state) {
  static uint8_t tx[64], rx[64];
  struct fi_context txc, rxc;
  struct iovec iov = {tx, sizeof(tx)};
  struct fi_msg m = {.msg_iov = &iov, .iov_count = 1, .context = &txc};
  pair_t p;
  link_t l;

  (void) state;
  KNOWN_DEVIATION();
  fresh();
  hints->domain_attr->data_progress = FI_PROGRESS_AUTO;
  if (ask(V, NULL, NULL, 0) == -FI_ENODATA) return; /* it does not say so */
  pair_open(&p, NULL, NULL);
  pair_connect(&p, &l);
  OK(fi_recv(l.s, rx, sizeof(rx), NULL, 0, &rxc));
  p.s.asleep = true;
  OK(fi_sendmsg(l.c, &m, FI_COMPLETION | FI_DELIVERY_COMPLETE));
  wait_comp(&p.c, &txc);
  p.s.asleep = false;
  wait_comp(&p.s, &rxc);
  pair_end(&p, &l);
}

/* ---- Sizes ---- */

/* What was said to be there can be asked for; less can, and is what there is then; more cannot. */
static void limits(void **state) {
  (void) state;
#define LIMIT(field)                                                                               \
  do {                                                                                             \
    YES((void) 0);                                                                                 \
    size_t said_ = got->field;                                                                     \
    YES(hints->field = said_);                                                                     \
    assert_int_equal(got->field, said_);                                                           \
    YES(hints->field = 1);                                                                         \
    assert_int_equal(got->field, 1);                                                               \
    NO(hints->field = SIZE_MAX);                                                                   \
  } while (0)
  LIMIT(tx_attr->size);
  LIMIT(tx_attr->inject_size);
  LIMIT(tx_attr->iov_limit);
  LIMIT(tx_attr->rma_iov_limit);
  LIMIT(rx_attr->size);
  LIMIT(rx_attr->iov_limit);
  YES(hints->tx_attr->size = 1024);
  YES(hints->rx_attr->size = 65536); /* as a shared one of ofi_rxm has, with room */
  NO(hints->tx_attr->inject_size = 65536);
  NO(hints->tx_attr->iov_limit = 5);
  NO(hints->tx_attr->rma_iov_limit = 5);
  NO(hints->rx_attr->iov_limit = 5);
  NO(hints->rx_attr->total_buffered_recv = 1);
}

static void endpoints(void **state) {
  (void) state;
  YES(hints->ep_attr->type = FI_EP_UNSPEC);
  NO(hints->ep_attr->type = FI_EP_RDM);
  NO(hints->ep_attr->type = FI_EP_DGRAM);
  YES(hints->ep_attr->protocol = FI_PROTO_SOCK_TCP);
  NO(hints->ep_attr->protocol = FI_PROTO_RDMA_CM_IB_RC);
  YES((void) 0);
  uint32_t version = got->ep_attr->protocol_version;
  YES(hints->ep_attr->protocol_version = version);
  NO(hints->ep_attr->protocol_version = version + 1);
  YES((void) 0);
  size_t most = got->ep_attr->max_msg_size;
  YES(hints->ep_attr->max_msg_size = most);
  if (most != SIZE_MAX) NO(hints->ep_attr->max_msg_size = most + 1);
  YES(hints->ep_attr->tx_ctx_cnt = 1);
  YES(hints->ep_attr->rx_ctx_cnt = 1);
  NO(hints->ep_attr->tx_ctx_cnt = 2);
  NO(hints->ep_attr->rx_ctx_cnt = 2);
  NO(hints->ep_attr->tx_ctx_cnt = FI_SHARED_CONTEXT);
  YES(hints->ep_attr->rx_ctx_cnt = FI_SHARED_CONTEXT);
  assert_int_equal(got->ep_attr->rx_ctx_cnt, FI_SHARED_CONTEXT);
  assert_true(got->domain_attr->max_ep_srx_ctx > 0);
  NO(hints->ep_attr->auth_key_size = 8);
  YES(hints->ep_attr->max_order_raw_size = 4096);
  assert_int_equal(got->ep_attr->max_order_raw_size, 4096);
  YES(hints->ep_attr->max_order_waw_size = 4096);
  assert_int_equal(got->ep_attr->max_order_waw_size, 4096);
  NO(hints->ep_attr->max_order_war_size = 4096);
}

static void domains(void **state) {
  (void) state;
  YES(hints->domain_attr->cq_data_size = 8);
  assert_int_equal(got->domain_attr->cq_data_size, 8);
  NO(hints->domain_attr->cq_data_size = 9);
  YES(hints->domain_attr->mr_iov_limit = 1);
  NO(hints->domain_attr->mr_iov_limit = 2);
  NO(hints->domain_attr->max_err_data = 1);
  YES(hints->domain_attr->caps = FI_LOCAL_COMM | FI_REMOTE_COMM);
  NO(hints->domain_attr->caps = FI_SHARED_AV);
  YES(hints->domain_attr->av_type = FI_AV_TABLE);
  NO(hints->fabric_attr->prov_version = UINT32_MAX);
}

/* Who has counters says so. */
static void counters(void **state) {
  (void) state;
  KNOWN_DEVIATION();
  YES(hints->domain_attr->cntr_cnt = 8);
  assert_true(got->domain_attr->cntr_cnt >= 8);
  NO(hints->domain_attr->cntr_cnt = SIZE_MAX);
}

/* ---- What can be done ---- */

static void capabilities(void **state) {
  static const uint64_t none[] = {FI_ATOMIC,     FI_TAGGED, FI_MULTICAST,  FI_DIRECTED_RECV,
                                  FI_MULTI_RECV, FI_SOURCE, FI_COLLECTIVE, FI_HMEM};

  (void) state;
  YES(hints->caps = FI_MSG);
  assert_int_equal(got->caps & (FI_MSG | FI_RMA | FI_SEND | FI_RECV), FI_MSG | FI_SEND | FI_RECV);
  assert_int_equal(got->tx_attr->caps & (FI_MSG | FI_RMA | FI_SEND), FI_MSG | FI_SEND);
  assert_int_equal(got->rx_attr->caps & (FI_MSG | FI_RMA | FI_RECV), FI_MSG | FI_RECV);
  YES(hints->caps = FI_MSG | FI_SEND);
  assert_int_equal(got->caps & (FI_SEND | FI_RECV), FI_SEND);
  YES(hints->caps = FI_RMA | FI_WRITE | FI_REMOTE_READ);
  assert_int_equal(got->caps &
                       (FI_MSG | FI_RMA | FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE),
                   FI_RMA | FI_WRITE | FI_REMOTE_READ);
  YES(hints->caps = FI_RMA);
  assert_int_equal(got->caps & (FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE),
                   FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE);
  for (unsigned i = 0; i < sizeof(none) / sizeof(*none); i++) {
    NO(hints->caps |= none[i]);
    if (none[i] != FI_DIRECTED_RECV && none[i] != FI_MULTI_RECV && none[i] != FI_SOURCE)
      NO(hints->tx_attr->caps = FI_MSG | none[i]);
    if (none[i] != FI_MULTICAST) NO(hints->rx_attr->caps = FI_MSG | none[i]);
  }
  YES(hints->caps |= FI_RMA_PMEM | FI_RMA_EVENT);
  YES(hints->tx_attr->caps = FI_RMA | FI_RMA_PMEM);
  /* Old programs say the whole of it in both places. */
  YES(hints->tx_attr->caps = FI_MSG | FI_SEND | FI_RECV | FI_REMOTE_READ);
  YES(hints->rx_attr->caps = FI_MSG | FI_SEND | FI_RECV | FI_WRITE);
}

/* Loopback reaches this host alone. */
static void reach(void **state) {
  const uint64_t comm = FI_LOCAL_COMM | FI_REMOTE_COMM;

  (void) state;
  YES(hints->caps |= FI_LOCAL_COMM);
  YES((void) 0);
  for (struct fi_info *i = got; i != NULL; i = i->next)
    if (i->addr_format == FI_SOCKADDR_IN) {
      uint32_t ip = ntohl(((struct sockaddr_in *) i->src_addr)->sin_addr.s_addr);
      assert_int_equal(i->caps & comm, ip >> 24 == 127 ? FI_LOCAL_COMM : comm);
    }
  fresh();
  hints->caps |= FI_REMOTE_COMM; /* where there is no network, nothing */
  if (ask(V, NULL, NULL, 0) == 0)
    for (struct fi_info *i = got; i != NULL; i = i->next) assert_true(i->caps & FI_REMOTE_COMM);
}

static void flags_and_orders(void **state) {
  static const uint64_t tx[] = {FI_COMMIT_COMPLETE,   FI_INJECT,
                                FI_INJECT_COMPLETE,   FI_COMPLETION,
                                FI_TRANSMIT_COMPLETE, FI_DELIVERY_COMPLETE};

  (void) state;
  for (unsigned i = 0; i < sizeof(tx) / sizeof(*tx); i++) {
    YES(hints->tx_attr->op_flags = tx[i]);
    assert_int_equal(got->tx_attr->op_flags, tx[i]);
  }
  NO(hints->tx_attr->op_flags = FI_MULTICAST);
  YES(hints->rx_attr->op_flags = FI_COMPLETION);
  NO(hints->rx_attr->op_flags = FI_MULTI_RECV);
  YES(hints->tx_attr->msg_order = FI_ORDER_SAS | FI_ORDER_SAW | FI_ORDER_RAW | FI_ORDER_WAW);
  assert_int_equal(got->tx_attr->msg_order & FI_ORDER_SAS, FI_ORDER_SAS);
  YES(hints->rx_attr->msg_order = FI_ORDER_SAS);
  NO(hints->tx_attr->msg_order = FI_ORDER_SAR); /* a read's answer may be behind a later message */
  NO(hints->rx_attr->msg_order = FI_ORDER_WAR);
  YES(hints->tx_attr->comp_order = FI_ORDER_STRICT);
  NO(hints->rx_attr->comp_order = FI_ORDER_DATA);
}

/* ---- Addresses ---- */

static void sources(void **state) {
  struct sockaddr_in *in;

  (void) state;
  fresh();
  assert_int_not_equal(ask(V, NULL, NULL, FI_SOURCE), 0);
  OK(ask(V, "127.0.0.1", "4711", FI_SOURCE));
  in = got->src_addr;
  assert_int_equal(in->sin_family, AF_INET);
  assert_int_equal(ntohs(in->sin_port), 4711);
  assert_int_equal(ntohl(in->sin_addr.s_addr), INADDR_LOOPBACK);
  assert_null(got->dest_addr);
  OK(ask(V, NULL, "4711", FI_SOURCE));
  assert_non_null(got->src_addr);
  OK(ask(V, "127.0.0.2", "0", FI_SOURCE)); /* no interface has it by name, and it can be bound */
  in = got->src_addr;
  assert_int_equal(ntohl(in->sin_addr.s_addr), INADDR_LOOPBACK + 1);
  assert_int_equal(ask(V, "not.a.number", "0", FI_SOURCE | FI_NUMERICHOST), -FI_ENODATA);
}

static void destinations(void **state) {
  struct sockaddr_in *in, to = {.sin_family = AF_INET, .sin_port = htons(4712)};

  (void) state;
  fresh();
  OK(ask(V, "127.0.0.1", "4711", 0));
  in = got->dest_addr;
  assert_int_equal(got->dest_addrlen, sizeof(*in));
  assert_int_equal(ntohs(in->sin_port), 4711);
  in = got->src_addr; /* chosen as the system would */
  assert_int_equal(ntohl(in->sin_addr.s_addr), INADDR_LOOPBACK);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  hints->dest_addr = malloc(sizeof(to));
  memcpy(hints->dest_addr, &to, hints->dest_addrlen = sizeof(to));
  hints->addr_format = FI_SOCKADDR_IN;
  OK(ask(V, NULL, NULL, 0));
  assert_memory_equal(got->dest_addr, &to, sizeof(to));
  OK(ask(V, "127.0.0.1", "4711", 0)); /* the call's own goes before the hints' */
  assert_int_equal(ntohs(((struct sockaddr_in *) got->dest_addr)->sin_port), 4711);
}

static void formats(void **state) {
  (void) state;
  KNOWN_DEVIATION();
  YES(hints->addr_format = FI_SOCKADDR_IN);
  for (struct fi_info *i = got; i != NULL; i = i->next)
    assert_int_equal(i->addr_format, FI_SOCKADDR_IN);
  YES(hints->addr_format = FI_SOCKADDR);
  NO(hints->addr_format = FI_SOCKADDR_IB);
  NO(hints->addr_format = FI_ADDR_STR);
}

static void handle_is_kept(void **state) {
  struct fid fid = {0};

  (void) state;
  YES(hints->handle = &fid);
  assert_ptr_equal(got->handle, &fid);
}

#define INFO(fn) cmocka_unit_test_setup_teardown(fn, conform_setup, done)
static const struct CMUnitTest tests[] = {
    INFO(no_parts),        INFO(usual),
    INFO(modes),           INFO(mr_modes),
    INFO(mr_modes_of_old), INFO(mr_modes_are_kept),
    INFO(threading),       INFO(resource_management),
    INFO(manual_progress), INFO(automatic_progress),
    INFO(limits),          INFO(endpoints),
    INFO(domains),         INFO(capabilities),
    INFO(reach),           INFO(flags_and_orders),
    INFO(sources),         INFO(destinations),
    INFO(formats),         INFO(handle_is_kept),
    INFO(counters),
};

CONFORM_MAIN(tests)
