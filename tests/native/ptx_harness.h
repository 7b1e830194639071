// Runs PTX texts on the interpreter with plain vectors as device memory.
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "softgpu/memory_map.h"
#include "softgpu/ptx/engine.h"

namespace ptx_harness {

using namespace vgpu::softgpu;

inline std::string with_header(const std::string& body) {
  return ".version 8.8\n.target sm_90\n.address_size 64\n" + body;
}

// One module with its variables, and a memory map to which buffers are added.
class Program {
 public:
  explicit Program(const std::string& text) {
    module_ = ptx::Module::load(text, log);
    if (module_ == nullptr) return;
    instance_.module = module_;
    for (const ptx::Variable& variable : module_->variables()) {
      auto storage = std::make_unique<std::vector<uint64_t>>((variable.size + 23) / 8);
      std::memcpy(storage->data(), variable.initial.data(), variable.initial.size());
      const auto address = (reinterpret_cast<uint64_t>(storage->data()) + 15) / 16 * 16;
      std::memmove(reinterpret_cast<void*>(address), storage->data(), variable.initial.size());
      memory.add(address, variable.size, !variable.constant);
      instance_.addresses.push_back(address);
      variables_.push_back(std::move(storage));
    }
  }

  template <class T>
  uint64_t buffer(std::vector<T>& data) {
    memory.add(reinterpret_cast<uint64_t>(data.data()), data.size() * sizeof(T));
    return reinterpret_cast<uint64_t>(data.data());
  }

  // Packs arguments at their natural alignment, as kernel parameters are.
  template <class... Args>
  ptx::Fault run(const std::string& name, ptx::Dim3 grid, ptx::Dim3 block, Args... args) {
    std::vector<std::byte> packed;
    (append(packed, args), ...);
    return launch(name, grid, block, packed);
  }

  ptx::Fault launch(const std::string& name, ptx::Dim3 grid, ptx::Dim3 block,
                    const std::vector<std::byte>& packed) {
    if (module_ == nullptr) return {ptx::FaultKind::kIllegalInstruction, log};
    ptx::Launch launch;
    for (size_t i = 0; i < module_->kernels().size(); ++i) {
      if (module_->kernels()[i].name != name) continue;
      launch.instance = &instance_;
      launch.kernel = i;
      launch.grid = grid;
      launch.block = block;
      launch.dynamic_shared_bytes = dynamic_shared;
      launch.parameters = packed;
      launch.memory = &memory;
      launch.blocks_at_once = blocks_at_once;
      launch.print = [this](std::string_view text) { printed += text; };
      ptx::Engine engine(threads, threads <= 1);
      return engine.run(launch, &statistics);
    }
    return {ptx::FaultKind::kIllegalInstruction, "no kernel " + name + " " + log};
  }

  [[nodiscard]] ptx::Module* module() const { return module_.get(); }

  std::string log, printed;
  MemoryMap memory;
  unsigned threads = 1;
  uint32_t blocks_at_once = 16, dynamic_shared = 0;
  ptx::RunStatistics statistics;

 private:
  template <class T>
  static void append(std::vector<std::byte>& out, T value) {
    while (out.size() % sizeof(T) != 0) out.push_back(std::byte{0});
    const auto* bytes = reinterpret_cast<const std::byte*>(&value);
    out.insert(out.end(), bytes, bytes + sizeof(T));
  }
  std::shared_ptr<ptx::Module> module_;
  ptx::Instance instance_;
  std::vector<std::unique_ptr<std::vector<uint64_t>>> variables_;
};

}  // namespace ptx_harness
