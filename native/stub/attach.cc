// What there is: the worker's answer to `hello` becomes the Process with its devices.
#include <cstring>

#include "generated/device_attributes.h"
#include "stub/control.h"
#include "stub/log.h"
#include "stub/process.h"
#include "stub/visible.h"
#include "wire/handle.h"
#include "wire/record.h"

namespace vgpu::stub {
namespace {

using wire::Value;

void read_attributes(const Value& map, Device& device) {
  for (const auto& [key, value] : map.pairs()) {
    const int64_t attribute =
        key.is_text() ? std::atoll(std::string(key.text()).c_str()) : key.integer().value_or(-1);
    if (attribute < 0 || attribute >= kMaxDeviceAttribute) continue;
    device.attributes[attribute] = static_cast<int>(value.integer().value_or(0));
    device.has_attribute[attribute] = true;
  }
  // What the client answers by itself: the specification says which, and why.
  for (const auto& [attribute, value] : kAttributeOverrides) device.attributes[attribute] = value;
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
  primary.handle = wire::primary_context(device.worker_ordinal);
  primary.id.store(primary.handle);
}

// No list means all: the embedded executor is of this very build.
void read_served(const Value& opcodes, Worker& worker) {
  if (opcodes.elements().empty()) worker.served.set();
  for (const auto& opcode : opcodes.elements()) {
    const CallInfo* info = call_info(static_cast<Opcode>(opcode.integer().value_or(0)));
    if (info != nullptr) worker.served.set(static_cast<size_t>(info - kCalls));
  }
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
  read_served(attached["opcodes"], worker);
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
  log(LogLevel::kInfo, "attached to %s (%s), %zu device(s), driver %d", settings.worker.c_str(),
      process->worker.name.c_str(), process->devices.size(), process->worker.driver_version);
  process->settings = std::move(settings);
  result = process->devices.empty() ? CUDA_ERROR_NO_DEVICE : CUDA_SUCCESS;
  return process->devices.empty() ? nullptr : std::move(process);
}

}  // namespace vgpu::stub
