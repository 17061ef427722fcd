#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# examples/file_send.c and file_recv.c: the link in use is cut in the middle of a transfer, and the
# checksum holds. An empty file, a lost sender, and no leftovers.
. "${BASH_SOURCE%/*}/lib_examples.sh" || exit 1
need file_send file_recv
two_namespaces
command -v tc >/dev/null || skip "no tc command (iproute2)"

mkdir "$TMP/in" "$TMP/out"
# Every block differs, so one that is lost, doubled or misplaced changes the checksum.
head -c 100000007 /dev/urandom >"$TMP/in/big"
: >"$TMP/in/empty"

# Slow enough that "the middle" is wide: 100 MB at 400 Mbit/s take 2 s.
for i in 1 2; do
  ip netns exec "$A" tc qdisc add dev "v$i" root tbf rate 400mbit burst 512k latency 100ms ||
    skip "the kernel has no tbf queue"
done

receive() {
  background "$TMP/recv.log" ip netns exec "$B" "$WEFT_BIN/file_recv" --once "$TMP/out" weft://*:7000
  receiver=$PID
  wait_for "$TMP/recv.log" '^listening at '
}

same() {
  cmp "$TMP/in/$1" "$TMP/out/$1" || fail "$1 has arrived as something else"
  [ "$(find "$TMP/out" -type f | wc -l)" -eq "$2" ] || fail "leftovers: $(ls -A "$TMP/out")"
}

# A cut in the middle.
receive
background "$TMP/send.log" ip netns exec "$A" "$WEFT_BIN/file_send" "$TMP/in/big" weft://10.77.1.2:7000
sender=$PID
wait_for "$TMP/send.log" '^progress (2[5-9]|[3-6][0-9]) %'
ip -n "$B" link set v1 down
ends "$sender" 0 50
ends "$receiver" 0
grep -q '^moved from .* to ' "$TMP/send.log" || fail "the transfer has not moved: was it cut too late?"
grep '^moved' "$TMP/send.log"
same big 1
ip -n "$B" link set v1 up

# Nothing in it.
receive
ip netns exec "$A" "$WEFT_BIN/file_send" "$TMP/in/empty" weft://10.77.1.2:7000 >"$TMP/send.log" 2>&1 ||
  fail "the empty file"
ends "$receiver" 0
same empty 2

# The sender is lost: nothing remains under any name, and the receiver says so.
rm "$TMP"/out/*
receive
background "$TMP/send.log" ip netns exec "$A" "$WEFT_BIN/file_send" "$TMP/in/big" weft://10.77.1.2:7000
wait_for "$TMP/send.log" '^progress [1-6][0-9] %'
kill -9 "$PID"
ends "$receiver" 1 50
grep -q '^big: lost after ' "$TMP/recv.log" || fail "the receiver does not say what it has lost"
[ -z "$(ls -A "$TMP/out")" ] || fail "leftovers: $(ls -A "$TMP/out")"
