// What is the same for all threads of a launch is computed once per launch, into rows of the
// constant pool: kernel parameters, the grid's shape, and pure arithmetic on these.
//
// A register qualifies when one unguarded statement defines it: where it is read before that it has
// no defined value, so it may as well have the final one.
#include "softgpu/ptx/decode.h"

namespace vgpu::softgpu::ptx {
namespace {

bool launch_constant(std::string_view special) {
  return special.starts_with("%ntid") || special.starts_with("%nctaid");
}

}  // namespace

bool Decoder::invariant_source(const Operand& operand) const {
  switch (operand.kind) {
    case Operand::Kind::kRegister:
      return invariant_register_[operand.reg];
    case Operand::Kind::kImmediate:
    case Operand::Kind::kSymbol:
      return true;
    case Operand::Kind::kVariable:
      return body_.variables[operand.reg].space == Space::kShared;
    case Operand::Kind::kSpecial:
      return launch_constant(operand.name);
    default:
      return false;
  }
}

// A load of a kernel parameter, or an instruction without side effects on invariant values.
bool Decoder::invariant_statement(const Statement& statement) const {
  const Family family = family_of(base_of(statement.opcode));
  if (statement.guard != kNone || statement.operands.size() < 2) return false;
  if (family == &Decoder::decode_load) {
    const Operand& place = statement.operands[1];
    return place.is(Operand::Kind::kAddress) && place.parts.size() == 1 &&
           place.parts[0].is(Operand::Kind::kVariable) &&
           body_.variables[place.parts[0].reg].space == Space::kParam &&
           place.parts[0].reg < function_.signature.parameters.size();
  }
  if (family == &Decoder::decode_move) {
    if (base_of(statement.opcode) == "isspacep") return false;
  } else if (family != &Decoder::decode_arithmetic && family != &Decoder::decode_convert) {
    return false;
  }
  if (has_modifier(statement.opcode, "cc")) return false;  // a second result
  for (size_t i = 1; i < statement.operands.size(); ++i) {
    if (!invariant_source(statement.operands[i])) return false;
  }
  return true;
}

void Decoder::find_invariants() {
  invariant_register_.assign(body_.registers.size(), false);
  invariant_statement_.assign(body_.statements.size(), false);
  std::vector<uint32_t> definitions(body_.registers.size(), 0);
  mentions_.assign(body_.registers.size(), 0);
  for (const Statement& statement : body_.statements) {
    visit_registers(statement, [&](uint32_t reg, bool defines) {
      definitions[reg] += defines;
      ++mentions_[reg];
    });
  }
  if (!function_.signature.entry) return;
  for (size_t i = 0; i < body_.statements.size(); ++i) {
    const Statement& statement = body_.statements[i];
    if (statement.operands.empty() || !statement.operands[0].is(Operand::Kind::kRegister)) continue;
    const uint32_t reg = statement.operands[0].reg;
    if (definitions[reg] != 1 || size_of(body_.registers[reg]) > 8) continue;
    if (!invariant_statement(statement)) continue;
    invariant_statement_[i] = true;
    invariant_register_[reg] = true;
  }
}

// Decodes them into the code that runs once per launch. False after an error in *failed.
bool Decoder::decode_invariants(const Statement** failed) {
  for (uint32_t reg = 0; reg < invariant_register_.size(); ++reg) {
    if (invariant_register_[reg]) {
      rows_.offset[reg] = pool_row(std::max(row_bytes(body_.registers[reg]), 64u));
    }
  }
  once_ = true;
  for (size_t i = 0; i < body_.statements.size(); ++i) {
    if (!invariant_statement_[i]) continue;
    *failed = &body_.statements[i];
    if (!decode_statement(**failed)) return false;
  }
  once_ = false;
  return true;
}

// Whether nothing but this statement, which writes it, names the register.
bool Decoder::never_read(const Operand& to) const {
  if (to.is(Operand::Kind::kSink)) return true;
  const uint32_t here = statement_->guard == kNone ? 1 : 2;  // lanes that do not run keep theirs
  return to.is(Operand::Kind::kRegister) && mentions_[to.reg] == here;
}

// A row of the pool, as an operand.
uint32_t Decoder::pool_row(uint32_t bytes) {
  const auto offset = static_cast<uint32_t>(code_->pool.size());
  code_->pool.resize(offset + bytes);
  return offset | kPoolBit;
}

}  // namespace vgpu::softgpu::ptx
