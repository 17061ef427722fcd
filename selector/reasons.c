/* SPDX-License-Identifier: Apache-2.0 */
/* reasons.c - the one table of reason codes: name, what happened, what to do about it.
 *
 * Tools and docs print from here. A code never changes its number or meaning; texts may. */
#include "reasons.h"

#include <errno.h>
#include <stddef.h>

#include "weft_qos.h"

static const struct reason {
  int why;
  const char *name;
  const char *text; /* what happened */
  const char *help; /* what to do */
} reasons[] = {
#define REASON(code, text, help)                                                                   \
  { WEFT_WHY_##code, "WEFT_WHY_" #code, text, help }
    REASON(OK, "usable", "Nothing to do: the rank says how it compares with the others."),
    REASON(IN_USE, "carries data now", "Nothing to do."),
    REASON(STANDBY, "open, ready to take over",
           "Nothing to do: it takes over when the path in "
           "use dies."),
    REASON(
        NO_DEVICE, "no device",
        "For verbs: is there an RDMA card (lspci), is its driver loaded (ls /dev/infiniband), "
        "and does ibv_devices list it? Soft RoCE over any Ethernet device: rdma link add rxe0 "
        "type rxe netdev eth0. For dpdk: FI_DPDK_DEVICE names devices; docs/dpdk.md sets one up."),
    REASON(NO_PROVIDER, "libfabric has no such provider",
           "Run fi_info -l. A provider that is a file of its own must lie in FI_PROVIDER_PATH and "
           "load: check ldd on it. Check that FI_PROVIDER does not leave it out."),
    REASON(
        NOT_BUILT, "left out of this build of Weft",
        "Configure Weft with the option that the detail names (cmake -DWEFT_DPDK=ON); the summary "
        "of the configure step says what is missing."),
    REASON(NO_ADDRESS, "the device has no address that a peer could reach",
           "Give its network interface an IP address: ip address add ADDRESS/LENGTH dev DEVICE. "
           "RoCE devices need one too."),
    REASON(LINK_DOWN, "the device's link is down",
           "ip link set DEVICE up; then check the cable and the switch port. For RDMA: rdma link."),
    REASON(QUIRK, "known to misbehave in this libfabric version",
           "The detail names the defect. Use another provider, or a libfabric that has it fixed."),
    REASON(LOOPBACK, "a loopback device",
           "Nothing to do: it reaches only this machine, where Weft uses it by itself."),
    REASON(PEER_LACKS, "the peer offers nothing of this kind",
           "Run weft_info on the peer: it says why its side has no such candidate. Both ends need "
           "the same kind of network."),
    REASON(PEER_VETO, "the peer refused it",
           "The peer's needs, options or policy forbid it; the detail has its reason."),
    REASON(UNREACHABLE, "it did not connect, or nothing leads there",
           "The detail names the address and the error. Check routes (ip route get ADDRESS), "
           "firewalls on the ports named, and that both ends are on that network."),
    REASON(TIMEOUT, "it was tried and did not connect in time",
           "Packets may be dropped on the way (firewall, MTU, wrong VLAN). If it is only slow, "
           "raise upgrade_budget_ms."),
    REASON(NO_PROOF, "somebody answered, but not the peer of this session",
           "Another Weft has that address as seen from here: private addresses repeat behind NAT. "
           "Leave the device out with devices= where this is known."),
    REASON(DIED, "it carried this connection and died",
           "The detail has the cause. Weft goes back to it by itself when it has been healthy for "
           "settle_ms, longer after each failure."),
    REASON(FORBIDDEN, "the needs forbid it",
           "Take it out of forbid= if it may carry this connection."),
    REASON(NOT_REQUIRED, "the needs require others",
           "Add it to require= (or to the option providers), or leave that empty to allow all."),
    REASON(DEVICE_FILTER, "devices= leaves it out",
           "Add the device to devices= in the URL or to the option devices (WEFT_DEVICES), or "
           "leave that empty to allow all."),
    REASON(POLICY_RULE, "an operator's rule",
           "The detail names the rule and its line in the policy."),
    REASON(TOO_SLOW, "it does not meet the needs",
           "The detail has the figures. Relax latency= or bandwidth=, or drop strict=yes to take "
           "the best there is."),
    REASON(OUTRANKED, "usable, but others are better and enough are open",
           "Nothing to do. standby= says how many standby paths are kept open."),
    REASON(SYSTEM, "a system call failed",
           "The detail names the call and its error; EMFILE: raise ulimit -n; ENOMEM while "
           "registering memory: raise ulimit -l. For RDMA, docs/rdma.md goes through modules, "
           "nodes of /dev/infiniband, permissions and locked memory; for dpdk docs/dpdk.md through "
           "drivers, IOMMU and hugepages."),
#undef REASON
};

static const struct reason *find(int why) {
  size_t i;

  for (i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
    if (reasons[i].why == why) return &reasons[i];
  return NULL;
}

const char *weft_why_name(int why) {
  const struct reason *r = find(why);
  return r != NULL ? r->name : "WEFT_WHY_?";
}

const char *weft_why_help(int why) {
  const struct reason *r = find(why);
  return r != NULL ? r->help : "Unknown to this version of Weft: the peer's may be newer.";
}

const char *weft__why_text(int why) {
  const struct reason *r = find(why);
  return r != NULL ? r->text : "?";
}

int weft__why_at(unsigned i, int *why) {
  if (i >= sizeof(reasons) / sizeof(reasons[0])) return -ENOENT;
  *why = reasons[i].why;
  return 0;
}
