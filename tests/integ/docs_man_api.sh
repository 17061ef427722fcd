#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The man pages made from the headers: each function that libweft.so exports has one, with its declaration and a text of
# its own; a function without a comment is refused; and the pages are set without a warning.
# ctest: beside
. "${BASH_SOURCE%/*}/lib_examples.sh" || exit 1
lib=${WEFT_LIB:?}/libweft.so
generator=${WEFT_SRC:?}/docs/man/api_pages.py
qos=$WEFT_SRC/selector/include/weft_qos.h
header=$WEFT_SRC/fabric/include/weft.h
command -v python3 >/dev/null || skip "no python3: the pages cannot be made"
pages=$TMP/man/man3
python3 "$generator" "$pages" "$header" "$qos" >"$TMP/made.log" 2>&1 || fail "the pages cannot be made"

# What was built is what is made from these headers.
built=$(dirname "$WEFT_LIB")/man/man3
if [ -d "$built" ]; then
  diff -r "$built" "$pages" >"$TMP/diff.log" || fail "the build's pages are others: build again"
fi

# The sections of each page, without escapes, as files PAGE/SECTION.
real=()
for page in "$pages"/*.3; do
  read -r first <"$page"
  case $first in .so*) continue ;; esac
  name=$(basename "$page" .3)
  real+=("man3/$name.3")
  mkdir "$TMP/$name"
  sed 's/\\f[BIRP]//g; s/\\-/-/g; s/\\&//g' "$page" |
    awk -v out="$TMP/$name/" '/^\.SH / { file = out substr($0, 5); next } file != "" { print > file }'
  for wanted in NAME SYNOPSIS DESCRIPTION 'SEE ALSO'; do
    [ "$(wc -w <"$TMP/$name/$wanted")" -ge 3 ] || fail "$name.3: nothing in $wanted"
  done
done
count=0
nm -D --defined-only "$lib" | awk '$2 == "T" { sub(/@.*/, "", $3); print $3 }' | grep '^weft_' >"$TMP/exported"
while read -r name; do
  count=$((count + 1))
  [ -s "$pages/$name.3" ] || fail "$name: no page"
  read -r first <"$pages/$name.3"
  page=$name
  case $first in .so*) page=${first#.so man3/} page=${page%.3} ;; esac
  [ -d "$TMP/$page" ] || fail "$name: its page leads to $page, which is not there"
  grep -qE "[ *]$name\(" "$TMP/$page/SYNOPSIS" || fail "$name: no declaration in $page.3"
  grep -qE "(^|[ ,])$name[ ,]" "$TMP/$page/NAME" || fail "$name: not in NAME of $page.3"
  # the text below the heading that names it, up to the next one: a sentence at least
  text=$(awk -v name="$name()" '
    /^\.SS / { line = " " substr($0, 5) ","; on = index(line, " " name ",") > 0; next }
    on && !/^\./ { words += NF } END { print words + 0 }' "$TMP/$page/DESCRIPTION")
  [ "$text" -ge 3 ] || fail "$name: $text words of text in $page.3"
done <"$TMP/exported"
[ "$count" -gt 50 ] || fail "only $count functions were found in $lib"
# Each member of a struct and of an enum stands in a page.
python3 - "$pages" "$header" "$qos" >"$TMP/members.log" 2>&1 <<'END' || fail "members of structs"
import glob, re, sys
pages = "".join(open(page).read() for page in glob.glob(sys.argv[1] + "/*.3")).replace("\\-", "-")
count = 0
for header in sys.argv[2:]:
    text = re.sub(r"/\*.*?\*/", "", open(header).read(), flags=re.S).replace("\\\n", "")
    text = re.sub(r"^#.*|WEFT_ERRNO_MAP.*", "", text, flags=re.M)
    for body in re.findall(r"^(?:typedef|enum)[^;]*?\{\n(.*?)\n\}", text, flags=re.S | re.M):
        for name in re.findall(r"\b([A-Za-z_]\w*)(?:\[\w+\])?\s*(?:=[^,;]*)?[,;]", body):
            count += 1
            if not re.search(r"\.B (.*\W)?" + name + r"\b", pages):
                sys.exit(f"{name} is in no page")
if count < 100:
    sys.exit(f"only {count} members were found")
END
# Spot checks that what a comment lists arrives where it belongs.
grep -qx '.B UV_EADDRINUSE' "$TMP/weft_listen/ERRORS" ||
  fail "weft_listen.3: UV_EADDRINUSE is not in ERRORS"
grep -q 'uint64_t max_message' "$TMP/weft_opts/DESCRIPTION" || fail "weft_opts.3: no max_message"

# --- what it refuses
{ sed '/^#endif$/d' "$header"; printf '\nWEFT_EXPORT int weft_unsaid(void);\n'; } >"$TMP/weft.h"
python3 "$generator" "$TMP/no" "$TMP/weft.h" "$qos" >"$TMP/refused" 2>&1 &&
  fail "a function without a comment is not refused"
grep -q 'weft_unsaid has no comment' "$TMP/refused" ||
  fail "refused, but not for the missing comment: $(cat "$TMP/refused")"
{ cat "$header"; printf '/* ---- Nowhere ---- */\n'; } >"$TMP/weft.h"
python3 "$generator" "$TMP/no" "$TMP/weft.h" "$qos" >"$TMP/refused" 2>&1 &&
  fail "a section without a page is not refused"
grep -q Nowhere "$TMP/refused" || fail "refused, but not for the section: $(cat "$TMP/refused")"
echo "$count functions have a page"

# --- how they are set
command -v groff >/dev/null || skip "no groff (Debian: groff-base): the setting of the pages is not checked"
cd "$TMP/man" || exit 1
for page in "${real[@]}"; do
  warnings=$(groff -man -ww -Tascii -z "$page" 2>&1)
  [ -z "$warnings" ] || fail "$page: $warnings"
done
if command -v man >/dev/null; then
  # as a user asks, by the name of a function that has no page of its own
  man -M "$TMP/man" weft_accept 2>/dev/null | grep -q 'Take the waiting peer' ||
    fail "man weft_accept shows something else"
fi
