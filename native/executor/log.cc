#include "executor/log.h"

#include <unistd.h>

#include <cstdarg>
#include <cstdio>

namespace vgpu::executor {
namespace {

int log_descriptor = STDERR_FILENO;

}  // namespace

void set_log_descriptor(int descriptor) { log_descriptor = descriptor; }

bool log_enabled(LogLevel level) {
  static const LogLevel wanted = wanted_log_level();
  return level >= wanted;
}

void log(LogLevel level, const char* format, ...) {
  if (!log_enabled(level)) return;
  char line[2048];
  int at = std::snprintf(line, sizeof(line), "vgpu executor: [%d] ", getpid());
  va_list arguments;
  va_start(arguments, format);
  const int more = std::vsnprintf(line + at, sizeof(line) - at - 1, format, arguments);
  va_end(arguments);
  at += more < 0 ? 0 : more;
  if (at > static_cast<int>(sizeof(line)) - 2) at = sizeof(line) - 2;
  line[at++] = '\n';
  // One write, so that lines of several executors on one pipe do not mix.
  [[maybe_unused]] const auto written = write(log_descriptor, line, static_cast<size_t>(at));
}

}  // namespace vgpu::executor
