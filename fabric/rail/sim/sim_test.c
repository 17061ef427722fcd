/* SPDX-License-Identifier: Apache-2.0 */
/* sim_test.c - the simulator keeps the contract of path.h, and catches whoever breaks it. */
#include "rail/sim/sim.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "session/wire.h"

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)

static weft__sim_t *sim;
static weft__sim_link_t *link_of[2];
static weft__path_t *p[2];
static char violation[400];
static unsigned violations;

/* What the two ends have heard. */
static struct {
  unsigned frames, writable, down, closed, done;
  int err, status;
  uint8_t order[256];
  uint64_t at[256];
  weft__rbuf_t *kept;
  bool keep;
} heard[2];

static unsigned side(const weft__path_t *x) {
  return weft__sim_path_host(x);
}

static void on_frame(weft__path_t *x, weft__rbuf_t *b) {
  unsigned i = side(x), n = heard[i].frames++;

  heard[i].order[n] = b->data[b->len - 1];
  heard[i].at[n] = weft__sim_time(sim);
  if (heard[i].keep && heard[i].kept == NULL) {
    weft__rbuf_ref(b);
    heard[i].kept = b;
  }
}
static void on_writable(weft__path_t *x) {
  heard[side(x)].writable++;
}
static void on_rma_done(weft__path_t *x, weft__rma_t *r, int status) {
  (void) r;
  heard[side(x)].done++;
  heard[side(x)].status = status;
}
static void on_down(weft__path_t *x, int err, const char *why, const void *blob, size_t len) {
  (void) why, (void) blob, (void) len;
  heard[side(x)].down++;
  heard[side(x)].err = err;
}
static void on_closed(weft__path_t *x) {
  heard[side(x)].closed++;
}
static const weft__path_cbs_t cbs = {NULL, on_frame, on_writable, on_rma_done, on_down, on_closed};

static void on_violation(void *ctx, const char *text) {
  (void) ctx;
  violations++;
  snprintf(violation, sizeof(violation), "%s", text);
}

static unsigned sinks_stick;

static weft__sim_link_conf_t conf(void) {
  weft__sim_link_conf_t c = {.host = {0, 1}, .delay = 10 * US, .sinks_stick = sinks_stick};
  unsigned i;

  for (i = 0; i < 2; i++)
    c.lim[i] = (weft__path_limits_t){.frame_max = WEFT__FRAME_MAX,
                                     .inject_max = 64,
                                     .tx_depth = 4,
                                     .rx_depth = 8,
                                     .rma_depth = 2,
                                     .rma_max = 65536,
                                     .xfer = WEFT__XFER_WRITE};
  return c;
}

static void begin_with(const weft__sim_link_conf_t *c) {
  weft__sim_reset(sim, 7);
  memset(heard, 0, sizeof(heard));
  violations = 0;
  violation[0] = 0;
  link_of[0] = weft__sim_link(sim, c);
  weft__sim_pair(link_of[0], p);
  p[0]->cbs = p[1]->cbs = &cbs;
}

static void begin(void) {
  weft__sim_link_conf_t c = conf();

  begin_with(&c);
}

static void run(uint64_t until) {
  while (weft__sim_step(sim, until) >= 0)
    ;
}

static int send_byte(unsigned from, uint8_t v, uint32_t len) {
  weft__tbuf_t *b = p[from]->ops->tx_get(p[from]);

  if (b == NULL) return -EAGAIN;
  memset(b->data, 0, len);
  b->data[len - 1] = v;
  return p[from]->ops->send(p[from], b, len);
}

static void no_violation(void) {
  if (violations != 0) print_error("%s\n", violation);
  assert_int_equal(violations, 0);
}

static void a_violation(const char *part) {
  if (strstr(violation, part) == NULL)
    print_error("expected \"%s\", got \"%s\"\n", part, violation);
  assert_true(violations > 0);
  assert_non_null(strstr(violation, part));
}

static void close_both(void) {
  p[0]->ops->close(p[0]);
  p[1]->ops->close(p[1]);
  run(WEFT__SIM_FOREVER);
  assert_int_equal(heard[0].closed, 1);
  assert_int_equal(heard[1].closed, 1);
  assert_true(weft__sim_quiet(sim));
}

