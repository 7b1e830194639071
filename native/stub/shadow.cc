#include "stub/shadow.h"

#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include "generated/stub_api.h"
#include "stub/call.h"
#include "stub/copy.h"
#include "stub/process.h"

namespace vgpu::stub {
namespace {

constexpr size_t kLimit = 1u << 20;

struct Shadow {
  std::byte* host = nullptr;
  size_t size = 0;
  uint64_t device = 0;
  Context* context = nullptr;
  std::vector<std::byte> known;     // what both sides held when they last agreed
  std::vector<std::byte> incoming;  // landing place
};

struct Shadows {
  std::mutex mutex;  // guards the members below
  std::vector<std::unique_ptr<Shadow>> all;
  size_t bytes = 0;
  uint64_t stream = 0;  // for pull_shadows(nullptr)
};

constinit std::atomic<int> shadow_count{0};

Shadows& shadows() {
  static Shadows* instance = new Shadows;
  return *instance;
}

// The device's changes win over the host's only where the device changed something.
void take_over(Shadow& shadow) {
  for (size_t i = 0; i < shadow.size; ++i) {
    if (shadow.incoming[i] == shadow.known[i]) continue;
    shadow.host[i] = shadow.known[i] = shadow.incoming[i];
  }
}

}  // namespace

CUresult make_shadow(Context& context, void* host, size_t size, uint64_t* address) {
  Shadows& table = shadows();
  const std::lock_guard lock(table.mutex);
  if (table.bytes + size > kLimit) return unsupported("mapped host memory beyond 1 MiB");
  Call call(Opcode::cuMemAlloc_v2, &context);
  call.put(static_cast<uint64_t>(size));
  CUresult result = call.wait();
  if (result != CUDA_SUCCESS) return result;
  auto shadow = std::make_unique<Shadow>();
  shadow->host = static_cast<std::byte*>(host);
  shadow->size = size;
  shadow->device = call.get<uint64_t>();
  shadow->context = &context;
  shadow->known.assign(shadow->host, shadow->host + size);
  shadow->incoming = shadow->known;
  result = send_to_device(&context.legacy, shadow->device, host, size);
  if (result != CUDA_SUCCESS) return result;
  *address = shadow->device;
  table.bytes += size;
  table.all.push_back(std::move(shadow));
  shadow_count.fetch_add(1);
  return CUDA_SUCCESS;
}

void drop_shadow(const void* host) {
  Shadows& table = shadows();
  const std::lock_guard lock(table.mutex);
  std::erase_if(table.all, [&](const auto& shadow) {
    if (shadow->host != host) return false;
    table.bytes -= shadow->size;
    shadow_count.fetch_sub(1);
    if (shadow->context->alive) {
      Call call(Opcode::cuMemFree_v2, shadow->context);
      call.put(shadow->device);
      static_cast<void>(call.send());
    }
    return true;
  });
}

CUresult push_shadows(Stream* stream) {
  if (shadow_count.load(std::memory_order_acquire) == 0) [[likely]] {
    return CUDA_SUCCESS;
  }
  Shadows& table = shadows();
  const std::lock_guard lock(table.mutex);
  if (stream->capture.load() != nullptr) return CUDA_SUCCESS;
  for (const auto& shadow : table.all) {
    if (shadow->context != stream->context) continue;
    if (std::memcmp(shadow->host, shadow->known.data(), shadow->size) == 0) continue;
    shadow->known.assign(shadow->host, shadow->host + shadow->size);
    const CUresult result =
        send_to_device(stream, shadow->device, shadow->known.data(), shadow->size);
    if (result != CUDA_SUCCESS) return result;
  }
  return CUDA_SUCCESS;
}

ShadowPull::ShadowPull(Stream* stream) {
  if (shadow_count.load(std::memory_order_acquire) == 0) return;
  Shadows& table = shadows();
  const std::lock_guard lock(table.mutex);
  for (const auto& shadow : table.all) {
    if (shadow->context != stream->context) continue;
    appended_ |= append_from_device(stream, shadow->incoming.data(), shadow->device,
                                    shadow->size) == CUDA_SUCCESS;
  }
}

void ShadowPull::landed() {
  if (!appended_) return;
  Shadows& table = shadows();
  const std::lock_guard lock(table.mutex);
  for (const auto& shadow : table.all) take_over(*shadow);
}

void pull_shadows(Stream* stream) {
  if (shadow_count.load(std::memory_order_acquire) == 0) return;
  if (stream == nullptr) {
    Context* context = this_thread().current();
    if (context == nullptr) return;
    Shadows& table = shadows();
    const std::lock_guard lock(table.mutex);
    stream = process()->streams.find(table.stream);
    if (stream == nullptr || stream->context != context) {
      CUstream made = nullptr;
      if (api::cuStreamCreate(&made, CU_STREAM_NON_BLOCKING) != CUDA_SUCCESS) return;
      table.stream = as_id(made);
      stream = process()->streams.find(made);
    }
  }
  ShadowPull pull(stream);
  Call call(Opcode::cuStreamSynchronize, stream->context);
  call.adds_no_work();
  call.stream(stream);
  if (call.wait() == CUDA_SUCCESS) pull.landed();
}

}  // namespace vgpu::stub
