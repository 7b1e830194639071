#include "softgpu/driver/device.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "generated/softgpu_api.h"
#include "softgpu/driver/config.h"
#include "softgpu/driver/driver.h"

namespace vgpu::softgpu {

// "vgpusoft" and the index: the same on every machine and in every run.
std::array<uint8_t, 16> device_uuid(int physical) {
  std::array<uint8_t, 16> uuid = {0,    0,    0,    0,    0x76, 0x67, 0x40, 0x75,
                                  0x80, 0x73, 0x6f, 0x66, 0x74, 0,    0,    0};
  const uint32_t mixed = 0x5f3a9c01u + static_cast<uint32_t>(physical) * 0x9e3779b9u;
  std::memcpy(uuid.data(), &mixed, sizeof mixed);
  uuid[15] = static_cast<uint8_t>(physical);
  return uuid;
}

std::string uuid_text(const std::array<uint8_t, 16>& uuid) {
  std::string text = "GPU-";
  for (size_t i = 0; i < uuid.size(); ++i) {
    char two[3];
    std::snprintf(two, sizeof two, "%02x", uuid[i]);
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += two;
  }
  return text;
}

Device::Device(int ordinal, int physical, const DeviceConfig& config)
    : ordinal(ordinal),
      physical(physical),
      name(config.name),
      uuid(device_uuid(physical)),
      pci_bus(physical + 1),
      total(config.memory),
      major(config.capability_major),
      minor(config.capability_minor),
      sms(config.sms) {}

bool Device::charge(uint64_t bytes) {
  uint64_t before = used_.load(std::memory_order_relaxed);
  do {
    if (bytes > total - before) return false;
  } while (!used_.compare_exchange_weak(before, before + bytes, std::memory_order_relaxed));
  return true;
}

void Device::discharge(uint64_t bytes) { used_.fetch_sub(bytes, std::memory_order_relaxed); }

Device* find_device(CUdevice ordinal) {
  auto& devices = driver().devices;
  if (ordinal < 0 || static_cast<size_t>(ordinal) >= devices.size()) return nullptr;
  return devices[static_cast<size_t>(ordinal)].get();
}

namespace api {
namespace {

CUresult with_device(CUdevice ordinal, Device*& device) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  device = find_device(ordinal);
  return device == nullptr ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
}

CUresult uuid_of(CUuuid* out, CUdevice ordinal) {
  Device* device = nullptr;
  if (const CUresult result = with_device(ordinal, device)) return result;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::memcpy(out->bytes, device->uuid.data(), sizeof out->bytes);
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuDeviceGet(CUdevice* out, int ordinal) {
  Device* device = nullptr;
  if (const CUresult result = with_device(ordinal, device)) return result;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = ordinal;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int* count) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *count = static_cast<int>(driver().devices.size());
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char* name, int len, CUdevice dev) {
  Device* device = nullptr;
  if (const CUresult result = with_device(dev, device)) return result;
  if (name == nullptr || len <= 0) return CUDA_ERROR_INVALID_VALUE;
  std::snprintf(name, static_cast<size_t>(len), "%s", device->name.c_str());
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid(CUuuid* uuid, CUdevice dev) { return uuid_of(uuid, dev); }
CUresult cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice dev) { return uuid_of(uuid, dev); }

CUresult cuDeviceGetLuid(char*, unsigned int*, CUdevice) { return CUDA_ERROR_NOT_SUPPORTED; }

CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice dev) {
  Device* device = nullptr;
  if (const CUresult result = with_device(dev, device)) return result;
  if (bytes == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *bytes = device->total;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice dev) {
  Device* device = nullptr;
  if (const CUresult result = with_device(dev, device)) return result;
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  bool known = false;
  const int answer = device->attribute(attribute, known);
  if (!known) return CUDA_ERROR_INVALID_VALUE;
  *value = answer;
  return CUDA_SUCCESS;
}

CUresult cuDeviceComputeCapability(int* major, int* minor, CUdevice dev) {
  Device* device = nullptr;
  if (const CUresult result = with_device(dev, device)) return result;
  if (major == nullptr || minor == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *major = device->major;
  *minor = device->minor;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetProperties(CUdevprop* out, CUdevice dev) {
  Device* device = nullptr;
  if (const CUresult result = with_device(dev, device)) return result;
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const auto value = [&](CUdevice_attribute attribute) {
    bool known = false;
    return device->attribute(attribute, known);
  };
  *out = {};
  out->maxThreadsPerBlock = value(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
  for (int i = 0; i < 3; ++i) {
    out->maxThreadsDim[i] =
        value(static_cast<CUdevice_attribute>(CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X + i));
    out->maxGridSize[i] =
        value(static_cast<CUdevice_attribute>(CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X + i));
  }
  out->sharedMemPerBlock = value(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK);
  out->totalConstantMemory = value(CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY);
  out->SIMDWidth = value(CU_DEVICE_ATTRIBUTE_WARP_SIZE);
  out->memPitch = value(CU_DEVICE_ATTRIBUTE_MAX_PITCH);
  out->regsPerBlock = value(CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK);
  out->clockRate = value(CU_DEVICE_ATTRIBUTE_CLOCK_RATE);
  out->textureAlign = value(CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetPCIBusId(char* text, int len, CUdevice dev) {
  Device* device = nullptr;
  if (const CUresult result = with_device(dev, device)) return result;
  if (text == nullptr || len < 13) return CUDA_ERROR_INVALID_VALUE;
  std::snprintf(text, static_cast<size_t>(len), "%04x:%02x:%02x.0", device->pci_domain,
                device->pci_bus, device->pci_device);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetByPCIBusId(CUdevice* dev, const char* text) {
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (dev == nullptr || text == nullptr) return CUDA_ERROR_INVALID_VALUE;
  unsigned domain = 0, bus = 0, slot = 0;
  if (std::sscanf(text, "%x:%x:%x", &domain, &bus, &slot) != 3) {
    domain = 0;
    if (std::sscanf(text, "%x:%x", &bus, &slot) != 2) return CUDA_ERROR_INVALID_VALUE;
  }
  for (const auto& device : driver().devices) {
    if (static_cast<unsigned>(device->pci_domain) == domain &&
        static_cast<unsigned>(device->pci_bus) == bus &&
        static_cast<unsigned>(device->pci_device) == slot) {
      *dev = device->ordinal;
      return CUDA_SUCCESS;
    }
  }
  return CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuDeviceCanAccessPeer(int* can, CUdevice dev, CUdevice peer) {
  Device *one = nullptr, *other = nullptr;
  if (const CUresult result = with_device(dev, one)) return result;
  if (const CUresult result = with_device(peer, other)) return result;
  if (can == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *can = one != other ? 1 : 0;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetP2PAttribute(int* value, CUdevice_P2PAttribute attribute, CUdevice from,
                                 CUdevice to) {
  Device *one = nullptr, *other = nullptr;
  if (const CUresult result = with_device(from, one)) return result;
  if (const CUresult result = with_device(to, other)) return result;
  if (one == other) return CUDA_ERROR_INVALID_DEVICE;
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  switch (attribute) {
    case CU_DEVICE_P2P_ATTRIBUTE_PERFORMANCE_RANK:
    case CU_DEVICE_P2P_ATTRIBUTE_CUDA_ARRAY_ACCESS_SUPPORTED:
      *value = 0;
      return CUDA_SUCCESS;
    case CU_DEVICE_P2P_ATTRIBUTE_ACCESS_SUPPORTED:
    case CU_DEVICE_P2P_ATTRIBUTE_NATIVE_ATOMIC_SUPPORTED:
      *value = 1;
      return CUDA_SUCCESS;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

CUresult cuDeviceGetExecAffinitySupport(int* supported, CUexecAffinityType, CUdevice dev) {
  Device* device = nullptr;
  if (const CUresult result = with_device(dev, device)) return result;
  if (supported == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *supported = 0;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetTexture1DLinearMaxWidth(size_t* width, CUarray_format, unsigned channels,
                                            CUdevice dev) {
  Device* device = nullptr;
  if (const CUresult result = with_device(dev, device)) return result;
  if (width == nullptr || channels == 0) return CUDA_ERROR_INVALID_VALUE;
  *width = size_t{1} << 27;
  return CUDA_SUCCESS;
}

}  // namespace api
}  // namespace vgpu::softgpu
