/* SPDX-License-Identifier: Apache-2.0 */
/* weft_info.c - what this machine could use, in which order, and why not the rest.
 *
 * Design notes
 *   - Everything printed comes from the library: verdicts from weft_candidates, help from
 *     weft_why_help, options from weft_option. The tool holds no table of its own.
 *   - The exit status is for scripts: 0 only when something is usable.
 *   - Public API only (and libfabric for its version), as any user could write it. */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <rdma/fabric.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "weft.h"

enum { EXIT_USABLE = 0, EXIT_NONE = 1, EXIT_USAGE = 2 };

static const char usage[] =
    "Usage: weft_info [-v | -e | -l] [-j]\n"
    "\n"
    "Lists the transports that Weft could use on this machine: the usable ones in the order in\n"
    "which Weft would take them, then the rejected ones, each with its reason.\n"
    "\n"
    "  -v, --verbose    everything about each candidate, and what to do about the rejected ones\n"
    "  -e, --env        all options: help, environment variable, value in use\n"
    "  -l, --libraries  versions of Weft, libfabric, libuv and the kernel\n"
    "  -j, --json       as JSON\n"
    "  -h, --help       this text\n"
    "      --version    the version of Weft\n"
    "\n"
    "The options of -e narrow the list, as they would for a program:\n"
    "  WEFT_PROVIDERS=tcp WEFT_DEVICES=eth0 weft_info\n"
    "\n"
    "Exit status: 0 when something is usable, 1 when nothing is, 2 for a wrong command line.\n";

/* ---- Text and JSON ---- */

static void put_json_string(const char *s) {
  putchar('"');
  for (; *s != '\0'; s++) {
    unsigned char c = (unsigned char) *s;
    if (c == '"' || c == '\\')
      printf("\\%c", c);
    else if (c < 0x20 || c == 0x7f)
      printf("\\u%04x", c);
    else
      putchar(c);
  }
  putchar('"');
}

/* "key": "value" */
static void put_json_pair(const char *key, const char *value, const char *after) {
  put_json_string(key);
  fputs(": ", stdout);
  put_json_string(value);
  fputs(after, stdout);
}

/* "4.5 us"; "-" for what is not known. */
static const char *scaled(uint64_t value, const char *const *units, char *buf, size_t len) {
  double v = (double) value;
  unsigned i = 0;

  if (value == 0)
    return "-";
  while (v >= 999.5 && units[i + 1] != NULL) {
    v /= 1000;
    i++;
  }
  snprintf(buf, len, v < 999.5 ? "%.3g %s" : "%.0f %s", v, units[i]);
  return buf;
}

static const char *duration(uint64_t ns, char *buf, size_t len) {
  static const char *const units[] = {"ns", "us", "ms", "s", NULL};
  return scaled(ns, units, buf, len);
}

static const char *rate(uint64_t bytes_per_s, char *buf, size_t len) {
  static const char *const units[] = {"B/s", "kB/s", "MB/s", "GB/s", NULL};
  return scaled(bytes_per_s, units, buf, len);
}

/* Break a long text at blanks; every line but the first is indented. */
static void put_wrapped(const char *s, size_t indent, size_t width) {
  size_t column = indent;

  while (*s != '\0') {
    size_t word = strcspn(s, " ");
    if (column > indent && column + 1 + word > width) {
      printf("\n%*s", (int) indent, "");
      column = indent;
    } else if (column > indent) {
      putchar(' ');
      column++;
    }
    printf("%.*s", (int) word, s);
    column += word;
    s += word;
    s += strspn(s, " ");
  }
  putchar('\n');
}

/* ---- Candidates ---- */

static const char *or_dash(const char *s) {
  return *s != '\0' ? s : "-";
}

static int longer(int width, const char *s) {
  int n = (int) strlen(or_dash(s));
  return n > width ? n : width;
}

static void print_lines(const weft_verdict_t *v, unsigned n) {
  int provider = 8, device = 6, address = 7;
  unsigned i, rejected = 0;
  char a[24], b[24];

  for (i = 0; i < n; i++) {
    provider = longer(provider, v[i].provider);
    device = longer(device, v[i].device);
    address = longer(address, v[i].local);
  }
  printf("%-4s  %-*s  %-*s  %-*s  %-8s  %-9s  %s\n", "RANK", provider, "PROVIDER", device, "DEVICE",
         address, "ADDRESS", "RTT", "BANDWIDTH", "WHY");
  for (i = 0; i < n; i++) {
    char rank[16] = "-";
    if (v[i].rank >= 0)
      snprintf(rank, sizeof(rank), "%d", v[i].rank);
    else
      rejected++;
    printf("%-4s  %-*s  %-*s  %-*s  %-8s  %-9s  ", rank, provider, or_dash(v[i].provider), device,
           or_dash(v[i].device), address, or_dash(v[i].local),
           duration(v[i].latency_ns, a, sizeof(a)), rate(v[i].bandwidth, b, sizeof(b)));
    if (v[i].rank >= 0)
      printf("%s\n", v[i].detail);
    else
      printf("%s: %s\n", weft_why_name(v[i].why), v[i].detail);
  }
  if (rejected > 0)
    printf("\n%u rejected: weft_info -v says what to do about each.\n", rejected);
}

