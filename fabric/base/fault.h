/* SPDX-License-Identifier: Apache-2.0 */
/* fault.h - injection points: every fallible step can be made to fail on order.
 *
 *   int err = WEFT__FAULT(cq_open);
 *   if (err == 0)
 *     err = fi_cq_open(...);
 *
 * WEFT_FAULT="cq_open:1:ENOMEM,post_send:200+:EIO" makes the first opening of a queue fail, and
 * every send from the 200th on. Both errno names and numbers are taken. "ep_close:1:HOLD" makes the
 * thread that passes there wait until weft__fault_release: a call that hangs.
 *
 * Design notes
 *   - Compiled to the constant 0 unless WEFT_FAULTS is defined; a misspelt point does not compile
 *     in either build.
 *   - The value is 0 or a NEGATIVE errno, as libuv and libfabric's functions return it.
 *   - A point is counted each time it is passed, on any thread, while at least one fault is armed.
 *     Counting starts at 1.
 *   - A text with any mistake arms nothing: a test that thinks it injects must not pass by running
 *     undisturbed. */
#ifndef WEFT_BASE_FAULT_H
#define WEFT_BASE_FAULT_H

#include <stdint.h>

/* One table: the point's name, and which step fails. */
#define WEFT__FAULT_MAP(XX)                                                                        \
  XX(getinfo, "fi_getinfo, the list of what a machine or an address offers")                       \
  XX(fabric_open, "fi_fabric")                                                                     \
  XX(domain_open, "fi_domain")                                                                     \
  XX(cq_open, "fi_cq_open, a completion queue")                                                    \
  XX(eq_open, "fi_eq_open, an event queue")                                                        \
  XX(ep_open, "fi_endpoint or fi_passive_ep")                                                      \
  XX(ep_enable, "fi_enable of an endpoint")                                                        \
  XX(ep_close, "fi_close of an endpoint")                                                          \
  XX(domain_close, "fi_close of a domain")                                                         \
  XX(mr_reg, "registration of memory")                                                             \
  XX(mr_close, "closing memory that was open to RMA")                                              \
  XX(mem_close, "fi_close of memory that weft_mem_* made known")                                   \
  XX(listen, "fi_listen of a rail")                                                                \
  XX(connect, "fi_connect of a path")                                                              \
  XX(connect_read, "fi_eq_read in which a provider connects")                                      \
  XX(accept, "fi_accept of a path")                                                                \
  XX(post_recv, "posting a receive buffer")                                                        \
  XX(post_send, "posting a frame")                                                                 \
  XX(post_write, "posting an RMA write")                                                           \
  XX(post_read, "posting an RMA read")                                                             \
  XX(pool_grow, "growing a pool of buffers")                                                       \
  XX(thread_start, "starting the context's private thread")                                        \
  XX(resolve, "looking up a host name")                                                            \
  XX(epoll, "creating or changing an epoll set")                                                   \
  XX(netlink, "opening or reading rtnetlink")                                                      \
  XX(port_events, "opening the events of an RDMA device")                                          \
  XX(timer, "starting a timer")                                                                    \
  XX(alloc_session, "memory for a session")                                                        \
  XX(alloc_conn, "memory for a connection or a path")                                              \
  XX(alloc_msg, "memory for a message")                                                            \
  XX(alloc_large, "memory for a large message")

enum weft__fault_point {
#define XX(name, help) WEFT__FAULT_##name,
  WEFT__FAULT_MAP(XX)
#undef XX
      WEFT__FAULT_POINTS
};

#ifdef WEFT_FAULTS
#define WEFT__FAULT(point)                                                                         \
  (__builtin_expect(__atomic_load_n(&weft__fault_armed, __ATOMIC_ACQUIRE), 0)                      \
       ? weft__fault_hit(WEFT__FAULT_##point)                                                      \
       : 0)
#else
#define WEFT__FAULT(point) (0 * (int) WEFT__FAULT_##point)
#endif

/* Not 0: a fault is armed, or the environment has not been read yet. */
extern int weft__fault_armed;

/* Behind the macro: count the point, and answer 0 or what is armed for this count. Any thread. */
int weft__fault_hit(enum weft__fault_point point);

/* Read WEFT_FAULT now, so that a mistake in it is told at the start. A build without injection
 * points warns that it ignores the variable. Later calls do nothing. Any thread; weft_init calls
 * it. */
void weft__fault_init(void);

/* For tests: forget all counts and faults and arm `spec` instead ("" or NULL: none). 0 or -EINVAL,
 * told in the log. Not while another thread may pass a point. */
int weft__fault_set(const char *spec);

/* How often a point was passed since something was armed. */
uint64_t weft__fault_count(enum weft__fault_point point);

/* How many threads HOLD keeps at the point now. Any thread. */
unsigned weft__fault_held(enum weft__fault_point point);

/* Let all of them go on, as if nothing had been armed there. What passes later is held as before.
 * Any thread. */
void weft__fault_release(void);

/* The i-th point's name and help, -ENOENT past the last. Static storage. */
int weft__fault_point(unsigned i, const char **name, const char **help);

#endif
