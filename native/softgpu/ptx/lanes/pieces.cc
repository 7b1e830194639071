// mov between a register and the pieces of a vector (PTX ISA section 9.7.9.3): pieces lie from the
// lowest byte up. 128 bits are two rows of 64.
#include "softgpu/ptx/lanes/lanes.h"

namespace vgpu::softgpu::ptx::VGPU_LANES {
namespace {

constexpr uint32_t kHalfRow = sizeof(uint64_t) * kLanes;

template <class R, class F>
VGPU_INLINE void put(const Warp& w, R* d, F&& value) {
  if (w.full) {
    VGPU_EACH_LANE d[i] = value(i);
  } else {
    VGPU_EACH_LANE {
      const R r = value(i);
      d[i] = w.lanes[i] != 0 ? r : d[i];
    }
  }
}

// list: the pieces; Whole: a register, or each half of one of 128 bits.
template <class Whole, class Piece, uint32_t halves>
const Instr* take_apart(Warp& w, const Instr* in) {
  constexpr uint32_t kPieces = sizeof(Whole) / sizeof(Piece);
  alignas(64) Whole whole[halves][kLanes];  // a piece may go to the register itself
  for (uint32_t half = 0; half < halves; ++half) {
    const Whole* a = w.row<Whole>(in->a + half * kHalfRow);
    VGPU_EACH_LANE whole[half][i] = a[i];
  }
  for (uint32_t k = 0; k < halves * kPieces; ++k) {
    const uint32_t shift = k % kPieces * sizeof(Piece) * 8;
    put(w, w.row<Row<Piece>>(in->list[k]),
        [&](int i) -> Row<Piece> { return static_cast<Piece>(whole[k / kPieces][i] >> shift); });
  }
  return in + 1;
}

template <class Whole, class Piece, uint32_t halves>
const Instr* put_together(Warp& w, const Instr* in) {
  constexpr uint32_t kPieces = sizeof(Whole) / sizeof(Piece);
  alignas(64) Whole whole[halves][kLanes] = {};
  for (uint32_t k = 0; k < halves * kPieces; ++k) {
    const uint32_t shift = k % kPieces * sizeof(Piece) * 8;
    const Row<Piece>* a = w.row<Row<Piece>>(in->list[k]);
    Whole* to = whole[k / kPieces];
    VGPU_EACH_LANE to[i] =
        static_cast<Whole>(to[i] | static_cast<Whole>(static_cast<Piece>(a[i])) << shift);
  }
  for (uint32_t half = 0; half < halves; ++half) {
    put(w, w.row<Whole>(in->d + half * kHalfRow), [&](int i) { return whole[half][i]; });
  }
  return in + 1;
}

template <class Whole, class Piece, uint32_t halves>
Handler either(bool apart) {
  return apart ? take_apart<Whole, Piece, halves> : put_together<Whole, Piece, halves>;
}

template <class Whole, uint32_t halves>
Handler of_piece(uint32_t bytes, bool apart) {
  if (bytes == 1) return either<Whole, uint8_t, halves>(apart);
  if constexpr (sizeof(Whole) > 2) {
    if (bytes == 2) return either<Whole, uint16_t, halves>(apart);
  }
  if constexpr (sizeof(Whole) > 4) {
    if (bytes == 4) return either<Whole, uint32_t, halves>(apart);
  }
  if constexpr (halves > 1) {
    if (bytes == 8) return either<Whole, uint64_t, halves>(apart);
  }
  return nullptr;
}

}  // namespace

Handler pieces(uint32_t whole_bytes, uint32_t piece_bytes, bool apart) {
  switch (whole_bytes) {
    case 2:
      return of_piece<uint16_t, 1>(piece_bytes, apart);
    case 4:
      return of_piece<uint32_t, 1>(piece_bytes, apart);
    case 8:
      return of_piece<uint64_t, 1>(piece_bytes, apart);
    case 16:
      return of_piece<uint64_t, 2>(piece_bytes, apart);
    default:
      return nullptr;
  }
}

}  // namespace vgpu::softgpu::ptx::VGPU_LANES
