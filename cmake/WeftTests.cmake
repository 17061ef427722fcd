# SPDX-License-Identifier: Apache-2.0
# Tests are files. weft_unit_tests() and weft_area() turn a folder's files into programs and ctests.

# Time limits are for a quiet machine without a sanitizer; sanitizers get four times as much.
set(WEFT_TIME_FACTOR 1)
if(WEFT_SANITIZE)
  set(WEFT_TIME_FACTOR 4)
endif()

set(WEFT_TEST_ENVIRONMENT
  "WEFT_BIN=${CMAKE_RUNTIME_OUTPUT_DIRECTORY}"
  "WEFT_LIB=${CMAKE_LIBRARY_OUTPUT_DIRECTORY}"
  "WEFT_SRC=${PROJECT_SOURCE_DIR}"
  "WEFT_TEST_TCP=$<IF:$<BOOL:${WEFT_KSOCK_ENABLED}>,ksock,tcp>"
  "WEFT_SANITIZE=${WEFT_SANITIZE}"
  "ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1"
  "LSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/lsan.supp:print_suppressions=0"
  "UBSAN_OPTIONS=print_stacktrace=1"
  "TSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/tsan.supp:second_deadlock_stack=1")

# weft_name(OUT SOURCE): the file's name, with its folder's in front if the name is taken.
function(weft_name out source)
  get_filename_component(name "${source}" NAME_WE)
  if(TARGET ${name})
    get_filename_component(dir "${source}" DIRECTORY)
    get_filename_component(dir "${dir}" NAME)
    set(name "${dir}_${name}")
  endif()
  set(${out} ${name} PARENT_SCOPE)
endfunction()

# weft_register(NAME SOURCE LABEL SECONDS COMMAND...)
# A line "ctest: timeout=SECONDS" or "ctest: labels=LABEL[;LABEL...]" in the source overrides the time
# limit of its area, and adds labels.
function(weft_register name source label seconds)
  set(labels ${label})
  if(source)
    file(STRINGS "${source}" lines REGEX "ctest: (timeout|labels)=" LIMIT_COUNT 4)
    foreach(line IN LISTS lines)
      if(line MATCHES "timeout=([0-9]+)")
        set(seconds ${CMAKE_MATCH_1})
      elseif(line MATCHES "labels=([a-z;]+)")
        list(APPEND labels ${CMAKE_MATCH_1})
      endif()
    endforeach()
  endif()
  math(EXPR timeout "${seconds} * ${WEFT_TIME_FACTOR}")
  add_test(NAME ${name} COMMAND ${ARGN})
  set_tests_properties(${name} PROPERTIES
    LABELS "${labels}"
    TIMEOUT ${timeout}
    SKIP_RETURN_CODE 77
    ENVIRONMENT "${WEFT_TEST_ENVIRONMENT}")
endfunction()

# weft_test_settings(TARGET internal|shared|bench): what a test is compiled and linked with.
# assert() stays alive in every build type.
function(weft_test_settings target kind)
  target_compile_options(${target} PRIVATE -UNDEBUG)
  # Which provider carries the system's TCP in this build.
  target_compile_definitions(${target} PRIVATE
    WEFT_TEST_TCP="$<IF:$<BOOL:${WEFT_KSOCK_ENABLED}>,ksock,tcp>")
  target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/tests")
  if(kind STREQUAL "internal")
    if(TARGET weft_sim)
      target_link_libraries(${target} PRIVATE weft_sim)
    endif()
    target_link_libraries(${target} PRIVATE weft_static)
  else()
    target_link_libraries(${target} PRIVATE weft PkgConfig::WEFT_FABRIC)
  endif()
  if(kind STREQUAL "bench" AND WEFT_ZMQ_FOUND)
    target_link_libraries(${target} PRIVATE PkgConfig::WEFT_ZMQ)
    target_compile_definitions(${target} PRIVATE WEFT_HAVE_ZMQ=1)
  endif()
  target_link_libraries(${target} PRIVATE PkgConfig::WEFT_CMOCKA Threads::Threads m)
endfunction()

# weft_test_program(NAME internal|shared|bench SOURCE...)
function(weft_test_program name kind)
  add_executable(${name} ${ARGN})
  weft_test_settings(${name} ${kind})
endfunction()

