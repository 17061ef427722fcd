#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# dpdk_faults.sh - the parameters of `dpdk` that ask for faults: told of, and wrong values are not passed over.
. "${BASH_SOURCE%/*}/../integ/lib_examples.sh" || exit 1
command -v fi_info >/dev/null || skip "fi_info is not installed (Debian: libfabric-bin)"
export FI_DPDK_DEVICE="net_null0,no-rx=1" FI_DPDK_ADDRESS=10.9.0.1/24 FI_LOG_LEVEL=warn

fi_info -e >"$TMP/env.log" 2>&1
fi_info -p dpdk >"$TMP/plain.log" 2>&1 || fail "no device without faults"
for name in LOSS_PPM DUP_PPM REORDER_PPM DELAY_US SEED; do
  grep -a -A 3 "^# FI_DPDK_$name:" "$TMP/env.log" | grep -aq "for tests: " || fail "fi_info -e does not tell of $name"
  for wrong in -1 99999999999 1x x ""; do
    ! env "FI_DPDK_$name=$wrong" fi_info -p dpdk >"$TMP/wrong.log" 2>&1 || fail "FI_DPDK_$name='$wrong' gives a device"
    grep -iq "$name: $wrong is no number from 0 to [0-9]*, so there is no device" "$TMP/wrong.log" ||
      fail "FI_DPDK_$name='$wrong' has no clear error"
  done
  env "FI_DPDK_$name=7" fi_info -p dpdk >"$TMP/right.log" 2>&1 || fail "FI_DPDK_$name=7 gives no device"
done
! FI_DPDK_LOSS_PPM=1000001 fi_info -p dpdk >"$TMP/wrong.log" 2>&1 || fail "more than all are lost"
