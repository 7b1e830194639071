#include "executor/driver.h"

#include <dlfcn.h>

#include <cstring>

namespace vgpu::executor {
namespace {

// The calls that describe a driver; needed before there is a session, so not part of the table.
template <typename Function>
Function* symbol(void* library, const char* name) {
  return reinterpret_cast<Function*>(dlsym(library, name));
}

std::string device_name(void* library, CUdevice device) {
  char name[256] = {};
  auto* get = symbol<decltype(::cuDeviceGetName)>(library, "cuDeviceGetName");
  if (get == nullptr || get(name, sizeof(name) - 1, device) != CUDA_SUCCESS) return "";
  return name;
}

std::array<uint8_t, 16> device_uuid(void* library, CUdevice device) {
  std::array<uint8_t, 16> bytes{};
  CUuuid uuid{};
  auto* get = symbol<decltype(::cuDeviceGetUuid_v2)>(library, "cuDeviceGetUuid_v2");
  if (get == nullptr) get = symbol<decltype(::cuDeviceGetUuid_v2)>(library, "cuDeviceGetUuid");
  if (get != nullptr && get(&uuid, device) == CUDA_SUCCESS) std::memcpy(bytes.data(), &uuid, 16);
  return bytes;
}

}  // namespace

std::unique_ptr<Driver> Driver::open(const std::string& path, std::string& error) {
  if (path.empty() || path.front() != '/') {
    error = "the driver library must be given by absolute path, not '" + path + "'";
    return nullptr;
  }
  auto driver = std::unique_ptr<Driver>(new Driver);
  driver->path_ = path;
  // DEEPBIND: in embedded mode the process already holds a library with the same symbols, the stub.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr int kFlags = RTLD_NOW | RTLD_LOCAL;  // sanitizers refuse DEEPBIND
#else
  constexpr int kFlags = RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND;
#endif
  driver->library_ = dlopen(path.c_str(), kFlags);
  if (driver->library_ == nullptr) {
    error = std::string("the driver library cannot be opened: ") + dlerror();
    return nullptr;
  }
  if (dlsym(driver->library_, "vgpu_stub_marker") != nullptr) {
    error = path + " is vgpu's own client library: name the machine's driver instead";
    return nullptr;
  }
  if (!driver->initialise(error)) return nullptr;
  return driver;
}

bool Driver::initialise(std::string& error) {
  soft_ = dlsym(library_, "vgpu_softgpu_version") != nullptr ||
          dlsym(library_, "vgpu_soft_marker") != nullptr;
  if (std::string missing; !table_.load(library_, missing)) {
    error = path_ + " lacks functions that vgpu needs: " + missing;
    return false;
  }
  auto* init = symbol<decltype(::cuInit)>(library_, "cuInit");
  auto* get_version = symbol<decltype(::cuDriverGetVersion)>(library_, "cuDriverGetVersion");
  if (init == nullptr || get_version == nullptr) {
    error = path_ + " is not a CUDA driver library: it has no cuInit";
    return false;
  }
  if (const CUresult result = init(0); result != CUDA_SUCCESS) {
    error = "cuInit of " + path_ + " failed: " + describe(result);
    return false;
  }
  if (const CUresult result = get_version(&version_); result != CUDA_SUCCESS) {
    error = "cuDriverGetVersion of " + path_ + " failed: " + describe(result);
    return false;
  }
  return read_devices(error);
}

bool Driver::read_devices(std::string& error) {
  auto* count = symbol<decltype(::cuDeviceGetCount)>(library_, "cuDeviceGetCount");
  int devices = 0;
  if (count == nullptr || count(&devices) != CUDA_SUCCESS) {
    error = "cuDeviceGetCount of " + path_ + " failed";
    return false;
  }
  for (int ordinal = 0; ordinal < devices; ++ordinal) {
    if (!read_device(ordinal, error)) return false;
  }
  return true;
}

bool Driver::read_device(int ordinal, std::string& error) {
  auto* get = symbol<decltype(::cuDeviceGet)>(library_, "cuDeviceGet");
  auto* memory = symbol<decltype(::cuDeviceTotalMem_v2)>(library_, "cuDeviceTotalMem_v2");
  auto* attribute = symbol<decltype(::cuDeviceGetAttribute)>(library_, "cuDeviceGetAttribute");
  CUdevice device = 0;
  size_t total = 0;
  if (get == nullptr || memory == nullptr || attribute == nullptr ||
      get(&device, ordinal) != CUDA_SUCCESS || memory(&total, device) != CUDA_SUCCESS) {
    error = path_ + ": device " + std::to_string(ordinal) + " cannot be read";
    return false;
  }
  DeviceDescription one;
  one.ordinal = ordinal;
  one.name = device_name(library_, device);
  one.uuid = device_uuid(library_, device);
  one.total_memory = total;
  for (int key = 1; key < CU_DEVICE_ATTRIBUTE_MAX; ++key) {
    int value = 0;
    if (attribute(&value, static_cast<CUdevice_attribute>(key), device) != CUDA_SUCCESS) continue;
    one.attributes.emplace_back(key, value);
    if (key == CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID) one.pci[0] = value;
    if (key == CU_DEVICE_ATTRIBUTE_PCI_BUS_ID) one.pci[1] = value;
    if (key == CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID) one.pci[2] = value;
  }
  devices_.push_back(std::move(one));
  return true;
}

const char* Driver::images() const {
  auto* choice = symbol<const char*()>(library_, "vgpu_softgpu_images");
  if (choice != nullptr) return choice();
  return soft_ ? "ptx" : "device";
}

bool Driver::has(const char* name) const { return dlsym(library_, name) != nullptr; }

const char* Driver::error_name(CUresult result) const {
  const char* name = nullptr;
  auto* get = symbol<decltype(::cuGetErrorName)>(library_, "cuGetErrorName");
  if (get == nullptr || get(result, &name) != CUDA_SUCCESS || name == nullptr) return "CUDA error";
  return name;
}

std::string Driver::describe(CUresult result) const {
  std::string text = error_name(result);
  text += " (" + std::to_string(static_cast<int>(result)) + ")";
  const char* words = nullptr;
  auto* get = symbol<decltype(::cuGetErrorString)>(library_, "cuGetErrorString");
  if (get != nullptr && get(result, &words) == CUDA_SUCCESS && words != nullptr) {
    text += std::string(": ") + words;
  }
  return text;
}

}  // namespace vgpu::executor
