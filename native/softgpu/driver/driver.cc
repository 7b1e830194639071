#include "softgpu/driver/driver.h"

#include <pthread.h>

#include <cstdlib>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "contract/contract.h"
#include "generated/softgpu_api.h"
#include "softgpu/driver/log.h"
#include "softgpu/driver/per_thread.h"
#include "softgpu/driver/pool.h"

namespace vgpu::softgpu {
namespace {

thread_local bool thread_default = false;

std::atomic<Driver*> instance{nullptr};
std::mutex initialisation;   // guards the first cuInit
bool child_of_user = false;  // forked from a process that had initialised

std::vector<contract::DeviceIdentity> identities() {
  std::vector<contract::DeviceIdentity> list;
  for (const auto& device : driver().devices) {
    list.push_back({device->uuid, device->pci_domain, device->pci_bus, device->pci_device});
  }
  return list;
}

CUresult visit_functions(CUmodule handle, void (*visit)(void*, CUfunction), void* user) {
  const auto module = driver().modules.find(handle);
  if (!module) return CUDA_ERROR_INVALID_HANDLE;
  for (const auto& function : module->functions) visit(user, as_handle<CUfunction>(function->id));
  return CUDA_SUCCESS;
}

void install_contract() {
  contract::install({
      .driver_version = [] { return kDriverVersion; },
      .devices = identities,
      .primary_context =
          [](CUcontext* context, CUdevice ordinal) {
            Device* device = initialised() ? find_device(ordinal) : nullptr;
            if (device == nullptr) return CUDA_ERROR_INVALID_DEVICE;
            *context = device->primary->handle();
            return CUDA_SUCCESS;
          },
      .current_context = current_context,
      .context_device =
          [](CUcontext handle, CUdevice* device) {
            const auto context = find_context(handle);
            if (!context) return CUDA_ERROR_INVALID_CONTEXT;
            *device = context->device.ordinal;
            return CUDA_SUCCESS;
          },
      .context_id =
          [](CUcontext handle, uint64_t* id) {
            unsigned long long value = 0;
            const CUresult result = api::cuCtxGetId(handle, &value);
            if (result == CUDA_SUCCESS) *id = value;
            return result;
          },
      .visit_functions = visit_functions,
      .module_load = api::cuModuleLoadData,
      .module_unload = api::cuModuleUnload,
      .log_missing_slot =
          [](const char* table, int slot) {
            log(LogLevel::kWarning, "export table %s has no slot %d: answered not supported", table,
                slot);
          },
  });
}

std::atomic<bool> process_ends{false};

void at_exit() {
  process_ends = true;
  Driver* state = instance.load();
  if (state == nullptr) return;
  if (state->config.skip_sass) {
    report(
        "VGPU_SOFT_SKIP_SASS=1: the launches below were counted and NOT executed; no result of "
        "this run is right");
  }
  if (state->config.skip_sass || state->config.summary) {
    state->summary.write(state->config.summary.value_or(""));
  }
}

// A child cannot use its parent's device, as with CUDA: threads and queues did not come along.
void in_child() {
  child_of_user = instance.exchange(nullptr) != nullptr;
  forget_contexts();
}

}  // namespace

Driver::Driver(Config given) : config(std::move(given)) {
  if (config.check_uninitialised) shadow = std::make_unique<Shadow>();
}

ptx::Engine& Driver::engine() {
  static auto* engine = new ptx::Engine(
      config.threads != 0 ? config.threads : std::max(1u, std::thread::hardware_concurrency()),
      config.deterministic);
  return *engine;
}

Driver& driver() { return *instance.load(std::memory_order_acquire); }
bool initialised() { return instance.load(std::memory_order_acquire) != nullptr; }

bool exiting() { return process_ends.load(std::memory_order_relaxed); }

CUresult initialise() {
  const std::lock_guard lock(initialisation);
  if (initialised()) return CUDA_SUCCESS;
  if (child_of_user) return CUDA_ERROR_NOT_INITIALIZED;
  Config config;
  std::string error;
  if (!read_config(config, error)) {
    log(LogLevel::kError, "%s", error.c_str());
    return CUDA_ERROR_INVALID_VALUE;
  }
  auto* state = new Driver(config);
  std::vector<int> chosen;
  std::vector<std::string> uuids;
  for (int i = 0; i < static_cast<int>(config.devices.size()); ++i) {
    chosen.push_back(i);
    uuids.push_back(uuid_text(device_uuid(i)));
  }
  if (config.visible) chosen = select_devices(*config.visible, uuids);
  if (chosen.empty()) {
    delete state;
    return CUDA_ERROR_NO_DEVICE;
  }
  for (size_t i = 0; i < chosen.size(); ++i) {
    state->devices.push_back(std::make_unique<Device>(
        static_cast<int>(i), chosen[i], state->config.devices[static_cast<size_t>(chosen[i])]));
  }
  for (const auto& device : state->devices) device->heap.set_quarantine(config.quarantine);
  instance.store(state, std::memory_order_release);
  for (const auto& device : state->devices) {
    device->primary = make_context(*device, true);
    make_default_pool(*device);
  }
  install_contract();
  pthread_atfork(nullptr, nullptr, in_child);
  if (config.skip_sass) {
    announce(
        "VGPU_SOFT_SKIP_SASS=1: NO kernel is executed in this process, launches are only counted; "
        "for call patterns, never for results");
  }
  std::atexit(at_exit);
  return CUDA_SUCCESS;
}

ScopedPerThreadDefault::ScopedPerThreadDefault() : before_(std::exchange(thread_default, true)) {}
ScopedPerThreadDefault::~ScopedPerThreadDefault() { thread_default = before_; }
bool per_thread_default() { return thread_default; }

CUresult unsupported(const char* function) {
  static std::mutex mutex;
  static auto* logged = new std::set<std::string>;
  const std::lock_guard lock(mutex);
  if (logged->insert(function).second) {
    log(LogLevel::kWarning, "%s is not supported by the software GPU", function);
  }
  return CUDA_ERROR_NOT_SUPPORTED;
}

namespace api {

CUresult cuInit(unsigned int flags) { return flags == 0 ? initialise() : CUDA_ERROR_INVALID_VALUE; }

CUresult cuDriverGetVersion(int* version) {
  if (version == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *version = kDriverVersion;
  return CUDA_SUCCESS;
}

}  // namespace api
}  // namespace vgpu::softgpu
