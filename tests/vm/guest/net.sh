# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# net.sh - inside a guest, for sourcing: networks with RDMA.
#
#   vm_layout LAYOUT [MTU]   makes the network of a layout
#     rxe        two hosts in one network namespace, v0 and v1 joined by a veth pair, soft RoCE
#     siw        the same, soft iWARP
#     rxe-spare, siw-spare
#                the same without IPv6, and a second pair, w0 and w1, without RDMA: what a program whose
#                RDMA dies can go on over. A host's devices are its RDMA device and its end of that pair
#     siw-hosts  two network namespaces a and b joined by a veth pair, soft iWARP
#     host       this guest is one of two, its cable is eth0, soft RoCE
#   vm_heal                  a spare layout as it was, whatever was cut, but for devices that are gone
#   vm_network_down          takes away whatever is there, whatever layout it was
#   vm_resources             what the RDMA devices have open, a line for each
#
# A layout sets, and exports, what cases/lib.sh goes by: A and B, the addresses of the two hosts (A6 and
# B6 in IPv6), DEVICE_A and DEVICE_B, NETDEV_A and NETDEV_B. In a spare layout A and B are the addresses of
# the second pair, and NETDEV_A and NETDEV_B its ends.
#
# Design notes
#   - Soft RoCE of this kernel looks up its routes in the first namespace only: hence two hosts in one.
#     So that packets really cross the pair, the table of local addresses is asked after rules that send
#     B's address out of v0 and A's out of v1; what comes in is still local.
#   - RDMA devices are seen from all namespaces: a host is held to its own by WEFT_DEVICES.
#   - To lose packets without hanging the sender's teardown, drop them on arrival:
#       tc qdisc add dev v1 clsact
#       tc filter add dev v1 ingress protocol ip flower ip_proto udp dst_port 4791 action drop

vm_names() { # KIND NETDEV-A NETDEV-B
  export A=10.9.0.1 B=10.9.0.2 A6=fd09::1 B6=fd09::2
  export DEVICE_A=${1}0 DEVICE_B=${1}1 NETDEV_A=$2 NETDEV_B=$3
}

vm_modules() { # rxe|siw
  local module
  modprobe rdma_ucm || return 1
  case $1 in
  rxe) modprobe rdma_rxe ;;
  siw)
    [ ! -d /sys/module/siw ] || return 0
    if [ ! -f "$WEFT_VM_CACHE/siw/siw.ko" ]; then
      echo "SKIP: $(cat "$WEFT_VM_CACHE/siw.why" 2>/dev/null ||
        echo "soft iWARP is not built: tests/vm/run --prepare")"
      return 77
    fi
    for module in $(modinfo -F depends "$WEFT_VM_CACHE/siw/siw.ko" | tr , ' '); do
      modprobe "$module" || return 1
    done
    insmod "$WEFT_VM_CACHE/siw/siw.ko"
    ;;
  esac
}

vm_set() { # VALUE FILE... under /proc/sys/net
  local value=$1 file
  shift
  for file in "$@"; do echo "$value" >"/proc/sys/net/$file" || return 1; done
}

# No waiting for duplicate addresses: IPv6 is of use at once.
vm_no_dad() { vm_set 0 ipv6/conf/default/accept_dad ipv6/conf/all/accept_dad; }

# A pair NAME0, NAME1 with NET.1 and NET.2: what one sends to the other crosses it, although both are here.
vm_pair() { # NAME NET TABLE MTU; the tables TABLE and TABLE+1 are its own
  local to1=$3 to2=$(($3 + 1)) i
  ip link add "${1}0" mtu "$4" type veth peer name "${1}1" mtu "$4" || return 1
  for i in "${1}0" "${1}1"; do
    vm_set 1 ipv4/conf/$i/accept_local ipv4/conf/$i/arp_ignore
    vm_set 0 ipv4/conf/$i/rp_filter
  done
  ip -batch - <<END
addr add $2.1/24 dev ${1}0
addr add $2.2/24 dev ${1}1
link set ${1}0 up
link set ${1}1 up
rule add pref 10 iif ${1}0 lookup local
rule add pref 10 iif ${1}1 lookup local
rule add pref 11 from $2.1 to $2.1 lookup local
rule add pref 11 from $2.2 to $2.2 lookup local
rule add pref 12 to $2.2 lookup $to2
rule add pref 12 to $2.1 lookup $to1
route add $2.2 dev ${1}0 src $2.1 table $to2
route add $2.1 dev ${1}1 src $2.2 table $to1
END
}

