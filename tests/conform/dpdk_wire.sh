#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# dpdk_wire.sh WIRE PROGRAM CLIENT SERVER - a program of this folder whose two ends are joined by a wire, so that
# their frames leave and come, with the faults that FI_DPDK_LOSS_PPM and the like ask for.
#   memif, vhost  two devices of the one stack of `dpdk`, joined by shared memory
#   foe           the two ends in `dpdk` without a wire; sockets of the kernel reach them over a veth pair, by af_packet
#   veth          one end of `dpdk`, by af_packet, and the other of a provider over the kernel's TCP
. "${BASH_SOURCE%/*}/../integ/lib_examples.sh" || exit 1
[ $# -eq 4 ] || fail "usage: dpdk_wire.sh WIRE PROGRAM CLIENT SERVER"
wire=$1 program=$2 client=$3 server=$4
need "$program"

export FI_DPDK_ADDRESS="10.9.0.1/24;10.9.0.2/24" WEFT_CONFORM_NODE=10.9.0.2
case $wire in
memif)
  export FI_DPDK_DEVICE="net_memif0,role=server,id=0,socket-abstract=no,socket=$TMP/wire"
  FI_DPDK_DEVICE+=";net_memif1,role=client,id=0,socket-abstract=no,socket=$TMP/wire"
  ;;
vhost)
  export FI_DPDK_DEVICE="net_vhost0,iface=$TMP/wire;net_virtio_user0,path=$TMP/wire"
  ;;
veth | foe)
  command -v ethtool >/dev/null || skip "ethtool is not installed"
  if [ -z "${WEFT_WIRE_INSIDE:-}" ]; then
    for enter in "unshare -n" "unshare -Urn"; do
      # shellcheck disable=SC2086
      $enter true 2>/dev/null || continue
      status=0
      WEFT_WIRE_INSIDE=1 $enter bash "${BASH_SOURCE[0]}" "$@" || status=$?
      exit "$status"
    done
    skip "this user may not make network namespaces"
  fi
  ip link set lo up || fail "no loopback device"
  ip link add kernel type veth peer name user || fail "no veth"
  # What the kernel leaves to a device, nobody would do.
  ethtool -K kernel tx off tso off gso off gro off >"$TMP/ethtool.log" 2>&1 || fail "offloads"
  export FI_DPDK_DEVICE="net_af_packet0,iface=user"
  if [ "$server" = dpdk ]; then
    FI_DPDK_ADDRESS=10.9.0.2/24
    ip addr add 10.9.0.1/24 dev kernel || fail "no address"
    export WEFT_CONFORM_FOE=10.9.0.1
  else
    FI_DPDK_ADDRESS=10.9.0.1/24
    ip addr add 10.9.0.2/24 dev kernel || fail "no address"
  fi
  ip link set kernel up && ip link set user up || fail "veth is not up"
  ;;
*) fail "no wire is called $wire" ;;
esac
"$WEFT_BIN/$program" "$client" "$server"
status=$?
exit "$status"
