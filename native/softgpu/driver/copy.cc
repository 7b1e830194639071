// Copies and memsets. Every device address is checked against the known memory at the call.
#include "softgpu/driver/copy.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "contract/array_format.h"
#include "generated/softgpu_api.h"
#include "softgpu/driver/driver.h"
#include "softgpu/driver/operation.h"

namespace vgpu::softgpu {
namespace {

bool known(uint64_t address, size_t bytes) { return driver().allocations.covers(address, bytes); }

struct Side {
  uint64_t address = 0;
  size_t pitch = 0, slice = 0;
};

// One side of a 3D copy as the caller describes it.
struct Given {
  CUmemorytype type;
  const void* host;
  CUdeviceptr device;
  CUarray array;
  size_t pitch, height, x, y, z;
};

CUresult resolve_side(const Given& given, const CUDA_MEMCPY3D& copy, Side& side) {
  uint64_t base = given.device;
  size_t pitch = given.pitch, height = given.height;
  if (given.type == CU_MEMORYTYPE_HOST) base = reinterpret_cast<uint64_t>(given.host);
  if (given.type == CU_MEMORYTYPE_ARRAY) {
    const auto array = driver().arrays.find(given.array);
    if (!array) return CUDA_ERROR_INVALID_HANDLE;
    const TexelLevel& level = array->level;
    base = level.address;
    pitch = level.pitch;
    height = level.height;
    const contract::ArrayPart part{given.x,           given.y,     given.z,
                                   copy.WidthInBytes, copy.Height, copy.Depth};
    if (!part.inside(array->descriptor)) return CUDA_ERROR_INVALID_VALUE;
  }
  if (base == 0) return CUDA_ERROR_INVALID_VALUE;
  if (pitch == 0) pitch = copy.WidthInBytes + given.x;
  if (height == 0) height = copy.Height + given.y;
  if (pitch < copy.WidthInBytes + given.x) return CUDA_ERROR_INVALID_VALUE;
  if (copy.Depth > 1 && height < copy.Height + given.y) return CUDA_ERROR_INVALID_VALUE;
  side = {base + given.z * pitch * height + given.y * pitch + given.x, pitch, pitch * height};
  const size_t span = (copy.Depth - 1) * side.slice + (copy.Height - 1) * pitch + copy.WidthInBytes;
  const bool checked = given.type == CU_MEMORYTYPE_DEVICE || given.type == CU_MEMORYTYPE_ARRAY;
  return checked && !known(side.address, span) ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

}  // namespace

CUresult box_operation(const CUDA_MEMCPY3D& given, CopyOperation& copy) {
  copy.as_given = given;
  copy.width = given.WidthInBytes;
  copy.height = given.Height;
  copy.depth = given.Depth;
  if (copy.width == 0 || copy.height == 0 || copy.depth == 0) return CUDA_SUCCESS;
  Side from, to;
  const Given source{given.srcMemoryType, given.srcHost,  given.srcDevice,
                     given.srcArray,      given.srcPitch, given.srcHeight,
                     given.srcXInBytes,   given.srcY,     given.srcZ};
  const Given destination{given.dstMemoryType, given.dstHost,  given.dstDevice,
                          given.dstArray,      given.dstPitch, given.dstHeight,
                          given.dstXInBytes,   given.dstY,     given.dstZ};
  if (const CUresult result = resolve_side(source, given, from)) return result;
  if (const CUresult result = resolve_side(destination, given, to)) return result;
  copy.source = from.address;
  copy.source_pitch = from.pitch;
  copy.source_slice = from.slice;
  copy.destination = to.address;
  copy.destination_pitch = to.pitch;
  copy.destination_slice = to.slice;
  return CUDA_SUCCESS;
}

CUresult check_fill(const CUDA_MEMSET_NODE_PARAMS& node) {
  const unsigned element = node.elementSize;
  if (element != 1 && element != 2 && element != 4) return CUDA_ERROR_INVALID_VALUE;
  if (node.width == 0 || node.height == 0) return CUDA_SUCCESS;
  if (node.dst % element != 0 || node.width > (size_t{1} << 42)) return CUDA_ERROR_INVALID_VALUE;
  const size_t row = node.width * element;
  if (node.height > 1 && (node.pitch < row || node.pitch % element != 0)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const size_t span = (node.height - 1) * node.pitch + row;
  return known(node.dst, span) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

namespace api {
namespace {

// A pageable source up to this size is captured at the call; beyond it the call waits instead.
constexpr size_t kStagedBytes = size_t{1} << 20;

bool known(uint64_t address, size_t bytes) { return driver().allocations.covers(address, bytes); }

bool pinned(uint64_t address) { return driver().allocations.find(address).has_value(); }

enum class Waiting { kUntilDone, kAsynchronous };

CopyOperation linear(uint64_t destination, uint64_t source, size_t bytes) {
  CopyOperation copy;
  copy.source = source;
  copy.destination = destination;
  copy.width = bytes;
  copy.as_given.srcMemoryType = copy.as_given.dstMemoryType = CU_MEMORYTYPE_UNIFIED;
  copy.as_given.srcDevice = source;
  copy.as_given.dstDevice = destination;
  copy.as_given.srcHost = reinterpret_cast<const void*>(source);
  copy.as_given.dstHost = reinterpret_cast<void*>(destination);
  copy.as_given.WidthInBytes = bytes;
  copy.as_given.Height = copy.as_given.Depth = 1;
  return copy;
}

bool stream_captures(const Stream& stream) {
  if (!any_capture()) return false;
  const std::lock_guard lock(capture_mutex());
  return stream.capture != nullptr;
}

// A copy on a legacy stream between memories of two devices starts after what was issued to either,
// and goes before what follows (CUDA C++ Programming Guide, "Peer-to-Peer Memory Copy"). The
// contexts besides the stream's own that it is so ordered with.
std::vector<std::shared_ptr<Context>> ordered_with(const CopyOperation& copy,
                                                   const Stream& stream) {
  std::vector<std::shared_ptr<Context>> others;
  if (driver().devices.size() < 2 || stream.context->legacy.get() != &stream) return others;
  const auto from = driver().allocations.find(copy.source);
  const auto to = driver().allocations.find(copy.destination);
  if (!from || !to || from->on_host() || to->on_host() || from->device == to->device) return others;
  for (const auto& context : driver().contexts.all()) {
    const Device* device = &context->device;
    const bool touched = device == from->device || device == to->device;
    if (touched && context->active && context != stream.context) others.push_back(context);
  }
  return others;
}

// Orders a copy in its stream. Pageable host memory is read, or written, before an asynchronous
// call returns, as CUDA promises.
CUresult order_in(const std::shared_ptr<Stream>& stream, CopyOperation copy, Waiting waiting) {
  if (waiting == Waiting::kUntilDone) return issue_and_wait(stream, std::move(copy));
  if (stream_captures(*stream)) return issue(stream, std::move(copy));
  const bool flat = copy.height == 1 && copy.depth == 1;
  if (!pinned(copy.destination)) return issue_and_wait(stream, std::move(copy));
  if (!pinned(copy.source)) {
    if (!flat || copy.width > kStagedBytes) return issue_and_wait(stream, std::move(copy));
    const auto* bytes = reinterpret_cast<const std::byte*>(copy.source);
    copy.staged = std::make_shared<std::vector<std::byte>>(bytes, bytes + copy.width);
  }
  return issue(stream, std::move(copy));
}

// Orders a checked copy.
CUresult order(CopyOperation copy, CUstream handle, Waiting waiting) {
  const Current current;
  if (!current) return current.error();
  const auto stream = find_stream(current.shared(), handle);
  if (!stream) return CUDA_ERROR_INVALID_HANDLE;
  if (copy.width * copy.height * copy.depth == 0) return CUDA_SUCCESS;
  if (waiting == Waiting::kUntilDone) {
    if (const CUresult result = check_unsafe_call()) return result;
  }
  const auto others = ordered_with(copy, *stream);
  for (const auto& other : others) {
    submit_wait(stream, submit(other->legacy, [] {}, Place::kCallerIfIdle, true));
  }
  const CUresult result = order_in(stream, std::move(copy), waiting);
  for (const auto& other : others) submit_wait(other->legacy, stream->fence());
  return result;
}

CUresult to_device(CUdeviceptr to, const void* from, size_t bytes, CUstream stream, Waiting w) {
  const Current current;
  if (!current) return current.error();
  if (bytes != 0 && (from == nullptr || !known(to, bytes))) return CUDA_ERROR_INVALID_VALUE;
  return order(linear(to, reinterpret_cast<uint64_t>(from), bytes), stream, w);
}
CUresult to_host(void* to, CUdeviceptr from, size_t bytes, CUstream stream, Waiting w) {
  const Current current;
  if (!current) return current.error();
  if (bytes != 0 && (to == nullptr || !known(from, bytes))) return CUDA_ERROR_INVALID_VALUE;
  return order(linear(reinterpret_cast<uint64_t>(to), from, bytes), stream, w);
}
CUresult on_device(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream, Waiting w) {
  const Current current;
  if (!current) return current.error();
  if (bytes != 0 && (!known(to, bytes) || !known(from, bytes))) return CUDA_ERROR_INVALID_VALUE;
  return order(linear(to, from, bytes), stream, w);
}
// Either side may be pageable host memory.
CUresult anywhere(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream, Waiting w) {
  const Current current;
  if (!current) return current.error();
  if (bytes != 0 && (to == 0 || from == 0)) return CUDA_ERROR_INVALID_VALUE;
  for (const uint64_t side : {to, from}) {
    if (bytes != 0 && pinned(side) && !known(side, bytes)) return CUDA_ERROR_INVALID_VALUE;
  }
  return order(linear(to, from, bytes), stream, w);
}

CUresult box(const CUDA_MEMCPY3D& given, CUstream stream, Waiting waiting) {
  const Current current;
  if (!current) return current.error();
  if (given.srcLOD != 0 || given.dstLOD != 0) return CUDA_ERROR_INVALID_VALUE;
  CopyOperation copy;
  if (const CUresult result = box_operation(given, copy)) return result;
  return order(std::move(copy), stream, waiting);
}

CUresult check_contexts(CUcontext one, CUcontext other) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  for (const CUcontext handle : {one, other}) {
    const auto context = handle == nullptr ? nullptr : find_context(handle);
    if (!context || !context->active) return CUDA_ERROR_INVALID_CONTEXT;
  }
  return CUDA_SUCCESS;
}

// All devices' memory has addresses of its own: the contexts say nothing more.
CUresult peer_box(const CUDA_MEMCPY3D_PEER* copy, CUstream stream, Waiting waiting) {
  if (copy == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult result = check_contexts(copy->srcContext, copy->dstContext)) return result;
  CUDA_MEMCPY3D plain{};
  plain.srcXInBytes = copy->srcXInBytes;
  plain.srcY = copy->srcY;
  plain.srcZ = copy->srcZ;
  plain.srcLOD = copy->srcLOD;
  plain.srcMemoryType = copy->srcMemoryType;
  plain.srcHost = copy->srcHost;
  plain.srcDevice = copy->srcDevice;
  plain.srcArray = copy->srcArray;
  plain.srcPitch = copy->srcPitch;
  plain.srcHeight = copy->srcHeight;
  plain.dstXInBytes = copy->dstXInBytes;
  plain.dstY = copy->dstY;
  plain.dstZ = copy->dstZ;
  plain.dstLOD = copy->dstLOD;
  plain.dstMemoryType = copy->dstMemoryType;
  plain.dstHost = copy->dstHost;
  plain.dstDevice = copy->dstDevice;
  plain.dstArray = copy->dstArray;
  plain.dstPitch = copy->dstPitch;
  plain.dstHeight = copy->dstHeight;
  plain.WidthInBytes = copy->WidthInBytes;
  plain.Height = copy->Height;
  plain.Depth = copy->Depth;
  return box(plain, stream, waiting);
}

CUDA_MEMCPY3D flat_box(const CUDA_MEMCPY2D& copy) {
  CUDA_MEMCPY3D box{};
  box.srcXInBytes = copy.srcXInBytes;
  box.srcY = copy.srcY;
  box.srcMemoryType = copy.srcMemoryType;
  box.srcHost = copy.srcHost;
  box.srcDevice = copy.srcDevice;
  box.srcArray = copy.srcArray;
  box.srcPitch = copy.srcPitch;
  box.dstXInBytes = copy.dstXInBytes;
  box.dstY = copy.dstY;
  box.dstMemoryType = copy.dstMemoryType;
  box.dstHost = copy.dstHost;
  box.dstDevice = copy.dstDevice;
  box.dstArray = copy.dstArray;
  box.dstPitch = copy.dstPitch;
  box.WidthInBytes = copy.WidthInBytes;
  box.Height = copy.Height;
  box.Depth = 1;
  return box;
}

CUresult fill(CUdeviceptr to, size_t pitch, unsigned value, unsigned element, size_t width,
              size_t height, CUstream handle, Waiting waiting) {
  const Current current;
  if (!current) return current.error();
  FillOperation operation;
  operation.node = {to, pitch, value, element, width, height};
  if (const CUresult result = check_fill(operation.node)) return result;
  const auto stream = find_stream(current.shared(), handle);
  if (!stream) return CUDA_ERROR_INVALID_HANDLE;
  if (width == 0 || height == 0) return CUDA_SUCCESS;
  if (waiting == Waiting::kUntilDone) {
    if (const CUresult result = check_unsafe_call()) return result;
  }
  return issue(stream, operation);  // a memset of device memory never waits for the host
}

constexpr Waiting kDone = Waiting::kUntilDone;
constexpr Waiting kAsync = Waiting::kAsynchronous;

}  // namespace

CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t n) {
  return to_device(to, from, n, nullptr, kDone);
}
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t n, CUstream stream) {
  return to_device(to, from, n, stream, kAsync);
}
CUresult cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t n) {
  return to_host(to, from, n, nullptr, kDone);
}
CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t n, CUstream stream) {
  return to_host(to, from, n, stream, kAsync);
}
// Within a device a plain copy is ordered, and need not be waited for.
CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t n) {
  if (initialised()) {
    if (const CUresult result = check_unsafe_call()) return result;
  }
  return on_device(to, from, n, nullptr, kAsync);
}
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t n, CUstream stream) {
  return on_device(to, from, n, stream, kAsync);
}
CUresult cuMemcpy(CUdeviceptr to, CUdeviceptr from, size_t n) {
  return anywhere(to, from, n, nullptr, kDone);
}
CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t n, CUstream stream) {
  return anywhere(to, from, n, stream, kAsync);
}
CUresult cuMemcpyPeer(CUdeviceptr to, CUcontext to_context, CUdeviceptr from,
                      CUcontext from_context, size_t n) {
  if (const CUresult result = check_contexts(to_context, from_context)) return result;
  return on_device(to, from, n, nullptr, kDone);
}
CUresult cuMemcpyPeerAsync(CUdeviceptr to, CUcontext to_context, CUdeviceptr from,
                           CUcontext from_context, size_t n, CUstream stream) {
  if (const CUresult result = check_contexts(to_context, from_context)) return result;
  return on_device(to, from, n, stream, kAsync);
}

CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D* copy) {
  return copy == nullptr ? CUDA_ERROR_INVALID_VALUE : box(flat_box(*copy), nullptr, kDone);
}
CUresult cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D* copy) { return api::cuMemcpy2D_v2(copy); }
CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D* copy, CUstream stream) {
  return copy == nullptr ? CUDA_ERROR_INVALID_VALUE : box(flat_box(*copy), stream, kAsync);
}
CUresult cuMemcpy3D_v2(const CUDA_MEMCPY3D* copy) {
  return copy == nullptr ? CUDA_ERROR_INVALID_VALUE : box(*copy, nullptr, kDone);
}
CUresult cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D* copy, CUstream stream) {
  return copy == nullptr ? CUDA_ERROR_INVALID_VALUE : box(*copy, stream, kAsync);
}

CUresult cuMemcpy3DPeer(const CUDA_MEMCPY3D_PEER* copy) { return peer_box(copy, nullptr, kDone); }
CUresult cuMemcpy3DPeerAsync(const CUDA_MEMCPY3D_PEER* copy, CUstream stream) {
  return peer_box(copy, stream, kAsync);
}

CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t n) {
  return fill(to, 0, value, 1, n, 1, nullptr, kDone);
}
CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t n, CUstream stream) {
  return fill(to, 0, value, 1, n, 1, stream, kAsync);
}
CUresult cuMemsetD2D8_v2(CUdeviceptr to, size_t pitch, unsigned char value, size_t width,
                         size_t height) {
  return fill(to, pitch, value, 1, width, height, nullptr, kDone);
}
CUresult cuMemsetD2D8Async(CUdeviceptr to, size_t pitch, unsigned char value, size_t width,
                           size_t height, CUstream stream) {
  return fill(to, pitch, value, 1, width, height, stream, kAsync);
}

