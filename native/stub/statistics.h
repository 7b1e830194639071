// Counters of this process, for `vgpu run --stats` and for tests.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "generated/opcode.h"

namespace vgpu::stub {

struct Counters {
  std::atomic<uint64_t> late_errors{0};
  std::atomic<uint64_t> unsupported_calls{0};
  std::atomic<uint64_t> local_synchronizes{0};  // answered without a round trip
  std::atomic<uint64_t> launches{0};
  std::array<std::atomic<uint64_t>, kCallCount> waits{};  // by row of kCalls: calls that waited
};
Counters& counters();

// Writes what VGPU_STATS asks for; called once, at exit.
void write_statistics();

}  // namespace vgpu::stub
