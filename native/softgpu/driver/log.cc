#include "softgpu/driver/log.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace vgpu::softgpu {
namespace {

LogLevel threshold() {
  static const LogLevel level = [] {
    const char* text = std::getenv("VGPU_LOG");
    const std::string_view name = text == nullptr ? "" : text;
    if (name == "debug") return LogLevel::kDebug;
    if (name == "info") return LogLevel::kInfo;
    if (name == "error") return LogLevel::kError;
    return LogLevel::kWarning;
  }();
  return level;
}

}  // namespace

bool log_enabled(LogLevel level) { return level >= threshold(); }

void log(LogLevel level, const char* format, ...) {
  if (!log_enabled(level)) return;
  va_list arguments;
  va_start(arguments, format);
  char text[4096];
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  // One write per message, so that lines of several threads do not mix.
  const std::string line = std::string("vgpu softgpu: ") + text + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace vgpu::softgpu
