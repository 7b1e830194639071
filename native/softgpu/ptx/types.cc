#include "softgpu/ptx/types.h"

#include <array>
#include <unordered_map>

namespace vgpu::softgpu::ptx {
namespace {

struct Entry {
  Type type;
  std::string_view name;
  uint8_t size;
  bool is_signed;
  bool is_float;
};

constexpr std::array kEntries = {
    Entry{Type::kNone, "", 0, false, false},       Entry{Type::kPred, "pred", 0, false, false},
    Entry{Type::kB8, "b8", 1, false, false},       Entry{Type::kU8, "u8", 1, false, false},
    Entry{Type::kS8, "s8", 1, true, false},        Entry{Type::kB16, "b16", 2, false, false},
    Entry{Type::kU16, "u16", 2, false, false},     Entry{Type::kS16, "s16", 2, true, false},
    Entry{Type::kF16, "f16", 2, true, true},       Entry{Type::kBF16, "bf16", 2, true, true},
    Entry{Type::kB32, "b32", 4, false, false},     Entry{Type::kU32, "u32", 4, false, false},
    Entry{Type::kS32, "s32", 4, true, false},      Entry{Type::kF32, "f32", 4, true, true},
    Entry{Type::kTF32, "tf32", 4, true, true},     Entry{Type::kF16x2, "f16x2", 4, true, true},
    Entry{Type::kBF16x2, "bf16x2", 4, true, true}, Entry{Type::kU16x2, "u16x2", 4, false, false},
    Entry{Type::kS16x2, "s16x2", 4, true, false},  Entry{Type::kB64, "b64", 8, false, false},
    Entry{Type::kU64, "u64", 8, false, false},     Entry{Type::kS64, "s64", 8, true, false},
    Entry{Type::kF64, "f64", 8, true, true},       Entry{Type::kF32x2, "f32x2", 8, true, true},
    Entry{Type::kB128, "b128", 16, false, false},  Entry{Type::kE4M3, "e4m3", 1, true, true},
    Entry{Type::kE5M2, "e5m2", 1, true, true},     Entry{Type::kE4M3x2, "e4m3x2", 2, true, true},
    Entry{Type::kE5M2x2, "e5m2x2", 2, true, true}, Entry{Type::kUE8M0x2, "ue8m0x2", 2, true, true},
    Entry{Type::kE2M1x2, "e2m1x2", 1, true, true}, Entry{Type::kE2M3x2, "e2m3x2", 2, true, true},
    Entry{Type::kE3M2x2, "e3m2x2", 2, true, true}, Entry{Type::kU4, "u4", 0, false, false},
    Entry{Type::kS4, "s4", 0, true, false},        Entry{Type::kB1, "b1", 0, false, false},
    Entry{Type::kE2M1, "e2m1", 1, true, true},     Entry{Type::kE2M3, "e2m3", 1, true, true},
    Entry{Type::kE3M2, "e3m2", 1, true, true},
};

const Entry& entry(Type type) { return kEntries[static_cast<size_t>(type)]; }

}  // namespace

Type type_of(std::string_view name) {
  static const auto* const kByName = [] {
    auto* map = new std::unordered_map<std::string_view, Type>;
    for (const Entry& one : kEntries) {
      if (one.type != Type::kNone) map->emplace(one.name, one.type);
    }
    return map;
  }();
  const auto found = kByName->find(name);
  return found == kByName->end() ? Type::kNone : found->second;
}

std::string_view name_of(Type type) { return entry(type).name; }
uint32_t size_of(Type type) { return entry(type).size; }
bool is_signed(Type type) { return entry(type).is_signed; }
bool is_float(Type type) { return entry(type).is_float; }

}  // namespace vgpu::softgpu::ptx
