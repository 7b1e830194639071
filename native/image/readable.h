// Whether memory can be read, without reading it: image pointers come without a length, and a
// damaged header must not end the process.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vgpu::image {

// Asks the system, page by page; true when it does not answer such questions.
bool readable(const std::byte* from, uint64_t size);

}  // namespace vgpu::image
