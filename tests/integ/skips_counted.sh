#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# "Not supported here" is a counted skip, never a pass: tests/run.sh counts whole tests and the cases of
# a program that were skipped, holds both against its list, and no program skips in silence.
set -eu
src=${WEFT_SRC:-$(cd "$(dirname "$0")/../.." && pwd)}
scratch=$(mktemp -d "${TMPDIR:-/tmp}/weft-skips.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
die() {
  echo "FAIL: $1"
  # Broken up, so that nobody counts what this test tries out.
  [ -z "${2:-}" ] || sed 's/SKIP/S-K-I-P/' "$2"
  exit 1
}

# --- no skip() but by tests/lib_skip.h ------------------------------------------------------------------
bare=$(cd "$src" && grep -rnE '\b_?skip\(\)|\b_skip\(' --include='*.[ch]' fabric selector bindings tests |
  grep -v '^tests/lib_skip\.h:' || true)
[ -z "$bare" ] || die "a skip that nobody counts: use skip_case() of tests/lib_skip.h
$bare"

# --- results of every kind ------------------------------------------------------------------------------
cat >"$scratch/program.c" <<'END'
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib_skip.h"

static void noisy(void **state) {
  (void) state;
  for (int i = 0; i < 4000; i++)
    printf("%d: a line of many, SKIPPED or not\n", i);
}
static void lacks(void **state) {
  (void) state;
  if (state != NULL)
    skip_case("no \"such\" <device> & none");
  fail();
}
static void lacks_too(void **state) {
  (void) state;
  skip_case("nor this");
}
int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(noisy), cmocka_unit_test(lacks), cmocka_unit_test(noisy),
                                     cmocka_unit_test(lacks_too), cmocka_unit_test(noisy)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
END
read -r -a cmocka < <(pkg-config --cflags --libs cmocka)
${CC:-cc} -D_GNU_SOURCE -Wall -Wextra -Werror -I"$src/tests" "$scratch/program.c" -o "$scratch/program" "${cmocka[@]}"
cat >"$scratch/CTestTestfile.cmake" <<END
add_test(passes "true")
add_test(with_cases "$scratch/program")
add_test(fails "false")
add_test(whole "sh" "-c" "echo SKIP: this machine is too small; exit 77")
set_tests_properties(whole PROPERTIES SKIP_RETURN_CODE 77)
END

set +e
. "$src/tests/lib_run.sh"
(cd "$scratch" && ctest "${junit[@]}" "$scratch/xml" >"$scratch/log" 2>&1)
[ -s "$scratch/xml" ] || die "ctest left no results" "$scratch/log"
count_results stage "$scratch/xml" >"$scratch/said"
cat >"$scratch/want" <<'END'
skipped: program.lacks: no "such" <device> & none
skipped: program.lacks_too: nor this
skipped: whole: this machine is too small
END
diff "$scratch/want" "$scratch/said" >"$scratch/diff" || die "other skips were counted" "$scratch/diff"
[ "$passed $failed $skipped" = "2 1 3" ] || die "counted $passed passed, $failed failed, $skipped skipped"
[ "${failures[*]}" = "stage: fails" ] || die "failed: ${failures[*]}"

# --- the list -------------------------------------------------------------------------------------------
listed() { # EVERYTHING-RAN FAILURES LINE...: the complaints
  local everything=$1 want=$2 got
  shift 2
  printf '%s\n' '# a list' '' "$@" >"$scratch/allowed"
  failures=()
  check_skips "$scratch/allowed" "$everything"
  got=$(printf '%s;' ${failures[@]+"${failures[@]}"})
  [ "$got" = "$want;" ] || die "with the list: $* the complaints are: $got"
}
all=("whole small" "program.lacks no device" "program.lacks_too? perhaps")
listed 1 "" "${all[@]}"
listed 1 "" "${all[@]}" "other.case? it may come"
listed 1 "in tests/skips.allowed and not skipped: other.case" "${all[@]}" "other.case it came to life"
listed "" "" "${all[@]}" "other.case not in this part"
listed 1 "skipped and not in tests/skips.allowed: program.lacks" "whole small" "program.lacks_too perhaps"
listed 1 "skipped and not in tests/skips.allowed: program.lacks_too" "whole small" "program.lacks no device"
echo "skips are counted"
