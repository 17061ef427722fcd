/* SPDX-License-Identifier: Apache-2.0 */
/* units.h - values as people write them: durations, sizes, rates, lists of names; and back to text.
 *
 * Design notes
 *   - Readers answer 0 or -EINVAL and leave *out alone on error. The whole text must be the value:
 *     no blanks, no sign, no trailing characters. Overflow is an error, never a wrap.
 *   - "0" needs no unit, every other number does. Decimals are exact to the unit's resolution and
 *     cut below it ("1.5us" is 1500 ns).
 *   - Units are case-sensitive but for k/K: "MB" is 10^6 and "MiB" 2^20, and 'm' must not mean
 *     mega. */
#ifndef WEFT_SELECTOR_UNITS_H
#define WEFT_SELECTOR_UNITS_H

#include <stddef.h>
#include <stdint.h>

/* "20us": ns, us, ms, s, min. */
int weft__parse_duration_ns(const char *s, uint64_t *out);
/* "64KiB": B, kB, KiB, MB, MiB, GB, GiB, TB, TiB. */
int weft__parse_bytes(const char *s, uint64_t *out);
/* "1GB", "1GB/s", "10Gbit/s": as above and kbit, Mbit, Gbit, with or without "/s". Bytes per
 * second. */
int weft__parse_rate(const char *s, uint64_t *out);
/* Digits only, at most `max`. */
int weft__parse_count(const char *s, uint64_t max, uint64_t *out);

/* Is `s` "" or names separated by single commas, and does it fit WEFT_LIST_MAX? 0 or -EINVAL. */
int weft__check_list(const char *s);
/* Is `name` one of a comma-separated list? The empty list has nobody in it. */
int weft__list_has(const char *list, const char *name);
/* Does a list of providers, as needs have it, mean this one? "tcp" there is the system's TCP, whoever carries it:
 * libfabric's `tcp` and Weft's `ksock`. */
int weft__list_has_provider(const char *list, const char *provider);

/* "1.5 us", "64 KiB", "1.2 GB/s". Answers buf. 24 bytes are always enough. */
char *weft__format_duration(uint64_t ns, char *buf, size_t len);
char *weft__format_bytes(uint64_t bytes, char *buf, size_t len);
char *weft__format_rate(uint64_t bytes_per_s, char *buf, size_t len);

#endif
