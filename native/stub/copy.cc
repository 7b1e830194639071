// One-dimensional copies. Host bytes are captured at the call; device bytes land before any reply
// that says the stream got past the copy.
#include "stub/copy.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "generated/stub_api.h"
#include "stub/call.h"
#include "stub/pending.h"
#include "stub/process.h"

namespace vgpu::stub {

bool writable(uint64_t address, uint64_t size) {
  return process()->allocations.covers(address, size);
}

namespace {

// A transfer of N bytes takes N bytes of the executor's staging memory, and pieces of one copy
// overlap on the wire and in the device.
constexpr size_t kPiece = 32u << 20;

CUresult send_piece(Stream* stream, uint64_t destination, const std::byte* source, size_t size) {
  Call call(Opcode::cuMemcpyHtoDAsync_v2);
  call.stream(stream);
  if (!call.ok()) return call.result();
  const bool inline_bytes = size <= wire::kMaxInline;
  if (!inline_bytes) {
    call.has_bulk();
    call.put(process()->link()->send_bulk(source, size));
  }
  call.put(destination);
  call.put(static_cast<uint64_t>(size));
  if (inline_bytes) call.tail(source, size);
  return call.send();
}

// Appends one transfer; `transfer` is its number, to be forgotten when the copy fails.
CUresult append_piece(Stream* stream, std::byte* destination, uint64_t source, size_t size,
                      uint64_t* transfer) {
  Call call(Opcode::cuMemcpyDtoHAsync_v2);
  call.stream(stream);
  if (!call.ok()) return call.result();
  call.has_bulk();
  *transfer = process()->link()->expect_bulk(destination, size);
  call.put(*transfer);
  call.put(source);
  call.put(static_cast<uint64_t>(size));
  return call.send();
}

// The last transfer of a copy that is waited for.
CUresult fetch_piece(Stream* stream, std::byte* destination, uint64_t source, size_t size,
                     uint64_t* transfer) {
  Call call(Opcode::cuMemcpyDtoHAsync_v2);
  call.stream(stream);
  if (!call.ok()) return call.result();
  const bool in_reply = size <= wire::kMaxInline;
  if (!in_reply) {
    call.has_bulk();
    *transfer = process()->link()->expect_bulk(destination, size);
    call.put(*transfer);
  }
  call.put(source);
  call.put(static_cast<uint64_t>(size));
  const CUresult result = call.wait();
  if (result != CUDA_SUCCESS) return result;
  if (in_reply) {
    const auto bytes = call.reply().take(size);
    if (!call.reply().ok()) return CUDA_ERROR_UNKNOWN;
    std::memcpy(destination, bytes.data(), size);
  }
  // The stream is in order: all its work up to this copy is complete.
  set_complete(*stream, call.number());
  return CUDA_SUCCESS;
}

// Splits a copy from the device; with `wait` the last piece is waited for.
CUresult receive(Stream* stream, void* destination, uint64_t source, size_t size, bool wait) {
  std::vector<uint64_t> transfers;
  auto* at = static_cast<std::byte*>(destination);
  CUresult result = CUDA_SUCCESS;
  while (size != 0 && result == CUDA_SUCCESS) {
    const size_t piece = std::min(size, kPiece);
    uint64_t transfer = 0;
    const bool last = piece == size;
    result = wait && last ? fetch_piece(stream, at, source, piece, &transfer)
                          : append_piece(stream, at, source, piece, &transfer);
    if (transfer != 0) transfers.push_back(transfer);
    at += piece;
    source += piece;
    size -= piece;
  }
  for (const uint64_t transfer : transfers) {
    if (result != CUDA_SUCCESS) process()->link()->forget_bulk(transfer);
  }
  return result;
}

}  // namespace

CUresult send_to_device(Stream* stream, uint64_t destination, const void* source, size_t size) {
  const auto* at = static_cast<const std::byte*>(source);
  while (size != 0) {
    const size_t piece = std::min(size, kPiece);
    const CUresult result = send_piece(stream, destination, at, piece);
    if (result != CUDA_SUCCESS) return result;
    destination += piece;
    at += piece;
    size -= piece;
  }
  return CUDA_SUCCESS;
}

CUresult fetch_from_device(Stream* stream, void* destination, uint64_t source, size_t size) {
  return receive(stream, destination, source, size, true);
}

CUresult append_from_device(Stream* stream, void* destination, uint64_t source, size_t size) {
  return receive(stream, destination, source, size, false);
}

}  // namespace vgpu::stub

