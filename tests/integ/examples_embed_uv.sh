#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# examples/embed_uv.c: TCP clients, a timer and Weft peers on one loop.
# ctest: beside
. "${BASH_SOURCE%/*}/lib_examples.sh" || exit 1
need embed_uv echo_client

# A port that is free now; nobody else on this machine waits for it.
port=$((20000 + $$ % 20000))
background "$TMP/server.log" "$WEFT_BIN/embed_uv" "$port" weft://127.0.0.1:0
server=$PID
url=$(listening "$TMP/server.log")

exec 3<>"/dev/tcp/127.0.0.1/$port" || fail "TCP is not served"
for word in one two; do
  echo "$word" >&3
  read -r -t 10 answer <&3 || fail "no answer over TCP"
  [ "$answer" = "$word" ] || fail "TCP answered '$answer'"
done

"$WEFT_BIN/echo_client" "$url" 1000 100 >"$TMP/client.log" 2>&1 || fail "no answers over Weft"

# TCP goes on while Weft is busy, and the timer ticks.
background "$TMP/busy.log" "$WEFT_BIN/echo_client" "$url" 1000000 64
busy=$PID
wait_for "$TMP/server.log" '^tcp: 1 clients, 2 reads; weft: 2 peers, [0-9]{5,} messages'
echo three >&3
read -r -t 10 answer <&3 || fail "no answer over TCP while Weft is busy"
[ "$answer" = three ] || fail "TCP answered '$answer'"

# It ends while a client of each kind is connected.
kill -TERM "$server"
ends "$server" 0
ends "$busy" 1
grep -Eq '^(send|receive): .*ECONNRESET' "$TMP/busy.log" || fail "the client does not say why it ended"
