#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Frames and writes over verbs between two devices, below sessions, and they really cross the wire.
. "$WEFT_VM_CASE"
sent() { on a cat "/sys/class/net/$NETDEV_A/statistics/tx_packets"; }
before=$(sent)
on b timeout 80 "$WEFT_BIN/rail_msg_verbs_smoke" "${1:-$A}" "${2:-$B}" || fail "rail_msg_verbs_smoke"
crossed=$(($(sent) - before))
echo "$crossed packets left $NETDEV_A"
[ $crossed -gt 500 ] || fail "1000 echoes were not seen on the wire"
