// What modules and libraries have in common: sending an image, and what is known of its functions.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "generated/opcode.h"
#include "stub/call.h"
#include "stub/state.h"

namespace vgpu::stub {

// The JIT options of a load or link call, and where its logs and results go.
class JitOptions {
 public:
  // CUDA_ERROR_NOT_SUPPORTED for options that would change what the code does and cannot be passed
  // on.
  CUresult read(unsigned count, const CUjit_option* options, void** values);
  void put_counts(Call& call) const;  // u32 options, u32 info_bytes, u32 error_bytes
  void put_values(Call& call) const;
  // Takes the two logs out of a reply; the error log of a failure is logged, too.
  void take_logs(Call& call, CUresult result, const char* what) const;

  [[nodiscard]] uint32_t count() const { return static_cast<uint32_t>(values_.size()); }
  [[nodiscard]] uint32_t info_bytes() const { return static_cast<uint32_t>(info_.size); }
  [[nodiscard]] uint32_t error_bytes() const { return static_cast<uint32_t>(error_.size); }
  [[nodiscard]] bool verbose() const { return verbose_; }

 private:
  struct Log {
    char* buffer = nullptr;
    uint64_t size = 0;
    void** filled = nullptr;  // the option's value slot: becomes the number of bytes written
    void store(std::string_view text) const;
  };
  std::vector<std::pair<uint32_t, uint64_t>> values_;
  Log info_;
  Log error_;
  bool verbose_ = false;
};

// Sends the part of the image that the device would choose, and waits for the load.
CUresult load_code(Opcode opcode, Context* context, uint64_t id, const void* image,
                   const JitOptions& options);
// The same for the bytes of a file.
CUresult load_file(const char* name, std::vector<char>& bytes);

// Finds a function by name: from the cache, else from the executor.
CUresult find_function(Module& module, const char* name, bool kernel, uint64_t* id);
// All functions, in the order of the image.
CUresult enumerate(Module& module, bool kernels);
CUresult find_global(Module& module, const char* name, bool library, Global* global);
// Forgets the functions and globals of an unloaded module.
void forget_code(Module& module, bool kernels);

}  // namespace vgpu::stub
