/* SPDX-License-Identifier: Apache-2.0 */
/* opts.c - the one table of options: name, unit, default, limits, help.
 *
 * Design notes
 *   - weft_opts_init, weft_opts_set, weft_opts_get, weft_option, the environment, weft_info -e and
 *     the docs all come from this table. The default is a text that weft_opts_set would take.
 *   - The order is default, environment, weft_opts_set. A bad value in the environment is told in
 *     the log by name and ignored: a typing error must not keep a service from starting.
 *   - A number needs its unit, except where the option's name carries it (_ms, _bytes).
 *   - An option that the caller's struct is too old (too small) to hold does not exist for him. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "units.h"
#include "weft.h"

enum kind { BYTES, COUNT, MS, LIST };

struct option {
  const char *name;
  enum kind kind;
  size_t offset;
  size_t width;
  const char *deflt;
  uint64_t min, max;
  const char *help;
};

#define OPTION(name, kind, deflt, min, max, help)                                                  \
  {                                                                                                \
#name, kind, offsetof(weft_opts_t, name), sizeof(((weft_opts_t *) 0)->name), deflt, min, max,  \
        help                                                                                       \
  }

#define KIB    UINT64_C(1024)
#define MIB    (KIB * KIB)
#define GIB    (MIB * KIB)
#define TIB    (GIB * KIB)
#define SECOND UINT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)

static const struct option options[] = {
    OPTION(max_message, BYTES, "64MiB", KIB, TIB, "Largest message accepted from a peer."),
    OPTION(window_bytes, BYTES, "4MiB", 64 * KIB, 4 * GIB,
           "Bytes of small messages that a peer may have in flight to us."),
    OPTION(window_messages, COUNT, "16384", 16, 1 << 24,
           "Messages that a peer may have in flight to us."),
    OPTION(send_queue, BYTES, "1MiB", 64 * KIB, TIB,
           "weft_try_send answers UV_EAGAIN while more than this is queued."),
    OPTION(pool_bytes, BYTES, "8GiB", MIB, TIB, "Most bytes of receive buffers a rail may hold."),
    OPTION(rx_depth, COUNT, "32", 8, 4096, "Receive buffers posted per path."),
    OPTION(tx_depth, COUNT, "64", 8, 4096, "Frames in flight per path."),
    OPTION(connect_timeout_ms, MS, "5s", 1, 24 * HOUR,
           "Longest wait of a connect, and of a peer to be accepted."),
    OPTION(handshake_timeout_ms, MS, "5s", 1, HOUR,
           "Longest wait for a peer that has begun its handshake to finish it."),
    OPTION(upgrade_budget_ms, MS, "250ms", 0, MINUTE,
           "Longest wait for better paths before a connection opens."),
    OPTION(peer_timeout_ms, MS, "30s", 100, 24 * HOUR,
           "The connection is lost when all paths are silent for this long."),
    OPTION(shutdown_timeout_ms, MS, "5s", 1, HOUR,
           "Longest wait of weft_shutdown for the peer to have everything."),
    OPTION(beat_ms, MS, "15s", 10, HOUR, "Heartbeat of an idle path."),
    OPTION(settle_ms, MS, "10s", 0, 10 * MINUTE,
           "A better path must live this long before sending moves back to it; doubles with each "
           "failure."),
    OPTION(tombstone_ms, MS, "60s", 0, HOUR,
           "How long a closed session is remembered, so that a lost last acknowledgement is no "
           "error."),
    OPTION(half_open_max, COUNT, "64", 1, 1 << 16,
           "Handshakes per source address that are unfinished or wait to be accepted."),
    OPTION(connect_retry_ms, MS, "0", 0, 24 * HOUR,
           "Keep trying to connect for this long while nobody listens yet."),
    OPTION(providers, LIST, "", 0, 0,
           "Only these libfabric providers are opened, comma-separated; empty: all that work."),
    OPTION(devices, LIST, "", 0, 0,
           "Only these devices (libfabric's domain names), comma-separated; empty: all."),
};

enum { OPTIONS = sizeof(options) / sizeof(options[0]) };

static int ends_with(const char *s, const char *tail) {
  size_t a = strlen(s), b = strlen(tail);
  return a >= b && strcmp(s + a - b, tail) == 0;
}

static int parse_number(const struct option *o, const char *val, uint64_t *out) {
  uint64_t ns;

  switch (o->kind) {
  case COUNT: return weft__parse_count(val, UINT64_MAX, out);
  case BYTES:
    if (ends_with(o->name, "_bytes") && weft__parse_count(val, UINT64_MAX, out) == 0) return 0;
    return weft__parse_bytes(val, out);
  case MS:
    if (weft__parse_count(val, UINT64_MAX, out) == 0) return 0;
    if (weft__parse_duration_ns(val, &ns) != 0) return UV_EINVAL;
    *out = ns / 1000000 + (ns % 1000000 != 0);
    return 0;
  case LIST: break;
  }
  return UV_EINVAL;
}

static int set(weft_opts_t *opts, const struct option *o, const char *val) {
  char *field = (char *) opts + o->offset;
  uint64_t value;
  uint32_t narrow;

  if (o->kind == LIST) {
    if (weft__check_list(val) != 0) return UV_EINVAL;
    memset(field, 0, o->width);
    memcpy(field, val, strlen(val));
    return 0;
  }
  if (parse_number(o, val, &value) != 0 || value < o->min || value > o->max) return UV_EINVAL;
  if (o->width == sizeof(value)) {
    memcpy(field, &value, sizeof(value));
    return 0;
  }
  narrow = (uint32_t) value; /* every 32-bit option's max fits */
  memcpy(field, &narrow, sizeof(narrow));
  return 0;
}

