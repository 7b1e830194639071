// A code image as it travels, put back into the form that the driver's load calls take.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "executor/jit_options.h"
#include "executor/session.h"

namespace vgpu::executor::handlers {

class ImageParts {
 public:
  // Reads what follows the id: LoadImage, sizes, options, bytes. False when malformed.
  bool read(Session& session, wire::Reader& in, uint64_t transfer);
  [[nodiscard]] const void* image() const { return image_; }
  JitOptions& options() { return options_; }

 private:
  bool arrange(uint32_t kind, const std::vector<uint64_t>& sizes, std::span<const std::byte> bytes);

  // The fat binary wrapper: what the compiler puts around fat binaries, and the only form in which
  // several of them can be passed as one module.
  struct Wrapper {
    uint32_t magic = 0x466243b1;
    uint32_t version = 1;
    const void* data = nullptr;
    const void* extra = nullptr;
  };

  JitOptions options_;
  std::vector<uint64_t> aligned_;       // the bytes, each part at a multiple of 8
  std::vector<const void*> prelinked_;  // parts after the first, then null
  Wrapper wrapper_;
  const void* image_ = nullptr;
};

}  // namespace vgpu::executor::handlers
