// Contexts: the per-thread stack, primary contexts, created contexts. The stack never travels; each
// record names its context.
#include "contract/context_flags.h"
#include "contract/contract.h"
#include "generated/stub_api.h"
#include "stub/call.h"
#include "stub/capture.h"
#include "stub/process.h"
#include "stub/shadow.h"

namespace vgpu::stub {

// Streams, events, modules and memory die with their context.
void forget_objects_of(Context* context) {
  Process* process = stub::process();
  const auto collect = [&](auto& table) {
    std::vector<uint64_t> ids;
    table.for_each([&](auto& object) {
      if (object.context == context) ids.push_back(object.id.load());
    });
    for (const uint64_t id : ids) table.destroy(id);
  };
  collect(process->streams);
  collect(process->events);
  collect(process->modules);
  collect(process->functions);
  collect(process->graph_execs);
  collect(process->arrays);
  collect(process->mipmapped_arrays);
  process->textures.forget(context);
  process->surfaces.forget(context);
  process->allocations.remove_context(context);
  context->generation.fetch_add(1);
  context->last = context->synced = context->blocking_last = context->blocking_synced = 0;
  context->last_free = 0;
  context->legacy.last = context->legacy.synced = 0;
  context->legacy.capture = nullptr;
  const std::lock_guard lock(context->limits_mutex);
  context->limits.clear();
}

}  // namespace vgpu::stub

namespace vgpu::stub::api {
namespace {

CUresult find_device(CUdevice ordinal, Device** device) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  *device = process()->device(ordinal);
  return *device == nullptr ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
}

// Null means the current one.
CUresult find_context(CUcontext handle, Context** context) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  *context = handle == nullptr ? this_thread().current() : process()->context(handle);
  if (*context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  return (*context)->id.load() == 0 ? CUDA_ERROR_CONTEXT_IS_DESTROYED : CUDA_SUCCESS;
}

void run_destructors(Context& context) {
  contract::context_destroyed(as_handle<CUcontext>(context.id));
}

// Tells the executor, if it ever heard of the context. Requires Process::context_mutex.
void release_primary(Device& device) {
  Context& primary = device.primary;
  if (primary.announced.exchange(false) && process()->link() != nullptr &&
      !process()->link()->lost()) {
    Call call(Opcode::cuDevicePrimaryCtxRelease_v2, nullptr);
    call.header().context = primary.id;
    call.put(static_cast<uint32_t>(device.worker_ordinal));
    static_cast<void>(call.send());
  }
  forget_objects_of(&primary);
  primary.alive = false;
  primary.sticky = CUDA_SUCCESS;
}

}  // namespace

CUresult cuDevicePrimaryCtxRetain(CUcontext* pctx, CUdevice dev) {
  Device* device = nullptr;
  if (const CUresult result = find_device(dev, &device); result != CUDA_SUCCESS) return result;
  if (pctx == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult result = process()->bind(); result != CUDA_SUCCESS) return result;
  if (process()->link()->lost()) return process()->lost();
  const std::lock_guard lock(process()->context_mutex);
  device->primary.references.fetch_add(1);
  device->primary.alive = true;
  *pctx = as_handle<CUcontext>(device->primary.id);
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice dev) {
  Device* device = nullptr;
  if (const CUresult result = find_device(dev, &device); result != CUDA_SUCCESS) return result;
  if (device->primary.references.load() == 0) return CUDA_ERROR_INVALID_CONTEXT;
  if (device->primary.references.fetch_sub(1) > 1) return CUDA_SUCCESS;
  if (device->primary.alive) run_destructors(device->primary);
  const std::lock_guard lock(process()->context_mutex);
  if (device->primary.references.load() == 0) release_primary(*device);
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice dev, unsigned int flags) {
  Device* device = nullptr;
  if (const CUresult result = find_device(dev, &device); result != CUDA_SUCCESS) return result;
  if (!contract::valid_context_flags(flags)) return CUDA_ERROR_INVALID_VALUE;
  device->primary.flags = flags;
  // One that the executor has not made yet takes its flags along when it is announced.
  if (!device->primary.announced) return CUDA_SUCCESS;
  Call call(Opcode::cuDevicePrimaryCtxSetFlags_v2, nullptr);
  call.put(static_cast<uint32_t>(device->worker_ordinal));
  call.put(flags);
  return call.send();
}

