# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# lib_theirs.sh - for docs_migration_*.sh: what docs/migration.md says is code for another library compiles against it.
. "${BASH_SOURCE%/*}/lib_examples.sh" || exit 1

# theirs KIND HEADER PACKAGE [COMPILER-FLAG...]: the blocks ```c KIND, where the header is here.
theirs() {
  local kind=$1 header=$2 package=$3 file count=0
  shift 3
  printf '#include <%s>\n' "$header" | ${CC:-cc} "$@" -fsyntax-only -xc - 2>/dev/null ||
    skip "no $header (Debian: $package)"
  awk -v kind="$kind" -v out="$TMP/$kind" '
    $0 == "```c " kind { file = sprintf("%s_%02d.c", out, ++n); next }
    /^```/ { if (file != "") close(file); file = ""; next }
    file != "" { print > file }' "${WEFT_SRC:?}/docs/migration.md"
  for file in "$TMP/$kind"_*.c; do
    [ -s "$file" ] || fail "docs/migration.md has no block for $kind"
    ${CC:-cc} -std=gnu11 -O1 -Wall -Wextra -Wshadow -Werror "$@" -c "$file" -o "$TMP/object" >"$TMP/cc.log" 2>&1 ||
      fail "the block for $kind"
    count=$((count + 1))
  done
  echo "$count blocks for $kind compile"
}
