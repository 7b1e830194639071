// Operands: registers, constants, addresses of variables.
#include <bit>
#include <cstring>

#include "softgpu/ptx/decode.h"
#include "softgpu/ptx/warp.h"

namespace vgpu::softgpu::ptx {
namespace {

// Bytes of a value inside its row: rows hold 2, 4, 8 or 16 bytes per lane.
uint32_t lane_bytes(Type type) { return row_bytes(type) / 32; }

}  // namespace

uint32_t Decoder::scratch(uint32_t bytes) {
  if (once_) return pool_row((bytes + 63) / 64 * 64);
  auto& [rows, used] = scratch_[bytes];
  if (used == rows.size()) {
    rows.push_back(rows_.bytes);
    rows_.bytes += (bytes + 63) / 64 * 64;
  }
  return rows[used++];
}

uint32_t Decoder::constant(uint64_t bits, uint32_t bytes) {
  const auto key = std::pair(bits, bytes);
  const auto found = constants_.find(key);
  if (found != constants_.end()) return found->second | kPoolBit;
  const auto offset = static_cast<uint32_t>(code_->pool.size());
  code_->pool.resize(offset + bytes * kLanes);
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    std::memcpy(code_->pool.data() + offset + lane * bytes, &bits, std::min(bytes, 8u));
  }
  constants_.emplace(key, offset);
  return offset | kPoolBit;
}

uint64_t Decoder::literal(const Operand& operand, Type type) const {
  uint64_t bits = operand.bits;
  if (type == Type::kF64 && operand.literal == Literal::Kind::kSingle) {
    return std::bit_cast<uint64_t>(
        static_cast<double>(std::bit_cast<float>(static_cast<uint32_t>(bits))));
  }
  if (type == Type::kF32 && operand.literal == Literal::Kind::kDouble) {
    return std::bit_cast<uint32_t>(static_cast<float>(std::bit_cast<double>(bits)));
  }
  const uint32_t bytes = lane_bytes(type);
  if (bytes < 8) bits &= (uint64_t{1} << (8 * bytes)) - 1;
  return bits;
}

const LocalVariable* Decoder::variable(const Operand& operand) const {
  return operand.is(Operand::Kind::kVariable) ? &body_.variables[operand.reg] : nullptr;
}

uint32_t Decoder::symbol_address(const Operand& operand, uint32_t bytes) {
  if (const LocalVariable* local = variable(operand)) {
    const uint64_t offset = local->offset + static_cast<uint64_t>(operand.offset);
    if (local->space == Space::kLocal) {
      const uint32_t row = scratch(bytes * kLanes);
      Instr& in = emit(handlers::local_address);
      in.d = row;
      in.imm = static_cast<int64_t>(offset);
      in.mods = bytes;
      return row;
    }
    if (local->space == Space::kShared) return constant(function_.shared_base + offset, bytes);
    if (function_.signature.entry) return constant(offset, bytes);
    fail("the address of a device function's parameter");
    return 0;
  }
  const ModuleText::Symbol symbol = module_.find(function_.unit, operand.name);
  const auto offset = static_cast<uint64_t>(operand.offset);
  switch (symbol.kind) {
    case ModuleText::SymbolKind::kFunction:
      code_->calls_indirectly = true;
      return constant(module_.function(symbol.index)->handle + offset, bytes);
    case ModuleText::SymbolKind::kShared: {
      const SharedVariable& shared = module_.shared(symbol.index);
      if (!shared.external) {
        return constant(function_.shared_offsets[symbol.index] + offset, bytes);
      }
      break;
    }
    case ModuleText::SymbolKind::kVariable:
      break;
    case ModuleText::SymbolKind::kNone:
      fail("unknown name " + std::string(operand.name));
      return 0;
  }
  const bool shared = symbol.kind == ModuleText::SymbolKind::kShared;
  const auto row = static_cast<uint32_t>(code_->pool.size());
  code_->pool.resize(row + bytes * kLanes);
  code_->patches.push_back({shared ? PoolPatch::Kind::kDynamicShared : PoolPatch::Kind::kVariable,
                            row, bytes, static_cast<uint32_t>(symbol.index), operand.offset});
  return row | kPoolBit;
}

uint32_t Decoder::special(const Operand& operand, uint32_t bytes) {
  uint32_t id = 0, have = 0;
  const Handler handler = handlers::special(operand.name, id, have);
  if (handler == nullptr) {
    fail("unknown special register " + std::string(operand.name));
    return 0;
  }
  const uint32_t row = scratch(have * kLanes);
  Instr& in = emit(handler);
  in.d = row;
  in.imm = id;
  if (have == bytes) return row;
  const uint32_t resized = scratch(bytes * kLanes);
  Instr& resize = emit(isa().resize(bytes, have, false));
  resize.d = resized;
  resize.a = row;
  return resized;
}

