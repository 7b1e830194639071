// wmma from memory to memory, in every shape and layout.
#include "math_matrix_model.h"

namespace {

struct Stored {
  std::vector<uint64_t> elements;
  bool column_major;
  uint64_t stride;
  uint32_t bits;
};
Stored in_memory(uint32_t rows, uint32_t columns, bool column_major, uint32_t bits,
                 const std::function<uint64_t(uint32_t, uint32_t)>& value) {
  const uint64_t stride = (column_major ? rows : columns) + 8;
  Stored stored{std::vector<uint64_t>(stride * (column_major ? columns : rows)), column_major,
                stride, bits};
  for (uint32_t row = 0; row < rows; ++row) {
    for (uint32_t column = 0; column < columns; ++column) {
      stored.elements[column_major ? column * stride + row : row * stride + column] =
          value(row, column);
    }
  }
  return stored;
}
void load(const Stored& from, const Fragment& fragment, Rows& to) {
  wmma_load(fragment, from.column_major, from.stride, to.rows,
            [&](uint32_t, uint64_t offset, uint32_t bytes) -> uint64_t {
              if (from.bits < 8)
                return from.elements[offset * 2] | from.elements[offset * 2 + 1] << 4;
              CHECK_EQ(bytes * 8, from.bits);
              return from.elements.at(offset / bytes);
            });
}

template <typename Multiply>
void check_wmma(Shape shape, Element type, Element type_c, Element type_d, const Encode& encode,
                int32_t low, int32_t high, uint32_t registers_a, uint32_t registers_b,
                Multiply multiply_fragments) {
  const auto encoder = [](Element element) -> Encode {
    if (element == Element::kF16) return to_half;
    if (element == Element::kF32) return to_single;
    return [](int32_t value) { return static_cast<uint32_t>(value); };
  };
  const Encode encode_c = encoder(type_c), encode_d = encoder(type_d);
  const bool small = element_bits(type) < 8;
  for (int layouts = 0; layouts < 4; ++layouts) {
    const bool column_a = !small && (layouts & 1) != 0, column_b = small || (layouts & 2) != 0;
    const Matrices m(shape, low, high, low, high);
    const Fragment in_a = wmma_fragment(Role::kA, shape, type);
    const Fragment in_b = wmma_fragment(Role::kB, shape, type);
    const Fragment in_c = wmma_fragment(Role::kC, shape, type_c);
    const Fragment out = wmma_fragment(Role::kC, shape, type_d);
    CHECK_EQ(in_a.registers, registers_a);
    CHECK_EQ(in_b.registers, registers_b);
    Operands op;
    load(in_memory(shape.m, shape.k, column_a, in_a.bits,
                   [&](uint32_t r, uint32_t c) { return encode(m.at_a(r, c)); }),
         in_a, op.a);
    load(in_memory(shape.k, shape.n, column_b, in_b.bits,
                   [&](uint32_t r, uint32_t c) { return encode(m.at_b(r, c)); }),
         in_b, op.b);
    load(in_memory(shape.m, shape.n, column_a, in_c.bits,
                   [&](uint32_t r, uint32_t c) { return encode_c(m.at_c(r, c)); }),
         in_c, op.c);
    multiply_fragments(op);
    std::map<uint64_t, uint64_t> stored;
    const uint64_t stride = out.default_stride(column_b);
    wmma_store(out, column_b, stride, op.d.rows,
               [&](uint32_t, uint64_t offset, uint32_t bytes, uint32_t value) {
                 stored[offset / bytes] = bytes == 2 ? value & 0xFFFF : value;
               });
    int wrong = 0;
    for (uint32_t row = 0; row < shape.m; ++row) {
      for (uint32_t column = 0; column < shape.n; ++column) {
        const uint64_t at = column_b ? column * stride + row : row * stride + column;
        wrong += stored[at] != encode_d(static_cast<int32_t>(m.product(row, column)));
      }
    }
    CHECK_EQ(wrong, 0);
    CHECK_EQ(stored.size(), size_t{shape.m} * shape.n);
  }
}

template <Element kType>
void check_wmma_float(Shape shape, Element type_c, Element type_d, const Encode& encode,
                      int32_t range, uint32_t registers_a, uint32_t registers_b) {
  check_wmma(shape, kType, type_c, type_d, encode, -range, range, registers_a, registers_b,
             [&](Operands& op) {
               wmma_float<kType>(shape, type_c == Element::kF16, type_d == Element::kF16, false,
                                 op.d.rows, op.a.rows, op.b.rows, op.c.rows);
             });
}
template <Element kType>
void check_wmma_integer(Shape shape, const Encode& encode, int32_t low, int32_t high,
                        uint32_t registers_a, uint32_t registers_b) {
  check_wmma(shape, kType, Element::kS32, Element::kS32, encode, low, high, registers_a,
             registers_b, [&](Operands& op) {
               wmma_integer<kType>(shape, false, op.d.rows, op.a.rows, op.b.rows, op.c.rows);
             });
}

TEST(wmma_in_every_shape) {
  const Shape square{16, 16, 16}, tall{32, 8, 16}, flat{8, 32, 16};
  for (const Shape shape : {square, tall, flat}) {
    for (const Element c : {Element::kF16, Element::kF32}) {
      for (const Element d : {Element::kF16, Element::kF32}) {
        check_wmma_float<Element::kF16>(shape, c, d, to_half, 9, 8, 8);
      }
    }
  }
  constexpr auto kF32 = Element::kF32;
  check_wmma_float<Element::kBf16>(square, kF32, kF32, to_brain, 99, 4, 4);
  check_wmma_float<Element::kBf16>(tall, kF32, kF32, to_brain, 99, 8, 2);
  check_wmma_float<Element::kBf16>(flat, kF32, kF32, to_brain, 99, 2, 8);
  check_wmma_float<Element::kTf32>({16, 16, 8}, kF32, kF32, to_single, 900, 4, 4);
  check_wmma_integer<Element::kS8>(square, to_byte, -128, 127, 2, 2);
  check_wmma_integer<Element::kU8>(tall, to_byte, 0, 255, 4, 1);
  check_wmma_integer<Element::kS8>(flat, to_byte, -128, 127, 1, 4);
  check_wmma_integer<Element::kS4>({8, 8, 32}, to_nibble, -8, 7, 1, 1);
}

TEST(wmma_saturates) {
  Operands op;
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    for (auto& word : op.c.words) word[lane] = lane % 2 ? 0x7F800000 : 0x7FC00000;
  }
  const Shape shape{16, 16, 16};
  wmma_float<Element::kF16>(shape, false, false, true, op.d.rows, op.a.rows, op.b.rows, op.c.rows);
  CHECK_EQ(op.d.words[0][1], 0x7F7FFFFFu);
  CHECK_EQ(op.d.words[0][0], 0u);
}

