// What CUDA runtimes keep with a context: (context, key) -> value with a destructor. `get` is the
// most frequent of all export-table calls (one per launch, three per copy), so it takes no lock on
// a hit.
#pragma once

#include <cuda.h>

namespace vgpu::contract {

using StorageDestructor = void (*)(CUcontext context, void* key, void* value);

void storage_put(CUcontext context, void* key, void* value, StorageDestructor destructor);
bool storage_erase(CUcontext context, void* key);
bool storage_get(void** value, CUcontext context, void* key);
// Forgets what belongs to `context`, then runs the destructors.
void storage_drop(CUcontext context);

}  // namespace vgpu::contract
