// mma, wmma, ldmatrix and their kin; cp.async and mbarrier.
#include <charconv>
#include <span>

#include "softgpu/ptx/decode.h"

namespace vgpu::softgpu::ptx {
namespace {

// `m16n8k16`
bool parse_shape(const std::vector<std::string_view>& parts, MatrixInfo& info) {
  for (const std::string_view part : parts) {
    const size_t n = part.find('n'), k = part.find('k');
    if (part.size() < 4 || part[0] != 'm' || n == part.npos || k == part.npos || k < n) continue;
    const auto number = [&](size_t from, size_t to, uint32_t& out) {
      const auto [end, error] = std::from_chars(part.data() + from, part.data() + to, out);
      return error == std::errc() && end == part.data() + to;
    };
    if (number(1, n, info.m) && number(n + 1, k, info.n) && number(k + 1, part.size(), info.k)) {
      return true;
    }
  }
  return false;
}

struct Form {
  uint32_t m, n, k;
};
// PTX ISA 9.7.14.5 (mma) and 9.7.14.4 (wmma): the shapes of each type of A and B.
std::span<const Form> mma_forms(Type type, bool with_kind) {
  static constexpr Form kHalf[] = {{8, 8, 4}, {16, 8, 8}, {16, 8, 16}};
  static constexpr Form kDouble[] = {{8, 8, 4}, {16, 8, 4}, {16, 8, 8}, {16, 8, 16}};
  static constexpr Form kBytes[] = {{8, 8, 16}, {16, 8, 16}, {16, 8, 32}};
  static constexpr Form kNibbles[] = {{8, 8, 32}, {16, 8, 32}, {16, 8, 64}};
  static constexpr Form kBits[] = {{8, 8, 128}, {16, 8, 128}, {16, 8, 256}};
  switch (type) {
    case Type::kF16:
      return kHalf;
    case Type::kBF16:
      return std::span(kHalf).subspan(1);
    case Type::kTF32:
      return std::span(kDouble).subspan(1, 2);
    case Type::kF64:
      return kDouble;
    case Type::kE4M3:
    case Type::kE5M2:
      return std::span(kBytes).subspan(with_kind ? 2 : 1);
    case Type::kE2M1:
    case Type::kE2M3:
    case Type::kE3M2:
      return std::span(kBytes).subspan(with_kind ? 2 : 3);
    case Type::kS8:
    case Type::kU8:
      return kBytes;
    case Type::kS4:
    case Type::kU4:
      return kNibbles;
    case Type::kB1:
      return kBits;
    default:
      return {};
  }
}
std::span<const Form> wmma_forms(Type type) {
  static constexpr Form kSquare[] = {{16, 16, 16}, {8, 32, 16}, {32, 8, 16}};
  static constexpr Form kSingle[] = {{16, 16, 8}}, kDouble[] = {{8, 8, 4}};
  static constexpr Form kNibbles[] = {{8, 8, 32}}, kBits[] = {{8, 8, 128}};
  switch (type) {
    case Type::kF16:
    case Type::kBF16:
    case Type::kS8:
    case Type::kU8:
      return kSquare;
    case Type::kTF32:
      return kSingle;
    case Type::kF64:
      return kDouble;
    case Type::kS4:
    case Type::kU4:
      return kNibbles;
    case Type::kB1:
      return kBits;
    default:
      return {};
  }
}
bool known_form(const MatrixInfo& info, bool wmma, Type a, bool with_kind) {
  for (const Form& form : wmma ? wmma_forms(a) : mma_forms(a, with_kind)) {
    if (form.m == info.m && form.n == info.n && form.k == info.k) return true;
  }
  return false;
}

// Types that may meet as A and B: those of one answer.
Type family_of_inputs(Type type) {
  switch (type) {
    case Type::kE4M3:
    case Type::kE5M2:
    case Type::kE2M1:
    case Type::kE2M3:
    case Type::kE3M2:
      return Type::kE4M3;
    case Type::kU8:
      return Type::kS8;
    case Type::kU4:
      return Type::kS4;
    default:
      return type;
  }
}
// Whether C and D may have this type when A has that one.
bool fits(Type accumulator, Type a) {
  switch (family_of_inputs(a)) {
    case Type::kF64:
      return accumulator == Type::kF64;
    case Type::kS8:
    case Type::kS4:
    case Type::kB1:
      return accumulator == Type::kS32;
    case Type::kF16:
    case Type::kE4M3:
      return accumulator == Type::kF16 || accumulator == Type::kF32;
    default:
      return accumulator == Type::kF32;
  }
}

enum class Role : uint8_t { kA, kB, kC };
uint32_t bits_of(Type type) {
  if (type == Type::kS4 || type == Type::kU4) return 4;
  return type == Type::kB1 ? 1 : 8 * size_of(type);
}
// How many registers hold a fragment: of 64 bits for .f64, of 32 for all others.
uint32_t registers(const MatrixInfo& info, bool wmma, Role role, Type type) {
  const bool input = role != Role::kC;
  if (wmma && type == Type::kF16 && input) return 8;  // each element twice in some shapes
  const bool quad = !wmma && info.m == 8 && info.k == 4 && size_of(type) < 8;
  if (quad) return input ? 2 : type == Type::kF16 ? 4 : 8;  // m8n8k4: four products at once
  const uint32_t elements = role == Role::kA   ? info.m * info.k
                            : role == Role::kB ? info.k * info.n
                                               : info.m * info.n;
  return elements / kLanes * bits_of(type) / (type == Type::kF64 ? 64 : 32);
}

// What wmma.load and wmma.store may move. Elements below a byte come in runs along k only.
bool known_wmma_memory(const MatrixInfo& info, Role role, Type type) {
  if (role != Role::kC) {
    const bool along_k = info.a_by_column == (role == Role::kB);
    return known_form(info, true, type, false) && (bits_of(type) >= 8 || along_k);
  }
  for (const Type a : {Type::kF16, Type::kTF32, Type::kF64, Type::kS8, Type::kS4, Type::kB1}) {
    if (fits(type, a) && known_form(info, true, a, false)) return true;
  }
  return false;
}

}  // namespace

std::vector<uint32_t> Decoder::rows_of(const Operand& operand, Type type, bool results) {
  std::vector<uint32_t> rows;
  if (!operand.is(Operand::Kind::kVector)) {
    rows.push_back(results ? result(operand, type) : source(operand, type));
    return rows;
  }
  for (const Operand& part : operand.parts) {
    rows.push_back(results ? result(part, type) : source(part, type));
  }
  return rows;
}

bool Decoder::decode_matrix() {
  const std::string_view base = parts_[0];
  if (base == "ldmatrix" || base == "stmatrix") return decode_matrix_rows(base == "stmatrix");
  MatrixInfo& info = code_->matrices.emplace_back();
  if (base == "movmatrix") {
    Instr in;
    in.data = &info;
    in.a = source(operand(1), Type::kB32);
    in.d = result(operand(0), Type::kB32);
    in.run = isa().matrix(MatrixKind::kMove, Type::kB16, Type::kB16, info);
    return push(in);
  }
  if (!parse_shape(parts_, info)) return fail("unknown shape");
  if (base == "wmma" && (has("load") || has("store"))) return decode_wmma_memory(info);
  return decode_matrix_product(info);
}

// mma and wmma.mma.
bool Decoder::decode_matrix_product(MatrixInfo& info) {
  if (has("sp") || has("sp::ordered_metadata")) return fail("");
  if (has("block_scale")) return decode_matrix_scaled(info);
  const bool wmma = parts_[0] == "wmma";
  info.saturate = has("satfinite");
  info.conjunction = has("and");
  info.rounding = arithmetic_mods() & kRoundMask;
  // Layouts of A and B come in this order.
  std::vector<bool> by_column;
  for (const std::string_view part : parts_) {
    if (part == "row" || part == "col") by_column.push_back(part == "col");
  }
  if (by_column.size() == 2) {
    info.a_by_column = by_column[0];
    info.b_by_column = by_column[1];
  }
  // mma: d.a.b.c. wmma: the same, or only d.c when A and B are .f16.
  if (types_.size() != 4 && (!wmma || types_.size() != 2)) return fail("unknown types");
  const bool four = types_.size() == 4;
  const Type a = four ? types_[1] : Type::kF16, b = four ? types_[2] : Type::kF16;
  const Type c = types_.back(), d = types_.front();
  info.half_c = c == Type::kF16;
  info.half_d = d == Type::kF16;
  if (!known_form(info, wmma, a, has("kind::f8f6f4")) || !fits(d, a) || !fits(c, a) ||
      family_of_inputs(a) != family_of_inputs(b)) {
    return fail("unknown shape and types");
  }
  const Type row = d == Type::kF64 ? Type::kB64 : Type::kB32;
  info.a = rows_of(operand(1), row, false);
  info.b = rows_of(operand(2), row, false);
  info.c = rows_of(operand(3), row, false);
  info.d = rows_of(operand(0), row, true);
  // The fragments must have the registers that the shape says: handlers do not look again.
  if (info.a.size() != registers(info, wmma, Role::kA, a) ||
      info.b.size() != registers(info, wmma, Role::kB, b) ||
      info.c.size() != registers(info, wmma, Role::kC, c) ||
      info.d.size() != registers(info, wmma, Role::kC, d)) {
    return fail("operands of the wrong number");
  }
  Instr in;
  in.data = &info;
  in.run = isa().matrix(wmma ? MatrixKind::kWmma : MatrixKind::kMma, a, b, info);
  return push(in);
}

// mma with .block_scale: d, a, b, c, scales of A, {byte, thread}, scales of B, {byte, thread}.
bool Decoder::decode_matrix_scaled(MatrixInfo& info) {
  // Types: d.a.b.c.scale; the last is no type of registers.
  if (types_.size() != 4 || types_[0] != Type::kF32 || types_[3] != Type::kF32) return fail("");
  const Type a = types_[1], b = types_[2];
  const bool packed = has("kind::mxf4") || has("kind::mxf4nvf4");
  info.scales_ue4m3 = has("ue4m3");
  info.scales = has("scale_vec::4X") ? 4 : has("scale_vec::2X") || has("kind::mxf4") ? 2 : 1;
  const bool known = packed ? info.k == 64 && a == Type::kE2M1 && b == a && info.scales != 1 &&
                                  info.scales_ue4m3 == (info.scales == 4) &&
                                  (info.scales == 2 || has("kind::mxf4nvf4"))
                            : has("kind::mxf8f6f4") && info.k == 32 && info.scales == 1 &&
                                  !info.scales_ue4m3 && family_of_inputs(a) == Type::kE4M3 &&
                                  family_of_inputs(b) == Type::kE4M3;
  if (!known || info.m != 16 || info.n != 8 || (!info.scales_ue4m3 && !has("ue8m0"))) {
    return fail("unknown shape and types");
  }
  info.a = rows_of(operand(1), Type::kB32, false);
  info.b = rows_of(operand(2), Type::kB32, false);
  info.c = rows_of(operand(3), Type::kB32, false);
  info.d = rows_of(operand(0), Type::kB32, true);
  for (size_t side = 0; side < 2; ++side) {
    const Operand& selector = operand(5 + 2 * side);
    if (!selector.is(Operand::Kind::kVector) || selector.parts.size() != 2) return fail("");
    info.scale_rows[side] = source(operand(4 + 2 * side), Type::kB32);
    info.byte_rows[side] = source(selector.parts[0], Type::kB16);
    info.thread_rows[side] = source(selector.parts[1], Type::kB16);
  }
  if (info.a.size() != 4 || info.b.size() != 2 || info.c.size() != 4 || info.d.size() != 4) {
    return fail("operands of the wrong number");
  }
  Instr in;
  in.data = &info;
  in.run = isa().matrix(MatrixKind::kMma, a, b, info);
  return push(in);
}

bool Decoder::decode_wmma_memory(MatrixInfo& info) {
  const bool store = has("store");
  const Operand& place = operand(store ? 0 : 1);
  const Operand& fragment = operand(store ? 1 : 0);
  Instr in;
  info.a_by_column = has("col");
  info.space = space_of_opcode();
  info.role = has("a") ? 0 : has("b") ? 1 : 2;
  if (!address(in, place)) return false;
  in.data = &info;
  if (operands() > 2) info.stride = source(operand(2), Type::kU32);
  const Type row = type_ == Type::kF64 ? Type::kB64 : Type::kB32;
  info.d = rows_of(fragment, row, !store);
  const auto role = static_cast<Role>(info.role);
  if (!known_wmma_memory(info, role, type_) ||
      info.d.size() != registers(info, true, role, type_)) {
    return fail("operands of the wrong number");
  }
  in.run = isa().matrix(store ? MatrixKind::kWmmaStore : MatrixKind::kWmmaLoad, type_, type_, info);
  return push(in);
}

bool Decoder::decode_matrix_rows(bool store) {
  if (!has("m8n8") || !has("b16")) return fail("");
  MatrixInfo& info = code_->matrices.emplace_back();
  const size_t count = has("x4") ? 4 : has("x2") ? 2 : 1;
  info.transposed = has("trans");
  info.space = space_of_opcode();
  Instr in;
  if (!address(in, operand(store ? 0 : 1))) return false;
  info.d = rows_of(operand(store ? 1 : 0), Type::kB32, !store);
  if (info.d.size() != count) return fail("operands of the wrong number");
  in.data = &info;
  in.run =
      isa().matrix(store ? MatrixKind::kStore : MatrixKind::kLoad, Type::kB16, Type::kB16, info);
  return push(in);
}

bool Decoder::decode_async() {
  if (parts_[0] == "mbarrier") return decode_mbarrier();
  if (has("tensor")) return decode_tensor_copy();
  if (has("bulk")) return decode_bulk();
  if (!has("async")) return fail("");
  Instr in;
  if (has("commit_group") || has("wait_group") || has("wait_all")) {
    in.run = handlers::nothing;
    return push(in);
  }
  if (has("mbarrier") || has("mbarrier::arrive")) {
    if (!has("noinc")) {  // its own arrival was added to what the barrier expects
      in.run = handlers::nothing;
      return push(in);
    }
    return decode_mbarrier_op(MBarrier::kArrive, operand(0), nullptr, nullptr);
  }
  // cp.async.{ca,cg}.shared.global [to], [from], bytes [, source size | , ignore] [, policy]
  if (!address(in, operand(0))) return false;
  Instr from;
  if (!address(from, operand(1))) return false;
  in.b = from.a;
  if (from.imm != static_cast<int32_t>(from.imm)) return fail("an offset out of range");
  in.e = static_cast<uint32_t>(static_cast<int32_t>(from.imm));
  const auto bytes = static_cast<uint32_t>(operand(2).bits);
  if (bytes != 4 && bytes != 8 && bytes != 16) return fail("unknown size");
  uint32_t ignore = 0;
  const size_t extra = has("L2::cache_hint") ? operands() - 1 : operands();
  if (extra > 3) {
    const Operand& third = operand(3);
    const bool truth =
        third.is(Operand::Kind::kRegister) && body_.registers[third.reg] == Type::kPred;
    if (truth) {
      ignore = predicate(third);
    } else {
      in.c = source(third, Type::kU32);
    }
  }
  in.list = list({bytes, ignore, (from.mods & kAddress32) != 0 ? 1u : 0u});
  in.run = isa().async(AsyncKind::kCopy);
  return push(in);
}

bool Decoder::decode_mbarrier_op(MBarrier kind, const Operand& place, const Operand* value,
                                 const Operand* to) {
  Instr in;
  if (!address(in, place)) return false;
  if (in.imm != static_cast<int32_t>(in.imm)) return fail("an offset out of range");
  in.e = static_cast<uint32_t>(static_cast<int32_t>(in.imm));
  in.imm = static_cast<int64_t>(kind);
  const bool waits = kind == MBarrier::kWaitToken || kind == MBarrier::kWaitParity;
  if (value != nullptr)
    in.b = source(*value, kind == MBarrier::kWaitToken ? Type::kB64 : Type::kB32);
  if (waits) {
    in.d = predicate_result(*to);
    in.mods |= kNoResult;
  } else if (to != nullptr && !to->is(Operand::Kind::kSink)) {
    in.d = result(*to, Type::kB64);
  } else {
    in.mods |= kNoResult;
  }
  const bool shared = space_of_opcode() == Space::kShared || variable(place.parts[0]) != nullptr ||
                      parts_[0] == "cp";
  in.list = list({shared ? 1u : 0u});
  in.run = isa().async(AsyncKind::kBarrier);
  return push(in);
}

bool Decoder::decode_mbarrier() {
  const auto has_address_first = operand(0).is(Operand::Kind::kAddress);
  const auto at = [&](size_t i) { return i < operands() ? &operand(i) : nullptr; };
  if (has("init")) return decode_mbarrier_op(MBarrier::kInit, operand(0), at(1), nullptr);
  if (has("inval")) return decode_mbarrier_op(MBarrier::kInvalidate, operand(0), nullptr, nullptr);
  if (has("expect_tx") && !has("arrive") && !has("arrive_drop")) {
    return decode_mbarrier_op(MBarrier::kExpect, operand(0), at(1), nullptr);
  }
  if (has("complete_tx"))
    return decode_mbarrier_op(MBarrier::kComplete, operand(0), at(1), nullptr);
  if (has("arrive") || has("arrive_drop")) {
    const bool drop = has("arrive_drop"), expect = has("expect_tx");
    const MBarrier kind = expect ? (drop ? MBarrier::kArriveDropExpect : MBarrier::kArriveExpect)
                                 : (drop ? MBarrier::kArriveDrop : MBarrier::kArrive);
    return has_address_first ? decode_mbarrier_op(kind, operand(0), at(1), nullptr)
                             : decode_mbarrier_op(kind, operand(1), at(2), at(0));
  }
  if (has("pending_count")) {  // of an arrival's token: all but its lowest bit, the phase
    Instr in;
    const uint32_t wide = scratch(256);
    in.a = source(operand(1), Type::kB64);
    in.b = constant(1, 4);
    in.d = wide;
    in.run = isa().arithmetic(Op::kShr, Type::kU64, 0);
    if (!push(in)) return false;
    in.a = wide;
    in.d = result(operand(0), Type::kU32);
    in.run = isa().resize(4, 8, false);
    return push(in);
  }
  if (has("test_wait") || has("try_wait")) {
    const MBarrier kind = has("parity") ? MBarrier::kWaitParity : MBarrier::kWaitToken;
    return decode_mbarrier_op(kind, operand(1), at(2), at(0));
  }
  return fail("");
}

}  // namespace vgpu::softgpu::ptx
