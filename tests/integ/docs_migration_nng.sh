#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The code for nng in docs/migration.md compiles.
# ctest: beside
. "${BASH_SOURCE%/*}/lib_theirs.sh" || exit 1
read -r -a flags < <(pkg-config --cflags nng 2>/dev/null)
theirs nng nng/nng.h libnng-dev ${flags[@]+"${flags[@]}"}
