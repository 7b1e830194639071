// Copies between host and device, shared by the copy calls and by mapped host memory.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>

#include "stub/state.h"

namespace vgpu::stub {

// All of the range is device memory that the program may use.
bool writable(uint64_t address, uint64_t size);

// Appends a copy of host bytes, captured now. Ranges have been checked.
CUresult send_to_device(Stream* stream, uint64_t destination, const void* source, size_t size);
// Waits for the bytes.
CUresult fetch_from_device(Stream* stream, void* destination, uint64_t source, size_t size);
// Appends a copy that lands before any later reply says that the stream got there.
CUresult append_from_device(Stream* stream, void* destination, uint64_t source, size_t size);

}  // namespace vgpu::stub
