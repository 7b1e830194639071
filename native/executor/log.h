// One line per event on standard error: "vgpu executor: [pid] text". VGPU_LOG says from which level
// on.
#pragma once

#include "support/log_level.h"

namespace vgpu::executor {

// Where the lines go instead of standard error.
void set_log_descriptor(int descriptor);
bool log_enabled(LogLevel level);
[[gnu::format(printf, 2, 3)]] void log(LogLevel level, const char* format, ...);

}  // namespace vgpu::executor
