# Code that the generator makes from protocol/spec. It lives in the build tree and is never committed;
# `make generated` puts a browsable copy next to the sources.
set(VGPU_PROTOCOL_DIR "${CMAKE_CURRENT_SOURCE_DIR}/../protocol")
set(VGPU_GENERATED_DIR "${CMAKE_BINARY_DIR}/generated")
file(GLOB VGPU_SPEC CONFIGURE_DEPENDS "${VGPU_PROTOCOL_DIR}/spec/*.toml")
file(GLOB_RECURSE VGPU_GENERATOR CONFIGURE_DEPENDS "${VGPU_PROTOCOL_DIR}/vgpu/protocol/*.py")

# Include as "generated/<name>".
set(VGPU_GENERATED_HEADERS
    ${VGPU_GENERATED_DIR}/generated/opcode.h        # enum class Opcode and the table of call facts
    ${VGPU_GENERATED_DIR}/generated/device_attributes.h  # attributes that the stub answers by itself
    ${VGPU_GENERATED_DIR}/generated/driver_table.h  # DriverTable: one function pointer per served call
    ${VGPU_GENERATED_DIR}/generated/stub_api.h      # declarations of vgpu::stub::api
    ${VGPU_GENERATED_DIR}/generated/softgpu_api.h   # declarations of vgpu::softgpu::api
    ${VGPU_GENERATED_DIR}/generated/executor_api.h) # declarations of vgpu::executor::handlers
set(VGPU_GENERATED_STUB
    ${VGPU_GENERATED_DIR}/generated/stub_exports.cc   # extern "C" entry points, _ptsz/_ptds included
    ${VGPU_GENERATED_DIR}/generated/stub_marshal.cc   # bodies of calls marked `generated`
    ${VGPU_GENERATED_DIR}/generated/stub_symbols.cc)  # (symbol, version, flags) -> entry point
set(VGPU_GENERATED_SOFTGPU
    ${VGPU_GENERATED_DIR}/generated/softgpu_exports.cc
    ${VGPU_GENERATED_DIR}/generated/softgpu_symbols.cc)
set(VGPU_GENERATED_EXECUTOR
    ${VGPU_GENERATED_DIR}/generated/driver_table.cc
    ${VGPU_GENERATED_DIR}/generated/executor_dispatch.cc)
set(VGPU_GENERATED_ALL ${VGPU_GENERATED_HEADERS} ${VGPU_GENERATED_STUB} ${VGPU_GENERATED_SOFTGPU}
                       ${VGPU_GENERATED_EXECUTOR})

add_custom_command(
  OUTPUT ${VGPU_GENERATED_ALL}
  COMMAND ${CMAKE_COMMAND} -E env "PYTHONPATH=${VGPU_PROTOCOL_DIR}" "PYTHONDONTWRITEBYTECODE=1"
          "${Python3_EXECUTABLE}" -m vgpu.protocol.codegen
          --spec "${VGPU_PROTOCOL_DIR}/spec" --cuda-include "${VGPU_CUDA_INCLUDE}"
          --output "${VGPU_GENERATED_DIR}/generated"
  DEPENDS ${VGPU_SPEC} ${VGPU_GENERATOR}
  COMMENT "Generating from protocol/spec"
  VERBATIM)
add_custom_target(vgpu_generate DEPENDS ${VGPU_GENERATED_ALL})

add_library(vgpu_generated INTERFACE)
target_include_directories(vgpu_generated INTERFACE "${VGPU_GENERATED_DIR}")
add_dependencies(vgpu_generated vgpu_generate)
