/* SPDX-License-Identifier: Apache-2.0 */
/* weft_info.c - what this machine could use, in which order, and why not the rest: the command
 * line. */
#include "weft_info.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "Usage:\n"
    "  weft_info [-v] [-j] [-p NAMES] [-d NAMES]     what this machine could use, best first\n"
    "  weft_info -e | -l [-j]                        settings; versions\n"
    "  weft_info --check URL [--echo] [NEEDS]        does each of it reach that server?\n"
    "  weft_info --explain URL [NEEDS]               what a connection chooses there, and why\n"
    "\n"
    "  -v, --verbose    everything about each candidate, and what to do about the rejected ones\n"
    "  -j, --json       as JSON, see docs/weft_info_json.md\n"
    "  -p, --provider   only these providers, comma-separated, as verbs,tcp\n"
    "  -d, --device     only these devices, comma-separated, as rxe0,eth0\n"
    "  -e, --env        all settings: help, environment variable, value in use\n"
    "  -l, --libraries  versions of Weft, libfabric and its providers, libuv and the kernel\n"
    "      --check      one connection over each usable candidate; delivers nothing to the server\n"
    "      --echo       with --check: also a message there and back; the server must echo\n"
    "      --explain    connect, and show each candidate's rank or reason, peer and limits\n"
    "  -h, --help       this text\n"
    "      --version    the version of Weft\n"
    "\n"
    "NEEDS are what weft(7) says may stand in a URL, as options:\n"
    "  --preset --latency --bandwidth --size --interruption --reliability --ack --cpu --spin\n"
    "  --strict --standby --require --forbid --bootstrap\n"
    "\n"
    "  weft_info --explain weft://10.9.1.2:7471 --latency 20us --strict yes\n"
    "\n"
    "Exit status: 0 when something is usable (--check: works), 1 when nothing is, 2 for a wrong\n"
    "command line.\n";

static const struct option longs[] = {
    {"verbose", no_argument, NULL, 'v'},
    {"json", no_argument, NULL, 'j'},
    {"provider", required_argument, NULL, 'p'},
    {"device", required_argument, NULL, 'd'},
    {"env", no_argument, NULL, 'e'},
    {"libraries", no_argument, NULL, 'l'},
    {"check", required_argument, NULL, 'C'},
    {"echo", no_argument, NULL, 'E'},
    {"explain", required_argument, NULL, 'X'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

_Noreturn static void wrong(const char *what, const char *arg) {
  fprintf(stderr, "weft_info: %s%s\n%s", what, arg, usage);
  exit(EXIT_USAGE);
}

/* Is `arg` --KEY or --KEY=VALUE of a need? The library knows the keys. */
static int is_need(const char *arg, char *key, size_t len) {
  weft_qos_t scratch;
  size_t n;

  if (strncmp(arg, "--", 2) != 0 || (n = strcspn(arg + 2, "=")) == 0 || n >= len) return 0;
  memcpy(key, arg + 2, n);
  key[n] = '\0';
  weft_qos_init(&scratch, sizeof(scratch));
  return weft_qos_set(&scratch, key, "") != UV_ENOENT;
}

/* Takes the needs out of the command line, before getopt sees it; they are not its to know. */
static int take_needs(int argc, char **argv, info_args_t *args) {
  static char keys[INFO_NEEDS][32];
  int i, kept = 1;

  for (i = 1; i < argc; i++) {
    char key[32];
    const char *eq = strchr(argv[i], '=');
    if (strcmp(argv[i], "--") == 0) break;
    if (!is_need(argv[i], key, sizeof(key))) {
      argv[kept++] = argv[i];
      continue;
    }
    if (args->needs == INFO_NEEDS) wrong("too many needs: ", argv[i]);
    if (eq == NULL && i + 1 == argc) wrong("a value must follow ", argv[i]);
    memcpy(keys[args->needs], key, sizeof(key));
    args->need[args->needs].key = keys[args->needs];
    args->need[args->needs++].value = eq != NULL ? eq + 1 : argv[++i];
  }
  for (; i < argc; i++) argv[kept++] = argv[i];
  argv[kept] = NULL;
  return kept;
}

static void narrow(info_args_t *args, const char *option, const char *value) {
  if (*value == '\0' || weft_opts_set(&args->opts, option, value) != 0)
    wrong(strcmp(option, "providers") == 0 ? "-p: not names separated by commas: "
                                           : "-d: not names separated by commas: ",
          value);
}

int main(int argc, char **argv) {
  static info_args_t args;
  int c, rc, what = 0;

  weft_opts_init(&args.opts, sizeof(args.opts));
  argc = take_needs(argc, argv, &args);
  while ((c = getopt_long(argc, argv, "vjp:d:elh", longs, NULL)) != -1) {
    switch (c) {
    case 'v': args.verbose = 1; break;
    case 'j': args.json = 1; break;
    case 'E': args.echo = 1; break;
    case 'p': narrow(&args, "providers", args.provider = optarg); break;
    case 'd': narrow(&args, "devices", args.device = optarg); break;
    case 'C':
    case 'X': args.url = optarg; /* fall through */
    case 'e':
    case 'l':
      if (what != 0 && what != c) wrong("one of -e, -l, --check and --explain at a time", "");
      what = c;
      break;
    case 'h': fputs(usage, stdout); return 0;
    case 'V': printf("weft_info %s\n", weft_version()); return 0;
    default: wrong("see what there is:", ""); /* getopt has named the option */
    }
  }
  if (optind < argc) wrong("unexpected: ", argv[optind]);
  if (args.verbose && (what == 'e' || what == 'l'))
    wrong("-v says nothing more of ", what == 'e' ? "-e" : "-l");
  if (args.echo && what != 'C') wrong("--echo goes with --check", "");
  if (args.needs > 0 && what != 'C' && what != 'X')
    wrong("needs go with --check and --explain: --", args.need[0].key);

  switch (what) {
  case 'e': rc = info_env(&args); break;
  case 'l': rc = info_libraries(&args); break;
  case 'C': rc = info_check(&args); break;
  case 'X': rc = info_explain(&args); break;
  default: rc = info_list(&args);
  }
  if (fflush(stdout) != 0 || ferror(stdout)) {
    fprintf(stderr, "weft_info: writing: %s\n", strerror(errno));
    return EXIT_NONE;
  }
  return rc;
}
