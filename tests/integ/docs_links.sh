#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every relative link in a Markdown file leads to a file, and to a heading of it where it names one.
# ctest: beside
set -eu
src=${WEFT_SRC:-$(cd "$(dirname "$0")/../.." && pwd)}
cd "$src"
bad=0 count=0

anchors() { # the anchors of a file's headings, as forges make them
  awk '/^```/ { code = !code } !code && /^#+ / { sub(/^#+ +/, ""); print }' "$1" |
    sed 's/\[\([^]]*\)\]([^)]*)/\1/g' | tr '[:upper:]' '[:lower:]' | tr -d '`' |
    sed 's/[^a-z0-9 _-]//g; s/ /-/g'
}

while IFS= read -r doc; do
  dir=$(dirname "$doc")
  # Links of the text, not of code blocks.
  while IFS= read -r link; do
    [ -n "$link" ] || continue
    case $link in http://* | https://* | mailto:*) continue ;; esac
    count=$((count + 1))
    path=${link%%#*} anchor=
    case $link in *'#'*) anchor=${link#*#} ;; esac
    target=$doc
    [ -z "$path" ] || target=$dir/$path
    if [ ! -e "$target" ]; then
      echo "$doc: $link: no such file"
      bad=1
    elif [ -n "$anchor" ] && ! anchors "$target" | grep -qxF -- "$anchor"; then
      echo "$doc: $link: $target has no such heading"
      bad=1
    fi
  done < <(awk '/^```/ { code = !code } !code && !/^    /' "$doc" | sed 's/`[^`]*`//g' |
    grep -oE '\]\([^) ]+\)' | sed 's/^](//; s/)$//')
done < <(find . -path './build*' -prune -o -path ./.git -prune -o -name '*.md' -print | sort)

echo "$count relative links"
[ "$bad" = 0 ] && [ "$count" -gt 0 ]