static void frames_arrive_in_order(void **state) {
  weft__sim_link_conf_t c = conf();
  unsigned i, round;

  (void) state;
  c.jitter = 100 * US;
  begin_with(&c);
  for (round = 0; round < 3; round++) {
    for (i = 0; i < 4; i++) assert_int_equal(send_byte(0, (uint8_t) (round * 4 + i), 100), 0);
    run(WEFT__SIM_FOREVER);
  }
  assert_int_equal(heard[1].frames, 12);
  for (i = 0; i < 12; i++) {
    assert_int_equal(heard[1].order[i], i);
    assert_true(heard[1].at[i] >= 10 * US);
  }
  close_both();
  no_violation();
}

static void full_and_writable(void **state) {
  unsigned i;

  (void) state;
  begin();
  for (i = 0; i < 4; i++) assert_int_equal(send_byte(0, 1, 64), 0);
  assert_int_equal(send_byte(0, 1, 64), -EAGAIN);
  assert_int_equal(heard[0].writable, 0);
  run(WEFT__SIM_FOREVER);
  assert_int_equal(heard[0].writable, 1);
  assert_int_equal(send_byte(0, 1, 64), 0);
  run(WEFT__SIM_FOREVER);
  assert_int_equal(heard[0].writable, 1); /* nobody asked again */
  close_both();
  no_violation();
}

static void credits_are_watched(void **state) {
  weft__sim_link_conf_t c = conf();
  unsigned i;

  (void) state;
  c.kernel = 64;
  begin_with(&c);
  for (i = 0; i < 8; i++) assert_int_equal(send_byte(0, 1, 64), 0);
  no_violation();
  assert_int_equal(send_byte(0, 1, 64), 0);
  a_violation("9 frames in flight");
}

static void buffers_are_watched(void **state) {
  weft__tbuf_t *b;

  (void) state;
  begin();
  b = p[0]->ops->tx_get(p[0]);
  p[0]->ops->tx_put(p[0], b);
  no_violation();
  b = p[0]->ops->tx_get(p[0]);
  p[0]->ops->send(p[0], b, 64);
  p[0]->ops->send(p[0], b, 64);
  a_violation("not ours to send");

  begin();
  b = p[0]->ops->tx_get(p[0]);
  p[0]->ops->close(p[0]);
  a_violation("neither sent nor put");
  p[0]->ops->tx_put(p[0], b);

  begin();
  b = p[0]->ops->tx_get(p[0]);
  p[0]->ops->send(p[0], b, WEFT__FRAME_MAX + 1);
  a_violation("limit is");

  begin();
  p[0]->ops->close(p[0]);
  assert_null(p[0]->ops->tx_get(p[0]));
  a_violation("after close");
}

static void a_retained_buffer_outlives_its_path(void **state) {
  (void) state;
  begin();
  heard[1].keep = true;
  send_byte(0, 9, 64);
  run(WEFT__SIM_FOREVER);
  p[0]->ops->close(p[0]);
  p[1]->ops->close(p[1]);
  run(WEFT__SIM_FOREVER);
  assert_int_equal(heard[1].kept->data[63], 9);
  assert_false(weft__sim_quiet(sim));
  weft__rbuf_unref(heard[1].kept);
  assert_true(weft__sim_quiet(sim));
  no_violation();
}

static void stalls_hold_and_heal(void **state) {
  (void) state;
  begin();
  weft__sim_link_stall(link_of[0], 1);
  send_byte(0, 1, 64);
  send_byte(1, 2, 64);
  run(50 * MS);
  assert_int_equal(heard[1].frames, 0);
  assert_int_equal(heard[0].frames, 1);
  weft__sim_link_heal(link_of[0]);
  run(WEFT__SIM_FOREVER);
  assert_int_equal(heard[1].frames, 1);
  assert_int_equal(heard[0].down + heard[1].down, 0);
  close_both();
  no_violation();
}

static void a_cut_tells_whom_it_should(void **state) {
  unsigned tell;

  (void) state;
  for (tell = 0; tell < 4; tell++) {
    begin();
    weft__sim_link_cut(link_of[0], tell, MS, 0);
    send_byte(0, 1, 64);
    run(100 * MS);
    assert_int_equal(heard[1].frames, 0);
    assert_int_equal(heard[0].down, tell & 1);
    assert_int_equal(heard[1].down, tell >> 1);
    close_both();
    no_violation();
  }
}

