#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# examples/epoll_client.c: lines from a pipe, a file and nothing, and more than the queue takes.
# ctest: beside
. "${BASH_SOURCE%/*}/lib_examples.sh" || exit 1
need epoll_client echo_server

background "$TMP/server.log" "$WEFT_BIN/echo_server" weft://127.0.0.1:0
server=$PID
url=$(listening "$TMP/server.log")

client() {
  timeout 40 "$WEFT_BIN/epoll_client" "$url" 2>"$TMP/client.log" || fail "epoll_client: $?"
}

printf 'one\n\ntwo\nlast without a newline' | client >"$TMP/out"
printf 'one\n\ntwo\nlast without a newline\n' | cmp - "$TMP/out" || fail "lines from a pipe"

client </dev/null >"$TMP/out"
[ ! -s "$TMP/out" ] || fail "something from nothing"

# A file is always readable, and 10 MB are more than weft_try_send takes at once.
seq -f '%.0f and some more text to fill the line up to a useful length' 1 150000 >"$TMP/in"
client <"$TMP/in" >"$TMP/out"
cmp "$TMP/in" "$TMP/out" || fail "lines from a file"

# Slow input: the program sleeps in epoll_wait and still answers.
{ echo slow; sleep 0.5; echo slower; } | client >"$TMP/out"
[ "$(tr '\n' ' ' <"$TMP/out")" = "slow slower " ] || fail "slow lines"

"$WEFT_BIN/epoll_client" weft://127.0.0.1:1 </dev/null >"$TMP/out" 2>&1 && fail "a closed port"
kill -TERM "$server"
ends "$server" 0
