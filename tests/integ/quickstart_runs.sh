#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# ctest: timeout=90
# examples/quickstart.sh does what it says: alone, two at once, on the loopback device; and leaves nothing.
set -u
src=${WEFT_SRC:-$(cd "$(dirname "$0")/../.." && pwd)}
bin=${WEFT_BIN:-$src/build/release/bin}
quickstart=$src/examples/quickstart.sh
work=$(mktemp -d "${TMPDIR:-/tmp}/weft-qs-test.XXXXXX") || exit 1
export TMPDIR=$work # so that what it leaves there is seen
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$work"' EXIT
fail() {
  echo "FAIL: $1"
  [ -z "${2:-}" ] || cat "$2"
  exit 1
}
expect() { grep -qE -- "$2" "$1" || fail "no line like '$2' in:" "$1"; }
run() { # OUTPUT ARGUMENT...
  local out=$1
  shift
  timeout 120 "$quickstart" --bin "$bin" --seconds 3 --no-dpdk "$@" >"$out" 2>&1 </dev/null
}
delivered() { # both directions: sent = received, and nothing lost, twice or damaged
  awk '/^  (client to server|server to client) / { n++; if ($4 < 100 || $4 != $5 || $6 $7 $8 != "000") bad = 1 }
       END { exit bad || n != 2 }' "$1" || fail "not everything arrived exactly once:" "$1"
  expect "$1" '^  (client to server|server to client) .* [0-9]+\.[0-9] ms$'
  expect "$1" '^  64 bytes, Weft +p50 [0-9.]+ us, p99 [0-9.]+ us$'
  expect "$1" '^  raw TCP sockets +p50 [0-9.]+ us, p99 [0-9.]+ us; afterwards p50 '
}
moved() {
  expect "$1" "^  chosen +$WEFT_TEST_TCP +lane[12] "
  expect "$1" "^  standby +$WEFT_TEST_TCP +lane[12] "
  expect "$1" '^  rejected +[a-z].*(WEFT_WHY_[A-Z_]+: .|weft_info -v says why)'
  expect "$1" '>>> +ip link set lane[12] down'
  expect "$1" 'MIGRATED after a gap of [0-9.]+ ms$'
  expect "$1" "^ +from +$WEFT_TEST_TCP lane[12] 10\.77\."
  expect "$1" "^ +to +$WEFT_TEST_TCP lane[12] 10\.77\."
  expect "$1" '^ +cause .'
  # away from the cable that was pulled, to the other one
  local pulled to
  pulled=$(sed -n 's/.*ip link set \(lane[12]\) down.*/\1/p' "$1")
  to=$(sed -n "s/^ *to *$WEFT_TEST_TCP \(lane[12]\) .*/\1/p" "$1" | head -n 1)
  [ -n "$to" ] && [ "$to" != "$pulled" ] || fail "$pulled was pulled and it moved to $to" "$1"
}

"$quickstart" --help | grep -q '^usage: examples/quickstart.sh' || fail "--help"
"$quickstart" --nonsense >/dev/null 2>&1
[ $? = 2 ] || fail "an unknown option is not refused"
"$quickstart" --bin "$work" >"$work/out" 2>&1 && fail "a folder without programs is taken"

run "$work/out" --loopback || fail "--loopback" "$work/out"
delivered "$work/out"

if ! unshare -n true 2>/dev/null && ! unshare -Urn true 2>/dev/null; then
  echo "SKIP: no network namespaces for this user"
  exit 77
fi
run "$work/one" || fail "a run" "$work/one"
delivered "$work/one"
moved "$work/one"
cat "$work/one"

run "$work/two" &
two=$!
run "$work/three" || fail "the one of two at once" "$work/three"
wait $two || fail "the other of two at once" "$work/two"
delivered "$work/two"
delivered "$work/three"

# The last step, TCP in user space, where this build has it.
timeout 120 "$quickstart" --bin "$bin" --seconds 3 --loopback >"$work/dpdk" 2>&1 </dev/null || fail "with dpdk" "$work/dpdk"
if [ -f "$bin/../lib/libdpdk-fi.so" ]; then
  sed -i '1,/TCP in user space/d' "$work/dpdk"
  awk '/^  (client to server|server to client) / { n++; if ($4 < 100 || $4 != $5 || $6 $7 $8 != "000") bad = 1 }
       END { exit bad || n != 2 }' "$work/dpdk" || fail "not everything arrived exactly once over dpdk:" "$work/dpdk"
  expect "$work/dpdk" '^  chosen +dpdk +net_memif0 '
  expect "$work/dpdk" '^  64 bytes, dpdk +p50 [0-9.]+ us, p99 [0-9.]+ us$'
else
  expect "$work/dpdk" '^TCP in user space: this build has none '
fi

# Killed in the middle, without a chance to clean up.
"$quickstart" --bin "$bin" --seconds 60 >"$work/killed" 2>&1 </dev/null &
victim=$!
for _ in $(seq 200); do
  grep -q ' s  over ' "$work/killed" && break
  sleep 0.1
done
grep -q ' s  over ' "$work/killed" || fail "no stream" "$work/killed"
inner=$(pgrep -P $victim)
kill -KILL $victim $inner 2>/dev/null
wait $victim 2>/dev/null
for _ in $(seq 50); do
  pgrep -f "$bin/quickstart_(peer|tcp)" >/dev/null || break
  sleep 0.1
done
pgrep -af "$bin/quickstart_(peer|tcp)" && fail "programs are left over (above)"
rm -rf "$work"/weft-quickstart.* # of the killed run alone
[ -z "$(ls -d "$work"/weft-quickstart.* 2>/dev/null)" ] || fail "files are left over"
echo "quickstart runs"
