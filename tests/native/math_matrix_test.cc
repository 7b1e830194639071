// mma, ldmatrix, stmatrix, movmatrix: fragments filled by the ISA's own formulas (PTX ISA 9.7.14),
// shape by shape, with small integers whose products every format holds exactly.
#include "math_matrix_model.h"

namespace {

// Where the ISA's figures put element i of lane; written from them one by one.
using Formula = std::function<Place(uint32_t group, uint32_t thread, uint32_t i)>;
const Formula kC16x8 = [](uint32_t g, uint32_t t, uint32_t i) {
  return Place{i < 2 ? g : g + 8, t * 2 + (i & 1)};
};
const Formula kC8x8 = [](uint32_t g, uint32_t t, uint32_t i) { return Place{g, t * 2 + (i & 1)}; };

struct Layout {
  Formula a, b, c;
  uint32_t count_a, count_b, count_c;
};
const Layout k16816Half = {[](uint32_t g, uint32_t t, uint32_t i) {
                             const bool upper = i < 2 || (i >= 4 && i < 6);
                             return Place{upper ? g : g + 8,
                                          i < 4 ? t * 2 + (i & 1) : t * 2 + (i & 1) + 8};
                           },
                           [](uint32_t g, uint32_t t, uint32_t i) {
                             return Place{i < 2 ? t * 2 + (i & 1) : t * 2 + (i & 1) + 8, g};
                           },
                           kC16x8,
                           8,
                           4,
                           4};
const Layout k1688Half = {
    [](uint32_t g, uint32_t t, uint32_t i) { return Place{i < 2 ? g : g + 8, t * 2 + (i & 1)}; },
    [](uint32_t g, uint32_t t, uint32_t i) { return Place{t * 2 + i, g}; },
    kC16x8,
    4,
    2,
    4};
const Layout k1684Tf32 = {
    [](uint32_t g, uint32_t t, uint32_t i) { return Place{i == 0 ? g : g + 8, t}; },
    [](uint32_t g, uint32_t t, uint32_t) { return Place{t, g}; },
    kC16x8,
    2,
    1,
    4};
const Layout k1688Tf32 = {
    [](uint32_t g, uint32_t t, uint32_t i) {
      return Place{i == 0 || i == 2 ? g : g + 8, i < 2 ? t : t + 4};
    },
    [](uint32_t g, uint32_t t, uint32_t i) { return Place{i == 0 ? t : t + 4, g}; },
    kC16x8,
    4,
    2,
    4};
const Layout k16816Byte = {
    [](uint32_t g, uint32_t t, uint32_t i) { return Place{i < 4 ? g : g + 8, t * 4 + (i & 3)}; },
    [](uint32_t g, uint32_t t, uint32_t i) { return Place{t * 4 + i, g}; },
    kC16x8,
    8,
    4,
    4};
const Layout k16832Byte = {[](uint32_t g, uint32_t t, uint32_t i) {
                             const bool upper = i < 4 || (i >= 8 && i < 12);
                             return Place{upper ? g : g + 8,
                                          i < 8 ? t * 4 + (i & 3) : t * 4 + (i & 3) + 16};
                           },
                           [](uint32_t g, uint32_t t, uint32_t i) {
                             return Place{i < 4 ? t * 4 + (i & 3) : t * 4 + (i & 3) + 16, g};
                           },
                           kC16x8,
                           16,
                           8,
                           4};
const Layout k8816Byte = {[](uint32_t g, uint32_t t, uint32_t i) { return Place{g, t * 4 + i}; },
                          [](uint32_t g, uint32_t t, uint32_t i) { return Place{t * 4 + i, g}; },
                          kC8x8,
                          4,
                          4,
                          2};
const Layout k8832Nibble = {[](uint32_t g, uint32_t t, uint32_t i) { return Place{g, t * 8 + i}; },
                            [](uint32_t g, uint32_t t, uint32_t i) { return Place{t * 8 + i, g}; },
                            kC8x8,
                            8,
                            8,
                            2};
const Layout k16864Nibble = {[](uint32_t g, uint32_t t, uint32_t i) {
                               const bool upper = i < 8 || (i >= 16 && i < 24);
                               return Place{upper ? g : g + 8,
                                            i < 16 ? t * 8 + (i & 7) : t * 8 + (i & 7) + 32};
                             },
                             [](uint32_t g, uint32_t t, uint32_t i) {
                               return Place{i < 8 ? t * 8 + (i & 7) : t * 8 + (i & 7) + 32, g};
                             },
                             kC16x8,
                             32,
                             16,
                             4};

void fill(Operands& op, const Matrices& m, const Layout& layout, uint32_t bits,
          const Encode& encode_a, const Encode& encode_b, uint32_t bits_c, const Encode& encode_c) {
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    const uint32_t g = lane >> 2, t = lane % 4;
    for (uint32_t i = 0; i < layout.count_a; ++i) {
      const Place at = layout.a(g, t, i);
      op.a.set(lane, i, bits, encode_a(m.at_a(at.row, at.column)));
    }
    for (uint32_t i = 0; i < layout.count_b; ++i) {
      const Place at = layout.b(g, t, i);
      op.b.set(lane, i, bits, encode_b(m.at_b(at.row, at.column)));
    }
    for (uint32_t i = 0; i < layout.count_c; ++i) {
      const Place at = layout.c(g, t, i);
      op.c.set(lane, i, bits_c, encode_c(m.at_c(at.row, at.column)));
    }
  }
}
int count_wrong(const Operands& op, const Matrices& m, const Layout& layout, uint32_t bits_d,
                const std::function<uint32_t(int64_t)>& encode_d) {
  int wrong = 0;
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    for (uint32_t i = 0; i < layout.count_c; ++i) {
      const Place at = layout.c(lane >> 2, lane % 4, i);
      wrong += op.d.get(lane, i, bits_d) != encode_d(m.product(at.row, at.column));
    }
  }
  return wrong;
}

