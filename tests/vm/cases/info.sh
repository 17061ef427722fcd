#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# weft_info names both RDMA devices with their addresses as candidates, and that memory is moved by the device.
. "$WEFT_VM_CASE"
for host in a b; do
  on "$host" "$WEFT_BIN/weft_info" >"$TMP/info.log" || fail "weft_info"
  cat "$TMP/info.log"
  case $host in a) device=$DEVICE_A address=$A address6=$A6 ;; b) device=$DEVICE_B address=$B address6=$B6 ;; esac
  for at in "$address" "\[$address6\]"; do
    grep -Eq "^[0-9]+ +verbs +$device +$at .* device +yes " "$TMP/info.log" ||
      fail "no candidate verbs $device $at"
  done
  grep -Eq "^0 +verbs +$device " "$TMP/info.log" || fail "verbs is not the first choice"
  ! grep -Eq "^[0-9]+ +verbs +[^ ]+ .*$([ $host = a ] && echo "$DEVICE_B" || echo "$DEVICE_A") " \
    "$TMP/info.log" || fail "the other host's device is a candidate"
done
