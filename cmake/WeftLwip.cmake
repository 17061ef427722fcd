# SPDX-License-Identifier: Apache-2.0
# lwIP, the TCP of the provider `dpdk`, from Debian's source package: nothing of it is in this tree.
#
# It comes from whatever mirror this machine's apt is set to, by apt's own downloader, so with its proxies and
# its rules; which file is pinned by name and SHA-256. WEFT_LWIP_ARCHIVE names a copy for machines
# without a mirror.

set(WEFT_LWIP_FILE "lwip_2.2.1+dfsg1.orig.tar.xz")
set(WEFT_LWIP_SHA256 "83729c274c499d3348e9fbbe043a3113f3fa8953e7efddc7c21c7fcbb1f2b7b1")
set(WEFT_LWIP_ARCHIVE "" CACHE FILEPATH "A copy of ${WEFT_LWIP_FILE}, instead of apt's mirror")

# weft_lwip_archive(OUT MISSING): the archive with the right sum, or why there is none.
function(weft_lwip_archive out missing)
  set(archive "${CMAKE_BINARY_DIR}/lwip/${WEFT_LWIP_FILE}")
  if(WEFT_LWIP_ARCHIVE)
    set(archive "${WEFT_LWIP_ARCHIVE}")
  endif()
  set(${out} "${archive}" PARENT_SCOPE)
  set(${missing} "" PARENT_SCOPE)
  if(EXISTS "${archive}")
    file(SHA256 "${archive}" sum)
    if(sum STREQUAL WEFT_LWIP_SHA256)
      return()
    endif()
  endif()
  if(WEFT_LWIP_ARCHIVE)
    set(${missing} "WEFT_LWIP_ARCHIVE is not ${WEFT_LWIP_FILE} with its SHA-256" PARENT_SCOPE)
    return()
  endif()

  find_program(WEFT_APT_GET apt-get)
  find_program(WEFT_APT_HELPER apt-helper PATHS /usr/lib/apt)
  mark_as_advanced(WEFT_APT_GET WEFT_APT_HELPER)
  if(NOT WEFT_APT_GET OR NOT WEFT_APT_HELPER)
    set(${missing} "there is no apt to fetch lwIP with (or set WEFT_LWIP_ARCHIVE)" PARENT_SCOPE)
    return()
  endif()
  execute_process(
    COMMAND "${WEFT_APT_GET}" indextargets "--format" "$(REPO_URI)" "Created-By: Packages"
      "Origin: Debian"
    OUTPUT_VARIABLE mirrors ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
  string(REPLACE "\n" ";" mirrors "${mirrors}")
  list(REMOVE_DUPLICATES mirrors)
  file(MAKE_DIRECTORY "${CMAKE_BINARY_DIR}/lwip")
  foreach(mirror IN LISTS mirrors)
    execute_process(
      COMMAND "${WEFT_APT_HELPER}" download-file "${mirror}pool/main/l/lwip/${WEFT_LWIP_FILE}"
        "${archive}" "SHA256:${WEFT_LWIP_SHA256}"
      RESULT_VARIABLE failed OUTPUT_QUIET ERROR_QUIET TIMEOUT 60)
    if(NOT failed AND EXISTS "${archive}")
      file(SHA256 "${archive}" sum)
      if(sum STREQUAL WEFT_LWIP_SHA256)
        return()
      endif()
    endif()
    file(REMOVE "${archive}")
  endforeach()
  set(${missing} "no mirror that apt is set to has ${WEFT_LWIP_FILE} (or set WEFT_LWIP_ARCHIVE)"
    PARENT_SCOPE)
endfunction()

# weft_lwip_library(TARGET OPTIONS_DIR ARCHIVE): TCP, IPv4, IPv6, ARP and Ethernet, as lwipopts.h in
# OPTIONS_DIR says.
function(weft_lwip_library target options archive)
  set(root "${CMAKE_BINARY_DIR}/lwip/lwip-2.2.1/src")
  if(NOT EXISTS "${root}/core/tcp_out.c")
    file(ARCHIVE_EXTRACT INPUT "${archive}" DESTINATION "${CMAKE_BINARY_DIR}/lwip")
  endif()
  # Its look-up of connections walks a list: ours is a hash (find.c), asked for in its place.
  file(READ "${root}/core/tcp_in.c" text)
  set(walk "for (pcb = tcp_active_pcbs; pcb != NULL; pcb = pcb->next) {\n    LWIP_ASSERT(\"tcp_input: active")
  set(ask "for (pcb = tf_pcb_find(ip_current_src_addr(), tcphdr->src, ip_current_dest_addr(), tcphdr->dest); pcb != NULL; pcb = NULL) {\n    LWIP_ASSERT(\"tcp_input: active")
  string(REPLACE "\r\n" "\n" text "${text}")
  string(REPLACE "${walk}" "${ask}" asking "${text}")
  if(asking STREQUAL text)
    message(FATAL_ERROR "lwIP's tcp_in.c is not the one that WeftLwip.cmake knows")
  endif()
  file(CONFIGURE OUTPUT "${CMAKE_BINARY_DIR}/lwip/tcp_in.c" CONTENT "@asking@" @ONLY)

  set(sources "")
  foreach(name IN ITEMS def inet_chksum init ip mem memp netif pbuf stats sys tcp tcp_out
      timeouts ipv4/etharp ipv4/icmp ipv4/ip4 ipv4/ip4_addr ipv4/ip4_frag ipv6/ethip6 ipv6/icmp6
      ipv6/inet6 ipv6/ip6 ipv6/ip6_addr ipv6/ip6_frag ipv6/nd6)
    list(APPEND sources "${root}/core/${name}.c")
  endforeach()
  add_library(${target} STATIC EXCLUDE_FROM_ALL ${sources} "${root}/netif/ethernet.c"
    "${CMAKE_BINARY_DIR}/lwip/tcp_in.c")
  target_include_directories(${target} SYSTEM PUBLIC "${root}/include")
  target_include_directories(${target} PUBLIC "${options}")
  # Somebody else's code: its warnings are not ours, and it reads headers where they lie.
  target_compile_options(${target} PRIVATE -w -O3 -fvisibility=hidden
    $<$<BOOL:${WEFT_SANITIZE}>:-fno-sanitize=alignment>)
endfunction()
