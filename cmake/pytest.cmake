# ckpt_pytest(NAME e2e.update LABEL e2e FILES test_update.py [TIMEOUT 300])
#   One ctest entry that runs pytest files of this folder. The path of ckpt-engine is in the environment as CKPT_ENGINE_BINARY.
function(ckpt_pytest)
  cmake_parse_arguments(ARG "" "NAME;LABEL;TIMEOUT" "FILES" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  list(TRANSFORM ARG_FILES PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/)
  add_test(NAME ${ARG_NAME} COMMAND ${PROJECT_SOURCE_DIR}/tests/support/run_pytest ${ARG_FILES})
  set_tests_properties(${ARG_NAME} PROPERTIES LABELS ${ARG_LABEL} SKIP_RETURN_CODE 77 TIMEOUT ${ARG_TIMEOUT}
                                              ENVIRONMENT "CKPT_ENGINE_BINARY=$<TARGET_FILE:ckpt-engine>;CKPT_SANITIZED=${CKPT_SANITIZE}")
endfunction()
