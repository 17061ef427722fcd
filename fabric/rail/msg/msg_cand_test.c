/* SPDX-License-Identifier: Apache-2.0 */
/* msg_cand_test.c - the list of candidates: complete, ordered, and with a reason for everything
 * that is not usable. */
#include "msg_test.h"

static const weft__cand_t *find(const weft__cand_list_t *l, const char *provider,
                                const char *device) {
  unsigned i;

  for (i = 0; i < l->n; i++)
    if (strcmp(l->v[i].provider, provider) == 0 &&
        (device == NULL || strcmp(l->v[i].device, device) == 0))
      return &l->v[i];
  return NULL;
}

static void complete_and_ordered(void **state) {
  weft__cand_list_t l, again;
  bool unusable = false, loopback = false;
  unsigned i;

  (void) state;
  assert_int_equal(weft__cand_scan("", "", &l), 0);
  assert_true(l.n > 0);
  for (i = 0; i < l.n; i++) {
    const weft__cand_t *c = &l.v[i];
    assert_true(c->detail[0] != '\0');
    assert_true(c->provider[0] != '\0');
    if (c->why == WEFT_WHY_OK) {
      assert_false(unusable); /* usable first */
      assert_non_null(c->info);
      assert_true(c->device[0] != '\0');
      assert_int_not_equal(c->addr.ss_family, 0);
      assert_int_equal(weft__sa_port(&c->addr), 0);
      if (loopback) assert_true(c->loopback);
      loopback = c->loopback;
    } else {
      unusable = true;
      assert_null(c->info);
    }
  }
  /* The same machine, the same list. */
  assert_int_equal(weft__cand_scan("", "", &again), 0);
  assert_int_equal(again.n, l.n);
  for (i = 0; i < l.n; i++) {
    assert_string_equal(l.v[i].provider, again.v[i].provider);
    assert_string_equal(l.v[i].device, again.v[i].device);
    assert_string_equal(l.v[i].detail, again.v[i].detail);
  }
  weft__cand_free(&again);
  weft__cand_free(&l);
  assert_null(l.v);
}

static void reasons(void **state) {
  weft__cand_list_t l;
  const weft__cand_t *c;

  (void) state;
  assert_int_equal(weft__cand_scan("", "", &l), 0);
  c = find(&l, WEFT_TEST_TCP, "lo");
  assert_non_null(c);
  assert_int_equal(c->why, WEFT_WHY_OK);
  assert_true(c->loopback && c->bootstrap);
  /* what the system's TCP is known to be: RMA in software, woken by descriptors, any size at once */
  assert_int_equal(c->traits, WEFT_TRAIT_RMA | WEFT_TRAIT_EVENTS | WEFT_TRAIT_SHARED_RX |
                                  WEFT_TRAIT_LOOPBACK | WEFT_TRAIT_BOOTSTRAP);
  assert_true(c->max_op == UINT64_MAX);
  assert_true(c->mtu >= 1280);
  if (access("/sys/class/infiniband", F_OK) != 0) {
    c = find(&l, "verbs", NULL);
    assert_non_null(c);
    assert_int_equal(c->why, WEFT_WHY_NO_DEVICE);
    assert_non_null(strstr(c->detail, "/sys/class/infiniband"));
  }
  c = find(&l, "ofi_rxm", NULL);
  if (c != NULL) assert_int_equal(c->why, WEFT_WHY_QUIRK);
  c = find(&l, "sockets", NULL);
  if (c != NULL) assert_int_equal(c->why, WEFT_WHY_QUIRK);
  weft__cand_free(&l);
}

static void filters(void **state) {
  weft__cand_list_t l;
  const weft__cand_t *c;
  unsigned i;

  (void) state;
  assert_int_equal(weft__cand_scan("verbs,no-such", "", &l), 0);
  c = find(&l, "tcp", NULL);
  assert_non_null(c);
  assert_int_equal(c->why, WEFT_WHY_NOT_REQUIRED);
  c = find(&l, "no-such", NULL);
  assert_non_null(c);
  assert_int_equal(c->why, WEFT_WHY_NO_PROVIDER);
  weft__cand_free(&l);

  assert_int_equal(weft__cand_scan("tcp", "lo", &l), 0);
  for (i = 0; i < l.n; i++) {
    if (strcmp(l.v[i].provider, "tcp") != 0) continue;
    if (strcmp(l.v[i].device, "lo") == 0)
      assert_int_equal(l.v[i].why, WEFT_WHY_OK);
    else
      assert_int_equal(l.v[i].why, WEFT_WHY_DEVICE_FILTER);
  }
  weft__cand_free(&l);
  /* A name that is only the beginning of another is not that one. */
  assert_int_equal(weft__cand_scan("tc", "", &l), 0);
  c = find(&l, "tcp", NULL);
  assert_int_equal(c->why, WEFT_WHY_NOT_REQUIRED);
  weft__cand_free(&l);
}

