// What each kernel did, for the table at the end of the process (VGPU_SOFT_SUMMARY), and which
// kernels were skipped (VGPU_SOFT_SKIP_SASS).
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "softgpu/ptx/engine.h"

namespace vgpu::softgpu {

class Summary {
 public:
  void add(const std::string& kernel, uint64_t blocks, const ptx::RunStatistics& statistics,
           std::chrono::nanoseconds time);
  void add_skipped(const std::string& kernel);
  // Appends the table to a file, or writes it to the log when `path` is empty.
  void write(const std::string& path);

 private:
  struct Row {
    uint64_t launches = 0, skipped = 0, blocks = 0;
    ptx::RunStatistics statistics;
    std::chrono::nanoseconds time{0};
  };
  [[nodiscard]] std::string table();  // empty without kernels

  std::mutex mutex_;  // guards rows_
  std::map<std::string, Row> rows_;
};

}  // namespace vgpu::softgpu
