/* SPDX-License-Identifier: Apache-2.0 */
/* nic.c - what is missing between a device for TCP in user space and a program that wants it.
 *
 * Design notes
 *  - DPDK says what it lacks only when it has been started, which is once in a process, takes 0.2 s and
 *    takes the device: so who merely looks reads the same files that DPDK would, in its order.
 *  - What this process holds already is not missing: the list is made again while rails are open.
 *  - What cannot be seen so (a name that no driver has, a peer that is not there) is told when the rail
 *    is opened. */
#include "nic.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "internal.h"
#include "weft_qos.h"

enum { CAP_NET_RAW_BIT = 13, PCI_NAME = 13, MEMLOCK_MIN_MIB = 256 };

/* ---- The configuration ---- */

void weft__nic_conf(const char *provider, weft__nic_conf_t *c, char *buf, size_t len) {
  char name[80], *p;
  const char *pages, *mtu;

  snprintf(buf, len, "FI_%.32s", provider);
  for (p = buf; *p != '\0'; p++) *p = (char) toupper((unsigned char) *p);
  c->prefix = buf;
  snprintf(name, sizeof(name), "%.40s_DEVICE", buf);
  c->devices = getenv(name);
  snprintf(name, sizeof(name), "%.40s_ADDRESS", buf);
  c->addresses = getenv(name);
  snprintf(name, sizeof(name), "%.40s_HUGEPAGES", buf);
  pages = getenv(name);
  c->hugepages = pages != NULL && strtol(pages, NULL, 10) != 0;
  snprintf(name, sizeof(name), "%.40s_MTU", buf);
  mtu = getenv(name);
  c->mtu = mtu != NULL ? (uint32_t) strtoul(mtu, NULL, 10) : 1500;
}

int weft__nic_none(const weft__nic_conf_t *c, char *text, size_t len) {
  if (c->devices == NULL || *c->devices == '\0') {
    snprintf(text, len, "%s_DEVICE is not set: it names the devices to use", c->prefix);
    return WEFT_WHY_NO_DEVICE;
  }
  if (c->addresses == NULL || *c->addresses == '\0') {
    snprintf(text, len, "%s_ADDRESS is not set: each device needs ADDRESS/PREFIX, as 10.9.0.1/24",
             c->prefix);
    return WEFT_WHY_NO_ADDRESS;
  }
  snprintf(text, len, "%s_ADDRESS=%.40s does not give each of %s_DEVICE=%.40s an ADDRESS/PREFIX",
           c->prefix, c->addresses, c->prefix, c->devices);
  return WEFT_WHY_NO_ADDRESS;
}

/* "net_memif0,role=server" of the device's name; false: it is not among them. */
static bool find_args(const char *devices, const char *name, char *out, size_t len) {
  size_t n = strlen(name);
  const char *at = devices;

  while (at != NULL && *at != '\0') {
    size_t all = strcspn(at, ";");
    if (strncmp(at, name, n) == 0 && (at[n] == ',' || at[n] == ';' || at[n] == '\0')) {
      snprintf(out, len, "%.*s", (int) all, at);
      return true;
    }
    at = at[all] != '\0' ? at + all + 1 : NULL;
  }
  return false;
}

/* "iface=v0" among the arguments. */
static bool argument(const char *args, const char *key, char *out, size_t len) {
  size_t n = strlen(key);
  const char *at = strchr(args, ',');

  for (; at != NULL; at = strchr(at, ',')) {
    at++;
    if (strncmp(at, key, n) != 0 || at[n] != '=') continue;
    snprintf(out, len, "%.*s", (int) strcspn(at + n + 1, ","), at + n + 1);
    return true;
  }
  return false;
}

/* ---- Small looks at the system ---- */

static bool first_line(const char *path, char *out, size_t len) {
  FILE *f = fopen(path, "re");
  bool got = f != NULL && fgets(out, (int) len, f) != NULL;

  if (f != NULL) fclose(f);
  if (got) out[strcspn(out, "\n")] = '\0';
  return got;
}

/* The last part of where a link leads; false: there is none. */
static bool link_name(const char *path, char *out, size_t len) {
  char to[256];
  ssize_t n = readlink(path, to, sizeof(to) - 1);

  if (n <= 0) return false;
  to[n] = '\0';
  snprintf(out, len, "%.60s", strrchr(to, '/') != NULL ? strrchr(to, '/') + 1 : to);
  return true;
}

