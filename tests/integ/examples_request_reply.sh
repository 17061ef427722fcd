#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# examples/request_reply.c: replies in any order, time limits of their own, a late reply that is dropped, a server that is
# killed, and python/request_reply.py on the other end.
# ctest: beside
. "${BASH_SOURCE%/*}/lib_examples.sh" || exit 1
need request_reply
program=$WEFT_BIN/request_reply

background "$TMP/server.log" "$program" serve weft://127.0.0.1:0
server=$PID
url=$(listening "$TMP/server.log")

# The order is that of the replies; the second's limit is over first, and its reply comes while the third is awaited.
"$program" ask "$url" 20 2 1:0.5 0.1 >"$TMP/ask.log" 2>&1 || fail "ask"
printf '%s\n' '0.1: replied 0.1' '1: no reply within 0.5 s' '1: a reply that is too late, dropped' '2: replied 2' \
  >"$TMP/want"
diff "$TMP/want" "$TMP/ask.log" || fail "the replies are not those expected"

# More at once than the server lets wait: it stops reading, and all are answered.
# shellcheck disable=SC2046
"$program" ask "$url" 30 $(yes 0.2 | head -n 2500) >"$TMP/many.log" 2>&1 || fail "2500 at once"
[ "$(grep -c '^0.2: replied 0.2$' "$TMP/many.log")" -eq 2500 ] || fail "not all of 2500 are answered"

# A client that is killed while its replies wait takes nobody with it.
background "$TMP/killed.log" "$program" ask "$url" 20 0.1 0.5 0.5 10
wait_for "$TMP/killed.log" '^0.1: replied'
kill -9 "$PID"
sleep 0.5
"$program" ask "$url" 20 0 >"$TMP/after.log" 2>&1 || fail "the server is gone"

# The server is killed: every request hears of it, once, well before its limit.
background "$TMP/lost.log" "$program" ask "$url" 60 50 0.1 51
asking=$PID
wait_for "$TMP/lost.log" '^0.1: replied'
kill -9 "$server"
ends "$asking" 1
[ "$(grep -c ': lost: ' "$TMP/lost.log")" -eq 2 ] || fail "not each request that waits has heard of the loss"
"$program" ask weft://127.0.0.1:1 5 0 >"$TMP/refused.log" 2>&1 && fail "a closed port was connected"
grep -q '^0: lost: .*refused' "$TMP/refused.log" || fail "no reason for the closed port"

# The one in Python on either end.
if [ -x "$WEFT_BIN/weft_python" ] && [ "${WEFT_SANITIZE:-}" != thread ]; then
  py=${WEFT_SRC:?}/examples/python/request_reply.py
  background "$TMP/pyserver.log" "$WEFT_BIN/weft_python" "$py" serve weft://127.0.0.1:0
  url=$(listening "$TMP/pyserver.log")
  "$program" ask "$url" 20 0.5 0.1 >"$TMP/ask.log" 2>&1 || fail "ask of the server in Python"
  printf '%s\n' '0.1: replied 0.1' '0.5: replied 0.5' | diff - "$TMP/ask.log" || fail "replies from Python"
  background "$TMP/cserver.log" "$program" serve weft://127.0.0.1:0
  url=$(listening "$TMP/cserver.log")
  "$WEFT_BIN/weft_python" "$py" ask "$url" 20 0.5 0.1 >"$TMP/ask.log" 2>&1 || fail "ask by the client in Python"
  printf '%s\n' '0.1: replied 0.1' '0.5: replied 0.5' | diff - "$TMP/ask.log" || fail "replies to Python"
fi
