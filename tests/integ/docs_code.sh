#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The C of README.md and docs/ compiles without a warning, and the programs of README.md, the guide and migration.md do
# what the text says. A block ```c is a whole program, named by its first line; ```c part is statements inside one.
# ctest: beside
set -eu
src=${WEFT_SRC:-$(cd "$(dirname "$0")/../.." && pwd)}
lib=${WEFT_LIB:-$src/build/release/lib}
work=$(mktemp -d "${TMPDIR:-/tmp}/weft-docs.XXXXXX")
pids=()
trap 'set +e; [ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null; wait; rm -rf "$work"' EXIT
fail() {
  echo "FAIL: $1"
  [ -z "${2:-}" ] || cat "$2"
  exit 1
}

flags=(-std=gnu11 -O1 -Wall -Wextra -Wshadow -Wno-unused-variable -Werror
  -I"$src/fabric/include" -I"$src/selector/include")
libs=(-L"$lib" -Wl,-rpath,"$lib" -lweft)
read -r -a uv < <(pkg-config --cflags --libs libuv)
case ${WEFT_SANITIZE:-} in
address) libs+=(-fsanitize=address,undefined) ;;
thread) libs+=(-fsanitize=thread) ;;
esac

# --- extract ----------------------------------------------------------------------------------------------
for doc in "$src"/README.md "$src"/docs/*.md; do
  awk -v out="$work/$(basename "$doc" .md)" '
    /^```c$/ { kind = "c"; next_file(); next }
    /^```c part$/ { kind = "part"; next_file(); next }
    /^```/ { if (kind != "") close(file); kind = ""; next }
    kind != "" { print > file }
    function next_file() { file = sprintf("%s_%02d.%s", out, ++n, kind) }' "$doc"
done
cat >"$work/around.h" <<'END'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft.h>
END
cat >"$work/names.h" <<'END'
static weft_t weft;
static weft_conn_t conn;
static weft_connect_t connecting;
static weft_send_t sending;
static void on_connected(weft_connect_t *req, int status) { (void) req; (void) status; }
END

# --- compile ----------------------------------------------------------------------------------------------
programs=0
for file in "$work"/*.c; do
  [ -e "$file" ] || continue
  name=$(sed -n '1s|^/\* \([a-z_]*\)\.c .*|\1|p' "$file")
  [ -n "$name" ] || fail "$(basename "$file"): its first line does not name it" "$file"
  mv "$file" "$work/$name.c"
  ${CC:-cc} "${flags[@]}" "$work/$name.c" -o "$work/$name" "${libs[@]}" "${uv[@]}" || fail "$name.c does not compile"
  programs=$((programs + 1))
done
for file in "$work"/*.part; do
  [ -e "$file" ] || continue
  { cat "$work/around.h" "$work/names.h"
    echo 'int main(void) {'
    cat "$file"
    echo '(void) weft; (void) conn; (void) connecting; (void) sending; (void) on_connected; return 0; }'
  } >"$file.c"
  ${CC:-cc} "${flags[@]}" "$file.c" -o "$file.bin" "${libs[@]}" "${uv[@]}" || fail "$(basename "$file")" "$file"
  programs=$((programs + 1))
done
[ "$programs" -ge 6 ] || fail "only $programs blocks of C were found"
echo "$programs blocks compile"

# --- run --------------------------------------------------------------------------------------------------
serve() { # [PROGRAM]: starts it, or hello_server; sets url and server
  local n=0
  : >"$work/server" # here: the child may come to it only when the last one's line has been read again
  "$work/${1:-hello_server}" weft://127.0.0.1:0 >"$work/server" 2>&1 </dev/null &
  server=$!
  pids=("$server")
  until url=$(sed -n 's/^listening at //p' "$work/server") && [ -n "$url" ]; do
    kill -0 "$server" 2>/dev/null && [ $((n += 1)) -lt 200 ] || fail "${1:-hello_server}" "$work/server"
    sleep 0.1
  done
}
expect() { grep -q "$1" "$2" || fail "no '$1' in:" "$2"; }

serve
timeout 20 "$work/hello_client" "$url" >"$work/client" 2>&1 || fail "hello_client" "$work/client"
wait "$server" || fail "hello_server" "$work/server"
expect '^got welcome$' "$work/client"
expect '^sent: the peer has it$' "$work/client"
expect '^got hello$' "$work/server"
expect '^the peer has ended$' "$work/server"

for client in hello_epoll hello ask; do # these close without a shutdown: the server sees a reset
  serve
  timeout 20 "$work/$client" "$url" >"$work/client" 2>&1 || fail "$client" "$work/client"
  wait "$server" || fail "hello_server for $client" "$work/server"
  expect '^got welcome$' "$work/client"
done
# The publisher of migration.md: hello_client subscribes to "hello", and gets that and nothing else.
serve publish
timeout 20 "$work/hello_client" "$url" >"$work/client" 2>&1 || fail "hello_client of publish" "$work/client"
expect '^got hello [0-9]*[13579]$' "$work/client"
kill "$server"
wait "$server" 2>/dev/null || true
pids=()

for program in watch large; do
  timeout 20 "$work/$program" >"$work/out" 2>&1 || fail "$program" "$work/out"
done

# A refused connection gives a sentence, not a hang.
timeout 20 "$work/hello_client" weft://127.0.0.1:1 >"$work/client" 2>&1 || true
expect 'refused' "$work/client"
echo "the programs run"
