# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# lib.sh - what the cases share: two hosts a and b, wherever they are. A case sources $WEFT_VM_CASE.
#
#   on HOST COMMAND...           runs it there; its output and exit code
#   start HOST LOG COMMAND...    starts it there; its number in $JOB, what it prints in $TMP/LOG
#   stop JOB [SIGNAL]            sends it a signal (TERM)
#   ends JOB STATUS [SECONDS]    it ends by itself with that exit code
#   wait_for LOG REGEX [SECONDS] a line of $TMP/LOG matches
#   listening LOG                the URL at which a program says that it listens
#   fail WORD...                 the end, with the logs
# and, outside of two guests only (tests/vm/run --two):
#   unplug HOST, plug HOST       the end of the cable at that host
#   crash HOST                   the host is gone, as if its power had failed
#
# Variables: A, B, A6, B6 addresses; DEVICE_A, DEVICE_B RDMA devices; NETDEV_A, NETDEV_B; TMP a folder,
# on both hosts. WEFT_BIN the programs. A program on a host sees only that host's devices.
set -u
export LC_ALL=C
: "${WEFT_BIN:?the folder of the programs, as build/dev/bin}"
# The guest is some ten times slower than the machine; to open an RDMA device takes it seconds.
export WEFT_TIME_FACTOR=10
export WEFT_CONNECT_TIMEOUT_MS=40s WEFT_HANDSHAKE_TIMEOUT_MS=30s WEFT_UPGRADE_BUDGET_MS=20s

devices() { # HOST
  case $1 in
  a) echo "$DEVICE_A,$NETDEV_A" ;;
  b) echo "$DEVICE_B,$NETDEV_B" ;;
  esac
}

if [ -n "${WEFT_VM_TWO:-}" ]; then
  . "$WEFT_VM_TWO"
else
  TMP=$(mktemp -d) || exit 1
  on() {
    local host=$1
    shift
    case $WEFT_VM_LAYOUT in
    *-hosts) WEFT_DEVICES=$(devices "$host") ip netns exec "$host" "$@" ;;
    *) WEFT_DEVICES=$(devices "$host") "$@" ;;
    esac
  }
  start() {
    local host=$1 log=$TMP/$2
    shift 2
    case $WEFT_VM_LAYOUT in
    *-hosts) set -- ip netns exec "$host" "$@" ;;
    esac
    WEFT_DEVICES=$(devices "$host") "$@" >"$log" 2>&1 &
    JOB=$!
  }
  stop() { kill "-${2:-TERM}" "$1"; }
  ended() { # JOB: its exit code in $STATUS, when it has ended
    kill -0 "$1" 2>/dev/null && return 1
    wait "$1"
    STATUS=$?
  }
fi

fail() {
  local log
  echo "FAIL: $*" >&2
  for log in "$TMP"/*.log; do
    [ ! -f "$log" ] || { echo "--- ${log##*/}"; tail -n 30 "$log"; }
  done >&2
  exit 1
}

ends() {
  local deadline=$((SECONDS + ${3:-30}))
  until ended "$1"; do
    [ $SECONDS -lt $deadline ] || fail "a program has not ended within ${3:-30} s"
    sleep 0.1
  done
  [ "$STATUS" = "$2" ] || fail "a program ended with $STATUS, expected $2"
}

wait_for() {
  local deadline=$((SECONDS + ${3:-30}))
  until grep -Eq "$2" "$TMP/$1" 2>/dev/null; do
    [ $SECONDS -lt $deadline ] || fail "no line '$2' in $1 within ${3:-30} s"
    sleep 0.1
  done
}

listening() {
  wait_for "$1" '^listening at '
  sed -n 's/^listening at //p' "$TMP/$1" | head -n 1
}
