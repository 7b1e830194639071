// What the environment says about the software GPU, read once at cuInit.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vgpu::softgpu {

struct Config {
  int devices = 1;                      // VGPU_SOFT_DEVICES
  uint64_t memory = uint64_t{4} << 30;  // VGPU_SOFT_MEMORY, bytes per device
  int capability_major = 13;            // VGPU_SOFT_CC
  int capability_minor = 0;
  int sms = 4;                  // VGPU_SOFT_SMS
  unsigned threads = 0;         // VGPU_SOFT_THREADS; 0: one per host core
  bool deterministic = false;   // VGPU_SOFT_DETERMINISTIC
  uint64_t kernel_time_us = 0;  // VGPU_SOFT_KERNEL_TIME_US: every kernel takes at least this
  bool skip_sass = false;       // VGPU_SOFT_SKIP_SASS
  std::string name = "vgpu software GPU";  // VGPU_SOFT_NAME
  bool launch_blocking = false;            // CUDA_LAUNCH_BLOCKING
  bool eager_loading = false;              // CUDA_MODULE_LOADING=EAGER
  std::optional<std::string> visible;      // CUDA_VISIBLE_DEVICES
};

// False with a sentence that names the variable and what is allowed.
bool read_config(Config& config, std::string& error);

// "4Gi", "512Mi", "1G", "1048576": bytes.
std::optional<uint64_t> parse_quantity(std::string_view text);

// The physical indices that CUDA_VISIBLE_DEVICES selects, in its order: indices or prefixes of
// `uuids` ("GPU-..."); the first entry that fits nothing ends the list, as CUDA's own rule says.
std::vector<int> select_devices(const std::string& visible, const std::vector<std::string>& uuids);

}  // namespace vgpu::softgpu
