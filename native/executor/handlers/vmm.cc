// Virtual memory management: addresses reserved, physical memory made and mapped, in single steps.
#include "executor/handlers/support.h"
#include "generated/executor_api.h"

namespace vgpu::executor::handlers {
namespace {

// False for what is not served: exportable memory, and locations other than a device.
bool read_properties(Session& session, wire::Reader& in, CUmemAllocationProp& prop) {
  const auto wanted = in.get<wire::MemAllocationProps>();
  prop = {};
  prop.type = static_cast<CUmemAllocationType>(wanted.type);
  prop.allocFlags.compressionType = wanted.compression;
  prop.allocFlags.usage = wanted.usage;
  return in.ok() && wanted.requested_handle_types == 0 && wanted.gpu_direct_rdma == 0 &&
         map_location(session, wanted.location_type, wanted.location_id, prop.location);
}

}  // namespace

CUresult cuMemAddressReserve(Session& session, const Command&, wire::Reader& in,
                             wire::Writer& out) {
  const auto size = in.get<uint64_t>();
  const auto alignment = in.get<uint64_t>();
  const auto hint = in.get<uint64_t>();
  const auto flags = in.get<uint64_t>();
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (session.driver().cuMemAddressReserve == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  CUdeviceptr address = 0;
  const CUresult result =
      session.driver().cuMemAddressReserve(&address, size, alignment, hint, flags);
  out.put(static_cast<uint64_t>(address));
  return result;
}

CUresult cuMemAddressFree(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto address = in.get<uint64_t>();
  const auto size = in.get<uint64_t>();
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (session.driver().cuMemAddressFree == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  return session.driver().cuMemAddressFree(address, size);
}

CUresult cuMemCreate(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto id = in.get<uint64_t>();
  const auto size = in.get<uint64_t>();
  CUmemAllocationProp prop{};
  const wire::Reader before = in;
  const bool served = read_properties(session, in, prop);
  const auto flags = in.get<uint64_t>();
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (!served || session.driver().cuMemCreate == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  if (Session::failed()) return CUDA_ERROR_INVALID_DEVICE;
  wire::Reader again = before;
  const auto ordinal = static_cast<uint32_t>(again.get<wire::MemAllocationProps>().location_id);
  if (!session.allocations().reserve(ordinal, size)) return CUDA_ERROR_OUT_OF_MEMORY;
  CUmemGenericAllocationHandle handle = 0;
  const CUresult result = session.driver().cuMemCreate(&handle, size, &prop, flags);
  if (result != CUDA_SUCCESS || !session.bind_allocation(id, handle)) {
    session.allocations().cancel(ordinal, size);
    return result != CUDA_SUCCESS ? result : CUDA_ERROR_INVALID_VALUE;
  }
  session.allocations().add(id, size, ordinal, 0);
  return CUDA_SUCCESS;
}

CUresult cuMemRelease(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto id = in.get<uint64_t>();
  const auto handle = session.allocation(id);
  if (!in.ok() || Session::failed()) return CUDA_ERROR_INVALID_VALUE;
  session.forget(id);
  const CUresult result = session.driver().cuMemRelease(handle);
  session.mapped().release(id);
  return result;
}

CUresult cuMemMap(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto address = in.get<uint64_t>();
  const auto size = in.get<uint64_t>();
  const auto offset = in.get<uint64_t>();
  const auto id = in.get<uint64_t>();
  const auto flags = in.get<uint64_t>();
  const auto handle = session.allocation(id);
  if (!in.ok() || Session::failed()) return CUDA_ERROR_INVALID_VALUE;
  const CUresult result = session.driver().cuMemMap(address, size, offset, handle, flags);
  if (result == CUDA_SUCCESS) session.mapped().map(address, size, id);
  return result;
}

CUresult cuMemUnmap(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto address = in.get<uint64_t>();
  const auto size = in.get<uint64_t>();
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (session.driver().cuMemUnmap == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  // Unmapping does not wait for running work.
  if (session.context() != nullptr) session.driver().cuCtxSynchronize();
  const CUresult result = session.driver().cuMemUnmap(address, size);
  if (result == CUDA_SUCCESS) session.mapped().unmap(address, size);
  return result;
}

CUresult cuMemSetAccess(Session& session, const Command&, wire::Reader& in, wire::Writer&) {
  const auto address = in.get<uint64_t>();
  const auto size = in.get<uint64_t>();
  std::vector<CUmemAccessDesc> access;
  if (!read_access(session, in, access)) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_DEVICE;
  if (session.driver().cuMemSetAccess == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  return session.driver().cuMemSetAccess(address, size, access.data(), access.size());
}

CUresult cuMemGetAccess(Session& session, const Command&, wire::Reader& in, wire::Writer& out) {
  const auto address = in.get<uint64_t>();
  const auto type = in.get<uint32_t>();
  const auto ordinal = in.get<int32_t>();
  CUmemLocation location{};
  if (!in.ok() || !map_location(session, type, ordinal, location)) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_DEVICE;
  if (session.driver().cuMemGetAccess == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  unsigned long long flags = 0;
  const CUresult result = session.driver().cuMemGetAccess(&flags, &location, address);
  out.put(static_cast<uint64_t>(flags));
  return result;
}

CUresult cuMemGetAllocationGranularity(Session& session, const Command&, wire::Reader& in,
                                       wire::Writer& out) {
  CUmemAllocationProp prop{};
  const bool served = read_properties(session, in, prop);
  const auto option = static_cast<CUmemAllocationGranularity_flags>(in.get<uint32_t>());
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (!served || session.driver().cuMemGetAllocationGranularity == nullptr) {
    return CUDA_ERROR_NOT_SUPPORTED;
  }
  if (Session::failed()) return CUDA_ERROR_INVALID_DEVICE;
  size_t granularity = 0;
  const CUresult result =
      session.driver().cuMemGetAllocationGranularity(&granularity, &prop, option);
  out.put(static_cast<uint64_t>(granularity));
  return result;
}

}  // namespace vgpu::executor::handlers
