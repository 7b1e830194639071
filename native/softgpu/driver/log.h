// Messages of the software GPU: stderr, prefix "vgpu softgpu:", level by VGPU_LOG.
#pragma once

namespace vgpu::softgpu {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

bool log_enabled(LogLevel level);
[[gnu::format(printf, 2, 3)]] void log(LogLevel level, const char* format, ...);

}  // namespace vgpu::softgpu
