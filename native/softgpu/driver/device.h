// A software device: identity, budget, memory, primary context.
#pragma once

#include <cuda.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "softgpu/driver/heap.h"
#include "softgpu/memory_map.h"

namespace vgpu::softgpu {

struct Context;
struct Pool;
struct DeviceConfig;

constexpr uint64_t kMemoryUnit = 512;                // what a request is rounded up to
constexpr uint64_t kMappedUnit = uint64_t{2} << 20;  // the same for mapped memory
constexpr unsigned kStaticSharedLimit = 48 * 1024;   // bytes per block
constexpr unsigned kSharedLimit = 227 * 1024;        // with opt-in
constexpr unsigned kSharedPerSm = 228 * 1024;
constexpr unsigned kReservedShared = 1024;  // per block
constexpr unsigned kThreadsPerSm = 2048;
constexpr unsigned kThreadsPerBlock = 1024;
constexpr unsigned kBlocksPerSm = 32;
constexpr unsigned kRegistersPerSm = 65536;
constexpr unsigned kMaxCluster = 8;  // portable; 16 with opt-in

struct Device {
  Device(int ordinal, int physical, const DeviceConfig& config);

  const int ordinal;   // as the program sees it
  const int physical;  // before CUDA_VISIBLE_DEVICES
  const std::string name;
  const std::array<uint8_t, 16> uuid;
  const int pci_domain = 0;
  const int pci_bus;
  const int pci_device = 0;
  const uint64_t total;
  const int major, minor, sms;

  MemoryMap map;
  Heap heap;
  std::shared_ptr<Context> primary;
  std::shared_ptr<Pool> default_pool;
  std::shared_ptr<Pool> pool;           // the current one; guarded by Driver::pools_mutex
  std::atomic<bool> pools_keep{false};  // whether a pool here ever kept freed memory
  // Peers whose memory kernels here may use, and how many contexts enabled it; guarded by
  // Allocations.
  std::map<const Device*, unsigned> reaches;

  // Takes bytes from the budget; false when they are not there.
  bool charge(uint64_t bytes);
  void discharge(uint64_t bytes);
  [[nodiscard]] uint64_t used() const { return used_.load(std::memory_order_relaxed); }

  [[nodiscard]] int attribute(CUdevice_attribute attribute, bool& known) const;

 private:
  std::atomic<uint64_t> used_{0};
};

std::array<uint8_t, 16> device_uuid(int physical);
std::string uuid_text(const std::array<uint8_t, 16>& uuid);  // "GPU-..."
Device* find_device(CUdevice device);                        // null: no such ordinal

}  // namespace vgpu::softgpu
