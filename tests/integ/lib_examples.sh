# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# lib_examples.sh - for the tests of examples and tools: programs in the background, two network
# namespaces with two links, and an end that leaves nothing behind.

set -u
export LC_ALL=C
: "${WEFT_BIN:?the folder of the programs, as build/dev/bin}"
: "${WEFT_TEST_TCP:=ksock}" # who carries the system's TCP in this build
TMP=$(mktemp -d) || exit 1
PIDS=()
NAMESPACES=()

cleanup() {
  local status=$? pid ns
  for pid in "${PIDS[@]:-}"; do
    [ -n "$pid" ] && kill -9 "$pid" 2>/dev/null
  done
  for ns in "${NAMESPACES[@]:-}"; do
    [ -n "$ns" ] && ip netns del "$ns" 2>/dev/null
  done
  if [ "$status" -ne 0 ] && [ "$status" -ne 77 ]; then
    for log in "$TMP"/*.log; do
      [ -f "$log" ] && echo "--- ${log##*/}" && tail -n 40 "$log"
    done >&2
  fi
  rm -rf "$TMP"
}
trap cleanup EXIT

skip() {
  echo "SKIP: $*"
  exit 77
}

fail() {
  echo "FAIL: $*" >&2
  exit 1
}

# need PROGRAM...: the programs of this build that the test runs.
need() {
  local p
  for p in "$@"; do
    [ -x "$WEFT_BIN/$p" ] || skip "$p is not built"
  done
}

# wait_for FILE REGEX [SECONDS]: until a line of the file matches.
wait_for() {
  local deadline=$((SECONDS + ${3:-20}))
  until grep -Eq "$2" "$1" 2>/dev/null; do
    [ "$SECONDS" -lt "$deadline" ] || fail "no line '$2' in ${1##*/} within ${3:-20} s"
    sleep 0.02
  done
}

# background LOG COMMAND...: start it; its process id in $PID.
background() {
  local log=$1
  shift
  : >"$log" # now: who reads it next must not find what an earlier one has said
  "$@" >"$log" 2>&1 &
  PID=$!
  PIDS+=("$PID")
}

# listening LOG: the URL at which a program says that it listens.
listening() {
  wait_for "$1" '^listening at '
  sed -n 's/^listening at //p' "$1" | head -n 1
}

# ends PID STATUS [SECONDS]: the process ends by itself with that status.
ends() {
  local deadline=$((SECONDS + ${3:-20})) status=0
  while kill -0 "$1" 2>/dev/null; do
    [ "$SECONDS" -lt "$deadline" ] || fail "process $1 has not ended within ${3:-20} s"
    sleep 0.02
  done
  wait "$1" || status=$?
  [ "$status" -eq "$2" ] || fail "process $1 ended with $status, expected $2"
}

# two_namespaces: $A and $B, joined by two links: v1 is 10.77.1.0/24, v2 is 10.77.2.0/24; A has
# address 1 and B has address 2 on both.
two_namespaces() {
  [ "$(id -u)" -eq 0 ] || skip "network namespaces need root"
  command -v ip >/dev/null || skip "no ip command (iproute2)"
  A=weft-a-$$
  B=weft-b-$$
  ip netns add "$A" 2>/dev/null || skip "network namespaces cannot be made here"
  NAMESPACES+=("$A")
  ip netns add "$B" || fail "ip netns add $B"
  NAMESPACES+=("$B")
  local i
  for i in 1 2; do
    ip link add "v$i" netns "$A" type veth peer name "v$i" netns "$B" || fail "no veth pair"
    ip -n "$A" address add "10.77.$i.1/24" dev "v$i"
    ip -n "$B" address add "10.77.$i.2/24" dev "v$i"
    ip -n "$A" link set "v$i" up
    ip -n "$B" link set "v$i" up
    # carrier shows up a moment later, and a listener offers what is up when it starts
    for _ in $(seq 100); do
      ip -n "$A" link show "v$i" | grep -q 'LOWER_UP.*state UP' && ip -n "$B" link show "v$i" | grep -q 'LOWER_UP.*state UP' && break
      sleep 0.1
    done
  done
  ip -n "$A" link set lo up
  ip -n "$B" link set lo up
}
