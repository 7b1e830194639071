// Gives libFuzzer a target's own mutations, for half of its inputs.
#include <algorithm>
#include <cstring>

#include "fuzz.h"

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
