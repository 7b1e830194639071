// CUDA_VISIBLE_DEVICES, over the devices that the worker gave us.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "stub/state.h"

namespace vgpu::stub {

// Indices and UUIDs ("GPU-" and an unambiguous prefix); the list ends at its first invalid entry;
// an empty text hides all. CUDA_DEVICE_ORDER changes nothing: the worker orders by PCI bus.
std::vector<std::unique_ptr<Device>> visible_devices(std::vector<std::unique_ptr<Device>> all,
                                                     const std::optional<std::string>& list);

// "GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"
std::string uuid_text(const std::array<uint8_t, 16>& uuid);

}  // namespace vgpu::stub
