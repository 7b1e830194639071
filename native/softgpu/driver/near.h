// What a stray address is near to, in words, for the report of a fault.
#pragma once

#include <cstdint>
#include <string>

namespace vgpu::softgpu {

struct Device;

// "4 bytes past the end of an allocation of 400 bytes at 0x7f..., made by cuMemAlloc" or "inside an
// allocation of 400 bytes at 0x7f... that was freed".
std::string explain_address(const Device& device, uint64_t address, uint64_t bytes, bool write);

}  // namespace vgpu::softgpu
