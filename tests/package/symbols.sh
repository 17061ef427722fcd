#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# symbols.sh LIBWEFT: what libweft.so exports is exactly what the public headers declare.
set -euo pipefail
lib=$1
nm -D --defined-only "$lib" | awk '$2 ~ /^[TDBRVW]$/ { sub(/@.*/, "", $3); print $3 }' |
  grep -v '^WEFT_' | sort -u >"${TMPDIR:-/tmp}/weft-symbols.$$"
trap 'rm -f "${TMPDIR:-/tmp}/weft-symbols.$$" "${TMPDIR:-/tmp}/weft-declared.$$"' EXIT

# Comments and preprocessor lines away, then every identifier that a parameter list follows and that is
# neither a type name nor a callback's.
cat "$WEFT_SRC"/fabric/include/*.h "$WEFT_SRC"/selector/include/*.h |
  sed -e 's://.*::' | tr '\n' '\1' | sed -e 's:/\*[^*]*\*\+\([^/*][^*]*\*\+\)*/: :g' | tr '\1' '\n' |
  awk '/^[ \t]*#/ { cont = /\\$/; next } cont { cont = /\\$/; next } { print }' | tr '\n' ' ' |
  grep -oE '\bweft_[a-z0-9_]+ *\(' | tr -d ' (' | grep -vE '_(cb|fn)$' | sort -u \
  >"${TMPDIR:-/tmp}/weft-declared.$$"

echo "$(wc -l <"${TMPDIR:-/tmp}/weft-symbols.$$") symbols exported"
if ! diff "${TMPDIR:-/tmp}/weft-declared.$$" "${TMPDIR:-/tmp}/weft-symbols.$$"; then
  echo "< declared in a public header and not exported;  > exported and not declared"
  exit 1
fi
