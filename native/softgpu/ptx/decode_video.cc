// Video instructions (PTX ISA section 9.7.19): which parts of the operands they name.
#include <algorithm>
#include <string_view>

#include "softgpu/ptx/decode.h"
#include "softgpu/ptx/video.h"

namespace vgpu::softgpu::ptx {
namespace {

constexpr std::pair<std::string_view, VideoOp> kOps[] = {
    {"vadd", VideoOp::kAdd},       {"vsub", VideoOp::kSub},
    {"vavrg", VideoOp::kAverage},  {"vabsdiff", VideoOp::kDifference},
    {"vmin", VideoOp::kMin},       {"vmax", VideoOp::kMax},
    {"vshl", VideoOp::kShiftLeft}, {"vshr", VideoOp::kShiftRight},
    {"vset", VideoOp::kSet},       {"vmad", VideoOp::kMultiplyAdd},
};
constexpr std::string_view kCompares[] = {"eq", "ne", "lt", "le", "gt", "ge"};

// `b3` or `h1`, the only part of a scalar operand; all 32 bits when nothing is said.
bool scalar_part(std::string_view select, uint8_t base, VideoPart& out) {
  out = {base, 32};
  if (select.empty()) return true;
  const bool byte = select[0] == 'b';
  if (select.size() != 2 || (!byte && select[0] != 'h')) return false;
  const int number = select[1] - '0';
  if (number < 0 || number >= (byte ? 4 : 2)) return false;
  out.width = byte ? 8 : 16;
  out.at = static_cast<uint8_t>(base + number * out.width);
  return true;
}

// `h32`, `b7654`: the most significant element first.
bool vector_parts(std::string_view select, uint8_t parts, uint8_t first, VideoPart* out) {
  const auto width = static_cast<uint8_t>(32 / parts);
  for (uint8_t i = 0; i < parts; ++i) {
    int number = first + i;
    if (!select.empty()) {
      if (select.size() != parts + 1u || select[0] != (parts == 2 ? 'h' : 'b')) return false;
      number = select[parts - i] - '0';
      if (number < 0 || number >= 2 * parts) return false;
    }
    out[i] = {static_cast<uint8_t>(number * width), width};
  }
  return true;
}

// `h10`, `b31`: the elements of the result that are written.
bool written_parts(std::string_view select, uint8_t parts, uint8_t& out) {
  out = static_cast<uint8_t>((1 << parts) - 1);
  if (select.empty()) return true;
  if (select[0] != (parts == 2 ? 'h' : 'b')) return false;
  out = 0;
  for (const char c : select.substr(1)) {
    if (c < '0' || c >= '0' + parts) return false;
    out |= static_cast<uint8_t>(1 << (c - '0'));
  }
  return out != 0;
}

}  // namespace

bool Decoder::decode_video() {
  std::string_view base = parts_[0];
  VideoInfo& info = code_->videos.emplace_back();
  info.parts = base.back() == '2' ? 2 : base.back() == '4' ? 4 : 1;
  if (info.parts != 1) base.remove_suffix(1);
  const auto* named = std::find_if(std::begin(kOps), std::end(kOps),
                                   [&](const auto& op) { return op.first == base; });
  if (named == std::end(kOps)) return fail("");
  info.op = named->second;
  const bool set = info.op == VideoOp::kSet, multiply = info.op == VideoOp::kMultiplyAdd;
  if (types_.size() != (set ? 2 : 3)) return fail("unknown types");
  info.signed_d = !set && is_signed(types_[0]);
  info.signed_a = is_signed(types_[types_.size() - 2]);
  info.signed_b = is_signed(types_.back());
  info.saturate = has("sat");
  info.wraps = has("wrap");
  for (uint8_t i = 0; i < std::size(kCompares); ++i) {
    if (has(kCompares[i])) info.compare = i;
  }
  if (has("add")) info.secondary = Secondary::kAdd;
  if (has("min")) info.secondary = Secondary::kMin;
  if (has("max")) info.secondary = Secondary::kMax;
  const Operand &to = operand(0), &a = operand(1), &b = operand(2);
  bool good;
  if (info.parts == 1) {
    good = scalar_part(a.select, 0, info.a[0]) && scalar_part(b.select, 32, info.b[0]) &&
           scalar_part(to.select, 0, info.d[0]);
  } else {
    good = vector_parts(a.select, info.parts, 0, info.a) &&
           vector_parts(b.select, info.parts, info.parts, info.b) &&
           vector_parts({}, info.parts, 0, info.d) &&
           written_parts(to.select, info.parts, info.taken);
  }
  if (!good) return fail("an unknown part of an operand");
  info.negate_product = a.negated != b.negated;
  info.negate_c = operand(3).negated;
  info.plus_one = has("po");
  info.scale = has("shr7") ? 7 : has("shr15") ? 15 : 0;
  if (!multiply && (a.negated || b.negated || info.negate_c)) return fail("a negated operand");
  Instr in;
  in.a = source(a, Type::kU32);
  in.b = source(b, Type::kU32);
  in.c = operands() > 3 ? source(operand(3), Type::kU32) : constant(0, 4);
  in.d = result(to, Type::kU32);
  in.data = &info;
  in.run = handlers::video;
  return push(in);
}

}  // namespace vgpu::softgpu::ptx