/* What one end has given up may arrive at the other, until that closes too. */
static void late_frames(void **state) {
  unsigned tries, late = 0;

  (void) state;
  for (tries = 0; tries < 50; tries++) {
    unsigned n;

    begin();
    weft__rng_next(weft__sim_rng(sim));
    for (n = 0; n < tries; n++) weft__rng_next(weft__sim_rng(sim));
    for (n = 0; n < 4; n++) send_byte(0, (uint8_t) n, 64);
    weft__sim_link_cut(link_of[0], 1, 0, 10 * MS);
    run(1); /* A hears at once */
    assert_int_equal(heard[0].down, 1);
    p[0]->ops->close(p[0]);
    run(MS);
    assert_int_equal(heard[0].closed, 1);
    run(WEFT__SIM_FOREVER);
    for (n = 0; n < heard[1].frames; n++) /* a prefix, in order */
      assert_int_equal(heard[1].order[n], n);
    late += heard[1].frames != 0 && heard[1].at[heard[1].frames - 1] > MS;
    p[1]->ops->close(p[1]);
    run(WEFT__SIM_FOREVER);
    no_violation();
  }
  assert_true(late > 10);
}

static void closing_tells_the_other_end(void **state) {
  (void) state;
  begin();
  send_byte(0, 5, 64);
  p[0]->ops->close(p[0]);
  run(WEFT__SIM_FOREVER);
  assert_int_equal(heard[1].frames, 1); /* what was sent before arrives before */
  assert_int_equal(heard[1].down, 1);
  assert_int_equal(heard[1].err, -ECONNRESET);
  assert_int_equal(heard[0].down, 0);
  p[1]->ops->close(p[1]);
  run(WEFT__SIM_FOREVER);
  assert_true(weft__sim_quiet(sim));
  no_violation();
}

/* ---- RMA ---- */

static void write_to(const weft__mr_t *mr, weft__rma_t *r, void *src, size_t len, uint64_t off) {
  memset(r, 0, sizeof(*r));
  r->iov[0].iov_base = src;
  r->iov[0].iov_len = len / 2;
  r->iov[1].iov_base = (uint8_t *) src + len / 2;
  r->iov[1].iov_len = len - len / 2;
  r->niov = 2;
  r->addr = mr->addr + off;
  r->key = mr->key;
}

static void writes_land_before_what_follows(void **state) {
  uint8_t src[1000], dst[1200] = {0};
  weft__mr_t mr;
  weft__rma_t r;

  (void) state;
  begin();
  memset(src, 7, sizeof(src));
  assert_int_equal(p[1]->ops->expose(p[1], dst, sizeof(dst), WEFT__OPEN_WRITE, &mr), 0);
  write_to(&mr, &r, src, sizeof(src), 100);
  assert_int_equal(p[0]->ops->write(p[0], &r), 0);
  assert_true(weft__sim_reading(sim, 0, src + 10, 1));
  assert_true(weft__sim_exposed(sim, 1, dst, 1));
  send_byte(0, 1, 64);
  while (heard[1].frames == 0) assert_true(weft__sim_step(sim, WEFT__SIM_FOREVER) >= 0);
  assert_memory_equal(dst + 100, src, sizeof(src));
  assert_int_equal(dst[99], 0);
  assert_int_equal(dst[1100], 0);
  run(WEFT__SIM_FOREVER);
  assert_int_equal(heard[0].done, 1);
  assert_int_equal(heard[0].status, 0);
  assert_false(weft__sim_reading(sim, 0, src, sizeof(src)));
  p[1]->ops->unexpose(p[1], &mr);
  assert_false(weft__sim_exposed(sim, 1, dst, sizeof(dst)));
  close_both();
  no_violation();
}

