#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The Python package's echo over verbs, small and large messages, Python on both ends.
. "$WEFT_VM_CASE"
examples=${WEFT_SRC:?}/examples/python
start a server.log "$WEFT_BIN/weft_python" "$examples/echo_server.py" "weft://$A:0"
server=$JOB
url=$(listening server.log)
for args in "100 64" "3 1000000"; do
  # shellcheck disable=SC2086
  on b timeout 60 "$WEFT_BIN/weft_python" "$examples/echo_client.py" "$url?require=verbs" $args \
    >"$TMP/client.log" 2>&1 || fail "echo_client.py $args"
  grep -q "^${args%% *} echoes of ${args##* } bytes over verbs" "$TMP/client.log" ||
    fail "echo_client.py $args says something else"
  tail -n 1 "$TMP/client.log"
done
stop "$server"
ends "$server" 0
