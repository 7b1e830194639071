#include "softgpu/driver/summary.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

#include "softgpu/driver/log.h"

namespace vgpu::softgpu {

void Summary::add(const std::string& kernel, uint64_t blocks, const ptx::RunStatistics& statistics,
                  std::chrono::nanoseconds time) {
  const std::lock_guard lock(mutex_);
  Row& row = rows_[kernel];
  ++row.launches;
  row.blocks += blocks;
  row.statistics.instructions += statistics.instructions;
  row.statistics.lane_operations += statistics.lane_operations;
  row.time += time;
}

void Summary::add_skipped(const std::string& kernel) {
  const std::lock_guard lock(mutex_);
  ++rows_[kernel].skipped;
}

// The longest first; then by count, then by name.
std::string Summary::table() {
  const std::lock_guard lock(mutex_);
  if (rows_.empty()) return {};
  std::vector<const std::pair<const std::string, Row>*> order;
  uint64_t launches = 0, skipped = 0;
  for (const auto& row : rows_) {
    order.push_back(&row);
    launches += row.second.launches;
    skipped += row.second.skipped;
  }
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return std::pair(a->second.time, a->second.skipped) >
           std::pair(b->second.time, b->second.skipped);
  });
  char line[256];
  std::snprintf(line, sizeof line,
                "process %d: kernels %zu, launches executed %llu, NOT executed %llu\n", getpid(),
                rows_.size(), static_cast<unsigned long long>(launches),
                static_cast<unsigned long long>(skipped));
  std::string text = line;
  std::snprintf(line, sizeof line, "%10s %10s %10s %14s %16s %10s  %s\n", "launches", "skipped",
                "blocks", "instructions", "lane operations", "seconds", "kernel");
  text += line;
  for (const auto* entry : order) {
    const Row& row = entry->second;
    std::snprintf(line, sizeof line, "%10llu %10llu %10llu %14llu %16llu %10.6f  ",
                  static_cast<unsigned long long>(row.launches),
                  static_cast<unsigned long long>(row.skipped),
                  static_cast<unsigned long long>(row.blocks),
                  static_cast<unsigned long long>(row.statistics.instructions),
                  static_cast<unsigned long long>(row.statistics.lane_operations),
                  std::chrono::duration<double>(row.time).count());
    text += line + entry->first + "\n";
  }
  return text;
}

void Summary::write(const std::string& path) {
  const std::string text = table();
  if (text.empty()) return;
  if (path.empty()) return report(text);
  // One write, so that the tables of several processes do not mix.
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  const auto size = static_cast<ssize_t>(text.size());
  if (file < 0 || ::write(file, text.data(), text.size()) != size) {
    log(LogLevel::kError, "VGPU_SOFT_SUMMARY=%s cannot be written: %s", path.c_str(),
        std::strerror(errno));
  }
  if (file >= 0) close(file);
}

}  // namespace vgpu::softgpu
