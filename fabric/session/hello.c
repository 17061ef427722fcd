/* SPDX-License-Identifier: Apache-2.0 */
/* hello.c - the payload of a HELLO frame: type (2), length (2), value; again and again.
 *
 * Design notes
 *  - One table gives each plain item its type, its place in the struct and whether a hello is a
 *    hello without it; both directions walk it. Offers are the one item with a layout of its own.
 *  - No struct travels: integers are little-endian, texts have their length and neither a NUL nor a
 *    control character (they end up in logs), addresses are 4 or 16 bytes in network order.
 *  - An unknown type is passed over, so that a later version may say more. A known one must have a
 *    right length and stand once.
 *  - `out` is complete only when get answers 0; what was not said has the value "no need". */
#include "session/hello.h"

#include <stdbool.h>
#include <string.h>

#include "session/wire.h"

enum item_kind { BYTES, U32, U64, TEXT };

struct item {
  uint16_t type;
  uint8_t kind;
  bool required;
  uint16_t size; /* BYTES: length; TEXT: room of the field, with its NUL */
  uint16_t offset;
  uint32_t max; /* U32: largest value */
};

#define ITEM(type, kind, required, field, max)                                                     \
  {                                                                                                \
    type, kind, required, sizeof(((weft__hello_t *) 0)->field), offsetof(weft__hello_t, field),    \
        max                                                                                        \
  }

/* docs/wire.md prints this table. Numbers are never given twice. */
static const struct item items[] = {
    ITEM(1, BYTES, true, instance, 0),
    ITEM(2, BYTES, true, nonce, 0),
    ITEM(3, U64, true, max_message, 0),
    ITEM(4, U64, true, win_messages, 0),
    ITEM(5, U64, true, win_bytes, 0),
    ITEM(6, U32, true, peer_timeout_ms, UINT32_MAX),
    ITEM(7, TEXT, false, name, 0),
    ITEM(16, U64, false, qos.latency_ns, 0),
    ITEM(17, U64, false, qos.bandwidth, 0),
    ITEM(18, U64, false, qos.message_size, 0),
    ITEM(19, U64, false, qos.interruption_ms, 0),
    ITEM(20, U32, true, qos.reliability, WEFT_AT_MOST_ONCE),
    ITEM(21, U32, true, qos.ack, WEFT_ACK_CONSUMED),
    ITEM(22, U32, false, qos.cpu, WEFT_CPU_SPIN),
    ITEM(23, U32, false, qos.spin_us, UINT32_MAX),
    ITEM(24, U32, false, qos.strict, 1),
    ITEM(25, U32, false, qos.standby, UINT32_MAX),
    ITEM(26, TEXT, false, qos.require, 0),
    ITEM(27, TEXT, false, qos.forbid, 0),
    ITEM(28, TEXT, false, qos.bootstrap, 0),
};
enum { ITEMS = sizeof(items) / sizeof(items[0]), OFFER_TYPE = 32, OFFER_FIXED = 16 };

/* ---- Writing ---- */

struct out {
  uint8_t *p;
  size_t cap, len;
  bool bad;
};

/* Room for an item's value; NULL once anything did not fit. */
static uint8_t *put_item(struct out *o, unsigned type, size_t len) {
  uint8_t *p = o->p + o->len;

  if (o->bad || len > UINT16_MAX || o->cap - o->len < 4 || o->cap - o->len - 4 < len) {
    o->bad = true;
    return NULL;
  }
  weft__put16(p, (uint16_t) type);
  weft__put16(p + 2, (uint16_t) len);
  o->len += 4 + len;
  return p + 4;
}

static bool text_ok(const char *s, size_t len) {
  size_t i;

  for (i = 0; i < len; i++)
    if ((unsigned char) s[i] < 0x20 || s[i] == 0x7f) return false;
  return true;
}

static void put_plain(struct out *o, const struct item *it, const void *field) {
  uint8_t *p;
  uint64_t v64;
  uint32_t v32;
  size_t len;

  switch (it->kind) {
  case BYTES:
    if ((p = put_item(o, it->type, it->size)) != NULL) memcpy(p, field, it->size);
    break;
  case U32:
    memcpy(&v32, field, sizeof(v32));
    if (v32 > it->max) o->bad = true;
    if ((p = put_item(o, it->type, 4)) != NULL) weft__put32(p, v32);
    break;
  case U64:
    memcpy(&v64, field, sizeof(v64));
    if ((p = put_item(o, it->type, 8)) != NULL) weft__put64(p, v64);
    break;
  case TEXT:
    len = strnlen(field, it->size);
    if (len == it->size || !text_ok(field, len)) o->bad = true;
    if (len != 0 && (p = put_item(o, it->type, len)) != NULL) memcpy(p, field, len);
    break;
  }
}

