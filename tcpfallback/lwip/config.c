/* SPDX-License-Identifier: Apache-2.0 */
/* config.c - which devices with which addresses, from the provider's parameters.
 *
 * Design notes
 *  - Parameters alone say what there is: nothing of DPDK is started for who merely asks.
 *  - A device without an address, or an address that is none, leaves no device at all, with a line in
 *    the log: half a configuration would reach half of the peers. */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "prov.h"
#include "stack.h"

tf_config_t tf_config = {.mtu = 1500, .memory = 256, .spin = 50, .faults.seed = 1};

void tf_config_say(const char *line) {
  TF_WARN("%s\n", line);
}

static void whole(const char *name, int *value, int least, int most, const char *help) {
  int v = *value;

  fi_param_define(&tf_prov, name, FI_PARAM_INT, "%s (default %d)", help, *value);
  if (fi_param_get_int(&tf_prov, name, &v) != 0) return;
  if (v >= least && v <= most)
    *value = v;
  else
    TF_WARN("%s: %d is not from %d to %d\n", name, v, least, most);
}

static bool one_address(char *text, tf_address_t *a) {
  struct sockaddr_in *in = (struct sockaddr_in *) &a->sa;
  struct sockaddr_in6 *in6 = (struct sockaddr_in6 *) &a->sa;
  char *slash = strchr(text, '/'), *end;
  unsigned most;

  if (slash != NULL) *slash = '\0';
  if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
    a->sa.ss_family = AF_INET;
    most = 32;
  } else if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1) {
    a->sa.ss_family = AF_INET6;
    most = 128;
  } else {
    return false;
  }
  a->prefix = most == 32 ? 24 : 64;
  if (slash == NULL) return true;
  a->prefix = (unsigned) strtoul(slash + 1, &end, 10);
  return *end == '\0' && end != slash + 1 && a->prefix <= most;
}

static bool addresses(char *text, tf_port_t *p) {
  char *at, *rest = NULL;

  for (at = strtok_r(text, ",", &rest); at != NULL; at = strtok_r(NULL, ",", &rest))
    if (p->n == TF_ADDRESSES || !one_address(at, &p->address[p->n++])) return false;
  return p->n != 0;
}

static bool parse(const char *devices, const char *all) {
  char *d = strdup(devices), *a = strdup(all), *dr = NULL, *ar = NULL, *dev, *addr;
  bool ok = d != NULL && a != NULL;

  for (dev = ok ? strtok_r(d, ";", &dr) : NULL, addr = ok ? strtok_r(a, ";", &ar) : NULL;
       ok && dev != NULL; dev = strtok_r(NULL, ";", &dr), addr = strtok_r(NULL, ";", &ar)) {
    tf_port_t *p = &tf_config.port[tf_config.ports];
    ok = addr != NULL && tf_config.ports < TF_PORTS && addresses(addr, p) &&
         (p->args = strdup(dev)) != NULL;
    if (ok) tf_config.ports++;
  }
  free(d);
  free(a);
  return ok;
}

/* A test without the faults that it asked for would show nothing: so a wrong one is not passed over. */
static bool fault(const char *name, int *value, int most, const char *help) {
  char *text = NULL, *end;
  long v;

  fi_param_define(&tf_prov, name, FI_PARAM_STRING, "for tests: %s, 0 to %d (default %d)", help,
                  most, *value);
  if (fi_param_get_str(&tf_prov, name, &text) != 0 || text == NULL) return true;
  errno = 0;
  v = strtol(text, &end, 10);
  if (end == text || *end != '\0' || errno != 0 || v < 0 || v > most) {
    TF_WARN("%s: %s is no number from 0 to %d, so there is no device\n", name, text, most);
    return false;
  }
  *value = (int) v;
  return true;
}

static bool faults(tf_faults_config_t *f) {
  bool ok = fault("loss_ppm", &f->loss, 1000000, "frames lost of a million, each way");

  ok = fault("dup_ppm", &f->dup, 1000000, "frames doubled of a million, each way") && ok;
  ok = fault("reorder_ppm", &f->reorder, 1000000,
             "frames of a million that 1 to 8 later ones pass, each way") &&
       ok;
  ok = fault("delay_us", &f->delay, 10000000, "microseconds that each frame is late, each way") &&
       ok;
  return fault("seed", &f->seed, INT_MAX, "the same faults for the same frames") && ok;
}

