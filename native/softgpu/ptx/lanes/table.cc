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
Handler load_from(Space space, uint32_t bytes, uint32_t count);
Handler store_to(Space space, uint32_t bytes, uint32_t count);
Handler exchange(Exchange kind, uint32_t bytes);

namespace {

Handler arithmetic(Op op, Type type, uint32_t mods) {
  if (const Handler handler = floating(op, type, mods)) return handler;
  return integer(op, type, mods);
}

}  // namespace

extern const Isa kTable;
const Isa kTable = {VGPU_NAME_OF(VGPU_LANES), arithmetic, compare, convert, resize, broadcast,
                    load_from, store_to, exchange};

}  // namespace vgpu::softgpu::ptx::VGPU_LANES