vm_one_namespace() { # MTU
  vm_no_dad
  vm_set 1 ipv4/conf/all/accept_local ipv4/conf/all/arp_ignore
  vm_set 0 ipv4/conf/all/rp_filter
  vm_pair v 10.9.0 101 "$1" || return 1
  ip -batch - <<'END' || return 1
addr add fd09::1/64 dev v0 nodad
addr add fd09::2/64 dev v1 nodad
rule add pref 100 lookup local
rule del pref 0
END
  ip -6 -batch - <<'END'
rule add pref 10 iif v0 lookup local
rule add pref 10 iif v1 lookup local
rule add pref 11 from fd09::1 to fd09::1 lookup local
rule add pref 11 from fd09::2 to fd09::2 lookup local
rule add pref 12 to fd09::2 lookup 102
rule add pref 12 to fd09::1 lookup 101
route add fd09::2 dev v0 src fd09::1 table 102
route add fd09::1 dev v1 src fd09::2 table 101
rule add pref 100 lookup local
rule del pref 0
END
}

vm_first_routes() { # of the first pair; they go with a link or an address
  ip route replace 10.9.0.2 dev v0 src 10.9.0.1 table 102 &&
    ip route replace 10.9.0.1 dev v1 src 10.9.0.2 table 101
}

vm_spare() { # MTU
  local i
  vm_pair w 10.9.2 103 "$1" || return 1
  for i in v0 v1 w0 w1; do vm_set 1 ipv6/conf/$i/disable_ipv6; done
}

vm_heal() {
  local i
  ip link set v0 up && ip link set v1 up || return 1
  for i in v0 v1; do tc qdisc del dev $i clsact 2>/dev/null; done
  ip addr replace 10.9.0.1/24 dev v0 && ip addr replace 10.9.0.2/24 dev v1 && vm_first_routes
}

vm_two_namespaces() { # MTU
  ip netns add a && ip netns add b || return 1
  ip link add v0 mtu "$1" netns a type veth peer name v1 mtu "$1" netns b || return 1
  ip -n a -batch - <<'END' || return 1
addr add 10.9.0.1/24 dev v0
addr add fd09::1/64 dev v0 nodad
link set lo up
link set v0 up
END
  ip -n b -batch - <<'END'
addr add 10.9.0.2/24 dev v1
addr add fd09::2/64 dev v1 nodad
link set lo up
link set v1 up
END
}

vm_layout() { # LAYOUT [MTU]
  local layout=$1 mtu=${2:-4200}
  case $layout in
  rxe | siw)
    vm_names "$layout" v0 v1
    vm_modules "$layout" || return
    vm_one_namespace "$mtu" || return 1
    rdma link add "${layout}0" type "$layout" netdev v0 &&
      rdma link add "${layout}1" type "$layout" netdev v1
    ;;
  rxe-spare | siw-spare)
    modprobe -a cls_flower act_gact sch_ingress || return 1
    vm_layout "${layout%-spare}" "$mtu" && vm_spare "$mtu" || return
    export A=10.9.2.1 B=10.9.2.2 NETDEV_A=w0 NETDEV_B=w1
    unset A6 B6
    ;;
  siw-hosts)
    vm_names siw v0 v1
    vm_modules siw || return
    vm_two_namespaces "$mtu" || return 1
    ip netns exec a rdma link add siw0 type siw netdev v0 &&
      ip netns exec b rdma link add siw1 type siw netdev v1
    ;;
  host)
    vm_names rxe eth0 eth0
    vm_modules rxe && modprobe virtio_net || return 1
    vm_no_dad
    local number=1
    [ "$WEFT_VM_HOST" = a ] || number=2
    ip addr flush dev eth0
    ip addr add "10.9.0.$number/24" dev eth0 &&
      ip addr add "fd09::$number/64" dev eth0 nodad && ip link set eth0 mtu "$mtu" up &&
      rdma link add "rxe$((number - 1))" type rxe netdev eth0
    ;;
  *) echo "no layout $layout" >&2; return 2 ;;
  esac
}

vm_rules_down() { # -4|-6: as the kernel starts with
  ip "$1" rule show | grep -q '^0:' || ip "$1" rule add pref 0 lookup local
  ip "$1" rule show | sed -n 's/^\(10\|11\|12\|100\):.*/rule del pref \1/p' |
    ip "$1" -force -batch - 2>/dev/null
}

# 1 when an RDMA device does not go: somebody has it open and cannot be killed.
vm_network_down() {
  local name rc=0
  for name in $(rdma link show | sed -n 's|^link \([^/]*\)/.*|\1|p'); do
    timeout -s KILL 10 rdma link delete "$name" || rc=1
  done
  [ $rc = 0 ] || return 1
  for name in $(ip netns list | cut -d' ' -f1); do ip netns del "$name"; done
  for name in /sys/class/net/*; do
    name=${name##*/}
    case $name in
    lo) ;;
    eth*) ip addr flush dev "$name" && tc qdisc del dev "$name" clsact 2>/dev/null ;;
    *) [ ! -e "/sys/class/net/$name" ] || ip link del "$name" ;;
    esac
  done
  vm_rules_down -4
  vm_rules_down -6
  for name in 1 2 3 4 5; do # a namespace's devices go a moment after it
    [ -e /sys/class/net/v0 ] || return 0
    sleep 0.2
  done
  return 1
}

vm_resources() { rdma resource show | sed 's/^[0-9]*: //'; }
