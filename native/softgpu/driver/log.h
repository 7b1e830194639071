// Messages of the software GPU: stderr, prefix "vgpu softgpu:", level by VGPU_LOG.
//
// An executor keeps its standard error for its client and names its log by VGPU_LOG_FD: lines go
// there, and errors of the program's own code to both.
#pragma once

#include <string_view>

#include "support/log_level.h"

namespace vgpu::softgpu {

bool log_enabled(LogLevel level);
// Lines of a table at the end of the process: to the log, whatever the level.
void report(std::string_view lines);
// Always printed, to both.
[[gnu::format(printf, 1, 2)]] void announce(const char* format, ...);
[[gnu::format(printf, 2, 3)]] void log(LogLevel level, const char* format, ...);

}  // namespace vgpu::softgpu
