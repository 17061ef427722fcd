/* SPDX-License-Identifier: Apache-2.0 */
/* eal.h - DPDK's environment, started once. */
#ifndef TCPFALLBACK_EAL_H
#define TCPFALLBACK_EAL_H

#include "dev.h"

int tf_eal_start(const tf_dev_config_t *, char why[TF_DEV_WHY]);

/* What its log says first, from here on, is why something fails. */
void tf_eal_hear(void);
const char *tf_eal_heard(void);

#endif
