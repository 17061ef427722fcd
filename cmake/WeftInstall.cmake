# SPDX-License-Identifier: Apache-2.0
# What `cmake --install` puts where. The programs of bindings/ install themselves.
include(CMakePackageConfigHelpers)

install(TARGETS weft EXPORT WeftTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
file(GLOB headers CONFIGURE_DEPENDS
  "${PROJECT_SOURCE_DIR}/fabric/include/*.h" "${PROJECT_SOURCE_DIR}/selector/include/*.h")
install(FILES ${headers} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

# weft.pc finds its prefix from where it lies, so that a prefix given at install time
# (cmake --install --prefix) and a moved tree work.
set(WEFT_PC_LIBDIR "${CMAKE_INSTALL_FULL_LIBDIR}")
set(WEFT_PC_INCLUDEDIR "${CMAKE_INSTALL_FULL_INCLUDEDIR}")
set(WEFT_PC_PREFIX "${CMAKE_INSTALL_PREFIX}")
if(NOT IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}" AND NOT IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
  file(RELATIVE_PATH up "/prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/prefix")
  string(REGEX REPLACE "/$" "" up "${up}")
  set(WEFT_PC_PREFIX "\${pcfiledir}/${up}")
  set(WEFT_PC_LIBDIR "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
  set(WEFT_PC_INCLUDEDIR "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
configure_file("${PROJECT_SOURCE_DIR}/cmake/weft.pc.in" "${CMAKE_BINARY_DIR}/weft.pc" @ONLY)
install(FILES "${CMAKE_BINARY_DIR}/weft.pc" DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(package "${CMAKE_INSTALL_LIBDIR}/cmake/Weft")
configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/WeftConfig.cmake.in"
  "${CMAKE_BINARY_DIR}/WeftConfig.cmake" INSTALL_DESTINATION ${package})
write_basic_package_version_file("${CMAKE_BINARY_DIR}/WeftConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_BINARY_DIR}/WeftConfig.cmake" "${CMAKE_BINARY_DIR}/WeftConfigVersion.cmake"
  DESTINATION ${package})
install(EXPORT WeftTargets NAMESPACE Weft:: DESTINATION ${package})

foreach(section 1 3 7)
  file(GLOB pages CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/docs/man/*.${section}")
  if(pages)
    install(FILES ${pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
  endif()
endforeach()

# Section 3 comes out of the headers' comments: one page a section of theirs, and one for each name that leads there.
if(WEFT_MAN_ENABLED)
  set(generator "${PROJECT_SOURCE_DIR}/docs/man/api_pages.py")
  set(api "${PROJECT_SOURCE_DIR}/fabric/include/weft.h" "${PROJECT_SOURCE_DIR}/selector/include/weft_qos.h")
  add_custom_command(OUTPUT "${CMAKE_BINARY_DIR}/man/man3/weft_api.3"
    COMMAND "${Python3_EXECUTABLE}" "${generator}" "${CMAKE_BINARY_DIR}/man/man3" ${api}
    DEPENDS "${generator}" ${api} VERBATIM)
  add_custom_target(weft_man ALL DEPENDS "${CMAKE_BINARY_DIR}/man/man3/weft_api.3")
  install(DIRECTORY "${CMAKE_BINARY_DIR}/man/man3" DESTINATION ${CMAKE_INSTALL_MANDIR} FILES_MATCHING PATTERN "*.3")
endif()
