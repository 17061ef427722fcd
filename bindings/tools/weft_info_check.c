/* SPDX-License-Identifier: Apache-2.0 */
/* weft_info_check.c - --check URL: does each candidate of this machine reach that server?
 *
 * Design notes
 *   - One connection for each usable candidate, after each other, best first: require= its
 *     provider, devices= its device and bind= its address leave nothing else to run on. Where the
 *     provider does not speak TCP (verbs), the first contact has to go over one that does, so only
 *     require= and devices= can be given, with the devices of the first contact in them.
 *   - "ok" is more than a handshake: the path in use is the candidate's, and the peer's session has
 *     acknowledged the end of the stream. Nothing is delivered to the server's program, see
 *     weft_info_conn.c. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weft_info.h"

typedef struct result {
  int ok;
  int err; /* UV_E* or WEFT_E*, 0 when it is ok or has no code */
  int tried;
  char detail[400]; /* the path, or the whole sentence */
  char path[200];
  char peer[64];
  uint64_t connect_ns, rtt_ns, echo_ns;
} result_t;

/* In a list of the needs, or not? */
static int in_list(const char *list, const char *name) {
  size_t len = strlen(name);
  const char *p;

  for (p = list; p != NULL && *p != '\0'; p = strchr(p, ',')) {
    p += *p == ',';
    if (strncmp(p, name, len) == 0 && (p[len] == '\0' || p[len] == ',')) return 1;
  }
  return 0;
}

/* Appends an address as a URL has it: an IPv6 one in brackets, its zone behind %25. */
static void append_host(char *url, size_t len, const char *host) {
  size_t n = strlen(url);
  int bracket = strchr(host, ':') != NULL && *host != '[';

  if (bracket && n + 1 < len) url[n++] = '[';
  for (; *host != '\0' && n + 4 < len; host++) {
    url[n++] = *host;
    if (*host == '%') {
      url[n++] = '2';
      url[n++] = '5';
    }
  }
  if (bracket && n + 1 < len) url[n++] = ']';
  url[n] = '\0';
}

/* The URL that leaves only this candidate. */
static void narrow(const weft_addr_t *addr, const weft_verdict_t *list, int n,
                   const weft_verdict_t *v, char *url, size_t len) {
  char devices[WEFT_LIST_MAX];
  size_t used;
  int i;

  snprintf(devices, sizeof(devices), "%s", v->device);
  for (i = 0; i < n && !(v->traits & WEFT_TRAIT_BOOTSTRAP); i++)
    if (list[i].rank >= 0 && (list[i].traits & WEFT_TRAIT_BOOTSTRAP) &&
        !in_list(devices, list[i].device) &&
        strlen(devices) + strlen(list[i].device) + 1 < sizeof(devices)) {
      strcat(devices, ",");
      strcat(devices, list[i].device);
    }
  snprintf(url, len, "weft://");
  append_host(url, len, addr->host);
  used = strlen(url);
  snprintf(url + used, len - used, ":%u?devices=%s", addr->port, devices);
  if (v->traits & WEFT_TRAIT_BOOTSTRAP) {
    used = strlen(url);
    snprintf(url + used, len - used, "&bind=");
    append_host(url, len, v->local);
  }
}

/* Where the host is a number, it is known beforehand. */
static int families_differ(const char *host, const char *local) {
  struct in_addr v4;
  int own6 = *local == '[';

  if (strchr(host, ':') != NULL) return !own6;
  return own6 && inet_pton(AF_INET, host, &v4) == 1;
}

/* The URL and the needs speak against it, so it is not tried. */
static int excluded(const weft_addr_t *addr, const weft_qos_t *qos, const weft_verdict_t *v,
                    char *why, size_t len) {
  char bound[80] = "";

  append_host(bound, sizeof(bound), addr->bind);
  if (families_differ(addr->host, v->local))
    snprintf(why, len, "an address of another family than %s", addr->host);
  else if (*qos->require != '\0' && !in_list(qos->require, v->provider))
    snprintf(why, len, "%s: require=%s", weft_why_name(WEFT_WHY_NOT_REQUIRED), qos->require);
  else if (in_list(qos->forbid, v->provider))
    snprintf(why, len, "%s: forbid=%s", weft_why_name(WEFT_WHY_FORBIDDEN), qos->forbid);
  else if (*addr->devices != '\0' && !in_list(addr->devices, v->device))
    snprintf(why, len, "%s: devices=%s", weft_why_name(WEFT_WHY_DEVICE_FILTER), addr->devices);
  else if (*addr->bind != '\0' && (v->traits & WEFT_TRAIT_BOOTSTRAP)) {
    char own[90] = "";
    append_host(own, sizeof(own), v->local);
    if (strcmp(own, bound) == 0) return 0;
    snprintf(why, len, "bind=%s", addr->bind);
  } else
    return 0;
  return 1;
}

