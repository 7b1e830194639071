// What graphs name of this process: functions that their nodes call, host memory that their copies
// read and write, memory that they allocate, user objects. Each has a number, a *host entry*; a
// thread of the stub does what the executor asks about them while graphs run (wire/calls.h).
#pragma once

#include <cuda.h>

#include <cstdint>
#include <optional>

#include "stub/allocation.h"
#include "stub/copy.h"

namespace vgpu::stub {

class Call;

struct HostEntry {
  CUhostFn function = nullptr;  // of a host node; the destructor of a user object
  void* user = nullptr;
  HostBox box;            // of a copy
  CUDA_MEMCPY3D given{};  // the copy as the program described it
  uint64_t address = 0;   // of memory that a graph allocates
  uint64_t object = 0;    // the id of a user object
};

// The number of a new entry.
uint64_t add_host_entry(const HostEntry& entry);
std::optional<HostEntry> find_host_entry(uint64_t id);
void forget_host_entry(uint64_t id);
// Of memory: its address is known once the allocation has been answered.
void set_host_entry_address(uint64_t id, uint64_t address);
// Sends the free of memory that a graph has. Whether it is there only the driver knows, and the
// next launch may bring it back.
CUresult free_graph_memory(Call& call, const Allocation& memory);

}  // namespace vgpu::stub
