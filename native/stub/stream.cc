// Streams. Created and destroyed without waiting; whether a synchronize needs a trip is known from
// what has been appended since the last one.
#include <algorithm>

#include "generated/stub_api.h"
#include "stub/call.h"
#include "stub/capture.h"
#include "stub/copy.h"
#include "stub/process.h"
#include "stub/shadow.h"
#include "stub/statistics.h"

namespace vgpu::stub::api {
namespace {

CUresult find_stream(CUstream handle, Stream** stream) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  *stream = resolve_stream(handle);
  if (*stream != nullptr) return CUDA_SUCCESS;
  return this_thread().current() == nullptr ? CUDA_ERROR_INVALID_CONTEXT
                                            : CUDA_ERROR_INVALID_HANDLE;
}

// The checks that a query and a synchronize share; `through` is the work that they are about.
CUresult before_wait(CUstream handle, Stream** stream, uint64_t* through) {
  if (const CUresult result = find_stream(handle, stream); result != CUDA_SUCCESS) return result;
  if (const CUresult result = check_not_capturing(**stream); result != CUDA_SUCCESS) return result;
  if (const CUresult result = check_capture_unsafe(); result != CUDA_SUCCESS) return result;
  const Context& context = *(*stream)->context;
  if (!context.alive) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  *through = newest_work(**stream);
  return context_state(context);
}

// Attribute values hold no handles but those of access policy windows, which are addresses.
constexpr size_t kAttributeBytes = 64;
static_assert(sizeof(CUstreamAttrValue) == kAttributeBytes);

}  // namespace

CUresult cuStreamCreateWithPriority(CUstream* phStream, unsigned int flags, int priority) {
  Call call(Opcode::cuStreamCreateWithPriority);
  if (!call.ok()) return call.result();
  if (phStream == nullptr || flags > CU_STREAM_NON_BLOCKING) return CUDA_ERROR_INVALID_VALUE;
  int least = 0;
  int greatest = 0;
  if (priority != 0) static_cast<void>(api::cuCtxGetStreamPriorityRange(&least, &greatest));
  priority = std::clamp(priority, std::min(greatest, least), std::max(greatest, least));
  Stream* stream = process()->streams.create([&](Stream& fresh) {
    fresh.context = call.context();
    fresh.flags = flags;
    fresh.priority = priority;
    fresh.last = fresh.synced = 0;
    fresh.capture = nullptr;
  });
  if (stream == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  call.put(stream->id.load());
  call.put(flags);
  call.put(static_cast<int32_t>(priority));
  const CUresult result = call.finish();
  if (result != CUDA_SUCCESS) {
    process()->streams.destroy(stream->id);
    return result;
  }
  *phStream = as_handle<CUstream>(stream->id);
  return CUDA_SUCCESS;
}

CUresult cuStreamCreate(CUstream* phStream, unsigned int Flags) {
  return api::cuStreamCreateWithPriority(phStream, Flags, 0);
}

CUresult cuStreamDestroy_v2(CUstream hStream) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  const auto id = as_id(hStream);
  Stream* stream = process()->streams.find(id);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  Context* context = stream->context;
  Call call(Opcode::cuStreamDestroy_v2, context);
  if (!call.ok()) return call.result();
  if (!process()->streams.destroy(id)) return CUDA_ERROR_INVALID_HANDLE;
  call.header().stream = id;
  call.put(id);
  return call.send();
}

