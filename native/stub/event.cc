// Events. Their completion is known without a trip when the stream is known to have got past the
// record.
#include "generated/stub_api.h"
#include "stub/call.h"
#include "stub/capture.h"
#include "stub/process.h"
#include "stub/shadow.h"

namespace vgpu::stub::api {
namespace {

CUresult find_event(CUevent handle, Event** event) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  *event = process()->events.find(handle);
  return *event == nullptr ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}

bool known_complete(const Event& event) {
  if (event.in_graph.load()) return false;  // a launch may have recorded it anew
  const uint64_t recorded = event.recorded.load(std::memory_order_acquire);
  if (recorded == event.completed.load(std::memory_order_acquire)) return true;
  if (recorded <= event.context->synced.load()) return true;
  const Stream* stream = event.stream.load();
  if (stream == nullptr || stream->id.load() != event.stream_id.load()) return false;
  if (recorded <= stream->synced.load()) return true;
  return stream->blocking() && recorded <= stream->context->blocking_synced.load();
}

// Shared by query and synchronize.
CUresult wait_for(Opcode opcode, CUevent handle) {
  Event* event = nullptr;
  if (const CUresult result = find_event(handle, &event); result != CUDA_SUCCESS) return result;
  if (event->capture.load() != nullptr) {
    event->capture.load()->invalidated = true;
    return CUDA_ERROR_CAPTURED_EVENT;
  }
  if (const CUresult result = check_capture_unsafe(); result != CUDA_SUCCESS) return result;
  if (const CUresult result = context_state(*event->context); result != CUDA_SUCCESS) return result;
  const uint64_t recorded = event->recorded.load();
  if (known_complete(*event)) {
    return process()->link() != nullptr && process()->link()->lost() ? process()->lost()
                                                                     : CUDA_SUCCESS;
  }
  Call call(opcode, event->context);
  call.adds_no_work();
  call.put(event->id.load());
  const CUresult result = call.wait();
  if (result != CUDA_SUCCESS) return result;
  if (!event->in_graph.load()) {
    event->completed.store(recorded, std::memory_order_release);
    Stream* stream = event->stream.load();
    if (stream != nullptr && stream->id.load() == event->stream_id.load()) {
      set_complete(*stream, recorded);
    }
  }
  pull_shadows(nullptr);
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuEventCreate(CUevent* phEvent, unsigned int Flags) {
  Call call(Opcode::cuEventCreate);
  if (!call.ok()) return call.result();
  const bool shared = (Flags & CU_EVENT_INTERPROCESS) != 0;
  if (phEvent == nullptr || Flags > 7 || (shared && (Flags & CU_EVENT_DISABLE_TIMING) == 0)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (shared) return unsupported("cuEventCreate with CU_EVENT_INTERPROCESS");
  Event* event = process()->events.create([&](Event& fresh) {
    fresh.context = call.context();
    fresh.flags = Flags;
    fresh.stream = nullptr;
    fresh.stream_id = 0;
    fresh.recorded = fresh.completed = 0;
    fresh.capture = nullptr;
    fresh.in_graph = false;
  });
  if (event == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  call.put(event->id.load());
  call.put(Flags);
  const CUresult result = call.finish();
  if (result != CUDA_SUCCESS) {
    process()->events.destroy(event->id);
    return result;
  }
  *phEvent = as_handle<CUevent>(event->id);
  return CUDA_SUCCESS;
}

CUresult cuEventDestroy_v2(CUevent hEvent) {
  Event* event = nullptr;
  if (const CUresult result = find_event(hEvent, &event); result != CUDA_SUCCESS) return result;
  Call call(Opcode::cuEventDestroy_v2, event->context);
  if (!call.ok()) return call.result();
  call.put(call.destroy(HandleKind::kEvent, hEvent));
  return call.send();
}

CUresult cuEventRecordWithFlags(CUevent hEvent, CUstream hStream, unsigned int flags) {
  Call call(Opcode::cuEventRecordWithFlags);
  call.stream(hStream);
  if (!call.ok()) return call.result();
  Event* event = process()->events.find(hEvent);
  Stream* stream = call.ordered_by();
  if (event == nullptr || event->context != stream->context) return CUDA_ERROR_INVALID_HANDLE;
  if (flags > CU_EVENT_RECORD_EXTERNAL) return CUDA_ERROR_INVALID_VALUE;
  Capture* capture = stream->capture.load();
  call.put(event->id.load());
  call.put(flags);
  const CUresult result = call.send();
  if (result != CUDA_SUCCESS) return result;
  if (flags == CU_EVENT_RECORD_EXTERNAL && capture != nullptr) {
    event->in_graph = true;
    return CUDA_SUCCESS;
  }
  event->capture = capture;
  if (capture != nullptr) return CUDA_SUCCESS;
  event->stream = stream;
  event->stream_id = stream->id.load();
  event->recorded.store(call.number(), std::memory_order_release);
  return CUDA_SUCCESS;
}

CUresult cuEventRecord(CUevent hEvent, CUstream hStream) {
  return api::cuEventRecordWithFlags(hEvent, hStream, CU_EVENT_RECORD_DEFAULT);
}

CUresult cuEventQuery(CUevent hEvent) { return wait_for(Opcode::cuEventQuery, hEvent); }
CUresult cuEventSynchronize(CUevent hEvent) { return wait_for(Opcode::cuEventSynchronize, hEvent); }

CUresult cuEventElapsedTime(float* pMilliseconds, CUevent hStart, CUevent hEnd) {
  Event* start = nullptr;
  Event* end = nullptr;
  if (const CUresult result = find_event(hStart, &start); result != CUDA_SUCCESS) return result;
  if (const CUresult result = find_event(hEnd, &end); result != CUDA_SUCCESS) return result;
  if (pMilliseconds == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const bool timed = ((start->flags | end->flags) & CU_EVENT_DISABLE_TIMING) == 0;
  const auto was_recorded = [](const Event& event) {
    return event.recorded.load() != 0 || event.in_graph.load();
  };
  const bool recorded = was_recorded(*start) && was_recorded(*end);
  if (!timed || !recorded || start->context != end->context) return CUDA_ERROR_INVALID_HANDLE;
  Call call(Opcode::cuEventElapsedTime, start->context);
  call.adds_no_work();
  call.put(start->id.load());
  call.put(end->id.load());
  const CUresult result = call.wait();
  if (result == CUDA_SUCCESS) *pMilliseconds = call.get<float>();
  return result;
}

}  // namespace vgpu::stub::api
