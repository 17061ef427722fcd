#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# msg.sh [ipv4|ipv6|link]: frames and writes over verbs between two devices, below sessions, and they really
# cross the wire, in packets of that family. link: between link-local addresses.
. "$WEFT_VM_CASE"
family=${1:-ipv4}
link_local() { # HOST NETDEV
  on "$1" ip -6 -o addr show dev "$2" scope link | sed -n 's|.* inet6 \([^/]*\)/.*|\1|p' | head -n 1
}
case $family in
ipv4) from=$A to=$B ;;
ipv6) from=$A6 to=$B6 ;;
link) from=$(link_local a "$NETDEV_A") to=$(link_local b "$NETDEV_B") ;;
esac
if [ -z "$from" ] || [ -z "$to" ]; then fail "no addresses of $family"; fi
sent() { on a cat "/sys/class/net/$NETDEV_A/statistics/tx_packets"; }
received() { # packets of the family
  case $family in
  ipv4) on a sed -n 's/^Ip: [0-9]* [0-9]* \([0-9]*\) .*/\1/p' /proc/net/snmp ;;
  *) on a sed -n 's/^Ip6InReceives[[:space:]]*//p' /proc/net/snmp6 ;;
  esac
}
before=$(sent) began=$(received)
on b timeout 80 "$WEFT_BIN/rail_msg_verbs_smoke" "$from" "$to" || fail "rail_msg_verbs_smoke"
crossed=$(($(sent) - before)) took=$(($(received) - began))
echo "$crossed packets left $NETDEV_A, $took of $family came in"
[ $crossed -gt 500 ] || fail "1000 echoes were not seen on the wire"
[ $took -gt 500 ] || fail "they did not travel by $family"
