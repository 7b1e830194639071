// The driver library that an executor drives: opened by absolute path, never our own stub.
#pragma once

#include <cuda.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "generated/driver_table.h"

namespace vgpu::executor {

struct DeviceDescription {
  int ordinal = 0;  // the driver's
  std::string name;
  std::array<uint8_t, 16> uuid{};
  uint64_t total_memory = 0;
  std::array<int, 3> pci{};                     // domain, bus, device
  std::vector<std::pair<int, int>> attributes;  // CUdevice_attribute -> value
};

class Driver {
 public:
  // Opens, checks and initialises the library. Null, with a sentence in `error`, when there is
  // none, when it is the stub, or when cuInit fails.
  static std::unique_ptr<Driver> open(const std::string& path, std::string& error);
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  [[nodiscard]] const DriverTable& table() const { return table_; }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] int version() const { return version_; }
  // "soft" or "cuda".
  [[nodiscard]] const char* kind() const { return soft_ ? "soft" : "cuda"; }
  // What the client should send of an image: "device", "ptx" or "any-elf".
  [[nodiscard]] const char* images() const;
  [[nodiscard]] const std::vector<DeviceDescription>& devices() const { return devices_; }
  // Whether the library exports a function.
  [[nodiscard]] bool has(const char* name) const;
  // "CUDA_ERROR_NO_DEVICE (100): no CUDA-capable device is detected"
  [[nodiscard]] std::string describe(CUresult result) const;
  [[nodiscard]] const char* error_name(CUresult result) const;

 private:
  Driver() = default;
  bool initialise(std::string& error);
  bool read_devices(std::string& error);
  bool read_device(int ordinal, std::string& error);

  void* library_ = nullptr;  // never closed: drivers do not survive it
  std::string path_;
  DriverTable table_{};
  int version_ = 0;
  bool soft_ = false;
  std::vector<DeviceDescription> devices_;
};

}  // namespace vgpu::executor
