/* SPDX-License-Identifier: Apache-2.0 */
/* errors.c - from codes inside to codes of weft.h.
 *
 * Design notes
 *  - Inside, errors are negative errno or the session's own, which are weft.h's by value (asserted
 *    below). What a system or libfabric may say beyond libuv's list becomes UV_EIO: nobody outside
 *    meets a code that weft_strerror cannot name. */
#include <stdio.h>
#include <string.h>

#include "loop/loop.h"
#include "session/session.h"

_Static_assert(WEFT__E_PEERLOST == WEFT_EPEERLOST, "one value, two names");
_Static_assert(WEFT__E_EREJECTED == WEFT_EREJECTED, "one value, two names");
_Static_assert(WEFT__E_PROTOCOL == WEFT_EPROTOCOL, "one value, two names");
_Static_assert(WEFT__E_NOSESSION == WEFT_ENOSESSION, "one value, two names");

int weft__err_public(int err) {
  if (err == 0 || (err <= WEFT_EFORK && err >= WEFT_EOPTION)) return err;
  if (err > 0) err = -err;
  return strcmp(weft_err_name(err), "UNKNOWN") == 0 ? UV_EIO : err;
}

const char *weft__err_text(int err, char *buf, size_t len) {
  const char *name = weft_err_name(err);
  if (strncmp(name, "UV_", 3) == 0) name += 3;
  snprintf(buf, len, "%s (%s)", weft_strerror(err), name);
  return buf;
}
