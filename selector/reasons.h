/* SPDX-License-Identifier: Apache-2.0 */
/* reasons.h - the table of reason codes, for everything inside that prints one. */
#ifndef WEFT_SELECTOR_REASONS_H
#define WEFT_SELECTOR_REASONS_H

/* What happened, in a few words: "the device's link is down". "?" for an unknown code. */
const char *weft__why_text(int why);

/* The i-th code of the table, -ENOENT past the last: to print or to check the whole table. */
int weft__why_at(unsigned i, int *why);

#endif
