#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# bindings/tools/weft_info*.c without a server: the list, its reasons, -p and -d, -e, -l, exit status, wrong usage.
# ctest: beside
. "${BASH_SOURCE%/*}/lib_examples.sh" || exit 1
need weft_info
info=$WEFT_BIN/weft_info

"$info" >"$TMP/list.log" 2>&1 || fail "nothing is usable: at least tcp over loopback should be"
head -n 1 "$TMP/list.log" | grep -Eq '^RANK +PROVIDER +DEVICE +ADDRESS +SPEED +MTU +RMA +EVENTS +LIMIT +COST +WHY$' ||
  fail "the head of the list"
grep -Eq "^[0-9]+ +$WEFT_TEST_TCP +lo +127\.0\.0\.1 +.* software +yes +none +[0-9.]+ us, [0-9.]+ GB/s expected +" "$TMP/list.log" ||
  fail "the line of $WEFT_TEST_TCP over loopback"
grep -q 'WEFT_WHY_QUIRK: ' "$TMP/list.log" || fail "nothing is rejected, not even the provider that spins"
[ "$(cut -d ' ' -f 1 "$TMP/list.log" | sed -n '/^[0-9]/p')" = "$(cut -d ' ' -f 1 "$TMP/list.log" | sed -n '/^[0-9]/p' | sort -n)" ] ||
  fail "ranks are not in order"

"$info" -v >"$TMP/verbose.log" || fail "-v"
for field in 'reason  ' 'detail  ' 'what to do  ' 'address  ' 'round trip  .* expected' 'RMA  .*in software' \
  'wakes  .*file descriptor' 'one transfer ' 'first call  *yes'; do
  grep -Eq "^  $field" "$TMP/verbose.log" || fail "-v says nothing of $field"
done

# -p and -d narrow what is seen, and what would be used.
"$info" -p tcp -d lo >"$TMP/narrow.log" || fail "-p tcp -d lo"
awk 'NR > 1 && NF > 1 && !/rejected/ && !($2 == "tcp" && ($3 == "lo" || $3 == "-")) { bad = 1 } END { exit bad }' \
  "$TMP/narrow.log" || fail "-p tcp -d lo shows more"
grep -Eq '^0 +tcp +lo ' "$TMP/narrow.log" || fail "with -d lo, lo is not the best"
status=0
"$info" -p udp >"$TMP/udp.log" 2>&1 || status=$?
[ "$status" -eq 1 ] || fail "-p udp: exit $status"
grep -q '^- .*WEFT_WHY_QUIRK' "$TMP/udp.log" && grep -q 'nothing of what -p and -d name is usable' "$TMP/udp.log" ||
  fail "-p udp does not say why"

# What does not load: the file that was looked at, and the linker's words.
mkdir "$TMP/providers"
echo "this is no library" >"$TMP/providers/libbroken-fi.so"
status=0
FI_PROVIDER_PATH=$TMP/providers "$info" -p broken >"$TMP/broken.log" 2>&1 || status=$?
[ "$status" -eq 1 ] || fail "-p broken: exit $status"
grep -q 'WEFT_WHY_NO_PROVIDER: .*libbroken-fi.so: ' "$TMP/broken.log" || fail "no words of the linker on a broken provider"
FI_PROVIDER_PATH=$TMP/providers "$info" -p absent >"$TMP/absent.log" 2>&1
grep -qF "no libabsent-fi.so in $TMP/providers" "$TMP/absent.log" || fail "no folder on a provider that is not there"

# The environment narrows the list as it would for a program.
status=0
WEFT_PROVIDERS=nosuch "$info" >"$TMP/none.log" 2>&1 || status=$?
[ "$status" -eq 1 ] || fail "WEFT_PROVIDERS=nosuch: exit $status"

"$info" -e >"$TMP/options.log" || fail "-e"
grep -q '^WEFT_MAX_MESSAGE=64MiB$' "$TMP/options.log" || fail "-e has no defaults"
WEFT_RX_DEPTH=64 "$info" -e | grep -B1 '^WEFT_RX_DEPTH=64$' | grep -q "environment; the default is '32'" ||
  fail "-e does not see the environment"
WEFT_RX_DEPTH=many "$info" -e 2>/dev/null | grep -B1 '^WEFT_RX_DEPTH=32$' | grep -q bad ||
  fail "-e does not tell a bad value"
"$info" -e -d eth7 | grep -B1 '^WEFT_DEVICES=eth7$' | grep -q "command line" || fail "-e does not see -d"
# every option of the library, and each in its own words: what is printed can be set again
(
  set -a
  # shellcheck disable=SC1091
  . "$TMP/options.log"
  "$info" -e 2>"$TMP/again.err" | grep '^WEFT_' >"$TMP/again"
)
[ ! -s "$TMP/again.err" ] || fail "the output of -e is not what the environment takes: $(head -n 1 "$TMP/again.err")"
grep '^WEFT_' "$TMP/options.log" | diff - "$TMP/again" || fail "-e, set as the environment, says something else"
count=$(grep -c '^ *OPTION(' "$WEFT_SRC/fabric/loop/opts.c")
[ "$(grep -c '^WEFT_' "$TMP/options.log")" -eq $((count + 1)) ] || fail "-e does not print all $count options and WEFT_LOG"

"$info" -l >"$TMP/libraries.log" || fail "-l"
for what in weft libfabric libuv jansson kernel; do
  grep -Eq "^$what +[A-Za-z0-9]" "$TMP/libraries.log" || fail "-l says nothing of $what"
done
grep -Eq '^  tcp +[0-9]+\.[0-9]+$' "$TMP/libraries.log" || fail "-l has no version of the provider tcp"

"$info" --version | grep -Eq '^weft_info [0-9]+\.[0-9]+\.[0-9]+$' || fail "--version"
"$info" --help | grep -q '^Usage:$' || fail "--help"

# wrong "ARGUMENTS" SENTENCE: exit 2, the sentence and the usage on standard error, nothing on standard output.
wrong() {
  local status=0
  # shellcheck disable=SC2086
  "$info" $1 >"$TMP/out" 2>"$TMP/err" || status=$?
  [ "$status" -eq 2 ] || fail "weft_info $1: exit $status"
  [ ! -s "$TMP/out" ] || fail "weft_info $1: prints on standard output"
  grep -q -- "$2" "$TMP/err" || fail "weft_info $1: does not say '$2' but: $(head -n 1 "$TMP/err")"
}
wrong "-x" "invalid option -- 'x'"
wrong "--nosuch" "unrecognized option '--nosuch'"
wrong "-v -e" "-v says nothing more of -e"
wrong "-e -l" "one of -e, -l, --check and --explain"
wrong "extra" "unexpected: extra"
wrong "-p" "requires an argument"
wrong "-p a,,b" "not names separated by commas"
wrong "--echo" "--echo goes with --check"
wrong "--latency 20us" "needs go with --check and --explain: --latency"
wrong "--explain weft://127.0.0.1:1 --latency" "a value must follow --latency"
wrong "--explain weft://127.0.0.1:1 --latency 20" "--latency: bad value '20'"
wrong "--explain weft://127.0.0.1:1 --cpu=fast" "--cpu: bad value 'fast'"
wrong "--check 127.0.0.1:1" "does not begin with weft://"
wrong "--explain weft://h:1?latency=20" "latency: '20' is not a duration"
exit 0
