/* SPDX-License-Identifier: Apache-2.0 */
/* err.c - names and texts of error codes, and the version. */
#include <stddef.h>

#include "weft.h"

#define TEXT_OF(x) #x
#define TEXT(x)    TEXT_OF(x)

static const struct {
  int code;
  const char *name;
  const char *text;
} errors[] = {
#define XX(name, code, text) {code, "WEFT_" #name, text},
    WEFT_ERRNO_MAP(XX)
#undef XX
};

/* libuv's own codes, listed because uv_strerror and uv_err_name of an unknown code allocate a text
 * that nobody frees. */
static int is_uv(int err) {
  switch (err) {
#define XX(name, text) case UV_##name:
    UV_ERRNO_MAP(XX)
#undef XX
    return 1;
  }
  return 0;
}

const char *weft_strerror(int err) {
  size_t i;

  if (err == 0) return "success";
  for (i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
    if (errors[i].code == err) return errors[i].text;
  return is_uv(err) ? uv_strerror(err) : "unknown error";
}

const char *weft_err_name(int err) {
  size_t i;

  if (err == 0) return "OK";
  for (i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
    if (errors[i].code == err) return errors[i].name;
#define XX(name, text)                                                                             \
  if (err == UV_##name) return "UV_" #name;
  UV_ERRNO_MAP(XX)
#undef XX
  return "UNKNOWN";
}

const char *weft_version(void) {
  return TEXT(WEFT_VERSION_MAJOR) "." TEXT(WEFT_VERSION_MINOR) "." TEXT(WEFT_VERSION_PATCH);
}
