#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# api.sh PROGRAM: a test of tests/integ with both ends in one process, each on its own device; only verbs may
# carry messages.
. "$WEFT_VM_CASE"
[ -x "$WEFT_BIN/$1" ] || fail "$1 is not built"
export WEFT_TEST_LISTEN="weft://$A:0" WEFT_TEST_NEEDS=require=verbs
export WEFT_TEST_DEVICES_A="$DEVICE_A,$NETDEV_A" WEFT_TEST_DEVICES_B="$DEVICE_B,$NETDEV_B"
sent() { cat "/sys/class/net/$NETDEV_A/statistics/tx_packets"; }
before=$(sent)
"$WEFT_BIN/$1" 2>&1 || fail "$1"
[ $(($(sent) - before)) -gt 50 ] || fail "hardly anything was seen on the wire"
