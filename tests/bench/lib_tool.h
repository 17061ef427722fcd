/* SPDX-License-Identifier: Apache-2.0 */
/* lib_tool.h - somebody else's program at both ends, a core each, and the figure that it prints:
 * perftest, ucx_perftest. */
#ifndef WEFT_LIB_TOOL_H
#define WEFT_LIB_TOOL_H

/* Is it installed? */
int bench_tool_there(const char *tool);
/* A port of this process that no earlier run of a tool has used. */
unsigned bench_tool_port(void);
/* Run `server` and, once somebody listens at the port and `settle_ms` later, `client`; both are
 * commands of the shell, best begun with exec. Column `column` (from 0) of the client's last line
 * that has that many figures. Dies with what both have said. */
double bench_tool_pair(const char *server, const char *client, unsigned port, unsigned settle_ms,
                       unsigned column);

#endif
