// The entropy stage of Zstandard: bit streams, finite state entropy tables, Huffman tables
// (RFC 8878, sections 4.1 and 4.2).
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace vgpu::image::zstd {

using Input = std::span<const uint8_t>;

inline int high_bit(uint32_t value) { return 31 - std::countl_zero(value); }

// Reads from the last bit of a byte range to its first. Reading past the start gives zeros and
// makes `left()` negative; callers check that once, at the end.
class BackwardBits {
 public:
  // False if the range has no end mark (its last byte is zero) or is empty.
  bool open(Input bytes) {
    bytes_ = bytes;
    if (bytes.empty() || bytes.back() == 0) return false;
    left_ = static_cast<int64_t>(bytes.size()) * 8 - 8 + high_bit(bytes.back());
    return true;
  }
  [[nodiscard]] int64_t left() const { return left_; }

  // `count` is 56 at most.
  [[nodiscard]] uint64_t peek(unsigned count) const {
    if (count == 0) return 0;
    const int64_t from = left_ - static_cast<int64_t>(count);
    const uint64_t mask = (uint64_t{1} << count) - 1;
    if (from >= 0) return (word(static_cast<size_t>(from >> 3)) >> (from & 7)) & mask;
    if (from <= -64 || left_ <= 0) return 0;
    return (word(0) << -from) & mask;
  }
  void skip(unsigned count) { left_ -= count; }
  uint64_t read(unsigned count) {
    const uint64_t value = peek(count);
    left_ -= count;
    return value;
  }

 private:
  [[nodiscard]] uint64_t word(size_t at) const {
    uint64_t value = 0;
    if (at + 8 <= bytes_.size()) [[likely]] {
      std::memcpy(&value, bytes_.data() + at, 8);
    } else {
      std::memcpy(&value, bytes_.data() + at, bytes_.size() - at);
    }
    return value;
  }

  Input bytes_;
  int64_t left_ = 0;
};

inline constexpr int kMaxFseLog = 9;

struct FseEntry {
  uint8_t symbol;
  uint8_t bits;
  uint16_t baseline;
};

// A decoding table; `log` 0 with one entry stands for a stream of one repeated symbol.
struct FseTable {
  std::array<FseEntry, 1 << kMaxFseLog> entries{};
  int log = 0;
  bool valid = false;

  void set_repeated(uint8_t symbol);
  // `counts` are normalised to 1 << log; -1 is "less than one". False if they do not add up.
  bool build(std::span<const int16_t> counts, int log_size);
  // Reads a table description; on success `input` starts behind it.
  bool read(Input& input, int max_log, int max_symbol);
};

inline constexpr int kMaxHuffmanBits = 11;

struct HuffmanEntry {
  uint8_t symbol;
  uint8_t bits;
};

struct HuffmanTable {
  std::array<HuffmanEntry, 1 << kMaxHuffmanBits> entries{};
  int bits = 0;
  bool valid = false;

  // Reads a tree description; on success `input` starts behind it.
  bool read(Input& input);
  // Decodes one stream into exactly `output`.
  bool decode(Input stream, std::span<uint8_t> output) const;

 private:
  bool build(std::span<const uint8_t> weights);
};

// XXH64 with seed 0, whose low half is a frame's checksum.
uint64_t xxhash64(Input bytes);

}  // namespace vgpu::image::zstd
