# NVIDIA's headers and libzmq come from pip packages of the build environment: nothing of them is
# committed, and no system package is needed. find_files.py looks through sys.path.
find_package(Python3 REQUIRED COMPONENTS Interpreter)

function(vgpu_find variable what)
  if(${variable})
    return()
  endif()
  execute_process(
    COMMAND "${Python3_EXECUTABLE}" "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/find_files.py" "${what}"
    OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${what} not found: install the build requirements of pyproject.toml")
  endif()
  set(${variable} "${found}" CACHE PATH "${what}" FORCE)
endfunction()

vgpu_find(VGPU_CUDA_INCLUDE cuda-include)
vgpu_find(VGPU_ZMQ_LIBS zmq-libs)

# cuda.h with the versioned prototypes visible and none of its renaming macros.
add_library(vgpu_cuda INTERFACE)
target_include_directories(vgpu_cuda SYSTEM INTERFACE "${VGPU_CUDA_INCLUDE}")
target_compile_definitions(vgpu_cuda INTERFACE __CUDA_API_VERSION_INTERNAL)
