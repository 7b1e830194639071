// What device code printed: it comes ahead of the reply to the call that waits for it, and that
// call's thread prints it, as the driver does in a program that has a GPU.
#pragma once

#include <cstdint>
#include <string_view>

namespace vgpu::stub {

// Transport thread: text for a standard stream, 1 or 2.
void keep_output(uint32_t stream, std::string_view text);
// Prints what has come. Costs one load when there is nothing.
void print_output();

}  // namespace vgpu::stub
