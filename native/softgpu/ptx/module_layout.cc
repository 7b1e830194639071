// What can be said of kernels without decoding them: attributes, parameters, shared and local
// memory.
#include <algorithm>
#include <cstring>

#include "softgpu/ptx/constant.h"
#include "softgpu/ptx/module.h"

namespace vgpu::softgpu::ptx {
namespace {

constexpr uint64_t kMostBytes = uint64_t{1} << 31;  // more is refused at the launch

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// Bytes of the variables that a body declares in a state space. `ld.shared` and the like do not
// match: a declaration's word stands alone.
uint64_t declared_bytes(std::string_view text, const Signature& signature, std::string_view space) {
  uint64_t end = 0;
  const std::string_view body =
      text.substr(signature.body_begin, signature.body_end - signature.body_begin);
  for (size_t at = body.find(space); at != std::string_view::npos; at = body.find(space, at + 1)) {
    const size_t after = at + space.size();
    if (at == 0 || !is_blank(body[at - 1]) || after >= body.size() || !is_blank(body[after])) {
      continue;
    }
    Lexer lexer(body, after);
    uint64_t align = 0, size = 1, lanes = 1;
    while (lexer.peek().kind == TokenKind::kWord && lexer.peek().text[0] == '.') {
      const std::string_view word = lexer.take().text.substr(1);
      if (word == "align") {
        align = std::min<uint64_t>(parse_literal(lexer.take().text).bits, 65536);
      }
      if (word == "v2") lanes = 2;
      if (word == "v4") lanes = 4;
      if (type_of(word) != Type::kNone) size = size_of(type_of(word));
    }
    do {
      lexer.take();  // the name
      uint64_t bytes = size * lanes;
      const uint64_t aligned = std::max<uint64_t>(align != 0 ? align : bytes, 4);
      bool unsized = false;
      if (!parse_extents(lexer, bytes, unsized)) return end;  // refused when the body is decoded
      end = std::min((end + aligned - 1) / aligned * aligned, kMostBytes);
      end = std::min(end + std::min(bytes, kMostBytes), kMostBytes);
    } while (lexer.accept(','));
  }
  return end;
}

Type type_after_dot(std::string_view word) {
  return word.size() > 1 && word[0] == '.' ? type_of(word.substr(1)) : Type::kNone;
}

// Virtual registers that a body declares, in 32-bit units.
uint64_t declared_registers(std::string_view text, const Signature& signature) {
  uint64_t count = 0;
  const std::string_view body =
      text.substr(signature.body_begin, signature.body_end - signature.body_begin);
  // Declarations of compilers stand at the top.
  const std::string_view head = body.substr(0, 4096);
  for (size_t at = head.find(".reg"); at != std::string_view::npos;
       at = head.find(".reg", at + 1)) {
    Lexer lexer(head, at + 4);
    const Type type = type_after_dot(lexer.take().text);
    lexer.take();
    const uint64_t number = lexer.accept('<') ? parse_literal(lexer.take().text).bits : 1;
    count += number * (size_of(type) == 8 ? 2 : 1);
  }
  return count;
}

Dim3 dimensions(const Signature& signature, std::string_view directive) {
  const auto found = signature.directives.find(directive);
  if (found == signature.directives.end()) return {0, 0, 0};
  const auto& values = found->second;
  const auto at = [&](size_t i) {
    return i < values.size() ? static_cast<uint32_t>(values[i]) : 1u;
  };
  return {at(0), at(1), at(2)};
}

constexpr uint32_t align_up(uint64_t value, uint64_t align) {
  return static_cast<uint32_t>(std::min((value + align - 1) / align * align, kMostBytes));
}

// A guess of what the real assembler would use, so that occupancy has plausible numbers.
uint32_t estimate_registers(uint64_t declared, uint32_t max_threads) {
  uint32_t registers = static_cast<uint32_t>(std::clamp<uint64_t>(declared / 4, 16, 64));
  if (max_threads != 0) registers = std::min(registers, std::max(65536 / max_threads, 16u));
  return std::min((registers + 7) / 8 * 8, 64u);
}

}  // namespace

// Module-level .shared variables: those that device functions mention come first in every kernel
// (a function is decoded once, for all its callers), then a kernel's own.
bool ModuleText::place_shared() {
  uint64_t end = 0;
  for (const SharedVariable& variable : shared_) {
    if (variable.external) {
      dynamic_shared_align_ =
          std::max(dynamic_shared_align_, static_cast<uint32_t>(variable.align));
    }
  }
  const bool any = std::any_of(shared_.begin(), shared_.end(),
                               [](const SharedVariable& v) { return !v.external; });
  std::unordered_map<size_t, uint32_t> of_functions;
  const auto mention = [&](Function& function, uint64_t& at, auto& placed) {
    Lexer lexer(text_of(function), function.signature.body_begin);
    while (lexer.peek().kind != TokenKind::kEnd &&
           lexer.peek().position < function.signature.body_end) {
      const Token token = lexer.take();
      if (token.kind != TokenKind::kWord) continue;
      const auto found = units_[function.unit]->shared.find(token.text);
      if (found == units_[function.unit]->shared.end()) continue;
      const SharedVariable& variable = shared_[found->second];
      if (variable.external || placed.contains(found->second)) continue;
      at = align_up(at, variable.align);
      placed[found->second] = static_cast<uint32_t>(at);
      at = std::min(at + variable.size, kMostBytes);
    }
  };
  for (const auto& function : functions_) {
    const Signature& signature = function->signature;
    if (signature.entry || signature.body_begin == std::string_view::npos) continue;
    if (any) mention(*function, end, of_functions);
    const uint64_t own = declared_bytes(text_of(*function), signature, ".shared");
    if (own == 0) continue;
    end = align_up(end, 128);
    function->shared_base = static_cast<uint32_t>(end);
    end = std::min(end + own, kMostBytes);
  }
  for (const auto& function : functions_) {
    const Signature& signature = function->signature;
    if (signature.body_begin == std::string_view::npos) continue;
    function->shared_offsets = of_functions;
    if (!signature.entry) continue;
    uint64_t at = end;
    if (any) mention(*function, at, function->shared_offsets);
    function->shared_base = at == 0 ? 0 : align_up(at, 128);
  }
  return true;
}

void ModuleText::describe_kernels() {
  uint64_t constants = 0;
  for (const Variable& variable : variables_) {
    if (variable.constant) constants = align_up(constants, variable.align) + variable.size;
  }
  for (const auto& function : functions_) {
    const Signature& signature = function->signature;
    if (!signature.entry || signature.body_begin == std::string_view::npos) continue;
    const std::string_view text = text_of(*function);
    Kernel kernel;
    kernel.name = signature.name;
    for (const LocalVariable& parameter : signature.parameters) {
      kernel.parameters.push_back({static_cast<uint32_t>(parameter.offset),
                                   static_cast<uint32_t>(parameter.size),
                                   static_cast<uint32_t>(parameter.align)});
      kernel.parameter_bytes = static_cast<uint32_t>(parameter.offset + parameter.size);
    }
    kernel.static_shared_bytes =
        align_up(function->shared_base + declared_bytes(text, signature, ".shared"), 1);
    kernel.local_bytes =
        static_cast<uint32_t>(align_up(declared_bytes(text, signature, ".local"), 8));
    kernel.const_bytes = static_cast<uint32_t>(constants);
    kernel.max_threads = dimensions(signature, ".maxntid");
    kernel.required_threads = dimensions(signature, ".reqntid");
    if (kernel.max_threads.x == 0) kernel.max_threads = kernel.required_threads;
    kernel.cluster = dimensions(signature, ".reqnctapercluster");
    const auto residency = signature.directives.find(".minnctapersm");
    if (residency != signature.directives.end() && !residency->second.empty()) {
      kernel.min_blocks_per_sm = static_cast<uint32_t>(residency->second[0]);
    }
    kernel.registers =
        estimate_registers(declared_registers(text, signature),
                           kernel.max_threads.x * kernel.max_threads.y * kernel.max_threads.z);
    kernel.ptx_version = units_[function->unit]->version;
    kernel.target = units_[function->unit]->target;
    kernels_.push_back(std::move(kernel));
    kernel_functions_.push_back(function.get());
  }
  // Addresses of functions in initial values are known here; variables' belong to a context.
  std::unordered_map<std::string_view, const Function*> by_name;
  for (const auto& function : functions_) by_name.emplace(function->signature.name, function.get());
  for (Variable& variable : variables_) {
    std::erase_if(variable.relocations, [&](const Variable::Relocation& relocation) {
      const auto found = by_name.find(relocation.symbol);
      if (found == by_name.end()) return false;
      const Function* const function = found->second;
      if (relocation.offset + relocation.bytes <= variable.initial.size()) {
        const uint64_t value =
            (function->handle + static_cast<uint64_t>(relocation.addend)) >> relocation.shift;
        std::memcpy(variable.initial.data() + relocation.offset, &value, relocation.bytes);
      }
      return true;
    });
  }
}

bool ModuleText::prepare(size_t kernel, std::string& log) {
  if (kernel >= kernel_functions_.size()) {
    log += "no such kernel\n";
    return false;
  }
  return decode(kernel_functions_[kernel], log) != nullptr;
}

const Code* ModuleText::decode(Function* function, std::string& log) {
  const std::lock_guard lock(mutex_);
  return decode_locked(function, log);
}

// Decodes one body once.
bool ModuleText::decode_body(Function& function) {
  if (function.code != nullptr || function.failed) return !function.failed;
  std::string message;
  function.code = decode_function(*this, function, message);
  function.failed = function.code == nullptr;
  function.error = message;
  if (function.failed) return false;
  function.code->index = static_cast<uint32_t>(codes_.size());
  codes_.push_back(function.code.get());
  return true;
}

const Code* ModuleText::decode_locked(Function* function, std::string& log) {
  if (prepared_.contains(function)) return function->code.get();
  std::vector<Function*> found{function};
  bool indirect = false;
  for (size_t i = 0; i < found.size(); ++i) {
    if (!decode_body(*found[i])) {
      log += found[i]->error;
      return nullptr;
    }
    indirect |= found[i]->code->calls_indirectly;
    for (Function* callee : found[i]->code->callees) {
      if (std::find(found.begin(), found.end(), callee) == found.end()) found.push_back(callee);
    }
  }
  // Through a pointer any function may be called; one that cannot be decoded faults when it is.
  for (const auto& other : functions_) {
    const Signature& signature = other->signature;
    if (!indirect || signature.entry || signature.body_begin == std::string_view::npos) continue;
    decode_body(*other);
  }
  prepared_.insert(function);
  return function->code.get();
}

bool ModuleText::first_finding(const Instr* one, const Instr* other) {
  const std::lock_guard lock(mutex_);
  return findings_.insert({one, other}).second;
}

std::vector<const Code*> ModuleText::decoded() {
  const std::lock_guard lock(mutex_);
  return codes_;
}

}  // namespace vgpu::softgpu::ptx
