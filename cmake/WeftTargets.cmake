# SPDX-License-Identifier: Apache-2.0
# How sources are found, and what the internal targets share.

# weft_sources(OUT DIR...): the library sources under folders; tests beside them are not among them.
function(weft_sources out)
  set(all "")
  foreach(dir IN LISTS ARGN)
    file(GLOB_RECURSE found CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${dir}/*.c")
    list(APPEND all ${found})
  endforeach()
  list(FILTER all EXCLUDE REGEX "_(test|fuzz|smoke)\\.c$")
  set(${out} "${all}" PARENT_SCOPE)
endfunction()

# weft_internal: what every translation unit of the tree sees. Consumers get only the public headers.
add_library(weft_internal INTERFACE)
target_include_directories(weft_internal INTERFACE
  "${PROJECT_SOURCE_DIR}/fabric/include"
  "${PROJECT_SOURCE_DIR}/selector/include"
  "${PROJECT_SOURCE_DIR}/fabric"
  "${PROJECT_SOURCE_DIR}/selector")
target_compile_definitions(weft_internal INTERFACE
  $<$<BOOL:${WEFT_VERBS_ENABLED}>:WEFT_HAVE_VERBS=1>
  $<$<BOOL:${WEFT_KSOCK_ENABLED}>:WEFT_HAVE_KSOCK=1>
  $<$<BOOL:${WEFT_DPDK_ENABLED}>:WEFT_HAVE_DPDK=1>
  $<$<BOOL:${WEFT_FAULTS_ENABLED}>:WEFT_FAULTS=1>)
target_link_libraries(weft_internal INTERFACE
  PkgConfig::WEFT_FABRIC PkgConfig::WEFT_UV PkgConfig::WEFT_CRYPTO PkgConfig::WEFT_JANSSON Threads::Threads)
if(WEFT_VERBS_ENABLED)
  target_link_libraries(weft_internal INTERFACE PkgConfig::WEFT_RDMACM)
endif()

# weft_program(NAME SOURCES...): a program against the public API, as a user would build it.
function(weft_program name)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE weft Threads::Threads m)
endfunction()