CUresult cuStreamGetPriority(CUstream hStream, int* priority) {
  Stream* stream = nullptr;
  if (const CUresult result = find_stream(hStream, &stream); result != CUDA_SUCCESS) return result;
  if (priority == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *priority = stream->priority;
  return CUDA_SUCCESS;
}

CUresult cuStreamGetId(CUstream hStream, unsigned long long* streamId) {
  Stream* stream = nullptr;
  if (const CUresult result = find_stream(hStream, &stream); result != CUDA_SUCCESS) return result;
  if (streamId == nullptr) return CUDA_ERROR_INVALID_VALUE;
  // The legacy stream of a context is told from that of another one.
  const uint64_t id = stream->id.load();
  *streamId = id == 0 ? stream->context->number << 40 | 1 : id;
  return CUDA_SUCCESS;
}

CUresult cuStreamGetFlags(CUstream hStream, unsigned int* flags) {
  Stream* stream = nullptr;
  if (const CUresult result = find_stream(hStream, &stream); result != CUDA_SUCCESS) return result;
  if (flags == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *flags = stream->flags;
  return CUDA_SUCCESS;
}

CUresult cuStreamGetDevice(CUstream hStream, CUdevice* device) {
  Stream* stream = nullptr;
  if (const CUresult result = find_stream(hStream, &stream); result != CUDA_SUCCESS) return result;
  if (device == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *device = stream->context->device->ordinal;
  return CUDA_SUCCESS;
}

CUresult cuStreamGetCtx(CUstream hStream, CUcontext* pctx) {
  Stream* stream = nullptr;
  if (const CUresult result = find_stream(hStream, &stream); result != CUDA_SUCCESS) return result;
  if (pctx == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *pctx = as_handle<CUcontext>(stream->context->id);
  return CUDA_SUCCESS;
}

CUresult cuStreamGetCtx_v2(CUstream hStream, CUcontext* pCtx, CUgreenCtx* pGreenCtx) {
  if (pGreenCtx != nullptr) *pGreenCtx = nullptr;
  return api::cuStreamGetCtx(hStream, pCtx);
}

CUresult cuStreamGetGreenCtx(CUstream hStream, CUgreenCtx* phCtx) {
  Stream* stream = nullptr;
  if (const CUresult result = find_stream(hStream, &stream); result != CUDA_SUCCESS) return result;
  if (phCtx == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *phCtx = nullptr;
  return CUDA_SUCCESS;
}

CUresult cuStreamSynchronize(CUstream hStream) {
  Stream* stream = nullptr;
  uint64_t through = 0;
  if (const CUresult result = before_wait(hStream, &stream, &through); result != CUDA_SUCCESS) {
    return result;
  }
  if (all_work_known_complete(*stream)) {
    counters().local_synchronizes.fetch_add(1, std::memory_order_relaxed);
    return process()->link() != nullptr && process()->link()->lost() ? process()->lost()
                                                                     : CUDA_SUCCESS;
  }
  ShadowPull pull(stream);
  Call call(Opcode::cuStreamSynchronize);
  call.adds_no_work();
  call.stream(stream);
  const CUresult result = call.wait();
  if (result == CUDA_SUCCESS) {
    set_complete(*stream, through);
    pull.landed();
  }
  return result;
}

CUresult cuStreamQuery(CUstream hStream) {
  Stream* stream = nullptr;
  uint64_t through = 0;
  if (const CUresult result = before_wait(hStream, &stream, &through); result != CUDA_SUCCESS) {
    return result;
  }
  if (all_work_known_complete(*stream)) return CUDA_SUCCESS;
  Call call(Opcode::cuStreamQuery);
  call.adds_no_work();
  call.stream(stream);
  const CUresult result = call.wait();
  if (result == CUDA_SUCCESS) {
    set_complete(*stream, through);
    pull_shadows(stream);
  }
  return result;
}

CUresult cuStreamWaitEvent(CUstream hStream, CUevent hEvent, unsigned int Flags) {
  Call call(Opcode::cuStreamWaitEvent);
  call.stream(hStream);
  const uint64_t id = call.ok() ? call.handle(HandleKind::kEvent, hEvent) : 0;
  if (!call.ok()) return call.result();
  if ((Flags & ~unsigned{CU_EVENT_WAIT_EXTERNAL}) != 0) return CUDA_ERROR_INVALID_VALUE;
  const Event* event = process()->events.find(id);
  if (event == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  Stream* stream = call.ordered_by();
  Capture* captured = event->capture.load();
  Capture* own = stream->capture.load();
  if (captured != nullptr && own == nullptr) {
    if (stream == &stream->context->legacy) return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
    join_capture(*captured, *stream);
  } else if (captured != nullptr && own != captured) {
    own->invalidated = captured->invalidated = true;
    return CUDA_ERROR_STREAM_CAPTURE_MERGE;
  } else if (captured == nullptr && own != nullptr && (Flags & CU_EVENT_WAIT_EXTERNAL) == 0) {
    own->invalidated = true;
    return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
  }
  call.put(id);
  call.put(Flags);
  return call.finish();
}

CUresult cuStreamCopyAttributes(CUstream dst, CUstream src) {
  Call call(Opcode::cuStreamCopyAttributes);
  Stream* to = call.ok() ? resolve_stream(dst) : nullptr;
  Stream* from = call.ok() ? resolve_stream(src) : nullptr;
  if (!call.ok()) return call.result();
  if (to == nullptr || from == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  call.put(to->id.load());
  call.put(from->id.load());
  return call.finish();
}

CUresult cuStreamGetAttribute(CUstream hStream, CUstreamAttrID attr, CUstreamAttrValue* value_out) {
  Call call(Opcode::cuStreamGetAttribute);
  call.adds_no_work();
  call.stream(hStream);
  if (!call.ok()) return call.result();
  if (value_out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  call.put(static_cast<uint32_t>(attr));
  const CUresult result = call.wait();
  const auto bytes = call.reply().take(kAttributeBytes);
  if (result == CUDA_SUCCESS && call.reply().ok()) {
    std::memcpy(value_out, bytes.data(), kAttributeBytes);
  }
  return result;
}

CUresult cuStreamSetAttribute(CUstream hStream, CUstreamAttrID attr,
                              const CUstreamAttrValue* value) {
  Call call(Opcode::cuStreamSetAttribute);
  call.stream(hStream);
  if (!call.ok()) return call.result();
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  call.put(static_cast<uint32_t>(attr));
  call.raw(value, kAttributeBytes);
  return call.finish();
}

namespace {

// 4 or 8 bytes of memory of the program, at a multiple of their size.
bool holds_value(CUdeviceptr address, uint64_t size) {
  if (address % size != 0) return false;
  if (writable(address, size)) return true;
  const auto shadows = process()->host.shadowed();  // device copies of mapped host memory
  return std::any_of(shadows.begin(), shadows.end(), [&](const HostRange& range) {
    return address >= range.shadow && address + size <= range.shadow + range.size;
  });
}

template <typename T>
CUresult value_operation(Opcode opcode, CUstream stream, CUdeviceptr address, T value,
                         unsigned flags) {
  Call call(opcode);
  call.stream(stream);
  if (!call.ok()) return call.result();
  if (!holds_value(address, sizeof value)) return CUDA_ERROR_INVALID_VALUE;
  call.put(static_cast<uint64_t>(address));
  call.put(value);
  call.put(flags);
  return call.finish();
}

bool valid_step(const CUstreamBatchMemOpParams& step) {
  switch (step.operation) {
    case CU_STREAM_MEM_OP_WAIT_VALUE_32:
    case CU_STREAM_MEM_OP_WRITE_VALUE_32:
      return holds_value(step.waitValue.address, 4);  // the same place in writeValue
    case CU_STREAM_MEM_OP_WAIT_VALUE_64:
    case CU_STREAM_MEM_OP_WRITE_VALUE_64:
      return holds_value(step.waitValue.address, 8);
    default:
      return true;  // the driver knows
  }
}

}  // namespace

CUresult cuStreamWaitValue32_v2(CUstream stream, CUdeviceptr addr, cuuint32_t value,
                                unsigned int flags) {
  return value_operation(Opcode::cuStreamWaitValue32_v2, stream, addr, value, flags);
}
CUresult cuStreamWaitValue64_v2(CUstream stream, CUdeviceptr addr, cuuint64_t value,
                                unsigned int flags) {
  return value_operation(Opcode::cuStreamWaitValue64_v2, stream, addr, uint64_t{value}, flags);
}
CUresult cuStreamWriteValue32_v2(CUstream stream, CUdeviceptr addr, cuuint32_t value,
                                 unsigned int flags) {
  return value_operation(Opcode::cuStreamWriteValue32_v2, stream, addr, value, flags);
}
CUresult cuStreamWriteValue64_v2(CUstream stream, CUdeviceptr addr, cuuint64_t value,
                                 unsigned int flags) {
  return value_operation(Opcode::cuStreamWriteValue64_v2, stream, addr, uint64_t{value}, flags);
}

CUresult cuStreamBatchMemOp_v2(CUstream stream, unsigned int count,
                               CUstreamBatchMemOpParams* paramArray, unsigned int flags) {
  static_assert(sizeof(CUstreamBatchMemOpParams) == 48);
  Call call(Opcode::cuStreamBatchMemOp_v2);
  call.stream(stream);
  if (!call.ok()) return call.result();
  if (paramArray == nullptr || count == 0 || count > 256) return CUDA_ERROR_INVALID_VALUE;
  if (!std::all_of(paramArray, paramArray + count, valid_step)) return CUDA_ERROR_INVALID_VALUE;
  call.put(count);
  call.raw(paramArray, count * sizeof *paramArray);
  call.put(flags);
  return call.finish();
}

}  // namespace vgpu::stub::api
