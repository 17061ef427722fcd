# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# lib_run.sh - how tests/run.sh counts: sourced by it, and by the test of the counting
# (tests/integ/skips_counted.sh). Wants $scratch, a folder.

passed=0 failed=0 skipped=0
failures=()
: >"$scratch/skips"

# All that a test that passed has said (1 KiB by itself): it may name cases that it skipped.
junit=(--test-output-size-passed 16777216 --output-junit)

fail() {
  failed=$((failed + 1))
  failures+=("$1")
}

count_results() { # STAGE JUNIT-FILE
  # Of the XML: one line "state name reason" for each test, and one for each case that a test which
  # passed has skipped.
  awk '
    function attribute(name) {
      if (match($0, " " name "=\"[^\"]*\"")) {
        return substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 4)
      }
      return ""
    }
    function plain(text) {
      gsub(/&lt;/, "<", text)
      gsub(/&gt;/, ">", text)
      gsub(/&quot;/, "\"", text)
      gsub(/&amp;/, "\\&", text)
      return text
    }
    function flush_case(  i) {
      if (name == "") return
      if (state == "skip" && reason == "") reason = "no reason given"
      print state, name, plain(reason)
      for (i = 0; state == "pass" && i < cases; i++) print "skip", plain(skipped[i])
      name = ""
      cases = 0
    }
    /<testcase / { flush_case(); name = attribute("name"); state = attribute("status"); reason = ""
                   state = state == "run" ? "pass" : state == "disabled" ? "skip" : "fail" }
    /<skipped / { if ($0 ~ /SKIP_RETURN_CODE/) state = "skip" }
    reason == "" && /SKIP/ && !/SKIP_RETURN_CODE/ { reason = $0; sub(/.*SKIP[A-Z]*:? */, "", reason) }
    match($0, /(^|>)SKIP: [A-Za-z0-9_]+\.[A-Za-z0-9_]+: /) { # tests/lib_skip.h
      reason_at = RSTART + RLENGTH
      one = substr($0, RSTART, RLENGTH - 2)
      sub(/^.*SKIP: /, "", one)
      skipped[cases++] = one " " substr($0, reason_at)
    }
    END { flush_case() }' "$2" >"$scratch/results"
  local state name reason count=0
  while read -r state name reason; do
    count=$((count + 1))
    case $state in
    pass) passed=$((passed + 1)) ;;
    skip)
      skipped=$((skipped + 1))
      echo "skipped: $name: $reason"
      echo "$name" >>"$scratch/skips"
      ;;
    *) fail "$1: $name" ;;
    esac
  done <"$scratch/results"
  [ "$count" -gt 0 ] || fail "$1: no test ran"
}

check_skips() { # ALLOWED-FILE EVERYTHING-RAN
  local name allowed=() optional=()
  while read -r name _; do
    case $name in
    '' | \#*) ;;
    *\?) optional+=("${name%\?}") ;;
    *) allowed+=("$name") ;;
    esac
  done <"$1"
  for name in $(sort -u "$scratch/skips"); do
    case " ${allowed[*]-} ${optional[*]-} " in
    *" $name "*) ;;
    *) fail "skipped and not in tests/skips.allowed: $name" ;;
    esac
  done
  # A run of a part cannot say that a listed test is never skipped.
  [ -n "$2" ] || return 0
  for name in ${allowed[@]+"${allowed[@]}"}; do
    grep -qxF "$name" "$scratch/skips" || fail "in tests/skips.allowed and not skipped: $name"
  done
}
