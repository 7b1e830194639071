// Copies between client and device, through host buffers of ours. The device reads and writes those
// after the handler has returned, so they live until a mark on the stream says that it is done.
#include <cstring>
#include <utility>

#include "executor/handlers/host_side.h"
#include "executor/handlers/support.h"
#include "generated/executor_api.h"

namespace vgpu::executor::handlers {
namespace {

// Where the bytes of a host-to-device copy are: the transfer, or a copy of what came with the
// record.
StagingPool::Piece source_bytes(Session& session, wire::Reader& in, uint64_t transfer,
                                uint64_t size) {
  if (transfer != 0) {
    auto buffer = session.take_bulk(transfer);
    if (buffer == nullptr || buffer->size != size) return {};
    return {buffer->data, buffer};
  }
  const auto bytes = in.take(size);
  if (!in.ok()) return {};
  StagingPool::Piece piece = session.staging().piece(size);
  if (piece.data != nullptr) std::memcpy(piece.data, bytes.data(), size);
  return piece;
}

// Sends what the device has written into `buffer`, and answers, when the stream gets there.
CUresult deliver(Session& session, const Command& command, uint64_t transfer,
                 StagingPool::Buffer buffer) {
  session.after(command,
                [&session, command, transfer, buffer = std::move(buffer)](CUresult result) {
                  if (result != CUDA_SUCCESS) {
                    session.reply(command, result);
                  } else if (transfer != 0) {
                    session.send_bulk(transfer, buffer, buffer->data, buffer->size);
                    session.reply(command, CUDA_SUCCESS);
                  } else {
                    session.reply(command, CUDA_SUCCESS, {buffer->data, buffer->size});
                  }
                });
  return kDeferred;
}

}  // namespace

CUresult cuMemcpyHtoDAsync_v2(Session& session, const Command& command, wire::Reader& in,
                              wire::Writer&) {
  const bool bulk = (command.header.flags & wire::kHasBulk) != 0;
  const auto transfer = bulk ? in.get<uint64_t>() : 0;
  const auto destination = in.get<uint64_t>();
  const auto size = in.get<uint64_t>();
  const CUstream stream = session.stream(command.header.stream);
  if (!in.ok()) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (size == 0) return CUDA_SUCCESS;
  // A graph reads the bytes at each launch: such copies travel as nodes do.
  if (session.capturing(command)) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  StagingPool::Piece source = source_bytes(session, in, transfer, size);
  Session::failed();
  if (source.data == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUresult result =
      session.driver().cuMemcpyHtoDAsync_v2(destination, source.data, size, stream);
  if (result == CUDA_SUCCESS) session.hold(command, std::move(source.owner));
  return result;
}

CUresult cuMemcpyDtoHAsync_v2(Session& session, const Command& command, wire::Reader& in,
                              wire::Writer&) {
  const bool bulk = (command.header.flags & wire::kHasBulk) != 0;
  const bool waits = (command.header.flags & wire::kReplyWanted) != 0;
  const auto transfer = bulk ? in.get<uint64_t>() : 0;
  const auto source = in.get<uint64_t>();
  const auto size = in.get<uint64_t>();
  const CUstream stream = session.stream(command.header.stream);
  if (!in.ok() || (transfer == 0 && (size > wire::kMaxInline || !waits))) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (session.capturing(command)) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  auto buffer = session.staging().get(size);
  if (buffer == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  if (size != 0) {
    const CUresult result =
        session.driver().cuMemcpyDtoHAsync_v2(buffer->data, source, size, stream);
    if (result != CUDA_SUCCESS) return result;
  }
  return deliver(session, command, transfer, std::move(buffer));
}

namespace {

// One side of a copy. False when the client names something that is not there.
bool fill_source(Session& session, const wire::CopyEnd& end, CUDA_MEMCPY3D& copy) {
  copy.srcMemoryType = static_cast<CUmemorytype>(end.memory_type);
  copy.srcXInBytes = end.x_bytes;
  copy.srcY = end.y;
  copy.srcZ = end.z;
  copy.srcLOD = end.lod;
  copy.srcPitch = end.pitch;
  copy.srcHeight = end.height;
  if (end.memory_type == CU_MEMORYTYPE_DEVICE) copy.srcDevice = end.pointer;
  if (end.memory_type == CU_MEMORYTYPE_ARRAY) copy.srcArray = session.resolve<CUarray>(end.pointer);
  return end.memory_type >= CU_MEMORYTYPE_HOST && end.memory_type <= CU_MEMORYTYPE_ARRAY;
}

bool fill_destination(Session& session, const wire::CopyEnd& end, CUDA_MEMCPY3D& copy) {
  copy.dstMemoryType = static_cast<CUmemorytype>(end.memory_type);
  copy.dstXInBytes = end.x_bytes;
  copy.dstY = end.y;
  copy.dstZ = end.z;
  copy.dstLOD = end.lod;
  copy.dstPitch = end.pitch;
  copy.dstHeight = end.height;
  if (end.memory_type == CU_MEMORYTYPE_DEVICE) copy.dstDevice = end.pointer;
  if (end.memory_type == CU_MEMORYTYPE_ARRAY) copy.dstArray = session.resolve<CUarray>(end.pointer);
  return end.memory_type >= CU_MEMORYTYPE_HOST && end.memory_type <= CU_MEMORYTYPE_ARRAY;
}

}  // namespace

uint64_t packed_size(const wire::Copy3d& copy) {
  constexpr uint64_t kMost = uint64_t{1} << 40;
  if (copy.width_bytes > kMost || copy.height > kMost || copy.depth > kMost) return 0;
  const auto rows = static_cast<unsigned __int128>(copy.height) * copy.depth;
  const auto bytes = rows * copy.width_bytes;
  return bytes > kMost ? 0 : static_cast<uint64_t>(bytes);
}

bool describe_copy(Session& session, const wire::Copy3d& from, CUDA_MEMCPY3D& to) {
  to = {};
  to.WidthInBytes = from.width_bytes;
  to.Height = from.height;
  to.Depth = from.depth;
  return fill_source(session, from.source, to) && fill_destination(session, from.destination, to);
}

// Between devices only: a copy with a host side travels as cuMemcpy3DAsync_v2.
CUresult cuMemcpy3DPeerAsync(Session& session, const Command& command, wire::Reader& in,
                             wire::Writer&) {
  const auto wanted = in.get<wire::Copy3d>();
  const auto source = session.resolve<CUcontext>(in.get<uint64_t>());
  const auto destination = session.resolve<CUcontext>(in.get<uint64_t>());
  const CUstream stream = session.stream(command.header.stream);
  CUDA_MEMCPY3D plain{};
  if (!in.ok() || !describe_copy(session, wanted, plain)) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  if (plain.srcMemoryType == CU_MEMORYTYPE_HOST || plain.dstMemoryType == CU_MEMORYTYPE_HOST) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (session.driver().cuMemcpy3DPeerAsync == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  CUDA_MEMCPY3D_PEER copy{};
  copy.srcXInBytes = plain.srcXInBytes;
  copy.srcY = plain.srcY;
  copy.srcZ = plain.srcZ;
  copy.srcLOD = plain.srcLOD;
  copy.srcMemoryType = plain.srcMemoryType;
  copy.srcDevice = plain.srcDevice;
  copy.srcArray = plain.srcArray;
  copy.srcContext = source;
  copy.srcPitch = plain.srcPitch;
  copy.srcHeight = plain.srcHeight;
  copy.dstXInBytes = plain.dstXInBytes;
  copy.dstY = plain.dstY;
  copy.dstZ = plain.dstZ;
  copy.dstLOD = plain.dstLOD;
  copy.dstMemoryType = plain.dstMemoryType;
  copy.dstDevice = plain.dstDevice;
  copy.dstArray = plain.dstArray;
  copy.dstContext = destination;
  copy.dstPitch = plain.dstPitch;
  copy.dstHeight = plain.dstHeight;
  copy.WidthInBytes = plain.WidthInBytes;
  copy.Height = plain.Height;
  copy.Depth = plain.Depth;
  return session.driver().cuMemcpy3DPeerAsync(&copy, stream);
}

namespace {

// Under capture: a node that reaches into the client.
CUresult capture_copy(Session& session, const Command& command, const wire::Copy3d& wanted,
                      CUDA_MEMCPY3D& copy, CUstream stream) {
  std::shared_ptr<HostEntry> entry;
  if (const CUresult result = make_copy_entry(session, wanted, copy, entry);
      result != CUDA_SUCCESS) {
    return result;
  }
  const CUresult result = session.driver().cuMemcpy3DAsync_v2(&copy, stream);
  if (result == CUDA_SUCCESS) {
    session.give_to_graph(captured_graph(session, command), *entry);
  } else {
    session.host_calls().discard(entry->id);
  }
  return result;
}

}  // namespace

CUresult cuMemcpy3DAsync_v2(Session& session, const Command& command, wire::Reader& in,
                            wire::Writer&) {
  const bool bulk = (command.header.flags & wire::kHasBulk) != 0;
  const auto transfer = bulk ? in.get<uint64_t>() : 0;
  const auto wanted = in.get<wire::Copy3d>();
  const CUstream stream = session.stream(command.header.stream);
  CUDA_MEMCPY3D copy{};
  if (!in.ok() || !describe_copy(session, wanted, copy)) return CUDA_ERROR_INVALID_VALUE;
  if (Session::failed()) return CUDA_ERROR_INVALID_HANDLE;
  const bool from_host = wanted.source.memory_type == CU_MEMORYTYPE_HOST;
  const bool to_host = wanted.destination.memory_type == CU_MEMORYTYPE_HOST;
  const uint64_t size = packed_size(wanted);
  if (size == 0 || (from_host && to_host)) return CUDA_ERROR_INVALID_VALUE;
  if (session.driver().cuMemcpy3DAsync_v2 == nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  if ((from_host || to_host) && session.capturing(command)) {
    return capture_copy(session, command, wanted, copy, stream);
  }
  StagingPool::Piece source;
  StagingPool::Buffer destination;
  if (from_host) {
    source = source_bytes(session, in, transfer, size);
    Session::failed();
    if (source.data == nullptr) return CUDA_ERROR_INVALID_VALUE;
    copy.srcHost = source.data;
    copy.srcPitch = copy.WidthInBytes;
    copy.srcHeight = copy.Height;
    copy.srcXInBytes = copy.srcY = copy.srcZ = 0;
  }
  if (to_host) {
    const bool waits = (command.header.flags & wire::kReplyWanted) != 0;
    if (transfer == 0 && (size > wire::kMaxInline || !waits)) return CUDA_ERROR_INVALID_VALUE;
    destination = session.staging().get(size);
    if (destination == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
    copy.dstHost = destination->data;
    copy.dstPitch = copy.WidthInBytes;
    copy.dstHeight = copy.Height;
    copy.dstXInBytes = copy.dstY = copy.dstZ = 0;
  }
  const CUresult result = session.driver().cuMemcpy3DAsync_v2(&copy, stream);
  if (result != CUDA_SUCCESS) return result;
  if (from_host) session.hold(command, std::move(source.owner));
  return to_host ? deliver(session, command, transfer, std::move(destination)) : CUDA_SUCCESS;
}

}  // namespace vgpu::executor::handlers
