// What a video instruction fixes at decode time (PTX ISA section 9.7.19).
#pragma once

#include <cstdint>

namespace vgpu::softgpu::ptx {

enum class VideoOp : uint8_t {
  kAdd,
  kSub,
  kAverage,
  kDifference,
  kMin,
  kMax,
  kShiftLeft,
  kShiftRight,
  kSet,
  kMultiplyAdd,
};

enum class Secondary : uint8_t { kNone, kAdd, kMin, kMax };

// A part of a source: bits [at, at + width) of the 64 bits that b and a make together.
struct VideoPart {
  uint8_t at = 0, width = 32;
};

struct VideoInfo {
  static constexpr int kMost = 4;
  VideoOp op = VideoOp::kAdd;
  Secondary secondary = Secondary::kNone;
  uint8_t compare = 0;  // of kSet: eq, ne, lt, le, gt, ge
  uint8_t parts = 1;    // elements that are worked on: 1, 2 or 4
  uint8_t taken = 1;    // bit i: element i of the result is written
  bool signed_d = false, signed_a = false, signed_b = false;
  bool saturate = false;
  bool wraps = false;  // shift counts: else they clamp
  VideoPart a[kMost], b[kMost], d[kMost];
  // vmad
  bool negate_product = false, negate_c = false, plus_one = false;
  uint8_t scale = 0;
};

}  // namespace vgpu::softgpu::ptx
