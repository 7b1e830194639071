// What there is: the worker's answer to `hello` becomes the Process with its devices.
#include <cstring>

#include "stub/control.h"
#include "stub/log.h"
#include "stub/process.h"
#include "stub/visible.h"
#include "wire/handle.h"
#include "wire/record.h"

namespace vgpu::stub {
namespace {

using wire::Value;

// Attributes that we override, because what they promise is not served: the answer must be "no".
constexpr CUdevice_attribute kNotServed[] = {
    CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY,
    CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS,
    CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS,
    CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES,
    CU_DEVICE_ATTRIBUTE_DIRECT_MANAGED_MEM_ACCESS_FROM_HOST,
    CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM,
    CU_DEVICE_ATTRIBUTE_HOST_NATIVE_ATOMIC_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_FABRIC_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_MEMPOOL_SUPPORTED_HANDLE_TYPES,
    CU_DEVICE_ATTRIBUTE_DMA_BUF_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_IPC_EVENT_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_MULTICAST_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_MEM_DECOMPRESS_ALGORITHM_MASK,
    CU_DEVICE_ATTRIBUTE_COOPERATIVE_MULTI_DEVICE_LAUNCH,
    CU_DEVICE_ATTRIBUTE_SPARSE_CUDA_ARRAY_SUPPORTED,
    CU_DEVICE_ATTRIBUTE_DEFERRED_MAPPING_CUDA_ARRAY_SUPPORTED,
};

void read_attributes(const Value& map, Device& device) {
  for (const auto& [key, value] : map.pairs()) {
    const int64_t attribute =
        key.is_text() ? std::atoll(std::string(key.text()).c_str()) : key.integer().value_or(-1);
    if (attribute < 0 || attribute >= kMaxDeviceAttribute) continue;
    device.attributes[attribute] = static_cast<int>(value.integer().value_or(0));
    device.has_attribute[attribute] = true;
  }
  for (const CUdevice_attribute attribute : kNotServed) device.attributes[attribute] = 0;
}

std::unique_ptr<Device> read_device(const Value& map) {
  auto device = std::make_unique<Device>();
  device->worker_ordinal = static_cast<int>(map["ordinal"].integer().value_or(0));
  device->name = map["name"].text();
  const std::string uuid = bytes_of(map["uuid"]);
  std::memcpy(device->uuid.data(), uuid.data(), std::min(uuid.size(), device->uuid.size()));
  device->total_memory = map["total_memory"].unsigned_integer().value_or(0);
  read_attributes(map["attributes"], *device);
  const auto& pci = map["pci"].elements();
  for (size_t i = 0; i < 3 && i < pci.size(); ++i) {
    device->pci[i] = static_cast<int>(pci[i].integer().value_or(0));
  }
  return device;
}

void set_identity(Device& device, int ordinal, uint64_t number) {
  device.ordinal = ordinal;
  device.attributes[CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID] = device.pci[0];
  device.attributes[CU_DEVICE_ATTRIBUTE_PCI_BUS_ID] = device.pci[1];
  device.attributes[CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID] = device.pci[2];
  Context& primary = device.primary;
  primary.device = &device;
  primary.primary = true;
  primary.number = number;
  primary.legacy.context = &primary;
  primary.id.store(wire::primary_context(device.worker_ordinal));
}

void read_worker(const Value& attached, Process& process) {
  Worker& worker = process.worker;
  worker.name = attached["worker"].text();
  worker.session = bytes_of(attached["session"]);
  worker.driver_version = static_cast<int>(attached["driver_version"].integer().value_or(0));
  worker.software = attached["driver"].text() == "soft";
  const std::string_view images = attached["images"].text();
  worker.images = images == "ptx"       ? Images::kPtxOnly
                  : images == "any-elf" ? Images::kAnyElf
                                        : Images::kDevice;
  for (const auto& feature : attached["disable_features"].elements()) {
    if (feature.text() == "gpu-opt") worker.gpu_opt_disabled = true;
  }
}

// Our entry points are those of CUDA 13: a newer driver must not be promised.
constexpr int kNewestDriver = 13999;

bool fits(const Value& attached, const Settings& settings, Refusal& refusal) {
  const auto& version = attached["version"].elements();
  if (version.size() == 2 && version[0].integer() == wire::kMajor) return true;
  refusal.code = "version";
  refusal.message = "the worker at " + settings.worker + " speaks another protocol version than " +
                    std::to_string(wire::kMajor) + ": install the same vgpu release on both sides";
  return false;
}

CUresult result_of(const Refusal& refusal) {
  return refusal.code == "full" ? CUDA_ERROR_DEVICE_UNAVAILABLE : CUDA_ERROR_NO_DEVICE;
}

}  // namespace

std::unique_ptr<Process> attach(Settings settings, CUresult& result) {
  if (settings.worker.empty()) {
    message(
        "no worker to connect to: set VGPU_WORKER=tcp://HOST:PORT, or start the program with "
        "`vgpu run`");
    result = CUDA_ERROR_NO_DEVICE;
    return nullptr;
  }
  Value attached;
  Refusal refusal;
  static constexpr char kEmbedded[] = "inproc://";
  const bool done =
      settings.worker.starts_with(kEmbedded)
          ? embedded_attach(settings.worker.substr(sizeof kEmbedded - 1), attached, refusal)
          : request_attach(settings, attached, refusal);
  if (!done || !fits(attached, settings, refusal)) {
    message("no GPU from VGPU_WORKER=%s: %s", settings.worker.c_str(), refusal.message.c_str());
    result = result_of(refusal);
    return nullptr;
  }
  auto process = std::make_unique<Process>();
  read_worker(attached, *process);
  process->worker.driver_version = std::min(process->worker.driver_version, kNewestDriver);
  std::vector<std::unique_ptr<Device>> all;
  for (const auto& device : attached["devices"].elements()) all.push_back(read_device(device));
  process->devices = visible_devices(std::move(all), settings.visible_devices);
  for (auto& device : process->devices) {
    set_identity(*device, static_cast<int>(&device - process->devices.data()),
                 ++process->context_number);
  }
  process->every_call_waits = settings.launch_blocking || process->worker.gpu_opt_disabled;
  log(Level::kInfo, "attached to %s (%s), %zu device(s), driver %d", settings.worker.c_str(),
      process->worker.name.c_str(), process->devices.size(), process->worker.driver_version);
  process->settings = std::move(settings);
  result = process->devices.empty() ? CUDA_ERROR_NO_DEVICE : CUDA_SUCCESS;
  return process->devices.empty() ? nullptr : std::move(process);
}

}  // namespace vgpu::stub
