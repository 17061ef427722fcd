/* SPDX-License-Identifier: Apache-2.0 */
/* lib_client.c - weft_perf_client.c of the tools, linked into each bench: what a bench measures,
 * the tool measures. See weft_perf.h. */
#include "../../bindings/tools/weft_perf_client.c"
