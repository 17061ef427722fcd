#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The man pages say what there is: every need, option with its default, reason and error stands in weft(7), every
# option of a tool in its page; and they are set without a warning.
# ctest: beside
set -eu
src=${WEFT_SRC:-$(cd "$(dirname "$0")/../.." && pwd)}
bin=${WEFT_BIN:-$src/build/release/bin}
pages=$src/docs/man
bad=0 count=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# What a reader sees: no escapes, fonts joined.
plain() { sed 's/\\f[BIRP]//g; s/\\-/-/g; s/\\e/\\/g; s/" "//g; s/"//g' "$pages/$1"; }
wants() { # PAGE EXTENDED-REGEXP WHAT
  count=$((count + 1))
  plain "$1" | grep -qE -- "$2" || { echo "$1: nothing on $3"; bad=1; }
}

for need in $(sed -n 's/^ *NEED("\([a-z]*\)",.*/\1/p' "$src/selector/qos.c") preset bind devices ports; do
  wants weft.7 "^\.B[IR]+ $need=" "the parameter $need"
done
while IFS=$'\t' read -r option default; do
  wants weft.7 "^\.BR $option( *\(${default}\))?$" "the option $option, or its default is not $default"
done < <(sed -n 's/^ *OPTION(\([a-z_]*\), [A-Z]*, "\([^"]*\)".*/\1\t\2/p' "$src/fabric/loop/opts.c")
for reason in $(sed -n 's/^ *\(WEFT_WHY_[A-Z_]*\) = .*/\1/p' "$src/selector/include/weft_qos.h"); do
  wants weft.7 "^\.B $reason$" "$reason"
done
for error in $(sed -n 's/^ *XX(\(E[A-Z]*\), -.*/\1/p' "$src/fabric/include/weft.h"); do
  wants weft.7 "^\.B WEFT_$error$" "WEFT_$error"
done
[ "$count" -gt 60 ] || { echo "only $count names were found in the sources"; bad=1; }

for tool in weft_info weft_perf; do
  [ -x "$bin/$tool" ] || continue
  "$bin/$tool" --help >"$tmp/help"
  for option in $(grep -oE -- '--[a-z]+' "$tmp/help" | sort -u); do
    wants "$tool.1" "(^|[ ,])$option( |,|$)" "$option"
  done
  for option in $(plain "$tool.1" | grep -oE -- '--[a-z]+' | sort -u); do
    grep -qF -- "$option" "$tmp/help" || { echo "$tool.1: $tool has no $option"; bad=1; }
  done
  # short and long names of one option stand together, as in --help
  while read -r short long; do
    wants "$tool.1" "^\.B[IR]* .*$short *, *$long( |,|$)" "$short, $long"
  done < <(grep -oE -- '-[a-zA-Z], --[a-z]+' "$tmp/help" | tr -d ,)
  # what the usage lines name is what the synopsis names
  options() { grep -oE -- '(^|[^a-z-])--?[a-zA-Z][a-z]*' | grep -oE -- '--?[a-zA-Z][a-z]*' | sort -u; }
  sed -n '/^Usage/,/^$/p' "$tmp/help" | options >"$tmp/usage"
  plain "$tool.1" | sed -n '/^\.SH SYNOPSIS/,/^\.SH DESCRIPTION/p' | options >"$tmp/synopsis"
  [ -s "$tmp/usage" ] || { echo "$tool --help has no usage lines"; bad=1; }
  diff "$tmp/usage" "$tmp/synopsis" || { echo "$tool: usage lines of --help (<) and SYNOPSIS of its page (>) differ"; bad=1; }
done

if command -v groff >/dev/null; then
  for page in "$pages"/*.[1-9]; do
    warnings=$(groff -man -ww -Tascii -z "$page" 2>&1)
    [ -z "$warnings" ] || { echo "$warnings"; bad=1; }
  done
elif [ "$bad" = 0 ]; then
  echo "SKIP: no groff (Debian: groff-base): the setting of the pages is not checked"
  exit 77
fi
echo "$count names looked up"
exit $bad
