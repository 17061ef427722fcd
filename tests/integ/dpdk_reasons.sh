#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What weft_info says of devices of DPDK that cannot be used, without one of them being touched; and what is said of
# those that only opening finds out.
. "${BASH_SOURCE%/*}/lib_examples.sh" || exit 1
need echo_server weft_info
two_namespaces
command -v setpriv >/dev/null || skip "no setpriv (util-linux)"
unset FI_DPDK_DEVICE FI_DPDK_ADDRESS FI_DPDK_HUGEPAGES
export WEFT_PROVIDERS=dpdk WEFT_LOG=warn
there() { ip netns exec "$A" env "$@"; }

# says REGEX NAME=VALUE...: weft_info in that environment, about dpdk.
says() {
  local want=$1
  shift
  there "$@" "$WEFT_BIN/weft_info" -v >"$TMP/info.log" 2>&1
  grep -A 2 '^dpdk.*: not usable' "$TMP/info.log" | tr -s ' \n' ' ' | grep -Eq "$want" || fail "$*: no '$want'"
}
# refuses REGEX NAME=VALUE...: a server in that environment does not listen there.
refuses() {
  local want=$1
  shift
  ! there "$@" timeout 20 "$WEFT_BIN/echo_server" weft://10.9.0.1:7000 >"$TMP/refuses.log" 2>&1 || fail "$*: listens"
  grep -Eq "$want" "$TMP/refuses.log" || fail "$*: no '$want'"
}
at=FI_DPDK_ADDRESS=10.9.0.1/24

says 'WEFT_WHY_NO_DEVICE detail FI_DPDK_DEVICE is not set'
says 'WEFT_WHY_NO_ADDRESS detail FI_DPDK_ADDRESS is not set' FI_DPDK_DEVICE=net_null0
says 'WEFT_WHY_NO_ADDRESS detail FI_DPDK_ADDRESS=10.9.0.1/40 does not give' FI_DPDK_DEVICE=net_null0 FI_DPDK_ADDRESS=10.9.0.1/40
says 'WEFT_WHY_NO_ADDRESS detail FI_DPDK_ADDRESS=10.9.0.1/24 does not give each' "FI_DPDK_DEVICE=net_null0;net_null1" $at
says 'WEFT_WHY_NO_ADDRESS .*the system has this address itself, on v1' FI_DPDK_DEVICE=net_null0 FI_DPDK_ADDRESS=10.77.1.1/24
says 'WEFT_WHY_NO_DEVICE .*eth0: neither a PCI address nor a virtual device' FI_DPDK_DEVICE=eth0 $at
says 'WEFT_WHY_NO_DEVICE .*00ff:ff:1f.7: there is no such PCI device' FI_DPDK_DEVICE=00ff:ff:1f.7 $at
says 'WEFT_WHY_NO_DEVICE .*iface=nosuch: there is no such interface' FI_DPDK_DEVICE=net_af_packet0,iface=nosuch $at
says 'WEFT_WHY_NO_DEVICE .*iface= is missing' FI_DPDK_DEVICE=net_af_packet0 $at
ip -n "$A" link set v2 down
says 'WEFT_WHY_LINK_DOWN .*net_af_packet0: v2 is down' FI_DPDK_DEVICE=net_af_packet0,iface=v2 $at
if ! grep -qs '[1-9]' /sys/kernel/mm/hugepages/*/free_hugepages; then
  says 'WEFT_WHY_SYSTEM .*FI_DPDK_HUGEPAGES=1, and (none is free|this kernel has none)' FI_DPDK_DEVICE=net_null0 FI_DPDK_HUGEPAGES=1 $at
fi
says 'WEFT_WHY_SYSTEM .*packet sockets need CAP_NET_RAW' FI_DPDK_DEVICE=net_af_packet0,iface=v1 $at \
  setpriv --bounding-set=-all --inh-caps=-all
# One device out of two: the other is used.
there FI_DPDK_DEVICE="net_null0,no-rx=1;net_af_packet0,iface=v2" FI_DPDK_ADDRESS="10.9.0.1/24;10.9.1.1/24" \
  "$WEFT_BIN/weft_info" >"$TMP/two.log" 2>&1
grep -Eq '^0 +dpdk +net_null0 +10\.9\.0\.1 ' "$TMP/two.log" || fail "the good one of two devices is not there"

refuses 'dpdk net_nosuch0: fi_fabric: .*FI_LOG_LEVEL=warn' FI_DPDK_DEVICE=net_nosuch0 $at
refuses 'net_nosuch0: DPDK does not take the device' FI_DPDK_DEVICE=net_nosuch0 $at FI_LOG_LEVEL=warn
refuses 'Unknown role: nobody' FI_DPDK_DEVICE=net_memif0,role=nobody $at FI_LOG_LEVEL=warn
