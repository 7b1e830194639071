// Branches, calls, barriers, exchanges between lanes, fences and hints.
#include <algorithm>
#include <cstring>

#include "softgpu/ptx/decode.h"

namespace vgpu::softgpu::ptx {

bool Decoder::decode_branch() {
  const std::string_view base = parts_[0];
  const uint32_t guard =
      statement_->guard == kNone
          ? constant(~uint64_t{0}, 4)
          : rows_.offset[statement_->guard] | (statement_->guard_negated ? kNegateBit : 0);
  Instr in;
  in.a = guard;
  if (base == "exit") in.run = handlers::exit;
  if (base == "ret") in.run = handlers::ret;
  if (base == "trap" || base == "brkpt") in.run = handlers::trap;
  if (in.run != nullptr) return push(in);
  if (base == "brx") return decode_brx();
  const uint32_t block = flow_.block_of[statement_->targets[0]];
  if (statement_->guard == kNone) {
    in.run = handlers::jump;
    fixups_.push_back({code_->instrs.size(), block});
    return push(in);
  }
  in.run = handlers::branch;
  BranchInfo& info = code_->branches.emplace_back();
  info.targets.resize(1);
  in.data = &info;
  fixups_.push_back({0, block, &info, 0});
  const auto here = static_cast<uint32_t>(statement_ - body_.statements.data());
  const uint32_t meet = flow_.blocks[flow_.block_of[here]].meet;
  if (meet != kNone) fixups_.push_back({0, meet, &info, SIZE_MAX});
  return push(in);
}

bool Decoder::decode_brx() {
  Instr in;
  in.a = source(operand(0), Type::kU32);
  BranchInfo& info = code_->branches.emplace_back();
  info.targets.resize(statement_->targets.size());
  for (size_t i = 0; i < statement_->targets.size(); ++i) {
    fixups_.push_back({0, flow_.block_of[statement_->targets[i]], &info, i});
  }
  const auto here = static_cast<uint32_t>(statement_ - body_.statements.data());
  const uint32_t meet = flow_.blocks[flow_.block_of[here]].meet;
  if (meet != kNone) fixups_.push_back({0, meet, &info, SIZE_MAX});
  in.data = &info;
  in.run = handlers::branch_table;
  return push(in);
}

// A function of a call table: the first of .calltargets, or of a variable's initial value.
const Function* Decoder::call_target(std::string_view name) {
  const ModuleText::Symbol symbol = module_.find(function_.unit, name);
  if (symbol.kind == ModuleText::SymbolKind::kFunction) return module_.function(symbol.index);
  if (symbol.kind != ModuleText::SymbolKind::kVariable) return nullptr;
  const std::vector<std::byte>& table = module_.variables()[symbol.index].initial;
  uint64_t handle = 0;
  if (table.size() >= sizeof handle) std::memcpy(&handle, table.data(), sizeof handle);
  return module_.function_at(handle);
}

// call (results), callee, (arguments) [, prototype or targets];
bool Decoder::decode_call() {
  size_t at = 0;
  const Operand* results = nullptr;
  const Operand* arguments = nullptr;
  if (operand(0).is(Operand::Kind::kList)) results = &operand(at++);
  const Operand& callee = operand(at++);
  if (operand(at).is(Operand::Kind::kList)) arguments = &operand(at++);
  CallInfo& info = code_->calls.emplace_back();
  const std::vector<LocalVariable>* formal_results = nullptr;
  const std::vector<LocalVariable>* formal_arguments = nullptr;
  if (callee.is(Operand::Kind::kSymbol)) {
    info.builtin = static_cast<int>(builtin_of(callee.name));
    const ModuleText::Symbol symbol = module_.find(function_.unit, callee.name);
    if (symbol.kind != ModuleText::SymbolKind::kFunction) {
      return fail("call of an unknown function " + std::string(callee.name));
    }
    info.callee = module_.function(symbol.index);
    if (info.callee->signature.entry) return fail("call of a kernel");
    const bool defined = info.callee->signature.body_begin != std::string_view::npos;
    if (defined) info.builtin = -1;
    if (!defined && info.builtin < 0) {
      return fail("unresolved external function " + std::string(callee.name));
    }
    if (info.builtin < 0) code_->callees.push_back(info.callee);
    formal_results = &info.callee->signature.results;
    formal_arguments = &info.callee->signature.parameters;
  } else {
    info.target = source(callee, Type::kB64);
    code_->calls_indirectly = true;
    // A .callprototype, or a function of the list of possible targets, of which all are alike.
    const Operand& kind = operand(at);
    if (!kind.is(Operand::Kind::kSymbol)) return fail("an indirect call without a prototype");
    if (kind.bits == 1) {
      formal_results = &body_.prototypes[kind.reg].results;
      formal_arguments = &body_.prototypes[kind.reg].parameters;
    } else {
      const Function* example = call_target(kind.name);
      if (example == nullptr) return fail("an indirect call without a prototype");
      formal_results = &example->signature.results;
      formal_arguments = &example->signature.parameters;
    }
  }
  // A callee's parameter area holds results, then parameters, each at its alignment (at least 4).
  uint32_t end = 0;
  if (!decode_call_values(results, *formal_results, true, info.results, end)) return false;
  if (!decode_call_values(arguments, *formal_arguments, false, info.arguments, end)) return false;
  info.bytes = (end + 3) / 4 * 4;
  Instr in;
  in.run = handlers::call;
  in.data = &info;
  if (!push(in)) return false;
  // Results that go into registers come back through the caller's own area.
  for (size_t i = 0; i < info.results.size(); ++i) {
    const Operand& to = results->parts[i];
    if (variable(to) != nullptr || to.is(Operand::Kind::kSink)) continue;
    const Type type = (*formal_results)[i].type;
    Instr move;
    move.imm = info.results[i].to;
    move.d = result(to, type);
    move.mods = size_of(type) | row_bytes(type) / 32 << 8;
    move.run = handlers::frame_load;
    if (!push(move)) return false;
  }
  return true;
}

// Where each value of a call lies in the caller's and in the callee's parameter area. A register
// or a constant gets a place of its own in the caller's.
bool Decoder::decode_call_values(const Operand* actual, const std::vector<LocalVariable>& formals,
                                 bool results, std::vector<CallInfo::Piece>& out, uint32_t& end) {
  const size_t count = actual == nullptr ? 0 : actual->parts.size();
  if (count != formals.size()) return fail("a call with another number of operands");
  for (size_t i = 0; i < count; ++i) {
    const LocalVariable& formal = formals[i];
    const auto align = static_cast<uint32_t>(std::max<uint64_t>(formal.align, 4));
    const uint32_t theirs = (end + align - 1) / align * align;
    end = theirs + static_cast<uint32_t>(formal.size);
    const LocalVariable* mine = variable(actual->parts[i]);
    auto bytes = static_cast<uint32_t>(formal.size);
    uint32_t ours = 0;
    if (mine != nullptr) {
      if (mine->space != Space::kParam) return fail("a call with a variable that is no .param");
      bytes = static_cast<uint32_t>(std::min(mine->size, formal.size));
      ours = static_cast<uint32_t>(mine->offset);
    } else {
      if (bytes == 0 || bytes > 8 || bytes != size_of(formal.type)) {
        return fail("a register in place of a structure");
      }
      ours = static_cast<uint32_t>((body_.param_bytes + 7) / 8 * 8);
      body_.param_bytes = ours + 8;
      if (!results) {
        Instr move;
        move.a = source(actual->parts[i], formal.type);
        move.imm = ours;
        move.mods = bytes | row_bytes(formal.type) / 32 << 8;
        move.run = handlers::frame_store;
        if (!push(move)) return false;
      }
    }
    out.push_back(results ? CallInfo::Piece{theirs, ours, bytes}
                          : CallInfo::Piece{ours, theirs, bytes});
  }
  return true;
}

bool Decoder::decode_barrier() {
  Instr in;
  if (has("cluster")) {
    in.run = has("arrive") ? handlers::cluster_arrive : handlers::cluster_wait;
    return push(in);
  }
  if (has("warp")) {
    in.a = source(operand(0), Type::kB32);
    in.run = handlers::warp_barrier;
    return push(in);
  }
  if (has("red")) {
    in.a = source(operand(1), Type::kU32);
    const bool counted = operands() == 4;
    in.b = counted ? source(operand(2), Type::kU32) : 0;
    in.c = predicate(operand(counted ? 3 : 2));
    in.imm = has("popc") ? 2 : has("and") ? 3 : 4;
    in.d = in.imm == 2 ? result(operand(0), Type::kU32) : predicate_result(operand(0));
    in.run = handlers::barrier_reduce;
    return push(in);
  }
  in.a = source(operand(0), Type::kU32);
  in.b = operands() > 1 ? source(operand(1), Type::kU32) : 0;
  in.imm = has("arrive") ? 1 : 0;
  in.run = handlers::barrier;
  return push(in);
}

bool Decoder::decode_exchange() {
  const std::string_view base = parts_[0];
  const bool sync = has("sync");
  const uint32_t everyone = constant(0xffffffffu, 4);
  Instr in;
  const auto pair = [&](bool predicate_first) {
    const Operand& to = operand(0);
    const bool two = to.is(Operand::Kind::kPair);
    const Operand& first = two ? to.parts[0] : to;
    in.d = predicate_first ? predicate_result(first) : result(first, Type::kB32);
    if (two) in.e = predicate_result(to.parts[1]) + 4;
  };
  if (base == "activemask") {
    in.d = result(operand(0), Type::kB32);
    in.run = isa().exchange(Exchange::kActiveMask, 4);
    return push(in);
  }
  if (base == "redux") return decode_redux();
  if (base == "elect") {
    in.a = source(operand(1), Type::kB32);
    pair(false);
    in.run = isa().exchange(Exchange::kElect, 4);
    return push(in);
  }
  if (base == "shfl") {
    in.a = source(operand(1), Type::kB32);
    in.b = source(operand(2), Type::kB32);
    in.c = source(operand(3), Type::kB32);
    in.list = list({sync ? source(operand(4), Type::kB32) : everyone});
    pair(false);
    const Exchange kind = has("up")     ? Exchange::kShflUp
                          : has("down") ? Exchange::kShflDown
                          : has("bfly") ? Exchange::kShflBfly
                                        : Exchange::kShflIdx;
    in.run = isa().exchange(kind, 4);
    return push(in);
  }
  if (base == "vote") {
    in.a = predicate(operand(1));
    in.b = sync ? source(operand(2), Type::kB32) : everyone;
    const bool ballot = has("ballot");
    in.d = ballot ? result(operand(0), Type::kB32) : predicate_result(operand(0));
    const Exchange kind = ballot       ? Exchange::kVoteBallot
                          : has("all") ? Exchange::kVoteAll
                          : has("any") ? Exchange::kVoteAny
                                       : Exchange::kVoteUni;
    in.run = isa().exchange(kind, 4);
    return push(in);
  }
  in.a = source(operand(1), type_);
  in.b = source(operand(2), Type::kB32);
  pair(false);
  in.run = isa().exchange(has("any") ? Exchange::kMatchAny : Exchange::kMatchAll, size_of(type_));
  return push(in);
}

bool Decoder::decode_redux() {
  Instr in;
  in.a = source(operand(1), type_);
  in.b = source(operand(2), Type::kB32);
  in.d = result(operand(0), type_);
  constexpr std::string_view kOps[] = {"add", "min", "max", "and", "or", "xor"};
  in.imm = -1;
  for (int64_t i = 0; i < 6; ++i) {
    if (has(kOps[i])) in.imm = i;
  }
  if (in.imm < 0) return fail("unknown reduction");
  in.mods = arithmetic_mods() | (is_signed(type_) ? kSignedA : 0);
  if (type_ == Type::kF32) in.mods |= kSignedB;  // abs: kHigh
  if (has("abs")) in.mods |= kHigh;
  in.run = handlers::redux;
  return push(in);
}

bool Decoder::decode_other() {
  const std::string_view base = parts_[0];
  Instr in;
  if (base == "membar" || base == "fence") {
    in.run = handlers::fence;
  } else if (base == "nanosleep") {
    in.run = handlers::nanosleep;
  } else if (base == "createpolicy") {
    in.a = constant(0, 8);
    in.d = result(operand(0), Type::kB64);
    in.run = isa().arithmetic(Op::kMov, Type::kB64, 0);
  } else {
    in.run = handlers::nothing;
  }
  return push(in);
}

// alloca, stacksave, stackrestore (PTX ISA 9.7.17): the type may be left out, the register's holds.
bool Decoder::decode_stack() {
  const Operand& first = operand(0);
  if (!first.is(Operand::Kind::kRegister)) return fail("expected a register");
  const Type declared = body_.registers[first.reg];
  const Type type = size_of(type_ == Type::kNone ? declared : type_) == 8 ? Type::kU64 : Type::kU32;
  Instr in;
  in.mods = size_of(type);
  code_->grows_stack = true;
  if (parts_[0] == "stackrestore") {
    in.a = source(first, type);
    in.run = handlers::stack_restore;
    return push(in);
  }
  in.run = handlers::stack_save;
  if (parts_[0] == "alloca") {
    in.a = source(operand(1), type);
    const uint64_t align = operands() > 2 ? operand(2).bits : 8;
    if (align == 0 || (align & (align - 1)) != 0 || align > (1u << 23)) {
      return fail("an alignment that is no power of two up to 2^23");
    }
    in.imm = static_cast<int64_t>(std::max<uint64_t>(align, 8));
    in.run = handlers::stack_grow;
  }
  in.d = result(first, type);
  return push(in);
}

}  // namespace vgpu::softgpu::ptx
