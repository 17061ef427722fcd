#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A kernel's TCP at the other end of a virtual cable, which leaves its checksums to a card: told as such, at once, not as a
# peer that is silent; and carried when the kernel is told to finish them, first contact and data.
. "${BASH_SOURCE%/*}/lib_examples.sh" || exit 1
need echo_server echo_client
command -v ethtool >/dev/null || skip "ethtool is not installed"
two_namespaces
export WEFT_LOG=warn

ip -n "$B" address add fd77::2/64 dev v1 nodad || fail "no address of IPv6"
background "$TMP/server.log" ip netns exec "$B" "$WEFT_BIN/echo_server" weft://10.77.1.2:7000
listening "$TMP/server.log" >/dev/null
background "$TMP/server6.log" ip netns exec "$B" "$WEFT_BIN/echo_server" 'weft://[fd77::2]:7000'
listening "$TMP/server6.log" >/dev/null
client() { # HOST COUNT SIZE
  ip netns exec "$A" env WEFT_PROVIDERS=dpdk FI_DPDK_DEVICE=net_af_packet0,iface=v1 FI_DPDK_ADDRESS=10.77.1.9/24,fd77::9/64 \
    WEFT_CONNECT_TIMEOUT_MS=20000 timeout 60 "$WEFT_BIN/echo_client" "weft://$1:7000" "${@:2}" >"$TMP/client.log" 2>&1
}
ip -n "$A" address del 10.77.1.1/24 dev v1 # that the kernel does not answer for it
told() { # HOST REGEX
  ! client "$1" 10 64 || fail "$1: a peer with unfinished checksums was connected"
  grep -Eq "dpdk net_af_packet0: connect to $2:7000: the kernel there leaves checksums to a card.*EBADMSG.*ethtool -K" \
    "$TMP/client.log" || fail "$1: it is not told why"
}
told 10.77.1.2 '10\.77\.1\.2'
told '[fd77::2]' '\[fd77::2\]'
ip netns exec "$B" ethtool -K v1 tx off tso off gso off gro off >"$TMP/ethtool.log" 2>&1 || fail "offloads"
for host in 10.77.1.2 '[fd77::2]'; do
  client "$host" 200 20000 || fail "$host: with finished checksums"
  grep -q '^200 echoes of 20000 bytes over dpdk ' "$TMP/client.log" || fail "$host: not over dpdk"
done