static void try_one(info_net_t *net, const info_args_t *args, const char *url,
                    const weft_qos_t *needs, const weft_verdict_t *v, result_t *r) {
  weft_qos_t qos = *needs;
  weft_conn_info_t info;
  info_conn_t c;

  snprintf(qos.require, sizeof(qos.require), "%s", v->provider);
  qos.standby = 0;
  r->tried = 1;
  r->err = info_dial(net, &c, url, &qos);
  r->connect_ns = c.connect_ns;
  if (r->err != 0) {
    const char *sentence = weft_conn_error(&c.handle);
    snprintf(r->detail, sizeof(r->detail), "%s",
             *sentence != '\0' ? sentence : weft_strerror(r->err));
    info_hang_up(net, &c);
    return;
  }
  memset(&info, 0, sizeof(info));
  weft_conn_info(&c.handle, &info, sizeof(info));
  snprintf(r->peer, sizeof(r->peer), "%s", info.peer_name);
  snprintf(r->path, sizeof(r->path), "%s -> %s", info.local, info.remote);
  r->ok = 1;
  if (strcmp(info.provider, v->provider) != 0 || strcmp(info.device, v->device) != 0) {
    r->ok = 0;
    snprintf(r->detail, sizeof(r->detail), "it connected, but over %s %s: %s", info.provider,
             info.device, r->path);
  } else if (args->echo) {
    r->echo_ns = info_echo(net, &c, r->detail, sizeof(r->detail));
    r->ok = r->echo_ns != 0;
  }
  r->rtt_ns = info_hang_up(net, &c);
  if (r->ok && r->rtt_ns == 0) {
    r->ok = 0;
    r->err = c.shut_status;
    snprintf(r->detail, sizeof(r->detail),
             "it connected, and the end of the stream was not acknowledged: %s",
             weft_strerror(c.shut_status));
  }
  if (r->ok) snprintf(r->detail, sizeof(r->detail), "ok: %s", r->path);
}

/* ---- Output ---- */

static json_t *result_json(const weft_verdict_t *v, const result_t *r) {
  json_t *j = json_object();

#define SET(key, value) json_object_set_new(j, key, value)
  SET("rank", json_integer(v->rank));
  SET("provider", info_json_text(v->provider));
  SET("device", info_json_text(v->device));
  SET("local", info_json_text(v->local));
  SET("tried", json_boolean(r->tried));
  SET("ok", json_boolean(r->ok));
  SET("error", r->err != 0 ? info_json_text(weft_err_name(r->err)) : json_null());
  SET("detail", info_json_text(r->detail));
  SET("path", info_json_text(r->path));
  SET("peer_name", info_json_text(r->peer));
  SET("connect_ns", info_json_number(r->ok ? r->connect_ns : 0));
  SET("rtt_ns", info_json_number(r->rtt_ns));
  SET("echo_ns", info_json_number(r->echo_ns));
#undef SET
  return j;
}

static void result_cells(info_table_t *t, const weft_verdict_t *v, const result_t *r, int echo) {
  char text[480];

  snprintf(text, sizeof(text), "%d", v->rank);
  info_cell(t, text);
  info_cell(t, v->provider);
  info_cell(t, v->device);
  info_cell(t, v->local);
  info_cell(t, info_duration(r->ok ? r->connect_ns : 0, text, sizeof(text)));
  info_cell(t, info_duration(r->rtt_ns, text, sizeof(text)));
  if (echo) info_cell(t, info_duration(r->echo_ns, text, sizeof(text)));
  if (r->ok)
    info_cell(t, r->detail);
  else {
    snprintf(text, sizeof(text), "%s%s", r->tried ? "failed: " : "not tried: ", r->detail);
    if (r->err != 0 && strstr(r->detail, weft_err_name(r->err) + 3) == NULL)
      snprintf(text + strlen(text), sizeof(text) - strlen(text), " (%s)", weft_err_name(r->err));
    info_cell(t, text);
  }
}