static void rma_limits(void **state) {
  uint8_t src[100], *dst = malloc(70000);
  weft__mr_t mr;
  weft__rma_t r[3];

  (void) state;
  assert_non_null(dst);
  begin();
  assert_int_equal(p[1]->ops->expose(p[1], dst, 1000, WEFT__OPEN_WRITE, &mr), 0);
  write_to(&mr, &r[0], src, sizeof(src), 0);
  write_to(&mr, &r[1], src, sizeof(src), 0);
  write_to(&mr, &r[2], src, sizeof(src), 0);
  assert_int_equal(p[0]->ops->write(p[0], &r[0]), 0);
  assert_int_equal(p[0]->ops->write(p[0], &r[1]), 0);
  assert_int_equal(p[0]->ops->write(p[0], &r[2]), -EAGAIN);
  run(WEFT__SIM_FOREVER);
  assert_int_equal(heard[0].writable, 1);
  p[1]->ops->unexpose(p[1], &mr);
  no_violation();
  assert_int_equal(p[1]->ops->expose(p[1], dst, 70000, WEFT__OPEN_WRITE, &mr), -EINVAL);
  a_violation("limit is");
  free(dst);
}

static void writes_beyond_what_is_exposed(void **state) {
  uint8_t src[100], dst[100];
  weft__mr_t mr;
  weft__rma_t r;

  (void) state;
  begin();
  assert_int_equal(p[1]->ops->expose(p[1], dst, sizeof(dst), WEFT__OPEN_WRITE, &mr), 0);
  write_to(&mr, &r, src, sizeof(src), 1);
  assert_int_equal(p[0]->ops->write(p[0], &r), 0);
  run(WEFT__SIM_FOREVER);
  a_violation("does not expose");
  assert_int_equal(heard[0].down, 1); /* as a device would */
  assert_int_equal(heard[1].down, 1);
  p[1]->ops->unexpose(p[1], &mr);
  close_both();
}

/* After unexpose nothing lands, also of what is on its way. */
static void unexposed_memory_is_safe(void **state) {
  uint8_t src[100], dst[100] = {0};
  weft__mr_t mr;
  weft__rma_t r;
  unsigned i;

  (void) state;
  begin();
  memset(src, 7, sizeof(src));
  assert_int_equal(p[1]->ops->expose(p[1], dst, sizeof(dst), WEFT__OPEN_WRITE, &mr), 0);
  write_to(&mr, &r, src, sizeof(src), 0);
  assert_int_equal(p[0]->ops->write(p[0], &r), 0);
  weft__sim_fail(p[0], -EIO, "dead");
  run(1);
  p[1]->ops->unexpose(p[1], &mr);
  memset(dst, 0, sizeof(dst));
  p[0]->ops->close(p[0]);
  run(WEFT__SIM_FOREVER);
  for (i = 0; i < sizeof(dst); i++) assert_int_equal(dst[i], 0);
  assert_int_equal(heard[0].done, 1);
  no_violation();
}

static void closing_reports_every_write(void **state) {
  uint8_t src[100], dst[100];
  weft__mr_t mr;
  weft__rma_t r;

  (void) state;
  begin();
  assert_int_equal(p[1]->ops->expose(p[1], dst, sizeof(dst), WEFT__OPEN_WRITE, &mr), 0);
  weft__sim_link_stall(link_of[0], 3);
  write_to(&mr, &r, src, sizeof(src), 0);
  assert_int_equal(p[0]->ops->write(p[0], &r), 0);
  run(MS);
  assert_int_equal(heard[0].done, 0);
  p[0]->ops->close(p[0]);
  run(100 * MS);
  assert_int_equal(heard[0].done, 1);
  assert_int_equal(heard[0].status, -ECANCELED);
  assert_int_equal(heard[0].closed, 1);
  assert_false(weft__sim_reading(sim, 0, src, sizeof(src)));
  p[1]->ops->close(p[1]);
  run(200 * MS);
  a_violation("still exposed");
}

/* ---- Reads ---- */

static void begin_reads(uint8_t *src, uint8_t *dst, uint32_t len, weft__mr_t mr[2],
                        weft__rma_t *r) {
  unsigned i;

  begin();
  for (i = 0; i < 2; i++) p[i]->lim.xfer = WEFT__XFER_READ;
  assert_int_equal(p[1]->ops->expose(p[1], src, len, WEFT__OPEN_READ, &mr[1]), 0);
  assert_int_equal(p[0]->ops->expose(p[0], dst, len, WEFT__OPEN_SINK, &mr[0]), 0);
  memset(r, 0, sizeof(*r));
  r->iov[0].iov_base = dst;
  r->iov[0].iov_len = len;
  r->niov = 1;
  r->addr = mr[1].addr;
  r->key = mr[1].key;
  r->sink = &mr[0];
}

