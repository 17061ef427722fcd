#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Python over TCP in user space: echo between two processes that memif joins, with Python on either end and on both.
# ctest: timeout=90
# ctest: beside
. "${BASH_SOURCE%/*}/lib_examples.sh" || exit 1
need weft_python echo_server echo_client
[ "${WEFT_SANITIZE:-}" != thread ] || skip "ThreadSanitizer cannot be loaded into an interpreter"
examples=${WEFT_SRC:?}/examples/python
export WEFT_PROVIDERS=dpdk WEFT_LOG=warn

# end ROLE ADDRESS: the environment of one end.
end() {
  export FI_DPDK_ADDRESS="$2/24" FI_DPDK_DEVICE="net_memif0,role=$1,id=0,socket-abstract=no,socket=$TMP/memif$round"
}

round=0
echoes() { # SERVER... -- CLIENT...
  local server=() args
  while [ "$1" != -- ]; do
    server+=("$1")
    shift
  done
  shift
  round=$((round + 1))
  end server 10.9.0.2
  background "$TMP/server$round.log" "${server[@]}" weft://10.9.0.2:7000
  [ "$(listening "$TMP/server$round.log")" = weft://10.9.0.2:7000 ] || fail "the server listens elsewhere"
  end client 10.9.0.1
  for args in "500 64" "20 300000"; do
    # shellcheck disable=SC2086
    timeout 50 "$@" weft://10.9.0.2:7000 $args >"$TMP/client.log" 2>&1 || fail "$* $args"
    grep -q "^${args%% *} echoes of ${args##* } bytes over dpdk" "$TMP/client.log" || fail "$*: $args not over dpdk"
  done
  kill -TERM "$PID"
  ends "$PID" 0
}

python=$WEFT_BIN/weft_python
echoes "$python" "$examples/echo_server.py" -- "$python" "$examples/echo_client.py"
echoes "$python" "$examples/echo_server.py" -- "$WEFT_BIN/echo_client"
echoes "$WEFT_BIN/echo_server" -- "$python" "$examples/echo_client.py"