static void print_results(const weft_verdict_t *v, const result_t *r, int n, int echo) {
  static const char *const plain[] = {"RANK",    "PROVIDER", "DEVICE", "ADDRESS",
                                      "CONNECT", "RTT",      "RESULT", NULL};
  static const char *const with_echo[] = {"RANK", "PROVIDER", "DEVICE", "ADDRESS", "CONNECT",
                                          "RTT",  "ECHO",     "RESULT", NULL};
  info_table_t t;
  int i;

  info_table_init(&t, echo ? with_echo : plain);
  for (i = 0; i < n; i++) result_cells(&t, &v[i], &r[i], echo);
  info_table_print(&t);
}

static void print_blocks(const weft_verdict_t *v, const result_t *r, int n) {
  char a[24], b[24];
  int i;

  for (i = 0; i < n; i++) {
    printf("%s%s %s %s: %s\n", i > 0 ? "\n" : "", v[i].provider, v[i].device, v[i].local,
           r[i].ok      ? "ok"
           : r[i].tried ? "failed"
                        : "not tried");
    if (*r[i].path != '\0') printf("  path         %s\n", r[i].path);
    if (*r[i].peer != '\0') printf("  peer         %s\n", r[i].peer);
    if (r[i].ok)
      printf("  connect      %s\n  round trip   %s, to the acknowledgement of the end\n",
             info_duration(r[i].connect_ns, a, sizeof(a)),
             info_duration(r[i].rtt_ns, b, sizeof(b)));
    if (r[i].echo_ns != 0)
      printf("  echo         %s, best of eight messages of 64 bytes\n",
             info_duration(r[i].echo_ns, a, sizeof(a)));
    if (!r[i].ok) {
      fputs("  why          ", stdout);
      info_wrapped(r[i].detail, 15, 100);
    }
    if (r[i].err != 0)
      printf("  error        %s: %s\n", weft_err_name(r[i].err), weft_strerror(r[i].err));
  }
}

int info_check(const info_args_t *args) {
  weft_verdict_t *list;
  weft_addr_t addr;
  weft_qos_t qos;
  info_net_t net;
  result_t *r;
  char url[1024];
  int i, n, usable = 0, good = 0, rc = info_needs(args, &addr, &qos);

  if (rc != 0) return rc;
  list = info_candidates(args, &n);
  if (list == NULL) {
    fprintf(stderr, "weft_info: weft_candidates: %s (%s)\n", weft_strerror(n), weft_err_name(n));
    return EXIT_NONE;
  }
  while (usable < n && list[usable].rank >= 0) /* they are the first ones */
    usable++;
  r = info_alloc(NULL, (size_t) (usable + 1) * sizeof(*r));
  memset(r, 0, (size_t) (usable + 1) * sizeof(*r));
  if (usable > 0 && info_net_open(&net, &args->opts) == 0) {
    for (i = 0; i < usable; i++) {
      if (excluded(&addr, &qos, &list[i], r[i].detail, sizeof(r[i].detail))) continue;
      narrow(&addr, list, n, &list[i], url, sizeof(url));
      try_one(&net, args, url, &qos, &list[i], &r[i]);
      good += r[i].ok;
    }
    info_net_close(&net);
  }
  if (args->json) {
    json_t *all = json_array();
    for (i = 0; i < usable; i++) json_array_append_new(all, result_json(&list[i], &r[i]));
    info_json_print(json_pack("{ss so si so}", "weft", weft_version(), "url",
                              info_json_text(args->url), "usable", good, "checks", all));
  } else if (args->verbose) {
    print_blocks(list, r, usable);
  } else if (usable > 0) {
    print_results(list, r, usable, args->echo);
  }
  if (good == 0)
    fprintf(stderr, "weft_info: %s\n",
            usable == 0 ? "nothing is usable on this machine: weft_info -v says what to do"
                        : "no candidate of this machine reaches the server");
  free(list);
  free(r);
  return good > 0 ? EXIT_USABLE : EXIT_NONE;
}
