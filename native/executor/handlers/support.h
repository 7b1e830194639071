// What several areas' handlers share.
#pragma once

#include <cuda.h>

#include <vector>

#include "executor/session.h"
#include "wire/calls.h"

namespace vgpu::executor::handlers {

// A copy's two sides for the driver, host sides left open (copy.cc). False when a side is of no
// kind.
bool describe_copy(Session& session, const wire::Copy3d& from, CUDA_MEMCPY3D& to);

// A kernel launch as it travels (launch.cc). Parameters are passed on packed.
class LaunchRequest {
 public:
  enum class Form : uint8_t { kPlain, kExtended, kNoParameters };
  // Reads the whole record; false when it is malformed or names what is not there.
  bool read(Session& session, const Command& command, wire::Reader& in, Form form);
  bool read_header(Session& session, wire::Reader& in);
  bool read_parameters(wire::Reader& in);

  CUfunction function = nullptr;
  CUlaunchConfig config{};
  void** extra() { return extra_; }

 private:
  bool read_attributes(Session& session, wire::Reader& in);
  std::vector<CUlaunchAttribute> attributes_;
  size_t parameter_bytes_ = 0;
  void* extra_[5] = {};
};

// A location of the client's for the driver; nullopt for kinds that are not served.
bool map_location(Session& session, uint32_t type, int32_t ordinal, CUmemLocation& location);

// The client's ordinal of a device of the driver; -1 when it does not have it.
int32_t worker_ordinal(Session& session, int device);

// The program frees memory of a graph, by `free`. Answers with a u32: 1 when it is gone for good, 0
// when a launch may bring it back.
template <typename Free>
CUresult free_graph_memory(Session& session, uint64_t address, uint64_t entry, wire::Writer& out,
                           Free&& free) {
  const uint64_t launches = session.allocations().graph_launches();
  const CUresult result = free();
  if (result == CUDA_SUCCESS) {
    const bool gone = session.allocations().graph_memory_freed(address, entry, launches);
    out.put(static_cast<uint32_t>(gone));
  }
  return result;
}

// u32 n, [u32 location type, i32 ordinal, u32 flags]*n
bool read_access(Session& session, wire::Reader& in, std::vector<CUmemAccessDesc>& access);

}  // namespace vgpu::executor::handlers
