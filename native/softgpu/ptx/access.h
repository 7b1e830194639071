// Turning the addresses of an access into host pointers when the quick check did not do.
#pragma once

#include "softgpu/ptx/warp.h"

namespace vgpu::softgpu::ptx {

// `at` holds PTX addresses of all lanes (lanes that do not run hold a copy of one that does) and
// gets host pointers. False after a fault.
bool resolve_slowly(Warp& w, const Instr* in, Space space, uint64_t* at, uint32_t bytes,
                    bool write);

// One address of one lane; 0 after a fault.
uint64_t checked_address(Warp& w, const Instr* in, Space space, int lane, uint64_t address,
                         uint32_t bytes, bool write);

}  // namespace vgpu::softgpu::ptx
