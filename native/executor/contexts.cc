#include "executor/contexts.h"

#include "wire/handle.h"

namespace vgpu::executor {
namespace {

struct Current {
  uint64_t serial = 0;
  uint64_t epoch = 0;
  uint64_t id = 0;
  ContextState* state = nullptr;
};
thread_local Current current_context;

}  // namespace

uint64_t Contexts::next_serial() {
  static std::atomic<uint64_t> serial{0};
  return ++serial;
}

bool Contexts::device(uint32_t ordinal, CUdevice* device) const {
  if (ordinal >= devices_.size()) return false;
  *device = devices_[ordinal];
  return true;
}

CUresult Contexts::activate(uint64_t id) {
  Current& current = current_context;
  const uint64_t epoch = epoch_.load(std::memory_order_acquire);
  if (current.serial == serial_ && current.epoch == epoch && current.id == id) return CUDA_SUCCESS;
  if (id == 0) return CUDA_SUCCESS;  // whatever is current does no harm
  ContextState* state = nullptr;
  CUresult result = retain(id, &state);
  if (result == CUDA_SUCCESS) result = driver_.cuCtxSetCurrent(state->handle);
  if (result != CUDA_SUCCESS) return result;
  current = {serial_, epoch, id, state};
  return CUDA_SUCCESS;
}

// The state of a context; a primary context comes to life here.
CUresult Contexts::retain(uint64_t id, ContextState** state) {
  const std::lock_guard lock(mutex_);
  if (const auto it = states_.find(id); it != states_.end()) {
    *state = it->second.get();
    return CUDA_SUCCESS;
  }
  const uint64_t ordinal = id - wire::primary_context(0);
  if (id < wire::primary_context(0) || ordinal >= devices_.size()) {
    return CUDA_ERROR_INVALID_CONTEXT;
  }
  CUcontext handle = nullptr;
  const CUresult result = driver_.cuDevicePrimaryCtxRetain(&handle, devices_[ordinal]);
  if (result != CUDA_SUCCESS) return result;
  *state = &add(id, handle, static_cast<uint32_t>(ordinal), true);
  return CUDA_SUCCESS;
}

// Requires mutex_.
ContextState& Contexts::add(uint64_t id, CUcontext handle, uint32_t ordinal, bool primary) {
  auto state = std::make_unique<ContextState>();
  state->id = id;
  state->handle = handle;
  state->ordinal = ordinal;
  state->device = devices_[ordinal];
  state->primary = primary;
  return *(states_[id] = std::move(state));
}

ContextState* Contexts::find(uint64_t id) {
  const std::lock_guard lock(mutex_);
  const auto it = states_.find(id);
  return it == states_.end() ? nullptr : it->second.get();
}

ContextState* Contexts::current() {
  const Current& current = current_context;
  if (current.serial != serial_ || current.epoch != epoch_.load(std::memory_order_acquire)) {
    return nullptr;
  }
  return current.state;
}

void Contexts::forget_current() { current_context = {}; }

uint64_t Contexts::current_id() { return current_context.id; }

CUresult Contexts::create(uint64_t id, uint32_t flags, uint32_t ordinal) {
  CUdevice chosen = 0;
  if (!device(ordinal, &chosen)) return CUDA_ERROR_INVALID_DEVICE;
  if (wire::handle_kind(id) != wire::HandleKind::kContext ||
      wire::handle_counter(id) < wire::kFirstCreatedContext || find(id) != nullptr) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  CUcontext handle = nullptr;
  const CUresult result = driver_.cuCtxCreate_v2(&handle, flags, chosen);
  // Creating made it current behind our back.
  current_context = {};
  if (result != CUDA_SUCCESS) return result;
  const std::lock_guard lock(mutex_);
  add(id, handle, ordinal, false);
  return CUDA_SUCCESS;
}

std::unique_ptr<ContextState> Contexts::remove(uint64_t id) {
  const std::lock_guard lock(mutex_);
  const auto it = states_.find(id);
  if (it == states_.end()) return nullptr;
  auto state = std::move(it->second);
  states_.erase(it);
  epoch_.fetch_add(1, std::memory_order_acq_rel);
  return state;
}

std::vector<uint64_t> Contexts::ids() const {
  const std::lock_guard lock(mutex_);
  std::vector<uint64_t> ids;
  for (const auto& [id, state] : states_) ids.push_back(id);
  return ids;
}

size_t Contexts::size() const {
  const std::lock_guard lock(mutex_);
  return states_.size();
}

}  // namespace vgpu::executor
