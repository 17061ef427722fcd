#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds Weft and runs its tests, from a fresh clone to a verdict.
set -u
cd "$(dirname "$0")/.." || exit 2

usage() {
  cat <<'END'
usage: tests/run.sh [--quick] [STAGE...]

Installs the Debian packages it needs (as root; else it says which), builds, runs the tests, and closes
with the line "N passed, N failed, N skipped". Without arguments: all stages, 20 to 40 minutes on two
processors. Build trees are build/<preset>/.

  --quick   unit and integration tests of the dev build, under 3 minutes

Stages: dev       everything in the development build, RDMA in a virtual machine included
        release   unit and integration tests of what is shipped
        asan      AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer
        tsan      ThreadSanitizer
        sim       simulated schedules of failures from a fresh seed, which is printed
        fuzz      libFuzzer for 30 s per target (clang)

CI=true       warnings are errors, and skipped tests must be those of tests/skips.allowed
WEFT_SEED=N   the seed of the sim stage
WEFT_JOBS=N   processes at a time (2)
TMPDIR        where scratch files go
END
}

quick=
stages=()
while [ $# -gt 0 ]; do
  case $1 in
  --quick) quick=1 ;;
  -h | --help) usage; exit 0 ;;
  dev | release | asan | tsan | sim | fuzz) stages+=("$1") ;;
  *) usage >&2; exit 2 ;;
  esac
  shift
done
everything=
if [ -n "$quick" ]; then
  stages=(dev)
elif [ ${#stages[@]} = 0 ]; then
  everything=1
  stages=(dev release asan tsan sim fuzz)
fi
in_ci=
case ${CI:-} in '' | 0 | false) ;; *) in_ci=1 ;; esac
jobs=${WEFT_JOBS:-2}
deadline=$((SECONDS + 44 * 60))

fixed_addresses=()
scratch=$(mktemp -d "${TMPDIR:-/tmp}/weft-run.XXXXXX") || exit 2
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
. tests/lib_run.sh

say() { printf '\n=== %s (at %d:%02d)\n' "$1" $((SECONDS / 60)) $((SECONDS % 60)); }

# --- packages -------------------------------------------------------------------------------------
wanted() { # the packages that the stages need
  echo gcc g++ make cmake ninja-build pkg-config libc6-dev libfabric-dev libuv1-dev libssl-dev \
    libjansson-dev librdmacm-dev libibverbs-dev libcmocka-dev libzmq3-dev iproute2 procps \
    libfabric-bin python3 python3-uvloop groff-base \
    libnng-dev libucx-dev
  case " ${stages[*]} " in *" fuzz "*) echo clang llvm libclang-rt-dev ;; esac
}

install_packages() {
  command -v dpkg-query >/dev/null || return 0 # not Debian: the configure step names what is missing
  local missing=() package
  for package in $(wanted); do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ]; then
    echo "packages are missing; install them and run this again:"
    echo "  sudo apt-get install --no-install-recommends ${missing[*]}"
    return 1
  fi
  echo "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  local apt=(apt-get -qq -y -o DPkg::Lock::Timeout=300)
  "${apt[@]}" install --no-install-recommends "${missing[@]}" >"$scratch/apt" 2>&1 </dev/null ||
    { "${apt[@]}" update && "${apt[@]}" install --no-install-recommends "${missing[@]}"; } \
      >"$scratch/apt" 2>&1 </dev/null || { cat "$scratch/apt"; return 1; }
}

# --- one build, one run of ctest --------------------------------------------------------------------
build() { # PRESET
  local options=(-DWEFT_TESTS=ON)
  [ -z "$in_ci" ] || options+=(-DWEFT_WERROR=ON)
  say "build $1"
  if ! cmake --preset "$1" "${options[@]}" >"$scratch/log" 2>&1 </dev/null; then
    cat "$scratch/log"
  else
    sed -n '/-- Weft /,/^-- *$/p' "$scratch/log"
    if cmake --build --preset "$1" -j "$jobs" >"$scratch/log" 2>&1 </dev/null; then
      grep -E 'warning:' "$scratch/log" | sort -u | head -n 20
      return 0
    fi
    grep -vE '^\[[0-9/]+\] (Building|Linking)' "$scratch/log" | tail -n 100
  fi
  fail "build $1"
  return 1
}

run_tests() { # STAGE PRESET CTEST-ARGUMENT...
  local stage=$1 preset=$2 xml left rc
  shift 2
  xml=$scratch/$stage.xml
  left=$((deadline - SECONDS))
  say "test $stage"
  [ $left -gt 0 ] || left=1
  (cd "build/$preset" && timeout -k 10 "$left" ${fixed_addresses[@]+"${fixed_addresses[@]}"} \
    ctest --output-on-failure "${junit[@]}" "$xml" -j "$jobs" "$@" </dev/null 2>&1) |
    grep -vE '^( *Start +[0-9]+: |Test project |Label Time Summary|[a-z]+ +=.*sec\*proc)'
  rc=${PIPESTATUS[0]}
  if [ ! -s "$xml" ]; then
    echo "ctest left no results (exit code $rc)"
    fail "$stage: ctest"
    return
  fi
  count_results "$stage" "$xml"
}

# --- the end ----------------------------------------------------------------------------------------
finish() {
  [ -z "$in_ci" ] || check_skips tests/skips.allowed "$everything"
  say "done"
  local failure
  for failure in ${failures[@]+"${failures[@]}"}; do
    echo "FAILED  $failure"
  done
  echo "$passed passed, $failed failed, $skipped skipped"
  [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
  exit
}

say "packages"
install_packages || { fail "packages"; finish; }

for stage in "${stages[@]}"; do
  case $stage in
  dev)
    build dev || finish
    if [ -n "$quick" ]; then
      run_tests quick dev -L '^(unit|integ)$'
    else
      # Fetched ahead, so that no test's time limit pays for a download.
      tests/vm/run --prepare </dev/null || true
      run_tests dev dev
    fi
    ;;
  release) build release && run_tests release release -L '^(unit|integ)$' ;;
  # A guest under emulation and the long runs are for the plain build: slowed down they say no more.
  asan) build asan && run_tests asan asan -LE '^(rdma|scale|soak)$' ;;
  tsan)
    # gcc 12's ThreadSanitizer dies at start where the kernel scatters addresses widely (6.6 and later).
    setarch -R true 2>/dev/null && fixed_addresses=(setarch -R)
    build tsan && run_tests tsan tsan -L '^(unit|integ|tsan)$'
    fixed_addresses=()
    ;;
  sim)
    # The dev stage ran the schedules of the fixed seeds; these are new each time.
    seed=${WEFT_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
    if build dev; then
      export WEFT_SEED=$seed
      echo "seed $seed; to replay: WEFT_SEED=$seed tests/run.sh sim"
      run_tests sim dev -L '^sim$'
      unset WEFT_SEED
    fi
    ;;
  fuzz) build fuzz && run_tests fuzz fuzz -L '^fuzz$' ;;
  esac
done
finish
