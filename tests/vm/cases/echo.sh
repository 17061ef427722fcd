#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# echo.sh [ADDRESS-OF-A ["COUNT SIZE"...]]: examples/echo_*: small and large messages go over verbs, from one device
# to the other.
. "$WEFT_VM_CASE"
address=${1:-$A}
own_choice=
[ $# -gt 1 ] || { own_choice=1; set -- "$address" "200 64" "20 20000" "3 3000000"; }
start a server.log "$WEFT_BIN/echo_server" "weft://$address:0"
server=$JOB
url=$(listening server.log)
for args in "${@:2}"; do
  # shellcheck disable=SC2086
  on b timeout 60 "$WEFT_BIN/echo_client" "$url?require=verbs" $args >"$TMP/client.log" 2>&1 ||
    fail "echo_client $args"
  grep -q "^${args%% *} echoes of ${args##* } bytes over verbs $DEVICE_B" "$TMP/client.log" ||
    fail "echo_client $args says something else"
  tail -n 1 "$TMP/client.log"
done
if [ -n "$own_choice" ]; then # without a need
  on b timeout 60 "$WEFT_BIN/echo_client" "$url" 100 64 >"$TMP/client.log" 2>&1 || fail "echo_client"
  grep -q "^100 echoes of 64 bytes over verbs $DEVICE_B" "$TMP/client.log" || fail "not over verbs by itself"
fi
stop "$server"
ends "$server" 0