static void reads_land(void **state) {
  uint8_t src[1000], dst[1000] = {0};
  weft__mr_t mr[2];
  weft__rma_t r;

  (void) state;
  memset(src, 7, sizeof(src));
  begin_reads(src, dst, sizeof(src), mr, &r);
  assert_false(weft__sim_exposed(sim, 0, dst, sizeof(dst))); /* a sink is open to nobody */
  assert_int_equal(p[0]->ops->read(p[0], &r), 0);
  assert_true(weft__sim_exposed(sim, 0, dst, sizeof(dst)));
  assert_true(weft__sim_reading(sim, 1, src, sizeof(src)));
  run(WEFT__SIM_FOREVER);
  assert_int_equal(heard[0].done, 1);
  assert_int_equal(heard[0].status, 0);
  assert_memory_equal(dst, src, sizeof(src));
  p[0]->ops->unexpose(p[0], &mr[0]);
  p[1]->ops->unexpose(p[1], &mr[1]);
  assert_false(weft__sim_reading(sim, 1, src, sizeof(src)));
  close_both();
  no_violation();
}

static void read_of_what_was_closed(void **state) {
  uint8_t src[100] = {1}, dst[100] = {0};
  weft__mr_t mr[2];
  weft__rma_t r;

  (void) state;
  begin_reads(src, dst, sizeof(src), mr, &r);
  assert_int_equal(p[0]->ops->read(p[0], &r), 0);
  p[1]->ops->unexpose(p[1], &mr[1]);
  run(WEFT__SIM_FOREVER);
  a_violation("does not expose");
  assert_int_equal(dst[0], 0);
  assert_int_equal(heard[0].down, 1);
  p[0]->ops->close(p[0]);
  p[1]->ops->close(p[1]);
  run(1);
  assert_true(weft__sim_exposed(sim, 0, dst, 1)); /* until its fate is told */
  p[0]->ops->unexpose(p[0], &mr[0]);
  run(WEFT__SIM_FOREVER);
  assert_int_equal(heard[0].done, 1);
}

static void sinks_have_rules(void **state) {
  uint8_t src[100], dst[200];
  weft__mr_t mr[2];
  weft__rma_t r;

  (void) state;
  begin_reads(src, dst, sizeof(src), mr, &r);
  r.iov[0].iov_base = dst + 1; /* its last byte is outside */
  assert_int_equal(p[0]->ops->read(p[0], &r), 0);
  a_violation("no open sink");
  run(WEFT__SIM_FOREVER);
  r.iov[0].iov_base = dst;
  assert_int_equal(p[0]->ops->read(p[0], &r), 0);
  p[0]->ops->unexpose(p[0], &mr[0]);
  a_violation("unexpose of a sink with a read under way");
  run(WEFT__SIM_FOREVER);
  p[1]->ops->unexpose(p[1], &mr[1]);
  close_both();
}

static void closing_reports_every_read(void **state) {
  uint8_t src[100], dst[100] = {0};
  weft__mr_t mr[2];
  weft__rma_t r;
  unsigned i;

  (void) state;
  memset(src, 7, sizeof(src));
  begin_reads(src, dst, sizeof(src), mr, &r);
  weft__sim_link_stall(link_of[0], 2); /* the answer does not come */
  assert_int_equal(p[0]->ops->read(p[0], &r), 0);
  run(MS);
  assert_int_equal(heard[0].done, 0);
  p[0]->ops->close(p[0]);
  run(100 * MS);
  assert_int_equal(heard[0].done, 1);
  assert_int_equal(heard[0].status, -ECANCELED);
  memset(dst, 0, sizeof(dst));
  weft__sim_link_heal(link_of[0]);
  run(200 * MS);
  for (i = 0; i < sizeof(dst); i++) assert_int_equal(dst[i], 0);
}

