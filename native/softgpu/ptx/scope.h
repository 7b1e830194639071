// Names that a block of a function body declares (PTX ISA section 4.3.1).
#pragma once

#include <charconv>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace vgpu::softgpu::ptx {

struct RegisterRange {  // .reg .b32 %r<100>
  std::string_view prefix;
  uint32_t first = 0;
  uint32_t count = 0;
};

struct VectorRegister {  // .reg .v4 .b32 v: components are v.x to v.w, or v.r to v.a
  uint32_t first = 0;
  uint32_t count = 0;
};

struct Scope {
  int parent = -1;
  uint64_t param_end = 0;  // .param variables of scopes that do not nest share their place
  std::vector<RegisterRange> ranges;
  std::unordered_map<std::string_view, uint32_t> registers;
  std::unordered_map<std::string_view, VectorRegister> vectors;
  std::unordered_map<std::string_view, uint32_t> variables;
  std::unordered_map<std::string_view, uint32_t> labels;                       // statement index
  std::unordered_map<std::string_view, std::vector<std::string_view>> tables;  // .branchtargets
  std::unordered_map<std::string_view, uint32_t> prototypes;
};

inline constexpr uint32_t kMostRegisters = 4u << 20;  // a fuzzed `<4000000000>` must not allocate

inline constexpr uint64_t kMostLocalBytes = 512 << 10;    // of a thread: the hardware's limit
inline constexpr uint64_t kMostParameterBytes = 1 << 20;  // of a function's call sequences
inline constexpr size_t kMostTargets = 1 << 20;           // of all brx in a function
inline constexpr int kMostScopes = 256;                   // blocks within blocks
inline constexpr uint64_t kMostVariableBytes = uint64_t{1} << 30;

inline std::optional<uint32_t> number_after(std::string_view name, std::string_view prefix) {
  if (name.size() <= prefix.size() || name.substr(0, prefix.size()) != prefix) return {};
  uint32_t value = 0;
  const char* first = name.data() + prefix.size();
  const char* last = name.data() + name.size();
  const auto [end, error] = std::from_chars(first, last, value);
  if (error != std::errc() || end != last) return {};
  return value;
}

inline bool is_special(std::string_view name) { return name.size() > 1 && name[0] == '%'; }

}  // namespace vgpu::softgpu::ptx
