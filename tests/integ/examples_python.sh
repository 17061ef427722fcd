#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# examples/python: echo with Python and C on either end, a file to the receiver in C, replies and time limits.
# ctest: timeout=90
# ctest: beside
. "${BASH_SOURCE%/*}/lib_examples.sh" || exit 1
need weft_python echo_server echo_client file_recv
[ "${WEFT_SANITIZE:-}" != thread ] || skip "ThreadSanitizer cannot be loaded into an interpreter"
examples=${WEFT_SRC:?}/examples/python
# The wrapper execs the interpreter, so a signal to its process id meets the program.
python() { "$WEFT_BIN/weft_python" "$examples/$1.py" "${@:2}"; }

# --- echo: Python to Python, Python to C, C to Python
background "$TMP/server.log" "$WEFT_BIN/weft_python" "$examples/echo_server.py" weft://127.0.0.1:0
server=$PID
url=$(listening "$TMP/server.log")
for args in "500 64" "100 20000" "5 3000000"; do
  # shellcheck disable=SC2086
  python echo_client "$url" $args >"$TMP/client.log" 2>&1 || fail "echo_client.py $args"
  grep -q "^${args%% *} echoes of ${args##* } bytes over $WEFT_TEST_TCP" "$TMP/client.log" || fail "echo_client.py $args says something else"
  # shellcheck disable=SC2086
  "$WEFT_BIN/echo_client" "$url" $args >"$TMP/c.log" 2>&1 || fail "the C client, $args"
done
grep -q WEFT_WHY_IN_USE "$TMP/client.log" || fail "the client does not say what is in use"

# a client that is killed takes nobody with it
background "$TMP/killed.log" "$WEFT_BIN/weft_python" "$examples/echo_client.py" "$url" 1000000
wait_for "$TMP/killed.log" WEFT_WHY_IN_USE
sleep 0.3
kill -9 "$PID"
python echo_client "$url" 10 >"$TMP/client.log" 2>&1 || fail "the server is gone"
wait_for "$TMP/server.log" '^lost: .*ECONNRESET'
kill -TERM "$server"
ends "$server" 0

background "$TMP/cserver.log" "$WEFT_BIN/echo_server" weft://127.0.0.1:0
url=$(listening "$TMP/cserver.log")
python echo_client "$url" 200 100000 >"$TMP/client.log" 2>&1 || fail "echo_client.py to the C server"
python echo_client weft://127.0.0.1:1 >"$TMP/refused.log" 2>&1 && fail "a closed port was connected"
grep -q ECONNREFUSED "$TMP/refused.log" || fail "no reason for the closed port"

# --- a file, to the receiver in C
mkdir "$TMP/in" "$TMP/out"
head -c 20000007 /dev/urandom >"$TMP/in/big"
: >"$TMP/in/empty"
for name in big empty; do
  background "$TMP/recv.log" "$WEFT_BIN/file_recv" --once "$TMP/out" weft://127.0.0.1:0
  receiver=$PID
  url=$(listening "$TMP/recv.log")
  python file_send "$TMP/in/$name" "$url" >"$TMP/send.log" 2>&1 || fail "file_send.py $name"
  ends "$receiver" 0
  cmp "$TMP/in/$name" "$TMP/out/$name" || fail "$name has arrived as something else"
  grep -q 'checksum good$' "$TMP/send.log" || fail "file_send.py does not say that it is there"
done
grep -q "^big: 20000007 bytes, checksum good" "$TMP/recv.log" || grep -q "^empty: 0 bytes" "$TMP/recv.log" ||
  fail "the receiver says something else"

# --- replies in any order, and one that is too late
background "$TMP/reply.log" "$WEFT_BIN/weft_python" "$examples/request_reply.py" serve weft://127.0.0.1:0
url=$(listening "$TMP/reply.log")
python request_reply ask "$url" 2 0.4 30 0.1 >"$TMP/ask.log" 2>&1 || fail "request_reply.py ask"
printf '%s\n' '0.1: replied 0.1' '0.4: replied 0.4' '30: no reply within 2 s' >"$TMP/want"
diff "$TMP/want" "$TMP/ask.log" || fail "the replies are not those expected"
kill "$PID"
background "$TMP/lost.log" "$WEFT_BIN/weft_python" "$examples/request_reply.py" ask weft://127.0.0.1:1 1 1
ends "$PID" 1
grep -q ECONNREFUSED "$TMP/lost.log" || fail "request_reply.py does not say why it cannot connect"