void tf_config_params(void) {
  char *devices = NULL, *all = NULL, *gateway = NULL;
  bool ok;

  fi_param_define(&tf_prov, "device", FI_PARAM_STRING,
                  "devices, as DPDK's --vdev has them or PCI addresses, with ; between; none: "
                  "this provider offers nothing");
  fi_param_define(&tf_prov, "address", FI_PARAM_STRING,
                  "for each device its addresses, ADDRESS/PREFIX, with , between; with ; between "
                  "devices");
  fi_param_define(&tf_prov, "gateway", FI_PARAM_STRING, "of the first device, IPv4");
  whole("mtu", &tf_config.mtu, 576, 9000, "bytes of a packet");
  whole("memory", &tf_config.memory, 32, 65536, "MiB for all devices, without hugepages");
  whole("hugepages", &tf_config.hugepages, 0, 1, "use them, 0 or 1");
  whole("spin", &tf_config.spin, 0, 1000000, "microseconds to spin before sleeping in a wait");
  ok = faults(&tf_config.faults);
  if (fi_param_get_str(&tf_prov, "device", &devices) != 0 || devices == NULL || !ok) return;
  (void) fi_param_get_str(&tf_prov, "address", &all);
  if (fi_param_get_str(&tf_prov, "gateway", &gateway) == 0 && gateway != NULL &&
      inet_pton(AF_INET, gateway, &tf_config.gateway) != 1)
    TF_WARN("gateway: %s is no address of IPv4\n", gateway);
  if (parse(devices, all != NULL ? all : "")) return;
  TF_WARN("device and address do not make a configuration: each device needs ADDRESS/PREFIX\n");
  tf_config.ports = 0;
}

/* ---- As the system would list them ---- */

typedef struct entry {
  struct ifaddrs a;
  struct sockaddr_storage addr, mask;
  char name[IF_NAMESIZE * 2];
} entry_t;

static void mask_of(struct sockaddr_storage *m, const tf_address_t *a) {
  uint8_t *b = a->sa.ss_family == AF_INET ? (uint8_t *) &((struct sockaddr_in *) m)->sin_addr
                                          : (uint8_t *) &((struct sockaddr_in6 *) m)->sin6_addr;
  unsigned i;

  m->ss_family = a->sa.ss_family;
  for (i = 0; i < a->prefix; i++) b[i / 8] = (uint8_t) (b[i / 8] | 0x80 >> i % 8);
}

static bool is_loopback(const tf_address_t *a) {
  return a->sa.ss_family == AF_INET &&
         ntohl(((const struct sockaddr_in *) &a->sa)->sin_addr.s_addr) >> 24 == 127;
}

int tf_config_interfaces(struct ifaddrs **out) {
  struct ifaddrs **tail = out;
  unsigned i, k;

  *out = NULL;
  for (i = 0; i < tf_config.ports; i++)
    for (k = 0; k < tf_config.port[i].n; k++) {
      const tf_address_t *a = &tf_config.port[i].address[k];
      entry_t *e = calloc(1, sizeof(*e));
      if (e == NULL) break;
      snprintf(e->name, sizeof(e->name), "%.*s", (int) strcspn(tf_config.port[i].args, ","),
               tf_config.port[i].args);
      e->addr = a->sa;
      mask_of(&e->mask, a);
      e->a.ifa_name = e->name;
      e->a.ifa_addr = (struct sockaddr *) &e->addr;
      e->a.ifa_netmask = (struct sockaddr *) &e->mask;
      e->a.ifa_flags = IFF_UP | (is_loopback(a) ? IFF_LOOPBACK : 0u);
      *tail = &e->a;
      tail = &e->a.ifa_next;
    }
  return 0;
}

void tf_config_interfaces_free(struct ifaddrs *list) {
  struct ifaddrs *next;

  for (; list != NULL; list = next) {
    next = list->ifa_next;
    free(tf_up(list, entry_t, a));
  }
}

static bool near(const tf_address_t *a, const struct sockaddr *dst) {
  const uint8_t *x, *y;
  unsigned i;

  if (a->sa.ss_family != dst->sa_family) return false;
  if (dst->sa_family == AF_INET) {
    x = (const uint8_t *) &((const struct sockaddr_in *) &a->sa)->sin_addr;
    y = (const uint8_t *) &((const struct sockaddr_in *) dst)->sin_addr;
  } else {
    x = (const uint8_t *) &((const struct sockaddr_in6 *) &a->sa)->sin6_addr;
    y = (const uint8_t *) &((const struct sockaddr_in6 *) dst)->sin6_addr;
  }
  for (i = 0; i < a->prefix; i++)
    if (((x[i / 8] ^ y[i / 8]) & 0x80 >> i % 8) != 0) return false;
  return true;
}

bool tf_config_route(const struct sockaddr *dst, struct sockaddr_storage *src) {
  unsigned i, k;

  for (i = 0; i < tf_config.ports; i++)
    for (k = 0; k < tf_config.port[i].n; k++)
      if (near(&tf_config.port[i].address[k], dst)) {
        *src = tf_config.port[i].address[k].sa;
        return true;
      }
  if (tf_config.gateway.s_addr == 0 || dst->sa_family != AF_INET) return false;
  for (k = 0; k < tf_config.port[0].n; k++)
    if (tf_config.port[0].address[k].sa.ss_family == AF_INET) {
      *src = tf_config.port[0].address[k].sa;
      return true;
    }
  return false;
}
