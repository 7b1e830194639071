// The contexts of a session: worker devices to driver devices, primary contexts retained at first
// use, created ones, and which is current in the calling thread.
#pragma once

#include <cuda.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "generated/driver_table.h"

namespace vgpu::executor {

struct ContextState {
  uint64_t id = 0;
  CUcontext handle = nullptr;
  uint32_t ordinal = 0;  // the worker's device
  CUdevice device = 0;
  bool primary = false;
  // Main loop only.
  CUstream mark_stream = nullptr;  // marks behind the legacy stream's work
  std::vector<CUevent> free_events;
  uint32_t capturing = 0;  // captures begun and not ended
  // Threads that wait for one of its events.
  std::shared_ptr<std::atomic<int>> waits = std::make_shared<std::atomic<int>>(0);
};

class Contexts {
 public:
  // `devices`: driver ordinals in the order that the client sees.
  Contexts(const DriverTable& driver, std::vector<CUdevice> devices)
      : driver_(driver), devices_(std::move(devices)) {}

  [[nodiscard]] size_t device_count() const { return devices_.size(); }
  // False for an ordinal that the client does not have.
  bool device(uint32_t ordinal, CUdevice* device) const;

  // Makes the context current in this thread; retains a primary one at its first use. 0 is no
  // context.
  CUresult activate(uint64_t id);
  // The state of a live context, or null.
  ContextState* find(uint64_t id);
  // The one that activate() made current in this thread, or null.
  ContextState* current();
  [[nodiscard]] static uint64_t current_id();
  // Somebody else set this thread's context.
  static void forget_current();

  CUresult create(uint64_t id, uint32_t flags, uint32_t ordinal);
  // Forgets the context. Its driver handle and what belongs to it are the caller's to destroy.
  std::unique_ptr<ContextState> remove(uint64_t id);
  [[nodiscard]] std::vector<uint64_t> ids() const;
  // The number of contexts that are alive.
  [[nodiscard]] size_t size() const;

 private:
  CUresult retain(uint64_t id, ContextState** state);
  ContextState& add(uint64_t id, CUcontext handle, uint32_t ordinal, bool primary);

  const DriverTable& driver_;
  const std::vector<CUdevice> devices_;
  const uint64_t serial_ = next_serial();  // tells sessions of one process apart
  std::atomic<uint64_t> epoch_{0};  // counts removals, which invalidate what threads remember

  static uint64_t next_serial();
  mutable std::mutex mutex_;  // guards states_
  std::map<uint64_t, std::unique_ptr<ContextState>> states_;
};

}  // namespace vgpu::executor
