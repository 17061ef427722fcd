# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced inside the guest: networks with RDMA.
#
#   vm_two_addresses   v0 10.9.0.1 and v1 10.9.0.2, joined by a veth pair
#   vm_two_rxe         the same, with the RDMA devices rxe0 on v0 and rxe1 on v1
#
# Both ends are in one network namespace, because the soft-RoCE of this kernel looks up its routes in
# the first namespace only. So that packets really cross the pair, the table of local addresses is asked
# after rules that send 10.9.0.2 out of v0 and 10.9.0.1 out of v1; what comes in is still local.
# To lose packets without hanging the sender's teardown, drop them on arrival:
#   tc qdisc add dev v1 clsact
#   tc filter add dev v1 ingress protocol ip flower ip_proto udp dst_port 4791 action drop

vm_two_addresses() {
  local mtu=${1:-1500} i
  ip link add v0 mtu "$mtu" type veth peer name v1 mtu "$mtu" || return 1
  ip addr add 10.9.0.1/24 dev v0
  ip addr add 10.9.0.2/24 dev v1
  for i in all v0 v1; do
    echo 1 >/proc/sys/net/ipv4/conf/$i/accept_local
    echo 0 >/proc/sys/net/ipv4/conf/$i/rp_filter
    echo 1 >/proc/sys/net/ipv4/conf/$i/arp_ignore
  done
  ip link set v0 up
  ip link set v1 up
  ip rule add pref 10 iif v0 lookup local
  ip rule add pref 10 iif v1 lookup local
  ip rule add pref 11 from 10.9.0.1 to 10.9.0.1 lookup local # an end that talks to itself
  ip rule add pref 11 from 10.9.0.2 to 10.9.0.2 lookup local
  ip rule add pref 12 to 10.9.0.2 lookup 102
  ip rule add pref 12 to 10.9.0.1 lookup 101
  ip route add 10.9.0.2 dev v0 src 10.9.0.1 table 102
  ip route add 10.9.0.1 dev v1 src 10.9.0.2 table 101
  ip rule add pref 100 lookup local
  ip rule del pref 0
}

vm_two_rxe() {
  modprobe rdma_rxe && modprobe rdma_ucm && vm_two_addresses "$@" || return 1
  rdma link add rxe0 type rxe netdev v0 && rdma link add rxe1 type rxe netdev v1
}
