/* SPDX-License-Identifier: Apache-2.0 */
/* weft_perf.c - the tool: how fast is Weft between two hosts, beside what sockets and libfabric do
 * there. Options follow fi_pingpong, fio and iperf3 where they have a name for the thing. */
#include "weft_perf.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "weft_perf_print.h"

#define MAX_SIZES    16
#define MAX_NEEDS    16
#define MAX_BLOCKS   (MAX_SIZES * PERF_TESTS)
#define DEFAULT_PORT "7471"

static const char help[] =
    "Usage:\n"
    "  weft_perf --server [--listen HOST:PORT] [OPTIONS]   echo and count until stopped\n"
    "  weft_perf HOST:PORT [OPTIONS]                       measure\n"
    "\n"
    "Tests and their length\n"
    "  -t, --test LIST       of rtt (round trip), rate (one way, small), bw (bandwidth)\n"
    "  -S, --size LIST       message sizes, as 64,4k,1MiB (rtt 64, rate 64, bw 1MiB)\n"
    "  -w, --window N        messages in flight (bw 16; rate: as many as Weft takes)\n"
    "  -d, --duration S      seconds of one measurement (2)\n"
    "  -r, --rounds N        measure each N times and print medians (1; with --floor 5)\n"
    "      --floor           alternately with Weft, raw libfabric and raw sockets on the same\n"
    "                        path; the server stands still for others meanwhile\n"
    "How\n"
    "      --spin, --sleep   burn CPU for latency, or never (spin); floors follow\n"
    "      --bind ADDRESS    local address to use\n"
    "      --qos KEY=VALUE   a need, as latency=20us or standby=0; repeatable\n"
    "      --option KEY=VALUE  an option of the context, as max_message=2GiB; repeatable\n"
    "Output\n"
    "  -j, --json            one JSON document on standard output\n"
    "  -q, --quiet           no progress line, no line per connection\n"
    "  -V, --version   -h, --help\n"
    "\n"
    "RTT is the whole round trip, never its half. Ratios are medians over the rounds. Pin both\n"
    "ends for figures to quote: taskset -c 1 weft_perf ...\n"
    "Exit status: 0, 1 when something failed, 2 for bad arguments.\n"
    "\n"
    "  weft_perf --server --listen '*:" DEFAULT_PORT "'\n"
    "  weft_perf 10.9.1.2:" DEFAULT_PORT " --floor --test rtt --size 64,1k\n";

typedef struct options_s {
  int server, spin, floor, json, quiet;
  const char *target, *bind;
  unsigned rounds, window, tests;
  double seconds;
  size_t size[MAX_SIZES];
  unsigned sizes;
  const char *need[MAX_NEEDS]; /* KEY=VALUE, as in a URL */
  unsigned needs;
  weft_opts_t opts;
} options_t;

static options_t opt;
static int tty;

_Noreturn static void die(int status, const char *what, const char *arg) {
  fprintf(stderr, "weft_perf: %s%s%s\n", what, arg ? ": " : "", arg ? arg : "");
  exit(status);
}

/* ---- Arguments ---- */

static void set_option(char *text) {
  char *value = strchr(text, '=');
  if (!value) die(2, "not KEY=VALUE", text);
  *value++ = '\0';
  int rc = weft_opts_set(&opt.opts, text, value);
  if (rc) die(2, rc == UV_ENOENT ? "no such option" : "bad value for option", text);
}

static unsigned test_list(char *list) {
  unsigned set = 0;
  for (char *p = strtok(list, ","); p; p = strtok(NULL, ",")) {
    unsigned i = 0;
    while (i < PERF_TESTS && strcmp(p, perf_test_names[i])) i++;
    if (i == PERF_TESTS) die(2, "no such test (rtt, rate, bw)", p);
    set |= 1u << i;
  }
  return set;
}

