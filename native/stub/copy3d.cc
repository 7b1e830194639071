// Two- and three-dimensional copies: all travel as one 3D call. A host side is packed or unpacked
// here, row by row.
#include <cstring>

#include "contract/array_format.h"
#include "generated/stub_api.h"
#include "stub/call.h"
#include "stub/copy.h"
#include "stub/graph_host.h"
#include "stub/process.h"
#include "wire/calls.h"

namespace vgpu::stub::api {
namespace {

struct Copy {
  wire::Copy3d wire{};
  HostRows source;       // if its type is host
  HostRows destination;  // likewise
  [[nodiscard]] uint64_t bytes() const { return wire.width_bytes * wire.height * wire.depth; }
  [[nodiscard]] HostBox box(const HostRows& rows) const {
    return {rows, wire.width_bytes, wire.height, wire.depth};
  }
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

CUresult upload(Call& call, const Copy& copy) {
  const std::vector<std::byte> packed = gather(copy.box(copy.source));
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
  scatter(copy.box(copy.destination), bytes);
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

CUresult fill_copy(const End& source, const End& destination, Copy& copy) {
  const CUresult result = fill_end(source, copy.wire, copy.wire.source, copy.source);
  if (result != CUDA_SUCCESS) return result;
  return fill_end(destination, copy.wire, copy.wire.destination, copy.destination);
}

// The host side of a copy that a graph does.
CUresult name_host_side(const CUDA_MEMCPY3D& given, Copy& copy) {
  const bool from_host = copy.wire.source.memory_type == CU_MEMORYTYPE_HOST;
  const bool to_host = copy.wire.destination.memory_type == CU_MEMORYTYPE_HOST;
  if (from_host && to_host) return unsupported("graph copies from host to host memory");
  if (!from_host && !to_host) return CUDA_SUCCESS;
  HostEntry entry;
  entry.box = copy.box(from_host ? copy.source : copy.destination);
  entry.given = given;
  wire::CopyEnd& end = from_host ? copy.wire.source : copy.wire.destination;
  end.pitch = reinterpret_cast<uint64_t>(entry.box.rows.row(0, 0));
  end.height = entry.box.span();
  end.pointer = add_host_entry(entry);
  return CUDA_SUCCESS;
}

CUresult copy_rows(const End& source, const End& destination, const CUDA_MEMCPY3D& given,
                   CUstream handle, const Peers& peers = {}) {
  Context* context = nullptr;
  if (const CUresult result = current_context(&context); result != CUDA_SUCCESS) return result;
  if (given.WidthInBytes == 0 || given.Height == 0 || given.Depth == 0) return CUDA_SUCCESS;
  Copy copy;
  copy.wire.width_bytes = given.WidthInBytes;
  copy.wire.height = given.Height;
  copy.wire.depth = given.Depth;
  CUresult result = fill_copy(source, destination, copy);
  if (result != CUDA_SUCCESS) return result;
  const bool from_host = copy.wire.source.memory_type == CU_MEMORYTYPE_HOST;
  const bool to_host = copy.wire.destination.memory_type == CU_MEMORYTYPE_HOST;
  const bool between_peers = peers.named() && !from_host && !to_host;
  Call call(between_peers ? Opcode::cuMemcpy3DPeerAsync : Opcode::cuMemcpy3DAsync_v2);
  call.stream(handle);
  if (!call.ok()) return call.result();
  if ((from_host || to_host) && call.ordered_by()->capture.load() != nullptr) {
    result = name_host_side(given, copy);
    if (result != CUDA_SUCCESS) return result;
    call.put(copy.wire);
    return call.send();
  }
  if (from_host && to_host) {
    result = api::cuStreamSynchronize(handle);
    if (result == CUDA_SUCCESS)
      scatter(copy.box(copy.destination), gather(copy.box(copy.source)).data());
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

// What 2D and peer copies have in common with 3D ones; for the getters of graph nodes.
template <typename Description>
CUDA_MEMCPY3D flat_copy(const Description& d) {
  CUDA_MEMCPY3D copy{};
  copy.srcXInBytes = d.srcXInBytes;
  copy.srcY = d.srcY;
  copy.srcMemoryType = d.srcMemoryType;
  copy.srcHost = d.srcHost;
  copy.srcDevice = d.srcDevice;
  copy.srcArray = d.srcArray;
  copy.srcPitch = d.srcPitch;
  copy.dstXInBytes = d.dstXInBytes;
  copy.dstY = d.dstY;
  copy.dstMemoryType = d.dstMemoryType;
  copy.dstHost = d.dstHost;
  copy.dstDevice = d.dstDevice;
  copy.dstArray = d.dstArray;
  copy.dstPitch = d.dstPitch;
  copy.WidthInBytes = d.WidthInBytes;
  copy.Height = d.Height;
  copy.Depth = 1;
  return copy;
}

CUDA_MEMCPY3D without_contexts(const CUDA_MEMCPY3D_PEER& d) {
  CUDA_MEMCPY3D copy = flat_copy(d);
  copy.srcZ = d.srcZ;
  copy.srcLOD = d.srcLOD;
  copy.srcHeight = d.srcHeight;
  copy.dstZ = d.dstZ;
  copy.dstLOD = d.dstLOD;
  copy.dstHeight = d.dstHeight;
  copy.Depth = d.Depth;
  return copy;
}

}  // namespace

CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D* pCopy, CUstream hStream) {
  if (pCopy == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return copy_rows(source_of(*pCopy, 0, 0, 0), destination_of(*pCopy, 0, 0, 0), flat_copy(*pCopy),
                   hStream);
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
                   destination_of(*pCopy, pCopy->dstHeight, pCopy->dstZ, pCopy->dstLOD), *pCopy,
                   hStream);
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
                   without_contexts(*pCopy), hStream, peers);
}
CUresult cuMemcpy3DPeer(const CUDA_MEMCPY3D_PEER* pCopy) {
  return api::cuMemcpy3DPeerAsync(pCopy, nullptr);
}

}  // namespace vgpu::stub::api

namespace vgpu::stub {

std::vector<std::byte> gather(const HostBox& box) {
  std::vector<std::byte> packed(box.bytes());
  std::byte* at = packed.data();
  for (size_t z = 0; z < box.depth; ++z) {
    for (size_t y = 0; y < box.height; ++y, at += box.width) {
      std::memcpy(at, box.rows.row(y, z), box.width);
    }
  }
  return packed;
}

void scatter(const HostBox& box, const std::byte* packed) {
  for (size_t z = 0; z < box.depth; ++z) {
    for (size_t y = 0; y < box.height; ++y, packed += box.width) {
      std::memcpy(box.rows.row(y, z), packed, box.width);
    }
  }
}

CUresult describe_graph_copy(const CUDA_MEMCPY3D& given, wire::Copy3d& wire) {
  if (given.WidthInBytes == 0 || given.Height == 0 || given.Depth == 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  api::Copy copy;
  copy.wire.width_bytes = given.WidthInBytes;
  copy.wire.height = given.Height;
  copy.wire.depth = given.Depth;
  CUresult result =
      api::fill_copy(api::source_of(given, given.srcHeight, given.srcZ, given.srcLOD),
                     api::destination_of(given, given.dstHeight, given.dstZ, given.dstLOD), copy);
  if (result == CUDA_SUCCESS) result = api::name_host_side(given, copy);
  wire = copy.wire;
  return result;
}

}  // namespace vgpu::stub
