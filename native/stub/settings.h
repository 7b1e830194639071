// The environment, read once, at cuInit.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "transport/endpoints.h"

namespace vgpu::stub {

struct Settings {
  std::string worker;                          // VGPU_WORKER
  std::string keys;                            // VGPU_KEYS
  std::string statistics;                      // VGPU_STATS
  std::optional<std::string> visible_devices;  // CUDA_VISIBLE_DEVICES
  bool launch_blocking = false;                // CUDA_LAUNCH_BLOCKING
  bool eager_loading = false;                  // CUDA_MODULE_LOADING=EAGER
  // Variables that act when a driver starts: they travel to the executor.
  std::vector<std::pair<std::string, std::string>> driver_environment;
};
Settings read_settings();

// The client's key file: lines `name value` (`name = "value"` too) with server-public, public,
// secret. False with `error` when the file cannot be used.
bool read_keys(const std::string& path, transport::CurveKeys& keys, std::string& error);

}  // namespace vgpu::stub