CUresult cuMemsetD16_v2(CUdeviceptr to, unsigned short value, size_t n) {
  return fill(to, 0, value, 2, n, 1, nullptr, kDone);
}
CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t n, CUstream stream) {
  return fill(to, 0, value, 2, n, 1, stream, kAsync);
}
CUresult cuMemsetD2D16_v2(CUdeviceptr to, size_t pitch, unsigned short value, size_t width,
                          size_t height) {
  return fill(to, pitch, value, 2, width, height, nullptr, kDone);
}
CUresult cuMemsetD2D16Async(CUdeviceptr to, size_t pitch, unsigned short value, size_t width,
                            size_t height, CUstream stream) {
  return fill(to, pitch, value, 2, width, height, stream, kAsync);
}

CUresult cuMemsetD32_v2(CUdeviceptr to, unsigned int value, size_t n) {
  return fill(to, 0, value, 4, n, 1, nullptr, kDone);
}
CUresult cuMemsetD32Async(CUdeviceptr to, unsigned int value, size_t n, CUstream stream) {
  return fill(to, 0, value, 4, n, 1, stream, kAsync);
}
CUresult cuMemsetD2D32_v2(CUdeviceptr to, size_t pitch, unsigned int value, size_t width,
                          size_t height) {
  return fill(to, pitch, value, 4, width, height, nullptr, kDone);
}
CUresult cuMemsetD2D32Async(CUdeviceptr to, size_t pitch, unsigned int value, size_t width,
                            size_t height, CUstream stream) {
  return fill(to, pitch, value, 4, width, height, stream, kAsync);
}

}  // namespace api
}  // namespace vgpu::softgpu
