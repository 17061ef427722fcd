/* SPDX-License-Identifier: Apache-2.0 */
/* signals.c - take back the signal handlers that loading libfabric installs.
 *
 * Design notes
 *  - Debian's libfabric links libpsm_infinipath, whose constructor catches SIGTERM and others to
 *    print a backtrace and exit with 1. A program that merely links Weft must still die of SIGTERM
 *    as every other does.
 *  - Only a handler that lies in that very library is replaced: whatever the program or a sanitizer
 *    installed stays. */
#include <dlfcn.h>
#include <signal.h>
#include <string.h>

#include "loop/loop.h"

void weft__signals_restore(void) {
  static const int caught[] = {SIGSEGV, SIGBUS, SIGILL, SIGABRT, SIGINT, SIGTERM};
  for (unsigned i = 0; i < sizeof caught / sizeof caught[0]; i++) {
    struct sigaction sa;
    Dl_info where;
    if (sigaction(caught[i], NULL, &sa) != 0) continue;
    void *handler;
    if (sa.sa_flags & SA_SIGINFO)
      memcpy(&handler, &sa.sa_sigaction, sizeof handler);
    else
      memcpy(&handler, &sa.sa_handler, sizeof handler);
    if (handler == NULL || handler == (void *) 1) continue; /* SIG_DFL, SIG_IGN */
    if (!dladdr(handler, &where) || !where.dli_fname || !strstr(where.dli_fname, "libinfinipath"))
      continue;
    memset(&sa, 0, sizeof sa);
    sa.sa_handler = SIG_DFL;
    sigaction(caught[i], &sa, NULL);
  }
}
