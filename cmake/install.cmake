# What `cmake --install` puts where. For C and C++ users: library, headers, a CMake package and a pkg-config file. The component "python" alone, which
# pip and scripts/wheel ask for, is what the Python package carries.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set_target_properties(ckpt PROPERTIES EXPORT_NAME ckpt)
target_include_directories(ckpt INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
install(TARGETS ckpt EXPORT ckpt-engine-targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library NAMELINK_COMPONENT library)
install(TARGETS ckpt-engine RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT program)
install(DIRECTORY include/ckpt DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT library)
install(EXPORT ckpt-engine-targets NAMESPACE ckpt:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/ckpt-engine COMPONENT library)
configure_package_config_file(cmake/ckpt-engine-config.cmake.in ${PROJECT_BINARY_DIR}/cmake/ckpt-engine-config.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/ckpt-engine)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/cmake/ckpt-engine-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/cmake/ckpt-engine-config.cmake ${PROJECT_BINARY_DIR}/cmake/ckpt-engine-config-version.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/ckpt-engine COMPONENT library)
configure_file(cmake/ckpt-engine.pc.in ${PROJECT_BINARY_DIR}/cmake/ckpt-engine.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/cmake/ckpt-engine.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT library)

# A wheel holds no links: the library goes in under the one name that the package looks for.
add_custom_target(python_libraries DEPENDS ckpt)
install(FILES $<TARGET_FILE:ckpt> DESTINATION ckpt_engine/lib RENAME libckpt.so COMPONENT python EXCLUDE_FROM_ALL)
if(TARGET ckpt_ucx)
  add_dependencies(python_libraries ckpt_ucx)
  install(FILES $<TARGET_FILE:ckpt_ucx> DESTINATION ckpt_engine/lib COMPONENT python EXCLUDE_FROM_ALL)
  install(TARGETS ckpt_ucx LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library)
endif()
