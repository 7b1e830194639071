#include "softgpu/driver/jit_log.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>

namespace vgpu::softgpu {

JitLog::JitLog(unsigned count, const CUjit_option* options, void** values) {
  if (options == nullptr || values == nullptr) return;
  for (unsigned i = 0; i < count; ++i) {
    const auto value = reinterpret_cast<uintptr_t>(values[i]);
    switch (options[i]) {
      case CU_JIT_INFO_LOG_BUFFER:
        info_.data = static_cast<char*>(values[i]);
        break;
      case CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES:
        info_.size = static_cast<uint32_t>(value);
        info_.filled = &values[i];
        break;
      case CU_JIT_ERROR_LOG_BUFFER:
        error_.data = static_cast<char*>(values[i]);
        break;
      case CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES:
        error_.size = static_cast<uint32_t>(value);
        error_.filled = &values[i];
        break;
      case CU_JIT_LOG_VERBOSE:
        verbose_ = static_cast<uint32_t>(value) != 0;
        break;
      default:
        break;
    }
  }
  info_.append("");
  error_.append("");
}

void JitLog::Buffer::append(std::string_view text) {
  if (data != nullptr && size != 0) {
    const size_t room = size - 1 - used;
    const size_t length = std::min(text.size(), room);
    std::memcpy(data + used, text.data(), length);
    used += length;
    data[used] = '\0';
  }
  if (filled != nullptr) *filled = reinterpret_cast<void*>(used);
}

void JitLog::describe(const Code& code) {
  if (!verbose_) return;
  for (const ptx::Kernel& kernel : code.kernels) {
    info_.append("info    : Function properties for '" + kernel.name +
                 "': " + std::to_string(kernel.registers) + " registers, " +
                 std::to_string(kernel.static_shared_bytes) + " bytes shared, " +
                 std::to_string(kernel.local_bytes) + " bytes local\n");
  }
}

}  // namespace vgpu::softgpu
