// What graphs hold beside nodes: user objects, conditional handles, memory of their own.
#include "executor/handlers/host_side.h"
#include "executor/handlers/support.h"
#include "generated/executor_api.h"

namespace vgpu::executor::handlers {

// The destructor runs in the client.
CUresult cuUserObjectCreate(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  HostEntry wanted;
  wanted.kind = HostEntry::Kind::kObject;
  wanted.object = in.get<uint64_t>();
  wanted.id = in.get<uint64_t>();
  const auto count = in.get<uint32_t>();
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  const auto call = session.driver().cuUserObjectCreate;
  if (call == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  const uint64_t id = wanted.object;
  const auto entry = session.host_calls().add(std::move(wanted));
  if (entry == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const auto destroy = [](void* one) {
    const auto* entry = static_cast<HostEntry*>(one);
    entry->calls->drop(entry->id, wire::HostAction::kDestroyObject);
  };
  CUuserObject object = nullptr;
  const CUresult result =
      call(&object, entry.get(), destroy, count, CU_USER_OBJECT_NO_DESTRUCTOR_SYNC);
  if (result != CUDA_SUCCESS) {
    session.host_calls().discard(entry->id);
    return result;
  }
  return session.bind(id, object) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

namespace {

template <typename Call>
CUresult count_references(Session& session, wire::Reader& in, Call call) {
  const auto object = session.resolve<CUuserObject>(in.get<uint64_t>());
  const auto count = in.get<uint32_t>();
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  return call == nullptr ? CUDA_ERROR_NOT_SUPPORTED : call(object, count);
}

}  // namespace

CUresult cuUserObjectRetain(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  return count_references(session, in, session.driver().cuUserObjectRetain);
}
CUresult cuUserObjectRelease(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  return count_references(session, in, session.driver().cuUserObjectRelease);
}

CUresult cuGraphRetainUserObject(Session& session, const Command&, wire::Reader& in,
                                 wire::Writer&) {
  const auto graph = session.resolve<CUgraph>(in.get<uint64_t>());
  const auto object = session.resolve<CUuserObject>(in.get<uint64_t>());
  const auto count = in.get<uint32_t>();
  const auto flags = in.get<uint32_t>();
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  const auto call = session.driver().cuGraphRetainUserObject;
  return call == nullptr ? CUDA_ERROR_NOT_SUPPORTED : call(graph, object, count, flags);
}

CUresult cuGraphReleaseUserObject(Session& session, const Command&, wire::Reader& in,
                                  wire::Writer&) {
  const auto graph = session.resolve<CUgraph>(in.get<uint64_t>());
  const auto object = session.resolve<CUuserObject>(in.get<uint64_t>());
  const auto count = in.get<uint32_t>();
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  const auto call = session.driver().cuGraphReleaseUserObject;
  return call == nullptr ? CUDA_ERROR_NOT_SUPPORTED : call(graph, object, count);
}

CUresult cuGraphConditionalHandleCreate(Session& session, const Command&, wire::Reader& in,
                                        wire::Writer& out) {
  const auto graph = session.resolve<CUgraph>(in.get<uint64_t>());
  const auto context = session.resolve<CUcontext>(in.get<uint64_t>());
  const auto initial = in.get<uint32_t>();
  const auto flags = in.get<uint32_t>();
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  const auto call = session.driver().cuGraphConditionalHandleCreate;
  if (call == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  CUgraphConditionalHandle handle = 0;
  const CUresult result = call(&handle, graph, context, initial, flags);
  out.put(static_cast<uint64_t>(handle));
  return result;
}

// A copy node that is switched off must not touch the client's memory.
CUresult cuGraphNodeSetEnabled(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto exec_id = in.get<uint64_t>();
  const auto exec = session.resolve<CUgraphExec>(exec_id);
  const auto node = session.resolve<CUgraphNode>(in.get<uint64_t>());
  const auto enabled = in.get<uint32_t>();
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  const auto call = session.driver().cuGraphNodeSetEnabled;
  if (call == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  const CUresult result = call(exec, node, enabled);
  const auto plan = session.host_plan(exec_id);
  if (result == CUDA_SUCCESS && plan != nullptr) {
    session.set_host_plan(exec_id, with_enabled(*plan, node, enabled != 0));
  }
  return result;
}

CUresult cuDeviceGetGraphMemAttribute(Session& session, const Command&, wire::Reader& in,
                                      wire::Writer& out) {
  const CUdevice device = session.device(in.get<uint32_t>());
  const auto attribute = static_cast<CUgraphMem_attribute>(in.get<uint32_t>());
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_DEVICE;
  const auto call = session.driver().cuDeviceGetGraphMemAttribute;
  if (call == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  cuuint64_t value = 0;
  const CUresult result = call(device, attribute, &value);
  out.put(static_cast<uint64_t>(value));
  return result;
}

CUresult cuDeviceSetGraphMemAttribute(Session& session, const Command&, wire::Reader& in,
                                      wire::Writer&) {
  const CUdevice device = session.device(in.get<uint32_t>());
  const auto attribute = static_cast<CUgraphMem_attribute>(in.get<uint32_t>());
  cuuint64_t value = in.get<uint64_t>();
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_DEVICE;
  const auto call = session.driver().cuDeviceSetGraphMemAttribute;
  return call == nullptr ? CUDA_ERROR_NOT_SUPPORTED : call(device, attribute, &value);
}

}  // namespace vgpu::executor::handlers
