#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Weft in one command, from a fresh Debian 12 to a connection that survives a cut: see --help.
set -u

usage() {
  cat <<'END'
usage: examples/quickstart.sh [--no-install] [--bin DIR] [--seconds N] [--loopback] [--no-dpdk] [--keep]

Installs what the demo needs (as root; else it prints the apt-get line and goes on), builds it, starts a
server and a client in two network namespaces joined by two cables (veth pairs), streams checksummed
messages both ways, and pulls the cable in use in the middle. Prints what was chosen, what was rejected
and why, how the connection moved, what was lost (nothing), and round trips beside raw sockets. Where the
build has TCP in user space (docs/dpdk.md), the same two programs then talk over that. About a minute the
first time, 10 seconds afterwards. Leaves nothing running and no network set-up behind.

  --no-install   neither look at packages nor install any
  --bin DIR      use the programs in DIR: no packages, no build
  --seconds N    stream for N seconds (6)
  --loopback     on the loopback device, without namespaces: nothing is cut then
  --no-dpdk      without the last step, TCP in user space
  --keep         at the end keep both namespaces until Enter is pressed, to look around in them

Exit status: 0 when everything arrived exactly once and the connection moved; else not 0.
END
}

install=1 bin= seconds=6 loopback= keep= inside= dpdk=1 self=$0
while [ $# -gt 0 ]; do
  case $1 in
  --no-install) install= ;;
  --bin) bin=${2:-} && shift ;;
  --seconds) seconds=${2:-} && shift ;;
  --loopback) loopback=1 ;;
  --no-dpdk) dpdk= ;;
  --keep) keep=1 ;;
  --inside) inside=1 ;; # called by ourselves, in the client's namespace
  -h | --help) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
  esac
  shift
done
case $seconds in '' | *[!0-9]* | 0 | 1 | 2) echo "--seconds: a number from 3" >&2; exit 2 ;; esac

