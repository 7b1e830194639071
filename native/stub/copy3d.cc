// Two- and three-dimensional copies: all travel as one 3D call. A host side is packed or unpacked
// here, row by row.
#include <cstring>

#include "contract/array_format.h"
#include "generated/stub_api.h"
#include "stub/call.h"
#include "stub/copy.h"
#include "stub/process.h"
#include "wire/calls.h"

namespace vgpu::stub::api {
namespace {

// A row-wise view of host memory.
struct HostRows {
  std::byte* base = nullptr;
  size_t pitch = 0;
  size_t height = 0;  // rows per slice
  [[nodiscard]] std::byte* row(size_t y, size_t z) const { return base + (z * height + y) * pitch; }
};

struct Copy {
  wire::Copy3d wire{};
  HostRows source;       // if its type is host
  HostRows destination;  // likewise
  [[nodiscard]] uint64_t bytes() const { return wire.width_bytes * wire.height * wire.depth; }
};

// Unified addresses: what the allocation map does not hold is host memory.
CUmemorytype actual_type(CUmemorytype type, uint64_t address) {
  if (type != CU_MEMORYTYPE_UNIFIED) return type;
  return process()->allocations.find(address) ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
}

struct End {
  CUmemorytype type;
  const void* host;
  CUdeviceptr device;
  CUarray array;
  size_t pitch, height, x, y, z, lod;
};

CUresult fill_end(const End& end, const wire::Copy3d& extent, wire::CopyEnd& out, HostRows& rows) {
  const bool unified = end.type == CU_MEMORYTYPE_UNIFIED;
  const CUmemorytype type = actual_type(end.type, end.device);
  const size_t pitch = end.pitch == 0 ? extent.width_bytes + end.x : end.pitch;
  const size_t height = end.height == 0 ? extent.height + end.y : end.height;
  if (type != CU_MEMORYTYPE_ARRAY && (pitch < extent.width_bytes || height < extent.height)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  out.memory_type = type;
  out.lod = static_cast<uint32_t>(end.lod);
  const size_t offset = (end.z * height + end.y) * pitch + end.x;
  switch (type) {
    case CU_MEMORYTYPE_HOST: {
      const void* base = unified ? reinterpret_cast<const void*>(end.device) : end.host;
      if (base == nullptr) return CUDA_ERROR_INVALID_VALUE;
      rows = {static_cast<std::byte*>(const_cast<void*>(base)) + offset, pitch, height};
      return CUDA_SUCCESS;
    }
    case CU_MEMORYTYPE_DEVICE: {
      const uint64_t last = (extent.depth - 1) * height + extent.height - 1;
      if (!writable(end.device + offset, last * pitch + extent.width_bytes)) {
        return CUDA_ERROR_INVALID_VALUE;
      }
      out.pointer = end.device + offset;
      out.pitch = pitch;
      out.height = height;
      return CUDA_SUCCESS;
    }
    case CU_MEMORYTYPE_ARRAY: {
      const Array* array = process()->arrays.find(end.array);
      if (array == nullptr) return CUDA_ERROR_INVALID_HANDLE;
      const contract::ArrayPart part{end.x,         end.y,       end.z, extent.width_bytes,
                                     extent.height, extent.depth};
      if (!part.inside(array->description)) return CUDA_ERROR_INVALID_VALUE;
      out.pointer = as_id(end.array);
      out.x_bytes = end.x;
      out.y = end.y;
      out.z = end.z;
      return CUDA_SUCCESS;
    }
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

std::vector<std::byte> gather(const Copy& copy) {
  std::vector<std::byte> packed(copy.bytes());
  std::byte* at = packed.data();
  for (size_t z = 0; z < copy.wire.depth; ++z) {
    for (size_t y = 0; y < copy.wire.height; ++y, at += copy.wire.width_bytes) {
      std::memcpy(at, copy.source.row(y, z), copy.wire.width_bytes);
    }
  }
  return packed;
}

void scatter(const Copy& copy, const std::byte* packed) {
  for (size_t z = 0; z < copy.wire.depth; ++z) {
    for (size_t y = 0; y < copy.wire.height; ++y, packed += copy.wire.width_bytes) {
      std::memcpy(copy.destination.row(y, z), packed, copy.wire.width_bytes);
    }
  }
}

CUresult upload(Call& call, const Copy& copy) {
  const std::vector<std::byte> packed = gather(copy);
  const bool inline_bytes = packed.size() <= wire::kMaxInline;
  if (!inline_bytes) {
    call.has_bulk();
    call.put(process()->link()->send_bulk(packed.data(), packed.size()));
  }
  call.put(copy.wire);
  if (inline_bytes) call.tail(packed.data(), packed.size());
  return call.send();
}

CUresult download(Call& call, const Copy& copy) {
  std::vector<std::byte> packed;
  const bool in_reply = copy.bytes() <= wire::kMaxInline;
  uint64_t transfer = 0;
  if (!in_reply) {
    packed.resize(copy.bytes());
    call.has_bulk();
    transfer = process()->link()->expect_bulk(packed.data(), packed.size());
    call.put(transfer);
  }
  call.put(copy.wire);
  const CUresult result = call.wait();
  if (result != CUDA_SUCCESS) {
    if (transfer != 0) process()->link()->forget_bulk(transfer);
    return result;
  }
  const std::byte* bytes = packed.data();
  if (in_reply) {
    bytes = call.reply().take(copy.bytes()).data();
    if (!call.reply().ok()) return CUDA_ERROR_UNKNOWN;
  }
  scatter(copy, bytes);
  set_complete(*call.ordered_by(), call.number());
  return CUDA_SUCCESS;
}

// The contexts of a copy between peers; null where the call names none.
struct Peers {
  Context* source = nullptr;
  Context* destination = nullptr;
  [[nodiscard]] bool named() const { return source != nullptr; }
};

// From device to device.
CUresult inside(Call& call, const Copy& copy, const Peers& peers) {
  if (!peers.named()) {
    call.put(copy.wire);
    return call.send();
  }
  // The executor must know both contexts.
  for (Context* end : {peers.source, peers.destination}) {
    if (Call announce(Opcode::cuMemcpy3DPeerAsync, end); !announce.ok()) return announce.result();
  }
  call.put(copy.wire);
  call.put(peers.source->id.load());
  call.put(peers.destination->id.load());
  return call.send();
}

CUresult copy_rows(const End& source, const End& destination, size_t width, size_t height,
                   size_t depth, CUstream handle, const Peers& peers = {}) {
  Context* context = nullptr;
  if (const CUresult result = current_context(&context); result != CUDA_SUCCESS) return result;
  if (width == 0 || height == 0 || depth == 0) return CUDA_SUCCESS;
  Copy copy;
  copy.wire.width_bytes = width;
  copy.wire.height = height;
  copy.wire.depth = depth;
  CUresult result = fill_end(source, copy.wire, copy.wire.source, copy.source);
  if (result != CUDA_SUCCESS) return result;
  result = fill_end(destination, copy.wire, copy.wire.destination, copy.destination);
  if (result != CUDA_SUCCESS) return result;
  const bool from_host = copy.wire.source.memory_type == CU_MEMORYTYPE_HOST;
  const bool to_host = copy.wire.destination.memory_type == CU_MEMORYTYPE_HOST;
  const bool between_peers = peers.named() && !from_host && !to_host;
  Call call(between_peers ? Opcode::cuMemcpy3DPeerAsync : Opcode::cuMemcpy3DAsync_v2);
  call.stream(handle);
  if (!call.ok()) return call.result();
  if ((from_host || to_host) && call.ordered_by()->capture.load() != nullptr) {
    return unsupported("copies of host memory under stream capture");
  }
  if (from_host && to_host) {
    result = api::cuStreamSynchronize(handle);
    if (result == CUDA_SUCCESS) scatter(copy, gather(copy).data());
    return result;
  }
  if (from_host) return upload(call, copy);
  if (to_host) return download(call, copy);
  return inside(call, copy, peers);
}

template <typename Description>
End source_of(const Description& d, size_t height, size_t z, size_t lod) {
  return {d.srcMemoryType, d.srcHost,     d.srcDevice, d.srcArray, d.srcPitch,
          height,          d.srcXInBytes, d.srcY,      z,          lod};
}
template <typename Description>
End destination_of(const Description& d, size_t height, size_t z, size_t lod) {
  return {d.dstMemoryType, d.dstHost,     d.dstDevice, d.dstArray, d.dstPitch,
          height,          d.dstXInBytes, d.dstY,      z,          lod};
}

}  // namespace

CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D* pCopy, CUstream hStream) {
  if (pCopy == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return copy_rows(source_of(*pCopy, 0, 0, 0), destination_of(*pCopy, 0, 0, 0), pCopy->WidthInBytes,
                   pCopy->Height, 1, hStream);
}
CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D* pCopy) {
  return api::cuMemcpy2DAsync_v2(pCopy, nullptr);
}
CUresult cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D* pCopy) {
  return api::cuMemcpy2DAsync_v2(pCopy, nullptr);
}

CUresult cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D* pCopy, CUstream hStream) {
  if (pCopy == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return copy_rows(source_of(*pCopy, pCopy->srcHeight, pCopy->srcZ, pCopy->srcLOD),
                   destination_of(*pCopy, pCopy->dstHeight, pCopy->dstZ, pCopy->dstLOD),
                   pCopy->WidthInBytes, pCopy->Height, pCopy->Depth, hStream);
}
CUresult cuMemcpy3D_v2(const CUDA_MEMCPY3D* pCopy) {
  return api::cuMemcpy3DAsync_v2(pCopy, nullptr);
}

CUresult cuMemcpy3DPeerAsync(const CUDA_MEMCPY3D_PEER* pCopy, CUstream hStream) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  if (pCopy == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const Peers peers{process()->context(pCopy->srcContext), process()->context(pCopy->dstContext)};
  if (peers.source == nullptr || peers.destination == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  return copy_rows(source_of(*pCopy, pCopy->srcHeight, pCopy->srcZ, pCopy->srcLOD),
                   destination_of(*pCopy, pCopy->dstHeight, pCopy->dstZ, pCopy->dstLOD),
                   pCopy->WidthInBytes, pCopy->Height, pCopy->Depth, hStream, peers);
}
CUresult cuMemcpy3DPeer(const CUDA_MEMCPY3D_PEER* pCopy) {
  return api::cuMemcpy3DPeerAsync(pCopy, nullptr);
}

}  // namespace vgpu::stub::api