/* Does this process have the file open already? */
static bool is_ours(const char *root, const char *file) {
  char path[512], to[512];
  struct dirent *d;
  bool found = false;
  DIR *dir;

  snprintf(path, sizeof(path), "%s/proc/self/fd", root);
  dir = opendir(path);
  while (dir != NULL && !found && (d = readdir(dir)) != NULL) {
    ssize_t n = readlinkat(dirfd(dir), d->d_name, to, sizeof(to) - 1);
    if (n > 0) to[n] = '\0';
    found = n > 0 && strcmp(to, file) == 0;
  }
  if (dir != NULL) closedir(dir);
  return found;
}

/* Of its status in /proc, such as "HugetlbPages:     2048 kB"; false: the line is not there. */
static bool status_number(const char *root, const char *fmt, unsigned long long *out) {
  char path[512], line[128];
  bool found = false;
  FILE *f;

  snprintf(path, sizeof(path), "%s/proc/self/status", root);
  f = fopen(path, "re");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL)
    found = sscanf(line, fmt, out) == 1;
#pragma GCC diagnostic pop
  if (f != NULL) fclose(f);
  return found;
}

static bool capable(const char *root, int bit) {
  unsigned long long caps;

  return !status_number(root, "CapEff: %llx", &caps) || (caps >> bit & 1) != 0;
}

/* Free hugepages of all sizes; -1: the kernel has none of any size. */
static long free_hugepages(const char *root) {
  char path[512], line[64];
  struct dirent *d;
  long n = -1;
  DIR *dir;

  snprintf(path, sizeof(path), "%s/sys/kernel/mm/hugepages", root);
  dir = opendir(path);
  while (dir != NULL && (d = readdir(dir)) != NULL) {
    if (strncmp(d->d_name, "hugepages-", 10) != 0) continue;
    snprintf(path, sizeof(path), "%s/sys/kernel/mm/hugepages/%.60s/free_hugepages", root,
             d->d_name);
    if (n < 0) n = 0;
    if (first_line(path, line, sizeof(line))) n += strtol(line, NULL, 10);
  }
  if (dir != NULL) closedir(dir);
  return n;
}

static int hugepages(const char *root, const weft__nic_conf_t *c, const char *name, char *text,
                     size_t len) {
  unsigned long long held;
  long n = free_hugepages(root);

  if (n > 0) return WEFT_WHY_OK;
  if (status_number(root, "HugetlbPages: %llu", &held) && held > 0) return WEFT_WHY_OK;
  snprintf(text, len,
           n < 0 ? "%.24s: %s_HUGEPAGES=1, and this kernel has none: unset it"
                 : "%.24s: %s_HUGEPAGES=1, and none is free: sysctl vm.nr_hugepages=512",
           name, c->prefix);
  return WEFT_WHY_SYSTEM;
}

/* ---- Devices of the PCI bus ---- */

/* "3b:00.1" or "0000:3b:00.1", as the system names it. */
static bool pci_name(const char *name, char out[PCI_NAME]) {
  unsigned domain = 0, bus, device, function;
  char rest;

  if (sscanf(name, "%4x:%2x:%2x.%1u%c", &domain, &bus, &device, &function, &rest) != 4) {
    domain = 0;
    if (sscanf(name, "%2x:%2x.%1u%c", &bus, &device, &function, &rest) != 3) return false;
  }
  snprintf(out, PCI_NAME, "%04x:%02x:%02x.%u", domain & 0xffff, bus & 0xff, device & 0xff,
           function & 7);
  return true;
}

/* Others in its IOMMU group that the kernel still uses: VFIO gives the group as a whole. */
static bool group_is_shared(const char *root, const char *pci, char *other, size_t len) {
  char path[512], driver[64];
  struct dirent *d;
  bool shared = false;
  DIR *dir;

  snprintf(path, sizeof(path), "%s/sys/bus/pci/devices/%s/iommu_group/devices", root, pci);
  dir = opendir(path);
  while (dir != NULL && !shared && (d = readdir(dir)) != NULL) {
    if (d->d_name[0] == '.' || strcmp(d->d_name, pci) == 0) continue;
    snprintf(path, sizeof(path), "%s/sys/bus/pci/devices/%.40s/driver", root, d->d_name);
    if (!link_name(path, driver, sizeof(driver)) || strcmp(driver, "vfio-pci") == 0 ||
        strcmp(driver, "pcieport") == 0)
      continue;
    snprintf(other, len, "%.16s (%.20s)", d->d_name, driver);
    shared = true;
  }
  if (dir != NULL) closedir(dir);
  return shared;
}

