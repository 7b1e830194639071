// The primitives that generated handlers use: a handle of the driver is the id plus one.
#pragma once

#include <cuda.h>

#include <map>
#include <span>

#include "generated/driver_table.h"
#include "wire/reader.h"
#include "wire/record.h"
#include "wire/writer.h"

namespace vgpu::executor {

struct Command {
  wire::RecordHeader header{};
};

inline DriverTable driver_table;
inline std::map<uint64_t, uint64_t> bound;

class Session {
 public:
  const DriverTable& driver() const { return driver_table; }
  CUstream stream(uint64_t id) { return resolve<CUstream>(id); }
  CUdevice device(uint32_t ordinal) { return static_cast<CUdevice>(ordinal); }
  uint64_t allocation(uint64_t id) { return id + 1; }
  template <typename Handle>
  Handle resolve(uint64_t id) {
    if (id == 0) failed_ = true;
    return reinterpret_cast<Handle>(id + 1);
  }
  bool failed() { return failed_; }
  template <typename Handle>
  void bind(uint64_t id, Handle handle) {
    bound[id] = reinterpret_cast<uint64_t>(handle);
  }
  void forget(uint64_t id) { bound.erase(id); }

 private:
  bool failed_ = false;
};

}  // namespace vgpu::executor