CUresult cuDevicePrimaryCtxGetState(CUdevice dev, unsigned int* flags, int* active) {
  Device* device = nullptr;
  if (const CUresult result = find_device(dev, &device); result != CUDA_SUCCESS) return result;
  if (flags != nullptr) *flags = device->primary.flags;
  if (active != nullptr) *active = device->primary.alive ? 1 : 0;
  return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice dev) {
  Device* device = nullptr;
  if (const CUresult result = find_device(dev, &device); result != CUDA_SUCCESS) return result;
  Context& primary = device->primary;
  if (primary.alive) run_destructors(primary);
  CUresult result = CUDA_SUCCESS;
  if (primary.announced.exchange(false)) {
    Call call(Opcode::cuDevicePrimaryCtxReset_v2, nullptr);
    call.header().context = primary.id;
    call.put(static_cast<uint32_t>(device->worker_ordinal));
    result = call.wait();
  }
  const std::lock_guard lock(process()->context_mutex);
  forget_objects_of(&primary);
  primary.alive = false;  // until the next retain; those who hold it still have to release it
  if (result == CUDA_SUCCESS) primary.sticky = CUDA_SUCCESS;
  return result;
}

CUresult cuCtxCreate_v2(CUcontext* pctx, unsigned int flags, CUdevice dev) {
  Device* device = nullptr;
  if (const CUresult result = find_device(dev, &device); result != CUDA_SUCCESS) return result;
  if (pctx == nullptr || !contract::valid_context_flags(flags)) return CUDA_ERROR_INVALID_VALUE;
  // Never a used slot: another thread's stack may still hold a context that was destroyed.
  const auto created = process()->contexts.create_range(1, [&](Context& fresh) {
    fresh.device = device;
    fresh.primary = false;
    fresh.alive = false;
    fresh.announced = true;
    fresh.flags = flags;
    fresh.sticky = CUDA_SUCCESS;
    fresh.number = process()->context_number.fetch_add(1) + 1;
    fresh.legacy.context = &fresh;
  });
  if (created.empty()) return CUDA_ERROR_OUT_OF_MEMORY;
  Context* context = created.front();
  Call call(Opcode::cuCtxCreate_v2, nullptr);
  call.put(context->id.load());
  call.put(flags);
  call.put(call.device(dev));
  const CUresult result = call.wait();
  if (result != CUDA_SUCCESS) {
    process()->contexts.destroy(context->id);
    return result;
  }
  context->alive = true;
  context->handle = context->id;
  this_thread().contexts.push_back(context);
  *pctx = as_handle<CUcontext>(context->id);
  return CUDA_SUCCESS;
}

CUresult cuCtxCreate_v3(CUcontext* pctx, CUexecAffinityParam*, int numParams, unsigned int flags,
                        CUdevice dev) {
  if (numParams != 0) return unsupported("cuCtxCreate_v3 with execution affinity");
  return api::cuCtxCreate_v2(pctx, flags, dev);
}

CUresult cuCtxCreate_v4(CUcontext* pctx, CUctxCreateParams* ctxCreateParams, unsigned int flags,
                        CUdevice dev) {
  if (ctxCreateParams != nullptr &&
      (ctxCreateParams->numExecAffinityParams != 0 || ctxCreateParams->cigParams != nullptr)) {
    return unsupported("cuCtxCreate_v4 with parameters");
  }
  return api::cuCtxCreate_v2(pctx, flags, dev);
}

CUresult cuCtxDestroy_v2(CUcontext ctx) {
  Context* context = nullptr;
  if (ctx == nullptr) return ready() == CUDA_SUCCESS ? CUDA_ERROR_INVALID_CONTEXT : ready();
  if (const CUresult result = find_context(ctx, &context); result != CUDA_SUCCESS) return result;
  if (context->primary) return CUDA_ERROR_INVALID_CONTEXT;
  run_destructors(*context);
  Call call(Opcode::cuCtxDestroy_v2, nullptr);
  call.header().context = context->id;
  call.put(context->id.load());
  const CUresult result = call.wait();
  forget_objects_of(context);
  context->alive = false;
  process()->contexts.destroy(context->id);
  auto& stack = this_thread().contexts;
  if (!stack.empty() && stack.back() == context) stack.pop_back();
  return result;
}

