#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# weft_info names what stands between an RDMA device and a program, each thing taken away by itself and given back.
. "$WEFT_VM_CASE"
cm=/dev/infiniband/rdma_cm
nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups)

# says WHY REGEX COMMAND...: weft_info, run by COMMAND (env for nothing special), rejects the device so.
says() {
  local why=$1 regex=$2
  shift 2
  on a "$@" "$WEFT_BIN/weft_info" -p verbs >"$TMP/info.log" 2>&1
  grep "$why" "$TMP/info.log" | grep -E "$regex" || fail "no $why with '$regex'"
  ! grep -Eq "^[0-9]+ +verbs +$DEVICE_A " "$TMP/info.log" || fail "$DEVICE_A is a candidate all the same"
}

says WEFT_WHY_SYSTEM "$DEVICE_A: only 64 KiB of memory may be locked" "${nobody[@]}" prlimit --memlock=65536:65536
chmod 600 $cm
says WEFT_WHY_SYSTEM "$DEVICE_A: no permission for $cm .EACCES" "${nobody[@]}"
chmod 666 $cm
mv $cm $cm.away
says WEFT_WHY_SYSTEM "$DEVICE_A: no $cm: modprobe rdma_ucm" env
mv $cm.away $cm
ip addr flush dev "$NETDEV_A"
says WEFT_WHY_NO_ADDRESS "$DEVICE_A: its network interface has no IP address" env
ip link set "$NETDEV_A" down
says WEFT_WHY_LINK_DOWN "$DEVICE_A.* no port is active" env
