# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# two.sh - on the host: what a case can do with two guests. Sourced by cases/lib.sh outside of guests;
# run_two and entries_two use it too. The words are described in cases/lib.sh.
#
# Design notes
#   - $WEFT_VM_HOSTS/a and /b are the folders that the guests see as /out: jobs go in there as files, see
#     guest/agent.sh. A host that was crashed has its file "dead"; its jobs end with 125.
#   - The cable is qemu's: two dgram sockets. A monitor on a pipe sets the link of either end.
TMP=${WEFT_VM_TMP:-}
export A=10.9.0.1 B=10.9.0.2 A6=fd09::1 B6=fd09::2
export DEVICE_A=rxe0 DEVICE_B=rxe1 NETDEV_A=eth0 NETDEV_B=eth0

put() { # HOST SUFFIX < SCRIPT: the next job's number in $NUMBER
  local folder=$WEFT_VM_HOSTS/$1/jobs
  NUMBER=$(($(cat "$folder/last") + 1))
  echo $NUMBER >"$folder/last"
  cat >"$folder/new"
  mv "$folder/new" "$folder/$NUMBER.$2"
}

script() { # HOST WORD...: the command with the caller's folder and variables
  local host=$1 name
  shift
  printf 'cd %q || exit\nmkdir -p %q\n' "$PWD" "$TMP"
  for name in $(compgen -e | grep -E '^(WEFT_|FI_|(A|L|UB|T)SAN_OPTIONS$)' || true); do
    printf 'export %s=%q\n' "$name" "${!name}"
  done
  printf 'export LC_ALL=C WEFT_DEVICES=%q\n' "$(devices "$host")"
  printf 'exec'
  printf ' %q' "$@"
  echo
}

start() {
  local host=$1 log=$2
  shift 2
  put "$host" cmd < <(script "$host" "$@")
  ln -sfn "$WEFT_VM_HOSTS/$host/jobs/$NUMBER.log" "$TMP/$log"
  JOB=$host/$NUMBER
}

ended() { # JOB: its exit code in $STATUS, when it has ended
  local folder=$WEFT_VM_HOSTS/${1%/*}
  STATUS=125
  [ ! -e "$folder/dead" ] || return 0
  [ -e "$folder/jobs/${1#*/}.rc" ] || return 1
  STATUS=$(cat "$folder/jobs/${1#*/}.rc")
}

on() {
  local JOB
  start "$1" last.log "${@:2}"
  until ended "$JOB"; do sleep 0.05; done
  cat "$WEFT_VM_HOSTS/${JOB%/*}/jobs/${JOB#*/}.log" 2>/dev/null
  return "$STATUS"
}

stop() {
  local host=${1%/*} pid
  pid=$(cat "$WEFT_VM_HOSTS/$host/jobs/${1#*/}.pid")
  on "$host" kill "-${2:-TERM}" "$pid"
}

monitor() { echo "$2" >"$WEFT_VM_HOSTS/$1/monitor.in"; } # HOST COMMAND
unplug() { monitor "$1" "set_link n0 off"; }
plug() { monitor "$1" "set_link n0 on"; }

crash() {
  touch "$WEFT_VM_HOSTS/$1/dead"
  kill -9 "$(cat "$WEFT_VM_HOSTS/$1/qemu.pid")"
}
