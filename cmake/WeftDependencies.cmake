# SPDX-License-Identifier: Apache-2.0
# Libraries that Weft is built on. docs/dependencies.md says why each is here and how to do without.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

# weft_require(VAR PC-SPEC DEBIAN-PACKAGE): a missing library names the package to install.
function(weft_require var spec package)
  pkg_check_modules(${var} QUIET IMPORTED_TARGET GLOBAL ${spec})
  if(NOT ${var}_FOUND)
    message(FATAL_ERROR "Weft needs ${spec}; on Debian: apt-get install ${package}")
  endif()
  set(${var}_VERSION "${${var}_VERSION}" PARENT_SCOPE)
endfunction()

weft_require(WEFT_UV        "libuv>=1.42"     libuv1-dev)
weft_require(WEFT_FABRIC    "libfabric>=1.17" libfabric-dev)
weft_require(WEFT_CRYPTO    "libcrypto>=1.1"  libssl-dev)
weft_require(WEFT_JANSSON   "jansson>=2.13"   libjansson-dev)

# Optional ones: <VAR>_FOUND tells.
pkg_check_modules(WEFT_RDMACM QUIET IMPORTED_TARGET GLOBAL librdmacm libibverbs)
pkg_check_modules(WEFT_CMOCKA QUIET IMPORTED_TARGET GLOBAL cmocka)
pkg_check_modules(WEFT_ZMQ QUIET IMPORTED_TARGET GLOBAL libzmq)
