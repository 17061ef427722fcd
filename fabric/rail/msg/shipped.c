/* SPDX-License-Identifier: Apache-2.0 */
/* shipped.c - where libfabric looks for providers that are files, and that Weft's own are among them.
 *
 * Design notes
 *  - libfabric reads FI_PROVIDER_PATH once per process, when it is first asked. So it is set when this
 *    library is loaded, before main where the program links it: nobody else reads or changes the
 *    environment then.
 *  - Who sets FI_PROVIDER_PATH has it as it is: then Weft's providers are used only if it names their
 *    folder. While it is set libfabric looks nowhere else, hence its own folder too. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

/* The folder of the file that an address was loaded from; its length, 0: unknown. */
static int folder_of(const void *address, const char **path) {
  const char *end;
  Dl_info from;

  if (dladdr(address, &from) == 0 || from.dli_fname == NULL ||
      (end = strrchr(from.dli_fname, '/')) == NULL)
    return 0;
  *path = from.dli_fname;
  return (int) (end - from.dli_fname);
}

void weft__provider_dirs(char *buf, size_t len) {
  const char *env = getenv("FI_PROVIDER_PATH"), *path;
  int n;

  buf[0] = '\0';
  if (env != NULL && *env != '\0')
    snprintf(buf, len, "%s", *env == '@' ? env + 1 : env);
  else if ((n = folder_of((const void *) fi_version, &path)) != 0)
    snprintf(buf, len, "%.*s/libfabric", n, path);
}

__attribute__((constructor)) static void find_shipped(void) {
  /* installed; the build's; a program that has the library inside, in the build's bin/ */
  static const char *const places[] = {"/weft", "", "/../lib"};
  char own[1024], file[1100], all[2200];
  const char *env = getenv("FI_PROVIDER_PATH"), *path;
  int n = folder_of((const void *) weft__provider_dirs, &path);
  unsigned i;

  if (n == 0 || n > 900 || (env != NULL && *env != '\0')) return;
  weft__provider_dirs(own, sizeof(own));
  for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
    snprintf(file, sizeof(file), "%.*s%s/libksock-fi.so", n, path, places[i]);
    if (access(file, R_OK) != 0) continue;
    snprintf(all, sizeof(all), "%.*s%s%s%s", n, path, places[i], own[0] != '\0' ? ":" : "", own);
    (void) setenv("FI_PROVIDER_PATH", all, 1); /* it may be there and empty, which means unset */
    return;
  }
}
