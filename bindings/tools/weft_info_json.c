/* SPDX-License-Identifier: Apache-2.0 */
/* weft_info_json.c - what all -j outputs have in common; docs/weft_info_json.md is their schema. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weft_info.h"

/* Names come from peers and from the system: what is no UTF-8 is shown byte by byte, as if it were
 * Latin-1, which is better than no document at all. */
json_t *info_json_text(const char *s) {
  json_t *j = json_string(s);
  char *latin;
  size_t n = 0;

  if (j != NULL) return j;
  latin = info_alloc(NULL, 2 * strlen(s) + 1);
  for (; *s != '\0'; s++) {
    unsigned char c = (unsigned char) *s;
    if (c >= 0x80) latin[n++] = (char) (0xc0 | c >> 6);
    latin[n++] = (char) (c < 0x80 ? c : 0x80 | (c & 0x3f));
  }
  latin[n] = '\0';
  j = json_string(latin);
  free(latin);
  return j;
}

json_t *info_json_number(uint64_t n) {
  return n == UINT64_MAX ? json_null() : json_integer((json_int_t) n);
}

/* The same keys as a verdict of weft_conn_info_json, and the help text. */
json_t *info_json_verdict(const weft_verdict_t *v) {
  json_t *j = json_object();

#define SET(key, value) json_object_set_new(j, key, value)
#define TRAIT(key, bit) SET(key, json_boolean((v->traits & (bit)) != 0))
  SET("rank", json_integer(v->rank));
  SET("provider", info_json_text(v->provider));
  SET("device", info_json_text(v->device));
  SET("local", info_json_text(v->local));
  SET("remote", info_json_text(v->remote));
  SET("why", info_json_text(weft_why_name(v->why)));
  SET("detail", info_json_text(v->detail));
  SET("help", info_json_text(weft_why_help(v->why)));
  SET("latency_ns", info_json_number(v->latency_ns));
  SET("bandwidth", info_json_number(v->bandwidth));
  SET("known", info_json_text(v->traits & WEFT_TRAIT_MEASURED ? "measured" : "expected"));
  SET("speed_bps", info_json_number(v->speed_bps));
  SET("mtu", info_json_number(v->mtu));
  SET("max_op", info_json_number(v->max_op));
  TRAIT("rma", WEFT_TRAIT_RMA);
  TRAIT("rdma", WEFT_TRAIT_RDMA);
  TRAIT("events", WEFT_TRAIT_EVENTS);
  TRAIT("shared_rx", WEFT_TRAIT_SHARED_RX);
  TRAIT("loopback", WEFT_TRAIT_LOOPBACK);
#undef TRAIT
#undef SET
  return j;
}

void info_json_print(json_t *j) {
  if (j == NULL || json_dumpf(j, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII) != 0) {
    fprintf(stderr, "weft_info: out of memory, or writing failed\n");
    exit(EXIT_NONE);
  }
  putchar('\n');
  json_decref(j);
}
