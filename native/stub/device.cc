// Devices: all from the snapshot taken at attach.
#include <cstdio>
#include <cstring>

#include "generated/stub_api.h"
#include "stub/call.h"
#include "stub/process.h"

namespace vgpu::stub::api {
namespace {

CUresult find(CUdevice ordinal, Device** device) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  *device = process()->device(ordinal);
  return *device == nullptr ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
}

}  // namespace

CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  Device* found = nullptr;
  const CUresult result = find(ordinal, &found);
  if (result != CUDA_SUCCESS) return result;
  if (device == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *device = ordinal;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int* count) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *count = static_cast<int>(process()->devices.size());
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char* name, int len, CUdevice dev) {
  Device* device = nullptr;
  const CUresult result = find(dev, &device);
  if (result != CUDA_SUCCESS) return result;
  if (name == nullptr || len <= 0) return CUDA_ERROR_INVALID_VALUE;
  std::snprintf(name, static_cast<size_t>(len), "%s", device->name.c_str());
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice dev) {
  Device* device = nullptr;
  const CUresult result = find(dev, &device);
  if (result != CUDA_SUCCESS) return result;
  if (uuid == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::memcpy(uuid->bytes, device->uuid.data(), sizeof uuid->bytes);
  return CUDA_SUCCESS;
}
CUresult cuDeviceGetUuid(CUuuid* uuid, CUdevice dev) { return api::cuDeviceGetUuid_v2(uuid, dev); }

CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice dev) {
  Device* device = nullptr;
  const CUresult result = find(dev, &device);
  if (result != CUDA_SUCCESS) return result;
  if (bytes == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *bytes = device->total_memory;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int* pi, CUdevice_attribute attrib, CUdevice dev) {
  Device* device = nullptr;
  const CUresult result = find(dev, &device);
  if (result != CUDA_SUCCESS) return result;
  if (pi == nullptr || attrib < 1 || attrib >= kMaxDeviceAttribute) return CUDA_ERROR_INVALID_VALUE;
  // One that neither the worker's driver nor cuda.h knows is an error; one that only the driver
  // lacks is zero, as for a device without the feature.
  if (!device->has_attribute[attrib] && attrib >= CU_DEVICE_ATTRIBUTE_MAX) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  *pi = device->attributes[attrib];
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetExecAffinitySupport(int* pi, CUexecAffinityType, CUdevice dev) {
  Device* device = nullptr;
  const CUresult result = find(dev, &device);
  if (result != CUDA_SUCCESS) return result;
  if (pi == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *pi = 0;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetProperties(CUdevprop* prop, CUdevice dev) {
  Device* device = nullptr;
  const CUresult result = find(dev, &device);
  if (result != CUDA_SUCCESS) return result;
  if (prop == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const auto& value = device->attributes;
  prop->maxThreadsPerBlock = value[CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK];
  for (int i = 0; i < 3; ++i) {
    prop->maxThreadsDim[i] = value[CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X + i];
    prop->maxGridSize[i] = value[CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X + i];
  }
  prop->sharedMemPerBlock = value[CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK];
  prop->totalConstantMemory = value[CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY];
  prop->SIMDWidth = value[CU_DEVICE_ATTRIBUTE_WARP_SIZE];
  prop->memPitch = value[CU_DEVICE_ATTRIBUTE_MAX_PITCH];
  prop->regsPerBlock = value[CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK];
  prop->clockRate = value[CU_DEVICE_ATTRIBUTE_CLOCK_RATE];
  prop->textureAlign = value[CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT];
  return CUDA_SUCCESS;
}

CUresult cuDeviceComputeCapability(int* major, int* minor, CUdevice dev) {
  Device* device = nullptr;
  const CUresult result = find(dev, &device);
  if (result != CUDA_SUCCESS) return result;
  if (major == nullptr || minor == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *major = device->attributes[CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR];
  *minor = device->attributes[CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR];
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetPCIBusId(char* pciBusId, int len, CUdevice dev) {
  Device* device = nullptr;
  const CUresult result = find(dev, &device);
  if (result != CUDA_SUCCESS) return result;
  char text[16];
  std::snprintf(text, sizeof text, "%04x:%02x:%02x.0", device->pci[0] & 0xffff,
                device->pci[1] & 0xff, device->pci[2] & 0xff);
  if (pciBusId == nullptr || len <= static_cast<int>(std::strlen(text))) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  std::strcpy(pciBusId, text);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetByPCIBusId(CUdevice* dev, const char* pciBusId) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  if (dev == nullptr || pciBusId == nullptr) return CUDA_ERROR_INVALID_VALUE;
  unsigned domain = 0, bus = 0, slot = 0;
  if (std::sscanf(pciBusId, "%x:%x:%x", &domain, &bus, &slot) != 3) {
    domain = 0;
    if (std::sscanf(pciBusId, "%x:%x", &bus, &slot) != 2) return CUDA_ERROR_INVALID_VALUE;
  }
  for (const auto& device : process()->devices) {
    const auto& [a, b, c] = device->pci;
    if (static_cast<unsigned>(a) == domain && static_cast<unsigned>(b) == bus &&
        static_cast<unsigned>(c) == slot) {
      *dev = device->ordinal;
      return CUDA_SUCCESS;
    }
  }
  return CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuDeviceCanAccessPeer(int* canAccessPeer, CUdevice dev, CUdevice peerDev) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  if (canAccessPeer == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (process()->device(dev) == nullptr || process()->device(peerDev) == nullptr) {
    return CUDA_ERROR_INVALID_DEVICE;
  }
  if (dev == peerDev) {
    *canAccessPeer = 0;
    return CUDA_SUCCESS;
  }
  Call call(Opcode::cuDeviceCanAccessPeer);
  call.put(call.device(dev));
  call.put(call.device(peerDev));
  const CUresult result = call.wait();
  if (result == CUDA_SUCCESS) *canAccessPeer = call.get<int32_t>();
  return result;
}

CUresult cuDeviceGetP2PAttribute(int* value, CUdevice_P2PAttribute attrib, CUdevice srcDevice,
                                 CUdevice dstDevice) {
  if (const CUresult result = ready(); result != CUDA_SUCCESS) return result;
  if (srcDevice == dstDevice) return CUDA_ERROR_INVALID_DEVICE;
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Call call(Opcode::cuDeviceGetP2PAttribute);
  call.put(static_cast<uint32_t>(attrib));
  call.put(call.device(srcDevice));
  call.put(call.device(dstDevice));
  const CUresult result = call.wait();
  if (result == CUDA_SUCCESS) *value = call.get<int32_t>();
  return result;
}

}  // namespace vgpu::stub::api
