/* SPDX-License-Identifier: Apache-2.0 */
/* url.c - weft://HOST:PORT?key=value&... taken apart.
 *
 * Design notes
 *   - Strict: whatever is not understood is refused, and the sentence names the key and the cause.
 *     A need that is silently dropped would be found out in production.
 *   - A preset is applied before the other needs, wherever it stands, so that the order of the
 *     parameters carries no meaning.
 *   - Nothing is written to the caller's structs before all of the URL has been understood.
 *   - "*" and port 0 are for listeners; weft_connect refuses them. */
#include <arpa/inet.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qos.h"
#include "units.h"
#include "weft.h"

enum { PARAMS_MAX = 24, KEY_MAX = 32, VALUE_MAX = 256, NAME_MAX_DNS = 253 };

static const char scheme[] = "weft://";

struct parser {
  weft_addr_t addr;
  weft_qos_t qos;
  struct {
    char key[KEY_MAX];
    char value[VALUE_MAX];
  } params[PARAMS_MAX];
  unsigned nparams;
  char *err;
  size_t errlen;
};

static int refuse(struct parser *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int refuse(struct parser *p, const char *fmt, ...) {
  va_list ap;

  if (p->err != NULL && p->errlen > 0) {
    va_start(ap, fmt);
    vsnprintf(p->err, p->errlen, fmt, ap);
    va_end(ap);
  }
  return WEFT_EURL;
}

static int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/* Undo %XX. 0, or WEFT_EURL when it is malformed, stands for a control character or does not fit.
 */
static int decode(const char *s, size_t len, char *out, size_t outlen) {
  size_t n = 0;

  for (; len > 0; s++, len--) {
    int c = (unsigned char) *s;
    if (c == '%') {
      if (len < 3 || hex(s[1]) < 0 || hex(s[2]) < 0) return WEFT_EURL;
      c = hex(s[1]) * 16 + hex(s[2]);
      s += 2;
      len -= 2;
    }
    if (c <= ' ' || c == 0x7f || n + 1 >= outlen) return WEFT_EURL;
    out[n++] = (char) c;
  }
  out[n] = '\0';
  return 0;
}

/* "fe80::1%eth0", the zone being the name or number of an interface of this machine. */
static int is_ipv6(const char *s) {
  char text[INET6_ADDRSTRLEN];
  struct in6_addr a;
  const char *zone = strchr(s, '%');
  size_t len = zone != NULL ? (size_t) (zone - s) : strlen(s);

  if (len >= sizeof(text)) return 0;
  memcpy(text, s, len);
  text[len] = '\0';
  if (inet_pton(AF_INET6, text, &a) != 1) return 0;
  return zone == NULL ||
         (zone[1] != '\0' && strlen(zone + 1) < IF_NAMESIZE && strpbrk(zone + 1, "%/") == NULL);
}

static int is_ipv4(const char *s) {
  struct in_addr a;
  return inet_pton(AF_INET, s, &a) == 1;
}

/* Letters, digits, '-' and '_' in labels of at most 63 between dots; one dot may end it. */
static int is_name(const char *s) {
  size_t label = 0, len = strlen(s);

  if (len == 0 || len > NAME_MAX_DNS + 1) return 0;
  for (; *s != '\0'; s++) {
    int alnum = (*s >= '0' && *s <= '9') || (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z');
    if (*s == '.') {
      if (label == 0) return 0;
      label = 0;
    } else if (alnum || *s == '_' || (*s == '-' && label > 0)) {
      if (++label > 63) return 0;
    } else {
      return 0;
    }
  }
  return 1;
}

/* HOST at *rest; moves *rest behind it. */
static int parse_host(struct parser *p, const char **rest) {
  const char *s = *rest, *end;
  char *host = p->addr.host;

  if (*s == '[') {
    end = strchr(++s, ']');
    if (end == NULL) return refuse(p, "host: the bracket of '[%.60s' is not closed", s);
    if (decode(s, (size_t) (end - s), host, sizeof(p->addr.host)) != 0 || !is_ipv6(host))
      return refuse(p, "host: '[%.*s]' is not an IPv6 address (a zone is written %%25eth0)",
                    (int) (end - s > 80 ? 80 : end - s), s);
    *rest = end + 1;
    return 0;
  }

  end = s + strcspn(s, ":/?#");
  if (end == s) return refuse(p, "host: missing");
  if (memchr(s, '@', (size_t) (end - s)) != NULL)
    return refuse(p, "host: a user name has no meaning in a weft:// URL");
  if (*end == ':' && strcspn(end + 1, ":") < strcspn(end + 1, "/?#"))
    return refuse(p, "host: an IPv6 address must stand in brackets, as in weft://[::1]:7000");
  if (decode(s, (size_t) (end - s), host, sizeof(p->addr.host)) != 0)
    return refuse(p, "host: '%.80s' is not a name or an address", s);
  if (strcmp(host, "*") != 0) {
    int numeric = host[strspn(host, "0123456789.")] == '\0';
    if (numeric ? !is_ipv4(host) : !is_name(host))
      return refuse(p, "host: '%.80s' is not %s", host,
                    numeric ? "an IPv4 address" : "a name or an address");
  }
  *rest = end;
  return 0;
}

static int parse_port(struct parser *p, const char **rest) {
  const char *s = *rest;
  char text[8];
  uint64_t port;
  size_t len;

  if (*s != ':') return refuse(p, "port: missing after '%.80s'", p->addr.host);
  s++;
  len = strcspn(s, "/?#");
  if (len == 0) return refuse(p, "port: missing after '%.80s:'", p->addr.host);
  if (len < sizeof(text)) {
    memcpy(text, s, len);
    text[len] = '\0';
  }
  if (len >= sizeof(text) || weft__parse_count(text, UINT16_MAX, &port) != 0)
    return refuse(p, "port: '%.*s' is not a number from 0 to 65535", (int) (len > 40 ? 40 : len),
                  s);
  p->addr.port = (uint16_t) port;
  *rest = s + len;
  return 0;
}

/* Split the query into params, decoded, each key once. */
static int split_query(struct parser *p, const char *s) {
  while (1) {
    size_t len = strcspn(s, "&"), keylen;
    const char *eq = memchr(s, '=', len);
    unsigned i;

    if (eq == NULL || eq == s)
      return refuse(p, "parameter '%.*s': not key=value", (int) (len > 80 ? 80 : len), s);
    keylen = (size_t) (eq - s);
    if (p->nparams == PARAMS_MAX || keylen >= KEY_MAX)
      return refuse(p, "%.*s: no such parameter", (int) (keylen > 80 ? 80 : keylen), s);
    memcpy(p->params[p->nparams].key, s, keylen);
    p->params[p->nparams].key[keylen] = '\0';
    for (i = 0; i < p->nparams; i++)
      if (strcmp(p->params[i].key, p->params[p->nparams].key) == 0)
        return refuse(p, "%s: given twice", p->params[i].key);
    if (decode(eq + 1, len - keylen - 1, p->params[p->nparams].value, VALUE_MAX) != 0)
      return refuse(p, "%s: '%.*s' is too long, or has a bad %%XX or a blank",
                    p->params[p->nparams].key,
                    (int) (len - keylen - 1 > 80 ? 80 : len - keylen - 1), eq + 1);
    p->nparams++;
    if (s[len] == '\0') return 0;
    s += len + 1;
  }
}

static int set_bind(struct parser *p, const char *value) {
  size_t len = strlen(value);
  char text[sizeof(p->addr.bind)];

  /* Brackets may surround it, as in the host. */
  if (len > 2 && value[0] == '[' && value[len - 1] == ']') {
    memcpy(text, value + 1, len - 2);
    text[len - 2] = '\0';
    if (!is_ipv6(text)) text[0] = '\0';
  } else {
    memcpy(text, value, len + 1);
    if (!is_ipv4(text) && !is_ipv6(text)) text[0] = '\0';
  }
  if (text[0] == '\0') return refuse(p, "bind: '%.80s' is not a numeric address", value);
  memcpy(p->addr.bind, text, strlen(text) + 1);
  return 0;
}

static int set_ports(struct parser *p, const char *value) {
  const char *dash = strchr(value, '-');
  uint64_t low, high;
  char text[8];

  if (dash == NULL || (size_t) (dash - value) >= sizeof(text)) goto bad;
  memcpy(text, value, (size_t) (dash - value));
  text[dash - value] = '\0';
  if (weft__parse_count(text, UINT16_MAX, &low) != 0 ||
      weft__parse_count(dash + 1, UINT16_MAX, &high) != 0 || low == 0 || low > high)
    goto bad;
  p->addr.port_low = (uint16_t) low;
  p->addr.port_high = (uint16_t) high;
  return 0;

bad:
  return refuse(p, "ports: '%.80s' is not LOW-HIGH, two numbers from 1 to 65535", value);
}

static int apply(struct parser *p, const char *key, const char *value) {
  if (strcmp(key, "bind") == 0) return set_bind(p, value);
  if (strcmp(key, "ports") == 0) return set_ports(p, value);
  if (strcmp(key, "devices") == 0) {
    if (weft__check_list(value) != 0 || *value == '\0')
      return refuse(p, "devices: '%.80s' is not names separated by commas, as in eth0,eth1", value);
    memcpy(p->addr.devices, value, strlen(value) + 1);
    return 0;
  }
  switch (weft_qos_set(&p->qos, key, value)) {
  case 0: return 0;
  case UV_ENOENT: return refuse(p, "%s: no such parameter", key);
  default: return refuse(p, "%s: '%.80s' is not %s", key, value, weft__qos_expects(key));
  }
}

static int parse(struct parser *p, const char *url) {
  const char *s = url;
  unsigned i;
  int err;

  if (strncmp(s, scheme, strlen(scheme)) != 0)
    return refuse(p, "'%.80s' does not begin with %s", url, scheme);
  s += strlen(scheme);
  if ((err = parse_host(p, &s)) != 0 || (err = parse_port(p, &s)) != 0) return err;
  if (*s == '/') s++;
  if (*s == '?' && (err = split_query(p, s + 1)) != 0) return err;
  if (*s != '?' && *s != '\0')
    return refuse(p, "'%.80s': nothing but ?key=value may follow the port", s);

  for (i = 0; i < p->nparams; i++)
    if (strcmp(p->params[i].key, "preset") == 0 &&
        (err = apply(p, p->params[i].key, p->params[i].value)) != 0)
      return err;
  for (i = 0; i < p->nparams; i++)
    if (strcmp(p->params[i].key, "preset") != 0 &&
        (err = apply(p, p->params[i].key, p->params[i].value)) != 0)
      return err;
  return 0;
}

int weft_url_parse(const char *url, weft_addr_t *addr, weft_qos_t *qos, char *err, size_t errlen) {
  struct parser p; /* about 8 KiB; this is not the hot path */
  int rc;

  memset(&p.addr, 0, sizeof(p.addr));
  weft_qos_init(&p.qos, sizeof(p.qos));
  p.nparams = 0;
  p.err = err;
  p.errlen = errlen;
  if (err != NULL && errlen > 0) *err = '\0';

  if (url == NULL) return refuse(&p, "no URL");
  rc = parse(&p, url);
  if (rc != 0) return rc;
  if (addr != NULL) *addr = p.addr;
  if (qos != NULL) *qos = p.qos;
  return 0;
}
