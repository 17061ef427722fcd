#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The code for ucx in docs/migration.md compiles.
# ctest: beside
. "${BASH_SOURCE%/*}/lib_theirs.sh" || exit 1
read -r -a flags < <(pkg-config --cflags ucx 2>/dev/null)
theirs ucx ucp/api/ucp.h libucx-dev ${flags[@]+"${flags[@]}"}
