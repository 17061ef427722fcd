#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# bindings/tools/weft_info.c: the list, its reasons, its JSON, its exit status.
. "${BASH_SOURCE%/*}/lib_examples.sh" || exit 1
need weft_info
info=$WEFT_BIN/weft_info

"$info" >"$TMP/list.log" 2>&1 || fail "nothing is usable: at least tcp over loopback should be"
grep -Eq '^0 +tcp ' "$TMP/list.log" || fail "tcp has no rank"
grep -q WEFT_WHY_ "$TMP/list.log" || fail "nothing is rejected, not even the provider that spins"

"$info" -v >"$TMP/verbose.log" || fail "-v"
grep -q 'what to do' "$TMP/verbose.log" || fail "-v gives no advice"

if command -v python3 >/dev/null; then
  for flags in -j -ej -lj; do
    "$info" $flags | python3 -c 'import json, sys; json.load(sys.stdin)' || fail "$flags is no JSON"
  done
  "$info" -j | python3 -c '
import json, sys
d = json.load(sys.stdin)
ranks = [c["rank"] for c in d["candidates"]]
usable = [r for r in ranks if r >= 0]
assert usable == list(range(d["usable"])), ranks
assert all(r == -1 for r in ranks[d["usable"]:]), ranks
assert all(c["why"].startswith("WEFT_WHY_") and c["help"] for c in d["candidates"])
' || fail "the JSON contradicts itself"
fi

# The options narrow the list as they would for a program.
status=0
WEFT_PROVIDERS=nosuch "$info" >"$TMP/none.log" 2>&1 || status=$?
[ "$status" -eq 1 ] || fail "WEFT_PROVIDERS=nosuch: exit $status"

"$info" -e >"$TMP/options.log" || fail "-e"
grep -q '^WEFT_MAX_MESSAGE=64MiB$' "$TMP/options.log" || fail "-e has no defaults"
WEFT_RX_DEPTH=64 "$info" -e | grep -q '^WEFT_RX_DEPTH=64$' || fail "-e does not see the environment"
WEFT_RX_DEPTH=many "$info" -e 2>/dev/null | grep -B1 '^WEFT_RX_DEPTH=32$' | grep -q bad ||
  fail "-e does not tell a bad value"

"$info" --version | grep -Eq '^weft_info [0-9]+\.[0-9]+\.[0-9]+$' || fail "--version"
"$info" --help | grep -q '^Usage: weft_info' || fail "--help"
for bad in -x "-v -e" extra; do
  status=0
  # shellcheck disable=SC2086
  "$info" $bad >/dev/null 2>&1 || status=$?
  [ "$status" -eq 2 ] || fail "weft_info $bad: exit $status"
done
exit 0