static void size_list(char *list) {
  for (char *p = strtok(list, ","); p; p = strtok(NULL, ",")) {
    size_t size = perf_size_parse(p);
    if (size < 16 || opt.sizes == MAX_SIZES)
      die(2, opt.sizes == MAX_SIZES ? "too many sizes" : "not a size of at least 16 bytes", p);
    opt.size[opt.sizes++] = size;
  }
}

static double number(const char *text, double low, double high) {
  char *end;
  double v = strtod(text, &end);
  if (end == text || *end || v < low || v > high) die(2, "not a number in range", text);
  return v;
}

static void arguments(int argc, char **argv) {
  enum { SPIN = 256, SLEEP, FLOOR, BIND, QOS, OPTION };
  static const struct option longs[] = {{"server", no_argument, NULL, 's'},
                                        {"listen", required_argument, NULL, 'l'},
                                        {"test", required_argument, NULL, 't'},
                                        {"size", required_argument, NULL, 'S'},
                                        {"window", required_argument, NULL, 'w'},
                                        {"duration", required_argument, NULL, 'd'},
                                        {"rounds", required_argument, NULL, 'r'},
                                        {"floor", no_argument, NULL, FLOOR},
                                        {"spin", no_argument, NULL, SPIN},
                                        {"sleep", no_argument, NULL, SLEEP},
                                        {"bind", required_argument, NULL, BIND},
                                        {"qos", required_argument, NULL, QOS},
                                        {"option", required_argument, NULL, OPTION},
                                        {"json", no_argument, NULL, 'j'},
                                        {"quiet", no_argument, NULL, 'q'},
                                        {"version", no_argument, NULL, 'V'},
                                        {"help", no_argument, NULL, 'h'},
                                        {0}};
  opt.spin = 1;
  opt.seconds = 2;
  weft_opts_init(&opt.opts, sizeof(opt.opts));
  for (int c; (c = getopt_long(argc, argv, "sl:t:S:w:d:r:jqVh", longs, NULL)) != -1;) {
    switch (c) {
    case 's': opt.server = 1; break;
    case 'l':
      opt.server = 1;
      opt.target = optarg;
      break;
    case 't': opt.tests = test_list(optarg); break;
    case 'S': size_list(optarg); break;
    case 'w': opt.window = (unsigned) number(optarg, 1, 1024); break;
    case 'd': opt.seconds = number(optarg, 0.01, 86400); break;
    case 'r': opt.rounds = (unsigned) number(optarg, 1, PERF_MAX_ROUNDS); break;
    case 'j': opt.json = 1; break;
    case 'q': opt.quiet = 1; break;
    case FLOOR: opt.floor = 1; break;
    case SPIN: opt.spin = 1; break;
    case SLEEP: opt.spin = 0; break;
    case BIND: opt.bind = optarg; break;
    case QOS:
      if (opt.needs == MAX_NEEDS) die(2, "too many needs", optarg);
      opt.need[opt.needs++] = optarg;
      break;
    case OPTION: set_option(optarg); break;
    case 'V': printf("weft_perf %s\n", weft_version()); exit(0);
    case 'h': fputs(help, stdout); exit(0);
    default: die(2, "see --help", NULL);
    }
  }
  if (optind < argc && !opt.target) opt.target = argv[optind++];
  if (optind < argc) die(2, "one address only", argv[optind]);
  if (!opt.target && opt.server) opt.target = "*:" DEFAULT_PORT;
  if (!opt.target) die(2, "to which HOST:PORT? see --help", NULL);
  if (!opt.tests) opt.tests = (1u << PERF_TESTS) - 1;
  if (!opt.rounds) opt.rounds = opt.floor ? 5 : 1;
  if (opt.floor && opt.seconds > PERF_FLOOR_SECONDS)
    die(2, "a server lends its floor for 60 s at most", "--duration");
}

static void append(char *url, size_t len, const char *key, const char *value) {
  size_t n = strlen(url);
  int put = snprintf(url + n, len - n, "%c%s%s", strchr(url, '?') ? '&' : '?', key, value);
  if (put < 0 || (size_t) put >= len - n) die(2, "address too long", opt.target);
}

