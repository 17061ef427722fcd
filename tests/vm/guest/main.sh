#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The guest's process 1 on the host's files: the rest of a running system, the command, power off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb LANG=C.UTF-8
for word in $(</proc/cmdline); do
  case $word in
  weft.root=*) root=${word#*=} ;;
  esac
done
kernel=$(uname -r)
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /dev/pts /dev/shm "/lib/modules/$kernel"
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount --bind "$root/lib/modules/$kernel" "/lib/modules/$kernel"
ip link set lo up
hostname weft-vm
# libfabric's verbs provider asks for localhost; no name server answers in here.
printf '127.0.0.1 localhost\n::1 localhost\n127.0.1.1 weft-vm\n' >/etc/hosts
: >/etc/resolv.conf
ulimit -l unlimited

bash /out/command </dev/null >/out/log 2>&1
status=$?
echo "$status" >/out/status
# The host's qemu ends at once when a byte is written to this port (isa-debug-exit).
printf '\0' | dd of=/dev/port bs=1 seek=$((0xf4)) conv=notrunc status=none
sync
echo o >/proc/sysrq-trigger
sleep 100
