// Bounded decoders of the two compressions that fat binaries use. Each succeeds only if the content
// is exactly `size` bytes. Output grows with what has really been decoded, so that a size that lies
// costs no memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace vgpu::image {

// LZ4 block format, without a frame.
std::optional<std::vector<std::byte>> decompress_lz4(std::span<const std::byte> input,
                                                     uint64_t size, std::string& error);
// Zstandard frames (RFC 8878), skippable frames included, without dictionaries. A content checksum
// is verified.
std::optional<std::vector<std::byte>> decompress_zstd(std::span<const std::byte> input,
                                                      uint64_t size, std::string& error);

}  // namespace vgpu::image
