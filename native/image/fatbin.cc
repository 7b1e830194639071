// The entries of a fat binary and their content.
#include <algorithm>

#include "image/bytes.h"
#include "image/decompress.h"
#include "image/format.h"
#include "image/image.h"

namespace vgpu::image {
namespace {

// The largest real entry is a 34 MB PTX text; this bounds what a damaged size can make us allocate.
constexpr uint64_t kMaxContent = uint64_t{1} << 30;

char variant_of(uint64_t flags) {
  if (flags & kFlagArchitectureSpecific) return 'a';
  if (flags & kFlagFamilySpecific) return 'f';
  return 0;
}

// Trusts nothing: `header` may be shorter than the fields below.
std::optional<Entry> entry_at(Bytes payload, uint64_t offset, std::string& error) {
  if (!holds(payload, offset, sizeof(EntryHeader))) {
    error = "fat binary: an entry header is cut off";
    return std::nullopt;
  }
  const auto header = load<EntryHeader>(payload, offset);
  if (header.header_size < sizeof(EntryHeader) || !holds(payload, offset, header.header_size) ||
      !holds(payload, offset + header.header_size, header.stored_size)) {
    error = "fat binary: an entry leaves the fat binary";
    return std::nullopt;
  }
  if (header.compressed_size > header.stored_size) {
    error = "fat binary: an entry's compressed size is larger than its stored size";
    return std::nullopt;
  }
  Entry entry;
  entry.kind = static_cast<EntryKind>(header.kind);
  entry.architecture = static_cast<int>(std::min<uint32_t>(header.architecture, 1 << 20));
  entry.variant = variant_of(header.flags);
  entry.flags = header.flags;
  entry.uncompressed_size = header.compressed_size ? header.uncompressed_size : header.stored_size;
  entry.header = payload.subspan(offset, header.header_size);
  entry.payload = payload.subspan(offset + header.header_size, header.stored_size);
  return entry;
}

}  // namespace

std::optional<std::vector<Entry>> entries(std::span<const std::byte> fatbin, std::string& error) {
  if (!holds(fatbin, 0, sizeof(FatbinHeader))) {
    error = "fat binary: shorter than its header";
    return std::nullopt;
  }
  const auto header = load<FatbinHeader>(fatbin, 0);
  if (header.magic != kFatbinMagic || header.version != 1 ||
      header.header_size < sizeof(FatbinHeader) ||
      !holds(fatbin, header.header_size, header.payload_size)) {
    error = "fat binary: its header is damaged or names more bytes than there are";
    return std::nullopt;
  }
  const Bytes payload = fatbin.subspan(header.header_size, header.payload_size);
  std::vector<Entry> all;
  for (uint64_t offset = 0; offset < payload.size();) {
    auto entry = entry_at(payload, offset, error);
    if (!entry) return std::nullopt;
    offset += entry->header.size() + entry->payload.size();
    // Other kinds exist (link-time objects); nothing here loads them.
    if (entry->kind == EntryKind::kPtx || entry->kind == EntryKind::kElf) all.push_back(*entry);
  }
  return all;
}

std::optional<std::vector<std::byte>> content(const Entry& entry, std::string& error) {
  if (entry.header.size() < sizeof(EntryHeader)) {
    error = "fat binary: an entry without a header";
    return std::nullopt;
  }
  const auto compressed_size = load<EntryHeader>(entry.header, 0).compressed_size;
  if (compressed_size == 0) return std::vector(entry.payload.begin(), entry.payload.end());
  if (compressed_size > entry.payload.size()) {
    error = "fat binary: an entry's compressed size is larger than its stored size";
    return std::nullopt;
  }
  if (entry.uncompressed_size > kMaxContent) {
    error = "fat binary: an entry claims more than 1 GiB of content";
    return std::nullopt;
  }
  const Bytes compressed = entry.payload.first(compressed_size);
  if (entry.flags & kFlagZstd) return decompress_zstd(compressed, entry.uncompressed_size, error);
  if (entry.flags & kFlagLz4) return decompress_lz4(compressed, entry.uncompressed_size, error);
  error = "fat binary: an entry uses an unknown compression";
  return std::nullopt;
}

}  // namespace vgpu::image
