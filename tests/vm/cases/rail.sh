#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The rail's own unit tests of RMA over verbs: rail.sh PROGRAM...
. "$WEFT_VM_CASE"
for program; do
  WEFT_TEST_RAILS="verbs $A $B" on a timeout 80 "$WEFT_BIN/$program" || fail "$program"
done
