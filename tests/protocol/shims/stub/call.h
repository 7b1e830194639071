// The primitives that generated stub bodies use, without a session: finish() hands the payload to
// the executor's handler in the same process.
#pragma once

#include <cuda.h>

#include "executor/session.h"
#include "generated/executor_api.h"
#include "generated/opcode.h"
#include "wire/handle.h"
#include "wire/reader.h"
#include "wire/writer.h"

namespace vgpu::stub {

template <typename Handle>
Handle as_handle(uint64_t id) {
  return reinterpret_cast<Handle>(id);
}

// The last payload that a body made.
inline std::vector<std::byte> last_payload;

class Call {
 public:
  explicit Call(Opcode opcode) : opcode_(opcode) {}
  bool ok() const { return result_ == CUDA_SUCCESS; }
  CUresult result() const { return result_; }
  void stream(CUstream stream) { command_.header.stream = reinterpret_cast<uint64_t>(stream); }
  template <typename T>
  void put(T value) {
    writer_.put(value);
  }
  void text(const char* value) { writer_.text(value); }
  void array(const void* data, size_t count, size_t size) { writer_.array(data, count, size); }
  uint32_t device(CUdevice device) { return static_cast<uint32_t>(device); }
  template <typename Handle>
  uint64_t handle(wire::HandleKind, Handle handle) {
    if (handle == Handle{}) result_ = CUDA_ERROR_INVALID_HANDLE;
    return (uint64_t)handle;
  }
  template <typename Handle>
  uint64_t destroy(wire::HandleKind kind, Handle value) {
    return handle(kind, value);
  }
  uint64_t create(wire::HandleKind kind) { return wire::make_handle(kind, 77); }
  CUresult finish() {
    if (!ok()) return result_;
    last_payload = writer_.buffer();
    wire::Reader in(last_payload);
    executor::Session session;
    result_ = executor::find_handler(opcode_)(session, command_, in, out_);
    reply_ = wire::Reader(out_.bytes());
    return result_;
  }
  template <typename T>
  T get() {
    return reply_.get<T>();
  }

 private:
  Opcode opcode_;
  CUresult result_ = CUDA_SUCCESS;
  executor::Command command_;
  wire::Writer writer_;
  wire::Writer out_;
  wire::Reader reply_;
};

}  // namespace vgpu::stub