static void put_offer(struct out *o, const weft__offer_t *f) {
  size_t provider = strnlen(f->provider, sizeof(f->provider));
  size_t device = strnlen(f->device, sizeof(f->device));
  bool v4 = f->addr.ss_family == AF_INET;
  size_t addr = v4 ? 4 : 16;
  uint8_t *p;

  if ((!v4 && f->addr.ss_family != AF_INET6) || provider == 0 || provider == sizeof(f->provider) ||
      device == sizeof(f->device) || !text_ok(f->provider, provider) ||
      !text_ok(f->device, device)) {
    o->bad = true;
    return;
  }
  p = put_item(o, OFFER_TYPE, OFFER_FIXED + addr + provider + device);
  if (p == NULL) return;
  p[0] = v4 ? 4 : 6;
  p[1] = (uint8_t) provider;
  p[2] = (uint8_t) device;
  memset(p + 3, 0, 3);
  weft__put64(p + 8, f->speed_bps);
  if (v4) {
    const struct sockaddr_in *sin = (const struct sockaddr_in *) &f->addr;
    weft__put16(p + 6, ntohs(sin->sin_port));
    memcpy(p + OFFER_FIXED, &sin->sin_addr, 4);
  } else {
    const struct sockaddr_in6 *sin6 = (const struct sockaddr_in6 *) &f->addr;
    weft__put16(p + 6, ntohs(sin6->sin6_port));
    memcpy(p + OFFER_FIXED, &sin6->sin6_addr, 16);
  }
  memcpy(p + OFFER_FIXED + addr, f->provider, provider);
  memcpy(p + OFFER_FIXED + addr + provider, f->device, device);
}

size_t weft__hello_put(uint8_t *out, size_t cap, const weft__hello_t *h) {
  struct out o = {out, cap < WEFT__HELLO_MAX ? cap : WEFT__HELLO_MAX, 0, false};
  unsigned i;

  if (h->noffers > WEFT__OFFERS_MAX) return 0;
  for (i = 0; i < ITEMS; i++) put_plain(&o, &items[i], (const char *) h + items[i].offset);
  for (i = 0; i < h->noffers; i++) put_offer(&o, &h->offers[i]);
  return o.bad ? 0 : o.len;
}

/* ---- Reading ---- */

static const char *get_plain(const struct item *it, const uint8_t *p, size_t len, void *field) {
  uint64_t v64;
  uint32_t v32;

  switch (it->kind) {
  case BYTES:
    if (len != it->size) return "an item has a wrong length";
    memcpy(field, p, len);
    break;
  case U32:
    if (len != 4) return "an item has a wrong length";
    v32 = weft__get32(p);
    if (v32 > it->max) return "a need has an unknown value";
    memcpy(field, &v32, sizeof(v32));
    break;
  case U64:
    if (len != 8) return "an item has a wrong length";
    v64 = weft__get64(p);
    memcpy(field, &v64, sizeof(v64));
    break;
  case TEXT:
    if (len == 0 || len >= it->size) return "a text is empty or too long";
    if (!text_ok((const char *) p, len)) return "a text has a control character";
    memcpy(field, p, len); /* the struct was zeroed: the NUL is there */
    break;
  }
  return NULL;
}

static const char *get_offer(const uint8_t *p, size_t len, weft__offer_t *f) {
  size_t addr, provider, device;

  if (len < OFFER_FIXED) return "an offer is cut short";
  if (p[0] != 4 && p[0] != 6) return "an offer has an address of an unknown family";
  addr = p[0] == 4 ? 4 : 16;
  provider = p[1];
  device = p[2];
  if (provider == 0 || provider >= sizeof(f->provider) || device >= sizeof(f->device) ||
      len != OFFER_FIXED + addr + provider + device)
    return "an offer has a wrong length";
  f->speed_bps = weft__get64(p + 8);
  if (p[0] == 4) {
    struct sockaddr_in *sin = (struct sockaddr_in *) &f->addr;
    sin->sin_family = AF_INET;
    sin->sin_port = htons(weft__get16(p + 6));
    memcpy(&sin->sin_addr, p + OFFER_FIXED, 4);
  } else {
    struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *) &f->addr;
    sin6->sin6_family = AF_INET6;
    sin6->sin6_port = htons(weft__get16(p + 6));
    memcpy(&sin6->sin6_addr, p + OFFER_FIXED, 16);
  }
  p += OFFER_FIXED + addr;
  if (!text_ok((const char *) p, provider + device))
    return "an offer's name has a control character";
  memcpy(f->provider, p, provider);
  memcpy(f->device, p + provider, device);
  return NULL;
}

static const char *get_item(weft__hello_t *out, unsigned type, const uint8_t *p, size_t len,
                            uint32_t *seen) {
  unsigned i;

  if (type == OFFER_TYPE) {
    if (out->noffers == WEFT__OFFERS_MAX) return "more than 16 offers";
    return get_offer(p, len, &out->offers[out->noffers++]);
  }
  for (i = 0; i < ITEMS; i++) {
    if (items[i].type != type) continue;
    if (*seen & 1u << i) return "an item stands twice";
    *seen |= 1u << i;
    return get_plain(&items[i], p, len, (char *) out + items[i].offset);
  }
  return NULL;
}

int weft__hello_get(const uint8_t *in, size_t len, weft__hello_t *out, const char **why) {
  uint32_t seen = 0;
  size_t off = 0, n;
  unsigned i;

  _Static_assert(ITEMS <= 32, "seen has a bit for each");
  memset(out, 0, sizeof(*out));
  out->qos.size = sizeof(out->qos);
  *why = len > WEFT__HELLO_MAX ? "longer than a hello may be" : NULL;
  while (*why == NULL && off < len) {
    if (len - off < 4) {
      *why = "the last item is cut short";
      break;
    }
    n = weft__get16(in + off + 2);
    if (len - off - 4 < n) {
      *why = "an item is longer than what is left";
      break;
    }
    *why = get_item(out, weft__get16(in + off), in + off + 4, n, &seen);
    off += 4 + n;
  }
  for (i = 0; *why == NULL && i < ITEMS; i++)
    if (items[i].required && !(seen & 1u << i)) *why = "a required item is missing";
  return *why == NULL ? 0 : -1;
}