static void print_block(const weft_verdict_t *v) {
  char a[24], b[24];

  if (v->rank >= 0)
    printf("%s%s%s: rank %d\n", v->provider, *v->device != '\0' ? " " : "", v->device, v->rank);
  else
    printf("%s%s%s: not usable\n", v->provider, *v->device != '\0' ? " " : "", v->device);
  printf("  reason     %s\n", weft_why_name(v->why));
  fputs("  detail     ", stdout);
  put_wrapped(or_dash(v->detail), 13, 100);
  if (v->rank < 0) {
    fputs("  what to do ", stdout);
    put_wrapped(weft_why_help(v->why), 13, 100);
  }
  if (*v->local != '\0')
    printf("  address    %s\n", v->local);
  if (v->latency_ns != 0)
    printf("  round trip %s expected\n", duration(v->latency_ns, a, sizeof(a)));
  if (v->bandwidth != 0)
    printf("  bandwidth  %s expected\n", rate(v->bandwidth, b, sizeof(b)));
}

static void print_json(const weft_verdict_t *v, unsigned n, unsigned usable) {
  unsigned i;

  printf("{\n  ");
  put_json_pair("weft", weft_version(), ",\n  ");
  printf("\"usable\": %u,\n  \"candidates\": [", usable);
  for (i = 0; i < n; i++) {
    printf("%s\n    {\"rank\": %d, ", i > 0 ? "," : "", v[i].rank);
    put_json_pair("provider", v[i].provider, ", ");
    put_json_pair("device", v[i].device, ", ");
    put_json_pair("address", v[i].local, ",\n     ");
    put_json_pair("why", weft_why_name(v[i].why), ", ");
    put_json_pair("detail", v[i].detail, ",\n     ");
    put_json_pair("help", weft_why_help(v[i].why), ",\n     ");
    printf("\"latency_ns\": %" PRIu64 ", \"bandwidth\": %" PRIu64 "}", v[i].latency_ns,
           v[i].bandwidth);
  }
  printf("%s]\n}\n", n > 0 ? "\n  " : "");
}

/* All verdicts in memory of malloc, their number in *n; NULL when that fails, with the error in *n.
 * The list can grow between two calls (a device appears), so ask until it fits. */
static weft_verdict_t *candidates(int *n) {
  weft_verdict_t *list = NULL;
  int cap = 32;

  while (1) {
    weft_verdict_t *more = realloc(list, (size_t) cap * sizeof(*list));
    if (more == NULL) {
      *n = UV_ENOMEM;
      break;
    }
    list = more;
    *n = weft_candidates(NULL, list, sizeof(*list), (unsigned) cap);
    if (*n < 0)
      break;
    if (*n <= cap)
      return list;
    cap = *n + 8;
  }
  free(list);
  return NULL;
}

static int show_candidates(int verbose, int json) {
  weft_verdict_t *list;
  unsigned usable = 0;
  int i, n;

  list = candidates(&n);
  if (list == NULL) {
    fprintf(stderr, "weft_info: weft_candidates: %s (%s)\n", weft_strerror(n), weft_err_name(n));
    return EXIT_NONE;
  }
  for (i = 0; i < n; i++)
    usable += list[i].rank >= 0;
  if (json) {
    print_json(list, (unsigned) n, usable);
  } else if (verbose) {
    for (i = 0; i < n; i++) {
      if (i > 0)
        putchar('\n');
      print_block(&list[i]);
    }
  } else {
    print_lines(list, (unsigned) n);
  }
  free(list);
  if (usable == 0)
    fprintf(stderr, "weft_info: nothing is usable on this machine%s\n",
            verbose || json ? "" : "; weft_info -v says what to do");
  return usable > 0 ? EXIT_USABLE : EXIT_NONE;
}

/* ---- Options ---- */

static const char *env_name(const char *option, char *buf, size_t len) {
  size_t i;

  snprintf(buf, len, "WEFT_%s", option);
  for (i = 0; buf[i] != '\0'; i++)
    buf[i] = (char) toupper((unsigned char) buf[i]);
  return buf;
}

/* A value in use and where it comes from. A bad one in the environment is told in place, as the
 * library would ignore it. */
struct setting {
  const char *value;
  const char *origin;
};

static struct setting setting_of(const char *name, const char *deflt, const char *env) {
  struct setting s = {deflt, "default"};
  const char *val = getenv(env);
  weft_opts_t scratch;

  memset(&scratch, 0, sizeof(scratch));
  scratch.size = sizeof(scratch);
  if (val != NULL && weft_opts_set(&scratch, name, val) == 0) {
    s.value = val;
    s.origin = "environment";
  } else if (val != NULL) {
    s.origin = "default, because the environment's value is bad";
  }
  return s;
}

