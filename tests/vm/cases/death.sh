#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# death.sh "KIND [HOW]"...: an RDMA path dies, in each of these ways: see rdma_death.c. Each begins with a network
# that is made anew, which also shows that nothing keeps a device open.
. "$WEFT_VM_CASE"
. "$WEFT_VM_GUEST/net.sh"
export WEFT_SETTLE_MS=1ms
again=
for args in "$@"; do
  echo "--- $args"
  # Soft RoCE of this kernel makes no connection any more after its link went down under one.
  [ -z "$again" ] || { vm_network_down && vm_layout "$WEFT_VM_LAYOUT"; } || fail "the network cannot be made anew"
  again=1
  # shellcheck disable=SC2086
  timeout -s KILL 100 "$WEFT_BIN/rdma_death" $args 2>&1 || fail "rdma_death $args"
done
