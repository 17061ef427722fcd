#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The Python of README.md, docs/ and bindings/python/README.md does what the text says. A block ```python is a whole
# program, named by its first line and run here; ```python part is statements, which compile and name nothing that weft
# does not have.
# ctest: beside
. "${BASH_SOURCE%/*}/lib_examples.sh" || exit 1
need weft_python
[ "${WEFT_SANITIZE:-}" != thread ] || skip "ThreadSanitizer cannot be loaded into an interpreter"
python=$WEFT_BIN/weft_python

# --- extract
for doc in "${WEFT_SRC:?}"/README.md "$WEFT_SRC"/docs/*.md "$WEFT_SRC"/bindings/python/README.md; do
  name=$(echo "${doc#"$WEFT_SRC"/}" | tr '/.' '__')
  awk -v out="$TMP/$name" '
    /^```python$/ { file = sprintf("%s_%02d.py", out, ++n); next }
    /^```python part$/ { file = sprintf("%s_%02d.part", out, ++n); next }
    /^```/ { if (file != "") close(file); file = ""; next }
    file != "" { print > file }' "$doc"
done
programs=0 parts=0
for file in "$TMP"/*.py; do
  name=$(sed -n '1s|^# \(py_[a-z_]*\)\.py$|\1|p' "$file")
  [ -n "$name" ] || fail "$(basename "$file"): its first line does not name it"
  mv "$file" "$TMP/$name.py"
  programs=$((programs + 1))
done
for file in "$TMP"/*.part; do
  "$python" - "$file" >"$TMP/part.log" 2>&1 <<'END' || fail "$(basename "$file")"
import re, sys, weft, weft.sync
text = open(sys.argv[1]).read()
compile(text, sys.argv[1], "exec")
names = re.findall(r"\bweft((?:\.[A-Za-z_]+)+)", re.sub(r'"[^"]*"', "", text))
assert names, "it does not use weft"
for name in names:
    thing = weft
    for part in name[1:].split("."):
        thing = getattr(thing, part)
END
  parts=$((parts + 1))
done
[ "$programs" -ge 3 ] && [ "$parts" -ge 2 ] || fail "only $programs programs and $parts parts were found"

# --- run
expect() { grep -q "$1" "$2" || fail "no '$1' in ${2##*/}"; }
serve() {
  background "$TMP/server.log" "$python" "$TMP/py_server.py" weft://127.0.0.1:0
  server=$PID
  url=$(listening "$TMP/server.log")
}
serve
"$python" "$TMP/py_client.py" "$url" >"$TMP/client.log" 2>&1 || fail "py_client.py"
ends "$server" 0
expect '^sent: the peer has it$' "$TMP/client.log"
expect '^got welcome$' "$TMP/client.log"
expect '^got hello$' "$TMP/server.log"
expect '^the peer has ended$' "$TMP/server.log"
serve
"$python" "$TMP/py_blocking.py" "$url" >"$TMP/client.log" 2>&1 || fail "py_blocking.py"
ends "$server" 0
expect '^got welcome$' "$TMP/client.log"
"$python" "$TMP/py_client.py" weft://127.0.0.1:1 >"$TMP/refused.log" 2>&1 && fail "a closed port was connected"
expect 'ECONNREFUSED' "$TMP/refused.log"
echo "$programs programs run, $parts parts compile"
