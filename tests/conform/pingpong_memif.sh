#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# pingpong_memif.sh MTU - libfabric's own fi_pingpong between two processes, TCP in user space at both ends of
# a pair of memif: every size it has, with its check of the data.
# ctest: timeout=90
. "${BASH_SOURCE%/*}/../integ/lib_examples.sh" || exit 1
command -v fi_pingpong >/dev/null || skip "fi_pingpong is not installed (Debian: libfabric-bin)"
[ $# -eq 1 ] || fail "usage: pingpong_memif.sh MTU"

# A namespace of its own: fi_pingpong meets its peer by the kernel's TCP first, at the same address.
if [ -z "${WEFT_PINGPONG_INSIDE:-}" ]; then
  for enter in "unshare -n" "unshare -Urn"; do
    # shellcheck disable=SC2086
    $enter true 2>/dev/null || continue
    status=0
    WEFT_PINGPONG_INSIDE=1 $enter bash "${BASH_SOURCE[0]}" "$@" || status=$?
    exit "$status"
  done
  skip "this user may not make network namespaces"
fi
ip link set lo up || fail "no loopback device"
ip addr add 10.9.0.1/32 dev lo || fail "no address"

export FI_DPDK_MTU=$1
transfers=10
args=(-p dpdk -e msg -S all -c -I "$transfers")
device() {
  export FI_DPDK_DEVICE="net_memif0,role=$1,id=0,socket=weft_pingpong" FI_DPDK_ADDRESS="$2/24"
}

device server 10.9.0.1
background "$TMP/server.log" fi_pingpong "${args[@]}"
server=$PID
deadline=$((SECONDS + 20))
until grep -q ':B9E8 .* 0A ' /proc/net/tcp /proc/net/tcp6; do # 47592 listens
  kill -0 "$server" 2>/dev/null || fail "the server has ended"
  [ "$SECONDS" -lt "$deadline" ] || fail "the server does not listen"
  sleep 0.02
done
device client 10.9.0.2
timeout 80 fi_pingpong "${args[@]}" 10.9.0.1 >"$TMP/client.log" 2>&1 || fail "the client: $?"
ends "$server" 0
sizes=$(awk -v n="$transfers" '$2 == n && $3 == "=" n { sizes++ } END { print sizes + 0 }' "$TMP/client.log")
[ "$sizes" -ge 40 ] || fail "$sizes sizes were tried"
grep -q '^6m ' "$TMP/client.log" || fail "6 MiB were not tried"
echo "MTU $1: $sizes sizes"
