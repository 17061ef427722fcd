/* SPDX-License-Identifier: Apache-2.0 */
/* lib_netns.h - a network namespace of one's own, which lives as long as the processes in it, and
 * the `ip` command inside it. Shared with tests/faults. */
#ifndef WEFT_LIB_NETNS_H
#define WEFT_LIB_NETNS_H

/* Move this process into a fresh namespace with its loopback up; not root: with a user namespace
 * around it. Before any thread. 0, or a negative errno where the system refuses. */
int netns_enter(void);

/* Run these lines as `ip` commands in this process's namespace: 0, or what `ip` ended with. */
int netns_ip(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Until this device's carrier is there, which the kernel tells a while after `link set up`, and before
 * which a provider does not list its addresses: 0, or -ETIMEDOUT after 5 s. */
int netns_wait_carrier(const char *device);

#endif