CUresult cuCtxPushCurrent_v2(CUcontext ctx) {
  if (ctx == nullptr) return ready() == CUDA_SUCCESS ? CUDA_ERROR_INVALID_CONTEXT : ready();
  Context* context = nullptr;
  if (const CUresult result = find_context(ctx, &context); result != CUDA_SUCCESS) return result;
  this_thread().contexts.push_back(context);
  return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent_v2(CUcontext* pctx) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  const Context* context = this_thread().current();
  if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  this_thread().contexts.pop_back();
  if (pctx != nullptr) *pctx = as_handle<CUcontext>(context->handle);
  return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext ctx) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  auto& stack = this_thread().contexts;
  if (ctx == nullptr) {
    if (!stack.empty()) stack.pop_back();
    return CUDA_SUCCESS;
  }
  Context* context = process()->context(ctx);
  if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  if (stack.empty()) {
    stack.push_back(context);
  } else {
    stack.back() = context;
  }
  return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext* pctx) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  if (pctx == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const Context* context = this_thread().current();
  *pctx = context == nullptr ? nullptr : as_handle<CUcontext>(context->handle);
  return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice_v2(CUdevice* device, CUcontext ctx) {
  Context* context = nullptr;
  if (const CUresult result = find_context(ctx, &context); result != CUDA_SUCCESS) return result;
  if (device == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *device = context->device->ordinal;
  return CUDA_SUCCESS;
}
CUresult cuCtxGetDevice(CUdevice* device) { return api::cuCtxGetDevice_v2(device, nullptr); }

CUresult cuCtxGetFlags(unsigned int* flags) {
  Context* context = nullptr;
  if (const CUresult result = find_context(nullptr, &context); result != CUDA_SUCCESS)
    return result;
  if (flags == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *flags = context->flags;
  return CUDA_SUCCESS;
}

CUresult cuCtxSetFlags(unsigned int flags) {
  Context* context = nullptr;
  if (const CUresult result = find_context(nullptr, &context); result != CUDA_SUCCESS)
    return result;
  if (!contract::valid_context_flags(flags)) return CUDA_ERROR_INVALID_VALUE;
  context->flags = flags;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetId(CUcontext ctx, unsigned long long* ctxId) {
  Context* context = nullptr;
  if (const CUresult result = find_context(ctx, &context); result != CUDA_SUCCESS) return result;
  if (ctxId == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *ctxId = context->number;
  return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize_v2(CUcontext ctx) {
  Context* context = nullptr;
  if (const CUresult result = find_context(ctx, &context); result != CUDA_SUCCESS) return result;
  if (!context->alive) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  if (const CUresult result = context_state(*context); result != CUDA_SUCCESS) return result;
  if (const CUresult result = check_capture_unsafe(); result != CUDA_SUCCESS) return result;
  const uint64_t through = context->last.load();
  if (!context->announced) return CUDA_SUCCESS;  // it has never had any work
  Call call(Opcode::cuCtxSynchronize, context);
  call.adds_no_work();
  const CUresult result = call.wait();
  if (result != CUDA_SUCCESS) return result;
  set_complete(*context, through);
  pull_shadows(&context->legacy);
  return CUDA_SUCCESS;
}
CUresult cuCtxSynchronize() { return api::cuCtxSynchronize_v2(nullptr); }

CUresult cuCtxSetLimit(CUlimit limit, size_t value) {
  Context* context = nullptr;
  if (const CUresult result = current_context(&context); result != CUDA_SUCCESS) return result;
  Call call(Opcode::cuCtxSetLimit);
  call.put(static_cast<uint32_t>(limit));
  call.put(static_cast<uint64_t>(value));
  const CUresult result = call.wait();
  // The driver may round: ask again when the program does.
  const std::lock_guard lock(context->limits_mutex);
  context->limits.erase(limit);
  return result;
}

CUresult cuCtxGetLimit(size_t* pvalue, CUlimit limit) {
  Context* context = nullptr;
  if (const CUresult result = current_context(&context); result != CUDA_SUCCESS) return result;
  if (pvalue == nullptr) return CUDA_ERROR_INVALID_VALUE;
  {
    const std::lock_guard lock(context->limits_mutex);
    const auto known = context->limits.find(limit);
    if (known != context->limits.end()) {
      *pvalue = known->second;
      return CUDA_SUCCESS;
    }
  }
  Call call(Opcode::cuCtxGetLimit);
  call.put(static_cast<uint32_t>(limit));
  const CUresult result = call.wait();
  if (result != CUDA_SUCCESS) return result;
  *pvalue = call.get<uint64_t>();
  const std::lock_guard lock(context->limits_mutex);
  context->limits[limit] = *pvalue;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetCacheConfig(CUfunc_cache* pconfig) {
  Context* context = nullptr;
  if (const CUresult result = find_context(nullptr, &context); result != CUDA_SUCCESS)
    return result;
  if (pconfig == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *pconfig = static_cast<CUfunc_cache>(context->cache_config.load());
  return CUDA_SUCCESS;
}

CUresult cuCtxSetCacheConfig(CUfunc_cache config) {
  Context* context = nullptr;
  if (const CUresult result = find_context(nullptr, &context); result != CUDA_SUCCESS)
    return result;
  if (!contract::valid_cache_config(config)) return CUDA_ERROR_INVALID_VALUE;
  context->cache_config = config;
  return CUDA_SUCCESS;
}

CUresult cuCtxGetSharedMemConfig(CUsharedconfig* pConfig) {
  Context* context = nullptr;
  if (const CUresult result = find_context(nullptr, &context); result != CUDA_SUCCESS)
    return result;
  if (pConfig == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *pConfig = CU_SHARED_MEM_CONFIG_FOUR_BYTE_BANK_SIZE;
  return CUDA_SUCCESS;
}

CUresult cuCtxSetSharedMemConfig(CUsharedconfig config) {
  Context* context = nullptr;
  if (const CUresult result = find_context(nullptr, &context); result != CUDA_SUCCESS)
    return result;
  return contract::valid_shared_config(config) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuCtxGetApiVersion(CUcontext ctx, unsigned int* version) {
  Context* context = nullptr;
  if (const CUresult result = find_context(ctx, &context); result != CUDA_SUCCESS) return result;
  if (version == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *version = contract::kContextApiVersion;
  return CUDA_SUCCESS;
}

// Constant per device: asked once. Negative values are kept as the low 32 bits.
CUresult cuCtxGetStreamPriorityRange(int* leastPriority, int* greatestPriority) {
  Context* context = nullptr;
  if (const CUresult result = current_context(&context); result != CUDA_SUCCESS) return result;
  constexpr int kKey = -1;  // clear of every CUlimit
  uint64_t packed = 0;
  bool known = false;
  {
    const std::lock_guard lock(context->limits_mutex);
    const auto found = context->limits.find(kKey);
    known = found != context->limits.end();
    if (known) packed = found->second;
  }
  if (!known) {
    Call call(Opcode::cuCtxGetStreamPriorityRange);
    const CUresult result = call.wait();
    if (result != CUDA_SUCCESS) return result;
    const auto least = static_cast<uint32_t>(call.get<int32_t>());
    const auto greatest = static_cast<uint32_t>(call.get<int32_t>());
    packed = uint64_t{least} << 32 | greatest;
    const std::lock_guard lock(context->limits_mutex);
    context->limits[kKey] = packed;
  }
  if (leastPriority != nullptr) *leastPriority = static_cast<int32_t>(packed >> 32);
  if (greatestPriority != nullptr) *greatestPriority = static_cast<int32_t>(packed);
  return CUDA_SUCCESS;
}

CUresult cuCtxEnablePeerAccess(CUcontext peerContext, unsigned int Flags) {
  Call call(Opcode::cuCtxEnablePeerAccess);
  if (!call.ok()) return call.result();
  Context* peer = process()->context(peerContext);
  if (Flags != 0) return CUDA_ERROR_INVALID_VALUE;
  if (peer == nullptr || peer == call.context()) return CUDA_ERROR_INVALID_CONTEXT;
  // The executor must know the peer's context, too.
  if (Call announce(Opcode::cuDeviceCanAccessPeer, peer); !announce.ok()) return announce.result();
  call.put(peer->id.load());
  call.put(Flags);
  return call.wait();
}

CUresult cuCtxDisablePeerAccess(CUcontext peerContext) {
  Call call(Opcode::cuCtxDisablePeerAccess);
  if (!call.ok()) return call.result();
  call.put(call.handle(HandleKind::kContext, peerContext));
  return call.wait();
}

}  // namespace vgpu::stub::api
