// Host functions in streams: not served yet (they need a reply that another thread waits for).
#include "generated/stub_api.h"
#include "stub/call.h"

namespace vgpu::stub::api {

CUresult cuLaunchHostFunc(CUstream, CUhostFn, void*) { return unsupported("cuLaunchHostFunc"); }
CUresult cuStreamAddCallback(CUstream, CUstreamCallback, void*, unsigned int) {
  return unsupported("cuStreamAddCallback");
}

}  // namespace vgpu::stub::api
