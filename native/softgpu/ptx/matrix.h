// What a matrix instruction fixes at decode time.
#pragma once

#include <cstdint>
#include <vector>

#include "softgpu/ptx/syntax.h"

namespace vgpu::softgpu::ptx {

enum class MatrixKind : uint8_t { kMma, kWmma, kWmmaLoad, kWmmaStore, kLoad, kStore, kMove };

struct MatrixInfo {
  uint32_t m = 0, n = 0, k = 0;
  uint8_t element_a = 0, element_b = 0;  // math::Element
  uint8_t role = 0;                      // math::Role of a wmma.load
  uint32_t rounding = 0;                 // kRoundMask bits of a product of .f64
  // Block scaling (PTX ISA 9.7.14.3): how many scales a row of A has, 0 for none, and the rows with
  // the scales and with the selectors byte-id and thread-id, of A and of B.
  uint32_t scales = 0;
  bool scales_ue4m3 = false;
  uint32_t scale_rows[2] = {}, byte_rows[2] = {}, thread_rows[2] = {};
  bool half_c = false, half_d = false;
  bool saturate = false, conjunction = false;
  bool a_by_column = false, b_by_column = false;  // a: also the layout of wmma.load and .store
  bool transposed = false;
  Space space = Space::kGeneric;
  uint32_t stride = 0;               // row with the stride, or 0
  std::vector<uint32_t> d, a, b, c;  // rows
};

}  // namespace vgpu::softgpu::ptx
