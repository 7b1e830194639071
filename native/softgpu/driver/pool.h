// Stream-ordered memory pools.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "softgpu/driver/device.h"
#include "softgpu/driver/memory.h"
#include "softgpu/driver/stream.h"

namespace vgpu::softgpu {

// A pool reserves device memory as it is asked for it, and keeps what is freed up to the release
// threshold. What a stream has freed can be given out again
//  * to the same stream at once: its work is in order;
//  * to all once the stream has got there (idle), where reuse policies allow;
//  * to a stream that then waits for the free, when the device has no memory left.
// Blocks are reused whole, by requests that need exactly their size.
struct Pool {
  explicit Pool(Device& device);

  struct Block {
    uint64_t address = 0, size = 0;
    uint64_t allocation = 0;  // id of what was freed
    uint64_t extent = 0;      // bytes that work before the free may still use
    std::shared_ptr<Stream> stream;
    Fence freed;        // reached: idle
    bool idle = false;  // nothing can use it any more
  };

  uint64_t id = 0;
  Device& device;
  std::mutex mutex;  // guards all below
  std::map<CUmemPool_attribute, uint64_t> settings;
  uint64_t maximum = 0;  // 0: the device's memory
  uint64_t used = 0, used_high = 0, reserved = 0, reserved_high = 0;
  std::list<Block> blocks;               // freed and kept
  std::shared_ptr<const Grants> grants;  // replaced as a whole

  [[nodiscard]] uint64_t setting(CUmemPool_attribute attribute) const;
  // Gives idle blocks back to the device while more than `keep` bytes are reserved. Requires mutex.
  void trim(uint64_t keep);
};

void make_default_pool(Device& device);
// Takes bytes from the device's budget, at the expense of what pools keep if there is no other way.
bool charge(Device& device, uint64_t bytes);
// Pool memory that was freed counts as unused from the call on.
void count_freed(const Allocation& allocation);
// Pool memory whose last user is done goes back to its pool.
void keep_freed(const Allocation& allocation);
// At a synchronization pools give back what they hold beyond their threshold.
void release_surplus(const Device& device);

}  // namespace vgpu::softgpu
