#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# bindings/tools/completions: sourced as bash-completion would, every option of --help and nothing else is completed,
# and values where there are words for them.
. "${BASH_SOURCE%/*}/lib_examples.sh" || exit 1
need weft_info weft_perf
dir=$WEFT_SRC/bindings/tools/completions
PATH=$WEFT_BIN:$PATH

# complete_line TOOL WORD...: what bash would offer for the last word, sorted.
complete_line() {
  local function
  function=$(complete -p "$1" | sed 's/.*-F \([^ ]*\).*/\1/')
  COMP_WORDS=("$@")
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  COMPREPLY=()
  "$function" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
  [ ${#COMPREPLY[@]} -eq 0 ] || printf '%s\n' "${COMPREPLY[@]}" | sort
}

for tool in weft_info weft_perf; do
  bash -n "$dir/$tool" || fail "$tool: bash cannot read its completion"
  # shellcheck disable=SC1090
  . "$dir/$tool" || fail "$tool: sourcing its completion"
  # long and short options as --help has them
  "$WEFT_BIN/$tool" --help | sed 's/taskset -c//' | grep -oE -- '(^|[ ,[(])--?[a-zA-Z][a-z]*' | grep -oE -- '--?[a-zA-Z][a-z]*' | sort -u >"$TMP/help"
  { complete_line "$tool" -; } | sort -u >"$TMP/offered"
  [ "$(wc -l <"$TMP/help")" -gt 15 ] || fail "$tool --help has hardly any options: the test does not see them"
  diff "$TMP/help" "$TMP/offered" >"$TMP/diff.log" || fail "$tool: --help (<) and what is completed (>) differ"
done

offers() { # "WORDS OF THE LINE" EXPECTED...: each of them is offered
  local line words=() wanted
  line=$1
  shift
  read -r -a words <<<"$line"
  [ "${line% }" = "$line" ] || words+=("")
  complete_line "${words[@]}" >"$TMP/offered"
  for wanted in "$@"; do
    grep -qxF -- "$wanted" "$TMP/offered" || fail "'$line' does not offer $wanted but: $(tr '\n' ' ' <"$TMP/offered")"
  done
}
offers "weft_info --ver" --verbose --version
[ "$(wc -l <"$TMP/offered")" -eq 2 ] || fail "--ver is the beginning of two options only"
offers "weft_info -p " tcp
offers "weft_info -d " lo
offers "weft_info --explain " weft://
offers "weft_info --explain weft://a:1 --cpu " auto sleep spin
offers "weft_info --explain weft://a:1 --strict y" yes
offers "weft_perf --test r" rtt rate
offers "weft_perf --qos lat" latency=
offers "weft_perf --option rx" rx_depth=
if command -v shellcheck >/dev/null; then
  shellcheck "$dir"/weft_* >"$TMP/shellcheck.log" || fail "shellcheck"
fi
exit 0
