# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# lib_guest.sh - on the host: starts a guest. Sourced by run, and by lib_two.sh for each of two.
#
# A guest has a folder that it sees as /out, the one place that both sides write. In it:
#   command   what the guest is to do, a script
#   log       what that printed
#   status    its exit code
#   console, qemu   what the kernel and qemu said
# Wants $vm, the folder that prepare printed, and $here, this folder.

export WEFT_SRC=${WEFT_SRC:-$(cd "$here/../.." && pwd)}
export WEFT_BIN=${WEFT_BIN:-$WEFT_SRC/build/dev/bin}

# guest_order OUT WORD...: a command, with the caller's folder and variables.
guest_order() {
  local out=$1 name
  shift
  {
    printf 'cd %q\n' "$PWD"
    for name in $(compgen -e | grep -E '^(WEFT_|FI_|CI$|(A|L|UB|T)SAN_OPTIONS$)' || true); do
      printf 'export %s=%q\n' "$name" "${!name}"
    done
    printf 'export WEFT_VM_GUEST=%q WEFT_VM_CACHE=%q\n' "$here/guest" "$vm"
    printf '%q ' "$@"
    echo
  } >"$out/command"
}

# A machine may have /dev/kvm, and qemu all the same aborts when it sets a processor up, or stops at an
# instruction that this kernel's guests need ("KVM internal error"): a virtual machine inside another. So the
# guest's kernel is started in it, which without a root to mount ends by itself. 1 to 2 s where it works, 10 where
# it does not, once in each life of this machine.
kvm_works() {
  local known=$vm/kvm boot answer=no
  [ -r /dev/kvm ] && [ -w /dev/kvm ] || return 1
  boot=$(cat /proc/sys/kernel/random/boot_id)
  case $(cat "$known" 2>/dev/null) in
  "yes $boot") return 0 ;;
  "no $boot") return 1 ;;
  esac
  if timeout 10 qemu-system-x86_64 -machine q35 -accel kvm -cpu max -m 256 -nodefaults -no-user-config \
    -display none -no-reboot -kernel "$vm/kernel" -append "quiet panic=-1" </dev/null >/dev/null 2>&1; then
    answer=yes
  fi
  { echo "$answer $boot" >"$known.$$" && mv "$known.$$" "$known"; } 2>/dev/null || true
  [ $answer = yes ]
}

# guest_start OUT [QEMU-ARGUMENT...]: its process id is in $GUEST.
guest_start() {
  local out=$1 wish=${WEFT_VM_ACCEL:-} accel cpu=max
  shift
  # The kernel unpacks archives one after the other: the cached one, then the init of this tree.
  cp "$vm/initrd.cpio" "$out/initrd.cpio"
  (cd "$here/guest" && echo init | cpio -o -H newc --quiet) >>"$out/initrd.cpio"

  if [ -z "$wish" ]; then
    wish=tcg
    if kvm_works; then wish=kvm; fi
  fi
  case $wish in
  kvm) accel=(-accel kvm) ;;
  # Emulated, the instruction PCLMULQDQ is slower than the table it replaces: with it the checksum of soft
  # RoCE adds 12 us to a round trip of 50 when a packet grows from 64 to 128 bytes.
  tcg) accel=(-accel "tcg,thread=multi,tb-size=256") cpu=max,-pclmulqdq ;;
  *) echo "WEFT_VM_ACCEL=$wish: kvm or tcg" >&2; return 2 ;;
  esac

  qemu-system-x86_64 -machine q35 "${accel[@]}" -cpu "$cpu" \
    -smp "${WEFT_VM_CPUS:-2}" -m "${WEFT_VM_MEMORY:-2048}" \
    -nodefaults -no-user-config -display none -no-reboot -serial "file:$out/console" \
    -kernel "$vm/kernel" -initrd "$out/initrd.cpio" \
    -append "console=ttyS0 quiet panic=-1 nokaslr mitigations=off pti=off tsc=reliable no_timer_check \
random.trust_cpu=on weft.main=$here/guest/main.sh weft.root=$vm/root" \
    -fsdev "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap" \
    -device virtio-9p-pci,fsdev=host,mount_tag=host \
    -fsdev "local,id=out,path=$out,security_model=none" \
    -device virtio-9p-pci,fsdev=out,mount_tag=out \
    -device isa-debug-exit,iobase=0xf4,iosize=0x1 "$@" </dev/null >"$out/qemu" 2>&1 9>&- &
  GUEST=$!
}

# guest_boot OUT SECONDS: starts it, and once more where it has not come to its command by then:
# an emulated machine that is short of processors now and then hangs before its kernel says a word.
guest_boot() {
  local out=$1 seconds=$2 deadline=$((SECONDS + $2))
  guest_start "$out"
  while kill -0 "$GUEST" 2>/dev/null && [ ! -f "$out/log" ]; do
    if [ $SECONDS -ge $deadline ]; then
      echo "tests/vm: the guest has not booted within $seconds s: once more" >&2
      kill -9 "$GUEST" 2>/dev/null || true
      wait "$GUEST" 2>/dev/null || true
      guest_start "$out"
      return
    fi
    sleep 0.1
  done
}

# guest_wait SECONDS: until $GUEST ends; 1 when the time is up and it was killed.
guest_wait() {
  local deadline=$((SECONDS + $1)) rc=0
  while kill -0 "$GUEST" 2>/dev/null; do
    if [ $SECONDS -ge $deadline ]; then
      kill -9 "$GUEST" 2>/dev/null || true
      rc=1
      break
    fi
    sleep 0.1
  done
  wait "$GUEST" 2>/dev/null || true
  GUEST=
  return $rc
}
