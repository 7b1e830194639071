// One driver call on its way to the executor: the primitives that generated and hand-written bodies
// use.
//
//   Call call(Opcode::cuMemsetD8Async);   // initialised? lost? current context? sticky error?
//   if (!call.ok()) return call.result();
//   call.stream(hStream);                 // validates; maps legacy and per-thread handles
//   call.put(dstDevice); ...
//   return call.finish();                 // appends (async) or waits (sync)
#pragma once

#include <cuda.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include "generated/opcode.h"
#include "stub/process.h"
#include "stub/thread.h"
#include "wire/handle.h"
#include "wire/reader.h"
#include "wire/record.h"
#include "wire/writer.h"

namespace vgpu::stub {

using wire::HandleKind;

template <typename Handle>
Handle as_handle(uint64_t id) {
  if constexpr (std::is_pointer_v<Handle>) {
    return reinterpret_cast<Handle>(id);
  } else {
    return static_cast<Handle>(id);
  }
}
template <typename Handle>
uint64_t as_id(Handle handle) {
  if constexpr (std::is_pointer_v<Handle>) {
    return reinterpret_cast<uint64_t>(handle);
  } else {
    return static_cast<uint64_t>(handle);
  }
}

// For entry points that we export and do not serve: one log line per name.
CUresult unsupported(const char* name) noexcept;

class Call {
 public:
  // In the thread's current context, which must be there unless the call's order is none.
  explicit Call(Opcode opcode);
  // In a given context (null: none), without the check of sticky errors.
  Call(Opcode opcode, Context* context);
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  [[nodiscard]] bool ok() const { return result_ == CUDA_SUCCESS; }
  [[nodiscard]] CUresult result() const { return result_; }
  void fail(CUresult result) {
    if (result_ == CUDA_SUCCESS) result_ = result;
  }

  // The stream that orders the call. An unknown one fails it with CUDA_ERROR_INVALID_HANDLE.
  void stream(CUstream handle);
  void stream(Stream* stream);
  [[nodiscard]] Stream* ordered_by() const { return stream_; }
  [[nodiscard]] Context* context() const { return context_; }
  // The record's number, for the progress of its stream (0 before it was sent).
  [[nodiscard]] uint64_t number() const { return number_; }
  // The executor waits for this call on its stream, but it adds no work (queries, synchronizes).
  void adds_no_work() { adds_work_ = false; }

  template <typename T>
  void put(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    writer_.put(value);
  }
  void text(const char* value) {
    writer_.text(value == nullptr ? std::string_view() : std::string_view(value));
  }
  void blob(const void* data, size_t size) { writer_.blob(data, size); }
  void raw(const void* data, size_t size) { writer_.raw(data, size); }
  void array(const void* data, size_t count, size_t element) {
    writer_.array(data, count, element);
  }

  // A CUdevice as it travels: the worker's ordinal.
  uint32_t device(CUdevice ordinal);
  // The id of a handle; an unknown one fails the call.
  template <typename Handle>
  uint64_t handle(HandleKind kind, Handle handle) {
    const uint64_t id = as_id(handle);
    if (!is_valid(kind, id)) fail(CUDA_ERROR_INVALID_HANDLE);
    return id;
  }
  // The same, or 0 for a null handle.
  template <typename Handle>
  uint64_t optional_handle(HandleKind kind, Handle value) {
    return as_id(value) == 0 ? 0 : handle(kind, value);
  }
  // A fresh id; forgotten again when the call fails.
  uint64_t create(HandleKind kind);
  // The id of a handle that dies with this call.
  template <typename Handle>
  uint64_t destroy(HandleKind kind, Handle handle) {
    const uint64_t id = as_id(handle);
    if (!forget(kind, id)) fail(CUDA_ERROR_INVALID_HANDLE);
    return id;
  }
  static bool is_valid(HandleKind kind, uint64_t id);

  // As CallInfo says: appends or waits.
  CUresult finish();
  // Appends, whatever the class (waits for the result when every call has to).
  CUresult send();
  // Appends, even when every call waits.
  CUresult append() { return ok() ? result_ = transmit() : result_; }
  // Waits for the reply.
  CUresult wait();
  // Appended data that is not copied into the record's buffer: one further part of the payload.
  void tail(const void* data, size_t size) { tail_ = {static_cast<const std::byte*>(data), size}; }
  void has_bulk() { header_.flags |= wire::kHasBulk; }
  wire::RecordHeader& header() { return header_; }

  // The reply's payload, after wait().
  wire::Reader& reply() { return reply_; }
  template <typename T>
  T get() {
    return reply_.get<T>();
  }
  // Outs that travel as a counted array: copies at most `count` elements, returns how many came.
  size_t take_array(void* destination, size_t count, size_t element);

 private:
  void begin(Opcode opcode);
  void check_context();
  CUresult announce();
  void mark();
  CUresult transmit();
  CUresult not_sent();
  CUresult deliver(const transport::Reply& reply);
  CUresult blocking_wait();
  static bool forget(HandleKind kind, uint64_t id);

  ThreadState& thread_;
  wire::Writer& writer_;
  Process* process_ = nullptr;
  Context* context_ = nullptr;
  Stream* stream_ = nullptr;
  const CallInfo* info_ = nullptr;
  CUresult result_ = CUDA_SUCCESS;
  bool adds_work_ = true;
  uint64_t number_ = 0;
  HandleKind created_kind_ = HandleKind::kContext;
  uint64_t created_ = 0;
  wire::RecordHeader header_{};
  std::span<const std::byte> tail_;
  transport::Reply answer_;
  wire::Reader reply_;
};

// Progress of streams, counted in record numbers.
[[nodiscard]] uint64_t newest_work(const Stream& stream);
[[nodiscard]] bool all_work_known_complete(const Stream& stream);
void set_complete(Stream& stream, uint64_t through);
void set_complete(Context& context, uint64_t through);

// For sync calls that the stub may answer itself: the context's sticky error, or success.
CUresult context_state(const Context& context);
// The current context of a call that stays local: INVALID_CONTEXT without one, its sticky error.
CUresult current_context(Context** context);

}  // namespace vgpu::stub
