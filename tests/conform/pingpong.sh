#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# pingpong.sh PROVIDER msg|rdm msg|tagged [srx] - libfabric's own fi_pingpong, every size it has, with its
# check of the data. Endpoints that need no connection (rdm) are ofi_rxm's over the provider, `srx`: with
# shared receive contexts.
#
# Few transfers of each size: fi_pingpong spins at both ends, and where both share a processor, with each
# other or with somebody else, a transfer takes as long as the scheduler leaves the wrong one there, 4 ms,
# whatever the provider.
# ctest: timeout=90
. "${BASH_SOURCE%/*}/../integ/lib_examples.sh" || exit 1
command -v fi_pingpong >/dev/null || skip "fi_pingpong is not installed (Debian: libfabric-bin)"
[ $# -ge 3 ] || fail "usage: pingpong.sh PROVIDER msg|rdm msg|tagged [srx]"

# A namespace of its own, where fi_pingpong's fixed port is free.
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

provider=$1
[ "$2" = msg ] || provider+=";ofi_rxm"
[ "${4:-}" != srx ] || export FI_OFI_RXM_USE_SRX=1
transfers=10
args=(-p "$provider" -e "$2" -m "$3" -S all -c -I "$transfers")

background "$TMP/server.log" fi_pingpong "${args[@]}"
server=$PID
deadline=$((SECONDS + 20))
until grep -q ':B9E8 .* 0A ' /proc/net/tcp /proc/net/tcp6; do # 47592 listens
  kill -0 "$server" 2>/dev/null || fail "the server has ended"
  [ "$SECONDS" -lt "$deadline" ] || fail "the server does not listen"
  sleep 0.02
done
timeout 80 fi_pingpong "${args[@]}" 127.0.0.1 >"$TMP/client.log" 2>&1 || fail "the client: $?"
ends "$server" 0
# From nothing to 6 MiB, each as often as asked.
sizes=$(awk -v n="$transfers" '$2 == n && $3 == "=" n { sizes++ } END { print sizes + 0 }' "$TMP/client.log")
[ "$sizes" -ge 40 ] || fail "$sizes sizes were tried"
grep -q '^6m ' "$TMP/client.log" || fail "6 MiB were not tried"
echo "$*: $sizes sizes"