TEST(wmma_of_doubles) {
  const Matrices m({8, 8, 4}, -99, 99, -99, 99);
  double a[kWarp], b[kWarp], c[2][kWarp];
  double *rows_a = a, *rows_b = b, *rows_c[2] = {c[0], c[1]};
  const Shape shape{8, 8, 4};
  const Fragment in_c = wmma_fragment(Role::kC, shape, Element::kF64);
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    const Place in_a = wmma_fragment(Role::kA, shape, Element::kF64).place(lane, 0);
    const Place in_b = wmma_fragment(Role::kB, shape, Element::kF64).place(lane, 0);
    a[lane] = m.at_a(in_a.row, in_a.column);
    b[lane] = m.at_b(in_b.row, in_b.column);
    for (uint32_t i = 0; i < 2; ++i) {
      const Place at = in_c.place(lane, i);
      c[i][lane] = m.at_c(at.row, at.column);
    }
  }
  wmma_f64(rows_c, &rows_a, &rows_b, rows_c);
  int wrong = 0;
  for (uint32_t lane = 0; lane < kWarp; ++lane) {
    for (uint32_t i = 0; i < 2; ++i) {
      const Place at = in_c.place(lane, i);
      wrong += c[i][lane] != static_cast<double>(m.product(at.row, at.column));
    }
  }
  CHECK_EQ(wrong, 0);
}

}  // namespace
