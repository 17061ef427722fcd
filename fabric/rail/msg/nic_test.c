/* SPDX-License-Identifier: Apache-2.0 */
/* nic_test.c - each thing that may be missing between a device of DPDK and a program is named, in a
 * made-up /sys, /dev and /proc. */
#include "nic.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "msg_test.h"
#include "weft_qos.h"

#define PCI "0000:3b:00.1"

static char root[64], text[160];
static weft__nic_conf_t conf;

/* ---- A made-up system ---- */

static void folders(char *full, size_t len, const char *path) {
  char *slash;

  snprintf(full, len, "%s%s", root, path);
  for (slash = full + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
    *slash = '\0';
    mkdir(full, 0755);
    *slash = '/';
  }
}

static void put(const char *path, const char *content) {
  char full[256];
  FILE *f;

  folders(full, sizeof(full), path);
  f = fopen(full, "w");
  assert_non_null(f);
  fputs(content, f);
  assert_int_equal(fclose(f), 0);
}

static void leads(const char *path, const char *to) {
  char full[256];

  folders(full, sizeof(full), path);
  (void) unlink(full);
  assert_int_equal(symlink(to, full), 0);
}

static void away(const char *path) {
  char full[256];

  snprintf(full, sizeof(full), "%s%s", root, path);
  assert_int_equal(remove(full), 0);
}

static int setup(void **state) {
  (void) state;
  snprintf(root, sizeof(root), "/tmp/weft_nic_test.XXXXXX");
  memset(&conf, 0, sizeof(conf));
  conf.prefix = "FI_DPDK";
  return mkdtemp(root) == NULL || chmod(root, 0755) != 0;
}

static int drop(const char *path, const struct stat *st, int type, struct FTW *ftw) {
  (void) st, (void) type, (void) ftw;
  return remove(path);
}

static int teardown(void **state) {
  (void) state;
  return nftw(root, drop, 8, FTW_DEPTH | FTW_PHYS);
}

/* ---- What is said ---- */

static void says_with(uint64_t memlock, const char *device, int why, const char *words) {
  int is = weft__nic_missing(root, &conf, device, memlock, text, sizeof(text));

  if (is != why || strstr(text, words) == NULL)
    fail_msg("expected %d %s, got %d '%s'", why, words, is, text);
  if (why == WEFT_WHY_OK)
    assert_string_equal(text, "");
  else
    assert_int_equal(strncmp(text, device, strlen(device)), 0); /* names the object */
}

static void says(const char *device, int why, const char *words) {
  says_with(UINT64_MAX, device, why, words);
}

/* ---- A network card ---- */

/* One after the other, as a system is set up. */
static void test_a_card_for_vfio(void **state) {
  (void) state;
  conf.devices = PCI ";net_memif0";
  says(PCI, WEFT_WHY_NO_DEVICE, "there is no such PCI device: lspci -D");
  put("/sys/bus/pci/devices/" PCI "/class", "0x020000\n");
  says(PCI, WEFT_WHY_SYSTEM, "no driver has it: dpdk-devbind.py --bind=vfio-pci " PCI);
  leads("/sys/bus/pci/devices/" PCI "/driver", "../../../bus/pci/drivers/ixgbe");
  says(PCI, WEFT_WHY_SYSTEM, "the kernel's driver ixgbe has it");
  leads("/sys/bus/pci/devices/" PCI "/driver", "../../../bus/pci/drivers/vfio-pci");
  says(PCI, WEFT_WHY_SYSTEM, "in no IOMMU group: switch the IOMMU on");
  leads("/sys/bus/pci/devices/" PCI "/iommu_group", "../../../kernel/iommu_groups/17");
  says(PCI, WEFT_WHY_SYSTEM, "/dev/vfio/17: ENOENT: modprobe vfio-pci");
  put("/dev/vfio/17", "");
  says_with(UINT64_C(64) << 10, PCI, WEFT_WHY_SYSTEM, "only 64 KiB of memory may be locked");
  says(PCI, WEFT_WHY_OK, "");
  /* Its name may be short, as lspci prints it. */
  conf.devices = "3b:00.1,queues=1";
  says("3b:00.1", WEFT_WHY_OK, "");
  conf.devices = "3b:00.2";
  assert_int_equal(weft__nic_missing(root, &conf, "3b:00.2", UINT64_MAX, text, sizeof(text)),
                   WEFT_WHY_NO_DEVICE);
  assert_int_equal(strncmp(text, "0000:3b:00.2: ", 14), 0);
}

static void bound(void) {
  conf.devices = PCI;
  leads("/sys/bus/pci/devices/" PCI "/driver", "../../../bus/pci/drivers/vfio-pci");
  leads("/sys/bus/pci/devices/" PCI "/iommu_group", "../../../kernel/iommu_groups/17");
  put("/dev/vfio/17", "");
}