static int show_options(int json) {
  const char *name, *deflt, *help;
  char env[64];
  unsigned i;

  if (json)
    printf("{\n  \"options\": [");
  for (i = 0; weft_option(i, &name, &deflt, &help) == 0; i++) {
    struct setting s = setting_of(name, deflt, env_name(name, env, sizeof(env)));
    if (json) {
      printf("%s\n    {", i > 0 ? "," : "");
      put_json_pair("name", name, ", ");
      put_json_pair("env", env, ", ");
      put_json_pair("value", s.value, ", ");
      put_json_pair("default", deflt, ", ");
      put_json_pair("origin", s.origin, ",\n     ");
      put_json_pair("help", help, "}");
    } else {
      printf("# %s\n# (%s", help, s.origin);
      if (strcmp(s.origin, "environment") == 0)
        printf("; the default is '%s'", deflt);
      printf(")\n%s=%s\n\n", env, s.value);
    }
  }
  if (json) {
    printf("\n  ]\n}\n");
    return 0;
  }
  printf("# Least severe level that is logged: error, warn, info or debug.\n# (%s)\nWEFT_LOG=%s\n\n"
         "# Where libfabric looks for providers that are files of their own, in front of its own.\n"
         "# (libfabric's)\nFI_PROVIDER_PATH=%s\n\n"
         "# Providers that libfabric may load, or with ^ in front: may not.\n"
         "# (libfabric's)\nFI_PROVIDER=%s\n",
         getenv("WEFT_LOG") != NULL ? "environment" : "default",
         getenv("WEFT_LOG") != NULL ? getenv("WEFT_LOG") : "warn",
         getenv("FI_PROVIDER_PATH") != NULL ? getenv("FI_PROVIDER_PATH") : "",
         getenv("FI_PROVIDER") != NULL ? getenv("FI_PROVIDER") : "");
  return 0;
}

/* ---- Versions ---- */

static int show_libraries(int json) {
  char fabric[32], fabric_built[32], built[32];
  uint32_t running = fi_version();
  struct utsname os;

  if (uname(&os) != 0)
    memset(&os, 0, sizeof(os));
  snprintf(built, sizeof(built), "%d.%d.%d", WEFT_VERSION_MAJOR, WEFT_VERSION_MINOR,
           WEFT_VERSION_PATCH);
  snprintf(fabric, sizeof(fabric), "%u.%u", FI_MAJOR(running), FI_MINOR(running));
  snprintf(fabric_built, sizeof(fabric_built), "%d.%d", FI_MAJOR_VERSION, FI_MINOR_VERSION);
  if (json) {
    printf("{");
    put_json_pair("weft", weft_version(), ", ");
    put_json_pair("libfabric", fabric, ", ");
    put_json_pair("libuv", uv_version_string(), ", ");
    put_json_pair("kernel", os.release, ", ");
    put_json_pair("machine", os.machine, "}\n");
    return 0;
  }
  printf("weft       %s%s%s\n", weft_version(),
         strcmp(weft_version(), built) != 0 ? ", this tool was built with " : "",
         strcmp(weft_version(), built) != 0 ? built : "");
  printf("libfabric  %s%s%s\n", fabric,
         strcmp(fabric, fabric_built) != 0 ? ", this tool was built with " : "",
         strcmp(fabric, fabric_built) != 0 ? fabric_built : "");
  printf("libuv      %s\n", uv_version_string());
  printf("kernel     %s %s %s\n", os.sysname, os.release, os.machine);
  return 0;
}

int main(int argc, char **argv) {
  static const struct option longs[] = {
      {"verbose", no_argument, NULL, 'v'},
      {"env", no_argument, NULL, 'e'},
      {"libraries", no_argument, NULL, 'l'},
      {"json", no_argument, NULL, 'j'},
      {"help", no_argument, NULL, 'h'},
      {"version", no_argument, NULL, 'V'},
      {NULL, 0, NULL, 0},
  };
  int c, rc, json = 0, what = 0;

  while ((c = getopt_long(argc, argv, "veljh", longs, NULL)) != -1) {
    switch (c) {
    case 'j': json = 1; break;
    case 'v':
    case 'e':
    case 'l':
      if (what != 0 && what != c) {
        fprintf(stderr, "weft_info: one of -v, -e and -l at a time\n");
        return EXIT_USAGE;
      }
      what = c;
      break;
    case 'h': fputs(usage, stdout); return 0;
    case 'V': printf("weft_info %s\n", weft_version()); return 0;
    default: fprintf(stderr, "Try weft_info --help.\n"); return EXIT_USAGE;
    }
  }
  if (optind < argc) {
    fprintf(stderr, "weft_info: unexpected '%s'\nTry weft_info --help.\n", argv[optind]);
    return EXIT_USAGE;
  }

  if (what == 'e')
    rc = show_options(json);
  else if (what == 'l')
    rc = show_libraries(json);
  else
    rc = show_candidates(what == 'v', json);

  if (fflush(stdout) != 0 || ferror(stdout)) {
    fprintf(stderr, "weft_info: writing: %s\n", strerror(errno));
    return EXIT_NONE;
  }
  return rc;
}
