// Kernel launches: validation at the call, execution on the stream.
#pragma once

#include "softgpu/driver/module.h"
#include "softgpu/driver/operation.h"

namespace vgpu::softgpu {

struct Device;

// Checks dimensions, shared memory and cluster against device and function, as the call must.
CUresult check_launch(const KernelOperation& kernel, const Device& device);
// Packs kernelParams or extra.
CUresult pack_parameters(const Function& function, void** parameters, void** extra,
                         std::vector<std::byte>& packed);
// Takes what launch attributes say into the operation.
CUresult apply_attributes(KernelOperation& kernel, const CUlaunchAttribute* attributes,
                          unsigned count);
void run_kernel(const KernelOperation& kernel, Context& context);
// Decodes the kernel, once. CUDA_ERROR_INVALID_PTX, with a log line that names the instruction,
// when the interpreter cannot execute it.
CUresult prepare_kernel(const Code& code, size_t index);
CUresult prepare_kernel(const Function& function);
CUresult unsupported_attribute(CUlaunchAttributeID attribute);
// Threads of a block that the kernel allows: .reqntid, .maxntid or the device's limit.
unsigned max_threads(const ptx::Kernel& kernel);
// Bytes of dynamic shared memory that a launch may ask for.
unsigned dynamic_shared_limit(const Function& function);

}  // namespace vgpu::softgpu
