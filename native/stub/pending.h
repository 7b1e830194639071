// Pinned host memory that work in flight will still write: a source there must not be captured
// early.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>

#include "stub/state.h"

namespace vgpu::stub {

// An asynchronous copy into [destination, + size) was appended to the stream as record `number`.
void add_pending_download(Stream& stream, const void* destination, size_t size, uint64_t number);
void host_function_queued();
void host_function_done();

// Waits until nothing in flight can write the source: downloads that overlap it, and, before
// `stream` gets there, host functions. Costs one load when there is neither.
CUresult settle_source(Stream& stream, const void* source, size_t size);

}  // namespace vgpu::stub
