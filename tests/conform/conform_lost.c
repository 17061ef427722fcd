/* SPDX-License-Identifier: Apache-2.0 */
/* conform_lost.c - a wire that loses every frame: who connects over it is told so, once.
 * conform: own: the wire has to be told, by FI_DPDK_LOSS_PPM=1000000 */
#include "lib_conform.h"

static void the_connect_times_out(void **state) {
  pair_t p;
  struct fid_ep *ep;
  event_t ev;

  (void) state;
  pair_open(&p, NULL, NULL);
  ep = end_ep(&p.c, p.c.info, NULL);
  OK(fi_connect(ep, &p.addr, NULL, 0));
  ev = wait_eq_error(&p.c, &ep->fid);
  assert_int_equal(ev.err, FI_ETIMEDOUT);
  settle(100);
  expect_quiet(&p.c);
  expect_quiet(&p.s);
  ep_close(ep);
  pair_close(&p);
}

static const struct CMUnitTest tests[] = {
    CASE(the_connect_times_out),
};
CONFORM_MAIN(tests)