/* "a size with its unit, from 1 KiB to 1 TiB" */
static const char *expects(const struct option *o, char *buf, size_t len) {
  char a[24], b[24];

  switch (o->kind) {
  case BYTES:
    snprintf(buf, len, "a size with its unit, from %s to %s",
             weft__format_bytes(o->min, a, sizeof(a)), weft__format_bytes(o->max, b, sizeof(b)));
    break;
  case COUNT: snprintf(buf, len, "a number from %" PRIu64 " to %" PRIu64, o->min, o->max); break;
  case MS:
    snprintf(buf, len, "a duration with its unit, from %s to %s",
             weft__format_duration(o->min * 1000000, a, sizeof(a)),
             weft__format_duration(o->max * 1000000, b, sizeof(b)));
    break;
  case LIST: snprintf(buf, len, "names separated by commas, under %d bytes", WEFT_LIST_MAX); break;
  }
  return buf;
}

static void from_environment(weft_opts_t *opts, const struct option *o) {
  char name[64] = "WEFT_", wanted[96];
  size_t i, n = strlen(name);
  const char *val;

  for (i = 0; o->name[i] != '\0' && n + i < sizeof(name) - 1; i++)
    name[n + i] = (char) toupper((unsigned char) o->name[i]);
  val = getenv(name);
  if (val != NULL && set(opts, o, val) != 0)
    weft__warn("%s=%.100s is ignored: not %s", name, val, expects(o, wanted, sizeof(wanted)));
}

void weft_opts_init(weft_opts_t *opts, size_t sz) {
  size_t i;

  if (opts == NULL || sz < sizeof(opts->size)) return;
  memset(opts, 0, sz);
  opts->size = sz;
  for (i = 0; i < OPTIONS; i++) {
    const struct option *o = &options[i];
    if (o->offset + o->width > sz) continue;
    set(opts, o, o->deflt);
    from_environment(opts, o);
  }
}

int weft_opts_set(weft_opts_t *opts, const char *key, const char *val) {
  size_t i;

  if (opts == NULL || key == NULL || val == NULL) return UV_EINVAL;
  for (i = 0; i < OPTIONS; i++)
    if (strcmp(options[i].name, key) == 0) {
      if (options[i].offset + options[i].width > opts->size) return UV_ENOENT;
      return set(opts, &options[i], val);
    }
  return UV_ENOENT;
}

