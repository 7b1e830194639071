// Options of loads and links: those of the client that carry a plain value, and log buffers of
// ours.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "wire/reader.h"
#include "wire/writer.h"

namespace vgpu::executor {

class JitOptions {
 public:
  static constexpr uint32_t kMost = 64;
  static constexpr uint32_t kMostLog = 1u << 20;
  static constexpr uint32_t kOwnErrorLog = 8192;  // for the client's log when it asked for none

  // Reads `count` pairs of option and value; a value that would be a pointer makes the reader fail.
  void read(wire::Reader& in, uint32_t count) {
    if (count > kMost) {
      in.fail();
      return;
    }
    for (uint32_t i = 0; i < count; ++i) {
      const auto option = in.get<uint32_t>();
      const auto value = in.get<uint64_t>();
      if (!plain(option)) {
        in.fail();
        return;
      }
      add(static_cast<CUjit_option>(option), reinterpret_cast<void*>(value));
    }
  }
  void be_verbose() { add(CU_JIT_LOG_VERBOSE, reinterpret_cast<void*>(uintptr_t{1})); }
  // Call once, after read(): the buffers do not move afterwards.
  void add_logs(uint32_t info_bytes, uint32_t error_bytes) {
    info_.resize(info_bytes < kMostLog ? info_bytes : kMostLog);
    error_.resize(error_bytes == 0 ? kOwnErrorLog
                                   : (error_bytes < kMostLog ? error_bytes : kMostLog));
    if (!info_.empty()) {
      add(CU_JIT_INFO_LOG_BUFFER, info_.data());
      add(CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES, reinterpret_cast<void*>(info_.size()));
    }
    add(CU_JIT_ERROR_LOG_BUFFER, error_.data());
    add(CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES, reinterpret_cast<void*>(error_.size()));
  }
  void put_logs(wire::Writer& out) const {
    out.text(text(info_));
    out.text(text(error_));
  }

  [[nodiscard]] unsigned count() const { return static_cast<unsigned>(names_.size()); }
  CUjit_option* names() { return names_.data(); }
  void** values() { return values_.data(); }

 private:
  static bool plain(uint32_t option) {
    switch (option) {
      case CU_JIT_MAX_REGISTERS:
      case CU_JIT_THREADS_PER_BLOCK:
      case CU_JIT_OPTIMIZATION_LEVEL:
      case CU_JIT_TARGET_FROM_CUCONTEXT:
      case CU_JIT_TARGET:
      case CU_JIT_FALLBACK_STRATEGY:
      case CU_JIT_GENERATE_DEBUG_INFO:
      case CU_JIT_LOG_VERBOSE:
      case CU_JIT_GENERATE_LINE_INFO:
      case CU_JIT_CACHE_MODE:
      case CU_JIT_FAST_COMPILE:
      case CU_JIT_POSITION_INDEPENDENT_CODE:
      case CU_JIT_MIN_CTA_PER_SM:
      case CU_JIT_MAX_THREADS_PER_BLOCK:
      case CU_JIT_OVERRIDE_DIRECTIVE_VALUES:
        return true;
      default:
        return option >= 20 &&
               option <= 23;  // the retired LTO, FTZ, PREC_DIV/SQRT and FMA switches
    }
  }
  void add(CUjit_option name, void* value) {
    names_.push_back(name);
    values_.push_back(value);
  }
  static std::string_view text(const std::vector<char>& buffer) {
    return {buffer.data(), buffer.empty() ? 0 : strnlen(buffer.data(), buffer.size())};
  }

  std::vector<CUjit_option> names_;
  std::vector<void*> values_;
  std::vector<char> info_;
  std::vector<char> error_;
};

}  // namespace vgpu::executor
