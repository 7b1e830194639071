// Small integer matrices, and fragments to hold them, for the tests of matrix instructions.
#pragma once

#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <vector>

#include "check.h"
#include "softgpu/math/wmma.h"

namespace {

using namespace vgpu::softgpu::math;

struct Random {
  uint64_t state = 1;
  int32_t next(int32_t low, int32_t high) {
    state = state * 6364136223846793005 + 1442695040888963407;
    return low + static_cast<int32_t>((state >> 33) % static_cast<uint64_t>(high - low + 1));
  }
};

struct Rows {
  uint32_t words[8][kWarp] = {};
  Row rows[8];
  Rows() {
    for (int i = 0; i < 8; ++i) rows[i] = words[i];
  }
  Rows(const Rows&) = delete;
  // Element `index` of a lane, `bits` wide.
  void set(uint32_t lane, uint32_t index, uint32_t bits, uint32_t value) {
    const uint32_t per = 32 / bits, shift = index % per * bits;
    words[index / per][lane] |= value << shift;
  }
  [[nodiscard]] uint32_t get(uint32_t lane, uint32_t index, uint32_t bits) const {
    const uint32_t per = 32 / bits, mask = bits == 32 ? ~0u : (1u << bits) - 1;
    return (words[index / per][lane] >> (index % per * bits)) & mask;
  }
};

struct Matrices {
  Shape shape;
  std::vector<int32_t> a, b, c;
  Matrices(Shape s, int32_t low_a, int32_t high_a, int32_t low_b, int32_t high_b) : shape(s) {
    static Random random;
    for (uint32_t i = 0; i < s.m * s.k; ++i) a.push_back(random.next(low_a, high_a));
    for (uint32_t i = 0; i < s.k * s.n; ++i) b.push_back(random.next(low_b, high_b));
    for (uint32_t i = 0; i < s.m * s.n; ++i) c.push_back(random.next(-100, 100));
  }
  [[nodiscard]] int32_t at_a(uint32_t row, uint32_t k) const { return a[row * shape.k + k]; }
  [[nodiscard]] int32_t at_b(uint32_t k, uint32_t column) const { return b[k * shape.n + column]; }
  [[nodiscard]] int32_t at_c(uint32_t row, uint32_t column) const {
    return c[row * shape.n + column];
  }
  [[nodiscard]] int64_t product(uint32_t row, uint32_t column) const {
    int64_t sum = at_c(row, column);
    for (uint32_t k = 0; k < shape.k; ++k) sum += int64_t{at_a(row, k)} * at_b(k, column);
    return sum;
  }
};

using Encode = std::function<uint32_t(int32_t)>;
inline uint32_t to_half(int32_t value) {
  return f32_to_f16<Rounding::kNearest>(static_cast<float>(value));
}
inline uint32_t to_brain(int32_t value) {
  return f32_to_bf16<Rounding::kNearest>(static_cast<float>(value));
}
inline uint32_t to_single(int32_t value) { return bits_of(static_cast<float>(value)); }
inline uint32_t to_e4m3(int32_t value) { return f32_to_e4m3(static_cast<float>(value)); }
inline uint32_t to_e5m2(int32_t value) { return f32_to_e5m2(static_cast<float>(value)); }
inline uint32_t to_byte(int32_t value) { return static_cast<uint8_t>(value); }
inline uint32_t to_nibble(int32_t value) { return static_cast<uint32_t>(value) & 15; }

struct Operands {
  Rows a, b, c, d;
};
}  // namespace
