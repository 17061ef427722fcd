/* SPDX-License-Identifier: Apache-2.0 */
/* lib_floor_fi.c - weft_perf_floor_fi.c of the tools, linked into each bench: the floors and the
 * figures have one home. See weft_perf_floor.h. */
#include "../../bindings/tools/weft_perf_floor_fi.c"
