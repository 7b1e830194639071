# Compiler flags that every target of the project shares, as one interface target.
add_library(vgpu_options INTERFACE)
target_include_directories(vgpu_options INTERFACE "${CMAKE_CURRENT_SOURCE_DIR}")
target_compile_options(vgpu_options INTERFACE -Wall -Wextra -Wno-missing-field-initializers -fno-math-errno)
if(VGPU_WERROR)
  target_compile_options(vgpu_options INTERFACE -Werror)
endif()
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  target_compile_options(vgpu_options INTERFACE -Wno-unknown-pragmas)  # GCC ivdep: a hint, no more
endif()
if(VGPU_SANITIZE)
  target_compile_options(vgpu_options INTERFACE -fsanitize=${VGPU_SANITIZE} -fno-omit-frame-pointer -g)
  target_link_options(vgpu_options INTERFACE -fsanitize=${VGPU_SANITIZE})
  if(VGPU_SANITIZE MATCHES undefined)
    # What UBSan finds ends a program, or its test would pass. The enumerations of cuda.h hold any
    # number that a program passes in them: without -fstrict-enums GCC and clang keep all of int.
    target_compile_options(vgpu_options INTERFACE -fno-sanitize-recover=undefined -fno-sanitize=enum)
  endif()
endif()
if(VGPU_LIBFUZZER)  # it is steered by the coverage of what it tests, not of its target alone
  target_compile_options(vgpu_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
