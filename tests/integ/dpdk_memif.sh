#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Two processes joined by memif: first contact and data by dpdk alone; first contact by the kernel and data by dpdk;
# and what each end says where the other has none.
. "${BASH_SOURCE%/*}/lib_examples.sh" || exit 1
need echo_server echo_client weft_info
two_namespaces
# DPDK's start takes 0.2 s, on a quiet machine: here the better path is waited for.
export WEFT_LOG=warn WEFT_UPGRADE_BUDGET_MS=4000

# end NAMESPACE ROLE ADDRESS COMMAND...: with a device of DPDK.
end() {
  local ns=$1 role=$2 address=$3
  shift 3
  ip netns exec "$ns" env FI_DPDK_ADDRESS="$address" \
    FI_DPDK_DEVICE="net_memif0,role=$role,id=0,socket-abstract=no,socket=$TMP/memif$round" "$@"
}
there() { end "$B" server 10.9.0.2/24 "$@"; }
here() { end "$A" client 10.9.0.1/24 timeout 50 "$@"; }
round=0

echoes() { # URL PROVIDER
  local args
  for args in "1000 64" "100 20000" "5 3000000"; do
    # shellcheck disable=SC2086
    here "$WEFT_BIN/echo_client" "$1" $args >"$TMP/client.log" 2>&1 || fail "echo_client $1 $args"
    grep -q "^${args%% *} echoes of ${args##* } bytes over $2 " "$TMP/client.log" || fail "$1: $args not over $2"
  done
}
explain() { # URL
  here "$WEFT_BIN/weft_info" --explain "$1" >"$TMP/explain.log" 2>&1 || fail "weft_info --explain $1"
}
says() { grep -Eq "$1" "$TMP/explain.log" || fail "no '$1' in what weft_info --explain says"; }

# By dpdk alone.
round=1
background "$TMP/server1.log" there env WEFT_PROVIDERS=dpdk "$WEFT_BIN/echo_server" weft://10.9.0.2:7000
[ "$(listening "$TMP/server1.log")" = weft://10.9.0.2:7000 ] || fail "the server listens elsewhere"
echoes weft://10.9.0.2:7000 dpdk
explain weft://10.9.0.2:7000
says '^0 +dpdk +net_memif0 +10\.9\.0\.1:[0-9]+ +10\.9\.0\.2:7000 .* WEFT_WHY_IN_USE: '
# A port where nobody listens, and an address that nobody has, are told as such, by the device that leads there.
! here "$WEFT_BIN/echo_client" weft://10.9.0.2:7001 1 64 >"$TMP/client.log" 2>&1 || fail "a closed port was connected"
grep -q 'dpdk net_memif0: connect to 10.9.0.2:7001: .*ECONNREFUSED' "$TMP/client.log" || fail "no reason for the closed port"
! here env WEFT_CONNECT_TIMEOUT_MS=1000 "$WEFT_BIN/echo_client" weft://10.9.0.77:7000 1 64 >"$TMP/client.log" 2>&1 ||
  fail "an address that nobody has was connected"
grep -q '10.9.0.77:7000: .*ETIMEDOUT' "$TMP/client.log" || fail "no reason for the address that nobody has"
ip netns pids "$B" | xargs -r kill
ends "$PID" 0

# First contact by the kernel: the data goes by dpdk, and the kernel's path stands by.
round=2
background "$TMP/server2.log" there "$WEFT_BIN/echo_server" 'weft://*:7000'
listening "$TMP/server2.log" >/dev/null
echoes weft://10.77.1.2:7000 dpdk
explain weft://10.77.1.2:7000
says '^0 +dpdk +net_memif0 +10\.9\.0\.1:[0-9]+ +10\.9\.0\.2:[0-9]+ .* WEFT_WHY_IN_USE: '
says 'ksock +v[12] .* WEFT_WHY_STANDBY: open, ready to take over: dpdk net_memif0 10\.9\.0\.1 takes '
# The wildcard takes first contacts by dpdk, too; the needs may keep the data on the kernel's.
echoes weft://10.9.0.2:7000 dpdk
explain 'weft://10.9.0.2:7000?require=ksock'
says '^0 +ksock +v[12] .* WEFT_WHY_IN_USE: '
says 'dpdk +net_memif0 .* WEFT_WHY_NOT_REQUIRED: '
explain 'weft://10.77.1.2:7000?forbid=dpdk'
says 'dpdk +net_memif0 .* WEFT_WHY_FORBIDDEN: forbid=dpdk'
# Who has no device hears that the peer has one.
ip netns exec "$A" timeout 50 "$WEFT_BIN/weft_info" --explain weft://10.77.1.2:7000 >"$TMP/explain.log" 2>&1 ||
  fail "without a device"
says '^0 +ksock .* WEFT_WHY_IN_USE: '
says 'dpdk .* 10\.9\.0\.2:[0-9]+ .* WEFT_WHY_NO_DEVICE: the peer offers it on net_memif0; FI_DPDK_DEVICE is not set'
ip netns pids "$B" | xargs -r kill
ends "$PID" 0

# And the other way round.
round=3
background "$TMP/server3.log" ip netns exec "$B" "$WEFT_BIN/echo_server" 'weft://*:7000'
listening "$TMP/server3.log" >/dev/null
echoes weft://10.77.1.2:7000 ksock
explain weft://10.77.1.2:7000
says 'dpdk +net_memif0 +10\.9\.0\.1 .* WEFT_WHY_PEER_LACKS: '
