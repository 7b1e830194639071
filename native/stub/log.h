// What the stub says to the user: on stderr, one line each, prefixed "vgpu stub:".
#pragma once

#include "support/log_level.h"

namespace vgpu::stub {

// Reads VGPU_LOG; called once, from cuInit.
void read_log_level();
[[nodiscard]] bool logs(LogLevel level);

[[gnu::format(printf, 2, 3)]] void log(LogLevel level, const char* format, ...);
// Printed whatever VGPU_LOG says: for what ends the program's use of CUDA.
[[gnu::format(printf, 1, 2)]] void message(const char* format, ...);

}  // namespace vgpu::stub