using Mma = void (*)(Shape, bool, bool, const Row*, const ConstRow*, const ConstRow*,
                     const ConstRow*);
int wrong_floats(Mma mma, Shape shape, const Layout& layout, uint32_t bits, const Encode& encode_a,
                 const Encode& encode_b, int32_t range, bool half_c, bool half_d) {
  const Matrices m(shape, -range, range, -range, range);
  Operands op;
  fill(op, m, layout, bits, encode_a, encode_b, half_c ? 16 : 32, half_c ? to_half : to_single);
  mma(shape, half_c, half_d, op.d.rows, op.a.rows, op.b.rows, op.c.rows);
  return count_wrong(op, m, layout, half_d ? 16 : 32, [&](int64_t value) {
    return half_d ? to_half(static_cast<int32_t>(value)) : to_single(static_cast<int32_t>(value));
  });
}

TEST(mma_of_floating_point) {
  constexpr auto kF16 = mma_float<Element::kF16>;
  for (const bool half_c : {false, true}) {
    for (const bool half_d : {false, true}) {
      CHECK_EQ(wrong_floats(kF16, {16, 8, 16}, k16816Half, 16, to_half, to_half, 9, half_c, half_d),
               0);
      CHECK_EQ(wrong_floats(kF16, {16, 8, 8}, k1688Half, 16, to_half, to_half, 9, half_c, half_d),
               0);
    }
  }
  constexpr auto kBrain = mma_float<Element::kBf16>;
  CHECK_EQ(wrong_floats(kBrain, {16, 8, 16}, k16816Half, 16, to_brain, to_brain, 99, false, false),
           0);
  CHECK_EQ(wrong_floats(kBrain, {16, 8, 8}, k1688Half, 16, to_brain, to_brain, 99, false, false),
           0);
  constexpr auto kTf32 = mma_float<Element::kTf32>;
  CHECK_EQ(wrong_floats(kTf32, {16, 8, 4}, k1684Tf32, 32, to_single, to_single, 1000, false, false),
           0);
  CHECK_EQ(wrong_floats(kTf32, {16, 8, 8}, k1688Tf32, 32, to_single, to_single, 1000, false, false),
           0);
  const auto kMixed = [](auto... operands) {
    mma_float8(Element::kE4m3, Element::kE5m2, operands...);
  };
  CHECK_EQ(wrong_floats(kMixed, {16, 8, 32}, k16832Byte, 8, to_e4m3, to_e5m2, 4, false, true), 0);
  const auto kE4m3 = [](auto... operands) {
    mma_float8(Element::kE4m3, Element::kE4m3, operands...);
  };
  CHECK_EQ(wrong_floats(kE4m3, {16, 8, 16}, k16816Byte, 8, to_e4m3, to_e4m3, 9, false, false), 0);
}

template <Element kA, Element kB>
int wrong_integers(Shape shape, const Layout& layout, uint32_t bits, const Encode& encode,
                   int32_t low_a, int32_t high_a, int32_t low_b, int32_t high_b) {
  const Matrices m(shape, low_a, high_a, low_b, high_b);
  Operands op;
  const Encode same = [](int32_t value) { return static_cast<uint32_t>(value); };
  fill(op, m, layout, bits, encode, encode, 32, same);
  mma_integer<kA, kB>(shape, true, op.d.rows, op.a.rows, op.b.rows, op.c.rows);
  return count_wrong(op, m, layout, 32, [](int64_t value) { return static_cast<uint32_t>(value); });
}

