// What the software driver asks of the PTX interpreter: load a module, look kernels up, run a grid.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "softgpu/memory_map.h"
#include "softgpu/shadow.h"
#include "softgpu/texel_image.h"

namespace vgpu::softgpu::ptx {

struct Parameter {
  uint32_t offset = 0;  // bytes in the packed parameter buffer
  uint32_t size = 0;    // bytes
  uint32_t align = 1;
};

// A .global or .const variable of a module.
struct Variable {
  std::string name;
  uint64_t size = 0;
  uint64_t align = 1;
  bool constant = false;
  bool external = false;           // declared here, defined in another module of the link
  bool weak = false;               // .weak or .common: gives way to another definition
  std::vector<std::byte> initial;  // empty: zeros
  struct Relocation {  // the address of another symbol, or a byte of it, in the initial value
    uint64_t offset;
    std::string symbol;
    int64_t addend;
    uint8_t bytes = 8;
    uint8_t shift = 0;  // bits of the address below the byte that is stored
  };
  std::vector<Relocation> relocations;
};

struct Dim3 {
  uint32_t x = 1, y = 1, z = 1;
};

struct Kernel {
  std::string name;
  std::vector<Parameter> parameters;
  uint32_t parameter_bytes = 0;
  uint32_t static_shared_bytes = 0;
  uint32_t local_bytes = 0;        // per thread
  uint32_t const_bytes = 0;        // user constant banks of the module
  uint32_t registers = 0;          // an estimate, for attributes and occupancy
  Dim3 max_threads{0, 0, 0};       // .maxntid, zeros if not given
  Dim3 required_threads{0, 0, 0};  // .reqntid
  Dim3 cluster{0, 0, 0};           // .reqnctapercluster, zeros if not given
  uint32_t min_blocks_per_sm = 0;
  int ptx_version = 0;  // 88 for .version 8.8
  int target = 0;       // 120 for .target sm_120
};

// A parsed image; immutable and shared between contexts. Parsing scans all opcodes and decodes
// lazily: a kernel that reaches an instruction we lack is refused at prepare(), its neighbours
// work.
class Module {
 public:
  // Null, with a message that names line and token in `log`, when the text is not valid PTX.
  static std::shared_ptr<Module> load(std::string_view text, std::string& log);
  // Links several images into one: .visible and .weak symbols resolve across them.
  static std::shared_ptr<Module> link(std::span<const std::string_view> texts, std::string& log);
  virtual ~Module() = default;

  [[nodiscard]] virtual std::span<const Kernel> kernels() const = 0;
  [[nodiscard]] virtual std::span<const Variable> variables() const = 0;
  // Names that some body of the first `texts` texts uses and no text defines.
  [[nodiscard]] virtual std::vector<std::string> undefined(size_t texts) const = 0;
  // Decodes a kernel and all it calls. False with the instruction and its line in `log` when it
  // cannot be executed. Thread-safe, done once.
  virtual bool prepare(size_t kernel, std::string& log) = 0;
};

// Where a module's variables live in one context: variables()[i] is at addresses[i].
struct Instance {
  std::shared_ptr<Module> module;
  std::vector<uint64_t> addresses;
};

enum class FaultKind : uint8_t {
  kNone,
  kIllegalAddress,      // CUDA_ERROR_ILLEGAL_ADDRESS
  kMisalignedAddress,   // CUDA_ERROR_MISALIGNED_ADDRESS
  kAssert,              // CUDA_ERROR_ASSERT
  kTrap,                // CUDA_ERROR_LAUNCH_FAILED
  kIllegalInstruction,  // CUDA_ERROR_ILLEGAL_INSTRUCTION
  kStackOverflow,       // CUDA_ERROR_LAUNCH_FAILED
};

struct Fault {
  FaultKind kind = FaultKind::kNone;
  std::string message;  // kernel, source line if .loc is there, block, thread, address
  // Of a global access: the driver knows what is near.
  uint64_t address = 0, bytes = 0;
  bool write = false;
  explicit operator bool() const { return kind != FaultKind::kNone; }
};

struct Launch {
  const Instance* instance = nullptr;
  size_t kernel = 0;
  Dim3 grid, block, cluster;
  uint32_t dynamic_shared_bytes = 0;
  std::span<const std::byte> parameters;  // packed as Kernel::parameters say
  const MemoryMap* memory = nullptr;
  uint32_t blocks_at_once =
      0;                     // how many blocks must make progress together (co-residency); 0: grid
  bool cooperative = false;  // grid-wide barriers are allowed: all blocks make progress together
  // Instructions that a warp may execute before the grid is ended with a fault; 0: no limit.
  uint64_t budget = 0;
  uint32_t sm_count = 4;
  int compute_capability = 130;
  std::function<void(std::string)> print;           // device printf, already formatted
  std::function<void(std::string)> complain;        // the text of a failed assertion
  std::function<uint64_t(uint64_t size)> allocate;  // device malloc; 0 when the heap is full
  std::function<void(uint64_t address)> release;    // device free
  // cudaGraphSetConditional; false when the handle means nothing
  std::function<bool(uint64_t handle, uint32_t value)> set_conditional;
  // What a texture or surface handle names; null when nothing.
  std::function<std::shared_ptr<const TexelImage>(uint64_t handle)> image;
  // Optional checks; findings go to `report`, once per place, and harm nothing.
  bool check_uninitialised = false, check_races = false;
  Shadow* shadow = nullptr;  // of the device's memory, for the first
  std::function<void(const Fault& finding)> report;
};

struct RunStatistics {
  uint64_t instructions = 0;     // warp instructions
  uint64_t lane_operations = 0;  // instructions times active lanes
};

// Runs a grid to its end on a shared pool of `threads` host threads (deterministic mode: one
// thread, blocks in order). Blocks the caller. Thread-safe: grids of several streams run at the
// same time.
class Engine {
 public:
  explicit Engine(unsigned threads, bool deterministic);
  ~Engine();
  Fault run(const Launch& launch, RunStatistics* statistics = nullptr);

 private:
  struct Pool;
  std::unique_ptr<Pool> pool_;
};

}  // namespace vgpu::softgpu::ptx
