#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs inside the guest: messages over verbs between two RDMA devices, and they really cross the wire.
set -u
. "$WEFT_VM_GUEST/net.sh"
vm_two_rxe 4200 || exit 1
rdma link

sent() { cat /sys/class/net/v0/statistics/tx_packets; }
before=$(sent)
if [ -x "$WEFT_BIN/rail_msg_verbs_smoke" ]; then
  echo "--- rail_msg_verbs_smoke"
  timeout 80 "$WEFT_BIN/rail_msg_verbs_smoke" 10.9.0.1 10.9.0.2
  status=$?
else
  echo "--- fi_pingpong (rail_msg_verbs_smoke is not built)"
  timeout 60 fi_pingpong -p verbs -e msg -d rxe0 -I 100 -S 64 >/out/server 2>&1 &
  sleep 2
  timeout 60 fi_pingpong -p verbs -e msg -d rxe1 -I 100 -S 64 10.9.0.1
  status=$?
  wait
  [ $status = 0 ] || cat /out/server
fi
crossed=$(($(sent) - before))
echo "exit code $status, $crossed packets left v0"
[ $status = 0 ] && [ $crossed -gt 20 ]
