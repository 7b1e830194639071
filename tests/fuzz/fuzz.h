// A fuzz target: LLVMFuzzerTestOneInput as libFuzzer defines it, and seeds for the plain driver.
//
// Built with clang and -DVGPU_LIBFUZZER=ON a target is a libFuzzer program, whose --seeds=FOLDER
// writes the seeds as the beginning of a corpus. Otherwise driver.cc mutates the seeds (and files
// named on its command line) with a fixed pseudo-random sequence, so that every run does the same
// and a failure is repeated with --seed and --only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace fuzz {

using Input = std::vector<uint8_t>;

// Defined by each target.
std::vector<Input> seeds();

// Defined by targets whose input is made of words: changes whole ones, in place of bytes.
[[gnu::weak]] Input mutated(const Input& input, const Input& other, uint64_t seed);
// Defined by targets that need more time for a round than others.
[[gnu::weak]] uint64_t default_rounds();

inline Input input_of(std::span<const std::byte> bytes) {
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  return {data, data + bytes.size()};
}
inline Input input_of(std::string_view text) { return {text.begin(), text.end()}; }
inline std::span<const std::byte> bytes_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const std::byte*>(data), size};
}

// A broken promise of the code under test ends the program, as a sanitizer would.
inline void require(bool condition) {
  if (!condition) __builtin_trap();
}

}  // namespace fuzz
