#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# examples/echo_server.c and echo_client.c: small and large messages, errors, an orderly end.
# ctest: beside
. "${BASH_SOURCE%/*}/lib_examples.sh" || exit 1
need echo_server echo_client

background "$TMP/server.log" "$WEFT_BIN/echo_server" weft://127.0.0.1:0
server=$PID
url=$(listening "$TMP/server.log")

for args in "2000 64" "200 20000" "10 3000000"; do
  # shellcheck disable=SC2086
  "$WEFT_BIN/echo_client" "$url" $args >"$TMP/client.log" 2>&1 || fail "echo_client $args"
  grep -q "^${args%% *} echoes of ${args##* } bytes over $WEFT_TEST_TCP" "$TMP/client.log" ||
    fail "echo_client $args says something else"
done
grep -q WEFT_WHY_IN_USE "$TMP/client.log" || fail "the client does not say what is in use"

# Several at a time.
clients=()
for i in 1 2 3 4; do
  background "$TMP/client$i.log" "$WEFT_BIN/echo_client" "$url" 500 "$((i * 1000))"
  clients+=("$PID")
done
for pid in "${clients[@]}"; do
  ends "$pid" 0
done

# A client that is killed takes nobody with it.
background "$TMP/killed.log" "$WEFT_BIN/echo_client" "$url" 1000000 64
sleep 0.3
kill -9 "$PID"
"$WEFT_BIN/echo_client" "$url" 10 64 >"$TMP/client.log" 2>&1 || fail "the server is gone"

# What goes wrong is said in a sentence.
"$WEFT_BIN/echo_client" "weft://127.0.0.1:1?latency=20" >"$TMP/bad.log" 2>&1 &&
  fail "a bad URL was taken"
grep -q "latency: '20' is not a duration" "$TMP/bad.log" || fail "no reason for the bad URL"
"$WEFT_BIN/echo_client" weft://127.0.0.1:1 >"$TMP/refused.log" 2>&1 &&
  fail "a closed port was connected"
grep -q ECONNREFUSED "$TMP/refused.log" || fail "no reason for the closed port"
"$WEFT_BIN/echo_server" "$url" >"$TMP/second.log" 2>&1 && fail "two servers at one address"

kill -TERM "$server"
ends "$server" 0
