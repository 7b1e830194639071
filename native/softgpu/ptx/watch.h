// Optional checks of every access: reads of memory that nobody wrote, and shared memory that the
// threads of a block use without a barrier between.
//
// They cost nothing when off: with a Watch the quick paths of lanes/access.h never match (no range
// is cached, the quick size of shared memory is 0), so every access comes by resolve_slowly().
#pragma once

#include <cstdint>
#include <vector>

#include "softgpu/ptx/engine.h"
#include "softgpu/ptx/program.h"

namespace vgpu::softgpu::ptx {

struct Warp;

// What a block knows of its shared memory.
struct SharedWatch {
  struct Touch {
    const Instr* at = nullptr;
    uint32_t thread = 0;
    uint32_t epoch = 0;  // 0: never
  };
  struct Byte {
    Touch write;
    Touch reads[2];  // of two warps: a writer that is not the one is not the other
    bool written = false;
  };
  explicit SharedWatch(size_t size) : bytes(size) {}
  void restart();

  std::vector<Byte> bytes;
  uint32_t epoch = 1;  // grows with every barrier
};

// Of one grid. Thread-safe.
class Watch {
 public:
  explicit Watch(const Launch& launch) : launch_(launch) {}

  // A valid access: `offset` into shared memory.
  void shared(Warp& w, const Instr* in, int lane, uint64_t offset, uint32_t bytes, bool write);
  // A valid access to global memory.
  void global(Warp& w, const Instr* in, int lane, uint64_t address, uint32_t bytes, bool write);

 private:
  void report_race(Warp& w, const Instr* in, int lane, uint64_t offset, bool write,
                   const SharedWatch::Touch& before, bool before_wrote);

  const Launch& launch_;
};

}  // namespace vgpu::softgpu::ptx
