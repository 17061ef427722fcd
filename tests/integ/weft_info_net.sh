#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# weft_info --check and --explain between two namespaces: what works, what does not, and why.
# ctest: timeout=90
. "${BASH_SOURCE%/*}/lib_examples.sh" || exit 1
need weft_info echo_server
two_namespaces
export WEFT_CONNECT_TIMEOUT_MS=3s

here() { ip netns exec "$A" "$@"; }
info() { here "$WEFT_BIN/weft_info" "$@"; }
# exits STATUS LOG ARGUMENTS...
exits() {
  local want=$1 log=$2 status=0
  shift 2
  info "$@" >"$TMP/$log" 2>&1 || status=$?
  [ "$status" -eq "$want" ] || fail "weft_info $*: exit $status, expected $want"
}
says() { # LOG REGEX
  grep -Eq -- "$2" "$TMP/$1" || fail "${1%.log} does not say '$2'"
}

background "$TMP/server.log" ip netns exec "$B" "$WEFT_BIN/echo_server" 'weft://*:0'
server=$PID
port=$(listening "$TMP/server.log")
port=${port##*:}
url=weft://10.77.1.2:$port

# ---- --check: both cables lead there (v2 by its own address), loopback does not
exits 0 check.log --check "$url"
says check.log "^[0-9]+ +$WEFT_TEST_TCP +v1 +10\.77\.1\.1 +[0-9.]+ [mu]s +[0-9.]+ [mu]s +ok: 10\.77\.1\.1:[0-9]+ -> 10\.77\.1\.2:"
says check.log "^[0-9]+ +$WEFT_TEST_TCP +lo +127\.0\.0\.1 +- +- +failed: .*(no route|EADDRNOTAVAIL|EHOSTUNREACH|EINVAL)"
says check.log "^[0-9]+ +$WEFT_TEST_TCP +v1 +\[fe80.* not tried: an address of another family"
exits 0 second.log --check "weft://10.77.2.2:$port" -d v2
says second.log "^0 +$WEFT_TEST_TCP +v2 +10\.77\.2\.1 .* ok: 10\.77\.2\.1"
exits 0 echo.log --check "$url" --echo -v -d v1
says echo.log '^  echo  .* best of eight'
says echo.log '^  peer  .*:echo_server'
exits 0 urlneeds.log --check "$url?devices=v1&standby=0"
says urlneeds.log 'v2 .* not tried: WEFT_WHY_DEVICE_FILTER: devices=v1'
exits 1 required.log --check "$url" --require verbs
says required.log 'not tried: WEFT_WHY_NOT_REQUIRED: require=verbs'
! grep -q ' ok: ' "$TMP/required.log" || fail "require=verbs was tried over tcp"

# The server's program got connections and their ends, and not one message or error.
grep -q lost "$TMP/server.log" && fail "a check ends its connections in disorder"

# ---- --explain: both cables, ranks, reasons of what is left
exits 0 explain.log --explain "$url" --standby 1
says explain.log '^  peer  .*:echo_server'
says explain.log "^  chosen +$WEFT_TEST_TCP v1 10\.77\.1\.1:[0-9]+ -> 10\.77\.1\.2:"
says explain.log '^  because +carries the messages: the best of '
says explain.log '^  limits +messages up to 64 MiB, in one frame up to '
says explain.log "^0 +$WEFT_TEST_TCP +v1 .* WEFT_WHY_IN_USE: "
says explain.log "^[1-9] +$WEFT_TEST_TCP +v2 .* WEFT_WHY_STANDBY: open, ready to take over: $WEFT_TEST_TCP v1 .* us for 64 B"
says explain.log ' lo .* WEFT_WHY_LOOPBACK: '
says explain.log "^[1-9] +$WEFT_TEST_TCP +v1 .* WEFT_WHY_OUTRANKED: shares more with $WEFT_TEST_TCP v1, which is in use, than $WEFT_TEST_TCP v2, .*; standby=1"
exits 0 missed.log --explain "$url" --latency 1us
says missed.log '^  needs +latency=1us$'
says missed.log '^  missed +.*needed: 1 us'
exits 1 unmet.log --explain "$url" --latency=1us --strict yes
says unmet.log '^  failed +WEFT_EUNMET: '
says unmet.log ' v1 .* WEFT_WHY_TOO_SLOW: .*needed: 1 us'
exits 1 forbidden.log --explain "$url?forbid=tcp" -v
says forbidden.log '^  reason +WEFT_WHY_FORBIDDEN$'

# The peer offers an address that nothing here leads to any more.
ip -n "$A" address del 10.77.2.1/24 dev v2
exits 0 offers.log --explain "$url"
says offers.log '10\.77\.2\.2:[0-9]+ .*WEFT_WHY_UNREACHABLE: the peer offers it on v2; no device of this machine leads there'
ip -n "$A" address add 10.77.2.1/24 dev v2

# ---- an echo is asked for, and who is there does not echo; nobody; somebody else
if [ -x "$WEFT_BIN/file_recv" ]; then
  mkdir "$TMP/out"
  background "$TMP/sink.log" ip netns exec "$B" "$WEFT_BIN/file_recv" "$TMP/out" weft://10.77.1.2:0
  sink=$(listening "$TMP/sink.log")
  exits 0 sink_check.log --check "$sink" -d v1
  exits 1 no_echo.log --check "$sink" --echo -d v1
  says no_echo.log 'failed: the server .*(did not send it back|ended the connection)'
fi
exits 1 nobody.log --check weft://10.77.1.2:9 -d v1
says nobody.log 'failed: .*10\.77\.1\.2:9.*ECONNREFUSED'
says nobody.log 'no candidate of this machine reaches the server'
exits 1 gone.log --explain weft://10.77.1.2:9
says gone.log '^  failed +UV_ECONNREFUSED: '
if command -v python3 >/dev/null; then
  background "$TMP/stranger.log" ip netns exec "$B" python3 -u -c '
import socket
s = socket.create_server(("10.77.1.2", 0))
print("listening at", s.getsockname()[1], flush=True)
while True:
    c, _ = s.accept()
    c.sendall(b"220 mail.example ESMTP\r\n")
    c.close()'
  exits 1 stranger_check.log --check "weft://10.77.1.2:$(listening "$TMP/stranger.log")" -d v1
  says stranger_check.log 'failed: .*(220 mail.example|hangs up).*|ENOTWEFT'
fi

# ---- the server goes away
kill -TERM "$server"
ends "$server" 0
exits 1 after.log --check "$url" -d v1
says after.log ECONNREFUSED
exit 0