TEST(mma_of_integers) {
  constexpr auto kS8 = Element::kS8, kU8 = Element::kU8, kS4 = Element::kS4, kU4 = Element::kU4;
  CHECK_EQ((wrong_integers<kS8, kS8>({16, 8, 32}, k16832Byte, 8, to_byte, -128, 127, -128, 127)),
           0);
  CHECK_EQ((wrong_integers<kU8, kS8>({16, 8, 16}, k16816Byte, 8, to_byte, 0, 255, -128, 127)), 0);
  CHECK_EQ((wrong_integers<kS8, kU8>({8, 8, 16}, k8816Byte, 8, to_byte, -128, 127, 0, 255)), 0);
  CHECK_EQ((wrong_integers<kS4, kU4>({8, 8, 32}, k8832Nibble, 4, to_nibble, -8, 7, 0, 15)), 0);
  CHECK_EQ((wrong_integers<kU4, kS4>({16, 8, 64}, k16864Nibble, 4, to_nibble, 0, 15, -8, 7)), 0);
}

TEST(mma_of_integers_saturates_or_wraps) {
  Operands op;
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    op.a.words[0][lane] = op.b.words[0][lane] = 0x01010101;
    op.c.words[0][lane] = INT32_MAX - 3;
  }
  constexpr auto kS8 = Element::kS8;
  const Shape shape{8, 8, 16};
  mma_integer<kS8, kS8>(shape, true, op.d.rows, op.a.rows, op.b.rows, op.c.rows);
  CHECK_EQ(op.d.words[0][7], 0x7FFFFFFFu);
  mma_integer<kS8, kS8>(shape, false, op.d.rows, op.a.rows, op.b.rows, op.c.rows);
  CHECK_EQ(op.d.words[0][7], 0x8000000Cu);
}

TEST(mma_of_bits) {
  Random random;
  for (const Shape shape : {Shape{8, 8, 128}, Shape{16, 8, 128}, Shape{16, 8, 256}}) {
    std::vector<int> a(shape.m * shape.k), b(shape.k * 8);
    Operands op;
    for (auto& bit : a) bit = random.next(0, 1);
    for (auto& bit : b) bit = random.next(0, 1);
    const uint32_t halves = shape.m / 8;
    for (uint32_t lane = 0; lane < kWarp; ++lane) {
      const uint32_t g = lane >> 2, t = lane % 4;
      for (uint32_t i = 0; i < halves * shape.k / 4; ++i) {
        // a_i: 32 bits per register; rows g and g + 8 alternate, then the next 128 columns.
        const uint32_t r = i / 32, row = g + 8 * (r % halves);
        op.a.set(lane, i, 1, a[row * shape.k + t * 32 + i % 32 + r / halves * 128]);
      }
      for (uint32_t i = 0; i < shape.k / 4; ++i) {
        op.b.set(lane, i, 1, b[(t * 32 + i % 32 + i / 32 * 128) * 8 + g]);
      }
    }
    for (const bool conjunction : {false, true}) {
      mma_bits(shape, conjunction, op.d.rows, op.a.rows, op.b.rows, op.c.rows);
      int wrong = 0;
      for (uint32_t lane = 0; lane < kWarp; ++lane) {
        for (uint32_t i = 0; i < shape.m / 4; ++i) {
          const Place at = kC16x8(lane >> 2, lane % 4, i);
          uint32_t ones = 0;
          for (uint32_t k = 0; k < shape.k; ++k) {
            const int x = a[at.row * shape.k + k], y = b[k * 8 + at.column];
            ones += conjunction ? x & y : x ^ y;
          }
          wrong += op.d.words[i][lane] != ones;
        }
      }
      CHECK_EQ(wrong, 0);
    }
  }
}

TEST(mma_of_doubles) {
  for (const Shape shape : {Shape{8, 8, 4}, Shape{16, 8, 4}, Shape{16, 8, 8}, Shape{16, 8, 16}}) {
    const Matrices m(shape, -999, 999, -999, 999);
    double a[8][kWarp], b[4][kWarp], c[4][kWarp];
    double *rows_a[8], *rows_b[4], *rows_c[4];
    for (int i = 0; i < 8; ++i) rows_a[i] = a[i];
    for (int i = 0; i < 4; ++i) rows_b[i] = b[i], rows_c[i] = c[i];
    const bool tall = shape.m == 16;
    for (uint32_t lane = 0; lane < kWarp; ++lane) {
      const uint32_t g = lane >> 2, t = lane % 4;
      for (uint32_t i = 0; i < shape.m * shape.k / 32; ++i) {
        const uint32_t row = tall && i % 2 == 1 ? g + 8 : g, column = (tall ? i / 2 : i) * 4 + t;
        a[i][lane] = m.at_a(row, column);
      }
      for (uint32_t i = 0; i < shape.k / 4; ++i) b[i][lane] = m.at_b(t + i * 4, g);
      for (uint32_t i = 0; i < shape.m / 4; ++i) {
        const Place at = kC16x8(g, t, i);
        c[i][lane] = m.at_c(at.row, at.column);
      }
    }
    mma_f64(shape, rows_c, rows_a, rows_b, rows_c);
    int wrong = 0;
    for (uint32_t lane = 0; lane < kWarp; ++lane) {
      for (uint32_t i = 0; i < shape.m / 4; ++i) {
        const Place at = kC16x8(lane >> 2, lane % 4, i);
        wrong += c[i][lane] != static_cast<double>(m.product(at.row, at.column));
      }
    }
    CHECK_EQ(wrong, 0);
  }
}

