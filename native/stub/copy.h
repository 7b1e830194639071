// Copies between host and device, shared by the copy calls and by mapped host memory.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "stub/state.h"
#include "wire/calls.h"

namespace vgpu::stub {

// A row-wise view of host memory.
struct HostRows {
  std::byte* base = nullptr;
  size_t pitch = 0;
  size_t height = 0;  // rows per slice
  [[nodiscard]] std::byte* row(size_t y, size_t z) const { return base + (z * height + y) * pitch; }
};

// The host side of a copy.
struct HostBox {
  HostRows rows;
  size_t width = 0;  // bytes
  size_t height = 0, depth = 0;
  [[nodiscard]] size_t bytes() const { return width * height * depth; }
  // From the first byte that is touched to the last.
  [[nodiscard]] size_t span() const {
    return static_cast<size_t>(rows.row(height - 1, depth - 1) - rows.row(0, 0)) + width;
  }
  [[nodiscard]] bool contiguous() const { return span() == bytes(); }
};
std::vector<std::byte> gather(const HostBox& box);
void scatter(const HostBox& box, const std::byte* packed);

// A copy of a graph as it travels; a host side becomes a host entry.
CUresult describe_graph_copy(const CUDA_MEMCPY3D& copy, wire::Copy3d& wire);

// All of the range is device memory that the program may use.
bool writable(uint64_t address, uint64_t size);

// Appends a copy of host bytes, captured now. Ranges have been checked.
CUresult send_to_device(Stream* stream, uint64_t destination, const void* source, size_t size);
// Waits for the bytes.
CUresult fetch_from_device(Stream* stream, void* destination, uint64_t source, size_t size);
// Appends a copy that lands before any later reply says that the stream got there.
CUresult append_from_device(Stream* stream, void* destination, uint64_t source, size_t size);

}  // namespace vgpu::stub