/* The shortest text with a unit that names the value exactly. */
static void print_value(uint64_t value, enum kind kind, char *buf, size_t len) {
  static const struct {
    enum kind kind;
    uint64_t factor;
    const char *unit;
  } units[] = {{BYTES, TIB, "TiB"}, {BYTES, GIB, "GiB"}, {BYTES, MIB, "MiB"}, {BYTES, KIB, "KiB"},
               {BYTES, 1, "B"},     {MS, SECOND, "s"},   {MS, 1, "ms"}};
  size_t i;

  for (i = 0; value != 0 && i < sizeof(units) / sizeof(units[0]); i++)
    if (units[i].kind == kind && value % units[i].factor == 0) {
      snprintf(buf, len, "%" PRIu64 "%s", value / units[i].factor, units[i].unit);
      return;
    }
  snprintf(buf, len, "%" PRIu64, value);
}

static void get(const weft_opts_t *opts, const struct option *o, char *buf, size_t len) {
  const char *field = (const char *) opts + o->offset;
  uint64_t value;
  uint32_t narrow;

  if (o->kind == LIST) {
    snprintf(buf, len, "%.*s", (int) o->width - 1, field);
    return;
  }
  if (o->width == sizeof(value)) {
    memcpy(&value, field, sizeof(value));
  } else {
    memcpy(&narrow, field, sizeof(narrow));
    value = narrow;
  }
  print_value(value, o->kind, buf, len);
}

int weft_opts_get(const weft_opts_t *opts, const char *key, char *buf, size_t *len) {
  char text[WEFT_LIST_MAX];
  size_t i, room, n;

  if (opts == NULL || key == NULL || len == NULL || (buf == NULL && *len != 0)) return UV_EINVAL;
  for (i = 0; i < OPTIONS; i++)
    if (strcmp(options[i].name, key) == 0) break;
  if (i == OPTIONS || options[i].offset + options[i].width > opts->size) return UV_ENOENT;
  get(opts, &options[i], text, sizeof(text));
  room = *len;
  *len = n = strlen(text);
  if (n >= room) return UV_ENOBUFS;
  memcpy(buf, text, n + 1);
  return 0;
}

int weft_option(unsigned i, const char **name, const char **deflt, const char **help) {
  if (i >= OPTIONS) return UV_ENOENT;
  if (name != NULL) *name = options[i].name;
  if (deflt != NULL) *deflt = options[i].deflt;
  if (help != NULL) *help = options[i].help;
  return 0;
}

size_t weft_size(weft_size_id id) {
  switch (id) {
  case WEFT_SIZE_CONTEXT: return sizeof(weft_t);
  case WEFT_SIZE_LISTENER: return sizeof(weft_listener_t);
  case WEFT_SIZE_CONN: return sizeof(weft_conn_t);
  case WEFT_SIZE_CONNECT: return sizeof(weft_connect_t);
  case WEFT_SIZE_SEND: return sizeof(weft_send_t);
  case WEFT_SIZE_SHUTDOWN: return sizeof(weft_shutdown_t);
  case WEFT_SIZE_POST: return sizeof(weft_post_t);
  case WEFT_SIZE_OPTS: return sizeof(weft_opts_t);
  case WEFT_SIZE_QOS: return sizeof(weft_qos_t);
  case WEFT_SIZE_VERDICT: return sizeof(weft_verdict_t);
  case WEFT_SIZE_PEER: return sizeof(weft_peer_t);
  case WEFT_SIZE_EVENT: return sizeof(weft_event_t);
  case WEFT_SIZE_INFO: return sizeof(weft_conn_info_t);
  case WEFT_SIZE_ADDR: return sizeof(weft_addr_t);
  }
  return 0;
}

_Static_assert(sizeof(weft_t) == 64, "handles are 64 bytes");
_Static_assert(sizeof(weft_listener_t) == 64, "handles are 64 bytes");
_Static_assert(sizeof(weft_conn_t) == 64, "handles are 64 bytes");
_Static_assert(sizeof(weft_connect_t) == 128, "requests are 128 bytes");
_Static_assert(sizeof(weft_send_t) == 128, "requests are 128 bytes");
_Static_assert(sizeof(weft_shutdown_t) == 128, "requests are 128 bytes");
_Static_assert(sizeof(weft_post_t) == 128, "requests are 128 bytes");