// Four products by quad pairs; all layouts and accumulator types.
void check_884(bool a_row, bool b_row, bool half_c, bool half_d) {
  const Shape shape{8, 8, 4};
  std::vector<Matrices> four;
  for (int q = 0; q < 4; ++q) four.emplace_back(shape, -20, 20, -20, 20);
  Operands op;
  const auto place_c = [](bool half, uint32_t lane, uint32_t i) {
    const uint32_t upper = lane < 16 ? 0 : 4;
    if (half) return Place{lane % 4 + upper, i};
    return Place{(lane & 1) + (i & 2) + upper, (i & 4) + (lane & 2) + (i & 1)};
  };
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    const Matrices& m = four[(lane % 16) / 4];
    const uint32_t upper = lane < 16 ? 0 : 4;
    for (uint32_t i = 0; i < 4; ++i) {
      const int32_t x = a_row ? m.at_a(lane % 4 + upper, i) : m.at_a(i + upper, lane % 4);
      const int32_t y = b_row ? m.at_b(lane % 4, i + upper) : m.at_b(i, lane % 4 + upper);
      op.a.set(lane, i, 16, to_half(x));
      op.b.set(lane, i, 16, to_half(y));
    }
    for (uint32_t i = 0; i < 8; ++i) {
      const Place at = place_c(half_c, lane, i);
      const int32_t value = m.at_c(at.row, at.column);
      op.c.set(lane, i, half_c ? 16 : 32, half_c ? to_half(value) : to_single(value));
    }
  }
  mma_884(a_row, b_row, half_c, half_d, op.d.rows, op.a.rows, op.b.rows, op.c.rows);
  int wrong = 0;
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    const Matrices& m = four[(lane % 16) / 4];
    for (uint32_t i = 0; i < 8; ++i) {
      const Place at = place_c(half_d, lane, i);
      const auto value = static_cast<int32_t>(m.product(at.row, at.column));
      wrong += op.d.get(lane, i, half_d ? 16 : 32) != (half_d ? to_half(value) : to_single(value));
    }
  }
  CHECK_EQ(wrong, 0);
}

TEST(mma_of_quad_pairs) {
  for (int bits = 0; bits < 16; ++bits) {
    check_884((bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0);
  }
}

TEST(matrix_moves) {
  MatrixRows memory, back = {};
  const auto value = [](uint32_t matrix, uint32_t row, uint32_t column) {
    return 1000 * matrix + 10 * row + column;
  };
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    for (uint32_t word = 0; word < 4; ++word) {
      memory[lane][word] =
          value(lane / 8, lane % 8, 2 * word + 1) << 16 | value(lane / 8, lane % 8, 2 * word);
    }
  }
  Rows plain, transposed, moved;
  ldmatrix(4, false, memory, plain.rows);
  ldmatrix(4, true, memory, transposed.rows);
  int wrong = 0;
  for (uint32_t j = 0; j < 4; ++j) {
    for (uint32_t lane = 0; lane < kWarp; ++lane) {
      const uint32_t row = lane / 4, column = lane % 4 * 2;
      wrong += plain.words[j][lane] != (value(j, row, column + 1) << 16 | value(j, row, column));
      wrong +=
          transposed.words[j][lane] != (value(j, column + 1, row) << 16 | value(j, column, row));
    }
  }
  CHECK_EQ(wrong, 0);
  stmatrix(4, false, plain.rows, back);
  CHECK(std::memcmp(memory, back, sizeof(memory)) == 0);
  stmatrix(4, true, transposed.rows, back);
  CHECK(std::memcmp(memory, back, sizeof(memory)) == 0);
  movmatrix_trans(plain.words[2], moved.words[0]);
  CHECK(std::memcmp(moved.words[0], transposed.words[2], sizeof(moved.words[0])) == 0);
}

}  // namespace
