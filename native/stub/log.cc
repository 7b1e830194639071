#include "stub/log.h"

#include <unistd.h>

#include <atomic>
#include <cstdarg>
#include <cstdio>

namespace vgpu::stub {
namespace {

constinit std::atomic<LogLevel> threshold{LogLevel::kWarning};

// One write(2) per line, so that lines of several threads and processes do not mix.
void print(const char* format, va_list arguments) {
  char line[2048];
  int at = std::snprintf(line, sizeof line, "vgpu stub: ");
  const int text = std::vsnprintf(line + at, sizeof line - at - 1, format, arguments);
  at += text < 0 ? 0 : text;
  if (at > static_cast<int>(sizeof line) - 2) at = sizeof line - 2;
  line[at++] = '\n';
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line, at);
}

}  // namespace

void read_log_level() { threshold.store(wanted_log_level()); }

bool logs(LogLevel level) { return level >= threshold.load(std::memory_order_relaxed); }

void log(LogLevel level, const char* format, ...) {
  if (!logs(level)) return;
  va_list arguments;
  va_start(arguments, format);
  print(format, arguments);
  va_end(arguments);
}

void message(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  print(format, arguments);
  va_end(arguments);
}

}  // namespace vgpu::stub
