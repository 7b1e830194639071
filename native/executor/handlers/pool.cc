// Stream-ordered memory. An allocation counts from its call to the call that frees it, whatever
// becomes of the context; what a pool keeps for later is the driver's.
#include "executor/handlers/host_side.h"
#include "executor/handlers/support.h"
#include "generated/executor_api.h"

namespace vgpu::executor::handlers {
namespace {

// `entry`: under capture, the client's number for the memory of the graph.
template <typename Allocate>
CUresult allocate(Session& session, const Command& command, uint64_t size, uint64_t entry,
                  wire::Writer& out, Allocate&& call) {
  const ContextState* context = session.context();
  if (size == 0) return CUDA_ERROR_INVALID_VALUE;
  if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  const uint32_t ordinal = context->ordinal;
  CUdeviceptr address = 0;
  CUresult result = CUDA_ERROR_OUT_OF_MEMORY;
  if (session.allocations().reserve(ordinal, size)) {
    result = call(&address);
    if (result != CUDA_SUCCESS) session.allocations().cancel(ordinal, size);
  }
  // Frees that the client has asked for may still be under way.
  if (result == CUDA_ERROR_OUT_OF_MEMORY && session.retry_in_order(command)) return kDeferred;
  if (result == CUDA_SUCCESS && entry != 0) {
    session.allocations().add(address, size, ordinal, 0, entry);
    const auto made = make_memory_entry(session, entry, address);
    if (made == nullptr) return CUDA_ERROR_INVALID_VALUE;
    session.give_to_graph(captured_graph(session, command), *made);
  } else if (result == CUDA_SUCCESS) {
    session.allocations().add(address, size, ordinal, 0);
  }
  out.put(static_cast<uint64_t>(address));
  return result;
}

// Of a capture: 0 outside one.
uint64_t read_entry(Session& session, const Command& command, wire::Reader& in) {
  return session.capturing(command) ? in.get<uint64_t>() : 0;
}

bool is_int(CUmemPool_attribute attribute) {
  return attribute == CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES ||
         attribute == CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC ||
         attribute == CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES;
}

}  // namespace

CUresult cuMemAllocAsync(Session& session, const Command& command, wire::Reader& in,
                         wire::Writer& out) {
  const auto size = in.get<uint64_t>();
  const CUstream stream = session.stream(command.header.stream);
  const uint64_t entry = read_entry(session, command, in);
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  const auto call = session.driver().cuMemAllocAsync;
  if (call == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  return allocate(session, command, size, entry, out,
                  [&](CUdeviceptr* address) { return call(address, size, stream); });
}

CUresult cuMemAllocFromPoolAsync(Session& session, const Command& command, wire::Reader& in,
                                 wire::Writer& out) {
  const auto size = in.get<uint64_t>();
  const auto pool = session.resolve<CUmemoryPool>(in.get<uint64_t>());
  const CUstream stream = session.stream(command.header.stream);
  const uint64_t entry = read_entry(session, command, in);
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  const auto call = session.driver().cuMemAllocFromPoolAsync;
  if (call == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  return allocate(session, command, size, entry, out,
                  [&](CUdeviceptr* address) { return call(address, size, pool, stream); });
}

CUresult cuMemFreeAsync(Session& session, const Command& command, wire::Reader& in,
                        wire::Writer& out) {
  const auto address = in.get<uint64_t>();
  const CUstream stream = session.stream(command.header.stream);
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (session.driver().cuMemFreeAsync == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  if (const auto known = session.allocations().find(address); known && known->graph_entry != 0) {
    const auto call = [&] { return session.driver().cuMemFreeAsync(address, stream); };
    // Under capture it makes a node, which frees nothing yet.
    if (session.capturing(command)) return call();
    return free_graph_memory(session, address, known->graph_entry, out, call);
  }
  const auto allocation = in.ok() ? session.allocations().take(address) : std::nullopt;
  if (!allocation) return CUDA_ERROR_INVALID_VALUE;
  const CUresult result = session.driver().cuMemFreeAsync(address, stream);
  if (result == CUDA_SUCCESS) {
    session.allocations().give_back(*allocation);
  } else {
    session.allocations().restore(address, *allocation);
  }
  return result;
}

CUresult cuMemPoolCreate(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto id = in.get<uint64_t>();
  const auto wanted = in.get<wire::MemPoolProps>();
  CUmemPoolProps props{};
  props.allocType = static_cast<CUmemAllocationType>(wanted.alloc_type);
  props.handleTypes = static_cast<CUmemAllocationHandleType>(wanted.handle_types);
  props.maxSize = wanted.max_size;
  props.usage = static_cast<unsigned short>(wanted.usage);
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (!map_location(session, wanted.location_type, wanted.location_id, props.location) ||
      wanted.handle_types != 0 || session.driver().cuMemPoolCreate == nullptr) {
    return CUDA_ERROR_NOT_SUPPORTED;
  }
  if (Session::failed()) return CUDA_ERROR_INVALID_DEVICE;
  CUmemoryPool pool = nullptr;
  const CUresult result = session.driver().cuMemPoolCreate(&pool, &props);
  if (result == CUDA_SUCCESS && !session.bind(id, pool)) return CUDA_ERROR_INVALID_VALUE;
  return result;
}

CUresult cuMemPoolSetAttribute(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto pool = session.resolve<CUmemoryPool>(in.get<uint64_t>());
  const auto attribute = static_cast<CUmemPool_attribute>(in.get<uint32_t>());
  auto value = in.get<uint64_t>();
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (session.driver().cuMemPoolSetAttribute == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  int narrow = static_cast<int>(value);
  void* at = is_int(attribute) ? static_cast<void*>(&narrow) : &value;
  return session.driver().cuMemPoolSetAttribute(pool, attribute, at);
}

CUresult cuMemPoolGetAttribute(Session& session, const Command&, wire::Reader& in,
                               wire::Writer& out) {
  const auto pool = session.resolve<CUmemoryPool>(in.get<uint64_t>());
  const auto attribute = static_cast<CUmemPool_attribute>(in.get<uint32_t>());
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (session.driver().cuMemPoolGetAttribute == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  int narrow = 0;
  uint64_t value = 0;
  void* at = is_int(attribute) ? static_cast<void*>(&narrow) : &value;
  const CUresult result = session.driver().cuMemPoolGetAttribute(pool, attribute, at);
  out.put(is_int(attribute) ? static_cast<uint64_t>(narrow) : value);
  return result;
}

CUresult cuMemPoolSetAccess(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto pool = session.resolve<CUmemoryPool>(in.get<uint64_t>());
  std::vector<CUmemAccessDesc> access;
  if (!read_access(session, in, access)) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (session.driver().cuMemPoolSetAccess == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  return session.driver().cuMemPoolSetAccess(pool, access.data(), access.size());
}

CUresult cuMemPoolGetAccess(Session& session, const Command&, wire::Reader& in, wire::Writer& out) {
  const auto pool = session.resolve<CUmemoryPool>(in.get<uint64_t>());
  const auto type = in.get<uint32_t>();
  const auto ordinal = in.get<int32_t>();
  CUmemLocation location{};
  if (!in.ok() || !map_location(session, type, ordinal, location)) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (session.driver().cuMemPoolGetAccess == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  CUmemAccess_flags flags = CU_MEM_ACCESS_FLAGS_PROT_NONE;
  const CUresult result = session.driver().cuMemPoolGetAccess(&flags, pool, &location);
  out.put(static_cast<uint32_t>(flags));
  return result;
}

CUresult cuDeviceSetMemPool(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const CUdevice device = session.device(in.get<uint32_t>());
  const auto pool = session.resolve<CUmemoryPool>(in.get<uint64_t>());
  if (!in.ok() || Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (session.driver().cuDeviceSetMemPool == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  return session.driver().cuDeviceSetMemPool(device, pool);
}

}  // namespace vgpu::executor::handlers
