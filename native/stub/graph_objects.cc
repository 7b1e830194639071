// What graphs hold beside nodes: user objects, conditional handles, memory of their own; and graphs
// as text.
#include <cstdio>

#include "generated/stub_api.h"
#include "stub/call.h"
#include "stub/graph_host.h"
#include "stub/graph_params.h"
#include "stub/process.h"

namespace vgpu::stub::api {

CUresult cuUserObjectCreate(CUuserObject* object_out, void* ptr, CUhostFn destroy,
                            unsigned int initialRefcount, unsigned int flags) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  if (object_out == nullptr || destroy == nullptr || initialRefcount == 0 ||
      flags != CU_USER_OBJECT_NO_DESTRUCTOR_SYNC) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  Call call(Opcode::cuUserObjectCreate);
  const uint64_t id = call.create(HandleKind::kUserObject);
  if (!call.ok()) return call.result();
  const uint64_t entry = add_host_entry({.function = destroy, .user = ptr, .object = id});
  call.put(id);
  call.put(entry);
  call.put(initialRefcount);
  const CUresult result = call.wait();
  if (result == CUDA_SUCCESS) {
    *object_out = as_handle<CUuserObject>(id);
  } else {
    forget_host_entry(entry);
  }
  return result;
}

namespace {

CUresult count_references(Opcode opcode, CUuserObject object, unsigned count) {
  Call call(opcode);
  if (!call.ok()) return call.result();
  if (count == 0 || process()->user_objects.find(object) == nullptr) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  call.put(as_id(object));
  call.put(count);
  return call.wait();
}

}  // namespace

CUresult cuUserObjectRetain(CUuserObject object, unsigned int count) {
  return count_references(Opcode::cuUserObjectRetain, object, count);
}
CUresult cuUserObjectRelease(CUuserObject object, unsigned int count) {
  return count_references(Opcode::cuUserObjectRelease, object, count);
}

CUresult cuGraphRetainUserObject(CUgraph graph, CUuserObject object, unsigned int count,
                                 unsigned int flags) {
  Call call(Opcode::cuGraphRetainUserObject);
  if (!call.ok()) return call.result();
  if (count == 0 || process()->user_objects.find(object) == nullptr) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  call.put(call.handle(HandleKind::kGraph, graph));
  call.put(as_id(object));
  call.put(count);
  call.put(flags);
  return call.wait();
}
CUresult cuGraphReleaseUserObject(CUgraph graph, CUuserObject object, unsigned int count) {
  Call call(Opcode::cuGraphReleaseUserObject);
  if (!call.ok()) return call.result();
  if (count == 0 || process()->user_objects.find(object) == nullptr) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  call.put(call.handle(HandleKind::kGraph, graph));
  call.put(as_id(object));
  call.put(count);
  return call.wait();
}

CUresult cuGraphConditionalHandleCreate(CUgraphConditionalHandle* pHandle_out, CUgraph hGraph,
                                        CUcontext ctx, unsigned int defaultLaunchValue,
                                        unsigned int flags) {
  Call call(Opcode::cuGraphConditionalHandleCreate);
  if (!call.ok()) return call.result();
  const uint64_t context = context_id(ctx);
  if (pHandle_out == nullptr || context == 0) return CUDA_ERROR_INVALID_VALUE;
  call.put(call.handle(HandleKind::kGraph, hGraph));
  call.put(context);
  call.put(defaultLaunchValue);
  call.put(flags);
  const CUresult result = call.wait();
  if (result == CUDA_SUCCESS) *pHandle_out = call.get<uint64_t>();
  return result;
}

CUresult cuDeviceGetGraphMemAttribute(CUdevice device, CUgraphMem_attribute attr, void* value) {
  Call call(Opcode::cuDeviceGetGraphMemAttribute);
  if (!call.ok()) return call.result();
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  call.put(call.device(device));
  call.put(static_cast<uint32_t>(attr));
  const CUresult result = call.wait();
  if (result == CUDA_SUCCESS) *static_cast<cuuint64_t*>(value) = call.get<uint64_t>();
  return result;
}
CUresult cuDeviceSetGraphMemAttribute(CUdevice device, CUgraphMem_attribute attr, void* value) {
  Call call(Opcode::cuDeviceSetGraphMemAttribute);
  if (!call.ok()) return call.result();
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  call.put(call.device(device));
  call.put(static_cast<uint32_t>(attr));
  call.put(static_cast<uint64_t>(*static_cast<const cuuint64_t*>(value)));
  return call.wait();
}

CUresult cuGraphDebugDotPrint(CUgraph hGraph, const char* path, unsigned int flags) {
  Call call(Opcode::cuGraphDebugDotPrint);
  if (!call.ok()) return call.result();
  if (path == nullptr) return CUDA_ERROR_INVALID_VALUE;
  call.put(call.handle(HandleKind::kGraph, hGraph));
  call.put(flags);
  if (const CUresult result = call.wait(); result != CUDA_SUCCESS) return result;
  const auto text = call.reply().text();
  std::FILE* file = std::fopen(path, "w");
  if (file == nullptr) return CUDA_ERROR_OPERATING_SYSTEM;
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  return std::fclose(file) == 0 && written ? CUDA_SUCCESS : CUDA_ERROR_OPERATING_SYSTEM;
}

}  // namespace vgpu::stub::api