/* A sink that is closed under a read of a path that is dying, whenever: nothing lands any more. */
static void sinks_close_under_reads(void **state) {
  uint8_t src[1000], dst[1000];
  weft__mr_t mr[2];
  weft__rma_t r;
  unsigned i, k, under = 0;

  (void) state;
  memset(src, 7, sizeof(src));
  for (k = 0; k < 60; k++) {
    begin_reads(src, dst, sizeof(src), mr, &r);
    assert_int_equal(p[0]->ops->read(p[0], &r), 0);
    run(k * US);
    if (heard[0].done != 0) break;
    if (k & 1)
      p[0]->ops->close(p[0]);
    else
      weft__sim_fail(p[0], -EIO, "dead");
    run(k * US);
    if (heard[0].done == 0) {
      assert_true(weft__sim_exposed(sim, 0, dst, 1));
      under++;
    }
    assert_int_equal(p[0]->ops->unexpose(p[0], &mr[0]), 0);
    assert_false(weft__sim_exposed(sim, 0, dst, sizeof(dst)));
    memset(dst, 1, sizeof(dst));
    run(MS);
    if (!(k & 1)) p[0]->ops->close(p[0]);
    run(WEFT__SIM_FOREVER);
    for (i = 0; i < sizeof(dst); i++) assert_int_equal(dst[i], 1);
    assert_int_equal(heard[0].done, 1);
    no_violation();
  }
  assert_true(under >= 10);
}

/* A provider that cannot close it says so, and it stays open. */
static void sinks_may_stick(void **state) {
  uint8_t src[1000], dst[1000];
  weft__mr_t mr[2];
  weft__rma_t r;

  (void) state;
  sinks_stick = 1;
  begin_reads(src, dst, sizeof(src), mr, &r);
  sinks_stick = 0;
  assert_int_equal(p[0]->ops->read(p[0], &r), 0);
  p[0]->ops->close(p[0]);
  assert_int_equal(p[0]->ops->unexpose(p[0], &mr[0]), -EIO);
  assert_true(weft__sim_exposed(sim, 0, dst, 1));
  no_violation();
  run(WEFT__SIM_FOREVER);
  assert_int_equal(heard[0].done, 1);
  a_violation("still exposed"); /* nobody has called it again in `closed` */
}

/* ---- Connecting, hosts, determinism ---- */

static weft__sim_req_t *asked;
static unsigned connected_with;
static uint8_t answer_blob[8];

static void on_request(void *ctx, unsigned host, weft__sim_req_t *r) {
  size_t len;

  (void) ctx;
  assert_int_equal(host, 1);
  assert_memory_equal(weft__sim_req_blob(r, &len), "hi", 2);
  assert_int_equal(len, 2);
  asked = r;
}

static void on_connected(weft__path_t *x, const void *blob, size_t len) {
  (void) x;
  connected_with = (unsigned) len;
  memcpy(answer_blob, blob, len);
}

static const weft__path_cbs_t connecting = {on_connected, on_frame, on_writable,
                                            on_rma_done,  on_down,  on_closed};

static void connecting_ends(void **state) {
  weft__sim_link_conf_t c = conf();
  unsigned how;

  (void) state;
  for (how = 0; how < 5; how++) {
    weft__sim_reset(sim, how);
    memset(heard, 0, sizeof(heard));
    violations = connected_with = 0;
    asked = NULL;
    link_of[0] = weft__sim_link(sim, &c);
    if (how == 2) weft__sim_link_refuse(link_of[0], true);
    if (how == 3) weft__sim_link_cut(link_of[0], 0, 0, 0);
    assert_int_equal(weft__sim_connect(link_of[0], 0, "hi", 2, &connecting, NULL, &p[0]), 0);
    run(MS);
    if (how == 0 || how == 4) {
      assert_non_null(asked);
      assert_int_equal(weft__sim_accept(asked, "yes", 3, &cbs, NULL, &p[1]), 0);
      send_byte(1, 3, 64); /* the accepting end may speak at once */
      if (how == 4)        /* ... and its answer is lost */
        weft__sim_link_cut(link_of[0], 0, 0, 0);
    } else if (how == 1) {
      assert_non_null(asked);
      weft__sim_reject(asked, "no", 2);
    } else {
      assert_null(asked);
    }
    run(10000 * MS);
    if (how == 0) {
      assert_int_equal(connected_with, 3);
      assert_memory_equal(answer_blob, "yes", 3);
      assert_int_equal(heard[0].frames, 1);
      close_both();
    } else {
      assert_int_equal(heard[0].down, 1);
      assert_int_equal(heard[0].err, how == 1 || how == 2 ? -ECONNREFUSED : -ETIMEDOUT);
      assert_int_equal(connected_with, 0);
      p[0]->ops->close(p[0]);
      if (how == 4) p[1]->ops->close(p[1]);
      run(WEFT__SIM_FOREVER);
      assert_true(weft__sim_quiet(sim));
    }
    no_violation();
  }
}

