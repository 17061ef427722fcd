#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# package.sh BUILD_DIR: installs into a scratch prefix, then builds and runs a consumer in C and in C++,
# by pkg-config and by find_package(Weft); and checks that nothing installed names the build tree.
set -euo pipefail
build=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)

scratch=$(mktemp -d "${TMPDIR:-/tmp}/weft-package.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
prefix=$scratch/prefix
cmake --install "$build" --prefix "$prefix" >"$scratch/install.log"
(cd "$prefix" && find . -type f -o -type l | sort)

libdir=$(dirname "$(find "$prefix" -name libweft.so)")
[ -L "$libdir/libweft.so" ] || { echo "libweft.so is not a link to its version"; exit 1; }
if grep -rIlF "$build" "$prefix"; then
  echo "installed files (above) name the build tree"
  exit 1
fi

export LD_LIBRARY_PATH=$libdir PKG_CONFIG_PATH=$libdir/pkgconfig
echo "--- pkg-config"
flags=$(pkg-config --cflags --libs weft)
cc -std=gnu11 -Wall -Wextra -Werror "$here/consumer/c.c" -o "$scratch/c" $flags
"$scratch/c"
c++ -std=c++11 -Wall -Wextra -Werror "$here/consumer/cxx.cc" -o "$scratch/cxx" $flags
"$scratch/cxx"

# What the library itself stands on is no business of its users: they need weft.pc and libuv.pc, nothing else.
mkdir "$scratch/pc"
cp "$libdir/pkgconfig/weft.pc" "$(pkg-config --variable pcfiledir libuv)/libuv.pc" "$scratch/pc"
PKG_CONFIG_PATH='' PKG_CONFIG_LIBDIR=$scratch/pc pkg-config --cflags --libs weft >/dev/null
readelf -d "$libdir/libweft.so" | grep -q 'NEEDED.*libjansson' || { echo "libweft.so does not name libjansson"; exit 1; }

# The provider that Weft brings along is found from where it was installed.
if [ "${WEFT_TEST_TCP:-}" = ksock ] && [ -x "$prefix/bin/weft_info" ]; then
  env -u FI_PROVIDER_PATH "$prefix/bin/weft_info" -p ksock -d lo >"$scratch/info.log" &&
    grep -Eq '^0 +ksock +lo ' "$scratch/info.log" || { cat "$scratch/info.log"; echo "ksock is not found"; exit 1; }
fi

for tool in weft_info weft_perf; do
  [ ! -x "$prefix/bin/$tool" ] || [ -s "$prefix/share/bash-completion/completions/$tool" ] ||
    { echo "$tool is installed without its completion"; exit 1; }
done

grep -q '^WEFT_MAN:STRING=\(OFF\|NO\|0\)' "$build/CMakeCache.txt" || [ -z "${2:-}" ] ||
  [ -s "$prefix/share/man/man3/weft_send.3" ] || { echo "the man pages of the API are not installed"; exit 1; }

echo "--- find_package"
cmake -S "$here/consumer" -B "$scratch/build" -DCMAKE_PREFIX_PATH="$prefix" >"$scratch/cmake.log" ||
  { cat "$scratch/cmake.log"; exit 1; }
cmake --build "$scratch/build" >"$scratch/build.log" || { cat "$scratch/build.log"; exit 1; }
version=$("$scratch/build/consumer_c")
"$scratch/build/consumer_cxx"
[ "$version" = "$(pkg-config --modversion weft)" ] ||
  { echo "weft_version() is $version, weft.pc says $(pkg-config --modversion weft)"; exit 1; }

# The Python package finds the library from where both were installed, with nothing set.
package=$(find "$prefix" -path '*/dist-packages/weft/__init__.py')
if [ -n "$package" ]; then
  echo "--- python"
  [ -e "$(dirname "$package")/py.typed" ] || { echo "py.typed is not installed"; exit 1; }
  loaded=$(cd / && env -u LD_LIBRARY_PATH -u WEFT_LIBRARY PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPATH="$(dirname "$(dirname "$package")")" "${2:-python3}" -c \
    'import weft, weft._ffi; print(weft.library_version, weft.__version__, weft._ffi.lib._name)')
  case $loaded in
  "$version $version $libdir/"*) ;;
  *) echo "Python has loaded: $loaded"; exit 1 ;;
  esac
fi
