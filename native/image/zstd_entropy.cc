#include "image/zstd_entropy.h"

#include <algorithm>

namespace vgpu::image::zstd {
namespace {

constexpr int kMaxWeightLog = 6;
constexpr int kMaxWeights = 255;  // the last of 256 symbols is implied

// Reads from the first bit to the last; past the end `failed` sticks.
struct ForwardBits {
  Input bytes;
  size_t position = 0;
  bool failed = false;

  uint32_t read(int count) {
    uint32_t value = 0;
    for (int i = 0; i < count; ++i, ++position) {
      if (position >= bytes.size() * 8) {
        failed = true;
        return 0;
      }
      value |= ((bytes[position >> 3] >> (position & 7)) & 1u) << i;
    }
    return value;
  }
  [[nodiscard]] size_t bytes_used() const { return (position + 7) / 8; }
};

// One probability, in as few bits as the number of values still possible allows.
int read_probability(ForwardBits& bits, int remaining) {
  const int width = high_bit(static_cast<uint32_t>(remaining + 1)) + 1;
  const uint32_t low_mask = (1u << (width - 1)) - 1;
  const uint32_t short_codes = (1u << width) - 2 - static_cast<uint32_t>(remaining);
  uint32_t value = bits.read(width - 1);
  if (value < short_codes) return static_cast<int>(value) - 1;
  value |= bits.read(1) << (width - 1);
  if (value > low_mask) value -= short_codes;
  return static_cast<int>(value) - 1;
}

// Two interleaved states, until the stream is exhausted.
bool decode_weights(const FseTable& table, Input stream, std::array<uint8_t, 256>& weights,
                    int& count) {
  BackwardBits bits;
  if (!bits.open(stream)) return false;
  std::array<uint64_t, 2> state{bits.read(table.log), bits.read(table.log)};
  if (bits.left() < 0) return false;
  for (int turn = 0;; turn ^= 1) {
    if (count >= kMaxWeights) return false;
    const FseEntry entry = table.entries[state[turn]];
    weights[count++] = entry.symbol;
    state[turn] = entry.baseline + bits.read(entry.bits);
    if (bits.left() < 0) {
      if (count >= kMaxWeights) return false;
      weights[count++] = table.entries[state[turn ^ 1]].symbol;
      return true;
    }
  }
}

constexpr uint64_t kPrime1 = 0x9E3779B185EBCA87;
constexpr uint64_t kPrime2 = 0xC2B2AE3D27D4EB4F;
constexpr uint64_t kPrime3 = 0x165667B19E3779F9;
constexpr uint64_t kPrime4 = 0x85EBCA77C2B2AE63;
constexpr uint64_t kPrime5 = 0x27D4EB2F165667C5;

uint64_t round_of(uint64_t lane, uint64_t input) {
  return std::rotl(lane + input * kPrime2, 31) * kPrime1;
}

template <typename T>
T next(const uint8_t*& at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  at += sizeof(T);
  return value;
}

}  // namespace

void FseTable::set_repeated(uint8_t symbol) {
  log = 0;
  entries[0] = {symbol, 0, 0};
  valid = true;
}

bool FseTable::build(std::span<const int16_t> counts, int log_size) {
  valid = false;
  log = log_size;
  const uint32_t size = 1u << log;
  uint32_t high = size;
  std::array<uint16_t, 256> next_state{};
  for (size_t s = 0; s < counts.size(); ++s) {
    if (counts[s] != -1) continue;
    if (high == 0) return false;
    entries[--high].symbol = static_cast<uint8_t>(s);
    next_state[s] = 1;
  }
  const uint32_t step = (size >> 1) + (size >> 3) + 3;
  uint32_t position = 0, placed = size - high;
  for (size_t s = 0; s < counts.size(); ++s) {
    if (counts[s] <= 0) continue;
    placed += static_cast<uint32_t>(counts[s]);
    if (placed > size) return false;
    next_state[s] = static_cast<uint16_t>(counts[s]);
    for (int i = 0; i < counts[s]; ++i) {
      entries[position].symbol = static_cast<uint8_t>(s);
      do {
        position = (position + step) & (size - 1);
      } while (position >= high && high != 0);
    }
  }
  if (placed != size || position != 0) return false;
  for (uint32_t i = 0; i < size; ++i) {
    const uint32_t state = next_state[entries[i].symbol]++;
    entries[i].bits = static_cast<uint8_t>(log - high_bit(state));
    entries[i].baseline = static_cast<uint16_t>((state << entries[i].bits) - size);
  }
  valid = true;
  return true;
}

bool FseTable::read(Input& input, int max_log, int max_symbol) {
  ForwardBits bits{input};
  const int log_size = static_cast<int>(bits.read(4)) + 5;
  if (bits.failed || log_size > max_log) return false;
  std::array<int16_t, 256> counts{};
  int remaining = 1 << log_size, symbol = 0;
  while (remaining > 0) {
    if (symbol > max_symbol) return false;
    const int probability = read_probability(bits, remaining);
    remaining -= probability < 0 ? 1 : probability;
    counts[symbol++] = static_cast<int16_t>(probability);
    if (probability != 0) continue;
    uint32_t zeros = 3;
    while (zeros == 3) {
      zeros = bits.read(2);
      symbol += static_cast<int>(zeros);
      if (symbol > max_symbol + 1 || bits.failed) return false;
    }
  }
  if (bits.failed || remaining != 0) return false;
  input = input.subspan(bits.bytes_used());
  return build(std::span(counts).first(symbol), log_size);
}

bool HuffmanTable::read(Input& input) {
  valid = false;
  if (input.empty()) return false;
  const size_t header = input[0];
  std::array<uint8_t, 256> weights{};
  int count = 0;
  if (header >= 128) {
    count = static_cast<int>(header) - 127;
    const size_t size = (static_cast<size_t>(count) + 1) / 2;
    if (input.size() < 1 + size) return false;
    for (int i = 0; i < count; ++i) {
      const uint8_t pair = input[1 + i / 2];
      weights[i] = i % 2 == 0 ? pair >> 4 : pair & 15;
    }
    input = input.subspan(1 + size);
  } else {
    if (input.size() < 1 + header) return false;
    Input description = input.subspan(1, header);
    FseTable table;
    if (!table.read(description, kMaxWeightLog, kMaxHuffmanBits + 1)) return false;
    if (!decode_weights(table, description, weights, count)) return false;
    input = input.subspan(1 + header);
  }
  return build(std::span(weights).first(count + 1));
}

// The last weight is implied: it fills the code space up to a power of two.
bool HuffmanTable::build(std::span<const uint8_t> given) {
  std::array<uint8_t, 256> weights{};
  std::copy(given.begin(), given.end(), weights.begin());
  uint32_t sum = 0;
  for (size_t i = 0; i + 1 < given.size(); ++i) {
    if (weights[i] > kMaxHuffmanBits) return false;
    if (weights[i] != 0) sum += 1u << (weights[i] - 1);
  }
  if (sum == 0) return false;
  bits = high_bit(sum) + 1;
  if (bits > kMaxHuffmanBits) return false;
  const uint32_t rest = (1u << bits) - sum;
  if (!std::has_single_bit(rest)) return false;
  weights[given.size() - 1] = static_cast<uint8_t>(high_bit(rest) + 1);
  uint32_t position = 0;
  for (int weight = 1; weight <= bits; ++weight) {
    for (size_t s = 0; s < given.size(); ++s) {
      if (weights[s] != weight) continue;
      const uint32_t span = 1u << (weight - 1);
      const HuffmanEntry entry{static_cast<uint8_t>(s), static_cast<uint8_t>(bits + 1 - weight)};
      std::fill_n(entries.begin() + position, span, entry);
      position += span;
    }
  }
  valid = position == 1u << bits;
  return valid;
}

bool HuffmanTable::decode(Input stream, std::span<uint8_t> output) const {
  BackwardBits reader;
  if (!reader.open(stream)) return false;
  const unsigned width = static_cast<unsigned>(bits);
  size_t at = 0;
  // Four symbols from one load: 4 * 11 bits fit into 56.
  while (at + 4 <= output.size() && reader.left() >= 56) {
    uint64_t window = reader.peek(56) << 8;
    unsigned used = 0;
    for (int i = 0; i < 4; ++i) {
      const HuffmanEntry entry = entries[window >> (64 - width)];
      window <<= entry.bits;
      used += entry.bits;
      output[at++] = entry.symbol;
    }
    reader.skip(used);
  }
  while (at < output.size()) {
    const HuffmanEntry entry = entries[reader.peek(width)];
    reader.skip(entry.bits);
    output[at++] = entry.symbol;
  }
  return reader.left() == 0;
}

uint64_t xxhash64(Input bytes) {
  const uint8_t* at = bytes.data();
  const uint8_t* const end = at + bytes.size();
  uint64_t hash = kPrime5;
  if (bytes.size() >= 32) {
    std::array<uint64_t, 4> lanes{kPrime1 + kPrime2, kPrime2, 0, -kPrime1};
    while (end - at >= 32) {
      for (auto& lane : lanes) lane = round_of(lane, next<uint64_t>(at));
    }
    hash = std::rotl(lanes[0], 1) + std::rotl(lanes[1], 7) + std::rotl(lanes[2], 12) +
           std::rotl(lanes[3], 18);
    for (const auto lane : lanes) hash = (hash ^ round_of(0, lane)) * kPrime1 + kPrime4;
  }
  hash += bytes.size();
  while (end - at >= 8) {
    hash = std::rotl(hash ^ round_of(0, next<uint64_t>(at)), 27) * kPrime1 + kPrime4;
  }
  if (end - at >= 4) {
    hash = std::rotl(hash ^ next<uint32_t>(at) * kPrime1, 23) * kPrime2 + kPrime3;
  }
  while (at != end) hash = std::rotl(hash ^ *at++ * kPrime5, 11) * kPrime1;
  hash = (hash ^ (hash >> 33)) * kPrime2;
  hash = (hash ^ (hash >> 29)) * kPrime3;
  return hash ^ (hash >> 32);
}

}  // namespace vgpu::image::zstd
