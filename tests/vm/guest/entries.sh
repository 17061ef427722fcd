#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Inside a guest: runs the entries of /out/entries, each on a fresh network, and leaves for each
# /out/NAME.log and /out/NAME.rc. Lines are NAME LAYOUT SECONDS COMMAND.
#
# Design notes
#   - An entry is the first process of a namespace of processes: when it ends, or its time is up, the
#     kernel kills whatever it has left.
#   - What the RDMA devices have open afterwards must be what they had before it; else it has failed.
#   - /out/current names the entry that runs. If a process or a device cannot be got rid of, this ends,
#     and the host goes on with the rest in another guest.
. "$WEFT_VM_GUEST/net.sh"
cases=$(cd "$WEFT_VM_GUEST/../cases" && pwd)
own=$(readlink /proc/self/ns/pid)

left_over() { # processes of other namespaces than ours
  find /proc/[0-9]*/ns/pid -maxdepth 0 ! -lname "${own//[\[\]]/?}" 2>/dev/null | grep -q .
}

# within SECONDS CONDITION...: whether it comes true.
within() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $deadline ] || return 1
    sleep 0.2
  done
}

nobody_left() { ! left_over; }
settled() { ! vm_resources | grep -qvxFf /run/before; }

run_entry() { # LAYOUT SECONDS COMMAND; 99: this guest is of no use any more
  local layout=$1 limit=$2 command=$3 rc
  vm_layout "$layout"
  rc=$?
  if [ $rc != 0 ]; then
    [ $rc = 77 ] || { echo "the network of the layout $layout cannot be made"; return 1; }
    return 77
  fi
  vm_resources >/run/before
  (
    cd "$cases" || exit
    export WEFT_VM_LAYOUT=$layout WEFT_VM_CASE=$cases/lib.sh
    timeout -s KILL "$limit" unshare --pid --fork --kill-child --mount-proc bash -c "$command"
  )
  rc=$?
  [ $rc != 137 ] || { rc=124; echo "not done after $limit s"; }
  if ! within 15 nobody_left; then
    echo "processes that cannot be killed are left over"
    return 99
  fi
  if ! within 15 settled; then
    echo "left open on RDMA devices (before: $(tr '\n' ';' </run/before)):"
    vm_resources
    [ $rc != 0 ] || rc=1
  fi
  return $rc
}

while read -r name layout limit command; do
  echo "$name" >/out/current
  began=$SECONDS
  run_entry "$layout" "$limit" "$command" </dev/null >"/out/$name.log" 2>&1
  rc=$?
  useless=
  if [ $rc = 99 ]; then
    useless=1
    rc=1
  elif ! vm_network_down >>"/out/$name.log" 2>&1; then
    echo "an RDMA device cannot be taken away" >>"/out/$name.log"
    useless=1
    [ $rc != 0 ] || rc=1
  fi
  [ $rc = 0 ] || [ $rc = 77 ] || dmesg | tail -n 15 >>"/out/$name.log"
  echo "$name: exit code $rc, $((SECONDS - began)) s" | tee -a "/out/$name.log"
  echo $rc >"/out/$name.new" && mv "/out/$name.new" "/out/$name.rc"
  rm -f /out/current
  [ -z "$useless" ] || exit 1
done </out/entries
