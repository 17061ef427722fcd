/* SPDX-License-Identifier: Apache-2.0 */
/* qos.h - what messages about needs say. */
#ifndef WEFT_SELECTOR_QOS_H
#define WEFT_SELECTOR_QOS_H

/* What a need's value must be, to end "latency=20: not ...": "a duration with its unit, as in
 * 20us". NULL when there is no such need. */
const char *weft__qos_expects(const char *key);

/* The i-th need's name, "preset" included; NULL past the last. */
const char *weft__qos_key(unsigned i);

#endif
