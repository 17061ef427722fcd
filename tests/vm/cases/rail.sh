#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# rail.sh PROGRAM...: the rail's own unit tests, made for tcp's loopback, between two devices.
. "$WEFT_VM_CASE"
for program; do
  WEFT_TEST_RAILS="verbs $A $B" on a timeout 80 "$WEFT_BIN/$program" || fail "$program"
done
