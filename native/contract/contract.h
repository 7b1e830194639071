// The private contracts between the CUDA runtime and a driver library, shared by the stub and the
// software GPU: export tables and the start-up self-test. Everything is answered in the process.
// Source: measured behaviour of cudart 11.8 to 13.5 (docs/export_tables.md).
#pragma once

#include <cuda.h>

#include <array>
#include <cstdint>
#include <vector>

namespace vgpu::contract {

struct DeviceIdentity {
  std::array<uint8_t, 16> uuid{};
  int32_t pci_domain = 0;
  int32_t pci_bus = 0;
  int32_t pci_device = 0;
};

// What a driver library supplies; installed once, before the first cuGetExportTable. Plain function
// pointers: no global constructors.
struct Driver {
  int (*driver_version)();
  // All devices in ordinal order, as the API reports them.
  std::vector<DeviceIdentity> (*devices)();
  // The handle that cuDevicePrimaryCtxRetain returns; does not activate the context.
  CUresult (*primary_context)(CUcontext* context, CUdevice device);
  CUcontext (*current_context)();
  CUresult (*context_device)(CUcontext context, CUdevice* device);
  CUresult (*context_id)(CUcontext context, uint64_t* id);  // the value of cuCtxGetId
  // Calls `visit` for each function of the module.
  CUresult (*visit_functions)(CUmodule module, void (*visit)(void* user, CUfunction), void* user);
  CUresult (*module_load)(CUmodule* module, const void* image);
  CUresult (*module_unload)(CUmodule module);
  void (*log_missing_slot)(const char* table, int slot);  // once per slot
};
void install(const Driver& driver);

// cuGetExportTable. Unknown tables: CUDA_ERROR_INVALID_VALUE and *table = nullptr.
CUresult export_table(const void** table, const CUuuid* id);

// Runs the destructors of what runtimes stored with a context, and forgets it: at
// cuDevicePrimaryCtxReset, the last release, and cuCtxDestroy.
void context_destroyed(CUcontext context);

}  // namespace vgpu::contract
