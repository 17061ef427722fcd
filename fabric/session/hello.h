/* SPDX-License-Identifier: Apache-2.0 */
/* hello.h - what two ends tell each other when a session opens: limits, needs, offers. A list of
 * type-length-value items in one HELLO frame; unknown items are passed over, known ones must have
 * their length and stand once (offers: 16). */
#ifndef WEFT_SESSION_HELLO_H
#define WEFT_SESSION_HELLO_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "weft_qos.h"

#define WEFT__OFFERS_MAX 16u
#define WEFT__HELLO_MAX  8192u /* bytes of an encoded hello */

typedef struct weft__offer {
  char provider[32];
  char device[64];
  struct sockaddr_storage addr; /* AF_INET or AF_INET6 with port; the scope id does not travel */
  uint64_t speed_bps;
} weft__offer_t;

typedef struct weft__hello {
  uint8_t instance[16];             /* of the process and context */
  uint8_t nonce[32];                /* half of the session's secret */
  uint64_t max_message;             /* largest message this end accepts */
  uint64_t win_messages, win_bytes; /* this end's receive window */
  uint32_t peer_timeout_ms;
  char name[64];  /* for people: host and program */
  weft_qos_t qos; /* the connecting end's needs hold for both directions */
  unsigned noffers;
  weft__offer_t offers[WEFT__OFFERS_MAX];
} weft__hello_t;

/* Returns bytes written, or 0 when it does not fit. */
size_t weft__hello_put(uint8_t *out, size_t cap, const weft__hello_t *);
/* 0, or -1 with a sentence in why (static storage). */
int weft__hello_get(const uint8_t *in, size_t len, weft__hello_t *out, const char **why);

#endif
