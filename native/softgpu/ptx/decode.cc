#include "softgpu/ptx/decode.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <unordered_map>

namespace vgpu::softgpu::ptx {
namespace {

// Instructions whose lanes may have to wait for others: a guard on them becomes a branch around.
bool waits(std::string_view opcode) {
  const std::string_view base = base_of(opcode);
  if (base == "call" || base == "bar" || base == "barrier" || base == "ret" || base == "brx") {
    return true;
  }
  if (base == "shfl" || base == "vote" || base == "match" || base == "redux" || base == "elect" ||
      base == "mma" || base == "movmatrix" || base == "wmma" || base == "ldmatrix" ||
      base == "stmatrix") {
    return true;
  }
  return base == "nanosleep" || (base == "mbarrier" && opcode.find("_wait") != opcode.npos);
}

}  // namespace

Decoder::Family Decoder::family_of(std::string_view base) {
  static const auto* const kFamilies = [] {
    auto* map = new std::unordered_map<std::string_view, Family>;
    const auto add = [&](Family family, std::initializer_list<std::string_view> names) {
      for (const std::string_view name : names) map->emplace(name, family);
    };
    add(&Decoder::decode_move, {"mov", "cvta", "isspacep", "selp", "slct", "set", "setp"});
    add(&Decoder::decode_arithmetic,
        {"add",  "sub",   "mul",  "mad",  "fma",   "mul24", "mad24", "sad",      "div",
         "rem",  "abs",   "neg",  "min",  "max",   "popc",  "clz",   "bfind",    "fns",
         "brev", "bfe",   "bfi",  "bmsk", "szext", "dp4a",  "dp2a",  "and",      "or",
         "xor",  "not",   "cnot", "lop3", "shl",   "shr",   "shf",   "prmt",     "rcp",
         "sqrt", "rsqrt", "sin",  "cos",  "lg2",   "ex2",   "tanh",  "copysign", "testp"});
    add(&Decoder::decode_carry, {"addc", "subc", "madc"});
    add(&Decoder::decode_convert, {"cvt"});
    add(&Decoder::decode_load, {"ld", "ldu"});
    add(&Decoder::decode_store, {"st"});
    add(&Decoder::decode_branch, {"bra", "brx", "exit", "ret", "trap", "brkpt"});
    add(&Decoder::decode_call, {"call"});
    add(&Decoder::decode_barrier, {"bar", "barrier"});
    add(&Decoder::decode_exchange, {"shfl", "vote", "match", "elect", "activemask", "redux"});
    add(&Decoder::decode_atomic, {"atom", "red"});
    add(&Decoder::decode_matrix, {"mma", "wmma", "ldmatrix", "stmatrix", "movmatrix"});
    add(&Decoder::decode_async, {"cp", "mbarrier"});
    add(&Decoder::decode_cluster, {"mapa", "getctarank"});
    add(&Decoder::decode_texture, {"tex", "tld4", "txq", "suq"});
    add(&Decoder::decode_surface, {"suld", "sust", "sured"});
    add(&Decoder::decode_other,
        {"membar", "fence", "nanosleep", "prefetch", "prefetchu", "discard", "applypriority",
         "createpolicy", "griddepcontrol", "setmaxnreg", "pmevent"});
    add(&Decoder::decode_stack, {"alloca", "stacksave", "stackrestore"});
    add(&Decoder::decode_video,
        {"vadd",  "vsub",  "vabsdiff", "vmin",      "vmax",      "vshl",  "vshr",   "vset",
         "vmad",  "vadd2", "vsub2",    "vabsdiff2", "vmin2",     "vmax2", "vavrg2", "vset2",
         "vadd4", "vsub4", "vmin4",    "vmax4",     "vabsdiff4", "vset4", "vavrg4"});
    return map;
  }();
  const auto found = kFamilies->find(base);
  return found == kFamilies->end() ? nullptr : found->second;
}

std::unique_ptr<Code> decode_function(ModuleText& module, Function& function, std::string& log) {
  return Decoder(module, function).run(log);
}

std::unique_ptr<Code> Decoder::run(std::string& log) {
  const std::string_view text = module_.text_of(function_);
  const std::string who = std::string(function_.signature.name);
  if (function_.signature.body_begin == std::string_view::npos) {
    log += "unresolved external function " + who + "\n";
    return nullptr;
  }
  SyntaxError syntax;
  if (!parse_body(text, function_.signature, body_, syntax)) {
    log += who + ", line " + std::to_string(line_of(text, syntax.position)) + ": " +
           syntax.message + "\n";
    return nullptr;
  }
  lower_guards();
  flow_ = build_flow(body_);
  find_invariants();
  rows_ = assign_rows(body_, flow_, invariant_register_);
  code_ = std::make_unique<Code>();
  code_->function = &function_;
  code_->pool.resize(64);  // offset 0 stays unused: 0 means "none" in some operands
  rows_.bytes += 64;       // so does row 0
  for (uint32_t& offset : rows_.offset) {
    if (offset != kNone) offset += 64;
  }
  std::vector<bool> is_meet(flow_.blocks.size(), false);
  for (const Block& block : flow_.blocks) {
    const Statement& last = body_.statements[block.last];
    if (block.meet != kNone && !last.targets.empty()) is_meet[block.meet] = true;
  }
  const auto refuse = [&](const Statement& statement) {
    log += who + ", line " + std::to_string(line_of(text, statement.position)) + ": " +
           std::string(statement.opcode) + ": " + (error_.empty() ? "not supported" : error_) +
           "\n";
    return nullptr;
  };
  if (const Statement* failed = nullptr; !decode_invariants(&failed)) return refuse(*failed);
  for (uint32_t b = 0; b < flow_.blocks.size(); ++b) {
    block_start_.push_back(code_->instrs.size());
    statement_ = &body_.statements[flow_.blocks[b].first];
    if (is_meet[b]) emit(handlers::join);
    for (uint32_t i = flow_.blocks[b].first; i <= flow_.blocks[b].last; ++i) {
      if (invariant_statement_[i]) continue;
      if (!decode_statement(body_.statements[i])) return refuse(body_.statements[i]);
    }
  }
  finish_code();
  return std::move(code_);
}

// Formal parameters in registers (.reg instead of .param) travel in the parameter area all the
// same: loaded at the function's start, results stored before each return.
void Decoder::move_formals(std::vector<Statement>& out, bool results, size_t position,
                           uint32_t loc) {
  const size_t count = function_.signature.results.size();
  const size_t end = count + function_.signature.parameters.size();
  for (size_t i = results ? 0 : count; i < (results ? count : end); ++i) {
    const LocalVariable& formal = body_.variables[i];
    if (formal.reg == kNone) continue;
    Operand base, place, value;
    base.kind = Operand::Kind::kVariable;
    base.reg = static_cast<uint32_t>(i);
    place.kind = Operand::Kind::kAddress;
    place.parts = {base};
    value.kind = Operand::Kind::kRegister;
    value.reg = formal.reg;
    const auto opcode = [&](std::string_view b16, std::string_view b32, std::string_view b64) {
      return formal.size == 8 ? b64 : formal.size == 4 ? b32 : b16;
    };
    Statement& move = out.emplace_back();
    move.opcode = results ? opcode("st.param.b16", "st.param.b32", "st.param.b64")
                          : opcode("ld.param.b16", "ld.param.b32", "ld.param.b64");
    move.operands = results ? std::vector{place, value} : std::vector{value, place};
    move.position = position;
    move.loc = loc;
  }
}

bool Decoder::lower_guards() {
  body_.statements.push_back({});
  body_.statements.back().opcode = function_.signature.entry ? "exit" : "ret";
  std::vector<uint32_t> moved(body_.statements.size());
  std::vector<Statement> out;
  out.reserve(body_.statements.size());
  if (!function_.signature.entry) move_formals(out, false, function_.signature.position, 0);
  for (size_t i = 0; i < body_.statements.size(); ++i) {
    Statement& statement = body_.statements[i];
    moved[i] = static_cast<uint32_t>(out.size());
    if (function_.signature.entry && statement.opcode.starts_with("ret")) statement.opcode = "exit";
    if (statement.guard != kNone && waits(statement.opcode)) {
      Statement around;
      around.opcode = "bra";
      around.guard = statement.guard;
      around.guard_negated = !statement.guard_negated;
      around.position = statement.position;
      around.loc = statement.loc;
      around.targets = {kNone - static_cast<uint32_t>(i) - 1};  // old index i + 1, marked
      out.push_back(std::move(around));
      statement.guard = kNone;
    }
    if (statement.opcode.starts_with("ret")) {
      move_formals(out, true, statement.position, statement.loc);
    }
    out.push_back(std::move(statement));
  }
  for (Statement& statement : out) {
    for (uint32_t& target : statement.targets) {
      if (target > kNone / 2) target = kNone - target;
      target = moved[std::min<size_t>(target, moved.size() - 1)];
    }
  }
  body_.statements = std::move(out);
  return true;
}

bool Decoder::fail(const std::string& why) {
  if (error_.empty()) error_ = why;
  return false;
}

void Decoder::split_opcode(std::string_view opcode) {
  parts_.clear();
  types_.clear();
  while (true) {
    const size_t dot = opcode.find('.');
    parts_.push_back(opcode.substr(0, dot));
    if (parts_.size() > 1) {
      const Type type = type_of(parts_.back());
      if (type != Type::kNone) types_.push_back(type);
    }
    if (dot == std::string_view::npos) break;
    opcode.remove_prefix(dot + 1);
  }
  type_ = types_.empty() ? Type::kNone : types_.back();
}

bool Decoder::has(std::string_view modifier) const {
  return std::find(parts_.begin() + 1, parts_.end(), modifier) != parts_.end();
}

const Operand& Decoder::operand(size_t i) const {
  return i < statement_->operands.size() ? statement_->operands[i] : none_;
}

bool Decoder::decode_statement(const Statement& statement) {
  statement_ = &statement;
  split_opcode(statement.opcode);
  for (auto& [bytes, rows] : scratch_) rows.second = 0;
  pending_.clear();
  const Family family = family_of(parts_[0]);
  if (family == nullptr) return fail("unknown instruction");
  const bool guarded = statement.guard != kNone && family != &Decoder::decode_branch;
  size_t guard_at = 0;
  if (guarded) {
    guard_at = code_->instrs.size();
    Instr& in = emit(handlers::guard);
    in.a = rows_.offset[statement.guard] | (statement.guard_negated ? kNegateBit : 0);
  }
  if (!(this->*family)()) return false;
  if (!error_.empty()) return false;
  for (const Pending& one : pending_) {
    Instr& in = emit(isa().resize(one.to_bytes, one.from_bytes, one.is_signed));
    in.d = one.to;
    in.a = one.from;
  }
  if (guarded) {
    code_->instrs[guard_at].imm = static_cast<int64_t>(code_->instrs.size() - guard_at - 1);
  }
  return true;
}

Instr& Decoder::emit(Handler handler) {
  if (handler == nullptr) fail("this form is not supported");
  if (once_) return code_->once.emplace_back(Instr{.run = handler});
  code_->instrs.push_back({.run = handler});
  code_->positions.push_back(static_cast<uint32_t>(statement_->position));
  code_->locs.push_back(body_.locs[statement_->loc]);
  return code_->instrs.back();
}

bool Decoder::push(const Instr& in) {
  emit(in.run) = in;
  return error_.empty();
}

bool Decoder::finish_code() {
  Code& code = *code_;
  code.register_bytes = (rows_.bytes + 63) / 64 * 64;
  code.param_bytes = static_cast<uint32_t>((body_.param_bytes + 3) / 4 * 4);
  code.local_bytes = static_cast<uint32_t>((body_.local_bytes + 15) / 16 * 16);
  code.instrs.shrink_to_fit();  // before anything points into it
  for (const Fixup& fixup : fixups_) {
    const Instr* target = &code.instrs[block_start_[fixup.block]];
    if (fixup.branch == nullptr) {
      code.instrs[fixup.instr].target = target;
    } else if (fixup.slot == SIZE_MAX) {
      fixup.branch->join = target;
    } else {
      fixup.branch->targets[fixup.slot] = target;
    }
  }
  return true;
}

}  // namespace vgpu::softgpu::ptx
