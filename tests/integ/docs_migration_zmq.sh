#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The code for zmq in docs/migration.md compiles.
# ctest: beside
. "${BASH_SOURCE%/*}/lib_theirs.sh" || exit 1
read -r -a flags < <(pkg-config --cflags libzmq 2>/dev/null)
theirs zmq zmq.h libzmq3-dev ${flags[@]+"${flags[@]}"}
