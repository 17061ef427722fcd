#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Boots the guest, gives it two RDMA devices and sends messages from one to the other over verbs.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec "$here/run" -t 110 -- bash "$here/guest/verbs_smoke.sh"
