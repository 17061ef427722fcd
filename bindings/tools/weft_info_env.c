/* SPDX-License-Identifier: Apache-2.0 */
/* weft_info_env.c - -e, the settings with the values in use; -l, the versions of what is below. */
#include <ctype.h>
#include <rdma/fabric.h>
#include <rdma/fi_errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "weft_info.h"

/* ---- Settings ---- */

static const char *env_name(const char *option, char *buf, size_t len) {
  size_t i;

  snprintf(buf, len, "WEFT_%s", option);
  for (i = 0; buf[i] != '\0'; i++) buf[i] = (char) toupper((unsigned char) buf[i]);
  return buf;
}

/* Where the value in use comes from. A bad one in the environment is told in place: the library
 * ignores it. */
static const char *origin(const info_args_t *args, const char *name, const char *env) {
  const char *val = getenv(env);
  weft_opts_t scratch;

  if ((args->provider != NULL && strcmp(name, "providers") == 0) ||
      (args->device != NULL && strcmp(name, "devices") == 0))
    return "command line";
  if (val == NULL) return "default";
  memset(&scratch, 0, sizeof(scratch));
  scratch.size = sizeof(scratch);
  return weft_opts_set(&scratch, name, val) == 0
             ? "environment"
             : "default, because the environment's value is bad";
}

/* Variables that are not options of a context; the words of libfabric's are its own. */
static const struct variable {
  const char *name, *deflt, *help;
} variables[] = {
    {"WEFT_LOG", "warn", "Least severe level that is logged: error, warn, info or debug."},
    {"FI_PROVIDER_PATH", "",
     "Where libfabric looks for providers that are files of their own, in place of its own "
     "folder."},
    {"FI_PROVIDER", "", "Providers that libfabric may load, or with ^ in front: may not."},
    {"FI_TCP_IFACE", "", "The one network interface that libfabric's tcp uses."},
};

static void put_setting(json_t *list, const char *name, const char *env, const char *value,
                        const char *deflt, const char *from, const char *help) {
  if (list != NULL) {
    json_array_append_new(list,
                          json_pack("{so so so so so so}", "name", info_json_text(name), "env",
                                    info_json_text(env), "value", info_json_text(value), "default",
                                    info_json_text(deflt), "origin", info_json_text(from), "help",
                                    info_json_text(help)));
    return;
  }
  printf("# %s\n# (%s", help, from);
  if (strcmp(from, "default") != 0) printf("; the default is '%s'", deflt);
  printf(")\n%s=%s\n\n", env, value);
}

int info_env(const info_args_t *args) {
  const char *name, *deflt, *help;
  json_t *list = args->json ? json_array() : NULL;
  char env[64], value[WEFT_LIST_MAX];
  unsigned i;

  for (i = 0; weft_option(i, &name, &deflt, &help) == 0; i++) {
    size_t len = sizeof(value);
    int err = weft_opts_get(&args->opts, name, value, &len);
    if (err != 0) {
      fprintf(stderr, "weft_info: the option %s cannot be read: %s\n", name, weft_strerror(err));
      json_decref(list);
      return EXIT_NONE;
    }
    env_name(name, env, sizeof(env));
    put_setting(list, name, env, value, deflt, origin(args, name, env), help);
  }
  for (i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
    const struct variable *v = &variables[i];
    const char *val = getenv(v->name);
    put_setting(list, "", v->name, val != NULL ? val : v->deflt, v->deflt,
                val != NULL ? "environment" : "default", v->help);
  }
  if (list != NULL) info_json_print(json_pack("{ss so}", "weft", weft_version(), "options", list));
  return 0;
}

/* ---- Versions ---- */

/* Each provider that libfabric has, once; libfabric lists one per way of using it. */
static json_t *providers(void) {
  struct fi_info *all = NULL, *i;
  json_t *list = json_object();
  char version[32];
  int r = fi_getinfo(FI_VERSION(FI_MAJOR_VERSION, FI_MINOR_VERSION), NULL, NULL, FI_PROV_ATTR_ONLY,
                     NULL, &all);

  if (r != 0) fprintf(stderr, "weft_info: fi_getinfo: %s\n", fi_strerror(-r));
  for (i = r == 0 ? all : NULL; i != NULL; i = i->next) {
    const struct fi_fabric_attr *f = i->fabric_attr;
    snprintf(version, sizeof(version), "%u.%u", FI_MAJOR(f->prov_version),
             FI_MINOR(f->prov_version));
    if (json_object_get(list, f->prov_name) == NULL)
      json_object_set_new(list, f->prov_name, json_string(version));
  }
  if (r == 0) fi_freeinfo(all);
  return list;
}

static void put_version(const char *what, const char *running, const char *built) {
  printf("%-11s%s", what, running);
  if (built != NULL && strcmp(running, built) != 0) printf(", this tool was built with %s", built);
  putchar('\n');
}

int info_libraries(const info_args_t *args) {
  char fabric[32], fabric_built[32], built[32], kernel[200];
  uint32_t running = fi_version();
  json_t *provs = providers(), *version;
  struct utsname os;
  const char *name;

  if (uname(&os) != 0) memset(&os, 0, sizeof(os));
  snprintf(built, sizeof(built), "%d.%d.%d", WEFT_VERSION_MAJOR, WEFT_VERSION_MINOR,
           WEFT_VERSION_PATCH);
  snprintf(fabric, sizeof(fabric), "%u.%u", FI_MAJOR(running), FI_MINOR(running));
  snprintf(fabric_built, sizeof(fabric_built), "%d.%d", FI_MAJOR_VERSION, FI_MINOR_VERSION);
  snprintf(kernel, sizeof(kernel), "%s %s %s", os.sysname, os.release, os.machine);
  if (args->json) {
    info_json_print(json_pack("{ss ss ss ss ss so}", "weft", weft_version(), "libfabric", fabric,
                              "libuv", uv_version_string(), "jansson", jansson_version_str(),
                              "kernel", kernel, "providers", provs));
    return 0;
  }
  put_version("weft", weft_version(), built);
  put_version("libfabric", fabric, fabric_built);
  put_version("libuv", uv_version_string(), NULL);
  put_version("jansson", jansson_version_str(), JANSSON_VERSION);
  put_version("kernel", kernel, NULL);
  printf("\nproviders of libfabric:\n");
  json_object_foreach(provs, name, version)
      printf("  %-24s %s\n", name, json_string_value(version));
  json_decref(provs);
  return 0;
}
