#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# examples/reconnect.c: the server is killed and started again, three times, while lines go into its file; each is there
# once and in order. Weft itself brings no connection back: the client reports each loss.
# ctest: timeout=120
# ctest: beside
. "${BASH_SOURCE%/*}/lib_examples.sh" || exit 1
need reconnect
program=$WEFT_BIN/reconnect
file=$TMP/file
lines=1200000
[ -z "${WEFT_SANITIZE:-}" ] || lines=400000
seq -f 'line %.0f' $lines >"$TMP/in"

background "$TMP/server0.log" "$program" keep "$file" weft://127.0.0.1:0
server=$PID
url=$(listening "$TMP/server0.log")
# A background process has no standard input of its script's.
send() { background "$1" bash -c 'exec "$@" <"$0"' "$TMP/in" "$program" send "${@:2}"; }
send "$TMP/client.log" "$url"
client=$PID

for round in 1 2 3; do
  # each time a tenth further: far from the end, for it may run on before the kill comes
  deadline=$((SECONDS + 60))
  until [ "$(wc -l <"$file")" -ge $((round * lines / 10)) ]; do
    [ $SECONDS -lt $deadline ] || fail "nothing moves"
    kill -0 "$client" 2>/dev/null || fail "the client has ended"
    sleep 0.02
  done
  tried=$(grep -c '^no connection: ' "$TMP/client.log")
  kill -9 "$server"
  wait "$server" 2>/dev/null
  had=$(wc -l <"$file")
  [ "$had" -lt $lines ] || fail "all was there before the kill: nothing is shown"
  until [ "$(grep -c '^no connection: .*refused' "$TMP/client.log")" -gt "$tried" ]; do # it tries, and nobody is there
    [ $SECONDS -lt $deadline ] || fail "it does not try again"
    sleep 0.05
  done
  [ "$(wc -l <"$file")" -eq "$had" ] || fail "lines from nowhere"
  # Half a line, as a server leaves it that dies while it writes.
  [ "$round" != 2 ] || printf 'line 12345' >>"$file"
  background "$TMP/server$round.log" "$program" keep "$file" "$url"
  server=$PID
  listening "$TMP/server$round.log" >/dev/null
  grep -qF "$file has $had lines" "$TMP/server$round.log" || fail "the server does not know what it has"
  wait_for "$TMP/client.log" "^connected: the server has $had lines"
done
ends "$client" 0 60
cmp "$TMP/in" "$file" || fail "the file is not what was sent"
[ "$(grep -c '^connected: ' "$TMP/client.log")" -eq 4 ] || fail "not four connections"
[ "$(grep -c '^lost: ' "$TMP/client.log")" -eq 3 ] || fail "not three losses"
kill -9 "$server"

# Nobody there at all: it gives up.
send "$TMP/nobody.log" weft://127.0.0.1:1 1
ends "$PID" 1
grep -q "given up with $lines lines" "$TMP/nobody.log" || fail "it does not say what it gives up"
# What another try does not mend is not tried again.
send "$TMP/url.log" 'weft://127.0.0.1:1?what=ever'
ends "$PID" 1
[ "$(wc -l <"$TMP/url.log")" -eq 1 ] || fail "a bad URL is tried again"
