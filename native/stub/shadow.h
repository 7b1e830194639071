// Mapped host memory without a common memory: a copy on the device, refreshed before launches and
// brought back at synchronization. At most 1 MiB in all (cuDNN maps a 4-byte word per handle).
#pragma once

#include <cuda.h>

#include <cstdint>

#include "stub/state.h"

namespace vgpu::stub {

// Makes the device copy of a host range.
CUresult make_shadow(Context& context, void* host, size_t size, uint64_t* address);
void drop_shadow(const void* host);

// Sends what the host changed; before work that may read it. Cheap when there is no shadow.
CUresult push_shadows(Stream* stream);

// Around a synchronize: the constructor appends the copies, landed() takes them over.
class ShadowPull {
 public:
  explicit ShadowPull(Stream* stream);
  void landed();

 private:
  bool appended_ = false;
};
// After the fact (an event has completed): waits for the copies, on a stream of its own.
void pull_shadows(Stream* stream);

}  // namespace vgpu::stub