/* HOST, HOST:PORT, [IPv6]:PORT or a whole URL; then bind=, the needs, and how to wait. Both ends
 * speak for themselves. */
static void make_url(char *url, size_t len) {
  const char *bare = strstr(opt.target, "://") ? strstr(opt.target, "://") + 3 : opt.target;
  const char *after = strchr(bare, ']') ? strchr(bare, ']') : bare;
  size_t host = strcspn(bare, "?");
  int n = snprintf(url, len, "weft://%.*s%s%s", (int) host, bare,
                   strchr(after, ':') ? "" : ":" DEFAULT_PORT, bare + host);
  if (n < 0 || (size_t) n >= len) die(2, "address too long", opt.target);
  if (opt.bind) append(url, len, "bind=", opt.bind);
  for (unsigned i = 0; i < opt.needs; i++) append(url, len, "", opt.need[i]);
  if (!strstr(url, "?cpu=") && !strstr(url, "&cpu="))
    append(url, len, "cpu=", opt.spin ? "spin" : "sleep");
  char err[256];
  if (weft_url_parse(url, NULL, NULL, err, sizeof(err))) die(2, err, NULL);
}

/* ---- Server ---- */

static void on_ready(const char *url, void *arg) {
  (void) arg;
  printf("listening at %s\n", url);
  fflush(stdout);
}

/* ---- Client ---- */

static void clear_line(void) {
  if (tty) fputs("\r\033[K", stderr);
}

static void on_progress(const char *what, double share, void *arg) {
  const char *who = arg;
  static const char bar[] = "########################";
  if (tty)
    fprintf(stderr, "\r\033[K%s %s [%-24.*s] %3.0f %%", who, what, (int) (share * 24), bar,
            share * 100);
}

static void on_event(const weft_event_t *ev, void *arg) {
  (void) arg;
  clear_line();
  perf_print_event(stderr, ev);
}

static void check(perf_client_t *c, int rc) {
  if (rc == 0) return;
  clear_line();
  die(1, perf_client_error(c), NULL);
}

static void measure_weft(perf_client_t *c, const perf_block_t *b, perf_hist_t *rtt,
                         perf_rate_t *rate) {
  if (b->test == PERF_TEST_RTT)
    check(c, perf_client_pingpong(c, b->size, opt.seconds, rtt));
  else
    check(c, perf_client_stream(c, b->size, b->window, opt.seconds, rate));
}

static void measure_floor(perf_client_t *c, const perf_block_t *b, int kind, perf_hist_t *rtt,
                          perf_rate_t *rate) {
  perf_floor_spec_t spec = {.kind = kind, .size = b->size, .seconds = opt.seconds};
  weft_conn_info_t info;
  memset(&info, 0, sizeof(info));
  weft_conn_info(perf_client_conn(c), &info, sizeof(info));
  spec.shape = b->test == PERF_TEST_RTT ? PERF_FLOOR_PINGPONG : PERF_FLOOR_STREAM;
  spec.wait = opt.spin ? PERF_FLOOR_SPIN : PERF_FLOOR_SLEEP;
  spec.window = b->test == PERF_TEST_RTT ? 4 : b->window ? b->window : 64;
  while (b->test == PERF_TEST_RTT && spec.window > 1 && spec.window * b->size > PERF_FLOOR_BYTES)
    spec.window--; /* one message is in flight anyhow */
  snprintf(spec.provider, sizeof(spec.provider), "%s", *info.provider ? info.provider : "tcp");
  check(c, perf_client_floor(c, &spec));
  int rc =
      b->test == PERF_TEST_RTT ? perf_floor_pingpong(&spec, rtt) : perf_floor_stream(&spec, rate);
  if (rc) die(1, "the floor failed", strerror(-rc));
}

