// PTX texts: the directory of kernels and variables.
#include "fuzz.h"
#include "image_samples.h"

using namespace vgpu::image;

std::vector<fuzz::Input> fuzz::seeds() { return {input_of(std::string_view(samples::kPtx))}; }

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string error;
  identify(fuzz::bytes_of(data, size), error);
  const auto directory = ptx_directory({reinterpret_cast<const char*>(data), size}, error);
  if (!directory) {
    fuzz::require(!error.empty());
    return 0;
  }
  for (const KernelInfo& kernel : directory->kernels) {
    uint64_t end = 0;
    for (const Parameter& one : kernel.parameters) {
      fuzz::require(one.offset >= end);
      end = uint64_t{one.offset} + one.size;
    }
    fuzz::require(end == kernel.parameter_bytes);
  }
  return 0;
}