/* VFIO gives all of a group, or nothing. */
static void test_shared_group(void **state) {
  (void) state;
  bound();
  away("/sys/bus/pci/devices/" PCI "/iommu_group");
  leads("/sys/bus/pci/devices/" PCI "/iommu_group", "../17");
  put("/sys/bus/pci/devices/17/devices/" PCI, "");
  put("/sys/bus/pci/devices/17/devices/0000:3b:00.0", "");
  leads("/sys/bus/pci/devices/0000:3b:00.0/driver", "../drivers/ixgbe");
  says(PCI, WEFT_WHY_SYSTEM, "IOMMU group 17 is shared with 0000:3b:00.0 (ixgbe)");
  leads("/sys/bus/pci/devices/0000:3b:00.0/driver",
        "../drivers/pcieport"); /* a bridge does no harm */
  says(PCI, WEFT_WHY_OK, "");
  leads("/sys/bus/pci/devices/0000:3b:00.0/driver", "../drivers/vfio-pci");
  says(PCI, WEFT_WHY_OK, "");
}

/* In a child without root's power. */
static void test_no_permission(void **state) {
  char full[256];
  int status;
  (void) state;

  bound();
  snprintf(full, sizeof(full), "%s/dev/vfio/17", root);
  assert_int_equal(chmod(full, geteuid() == 0 ? 0600 : 0), 0);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) _exit(2);
    int why = weft__nic_missing(root, &conf, PCI, UINT64_MAX, text, sizeof(text));
    _exit(why == WEFT_WHY_SYSTEM && strstr(text, "/dev/vfio/17: EACCES: chown") != NULL ? 0 : 1);
  }
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
}

static void test_no_iommu_at_all(void **state) {
  (void) state;
  bound();
  put("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n");
  says(PCI, WEFT_WHY_SYSTEM, "/dev/vfio/noiommu-17: ENOENT");
  put("/dev/vfio/noiommu-17", "");
  says_with(0, PCI, WEFT_WHY_OK, "");
}