static void stopped_hosts_keep_their_events(void **state) {
  (void) state;
  begin();
  weft__sim_host_stop(sim, 1, 5 * MS);
  send_byte(0, 1, 64);
  send_byte(0, 2, 64);
  run(WEFT__SIM_FOREVER);
  assert_int_equal(heard[1].frames, 2);
  assert_int_equal(heard[1].order[0], 1);
  assert_true(heard[1].at[0] >= 5 * MS);
  assert_int_equal(*weft__sim_clock(sim, 1), weft__sim_time(sim));
  close_both();
  no_violation();
}

static uint64_t a_run(uint64_t seed) {
  weft__sim_link_conf_t c = conf();
  unsigned i;

  c.jitter = MS;
  weft__sim_reset(sim, seed);
  link_of[0] = weft__sim_link(sim, &c);
  weft__sim_pair(link_of[0], p);
  p[0]->cbs = p[1]->cbs = &cbs;
  memset(heard, 0, sizeof(heard));
  for (i = 0; i < 4; i++) send_byte(i & 1, (uint8_t) i, 64);
  run(WEFT__SIM_FOREVER);
  return weft__sim_hash(sim);
}

static void the_seed_decides(void **state) {
  uint64_t one = a_run(1), two = a_run(2);

  (void) state;
  assert_int_equal(a_run(1), one);
  assert_int_equal(a_run(2), two);
  assert_int_not_equal(one, two);
}

static void random_numbers(void **state) {
  weft__rng_t r = weft__rng_fork(3, 4);
  unsigned i, low = 0;

  (void) state;
  for (i = 0; i < 10000; i++) {
    uint64_t v = weft__rng_log(&r, 10, 100000);
    assert_in_range(v, 10, 100000);
    low += v < 1000;
    assert_in_range(weft__rng_range(&r, 5, 7), 5, 7);
    assert_int_equal(weft__rng_log(&r, 9, 9), 9);
  }
  assert_in_range(low, 3000, 7000);
}

static int setup(void **state) {
  static const weft__sim_hooks_t hooks = {.violation = on_violation, .request = on_request};

  (void) state;
  sim = weft__sim_create(&hooks, NULL);
  return sim == NULL ? -1 : 0;
}

static int teardown(void **state) {
  (void) state;
  weft__sim_destroy(sim);
  return 0;
}

int main(void) {
  static const struct CMUnitTest tests[] = {
      cmocka_unit_test(frames_arrive_in_order),
      cmocka_unit_test(full_and_writable),
      cmocka_unit_test(credits_are_watched),
      cmocka_unit_test(buffers_are_watched),
      cmocka_unit_test(a_retained_buffer_outlives_its_path),
      cmocka_unit_test(stalls_hold_and_heal),
      cmocka_unit_test(a_cut_tells_whom_it_should),
      cmocka_unit_test(late_frames),
      cmocka_unit_test(closing_tells_the_other_end),
      cmocka_unit_test(writes_land_before_what_follows),
      cmocka_unit_test(rma_limits),
      cmocka_unit_test(writes_beyond_what_is_exposed),
      cmocka_unit_test(unexposed_memory_is_safe),
      cmocka_unit_test(closing_reports_every_write),
      cmocka_unit_test(reads_land),
      cmocka_unit_test(read_of_what_was_closed),
      cmocka_unit_test(sinks_have_rules),
      cmocka_unit_test(closing_reports_every_read),
      cmocka_unit_test(sinks_close_under_reads),
      cmocka_unit_test(sinks_may_stick),
      cmocka_unit_test(connecting_ends),
      cmocka_unit_test(stopped_hosts_keep_their_events),
      cmocka_unit_test(the_seed_decides),
      cmocka_unit_test(random_numbers),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
