// Video instructions (PTX ISA section 9.7.19): extract parts, work on wide integers, saturate, and
// merge or accumulate. Programs of today rarely use them, so one handler decides per lane.
#include "softgpu/ptx/video.h"

#include <algorithm>

#include "softgpu/ptx/decode.h"
#include "softgpu/ptx/warp.h"

namespace vgpu::softgpu::ptx {
namespace {

using Wide = __int128;

Wide extract(uint64_t both, VideoPart part, bool is_signed) {
  const uint64_t bits = both >> part.at & ((uint64_t{1} << part.width) - 1);
  const bool negative = is_signed && (bits >> (part.width - 1) & 1) != 0;
  return negative ? static_cast<Wide>(bits) - (Wide{1} << part.width) : static_cast<Wide>(bits);
}

Wide clamp(Wide value, uint32_t width, bool is_signed) {
  const Wide low = is_signed ? -(Wide{1} << (width - 1)) : Wide{0};
  return std::clamp(value, low, low + (Wide{1} << width) - 1);
}

bool holds(uint8_t compare, Wide a, Wide b) {
  const bool truths[] = {a == b, a != b, a<b, a <= b, a> b, a >= b};
  return truths[compare];
}

Wide shifted(const VideoInfo& info, Wide a, Wide b) {
  const auto count = static_cast<int>(info.wraps ? b & 31 : std::min<Wide>(b, 32));
  return info.op == VideoOp::kShiftLeft ? a * (Wide{1} << count) : a >> count;
}

Wide primary(const VideoInfo& info, Wide a, Wide b) {
  switch (info.op) {
    case VideoOp::kAdd:
      return a + b;
    case VideoOp::kSub:
      return a - b;
    case VideoOp::kAverage:  // rounds halves away from zero
      return a + b >= 0 ? (a + b + 1) >> 1 : (a + b) >> 1;
    case VideoOp::kDifference:
      return a < b ? b - a : a - b;
    case VideoOp::kMin:
      return std::min(a, b);
    case VideoOp::kMax:
      return std::max(a, b);
    case VideoOp::kSet:
      return holds(info.compare, a, b) ? 1 : 0;
    default:
      return shifted(info, a, b);
  }
}

// d = a * b + c, with at most one operand negated, scaled down and clamped.
uint32_t multiply_add(const VideoInfo& info, uint64_t both, uint32_t c) {
  const Wide product =
      extract(both, info.a[0], info.signed_a) * extract(both, info.b[0], info.signed_b);
  const bool final_signed = info.signed_a || info.signed_b || info.negate_product || info.negate_c;
  const Wide addend = final_signed ? Wide{static_cast<int32_t>(info.negate_c ? ~c : c)} : Wide{c};
  Wide result = (info.negate_product ? -product : product) + addend;
  if (info.plus_one || info.negate_c) result += 1;
  result >>= info.scale;
  if (info.saturate) result = clamp(result, 32, final_signed);
  return static_cast<uint32_t>(result);
}

uint32_t video_lane(const VideoInfo& info, uint32_t a, uint32_t b, uint32_t c) {
  const uint64_t both = static_cast<uint64_t>(b) << 32 | a;
  if (info.op == VideoOp::kMultiplyAdd) return multiply_add(info, both, c);
  const Wide third = info.signed_d ? Wide{static_cast<int32_t>(c)} : Wide{c};
  Wide total = third;
  uint32_t merged = c;
  for (int i = 0; i < info.parts; ++i) {
    if ((info.taken >> i & 1) == 0) continue;
    const VideoPart to = info.d[i];
    Wide value = primary(info, extract(both, info.a[i], info.signed_a),
                         extract(both, info.b[i], info.signed_b));
    if (info.saturate) value = clamp(value, to.width, info.signed_d);
    if (info.secondary == Secondary::kAdd) total += value;
    if (info.secondary == Secondary::kMin) total = std::min(total, value);
    if (info.secondary == Secondary::kMax) total = std::max(total, value);
    const auto mask = static_cast<uint32_t>(((uint64_t{1} << to.width) - 1) << to.at);
    merged = (merged & ~mask) | (static_cast<uint32_t>(value) << to.at & mask);
  }
  return info.secondary == Secondary::kNone ? merged : static_cast<uint32_t>(total);
}

}  // namespace

namespace handlers {

const Instr* video(Warp& w, const Instr* in) {
  const auto& info = *static_cast<const VideoInfo*>(in->data);
  uint32_t* d = w.row<uint32_t>(in->d);
  const uint32_t* a = w.row<uint32_t>(in->a);
  const uint32_t* b = w.row<uint32_t>(in->b);
  const uint32_t* c = w.row<uint32_t>(in->c);
  for (int i = 0; i < kLanes; ++i) {
    if (w.lanes[i] != 0) d[i] = video_lane(info, a[i], b[i], c[i]);
  }
  return in + 1;
}

}  // namespace handlers
}  // namespace vgpu::softgpu::ptx
