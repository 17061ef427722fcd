#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# pingpong_dpdk.sh PEER MTU - libfabric's own fi_pingpong between two processes, of which one is TCP in user
# space: every size it has, with its check of the data. PEER is `dpdk`, at the other end of a pair of memif, or
# a provider of the kernel's TCP, behind a veth pair whose other end is the device.
# ctest: timeout=90
. "${BASH_SOURCE%/*}/../integ/lib_examples.sh" || exit 1
command -v fi_pingpong >/dev/null || skip "fi_pingpong is not installed (Debian: libfabric-bin)"
[ $# -eq 2 ] || fail "usage: pingpong_dpdk.sh PEER MTU"
[ "$1" = dpdk ] || command -v ethtool >/dev/null || skip "ethtool is not installed"

# A namespace of its own: fi_pingpong meets its peer by the kernel's TCP first, at the same address.
if [ -z "${WEFT_PINGPONG_INSIDE:-}" ]; then
  for enter in "unshare -n" "unshare -Urn"; do
    # shellcheck disable=SC2086
    $enter true 2>/dev/null || continue
    status=0
    WEFT_PINGPONG_INSIDE=1 $enter bash "${BASH_SOURCE[0]}" "$@" || status=$?
    exit "$status"
  done
  skip "this user may not make network namespaces"
fi
ip link set lo up || fail "no loopback device"

export FI_DPDK_MTU=$2
transfers=10
args=(-e msg -S all -c -I "$transfers")
if [ "$1" = dpdk ]; then
  ip addr add 10.9.0.1/32 dev lo || fail "no address"
  FI_DPDK_DEVICE="net_memif0,role=server,id=0,socket=weft_pingpong"
  device="net_memif0,role=client,id=0,socket=weft_pingpong"
else
  ip link add kernel type veth peer name user || fail "no veth"
  ip link set kernel mtu "$2" && ip link set user mtu "$2" || fail "MTU $2"
  # What the kernel leaves to a device, nobody would do.
  ethtool -K kernel tx off tso off gso off gro off >"$TMP/ethtool.log" 2>&1 || fail "offloads"
  ip addr add 10.9.0.1/24 dev kernel || fail "no address"
  ip link set kernel up && ip link set user up || fail "veth is not up"
  device="net_af_packet0,iface=user"
fi

export FI_DPDK_DEVICE FI_DPDK_ADDRESS=10.9.0.1/24
background "$TMP/server.log" fi_pingpong -p "$1" "${args[@]}"
server=$PID
deadline=$((SECONDS + 20))
until grep -q ':B9E8 .* 0A ' /proc/net/tcp /proc/net/tcp6; do # 47592 listens
  kill -0 "$server" 2>/dev/null || fail "the server has ended"
  [ "$SECONDS" -lt "$deadline" ] || fail "the server does not listen"
  sleep 0.02
done
FI_DPDK_DEVICE=$device FI_DPDK_ADDRESS=10.9.0.2/24 timeout 80 fi_pingpong -p dpdk "${args[@]}" 10.9.0.1 \
  >"$TMP/client.log" 2>&1 || fail "the client: $?"
ends "$server" 0
sizes=$(awk -v n="$transfers" '$2 == n && $3 == "=" n { sizes++ } END { print sizes + 0 }' "$TMP/client.log")
[ "$sizes" -ge 40 ] || fail "$sizes sizes were tried"
grep -q '^6m ' "$TMP/client.log" || fail "6 MiB were not tried"
echo "dpdk and $1, MTU $2: $sizes sizes"
