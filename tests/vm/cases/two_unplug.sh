#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Two hosts: the cable is pulled for a moment in the middle of a conversation over verbs; every message still
# gets its echo. The pull was real: the carrier went.
. "$WEFT_VM_CASE"
start a server.log "$WEFT_BIN/echo_server" "weft://$A:0"
server=$JOB
url=$(listening server.log)
start b client.log "$WEFT_BIN/echo_client" "$url" 120 64 50
client=$JOB
wait_for client.log '^moved .* to verbs|verbs .*IN_USE'
sleep 2
unplug a
sleep 1
[ "$(on a cat /sys/class/net/eth0/carrier)" = 0 ] || fail "the cable is still in"
sleep 1
plug a
ends "$client" 0 90
tail -n 1 "$TMP/client.log"
grep -q '^120 echoes of 64 bytes over ' "$TMP/client.log" || fail "echoes are missing"
stop "$server"
ends "$server" 0
