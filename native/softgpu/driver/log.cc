#include "softgpu/driver/log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace vgpu::softgpu {
namespace {

int log_descriptor() {
  static const int descriptor = [] {
    const char* text = std::getenv("VGPU_LOG_FD");
    const int number = text == nullptr ? 0 : std::atoi(text);
    return number > STDERR_FILENO && fcntl(number, F_GETFD) >= 0 ? number : STDERR_FILENO;
  }();
  return descriptor;
}

// One write per line, so that lines of several threads do not mix.
void write_line(const char* format, va_list arguments, bool for_the_program) {
  char text[4096];
  std::vsnprintf(text, sizeof text, format, arguments);
  const std::string line = std::string("vgpu softgpu: ") + text + "\n";
  [[maybe_unused]] auto written = write(log_descriptor(), line.data(), line.size());
  if (for_the_program && log_descriptor() != STDERR_FILENO) {
    written = write(STDERR_FILENO, line.data(), line.size());
  }
}

}  // namespace

bool log_enabled(LogLevel level) {
  static const LogLevel wanted = wanted_log_level();
  return level >= wanted;
}

void log(LogLevel level, const char* format, ...) {
  if (!log_enabled(level)) return;
  va_list arguments;
  va_start(arguments, format);
  write_line(format, arguments, level == LogLevel::kError);
  va_end(arguments);
}

void report(std::string_view lines) {
  std::string text;
  while (!lines.empty()) {
    const size_t end = lines.find('\n');
    text += "vgpu softgpu: " + std::string(lines.substr(0, end)) + "\n";
    lines.remove_prefix(end == std::string_view::npos ? lines.size() : end + 1);
  }
  [[maybe_unused]] const auto written = write(log_descriptor(), text.data(), text.size());
}

void announce(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  write_line(format, arguments, true);
  va_end(arguments);
}

}  // namespace vgpu::softgpu
