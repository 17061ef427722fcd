/* SPDX-License-Identifier: Apache-2.0 */
/* lib_many.h - many connections in one context, opened a few at a time, each echoed once if wanted.
 */
#ifndef WEFT_LIB_MANY_H
#define WEFT_LIB_MANY_H

#include "lib_weft.h"

typedef struct bench_many_s bench_many_t;

/* Open n connections to weft->url with `needs` of their own beside weft's client, at most `width`
 * being opened at a time; with `echo` one message goes there and back on each before it counts as
 * open. Dies after `seconds`. */
bench_many_t *bench_many_open(bench_weft_t *weft, const char *needs, unsigned n, unsigned width,
                              int echo, unsigned seconds);
/* Those that an error ended since they were opened. */
unsigned bench_many_broken(const bench_many_t *many);
/* Shut all down in order, wait for the peers' ends, close them. Returns how many ended in an error.
 */
unsigned bench_many_close(bench_many_t *many, unsigned width, unsigned seconds);

#endif
