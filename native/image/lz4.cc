// LZ4 block format: sequences of (token, literals, offset, match).
#include <algorithm>

#include "image/bytes.h"
#include "image/decompress.h"

namespace vgpu::image {
namespace {

constexpr uint64_t kMinMatch = 4;
// A block expands at most 255 times; what claims more is damaged.
constexpr uint64_t kMaxRatio = 256;

struct Decoder {
  const uint8_t* in;
  const uint8_t* in_end;
  uint8_t* out;
  uint8_t* out_begin;
  uint8_t* out_end;

  // The 4-bit length of the token, extended by bytes of 255 and a last one.
  bool length(uint64_t& value) {
    if (value != 15) return true;
    uint8_t more = 0;
    do {
      if (in == in_end) return false;
      more = *in++;
      value += more;
    } while (more == 255);
    return true;
  }

  bool literals(uint64_t count) {
    if (count > static_cast<uint64_t>(in_end - in) ||
        count > static_cast<uint64_t>(out_end - out)) {
      return false;
    }
    if (count != 0) std::memcpy(out, in, count);
    in += count;
    out += count;
    return true;
  }

  bool match(uint64_t distance, uint64_t count) {
    if (distance == 0 || distance > static_cast<uint64_t>(out - out_begin) ||
        count > static_cast<uint64_t>(out_end - out)) {
      return false;
    }
    const uint8_t* from = out - distance;
    if (distance >= count) {
      std::memcpy(out, from, count);
    } else {
      for (uint64_t i = 0; i < count; ++i) out[i] = from[i];
    }
    out += count;
    return true;
  }

  bool run() {
    while (in != in_end) {
      const uint8_t token = *in++;
      uint64_t count = token >> 4;
      if (!length(count) || !literals(count)) return false;
      if (in == in_end) break;  // the last sequence has literals only
      if (in_end - in < 2) return false;
      const uint64_t distance = in[0] | (in[1] << 8);
      in += 2;
      count = token & 15;
      if (!length(count) || !match(distance, count + kMinMatch)) return false;
    }
    return out == out_end;
  }
};

}  // namespace

std::optional<std::vector<std::byte>> decompress_lz4(std::span<const std::byte> input,
                                                     uint64_t size, std::string& error) {
  if (size > input.size() * kMaxRatio) {
    error = "LZ4: the content cannot be as large as claimed";
    return std::nullopt;
  }
  std::vector<std::byte> output(size);
  auto* in = reinterpret_cast<const uint8_t*>(input.data());
  auto* out = reinterpret_cast<uint8_t*>(output.data());
  Decoder decoder{in, in + input.size(), out, out, out + size};
  if (!decoder.run()) {
    error = "LZ4: the block is damaged";
    return std::nullopt;
  }
  return output;
}

}  // namespace vgpu::image