static int vfio(const char *root, const char *pci, uint64_t memlock, char *text, size_t len) {
  char path[512], group[64], line[16] = "", other[48];
  bool noiommu;
  int fd;

  snprintf(path, sizeof(path), "%s/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", root);
  noiommu = first_line(path, line, sizeof(line)) && line[0] == 'Y';
  snprintf(path, sizeof(path), "%s/sys/bus/pci/devices/%s/iommu_group", root, pci);
  if (!link_name(path, group, sizeof(group))) {
    snprintf(text, len,
             "%s: it is in no IOMMU group: switch the IOMMU on in the firmware, and by "
             "intel_iommu=on or amd_iommu=on at boot",
             pci);
    return WEFT_WHY_SYSTEM;
  }
  if (!noiommu && group_is_shared(root, pci, other, sizeof(other))) {
    snprintf(
        text, len,
        "%s: IOMMU group %.8s is shared with %s, which the kernel uses: bind that to vfio-pci, too",
        pci, group, other);
    return WEFT_WHY_SYSTEM;
  }
  snprintf(path, sizeof(path), "%s/dev/vfio/%s%.20s", root, noiommu ? "noiommu-" : "", group);
  fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd >= 0) close(fd);
  if (fd < 0 && !(errno == EBUSY && is_ours(root, path))) {
    const char *cure = errno == ENOENT  ? "modprobe vfio-pci; in a container: --device=/dev/vfio"
                       : errno == EBUSY ? "another program has it"
                                        : "chown it to the user that the program runs as";
    snprintf(text, len, "%s: /dev/vfio/%s%.20s: %s: %s", pci, noiommu ? "noiommu-" : "", group,
             strerrorname_np(errno), cure);
    return WEFT_WHY_SYSTEM;
  }
  if (!noiommu && memlock < (uint64_t) MEMLOCK_MIN_MIB << 20) {
    snprintf(text, len,
             "%s: only %llu KiB of memory may be locked for it: ulimit -l unlimited, "
             "LimitMEMLOCK=infinity",
             pci, (unsigned long long) (memlock >> 10));
    return WEFT_WHY_SYSTEM;
  }
  return WEFT_WHY_OK;
}

/* Drivers of the kernel that DPDK works beside: the interface stays, and shares its link. */
static const char *const shared[] = {"mlx5_core", "mlx4_core", "mana"};
/* ... and those that give it the device, but no IOMMU. */
static const char *const bare[] = {"uio_pci_generic", "igb_uio"};

static bool among(const char *name, const char *const *list, unsigned n) {
  while (n > 0 && strcmp(list[n - 1], name) != 0) n--;
  return n > 0;
}
#define AMONG(name, list) among(name, list, sizeof(list) / sizeof((list)[0]))

static int pci_missing(const char *root, const weft__nic_conf_t *c, const char *pci,
                       uint64_t memlock, char *text, size_t len) {
  char path[512], driver[64];

  snprintf(path, sizeof(path), "%s/sys/bus/pci/devices/%s", root, pci);
  if (access(path, F_OK) != 0) {
    snprintf(text, len, "%s: there is no such PCI device: lspci -D lists them", pci);
    return WEFT_WHY_NO_DEVICE;
  }
  snprintf(path, sizeof(path), "%s/sys/bus/pci/devices/%s/driver", root, pci);
  if (!link_name(path, driver, sizeof(driver))) {
    snprintf(text, len, "%s: no driver has it: dpdk-devbind.py --bind=vfio-pci %s", pci, pci);
    return WEFT_WHY_SYSTEM;
  }
  if (AMONG(driver, shared)) return WEFT_WHY_OK;
  if (AMONG(driver, bare)) {
    if (c->hugepages) return WEFT_WHY_OK;
    snprintf(text, len, "%s: %s needs physical addresses, so hugepages: %s_HUGEPAGES=1", pci,
             driver, c->prefix);
    return WEFT_WHY_SYSTEM;
  }
  if (strcmp(driver, "vfio-pci") != 0) {
    snprintf(text, len,
             "%s: the kernel's driver %.24s has it: take it down, then dpdk-devbind.py "
             "--bind=vfio-pci %s",
             pci, driver, pci);
    return WEFT_WHY_SYSTEM;
  }
  return vfio(root, pci, memlock, text, len);
}

/* ---- Devices of software ---- */