static void unusable_is_refused(void **state) {
  weft__cand_t c = {.provider = "net", .why = WEFT_WHY_QUIRK, .detail = "because"};
  weft__rail_t *rail;
  char err[200];
  kit_t k;

  (void) state;
  kit_init(&k);
  assert_int_equal(weft__rail_open(&k.env, &c, &rail, err, sizeof(err)), -ENODEV);
  assert_non_null(strstr(err, "because"));
  assert_null(rail);
}

/* Soft iWARP does not keep the order that libfabric wants where there are reads; other devices do. */
static void a_vendor_has_its_own_quirks(void **state) {
  struct fi_device_attr attr = {.vendor_id = (char *) "0x626d74"};
  struct fid_nic nic = {.device_attr = &attr};
  struct fi_info info = {.nic = &nic};
  const weft__quirks_t *siw, *all;
  unsigned i, n;

  (void) state;
  siw = weft__quirks_find("verbs", fi_version(), &info);
  assert_non_null(siw);
  assert_true(siw->rdma && siw->blocks);
  assert_int_equal(siw->xfer, WEFT__XFER_WRITE);
  attr.vendor_id = (char *) "0x626d7";
  all = weft__quirks_find("verbs", fi_version(), &info);
  assert_non_null(all);
  assert_int_equal(all->xfer, WEFT__XFER_READ);
  attr.vendor_id = NULL;
  assert_ptr_equal(weft__quirks_find("verbs", fi_version(), &info), all);
  info.nic = NULL;
  assert_ptr_equal(weft__quirks_find("verbs", fi_version(), &info), all);
  assert_ptr_equal(weft__quirks_find("verbs", fi_version(), NULL), all);
  /* Each provider is scanned for once. */
  for (i = 0, n = 0; weft__quirks_row(i, fi_version()) != NULL; i++)
    n += strcmp(weft__quirks_row(i, fi_version())->provider, "verbs") == 0;
  assert_int_equal(n, 1);
}

/* Of two for one protocol one is used, and the other says why not; asked for alone, it is there. */
static void tcp_yields(void **state) {
  weft__cand_list_t l;
  const weft__cand_t *tcp;

  (void) state;
  assert_true(weft__providers_meet("tcp", "ksock") && weft__providers_meet("verbs", "verbs"));
  assert_false(weft__providers_meet("tcp", "verbs") || weft__providers_meet("ksock", "dpdk"));
  if (strcmp(WEFT_TEST_TCP, "ksock") != 0) skip_case("this build has no ksock");
  assert_int_equal(weft__cand_scan("", "", &l), 0);
  assert_null(find(&l, "tcp", "lo"));
  tcp = find(&l, "tcp", NULL);
  assert_non_null(tcp);
  assert_int_equal(tcp->why, WEFT_WHY_QUIRK);
  assert_non_null(strstr(tcp->detail, "ksock"));
  assert_int_equal(find(&l, "ksock", "lo")->why, WEFT_WHY_OK);
  weft__cand_free(&l);
  assert_int_equal(weft__cand_scan("tcp", "", &l), 0);
  assert_int_equal(find(&l, "tcp", "lo")->why, WEFT_WHY_OK);
  assert_int_equal(find(&l, "ksock", NULL)->why, WEFT_WHY_NOT_REQUIRED);
  weft__cand_free(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(complete_and_ordered),
      cmocka_unit_test(reasons),
      cmocka_unit_test(filters),
      cmocka_unit_test(unusable_is_refused),
      cmocka_unit_test(a_vendor_has_its_own_quirks),
      cmocka_unit_test(tcp_yields),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
