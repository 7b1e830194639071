// Connects native/contract (export tables, self-test) with this library.
#pragma once

namespace vgpu::stub {

// Idempotent; before the first cuGetExportTable.
void install_contract();

}  // namespace vgpu::stub
