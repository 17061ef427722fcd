# SPDX-License-Identifier: Apache-2.0
# Language, warnings, sanitizers and link-time optimisation, for every target of the tree.

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON) # gnu11: uv.h needs it
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Debug, RelWithDebInfo or Release" FORCE)
endif()

# C++ serves one purpose: to prove that weft.h compiles as C++. Without a compiler that test is off.
include(CheckLanguage)
check_language(CXX)
if(CMAKE_CXX_COMPILER)
  enable_language(CXX)
  set(CMAKE_CXX_STANDARD 11)
  set(CMAKE_CXX_EXTENSIONS OFF)
endif()

set(werror_default OFF)
if(DEFINED ENV{CI} AND NOT "$ENV{CI}" MATCHES "^(|0|false)$")
  set(werror_default ON)
endif()
option(WEFT_WERROR "Warnings are errors" ${werror_default})

add_compile_options(
  -Wall -Wextra -Wshadow -Wpointer-arith
  $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes>
  $<$<COMPILE_LANGUAGE:C>:-Wmissing-prototypes>)
if(WEFT_WERROR)
  add_compile_options(-Werror)
endif()

# _GNU_SOURCE: accept4, sched_setaffinity, pthread_setname_np and their kind.
add_compile_definitions(_GNU_SOURCE)

# Sanitizers come as a named set, so that a build directory says in one word what it is.
set(WEFT_SANITIZE "" CACHE STRING "Instrument everything: address (with undefined), thread, fuzzer (clang)")
set_property(CACHE WEFT_SANITIZE PROPERTY STRINGS "" address thread fuzzer)
if(WEFT_SANITIZE STREQUAL "")
  # A library that leaves symbols undefined fails here and not in the user's program; sanitizers'
  # run-time symbols are undefined on purpose, so it is checked only without them.
  add_link_options(LINKER:-z,defs)
elseif(WEFT_SANITIZE STREQUAL "address")
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined -fno-sanitize-recover=all)
elseif(WEFT_SANITIZE STREQUAL "thread")
  add_compile_options(-fsanitize=thread -fno-omit-frame-pointer)
  add_link_options(-fsanitize=thread)
elseif(WEFT_SANITIZE STREQUAL "fuzzer")
  if(NOT CMAKE_C_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "WEFT_SANITIZE=fuzzer needs clang; this compiler is ${CMAKE_C_COMPILER_ID} "
      "(${CMAKE_C_COMPILER})")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
    -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined -fno-sanitize-recover=all)
else()
  message(FATAL_ERROR "WEFT_SANITIZE=${WEFT_SANITIZE}: must be empty, address, thread or fuzzer")
endif()

add_link_options(LINKER:--as-needed LINKER:-z,relro LINKER:-z,now)

# Link-time optimisation is for libweft.so and libdpdk-fi.so alone. Their objects stay "fat", so that unit tests link
# the very same objects without it and build quickly.
option(WEFT_LTO "Link-time optimisation of libweft.so and libdpdk-fi.so (gcc)" OFF)