/* Some cards stay with the kernel's driver; the old ways want physical addresses. */
static void test_other_drivers(void **state) {
  (void) state;
  conf.devices = PCI;
  leads("/sys/bus/pci/devices/" PCI "/driver", "../drivers/mlx5_core");
  says(PCI, WEFT_WHY_OK, "");
  leads("/sys/bus/pci/devices/" PCI "/driver", "../drivers/uio_pci_generic");
  says(PCI, WEFT_WHY_SYSTEM, "needs physical addresses, so hugepages: FI_DPDK_HUGEPAGES=1");
  conf.hugepages = 1;
  put("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "7\n");
  says(PCI, WEFT_WHY_OK, "");
}

/* ---- Memory ---- */

static void test_hugepages(void **state) {
  (void) state;
  conf.devices = "net_memif0,role=server";
  says("net_memif0", WEFT_WHY_OK, "");
  conf.hugepages = 1;
  says("net_memif0", WEFT_WHY_SYSTEM, "FI_DPDK_HUGEPAGES=1, and this kernel has none: unset it");
  put("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "0\n");
  put("/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages", "0\n");
  says("net_memif0", WEFT_WHY_SYSTEM, "none is free: sysctl vm.nr_hugepages=512");
  put("/proc/self/status", "Name:\tx\nHugetlbPages:\t       0 kB\n");
  says("net_memif0", WEFT_WHY_SYSTEM, "none is free");
  put("/proc/self/status", "Name:\tx\nHugetlbPages:\t    2048 kB\n"); /* DPDK has ours already */
  says("net_memif0", WEFT_WHY_OK, "");
  away("/proc/self/status");
  put("/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages", "1\n");
  says("net_memif0", WEFT_WHY_OK, "");
}

/* ---- Devices of software ---- */

static void test_beside_an_interface(void **state) {
  (void) state;
  conf.devices = "net_af_packet0,iface=no_such_iface,qpairs=1";
  says("net_af_packet0", WEFT_WHY_NO_DEVICE, "iface=no_such_iface: there is no such interface");
  conf.devices = "net_af_packet0,iface=lo,qpairs=1"; /* is everywhere, but it may be down */
  if (weft__nic_missing(root, &conf, "net_af_packet0", UINT64_MAX, text, sizeof(text)) ==
      WEFT_WHY_LINK_DOWN)
    skip_case("lo is down");
  put("/proc/self/status", "CapEff:\t0000000000000000\n");
  says("net_af_packet0", WEFT_WHY_SYSTEM, "CAP_NET_RAW");
  put("/proc/self/status", "CapEff:\t0000000000002000\n");
  says("net_af_packet0", WEFT_WHY_OK, "");
  conf.devices = "net_af_packet0";
  says("net_af_packet0", WEFT_WHY_NO_DEVICE, "iface= is missing");
  conf.devices = "net_af_packet0,face=v0,xiface=v0";
  says("net_af_packet0", WEFT_WHY_NO_DEVICE, "iface= is missing");
}

static void beside(const char *device, const char *interface) {
  char is[16] = "?";

  weft__nic_beside(root, &conf, device, is, sizeof(is));
  assert_string_equal(is, interface);
}

/* Whose link dies with the device's. */
static void test_the_interface_that_it_shares(void **state) {
  (void) state;
  beside("net_af_packet0", ""); /* not configured at all */
  conf.devices = "net_memif0,role=server;net_af_packet0,qpairs=1,iface=v0;net_af_xdp3;" PCI;
  beside("net_af_packet0", "v0");
  beside("net_af_packet", "");
  beside("net_memif0", "");
  beside("net_af_xdp3", "");
  beside(PCI, "");
  put("/sys/bus/pci/devices/" PCI "/net/enp59s0f1/mtu", "1500\n");
  beside(PCI, "");
  leads("/sys/bus/pci/devices/" PCI "/driver", "../drivers/mlx5_core");
  beside(PCI, "enp59s0f1");
  leads("/sys/bus/pci/devices/" PCI "/driver", "../drivers/vfio-pci");
  beside(PCI, "");
}

static void test_tap(void **state) {
  (void) state;
  conf.devices = "net_tap0";
  says("net_tap0", WEFT_WHY_SYSTEM, "/dev/net/tun: ENOENT: modprobe tun");
  put("/dev/net/tun", "");
  says("net_tap0", WEFT_WHY_OK, "");
}

/* ---- Strings that are none ---- */

static void test_names(void **state) {
  static const char *const good[] = {"net_memif0", "net_vhost1", "net_pcap", "virtio_user0"};
  unsigned i;
  (void) state;

  for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
    conf.devices = good[i];
    says(good[i], WEFT_WHY_OK, "");
  }
  conf.devices = "eth0";
  says("eth0", WEFT_WHY_NO_DEVICE, "neither a PCI address nor a virtual device");
  conf.devices = "3b:00";
  says("3b:00", WEFT_WHY_NO_DEVICE, "neither a PCI address nor a virtual device");
  conf.devices = "3b:00.1x";
  says("3b:00.1x", WEFT_WHY_NO_DEVICE, "neither a PCI address nor a virtual device");
  /* Only what is configured is judged, by its whole name. */
  conf.devices = "net_memif0;eth0x";
  says("eth0", WEFT_WHY_OK, "");
  conf.devices = NULL;
  says("eth0", WEFT_WHY_OK, "");
}

static void none(int why, const char *words) {
  int is = weft__nic_none(&conf, text, sizeof(text));

  if (is != why || strstr(text, words) == NULL) fail_msg("got %d '%s'", is, text);
}

static void test_none_configured(void **state) {
  (void) state;
  none(WEFT_WHY_NO_DEVICE, "FI_DPDK_DEVICE is not set");
  conf.devices = "";
  none(WEFT_WHY_NO_DEVICE, "FI_DPDK_DEVICE is not set");
  conf.devices = "net_memif0";
  none(WEFT_WHY_NO_ADDRESS, "FI_DPDK_ADDRESS is not set");
  conf.addresses = "10.9.0";
  none(WEFT_WHY_NO_ADDRESS,
       "FI_DPDK_ADDRESS=10.9.0 does not give each of FI_DPDK_DEVICE=net_memif0");
}

static void test_conf_from_the_environment(void **state) {
  char buf[40];
  (void) state;

  assert_int_equal(setenv("FI_NICTEST_DEVICE", "net_null0", 1), 0);
  assert_int_equal(setenv("FI_NICTEST_HUGEPAGES", "1", 1), 0);
  assert_int_equal(unsetenv("FI_NICTEST_ADDRESS"), 0);
  weft__nic_conf("nictest", &conf, buf, sizeof(buf));
  assert_string_equal(conf.prefix, "FI_NICTEST");
  assert_string_equal(conf.devices, "net_null0");
  assert_null(conf.addresses);
  assert_int_equal(conf.hugepages, 1);
  assert_int_equal(conf.mtu, 1500);
  assert_int_equal(setenv("FI_NICTEST_MTU", "9000", 1), 0);
  weft__nic_conf("nictest", &conf, buf, sizeof(buf));
  assert_int_equal(conf.mtu, 9000);
}

static void test_long_names_fit(void **state) {
  char name[300];
  (void) state;

  memset(name, 'x', sizeof(name) - 1);
  name[sizeof(name) - 1] = '\0';
  conf.devices = conf.addresses = name;
  assert_int_equal(weft__nic_missing(root, &conf, name, UINT64_MAX, text, 30), WEFT_WHY_NO_DEVICE);
  assert_int_equal(strlen(text), 29);
  assert_int_equal(weft__nic_none(&conf, text, 30), WEFT_WHY_NO_ADDRESS);
  assert_int_equal(strlen(text), 29);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void) {
  const struct CMUnitTest tests[] = {
      CASE(test_a_card_for_vfio),
      CASE(test_shared_group),
      CASE(test_no_permission),
      CASE(test_no_iommu_at_all),
      CASE(test_other_drivers),
      CASE(test_hugepages),
      CASE(test_beside_an_interface),
      CASE(test_the_interface_that_it_shares),
      CASE(test_tap),
      CASE(test_names),
      CASE(test_none_configured),
      CASE(test_conf_from_the_environment),
      CASE(test_long_names_fit),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