static bool shares_interface(const char *name) {
  return strncmp(name, "net_af_packet", 13) == 0 || strncmp(name, "net_af_xdp", 10) == 0;
}

/* Of this process's network, which /sys need not show; -1: there is no such interface. */
static int interface_flags(const char *name) {
  struct ifreq r;
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), flags = -1;

  memset(&r, 0, sizeof(r));
  snprintf(r.ifr_name, sizeof(r.ifr_name), "%.15s", name);
  if (fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &r) == 0) flags = (uint16_t) r.ifr_flags;
  if (fd >= 0) close(fd);
  return flags;
}

/* An interface of the system is at its other end. */
static int beside_interface(const char *root, const char *name, const char *args, char *text,
                            size_t len) {
  char iface[32];
  int flags;

  if (!argument(args, "iface", iface, sizeof(iface))) {
    snprintf(text, len, "%.24s: iface= is missing: the interface that it shares", name);
    return WEFT_WHY_NO_DEVICE;
  }
  flags = interface_flags(iface);
  if (flags < 0) {
    snprintf(text, len, "%.24s: iface=%.16s: there is no such interface", name, iface);
    return WEFT_WHY_NO_DEVICE;
  }
  if ((flags & IFF_UP) == 0 || (flags & IFF_RUNNING) == 0) {
    snprintf(text, len, "%.24s: %.16s is down", name, iface);
    return WEFT_WHY_LINK_DOWN;
  }
  if (!capable(root, CAP_NET_RAW_BIT)) {
    snprintf(text, len,
             "%.24s: packet sockets need CAP_NET_RAW: setcap cap_net_raw+ep, or a user namespace",
             name);
    return WEFT_WHY_SYSTEM;
  }
  return WEFT_WHY_OK;
}

static int tap(const char *root, const char *name, char *text, size_t len) {
  char path[512];
  int fd;

  snprintf(path, sizeof(path), "%s/dev/net/tun", root);
  fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd >= 0) {
    close(fd);
    return WEFT_WHY_OK;
  }
  snprintf(text, len, "%.24s: /dev/net/tun: %s: %s", name, strerrorname_np(errno),
           errno == ENOENT ? "modprobe tun; in a container: --device=/dev/net/tun"
                           : "it may not be opened");
  return WEFT_WHY_SYSTEM;
}

void weft__nic_beside(const char *root, const weft__nic_conf_t *c, const char *name, char *out,
                      size_t len) {
  char args[1024], pci[PCI_NAME], path[512], driver[64];
  struct dirent *d;
  DIR *dir;

  out[0] = '\0';
  if (c->devices == NULL || !find_args(c->devices, name, args, sizeof(args))) return;
  if (shares_interface(name)) {
    (void) argument(args, "iface", out, len);
    return;
  }
  if (!pci_name(name, pci)) return;
  snprintf(path, sizeof(path), "%s/sys/bus/pci/devices/%s/driver", root, pci);
  if (!link_name(path, driver, sizeof(driver)) || !AMONG(driver, shared)) return;
  snprintf(path, sizeof(path), "%s/sys/bus/pci/devices/%s/net", root, pci);
  dir = opendir(path);
  while (dir != NULL && out[0] == '\0' && (d = readdir(dir)) != NULL)
    if (d->d_name[0] != '.') snprintf(out, len, "%s", d->d_name);
  if (dir != NULL) closedir(dir);
}

int weft__nic_missing(const char *root, const weft__nic_conf_t *c, const char *name,
                      uint64_t memlock, char *text, size_t len) {
  char args[1024], pci[PCI_NAME];
  int why = WEFT_WHY_OK;

  text[0] = '\0';
  if (c->devices == NULL || !find_args(c->devices, name, args, sizeof(args))) return WEFT_WHY_OK;
  if (pci_name(name, pci))
    why = pci_missing(root, c, pci, memlock, text, len);
  else if (shares_interface(name))
    why = beside_interface(root, name, args, text, len);
  else if (strncmp(name, "net_tap", 7) == 0)
    why = tap(root, name, text, len);
  else if (strncmp(name, "net_", 4) != 0 && strncmp(name, "eth_", 4) != 0 &&
           strncmp(name, "virtio_user", 11) != 0) {
    snprintf(text, len, "%.40s: neither a PCI address nor a virtual device (net_memif0, ...)",
             name);
    why = WEFT_WHY_NO_DEVICE;
  }
  if (why == WEFT_WHY_OK && c->hugepages) why = hugepages(root, c, name, text, len);
  return why;
}
