# Third-party libraries, one imported target each, named ckpt_3p::<name>. All are packages of Debian 12 and Ubuntu 24.04; scripts/setup installs them.
find_package(PkgConfig REQUIRED)
include(CheckCXXSourceCompiles)

function(ckpt_package name)
  cmake_parse_arguments(ARG "" "PKG" "LIBS" ${ARGN})
  add_library(ckpt_3p_${name} INTERFACE)
  add_library(ckpt_3p::${name} ALIAS ckpt_3p_${name})
  if(ARG_PKG)
    pkg_check_modules(PC_${name} REQUIRED IMPORTED_TARGET ${ARG_PKG})
    target_link_libraries(ckpt_3p_${name} INTERFACE PkgConfig::PC_${name})
  endif()
  if(ARG_LIBS)
    target_link_libraries(ckpt_3p_${name} INTERFACE ${ARG_LIBS})
  endif()
endfunction()

find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
ckpt_package(fmt LIBS fmt::fmt)
ckpt_package(spdlog LIBS spdlog::spdlog)
ckpt_package(json)                                     # nlohmann-json, headers only
find_package(simdjson REQUIRED)
ckpt_package(simdjson LIBS simdjson::simdjson)
ckpt_package(zmq PKG libzmq)                           # with cppzmq's header
ckpt_package(msgpack)                                  # headers only
target_compile_definitions(ckpt_3p_msgpack INTERFACE MSGPACK_NO_BOOST)
ckpt_package(xxhash PKG libxxhash)
# both distributions build it with the choice of registers at run time for x86-64; elsewhere there is no such header
set(CMAKE_REQUIRED_LIBRARIES PkgConfig::PC_xxhash)
check_cxx_source_compiles("#define XXH_STATIC_LINKING_ONLY
#include <xxh_x86dispatch.h>
int main() { XXH3_state_t state; XXH3_64bits_reset(&state); return static_cast<int>(XXH3_64bits_update(&state, \"\", 0)); }" CKPT_XXHASH_DISPATCH)
unset(CMAKE_REQUIRED_LIBRARIES)
if(CKPT_XXHASH_DISPATCH)
  target_compile_definitions(ckpt_3p_xxhash INTERFACE CKPT_XXHASH_DISPATCH)
endif()
ckpt_package(zstd PKG libzstd)
# compiled in both distributions; pkg-config gives the macros it was built with
ckpt_package(httplib PKG cpp-httplib)
ckpt_package(cli11)                                    # headers only
find_package(prometheus-cpp CONFIG REQUIRED)
ckpt_package(prometheus LIBS prometheus-cpp::core)
ckpt_package(numa PKG numa)
pkg_check_modules(CKPT_UCX IMPORTED_TARGET ucx)        # only the plug-in libckpt_ucx.so links it
if(CKPT_BUILD_TESTS)
  find_package(GTest REQUIRED)
  ckpt_package(gtest LIBS GTest::gtest GTest::gmock)
endif()
if(CKPT_BUILD_BENCH)
  find_package(benchmark REQUIRED)
endif()
