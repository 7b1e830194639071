// What the stub remembers of the program's CUDA objects. Objects live for ever (handles.h); which
// are valid is decided by their id.
#pragma once

#include <cuda.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "image/image.h"
#include "stub/handles.h"

namespace vgpu::stub {

inline constexpr int kMaxDeviceAttribute = 256;

struct Device;
struct Context;
struct Stream;

// One stream capture: the origin stream and every stream that joined through an event.
struct Capture {
  uint64_t number = 0;
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
  uint32_t thread = 0;  // dense number of the thread that began it
  Stream* origin = nullptr;
  uint64_t into = 0;  // the program's own graph that it goes to
  std::atomic<bool> invalidated{false};
  std::vector<std::pair<Stream*, uint64_t>>
      members;  // and their ids; guarded by Process::capture_mutex
};

// Progress is counted in records: `last` is the number of the newest record of the stream, `synced`
// the newest one known to be complete. When they are equal a synchronize needs no round trip.
struct Stream : Object {
  Context* context = nullptr;
  unsigned flags = 0;
  int priority = 0;
  std::atomic<uint64_t> last{0};
  std::atomic<uint64_t> synced{0};
  std::atomic<Capture*> capture{nullptr};
  [[nodiscard]] bool blocking() const { return (flags & CU_STREAM_NON_BLOCKING) == 0; }
};

struct Context : Object {
  uint64_t handle = 0;  // the id, kept: a destroyed context stays current to other threads
  Device* device = nullptr;
  bool primary = false;
  std::atomic<bool> alive{false};      // retained (primary) or created and not destroyed
  std::atomic<bool> announced{false};  // the executor has been told to make it
  std::atomic<int> references{0};
  std::atomic<unsigned> flags{0};
  std::atomic<unsigned> generation{0};  // grows when its objects die
  std::atomic<int> sticky{0};           // CUresult that every call returns from now on
  std::atomic<int> cache_config{0};
  std::atomic<int> shared_config{0};
  uint64_t number = 0;                       // cuCtxGetId
  Stream legacy;                             // id stays 0
  std::atomic<uint64_t> last{0}, synced{0};  // of all its streams
  std::atomic<uint64_t> blocking_last{0},
      blocking_synced{0};              // of those the legacy stream waits for
  std::atomic<uint64_t> last_free{0};  // record number of the newest cuMemFree
  std::mutex limits_mutex;             // guards limits
  std::map<int, uint64_t> limits;
  CUmemoryPool pool = nullptr;
};

struct Device {
  int ordinal = 0;         // as the program sees it
  int worker_ordinal = 0;  // as it travels
  std::string name;
  std::array<uint8_t, 16> uuid{};
  uint64_t total_memory = 0;
  std::array<int, kMaxDeviceAttribute> attributes{};
  std::array<bool, kMaxDeviceAttribute> has_attribute{};
  std::array<int, 3> pci{};
  Context primary;
  std::atomic<uint64_t> pool{0};  // current memory pool; 0: the default one
  [[nodiscard]] int capability() const {
    return attributes[CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR] * 10 +
           attributes[CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR];
  }
};

struct Event : Object {
  Context* context = nullptr;
  unsigned flags = 0;
  std::atomic<Stream*> stream{nullptr};  // of the newest record
  std::atomic<uint64_t> stream_id{0};
  std::atomic<uint64_t> recorded{0};       // record number; 0: never
  std::atomic<uint64_t> completed{0};      // the `recorded` that is known to be complete
  std::atomic<Capture*> capture{nullptr};  // recorded inside this capture
  std::atomic<bool> in_graph{false};       // launches of a graph record it, too
};

struct Parameter {
  uint64_t offset = 0;
  uint64_t size = 0;
};

inline constexpr int kFunctionAttributes = 32;

// A function of a module or a kernel of a library, with all that its launch needs.
struct Function : Object {
  Context* context = nullptr;  // null for kernels: they belong to every context
  uint64_t module = 0;         // module or library id
  bool kernel = false;
  std::atomic<bool> loaded{false};  // the driver has said that it can be executed
  std::string name;
  std::array<std::atomic<int>, kFunctionAttributes> attributes{};
  int attribute_count = 0;
  std::vector<Parameter> parameters;
  uint32_t parameter_bytes = 0;
};

struct Global {
  uint64_t address = 0;
  uint64_t size = 0;
};

// A module or a library.
struct Module : Object {
  Context* context = nullptr;
  std::mutex mutex;  // guards what follows
  std::unordered_map<std::string, uint64_t> functions;
  std::unordered_map<std::string, Global> globals;
  std::vector<uint64_t> enumerated;
  bool all_enumerated = false;
  std::unordered_map<Context*, uint64_t> modules;  // of a library: what cuLibraryGetModule gave
};

struct Graph : Object {
  Context* context = nullptr;
  bool embedded = false;     // belongs to a node: the program may not destroy it
  bool conditional = false;  // the body of a conditional node
};
struct GraphExec : Object {
  Context* context = nullptr;
  uint64_t flags = 0;
  std::atomic<uint32_t> kinds{0};  // wire::InstanceKinds
};
struct UserObject : Object {};
struct Pool : Object {
  Device* device = nullptr;
};
struct PhysicalMemory : Object {
  uint64_t size = 0;
  CUmemAllocationProp properties{};
  // The executor hears of the release when both are 0: a mapped handle can be retained again.
  std::atomic<int> handles{0}, mappings{0};
};
struct Array : Object {
  Context* context = nullptr;
  CUDA_ARRAY3D_DESCRIPTOR description{};
  bool of_mipmap = false;  // a level: dies with the whole
};
struct MipmappedArray : Object {
  Context* context = nullptr;
  CUDA_ARRAY3D_DESCRIPTOR description{};
  std::mutex mutex;                     // guards levels
  std::map<unsigned, uint64_t> levels;  // arrays that the program has asked for
};
struct Link : Object {
  std::vector<std::byte> image;
};

}  // namespace vgpu::stub
