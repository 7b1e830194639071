// mma, wmma, ldmatrix and their kin; cp.async and mbarrier.
#include <charconv>

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
  Instr in;
  in.data = &info;
  if (base == "movmatrix") {
    in.a = source(operand(1), Type::kB32);
    in.d = result(operand(0), Type::kB32);
    in.run = isa().matrix(MatrixKind::kMove, Type::kB16, Type::kB16, info);
    return push(in);
  }
  if (has("sp") || has("sp::ordered_metadata") || has("block_scale")) return fail("");
  if (!parse_shape(parts_, info)) return fail("unknown shape");
  info.saturate = has("satfinite");
  info.conjunction = has("and");
  if (base == "wmma" && (has("load") || has("store"))) return decode_wmma_memory(info);
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
  Type a = Type::kF16, b = Type::kF16, c = types_.empty() ? Type::kNone : types_.back();
  const Type d = types_.empty() ? Type::kNone : types_.front();
  if (types_.size() == 4) {
    a = types_[1];
    b = types_[2];
  } else if (types_.size() != 2) {
    return fail("unknown types");
  }
  info.half_c = c == Type::kF16;
  info.half_d = d == Type::kF16;
  const bool wide = d == Type::kF64;
  const Type row = wide ? Type::kB64 : Type::kB32;
  info.a = rows_of(operand(1), row, false);
  info.b = rows_of(operand(2), row, false);
  info.c = rows_of(operand(3), row, false);
  info.d = rows_of(operand(0), row, true);
  if (!check_matrix(info, a, wide, base == "wmma")) return fail("operands of the wrong number");
  in.run = isa().matrix(base == "mma" ? MatrixKind::kMma : MatrixKind::kWmma, a, b, info);
  return push(in);
}

// The fragments must have the registers that the shape says: handlers do not look again.
bool Decoder::check_matrix(const MatrixInfo& info, Type a, bool wide, bool wmma) const {
  const auto most = [](const std::vector<uint32_t>& rows) {
    return !rows.empty() && rows.size() <= 8;
  };
  if (!most(info.a) || !most(info.b) || !most(info.c) || !most(info.d)) return false;
  if (wmma) return true;
  uint32_t bits = size_of(a) * 8;
  if (a == Type::kS4 || a == Type::kU4) bits = 4;
  if (a == Type::kB1) bits = 1;
  if (bits == 0) return false;
  const bool quad = a == Type::kF16 && info.m == 8;  // m8n8k4: four products at once
  const uint32_t word = wide ? 64 : 32;
  const uint32_t elements_c = quad ? 8 : info.m * info.n / 32;
  const auto registers = [&](uint32_t elements, uint32_t width) { return elements * width / word; };
  const uint32_t in_a = quad ? 2 : registers(info.m * info.k / 32, bits);
  const uint32_t in_b = quad ? 2 : registers(info.k * info.n / 32, bits);
  return info.a.size() == in_a && info.b.size() == in_b &&
         info.c.size() == registers(elements_c, info.half_c ? 16 : word) &&
         info.d.size() == registers(elements_c, info.half_d ? 16 : word);
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
  if (info.d.empty() || info.d.size() > 8) return fail("operands of the wrong number");
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
  if (!has("async") || has("bulk") || has("tensor")) return fail("");
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
  if (has("test_wait") || has("try_wait")) {
    const MBarrier kind = has("parity") ? MBarrier::kWaitParity : MBarrier::kWaitToken;
    return decode_mbarrier_op(kind, operand(1), at(2), at(0));
  }
  return fail("");
}

}  // namespace vgpu::softgpu::ptx
