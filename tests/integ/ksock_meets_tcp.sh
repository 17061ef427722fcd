#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A host that has Weft's own provider for TCP and one that has libfabric's alone: they meet, in both roles, and each
# says what it runs on.
# ctest: beside
. "${BASH_SOURCE%/*}/lib_examples.sh" || exit 1
need echo_server echo_client weft_info
[ "$WEFT_TEST_TCP" = ksock ] || skip "this build has no ksock"

meet() { # SERVER'S CLIENT'S
  background "$TMP/server.log" env WEFT_PROVIDERS="$1" "$WEFT_BIN/echo_server" weft://127.0.0.1:0
  local server=$PID url size
  url=$(listening "$TMP/server.log")
  for size in 64 5000 3000000; do
    WEFT_PROVIDERS=$2 timeout 50 "$WEFT_BIN/echo_client" "$url" 100 $size >"$TMP/client.log" 2>&1 ||
      fail "echo_client over $2, echo_server over $1, $size bytes"
    grep -q "^100 echoes of $size bytes over $2 " "$TMP/client.log" || fail "it does not say that it runs over $2"
  done
  WEFT_PROVIDERS=$2 timeout 50 "$WEFT_BIN/weft_info" --explain "$url" >"$TMP/client.log" 2>&1 || fail "weft_info --explain"
  grep -Eq "^0 +$2 +lo .* WEFT_WHY_IN_USE: " "$TMP/client.log" || fail "what is in use is not $2"
  kill "$server"
  ends "$server" 0
}

meet tcp ksock
meet ksock tcp
meet tcp tcp
# A variable that is there and empty is unset, for libfabric and for who looks for ksock.
FI_PROVIDER_PATH='' "$WEFT_BIN/weft_info" -p ksock -d lo >"$TMP/info.log" 2>&1 || fail "FI_PROVIDER_PATH is empty, and ksock is not found"
# "tcp" in the needs is either.
background "$TMP/server.log" "$WEFT_BIN/echo_server" weft://127.0.0.1:0
url=$(listening "$TMP/server.log")
timeout 50 "$WEFT_BIN/echo_client" "$url?require=tcp" 10 64 >"$TMP/client.log" 2>&1 || fail "require=tcp"
grep -q "^10 echoes of 64 bytes over ksock " "$TMP/client.log" || fail "require=tcp is not met by ksock"
! timeout 50 "$WEFT_BIN/echo_client" "$url?forbid=tcp&strict=yes" 10 64 >"$TMP/client.log" 2>&1 ||
  fail "forbid=tcp does not forbid ksock"