bold='' dim='' red='' plain=''
[ ! -t 1 ] || { bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' plain=$'\e[0m'; }
title() { printf '\n%s%s%s\n' "$bold" "$1" "$plain"; }
die() {
  printf '%sFAILED%s: %s\n' "$red" "$plain" "$1" >&2
  exit 1
}
work=$(mktemp -d "${TMPDIR:-/tmp}/weft-quickstart.XXXXXX") || exit 1
pids=()
clean_up() {
  [ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null
  wait
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

# ---- Packages and build ---------------------------------------------------------------------------------

download_size() { # "61 packages, 71.2 MB to download"
  apt-get -qq --print-uris --no-install-recommends install "$@" 2>/dev/null </dev/null |
    awk '{ bytes += $3; n++ }
         END { printf "%d packages, %.1f MB to download", n, bytes / 1e6; exit n == 0 }'
}

packages() {
  command -v dpkg-query >/dev/null || { echo "not a Debian: the build says what is missing"; return; }
  local wanted=(gcc libc6-dev cmake ninja-build pkg-config libfabric-dev libuv1-dev libssl-dev
    libjansson-dev librdmacm-dev libibverbs-dev iproute2)
  local there missing=() package size apt=(apt-get -qq -y -o DPkg::Lock::Timeout=300)
  there=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${wanted[@]}" 2>/dev/null)
  for package in "${wanted[@]}"; do
    grep -qx "$package installed" <<<"$there" || missing+=("$package")
  done
  if [ ${#missing[@]} = 0 ]; then
    echo "all there, nothing to install"
    return
  fi
  if [ "$(id -u)" != 0 ]; then
    size=$(download_size "${missing[@]}") || size="run apt-get update first"
    echo "missing ($size); to install:"
    echo "  sudo apt-get install --no-install-recommends ${missing[*]}"
    return
  fi
  export DEBIAN_FRONTEND=noninteractive
  if ! size=$(download_size "${missing[@]}"); then
    echo "apt-get update"
    "${apt[@]}" update >"$work/apt" 2>&1 </dev/null
    size=$(download_size "${missing[@]}") ||
      { cat "$work/apt"; die "apt-get does not find ${missing[*]}"; }
  fi
  echo "apt-get install ${missing[*]}"
  echo "with what they need: $size"
  "${apt[@]}" install --no-install-recommends "${missing[@]}" >"$work/apt" 2>&1 </dev/null ||
    { "${apt[@]}" update && "${apt[@]}" install --no-install-recommends "${missing[@]}"; } \
      >"$work/apt" 2>&1 </dev/null || { cat "$work/apt"; die "apt-get"; }
}

build() {
  mkdir -p build && exec 9>build/.quickstart.lock && flock 9 || die "build/ is not writable"
  { cmake --preset release && cmake --build --preset release --target quickstart_peer quickstart_tcp; } \
    >"$work/build" 2>&1 </dev/null || { tail -n 40 "$work/build"; die "build"; }
  exec 9>&-
  bin=build/release/bin
}

# Everything up to the namespaces; then ourselves again, in the client's.
prepare() {
  local enter=() why=--loopback
  if [ -z "$bin" ]; then
    cd "$(dirname "$self")/.." || exit 1
    self=examples/quickstart.sh
    if [ -n "$install" ]; then
      title "Packages"
      packages
      [ $SECONDS -lt 2 ] || printf '%s%d s%s\n' "$dim" $SECONDS "$plain"
    fi
    title "Build"
    build
    printf 'build/release: libweft, quickstart_peer %s(%d s so far)%s\n' "$dim" $SECONDS "$plain"
  fi
  [ -x "$bin/quickstart_peer" ] && [ -x "$bin/quickstart_tcp" ] && bin=$(cd "$bin" && pwd) ||
    die "$bin: no quickstart_peer and quickstart_tcp there"

  # The namespaces have no names: they belong to our processes, so nothing is left when these end.
  if [ -z "$loopback" ]; then
    if ! command -v ip >/dev/null; then
      why="there is no ip command (Debian: iproute2)"
    elif [ "$(id -u)" = 0 ] && unshare -n true 2>/dev/null; then
      enter=(unshare -n)
    elif unshare -Urn true 2>/dev/null; then
      enter=(unshare -Urn)
    else
      why="this user may not make network namespaces"
    fi
    [ ${#enter[@]} -gt 0 ] || loopback=1
  fi
  [ -z "$loopback" ] || printf '\n%s: everything runs on the loopback device and nothing is cut\n' "$why"
  ${enter[@]+"${enter[@]}"} bash "$self" --inside --bin "$bin" --seconds "$seconds" \
    ${loopback:+--loopback} ${keep:+--keep} $([ -n "$dpdk" ] || echo --no-dpdk) || exit
  printf '\n%s%d s in all. Next: docs/guide.md, the first program of your own.%s\n' "$dim" $SECONDS "$plain"
  exit 0
}
[ -n "$inside" ] || prepare

# ---- The demo, inside the client's namespace ------------------------------------------------------------

tied() { exec setpriv --pdeathsig KILL "$@"; } # ends with us, however we end
holder=                                        # the process that holds the server's namespace
server_side() { if [ -n "$holder" ]; then nsenter -t "$holder" -n "$@"; else "$@"; fi; }

two_cables() {
  tied unshare -n sleep infinity &
  holder=$!
  pids+=("$holder")
  local lane side n=0
  while [ "$(readlink "/proc/$holder/ns/net")" = "$(readlink /proc/self/ns/net)" ]; do
    [ $((n += 1)) -lt 100 ] || return 1
    sleep 0.05
  done
  ip link set lo up && server_side ip link set lo up || return 1
  for lane in 1 2; do
    ip link add lane$lane type veth peer name lane$lane netns "$holder" || return 1
    for side in '' server_side; do # IPv4 alone keeps the output short
      $side ip link set lane$lane addrgenmode none 2>/dev/null # fails where there is no IPv6 at all
    done
    ip address add 10.77.$lane.1/24 dev lane$lane && ip link set lane$lane up &&
      server_side ip address add 10.77.$lane.2/24 dev lane$lane &&
      server_side ip link set lane$lane up || return 1
  done
  # The kernel takes a moment to call a plugged cable a carrier.
  for lane in 1 2; do
    n=0
    until ip link show lane$lane | grep -q 'state UP' &&
      server_side ip link show lane$lane | grep -q 'state UP'; do
      [ $((n += 1)) -lt 100 ] || return 1
      sleep 0.05
    done
  done
}

serve() { # FILE COMMAND...: start a server, wait until it listens
  local file=$1 n=0
  shift
  (tied ${holder:+nsenter -t "$holder" -n} "$@") >"$file" 2>&1 </dev/null &
  server=$!
  pids+=("$server")
  until grep -q '^listening' "$file"; do
    if [ $((n += 1)) -gt 200 ] || ! kill -0 "$server" 2>/dev/null; then
      cat "$file" >&2
      die "the server does not start: $*"
    fi
    sleep 0.05
  done
}

raw_round_trip() { "$bin/quickstart_tcp" connect "$address" "$port" >"$1" || die "raw TCP"; }

pause() { read -r -t "$1" _ <>"$work/never"; } # a sleep that leaves no process when we are ended
pull_and_plug() { # DEVICE: out after a quarter of the time, in again after half of it
  local quarter=$((seconds * 1000 / 4))
  quarter=$((quarter / 1000)).$(printf %03d $((quarter % 1000)))
  pause "$quarter"
  printf '  %s>>>     ip link set %s down%s\n' "$bold" "$1" "$plain"
  ip link set "$1" down
  pause "$quarter"
  printf '  %s>>>     ip link set %s up%s\n' "$bold" "$1" "$plain"
  ip link set "$1" up
}

run_client() { # URL
  local client line device= cutter=
  mkfifo "$work/pipe" "$work/never" || return 1
  (tied timeout $((seconds + 30)) setpriv --pdeathsig KILL "$bin/quickstart_peer" connect "$1" "$seconds") \
    >"$work/pipe" 2>&1 </dev/null &
  client=$!
  pids+=("$client")
  while IFS= read -r line; do
    printf '%s\n' "$line" >>"$work/client"
    case $line in
    "round trip"*) # the last line before the stream
      if [ -n "$holder" ]; then
        pull_and_plug "$device" &
        cutter=$!
      fi
      ;;
    "sent "*) ;; # the last line
    *)
      printf '  %s\n' "$line"
      set -- $line
      [ "$1" != chosen ] || device=$3
      ;;
    esac
  done <"$work/pipe"
  [ -z "$cutter" ] || kill "$cutter" 2>/dev/null
  wait "$client"
}

server_ended() {
  local n=0
  while kill -0 "$server" 2>/dev/null; do
    [ $((n += 1)) -lt 100 ] || return 1
    sleep 0.1
  done
  wait "$server"
}

figure() { sed -n "s/^.*\b$1 \([0-9.]*\).*/\1/p" "$work/$2" | tail -n 1; } # NAME FILE

# The server's namespace is left out on the loopback device.
if [ -n "$loopback" ]; then
  title "A server and a client on 127.0.0.1"
  address=127.0.0.1 listen=weft://127.0.0.1:0
else
  title "A server and a client, two cables"
  two_cables || die "making two namespaces and two cables"
  address=10.77.2.2 listen='weft://*:7000' url=weft://10.77.1.2:7000
  cat <<'END'
  client            server
  10.77.1.1 ─lane1─ 10.77.1.2
  10.77.2.1 ─lane2─ 10.77.2.2
END
fi
serve "$work/raw" "$bin/quickstart_tcp" listen "$address"
port=$(figure port raw)
serve "$work/server" "$bin/quickstart_peer" listen "$listen"
[ -z "$loopback" ] || url=$(sed -n 's/^listening at //p' "$work/server")

export WEFT_SETTLE_MS=${WEFT_SETTLE_MS:-400} # go back to a mended path soon: nobody waits 10 s for it here
title "Connect to $url, stream both ways${holder:+, pull the cable in use}"
: >"$work/client"
raw_round_trip "$work/raw_before"
failures=()
run_client "$url" || failures+=("the client ended with an error")
raw_round_trip "$work/raw_after"
server_ended || { cat "$work/server"; failures+=("the server ended with an error"); }

title "Result"
row() { # FROM TO FILE-OF-SENDER FILE-OF-RECEIVER
  local sent received lost duplicated damaged
  sent=$(figure sent "$3") received=$(figure received "$4") lost=$(figure lost "$4")
  duplicated=$(figure duplicated "$4") damaged=$(figure damaged "$4")
  printf '  %-17s %9s %9s %6s %11s %8s %12s ms\n' "$1 to $2" "$sent" "$received" \
    "$((${sent:-0} - ${received:-0}))" "$duplicated" "$damaged" "$(figure pause "$4")"
  [ "${sent:-0}" -gt 0 ] && [ "$sent" = "$received" ] && [ "$lost$duplicated$damaged" = 000 ] ||
    failures+=("$1 to $2: not every message arrived exactly once")
}
printf '  %-17s %9s %9s %6s %11s %8s   longest pause\n' messages sent received lost duplicated damaged
row client server client server
row server client server client
printf '  %-17s p50 %s us, p99 %s us\n' "64 bytes, Weft" "$(figure p50 client)" "$(figure p99 client)"
printf '  %-17s p50 %s us, p99 %s us; afterwards p50 %s us, p99 %s us\n' "raw TCP sockets" \
  "$(figure p50 raw_before)" "$(figure p99 raw_before)" "$(figure p50 raw_after)" "$(figure p99 raw_after)"
printf '  %s(round trips; both ends sleep while they wait. More: weft_perf, docs/performance.md)%s\n' "$dim" "$plain"
[ -z "$holder" ] || grep -q ' MIGRATED ' "$work/client" || failures+=("the connection did not move")

# Both programs share a memory that is a cable to them: no card, no privileges, no kernel on the way.
user_space() {
  local device="net_memif0,id=0,socket-abstract=no,socket=$work/memif,role="
  title "The same over TCP in user space: DPDK, between two processes"
  export FI_DPDK_DEVICE=${device}server FI_DPDK_ADDRESS=10.78.0.2/24
  serve "$work/dpdk_server" "$bin/quickstart_peer" listen weft://10.78.0.2:7000
  export FI_DPDK_DEVICE=${device}client FI_DPDK_ADDRESS=10.78.0.1/24
  timeout 30 setpriv --pdeathsig KILL "$bin/quickstart_peer" connect 'weft://10.78.0.2:7000?latency=20us' 2 \
    >"$work/dpdk_client" 2>&1 </dev/null || failures+=("dpdk: the client ended with an error")
  server_ended || { cat "$work/dpdk_server"; failures+=("dpdk: the server ended with an error"); }
  grep -E '^(chosen|standby) ' "$work/dpdk_client" | sed 's/^/  /'
  grep -qE '^chosen +dpdk ' "$work/dpdk_client" ||
    { cat "$work/dpdk_client"; failures+=("dpdk: the messages went another way"); }
  row client server dpdk_client dpdk_server
  row server client dpdk_server dpdk_client
  printf '  %-17s p50 %s us, p99 %s us\n' "64 bytes, dpdk" "$(figure p50 dpdk_client)" "$(figure p99 dpdk_client)"
  printf '  %s(both ends spin for a moment before they sleep, as latency=20us lets them)%s\n' "$dim" "$plain"
}
if [ -z "$dpdk" ]; then
  :
elif [ -f "$bin/../lib/libdpdk-fi.so" ]; then
  user_space
else
  printf '\n%sTCP in user space: this build has none (docs/dpdk.md)%s\n' "$dim" "$plain"
fi

if [ -n "$keep" ] && [ -n "$holder" ]; then
  user=-U\ --preserve-credentials
  [ "$(readlink "/proc/$PPID/ns/user")" != "$(readlink /proc/self/ns/user)" ] || user=
  printf '\nclient: nsenter -t %d -n %s bash\nserver: nsenter -t %d -n %s bash\n' $$ "$user" "$holder" "$user"
  read -r -p 'Enter ends both namespaces. ' _ || true
fi
for failure in ${failures[@]+"${failures[@]}"}; do
  printf '%sFAILED%s: %s\n' "$red" "$plain" "$failure" >&2
done
[ ${#failures[@]} = 0 ]
