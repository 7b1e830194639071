// The quota ledger: a memfd that the worker makes and every executor of it maps.
//
// Layout, little endian, offsets in bytes; Python reads and clears rows, so it is frozen:
//     0  u64  magic "vgpuldgr"
//     8  u32  version (1)
//    12  u32  devices
//    16  u32  slots
//    20  u32  reserved
//    24  bytes[104] reserved
//   128  bytes[128] mutex (pthread, robust, process-shared; made by `vgpu-executor --make-ledger`)
//   256  u64[devices]          limit per device in bytes, 0 for none
//    ..  u64[slots][devices]   used bytes, one row per executor
// The executor of a row writes it while it lives, under the mutex; the worker clears the row of a
// dead one, with plain stores: nobody else touches that row.
#pragma once

#include <pthread.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace vgpu::executor {

struct LedgerHeader {
  uint64_t magic;
  uint32_t version;
  uint32_t devices;
  uint32_t slots;
  uint32_t reserved;
  uint8_t more[104];
  union {
    pthread_mutex_t mutex;
    uint8_t mutex_bytes[128];
  };
};
static_assert(sizeof(LedgerHeader) == 256);
static_assert(offsetof(LedgerHeader, devices) == 12 && offsetof(LedgerHeader, slots) == 16);
static_assert(offsetof(LedgerHeader, mutex) == 128);

class Ledger {
 public:
  static constexpr uint64_t kMagic = 0x7267646c75706776;  // "vgpuldgr"
  static constexpr uint32_t kVersion = 1;
  static constexpr uint64_t kGranule = 512;
  static constexpr uint32_t kMaxDevices = 128;
  static constexpr uint32_t kMaxSlots = 65536;

  // Sizes and fills the memfd `fd`.
  static bool make(int fd, std::span<const uint64_t> limits, uint32_t slots, std::string& error);
  // Maps the memfd; this process writes the row `slot`.
  static std::unique_ptr<Ledger> open(int fd, uint32_t slot, std::string& error);
  // A ledger that only this process sees.
  static std::unique_ptr<Ledger> open_private(std::span<const uint64_t> limits, std::string& error);
  ~Ledger();
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  // What a request of `size` bytes counts.
  static constexpr uint64_t rounded(uint64_t size) {
    return size > UINT64_MAX - kGranule ? size : (size + kGranule - 1) / kGranule * kGranule;
  }

  // Exact across executors: true, and counted, only if the device's limit still holds afterwards.
  [[nodiscard]] bool reserve(uint32_t device, uint64_t bytes);
  void release(uint32_t device, uint64_t bytes);

  [[nodiscard]] uint32_t devices() const { return header_->devices; }
  [[nodiscard]] uint64_t limit(uint32_t device) const;      // 0: none
  [[nodiscard]] uint64_t used(uint32_t device) const;       // all executors
  [[nodiscard]] uint64_t used_here(uint32_t device) const;  // this one

 private:
  Ledger() = default;
  void lock() const;
  void unlock() const;
  [[nodiscard]] uint64_t* row(uint32_t slot) const;

  LedgerHeader* header_ = nullptr;
  uint64_t size_ = 0;
  uint32_t slot_ = 0;
};

}  // namespace vgpu::executor
