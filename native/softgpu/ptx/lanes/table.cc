// This instruction set's table.
#include "softgpu/ptx/lanes/lanes.h"

#define VGPU_TEXT_OF(x) #x
#define VGPU_NAME_OF(x) VGPU_TEXT_OF(x)

namespace vgpu::softgpu::ptx::VGPU_LANES {

Handler integer(Op op, Type type, uint32_t mods);
Handler floating(Op op, Type type, uint32_t mods);
Handler compare(Compare compare, Type type, uint32_t mods);
Handler convert(Type to, Type from, uint32_t mods);
Handler resize(uint32_t to_bytes, uint32_t from_bytes, bool is_signed);
Handler broadcast(uint32_t bytes);
Handler pieces(uint32_t whole_bytes, uint32_t piece_bytes, bool apart);
Handler load_from(Space space, uint32_t bytes, uint32_t count);
Handler store_to(Space space, uint32_t bytes, uint32_t count);
Handler half_arithmetic(Op op, Type type, uint32_t mods);
Handler half_compare(Type type);
Handler convert_half(Type to, Type from, uint32_t mods);
Handler atomic(Space space, Atomic op, Type type);
Handler matrix(MatrixKind kind, Type a, Type b, MatrixInfo& info);
Handler async(AsyncKind kind);
Handler exchange(Exchange kind, uint32_t bytes);
void spread(const Warp& w, uint32_t operand, uint64_t value, uint32_t bytes);
void count_from(const Warp& w, uint32_t operand, uint32_t first);

namespace {

Handler arithmetic(Op op, Type type, uint32_t mods) {
  if (const Handler handler = floating(op, type, mods)) return handler;
  if (const Handler handler = half_arithmetic(op, type, mods)) return handler;
  return integer(op, type, mods);
}

Handler any_compare(Compare how, Type type, uint32_t mods) {
  const Handler handler = half_compare(type);
  return handler != nullptr ? handler : compare(how, type, mods);
}

void widen(uint32_t mask, uint32_t* lanes) { widen_mask(mask, lanes); }

Handler any_convert(Type to, Type from, uint32_t mods) {
  const Handler handler = convert_half(to, from, mods);
  return handler != nullptr ? handler : convert(to, from, mods);
}

}  // namespace

extern const Isa kTable;
const Isa kTable = {VGPU_NAME_OF(VGPU_LANES),
                    arithmetic,
                    any_compare,
                    any_convert,
                    resize,
                    broadcast,
                    pieces,
                    load_from,
                    store_to,
                    exchange,
                    atomic,
                    matrix,
                    async,
                    widen,
                    spread,
                    count_from};

}  // namespace vgpu::softgpu::ptx::VGPU_LANES
