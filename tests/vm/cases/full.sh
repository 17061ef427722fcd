#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The device makes no more queue pairs: the connection runs over the next candidate, and says why.
. "$WEFT_VM_CASE"
start a server.log "$WEFT_BIN/echo_server" "weft://$A:0"
server=$JOB
url=$(listening server.log)
# The first endpoint is that of the first contact, over tcp.
export WEFT_FAULT=ep_enable:2+:ENOMEM
on b timeout 60 "$WEFT_BIN/weft_info" --explain "$url" >"$TMP/explain.log" 2>&1 || fail "weft_info --explain"
cat "$TMP/explain.log"
grep -q "fi_enable: device full: 0 of [0-9]* (endpoints) open here: .*ENOMEM" "$TMP/explain.log" ||
  fail "the reason is not told"
on b timeout 60 "$WEFT_BIN/echo_client" "$url" 20 64 >"$TMP/client.log" 2>&1 || fail "echo_client"
cat "$TMP/client.log"
grep -q "^20 echoes of 64 bytes over ${WEFT_TEST_TCP:-ksock} " "$TMP/client.log" || fail "not over TCP"
stop "$server"
ends "$server" 0