# weft_unit_tests(DIR): every *_test.c under DIR (beside the code it tests) is a program and a ctest.
function(weft_unit_tests dir)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/${dir}/*_test.c")
  if(NOT TARGET tf_dev)
    list(FILTER sources EXCLUDE REGEX "/tcpfallback/(dpdk|lwip)/")
  endif()
  foreach(source IN LISTS sources)
    set(label unit)
    if(source MATCHES "/rail/sim/")
      set(label sim)
    endif()
    weft_name(name "${source}")
    weft_test_program(${name} internal "${source}")
    if(dir STREQUAL "bindings") # not in the library: the file under test comes along
      string(REGEX REPLACE "_test\\.c$" ".c" subject "${source}")
      target_sources(${name} PRIVATE "${subject}")
      target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/bindings/tools")
    endif()
    if(dir STREQUAL "tcpfallback") # nor is a provider
      target_link_libraries(${name} PRIVATE tf_static)
      if(source MATCHES "/tcpfallback/dpdk/")
        target_link_libraries(${name} PRIVATE tf_dev)
      endif()
    endif()
    weft_register(${name} "${source}" ${label} 60 ${name})
    if(WEFT_KSOCK_ENABLED AND source MATCHES "/rail/msg/msg_" AND NOT name STREQUAL "msg_cand_test")
      # What a host without our provider runs on.
      weft_register(${name}.tcp "${source}" ${label} 60 ${name})
      set_property(TEST ${name}.tcp APPEND PROPERTY ENVIRONMENT
        "WEFT_TEST_RAILS=tcp 127.0.0.1 127.0.0.1")
    endif()
  endforeach()
endfunction()

# weft_area(LABEL SECONDS internal|shared|bench [SERIAL]): the folder of the calling CMakeLists.txt.
#   NAME.c   a program in bin/ and a ctest; internal: linked to the internals, shared: to libweft.so,
#            bench: like shared and also to ZeroMQ where it is found, and never a ctest
#   NAME.sh  a ctest; the environment names the programs (WEFT_BIN) and the sources (WEFT_SRC)
#   A line "ctest: beside" in one says that it minds no other test beside it: it neither measures time
#   closely nor makes network devices.
#   dpdk_*   only where the provider dpdk is built
#   lib_*.c  are linked to each of the folder's programs; lib_*.sh is for sourcing
# SERIAL: no other test of the tree runs at the same time.
function(weft_area label seconds kind)
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.c")
  file(GLOB scripts CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.sh")
  if(NOT TARGET dpdk)
    list(FILTER sources EXCLUDE REGEX "/dpdk_[^/]*$")
    list(FILTER scripts EXCLUDE REGEX "/dpdk_[^/]*$")
  endif()
  set(helpers ${sources})
  list(FILTER helpers INCLUDE REGEX "/lib_[^/]*\\.c$")
  list(FILTER sources EXCLUDE REGEX "/lib_[^/]*\\.c$")
  list(FILTER scripts EXCLUDE REGEX "/lib_[^/]*\\.sh$")

  if(helpers)
    add_library(weft_${label}_lib STATIC EXCLUDE_FROM_ALL ${helpers})
    weft_test_settings(weft_${label}_lib ${kind})
    set(helpers weft_${label}_lib)
  endif()

  set(tests "")
  foreach(source IN LISTS sources)
    weft_name(name "${source}")
    add_executable(${name} "${source}")
    target_link_libraries(${name} PRIVATE ${helpers})
    weft_test_settings(${name} ${kind})
    if(NOT kind STREQUAL "bench")
      weft_register(${name} "${source}" ${label} ${seconds} ${name})
      file(STRINGS "${source}" beside REGEX "ctest: beside" LIMIT_COUNT 1)
      if(NOT beside)
        list(APPEND tests ${name})
      endif()
    endif()
  endforeach()
  if(NOT kind STREQUAL "bench")
    foreach(script IN LISTS scripts)
      get_filename_component(name "${script}" NAME_WE)
      if(name IN_LIST tests)
        set(name "${name}_sh")
      endif()
      weft_register(${name} "${script}" ${label} ${seconds} bash "${script}")
      file(STRINGS "${script}" beside REGEX "^# ctest: beside$")
      if(NOT beside)
        list(APPEND tests ${name})
      endif()
    endforeach()
  endif()

  # Tests that measure time or own network namespaces do not run beside each other; simulated time and
  # units do not mind.
  if(tests)
    if("SERIAL" IN_LIST ARGN)
      set_tests_properties(${tests} PROPERTIES RUN_SERIAL TRUE)
    elseif(NOT label STREQUAL "sim")
      set_tests_properties(${tests} PROPERTIES RESOURCE_LOCK network)
    endif()
  endif()
endfunction()
