#include "softgpu/driver/context.h"

#include <sys/mman.h>

#include <algorithm>

#include "contract/context_flags.h"
#include "contract/contract.h"
#include "generated/softgpu_api.h"
#include "softgpu/driver/driver.h"
#include "softgpu/driver/log.h"

namespace vgpu::softgpu {
namespace {

// The calling thread's contexts. Trivially destructible on purpose: the main thread's thread-local
// objects are destroyed before the exit handlers in which CUDA runtimes still call.
struct ContextStack {
  static constexpr size_t kDepth = 256;
  CUcontext entries[kDepth];
  size_t depth;

  [[nodiscard]] bool empty() const { return depth == 0; }
  [[nodiscard]] CUcontext back() const { return entries[depth - 1]; }
  void pop_back() { --depth; }
  void clear() { depth = 0; }
  bool push_back(CUcontext context) {
    if (depth == kDepth) return false;
    entries[depth++] = context;
    return true;
  }
};
thread_local ContextStack stack;

constexpr size_t kDefaultHeap = size_t{8} << 20;  // CU_LIMIT_MALLOC_HEAP_SIZE, as CUDA's

}  // namespace

CUcontext current_context() { return stack.empty() ? nullptr : stack.back(); }
void forget_contexts() { stack.clear(); }

std::shared_ptr<Context> find_context(CUcontext handle) {
  if (handle == nullptr) handle = current_context();
  return handle == nullptr || !initialised() ? nullptr : driver().contexts.find(handle);
}

std::shared_ptr<Context> make_context(Device& device, bool primary) {
  auto context = std::make_shared<Context>(device, primary);
  driver().contexts.add(context);
  return context;
}

void Context::activate() {
  limits = {{CU_LIMIT_STACK_SIZE, 1024},
            {CU_LIMIT_PRINTF_FIFO_SIZE, size_t{1} << 20},
            {CU_LIMIT_MALLOC_HEAP_SIZE, kDefaultHeap},
            {CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH, 2},
            {CU_LIMIT_DEV_RUNTIME_PENDING_LAUNCH_COUNT, 2048},
            {CU_LIMIT_MAX_L2_FETCH_GRANULARITY, 64},
            {CU_LIMIT_PERSISTING_L2_CACHE_SIZE, 0},
            {CU_LIMIT_SHMEM_SIZE, 0},
            // Graphics interoperation: off. cuBLASLt asks, and takes an error for a broken device.
            {CU_LIMIT_CIG_ENABLED, 0},
            {CU_LIMIT_CIG_SHMEM_FALLBACK_ENABLED, 0}};
  fault = CUDA_SUCCESS;
  output.restart(limits.at(CU_LIMIT_PRINTF_FIFO_SIZE));
  legacy = std::make_shared<Stream>(driver().contexts.find(id), 0, 0);
  legacy->number = driver().serial++;
  active = true;
}

void Context::deactivate() {
  synchronize(*this);
  active = false;
  contract::context_destroyed(handle());
  auto& state = driver();
  for (const auto& module : state.modules.all()) {
    if (module->context.get() == this) destroy_module(module);
  }
  for (const auto& library : state.libraries.all()) {
    const std::lock_guard lock(library->mutex);
    library->modules.erase(id);
  }
  for (const auto& stream : state.streams.all()) {
    if (stream->context.get() != this) continue;
    stream->close();
    state.streams.remove(as_handle<void*>(stream->id));
  }
  for (const auto& event : state.events.all()) {
    if (event->context.get() == this) state.events.remove(as_handle<void*>(event->id));
  }
  {
    const std::lock_guard lock(submission);
    for (const auto& [thread, stream] : per_thread) stream->close();
    per_thread.clear();
    blocking.clear();
    legacy->close();
    legacy = nullptr;
  }
  for (const auto& [peer, owner] : peers) state.allocations.close(device, *owner);
  peers.clear();
  forget_images_of(*this);
  state.allocations.remove_of(id, release_memory);
  drop_heap();
}

void Context::drop_heap() {
  if (heap_size != 0) {
    device.map.remove(heap_begin);
    munmap(reinterpret_cast<void*>(heap_begin - kHeapGuard), heap_size + 2 * kHeapGuard);
  }
  heap_begin = heap_size = 0;
  heap_used = false;
}

void Context::fail(CUresult error, const std::string& message) {
  CUresult none = CUDA_SUCCESS;
  if (!fault.compare_exchange_strong(none, error)) return;
  log(LogLevel::kError, "%s", message.c_str());
}

CUresult Context::state() {
  const CUresult result = fault;
  if (result != CUDA_SUCCESS) output.flush();
  return result;
}

CUresult synchronize(Context& context) {
  std::vector<Fence> fences;
  {
    const std::lock_guard lock(context.submission);
    const auto add = [&](const std::shared_ptr<Stream>& stream) {
      if (stream && !stream->idle()) fences.push_back(stream->fence());
    };
    add(context.legacy);
    for (const auto& [thread, stream] : context.per_thread) add(stream);
    for (const auto& stream : driver().streams.all()) {
      if (stream->context.get() == &context) add(stream);
    }
  }
  for (const Fence& fence : fences) fence.wait();
  release_surplus(context.device);
  context.output.flush();
  return context.fault;
}

Current::Current() : error_(CUDA_ERROR_NOT_INITIALIZED) {
  if (!initialised()) return;
  const CUcontext handle = current_context();
  if (handle == nullptr) {
    error_ = CUDA_ERROR_INVALID_CONTEXT;
    return;
  }
  context_ = driver().contexts.find(handle);
  if (!context_ || !context_->active) {
    error_ = CUDA_ERROR_CONTEXT_IS_DESTROYED;
    return;
  }
  error_ = context_->state();
}

namespace api {
namespace {

CUresult create(CUcontext* out, unsigned flags, CUdevice ordinal) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (out == nullptr || !contract::valid_context_flags(flags)) return CUDA_ERROR_INVALID_VALUE;
  Device* device = find_device(ordinal);
  if (device == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  const auto context = make_context(*device, false);
  context->flags = flags;
  context->activate();
  *out = context->handle();
  return stack.push_back(context->handle()) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

// Why find_context() found none: what is current may have been destroyed by another thread.
CUresult no_context(CUcontext handle) {
  return handle == nullptr && current_context() != nullptr ? CUDA_ERROR_CONTEXT_IS_DESTROYED
                                                           : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult primary_of(CUdevice ordinal, Context*& context) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  Device* device = find_device(ordinal);
  if (device == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  context = device->primary.get();
  return CUDA_SUCCESS;
}

CUresult release_primary(CUdevice ordinal) {
  Context* context = nullptr;
  if (const CUresult result = primary_of(ordinal, context)) return result;
  const std::lock_guard lock(context->mutex);
  if (context->retained == 0) return CUDA_ERROR_INVALID_CONTEXT;
  if (--context->retained == 0 && context->active && !exiting()) context->deactivate();
  return CUDA_SUCCESS;
}

CUresult reset_primary(CUdevice ordinal) {
  Context* context = nullptr;
  if (const CUresult result = primary_of(ordinal, context)) return result;
  const std::lock_guard lock(context->mutex);
  if (!context->active || exiting()) return CUDA_SUCCESS;
  // Holders keep their references, and still have to release them; the context comes back, empty,
  // with the next one who retains it.
  context->deactivate();
  return CUDA_SUCCESS;
}

CUresult set_primary_flags(CUdevice ordinal, unsigned flags) {
  Context* context = nullptr;
  if (const CUresult result = primary_of(ordinal, context)) return result;
  if (!contract::valid_context_flags(flags)) return CUDA_ERROR_INVALID_VALUE;
  context->flags = flags;
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuCtxCreate_v2(CUcontext* out, unsigned flags, CUdevice dev) {
  return create(out, flags, dev);
}
CUresult cuCtxCreate_v3(CUcontext* out, CUexecAffinityParam*, int count, unsigned flags,
                        CUdevice dev) {
  if (count != 0) return CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY;
  return create(out, flags, dev);
}
CUresult cuCtxCreate_v4(CUcontext* out, CUctxCreateParams* parameters, unsigned flags,
                        CUdevice dev) {
  if (parameters != nullptr &&
      (parameters->numExecAffinityParams != 0 || parameters->cigParams != nullptr)) {
    return CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY;
  }
  return create(out, flags, dev);
}

CUresult cuCtxDestroy_v2(CUcontext handle) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  const auto context = handle == nullptr ? nullptr : driver().contexts.find(handle);
  if (!context || context->primary) return CUDA_ERROR_INVALID_CONTEXT;
  if (current_context() == handle) stack.pop_back();
  context->deactivate();
  driver().contexts.remove(handle);
  return CUDA_SUCCESS;
}

CUresult cuCtxPushCurrent_v2(CUcontext handle) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (handle == nullptr || !driver().contexts.find(handle)) return CUDA_ERROR_INVALID_CONTEXT;
  return stack.push_back(handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuCtxPopCurrent_v2(CUcontext* handle) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (stack.empty()) return CUDA_ERROR_INVALID_CONTEXT;
  if (handle != nullptr) *handle = stack.back();
  stack.pop_back();
  return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext handle) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  // A primary context may be set before it is retained: the runtime does so.
  if (handle != nullptr && !driver().contexts.find(handle)) return CUDA_ERROR_INVALID_CONTEXT;
  if (!stack.empty()) stack.pop_back();
  if (handle != nullptr) stack.push_back(handle);
  return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext* handle) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (handle == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *handle = current_context();
  return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice* device) { return api::cuCtxGetDevice_v2(device, nullptr); }
CUresult cuCtxGetDevice_v2(CUdevice* device, CUcontext handle) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (device == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const auto context = find_context(handle);
  if (!context) return no_context(handle);
  *device = context->device.ordinal;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetFlags(unsigned* flags) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  const auto context = find_context(nullptr);
  if (!context) return no_context(nullptr);
  if (flags == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *flags = context->flags;
  return CUDA_SUCCESS;
}
CUresult cuCtxSetFlags(unsigned flags) {
  const Current current;
  if (!current) return current.error();
  if (!contract::valid_context_flags(flags)) return CUDA_ERROR_INVALID_VALUE;
  current->flags = flags;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetId(CUcontext handle, unsigned long long* id) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  const auto context = find_context(handle);
  if (!context) return no_context(handle);
  if (id == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *id = (context->id & 0xffffffff) >> 4;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetApiVersion(CUcontext handle, unsigned* version) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (!find_context(handle)) return no_context(handle);
  if (version == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *version = contract::kContextApiVersion;
  return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize() { return api::cuCtxSynchronize_v2(nullptr); }
CUresult cuCtxSynchronize_v2(CUcontext handle) {
  if (handle == nullptr) {
    const Current current;
    if (!current) return current.error();
    if (const CUresult result = check_unsafe_call()) return result;
    return synchronize(*current);
  }
  const auto context = find_context(handle);
  if (!context || !context->active) return CUDA_ERROR_INVALID_CONTEXT;
  if (const CUresult result = check_unsafe_call()) return result;
  return synchronize(*context);
}

CUresult cuCtxGetLimit(size_t* value, CUlimit limit) {
  const Current current;
  if (!current) return current.error();
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const std::lock_guard lock(current->mutex);
  const auto found = current->limits.find(limit);
  if (found == current->limits.end()) return CUDA_ERROR_UNSUPPORTED_LIMIT;
  *value = found->second;
  return CUDA_SUCCESS;
}

CUresult cuCtxSetLimit(CUlimit limit, size_t value) {
  const Current current;
  if (!current) return current.error();
  const std::lock_guard lock(current->mutex);
  const auto found = current->limits.find(limit);
  if (found == current->limits.end() || limit >= CU_LIMIT_SHMEM_SIZE) {
    return CUDA_ERROR_UNSUPPORTED_LIMIT;
  }
  if (limit == CU_LIMIT_MALLOC_HEAP_SIZE) {
    if (const CUresult result = synchronize(*current)) return result;
    if (current->heap_used) return CUDA_ERROR_INVALID_VALUE;  // too late
    current->drop_heap();                                     // the next launch makes it anew
  }
  if (limit == CU_LIMIT_PRINTF_FIFO_SIZE) {
    if (current->output.used()) return CUDA_ERROR_INVALID_VALUE;
    current->output.set_capacity(value);
  }
  found->second = value;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetCacheConfig(CUfunc_cache* cache) {
  const Current current;
  if (!current) return current.error();
  if (cache == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *cache = current->cache;
  return CUDA_SUCCESS;
}
CUresult cuCtxSetCacheConfig(CUfunc_cache cache) {
  const Current current;
  if (!current) return current.error();
  if (!contract::valid_cache_config(cache)) return CUDA_ERROR_INVALID_VALUE;
  current->cache = cache;
  return CUDA_SUCCESS;
}
CUresult cuCtxGetSharedMemConfig(CUsharedconfig* config) {
  const Current current;
  if (!current) return current.error();
  if (config == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *config = current->shared_config;
  return CUDA_SUCCESS;
}
CUresult cuCtxSetSharedMemConfig(CUsharedconfig config) {
  const Current current;
  if (!current) return current.error();
  if (!contract::valid_shared_config(config)) return CUDA_ERROR_INVALID_VALUE;
  current->shared_config = config;
  return CUDA_SUCCESS;
}
CUresult cuCtxResetPersistingL2Cache() {
  const Current current;
  return current.error();
}

CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  const Current current;
  if (!current) return current.error();
  if (least != nullptr) *least = 0;
  if (greatest != nullptr) *greatest = -5;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetExecAffinity(CUexecAffinityParam*, CUexecAffinityType) {
  return CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY;
}

CUresult cuCtxAttach(CUcontext* handle, unsigned) {
  if (handle == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return CUDA_ERROR_NOT_SUPPORTED;
}
CUresult cuCtxDetach(CUcontext) { return CUDA_ERROR_NOT_SUPPORTED; }

CUresult cuCtxEnablePeerAccess(CUcontext peer, unsigned flags) {
  const Current current;
  if (!current) return current.error();
  if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
  const auto other = peer == nullptr ? nullptr : find_context(peer);
  if (!other || !other->active || other.get() == &*current) return CUDA_ERROR_INVALID_CONTEXT;
  if (&other->device == &current->device) return CUDA_ERROR_INVALID_DEVICE;
  const std::lock_guard lock(current->mutex);
  if (!current->peers.emplace(other->id, &other->device).second)
    return CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED;
  driver().allocations.open(current->device, other->device);
  return CUDA_SUCCESS;
}

CUresult cuCtxDisablePeerAccess(CUcontext peer) {
  const Current current;
  if (!current) return current.error();
  const auto other = peer == nullptr ? nullptr : find_context(peer);
  if (!other) return CUDA_ERROR_INVALID_CONTEXT;
  const std::lock_guard lock(current->mutex);
  if (current->peers.erase(other->id) == 0) return CUDA_ERROR_PEER_ACCESS_NOT_ENABLED;
  driver().allocations.close(current->device, other->device);
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* handle, CUdevice dev) {
  Context* context = nullptr;
  if (const CUresult result = primary_of(dev, context)) return result;
  if (handle == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const std::lock_guard lock(context->mutex);
  ++context->retained;
  if (!context->active) context->activate();
  *handle = context->handle();
  return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice dev) { return release_primary(dev); }
CUresult cuDevicePrimaryCtxReset_v2(CUdevice dev) { return reset_primary(dev); }
CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice dev, unsigned flags) {
  return set_primary_flags(dev, flags);
}
CUresult cuDevicePrimaryCtxGetState(CUdevice dev, unsigned* flags, int* active) {
  Context* context = nullptr;
  if (const CUresult result = primary_of(dev, context)) return result;
  if (flags == nullptr || active == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *flags = context->flags;
  *active = context->active ? 1 : 0;
  return CUDA_SUCCESS;
}

}  // namespace api
}  // namespace vgpu::softgpu
