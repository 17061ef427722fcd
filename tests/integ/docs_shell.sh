#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The commands of README.md, docs/ and the other pages do what they are shown for. Every code block has a kind: ```sh is
# run here, command by command, in an installation of this build; ```text is not; ```c and ```python have other tests.
# A block of another kind, or one by indentation, fails, and so does a command that this test does not know how to run.
# ctest: timeout=120
# ctest: beside
. "${BASH_SOURCE%/*}/lib_examples.sh" || exit 1
need weft_info weft_perf echo_server echo_client
src=${WEFT_SRC:?}
build=$(dirname "$WEFT_BIN")
mkdir "$TMP/blocks" "$TMP/work"

# --- the kinds, and the blocks to be run
docs=("$src"/README.md "$src"/docs/*.md)
while IFS= read -r doc; do docs+=("$doc"); done < <(
  find "$src"/{examples,bindings,fabric,selector,tests} -name README.md | sort)
for doc in "${docs[@]}"; do
  name=${doc#"$src"/}
  awk -v name="$name" -v out="$TMP/blocks/$(echo "${name%.md}" | tr / _)" '
    /^```/ {
      if (inside) { inside = 0; if (file != "") close(file); file = ""; previous = $0; next }
      inside = 1
      kind = substr($0, 4)
      if (kind !~ /^(c|c part|python|python part|sh|text|c ucx|c zmq|c nng)$/) {
        print name ":" FNR ": a code block of the kind \"" kind "\"; those that are tested: docs_shell.sh"; bad = 1
      }
      if (kind == "sh") file = sprintf("%s_%02d", out, ++n)
      next
    }
    inside { if (file != "") print > file; next }
    /^    / && previous == "" { print name ":" FNR ": a code block by indentation has no kind"; bad = 1 }
    { previous = $0 }
    END { if (inside) { print name ": the last block does not end"; bad = 1 } exit bad }' "$doc" || kinds=bad
done
[ -z "${kinds:-}" ] || fail "kinds of blocks"

# --- where they run: an installation, the programs of the pages, the examples
cmake --install "$build" --prefix "$TMP/prefix" >"$TMP/install.log" 2>&1 || fail "cmake --install"
PKG_CONFIG_PATH=$(dirname "$(find "$TMP/prefix" -name weft.pc)")
LD_LIBRARY_PATH=$(dirname "$(find "$TMP/prefix" -name libweft.so)")
PATH=$TMP/prefix/bin:$PATH
export PKG_CONFIG_PATH LD_LIBRARY_PATH PATH
for doc in "${docs[@]}"; do
  awk -v dir="$TMP/work/" '
    /^```(c|python)$/ { first = 1; next } /^```/ { if (file != "") close(file); file = ""; first = 0; next }
    first { file = match($0, /[a-z_]+\.(c|py)/) ? dir substr($0, RSTART, RLENGTH) : ""; first = 0 }
    file != "" { print > file }' "$doc"
done
cp "$src"/examples/*.c "$TMP/work"
cp "$src/CMakePresets.json" "$TMP/work"
cd "$TMP/work" || exit 1
case ${WEFT_SANITIZE:-} in
address) sanitize=(-fsanitize=address,undefined) ;;
thread) sanitize=(-fsanitize=thread) ;;
*) sanitize=() ;;
esac

background "$TMP/db7.log" "$WEFT_BIN/echo_server" weft://127.0.0.1:0
db7=$(listening "$TMP/db7.log")
presets=$(cmake --list-presets=all . | grep -oE '"[a-z]+"')
python=$WEFT_BIN/weft_python # the wrapper of this build, for sanitizers
[ -x "$python" ] && [ "${WEFT_SANITIZE:-}" != thread ] || python=
commands=0

# One command, without its comment. `url` is that of the server that the block has started, or of the echo server.
run() {
  local command=$1 words
  read -r -a words <<<"$command"
  case $command in
  'cmake --preset '* | 'cmake --build --preset '*)
    grep -qF "\"${words[-1]}\"" <<<"$presets" || fail "$where: no preset ${words[-1]}" ;;
  'cmake --install build/'*) # done above
    grep -qF "\"${words[2]#build/}\"" <<<"$presets" || fail "$where: no preset for ${words[2]}" ;;
  ldconfig) ;;
  'apt-get install '*) # what the build needs, and no more: tests/run.sh installs it as well
    for package in "${words[@]:2}"; do
      grep -qE "(^| )$package( |$)" <(sed -n '/^wanted()/,/^}/p' "$src/tests/run.sh") ||
        fail "$where: $package is not in tests/run.sh"
      grep -qF "\`$package\`" "$src/docs/dependencies.md" || fail "$where: $package is not in docs/dependencies.md"
    done
    for package in libfabric libuv1 libssl libjansson; do
      grep -qF "$package-dev" <<<"$command" || fail "$where: $package-dev is missing"
    done ;;
  ./examples/quickstart.sh | ./tests/run.sh) # quickstart_runs.sh runs the one, this test is run by the other
    [ -x "$src/$command" ] && bash -n "$src/$command" || fail "$where: $command" ;;
  'cc '*)
    eval "$command ${sanitize[*]-}" >"$TMP/cc.log" 2>&1 || fail "$where: $command" ;;
  build/release/bin/*)
    [ -x "$WEFT_BIN/${words[0]##*/}" ] && "$WEFT_BIN/${words[0]##*/}" --help >/dev/null ||
      fail "$where: no ${words[0]}" ;;
  'export PYTHONPATH=/usr/local/'*)
    [ -z "$python" ] || [ -e "$TMP/prefix/${command#*/usr/local/}/weft/__init__.py" ] ||
      fail "$where: no weft in ${words[1]}" ;;
  'python3 '*)
    [ -n "$python" ] || return 0
    if [ ${#words[@]} = 2 ]; then
      background "$TMP/server.log" "$python" "${words[1]}" weft://127.0.0.1:0
      started=$PID
      url=$(listening "$TMP/server.log")
    else
      timeout 40 "$python" "${words[1]}" "${words[@]:2:1}" >/dev/null 2>&1 && fail "$where: nothing is at ${words[2]}"
      timeout 40 "$python" "${words[1]}" "$url" >"$TMP/out.log" 2>&1 || fail "$where: $command"
    fi ;;
  './'*_server*)
    [ -x "${words[0]}" ] || cp "$WEFT_BIN/${words[0]##*/}" . || fail "$where: ${words[0]} is not built"
    background "$TMP/server.log" "${words[0]}" weft://127.0.0.1:0
    started=$PID
    url=$(listening "$TMP/server.log") ;;
  './'*' weft://'* | *weft_info*)
    [ "${words[0]#./}" = "${words[0]}" ] || [ -x "${words[0]}" ] || cp "$WEFT_BIN/${words[0]##*/}" . ||
      fail "$where: ${words[0]} is not built"
    case $command in
    *' | jq '*) command -v jq >/dev/null || command=${command%% | jq *} ;;
    esac
    command=${command//weft:\/\/db7:7000/$url}
    command=${command//weft:\/\/localhost:7000/$url}
    timeout 40 bash -o pipefail -c "$command" >"$TMP/out.log" 2>&1 </dev/null || fail "$where: $command"
    [ -s "$TMP/out.log" ] || fail "$where: $command says nothing" ;;
  *) fail "$where: this test does not know how to run: $command" ;;
  esac
  commands=$((commands + 1))
}

for block in "$TMP"/blocks/*; do
  where=${block##*/} url=$db7 started=
  while IFS= read -r line; do
    line=${line%% # *}
    line=${line%"${line##*[! ]}"}
    [ -n "$line" ] || continue
    while [ -n "$line" ]; do
      part=${line%% && *}
      [ "$part" != "$line" ] && line=${line#* && } || line=
      run "$part"
    done
  done <"$block"
  [ -z "$started" ] || kill "$started" 2>/dev/null
done
[ "$commands" -ge 20 ] || fail "only $commands commands were found"
echo "$commands commands of ${#docs[@]} pages"
