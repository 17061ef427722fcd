# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# lib_two.sh - on the host: two guests a and b with a cable between them. Sourced by run_two and
# entries_two; what cases do with the guests is two.sh.
#
# Wants $here, $vm and $hosts, a folder; hosts/a and hosts/b become the guests' /out.
. "$here/lib_guest.sh"

# A path of a unix socket is short: the cable's two ends lie in a folder of their own.
cable=$(mktemp -d "${TMPDIR:-/tmp}/weft-cable.XXXXXX")

host_start() { # HOST
  local host=$1 out=$hosts/$1 other=a mac=52:54:00:00:09:01
  [ "$host" = b ] || other=b
  [ "$host" = a ] || mac=52:54:00:00:09:02
  rm -rf "$out"
  mkdir -p "$out/jobs"
  echo 0 >"$out/jobs/last"
  mkfifo "$out/monitor.in" "$out/monitor.out"
  WEFT_VM_HOST=$host guest_order "$out" bash "$here/guest/agent.sh"
  WEFT_VM_MEMORY=${WEFT_VM_MEMORY:-1024} guest_start "$out" \
    -chardev "pipe,id=monitor,path=$out/monitor" -mon chardev=monitor,mode=readline \
    -netdev "dgram,id=n0,local.type=unix,local.path=$cable/$host,remote.type=unix,remote.path=$cable/$other" \
    -device "virtio-net-pci,netdev=n0,id=nic0,mac=$mac"
  echo "$GUEST" >"$out/qemu.pid"
  disown "$GUEST" # whoever crashes it tells so
}

host_alive() { [ -s "$hosts/$1/qemu.pid" ] && kill -0 "$(cat "$hosts/$1/qemu.pid")" 2>/dev/null; }

# hosts_ready SECONDS: both run and have their network; one that is dead is started again.
hosts_ready() {
  local deadline=$((SECONDS + $1)) host
  for host in a b; do
    if ! host_alive $host || [ -e "$hosts/$host/dead" ]; then
      rm -f "$cable/$host"
      host_start $host
    fi
  done
  for host in a b; do
    until [ -e "$hosts/$host/ready" ]; do
      if [ $SECONDS -ge $deadline ] || ! host_alive $host; then
        echo "host $host does not start" >&2
        cat "$hosts/$host/log" "$hosts/$host/qemu" "$hosts/$host/console" 2>/dev/null | tail -n 20 >&2
        return 1
      fi
      sleep 0.1
    done
  done
}

hosts_off() {
  local host
  for host in a b; do
    host_alive $host && kill -9 "$(cat "$hosts/$host/qemu.pid")"
  done
  rm -rf "$cable"
}