namespace vgpu::stub::api {
namespace {

// The stream of a copy, after the checks that every copy makes.
CUresult copy_stream(CUstream handle, Stream** stream) {
  Context* context = nullptr;
  if (const CUresult result = current_context(&context); result != CUDA_SUCCESS) return result;
  *stream = resolve_stream(handle);
  return *stream == nullptr ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}

bool capturing(const Stream& stream) { return stream.capture.load() != nullptr; }

bool pinned(const void* pointer, size_t size) {
  const auto address = reinterpret_cast<uint64_t>(pointer);
  const auto range = process()->host.find(address);
  return range && range->base + range->size - address >= size;
}

// A graph does it at each launch: bytes captured now would be stale without a word.
CUresult capture_copy(void* host, CUdeviceptr device, size_t size, bool to_device,
                      CUstream handle) {
  CUDA_MEMCPY3D copy{};
  copy.srcMemoryType = to_device ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
  copy.dstMemoryType = to_device ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
  copy.srcHost = copy.dstHost = host;
  copy.srcDevice = copy.dstDevice = device;
  copy.WidthInBytes = size;
  copy.Height = copy.Depth = 1;
  return api::cuMemcpy3DAsync_v2(&copy, handle);
}

CUresult host_to_device(CUdeviceptr destination, const void* source, size_t size, CUstream handle,
                        bool synchronous) {
  Stream* stream = nullptr;
  if (const CUresult result = copy_stream(handle, &stream); result != CUDA_SUCCESS) return result;
  if (size == 0) return CUDA_SUCCESS;
  if (source == nullptr || !writable(destination, size)) return CUDA_ERROR_INVALID_VALUE;
  if (capturing(*stream)) {
    if (synchronous) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    return capture_copy(const_cast<void*>(source), destination, size, true, handle);
  }
  if (pinned(source, 1)) {
    const CUresult result = settle_source(*stream, source, size);
    if (result != CUDA_SUCCESS) return result;
  }
  return send_to_device(stream, destination, source, size);
}

CUresult device_to_host(void* destination, CUdeviceptr source, size_t size, CUstream handle,
                        bool synchronous) {
  Stream* stream = nullptr;
  if (const CUresult result = copy_stream(handle, &stream); result != CUDA_SUCCESS) return result;
  if (size == 0) return CUDA_SUCCESS;
  if (destination == nullptr || !writable(source, size)) return CUDA_ERROR_INVALID_VALUE;
  if (capturing(*stream)) {
    return synchronous ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
                       : capture_copy(destination, source, size, false, handle);
  }
  if (!synchronous && pinned(destination, size)) {
    const CUresult result = append_from_device(stream, destination, source, size);
    add_pending_download(*stream, destination, size, stream->last.load());
    return result;
  }
  return fetch_from_device(stream, destination, source, size);
}

// Address spaces are told apart by the allocation map: what it does not hold is host memory.
CUresult copy_unified(CUdeviceptr destination, CUdeviceptr source, size_t size, CUstream handle,
                      bool synchronous) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  if (size == 0) return CUDA_SUCCESS;
  const bool to_device = process()->allocations.find(destination).has_value();
  const bool from_device = process()->allocations.find(source).has_value();
  auto* to = reinterpret_cast<void*>(destination);
  const auto* from = reinterpret_cast<const void*>(source);
  if (to_device && from_device) return api::cuMemcpyDtoDAsync_v2(destination, source, size, handle);
  if (to_device) return host_to_device(destination, from, size, handle, synchronous);
  if (from_device) return device_to_host(to, source, size, handle, synchronous);
  // Host to host: ordered behind the stream, then done here.
  Stream* stream = nullptr;
  if (const CUresult result = copy_stream(handle, &stream); result != CUDA_SUCCESS) return result;
  if (to == nullptr || from == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (capturing(*stream)) return unsupported("host-to-host copy under stream capture");
  const CUresult result = api::cuStreamSynchronize(handle);
  if (result == CUDA_SUCCESS) std::memcpy(to, from, size);
  return result;
}

}  // namespace

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr dstDevice, const void* srcHost, size_t ByteCount,
                              CUstream hStream) {
  return host_to_device(dstDevice, srcHost, ByteCount, hStream, false);
}
CUresult cuMemcpyHtoD_v2(CUdeviceptr dstDevice, const void* srcHost, size_t ByteCount) {
  return host_to_device(dstDevice, srcHost, ByteCount, nullptr, true);
}
CUresult cuMemcpyDtoHAsync_v2(void* dstHost, CUdeviceptr srcDevice, size_t ByteCount,
                              CUstream hStream) {
  return device_to_host(dstHost, srcDevice, ByteCount, hStream, false);
}
CUresult cuMemcpyDtoH_v2(void* dstHost, CUdeviceptr srcDevice, size_t ByteCount) {
  return device_to_host(dstHost, srcDevice, ByteCount, nullptr, true);
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount,
                              CUstream hStream) {
  Stream* stream = nullptr;
  if (const CUresult result = copy_stream(hStream, &stream); result != CUDA_SUCCESS) return result;
  if (ByteCount == 0) return CUDA_SUCCESS;
  if (!writable(dstDevice, ByteCount) || !writable(srcDevice, ByteCount)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  Call call(Opcode::cuMemcpyDtoDAsync_v2);
  call.stream(stream);
  call.put(static_cast<uint64_t>(dstDevice));
  call.put(static_cast<uint64_t>(srcDevice));
  call.put(static_cast<uint64_t>(ByteCount));
  return call.send();
}
CUresult cuMemcpyDtoD_v2(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount) {
  return api::cuMemcpyDtoDAsync_v2(dstDevice, srcDevice, ByteCount, nullptr);
}

CUresult cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount) {
  return copy_unified(dst, src, ByteCount, nullptr, true);
}
CUresult cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount, CUstream hStream) {
  return copy_unified(dst, src, ByteCount, hStream, false);
}

