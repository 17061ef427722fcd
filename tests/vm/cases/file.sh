#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# examples/file_*: a file goes over verbs and arrives as it was.
. "$WEFT_VM_CASE"
on a mkdir "$TMP/to"
on b sh -c "head -c 10000007 /dev/urandom >$TMP/big"
start a recv.log "$WEFT_BIN/file_recv" --once "$TMP/to" "weft://$A:0"
receiver=$JOB
url=$(listening recv.log)
on b timeout 60 "$WEFT_BIN/file_send" "$TMP/big" "$url?require=verbs" >"$TMP/send.log" 2>&1 || fail "file_send"
ends "$receiver" 0
cat "$TMP/recv.log"
tail -n 3 "$TMP/send.log"
grep -q "verbs" "$TMP/send.log" || fail "file_send does not name verbs"
[ "$(on a sha256sum <"/dev/null" "$TMP/to/big" | cut -d' ' -f1)" = \
  "$(on b sha256sum "$TMP/big" | cut -d' ' -f1)" ] || fail "the file has arrived as something else"
