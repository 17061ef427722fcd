#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Inside one of two guests: makes its network, then runs the jobs that the host puts into /out/jobs.
#
#   N.cmd   a job, a script, put there by lib_two.sh; N counts from 1
#   N.log   what it prints
#   N.pid   its process
#   N.rc    its exit code, when it has ended
#   N.reset in place of N.cmd: kill all jobs, make the network anew
#
# Every job runs in the background. That nothing is left open on the RDMA device is checked at a reset:
# N.rc is 1 then, and N.log says what.
. "$WEFT_VM_GUEST/net.sh"
mkdir -p /run/jobs
vm_layout host >/out/agent.log 2>&1 || { echo "no network: $(cat /out/agent.log)"; exit 1; }
vm_resources >/run/before
mkfifo /run/nothing
exec 3<>/run/nothing # nothing ever comes from there: a wait without a process

job() {
  (
    bash "/out/jobs/$1.cmd" </dev/null >"/out/jobs/$1.log" 2>&1 &
    echo $! >"/out/jobs/$1.pid"
    wait $!
    echo $? >"/out/jobs/$1.new"
    mv "/out/jobs/$1.new" "/out/jobs/$1.rc"
  ) &
}

reset() {
  local rc=0 n
  for n in $(jobs -p); do kill -9 -- "-$n" 2>/dev/null; done
  wait
  for n in $(seq 75); do
    vm_resources | grep -qvxFf /run/before || break
    [ "$n" != 75 ] || { echo "left open on the RDMA device:"; vm_resources; rc=1; }
    sleep 0.2
  done
  if ! vm_network_down || ! vm_layout host; then rc=1; fi
  vm_resources >/run/before
  return $rc
}

set -m # each job is a process group of its own
touch /out/ready
number=1
while :; do
  if [ -e "/out/jobs/$number.cmd" ]; then
    job $number
  elif [ -e "/out/jobs/$number.reset" ]; then
    reset >"/out/jobs/$number.log" 2>&1
    echo $? >"/out/jobs/$number.new"
    mv "/out/jobs/$number.new" "/out/jobs/$number.rc"
  elif [ -e /out/off ]; then
    exit 0
  else
    read -r -t 0.05 -u 3
    continue
  fi
  number=$((number + 1))
done
