/* SPDX-License-Identifier: Apache-2.0 */
/* ib.c - what is missing between an RDMA device that the kernel has and a program that wants it.
 *
 * Design notes
 *  - libibverbs and librdmacm leave a device out without a word when a module is not loaded or a
 *    node cannot be opened, and libfabric then lists nothing: so the files they need are looked at
 *    in the order in which they need them. Nodes are opened and closed, for permissions of a file
 *    do not tell of a container's device rules.
 *  - Too little lockable memory shows only when a rail registers its first buffers, as ENOMEM. */
#include "ib.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "internal.h"

#ifdef WEFT_HAVE_VERBS
#include <infiniband/verbs.h>
#endif

#define CAP_IPC_LOCK_BIT 14

uint64_t weft__ib_memlock(void) {
  struct rlimit limit;
  unsigned long long caps = 0;
  char line[128];
  FILE *f = fopen("/proc/self/status", "re");

  while (f != NULL && fgets(line, sizeof(line), f) != NULL)
    if (sscanf(line, "CapEff: %llx", &caps) == 1) break;
  if (f != NULL) fclose(f);
  if ((caps >> CAP_IPC_LOCK_BIT & 1) != 0 || getrlimit(RLIMIT_MEMLOCK, &limit) != 0 ||
      limit.rlim_cur == RLIM_INFINITY)
    return UINT64_MAX;
  return limit.rlim_cur;
}

/* The uverbs node of the device: 1, 0 when it has none, -1 when the module is not there. */
static int find_node(const char *root, const char *device, char *node, size_t len) {
  char path[512], name[64];
  struct dirent *d;
  int found = 0;
  DIR *dir;

  snprintf(path, sizeof(path), "%s/sys/class/infiniband_verbs", root);
  dir = opendir(path);
  if (dir == NULL) return -1;
  while (found == 0 && (d = readdir(dir)) != NULL) {
    FILE *f;
    if (strncmp(d->d_name, "uverbs", 6) != 0) continue;
    snprintf(path, sizeof(path), "%s/sys/class/infiniband_verbs/%.40s/ibdev", root, d->d_name);
    f = fopen(path, "re");
    if (f == NULL) continue;
    if (fgets(name, sizeof(name), f) == NULL) name[0] = '\0';
    fclose(f);
    name[strcspn(name, "\n")] = '\0';
    if (strcmp(name, device) != 0) continue;
    snprintf(node, len, "%.40s", d->d_name);
    found = 1;
  }
  closedir(dir);
  return found;
}

/* Whether the node under /dev/infiniband can be opened; else the sentence. */
static bool opens(const char *root, const char *device, const char *node, const char *module,
                  char *text, size_t len) {
  char path[512], why[96];
  int fd, err;

  snprintf(path, sizeof(path), "%s/dev/infiniband/%s", root, node);
  fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd >= 0) {
    close(fd);
    return true;
  }
  err = errno;
  if (err == ENOENT || err == ENXIO || err == ENODEV)
    snprintf(text, len,
             "%.32s: no /dev/infiniband/%s: modprobe %s; in a container: --device=/dev/infiniband",
             device, node, module);
  else if (err == EACCES || err == EPERM)
    snprintf(text, len,
             "%.32s: no permission for /dev/infiniband/%s (%s): rdma-core's udev rules give it, a "
             "container needs --device",
             device, node, err == EACCES ? "EACCES" : "EPERM");
  else
    snprintf(text, len, "%.32s: opening /dev/infiniband/%s: %s", device, node,
             weft__err_str(-err, why, sizeof(why)));
  return false;
}

bool weft__ib_missing(const char *root, const char *device, uint64_t memlock, char *text,
                      size_t len) {
  char node[48];
  int found = find_node(root, device, node, sizeof(node));

  text[0] = '\0';
  if (found < 0) {
    snprintf(text, len, "%.32s: the kernel's module ib_uverbs is not loaded: modprobe ib_uverbs",
             device);
    return true;
  }
  if (found == 0) {
    snprintf(text, len, "%.32s: /sys/class/infiniband_verbs has no entry for it: see dmesg",
             device);
    return true;
  }
  if (!opens(root, device, node, "ib_uverbs", text, len) ||
      !opens(root, device, "rdma_cm", "rdma_ucm", text, len))
    return true;
  if (memlock < WEFT__IB_MEMLOCK_MIN) {
    snprintf(
        text, len,
        "%.32s: only %llu KiB of memory may be locked: ulimit -l unlimited, LimitMEMLOCK=infinity",
        device, (unsigned long long) (memlock >> 10));
    return true;
  }
  return false;
}

struct ibv_context *weft__ib_open(const char *device, int *err) {
  struct ibv_context *ctx = NULL;

  *err = -ENODEV;
#ifdef WEFT_HAVE_VERBS
  struct ibv_device **list = ibv_get_device_list(NULL), **v;

  if (list == NULL) {
    if (errno != 0) *err = -errno;
    return NULL;
  }
  for (v = list; *v != NULL && strcmp(ibv_get_device_name(*v), device) != 0; v++)
    ;
  if (*v != NULL) {
    errno = 0;
    ctx = ibv_open_device(*v);
    *err = ctx != NULL ? 0 : errno != 0 ? -errno : -EIO;
  }
  ibv_free_device_list(list);
#else
  (void) device;
#endif
  return ctx;
}
