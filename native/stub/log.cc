#include "stub/log.h"

#include <unistd.h>

#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace vgpu::stub {
namespace {

constinit std::atomic<Level> threshold{Level::kWarning};

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

void read_log_level() {
  const char* text = std::getenv("VGPU_LOG");
  if (text == nullptr) return;
  static constexpr const char* kNames[] = {"debug", "info", "warning", "error"};
  for (uint8_t level = 0; level < 4; ++level) {
    if (std::strcmp(text, kNames[level]) == 0) threshold.store(static_cast<Level>(level));
  }
}

bool logs(Level level) { return level >= threshold.load(std::memory_order_relaxed); }

void log(Level level, const char* format, ...) {
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
