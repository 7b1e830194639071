// The executor inside the client's process: C functions that libvgpu-embedded.so exports and the
// stub finds with dlsym. Used for VGPU_WORKER=inproc:///absolute/path/of/libcuda.so.1, where one
// process plays both sides at the two ends of transport::make_inproc_pair().
//
// The channel is a C++ object that crosses the library boundary: both sides are built from the same
// tree by the same compiler, and only virtual functions are called on it.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VGPU_EMBEDDED_VERSION 1

typedef struct VgpuEmbeddedSession VgpuEmbeddedSession;

// Opens the driver library once per process and describes it. `*attached` becomes a msgpack map
// with exactly the fields of the worker's `attached` message (protocol/README.md), so that the stub
// has one parser; `session` is 16 zero bytes. Returns 0; or 1, and `*error` is a sentence for the
// user. Free what comes back with vgpu_embedded_free().
int vgpu_embedded_attach(const char* driver_path, uint8_t** attached, uint64_t* attached_size,
                         char** error);

typedef struct VgpuEmbeddedOptions {
  uint32_t size;            // sizeof(VgpuEmbeddedOptions)
  const char* driver_path;  // absolute
  const uint8_t* token;     // 16 bytes: what the client link will say in its HELLO
  void* channel;  // vgpu::transport::Channel*, the server's end; ownership passes, even on failure
  uint64_t vram_limit;  // bytes per device, 0 for none
} VgpuEmbeddedOptions;

// Starts the executor on a thread of its own (all signals blocked) and returns at once. Returns 0;
// or 1, and `*error` is a sentence.
int vgpu_embedded_start(const VgpuEmbeddedOptions* options, VgpuEmbeddedSession** session,
                        char** error);

// Ends the session and waits for its thread for at most `deadline_ms`; after that the thread is
// left alone. The session is gone in either case.
void vgpu_embedded_stop(VgpuEmbeddedSession* session, int deadline_ms);

void vgpu_embedded_free(void* memory);

#ifdef __cplusplus
}
#endif
