// mov, cvta, setp, selp, arithmetic and conversions.
#include <optional>
#include <unordered_map>

#include "softgpu/ptx/decode.h"
#include "softgpu/ptx/warp.h"

namespace vgpu::softgpu::ptx {
namespace {

Type bits_type(Type type) {
  switch (size_of(type)) {
    case 1:
      return Type::kB8;
    case 2:
      return Type::kB16;
    case 4:
      return Type::kB32;
    case 8:
      return Type::kB64;
    case 16:
      return Type::kB128;
    default:
      return type;
  }
}

std::optional<Compare> compare_of(std::string_view name) {
  static const std::unordered_map<std::string_view, Compare> kNames = {
      {"eq", Compare::kEq},   {"ne", Compare::kNe},   {"lt", Compare::kLt},
      {"le", Compare::kLe},   {"gt", Compare::kGt},   {"ge", Compare::kGe},
      {"lo", Compare::kLo},   {"ls", Compare::kLs},   {"hi", Compare::kHi},
      {"hs", Compare::kHs},   {"equ", Compare::kEqu}, {"neu", Compare::kNeu},
      {"ltu", Compare::kLtu}, {"leu", Compare::kLeu}, {"gtu", Compare::kGtu},
      {"geu", Compare::kGeu}, {"num", Compare::kNum}, {"nan", Compare::kNan}};
  const auto found = kNames.find(name);
  if (found == kNames.end()) return {};
  return found->second;
}

struct Named {
  Op op;
  int sources;
};
std::optional<Named> op_of(std::string_view base) {
  static const std::unordered_map<std::string_view, Named> kNames = {
      {"add", {Op::kAdd, 2}},       {"sub", {Op::kSub, 2}},           {"mul", {Op::kMulLo, 2}},
      {"mad", {Op::kMadLo, 3}},     {"fma", {Op::kFma, 3}},           {"mul24", {Op::kMul24Lo, 2}},
      {"mad24", {Op::kMad24Lo, 3}}, {"sad", {Op::kSad, 3}},           {"div", {Op::kDiv, 2}},
      {"rem", {Op::kRem, 2}},       {"abs", {Op::kAbs, 1}},           {"neg", {Op::kNeg, 1}},
      {"min", {Op::kMin, 2}},       {"max", {Op::kMax, 2}},           {"popc", {Op::kPopc, 1}},
      {"clz", {Op::kClz, 1}},       {"bfind", {Op::kBfind, 1}},       {"fns", {Op::kFns, 3}},
      {"brev", {Op::kBrev, 1}},     {"bfe", {Op::kBfe, 3}},           {"bfi", {Op::kBfi, 4}},
      {"bmsk", {Op::kBmsk, 2}},     {"szext", {Op::kSzext, 2}},       {"dp4a", {Op::kDp4a, 3}},
      {"dp2a", {Op::kDp2a, 3}},     {"and", {Op::kAnd, 2}},           {"or", {Op::kOr, 2}},
      {"xor", {Op::kXor, 2}},       {"not", {Op::kNot, 1}},           {"cnot", {Op::kCnot, 1}},
      {"lop3", {Op::kLop3, 3}},     {"shl", {Op::kShl, 2}},           {"shr", {Op::kShr, 2}},
      {"shf", {Op::kShfL, 3}},      {"prmt", {Op::kPrmt, 3}},         {"rcp", {Op::kRcp, 1}},
      {"sqrt", {Op::kSqrt, 1}},     {"rsqrt", {Op::kRsqrt, 1}},       {"sin", {Op::kSin, 1}},
      {"cos", {Op::kCos, 1}},       {"lg2", {Op::kLg2, 1}},           {"ex2", {Op::kEx2, 1}},
      {"tanh", {Op::kTanh, 1}},     {"copysign", {Op::kCopysign, 2}}, {"testp", {Op::kTestp, 1}}};
  const auto found = kNames.find(base);
  if (found == kNames.end()) return {};
  return found->second;
}

// The type of source `index`, where it differs from the instruction's.
Type source_type(Op op, Type type, int index) {
  switch (op) {
    case Op::kShl:
    case Op::kShr:
    case Op::kSzext:
      return index == 1 ? Type::kU32 : type;
    case Op::kBfe:
      return index >= 1 ? Type::kU32 : type;
    case Op::kBfi:
      return index >= 2 ? Type::kU32 : type;
    case Op::kFns:
      return Type::kB32;
    default:
      return type;
  }
}

Type double_width(Type type) {
  switch (type) {
    case Type::kU16:
      return Type::kU32;
    case Type::kS16:
      return Type::kS32;
    case Type::kU32:
      return Type::kU64;
    default:
      return Type::kS64;
  }
}

}  // namespace

uint32_t Decoder::arithmetic_mods() const {
  uint32_t mods = 0;
  for (size_t i = 1; i < parts_.size(); ++i) {
    const std::string_view part = parts_[i];
    if (part == "ftz") mods |= kFtz;
    if (part == "sat") mods |= kSat;
    if (part == "satfinite") mods |= kSatFinite;
    if (part == "approx") mods |= kApprox;
    if (part == "NaN") mods |= kNan;
    if (part == "xorsign") mods |= kXorSign;
    if (part == "abs") mods |= kAbsolute;
    if (part == "relu") mods |= kRelu;
    if (part == "shiftamt") mods |= kShiftAmt;
    if (part == "wrap") mods |= kWrap;
    if (part == "rz") mods |= kRoundZero;
    if (part == "rm") mods |= kRoundDown;
    if (part == "rp") mods |= kRoundUp;
    if (part == "rna") mods |= kRoundAway;
    if (part == "rs") mods |= kRoundStochastic;
    if (part == "rni") mods |= kRoundInteger;
    if (part == "rzi") mods |= kRoundInteger | kRoundZero;
    if (part == "rmi") mods |= kRoundInteger | kRoundDown;
    if (part == "rpi") mods |= kRoundInteger | kRoundUp;
  }
  return mods;
}

bool Decoder::decode_move() {
  const std::string_view base = parts_[0];
  if (base == "mov") return decode_mov();
  if (base == "cvta") return decode_cvta();
  if (base == "setp") return decode_setp();
  if (base == "set") return decode_set();
  if (base == "isspacep") {
    Instr in;
    in.run = handlers::is_space;
    in.a = source(operand(1), Type::kB64);
    in.d = predicate_result(operand(0));
    if (has("shared") || has("shared::cta") || has("shared::cluster")) in.imm = 1;
    in.mods = has("shared") || has("shared::cta") ? 1 : 0;  // of this block only
    if (has("local")) in.imm = 2;
    if (has("param") || has("param::entry")) in.imm = 3;
    if (has("const")) in.imm = 5;
    return push(in);
  }
  Instr in;
  const Type type = bits_type(type_);
  if (base == "slct") return decode_slct();
  in.a = source(operand(1), type_);
  in.b = source(operand(2), type_);
  in.c = predicate(operand(3));
  in.d = result(operand(0), type_);
  in.run = isa().arithmetic(Op::kSelp, type, 0);
  return push(in);
}

// slct is setp.ge of c and zero (never true of a NaN), then selp.
bool Decoder::decode_slct() {
  if (types_.size() < 2) return fail("unknown types");
  const Type data = types_[0];
  Instr compare;
  compare.a = source(operand(3), type_);
  compare.b = constant(0, 4);
  compare.d = scratch(4);
  compare.mods = arithmetic_mods();
  compare.run = isa().compare(Compare::kGe, type_, compare.mods);
  Instr select;
  select.a = source(operand(1), data);
  select.b = source(operand(2), data);
  select.c = compare.d;
  select.d = result(operand(0), data);
  select.run = isa().arithmetic(Op::kSelp, bits_type(data), 0);
  return push(compare) && push(select);
}

bool Decoder::decode_mov() {
  const Operand& from = operand(1);
  const Operand& to = operand(0);
  Instr in;
  if (type_ == Type::kPred) {
    in.a = predicate(from);
    in.d = predicate_result(to);
    in.imm = static_cast<int64_t>(Op::kMov);
    in.run = isa().arithmetic(Op::kMov, Type::kPred, 0);
    return push(in);
  }
  if (to.is(Operand::Kind::kVector)) return decode_unpack(to, from, type_);
  if (from.is(Operand::Kind::kSpecial)) {
    uint32_t id = 0, bytes = 0;
    in.run = handlers::special(from.name, id, bytes);
    if (in.run != nullptr && bytes == size_of(type_)) {
      in.d = result(to, type_);
      in.imm = id;
      return push(in);
    }
  }
  in.a = source(from, type_);
  in.d = result(to, type_);
  in.run = isa().arithmetic(Op::kMov, bits_type(type_), 0);
  return push(in);
}

bool Decoder::decode_unpack(const Operand& vector, const Operand& scalar, Type type) {
  const auto count = static_cast<uint32_t>(vector.parts.size());
  const uint32_t bytes = size_of(type);
  if (count == 0 || bytes % count != 0) return fail("a vector of the wrong size");
  const uint32_t part = bytes / count;
  const Type part_type = part == 1   ? Type::kB8
                         : part == 2 ? Type::kB16
                         : part == 4 ? Type::kB32
                                     : Type::kB64;
  Instr in;
  in.a = source(scalar, type);
  std::vector<uint32_t> rows;
  for (const Operand& one : vector.parts) rows.push_back(result(one, part_type));
  in.list = list(std::move(rows));
  in.run = isa().pieces(bytes, part, true);
  return push(in);
}

bool Decoder::decode_cvta() {
  const Space space = space_of_opcode();
  Instr in;
  in.a = source(operand(1), type_);
  in.d = result(operand(0), type_);
  uint64_t window = 0;
  if (space == Space::kShared) window = kSharedWindow;
  if (space == Space::kLocal) window = kLocalWindow;
  if (space == Space::kParam) window = kParamWindow;
  if (window == 0) {
    in.run = isa().arithmetic(Op::kMov, bits_type(type_), 0);
    return push(in);
  }
  if (size_of(type_) != 8) return fail("generic addresses have 64 bits");
  in.b = constant(window, 8);
  in.run = isa().arithmetic(has("to") ? Op::kSub : Op::kAdd, Type::kB64, 0);
  return push(in);
}

// What setp and set have in common: all but where the result goes.
bool Decoder::decode_comparison(Instr& in) {
  const auto compare = parts_.size() > 1 ? compare_of(parts_[1]) : std::nullopt;
  if (!compare) return fail("unknown comparison");
  in.a = source(operand(1), type_);
  in.b = source(operand(2), type_);
  in.mods = arithmetic_mods();
  if (has("and")) in.imm = 1;
  if (has("or")) in.imm = 2;
  if (has("xor")) in.imm = 3;
  if (in.imm != 0) in.c = predicate(operand(3));
  in.run = isa().compare(*compare, type_, in.mods);
  in.mods |= static_cast<uint32_t>(*compare) << kCompareShift;
  return true;
}

bool Decoder::decode_setp() {
  Instr in;
  if (!decode_comparison(in)) return false;
  const bool two_values = type_ == Type::kF16x2 || type_ == Type::kBF16x2;
  if (operand(0).is(Operand::Kind::kPair)) {
    in.d = predicate_result(operand(0).parts[0]);
    in.e = predicate_result(operand(0).parts[1]) + 4;
  } else {
    if (two_values) return fail("expected two predicates");
    in.d = predicate_result(operand(0));
  }
  return push(in);
}

// set is setp into a scratch predicate, then a value: ~0 for integers, 1.0 for f32.
bool Decoder::decode_set() {
  if (types_.size() < 2) return fail("expected two types");
  const Type to = types_[0];
  const bool pair = type_ == Type::kF16x2 || type_ == Type::kBF16x2;
  Instr in;
  if (!decode_comparison(in)) return false;
  in.d = scratch(4);
  if (pair) in.e = scratch(4) + 4;
  const uint32_t truth = in.d, upper = in.e - 4;
  if (!push(in)) return false;
  if (pair) return decode_set_pair(to, truth, upper);
  uint64_t one = ~uint64_t{0};
  if (to == Type::kF32) one = 0x3f800000;
  if (to == Type::kF16) one = 0x3c00;
  if (to == Type::kBF16) one = 0x3f80;
  const uint32_t bytes = row_bytes(to) / 32;
  if (bytes < 8) one &= (uint64_t{1} << (8 * bytes)) - 1;
  Instr select;
  select.a = constant(one, bytes);
  select.b = constant(0, bytes);
  select.c = truth;
  select.d = result(operand(0), to);
  select.run = isa().arithmetic(Op::kSelp, bits_type(to), 0);
  return push(select);
}

// One value per half: 1.0 or all ones, by the two predicates.
bool Decoder::decode_set_pair(Type to, uint32_t lower, uint32_t upper) {
  const uint64_t one = to == Type::kF16x2 ? 0x3c00 : to == Type::kBF16x2 ? 0x3f80 : 0xffff;
  const uint32_t zero = constant(0, 4);
  const uint32_t low = scratch(128), high = scratch(128);
  Instr select;
  select.run = isa().arithmetic(Op::kSelp, Type::kB32, 0);
  select.a = constant(one, 4);
  select.b = zero;
  select.c = lower;
  select.d = low;
  if (!push(select)) return false;
  select.a = constant(one << 16, 4);
  select.c = upper;
  select.d = high;
  if (!push(select)) return false;
  Instr join;
  join.run = isa().arithmetic(Op::kOr, Type::kB32, 0);
  join.a = low;
  join.b = high;
  join.d = result(operand(0), Type::kB32);
  return push(join);
}

bool Decoder::decode_arithmetic() {
  const auto named = op_of(parts_[0]);
  if (!named) return fail("unknown instruction");
  Op op = named->op;
  int sources = named->sources;
  Instr in;
  in.mods = arithmetic_mods();
  if (type_ == Type::kPred) {
    in.a = predicate(operand(1));
    in.b = sources > 1 ? predicate(operand(2)) : in.a;
    in.d = predicate_result(operand(0));
    in.imm = static_cast<int64_t>(op);
    in.run = isa().arithmetic(op, type_, 0);
    return push(in);
  }
  Type to = type_, type = type_;
  const bool integer = !is_float(type_);
  if (has("oob")) return fail("out-of-bounds NaN: PTX does not say which one it is");
  if (types_.size() == 2 && types_[0] == Type::kF32) return decode_mixed(op);
  const bool carry = has("cc");
  if (carry) return decode_carry();
  if (op == Op::kMulLo && has("hi")) op = Op::kMulHi;
  if (op == Op::kMadLo && has("hi")) op = Op::kMadHi;
  if (op == Op::kMul24Lo && has("hi")) op = Op::kMul24Hi;
  if (op == Op::kMad24Lo && has("hi")) op = Op::kMad24Hi;
  if (op == Op::kMadLo && !integer) op = Op::kFma;
  if (has("wide")) {
    op = op == Op::kMulLo ? Op::kMulWide : Op::kMadWide;
    to = double_width(type);
  }
  if ((op == Op::kMin || op == Op::kMax) && operands() == 4) {
    op = op == Op::kMin ? Op::kMin3 : Op::kMax3;
    sources = 3;
  }
  if (op == Op::kShfL && has("r")) op = Op::kShfR;
  if (op == Op::kPopc || op == Op::kClz || op == Op::kBfind) to = Type::kU32;
  if (op == Op::kFns) type = to = Type::kU32;
  if (op == Op::kDp4a || op == Op::kDp2a) {
    if (types_.size() != 2) return fail("expected two types");
    if (is_signed(types_[0])) in.mods |= kSignedA;
    if (is_signed(types_.back())) in.mods |= kSignedB;
    if (has("hi")) in.mods |= kHigh;
    type = to = Type::kU32;
  }
  if (op == Op::kLop3) {
    in.imm = static_cast<int64_t>(operand(4).bits);
  }
  if (op == Op::kPrmt) {
    constexpr std::string_view kModes[] = {"", "f4e", "b4e", "rc8", "ecl", "ecr", "rc16"};
    for (int64_t mode = 1; mode < 7; ++mode) {
      if (has(kModes[mode])) in.imm = mode;
    }
  }
  if (op == Op::kTestp) {
    constexpr std::string_view kTests[] = {"finite",     "infinite", "number",
                                           "notanumber", "normal",   "subnormal"};
    for (int64_t test = 0; test < 6; ++test) {
      if (has(kTests[test])) in.imm = test;
    }
    in.a = source(operand(1), type);
    in.d = predicate_result(operand(0));
    in.run = isa().arithmetic(op, type, in.mods);
    return push(in);
  }
  uint32_t* const rows[] = {&in.a, &in.b, &in.c, &in.e};
  for (int i = 0; i < sources; ++i) {
    Type wanted = source_type(op, type, i);
    if (op == Op::kMadWide && i == 2) wanted = to;
    *rows[i] = source(operand(static_cast<size_t>(i) + 1), wanted);
  }
  const bool pair = operand(0).is(Operand::Kind::kPair);
  if (pair && op != Op::kLop3) return fail("two results");
  in.d = result(pair ? operand(0).parts[0] : operand(0), to);
  in.run = isa().arithmetic(op, type, in.mods);
  return push(in) && (!pair || decode_lop3_predicate(in.d));
}

// lop3.BoolOp d|p, a, b, c, table, q: p = (d != 0) BoolOp q.
bool Decoder::decode_lop3_predicate(uint32_t value) {
  Instr in;
  in.a = value;
  in.b = constant(0, 4);
  in.c = predicate(operand(5));
  in.d = predicate_result(operand(0).parts[1]);
  in.imm = has("and") ? 1 : 2;
  in.run = isa().compare(Compare::kNe, Type::kB32, 0);
  return push(in);
}

// add, sub, fma of .f16 or .bf16 with .f32 (PTX ISA 9.7.5): all but the last operand are widened.
bool Decoder::decode_mixed(Op op) {
  const bool sum = op == Op::kAdd || op == Op::kSub;
  if ((type_ != Type::kF16 && type_ != Type::kBF16) || (!sum && op != Op::kFma)) return fail("");
  const auto widened = [&](size_t i) {
    Instr in;
    in.a = source(operand(i), type_);
    in.d = scratch(128);
    in.run = isa().convert(Type::kF32, type_, 0);
    push(in);
    return in.d;
  };
  Instr in;
  in.a = widened(1);
  in.b = sum ? source(operand(2), Type::kF32) : widened(2);
  if (!sum) in.c = source(operand(3), Type::kF32);
  in.d = result(operand(0), Type::kF32);
  in.mods = arithmetic_mods();
  in.run = isa().arithmetic(op, Type::kF32, in.mods);
  return push(in);
}

// The condition code register is one predicate per function (PTX ISA section 9.7.2).
bool Decoder::decode_carry() {
  if (carry_ == 0) {
    carry_ = rows_.bytes;
    rows_.bytes += 64;
  }
  const std::string_view base = parts_[0];
  Instr in;
  Op op = Op::kAddC;
  if (base.starts_with("sub")) op = Op::kSubC;
  if (base.starts_with("mad")) op = has("hi") ? Op::kMadCHi : Op::kMadCLo;
  if (base.ends_with("c")) in.mods |= kCarryIn;
  if (has("cc")) in.mods |= kCarryOut;
  in.a = source(operand(1), type_);
  in.b = source(operand(2), type_);
  if (op == Op::kMadCLo || op == Op::kMadCHi) in.c = source(operand(3), type_);
  in.e = carry_;
  in.d = result(operand(0), type_);
  in.run = isa().arithmetic(op, type_, in.mods);
  return push(in);
}

// cvt.pack.sat.to.s32[.b32] d, a, b [, c]: both clamped; 16-bit values fill d, narrower ones move
// into its lower part below c's.
bool Decoder::decode_convert_pack() {
  const std::string_view to = parts_.size() > 3 ? parts_[3] : std::string_view();
  const bool is_signed = to.starts_with("s");
  const uint32_t bits = to == "u16" || to == "s16" ? 16
                        : to == "u8" || to == "s8" ? 8
                        : to == "u4" || to == "s4" ? 4
                        : to == "u2" || to == "s2" ? 2
                                                   : 0;
  if (bits == 0 || type_of(parts_.back()) == Type::kNone) return fail("cvt.pack to this type");
  const auto least = static_cast<uint64_t>(is_signed ? -(int64_t{1} << (bits - 1)) : 0);
  const uint64_t mask = (uint64_t{1} << bits) - 1;
  const uint32_t lowest = constant(least & 0xffffffffu, 4);
  const uint32_t highest = constant((least + mask) & 0xffffffffu, 4);
  const uint32_t ones = constant(mask, 4), by = constant(bits, 4);
  const uint32_t high = scratch(128), low = scratch(128);
  const auto step = [&](Op op, Type type, uint32_t d, uint32_t a, uint32_t b) {
    Instr in;
    in.run = isa().arithmetic(op, type, 0);
    in.d = d;
    in.a = a;
    in.b = b;
    return push(in);
  };
  for (size_t i = 0; i < 2; ++i) {
    const uint32_t row = i == 0 ? high : low;
    if (!step(Op::kMax, Type::kS32, row, source(operand(i + 1), Type::kS32), lowest) ||
        !step(Op::kMin, Type::kS32, row, row, highest) ||
        !step(Op::kAnd, Type::kB32, row, row, ones)) {
      return false;
    }
  }
  if (!step(Op::kShl, Type::kB32, high, high, by) || !step(Op::kOr, Type::kB32, low, low, high)) {
    return false;
  }
  if (operands() > 3 && (!step(Op::kShl, Type::kB32, high, source(operand(3), Type::kB32),
                               constant(2 * uint64_t{bits}, 4)) ||
                         !step(Op::kOr, Type::kB32, low, low, high))) {
    return false;
  }
  return step(Op::kMov, Type::kB32, result(operand(0), Type::kB32), low, 0);
}

bool Decoder::decode_convert() {
  if (has("pack")) return decode_convert_pack();
  if (types_.size() < 2) return fail("unknown conversion");
  const Type to = types_[0], from = types_[1];
  Instr in;
  in.mods = arithmetic_mods();
  in.a = source(operand(1), from);
  if (operands() > 2)
    in.b = source(operand(2), types_.size() > 2 && from == Type::kNone ? types_[2] : from);
  if (operands() > 3) in.c = source(operand(3), Type::kB32);
  in.d = result(operand(0), to);
  in.e = operands() > 2 ? 1 : 0;
  in.run = isa().convert(to, from, in.mods);
  return push(in);
}

}  // namespace vgpu::softgpu::ptx
