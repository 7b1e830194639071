// ld and st. Atomics, asynchronous copies and matrices follow in their own files.
#include <charconv>
#include <optional>

#include "softgpu/ptx/decode.h"

namespace vgpu::softgpu::ptx {

Space Decoder::space_of_opcode() const {
  for (size_t i = 1; i < parts_.size(); ++i) {
    const std::string_view part = parts_[i];
    if (part == "global") return Space::kGlobal;
    if (part == "shared" || part == "shared::cta" || part == "shared::cluster")
      return Space::kShared;
    if (part == "local") return Space::kLocal;
    if (part == "param" || part == "param::entry" || part == "param::func") return Space::kParam;
    if (part == "const") return Space::kConst;
  }
  return Space::kGeneric;
}

namespace {

uint32_t vector_count(const std::vector<std::string_view>& parts) {
  for (const std::string_view part : parts) {
    if (part == "v2") return 2;
    if (part == "v4") return 4;
    if (part == "v8") return 8;
  }
  return 1;
}

// How an access takes part in what threads of other blocks may be doing. Before PTX had a memory
// model, programs talked through the cache operators of L2 (.cg, .cv, .wt).
uint32_t access_mods(const std::vector<std::string_view>& parts) {
  for (const std::string_view part : parts) {
    if (part == "volatile" || part == "relaxed" || part == "acquire" || part == "release" ||
        part == "mmio") {
      return kAccessSync | kAccessWhole;
    }
    if (part == "cg" || part == "cv" || part == "wt") return kAccessWhole;
  }
  return 0;
}

}  // namespace

// Kernel parameters are uniform: one value for all lanes. A device function's live in its frame.
bool Decoder::decode_param_load(const Operand& place, const LocalVariable& variable) {
  const Operand& base = place.parts[0];
  const uint64_t offset =
      variable.offset + static_cast<uint64_t>(base.offset) + static_cast<uint64_t>(place.offset);
  const bool kernel = function_.signature.entry && base.reg < function_.signature.parameters.size();
  const uint32_t count = vector_count(parts_);
  const uint32_t bytes = size_of(type_);
  const bool vector = operand(0).is(Operand::Kind::kVector);
  if (count > 1 && (!vector || operand(0).parts.size() != count)) return fail("expected a vector");
  if (bytes == 0) return fail("a parameter of this type");
  const bool halved = bytes == 16;  // two rows of 64 bits
  for (uint32_t k = 0; k < count; ++k) {
    Instr in;
    const Operand& to = vector ? operand(0).parts[k] : operand(0);
    if (to.is(Operand::Kind::kSink)) continue;
    in.imm = static_cast<int64_t>(offset + k * bytes);
    // From the area's start: an offset below zero must not wrap around.
    if (in.imm < 0) return fail("before the parameter");
    if (kernel) {
      if (static_cast<uint64_t>(in.imm) + bytes > variable.offset + variable.size) {
        return fail("beyond the parameter");
      }
      in.d = result(to, type_);
      in.run = isa().broadcast(halved ? 8 : bytes);
    } else {
      if (static_cast<uint64_t>(in.imm) + bytes > body_.param_bytes)
        return fail("beyond the parameter");
      in.d = result(to, type_);
      in.mods = halved ? 8 | 8 << 8 : bytes | row_bytes(type_) / 32 << 8;
      in.run = handlers::frame_load;
    }
    if (!push(in)) return false;
    if (halved) {
      in.imm += 8;
      in.d += 256;
      if (!push(in)) return false;
    }
  }
  return true;
}

bool Decoder::decode_load() {
  Space space = space_of_opcode();
  const Operand& place = operand(1);
  if (!place.is(Operand::Kind::kAddress)) return fail("expected an address");
  const LocalVariable* local = variable(place.parts[0]);
  if (local != nullptr && local->space == Space::kParam) return decode_param_load(place, *local);
  uint32_t count = vector_count(parts_);
  uint32_t bytes = size_of(type_);
  Instr in;
  in.mods = access_mods(parts_);
  if (!address(in, place)) return false;
  if (space == Space::kGeneric && local != nullptr) space = local->space;
  std::vector<uint32_t> rows;
  if (count > 1) {
    if (!operand(0).is(Operand::Kind::kVector) || operand(0).parts.size() != count) {
      return fail("expected a vector");
    }
    for (const Operand& part : operand(0).parts) rows.push_back(result(part, type_));
  } else {
    rows.push_back(result(operand(0), type_));
  }
  if (bytes == 16) {  // two rows of 64 bits each
    std::vector<uint32_t> halves;
    for (const uint32_t row : rows) {
      halves.push_back(row);
      halves.push_back(row + 256);
    }
    rows = std::move(halves);
    bytes = 8;
    count *= 2;
  }
  in.d = rows[0];
  if (count > 1) in.list = list(std::move(rows));
  in.run = isa().load(space, bytes, count);
  return push(in);
}

bool Decoder::decode_store() {
  Space space = space_of_opcode();
  const Operand& place = operand(0);
  if (!place.is(Operand::Kind::kAddress)) return fail("expected an address");
  const LocalVariable* local = variable(place.parts[0]);
  uint32_t count = vector_count(parts_);
  uint32_t bytes = size_of(type_);
  const bool vector = operand(1).is(Operand::Kind::kVector) && count > 1;
  if (count > 1 && (!vector || operand(1).parts.size() != count)) return fail("expected a vector");
  std::vector<uint32_t> rows;
  for (uint32_t k = 0; k < count; ++k) {
    rows.push_back(source(vector ? operand(1).parts[k] : operand(1), type_));
  }
  if (local != nullptr && local->space == Space::kParam) {
    for (uint32_t k = 0; k < count; ++k) {
      Instr in;
      in.a = rows[k];
      in.imm = static_cast<int64_t>(local->offset + static_cast<uint64_t>(place.parts[0].offset) +
                                    static_cast<uint64_t>(place.offset) + k * bytes);
      if (bytes == 0 || in.imm < 0 || static_cast<uint64_t>(in.imm) + bytes > body_.param_bytes) {
        return fail("beyond the parameter");
      }
      const bool halved = bytes == 16;
      in.mods = halved ? 8 | 8 << 8 : bytes | row_bytes(type_) / 32 << 8;
      in.run = handlers::frame_store;
      if (!push(in)) return false;
      if (halved) {
        in.imm += 8;
        in.a += 256;
        if (!push(in)) return false;
      }
    }
    return true;
  }
  Instr in;
  in.mods = access_mods(parts_);
  if (!address(in, place)) return false;
  if (space == Space::kGeneric && local != nullptr) space = local->space;
  if (bytes == 16) {
    std::vector<uint32_t> halves;
    for (const uint32_t row : rows) {
      const uint32_t pool = row & kPoolBit;
      halves.push_back(row);
      halves.push_back(((row & ~kPoolBit) + 256) | pool);
    }
    rows = std::move(halves);
    bytes = 8;
    count *= 2;
  }
  in.b = rows[0];
  if (count > 1) in.list = list(std::move(rows));
  in.run = isa().store(space, bytes, count);
  if (!push(in)) return false;
  return !has("async") || complete_bytes(operand(2), bytes * count);
}

namespace {

std::optional<Atomic> atomic_of(const std::vector<std::string_view>& parts) {
  constexpr std::pair<std::string_view, Atomic> kNames[] = {
      {"add", Atomic::kAdd}, {"min", Atomic::kMin},   {"max", Atomic::kMax}, {"inc", Atomic::kInc},
      {"dec", Atomic::kDec}, {"exch", Atomic::kExch}, {"cas", Atomic::kCas}, {"and", Atomic::kAnd},
      {"or", Atomic::kOr},   {"xor", Atomic::kXor}};
  for (const std::string_view part : parts) {
    for (const auto& [name, op] : kNames) {
      if (part == name) return op;
    }
  }
  return {};
}

}  // namespace

// atom d, [a], b [, c] and red [a], b. A vector is one operation per element.
bool Decoder::decode_atomic() {
  const bool result_wanted = parts_[0] == "atom";
  const size_t first = result_wanted ? 1 : 0;
  const auto op = atomic_of(parts_);
  const Space space = space_of_opcode();
  if (!op) return fail("unknown operation");
  const uint32_t count = vector_count(parts_);
  const bool ignore_result = result_wanted && never_read(operand(0));
  // Elements go one after the other: a result must not overwrite what a later one still needs.
  std::vector<uint32_t> old;
  const bool staged = count > 1 && result_wanted && !ignore_result;
  const auto part = [&](size_t i, uint32_t k) -> const Operand& {
    return count > 1 && operand(i).parts.size() == count ? operand(i).parts[k] : operand(i);
  };
  for (uint32_t k = 0; k < count; ++k) {
    Instr in;
    in.mods = kAccessAtomic;
    if (!result_wanted || ignore_result) in.mods |= kNoResult;
    const uint32_t kept = in.mods;
    if (!address(in, operand(first))) return false;
    in.mods |= kept;
    in.imm += static_cast<int64_t>(k) * size_of(type_);
    in.b = source(part(first + 1, k), type_);
    in.c = *op == Atomic::kCas ? source(operand(first + 2), type_) : in.b;
    if (staged) old.push_back(scratch(row_bytes(type_)));
    in.d = (in.mods & kNoResult) != 0 ? in.b : staged ? old.back() : result(part(0, k), type_);
    in.run = isa().atomic(space, *op, type_);
    if (!push(in)) return false;
  }
  for (uint32_t k = 0; k < old.size(); ++k) {
    Instr move;
    move.a = old[k];
    move.d = result(part(0, k), type_);
    const uint32_t bytes = size_of(type_);
    move.run = isa().arithmetic(Op::kMov,
                                bytes == 2   ? Type::kB16
                                : bytes == 4 ? Type::kB32
                                             : Type::kB64,
                                0);
    if (!push(move)) return false;
  }
  return !has("async") || complete_bytes(operand(first + 2), size_of(type_) * count);
}

}  // namespace vgpu::softgpu::ptx
