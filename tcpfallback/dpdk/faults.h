/* SPDX-License-Identifier: Apache-2.0 */
/* faults.h - frames between a device and lwIP that are lost, doubled, late or out of order, on purpose.
 *
 * Design notes
 *  - For tests. Where nothing is asked for there is no tf_faults_t, and frames go the straight way.
 *  - What happens to a frame is a function of the seed, the device, the direction and the frame's number
 *    there, not of time: the same frames in the same order meet the same faults.
 *  - A frame is a copy while it is here. The number of those that wait is bounded, and the bound refuses:
 *    only `loss` loses. Who is doubled comes twice in a row.
 *  - Out of order: set aside until one to LATE_MOST later frames have passed it, or for LATE_NS.
 *  - One caller at a time. No clock of its own: `now` is nanoseconds of any clock that goes forward. */
#ifndef TCPFALLBACK_FAULTS_H
#define TCPFALLBACK_FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum { TF_FAULTS_LATE_MOST = 8, TF_FAULTS_LATE_NS = 1000000, TF_FAULTS_WAITING = 4096 };
enum { TF_FAULTS_IN, TF_FAULTS_OUT, TF_FAULTS_WAYS };

typedef struct tf_faults tf_faults_t;

typedef struct tf_faults_config {
  int loss, dup, reorder; /* of a million frames */
  int delay;              /* microseconds, each way */
  int seed;
} tf_faults_config_t;

bool tf_faults_wanted(const tf_faults_config_t *);
tf_faults_t *tf_faults_open(const tf_faults_config_t *, unsigned device); /* NULL: no memory */
void tf_faults_close(tf_faults_t *);                                      /* may be NULL */

/* A frame goes in; -ENOBUFS: not now. */
int tf_faults_put(tf_faults_t *, int way, uint64_t now, const struct iovec *, int n, size_t len);
/* The next one that has its time, or NULL; it is the caller's until tf_faults_pop. */
const void *tf_faults_next(tf_faults_t *, int way, uint64_t now, size_t *len);
void tf_faults_pop(tf_faults_t *, int way);
bool tf_faults_room(const tf_faults_t *, int way); /* a frame would be taken */
/* When a frame that waits has its time, UINT64_MAX: there is none. */
uint64_t tf_faults_due(const tf_faults_t *);

#endif