static void measure(perf_client_t *c, perf_block_t *b, perf_contender who) {
  static perf_hist_t rtt;
  perf_rate_t rate = {0};
  perf_ctl_t before, after;
  perf_result_t *r = b->by[who];
  if (!r && !(r = b->by[who] = calloc(1, sizeof(*r)))) die(1, "out of memory", NULL);
  if (r->rounds == 0) perf_hist_reset(&r->rtt);
  perf_hist_reset(&rtt);
  check(c, perf_client_report(c, &before));
  uint64_t cpu = perf_cpu_ns(), wall = perf_now();
  if (who == PERF_WEFT) {
    measure_weft(c, b, &rtt, &rate);
  } else {
    clear_line();
    if (tty) fprintf(stderr, "%s ...", perf_contender_names[who]);
    measure_floor(c, b, who == PERF_LIBFABRIC ? PERF_FLOOR_LIBFABRIC : PERF_FLOOR_SOCKETS, &rtt,
                  &rate);
  }
  r->cpu_client += perf_cpu_ns() - cpu;
  r->wall += perf_now() - wall;
  check(c, perf_client_report(c, &after));
  r->cpu_server += after.cpu_ns - before.cpu_ns;
  perf_hist_merge(&r->rtt, &rtt);
  r->rate.messages += rate.messages;
  r->rate.bytes += rate.bytes;
  r->rate.ns += rate.ns;
  r->value[r->rounds++] = b->test == PERF_TEST_RTT ? perf_hist_at(&rtt, 50)
                          : b->test == PERF_TEST_RATE
                              ? (double) rate.messages * 1e9 / (double) rate.ns
                              : (double) rate.bytes * 1e9 / (double) rate.ns;
}

static unsigned plan(perf_block_t *block) {
  static const size_t deflt[] = {64, 64, 1 << 20};
  unsigned n = 0;
  for (int test = 0; test < PERF_TESTS; test++) {
    for (unsigned i = 0; (opt.tests >> test & 1) && i < (opt.sizes ? opt.sizes : 1); i++) {
      perf_block_t *b = &block[n++];
      b->test = (perf_test) test;
      b->size = opt.sizes ? opt.size[i] : deflt[test];
      b->window = test == PERF_TEST_RTT ? 0 : opt.window;
      if (!b->window &&
          (test == PERF_TEST_BW || (test == PERF_TEST_RATE && b->size > PERF_TRY_MAX)))
        b->window = 16;
    }
  }
  return n;
}

static int client(const char *url) {
  static perf_block_t block[MAX_BLOCKS];
  unsigned blocks = plan(block);
  perf_client_opts_t copts = {.url = url,
                              .opts = &opt.opts,
                              .event = on_event,
                              .progress = tty ? on_progress : NULL,
                              .arg = (void *) perf_contender_names[PERF_WEFT]};
  perf_client_t *c;
  int rc = perf_client_open(&c, &copts);
  check(c, rc);
  if (!opt.json) {
    printf("weft_perf %s, %s\n", weft_version(), url);
    perf_print_paths(stdout, perf_client_conn(c));
  }
  for (unsigned i = 0; i < blocks; i++) {
    for (unsigned r = 0; r < opt.rounds; r++)
      for (int who = 0; who < (opt.floor ? PERF_CONTENDERS : 1); who++)
        measure(c, &block[i], (perf_contender) who);
    clear_line();
    if (!opt.json) {
      perf_print_block(stdout, &block[i]);
      fflush(stdout);
    }
  }
  if (opt.json) perf_print_json(stdout, block, blocks, perf_client_conn(c), opt.spin);
  perf_client_close(c);
  for (unsigned i = 0; i < blocks; i++)
    for (int who = 0; who < PERF_CONTENDERS; who++) free(block[i].by[who]);
  return 0;
}

int main(int argc, char **argv) {
  char url[512];
  arguments(argc, argv);
  tty = isatty(STDERR_FILENO) && !opt.quiet;
  make_url(url, sizeof(url));
  if (!opt.server) return client(url);
  perf_server_opts_t s = {
      .url = url, .opts = &opt.opts, .stop_fd = -1, .quiet = opt.quiet, .ready = on_ready};
  return perf_server_run(&s) ? 1 : 0;
}