uint32_t Decoder::source(const Operand& operand, Type type) {
  const uint32_t bytes = lane_bytes(type);
  if (bytes == 16 && !operand.is(Operand::Kind::kRegister) && !operand.is(Operand::Kind::kVector)) {
    fail("128 bits that are in no register");
    return 0;
  }
  switch (operand.kind) {
    case Operand::Kind::kRegister: {
      const Type have = body_.registers[operand.reg];
      const uint32_t row = rows_.offset[operand.reg];
      if (have == Type::kPred) {
        fail("a predicate where a value is needed");
        return 0;
      }
      if (lane_bytes(have) == bytes) return row;
      if (bytes == 16 || lane_bytes(have) == 16) {
        fail("a register of another width");
        return 0;
      }
      const uint32_t resized = scratch(bytes * kLanes);
      Instr& in = emit(isa().resize(bytes, lane_bytes(have), is_signed(type) && !is_float(type)));
      in.d = resized;
      in.a = row;
      return resized;
    }
    case Operand::Kind::kImmediate:
      return constant(literal(operand, type), bytes);
    case Operand::Kind::kVariable:
    case Operand::Kind::kSymbol:
      return symbol_address(operand, bytes);
    case Operand::Kind::kSpecial:
      return special(operand, bytes);
    case Operand::Kind::kVector: {
      if (operand.parts.size() == 1) return source(operand.parts[0], type);
      const uint32_t row = scratch(bytes * kLanes);
      std::vector<uint32_t> rows;
      const auto count = static_cast<uint32_t>(operand.parts.size());
      if (count == 0 || bytes % count != 0) {
        fail("a vector of the wrong size");
        return 0;
      }
      const uint32_t part = bytes / count;
      const Type part_type = part == 1   ? Type::kB8
                             : part == 2 ? Type::kB16
                             : part == 4 ? Type::kB32
                                         : Type::kB64;
      for (const Operand& one : operand.parts) rows.push_back(source(one, part_type));
      Instr& in = emit(isa().pieces(bytes, part, false));
      in.d = row;
      in.list = list(std::move(rows));
      return row;
    }
    default:
      fail("an operand of the wrong kind");
      return 0;
  }
}

uint32_t Decoder::predicate(const Operand& operand) {
  if (operand.is(Operand::Kind::kImmediate)) {
    const bool value = (operand.bits != 0) != operand.negated;
    return constant(value ? ~uint64_t{0} : 0, 4);
  }
  if (!operand.is(Operand::Kind::kRegister) || body_.registers[operand.reg] != Type::kPred) {
    fail("expected a predicate");
    return 0;
  }
  return rows_.offset[operand.reg] | (operand.negated ? kNegateBit : 0);
}

uint32_t Decoder::result(const Operand& operand, Type type) {
  const uint32_t bytes = lane_bytes(type);
  if (operand.is(Operand::Kind::kSink)) return scratch(bytes * kLanes);
  if (operand.is(Operand::Kind::kVector) && operand.parts.size() == 1) {
    return result(operand.parts[0], type);
  }
  if (!operand.is(Operand::Kind::kRegister) || body_.registers[operand.reg] == Type::kPred) {
    fail("expected a register as result");
    return 0;
  }
  const uint32_t have = lane_bytes(body_.registers[operand.reg]);
  const uint32_t row = rows_.offset[operand.reg];
  if (have == bytes) {
    // A signed byte fills its 16-bit register.
    if (type == Type::kS8) pending_.push_back({row, row, 1, have, true});
    return row;
  }
  const uint32_t narrow = scratch(bytes * kLanes);
  pending_.push_back(
      {narrow, row, size_of(type) == 1 ? 1 : bytes, have, is_signed(type) && !is_float(type)});
  return narrow;
}

uint32_t Decoder::predicate_result(const Operand& operand) {
  if (operand.is(Operand::Kind::kSink)) return scratch(4);
  if (!operand.is(Operand::Kind::kRegister) || body_.registers[operand.reg] != Type::kPred) {
    fail("expected a predicate as result");
    return 0;
  }
  return rows_.offset[operand.reg];
}

bool Decoder::address(Instr& in, const Operand& operand) {
  if (!operand.is(Operand::Kind::kAddress) || operand.parts.empty()) {
    return fail("expected an address");
  }
  const Operand& base = operand.parts[0];
  in.imm = operand.offset;
  if (base.is(Operand::Kind::kRegister)) {
    const uint32_t bytes = lane_bytes(body_.registers[base.reg]);
    if (bytes == 4) in.mods |= kAddress32;
    if (bytes != 4 && bytes != 8) return fail("an address in a narrow register");
    in.a = rows_.offset[base.reg];
    return true;
  }
  Operand whole = base;
  whole.offset += operand.offset;
  in.imm = 0;
  in.a = source(whole, Type::kB64);
  return error_.empty();
}

const uint32_t* Decoder::list(std::vector<uint32_t> operands) {
  code_->lists.push_back(std::move(operands));
  return code_->lists.back().data();
}

}  // namespace vgpu::softgpu::ptx
