// Gives libFuzzer a target's own seeds and, for half of its inputs, its own mutations.
//
//   fuzz_fatbin --seeds=FOLDER    writes the seeds into a corpus and ends
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "fuzz.h"

namespace {

void write_seeds(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  size_t number = 0;
  for (const fuzz::Input& seed : fuzz::seeds()) {
    std::ofstream file(folder / ("seed-" + std::to_string(number++)), std::ios::binary);
    file.write(reinterpret_cast<const char*>(seed.data()),
               static_cast<std::streamsize>(seed.size()));
    file.close();
    fuzz::require(file.good());
  }
}

}  // namespace

// Called before libFuzzer looks at its flags.
extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  constexpr std::string_view kFlag = "--seeds=";
  for (int i = 1; i < *argc; ++i) {
    const std::string_view argument = (*argv)[i];
    if (!argument.starts_with(kFlag)) continue;
    write_seeds(argument.substr(kFlag.size()));
    std::exit(0);
  }
  return 0;
}

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  if (fuzz::mutated == nullptr || seed % 2 == 0) return LLVMFuzzerMutate(data, size, most);
  const fuzz::Input input(data, data + size);
  static const std::vector<fuzz::Input> seeds = fuzz::seeds();
  const fuzz::Input result = fuzz::mutated(input, seeds[seed / 2 % seeds.size()], seed);
  const size_t length = std::min(result.size(), most);
  if (length != 0) std::memcpy(data, result.data(), length);
  return length;
}
