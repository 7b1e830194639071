// Which messages are wanted: VGPU_LOG, the same for every part.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string_view>

namespace vgpu {

enum class LogLevel : uint8_t { kDebug, kInfo, kWarning, kError };

// The lowest level that VGPU_LOG lets through: "debug", "info", "warning" (also for all that it
// does not know) or "error".
inline LogLevel wanted_log_level() {
  const char* text = std::getenv("VGPU_LOG");
  const std::string_view name = text == nullptr ? "" : text;
  if (name == "debug") return LogLevel::kDebug;
  if (name == "info") return LogLevel::kInfo;
  if (name == "error") return LogLevel::kError;
  return LogLevel::kWarning;
}

}  // namespace vgpu
