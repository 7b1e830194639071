// The log buffers among the JIT options of a load or a link.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <string_view>

#include "softgpu/driver/module.h"

namespace vgpu::softgpu {

// Refers to the caller's buffers and to the array of option values, where CUDA reports how many
// bytes a log got: both stay valid until the load returns, or until the link job is destroyed.
class JitLog {
 public:
  JitLog() = default;
  JitLog(unsigned count, const CUjit_option* options, void** values);

  void error(std::string_view text) { error_.append(text); }
  // What was compiled; only when CU_JIT_LOG_VERBOSE asks for it.
  void describe(const Code& code);

 private:
  struct Buffer {
    char* data = nullptr;
    size_t size = 0, used = 0;
    void** filled = nullptr;
    void append(std::string_view text);
  };
  Buffer info_, error_;
  bool verbose_ = false;
};

}  // namespace vgpu::softgpu
