// mma, wmma, ldmatrix, stmatrix, movmatrix (PTX ISA section 9.7.14).
#include "softgpu/ptx/matrix.h"

#include <cfenv>

#include "softgpu/math/wmma.h"
#include "softgpu/ptx/lanes/access.h"

namespace vgpu::softgpu::ptx::VGPU_LANES {
namespace {

namespace m = math;
using m::Element;

struct Rows {
  uint32_t* d[8];
  const uint32_t* a[8];
  const uint32_t* b[8];
  const uint32_t* c[8];
  Rows(const Warp& w, const MatrixInfo& info) {
    for (size_t i = 0; i < info.d.size(); ++i) d[i] = w.row<uint32_t>(info.d[i]);
    for (size_t i = 0; i < info.a.size(); ++i) a[i] = w.row<uint32_t>(info.a[i]);
    for (size_t i = 0; i < info.b.size(); ++i) b[i] = w.row<uint32_t>(info.b[i]);
    for (size_t i = 0; i < info.c.size(); ++i) c[i] = w.row<uint32_t>(info.c[i]);
  }
};
struct DoubleRows {
  double* d[8];
  const double* a[8];
  const double* b[8];
  const double* c[8];
  DoubleRows(const Warp& w, const MatrixInfo& info) {
    for (size_t i = 0; i < info.d.size(); ++i) d[i] = w.row<double>(info.d[i]);
    for (size_t i = 0; i < info.a.size(); ++i) a[i] = w.row<double>(info.a[i]);
    for (size_t i = 0; i < info.b.size(); ++i) b[i] = w.row<double>(info.b[i]);
    for (size_t i = 0; i < info.c.size(); ++i) c[i] = w.row<double>(info.c[i]);
  }
};

// Every lane takes part (.aligned).
#define VGPU_WHOLE_WARP(w, in) \
  if (!(w).here(~0u)) return (w).wait_lanes(in, ~0u)

template <Element kType>
const Instr* mma_float(Warp& w, const Instr* in) {
  VGPU_WHOLE_WARP(w, in);
  const auto& info = *static_cast<const MatrixInfo*>(in->data);
  const Rows rows(w, info);
  m::mma_float<kType>({info.m, info.n, info.k}, info.half_c, info.half_d, rows.d, rows.a, rows.b,
                      rows.c);
  return in + 1;
}
const Instr* mma_float8(Warp& w, const Instr* in) {
  VGPU_WHOLE_WARP(w, in);
  const auto& info = *static_cast<const MatrixInfo*>(in->data);
  const Rows rows(w, info);
  m::mma_float8(static_cast<Element>(info.element_a), static_cast<Element>(info.element_b),
                {info.m, info.n, info.k}, info.half_c, info.half_d, rows.d, rows.a, rows.b, rows.c);
  return in + 1;
}
// Two lanes of each quad hold the scales of A's rows `group` and `group` + 8, one those of B's
// column; the selectors say which lanes and which bytes.
m::Scales scales_of(const Warp& w, const MatrixInfo& info) {
  m::Scales scales{.count = info.scales, .a = {}, .b = {}};
  const auto at = [&](int side, uint32_t lane, uint32_t block) {
    const uint32_t byte = w.row<uint16_t>(info.byte_rows[side])[lane] + block;
    const uint32_t word = w.row<uint32_t>(info.scale_rows[side])[lane];
    return m::scale_value(info.scales_ue4m3, static_cast<uint8_t>(word >> (8 * (byte & 3))));
  };
  const uint32_t pair = 2 * (w.row<uint16_t>(info.thread_rows[0])[0] & 1);
  const uint32_t thread = w.row<uint16_t>(info.thread_rows[1])[0] & 3;
  for (uint32_t block = 0; block < info.scales; ++block) {
    for (uint32_t row = 0; row < 16; ++row) {
      scales.a[row][block] = at(0, row % 8 * 4 + pair + row / 8, block);
    }
    for (uint32_t column = 0; column < 8; ++column) {
      scales.b[column][block] = at(1, column * 4 + thread, block);
    }
  }
  return scales;
}
const Instr* mma_scaled(Warp& w, const Instr* in) {
  VGPU_WHOLE_WARP(w, in);
  const auto& info = *static_cast<const MatrixInfo*>(in->data);
  const Rows rows(w, info);
  m::mma_scaled(static_cast<Element>(info.element_a), static_cast<Element>(info.element_b),
                {info.m, info.n, info.k}, scales_of(w, info), rows.d, rows.a, rows.b, rows.c);
  return in + 1;
}
template <Element kA, Element kB>
const Instr* mma_integer(Warp& w, const Instr* in) {
  VGPU_WHOLE_WARP(w, in);
  const auto& info = *static_cast<const MatrixInfo*>(in->data);
  const Rows rows(w, info);
  m::mma_integer<kA, kB>({info.m, info.n, info.k}, info.saturate, rows.d, rows.a, rows.b, rows.c);
  return in + 1;
}
const Instr* mma_bits(Warp& w, const Instr* in) {
  VGPU_WHOLE_WARP(w, in);
  const auto& info = *static_cast<const MatrixInfo*>(in->data);
  const Rows rows(w, info);
  m::mma_bits({info.m, info.n, info.k}, info.conjunction, rows.d, rows.a, rows.b, rows.c);
  return in + 1;
}
const Instr* mma_884(Warp& w, const Instr* in) {
  VGPU_WHOLE_WARP(w, in);
  const auto& info = *static_cast<const MatrixInfo*>(in->data);
  const Rows rows(w, info);
  m::mma_884(!info.a_by_column, !info.b_by_column, info.half_c, info.half_d, rows.d, rows.a, rows.b,
             rows.c);
  return in + 1;
}
// Double precision in a rounding mode, as rounded() of floating.cc does it.
template <auto product, class... Arguments>
void in_mode(uint32_t rounding, Arguments... arguments) {
  static constexpr int kModes[4] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
  if (rounding == kRoundNearest) return product(arguments...);
  std::fesetround(kModes[rounding >> kRoundShift]);
  auto* volatile opaque = product;
  opaque(arguments...);
  std::fesetround(FE_TONEAREST);
}
const Instr* mma_f64(Warp& w, const Instr* in) {
  VGPU_WHOLE_WARP(w, in);
  const auto& info = *static_cast<const MatrixInfo*>(in->data);
  const DoubleRows rows(w, info);
  in_mode<m::mma_f64>(info.rounding, m::Shape{info.m, info.n, info.k}, rows.d, rows.a, rows.b,
                      rows.c);
  return in + 1;
}
template <Element kType>
const Instr* wmma_float(Warp& w, const Instr* in) {
  VGPU_WHOLE_WARP(w, in);
  const auto& info = *static_cast<const MatrixInfo*>(in->data);
  const Rows rows(w, info);
  m::wmma_float<kType>({info.m, info.n, info.k}, info.half_c, info.half_d, info.saturate, rows.d,
                       rows.a, rows.b, rows.c);
  return in + 1;
}
template <Element kType>
const Instr* wmma_integer(Warp& w, const Instr* in) {
  VGPU_WHOLE_WARP(w, in);
  const auto& info = *static_cast<const MatrixInfo*>(in->data);
  const Rows rows(w, info);
  m::wmma_integer<kType>({info.m, info.n, info.k}, info.saturate, rows.d, rows.a, rows.b, rows.c);
  return in + 1;
}
const Instr* wmma_bits(Warp& w, const Instr* in) {
  VGPU_WHOLE_WARP(w, in);
  const auto& info = *static_cast<const MatrixInfo*>(in->data);
  const Rows rows(w, info);
  m::wmma_bits(info.conjunction, rows.d, rows.a, rows.b, rows.c);
  return in + 1;
}
const Instr* wmma_f64(Warp& w, const Instr* in) {
  VGPU_WHOLE_WARP(w, in);
  const auto& info = *static_cast<const MatrixInfo*>(in->data);
  const DoubleRows rows(w, info);
  in_mode<m::wmma_f64>(info.rounding, rows.d, rows.a, rows.b, rows.c);
  return in + 1;
}

template <Element kA>
Handler integer_with(Element b) {
  switch (b) {
    case Element::kS8:
      if constexpr (m::element_bits(kA) == 8) return mma_integer<kA, Element::kS8>;
      break;
    case Element::kU8:
      if constexpr (m::element_bits(kA) == 8) return mma_integer<kA, Element::kU8>;
      break;
    case Element::kS4:
      if constexpr (m::element_bits(kA) == 4) return mma_integer<kA, Element::kS4>;
      break;
    case Element::kU4:
      if constexpr (m::element_bits(kA) == 4) return mma_integer<kA, Element::kU4>;
      break;
    default:
      break;
  }
  return nullptr;
}

// Memory of wmma: one element at a time, every one checked.
uint64_t base_address(const Warp& w, const Instr* in, int lane) {
  const auto imm = static_cast<uint64_t>(in->imm);
  if ((in->mods & kAddress32) == 0) return w.row<uint64_t>(in->a)[lane] + imm;
  return static_cast<uint32_t>(w.row<uint32_t>(in->a)[lane] + imm);
}

template <class Word>
const Instr* wmma_load(Warp& w, const Instr* in) {
  VGPU_WHOLE_WARP(w, in);
  const auto& info = *static_cast<const MatrixInfo*>(in->data);
  const m::Fragment fragment =
      m::wmma_fragment(static_cast<m::Role>(info.role), {info.m, info.n, info.k},
                       static_cast<Element>(info.element_a));
  Word* rows[8];
  for (size_t i = 0; i < info.d.size(); ++i) rows[i] = w.row<Word>(info.d[i]);
  const uint64_t stride = info.stride == 0 ? fragment.default_stride(info.a_by_column)
                                           : w.row<uint32_t>(info.stride)[__builtin_ctz(w.mask)];
  bool failed = false;
  m::wmma_load<Word>(fragment, info.a_by_column, stride, rows,
                     [&](uint32_t lane, uint64_t offset, uint32_t bytes) -> Word {
                       if (failed || (w.mask >> lane & 1) == 0) return 0;
                       const uint64_t place = checked_address(
                           w, in, info.space, static_cast<int>(lane),
                           base_address(w, in, static_cast<int>(lane)) + offset, bytes, false);
                       Word value = 0;
                       if (place == 0)
                         failed = true;
                       else
                         __builtin_memcpy(&value, reinterpret_cast<const void*>(place), bytes);
                       return value;
                     });
  return failed ? nullptr : in + 1;
}

template <class Word>
const Instr* wmma_store(Warp& w, const Instr* in) {
  VGPU_WHOLE_WARP(w, in);
  const auto& info = *static_cast<const MatrixInfo*>(in->data);
  const m::Fragment fragment =
      m::wmma_fragment(m::Role::kC, {info.m, info.n, info.k}, static_cast<Element>(info.element_a));
  const Word* rows[8];
  for (size_t i = 0; i < info.d.size(); ++i) rows[i] = w.row<Word>(info.d[i]);
  const uint64_t stride = info.stride == 0 ? fragment.default_stride(info.a_by_column)
                                           : w.row<uint32_t>(info.stride)[__builtin_ctz(w.mask)];
  bool failed = false;
  m::wmma_store<Word>(fragment, info.a_by_column, stride, rows,
                      [&](uint32_t lane, uint64_t offset, uint32_t bytes, Word value) {
                        if (failed || (w.mask >> lane & 1) == 0) return;
                        const uint64_t place = checked_address(
                            w, in, info.space, static_cast<int>(lane),
                            base_address(w, in, static_cast<int>(lane)) + offset, bytes, true);
                        if (place == 0)
                          failed = true;
                        else
                          __builtin_memcpy(reinterpret_cast<void*>(place), &value, bytes);
                      });
  return failed ? nullptr : in + 1;
}

// Lanes 0 to 8 * count - 1 name the rows; the addresses of the others are not looked at.
template <bool store>
const Instr* matrix_rows(Warp& w, const Instr* in) {
  VGPU_WHOLE_WARP(w, in);
  const auto& info = *static_cast<const MatrixInfo*>(in->data);
  const auto count = static_cast<uint32_t>(info.d.size());
  const uint32_t saved = w.mask;
  w.set_mask(count == 4 ? ~0u : (1u << (8 * count)) - 1);
  Access access;
  const bool ok = info.space == Space::kShared ? resolve<Space::kShared>(w, in, 16, store, access)
                                               : resolve<Space::kGeneric>(w, in, 16, store, access);
  w.set_mask(saved);
  if (!ok) return nullptr;
  m::MatrixRows memory;
  uint32_t* rows[4];
  for (uint32_t i = 0; i < count; ++i) rows[i] = w.row<uint32_t>(info.d[i]);
  if (store) {
    const uint32_t* sources[4];
    for (uint32_t i = 0; i < count; ++i) sources[i] = rows[i];
    m::stmatrix(count, info.transposed, sources, memory);
    for (uint32_t i = 0; i < 8 * count; ++i)
      __builtin_memcpy(reinterpret_cast<void*>(access.at[i]), memory[i], 16);
  } else {
    for (uint32_t i = 0; i < 8 * count; ++i)
      __builtin_memcpy(memory[i], reinterpret_cast<const void*>(access.at[i]), 16);
    m::ldmatrix(count, info.transposed, memory, rows);
  }
  return in + 1;
}

const Instr* movmatrix(Warp& w, const Instr* in) {
  VGPU_WHOLE_WARP(w, in);
  m::movmatrix_trans(w.row<uint32_t>(in->a), w.row<uint32_t>(in->d));
  return in + 1;
}

Element element_of(Type type) {
  switch (type) {
    case Type::kF16:
      return Element::kF16;
    case Type::kBF16:
      return Element::kBf16;
    case Type::kTF32:
      return Element::kTf32;
    case Type::kF32:
      return Element::kF32;
    case Type::kF64:
      return Element::kF64;
    case Type::kE4M3:
      return Element::kE4m3;
    case Type::kE5M2:
      return Element::kE5m2;
    case Type::kE2M1:
      return Element::kE2m1;
    case Type::kE2M3:
      return Element::kE2m3;
    case Type::kE3M2:
      return Element::kE3m2;
    case Type::kS8:
      return Element::kS8;
    case Type::kU8:
      return Element::kU8;
    case Type::kS4:
      return Element::kS4;
    case Type::kU4:
      return Element::kU4;
    case Type::kB1:
      return Element::kB1;
    default:
      return Element::kS32;
  }
}

Handler mma_of(Type a, Type b, const MatrixInfo& info) {
  const Element eb = element_of(b);
  switch (a) {
    case Type::kF16:
      return info.m == 8 ? Handler{mma_884} : Handler{mma_float<Element::kF16>};
    case Type::kBF16:
      return mma_float<Element::kBf16>;
    case Type::kTF32:
      return mma_float<Element::kTf32>;
    case Type::kF64:
      return mma_f64;
    case Type::kE4M3:
    case Type::kE5M2:
    case Type::kE2M1:
    case Type::kE2M3:
    case Type::kE3M2:
      return info.scales != 0 ? Handler{mma_scaled} : Handler{mma_float8};
    case Type::kS8:
      return integer_with<Element::kS8>(eb);
    case Type::kU8:
      return integer_with<Element::kU8>(eb);
    case Type::kS4:
      return integer_with<Element::kS4>(eb);
    case Type::kU4:
      return integer_with<Element::kU4>(eb);
    case Type::kB1:
      return mma_bits;
    default:
      return nullptr;
  }
}
Handler wmma_of(Type a) {
  switch (a) {
    case Type::kF16:
      return wmma_float<Element::kF16>;
    case Type::kBF16:
      return wmma_float<Element::kBf16>;
    case Type::kTF32:
      return wmma_float<Element::kTf32>;
    case Type::kF64:
      return wmma_f64;
    case Type::kS8:
      return wmma_integer<Element::kS8>;
    case Type::kU8:
      return wmma_integer<Element::kU8>;
    case Type::kS4:
      return wmma_integer<Element::kS4>;
    case Type::kU4:
      return wmma_integer<Element::kU4>;
    case Type::kB1:
      return wmma_bits;
    default:
      return nullptr;
  }
}

}  // namespace

Handler matrix(MatrixKind kind, Type a, Type b, MatrixInfo& info) {
  info.element_a = static_cast<uint8_t>(element_of(a));
  info.element_b = static_cast<uint8_t>(element_of(b));
  if (info.k == 64 && info.scales != 0) {  // .kind::mxf4 and its kin: no containers
    info.element_a = info.element_b = static_cast<uint8_t>(Element::kE2m1Packed);
  }
  switch (kind) {
    case MatrixKind::kMma:
      return mma_of(a, b, info);
    case MatrixKind::kWmma:
      return wmma_of(a);
    case MatrixKind::kWmmaLoad:
      return a == Type::kF64 ? Handler{wmma_load<uint64_t>} : Handler{wmma_load<uint32_t>};
    case MatrixKind::kWmmaStore:
      return a == Type::kF64 ? Handler{wmma_store<uint64_t>} : Handler{wmma_store<uint32_t>};
    case MatrixKind::kLoad:
      return matrix_rows<false>;
    case MatrixKind::kStore:
      return matrix_rows<true>;
    case MatrixKind::kMove:
      return movmatrix;
  }
  return nullptr;
}

}  // namespace vgpu::softgpu::ptx::VGPU_LANES