CUresult cuMemcpyPeerAsync(CUdeviceptr dstDevice, CUcontext dstContext, CUdeviceptr srcDevice,
                           CUcontext srcContext, size_t ByteCount, CUstream hStream) {
  Stream* stream = nullptr;
  if (const CUresult result = copy_stream(hStream, &stream); result != CUDA_SUCCESS) return result;
  if (ByteCount == 0) return CUDA_SUCCESS;
  Context* to = process()->context(dstContext);
  Context* from = process()->context(srcContext);
  if (to == nullptr || from == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  if (!writable(dstDevice, ByteCount) || !writable(srcDevice, ByteCount)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  // The executor must know both contexts.
  for (Context* end : {to, from}) {
    if (Call announce(Opcode::cuMemcpyPeerAsync, end); !announce.ok()) return announce.result();
  }
  Call call(Opcode::cuMemcpyPeerAsync);
  call.stream(stream);
  call.put(static_cast<uint64_t>(dstDevice));
  call.put(to->id.load());
  call.put(static_cast<uint64_t>(srcDevice));
  call.put(from->id.load());
  call.put(static_cast<uint64_t>(ByteCount));
  return call.send();
}
CUresult cuMemcpyPeer(CUdeviceptr dstDevice, CUcontext dstContext, CUdeviceptr srcDevice,
                      CUcontext srcContext, size_t ByteCount) {
  return api::cuMemcpyPeerAsync(dstDevice, dstContext, srcDevice, srcContext, ByteCount, nullptr);
}

}  // namespace vgpu::stub::api
