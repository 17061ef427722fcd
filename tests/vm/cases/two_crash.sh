#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Two hosts: one loses its power in the middle of a conversation over verbs. The other's program gets one clear
# error when the peer's silence has lasted as long as it was told to bear.
. "$WEFT_VM_CASE"
start b server.log "$WEFT_BIN/echo_server" "weft://$B:0"
url=$(listening server.log)
export WEFT_PEER_TIMEOUT_MS=8s
start a client.log "$WEFT_BIN/echo_client" "$url?require=verbs" 100000 64 20
client=$JOB
wait_for client.log '^moved .* to verbs|verbs .*IN_USE'
sleep 2
crash b
ends "$client" 1 60
tail -n 3 "$TMP/client.log"
grep -q 'WEFT_EPEERLOST' "$TMP/client.log" || fail "no clear error"
