// Stream capture as the client sees it: which streams are in one, and what must not be called
// meanwhile. The executor's captures are all relaxed; the modes are enforced here, per thread.
#pragma once

#include <cuda.h>

#include "stub/state.h"

namespace vgpu::stub {

// For calls that CUDA calls potentially unsafe (allocations, queries, synchronizes):
// CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, and the capture invalidated, when the mode of a capture in
// progress and the thread's own mode forbid them.
CUresult check_capture_unsafe();
// What the legacy stream is named for: work ends the captures that forbid it, a question does not.
enum class LegacyUse { kWork, kQuestion };
// The legacy stream must not depend on a blocking stream that captures.
CUresult check_capture_implicit(const Stream& stream, LegacyUse use = LegacyUse::kWork);
// For calls that may not name a capturing stream at all; invalidates its capture.
CUresult check_not_capturing(const Stream& stream);

Capture* begin_capture(Stream& stream, CUstreamCaptureMode mode);
void join_capture(Capture& capture, Stream& stream);
void end_capture(Capture& capture);

}  // namespace vgpu::stub
