#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# weft_perf: round trips, rate and bandwidth over verbs; the figures are printed, not judged: time is distorted here.
. "$WEFT_VM_CASE"
start a server.log "$WEFT_BIN/weft_perf" --server --listen "$A:7471"
server=$JOB
wait_for server.log "7471"
on b timeout 90 "$WEFT_BIN/weft_perf" "$A:7471" --test rtt,rate,bw --duration 1 --sleep \
  --qos require=verbs >"$TMP/client.log" 2>&1 || fail "weft_perf"
cat "$TMP/client.log"
grep -q "verbs $DEVICE_B" "$TMP/client.log" || fail "weft_perf does not name verbs $DEVICE_B"
stop "$server" INT
ends "$server" 0
