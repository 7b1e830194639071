// A loaded module: heads of all functions, variables, and bodies decoded when first asked for.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "softgpu/ptx/engine.h"
#include "softgpu/ptx/program.h"
#include "softgpu/ptx/syntax.h"

namespace vgpu::softgpu::ptx {

class ModuleText;

struct SharedVariable {
  std::string name;
  uint64_t size = 0, align = 1;
  bool external = false;  // extern .shared x[]: the dynamic part
};

struct Function {
  Signature signature;
  size_t unit = 0;           // which text of a link
  uint64_t handle = 0;       // what `mov.u64 %rd, f` gives
  uint32_t shared_base = 0;  // of .shared variables that the body declares
  std::unordered_map<size_t, uint32_t> shared_offsets;  // module-level ones that it mentions
  std::unique_ptr<Code> code;                           // null until decoded
  bool failed = false;
  std::string error;
};

class ModuleText : public Module {
 public:
  struct Unit {
    std::string text;
    int version = 0, target = 0, address_size = 64;
    std::unordered_map<std::string_view, size_t> functions, variables,
        shared;  // local symbols first
  };
  enum class SymbolKind : uint8_t { kNone, kFunction, kVariable, kShared };
  struct Symbol {
    SymbolKind kind = SymbolKind::kNone;
    size_t index = 0;
  };

  bool parse(std::span<const std::string_view> texts, std::string& log);

  [[nodiscard]] std::span<const Kernel> kernels() const override { return kernels_; }
  [[nodiscard]] std::span<const Variable> variables() const override { return variables_; }
  [[nodiscard]] std::vector<std::string> undefined(size_t texts) const override;
  bool prepare(size_t kernel, std::string& log) override;

  [[nodiscard]] Symbol find(size_t unit, std::string_view name) const;
  [[nodiscard]] Function* function(size_t index) { return functions_[index].get(); }
  [[nodiscard]] Function* function_at(uint64_t handle);
  [[nodiscard]] const SharedVariable& shared(size_t index) const { return shared_[index]; }
  [[nodiscard]] Function* kernel_function(size_t kernel) { return kernel_functions_[kernel]; }
  [[nodiscard]] const Unit& unit(size_t index) const { return *units_[index]; }
  [[nodiscard]] std::string_view text_of(const Function& function) const {
    return units_[function.unit]->text;
  }
  // Decodes a function and what it calls; null and a message when it cannot be executed.
  const Code* decode(Function* function, std::string& log);
  // All decoded functions so far, by Code::index.
  [[nodiscard]] std::vector<const Code*> decoded();
  // Whether the optional checks have not reported these two places yet.
  bool first_finding(const Instr* one, const Instr* other);
  [[nodiscard]] uint32_t dynamic_shared_align() const { return dynamic_shared_align_; }

 private:
  friend class ModuleParser;
  bool place_shared();
  void describe_kernels();
  bool decode_body(Function& function);
  const Code* decode_locked(Function* function, std::string& log);

  std::vector<std::unique_ptr<Unit>> units_;
  std::vector<std::unique_ptr<Function>> functions_;
  std::vector<Function*> kernel_functions_;
  std::vector<Kernel> kernels_;
  std::vector<Variable> variables_;
  std::vector<SharedVariable> shared_;
  std::unordered_map<std::string_view, size_t> global_functions_, global_variables_;
  uint32_t dynamic_shared_align_ = 16;
  std::mutex mutex_;  // guards decoding, codes_ and findings_
  std::set<std::pair<const Instr*, const Instr*>> findings_;
  std::vector<const Code*> codes_;
  std::unordered_set<const Function*> prepared_;
};

// Decodes one body (decode.cc).
std::unique_ptr<Code> decode_function(ModuleText& module, Function& function, std::string& log);

// "PTX line 5 (file.cu:7)" of an instruction (access.cc).
std::string place_of(const ModuleText& module, const Code& code, size_t instruction);

// What the driver provides to device code under reserved names.
enum class Builtin : int8_t { kNone = -1, kPrintf, kMalloc, kFree, kAssertFail, kSetConditional };
Builtin builtin_of(std::string_view name);

}  // namespace vgpu::softgpu::ptx
