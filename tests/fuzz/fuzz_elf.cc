// Cubins and archives: the fat binaries in a library, the directory of kernels and variables.
#include "fuzz.h"
#include "image_samples.h"

using namespace vgpu::image;

std::vector<fuzz::Input> fuzz::seeds() {
  return {input_of(samples::make_cubin()), input_of(samples::make_archive())};
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string error;
  identify(fuzz::bytes_of(data, size), error);
  if (const auto fatbins = library_fatbins(fuzz::bytes_of(data, size), error)) {
    fuzz::require(fatbins->size() <= size / 16);
  }
  error.clear();
  const auto directory = elf_directory(fuzz::bytes_of(data, size), error);
  if (!directory) {
    fuzz::require(!error.empty());
    return 0;
  }
  size_t bytes = 0;
  for (const KernelInfo& kernel : directory->kernels) {
    bytes += kernel.name.size() + kernel.parameters.size() * sizeof(Parameter);
  }
  for (const GlobalInfo& global : directory->globals) bytes += global.name.size();
  fuzz::require(bytes <= 32 * size + (2 << 20));
  return 0;
}
