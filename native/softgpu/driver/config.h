// What the software GPU is to be: VGPU_SOFT_* variables and the file that VGPU_SOFT_CONFIG names,
// read once at cuInit. A variable goes before the file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vgpu::softgpu {

struct DeviceConfig {
  std::string name = "vgpu software GPU";
  uint64_t memory = uint64_t{4} << 30;  // bytes
  int capability_major = 13;
  int capability_minor = 0;
  int sms = 4;
};

struct Config {
  std::vector<DeviceConfig> devices{1};
  unsigned threads = 0;                // 0: one per host core
  bool deterministic = false;          // one thread, blocks in order
  uint64_t kernel_time_us = 0;         // every kernel takes at least this
  bool skip_sass = false;              // names and layouts only: no kernel is executed
  bool check_uninitialised = false;    // report reads of memory that nobody wrote
  bool check_races = false;            // report shared memory that blocks use without a barrier
  uint64_t quarantine = 0;             // bytes of freed memory kept from being used again
  std::optional<std::string> summary;  // of all kernels at exit; empty: to the log, else a file
  bool launch_blocking = false;        // CUDA_LAUNCH_BLOCKING
  bool eager_loading = false;          // CUDA_MODULE_LOADING=EAGER
  std::optional<std::string> visible;  // CUDA_VISIBLE_DEVICES
};

// False with a sentence that names the variable, or the file's line and key, and what is allowed.
bool read_config(Config& config, std::string& error);
// The text of a configuration file over what `config` holds. For read_config() and its fuzzer.
bool apply_file(std::string_view text, const std::string& name, Config& config, std::string& error);

// "4Gi", "512Mi", "1G", "1048576": bytes.
std::optional<uint64_t> parse_quantity(std::string_view text);

// The physical indices that CUDA_VISIBLE_DEVICES selects, in its order: indices or prefixes of
// `uuids` ("GPU-..."); the first entry that fits nothing ends the list, as CUDA's own rule says.
std::vector<int> select_devices(const std::string& visible, const std::vector<std::string>& uuids);

}  // namespace vgpu::softgpu
